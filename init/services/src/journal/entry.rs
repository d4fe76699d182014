//! One journal entry, and its bytes in a segment.
//!
//! The encoding is little-endian and self-delimiting; [`crate::journal::segment`] adds length and CRC around it.
//! Decoding treats the bytes as hostile: a length that leads out of the record is an error, never a panic.

use std::collections::BTreeMap;

use spec_api::LogEntry;

/// Most bytes of one message that are kept; the rest is cut.
pub(crate) const MESSAGE_MAX: usize = 256 * 1024;
/// Most bytes of one further field; a longer one is left out.
pub(crate) const FIELD_MAX: usize = 64 * 1024;
/// Most further fields of one entry.
pub(crate) const FIELDS_MAX: usize = 64;
/// Most bytes of a field name, as in systemd.
pub(crate) const NAME_MAX: usize = 64;
/// Most bytes of all further fields together.
const FIELDS_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of a unit name or an identifier.
const WORD_MAX: usize = 256;

/// How an entry came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// /dev/kmsg.
    Kernel,
    /// A stdout stream.
    Stdout,
    /// A native datagram.
    Journal,
    /// A syslog datagram.
    Syslog,
    /// The journal's own notices.
    Driver,
}

impl Transport {
    /// The word in `_TRANSPORT`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Stdout => "stdout",
            Self::Journal => "journal",
            Self::Syslog => "syslog",
            Self::Driver => "driver",
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Kernel,
            Self::Stdout,
            Self::Journal,
            Self::Syslog,
            Self::Driver,
        ]
        .get(usize::from(byte))
        .copied()
    }
}

/// One entry. `seq` is given by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Position in the store.
    pub seq: u64,
    /// Microseconds since the epoch.
    pub realtime_us: u64,
    /// CLOCK_BOOTTIME microseconds.
    pub monotonic_us: u64,
    /// Boot id.
    pub boot_id: [u8; 16],
    /// How it came in.
    pub transport: Transport,
    /// Syslog priority 0-7.
    pub priority: u8,
    /// Process, 0 where unknown.
    pub pid: i32,
    /// Unit, empty for the kernel and where unknown.
    pub unit: String,
    /// SYSLOG_IDENTIFIER or the program's name.
    pub identifier: String,
    /// The text.
    pub message: Vec<u8>,
    /// Further fields, in the order given.
    pub fields: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// An empty entry of this transport at priority `info`.
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            seq: 0,
            realtime_us: 0,
            monotonic_us: 0,
            boot_id: [0; 16],
            transport,
            priority: 6,
            pid: 0,
            unit: String::new(),
            identifier: String::new(),
            message: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Cuts what is too large, so that an entry always fits a record.
    pub(crate) fn bound(&mut self) {
        self.message.truncate(MESSAGE_MAX);
        cut(&mut self.unit, WORD_MAX);
        cut(&mut self.identifier, WORD_MAX);
        self.fields.truncate(FIELDS_MAX);
        let mut left = FIELDS_BYTES_MAX;
        self.fields.retain(|(name, value)| {
            let keep = name.len() <= NAME_MAX && value.len() <= FIELD_MAX && value.len() <= left;
            left -= if keep { value.len() } else { 0 };
            keep
        });
    }

    /// Bytes this entry costs in memory, near enough.
    pub(crate) fn cost(&self) -> usize {
        let fields: usize = self
            .fields
            .iter()
            .map(|(name, value)| name.len() + value.len() + 64)
            .sum();
        size_of::<Self>() + self.unit.len() + self.identifier.len() + self.message.len() + fields
    }

    /// Appends the encoding.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.realtime_us.to_le_bytes());
        out.extend_from_slice(&self.monotonic_us.to_le_bytes());
        out.extend_from_slice(&self.boot_id);
        out.push(self.transport as u8);
        out.push(self.priority);
        out.extend_from_slice(&self.pid.to_le_bytes());
        put(out, self.unit.as_bytes());
        put(out, self.identifier.as_bytes());
        put(out, &self.message);
        for (name, value) in &self.fields {
            put(out, name.as_bytes());
            put(out, value);
        }
    }

    /// Reads an encoding, `None` where it is not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = bytes;
        let mut entry = Self::new(Transport::Driver);
        entry.seq = u64::from_le_bytes(take(&mut input)?);
        entry.realtime_us = u64::from_le_bytes(take(&mut input)?);
        entry.monotonic_us = u64::from_le_bytes(take(&mut input)?);
        entry.boot_id = take(&mut input)?;
        let [transport, priority] = take(&mut input)?;
        entry.transport = Transport::from_byte(transport)?;
        entry.priority = priority;
        entry.pid = i32::from_le_bytes(take(&mut input)?);
        entry.unit = String::from_utf8(get(&mut input)?.to_vec()).ok()?;
        entry.identifier = String::from_utf8(get(&mut input)?.to_vec()).ok()?;
        entry.message = get(&mut input)?.to_vec();
        while !input.is_empty() {
            let name = String::from_utf8(get(&mut input)?.to_vec()).ok()?;
            entry.fields.push((name, get(&mut input)?.to_vec()));
        }
        Some(entry)
    }

    /// What the API shows; `store` is the id in the cursor.
    pub(crate) fn to_api(&self, store: u64) -> LogEntry {
        let mut fields: BTreeMap<String, String> = self
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
            .collect();
        fields.insert("_TRANSPORT".into(), self.transport.word().into());
        LogEntry {
            cursor: cursor(store, self.seq),
            realtime_us: self.realtime_us,
            monotonic_us: self.monotonic_us,
            boot_id: boot_id_text(self.boot_id),
            priority: self.priority,
            unit: self.unit.clone(),
            identifier: self.identifier.clone(),
            pid: (self.pid > 0).then_some(self.pid),
            message: String::from_utf8_lossy(&self.message).into_owned(),
            fields,
        }
    }
}

/// The cursor of an entry: the store's id, so that one of a lost store is recognised, and the position.
pub(crate) fn cursor(store: u64, seq: u64) -> String {
    format!("{store:016x}-{seq:x}")
}

/// Store id and position of a cursor.
pub(crate) fn parse_cursor(text: &str) -> Option<(u64, u64)> {
    let (store, seq) = text.split_once('-')?;
    Some((
        u64::from_str_radix(store, 16).ok()?,
        u64::from_str_radix(seq, 16).ok()?,
    ))
}

/// 32 hex digits.
pub(crate) fn boot_id_text(id: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}

/// Reads 32 hex digits, with or without dashes.
pub(crate) fn parse_boot_id(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    (digits.len() == 32).then(|| {
        u128::from_str_radix(&digits, 16)
            .ok()
            .map(u128::to_be_bytes)
    })?
}

fn cut(text: &mut String, max: usize) {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

fn get<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(input)?) as usize;
    let (head, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(head)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An entry with this text, for tests of other files too.
    pub(crate) fn entry(message: &str) -> Entry {
        let mut entry = Entry::new(Transport::Journal);
        entry.unit = "etcd.service".into();
        entry.identifier = "etcd".into();
        entry.boot_id = [7; 16];
        entry.realtime_us = 1_700_000_000_000_000;
        entry.pid = 42;
        entry.message = message.as_bytes().to_vec();
        entry.fields.push(("CODE_LINE".into(), b"12".to_vec()));
        entry
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        let mut bytes = Vec::new();
        entry("ready to serve").encode(&mut bytes);
        assert_eq!(Entry::decode(&bytes), Some(entry("ready to serve")));
    }

    #[test]
    fn every_cut_encoding_is_refused_or_shorter() {
        let mut bytes = Vec::new();
        entry("x").encode(&mut bytes);
        for end in 0..bytes.len() {
            assert_ne!(
                Entry::decode(&bytes[..end]),
                Some(entry("x")),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn an_oversized_entry_is_cut_to_fit() {
        let mut large = entry("");
        large.message = vec![b'a'; MESSAGE_MAX + 1];
        large.unit = "é".repeat(WORD_MAX);
        large.fields = (0..200)
            .map(|n| (format!("F{n}"), vec![0; 16 * 1024]))
            .collect();
        large.bound();
        assert_eq!(large.message.len(), MESSAGE_MAX);
        assert!(large.unit.len() <= WORD_MAX);
        assert_eq!(large.fields.len(), FIELDS_BYTES_MAX / (16 * 1024));
    }

    #[test]
    fn a_cursor_names_store_and_position() {
        assert_eq!(parse_cursor(&cursor(0xfeed, 77)), Some((0xfeed, 77)));
        assert_eq!(parse_cursor("nonsense"), None);
    }

    #[test]
    fn a_boot_id_is_read_with_dashes() {
        let id = parse_boot_id("01020304-0506-0708-090a-0b0c0d0e0f10\n").unwrap();
        assert_eq!(boot_id_text(id), "0102030405060708090a0b0c0d0e0f10");
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let _ = Entry::decode(&bytes);
        }
    }
}
