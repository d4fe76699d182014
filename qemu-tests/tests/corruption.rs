//! Bytes that turn over on the disk: refused or restarted, never run on.

mod erofs_utils;

use erofs_utils::ErofsUtils;
use qemu_tests::{
    Cluster,
    cluster::BootWay,
    disk,
    fault::Fault,
    runner::{self, Context, Outcome, Stop, Test, check},
};
use std::{
    ops::Range,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

const TESTS: &[Test] = &[
    Test::new(
        "in_the_superblock_of_the_root",
        1,
        200,
        in_the_superblock_of_the_root,
    ),
    Test::new("in_pid_1", 1, 200, |context| {
        at_boot(context, "/usr/lib/bedplate/init")
    }),
    Test::new("in_etcd", 2, 300, |context| {
        at_boot(context, "/usr/bin/etcd")
    }),
    Test::new("in_the_verity_tree", 2, 200, in_the_verity_tree),
    Test::new("while_the_node_runs", 2, 400, while_the_node_runs),
];

fn main() -> ExitCode {
    runner::main("corruption", TESTS)
}

/// How long until a node must have noticed.
const NOTICED: Duration = Duration::from_secs(120);
/// What the kernel says when dm-verity makes it restart.
const RESTARTS: &str = "dm-verity device corrupted";

/// A node that is off, with its disk.
fn node(context: &Context) -> Result<Cluster, Stop> {
    let mut spec = context.cluster("node-cloud")?;
    spec.masters = 1;
    spec.boot = BootWay::Direct;
    Ok(Cluster::create(spec)?)
}

/// Where the root lies on its disk.
fn root(cluster: &Cluster) -> Result<Range<u64>, Stop> {
    Ok(disk::partition(
        &cluster.node(0)?.disk(),
        cluster.spec().image.version(),
    )?)
}

/// Bytes of a partition turn over.
fn corrupt(cluster: &mut Cluster, partition: String, range: Range<u64>) -> Outcome {
    let node = cluster.node(0)?.name().to_owned();
    Ok(cluster.inject(&Fault::Corrupt {
        node,
        partition,
        range,
    })?)
}

/// The node starts, and resets itself without ever having been ready.
fn never_runs_on(context: &Context, cluster: &mut Cluster) -> Outcome {
    cluster.start()?;
    let vm = cluster.node_mut(0)?.vm();
    vm.qmp()?.wait_event("RESET", NOTICED)?;
    context.say("it restarted itself");
    let serial = std::fs::read(vm.serial_path()).unwrap_or_default();
    let serial = String::from_utf8_lossy(&serial);
    check(serial.contains("is corrupted"), || {
        "the console names no corrupted block".into()
    })?;
    check(serial.contains(RESTARTS), || {
        "it was not dm-verity that restarted it".into()
    })?;
    never_ready(cluster)
}

fn in_the_superblock_of_the_root(context: &Context) -> Outcome {
    let mut cluster = node(context)?;
    let version = cluster.spec().image.version().to_owned();
    // The superblock of erofs is at byte 1024.
    corrupt(&mut cluster, version, 1024..1040)?;
    never_runs_on(context, &mut cluster)
}

fn in_the_verity_tree(context: &Context) -> Outcome {
    let mut cluster = node(context)?;
    let tree = format!("{}_verity", cluster.spec().image.version());
    corrupt(&mut cluster, tree, 4096..8192)?;
    never_runs_on(context, &mut cluster)
}

/// Where the first bytes of a file lie in the root, as erofs-utils say.
fn place(context: &Context, cluster: &Cluster, file: &str) -> Result<u64, Stop> {
    let root = root(cluster)?;
    let image = context.folder.join("root.erofs");
    disk::extract(&cluster.node(0)?.disk(), root, &image)?;
    let tools = ErofsUtils::unpack(context)?;
    let tool = tools.command(context, "dump.erofs")?;
    first_extent(tool, &image, file)?
        .ok_or_else(|| Stop::Failed(format!("no extent of {file} in what dump.erofs says")))
}

/// Physical offset of the first extent of a file: `  0: 0.. 4096 | 4096 : 123..456 | 333`.
fn first_extent(mut tool: Command, image: &Path, file: &str) -> Result<Option<u64>, Stop> {
    let output = tool
        .args(["-e", &format!("--path={file}")])
        .arg(image)
        .output()
        .map_err(|error| Stop::Failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows: Vec<u64> = text
        .lines()
        .filter(|line| line.contains("..") && line.contains('|'))
        .filter_map(|line| {
            line.split('|')
                .nth(1)?
                .split(':')
                .nth(1)?
                .split("..")
                .next()?
                .trim()
                .parse()
                .ok()
        })
        .collect();
    if rows.is_empty() && !output.status.success() {
        return Err(Stop::Skipped(format!(
            "this machine's dump.erofs does not read our root: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    Ok(rows.first().copied())
}

/// A file that every boot reads.
fn at_boot(context: &Context, file: &str) -> Outcome {
    let mut cluster = node(context)?;
    let place = place(context, &cluster, file)?;
    let version = cluster.spec().image.version().to_owned();
    corrupt(&mut cluster, version, place..place + 64)?;
    never_runs_on(context, &mut cluster)
}

/// The whole root turns over under a running node. What it has read stays in memory; a card that is plugged in then
/// needs a driver that is still on the disk.
fn while_the_node_runs(context: &Context) -> Outcome {
    let mut cluster = node(context)?;
    cluster.node_mut(0)?.vm().spec_mut().empty_slot = true;
    let root = root(&cluster)?;
    cluster.start()?;
    context.wait_ready(&mut cluster)?;
    let vm = cluster.node_mut(0)?.vm();
    vm.qmp()?.forget_events();
    let mut serial = vm.serial();
    serial.skip_to_end();

    let path = cluster.node(0)?.disk();
    let step = 1 << 20;
    for start in (root.start..root.end.min(root.start + (128 << 20))).step_by(step) {
        disk::flip(&path, start..start + step as u64)?;
    }
    context.say("the root turned over");
    let vm = cluster.node_mut(0)?.vm();
    vm.plug("virtio-balloon-pci")?;
    context.say(&serial.wait_for(RESTARTS, NOTICED)?);
    let reset = vm.qmp()?.wait_event("RESET", NOTICED)?;
    check(reset["data"]["guest"] == true, || {
        format!("not the guest asked for the reset: {reset}")
    })?;
    context.say(&serial.wait_for("bedplate-init", NOTICED)?);
    context.say(&serial.wait_for(RESTARTS, NOTICED)?);
    never_ready(&mut cluster)
}

fn never_ready(cluster: &mut Cluster) -> Outcome {
    let status = cluster.status();
    check(!status.nodes.iter().any(|node| node.ready), || {
        "it is ready on a corrupt root".into()
    })
}
