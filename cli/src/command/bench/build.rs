//! What a build costs, beside mkosi's, and how large its files are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Bench, Figure, note};
use crate::exit::{Context, Error};
use crate::machine;
use crate::measure::{self, Cost};

impl Bench<'_> {
    fn build(&self, out: &str, flags: &[&str]) -> Command {
        let mut command = self.bedplate(&["build"]);
        command
            .arg(&self.recipe)
            .arg("--output")
            .arg(self.scratch.join(out))
            .args(flags);
        command
    }

    /// Cold, warm and unchanged builds, and the sizes of what came out.
    pub(super) fn builds(&self) -> Result<Vec<Figure>, Error> {
        let mut figures = Vec::new();
        note("build, cold: empty cache, everything downloaded");
        let cold = measure::run(
            self.build("cold", &[])
                .env("XDG_CACHE_HOME", self.scratch.join("cache")),
        )?;
        figures.extend(cost(
            "build, cold",
            cold,
            "once, empty cache, downloads included",
        ));
        let _ = std::fs::remove_dir_all(self.scratch.join("cache"));
        note("build, warm: --no-cache");
        measure::run(&mut self.build("warm", &[]))?;
        let warm = self.repeated(|| measure::run(&mut self.build("warm", &["--no-cache"])))?;
        figures.extend(cost(
            "build, warm",
            warm,
            "`--no-cache`: packages in the cache, nothing else",
        ));
        note("build, unchanged");
        measure::run(&mut self.build("warm", &[]))?;
        let unchanged = self.repeated(|| measure::run(&mut self.build("warm", &[])))?;
        figures.push(Figure::new(
            "build, unchanged, wall",
            unchanged.wall_seconds,
            "s",
            "nothing changed",
        ));
        figures.extend(self.sizes(&self.scratch.join("warm"))?);
        Ok(figures)
    }

    fn sizes(&self, folder: &Path) -> Result<Vec<Figure>, Error> {
        let mut figures = Vec::new();
        let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
            .context(format!("cannot read {}", folder.display()))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end != "json") && path.is_file())
            .collect();
        names.sort();
        for path in names {
            let bytes = crate::command::build::allocated(&path) as f64;
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            figures.push(Figure::new(
                format!("size of {name}"),
                bytes,
                "bytes",
                "allocated on disk",
            ));
        }
        Ok(figures)
    }

    /// The same packages by mkosi, where it is installed.
    pub(super) fn mkosi(&self) -> Result<Vec<Figure>, Error> {
        if machine::find_program("mkosi").is_none() {
            note("mkosi is not installed: nothing to compare with");
            return Ok(Vec::new());
        }
        let out = self.scratch.join("mkosi");
        std::fs::create_dir_all(&out).context("cannot make a folder")?;
        let mut figures = Vec::new();
        for (name, again) in [("mkosi, cold", false), ("mkosi, warm", true)] {
            note(name);
            let mut command = Command::new("mkosi");
            command.args([
                "--force",
                "--distribution=debian",
                "--release=trixie",
                "--format=disk",
                "--bootable=yes",
                "--package=linux-image-cloud-amd64,systemd,systemd-boot,udev,etcd-server,ca-certificates,e2fsprogs",
            ]);
            command
                .arg("--directory")
                .arg(&out)
                .arg("--output-directory")
                .arg(&out)
                .arg("build");
            let found = if again {
                self.repeated(|| measure::run(&mut command))?
            } else {
                measure::run(&mut command)?
            };
            figures.extend(cost(name, found, "a comparable image of the same packages"));
        }
        Ok(figures)
    }
}

/// The three figures of a cost.
fn cost(what: &str, cost: Cost, how: &str) -> [Figure; 3] {
    [
        Figure::new(format!("{what}, wall"), cost.wall_seconds, "s", how),
        Figure::new(format!("{what}, CPU"), cost.cpu_seconds, "s", how),
        Figure::new(
            format!("{what}, peak memory"),
            cost.peak_bytes as f64,
            "bytes",
            "its largest process",
        ),
    ]
}
