//! One segment file: a header, then records that only ever grow.
//!
//! ```text
//! header  "BPJRNL01"  store id u64  first position u64  CRC-32 of the 24 bytes u32  zero u32
//! record  length u32  CRC-32 of the payload u32  payload (an encoded entry)
//! ```
//!
//! All numbers are little-endian. A reader stops at the first record whose length or CRC is wrong: after a power
//! cut that is where the torn tail begins.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::journal::entry::Entry;

/// Bytes of the header.
pub(crate) const HEADER_BYTES: u64 = 32;
/// Largest payload: an entry at all its bounds fits.
const PAYLOAD_MAX: u32 = 1 << 20;
const MAGIC: &[u8; 8] = b"BPJRNL01";

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The store the segment belongs to.
    pub store: u64,
    /// Position of its first entry.
    pub first: u64,
}

impl Header {
    /// The header's bytes.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.store.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.resize(HEADER_BYTES as usize, 0);
        bytes
    }

    /// Reads a header, `None` where it is not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, tail) = bytes.split_at_checked(24)?;
        let (magic, numbers) = head.split_first_chunk::<8>()?;
        let (store, first) = numbers.split_first_chunk::<8>()?;
        let crc = u32::from_le_bytes(*tail.first_chunk::<4>()?);
        let valid = magic == MAGIC && crc32fast::hash(head) == crc;
        valid.then_some(Self {
            store: u64::from_le_bytes(*store),
            first: u64::from_le_bytes(*first.first_chunk()?),
        })
    }
}

/// Appends one record.
pub(crate) fn encode_record(entry: &Entry, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    entry.encode(out);
    let crc = crc32fast::hash(out.get(start + 8..).unwrap_or_default());
    let length = (out.len() - start - 8) as u64;
    if let Some(head) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *head = (u64::from(crc) << 32 | length).to_le_bytes();
    }
}

/// Reads the entries of one segment in order.
pub(crate) struct Reader {
    file: BufReader<File>,
    header: Header,
    offset: u64,
    payload: Vec<u8>,
}

impl Reader {
    /// Opens a segment; an error of kind `InvalidData` where it has no valid header.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(32 * 1024, File::open(path)?);
        let mut bytes = [0; HEADER_BYTES as usize];
        file.read_exact(&mut bytes).map_err(|_| invalid(path))?;
        let header = Header::decode(&bytes).ok_or_else(|| invalid(path))?;
        Ok(Self {
            file,
            header,
            offset: HEADER_BYTES,
            payload: Vec::new(),
        })
    }

    /// Its header.
    pub(crate) fn header(&self) -> Header {
        self.header
    }

    /// Where the next record begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Continues at this offset, which a reader of the same segment gave.
    pub(crate) fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        Ok(())
    }

    /// The next entry, if a whole and sound one ends before `limit`.
    pub(crate) fn next(&mut self, limit: u64) -> Option<Entry> {
        let mut head = [0; 8];
        if self.offset + 8 > limit {
            return None;
        }
        self.file.read_exact(&mut head).ok()?;
        let [a, b, c, d, e, f, g, h] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        let end = self.offset + 8 + u64::from(length);
        if length == 0 || length > PAYLOAD_MAX || end > limit {
            return None;
        }
        self.payload.resize(length as usize, 0);
        self.file.read_exact(&mut self.payload).ok()?;
        if crc32fast::hash(&self.payload) != u32::from_le_bytes([e, f, g, h]) {
            return None;
        }
        self.offset = end;
        Entry::decode(&self.payload)
    }
}

fn invalid(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} has no journal segment's header", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::entry::tests::entry;

    fn write(entries: &[&str]) -> (tempfile::TempDir, std::path::PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        let mut bytes = Header { store: 9, first: 1 }.encode();
        for text in entries {
            encode_record(&entry(text), &mut bytes);
        }
        std::fs::write(&path, &bytes).unwrap();
        (folder, path, bytes)
    }

    fn read(path: &Path) -> Vec<String> {
        let mut reader = Reader::open(path).unwrap();
        let mut texts = Vec::new();
        while let Some(entry) = reader.next(u64::MAX) {
            texts.push(String::from_utf8(entry.message).unwrap());
        }
        texts
    }

    #[test]
    fn entries_come_back_in_order() {
        let (_folder, path, _) = write(&["one", "two", "three"]);
        assert_eq!(read(&path), ["one", "two", "three"]);
        assert_eq!(
            Reader::open(&path).unwrap().header(),
            Header { store: 9, first: 1 }
        );
    }

    #[test]
    fn a_torn_tail_ends_the_segment_wherever_it_was_cut() {
        let (_folder, path, bytes) = write(&["one", "two"]);
        for end in HEADER_BYTES as usize..bytes.len() {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let texts = read(&path);
            assert!(
                texts == ["one"] || texts.is_empty(),
                "cut at {end}: {texts:?}"
            );
        }
    }

    #[test]
    fn a_flipped_byte_is_never_read_as_an_entry() {
        let (_folder, path, bytes) = write(&["one"]);
        for at in HEADER_BYTES as usize..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            std::fs::write(&path, &broken).unwrap();
            assert!(read(&path).is_empty(), "flipped at {at}");
        }
    }

    #[test]
    fn a_wrong_header_is_refused() {
        let (_folder, path, mut bytes) = write(&[]);
        bytes[9] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(
            Reader::open(&path).err().unwrap().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
