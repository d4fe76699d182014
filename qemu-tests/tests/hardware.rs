//! The same images on other machines: disks, network cards, no disk at all.

use qemu_tests::{
    ClusterSpec, Vm, VmSpec,
    cluster::BootWay,
    images,
    runner::{self, Context, Outcome, Stop, Test, check},
    vm::{Boot, DiskBus, Nic, NicModel, Peer},
};
use std::{fs, path::Path, process::ExitCode, time::Duration};

const TESTS: &[Test] = &[
    Test::new(
        "pxe_runs_from_memory_without_a_disk",
        1,
        400,
        pxe_runs_from_memory,
    ),
    Test::new("node_on_ahci_with_e1000e", 2, 500, |context| {
        node_on(context, DiskBus::Ahci, NicModel::E1000e)
    }),
    Test::new("node_on_nvme_with_e1000", 2, 500, |context| {
        node_on(context, DiskBus::Nvme, NicModel::E1000)
    }),
    Test::new("node_on_virtio_scsi", 2, 500, |context| {
        node_on(context, DiskBus::VirtioScsi, NicModel::Virtio)
    }),
    Test::new(
        "ipxe_loads_it_from_the_network",
        2,
        500,
        ipxe_loads_it_from_the_network,
    ),
];

fn main() -> ExitCode {
    runner::main("hardware", TESTS)
}

/// A single master.
fn one(context: &Context, recipe: &str) -> Result<ClusterSpec, Stop> {
    let mut spec = context.cluster(recipe)?;
    spec.masters = 1;
    spec.memory_mib = 1024;
    Ok(spec)
}

fn node_on(context: &Context, bus: DiskBus, nic: NicModel) -> Outcome {
    let mut spec = one(context, "node")?;
    spec.bus = bus;
    spec.nic = nic;
    let mut cluster = context.ready(spec)?;
    let status = cluster.status();
    let ephemeral = status.nodes.iter().any(|node| node.ephemeral);
    check(!ephemeral, || {
        "its state is in memory though it has a disk".into()
    })
}

fn pxe_runs_from_memory(context: &Context) -> Outcome {
    let mut spec = one(context, "node-cloud")?;
    spec.boot = BootWay::Diskless;
    let mut cluster = context.ready(spec)?;
    let status = cluster.status();
    for node in &status.nodes {
        check(node.ephemeral, || "it found a disk".into())?;
        check(node.root_verified, || "its root is not verified".into())?;
    }
    Ok(())
}

/// The card's own boot ROM asks DHCP and TFTP for the iPXE script of the format.
fn ipxe_loads_it_from_the_network(context: &Context) -> Outcome {
    let image = context.image("node-cloud")?;
    let script = image.required("ipxe")?;
    if !["/usr/lib/ipxe/qemu", "/usr/share/qemu"]
        .iter()
        .any(|folder| Path::new(folder).join("pxe-virtio.rom").exists())
    {
        return Err(Stop::Skipped(
            "no iPXE boot ROMs for QEMU on this machine (package ipxe-qemu)".into(),
        ));
    }
    let folder = context.folder.join("node");
    fs::create_dir_all(&folder).map_err(|error| Stop::Failed(error.to_string()))?;
    let mut spec = VmSpec::new("node", &folder, Boot::Bios);
    spec.memory_mib = 1024;
    let file = script
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    spec.nics.push(Nic {
        mac: "52:54:00:77:00:0b".into(),
        model: NicModel::Virtio,
        peer: Peer::User {
            forwards: Vec::new(),
            tftp: Some((image.folder.clone(), file)),
        },
    });
    check(
        matches!(images::diskless(&image)?, Boot::Direct { .. }),
        || "no kernel".into(),
    )?;
    let mut vm = Vm::new(spec)?;
    vm.start(context.accel())?;
    let mut serial = vm.serial();
    serial.wait_for("bedplate-init", Duration::from_secs(200))?;
    serial.wait_for("boot-complete.target", Duration::from_secs(150))?;
    Ok(())
}
