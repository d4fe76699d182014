//! Lives of services that reload by a signal and say so.

use super::*;

const SERVICE: &str = "[Service]\nType=notify-reload\nExecStart=/s\nTimeoutStartSec=5\n";

fn up(text: &str) -> Story {
    let mut story = Story::begin(text);
    story.ready().stands(Phase::Running, Outcome::Success);
    story.paper.now_us = 1000;
    story.log();
    story
}

fn says_reloading(story: &mut Story, monotonic_us: Option<u64>) {
    story.machine().notified(&Message {
        reloading: true,
        monotonic_us,
        ..Message::default()
    });
}

#[test]
fn it_is_signalled_and_says_when_it_is_ready_again() {
    let mut story = up(SERVICE);
    story.machine().reload().unwrap();
    assert_eq!(story.log(), ["SIGHUP to 1"]);
    story.stands(Phase::ReloadSignal, Outcome::Success);
    assert!(story.state.phase.is_up());
    // About an earlier reload; and one that does not say when.
    says_reloading(&mut story, Some(999));
    says_reloading(&mut story, None);
    story.stands(Phase::ReloadSignal, Outcome::Success);
    story.ready().stands(Phase::ReloadSignal, Outcome::Success);
    says_reloading(&mut story, Some(1000));
    story.stands(Phase::ReloadNotify, Outcome::Success);
    story.ready().stands(Phase::Running, Outcome::Success);
    assert_eq!(story.paper.deadline(Timer::Phase), None);
}

#[test]
fn it_may_say_both_at_once() {
    let mut story = up(SERVICE);
    story.machine().reload().unwrap();
    story.machine().notified(&Message {
        reloading: true,
        ready: true,
        monotonic_us: Some(1000),
        ..Message::default()
    });
    story.stands(Phase::Running, Outcome::Success);
}

#[test]
fn its_commands_run_before_the_signal_which_the_unit_may_choose() {
    let mut story = up(&format!("{SERVICE}ExecReload=/r\nReloadSignal=SIGUSR1\n"));
    story.machine().reload().unwrap();
    story.stands(Phase::Reload, Outcome::Success);
    story.control_ends(OK);
    assert_eq!(story.log(), ["run /r", "SIGUSR1 to 1"]);
    story.stands(Phase::ReloadSignal, Outcome::Success);
}

#[test]
fn one_that_never_says_so_runs_on() {
    for begins in [false, true] {
        let mut story = up(SERVICE);
        story.machine().reload().unwrap();
        if begins {
            says_reloading(&mut story, Some(1000));
        }
        story.runs_out(Timer::Phase);
        story.stands(Phase::Running, Outcome::Success);
    }
}

#[test]
fn one_that_dies_of_it_has_failed_and_one_that_is_stopped_meanwhile_stops() {
    let mut story = up(SERVICE);
    story.machine().reload().unwrap();
    story.main_ends(BAD);
    story.machine().group_empty();
    story.stands(Phase::Failed, Outcome::ExitCode);

    let mut story = up(SERVICE);
    story.machine().reload().unwrap();
    story.machine().stop();
    story.stands(Phase::StopSigterm, Outcome::Success);
}

#[test]
fn one_that_reloads_by_itself_is_followed_until_it_is_ready() {
    for kind in ["notify", "notify-reload"] {
        let mut story = up(&format!(
            "[Service]\nType={kind}\nExecStart=/s\nTimeoutStartSec=5\n"
        ));
        says_reloading(&mut story, None);
        story.stands(Phase::ReloadNotify, Outcome::Success);
        assert!(story.machine().reload().is_err(), "it reloads already");
        story.ready().stands(Phase::Running, Outcome::Success);
        assert_eq!(story.paper.deadline(Timer::Phase), None);
        says_reloading(&mut story, None);
        story.runs_out(Timer::Phase);
        story.stands(Phase::Running, Outcome::Success);
    }
}

#[test]
fn one_that_reloads_while_it_comes_up_is_reloading_once_it_is_up() {
    let mut story = Story::begin("[Service]\nType=notify\nExecStart=/s\nExecStartPost=/p\n");
    story.ready().stands(Phase::StartPost, Outcome::Success);
    says_reloading(&mut story, None);
    story.control_ends(OK);
    story.stands(Phase::ReloadNotify, Outcome::Success);
    story.ready().stands(Phase::Running, Outcome::Success);
}
