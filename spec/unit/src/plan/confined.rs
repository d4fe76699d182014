//! What a plan may ask of PID 1 whose client is not root, and gets no privilege by it.

use super::{Content, ExecPlan, Input, Output, Resource, Sharing};

/// What root may be asked to mount file systems on: folders that are there, and that tell nobody anything.
const PLACES: [&str; 14] = [
    "/dev",
    "/dev/mqueue",
    "/dev/shm",
    "/home",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run/user",
    "/srv",
    "/sys/fs/cgroup",
    "/tmp",
    "/var/lib",
    "/var/tmp",
];

/// Limits that give a process more than others have where they are raised.
const PRIVILEGED: [Resource; 6] = [
    Resource::Memlock,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
    Resource::Sigpending,
];

/// Files of a group that take something from all others.
const RESERVED: [&str; 4] = [
    "cpuset.cpus.exclusive",
    "cpuset.cpus.partition",
    "memory.low",
    "memory.min",
];

impl ExecPlan {
    /// Refuses what root would do or read on behalf of a client that may not itself. The child's user is PID 1's to make
    /// up; it has no capability and gets none by exec.
    ///
    /// The message names the field and what to do.
    pub fn check_confined(&self) -> Result<(), String> {
        // Each field by name: a new one is nobody's before somebody has thought of this.
        let Self {
            program: _,
            argv: _,
            environment: _,
            working_directory: _,
            credentials,
            rlimits,
            capabilities,
            no_new_privileges: _,
            seccomp: _,
            personality: _,
            umask: _,
            oom_score_adjust,
            nice,
            scheduling,
            keyring: _,
            ignore_sigpipe: _,
            cgroup,
            stdio: _,
            directories,
            mounts,
            namespaces,
            fds,
        } = self;
        let asks = |asks: bool, field: &str, instead: &str| match asks {
            true => Err(format!("{field}: only root may ask for it; {instead}")),
            false => Ok(()),
        };
        let omit = "leave it out";
        let of_pid_1 = "PID 1 makes a user up";
        asks(credentials.is_some(), "credentials", of_pid_1)?;
        asks(namespaces.users.is_some(), "namespaces.users", of_pid_1)?;
        let privileged = capabilities.ambient.0 != 0 || capabilities.secure_bits != 0;
        asks(privileged, "capabilities", "there are none")?;
        let score = oom_score_adjust.is_some_and(|score| score < 0);
        asks(score, "oom_score_adjust", "0 is the least")?;
        asks(nice.is_some_and(|nice| nice < 0), "nice", "0 is the least")?;
        let real_time = scheduling
            .cpu
            .is_some_and(|cpu| matches!(cpu.policy, 1 | 2));
        asks(real_time, "scheduling.cpu", "take another class")?;
        let real_time = scheduling.io.is_some_and(|io| io.class == 1);
        asks(real_time, "scheduling.io", "take another class")?;
        let limit = |limit: &super::Rlimit| PRIVILEGED.contains(&limit.resource);
        asks(rlimits.iter().any(limit), "rlimits", omit)?;
        asks(!directories.is_empty(), "directories", omit)?;
        let at = |sharing: &Sharing| matches!(sharing, Sharing::At(_));
        asks(at(&namespaces.network), "namespaces.network", omit)?;
        asks(at(&namespaces.ipc), "namespaces.ipc", omit)?;
        asks(fds.root.is_some(), "fds.root", omit)?;
        asks(!fds.opened.is_empty(), "fds.opened", "hand it over")?;
        asks(!fds.namespaces.is_empty(), "fds.namespaces", omit)?;
        let files = cgroup.settings.keys().chain(cgroup.hints.keys());
        let mut files = files.chain(cgroup.startup.keys());
        let reserved = files.any(|file| RESERVED.contains(&file.as_str()));
        asks(reserved, "cgroup", "what it has is taken from others")?;
        self.check_confined_stdio()?;
        asks(mounts.has_root(), "mounts.root", omit)?;
        asks(mounts.credentials.is_some(), "mounts.credentials", omit)?;
        for mount in &mounts.list {
            let target = mount.target.as_str();
            let allowed = match &mount.content {
                Content::Same | Content::Inaccessible => true,
                Content::Bind { .. } | Content::Image(_) => false,
                _ => PLACES.contains(&target),
            };
            let field = format!("mounts.list: {target}");
            asks(!allowed, &field, omit)?;
        }
        Ok(())
    }

    fn check_confined_stdio(&self) -> Result<(), String> {
        let stdio = &self.stdio;
        let input = matches!(stdio.input, Input::Null | Input::Data(_) | Input::Fd(_));
        let own = |output: &Output| {
            matches!(
                output,
                Output::Inherit | Output::Null | Output::Journal | Output::Fd(_)
            )
        };
        let fields = [
            ("stdio.input", input),
            ("stdio.output", own(&stdio.output)),
            ("stdio.error", own(&stdio.error)),
            ("stdio.terminal", stdio.terminal.is_none()),
        ];
        match fields.iter().find(|(_, own)| !own) {
            Some((field, _)) => Err(format!(
                "{field}: only root may have PID 1 open something; hand over a descriptor"
            )),
            None => Ok(()),
        }
    }
}
