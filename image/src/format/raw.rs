//! `raw`: the disk byte for byte, with holes.

use super::Image;
use crate::Error;
use crate::output::{Output, Written};

/// Writes `NAME.raw`.
pub(super) fn write(image: &Image, output: &mut Output) -> Result<Written, Error> {
    output.write_sparse(&format!("{}.raw", image.name()), image.disk()?)
}
