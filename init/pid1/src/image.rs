//! A disk image as a mount, made by a process of its own: what is in an image may be hostile, and reading it may take
//! long. PID 1 never looks into one.
//!
//! A child of PID 1 that is on its way to a service's program executes this very program anew, as `init image REQUEST`
//! ([`crate::sys::child`]). REQUEST is a [`spec_unit::plan::Image`] as JSON. Standard input is a SOCK_SEQPACKET socket,
//! on which one packet answers: [`DONE`] with the mount as a descriptor, or [`FAILED`] and why, as text.
//!
//! The image is shown by a loop device that goes with its last user, one for each partition that is used; with a root
//! hash a dm-verity device lies over both, which goes likewise.
//!
//! Sources: loop(4), fsopen(2), systemd.exec(5) "RootImage=", UAPI Discoverable Partitions Specification.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use spec_layout::command_line::CommandLine;
use spec_layout::disk::{ROOT_AMD64, ROOT_ARM64, RootTypes};
use spec_layout::image::{FileSystem, START_BYTES, find_root, span};
use spec_layout::verity::RootHash;
use spec_unit::plan;

use crate::early::Source;
use crate::early::disk::read_table;
use crate::early::modules::Loader;
use crate::early::verity;
use crate::sys::loop_device::{self, Backing};

/// First argument of the program when it is to do this.
pub(crate) const COMMAND: &str = "image";
/// First byte of an answer that a mount comes with.
pub(crate) const DONE: u8 = b'm';
/// First byte of an answer that says why there is none.
pub(crate) const FAILED: u8 = b'e';
/// Bytes of that answer: text, then zeros.
pub(crate) const TOLD_BYTES: usize = 512;

/// Root types of this machine's architecture.
const TYPES: RootTypes = if cfg!(target_arch = "aarch64") {
    ROOT_ARM64
} else {
    ROOT_AMD64
};
/// Sectors of the disks that an image may have been made for.
const SECTORS: [usize; 2] = [512, 4096];
/// Tries to get a loop device that somebody else took between two calls.
const TRIES: usize = 64;
/// Most bytes of a file with a root hash.
const HASH_FILE_BYTES: u64 = 256;

/// Answers a request, and ends.
pub(crate) fn serve(request: Option<String>) -> ExitCode {
    let image = request.ok_or("no request".to_string());
    let image = image.and_then(|text| {
        serde_json::from_str::<plan::Image>(&text).map_err(|cause| cause.to_string())
    });
    let mount =
        image.and_then(|image| open(&image).map_err(|cause| format!("{}: {cause}", image.path)));
    match crate::sys::image::answer(io::stdin().as_fd(), mount) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The packet that says why there is no mount.
pub(crate) fn told(cause: &str) -> [u8; TOLD_BYTES] {
    let mut packet = [0; TOLD_BYTES];
    let text = cause.bytes().map(|byte| match byte {
        b' '..=b'~' => byte,
        _ => b'?',
    });
    let bytes = std::iter::once(FAILED).chain(text);
    packet
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = from);
    packet
}

/// Mounts an image, nowhere yet.
fn open(image: &plan::Image) -> Result<OwnedFd, String> {
    let file = open_file(&image.path)?;
    let hash = root_hash(image, &file)?;
    load_driver()?;
    let (root, tree) = parts(&file, image, hash.as_ref())?;
    // The devices stay for as long as something has them open: these files, until the file system does.
    let device = match (&hash, &tree) {
        (Some(hash), Some(tree)) => Device::verified(hash, &root, tree)?,
        _ => Device::Plain(root.node.clone()),
    };
    let mounted = mount(&device, &image.options);
    let released = device.release();
    let mounted = mounted?;
    released?;
    Ok(mounted)
}

fn open_file(path: &str) -> Result<File, String> {
    // A pipe would wait for a writer.
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path).map_err(|cause| cause.to_string())?;
    let kind = file.metadata().map_err(|cause| cause.to_string())?;
    use std::os::unix::fs::FileTypeExt as _;
    match kind.is_file() || kind.file_type().is_block_device() {
        true => Ok(file),
        false => Err("it is neither a file nor a block device".into()),
    }
}

/// The root hash that an image is held to, by its unit or by what stands beside it.
fn root_hash(image: &plan::Image, file: &File) -> Result<Option<RootHash>, String> {
    let digits = match &image.root_hash {
        Some(plan::RootHash::Digits(digits)) => Some(digits.clone()),
        Some(plan::RootHash::File(path)) => {
            let text = short_file(Path::new(path)).map_err(|cause| format!("{path}: {cause}"))?;
            Some(text)
        }
        None => beside(image, file)?,
    };
    let hash = digits.map(|digits| RootHash::parse(digits.trim()));
    hash.transpose()
}

fn beside(image: &plan::Image, file: &File) -> Result<Option<String>, String> {
    let mut value = [0; HASH_FILE_BYTES as usize];
    let attribute = rustix::fs::fgetxattr(file, c"user.verity.roothash", &mut value[..]);
    if let Ok(length) = attribute {
        let value = value.get(..length).unwrap_or_default();
        return Ok(Some(String::from_utf8_lossy(value).into_owned()));
    }
    let path = sidecar(&image.path, "roothash");
    match short_file(&path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(format!("{}: {cause}", path.display())),
    }
}

/// The name of an image with `.raw` taken off and another ending put on.
fn sidecar(path: &str, ending: &str) -> PathBuf {
    let name = path.strip_suffix(".raw").unwrap_or(path);
    PathBuf::from(format!("{name}.{ending}"))
}

fn short_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    file.take(HASH_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The driver of loop devices: without it there is no device to ask for one.
fn load_driver() -> Result<(), String> {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let mut loader = Loader::new(
        Path::new("/usr/lib/modules"),
        &CommandLine::parse(line.trim()),
    );
    loader.load("loop").map_err(|cause| cause.to_string())
}

/// A loop device that shows a part of a file.
#[derive(Debug)]
struct Shown {
    node: PathBuf,
    /// It goes when nobody has it open.
    _file: File,
}

/// The devices of an image: its file system, and the tree that a root hash asks for.
fn parts(
    file: &File,
    image: &plan::Image,
    hash: Option<&RootHash>,
) -> Result<(Shown, Option<Shown>), String> {
    let bytes = length(file)?;
    for sector in SECTORS {
        let mut mark = [0; 8];
        let there = file.read_exact_at(&mut mark, sector as u64).is_ok();
        if !there || mark != *b"EFI PART" {
            continue;
        }
        let table = read_table(file, sector)?;
        let found = find_root(&table, &TYPES, hash)?;
        let show = |part| {
            let (offset, length) = span(part, sector as u64, bytes)?;
            show(file, offset, length)
        };
        return Ok((show(found.root)?, found.verity.map(show).transpose()?));
    }
    let tree = match hash {
        None => None,
        Some(_) => Some(tree(image)?),
    };
    Ok((show(file, 0, 0)?, tree))
}

/// The tree of an image without partitions.
fn tree(image: &plan::Image) -> Result<Shown, String> {
    let path = match &image.verity {
        Some(path) => PathBuf::from(path),
        None => sidecar(&image.path, "verity"),
    };
    let at = |cause: String| format!("dm-verity tree {}: {cause}", path.display());
    let file = open_file(&path.to_string_lossy()).map_err(at)?;
    show(&file, 0, 0).map_err(at)
}

fn length(mut file: &File) -> Result<u64, String> {
    use std::io::Seek as _;
    let end = file.seek(io::SeekFrom::End(0));
    end.map_err(|cause| cause.to_string())
}

/// Shows a part of a file as a block device; of length 0, all from the offset on.
fn show(file: &File, offset: u64, length: u64) -> Result<Shown, String> {
    let failed = |cause: io::Error| format!("loop device: {cause}");
    let control = File::open("/dev/loop-control").map_err(failed)?;
    for _ in 0..TRIES {
        let number = loop_device::free(&control).map_err(failed)?;
        let node = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::open(&node).map_err(failed)?;
        let backing = Backing {
            file: file.as_raw_fd(),
            offset,
            length,
            goes_with_last_user: true,
        };
        match loop_device::attach(&device, &backing) {
            Ok(()) => {
                return Ok(Shown {
                    node,
                    _file: device,
                });
            }
            Err(cause) if cause.raw_os_error() == Some(libc::EBUSY) => {}
            Err(cause) => return Err(failed(cause)),
        }
    }
    Err(failed(io::ErrorKind::ResourceBusy.into()))
}

/// What the file system is read from.
#[derive(Debug)]
enum Device {
    /// A loop device.
    Plain(PathBuf),
    /// A dm-verity device, by its name.
    Verified { node: PathBuf, name: String },
}

impl Device {
    fn verified(hash: &RootHash, root: &Shown, tree: &Shown) -> Result<Self, String> {
        let mut random = [0; 8];
        let flags = rustix::rand::GetRandomFlags::empty();
        rustix::rand::getrandom(&mut random, flags).map_err(|cause| cause.to_string())?;
        let name = format!("image-{:016x}", u64::from_ne_bytes(random));
        let source = Source {
            root: root.node.clone(),
            tree: tree.node.clone(),
        };
        let node = verity::open_as(&name, hash, &source, verity::OnCorruption::Fail);
        let node = node.map_err(|cause| cause.to_string())?;
        Ok(Self::Verified { node, name })
    }

    fn node(&self) -> &Path {
        match self {
            Self::Plain(node) | Self::Verified { node, .. } => node,
        }
    }

    /// From now on it goes with its last user, which is the mount, if there is one.
    fn release(&self) -> Result<(), String> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Verified { name, .. } => {
                verity::remove_when_unused(name).map_err(|cause| cause.to_string())
            }
        }
    }
}

fn mount(device: &Device, options: &[String]) -> Result<OwnedFd, String> {
    let kind = file_system(device.node())?;
    let (flags, own) = sort(options)?;
    let failed = |step: String| move |cause: rustix::io::Errno| format!("{step}: {cause}");
    let context = fsopen(kind.name(), FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(failed(format!("no driver of {}", kind.name())))?;
    let set = |option: &str| match option.split_once('=') {
        Some((key, value)) => fsconfig_set_string(&context, key, value),
        None => fsconfig_set_flag(&context, option),
    };
    let source = device.node().to_string_lossy();
    fsconfig_set_string(&context, "source", source.as_ref())
        .map_err(failed("source".to_string()))?;
    let first = ["ro"].into_iter().chain(kind.without_recovery());
    for option in first.chain(own) {
        set(option).map_err(failed(format!("option {option:?} of {}", kind.name())))?;
    }
    fsconfig_create(&context).map_err(failed(format!("mounting it as {}", kind.name())))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(failed("mounting it".into()))
}

/// By what is read of the device: through dm-verity that is what the root hash promises.
fn file_system(node: &Path) -> Result<FileSystem, String> {
    let mut start = Vec::new();
    let device = File::open(node).map_err(|cause| cause.to_string())?;
    let read = device.take(START_BYTES as u64).read_to_end(&mut start);
    read.map_err(|cause| cause.to_string())?;
    let known = FileSystem::of(&start);
    known.ok_or_else(|| {
        "it holds no GUID partition table, and no erofs, squashfs, ext4, xfs, btrfs or vfat".into()
    })
}

/// Sorts options into those of the mount and those of the file system. As in systemd no device of an image opens
/// unless `dev` is given.
fn sort(options: &[String]) -> Result<(MountAttrFlags, Vec<&str>), String> {
    let mut flags = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mut own = Vec::new();
    for option in options {
        let (flag, on) = match option.as_str() {
            "ro" | "defaults" | "relatime" => continue,
            "rw" => return Err("an image is mounted read-only: take rw away".into()),
            "nodev" => (MountAttrFlags::MOUNT_ATTR_NODEV, true),
            "dev" => (MountAttrFlags::MOUNT_ATTR_NODEV, false),
            "nosuid" => (MountAttrFlags::MOUNT_ATTR_NOSUID, true),
            "suid" => (MountAttrFlags::MOUNT_ATTR_NOSUID, false),
            "noexec" => (MountAttrFlags::MOUNT_ATTR_NOEXEC, true),
            "exec" => (MountAttrFlags::MOUNT_ATTR_NOEXEC, false),
            "noatime" => (MountAttrFlags::MOUNT_ATTR_NOATIME, true),
            "strictatime" => (MountAttrFlags::MOUNT_ATTR_STRICTATIME, true),
            "nodiratime" => (MountAttrFlags::MOUNT_ATTR_NODIRATIME, true),
            "nosymfollow" => (MountAttrFlags::from_bits_retain(0x0020_0000), true),
            option => {
                own.push(option);
                continue;
            }
        };
        flags.set(flag, on);
    }
    Ok((flags, own))
}

#[cfg(test)]
mod tests;
