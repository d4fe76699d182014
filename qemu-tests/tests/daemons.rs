//! Debian's daemons run from the units that their packages ship, and answer clients of theirs.
//!
//! The clients run in the machine: `overlays/daemons/usr/lib/bedplate-daemons/check` asks one daemon and says on the
//! console whether the answer was right.

use client::node::blocking::NodeClient;
use qemu_tests::{
    Boot, ClusterSpec,
    cluster::{BootWay, Cluster},
    runner::{self, Context, Outcome, Stop, Test, check},
    serial::Serial,
};
use spec_api::{LogQuery, Unit};
use std::{
    collections::BTreeMap,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

const TESTS: &[Test] = &[Test::new(
    "they_run_from_their_own_units_and_answer",
    2,
    2400,
    they_run_from_their_own_units_and_answer,
)];

fn main() -> ExitCode {
    runner::main("daemons", TESTS)
}

/// Unit without its suffix, and the name that its check knows it by.
const DAEMONS: [(&str, &str); 15] = [
    ("chrony", "chrony"),
    ("containerd", "containerd"),
    ("docker-registry", "docker-registry"),
    ("haproxy", "haproxy"),
    ("memcached", "memcached"),
    ("mosquitto", "mosquitto"),
    ("nats-server", "nats-server"),
    ("nginx", "nginx"),
    ("postgresql@17-main", "postgresql"),
    ("prometheus", "prometheus"),
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("rabbitmq-server", "rabbitmq-server"),
    ("ssh", "ssh"),
    ("unbound", "unbound"),
    ("valkey-server", "valkey-server"),
];
/// Of these the main process is killed: their units have `Restart=` for it.
const KILLED: [(&str, &str); 4] = [
    ("containerd", "containerd"),
    ("haproxy", "haproxy"),
    ("unbound", "unbound"),
    ("valkey-server", "valkey-server"),
];

/// How long all may take to be active; Erlang alone needs a minute without KVM.
const ACTIVE: Duration = Duration::from_secs(600);
/// How long one may take to stop, or to come back.
const ONE: Duration = Duration::from_secs(180);
/// How long a client may take.
const ANSWER: Duration = Duration::from_secs(260);
/// How many lines are shown of a daemon that is not as it should be.
const LINES: u32 = 15;
/// How many lines of a daemon's journal are looked through for refusals.
const JOURNAL: u32 = 5000;

/// The one node, and what it says.
struct Node {
    api: NodeClient,
    serial: Serial,
}

fn failed(error: impl ToString) -> Stop {
    Stop::Failed(error.to_string())
}

impl Node {
    /// The service as PID 1 shows it.
    fn unit(&self, name: &str) -> Result<Unit, Stop> {
        self.api.unit(&format!("{name}.service")).map_err(failed)
    }

    /// Waits until a service passes `wanted`.
    fn wait(&self, name: &str, what: &str, wanted: impl Fn(&Unit) -> bool) -> Result<Unit, Stop> {
        let deadline = Instant::now() + ONE;
        loop {
            let unit = self.unit(name)?;
            if wanted(&unit) {
                return Ok(unit);
            }
            if Instant::now() > deadline {
                return Err(Stop::Failed(format!(
                    "not {what}: {}{}",
                    state(&unit),
                    self.last_words(name)
                )));
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// The end of a service's journal.
    fn last_words(&self, name: &str) -> String {
        let mut words = String::new();
        let mut add = |line: &str| {
            words.push_str("\n    ");
            words.push_str(line);
        };
        match self.journal(name, LINES) {
            Ok(lines) => lines.iter().for_each(|line| add(line)),
            Err(Stop::Failed(reason) | Stop::Skipped(reason)) => add(&reason),
        }
        words
    }

    /// The last lines of a service's journal.
    fn journal(&self, name: &str, lines: u32) -> Result<Vec<String>, Stop> {
        let query = LogQuery {
            unit: Some(format!("{name}.service")),
            lines: Some(lines),
            ..LogQuery::default()
        };
        let mut journal = Vec::new();
        let told = self.api.logs(&query, |entry| {
            journal.push(entry.message);
            true
        });
        told.map_err(failed).map(|()| journal)
    }

    /// What the image's own unit says on the console: whether it is the first of these, and the line.
    fn said(&mut self, unit: &str, words: [String; 2]) -> Result<(bool, String), Stop> {
        self.serial.skip_to_end();
        self.api.start(&format!("{unit}.service")).map_err(failed)?;
        // The whole words: the end of the line may not be there yet.
        let words = words.each_ref().map(String::as_str);
        let (which, line) = self.serial.wait_for_any(&words, ANSWER)?;
        Ok((which == 0, line))
    }

    /// Whether a daemon's client got the right answer, and what it said.
    fn verdict(&mut self, name: &str) -> Result<(bool, String), Stop> {
        let words = ["right", "wrong"].map(|word| format!("daemons: {name}: {word}"));
        self.said(&format!("daemons-check@{name}"), words)
    }

    /// Fails unless a daemon's client gets the right answer.
    fn must_answer(&mut self, unit: &str, name: &str) -> Outcome {
        let (right, said) = self.verdict(name)?;
        check(right, || format!("{said}{}", self.last_words(unit)))
    }
}

fn state(unit: &Unit) -> String {
    let reason = unit.reason.as_deref().unwrap_or("no reason");
    let Unit {
        name,
        load,
        active,
        sub,
        result,
        ..
    } = unit;
    format!("{name}: {load}, {active} ({sub}), {result}: {reason}")
}

fn they_run_from_their_own_units_and_answer(context: &Context) -> Outcome {
    let mut spec = ClusterSpec::new("d", &context.folder.join("d"), context.image("daemons")?);
    spec.masters = 1;
    spec.boot = BootWay::Direct;
    spec.cpus = 2;
    spec.memory_mib = 1024;
    let mut cluster = Cluster::create(spec)?;
    // HAProxy is compiled for processors that have it.
    let machine = cluster.node_mut(0)?.vm().spec_mut();
    machine.cmpxchg16b = true;
    if let Boot::Direct { cmdline, .. } = &mut machine.boot {
        cmdline.push_str(" clearcpuid=cx16");
    }
    cluster.start()?;
    let node = cluster.node_mut(0)?;
    let mut node = Node {
        api: node.api()?,
        serial: node.vm().serial(),
    };

    all_become_active(context, &node)?;
    for (unit, name) in DAEMONS {
        node.must_answer(unit, name)?;
        context.say(&format!("{name} answers"));
    }
    nothing_was_refused(&mut node)?;
    for (unit, name) in DAEMONS {
        stops(&mut node, unit, name)?;
        context.say(&format!("{name} is stopped and does not answer"));
    }
    for (unit, _) in DAEMONS {
        node.api.start(&format!("{unit}.service")).map_err(failed)?;
    }
    for (unit, name) in DAEMONS {
        node.wait(unit, "active again", |unit| unit.active == "active")?;
        node.must_answer(unit, name)?;
    }
    context.say("all are started again and answer");
    for (unit, name) in KILLED {
        comes_back(&mut node, unit, name)?;
        context.say(&format!("{name} is killed, comes back and answers"));
    }
    Ok(())
}

/// Waits for all of them, and says when each was.
fn all_become_active(context: &Context, node: &Node) -> Outcome {
    let deadline = Instant::now() + ACTIVE;
    let mut waiting: Vec<&str> = DAEMONS.map(|(unit, _)| unit).to_vec();
    while !waiting.is_empty() {
        // Until the node answers there are none.
        let units = node.api.units().unwrap_or_default();
        let units: BTreeMap<&str, &Unit> = units
            .iter()
            .filter_map(|unit| Some((unit.name.strip_suffix(".service")?, unit)))
            .collect();
        waiting.retain(|name| {
            let active = units.get(name).is_some_and(|unit| unit.active == "active");
            if active {
                context.say(&format!("{name} is active"));
            }
            !active
        });
        let broken = waiting.iter().find_map(|name| {
            let unit = units.get(name).filter(|unit| unit.active == "failed")?;
            Some(format!("{}{}", state(unit), node.last_words(name)))
        });
        if let Some(broken) = broken {
            return Err(Stop::Failed(broken));
        }
        check(Instant::now() < deadline, || {
            format!("not active in time: {}", waiting.join(", "))
        })?;
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// No daemon was kept from something that it wanted: a wall that is too tight shows in what it logs.
fn nothing_was_refused(node: &mut Node) -> Outcome {
    for (unit, _) in DAEMONS {
        let journal = node.journal(unit, JOURNAL)?;
        let refused = journal.iter().find(|line| {
            let line = line.to_lowercase();
            line.contains("operation not permitted") || line.contains("permission denied")
        });
        if let Some(line) = refused {
            return Err(Stop::Failed(format!(
                "{unit} was refused something: {line}"
            )));
        }
    }
    let words = ["none", "some"].map(|word| format!("daemons: refusals: {word}"));
    let (none, said) = node.said("daemons-refusals", words)?;
    check(none, || said)
}

/// Stopped, a daemon is inactive, has no control group left and gives its client no answer.
fn stops(node: &mut Node, unit: &str, name: &str) -> Outcome {
    node.api.stop(&format!("{unit}.service")).map_err(failed)?;
    let stopped = node.wait(unit, "stopped", |unit| {
        ["inactive", "failed"].contains(&unit.active.as_str())
    })?;
    check(
        stopped.active == "inactive" && stopped.result == "success",
        || format!("{}{}", state(&stopped), node.last_words(unit)),
    )?;
    let words = ["none", "/sys"].map(|word| format!("daemons: group of {unit}.service: {word}"));
    let (none, group) = node.said(&format!("daemons-group@{unit}"), words)?;
    check(none, || format!("{unit} is stopped and has {group}"))?;
    let (right, said) = node.verdict(name)?;
    check(!right, || {
        format!("{name} is stopped and its client says: {said}")
    })
}

/// Killed, a daemon is started again by its own unit.
fn comes_back(node: &mut Node, unit: &str, name: &str) -> Outcome {
    let before = node.unit(unit)?;
    node.api
        .kill(&format!("{unit}.service"), 9)
        .map_err(failed)?;
    node.wait(unit, "up again", |unit| {
        unit.active == "active"
            && unit.main_pid.is_some()
            && unit.main_pid != before.main_pid
            && unit.restarts > before.restarts
    })?;
    node.must_answer(unit, name)
}
