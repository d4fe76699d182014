//! `bedplate kernel check`: does a kernel have what a node needs.

use std::path::PathBuf;

use serde::Serialize;

use crate::exit::{Context, Error};
use crate::output::{Cell, Output, Style};

/// Look at kernels.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Check a kernel's configuration against the options that a node needs (kernel-config/required.toml).
    Check {
        /// The configuration, such as /boot/config-VERSION.
        config: PathBuf,
    },
}

#[derive(Serialize)]
struct Lacking {
    option: String,
    wanted: Vec<String>,
    found: Option<String>,
    purpose: String,
}

/// Does it.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let Action::Check { config } = &args.action;
    let text = std::fs::read(config).context(format!("cannot read {}", config.display()))?;
    let text = String::from_utf8(text).map_err(|_| {
        Error::Failed(format!(
            "{} is not text; a compressed configuration is unpacked with: zcat {} > FILE",
            config.display(),
            config.display()
        ))
    })?;
    if !text.lines().any(|line| line.starts_with("CONFIG_")) {
        return Err(Error::Failed(format!(
            "{} holds no CONFIG_ line: it is no kernel configuration",
            config.display()
        )));
    }
    let lacking: Vec<Lacking> = image::kernel_config::check(&text)
        .into_iter()
        .map(|missing| Lacking {
            option: missing.option,
            wanted: missing.wanted,
            found: missing.found,
            purpose: missing.purpose,
        })
        .collect();
    if output.is_json() {
        output.json(&lacking)?;
    }
    if lacking.is_empty() {
        output.line(format!(
            "{} has every option that a node needs",
            config.display()
        ));
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = lacking
        .iter()
        .map(|one| {
            vec![
                Cell::styled(&one.option, Style::Bad),
                Cell::plain(one.wanted.join(" or ")),
                Cell::plain(one.found.as_deref().unwrap_or("not set")),
                Cell::plain(&one.purpose),
            ]
        })
        .collect();
    output.table(&["OPTION", "WANTED", "FOUND", "FOR"], &rows);
    Err(Error::Failed(format!(
        "{} lacks {} of the options that a node needs",
        config.display(),
        lacking.len()
    )))
}
