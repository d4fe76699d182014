//! The roots that are booted, each with the services of a run.

use std::path::{Path, PathBuf};
use std::process::Command;

use image::memory_root::MemoryRoot;
use image::{BuildRequest, Format};
use qemu_tests::images::{Image, diskless};
use qemu_tests::vm::Boot;

use crate::exit::{Context, Error};
use crate::machine::Consent;
use crate::programs;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The program of the services, the floor and the monitor.
const SOURCE: &str = include_str!("node.c");
/// SIGRTMIN+4, systemd(1): power off. A node takes the same.
const POWER_OFF: &str = "38";
/// A guest whose clock is slow, on a busy host, would stop for want of a working timer; a panic ends the machine.
const COMMAND_LINE: &str = "no_timer_check panic=-1";
/// The only recipe of its own that a node needs here: nothing but PID 1 runs.
const RECIPE: &str = "base";

/// What the recipe starts with the system beside PID 1. The roots of the others bring neither a log nor a device service.
const BESIDE: [&str; 2] = ["bedplate-device.service", "bedplate-journal.service"];

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Init {
    /// A C program that does nothing else.
    Floor,
    /// Ours.
    Bedplate,
    /// Debian's.
    Systemd,
    /// Debian's.
    S6,
    /// Debian's.
    Runit,
}

impl Init {
    pub(super) const ALL: [Self; 5] = [
        Self::Floor,
        Self::Bedplate,
        Self::Systemd,
        Self::S6,
        Self::Runit,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Bedplate => "bedplate",
            Self::Systemd => "systemd",
            Self::S6 => "s6",
            Self::Runit => "runit",
        }
    }

    /// How it holds services, for people.
    pub(super) fn groups(self) -> &'static str {
        match self {
            Self::Floor => "a C program: a control group, clone3, exec for each; nothing else",
            Self::Bedplate | Self::Systemd => "a control group for each, from unit files",
            Self::S6 | Self::Runit => "without control groups",
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Floor | Self::Bedplate => &[],
            Self::S6 => &[
                "libc6",
                "libexecline2.9",
                "libs6-2.13",
                "libskarnet2.14t64",
                "s6",
            ],
            Self::Runit => &["libc6", "runit"],
            Self::Systemd => &[
                "libacl1",
                "libapparmor1",
                "libaudit1",
                "libblkid1",
                "libc6",
                "libcap-ng0",
                "libcap2",
                "libcrypt1",
                "libmount1",
                "libpam0g",
                "libpcre2-8-0",
                "libseccomp2",
                "libselinux1",
                "libssl3t64",
                "libsystemd-shared",
                "libzstd1",
                "systemd",
                "zlib1g",
            ],
        }
    }
}

/// Whether a file of a package is needed: libraries, systemd's own three programs, all programs of s6 and runit.
fn wanted(path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/') else {
        return false;
    };
    match folder {
        "usr/lib/x86_64-linux-gnu" | "usr/lib/x86_64-linux-gnu/systemd" | "usr/lib64" => {
            name.contains(".so")
        }
        "usr/lib/systemd" => ["systemd", "systemd-executor", "systemd-shutdown"].contains(&name),
        "usr/bin" | "usr/sbin" => name.starts_with("s6-") || name.starts_with("run"),
        _ => false,
    }
}

/// Makes roots.
pub(super) struct Roots<'a> {
    workspace: &'a Workspace,
    scratch: PathBuf,
    program: PathBuf,
    programs: image::Programs,
}

impl<'a> Roots<'a> {
    /// Compiles what runs in them.
    pub(super) fn new(workspace: &'a Workspace, scratch: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(scratch).context(format!("cannot make {}", scratch.display()))?;
        let program = scratch.join("node");
        compile(scratch, &program)?;
        Ok(Self {
            workspace,
            scratch: scratch.to_owned(),
            program,
            programs: programs::compile(workspace, &Progress::new(), Consent::Ask)?,
        })
    }

    /// The root of an init with so many services. All have the kernel and the command line of the node.
    pub(super) fn boot(&self, init: Init, services: u32) -> Result<Boot, Error> {
        let node = self.node(services)?;
        let Boot::Direct {
            kernel,
            initrd,
            cmdline,
        } = diskless(&node).map_err(Error::failed)?
        else {
            return Err(Error::Failed("a node without a disk boots directly".into()));
        };
        if init == Init::Bedplate {
            return Ok(Boot::Direct {
                kernel,
                initrd,
                cmdline: format!("{cmdline} {COMMAND_LINE}"),
            });
        }
        let own = |word: &&str| !word.starts_with("roothash=") && !word.starts_with("bedplate.");
        let words: Vec<&str> = cmdline.split_whitespace().filter(own).collect();
        let cmdline = words.join(" ");
        let initrd = self.scratch.join(format!("{}.cpio", init.name()));
        let archive = self.root(init, services)?.archive();
        std::fs::write(&initrd, archive).context(format!("cannot write {}", initrd.display()))?;
        Ok(Boot::Direct {
            kernel,
            initrd,
            cmdline: format!("{cmdline} {COMMAND_LINE} bench_count={services}"),
        })
    }

    /// A node that runs nothing but the services: recipe `base` with another default.target.
    fn node(&self, services: u32) -> Result<Image, Error> {
        let below = self.scratch.join(format!("node-{services}"));
        let overlay = below.join("overlays/base");
        copy(
            &self.workspace.root().join("recipes"),
            &below.join("recipes"),
        )?;
        copy(&self.workspace.root().join("overlays/base"), &overlay)?;
        let units = overlay.join("usr/lib/systemd/system");
        for (name, text) in unit_files(services) {
            put(&units.join(name), text.as_bytes())?;
        }
        let target = "[Unit]\nDescription=Services\nRequires=basic.target\nAfter=basic.target\n";
        put(&units.join("default.target"), target.as_bytes())?;
        let wanted = units.join("default.target.wants");
        std::fs::create_dir_all(&wanted).context(format!("cannot make {}", wanted.display()))?;
        for (name, file) in wants(services) {
            let link = wanted.join(name);
            std::os::unix::fs::symlink(format!("../{file}"), &link)
                .context(format!("cannot make {}", link.display()))?;
        }
        let recipe = below.join("recipes").join(format!("{RECIPE}.toml"));
        let told = || format!("cannot change {}", recipe.display());
        let text = std::fs::read_to_string(&recipe).context(told())?;
        put(&recipe, alone(&text).as_bytes())?;
        let bytes = std::fs::read(&self.program).map_err(Error::failed)?;
        let program = overlay.join("bench/node");
        put(&program, &bytes)?;
        executable(&program)?;
        let out = below.join("image");
        image::build(
            &BuildRequest {
                recipe,
                lock: None,
                out: out.clone(),
                formats: vec![Format::Pxe],
                programs: self.programs.clone(),
                no_cache: false,
                offline: false,
            },
            &Progress::new(),
        )
        .map_err(Error::failed)?;
        let image = Image::find(&out).map_err(Error::failed)?;
        image.ok_or_else(|| Error::Failed(format!("no image in {}", out.display())))
    }

    /// The root of one of the others.
    fn root(&self, init: Init, services: u32) -> Result<MemoryRoot, Error> {
        let mut root = MemoryRoot::new();
        let bytes = std::fs::read(&self.program).map_err(Error::failed)?;
        root.file("bench/node", 0o755, bytes);
        root.file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/false\n");
        root.file("etc/group", 0o644, "root:x:0:\n");
        root.file("etc/os-release", 0o644, "ID=bench\nNAME=bench\n");
        root.file(
            "etc/machine-id",
            0o644,
            format!("{}\n", "0123456789abcdef".repeat(2)),
        );
        let recipe = self.workspace.recipe(RECIPE)?;
        root.unpack(&recipe, init.packages(), &wanted, &Progress::new())
            .map_err(Error::failed)?;
        match init {
            Init::Floor | Init::Bedplate => root.link("init", "bench/node"),
            Init::S6 => {
                root.link("init", "bench/node");
                root.link("service/.s6-svscan/finish", "/bench/node");
                folders(&mut root, services);
            }
            Init::Runit => {
                root.link("init", "usr/sbin/runit-init");
                for stage in ["1", "2", "3"] {
                    root.link(&format!("etc/runit/{stage}"), "/bench/node");
                }
                for file in ["stopit", "reboot"] {
                    root.file(&format!("etc/runit/{file}"), 0, "");
                }
                folders(&mut root, services);
            }
            Init::Systemd => {
                root.link("init", "usr/lib/systemd/systemd");
                let units = unit_files(services).into_iter();
                let targets = SYSTEMD_TARGETS.map(|(name, text)| (name, text.to_owned()));
                for (name, text) in units.chain(targets) {
                    root.file(&format!("usr/lib/systemd/system/{name}"), 0o644, text);
                }
                for (name, file) in wants(services) {
                    let link = format!("usr/lib/systemd/system/default.target.wants/{name}");
                    root.link(&link, &format!("../{file}"));
                }
            }
        }
        Ok(root)
    }
}

/// What systemd needs to come up and to go down, and no more.
const SYSTEMD_TARGETS: [(&str, &str); 8] = [
    (
        "default.target",
        "[Unit]\nDescription=Services\nRequires=basic.target\nAfter=basic.target\n",
    ),
    (
        "basic.target",
        "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\n",
    ),
    ("sysinit.target", "[Unit]\nDefaultDependencies=no\n"),
    ("shutdown.target", "[Unit]\nDefaultDependencies=no\n"),
    ("umount.target", "[Unit]\nDefaultDependencies=no\n"),
    ("final.target", "[Unit]\nDefaultDependencies=no\n"),
    (
        "poweroff.target",
        "[Unit]\nDefaultDependencies=no\nRequires=systemd-poweroff.service\nAfter=systemd-poweroff.service\n",
    ),
    (
        "systemd-poweroff.service",
        "[Unit]\nDefaultDependencies=no\nRequires=shutdown.target umount.target final.target\n\
         After=shutdown.target umount.target final.target\nSuccessAction=poweroff-force\n",
    ),
];

/// A recipe without what runs beside PID 1 from the start.
fn alone(recipe: &str) -> String {
    let beside = |line: &&str| BESIDE.iter().any(|name| line.contains(name));
    let kept = recipe.lines().filter(|line| !beside(line));
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// The unit files of a run, the same for both inits that read such.
fn unit_files(services: u32) -> [(&'static str, String); 2] {
    let unit = |arguments: &str| {
        format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bench/node {arguments} {services}\n\
             Restart=always\nRestartSec=0\nStandardOutput=null\n"
        )
    };
    [
        ("bench@.service", unit("service %i")),
        ("monitor.service", unit(&format!("monitor {POWER_OFF}"))),
    ]
}

/// What default.target wants: names and their files.
fn wants(services: u32) -> impl Iterator<Item = (String, &'static str)> {
    let services =
        (1..=services).map(|number| (format!("bench@{number}.service"), "bench@.service"));
    services.chain([("monitor.service".to_owned(), "monitor.service")])
}

/// Service folders of s6 and runit.
fn folders(root: &mut MemoryRoot, services: u32) {
    for number in 1..=services {
        root.link(&format!("service/s{number}/run"), "/bench/node");
    }
}

/// Compiles the program by the compiler that compiles the node's own C.
fn compile(scratch: &Path, program: &Path) -> Result<(), Error> {
    let source = scratch.join("node.c");
    put(&source, SOURCE.as_bytes())?;
    let mut compiler = Command::new(programs::C_COMPILER);
    compiler
        .args(["-static", "-O2", "-o"])
        .arg(program)
        .arg(source);
    let status = compiler
        .status()
        .context(format!("cannot start {}", programs::C_COMPILER))?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::Failed(format!("node.c does not compile ({status})"))),
    }
}

fn put(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    let told = || format!("cannot write {}", file.display());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).context(told())?;
    }
    std::fs::write(file, bytes).context(told())
}

fn executable(file: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(file, mode).context(format!("cannot change {}", file.display()))
}

/// Copies a folder with its links.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let told = || format!("cannot copy {}", from.display());
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).context(told())?;
    for entry in std::fs::read_dir(from).context(told())? {
        let entry = entry.context(told())?;
        let (here, there) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().context(told())?;
        if kind.is_dir() {
            copy(&here, &there)?;
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&here).context(told())?;
            std::os::unix::fs::symlink(target, &there).context(told())?;
        } else {
            std::fs::copy(&here, &there).map(drop).context(told())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_packages_only_what_runs_is_unpacked() {
        for path in [
            "usr/lib64/ld-linux-x86-64.so.2",
            "usr/lib/x86_64-linux-gnu/libc.so.6",
            "usr/lib/x86_64-linux-gnu/systemd/libsystemd-core-257.so",
            "usr/lib/systemd/systemd-executor",
            "usr/bin/s6-svscan",
            "usr/sbin/runit-init",
        ] {
            assert!(wanted(path), "{path}");
        }
        for path in [
            "usr/lib/systemd/system/getty.target",
            "usr/lib/systemd/systemd-udevd",
            "usr/lib/x86_64-linux-gnu/gconv/IBM850.so",
            "usr/bin/ldd",
            "etc/runit/1",
        ] {
            assert!(!wanted(path), "{path}");
        }
    }

    #[test]
    fn a_node_runs_nothing_beside_pid_1() {
        let recipe = include_str!("../../../../../recipes/base.toml");
        let lines = |text: &str| text.lines().count();
        assert_eq!(lines(&alone(recipe)), lines(recipe) - BESIDE.len());
    }

    #[test]
    fn both_inits_that_read_unit_files_honour_these() {
        let folder = tempfile::tempdir().expect("tempdir");
        for (name, text) in unit_files(7) {
            std::fs::write(folder.path().join(name), text).expect("write");
        }
        let units = crate::command::unit::source::Units::at(folder.path());
        let Ok(units) = units else {
            panic!("a folder of units");
        };
        for name in &units.names {
            let (verdict, findings) =
                spec_unit::check::verify(&units.source, name).expect("a verdict");
            assert_eq!(verdict, spec_unit::check::Verdict::Honoured, "{findings:?}");
        }
        assert_eq!(wants(7).count(), 8);
    }
}
