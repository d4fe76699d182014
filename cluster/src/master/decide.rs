//! What a master does about its etcd member: a pure function of what it sees.
//!
//! Principles, in their order:
//!
//! - No vote is lost or given twice: data that may hold votes is started as it is; a member whose data is gone is
//!   removed and a new one, with a new id, takes its place.
//! - A new cluster begins only when every other master says that it has no data, and etcd runs for it only when all
//!   have written down that they are in it. From then on a master without a record is one that was wiped.
//! - A replacement joins as a learner, which does not count for quorum, and is promoted when it has caught up. One
//!   at a time: until it votes, the data has one copy less.
//! - Otherwise wait, and say for whom.
//!
//! What a node is by itself, its [`Stage`], is also what it tells the others:
//!
//! | record | etcd's data | stage | a quorum answers | none answers |
//! |---|---|---|---|---|
//! | none | - | `Empty` | replace | begin, if nobody has data |
//! | new, of another list of masters | never started | `Empty` | replace | begin, if nobody has data |
//! | new | never started | `Bootstrapping` | start, if it is still expected | start, if all have decided |
//! | existing | never started | `Joining` | start, if it is still expected | begin, if nobody has data |
//! | unconfirmed | started | `Started` | start, if it is still a member | start |
//! | unconfirmed | lost | `Lost` | replace | begin, if nobody has data that can do without it |
//! | confirmed | started | `Member` | start, if it is still a member | start |
//! | confirmed | gone | `Gone` | replace | wait |
//!
//! Where it says "if", the other way is to replace or to wait. To replace is to remove the old member, if there is
//! one, and to add a learner. `model` plays all of this with power cuts and lost disks.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::data::Data;

/// A master and the URL at which its etcd member is reached by its peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) peer_url: String,
}

/// How etcd is started where it has no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// With all other masters, a new cluster.
    New,
    /// As a member that a running cluster has added.
    Existing,
}

/// What was decided for this node, kept beside etcd's data on the state partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Of this record's format.
    pub(crate) version: u32,
    /// Number of the data folder: each new member of this node gets a new one.
    pub(crate) generation: u32,
    /// How it was started.
    pub(crate) mode: Mode,
    /// The members it was started with.
    pub(crate) initial_cluster: Vec<Seat>,
    /// Its member id, as soon as it is known.
    pub(crate) member_id: Option<u64>,
    /// A quorum has seen it run.
    pub(crate) confirmed: bool,
}

/// Version of [`Record`].
pub(crate) const RECORD_VERSION: u32 = 1;

/// What a master is by itself: all that it tells the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Nothing decided for the masters that the config lists, no data.
    Empty,
    /// In a new cluster that it has not started etcd for.
    Bootstrapping,
    /// Added to a running cluster; etcd was not started.
    Joining,
    /// etcd was started, so that it may have voted; no quorum has been seen yet.
    Started,
    /// etcd was started and left nothing: the power went before it could write, or the disk is bad.
    Lost,
    /// Is a member, with its data.
    Member,
    /// Was a member, and its data is gone.
    Gone,
}

/// Another master as it is seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// Its words, or why there are none.
    pub(crate) answer: Result<Stage, String>,
}

/// A member as a cluster with quorum lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: u64,
    /// Empty while a member that was added has not started.
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<String>,
    /// Empty until a member has run for the first time.
    pub(crate) client_urls: Vec<String>,
    pub(crate) learner: bool,
}

/// Everything a decision is made of.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    /// This node.
    pub(crate) own: Seat,
    /// All masters of the config, this one too.
    pub(crate) seats: Vec<Seat>,
    /// What was decided before.
    pub(crate) record: Option<Record>,
    /// What became of that record's data.
    pub(crate) data: Data,
    /// The other masters; nobody where they make no difference.
    pub(crate) peers: Vec<Peer>,
    /// The members, if a quorum answers.
    pub(crate) members: Option<Vec<Member>>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Write this record, which the others must see; then look again.
    Keep { record: Record },
    /// etcd may start, with this record.
    Start { record: Record },
    /// Take the dead member of this node out; then look again.
    Remove { id: u64 },
    /// Add this node as a learner; then look again.
    AddLearner,
    /// Nothing can be done here and now.
    Wait { reasons: Vec<String> },
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Existing => "existing",
        })
    }
}

impl Record {
    /// Name of its data folder.
    pub(crate) fn data_folder(&self) -> String {
        format!("member-{}", self.generation)
    }

    /// Whether its first members are these, in whatever order.
    fn begins_with(&self, seats: &[Seat]) -> bool {
        let among = |seat: &Seat| self.initial_cluster.contains(seat);
        self.initial_cluster.len() == seats.len() && seats.iter().all(among)
    }
}

impl Stage {
    /// The left half of the table, for a node whose config lists these masters.
    pub(crate) fn of(record: Option<&Record>, data: Data, seats: &[Seat]) -> Self {
        let Some(record) = record else {
            return Self::Empty;
        };
        match (record.confirmed, data, record.mode) {
            (true, Data::Started, _) => Self::Member,
            (true, Data::Unused | Data::Lost, _) => Self::Gone,
            (false, Data::Started, _) => Self::Started,
            (false, Data::Lost, _) => Self::Lost,
            (false, Data::Unused, Mode::New) if record.begins_with(seats) => Self::Bootstrapping,
            // The list was edited before etcd's first start, and nobody has started with the one before.
            (false, Data::Unused, Mode::New) => Self::Empty,
            (false, Data::Unused, Mode::Existing) => Self::Joining,
        }
    }

    /// Whether etcd's data is there.
    pub(crate) fn has_data(self) -> bool {
        matches!(self, Self::Started | Self::Member)
    }
}

/// Decides. Called again and again, also while etcd runs.
pub(crate) fn decide(sight: &Sight) -> Decision {
    let stage = Stage::of(sight.record.as_ref(), sight.data, &sight.seats);
    match (&sight.members, &sight.record) {
        (Some(members), Some(record)) => match still_expected(sight, stage, record, members) {
            Some(record) => Decision::Start { record },
            None => replace(sight, members),
        },
        (Some(members), None) => replace(sight, members),
        (None, Some(record)) if stage.has_data() => Decision::Start {
            record: record.clone(),
        },
        (None, Some(record)) if stage == Stage::Bootstrapping => start_together(sight, record),
        (None, _) => begin(sight, stage),
    }
}

/// The record, if it is that of a member of the running cluster, and nothing of it is lost.
fn still_expected(
    sight: &Sight,
    stage: Stage,
    record: &Record,
    members: &[Member],
) -> Option<Record> {
    let own = own_member(sight, members);
    let named_voter = own.is_some_and(|member| !member.name.is_empty() && !member.learner);
    let listed = |id: u64| members.iter().any(|member| member.id == id);
    let expected = match stage {
        // The first members are voters and have their names from the beginning.
        Stage::Started | Stage::Member => record.member_id.map_or(named_voter, listed),
        Stage::Bootstrapping => {
            named_voter && own.is_some_and(|member| member.client_urls.is_empty())
        }
        Stage::Joining => {
            own.is_some_and(|member| record.member_id == Some(member.id) && member.name.is_empty())
        }
        Stage::Empty | Stage::Lost | Stage::Gone => false,
    };
    expected.then(|| match stage {
        // etcd starts only with the very members that the cluster has now.
        Stage::Joining => Record {
            initial_cluster: initial_cluster(sight, members),
            ..record.clone()
        },
        _ => record.clone(),
    })
}

fn own_member<'a>(sight: &Sight, members: &'a [Member]) -> Option<&'a Member> {
    members
        .iter()
        .find(|member| member.peer_urls.contains(&sight.own.peer_url))
}

/// A cluster runs, and this node has nothing that it could run with.
fn replace(sight: &Sight, members: &[Member]) -> Decision {
    let own = own_member(sight, members);
    let joins = |member: &&Member| member.learner && own.is_none_or(|own| own.id != member.id);
    if let Some(learner) = members.iter().find(joins) {
        let name = seat_name(sight, learner);
        return Decision::Wait {
            reasons: vec![format!("{name} is joining etcd; one joins at a time")],
        };
    }
    match own {
        Some(member) => Decision::Remove { id: member.id },
        None => Decision::AddLearner,
    }
}

/// In a new cluster that all masters must have written down before the first of them starts. Who has started has
/// seen that, and is enough.
fn start_together(sight: &Sight, record: &Record) -> Decision {
    let has_data = |peer: &Peer| peer.answer.as_ref().is_ok_and(|stage| stage.has_data());
    if sight.peers.iter().any(has_data) {
        return Decision::Start {
            record: record.clone(),
        };
    }
    let reasons = reasons(&sight.peers, |stage| match stage {
        Stage::Empty | Stage::Joining => Some("has not decided yet"),
        Stage::Gone => Some(DATA_GONE),
        _ => None,
    });
    if reasons.is_empty() {
        Decision::Start {
            record: record.clone(),
        }
    } else {
        Decision::Wait { reasons }
    }
}

/// What a master says of another one that is [`Stage::Gone`].
const DATA_GONE: &str = "was a member, and its data of etcd is gone";

/// No cluster answers: a new one begins, or the others are waited for.
fn begin(sight: &Sight, stage: Stage) -> Decision {
    const WITHOUT_QUORUM: Option<&str> = Some("has etcd's data, but no quorum answers yet");
    let answers = |wanted: fn(&Stage) -> bool| {
        let stages = sight.peers.iter().flat_map(|peer| &peer.answer);
        stages.filter(|stage| wanted(stage)).count()
    };
    // The power went before this node's first vote, and the others are too few without it.
    let able = answers(|stage| stage.has_data() || *stage == Stage::Bootstrapping);
    let of_this_list = |record: &Record| record.begins_with(&sight.seats);
    let needed = stage == Stage::Lost
        && sight.record.as_ref().is_some_and(of_this_list)
        && able <= sight.seats.len() / 2;
    let mut reasons = reasons(&sight.peers, |stage| match stage {
        Stage::Started | Stage::Member if !needed => WITHOUT_QUORUM,
        Stage::Gone if !needed => Some(DATA_GONE),
        _ => None,
    });
    if stage == Stage::Gone {
        let way_out = match sight.peers.as_slice() {
            [] => "there is no other master: wipe this node's state, and a new cluster begins",
            _ => "a quorum of the others must replace it",
        };
        reasons.insert(0, format!("this node's data of etcd is gone; {way_out}"));
    }
    if reasons.is_empty() {
        Decision::Keep {
            record: next(sight, Mode::New, sight.seats.clone(), None),
        }
    } else {
        Decision::Wait { reasons }
    }
}

/// For whom to wait: who does not answer, and whose answer is an obstacle.
fn reasons(peers: &[Peer], obstacle: impl Fn(Stage) -> Option<&'static str>) -> Vec<String> {
    let reason = |peer: &Peer| match &peer.answer {
        Ok(stage) => obstacle(*stage).map(|why| format!("{} {why}", peer.name)),
        Err(reason) => Some(format!("{} does not answer ({reason})", peer.name)),
    };
    peers.iter().filter_map(reason).collect()
}

/// The record of this node's next member: always in a new data folder.
fn next(sight: &Sight, mode: Mode, initial_cluster: Vec<Seat>, member_id: Option<u64>) -> Record {
    let generation = sight
        .record
        .as_ref()
        .map_or(1, |record| record.generation.saturating_add(1));
    Record {
        version: RECORD_VERSION,
        generation,
        mode,
        initial_cluster,
        member_id,
        confirmed: false,
    }
}

/// The record after the cluster has added this node as member `id`; `members` lists it already.
pub(crate) fn added(sight: &Sight, id: u64, members: &[Member]) -> Record {
    next(
        sight,
        Mode::Existing,
        initial_cluster(sight, members),
        Some(id),
    )
}

/// The record once a quorum lists the member that this node's etcd says it is; `None` where that is no news, or the
/// process is still that of a member before.
pub(crate) fn confirmed(record: &Record, member: &Member) -> Option<Record> {
    let runs = !member.client_urls.is_empty();
    let is_it = record.member_id.is_none_or(|id| id == member.id);
    (runs && is_it && !record.confirmed).then(|| Record {
        confirmed: true,
        member_id: Some(member.id),
        ..record.clone()
    })
}

/// The member that a running etcd is, where it is another one than that of the record: the process has not ended yet.
pub(crate) fn replaced(record: &Record, running: u64) -> Option<u64> {
    let is_another = record.member_id.is_some_and(|id| id != running);
    is_another.then_some(running)
}

/// The members as etcd wants them at its start: every peer URL with a name.
fn initial_cluster(sight: &Sight, members: &[Member]) -> Vec<Seat> {
    let seats = members.iter().flat_map(|member| {
        let name = seat_name(sight, member);
        member.peer_urls.iter().map(move |url| Seat {
            name: name.clone(),
            peer_url: url.clone(),
        })
    });
    seats.collect()
}

/// A member's name: its own, or that of the master at its URL while it has none.
fn seat_name(sight: &Sight, member: &Member) -> String {
    if !member.name.is_empty() {
        return member.name.clone();
    }
    let seat = sight
        .seats
        .iter()
        .find(|seat| member.peer_urls.contains(&seat.peer_url));
    seat.map_or_else(|| format!("{:x}", member.id), |seat| seat.name.clone())
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
