//! Which accelerator QEMU uses here.
//!
//! /dev/kvm may exist and hang, so a real boot decides: a boot sector of ours must say a word on the
//! serial port under KVM within a few seconds. The answer is kept in the cache folder until the next
//! boot of this machine or another QEMU.

use crate::{
    error::{Error, Result},
    sys,
    vm::QEMU,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long the probe may take; on bare metal it needs about half a second.
const PROBE: Duration = Duration::from_secs(6);

/// An accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The processor's own virtualization.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accel {
    /// The best one that works on this machine.
    pub fn detect() -> Accel {
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

    /// QEMU's arguments for it.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Accel::Kvm => &["-accel", "kvm", "-cpu", "host"],
            // Guest kernels since 6.12 panicked on QEMU 7.2's cmpxchg16b; five-level paging only costs time.
            Accel::Tcg => &["-accel", "tcg,thread=multi", "-cpu", "max,-cx16,-la57"],
        }
    }
}

/// The answer holds for this boot of this machine and this QEMU.
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
    format!("{} {qemu}", boot.trim())
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

/// Says "K" on COM1, then halts: `mov dx,3f8h; mov al,'K'; out dx,al; cli; hlt`.
const BOOT_SECTOR_CODE: [u8; 8] = [0xba, 0xf8, 0x03, 0xb0, b'K', 0xee, 0xfa, 0xf4];

fn probe() -> Result<bool> {
    if !Path::new("/dev/kvm").exists() {
        return Ok(false);
    }
    let folder = tempfile::tempdir().map_err(Error::doing("make a temporary folder"))?;
    let mut sector = [0; 512];
    sector[..BOOT_SECTOR_CODE.len()].copy_from_slice(&BOOT_SECTOR_CODE);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let disk = folder.path().join("sector");
    fs::write(&disk, sector).map_err(Error::io("write", &disk))?;
    boots(Accel::Kvm, folder.path())
}

fn boots(accel: Accel, folder: &Path) -> Result<bool> {
    let serial = folder.join("serial");
    let mut command = Command::new(QEMU);
    command
        .current_dir(folder)
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-m",
            "32",
        ])
        .args(accel.arguments())
        .args([
            "-drive",
            "if=ide,format=raw,file=sector",
            "-serial",
            "file:serial",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = sys::spawn_tied(command).map_err(Error::doing(format!("start {QEMU}")))?;
    let deadline = Instant::now() + PROBE;
    let mut works = false;
    while !works && Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(50));
        works = fs::read(&serial).is_ok_and(|said| said.contains(&b'K'));
    }
    let _ = child.kill();
    let _ = child.wait();
    Ok(works)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_sector_of_the_probe_speaks_under_the_translator() {
        if Command::new(QEMU).arg("--version").output().is_err() {
            eprintln!("skipped: no {QEMU} here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut sector = [0; 512];
        sector[..BOOT_SECTOR_CODE.len()].copy_from_slice(&BOOT_SECTOR_CODE);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        fs::write(folder.path().join("sector"), sector).unwrap();
        assert!(boots(Accel::Tcg, folder.path()).unwrap());
    }
}
