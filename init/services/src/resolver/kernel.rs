//! The node as the kernel knows it.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::zone::Node;

/// Asks the kernel each time: the hostname and the addresses may change.
#[derive(Debug)]
pub(crate) struct Kernel;

impl Node for Kernel {
    fn hostname(&self) -> Option<String> {
        let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
        (!matches!(name.as_str(), "" | "(none)")).then_some(name)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let interfaces = match getifaddrs() {
            Ok(interfaces) => interfaces,
            Err(error) => {
                log::warn!("the kernel's addresses cannot be read: {error}");
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for interface in interfaces {
            let up = interface.flags.contains(InterfaceFlags::IFF_UP);
            let loopback = interface.flags.contains(InterfaceFlags::IFF_LOOPBACK);
            let address = interface.address.as_ref().and_then(|address| {
                let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
            });
            if let Some(address) = address
                && up
                && !loopback
                && !is_link_local(address)
                && !found.contains(&address)
            {
                found.push(address);
            }
        }
        found
    }
}

/// Of use on one link only, which an answer cannot say.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_this_machine_and_no_loopback() {
        let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(Kernel.hostname().unwrap_or_default(), text.trim());
        let addresses = Kernel.addresses();
        assert!(addresses.iter().all(|address| !address.is_loopback()));
    }
}
