//! Directives that are known and change nothing on a node, or not yet. None of them confines.

use super::{Directive, Support};

const fn none(section: &'static str, name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section,
        name,
        value: "see systemd",
        documentation,
        support: Support::NoEffect,
    }
}

const fn later(
    section: &'static str,
    name: &'static str,
    documentation: &'static str,
) -> Directive {
    Directive {
        section,
        name,
        value: "see systemd",
        documentation,
        support: Support::Later,
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    none(
        "Unit",
        "RequiresMountsFor",
        "File systems are mounted before the first unit starts.",
    ),
    none(
        "Unit",
        "WantsMountsFor",
        "File systems are mounted before the first unit starts.",
    ),
    none("Unit", "AllowIsolate", "Nothing is isolated on a node."),
    none("Unit", "IgnoreOnIsolate", "Nothing is isolated on a node."),
    none(
        "Unit",
        "SurviveFinalKillSignal",
        "Nothing survives the shutdown.",
    ),
    none(
        "Unit",
        "OnFailureJobMode",
        "OnFailure= replaces what is in its way.",
    ),
    none(
        "Unit",
        "CollectMode",
        "Failed units are kept, ended transient ones until collected.",
    ),
    later(
        "Unit",
        "JoinsNamespaceOf",
        "Share PrivateTmp= and PrivateNetwork= with other units.",
    ),
    later(
        "Unit",
        "FailureAction",
        "What else to do when the unit has failed.",
    ),
    later(
        "Unit",
        "SuccessAction",
        "What else to do when the unit has ended well.",
    ),
    later(
        "Unit",
        "JobTimeoutAction",
        "What to do when a start waits too long.",
    ),
    later(
        "Unit",
        "ReloadPropagatedFrom",
        "Units whose reload reloads this one.",
    ),
    later(
        "Unit",
        "PropagatesStopTo",
        "Units stopped together with this one.",
    ),
    later("Service", "Personality", "The architecture uname(2) tells."),
    none(
        "Service",
        "UtmpIdentifier",
        "Nobody logs in to a node, so it keeps no utmp records.",
    ),
    none(
        "Service",
        "UtmpMode",
        "Nobody logs in to a node, so it keeps no utmp records.",
    ),
    later(
        "Service",
        "PAMName",
        "PAM session. There is no PAM in PID 1.",
    ),
    later("Service", "Sockets", "Sockets handed to the service."),
    later(
        "Service",
        "NonBlocking",
        "Sockets handed over are non-blocking.",
    ),
    later(
        "Service",
        "FileDescriptorStorePreserve",
        "When stored descriptors outlive the service.",
    ),
    later("Service", "OpenFile", "Files opened for the service."),
    later(
        "Service",
        "RootDirectoryStartOnly",
        "RootDirectory= for ExecStart= only.",
    ),
    later("Service", "TimeoutCleanSec", "Longest time for cleaning."),
    later("Service", "LoadCredential", "Credentials for the service."),
    later(
        "Service",
        "LoadCredentialEncrypted",
        "Credentials for the service.",
    ),
    later("Service", "SetCredential", "Credentials for the service."),
    later(
        "Service",
        "SetCredentialEncrypted",
        "Credentials for the service.",
    ),
    later(
        "Service",
        "ImportCredential",
        "Credentials for the service.",
    ),
    later(
        "Service",
        "LogLevelMax",
        "Lines above this level are dropped.",
    ),
    later(
        "Service",
        "LogRateLimitIntervalSec",
        "Rate limit of its lines.",
    ),
    later("Service", "LogRateLimitBurst", "Rate limit of its lines."),
    later("Service", "LogExtraFields", "Fields of its lines."),
    later("Service", "LogNamespace", "A journal of its own."),
    later("Service", "StartupCPUWeight", "CPUWeight= while booting."),
    later("Service", "StartupIOWeight", "IOWeight= while booting."),
    later("Service", "DefaultMemoryLow", "MemoryLow= of its children."),
    later("Service", "DefaultMemoryMin", "MemoryMin= of its children."),
    later("Service", "IODeviceWeight", "Share of one disk."),
    later(
        "Service",
        "IOReadBandwidthMax",
        "Bytes a second read from a disk.",
    ),
    later(
        "Service",
        "IOWriteBandwidthMax",
        "Bytes a second written to a disk.",
    ),
    later("Service", "IOReadIOPSMax", "Reads a second of a disk."),
    later("Service", "IOWriteIOPSMax", "Writes a second to a disk."),
    later(
        "Service",
        "IODeviceLatencyTargetSec",
        "Latency target of a disk.",
    ),
    later("Service", "ManagedOOMSwap", "systemd-oomd."),
    later("Service", "ManagedOOMMemoryPressure", "systemd-oomd."),
    later("Service", "ManagedOOMMemoryPressureLimit", "systemd-oomd."),
    later("Service", "ManagedOOMPreference", "systemd-oomd."),
    later(
        "Service",
        "DisableControllers",
        "Controllers not used below it.",
    ),
    later("Service", "CPUShares", "The old name of CPUWeight=."),
    later("Service", "MemoryLimit", "The old name of MemoryMax=."),
    later("Service", "BlockIOWeight", "The old name of IOWeight=."),
    none(
        "Service",
        "BlockIOAccounting",
        "Accounting is always on where the controller is.",
    ),
    none("Service", "IPAccounting", "Not counted."),
];
