//! Streams that outlive the journal: PID 1 stores their sockets, sd_pid_notify_with_fds(3), and hands them to the next
//! run.
//!
//! What the header of a stream has said is in the name that its socket is stored by: five parts with dots between,
//! `stream.NUMBER.PRIORITY[p].UNIT.IDENTIFIER`, bytes other than letters, digits, `-`, `_` and `@` as `%XX`. NUMBER is
//! the socket's own, so no two names are the same; `p` says that lines have levels before them. One whose name would be
//! longer than 255 bytes is not stored.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::fstat;

use crate::journal::stream::Header;

/// Most bytes of a name, FDNAME= of sd_notify(3).
const NAME_MAX: usize = 255;
/// First part of every name.
const KIND: &str = "stream";

/// The name that a stream is stored by, if it can be.
pub(crate) fn name(socket: &impl AsFd, header: &Header) -> Option<String> {
    let number = fstat(socket).ok()?.st_ino;
    let prefix = if header.level_prefix { "p" } else { "" };
    let name = format!(
        "{KIND}.{number}.{}{prefix}.{}.{}",
        header.priority,
        escape(&header.unit),
        escape(&header.identifier)
    );
    (name.len() <= NAME_MAX).then_some(name)
}

/// The header in a name.
pub(crate) fn header(name: &str) -> Option<Header> {
    let parts: Vec<&str> = name.split('.').collect();
    let [KIND, _, priority, unit, identifier] = parts[..] else {
        return None;
    };
    let digits = priority.strip_suffix('p');
    let level: u8 = digits.unwrap_or(priority).parse().ok()?;
    Some(Header {
        identifier: unescape(identifier)?,
        unit: unescape(unit)?,
        priority: (level < 8).then_some(level)?,
        level_prefix: digits.is_some(),
    })
}

/// Sockets that PID 1 has kept since the last run, with what their headers had said.
pub(crate) fn handed() -> Vec<(String, Header, UnixStream)> {
    let handed = crate::sys::handed::take().into_iter();
    handed
        .filter_map(|(name, fd): (String, OwnedFd)| match header(&name) {
            Some(header) => Some((name, header, UnixStream::from(fd))),
            None => {
                log::warn!("PID 1 has kept {name:?}, which is no stream");
                None
            }
        })
        .collect()
}

fn escape(text: &str) -> String {
    let part = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'@' => char::from(byte).into(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(part).collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixDatagram;

    use proptest::prelude::*;

    use super::*;
    use crate::journal::stream::Stream;
    use crate::sys::message::receive;

    fn some_header() -> Header {
        Header {
            identifier: "a.b: c".into(),
            unit: "etcd@one.service".into(),
            priority: 6,
            level_prefix: true,
        }
    }

    #[test]
    fn a_stream_goes_on_in_the_next_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let pid1 = UnixDatagram::bind(&path).unwrap();
        let (mut service, own) = UnixStream::pair().unwrap();
        service.write_all(b"before\nhalf").unwrap();
        let name = name(&own, &some_header()).unwrap();
        let address = std::os::unix::net::SocketAddr::from_pathname(&path).unwrap();
        crate::notify::store_at(&address, own.as_fd(), &name).unwrap();

        let mut buffer = vec![0; 1024];
        let mut received = receive(&pid1, &mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..received.bytes]).unwrap();
        assert_eq!(text, format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}"));
        let stored = UnixStream::from(received.fds.remove(0));
        let mut first = Stream::resumed(some_header());
        let mut lines = Vec::new();
        let length = receive(&own, &mut buffer).unwrap().bytes;
        first
            .feed(&buffer[..length], |line| lines.push(line))
            .unwrap();
        assert_eq!(lines.len(), 1);
        drop((first, own));

        // The next run has the socket and its name, and nothing else.
        service.write_all(b"after\n<3>last").unwrap();
        drop(service);
        let mut next = Stream::resumed(header(&name).unwrap());
        lines.clear();
        let length = receive(&stored, &mut buffer).unwrap().bytes;
        next.feed(&buffer[..length], |line| lines.push(line))
            .unwrap();
        next.finish(|line| lines.push(line));
        let said: Vec<_> = lines
            .iter()
            .map(|line| (&line.message[..], line.priority))
            .collect();
        assert_eq!(said, [(&b"after"[..], 6), (&b"last"[..], 3)]);
        assert_eq!(lines[0].identifier, "a.b: c");
        assert_eq!(next.header().unwrap().unit, "etcd@one.service");
    }

    #[test]
    fn no_two_sockets_have_one_name_and_a_long_one_has_none() {
        let (left, right) = UnixStream::pair().unwrap();
        assert_ne!(name(&left, &some_header()), name(&right, &some_header()));
        let long = Header {
            identifier: "%".repeat(100),
            ..some_header()
        };
        assert_eq!(name(&left, &long), None);
    }

    #[test]
    fn what_is_no_name_of_a_stream_is_refused() {
        for odd in [
            "",
            "stored",
            "stream.1.6p.a",
            "stream.1.9.a.b",
            "stream.1.6.%zz.b",
            "stream.1.6.%f.b",
            "other.1.6.a.b",
            "stream.1.6.%FF.b",
        ] {
            assert_eq!(header(odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn a_header_reads_back(identifier in "\\PC{0,20}", unit in "[a-z@.-]{0,20}", priority in 0u8..8, level_prefix: bool) {
            let (socket, _other) = UnixStream::pair().unwrap();
            let header = Header { identifier, unit, priority, level_prefix };
            if let Some(name) = name(&socket, &header) {
                prop_assert!(name.bytes().all(|byte| (b' '..0x7f).contains(&byte) && byte != b':'));
                prop_assert_eq!(super::header(&name), Some(header));
            }
        }
    }
}
