//! A recipe as the whole chain of `extends` says it.
//!
//! Of one value the uppermost recipe's counts; lists add up, the lowest recipe's first, each item once; a module
//! class or a `paths.only` of the same name is replaced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;

use crate::entry::{Group, User};
use crate::{Architecture, Error, Pattern, RawRecipe};

/// Recipes that may stand on each other.
pub(crate) const EXTENDS_MAX: usize = 8;
/// Default MiB of a root slot.
const SLOT_MIB: u64 = 1024;

/// What an image is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The files that say so, this recipe's first.
    pub sources: Vec<PathBuf>,
    /// Name of the image.
    pub id: String,
    /// Version of the image.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// Architecture.
    pub architecture: Architecture,
    /// Bytes of a root slot.
    pub slot_bytes: u64,
    /// Names of formats.
    pub formats: Vec<String>,
    /// Mirror, if the recipe names one.
    pub mirror: Option<String>,
    /// Mirror that keeps superseded packages.
    pub archive_mirror: Option<String>,
    /// Suites.
    pub suites: Vec<Suite>,
    /// Packages of the root.
    pub packages: Vec<String>,
    /// Packages that relations must not pull in.
    pub exclude: Vec<String>,
    /// Packages that only the builder reads.
    pub boot_packages: Vec<String>,
    /// Packages whose programs write bytes of the image.
    pub tools: Vec<String>,
    /// Overlay folders, the lowest first.
    pub overlays: Vec<PathBuf>,
    /// The kernel.
    pub kernel: Kernel,
    /// Units.
    pub units: Units,
    /// Users that no package brings.
    pub users: Vec<User>,
    /// Groups that no package brings.
    pub groups: Vec<Group>,
    /// Which files of the packages enter the root.
    pub paths: Paths,
    /// Kernel modules.
    pub modules: Modules,
}

/// A suite of the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// Its components.
    pub components: Vec<String>,
}

/// The kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its package.
    pub package: String,
    /// Words of its command line, without what the builder adds.
    pub command_line: Vec<String>,
}

/// Units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Units {
    /// To enable.
    pub enable: Vec<String>,
    /// May start without isolation that PID 1 does not give yet.
    pub allow: Vec<String>,
}

/// Which files of the packages enter the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paths {
    /// Dropped.
    pub drop: Vec<Pattern>,
    /// Kept although dropped.
    pub keep: Vec<Pattern>,
    /// Of these packages nothing but these paths.
    pub only: BTreeMap<String, Vec<Pattern>>,
}

impl Paths {
    /// Whether `path` of `package` enters the root.
    pub fn admit(&self, package: &str, path: &str) -> bool {
        let dropped =
            crate::pattern::any(&self.drop, path) && !crate::pattern::any(&self.keep, path);
        !dropped
            && self
                .only
                .get(package)
                .is_none_or(|only| crate::pattern::any(only, path))
    }
}

/// Kernel modules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Modules {
    /// Patterns of the initramfs's modules, below `/usr/lib/modules/VERSION/`.
    pub initramfs: Vec<Pattern>,
    /// Patterns of the root's modules.
    pub root: Vec<Pattern>,
    /// Modules that the initramfs loads whatever devices there are.
    pub load: Vec<String>,
}

impl Recipe {
    /// Reads `file` and what it extends. `read` gives the text of a file.
    pub fn load(
        file: &Path,
        read: &mut dyn FnMut(&Path) -> std::io::Result<String>,
    ) -> Result<Self, Error> {
        let mut chain: Vec<(PathBuf, RawRecipe)> = Vec::new();
        let mut next = Some((file.to_path_buf(), None));
        while let Some((path, named_at)) = next.take() {
            let text = read(&path).map_err(|error| {
                let message = format!("cannot read {}: {error}", path.display());
                named_at
                    .unwrap_or_else(|| Error::whole(&path.display().to_string(), ""))
                    .with(message)
            })?;
            let shown = path.display().to_string();
            let raw = RawRecipe::parse(&shown, &text)?;
            if let Some(below) = &raw.extends {
                let at = Error::at(&shown, &text, below.span(), "");
                let below = normal(&folder(&path).join(below.get_ref()));
                if chain.len() + 1 >= EXTENDS_MAX
                    || below == normal(&path)
                    || chain.iter().any(|(above, _)| normal(above) == below)
                {
                    return Err(at.with(format!(
                        "extends goes in a circle or is more than {EXTENDS_MAX} deep"
                    )));
                }
                next = Some((below, Some(at)));
            }
            chain.push((path, raw));
        }
        resolve(chain)
    }

    /// Folders with package entries, the uppermost recipe's first.
    pub fn entry_folders(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for source in &self.sources {
            let folder = folder(source).join("packages");
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders
    }
}

impl Error {
    fn with(mut self, message: String) -> Self {
        self.message = message;
        self
    }
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// The path without `.` and, where that needs no look at the disk, `..`.
fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
            {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Joins a chain, the uppermost recipe first.
fn resolve(chain: Vec<(PathBuf, RawRecipe)>) -> Result<Recipe, Error> {
    let shown = chain
        .first()
        .map(|(path, _)| path.display().to_string())
        .unwrap_or_default();
    let missing = |key: &str| {
        Error::whole(
            &shown,
            format!("neither this recipe nor one it extends says {key}"),
        )
    };
    let top =
        |pick: &dyn Fn(&RawRecipe) -> Option<String>| chain.iter().find_map(|(_, raw)| pick(raw));
    let id = chain
        .first()
        .and_then(|(_, raw)| plain(&raw.id))
        .ok_or_else(|| Error::whole(&shown, "id is missing"))?;
    let disabled = list(&chain, |raw| &raw.units.disable);
    let mut enable = list(&chain, |raw| &raw.units.enable);
    enable.retain(|unit| !disabled.contains(unit));
    let recipe = Recipe {
        sources: chain.iter().map(|(path, _)| path.clone()).collect(),
        id,
        version: top(&|raw| plain(&raw.version)).ok_or_else(|| missing("version"))?,
        description: top(&|raw| raw.description.clone()).unwrap_or_default(),
        architecture: chain
            .iter()
            .find_map(|(_, raw)| raw.architecture)
            .ok_or_else(|| missing("architecture"))?,
        slot_bytes: chain
            .iter()
            .find_map(|(_, raw)| raw.slot_mib.as_ref().map(|mib| *mib.get_ref()))
            .unwrap_or(SLOT_MIB)
            << 20,
        formats: chain
            .iter()
            .find_map(|(_, raw)| raw.formats.clone())
            .unwrap_or_else(|| vec!["raw".to_owned()]),
        mirror: top(&|raw| plain(&raw.mirror)),
        archive_mirror: top(&|raw| plain(&raw.archive_mirror)),
        suites: suites(&chain),
        packages: list(&chain, |raw| &raw.packages),
        exclude: excluded(&chain),
        boot_packages: list(&chain, |raw| &raw.boot_packages),
        tools: list(&chain, |raw| &raw.tools),
        overlays: overlays(&chain),
        kernel: Kernel {
            package: top(&|raw| plain(&raw.kernel.package))
                .ok_or_else(|| missing("[kernel] package"))?,
            command_line: list(&chain, |raw| &raw.kernel.command_line),
        },
        units: Units {
            enable,
            allow: list(&chain, |raw| &raw.units.allow),
        },
        users: by_name(&chain, |raw| &raw.users, |user| &user.name),
        groups: by_name(&chain, |raw| &raw.groups, |group| &group.name),
        paths: paths(&chain),
        modules: modules(&chain)?,
    };
    if recipe.suites.is_empty() {
        return Err(missing("[[suites]]"));
    }
    if let Some(both) = recipe
        .packages
        .iter()
        .find(|package| recipe.exclude.contains(package))
    {
        return Err(Error::whole(
            &shown,
            format!("{both} is in packages and in exclude"),
        ));
    }
    Ok(recipe)
}

fn plain(value: &Option<Spanned<String>>) -> Option<String> {
    value.as_ref().map(|value| value.get_ref().clone())
}

/// One list over the chain, the lowest recipe's first, each item once.
fn list(
    chain: &[(PathBuf, RawRecipe)],
    pick: impl Fn(&RawRecipe) -> &Vec<Spanned<String>>,
) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for item in chain.iter().rev().flat_map(|(_, raw)| pick(raw)) {
        if !out.contains(item.get_ref()) {
            out.push(item.get_ref().clone());
        }
    }
    out
}

/// What relations must not pull in: a recipe may bring what one below it leaves out.
fn excluded(chain: &[(PathBuf, RawRecipe)]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for (_, raw) in chain.iter().rev() {
        out.retain(|name| !raw.packages.iter().any(|package| package.get_ref() == name));
        for item in &raw.exclude {
            if !out.contains(item.get_ref()) {
                out.push(item.get_ref().clone());
            }
        }
    }
    out
}

/// Things with names: one of the same name higher up replaces it.
fn by_name<T: Clone>(
    chain: &[(PathBuf, RawRecipe)],
    pick: impl Fn(&RawRecipe) -> &Vec<T>,
    name: impl Fn(&T) -> &String,
) -> Vec<T> {
    let mut out: Vec<T> = Vec::new();
    for item in chain.iter().rev().flat_map(|(_, raw)| pick(raw)) {
        match out.iter_mut().find(|other| name(other) == name(item)) {
            Some(other) => *other = item.clone(),
            None => out.push(item.clone()),
        }
    }
    out
}

fn suites(chain: &[(PathBuf, RawRecipe)]) -> Vec<Suite> {
    let mut out: Vec<Suite> = Vec::new();
    for raw in chain.iter().rev().flat_map(|(_, raw)| &raw.suites) {
        let components = match &raw.components {
            Some(components) => components
                .iter()
                .map(|component| component.get_ref().clone())
                .collect(),
            None => vec!["main".to_owned()],
        };
        let suite = Suite {
            name: raw.name.get_ref().clone(),
            components,
        };
        match out.iter_mut().find(|other| other.name == suite.name) {
            Some(other) => *other = suite,
            None => out.push(suite),
        }
    }
    out
}

fn overlays(chain: &[(PathBuf, RawRecipe)]) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for (path, raw) in chain.iter().rev() {
        for overlay in &raw.overlays {
            let overlay = normal(&folder(path).join(overlay.get_ref()));
            if !out.contains(&overlay) {
                out.push(overlay);
            }
        }
    }
    out
}

fn paths(chain: &[(PathBuf, RawRecipe)]) -> Paths {
    let mut paths = Paths::default();
    for (_, raw) in chain.iter().rev() {
        paths.drop.extend(raw.paths.drop.iter().cloned());
        paths.keep.extend(raw.paths.keep.iter().cloned());
        paths.only.extend(raw.paths.only.clone());
    }
    paths
}

fn modules(chain: &[(PathBuf, RawRecipe)]) -> Result<Modules, Error> {
    let mut classes: BTreeMap<&str, &Vec<Pattern>> = BTreeMap::new();
    for (_, raw) in chain.iter().rev() {
        classes.extend(
            raw.modules
                .classes
                .iter()
                .map(|(class, patterns)| (class.as_str(), patterns)),
        );
    }
    let known = || classes.keys().copied().collect::<Vec<_>>().join(", ");
    let collect = |pick: fn(&RawRecipe) -> &Vec<Spanned<String>>| {
        let mut out = Vec::new();
        for class in list(chain, pick) {
            let patterns = classes.get(class.as_str()).ok_or_else(|| {
                let file = chain
                    .iter()
                    .find(|(_, raw)| pick(raw).iter().any(|named| *named.get_ref() == class));
                let file = file
                    .map(|(path, _)| path.display().to_string())
                    .unwrap_or_default();
                Error::whole(
                    &file,
                    format!(
                        "[modules]: unknown class \"{class}\"; known are {}",
                        known()
                    ),
                )
            })?;
            out.extend(patterns.iter().cloned());
        }
        Ok(out)
    };
    Ok(Modules {
        initramfs: collect(|raw| &raw.modules.initramfs)?,
        root: collect(|raw| &raw.modules.root)?,
        load: list(chain, |raw| &raw.modules.load),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Recipe, Error> {
        let first = files[0].0;
        Recipe::load(Path::new(first), &mut |path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found
                .map(|(_, text)| (*text).to_owned())
                .ok_or_else(|| std::io::ErrorKind::NotFound.into())
        })
    }

    const BASE: &str = r#"
        id = "base"
        version = "1"
        architecture = "amd64"
        packages = ["libc6"]
        overlays = ["../overlays/base"]
        [[suites]]
        name = "trixie"
        [kernel]
        package = "linux-image-amd64"
        command_line = ["quiet"]
        [units]
        enable = ["a.service", "b.service"]
        [paths]
        drop = ["/usr/share/doc"]
        keep = ["/usr/share/doc/*/copyright"]
        [modules]
        root = ["net"]
        [modules.classes]
        net = ["kernel/net"]
        storage = ["kernel/drivers/nvme"]
    "#;

    #[test]
    fn a_recipe_adds_to_the_one_it_extends() {
        let node = r#"
            extends = "base.toml"
            id = "node"
            packages = ["etcd-server", "libc6"]
            overlays = ["../overlays/cluster"]
            [kernel]
            package = "linux-image-cloud-amd64"
            command_line = ["console=ttyS0"]
            [units]
            enable = ["etcd.service"]
            disable = ["b.service"]
            [modules]
            initramfs = ["storage"]
        "#;
        let recipe = load(&[("recipes/node.toml", node), ("recipes/base.toml", BASE)])
            .expect("a good chain");
        assert_eq!(recipe.id, "node");
        assert_eq!(recipe.version, "1");
        assert_eq!(recipe.packages, ["libc6", "etcd-server"]);
        assert_eq!(
            recipe.overlays,
            [Path::new("overlays/base"), Path::new("overlays/cluster")]
        );
        assert_eq!(recipe.kernel.package, "linux-image-cloud-amd64");
        assert_eq!(recipe.kernel.command_line, ["quiet", "console=ttyS0"]);
        assert_eq!(recipe.units.enable, ["a.service", "etcd.service"]);
        assert_eq!(
            recipe.suites,
            [Suite {
                name: "trixie".into(),
                components: vec!["main".into()]
            }]
        );
        assert_eq!(recipe.modules.initramfs[0].as_str(), "kernel/drivers/nvme");
        assert_eq!(recipe.modules.root[0].as_str(), "kernel/net");
        assert_eq!(recipe.slot_bytes, 1 << 30);
        assert_eq!(recipe.entry_folders(), [Path::new("recipes/packages")]);
    }

    #[test]
    fn paths_are_dropped_and_kept() {
        let only = "extends = \"base.toml\"\nid = \"x\"\n[paths.only]\nsystemd = [\"/usr/bin/systemctl\"]\n";
        let recipe =
            load(&[("recipes/x.toml", only), ("recipes/base.toml", BASE)]).expect("a good chain");
        assert!(!recipe.paths.admit("bash", "usr/share/doc/bash/README"));
        assert!(recipe.paths.admit("bash", "usr/share/doc/bash/copyright"));
        assert!(recipe.paths.admit("bash", "usr/bin/bash"));
        assert!(recipe.paths.admit("systemd", "usr/bin/systemctl"));
        assert!(!recipe.paths.admit("systemd", "usr/lib/systemd/systemd"));
    }

    #[test]
    fn a_recipe_brings_what_one_below_it_leaves_out() {
        let base = "exclude = [\"perl-base\", \"adduser\"]".to_owned() + BASE;
        let files = |text| [("r/x.toml", text), ("r/base.toml", base.as_str())];
        let recipe = load(&files(
            "extends = \"base.toml\"\nid = \"x\"\npackages = [\"perl-base\"]\nexclude = [\"ucf\"]\n",
        ))
        .expect("a good chain");
        assert!(recipe.packages.contains(&"perl-base".to_owned()));
        assert_eq!(recipe.exclude, ["adduser", "ucf"]);
        let message = load(&files(
            "extends = \"base.toml\"\nid = \"x\"\nexclude = [\"libc6\"]\n",
        ))
        .expect_err("the lower recipe needs it")
        .to_string();
        assert!(
            message.ends_with("libc6 is in packages and in exclude"),
            "{message}"
        );
    }

    #[test]
    fn a_circle_a_missing_file_and_an_unknown_class_are_refused() {
        let circle = load(&[
            ("a.toml", "extends = \"b.toml\"\n"),
            ("./b.toml", ""),
            ("b.toml", "id=\"b\"\nextends = \"a.toml\"\n"),
        ]);
        assert!(
            circle
                .expect_err("a circle")
                .to_string()
                .contains("b.toml:2:11: extends goes in a circle")
        );
        let message = load(&[("a.toml", "id = \"a\"\nextends = \"gone.toml\"\n")])
            .expect_err("missing")
            .to_string();
        assert!(
            message.starts_with("a.toml:2:11: cannot read gone.toml"),
            "{message}"
        );
        let class = "extends = \"base.toml\"\nid = \"x\"\n[modules]\nroot = [\"nett\"]\n";
        let message = load(&[("r/x.toml", class), ("r/base.toml", BASE)])
            .expect_err("unknown class")
            .to_string();
        assert_eq!(
            message,
            "r/x.toml: [modules]: unknown class \"nett\"; known are net, storage"
        );
    }

    #[test]
    fn what_nobody_says_is_missed_by_name() {
        assert!(
            load(&[("a.toml", "version = \"1\"")])
                .expect_err("no id")
                .message
                .contains("id is missing")
        );
        assert!(
            load(&[("a.toml", "id = \"a\"")])
                .expect_err("no version")
                .message
                .contains("says version")
        );
    }
}
