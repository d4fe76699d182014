//! The native journal protocol: `NAME=value` lines, or `NAME`, a line feed, the value's length as 64-bit
//! little-endian and the value (systemd.io, JOURNAL_NATIVE_PROTOCOL). One datagram may hold several entries,
//! separated by an empty line.

use crate::journal::entry::{Entry, FIELD_MAX, FIELDS_MAX, MESSAGE_MAX, NAME_MAX, Transport};

/// Most entries taken from one datagram.
const ENTRIES_MAX: usize = 256;

/// Reads all entries of a datagram. What is malformed ends the reading; what came before it is kept.
pub(crate) fn parse(datagram: &[u8]) -> Vec<Entry> {
    let mut input = datagram;
    let mut entries = Vec::new();
    while !input.is_empty() && entries.len() < ENTRIES_MAX {
        let mut entry = Entry::new(Transport::Journal);
        let mut message = false;
        while let Some(field) = next_field(&mut input) {
            match field {
                Field::Pair(name, value) => message |= apply(&mut entry, name, value),
                Field::EndOfEntry => break,
            }
        }
        if message {
            entries.push(entry);
        }
    }
    entries
}

enum Field<'a> {
    Pair(&'a str, &'a [u8]),
    EndOfEntry,
}

/// The next field; on malformed input the rest is dropped.
fn next_field<'a>(input: &mut &'a [u8]) -> Option<Field<'a>> {
    loop {
        if input.is_empty() {
            return None;
        }
        let end = input
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(input.len());
        let line = input.get(..end)?;
        let rest = input.get(end + 1..).unwrap_or_default();
        *input = rest;
        if line.is_empty() {
            return Some(Field::EndOfEntry);
        }
        let (name, value) = match line.iter().position(|byte| *byte == b'=') {
            Some(at) => (line.get(..at)?, line.get(at + 1..)?),
            None => {
                let Some(value) = binary_value(input) else {
                    *input = &[];
                    return None;
                };
                (line, value)
            }
        };
        if let Some(name) = valid_name(name) {
            return Some(Field::Pair(name, value));
        }
    }
}

fn binary_value<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = input.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (value, rest) = rest.split_at_checked(length)?;
    *input = rest.strip_prefix(b"\n")?;
    Some(value)
}

/// Clients may set upper-case names only; a leading underscore marks what only the journal may set.
fn valid_name(name: &[u8]) -> Option<&str> {
    let plain = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let first = name.first()?;
    let valid = name.len() <= NAME_MAX && first.is_ascii_uppercase() && name.iter().all(plain);
    if valid {
        std::str::from_utf8(name).ok()
    } else {
        None
    }
}

/// Puts a field where it belongs; true for the message.
fn apply(entry: &mut Entry, name: &str, value: &[u8]) -> bool {
    let text = || String::from_utf8_lossy(value);
    match name {
        "MESSAGE" => {
            entry.message = value.get(..MESSAGE_MAX).unwrap_or(value).to_vec();
            return true;
        }
        "PRIORITY" => {
            if let [digit @ b'0'..=b'7'] = value {
                entry.priority = digit - b'0';
            }
        }
        "SYSLOG_IDENTIFIER" => entry.identifier = text().into_owned(),
        "SYSLOG_PID" => {
            if let Ok(pid) = text().trim().parse() {
                entry.pid = pid;
            }
        }
        _ if value.len() <= FIELD_MAX && entry.fields.len() < FIELDS_MAX => {
            entry.fields.push((name.to_string(), value.to_vec()));
        }
        _ => {}
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_datagram_of_our_own_programs_is_read() {
        let entries = parse(
            b"PRIORITY=4\nMESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\nSYSLOG_IDENTIFIER=bedplate-node\nSYSLOG_PID=77\nCODE_LINE\n\x02\0\0\0\0\0\0\x0012\n",
        );
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].message, b"two\nlines");
        assert_eq!((entries[0].priority, entries[0].pid), (4, 77));
        assert_eq!(entries[0].identifier, "bedplate-node");
        assert_eq!(
            entries[0].fields,
            [("CODE_LINE".to_string(), b"12".to_vec())]
        );
    }

    #[test]
    fn an_empty_line_separates_entries() {
        let entries = parse(b"MESSAGE=one\n\nMESSAGE=two\n");
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1].message, b"two");
    }

    #[test]
    fn a_client_cannot_set_trusted_or_odd_fields() {
        let entries = parse(b"_SYSTEMD_UNIT=forged.service\nlower=1\nMESSAGE=x\n=\n");
        assert!(entries[0].fields.is_empty());
        assert!(entries[0].unit.is_empty());
    }

    #[test]
    fn a_length_beyond_the_datagram_ends_it() {
        assert!(parse(b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffabc").is_empty());
        assert!(parse(b"").is_empty());
    }

    proptest! {
        #[test]
        fn no_datagram_makes_it_panic(bytes: Vec<u8>) {
            parse(&bytes);
        }

        #[test]
        fn what_a_client_writes_is_what_is_read(message in ".{0,200}") {
            let mut datagram = b"MESSAGE\n".to_vec();
            datagram.extend_from_slice(&(message.len() as u64).to_le_bytes());
            datagram.extend_from_slice(message.as_bytes());
            datagram.push(b'\n');
            let entries = parse(&datagram);
            prop_assert_eq!(entries.len(), 1);
            prop_assert_eq!(&entries[0].message, message.as_bytes());
        }
    }
}
