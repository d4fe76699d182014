//! The daemon of a cluster, with real machines whose disk is blank: what matters is who lives and who dies.
//!
//! Without QEMU and its firmware there is nothing to own; `bedplate test` installs both first.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// A data folder of its own with a blank image, for one cluster called `t`.
struct Place {
    folder: tempfile::TempDir,
}

/// A daemon and its first connection.
struct Daemon {
    child: Child,
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Place {
    fn new() -> Option<Self> {
        let qemu = qemu_tests::vm::firmware().is_ok()
            && Command::new(qemu_tests::vm::QEMU)
                .arg("--version")
                .output()
                .is_ok_and(|said| said.status.success());
        if !qemu {
            qemu_tests::runner::skip(
                "no QEMU with UEFI firmware here: `bedplate doctor --install` brings it",
            );
            return None;
        }
        let folder = tempfile::tempdir().expect("tempdir");
        let image = folder.path().join("image");
        std::fs::create_dir(&image).expect("mkdir");
        std::fs::write(
            image.join("manifest.json"),
            r#"{"id": "blank", "version": "1", "root_hash": "aa"}"#,
        )
        .expect("write");
        std::fs::File::create(image.join("blank_1.raw"))
            .and_then(|raw| raw.set_len(1 << 20))
            .expect("write");
        std::fs::create_dir_all(folder.path().join("bedplate/clusters/t")).expect("mkdir");
        Some(Self { folder })
    }

    fn cluster(&self) -> PathBuf {
        self.folder.path().join("bedplate/clusters/t")
    }

    fn bedplate(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedplate"));
        command.env("XDG_DATA_HOME", self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.bedplate()
            .args(arguments)
            .output()
            .expect("bedplate starts")
    }

    fn daemon(&self) -> Daemon {
        self.daemon_of("aa")
    }

    /// A daemon that is to make disks of the build with this root hash.
    fn daemon_of(&self, root_hash: &str) -> Daemon {
        let (ours, theirs) = UnixStream::pair().expect("socketpair");
        ours.set_read_timeout(Some(SOON)).expect("timeout");
        let child = self
            .bedplate()
            .args([
                "daemon", "--name", "t", "--nodes", "1", "--memory", "256", "--recipe", "blank",
            ])
            .args(["--root-hash", root_hash, "--image"])
            .arg(self.folder.path().join("image"))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("daemon starts");
        let reader = BufReader::new(ours.try_clone().expect("clone"));
        Daemon {
            child,
            stream: ours,
            reader,
        }
    }
}

impl Daemon {
    fn ask(&mut self, request: &Value) -> Value {
        // One that cannot go on says why and ends, without waiting to be asked.
        let _ = writeln!(self.stream, "{request}");
        let mut line = String::new();
        self.reader
            .read_line(&mut line)
            .expect("the daemon answers");
        serde_json::from_str(&line).expect("JSON")
    }

    /// Starts the machine; QEMU's process id.
    fn start(&mut self) -> i32 {
        assert_eq!(self.ask(&json!("start")), json!("ok"));
        let description = self.ask(&json!("describe"));
        let pid = description["description"]["nodes"][0]["pid"]
            .as_i64()
            .expect("QEMU runs");
        i32::try_from(pid).expect("a pid")
    }
}

fn runs(pid: i32) -> bool {
    qemu_tests::process::Identity::of(pid).is_some_and(qemu_tests::process::Identity::alive)
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn leftovers(cluster: &Path) -> Vec<&'static str> {
    ["daemon.sock", "daemon.pid"]
        .into_iter()
        .filter(|name| cluster.join(name).exists())
        .collect()
}

#[test]
fn a_start_that_is_given_up_leaves_nothing_running() {
    let Some(place) = Place::new() else { return };
    let mut daemon = place.daemon();
    let qemu = daemon.start();
    assert!(runs(qemu));
    let Daemon {
        mut child,
        stream,
        reader,
    } = daemon;
    drop((stream, reader));
    assert!(child.wait().expect("it ends").success());
    assert!(!runs(qemu));
    assert_eq!(leftovers(&place.cluster()), Vec::<&str>::new());
}

#[test]
fn a_released_cluster_outlives_who_started_it_and_dies_with_its_daemon() {
    let Some(place) = Place::new() else { return };
    let mut daemon = place.daemon();
    let qemu = daemon.start();
    assert_eq!(daemon.ask(&json!("release")), json!("ok"));
    let Daemon {
        mut child,
        stream,
        reader,
    } = daemon;
    drop((stream, reader));

    let status = place.run(&["status", "--name", "t", "--json"]);
    assert!(
        status.status.success(),
        "{}",
        String::from_utf8_lossy(&status.stderr)
    );
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status["nodes"][0]["name"], "t-1");
    assert_eq!(status["nodes"][0]["ready"], false);
    assert_eq!(status["etcd"]["members"], json!([]));

    let mut second = place.daemon();
    let refused = second.ask(&json!("describe"));
    assert!(
        refused["error"]
            .as_str()
            .is_some_and(|text| text.contains("runs already")),
        "{refused}"
    );
    assert!(!second.child.wait().expect("it ends").success());
    assert!(
        runs(qemu),
        "the second daemon must not touch the first one's machines"
    );

    child.kill().expect("kill -9");
    child.wait().expect("gone");
    until("QEMU dies with its daemon", || !runs(qemu));
    assert_eq!(place.run(&["status", "--name", "t"]).status.code(), Some(4));
    assert!(place.run(&["down", "--name", "t"]).status.success());

    let mut again = place.daemon();
    let qemu = again.start();
    let down = place.run(&["down", "--wipe", "--timeout", "1", "--name", "t", "--json"]);
    let report: Value = serde_json::from_slice(&down.stdout).expect("JSON");
    assert_eq!(
        report["forced"],
        json!(["t-1"]),
        "a blank disk does not hear the power button"
    );
    assert!(!runs(qemu));
    assert!(!place.cluster().exists());
    again.child.wait().expect("it ends");
}

#[test]
fn disks_are_made_of_the_build_that_was_asked_for_or_not_at_all() {
    let Some(place) = Place::new() else { return };
    let mut other = place.daemon_of("bb");
    let refused = other.ask(&json!("describe"));
    assert!(
        refused["error"]
            .as_str()
            .is_some_and(|text| text.contains("root hash aa, not bb")),
        "{refused}"
    );
    assert!(!other.child.wait().expect("it ends").success());
    assert!(!place.cluster().join("cluster.json").exists());
    let mut daemon = place.daemon();
    let description = daemon.ask(&json!("describe"));
    assert_eq!(
        description["description"]["nodes"][0]["root_hash"], "aa",
        "{description}"
    );
    drop((daemon.stream, daemon.reader));
    assert!(daemon.child.wait().expect("it ends").success());
}

#[test]
fn only_who_started_a_cluster_releases_it() {
    let Some(place) = Place::new() else { return };
    let mut daemon = place.daemon();
    let qemu = daemon.start();
    let other = qemu_tests::socket::connect(&place.cluster().join("daemon.sock")).expect("connect");
    writeln!(&other, "{}", json!("release")).expect("the daemon reads");
    let mut line = String::new();
    BufReader::new(other)
        .read_line(&mut line)
        .expect("an answer");
    assert_eq!(line, "\"ok\"\n");
    drop((daemon.stream, daemon.reader));
    assert!(daemon.child.wait().expect("it ends").success());
    assert!(!runs(qemu), "the start was given up");
}

#[test]
fn a_cluster_that_is_just_being_made_is_not_wiped() {
    let folder = tempfile::tempdir().expect("tempdir");
    let cluster = folder.path().join("bedplate/clusters/t");
    std::fs::create_dir_all(&cluster).expect("mkdir");
    let wipe = || {
        Command::new(env!("CARGO_BIN_EXE_bedplate"))
            .args(["down", "--wipe", "--name", "t"])
            .env("XDG_DATA_HOME", folder.path())
            .output()
            .expect("bedplate starts")
    };
    let held = qemu_tests::cluster::lock(&cluster, "t").expect("the lock");
    let refused = wipe();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("runs already"), "{said}");
    assert!(cluster.exists());
    drop(held);
    // A child that another test is just starting holds a copy until it runs its program.
    until("the lock is free", || wipe().status.success());
    assert!(!cluster.exists());
}

#[test]
fn a_daemon_refuses_what_it_does_not_understand_and_goes_on() {
    let Some(place) = Place::new() else { return };
    let mut daemon = place.daemon();
    let reply = daemon.ask(&json!({ "explode": {} }));
    assert!(
        reply["error"]
            .as_str()
            .is_some_and(|text| text.starts_with("not a request")),
        "{reply}"
    );
    assert_eq!(
        daemon.ask(&json!("describe"))["description"]["image"],
        "blank_1"
    );
    daemon.stream.write_all(&[b'x'; 4096]).expect("write");
    daemon.stream.write_all(b"\n").expect("write");
    let mut line = String::new();
    daemon.reader.read_line(&mut line).expect("an answer");
    assert!(line.contains("not a request"), "{line}");
    drop((daemon.stream, daemon.reader));
    assert!(daemon.child.wait().expect("it ends").success());
}

#[test]
fn a_cluster_that_does_not_exist_is_exit_code_4() {
    let folder = tempfile::tempdir().expect("tempdir");
    for arguments in [
        &["status"][..],
        &["ps"],
        &["down"],
        &["reboot", "1"],
        &["console", "1"],
        &["logs", "1"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_bedplate"))
            .args(arguments)
            .args(["--name", "nobody"])
            .env("XDG_DATA_HOME", folder.path())
            .output()
            .expect("bedplate starts");
        assert_eq!(output.status.code(), Some(4), "{arguments:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("nobody"),
            "{arguments:?}"
        );
    }
}
