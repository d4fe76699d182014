//! One node: how it boots, what it says of a bad start, how it goes down.

use client::node::blocking::NodeClient;
use qemu_tests::{
    Cluster, ClusterSpec, Vm, VmSpec,
    cluster::{BootWay, ConfigWay},
    runner::{self, Context, Outcome, Stop, Test, check},
    vm::{Credential, Disk, DiskBus, Via},
};
use spec_api::{LogQuery, OutputStream, RunEnd, RunEvent, RunRequest};
use std::{
    ffi::OsStr,
    fs,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

const TESTS: &[Test] = &[
    Test::new("base_boots_to_the_end", 1, 200, base_boots_to_the_end),
    Test::new(
        "one_node_reboots_and_powers_off_cleanly",
        1,
        500,
        one_node_reboots_and_powers_off_cleanly,
    ),
    Test::new(
        "a_garbage_config_is_told_and_boots",
        1,
        200,
        a_garbage_config_is_told_and_boots,
    ),
    Test::new(
        "a_missing_config_is_told_and_boots",
        2,
        200,
        a_missing_config_is_told_and_boots,
    ),
    Test::new(
        "the_config_comes_by_smbios_too",
        2,
        300,
        the_config_comes_by_smbios_too,
    ),
    Test::new(
        "the_config_comes_on_a_disk_too",
        2,
        300,
        the_config_comes_on_a_disk_too,
    ),
    Test::new(
        "ctrl_alt_del_reboots_cleanly",
        2,
        400,
        ctrl_alt_del_reboots_cleanly,
    ),
    Test::new(
        "a_hung_machine_is_reset_by_its_watchdog",
        2,
        500,
        a_hung_machine_is_reset_by_its_watchdog,
    ),
    Test::new("twenty_boots_in_a_row", 2, 1800, twenty_boots_in_a_row),
    Test::new(
        "ten_thousand_orphans_are_reaped",
        2,
        600,
        ten_thousand_orphans_are_reaped,
    ),
    Test::new(
        "a_forking_service_is_named_by_its_file",
        2,
        500,
        a_forking_service_is_named_by_its_file,
    ),
    Test::new(
        "watches_of_ended_units_are_given_back",
        2,
        600,
        watches_of_ended_units_are_given_back,
    ),
    Test::new(
        "pid_1_executes_itself_anew_and_loses_nothing",
        2,
        500,
        pid_1_executes_itself_anew_and_loses_nothing,
    ),
    Test::new(
        "a_killed_journal_loses_no_line_of_a_service",
        2,
        500,
        a_killed_journal_loses_no_line_of_a_service,
    ),
    Test::new(
        "five_hundred_transient_units_leave_nothing_behind",
        2,
        1200,
        five_hundred_transient_units_leave_nothing_behind,
    ),
    Test::new(
        "an_operator_runs_programs_without_privileges",
        2,
        500,
        an_operator_runs_programs_without_privileges,
    ),
];

fn main() -> ExitCode {
    runner::main("boot", TESTS)
}

/// How long one boot may take.
const BOOT: Duration = Duration::from_secs(150);
/// What the console says at the end of a boot.
const COMPLETE: &str = "boot-complete.target";

/// A single master by direct kernel boot.
fn one(context: &Context) -> Result<ClusterSpec, Stop> {
    let mut spec = context.cluster("node-cloud")?;
    spec.masters = 1;
    spec.boot = BootWay::Direct;
    Ok(spec)
}

fn previous_boot(cluster: &mut Cluster) -> String {
    let status = cluster.status();
    status
        .nodes
        .first()
        .map(|node| node.previous_boot.clone())
        .unwrap_or_default()
}

/// Waits for a boot after this one: the node's uptime is less than it was.
fn wait_next_boot(context: &Context, cluster: &mut Cluster) -> Result<(), Stop> {
    let uptime = |status: &qemu_tests::ClusterStatus| {
        let node = status.nodes.first().filter(|node| node.reachable);
        node.map(|node| node.uptime_seconds)
    };
    let before = uptime(&cluster.status()).unwrap_or(f64::MAX);
    cluster.wait_for("the next boot", BOOT, |status| {
        uptime(status).is_some_and(|now| now < before)
    })?;
    context.wait_ready(cluster).map(drop)
}

fn base_boots_to_the_end(context: &Context) -> Outcome {
    let image = context.image("base")?;
    let mut cluster = ClusterSpec::new("b", &context.folder.join("b"), image);
    cluster.masters = 1;
    cluster.boot = BootWay::Direct;
    let mut cluster = Cluster::create(cluster)?;
    let node = cluster.node_mut(0)?;
    node.vm().spec_mut().credentials.clear();
    node.vm().start(context.accel())?;
    let serial = &mut node.vm().serial();
    serial.wait_for("bedplate-init", BOOT)?;
    let (which, line) = serial.wait_for_any(&[COMPLETE, "Kernel panic"], BOOT)?;
    check(which == 0, || line)
}

fn one_node_reboots_and_powers_off_cleanly(context: &Context) -> Outcome {
    let mut cluster = context.ready(one(context)?)?;
    let first = previous_boot(&mut cluster);
    check(first == "first", || {
        format!("the first boot calls the one before '{first}'")
    })?;

    context.say("reboot by the API");
    let api = cluster.node(0)?.api()?;
    api.reboot()
        .map_err(|error| Stop::Failed(error.to_string()))?;
    cluster.node_mut(0)?.vm().qmp()?.wait_event("RESET", BOOT)?;
    context.wait_ready(&mut cluster)?;
    let second = previous_boot(&mut cluster);
    check(second == "clean", || {
        format!("a clean reboot is called '{second}'")
    })?;

    context.say("press the power button");
    let vm = cluster.node_mut(0)?.vm();
    vm.press_power()?;
    vm.wait_off(BOOT)?;
    cluster.start()?;
    context.wait_ready(&mut cluster)?;
    let third = previous_boot(&mut cluster);
    check(third == "clean", || {
        format!("a clean power-off is called '{third}'")
    })
}

/// Boots a node that gets `config` and returns what it says on its console about it.
fn boots_with(context: &Context, config: Option<&str>, expected: &str) -> Result<String, Stop> {
    let folder = context.folder.join("node");
    fs::create_dir_all(&folder).map_err(|error| Stop::Failed(error.to_string()))?;
    let image = context.image("node-cloud")?;
    let mut spec = VmSpec::new("node", &folder, qemu_tests::images::diskless(&image)?);
    spec.memory_mib = 1024;
    if let Some(text) = config {
        let path = folder.join("config.toml");
        fs::write(&path, text).map_err(|error| Stop::Failed(error.to_string()))?;
        spec.credentials.push(Credential {
            name: "bedplate.config".into(),
            path,
            via: Via::FwCfg,
        });
    }
    let mut vm = Vm::new(spec)?;
    vm.start(context.accel())?;
    let mut serial = vm.serial();
    let said = serial.wait_for(expected, BOOT)?;
    serial.wait_for("bedplate-node.service started", BOOT)?;
    Ok(said)
}

fn a_garbage_config_is_told_and_boots(context: &Context) -> Outcome {
    let config = "schema = 1\n[cluster]\nid = 7\n";
    let said = boots_with(context, Some(config), "bedplate.config:3:6")?;
    context.say(&said);
    Ok(())
}

fn a_missing_config_is_told_and_boots(context: &Context) -> Outcome {
    let said = boots_with(context, None, "machine config missing")?;
    context.say(&said);
    Ok(())
}

fn the_config_comes_by_smbios_too(context: &Context) -> Outcome {
    let mut spec = one(context)?;
    spec.config = ConfigWay::Smbios;
    context.ready(spec).map(drop)
}

/// The disk is behind another bus than the root, whose driver boot would not load by then.
fn the_config_comes_on_a_disk_too(context: &Context) -> Outcome {
    let mut cluster = Cluster::create(one(context)?)?;
    let node = cluster.node_mut(0)?;
    let content = context.folder.join("content");
    let disk = context.folder.join("config.raw");
    let prepared = fs::create_dir(&content)
        .and_then(|()| {
            fs::copy(
                node.folder().join("config.toml"),
                content.join("bedplate.toml"),
            )
        })
        .and_then(|_| fs::File::create(&disk)?.set_len(4 << 20));
    prepared.map_err(|error| Stop::Failed(error.to_string()))?;
    let label = ["-q", "-F", "-t", "ext4", "-L", "BEDPLATE-CFG", "-d"].map(OsStr::new);
    let mut mkfs = Command::new("/usr/sbin/mke2fs");
    mkfs.args(label).args([&content, &disk]);
    let made = mkfs.status().is_ok_and(|status| status.success());
    check(made, || format!("{mkfs:?} failed"))?;
    let vm = node.vm().spec_mut();
    vm.credentials.clear();
    vm.disks.push(Disk {
        path: disk,
        bus: DiskBus::Ahci,
        serial: "config".into(),
    });
    // Without a config it would have no member of etcd.
    cluster.start()?;
    context.wait_ready(&mut cluster)?;
    Ok(())
}

fn ctrl_alt_del_reboots_cleanly(context: &Context) -> Outcome {
    let mut cluster = context.ready(one(context)?)?;
    let vm = cluster.node_mut(0)?.vm();
    vm.press_ctrl_alt_del()?;
    vm.qmp()?.wait_event("RESET", BOOT)?;
    context.wait_ready(&mut cluster)?;
    let ended = previous_boot(&mut cluster);
    check(ended == "clean", || {
        format!("Ctrl-Alt-Del is called '{ended}'")
    })
}

/// The kernel panics and stays for ten minutes: PID 1 feeds nothing any more.
fn a_hung_machine_is_reset_by_its_watchdog(context: &Context) -> Outcome {
    let mut cluster = Cluster::create(one(context)?)?;
    let vm = cluster.node_mut(0)?.vm();
    if let qemu_tests::Boot::Direct { cmdline, .. } = &mut vm.spec_mut().boot {
        cmdline.push_str(" unknown_nmi_panic=1 panic=600 bedplate.watchdog=20");
    }
    cluster.start()?;
    context.wait_ready(&mut cluster)?;
    let vm = cluster.node_mut(0)?.vm();
    vm.inject_nmi()?;
    vm.serial().wait_for("Kernel panic", BOOT)?;
    context.say("the kernel hangs");
    vm.qmp()?.wait_event("WATCHDOG", BOOT)?;
    context.wait_ready(&mut cluster)?;
    let ended = previous_boot(&mut cluster);
    check(ended == "watchdog", || {
        format!("the next boot calls it '{ended}'")
    })
}

fn twenty_boots_in_a_row(context: &Context) -> Outcome {
    let mut spec = context.cluster("node-cloud")?;
    spec.masters = 1;
    let mut cluster = context.ready(spec)?;
    for boot in 2..=20 {
        let api = cluster.node(0)?.api()?;
        api.reboot()
            .map_err(|error| Stop::Failed(error.to_string()))?;
        wait_next_boot(context, &mut cluster)?;
        let ended = previous_boot(&mut cluster);
        check(ended == "clean", || {
            format!("boot {boot} calls the one before '{ended}'")
        })?;
        context.say(&format!("boot {boot} of 20"));
    }
    Ok(())
}

/// Boots the image whose units check themselves, and waits for what the one of this name says.
fn self_checked(context: &Context, unit: &str) -> Result<String, Stop> {
    self_checking(context, unit).map(|(_, said)| said)
}

/// The same, with the machine as it runs on.
fn self_checking(context: &Context, unit: &str) -> Result<(Cluster, String), Stop> {
    let mut spec = ClusterSpec::new("o", &context.folder.join("o"), context.image("test")?);
    spec.masters = 1;
    spec.boot = BootWay::Direct;
    let mut cluster = Cluster::create(spec)?;
    cluster.start()?;
    let mut serial = cluster.node_mut(0)?.vm().serial();
    let said = serial.wait_for(&format!("{unit}:"), Duration::from_secs(400))?;
    context.say(&said);
    Ok((cluster, said))
}

/// The image whose units check themselves, of which only the one for `test` does.
fn quiet(context: &Context, test: &str) -> Result<Cluster, Stop> {
    let mut spec = ClusterSpec::new("o", &context.folder.join("o"), context.image("test")?);
    spec.masters = 1;
    spec.boot = BootWay::Direct;
    spec.cpus = 2;
    spec.memory_mib = 2048;
    let mut cluster = Cluster::create(spec)?;
    let vm = cluster.node_mut(0)?.vm();
    if let qemu_tests::Boot::Direct { cmdline, .. } = &mut vm.spec_mut().boot {
        cmdline.push_str(&format!(" bedplate-test={test}"));
    }
    Ok(cluster)
}

/// What a program wrote to its standard output and error, and how it ended.
#[derive(Default)]
struct Ran {
    output: String,
    error: String,
    end: RunEnd,
}

/// A script as an operator has it run; `started` hears of its unit.
fn run(
    api: &NodeClient,
    properties: &[&str],
    script: &str,
    started: impl Fn(&str),
) -> Result<Ran, Stop> {
    let request = RunRequest {
        command: ["/usr/bin/bash", "-c", script].map(String::from).into(),
        properties: properties.iter().map(ToString::to_string).collect(),
        ..RunRequest::default()
    };
    let mut ran = Ran::default();
    let mut failure = None;
    let told = api.run(&request, |event| {
        match event {
            RunEvent::Started(unit) => started(&unit.unit),
            RunEvent::Output(written) => {
                let bytes = spec_unit::value::base64(&written.data).unwrap_or_default();
                let to = match written.stream {
                    OutputStream::Output => &mut ran.output,
                    OutputStream::Error => &mut ran.error,
                };
                to.push_str(&String::from_utf8_lossy(&bytes));
            }
            RunEvent::Ended(end) => ran.end = end,
            RunEvent::Failed(message) => failure = Some(message),
        }
        true
    });
    told.map_err(|error| Stop::Failed(error.to_string()))?;
    failure.map_or(Ok(ran), |message| Err(Stop::Failed(message)))
}

fn an_operator_runs_programs_without_privileges(context: &Context) -> Outcome {
    let mut cluster = quiet(context, "none")?;
    cluster.start()?;
    context.wait_ready(&mut cluster)?;
    let api = cluster.node(0)?.api()?;
    let nothing = |_: &str| {};

    let script = "while read -r key value; do case $key in Uid:|Groups:|Cap*|NoNewPrivs:) echo $key $value;; esac; \
        done </proc/self/status; echo wrong >&2; cat /var/lib/bedplate/trust/* ; exit 7";
    let ran = run(&api, &[], script, nothing)?;
    context.say(&ran.output);
    let none = ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"];
    let mut none = none.map(|set| format!("{set} 0000000000000000"));
    let held = none.iter_mut().all(|line| ran.output.contains(&*line));
    let user = ran.output.contains("Uid: 6") && ran.output.contains("NoNewPrivs: 1");
    let denied = ran.error.starts_with("wrong\n") && ran.error.contains("Permission denied");
    let end = (ran.end.code, ran.end.result.as_str());
    check(
        held && user && denied && end == (Some(7), "exit-code"),
        || format!("{} {} {end:?}", ran.output, ran.error),
    )?;

    context.say("directives are walls");
    let walls = [
        "PrivateNetwork=yes",
        "ProtectSystem=strict",
        "MemoryMax=64M",
    ];
    let script = "mapfile -t links </proc/net/dev; read -r _ _ group </proc/self/cgroup; echo ${#links[@]}; \
        cat /sys/fs/cgroup/task.slice/run-*/memory.max; touch /var/tmp/x";
    let ran = run(&api, &walls, script, nothing)?;
    let walled = ran.output == "3\n67108864\n" && ran.error.contains("Read-only file system");
    check(walled, || format!("{} {}", ran.output, ran.error))?;

    for (property, said) in [
        ("User=bedplate-journal", "credentials"),
        ("StandardInput=file:/etc/shadow", "stdio.input"),
        ("BindPaths=/var/lib/bedplate:/mnt", "mounts.list"),
        ("StateDirectory=x", "directories"),
        ("Nice=-5", "nice"),
        ("Restart=always", "Restart="),
    ] {
        match run(&api, &[property], "echo no", nothing) {
            Err(Stop::Failed(message)) if message.contains(said) => context.say(&message),
            Err(stop) => return Err(stop),
            Ok(ran) => check(false, || format!("{property}: {}", ran.output))?,
        }
    }

    context.say("a signal goes to the program");
    let other = cluster.node(0)?.api()?;
    let ran = run(&api, &[], "sleep 1000", |unit| {
        // It is a child a moment later.
        for _ in 0..100 {
            if other.kill(unit, 2).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    })?;
    check(ran.end.signal == Some(2), || format!("{:?}", ran.end))?;

    context.say("an operator goes away, and another one learns the end");
    let request = RunRequest {
        unit: Some("left.service".into()),
        command: ["/usr/bin/bash", "-c", "sleep 3; exit 9"]
            .map(String::from)
            .into(),
        ..RunRequest::default()
    };
    let failed = |error: client::node::Error| Stop::Failed(error.to_string());
    api.run(&request, |_| false).map_err(failed)?;
    let again = api.run(&request, |_| true).err();
    check(again.is_some(), || "its name is free".into())?;
    let mut end = None;
    let each = |event| {
        end = Some(event);
        true
    };
    other.collect("left.service", each).map_err(failed)?;
    let well = matches!(&end, Some(RunEvent::Ended(end)) if end.code == Some(9));
    check(well, || format!("{end:?}"))
}

/// The image's own unit runs them all at once, kills clients of theirs, has PID 1 execute itself anew, and compares what
/// there is with what there was.
fn five_hundred_transient_units_leave_nothing_behind(context: &Context) -> Outcome {
    let mut cluster = quiet(context, "transient")?;
    cluster.start()?;
    let mut serial = cluster.node_mut(0)?.vm().serial();
    for step in ["500 run after", "500 collected within", "500 units in"] {
        let patterns = [&format!("test-transient: {step}"), "test-transient: failed"];
        let (which, said) = serial.wait_for_any(&patterns, Duration::from_secs(900))?;
        context.say(&said);
        check(which == 0, || said)?;
    }
    Ok(())
}

/// The image's own unit makes them and counts what is left.
fn ten_thousand_orphans_are_reaped(context: &Context) -> Outcome {
    let said = self_checked(context, "test-orphans")?;
    check(said.contains("none left"), || said)
}

/// The image's own unit lowers the number of watches, and runs more often than that.
fn watches_of_ended_units_are_given_back(context: &Context) -> Outcome {
    let said = self_checked(context, "test-watches")?;
    check(said.contains("256 runs with 128 watches"), || said)
}

/// The image's own unit kills the process that the daemon's file names.
fn a_forking_service_is_named_by_its_file(context: &Context) -> Outcome {
    let said = self_checked(context, "test-forking")?;
    check(said.contains("up again as another process"), || said)
}

/// The image's own unit asks PID 1 for it, then makes it crash.
fn pid_1_executes_itself_anew_and_loses_nothing(context: &Context) -> Outcome {
    let said = self_checked(context, "test-reexec")?;
    check(said.contains("nothing was lost"), || said)
}

/// The image's own unit kills the journal again and again, and writes to the stream that it began with.
fn a_killed_journal_loses_no_line_of_a_service(context: &Context) -> Outcome {
    let (mut cluster, said) = self_checking(context, "test-journal")?;
    check(said.contains("four lines were written"), || said)?;
    let api = cluster.node_mut(0)?.api()?;
    let query = LogQuery {
        unit: Some("test-journal.service".into()),
        lines: Some(50),
        ..LogQuery::default()
    };
    let expected: Vec<String> = (0..4).map(|number| format!("line {number}")).collect();
    let deadline = Instant::now() + Duration::from_secs(100);
    loop {
        let mut lines = Vec::new();
        // Until the node answers there are none.
        let told = api.logs(&query, |entry| {
            lines.extend(Some(entry.message).filter(|line| line.starts_with("line ")));
            true
        });
        if told.is_ok() && lines == expected {
            return Ok(());
        }
        check(Instant::now() < deadline, || {
            format!("the journal has {lines:?}, expected {expected:?}")
        })?;
        thread::sleep(Duration::from_secs(2));
    }
}
