//! The clock: never before the image was built, so that certificates made since then are not "not yet valid" on a
//! machine whose battery is dead.

use std::os::linux::fs::MetadataExt as _;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use spec_layout::path::CLOCK_EPOCH;

use crate::error::{Error, Result, What};

/// Sets the clock forward if it is behind the image.
pub(super) fn not_before_the_image() -> Result<()> {
    let built = std::fs::metadata(CLOCK_EPOCH)
        .map_err(Error::at(What::Clock, CLOCK_EPOCH))?
        .st_mtime();
    if clock_gettime(ClockId::Realtime).tv_sec >= built {
        return Ok(());
    }
    crate::notice!("the clock was before the image's build time; set forward");
    clock_settime(
        ClockId::Realtime,
        Timespec {
            tv_sec: built,
            tv_nsec: 0,
        },
    )
    .map_err(Error::at(What::Clock, "setting it forward"))
}
