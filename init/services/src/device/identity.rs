//! What a disk is called by its maker (by-id) and by its place (by-path), as udev's rules name them.

use std::path::Path;

use crate::device::sysfs;

/// Names for /dev/disk/by-id, without a partition's suffix. `disk` is the folder of the whole disk in /sys.
pub(crate) fn by_id(disk: &Path) -> Vec<String> {
    let name = disk
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let device = disk.join("device");
    let mut ids = Vec::new();
    let mut add = |prefix: &str, parts: &[Option<String>]| {
        let parts: Option<Vec<&str>> = parts.iter().map(Option::as_deref).collect();
        if let Some(parts) = parts {
            ids.push(format!("{prefix}-{}", encode(&parts.join("_"))));
        }
    };
    if name.starts_with("dm-") {
        add("dm-name", &[sysfs::text(disk, "dm/name")]);
        add("dm-uuid", &[sysfs::text(disk, "dm/uuid")]);
    } else if name.starts_with("vd") {
        add("virtio", &[sysfs::text(disk, "serial")]);
    } else if name.starts_with("nvme") {
        add(
            "nvme",
            &[
                sysfs::text(&device, "model"),
                sysfs::text(&device, "serial"),
            ],
        );
        add("nvme", &[sysfs::text(disk, "wwid")]);
    } else if name.starts_with("sd") || name.starts_with("sr") {
        let (vendor, model) = (
            sysfs::text(&device, "vendor"),
            sysfs::text(&device, "model"),
        );
        let serial = sysfs::bytes(&device, "vpd_pg80").and_then(|page| serial_of_page(&page));
        if vendor.as_deref() == Some("ATA") {
            add("ata", &[model, serial]);
        } else {
            add(
                if on_bus(disk, "usb") { "usb" } else { "scsi" },
                &[vendor, model, serial],
            );
        }
        let name = sysfs::text(&device, "wwid")
            .and_then(|wwid| Some(format!("0x{}", wwid.strip_prefix("naa.")?)));
        add("wwn", &[name]);
    } else if name.starts_with("mmcblk") {
        add(
            "mmc",
            &[sysfs::text(&device, "name"), sysfs::text(&device, "serial")],
        );
    }
    ids
}

/// Name for /dev/disk/by-path: from the PCI device outwards. `disk` is the folder of the whole disk, links resolved.
pub(crate) fn by_path(disk: &Path) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut on_pci = false;
    for folder in sysfs::ancestors(disk) {
        let name = folder.file_name()?.to_string_lossy().into_owned();
        match sysfs::link_name(&folder, "subsystem").as_deref() {
            Some("pci") => {
                parts.push(format!("pci-{name}"));
                on_pci = true;
                break;
            }
            Some("platform" | "acpi") if !on_pci => {
                parts.push(format!("platform-{name}"));
                break;
            }
            Some("nvme") => {
                parts.push(format!("nvme-{}", sysfs::number(disk, "nsid").unwrap_or(1)))
            }
            Some("scsi") if sysfs::text(&folder, "type").is_some() => {
                parts.extend(scsi_part(&folder, &name))
            }
            Some("usb") if name.contains(':') => {
                parts.push(format!("usb-0:{}", name.split_once('-')?.1))
            }
            _ => {}
        }
    }
    let placed = on_pci
        || parts
            .last()
            .is_some_and(|part| part.starts_with("platform-"));
    parts.reverse();
    placed.then(|| parts.join("-"))
}

/// `ata-PORT` for a disk at an ATA port, else `scsi-H:C:T:L` with the host counted from 0.
fn scsi_part(folder: &Path, name: &str) -> Vec<String> {
    let port = folder.components().rev().find_map(|part| {
        let digits = part.as_os_str().to_str()?.strip_prefix("ata")?;
        digits.parse::<u32>().ok()
    });
    match port {
        Some(_) => {
            let number = folder.ancestors().find_map(|folder| {
                let ports = std::fs::read_dir(folder.join("ata_port")).ok()?;
                let port = ports.flatten().next()?.path();
                sysfs::number(&port, "port_no")
            });
            vec![format!(
                "ata-{}",
                number.or(port.map(u64::from)).unwrap_or(1)
            )]
        }
        None => match name.split_once(':') {
            Some((_, rest)) => vec![format!("scsi-0:{rest}")],
            None => Vec::new(),
        },
    }
}

fn on_bus(disk: &Path, bus: &str) -> bool {
    sysfs::ancestors(disk)
        .any(|folder| sysfs::link_name(&folder, "subsystem").as_deref() == Some(bus))
}

/// The serial number in the SCSI page 0x80 (SPC-4, 7.8.15).
fn serial_of_page(page: &[u8]) -> Option<String> {
    let [_, 0x80, high, low, rest @ ..] = page else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let text = String::from_utf8_lossy(rest.get(..length)?)
        .trim_matches(['\0', ' '])
        .to_string();
    (!text.is_empty()).then_some(text)
}

/// A name as one part of a path, as udev replaces characters in the names that makers give.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::new();
    for char in text.trim().chars().take(128) {
        match char {
            char if char.is_ascii_alphanumeric() || "#+-.:=@_".contains(char) => out.push(char),
            char if char.is_whitespace() => {
                if !out.ends_with('_') {
                    out.push('_');
                }
            }
            _ => out.push('_'),
        }
    }
    out
}

/// A label or UUID as one part of a path, reversibly: what could mislead is written `\xNN` (udev's `ID_FS_LABEL_ENC`).
pub(crate) fn encode_label(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars().take(255) {
        let plain = char.is_ascii_alphanumeric() || "#+-.:=@_".contains(char);
        if plain || (!char.is_ascii() && char.is_alphanumeric()) {
            out.push(char);
        } else {
            let mut bytes = [0; 4];
            char.encode_utf8(&mut bytes)
                .bytes()
                .for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
        }
    }
    if matches!(out.as_str(), "." | "..") {
        out.replace('.', "\\x2e")
    } else {
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn device(root: &Path, path: &str, subsystem: &str) -> PathBuf {
        let folder = root.join(path);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("uevent"), "").unwrap();
        symlink(format!("/sys/class/{subsystem}"), folder.join("subsystem")).unwrap();
        folder
    }

    #[test]
    fn a_virtio_disk_is_named_by_serial_and_pci_place() {
        let root = tempfile::tempdir().unwrap();
        device(root.path(), "pci0000:00/0000:00:04.0", "pci");
        device(root.path(), "pci0000:00/0000:00:04.0/virtio1", "virtio");
        let disk = device(
            root.path(),
            "pci0000:00/0000:00:04.0/virtio1/block/vda",
            "block",
        );
        std::fs::write(disk.join("serial"), "state 01\n").unwrap();
        assert_eq!(by_id(&disk), ["virtio-state_01"]);
        assert_eq!(by_path(&disk).unwrap(), "pci-0000:00:04.0");
    }

    #[test]
    fn an_ahci_disk_is_named_by_model_and_port() {
        let root = tempfile::tempdir().unwrap();
        device(root.path(), "0000:00:1f.2", "pci");
        let port = device(root.path(), "0000:00:1f.2/ata3", "ata");
        let class = device(root.path(), "0000:00:1f.2/ata3/ata_port/ata3", "ata_port");
        std::fs::write(class.join("port_no"), "3\n").unwrap();
        assert!(port.exists());
        device(root.path(), "0000:00:1f.2/ata3/host2", "scsi");
        let scsi = device(
            root.path(),
            "0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0",
            "scsi",
        );
        for (file, text) in [
            ("type", "0"),
            ("vendor", "ATA     "),
            ("model", "QEMU HARDDISK   "),
        ] {
            std::fs::write(scsi.join(file), text).unwrap();
        }
        std::fs::write(scsi.join("vpd_pg80"), b"\0\x80\0\x07QM00005").unwrap();
        let disk = device(
            root.path(),
            "0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda",
            "block",
        );
        symlink(&scsi, disk.join("device")).unwrap();
        assert_eq!(by_id(&disk), ["ata-QEMU_HARDDISK_QM00005"]);
        assert_eq!(by_path(&disk).unwrap(), "pci-0000:00:1f.2-ata-3");
    }

    #[test]
    fn an_nvme_disk_is_named_by_namespace() {
        let root = tempfile::tempdir().unwrap();
        device(root.path(), "0000:00:05.0", "pci");
        let controller = device(root.path(), "0000:00:05.0/nvme/nvme0", "nvme");
        std::fs::write(controller.join("model"), "QEMU NVMe Ctrl\n").unwrap();
        std::fs::write(controller.join("serial"), "nv01\n").unwrap();
        let disk = device(root.path(), "0000:00:05.0/nvme/nvme0/nvme0n1", "block");
        std::fs::write(disk.join("nsid"), "1\n").unwrap();
        symlink(&controller, disk.join("device")).unwrap();
        assert_eq!(by_id(&disk), ["nvme-QEMU_NVMe_Ctrl_nv01"]);
        assert_eq!(by_path(&disk).unwrap(), "pci-0000:00:05.0-nvme-1");
    }

    #[test]
    fn labels_cannot_leave_their_folder() {
        assert_eq!(encode_label("../../etc"), "..\\x2f..\\x2fetc");
        assert_eq!(encode_label(".."), "\\x2e\\x2e");
        assert_eq!(encode_label("my disk"), "my\\x20disk");
        assert_eq!(encode_label("Größe"), "Größe");
        assert_eq!(encode("a/b  c"), "a_b_c");
    }
}
