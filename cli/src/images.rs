//! Images that our own commands need, each with a folder below cargo's target folder.
//!
//! `up` has `target/up/RECIPE` with what it boots; `test` has `target/images/RECIPE` with every format. They do
//! not share one, so that neither finds its build changed by the other.

use std::path::{Path, PathBuf};

use image::Format;

use crate::exit::Error;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// What an image is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A cluster: the disk, and the UKI for direct boot.
    Up,
    /// Tests: every format.
    Test,
}

impl Purpose {
    fn formats(self) -> &'static [Format] {
        match self {
            Self::Up => &[Format::Raw, Format::Uki],
            // Tests boot a UKI's kernel directly, and read every format with other people's tools.
            Self::Test => &Format::ALL,
        }
    }

    /// The folder with one subfolder per recipe.
    pub(crate) fn folder(self, workspace: &Workspace) -> PathBuf {
        workspace.target().join(match self {
            Self::Up => "up",
            Self::Test => "images",
        })
    }
}

/// A built image.
#[derive(Debug)]
pub(crate) struct Built {
    /// Where it is.
    pub(crate) folder: PathBuf,
    /// What the builder says of it.
    pub(crate) build: image::Build,
}

/// Builds the image of a recipe, or finds it unchanged.
pub(crate) fn build(
    workspace: &Workspace,
    recipe: &Path,
    purpose: Purpose,
    programs: &image::Programs,
    progress: &Progress,
) -> Result<Built, Error> {
    let folder = purpose
        .folder(workspace)
        .join(recipe.file_stem().unwrap_or_default());
    let request = image::BuildRequest {
        recipe: recipe.to_path_buf(),
        lock: None,
        out: folder.clone(),
        formats: purpose.formats().to_vec(),
        programs: programs.clone(),
        no_cache: false,
        offline: false,
    };
    let build = image::build(&request, progress)?;
    Ok(Built { folder, build })
}
