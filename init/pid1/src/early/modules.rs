//! Loading kernel modules, compressed as they are: the kernel unpacks them.
//!
//! Parameters come from the kernel command line (`MODULE.PARAMETER=VALUE`), as modprobe(8) takes them.
//!
//! Source: finit_module(2), modprobe(8).

use std::collections::BTreeSet;
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
    index: Index,
    folder: PathBuf,
    command_line: CommandLine,
    /// Device aliases that were already seen to.
    seen: BTreeSet<String>,
}

impl Loader {
    /// Reads the index of the running kernel below `modules`. A kernel without modules is fine.
    pub(crate) fn open(modules: &Path, command_line: &CommandLine) -> Result<Loader> {
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        let folder = modules.join(release);
        let read = |file: &str| read_bounded(&folder.join(file));
        let index = Index::parse(
            &read("modules.dep")?,
            &read("modules.alias")?,
            &read("modules.softdep")?,
            &read("modules.builtin")?,
        );
        let index = index.map_err(Error::at(What::Modules, folder.display()))?;
        Ok(Loader {
            index,
            folder,
            command_line: command_line.clone(),
            seen: BTreeSet::new(),
        })
    }

    /// Loads a module and what it needs. Built-in, loaded and absent modules are no error.
    pub(crate) fn load(&mut self, module: &str) -> Result<()> {
        let order = self.index.load_order(module);
        if order.is_empty() && !self.index.is_builtin(module) {
            crate::debug!("module {module} is not in this image");
        }
        order
            .into_iter()
            .try_for_each(|(name, entry)| self.insert(name, entry))
    }

    /// Loads a driver for every device that has come since the last call.
    pub(crate) fn coldplug(&mut self) {
        let new: Vec<String> = modaliases()
            .filter(|alias| !self.seen.contains(alias))
            .collect();
        for alias in new {
            let modules: Vec<String> = self
                .index
                .matching(&alias)
                .into_iter()
                .map(str::to_owned)
                .collect();
            modules.iter().for_each(|module| self.load_or_say(module));
            self.seen.insert(alias);
        }
    }

    /// Loads only the drivers of watchdogs that are on a bus of this machine.
    pub(crate) fn load_watchdog_drivers(&mut self) {
        let is_watchdog = |name: &&str| {
            self.index
                .module(name)
                .is_some_and(|module| module.path.contains("/watchdog/"))
        };
        let found: BTreeSet<String> = modaliases()
            .flat_map(|alias| {
                self.index
                    .matching(&alias)
                    .into_iter()
                    .filter(is_watchdog)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        found.iter().for_each(|module| self.load_or_say(module));
    }

    /// Loads a module; a failure is said and nothing more.
    pub(crate) fn load_or_say(&mut self, module: &str) {
        if let Err(error) = self.load(module) {
            crate::error::settle(&error);
        }
    }

    fn insert(&self, module: &str, entry: &Module) -> Result<()> {
        if Path::new("/sys/module")
            .join(module)
            .join("initstate")
            .exists()
        {
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
            Ok(()) | Err(Errno::EXIST | Errno::NODEV) => Ok(()),
            Err(cause) => Err(Error::new(
                What::Modules,
                format!("{}: {cause}", path.display()),
            )),
        }
    }
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
        let mut loader = Loader::open(folder.path(), &CommandLine::default()).unwrap();
        assert_eq!(loader.load("erofs"), Ok(()));
    }
}
