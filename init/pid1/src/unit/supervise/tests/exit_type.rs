//! Lives of services with ExitType=cgroup.

use super::*;

fn up(text: &str) -> Story {
    let mut story = Story::begin(&format!("[Service]\nExitType=cgroup\nExecStart=/s\n{text}"));
    story.stands(Phase::Running, Outcome::Success);
    story.paper.processes.extend([60, 61]);
    story
}

#[test]
fn it_runs_until_its_last_process_ends() {
    for (end, phase, outcome) in [
        (OK, Phase::Dead, Outcome::Success),
        (BAD, Phase::Failed, Outcome::ExitCode),
    ] {
        let mut story = up("");
        story.main_ends(end);
        story.stands(Phase::Running, outcome);
        story.paper.processes.remove(&60);
        story.machine().group_empty();
        story.stands(Phase::Running, outcome);
        story.paper.processes.clear();
        story.machine().group_empty();
        story.stands(phase, outcome);
    }
}

#[test]
fn one_whose_main_process_is_the_last_ends_with_it() {
    let mut story = up("");
    story.paper.processes.clear();
    story.main_ends(OK);
    story.stands(Phase::Dead, Outcome::Success);
}

#[test]
fn it_may_remain_and_is_stopped_as_a_whole() {
    let mut story = up("RemainAfterExit=yes\n");
    story.main_ends(OK);
    story.paper.processes.clear();
    story.machine().group_empty();
    story.stands(Phase::Exited, Outcome::Success);

    let mut story = up("");
    story.machine().stop();
    story.main_ends(ExitStatus::Signaled(15));
    story.stands(Phase::StopSigterm, Outcome::Success);
    story.paper.processes.clear();
    story.machine().group_empty();
    story.stands(Phase::Dead, Outcome::Success);
}
