//! What PID 1 says: to the kernel log always, to the consoles when the kernel would keep it to itself.
//!
//! While units are supervised, news for the consoles waits for the loop's next turn ([`queue`]), and no turn for a slow one.
//! The kernel log needs no other process, survives the change of root and is collected by the journal once that
//! runs. Each message reaches a console once: printed by the kernel if its console level is high enough, else
//! written here. Nothing in this file can block or fail its caller.
//!
//! Source: Documentation/ABI/testing/dev-kmsg, printk(9), sd-daemon(3) for the levels.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::OnceLock;

pub(crate) mod queue;

/// Syslog's severity; lower is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The machine goes down because of it.
    Emergency = 0,
    /// Something does not work.
    Error = 3,
    /// Something may not work.
    Warning = 4,
    /// Seldom, and worth reading.
    Notice = 5,
    /// The steps of boot and shutdown, units coming and going.
    Info = 6,
    /// For whoever looks for a fault in PID 1.
    Debug = 7,
}

impl Level {
    /// The level that `bedplate.log=WORD` asks for.
    pub(crate) fn parse(word: &str) -> Option<Level> {
        match word {
            "debug" => Some(Level::Debug),
            "info" => Some(Level::Info),
            "notice" => Some(Level::Notice),
            "warning" => Some(Level::Warning),
            "error" => Some(Level::Error),
            _ => None,
        }
    }
}

/// The kernel refuses longer records (LOG_LINE_MAX less its own prefix).
const RECORD_MAX: usize = 900;

struct Sink {
    kmsg: Option<File>,
    /// Least severe level that is said at all.
    said: Level,
    /// The kernel prints records below this level on its consoles.
    printed: u8,
    /// Names below /dev of the kernel's consoles.
    consoles: Vec<String>,
    /// Serial lines among them, held open: whoever closes one last waits until all is sent, on a line that stands
    /// still for half a minute (`closing_wait` of setserial(8)).
    _lines: Vec<File>,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// Opens the kernel log. Called once, after /dev, /proc and /sys are there; what is said earlier is lost.
pub(crate) fn open(said: Level) {
    // Else the kernel drops records of a talkative process, which is when they are needed.
    let _ = std::fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
    let kmsg = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open("/dev/kmsg")
        .ok();
    let printk = std::fs::read_to_string("/proc/sys/kernel/printk").unwrap_or_default();
    let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let lines = active.split_whitespace().filter(|name| is_line(name));
    let lines = lines.filter_map(|name| open_console(name).ok()).collect();
    let _ = SINK.set(Sink {
        _lines: lines,
        kmsg,
        said,
        printed: console_level(&printk),
        consoles: active.split_whitespace().map(str::to_owned).collect(),
    });
}

/// The descriptor of the kernel log: a child that has anything to say must keep it.
pub(crate) fn descriptor() -> Option<RawFd> {
    SINK.get()?.kmsg.as_ref().map(AsRawFd::as_raw_fd)
}

/// First number of /proc/sys/kernel/printk.
fn console_level(printk: &str) -> u8 {
    printk
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

/// Says one message, one line each; prefer the macros [`error!`](crate::error!) to [`debug!`](crate::debug!).
pub(crate) fn say(level: Level, message: fmt::Arguments<'_>) {
    let Some(sink) = SINK.get() else { return };
    if level > sink.said {
        return;
    }
    if level < Level::Info {
        // The kernel may print it at once, and there may be no other time.
        queue::drain();
    }
    let text = message.to_string();
    for line in text.lines() {
        let record = record(level, line);
        let kept = sink
            .kmsg
            .as_ref()
            .is_some_and(|mut kmsg| kmsg.write_all(record.as_bytes()).is_ok());
        if (!kept || level as u8 >= sink.printed) && !queue::take(level, line) {
            sink.consoles
                .iter()
                .for_each(|console| print(console, line));
        }
    }
}

/// One record for /dev/kmsg, cut at the kernel's limit.
fn record(level: Level, line: &str) -> String {
    let mut record = String::with_capacity(RECORD_MAX);
    let _ = write!(record, "<{}>bedplate-init: ", level as u8);
    for char in line.chars() {
        if record.len() + char.len_utf8() > RECORD_MAX {
            break;
        }
        record.push(if char.is_control() { ' ' } else { char });
    }
    record
}

/// Whether a console is no virtual terminal: those send nothing.
fn is_line(console: &str) -> bool {
    let number = console.strip_prefix("tty");
    number.is_none_or(|number| number.parse::<u8>().is_err())
}

fn open_console(console: &str) -> std::io::Result<File> {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let mut options = OpenOptions::new();
    let options = options.write(true).custom_flags(flags);
    options.open(Path::new("/dev").join(console))
}

/// Opened for each message: a hung-up or stopped terminal costs that message, never PID 1.
fn print(console: &str, line: &str) {
    if let Ok(mut tty) = open_console(console) {
        let _ = tty.write_all(on_console(line).as_bytes());
    }
}

fn on_console(line: &str) -> String {
    format!("bedplate-init: {line}\r\n")
}

/// Says why the machine goes down.
#[macro_export]
macro_rules! emergency { ($($arg:tt)*) => { $crate::log::say($crate::log::Level::Emergency, format_args!($($arg)*)) } }
/// Says what does not work.
#[macro_export]
macro_rules! error { ($($arg:tt)*) => { $crate::log::say($crate::log::Level::Error, format_args!($($arg)*)) } }
/// Says what may not work.
#[macro_export]
macro_rules! warning { ($($arg:tt)*) => { $crate::log::say($crate::log::Level::Warning, format_args!($($arg)*)) } }
/// Says what is seldom and worth reading.
#[macro_export]
macro_rules! notice { ($($arg:tt)*) => { $crate::log::say($crate::log::Level::Notice, format_args!($($arg)*)) } }
/// Says a step.
#[macro_export]
macro_rules! info { ($($arg:tt)*) => { $crate::log::say($crate::log::Level::Info, format_args!($($arg)*)) } }
/// Says what helps to find a fault.
#[macro_export]
macro_rules! debug { ($($arg:tt)*) => { $crate::log::say($crate::log::Level::Debug, format_args!($($arg)*)) } }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_the_kernel_accepts() {
        assert_eq!(
            record(Level::Warning, "disk\tgone"),
            "<4>bedplate-init: disk gone"
        );
        let long = record(Level::Info, &"ü".repeat(2000));
        assert!(long.len() <= RECORD_MAX && long.len() > RECORD_MAX - 4);
    }

    #[test]
    fn a_serial_line_is_held_open_and_a_virtual_terminal_is_not() {
        for (console, line) in [
            ("ttyS0", true),
            ("hvc0", true),
            ("tty0", false),
            ("tty1", false),
        ] {
            assert_eq!(is_line(console), line, "{console}");
        }
    }

    #[test]
    fn the_console_level_is_the_first_number() {
        assert_eq!(console_level("4\t4\t1\t7\n"), 4);
        assert_eq!(console_level(""), 0);
    }

    #[test]
    fn the_levels_have_syslogs_words() {
        assert_eq!(Level::parse("debug"), Some(Level::Debug));
        assert_eq!(Level::parse("loud"), None);
        assert!(Level::Error < Level::Info);
    }
}
