//! Lives of services of which the kernel kills a process for want of memory.

use super::*;

fn up(text: &str) -> Story {
    let mut story = Story::begin(&format!("[Service]\nExecStart=/s\n{text}"));
    story.stands(Phase::Running, Outcome::Success);
    story.log();
    story
}

/// One that is neither the main process nor another that was made by PID 1.
fn child_is_killed(story: &mut Story) {
    story.paper.killed_for_memory += 1;
    story.machine().memory_changed();
}

#[test]
fn the_whole_service_is_stopped_and_has_failed() {
    let mut story = up("ExecStop=/stop\n");
    child_is_killed(&mut story);
    story.stands(Phase::Stop, Outcome::OomKill);
    story.control_ends(OK);
    assert!(story.log().contains(&"run /stop".into()));
    story.stands(Phase::StopSigterm, Outcome::OomKill);
    story.main_ends(OK);
    story.machine().group_empty();
    story.stands(Phase::Failed, Outcome::OomKill);
}

#[test]
fn one_that_continues_runs_on_and_so_does_one_with_groups_of_its_own() {
    for text in ["OOMPolicy=continue\n", "Delegate=yes\n"] {
        let mut story = up(text);
        child_is_killed(&mut story);
        story.stands(Phase::Running, Outcome::Success);
        assert!(
            story
                .log()
                .iter()
                .any(|said| said.contains("want of memory"))
        );
        story.main_ends(KILLED);
        story.machine().group_empty();
        story.stands(Phase::Failed, Outcome::OomKill);
    }
}

#[test]
fn one_that_is_to_be_killed_is_not_asked_first() {
    let mut story = up("OOMPolicy=kill\nExecStop=/stop\n");
    child_is_killed(&mut story);
    story.stands(Phase::StopSigkill, Outcome::OomKill);
}

#[test]
fn lack_of_memory_is_no_reason_for_a_restart_on_abort() {
    let mut story = up("Restart=on-abort\nRestartSec=1\n");
    child_is_killed(&mut story);
    story.main_ends(KILLED);
    story.machine().group_empty();
    story.stands(Phase::Failed, Outcome::OomKill);
}

#[test]
fn each_run_counts_anew() {
    let mut story = up("Restart=on-failure\nRestartSec=1\n");
    child_is_killed(&mut story);
    story.main_ends(KILLED);
    story.machine().group_empty();
    story.stands(Phase::AutoRestart, Outcome::OomKill);
    // The kernel's count of a group that stayed, and of one that was made anew.
    for (count, stayed) in [(1, true), (0, false)] {
        story.paper.killed_for_memory = count;
        story.state.cgroup = stayed.then(|| "system.slice/a.service".into());
        story.machine().begin(true);
        story.machine().memory_changed();
        story.stands(Phase::Running, Outcome::Success);
    }
}

#[test]
fn what_pid_1_kills_ends_as_what_the_kernel_kills_and_says_why() {
    for (text, phase) in [
        ("ExecStop=/stop\n", Phase::Stop),
        ("OOMPolicy=kill\nExecStop=/stop\n", Phase::StopSigkill),
    ] {
        let mut story = up(text);
        story.machine().killed_for_pressure(true, "-.slice waited");
        story.stands(phase, Outcome::OomKill);
        assert_eq!(story.state.reason.as_deref(), Some("-.slice waited"));
    }
    let mut story = up("OOMPolicy=continue\nRestart=on-failure\nRestartSec=1\n");
    story.machine().killed_for_pressure(true, "-.slice waited");
    story.stands(Phase::Running, Outcome::Success);
    story.main_ends(KILLED);
    story.machine().group_empty();
    story.stands(Phase::AutoRestart, Outcome::OomKill);
    assert_eq!(story.state.reason.as_deref(), Some("-.slice waited"));
}

#[test]
fn a_group_that_a_service_has_made_is_killed_alone() {
    let mut story = up("Delegate=yes\n");
    story.machine().killed_for_pressure(false, "-.slice waited");
    story.stands(Phase::Running, Outcome::Success);
    assert_eq!(story.state.reason, None);
}
