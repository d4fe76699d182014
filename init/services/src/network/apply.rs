//! Doing the steps, each at most as often as [`Corrections`] lets it, and saying what was done.

use std::io;

use crate::network::dhcp::task::boottime;
use crate::network::netlink::Netlink;
use crate::network::rate::{Answer, Corrections};
use crate::network::state::{Change, Link, Route, Setting};
use crate::network::structure::Structure;

/// Does steps and remembers how often.
pub(crate) struct Apply {
    netlink: Netlink,
    corrections: Corrections,
}

impl Apply {
    pub(crate) fn new(netlink: Netlink) -> Self {
        Self {
            netlink,
            corrections: Corrections::default(),
        }
    }

    /// Forgets how often steps were done: what shall be is new.
    pub(crate) fn forget(&mut self) {
        self.corrections = Corrections::default();
    }

    /// When the next step that has to wait may be done.
    pub(crate) fn next(&self) -> Option<std::time::Duration> {
        self.corrections.next(boottime())
    }

    /// Makes, renames or removes a link. The error says what was tried.
    pub(crate) async fn structure(&mut self, step: &Structure) -> Result<(), String> {
        let what = describe_structure(step);
        self.may(&what)?;
        let result = match step {
            Structure::Create(new) => self.netlink.create(new).await,
            Structure::Delete { index, .. } => self.netlink.delete(*index).await,
            Structure::Rename { index, to, .. } => self.netlink.rename(*index, to).await,
        };
        said(what, result)
    }

    /// Changes a link. `name_of` names other links. The error says what was tried.
    pub(crate) async fn change(
        &mut self,
        link: &Link,
        step: &Change,
        name_of: impl Fn(u32) -> String,
    ) -> Result<(), String> {
        let what = format!("{}: {}", link.name, describe(step, name_of));
        self.may(&what)?;
        said(what, self.try_change(link, step).await)
    }

    async fn try_change(&self, link: &Link, step: &Change) -> io::Result<()> {
        let (index, netlink) = (link.index, &self.netlink);
        match step {
            Change::RemoveRoute(route) => netlink.remove_route(index, route).await,
            Change::RemoveAddress(address) => netlink.remove_address(index, *address).await,
            Change::Release => netlink.set_master(index, 0).await,
            Change::Down => netlink.set_down(index).await,
            Change::Set(settings) | Change::SetLast(settings) => {
                netlink.set(index, &link.kind, settings).await
            }
            Change::Alias(alias) => netlink.set_alias(index, alias).await,
            Change::Mac(mac) => match netlink.set_mac(index, *mac).await {
                // Some drivers want it down for that.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && link.up => {
                    netlink.set_down(index).await?;
                    let result = netlink.set_mac(index, *mac).await;
                    netlink.set_up(index).await.and(result)
                }
                result => result,
            },
            Change::Enslave(master) => netlink.set_master(index, *master).await,
            Change::Mtu(mtu) => netlink.set_mtu(index, *mtu).await,
            Change::Up => netlink.set_up(index).await,
            Change::AddAddress(address) => netlink.add_address(index, *address).await,
            Change::AddRoute(route) => netlink.add_route(index, route).await,
        }
    }

    fn may(&mut self, what: &str) -> Result<(), String> {
        match self.corrections.ask(what, boottime()) {
            Answer::Go => Ok(()),
            Answer::LastFor(wait) => {
                log::warn!(
                    "{what}: needed again and again; somebody else undoes it, or it does not help. The next time in {} s",
                    wait.as_secs()
                );
                Ok(())
            }
            Answer::Wait(_) => Err(format!("{what}: needed again and again, so it waits")),
        }
    }
}

fn said(what: String, result: io::Result<()>) -> Result<(), String> {
    match result {
        Ok(()) => {
            log::info!("{what}");
            Ok(())
        }
        Err(error) => {
            let hint = match error.raw_os_error() {
                Some(libc::EOPNOTSUPP) => " (does the image have the module?)",
                _ => "",
            };
            let text = format!("{what}: {error}{hint}");
            log::warn!("{text}");
            Err(text)
        }
    }
}

fn describe_structure(step: &Structure) -> String {
    match step {
        Structure::Create(new) => format!("{}: {} made", new.name, new.kind),
        Structure::Delete { name, .. } => format!("{name}: removed"),
        Structure::Rename { name, to, .. } => format!("{to}: has its name back, it was {name}"),
    }
}

fn describe(change: &Change, name_of: impl Fn(u32) -> String) -> String {
    let all = |settings: &[Setting]| {
        let settings: Vec<String> = settings
            .iter()
            .map(|setting| describe_setting(*setting, &name_of))
            .collect();
        settings.join(", ")
    };
    match change {
        Change::RemoveRoute(route) => format!("route {} removed", describe_route(route)),
        Change::RemoveAddress(address) => format!("address {address} removed"),
        Change::Release => "a member no more".into(),
        Change::Down => "down".into(),
        Change::Set(settings) | Change::SetLast(settings) => all(settings),
        Change::Alias(alias) => format!("noted as {alias:?}"),
        Change::Mac(mac) => format!("hardware address {}", spec_config::Mac(*mac)),
        Change::Enslave(master) => format!("a member of {}", name_of(*master)),
        Change::Mtu(mtu) => format!("MTU {mtu}"),
        Change::Up => "up".into(),
        Change::AddAddress(address) => format!("address {address} added"),
        Change::AddRoute(route) => format!("route {} added", describe_route(route)),
    }
}

fn describe_setting(setting: Setting, name_of: impl Fn(u32) -> String) -> String {
    match setting {
        Setting::BondMode(mode) => format!("mode {mode}"),
        Setting::BondMiimon(ms) => format!("miimon {ms} ms"),
        Setting::BondLacpRate(rate) => format!("LACP rate {rate}"),
        Setting::BondMinLinks(links) => format!("min_links {links}"),
        Setting::BondXmitHashPolicy(policy) => format!("xmit_hash_policy {policy}"),
        Setting::BondPrimary(0) => "no primary".into(),
        Setting::BondPrimary(index) => format!("primary {}", name_of(index)),
        Setting::BridgeStp(on) => format!("spanning tree {}", if on { "on" } else { "off" }),
        Setting::VlanId(id) => format!("VLAN {id}"),
    }
}

fn describe_route(route: &Route) -> String {
    match route.via {
        Some(via) => format!("{} via {via}", route.to),
        None => route.to.to_string(),
    }
}
