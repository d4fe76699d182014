//! Both ends of a disk in memory: where its partition table lies, twice.
//!
//! The table is changed here and then written in one piece per end, the copy at the far end first, each on the disk
//! before the next begins. A power cut leaves one of the two whole.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;

/// Bytes kept of each end; the largest table that is read is smaller.
const END: u64 = 1 << 20;

pub(super) struct Ends {
    front: Vec<u8>,
    back: Vec<u8>,
    length: u64,
    at: u64,
}

impl Ends {
    /// Reads both ends.
    pub(super) fn read(disk: &mut File) -> io::Result<Ends> {
        let length = disk.seek(SeekFrom::End(0))?;
        if length < 4 * END {
            return Err(io::Error::other(format!(
                "a disk of {length} bytes is too small"
            )));
        }
        let mut ends = Ends {
            front: vec![0; END as usize],
            back: vec![0; END as usize],
            length,
            at: 0,
        };
        disk.read_exact_at(&mut ends.front, 0)?;
        disk.read_exact_at(&mut ends.back, length - END)?;
        Ok(ends)
    }

    /// Writes both ends.
    pub(super) fn write(&self, disk: &File) -> io::Result<()> {
        disk.write_all_at(&self.back, self.length - END)?;
        disk.sync_all()?;
        disk.write_all_at(&self.front, 0)?;
        disk.sync_all()
    }

    /// Bytes of the disk.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The kept bytes from the position on.
    fn rest(&mut self) -> io::Result<&mut [u8]> {
        let outside =
            || io::Error::other("the partition table reaches outside of the ends of the disk");
        let back = self.length - END;
        let (end, from) = if self.at < END {
            (&mut self.front, self.at)
        } else {
            (
                &mut self.back,
                self.at.checked_sub(back).ok_or_else(outside)?,
            )
        };
        usize::try_from(from)
            .ok()
            .and_then(|from| end.get_mut(from..))
            .ok_or_else(outside)
    }
}

impl Read for Ends {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&*self.rest()?).read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for Ends {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.rest()?.write(buffer)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Ends {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ends_can_be_reached() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(8 * END).unwrap();
        let mut ends = Ends::read(&mut file).unwrap();
        ends.seek(SeekFrom::Start(512)).unwrap();
        ends.write_all(b"front").unwrap();
        ends.seek(SeekFrom::End(-512)).unwrap();
        ends.write_all(b"back").unwrap();
        ends.seek(SeekFrom::Start(4 * END)).unwrap();
        assert!(ends.write_all(b"data").is_err());
        ends.write(&file).unwrap();
        let mut read = [0; 5];
        file.read_exact_at(&mut read, 512).unwrap();
        assert_eq!(&read, b"front");
        file.read_exact_at(&mut read[..4], 8 * END - 512).unwrap();
        assert_eq!(&read[..4], b"back");
    }

    #[test]
    fn a_tiny_disk_is_refused() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(END).unwrap();
        assert!(Ends::read(&mut file).is_err());
    }
}
