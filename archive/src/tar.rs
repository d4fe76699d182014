//! Reading tar: ustar, GNU and pax, one member after the other.

use std::io::Read;

use tar::Header;

use crate::limits::{Bounded, Limits, fill, read_exactly, skip};
use crate::pax::Extension;
use crate::{Error, error, name};

pub use crate::tar_write::Writer;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;

/// A member, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path: relative, without `.` and `..`; empty for the archive's own folder.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky (`0o7777`).
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Owner's name, if the archive has one.
    pub user: String,
    /// Group's name, if the archive has one.
    pub group: String,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Bytes of its data; 0 unless it is a file.
    pub size: u64,
    /// Extended attributes by name, sorted.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link with its target, as written.
    Symlink(String),
    /// A second name of the member with that path.
    Hardlink(String),
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A FIFO.
    Fifo,
}

impl Entry {
    /// An empty file of root's, at time 0.
    pub fn file(path: &str, mode: u32) -> Self {
        Entry {
            path: path.to_owned(),
            kind: Kind::File,
            mode,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            mtime: 0,
            size: 0,
            xattrs: Vec::new(),
        }
    }

    /// A folder of root's, at time 0.
    pub fn folder(path: &str, mode: u32) -> Self {
        Entry {
            kind: Kind::Folder,
            ..Entry::file(path, mode)
        }
    }
}

/// Reads members: [`next`](Reader::next) gives one, [`data`](Reader::data) its bytes, which are else read over.
pub struct Reader<R> {
    inner: Bounded<R>,
    file: String,
    limits: Limits,
    members: usize,
    /// Bytes of the current member not read yet, its padding apart.
    pending: u64,
    padding: u64,
    current: String,
    over: bool,
}

impl<R: Read> Reader<R> {
    /// Reads from `inner`; `file` is only named in messages.
    pub fn new(inner: R, file: &str, limits: &Limits) -> Self {
        Reader {
            inner: Bounded::new(inner, limits.total_bytes),
            file: file.to_owned(),
            limits: limits.clone(),
            members: 0,
            pending: 0,
            padding: 0,
            current: String::new(),
            over: false,
        }
    }

    /// The next member; nothing after the last.
    #[allow(clippy::should_implement_trait)] // An Iterator could not hand out the data of the current member.
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        let mut extension = Extension::default();
        loop {
            self.leave_member()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = match extension.size {
                Some(size) => size,
                None => header
                    .entry_size()
                    .map_err(|_| self.wrong("its size is no number"))?,
            };
            let kind = header.entry_type();
            if kind.is_gnu_longname()
                || kind.is_gnu_longlink()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions()
            {
                let data = self.extension(size)?;
                let added = match kind.as_byte() {
                    b'L' => {
                        extension.path = Some(until_zero(&data).to_vec());
                        Ok(())
                    }
                    b'K' => {
                        extension.link = Some(until_zero(&data).to_vec());
                        Ok(())
                    }
                    b'g' => global(&data),
                    _ => extension.add(&data),
                };
                added.map_err(|message| self.wrong(&message))?;
                continue;
            }
            return self.entry(&header, extension, size).map(Some);
        }
    }

    /// The data of the member that [`next`](Reader::next) gave last.
    pub fn data(&mut self) -> Result<Vec<u8>, Error> {
        let size = std::mem::take(&mut self.pending);
        read_exactly(&mut self.inner, size).map_err(|error| self.wrong(&error::reading(&error)))
    }

    /// One entry from its header and what extended headers said.
    fn entry(&mut self, header: &Header, extension: Extension, size: u64) -> Result<Entry, Error> {
        let raw_path = extension
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        self.current = String::from_utf8_lossy(&raw_path).into_owned();
        self.members += 1;
        if self.members > self.limits.members {
            return Err(Error::whole(
                &self.file,
                format!("more than {} members", self.limits.members),
            ));
        }
        if size > self.limits.member_bytes {
            return Err(self.wrong(&format!(
                "says it has {size} bytes; at most {} are taken",
                self.limits.member_bytes
            )));
        }
        let path = name::normal(&raw_path, self.limits.path_bytes)
            .map_err(|message| self.wrong(&message))?;
        let raw_link = extension
            .link
            .or_else(|| header.link_name_bytes().map(|link| link.into_owned()))
            .unwrap_or_default();
        let kind = self.kind(header, &raw_path, &raw_link)?;
        if kind != Kind::File && size != 0 && !matches!(kind, Kind::Folder) {
            return Err(self.wrong("carries data although it is no file"));
        }
        if path.is_empty() && kind != Kind::Folder {
            return Err(self.wrong("has no name"));
        }
        self.pending = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(Entry {
            path,
            mode: header
                .mode()
                .map_err(|_| self.wrong("its mode is no number"))?
                & 0o7777,
            uid: self.owner("owner", extension.uid, header.uid())?,
            gid: self.owner("group", extension.gid, header.gid())?,
            user: self.owner_name(extension.user.as_deref().or(header.username_bytes()))?,
            group: self.owner_name(extension.group.as_deref().or(header.groupname_bytes()))?,
            mtime: match extension.mtime {
                Some(mtime) => mtime,
                None => header
                    .mtime()
                    .ok()
                    .and_then(|mtime| i64::try_from(mtime).ok())
                    .ok_or_else(|| self.wrong("its time is no number"))?,
            },
            size: if kind == Kind::File { size } else { 0 },
            kind,
            xattrs: extension.xattrs,
        })
    }

    fn kind(&self, header: &Header, raw_path: &[u8], raw_link: &[u8]) -> Result<Kind, Error> {
        let kind = match header.entry_type().as_byte() {
            // Before POSIX a folder was a file whose name ends with a slash.
            b'0' | b'\0' | b'7' if raw_path.ends_with(b"/") => Kind::Folder,
            b'0' | b'\0' | b'7' => Kind::File,
            b'5' => Kind::Folder,
            b'1' => match name::normal(raw_link, self.limits.path_bytes) {
                Ok(target) if !target.is_empty() => Kind::Hardlink(target),
                _ => return Err(self.wrong("is a hard link to a path outside the archive")),
            },
            b'2' => Kind::Symlink(
                name::target(raw_link, self.limits.path_bytes)
                    .map_err(|message| self.wrong(&message))?,
            ),
            b'3' | b'4' | b'6' if !self.limits.special_files => {
                return Err(self.wrong("is a device node or FIFO, which is not taken"));
            }
            b'3' | b'4' => {
                let number = |number: std::io::Result<Option<u32>>| {
                    number
                        .ok()
                        .flatten()
                        .ok_or_else(|| self.wrong("its device number is no number"))
                };
                let (major, minor) = (
                    number(header.device_major())?,
                    number(header.device_minor())?,
                );
                if header.entry_type().as_byte() == b'3' {
                    Kind::CharacterDevice { major, minor }
                } else {
                    Kind::BlockDevice { major, minor }
                }
            }
            b'6' => Kind::Fifo,
            other => {
                return Err(self.wrong(&format!(
                    "is of the unknown type \"{}\"",
                    (other as char).escape_default()
                )));
            }
        };
        Ok(kind)
    }

    fn owner(
        &self,
        what: &str,
        extended: Option<u64>,
        plain: std::io::Result<u64>,
    ) -> Result<u32, Error> {
        let number = extended
            .or(plain.ok())
            .and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| self.wrong(&format!("its {what} is no number")))
    }

    fn owner_name(&self, raw: Option<&[u8]>) -> Result<String, Error> {
        let raw = raw.unwrap_or_default();
        match std::str::from_utf8(raw) {
            Ok(name) if name.len() <= 256 && !name.contains([':', '\n', '/']) => {
                Ok(name.to_owned())
            }
            _ => Err(self.wrong("its owner's name is no name")),
        }
    }

    /// The data of an extended header, with its padding.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > self.limits.extension_bytes {
            return Err(self.wrong(&format!(
                "an extended header of {size} bytes; at most {} are taken",
                self.limits.extension_bytes
            )));
        }
        self.pending = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        self.data()
    }

    /// Reads over what is left of the current member.
    fn leave_member(&mut self) -> Result<(), Error> {
        let left = std::mem::take(&mut self.pending) + std::mem::take(&mut self.padding);
        skip(&mut self.inner, left).map_err(|error| self.wrong(&error::reading(&error)))
    }

    /// The next header; nothing at the end, which is a block of zeros.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        if self.over {
            return Ok(None);
        }
        let mut block = [0u8; BLOCK];
        let got = fill(&mut self.inner, &mut block)
            .map_err(|error| self.wrong_after(&error::reading(&error)))?;
        if !got {
            return Err(self.wrong_after("the archive ends without its end mark (truncated)"));
        }
        if block.iter().all(|b| *b == 0) {
            self.finish()?;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, b)| {
                if (148..156).contains(&at) {
                    u32::from(b' ')
                } else {
                    u32::from(*b)
                }
            })
            .sum();
        match header.cksum() {
            Ok(said) if said == sum => Ok(Some(header)),
            _ => Err(self.wrong_after("a tar header's checksum is wrong")),
        }
    }

    /// Reads to the end, so that the compression's own checksum is looked at.
    fn finish(&mut self) -> Result<(), Error> {
        self.over = true;
        let mut buffer = [0u8; 16 * BLOCK];
        loop {
            match self.inner.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) if buffer.iter().take(count).any(|b| *b != 0) => {
                    return Err(self.wrong_after("data after the archive's end mark"));
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.wrong_after(&error::reading(&error))),
            }
        }
    }

    fn wrong(&self, message: &str) -> Error {
        if self.current.is_empty() {
            Error::whole(&self.file, message)
        } else {
            Error::member(&self.file, &self.current, message)
        }
    }

    /// About what follows the current member.
    fn wrong_after(&self, message: &str) -> Error {
        match self.current.as_str() {
            "" => Error::whole(&self.file, message),
            last => Error::whole(
                &self.file,
                format!("after {}: {message}", last.escape_debug()),
            ),
        }
    }
}

/// A global header may carry a comment (git archive(1) does) and nothing that changes a member.
fn global(data: &[u8]) -> Result<(), String> {
    let mut extension = Extension::default();
    extension.add(data)?;
    if extension == Extension::default() {
        Ok(())
    } else {
        Err("a global pax header that changes members is not taken".to_owned())
    }
}

fn until_zero(data: &[u8]) -> &[u8] {
    data.split(|b| *b == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
