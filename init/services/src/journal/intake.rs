//! What comes in is attributed, limited and handed to the writer. No socket and no file here.

use std::sync::Arc;
use std::time::Instant;

use crate::journal::clock::Clock;
use crate::journal::entry::{Entry, Transport};
use crate::journal::rate::{RateLimit, Verdict};
use crate::journal::source::Sources;
use crate::journal::writer::Shared;
use crate::journal::{IDENTIFIER, UNIT, kmsg, native, syslog};
use crate::sys::message::Credentials;

/// The way of every entry.
pub(crate) struct Intake {
    sources: Sources,
    limit: RateLimit,
    clock: Clock,
    shared: Arc<Shared>,
}

impl Intake {
    /// An intake that hands over to this writer.
    pub(crate) fn new(clock: Clock, shared: Arc<Shared>) -> Self {
        Self {
            sources: Sources::default(),
            limit: RateLimit::default(),
            clock,
            shared,
        }
    }

    /// A native datagram, or the content of its memfd.
    pub(crate) fn native(&mut self, datagram: &[u8], sender: Option<Credentials>) {
        for entry in native::parse(datagram) {
            self.attribute(entry, sender, None);
        }
    }

    /// A syslog datagram.
    pub(crate) fn syslog(&mut self, datagram: &[u8], sender: Option<Credentials>) {
        self.attribute(syslog::parse(datagram), sender, None);
    }

    /// A line of a stdout stream, whose unit is known where PID 1 opened it.
    pub(crate) fn line(&mut self, entry: Entry, sender: Option<Credentials>, unit: Option<&str>) {
        self.attribute(entry, sender, unit);
    }

    /// A kmsg record.
    pub(crate) fn kernel(&mut self, record: kmsg::Record) {
        let mut entry = record.entry;
        self.clock.stamp_kernel(&mut entry);
        self.keep(entry);
    }

    /// Says what the journal itself has to say.
    pub(crate) fn notice(&mut self, priority: u8, text: &str) {
        self.shared.push(own_entry(&self.clock, priority, text));
    }

    /// Tells of suppressed entries whose interval is over.
    pub(crate) fn tick(&mut self) {
        for (unit, count) in self.limit.expired(Instant::now()) {
            self.suppressed(&unit, count);
        }
    }

    fn attribute(&mut self, mut entry: Entry, sender: Option<Credentials>, unit: Option<&str>) {
        self.clock.stamp(&mut entry);
        if let Some(sender) = sender {
            let source = self.sources.find(sender.pid);
            entry.unit = unit.map_or(source.unit, str::to_string);
            entry.pid = sender.pid;
            if entry.identifier.is_empty() {
                entry.identifier.clone_from(&source.name);
            }
            if !source.name.is_empty() {
                entry
                    .fields
                    .push(("_COMM".into(), source.name.into_bytes()));
            }
            entry
                .fields
                .push(("_UID".into(), sender.uid.to_string().into_bytes()));
        } else if let Some(unit) = unit {
            entry.unit = unit.to_string();
        }
        self.keep(entry);
    }

    fn keep(&mut self, mut entry: Entry) {
        entry.bound();
        match self.limit.check(&entry.unit, Instant::now()) {
            Verdict::Keep => {}
            Verdict::KeepAfter(count) => self.suppressed(&entry.unit, count),
            Verdict::Suppress => return,
        }
        self.shared.push(entry);
    }

    fn suppressed(&mut self, unit: &str, count: u64) {
        let whom = if unit.is_empty() {
            "the kernel or processes of no unit"
        } else {
            unit
        };
        let mut entry = own_entry(
            &self.clock,
            4,
            &format!("Suppressed {count} messages from {whom}"),
        );
        if !unit.is_empty() {
            entry.unit = unit.to_string();
        }
        entry
            .fields
            .push(("N_DROPPED".into(), count.to_string().into_bytes()));
        self.shared.push(entry);
    }
}

fn own_entry(clock: &Clock, priority: u8, text: &str) -> Entry {
    let mut entry = Entry::new(Transport::Driver);
    entry.priority = priority;
    entry.unit = UNIT.into();
    entry.identifier = IDENTIFIER.into();
    entry.pid = std::process::id() as i32;
    entry.message = text.as_bytes().to_vec();
    clock.stamp(&mut entry);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake() -> (Intake, Arc<Shared>) {
        let shared = Arc::new(Shared::default());
        (Intake::new(Clock::for_test(), shared.clone()), shared)
    }

    fn me() -> Option<Credentials> {
        Some(Credentials {
            pid: std::process::id() as i32,
            uid: 1000,
        })
    }

    #[test]
    fn the_sender_is_what_the_kernel_says_and_not_what_it_says_itself() {
        let (mut intake, shared) = intake();
        intake.native(b"SYSLOG_PID=1\nMESSAGE=hello\n", me());
        let entry = shared.drain_for_test().remove(0);
        assert_eq!(entry.pid, std::process::id() as i32);
        assert!(entry.fields.contains(&("_UID".into(), b"1000".to_vec())));
        assert!(!entry.identifier.is_empty());
    }

    #[test]
    fn a_stream_of_pid_1_belongs_to_the_unit_it_names() {
        let (mut intake, shared) = intake();
        intake.line(Entry::new(Transport::Stdout), me(), Some("etcd.service"));
        assert_eq!(shared.drain_for_test().remove(0).unit, "etcd.service");
    }

    #[test]
    fn a_flood_ends_in_one_entry_that_counts_it() {
        let (mut intake, shared) = intake();
        for _ in 0..10_003 {
            intake.line(Entry::new(Transport::Stdout), None, Some("loud.service"));
        }
        assert_eq!(shared.drain_for_test().len(), 10_000);
        intake.suppressed("loud.service", 3);
        let told = shared.drain_for_test().remove(0);
        assert_eq!(told.message, b"Suppressed 3 messages from loud.service");
        assert_eq!(told.unit, "loud.service");
    }
}
