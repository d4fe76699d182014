//! The whole build, step after step.

use crate::{Build, BuildRequest, Error, Progress};

/// Runs every step for one request.
pub(crate) fn run(request: &BuildRequest, _progress: &dyn Progress) -> Result<Build, Error> {
    Err(Error::Input(format!("{}: this builder cannot build yet", request.recipe.display())))
}
