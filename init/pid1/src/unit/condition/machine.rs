//! Checks of hardware, firmware and kernel, by /proc and /sys.

use std::fs;
use std::path::Path;

use spec_unit::directive::condition::Check;
use spec_unit::specifier::Facts;
use spec_unit::value;

use super::compare::{self, Operator};

/// The version of systemd whose meaning is followed.
const SYSTEMD: &str = "257";

/// As [`super::path::evaluate`].
pub(super) fn evaluate(check: Check, argument: &str, facts: &Facts) -> Option<Option<bool>> {
    let held = match check {
        Check::ACPower => boolean(argument, || {
            on_ac_power(Path::new("/sys/class/power_supply"))
        }),
        Check::KernelVersion => compare::all_hold(&facts.kernel_release, argument),
        Check::Version => version(argument, facts),
        Check::KernelCommandLine => Some(on_command_line(argument)),
        Check::Virtualization => Some(virtualization(argument)),
        Check::Architecture => Some(argument == facts.architecture || argument == "native"),
        Check::Memory => {
            compare::number(facts.memory_bytes, argument, |text| value::size(text).ok())
        }
        Check::CPUs => processors(&text("/proc/self/status"))
            .and_then(|processors| compare::number(processors, argument, |text| text.parse().ok())),
        Check::CPUFeature => Some(has_feature(argument, &text("/proc/cpuinfo"))),
        Check::Firmware => firmware(argument),
        Check::KernelModuleLoaded => module_loaded(argument),
        _ => return None,
    };
    Some(held)
}

/// What a file of the kernel's holds.
pub(super) fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Whether something is so that is asked for as yes or no.
pub(super) fn boolean(argument: &str, is: impl FnOnce() -> bool) -> Option<bool> {
    Some(value::boolean(argument).ok()? == is())
}

/// Whether a connector has power, or there is none.
fn on_ac_power(supplies: &Path) -> bool {
    let supplies = fs::read_dir(supplies).into_iter().flatten();
    let mut online = supplies.filter_map(Result::ok).filter_map(|supply| {
        let read = |name: &str| {
            let text = fs::read_to_string(supply.path().join(name)).ok()?;
            Some(text.trim().to_owned())
        };
        // The battery of a mouse, say, is no supply of the machine's.
        let own = read("scope").as_deref() != Some("Device");
        let connector = own && read("type").is_some_and(|kind| kind != "Battery");
        read("online").filter(|_| connector)
    });
    match online.next() {
        None => true,
        Some(first) => first != "0" || online.any(|online| online != "0"),
    }
}

/// `[kernel|systemd|glibc] EXPRESSION...`.
fn version(argument: &str, facts: &Facts) -> Option<bool> {
    let (component, expressions) = match argument.split_once(char::is_whitespace) {
        Some((first, rest)) if ["kernel", "systemd", "glibc"].contains(&first) => (first, rest),
        _ => ("kernel", argument),
    };
    match component {
        "kernel" => compare::all_hold(&facts.kernel_release, expressions),
        "systemd" => compare::all_hold(SYSTEMD, expressions),
        // PID 1 has none.
        _ => None,
    }
}

fn on_command_line(argument: &str) -> bool {
    let named = |word: &str| {
        word == argument || (!argument.contains('=') && word.split('=').next() == Some(argument))
    };
    text("/proc/cmdline").split_whitespace().any(named)
}

/// A hypervisor tells itself by a CPU flag and by name in the DMI tables.
fn virtualization(wanted: &str) -> bool {
    let vm = flags(&text("/proc/cpuinfo")).any(|flag| flag == "hypervisor");
    let vendor = text("/sys/class/dmi/id/sys_vendor").to_ascii_lowercase();
    match wanted {
        "yes" | "true" | "1" | "vm" => vm,
        "no" | "false" | "0" => !vm,
        "container" => false,
        "kvm" | "qemu" => vm && vendor.contains("qemu"),
        other => vm && vendor.contains(other),
    }
}

/// The flags of the first processor in /proc/cpuinfo.
fn flags(cpuinfo: &str) -> impl Iterator<Item = &str> {
    let line = cpuinfo.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "flags").then_some(value)
    });
    line.unwrap_or_default().split_ascii_whitespace()
}

/// Features that systemd knows.
const FEATURES: &[&str] = &[
    "fpu",
    "vme",
    "de",
    "pse",
    "tsc",
    "msr",
    "pae",
    "mce",
    "cx8",
    "apic",
    "sep",
    "mtrr",
    "pge",
    "mca",
    "cmov",
    "pat",
    "pse36",
    "clflush",
    "mmx",
    "fxsr",
    "sse",
    "sse2",
    "ht",
    "pni",
    "pclmul",
    "monitor",
    "ssse3",
    "fma3",
    "cx16",
    "sse4_1",
    "sse4_2",
    "movbe",
    "popcnt",
    "aes",
    "xsave",
    "osxsave",
    "avx",
    "f16c",
    "rdrand",
    "bmi1",
    "avx2",
    "bmi2",
    "rdseed",
    "adx",
    "sha_ni",
    "syscall",
    "rdtscp",
    "lm",
    "lahf_lm",
    "abm",
    "constant_tsc",
];

fn has_feature(wanted: &str, cpuinfo: &str) -> bool {
    // The kernel's names.
    let flag = match wanted {
        "pclmul" => "pclmulqdq",
        "fma3" => "fma",
        // The kernel lists it only if it has switched it on.
        "osxsave" => "xsave",
        other => other,
    };
    FEATURES.contains(&wanted) && flags(cpuinfo).any(|own| own == flag)
}

/// Processors that a process may run on, by its /proc/PID/status.
fn processors(status: &str) -> Option<u64> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let range = |range: &str| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let (low, high) = (low.parse::<u64>().ok()?, high.parse::<u64>().ok()?);
        high.checked_sub(low)?.checked_add(1)
    };
    list.trim().split(',').map(range).sum()
}

fn firmware(argument: &str) -> Option<bool> {
    let within = |name: &str| argument.strip_prefix(name)?.strip_suffix(')');
    if let Some(wanted) = within("device-tree-compatible(") {
        let compatible = fs::read("/proc/device-tree/compatible").unwrap_or_default();
        return Some(
            compatible
                .split(|byte| *byte == 0)
                .any(|own| own == wanted.as_bytes()),
        );
    }
    if let Some(expression) = within("smbios-field(") {
        return smbios_field(Path::new("/sys/class/dmi/id"), expression);
    }
    match argument {
        "uefi" => Some(Path::new("/sys/firmware/efi").exists()),
        "device-tree" => Some(Path::new("/sys/firmware/devicetree").exists()),
        _ => Some(false),
    }
}

fn smbios_field(folder: &Path, expression: &str) -> Option<bool> {
    let (field, rest) = expression.split_at_checked(Operator::find(expression)?)?;
    let (operator, wanted) = Operator::split(rest)?;
    let (field, wanted) = (field.trim(), wanted.trim());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if field.is_empty() || !field.bytes().all(plain) {
        return None;
    }
    match fs::read_to_string(folder.join(field)) {
        Ok(own) => Some(operator.holds(own.trim_end(), wanted)),
        Err(_) => Some(false),
    }
}

/// A module that is being loaded or removed does not count; one that is built in has no state.
fn module_loaded(name: &str) -> Option<bool> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        return None;
    }
    let folder = Path::new("/sys/module").join(name.replace('-', "_"));
    let state = fs::read_to_string(folder.join("initstate"));
    Some(folder.exists() && state.map_or(true, |state| state.trim() == "live"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connector_with_power_is_enough_and_batteries_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let supply = |name: &str, kind: &str, online: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("type"), kind).unwrap();
            fs::write(path.join("online"), online).unwrap();
        };
        assert!(on_ac_power(folder.path()));
        supply("BAT0", "Battery\n", "0\n");
        assert!(on_ac_power(folder.path()), "no connector is known");
        supply("AC", "Mains\n", "0\n");
        assert!(!on_ac_power(folder.path()));
        supply("AC2", "USB\n", "1\n");
        assert!(on_ac_power(folder.path()));
    }

    #[test]
    fn processors_are_counted_and_features_named() {
        assert_eq!(processors("Cpus_allowed_list:\t0-3,8\n"), Some(5));
        assert_eq!(processors("Cpus_allowed_list:\tx\n"), None);
        assert!(processors(&text("/proc/self/status")).unwrap() > 0);
        let cpuinfo = "processor\t: 0\nflags\t\t: fpu fma hypervisor\n\nflags: avx\n";
        assert!(has_feature("fma3", cpuinfo) && has_feature("fpu", cpuinfo));
        assert!(!has_feature("avx", cpuinfo) && !has_feature("hypervisor", cpuinfo));
    }

    #[test]
    fn fields_of_the_firmware_compare() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("board_name"), "Board 7\n").unwrap();
        fs::write(folder.path().join("bios_version"), "1.10\n").unwrap();
        for (expression, held) in [
            ("board_name = Board 7", Some(true)),
            ("board_name $= Board*", Some(true)),
            ("board_name!=Board 7", Some(false)),
            ("bios_version > 1.9", Some(true)),
            ("missing = x", Some(false)),
            ("../x = y", None),
            ("board_name", None),
        ] {
            assert_eq!(
                smbios_field(folder.path(), expression),
                held,
                "{expression}"
            );
        }
    }

    #[test]
    fn versions_of_what_is_there_compare() {
        let facts = Facts {
            kernel_release: "6.12.1".into(),
            ..Facts::default()
        };
        assert_eq!(version("systemd >=250", &facts), Some(true));
        assert_eq!(version("kernel <6", &facts), Some(false));
        assert_eq!(version(">=6", &facts), Some(true));
        assert_eq!(version("glibc >=2", &facts), None);
    }
}
