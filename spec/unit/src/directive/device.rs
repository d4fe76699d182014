//! `DeviceAllow=`, `DevicePolicy=`: which devices a service may use, systemd.resource-control(5).

use serde::{Deserialize, Serialize};

use super::image::ImageSettings;
use super::{Directive, Planning, Support, Value};
use crate::plan::ExecPlan;
use crate::plan::filter::{DeviceRule, Devices, HARMLESS_DEVICES};
use crate::unit::Unit;
use crate::value;

/// Which devices a service may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSettings {
    /// DeviceAllow=.
    pub allowed: Vec<DeviceRule>,
    /// DevicePolicy=.
    pub policy: Policy,
}

/// DevicePolicy=.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// All, unless some are listed; then as closed.
    #[default]
    Auto,
    /// The harmless ones and those that are listed.
    Closed,
    /// Those that are listed.
    Strict,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive {
        section: "Service",
        name: "DeviceAllow",
        value: "NODE|char-DRIVER|block-DRIVER [r][w][m]",
        documentation: "Devices it may use, by node below /dev or by driver in /proc/devices with * and ?.",
        support: Support::Confine(add),
    },
    Directive {
        section: "Service",
        name: "DevicePolicy",
        value: "auto|closed|strict",
        documentation: "closed: /dev/null and its like, pseudo-terminals, and what DeviceAllow= lists; strict: that alone.",
        support: Support::Confine(set_policy),
    },
];

fn add(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let allowed = &mut unit.service.devices.allowed;
    if value.is_reset() {
        allowed.clear();
        return Ok(());
    }
    let words = value.words()?;
    let (name, access) = match &words[..] {
        [name] => (name, "rwm"),
        [name, access] => (name, access.as_str()),
        _ => return Err("give a device and at most one word of r, w and m".into()),
    };
    if access.is_empty() || !access.bytes().all(|byte| b"rwm".contains(&byte)) {
        return Err(format!("{access:?} is not made of r, w and m"));
    }
    let driver = |block, pattern: &str| Devices::Driver {
        block,
        pattern: pattern.into(),
    };
    let devices = if let Some(pattern) = name.strip_prefix("char-") {
        driver(false, pattern)
    } else if let Some(pattern) = name.strip_prefix("block-") {
        driver(true, pattern)
    } else {
        let path = value::path(name)?;
        // As in systemd: other nodes are passed over with what they may be on.
        match path.starts_with("/dev/") {
            true => Devices::Node(path),
            false => return Err(format!("{path:?} is not below /dev")),
        }
    };
    let has = |letter| access.contains(letter);
    allowed.push(DeviceRule {
        devices,
        read: has('r'),
        write: has('w'),
        make: has('m'),
    });
    Ok(())
}

fn set_policy(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.devices.policy = match value.text {
        "" | "auto" => Policy::Auto,
        "closed" => Policy::Closed,
        "strict" => Policy::Strict,
        other => return Err(format!("{other:?} is not auto, closed or strict")),
    };
    Ok(())
}

fn rule(devices: Devices, make: bool) -> DeviceRule {
    DeviceRule {
        devices,
        read: true,
        write: true,
        make,
    }
}

/// Devices that harm nobody, and pseudo-terminals.
fn harmless() -> Vec<DeviceRule> {
    let numbers = HARMLESS_DEVICES.map(|(_, major, minor)| (major, minor));
    let number = |(major, minor), make| {
        let minor = Some(minor);
        let block = false;
        rule(
            Devices::Number {
                block,
                major,
                minor,
            },
            make,
        )
    };
    let terminals = Devices::Driver {
        block: false,
        pattern: "pts".into(),
    };
    let nodes = numbers.into_iter().map(|numbers| number(numbers, true));
    nodes
        .chain([number((5, 2), false), rule(terminals, false)])
        .collect()
}

/// What it takes to mount disk images: systemd.exec(5), RootImage=. Numbers of linux/loop.h and linux/miscdevice.h,
/// for the driver of loop devices may not be loaded yet.
fn of_images(images: &ImageSettings) -> Vec<DeviceRule> {
    if !images.is_set() {
        return Vec::new();
    }
    let number = |block, major, minor| {
        let devices = Devices::Number {
            block,
            major,
            minor,
        };
        rule(devices, false)
    };
    let mapped = Devices::Driver {
        block: true,
        pattern: "device-mapper".into(),
    };
    let own = images.paths().filter(|path| path.starts_with("/dev/"));
    let own = own.map(|path| DeviceRule {
        write: false,
        ..rule(Devices::Node(path.into()), false)
    });
    let all = [
        number(false, 10, Some(237)),
        number(true, 7, None),
        number(false, 10, Some(236)),
        rule(mapped, false),
    ];
    all.into_iter().chain(own).collect()
}

/// Holds for the whole control group, whatever command runs in it.
pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let service = &planning.unit.service;
    let mut listed = service.devices.allowed.clone();
    let closed = service.protection.devices || !listed.is_empty();
    // As in systemd it is one device more where devices are listed, and else no list that shuts out all others.
    let has_policy = closed || service.devices.policy != Policy::Auto;
    if service.protection.clock && has_policy {
        let clock = Devices::Driver {
            block: false,
            pattern: "rtc".into(),
        };
        listed.push(DeviceRule {
            write: false,
            ..rule(clock, false)
        });
    }
    listed.extend(of_images(&service.images));
    plan.cgroup.filters.devices = match service.devices.policy {
        Policy::Strict => Some(listed),
        Policy::Auto if !closed => None,
        Policy::Auto | Policy::Closed => Some(harmless().into_iter().chain(listed).collect()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    fn devices(directives: &str) -> Option<Vec<DeviceRule>> {
        let plan = plan(&format!("ExecStart=/bin/a\n{directives}"));
        plan.cgroup.filters.devices
    }

    #[test]
    fn without_a_list_all_may_be_used() {
        assert_eq!(devices(""), None);
        assert_eq!(devices("DeviceAllow=/dev/sda\nDeviceAllow=\n"), None);
        assert_eq!(devices("DevicePolicy=strict\n"), Some(Vec::new()));
    }

    #[test]
    fn the_clocks_device_is_listed_only_beside_others() {
        assert_eq!(devices("ProtectClock=yes\n"), None);
        for policy in ["DevicePolicy=closed", "PrivateDevices=yes"] {
            let list = devices(&format!("ProtectClock=yes\n{policy}\n")).unwrap();
            let clock = &list[list.len() - 1];
            assert!(clock.read && !clock.write && !clock.make, "{policy}");
            let pattern = "rtc".into();
            let block = false;
            assert_eq!(clock.devices, Devices::Driver { block, pattern });
        }
    }

    #[test]
    fn a_list_comes_beside_what_harms_nobody() {
        let list = devices("DeviceAllow=/dev/sda r\nDeviceAllow=block-loop\n").unwrap();
        assert_eq!(list.len(), harmless().len() + 2);
        let (sda, drivers) = (&list[list.len() - 2], &list[list.len() - 1]);
        assert_eq!(sda.devices, Devices::Node("/dev/sda".into()));
        assert!(sda.read && !sda.write && !sda.make);
        assert!(drivers.make);
        let strict = devices("DeviceAllow=char-* rw\nDevicePolicy=strict\n").unwrap();
        assert_eq!(strict.len(), 1);
    }
}
