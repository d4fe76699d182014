//! Images that are made here, and what becomes of those that are none.

use std::io::Write as _;

use super::*;

fn image(path: &Path) -> plan::Image {
    plan::Image {
        path: path.to_string_lossy().into_owned(),
        ..plan::Image::default()
    }
}

#[test]
fn options_are_those_of_the_mount_or_of_the_file_system() {
    let options = |list: &[&str]| {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        sort(&list).map(|(flags, own)| {
            let own: Vec<String> = own.into_iter().map(String::from).collect();
            (flags, own)
        })
    };
    let first = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    assert_eq!(options(&[]), Ok((first, vec![])));
    let (flags, own) = options(&["ro", "dev", "nosuid", "errors=continue"]).unwrap();
    let expected = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID;
    assert_eq!(
        (flags, own),
        (expected, vec!["errors=continue".to_string()])
    );
    assert!(options(&["rw"]).is_err());
}

#[test]
fn a_hash_is_found_beside_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.raw");
    std::fs::write(&path, "x").unwrap();
    let file = File::open(&path).unwrap();
    let asked = image(&path);
    assert_eq!(root_hash(&asked, &file), Ok(None));
    let digits = "ab".repeat(32);
    std::fs::write(folder.path().join("a.roothash"), format!("{digits}\n")).unwrap();
    let found = root_hash(&asked, &file).unwrap().unwrap();
    assert_eq!(found.to_string(), digits);
    let other = "cd".repeat(32);
    let named = plan::Image {
        root_hash: Some(plan::RootHash::Digits(other.clone())),
        ..asked.clone()
    };
    let found = root_hash(&named, &file).unwrap().unwrap();
    assert_eq!(found.to_string(), other);
    let missing = plan::Image {
        root_hash: Some(plan::RootHash::File("/no/such".into())),
        ..asked
    };
    assert!(root_hash(&missing, &file).unwrap_err().contains("/no/such"));
    assert_eq!(sidecar("/a.img", "verity"), Path::new("/a.img.verity"));
}

#[test]
fn what_would_keep_its_reader_waiting_is_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let told = open_file(&pipe.to_string_lossy()).unwrap_err();
    assert!(told.contains("neither a file"), "{told}");
    assert!(open_file("/dev/null").is_err());
    assert!(open_file(&folder.path().to_string_lossy()).is_err());
}

#[test]
fn a_table_that_lies_is_refused_before_there_is_a_device() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.raw");
    let mut bytes = vec![0u8; 4096];
    bytes[512..520].copy_from_slice(b"EFI PART");
    File::create(&path).unwrap().write_all(&bytes).unwrap();
    let file = File::open(&path).unwrap();
    let told = parts(&file, &image(&path), None).unwrap_err();
    assert!(told.contains("header of 0 bytes"), "{told}");
}

#[test]
fn what_is_told_is_text_of_one_length() {
    let packet = told("a\nb\u{e9}");
    assert_eq!(&packet[..7], b"ea?b??\0");
    assert_eq!(told(&"x".repeat(9000)).len(), TOLD_BYTES);
}

/// Runs a tool that makes images; whether it is here and did.
fn made(program: &str, arguments: &[&str]) -> bool {
    let mut command = std::process::Command::new(program);
    let status = command
        .args(arguments)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Whether images can be mounted here.
fn is_possible() -> bool {
    let devices = Path::new("/dev/loop-control").exists();
    let possible = devices && nix::unistd::geteuid().is_root();
    if !possible {
        println!("Skipped: it takes root and loop devices to mount an image");
    }
    possible
}

/// A folder with a file, and an image of it by the tool.
fn image_of(folder: &Path, name: &str, tool: &str, arguments: &[&str]) -> Option<PathBuf> {
    let tree = folder.join("tree");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("file"), name).unwrap();
    let path = folder.join(name);
    let (path_text, tree) = (path.to_str().unwrap(), tree.to_str().unwrap());
    let replace = |word: &&str| match *word {
        "PATH" => path_text.to_string(),
        "TREE" => tree.to_string(),
        word => word.to_string(),
    };
    let arguments: Vec<String> = arguments.iter().map(replace).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let made = made(tool, &arguments);
    if !made {
        println!("Skipped: no {tool}");
    }
    made.then_some(path)
}

fn read(mount: &OwnedFd) -> io::Result<String> {
    std::fs::read_to_string(format!("/proc/self/fd/{}/file", mount.as_raw_fd()))
}

#[test]
fn a_file_system_is_read_and_not_written() {
    if !is_possible() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tools: [(&str, &str, &[&str]); 3] = [
        (
            "a.ext4",
            "mkfs.ext4",
            &["-q", "-F", "-d", "TREE", "PATH", "4M"],
        ),
        ("a.erofs", "mkfs.erofs", &["PATH", "TREE"]),
        ("a.squashfs", "mksquashfs", &["TREE", "PATH"]),
    ];
    for (name, tool, arguments) in tools {
        let Some(path) = image_of(folder.path(), name, tool, arguments) else {
            continue;
        };
        let mount = match open(&image(&path)) {
            Err(cause) if cause.contains("no driver") => {
                println!("Skipped: {cause}");
                continue;
            }
            mount => mount.unwrap(),
        };
        assert_eq!(read(&mount).unwrap(), name);
        let file = format!("/proc/self/fd/{}/new", mount.as_raw_fd());
        let told = File::create(file).unwrap_err();
        assert_eq!(told.raw_os_error(), Some(libc::EROFS));
    }
}

#[test]
fn the_root_of_a_table_is_mounted_and_a_hash_is_held_to() {
    if !is_possible() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-q", "-F", "-d", "TREE", "PATH", "4M"];
    let Some(inner) = image_of(folder.path(), "inner", "mkfs.ext4", &arguments) else {
        return;
    };
    let path = folder.path().join("disk.raw");
    let bytes = std::fs::read(&inner).unwrap();
    let disk = File::create(&path).unwrap();
    disk.set_len(16 << 20).unwrap();
    disk.write_all_at(&bytes, 4 << 20).unwrap();
    let kind = format!("2:{}", TYPES.root);
    let text = path.to_str().unwrap();
    let arguments = ["-n", "2:8192:16383", "-t", &kind, text];
    if !made("sgdisk", &arguments) {
        println!("Skipped: no sgdisk");
        return;
    }
    assert_eq!(read(&open(&image(&path)).unwrap()).unwrap(), "inner");
    let hash = plan::Image {
        root_hash: Some(plan::RootHash::Digits("ab".repeat(32))),
        ..image(&path)
    };
    let told = open(&hash).unwrap_err();
    assert!(told.contains("none are the root abababab-"), "{told}");

    // The table of a disk that was cut short.
    disk.set_len(6 << 20).unwrap();
    let told = open(&image(&path)).unwrap_err();
    assert!(told.contains("ends behind the image"), "{told}");
}

#[test]
fn only_what_the_root_hash_promises_is_mounted() {
    if !is_possible() {
        return;
    }
    if !Path::new("/dev/mapper/control").exists() {
        println!("Skipped: this kernel has no device mapper");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-q", "-F", "-d", "TREE", "PATH", "4M"];
    let Some(path) = image_of(folder.path(), "a.raw", "mkfs.ext4", &arguments) else {
        return;
    };
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (data, tree, hash) = (at("a.raw"), at("a.verity"), at("a.roothash"));
    let hash_file = format!("--root-hash-file={hash}");
    if !made("veritysetup", &["format", &data, &tree, &hash_file]) {
        println!("Skipped: no veritysetup");
        return;
    }
    assert_eq!(read(&open(&image(&path)).unwrap()).unwrap(), "a.raw");
    let other = plan::Image {
        root_hash: Some(plan::RootHash::Digits("ab".repeat(32))),
        ..image(&path)
    };
    assert!(open(&other).is_err());
    std::fs::remove_file(&tree).unwrap();
    let told = open(&image(&path)).unwrap_err();
    assert!(told.contains("a.verity"), "{told}");
}
