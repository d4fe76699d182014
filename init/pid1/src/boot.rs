//! The root: from a verified, read-only file system to a node whose units can be started.
//!
//! [`PHASES`] is the whole order. A phase says what it lacks and boot goes on, unless [`crate::error`] calls that
//! fatal; whatever was lacking stands in the boot report, which the node API shows.

mod cgroups;
mod clock;
mod config;
pub(crate) mod console;
mod credentials;
mod etc;
mod helper;
mod hostname;
mod kernel;
mod loopback;
mod report;
mod state;

use std::path::Path;

use spec_layout::boot_report::BootReport;
use spec_layout::command_line::{self, CommandLine};
use spec_unit::control::ShutdownAction;

use crate::early::{modules::Loader, mount};
use crate::error::{self, Error, Result};
use crate::reexec::Inherited;
use crate::sys;
use crate::tmpfiles;
use crate::unit;
use crate::watchdog::{Setting, Watchdog};

/// What the phases share.
pub(crate) struct Boot {
    pub(crate) command_line: CommandLine,
    pub(crate) watchdog: Watchdog,
    pub(crate) report: BootReport,
    modules: Loader,
    /// Sets the state partition up while PID 1 goes through the phases that do not need it.
    state: std::result::Result<helper::Helper, String>,
}

impl Boot {
    /// Acts on a failure and remembers it for the boot report.
    fn lacks(&mut self, error: Error) {
        self.report.degraded.push(error.to_string());
        error::settle(&error);
    }
}

type Phase = fn(&mut Boot) -> Result<()>;

/// The order of boot.
const PHASES: &[(&str, Phase)] = &[
    ("watchdog", watchdog),
    ("root", report::root),
    ("clock", |_| clock::not_before_the_image()),
    ("API mounts", |_| mount::later()),
    ("control groups", |_| cgroups::build()),
    ("state begins", state::begin),
    ("EFI variables", |boot| {
        mount::efi_variables(&mut boot.modules)
    }),
    ("kernel settings", |_| kernel::set()),
    ("loopback link", |_| loopback::up()),
    ("writable /etc", |boot| etc::overlay(&mut boot.modules)),
    ("credentials", |boot| credentials::import(&mut boot.modules)),
    ("hostname", |_| hostname::from_etc()),
    ("volatile files", |boot| {
        tmpfiles::run(boot, tmpfiles::Pass::Volatile)
    }),
    ("state", state::finish),
    ("node id", |_| state::apply_node_id()),
    ("files of /var", |boot| {
        tmpfiles::run(boot, tmpfiles::Pass::Var)
    }),
    ("machine config", config::find),
    ("hostname of the config", |_| hostname::from_config()),
    ("boot report", report::write),
];

/// Runs every phase.
pub(crate) fn run(command_line: CommandLine) -> Boot {
    let mut boot = Boot {
        watchdog: Watchdog::none(),
        report: BootReport::default(),
        modules: Loader::new(Path::new("/usr/lib/modules"), &command_line),
        state: Err("it was not begun".to_owned()),
        command_line,
    };
    for (name, phase) in PHASES {
        crate::debug!("phase: {name}");
        if let Err(error) = phase(&mut boot) {
            boot.lacks(error);
        }
        boot.watchdog.feed();
    }
    // Megabytes on a kernel with all its drivers, and from here on the device service loads modules.
    boot.modules = Loader::default();
    boot
}

fn watchdog(boot: &mut Boot) -> Result<()> {
    let inherited = sys::watchdog::inherited();
    if inherited.is_none() {
        boot.modules.load_watchdog_drivers();
    }
    let setting = Setting::parse(boot.command_line.value(command_line::WATCHDOG));
    let chosen = *setting.as_ref().unwrap_or(&Setting::default());
    boot.watchdog = Watchdog::open(chosen, inherited);
    setting.map(drop)
}

/// Hands the node to the supervision of its units; returns when a shutdown was decided and they are stopped.
pub(crate) fn supervise(boot: &mut Boot, resumed: Option<unit::Resumed>) -> ShutdownAction {
    crate::pressure::lock_memory();
    let config = unit::Config {
        faults: boot.command_line.value(command_line::FAULT) == Some("crash"),
        ..unit::Config::default()
    };
    unit::run(&config, &mut boot.watchdog, resumed).unwrap_or_else(|error| {
        error::settle(&error);
        ShutdownAction::Reboot
    })
}

/// Takes over from the last image of PID 1: the node is up already. What cannot be taken over ends in a reboot.
pub(crate) fn resume(
    command_line: CommandLine,
    inherited: Inherited,
) -> (Boot, Option<unit::Resumed>) {
    let mut resumed = match unit::Resumed::read(inherited) {
        Ok(resumed) => resumed,
        Err(error) => error::die(&error),
    };
    // What is wrong with the setting was said at boot.
    let setting = Setting::parse(command_line.value(command_line::WATCHDOG)).unwrap_or_default();
    let boot = Boot {
        watchdog: Watchdog::open(setting, resumed.watchdog()),
        report: BootReport::default(),
        modules: Loader::default(),
        state: Err("this is not a boot".to_owned()),
        command_line,
    };
    (boot, Some(resumed))
}
