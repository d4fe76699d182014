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
    none(
        "Service",
        "NonBlocking",
        "About sockets handed over; none is, as there are no socket units.",
    ),
    later(
        "Service",
        "USBFunctionDescriptors",
        "USB gadget functions for the service.",
    ),
    later(
        "Service",
        "USBFunctionStrings",
        "USB gadget functions for the service.",
    ),
    later(
        "Service",
        "CoredumpReceive",
        "Core dumps of what runs in its containers.",
    ),
    later("Service", "MemoryKSM", "Equal pages of it are merged."),
    later(
        "Service",
        "NFTSet",
        "Its control group is put in sets of nftables.",
    ),
    later(
        "Service",
        "RuntimeRandomizedExtraSec",
        "A random time added to RuntimeMaxSec=.",
    ),
    later("Service", "LogFilterPatterns", "Lines that are kept."),
    none("Service", "BusPolicy", "Ignored by systemd too."),
    none("Service", "Capabilities", "Ignored by systemd too."),
    none("Service", "NetClass", "Ignored by systemd too."),
    none("Service", "SysVStartPriority", "Ignored by systemd too."),
    none("Unit", "IgnoreOnSnapshot", "Ignored by systemd too."),
    later("Unit", "OnFailureIsolate", "Nothing is isolated on a node."),
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
    none("Service", "IPAccounting", "Not counted."),
];
