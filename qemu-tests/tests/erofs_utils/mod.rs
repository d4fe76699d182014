//! The erofs-utils that images are made with, to read them back: this machine's own may be older than the format.

use image::tool::Tools;
use qemu_tests::runner::{Context, Stop};
use std::{path::Path, process::Command};

/// Where the locked ones are not in the cache and no mirror can be reached, this machine's are taken.
pub(crate) struct ErofsUtils(Option<Tools>);

impl ErofsUtils {
    /// Unpacked into the test's folder, until they are dropped.
    pub(crate) fn unpack(context: &Context) -> Result<ErofsUtils, Stop> {
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/base.toml");
        match Tools::locked(&recipe, |lock| lock.tools.packages.clone(), &context.folder) {
            Ok(tools) => Ok(ErofsUtils(Some(tools))),
            Err(image::Error::Network(_) | image::Error::Gone(_)) => Ok(ErofsUtils(None)),
            Err(error) => Err(Stop::Failed(error.to_string())),
        }
    }

    /// One of them.
    pub(crate) fn command(&self, context: &Context, program: &str) -> Result<Command, Stop> {
        match &self.0 {
            Some(tools) => tools
                .command(program)
                .map_err(|error| Stop::Failed(error.to_string())),
            None => context.tool(program),
        }
    }
}
