//! Our programs for the node: static musl executables whose bytes depend on the sources alone.
//!
//! Each package is built by its own cargo call, because features of packages built together would unify and
//! PID 1 would carry what only the services need. What else could reach the bytes is taken away:
//!
//! - paths: the workspace, cargo's registry and target folder and the toolchain's sources are remapped, for
//!   rustc by `--remap-path-prefix` and for C parts (`ring`) by `-ffile-prefix-map`;
//! - the environment: cargo gets an allow-list of variables, so no RUSTFLAGS, wrapper or profile leaks in;
//! - the linker: rust-lld and the self-contained musl of the pinned toolchain, never the host's `ld`.
//!
//! The C compiler of the host still compiles `ring`'s C files in `services` and `cluster`; PID 1 has no C.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image::Progress as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::exit::{Context, Error};
use crate::machine::{self, Area};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The target that the node runs.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// Package, binary.
const PROGRAMS: [(&str, &str); 3] = [
    ("pid1", "bedplate-init"),
    ("services", "bedplate-services"),
    ("cluster", "bedplate-cluster"),
];

/// What a program's bytes come from.
const SOURCES: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "spec",
    "init",
    "client",
    "cluster",
];

/// Variables that cargo may see. Everything else of the caller's environment stays outside.
const ENVIRONMENT: [&str; 21] = [
    "PATH",
    "HOME",
    "USER",
    "TERM",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "CARGO_HTTP_CAINFO",
    "CARGO_HTTP_PROXY",
    "CARGO_HTTP_TIMEOUT",
    "CARGO_NET_OFFLINE",
    "CARGO_NET_RETRY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// What the last compilation left, so that an unchanged tree asks cargo nothing.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    sources: String,
    programs: String,
}

/// Compiles what is out of date and says where the programs are.
pub(crate) fn compile(
    workspace: &Workspace,
    progress: &Progress,
    consent: machine::Consent,
) -> Result<image::Programs, Error> {
    let target = workspace.target().join("node");
    let binary = |name: &str| target.join(TARGET).join("node").join(name);
    let [init, services, cluster] = PROGRAMS.map(|(_, name)| binary(name));
    let programs = image::Programs {
        init,
        services,
        cluster,
    };
    let stamp_file = target.join("stamp.json");
    let sources = fingerprint(workspace.root())?;
    if fresh(&stamp_file, &sources, &programs) {
        return Ok(programs);
    }
    progress.suspend(|| machine::ensure(&[Area::Build], workspace, consent))?;
    let places = Places::read(workspace, &target)?;
    for (package, name) in PROGRAMS {
        let step = format!("compile {name}");
        progress.begin(&step, None);
        let built =
            progress.suspend(|| build(workspace, &target, &places, package, progress.is_live()));
        progress.end(
            &step,
            &std::fs::metadata(binary(name))
                .map_or(String::new(), |file| crate::output::bytes(file.len())),
        );
        built?;
    }
    let stamp = Stamp {
        sources,
        programs: sizes_and_times(&programs)?,
    };
    let text = serde_json::to_vec(&stamp).map_err(Error::failed)?;
    std::fs::write(&stamp_file, text).context(format!("cannot write {}", stamp_file.display()))?;
    Ok(programs)
}

fn fresh(stamp_file: &Path, sources: &str, programs: &image::Programs) -> bool {
    let Ok(text) = std::fs::read(stamp_file) else {
        return false;
    };
    let Ok(stamp) = serde_json::from_slice::<Stamp>(&text) else {
        return false;
    };
    stamp.sources == sources && sizes_and_times(programs).is_ok_and(|now| now == stamp.programs)
}

fn build(
    workspace: &Workspace,
    target: &Path,
    places: &Places,
    package: &str,
    live: bool,
) -> Result<(), Error> {
    let mut cargo = cargo(workspace.root());
    cargo
        .args([
            "build",
            "--locked",
            "--profile",
            "node",
            "--target",
            TARGET,
            "--package",
            package,
        ])
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_ENCODED_RUSTFLAGS", places.rustc_flags().join("\x1f"))
        .env(
            "CFLAGS_x86_64_unknown_linux_musl",
            places.c_flags().join(" "),
        );
    if !live {
        cargo.arg("--quiet");
    }
    let status = cargo.status().context("cannot start cargo")?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "package {package} does not compile for {TARGET} ({status}); cargo's messages stand above"
    )))
}

/// Cargo in the workspace with the allowed environment; the pinned toolchain is chosen by rust-toolchain.toml.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root).env_clear().stdin(Stdio::null());
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            cargo.env(name, value);
        }
    }
    cargo
}

/// Folders whose names must not reach a program, and what stands there instead.
#[derive(Debug)]
struct Places(Vec<(PathBuf, &'static str)>);

impl Places {
    fn read(workspace: &Workspace, target: &Path) -> Result<Self, Error> {
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

    fn rustc_flags(&self) -> Vec<String> {
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

    fn c_flags(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()))
            .collect()
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

/// Hash over names and contents of everything the programs are made from, and over how they are made.
fn fingerprint(root: &Path) -> Result<String, Error> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    hash.update(include_bytes!("programs.rs"));
    for file in files {
        let content = std::fs::read(&file).context(format!("cannot read {}", file.display()))?;
        hash.update(
            file.strip_prefix(root)
                .unwrap_or(&file)
                .as_os_str()
                .as_encoded_bytes(),
        );
        hash.update([0]);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    Ok(hex::encode(hash.finalize()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let what = || format!("cannot read {}", path.display());
    if path.is_dir() {
        for entry in std::fs::read_dir(path).context(what())? {
            let name: OsString = entry
                .as_ref()
                .map(std::fs::DirEntry::file_name)
                .unwrap_or_default();
            if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                collect(&path.join(name), files)?;
            }
        }
    } else {
        files.push(path.to_path_buf());
    }
    Ok(())
}

/// Length and modification time of each program: enough to see that somebody else touched one.
fn sizes_and_times(programs: &image::Programs) -> Result<String, Error> {
    use std::os::unix::fs::MetadataExt;
    let mut text = String::new();
    for path in [&programs.init, &programs.services, &programs.cluster] {
        let file = std::fs::metadata(path).context(format!("cannot read {}", path.display()))?;
        text.push_str(&format!(
            "{} {} {}\n",
            file.len(),
            file.mtime(),
            file.mtime_nsec()
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        std::fs::write(path, text).expect("write");
    }

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("tempdir");
        for file in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
            write(&folder.path().join(file), file);
        }
        for file in [
            "spec/unit/src/lib.rs",
            "init/pid1/src/main.rs",
            "client/src/lib.rs",
            "cluster/src/main.rs",
        ] {
            write(&folder.path().join(file), file);
        }
        folder
    }

    #[test]
    fn two_checkouts_with_the_same_sources_have_the_same_fingerprint() {
        let (one, two) = (tree(), tree());
        assert_eq!(
            fingerprint(one.path()).expect("one"),
            fingerprint(two.path()).expect("two")
        );
    }

    #[test]
    fn a_changed_moved_or_added_source_is_seen() {
        let folder = tree();
        let before = fingerprint(folder.path()).expect("before");
        write(&folder.path().join("init/pid1/src/main.rs"), "fn main() {}");
        let changed = fingerprint(folder.path()).expect("changed");
        assert_ne!(before, changed);
        write(&folder.path().join("init/pid1/src/reap.rs"), "");
        assert_ne!(changed, fingerprint(folder.path()).expect("added"));
    }

    #[test]
    fn a_program_that_somebody_touched_is_compiled_again() {
        let folder = tree();
        let path = |name: &str| folder.path().join(name);
        let programs = image::Programs {
            init: path("i"),
            services: path("s"),
            cluster: path("c"),
        };
        for name in ["i", "s", "c"] {
            write(&path(name), name);
        }
        let stamp = Stamp {
            sources: "x".into(),
            programs: sizes_and_times(&programs).expect("stat"),
        };
        write(
            &path("stamp.json"),
            &serde_json::to_string(&stamp).expect("json"),
        );
        assert!(fresh(&path("stamp.json"), "x", &programs));
        assert!(!fresh(&path("stamp.json"), "y", &programs));
        write(&path("i"), "longer");
        assert!(!fresh(&path("stamp.json"), "x", &programs));
    }

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
                .contains(&"-ffile-prefix-map=/home/a/b=/bedplate".to_owned())
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
