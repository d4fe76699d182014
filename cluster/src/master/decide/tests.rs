//! One decision at a time.

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

/// Added for dev-`n`, and not started.
fn learner(id: u64, n: u8) -> Member {
    Member {
        id,
        name: String::new(),
        client_urls: Vec::new(),
        learner: true,
        ..member(n)
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
        data: Data::Unused,
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

fn kept(decision: Decision) -> Record {
    match decision {
        Decision::Keep { record } => record,
        other => panic!("nothing begins: {other:?}"),
    }
}

fn start(record: &Record) -> Decision {
    Decision::Start {
        record: record.clone(),
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
    let record = kept(decide(&sight(
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
fn etcd_starts_when_all_have_decided() {
    let mut sight = sight(
        vec![peer(2, Stage::Bootstrapping), peer(3, Stage::Empty)],
        None,
    );
    let record = kept(decide(&sight));
    sight.record = Some(record.clone());
    assert_eq!(reasons(decide(&sight)), "dev-3 has not decided yet");
    sight.peers = vec![peer(2, Stage::Bootstrapping), silent(3)];
    assert_eq!(
        reasons(decide(&sight)),
        "dev-3 does not answer (connection refused)"
    );
    sight.peers = vec![peer(2, Stage::Bootstrapping), peer(3, Stage::Bootstrapping)];
    assert_eq!(decide(&sight), start(&record));
    // Who has started has seen that all had decided.
    for started in [Stage::Started, Stage::Member] {
        sight.peers = vec![peer(2, started), silent(3)];
        assert_eq!(decide(&sight), start(&record));
    }
}

/// dev-1 wrote down dev-1, dev-2 and dev-3; then dev-4 took dev-3's place in the list.
fn list_edited_before_the_first_start(peers: Vec<Peer>) -> Sight {
    Sight {
        seats: vec![seat(1), seat(2), seat(4)],
        record: Some(record(Mode::New, false)),
        ..sight(peers, None)
    }
}

#[test]
fn a_list_that_was_edited_before_the_first_start_is_decided_anew() {
    use Stage::{Bootstrapping, Empty};
    for (second, fourth) in [
        (Bootstrapping, Bootstrapping),
        (Bootstrapping, Empty),
        (Empty, Bootstrapping),
    ] {
        let mut sight = list_edited_before_the_first_start(vec![peer(2, second), peer(4, fourth)]);
        let stage = Stage::of(sight.record.as_ref(), sight.data, &sight.seats);
        assert_eq!(stage, Empty, "what the others are told");
        let record = kept(decide(&sight));
        assert_eq!(record.initial_cluster, sight.seats);
        assert_eq!((record.mode, record.generation), (Mode::New, 2));
        sight.record = Some(record.clone());
        sight.peers = vec![peer(2, Bootstrapping), peer(4, Bootstrapping)];
        assert_eq!(decide(&sight), start(&record));
    }
}

#[test]
fn a_list_that_was_edited_too_late_is_waited_with_or_replaced() {
    for started in [Stage::Started, Stage::Member] {
        let said = reasons(decide(&list_edited_before_the_first_start(vec![
            peer(2, started),
            silent(4),
        ])));
        assert!(said.starts_with("dev-2 has etcd's data"), "{said}");
    }
    let mut sight = list_edited_before_the_first_start(Vec::new());
    sight.members = Some(vec![member(2), member(3)]);
    assert_eq!(decide(&sight), Decision::AddLearner);
    // Its vote before the edit came to nothing; another member with data must not be founded upon.
    sight.members = None;
    sight.data = Data::Lost;
    sight.peers = vec![peer(2, Stage::Started), peer(4, Stage::Empty)];
    let said = reasons(decide(&sight));
    assert_eq!(said, "dev-2 has etcd's data, but no quorum answers yet");
}

#[test]
fn the_order_of_the_list_makes_no_other_one() {
    let mut sight = sight(vec![peer(2, Stage::Started), silent(3)], None);
    sight.seats.reverse();
    sight.record = Some(record(Mode::New, false));
    assert_eq!(decide(&sight), start(&record(Mode::New, false)));
}

#[test]
fn a_member_whose_data_is_gone_is_an_obstacle_to_the_first_start() {
    let mut sight = sight(
        vec![peer(2, Stage::Bootstrapping), peer(3, Stage::Gone)],
        None,
    );
    sight.record = Some(record(Mode::New, false));
    let said = reasons(decide(&sight));
    assert_eq!(said, "dev-3 was a member, and its data of etcd is gone");
    sight.peers = vec![peer(2, Stage::Started), peer(3, Stage::Gone)];
    assert_eq!(decide(&sight), start(&record(Mode::New, false)));
}

#[test]
fn a_single_master_whose_data_is_gone_is_not_told_to_wait_for_others() {
    let mut sight = sight(Vec::new(), None);
    sight.seats = vec![seat(1)];
    (sight.record, sight.data) = (Some(record(Mode::New, true)), Data::Lost);
    let said = reasons(decide(&sight));
    assert!(said.contains("wipe this node's state"), "{said}");
}

#[test]
fn the_last_of_the_first_members_starts_even_when_the_others_run_already() {
    let mut own = member(1);
    own.client_urls.clear();
    let mut sight = sight(Vec::new(), Some(vec![own, member(2), member(3)]));
    sight.record = Some(record(Mode::New, false));
    assert_eq!(decide(&sight), start(&record(Mode::New, false)));
}

#[test]
fn a_first_member_that_was_wiped_before_anybody_saw_it_run_is_replaced_too() {
    let mut own = member(1);
    own.client_urls.clear();
    let sight = sight(Vec::new(), Some(vec![own, member(2), member(3)]));
    assert_eq!(decide(&sight), Decision::Remove { id: 1 });
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
    let record = kept(decide(&sight));
    assert_eq!(record.initial_cluster, vec![seat(1)]);
    sight.record = Some(record.clone());
    assert_eq!(decide(&sight), start(&record));
}

#[test]
fn with_data_etcd_starts_at_once_whatever_the_others_do() {
    let mut sight = sight(vec![silent(2), silent(3)], None);
    sight.data = Data::Started;
    for confirmed in [false, true] {
        sight.record = Some(record(Mode::New, confirmed));
        assert_eq!(decide(&sight), start(&record(Mode::New, confirmed)));
    }
}

#[test]
fn an_unconfirmed_member_that_has_run_keeps_a_wiped_one_from_beginning_anew() {
    let said = reasons(decide(&sight(
        vec![peer(2, Stage::Started), peer(3, Stage::Bootstrapping)],
        None,
    )));
    assert_eq!(said, "dev-2 has etcd's data, but no quorum answers yet");
}

/// dev-1 was in a new cluster; the power went after etcd's first start and before its first word.
fn cut_at_the_first_start(peers: [Peer; 2]) -> Sight {
    Sight {
        record: Some(record(Mode::New, false)),
        data: Data::Lost,
        ..sight(peers.into(), None)
    }
}

#[test]
fn a_power_cut_during_the_first_start_begins_again() {
    use Stage::{Bootstrapping, Empty, Lost, Started};
    for (second, third) in [
        (Bootstrapping, Bootstrapping),
        (Lost, Lost),
        (Lost, Empty),
        (Started, Lost),
    ] {
        let record = kept(decide(&cut_at_the_first_start([
            peer(2, second),
            peer(3, third),
        ])));
        assert_eq!((record.mode, record.generation), (Mode::New, 2));
    }
}

#[test]
fn who_was_cut_at_the_first_start_leaves_it_to_the_others_if_they_are_enough() {
    use Stage::{Bootstrapping, Member, Started};
    for (second, third) in [
        (Started, Started),
        (Started, Bootstrapping),
        (Member, Member),
    ] {
        let said = reasons(decide(&cut_at_the_first_start([
            peer(2, second),
            peer(3, third),
        ])));
        assert!(said.starts_with("dev-2 has etcd's data"), "{said}");
    }
    let said = reasons(decide(&cut_at_the_first_start([
        peer(2, Started),
        silent(3),
    ])));
    assert!(said.contains("dev-3 does not answer"), "{said}");
}

#[test]
fn a_lost_disk_with_quorum_is_replaced_by_a_learner_in_three_looks() {
    let all = vec![member(1), member(2), member(3)];
    assert_eq!(
        decide(&sight(Vec::new(), Some(all))),
        Decision::Remove { id: 1 }
    );

    let mut without = sight(Vec::new(), Some(vec![member(2), member(3)]));
    assert_eq!(decide(&without), Decision::AddLearner);

    let members = vec![member(2), member(3), learner(9, 1)];
    let record = added(&without, 9, &members);
    assert_eq!((record.mode, record.member_id), (Mode::Existing, Some(9)));
    assert_eq!(record.initial_cluster, vec![seat(2), seat(3), seat(1)]);

    (without.record, without.members) = (Some(record.clone()), Some(members));
    assert_eq!(decide(&without), start(&record));
}

#[test]
fn a_learner_starts_with_the_members_of_now() {
    let members = vec![member(2), learner(9, 1)];
    let mut sight = sight(Vec::new(), Some(members));
    let old = Record {
        member_id: Some(9),
        ..record(Mode::Existing, false)
    };
    sight.record = Some(old.clone());
    let new = Record {
        initial_cluster: vec![seat(2), seat(1)],
        ..old
    };
    assert_eq!(decide(&sight), start(&new));
}

#[test]
fn wiped_data_with_the_record_left_gets_a_new_folder() {
    for data in [Data::Unused, Data::Lost] {
        let mut sight = sight(Vec::new(), Some(vec![member(1), member(2), member(3)]));
        (sight.record, sight.data) = (Some(record(Mode::New, true)), data);
        assert_eq!(decide(&sight), Decision::Remove { id: 1 });
        assert_eq!(added(&sight, 9, &[member(2)]).generation, 2);
    }
}

#[test]
fn a_confirmed_member_without_its_data_never_begins_a_cluster() {
    for data in [Data::Unused, Data::Lost] {
        let mut sight = sight(vec![peer(2, Stage::Empty), peer(3, Stage::Empty)], None);
        (sight.record, sight.data) = (Some(record(Mode::New, true)), data);
        let said = reasons(decide(&sight));
        assert!(
            said.starts_with("this node's data of etcd is gone"),
            "{said}"
        );
    }
    let said = reasons(decide(&sight(
        vec![peer(2, Stage::Gone), peer(3, Stage::Empty)],
        None,
    )));
    assert_eq!(said, "dev-2 was a member, and its data of etcd is gone");
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
    for second in [Stage::Empty, Stage::Joining, Stage::Lost] {
        let record = kept(decide(&sight(
            vec![peer(2, second), peer(3, Stage::Empty)],
            None,
        )));
        assert_eq!(record.mode, Mode::New);
    }
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
fn a_member_that_was_removed_enters_anew() {
    let mut sight = sight(Vec::new(), Some(vec![member(2), member(3)]));
    sight.data = Data::Started;
    for confirmed in [false, true] {
        sight.record = Some(record(Mode::New, confirmed));
        assert_eq!(decide(&sight), Decision::AddLearner);
    }
}

#[test]
fn an_added_member_that_nobody_remembers_is_taken_out_first() {
    let mut sight = sight(Vec::new(), Some(vec![learner(9, 1), member(2), member(3)]));
    assert_eq!(decide(&sight), Decision::Remove { id: 9 });
    // The node went down between being added and writing that down.
    (sight.record, sight.data) = (Some(record(Mode::New, false)), Data::Started);
    assert_eq!(decide(&sight), Decision::Remove { id: 9 });
}

#[test]
fn an_added_member_that_was_taken_out_again_is_not_started() {
    let mut sight = sight(Vec::new(), Some(vec![member(2), member(3)]));
    sight.record = Some(Record {
        member_id: Some(9),
        ..record(Mode::Existing, false)
    });
    assert_eq!(decide(&sight), Decision::AddLearner);
}

#[test]
fn two_replacements_take_turns() {
    for own in [None, Some(member(1))] {
        let mut members = vec![learner(9, 2), member(3)];
        members.extend(own);
        let said = reasons(decide(&sight(Vec::new(), Some(members))));
        assert_eq!(said, "dev-2 is joining etcd; one joins at a time");
    }
}

#[test]
fn only_the_very_member_of_the_record_is_confirmed() {
    let unconfirmed = record(Mode::New, false);
    let sure = confirmed(&unconfirmed, &member(1)).unwrap();
    assert_eq!(sure, record(Mode::New, true));
    assert_eq!(confirmed(&sure, &member(1)), None);
    let silent = Member {
        client_urls: Vec::new(),
        ..member(1)
    };
    assert_eq!(confirmed(&unconfirmed, &silent), None);
    let learner = Record {
        member_id: Some(9),
        ..record(Mode::Existing, false)
    };
    // The process of the member before still answers.
    assert_eq!(confirmed(&learner, &member(1)), None);
}

#[test]
fn a_process_of_another_member_is_known_by_its_id() {
    let learner = Record {
        member_id: Some(9),
        ..record(Mode::Existing, false)
    };
    assert_eq!(replaced(&learner, 1), Some(1));
    assert_eq!(replaced(&learner, 9), None);
    // The first members learn their ids from etcd.
    assert_eq!(replaced(&record(Mode::New, false), 1), None);
}
