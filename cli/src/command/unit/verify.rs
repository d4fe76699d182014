//! `bedplate unit verify`: what would become of unit files on a node.

use std::path::PathBuf;

use serde::Serialize;
use spec_unit::check::{self, Verdict};
use spec_unit::finding::{Finding, Place, Severity};

use super::source::Units;
use crate::exit::Error;
use crate::output::{Cell, Output, Style};

/// Say of unit files what a node honours, warns of, and refuses
///
/// Each is read as PID 1 reads it, with the drop-ins that lie beside it. Fails if one is refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Unit files, folders of them, or root folders such as unpacked packages.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Verified {
    path: PathBuf,
    unit: String,
    verdict: Verdict,
    findings: Vec<Finding>,
}

/// Reads and tells.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let verified = verify(args)?;
    if output.is_json() {
        output.json(&verified)?;
    } else {
        let rows: Vec<Vec<Cell>> = verified.iter().flat_map(cells).collect();
        output.table(&["UNIT", "VERDICT", "WHY"], &rows);
    }
    let refused = verified
        .iter()
        .filter(|unit| unit.verdict == Verdict::Refused)
        .count();
    if refused == 0 {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "{refused} of {} units are refused; `bedplate unit directives` tells what is honoured",
        verified.len()
    )))
}

fn verify(args: &Args) -> Result<Vec<Verified>, Error> {
    let mut verified = Vec::new();
    for path in &args.paths {
        let Units { source, names } = Units::at(path)?;
        for unit in names {
            // What cannot be read is one unit's matter.
            let (verdict, findings) = check::verify(&source, &unit).unwrap_or_else(|message| {
                let finding = Finding::error(Place::new(&unit, 0), message);
                (Verdict::Refused, vec![finding])
            });
            let findings = findings
                .into_iter()
                .map(|finding| source.localised(finding))
                .collect();
            verified.push(Verified {
                path: path.clone(),
                unit,
                verdict,
                findings,
            });
        }
    }
    Ok(verified)
}

/// The unit, and a line for each finding.
fn cells(unit: &Verified) -> Vec<Vec<Cell>> {
    let style = match unit.verdict {
        Verdict::Honoured => Style::Good,
        Verdict::Warned => Style::Warn,
        Verdict::Masked => Style::Plain,
        Verdict::Refused => Style::Bad,
    };
    let head = vec![
        Cell::plain(&unit.unit),
        Cell::styled(unit.verdict.word(), style),
        Cell::plain(""),
    ];
    let lines = unit.findings.iter().map(|finding| {
        let style = match finding.severity {
            Severity::Warning => Style::Warn,
            Severity::Isolation | Severity::Error => Style::Bad,
        };
        vec![
            Cell::plain(""),
            Cell::plain(""),
            Cell::styled(finding.to_string(), style),
        ]
    });
    std::iter::once(head).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(paths: &[&std::path::Path]) -> Vec<Verified> {
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        verify(&Args { paths }).unwrap()
    }

    #[test]
    fn a_file_is_read_with_the_drop_ins_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a@.service");
        std::fs::write(&path, "[Service]\nExecStart=/bin/a\nColour=red\n").unwrap();
        let drop_ins = folder.path().join("a@.service.d");
        std::fs::create_dir(&drop_ins).unwrap();
        std::fs::write(drop_ins.join("b.conf"), "[Service]\nType=never\n").unwrap();
        std::fs::write(folder.path().join("other.service"), "").unwrap();
        let units = verified(&[&path]);
        assert_eq!(units.len(), 1);
        assert_eq!(units[0].verdict, Verdict::Refused);
        let at: Vec<String> = units[0].findings.iter().map(|f| f.at.to_string()).collect();
        assert_eq!(
            at,
            [
                format!("{}:3", path.display()),
                format!("{}/b.conf:2", drop_ins.display())
            ]
        );
    }

    #[test]
    fn a_root_is_read_as_a_node_reads_its_own() {
        let root = tempfile::tempdir().unwrap();
        for (folder, file, text) in [
            (
                "usr/lib/systemd/system",
                "a.service",
                "[Service]\nColour=red\n",
            ),
            (
                "etc/systemd/system",
                "a.service",
                "[Service]\nExecStart=/bin/a\n",
            ),
            (
                "usr/lib/systemd/system",
                "b.target",
                "[Unit]\nDescription=b\n",
            ),
            ("usr/lib/systemd/system", "c.service", ""),
        ] {
            let folder = root.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(file), text).unwrap();
        }
        let units = verified(&[root.path()]);
        let told: Vec<(&str, Verdict)> = units
            .iter()
            .map(|unit| (unit.unit.as_str(), unit.verdict))
            .collect();
        assert_eq!(
            told,
            [
                ("a.service", Verdict::Honoured),
                ("b.target", Verdict::Honoured),
                ("c.service", Verdict::Masked)
            ]
        );
    }

    #[test]
    fn links_of_a_root_lead_to_what_is_in_it_and_one_bad_unit_hides_no_other() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("c.service");
        std::fs::write(&secret, "secret words\n").unwrap();
        let root = tempfile::tempdir().unwrap();
        let packages = root.path().join("usr/lib/systemd/system");
        let own = root.path().join("etc/systemd/system");
        std::fs::create_dir_all(&packages).unwrap();
        std::fs::create_dir_all(&own).unwrap();
        let forking = "[Service]\nType=forking\nPIDFile=/var/lib/a.pid\nExecStart=/bin/a\n";
        std::fs::write(packages.join("a.service"), forking).unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, own.join(name)).unwrap();
        };
        link("/usr/lib/systemd/system/a.service", "a.service");
        link("/dev/null", "b.service");
        link(secret.to_str().unwrap(), "c.service");
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, packages.join("d.service"), fifo, mode, 0).unwrap();
        let units = verified(&[root.path()]);
        let told: Vec<(&str, Verdict, String)> = units
            .iter()
            .map(|unit| {
                let why = unit.findings.iter().map(|finding| finding.message.clone());
                (unit.unit.as_str(), unit.verdict, why.collect())
            })
            .collect();
        let [a, b, c, d] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!((a.0, a.1), ("a.service", Verdict::Refused));
        assert!(a.2.contains("not below /run/"), "{a:?}");
        assert_eq!((b.0, b.1, b.2.as_str()), ("b.service", Verdict::Masked, ""));
        assert_eq!((c.0, c.1), ("c.service", Verdict::Refused));
        assert!(c.2.contains("links to nothing"), "{c:?}");
        assert_eq!((d.0, d.1), ("d.service", Verdict::Refused));
        assert!(d.2.contains("is no file"), "{d:?}");
    }

    #[test]
    fn what_is_no_unit_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: PathBuf| match verify(&Args { paths: vec![path] }) {
            Err(error) => error.to_string(),
            Ok(_) => String::new(),
        };
        assert!(error(folder.path().into()).contains("holds no unit file"));
        let file = folder.path().join("a.txt");
        std::fs::write(&file, "").unwrap();
        assert!(error(file).contains("a.txt is no unit file"));
        assert!(error(folder.path().join("none.service")).contains("cannot read"));
    }
}
