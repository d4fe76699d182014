//! Inits side by side: the same N trivial services under each, on the same kernel, in one machine after the other.
//!
//! - [`root`]: the roots: a floor in C, s6, runit, systemd, and a node of ours
//! - `node.c`: the service, the floor, and the monitor that measures from inside
//!
//! The roots of the others are unpacked into memory by the kernel; ours is a verified file system in memory, as a node
//! has it, so a page of a program is checked when it is read first. The handoff is the kernel's "Run /init"; a node's is
//! the end of its phases, after which it looks at units. The floor and both that read unit files give each service a
//! control group with the same controllers; s6 and runit have none.

mod root;

use std::path::Path;
use std::time::Duration;

use qemu_tests::accel::{Accel, COUNTED_PER_SECOND};
use qemu_tests::vm::{Boot, Vm, VmSpec};

pub(crate) use self::root::Init;
use self::root::Roots;
use super::{Bench, Figure, note};
use crate::exit::Error;
use crate::measure;

/// A run may take so long, on a machine without KVM that does other things too.
const PATIENCE: Duration = Duration::from_secs(900);
/// Processors of a machine, as far as it can have so many.
const PROCESSORS: u32 = 2;
/// Memory of a machine: 500 supervisors of runit need some.
const MEMORY_MIB: u32 = 1024;

/// What one run tells.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Told {
    /// Handoff to the last service up, seconds.
    up: f64,
    /// Proportional memory of PID 1 and of its helpers, bytes.
    memory: f64,
    /// From SIGKILL until the next process has started, milliseconds.
    restart: f64,
    /// From the request until the machine is off, seconds.
    off: f64,
}

impl Bench<'_> {
    /// Every init with every number of services.
    pub(super) fn inits(&self) -> Result<Vec<Figure>, Error> {
        let roots = Roots::new(&self.workspace, &self.scratch.join("init"))?;
        let accel = Accel::detect();
        let mut figures = Vec::new();
        for &services in &self.args.services {
            for init in Init::ALL.into_iter().filter(|init| self.wants(*init)) {
                let boot = roots.boot(init, services)?;
                let mut runs = Vec::new();
                let folder = self.scratch.join(format!("init-{}", init.name()));
                for run in 1..=self.args.runs {
                    note(&format!("{}, {services} services, run {run}", init.name()));
                    runs.push(measured(init, &folder, boot.clone(), accel)?);
                }
                figures.extend(rows(init, services, &runs));
                if self.args.instructions {
                    note(&format!("{}, {services} services, counted", init.name()));
                    let told = measured(init, &folder, boot.clone(), Accel::Counted)?;
                    figures.push(counted(init, services, told));
                }
            }
        }
        Ok(figures)
    }

    fn wants(&self, init: Init) -> bool {
        self.args.inits.is_empty() || self.args.inits.contains(&init)
    }
}

/// One machine from power to off.
fn measured(init: Init, folder: &Path, boot: Boot, accel: Accel) -> Result<Told, Error> {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).map_err(Error::failed)?;
    let mut spec = VmSpec::new(init.name(), folder, boot);
    (spec.cpus, spec.memory_mib) = (PROCESSORS.min(accel.most_processors()), MEMORY_MIB);
    let mut vm = Vm::new(spec).map_err(Error::failed)?;
    vm.start(accel).map_err(Error::failed)?;
    vm.wait_off(PATIENCE).map_err(Error::failed)?;
    let text = std::fs::read(vm.serial_path()).map_err(Error::failed)?;
    let text = String::from_utf8_lossy(&text);
    told(&text).ok_or_else(|| {
        let log = vm.serial_path();
        Error::Failed(format!(
            "{}: not all is told in {}",
            init.name(),
            log.display()
        ))
    })
}

/// Reads what the monitor has copied from the kernel's log, and the kernel's last words.
fn told(serial: &str) -> Option<Told> {
    let lines = || serial.lines().map(str::trim);
    let log = |pattern: &str| {
        let mut found = lines().filter_map(|line| line.strip_prefix("bench-log ")?.split_once(' '));
        found.find(|(_, text)| text.contains(pattern))
    };
    let at = |pattern: &str| log(pattern)?.0.parse::<f64>().ok().map(|us| us / 1e6);
    let number = |pattern: &str| {
        let (_, rest) = log(pattern)?.1.split_once(pattern)?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    };
    // `[   12.345678] text`, on the console.
    let stamped = |pattern: &str| {
        let line = lines().find(|line| line.starts_with('[') && line.ends_with(pattern))?;
        line[1..].split_once(']')?.0.trim().parse::<f64>().ok()
    };
    let handoff = at(": root verified, state").or_else(|| at("Run /init"))?;
    Some(Told {
        up: at("bench: up ")? - handoff,
        memory: number("bench: memory ")? * 1024.0,
        restart: number("bench: restart ").filter(|ms| *ms > 0.0)?,
        off: stamped("reboot: Power down")? - stamped("bench: power off")?,
    })
}

fn rows(init: Init, services: u32, runs: &[Told]) -> [Figure; 4] {
    let name = init.name();
    let row = |what: &str, of: fn(&Told) -> f64, unit: &'static str, how: &str| {
        let values: Vec<f64> = runs.iter().map(of).collect();
        let what = format!("{name}, {services} services: {what}");
        Figure::new(what, measure::median(&values), unit, how)
    };
    let groups = init.groups();
    [
        row("handoff to the last one up", |told| told.up, "s", groups),
        row(
            "memory",
            |told| told.memory,
            "bytes",
            "Pss of PID 1 and its helpers",
        ),
        row(
            "restart",
            |told| told.restart,
            "ms",
            "from SIGKILL until the next process has started",
        ),
        row(
            "power-off",
            |told| told.off,
            "s",
            "from the request until the machine is off",
        ),
    ]
}

/// What a machine has done until all were up, whose clock counts instructions.
fn counted(init: Init, services: u32, told: Told) -> Figure {
    let what = format!(
        "{}, {services} services: handoff to the last one up, counted",
        init.name()
    );
    let millions = told.up * COUNTED_PER_SECOND / 1e6;
    let note = "of kernel, init and services, on one processor; one run, the same on every machine";
    Figure::new(what, millions, "M instructions", note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_a_counted_machine_is_so_many_instructions() {
        let told = told(SERIAL).expect("all is there");
        let figure = counted(Init::Floor, 100, told);
        assert_eq!(
            (figure.value.round(), figure.unit),
            (500.0, "M instructions")
        );
    }

    const SERIAL: &str = "[    0.1] x\r\nbench-log 3174328 Run /init as init process\r\n\
        bench-log 4174328 bench: up 100\r\n\r\nbench-log 7231102 bench: memory 18 KiB in 1 processes\r\n\
        bench-log 18514613 bench: restart 15.052 ms\r\nbench-log end\r\n[   21.904075] bench: power off\r\n\
        [   22.404075] reboot: Power down\r\n";

    #[test]
    fn a_run_is_read_from_the_serial_log() {
        let told = told(SERIAL).expect("all is there");
        assert_eq!((told.memory, told.restart), (18432.0, 15.052));
        assert!(
            (told.up - 1.0).abs() < 1e-6 && (told.off - 0.5).abs() < 1e-6,
            "{told:?}"
        );
    }

    #[test]
    fn a_node_is_handed_over_when_its_phases_are_done() {
        let phases =
            "bench-log 4000000 bedplate-init: n: root verified, state in memory, last boot x\n";
        let told = told(&format!("{phases}{SERIAL}")).expect("all is there");
        assert!((told.up - 0.174328).abs() < 1e-6, "{told:?}");
    }

    #[test]
    fn a_run_that_tells_less_is_none() {
        for missing in ["bench: up", "restart 15", "Power down", "Run /init"] {
            assert_eq!(told(&SERIAL.replace(missing, "")), None, "{missing}");
        }
    }
}
