//! The kernel's module index, as depmod(8) makes it, for the modules that the recipe selects.
//!
//! Modules are read once: what each needs stands in its `.modinfo` section as `KEY=VALUE` strings.
//! Source: modules.dep(5), depmod.d(5), the kernel's `include/linux/module.h`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use archive::compress::{Compression, unpack};
use rayon::prelude::*;
use spec_layout::modules::name;

use crate::elf;

/// Most bytes of an unpacked module; Debian's largest has 12 MiB.
const MODULE_BYTES_MAX: u64 = 256 << 20;

/// What a module says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Info {
    /// Names of modules it needs.
    pub(crate) depends: Vec<String>,
    /// Patterns of what it drives.
    pub(crate) aliases: Vec<String>,
    /// `pre: a b post: c`, as written.
    pub(crate) softdeps: Vec<String>,
}

/// Modules by name: their paths below `/usr/lib/modules/VERSION` and what they say of themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Modules {
    paths: BTreeMap<String, String>,
    infos: BTreeMap<String, Info>,
}

/// The files of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    /// Name and text of each.
    pub(crate) files: Vec<(&'static str, String)>,
}

/// Reads a module, compressed as its path says.
pub(crate) fn info(path: &str, content: &[u8]) -> Result<Info, String> {
    let wrong = |message: String| format!("/{path}: {message}");
    let unpacked = unpack(Compression::of_name(path), content, MODULE_BYTES_MAX)
        .map_err(|error| wrong(error.to_string()))?;
    let section = elf::section(&unpacked, ".modinfo")
        .map_err(wrong)?
        .unwrap_or_default();
    let mut info = Info::default();
    for pair in section.split(|&byte| byte == 0) {
        let Some((key, value)) = std::str::from_utf8(pair)
            .ok()
            .and_then(|pair| pair.split_once('='))
        else {
            continue;
        };
        match key {
            "depends" => info
                .depends
                .extend(value.split(',').filter(|word| !word.is_empty()).map(name)),
            "alias" => info.aliases.push(value.to_owned()),
            "softdep" => info.softdeps.push(value.to_owned()),
            _ => {}
        }
    }
    Ok(info)
}

impl Modules {
    /// Knows where every module of the kernel is; nothing is read yet.
    pub(crate) fn new(paths: impl IntoIterator<Item = String>) -> Modules {
        let paths = paths.into_iter().map(|path| (name(&path), path)).collect();
        Modules {
            paths,
            infos: BTreeMap::new(),
        }
    }

    /// Whether there is a module of this name.
    pub(crate) fn contains(&self, module: &str) -> bool {
        self.paths.contains_key(&name(module))
    }

    /// Names of the modules whose paths pass.
    pub(crate) fn select(&self, admit: impl Fn(&str) -> bool) -> BTreeSet<String> {
        self.paths
            .iter()
            .filter(|(_, path)| admit(path))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The selected modules and all they need or prefer, read where they were not read yet.
    pub(crate) fn close<'a>(
        &mut self,
        selected: BTreeSet<String>,
        content: &(dyn Fn(&str) -> Option<&'a [u8]> + Sync),
    ) -> Result<BTreeSet<String>, String> {
        let mut closed = BTreeSet::new();
        let mut open = selected;
        while !open.is_empty() {
            self.read(&open, content)?;
            let (mut next, mut preferred) = (BTreeSet::new(), BTreeSet::new());
            for info in open.iter().filter_map(|name| self.infos.get(name)) {
                next.extend(info.depends.iter().cloned());
                let words = info
                    .softdeps
                    .iter()
                    .flat_map(|softdep| softdep.split_whitespace());
                preferred.extend(words.filter(|word| !word.ends_with(':')).map(name));
            }
            for wanted in preferred {
                next.append(&mut self.named(&wanted, content)?);
            }
            closed.append(&mut open);
            open = next
                .into_iter()
                .filter(|name| self.paths.contains_key(name) && !closed.contains(name))
                .collect();
        }
        closed.retain(|name| self.paths.contains_key(name));
        Ok(closed)
    }

    /// Reads those of the modules that were not read yet.
    fn read<'a>(
        &mut self,
        modules: &BTreeSet<String>,
        content: &(dyn Fn(&str) -> Option<&'a [u8]> + Sync),
    ) -> Result<(), String> {
        let unread: Vec<&String> = modules
            .iter()
            .filter(|name| !self.infos.contains_key(*name))
            .collect();
        let read = unread.into_par_iter().filter_map(|name| {
            let path = self.paths.get(name)?;
            Some(info(path, content(path)?).map(|info| (name.clone(), info)))
        });
        let read: Vec<(String, Info)> = read.collect::<Result<_, _>>()?;
        self.infos.extend(read);
        Ok(())
    }

    /// The modules that a softdep means: the one of that name, or those with that alias. Only modules whose names begin
    /// with it are looked at, as `crc32c_generic` does; reading all would take longer than the rest of a build.
    fn named<'a>(
        &mut self,
        wanted: &str,
        content: &(dyn Fn(&str) -> Option<&'a [u8]> + Sync),
    ) -> Result<BTreeSet<String>, String> {
        if self.paths.contains_key(wanted) {
            return Ok(BTreeSet::from([wanted.to_owned()]));
        }
        let mut like = self.select_names(wanted);
        self.read(&like, content)?;
        let aliased = |info: &Info| info.aliases.iter().any(|alias| name(alias) == wanted);
        like.retain(|name| self.infos.get(name).is_some_and(aliased));
        Ok(like)
    }

    /// Names of modules that begin with a word.
    fn select_names(&self, start: &str) -> BTreeSet<String> {
        let from = self.paths.range(start.to_owned()..);
        from.map(|(name, _)| name)
            .take_while(|name| name.starts_with(start))
            .cloned()
            .collect()
    }

    /// Path of a module.
    pub(crate) fn path(&self, name: &str) -> Option<&str> {
        self.paths.get(name).map(String::as_str)
    }

    /// The index of a closed selection, in the order of paths.
    pub(crate) fn index(&self, selected: &BTreeSet<String>) -> Index {
        let mut by_path: Vec<(&str, &str)> = selected
            .iter()
            .filter_map(|name| Some((self.path(name)?, name.as_str())))
            .collect();
        by_path.sort_unstable();
        let (mut dep, mut alias, mut softdep, mut devname) =
            (String::new(), String::new(), String::new(), String::new());
        for (path, name) in by_path {
            let needs: Vec<&str> = self
                .needs(name)
                .iter()
                .rev()
                .filter_map(|name| self.path(name))
                .collect();
            let space = if needs.is_empty() { "" } else { " " };
            // Writing to a String cannot fail.
            let _ = writeln!(dep, "{path}:{space}{}", needs.join(" "));
            let Some(info) = self.infos.get(name) else {
                continue;
            };
            for pattern in &info.aliases {
                let _ = writeln!(alias, "alias {} {name}", pattern.replace(' ', "_"));
            }
            for words in &info.softdeps {
                let _ = writeln!(softdep, "softdep {name} {words}");
            }
            if let Some(node) = device_node(info) {
                let _ = writeln!(devname, "{name} {node}");
            }
        }
        Index {
            files: vec![
                ("modules.dep", dep),
                ("modules.alias", alias),
                ("modules.softdep", softdep),
                ("modules.devname", devname),
            ],
        }
    }

    /// What must be loaded before a module, first to last.
    fn needs<'a>(&'a self, module: &'a str) -> Vec<&'a str> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::from([module]);
        self.visit(module, &mut seen, &mut order);
        order.retain(|name| *name != module);
        order
    }

    fn visit<'a>(
        &'a self,
        module: &'a str,
        seen: &mut BTreeSet<&'a str>,
        order: &mut Vec<&'a str>,
    ) {
        for dependency in self
            .infos
            .get(module)
            .into_iter()
            .flat_map(|info| &info.depends)
        {
            if seen.insert(dependency) {
                self.visit(dependency, seen, order);
            }
        }
        order.push(module);
    }
}

/// `NAME c10:229` of a module that makes a device node before it is loaded.
fn device_node(info: &Info) -> Option<String> {
    let node = info
        .aliases
        .iter()
        .find_map(|alias| alias.strip_prefix("devname:"))?;
    let number = |kind: char, prefix: &str| {
        let numbers = info
            .aliases
            .iter()
            .find_map(|alias| alias.strip_prefix(prefix))?;
        let (major, minor) = numbers.split_once('-')?;
        (minor != "*").then(|| format!("{kind}{major}:{minor}"))
    };
    let number = number('c', "char-major-").or_else(|| number('b', "block-major-"))?;
    Some(format!("{node} {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::elf;

    fn module(modinfo: &str) -> Vec<u8> {
        archive::compress::xz(&elf(".modinfo", modinfo.as_bytes())).unwrap()
    }

    fn kernel() -> (Modules, BTreeMap<&'static str, Vec<u8>>) {
        let files = BTreeMap::from([
            (
                "kernel/fs/ext4/ext4.ko.xz",
                module("alias=fs-ext4\0depends=jbd2,mbcache\0softdep=pre: crc32c\0"),
            ),
            (
                "kernel/fs/jbd2/jbd2.ko.xz",
                module("depends=crc16\0license=GPL\0"),
            ),
            ("kernel/fs/mbcache.ko.xz", module("depends=\0")),
            ("kernel/lib/crc16.ko.xz", module("depends=\0")),
            (
                "kernel/crypto/crc32c-generic.ko.xz",
                module("alias=crc32c\0depends=\0"),
            ),
            (
                "kernel/fs/fuse/fuse.ko.xz",
                module("alias=devname:fuse\0alias=char-major-10-229\0depends=\0"),
            ),
        ]);
        (
            Modules::new(files.keys().map(|path| path.to_string())),
            files,
        )
    }

    #[test]
    fn what_a_module_needs_comes_with_it() {
        let (mut modules, files) = kernel();
        let ext4 = modules.select(|path| path.contains("/ext4"));
        let content = |path: &str| files.get(path).map(Vec::as_slice);
        let closed = modules.close(ext4, &content).unwrap();
        assert_eq!(
            closed.iter().collect::<Vec<_>>(),
            ["crc16", "crc32c_generic", "ext4", "jbd2", "mbcache"]
        );
    }

    #[test]
    fn the_index_reads_back_as_pid_1_reads_it() {
        let (mut modules, files) = kernel();
        let content = |path: &str| files.get(path).map(Vec::as_slice);
        let all = modules.select(|_| true);
        let closed = modules.close(all, &content).unwrap();
        let index = modules.index(&closed);
        let text = |name: &str| {
            index
                .files
                .iter()
                .find(|(file, _)| *file == name)
                .unwrap()
                .1
                .as_str()
        };
        assert!(text("modules.dep").contains(
            "kernel/fs/ext4/ext4.ko.xz: kernel/fs/mbcache.ko.xz kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz\n"
        ));
        assert_eq!(text("modules.devname"), "fuse fuse c10:229\n");
        let read = spec_layout::modules::Index::parse(
            text("modules.dep"),
            text("modules.alias"),
            text("modules.softdep"),
            "",
        )
        .unwrap();
        assert_eq!(read.matching("fs-ext4"), ["ext4"]);
        let order: Vec<_> = read
            .load_order("ext4")
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            order,
            ["crc32c_generic", "crc16", "jbd2", "mbcache", "ext4"]
        );
    }

    #[test]
    fn a_broken_module_is_named() {
        let message = info("kernel/x.ko", b"junk").unwrap_err();
        assert_eq!(message, "/kernel/x.ko: is no 64-bit little-endian ELF file");
    }
}
