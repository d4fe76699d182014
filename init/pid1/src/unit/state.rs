//! The state of a unit while PID 1 runs: plain data, so that it can be mirrored and read back.
//!
//! What a unit is comes from its files ([`spec_unit::unit::Unit`]); what happened to it stands here and nowhere else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spec_unit::control::ExitStatus;
use spec_unit::plan::Startup;

/// Where a unit stands, in the finest terms (systemd's sub state).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Not started, or ended well.
    #[default]
    Dead,
    /// ExecCondition= runs.
    Condition,
    /// ExecStartPre= runs.
    StartPre,
    /// ExecStart= runs and the service is not ready.
    Start,
    /// ExecStartPost= runs.
    StartPost,
    /// The service is ready.
    Running,
    /// Its process has ended and it counts as active all the same.
    Exited,
    /// A target is reached.
    Active,
    /// ExecReload= runs.
    Reload,
    /// ReloadSignal= was sent, and the service has not said RELOADING=1 since.
    ReloadSignal,
    /// It has, and is not ready again.
    ReloadNotify,
    /// ExecStop= runs.
    Stop,
    /// WatchdogSignal= was sent.
    StopWatchdog,
    /// KillSignal= was sent.
    StopSigterm,
    /// SIGKILL was sent.
    StopSigkill,
    /// ExecStopPost= runs.
    StopPost,
    /// KillSignal= was sent to what is left.
    FinalSigterm,
    /// SIGKILL was sent to what is left.
    FinalSigkill,
    /// A device is there.
    Plugged,
    /// A mount is made.
    Mounting,
    /// A file system is mounted.
    Mounted,
    /// It is unmounted.
    Unmounting,
    /// SIGKILL was sent to the process that mounts or unmounts.
    UnmountingSigkill,
    /// Ended badly.
    Failed,
    /// Waits for its next start.
    AutoRestart,
}

/// Where a unit stands, in the terms that other units care for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Active {
    /// Nothing of it runs.
    Inactive,
    /// On its way up.
    Activating,
    /// Up.
    Up,
    /// Up, and reloading.
    Reloading,
    /// On its way down.
    Deactivating,
    /// Ended badly.
    Failed,
}

impl Active {
    /// systemd's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Activating => "activating",
            Self::Up => "active",
            Self::Reloading => "reloading",
            Self::Deactivating => "deactivating",
            Self::Failed => "failed",
        }
    }
}

impl Phase {
    /// The coarse state.
    pub(crate) fn active(self) -> Active {
        match self {
            Self::Dead => Active::Inactive,
            Self::Failed => Active::Failed,
            Self::Condition
            | Self::StartPre
            | Self::Start
            | Self::StartPost
            | Self::Mounting
            | Self::AutoRestart => Active::Activating,
            Self::Running | Self::Exited | Self::Active | Self::Mounted | Self::Plugged => {
                Active::Up
            }
            Self::Reload | Self::ReloadSignal | Self::ReloadNotify => Active::Reloading,
            _ => Active::Deactivating,
        }
    }

    /// Whether everything in its group is to be killed.
    pub(crate) fn kills(self) -> bool {
        matches!(self, Self::StopSigkill | Self::FinalSigkill)
    }

    /// Nothing of the unit runs.
    pub(crate) fn is_down(self) -> bool {
        matches!(self, Self::Dead | Self::Failed | Self::AutoRestart)
    }

    /// Up.
    pub(crate) fn is_up(self) -> bool {
        matches!(self.active(), Active::Up | Active::Reloading)
    }

    /// systemd's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Condition => "condition",
            Self::StartPre => "start-pre",
            Self::Start => "start",
            Self::StartPost => "start-post",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Active => "active",
            Self::Reload => "reload",
            Self::ReloadSignal => "reload-signal",
            Self::ReloadNotify => "reload-notify",
            Self::Stop => "stop",
            Self::StopWatchdog => "stop-watchdog",
            Self::StopSigterm => "stop-sigterm",
            Self::StopSigkill => "stop-sigkill",
            Self::StopPost => "stop-post",
            Self::FinalSigterm => "final-sigterm",
            Self::FinalSigkill => "final-sigkill",
            Self::Plugged => "plugged",
            Self::Mounting => "mounting",
            Self::Mounted => "mounted",
            Self::Unmounting => "unmounting",
            Self::UnmountingSigkill => "unmounting-sigkill",
            Self::Failed => "failed",
            Self::AutoRestart => "auto-restart",
        }
    }
}

/// How the last run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// Well.
    #[default]
    Success,
    /// A process or folder could not be made.
    Resources,
    /// The service broke the rules of its type.
    Protocol,
    /// It took too long.
    Timeout,
    /// An exit code that is not clean.
    ExitCode,
    /// A signal that is not clean.
    Signal,
    /// A signal whose end was dumped.
    CoreDump,
    /// It no longer said WATCHDOG=1.
    Watchdog,
    /// The kernel killed it for want of memory.
    OomKill,
    /// It was started too often.
    StartLimitHit,
    /// A condition did not hold; it was skipped.
    Condition,
    /// An assert did not hold.
    Assert,
    /// ExecCondition= said to skip it.
    ExecCondition,
    /// A unit that it requires did not start.
    Dependency,
}

impl Outcome {
    /// systemd's word, for `SERVICE_RESULT` and the status.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Resources => "resources",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::ExitCode => "exit-code",
            Self::Signal => "signal",
            Self::CoreDump => "core-dump",
            Self::Watchdog => "watchdog",
            Self::OomKill => "oom-kill",
            Self::StartLimitHit => "start-limit-hit",
            Self::Condition => "condition",
            Self::Assert => "assert",
            Self::ExecCondition => "exec-condition",
            Self::Dependency => "dependency",
        }
    }

    /// The same for the status: what kept a unit from starting at all is no result of it in systemd.
    pub(crate) fn result(self) -> &'static str {
        match self {
            Self::Condition | Self::Assert | Self::Dependency => Self::Success.word(),
            _ => self.word(),
        }
    }

    /// Skipped or well: not a failure.
    pub(crate) fn is_fine(self) -> bool {
        matches!(self, Self::Success | Self::Condition | Self::ExecCondition)
    }
}

/// Nothing to mirror: it is what a unit begins with.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What happened to a unit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UnitState {
    /// Where it stands.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) phase: Phase,
    /// How the last run ended, or is about to.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) result: Outcome,
    /// Why it waits or failed, for people.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) reason: Option<String>,
    /// Microseconds of CLOCK_MONOTONIC at the last change of the coarse state.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) since_us: u64,
    /// The main process.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) main: Option<i32>,
    /// It has forked, and which of its processes is the main one is not known.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) main_unknown: bool,
    /// The process of another Exec line.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) control: Option<i32>,
    /// Number of the command that runs, in the list of the phase.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) command: usize,
    /// How the main process ended.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) main_exit: Option<ExitStatus>,
    /// When ExecStart= ran.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) started_us: Option<u64>,
    /// Times of the last starts, for the start limit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) starts_us: Vec<u64>,
    /// The last attempt to start it was one too many; [`UnitState::result`] may say what it failed by before.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) start_limit_hit: bool,
    /// The kernel has killed a process of this run for want of memory.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ran_out_of_memory: bool,
    /// How many processes in its control group the kernel had killed for want of memory when that was last looked at.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) killed_for_memory: u64,
    /// Times of the last starts because another unit upholds it.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) upheld_us: Vec<u64>,
    /// Automatic restarts since the last explicit start.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) restarts: u32,
    /// Short runs in a row.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) crashes: u32,
    /// It was told to stop, so it is not started again.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) told_to_stop: bool,
    /// It stops in order to be started again.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) restarting: bool,
    /// It was given up while a process of it was left. Once that one is gone, it restarts as it would have.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) left_behind: bool,
    /// STATUS= of sd_notify.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) status_text: Option<String>,
    /// When the present phase has taken too long.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) deadline_us: Option<u64>,
    /// The service said RELOADING=1 before it was up.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) said_reloading: bool,
    /// When ReloadSignal= was sent.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) reload_began_us: u64,
    /// WATCHDOG_USEC= of sd_notify, which goes before WatchdogSec=.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) watchdog_us: Option<u64>,
    /// INVOCATION_ID of this run.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) invocation: Option<String>,
    /// Its control group, while it has one.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cgroup: Option<String>,
    /// What holds there while the node starts and stops, by file.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) startup: BTreeMap<String, Startup>,
    /// Folders to remove when it has stopped.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) folders: Vec<String>,
    /// The plan of a transient unit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) plan: Option<Box<spec_unit::plan::ExecPlan>>,
    /// The user whose transient unit it is. One who is not root is given a user made up for the run.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) asked_by: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_survives_being_written_and_read() {
        let state = UnitState {
            phase: Phase::StopSigterm,
            result: Outcome::StartLimitHit,
            main: Some(7),
            main_exit: Some(ExitStatus::Signaled(9)),
            ..UnitState::default()
        };
        let text = serde_json::to_string(&state).unwrap();
        assert!(text.contains("stop-sigterm") && text.contains("start-limit-hit"));
        assert_eq!(serde_json::from_str::<UnitState>(&text).unwrap(), state);
    }

    #[test]
    fn a_service_that_waits_for_its_restart_is_down_and_on_its_way_up() {
        assert!(Phase::AutoRestart.is_down());
        assert_eq!(Phase::AutoRestart.active(), Active::Activating);
        assert_eq!(Phase::FinalSigterm.active(), Active::Deactivating);
    }
}
