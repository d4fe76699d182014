//! `bedplate config check`: what a node would say of a document.

use std::io::Read;
use std::path::{Path, PathBuf};

use client::machine_config;
use serde::Serialize;
use spec_config::{Config, Hidden, MAX_DOCUMENT, Problem};

use crate::exit::{Context, Error};
use crate::output::{Cell, Output, Style};

/// Say whether a machine config holds, with the node's own words
///
/// A secret written as (hidden) is accepted: a node takes it from its config in force.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Documents.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print what the document resolves to: defaults written out, secrets hidden.
    #[arg(long)]
    resolved: bool,
}

#[derive(Serialize)]
struct Checked {
    file: PathBuf,
    holds: bool,
    problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<String>,
}

/// Reads and tells.
pub(super) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let mut all = Vec::new();
    for file in &args.files {
        let document = read(file)?;
        all.push(match machine_config::read(&document, Hidden::Keep) {
            Ok(config) => holds(file, &config, args.resolved)?,
            Err(error) => Checked {
                file: file.clone(),
                holds: false,
                problems: error.problems,
                resolved: None,
            },
        });
    }
    if output.is_json() {
        output.json(&all)?;
    } else {
        all.iter().for_each(|checked| tell(checked, output));
    }
    match all.iter().filter(|checked| !checked.holds).count() {
        0 => Ok(()),
        bad => Err(Error::Failed(format!(
            "{bad} of {} documents would be refused",
            all.len()
        ))),
    }
}

/// At most one byte more than a document may have.
fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let cannot = format!("cannot read {}", file.display());
    let mut document = Vec::new();
    let opened = std::fs::File::open(file).context(&cannot)?;
    opened
        .take(MAX_DOCUMENT as u64 + 1)
        .read_to_end(&mut document)
        .context(&cannot)?;
    Ok(document)
}

fn holds(file: &Path, config: &Config, resolved: bool) -> Result<Checked, Error> {
    let resolved = resolved
        .then(|| config.masked().to_toml())
        .transpose()
        .map_err(Error::failed)?;
    Ok(Checked {
        file: file.to_owned(),
        holds: true,
        problems: Vec::new(),
        resolved,
    })
}

fn tell(checked: &Checked, output: &Output) {
    let file = checked.file.display();
    for problem in &checked.problems {
        let text = format!(
            "{file}:{}:{}: {}",
            problem.line, problem.column, problem.message
        );
        output.cell(&Cell::styled(text, Style::Bad));
    }
    match &checked.resolved {
        Some(document) => output.line(document),
        None if checked.holds => output.line(format!("{file}: holds")),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_come_with_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        std::fs::write(&file, "schema = 1\n[cluster]\nid = 7\n").unwrap();
        let document = read(&file).unwrap();
        let error = machine_config::read(&document, Hidden::Keep).unwrap_err();
        assert_eq!((error.problems[0].line, error.problems[0].column), (3, 6));
    }

    #[test]
    fn an_endless_file_is_read_to_the_bound_only() {
        assert_eq!(
            read(Path::new("/dev/zero")).unwrap().len(),
            MAX_DOCUMENT + 1
        );
    }
}
