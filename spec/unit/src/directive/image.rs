//! `RootImage=`, `RootHash=`, `MountImages=` and their like: disk images as the root of a service, or mounted in it.
//!
//! Each process of a service mounts them for itself and in no other's sight, so they are always read-only: two that
//! wrote to one file system through two mounts would destroy it.

use serde::{Deserialize, Serialize};

use super::mount::Entry;
use super::{Directive, Planning, Value};
use crate::plan::{Content, Image, RootHash};
use crate::unit::Unit;
use crate::value;

/// The disk images of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSettings {
    /// RootImage=.
    pub root: Option<String>,
    /// RootImageOptions=, those of the root partition.
    pub root_options: Vec<String>,
    /// RootHash=.
    pub root_hash: Option<RootHash>,
    /// RootVerity=.
    pub root_verity: Option<String>,
    /// MountImages=.
    pub mounts: Vec<MountImage>,
}

/// One image of MountImages=.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountImage {
    /// The image.
    pub source: String,
    /// Where it is mounted.
    pub target: String,
    /// Options of its root partition.
    pub options: Vec<String>,
    /// `-`: the image may be missing.
    pub missing_ok: bool,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    Directive::wall(
        "RootImage",
        "PATH",
        "The disk image that is / to its commands, read-only: a file system, or the root partition of a GPT; no other partition is mounted.",
        set_root,
    ),
    Directive::wall(
        "RootImageOptions",
        "[root:]OPTION[,OPTION]...",
        "How RootImage= is mounted; it stays read-only.",
        add_root_options,
    ),
    Directive::wall(
        "RootHash",
        "HEX|PATH",
        "The dm-verity root hash of RootImage=, or a file that holds it; else that of IMAGE.roothash or of the attribute user.verity.roothash.",
        set_root_hash,
    ),
    Directive::wall(
        "RootVerity",
        "PATH",
        "The dm-verity tree of a RootImage= without partitions; else IMAGE.verity.",
        set_root_verity,
    ),
    Directive::wall(
        "MountImages",
        "[-]IMAGE:TARGET[:[PARTITION:]OPTIONS]...",
        "Disk images mounted for the service, as RootImage= is.",
        add_mounts,
    ),
];

/// Partitions that options can be given for.
const PARTITIONS: [&str; 10] = [
    "root",
    "usr",
    "home",
    "srv",
    "esp",
    "xbootldr",
    "tmp",
    "var",
    "swap",
    "root-verity",
];

fn set_root(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.images.root = match value.expanded().as_str() {
        "" => None,
        text => Some(value::path(text)?),
    };
    Ok(())
}

fn add_root_options(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let options = &mut unit.service.images.root_options;
    if value.is_reset() {
        options.clear();
    }
    for word in value.words()? {
        let (partition, list) = word.split_once(':').unwrap_or(("root", &word));
        options.extend(of_root(partition, list, value)?);
    }
    Ok(())
}

/// The options of a partition, if that is the root: no other is mounted.
fn of_root(partition: &str, list: &str, value: &Value<'_>) -> Result<Vec<String>, String> {
    match partition {
        "root" => options(list),
        _ if PARTITIONS.contains(&partition) => {
            value.warn(format!(
                "the partition {partition} of an image is not mounted"
            ));
            Ok(Vec::new())
        }
        _ => Err(format!("{partition:?} is not a partition of an image")),
    }
}

fn options(list: &str) -> Result<Vec<String>, String> {
    let options = list.split(',').filter(|option| !option.is_empty());
    let options = options.map(|option| match option {
        "rw" => Err("an image is mounted read-only: take rw away".to_string()),
        _ => Ok(option.to_string()),
    });
    options.collect()
}

fn set_root_hash(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.images.root_hash = match value.expanded().as_str() {
        "" => None,
        text if text.starts_with('/') => Some(RootHash::File(value::path(text)?)),
        text => {
            let hash = spec_layout::verity::RootHash::parse(text)?;
            Some(RootHash::Digits(hash.to_string()))
        }
    };
    Ok(())
}

fn set_root_verity(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    unit.service.images.root_verity = match value.expanded().as_str() {
        "" => None,
        text => Some(value::path(text)?),
    };
    Ok(())
}

fn add_mounts(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let mounts = &mut unit.service.images.mounts;
    if value.is_reset() {
        mounts.clear();
    }
    for word in value.words()? {
        let (word, missing_ok) = word
            .strip_prefix('-')
            .map_or((word.as_str(), false), |word| (word, true));
        let mut parts = word.split(':');
        let source = value::path(parts.next().unwrap_or_default())?;
        let Some(target) = parts.next() else {
            return Err(format!("{word:?} does not say where it is mounted"));
        };
        let rest: Vec<&str> = parts.collect();
        let options = match &rest[..] {
            [] => Vec::new(),
            [list] => self::options(list)?,
            pairs => {
                let mut all = Vec::new();
                for pair in pairs.chunks(2) {
                    let [partition, list] = pair else {
                        return Err(format!("{word:?} names a partition without its options"));
                    };
                    all.extend(of_root(partition, list, value)?);
                }
                all
            }
        };
        mounts.push(MountImage {
            source,
            target: value::path(target)?,
            options,
            missing_ok,
        });
    }
    Ok(())
}

impl ImageSettings {
    /// The root image as a plan has it.
    pub(super) fn root(&self) -> Option<Image> {
        self.root.as_ref().map(|path| Image {
            path: path.clone(),
            options: self.root_options.clone(),
            root_hash: self.root_hash.clone(),
            verity: self.root_verity.clone(),
        })
    }

    /// Whether there are any.
    pub(super) fn is_set(&self) -> bool {
        self.paths().next().is_some()
    }

    /// Where they are.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let mounts = self.mounts.iter().map(|mount| &mount.source);
        self.root.iter().chain(mounts).map(String::as_str)
    }
}

/// What is mounted of images.
pub(super) fn entries(planning: &Planning<'_>) -> Vec<Entry> {
    let mounts = planning.unit.service.images.mounts.iter();
    let entry = |mount: &MountImage| {
        let image = Image {
            path: mount.source.clone(),
            options: mount.options.clone(),
            ..Image::default()
        };
        let entry = Entry::new(&mount.target, Content::Image(image));
        entry.missing_ok(mount.missing_ok)
    };
    mounts.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{plan, read};
    use super::*;
    use crate::plan::filter::Devices;

    const HASH: &str = "0548406a97b8f93f064e0548bbec089b34efcc9c91ceb1822864f1888913b37d";

    #[test]
    fn an_image_takes_the_place_of_a_folder() {
        let plan = plan(&format!(
            "ExecStart=/bin/a\nRootDirectory=/srv\nRootImage=/a.raw\nRootImageOptions=noatime root:ro,dev\nRootHash={HASH}\nRootVerity=/a.tree\n"
        ));
        assert_eq!(plan.mounts.root, None);
        let expected = Image {
            path: "/a.raw".into(),
            options: vec!["noatime".into(), "ro".into(), "dev".into()],
            root_hash: Some(RootHash::Digits(HASH.into())),
            verity: Some("/a.tree".into()),
        };
        assert_eq!(plan.mounts.root_image, Some(expected));
        let targets = plan.mounts.list.iter().map(|mount| mount.target.as_str());
        assert!(targets.clone().any(|target| target == "/proc"), "{plan:?}");
        plan.check(0).unwrap();
    }

    #[test]
    fn images_are_mounted_where_they_are_asked_for() {
        let plan =
            plan("ExecStart=/bin/a\nMountImages=/a.raw:/mnt:noatime -/b.raw:/srv:root:nodev\n");
        let list = &plan.mounts.list;
        let image = |path: &str, option: &str| {
            Content::Image(Image {
                path: path.into(),
                options: vec![option.into()],
                ..Image::default()
            })
        };
        assert_eq!(list[0].content, image("/a.raw", "noatime"));
        assert_eq!(list[1].content, image("/b.raw", "nodev"));
        assert!(!list[0].missing_ok && list[1].missing_ok);
        plan.check(0).unwrap();
    }

    #[test]
    fn devices_of_images_are_allowed_where_only_some_are() {
        let devices = |text: &str| {
            plan(&format!("ExecStart=/bin/a\n{text}"))
                .cgroup
                .filters
                .devices
        };
        assert_eq!(devices("RootImage=/a.raw\n"), None);
        let closed = devices("DevicePolicy=strict\n").unwrap().len();
        let more = devices("DevicePolicy=strict\nRootImage=/dev/vda\n").unwrap();
        assert!(closed == 0 && more.len() == 5, "{more:?}");
        assert_eq!(more[4].devices, Devices::Node("/dev/vda".into()));
    }

    #[test]
    fn what_is_no_image_refuses() {
        for text in [
            "RootImage=a.raw",
            "RootHash=abcd",
            "RootHash=../a",
            "RootVerity=tree",
            "RootImageOptions=rw",
            "RootImageOptions=data:noatime",
            "MountImages=/a.raw",
            "MountImages=/a.raw:mnt",
            "MountImages=/a.raw:/mnt:root:noatime:home",
        ] {
            let (unit, _) = read(&format!("[Service]\n{text}\n"));
            assert_eq!(unit.refusals.len(), 1, "{text}");
        }
    }

    #[test]
    fn a_partition_that_is_not_mounted_is_told() {
        let (unit, findings) = read("[Service]\nRootImageOptions=home:noexec root:noatime\n");
        assert!(findings[0].message.contains("home"), "{findings:?}");
        assert_eq!(unit.service.images.root_options, ["noatime"]);
    }
}
