//! The values a machine config is made of: each can only be made from text that is right.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not such a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

/// Gives a text-like type `Display`, `TryFrom<String>`, `Into<String>` and `as_str`.
macro_rules! text_value {
    ($name:ident, $pattern:expr) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        string_form!($name, $pattern);
    };
}

/// Lets serde carry a type as its text; the JSON Schema gets `pattern`, a regular expression of what most such texts
/// look like.
macro_rules! string_form {
    ($name:ident, $pattern:expr) => {
        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidValue;
            fn try_from(text: String) -> Result<Self, InvalidValue> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}

/// Quotes at most the first 64 characters of a refused text.
pub(crate) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    let more = if short.len() < text.len() { "..." } else { "" };
    format!("{short:?}{more}")
}

pub(crate) use string_form;

/// A cluster id: 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

text_value!(ClusterId, "^[0-9a-f]{32}$");

impl FromStr for ClusterId {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let digits = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 32 && digits {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidValue(format!(
            "{} is not a cluster id: write 32 lower-case hex digits",
            quoted(text)
        )))
    }
}

/// One label of a host name, lower case (RFC 1123, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(String);

text_value!(Hostname, "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$");

impl FromStr for Hostname {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let known = text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let edges = !text.starts_with('-') && !text.ends_with('-');
        let reserved = text == "localhost";
        if (1..=63).contains(&text.len()) && known && edges && !reserved {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidValue(format!(
            "{} is not a host name: 1 to 63 of a-z, 0-9 and inner hyphens, not `localhost`",
            quoted(text)
        )))
    }
}

/// A domain name of one label or more, lower case, without a dot at its end (RFC 1123, section 2.1; underscores as in
/// RFC 8552).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(String);

text_value!(DomainName, "^[a-z0-9_-]{1,63}(\\.[a-z0-9_-]{1,63})*$");

impl FromStr for DomainName {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        let label = |label: &str| {
            let edges = !label.starts_with('-') && !label.ends_with('-');
            (1..=63).contains(&label.len()) && label.bytes().all(known) && edges
        };
        if text.len() <= 253 && text.split('.').all(label) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidValue(format!(
            "{} is not a domain name: labels of 1 to 63 of a-z, 0-9, _ and inner hyphens, with dots between them",
            quoted(text)
        )))
    }
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Role {
    /// Runs etcd and the cluster's leader candidates.
    Master,
    /// Runs tasks.
    Agent,
    /// Runs tasks that are reached from outside.
    PublicAgent,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Master, Self::Agent, Self::PublicAgent];

    /// The word in the document and the name of the marker file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Agent => "agent",
            Self::PublicAgent => "public-agent",
        }
    }
}

string_form!(Role, "^(master|agent|public-agent)$");

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| {
                InvalidValue(format!(
                    "{} is not a role: one of `master`, `agent`, `public-agent`",
                    quoted(text)
                ))
            })
    }
}

/// An address with the length of its network prefix, or a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of the network, at most 32 or 128.
    pub prefix: u8,
}

string_form!(Address, "^[0-9a-fA-F.:]+/[0-9]{1,3}$");

impl Address {
    /// Whether `other` is inside this network.
    pub fn contains(&self, other: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => (32, u128::from(u32::from(ip))),
            IpAddr::V6(ip) => (128, u128::from(ip)),
        };
        let ((width, own), (other_width, other)) = (bits(self.ip), bits(other));
        let host = width - u32::from(self.prefix);
        width == other_width
            && own.checked_shr(host).unwrap_or(0) == other.checked_shr(host).unwrap_or(0)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl FromStr for Address {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let refuse = || {
            InvalidValue(format!(
                "{} is not ADDRESS/PREFIX, such as 10.0.0.1/24 (prefix at most 32) or fd00::1/64 (at most 128)",
                quoted(text)
            ))
        };
        let (ip, prefix) = text.split_once('/').ok_or_else(refuse)?;
        let ip: IpAddr = ip.parse().map_err(|_| refuse())?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = if digits {
            prefix.parse().map_err(|_| refuse())?
        } else {
            return Err(refuse());
        };
        let most = if ip.is_ipv4() { 32 } else { 128 };
        if prefix <= most {
            Ok(Self { ip, prefix })
        } else {
            Err(refuse())
        }
    }
}

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

string_form!(Mac, "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$");

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let octet = |part: &str| {
            let hex = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            if hex {
                u8::from_str_radix(part, 16).ok()
            } else {
                None
            }
        };
        let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
        octets
            .and_then(|octets| <[u8; 6]>::try_from(octets).ok())
            .map(Self)
            .ok_or_else(|| {
                InvalidValue(format!(
                    "{} is not a hardware address, such as 52:54:00:00:00:01",
                    quoted(text)
                ))
            })
    }
}

/// Name of a link to make: what the kernel, its sysctls and its command line take for a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);

text_value!(LinkName, "^[A-Za-z0-9._-]{1,15}$");

impl FromStr for LinkName {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        const TAKEN: [&str; 6] = [".", "..", "lo", "all", "default", "bonding_masters"];
        let known = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let number = text.bytes().all(|byte| byte.is_ascii_digit());
        if (1..=15).contains(&text.len()) && known && !number && !TAKEN.contains(&text) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidValue(format!(
            "{} is not a name for a link: 1 to 15 of A-Z, a-z, 0-9, `.`, `_` and `-`, not a number and not `lo`, `all` or `default`",
            quoted(text)
        )))
    }
}

/// Certificates in PEM. Only the frame is checked here; who uses them reads them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pem(String);

text_value!(Pem, "^\\s*-----BEGIN CERTIFICATE-----");

impl FromStr for Pem {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let trimmed = text.trim();
        let framed = trimmed.starts_with("-----BEGIN CERTIFICATE-----")
            && trimmed.ends_with("-----END CERTIFICATE-----");
        if framed && !trimmed.contains("PRIVATE KEY") {
            return Ok(Self(format!("{trimmed}\n")));
        }
        Err(InvalidValue(
            "not a certificate in PEM (-----BEGIN CERTIFICATE----- ...)".to_owned(),
        ))
    }
}
