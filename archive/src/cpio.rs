//! cpio(5) in the "newc" form that the kernel unpacks an initramfs from.
//!
//! The writer gives the same bytes for the same members: no inode, no device of the host.

use std::io::{self, Write};

use crate::{Error, Limits, name};

/// Bytes of a member's header.
const HEADER: usize = 110;
const MAGIC: &[u8] = b"070701";
const END: &str = "TRAILER!!!";

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path: relative, without `.` and `..`.
    pub path: String,
    /// Type and permission bits, as stat(2) gives them (`0o100755`).
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: u32,
    /// Major and minor number, if it is a device node.
    pub device: (u32, u32),
}

/// Type bits of a folder.
pub const FOLDER: u32 = 0o040_000;
/// Type bits of a file.
pub const FILE: u32 = 0o100_000;
/// Type bits of a symbolic link, whose data is its target.
pub const SYMLINK: u32 = 0o120_000;

impl Entry {
    /// A member that belongs to root, at time 0.
    pub fn new(path: &str, mode: u32) -> Self {
        Entry {
            path: path.to_owned(),
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            device: (0, 0),
        }
    }
}

/// Writes members.
pub struct Writer<W> {
    inner: W,
    inode: u32,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Self {
        Writer {
            inner,
            inode: 0,
            written: 0,
        }
    }

    /// One member; `data` is a file's bytes or a link's target.
    pub fn write(&mut self, entry: &Entry, data: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let inode = self.inode;
        self.member(entry, inode, data)
    }

    /// Writes the end mark and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.member(&Entry::new(END, 0), 0, &[])?;
        Ok(self.inner)
    }

    fn member(&mut self, entry: &Entry, inode: u32, data: &[u8]) -> io::Result<()> {
        let size = u32::try_from(data.len()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{}: cpio holds at most 4 GiB in a file", entry.path),
            )
        })?;
        let links = if entry.mode & 0o170_000 == FOLDER {
            2
        } else {
            1
        };
        let (major, minor) = entry.device;
        let name_size = entry.path.len() as u32 + 1;
        let mut header = Vec::with_capacity(HEADER + entry.path.len() + 4);
        header.extend_from_slice(MAGIC);
        for field in [
            inode,
            entry.mode,
            entry.uid,
            entry.gid,
            links,
            entry.mtime,
            size,
            0,
            0,
            major,
            minor,
            name_size,
            0,
        ] {
            write!(header, "{field:08x}")?;
        }
        header.extend_from_slice(entry.path.as_bytes());
        header.push(0);
        self.padded(&header)?;
        self.padded(data)
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)?;
        self.written += bytes.len() as u64;
        let padding = (self.written.next_multiple_of(4) - self.written) as usize;
        self.written += padding as u64;
        self.inner.write_all(&[0u8; 4][..padding])
    }
}

/// Members with their data.
pub type Members<'a> = Vec<(Entry, &'a [u8])>;

/// Reads the first archive in `bytes`; gives its members and what follows it.
pub fn read<'a>(
    bytes: &'a [u8],
    file: &str,
    limits: &Limits,
) -> Result<(Members<'a>, &'a [u8]), Error> {
    let mut members = Vec::new();
    let mut at = 0usize;
    loop {
        let header = bytes
            .get(at..at + HEADER)
            .ok_or_else(|| Error::whole(file, "ends without its end mark (truncated)"))?;
        let fields = fields(header)
            .ok_or_else(|| Error::whole(file, format!("no cpio header at byte {at}")))?;
        let [
            _,
            mode,
            uid,
            gid,
            _,
            mtime,
            size,
            _,
            _,
            major,
            minor,
            name_size,
            _,
        ] = fields;
        let (size, name_size) = (size as usize, name_size as usize);
        if name_size == 0 || name_size > limits.path_bytes + 1 || size as u64 > limits.member_bytes
        {
            return Err(Error::whole(
                file,
                format!("the member at byte {at} is larger than is taken"),
            ));
        }
        let raw = bytes.get(at + HEADER..at + HEADER + name_size - 1);
        let data_at = (at + HEADER + name_size).next_multiple_of(4);
        let (Some(raw), Some(data)) = (raw, bytes.get(data_at..data_at + size)) else {
            return Err(Error::whole(
                file,
                format!("the member at byte {at} ends too early (truncated)"),
            ));
        };
        at = (data_at + size).next_multiple_of(4);
        if raw == END.as_bytes() {
            return Ok((members, bytes.get(at..).unwrap_or_default()));
        }
        let path = name::normal(raw, limits.path_bytes)
            .map_err(|message| Error::member(file, &String::from_utf8_lossy(raw), message))?;
        if members.len() >= limits.members {
            return Err(Error::whole(
                file,
                format!("more than {} members", limits.members),
            ));
        }
        members.push((
            Entry {
                path,
                mode,
                uid,
                gid,
                mtime,
                device: (major, minor),
            },
            data,
        ));
    }
}

fn fields(header: &[u8]) -> Option<[u32; 13]> {
    let digits = header.strip_prefix(MAGIC)?;
    let mut fields = [0u32; 13];
    for (field, hex) in fields.iter_mut().zip(digits.chunks_exact(8)) {
        *field = u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?;
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        writer
            .write(&Entry::new("dev", FOLDER | 0o755), b"")
            .expect("memory");
        writer
            .write(&Entry::new("init", FILE | 0o755), b"\x7fELF.")
            .expect("memory");
        writer
            .write(&Entry::new("bin", SYMLINK | 0o777), b"usr/bin")
            .expect("memory");
        writer.finish().expect("memory")
    }

    #[test]
    fn an_archive_reads_back_and_is_the_same_each_time() {
        let bytes = packed();
        assert_eq!(bytes, packed());
        assert_eq!(bytes.len() % 4, 0);
        let (members, rest) = read(&bytes, "initrd", &Limits::default()).expect("whole");
        assert_eq!(members.len(), 3);
        assert_eq!(members[1].0, Entry::new("init", FILE | 0o755));
        assert_eq!(members[1].1, b"\x7fELF.");
        assert_eq!(members[2].1, b"usr/bin");
        assert!(rest.is_empty());
    }

    #[test]
    fn a_cut_archive_is_refused() {
        let bytes = packed();
        for cut in 0..bytes.len() - 4 {
            assert!(
                read(&bytes[..cut], "initrd", &Limits::default()).is_err(),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn the_host_cpio_lists_what_we_write() {
        use std::process::{Command, Stdio};
        let Ok(mut child) = Command::new("cpio")
            .args(["-t", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            return; // No cpio(1) on this machine; the reader above is the proof.
        };
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(&packed())
            .expect("written");
        let listed = child.wait_with_output().expect("finished");
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "dev\ninit\nbin\n");
    }

    proptest::proptest! {
        #[test]
        fn a_changed_byte_never_panics(at in 0usize..600, byte in proptest::num::u8::ANY) {
            let mut bytes = packed();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(&bytes, "initrd", &Limits::default());
        }
    }
}
