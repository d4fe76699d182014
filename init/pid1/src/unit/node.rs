//! The node as units see it: unit files, facts, users, environment files. Each reading is bounded and never waits.

use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use spec_unit::account::Accounts;
use spec_unit::directive::{PlanHost, credential};
use spec_unit::load::{EntryKind, FOLDERS, UnitSource};
use spec_unit::parse::MAX_FILE;
use spec_unit::specifier::Facts;

/// Unit files out of the file system.
#[derive(Debug)]
pub(crate) struct UnitFiles<'a> {
    root: &'a Path,
}

impl<'a> UnitFiles<'a> {
    /// Those of the system below `root`.
    pub(crate) fn below(root: &'a Path) -> Self {
        Self { root }
    }

    /// Whether one of the folders has a file of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        let there = |folder: &&str| self.path(folder).join(name).symlink_metadata().is_ok();
        FOLDERS.iter().any(there)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl UnitSource for UnitFiles<'_> {
    fn list(&self, folder: &str) -> Result<Vec<(String, EntryKind)>, String> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(cause)
                if matches!(
                    cause.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Vec::new());
            }
            Err(cause) => return Err(format!("{folder}: {cause}")),
        };
        let mut found = Vec::new();
        for entry in entries.filter_map(Result::ok) {
            let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else {
                continue;
            };
            let kind = if kind.is_symlink() {
                EntryKind::Link
            } else if kind.is_dir() {
                EntryKind::Folder
            } else {
                EntryKind::File
            };
            found.push((name, kind));
        }
        found.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(found)
    }

    fn link(&self, path: &str) -> Result<String, String> {
        let target = fs::read_link(self.path(path)).map_err(|cause| format!("{path}: {cause}"))?;
        target
            .into_os_string()
            .into_string()
            .map_err(|_| format!("{path}: its target is not UTF-8"))
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        match read_bounded(&self.path(path), MAX_FILE + 1) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(format!("{path}: {cause}")),
        }
    }
}

/// The start of a regular file; a fifo, a socket or a device is refused, not waited for. /dev/null is empty.
pub(crate) fn read_bounded(path: &Path, limit: usize) -> std::io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_char_device() {
        return Ok(Vec::new());
    }
    if !kind.is_file() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "is not a file",
        ));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(path: &str) -> String {
    let bytes = read_bounded(Path::new(path), MAX_FILE).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_string()
}

/// What the node knows about itself.
pub(crate) fn facts() -> Facts {
    let release = text("/etc/os-release");
    let field = |name: &str| {
        let value = release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches('"').to_string()
    };
    let uname = rustix::system::uname();
    let memory = text("/proc/meminfo");
    let memory = memory.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    let number = |path: &str| text(path).parse::<u64>().unwrap_or(u64::MAX);
    let tasks = number("/proc/sys/kernel/pid_max").min(number("/proc/sys/kernel/threads-max"));
    Facts {
        hostname: uname.nodename().to_string_lossy().into_owned(),
        machine_id: text("/etc/machine-id"),
        boot_id: text("/proc/sys/kernel/random/boot_id").replace('-', ""),
        kernel_release: uname.release().to_string_lossy().into_owned(),
        architecture: if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "x86-64"
        }
        .into(),
        os_id: field("ID"),
        os_version_id: field("VERSION_ID"),
        os_variant_id: field("VARIANT_ID"),
        os_build_id: field("BUILD_ID"),
        image_id: field("IMAGE_ID"),
        image_version: field("IMAGE_VERSION"),
        memory_bytes: memory.unwrap_or(0u64).saturating_mul(1024),
        tasks: if tasks == u64::MAX { 0 } else { tasks },
    }
}

/// Users, passwd(5).
const PASSWD: &str = "/etc/passwd";
/// Groups, group(5).
const GROUP: &str = "/etc/group";

/// The users and groups of now.
pub(crate) fn accounts() -> Accounts {
    Accounts::parse(&text(PASSWD), &text(GROUP))
}

/// The users and groups of now, read anew only where their files are others.
#[derive(Debug)]
pub(crate) struct AccountFiles {
    /// Those of users and of groups.
    paths: [String; 2],
    known: Rc<Accounts>,
    /// What told the files apart, when they were read.
    seen: Option<[FileMark; 2]>,
    looks: Looks,
}

/// When the files are looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Looks {
    /// Each time.
    #[default]
    Always,
    /// Once more, and then not until [`AccountFiles::release`].
    Once,
    /// They were.
    NoMore,
}

/// What tells a file from what it was before: device, inode, length, and when it was changed last (ns).
type FileMark = Option<(u64, u64, u64, i64, i64)>;

impl Default for AccountFiles {
    fn default() -> Self {
        Self::of([PASSWD, GROUP].map(String::from))
    }
}

impl AccountFiles {
    fn of(paths: [String; 2]) -> Self {
        Self {
            paths,
            known: Rc::default(),
            seen: None,
            looks: Looks::Always,
        }
    }

    /// The users and groups of now.
    pub(crate) fn now(&mut self) -> Rc<Accounts> {
        match self.looks {
            Looks::Always => self.look(),
            Looks::Once => {
                self.looks = Looks::NoMore;
                self.look();
            }
            Looks::NoMore => {}
        }
        Rc::clone(&self.known)
    }

    fn look(&mut self) {
        let [users, groups] = &self.paths;
        let seen = [mark(users), mark(groups)];
        if self.seen != Some(seen) {
            // Marked before they are read: a change in between is seen the next time.
            self.known = Accounts::parse(&text(users), &text(groups)).into();
            self.seen = Some(seen);
        }
    }

    /// Looks at the files once for all that is asked until [`release`](Self::release): nobody is heard in between, so
    /// nobody can have said that they are others.
    pub(crate) fn hold(&mut self) {
        self.looks = Looks::Once;
    }

    /// Looks at them each time again.
    pub(crate) fn release(&mut self) {
        self.looks = Looks::Always;
    }
}

fn mark(path: &str) -> FileMark {
    let file = fs::metadata(path).ok()?;
    let changed = (file.ctime(), file.ctime_nsec());
    Some((file.dev(), file.ino(), file.len(), changed.0, changed.1))
}

/// What plans are made from.
#[derive(Debug)]
pub(crate) struct NodePlanHost<'a> {
    /// Users and groups.
    pub(crate) accounts: Rc<Accounts>,
    /// The node.
    pub(crate) facts: &'a Facts,
}

impl PlanHost for NodePlanHost<'_> {
    fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    fn facts(&self) -> &Facts {
        self.facts
    }

    fn environment_file(&self, path: &str) -> Result<Option<String>, String> {
        match read_bounded(Path::new(path), spec_unit::environment::MAX_FILE) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(format!("{path}: {cause}")),
        }
    }

    fn stored_credentials(&self) -> Vec<(String, String)> {
        let names = |store: &&str| -> Vec<(String, String)> {
            let entries = fs::read_dir(store).into_iter().flatten().flatten();
            let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
            let names = files.filter_map(|entry| entry.file_name().into_string().ok());
            let names = names.filter(|name| spec_unit::plan::credential::is_name(name));
            let mut found: Vec<_> = names
                .map(|name| (name.clone(), format!("{store}/{name}")))
                .collect();
            found.sort();
            found
        };
        credential::STORES.iter().flat_map(names).collect()
    }

    fn is_program(&self, path: &str) -> bool {
        // Not opened: a fifo would be waited for.
        let metadata = fs::metadata(path);
        metadata
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(read_bounded(&path, 10).is_err());
        assert_eq!(read_bounded(Path::new("/dev/null"), 10).unwrap(), b"");
    }

    #[test]
    fn folders_are_listed_with_their_links() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/systemd/system");
        fs::create_dir_all(folder.join("a.service.d")).unwrap();
        fs::write(folder.join("a.service"), "text").unwrap();
        std::os::unix::fs::symlink("a.service", folder.join("b.service")).unwrap();
        let files = UnitFiles::below(root.path());
        let expected = [
            ("a.service", EntryKind::File),
            ("a.service.d", EntryKind::Folder),
            ("b.service", EntryKind::Link),
        ];
        assert_eq!(
            files.list(FOLDERS[0]).unwrap(),
            expected.map(|(name, kind)| (name.to_string(), kind))
        );
        let path = |name: &str| format!("{}/{name}", FOLDERS[0]);
        assert_eq!(files.link(&path("b.service")).unwrap(), "a.service");
        assert_eq!(files.read(&path("b.service")).unwrap().unwrap(), b"text");
        assert_eq!(files.list(FOLDERS[1]).unwrap(), []);
        assert_eq!(files.read(&path("gone.service")).unwrap(), None);
        assert!(files.has("b.service") && !files.has("gone.service"));
    }

    #[test]
    fn a_user_made_meanwhile_is_seen_unless_the_accounts_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let paths = ["passwd", "group"].map(|name| path(name).to_str().unwrap().to_string());
        let mut files = AccountFiles::of(paths);
        let has = |files: &mut AccountFiles, name: &str| files.now().has_user(name);
        let add = |names: &[&str]| {
            let line = |name: &&str| format!("{name}:x:{}:1::/:/bin/sh\n", name.len());
            fs::write(path("passwd"), names.iter().map(line).collect::<String>()).unwrap();
        };
        assert!(!has(&mut files, "a"), "no files yet");
        add(&["a"]);
        assert!(has(&mut files, "a"));
        files.hold();
        add(&["a", "bb"]);
        assert!(has(&mut files, "bb"), "looked at once more");
        add(&["a", "bb", "ccc"]);
        assert!(!has(&mut files, "ccc"), "and not again");
        files.release();
        assert!(has(&mut files, "ccc"));
    }

    #[test]
    fn this_machine_has_facts() {
        let facts = facts();
        assert!(facts.memory_bytes > 1 << 20 && facts.tasks > 0 && facts.boot_id.len() == 32);
    }
}
