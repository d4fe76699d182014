//! Links and the options of their kinds, as messages.

use std::io;

use futures_util::TryStreamExt;
use netlink_packet_route::link::{
    BridgeStpState, InfoBond, InfoBridge, InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use crate::network::netlink::{Netlink, gone_is_well, other};
use crate::network::state::{Layer, Link, Setting};
use crate::network::structure::New;

impl Netlink {
    /// All links.
    pub(crate) async fn links(&self) -> io::Result<Vec<Link>> {
        let messages: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(other)?;
        Ok(messages.iter().filter_map(read_link).collect())
    }

    /// Makes a link. The kernel loads the module of its kind (`rtnl-link-KIND`) where that is missing.
    pub(crate) async fn create(&self, new: &New) -> io::Result<()> {
        let request = self.handle.link().add(new_link(new));
        request.execute().await.map_err(other)
    }

    /// Removes a link; one that is gone already is well.
    pub(crate) async fn delete(&self, index: u32) -> io::Result<()> {
        gone_is_well(self.handle.link().del(index).execute().await)
    }

    /// Sets options of a link's kind.
    pub(crate) async fn set(&self, index: u32, kind: &str, settings: &[Setting]) -> io::Result<()> {
        let mut message = LinkUnspec::new_with_index(index).build();
        message.attributes.push(info(kind, settings));
        let request = self.handle.link().change(message);
        request.execute().await.map_err(other)
    }

    /// Gives a link another name.
    pub(crate) async fn rename(&self, index: u32, name: &str) -> io::Result<()> {
        self.change(LinkUnspec::new_with_index(index).name(name))
            .await
    }

    /// Brings a link up.
    pub(crate) async fn set_up(&self, index: u32) -> io::Result<()> {
        self.change(LinkUnspec::new_with_index(index).up()).await
    }

    /// Takes a link down.
    pub(crate) async fn set_down(&self, index: u32) -> io::Result<()> {
        self.change(LinkUnspec::new_with_index(index).down()).await
    }

    /// Sets the largest packet of a link.
    pub(crate) async fn set_mtu(&self, index: u32, mtu: u32) -> io::Result<()> {
        self.change(LinkUnspec::new_with_index(index).mtu(mtu))
            .await
    }

    /// Sets the hardware address of a link.
    pub(crate) async fn set_mac(&self, index: u32, mac: [u8; 6]) -> io::Result<()> {
        self.change(LinkUnspec::new_with_index(index).address(mac.to_vec()))
            .await
    }

    /// Makes a link a member of another, or with 0 of none.
    pub(crate) async fn set_master(&self, index: u32, master: u32) -> io::Result<()> {
        self.change(LinkUnspec::new_with_index(index).controller(master))
            .await
    }

    /// Puts a note on a link.
    pub(crate) async fn set_alias(&self, index: u32, alias: &str) -> io::Result<()> {
        self.change(LinkUnspec::new_with_index(index).alias(alias))
            .await
    }

    async fn change(&self, message: LinkMessageBuilder<LinkUnspec>) -> io::Result<()> {
        let request = self.handle.link().set(message.build());
        request.execute().await.map_err(other)
    }
}

fn new_link(new: &New) -> LinkMessage {
    let mut message = LinkUnspec::new_with_name(&new.name).build();
    message.attributes.push(info(new.kind, &new.settings));
    if let Some(parent) = new.parent {
        message.attributes.push(LinkAttribute::Link(parent));
    }
    if let Some(mac) = new.mac {
        message
            .attributes
            .push(LinkAttribute::Address(mac.to_vec()));
    }
    message
}

/// `IFLA_LINKINFO` with the kind and its options.
fn info(kind: &str, settings: &[Setting]) -> LinkAttribute {
    let (mut bond, mut bridge, mut vlan) = (Vec::new(), Vec::new(), Vec::new());
    for setting in settings {
        match *setting {
            Setting::BondMode(mode) => bond.push(InfoBond::Mode(mode.into())),
            Setting::BondMiimon(ms) => bond.push(InfoBond::MiiMon(ms)),
            Setting::BondLacpRate(rate) => bond.push(InfoBond::AdLacpRate(rate.into())),
            Setting::BondMinLinks(links) => bond.push(InfoBond::MinLinks(links)),
            Setting::BondXmitHashPolicy(policy) => {
                bond.push(InfoBond::XmitHashPolicy(policy.into()));
            }
            Setting::BondPrimary(index) => bond.push(InfoBond::Primary(index)),
            Setting::BridgeStp(true) => {
                bridge.push(InfoBridge::StpState(BridgeStpState::KernelStp))
            }
            Setting::BridgeStp(false) => {
                bridge.push(InfoBridge::StpState(BridgeStpState::Disabled))
            }
            Setting::VlanId(id) => vlan.push(InfoVlan::Id(id)),
        }
    }
    let mut infos = vec![LinkInfo::Kind(InfoKind::from(kind))];
    let data = [
        (!bond.is_empty()).then_some(InfoData::Bond(bond)),
        (!bridge.is_empty()).then_some(InfoData::Bridge(bridge)),
        (!vlan.is_empty()).then_some(InfoData::Vlan(vlan)),
    ];
    infos.extend(data.into_iter().flatten().map(LinkInfo::Data));
    LinkAttribute::LinkInfo(infos)
}

fn read_link(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        layer: match message.header.link_layer_type {
            LinkLayerType::Loopback => Layer::Loopback,
            LinkLayerType::Ether => Layer::Ethernet,
            _ => Layer::Other,
        },
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::PermAddress(bytes) => {
                link.permanent_mac = bytes.as_slice().try_into().ok()
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::MaxMtu(mtu) => link.max_mtu = *mtu,
            LinkAttribute::Controller(master) => {
                link.master = Some(*master).filter(|index| *index != 0)
            }
            LinkAttribute::Link(parent) => link.parent = Some(*parent).filter(|index| *index != 0),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::LinkInfo(infos) => read_info(infos, &mut link),
            _ => {}
        }
    }
    // Others, such as one end of a cable, name a link of another namespace there.
    link.parent = link.parent.filter(|_| link.kind == "vlan");
    (!link.name.is_empty()).then_some(link)
}

fn read_info(infos: &[LinkInfo], link: &mut Link) {
    for info in infos {
        match info {
            LinkInfo::Kind(kind) => link.kind = kind.to_string(),
            LinkInfo::Data(InfoData::Bond(options)) => {
                link.settings = options.iter().filter_map(read_bond).collect();
                let is_primary = |setting: &Setting| matches!(setting, Setting::BondPrimary(_));
                if !link.settings.iter().any(is_primary) {
                    link.settings.push(Setting::BondPrimary(0));
                }
            }
            LinkInfo::Data(InfoData::Bridge(options)) => {
                let stp = options.iter().find_map(|option| match option {
                    InfoBridge::StpState(state) => Some(*state != BridgeStpState::Disabled),
                    _ => None,
                });
                link.settings.extend(stp.map(Setting::BridgeStp));
            }
            LinkInfo::Data(InfoData::Vlan(options)) => {
                let id = options.iter().find_map(|option| match option {
                    InfoVlan::Id(id) => Some(*id),
                    _ => None,
                });
                link.settings.extend(id.map(Setting::VlanId));
            }
            _ => {}
        }
    }
}

fn read_bond(option: &InfoBond) -> Option<Setting> {
    Some(match option {
        InfoBond::Mode(mode) => Setting::BondMode((*mode).into()),
        InfoBond::MiiMon(ms) => Setting::BondMiimon(*ms),
        InfoBond::AdLacpRate(rate) => Setting::BondLacpRate((*rate).into()),
        InfoBond::MinLinks(links) => Setting::BondMinLinks(*links),
        InfoBond::XmitHashPolicy(policy) => Setting::BondXmitHashPolicy((*policy).into()),
        InfoBond::Primary(index) => Setting::BondPrimary(*index),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
