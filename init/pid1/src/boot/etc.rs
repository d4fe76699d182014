//! /etc: the image's, with a writable layer in memory, made anew at each boot.
//!
//! Source: Documentation/filesystems/overlayfs.rst.

use std::fs::{DirBuilder, create_dir_all};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::mount::{MountFlags, mount};

use crate::early::{modules::Loader, mount::is_mount_point};
use crate::error::{Error, Result, What};

/// Holds the upper layer; only root can enter it.
const LAYER: &str = "/run/bedplate/etc";

/// Lays the writable layer over /etc.
pub(super) fn overlay(modules: &mut Loader) -> Result<()> {
    let failed = || Error::at(What::Etc, LAYER);
    if is_mount_point(Path::new("/etc")) {
        return Ok(());
    }
    modules.load("overlay")?;
    create_dir_all(spec_layout::path::RUN).map_err(failed())?;
    DirBuilder::new()
        .mode(0o700)
        .create(LAYER)
        .map_err(failed())?;
    mount(
        "tmpfs",
        LAYER,
        c"tmpfs",
        MountFlags::NODEV | MountFlags::NOSUID,
        c"mode=0700,size=64m",
    )
    .map_err(Error::at(What::Etc, LAYER))?;
    for name in ["upper", "work"] {
        DirBuilder::new()
            .mode(0o755)
            .create(Path::new(LAYER).join(name))
            .map_err(failed())?;
    }
    let options = c"lowerdir=/etc,upperdir=/run/bedplate/etc/upper,workdir=/run/bedplate/etc/work";
    mount(
        "etc",
        "/etc",
        c"overlay",
        MountFlags::NODEV | MountFlags::NOSUID,
        options,
    )
    .map_err(Error::at(What::Etc, "/etc"))
}
