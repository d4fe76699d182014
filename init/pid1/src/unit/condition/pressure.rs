//! Checks of how long tasks wait for processors, disks and memory: `[SLICE:]PERCENT[/TIME]`.
//!
//! Source: systemd.unit(5) "ConditionMemoryPressure="; Documentation/accounting/psi.rst.

use std::path::Path;

use spec_unit::directive::condition::Check;
use spec_unit::directive::resource::slice_path;
use spec_unit::value;

use crate::pressure::reading::{Averages, averages};
use crate::unit::node::read_bounded;

/// Where the kernel tells of the whole node.
const NODE: &str = "/proc/pressure";
/// Where it tells of slices.
const GROUPS: &str = "/sys/fs/cgroup";
/// Most bytes read; a file of the kernel's has some hundred.
const MAX_BYTES: usize = 4096;

/// As [`super::path::evaluate`].
pub(super) fn evaluate(check: Check, argument: &str) -> Option<Option<bool>> {
    let resource = match check {
        Check::CPUPressure => "cpu",
        Check::IOPressure => "io",
        Check::MemoryPressure => "memory",
        _ => return None,
    };
    Some(holds(
        resource,
        argument,
        Path::new(NODE),
        Path::new(GROUPS),
    ))
}

/// Chooses one of the averages.
type Average = fn(Averages) -> u32;

/// What is asked for: of which slice, which average, and the most that it may be in hundredths of a percent.
fn asked(argument: &str) -> Option<(Option<&str>, Average, u32)> {
    let (slice, value) = match argument.split_once(':') {
        Some((slice, value)) => (Some(slice.trim()), value),
        None => (None, argument),
    };
    let (limit, average): (&str, Average) = match value.split_once('/') {
        None => (value, |of| of.avg300),
        Some((limit, time)) => match value::span_us(time.trim()).ok()?? {
            10_000_000 => (limit, |of| of.avg10),
            60_000_000 => (limit, |of| of.avg60),
            300_000_000 => (limit, |of| of.avg300),
            _ => return None,
        },
    };
    let limit = value::permyriad(limit.trim()).ok()?;
    (limit <= 10_000).then_some((slice, average, limit))
}

/// Whether the pressure is no more; none where that makes no sense. Of what the kernel does not tell it is, as in systemd.
fn holds(resource: &str, argument: &str, node: &Path, groups: &Path) -> Option<bool> {
    if !node.exists() {
        return Some(true);
    }
    let (slice, average, limit) = asked(argument)?;
    let file = match slice {
        None => node.join(resource),
        Some(slice) => {
            let group = groups.join(slice_path(slice).ok()?);
            group.join(format!("{resource}.pressure"))
        }
    };
    let text = match read_bounded(&file, MAX_BYTES) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        // PSI is off (EOPNOTSUPP), or there is no such slice now.
        Err(cause) => {
            crate::debug!("{}: {cause}; its pressure is not checked", file.display());
            return Some(true);
        }
    };
    let of = averages(&text, "full").or_else(|| averages(&text, "some"))?;
    Some(average(of) <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const FULL: &str = "some avg10=90.00 avg60=80.00 avg300=70.00 total=1\n\
                        full avg10=30.00 avg60=20.00 avg300=10.00 total=1\n";
    const SOME: &str = "some avg10=0.00 avg60=5.50 avg300=0.00 total=1\n";

    #[test]
    fn pressure_is_compared_by_slice_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let (node, groups) = (folder.path().join("node"), folder.path().join("groups"));
        let slice = groups.join("a.slice/a-b.slice");
        fs::create_dir_all(&node).unwrap();
        fs::create_dir_all(&slice).unwrap();
        fs::write(node.join("memory"), FULL).unwrap();
        fs::write(slice.join("memory.pressure"), SOME).unwrap();
        let holds = |argument| holds("memory", argument, &node, &groups);
        for (argument, expected) in [
            ("10%", Some(true)),
            ("9.99%", Some(false)),
            ("20% / 1min", Some(true)),
            ("19%/60s", Some(false)),
            ("29.99%/10sec", Some(false)),
            ("30%/10s", Some(true)),
            ("10%/5min", Some(true)),
            ("a-b.slice: 5.5%/1min", Some(true)),
            ("a-b.slice:5.49%/1min", Some(false)),
            ("gone.slice:0%", Some(true)),
            ("10%/2min", None),
            ("10", None),
            ("101%", None),
            ("a.service:10%", None),
            ("", None),
        ] {
            assert_eq!(holds(argument), expected, "{argument}");
        }
    }

    #[test]
    fn a_kernel_that_does_not_tell_has_no_pressure() {
        let folder = tempfile::tempdir().unwrap();
        let (node, groups) = (folder.path().join("node"), folder.path().join("groups"));
        assert_eq!(holds("cpu", "nonsense", &node, &groups), Some(true));
        fs::create_dir(&node).unwrap();
        assert_eq!(holds("cpu", "0%", &node, &groups), Some(true));
    }
}
