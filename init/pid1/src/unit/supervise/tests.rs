//! Lives of services, told as stories, on a host that writes down.

use std::collections::BTreeSet;

use spec_unit::finding::Place;
use spec_unit::name::{UnitName, UnitType};
use spec_unit::parse::parse;
use spec_unit::specifier::{Facts, Specifiers};

use super::*;
use crate::notify::Message;

/// A host without processes: what was asked of it, in order.
#[derive(Default)]
struct Paper {
    now_us: u64,
    next_pid: i32,
    log: Vec<String>,
    timers: Vec<(Timer, Option<u64>)>,
    processes: BTreeSet<i32>,
    refuse: Option<&'static str>,
    /// What systemd would exit with instead.
    refuse_by: Option<i32>,
    /// Processes that the kernel has killed for want of memory.
    killed_for_memory: u64,
    /// What a PIDFile= names.
    named: Option<i32>,
    /// How often the group was let go on.
    thawed: usize,
}

impl Paper {
    fn deadline(&self, timer: Timer) -> Option<u64> {
        self.timers
            .iter()
            .rev()
            .find(|(kind, _)| *kind == timer)
            .and_then(|(_, at)| *at)
    }
}

impl Host for Paper {
    fn now_us(&self) -> u64 {
        self.now_us
    }
    fn spawn(&mut self, service: &mut Spawn<'_>) -> Result<i32, Refusal> {
        let program = service
            .command
            .map_or("plan", |command| command.program.as_str())
            .to_string();
        if self.refuse == Some(program.as_str()) {
            return Err(Refusal {
                message: "no more processes".into(),
                status: self.refuse_by,
            });
        }
        self.next_pid += 1;
        self.processes.insert(self.next_pid);
        service.state.cgroup = Some("system.slice/a.service".into());
        self.log.push(format!("run {program}"));
        Ok(self.next_pid)
    }
    fn signal(&mut self, pid: i32, signal: i32) {
        self.log.push(format!("{} to {pid}", signal_name(signal)));
    }
    fn signal_group(&mut self, _: &str, signal: i32) -> usize {
        if signal != libc::SIGCONT {
            self.log.push(format!(
                "{} to {} in group",
                signal_name(signal),
                self.processes.len()
            ));
        }
        self.processes.len()
    }
    fn thaw(&mut self, _: &str) {
        self.thawed += 1;
    }
    fn populated(&self, _: &str) -> bool {
        !self.processes.is_empty()
    }
    fn adopt_named(&mut self, _: UnitId, _: &str, _: &str) -> Result<i32, String> {
        let named = self.named.filter(|pid| self.processes.contains(pid));
        named.ok_or_else(|| "it is not there yet".into())
    }
    fn adopt_only(&mut self, _: UnitId, _: &str) -> Option<i32> {
        let mut processes = self.processes.iter();
        processes
            .next()
            .copied()
            .filter(|_| processes.next().is_none())
    }
    fn remove_pid_file(&mut self, pid_file: &str) {
        self.log.push(format!("remove {pid_file}"));
    }
    fn killed_for_memory(&self, _: &str) -> u64 {
        self.killed_for_memory
    }
    fn clean(&mut self, _: UnitId, state: &mut UnitState) {
        if self.processes.is_empty() {
            state.cgroup = None;
        }
        self.log.push("clean".into());
    }
    fn arm(&mut self, _: UnitId, timer: Timer, at_us: Option<u64>) {
        self.timers.push((timer, at_us));
    }
    fn say(&mut self, _: Level, _: &str, message: &str) {
        self.log.push(format!("say {message}"));
    }
}

struct Story {
    unit: Unit,
    state: UnitState,
    paper: Paper,
}

impl Story {
    fn of(text: &str) -> Self {
        let facts = Facts::default();
        let name = UnitName::parse("a.service").unwrap();
        let specifiers = Specifiers {
            name: &name,
            fragment: "/a.service",
            facts: &facts,
        };
        let mut unit = Unit::new("a.service", UnitType::Service);
        for assignment in parse("/a.service", text.as_bytes()).assignments {
            assert_eq!(
                spec_unit::directive::apply(&mut unit, &assignment, &specifiers),
                None
            );
        }
        assert!(
            unit.refusals.is_empty(),
            "{:?} {:?}",
            unit.refusals,
            Place::default()
        );
        Self {
            unit,
            state: UnitState::default(),
            paper: Paper::default(),
        }
    }

    fn machine(&mut self) -> Machine<'_> {
        Machine {
            id: 0,
            unit: &self.unit,
            state: &mut self.state,
            host: &mut self.paper,
        }
    }

    fn begin(text: &str) -> Self {
        let mut story = Self::of(text);
        story.machine().begin(false);
        story
    }

    fn main_ends(&mut self, status: ExitStatus) -> &mut Self {
        let pid = self.state.main.expect("a main process");
        self.paper.processes.remove(&pid);
        self.machine().main_ended(status);
        self
    }

    fn control_ends(&mut self, status: ExitStatus) -> &mut Self {
        let pid = self.state.control.expect("a control process");
        self.paper.processes.remove(&pid);
        self.machine().control_ended(status);
        self
    }

    fn ready(&mut self) -> &mut Self {
        self.machine().notified(&Message {
            ready: true,
            ..Message::default()
        });
        self
    }

    fn runs_out(&mut self, timer: Timer) -> &mut Self {
        self.paper.now_us = self.paper.deadline(timer).expect("a running clock");
        self.machine().timer(timer);
        self
    }

    fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.paper.log)
    }

    fn stands(&self, phase: Phase, result: Outcome) {
        assert_eq!(
            (self.state.phase, self.state.result),
            (phase, result),
            "{:?}",
            self.paper.log
        );
    }
}

const OK: ExitStatus = ExitStatus::Exited(0);
const BAD: ExitStatus = ExitStatus::Exited(1);
const KILLED: ExitStatus = ExitStatus::Signaled(9);

#[test]
fn a_simple_service_runs_all_its_commands_in_order() {
    let text = "[Service]\nExecCondition=/c\nExecStartPre=/p1\nExecStartPre=/p2\nExecStart=/s\nExecStartPost=/q\n\
                ExecStop=/t\nExecStopPost=/u\n";
    let mut story = Story::begin(text);
    story.control_ends(OK).control_ends(OK).control_ends(OK);
    story.stands(Phase::StartPost, Outcome::Success);
    story
        .control_ends(OK)
        .stands(Phase::Running, Outcome::Success);
    story.machine().stop();
    story.stands(Phase::Stop, Outcome::Success);
    story
        .control_ends(OK)
        .stands(Phase::StopSigterm, Outcome::Success);
    story.main_ends(ExitStatus::Signaled(15)).control_ends(OK);
    story.stands(Phase::Dead, Outcome::Success);
    let expected = [
        "run /c",
        "run /p1",
        "run /p2",
        "run /s",
        "run /q",
        "run /t",
        "SIGTERM to 1 in group",
        "run /u",
    ];
    let log: Vec<String> = story
        .log()
        .into_iter()
        .filter(|line| !line.ends_with("to 0 in group") && line != "clean")
        .collect();
    assert_eq!(log, expected);
}

#[test]
fn an_exec_service_is_up_once_its_program_runs() {
    let mut story = Story::begin("[Service]\nType=exec\nExecStart=/s\n");
    story.stands(Phase::Start, Outcome::Success);
    story.machine().exec_done(1);
    story.stands(Phase::Running, Outcome::Success);
}

#[test]
fn a_program_that_is_missing_fails_with_its_reason() {
    let mut story = Story::begin("[Service]\nType=exec\nExecStart=/s\n");
    story.machine().exec_failed("/s: execution: No such file");
    story
        .main_ends(ExitStatus::Exited(203))
        .stands(Phase::Failed, Outcome::ExitCode);
    assert_eq!(
        story.state.reason.as_deref(),
        Some("/s: execution: No such file")
    );
}

#[test]
fn a_notify_service_is_up_when_it_says_so_and_not_before() {
    let mut story = Story::begin("[Service]\nType=notify\nExecStart=/s\n");
    story.stands(Phase::Start, Outcome::Success);
    assert!(story.machine().hears(1) && !story.machine().hears(2));
    story.ready().stands(Phase::Running, Outcome::Success);
    let mut quiet = Story::begin("[Service]\nType=notify\nExecStart=/s\n");
    quiet.main_ends(OK).stands(Phase::Failed, Outcome::Protocol);
}

#[test]
fn a_start_that_takes_too_long_is_ended_and_then_killed() {
    let mut story =
        Story::begin("[Service]\nType=notify\nTimeoutStartSec=5\nTimeoutStopSec=3\nExecStart=/s\n");
    story
        .runs_out(Timer::Phase)
        .stands(Phase::StopSigterm, Outcome::Timeout);
    assert_eq!(story.paper.now_us, 5_000_000);
    story
        .runs_out(Timer::Phase)
        .stands(Phase::StopSigkill, Outcome::Timeout);
    assert_eq!(story.paper.now_us, 8_000_000);
    story
        .main_ends(KILLED)
        .stands(Phase::Failed, Outcome::Timeout);
    assert!(
        story
            .log()
            .iter()
            .any(|line| line == "SIGKILL to 1 in group")
    );
}

#[test]
fn extend_timeout_gives_more_time() {
    let mut story = Story::begin("[Service]\nType=notify\nTimeoutStartSec=5\nExecStart=/s\n");
    story.paper.now_us = 4_000_000;
    story.machine().notified(&Message {
        extend_timeout_us: Some(9_000_000),
        ..Message::default()
    });
    assert_eq!(story.paper.deadline(Timer::Phase), Some(13_000_000));
}

#[test]
fn a_oneshot_runs_its_commands_one_by_one_and_is_done() {
    let mut story =
        Story::begin("[Service]\nType=oneshot\nExecStart=/a\nExecStart=-/b\nExecStart=/c\n");
    assert_eq!(
        story.paper.deadline(Timer::Phase),
        None,
        "it may take for ever"
    );
    story
        .main_ends(OK)
        .main_ends(BAD)
        .stands(Phase::Start, Outcome::Success);
    story.main_ends(OK).stands(Phase::Dead, Outcome::Success);
    let mut stays = Story::begin("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/a\n");
    stays.main_ends(OK).stands(Phase::Exited, Outcome::Success);
    stays.machine().stop();
    stays.stands(Phase::Dead, Outcome::Success);
    Story::begin("[Service]\nType=oneshot\nExecStart=/a\n")
        .main_ends(BAD)
        .stands(Phase::Failed, Outcome::ExitCode);
}

#[test]
fn a_failed_condition_skips_and_a_broken_one_fails() {
    let text = "[Service]\nExecCondition=/c\nExecStart=/s\nRestart=always\n";
    Story::begin(text)
        .control_ends(BAD)
        .stands(Phase::Dead, Outcome::ExecCondition);
    Story::begin("[Service]\nExecCondition=/c\nExecStart=/s\n")
        .control_ends(ExitStatus::Exited(255))
        .stands(Phase::Failed, Outcome::ExitCode);
}

#[test]
fn a_failed_start_pre_ends_the_start_and_still_cleans_up() {
    let mut story = Story::begin("[Service]\nExecStartPre=/p\nExecStart=/s\nExecStopPost=/u\n");
    story
        .control_ends(BAD)
        .stands(Phase::StopPost, Outcome::ExitCode);
    story
        .control_ends(OK)
        .stands(Phase::Failed, Outcome::ExitCode);
    assert!(!story.log().contains(&"run /s".to_string()));
}

#[test]
fn what_the_main_process_leaves_behind_is_ended_before_the_service_is_down() {
    let mut story = Story::begin("[Service]\nExecStart=/s\n");
    story.paper.processes.insert(77);
    story
        .main_ends(OK)
        .stands(Phase::StopSigterm, Outcome::Success);
    story.paper.processes.clear();
    story.machine().group_empty();
    story.stands(Phase::Dead, Outcome::Success);
    let mut stubborn = Story::begin("[Service]\nExecStart=/s\n");
    stubborn.paper.processes.insert(77);
    stubborn
        .main_ends(OK)
        .runs_out(Timer::Phase)
        .stands(Phase::StopSigkill, Outcome::Timeout);
}

#[test]
fn kill_modes_reach_whom_they_name() {
    let stop = |mode: &str| {
        let mut story = Story::begin(&format!("[Service]\nExecStart=/s\nKillMode={mode}\n"));
        story.paper.processes.insert(77);
        story.log();
        story.machine().stop();
        story
    };
    assert_eq!(stop("control-group").log(), ["SIGTERM to 2 in group"]);
    assert_eq!(stop("process").log(), ["SIGTERM to 1", "SIGCONT to 1"]);
    let mut mixed = stop("mixed");
    assert_eq!(mixed.log(), ["SIGTERM to 1", "SIGCONT to 1"]);
    mixed
        .main_ends(ExitStatus::Signaled(15))
        .stands(Phase::FinalSigkill, Outcome::Success);
    assert_eq!(mixed.log(), ["SIGKILL to 1 in group"]);
    let mut none = stop("none");
    none.stands(Phase::Dead, Outcome::Success);
    assert_eq!(none.log(), ["clean"]);
}

#[test]
fn a_service_is_not_restarted_while_a_process_of_its_last_run_is_left() {
    let text = "[Service]\nExecStart=/s\nExecStopPost=/u\nRestart=always\n";
    for mode in ["control-group", "mixed"] {
        let mut story = Story::begin(&format!("{text}KillMode={mode}\n"));
        story.paper.processes.insert(77);
        story.main_ends(KILLED);
        while story.state.phase != Phase::FinalSigterm {
            story.runs_out(Timer::Phase);
        }
        story.log();
        story.control_ends(KILLED);
        if mode == "mixed" {
            story.stands(Phase::FinalSigkill, Outcome::Signal);
            assert_eq!(story.log(), ["SIGKILL to 1 in group"]);
        }
        story.machine().group_empty();
        assert_ne!(story.state.phase, Phase::AutoRestart, "{mode}");
        story.paper.processes.clear();
        story.machine().group_empty();
        story.stands(Phase::AutoRestart, Outcome::Signal);
        assert_eq!(story.state.cgroup, None);
    }
}

/// Its processes outlast every clock, as while a disk answers nobody.
fn given_up(text: &str) -> Story {
    let mut story = Story::begin(text);
    story.paper.processes.insert(77);
    story.main_ends(KILLED);
    while story.state.phase != Phase::Failed {
        story.runs_out(Timer::Phase);
    }
    story
}

#[test]
fn a_service_that_was_given_up_restarts_once_its_group_is_empty() {
    let text = "[Service]\nExecStart=/s\nRestart=always\n";
    let mut story = given_up(text);
    story.machine().group_empty();
    story.stands(Phase::Failed, Outcome::Signal);
    story.paper.processes.clear();
    story.machine().group_empty();
    story.stands(Phase::AutoRestart, Outcome::Signal);
    assert!(story.paper.deadline(Timer::Phase).is_some());
    let mut stopped = given_up(text);
    stopped.machine().stop();
    stopped.paper.processes.clear();
    stopped.machine().group_empty();
    stopped.stands(Phase::Failed, Outcome::Signal);
    let mut once = given_up("[Service]\nExecStart=/s\n");
    once.paper.processes.clear();
    once.machine().group_empty();
    once.stands(Phase::Failed, Outcome::Signal);
}

#[test]
fn a_main_process_that_ends_after_it_was_given_up_brings_the_service_back() {
    let mut story = Story::begin("[Service]\nExecStart=/s\nRestart=always\nRuntimeMaxSec=7\n");
    story.runs_out(Timer::Runtime);
    while story.state.phase != Phase::Failed {
        story.runs_out(Timer::Phase);
    }
    // The kernel counts it out of its group before it tells of its end.
    story.paper.processes.clear();
    story.machine().group_empty();
    story.stands(Phase::Failed, Outcome::Timeout);
    story
        .main_ends(KILLED)
        .stands(Phase::AutoRestart, Outcome::Timeout);
}

#[test]
fn a_start_beside_processes_that_were_left_is_said() {
    let mut story = Story::begin("[Service]\nExecStart=/s\nRestart=always\nKillMode=process\n");
    story.paper.processes.insert(77);
    story
        .main_ends(BAD)
        .stands(Phase::AutoRestart, Outcome::ExitCode);
    story.log();
    story.machine().begin(true);
    let said = "say starts beside processes of its last run";
    assert!(story.log().iter().any(|line| line.starts_with(said)));
}

#[test]
fn restart_policies_look_at_how_it_ended() {
    let after = |policy: &str, status: ExitStatus| {
        let mut story = Story::begin(&format!("[Service]\nExecStart=/s\nRestart={policy}\n"));
        story.main_ends(status);
        story.state.phase == Phase::AutoRestart
    };
    let table = [
        ("no", [false, false, false]),
        ("always", [true, true, true]),
        ("on-success", [true, false, false]),
        ("on-failure", [false, true, true]),
        ("on-abnormal", [false, false, true]),
        ("on-abort", [false, false, true]),
        ("on-watchdog", [false, false, false]),
    ];
    for (policy, expected) in table {
        assert_eq!(
            [after(policy, OK), after(policy, BAD), after(policy, KILLED)],
            expected,
            "{policy}"
        );
    }
    assert!(!after("always\nRestartPreventExitStatus=1", BAD));
    assert!(after("no\nRestartForceExitStatus=SIGKILL", KILLED));
}

#[test]
fn delays_grow_in_a_crash_loop_and_start_anew_after_a_long_run() {
    let mut story =
        Story::begin("[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/s\nRestart=always\n");
    let mut delays = Vec::new();
    for _ in 0..4 {
        story
            .main_ends(BAD)
            .stands(Phase::AutoRestart, Outcome::ExitCode);
        delays.push((story.paper.deadline(Timer::Phase).unwrap() - story.paper.now_us) / 1000);
        story.paper.now_us = story.paper.deadline(Timer::Phase).unwrap();
        story.machine().begin(true);
    }
    assert_eq!(delays, [100, 200, 400, 800]);
    assert_eq!(story.state.restarts, 4);
    story.paper.now_us += 60_000_000;
    story.main_ends(BAD);
    assert_eq!(
        story.paper.deadline(Timer::Phase).unwrap() - story.paper.now_us,
        100_000
    );
}

#[test]
fn the_start_limit_ends_a_crash_loop() {
    let mut story = Story::begin("[Service]\nExecStart=/s\nRestart=always\nRestartSec=0\n");
    for _ in 0..4 {
        story.main_ends(BAD);
        story.machine().begin(true);
        story.stands(Phase::Running, Outcome::Success);
    }
    story.main_ends(BAD);
    story.machine().begin(true);
    story.stands(Phase::Failed, Outcome::ExitCode);
    assert!(story.state.start_limit_hit);
    assert_eq!(story.paper.deadline(Timer::Phase), None);
    story.paper.now_us += 11_000_000;
    story.machine().begin(false);
    story.stands(Phase::Running, Outcome::Success);
}

#[test]
fn a_stop_is_not_followed_by_a_restart_and_ends_a_waiting_one() {
    let mut story = Story::begin("[Service]\nExecStart=/s\nRestart=always\n");
    story.machine().stop();
    story
        .main_ends(ExitStatus::Signaled(15))
        .stands(Phase::Dead, Outcome::Success);
    let mut waiting = Story::begin("[Service]\nExecStart=/s\nRestart=always\n");
    waiting
        .main_ends(BAD)
        .stands(Phase::AutoRestart, Outcome::ExitCode);
    waiting.machine().stop();
    waiting.stands(Phase::Failed, Outcome::ExitCode);
    assert_eq!(waiting.paper.deadline(Timer::Phase), None);
}

#[test]
fn a_service_that_feeds_no_watchdog_is_aborted_and_restarted() {
    let mut story =
        Story::begin("[Service]\nType=notify\nWatchdogSec=5\nRestart=on-watchdog\nExecStart=/s\n");
    story.ready();
    story.paper.now_us = 4_000_000;
    story.machine().notified(&Message {
        watchdog: true,
        ..Message::default()
    });
    assert_eq!(story.paper.deadline(Timer::Watchdog), Some(9_000_000));
    story
        .runs_out(Timer::Watchdog)
        .stands(Phase::StopWatchdog, Outcome::Watchdog);
    assert!(story.log().contains(&"SIGABRT to 1 in group".to_string()));
    story
        .main_ends(ExitStatus::Signaled(6))
        .stands(Phase::AutoRestart, Outcome::Watchdog);
}

#[test]
fn a_crash_whose_core_went_somewhere_has_a_word_of_its_own() {
    let mut story = Story::begin("[Service]\nRestart=on-abort\nExecStart=/s\n");
    story
        .main_ends(ExitStatus::Dumped(11))
        .stands(Phase::AutoRestart, Outcome::CoreDump);
    let mut story = Story::begin("[Service]\nSuccessExitStatus=SIGSEGV\nExecStart=/s\n");
    story
        .main_ends(ExitStatus::Dumped(11))
        .stands(Phase::Dead, Outcome::Success);
}

#[test]
fn runtime_max_ends_a_service_as_failed() {
    let mut story = Story::begin("[Service]\nRuntimeMaxSec=7\nExecStart=/s\n");
    story
        .runs_out(Timer::Runtime)
        .stands(Phase::StopSigterm, Outcome::Timeout);
}

#[test]
fn a_failed_reload_leaves_the_service_running() {
    let mut story = Story::begin("[Service]\nExecStart=/s\nExecReload=/r\n");
    story.machine().reload().unwrap();
    story.stands(Phase::Reload, Outcome::Success);
    story
        .control_ends(BAD)
        .stands(Phase::Running, Outcome::Success);
    let mut none = Story::begin("[Service]\nExecStart=/s\n");
    assert!(none.machine().reload().unwrap_err().contains("ExecReload"));
}

#[test]
fn a_process_that_cannot_be_made_fails_the_service() {
    let mut story = Story::of("[Service]\nExecStart=/s\n");
    story.paper.refuse = Some("/s");
    story.machine().begin(false);
    story.stands(Phase::Failed, Outcome::Resources);
    assert_eq!(story.state.reason.as_deref(), Some("no more processes"));
}

#[test]
fn an_account_that_is_not_there_fails_the_service_by_systemds_exit_code() {
    let mut story = Story::of("[Service]\nType=oneshot\nExecStart=/s\nExecStopPost=/p\n");
    story.paper.refuse = Some("/s");
    story.paper.refuse_by = Some(217);
    story.machine().begin(false);
    assert_eq!(story.state.main_exit, Some(ExitStatus::Exited(217)));
    story
        .control_ends(OK)
        .stands(Phase::Failed, Outcome::ExitCode);

    // As in systemd no main process has ended where another command is refused.
    let refused = |text: &str, by: i32| {
        let mut story = Story::of(text);
        story.paper.refuse = Some("/e");
        story.paper.refuse_by = Some(by);
        story.machine().begin(false);
        story
    };
    let story = refused("[Service]\nExecStartPre=/e\nExecStart=/s\n", 216);
    story.stands(Phase::Failed, Outcome::ExitCode);
    assert_eq!(story.state.main_exit, None);
    // What its end would mean, this means.
    refused("[Service]\nExecStartPre=-/e\nExecStart=/s\n", 217)
        .stands(Phase::Running, Outcome::Success);
    refused("[Service]\nExecCondition=/e\nExecStart=/s\n", 217)
        .stands(Phase::Dead, Outcome::ExecCondition);
    refused(
        "[Service]\nType=oneshot\nExecStart=/e\nSuccessExitStatus=217\n",
        217,
    )
    .stands(Phase::Dead, Outcome::Success);
    refused(
        "[Service]\nType=oneshot\nExecStart=-/e\nExecStart=/s\n",
        217,
    )
    .stands(Phase::Start, Outcome::Success);
    let mut stopping = Story::begin("[Service]\nExecStart=/s\nExecStopPost=-/e\nExecStopPost=/p\n");
    stopping.paper.refuse = Some("/e");
    stopping.paper.refuse_by = Some(217);
    stopping
        .main_ends(OK)
        .stands(Phase::StopPost, Outcome::Success);
    assert!(stopping.state.control.is_some(), "the next one runs");
}

#[test]
fn a_transient_plan_runs_and_its_end_is_kept() {
    let mut story = Story::of("[Unit]\nStartLimitBurst=0\n");
    story.state.plan = Some(Box::default());
    story.machine().begin(false);
    story.machine().exec_done(1);
    story.stands(Phase::Running, Outcome::Success);
    story
        .main_ends(ExitStatus::Exited(7))
        .stands(Phase::Failed, Outcome::ExitCode);
    assert_eq!(story.state.main_exit, Some(ExitStatus::Exited(7)));
}

#[test]
fn status_and_a_watchdog_of_its_own_choice_are_taken() {
    let mut story = Story::begin("[Service]\nType=notify\nWatchdogSec=5\nExecStart=/s\n");
    let message = Message {
        status: Some("busy".into()),
        watchdog_us: Some(1_000_000),
        ready: true,
        ..Message::default()
    };
    story.machine().notified(&message);
    assert_eq!(story.state.status_text.as_deref(), Some("busy"));
    assert_eq!(story.paper.deadline(Timer::Watchdog), Some(1_000_000));
}

mod exit_type;
mod forking;
mod memory;
mod reloading;
