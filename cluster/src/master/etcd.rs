//! etcd's API, as far as members go, by its JSON gateway (etcd 3.5, api_grpc_gateway).
//!
//! The gateway writes 64-bit numbers as decimal strings and leaves out what is zero or false.

use std::time::Duration;

use client::http::{Error, Http};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::decide::Member;

/// How long one call may take: it may need the leader to answer others first.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Most members that are believed.
const MAX_MEMBERS: usize = 32;

/// One member's client port.
#[derive(Debug, Clone)]
pub(super) struct Etcd {
    http: Http,
}

/// What a member says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// Its own id.
    pub(super) member_id: u64,
    /// Whom it takes for the leader; 0 for none.
    pub(super) leader: u64,
    /// Its own complaints.
    pub(super) errors: Vec<String>,
    /// It does not vote yet.
    pub(super) learner: bool,
}

#[derive(Deserialize)]
struct MemberList {
    #[serde(default)]
    members: Vec<WireMember>,
}

#[derive(Deserialize)]
struct MemberAdded {
    member: WireMember,
    #[serde(default)]
    members: Vec<WireMember>,
}

#[derive(Deserialize)]
struct WireMember {
    #[serde(rename = "ID", deserialize_with = "number")]
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(default, rename = "isLearner")]
    learner: bool,
}

#[derive(Deserialize)]
struct WireStatus {
    header: Header,
    #[serde(default, deserialize_with = "number")]
    leader: u64,
    #[serde(default)]
    errors: Vec<String>,
    #[serde(default, rename = "isLearner")]
    learner: bool,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default, deserialize_with = "number")]
    member_id: u64,
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

impl From<WireMember> for Member {
    fn from(wire: WireMember) -> Self {
        let WireMember {
            id,
            name,
            peer_urls,
            client_urls,
            learner,
        } = wire;
        Self {
            id,
            name,
            peer_urls,
            client_urls,
            learner,
        }
    }
}

fn members(wire: Vec<WireMember>) -> Vec<Member> {
    wire.into_iter()
        .take(MAX_MEMBERS)
        .map(Member::from)
        .collect()
}

impl Etcd {
    pub(super) fn new(http: Http) -> Self {
        Self { http }
    }

    /// The members as a quorum agrees on them; an error where there is none.
    pub(super) async fn members(&self) -> Result<Vec<Member>, Error> {
        let list: MemberList = self
            .call("/v3/cluster/member/list", json!({ "linearizable": true }))
            .await?;
        Ok(members(list.members))
    }

    /// Adds a learner; its id, and the members with it.
    pub(super) async fn add_learner(&self, peer_url: &str) -> Result<(u64, Vec<Member>), Error> {
        let asked = json!({ "peerURLs": [peer_url], "isLearner": true });
        let added: MemberAdded = self.call("/v3/cluster/member/add", asked).await?;
        Ok((added.member.id, members(added.members)))
    }

    /// Takes a member out. etcd refuses what would cost the quorum.
    pub(super) async fn remove(&self, id: u64) -> Result<(), Error> {
        self.call::<Value>("/v3/cluster/member/remove", json!({ "ID": id.to_string() }))
            .await
            .map(drop)
    }

    /// Makes a learner a voter. etcd refuses while it has not caught up.
    pub(super) async fn promote(&self, id: u64) -> Result<(), Error> {
        self.call::<Value>(
            "/v3/cluster/member/promote",
            json!({ "ID": id.to_string() }),
        )
        .await
        .map(drop)
    }

    /// What the member says of itself.
    pub(super) async fn status(&self) -> Result<Status, Error> {
        let status: WireStatus = self.call("/v3/maintenance/status", json!({})).await?;
        let WireStatus {
            header,
            leader,
            errors,
            learner,
        } = status;
        Ok(Status {
            member_id: header.member_id,
            leader,
            errors,
            learner,
        })
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        asked: Value,
    ) -> Result<T, Error> {
        self.http.post_within(path, &asked, TIMEOUT).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_list_as_etcd_3_5_writes_it_is_read() {
        let text = r#"{"header":{"cluster_id":"14841639068965178418","member_id":"10276657743932975437","raft_term":"2"},
            "members":[{"ID":"10276657743932975437","name":"dev-1","peerURLs":["https://10.77.0.11:2380"],
            "clientURLs":["https://10.77.0.11:2379"]},{"ID":"7","peerURLs":["https://10.77.0.12:2380"],"isLearner":true}]}"#;
        let list: MemberList = serde_json::from_str(text).unwrap();
        let members = members(list.members);
        assert_eq!(
            (members[0].id, members[0].learner),
            (10276657743932975437, false)
        );
        assert!(
            members[1].learner && members[1].name.is_empty() && members[1].client_urls.is_empty()
        );
    }

    #[test]
    fn a_status_without_leader_is_read() {
        let status: WireStatus = serde_json::from_str(
            r#"{"header":{"member_id":"5"},"errors":["etcdserver: no leader"]}"#,
        )
        .unwrap();
        assert_eq!(
            (status.header.member_id, status.leader, status.errors.len()),
            (5, 0, 1)
        );
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        assert!(serde_json::from_str::<MemberList>(r#"{"members":[{"ID":"-1"}]}"#).is_err());
        assert!(
            serde_json::from_str::<MemberList>(r#"{"members":[{"ID":"99999999999999999999999"}]}"#)
                .is_err()
        );
    }
}
