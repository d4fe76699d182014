//! Extended headers: pax(1)'s records and GNU's long names, collected for the member that follows.

/// What extended headers say of the next member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extension {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) group: Option<Vec<u8>>,
    pub(crate) mtime: Option<i64>,
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
}

/// Where libarchive, GNU tar and Go's archive/tar keep extended attributes.
const XATTR: &str = "SCHILY.xattr.";
/// Extended attributes of one member.
const XATTRS_MAX: usize = 64;

impl Extension {
    /// Adds the records of one pax header.
    pub(crate) fn add(&mut self, mut records: &[u8]) -> Result<(), String> {
        while !records.is_empty() {
            let (key, value, rest) = record(records).ok_or("a malformed pax record")?;
            self.set(key, value)?;
            records = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        match key {
            "path" => self.path = Some(value.to_vec()),
            "linkpath" => self.link = Some(value.to_vec()),
            "size" => self.size = Some(number(key, value)?),
            "uid" => self.uid = Some(number(key, value)?),
            "gid" => self.gid = Some(number(key, value)?),
            "uname" => self.user = Some(value.to_vec()),
            "gname" => self.group = Some(value.to_vec()),
            "mtime" => self.mtime = Some(seconds(value)?),
            "atime" | "ctime" | "comment" | "charset" | "hdrcharset" => {}
            _ if key.starts_with("GNU.sparse.") => {
                return Err("a sparse member, which is not taken".to_owned());
            }
            _ => match key.strip_prefix(XATTR) {
                Some("") => return Err("an extended attribute without a name".to_owned()),
                Some(name) => self.set_xattr(name, value)?,
                // Vendors' own keys begin with a capital letter (pax(1)) and describe what no image holds.
                None if key.starts_with(|c: char| c.is_ascii_uppercase()) => {}
                None => return Err(format!("unknown pax record \"{}\"", key.escape_debug())),
            },
        }
        Ok(())
    }

    fn set_xattr(&mut self, name: &str, value: &[u8]) -> Result<(), String> {
        if name.len() > 255 || value.len() > 1 << 16 || self.xattrs.len() >= XATTRS_MAX {
            return Err("more extended attributes than the kernel takes".to_owned());
        }
        self.xattrs.retain(|(known, _)| known != name);
        self.xattrs.push((name.to_owned(), value.to_vec()));
        self.xattrs.sort();
        Ok(())
    }
}

/// `LENGTH KEY=VALUE\n`, and what follows it.
fn record(records: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let blank = records.iter().take(20).position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(records.get(..blank)?)
        .ok()?
        .parse()
        .ok()?;
    let body = records.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    let key = std::str::from_utf8(body.get(..equals)?).ok()?;
    Some((key, body.get(equals + 1..)?, records.get(length..)?))
}

/// One record, written.
pub(crate) fn write_record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The name of an extended attribute's record.
pub(crate) fn xattr_key(name: &str) -> String {
    format!("{XATTR}{name}")
}

fn number(key: &str, value: &[u8]) -> Result<u64, String> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.parse().map_err(|_| format!("pax {key} is no number"))
}

/// Whole seconds; a fraction is dropped.
fn seconds(value: &[u8]) -> Result<i64, String> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole
        .parse()
        .map_err(|_| "pax mtime is no number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_even_with_line_feeds_in_them() {
        let mut out = Vec::new();
        write_record(&mut out, "path", b"usr/x");
        write_record(&mut out, &xattr_key("security.capability"), b"\x01\n\0=\n");
        write_record(&mut out, "mtime", b"1700000000.5");
        let mut extension = Extension::default();
        extension.add(&out).expect("good records");
        assert_eq!(extension.path.as_deref(), Some(&b"usr/x"[..]));
        assert_eq!(
            extension.xattrs,
            [("security.capability".to_owned(), b"\x01\n\0=\n".to_vec())]
        );
        assert_eq!(extension.mtime, Some(1_700_000_000));
    }

    #[test]
    fn wrong_records_are_refused() {
        for bad in [
            &b"5"[..],
            b"99 path=x\n",
            b"9 path=x_",
            b"-1 a=b\n",
            b"8 nokey\n",
            b"14 unknown=ab\n",
            b"22 GNU.sparse.major=1\n",
        ] {
            assert!(Extension::default().add(bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(records in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let _ = Extension::default().add(&records);
        }

        #[test]
        fn what_is_written_is_read(value in proptest::collection::vec(proptest::num::u8::ANY, 0..1100)) {
            let mut out = Vec::new();
            write_record(&mut out, &xattr_key("user.x"), &value);
            let mut extension = Extension::default();
            proptest::prop_assert_eq!(extension.add(&out), Ok(()));
            proptest::prop_assert_eq!(&extension.xattrs[0].1, &value);
        }
    }
}
