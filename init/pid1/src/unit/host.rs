//! What services act through on a node: processes, signals, control groups, clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use rustix::process::{Pid, PidfdFlags, Signal};
use spec_unit::account::Accounts;
use spec_unit::control::ExitStatus;
use spec_unit::directive::Planning;
use spec_unit::directive::identity;
use spec_unit::directive::notify::NotifyAccess;
use spec_unit::directive::protect;
use spec_unit::directive::service::ServiceType;
use spec_unit::directive::slice;
use spec_unit::graph::UnitId;
use spec_unit::plan::filter::Filters;
use spec_unit::plan::{self, Directory, ExecPlan};
use spec_unit::specifier::Facts;
use spec_unit::unit::Unit;
use spec_unit::value::signal_name;

use super::closing::Closing;
use super::devices::Devices;
use super::dynamic_user::DynamicUsers;
use super::ipc;
use super::node::{self, NodePlanHost};
use super::pid_file;
use super::runtime_folder;
use super::spawn::{self, ExecReport, Spawned, UnitNamespaces};
use super::state::{Phase, UnitState};
use super::store::Stores;
use super::supervise::{Host, Refusal, Role, Spawn, Timer, describe};
use super::transient;
use crate::bpf;
use crate::cgroup::Cgroups;
use crate::event::{Events, Source, Timers};
use crate::log::Level;
use crate::reap::{self, Reaper};

/// The node that services run on.
#[derive(Debug)]
pub(crate) struct NodeHost {
    /// What everything waits with.
    pub(crate) events: Events,
    /// The clocks of all units.
    pub(crate) timers: Timers<(UnitId, Timer)>,
    /// Who waits for which process.
    pub(crate) reaper: Reaper<(UnitId, Role)>,
    /// The control groups.
    pub(crate) cgroups: Cgroups,
    /// Facts for plans and conditions.
    pub(crate) facts: Facts,
    /// Children whose program does not run yet.
    pub(crate) reports: BTreeMap<i32, (UnitId, ExecReport)>,
    /// Descriptors handed over for transient units that have not started.
    pub(crate) handed: BTreeMap<UnitId, Vec<OwnedFd>>,
    /// Namespaces that the processes of a unit share.
    pub(crate) namespaces: BTreeMap<UnitId, UnitNamespaces>,
    /// Users of units that are not root, and whether their IPC objects go with the unit.
    pub(super) ipc_owners: BTreeMap<UnitId, (u32, bool)>,
    /// Children that remove IPC objects.
    pub(super) removers: ipc::Removers,
    /// Descriptors that services have stored.
    pub(crate) stores: Stores,
    /// Descriptors of others that are being closed.
    pub(crate) closing: Closing,
    /// Filters of control groups, by path.
    pub(super) held: BTreeMap<String, Filters>,
    /// The devices that are there.
    pub(super) devices: Devices,
    /// Mount units of all that is mounted.
    pub(super) mounted: BTreeSet<String>,
    /// Tells when something was mounted or unmounted.
    mount_table: Option<File>,
    /// Users and groups as they were last read.
    pub(super) accounts: node::AccountFiles,
    /// Users made up for one run.
    pub(super) users: DynamicUsers,
    /// Processes of units that are no children of ours, or were not made here, each as itself: its number may be used
    /// anew, which that of a child is not before the reaper collects it.
    pub(crate) pidfds: BTreeMap<i32, OwnedFd>,
    /// Children that empty runtime folders, and which.
    pub(super) emptiers: BTreeMap<i32, String>,
    /// How many folders were removed.
    pub(super) removals: u64,
    /// Units of which something here has changed since they were mirrored, where neither processes, clocks nor jobs tell.
    pub(super) touched: BTreeSet<UnitId>,
    /// Has something to read once no job is left, for the services of Type=idle that wait for it.
    pub(super) idle: Option<OwnedFd>,
}

impl NodeHost {
    /// A host on the control groups mounted at `root`.
    pub(crate) fn open(cgroup_root: &Path) -> std::io::Result<Self> {
        let mut host = Self {
            events: Events::open()?,
            timers: Timers::default(),
            reaper: Reaper::default(),
            cgroups: Cgroups::open(cgroup_root)?,
            facts: node::facts(),
            reports: BTreeMap::new(),
            handed: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            ipc_owners: BTreeMap::new(),
            removers: ipc::Removers::default(),
            stores: Stores::default(),
            closing: Closing::default(),
            held: BTreeMap::new(),
            devices: Devices::default(),
            mounted: BTreeSet::new(),
            mount_table: None,
            accounts: node::AccountFiles::default(),
            users: DynamicUsers::default(),
            pidfds: BTreeMap::new(),
            emptiers: BTreeMap::new(),
            removals: 0,
            touched: BTreeSet::new(),
            idle: None,
        };
        host.events.add(host.cgroups.events(), Source::Cgroups)?;
        host.watch_mounts();
        Ok(host)
    }

    /// Without it mount units learn of mounts only by their own children.
    fn watch_mounts(&mut self) {
        let table = File::open("/proc/self/mountinfo");
        let watched = table.and_then(|table| {
            self.events.add_change(&table, Source::Mounts)?;
            Ok(table)
        });
        match watched {
            Ok(table) => self.mount_table = Some(table),
            Err(cause) => crate::warning!("/proc/self/mountinfo: {cause}; changes go unseen"),
        }
        // After the watch, so that no change falls between.
        self.mounted = super::supervisor::mounted();
    }

    /// A process was collected, or is nobody's main one any more: what was kept for it is given back.
    pub(crate) fn process_gone(&mut self, pid: i32) {
        if let Some(pidfd) = self.pidfds.remove(&pid) {
            self.events.remove(&pidfd);
        }
        if let Some((_, report)) = self.reports.remove(&pid) {
            self.events.remove(&report.socket);
        }
    }

    /// What a service of Type=idle waits for, made anew once no job was left.
    pub(crate) fn idle(&mut self) -> Result<OwnedFd, String> {
        let idle = match self.idle.take() {
            Some(idle) => Ok(idle),
            None => eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK),
        };
        let idle = idle.map_err(|cause| format!("eventfd: {cause}"))?;
        let copy = idle
            .try_clone()
            .map_err(|cause| format!("eventfd: {cause}"));
        self.idle = Some(idle);
        copy
    }

    /// No job is left: services of Type=idle run now.
    pub(crate) fn no_job_left(&mut self) {
        if let Some(idle) = self.idle.take() {
            // Whoever it does not reach waits no longer than a few seconds.
            let _ = rustix::io::write(&idle, &1u64.to_ne_bytes());
        }
    }

    /// Waits for a process that a service names as its main one, be it a child of ours or not.
    pub(crate) fn adopt(&mut self, pid: i32, id: UnitId) -> std::io::Result<()> {
        let number = Pid::from_raw(pid).ok_or(std::io::ErrorKind::InvalidInput)?;
        let pidfd = rustix::process::pidfd_open(number, PidfdFlags::empty())?;
        self.adopt_as(pid, pidfd, id)
    }

    fn adopt_as(&mut self, pid: i32, pidfd: OwnedFd, id: UnitId) -> std::io::Result<()> {
        self.events.add(&pidfd, Source::Named(pid.unsigned_abs()))?;
        self.pidfds.insert(pid, pidfd);
        self.reaper.register(pid, (id, Role::Main));
        Ok(())
    }

    /// A child was collected: one that emptied a folder has said what went wrong, unless it was killed. What is left then.
    pub(crate) fn emptier_ended(&mut self, pid: i32, status: ExitStatus) -> Option<String> {
        let folder = self.emptiers.remove(&pid)?;
        if let Some(uid) = self.removers.ended(pid) {
            self.users.release(uid);
        }
        (!matches!(status, ExitStatus::Exited(_))).then(|| {
            format!(
                "{folder}: not all of the last run is removed, its child ended: {}",
                describe(status)
            )
        })
    }

    /// A process named as a main one has ended: told once, its descriptor stays ready until it is closed.
    pub(crate) fn unwatch(&self, pid: i32) {
        if let Some(pidfd) = self.pidfds.get(&pid) {
            self.events.remove(pidfd);
        }
    }

    /// Waits for a child's report, its end, and that of all in its group; its number. One of which that could not be heard
    /// is ended: whatever waits for it would hang. What follows is what follows from that end.
    fn take(&mut self, spawned: Spawned, of: &Spawn<'_>) -> i32 {
        let Spawned { pid, report } = spawned;
        let name = &of.unit.name;
        let source = Source::Exec(pid.unsigned_abs());
        // It closes at exec at the latest; what it says before can wait.
        if let Err(cause) = self.events.add_hang_up(&report.socket, source) {
            crate::error!("{name}: process {pid} is killed: its report cannot be heard: {cause}");
            crate::sys::signal::send(pid, libc::SIGKILL);
        }
        // One that was watched before still is: who is in this one is new.
        if let Some(group) = &of.state.cgroup
            && let Err(cause) = self.cgroups.watch(group)
        {
            crate::error!("{name}: its processes are killed: they cannot be watched: {cause}");
            let _ = self.cgroups.kill(group);
        }
        self.reaper.register(pid, (of.id, of.role));
        self.reports.insert(pid, (of.id, report));
        pid
    }

    /// What was handed over for a unit is of no more use.
    pub(crate) fn drop_handed(&mut self, id: UnitId) {
        if let Some(handed) = self.handed.remove(&id) {
            self.closing.close(handed);
        }
    }

    /// Nothing of a unit is left, and its place may be another's next.
    pub(crate) fn forget(&mut self, id: UnitId) {
        self.touched.insert(id);
        self.drop_handed(id);
        self.namespaces.remove(&id);
        self.users.take_back(id);
        self.ipc_owners.remove(&id);
    }

    /// Has the IPC objects of a unit's user removed, unless another unit with that user runs.
    fn remove_ipc(&mut self, id: UnitId, user: Option<(String, u32)>) {
        let Some((uid, asked)) = self.ipc_owners.remove(&id) else {
            return;
        };
        let mut others = self.ipc_owners.iter_mut();
        if let Some((other, (_, removes))) = others.find(|(_, (other, _))| *other == uid) {
            self.touched.insert(*other);
            // Whoever of them stops last takes the objects along.
            *removes |= asked;
            return;
        }
        if !asked {
            return;
        }
        match ipc::remove(uid) {
            Ok(child) => {
                let what = format!("IPC of user {uid}");
                self.emptiers.insert(child.pid, what);
                let name = user.filter(|(_, number)| *number == uid);
                let name = name.map(|(name, _)| name);
                self.keep_user(uid, name.clone());
                self.removers.add(child, uid, name);
            }
            Err(cause) => crate::warning!("IPC of user {uid}: {cause}"),
        }
    }

    /// Makes the group of a slice with all that its unit says of it.
    pub(super) fn make_slice(&mut self, unit: &Unit) -> Result<plan::Cgroup, String> {
        let host = NodePlanHost {
            accounts: Rc::default(),
            facts: &self.facts,
        };
        let group = slice::group(unit, &host)?;
        let group = self
            .cgroups
            .create_slice(&unit.name, &group)
            .map_err(|cause| format!("control group: {cause}"))?;
        self.hold(&group)?;
        Ok(group)
    }

    /// A control group is gone, with its filters.
    pub(super) fn unhold(&mut self, group: &str) {
        if !self.cgroups.exists(group) {
            self.held.remove(group);
        }
    }

    /// A user that was made up is not gone as long as something of it is there.
    pub(super) fn keep_user(&mut self, uid: u32, name: Option<String>) {
        if let Some(name) = name {
            self.users.keep(name, uid);
        }
    }

    /// Holds a control group to its filters before its first process; they stay with the group.
    fn hold(&mut self, group: &plan::Cgroup) -> Result<(), String> {
        let plan::Cgroup { path, filters, .. } = group;
        if filters.is_empty() || self.held.get(path) == Some(filters) {
            return Ok(());
        }
        let group = self.cgroups.folder(path);
        group
            .and_then(|group| bpf::attach(group.as_fd(), filters))
            .map_err(|cause| format!("BPF: {cause}"))?;
        self.held.insert(path.clone(), filters.clone());
        Ok(())
    }

    /// Hands a program what its service has stored, after all else that it is handed.
    fn hand_stored(
        &self,
        id: UnitId,
        plan: &mut ExecPlan,
        fds: &mut Vec<OwnedFd>,
    ) -> Result<(), String> {
        // As in systemd the last comes first.
        for stored in self.stores.of(id).iter().rev() {
            let copy = crate::sys::clone::lifted(stored.fd.as_fd())
                .map_err(|cause| format!("stored descriptor {}: {cause}", stored.name))?;
            let slot = u32::try_from(fds.len()).map_err(|cause| cause.to_string())?;
            fds.push(copy);
            plan.fds.listen.push(plan::ListenFd {
                name: stored.name.clone(),
                fd: plan::FdSlot(slot),
            });
        }
        Ok(())
    }

    fn plan(&self, service: &Spawn<'_>, accounts: Rc<Accounts>) -> Result<ExecPlan, String> {
        match (service.command, &service.state.plan) {
            (Some(command), _) => {
                let host = NodePlanHost {
                    accounts,
                    facts: &self.facts,
                };
                let variables = variables(service);
                ExecPlan::of(&Planning {
                    unit: service.unit,
                    command,
                    host: &host,
                    variables: &variables,
                })
            }
            (None, Some(plan)) if service.state.asked_by == 0 => Ok(plan.as_ref().clone()),
            (None, Some(plan)) => {
                let (_, number) = self
                    .users
                    .of(service.id)
                    .ok_or("a user of the node has its name; choose another one")?;
                let mut plan = plan.as_ref().clone();
                transient::confine(&mut plan, number);
                Ok(plan)
            }
            (None, None) => Err("has nothing to run".into()),
        }
    }
}

fn is_idle(unit: &Unit) -> bool {
    let service = &unit.service;
    service.kind.kind(!service.exec.start.is_empty()) == ServiceType::Idle
}

/// Whether this is the program of ExecStart=.
fn starts(service: &Spawn<'_>) -> bool {
    service.role == Role::Main || service.state.phase == Phase::Start
}

/// Variables that PID 1 adds, systemd.exec(5) "Environment Variables Set or Propagated by the Service Manager".
fn variables(service: &Spawn<'_>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut add = |name: &str, value: String| variables.push((name.to_string(), value));
    let settings = &service.unit.service;
    let state = &service.state;
    let notify = settings
        .kind
        .kind(!settings.exec.start.is_empty())
        .notifies();
    if settings.notify.access(notify) != NotifyAccess::None {
        add("NOTIFY_SOCKET", spec_layout::path::NOTIFY_SOCKET.into());
    }
    if settings.notify.store_max > 0 {
        add("FDSTORE", settings.notify.store_max.to_string());
    }
    if settings.notify.watchdog_us > 0 && starts(service) {
        add("WATCHDOG_USEC", settings.notify.watchdog_us.to_string());
    }
    if let Some(invocation) = &state.invocation {
        add("INVOCATION_ID", invocation.clone());
    }
    if let Some(pid) = state.main {
        add("MAINPID", pid.to_string());
    }
    if matches!(state.phase, Phase::Stop | Phase::StopPost) {
        add("SERVICE_RESULT", state.result.word().into());
        if let Some(exit) = state.main_exit {
            let (code, status) = exit.parts();
            let status = match exit {
                ExitStatus::Exited(code) => code.to_string(),
                _ => signal_name(status).trim_start_matches("SIG").into(),
            };
            add("EXIT_CODE", code.into());
            add("EXIT_STATUS", status);
        }
    }
    variables
}

/// PID 1 holds descriptors for each service: raises its number of open files to the most that the kernel gives. Units
/// get limits of their own ([`spawn::steps`]).
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    let raise = |most| {
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        setrlimit(Resource::Nofile, limit)
    };
    // Where no file can be opened, that does not tell either.
    let most = most_open_files().unwrap_or(NR_OPEN);
    if let Err(cause) = raise(Some(most)).or_else(|_| raise(hard)) {
        crate::warning!("number of open files: {cause}");
    }
}

/// What fs.nr_open is unless somebody has changed it (Documentation/admin-guide/sysctl/fs.rst).
const NR_OPEN: u64 = 1 << 20;

/// The most open files that the kernel gives a process.
fn most_open_files() -> Option<u64> {
    let most = fs::read_to_string("/proc/sys/fs/nr_open").ok()?;
    most.trim().parse().ok()
}

/// Most open files that somebody may have who asks for so many: at least as many as PID 1 itself was given.
fn most_given(asked: u64) -> Option<u64> {
    use rustix::process::{Resource, getrlimit};
    let own = getrlimit(Resource::Nofile).maximum;
    own.filter(|own| asked > *own)
        .and_then(|_| most_open_files())
}

/// That a plan gets fewer open files than it asks for ([`crate::sys::child`]). Whoever asks for infinity asks for the
/// most there is.
fn lowered(plan: &ExecPlan, most: impl FnOnce(u64) -> Option<u64>) -> Option<String> {
    let limits = plan.rlimits.iter();
    let mut limits = limits.filter(|limit| limit.resource == plan::Resource::Nofile);
    let limit = limits.next()?;
    let asked = [limit.soft, limit.hard];
    let asked = asked.into_iter().filter(|asked| *asked != u64::MAX).max()?;
    let most = most(asked)?;
    let message =
        || format!("LimitNOFILE={asked} is lowered to {most}, as much as fs.nr_open gives");
    (asked > most).then(message)
}

/// Microseconds of CLOCK_MONOTONIC, which goes on over a re-execution.
pub(super) fn now_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

/// 128 random bits, for INVOCATION_ID and for names that nobody else has.
fn random_id() -> String {
    let mut bytes = [0; 16];
    // Not blocking: early in boot the kernel may have too little entropy for a random id.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Host for NodeHost {
    fn now_us(&self) -> u64 {
        now_us()
    }

    fn spawn(&mut self, service: &mut Spawn<'_>) -> Result<i32, Refusal> {
        service.state.invocation.get_or_insert_with(random_id);
        let mut accounts = self.accounts.now();
        self.users.lend(service.id, service.unit, &mut accounts)?;
        if let Some(unknown) = identity::unknown(service.unit, &accounts) {
            return Err(Refusal {
                message: unknown.message,
                status: Some(unknown.status),
            });
        }
        let mut plan = self.plan(service, accounts)?;
        // A group that has groups below it may hold no process itself.
        let control = service.role == Role::Control && service.state.phase != Phase::Start;
        if control && plan.cgroup.delegate {
            plan.cgroup.subgroup = Some(".control".into());
        }
        let mut fds = self.handed.remove(&service.id).unwrap_or_default();
        if starts(service) {
            self.hand_stored(service.id, &mut plan, &mut fds)?;
            let there =
                |file: &plan::OpenedFile| !file.missing_ok || Path::new(&file.path).exists();
            plan.fds.opened.retain(there);
        }
        let owner = plan.owner();
        let group = self
            .cgroups
            .create(&plan.cgroup, owner)
            .map_err(|cause| format!("control group: {cause}"))?;
        service.state.cgroup = Some(plan.cgroup.path.clone());
        self.hold(&plan.cgroup)?;
        let user = owner.map(|(uid, _)| uid);
        if let Some(uid) = user.filter(|uid| *uid != 0) {
            self.ipc_owners
                .insert(service.id, (uid, service.unit.removes_ipc()));
        }
        service.state.startup = plan.cgroup.startup.clone();
        let removed = plan.directories.iter().filter(|folder| folder.remove);
        for Directory { path, .. } in removed {
            if !service.state.folders.contains(path) {
                service.state.folders.push(path.clone());
            }
        }
        let name = &service.unit.name;
        if let Some(message) = lowered(&plan, most_given) {
            self.say(Level::Warning, name, &message);
        }
        let idle = match (service.role, service.command) {
            (Role::Main, Some(_)) if is_idle(service.unit) => Some(self.idle()?),
            _ => None,
        };
        let shared = self.namespaces.entry(service.id).or_default();
        let group = Some(group.as_fd());
        // What the last run has left is removed before there is anything of this one.
        let removers = user.into_iter().flat_map(|uid| self.removers.of(uid));
        let waits: Vec<_> = idle
            .iter()
            .map(|idle| idle.as_fd())
            .chain(removers)
            .collect();
        let spawned = spawn::spawn_after(&plan, name, group, &fds, shared, &waits);
        self.closing.close(fds);
        let spawned = spawned.map_err(|cause| format!("process: {cause}"))?;
        Ok(self.take(spawned, service))
    }

    fn signal(&mut self, pid: i32, signal: i32) {
        // Every number that a unit file can name is one that the kernel takes.
        let named = Signal::from_named_raw(signal);
        let sent = match (self.pidfds.get(&pid), named) {
            (Some(fd), Some(signal)) => rustix::process::pidfd_send_signal(fd, signal).is_ok(),
            _ => crate::sys::signal::send(pid, signal),
        };
        if !sent {
            crate::debug!("process {pid} is gone before signal {signal}");
        }
    }

    fn signal_group(&mut self, group: &str, signal: i32) -> usize {
        if signal == libc::SIGKILL {
            // Asked before: what is killed may be gone at once. Killed in any case, whatever the answer.
            let populated = self.cgroups.populated(group);
            if let Err(cause) = self.cgroups.kill(group) {
                crate::error!("{group}: cgroup.kill: {cause}");
            }
            return usize::from(populated);
        }
        let mut processes = self.cgroups.processes(group);
        if self.cgroups.unknown.get() {
            // Somebody may have taken PID 1's descriptors. Who is not found now would not hear of the stop at all.
            raise_open_files();
            processes = self.cgroups.processes(group);
        }
        processes
            .iter()
            .filter(|pid| crate::sys::signal::send(**pid, signal))
            .count()
    }

    fn thaw(&mut self, group: &str) {
        self.cgroups.thaw(group);
    }

    fn populated(&self, group: &str) -> bool {
        self.cgroups.populated(group)
    }

    fn adopt_named(&mut self, id: UnitId, group: &str, pid_file: &str) -> Result<i32, String> {
        let pid = pid_file::read(pid_file)?;
        // First the process itself, and then what it is: its number may be used anew in between.
        let number = Pid::from_raw(pid).ok_or("it holds no process number")?;
        let told = |cause: rustix::io::Errno| format!("process {pid}: {cause}");
        let pidfd = rustix::process::pidfd_open(number, PidfdFlags::empty()).map_err(told)?;
        let own = self.cgroups.of_process(pid).is_some_and(|of| {
            of.strip_prefix(group)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if !own {
            return Err(format!("process {pid} is not one of the service"));
        }
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        if rustix::event::poll(&mut ended, Some(&Timespec::default())).map_err(told)? > 0 {
            return Err(format!("process {pid} has ended"));
        }
        let known = self.reaper.owner(pid).is_some_and(|(owner, _)| owner == id);
        if !known {
            self.adopt_as(pid, pidfd, id)
                .map_err(|cause| cause.to_string())?;
        }
        Ok(pid)
    }

    fn adopt_only(&mut self, id: UnitId, group: &str) -> Option<i32> {
        let [pid] = self.cgroups.processes(group)[..] else {
            return None;
        };
        if !reap::is_child(pid) {
            return None;
        }
        self.adopt(pid, id).ok()?;
        Some(pid)
    }

    fn remove_pid_file(&mut self, pid_file: &str) {
        if let Err(cause) = pid_file::remove(pid_file) {
            crate::warning!("{pid_file}: {cause}");
        }
    }

    fn killed_for_memory(&self, group: &str) -> u64 {
        self.cgroups.killed_for_memory(group)
    }

    fn clean(&mut self, id: UnitId, state: &mut UnitState) {
        self.touched.insert(id);
        if let Some(group) = &state.cgroup {
            self.cgroups.remove(group);
            if !self.cgroups.exists(group) {
                self.held.remove(group);
                state.cgroup = None;
            }
        }
        if state.cgroup.is_none() {
            self.namespaces.remove(&id);
            let user = self.users.take_back(id);
            self.remove_ipc(id, user);
        }
        let folders = std::mem::take(&mut state.folders).into_iter();
        let (private, folders): (Vec<String>, Vec<String>) =
            folders.partition(|folder| protect::is_private_tmp(folder));
        if !private.is_empty() {
            match runtime_folder::remove_for_good(&private) {
                Ok(child) => drop(self.emptiers.insert(child.pid, private.join(", "))),
                Err(cause) => {
                    crate::warning!("{}: {cause}", private.join(", "));
                    // For the next stop.
                    state.folders = private;
                }
            }
        }
        for folder in folders {
            // A count besides: early in boot the random part may be all zeros.
            self.removals += 1;
            let id = format!("{}-{}", self.removals, random_id());
            match runtime_folder::remove(Path::new(&folder), &id) {
                Ok(Some(child)) => drop(self.emptiers.insert(child.pid, folder)),
                Ok(None) => {}
                Err(cause) => crate::warning!("{folder}: {cause}"),
            }
        }
    }

    fn arm(&mut self, id: UnitId, timer: Timer, at_us: Option<u64>) {
        self.timers.set((id, timer), at_us);
    }

    fn say(&mut self, level: Level, unit: &str, message: &str) {
        crate::log::say(level, format_args!("{unit}: {message}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_was_killed_before_it_had_emptied_a_folder_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut host = NodeHost::open(folder.path()).unwrap();
        let mut ended = |status| {
            host.emptiers.insert(7, "/run/etcd".into());
            host.emptier_ended(7, status)
        };
        assert_eq!(ended(ExitStatus::Exited(1)), None, "it has said why");
        let said = ended(ExitStatus::Signaled(9)).unwrap();
        assert!(said.starts_with("/run/etcd: ") && said.ends_with("SIGKILL"));
        assert_eq!(host.emptier_ended(7, ExitStatus::Signaled(9)), None);
    }

    #[test]
    fn a_limit_that_the_kernel_does_not_give_is_said() {
        let said = |soft, hard| {
            let limit = plan::Rlimit {
                resource: plan::Resource::Nofile,
                soft,
                hard,
            };
            let plan = ExecPlan {
                rlimits: vec![limit],
                ..ExecPlan::default()
            };
            lowered(&plan, |_| Some(100)).is_some()
        };
        assert!(said(50, 101) && said(101, u64::MAX));
        assert!(!said(100, 100) && !said(u64::MAX, u64::MAX));
        assert_eq!(lowered(&ExecPlan::default(), |_| Some(1)), None);
        assert!(most_open_files().is_some());
    }

    #[test]
    fn a_child_whose_report_cannot_be_heard_is_ended_and_that_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let mut host = NodeHost::open(folder.path()).unwrap();
        let mut plan = ExecPlan::default();
        (plan.program, plan.argv) = ("/bin/sleep".into(), vec!["sleep".into(), "1000".into()]);
        plan.stdio.output = spec_unit::plan::Output::Null;
        plan.stdio.error = spec_unit::plan::Output::Null;
        let mut spawned =
            spawn::spawn(&plan, "a.service", None, &[], &UnitNamespaces::default()).unwrap();
        // epoll takes no regular files.
        spawned.report.socket = tempfile::tempfile().unwrap().into();
        let pid = Pid::from_raw(spawned.pid).unwrap();
        let unit = Unit::new("a.service", spec_unit::name::UnitType::Service);
        let service = Spawn {
            id: 3,
            unit: &unit,
            state: &mut UnitState::default(),
            command: None,
            role: Role::Main,
        };
        assert_eq!(host.take(spawned, &service), pid.as_raw_nonzero().get());
        let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        let (_, status) = status.unwrap().unwrap();
        assert_eq!(status.terminating_signal(), Some(libc::SIGKILL));
        let owner = host.reaper.owner(pid.as_raw_nonzero().get());
        assert_eq!(owner, Some((3, Role::Main)), "its end is the unit's");
    }
}
