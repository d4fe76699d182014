//! Disk images as plain files: a copy that keeps holes, and where partitions lie.
//!
//! A machine gets a copy of the image that would be flashed, made longer: a copy of a sparse file costs
//! only its data, and stays whole when the image is built anew (an overlay would not).

use crate::error::{Error, Result};
use rustix::{
    fs::{FallocateFlags, SeekFrom, fallocate, ioctl_ficlone, seek},
    io::Errno,
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// Copies `from` to `to` (0600) without its holes and makes it `bytes` long, or as long as it was if
/// that is more. A copy that fails leaves nothing.
pub fn copy(from: &Path, to: &Path, bytes: u64) -> Result<()> {
    let source = File::open(from).map_err(Error::io("open", from))?;
    let part = to.with_extension("part");
    let _ = fs::remove_file(&part);
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .and_then(|target| {
            if ioctl_ficlone(&target, &source).is_err() {
                copy_data(&source, 0..source.metadata()?.len(), &target)?;
            }
            let length = source.metadata()?.len().max(bytes);
            target.set_len(length)?;
            // Or a crash of this machine may keep the name and lose the content.
            target.sync_all()
        })
        .and_then(|()| fs::rename(&part, to));
    made.map_err(|error| {
        let _ = fs::remove_file(&part);
        Error::io("write", to)(error)
    })
}

/// Copies the data of a range of `source` to the start of `target`, both with holes.
fn copy_data(source: &File, range: Range<u64>, target: &File) -> io::Result<()> {
    target.set_len(range.end - range.start)?;
    let mut at = range.start;
    let mut buffer = vec![0; CHUNK];
    loop {
        at = match seek(source, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = seek(source, SeekFrom::Hole(at))?.min(range.end);
        while at < end {
            let count = CHUNK.min((end - at) as usize);
            source.read_exact_at(&mut buffer[..count], at)?;
            target.write_all_at(&buffer[..count], at - range.start)?;
            at += count as u64;
        }
        if at >= range.end {
            return Ok(());
        }
    }
}

/// Where the partition with this label lies, in bytes.
pub fn partition(image: &Path, label: &str) -> Result<Range<u64>> {
    let mut file = File::open(image).map_err(Error::io("open", image))?;
    let table = gptman::GPT::find_from(&mut file)
        .map_err(|error| Error::Failed(format!("{}: no GPT: {error}", image.display())))?;
    let found = table
        .iter()
        .find(|(_, entry)| entry.is_used() && entry.partition_name.as_str() == label);
    found
        .map(|(_, entry)| {
            entry.starting_lba * table.sector_size..(entry.ending_lba + 1) * table.sector_size
        })
        .ok_or_else(|| Error::Failed(format!("{}: no partition '{label}'", image.display())))
}

/// Copies a part of an image to a file of its own, without its holes.
pub fn extract(image: &Path, range: Range<u64>, to: &Path) -> Result<()> {
    let source = File::open(image).map_err(Error::io("open", image))?;
    let target = File::create(to).map_err(Error::io("create", to))?;
    copy_data(&source, range, &target).map_err(Error::io("write", to))
}

/// Inverts the bytes of a range, as a dying disk would.
pub fn flip(image: &Path, range: Range<u64>) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(image);
    let file = file.map_err(Error::io("open", image))?;
    let mut bytes = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut bytes, range.start)
        .map_err(Error::io("read", image))?;
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    file.write_all_at(&bytes, range.start)
        .map_err(Error::io("write", image))
}

/// Makes the whole disk read as zeros again, at the same length.
pub fn wipe(image: &Path) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .open(image)
        .map_err(Error::io("open", image))?;
    let length = file.metadata().map_err(Error::io("read", image))?.len();
    fallocate(
        &file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        0,
        length,
    )
    .map_err(|error| Error::io("wipe", image)(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_keeps_holes_and_grows() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (
            folder.path().join("image.raw"),
            folder.path().join("disk.raw"),
        );
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"start", 0).unwrap();
        file.write_all_at(b"late", 40 << 20).unwrap();

        copy(&from, &to, 128 << 20).unwrap();
        let copied = File::open(&to).unwrap();
        let meta = copied.metadata().unwrap();
        assert_eq!((meta.len(), meta.mode() & 0o777), (128 << 20, 0o600));
        assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
        let mut late = [0; 4];
        copied.read_exact_at(&mut late, 40 << 20).unwrap();
        assert_eq!(&late, b"late");
        let part = folder.path().join("part");
        extract(&to, (40 << 20) - 1..(40 << 20) + 3, &part).unwrap();
        assert_eq!(fs::read(&part).unwrap(), b"\0lat");
        fs::remove_file(&part).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

        flip(&to, 0..2).unwrap();
        let mut start = [0; 5];
        copied.read_exact_at(&mut start, 0).unwrap();
        assert_eq!(&start, &[!b's', !b't', b'a', b'r', b't']);
        wipe(&to).unwrap();
        assert_eq!(to.metadata().unwrap().blocks(), 0);
        assert_eq!(to.metadata().unwrap().len(), 128 << 20);
    }

    #[test]
    fn a_copy_of_nothing_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.raw");
        let error = copy(&missing, &folder.path().join("disk.raw"), 0).unwrap_err();
        assert!(error.to_string().contains("missing.raw"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_disk_without_a_table_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zeros.raw");
        File::create(&path).unwrap().set_len(4 << 20).unwrap();
        assert!(
            partition(&path, "ESP")
                .unwrap_err()
                .to_string()
                .contains("zeros.raw")
        );
    }
}
