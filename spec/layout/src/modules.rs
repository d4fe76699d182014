//! The kernel's module index as depmod(8) writes it: modules.dep, modules.alias, modules.softdep, modules.builtin.
//!
//! Read by PID 1 in the initramfs, by the device service and modprobe in the root, and by the builder, which also
//! writes it. The files come from a verified image, so a line that cannot be read is an error with its number.
//!
//! Source: modules.dep(5), depmod(8), modprobe.d(5).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::glob;

/// Longest line that is read; a softdep of Debian has 200 bytes.
const LINE_MAX: usize = 64 * 1024;
/// Most modules; Debian's generic kernel has 4,500.
const MODULES_MAX: usize = 65_536;
/// Longest chain of dependencies that is followed; Debian's has 12.
const DEPTH_MAX: usize = 64;

/// A line of an index file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct Error {
    /// The file's name.
    pub file: &'static str,
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

/// One loadable module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// File, relative to `/lib/modules/VERSION`.
    pub path: String,
    /// Names of the modules it needs, in the order of modules.dep (the last one first to be loaded).
    pub needs: Vec<String>,
    /// Softdeps to load before.
    pub before: Vec<String>,
    /// Softdeps to load after.
    pub after: Vec<String>,
}

/// The index of one kernel version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    modules: BTreeMap<String, Module>,
    aliases: Aliases,
    builtin: BTreeSet<String>,
}

/// modules.alias: tens of thousands of patterns, kept as the file's text, because every boot reads it and a device asks
/// for those of its own bus only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Aliases {
    text: String,
    /// By what stands before the first colon, where that has no special character.
    by_bus: BTreeMap<String, Vec<Alias>>,
    /// The others, such as `acpi*:PNP0C0A:*`.
    wild: Vec<Alias>,
}

/// Where pattern and module stand in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Alias {
    pattern: Range<usize>,
    module: Range<usize>,
}

impl Aliases {
    fn parse(text: &str) -> Result<Self, Error> {
        let mut aliases = Aliases {
            text: text.to_owned(),
            ..Aliases::default()
        };
        // Lines of a bus stand together: the map is asked once for each run of them.
        let mut run: (&str, Vec<Alias>) = ("", Vec::new());
        for line in lines("modules.alias", text) {
            let line = line?;
            let mut words = line.text.split_whitespace();
            let (Some("alias"), Some(pattern), Some(module), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Err(line.error("expected \"alias PATTERN MODULE\""));
            };
            let place = |word: &str| {
                let start = word.as_ptr().addr() - text.as_ptr().addr();
                start..start + word.len()
            };
            let alias = Alias {
                pattern: place(pattern),
                module: place(module),
            };
            let bus = bus(pattern);
            if bus.contains(['*', '?', '[', '\\']) {
                aliases.wild.push(alias);
                continue;
            }
            if run.0 != bus {
                aliases.keep(std::mem::replace(&mut run, (bus, Vec::new())));
            }
            run.1.push(alias);
        }
        aliases.keep(run);
        Ok(aliases)
    }

    fn keep(&mut self, (bus, run): (&str, Vec<Alias>)) {
        if let Some(known) = self.by_bus.get_mut(bus) {
            known.extend(run);
        } else {
            self.by_bus.insert(bus.to_owned(), run);
        }
    }

    fn word(&self, place: &Range<usize>) -> &str {
        self.text.get(place.clone()).unwrap_or_default()
    }

    /// Modules whose pattern this is, in the file's order.
    fn matching(&self, modalias: &str) -> Vec<&str> {
        let of_bus = self.by_bus.get(bus(modalias)).into_iter().flatten();
        let mut hits: Vec<&Alias> = of_bus
            .chain(&self.wild)
            .filter(|alias| glob::matches(self.word(&alias.pattern), modalias))
            .collect();
        hits.sort_by_key(|alias| alias.pattern.start);
        hits.iter().map(|alias| self.word(&alias.module)).collect()
    }

    /// Modules of a plain alias that is this name, `-` and `_` being the same; with the alias.
    fn named(&self, module: &str) -> impl Iterator<Item = (&str, &str)> {
        let same = |alias: &str| {
            alias.len() == module.len()
                && alias
                    .bytes()
                    .zip(module.bytes())
                    .all(|(a, b)| a == b || (a == b'-' && b == b'_'))
        };
        let found = self.by_bus.iter().filter(move |(bus, _)| same(bus));
        let all = found.flat_map(|(bus, aliases)| aliases.iter().map(move |alias| (bus, alias)));
        all.filter(|(bus, alias)| self.word(&alias.pattern) == bus.as_str())
            .map(|(bus, alias)| (bus.as_str(), self.word(&alias.module)))
    }
}

/// What stands before the first colon; of an alias without one, such as `fs-ext4`, all of it.
fn bus(alias: &str) -> &str {
    alias.split(':').next().unwrap_or(alias)
}

/// A module's name from its file or as people write it: no folder, no suffix, `_` for `-`.
pub fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split(".ko").next().unwrap_or(file);
    stem.replace('-', "_")
}

impl Index {
    /// Reads the four files; a missing one is given as an empty text.
    pub fn parse(dep: &str, alias: &str, softdep: &str, builtin: &str) -> Result<Index, Error> {
        let mut index = Index {
            modules: BTreeMap::new(),
            aliases: Aliases::parse(alias)?,
            builtin: builtin.lines().map(name).collect(),
        };
        for line in lines("modules.dep", dep) {
            index.add_dep(line?)?;
        }
        for line in lines("modules.softdep", softdep) {
            index.add_softdep(line?)?;
        }
        Ok(index)
    }

    fn add_dep(&mut self, line: Line<'_>) -> Result<(), Error> {
        let Some((path, needs)) = line.text.split_once(':') else {
            return Err(line.error("expected \"MODULE: NEEDED...\""));
        };
        if self.modules.len() >= MODULES_MAX {
            return Err(line.error("too many modules"));
        }
        let module = Module {
            path: path.trim().to_owned(),
            needs: needs.split_whitespace().map(name).collect(),
            before: Vec::new(),
            after: Vec::new(),
        };
        self.modules.insert(name(path.trim()), module);
        Ok(())
    }

    fn add_softdep(&mut self, line: Line<'_>) -> Result<(), Error> {
        let words = line.words();
        let ["softdep", module, rest @ ..] = &words[..] else {
            return Err(line.error("expected \"softdep MODULE pre: ... post: ...\""));
        };
        let (mut before, mut after, mut pre) = (Vec::new(), Vec::new(), None);
        for word in rest {
            match (*word, pre) {
                ("pre:", _) => pre = Some(true),
                ("post:", _) => pre = Some(false),
                (dependency, Some(true)) => before.push(name(dependency)),
                (dependency, Some(false)) => after.push(name(dependency)),
                // The kernel's own lines name an algorithm here; kmod passes over it, too.
                (_, None) => {}
            }
        }
        if let Some(module) = self.modules.get_mut(&name(module)) {
            module.before.extend(before);
            module.after.extend(after);
        }
        Ok(())
    }

    /// The module of this name.
    pub fn module(&self, module: &str) -> Option<&Module> {
        self.modules.get(&name(module))
    }

    /// Whether the kernel has this module built in.
    pub fn is_builtin(&self, module: &str) -> bool {
        self.builtin.contains(&name(module))
    }

    /// All modules by name.
    pub fn modules(&self) -> impl Iterator<Item = (&str, &Module)> {
        self.modules
            .iter()
            .map(|(name, module)| (name.as_str(), module))
    }

    /// Names of the modules for a device's modalias, or for an alias such as `fs-vfat`, in the file's order.
    pub fn matching(&self, modalias: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for module in self.aliases.matching(modalias).into_iter().map(name) {
            if !found.contains(&module) {
                found.push(module);
            }
        }
        found
    }

    /// The modules to load for `module`, first to last, each once: what it needs, softdeps before, itself, softdeps
    /// after. Built-in and unknown ones are left out; a cycle of softdeps ends where it began.
    pub fn load_order(&self, module: &str) -> Vec<(&str, &Module)> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        self.visit(&name(module), &mut seen, &mut order, DEPTH_MAX);
        order
    }

    fn visit<'a>(
        &'a self,
        module: &str,
        seen: &mut BTreeSet<&'a str>,
        order: &mut Vec<(&'a str, &'a Module)>,
        depth: usize,
    ) {
        let Some((module, entry)) = self.modules.get_key_value(module) else {
            // A softdep may name an alias, such as `crc32c`. All modules of an alias, and each alias once: aliases of
            // aliases could go round and round.
            if depth > 0
                && self
                    .aliases
                    .named(module)
                    .any(|(alias, _)| seen.insert(alias))
            {
                for (_, module) in self.aliases.named(module) {
                    self.visit(&name(module), seen, order, depth - 1);
                }
            }
            return;
        };
        if depth == 0 || !seen.insert(module) {
            return;
        }
        let first = entry.before.iter().chain(entry.needs.iter().rev());
        first.for_each(|dependency| self.visit(dependency, seen, order, depth - 1));
        order.push((module, entry));
        entry
            .after
            .iter()
            .for_each(|dependency| self.visit(dependency, seen, order, depth - 1));
    }
}

#[derive(Clone, Copy)]
struct Line<'a> {
    file: &'static str,
    number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn words(self) -> Vec<&'a str> {
        self.text.split_whitespace().collect()
    }

    fn error(self, message: &str) -> Error {
        Error {
            file: self.file,
            line: self.number,
            message: message.to_owned(),
        }
    }
}

/// Lines that say something: no comment, not empty, not too long.
fn lines<'a>(file: &'static str, text: &'a str) -> impl Iterator<Item = Result<Line<'a>, Error>> {
    text.lines()
        .zip(1..)
        .map(move |(text, number)| Line {
            file,
            number,
            text: text.trim(),
        })
        .filter_map(|line| match line.text.len() {
            0 => None,
            _ if line.text.starts_with('#') => None,
            long if long > LINE_MAX => Some(Err(line.error("the line is too long"))),
            _ => Some(Ok(line)),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEP: &str = "kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz\n\
                       kernel/fs/jbd2/jbd2.ko.xz:\n\
                       kernel/lib/crc16.ko.xz:\n\
                       kernel/crypto/crc32c-generic.ko.xz:\n\
                       kernel/drivers/block/virtio_blk.ko.xz:\n";
    const ALIAS: &str = "# Aliases extracted from modules themselves.\n\
                         alias fs-ext4 ext4\n\
                         alias virtio:d00000002v* virtio_blk\n";
    const SOFTDEP: &str =
        "softdep ext4 pre: crc32c post: virtio-blk\nsoftdep jbd2 pre: crc32c-generic\n";

    fn index() -> Index {
        Index::parse(DEP, ALIAS, SOFTDEP, "kernel/drivers/virtio/virtio-pci.ko\n").unwrap()
    }

    fn order(index: &Index, module: &str) -> Vec<String> {
        index
            .load_order(module)
            .into_iter()
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    #[test]
    fn a_file_system_loads_after_what_it_needs_and_prefers() {
        let order = order(&index(), "ext4");
        assert_eq!(
            order,
            ["crc16", "crc32c_generic", "jbd2", "ext4", "virtio_blk"]
        );
    }

    #[test]
    fn a_softdep_may_name_an_alias() {
        let index = Index::parse(
            "a.ko:\ncrc32c-generic.ko:\ncrc32c-intel.ko:\n",
            "alias crc32c crc32c_intel\nalias crc32c crc32c_generic\n",
            "softdep a pre: crc32c\n",
            "",
        )
        .unwrap();
        // Both: the first may find nothing to drive on this processor.
        assert_eq!(order(&index, "a"), ["crc32c_intel", "crc32c_generic", "a"]);
    }

    #[test]
    fn a_softdep_does_not_name_a_bus() {
        let alias = "alias virtio:d1v* blk\n";
        let index = Index::parse("a.ko:\nblk.ko:\n", alias, "softdep a pre: virtio\n", "").unwrap();
        assert_eq!(order(&index, "a"), ["a"]);
    }

    #[test]
    fn a_device_finds_its_module_by_alias() {
        assert_eq!(
            index().matching("virtio:d00000002v00001AF4"),
            ["virtio_blk"]
        );
        assert_eq!(index().matching("fs-ext4"), ["ext4"]);
        assert!(index().matching("pci:v00008086").is_empty());
    }

    #[test]
    fn a_kind_of_links_finds_its_module_by_the_kernels_request() {
        let alias = "alias rtnl-link-bond bonding\nalias rtnl-link-vlan 8021q\n";
        let index = Index::parse("net/8021q.ko:\nnet/bonding.ko:\n", alias, "", "").unwrap();
        assert_eq!(index.matching("rtnl-link-bond"), ["bonding"]);
        assert_eq!(index.matching("rtnl-link-vlan"), ["8021q"]);
        assert_eq!(order(&index, "8021q"), ["8021q"]);
        assert!(index.matching("rtnl-link-dummy").is_empty());
    }

    #[test]
    fn a_bus_may_be_a_pattern_and_the_order_is_the_files() {
        let alias = "alias virtio:d1v* first\nalias v*:d1* second\nalias pci:v1* other\nalias virtio:d1* third\n";
        let index = Index::parse("", alias, "", "").unwrap();
        assert_eq!(index.matching("virtio:d1v2"), ["first", "second", "third"]);
        assert_eq!(index.matching("pci:v1"), ["other"]);
    }

    #[test]
    fn dashes_and_underscores_are_the_same() {
        assert_eq!(name("kernel/crypto/crc32c-generic.ko.xz"), "crc32c_generic");
        assert!(index().module("virtio-blk").is_some());
        assert!(index().is_builtin("virtio_pci"));
        assert!(order(&index(), "virtio-pci").is_empty());
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = Index::parse("no colon", "", "", "").unwrap_err();
        assert_eq!(
            error.to_string(),
            "modules.dep:1: expected \"MODULE: NEEDED...\""
        );
        let error = Index::parse("", "\n#x\nalias a\n", "", "").unwrap_err();
        assert_eq!((error.file, error.line), ("modules.alias", 3));
        let error = Index::parse("", "", "softdep\n", "").unwrap_err();
        assert_eq!(error.file, "modules.softdep");
    }

    #[test]
    fn aliases_that_name_each_other_end() {
        let alias = "alias x y\nalias x z\nalias y x\nalias z x\n";
        let index = Index::parse("a.ko:\n", alias, "softdep a pre: x\n", "").unwrap();
        assert_eq!(order(&index, "a"), ["a"]);
    }

    #[test]
    fn a_cycle_ends() {
        let index = Index::parse(
            "a.ko: b.ko\nb.ko: a.ko\n",
            "",
            "softdep a pre: b post: a\n",
            "",
        )
        .unwrap();
        assert_eq!(order(&index, "a"), ["b", "a"]);
    }

    proptest! {
           #[test]
           fn nothing_panics(dep in "[a-c:. \n]{0,60}", alias in "(alias [a*:]{0,4} a\n){0,4}", softdep in "[a-c:presoft \n]{0,60}", modalias in "[a:]{0,6}") {
               if let Ok(index) = Index::parse(&dep, &alias, &softdep, "") {
                   let names: Vec<String> = index.modules().map(|(name, _)| name.to_owned()).collect();
                   for name in names {
    prop_assert!(!index.load_order(&name).is_empty());
    }
                   let _ = index.matching(&modalias);
               }
           }
       }
}
