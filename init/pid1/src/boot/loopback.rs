//! The loopback link, which is up before any unit starts, as under systemd: a service on an address of it waits for no
//! network. All other links are the network service's.

use crate::error::{Error, Result, What};
use crate::sys;

/// Brings it up; the kernel gives it its addresses.
pub(super) fn up() -> Result<()> {
    let up = sys::loopback::up();
    up.map_err(|failure| {
        Error::at(What::Loopback, "lo")(std::io::Error::from_raw_os_error(failure.0))
    })
}
