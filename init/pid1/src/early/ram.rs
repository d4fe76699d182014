//! RAM mode: the root from the initrd itself, through loop devices, verified like any other.
//!
//! Source: loop(4).

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use super::Source;
use super::modules::Loader;
use crate::error::{Error, Result, What};
use crate::sys::loop_device;

const ROOT: &str = "/root.erofs";
const TREE: &str = "/root.verity";

/// Shows both files as block devices.
pub(super) fn attach(modules: &mut Loader) -> Result<Source> {
    modules.load("loop")?;
    Ok(Source {
        root: show(Path::new(ROOT))?,
        tree: show(Path::new(TREE))?,
    })
}

fn show(file: &Path) -> Result<PathBuf> {
    let open = |path: &Path| File::open(path).map_err(Error::at(What::RootDevice, path.display()));
    let backing = open(file)?;
    let failed = || {
        Error::at(
            What::RootDevice,
            format!("loop device for {}", file.display()),
        )
    };
    let number = loop_device::free(&open(Path::new("/dev/loop-control"))?).map_err(failed())?;
    let node = PathBuf::from(format!("/dev/loop{number}"));
    let backing = loop_device::Backing {
        file: backing.as_raw_fd(),
        offset: 0,
        length: 0,
        goes_with_last_user: false,
    };
    loop_device::attach(&open(&node)?, &backing).map_err(failed())?;
    Ok(node)
}
