//! What a build costs, beside mkosi's, and how large its files are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Bench, Figure, note};
use crate::exit::{Context, Error};
use crate::machine;
use crate::measure::{self, Cost};

/// The first mkosi that knows the options it is called with; Debian 12 has 14.
const MKOSI: u32 = 15;

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

    /// The same packages by mkosi, where one is installed that can build them.
    pub(super) fn mkosi(&self) -> Vec<Figure> {
        if machine::find_program("mkosi").is_none() {
            note("mkosi is not installed: nothing to compare with");
            return Vec::new();
        }
        let asked = Command::new("mkosi").arg("--version").output();
        let said = asked.map(|output| output.stdout).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        if mkosi_version(&said).is_none_or(|version| version < MKOSI) {
            let said = said.trim();
            note(&format!(
                "mkosi must be of version {MKOSI} or newer, and says \"{said}\": not compared"
            ));
            return Vec::new();
        }
        self.mkosi_builds().unwrap_or_else(|error| {
            note(&format!("mkosi fails: not compared: {error}"));
            Vec::new()
        })
    }

    fn mkosi_builds(&self) -> Result<Vec<Figure>, Error> {
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

/// The major number in what `mkosi --version` prints, such as `mkosi 25.3` or `mkosi 26~devel`.
fn mkosi_version(said: &str) -> Option<u32> {
    let version = said.trim().strip_prefix("mkosi ")?;
    let end = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..end].parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mkosi_says_its_version() {
        assert_eq!(mkosi_version("mkosi 14\n"), Some(14));
        assert_eq!(mkosi_version("mkosi 25.3\n"), Some(25));
        assert_eq!(mkosi_version("mkosi 26~devel\n"), Some(26));
        assert_eq!(mkosi_version(""), None);
        assert_eq!(mkosi_version("usage: mkosi"), None);
    }
}
