//! What is done for one device, whether it was found at start or announced by the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use spec_layout::command_line::CommandLine;

use crate::device::drivers::Drivers;
use crate::device::link::Links;
use crate::device::permission::{self, Groups};
use crate::device::power::Button;
use crate::device::tell::Teller;
use crate::device::uevent::{Action, Device};
use crate::device::{disk_link, interface_name};

/// A driver that takes longer is mentioned.
const STUCK_AFTER: Duration = Duration::from_secs(30);
const SLOTS: &str = "/sys/bus/pci/slots";

/// What the service knows of the devices.
pub(crate) struct Handler {
    drivers: Drivers,
    groups: Groups,
    links: Links,
    stable_names: bool,
    /// Buttons that are not watched yet, by node.
    pub new_buttons: BTreeMap<String, Button>,
    /// What PID 1 is told of them.
    pub teller: Teller,
}

impl Handler {
    /// A handler that knows no device.
    pub(crate) fn new(drivers: Drivers) -> Self {
        let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        Self {
            drivers,
            groups: Groups::read(),
            links: Links::new(Path::new("/dev")),
            stable_names: CommandLine::parse(&line).value("net.ifnames") != Some("0"),
            new_buttons: BTreeMap::new(),
            teller: Teller::default(),
        }
    }

    /// Does what a device needs.
    pub(crate) fn handle(&mut self, device: &Device) {
        match device.action {
            Action::Add => self.add(device),
            Action::Change if device.subsystem == "block" => self.set_links(device),
            Action::Remove => {
                if let Some(node) = device.node() {
                    self.links.set(node, &BTreeSet::new(), 0);
                }
                self.teller.absent(&device.path);
            }
            // Only what was renamed says where it was.
            Action::Other => {
                if let Some(before) = device.get("DEVPATH_OLD") {
                    self.teller.absent(before);
                    self.teller.present(device, &BTreeSet::new());
                }
            }
            Action::Change => {}
        }
    }

    /// Waits until all links that were handled have a driver ([`Drivers::settle`]).
    pub(crate) fn settle(&self, longest: Duration) -> bool {
        self.drivers.settle(longest)
    }

    /// From now on devices of every kind get a driver.
    pub(crate) fn load_rest(&self) {
        self.drivers.load_rest();
    }

    /// Says which driver hangs: those after it wait.
    pub(crate) fn mention_stuck(&self) {
        if let Some((module, taken)) = self.drivers.stuck(STUCK_AFTER) {
            log::warn!(
                "{module} has been starting for {} s; drivers that come after it wait",
                taken.as_secs()
            );
        }
    }

    fn add(&mut self, device: &Device) {
        permission::apply(device, &self.groups);
        if let Some(modalias) = device.get("MODALIAS") {
            self.drivers.load(modalias);
        }
        match device.subsystem.as_str() {
            "block" => self.set_links(device),
            "net" if self.stable_names => rename(device),
            "input" => {
                if let (Some(node), Some(button)) = (device.node(), Button::open(device)) {
                    self.new_buttons.insert(node.to_string(), button);
                }
            }
            _ => {}
        }
        if device.subsystem != "block" {
            self.teller.present(device, &BTreeSet::new());
        }
    }

    fn set_links(&mut self, device: &Device) {
        if let Some(node) = device.node() {
            let (links, rank) = disk_link::links(device);
            self.links.set(node, &links, rank);
            self.teller.present(device, &links);
        }
    }
}

/// Gives a link its stable name.
fn rename(device: &Device) {
    let from = device.name();
    let Some(to) = interface_name::find(&device.folder(), Path::new(SLOTS)) else {
        return;
    };
    if to == from {
        return;
    }
    let socket = std::os::unix::net::UnixDatagram::unbound();
    let result = socket.and_then(|socket| {
        crate::sys::interface::rename(std::os::fd::AsFd::as_fd(&socket), from, &to)
    });
    match result {
        Ok(()) => log::info!("{from}: renamed to {to}"),
        Err(error) => log::warn!("{from}: cannot be renamed to {to}: {error}"),
    }
}
