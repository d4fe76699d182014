//! Time servers. Also JSON, for the time service, which needs nothing else of the machine config.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::value::{InvalidValue, quoted, string_form};

/// Most servers: four outvote a liar, more only cost.
const MAX_SERVERS: usize = 8;

/// How the clock is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// NTP servers, addresses or names; one that lies is outvoted where there are three or more. Without any, the clock
    /// is the machine's own.
    #[serde(default)]
    pub servers: Vec<TimeServer>,
}

/// An address or a domain name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeServer(String);

string_form!(TimeServer, "^[0-9a-zA-Z.:-]{1,253}$");

impl TimeServer {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TimeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TimeServer {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let label = |label: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(plain)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let name = text.len() <= 253 && text.split('.').all(label);
        if name || text.parse::<IpAddr>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidValue(format!(
            "{} is neither an address nor a domain name",
            quoted(text)
        )))
    }
}

/// What only holds, or fails, between the values.
pub(crate) fn check(check: &mut Check<'_>, time: &Time) {
    let servers = &time.servers;
    if servers.len() > MAX_SERVERS {
        let message = format!("{} time servers; at most {MAX_SERVERS}", servers.len());
        check.refuse("time.servers", message);
        return;
    }
    let path = |index| format!("time.servers[{index}]");
    let servers: Vec<_> = servers
        .iter()
        .enumerate()
        .map(|(index, server)| (path(index), server))
        .collect();
    check.unique(&servers, "time server");
}
