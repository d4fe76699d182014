//! Who said it: from a process id (which the kernel vouches for by SCM_CREDENTIALS) to unit and program name.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long an answer is taken as still true.
const FRESH: Duration = Duration::from_secs(1);
/// How long an answer stands in for a process that has ended since.
const STALE: Duration = Duration::from_secs(10);
/// Processes remembered.
const MAX: usize = 512;

/// What is known of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// Its unit, empty where unknown.
    pub unit: String,
    /// Its program's name, empty where unknown.
    pub name: String,
}

/// Answers from /proc, remembered for a moment.
#[derive(Default)]
pub(crate) struct Sources {
    known: HashMap<i32, (Instant, Source)>,
}

impl Sources {
    /// The source behind a process id.
    pub(crate) fn find(&mut self, pid: i32) -> Source {
        let now = Instant::now();
        let age = |at: &Instant| now.duration_since(*at);
        if let Some((at, source)) = self.known.get(&pid)
            && age(at) < FRESH
        {
            return source.clone();
        }
        match read(pid) {
            Some(source) => {
                if self.known.len() >= MAX {
                    self.known.retain(|_, (at, _)| age(at) < FRESH);
                }
                if self.known.len() >= MAX {
                    self.known.clear();
                }
                self.known.insert(pid, (now, source.clone()));
                source
            }
            None => match self.known.get(&pid) {
                Some((at, source)) if age(at) < STALE => source.clone(),
                _ => Source::default(),
            },
        }
    }
}

fn read(pid: i32) -> Option<Source> {
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Source {
        unit: unit_of_cgroup(&cgroup).to_string(),
        name: name.trim_end().to_string(),
    })
}

/// The unit in /proc/PID/cgroup: the first part of the cgroup v2 path that is no slice.
pub(crate) fn unit_of_cgroup(text: &str) -> &str {
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return "";
    };
    let part = path
        .split('/')
        .find(|part| !part.ends_with(".slice"))
        .unwrap_or_default();
    // systemd escapes a part that would look like a controller's file.
    let part = part.strip_prefix('_').unwrap_or(part);
    if part.ends_with(".service") || part.ends_with(".scope") {
        part
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_first_part_that_is_no_slice() {
        assert_eq!(
            unit_of_cgroup("0::/system.slice/etcd.service\n"),
            "etcd.service"
        );
        assert_eq!(
            unit_of_cgroup("0::/cluster.slice/cluster-a.slice/m.service/inner\n"),
            "m.service"
        );
        assert_eq!(unit_of_cgroup("0::/init.scope\n"), "init.scope");
    }

    #[test]
    fn the_root_and_foreign_paths_are_no_unit() {
        assert_eq!(unit_of_cgroup("0::/\n"), "");
        assert_eq!(unit_of_cgroup("0::/docker/abc\n"), "");
        assert_eq!(unit_of_cgroup("1:name=systemd:/x.service\n"), "");
    }

    #[test]
    fn this_process_has_a_name_and_an_ended_one_has_none() {
        let mut sources = Sources::default();
        assert!(!sources.find(std::process::id() as i32).name.is_empty());
        assert_eq!(sources.find(i32::MAX), Source::default());
    }
}
