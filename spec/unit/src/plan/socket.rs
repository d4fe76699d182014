//! Which ports the sockets of a control group may be bound to, and over which links its packets may go.

use serde::{Deserialize, Serialize};

/// Most rules of each list, as in systemd.
pub const MAX_BIND_RULES: usize = 128;
/// Most links of one list.
pub const MAX_LINKS: usize = 128;

/// Sockets, by what they are bound to. None says nothing of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BindRule {
    /// Of IPv4 or IPv6.
    pub family: Option<Family>,
    /// Of TCP or UDP.
    pub transport: Option<Transport>,
    /// First and last port.
    pub ports: Option<(u16, u16)>,
}

/// Address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// AF_INET.
    Ipv4,
    /// AF_INET6.
    Ipv6,
}

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Links that packets may go over, or may not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Links {
    /// All but those that are listed, else only those.
    pub deny: bool,
    /// Names. One that there is no link of has no effect.
    pub names: Vec<String>,
}

impl BindRule {
    pub(super) fn check(&self) -> Result<(), String> {
        match self.ports {
            Some((first, last)) if first == 0 || first > last => Err(format!(
                "cgroup.filters: ports {first} to {last} are none; give 1 to 65535"
            )),
            _ => Ok(()),
        }
    }
}

impl Links {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.names.len() > MAX_LINKS {
            return Err(format!("cgroup.filters.links: more than {MAX_LINKS}"));
        }
        match self.names.iter().find(|name| !is_link_name(name)) {
            Some(name) => Err(format!(
                "cgroup.filters.links: {name:?} is not a link's name"
            )),
            None => Ok(()),
        }
    }
}

/// Whether a link may have this name: at most 15 bytes that say nothing to paths, netdevice(7).
pub fn is_link_name(name: &str) -> bool {
    let fits = !name.is_empty() && name.len() < 16 && name != "." && name != "..";
    let odd = |byte: u8| byte.is_ascii_whitespace() || byte.is_ascii_control();
    fits && !name.bytes().any(|byte| odd(byte) || b"/:%".contains(&byte))
}
