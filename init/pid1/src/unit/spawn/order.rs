//! The steps of a plan, in the order that keeps each possible.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use spec_unit::capability::CapabilitySet;
use spec_unit::plan::fd::OpenedHow;
use spec_unit::plan::{
    Credentials, ExecPlan, FdSlot, FileMode, FilterPrivilege, IdMaps, Input, Namespace,
    NamespaceFd, Output, Resource, Rlimit, Sharing,
};
use spec_unit::seccomp::{self, Machine};

use super::exec::Exec;
use super::report::{Shared, UnitNamespaces};
use super::scheduling::scheduling;
use super::step::{Folder, Path, SessionKeyring, Step, TerminalSetup};
use super::text;

/// Open files of a child whose plan says nothing, as systemd gives them: PID 1's own limit is nobody else's.
const OPEN_FILES: Rlimit = Rlimit {
    resource: Resource::Nofile,
    soft: 1024,
    hard: 524_288,
};

/// Limits that the child has no sooner than it must: what is written for it may be longer than its files may be, and it
/// has addresses of PID 1's, which uses many.
const LATE: [Resource; 2] = [Resource::Fsize, Resource::As];

/// The steps of a plan, in the order that keeps each possible: what needs root first, the walls last.
pub(crate) fn steps(
    plan: &ExecPlan,
    unit: &str,
    fds: &[OwnedFd],
    shared: &UnitNamespaces,
) -> io::Result<Vec<Step>> {
    let mut steps = vec![
        Step::Signals {
            ignore_pipe: plan.ignore_sigpipe,
        },
        Step::Session,
    ];
    if let Some(score) = plan.oom_score_adjust {
        steps.push(Step::OomScore(score.to_string().into_bytes()));
    }
    let open_files = |limit: &&Rlimit| limit.resource == Resource::Nofile;
    let late = |limit: &&Rlimit| open_files(limit) || LATE.contains(&limit.resource);
    let limits = plan.rlimits.iter().filter(|limit| !late(limit));
    steps.extend(limits.map(limit));
    scheduling(plan, &mut steps);
    steps.extend(plan.personality.map(Step::Personality));
    stdio(plan, unit, fds, &mut steps)?;
    for (slot, file) in plan.fds.opened.iter().enumerate() {
        steps.push(Step::OpenFile {
            slot,
            path: text(&file.path)?,
            flags: match file.how {
                OpenedHow::ReadWrite => libc::O_RDWR,
                OpenedHow::ReadOnly => libc::O_RDONLY,
                OpenedHow::Append => libc::O_RDWR | libc::O_APPEND,
                OpenedHow::Truncate => libc::O_RDWR | libc::O_TRUNC,
            },
        });
    }
    folders(plan, &mut steps)?;
    steps.extend(keyring(plan)?);
    for namespace in &plan.fds.namespaces {
        let fd = slot(fds, namespace.fd)?;
        steps.push(match namespace.kind {
            Namespace::User => Step::HandedUsers(fd),
            kind => Step::Namespace {
                fd,
                kind: clone_flag(kind),
            },
        });
    }
    namespaces(plan, shared, &mut steps)?;
    let root = plan.fds.root.map(|root| slot(fds, root)).transpose()?;
    super::mounts::steps(plan, root, &mut steps)?;
    steps.push(Step::Umask(plan.umask));
    for (number, listen) in plan.fds.listen.iter().enumerate() {
        steps.push(Step::Duplicate {
            from: slot(fds, listen.fd)?,
            to: 3 + number as RawFd,
        });
    }
    let first = 3 + plan.fds.listen.len() as RawFd;
    let opened = 0..plan.fds.opened.len();
    steps.extend(opened.map(|slot| Step::PlaceFile {
        slot,
        to: first + slot as RawFd,
    }));
    // PID 1's own descriptors are there until exec: below the child's limit it could open nothing more.
    let open_files = plan.rlimits.iter().find(open_files);
    steps.push(limit(open_files.unwrap_or(&OPEN_FILES)));
    let late = |limit: &&Rlimit| LATE.contains(&limit.resource);
    steps.extend(plan.rlimits.iter().filter(late).map(limit));
    identity(plan, &mut steps);
    let (path, missing_ok) = plan
        .working_directory
        .as_ref()
        .map_or(("/", false), |d| (d.path.as_str(), d.missing_ok));
    steps.push(Step::WorkingDirectory {
        path: text(path)?,
        missing_ok,
    });
    // Changing the user is subject to them.
    if plan.capabilities.secure_bits != 0 {
        steps.push(Step::SecureBits(plan.capabilities.secure_bits));
    }
    if plan.no_new_privileges || plan.filter_privilege() == FilterPrivilege::NoNewPrivileges {
        steps.push(Step::NoNewPrivileges);
    }
    steps.push(Step::CloseFrom(first + plan.fds.opened.len() as RawFd));
    steps.push(Step::Ready);
    filters(plan, &mut steps)?;
    steps.push(Step::Exec(Exec::new(plan)?));
    Ok(steps)
}

/// The filters of system calls: all that comes after them is subject to them.
fn filters(plan: &ExecPlan, steps: &mut Vec<Step>) -> io::Result<()> {
    let compiled = |program: Result<_, String>| {
        program.map_err(|message| io::Error::new(io::ErrorKind::InvalidInput, message))
    };
    if plan.seccomp.memory_deny_write_execute {
        let instead = compiled(seccomp::write_execute(Machine::NATIVE))?;
        steps.push(Step::DenyWriteExecute(instead));
    }
    let personality = plan.personality.unwrap_or(0);
    let program = seccomp::compile(&plan.seccomp, Machine::NATIVE, personality);
    let program = compiled(program)?;
    if !program.is_empty() {
        steps.push(Step::Filter(program));
    }
    Ok(())
}

fn limit(limit: &Rlimit) -> Step {
    Step::Limit {
        resource: limit.resource as u32,
        soft: limit.soft,
        hard: limit.hard,
    }
}

fn stdio(plan: &ExecPlan, unit: &str, fds: &[OwnedFd], steps: &mut Vec<Step>) -> io::Result<()> {
    let stdio = &plan.stdio;
    if let Some(terminal) = &stdio.terminal {
        let number = terminal.path.strip_prefix("/dev/tty");
        steps.push(Step::TerminalSetup(TerminalSetup {
            path: text(&terminal.path)?,
            number: number.and_then(|number| number.parse().ok()),
            reset: terminal.reset,
            hang_up: terminal.hang_up,
            disallocate: terminal.disallocate,
            rows: terminal.rows,
            columns: terminal.columns,
        }));
    }
    steps.push(match &stdio.input {
        Input::Null => Step::Open {
            path: c"/dev/null".into(),
            flags: libc::O_RDONLY,
            to: 0,
        },
        Input::Tty { path, taken } => Step::Terminal {
            path: text(path)?,
            taken: *taken,
            to: 0,
        },
        Input::Data(bytes) => Step::Data {
            bytes: bytes.clone(),
            to: 0,
        },
        Input::File(path) => Step::Open {
            path: text(path)?,
            flags: libc::O_RDONLY | libc::O_NONBLOCK,
            to: 0,
        },
        Input::Fd(fd) => Step::Duplicate {
            from: slot(fds, *fd)?,
            to: 0,
        },
    });
    if stdio.session_terminal {
        let uid = plan.owner().map_or(0, |(uid, _)| uid);
        steps.push(Step::SessionTerminal { uid });
    }
    for (output, to) in [(&stdio.output, 1), (&stdio.error, 2)] {
        steps.push(match output {
            // Standard input that is /dev/null or data is open for reading only.
            Output::Inherit if to == 1 && matches!(stdio.input, Input::Null | Input::Data(_)) => {
                Step::Open {
                    path: c"/dev/null".into(),
                    flags: libc::O_WRONLY,
                    to,
                }
            }
            Output::Inherit => Step::Duplicate { from: to - 1, to },
            Output::Null => Step::Open {
                path: c"/dev/null".into(),
                flags: libc::O_WRONLY,
                to,
            },
            Output::Kmsg => Step::Open {
                path: c"/dev/kmsg".into(),
                flags: libc::O_WRONLY,
                to,
            },
            Output::Journal => Step::Journal {
                path: text(spec_layout::path::JOURNAL_STDOUT)?,
                header: journal_header(plan, unit),
                kmsg: !plan.seccomp.kernel_logs && !plan.seccomp.private_devices,
                to,
            },
            Output::Tty(_) if matches!(stdio.input, Input::Tty { .. }) => {
                Step::Duplicate { from: 0, to }
            }
            // A terminal for output only does not become the session's.
            Output::Tty(path) => Step::Open {
                path: text(path)?,
                flags: libc::O_WRONLY,
                to,
            },
            Output::File { path, mode } => {
                let how = match mode {
                    FileMode::Write => 0,
                    FileMode::Append => libc::O_APPEND,
                    FileMode::Truncate => libc::O_TRUNC,
                };
                Step::Open {
                    path: text(path)?,
                    flags: libc::O_WRONLY | libc::O_CREAT | how,
                    to,
                }
            }
            Output::Fd(fd) => Step::Duplicate {
                from: slot(fds, *fd)?,
                to,
            },
        });
    }
    Ok(())
}

/// The seven lines of a journal stream: identifier, unit, priority, level prefix, and three forwards that are off.
pub(super) fn journal_header(plan: &ExecPlan, unit: &str) -> Vec<u8> {
    let stdio = &plan.stdio;
    let prefix = u8::from(stdio.level_prefix);
    format!(
        "{}\n{unit}\n{}\n{prefix}\n0\n0\n0\n",
        stdio.identifier, stdio.priority
    )
    .into_bytes()
}

fn folders(plan: &ExecPlan, steps: &mut Vec<Step>) -> io::Result<()> {
    for folder in &plan.directories {
        let link = folder.other.as_deref().filter(|_| folder.link);
        for path in [Some(folder.path.as_str()), link].into_iter().flatten() {
            for parent in parents(path) {
                // Nobody but root reaches the folders of users that are made up for one run.
                let hidden = folder.link && parent.ends_with("/private");
                steps.push(Step::Directory(Folder {
                    kind: folder.kind,
                    path: split(parent)?,
                    mode: if hidden { 0o700 } else { 0o755 },
                    owner: hidden.then_some((0, 0)),
                    with_content: false,
                    other: None,
                    link: None,
                }));
            }
        }
        steps.push(Step::Directory(Folder {
            kind: folder.kind,
            path: split(&folder.path)?,
            mode: folder.mode,
            owner: Some(owner(plan, folder.uid, folder.gid)?),
            with_content: true,
            other: folder.other.as_deref().map(split).transpose()?,
            link: link.map(|_| text(&folder.path)).transpose()?,
        }));
    }
    Ok(())
}

/// What the node calls a user and group of the plan.
pub(super) fn owner(plan: &ExecPlan, uid: u32, gid: u32) -> io::Result<(u32, u32)> {
    plan.outside(uid, gid).ok_or_else(|| {
        let message = format!("user {uid} or group {gid} has no number in the user namespace");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

/// An absolute path as a folder and a name.
fn split(path: &str) -> io::Result<Path> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    Ok(Path {
        folder: text(if folder.is_empty() { "/" } else { folder })?,
        name: text(name)?,
    })
}

/// The folders that a path is in, but for `/`, the outermost first.
pub(super) fn parents(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('/').skip(1);
    ends.filter_map(|(end, _)| path.get(..end))
}

/// Namespaces but that of mounts, which comes after them, and that of users, which comes last.
fn namespaces(plan: &ExecPlan, shared: &UnitNamespaces, steps: &mut Vec<Step>) -> io::Result<()> {
    let asked = &plan.namespaces;
    let kinds = [(&asked.network, Shared::Network), (&asked.ipc, Shared::Ipc)];
    for (sharing, kind) in kinds {
        match (sharing, shared.get(kind)) {
            (Sharing::Shared, _) => {}
            (Sharing::At(path), _) => steps.push(Step::Join {
                path: text(path)?,
                kind: kind.flag(),
            }),
            (Sharing::Own, Some(fd)) => steps.push(Step::Namespace {
                fd,
                kind: kind.flag(),
            }),
            (Sharing::Own, None) => {
                steps.push(Step::Unshare(kind.flag()));
                steps.extend((kind == Shared::Network).then_some(Step::Loopback));
                steps.push(Step::TellNamespace {
                    path: text(kind.path())?,
                    letter: kind.letter(),
                });
            }
        }
    }
    if asked.host_name {
        steps.push(Step::Unshare(libc::CLONE_NEWUTS));
    }
    if asked.cgroup {
        steps.push(Step::Unshare(libc::CLONE_NEWCGROUP));
    }
    if let Some(maps) = &asked.users {
        steps.push(Step::Users {
            uid: IdMaps::text(&maps.uid).into_bytes(),
            gid: IdMaps::text(&maps.gid).into_bytes(),
        });
    }
    Ok(())
}

fn identity(plan: &ExecPlan, steps: &mut Vec<Step>) {
    let of_users = |handed: &NamespaceFd| handed.kind == Namespace::User;
    let handed = plan.fds.namespaces.iter().any(of_users);
    let maps = plan.namespaces.users.as_ref();
    let inside = handed || maps.is_some_and(IdMaps::is_shifted);
    if inside {
        // The plan's numbers are those inside; without any, root of the namespace and no longer root outside.
        steps.push(Step::EnterUsers);
        let root = Credentials {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
        };
        let Credentials { uid, gid, groups } = plan.credentials.as_ref().unwrap_or(&root);
        steps.push(Step::Groups(groups.clone()));
        steps.push(Step::Gid(*gid));
        if *uid == 0 {
            steps.push(Step::Uid {
                uid: 0,
                keep: false,
            });
        }
    } else {
        if let Some(Credentials { gid, groups, .. }) = &plan.credentials {
            steps.push(Step::Groups(groups.clone()));
            steps.push(Step::Gid(*gid));
        }
        steps.extend(maps.map(|_| Step::EnterUsers));
    }
    if let Some(bounding) = plan.capabilities.bounding {
        let known = 0..spec_unit::capability::NAMES.len() as u32;
        steps.extend(
            known
                .filter(|number| !bounding.has(*number))
                .map(Step::Bound),
        );
    }
    let ambient = plan.capabilities.ambient;
    let raise = (0..64)
        .filter(|number| ambient.has(*number))
        .map(Step::Ambient);
    let user = plan.credentials.as_ref().filter(|user| user.uid != 0);
    let Some(Credentials { uid, .. }) = user else {
        // Root has them all; noroot among SecureBits= leaves the ambient ones.
        if ambient.0 != 0 {
            steps.push(Step::Inheritable(ambient.0));
        }
        steps.extend(raise);
        return;
    };
    // What is only permitted is gone at exec: the program does not get it.
    let mut permitted = match plan.filter_privilege() {
        FilterPrivilege::KeepSysAdmin => ambient.0 | CapabilitySet::SYS_ADMIN.0,
        FilterPrivilege::AsItIs | FilterPrivilege::NoNewPrivileges => ambient.0,
    };
    if plan.capabilities.secure_bits != 0 {
        permitted |= CapabilitySet::SETPCAP.0;
    }
    steps.push(Step::Uid {
        uid: *uid,
        keep: permitted != 0,
    });
    if permitted != 0 {
        steps.push(Step::Capabilities {
            permitted,
            inheritable: ambient.0,
        });
        steps.extend(raise);
    }
}

fn keyring(plan: &ExecPlan) -> io::Result<Option<Step>> {
    let Some(keyring) = &plan.keyring else {
        return Ok(None);
    };
    let (uid, gid) = owner(plan, keyring.uid, keyring.gid)?;
    Ok(Some(Step::Keyring(SessionKeyring {
        uid,
        gid,
        shared: keyring.shared,
        invocation: keyring.invocation_bytes(),
    })))
}

fn clone_flag(kind: Namespace) -> c_int {
    match kind {
        Namespace::User => libc::CLONE_NEWUSER,
        Namespace::Mount => libc::CLONE_NEWNS,
        Namespace::Network => libc::CLONE_NEWNET,
        Namespace::Ipc => libc::CLONE_NEWIPC,
        Namespace::Uts => libc::CLONE_NEWUTS,
        Namespace::Pid => libc::CLONE_NEWPID,
        Namespace::Cgroup => libc::CLONE_NEWCGROUP,
        Namespace::Time => 0x80,
    }
}

fn slot(fds: &[OwnedFd], slot: FdSlot) -> io::Result<RawFd> {
    let fd = fds.get(slot.0 as usize).map(|fd| fd.as_raw_fd());
    fd.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {} was not handed over", slot.0),
        )
    })
}
