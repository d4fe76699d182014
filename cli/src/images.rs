//! Images that `up`, `test` and `bench` need, built into `target/images/RECIPE`.

use std::path::{Path, PathBuf};

use image::Format;

use crate::exit::Error;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// Where the image of a recipe stands.
pub(crate) fn folder(workspace: &Workspace, recipe: &Path) -> PathBuf {
    let name = recipe.file_stem().unwrap_or_default();
    workspace.target().join("images").join(name)
}

/// Builds the image of a recipe there, or finds it unchanged.
pub(crate) fn build(
    workspace: &Workspace,
    recipe: &Path,
    formats: &[Format],
    programs: &image::Programs,
    progress: &Progress,
) -> Result<image::Build, Error> {
    let request = image::BuildRequest {
        recipe: recipe.to_path_buf(),
        lock: None,
        out: folder(workspace, recipe),
        formats: formats.to_vec(),
        programs: programs.clone(),
        no_cache: false,
        offline: false,
    };
    Ok(image::build(&request, progress)?)
}
