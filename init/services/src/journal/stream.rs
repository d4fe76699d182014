//! A stdout stream: seven header lines (identifier, unit, priority, level prefix, forward to syslog, kmsg and
//! console), then text by lines, as systemd's `/run/systemd/journal/stdout` has it.
//!
//! [`Stream`] is the state machine over the bytes alone; the socket is the caller's.

use crate::journal::entry::{Entry, Transport};
use crate::journal::syslog::split_priority;

/// Longest line; a longer one is broken here.
pub(crate) const LINE_MAX: usize = 48 * 1024;
/// Longest header line.
const HEADER_LINE_MAX: usize = 512;
/// Header lines.
const HEADER_LINES: usize = 7;

/// What the header says of the lines that follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// `SYSLOG_IDENTIFIER` of each line.
    pub identifier: String,
    /// Unit, as the connecting process says; to be believed only from uid 0.
    pub unit: String,
    /// Priority of a line without a prefix.
    pub priority: u8,
    /// Whether `<N>` begins a line.
    pub level_prefix: bool,
}

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    header_lines: Vec<String>,
    header: Option<Header>,
    buffer: Vec<u8>,
}

/// The header is not one: the connection is to be closed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadHeader;

impl Stream {
    /// One whose header came in an earlier run.
    pub(crate) fn resumed(header: Header) -> Self {
        Self {
            header: Some(header),
            ..Self::default()
        }
    }

    /// The header, once it is complete.
    pub(crate) fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Takes bytes in and gives each line that is complete to `emit`.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut emit: impl FnMut(Entry),
    ) -> Result<(), BadHeader> {
        while !bytes.is_empty() {
            let (limit, in_header) = match self.header {
                Some(_) => (LINE_MAX, false),
                None => (HEADER_LINE_MAX, true),
            };
            let room = limit - self.buffer.len().min(limit);
            let window = bytes.get(..room).unwrap_or(bytes);
            let end = window
                .iter()
                .position(|byte| *byte == b'\n' || (*byte == 0 && !in_header));
            let taken = end.unwrap_or(window.len());
            self.buffer
                .extend_from_slice(window.get(..taken).unwrap_or_default());
            bytes = bytes
                .get(taken + usize::from(end.is_some())..)
                .unwrap_or_default();
            if end.is_some() {
                self.end_line(None, &mut emit)?;
            } else if self.buffer.len() >= limit {
                if in_header {
                    return Err(BadHeader);
                }
                self.end_line(Some("line-max"), &mut emit)?;
            }
        }
        Ok(())
    }

    /// The other end closed: what is left is a line too.
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(Entry)) {
        if self.header.is_some() && !self.buffer.is_empty() {
            let _ = self.end_line(Some("eof"), &mut emit);
        }
    }

    fn end_line(
        &mut self,
        line_break: Option<&str>,
        emit: &mut impl FnMut(Entry),
    ) -> Result<(), BadHeader> {
        let line = std::mem::take(&mut self.buffer);
        match &self.header {
            Some(header) => {
                if let Some(entry) = line_entry(header, &line, line_break) {
                    emit(entry);
                }
                // Keep small buffers, give large ones back.
                if line.capacity() <= 4096 {
                    self.buffer = line;
                    self.buffer.clear();
                }
                Ok(())
            }
            None => {
                self.header_lines
                    .push(String::from_utf8(line).map_err(|_| BadHeader)?);
                if self.header_lines.len() == HEADER_LINES {
                    self.header = Some(parse_header(&std::mem::take(&mut self.header_lines))?);
                }
                Ok(())
            }
        }
    }
}

fn parse_header(lines: &[String]) -> Result<Header, BadHeader> {
    let [identifier, unit, priority, level_prefix, ..] = lines else {
        return Err(BadHeader);
    };
    let priority: u32 = priority.parse().map_err(|_| BadHeader)?;
    Ok(Header {
        identifier: identifier.clone(),
        unit: unit.clone(),
        priority: (priority & 7) as u8,
        level_prefix: level_prefix == "1",
    })
}

fn line_entry(header: &Header, line: &[u8], line_break: Option<&str>) -> Option<Entry> {
    let mut entry = Entry::new(Transport::Stdout);
    entry.priority = header.priority;
    let mut text = line;
    if header.level_prefix
        && let (Some(priority), rest) = split_priority(line)
    {
        entry.priority = (priority & 7) as u8;
        text = rest;
    }
    let text = text.trim_ascii_end();
    if text.is_empty() {
        return None;
    }
    entry.identifier.clone_from(&header.identifier);
    entry.message = text.to_vec();
    if let Some(reason) = line_break {
        entry.fields.push(("_LINE_BREAK".into(), reason.into()));
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &[u8] = b"etcd\netcd.service\n30\n1\n0\n0\n0\n";

    fn lines(stream: &mut Stream, bytes: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        stream.feed(bytes, |entry| entries.push(entry)).unwrap();
        entries
    }

    #[test]
    fn lines_follow_the_header() {
        let mut stream = Stream::default();
        let mut bytes = HEADER.to_vec();
        bytes.extend_from_slice(b"first\n<3>second\nhalf");
        let entries = lines(&mut stream, &bytes);
        assert_eq!(stream.header().unwrap().unit, "etcd.service");
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (entries[0].message.as_slice(), entries[0].priority),
            (b"first".as_slice(), 6)
        );
        assert_eq!(
            (entries[1].message.as_slice(), entries[1].priority),
            (b"second".as_slice(), 3)
        );

        let mut rest = Vec::new();
        stream.finish(|entry| rest.push(entry));
        assert_eq!(rest[0].message, b"half");
        assert_eq!(rest[0].fields[0].1, b"eof");
    }

    #[test]
    fn a_line_without_end_is_broken_and_bounded() {
        let mut stream = Stream::default();
        assert!(lines(&mut stream, HEADER).is_empty());
        let entries = lines(&mut stream, &[b'x'; LINE_MAX * 2 + 5]);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].message.len(), LINE_MAX);
        assert_eq!(stream.buffer.len(), 5);
    }

    #[test]
    fn a_wrong_header_is_refused() {
        let mut stream = Stream::default();
        assert_eq!(
            stream.feed(b"a\nb\nnumber\n1\n0\n0\n0\n", |_| {}),
            Err(BadHeader)
        );
        let mut stream = Stream::default();
        assert_eq!(
            stream.feed(&vec![b'x'; HEADER_LINE_MAX + 1], |_| {}),
            Err(BadHeader)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut stream = Stream::default();
            let _ = stream.feed(&bytes, |_| {});
            stream.finish(|_| {});
        }

        #[test]
        fn how_the_bytes_are_cut_does_not_matter(text in "[a-c\n]{0,60}", cut in 0usize..60) {
            let bytes = [HEADER, text.as_bytes()].concat();
            let whole = lines(&mut Stream::default(), &bytes);
            let mut stream = Stream::default();
            let cut = cut.min(bytes.len());
            let mut parts = lines(&mut stream, &bytes[..cut]);
            parts.extend(lines(&mut stream, &bytes[cut..]));
            prop_assert_eq!(whole, parts);
        }
    }
}
