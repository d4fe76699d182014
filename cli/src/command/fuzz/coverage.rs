//! How many lines of the readers the corpus reaches: the targets once more, with the compiler's own counters.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::{EDGES, Room};
use crate::exit::{Context, Error};
use crate::machine;
use crate::output::{Cell, Output, Style};
use crate::workspace::Workspace;

/// The least share of lines, in percent.
const LEAST_PERCENT: f64 = 80.0;
/// What is fuzzed.
const READERS: [&str; 2] = ["spec/unit/src/", "init/services/src/resolver/wire/"];

/// Lines of a file, and how many of them were reached.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
struct Lines {
    count: u64,
    covered: u64,
}

impl Lines {
    fn percent(self) -> f64 {
        100.0 * self.covered as f64 / self.count.max(1) as f64
    }
}

/// A file of the readers.
#[derive(Debug, Serialize)]
struct Covered {
    file: String,
    #[serde(flatten)]
    lines: Lines,
}

/// What `llvm-cov export` prints, as far as it is needed.
#[derive(Deserialize)]
struct Export {
    data: Vec<ExportData>,
}

#[derive(Deserialize)]
struct ExportData {
    files: Vec<ExportFile>,
}

#[derive(Deserialize)]
struct ExportFile {
    filename: PathBuf,
    summary: ExportSummary,
}

#[derive(Deserialize)]
struct ExportSummary {
    lines: Lines,
}

/// Replays the corpus and tells the lines of each file; fails if they are too few in all.
pub(super) fn run(
    workspace: &Workspace,
    room: &Room,
    targets: &[&str],
    output: &Output,
) -> Result<(), Error> {
    let flags: Vec<&str> = EDGES.into_iter().chain(["-Cinstrument-coverage"]).collect();
    let folder = room.build(workspace, "lines", &flags)?;
    let profiles = replay(room, &folder, targets, output)?;
    let export = export(workspace, &folder, targets, &profiles)?;
    tell(&files(&export, workspace.root()), output)
}

/// Runs every target over all its inputs; the profiles they leave.
fn replay(
    room: &Room,
    folder: &Path,
    targets: &[&str],
    output: &Output,
) -> Result<Vec<PathBuf>, Error> {
    let profiles = room.folder("profiles", "")?;
    let mut written = Vec::new();
    for target in targets {
        output.note(&format!("{target}: every input once"));
        let profile = profiles.join(format!("{target}.profraw"));
        let log = room.folder("log", "")?.join(format!("{target}-lines"));
        let file =
            std::fs::File::create(&log).context(format!("cannot write {}", log.display()))?;
        let status = room
            .target(folder, target)?
            .arg("-runs=0")
            .env("LLVM_PROFILE_FILE", &profile)
            .stderr(file)
            .status()
            .context(format!("cannot start {target}"))?;
        if !status.success() {
            let log = log.display();
            return Err(Error::Failed(format!(
                "{target}: {status}; its messages are in {log}"
            )));
        }
        written.push(profile);
    }
    Ok(written)
}

fn export(
    workspace: &Workspace,
    folder: &Path,
    targets: &[&str],
    profiles: &[PathBuf],
) -> Result<Export, Error> {
    let tools = machine::llvm_tools(workspace.root())
        .ok_or_else(|| Error::Missing("rustup's component llvm-tools is not there".into()))?;
    let merged = folder.join("merged.profdata");
    let mut merge = Command::new(tools.join("llvm-profdata"));
    merge
        .args(["merge", "--sparse", "--output"])
        .arg(&merged)
        .args(profiles);
    said(&mut merge)?;
    let mut export = Command::new(tools.join("llvm-cov"));
    export.args(["export", "--summary-only"]);
    export.arg(format!("--instr-profile={}", merged.display()));
    for target in targets {
        export.arg("--object").arg(folder.join(target));
    }
    serde_json::from_slice(&said(&mut export)?).map_err(Error::failed)
}

fn said(command: &mut Command) -> Result<Vec<u8>, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .context(format!("cannot start {program}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Failed(format!(
        "{program}: {}: {why}",
        output.status
    )))
}

/// The files of the readers, the least covered first.
fn files(export: &Export, root: &Path) -> Vec<Covered> {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let all = export.data.iter().flat_map(|data| &data.files);
    let mut files: Vec<Covered> = all
        .filter_map(|file| {
            // Cargo gives paths of a dependency as `fuzz/../spec/...` or whole.
            let path = file.filename.canonicalize().ok()?;
            let name = path.strip_prefix(&root).ok()?.to_str()?.to_owned();
            let reader = READERS.iter().any(|folder| name.starts_with(folder));
            reader.then_some(Covered {
                file: name,
                lines: file.summary.lines,
            })
        })
        .collect();
    files.sort_by(|a, b| a.lines.percent().total_cmp(&b.lines.percent()));
    files
}

fn tell(files: &[Covered], output: &Output) -> Result<(), Error> {
    let total = files.iter().fold(Lines::default(), |sum, file| Lines {
        count: sum.count + file.lines.count,
        covered: sum.covered + file.lines.covered,
    });
    let row = |name: &str, lines: Lines| {
        let style = match lines.percent() >= LEAST_PERCENT {
            true => Style::Good,
            false => Style::Warn,
        };
        vec![
            Cell::plain(name),
            Cell::plain(lines.count.to_string()),
            Cell::plain(lines.covered.to_string()),
            Cell::styled(format!("{:.1} %", lines.percent()), style),
        ]
    };
    if output.is_json() {
        output.json(&files)?;
    }
    let mut rows: Vec<Vec<Cell>> = files
        .iter()
        .map(|file| row(&file.file, file.lines))
        .collect();
    rows.push(row("all", total));
    output.table(&["FILE", "LINES", "REACHED", "SHARE"], &rows);
    if total.count > 0 && total.percent() >= LEAST_PERCENT {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "{} of {} lines of {} are reached, less than {LEAST_PERCENT} %",
        total.covered,
        total.count,
        READERS.join(" and ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_readers_count_and_no_others() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let file = |name: &str, covered| {
            let name = root.join(name).display().to_string();
            format!(
                "{{\"filename\":{name:?},\"summary\":{{\"lines\":{{\"count\":10,\"covered\":{covered}}}}}}}"
            )
        };
        let text = [
            file("spec/unit/src/parse.rs", 9),
            file("fuzz/../spec/unit/src/words.rs", 7),
            file("fuzz/inputs/node.rs", 1),
        ]
        .join(",");
        let text = format!("{{\"data\":[{{\"files\":[{text}]}}]}}");
        let export: Export = serde_json::from_str(&text).expect("json");
        let files = files(&export, &root);
        let names: Vec<&str> = files.iter().map(|file| file.file.as_str()).collect();
        assert_eq!(names, ["spec/unit/src/words.rs", "spec/unit/src/parse.rs"]);
        assert!(tell(&files, &Output::new(true)).is_ok());
        assert!(tell(&files[..1], &Output::new(true)).is_err());
        assert!(tell(&[], &Output::new(true)).is_err());
    }
}
