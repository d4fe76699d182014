//! modprobe.d(5), the two directives that a node needs: `options` and `blacklist`. The kernel's command line adds
//! `MODULE.PARAMETER=VALUE`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use spec_layout::command_line::CommandLine;
use spec_layout::modules::name;

/// Folders, the weakest first: a file replaces one of the same name in a folder before.
const FOLDERS: [&str; 3] = ["/usr/lib/modprobe.d", "/run/modprobe.d", "/etc/modprobe.d"];
/// Largest file that is read.
const FILE_MAX: u64 = 256 * 1024;

/// What is configured for modules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    options: BTreeMap<String, Vec<String>>,
    blacklist: BTreeSet<String>,
}

impl Settings {
    /// Reads the folders and the kernel's command line.
    pub(crate) fn read() -> Self {
        let mut files = BTreeMap::new();
        for folder in FOLDERS {
            for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = file.path();
                if path
                    .extension()
                    .is_some_and(|extension| extension == "conf")
                {
                    files.insert(file.file_name(), path);
                }
            }
        }
        let mut settings = Self::default();
        for path in files.values() {
            match read_file(path) {
                Ok(text) => settings.add(&path.display().to_string(), &text),
                Err(error) => log::warn!("{}: {error}", path.display()),
            }
        }
        let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        settings.add_command_line(&CommandLine::parse(&line));
        settings
    }

    /// The parameters of a module, as the kernel takes them.
    pub(crate) fn parameters(&self, module: &str) -> String {
        self.options
            .get(module)
            .map(|all| all.join(" "))
            .unwrap_or_default()
    }

    /// Whether a module is not to be loaded because a device asks for it.
    pub(crate) fn is_blacklisted(&self, module: &str) -> bool {
        self.blacklist.contains(module)
    }

    fn add(&mut self, file: &str, text: &str) {
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                [comment, ..] if comment.starts_with('#') => {}
                ["options", module, options @ ..] => {
                    let all = self.options.entry(name(module)).or_default();
                    all.extend(options.iter().map(|option| option.to_string()));
                }
                ["blacklist", module] => {
                    self.blacklist.insert(name(module));
                }
                [directive, ..] => {
                    log::warn!("{file}:{number}: {directive:?} is not supported and has no effect")
                }
            }
        }
    }

    fn add_command_line(&mut self, line: &CommandLine) {
        for (key, value) in line.words() {
            match (key, value) {
                ("module_blacklist" | "modprobe.blacklist", Some(list)) => {
                    self.blacklist.extend(list.split(',').map(name));
                }
                (key, value) => {
                    let Some((module, parameter)) = key.split_once('.') else {
                        continue;
                    };
                    let option = value.map_or(parameter.to_string(), |value| {
                        format!("{parameter}={value}")
                    });
                    self.options.entry(name(module)).or_default().push(option);
                }
            }
        }
    }
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > FILE_MAX {
        return Err(std::io::Error::other(format!(
            "{length} bytes, at most {FILE_MAX} are read"
        )));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_command_line_add_up() {
        let mut settings = Settings::default();
        settings.add(
            "a.conf",
            "# comment\noptions kvm-intel nested=1\n\nblacklist pcspkr\ninstall x /bin/true\n",
        );
        settings.add_command_line(&CommandLine::parse(
            "quiet kvm_intel.ept=0 modprobe.blacklist=floppy,st",
        ));
        assert_eq!(settings.parameters("kvm_intel"), "nested=1 ept=0");
        assert_eq!(settings.parameters("ext4"), "");
        assert!(
            ["pcspkr", "floppy", "st"]
                .iter()
                .all(|module| settings.is_blacklisted(module))
        );
        assert!(!settings.is_blacklisted("ext4"));
    }
}
