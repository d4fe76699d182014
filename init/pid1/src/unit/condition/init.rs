//! Checks of what PID 1 is, what it was handed and what guards it.

use std::fs;
use std::path::Path;

use spec_layout::path::SYSTEM_CREDENTIALS;
use spec_unit::capability::CapabilitySet;
use spec_unit::directive::condition::Check;
use spec_unit::specifier::Facts;

use super::compare::{Operator, matches};
use super::machine::{boolean, text};
use crate::unit::node;

/// The highest number of a system user.
const SYSTEM_USER_MAX: u32 = 999;
/// Where the firmware's variables are.
const EFI_VARIABLES: &str = "/sys/firmware/efi/efivars";

/// As [`super::path::evaluate`].
pub(super) fn evaluate(check: Check, argument: &str, facts: &Facts) -> Option<Option<bool>> {
    let held = match check {
        Check::Host => Some(argument == facts.machine_id || matches(argument, &facts.hostname)),
        Check::Capability => Some(has_capability(argument)),
        Check::FirstBoot => boolean(argument, || Path::new("/run/systemd/first-boot").exists()),
        Check::User => Some(is_user(argument)),
        Check::Group => Some(is_group(argument)),
        Check::ControlGroupController => Some(has_controllers(
            argument,
            &text("/sys/fs/cgroup/cgroup.controllers"),
        )),
        Check::Environment => Some(has_variable(argument)),
        Check::Credential => has_credential(Path::new(SYSTEM_CREDENTIALS), argument),
        Check::OSRelease => os_release(&release(), argument),
        Check::Security => Some(is_secured(argument)),
        _ => return None,
    };
    Some(held)
}

fn has_capability(name: &str) -> bool {
    CapabilitySet::named(name).is_some_and(|wanted| {
        let status = text("/proc/self/status");
        let bounding = status
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:"))
            .unwrap_or_default();
        u64::from_str_radix(bounding.trim(), 16)
            .is_ok_and(|bounding| bounding & wanted.0 == wanted.0)
    })
}

fn is_user(name: &str) -> bool {
    let own = rustix::process::geteuid().as_raw();
    match name {
        "@system" => own <= SYSTEM_USER_MAX,
        "root" => own == 0,
        name => match name.parse::<u32>() {
            Ok(number) => number == own,
            Err(_) => node::accounts()
                .user(name)
                .is_some_and(|user| user.uid == own),
        },
    }
}

fn is_group(name: &str) -> bool {
    let own = rustix::process::getegid().as_raw();
    let number = match name {
        "root" => Some(0),
        name => name.parse().ok().or_else(|| node::accounts().gid(name)),
    };
    number == Some(own)
}

/// Whether the kernel has all that are listed; a name that is none of a controller does not count.
fn has_controllers(wanted: &str, present: &str) -> bool {
    match wanted.trim() {
        "v2" => true,
        "v1" => false,
        wanted => wanted
            .split_ascii_whitespace()
            .filter(|name| crate::cgroup::controller::ALL.contains(name))
            .all(|name| present.split_ascii_whitespace().any(|own| own == name)),
    }
}

fn has_variable(argument: &str) -> bool {
    match argument.split_once('=') {
        Some(("", _)) => false,
        Some((name, value)) => std::env::var_os(name).is_some_and(|own| own == value),
        None => !argument.is_empty() && std::env::var_os(argument).is_some(),
    }
}

fn has_credential(folder: &Path, name: &str) -> Option<bool> {
    let odd =
        name.is_empty() || name.contains('/') || name == "." || name == ".." || name.len() > 255;
    (!odd).then(|| folder.join(name).symlink_metadata().is_ok())
}

fn release() -> String {
    match fs::read_to_string("/etc/os-release") {
        Ok(text) => text,
        Err(_) => text("/usr/lib/os-release"),
    }
}

/// Whether all `KEY OPERATOR VALUE` hold; a key that is not there is empty.
fn os_release(release: &str, argument: &str) -> Option<bool> {
    let words = spec_unit::words::texts(argument).ok()?;
    let mut held = true;
    for word in &words {
        let (key, rest) = word.split_at_checked(Operator::find(word)?)?;
        let (operator, wanted) = Operator::split(rest)?;
        if key.is_empty()
            || !key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return None;
        }
        let own = release
            .lines()
            .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
            .unwrap_or_default();
        let own = spec_unit::words::texts(own).ok()?.concat();
        held &= operator.holds(&own, wanted);
    }
    (!words.is_empty()).then_some(held)
}

fn is_secured(technology: &str) -> bool {
    let exists = |path: &str| Path::new(path).exists();
    match technology {
        "selinux" => exists("/sys/fs/selinux/enforce"),
        "apparmor" => text("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
        "tomoyo" => exists("/sys/kernel/security/tomoyo/version"),
        "smack" => exists("/sys/fs/smackfs/load2"),
        "ima" => exists("/sys/kernel/security/ima"),
        "audit" => {
            let off = ["audit=0", "audit=off"];
            let line = text("/proc/cmdline");
            exists("/proc/self/loginuid")
                && !line.split_whitespace().any(|word| off.contains(&word))
        }
        "uefi-secureboot" => {
            let variable = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
            efi_variable(variable).is_some_and(|value| value.first() == Some(&1))
        }
        "tpm2" => has_tpm2(),
        "cvm" => {
            let flags = text("/proc/cpuinfo");
            let tdx = flags
                .split_ascii_whitespace()
                .any(|flag| flag == "tdx_guest");
            tdx || exists("/sys/class/misc/tdx_guest")
                || exists("/sys/class/misc/sev-guest")
                || text("/sys/firmware/uv/prot_virt_guest").trim() == "1"
        }
        "measured-uki" => {
            let variable = "StubPcrKernelImage-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
            // "11" in UTF-16.
            let measured =
                efi_variable(variable).is_some_and(|value| value.starts_with(b"1\x001\0"));
            measured && has_tpm2()
        }
        _ => false,
    }
}

/// A driver has one, or there are drivers and the firmware tells of one.
fn has_tpm2() -> bool {
    let class = Path::new("/sys/class/tpmrm");
    let device = fs::read_dir(class).is_ok_and(|mut devices| devices.next().is_some());
    device || (class.exists() && Path::new("/sys/firmware/acpi/tables/TPM2").exists())
}

/// The value of a firmware variable, without its attributes.
fn efi_variable(name: &str) -> Option<Vec<u8>> {
    let bytes = node::read_bounded(&Path::new(EFI_VARIABLES).join(name), 64).ok()?;
    bytes.get(4..).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_of_the_kernel() {
        let present = "cpuset cpu io memory pids\n";
        assert!(has_controllers("cpu io", present) && has_controllers("v2", present));
        assert!(!has_controllers("cpu", "io") && !has_controllers("v1", present));
        assert!(
            has_controllers("net_cls", present),
            "unknown ones are left out"
        );
    }

    #[test]
    fn fields_of_the_release_compare() {
        let release = "ID=debian\nVERSION_ID=\"13\"\n";
        for (argument, held) in [
            ("ID=debian", Some(true)),
            ("ID=debian VERSION_ID>=13", Some(true)),
            ("ID!=debian", Some(false)),
            ("ID$=deb*", Some(true)),
            ("VERSION_ID<9", Some(false)),
            ("MISSING=x", Some(false)),
            ("MISSING=", Some(true)),
            ("ID", None),
            ("", None),
        ] {
            assert_eq!(os_release(release, argument), held, "{argument}");
        }
    }

    #[test]
    fn users_variables_and_credentials() {
        let own = rustix::process::geteuid().as_raw();
        assert!(is_user(&own.to_string()) && !is_user("4294967294") && !is_user("no-such-user"));
        assert!(is_group(&rustix::process::getegid().as_raw().to_string()) && !is_group("none"));
        let path = std::env::var("PATH").unwrap_or_default();
        assert_eq!(
            has_variable(&format!("PATH={path}")),
            std::env::var_os("PATH").is_some()
        );
        assert!(!has_variable("=x") && !has_variable("BEDPLATE_NO_SUCH"));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        assert_eq!(has_credential(folder.path(), "a"), Some(true));
        assert_eq!(has_credential(folder.path(), "b"), Some(false));
        assert_eq!(has_credential(folder.path(), "../a"), None);
    }

    #[test]
    fn an_unknown_technology_guards_nothing() {
        assert!(!is_secured("prayer"));
    }
}
