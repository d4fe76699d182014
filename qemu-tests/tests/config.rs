//! The machine config of a running node: changed, tried, rolled back, and cut short.

use qemu_tests::{
    Cluster,
    cluster::BootWay,
    fault::Fault,
    runner::{self, Context, Outcome, Stop, Test, check},
};
use spec_api::{ConfigMode, ConfigOutcome, ConfigRequest, ConfigRollback, ConfigView};
use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

const TESTS: &[Test] = &[
    Test::new(
        "a_change_is_taken_up_lasts_and_is_rolled_back",
        1,
        500,
        a_change_is_taken_up_lasts_and_is_rolled_back,
    ),
    Test::new(
        "a_config_that_cuts_the_node_off_goes_back_in_time",
        1,
        400,
        a_config_that_cuts_the_node_off_goes_back_in_time,
    ),
    Test::new(
        "fifty_power_cuts_leave_the_old_config_or_the_new",
        2,
        3600,
        fifty_power_cuts_leave_the_old_config_or_the_new,
    ),
];

fn main() -> ExitCode {
    runner::main("config", TESTS)
}

/// How long a node may take to answer again.
const RETURN: Duration = Duration::from_secs(120);
/// Power cuts.
const CUTS: u32 = 50;

fn one(context: &Context) -> Result<Cluster, Stop> {
    let mut spec = context.cluster("node-cloud")?;
    spec.masters = 1;
    spec.boot = BootWay::Direct;
    context.ready(spec)
}

fn failed(error: client::node::Error) -> Stop {
    Stop::Failed(error.to_string())
}

/// The config in force, once the node answers.
fn shown(cluster: &Cluster) -> Result<ConfigView, Stop> {
    let deadline = Instant::now() + RETURN;
    loop {
        match cluster.node(0)?.api()?.config() {
            Ok(view) => return Ok(view),
            Err(error) if Instant::now() > deadline => return Err(failed(error)),
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn document(view: &ConfigView) -> Result<String, Stop> {
    let document = view.document.clone();
    document.ok_or_else(|| Stop::Failed(format!("no config: {:?}", view.message)))
}

/// The document with this name server and no other.
fn with_server(document: &str, server: &str) -> Result<String, Stop> {
    let mut config: toml::Table =
        toml::from_str(document).map_err(|error| Stop::Failed(error.to_string()))?;
    let network = config
        .get_mut("network")
        .and_then(toml::Value::as_table_mut)
        .ok_or_else(|| Stop::Failed("the config has no network".into()))?;
    network.insert("nameservers".into(), vec![server].into());
    Ok(config.to_string())
}

fn servers(document: &str) -> Result<Vec<String>, Stop> {
    let config: toml::Table =
        toml::from_str(document).map_err(|error| Stop::Failed(error.to_string()))?;
    let list = config
        .get("network")
        .and_then(|network| network.get("nameservers"));
    let list = list
        .and_then(toml::Value::as_array)
        .cloned()
        .unwrap_or_default();
    Ok(list
        .iter()
        .filter_map(|server| server.as_str().map(str::to_owned))
        .collect())
}

fn request(document: String, mode: ConfigMode) -> ConfigRequest {
    ConfigRequest { document, mode }
}

fn a_change_is_taken_up_lasts_and_is_rolled_back(context: &Context) -> Outcome {
    let mut cluster = one(context)?;
    let before = document(&shown(&cluster)?)?;
    check(!before.contains("BEGIN PRIVATE KEY"), || {
        "the API shows a key".into()
    })?;
    let new = with_server(&before, "10.77.0.9")?;
    let api = cluster.node(0)?.api()?;

    let dry = api
        .apply_config(&request(new.clone(), ConfigMode::DryRun))
        .map_err(failed)?;
    check(dry.number.is_none() && dry.differences.len() == 1, || {
        format!("a dry run says {dry:?}")
    })?;
    let began = Instant::now();
    let change = api
        .apply_config(&request(new.clone(), ConfigMode::Now))
        .map_err(failed)?;
    context.say(&format!(
        "taken up after {} ms",
        began.elapsed().as_millis()
    ));
    check(change.number == Some(2), || format!("{change:?}"))?;
    let bad = new.replace("schema = 1", "schema = 1\nnonsense = 2");
    let refused = api.apply_config(&request(bad, ConfigMode::Now));
    check(
        refused.as_ref().is_err_and(|error| {
            error.status() == Some(400) && error.to_string().contains("2:1: unknown field")
        }),
        || format!("nonsense: {refused:?}"),
    )?;
    let huge = api.apply_config(&request("#".repeat(10 << 20), ConfigMode::Now));
    check(
        huge.as_ref().is_err_and(|e| e.status() == Some(413)),
        || format!("10 MB: {huge:?}"),
    )?;

    let name = cluster.node(0)?.name().to_owned();
    cluster.inject(&Fault::PowerCut { node: name })?;
    cluster.inject(&Fault::PowerBack)?;
    let after = document(&shown(&cluster)?)?;
    check(servers(&after)? == ["10.77.0.9"], || {
        format!("after a power cut it has {after}")
    })?;

    let api = cluster.node(0)?.api()?;
    let back = ConfigRollback {
        number: None,
        mode: ConfigMode::Now,
    };
    api.roll_back_config(&back).map_err(failed)?;
    let again = document(&shown(&cluster)?)?;
    check(again == before, || format!("rolled back to {again}"))?;
    let outcomes: Vec<(u64, ConfigOutcome)> = api
        .config_history()
        .map_err(failed)?
        .iter()
        .map(|entry| (entry.number, entry.outcome))
        .collect();
    check(
        outcomes
            == [
                (3, ConfigOutcome::InForce),
                (2, ConfigOutcome::Replaced),
                (1, ConfigOutcome::Replaced),
            ],
        || format!("history: {outcomes:?}"),
    )
}

/// No route but to itself: the gateway, by which the operator comes, is out of reach.
fn cut_off(document: &str) -> Result<String, Stop> {
    let mut config: toml::Table =
        toml::from_str(document).map_err(|error| Stop::Failed(error.to_string()))?;
    let link = config
        .get_mut("network")
        .and_then(|network| network.get_mut("links"))
        .and_then(|links| links.get_mut(0))
        .and_then(toml::Value::as_table_mut)
        .ok_or_else(|| Stop::Failed("the config has no link".into()))?;
    let address = link
        .get("addresses")
        .and_then(|addresses| addresses.get(0))
        .and_then(toml::Value::as_str)
        .unwrap_or_default();
    let alone = address.replace("/24", "/32");
    link.insert("addresses".into(), vec![alone].into());
    link.insert("routes".into(), toml::Value::Array(Vec::new()));
    Ok(config.to_string())
}

fn a_config_that_cuts_the_node_off_goes_back_in_time(context: &Context) -> Outcome {
    const TRIAL: u32 = 20;
    let cluster = one(context)?;
    let before = document(&shown(&cluster)?)?;
    let api = cluster.node(0)?.api()?;
    let lonely = request(cut_off(&before)?, ConfigMode::Try(TRIAL));
    let began = Instant::now();
    // Its answer may not find the way any more.
    match api.apply_config(&lonely) {
        Ok(change) => context.say(&format!("it answered: {:?}", change.trial_seconds)),
        Err(error) => context.say(&format!("no answer came: {error}")),
    }
    let silent = cluster.node(0)?.api()?.status();
    check(
        silent.is_err() || began.elapsed() > Duration::from_secs(TRIAL.into()),
        || "the node answers though it should be cut off".into(),
    )?;
    let view = shown(&cluster)?;
    context.say(&format!(
        "it answers again after {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    check(
        began.elapsed() < Duration::from_secs(u64::from(TRIAL) + 60),
        || format!("it was away for {} s", began.elapsed().as_secs()),
    )?;
    check(document(&view)? == before && view.trial.is_none(), || {
        format!("it came back with {view:?}")
    })?;
    let history = cluster.node(0)?.api()?.config_history().map_err(failed)?;
    let outcome = history.first().map(|entry| entry.outcome);
    check(outcome == Some(ConfigOutcome::WentBack), || {
        format!("history: {history:?}")
    })
}

fn fifty_power_cuts_leave_the_old_config_or_the_new(context: &Context) -> Outcome {
    let mut cluster = one(context)?;
    let name = cluster.node(0)?.name().to_owned();
    let before = document(&shown(&cluster)?)?;
    let mut server = Vec::new();
    let (mut old, mut new) = (0, 0);
    for cut in 1..=CUTS {
        let next = format!("10.77.1.{cut}");
        let api = cluster.node(0)?.api()?;
        let asked = request(with_server(&before, &next)?, ConfigMode::Now);
        let asking = thread::spawn(move || api.apply_config(&asked).is_ok());
        // From before the request is read to after it is answered.
        thread::sleep(Duration::from_millis(u64::from(cut) * 37 % 700));
        cluster.inject(&Fault::PowerCut { node: name.clone() })?;
        let answered = asking.join().unwrap_or(false);
        cluster.inject(&Fault::PowerBack)?;
        let view = shown(&cluster)?;
        let found = servers(&document(&view)?)?;
        let is_new = found == [next.as_str()];
        check(is_new || (!answered && found == server), || {
            format!(
                "cut {cut}: {found:?}, neither {server:?} nor {next}; answered: {answered}; {:?}",
                view.message
            )
        })?;
        if is_new {
            new += 1
        } else {
            old += 1
        }
        server = found;
    }
    context.say(&format!(
        "{old} boots with the old config, {new} with the new"
    ));
    check(old > 0 && new > 0, || {
        format!("the cuts missed the moment: {old} old, {new} new")
    })
}
