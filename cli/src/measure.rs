//! Running a command and seeing what it costs: wall time, CPU time, peak memory.
//!
//! The kernel keeps the peak over all children a process ever waited for, so each measured command gets a
//! process of its own around it (`bedplate measure`, hidden) that waits for nothing else.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

use crate::exit::{Context, Error};

/// What a command cost, with everything it started and waited for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Seconds from start to end.
    pub(crate) wall_seconds: f64,
    /// Seconds of processor time, user and system.
    pub(crate) cpu_seconds: f64,
    /// Peak resident memory of its largest process.
    pub(crate) peak_bytes: u64,
}

/// The inner process: runs the command, prints its cost on stdout as JSON. The command's output goes to stderr.
pub(crate) fn inner(command: &[OsString]) -> Result<(), Error> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::Usage("nothing to measure".into()));
    };
    let started = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .context(format!("cannot start {}", program.display()))?;
    let wall_seconds = started.elapsed().as_secs_f64();
    let usage =
        getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot read what the command used")?;
    if !status.success() {
        return Err(Error::Failed(format!(
            "{} failed ({status})",
            program.display()
        )));
    }
    let cost = Cost {
        wall_seconds,
        cpu_seconds: (usage.user_time() + usage.system_time()).num_milliseconds() as f64 / 1000.0,
        // ru_maxrss is in KiB on Linux, getrusage(2).
        peak_bytes: u64::try_from(usage.max_rss()).unwrap_or_default() * 1024,
    };
    crate::output::print(&serde_json::to_string(&cost).map_err(Error::failed)?);
    Ok(())
}

/// Runs a command inside a measuring process; its messages are shown only if it fails.
pub(crate) fn run(command: &mut Command) -> Result<Cost, Error> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut outer = Command::new(program);
    outer
        .arg("measure")
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    let output = outer
        .output()
        .context("cannot start the measuring process")?;
    if !output.status.success() {
        return Err(Error::Failed(
            String::from_utf8_lossy(&output.stderr)
                .trim_end()
                .to_owned(),
        ));
    }
    serde_json::from_slice(&output.stdout)
        .context("the measuring process said something unexpected")
}

/// The middle of the values; of an even number the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (
        sorted.len() % 2,
        sorted.get(middle.wrapping_sub(1)),
        sorted.get(middle),
    ) {
        (0, Some(below), Some(above)) => f64::midpoint(*below, *above),
        (_, _, Some(value)) => *value,
        _ => f64::NAN,
    }
}

/// The medians of several costs.
pub(crate) fn median_cost(costs: &[Cost]) -> Cost {
    let of = |field: fn(&Cost) -> f64| median(&costs.iter().map(field).collect::<Vec<_>>());
    Cost {
        wall_seconds: of(|cost| cost.wall_seconds),
        cpu_seconds: of(|cost| cost.cpu_seconds),
        peak_bytes: of(|cost| cost.peak_bytes as f64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_median_cost_is_by_field() {
        let cost = |wall_seconds, cpu_seconds, peak_bytes| Cost {
            wall_seconds,
            cpu_seconds,
            peak_bytes,
        };
        let found = median_cost(&[cost(1.0, 9.0, 5), cost(2.0, 8.0, 6), cost(3.0, 7.0, 7)]);
        assert_eq!(found, cost(2.0, 8.0, 6));
    }
}
