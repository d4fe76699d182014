//! Clusters of nodes from the image that would be flashed, and what they survive.

use qemu_tests::{
    Cluster, ClusterStatus, Line,
    cluster::BootWay,
    etcd::{Etcd, MemberIdentity},
    fault::Fault,
    runner::{self, Context, Outcome, Stop, Test, check},
};
use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};
use time::{OffsetDateTime, macros::format_description};

const TESTS: &[Test] = &[
    Test::new(
        "three_nodes_by_uefi_survive_the_leaders_power_cut",
        1,
        700,
        three_nodes_by_uefi,
    ),
    Test::new("a_wiped_disk_is_replaced", 1, 700, a_wiped_disk_is_replaced),
    Test::new(
        "all_cut_at_once_come_back",
        1,
        700,
        all_cut_at_once_come_back,
    ),
    Test::new(
        "a_stopped_cluster_comes_back",
        2,
        700,
        a_stopped_cluster_comes_back,
    ),
    Test::new(
        "a_killed_etcd_is_restarted",
        2,
        500,
        a_killed_etcd_is_restarted,
    ),
    Test::new(
        "a_partition_of_a_minute_heals",
        2,
        700,
        a_partition_of_a_minute_heals,
    ),
    Test::new(
        "a_frozen_leader_is_replaced",
        2,
        700,
        a_frozen_leader_is_replaced,
    ),
    Test::new(
        "a_bad_lan_is_slow_but_works",
        2,
        900,
        a_bad_lan_is_slow_but_works,
    ),
    Test::new("an_agent_joins", 2, 700, an_agent_joins),
    Test::new(
        "clocks_half_an_hour_apart_do_not_matter",
        2,
        700,
        clocks_half_an_hour_apart,
    ),
    Test::new(
        "a_disk_too_small_for_etcd_is_told",
        2,
        500,
        a_disk_too_small_for_etcd_is_told,
    ),
];

fn main() -> ExitCode {
    runner::main("cluster", TESTS)
}

/// How long a change of leader may take, elections and slow processors included.
const ELECTION: Duration = Duration::from_secs(60);
/// How long a node may take to be back.
const RETURN: Duration = Duration::from_secs(240);

/// Three nodes by direct kernel boot: faster where firmware is not the story.
fn three(context: &Context) -> Result<Cluster, Stop> {
    let mut spec = context.cluster("node-cloud")?;
    spec.boot = BootWay::Direct;
    context.ready(spec)
}

fn leader(status: &ClusterStatus) -> Result<String, Stop> {
    let name = status.leader().map(str::to_owned);
    name.ok_or_else(|| Stop::Failed(format!("nobody leads: {}", status.in_a_line())))
}

fn follower(status: &ClusterStatus) -> Result<String, Stop> {
    let found = status.etcd.members.iter().find(|member| !member.leader);
    let name = found.map(|member| member.name.clone());
    name.ok_or_else(|| Stop::Failed(format!("nobody follows: {}", status.in_a_line())))
}

/// The value is there, asked of every member.
fn everywhere(cluster: &Cluster, etcd: &Etcd, key: &str, value: &str) -> Outcome {
    for node in cluster.nodes() {
        let found = etcd.get_within(node.name(), key, ELECTION)?;
        check(found.as_deref() == Some(value), || {
            format!("{} says {key} is {found:?}, not {value}", node.name())
        })?;
    }
    Ok(())
}

fn three_nodes_by_uefi(context: &Context) -> Outcome {
    let mut cluster = context.ready(context.cluster("node-cloud")?)?;
    let status = cluster.status();
    let old = leader(&status)?;
    let etcd = Etcd::of(&cluster)?;
    etcd.put("before", "the cut")?;

    context.say(&format!("cut the power of {old}, the leader"));
    cluster.inject(&Fault::PowerCut { node: old.clone() })?;
    let gap = etcd.put_within("during", "the cut", ELECTION)?;
    context.say(&format!("writes went on after {:.1} s", gap.as_secs_f64()));
    cluster.wait_for("another leader", ELECTION, |status| {
        status.leader().is_some_and(|name| name != old)
    })?;

    cluster.inject(&Fault::PowerBack)?;
    context.wait_ready(&mut cluster)?;
    everywhere(&cluster, &etcd, "before", "the cut")?;
    everywhere(&cluster, &etcd, "during", "the cut")?;
    let status = cluster.status();
    let previous = status.node(&old).map(|node| node.previous_boot.clone());
    check(previous.as_deref() == Some("unclean"), || {
        format!("{old} says its boot before ended '{previous:?}', not 'unclean'")
    })
}

fn a_wiped_disk_is_replaced(context: &Context) -> Outcome {
    let mut cluster = three(context)?;
    let etcd = Etcd::of(&cluster)?;
    etcd.put("kept", "by the others")?;
    let lost = leader(&cluster.status())?;
    let index = cluster.index(&lost)?;
    let before = node_id(&cluster, index)?;
    let members = identities(&cluster, &etcd)?;

    context.say(&format!("{lost} gets a new disk"));
    cluster.inject(&Fault::PowerCut { node: lost.clone() })?;
    cluster.inject(&Fault::ReplaceDisk { node: lost.clone() })?;
    cluster.inject(&Fault::PowerBack)?;
    context.wait_ready(&mut cluster)?;
    check(node_id(&cluster, index)? != before, || {
        "the disk was not new".into()
    })?;
    for (name, old) in &members {
        let new = etcd.identity(name)?;
        check(new.cluster_id == old.cluster_id, || {
            format!("{name} is in another cluster")
        })?;
        check((new.member_id != old.member_id) == (*name == lost), || {
            format!("after {lost} lost its disk, {name} is {new:?} and was {old:?}")
        })?;
    }
    let kept = etcd.get_local(&lost, "kept")?;
    check(kept.as_deref() == Some("by the others"), || {
        format!("on its new disk {lost} has {kept:?}")
    })?;
    everywhere(&cluster, &etcd, "kept", "by the others")?;
    etcd.put("new", "with three again")?;
    everywhere(&cluster, &etcd, "new", "with three again")
}

/// Who each node's etcd says it is.
fn identities(cluster: &Cluster, etcd: &Etcd) -> Result<Vec<(String, MemberIdentity)>, Stop> {
    let names = cluster.nodes().iter().map(|node| node.name().to_owned());
    names
        .map(|name| Ok((name.clone(), etcd.identity(&name)?)))
        .collect()
}

fn node_id(cluster: &Cluster, index: usize) -> Result<String, Stop> {
    let status = cluster.node(index)?.api()?.status();
    status
        .map(|status| status.node_id)
        .map_err(|error| Stop::Failed(error.to_string()))
}

fn all_cut_at_once_come_back(context: &Context) -> Outcome {
    let mut cluster = three(context)?;
    let etcd = Etcd::of(&cluster)?;
    etcd.put("written", "and acknowledged")?;
    cluster.inject(&Fault::Blackout)?;
    let status = cluster.status();
    check(status.nodes.iter().all(|node| !node.on), || {
        "something runs in a blackout".into()
    })?;
    cluster.inject(&Fault::PowerBack)?;
    let status = context.wait_ready(&mut cluster)?;
    for node in &status.nodes {
        check(node.previous_boot == "unclean", || {
            format!("{} calls a power cut '{}'", node.name, node.previous_boot)
        })?;
    }
    everywhere(&cluster, &etcd, "written", "and acknowledged")
}

fn a_stopped_cluster_comes_back(context: &Context) -> Outcome {
    let mut spec = context.cluster("node-cloud")?;
    spec.boot = BootWay::Direct;
    let mut cluster = context.ready(spec.clone())?;
    Etcd::of(&cluster)?.put("kept", "over the night")?;
    let ids: Result<Vec<String>, Stop> = (0..3).map(|index| node_id(&cluster, index)).collect();
    let ids = ids?;
    let forced = cluster.stop(Duration::from_secs(90))?;
    check(forced.is_empty(), || {
        format!("did not power off: {}", forced.join(", "))
    })?;
    drop(cluster);

    let mut cluster = context.ready(spec)?;
    for (index, id) in ids.iter().enumerate() {
        check(&node_id(&cluster, index)? == id, || {
            "a node has another id".into()
        })?;
    }
    let status = cluster.status();
    for node in &status.nodes {
        check(node.previous_boot == "clean", || {
            format!("{} calls a clean stop '{}'", node.name, node.previous_boot)
        })?;
    }
    everywhere(&cluster, &Etcd::of(&cluster)?, "kept", "over the night")
}

fn a_killed_etcd_is_restarted(context: &Context) -> Outcome {
    let mut cluster = three(context)?;
    let name = follower(&cluster.status())?;
    let index = cluster.index(&name)?;
    let unit = |cluster: &Cluster| {
        let api = cluster.node(index)?.api()?;
        api.unit("etcd.service")
            .map_err(|error| Stop::Failed(error.to_string()))
    };
    let before = unit(&cluster)?;
    let mut console = cluster.node_mut(index)?.vm().serial();
    console.skip_to_end();
    cluster.inject(&Fault::Kill {
        node: name,
        unit: "etcd.service".into(),
    })?;
    // PID 1 says what the kernel counts in the group, before it starts anything there again.
    let said = console.wait_for("etcd.service ended (signal)", RETURN)?;
    check(said.contains("its control group is empty"), || said)?;
    let deadline = Instant::now() + RETURN;
    loop {
        let now = unit(&cluster)?;
        if now.active == "active" && now.main_pid.is_some() && now.main_pid != before.main_pid {
            check(now.restarts > before.restarts, || {
                "the restart was not counted".into()
            })?;
            break;
        }
        check(Instant::now() < deadline, || {
            format!("etcd stays {} ({})", now.active, now.sub)
        })?;
        thread::sleep(Duration::from_millis(300));
    }
    context.wait_ready(&mut cluster).map(drop)
}

fn a_partition_of_a_minute_heals(context: &Context) -> Outcome {
    let mut cluster = three(context)?;
    let etcd = Etcd::of(&cluster)?;
    let alone = leader(&cluster.status())?;
    let names = cluster.nodes().iter().map(|node| node.name().to_owned());
    let others: Vec<String> = names.filter(|name| *name != alone).collect();
    context.say(&format!(
        "{alone}, the leader, is cut off from {}",
        others.join(" and ")
    ));
    cluster.inject(&Fault::Partition {
        groups: vec![vec![alone.clone()], others.clone()],
    })?;
    let started = Instant::now();
    etcd.put_within("during", "the partition", ELECTION)?;
    cluster.wait_for("another leader, and all to say so", ELECTION, |status| {
        let healthy = |name: &str| {
            let mut members = status.etcd.members.iter();
            members.any(|member| member.name == name && member.healthy)
        };
        status.leader().is_some_and(|name| name != alone)
            && others.iter().all(|name| healthy(name))
            && !healthy(&alone)
            && status
                .node(&alone)
                .is_some_and(|node| node.notes.iter().any(|note| note.contains("no quorum")))
    })?;
    refuses_without_a_quorum(context, &etcd, &alone)?;
    for name in &others {
        let found = etcd.get_within(name, "during", ELECTION)?;
        check(found.as_deref() == Some("the partition"), || {
            format!("{name}, of the majority, says {found:?}")
        })?;
    }
    etcd.put_within("later", "in the partition", ELECTION)?;
    thread::sleep(Duration::from_secs(60).saturating_sub(started.elapsed()));

    cluster.inject(&Fault::Heal)?;
    context.wait_ready(&mut cluster)?;
    context.say("healed");
    everywhere(&cluster, &etcd, "during", "the partition")?;
    everywhere(&cluster, &etcd, "later", "in the partition")?;
    context.say("every member answers");
    let refused = etcd.get_within(&alone, REFUSED, ELECTION)?;
    check(refused.is_none(), || {
        format!("what was refused was written: {refused:?}")
    })?;
    // Nobody was restarted for it: the partition was the LAN's fault.
    for node in cluster.nodes() {
        let unit = node.api()?.unit("etcd.service");
        let unit = unit.map_err(|error| Stop::Failed(error.to_string()))?;
        check(unit.restarts == 0, || {
            format!("etcd of {} was restarted", node.name())
        })?;
    }
    Ok(())
}

/// A key that nobody may ever read.
const REFUSED: &str = "refused";

/// It is there and answers, and says itself that it cannot.
fn refuses_without_a_quorum(context: &Context, etcd: &Etcd, alone: &str) -> Outcome {
    for said in [
        etcd.refused_get(alone, "during")?,
        etcd.refused_put(alone, REFUSED, "by the minority")?,
    ] {
        context.say(&format!("{alone} says: {said}"));
        // The last is how a read ends that finds no leader to ask.
        let reasons = [
            "etcdserver: request timed out",
            "etcdserver: no leader",
            "etcdserver: leader changed",
            "context deadline exceeded",
        ];
        check(reasons.iter().any(|reason| said.contains(reason)), || {
            format!("{alone} refuses for another reason: {said}")
        })?;
    }
    Ok(())
}

fn a_frozen_leader_is_replaced(context: &Context) -> Outcome {
    let mut cluster = three(context)?;
    let etcd = Etcd::of(&cluster)?;
    let frozen = leader(&cluster.status())?;
    cluster.inject(&Fault::Freeze {
        node: frozen.clone(),
    })?;
    etcd.put_within("while", "it was frozen", ELECTION)?;
    cluster.wait_for("another leader", ELECTION, |status| {
        status.leader().is_some_and(|name| name != frozen)
    })?;
    cluster.inject(&Fault::Thaw { node: frozen })?;
    context.wait_ready(&mut cluster)?;
    everywhere(&cluster, &etcd, "while", "it was frozen")
}

fn a_bad_lan_is_slow_but_works(context: &Context) -> Outcome {
    let mut spec = context.cluster("node-cloud")?;
    spec.boot = BootWay::Direct;
    let bad = Line {
        loss: 0.02,
        duplicate: 0.01,
        delay_ms: 5,
        jitter_ms: 10,
        ..Line::default()
    };
    spec.lines = (1..=3).map(|number| (format!("t-{number}"), bad)).collect();
    let cluster = context.ready(spec)?;
    let etcd = Etcd::of(&cluster)?;
    for number in 0..20 {
        etcd.put_within("counted", &number.to_string(), ELECTION)?;
    }
    check(cluster.switch().counters().lost > 0, || {
        "the LAN was not bad".into()
    })?;
    everywhere(&cluster, &etcd, "counted", "19")
}

fn an_agent_joins(context: &Context) -> Outcome {
    let mut spec = context.cluster("node-cloud")?;
    spec.boot = BootWay::Direct;
    spec.masters = 1;
    spec.agents = 1;
    let mut cluster = context.ready(spec)?;
    let status = cluster.status();
    let agent = status.node("t-2").map(|node| node.roles.clone());
    check(agent.as_deref() == Some(&["agent".to_owned()]), || {
        format!("roles of t-2: {agent:?}")
    })?;
    check(status.etcd.members.len() == 1, || {
        "an agent is no etcd member".into()
    })
}

fn clocks_half_an_hour_apart(context: &Context) -> Outcome {
    let mut spec = context.cluster("node-cloud")?;
    spec.boot = BootWay::Direct;
    let ahead = OffsetDateTime::now_utc() + time::Duration::minutes(30);
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let ahead = ahead
        .format(format)
        .map_err(|error| Stop::Failed(error.to_string()))?;
    let mut cluster = Cluster::create(spec)?;
    cluster.inject(&Fault::Clock {
        node: "t-2".into(),
        base: ahead,
    })?;
    cluster.start()?;
    context.wait_ready(&mut cluster)?;
    let etcd = Etcd::of(&cluster)?;
    etcd.put("agreed", "by all")?;
    everywhere(&cluster, &etcd, "agreed", "by all")
}

/// The state partition gets what the image leaves of the disk: next to nothing.
fn a_disk_too_small_for_etcd_is_told(context: &Context) -> Outcome {
    let mut spec = context.cluster("node-cloud")?;
    spec.masters = 1;
    spec.boot = BootWay::Direct;
    let raw = spec.image.required("raw")?;
    let image = std::fs::metadata(&raw).map_err(|error| Stop::Failed(error.to_string()))?;
    spec.disk_bytes = image.len() + (48 << 20);
    let mut cluster = Cluster::create(spec)?;
    cluster.start()?;
    let status = cluster.wait_for("the node to say what is wrong", RETURN, |status| {
        let node = status.nodes.first();
        node.is_some_and(|node| node.reachable && !node.ready && !node.notes.is_empty())
    })?;
    context.say(&status.in_a_line());
    thread::sleep(Duration::from_secs(20));
    let status = cluster.status();
    check(status.nodes.iter().all(|node| node.reachable), || {
        "a full disk took the node's API with it".into()
    })
}
