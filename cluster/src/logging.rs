//! Where a component's own words go: the journal, and stderr where there is none.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::JournalLog;

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if !ours(record.metadata()) {
            return;
        }
        let priority = match record.level() {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        // Nobody is left to be told when stderr is gone.
        let _ = writeln!(
            std::io::stderr(),
            "<{priority}>{}",
            record.args().to_string().replace('\n', " ")
        );
    }

    fn flush(&self) {}
}

/// The libraries' own chatter is not ours to tell below a warning.
fn ours(metadata: &Metadata) -> bool {
    metadata.level() <= Level::Warn || metadata.target().starts_with("bedplate")
}

struct Journal(JournalLog);

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if ours(record.metadata()) && self.0.journal_send(record).is_err() {
            Stderr.log(record);
        }
    }

    fn flush(&self) {}
}

/// Takes over `log` for this process. The level is `info`, or what `BEDPLATE_LOG` says.
pub(crate) fn start(identifier: &str) {
    let level = std::env::var("BEDPLATE_LOG")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(LevelFilter::Info);
    let logger: Box<dyn Log> = match JournalLog::new() {
        Ok(journal) => Box::new(Journal(
            journal.with_syslog_identifier(identifier.to_owned()),
        )),
        Err(_) => Box::new(Stderr),
    };
    if log::set_boxed_logger(logger).is_ok() {
        log::set_max_level(level);
    }
}
