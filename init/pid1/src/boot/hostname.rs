//! The hostname: first the image's, then that of the machine config.
//!
//! Source: hostname(5), RFC 1123.

use spec_config::BootFacts;
use spec_layout::path::BOOT_FACTS;

use crate::error::{Error, Result, What};

/// What a node without any name is called.
const FALLBACK: &str = "bedplate";
const FILE: &str = "/etc/hostname";

/// Sets the name in /etc/hostname.
pub(super) fn from_etc() -> Result<()> {
    let text = std::fs::read_to_string(FILE).unwrap_or_default();
    let name = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'));
    set(name.filter(|name| is_hostname(name)).unwrap_or(FALLBACK))
}

/// Sets the name that the machine config gave, and keeps it where programs look for it.
pub(super) fn from_config() -> Result<()> {
    let Ok(text) = std::fs::read_to_string(BOOT_FACTS) else {
        return Ok(());
    };
    let facts: BootFacts =
        serde_json::from_str(&text).map_err(Error::at(What::Hostname, BOOT_FACTS))?;
    let Some(name) = facts.hostname else {
        return Ok(());
    };
    if !is_hostname(&name) {
        return Err(Error::new(
            What::Hostname,
            format!("{BOOT_FACTS}: \"{name}\" is not a hostname"),
        ));
    }
    set(&name)?;
    std::fs::write(FILE, format!("{name}\n")).map_err(Error::at(What::Hostname, FILE))
}

fn set(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes()).map_err(Error::at(What::Hostname, name))
}

fn is_hostname(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 64 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostname_is_what_the_kernel_and_dns_take() {
        assert!(is_hostname("dev-1") && is_hostname("a.example"));
        for wrong in ["", "-a", "a-", "a..b", "a b", "ü", &"a".repeat(65)] {
            assert!(!is_hostname(wrong), "{wrong}");
        }
    }
}
