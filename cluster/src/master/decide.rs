//! What a master does about its etcd member: a pure function of what it sees.
//!
//! Principles, in their order:
//!
//! - No vote is lost or given twice: data that held votes is started as it is; a member whose data is gone is
//!   removed and a new one, with a new id, takes its place.
//! - A new cluster begins only when every other master says that it has no data either.
//! - A replacement joins as a learner, which does not count for quorum, and is promoted when it has caught up.
//! - Otherwise wait, and say for whom.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

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
    /// It has run as a member: its data holds votes.
    pub(crate) confirmed: bool,
}

/// Version of [`Record`].
pub(crate) const RECORD_VERSION: u32 = 1;

/// What another master says of its own member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Nothing decided, no data.
    Empty,
    /// Has begun a new cluster that has not run yet.
    Bootstrapping,
    /// Is, or was, a member.
    Member,
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
    /// etcd's data folder of that record exists.
    pub(crate) data: bool,
    /// The other masters.
    pub(crate) peers: Vec<Peer>,
    /// The members, if a quorum answers.
    pub(crate) members: Option<Vec<Member>>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// etcd may start with this record. `fresh` means that it must be written first.
    Start { record: Record, fresh: bool },
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

    /// What this master tells the others.
    pub(crate) fn stage(record: Option<&Self>) -> Stage {
        match record {
            None => Stage::Empty,
            Some(record) if record.mode == Mode::New && !record.confirmed => Stage::Bootstrapping,
            Some(_) => Stage::Member,
        }
    }

    /// Whether etcd's data folder of this record is below `data`. A folder that may not be looked at is taken to be
    /// there: nothing is replaced on a guess.
    pub(crate) fn has_data(&self, data: &Path) -> bool {
        data.join(self.data_folder()).try_exists().unwrap_or(true)
    }
}

/// Decides. Called again and again until it says [`Decision::Start`].
pub(crate) fn decide(sight: &Sight) -> Decision {
    match &sight.record {
        Some(record) if keeps(sight, record) => Decision::Start {
            record: record.clone(),
            fresh: false,
        },
        _ => match &sight.members {
            Some(members) => enter(sight, members),
            None => begin(sight),
        },
    }
}

/// Whether a record still stands: its data is there, or it has not run yet and the cluster still expects it.
fn keeps(sight: &Sight, record: &Record) -> bool {
    let expected = || match (&sight.members, record.member_id) {
        (Some(members), Some(id)) => members.iter().any(|member| member.id == id),
        _ => true,
    };
    match (record.confirmed, sight.data) {
        (true, true) => !is_stale(sight, record),
        (true, false) => false,
        (false, _) => expected(),
    }
}

/// The cluster goes on without this member: its data is of no use any more.
fn is_stale(sight: &Sight, record: &Record) -> bool {
    match (&sight.members, record.member_id) {
        (Some(members), Some(id)) => !members.iter().any(|member| member.id == id),
        _ => false,
    }
}

/// A cluster runs: this node enters it.
fn enter(sight: &Sight, members: &[Member]) -> Decision {
    let own = members
        .iter()
        .find(|member| member.peer_urls.contains(&sight.own.peer_url));
    match own {
        // One of the first members that has not run yet: etcd knows it by its place in the first list.
        Some(member)
            if !member.name.is_empty() && member.client_urls.is_empty() && !member.learner =>
        {
            start(sight, Mode::New, sight.seats.clone(), None)
        }
        Some(member) if is_added(sight, member) => start(
            sight,
            Mode::Existing,
            initial_cluster(sight, members),
            Some(member.id),
        ),
        Some(member) => Decision::Remove { id: member.id },
        None => match members.iter().find(|member| member.learner) {
            Some(learner) => {
                let name = seat_name(sight, learner);
                Decision::Wait {
                    reasons: vec![format!("{name} is joining etcd; one joins at a time")],
                }
            }
            None => Decision::AddLearner,
        },
    }
}

/// Whether the member is the one that this node has just been given and has not started.
fn is_added(sight: &Sight, member: &Member) -> bool {
    let recorded = sight
        .record
        .as_ref()
        .filter(|record| !record.confirmed && record.mode == Mode::Existing);
    member.name.is_empty() && recorded.is_some_and(|record| record.member_id == Some(member.id))
}

/// No cluster answers: a new one begins, or the others are waited for.
fn begin(sight: &Sight) -> Decision {
    let mut reasons = Vec::new();
    for peer in &sight.peers {
        match &peer.answer {
            Ok(Stage::Empty | Stage::Bootstrapping) => {}
            Ok(Stage::Member) => reasons.push(format!(
                "{} has etcd's data, but no quorum answers yet",
                peer.name
            )),
            Err(reason) => reasons.push(format!("{} does not answer ({reason})", peer.name)),
        }
    }
    if reasons.is_empty() {
        return start(sight, Mode::New, sight.seats.clone(), None);
    }
    Decision::Wait { reasons }
}

fn start(
    sight: &Sight,
    mode: Mode,
    initial_cluster: Vec<Seat>,
    member_id: Option<u64>,
) -> Decision {
    Decision::Start {
        record: next(sight, mode, initial_cluster, member_id),
        fresh: true,
    }
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
mod tests {
    use super::*;

    fn seat(n: u8) -> Seat {
        Seat {
            name: format!("dev-{n}"),
            peer_url: format!("https://10.77.0.1{n}:2380"),
        }
    }

    fn member(n: u8) -> Member {
        let url = format!("https://10.77.0.1{n}:2379");
        Member {
            id: u64::from(n),
            name: seat(n).name,
            peer_urls: vec![seat(n).peer_url],
            client_urls: vec![url],
            learner: false,
        }
    }

    fn peer(n: u8, stage: Stage) -> Peer {
        Peer {
            name: seat(n).name,
            answer: Ok(stage),
        }
    }

    fn silent(n: u8) -> Peer {
        Peer {
            name: seat(n).name,
            answer: Err("connection refused".to_owned()),
        }
    }

    /// dev-1, that knows nothing yet.
    fn sight(peers: Vec<Peer>, members: Option<Vec<Member>>) -> Sight {
        Sight {
            own: seat(1),
            seats: vec![seat(1), seat(2), seat(3)],
            record: None,
            data: false,
            peers,
            members,
        }
    }

    fn record(mode: Mode, confirmed: bool) -> Record {
        let initial_cluster = vec![seat(1), seat(2), seat(3)];
        let member_id = confirmed.then_some(1);
        Record {
            version: 1,
            generation: 1,
            mode,
            initial_cluster,
            member_id,
            confirmed,
        }
    }

    fn started(decision: Decision) -> Record {
        match decision {
            Decision::Start {
                record,
                fresh: true,
            } => record,
            other => panic!("not a fresh start: {other:?}"),
        }
    }

    fn reasons(decision: Decision) -> String {
        match decision {
            Decision::Wait { reasons } => reasons.join("; "),
            other => panic!("not waiting: {other:?}"),
        }
    }

    #[test]
    fn at_first_all_masters_begin_together() {
        let record = started(decide(&sight(
            vec![peer(2, Stage::Empty), peer(3, Stage::Empty)],
            None,
        )));
        assert_eq!(
            (record.mode, record.generation, record.confirmed),
            (Mode::New, 1, false)
        );
        assert_eq!(record.initial_cluster, vec![seat(1), seat(2), seat(3)]);
    }

    #[test]
    fn a_master_that_comes_a_moment_later_begins_with_those_that_have_begun() {
        let record = started(decide(&sight(
            vec![peer(2, Stage::Bootstrapping), peer(3, Stage::Empty)],
            None,
        )));
        assert_eq!(record.mode, Mode::New);
    }

    #[test]
    fn the_last_of_the_first_members_starts_even_when_the_others_run_already() {
        let mut own = member(1);
        own.client_urls.clear();
        let peers = vec![peer(2, Stage::Member), peer(3, Stage::Member)];
        let record = started(decide(&sight(peers, Some(vec![own, member(2), member(3)]))));
        assert_eq!(record.mode, Mode::New);
    }

    #[test]
    fn with_one_peer_down_the_first_start_waits_for_it_by_name() {
        let said = reasons(decide(&sight(vec![peer(2, Stage::Empty), silent(3)], None)));
        assert_eq!(said, "dev-3 does not answer (connection refused)");
    }

    #[test]
    fn a_single_master_begins_alone() {
        let mut sight = sight(Vec::new(), None);
        sight.seats = vec![seat(1)];
        assert_eq!(started(decide(&sight)).initial_cluster, vec![seat(1)]);
    }

    #[test]
    fn with_data_etcd_starts_at_once_whatever_the_others_do() {
        let mut sight = sight(vec![silent(2), silent(3)], None);
        (sight.record, sight.data) = (Some(record(Mode::New, true)), true);
        assert_eq!(
            decide(&sight),
            Decision::Start {
                record: record(Mode::New, true),
                fresh: false
            }
        );
    }

    #[test]
    fn a_power_cut_during_the_first_start_begins_again_the_same() {
        let mut sight = sight(vec![silent(2), silent(3)], None);
        sight.record = Some(record(Mode::New, false));
        for data in [false, true] {
            sight.data = data;
            assert_eq!(
                decide(&sight),
                Decision::Start {
                    record: record(Mode::New, false),
                    fresh: false
                }
            );
        }
    }

    #[test]
    fn a_lost_disk_with_quorum_is_replaced_by_a_learner_in_three_looks() {
        let peers = vec![peer(2, Stage::Member), peer(3, Stage::Member)];
        let all = vec![member(1), member(2), member(3)];
        assert_eq!(
            decide(&sight(peers.clone(), Some(all))),
            Decision::Remove { id: 1 }
        );

        let mut without = sight(peers.clone(), Some(vec![member(2), member(3)]));
        assert_eq!(decide(&without), Decision::AddLearner);

        let learner = Member {
            id: 9,
            name: String::new(),
            client_urls: Vec::new(),
            learner: true,
            ..member(1)
        };
        let members = vec![member(2), member(3), learner];
        let record = added(&without, 9, &members);
        assert_eq!((record.mode, record.member_id), (Mode::Existing, Some(9)));
        assert_eq!(record.initial_cluster, vec![seat(2), seat(3), seat(1)]);

        (without.record, without.members) = (Some(record.clone()), Some(members));
        assert_eq!(
            decide(&without),
            Decision::Start {
                record,
                fresh: false
            }
        );
    }

    #[test]
    fn wiped_data_with_the_record_left_gets_a_new_folder() {
        let peers = vec![peer(2, Stage::Member), peer(3, Stage::Member)];
        let mut sight = sight(peers, Some(vec![member(1), member(2), member(3)]));
        sight.record = Some(record(Mode::New, true));
        assert_eq!(decide(&sight), Decision::Remove { id: 1 });
        assert_eq!(added(&sight, 9, &[member(2)]).generation, 2);
    }

    #[test]
    fn a_lost_disk_without_quorum_waits_and_says_for_whom() {
        let said = reasons(decide(&sight(
            vec![peer(2, Stage::Member), silent(3)],
            None,
        )));
        assert_eq!(
            said,
            "dev-2 has etcd's data, but no quorum answers yet; dev-3 does not answer (connection refused)"
        );
    }

    #[test]
    fn when_all_are_wiped_a_new_cluster_begins() {
        let record = started(decide(&sight(
            vec![peer(2, Stage::Empty), peer(3, Stage::Empty)],
            None,
        )));
        assert_eq!(record.mode, Mode::New);
    }

    #[test]
    fn two_that_lost_their_disks_do_not_begin_without_the_one_that_has_data() {
        let said = reasons(decide(&sight(
            vec![peer(2, Stage::Empty), peer(3, Stage::Member)],
            None,
        )));
        assert_eq!(said, "dev-3 has etcd's data, but no quorum answers yet");
    }

    #[test]
    fn a_member_that_was_removed_while_it_was_away_enters_anew() {
        let peers = vec![peer(2, Stage::Member), peer(3, Stage::Member)];
        let mut sight = sight(peers, Some(vec![member(2), member(3)]));
        (sight.record, sight.data) = (Some(record(Mode::New, true)), true);
        assert_eq!(decide(&sight), Decision::AddLearner);
    }

    #[test]
    fn an_added_member_that_nobody_remembers_is_taken_out_first() {
        let forgotten = Member {
            name: String::new(),
            client_urls: Vec::new(),
            learner: true,
            ..member(1)
        };
        let peers = vec![peer(2, Stage::Member), peer(3, Stage::Member)];
        let decision = decide(&sight(peers, Some(vec![forgotten, member(2), member(3)])));
        assert_eq!(decision, Decision::Remove { id: 1 });
    }

    #[test]
    fn an_added_member_that_was_taken_out_again_is_not_started() {
        let peers = vec![peer(2, Stage::Member), peer(3, Stage::Member)];
        let mut sight = sight(peers, Some(vec![member(2), member(3)]));
        sight.record = Some(Record {
            member_id: Some(9),
            ..record(Mode::Existing, false)
        });
        assert_eq!(decide(&sight), Decision::AddLearner);
    }

    #[test]
    fn two_replacements_take_turns() {
        let learner = Member {
            name: String::new(),
            learner: true,
            ..member(2)
        };
        let peers = vec![peer(2, Stage::Member), peer(3, Stage::Member)];
        let said = reasons(decide(&sight(peers, Some(vec![learner, member(3)]))));
        assert_eq!(said, "dev-2 is joining etcd; one joins at a time");
    }

    #[test]
    fn what_a_master_tells_the_others_follows_from_its_record() {
        assert_eq!(Record::stage(None), Stage::Empty);
        assert_eq!(
            Record::stage(Some(&record(Mode::New, false))),
            Stage::Bootstrapping
        );
        assert_eq!(Record::stage(Some(&record(Mode::New, true))), Stage::Member);
        assert_eq!(
            Record::stage(Some(&record(Mode::Existing, false))),
            Stage::Member
        );
    }
}
