//! `bedplate up`: from a recipe to a running cluster.

use std::path::Path;
use std::time::{Duration, Instant};

use qemu_tests::ClusterStatus;

use super::daemon::Size;
use crate::cluster_folder::ClusterFolder;
use crate::daemon::{Connection, Description, Reply, Request};
use crate::exit::Error;
use crate::images::{self, Purpose};
use crate::machine::{self, Area, Consent};
use crate::node::Which;
use crate::output::Output;
use crate::programs;
use crate::progress::Progress;
use crate::view::{self, View};
use crate::workspace::Workspace;

/// Copying disks and making keys may take this long before the daemon answers.
const CREATE: Duration = Duration::from_secs(300);
/// Two statuses are never further apart than this, even with nodes that do not answer.
const LOOK: Duration = Duration::from_secs(60);

/// Build the image if needed, start a cluster of it, wait until it is ready.
///
/// An existing cluster keeps its disks, keys and configs; `down --wipe` removes them. If this command is
/// interrupted before the cluster is ready, nothing is left running.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// The recipe: a file, or the name of one in recipes/.
    #[arg(long, default_value = "node-cloud")]
    recipe: String,
    #[command(flatten)]
    size: Size,
    /// Seconds to wait until the cluster is ready.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
    /// Install what this machine lacks without asking.
    #[arg(long)]
    yes: bool,
}

/// Builds, starts, waits, shows.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let folder = ClusterFolder::of(&args.which.name)?;
    let mut connection = match Connection::open(&folder)? {
        Some(connection) => connection,
        None => start(args, &folder, output)?,
    };
    let description = connection.describe()?;
    same(args, &description)?;
    connection.ask(&Request::Start, CREATE)?;
    let outcome = wait(
        &mut connection,
        description,
        Duration::from_secs(args.timeout),
    );
    // Ready or late, it stays; only an `up` that is interrupted takes it down.
    connection.ask(&Request::Release, LOOK)?;
    let status = outcome?;
    if output.is_json() {
        return output.json(&status);
    }
    view::tables(&status, output);
    Ok(())
}

/// Everything that is needed, built; the daemon, started.
fn start(args: &Args, folder: &ClusterFolder, output: &Output) -> Result<Connection, Error> {
    let workspace = Workspace::find()?;
    let recipe = workspace.recipe(&args.recipe)?;
    let consent = Consent::from_flag(args.yes);
    machine::ensure(&[Area::Build, Area::Run], &workspace, consent)?;
    let progress = Progress::new();
    let programs = programs::compile(&workspace, &progress, consent)?;
    let image = images::build(&workspace, &recipe, Purpose::Up, &programs, &progress)?;
    folder.make()?;
    let mut arguments = args.size.arguments();
    arguments.push(format!("--recipe={}", name(&recipe)));
    arguments.push(format!("--image={}", image.folder.display()));
    arguments.push(format!("--root-hash={}", image.build.root_hash));
    let mut connection = Connection::spawn(folder, &arguments)?;
    // The daemon answers once keys, configs and disks are made.
    connection.ask(&Request::Describe, CREATE)?;
    same_build(&connection.describe()?, &image.build, output)?;
    Ok(connection)
}

fn name(recipe: &Path) -> String {
    recipe
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A cluster's disks stay, of whatever build they were made. If that is another than the one just made, says so; a direct
/// boot is refused, since its kernel would be of the new build and look for that one's root.
fn same_build(cluster: &Description, build: &image::Build, output: &Output) -> Result<(), Error> {
    let old: Vec<&str> = cluster
        .nodes
        .iter()
        .filter(|node| node.root_hash.as_ref() != Some(&build.root_hash))
        .map(|node| node.name.as_str())
        .collect();
    if old.is_empty() {
        return Ok(());
    }
    let name = &cluster.name;
    let other = format!(
        "cluster {name} keeps its disks; {} of another build than {} {} just built: {}; \
         `cargo bedplate down --wipe --name {name}` first makes them anew",
        if old.len() == 1 { "one is" } else { "some are" },
        build.id,
        build.version,
        old.join(", ")
    );
    if cluster.direct {
        return Err(Error::Failed(format!(
            "{other}; without --direct they boot what they hold"
        )));
    }
    output.warn(&other);
    Ok(())
}

/// A running cluster is not turned into another one.
fn same(args: &Args, running: &Description) -> Result<(), Error> {
    let Size {
        nodes,
        memory,
        cpus,
        direct,
    } = args.size;
    let asked = (nodes as usize, memory, cpus, direct);
    let runs = (
        running.nodes.len(),
        running.memory_mib,
        running.cpus,
        running.direct,
    );
    if asked == runs && name(Path::new(&args.recipe)) == running.recipe {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "cluster {} runs already, with --nodes {} --memory {} --cpus {}{} of {}; take it down first, or give another --name",
        running.name,
        runs.0,
        runs.1,
        runs.2,
        if running.direct { " --direct" } else { "" },
        running.recipe
    )))
}

fn wait(
    connection: &mut Connection,
    description: Description,
    timeout: Duration,
) -> Result<ClusterStatus, Error> {
    let deadline = Instant::now() + timeout;
    let name = description.name.clone();
    let mut view = View::new(description);
    connection.send(&Request::Watch)?;
    loop {
        let status = match connection.receive(LOOK)? {
            Reply::Status(status) => *status,
            Reply::Error(message) => return Err(Error::Failed(message)),
            other => {
                return Err(Error::Failed(format!(
                    "the daemon answered {other:?} to a watch"
                )));
            }
        };
        view.show(&status);
        if status.healthy() {
            view.finish();
            return Ok(status);
        }
        if let Some(why) = status.given_up() {
            view.finish();
            return Err(Error::NotReady(format!(
                "cluster {name} will not be ready: {why}; `bedplate down --name {name}` stops it"
            )));
        }
        if Instant::now() >= deadline {
            view.finish();
            return Err(Error::NotReady(format!(
                "cluster {name} is not ready after {} s: {}; it goes on running: `bedplate status`, `bedplate logs`, \
                 `bedplate logs --serial NODE` show more, `bedplate down` stops it",
                timeout.as_secs(),
                status.in_a_line()
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(root_hash: &str) -> image::Build {
        image::Build {
            id: "node".into(),
            version: "1".into(),
            root_hash: root_hash.into(),
            artifacts: Vec::new(),
            manifest: "manifest.json".into(),
            unchanged: false,
        }
    }

    fn node(name: &str, root_hash: Option<&str>) -> crate::daemon::NodeDescription {
        crate::daemon::NodeDescription {
            name: name.into(),
            address: "10.77.0.11".into(),
            root_hash: root_hash.map(str::to_owned),
            api: ([127, 0, 0, 1], 1).into(),
            console: "console".into(),
            serial_log: "serial.log".into(),
            pid: None,
        }
    }

    fn running(nodes: Vec<crate::daemon::NodeDescription>) -> Description {
        Description {
            name: "dev".into(),
            recipe: "node-cloud".into(),
            image: "node-cloud_1".into(),
            memory_mib: 512,
            cpus: 1,
            direct: false,
            pid: 1,
            nodes,
        }
    }

    #[test]
    fn old_disks_are_not_booted_by_a_new_kernel() {
        let check = |hashes: [Option<&str>; 2], direct: bool| {
            let nodes = ["dev-1", "dev-2"].into_iter().zip(hashes);
            let mut cluster = running(nodes.map(|(name, hash)| node(name, hash)).collect());
            cluster.direct = direct;
            same_build(&cluster, &build("bb"), &Output::new(true))
                .map_err(|error| error.to_string())
        };
        assert_eq!(check([Some("bb"), Some("bb")], true), Ok(()));
        assert_eq!(check([Some("aa"), Some("aa")], false), Ok(()));
        for old in [Some("aa"), None] {
            let error = check([Some("bb"), old], true).expect_err("mixed");
            assert!(
                error.contains("just built: dev-2; ")
                    && error.contains("down --wipe --name dev")
                    && error.contains("without --direct"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_cluster_of_another_size_is_another_cluster() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let check = |words: &[&str], running: &Description| {
            let words = ["up"].iter().chain(words);
            let line = <Line as clap::Parser>::try_parse_from(words).expect("good");
            same(&line.args, running).map_err(|error| error.to_string())
        };
        let running = running(vec![
            node("dev-1", None),
            node("dev-2", None),
            node("dev-3", None),
        ]);
        assert_eq!(check(&[], &running), Ok(()));
        for other in [
            &["--nodes=2"][..],
            &["--memory=1024"],
            &["--cpus=2"],
            &["--direct"],
            &["--recipe=debug"],
        ] {
            let message = check(other, &running).expect_err("another cluster");
            assert!(
                message.contains("--nodes 3 --memory 512 --cpus 1 of node-cloud"),
                "{message}"
            );
        }
    }
}
