//! What this machine must have, and how it gets it.
//!
//! A table of needs, each with a real probe (the program is there, the file is there, the Rust target is
//! installed), not a query of a package database: what counts is what will be run. [`plan`] is pure and turns
//! what is missing into commands; [`install`] says them, asks, and runs them.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::exit::{Context, Error};
use crate::programs::TARGET;
use crate::workspace::Workspace;

/// What a need is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Area {
    /// Compiling our programs for the node.
    Build,
    /// Running virtual machines.
    Run,
    /// Tests that hold our output against other people's tools.
    Test,
    /// Fuzzing what PID 1 reads.
    Fuzz,
}

/// How a need is seen to be met.
#[derive(Debug, Clone, Copy)]
enum Probe {
    /// A program of this name on PATH or in the sbin folders.
    Program(&'static str),
    /// A file.
    File(&'static str),
    /// The toolchain of rust-toolchain.toml.
    Toolchain,
    /// The Rust target of the node, for that toolchain.
    RustTarget,
    /// rustup's component llvm-tools, for that toolchain.
    LlvmTools,
}

/// One thing this machine must have.
#[derive(Debug)]
pub(crate) struct Need {
    name: &'static str,
    why: &'static str,
    area: Area,
    probe: Probe,
    packages: &'static [&'static str],
}

const fn program(
    name: &'static str,
    packages: &'static [&'static str],
    area: Area,
    why: &'static str,
) -> Need {
    Need {
        name,
        why,
        area,
        probe: Probe::Program(name),
        packages,
    }
}

/// Everything, in the order in which it is installed and shown.
const NEEDS: [Need; 15] = [
    program(
        "cc",
        &["gcc", "libc6-dev"],
        Area::Build,
        "compiles C parts of crates",
    ),
    program(
        "musl-gcc",
        &["musl-tools"],
        Area::Build,
        "compiles C parts of the node's programs",
    ),
    Need {
        name: "rust toolchain",
        why: "the one that rust-toolchain.toml pins",
        area: Area::Build,
        probe: Probe::Toolchain,
        packages: &[],
    },
    Need {
        name: TARGET,
        why: "the node's programs are static",
        area: Area::Build,
        probe: Probe::RustTarget,
        packages: &[],
    },
    program(
        "qemu-system-x86_64",
        &["qemu-system-x86"],
        Area::Run,
        "runs the nodes",
    ),
    Need {
        name: "OVMF",
        why: "UEFI firmware of the nodes",
        area: Area::Run,
        probe: Probe::File("/usr/share/OVMF/OVMF_CODE_4M.fd"),
        packages: &["ovmf"],
    },
    program(
        "qemu-img",
        &["qemu-utils"],
        Area::Test,
        "checks qcow2 images",
    ),
    program("sgdisk", &["gdisk"], Area::Test, "checks partition tables"),
    program("fsck.vfat", &["dosfstools"], Area::Test, "checks the ESP"),
    program("mcopy", &["mtools"], Area::Test, "reads files of the ESP"),
    program("fsck.erofs", &["erofs-utils"], Area::Test, "reads roots"),
    program(
        "veritysetup",
        &["cryptsetup-bin"],
        Area::Test,
        "checks verity trees",
    ),
    program("objdump", &["binutils"], Area::Test, "reads UKIs"),
    program("c++", &["g++"], Area::Fuzz, "compiles libFuzzer"),
    Need {
        name: LLVM_TOOLS,
        why: "count the lines that fuzzers reach",
        area: Area::Fuzz,
        probe: Probe::LlvmTools,
        packages: &[],
    },
];

/// The component's name at rustup.
const LLVM_TOOLS: &str = "llvm-tools";

/// The machine as the probes see it; a fake one stands in tests.
trait Host {
    fn has_program(&self, name: &str) -> bool;
    fn has_file(&self, path: &Path) -> bool;
    fn toolchain(&self) -> Toolchain;
    fn is_root(&self) -> bool;
}

/// State of the Rust toolchain in the checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Toolchain {
    /// The version that rust-toolchain.toml pins.
    pinned: String,
    /// `rustc --version` is that version.
    present: bool,
    /// Its standard library for the node's target is there.
    target: bool,
    /// Its LLVM tools are there.
    llvm_tools: bool,
}

/// A need and whether it is met.
#[derive(Debug)]
pub(crate) struct Finding {
    /// What.
    pub(crate) need: &'static Need,
    /// It is there.
    pub(crate) present: bool,
}

impl Need {
    /// Its name for people.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }
    /// What it is needed for.
    pub(crate) fn why(&self) -> &'static str {
        self.why
    }
    /// The area it belongs to.
    pub(crate) fn area(&self) -> Area {
        self.area
    }
    /// Where it comes from.
    pub(crate) fn source(&self) -> String {
        if self.packages.is_empty() {
            "rustup".into()
        } else {
            format!("apt: {}", self.packages.join(" "))
        }
    }
}

fn examine(host: &dyn Host, areas: &[Area]) -> Vec<Finding> {
    let asked = [Area::Build, Area::Fuzz];
    let asked = asked.iter().any(|area| areas.contains(area));
    let toolchain = asked.then(|| host.toolchain());
    NEEDS
        .iter()
        .filter(|need| areas.contains(&need.area))
        .map(|need| {
            let present = match need.probe {
                Probe::Program(name) => host.has_program(name),
                Probe::File(path) => host.has_file(Path::new(path)),
                Probe::Toolchain => toolchain
                    .as_ref()
                    .is_some_and(|toolchain| toolchain.present),
                Probe::RustTarget => toolchain.as_ref().is_some_and(|toolchain| toolchain.target),
                Probe::LlvmTools => toolchain
                    .as_ref()
                    .is_some_and(|toolchain| toolchain.llvm_tools),
            };
            Finding { need, present }
        })
        .collect()
}

/// One command of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step(Vec<String>);

impl Step {
    fn new(words: &[&str]) -> Self {
        Self(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// As one would type it.
    pub(crate) fn shown(&self) -> String {
        self.0.join(" ")
    }
}

/// The commands that bring what is missing, or why there are none.
fn plan(host: &dyn Host, findings: &[Finding]) -> Result<Vec<Step>, Error> {
    let missing: Vec<&Need> = findings
        .iter()
        .filter(|finding| !finding.present)
        .map(|finding| finding.need)
        .collect();
    let mut steps = Vec::new();
    let packages: BTreeSet<&str> = missing
        .iter()
        .flat_map(|need| need.packages.iter().copied())
        .collect();
    if !packages.is_empty() {
        let names = packages.iter().copied().collect::<Vec<_>>().join(" ");
        if !host.has_program("apt-get") {
            return Err(Error::Missing(format!(
                "this machine has no apt-get; install what these Debian packages hold: {names}"
            )));
        }
        let mut sudo = Vec::new();
        if !host.is_root() {
            if !host.has_program("sudo") {
                return Err(Error::Missing(format!(
                    "there is no sudo; as root, run: apt-get install --no-install-recommends {names}"
                )));
            }
            sudo.push("sudo");
        }
        let mut update = sudo.clone();
        update.extend(["apt-get", "update"]);
        let mut install = sudo;
        install.extend(["apt-get", "install", "--yes", "--no-install-recommends"]);
        install.extend(packages);
        steps.extend([Step::new(&update), Step::new(&install)]);
    }
    let wants = |probe: fn(&Probe) -> bool| missing.iter().any(|need| probe(&need.probe));
    let toolchain = wants(|probe| matches!(probe, Probe::Toolchain));
    let llvm_tools = wants(|probe| matches!(probe, Probe::LlvmTools));
    let target = toolchain || wants(|probe| matches!(probe, Probe::RustTarget));
    if target || llvm_tools {
        let pinned = host.toolchain().pinned;
        if !host.has_program("rustup") {
            return Err(Error::Missing(format!(
                "Rust {pinned} with the target {TARGET} is needed and there is no rustup to install it; \
                 Debian's own cargo does not read rust-toolchain.toml: install Rust with rustup"
            )));
        }
        if toolchain {
            steps.push(Step::new(&[
                "rustup",
                "toolchain",
                "install",
                &pinned,
                "--profile",
                "minimal",
            ]));
        }
        let words = ["rustup", "target", "add", "--toolchain", &pinned, TARGET];
        steps.extend(target.then(|| Step::new(&words)));
        let words = [
            "rustup",
            "component",
            "add",
            "--toolchain",
            &pinned,
            LLVM_TOOLS,
        ];
        steps.extend(llvm_tools.then(|| Step::new(&words)));
    }
    Ok(steps)
}

/// Who has agreed to an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    /// `--yes`, CI=true in the environment, or root: who runs this as root has said so already.
    Given,
    /// A person is asked if there is one.
    Ask,
}

impl Consent {
    /// From the flag and the environment.
    pub(crate) fn from_flag(yes: bool) -> Self {
        let automatic = std::env::var_os("CI").is_some_and(|value| value == "true");
        if yes || automatic || rustix::process::geteuid().is_root() {
            Self::Given
        } else {
            Self::Ask
        }
    }
}

/// Looks at this machine.
pub(crate) fn findings(areas: &[Area], workspace: &Workspace) -> Vec<Finding> {
    examine(
        &ThisMachine {
            root: workspace.root(),
        },
        areas,
    )
}

/// Sees to it that this machine has what the areas need: silent if it has.
pub(crate) fn ensure(areas: &[Area], workspace: &Workspace, consent: Consent) -> Result<(), Error> {
    let host = ThisMachine {
        root: workspace.root(),
    };
    let findings = examine(&host, areas);
    if findings.iter().all(|finding| finding.present) {
        return Ok(());
    }
    let names: Vec<&str> = findings
        .iter()
        .filter(|finding| !finding.present)
        .map(|finding| finding.need.name)
        .collect();
    eprintln!("this machine lacks: {}", names.join(", "));
    install(&host, &findings, consent)?;
    let still: Vec<&str> = examine(&host, areas)
        .iter()
        .filter(|finding| !finding.present)
        .map(|finding| finding.need.name)
        .collect();
    if still.is_empty() {
        return Ok(());
    }
    Err(Error::Missing(format!(
        "still missing after the installation: {}",
        still.join(", ")
    )))
}

fn install(host: &dyn Host, findings: &[Finding], consent: Consent) -> Result<(), Error> {
    let steps = plan(host, findings)?;
    eprintln!("to install it:");
    for step in &steps {
        eprintln!("  {}", step.shown());
    }
    if consent == Consent::Ask && !asked()? {
        return Err(Error::Missing(
            "nothing was installed; run the commands above, or `cargo bedplate doctor --install --yes`".into(),
        ));
    }
    for step in &steps {
        run(step)?;
    }
    Ok(())
}

fn asked() -> Result<bool, Error> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("run these now? [y/N] ");
    io::stderr()
        .flush()
        .context("cannot write to the terminal")?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn run(step: &Step) -> Result<(), Error> {
    let Some((program, arguments)) = step.0.split_first() else {
        return Ok(());
    };
    let status = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Their output is news, not a result.
        .stdout(io::stderr())
        .status()
        .context(format!("cannot start {program}"))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Missing(format!(
        "`{}` failed ({status}); its message stands above",
        step.shown()
    )))
}

/// The machine we run on.
struct ThisMachine<'a> {
    root: &'a Path,
}

impl Host for ThisMachine<'_> {
    fn has_program(&self, name: &str) -> bool {
        find_program(name).is_some()
    }

    fn has_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn toolchain(&self) -> Toolchain {
        let pinned = std::fs::read_to_string(self.root.join("rust-toolchain.toml"))
            .ok()
            .and_then(|text| pinned_channel(&text))
            .unwrap_or_default();
        let said = |arguments: &[&str]| rustc(self.root, arguments).unwrap_or_default();
        let present = said(&["--version"]).split_whitespace().nth(1) == Some(pinned.as_str());
        let folder = said(&["--print", "target-libdir", "--target", TARGET]);
        let target = present && Path::new(folder.trim_end()).is_dir();
        let llvm_tools = present
            && llvm_tools(self.root).is_some_and(|folder| folder.join("llvm-cov").is_file());
        Toolchain {
            pinned,
            present,
            target,
            llvm_tools,
        }
    }

    fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }
}

fn rustc(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("rustc")
        .args(arguments)
        .current_dir(root)
        .env_remove("RUSTUP_TOOLCHAIN")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What this machine's own programs are built for.
pub(crate) const HOST: &str = "x86_64-unknown-linux-gnu";

/// Where the pinned toolchain has its LLVM tools, if it has them.
pub(crate) fn llvm_tools(root: &Path) -> Option<PathBuf> {
    let libraries = rustc(root, &["--print", "target-libdir", "--target", HOST])?;
    Some(Path::new(libraries.trim_end()).parent()?.join("bin"))
}

fn pinned_channel(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| {
        line.trim()
            .strip_prefix("channel")?
            .trim_start()
            .strip_prefix('=')
    })?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// A program on PATH or in the folders of the administrator's programs, which a user's PATH often lacks.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| {
            std::fs::metadata(file)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that has what it is said to have.
    struct Fake {
        programs: Vec<&'static str>,
        files: Vec<&'static str>,
        toolchain: (bool, bool),
        root: bool,
    }

    impl Fake {
        fn fresh_debian() -> Self {
            Self {
                programs: vec!["apt-get", "rustup", "cc"],
                files: vec![],
                toolchain: (true, false),
                root: true,
            }
        }
    }

    impl Host for Fake {
        fn has_program(&self, name: &str) -> bool {
            self.programs.contains(&name)
        }
        fn has_file(&self, path: &Path) -> bool {
            self.files.iter().any(|file| Path::new(file) == path)
        }
        fn toolchain(&self) -> Toolchain {
            Toolchain {
                pinned: "1.95.0".into(),
                present: self.toolchain.0,
                target: self.toolchain.1,
                llvm_tools: false,
            }
        }
        fn is_root(&self) -> bool {
            self.root
        }
    }

    fn planned(host: &Fake, areas: &[Area]) -> Result<Vec<String>, String> {
        let findings = examine(host, areas);
        plan(host, &findings)
            .map(|steps| steps.iter().map(Step::shown).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_fresh_debian_gets_what_up_needs_and_no_more() {
        let steps = planned(&Fake::fresh_debian(), &[Area::Build, Area::Run]).expect("plan");
        assert_eq!(
            steps,
            [
                "apt-get update",
                "apt-get install --yes --no-install-recommends musl-tools ovmf qemu-system-x86",
                "rustup target add --toolchain 1.95.0 x86_64-unknown-linux-musl",
            ]
        );
    }

    #[test]
    fn a_machine_that_has_everything_gets_nothing() {
        let host = Fake {
            programs: vec!["cc", "musl-gcc", "qemu-system-x86_64"],
            files: vec!["/usr/share/OVMF/OVMF_CODE_4M.fd"],
            toolchain: (true, true),
            root: false,
        };
        assert!(
            examine(&host, &[Area::Build, Area::Run])
                .iter()
                .all(|finding| finding.present)
        );
        assert_eq!(planned(&host, &[Area::Build, Area::Run]), Ok(vec![]));
    }

    #[test]
    fn a_user_installs_through_sudo_or_is_told_what_root_must_run() {
        let mut host = Fake {
            root: false,
            ..Fake::fresh_debian()
        };
        let told = planned(&host, &[Area::Run]).expect_err("no sudo");
        assert!(
            told.contains("as root, run: apt-get install") && told.contains("qemu-system-x86"),
            "{told}"
        );
        host.programs.push("sudo");
        let steps = planned(&host, &[Area::Run]).expect("plan");
        assert!(
            steps.iter().all(|step| step.starts_with("sudo apt-get")),
            "{steps:?}"
        );
    }

    #[test]
    fn without_rustup_the_message_says_why_debians_cargo_is_not_enough() {
        let host = Fake {
            programs: vec!["cc", "musl-gcc"],
            toolchain: (false, false),
            ..Fake::fresh_debian()
        };
        let told = planned(&host, &[Area::Build]).expect_err("no rustup");
        assert!(
            told.contains("1.95.0") && told.contains("with rustup"),
            "{told}"
        );
    }

    #[test]
    fn a_missing_toolchain_brings_its_target_too() {
        let host = Fake {
            toolchain: (false, false),
            ..Fake::fresh_debian()
        };
        let steps = planned(&host, &[Area::Build]).expect("plan");
        assert_eq!(
            steps[2..],
            [
                "rustup toolchain install 1.95.0 --profile minimal",
                "rustup target add --toolchain 1.95.0 x86_64-unknown-linux-musl",
            ]
        );
    }

    #[test]
    fn fuzzing_brings_a_compiler_and_llvms_tools() {
        let mut host = Fake::fresh_debian();
        host.toolchain = (true, true);
        let steps = planned(&host, &[Area::Fuzz]).expect("plan");
        assert_eq!(
            steps[1..],
            [
                "apt-get install --yes --no-install-recommends g++",
                "rustup component add --toolchain 1.95.0 llvm-tools",
            ]
        );
    }

    #[test]
    fn without_apt_the_packages_are_named() {
        let host = Fake {
            programs: vec!["cc", "rustup"],
            ..Fake::fresh_debian()
        };
        let told = planned(&host, &[Area::Test]).expect_err("no apt");
        assert!(
            told.contains("gdisk") && told.contains("cryptsetup-bin"),
            "{told}"
        );
    }

    #[test]
    fn the_pinned_version_is_read_from_the_toolchain_file() {
        let text = std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../rust-toolchain.toml"
        ))
        .expect("read");
        let pinned = pinned_channel(&text).expect("channel");
        assert!(
            pinned.split('.').count() == 3 && pinned.starts_with("1."),
            "{pinned}"
        );
    }
}
