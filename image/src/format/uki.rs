//! `uki`: the unified kernel image alone, for a firmware or loader that has its own ESP.

use super::Image;
use crate::Error;
use crate::output::{Output, Written};

/// Writes `NAME.efi`.
pub(super) fn write(image: &Image, output: &mut Output) -> Result<Written, Error> {
    output.write(&format!("{}.efi", image.name()), &image.uki)
}
