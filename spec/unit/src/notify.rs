//! sd_notify(3): what a service says about itself, as the text of one datagram.
//!
//! Lines of `NAME=value`. Every byte is hostile: lines that make no sense are skipped, texts for people are bounded and
//! lose their control characters.

use crate::directive::notify::is_fd_name;

/// Most bytes of a message, as systemd takes.
pub const MAX_MESSAGE: usize = 4096;
/// Most bytes of STATUS= kept.
pub const MAX_STATUS: usize = 512;

/// What a service said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// READY=1.
    pub ready: bool,
    /// RELOADING=1.
    pub reloading: bool,
    /// MONOTONIC_USEC=: when it began to reload.
    pub monotonic_us: Option<u64>,
    /// STOPPING=1.
    pub stopping: bool,
    /// WATCHDOG=1.
    pub watchdog: bool,
    /// WATCHDOG=trigger.
    pub watchdog_trigger: bool,
    /// WATCHDOG_USEC=.
    pub watchdog_us: Option<u64>,
    /// STATUS=.
    pub status: Option<String>,
    /// MAINPID=.
    pub main_pid: Option<i32>,
    /// ERRNO=.
    pub errno: Option<i32>,
    /// EXTEND_TIMEOUT_USEC=.
    pub extend_timeout_us: Option<u64>,
    /// FDSTORE=1.
    pub store: bool,
    /// FDSTOREREMOVE=1.
    pub remove_stored: bool,
    /// FDNAME=, if it is one that can be handed on.
    pub fd_name: Option<String>,
    /// FDPOLL=0.
    pub keep_ended: bool,
}

impl Message {
    /// Reads a message; lines that make no sense are skipped. Of a name that is given more than once the first counts,
    /// and a message with a NUL byte before its end says nothing, as with systemd.
    pub fn parse(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        if bytes.contains(&0) {
            return Self::default();
        }
        let text = String::from_utf8_lossy(bytes);
        let lines: Vec<&str> = text.split(['\n', '\r']).collect();
        let said = |line: &str| lines.contains(&line);
        let first = |name: &str| {
            let mut values = lines.iter().filter_map(|line| line.split_once('='));
            values
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value)
        };
        let number = |name: &str| first(name).and_then(|value| value.parse().ok());
        Self {
            ready: said("READY=1"),
            reloading: said("RELOADING=1"),
            monotonic_us: number("MONOTONIC_USEC"),
            stopping: said("STOPPING=1"),
            watchdog: first("WATCHDOG") == Some("1"),
            watchdog_trigger: first("WATCHDOG") == Some("trigger"),
            watchdog_us: number("WATCHDOG_USEC"),
            status: first("STATUS").map(status),
            main_pid: first("MAINPID")
                .and_then(|value| value.parse().ok())
                .filter(|pid| *pid > 1),
            errno: first("ERRNO").and_then(|value| value.parse().ok()),
            extend_timeout_us: number("EXTEND_TIMEOUT_USEC"),
            store: said("FDSTORE=1"),
            remove_stored: said("FDSTOREREMOVE=1"),
            fd_name: first("FDNAME")
                .filter(|name| is_fd_name(name))
                .map(String::from),
            keep_ended: said("FDPOLL=0"),
        }
    }
}

/// One line for people: bounded, without control characters.
fn status(value: &str) -> String {
    let mut text: String = value
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    while text.len() > MAX_STATUS {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_its_known_lines() {
        let text = b"READY=1\nSTATUS=up and\x07running\nMAINPID=42\nWATCHDOG_USEC=5000000\nODD=1\nnonsense\n";
        let message = Message::parse(text);
        assert!(message.ready && !message.watchdog);
        assert_eq!(message.status.as_deref(), Some("up and running"));
        assert_eq!(
            (message.main_pid, message.watchdog_us),
            (Some(42), Some(5_000_000))
        );
    }

    #[test]
    fn lines_end_as_systemds_do_and_the_first_of_a_name_counts() {
        let message = Message::parse(b"STATUS=a\rREADY=1\r\nSTATUS=b\nMAINPID=x\nMAINPID=7\0");
        assert!(message.ready);
        assert_eq!(message.status.as_deref(), Some("a"));
        assert_eq!(message.main_pid, None);
        assert_eq!(Message::parse(b"READY=1\0\n"), Message::default());
    }

    #[test]
    fn descriptors_are_stored_by_a_name_that_can_be_handed_on() {
        let message = Message::parse(b"FDSTORE=1\nFDNAME=data\nFDPOLL=0");
        assert!(message.store && message.keep_ended && !message.remove_stored);
        assert_eq!(message.fd_name.as_deref(), Some("data"));
        let odd = Message::parse(b"FDSTOREREMOVE=1\nFDNAME=a:b");
        assert_eq!((odd.remove_stored, odd.fd_name), (true, None));
    }

    #[test]
    fn pid_1_is_nobodys_main_process() {
        assert_eq!(Message::parse(b"MAINPID=1\n").main_pid, None);
        assert_eq!(Message::parse(b"MAINPID=-7\n").main_pid, None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let message = Message::parse(&bytes);
            prop_assert!(message.status.is_none_or(|text| text.len() <= MAX_STATUS));
        }
    }
}
