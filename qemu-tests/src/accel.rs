//! Which accelerator QEMU uses here.
//!
//! /dev/kvm may exist and hang, or run a boot sector and fail at the first instruction it has to emulate, so a
//! real boot decides: the UEFI firmware that machines start from must find its boot manager under KVM within a few
//! seconds. That takes it through paging, long mode, floating point, timers and the PCI bus. The answer is kept in
//! the cache folder until the next boot of this machine or another QEMU. `BEDPLATE_ACCEL=kvm` or `tcg` decides
//! without a probe.

use crate::{
    error::{Error, Result},
    sys,
    vm::{QEMU, firmware},
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long the firmware may take to its boot manager: about a second on bare metal.
const PROBE: Duration = Duration::from_secs(10);
/// What decides without a probe.
const CHOICE: &str = "BEDPLATE_ACCEL";
/// What EDK II's boot manager begins its lines on the serial port with.
const BOOT_MANAGER: &str = "BdsDxe:";
/// What QEMU begins with when the kernel gives a guest up; the process stays, and would for ever.
const GIVEN_UP: &str = "KVM internal error";

/// An accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The processor's own virtualization.
    Kvm,
    /// QEMU's translator.
    Tcg,
    /// The same for one processor, whose clock counts instructions ([`COUNTED_PER_SECOND`]): what a guest measures is the
    /// same on every machine, however busy that is. What the guest sleeps passes at once.
    Counted,
}

/// Instructions in what is a second to a guest of [`Accel::Counted`].
pub const COUNTED_PER_SECOND: f64 = 500e6;

impl Accel {
    /// The best one that works on this machine.
    pub fn detect() -> Accel {
        match env::var(CHOICE).as_deref() {
            Ok("kvm") => return Accel::Kvm,
            Ok("tcg") => return Accel::Tcg,
            _ => {}
        }
        let key = key();
        let path = cache_folder().join("accelerator");
        if let Ok(text) = fs::read_to_string(&path)
            && let Some((seen, answer)) = text.trim_end().rsplit_once(' ')
            && seen == key
        {
            return if answer == "kvm" {
                Accel::Kvm
            } else {
                Accel::Tcg
            };
        }
        let Ok(works) = probe() else {
            return Accel::Tcg;
        };
        // Only a time saver: a cache that cannot be written costs a probe next time.
        let _ = fs::create_dir_all(cache_folder());
        let _ = fs::write(
            &path,
            format!("{key} {}\n", if works { "kvm" } else { "tcg" }),
        );
        if works { Accel::Kvm } else { Accel::Tcg }
    }

    /// QEMU's arguments for it; [`VmSpec::cmpxchg16b`](crate::VmSpec::cmpxchg16b) says what the flag means.
    pub(crate) fn arguments(self, cmpxchg16b: bool) -> Vec<&'static str> {
        // Guest kernels since 6.12 panicked on QEMU 7.2's cmpxchg16b; five-level paging only costs time; and AVX,
        // emulated, is slower than what programs have beside it: with it a node needed 0.3 s longer to etcd.
        let emulated = match cmpxchg16b {
            true => "max,-la57,-avx,-avx2,-fma,-f16c",
            false => "max,-cx16,-la57,-avx,-avx2,-fma,-f16c",
        };
        match self {
            Accel::Kvm => vec!["-accel", "kvm", "-cpu", "host"],
            Accel::Tcg => vec!["-accel", "tcg,thread=multi", "-cpu", emulated],
            Accel::Counted => {
                let counted = ["-accel", "tcg,thread=single", "-cpu", emulated];
                let clock = ["-icount", "shift=1,sleep=off"];
                counted.into_iter().chain(clock).collect()
            }
        }
    }

    /// The most processors that a machine can have.
    pub fn most_processors(self) -> u32 {
        match self {
            Accel::Kvm | Accel::Tcg => u32::MAX,
            Accel::Counted => 1,
        }
    }
}

/// The answer holds for this boot of this machine, this QEMU, and this way to probe.
fn key() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let qemu = env::var_os("PATH")
        .and_then(|path| {
            env::split_paths(&path)
                .map(|folder| folder.join(QEMU))
                .find(|file| file.exists())
        })
        .and_then(|file| fs::metadata(file).ok())
        .map_or(0, |meta| meta.len());
    format!("firmware {} {qemu}", boot.trim())
}

/// The cache folder of Bedplate (XDG Base Directory Specification).
pub fn cache_folder() -> PathBuf {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("bedplate")
}

fn probe() -> Result<bool> {
    if !Path::new("/dev/kvm").exists() {
        return Ok(false);
    }
    boots(Accel::Kvm, PROBE)
}

/// Whether the firmware gets to its boot manager in time.
fn boots(accel: Accel, patience: Duration) -> Result<bool> {
    let (code, _) = firmware()?;
    let folder = tempfile::tempdir().map_err(Error::doing("make a temporary folder"))?;
    let errors = folder.path().join("errors");
    let stderr = fs::File::create(&errors).map_err(Error::io("create", &errors))?;
    let flash = format!("if=pflash,format=raw,readonly=on,file={}", code.display());
    let mut command = Command::new(QEMU);
    command
        .current_dir(folder.path())
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-machine", "q35", "-m", "128"])
        .args(accel.arguments(false))
        .args(["-drive", &flash, "-serial", "file:serial"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr);
    let mut child = sys::spawn_tied(command).map_err(Error::doing(format!("start {QEMU}")))?;
    let says = |file: &str, words: &str| {
        fs::read(folder.path().join(file))
            .is_ok_and(|said| String::from_utf8_lossy(&said).contains(words))
    };
    let deadline = Instant::now() + patience;
    let mut works = false;
    while !works
        && Instant::now() < deadline
        && matches!(child.try_wait(), Ok(None))
        && !says("errors", GIVEN_UP)
    {
        thread::sleep(Duration::from_millis(50));
        works = says("serial", BOOT_MANAGER);
    }
    let _ = child.kill();
    let _ = child.wait();
    Ok(works)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_firmware_of_the_probe_speaks_under_the_translator() {
        if firmware().is_err() || Command::new(QEMU).arg("--version").output().is_err() {
            crate::runner::skip(&format!("no {QEMU} with firmware here"));
            return;
        }
        assert!(boots(Accel::Tcg, Duration::from_secs(120)).unwrap());
    }
}
