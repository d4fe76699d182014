//! [`Unit`]: a unit as its directives left it.
//!
//! Each family of settings is defined beside its rows in [`crate::directive`]; this is where they come together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::directive::{
    action::Actions,
    address::AddressSettings,
    capability::CapabilitySettings,
    condition::Condition,
    credential::CredentialSettings,
    dependency::Dependencies,
    description::Description,
    device::DeviceSettings,
    directory::Directories,
    environment::EnvironmentSettings,
    exec::Exec,
    exit_status::ExitStatuses,
    identity::Identity,
    image::ImageSettings,
    install::Install,
    keyring::KeyringMode,
    kill::Kill,
    limit::Limits,
    mount::MountSettings,
    mount_point::MountPoint,
    namespace::NamespaceSettings,
    notify::Notify,
    process::Process,
    protect::Protection,
    resource::{ROOT_SLICE, Resources, SYSTEM_SLICE},
    restart::Restarts,
    root::RootSettings,
    scheduling::SchedulingSettings,
    seccomp::SeccompSettings,
    service::ServiceKind,
    socket::SocketSettings,
    start_limit::StartLimit,
    stdio::StdioSettings,
    timeout::Timeouts,
    working_directory::WorkingDirectorySettings,
};
use crate::finding::{Finding, Place};
use crate::name::UnitType;
use crate::plan::fd::OpenedFile;

/// Whether a unit could be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadState {
    /// Its file was read and makes sense.
    #[default]
    Loaded,
    /// There is no such file.
    NotFound,
    /// Its file has an error, or asks for an isolation that is not implemented.
    BadSetting,
    /// Its file could not be read, or its type is not run by PID 1.
    Error,
    /// It is linked to /dev/null, or empty: it must not be started.
    Masked,
}

impl LoadState {
    /// systemd's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::NotFound => "not-found",
            Self::BadSetting => "bad-setting",
            Self::Error => "error",
            Self::Masked => "masked",
        }
    }
}

/// A unit as its directives left it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Its own name; aliases are other names for it.
    pub name: String,
    /// Its type.
    pub kind: UnitType,
    /// Other names it is known by.
    pub aliases: Vec<String>,
    /// Whether it could be read.
    pub load: LoadState,
    /// Why it is not `loaded`, for people.
    pub reason: Option<String>,
    /// Assignments that refuse it, by directive.
    pub refusals: BTreeMap<String, Finding>,
    /// Its file.
    pub fragment: Option<String>,
    /// Its drop-ins, in the order they apply.
    pub drop_ins: Vec<String>,
    /// Description= and Documentation=.
    pub description: Description,
    /// All that names other units.
    pub dependencies: Dependencies,
    /// Condition*= and Assert*=.
    pub conditions: Vec<Condition>,
    /// StartLimit*=.
    pub start_limit: StartLimit,
    /// What becomes of the node when it ends.
    pub actions: Actions,
    /// The \[Install\] section.
    pub install: Install,
    /// The \[Service\] section; defaults for a target. Some kilobytes, which stay where they are as lists of units grow.
    pub service: Box<Service>,
    /// The \[Mount\] section; defaults for any other unit.
    pub mount_point: MountPoint,
}

impl Unit {
    /// A unit without settings.
    pub fn new(name: &str, kind: UnitType) -> Self {
        Self {
            name: name.into(),
            kind,
            aliases: Vec::new(),
            load: LoadState::Loaded,
            reason: None,
            refusals: BTreeMap::new(),
            fragment: None,
            drop_ins: Vec::new(),
            description: Description::default(),
            dependencies: Dependencies::default(),
            conditions: Vec::new(),
            start_limit: StartLimit::default(),
            actions: Actions::default(),
            install: Install::default(),
            service: Box::default(),
            mount_point: MountPoint::default(),
        }
    }

    /// Its description, or else its name.
    pub fn title(&self) -> &str {
        if self.description.text.is_empty() {
            &self.name
        } else {
            &self.description.text
        }
    }

    /// Whether it is always there: it cannot be stopped, and no shutdown stops it.
    pub fn is_perpetual(&self) -> bool {
        self.kind == UnitType::Slice && [ROOT_SLICE, SYSTEM_SLICE].contains(&self.name.as_str())
    }

    /// Whether IPC objects of its user go when it has stopped.
    pub fn removes_ipc(&self) -> bool {
        self.service.identity.remove_ipc || self.service.identity.dynamic
    }

    /// Why it can be neither started nor stopped, if it could not be read.
    pub fn load_error(&self) -> Option<String> {
        let reason = self.reason.as_deref().unwrap_or("is not loaded");
        let failed = self.load != LoadState::Loaded;
        failed.then(|| format!("{}: {}: {reason}", self.name, self.load.word()))
    }

    /// Its file as a whole.
    pub fn place(&self) -> Place {
        Place::new(self.fragment.as_deref().unwrap_or(&self.name), 0)
    }
}

/// The \[Service\] section.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Type= and RemainAfterExit=.
    pub kind: ServiceKind,
    /// The commands.
    pub exec: Exec,
    /// Restart= and its delays.
    pub restart: Restarts,
    /// Timeout*Sec= and RuntimeMaxSec=.
    pub timeout: Timeouts,
    /// NotifyAccess= and WatchdogSec=.
    pub notify: Notify,
    /// Which exit statuses mean what.
    pub exit_status: ExitStatuses,
    /// OpenFile=.
    pub open_files: Vec<OpenedFile>,
    /// How it is stopped.
    pub kill: Kill,
    /// Who it runs as.
    pub identity: Identity,
    /// Its variables.
    pub environment: EnvironmentSettings,
    /// Where it runs.
    pub working_directory: WorkingDirectorySettings,
    /// Limit*=.
    pub limits: Limits,
    /// Its cgroup.
    pub resources: Resources,
    /// Its capabilities.
    pub capabilities: CapabilitySettings,
    /// Its filters of system calls.
    pub seccomp: SeccompSettings,
    /// Folders made for it.
    pub directories: Directories,
    /// Its standard streams.
    pub stdio: StdioSettings,
    /// UMask=, Nice= and their like.
    pub process: Process,
    /// What it sees of the file system.
    pub mounts: MountSettings,
    /// Ready-made walls.
    pub protection: Protection,
    /// Its root folder.
    pub root: RootSettings,
    /// Its disk images.
    pub images: ImageSettings,
    /// Its namespaces.
    pub namespaces: NamespaceSettings,
    /// Its secrets.
    pub credentials: CredentialSettings,
    /// Which devices it may use.
    pub devices: DeviceSettings,
    /// Which addresses it may talk to.
    pub addresses: AddressSettings,
    /// Which ports and links it may use.
    pub sockets: SocketSettings,
    /// How it shares processors, memory and disks.
    pub scheduling: SchedulingSettings,
    /// Its session keyring.
    pub keyring: KeyringMode,
}
