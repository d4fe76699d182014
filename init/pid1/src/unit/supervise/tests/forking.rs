//! Lives of services that fork.

use super::*;

const NAMED: &str = "[Service]\nType=forking\nPIDFile=a.pid\nExecStart=/d\nRestart=no\n";

/// The daemon's parent ends, and these are left in the group.
fn fork(story: &mut Story, left: &[i32]) {
    story.paper.processes.extend(left);
    story.control_ends(OK);
}

#[test]
fn a_daemon_is_up_once_its_file_names_it() {
    let mut story = Story::begin(NAMED);
    story.stands(Phase::Start, Outcome::Success);
    fork(&mut story, &[50, 51]);
    story.stands(Phase::Start, Outcome::Success);
    assert!(
        story
            .state
            .reason
            .as_deref()
            .is_some_and(|reason| reason.contains("/run/a.pid"))
    );
    story
        .runs_out(Timer::PidFile)
        .stands(Phase::Start, Outcome::Success);
    story.paper.named = Some(51);
    story
        .runs_out(Timer::PidFile)
        .stands(Phase::Running, Outcome::Success);
    assert_eq!(
        (story.state.main, story.state.reason.clone()),
        (Some(51), None)
    );
    story.paper.processes.remove(&50);
    story.main_ends(BAD);
    story.machine().group_empty();
    story.stands(Phase::Failed, Outcome::ExitCode);
    assert!(story.log().contains(&"remove /run/a.pid".to_string()));
}

#[test]
fn a_parent_that_fails_fails_the_start() {
    let mut story = Story::begin(NAMED);
    story.control_ends(BAD);
    story.machine().group_empty();
    story.stands(Phase::Failed, Outcome::ExitCode);
}

#[test]
fn a_file_that_never_comes_ends_in_the_start_timeout() {
    let mut story = Story::begin(NAMED);
    fork(&mut story, &[50]);
    story.runs_out(Timer::Phase);
    story.stands(Phase::StopSigterm, Outcome::Timeout);
    assert_eq!(story.paper.deadline(Timer::PidFile), None);
}

#[test]
fn a_daemon_that_dies_before_it_is_named_breaks_the_rules() {
    let mut story = Story::begin(NAMED);
    fork(&mut story, &[50]);
    story.paper.processes.clear();
    story.machine().group_empty();
    story.stands(Phase::Failed, Outcome::Protocol);

    let mut story = Story::begin(NAMED);
    fork(&mut story, &[]);
    story.stands(Phase::Failed, Outcome::Protocol);
}

#[test]
fn exec_start_post_may_write_the_file() {
    let mut story = Story::begin(&format!("{NAMED}ExecStartPost=/p\n"));
    fork(&mut story, &[50]);
    story.stands(Phase::StartPost, Outcome::Success);
    story.control_ends(OK);
    story.stands(Phase::StartPost, Outcome::Success);
    story.paper.named = Some(50);
    story
        .runs_out(Timer::PidFile)
        .stands(Phase::Running, Outcome::Success);
    assert_eq!(story.state.main, Some(50));
}

#[test]
fn looking_for_the_file_does_not_put_off_the_start_timeout() {
    let mut story = Story::begin(&format!("{NAMED}ExecStartPost=/p\n"));
    fork(&mut story, &[50]);
    story.control_ends(OK);
    let deadline = story.paper.deadline(Timer::Phase);
    for _ in 0..5 {
        story.runs_out(Timer::PidFile);
    }
    assert_eq!(story.paper.deadline(Timer::Phase), deadline);
    story.runs_out(Timer::Phase);
    assert_eq!(story.state.result, Outcome::Timeout);
}

#[test]
fn a_daemon_may_hand_over_to_its_successor() {
    let mut story = Story::begin(NAMED);
    story.paper.named = Some(50);
    fork(&mut story, &[50, 60]);
    story.paper.named = Some(60);
    story.main_ends(OK);
    story.stands(Phase::Running, Outcome::Success);
    assert_eq!(story.state.main, Some(60));
    story.paper.named = None;
    story.main_ends(OK);
    story.machine().group_empty();
    story.stands(Phase::Dead, Outcome::Success);
}

#[test]
fn what_a_run_before_has_left_is_not_the_main_process() {
    let mut story = Story::begin(&format!("{NAMED}KillMode=none\n"));
    story.paper.named = Some(50);
    fork(&mut story, &[50]);
    story.machine().stop();
    story.stands(Phase::Dead, Outcome::Success);
    story.paper.named = None;
    story.machine().begin(false);
    fork(&mut story, &[70]);
    story.stands(Phase::Start, Outcome::Success);
    assert_eq!(story.state.main, None);
}

#[test]
fn a_main_process_that_died_during_the_start_is_not_replaced_by_another() {
    let mut story = Story::begin("[Service]\nType=forking\nExecStart=/d\nExecStartPost=/p\n");
    fork(&mut story, &[50]);
    story.paper.processes.insert(51);
    story.main_ends(BAD);
    story.control_ends(OK);
    assert_eq!(story.state.main, None);
    assert_eq!(story.state.result, Outcome::ExitCode);
    assert!(!story.state.phase.is_up());
}

#[test]
fn without_a_file_the_only_process_is_the_main_one() {
    let mut story = Story::begin("[Service]\nType=forking\nExecStart=/d\n");
    fork(&mut story, &[50]);
    story.stands(Phase::Running, Outcome::Success);
    assert_eq!(
        (story.state.main, story.state.main_unknown),
        (Some(50), false)
    );
}

#[test]
fn where_the_main_process_is_not_known_the_last_one_counts() {
    for text in [
        "[Service]\nType=forking\nExecStart=/d\n",
        "[Service]\nType=forking\nGuessMainPID=no\nExecStart=/d\n",
    ] {
        let mut story = Story::begin(text);
        fork(&mut story, &[50, 51]);
        story.stands(Phase::Running, Outcome::Success);
        assert_eq!((story.state.main, story.state.main_unknown), (None, true));
        story.paper.processes.remove(&50);
        story.machine().group_empty();
        story.stands(Phase::Running, Outcome::Success);
        story.paper.processes.clear();
        story.machine().group_empty();
        story.stands(Phase::Dead, Outcome::Success);
    }
}

#[test]
fn what_leaves_nothing_behind_is_over_unless_it_remains() {
    let mut story = Story::begin("[Service]\nType=forking\nExecStart=/d\n");
    fork(&mut story, &[]);
    story.stands(Phase::Dead, Outcome::Success);
    let mut story = Story::begin("[Service]\nType=forking\nRemainAfterExit=yes\nExecStart=/d\n");
    fork(&mut story, &[]);
    story.stands(Phase::Exited, Outcome::Success);
}

#[test]
fn it_is_stopped_with_its_daemon() {
    let mut story = Story::begin(NAMED);
    story.paper.named = Some(50);
    fork(&mut story, &[50]);
    story.stands(Phase::Running, Outcome::Success);
    story.log();
    story.machine().stop();
    assert_eq!(story.log(), ["SIGTERM to 1 in group"]);
    story.main_ends(ExitStatus::Signaled(15));
    story.machine().group_empty();
    story.stands(Phase::Dead, Outcome::Success);
}
