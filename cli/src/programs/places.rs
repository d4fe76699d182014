//! Folders whose names must not reach a program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::{TARGET, cargo};
use crate::exit::{Context, Error};
use crate::workspace::Workspace;

/// Folders whose names must not reach a program, and what stands there instead.
#[derive(Debug)]
pub(super) struct Places(Vec<(PathBuf, &'static str)>);

impl Places {
    /// Those of this machine.
    pub(super) fn read(workspace: &Workspace, target: &Path) -> Result<Self, Error> {
        let metadata = metadata(workspace.root())?;
        // Later mappings win, so the narrower ones come last.
        let mut places = vec![(workspace.root().to_path_buf(), "/bedplate")];
        places.extend(
            metadata
                .registry_folders()
                .into_iter()
                .map(|folder| (folder, "/cargo")),
        );
        places.push((
            sysroot(workspace.root())?.join("lib/rustlib/src/rust"),
            "/rust",
        ));
        places.push((target.to_path_buf(), "/target"));
        Ok(Self(places))
    }

    /// For rustc, with what else it is told.
    pub(super) fn rustc_flags(&self) -> Vec<String> {
        let mut flags = vec![
            "-Clinker=rust-lld".to_owned(),
            "-Clinker-flavor=ld.lld".to_owned(),
            "-Clink-self-contained=yes".to_owned(),
            "-Ctarget-feature=+crt-static".to_owned(),
        ];
        flags.extend(
            self.0
                .iter()
                .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())),
        );
        flags
    }

    /// For the C compiler, each flag quoted as for a shell.
    pub(super) fn c_flags(&self) -> String {
        let flag = |(from, to): &(PathBuf, &str)| {
            let flag = format!("-ffile-prefix-map={}={to}", from.display());
            format!("'{}'", flag.replace('\'', r"'\''"))
        };
        self.0.iter().map(flag).collect::<Vec<_>>().join(" ")
    }
}

/// What is needed of `cargo metadata`.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    source: Option<String>,
    manifest_path: PathBuf,
}

impl Metadata {
    /// Folders that hold unpacked packages: of the registry, whatever its index is called here, or of `cargo vendor`.
    fn registry_folders(&self) -> BTreeSet<PathBuf> {
        self.packages
            .iter()
            .filter(|package| package.source.is_some())
            .filter_map(|package| package.manifest_path.parent()?.parent())
            .map(Path::to_path_buf)
            .collect()
    }
}

fn metadata(root: &Path) -> Result<Metadata, Error> {
    let output = cargo(root)
        .args([
            "metadata",
            "--locked",
            "--format-version=1",
            "--filter-platform",
            TARGET,
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        return Err(Error::Failed(
            "`cargo metadata --locked` failed; its message stands above".into(),
        ));
    }
    serde_json::from_slice(&output.stdout).context("`cargo metadata` said something unexpected")
}

fn sysroot(root: &Path) -> Result<PathBuf, Error> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .current_dir(root)
        .output()
        .context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(PathBuf::from(text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_path_is_mapped_and_the_narrower_one_wins() {
        let places = Places(vec![
            ("/home/a/b".into(), "/bedplate"),
            ("/home/a/b/target/node".into(), "/target"),
        ]);
        let flags = places.rustc_flags();
        let position = |text: &str| flags.iter().position(|flag| flag == text).expect(text);
        assert!(
            position("--remap-path-prefix=/home/a/b=/bedplate")
                < position("--remap-path-prefix=/home/a/b/target/node=/target")
        );
        assert!(
            places
                .c_flags()
                .contains("'-ffile-prefix-map=/home/a/b=/bedplate'")
        );
    }

    #[test]
    fn registry_folders_are_those_of_foreign_packages() {
        let text = r#"{"packages":[
            {"source":null,"manifest_path":"/w/init/pid1/Cargo.toml"},
            {"source":"registry+x","manifest_path":"/c/registry/src/index-1/serde-1.0.0/Cargo.toml"},
            {"source":"registry+x","manifest_path":"/c/registry/src/index-1/libc-0.2.0/Cargo.toml"}]}"#;
        let metadata: Metadata = serde_json::from_str(text).expect("json");
        assert_eq!(
            metadata.registry_folders(),
            BTreeSet::from([PathBuf::from("/c/registry/src/index-1")])
        );
    }
}
