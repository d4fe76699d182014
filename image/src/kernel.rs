//! The kernel and its initramfs.
//!
//! The initramfs holds PID 1 as `/init`, the modules of the recipe's classes with all they need, their index, and
//! the names of those that every boot needs; nothing else.

use std::collections::{BTreeMap, BTreeSet};

use archive::{compress, cpio, tar};
use bytes::Bytes;
use spec_recipe::Modules as Selection;
use spec_recipe::pattern;

use crate::package::Package;
use crate::tree::{Tree, canonical};
use crate::trigger::module_index::{Index, Modules};

/// Folder of modules in a package.
const MODULES: &str = "usr/lib/modules/";
/// Level at which the initramfs is compressed; most of it is compressed modules already.
const ZSTD_LEVEL: i32 = 12;
/// Folders that PID 1 mounts something on.
const MOUNT_POINTS: [&str; 5] = ["dev", "proc", "run", "sys", "sysroot"];
/// Names of the modules that every boot loads, one a line.
const LOAD: &str = "lib/bedplate/modules";

/// A kernel with the modules that the recipe selects.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// `uname -r`.
    pub(crate) version: String,
    /// The bootable image.
    pub(crate) image: Bytes,
    files: BTreeMap<String, Bytes>,
    modules: Modules,
    initramfs: BTreeSet<String>,
    root: BTreeSet<String>,
    load: Vec<String>,
}

/// Whether the builder needs this file of the kernel's package.
pub(crate) fn admit(path: &str) -> bool {
    path.starts_with("boot/vmlinuz-") || path.starts_with(MODULES)
}

impl Kernel {
    /// Takes the kernel out of its package.
    pub(crate) fn select(package: &Package, selection: &Selection) -> Result<Kernel, String> {
        let of = |message: &str| format!("kernel package {}: {message}", package.facts.name);
        let mut image = None;
        let mut files = BTreeMap::new();
        for (entry, content) in package
            .files
            .iter()
            .filter(|(entry, _)| entry.kind == tar::Kind::File)
        {
            let path = canonical(&entry.path);
            if let Some(version) = path.strip_prefix("boot/vmlinuz-") {
                image = Some((version.to_owned(), content.clone()));
            } else if let Some(rest) = path.strip_prefix(MODULES) {
                files.insert(rest.to_owned(), content.clone());
            }
        }
        let (version, image) = image.ok_or_else(|| of("has no /boot/vmlinuz-VERSION"))?;
        let prefix = format!("{version}/");
        let files: BTreeMap<String, Bytes> = files
            .into_iter()
            .filter_map(|(path, content)| Some((path.strip_prefix(&prefix)?.to_owned(), content)))
            .collect();

        let paths = files
            .keys()
            .filter(|path| path.starts_with("kernel/") && path.contains(".ko"))
            .cloned();
        let mut modules = Modules::new(paths);
        let builtin = builtin(&files);
        let load: BTreeSet<String> = selection
            .load
            .iter()
            .map(|name| spec_layout::modules::name(name))
            .collect();
        if let Some(unknown) = load
            .iter()
            .find(|name| !modules.contains(name) && !builtin.contains(*name))
        {
            return Err(format!(
                "[modules] load: {} has no module {unknown}",
                package.facts.name
            ));
        }
        let content = |path: &str| files.get(path).map(|content| &content[..]);
        let mut close = |patterns: &[spec_recipe::Pattern]| {
            let mut selected = modules.select(|path| pattern::any(patterns, path));
            selected.extend(load.iter().cloned());
            modules
                .close(selected, &content)
                .map_err(|message| of(&message))
        };
        let (initramfs, root) = (close(&selection.initramfs)?, close(&selection.root)?);
        let load = selection
            .load
            .iter()
            .filter(|name| modules.contains(name))
            .cloned()
            .collect();
        Ok(Kernel {
            version,
            image,
            files,
            modules,
            initramfs,
            root,
            load,
        })
    }

    /// Puts the root's modules and their index into the tree.
    pub(crate) fn install(&self, tree: &mut Tree) -> Result<(), String> {
        let folder = format!("{MODULES}{}", self.version);
        for (path, content) in self.content(&self.root) {
            tree.make_file(&format!("{folder}/{path}"), 0o644, content)?;
        }
        Ok(())
    }

    /// The selected modules and their index, by path below the version's folder.
    fn content(&self, selected: &BTreeSet<String>) -> BTreeMap<String, Bytes> {
        let modules = selected.iter().filter_map(|name| self.modules.path(name));
        let mut content: BTreeMap<String, Bytes> = modules
            .filter_map(|path| Some((path.to_owned(), self.files.get(path)?.clone())))
            .collect();
        let Index { files } = self.modules.index(selected);
        content.extend(
            files
                .into_iter()
                .map(|(name, text)| (name.to_owned(), Bytes::from(text))),
        );
        let builtin = self.files.get_key_value("modules.builtin");
        content.extend(builtin.map(|(path, content)| (path.clone(), content.clone())));
        content
    }

    /// The initramfs, compressed.
    pub(crate) fn initramfs(&self, init: &[u8], os_release: &str) -> Vec<u8> {
        let mut files: BTreeMap<String, (u32, Bytes)> = BTreeMap::new();
        files.insert("init".into(), (0o755, Bytes::copy_from_slice(init)));
        files.insert(
            "etc/initrd-release".into(),
            (0o644, Bytes::copy_from_slice(os_release.as_bytes())),
        );
        let load: String = self.load.iter().map(|name| format!("{name}\n")).collect();
        files.insert(LOAD.into(), (0o644, load.into()));
        for (path, content) in self.content(&self.initramfs) {
            files.insert(
                format!("lib/modules/{}/{path}", self.version),
                (0o644, content),
            );
        }
        let mut folders: BTreeSet<String> = MOUNT_POINTS.map(str::to_owned).into();
        for path in files.keys() {
            folders.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
        }
        let mut archive = cpio::Writer::new(Vec::new());
        let folders = folders
            .iter()
            .map(|path| (cpio::Entry::new(path, cpio::FOLDER | 0o755), Bytes::new()));
        // The kernel opens it for PID 1 before PID 1 can mount /dev.
        let console = cpio::Entry {
            device: (5, 1),
            ..cpio::Entry::new("dev/console", CHARACTER_DEVICE | 0o600)
        };
        let files = files
            .into_iter()
            .map(|(path, (mode, content))| (cpio::Entry::new(&path, cpio::FILE | mode), content));
        for (entry, content) in folders.chain([(console, Bytes::new())]).chain(files) {
            archive
                .write(&entry, &content)
                .expect("memory takes every write");
        }
        let archive = archive.finish().expect("memory takes every write");
        compress::zstd(&archive, ZSTD_LEVEL).expect("memory takes every write")
    }

    /// How many modules stand in the initramfs and in the root.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.initramfs.len(), self.root.len())
    }
}

/// Type bits of a character device.
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Names of what is built in.
fn builtin(files: &BTreeMap<String, Bytes>) -> BTreeSet<String> {
    let text = files
        .get("modules.builtin")
        .and_then(|content| std::str::from_utf8(content).ok())
        .unwrap_or_default();
    text.lines().map(spec_layout::modules::name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::elf;
    use crate::package::Facts;
    use spec_recipe::Pattern;

    fn package() -> Package {
        let module = |depends: &str| {
            Bytes::from(
                compress::xz(&elf(".modinfo", format!("depends={depends}\0").as_bytes())).unwrap(),
            )
        };
        let files = [
            ("boot/vmlinuz-6.12", Bytes::from("kernel")),
            (
                "usr/lib/modules/6.12/kernel/fs/erofs/erofs.ko.xz",
                module("netfs"),
            ),
            (
                "usr/lib/modules/6.12/kernel/fs/netfs/netfs.ko.xz",
                module(""),
            ),
            (
                "usr/lib/modules/6.12/kernel/drivers/net/virtio_net.ko.xz",
                module(""),
            ),
            (
                "usr/lib/modules/6.12/modules.builtin",
                Bytes::from("kernel/drivers/block/loop.ko\n"),
            ),
        ];
        Package {
            facts: Facts {
                name: "linux-image-6.12".into(),
                ..Facts::default()
            },
            files: files
                .into_iter()
                .map(|(path, content)| (tar::Entry::file(path, 0o644), content))
                .collect(),
        }
    }

    fn selection(load: &[&str]) -> Selection {
        Selection {
            initramfs: Vec::new(),
            root: vec![Pattern::new("kernel/drivers/net").unwrap()],
            load: load.iter().map(|name| name.to_string()).collect(),
        }
    }

    #[test]
    fn the_initramfs_holds_what_every_boot_needs() {
        let kernel = Kernel::select(&package(), &selection(&["erofs", "loop"])).unwrap();
        assert_eq!((kernel.version.as_str(), kernel.counts()), ("6.12", (2, 3)));
        let packed = kernel.initramfs(b"program", "ID=bedplate\n");
        let bytes = compress::unpack(compress::Compression::Zstd, &packed, 1 << 20).unwrap();
        let mut found = BTreeMap::new();
        let limits = archive::Limits {
            special_files: true,
            ..Default::default()
        };
        for (entry, data) in cpio::read(&bytes, "initramfs", &limits).unwrap().0 {
            found.insert(entry.path, data.to_vec());
        }
        assert_eq!(found["init"], b"program");
        assert_eq!(
            found["lib/bedplate/modules"], b"erofs\n",
            "what is built in needs no loading"
        );
        assert!(found.contains_key("lib/modules/6.12/kernel/fs/netfs/netfs.ko.xz"));
        assert!(!found.keys().any(|path| path.contains("virtio_net")));
        assert!(found.contains_key("sysroot"));
        assert_eq!(packed, kernel.initramfs(b"program", "ID=bedplate\n"));
    }

    #[test]
    fn the_root_gets_its_own_index() {
        let kernel = Kernel::select(&package(), &selection(&["erofs"])).unwrap();
        let mut tree = Tree::new(0);
        kernel.install(&mut tree).unwrap();
        assert!(
            tree.get("lib/modules/6.12/kernel/drivers/net/virtio_net.ko.xz")
                .is_some()
        );
        let dep = tree.text("usr/lib/modules/6.12/modules.dep").unwrap();
        assert!(
            dep.contains("kernel/fs/erofs/erofs.ko.xz: kernel/fs/netfs/netfs.ko.xz\n"),
            "{dep}"
        );
    }

    #[test]
    fn an_unknown_module_is_named() {
        let message = Kernel::select(&package(), &selection(&["erofz"])).unwrap_err();
        assert_eq!(
            message,
            "[modules] load: linux-image-6.12 has no module erofz"
        );
    }
}
