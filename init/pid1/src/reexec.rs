//! Re-execution in place: PID 1 goes on as a new image, and no service, descriptor, clock or job is lost.
//!
//! What the supervisor knows is mirrored at each transition into a memfd ([`Mirror`]), as lines that are only appended;
//! descriptors are named by their numbers. A planned re-execution and one after a crash are the same: exec with every
//! descriptor open. The new image reads the mirror ([`inherited`]), takes over what it names and closes the rest.
//! A PID 1 that crashes again and again reboots the machine, as one that cannot be executed does.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::sys;

/// The variable by which the new image finds the mirror: its number, and whether the last image crashed.
const VARIABLE: &str = "BEDPLATE_REEXEC";
/// What the memfd is called.
const NAME: &str = "bedplate-mirror";
/// Most crashes within [`CRASH_WINDOW_US`]; one more and the machine reboots.
pub(crate) const MOST_CRASHES: usize = 3;
/// Ten minutes.
pub(crate) const CRASH_WINDOW_US: u64 = 600_000_000;
/// The mirror is written anew once so many bytes were appended to twice what it takes.
const SLACK: u64 = 1 << 20;
/// Most bytes read of a mirror.
const MOST_BYTES: u64 = 1 << 30;

/// The mirror: lines of text, of which a later one about the same thing counts.
#[derive(Debug)]
pub(crate) struct Mirror {
    file: File,
    length: u64,
    /// Its length when it was last written as a whole.
    whole: u64,
}

impl Mirror {
    /// An empty one.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            file: File::from(memfd_create(NAME, MemfdFlags::CLOEXEC)?),
            length: 0,
            whole: 0,
        })
    }

    /// Appends whole lines, in one write.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all_at(lines, self.length)?;
        self.length = self.length.saturating_add(lines.len() as u64);
        Ok(())
    }

    /// Whether most of it is outdated.
    pub(crate) fn is_long(&self) -> bool {
        self.length > self.whole.saturating_mul(2).saturating_add(SLACK)
    }

    /// Writes it anew, in one write.
    pub(crate) fn replace(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all_at(lines, 0)?;
        self.length = lines.len() as u64;
        self.whole = self.length;
        self.file.set_len(self.length)
    }

    /// From now on a crash ends in the new image, which reads this mirror.
    pub(crate) fn arm(&self) {
        let variable =
            |why: &str| CString::new(format!("{VARIABLE}={}:{why}", self.file.as_raw_fd()));
        let program = CString::new(spec_layout::path::INIT);
        if let (Ok(program), Ok(planned), Ok(crashed)) =
            (program, variable("planned"), variable("crash"))
        {
            sys::reexec::arm(program, planned, crashed);
        }
    }

    /// What it holds.
    #[cfg(test)]
    pub(crate) fn text(&mut self) -> Vec<u8> {
        read(&mut self.file).unwrap_or_default()
    }
}

fn read(file: &mut File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(MOST_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// What the last image left.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Its mirror.
    pub(crate) text: Vec<u8>,
    /// It crashed.
    pub(crate) crashed: bool,
    /// Its descriptors by the numbers they have in the mirror, closed unless taken.
    pub(crate) fds: BTreeMap<RawFd, OwnedFd>,
}

/// What the last image left, if this process was PID 1 before. For the first moments of the program only.
pub(crate) fn inherited() -> Option<Inherited> {
    let variable = std::env::var(VARIABLE).ok()?;
    let (number, why) = variable.split_once(':')?;
    let number: RawFd = number.parse().ok()?;
    let link = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    if !link.to_str()?.starts_with(&format!("/memfd:{NAME}")) {
        return None;
    }
    // To look for descriptors takes one, which somebody may have left none of.
    crate::unit::raise_open_files();
    let mut fds = sys::reexec::descriptors();
    let text = read(&mut File::from(fds.remove(&number)?)).unwrap_or_default();
    Some(Inherited {
        text,
        crashed: why == "crash",
        fds,
    })
}

/// Executes PID 1 anew, because that was asked for; returns why it failed.
pub(crate) fn planned() -> io::Error {
    crate::notice!("PID 1 executes itself anew");
    sys::reexec::execute(false)
}

/// Executes PID 1 anew instead of going down; returns if there is nothing to go on with.
pub(crate) fn after_crash(why: &dyn std::fmt::Display) {
    let cause = sys::reexec::execute(true);
    if cause.kind() != io::ErrorKind::NotFound || cause.raw_os_error().is_some() {
        crate::emergency!("{why}; PID 1 cannot execute itself anew: {cause}");
    }
}

/// The supervision is over: from now on a crash reboots.
pub(crate) fn disarm() {
    sys::reexec::disarm();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_appended_to_and_written_anew_once_it_is_long() {
        let mut mirror = Mirror::new().unwrap();
        mirror.append(b"a\n").unwrap();
        mirror.append(&[b'b'; SLACK as usize]).unwrap();
        assert!(mirror.is_long());
        mirror.replace(b"c\nd\n").unwrap();
        assert_eq!(
            (mirror.text(), mirror.is_long()),
            (b"c\nd\n".to_vec(), false)
        );
        mirror.append(b"e\n").unwrap();
        assert_eq!(mirror.text(), b"c\nd\ne\n");
    }

    /// Runs itself as another program, which finds the mirror and the descriptor that it names.
    #[test]
    fn what_the_last_image_left_is_found() {
        if let Some(found) = inherited() {
            let text = String::from_utf8(found.text).unwrap();
            let named: RawFd = text.trim().parse().unwrap();
            assert!(found.crashed && found.fds.contains_key(&named));
            return;
        }
        let mut mirror = Mirror::new().unwrap();
        let named = memfd_create("named", MemfdFlags::empty()).unwrap();
        let line = named.as_raw_fd().to_string();
        mirror.append(line.as_bytes()).unwrap();
        rustix::io::fcntl_setfd(&mirror.file, rustix::io::FdFlags::empty()).unwrap();
        let number = mirror.file.as_raw_fd();
        let name = "reexec::tests::what_the_last_image_left_is_found";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(VARIABLE, format!("{number}:crash"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }
}
