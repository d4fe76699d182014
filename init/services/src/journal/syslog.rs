//! syslog(3) datagrams as libc writes them to /dev/log: `<PRI>Mmm dd hh:mm:ss identifier[pid]: text` (RFC 3164).

use crate::journal::entry::{Entry, MESSAGE_MAX, Transport};

/// Most bytes of an identifier.
const IDENTIFIER_MAX: usize = 64;

/// Reads a datagram; anything is a message, the parts that are missing stay empty.
pub(crate) fn parse(datagram: &[u8]) -> Entry {
    let mut entry = Entry::new(Transport::Syslog);
    let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    let (priority, text) = split_priority(text);
    if let Some(value) = priority {
        entry.priority = (value & 7) as u8;
        entry.fields.push((
            "SYSLOG_FACILITY".into(),
            (value >> 3).to_string().into_bytes(),
        ));
    }
    let (identifier, pid, message) = split_identifier(skip_time(text));
    entry.identifier = identifier.to_string();
    entry.pid = pid.unwrap_or(0);
    let message = message.trim_ascii_end();
    entry.message = message.get(..MESSAGE_MAX).unwrap_or(message).to_vec();
    entry
}

/// Takes `<N>` off, N below 1024.
pub(crate) fn split_priority(text: &[u8]) -> (Option<u32>, &[u8]) {
    let split = || {
        let rest = text.strip_prefix(b"<")?;
        let end = rest.iter().take(5).position(|byte| *byte == b'>')?;
        let number: u32 = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
        (number < 1024).then_some((number, rest.get(end + 1..)?))
    };
    match split() {
        Some((number, rest)) => (Some(number), rest),
        None => (None, text),
    }
}

/// Takes `identifier[pid]: ` off.
pub(crate) fn split_identifier(text: &[u8]) -> (&str, Option<i32>, &[u8]) {
    let split = || {
        let end = text
            .iter()
            .take(IDENTIFIER_MAX + 16)
            .position(|byte| byte.is_ascii_whitespace())?;
        let head = std::str::from_utf8(text.get(..end)?)
            .ok()?
            .strip_suffix(':')?;
        let (name, pid) = match head.strip_suffix(']').and_then(|head| head.split_once('[')) {
            Some((name, pid)) => (name, pid.parse().ok().filter(|pid| *pid > 0)),
            None => (head, None),
        };
        let valid = !name.is_empty() && name.len() <= IDENTIFIER_MAX;
        valid.then_some((name, pid, text.get(end + 1..)?))
    };
    split().unwrap_or(("", None, text))
}

/// Takes `Mmm dd hh:mm:ss ` off.
fn skip_time(text: &[u8]) -> &[u8] {
    const FORM: &[u8; 16] = b"Aaa 00 00:00:00 ";
    let fits = text.len() >= FORM.len()
        && text.iter().zip(FORM).all(|(byte, form)| match form {
            b'A' | b'a' => byte.is_ascii_alphabetic(),
            b'0' => byte.is_ascii_digit() || *byte == b' ',
            form => byte == form,
        });
    if fits {
        text.get(FORM.len()..).unwrap_or_default()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_libc_writes_is_taken_apart() {
        let entry = parse(b"<29>Nov  3 09:05:01 chronyd[812]: Selected source 10.0.0.1\n\0");
        assert_eq!((entry.priority, entry.pid), (5, 812));
        assert_eq!(entry.identifier, "chronyd");
        assert_eq!(entry.message, b"Selected source 10.0.0.1");
        assert_eq!(
            entry.fields,
            [("SYSLOG_FACILITY".to_string(), b"3".to_vec())]
        );
    }

    #[test]
    fn a_bare_text_is_a_message() {
        let entry = parse(b"just words");
        assert_eq!((entry.identifier.as_str(), entry.priority), ("", 6));
        assert_eq!(entry.message, b"just words");
    }

    #[test]
    fn a_colon_later_in_the_text_is_no_identifier() {
        assert_eq!(parse(b"<6>cannot open: no such file").identifier, "");
    }

    proptest! {
        #[test]
        fn no_datagram_makes_it_panic(bytes: Vec<u8>) {
            parse(&bytes);
        }
    }
}
