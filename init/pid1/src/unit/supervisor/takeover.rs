//! What the supervisor knows, as plain data: mirrored at each transition, and taken over by the next image of PID 1.
//!
//! - [`mirrored`]: what is written, and when
//! - [`resume`]: how the next image goes on
//!
//! Units are named, not numbered: the new image reads their files anew. Descriptors are named by their numbers. Clients
//! of the control socket stay over a planned re-execution; after a crash their connections end, as one of them may wait
//! for an answer that nobody knows of any more.

use std::collections::BTreeMap;
use std::os::fd::{OwnedFd, RawFd};

use serde::{Deserialize, Serialize};
use spec_unit::device::Device;
use spec_unit::plan::filter::Filters;

use super::super::job::Job;
use super::super::state::{UnitState, is_default};
use super::super::supervise::{Role, Timer};
use super::pressure;
use super::shutdown::Shutdown;
use crate::protocol::ClientRecord;
use crate::reexec::{CRASH_WINDOW_US, MOST_CRASHES};

mod mirrored;
mod resume;

pub(super) use mirrored::Mirrored;

/// Version of the mirror: an image does not read another one's.
const VERSION: u32 = 6;

/// What the supervisor has for a unit beside its state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Around {
    #[serde(skip_serializing_if = "is_default")]
    job: Option<Job>,
    #[serde(skip_serializing_if = "is_default")]
    timers: Vec<(Timer, u64)>,
    #[serde(skip_serializing_if = "is_default")]
    processes: Vec<Process>,
    #[serde(skip_serializing_if = "is_default")]
    handed: Vec<RawFd>,
    #[serde(skip_serializing_if = "is_default")]
    stored: Vec<Kept>,
    #[serde(skip_serializing_if = "is_default")]
    network: Option<RawFd>,
    #[serde(skip_serializing_if = "is_default")]
    ipc: Option<RawFd>,
    #[serde(skip_serializing_if = "is_default")]
    user: Option<(String, u32)>,
    #[serde(skip_serializing_if = "is_default")]
    held: Option<Filters>,
    #[serde(skip_serializing_if = "is_default")]
    ipc_owner: Option<(u32, bool)>,
}

/// A process that somebody waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    pid: i32,
    role: Role,
    pidfd: Option<RawFd>,
    report: Option<Report>,
}

/// The report of a child whose program does not run yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    socket: RawFd,
    program: String,
    ready: bool,
}

/// A stored descriptor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    name: String,
    watched: bool,
    fd: RawFd,
}

/// What belongs to no unit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rest {
    version: u32,
    shutdown: Option<Shutdown>,
    starting: bool,
    notify: Option<RawFd>,
    control: Option<RawFd>,
    clients: Vec<ClientRecord>,
    emptiers: BTreeMap<i32, String>,
    ipc_removers: BTreeMap<i32, (u32, Option<String>)>,
    removals: u64,
    idle: Option<RawFd>,
    watchdog: Option<RawFd>,
    crashes_us: Vec<u64>,
    pressure: pressure::Record,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Unit(&'a str, &'a UnitState, &'a Around),
    Gone(&'a str),
    Rest(&'a Rest),
    Devices(&'a [&'a Device]),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ReadLine {
    Unit(String, Box<UnitState>, Box<Around>),
    Gone(String),
    Rest(Box<Rest>),
    Devices(Vec<Device>),
}

/// What a mirror says.
#[derive(Debug, Default)]
pub(crate) struct State {
    units: BTreeMap<String, (UnitState, Around)>,
    rest: Rest,
    devices: Vec<Device>,
}

impl State {
    /// Reads a mirror. Its last line may be cut off.
    pub(crate) fn read(text: &[u8]) -> std::result::Result<Self, String> {
        let mut state = Self::default();
        let whole = text.len()
            - text
                .rsplit(|byte| *byte == b'\n')
                .next()
                .map_or(0, <[u8]>::len);
        let lines = text.get(..whole).unwrap_or_default();
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            match serde_json::from_slice(line).map_err(|cause| cause.to_string())? {
                ReadLine::Unit(name, unit, around) => {
                    state.units.insert(name, (*unit, *around));
                }
                ReadLine::Gone(name) => drop(state.units.remove(&name)),
                ReadLine::Rest(rest) => state.rest = *rest,
                ReadLine::Devices(devices) => state.devices = devices,
            }
        }
        match state.rest.version {
            VERSION => Ok(state),
            other => Err(format!("it is of version {other}; this is {VERSION}")),
        }
    }

    /// Number of the watchdog's descriptor.
    pub(crate) fn watchdog(&self) -> Option<RawFd> {
        self.rest.watchdog
    }

    /// Notes a crash; the error is that there were too many.
    pub(crate) fn note_crash(&mut self, now_us: u64) -> std::result::Result<(), String> {
        let crashes = &mut self.rest.crashes_us;
        crashes.retain(|at| now_us.saturating_sub(*at) < CRASH_WINDOW_US);
        crashes.push(now_us);
        if crashes.len() > MOST_CRASHES {
            let minutes = CRASH_WINDOW_US / 60_000_000;
            return Err(format!(
                "{} crashes within {minutes} minutes",
                crashes.len()
            ));
        }
        Ok(())
    }
}

type Descriptors = BTreeMap<RawFd, OwnedFd>;

#[cfg(test)]
mod tests;
