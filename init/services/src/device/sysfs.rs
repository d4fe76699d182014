//! Reading attributes of /sys, bounded.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// An attribute is at most a page.
const ATTRIBUTE_MAX: u64 = 4096;

/// The bytes of an attribute.
pub(crate) fn bytes(folder: &Path, attribute: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(folder.join(attribute))
        .ok()?
        .take(ATTRIBUTE_MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// The text of an attribute without white space around it; `None` where it is empty or missing.
pub(crate) fn text(folder: &Path, attribute: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&bytes(folder, attribute)?)
        .trim_matches(['\0', ' ', '\n', '\t'])
        .to_string();
    (!text.is_empty()).then_some(text)
}

/// A number, decimal or with `0x`.
pub(crate) fn number(folder: &Path, attribute: &str) -> Option<u64> {
    let text = text(folder, attribute)?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Last part of what a link such as `subsystem` or `driver` leads to.
pub(crate) fn link_name(folder: &Path, link: &str) -> Option<String> {
    let target = std::fs::read_link(folder.join(link)).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// The device and what it hangs on, up to the root of the tree.
pub(crate) fn ancestors(device: &Path) -> impl Iterator<Item = PathBuf> + '_ {
    device
        .ancestors()
        .filter(|folder| folder.join("uevent").exists())
        .map(Path::to_path_buf)
}
