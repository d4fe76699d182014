//! How a cluster is, asked of all its nodes at once.

use super::{Node, members};
use client::node::NodeClient;
use serde::{Deserialize, Serialize};
use spec_api::{EtcdMember, NodeStatus};
use std::{thread, time::Duration};

/// How long a node may take to answer; a frozen or cut-off one costs this much.
const PATIENCE: Duration = Duration::from_secs(5);

/// `bedplate status --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster's name.
    pub name: String,
    /// Its nodes, in order.
    pub nodes: Vec<NodeView>,
    /// Its etcd.
    pub etcd: EtcdView,
}

/// A node as seen from here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its address in the LAN.
    pub address: String,
    /// Its machine is switched on.
    pub on: bool,
    /// Why its machine cannot go on, though it is switched on.
    pub given_up: Option<String>,
    /// Its API answered.
    pub reachable: bool,
    /// All its local facts hold.
    pub ready: bool,
    /// The kernel verifies its root.
    pub root_verified: bool,
    /// Its image.
    pub image: String,
    /// Its image's version.
    pub version: String,
    /// Its kernel.
    pub kernel: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its state is in memory only.
    pub ephemeral: bool,
    /// Its machine config: `ok`, `missing` or `invalid`.
    pub config: String,
    /// How the boot before this one ended.
    pub previous_boot: String,
    /// Seconds since its kernel started.
    pub uptime_seconds: f64,
    /// Where its API is reached from this machine.
    pub api: String,
    /// What it waits for, what is degraded, or why it did not answer.
    pub notes: Vec<String>,
}

/// etcd as its members see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EtcdView {
    /// The members, by name.
    pub members: Vec<MemberView>,
}

/// One etcd member.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberView {
    /// Its name, that of its node.
    pub name: String,
    /// It answers and agrees with the leader.
    pub healthy: bool,
    /// It leads.
    pub leader: bool,
}

impl ClusterStatus {
    /// Every node is ready on a verified root, every master is a healthy etcd member, one of them leads.
    pub fn healthy(&self) -> bool {
        let masters = self
            .nodes
            .iter()
            .filter(|node| node.roles.iter().any(|role| role == "master"));
        let members = &self.etcd.members;
        self.nodes
            .iter()
            .all(|node| node.ready && node.root_verified)
            && members.len() == masters.count()
            && members.iter().all(|member| member.healthy)
            && members.iter().filter(|member| member.leader).count() == 1
    }

    /// The first node that will never answer, and why.
    pub fn given_up(&self) -> Option<String> {
        let why = |node: &NodeView| Some(format!("{}: {}", node.name, node.given_up.as_ref()?));
        self.nodes.iter().find_map(why)
    }

    /// The leader's name.
    pub fn leader(&self) -> Option<&str> {
        let leader = self.etcd.members.iter().find(|member| member.leader);
        leader.map(|member| member.name.as_str())
    }

    /// The node with this name.
    pub fn node(&self, name: &str) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// For a message about waiting.
    pub fn in_a_line(&self) -> String {
        let nodes = self.nodes.iter().map(|node| {
            let state = match (node.on, node.reachable, node.ready) {
                (false, ..) => "off",
                (_, false, _) => "does not answer",
                (_, _, false) => "not ready",
                _ => "ready",
            };
            let notes = if node.notes.is_empty() {
                String::new()
            } else {
                format!(" ({})", node.notes.join("; "))
            };
            format!("{} {state}{notes}", node.name)
        });
        let members = self.etcd.members.iter().map(|member| {
            let health = if member.healthy {
                "healthy"
            } else {
                "unhealthy"
            };
            format!(
                "{} {health}{}",
                member.name,
                if member.leader { ", leads" } else { "" }
            )
        });
        let (nodes, members): (Vec<_>, Vec<_>) = (nodes.collect(), members.collect());
        format!("{}; etcd: {}", nodes.join(", "), members.join(", "))
    }
}

type Answer = (NodeStatus, Vec<EtcdMember>);

/// Why there is no answer.
struct Silence {
    error: String,
    given_up: Option<String>,
}

pub(super) fn ask(name: &str, nodes: &mut [Node]) -> ClusterStatus {
    let answers: Vec<Option<Result<Answer, Silence>>> = thread::scope(|scope| {
        let asking: Vec<_> = nodes
            .iter_mut()
            .map(|node| node.vm.is_on().then(|| scope.spawn(|| answer(node))))
            .collect();
        let gone = |_| {
            Err(Silence {
                error: "the thread that asks it ended".into(),
                given_up: None,
            })
        };
        asking
            .into_iter()
            .map(|thread| thread.map(|thread| thread.join().unwrap_or_else(gone)))
            .collect()
    });
    let mut status = ClusterStatus {
        name: name.to_owned(),
        ..ClusterStatus::default()
    };
    let told = |answer: &Option<Result<Answer, Silence>>| match answer {
        Some(Ok((_, members))) if !members.is_empty() => Some(members.clone()),
        _ => None,
    };
    let told: Vec<Option<Vec<EtcdMember>>> = answers.iter().map(told).collect();
    let all: Vec<&[EtcdMember]> = told.iter().flatten().map(Vec::as_slice).collect();
    status.etcd.members = members::agreed(&all);
    for ((node, answer), told) in nodes.iter().zip(&answers).zip(&told) {
        let mut view = view(node, answer.as_ref());
        let dissent = |own: &Vec<EtcdMember>| members::dissent(own, &status.etcd.members);
        view.notes.extend(told.as_ref().and_then(dissent));
        status.nodes.push(view);
    }
    status
}

fn answer(node: &mut Node) -> Result<Answer, Silence> {
    ask_node(node).map_err(|error| Silence {
        error,
        given_up: node.vm.given_up(),
    })
}

/// A connection of its own each time: one that is kept would hang on a node that lost its power.
fn ask_node(node: &Node) -> Result<Answer, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let client = NodeClient::new(&node.target).map_err(|error| error.to_string())?;
        let asking = async {
            // A node without etcd has no members to tell; its own status counts all the same. It is asked last: what
            // it waits for must not be older than the members' health.
            let members = client.etcd_members().await.unwrap_or_default();
            let status = client.status().await.map_err(|error| error.to_string())?;
            Ok((status, members))
        };
        let late = |_| Err("does not answer".to_owned());
        tokio::time::timeout(PATIENCE, asking)
            .await
            .unwrap_or_else(late)
    })
}

fn view(node: &Node, answer: Option<&Result<Answer, Silence>>) -> NodeView {
    let known = NodeView {
        name: node.name().to_owned(),
        address: node.address().to_string(),
        on: answer.is_some(),
        api: node.api.to_string(),
        ..NodeView::default()
    };
    match answer {
        None => known,
        Some(Err(Silence { error, given_up })) => NodeView {
            notes: vec![given_up.as_ref().unwrap_or(error).clone()],
            given_up: given_up.clone(),
            ..known
        },
        Some(Ok((status, _))) => NodeView {
            reachable: true,
            ready: status.ready,
            root_verified: status.root_verified,
            image: status.image.clone(),
            version: status.version.clone(),
            kernel: status.kernel.clone(),
            roles: status.roles.clone(),
            ephemeral: status.ephemeral,
            config: status.config.clone(),
            previous_boot: status.previous_boot.clone(),
            uptime_seconds: status.uptime_seconds,
            notes: notes(status),
            ..known
        },
    }
}

/// What a node says of itself beside its facts, each thing once.
fn notes(status: &NodeStatus) -> Vec<String> {
    // Of a good config the message only says where it came from.
    let config = status.config_message.iter();
    let config = config.filter(|_| status.config != "ok");
    let mut notes: Vec<String> = Vec::new();
    for said in status.waiting.iter().chain(&status.degraded).chain(config) {
        if !notes.contains(said) {
            notes.push(said.clone());
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> ClusterStatus {
        let names = ["dev-1", "dev-2", "dev-3"];
        ClusterStatus {
            name: "dev".into(),
            nodes: names
                .map(|name| NodeView {
                    name: name.into(),
                    on: true,
                    reachable: true,
                    ready: true,
                    root_verified: true,
                    roles: vec!["master".into()],
                    ..NodeView::default()
                })
                .into(),
            etcd: EtcdView {
                members: names
                    .map(|name| MemberView {
                        name: name.into(),
                        healthy: true,
                        leader: name == "dev-2",
                    })
                    .into(),
            },
        }
    }

    #[test]
    fn healthy_needs_every_node_every_member_and_one_leader() {
        let status = three();
        assert!(status.healthy());
        assert_eq!(status.leader(), Some("dev-2"));
        let broken: [fn(&mut ClusterStatus); 5] = [
            |status| status.nodes[0].ready = false,
            |status| status.nodes[1].root_verified = false,
            |status| status.etcd.members[2].healthy = false,
            |status| status.etcd.members[1].leader = false,
            |status| drop(status.etcd.members.pop()),
        ];
        for break_it in broken {
            let mut status = three();
            break_it(&mut status);
            assert!(!status.healthy(), "{}", status.in_a_line());
        }
    }

    #[test]
    fn a_machine_that_was_given_up_is_named() {
        let mut status = three();
        assert_eq!(status.given_up(), None);
        status.nodes[1].given_up = Some("KVM".into());
        assert_eq!(status.given_up().as_deref(), Some("dev-2: KVM"));
    }

    #[test]
    fn a_line_says_who_is_missing_and_why() {
        let mut status = three();
        status.nodes[0].on = false;
        status.nodes[1].reachable = false;
        status.nodes[1].notes = vec!["connection refused".into()];
        let line = status.in_a_line();
        assert!(
            line.starts_with("dev-1 off, dev-2 does not answer (connection refused), dev-3 ready"),
            "{line}"
        );
    }

    #[test]
    fn what_a_node_says_twice_is_noted_once() {
        let mut status = NodeStatus {
            waiting: ["no quorum", "no disk", "no quorum"]
                .map(str::to_owned)
                .into(),
            degraded: vec!["no disk".to_owned()],
            config: "ok".to_owned(),
            config_message: Some("read from the disk".to_owned()),
            ..NodeStatus::default()
        };
        assert_eq!(notes(&status), ["no quorum", "no disk"]);
        status.config = "invalid".to_owned();
        assert_eq!(notes(&status).len(), 3);
    }
}
