//! Stable names of network links, by systemd's scheme (systemd.net-naming-scheme(7)): on-board number, else hot-plug
//! slot, else PCI and USB place. A link that the scheme cannot place keeps the kernel's name.

use std::path::{Path, PathBuf};

use crate::device::sysfs;

/// `ARPHRD_ETHER`.
const ETHERNET: u64 = 1;
/// Longest name, IFNAMSIZ without its zero.
const NAME_MAX: usize = 15;
/// Firmware that counts from somewhere else is not believed.
const ONBOARD_MAX: u64 = 16 * 1024 - 1;

/// The stable name of a link. `link` is its folder in /sys, `slots` /sys/bus/pci/slots.
pub(crate) fn find(link: &Path, slots: &Path) -> Option<String> {
    if sysfs::number(link, "type") != Some(ETHERNET) {
        return None;
    }
    let prefix = match sysfs::text(link, "uevent").as_deref() {
        Some(text) if text.contains("DEVTYPE=wlan") => "wl",
        Some(text) if text.contains("DEVTYPE=wwan") => "ww",
        _ => "en",
    };
    let device = link.join("device").canonicalize().ok()?;
    let pci = sysfs::ancestors(&device).find(|folder| subsystem(folder) == "pci")?;
    let port = port_suffix(link);
    let usb = usb_suffix(&device);
    if usb.is_none()
        && let Some(index) = onboard(&pci)
    {
        return fits(format!("{prefix}o{index}{port}"));
    }
    let place = Place::of(&pci)?;
    let tail = match &usb {
        Some(usb) => usb.clone(),
        None => port,
    };
    if let Some(slot) = slot(&pci, slots)
        && let Some(name) = fits(format!(
            "{prefix}{}s{slot}{}{tail}",
            place.domain_part(),
            place.function_part()
        ))
    {
        return Some(name);
    }
    let (bus, slot) = (place.bus, place.slot);
    fits(format!(
        "{prefix}{}p{bus}s{slot}{}{tail}",
        place.domain_part(),
        place.function_part()
    ))
}

fn fits(name: String) -> Option<String> {
    (name.len() <= NAME_MAX).then_some(name)
}

fn subsystem(folder: &Path) -> String {
    sysfs::link_name(folder, "subsystem").unwrap_or_default()
}

/// Where a PCI device is.
struct Place {
    domain: u32,
    bus: u32,
    slot: u32,
    function: u32,
    multifunction: bool,
}

impl Place {
    /// From `DDDD:BB:SS.F` and the header type in its configuration space.
    fn of(pci: &Path) -> Option<Self> {
        let name = pci.file_name()?.to_str()?;
        let (domain, rest) = name.split_once(':')?;
        let (bus, rest) = rest.split_once(':')?;
        let (slot, function) = rest.split_once('.')?;
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let header = sysfs::bytes(pci, "config")
            .and_then(|config| config.get(0x0e).copied())
            .unwrap_or(0);
        Some(Self {
            domain: hex(domain)?,
            bus: hex(bus)?,
            slot: hex(slot)?,
            function: hex(function)?,
            multifunction: header & 0x80 != 0,
        })
    }

    fn domain_part(&self) -> String {
        if self.domain == 0 {
            String::new()
        } else {
            format!("P{}", self.domain)
        }
    }

    fn function_part(&self) -> String {
        if self.function == 0 && !self.multifunction {
            String::new()
        } else {
            format!("f{}", self.function)
        }
    }
}

/// The number that firmware gives an on-board device (ACPI _DSM, SMBIOS type 41).
fn onboard(pci: &Path) -> Option<u64> {
    let index = sysfs::number(pci, "acpi_index").or_else(|| sysfs::number(pci, "index"))?;
    (1..=ONBOARD_MAX).contains(&index).then_some(index)
}

/// The hot-plug slot of the device.
fn slot(pci: &Path, slots: &Path) -> Option<u32> {
    let address = |pci: &Path| {
        let name = pci.file_name()?.to_str()?.to_string();
        name.split_once('.').map(|(slot, _)| slot.to_string())
    };
    let find = |wanted: String| {
        let mut numbers: Vec<u32> = std::fs::read_dir(slots)
            .ok()?
            .flatten()
            .filter(|entry| {
                sysfs::text(&entry.path(), "address").as_deref() == Some(wanted.as_str())
            })
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|number| *number > 0)
            .collect();
        numbers.sort_unstable();
        numbers.first().copied()
    };
    find(address(pci)?)
}

/// `nNAME` or `dNUMBER` of a device with several ports.
fn port_suffix(link: &Path) -> String {
    if let Some(name) = sysfs::text(link, "phys_port_name") {
        return format!("n{name}");
    }
    match sysfs::number(link, "dev_port") {
        Some(port) if port > 0 => format!("d{port}"),
        _ => String::new(),
    }
}

/// `uPORT...[cCONFIG][iINTERFACE]` of a USB device.
fn usb_suffix(device: &Path) -> Option<String> {
    let interface: PathBuf = sysfs::ancestors(device).find(|folder| subsystem(folder) == "usb")?;
    let name = interface.file_name()?.to_str()?;
    let (place, configured) = name.split_once(':')?;
    let (_, ports) = place.split_once('-')?;
    let (config, number) = configured.split_once('.')?;
    let mut suffix: String = ports.split('.').map(|port| format!("u{port}")).collect();
    if config != "1" {
        suffix.push_str(&format!("c{config}"));
    }
    if number != "0" {
        suffix.push_str(&format!("i{number}"));
    }
    Some(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Tree {
        root: tempfile::TempDir,
    }

    impl Tree {
        fn new() -> Self {
            Self {
                root: tempfile::tempdir().unwrap(),
            }
        }

        fn device(&self, path: &str, subsystem: &str) -> PathBuf {
            let folder = self.root.path().join(path);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("uevent"), "").unwrap();
            symlink(format!("/sys/bus/{subsystem}"), folder.join("subsystem")).unwrap();
            folder
        }

        fn link(&self, device: &Path) -> PathBuf {
            let link = device.join("net/eth0");
            std::fs::create_dir_all(&link).unwrap();
            std::fs::write(link.join("uevent"), "INTERFACE=eth0\n").unwrap();
            std::fs::write(link.join("type"), "1\n").unwrap();
            symlink(device, link.join("device")).unwrap();
            link
        }

        fn name(&self, link: &Path) -> Option<String> {
            find(link, &self.root.path().join("slots"))
        }
    }

    #[test]
    fn virtio_is_placed_by_its_pci_device() {
        let tree = Tree::new();
        let pci = tree.device("pci0000:00/0000:00:02.0", "pci");
        let virtio = tree.device("pci0000:00/0000:00:02.0/virtio0", "virtio");
        let link = tree.link(&virtio);
        assert_eq!(tree.name(&link).unwrap(), "enp0s2");

        let mut config = vec![0; 64];
        config[0x0e] = 0x80;
        std::fs::write(pci.join("config"), config).unwrap();
        assert_eq!(tree.name(&link).unwrap(), "enp0s2f0");
    }

    #[test]
    fn domain_function_and_port_are_told() {
        let tree = Tree::new();
        let link = tree.link(&tree.device("0001:1a:00.1", "pci"));
        std::fs::write(link.join("dev_port"), "1\n").unwrap();
        assert_eq!(tree.name(&link).unwrap(), "enP1p26s0f1d1");
        std::fs::write(link.join("phys_port_name"), "p0\n").unwrap();
        assert_eq!(tree.name(&link).unwrap(), "enP1p26s0f1np0");
    }

    #[test]
    fn slot_and_onboard_number_come_first() {
        let tree = Tree::new();
        let pci = tree.device("0000:03:00.0", "pci");
        let link = tree.link(&pci);
        let slot = tree.root.path().join("slots/4");
        std::fs::create_dir_all(&slot).unwrap();
        std::fs::write(slot.join("address"), "0000:03:00\n").unwrap();
        assert_eq!(tree.name(&link).unwrap(), "ens4");
        std::fs::write(pci.join("acpi_index"), "2\n").unwrap();
        assert_eq!(tree.name(&link).unwrap(), "eno2");
        std::fs::write(pci.join("acpi_index"), "99999\n").unwrap();
        assert_eq!(tree.name(&link).unwrap(), "ens4");
    }

    #[test]
    fn usb_is_placed_by_its_ports() {
        let tree = Tree::new();
        tree.device("0000:00:14.0", "pci");
        let usb = tree.device("0000:00:14.0/usb1/1-1/1-1.2/1-1.2:2.1", "usb");
        assert_eq!(tree.name(&tree.link(&usb)).unwrap(), "enp0s20u1u2c2i1");
    }

    #[test]
    fn what_cannot_be_placed_keeps_its_name() {
        let tree = Tree::new();
        let platform = tree.link(&tree.device("platform/x", "platform"));
        assert_eq!(tree.name(&platform), None);
        let link = tree.link(&tree.device("0000:00:03.0", "pci"));
        std::fs::write(link.join("phys_port_name"), "a-very-long-name").unwrap();
        assert_eq!(tree.name(&link), None);
        std::fs::write(link.join("type"), "772\n").unwrap();
        assert_eq!(tree.name(&link), None);
    }
}
