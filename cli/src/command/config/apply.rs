//! `bedplate config apply`: another config for a running node.

use std::io::Read;
use std::path::PathBuf;

use spec_api::ConfigRequest;
use spec_config::MAX_DOCUMENT;

use super::When;
use crate::exit::{Context, Error};
use crate::node::{Running, Which};
use crate::output::Output;

/// Apply a machine config to a running node; only what changed is touched
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node.
    node: String,
    /// The document; "-" is standard input.
    file: PathBuf,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    which: Which,
}

/// Asks the node.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let document = read(&args.file)?;
    let running = Running::find(&args.which)?;
    let node = running.node(&args.node)?;
    let mode = args.when.mode();
    let change = running
        .client(node)?
        .apply_config(&ConfigRequest { document, mode })
        .context(format!("{} does not take the config", node.name))?;
    super::tell(&node.name, mode, &change, output)
}

fn read(file: &PathBuf) -> Result<String, Error> {
    let cannot = format!("cannot read {}", file.display());
    let input: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).context(&cannot)?)
    };
    let mut document = String::new();
    input
        .take(MAX_DOCUMENT as u64 + 1)
        .read_to_string(&mut document)
        .context(&cannot)?;
    if document.len() > MAX_DOCUMENT {
        return Err(Error::Failed(format!(
            "{} is larger than {MAX_DOCUMENT} bytes: no machine config is",
            file.display()
        )));
    }
    Ok(document)
}
