//! Calling the booted image good: its file on the EFI system partition loses the boot counter.
//!
//! `NAME+LEFT-DONE.efi` becomes `NAME.efi`; the boot loader then no longer counts its boots and prefers it.
//!
//! Source: UAPI Boot Loader Specification "Boot counting", systemd's Boot Loader Interface.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use spec_layout::disk::ESP;
use spec_layout::gpt::Uuid;

use super::disk::{self, Disk};
use super::{Result, at, table};

/// Written by the boot loader: path of the file it booted, on the EFI system partition.
const VARIABLE: &str =
    "/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Most bytes of that variable.
const VARIABLE_MAX: usize = 4096;
const MOUNT_POINT: &str = "/run/bedplate/esp";

/// Blesses the booted image; nothing to do where the loader counts no boots.
pub(super) fn bless() -> Result<()> {
    let variable = match fs::read(VARIABLE) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(at(VARIABLE))?,
    };
    let path = booted_path(&variable).map_err(at(VARIABLE))?;
    let disk = disk::of_the_root(Path::new("/sys"))?
        .ok_or("the root is on no disk, so there is no EFI system partition")?;
    let node = esp(&disk)?;
    fs::create_dir_all(MOUNT_POINT).map_err(at(MOUNT_POINT))?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount(&node, MOUNT_POINT, c"vfat", flags, c"umask=0077")
        .map_err(at(format!("mounting {}", node.display())))?;
    let renamed = rename(Path::new(MOUNT_POINT), &path);
    unmount(MOUNT_POINT, UnmountFlags::empty()).map_err(at(MOUNT_POINT))?;
    renamed
}

fn esp(disk: &Disk) -> Result<PathBuf> {
    let kind: Uuid = ESP.parse()?;
    let partitions = table::partitions(disk)?;
    let number = partitions
        .iter()
        .find(|partition| partition.kind == kind)
        .map(|partition| partition.number);
    let number =
        number.ok_or_else(|| format!("{} has no EFI system partition", disk.node().display()))?;
    Ok(disk.partition_node(number))
}

/// The path in the variable: four bytes of attributes, then UTF-16 with backslashes, ended by a zero.
fn booted_path(variable: &[u8]) -> Result<String> {
    if variable.len() > VARIABLE_MAX {
        return Err(format!("{} bytes are too long for a path", variable.len()));
    }
    let units = variable.get(4..).unwrap_or_default().chunks_exact(2);
    let units: Vec<u16> = units
        .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
        .collect();
    let units = units.split(|&unit| unit == 0).next().unwrap_or_default();
    let text = String::from_utf16(units).map_err(|_| "not UTF-16".to_owned())?;
    let parts: Vec<&str> = text
        .split(['\\', '/'])
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() || parts.iter().any(|part| matches!(*part, "." | "..")) {
        return Err(format!("\"{text}\" is not a plain path"));
    }
    Ok(parts.join("/"))
}

/// Takes the counter off the booted file, whatever it counts by now.
fn rename(esp: &Path, path: &str) -> Result<()> {
    let booted = esp.join(path);
    let name = booted
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let good = good_name(name).ok_or_else(|| format!("\"{path}\" has no boot counter"))?;
    let folder = booted.parent().unwrap_or(esp);
    let entries = fs::read_dir(folder).map_err(at(folder.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut counted: Vec<String> = names
        .filter(|name| good_name(name).as_deref() == Some(good.as_str()))
        .collect();
    counted.sort();
    let Some(from) = counted.first() else {
        return if folder.join(&good).exists() {
            Ok(())
        } else {
            Err(format!("{path} is not there any more"))
        };
    };
    fs::rename(folder.join(from), folder.join(&good))
        .map_err(at(format!("renaming {from} to {good}")))?;
    fs::File::open(folder)
        .and_then(|folder| rustix::fs::syncfs(&folder).map_err(Into::into))
        .map_err(at(folder.display()))?;
    log::info!(target: "bedplate", "the booted image is good: {from} is now {good}");
    Ok(())
}

/// `NAME+LEFT[-DONE].efi` without its counter; `None` if it has none.
fn good_name(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".efi")?;
    let (good, counter) = stem.rsplit_once('+')?;
    let numbers = counter
        .split_once('-')
        .map_or((counter, None), |(left, done)| (left, Some(done)));
    let is_number = |text: &str| {
        !text.is_empty() && text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    (!good.is_empty() && is_number(numbers.0) && numbers.1.is_none_or(is_number))
        .then(|| format!("{good}.efi"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variable(path: &str) -> Vec<u8> {
        let units = path.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        [6, 0, 0, 0].into_iter().chain(units).collect()
    }

    #[test]
    fn the_booted_file_is_read_from_the_loaders_variable() {
        let path = booted_path(&variable("\\EFI\\Linux\\node_1+2-1.efi")).unwrap();
        assert_eq!(path, "EFI/Linux/node_1+2-1.efi");
        assert!(booted_path(&variable("\\EFI\\..\\x")).is_err());
        assert!(booted_path(&[6, 0, 0]).is_err());
    }

    #[test]
    fn a_counter_is_one_or_two_numbers() {
        assert_eq!(good_name("node_1+3.efi").as_deref(), Some("node_1.efi"));
        assert_eq!(good_name("node_1+2-1.efi").as_deref(), Some("node_1.efi"));
        assert_eq!(
            good_name("node_1.2+a+0-3.efi").as_deref(),
            Some("node_1.2+a.efi")
        );
        for plain in [
            "node_1.efi",
            "node+.efi",
            "node+1-.efi",
            "+3.efi",
            "node+3",
            "node+1-2-3.efi",
        ] {
            assert_eq!(good_name(plain), None, "{plain}");
        }
    }

    #[test]
    fn the_file_is_found_even_if_the_loader_counted_on() {
        let esp = tempfile::tempdir().unwrap();
        let folder = esp.path().join("EFI/Linux");
        fs::create_dir_all(&folder).unwrap();
        for name in ["node_1+1-2.efi", "node_2+3.efi"] {
            fs::write(folder.join(name), name).unwrap();
        }
        assert_eq!(rename(esp.path(), "EFI/Linux/node_1+2-1.efi"), Ok(()));
        assert!(folder.join("node_1.efi").exists() && folder.join("node_2+3.efi").exists());
        assert_eq!(
            rename(esp.path(), "EFI/Linux/node_1+2-1.efi"),
            Ok(()),
            "a second time there is nothing to do"
        );
        assert!(
            rename(esp.path(), "EFI/Linux/gone+1.efi")
                .unwrap_err()
                .contains("not there")
        );
    }

    proptest! {
        #[test]
        fn no_variable_panics_or_climbs(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(path) = booted_path(&bytes) {
                prop_assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."));
            }
        }
    }
}
