//! Records of /dev/kmsg: `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,...];text`, then ` NAME=value` lines
//! (Documentation/ABI/testing/dev-kmsg). The kernel's own carry facility 0; what PID 1 and early services
//! wrote there carries another and begins with `identifier: `.

use crate::journal::entry::{Entry, FIELD_MAX, FIELDS_MAX, Transport};
use crate::journal::syslog::split_identifier;

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The kernel's number of it.
    pub sequence: u64,
    /// What it says; `monotonic_us` is set, `realtime_us` is not.
    pub entry: Entry,
}

/// Reads a record, `None` where it is not one.
pub(crate) fn parse(bytes: &[u8]) -> Option<Record> {
    let at = bytes.iter().position(|byte| *byte == b';')?;
    let head = std::str::from_utf8(bytes.get(..at)?).ok()?;
    let mut lines = bytes.get(at + 1..)?.split(|byte| *byte == b'\n');
    let mut numbers = head.split(',');
    let priority: u32 = numbers.next()?.parse().ok()?;
    let sequence: u64 = numbers.next()?.parse().ok()?;
    let monotonic_us: u64 = numbers.next()?.parse().ok()?;

    let mut entry = Entry::new(Transport::Kernel);
    entry.priority = (priority & 7) as u8;
    entry.monotonic_us = monotonic_us;
    let text = unescape(lines.next().unwrap_or_default());
    if priority >> 3 == 0 {
        entry.identifier = "kernel".into();
        entry.message = text;
    } else {
        let (identifier, pid, message) = split_identifier(&text);
        entry.unit = unit_of(identifier);
        entry.identifier = identifier.to_string();
        entry.pid = pid.unwrap_or(0);
        entry.message = message.to_vec();
    }
    for line in lines.take(FIELDS_MAX) {
        let pair = line
            .strip_prefix(b" ")
            .and_then(|line| std::str::from_utf8(line).ok()?.split_once('='));
        if let Some((name, value)) =
            pair.filter(|(name, value)| name.len() < 48 && value.len() < FIELD_MAX)
        {
            entry
                .fields
                .push((format!("_KERNEL_{name}"), unescape(value.as_bytes())));
        }
    }
    Some(Record { sequence, entry })
}

/// The unit behind an identifier that only PID 1 and its services use; kmsg tells no process.
fn unit_of(identifier: &str) -> String {
    match identifier.strip_prefix("bedplate-") {
        Some("init") => "init.scope".into(),
        Some(name)
            if name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') =>
        {
            format!("bedplate-{name}.service")
        }
        _ => String::new(),
    }
}

/// The kernel writes bytes that do not print as `\xNN`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        match escaped(rest) {
            Some((value, tail)) => {
                out.push(value);
                rest = tail;
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    out
}

fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let digits = text.strip_prefix(b"\\x")?;
    let (digits, tail) = digits.split_at_checked(2)?;
    let value = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((value, tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_kernel_record_belongs_to_no_unit() {
        let record =
            parse(b"6,339,5140900,-,caller=T1;NET: Registered \\x22PF_PACKET\\x22\n SUBSYSTEM=net\n DEVICE=n2\n").unwrap();
        assert_eq!(
            (record.sequence, record.entry.monotonic_us),
            (339, 5_140_900)
        );
        assert_eq!(record.entry.message, b"NET: Registered \"PF_PACKET\"");
        assert_eq!(
            (record.entry.identifier.as_str(), record.entry.unit.as_str()),
            ("kernel", "")
        );
        assert_eq!(
            record.entry.fields[1],
            ("_KERNEL_DEVICE".to_string(), b"n2".to_vec())
        );
    }

    #[test]
    fn pid_1_and_early_services_are_known_by_their_word() {
        let init = parse(b"12,7,10,-;bedplate-init: state: made at /state")
            .unwrap()
            .entry;
        assert_eq!((init.unit.as_str(), init.priority), ("init.scope", 4));
        assert_eq!(init.message, b"state: made at /state");
        let device = parse(b"14,8,11,-;bedplate-device: settled").unwrap().entry;
        assert_eq!(device.unit, "bedplate-device.service");
    }

    #[test]
    fn the_kernel_cannot_be_taken_for_a_unit() {
        let record = parse(b"4,9,12,-;bedplate-init: said by a driver").unwrap();
        assert_eq!(record.entry.unit, "");
    }

    proptest! {
        #[test]
        fn no_record_makes_it_panic(bytes: Vec<u8>) {
            parse(&bytes);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}") {
            parse(format!("14,1,1,-;{text}\n K={text}").as_bytes());
        }
    }
}
