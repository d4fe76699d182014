//! Where a service's own words go: the journal, and before there is one, stderr.
//!
//! One `log` backend for every service of this program. Each record is offered to the journal's
//! native socket; while nobody listens there, it becomes one write of `<PRIORITY>bedplate-NAME: text`
//! to stderr, which PID 1 connects to kmsg or to a stream that reads the same prefix (sd-daemon(3)).
//! The journal itself must never wait for itself: it always takes stderr.

use std::io::Write;
use std::sync::Mutex;

use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::JournalLog;

/// Longest text of one stderr record: the kernel truncates a kmsg line near 1 KiB.
const STDERR_MAX: usize = 960;

/// Where records are offered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The journal, stderr while it is absent.
    Journal,
    /// stderr only.
    Stderr,
}

struct Logger {
    name: &'static str,
    target: Target,
    journal: Mutex<Option<JournalLog>>,
}

/// Takes over `log` for this process. `name` is the service's, without the `bedplate-` prefix.
///
/// The level is `info`, or what `BEDPLATE_LOG` says (`error`, `warn`, `info`, `debug`, `trace`).
pub(crate) fn start(name: &'static str, target: Target) {
    let level = std::env::var("BEDPLATE_LOG")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(LevelFilter::Info);
    let logger = Logger {
        name,
        target,
        journal: Mutex::new(None),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
}

impl Logger {
    /// Whether the journal took the record. A lost journal is tried anew at the next record.
    fn offer_to_journal(&self, record: &Record) -> bool {
        let Ok(mut journal) = self.journal.lock() else {
            return false;
        };
        if journal.is_none() {
            *journal = JournalLog::new()
                .ok()
                .map(|made| made.with_syslog_identifier(format!("bedplate-{}", self.name)));
        }
        let sent = journal
            .as_ref()
            .is_some_and(|journal| journal.journal_send(record).is_ok());
        if !sent {
            *journal = None;
        }
        sent
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // The libraries' own chatter is not ours to tell below a warning.
        metadata.level() <= log::max_level()
            && (metadata.level() <= Level::Warn || metadata.target().starts_with("bedplate"))
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if self.target == Target::Journal && self.offer_to_journal(record) {
            return;
        }
        let line = stderr_line(self.name, record.level(), &record.args().to_string());
        // Nobody is left to be told when stderr is gone.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// One write for one record: the kernel and the journal take the prefix off.
fn stderr_line(name: &str, level: Level, text: &str) -> String {
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    let mut line = format!("<{priority}>bedplate-{name}: {}", text.replace('\n', " "));
    if line.len() > STDERR_MAX {
        let mut end = STDERR_MAX;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_with_its_priority() {
        assert_eq!(
            stderr_line("device", Level::Warn, "two\nlines"),
            "<4>bedplate-device: two lines\n"
        );
    }

    #[test]
    fn a_long_record_ends_at_a_character() {
        let line = stderr_line("device", Level::Error, &"é".repeat(2000));
        assert!(line.len() <= STDERR_MAX + 1);
        assert!(line.ends_with("é\n"));
    }
}
