//! The facts of this node as its files and the kernel tell them. Each is read when it is asked for; one that
//! cannot be read is empty, never invented.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use spec_api::NodeStatus;
use spec_config::BootFacts;
use spec_layout::boot_report::BootReport;
use spec_layout::path;

/// Most bytes of a small file.
const MAX_FILE: u64 = 1 << 20;

/// A small file whole, or empty.
pub(super) fn small_file(path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // What was read before an error is as good as nothing: the parsers refuse it.
        let _ = file.take(MAX_FILE).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Microseconds since the epoch.
pub(super) fn realtime_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// CLOCK_BOOTTIME.
pub(super) fn boottime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What became of the machine config.
pub(super) fn boot_facts() -> BootFacts {
    let text = small_file(path::BOOT_FACTS);
    serde_json::from_str(&text).unwrap_or_else(|_| BootFacts {
        message: Some(format!("{} cannot be read", path::BOOT_FACTS)),
        ..BootFacts::default()
    })
}

/// What PID 1 saw on the way up.
pub(super) fn boot_report() -> BootReport {
    BootReport::parse(&small_file(path::BOOT_REPORT)).unwrap_or_else(|problem| BootReport {
        degraded: vec![format!("{}: {problem}", path::BOOT_REPORT)],
        ..BootReport::default()
    })
}

/// The value of a key in os-release(5).
fn os_release(text: &str, key: &str) -> String {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .map(|value| value.trim_matches(['"', '\'']).to_owned())
        .unwrap_or_default()
}

/// Everything of the status that needs no other program.
pub(super) fn status() -> NodeStatus {
    let (facts, report) = (boot_facts(), boot_report());
    let release = small_file("/usr/lib/os-release");
    NodeStatus {
        name: small_file("/proc/sys/kernel/hostname").trim().to_owned(),
        node_id: small_file(path::NODE_ID).trim().to_owned(),
        image: os_release(&release, "IMAGE_ID"),
        version: os_release(&release, "IMAGE_VERSION"),
        kernel: small_file("/proc/sys/kernel/osrelease").trim().to_owned(),
        roles: facts.roles,
        ready: false,
        waiting: Vec::new(),
        root_verified: report.root_verified,
        root_hash: report.root_hash,
        ephemeral: report.state_device.is_empty(),
        config: facts.config.to_string(),
        config_message: facts.message,
        previous_boot: report.previous_boot.to_string(),
        degraded: report.degraded,
        uptime_seconds: uptime_seconds(),
        addresses: addresses(),
    }
}

/// Seconds since the kernel started.
pub(super) fn uptime_seconds() -> f64 {
    let text = small_file("/proc/uptime");
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0)
}

/// Addresses of all links but the loopback, `ADDRESS/PREFIX`, without link-local ones.
fn addresses() -> Vec<String> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| {
            let ip = ip_of(interface.address.as_ref()?)?;
            let mask = interface.netmask.as_ref().and_then(ip_of);
            let ones = match mask {
                Some(IpAddr::V4(mask)) => u32::from(mask).count_ones(),
                Some(IpAddr::V6(mask)) => u128::from(mask).count_ones(),
                None => return None,
            };
            let local = match ip {
                IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
                IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
            };
            (!local).then(|| format!("{ip}/{ones}"))
        })
        .collect()
}

fn ip_of(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    if let Some(address) = address.as_sockaddr_in() {
        return Some(IpAddr::V4(address.ip()));
    }
    address
        .as_sockaddr_in6()
        .map(|address| IpAddr::V6(address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_values_lose_their_quotes() {
        let text = "ID=bedplate\nIMAGE_ID=\"node-cloud\"\nIMAGE_VERSION='7'\n";
        assert_eq!(os_release(text, "IMAGE_ID"), "node-cloud");
        assert_eq!(os_release(text, "IMAGE_VERSION"), "7");
        assert_eq!(os_release(text, "IMAGE"), "");
    }

    #[test]
    fn what_cannot_be_read_is_empty() {
        assert_eq!(small_file("/nonexistent"), "");
        assert!(uptime_seconds() > 0.0);
    }

    #[test]
    fn addresses_leave_the_loopback_out() {
        assert!(
            addresses()
                .iter()
                .all(|address| !address.starts_with("127."))
        );
    }
}
