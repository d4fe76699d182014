//! Directives that confine a service and are not implemented yet.
//!
//! A unit that asks for one is refused, unless the recipe allows the unit by name: running it without its walls would
//! be a lie. A value that switches the wall off is fine.

use super::{Directive, Support};
use crate::value;

const fn row(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Service",
        name,
        value: "see systemd.exec(5)",
        documentation,
        support: Support::Refuse,
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row("RootHashSignature", "The signature of that hash."),
    row("RootImagePolicy", "Which partitions of it are used."),
    row(
        "RootEphemeral",
        "A copy of the root that goes with the service.",
    ),
    row("MountImagePolicy", "Which partitions of them are used."),
    row("ExtensionImages", "Disk images laid over its root."),
    row("ExtensionImagePolicy", "Which partitions of them are used."),
    row("ExtensionDirectories", "Folders laid over its root."),
    row(
        "IPIngressFilterPath",
        "A BPF program that filters what it gets.",
    ),
    row(
        "IPEgressFilterPath",
        "A BPF program that filters what it sends.",
    ),
    row("BPFProgram", "A BPF program at its control group."),
    row(
        "RestrictFileSystems",
        "Only these file systems. The kernel takes a program that decides this only under the GPL, and ours is not.",
    ),
    row(
        "AppArmorProfile",
        "An AppArmor profile. A node loads none; with -, which it may do without, it does.",
    ),
    row(
        "SELinuxContext",
        "A SELinux context. A node loads no policy; with -, which it may do without, it does.",
    ),
    row(
        "SmackProcessLabel",
        "A SMACK label. A node loads no policy; with -, which it may do without, it does.",
    ),
];

/// Whether a value asks for no isolation at all.
pub fn is_off(name: &str, text: &str) -> bool {
    match name {
        _ if text.is_empty() => true,
        // Only what would be missing without it matters: the profile may not be there.
        "AppArmorProfile" | "SELinuxContext" | "SmackProcessLabel" => text.starts_with('-'),
        _ => value::boolean(text) == Ok(false),
    }
}
