//! Loading kernel modules, compressed as they are: the kernel unpacks them.
//!
//! Parameters come from the kernel command line (`MODULE.PARAMETER=VALUE`), as modprobe(8) takes them.
//!
//! Source: finit_module(2), modprobe(8).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use spec_layout::command_line::CommandLine;
use spec_layout::modules::{Index, Module, name};

use crate::error::{Error, Result, What};

/// MODULE_INIT_COMPRESSED_FILE.
const COMPRESSED: i32 = 4;
/// Largest index file that is read; modules.alias of Debian's generic kernel has 1.5 MB.
const INDEX_MAX: u64 = 16 << 20;

/// The modules of the running kernel.
#[derive(Debug, Default)]
pub(crate) struct Loader {
    folder: PathBuf,
    command_line: CommandLine,
    /// Read when a module that is not there yet is asked for.
    index: Option<Index>,
    /// Device aliases that were already seen to.
    seen: BTreeSet<String>,
    /// Drivers of the devices that were seen, the most urgent first.
    waiting: BTreeMap<Urgency, VecDeque<String>>,
}

/// In which order drivers are loaded. What is not needed to get to the root is left to the device service, which has
/// them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// Watchdogs, and the bridges that they are behind.
    Watchdog,
    /// What a virtual machine's other devices are behind.
    Bus,
    /// Disks that are there as soon as their driver is.
    Disk,
    /// Disks behind a bus that has to be walked first.
    DiskOnBus,
    Other,
}

/// By a part of the module's path.
const URGENCY: &[(&str, Urgency)] = &[
    ("/drivers/watchdog/", Urgency::Watchdog),
    ("/drivers/i2c/busses/i2c-i801.", Urgency::Watchdog),
    ("/drivers/mfd/lpc_ich.", Urgency::Watchdog),
    ("/drivers/mfd/intel_pmc_bxt.", Urgency::Watchdog),
    ("/drivers/virtio/", Urgency::Bus),
    ("/drivers/hv/", Urgency::Bus),
    ("/drivers/xen/", Urgency::Bus),
    ("/drivers/pci/", Urgency::Bus),
    ("/drivers/block/", Urgency::Disk),
    ("/drivers/nvme/", Urgency::Disk),
    ("/drivers/ata/", Urgency::DiskOnBus),
    ("/drivers/scsi/", Urgency::DiskOnBus),
    ("/drivers/mmc/", Urgency::DiskOnBus),
];

impl Urgency {
    fn of(path: &str) -> Urgency {
        let row = URGENCY.iter().find(|(part, _)| path.contains(part));
        row.map_or(Urgency::Other, |(_, urgency)| *urgency)
    }

    /// Whether it drives disks.
    pub(crate) fn is_disk(self) -> bool {
        matches!(self, Urgency::Disk | Urgency::DiskOnBus)
    }
}

impl Loader {
    /// Those below `modules` that are the running kernel's. A kernel without modules is fine.
    pub(crate) fn new(modules: &Path, command_line: &CommandLine) -> Loader {
        let release = rustix::system::uname();
        Loader {
            folder: modules.join(release.release().to_string_lossy().as_ref()),
            command_line: command_line.clone(),
            ..Loader::default()
        }
    }

    /// Reads the index, once; one that cannot be read is an empty one from then on.
    pub(crate) fn read_index(&mut self) -> Result<()> {
        if self.index.is_none() {
            self.index = Some(Index::default());
            let read = |file: &str| read_bounded(&self.folder.join(file));
            let index = Index::parse(
                &read("modules.dep")?,
                &read("modules.alias")?,
                &read("modules.softdep")?,
                &read("modules.builtin")?,
            );
            self.index = Some(index.map_err(Error::at(What::Modules, self.folder.display()))?);
        }
        Ok(())
    }

    /// Loads a module and what it needs. Built-in, loaded and absent modules are no error.
    pub(crate) fn load(&mut self, module: &str) -> Result<()> {
        if is_loaded(&name(module)) {
            return Ok(());
        }
        self.read_index()?;
        let Some(index) = &self.index else {
            return Ok(());
        };
        let order = index.load_order(module);
        if order.is_empty() && !index.is_builtin(module) {
            crate::debug!("module {module} is not in this image");
        }
        order
            .into_iter()
            .try_for_each(|(name, entry)| self.insert(name, entry))
    }

    /// Loads one driver that a device lacks, the most urgent; `None` if none lacks one.
    pub(crate) fn load_next(&mut self) -> Option<Urgency> {
        if self.waiting.is_empty() {
            self.look_at_devices();
        }
        let mut first = self.waiting.first_entry()?;
        let urgency = *first.key();
        let module = first.get_mut().pop_front();
        let last = first.get().is_empty();
        if last {
            first.remove();
        }
        if let Some(module) = module {
            self.load_or_say(&module);
        }
        if last {
            // What was loaded may be a bus, and what is behind it more urgent than what waits.
            self.look_at_devices();
        }
        Some(urgency)
    }

    /// Loads the drivers of the watchdogs of this machine, and of the bridges that they are behind.
    pub(crate) fn load_watchdog_drivers(&mut self) {
        loop {
            self.look_at_devices();
            match self.waiting.remove(&Urgency::Watchdog) {
                Some(modules) => modules.iter().for_each(|module| self.load_or_say(module)),
                None => return,
            }
        }
    }

    /// Loads what this processor has for SHA-256: dm-verity keeps the hash that it finds first, and the generic one is
    /// several times slower.
    pub(crate) fn load_processors_hash(&mut self) {
        let alias = std::fs::read_to_string("/sys/devices/system/cpu/modalias").unwrap_or_default();
        let Some(index) = &self.index else { return };
        let mut modules = index.matching(alias.trim());
        modules.retain(|module| {
            let entry = index.module(module);
            entry.is_some_and(|entry| entry.path.contains("/crypto/sha2"))
        });
        modules.iter().for_each(|module| self.load_or_say(module));
    }

    /// Finds the drivers of devices that have come since the last look.
    fn look_at_devices(&mut self) {
        if let Err(error) = self.read_index() {
            crate::error::settle(&error);
        }
        let Some(index) = &self.index else { return };
        for alias in modaliases() {
            if self.seen.contains(&alias) {
                continue;
            }
            for module in index.matching(&alias) {
                let path = index.module(&module).map_or("", |entry| &entry.path);
                let urgency = Urgency::of(path);
                self.waiting.entry(urgency).or_default().push_back(module);
            }
            self.seen.insert(alias);
        }
    }

    /// Loads a module; a failure is said and nothing more.
    pub(crate) fn load_or_say(&mut self, module: &str) {
        if let Err(error) = self.load(module) {
            crate::error::settle(&error);
        }
    }

    fn insert(&self, module: &str, entry: &Module) -> Result<()> {
        if is_loaded(module) {
            return Ok(());
        }
        let path = self.folder.join(&entry.path);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                crate::debug!("{} is not in this image", path.display());
                return Ok(());
            }
            Err(cause) => return Err(Error::at(What::Modules, path.display())(cause)),
        };
        let flags = if entry.path.ends_with(".ko") {
            0
        } else {
            COMPRESSED
        };
        let parameters = parameters(&self.command_line, module);
        match rustix::system::finit_module(&file, &parameters, flags) {
            // Loaded by someone else meanwhile, or a driver that finds nothing to drive.
            Ok(()) | Err(Errno::EXIST | Errno::NODEV) => {
                crate::debug!("module {module} loaded");
                Ok(())
            }
            Err(cause) => Err(Error::new(
                What::Modules,
                format!("{}: {cause}", path.display()),
            )),
        }
    }
}

/// Whether the kernel has it, whole or in the middle of its start.
fn is_loaded(module: &str) -> bool {
    Path::new("/sys/module")
        .join(module)
        .join("initstate")
        .exists()
}

/// `MODULE.PARAMETER=VALUE` of the command line as the kernel wants them: `PARAMETER=VALUE ...`.
fn parameters(command_line: &CommandLine, module: &str) -> CString {
    let own = command_line.words().filter_map(|(key, value)| {
        let (of, parameter) = key.split_once('.')?;
        (name(of) == module).then(|| match value {
            Some(value) if value.contains(' ') => format!("{parameter}=\"{value}\""),
            Some(value) => format!("{parameter}={value}"),
            None => parameter.to_owned(),
        })
    });
    CString::new(own.collect::<Vec<_>>().join(" ")).unwrap_or_default()
}

/// What every device on every bus says of itself.
fn modaliases() -> impl Iterator<Item = String> {
    let folders = |path: PathBuf| {
        std::fs::read_dir(path)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
    };
    let devices =
        folders(PathBuf::from("/sys/bus")).flat_map(move |bus| folders(bus.join("devices")));
    let aliases =
        devices.filter_map(|device| std::fs::read_to_string(device.join("modalias")).ok());
    aliases
        .map(|alias| alias.trim().to_owned())
        .filter(|alias| !alias.is_empty())
}

/// Text of an index file; empty if there is none.
fn read_bounded(path: &Path) -> Result<String> {
    let failed = || Error::at(What::Modules, path.display());
    match std::fs::metadata(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(cause) => Err(failed()(cause)),
        Ok(found) if found.len() > INDEX_MAX => Err(Error::new(
            What::Modules,
            format!("{} is larger than an index can be", path.display()),
        )),
        Ok(_) => std::fs::read_to_string(path).map_err(failed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_from_the_command_line() {
        let line = CommandLine::parse(
            "dm-verity.prefetch=1 loop.max_loop=8 dm_verity.x=\"a b\" dm_verity.y",
        );
        assert_eq!(
            parameters(&line, "dm_verity").to_str(),
            Ok("prefetch=1 x=\"a b\" y")
        );
        assert_eq!(parameters(&line, "erofs").to_str(), Ok(""));
    }

    #[test]
    fn a_kernel_without_modules_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let mut loader = Loader::new(folder.path(), &CommandLine::default());
        assert_eq!(loader.load("erofs"), Ok(()));
    }

    #[test]
    fn a_broken_index_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut loader = Loader::new(folder.path(), &CommandLine::default());
        std::fs::create_dir(&loader.folder).unwrap();
        std::fs::write(loader.folder.join("modules.dep"), "no colon\n").unwrap();
        let message = loader.load("erofs").unwrap_err().to_string();
        assert!(message.contains("modules.dep:1"), "{message}");
        assert_eq!(loader.load("erofs"), Ok(()));
    }

    #[test]
    fn the_watchdog_comes_first_and_disks_before_the_rest() {
        let of = Urgency::of;
        for bridge in ["i2c/busses/i2c-i801", "mfd/lpc_ich"] {
            let path = format!("kernel/drivers/{bridge}.ko.xz");
            assert_eq!(of(&path), Urgency::Watchdog, "{path}");
        }
        assert!(
            of("kernel/drivers/virtio/virtio_pci.ko.xz")
                < of("kernel/drivers/block/virtio_blk.ko.xz")
        );
        assert!(
            of("kernel/drivers/watchdog/i6300esb.ko.xz")
                < of("kernel/drivers/nvme/host/nvme.ko.xz")
        );
        assert!(of("kernel/drivers/block/virtio_blk.ko.xz") < of("kernel/drivers/ata/ahci.ko.xz"));
        assert!(
            of("kernel/drivers/scsi/virtio_scsi.ko.xz") < of("kernel/drivers/acpi/button.ko.xz")
        );
    }
}
