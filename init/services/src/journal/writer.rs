//! The thread that writes. A disk may stall for seconds; the sockets may not.
//!
//! Entries wait in a queue bounded in bytes; over the bound they are dropped and counted. While the disk refuses
//! (full beyond help, read-only, gone), entries go to the store in /run and move back when it takes them again.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::journal::clock::Clock;
use crate::journal::entry::{Entry, Transport};
use crate::journal::segment::Reader;
use crate::journal::store::{Store, View};

/// Bytes of entries that wait for the disk.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Entries of one write.
const BATCH_MAX: usize = 256;
/// How long an entry may be in the page cache only.
const SYNC_AFTER: Duration = Duration::from_secs(5);
/// How often a store that refused is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// Entries at least this urgent are synced at once.
const URGENT: u8 = 2;

/// What the threads share.
#[derive(Default)]
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    queued: Condvar,
    view: Mutex<View>,
    written: Condvar,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

impl Shared {
    /// Hands an entry to the writer; never waits.
    pub(crate) fn push(&self, entry: Entry) {
        let mut queue = lock(&self.queue);
        let cost = entry.cost();
        if queue.bytes + cost > QUEUE_BYTES_MAX {
            queue.dropped += 1;
            return;
        }
        queue.bytes += cost;
        queue.entries.push_back(entry);
        self.queued.notify_one();
    }

    /// Lets the writer end once the queue is empty.
    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.queued.notify_one();
    }

    /// What is written by now.
    pub(crate) fn view(&self) -> View {
        lock(&self.view).clone()
    }

    /// Waits until more than `next` is written, at most this long.
    pub(crate) fn wait_beyond(&self, next: u64, timeout: Duration) -> View {
        let view = lock(&self.view);
        let waited = self
            .written
            .wait_timeout_while(view, timeout, |view| view.next <= next);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Takes out what waits, for tests of what comes before the writer.
    #[cfg(test)]
    pub(crate) fn drain_for_test(&self) -> Vec<Entry> {
        let mut queue = lock(&self.queue);
        queue.bytes = 0;
        queue.entries.drain(..).collect()
    }

    fn publish(&self, view: View) {
        *lock(&self.view) = view;
        self.written.notify_all();
    }

    /// Waits for entries; `None` when it is closed and empty, an empty batch when the time is over.
    fn take(&self, timeout: Duration) -> Option<(Vec<Entry>, u64)> {
        let queue = lock(&self.queue);
        let idle = |queue: &mut Queue| queue.entries.is_empty() && !queue.closed;
        let mut queue = self
            .queued
            .wait_timeout_while(queue, timeout, idle)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        if queue.closed && queue.entries.is_empty() {
            return None;
        }
        let count = queue.entries.len().min(BATCH_MAX);
        let batch: Vec<Entry> = queue.entries.drain(..count).collect();
        queue.bytes -= batch
            .iter()
            .map(Entry::cost)
            .sum::<usize>()
            .min(queue.bytes);
        Some((batch, std::mem::take(&mut queue.dropped)))
    }
}

/// A poisoned lock only means that another thread ended in the middle of a plain assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stores of the node.
pub(crate) struct Writer {
    /// On the state partition; none on a node without a disk.
    pub persistent: Option<Store>,
    /// In /run.
    pub volatile: Store,
    /// Clock of the writer's own notices.
    pub clock: Clock,
    shared: Arc<Shared>,
    failed: Option<Instant>,
    unsynced: Option<Instant>,
}

impl Writer {
    /// A writer over these stores; what waits in /run moves to the disk first.
    pub(crate) fn new(
        persistent: Option<Store>,
        volatile: Store,
        clock: Clock,
        shared: Arc<Shared>,
    ) -> Self {
        let mut writer = Self {
            persistent,
            volatile,
            clock,
            shared,
            failed: None,
            unsynced: None,
        };
        writer.move_to_persistent();
        writer.shared.publish(writer.current_view());
        writer
    }

    /// Writes until the queue is closed.
    pub(crate) fn run(mut self) {
        while let Some((mut batch, dropped)) = self.shared.take(self.wait()) {
            if dropped > 0 {
                let text =
                    format!("{dropped} entries lost: they came faster than the store takes them");
                batch.push(self.notice(4, &text));
            }
            if !batch.is_empty() {
                self.write(&mut batch);
                self.shared.publish(self.current_view());
            }
            if self
                .unsynced
                .is_some_and(|since| since.elapsed() >= SYNC_AFTER)
            {
                self.sync();
            }
            if self.failed.is_some_and(|at| at.elapsed() >= RETRY_AFTER) {
                self.move_to_persistent();
                self.shared.publish(self.current_view());
            }
        }
        self.sync();
    }

    fn wait(&self) -> Duration {
        if self.unsynced.is_some() {
            SYNC_AFTER
        } else {
            RETRY_AFTER
        }
    }

    fn write(&mut self, batch: &mut [Entry]) {
        let urgent = batch.iter().any(|entry| entry.priority <= URGENT);
        if self.failed.is_none()
            && let Some(store) = &mut self.persistent
        {
            match store.append(batch) {
                Ok(()) => {
                    self.unsynced.get_or_insert_with(Instant::now);
                    if urgent {
                        self.sync();
                    }
                    return;
                }
                Err(error) => {
                    log::warn!(
                        "journal: cannot write to disk: {error}; entries go to /run until it takes them"
                    );
                    self.volatile.continue_from(store.view());
                    self.failed = Some(Instant::now());
                }
            }
        }
        if let Err(error) = self.volatile.append(batch) {
            log::error!(
                "journal: {} entries lost, /run does not take them: {error}",
                batch.len()
            );
        }
    }

    fn sync(&mut self) {
        self.unsynced = None;
        if let Some(store) = &self.persistent
            && let Err(error) = store.sync()
        {
            log::warn!("journal: sync failed: {error}");
        }
    }

    /// Appends what is in /run to the disk; on failure it stays and is tried again later.
    fn move_to_persistent(&mut self) {
        let Some(store) = &mut self.persistent else {
            return;
        };
        let same = self.volatile.view().store == store.view().store;
        for segment in &self.volatile.view().segments {
            let Ok(mut reader) = Reader::open(&segment.path) else {
                continue;
            };
            loop {
                let mut batch: Vec<Entry> = std::iter::from_fn(|| reader.next(segment.bytes))
                    .take(BATCH_MAX)
                    .collect();
                batch.retain(|entry| !same || entry.seq >= store.view().next);
                if batch.is_empty() {
                    break;
                }
                if !same {
                    batch.iter_mut().for_each(|entry| entry.seq = 0);
                }
                if store.append(&mut batch).is_err() {
                    self.failed = Some(Instant::now());
                    return;
                }
            }
        }
        self.volatile.clear();
        self.unsynced.get_or_insert_with(Instant::now);
        if self.failed.take().is_some() {
            log::info!("journal: the disk takes entries again");
        }
    }

    /// Both stores as one: what stands in comes after what is on disk.
    fn current_view(&self) -> View {
        let Some(store) = &self.persistent else {
            return self.volatile.view().clone();
        };
        let mut view = store.view().clone();
        if self.failed.is_some() {
            view.segments
                .extend(self.volatile.view().segments.iter().cloned());
            view.next = view.next.max(self.volatile.view().next);
        }
        view
    }

    fn notice(&self, priority: u8, text: &str) -> Entry {
        let mut entry = Entry::new(Transport::Driver);
        entry.priority = priority;
        entry.unit = crate::journal::UNIT.into();
        entry.identifier = crate::journal::IDENTIFIER.into();
        entry.message = text.as_bytes().to_vec();
        self.clock.stamp(&mut entry);
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::entry::tests::entry;
    use crate::journal::store::Limits;

    const LIMITS: Limits = Limits {
        total_bytes: 1 << 20,
        segment_bytes: 1 << 16,
    };

    fn store(folder: &std::path::Path, id: u64) -> Store {
        Store::open(folder, LIMITS, id).unwrap().0
    }

    fn texts(view: &View) -> Vec<String> {
        let mut all = Vec::new();
        for segment in &view.segments {
            let mut reader = Reader::open(&segment.path).unwrap();
            while let Some(entry) = reader.next(segment.bytes) {
                all.push(String::from_utf8(entry.message).unwrap());
            }
        }
        all
    }

    #[test]
    fn what_is_queued_is_written_before_the_writer_ends() {
        let (disk, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let shared = Arc::new(Shared::default());
        let writer = Writer::new(
            Some(store(disk.path(), 1)),
            store(run.path(), 2),
            Clock::for_test(),
            shared.clone(),
        );
        shared.push(entry("one"));
        shared.push(entry("two"));
        shared.close();
        writer.run();
        assert_eq!(texts(&shared.view()), ["one", "two"]);
        assert_eq!(shared.view().store, 1);
    }

    #[test]
    fn a_full_queue_drops_and_says_how_many() {
        let (disk, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let shared = Arc::new(Shared::default());
        let mut large = entry("");
        large.message = vec![b'x'; 200 * 1024];
        for _ in 0..QUEUE_BYTES_MAX / large.message.len() + 3 {
            shared.push(large.clone());
        }
        shared.close();
        Writer::new(
            Some(store(disk.path(), 1)),
            store(run.path(), 2),
            Clock::for_test(),
            shared.clone(),
        )
        .run();
        assert!(
            texts(&shared.view())
                .last()
                .unwrap()
                .starts_with("3 entries lost")
        );
    }

    #[test]
    fn entries_from_before_the_disk_move_to_it() {
        let (disk, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        store(run.path(), 2).append(&mut [entry("early")]).unwrap();
        let shared = Arc::new(Shared::default());
        let writer = Writer::new(
            Some(store(disk.path(), 1)),
            store(run.path(), 2),
            Clock::for_test(),
            shared.clone(),
        );
        assert_eq!(texts(&shared.view()), ["early"]);
        assert!(writer.volatile.view().segments.is_empty());
    }

    #[test]
    fn a_disk_that_fails_is_stood_in_for_and_caught_up() {
        let (disk, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let shared = Arc::new(Shared::default());
        let mut writer = Writer::new(
            Some(store(disk.path(), 1)),
            store(run.path(), 2),
            Clock::for_test(),
            shared.clone(),
        );
        let moved = disk.path().with_extension("away");
        std::fs::rename(disk.path(), &moved).unwrap();
        writer.write(&mut [entry("while away")]);
        assert_eq!(texts(&writer.current_view()), ["while away"]);
        assert_eq!(writer.current_view().store, 1);

        std::fs::rename(&moved, disk.path()).unwrap();
        writer.move_to_persistent();
        writer.write(&mut [entry("back")]);
        assert_eq!(texts(&writer.current_view()), ["while away", "back"]);
        assert!(writer.volatile.view().segments.is_empty());
    }
}
