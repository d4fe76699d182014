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
    row("RootImage", "A disk image as root."),
    row("RootHash", "The verity hash of the root image."),
    row("RestrictFileSystems", "Only these file systems."),
    row("RestrictNetworkInterfaces", "Only these links."),
    row("SocketBindAllow", "Only these ports to bind."),
    row("SocketBindDeny", "Not these ports to bind."),
    row("AppArmorProfile", "An AppArmor profile."),
    row("SELinuxContext", "A SELinux context."),
    row("SmackProcessLabel", "A SMACK label."),
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
