//! PID 1 is hard to kill: the faults that its node may do to it, each with what it cost.
//!
//! The image's own programs (`overlays/hard`) do it and look at what is left, one to a machine; which one, the kernel
//! command line says. Facts are asserted there. Times are figures, bounded only by what hangs.

use qemu_tests::{
    Boot, ClusterSpec,
    cluster::{BootWay, Cluster},
    runner::{self, Context, Outcome, Stop, Test},
};
use std::{process::ExitCode, time::Duration};

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
];

fn main() -> ExitCode {
    runner::main("hard", TESTS)
}

/// How long a program may be silent.
const SILENCE: Duration = Duration::from_secs(600);

/// Boots the image with one of its programs, and tells what that says until it is over.
fn outlives(context: &Context, name: &str) -> Outcome {
    let mut spec = ClusterSpec::new("h", &context.folder.join("h"), context.image("hard")?);
    spec.masters = 1;
    spec.boot = BootWay::Direct;
    spec.cpus = 2;
    spec.memory_mib = 1024;
    let mut cluster = Cluster::create(spec)?;
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
