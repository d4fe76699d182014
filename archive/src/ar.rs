//! ar(5), as far as deb(5) uses it: plain members with short names.

use std::io::{self, Read, Write};

use crate::limits::{fill, skip};
use crate::{Error, error};

/// What an ar file begins with.
const MAGIC: &[u8; 8] = b"!<arch>\n";
/// Bytes of a member's header.
const HEADER: usize = 60;
/// Members that are read; a .deb has three or four.
const MEMBERS_MAX: usize = 64;

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Where its data begins in the file.
    pub offset: u64,
}

/// Reads members one after the other.
pub struct Reader<R> {
    inner: R,
    file: String,
    offset: u64,
    /// Bytes of the current member, with padding, not read yet.
    pending: u64,
    members: usize,
}

impl<R: Read> Reader<R> {
    /// Begins to read; `file` is only named in messages.
    pub fn new(mut inner: R, file: &str) -> Result<Self, Error> {
        let mut magic = [0u8; MAGIC.len()];
        match fill(&mut inner, &mut magic) {
            Ok(true) if &magic == MAGIC => {}
            Ok(_) => return Err(Error::whole(file, "is no ar archive, so no Debian package")),
            Err(error) => return Err(Error::whole(file, error::reading(&error))),
        }
        Ok(Reader {
            inner,
            file: file.to_owned(),
            offset: MAGIC.len() as u64,
            pending: 0,
            members: 0,
        })
    }

    /// The next member; nothing at the end. What was not read of the last is read over.
    #[allow(clippy::should_implement_trait)] // An Iterator could not hand out the data of the current member.
    pub fn next(&mut self) -> Result<Option<Member>, Error> {
        let file = self.file.clone();
        let wrong = |message: &str| Error::whole(&file, format!("ar: {message}"));
        skip(&mut self.inner, std::mem::take(&mut self.pending))
            .map_err(|error| wrong(&error::reading(&error)))?;
        let mut header = [0u8; HEADER];
        if !fill(&mut self.inner, &mut header).map_err(|error| wrong(&error::reading(&error)))? {
            return Ok(None);
        }
        self.members += 1;
        if self.members > MEMBERS_MAX {
            return Err(wrong(&format!("more than {MEMBERS_MAX} members")));
        }
        let text = |range: std::ops::Range<usize>| {
            std::str::from_utf8(header.get(range).unwrap_or_default())
                .ok()
                .map(str::trim_end)
        };
        let name = text(0..16)
            .map(|name| name.strip_suffix('/').unwrap_or(name))
            .filter(|name| !name.is_empty() && !name.contains('/'));
        let size = text(48..58)
            .filter(|size| size.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|size| size.parse::<u64>().ok());
        let (Some(name), Some(size), Some(b"`\n")) = (name, size, header.get(58..60)) else {
            return Err(wrong("a malformed member header"));
        };
        let offset = self.offset + HEADER as u64;
        self.pending = size + size % 2;
        self.offset = offset + self.pending;
        Ok(Some(Member {
            name: name.to_owned(),
            size,
            offset,
        }))
    }

    /// The data of the current member, which must have at most `bytes_max` bytes.
    pub fn data(&mut self, member: &Member, bytes_max: u64) -> Result<Vec<u8>, Error> {
        if member.size > bytes_max {
            let message = format!(
                "says it has {} bytes; at most {bytes_max} are taken",
                member.size
            );
            return Err(Error::member(&self.file, &member.name, message));
        }
        self.pending -= member.size;
        crate::limits::read_exactly(&mut self.inner, member.size)
            .map_err(|error| Error::member(&self.file, &member.name, error::reading(&error)))
    }
}

/// Writes an ar file of `members`, with no time and no owner.
pub fn write(out: &mut dyn Write, members: &[(&str, &[u8])]) -> io::Result<()> {
    out.write_all(MAGIC)?;
    for (name, data) in members {
        if name.len() > 15 || data.len() as u64 > 9_999_999_999 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("ar cannot hold {name}"),
            ));
        }
        writeln!(
            out,
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`",
            0,
            0,
            0,
            "100644",
            data.len()
        )?;
        out.write_all(data)?;
        if data.len() % 2 == 1 {
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed() -> Vec<u8> {
        let mut out = Vec::new();
        write(
            &mut out,
            &[("debian-binary", b"2.0\n"), ("odd", b"abc"), ("last", b"z")],
        )
        .expect("memory");
        out
    }

    #[test]
    fn members_read_back_at_their_offsets() {
        let bytes = packed();
        let mut reader = Reader::new(&bytes[..], "x.deb").expect("an ar file");
        let first = reader.next().expect("good").expect("a member");
        assert_eq!((first.name.as_str(), first.size), ("debian-binary", 4));
        let second = reader.next().expect("good").expect("a member");
        assert_eq!(reader.data(&second, 10).expect("whole"), b"abc");
        assert_eq!(&bytes[second.offset as usize..][..3], b"abc");
        let third = reader.next().expect("good").expect("a member");
        assert_eq!(reader.data(&third, 10).expect("whole"), b"z");
        assert_eq!(reader.next().expect("good"), None);
    }

    #[test]
    fn a_member_that_says_ten_gigabytes_is_not_believed() {
        let mut bytes = packed();
        bytes[8 + 48..8 + 58].copy_from_slice(b"9999999999");
        let mut reader = Reader::new(&bytes[..], "x.deb").expect("an ar file");
        let member = reader.next().expect("good").expect("a member");
        let message = reader
            .data(&member, 1 << 20)
            .expect_err("too large")
            .to_string();
        assert_eq!(
            message,
            "x.deb: debian-binary: says it has 9999999999 bytes; at most 1048576 are taken"
        );
        assert!(
            reader
                .next()
                .expect_err("truncated")
                .to_string()
                .contains("truncated")
        );
    }

    #[test]
    fn what_is_no_ar_file_is_refused() {
        for bad in [&b""[..], b"!<arch", b"PK\x03\x04....."] {
            assert!(Reader::new(bad, "x.deb").is_err());
        }
        let mut bytes = packed();
        bytes.truncate(8 + 30);
        assert!(
            Reader::new(&bytes[..], "x.deb")
                .expect("magic")
                .next()
                .is_err()
        );
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend(tail);
            let mut reader = Reader::new(&bytes[..], "x").expect("magic");
            while let Ok(Some(member)) = reader.next() {
                let _ = reader.data(&member, 100);
            }
        }
    }
}
