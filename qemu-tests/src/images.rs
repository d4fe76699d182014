//! Images as `bedplate build` wrote them, and the parts of a UKI for direct kernel boot.
//!
//! A UKI is a PE file (Microsoft's "PE Format"; UAPI "Unified Kernel Image"). Only the section table is
//! read, every number of it is checked against the file's length.

use crate::{
    error::{Error, Result},
    vm::Boot,
};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Names the folder with one subfolder per recipe.
pub const IMAGES: &str = "BEDPLATE_IMAGES";

/// Largest UKI read; one with a whole root in it stays far below.
const MAX_UKI: u64 = 1 << 30;

/// A built image: all formats of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The folder it was built into.
    pub folder: PathBuf,
    /// `ID_VERSION`, the start of each artifact's name.
    pub stem: String,
}

impl Image {
    /// The image of a recipe below the folder that [`IMAGES`] names. `None` if there is none.
    pub fn of_recipe(recipe: &str) -> Result<Option<Image>> {
        match env::var_os(IMAGES).filter(|value| !value.is_empty()) {
            Some(folder) => Image::find(&Path::new(&folder).join(recipe)),
            None => Ok(None),
        }
    }

    /// The image in a folder that one build wrote to; its `manifest.json` names it.
    pub fn find(folder: &Path) -> Result<Option<Image>> {
        if !folder.join("manifest.json").exists() {
            return Ok(None);
        }
        let mut image = Image {
            folder: folder.to_owned(),
            stem: String::new(),
        };
        let manifest = image.manifest()?;
        let field = |name: &str| {
            let value = manifest.get(name).and_then(Value::as_str);
            value.ok_or_else(|| image.broken(&format!("no field '{name}'")))
        };
        let stem = format!("{}_{}", field("id")?, field("version")?);
        image.stem = stem;
        Ok(Some(image))
    }

    /// Its `manifest.json`.
    pub fn manifest(&self) -> Result<Value> {
        let path = self.folder.join("manifest.json");
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        serde_json::from_str(&text).map_err(|error| self.broken(&error.to_string()))
    }

    /// The root hash of its dm-verity tree, in hex.
    pub fn root_hash(&self) -> Result<String> {
        let manifest = self.manifest()?;
        let hash = manifest.get("root_hash").and_then(Value::as_str);
        hash.map(str::to_owned)
            .ok_or_else(|| self.broken("no field 'root_hash'"))
    }

    /// Waits for a build into its folder to end, and keeps others waiting until the file is closed. Refused if the folder
    /// then holds another build than the one with this root hash.
    pub fn hold(&self, root_hash: &str) -> Result<File> {
        let folder = File::open(&self.folder).map_err(Error::io("open", &self.folder))?;
        flock(&folder, FlockOperation::LockShared)
            .map_err(|error| Error::io("lock", &self.folder)(error.into()))?;
        let found = self.root_hash()?;
        if found == root_hash {
            return Ok(folder);
        }
        Err(Error::Refused(format!(
            "{} holds another build by now, root hash {found}, not {root_hash}: somebody else built into it; try again",
            self.folder.display()
        )))
    }

    fn broken(&self, what: &str) -> Error {
        Error::Failed(format!(
            "{}: {what}",
            self.folder.join("manifest.json").display()
        ))
    }

    /// The artifact with this extension, if it was built.
    pub fn artifact(&self, extension: &str) -> Option<PathBuf> {
        let path = self.folder.join(format!("{}.{extension}", self.stem));
        path.exists().then_some(path)
    }

    /// The artifact with this extension.
    pub fn required(&self, extension: &str) -> Result<PathBuf> {
        self.artifact(extension).ok_or_else(|| {
            Error::Failed(format!(
                "{} has no {}.{extension}: build that format too",
                self.folder.display(),
                self.stem
            ))
        })
    }

    /// Label of the partition that holds its root; that of the tree adds `_verity`.
    pub fn version(&self) -> &str {
        self.stem
            .rsplit_once('_')
            .map_or("", |(_, version)| version)
    }

    /// Direct kernel boot with what the UKI carries; the parts are written to `folder`.
    pub fn direct(&self, folder: &Path) -> Result<Boot> {
        direct(&self.required("efi")?, folder)
    }
}

/// Takes a UKI apart into `folder`, for direct kernel boot.
pub fn direct(uki: &Path, folder: &Path) -> Result<Boot> {
    let length = fs::metadata(uki).map_err(Error::io("read", uki))?.len();
    if length > MAX_UKI {
        return Err(Error::Refused(format!(
            "{}: {length} bytes are no UKI",
            uki.display()
        )));
    }
    let file = fs::read(uki).map_err(Error::io("read", uki))?;
    let section = |name: &str| {
        section(&file, name)
            .ok_or_else(|| Error::Failed(format!("{}: no section {name}", uki.display())))
    };
    let write = |name: &str, data: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, data)
            .map_err(Error::io("write", &path))
            .map(|()| path)
    };
    let cmdline = String::from_utf8_lossy(section(".cmdline")?);
    Ok(Boot::Direct {
        kernel: write("vmlinuz", section(".linux")?)?,
        initrd: write("initrd", section(".initrd")?)?,
        cmdline: cmdline.trim_end_matches(['\0', '\n', ' ']).to_owned(),
    })
}

/// Direct boot of the `pxe` format: kernel, an initrd that carries the whole root, command line.
pub fn diskless(image: &Image) -> Result<Boot> {
    let cmdline = image.required("cmdline")?;
    let text = fs::read_to_string(&cmdline).map_err(Error::io("read", &cmdline))?;
    Ok(Boot::Direct {
        kernel: image.required("vmlinuz")?,
        initrd: image.required("initrd")?,
        cmdline: text.trim_end().to_owned(),
    })
}

/// The content of a PE section: its virtual size cuts off the padding.
pub fn section<'a>(file: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let number16 = |at: usize| Some(u16::from_le_bytes(*file.get(at..)?.first_chunk()?) as usize);
    let number32 = |at: usize| Some(u32::from_le_bytes(*file.get(at..)?.first_chunk()?) as usize);
    if file.get(..2)? != b"MZ" {
        return None;
    }
    let header = number32(0x3c)?;
    if file.get(header..header.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let sections = number16(header + 6)?;
    let table = header + 24 + number16(header + 20)?;
    for index in 0..sections {
        let row = table + index * 40;
        let label = file.get(row..row + 8)?;
        let label = &label[..label.iter().position(|byte| *byte == 0).unwrap_or(8)];
        if label == name.as_bytes() {
            let (virtual_size, raw_size) = (number32(row + 8)?, number32(row + 16)?);
            let start = number32(row + 20)?;
            return file.get(start..start.checked_add(virtual_size.min(raw_size))?);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut file = vec![0; 0x80];
        file[..2].copy_from_slice(b"MZ");
        file[0x3c] = 0x80;
        file.extend_from_slice(b"PE\0\0\x64\x86");
        file.extend_from_slice(&(sections.len() as u16).to_le_bytes());
        file.extend_from_slice(&[0; 16]);
        let mut at = file.len() + sections.len() * 40;
        for (name, data) in sections {
            let mut label = name.as_bytes().to_vec();
            label.resize(8, 0);
            file.extend_from_slice(&label);
            for number in [data.len(), 0, data.len() + 3, at] {
                file.extend_from_slice(&(number as u32).to_le_bytes());
            }
            file.extend_from_slice(&[0; 16]);
            at += data.len() + 3;
        }
        for (_, data) in sections {
            file.extend_from_slice(data);
            file.extend_from_slice(&[0; 3]);
        }
        file
    }

    #[test]
    fn a_uki_is_taken_apart_without_its_padding() {
        let folder = tempfile::tempdir().unwrap();
        let uki = folder.path().join("node.efi");
        fs::write(
            &uki,
            pe(&[
                (".linux", b"kernel"),
                (".initrd", b"disk"),
                (".cmdline", b"quiet roothash=1\0"),
            ]),
        )
        .unwrap();
        let Boot::Direct {
            kernel,
            initrd,
            cmdline,
        } = direct(&uki, folder.path()).unwrap()
        else {
            panic!("not a direct boot");
        };
        assert_eq!(fs::read(kernel).unwrap(), b"kernel");
        assert_eq!(fs::read(initrd).unwrap(), b"disk");
        assert_eq!(cmdline, "quiet roothash=1");
    }

    #[test]
    fn a_section_beyond_the_file_is_none() {
        let mut file = pe(&[(".linux", b"kernel")]);
        assert_eq!(section(&file, ".linux"), Some(&b"kernel"[..]));
        assert_eq!(section(&file, ".initrd"), None);
        file.truncate(file.len() - 5);
        assert_eq!(section(&file, ".linux"), None);
    }

    proptest! {
        #[test]
        fn garbage_has_no_sections(mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            section(&bytes, ".linux");
            if bytes.len() > 0x44 {
                bytes[..2].copy_from_slice(b"MZ");
                bytes[0x3c..0x44].copy_from_slice(b"\x40\0\0\0PE\0\0");
                section(&bytes, ".linux");
            }
        }
    }

    #[test]
    fn the_manifest_names_the_image() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Image::find(folder.path()).unwrap(), None);
        fs::write(
            folder.path().join("manifest.json"),
            r#"{"id": "base", "version": "1.2"}"#,
        )
        .unwrap();
        fs::write(folder.path().join("base_1.2.raw"), "").unwrap();
        let image = Image::find(folder.path()).unwrap().unwrap();
        assert_eq!(image.stem, "base_1.2");
        assert!(image.artifact("raw").is_some());
        let error = image.required("efi").unwrap_err().to_string();
        assert!(
            error.ends_with("has no base_1.2.efi: build that format too"),
            "{error}"
        );
    }

    #[test]
    fn a_held_image_keeps_builds_waiting_and_another_build_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = r#"{"id": "base", "version": "1", "root_hash": "aa"}"#;
        fs::write(folder.path().join("manifest.json"), manifest).unwrap();
        let image = Image::find(folder.path()).unwrap().unwrap();
        let builder = File::open(folder.path()).unwrap();
        let turn = || flock(&builder, FlockOperation::NonBlockingLockExclusive);
        let held = image.hold("aa").unwrap();
        assert_eq!(turn(), Err(rustix::io::Errno::WOULDBLOCK));
        drop(held);
        let error = image.hold("bb").unwrap_err().to_string();
        assert!(error.contains("root hash aa, not bb"), "{error}");
    }
}
