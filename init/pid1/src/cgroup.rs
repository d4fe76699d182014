//! Control groups, version 2: one per unit, from birth to the last process.
//!
//! A group is made before its first process, told its limits, watched through its events, killed as a whole, and
//! removed when it is empty, its watch with it: the kernel does not take back the watch of a group that is gone, and
//! has only so many. Nothing here waits.
//!
//! Source: Documentation/admin-guide/cgroup-v2.rst.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use spec_unit::plan::{Cgroup, Startup};

pub(crate) mod controller;
pub(crate) mod device;
mod pressure;
mod slice;

/// Settings that a kernel which cannot swap has no file for: it keeps to the limit all the same.
const SWAP: [&str; 2] = ["memory.swap.max", "memory.zswap.max"];
/// Files that hold a share and no limit.
const WEIGHTS: [&str; 3] = ["cpu.idle", "cpu.weight", "io.weight"];
/// Most folders a unit's own tree is searched for processes in.
const MAX_GROUPS: usize = 4096;
/// Most changes taken at a time; the loop comes back for the rest.
const BATCH: usize = 512;

/// A group of which a file has changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Changed {
    /// Its path below the root.
    pub(crate) group: String,
    /// That file is `memory.events`, not `cgroup.events`.
    pub(crate) memory: bool,
}

/// The tree of control groups, and the watch over it.
#[derive(Debug)]
pub(crate) struct Cgroups {
    root: PathBuf,
    inotify: OwnedFd,
    watches: BTreeMap<i32, Changed>,
    /// Groups that could not be watched.
    unwatched: BTreeSet<String>,
    /// The node starts or stops: Startup…= values hold.
    pub(crate) starting: bool,
    /// Nobody has looked at the groups yet since another image of PID 1 watched them.
    pub(crate) unseen: bool,
    /// A group could not be read or killed: what it is nobody will tell.
    pub(crate) unknown: Cell<bool>,
    /// Controllers that were handed down.
    handed: controller::Handed,
}

impl Cgroups {
    /// The tree mounted at `root`.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        Ok(Self {
            root: root.into(),
            inotify,
            watches: BTreeMap::new(),
            unwatched: BTreeSet::new(),
            starting: true,
            unseen: false,
            unknown: Cell::new(false),
            handed: controller::Handed::default(),
        })
    }

    fn path(&self, group: &str) -> PathBuf {
        self.root.join(group)
    }

    /// Makes a group with its settings, for a process that is born in the folder it returns; then it is to be watched
    /// ([`watch`](Self::watch)). A hint that could not be set is said; a
    /// setting that could not be, and nothing may run there.
    pub(crate) fn create(&mut self, group: &Cgroup, owner: Option<(u32, u32)>) -> io::Result<File> {
        let path = self.path(&group.path);
        let parent = Path::new(&group.path).parent().unwrap_or(Path::new(""));
        let wanted = controller::wanted(group);
        let known = self.handed.has(&self.root.join(parent), &wanted);
        let made = if known {
            make(&path)
        } else {
            Err(io::ErrorKind::NotFound.into())
        };
        match made {
            // Those above it are not there, or are not known to have handed down what it needs.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                self.create_parents(parent, &wanted)?;
                make(&path)?;
            }
            made => drop(made?),
        }
        let furnished = self.furnish(&path, group, owner);
        if furnished.is_err() {
            // Nobody would own it.
            self.remove(&group.path);
        }
        furnished
    }

    fn furnish(
        &mut self,
        path: &Path,
        group: &Cgroup,
        owner: Option<(u32, u32)>,
    ) -> io::Result<File> {
        set(path, group)?;
        if self.starting {
            self.adjust(&group.path, &group.startup)?;
        }
        if let (true, Some((uid, gid))) = (group.delegate, owner) {
            delegate(path, uid, gid)?;
        }
        if let (true, Some((uid, gid))) = (group.pressure, owner) {
            let file = path.join("memory.pressure");
            if let Err(cause) = std::os::unix::fs::lchown(&file, Some(uid), Some(gid)) {
                crate::warning!("{}: {cause}; it cannot be watched", file.display());
            }
        }
        self.watch_memory(&group.path);
        let mut path = path.to_path_buf();
        if let Some(subgroup) = &group.subgroup {
            path.push(subgroup);
            make(&path)?;
            if let (true, Some((uid, gid))) = (group.delegate, owner) {
                delegate(&path, uid, gid)?;
            }
        }
        open(&path)
    }

    /// The folder of a group itself, whatever group of it a process is born in.
    pub(crate) fn folder(&self, group: &str) -> io::Result<File> {
        open(&self.path(group))
    }

    /// Writes what holds while the node starts or stops, or what holds in between. A weight that cannot be written is
    /// said; a limit that cannot be is the error.
    pub(crate) fn adjust(
        &self,
        group: &str,
        startup: &BTreeMap<String, Startup>,
    ) -> io::Result<()> {
        let path = self.path(group);
        let mut values: Vec<(&str, &str)> = startup
            .iter()
            .map(|(file, of)| match self.starting {
                true => (file.as_str(), of.starting.as_str()),
                false => (file.as_str(), of.running.as_str()),
            })
            .collect();
        if !self.starting {
            // In between a group may be idle, which then has no weight: the other way round.
            values.reverse();
        }
        for (file, value) in values {
            // The kernel does not hear of an empty write.
            let text = if value.is_empty() { "\n" } else { value };
            match write(&path.join(file), text) {
                Err(cause) if WEIGHTS.contains(&file) => {
                    crate::warning!("{group}: {file}={value}: {cause}");
                }
                Err(cause) if !is_swap_of_none(&path, file) => {
                    let message = format!("{file}={value} cannot be set: {cause}");
                    return Err(io::Error::new(cause.kind(), message));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the groups above one, and hands the controllers that it needs down to it.
    fn create_parents(&mut self, group: &Path, wanted: &[&'static str]) -> io::Result<()> {
        let mut path = self.root.clone();
        self.handed.down(&path, wanted);
        for part in group {
            path.push(part);
            if make(&path)? {
                // What it had goes with the one that was there before.
                self.handed.forget(&path);
            }
            self.handed.down(&path, wanted);
        }
        Ok(())
    }

    /// Watches whether a process is in a group, once its first one is born: before, its birth would be told. No end is
    /// missed for that: the group cannot be empty sooner than that process, our child, has ended, and whoever hears of
    /// that looks at the group. One that cannot be watched is looked at again.
    pub(crate) fn watch(&mut self, group: &str) -> io::Result<()> {
        let watched = self.watch_file(group, "cgroup.events", false);
        let mut known = self.watches.values();
        if watched.is_ok() || known.any(|known| known.group == group && !known.memory) {
            return Ok(());
        }
        self.unwatched.insert(group.into());
        self.unknown.set(true);
        watched
    }

    /// Watches a group that the last image of PID 1 has made.
    pub(crate) fn watch_again(&mut self, group: &str) -> io::Result<()> {
        self.watch_memory(group);
        self.watch(group)
    }

    /// Without the memory controller nothing is killed for want of memory in just this group.
    fn watch_memory(&mut self, group: &str) {
        let _ = self.watch_file(group, "memory.events", true);
    }

    fn watch_file(&mut self, group: &str, file: &str, memory: bool) -> io::Result<()> {
        let path = self.path(group).join(file);
        let watch = inotify::add_watch(&self.inotify, path, inotify::WatchFlags::MODIFY)?;
        let group = group.into();
        self.watches.insert(watch, Changed { group, memory });
        Ok(())
    }

    /// The descriptor to wait on for changes.
    pub(crate) fn events(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Gives the watch of a group back.
    fn unwatch(&mut self, group: &str) {
        let inotify = &self.inotify;
        self.watches.retain(|watch, watched| {
            if watched.group == group {
                // Of no effect where the kernel was first.
                let _ = inotify::remove_watch(inotify, *watch);
            }
            watched.group != group
        });
    }

    /// Groups that changed since the last call; of many changes a part, and the descriptor stays ready.
    pub(crate) fn changed(&mut self) -> BTreeSet<Changed> {
        if std::mem::take(&mut self.unseen) {
            return self.all();
        }
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut changed = BTreeSet::new();
        for taken in 0.. {
            // What was read must be told; what was not stays in the kernel.
            if taken >= BATCH && reader.is_buffer_empty() {
                break;
            }
            let Ok(event) = reader.next() else {
                break;
            };
            if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                return self.all();
            }
            let watch = event.wd();
            if event.events().contains(inotify::ReadFlags::IGNORED) {
                self.watches.remove(&watch);
            } else if let Some(watched) = self.watches.get(&watch)
                && !changed.contains(watched)
            {
                changed.insert(watched.clone());
            }
        }
        changed
    }

    /// All groups, those too that could not be watched, for which it is tried again.
    fn all(&mut self) -> BTreeSet<Changed> {
        for group in std::mem::take(&mut self.unwatched) {
            if self.exists(&group) {
                let _ = self.watch(&group);
            }
        }
        let unwatched = self.unwatched.iter().cloned();
        let memory = false;
        let unwatched = unwatched.map(|group| Changed { group, memory });
        self.watches.values().cloned().chain(unwatched).collect()
    }

    /// Whether a process runs in the group or below it. Of a group that cannot be read it is not known that none does.
    pub(crate) fn populated(&self, group: &str) -> bool {
        match fs::read_to_string(self.path(group).join("cgroup.events")) {
            Ok(text) => text.lines().any(|line| line == "populated 1"),
            Err(cause) => {
                let is_there = !is_gone(&cause);
                self.unknown.set(self.unknown.get() || is_there);
                is_there
            }
        }
    }

    /// How many processes in it the kernel has killed for want of memory.
    pub(crate) fn killed_for_memory(&self, group: &str) -> u64 {
        let events = fs::read_to_string(self.path(group).join("memory.events")).unwrap_or_default();
        let count = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        count
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }

    /// SIGKILL to every process in the group and below it, at once; in one that is gone there is none.
    pub(crate) fn kill(&self, group: &str) -> io::Result<()> {
        match write(&self.path(group).join("cgroup.kill"), "1") {
            Err(cause) if !is_gone(&cause) => {
                self.unknown.set(true);
                Err(cause)
            }
            _ => Ok(()),
        }
    }

    /// Lets a group that is frozen go on, and those below it: what does not run does not hear a signal.
    pub(crate) fn thaw(&self, group: &str) {
        let mut open = vec![self.path(group)];
        let mut seen = 0;
        while let Some(path) = open.pop().filter(|_| seen < MAX_GROUPS) {
            seen += 1;
            let file = path.join("cgroup.freeze");
            if fs::read_to_string(&file).is_ok_and(|text| text.trim() == "1")
                && let Err(cause) = write(&file, "0")
            {
                crate::warning!("{}: {cause}; it stays frozen", file.display());
            }
            open.extend(folders(&path));
        }
    }

    /// Processes in the group and below it.
    pub(crate) fn processes(&self, group: &str) -> Vec<i32> {
        let mut found = Vec::new();
        let mut open = vec![self.path(group)];
        let mut seen = 0;
        while let Some(path) = open.pop() {
            seen += 1;
            if seen > MAX_GROUPS {
                break;
            }
            let procs = fs::read_to_string(path.join("cgroup.procs"));
            let procs = procs.unwrap_or_else(|cause| {
                self.unknown.set(self.unknown.get() || is_want(&cause));
                String::new()
            });
            found.extend(
                procs
                    .lines()
                    .filter_map(|line| line.parse::<i32>().ok())
                    .filter(|pid| *pid > 1),
            );
            open.extend(folders(&path));
        }
        found
    }

    /// Removes the group and the empty ones below it; one that is in use stays, and stays watched.
    pub(crate) fn remove(&mut self, group: &str) {
        let path = self.path(group);
        let mut open = vec![path];
        let mut all = Vec::new();
        while let Some(path) = open.pop().filter(|_| all.len() < MAX_GROUPS) {
            open.extend(folders(&path));
            all.push(path);
        }
        all.iter().rev().for_each(|path| drop(fs::remove_dir(path)));
        if !self.exists(group) {
            self.handed.forget(&self.path(group));
            self.unwatch(group);
        }
    }

    /// Whether the group is there.
    pub(crate) fn exists(&self, group: &str) -> bool {
        self.path(group).exists()
    }

    /// The group of a process below the root.
    pub(crate) fn of_process(&self, pid: i32) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        // Where the tree in use is not the whole one, what is above it does not count.
        Some(path.strip_suffix(" (deleted)").unwrap_or(path).to_string())
    }
}

/// Makes a folder; whether it was not there yet.
fn make(path: &Path) -> io::Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(cause) => Err(io::Error::new(
            cause.kind(),
            format!("{}: {cause}", path.display()),
        )),
    }
}

/// Whether PID 1 lacks descriptors or memory. Other groups that cannot be read have no list, as threaded ones.
fn is_want(cause: &io::Error) -> bool {
    let wants = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    cause
        .raw_os_error()
        .is_some_and(|number| wants.contains(&number))
}

/// Whether a group was removed, before its file was opened or after.
fn is_gone(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::NotFound || cause.raw_os_error() == Some(libc::ENODEV)
}

/// Whether this limits swap where the kernel has none.
fn is_swap_of_none(path: &Path, file: &str) -> bool {
    // The file of the memory controller that every kernel has.
    let memory = || path.join("memory.current").exists();
    SWAP.contains(&file) && !path.join(file).exists() && memory()
}

/// Writes the settings and hints of a group.
fn set(path: &Path, group: &Cgroup) -> io::Result<()> {
    for (file, value) in &group.settings {
        if is_swap_of_none(path, file) {
            crate::debug!("{}: {file}: the kernel cannot swap", group.path);
            continue;
        }
        let failed = |cause: io::Error| {
            let message = format!("{file}={value} cannot be set: {cause}");
            io::Error::new(cause.kind(), message)
        };
        write(&path.join(file), value).map_err(failed)?;
    }
    for setting in &group.devices {
        let written =
            device::line(setting).and_then(|line| write(&path.join(&setting.file), &line));
        let (file, disk) = (&setting.file, &setting.path);
        match written {
            Ok(()) => {}
            Err(cause) if setting.hint => {
                crate::warning!("{}: {file}: {disk}: {cause}", group.path);
            }
            Err(cause) => {
                let message = format!("{file} of {disk} cannot be set: {cause}");
                return Err(io::Error::new(cause.kind(), message));
            }
        }
    }
    for (file, value) in &group.hints {
        if let Err(cause) = write(&path.join(file), value) {
            crate::warning!("{}: {file}={value}: {cause}", group.path);
        }
    }
    Ok(())
}

/// Writes a file of the kernel's; one that is not there is not made.
fn write(file: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all(value.as_bytes())
}

fn delegate(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    for file in [
        "",
        "cgroup.procs",
        "cgroup.subtree_control",
        "cgroup.threads",
    ] {
        std::os::unix::fs::lchown(path.join(file), Some(uid), Some(gid))?;
    }
    Ok(())
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a cgroup tree; the kernel's own files are plain ones.
    fn tree() -> (tempfile::TempDir, Cgroups) {
        let folder = tempfile::tempdir().unwrap();
        let cgroups = Cgroups::open(folder.path()).unwrap();
        (folder, cgroups)
    }

    fn group(root: &Path, name: &str, processes: &str, populated: bool) {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::write(root.join(name).join("cgroup.procs"), processes).unwrap();
        fs::write(
            root.join(name).join("cgroup.events"),
            format!("populated {}\nfrozen 0\n", u8::from(populated)),
        )
        .unwrap();
    }

    #[test]
    fn processes_are_found_in_the_whole_group_and_pid_1_never() {
        let (folder, cgroups) = tree();
        group(folder.path(), "system.slice/a.service", "1\n20\n0\n", true);
        group(folder.path(), "system.slice/a.service/below", "30\n", true);
        let mut processes = cgroups.processes("system.slice/a.service");
        processes.sort_unstable();
        assert_eq!(processes, [20, 30]);
        assert!(cgroups.populated("system.slice/a.service"));
        assert!(!cgroups.populated("system.slice/gone.service"));
    }

    #[test]
    fn a_frozen_group_goes_on_with_all_below_it() {
        let (folder, cgroups) = tree();
        for name in ["a.service", "a.service/below", "a.service/below/deep"] {
            group(folder.path(), name, "", true);
            fs::write(folder.path().join(name).join("cgroup.freeze"), "1\n").unwrap();
        }
        cgroups.thaw("a.service");
        for name in ["a.service", "a.service/below", "a.service/below/deep"] {
            let file = folder.path().join(name).join("cgroup.freeze");
            assert_eq!(fs::read_to_string(file).unwrap(), "0\n");
        }
        cgroups.thaw("gone.service");
    }

    #[test]
    fn a_group_that_cannot_be_read_does_not_count_as_empty() {
        let (folder, cgroups) = tree();
        fs::create_dir_all(folder.path().join("a.service/cgroup.events")).unwrap();
        assert!(cgroups.populated("a.service") && cgroups.unknown.take());
        assert!(!cgroups.populated("gone.service") && !cgroups.unknown.get());
        fs::create_dir(folder.path().join("a.service/cgroup.kill")).unwrap();
        assert!(cgroups.kill("a.service").is_err());
        assert!(cgroups.kill("gone.service").is_ok());
        assert!(!folder.path().join("gone.service").exists());
    }

    #[test]
    fn a_group_that_cannot_be_handed_over_is_not_left_behind() {
        let (folder, mut cgroups) = tree();
        let plan = Cgroup {
            path: "a.service".into(),
            delegate: true,
            ..Cgroup::default()
        };
        // No file of the kernel's is in it.
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        assert!(cgroups.create(&plan, Some(own)).is_err());
        assert!(!folder.path().join("a.service").exists());
    }

    #[test]
    fn a_group_that_cannot_be_watched_is_looked_at_again_until_it_can_or_is_gone() {
        let (folder, mut cgroups) = tree();
        fs::create_dir(folder.path().join("a.service")).unwrap();
        let seen = |cgroups: &mut Cgroups| {
            cgroups.unseen = true;
            cgroups.changed().into_iter().map(|changed| changed.group)
        };
        assert!(cgroups.watch("a.service").is_err() && cgroups.unknown.take());
        assert!(seen(&mut cgroups).eq(["a.service"]) && cgroups.unknown.take());
        group(folder.path(), "a.service", "", true);
        assert!(seen(&mut cgroups).eq(["a.service"]) && !cgroups.unknown.take());
        assert_eq!((watches(&cgroups), cgroups.unwatched.len()), (1, 0));
        let events = folder.path().join("a.service/cgroup.events");
        fs::rename(events, folder.path().join("elsewhere")).unwrap();
        assert!(cgroups.watch("a.service").is_ok(), "it is watched");
        assert!(cgroups.watch("gone.service").is_err() && cgroups.unknown.take());
        assert!(seen(&mut cgroups).eq(["a.service"]) && !cgroups.unknown.take());
    }

    #[test]
    fn a_limit_of_swap_is_forgiven_only_where_there_is_no_swap() {
        let (folder, _) = tree();
        let mut plan = limited("a.service");
        plan.settings = [("memory.swap.max".into(), "0".into())].into();
        assert!(set(folder.path(), &plan).is_err(), "no memory controller");
        let file = |name: &str| folder.path().join(name);
        fs::write(file("memory.current"), "0").unwrap();
        assert!(set(folder.path(), &plan).is_ok());
        fs::create_dir(file("memory.swap.max")).unwrap();
        assert!(set(folder.path(), &plan).is_err());
    }

    #[test]
    fn a_change_of_a_watched_group_is_told_once() {
        let (folder, mut cgroups) = tree();
        group(folder.path(), "system.slice/a.service", "", true);
        let memory_max = folder.path().join("system.slice/a.service/memory.max");
        fs::write(&memory_max, "max").unwrap();
        let plan = limited("system.slice/a.service");
        cgroups.create(&plan, None).unwrap();
        cgroups.watch(&plan.path).unwrap();
        assert_eq!(fs::read_to_string(memory_max).unwrap(), "1024");
        group(folder.path(), "system.slice/a.service", "", false);
        let changed: Vec<Changed> = cgroups.changed().into_iter().collect();
        let [Changed { group, memory }] = &changed[..] else {
            panic!("{changed:?}");
        };
        assert_eq!((group.as_str(), *memory), ("system.slice/a.service", false));
        assert!(cgroups.changed().is_empty());
    }

    /// Watches that the kernel keeps for it.
    fn watches(cgroups: &Cgroups) -> usize {
        use std::os::fd::AsRawFd as _;
        let path = format!("/proc/self/fdinfo/{}", cgroups.inotify.as_raw_fd());
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .filter(|line| line.starts_with("inotify wd:"))
            .count()
    }

    #[test]
    fn a_removed_group_gives_its_watch_back() {
        let (folder, mut cgroups) = tree();
        let (own, kept) = (
            folder.path().join("system.slice/a.service"),
            folder.path().join("kept"),
        );
        let plan = Cgroup {
            path: "system.slice/a.service".into(),
            ..Cgroup::default()
        };
        for _ in 0..3 {
            group(folder.path(), &plan.path, "", true);
            cgroups.create(&plan, None).unwrap();
            cgroups.watch(&plan.path).unwrap();
            cgroups.remove(&plan.path);
            assert_eq!(watches(&cgroups), 1, "in use, so still watched");
            fs::remove_file(own.join("cgroup.procs")).unwrap();
            // A file that is kept elsewhere keeps its watch, as the kernel does for files of a removed group.
            fs::rename(own.join("cgroup.events"), &kept).unwrap();
            cgroups.remove(&plan.path);
            assert_eq!((watches(&cgroups), cgroups.watches.len()), (0, 0));
        }
    }

    /// A group whose limit must hold and whose weight may not.
    fn limited(path: &str) -> Cgroup {
        let one = |file: &str, value: &str| [(file.to_string(), value.to_string())].into();
        Cgroup {
            path: path.into(),
            settings: one("memory.max", "1024"),
            hints: one("cpu.weight", "200"),
            ..Cgroup::default()
        }
    }

    #[test]
    fn without_its_controller_a_limit_refuses_and_leaves_no_group_behind() {
        let (folder, mut cgroups) = tree();
        let refused = cgroups.create(&limited("task.slice/a.service"), None);
        let message = refused.unwrap_err().to_string();
        assert!(
            message.starts_with("memory.max=1024 cannot be set"),
            "{message}"
        );
        assert!(!folder.path().join("task.slice/a.service").exists());
    }

    #[test]
    fn out_of_memory_is_read_from_the_kernels_count() {
        let (folder, cgroups) = tree();
        group(folder.path(), "a.service", "", true);
        let events = folder.path().join("a.service/memory.events");
        fs::write(&events, "low 0\noom 3\noom_kill 0\n").unwrap();
        assert_eq!(cgroups.killed_for_memory("a.service"), 0);
        fs::write(&events, "oom_kill 2\noom_group_kill 1\n").unwrap();
        assert_eq!(cgroups.killed_for_memory("a.service"), 2);
        assert_eq!(cgroups.killed_for_memory("gone.service"), 0);
    }

    #[test]
    fn a_group_holds_other_values_while_the_node_starts() {
        let (folder, mut cgroups) = tree();
        let mut plan = limited("a.service");
        let startup = Startup {
            starting: "300".into(),
            running: "200".into(),
        };
        plan.startup.insert("cpu.weight".into(), startup);
        group(folder.path(), "a.service", "", true);
        let file = |name: &str| folder.path().join("a.service").join(name);
        fs::write(file("memory.max"), "").unwrap();
        fs::write(file("cpu.weight"), "").unwrap();
        cgroups.create(&plan, None).unwrap();
        assert_eq!(fs::read_to_string(file("cpu.weight")).unwrap(), "300");
        cgroups.starting = false;
        cgroups.adjust("a.service", &plan.startup).unwrap();
        assert_eq!(fs::read_to_string(file("cpu.weight")).unwrap(), "200");
        cgroups.create(&plan, None).unwrap();
        assert_eq!(fs::read_to_string(file("cpu.weight")).unwrap(), "200");
        cgroups.starting = true;
        let startup = plan.startup.remove("cpu.weight").unwrap();
        plan.startup.insert("cpuset.cpus".into(), startup);
        let refused = cgroups.create(&plan, None).unwrap_err().to_string();
        assert!(refused.starts_with("cpuset.cpus=300 cannot"), "{refused}");
    }

    #[test]
    fn a_process_may_be_born_in_a_group_below_its_units() {
        let (folder, mut cgroups) = tree();
        let plan = Cgroup {
            path: "a.service".into(),
            subgroup: Some("main".into()),
            ..Cgroup::default()
        };
        group(folder.path(), "a.service", "", true);
        cgroups.create(&plan, None).unwrap();
        assert!(folder.path().join("a.service/main").is_dir());
    }

    #[test]
    fn a_limit_of_a_disk_that_is_not_there_refuses_and_a_weight_is_said() {
        let (folder, _) = tree();
        let mut plan = Cgroup::default();
        plan.devices.push(spec_unit::plan::DeviceSetting {
            path: "/dev/no-such-disk".into(),
            file: "io.max".into(),
            value: "rbps=1".into(),
            hint: false,
        });
        let refused = set(folder.path(), &plan).unwrap_err().to_string();
        assert!(
            refused.starts_with("io.max of /dev/no-such-disk cannot be set"),
            "{refused}"
        );
        plan.devices[0].hint = true;
        set(folder.path(), &plan).unwrap();
    }
}
