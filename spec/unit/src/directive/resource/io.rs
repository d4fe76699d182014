//! `IOWeight=`, and weights, limits and latencies of single disks.

use super::accounting;
use crate::directive::{Directive, Support, Value};
use crate::plan::DeviceSetting;
use crate::unit::Unit;
use crate::value;

/// The file of IOWeight= and, in its old name, BlockIOWeight=.
const WEIGHT: &str = "io.weight";
/// Most settings of single disks in a unit.
pub const MAX_DEVICES: usize = 256;

const ONLY_NODES: &str =
    "a device node below /dev; of another path PID 1 does not look up the disk";

const fn limit(name: &'static str, value: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value,
        documentation,
        support: Support::Confine(set_device),
    }
}

const fn hint(name: &'static str, value: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value,
        documentation,
        support: Support::Set(set_device),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "IOWeight",
        value: "1-10000",
        documentation: "Share of disk time under contention; 100 by default.",
        support: Support::Set(set_weight),
    },
    Directive {
        section: "Service",
        name: "BlockIOWeight",
        value: "10-1000",
        documentation: "The old name of IOWeight=, which goes before it: 500 are a weight of 100.",
        support: Support::Set(set_old_weight),
    },
    hint(
        "IODeviceWeight",
        "DEVICE 1-10000",
        "Share of the time of one disk: a node below /dev, of which a partition means its disk. Any other path is ignored with a warning, lest PID 1 wait for its file system.",
    ),
    hint(
        "BlockIODeviceWeight",
        "DEVICE 10-1000",
        "The old name of IODeviceWeight=.",
    ),
    limit(
        "IOReadBandwidthMax",
        "DEVICE BYTES|infinity",
        "Bytes a second read from a disk, a node below /dev; any other path refuses the unit. Needs a kernel with BLK_DEV_THROTTLING.",
    ),
    limit(
        "IOWriteBandwidthMax",
        "DEVICE BYTES|infinity",
        "Bytes a second written to a disk; as IOReadBandwidthMax=.",
    ),
    limit(
        "BlockIOReadBandwidth",
        "DEVICE BYTES",
        "The old name of IOReadBandwidthMax=.",
    ),
    limit(
        "BlockIOWriteBandwidth",
        "DEVICE BYTES",
        "The old name of IOWriteBandwidthMax=.",
    ),
    limit(
        "IOReadIOPSMax",
        "DEVICE NUMBER|infinity",
        "Reads a second of a disk; as IOReadBandwidthMax=.",
    ),
    limit(
        "IOWriteIOPSMax",
        "DEVICE NUMBER|infinity",
        "Writes a second to a disk; as IOReadBandwidthMax=.",
    ),
    hint(
        "IODeviceLatencyTargetSec",
        "DEVICE SPAN",
        "Latency of a disk that others give way to keep; as IODeviceWeight=. Needs a kernel with BLK_CGROUP_IOLATENCY.",
    ),
    accounting("IOAccounting"),
    accounting("BlockIOAccounting"),
];

fn set_weight(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let hints = &mut unit.service.resources.hints;
    match value.text {
        "" => drop(hints.remove(WEIGHT)),
        text => drop(hints.insert(WEIGHT.into(), value::number(text, 1, 10_000)?.to_string())),
    }
    Ok(())
}

fn set_old_weight(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let old = &mut unit.service.resources.old_hints;
    match value.text {
        "" => drop(old.remove(WEIGHT)),
        text => drop(old.insert(WEIGHT.into(), weight_of_old(text)?)),
    }
    Ok(())
}

fn weight_of_old(text: &str) -> Result<String, String> {
    let old = value::number(text, 10, 1000)?;
    Ok((old * 100 / 500).clamp(1, 10_000).to_string())
}

/// A number with a suffix to the base 1000, or infinity.
fn rate(text: &str) -> Result<String, String> {
    if text == "infinity" {
        return Ok("max".into());
    }
    let refuse = || format!("{text:?} is not a rate such as 5M");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match text.get(digits.len()..).unwrap_or_default() {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err(refuse()),
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
    let number = number.and_then(|number| number.checked_mul(1000u64.pow(power)));
    number.map(|number| number.to_string()).ok_or_else(refuse)
}

/// The cgroup file of a directive, and the key within its lines.
fn file(name: &str) -> (&'static str, &'static str) {
    match name {
        "IODeviceWeight" | "BlockIODeviceWeight" => (WEIGHT, ""),
        "IOReadBandwidthMax" | "BlockIOReadBandwidth" => ("io.max", "rbps="),
        "IOWriteBandwidthMax" | "BlockIOWriteBandwidth" => ("io.max", "wbps="),
        "IOReadIOPSMax" => ("io.max", "riops="),
        "IOWriteIOPSMax" => ("io.max", "wiops="),
        _ => ("io.latency", "target="),
    }
}

fn set_device(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let devices = &mut unit.service.resources.devices;
    let (file, key) = file(value.name);
    let same = |setting: &DeviceSetting| setting.file == file && setting.value.starts_with(key);
    if value.is_reset() {
        devices.retain(|setting| !same(setting));
        return Ok(());
    }
    let words = value.words()?;
    let [path, text] = words.as_slice() else {
        return Err("write a device and a value, such as /dev/sda 5M".into());
    };
    let path = value::path(path)?;
    if !path.starts_with(crate::plan::DEVICES) {
        return Err(format!("{path:?} is not {ONLY_NODES}"));
    }
    let number = match value.name {
        "IODeviceWeight" => value::number(text, 1, 10_000)?.to_string(),
        "BlockIODeviceWeight" => weight_of_old(text)?,
        "IODeviceLatencyTargetSec" => {
            let span = value::span_us(text)?.ok_or("infinity is no target")?;
            span.to_string()
        }
        _ => rate(text)?,
    };
    devices.retain(|setting| !(same(setting) && setting.path == path));
    if devices.len() >= MAX_DEVICES {
        return Err(format!("more than {MAX_DEVICES} settings of disks"));
    }
    devices.push(DeviceSetting {
        path,
        file: file.into(),
        value: format!("{key}{number}"),
        // A weight or a target confines nobody.
        hint: file != "io.max",
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_suffixes_to_the_base_1000() {
        assert_eq!(rate("5M").as_deref(), Ok("5000000"));
        assert_eq!(rate("infinity").as_deref(), Ok("max"));
        for text in [
            "",
            "0",
            "5Q",
            "-1",
            "99999999999999999999",
            "9999999999999T",
            "M",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert_eq!(weight_of_old("500").as_deref(), Ok("100"));
    }
}
