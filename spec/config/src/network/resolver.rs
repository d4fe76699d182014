//! `[network.resolver]`: whom the node's own resolver asks. Also JSON, for the resolver, which needs nothing else of
//! the machine config (`spec_layout::path::RESOLVER_CONFIG`).

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use spec_layout::address::RESOLVER;
use spec_layout::port::{DNS, DNS_OVER_TLS};

use crate::Network;
use crate::check::Check;
use crate::value::{DomainName, Pem};

/// How many answers may be kept, if any are.
const MIN_ENTRIES: u32 = 256;
const MAX_ENTRIES: u32 = 65_536;
/// Longest that any answer may be kept, in seconds: a week, as RFC 8767 (section 4) has it.
const MAX_TTL: u32 = 604_800;
/// Longest that an answer may be kept beyond its own end of life, in seconds.
const MAX_MIN_TTL: u32 = 3_600;

/// Whom the node's own resolver asks. Without `upstreams` it asks `network.nameservers` and those that DHCP gives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Resolver {
    /// Resolvers to ask, the preferred one first. Where one is given, those that DHCP gives are not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<Upstream>,
    /// Domains with resolvers of their own; the longest that a name is in counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
    /// Certificates in PEM of those who sign upstreams with `tls`: a list, so that roots rotate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<Pem>,
    /// How much is kept, and how long.
    #[serde(default)]
    pub cache: Cache,
}

/// A resolver of another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its address.
    pub address: IpAddr,
    /// Its port: 53, or 853 with `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The name that its certificate must have; asks it over TLS (RFC 7858).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DomainName>,
}

/// A domain with resolvers of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// It and all names in it.
    pub name: DomainName,
    /// Resolvers to ask for them, the preferred one first; no others are.
    pub upstreams: Vec<Upstream>,
}

/// How much the resolver keeps, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Most answers: 256 or more; 0 keeps none.
    pub entries: u32,
    /// Seconds that every answer is kept, though it be said to live shorter.
    pub min_ttl: u32,
    /// Seconds after which an answer is asked for anew, though it be said to live longer.
    pub max_ttl: u32,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            entries: 4096,
            min_ttl: 0,
            max_ttl: 86_400,
        }
    }
}

impl Upstream {
    /// One that is asked over UDP and TCP at the usual port.
    pub fn plain(address: IpAddr) -> Self {
        Self {
            address,
            port: None,
            tls: None,
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> SocketAddr {
        let usual = match self.tls {
            Some(_) => DNS_OVER_TLS,
            None => DNS,
        };
        SocketAddr::new(self.address, self.port.unwrap_or(usual))
    }
}

impl Network {
    /// What the resolver works by: the config's own upstreams, else its name servers and then those of leases, each
    /// once. What no lease can rightly name is left out.
    pub fn resolver(&self, leased: impl Iterator<Item = IpAddr>) -> Resolver {
        let mut resolver = self.resolver.clone();
        if !resolver.upstreams.is_empty() {
            return resolver;
        }
        let leased = leased.filter(|address| !address.is_loopback() && refusal(*address).is_none());
        for address in self.nameservers.iter().copied().chain(leased) {
            let upstream = Upstream::plain(address);
            if !resolver.upstreams.contains(&upstream) && resolver.upstreams.len() < MAX_UPSTREAMS {
                resolver.upstreams.push(upstream);
            }
        }
        resolver
    }
}

/// Most resolvers for one domain: more would only be waited for.
pub const MAX_UPSTREAMS: usize = 8;

/// Why no question can be sent there.
fn refusal(address: IpAddr) -> Option<String> {
    let address = address.to_canonical();
    let link_local = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let broadcast = matches!(address, IpAddr::V4(ip) if ip.is_broadcast());
    if address == IpAddr::V4(RESOLVER) {
        Some(format!(
            "{address} is the node's own resolver, which would ask itself"
        ))
    } else if address.is_unspecified() || address.is_multicast() || broadcast {
        Some(format!("{address} is not the address of one machine"))
    } else if link_local {
        Some(format!(
            "{address} is link-local and says not on which link; give another address"
        ))
    } else {
        None
    }
}

/// What only holds, or fails, between the values of a resolver.
pub(super) fn check(check: &mut Check<'_>, network: &Network) {
    for (index, address) in network.nameservers.iter().enumerate() {
        if let Some(message) = refusal(*address) {
            check.refuse(format!("network.nameservers[{index}]"), message);
        }
    }
    let resolver = &network.resolver;
    let path = "network.resolver";
    let trusts = !resolver.roots.is_empty();
    if !check.bounded(&format!("{path}.roots"), &resolver.roots)
        || !check.bounded(&format!("{path}.domains"), &resolver.domains)
    {
        return;
    }
    check_upstreams(
        check,
        &format!("{path}.upstreams"),
        &resolver.upstreams,
        trusts,
    );
    let mut names = Vec::new();
    for (index, domain) in resolver.domains.iter().enumerate() {
        let path = format!("{path}.domains[{index}]");
        if domain.upstreams.is_empty() {
            let message = format!("{} has no upstreams; give one", domain.name);
            check.refuse(format!("{path}.upstreams"), message);
        }
        if domain.name.as_str() == "localhost" {
            let message = "`localhost` is the node itself (RFC 6761); remove it";
            check.refuse(format!("{path}.name"), message);
        }
        check_upstreams(
            check,
            &format!("{path}.upstreams"),
            &domain.upstreams,
            trusts,
        );
        names.push((format!("{path}.name"), &domain.name));
    }
    check.unique(&names, "domain");
    check_cache(check, &format!("{path}.cache"), resolver.cache);
}

fn check_upstreams(check: &mut Check<'_>, path: &str, upstreams: &[Upstream], trusts: bool) {
    if upstreams.len() > MAX_UPSTREAMS {
        let message = format!(
            "{} upstreams; at most {MAX_UPSTREAMS} are asked",
            upstreams.len()
        );
        check.refuse(path, message);
        return;
    }
    let sockets: Vec<_> = upstreams
        .iter()
        .enumerate()
        .map(|(index, upstream)| (format!("{path}[{index}].address"), upstream.socket()))
        .collect();
    check.unique(&sockets, "upstream");
    for (index, upstream) in upstreams.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if let Some(message) = refusal(upstream.address) {
            check.refuse(format!("{path}.address"), message);
        }
        if upstream.port == Some(0) {
            check.refuse(format!("{path}.port"), "port 0 is none; leave `port` out");
        }
        if upstream.tls.is_some() && !trusts {
            let message =
                "nobody is trusted to sign it: give certificates in `network.resolver.roots`";
            check.refuse(format!("{path}.tls"), message);
        }
    }
}

fn check_cache(check: &mut Check<'_>, path: &str, cache: Cache) {
    let limits = [
        ("entries", cache.entries, MAX_ENTRIES),
        ("min_ttl", cache.min_ttl, MAX_MIN_TTL),
        ("max_ttl", cache.max_ttl, MAX_TTL),
    ];
    for (key, value, most) in limits {
        if value > most {
            check.refuse(format!("{path}.{key}"), format!("{value} is over {most}"));
        }
    }
    if (1..MIN_ENTRIES).contains(&cache.entries) {
        let message = format!("{} entries; 0, or {MIN_ENTRIES} and more", cache.entries);
        check.refuse(format!("{path}.entries"), message);
    }
    if cache.min_ttl > cache.max_ttl {
        let message = format!(
            "min_ttl {} is over max_ttl {}",
            cache.min_ttl, cache.max_ttl
        );
        check.refuse(format!("{path}.min_ttl"), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::tests::master;

    const ROOT: &str = r"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn with(resolver: &str) -> String {
        master().replace(
            "[[network.links]]",
            &format!("[network.resolver]\n{resolver}\n[[network.links]]"),
        )
    }

    fn problems(resolver: &str) -> String {
        Config::parse(&with(resolver))
            .expect_err("the resolver is wrong")
            .to_string()
    }

    fn leases(text: &[&str]) -> Vec<IpAddr> {
        text.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn a_resolver_with_all_parts_is_read_and_written_back() {
        let text = with(&format!(
            "upstreams = [{{ address = \"10.0.0.1\", tls = \"dns.example.org\" }}, {{ address = \"fd00::1\", port = 5353 }}]\n\
             domains = [{{ name = \"corp.example\", upstreams = [{{ address = \"10.1.0.1\" }}] }}]\n\
             roots = [\"{ROOT}\"]\ncache = {{ entries = 1000, max_ttl = 60 }}"
        ));
        let config = Config::parse(&text).unwrap();
        let resolver = &config.network.resolver;
        let sockets: Vec<String> = resolver
            .upstreams
            .iter()
            .map(|upstream| upstream.socket().to_string())
            .collect();
        assert_eq!(sockets, ["10.0.0.1:853", "[fd00::1]:5353"]);
        assert_eq!(resolver.domains[0].upstreams[0].socket().port(), 53);
        assert_eq!((resolver.cache.min_ttl, resolver.cache.max_ttl), (0, 60));
        assert_eq!(Config::parse(&config.to_toml().unwrap()).unwrap(), config);
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_key() {
        let domain = |name: &str| {
            format!("{{ name = \"{name}\", upstreams = [{{ address = \"10.0.0.1\" }}] }}")
        };
        let many: Vec<String> = (1..10)
            .map(|last| format!("{{ address = \"10.0.0.{last}\" }}"))
            .collect();
        for (resolver, reason) in [
            (
                "upstreams = [{ address = \"127.0.0.53\" }]",
                "would ask itself",
            ),
            (
                "upstreams = [{ address = \"::ffff:127.0.0.53\" }]",
                "would ask itself",
            ),
            (
                "upstreams = [{ address = \"0.0.0.0\" }]",
                "not the address of one machine",
            ),
            (
                "upstreams = [{ address = \"224.0.0.251\" }]",
                "not the address of one machine",
            ),
            (
                "upstreams = [{ address = \"fe80::1\" }]",
                "says not on which link",
            ),
            (
                "upstreams = [{ address = \"10.0.0.1\", port = 0 }]",
                "port 0 is none",
            ),
            (
                "upstreams = [{ address = \"10.0.0.1\", tls = \"a.example\" }]",
                "network.resolver.roots",
            ),
            (
                "upstreams = [{ address = \"10.0.0.1\", tls = \"-\" }]",
                "not a domain name",
            ),
            (
                "upstreams = [{ address = \"10.0.0.1\" }, { address = \"10.0.0.1\", port = 53 }]",
                "stands twice",
            ),
            (
                &format!("upstreams = [{}]", many.join(", ")),
                "9 upstreams; at most 8",
            ),
            (
                "domains = [{ name = \"corp.example\", upstreams = [] }]",
                "has no upstreams",
            ),
            (
                &format!("domains = [{0}, {0}]", domain("a.example")),
                "domain a.example stands twice",
            ),
            (
                &format!("domains = [{}]", domain("localhost")),
                "is the node itself",
            ),
            (
                &format!("domains = [{}]", domain("Corp")),
                "not a domain name",
            ),
            ("cache = { entries = 70000 }", "70000 is over 65536"),
            ("cache = { entries = 10 }", "10 entries; 0, or 256 and more"),
            (
                "cache = { min_ttl = 60, max_ttl = 30 }",
                "min_ttl 60 is over max_ttl 30",
            ),
            ("server = 1", "unknown field"),
        ] {
            let said = problems(resolver);
            assert!(said.contains(reason), "{resolver}: {said}");
        }
        let text = with("upstreams = [{ address = \"10.0.0.1\" }, { address = \"::\" }]");
        let error = Config::parse(&text).unwrap_err();
        let field = error.problems[0].field.as_deref();
        assert_eq!(field, Some("network.resolver.upstreams[1].address"));
    }

    #[test]
    fn a_name_server_that_is_the_resolver_itself_is_refused() {
        let text = master().replace("[\"10.77.0.1\"]", "[\"127.0.0.53\"]");
        let error = Config::parse(&text).unwrap_err();
        assert_eq!(
            error.problems[0].field.as_deref(),
            Some("network.nameservers[0]")
        );
    }

    #[test]
    fn name_servers_come_before_those_of_leases_each_once() {
        let network = Network {
            nameservers: leases(&["10.77.0.1"]),
            ..Network::default()
        };
        let leased = leases(&[
            "10.77.0.1",
            "127.0.0.53",
            "127.0.0.1",
            "0.0.0.0",
            "10.0.2.3",
        ]);
        let resolver = network.resolver(leased.into_iter());
        let expected = leases(&["10.77.0.1", "10.0.2.3"]);
        let expected: Vec<Upstream> = expected.into_iter().map(Upstream::plain).collect();
        assert_eq!(resolver.upstreams, expected);
    }

    #[test]
    fn upstreams_of_the_config_leave_the_leases_no_say() {
        let own = Upstream::plain(leases(&["10.0.0.1"])[0]);
        let network = Network {
            resolver: Resolver {
                upstreams: vec![own.clone()],
                ..Resolver::default()
            },
            ..Network::default()
        };
        let resolver = network.resolver(leases(&["10.0.2.3"]).into_iter());
        assert_eq!(resolver.upstreams, [own]);
    }
}
