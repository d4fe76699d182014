//! Images that our own commands need, each with a folder below cargo's target folder.
//!
//! `up` has `target/up/RECIPE` with what it boots; `test` has `target/images/RECIPE` with every format. They do
//! not share one, so that neither finds its build changed by the other. All clusters of a recipe share theirs: a daemon
//! locks it while it makes disks, and makes none if another build has come between.

use std::path::{Path, PathBuf};

use image::{Format, Progress as _};

use crate::exit::{Context, Error};
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
///
/// Where the mirror has dropped a locked package, the recipe is resolved anew into a scratch lock, loudly: the
/// image then is not the one that the lock in the checkout describes.
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
    let mut request = image::BuildRequest {
        recipe: recipe.to_path_buf(),
        lock: None,
        out: folder.clone(),
        formats: purpose.formats().to_vec(),
        programs: programs.clone(),
        no_cache: false,
        offline: false,
    };
    let build = match image::build(&request, progress) {
        Err(image::Error::Gone(what)) => {
            request.lock = Some(scratch_lock(workspace, recipe, &what, progress)?);
            image::build(&request, progress)?
        }
        other => other?,
    };
    Ok(Built { folder, build })
}

fn scratch_lock(
    workspace: &Workspace,
    recipe: &Path,
    what: &str,
    progress: &Progress,
) -> Result<PathBuf, Error> {
    let name = recipe.file_stem().unwrap_or_default().to_string_lossy();
    let folder = workspace.target().join("scratch-locks");
    std::fs::create_dir_all(&folder).context(format!("cannot make {}", folder.display()))?;
    let output = folder.join(format!("{name}.lock"));
    let request = image::LockRequest {
        recipe: recipe.to_path_buf(),
        output: Some(output),
        offline: false,
    };
    let outcome = image::lock(&request, progress)?;
    progress.warn(&format!(
        "{what}\n\
         THE IMAGE OF {name} IS BUILT FROM A SCRATCH LOCK, {}, not from the one in the checkout: it is not reproducible \
         from the commit. `cargo bedplate lock {name}` renews the lock. What differs:\n  {}",
        outcome.path.display(),
        outcome.changes.join("\n  ")
    ));
    Ok(outcome.path)
}
