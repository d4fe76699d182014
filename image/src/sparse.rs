//! A disk in memory: mostly holes, some data.
//!
//! Holds only the chunks that were written with something other than zeros, so a disk of gigabytes costs what
//! its content costs.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Bytes with holes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sparse {
    len: u64,
    chunks: BTreeMap<u64, Box<[u8]>>,
}

impl Sparse {
    /// `len` zeros.
    pub(crate) fn new(len: u64) -> Sparse {
        Sparse {
            len,
            chunks: BTreeMap::new(),
        }
    }

    /// Length in bytes, holes included.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Writes `data` at `offset`; refuses to go past the end.
    pub(crate) fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(offset, data.len())?;
        for (index, within, part) in pieces(offset, data.len()) {
            let data = &data[part];
            if !self.chunks.contains_key(&index) && is_zero(data) {
                continue;
            }
            let chunk = self
                .chunks
                .entry(index)
                .or_insert_with(|| vec![0; CHUNK].into());
            chunk[within..within + data.len()].copy_from_slice(data);
        }
        Ok(())
    }

    /// Fills `buffer` from `offset`; refuses to go past the end.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check(offset, buffer.len())?;
        for (index, within, part) in pieces(offset, buffer.len()) {
            let buffer = &mut buffer[part];
            match self.chunks.get(&index) {
                Some(chunk) => buffer.copy_from_slice(&chunk[within..within + buffer.len()]),
                None => buffer.fill(0),
            }
        }
        Ok(())
    }

    /// Writes another disk into this one at `offset`.
    pub(crate) fn write_sparse(&mut self, offset: u64, other: &Sparse) -> io::Result<()> {
        self.check(offset, 0)?;
        other
            .data()
            .try_for_each(|(at, chunk)| self.write_at(offset + at, chunk))
    }

    /// The chunks that hold data, in order, with their offsets; the last one is cut at the end.
    pub(crate) fn data(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.chunks.iter().map(|(index, chunk)| {
            let offset = index * CHUNK as u64;
            let length = (self.len - offset).min(CHUNK as u64) as usize;
            (offset, &chunk[..length])
        })
    }

    /// SHA-256 of all bytes, holes as zeros.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        const ZEROS: &[u8] = &[0; 1 << 20];
        let mut digest = Sha256::new();
        let mut at = 0;
        let end = std::iter::once((self.len, &[][..]));
        for (offset, chunk) in self.data().chain(end) {
            while at < offset {
                let hole = (offset - at).min(ZEROS.len() as u64) as usize;
                digest.update(&ZEROS[..hole]);
                at += hole as u64;
            }
            digest.update(chunk);
            at += chunk.len() as u64;
        }
        digest.finalize().into()
    }

    /// A view with a position, for code that reads and writes streams.
    pub(crate) fn cursor(&mut self) -> Cursor<'_> {
        Cursor { disk: self, at: 0 }
    }

    fn check(&self, offset: u64, length: usize) -> io::Result<()> {
        match offset.checked_add(length as u64) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!(
                    "{length} bytes at {offset} do not fit into {} bytes",
                    self.len
                ),
            )),
        }
    }
}

/// Cuts a range at chunk borders: chunk index, offset in the chunk, range of the caller's buffer.
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % CHUNK as u64) as usize;
        let count = (CHUNK - within).min(length - done);
        let part = done..done + count;
        done += count;
        Some((at / CHUNK as u64, within, part))
    })
}

/// Whether every byte is zero.
pub(crate) fn is_zero(data: &[u8]) -> bool {
    data.iter().all(|&byte| byte == 0)
}

/// [`Sparse`] as a stream.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    disk: &'a mut Sparse,
    at: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (self.disk.len.saturating_sub(self.at)).min(buffer.len() as u64) as usize;
        self.disk.read_at(self.at, &mut buffer[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Cursor<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.disk.write_at(self.at, data)?;
        self.at += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let target = match position {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.disk.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_cost_nothing_and_read_back() {
        let mut disk = Sparse::new(1 << 30);
        disk.write_at(12345, &[0; 100_000]).unwrap();
        assert_eq!(disk.data().count(), 0);
        disk.write_at(CHUNK as u64 - 1, b"ab").unwrap();
        assert_eq!(disk.data().count(), 2);
        let mut buffer = [9; 4];
        disk.read_at(CHUNK as u64 - 2, &mut buffer).unwrap();
        assert_eq!(&buffer, b"\0ab\0");
    }

    #[test]
    fn the_digest_is_that_of_the_flat_bytes() {
        let mut disk = Sparse::new(CHUNK as u64 * 3 + 17);
        disk.write_at(CHUNK as u64 + 5, b"hello").unwrap();
        disk.write_at(CHUNK as u64 * 3 + 12, b"world").unwrap();
        let mut flat = vec![0; disk.len() as usize];
        disk.read_at(0, &mut flat).unwrap();
        assert_eq!(disk.sha256(), <[u8; 32]>::from(Sha256::digest(&flat)));
    }

    #[test]
    fn nothing_is_written_past_the_end() {
        let mut disk = Sparse::new(10);
        assert!(disk.write_at(8, b"abc").is_err());
        assert!(disk.write_at(u64::MAX, b"abc").is_err());
        assert!(disk.write_at(7, b"abc").is_ok());
    }
}
