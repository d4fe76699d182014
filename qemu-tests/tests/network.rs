//! Links that the machine config makes, what they survive, and what the node says of them.
//!
//! One node with three network cards on the cluster's LAN: a bond of two over which everything goes, a VLAN on it, a
//! bridge with the third, and a dummy. `ip` of the image reads what the network service made.

use client::node::blocking::NodeClient;
use qemu_tests::{
    Boot, Cluster, ClusterSpec,
    cluster::BootWay,
    runner::{self, Context, Outcome, Stop, Test, check},
    vm::{Nic, NicModel, Peer},
};
use serde_json::Value;
use spec_api::{LinkView, LogQuery, NetworkView, OutputStream, RunEvent, RunRequest};
use spec_config::{Config, Link};
use std::{
    fs,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

const TESTS: &[Test] = &[
    Test::new(
        "a_bond_answers_whichever_cable_is_pulled",
        2,
        700,
        a_bond_answers_whichever_cable_is_pulled,
    ),
    Test::new(
        "each_kind_of_link_is_made_as_told",
        2,
        500,
        each_kind_of_link_is_made_as_told,
    ),
    Test::new(
        "what_somebody_undoes_comes_back",
        2,
        700,
        what_somebody_undoes_comes_back,
    ),
];

fn main() -> ExitCode {
    runner::main("network", TESTS)
}

/// How long the node may be silent after a cable is pulled: the bond looks every 100 ms, TCP asks again in seconds.
const FAILOVER: Duration = Duration::from_secs(30);
/// How long a machine without KVM may take for one of the things that are undone.
const BACK: Duration = Duration::from_secs(400);

/// The links, with the node's own hardware address as that of the first card.
fn links(mac: &str) -> String {
    format!(
        r#"
[[links]]
name = "bond0"
bond = {{ mode = "active-backup", members = [{{ mac = "{mac}" }}, {{ mac = "{SECOND}" }}], miimon_ms = 100 }}
addresses = ["10.77.0.11/24", "fd77::11/64"]
routes = [{{ to = "default", via = "10.77.0.1" }}]
[[links]]
name = "v40"
vlan = {{ id = 40, parent = "bond0" }}
addresses = ["10.40.0.1/24"]
mtu = 1400
[[links]]
name = "br0"
bridge = {{ ports = [{{ mac = "{THIRD}" }}], stp = true }}
addresses = ["10.41.0.1/24"]
[[links]]
name = "d0"
dummy = {{}}
mac = "02:00:00:00:00:d0"
mtu = 1400
addresses = ["10.42.0.1/32"]
"#
    )
}

const SECOND: &str = "52:54:00:77:01:0b";
const THIRD: &str = "52:54:00:77:02:0b";

fn failed(error: impl ToString) -> Stop {
    Stop::Failed(error.to_string())
}

/// The node, off, with `test` as the one unit of the image that checks itself.
fn node(context: &Context, test: &str) -> Result<Cluster, Stop> {
    let mut spec = ClusterSpec::new("n", &context.folder.join("n"), context.image("test")?);
    spec.masters = 1;
    spec.boot = BootWay::Direct;
    spec.cpus = 2;
    spec.memory_mib = 2048;
    let mut cluster = Cluster::create(spec)?;
    let folder = cluster.node(0)?.folder().to_path_buf();
    let mut cards = Vec::new();
    for (index, mac) in [(1, SECOND), (2, THIRD)] {
        let socket = folder.join(format!("net{index}.sock"));
        cluster.switch().listen(&socket)?;
        cards.push(Nic {
            mac: mac.into(),
            model: NicModel::Virtio,
            peer: Peer::Switch(socket),
        });
    }
    let machine = cluster.node_mut(0)?.vm().spec_mut();
    let first = machine.nics.first().map(|nic| nic.mac.clone());
    machine.nics.extend(cards);
    if let Boot::Direct { cmdline, .. } = &mut machine.boot {
        cmdline.push_str(&format!(" bedplate-test={test}"));
    }
    write_links(&folder.join("config.toml"), &first.unwrap_or_default())?;
    Ok(cluster)
}

/// Gives the machine config these links and leaves the rest.
fn write_links(path: &Path, mac: &str) -> Outcome {
    #[derive(serde::Deserialize)]
    struct Links {
        links: Vec<Link>,
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let mut config = Config::parse(&text).map_err(failed)?;
    let links: Links = toml::from_str(&links(mac)).map_err(failed)?;
    config.network.links = links.links;
    let text = config.to_toml().map_err(failed)?;
    Config::parse(&text).map_err(failed)?;
    fs::write(path, text).map_err(failed)
}

/// What a program says that the node is asked to run.
fn said(api: &NodeClient, command: &[&str]) -> Result<String, Stop> {
    let request = RunRequest {
        command: command.iter().map(ToString::to_string).collect(),
        ..RunRequest::default()
    };
    let (mut output, mut error, mut code) = (String::new(), String::new(), None);
    let told = api.run(&request, |event| {
        match event {
            RunEvent::Started(_) => {}
            RunEvent::Output(written) => {
                let bytes = spec_unit::value::base64(&written.data).unwrap_or_default();
                let to = match written.stream {
                    OutputStream::Output => &mut output,
                    OutputStream::Error => &mut error,
                };
                to.push_str(&String::from_utf8_lossy(&bytes));
            }
            RunEvent::Ended(end) => code = end.code,
            RunEvent::Failed(message) => error.push_str(&message),
        }
        true
    });
    told.map_err(failed)?;
    check(code == Some(0), || format!("{command:?}: {code:?} {error}"))?;
    Ok(output)
}

/// What the network service knows.
fn view(api: &NodeClient) -> Result<NetworkView, Stop> {
    let text = said(api, &["/usr/bin/cat", spec_layout::path::NETWORK_VIEW])?;
    serde_json::from_str(&text).map_err(failed)
}

fn link<'a>(view: &'a NetworkView, name: &str) -> Result<&'a LinkView, Stop> {
    let found = view.links.iter().find(|link| link.name == name);
    found.ok_or_else(|| Stop::Failed(format!("no link {name}: {view:?}")))
}

/// How long it takes until the node's API answers.
fn answers(api: &NodeClient) -> Result<Duration, Stop> {
    let began = Instant::now();
    loop {
        match api.status() {
            Ok(_) => return Ok(began.elapsed()),
            Err(error) if began.elapsed() > FAILOVER => return Err(failed(error)),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn a_bond_answers_whichever_cable_is_pulled(context: &Context) -> Outcome {
    let mut cluster = node(context, "none")?;
    cluster.start()?;
    context.wait_ready(&mut cluster)?;
    let api = cluster.node(0)?.api()?;
    let whole = view(&api)?;
    let bond = link(&whole, "bond0")?.clone();
    check(bond.members.len() == 2 && bond.carrier, || {
        format!("{bond:?}")
    })?;

    for card in [0, 1, 0] {
        cluster.node_mut(0)?.vm().set_cable(card, false)?;
        let gap = answers(&api)?;
        context.say(&format!(
            "cable {card} is pulled: an answer after {:.1} s",
            gap.as_secs_f64()
        ));
        let torn = view(&api)?;
        let dead: Vec<&LinkView> = torn
            .links
            .iter()
            .filter(|link| link.master.as_deref() == Some("bond0") && !link.carrier)
            .collect();
        check(dead.len() == 1, || format!("without a carrier: {dead:?}"))?;
        let now = link(&torn, "bond0")?;
        check(now.carrier && now.mac == bond.mac, || format!("{now:?}"))?;
        cluster.node_mut(0)?.vm().set_cable(card, true)?;
        // The next cable is pulled when this one carries again.
        let until = Instant::now() + FAILOVER;
        while view(&api)?
            .links
            .iter()
            .any(|link| link.master.as_deref() == Some("bond0") && !link.carrier)
        {
            check(Instant::now() < until, || {
                format!("cable {card} does not carry again")
            })?;
            thread::sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}

fn each_kind_of_link_is_made_as_told(context: &Context) -> Outcome {
    let mut cluster = node(context, "none")?;
    cluster.start()?;
    context.wait_ready(&mut cluster)?;
    let api = cluster.node(0)?.api()?;

    context.say("as the network service knows it");
    let view = view(&api)?;
    check(view.configured && view.missing.is_empty(), || {
        format!("{:?}", view.missing)
    })?;
    for (name, kind, address) in [
        ("bond0", "bond", "10.77.0.11/24"),
        ("v40", "vlan", "10.40.0.1/24"),
        ("br0", "bridge", "10.41.0.1/24"),
        ("d0", "dummy", "10.42.0.1/32"),
    ] {
        let link = link(&view, name)?;
        let has_address = link.addresses.iter().any(|have| have.address == address);
        let whole = link.kind.as_deref() == Some(kind) && link.made && link.up && has_address;
        check(whole, || format!("{link:?}"))?;
    }
    check(
        link(&view, "v40")?.parent.as_deref() == Some("bond0"),
        || format!("{view:?}"),
    )?;
    check(link(&view, "br0")?.members.len() == 1, || {
        format!("{view:?}")
    })?;

    context.say("as ip reads it");
    let text = said(&api, &["/usr/bin/ip", "-d", "-j", "link"])?;
    let links: Vec<Value> = serde_json::from_str(&text).map_err(failed)?;
    for (name, pointer, wanted) in [
        (
            "bond0",
            "/linkinfo/info_data/mode",
            Value::from("active-backup"),
        ),
        ("bond0", "/linkinfo/info_data/miimon", Value::from(100)),
        ("v40", "/linkinfo/info_data/id", Value::from(40)),
        ("v40", "/link", Value::from("bond0")),
        ("v40", "/mtu", Value::from(1400)),
        ("br0", "/linkinfo/info_data/stp_state", Value::from(1)),
        ("d0", "/linkinfo/info_kind", Value::from("dummy")),
        ("d0", "/address", Value::from("02:00:00:00:00:d0")),
    ] {
        let link = links.iter().find(|link| link["ifname"] == name);
        let found = link.and_then(|link| link.pointer(pointer));
        check(found == Some(&wanted), || {
            format!("{name}{pointer} is {found:?}, not {wanted}: {text}")
        })?;
    }
    Ok(())
}

fn what_somebody_undoes_comes_back(context: &Context) -> Outcome {
    let mut cluster = node(context, "network")?;
    cluster.start()?;
    let mut serial = cluster.node_mut(0)?.vm().serial();
    loop {
        let line = serial.wait_for("test-network:", BACK)?;
        context.say(&line);
        if line.contains("failed") {
            return Err(Stop::Failed(line));
        }
        if line.contains("passed") {
            break;
        }
    }
    let api = cluster.node(0)?.api()?;
    answers(&api)?;
    let query = LogQuery {
        unit: Some("bedplate-network.service".into()),
        lines: Some(2000),
        ..LogQuery::default()
    };
    let (mut ups, mut held) = (0, false);
    api.logs(&query, |entry| {
        ups += u32::from(entry.message == "d0: up");
        held |= entry.message.contains("needed again and again");
        true
    })
    .map_err(failed)?;
    context.say(&format!("d0 was brought up {ups} times"));
    // Forty times it was taken down at the end.
    check(held && ups < 30, || {
        format!("held back: {held}, brought up {ups} times")
    })
}
