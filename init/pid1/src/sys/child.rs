//! What a child does to itself between clone and exec: system calls only, on data prepared by its parent.
//!
//! Every function is safe to call after clone(2) in a process that has one thread: none allocates, locks or touches
//! the standard library's state.

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{IntoRawFd as _, RawFd};

mod credential;
mod file;
mod folder;
mod mount;
mod namespace;

use spec_unit::seccomp::Instruction;

use crate::unit::spawn::exec::Exec;
use crate::unit::spawn::report;
use crate::unit::spawn::step::{Attributes, Failure, Step, Syscall};

mod keyring;
mod scheduling;
mod stream;

/// Carries steps out for real.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Where PID 1 hears of this child.
    report: RawFd,
    /// File systems that are mounted nowhere yet, by slot.
    trees: Vec<RawFd>,
    /// Files that the program is handed, by slot.
    files: Vec<RawFd>,
    /// The user namespace to enter.
    users: RawFd,
}

impl Kernel {
    /// With room for so many file systems and files, made by the parent.
    pub(crate) fn new(report: RawFd, trees: usize, files: usize) -> Self {
        Self {
            report,
            trees: vec![mount::NONE; trees],
            files: vec![mount::NONE; files],
            users: mount::NONE,
        }
    }

    fn tree(&self, slot: usize) -> RawFd {
        self.trees.get(slot).copied().unwrap_or(mount::NONE)
    }

    fn keep(&mut self, slot: usize, tree: RawFd) -> Result {
        let place = self.trees.get_mut(slot).ok_or(Failure(libc::EBADF))?;
        *place = tree;
        Ok(())
    }
}

type Result = std::result::Result<(), Failure>;

fn errno() -> Failure {
    // SAFETY: the location is the thread's own and always valid.
    Failure(unsafe { *libc::__errno_location() })
}

pub(super) fn check(result: c_int) -> std::result::Result<c_int, Failure> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}

impl Syscall for Kernel {
    fn call(&mut self, step: &mut Step) -> Result {
        match step {
            Step::Signals { ignore_pipe } => signals(*ignore_pipe),
            Step::Idle(fd) => stream::idle(*fd),
            Step::Session => {
                // SAFETY: takes no pointer.
                check(unsafe { libc::setsid() }).map(drop)
            }
            Step::OomScore(text) => write_file(c"/proc/self/oom_score_adj", text),
            Step::Limit {
                resource,
                soft,
                hard,
            } => limit(*resource, *soft, *hard),
            Step::CoredumpFilter(text) => write_file(c"/proc/self/coredump_filter", text),
            Step::CpuScheduling { policy, priority } => {
                scheduling::cpu_scheduling(*policy, *priority)
            }
            Step::Nice(nice) => {
                // SAFETY: takes no pointer.
                check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, *nice) }).map(drop)
            }
            Step::CpuAffinity(mask) => scheduling::cpu_affinity(mask),
            Step::NumaPolicy { mode, nodes, all } => scheduling::numa_policy(*mode, nodes, *all),
            Step::IoPriority(priority) => scheduling::io_priority(*priority),
            Step::TimerSlack(ns) => prctl(libc::PR_SET_TIMERSLACK, *ns, 0),
            Step::TerminalSetup(setup) => stream::set_up(setup),
            Step::Data { bytes, to } => stream::data(bytes, *to),
            Step::Open { path, flags, to } => open(path, *flags, *to),
            Step::Terminal { path, taken, to } => stream::terminal(path, *taken, *to),
            Step::Journal {
                path,
                header,
                kmsg,
                to,
            } => journal(path, header, *kmsg, *to),
            Step::SessionTerminal { uid } => stream::session_terminal(*uid),
            Step::OpenFile { slot, path, flags } => {
                let opened = file::open(path, *flags)?;
                let place = self.files.get_mut(*slot).ok_or(Failure(libc::EBADF))?;
                *place = opened;
                Ok(())
            }
            Step::PlaceFile { slot, to } => {
                let file = self.files.get(*slot).ok_or(Failure(libc::EBADF))?;
                duplicate(*file, *to)
            }
            Step::Duplicate { from, to } => duplicate(*from, *to),
            Step::Directory(folder) => folder::make(folder),
            Step::Keyring(keyring) => keyring::join(keyring),
            Step::Namespace { fd, kind } => namespace::enter(*fd, *kind),
            Step::Unshare(kind) => namespace::unshare(*kind),
            Step::Join { path, kind } => namespace::join(path, *kind),
            Step::TellNamespace { path, letter } => namespace::tell(self.report, path, *letter),
            Step::Loopback => super::loopback::up(),
            Step::Users { uid, gid } => {
                self.users = namespace::users([uid, gid])?;
                Ok(())
            }
            Step::HandedUsers(fd) => {
                self.users = *fd;
                Ok(())
            }
            Step::EnterUsers => namespace::enter(self.users, libc::CLONE_NEWUSER),
            Step::OwnMounts { isolated } => mount::unshare(*isolated),
            Step::Tree {
                slot,
                path,
                recursive,
                missing_ok,
            } => {
                let tree = mount::tree(path, *recursive, *missing_ok)?;
                self.keep(*slot, tree)
            }
            Step::Handed { slot, fd, isolated } => {
                mount::keep_to_itself(*fd, *isolated)?;
                self.keep(*slot, *fd)
            }
            Step::IdMap { slot } => mount::idmap(self.tree(*slot), self.users),
            Step::Image {
                slot,
                path,
                arguments,
                missing_ok,
            } => {
                let absent = *missing_ok && mount::is_missing(path);
                let tree = match absent {
                    true => mount::NONE,
                    false => super::image::open(arguments, self.report)?,
                };
                self.keep(*slot, tree)
            }
            Step::Inaccessible {
                slot,
                root,
                path,
                nodes,
                missing_ok,
            } => {
                let root = root.map(|root| self.tree(root));
                let tree = mount::inaccessible(root, path, nodes, *missing_ok)?;
                self.keep(*slot, tree)
            }
            Step::NewFileSystem { slot, new } => {
                let tree = mount::new(new)?.into_raw_fd();
                self.keep(*slot, tree)?;
                if new.devices {
                    mount::devices(tree)
                } else {
                    Ok(())
                }
            }
            Step::Credential {
                slot,
                name,
                uid,
                text,
            } => credential::write(self.tree(*slot), name, *uid, text),
            Step::GiveCredentials { slot, uid } => credential::give(self.tree(*slot), *uid),
            Step::Root { slot } => mount::root(self.tree(*slot)),
            Step::MountPoint {
                slot,
                parents,
                path,
            } => mount::mount_point(self.tree(*slot), parents, path),
            Step::Attach {
                slot,
                path,
                attributes,
                missing_ok,
            } => {
                let tree = self.tree(*slot);
                self.keep(*slot, mount::NONE)?;
                mount::attach(tree, path, *attributes, *missing_ok)
            }
            Step::Attributes { path, attributes } => {
                mount::set(libc::AT_FDCWD, path, libc::AT_RECURSIVE, *attributes)
            }
            Step::ReadOnly { path } => {
                let read_only = Attributes {
                    read_only: true,
                    no_exec: false,
                };
                mount::set(libc::AT_FDCWD, path, 0, read_only)
            }
            Step::Personality(domain) => {
                // SAFETY: takes no pointer.
                check(unsafe { libc::personality(libc::c_ulong::from(*domain)) }).map(drop)
            }
            Step::Umask(mask) => {
                // SAFETY: takes no pointer and cannot fail.
                unsafe { libc::umask(*mask) };
                Ok(())
            }
            Step::Bound(capability) => prctl(libc::PR_CAPBSET_DROP, u64::from(*capability), 0),
            Step::Groups(groups) => {
                let (count, list) = (groups.len(), groups.as_ptr());
                // SAFETY: the pointer is to as many numbers as said. The system call itself: libc's would wait for
                // threads that only the parent has.
                check(unsafe { libc::syscall(libc::SYS_setgroups, count, list) } as c_int).map(drop)
            }
            Step::Gid(gid) => {
                // SAFETY: takes no pointer. The system call itself: libc's would signal other threads.
                check(unsafe { libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid) } as c_int)
                    .map(drop)
            }
            Step::Uid { uid, keep } => uid_of(*uid, *keep),
            Step::Capabilities {
                permitted,
                inheritable,
            } => capabilities(*permitted, *inheritable),
            Step::Inheritable(set) => inheritable(*set),
            Step::Ambient(capability) => prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE as u64,
                u64::from(*capability),
            ),
            Step::WorkingDirectory { path, missing_ok } => working_directory(path, *missing_ok),
            Step::SecureBits(bits) => prctl(libc::PR_SET_SECUREBITS, u64::from(*bits), 0),
            Step::NoNewPrivileges => prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0),
            Step::CloseFrom(first) => {
                let flags = libc::CLOSE_RANGE_CLOEXEC;
                // SAFETY: takes no pointer; the descriptors close at exec, the error pipe with them.
                let result =
                    unsafe { libc::syscall(libc::SYS_close_range, *first, c_int::MAX, flags) };
                check(result as c_int).map(drop)
            }
            Step::DenyWriteExecute(instead) => deny_write_execute(instead),
            Step::Filter(program) => filter(program),
            Step::Ready => {
                let byte = report::READY;
                // SAFETY: the buffer is as long as said.
                check(unsafe { libc::write(self.report, (&raw const byte).cast(), 1) } as c_int)
                    .map(drop)
            }
            Step::Exec(exec) => execute(exec),
        }
    }
}

/// Tells the parent which step failed and why, and ends the child with systemd's exit code for it.
pub(crate) fn fail(report: RawFd, step: &Step, failure: Failure) -> ! {
    let (_, code) = step.name_and_code();
    let mut packet = [0; report::MOST_BYTES];
    let parts = [&[report::FAILED][..], &failure.0.to_ne_bytes()];
    let bytes = parts.into_iter().chain(step.told()).flatten();
    let mut length = 0;
    for (to, from) in packet.iter_mut().zip(bytes) {
        *to = *from;
        length += 1;
    }
    // SAFETY: the buffer is at least as long as said; _exit ends the process at once.
    unsafe {
        libc::write(report, packet.as_ptr().cast(), length);
        libc::_exit(code)
    }
}

fn signals(ignore_pipe: bool) -> Result {
    // SAFETY: sigset_t and sigaction are plain data for which zero is valid; both outlive the calls.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut(),
        ))?;
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = if ignore_pipe {
            libc::SIG_IGN
        } else {
            libc::SIG_DFL
        };
        check(libc::sigaction(
            libc::SIGPIPE,
            &raw const action,
            std::ptr::null_mut(),
        ))
        .map(drop)
    }
}

fn write_file(path: &CStr, text: &[u8]) -> Result {
    // SAFETY: the path ends in NUL, the buffer is as long as said, the descriptor is our own.
    unsafe {
        let fd = check(libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC))?;
        let written = libc::write(fd, text.as_ptr().cast(), text.len());
        let failure = errno();
        libc::close(fd);
        if written < 0 { Err(failure) } else { Ok(()) }
    }
}

/// Sets a limit; where the kernel does not give as much (a number of open files above fs.nr_open), the most it gives.
fn limit(resource: u32, soft: u64, hard: u64) -> Result {
    match prlimit(resource, Some([soft, hard])) {
        Err(Failure(libc::EPERM)) => {
            let [_, most] = prlimit(resource, None)?;
            prlimit(resource, Some([soft.min(most), hard.min(most)])).map(drop)
        }
        done => done.map(drop),
    }
}

/// prlimit(2) of this process: the soft and hard limit that were there.
fn prlimit(resource: u32, limit: Option<[u64; 2]>) -> std::result::Result<[u64; 2], Failure> {
    let new = limit
        .as_ref()
        .map_or(std::ptr::null(), |limit| limit.as_ptr());
    let mut old = [0u64; 2];
    // SAFETY: two 64-bit numbers are the kernel's struct rlimit64; null changes nothing.
    let result = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, old.as_mut_ptr()) };
    check(result as c_int).map(|_| old)
}

fn open(path: &CStr, flags: c_int, to: RawFd) -> Result {
    // SAFETY: the path ends in NUL.
    let fd = check(unsafe {
        libc::open(
            path.as_ptr(),
            flags | libc::O_CLOEXEC | libc::O_NOCTTY,
            0o666,
        )
    })?;
    place(fd, to)
}

/// Puts a descriptor of our own at a number, where it stays over exec.
fn place(fd: RawFd, to: RawFd) -> Result {
    duplicate(fd, to)?;
    if fd != to {
        // SAFETY: the descriptor was opened here and is not used again.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

fn duplicate(from: RawFd, to: RawFd) -> Result {
    // SAFETY: takes no pointer; numbers below the report's are free to overwrite in the child.
    unsafe {
        if from == to {
            return check(libc::fcntl(to, libc::F_SETFD, 0)).map(drop);
        }
        check(libc::dup2(from, to)).map(drop)
    }
}

/// A stream to the journal with its header sent. If the journal is away or does not keep up, the kernel log, or nothing
/// for a service that may not have that.
fn journal(path: &CStr, header: &[u8], kmsg: bool, to: RawFd) -> Result {
    match journal_stream(path, header) {
        Ok(fd) => place(fd, to),
        Err(_) if !kmsg => open(c"/dev/null", libc::O_WRONLY, to),
        Err(_) => open(c"/dev/kmsg", libc::O_WRONLY, to)
            .or_else(|_| open(c"/dev/null", libc::O_WRONLY, to)),
    }
}

fn journal_stream(path: &CStr, header: &[u8]) -> std::result::Result<RawFd, Failure> {
    let flags = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: sockaddr_un is plain data for which zero is valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.to_bytes_with_nul();
    if bytes.len() > address.sun_path.len() {
        return Err(Failure(libc::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as c_char;
    }
    // SAFETY: the address has the length of its type, the buffer is as long as said, the descriptor is our own.
    unsafe {
        let fd = check(libc::socket(libc::AF_UNIX, flags, 0))?;
        let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        let done = check(libc::connect(fd, (&raw const address).cast(), length)).and_then(|_| {
            let sent = libc::send(fd, header.as_ptr().cast(), header.len(), libc::MSG_NOSIGNAL);
            if sent == header.len() as isize {
                Ok(0)
            } else {
                Err(errno())
            }
        });
        let done = done.and_then(|_| check(libc::fcntl(fd, libc::F_SETFL, 0)));
        if let Err(failure) = done {
            libc::close(fd);
            return Err(failure);
        }
        libc::shutdown(fd, libc::SHUT_RD);
        Ok(fd)
    }
}

fn uid_of(uid: u32, keep: bool) -> Result {
    if keep {
        prctl(libc::PR_SET_KEEPCAPS, 1, 0)?;
    }
    // SAFETY: takes no pointer. The system call itself: libc's would signal other threads.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) } as c_int).map(drop)
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Makes one set permitted and effective, another inheritable.
fn capabilities(permitted: u64, inheritable: u64) -> Result {
    let header: [u32; 2] = [CAPABILITY_VERSION_3, 0];
    let (low, high) = (permitted as u32, (permitted >> 32) as u32);
    let (kept_low, kept_high) = (inheritable as u32, (inheritable >> 32) as u32);
    let data: [u32; 6] = [low, low, kept_low, high, high, kept_high];
    // SAFETY: header and data have the layout of linux/capability.h, version 3.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } as c_int)
        .map(drop)
}

/// Makes a set inheritable besides what is so already.
fn inheritable(set: u64) -> Result {
    let mut header: [u32; 2] = [CAPABILITY_VERSION_3, 0];
    let mut data = [0u32; 6];
    // SAFETY: header and data have the layout of linux/capability.h, version 3.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()) };
    check(result as c_int)?;
    let [_, _, low, _, _, high] = &mut data;
    *low |= set as u32;
    *high |= (set >> 32) as u32;
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } as c_int)
        .map(drop)
}

fn prctl(option: c_int, first: u64, second: u64) -> Result {
    // SAFETY: the options used here take numbers only.
    check(unsafe { libc::prctl(option, first, second, 0u64, 0u64) }).map(drop)
}

fn working_directory(path: &CStr, missing_ok: bool) -> Result {
    // SAFETY: the paths end in NUL.
    unsafe {
        match check(libc::chdir(path.as_ptr())) {
            Err(_) if missing_ok => check(libc::chdir(c"/".as_ptr())).map(drop),
            other => other.map(drop),
        }
    }
}

/// No memory that is writable and executable, for good: by the kernel's switch (6.3) or by a filter.
fn deny_write_execute(instead: &[Instruction]) -> Result {
    const PR_SET_MDWE: c_int = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: u64 = 1;
    match prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0) {
        Err(Failure(libc::EINVAL)) => filter(instead),
        done => done,
    }
}

/// Puts a filter over all system calls from here on.
fn filter(program: &[Instruction]) -> Result {
    const SECCOMP_SET_MODE_FILTER: c_int = 1;
    let Ok(len) = u16::try_from(program.len()) else {
        return Err(Failure(libc::EINVAL));
    };
    let program = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: an Instruction is laid out as struct sock_filter; the kernel copies as many of them as said.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    check(result as c_int).map(drop)
}

fn execute(exec: &mut Exec) -> Result {
    // SAFETY: takes no pointer.
    let pid = unsafe { libc::getpid() };
    exec.set_listen_pid(pid);
    // SAFETY: the path ends in NUL; both vectors hold pointers to strings owned by `exec`, and end in null.
    unsafe { libc::execve(exec.program.as_ptr(), exec.argv(), exec.envp()) };
    Err(errno())
}

#[cfg(test)]
mod tests;
