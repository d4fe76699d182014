//! Devices of a node: modules for what is there, permissions of device nodes, stable names.
//!
//! The kernel makes the nodes (devtmpfs); this service adds what the kernel does not decide. At start it walks /sys
//! (cold plug), afterwards it follows the kernel's uevents; both give the same [`uevent::Device`] to the same
//! handler. No rule files: tables in [`permission`], [`superblock`] and [`interface_name`].
//!
//! READY is told when the devices that are there have been handled, and all links have their drivers and names. The
//! other drivers follow ([`drivers`]).
//!
//! Called as `modprobe` it loads what the kernel asks for (Documentation/admin-guide/sysctl/kernel.rst, modprobe).

mod cold_plug;
mod disk_link;
mod drivers;
mod event_loop;
mod handler;
pub(crate) mod identity;
mod interface_name;
mod link;
mod modprobe_d;
mod module;
mod monitor;
mod partition;
mod permission;
mod power;
pub(crate) mod superblock;
pub(crate) mod sysfs;
mod tell;
mod uevent;

use std::collections::BTreeSet;
use std::process::ExitCode;

/// Runs the device service until SIGTERM.
pub(crate) fn main(_args: &[String]) -> ExitCode {
    crate::logging::start("device", crate::logging::Target::Journal);
    match event_loop::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Drivers of disks and of what they are behind, for who looks for one before the device service runs.
pub(crate) struct DiskDrivers {
    loader: module::Loader,
    seen: BTreeSet<String>,
}

/// Parts of their paths.
const DISK_DRIVERS: [&str; 12] = [
    "kernel/drivers/ata/",
    "kernel/drivers/block/",
    "kernel/drivers/cdrom/",
    "kernel/drivers/hv/",
    "kernel/drivers/message/",
    "kernel/drivers/mmc/",
    "kernel/drivers/nvme/",
    "kernel/drivers/pci/",
    "kernel/drivers/scsi/",
    "kernel/drivers/usb/",
    "kernel/drivers/virtio/",
    "kernel/drivers/xen/",
];

impl DiskDrivers {
    /// Reads the index of modules.
    pub(crate) fn open() -> std::io::Result<Self> {
        Ok(Self {
            loader: module::Loader::open()?,
            seen: BTreeSet::new(),
        })
    }

    /// Loads those of the devices that have come since the last call.
    pub(crate) fn load(&mut self) {
        cold_plug::walk(&mut |device| {
            let modalias = device.get("MODALIAS").unwrap_or_default();
            if !self.seen.insert(modalias.to_owned()) {
                return;
            }
            for (module, path) in self.loader.drivers(modalias) {
                if DISK_DRIVERS.iter().any(|part| path.starts_with(part)) {
                    self.loader.load_driver(&module);
                }
            }
        });
    }
}

/// `modprobe [-q] [--] NAME [PARAMETER=VALUE...]`: loads a module by name or alias.
pub(crate) fn modprobe(args: &[String]) -> ExitCode {
    crate::logging::start("modprobe", crate::logging::Target::Journal);
    let options: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .take_while(|arg| arg.starts_with('-') && *arg != "--")
        .collect();
    let quiet = options
        .iter()
        .any(|option| matches!(*option, "-q" | "--quiet"));
    if let Some(unknown) = options
        .iter()
        .find(|option| !matches!(**option, "-q" | "--quiet" | "-s" | "-a" | "-b"))
    {
        log::error!(
            "modprobe: {unknown} is not known; only loading is: modprobe [-q] [--] NAME [PARAMETER=VALUE...]"
        );
        return ExitCode::from(2);
    }
    let mut rest = args.iter().skip(options.len()).filter(|arg| *arg != "--");
    let Some(name) = rest.next() else {
        log::error!("modprobe: no module is named");
        return ExitCode::from(2);
    };
    let parameters: Vec<String> = rest.cloned().collect();
    match module::Loader::open().and_then(|mut loader| loader.load_by_request(name, &parameters)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !quiet {
                log::error!("modprobe: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
