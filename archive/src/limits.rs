//! How much an archive may ask for.

use std::io::{self, Read};

/// Bounds and policy of one reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one member.
    pub member_bytes: u64,
    /// Bytes of everything, decompressed.
    pub total_bytes: u64,
    /// Members.
    pub members: usize,
    /// Bytes of a member's path or link target.
    pub path_bytes: usize,
    /// Bytes of one extended header (long names, extended attributes).
    pub extension_bytes: u64,
    /// Whether device nodes and FIFOs are taken; no Debian package has one.
    pub special_files: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            member_bytes: 2 << 30,
            total_bytes: 8 << 30,
            members: 250_000,
            path_bytes: 4095,
            extension_bytes: 1 << 20,
            special_files: false,
        }
    }
}

/// Fails once more than `left` bytes were read: what a small file decompresses to is bounded too.
pub(crate) struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R> Bounded<R> {
    pub(crate) fn new(inner: R, left: u64) -> Self {
        Bounded { inner, left }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other("unpacks to more bytes than are taken"))?;
        Ok(count)
    }
}

/// Reads exactly `size` bytes, reserving only what really comes.
pub(crate) fn read_exactly(reader: &mut dyn Read, size: u64) -> io::Result<Vec<u8>> {
    let mut data = Vec::with_capacity(size.min(1 << 20) as usize);
    let count = reader.take(size).read_to_end(&mut data)?;
    if count as u64 != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(data)
}

/// Reads over `size` bytes.
pub(crate) fn skip(reader: &mut dyn Read, size: u64) -> io::Result<()> {
    if io::copy(&mut reader.take(size), &mut io::sink())? != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Fills `buffer`; `false` at a clean end before its first byte.
pub(crate) fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
