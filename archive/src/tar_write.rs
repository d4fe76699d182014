//! Writing tar: ustar, with a pax header before members that ustar cannot describe.
//!
//! The same members give the same bytes.

use std::io::{self, Write};

use tar::{EntryType, Header};

use crate::pax;
use crate::tar::{BLOCK, Entry, Kind};

/// Writes members.
pub struct Writer<W> {
    inner: W,
}

/// What fits into ustar's fields of eight and twelve octal digits.
const OWNER_MAX: u32 = 0o7_777_777;
const SIZE_MAX: u64 = 0o77_777_777_777;

impl<W: Write> Writer<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Self {
        Writer { inner }
    }

    /// One member. `data` is empty unless it is a file; its length counts, not [`Entry::size`].
    pub fn write(&mut self, entry: &Entry, data: &[u8]) -> io::Result<()> {
        let mut path = format!("./{}", entry.path);
        if entry.kind == Kind::Folder && !path.ends_with('/') {
            path.push('/');
        }
        let link = match &entry.kind {
            Kind::Symlink(target) => target.clone(),
            Kind::Hardlink(target) => format!("./{target}"),
            _ => String::new(),
        };
        let extended = records(entry, &path, &link, data.len() as u64);
        if !extended.is_empty() {
            let mut header = header(
                EntryType::XHeader,
                b"./PaxHeaders/x",
                b"",
                extended.len() as u64,
            );
            header.set_mode(0o644);
            header.set_mtime(0);
            self.block(header, &extended)?;
        }
        let mut header = header(
            entry_type(&entry.kind),
            path.as_bytes(),
            link.as_bytes(),
            (data.len() as u64).min(SIZE_MAX),
        );
        header.set_mode(entry.mode & 0o7777);
        header.set_uid(u64::from(entry.uid.min(OWNER_MAX)));
        header.set_gid(u64::from(entry.gid.min(OWNER_MAX)));
        header.set_mtime(u64::try_from(entry.mtime).unwrap_or(0).min(SIZE_MAX));
        // Names that do not fit are left out: the numbers count.
        let _ = header.set_username(&entry.user);
        let _ = header.set_groupname(&entry.group);
        if let Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } =
            entry.kind
        {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        self.block(header, data)
    }

    /// Writes the end mark and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0u8; 2 * BLOCK])?;
        Ok(self.inner)
    }

    fn block(&mut self, mut header: Header, data: &[u8]) -> io::Result<()> {
        header.set_cksum();
        self.inner.write_all(header.as_bytes())?;
        self.inner.write_all(data)?;
        let padding = data.len().next_multiple_of(BLOCK) - data.len();
        self.inner.write_all(&[0u8; BLOCK][..padding])
    }
}

/// The pax records that this member needs.
fn records(entry: &Entry, path: &str, link: &str, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    if path.len() > 100 {
        pax::write_record(&mut out, "path", path.as_bytes());
    }
    if link.len() > 100 {
        pax::write_record(&mut out, "linkpath", link.as_bytes());
    }
    if size > SIZE_MAX {
        pax::write_record(&mut out, "size", size.to_string().as_bytes());
    }
    for (key, number) in [("uid", entry.uid), ("gid", entry.gid)] {
        if number > OWNER_MAX {
            pax::write_record(&mut out, key, number.to_string().as_bytes());
        }
    }
    if entry.mtime < 0 || entry.mtime as u64 > SIZE_MAX {
        pax::write_record(&mut out, "mtime", entry.mtime.to_string().as_bytes());
    }
    for (name, value) in &entry.xattrs {
        pax::write_record(&mut out, &pax::xattr_key(name), value);
    }
    out
}

fn header(kind: EntryType, path: &[u8], link: &[u8], size: u64) -> Header {
    let mut header = Header::new_ustar();
    let old = header.as_old_mut();
    for (field, value) in [(&mut old.name, path), (&mut old.linkname, link)] {
        let length = value.len().min(field.len());
        field[..length].copy_from_slice(&value[..length]);
    }
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn entry_type(kind: &Kind) -> EntryType {
    match kind {
        Kind::File => EntryType::Regular,
        Kind::Folder => EntryType::Directory,
        Kind::Symlink(_) => EntryType::Symlink,
        Kind::Hardlink(_) => EntryType::Link,
        Kind::CharacterDevice { .. } => EntryType::Char,
        Kind::BlockDevice { .. } => EntryType::Block,
        Kind::Fifo => EntryType::Fifo,
    }
}
