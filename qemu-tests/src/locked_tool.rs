//! The very programs that wrote an image, to read it back: the packages its manifest pins as tools,
//! unpacked from the package cache and run through their own loader.
//!
//! This machine's own erofs-utils may be older than the image's format.

use crate::{
    accel::cache_folder,
    error::{Error, Result},
    images::Image,
};
use std::{path::Path, process::Command};

/// Folder of libraries and name of the loader in Debian packages for this machine.
#[cfg(target_arch = "x86_64")]
const LOADER: (&str, &str) = ("usr/lib/x86_64-linux-gnu", "ld-linux-x86-64.so.2");
/// Folder of libraries and name of the loader in Debian packages for this machine.
#[cfg(target_arch = "aarch64")]
const LOADER: (&str, &str) = ("usr/lib/aarch64-linux-gnu", "ld-linux-aarch64.so.1");

/// The program of an image's tools, unpacked into `folder` by dpkg-deb. `None` if a package is not in
/// the cache any more.
pub fn locked_tool(image: &Image, program: &str, folder: &Path) -> Result<Option<Command>> {
    let manifest = image.manifest()?;
    let tools = manifest
        .pointer("/inputs/tools")
        .and_then(|tools| tools.as_array());
    for tool in tools.into_iter().flatten() {
        let Some(hash) = tool.get("sha256").and_then(|hash| hash.as_str()) else {
            return Ok(None);
        };
        let package = cache_folder().join("debs/sha256").join(hash);
        if !package.exists() {
            return Ok(None);
        }
        let unpacked = Command::new("dpkg-deb")
            .arg("-x")
            .arg(&package)
            .arg(folder)
            .output();
        let unpacked = unpacked.map_err(Error::doing("start dpkg-deb"))?;
        if !unpacked.status.success() {
            let said = String::from_utf8_lossy(&unpacked.stderr);
            return Err(Error::Failed(format!(
                "dpkg-deb -x {}: {}",
                package.display(),
                said.trim()
            )));
        }
    }
    let libraries = folder.join(LOADER.0);
    let binary = ["usr/bin", "usr/sbin"].map(|bin| folder.join(bin).join(program));
    let Some(binary) = binary.iter().find(|binary| binary.exists()) else {
        return Ok(None);
    };
    let mut command = Command::new(libraries.join(LOADER.1));
    command.arg("--library-path").arg(&libraries).arg(binary);
    Ok(Some(command))
}
