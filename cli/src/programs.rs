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
//! Two things remain. The host's C compiler, assembler and archiver with musl's headers make `ring`'s C and assembly in
//! `services` and `cluster`; PID 1 has neither. And cargo reads config files of the host, for the way to its registry: flags, wrappers and linkers in them are
//! overruled here, profiles and `[env]` cannot be. Both are fingerprinted, and where one changed, everything is
//! compiled anew, since cargo does not see it.

mod fingerprint;
mod places;

use std::path::Path;
use std::process::{Command, Stdio};

use image::Progress as _;
use serde::{Deserialize, Serialize};

use crate::exit::{Context, Error};
use crate::machine::{self, Area};
use crate::progress::Progress;
use crate::workspace::Workspace;
use fingerprint::Inputs;
use places::Places;

/// The target that the node runs.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// Compiles C for [`TARGET`]; named so that no other one that may be installed is taken.
pub(crate) const C_COMPILER: &str = "musl-gcc";

/// Package, binary.
const PROGRAMS: [(&str, &str); 3] = [
    ("pid1", "bedplate-init"),
    ("services", "bedplate-services"),
    ("cluster", "bedplate-cluster"),
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
    inputs: Inputs,
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
    if fresh(&stamp_file, &Inputs::read(workspace.root())?, &programs) {
        return Ok(programs);
    }
    progress.suspend(|| machine::ensure(&[Area::Build], workspace, consent))?;
    // Read again: the compiler may have been installed just now.
    let inputs = Inputs::read(workspace.root())?;
    forget_other_host(&target, &inputs.host)?;
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
        inputs,
        programs: sizes_and_times(&programs)?,
    };
    let text = serde_json::to_vec(&stamp).map_err(Error::failed)?;
    std::fs::write(&stamp_file, text).context(format!("cannot write {}", stamp_file.display()))?;
    Ok(programs)
}

fn fresh(stamp_file: &Path, inputs: &Inputs, programs: &image::Programs) -> bool {
    let Ok(text) = std::fs::read(stamp_file) else {
        return false;
    };
    let Ok(stamp) = serde_json::from_slice::<Stamp>(&text) else {
        return false;
    };
    stamp.inputs == *inputs && sizes_and_times(programs).is_ok_and(|now| now == stamp.programs)
}

/// Removes all that was compiled, also by a call that broke off, with another C compiler or config of cargo's.
fn forget_other_host(target: &Path, host: &str) -> Result<(), Error> {
    let file = target.join("host");
    if std::fs::read_to_string(&file).is_ok_and(|before| before == host) {
        return Ok(());
    }
    if target.exists() {
        std::fs::remove_dir_all(target).context(format!("cannot remove {}", target.display()))?;
    }
    std::fs::create_dir_all(target).context(format!("cannot make {}", target.display()))?;
    std::fs::write(&file, host).context(format!("cannot write {}", file.display()))
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
        .env("CFLAGS_x86_64_unknown_linux_musl", places.c_flags())
        // The crate `cc` takes them apart as a shell would: a path may have a space in it.
        .env("CC_SHELL_ESCAPED_FLAGS", "1")
        .env("CC_x86_64_unknown_linux_musl", C_COMPILER)
        // Over what a config file may say; an empty wrapper is none.
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld")
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "");
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
    use super::fingerprint::tests::write;
    use super::*;

    #[test]
    fn a_program_that_somebody_touched_is_compiled_again() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = |name: &str| folder.path().join(name);
        let programs = image::Programs {
            init: path("i"),
            services: path("s"),
            cluster: path("c"),
        };
        for name in ["i", "s", "c"] {
            write(&path(name), name);
        }
        let inputs = |sources: &str, host: &str| Inputs {
            sources: sources.into(),
            host: host.into(),
        };
        let stamp = Stamp {
            inputs: inputs("x", "gcc 12"),
            programs: sizes_and_times(&programs).expect("stat"),
        };
        let file = path("node/stamp.json");
        write(&file, &serde_json::to_string(&stamp).expect("json"));
        assert!(fresh(&file, &inputs("x", "gcc 12"), &programs));
        assert!(!fresh(&file, &inputs("y", "gcc 12"), &programs));
        assert!(!fresh(&file, &inputs("x", "gcc 13"), &programs));
        write(&path("i"), "longer");
        assert!(!fresh(&file, &inputs("x", "gcc 12"), &programs));
    }

    #[test]
    fn another_c_compiler_compiles_everything_anew() {
        let folder = tempfile::tempdir().expect("tempdir");
        let target = folder.path().join("node");
        let object = target.join("ring.o");
        forget_other_host(&target, "gcc 12").expect("made");
        write(&object, "code");
        forget_other_host(&target, "gcc 12").expect("kept");
        assert!(object.exists());
        forget_other_host(&target, "gcc 13").expect("removed");
        assert!(!object.exists(), "cargo would not compile it again");
    }
}
