//! What sysfs knows of the device behind a link.

use std::path::Path;

use crate::device::{identity, sysfs};
use crate::network::state::Link;

const FOLDER: &str = "/sys/class/net";

/// Adds driver and place. A link without a device has neither.
pub(crate) fn find(link: &mut Link) {
    find_below(Path::new(FOLDER), link);
}

fn find_below(folder: &Path, link: &mut Link) {
    // The kernel gives no such name, but it comes from outside.
    if link.name.contains('/') {
        return;
    }
    let folder = folder.join(&link.name);
    link.physical = folder.join("device").exists();
    if !link.physical {
        return;
    }
    link.driver = sysfs::link_name(&folder.join("device"), "driver");
    let place = folder.canonicalize().ok();
    link.path = place.and_then(|place| identity::by_path(&place));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_virtio_card_is_known_by_driver_and_slot() {
        let root = tempfile::tempdir().unwrap();
        let card = root.path().join("devices/pci0000:00/0000:00:03.0");
        let device = card.join("virtio0");
        let net = device.join("net/enp0s3");
        std::fs::create_dir_all(&net).unwrap();
        for (folder, subsystem) in [(&card, "pci"), (&device, "virtio"), (&net, "net")] {
            std::fs::write(folder.join("uevent"), "").unwrap();
            symlink(format!("/sys/class/{subsystem}"), folder.join("subsystem")).unwrap();
        }
        symlink("../../../virtio0", net.join("device")).unwrap();
        symlink("/sys/bus/virtio/drivers/virtio_net", device.join("driver")).unwrap();
        let class = root.path().join("class");
        std::fs::create_dir(&class).unwrap();
        symlink(&net, class.join("enp0s3")).unwrap();

        let mut link = Link {
            name: "enp0s3".into(),
            ..Link::default()
        };
        find_below(&class, &mut link);
        assert!(link.physical);
        assert_eq!(link.driver.as_deref(), Some("virtio_net"));
        assert_eq!(link.path.as_deref(), Some("pci-0000:00:03.0"));

        let mut made = Link {
            name: "bond0".into(),
            ..Link::default()
        };
        find_below(&class, &mut made);
        assert_eq!((made.physical, made.driver, made.path), (false, None, None));
    }
}
