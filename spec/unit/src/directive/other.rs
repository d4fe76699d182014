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
        "CollectMode",
        "Failed units are kept, ended transient ones until collected.",
    ),
    later(
        "Unit",
        "JoinsNamespaceOf",
        "Share PrivateTmp= and PrivateNetwork= with other units.",
    ),
    later("Service", "CPUSchedulingPolicy", "Scheduling policy."),
    later("Service", "CPUSchedulingPriority", "Scheduling priority."),
    later(
        "Service",
        "CPUSchedulingResetOnFork",
        "Children get the normal policy.",
    ),
    later(
        "Service",
        "CPUAffinity",
        "Processors it may run on; use AllowedCPUs=.",
    ),
    later("Service", "NUMAPolicy", "Memory policy."),
    later("Service", "NUMAMask", "Memory nodes of the policy."),
    later("Service", "IOSchedulingClass", "Disk scheduling class."),
    later(
        "Service",
        "IOSchedulingPriority",
        "Disk scheduling priority.",
    ),
    later("Service", "TimerSlackNSec", "Timer slack."),
    later("Service", "CoredumpFilter", "What a core file holds."),
    later(
        "Service",
        "PAMName",
        "PAM session. There is no PAM in PID 1.",
    ),
    later("Service", "UtmpIdentifier", "utmp records."),
    later("Service", "UtmpMode", "utmp records."),
    later(
        "Service",
        "ExecSearchPath",
        "Where programs are looked for.",
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
    later("Service", "TimeoutCleanSec", "Longest time for cleaning."),
    later(
        "Service",
        "LoadCredentialEncrypted",
        "Credentials for the service.",
    ),
    later(
        "Service",
        "SetCredentialEncrypted",
        "Credentials for the service.",
    ),
    later("Service", "StandardInputText", "Text for standard input."),
    later("Service", "StandardInputData", "Data for standard input."),
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
    later("Service", "TTYColumns", "Size of the terminal."),
    later("Service", "TTYRows", "Size of the terminal."),
    later("Service", "TTYVTDisallocate", "Free the virtual terminal."),
    none("Service", "IPAccounting", "Not counted."),
];
