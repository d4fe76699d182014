//! The file systems of a child: the steps that make them.
//!
//! What is taken from PID 1's root is held as a tree that is mounted nowhere, before another root takes its place.
//! Paths that stay what they are and only get other attributes are held too, before anything is mounted over them: so a
//! path that can be written stays so within one that cannot, and what was read-only before stays that.

use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;

use spec_unit::plan::credential::{CredentialFolder, CredentialSource};
use spec_unit::plan::filter::{DeviceRule, Devices, HARMLESS_DEVICES};
use spec_unit::plan::{Content, ExecPlan, Image, Mount, Mounts};

use super::order::{owner, parents};
use super::step::{Attributes, CredentialText, NewFileSystem, Step};
use super::text;

/// What nobody can open, made at boot.
const INACCESSIBLE: [&str; 4] = [
    spec_layout::path::INACCESSIBLE_FOLDER,
    spec_layout::path::INACCESSIBLE_FILE,
    spec_layout::path::INACCESSIBLE_CHARACTER,
    spec_layout::path::INACCESSIBLE_BLOCK,
];
/// What a `/dev` of harmless devices shares with PID 1's.
const SHARED_DEVICES: [&str; 4] = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/hugepages"];

/// How many slots the steps of a plan use.
pub(super) fn slots(steps: &[Step]) -> usize {
    let slot = |step: &Step| match step {
        Step::Tree { slot, .. }
        | Step::Handed { slot, .. }
        | Step::Image { slot, .. }
        | Step::Inaccessible { slot, .. }
        | Step::NewFileSystem { slot, .. } => *slot + 1,
        _ => 0,
    };
    steps.iter().map(slot).max().unwrap_or(0)
}

/// The steps of a plan; `handed` is a root that was handed over.
pub(super) fn steps(
    plan: &ExecPlan,
    handed: Option<RawFd>,
    steps: &mut Vec<Step>,
) -> io::Result<()> {
    let mounts = &plan.mounts;
    if handed.is_none() && !mounts.is_own() {
        return Ok(());
    }
    steps.push(Step::OwnMounts {
        isolated: mounts.isolated,
    });
    let mut order = Order {
        plan,
        mounts,
        devices: plan.cgroup.filters.devices.as_deref(),
        before: Vec::new(),
        held: Vec::new(),
        mounted: Vec::new(),
        slots: 0,
        root: None,
    };
    order.root(handed)?;
    for (number, mount) in mounts.list.iter().enumerate() {
        order.mount(number, mount)?;
    }
    if let Some(folder) = &mounts.credentials {
        order.credentials(folder)?;
    }
    order.close()?;
    steps.extend(order.before);
    steps.extend(order.root.map(|slot| Step::Root { slot }));
    steps.extend(order.held);
    steps.extend(order.mounted);
    Ok(())
}

fn tree(slot: usize, path: &str, recursive: bool, missing_ok: bool) -> io::Result<Step> {
    Ok(Step::Tree {
        slot,
        path: text(path)?,
        recursive,
        missing_ok,
    })
}

fn image(slot: usize, image: &Image, missing_ok: bool) -> io::Result<Step> {
    let request = serde_json::to_string(image)?;
    Ok(Step::Image {
        slot,
        path: text(&image.path)?,
        arguments: [
            c"bedplate-init".into(),
            text(crate::image::COMMAND)?,
            text(&request)?,
        ],
        missing_ok,
    })
}

fn is_in(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// Steps as they come together.
struct Order<'a> {
    plan: &'a ExecPlan,
    mounts: &'a Mounts,
    /// The only devices that the control group may use, if it is held to some.
    devices: Option<&'a [DeviceRule]>,
    /// In PID 1's root.
    before: Vec<Step>,
    /// In the child's root, before anything is mounted.
    held: Vec<Step>,
    /// One mount after the other.
    mounted: Vec<Step>,
    slots: usize,
    /// Where another root is held.
    root: Option<usize>,
}

impl Order<'_> {
    fn slot(&mut self) -> usize {
        self.slots += 1;
        self.slots - 1
    }

    /// Holds the root that takes the place of PID 1's, if there is one.
    fn root(&mut self, handed: Option<RawFd>) -> io::Result<()> {
        let slot = self.slots;
        let root = match (&self.mounts.root_image, &self.mounts.root, handed) {
            (Some(asked), ..) => image(slot, asked, false)?,
            (None, Some(path), _) => tree(slot, path, true, false)?,
            (None, None, Some(fd)) => Step::Handed {
                slot,
                fd,
                isolated: self.mounts.isolated,
            },
            (None, None, None) => return Ok(()),
        };
        self.root = Some(self.slot());
        self.before.push(root);
        if self.mounts.idmapped {
            self.before.push(Step::IdMap { slot });
        }
        Ok(())
    }

    /// Whether a path before this one in the list shows something else than before, and this one is in it.
    fn is_in_new(&self, number: usize, path: &str) -> bool {
        let earlier = self.mounts.list.iter().take(number);
        let mut new = earlier.filter(|mount| mount.content.replaces());
        new.any(|mount| is_in(path, &mount.target))
    }

    fn mount(&mut self, number: usize, mount: &Mount) -> io::Result<()> {
        let path = mount.target.as_str();
        let mut attributes = Attributes {
            read_only: mount.read_only,
            no_exec: mount.no_exec,
        };
        if path == "/" {
            let path = text(path)?;
            self.mounted.push(Step::Attributes { path, attributes });
            return Ok(());
        }
        let within = self.is_in_new(number, path);
        let slot = self.slot();
        match &mount.content {
            Content::Same => {
                let held = tree(slot, path, true, mount.missing_ok)?;
                match within {
                    true => self.mounted.push(held),
                    false => self.held.push(held),
                }
            }
            Content::Inaccessible => {
                let [folder, file, character, block] = INACCESSIBLE;
                // All units share these nodes: nobody writes to them.
                attributes = Attributes {
                    read_only: true,
                    no_exec: true,
                };
                self.before.push(Step::Inaccessible {
                    slot,
                    root: self.root,
                    path: text(path)?,
                    nodes: [text(folder)?, text(file)?, text(character)?, text(block)?],
                    missing_ok: mount.missing_ok,
                });
            }
            Content::Bind { source, recursive } => {
                self.before
                    .push(tree(slot, source, *recursive, mount.missing_ok)?);
                if mount.idmapped {
                    self.before.push(Step::IdMap { slot });
                }
                self.point(slot, path, within)?;
            }
            Content::Image(asked) => {
                self.before.push(image(slot, asked, mount.missing_ok)?);
                self.point(slot, path, within)?;
            }
            content => {
                self.mounted.push(new(slot, content)?);
                if !mount.missing_ok {
                    self.point(slot, path, within)?;
                }
                // What is mounted in it needs a place first.
                attributes.read_only = false;
            }
        }
        self.mounted.push(Step::Attach {
            slot,
            path: text(path)?,
            attributes,
            missing_ok: mount.missing_ok,
        });
        if mount.content == Content::Devices {
            self.devices()?;
        }
        Ok(())
    }

    /// A place to mount on; in PID 1's root before it may be read-only, in what is new once that is there.
    fn point(&mut self, slot: usize, path: &str, within: bool) -> io::Result<()> {
        let parents = parents(path).map(text).collect::<io::Result<_>>()?;
        let step = Step::MountPoint {
            slot,
            parents,
            path: text(path)?,
        };
        let is_held =
            |step: &Step| matches!(step, Step::NewFileSystem { slot: made, .. } if *made == slot);
        match within || self.mounted.iter().any(is_held) {
            true => self.mounted.push(step),
            false => self.held.push(step),
        }
        Ok(())
    }

    /// What a `/dev` shares with PID 1's, and the nodes that the child may not make in it, as systemd binds them too.
    fn devices(&mut self) -> io::Result<()> {
        for path in SHARED_DEVICES {
            self.shared(path)?;
        }
        for (name, major, minor) in HARMLESS_DEVICES {
            if !self.may_make(major, minor) {
                self.shared(&format!("/dev/{}", name.to_string_lossy()))?;
            }
        }
        Ok(())
    }

    /// Shows at a path what PID 1 has there, if that is there.
    fn shared(&mut self, path: &str) -> io::Result<()> {
        let slot = self.slot();
        self.before.push(tree(slot, path, true, true)?);
        self.mounted.push(Step::Attach {
            slot,
            path: text(path)?,
            attributes: Attributes::default(),
            missing_ok: true,
        });
        Ok(())
    }

    /// Whether the control group's filter surely lets a node of a character device be made.
    fn may_make(&self, major: u32, minor: u32) -> bool {
        let numbers = Devices::Number {
            block: false,
            major,
            minor: Some(minor),
        };
        self.devices.is_none_or(|rules| {
            rules
                .iter()
                .any(|rule| rule.make && rule.devices == numbers)
        })
    }

    fn credentials(&mut self, folder: &CredentialFolder) -> io::Result<()> {
        let slot = self.slot();
        let own = self.plan.credentials.as_ref().map_or(0, |own| own.gid);
        let (uid, _) = owner(self.plan, folder.uid, own)?;
        let options = ["mode=0500", "size=128M", "nr_inodes=256", "noswap"];
        let new = NewFileSystem {
            kind: c"tmpfs".into(),
            options: self::options(&options.join(","))?,
            devices: false,
        };
        self.before.push(Step::NewFileSystem { slot, new });
        for credential in &folder.list {
            let text = match &credential.source {
                CredentialSource::Text(text) => CredentialText::Given(text.clone()),
                CredentialSource::Files { paths, missing_ok } => CredentialText::Files {
                    paths: paths
                        .iter()
                        .map(|path| text(path))
                        .collect::<io::Result<_>>()?,
                    missing_ok: *missing_ok,
                },
            };
            let name = super::text(&credential.name)?;
            self.before.push(Step::Credential {
                slot,
                name,
                uid,
                text,
            });
        }
        self.before.push(Step::GiveCredentials { slot, uid });
        let within = self.is_in_new(self.mounts.list.len(), &folder.path);
        self.point(slot, &folder.path, within)?;
        self.mounted.push(Step::Attach {
            slot,
            path: text(&folder.path)?,
            attributes: Attributes {
                read_only: true,
                no_exec: true,
            },
            missing_ok: false,
        });
        Ok(())
    }

    /// What is new and read-only is closed once all that is mounted in it has its place.
    fn close(&mut self) -> io::Result<()> {
        let list = self.mounts.list.iter();
        let new = |mount: &&Mount| {
            let held = matches!(
                mount.content,
                Content::Same | Content::Inaccessible | Content::Bind { .. } | Content::Image(_)
            );
            mount.read_only && !held
        };
        for mount in list.filter(new) {
            let path = text(&mount.target)?;
            self.mounted.push(Step::ReadOnly { path });
        }
        Ok(())
    }
}

fn new(slot: usize, content: &Content) -> io::Result<Step> {
    let (kind, list) = match content {
        Content::Tmpfs { options } => (c"tmpfs", options.clone()),
        Content::Devices => (c"tmpfs", "mode=0755,size=4M,nr_inodes=64k".into()),
        Content::Proc {
            hide,
            only_processes,
        } => {
            let hide = hide.iter().map(|hide| format!("hidepid={hide}"));
            let subset = only_processes.then(|| "subset=pid".to_string());
            let list: Vec<String> = hide.chain(subset).collect();
            (c"proc", list.join(","))
        }
        Content::Queues => (c"mqueue", String::new()),
        Content::Cgroups => (c"cgroup2", String::new()),
        Content::Same | Content::Inaccessible | Content::Bind { .. } | Content::Image(_) => {
            return Err(io::ErrorKind::InvalidInput.into());
        }
    };
    let new = NewFileSystem {
        kind: kind.into(),
        options: options(&list)?,
        devices: *content == Content::Devices,
    };
    Ok(Step::NewFileSystem { slot, new })
}

/// `key=value,flag` as fsconfig(2) takes it.
fn options(list: &str) -> io::Result<Vec<(CString, Option<CString>)>> {
    let options = list.split(',').filter(|option| !option.is_empty());
    options
        .map(|option| {
            let (key, value) = option
                .split_once('=')
                .map_or((option, None), |(key, value)| (key, Some(value)));
            Ok((text(key)?, value.map(text).transpose()?))
        })
        .collect()
}
