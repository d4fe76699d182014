//! PID 1's native control protocol, version 1.
//!
//! One JSON message per SOCK_SEQPACKET packet, at most [`MAX_PACKET`] bytes, file descriptors by SCM_RIGHTS.
//! A client sends [`Request`]; PID 1 answers each with one [`Reply`] of the same `id`, and to a
//! `Watch` with a stream of [`Reply::Changed`] after it. Root may ask for everything, unless its unit keeps it from
//! CAP_SYS_ADMIN; PID 1 has tables of the users and units that may ask for something.

use serde::{Deserialize, Serialize};

/// Protocol version; a request with another one is refused.
pub const VERSION: u32 = 1;
/// Most bytes of one packet.
pub const MAX_PACKET: usize = 128 * 1024;
/// Most transient units at a time; those that have ended count until they are collected.
pub const MAX_TRANSIENT: usize = 2048;
/// Most of them that belong to one user who is not root.
pub const MAX_TRANSIENT_OF_ONE_USER: usize = 256;
/// Most waits of one client.
pub const MAX_WAITS: usize = 256;
/// Most bytes of a text for people in the status of one unit.
pub const MAX_TEXT: usize = 4096;
/// Most bytes of such a text in a list.
pub const MAX_TEXT_IN_LIST: usize = 512;

/// A request with its number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// [`VERSION`].
    pub version: u32,
    /// Chosen by the client, repeated in the reply.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// What a client can ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// All loaded units, from `offset` on; the reply says whether more follow.
    List {
        /// Units to skip, in name order.
        offset: usize,
    },
    /// One unit.
    Show {
        /// Its name.
        unit: String,
    },
    /// Start a unit and what it requires.
    Start {
        /// Its name.
        unit: String,
    },
    /// Stop a unit and what requires it.
    Stop {
        /// Its name.
        unit: String,
    },
    /// Stop, then start.
    Restart {
        /// Its name.
        unit: String,
    },
    /// Run ExecReload.
    Reload {
        /// Its name.
        unit: String,
    },
    /// Forget a failed state and its start counter.
    ResetFailed {
        /// Its name.
        unit: String,
    },
    /// Send a signal to every process of a unit.
    Kill {
        /// Its name.
        unit: String,
        /// 1 to 64.
        signal: i32,
    },
    /// Send every later state change on this connection.
    Watch,
    /// Shut down in order, then do this.
    Shutdown {
        /// What comes after.
        action: ShutdownAction,
    },
    /// Start a transient unit from an `ExecPlan`; its fd slots refer to the fds of this packet. It belongs to the user who
    /// asked, and no connection: whoever may collect it can do so later.
    Run {
        /// Unit name, ending in `.service`, not in use.
        unit: String,
        /// What the child will be.
        plan: Box<crate::plan::ExecPlan>,
    },
    /// The state of a unit once it is down and nothing waits to start it; answered then, and not before. A unit that is
    /// forgotten meanwhile is an error.
    Wait {
        /// Its name.
        unit: String,
    },
    /// Exit status of an ended transient unit; forgets it.
    Collect {
        /// Its name.
        unit: String,
    },
    /// Which devices there are, and which are gone: of the device service.
    Devices {
        /// What this is a part of.
        telling: crate::device::Telling,
        /// Devices that have come or changed.
        devices: Vec<crate::device::Device>,
        /// Those that are gone, by [`crate::device::Device::path`].
        gone: Vec<String>,
    },
    /// Execute PID 1 anew in place: nothing of what it supervises ends. Answered before.
    Reexecute,
    /// Crash, for tests: refused unless the kernel command line has `bedplate.fault=crash`.
    Crash,
}

/// What follows a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownAction {
    /// RB_AUTOBOOT.
    Reboot,
    /// RB_POWER_OFF.
    Poweroff,
    /// RB_HALT_SYSTEM.
    Halt,
}

impl ShutdownAction {
    /// What the start of a target means, if it means a shutdown.
    pub fn of_target(name: &str) -> Option<Self> {
        match name {
            "reboot.target" => Some(Self::Reboot),
            "poweroff.target" => Some(Self::Poweroff),
            "halt.target" => Some(Self::Halt),
            _ => None,
        }
    }
}

/// A reply with the number of its request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// [`VERSION`].
    pub version: u32,
    /// The request's number.
    pub id: u64,
    /// What is said.
    pub reply: Reply,
}

/// What PID 1 answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, or begun.
    Ok,
    /// Part of the list.
    Units {
        /// In name order.
        units: Vec<UnitStatus>,
        /// Offset to ask next, if more follow.
        next: Option<usize>,
    },
    /// One unit.
    Unit(UnitStatus),
    /// A state change, after `Watch`.
    Changed(UnitStatus),
    /// How a transient unit ended.
    Exited(ExitStatus),
    /// Refused; says why and what to do.
    Error(String),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// exit(2) with this code.
    Exited(i32),
    /// Killed by this signal.
    Signaled(i32),
    /// Killed by this signal, and its memory was written down or handed to whoever asks for it (core(5)).
    Dumped(i32),
}

/// The state of one unit, in systemd's words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Name with suffix.
    pub name: String,
    /// `Description=`.
    pub description: String,
    /// `loaded`, `not-found`, `bad-setting`, `error`, `masked`.
    pub load: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active: String,
    /// `running`, `exited`, `dead`, `auto-restart`, `start`, `stop-sigterm` and so on.
    pub sub: String,
    /// Main process, if one runs.
    pub main_pid: Option<i32>,
    /// Control group below the cgroup root, if one exists.
    pub cgroup: Option<String>,
    /// `STATUS=` of sd_notify.
    pub status_text: Option<String>,
    /// `success`, `exit-code`, `signal`, `core-dump`, `timeout`, `watchdog`, `start-limit-hit`, `resources`, `protocol`,
    /// `oom-kill`, `exec-condition`. What kept it from starting at all is no result, as in systemd: `reason` says it.
    pub result: String,
    /// Last exit of the main process.
    pub exit: Option<ExitStatus>,
    /// Automatic restarts since the last explicit start.
    pub restarts: u32,
    /// Why it waits or failed, for people.
    pub reason: Option<String>,
    /// CLOCK_MONOTONIC microseconds of the last change of `active`.
    pub since_monotonic_us: u64,
    /// CLOCK_MONOTONIC microseconds of the last start of the main process.
    pub main_started_monotonic_us: Option<u64>,
}

impl ExitStatus {
    /// systemd's word for its kind, and the code or signal.
    pub fn parts(self) -> (&'static str, i32) {
        match self {
            Self::Exited(code) => ("exited", code),
            Self::Signaled(signal) => ("killed", signal),
            Self::Dumped(signal) => ("dumped", signal),
        }
    }
}

impl UnitStatus {
    /// Cuts each text for people to at most `most` bytes, between characters.
    pub fn cut(mut self, most: usize) -> Self {
        let texts = [&mut self.status_text, &mut self.reason];
        let texts = texts.into_iter().flatten();
        for text in texts.chain([&mut self.description]) {
            text.truncate(text.floor_char_boundary(most));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let status = UnitStatus {
            description: "ééé".into(),
            reason: Some("short".into()),
            ..UnitStatus::default()
        };
        let cut = status.cut(5);
        assert_eq!(cut.description, "éé");
        assert_eq!(cut.reason.as_deref(), Some("short"));
    }
}
