//! `SocketBindAllow=`, `SocketBindDeny=`, `RestrictNetworkInterfaces=`: ports and links of a service or slice,
//! systemd.resource-control(5).

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Value};
use crate::plan::ExecPlan;
use crate::plan::socket::{BindRule, Family, Links, MAX_BIND_RULES, Transport, is_link_name};
use crate::unit::Unit;
use crate::value;

/// Ports and links of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketSettings {
    /// SocketBindAllow=.
    pub allowed: Vec<BindRule>,
    /// SocketBindDeny=.
    pub denied: Vec<BindRule>,
    /// RestrictNetworkInterfaces=, if given.
    pub links: Option<Links>,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive::wall(
        "SocketBindAllow",
        "any|[ipv4:|ipv6:][tcp:|udp:][PORT[-PORT]]",
        "Ports that it may bind although SocketBindDeny= lists them.",
        add_rule,
    ),
    Directive::wall(
        "SocketBindDeny",
        "any|[ipv4:|ipv6:][tcp:|udp:][PORT[-PORT]]",
        "Ports that it may not bind.",
        add_rule,
    ),
    Directive::wall(
        "RestrictNetworkInterfaces",
        "[~]LINK...",
        "Packets go over these links only, or with \"~\" over all but these; links that are there when the unit starts. \"lo\" is a link as any other.",
        add_links,
    ),
];

fn add_rule(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let settings = &mut unit.service.sockets;
    let list = match value.name {
        "SocketBindAllow" => &mut settings.allowed,
        _ => &mut settings.denied,
    };
    if value.is_reset() {
        list.clear();
        return Ok(());
    }
    if list.len() >= MAX_BIND_RULES {
        return Err(format!("more than {MAX_BIND_RULES} rules"));
    }
    list.push(rule(&value.expanded())?);
    Ok(())
}

fn rule(text: &str) -> Result<BindRule, String> {
    let mut rule = BindRule::default();
    if text == "any" {
        return Ok(rule);
    }
    let mut parts = text.split(':').peekable();
    rule.family = match parts.peek() {
        Some(&"ipv4") => Some(Family::Ipv4),
        Some(&"ipv6") => Some(Family::Ipv6),
        _ => None,
    };
    if rule.family.is_some() {
        parts.next();
    }
    rule.transport = match parts.peek() {
        Some(&"tcp") => Some(Transport::Tcp),
        Some(&"udp") => Some(Transport::Udp),
        _ => None,
    };
    if rule.transport.is_some() {
        parts.next();
    }
    rule.ports = parts.next().map(ports).transpose()?;
    match parts.next() {
        Some(_) => Err(format!(
            "{text:?} is not [ipv4:|ipv6:][tcp:|udp:][PORT[-PORT]]"
        )),
        None => Ok(rule),
    }
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| value::number(text, 1, 65535).map(|port| port as u16);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    match first <= last {
        true => Ok((first, last)),
        false => Err(format!("{text:?} has its first port after its last")),
    }
}

/// What comes first says whether links are allowed or denied; what comes later adds to the list or takes from it.
fn add_links(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let settings = &mut unit.service.sockets;
    if value.is_reset() {
        settings.links = None;
        return Ok(());
    }
    let text = value.expanded();
    let (text, deny) = text
        .strip_prefix('~')
        .map_or((text.as_str(), false), |text| (text, true));
    let links = settings.links.get_or_insert_with(|| Links {
        deny,
        names: Vec::new(),
    });
    for name in crate::words::texts(text)? {
        if !is_link_name(&name) {
            return Err(format!("{name:?} is not a link's name"));
        }
        links.names.retain(|known| *known != name);
        if links.deny == deny {
            links.names.push(name);
        }
    }
    Ok(())
}

/// Holds for the whole control group, whatever command runs in it.
pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let settings = &planning.unit.service.sockets;
    let filters = &mut plan.cgroup.filters;
    filters.allowed_binds = settings.allowed.clone();
    filters.denied_binds = settings.denied.clone();
    filters.links = settings.links.clone();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    #[test]
    fn a_rule_says_of_a_socket_what_it_says() {
        let all = BindRule::default();
        let cases = [
            ("any", all),
            (
                "ipv4",
                BindRule {
                    family: Some(Family::Ipv4),
                    ..all
                },
            ),
            (
                "udp:53",
                BindRule {
                    transport: Some(Transport::Udp),
                    ports: Some((53, 53)),
                    ..all
                },
            ),
            (
                "ipv6:tcp:1-65535",
                BindRule {
                    family: Some(Family::Ipv6),
                    transport: Some(Transport::Tcp),
                    ports: Some((1, 65535)),
                },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(rule(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "0",
            "65536",
            "2-1",
            "tcp:ipv4",
            "sctp:1",
            "ipv4:tcp:1:2",
            "tcp:",
        ] {
            assert!(rule(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_list_of_links_says_what_the_later_ones_mean() {
        let links = |text: &str| {
            plan(&format!("ExecStart=/bin/a\n{text}"))
                .cgroup
                .filters
                .links
        };
        let only = |deny, names: &[&str]| {
            let names = names.iter().map(ToString::to_string).collect();
            Some(Links { deny, names })
        };
        let name = "RestrictNetworkInterfaces=";
        assert_eq!(
            links(&format!("{name}lo eth0\n{name}~eth0\n")),
            only(false, &["lo"])
        );
        assert_eq!(
            links(&format!("{name}~lo eth0\n{name}lo\n")),
            only(true, &["eth0"])
        );
        assert_eq!(links(&format!("{name}lo\n{name}\n")), None);
    }

    #[test]
    fn rules_reach_the_plan_and_are_checked_there() {
        let mut plan = plan(
            "ExecStart=/bin/a\nSocketBindDeny=any\nSocketBindAllow=tcp:80\nSocketBindAllow=\n",
        );
        assert_eq!(plan.cgroup.filters.denied_binds, [BindRule::default()]);
        assert!(plan.cgroup.filters.allowed_binds.is_empty());
        plan.check(0).unwrap();
        plan.cgroup.filters.links = Some(Links {
            deny: false,
            names: vec!["../a".into()],
        });
        assert!(plan.check(0).unwrap_err().contains("links"));
    }
}
