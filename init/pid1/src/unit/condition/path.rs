//! Checks of files and folders.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use spec_unit::directive::condition::Check;

use super::compare::matches;

/// Most folders that one pattern is looked for in.
const MAX_FOLDERS: usize = 1024;
/// Most entries that are looked at in one folder.
const MAX_ENTRIES: usize = 65_536;
/// Most devices that may lie one on the other.
const MAX_DEVICES: usize = 16;

/// Whether a check of a path holds; none if it is a check of something else, and then none if that cannot be told.
pub(super) fn evaluate(check: Check, argument: &str) -> Option<Option<bool>> {
    let path = Path::new(argument);
    let held = match check {
        Check::PathExists => path.exists(),
        Check::PathExistsGlob => glob(argument),
        Check::PathIsDirectory => path.is_dir(),
        Check::PathIsSymbolicLink => path.is_symlink(),
        Check::PathIsMountPoint => is_mount_point(path),
        Check::PathIsReadWrite => is_writable(path),
        Check::PathIsEncrypted => return Some(is_encrypted(path)),
        Check::DirectoryNotEmpty => {
            fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
        }
        Check::FileNotEmpty => {
            fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
        }
        Check::FileIsExecutable => fs::metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0),
        Check::NeedsUpdate => return Some(needs_update(path)),
        _ => return None,
    };
    Some(Some(held))
}

fn is_writable(path: &Path) -> bool {
    statvfs(path).is_ok_and(|status| !status.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn is_mount_point(path: &Path) -> bool {
    let own = fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    let parent = fs::metadata(path.join("..")).map(|metadata| (metadata.dev(), metadata.ino()));
    match (own, parent) {
        (Ok(own), Ok(parent)) => own.0 != parent.0 || own.1 == parent.1,
        _ => false,
    }
}

/// Whether something matches the pattern, which may stand in any part of the path. As in a shell, a dot at the
/// beginning of a name is matched by a dot only.
fn glob(pattern: &str) -> bool {
    let mut found = vec![PathBuf::from("/")];
    let mut folders = 0;
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if !part.contains(['*', '?', '[', '\\']) {
            found.iter_mut().for_each(|path| path.push(part));
            found.retain(|path| path.symlink_metadata().is_ok());
            continue;
        }
        let mut next = Vec::new();
        for folder in found {
            folders += 1;
            if folders > MAX_FOLDERS {
                break;
            }
            let entries = fs::read_dir(&folder).into_iter().flatten();
            let entries = entries.filter_map(Result::ok).take(MAX_ENTRIES);
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            let names = names.filter(|name| part.starts_with('.') || !name.starts_with('.'));
            next.extend(
                names
                    .filter(|name| matches(part, name))
                    .map(|name| folder.join(name)),
            );
        }
        found = next;
    }
    !found.is_empty()
}

/// Whether the device of the path's file system, or all that it lies on, is dm-crypt's.
fn is_encrypted(path: &Path) -> Option<bool> {
    let number = fs::metadata(path).ok()?.dev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let device = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"));
    // One without a device, in memory or on more than one disk.
    Some(device.is_ok_and(|device| lies_on_crypt(&device, MAX_DEVICES)))
}

fn lies_on_crypt(device: &Path, depth: usize) -> bool {
    let uuid = fs::read_to_string(device.join("dm/uuid")).unwrap_or_default();
    if uuid.starts_with("CRYPT-") {
        return true;
    }
    let below: Vec<PathBuf> = match fs::read_dir(device.join("slaves")) {
        Ok(slaves) => slaves
            .filter_map(Result::ok)
            .map(|slave| slave.path())
            .collect(),
        // A partition: its disk is the folder around it.
        Err(_) if device.join("partition").exists() => {
            device.parent().map(Path::to_path_buf).into_iter().collect()
        }
        Err(_) => Vec::new(),
    };
    depth > 0 && !below.is_empty() && below.iter().all(|device| lies_on_crypt(device, depth - 1))
}

/// Whether /usr is newer than the stamp `.updated` in /etc or /var.
fn needs_update(folder: &Path) -> Option<bool> {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let forced = line.split_ascii_whitespace().rev().find_map(|word| {
        word.strip_prefix("systemd.condition_needs_update")
            .filter(|rest| rest.is_empty() || rest.starts_with('='))
    });
    if let Some(forced) = forced {
        let value = forced.strip_prefix('=').unwrap_or("yes");
        return spec_unit::value::boolean(value).ok();
    }
    if ![Path::new("/etc"), Path::new("/var")].contains(&folder) {
        return None;
    }
    if !is_writable(folder) {
        return Some(false);
    }
    let stamp = folder.join(".updated");
    let Ok(updated) = fs::symlink_metadata(&stamp) else {
        return Some(true);
    };
    let usr = fs::metadata("/usr").ok()?;
    // Where the file system keeps whole seconds only, the rest stands in the file.
    let written = || {
        let text = crate::unit::node::read_bounded(&stamp, 4096).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix("TIMESTAMP_NSEC="));
        found?.trim().parse::<i128>().ok()
    };
    let ns = |metadata: &fs::Metadata| {
        i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
    };
    let stamped = match updated.mtime_nsec() {
        0 => written().unwrap_or(ns(&updated)),
        _ => ns(&updated),
    };
    Some(ns(&usr) > stamped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_may_stand_in_every_part() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a1/b")).unwrap();
        fs::create_dir_all(folder.path().join("a2/b")).unwrap();
        fs::write(folder.path().join("a2/b/x.conf"), "").unwrap();
        fs::write(folder.path().join("a1/.hidden"), "").unwrap();
        let root = folder.path().to_str().unwrap();
        for (pattern, held) in [
            ("a*/b/*.conf", true),
            ("a?/b/x.conf", true),
            ("a[13]/b/x.conf", false),
            ("a[!1]/*/x.*", true),
            ("a1/*", true),
            ("a1/*hidden", false),
            ("a1/.h*", true),
            ("a1/b/*", false),
            ("a2/b", true),
        ] {
            assert_eq!(glob(&format!("{root}/{pattern}")), held, "{pattern}");
        }
    }

    #[test]
    fn encryption_is_followed_down_to_every_device() {
        let folder = tempfile::tempdir().unwrap();
        let device = |name: &str, uuid: &str, slaves: &[&str]| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.join("slaves")).unwrap();
            fs::create_dir_all(path.join("dm")).unwrap();
            fs::write(path.join("dm/uuid"), uuid).unwrap();
            for slave in slaves {
                let target = folder.path().join(slave);
                std::os::unix::fs::symlink(target, path.join("slaves").join(slave)).unwrap();
            }
            path
        };
        device("plain", "", &[]);
        device("crypt", "CRYPT-LUKS2-x", &["plain"]);
        assert!(lies_on_crypt(&device("a", "LVM-x", &["crypt"]), 4));
        assert!(!lies_on_crypt(
            &device("b", "LVM-x", &["crypt", "plain"]),
            4
        ));
        assert!(!lies_on_crypt(&device("loop", "", &["loop"]), 4));
        assert_eq!(is_encrypted(Path::new("/proc")), Some(false));
        assert_eq!(is_encrypted(Path::new("/missing")), None);
    }

    #[test]
    fn only_two_folders_are_ever_updated() {
        assert_eq!(needs_update(Path::new("/usr")), None);
        assert!(needs_update(Path::new("/etc")).is_some());
    }
}
