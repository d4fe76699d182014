//! A recipe as one file says it: every key checked, nothing inherited yet.

use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

use crate::entry::{Group, User};
use crate::{Architecture, Error, Pattern, error, name};

/// One recipe file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRecipe {
    /// The recipe below this one: a file, relative to this file's folder.
    pub extends: Option<Spanned<String>>,
    /// Name of the image.
    pub id: Option<Spanned<String>>,
    /// Version of the image.
    pub version: Option<Spanned<String>>,
    /// What it is for, in one sentence.
    pub description: Option<String>,
    /// Debian architecture.
    pub architecture: Option<Architecture>,
    /// MiB of a root slot.
    pub slot_mib: Option<Spanned<u64>>,
    /// Formats written when the command line names none.
    pub formats: Option<Vec<String>>,
    /// Mirror that serves every suite, where neither BEDPLATE_MIRROR nor apt's sources do.
    pub mirror: Option<Spanned<String>>,
    /// Mirror that keeps superseded packages.
    pub archive_mirror: Option<Spanned<String>>,
    /// Suites, in order of preference where versions are equal.
    #[serde(default)]
    pub suites: Vec<RawSuite>,
    /// Packages of the root, with their relations.
    #[serde(default)]
    pub packages: Vec<Spanned<String>>,
    /// Packages that relations must not pull in: the relation counts as fulfilled.
    #[serde(default)]
    pub exclude: Vec<Spanned<String>>,
    /// Packages that the builder reads and that do not enter the root: stub and boot loader.
    #[serde(default)]
    pub boot_packages: Vec<Spanned<String>>,
    /// Packages whose programs write bytes of the image, for the building machine's architecture.
    #[serde(default)]
    pub tools: Vec<Spanned<String>>,
    /// File trees laid over the packages, in this order: folders, relative to this file's folder.
    #[serde(default)]
    pub overlays: Vec<Spanned<String>>,
    /// The kernel.
    #[serde(default)]
    pub kernel: RawKernel,
    /// Units.
    #[serde(default)]
    pub units: RawUnits,
    /// Users that no package brings.
    #[serde(default)]
    pub users: Vec<User>,
    /// Groups that no package brings.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Which files of the packages enter the root.
    #[serde(default)]
    pub paths: RawPaths,
    /// Kernel modules by class.
    #[serde(default)]
    pub modules: RawModules,
}

/// A suite of the mirror.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSuite {
    /// `trixie`, `trixie-security`.
    pub name: Spanned<String>,
    /// `main` if not given.
    pub components: Option<Vec<Spanned<String>>>,
}

/// `[kernel]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawKernel {
    /// The package; its version enters the lock through its relations.
    pub package: Option<Spanned<String>>,
    /// Words of the command line; those of a recipe below come first.
    #[serde(default)]
    pub command_line: Vec<Spanned<String>>,
}

/// `[units]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawUnits {
    /// Enabled as their `[Install]` says.
    #[serde(default)]
    pub enable: Vec<Spanned<String>>,
    /// Not enabled although a recipe below does.
    #[serde(default)]
    pub disable: Vec<Spanned<String>>,
    /// May start although they ask for isolation that PID 1 does not give yet.
    #[serde(default)]
    pub allow: Vec<Spanned<String>>,
}

/// `[paths]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPaths {
    /// Dropped.
    #[serde(default)]
    pub drop: Vec<Pattern>,
    /// Kept although dropped.
    #[serde(default)]
    pub keep: Vec<Pattern>,
    /// Of these packages nothing but these paths.
    #[serde(default)]
    pub only: BTreeMap<String, Vec<Pattern>>,
}

/// `[modules]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawModules {
    /// Classes, as patterns below `/usr/lib/modules/VERSION/`.
    #[serde(default)]
    pub classes: BTreeMap<String, Vec<Pattern>>,
    /// Classes of the initramfs.
    #[serde(default)]
    pub initramfs: Vec<Spanned<String>>,
    /// Classes of the root.
    #[serde(default)]
    pub root: Vec<Spanned<String>>,
    /// Modules that the initramfs loads whatever devices there are.
    #[serde(default)]
    pub load: Vec<Spanned<String>>,
}

impl RawRecipe {
    /// Reads one file. `file` is only named in messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let raw: RawRecipe = error::read(file, text)?;
        raw.check()
            .map_err(|(span, message)| Error::at(file, text, span, message))?;
        for package in raw.paths.only.keys() {
            name::package(package)
                .map_err(|message| Error::whole(file, format!("[paths.only]: {message}")))?;
        }
        for user in &raw.users {
            user.check()
                .map_err(|message| Error::whole(file, format!("[[users]]: {message}")))?;
        }
        for group in &raw.groups {
            group
                .check()
                .map_err(|message| Error::whole(file, format!("[[groups]]: {message}")))?;
        }
        for class in raw.modules.classes.keys() {
            name::identifier(class)
                .map_err(|message| Error::whole(file, format!("[modules.classes]: {message}")))?;
        }
        Ok(raw)
    }

    /// The first field that holds what it must not.
    fn check(&self) -> Result<(), (std::ops::Range<usize>, String)> {
        each(&self.extends, relative)?;
        each(&self.id, name::identifier)?;
        each(&self.version, name::version)?;
        each(&self.mirror, name::mirror)?;
        each(&self.archive_mirror, name::mirror)?;
        for suite in &self.suites {
            one(&suite.name, name::identifier)?;
            each(suite.components.iter().flatten(), |component| {
                name::identifier(component)
            })?;
        }
        for list in [
            &self.packages,
            &self.exclude,
            &self.boot_packages,
            &self.tools,
        ] {
            each(list, name::package)?;
        }
        each(&self.kernel.package, name::package)?;
        each(&self.kernel.command_line, command_line_word)?;
        each(&self.overlays, relative)?;
        each(&self.units.enable, name::units)?;
        for list in [&self.units.disable, &self.units.allow] {
            each(list, name::unit)?;
        }
        for list in [&self.modules.initramfs, &self.modules.root] {
            each(list, name::identifier)?;
        }
        each(&self.modules.load, module_name)?;
        match &self.slot_mib {
            Some(slot) if !(64..=65536).contains(slot.get_ref()) => {
                Err((slot.span(), "a root slot has 64 to 65536 MiB".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

type Checked = Result<(), (std::ops::Range<usize>, String)>;

fn one(value: &Spanned<String>, check: impl Fn(&str) -> Result<(), String>) -> Checked {
    check(value.get_ref()).map_err(|message| (value.span(), message))
}

fn each<'a>(
    values: impl IntoIterator<Item = &'a Spanned<String>>,
    check: impl Fn(&str) -> Result<(), String>,
) -> Checked {
    values.into_iter().try_for_each(|value| one(value, &check))
}

/// A path from this file's folder.
fn relative(path: &str) -> Result<(), String> {
    if path.is_empty() || path.starts_with('/') || path.contains('\0') || path.len() > 1024 {
        return Err(format!(
            "\"{path}\" must be a path relative to this file's folder"
        ));
    }
    Ok(())
}

fn command_line_word(word: &str) -> Result<(), String> {
    if word.is_empty() || word.len() > 512 || !word.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("\"{word}\" must be one word of printable ASCII"));
    }
    if word.starts_with("roothash=") {
        return Err("the builder itself writes roothash=".to_owned());
    }
    Ok(())
}

fn module_name(module: &str) -> Result<(), String> {
    if module.is_empty()
        || module.len() > 64
        || !module
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    {
        return Err(format!("\"{module}\" is no module name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        RawRecipe::parse("recipes/x.toml", text)
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_and_line() {
        let message = refused("id = \"x\"\n\n[units]\nenabled = [\"a.service\"]\n");
        assert!(
            message.starts_with("recipes/x.toml:4:1: unknown field `enabled`"),
            "{message}"
        );
        assert!(message.contains("enable"), "{message}");
        let message = refused("id = \"x\"\npackage = [\"bash\"]\n");
        assert!(
            message.starts_with("recipes/x.toml:2:1: unknown field `package`"),
            "{message}"
        );
    }

    #[test]
    fn a_bad_value_is_refused_with_file_line_and_column() {
        assert!(
            refused("packages = [\"bash\",\n  \"../x\"]\n")
                .starts_with("recipes/x.toml:2:3: \"../x\" is no Debian package name")
        );
        assert!(
            refused("architecture = \"riscv64\"\n")
                .starts_with("recipes/x.toml:1:16: unknown variant `riscv64`")
        );
        assert!(refused("slot_mib = 3\n").contains("64 to 65536 MiB"));
        assert!(refused("[kernel]\ncommand_line = [\"roothash=00\"]\n").contains("builder itself"));
        assert!(
            refused("id = \"x\"\nid = \"y\"\n").starts_with("recipes/x.toml:2:1: duplicate key")
        );
        assert!(refused("overlays = [\"/etc\"]").contains("relative"));
    }

    #[test]
    fn garbage_is_refused() {
        assert!(refused("\u{0}\u{1}").starts_with("recipes/x.toml:1:"));
        assert!(refused(&"[".repeat(100_000)).starts_with("recipes/x.toml"));
        assert!(refused(&" ".repeat(crate::FILE_BYTES_MAX + 1)).contains("longer than"));
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(text in "[a-z\\[\\]=\"\n .{}]{0,200}") {
            let _ = RawRecipe::parse("x", &text);
        }
    }
}
