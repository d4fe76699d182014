//! Loading modules: by a device's modalias, or by name or alias as the kernel asks for them (modprobe(8)).
//!
//! The kernel unpacks compressed modules itself (MODULE_INIT_COMPRESSED_FILE).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::system::{finit_module, uname};
use spec_layout::modules::{Index, Module, name};

use crate::device::modprobe_d::Settings;

/// Largest index file that is read: modules.alias of Debian's generic kernel has 1.5 MB.
const INDEX_MAX: u64 = 32 << 20;
/// `MODULE_INIT_COMPRESSED_FILE`.
const COMPRESSED: i32 = 4;
/// Most bytes of parameters.
const PARAMETERS_MAX: usize = 2048;

/// Loads modules of the running kernel.
pub(crate) struct Loader {
    folder: PathBuf,
    index: Index,
    settings: Settings,
}

impl Loader {
    /// Reads the index of the running kernel. A missing file counts as an empty one.
    pub(crate) fn open() -> io::Result<Self> {
        let folder = Path::new("/lib/modules").join(uname().release().to_string_lossy().as_ref());
        let read = |file: &str| read_index(&folder.join(file));
        let (dep, alias) = (read("modules.dep")?, read("modules.alias")?);
        let (softdep, builtin) = (read("modules.softdep")?, read("modules.builtin")?);
        let index = Index::parse(&dep, &alias, &softdep, &builtin)
            .map_err(|error| io::Error::other(format!("{}: {error}", folder.display())))?;
        Ok(Self {
            folder,
            index,
            settings: Settings::read(),
        })
    }

    /// Every module that drives a device with this modalias, with its path; without those on the blacklist.
    pub(crate) fn drivers(&self, modalias: &str) -> Vec<(String, String)> {
        let mut modules = self.index.matching(modalias);
        modules.retain(|module| !self.settings.is_blacklisted(module));
        let with_path = modules.into_iter().map(|module| {
            let entry = self.index.module(&module);
            let path = entry.map_or_else(String::new, |entry| entry.path.clone());
            (module, path)
        });
        with_path.collect()
    }

    /// Loads what [`drivers`](Self::drivers) gave; a failure is said.
    pub(crate) fn load_driver(&mut self, module: &str) {
        if let Err(error) = self.load(module, &[]) {
            log::warn!("{error}");
        }
    }

    /// Loads what a request names: a module or an alias. An error where neither is known.
    pub(crate) fn load_by_request(
        &mut self,
        request: &str,
        parameters: &[String],
    ) -> io::Result<()> {
        if self.index.module(request).is_some() {
            return self.load(request, parameters);
        }
        if self.index.is_builtin(request) {
            return Ok(());
        }
        let mut modules = self.index.matching(request);
        modules.retain(|module| !self.settings.is_blacklisted(module));
        if modules.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no module or alias {request} in {}", self.folder.display()),
            ));
        }
        // Several modules may offer the same; one that loads is enough.
        let mut result = Ok(());
        for module in modules {
            match self.load(&module, parameters) {
                Ok(()) => return Ok(()),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Loads a module after what it needs. The parameters are for the module itself.
    fn load(&self, module: &str, parameters: &[String]) -> io::Result<()> {
        let module = name(module);
        if is_loaded(&module) {
            return Ok(());
        }
        for (each, entry) in self.index.load_order(&module) {
            let mut text = self.settings.parameters(each);
            if each == module && !parameters.is_empty() {
                text = format!("{text} {}", parameters.join(" "))
                    .trim()
                    .to_string();
            }
            match self.insert(each, entry, &text) {
                // A softdep is wished for only; what is needed fails the module itself.
                Err(error) if each != module => log::debug!("{error}"),
                result => result?,
            }
        }
        Ok(())
    }

    fn insert(&self, module: &str, entry: &Module, parameters: &str) -> io::Result<()> {
        if is_loaded(module) {
            return Ok(());
        }
        let path = self.folder.join(&entry.path);
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if parameters.len() > PARAMETERS_MAX {
            return Err(named(io::Error::other("too many parameters")));
        }
        let parameters = CString::new(parameters).map_err(|error| named(error.into()))?;
        let file = File::open(&path).map_err(named)?;
        let flags = if entry.path.ends_with(".ko") {
            0
        } else {
            COMPRESSED
        };
        match finit_module(&file, &parameters, flags) {
            Ok(()) => {
                log::debug!("module {module} loaded");
                Ok(())
            }
            // Loaded meanwhile; or it sees no device that it could drive.
            Err(Errno::EXIST | Errno::NODEV) => Ok(()),
            Err(error) => Err(named(error.into())),
        }
    }
}

fn is_loaded(module: &str) -> bool {
    let state = std::fs::read_to_string(format!("/sys/module/{module}/initstate"));
    state.is_ok_and(|state| state.trim() == "live")
}

fn read_index(path: &Path) -> io::Result<String> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Ok(file) if file.len() > INDEX_MAX => return Err(named(io::Error::other("too large"))),
        _ => {}
    }
    std::fs::read_to_string(path).map_err(named)
}
