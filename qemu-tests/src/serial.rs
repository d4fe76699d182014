//! The serial log of a machine: follow it, wait for a line.

use crate::error::{Error, Result};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Most bytes looked at once; a guest that writes faster than we read is cut, not buffered.
const CHUNK: u64 = 4 << 20;

/// A reader of a serial log that remembers how far it has read.
#[derive(Debug, Clone)]
pub struct Serial {
    path: PathBuf,
    offset: u64,
}

impl Serial {
    /// From the start of the log.
    pub fn new(path: &Path) -> Serial {
        Serial {
            path: path.to_owned(),
            offset: 0,
        }
    }

    /// Skips what is there: only what comes after counts.
    pub fn skip_to_end(&mut self) {
        self.offset = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
    }

    /// Waits for a line that contains `pattern`, and returns it. The next call looks behind it.
    pub fn wait_for(&mut self, pattern: &str, timeout: Duration) -> Result<String> {
        self.wait_for_any(&[pattern], timeout).map(|(_, line)| line)
    }

    /// Waits for a line that contains one of `patterns`; returns which, and the line.
    pub fn wait_for_any(
        &mut self,
        patterns: &[&str],
        timeout: Duration,
    ) -> Result<(usize, String)> {
        let deadline = Instant::now() + timeout;
        loop {
            let text = self.unread()?;
            let mut used = 0;
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                let shown = String::from_utf8_lossy(line);
                used += line.len() as u64;
                if let Some(which) = patterns.iter().position(|pattern| shown.contains(pattern)) {
                    self.offset += used;
                    return Ok((which, shown.trim_end().to_owned()));
                }
                if line.ends_with(b"\n") {
                    self.offset += used;
                    used = 0;
                }
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout {
                    what: format!("'{}' in {}", patterns.join("' or '"), self.path.display()),
                    seconds: timeout.as_secs(),
                    last: tail(&self.path, 1),
                });
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn unread(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let Ok(mut file) = File::open(&self.path) else {
            return Ok(text);
        };
        file.seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.take(CHUNK).read_to_end(&mut text))
            .map_err(Error::io("read", &self.path))?;
        Ok(text)
    }
}

/// The last `lines` lines of a log, without control characters.
pub fn tail(path: &Path, lines: usize) -> String {
    let Ok(mut file) = File::open(path) else {
        return String::new();
    };
    let length = file.metadata().map_or(0, |meta| meta.len());
    let mut text = Vec::new();
    if file
        .seek(SeekFrom::Start(length.saturating_sub(64 << 10)))
        .is_err()
        || file.read_to_end(&mut text).is_err()
    {
        return String::new();
    }
    let text = String::from_utf8_lossy(&text);
    let clean: Vec<String> = text
        .lines()
        .map(|line| {
            line.chars()
                .filter(|c| !c.is_control() || *c == '\t')
                .collect::<String>()
        })
        .filter(|line| !line.trim().is_empty())
        .collect();
    clean[clean.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn waits_for_a_line_and_goes_on_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serial.log");
        let mut serial = Serial::new(&path);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one ready\r\ntwo\nthree rea").unwrap();

        let soon = Duration::from_millis(100);
        assert_eq!(serial.wait_for("ready", soon).unwrap(), "one ready");
        assert!(serial.wait_for("ready", soon).is_err());
        file.write_all(b"dy\n").unwrap();
        assert_eq!(serial.wait_for("ready", soon).unwrap(), "three ready");
        let (which, _) = {
            file.write_all(b"panic\n").unwrap();
            serial.wait_for_any(&["ready", "panic"], soon).unwrap()
        };
        assert_eq!(which, 1);
    }

    #[test]
    fn the_tail_has_no_escape_sequences() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serial.log");
        std::fs::write(&path, b"a\n\x1b[2Jb\xff\r\n\n").unwrap();
        assert_eq!(tail(&path, 1), "[2Jb\u{fffd}");
    }
}
