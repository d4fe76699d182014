//! What is done for one device, whether it was found at start or announced by the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use spec_layout::command_line::CommandLine;

use crate::device::link::Links;
use crate::device::module::Loader;
use crate::device::permission::{self, Groups};
use crate::device::power::Button;
use crate::device::uevent::{Action, Device};
use crate::device::{disk_link, interface_name};

const SLOTS: &str = "/sys/bus/pci/slots";

/// What the service knows of the devices.
pub(crate) struct Handler {
    /// Only while devices come: the index takes some MiB.
    loader: Option<Loader>,
    seen: BTreeSet<String>,
    /// Aliases of processors: their modules (ciphers, KVM, frequency) take seconds to test themselves and nothing at
    /// boot waits for them.
    later: BTreeSet<String>,
    groups: Groups,
    links: Links,
    stable_names: bool,
    /// Buttons that are not watched yet, by node.
    pub new_buttons: BTreeMap<String, Button>,
}

impl Handler {
    /// A handler that knows no device.
    pub(crate) fn new() -> Self {
        let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        Self {
            loader: None,
            seen: BTreeSet::new(),
            later: BTreeSet::new(),
            groups: Groups::read(),
            links: Links::new(Path::new("/dev")),
            stable_names: CommandLine::parse(&line).value("net.ifnames") != Some("0"),
            new_buttons: BTreeMap::new(),
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
            }
            Action::Change | Action::Other => {}
        }
    }

    /// No device comes for now: does what was put off, and gives memory back.
    pub(crate) fn rest(&mut self) {
        for modalias in std::mem::take(&mut self.later) {
            self.load(&modalias);
        }
        self.loader = None;
        self.seen.clear();
    }

    fn add(&mut self, device: &Device) {
        permission::apply(device, &self.groups);
        match device.get("MODALIAS") {
            Some(modalias) if modalias.starts_with("cpu:") => {
                self.later.insert(modalias.to_string());
            }
            Some(modalias) => self.load(modalias),
            None => {}
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
    }

    fn load(&mut self, modalias: &str) {
        // Each of many like devices asks for the same.
        if !self.seen.insert(modalias.to_string()) {
            return;
        }
        if self.loader.is_none() {
            match Loader::open() {
                Ok(loader) => self.loader = Some(loader),
                Err(error) => log::error!("no module can be loaded: {error}"),
            }
        }
        if let Some(loader) = &mut self.loader {
            loader.load_for_device(modalias);
        }
    }

    fn set_links(&mut self, device: &Device) {
        if let Some(node) = device.node() {
            let (links, rank) = disk_link::links(device);
            self.links.set(node, &links, rank);
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
