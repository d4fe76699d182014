//! The file system of the state partition: made on blank space, checked, grown.
//!
//! Source: mke2fs(8), e2fsck(8), resize2fs(8), Documentation/filesystems/ext4/super.rst.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::{Result, at, program};
use spec_layout::disk::{ALIGN, STATE_LABEL};

const MAKE_DEADLINE: Duration = Duration::from_secs(120);
const CHECK_DEADLINE: Duration = Duration::from_secs(400);
const GROW_DEADLINE: Duration = Duration::from_secs(120);

/// What the partition holds.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// Nothing was ever written, or making the file system was cut short.
    Blank,
    /// An ext4 file system of so many bytes.
    Ext4 { bytes: u64 },
    /// Something that is not ours to destroy.
    Foreign,
}

/// Makes the file system if there is none, else checks it; whether it was made now.
pub(super) fn make_ready(device: &Path) -> Result<bool> {
    let shown = device.display().to_string();
    match content(device)? {
        Content::Blank => {
            log::info!(target: "bedplate", "{shown}: making the file system");
            let arguments = [
                "-q",
                "-F",
                "-t",
                "ext4",
                "-L",
                STATE_LABEL,
                "-m",
                "1",
                "-e",
                "remount-ro",
                &shown,
            ];
            program::run("/usr/sbin/mkfs.ext4", &arguments, MAKE_DEADLINE, 0)?;
            Ok(true)
        }
        Content::Ext4 { .. } => check(&shown).map(|()| false),
        Content::Foreign => Err(format!(
            "{shown} is called {STATE_LABEL} but holds no ext4 file system; it was not touched. If nothing on it is \
             needed, overwrite its first MiB with zeros and boot again"
        )),
    }
}

/// e2fsck: what it can repair by itself without losing anything first; then all it can, because nobody else is here.
fn check(device: &str) -> Result<()> {
    const REPAIRED: i32 = 2;
    const NOT_REPAIRED: i32 = 4;
    let tidy = program::run(
        "/usr/sbin/e2fsck",
        &["-p", device],
        CHECK_DEADLINE,
        REPAIRED | 1,
    );
    match tidy {
        Ok(_) => Ok(()),
        Err(program::Failure {
            status: Some(status),
            ..
        }) if status & !(REPAIRED | 1) == NOT_REPAIRED => {
            log::error!(target: "bedplate", "{device}: the file system is damaged; repairing it with possible losses");
            program::run(
                "/usr/sbin/e2fsck",
                &["-f", "-y", device],
                CHECK_DEADLINE,
                REPAIRED | 1,
            )?;
            Ok(())
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Grows the mounted file system to its partition, if that is larger by more than rounding.
pub(super) fn grow(device: &Path) -> Result<()> {
    let Content::Ext4 { bytes } = content(device)? else {
        return Ok(());
    };
    let size = size(device)?;
    if size.saturating_sub(bytes) < ALIGN {
        return Ok(());
    }
    log::info!(target: "bedplate", "{}: growing the file system to {} MiB", device.display(), size >> 20);
    program::run(
        "/usr/sbin/resize2fs",
        &[&device.display().to_string()],
        GROW_DEADLINE,
        0,
    )?;
    Ok(())
}

fn size(device: &Path) -> Result<u64> {
    use std::io::{Seek as _, SeekFrom};
    File::open(device)
        .and_then(|mut file| file.seek(SeekFrom::End(0)))
        .map_err(at(device.display()))
}

fn content(device: &Path) -> Result<Content> {
    let file = File::open(device).map_err(at(device.display()))?;
    let mut first = vec![0; ALIGN as usize];
    file.read_exact_at(&mut first, 0)
        .map_err(at(device.display()))?;
    Ok(classify(&first))
}

/// Tells by the first MiB.
fn classify(first: &[u8]) -> Content {
    let number = |at: usize, len: usize| {
        first
            .iter()
            .skip(1024 + at)
            .take(len)
            .rev()
            .fold(0u64, |sum, &byte| sum << 8 | u64::from(byte))
    };
    if number(56, 2) == 0xef53 {
        let blocks = number(4, 4) | number(0x150, 4) << 32;
        let block = 1024u64
            .checked_shl(u32::try_from(number(24, 4)).unwrap_or(u32::MAX))
            .unwrap_or(0);
        return Content::Ext4 {
            bytes: blocks.saturating_mul(block),
        };
    }
    if first.iter().all(|&byte| byte == 0) {
        Content::Blank
    } else {
        Content::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blank_space_is_formatted() {
        let mut first = vec![0; 1 << 20];
        assert_eq!(classify(&first), Content::Blank);
        first[777_777] = 1;
        assert_eq!(classify(&first), Content::Foreign);
    }

    #[test]
    fn an_ext4_file_system_tells_its_size() {
        let mut first = vec![0; 1 << 20];
        first[1024 + 56..1024 + 58].copy_from_slice(&0xef53u16.to_le_bytes());
        first[1024 + 4..1024 + 8].copy_from_slice(&1000u32.to_le_bytes());
        first[1024 + 24] = 2;
        assert_eq!(classify(&first), Content::Ext4 { bytes: 4_096_000 });
        first[1024 + 24..1024 + 28].fill(0xff);
        assert_eq!(classify(&first), Content::Ext4 { bytes: 0 });
    }
}
