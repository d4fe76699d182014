//! PID 1 is hard to kill: the faults that its node may do to it, each with what it cost.
//!
//! The image's own programs (`overlays/hard`) do it and look at what is left, one to a machine; which one, the kernel
//! command line says. Facts are asserted there. Times are figures, bounded only by what hangs, but for one: of an answer
//! under pressure PID 1's own part (it ran, had no processor, waited for memory or a disk) is at most the second that it
//! promises, and none of it is for a page of its own program. What is left is the client's, and the machine's host's.

use qemu_tests::{
    Boot, ClusterSpec,
    cluster::{BootWay, Cluster},
    runner::{self, Context, Outcome, Stop, Test, check},
};
use spec_api::{LogQuery, Unit};
use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

const TESTS: &[Test] = &[
    Test::new(
        "a_service_killed_a_thousand_times_comes_back_each_time",
        2,
        1200,
        |context| outlives(context, "kill"),
    ),
    Test::new("a_fork_bomb_is_stopped_to_the_last", 2, 1200, |context| {
        outlives(context, "bomb")
    }),
    Test::new(
        "a_hundred_re_executions_under_load_lose_nothing",
        2,
        1200,
        |context| outlives(context, "reexecute"),
    ),
    Test::new(
        "the_control_socket_answers_under_pressure",
        2,
        1200,
        |context| outlives(context, "press"),
    ),
    Test::new("want_of_anything_is_survived", 2, 1200, |context| {
        outlives(context, "starve")
    }),
    Test::new("hostile_messages_cost_nothing", 2, 1200, |context| {
        outlives(context, "hostile")
    }),
    Test::new("an_exit_is_never_missed", 2, 1200, |context| {
        outlives(context, "race")
    }),
    Test::new(
        "who_thrashes_is_killed_before_the_node_is_lost",
        2,
        600,
        who_thrashes_is_killed_before_the_node_is_lost,
    ),
];

fn main() -> ExitCode {
    runner::main("hard", TESTS)
}

/// How long a program may be silent.
const SILENCE: Duration = Duration::from_secs(600);

/// One node with two processors and 1 GiB.
fn node(context: &Context) -> Result<Cluster, Stop> {
    let mut spec = ClusterSpec::new("h", &context.folder.join("h"), context.image("hard")?);
    spec.masters = 1;
    spec.boot = BootWay::Direct;
    spec.cpus = 2;
    spec.memory_mib = 1024;
    Ok(Cluster::create(spec)?)
}

/// Boots the image with one of its programs, and tells what that says until it is over.
fn outlives(context: &Context, name: &str) -> Outcome {
    let mut cluster = node(context)?;
    let vm = cluster.node_mut(0)?.vm();
    vm.spec_mut().credentials.clear();
    if let Boot::Direct { cmdline, .. } = &mut vm.spec_mut().boot {
        cmdline.push_str(&format!(" hard={name}"));
    }
    vm.start(context.accel())?;
    let mut serial = vm.serial();
    // A machine that starts again has not outlived it. What is said ends in a mark: before it, a line is not whole.
    let words = ["Kernel panic", "rebooting", "the last boot", " (said)"];
    loop {
        let (which, line) = serial.wait_for_any(&words, SILENCE)?;
        let said = line.split_once(&format!("hard-{name}: "));
        let Some((_, said)) = said.filter(|_| which == 3) else {
            return Err(Stop::Failed(line));
        };
        let said = said.trim_end_matches(" (said)");
        context.say(said);
        match said.split_once(": ") {
            Some(("failed", _)) => return Err(Stop::Failed(said.into())),
            _ if said == "passed" => return Ok(()),
            _ => {}
        }
    }
}

/// How long the node API may take to answer while memory is short: it asks PID 1, and the journal.
const ANSWER: Duration = Duration::from_secs(10);
/// How long it may take until the node has helped itself.
const HELP: Duration = Duration::from_secs(240);
const THRASHES: &str = "victim-thrash.service";
const HOLDS: &str = "victim-hold.service";

/// A service takes the memory of the node and reads what is left of it to pieces. It is killed for that, the journal
/// says why, and all others go on: what is the node's own, and a service that holds memory as any other does.
fn who_thrashes_is_killed_before_the_node_is_lost(context: &Context) -> Outcome {
    let mut cluster = node(context)?;
    cluster.start()?;
    let api = cluster.node(0)?.api()?;
    let until = Instant::now() + Duration::from_secs(200);
    // No further: the image has no etcd, for which the boot of a master waits.
    let is_up = |name: &str| api.unit(name).is_ok_and(|unit| unit.active == "active");
    while !["bedplate-node.service", "network.target"]
        .into_iter()
        .all(is_up)
    {
        check(Instant::now() < until, || {
            "the node does not come up".into()
        })?;
        thread::sleep(Duration::from_secs(1));
    }
    api.start(HOLDS).map_err(unanswered)?;
    while api
        .unit(HOLDS)
        .map_err(unanswered)?
        .memory_bytes
        .is_none_or(|held| held < 100 << 20)
    {
        check(Instant::now() < until, || format!("{HOLDS} holds nothing"))?;
        thread::sleep(Duration::from_secs(1));
    }
    let before = lives(&api.units().map_err(unanswered)?);
    api.start(THRASHES).map_err(unanswered)?;

    let begun = Instant::now();
    let (mut slowest, mut asked, mut lines) = (Duration::ZERO, 0, 0);
    let ended = loop {
        let at = Instant::now();
        let unit = api.unit(THRASHES).map_err(unanswered)?;
        let query = LogQuery {
            lines: Some(10),
            ..LogQuery::default()
        };
        let mut said = 0;
        api.logs(&query, |_| {
            said += 1;
            true
        })
        .map_err(unanswered)?;
        lines += said;
        (slowest, asked) = (slowest.max(at.elapsed()), asked + 1);
        if unit.active == "failed" {
            break unit;
        }
        check(begun.elapsed() < HELP, || {
            format!("{THRASHES} is {} ({}) still", unit.active, unit.sub)
        })?;
        thread::sleep(Duration::from_millis(300));
    };
    let took = begun.elapsed().as_secs();
    context.say(&format!(
        "ended after {took} s; the slowest of {asked} answers of PID 1 and the journal, which told {lines} lines, took {slowest:?}"
    ));
    let reason = ended.reason.clone().unwrap_or_default();
    context.say(&reason);
    check(ended.result == "oom-kill", || format!("{ended:?}"))?;
    let why = "-.slice waited for memory";
    check(reason.contains(why), || format!("the reason is {reason:?}"))?;
    check(slowest < ANSWER, || format!("an answer took {slowest:?}"))?;
    let after = lives(&api.units().map_err(unanswered)?);
    let lost: Vec<_> = before.iter().filter(|life| !after.contains(life)).collect();
    check(lost.is_empty(), || format!("{lost:?}\nnot in\n{after:?}"))?;
    let mut told = 0;
    api.logs(&LogQuery::default(), |entry| {
        let whole = entry.message.contains(THRASHES) && entry.message.contains(why);
        told += usize::from(whole);
        true
    })
    .map_err(unanswered)?;
    check(told > 0, || "the journal does not say why".into())
}

/// Services that run, but for the one that is to end: their processes, and how often each was started again.
fn lives(units: &[Unit]) -> Vec<(String, Option<i32>, u32)> {
    let running = units.iter().filter(|unit| unit.sub == "running");
    let running = running.filter(|unit| unit.name != THRASHES);
    let life = |unit: &Unit| (unit.name.clone(), unit.main_pid, unit.restarts);
    running.map(life).collect()
}

/// The node API has not answered.
fn unanswered(cause: impl std::fmt::Display) -> Stop {
    Stop::Failed(cause.to_string())
}
