//! The query socket: one [`LogQuery`] as a line of JSON, answered by one [`LogEntry`] a line until there is no more, or
//! for ever when following.
//!
//! Each reader has a thread of its own that reads the committed segments at its own pace, so that a slow one holds
//! nobody up: a follower that falls behind the store is told what it missed, one that takes nothing for
//! [`STALLED_AFTER`] is dropped.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spec_api::{LogEntry, LogQuery};

use crate::journal::clock::Clock;
use crate::journal::entry::{Entry, Transport, parse_boot_id, parse_cursor};
use crate::journal::segment::Reader;
use crate::journal::store::View;
use crate::journal::writer::Shared;

/// Readers at once.
const READERS_MAX: usize = 24;
/// Longest request line.
const REQUEST_MAX: u64 = 4096;
/// Most entries that `lines` may ask for.
const LINES_MAX: usize = 100_000;
/// A reader that takes nothing for so long is dropped.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// How often a follower looks whether its reader is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Accepts readers for ever.
pub(crate) fn run(listener: UnixListener, shared: Arc<Shared>) {
    let readers = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                log::warn!("journal: accepting a reader failed: {error}");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if readers.fetch_add(1, Ordering::Relaxed) >= READERS_MAX {
            readers.fetch_sub(1, Ordering::Relaxed);
            refuse(stream, "too many readers; close one and ask again");
            continue;
        }
        let (shared, counter) = (shared.clone(), readers.clone());
        let answer = move || {
            if let Err(error) = answer(stream, &shared) {
                log::debug!("journal: a reader ended: {error}");
            }
            counter.fetch_sub(1, Ordering::Relaxed);
        };
        let builder = std::thread::Builder::new()
            .name("reader".into())
            .stack_size(256 * 1024);
        if let Err(error) = builder.spawn(answer) {
            readers.fetch_sub(1, Ordering::Relaxed);
            log::warn!("journal: no thread for a reader: {error}");
        }
    }
}

fn refuse(mut stream: UnixStream, why: &str) {
    let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
    let _ = writeln!(stream, "{}", serde_json::json!({ "error": why }));
}

fn answer(stream: UnixStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(STALLED_AFTER))?;
    stream.set_write_timeout(Some(STALLED_AFTER))?;
    let mut line = String::new();
    BufReader::new((&stream).take(REQUEST_MAX)).read_line(&mut line)?;
    let filter = serde_json::from_str::<LogQuery>(&line)
        .map_err(|error| error.to_string())
        .and_then(Filter::new);
    let filter = match filter {
        Ok(filter) => filter,
        Err(why) => {
            refuse(stream, &format!("not a journal query: {why}"));
            return Ok(());
        }
    };
    let mut out = BufWriter::with_capacity(16 * 1024, &stream);
    let mut cursor = Cursor::start(&filter, &shared.view());
    loop {
        let view = shared.view();
        cursor.send(&filter, &view, &mut out).inspect_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                log::warn!("journal: a reader took nothing for {STALLED_AFTER:?} and was dropped");
            }
        })?;
        out.flush()?;
        if !filter.query.follow {
            return Ok(());
        }
        if shared.wait_beyond(cursor.next, LOOK_EVERY).next <= cursor.next && hung_up(&stream) {
            return Ok(());
        }
    }
}

fn hung_up(stream: &UnixStream) -> bool {
    let fd = stream.as_fd();
    let mut fds = [PollFd::new(&fd, PollFlags::RDHUP)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// A query with its parts read.
struct Filter {
    query: LogQuery,
    boot: Option<[u8; 16]>,
    after: Option<(u64, u64)>,
}

impl Filter {
    fn new(query: LogQuery) -> Result<Self, String> {
        let boot = match &query.boot {
            Some(text) => Some(parse_boot_id(text).ok_or("`boot` is not 32 hex digits")?),
            None => None,
        };
        let after = match &query.after {
            Some(text) => {
                Some(parse_cursor(text).ok_or("`after` is not a cursor of this journal")?)
            }
            None => None,
        };
        if query.priority.is_some_and(|priority| priority > 7) {
            return Err("`priority` is not 0 to 7".into());
        }
        Ok(Self { query, boot, after })
    }

    fn matches(&self, entry: &Entry) -> bool {
        let unit = match self.query.unit.as_deref() {
            None => true,
            Some("") => entry.transport == Transport::Kernel && entry.unit.is_empty(),
            Some(unit) => entry.unit == unit,
        };
        unit && self
            .query
            .priority
            .is_none_or(|priority| entry.priority <= priority)
            && self.boot.is_none_or(|boot| entry.boot_id == boot)
    }
}

/// Where a reader is.
struct Cursor {
    /// Position of the next entry to look at.
    next: u64,
    reader: Option<Reader>,
}

impl Cursor {
    /// Begins after the query's cursor (from the oldest, if that is of a lost store), at the last `lines` of it.
    fn start(filter: &Filter, view: &View) -> Self {
        let oldest = view
            .segments
            .first()
            .map_or(view.next, |segment| segment.first);
        let after = filter
            .after
            .filter(|(store, _)| *store == view.store)
            .map_or(0, |(_, seq)| seq.saturating_add(1));
        let mut next = after.max(oldest);
        if let Some(lines) = filter.query.lines {
            next = next.max(last_lines(
                filter,
                view,
                next,
                (lines as usize).min(LINES_MAX),
            ));
        }
        Self { next, reader: None }
    }

    /// Sends what matches and is committed in `view`.
    fn send(&mut self, filter: &Filter, view: &View, out: &mut impl Write) -> io::Result<()> {
        while self.next < view.next {
            let index = view
                .segments
                .iter()
                .rposition(|segment| segment.first <= self.next)
                .unwrap_or(0);
            let Some(segment) = view.segments.get(index) else {
                self.next = view.next;
                return Ok(());
            };
            if segment.first > self.next {
                let missed = segment.first - self.next;
                write_line(
                    out,
                    &notice(
                        view,
                        segment.first,
                        &format!("{missed} older entries were removed unread"),
                    ),
                )?;
                self.next = segment.first;
            }
            let mut reader = match self.reader.take() {
                Some(reader) if reader.header().first == segment.first => reader,
                _ => match Reader::open(&segment.path) {
                    Ok(reader) => reader,
                    // Removed since the view was made: the next view tells.
                    Err(_) => return self.skip_to(view, index, out),
                },
            };
            while let Some(entry) = reader.next(segment.bytes) {
                if entry.seq >= self.next {
                    self.next = entry.seq + 1;
                    if filter.matches(&entry) {
                        write_line(out, &entry.to_api(view.store))?;
                    }
                }
            }
            if index + 1 == view.segments.len() {
                // What was buffered beyond the commit may be written anew.
                let offset = reader.offset();
                reader.seek(offset)?;
                self.reader = Some(reader);
            }
            self.skip_to(view, index, out)?;
        }
        Ok(())
    }

    /// Goes on at the segment after `index`, and tells of entries that could not be read.
    fn skip_to(&mut self, view: &View, index: usize, out: &mut impl Write) -> io::Result<()> {
        let next = view
            .segments
            .get(index + 1)
            .map_or(view.next, |segment| segment.first);
        if next > self.next {
            let text = format!("{} entries could not be read", next - self.next);
            write_line(out, &notice(view, self.next, &text))?;
        }
        self.next = self.next.max(next);
        Ok(())
    }
}

/// Position of the first of the last `lines` entries that match, not before `from`.
fn last_lines(filter: &Filter, view: &View, from: u64, lines: usize) -> u64 {
    let mut left = lines;
    for segment in view.segments.iter().rev() {
        if left == 0 {
            break;
        }
        let mut found = std::collections::VecDeque::new();
        let Ok(mut reader) = Reader::open(&segment.path) else {
            continue;
        };
        while let Some(entry) = reader.next(segment.bytes) {
            if entry.seq >= from && filter.matches(&entry) {
                found.push_back(entry.seq);
                if found.len() > left {
                    found.pop_front();
                }
            }
        }
        if found.len() == left {
            return found.front().copied().unwrap_or(view.next);
        }
        left -= found.len();
    }
    if left == 0 { view.next } else { from }
}

fn notice(view: &View, seq: u64, text: &str) -> LogEntry {
    let mut entry = Entry::new(Transport::Driver);
    Clock::new().stamp(&mut entry);
    entry.seq = seq.saturating_sub(1);
    entry.priority = 5;
    entry.unit = crate::journal::UNIT.into();
    entry.identifier = crate::journal::IDENTIFIER.into();
    entry.message = text.as_bytes().to_vec();
    entry.to_api(view.store)
}

fn write_line(out: &mut impl Write, entry: &LogEntry) -> io::Result<()> {
    serde_json::to_writer(&mut *out, entry)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::entry::tests::entry;
    use crate::journal::store::{Limits, Store};

    fn store(folder: &std::path::Path, entries: usize) -> Store {
        let limits = Limits {
            total_bytes: 4096,
            segment_bytes: 512,
        };
        let mut store = Store::open(folder, limits, 5).unwrap().0;
        for number in 1..=entries {
            let mut one = entry(&format!("e{number}"));
            one.unit = if number % 2 == 0 {
                "even.service"
            } else {
                "odd.service"
            }
            .into();
            one.priority = if number % 10 == 0 { 3 } else { 6 };
            store.append(&mut [one]).unwrap();
        }
        store
    }

    fn ask(query: LogQuery, view: &View) -> Vec<LogEntry> {
        let filter = Filter::new(query).unwrap();
        let mut out = Vec::new();
        Cursor::start(&filter, view)
            .send(&filter, view, &mut out)
            .unwrap();
        String::from_utf8(out)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn texts(entries: &[LogEntry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.message.as_str()).collect()
    }

    #[test]
    fn the_last_lines_of_a_unit_are_found_over_segments() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 25);
        assert!(store.view().segments.len() > 3);
        let query = LogQuery {
            unit: Some("even.service".into()),
            lines: Some(3),
            ..LogQuery::default()
        };
        assert_eq!(texts(&ask(query, store.view())), ["e20", "e22", "e24"]);
        let query = LogQuery {
            lines: Some(0),
            ..LogQuery::default()
        };
        assert!(ask(query, store.view()).is_empty());
    }

    #[test]
    fn a_reader_goes_on_after_its_cursor() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 12);
        let all = ask(LogQuery::default(), store.view());
        assert_eq!(all.len(), 12);
        let query = LogQuery {
            after: Some(all[9].cursor.clone()),
            ..LogQuery::default()
        };
        assert_eq!(texts(&ask(query, store.view())), ["e11", "e12"]);
    }

    #[test]
    fn a_cursor_of_a_lost_store_begins_at_the_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 2);
        let query = LogQuery {
            after: Some("00000000000000ff-5".into()),
            ..LogQuery::default()
        };
        assert_eq!(texts(&ask(query, store.view())), ["e1", "e2"]);
    }

    #[test]
    fn priority_and_boot_narrow() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 20);
        let query = LogQuery {
            priority: Some(3),
            ..LogQuery::default()
        };
        assert_eq!(texts(&ask(query, store.view())), ["e10", "e20"]);
        let query = LogQuery {
            boot: Some("08".repeat(16)),
            ..LogQuery::default()
        };
        assert!(ask(query, store.view()).is_empty());
    }

    #[test]
    fn a_follower_that_fell_behind_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path(), 1);
        let filter = Filter::new(LogQuery::default()).unwrap();
        let mut cursor = Cursor::start(&filter, store.view());
        let mut out = Vec::new();
        cursor.send(&filter, store.view(), &mut out).unwrap();
        for number in 2..=200 {
            store.append(&mut [entry(&format!("e{number}"))]).unwrap();
        }
        out.clear();
        // The first segment is gone, and the reader of it sees that by its header.
        cursor.reader = None;
        cursor.send(&filter, store.view(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.lines()
                .next()
                .unwrap()
                .contains("older entries were removed unread"),
            "{text}"
        );
        assert!(text.lines().last().unwrap().contains("\"e200\""));
    }

    #[test]
    fn an_open_reader_sees_what_is_appended_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path(), 1);
        let filter = Filter::new(LogQuery::default()).unwrap();
        let mut cursor = Cursor::start(&filter, store.view());
        for number in 2..=30 {
            store.append(&mut [entry(&format!("e{number}"))]).unwrap();
            let mut out = Vec::new();
            cursor.send(&filter, store.view(), &mut out).unwrap();
            assert!(
                String::from_utf8(out)
                    .unwrap()
                    .contains(&format!("\"e{number}\"")),
                "{number}"
            );
        }
    }

    #[test]
    fn wrong_queries_say_what_is_wrong() {
        for (query, word) in [
            (
                LogQuery {
                    boot: Some("x".into()),
                    ..LogQuery::default()
                },
                "boot",
            ),
            (
                LogQuery {
                    after: Some("x".into()),
                    ..LogQuery::default()
                },
                "after",
            ),
            (
                LogQuery {
                    priority: Some(8),
                    ..LogQuery::default()
                },
                "priority",
            ),
        ] {
            assert!(Filter::new(query).err().unwrap().contains(word));
        }
    }
}
