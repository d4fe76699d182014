//! The bounded store: a folder of segments, oldest removed first.
//!
//! One writer appends ([`Store`]); any number of readers look at the folder through [`View`], a copy of what is
//! committed. The store never waits for room: on ENOSPC its oldest segment goes, and when only one is left the
//! entry goes. Positions rise by one per entry over segments, restarts and boots; the store's id, made at random
//! when the folder was empty, tells one store's positions from another's.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::journal::entry::Entry;
use crate::journal::segment::{HEADER_BYTES, Header, Reader, encode_record};

const SUFFIX: &str = ".segment";

/// How much a store may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of all segments.
    pub total_bytes: u64,
    /// Bytes after which a segment is closed.
    pub segment_bytes: u64,
}

/// One segment, as far as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its file.
    pub path: PathBuf,
    /// Position of its first entry.
    pub first: u64,
    /// Bytes that hold whole records.
    pub bytes: u64,
}

/// What readers may read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// The store's id.
    pub store: u64,
    /// Segments, oldest first.
    pub segments: Vec<Segment>,
    /// Position the next entry will get.
    pub next: u64,
}

/// The writer's side.
pub(crate) struct Store {
    folder: PathBuf,
    limits: Limits,
    view: View,
    /// The last segment of the view, open for appending.
    file: Option<File>,
    buffer: Vec<u8>,
}

impl Store {
    /// Opens or creates the store of a folder, which must exist. A torn tail is cut off; the second value is how
    /// many bytes that were.
    pub(crate) fn open(folder: &Path, limits: Limits, new_id: u64) -> io::Result<(Self, u64)> {
        let mut view = View {
            store: new_id,
            segments: Vec::new(),
            next: 1,
        };
        let mut found = find_segments(folder)?;
        if let Some((_, header)) = found.last() {
            view.store = header.store;
        }
        // Segments of another store cannot be ordered with ours.
        found.retain(|(path, header)| {
            header.store == view.store || std::fs::remove_file(path).is_err()
        });
        for (path, header) in found {
            let bytes = std::fs::metadata(&path)?.len();
            view.segments.push(Segment {
                path,
                first: header.first,
                bytes,
            });
        }
        let mut store = Self {
            folder: folder.to_path_buf(),
            limits,
            view,
            file: None,
            buffer: Vec::new(),
        };
        let torn = store.recover()?;
        Ok((store, torn))
    }

    /// What readers may read now.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Takes over id and position of the store that this one stands in for.
    pub(crate) fn continue_from(&mut self, other: &View) {
        self.view.store = other.store;
        self.view.next = other.next.max(self.view.next);
    }

    /// Appends entries and gives each its position. An entry that already has a later one keeps it.
    ///
    /// On an error none of these entries is in the store, and what was there before is whole.
    pub(crate) fn append(&mut self, entries: &mut [Entry]) -> io::Result<()> {
        let before = self.view.next;
        self.buffer.clear();
        for entry in entries.iter_mut() {
            entry.seq = entry.seq.max(self.view.next);
            self.view.next = entry.seq + 1;
            encode_record(entry, &mut self.buffer);
        }
        let first = entries.first().map_or(before, |entry| entry.seq);
        let result = self.write(first);
        if result.is_err() {
            self.view.next = before;
        }
        if self.buffer.capacity() > 256 * 1024 {
            self.buffer = Vec::new();
        }
        result
    }

    /// Makes what was appended last through a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Removes every segment.
    pub(crate) fn clear(&mut self) {
        self.file = None;
        for segment in self.view.segments.drain(..) {
            let _ = std::fs::remove_file(&segment.path);
        }
    }

    fn write(&mut self, first: u64) -> io::Result<()> {
        loop {
            match self.try_write(first) {
                Err(error) if is_full(&error) && self.view.segments.len() > 1 => {
                    self.remove_oldest()
                }
                other => return other,
            }
        }
    }

    fn try_write(&mut self, first: u64) -> io::Result<()> {
        let full = self
            .view
            .segments
            .last()
            .is_none_or(|last| last.bytes >= self.limits.segment_bytes);
        if full || self.file.is_none() {
            self.begin_segment(first)?;
        }
        let (Some(file), Some(last)) = (&self.file, self.view.segments.last_mut()) else {
            return Err(io::Error::other("no segment is open"));
        };
        match file.write_all_at(&self.buffer, last.bytes) {
            Ok(()) => last.bytes += self.buffer.len() as u64,
            Err(error) => {
                // Half a record must not stay in front of the next one.
                let _ = file.set_len(last.bytes);
                return Err(error);
            }
        }
        while self.used() > self.limits.total_bytes && self.view.segments.len() > 1 {
            self.remove_oldest();
        }
        Ok(())
    }

    fn begin_segment(&mut self, first: u64) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            file.sync_data()?;
        }
        let path = self.folder.join(format!("{first:016x}{SUFFIX}"));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&path)?;
        let header = Header {
            store: self.view.store,
            first,
        };
        if let Err(error) = file.write_all_at(&header.encode(), 0) {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        self.file = Some(file);
        self.view.segments.push(Segment {
            path,
            first,
            bytes: HEADER_BYTES,
        });
        Ok(())
    }

    fn used(&self) -> u64 {
        self.view.segments.iter().map(|segment| segment.bytes).sum()
    }

    fn remove_oldest(&mut self) {
        if !self.view.segments.is_empty() {
            let oldest = self.view.segments.remove(0);
            let _ = std::fs::remove_file(&oldest.path);
        }
    }

    /// Reads the last segment to its last sound record and cuts the rest off.
    fn recover(&mut self) -> io::Result<u64> {
        let Some(last) = self.view.segments.last_mut() else {
            return Ok(0);
        };
        let mut reader = Reader::open(&last.path)?;
        let mut next = last.first;
        while let Some(entry) = reader.next(last.bytes) {
            next = entry.seq + 1;
        }
        let torn = last.bytes - reader.offset();
        last.bytes = reader.offset();
        self.view.next = next;
        let file = OpenOptions::new().write(true).open(&last.path)?;
        if torn > 0 {
            file.set_len(last.bytes)?;
        }
        self.file = Some(file);
        Ok(torn)
    }
}

/// The segments of a folder by position; files without a valid header were never committed and go.
fn find_segments(folder: &Path) -> io::Result<Vec<(PathBuf, Header)>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        if !path.to_string_lossy().ends_with(SUFFIX) {
            continue;
        }
        match Reader::open(&path) {
            Ok(reader) => found.push((path, reader.header())),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                log::warn!("journal: {error}; removed");
                let _ = std::fs::remove_file(&path);
            }
            Err(error) => log::warn!("journal: {}: {error}; left out", path.display()),
        }
    }
    found.sort_by_key(|(_, header)| header.first);
    Ok(found)
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::entry::tests::entry;

    const LIMITS: Limits = Limits {
        total_bytes: 4096,
        segment_bytes: 1024,
    };

    fn open(folder: &Path) -> Store {
        Store::open(folder, LIMITS, 0xabc).unwrap().0
    }

    fn messages(view: &View) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        for segment in &view.segments {
            let mut reader = Reader::open(&segment.path).unwrap();
            while let Some(entry) = reader.next(segment.bytes) {
                all.push((entry.seq, String::from_utf8(entry.message).unwrap()));
            }
        }
        all
    }

    #[test]
    fn positions_go_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path())
            .append(&mut [entry("one"), entry("two")])
            .unwrap();
        let mut store = open(folder.path());
        store.append(&mut [entry("three")]).unwrap();
        assert_eq!(
            messages(store.view()),
            [(1, "one".into()), (2, "two".into()), (3, "three".into())]
        );
    }

    #[test]
    fn the_oldest_segment_goes_when_the_store_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        for number in 0..200 {
            store
                .append(&mut [entry(&format!("entry {number}"))])
                .unwrap();
        }
        let kept = messages(store.view());
        assert!(store.used() <= LIMITS.total_bytes);
        assert_eq!(kept.last().unwrap(), &(200, "entry 199".to_string()));
        assert!(kept[0].0 > 100);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            store.view().segments.len()
        );
    }

    #[test]
    fn a_torn_tail_is_cut_and_writing_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        store.append(&mut [entry("one"), entry("two")]).unwrap();
        let path = store.view().segments[0].path.clone();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();

        let (mut store, torn) = Store::open(folder.path(), LIMITS, 0).unwrap();
        assert!(torn > 0);
        store.append(&mut [entry("three")]).unwrap();
        assert_eq!(
            messages(store.view()),
            [(1, "one".into()), (2, "three".into())]
        );
    }

    #[test]
    fn a_segment_of_zeros_after_a_power_cut_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("0000000000000009.segment"), [0; 4096]).unwrap();
        let mut store = open(folder.path());
        store.append(&mut [entry("one")]).unwrap();
        assert_eq!(messages(store.view()), [(1, "one".into())]);
    }

    #[test]
    fn a_folder_that_vanished_is_an_error_and_no_position_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder.path().join("."));
        std::fs::remove_dir_all(folder.path()).unwrap();
        assert!(store.append(&mut [entry("one")]).is_err());
        assert_eq!(store.view().next, 1);
    }

    #[test]
    fn entries_of_a_stand_in_keep_their_positions() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut main = open(first.path());
        main.append(&mut [entry("one")]).unwrap();
        let mut stand_in = open(second.path());
        stand_in.continue_from(main.view());
        let mut moved = [entry("two")];
        stand_in.append(&mut moved).unwrap();
        main.append(&mut moved).unwrap();
        main.append(&mut [entry("three")]).unwrap();
        assert_eq!(
            messages(main.view()),
            [(1, "one".into()), (2, "two".into()), (3, "three".into())]
        );
    }
}
