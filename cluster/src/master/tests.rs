//! Masters at work: configs for all tests, and a whole cluster with the etcd of the images.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::time::Instant;

use client::ca::Roots;
use client::trust::Root;
use image::tool::Tools;
use spec_api::ClusterView;
use spec_config::{
    Cluster, Issuer, Issuers, Network, Node, Role, Schema, Secret, Trust, TrustStore,
};
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;

use super::*;
use crate::guard;

/// Configs of masters dev-1, dev-2 and so on, at these addresses.
pub(super) fn cluster(addresses: &[&str]) -> Vec<Config> {
    let id = "00112233445566778899aabbccddeeff";
    let roots = Roots::new(id).unwrap();
    let pem = |root| {
        TrustStore::from(vec![
            roots
                .get(root)
                .unwrap()
                .certificate_pem()
                .parse::<Pem>()
                .unwrap(),
        ])
    };
    let masters: Vec<spec_config::Master> = (1..)
        .zip(addresses)
        .map(|(n, address)| spec_config::Master {
            name: format!("dev-{n}").parse().unwrap(),
            address: address.parse::<IpAddr>().unwrap(),
        })
        .collect();
    let config = |master: &spec_config::Master| {
        let issuer = |root| {
            let made = roots.intermediate(root, master.name.as_str()).unwrap();
            Issuer {
                certificate: made.certificate_pem().parse().unwrap(),
                key: Secret::new(made.key_pem()),
            }
        };
        Config {
            schema: Schema,
            cluster: Cluster {
                id: id.parse().unwrap(),
                name: "dev".parse().unwrap(),
                masters: masters.clone(),
                join_token: Secret::new("join-token-of-the-test"),
            },
            node: Node {
                hostname: master.name.clone(),
                roles: vec![Role::Master],
            },
            network: Network::default(),
            time: spec_config::Time::default(),
            trust: Trust {
                node_api: pem(Root::NodeApi),
                etcd_peer: pem(Root::EtcdPeer),
                etcd_client: pem(Root::EtcdClient),
                cluster: pem(Root::Cluster),
                issuers: Some(Issuers {
                    node_api: issuer(Root::NodeApi),
                    etcd_peer: issuer(Root::EtcdPeer),
                    etcd_client: issuer(Root::EtcdClient),
                    cluster: issuer(Root::Cluster),
                }),
            },
        }
    };
    masters.iter().map(config).collect()
}

/// etcd as it is locked for the images; nothing where it is not in the cache and no mirror can be reached.
fn locked_etcd(within: &Path) -> Option<Rc<Tools>> {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/node-cloud.toml");
    let needed = ["etcd-server", "libc6"];
    let tools = Tools::locked(
        &recipe,
        |lock| {
            let packages = lock.packages.iter();
            let chosen = packages.filter(|package| needed.contains(&package.name.as_str()));
            chosen.cloned().collect()
        },
        within,
    );
    match tools {
        Err(error @ (image::Error::Network(_) | image::Error::Gone(_))) => {
            qemu_tests::runner::skip(&error.to_string());
            None
        }
        tools => Some(Rc::new(tools.unwrap())),
    }
}

/// A node: its folder is its disk, and this plays PID 1 for etcd.
struct Machine {
    tools: Rc<Tools>,
    config: Config,
    folder: tempfile::TempDir,
    etcd: Option<Child>,
    master: Option<JoinHandle<()>>,
}

impl Machine {
    fn new(config: Config, tools: Rc<Tools>) -> Self {
        Self {
            tools,
            config,
            folder: tempfile::tempdir().unwrap(),
            etcd: None,
            master: None,
        }
    }

    fn places(&self) -> Places {
        let folder = self.folder.path();
        let address = self.config.own_master().unwrap().address;
        Places {
            record: folder.join("member.json"),
            keys: folder.join("keys"),
            environment: folder.join("etcd.env"),
            socket: folder.join("cluster.sock"),
            data: folder.join("etcd"),
            endpoint: SocketAddr::new(address, port::CLUSTER),
        }
    }

    async fn switch_on(&mut self) {
        std::fs::create_dir_all(self.places().data).unwrap();
        let _ = std::fs::remove_file(self.places().environment);
        // The tasks of an earlier life end at their next turn.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let master = Master::start(self.config.clone(), self.places())
            .await
            .unwrap();
        self.master = Some(tokio::spawn(async move {
            let error = master.run().await.unwrap_err();
            panic!("{error}");
        }));
    }

    /// Starts etcd when its environment is there, and again whenever it has ended: `Restart=always`, with the guard
    /// before and after.
    fn supervise(&mut self) {
        let environment = std::fs::read_to_string(self.places().environment).unwrap_or_default();
        let variables: Vec<_> = environment
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let value = |name| {
            let variable = variables.iter().find(|(known, _)| *known == name);
            variable.map(|(_, value)| *value)
        };
        let Some(data) = value("ETCD_DATA_DIR").map(Path::new) else {
            return;
        };
        let start = guard::Start {
            data: data.to_owned(),
            confirmed: value(guard::CONFIRMED) == Some("true"),
            invocation: "the one that this node waits for".to_owned(),
        };
        if let Some(etcd) = &mut self.etcd {
            if etcd.try_wait().unwrap().is_none() {
                return;
            }
            self.etcd = None;
            guard::ended(&start).unwrap();
        }
        if let Err(reason) = guard::before_start(&start, || "3.5".parse()) {
            eprintln!("{reason}");
            return;
        }
        let log = self.folder.path().join("etcd.log");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let mut etcd = self.tools.command("etcd").unwrap();
        etcd.envs(variables).stdout(Stdio::null()).stderr(log);
        self.etcd = Some(etcd.spawn().unwrap());
    }

    fn switch_off(&mut self) {
        if let Some(master) = self.master.take() {
            master.abort();
        }
        if let Some(mut etcd) = self.etcd.take() {
            etcd.kill().unwrap();
            etcd.wait().unwrap();
        }
    }

    fn wipe(&mut self) {
        self.folder = tempfile::tempdir().unwrap();
    }

    async fn view(&self) -> ClusterView {
        let mut text = String::new();
        let Ok(mut stream) = tokio::net::UnixStream::connect(self.places().socket).await else {
            return ClusterView::default();
        };
        stream.read_to_string(&mut text).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.switch_off();
    }
}

/// Looks after all machines until `done`; gives up when that is never.
async fn until(machines: &mut [Machine], what: &str, done: impl Fn(&[ClusterView]) -> bool) {
    let began = Instant::now();
    loop {
        let mut views = Vec::new();
        for machine in machines
            .iter_mut()
            .filter(|machine| machine.master.is_some())
        {
            machine.supervise();
            views.push(machine.view().await);
        }
        if done(&views) {
            eprintln!("{what}: after {:.1} s", began.elapsed().as_secs_f64());
            return;
        }
        if began.elapsed() > Duration::from_secs(300) {
            let logs = machines
                .iter()
                .map(|machine| log_tail(machine.folder.path()))
                .collect::<String>();
            panic!("{what}: never; {views:#?}\n{logs}");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn log_tail(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("etcd.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines
        .iter()
        .rev()
        .take(5)
        .rev()
        .map(|line| line.chars().take(300).collect::<String>());
    format!("{}\n\n", tail.collect::<Vec<_>>().join("\n"))
}

fn healthy(views: &[ClusterView], voters: usize) -> bool {
    views.iter().all(|view| {
        let voting = view
            .members
            .iter()
            .filter(|member| member.healthy && !member.learner)
            .count();
        voting == voters
            && view.members.len() == voters
            && view.members.iter().filter(|m| m.leader).count() == 1
    })
}

#[tokio::test]
async fn a_cluster_begins_and_replaces_what_is_lost_or_taken_out() {
    tls::install_provider();
    let folder = tempfile::tempdir().unwrap();
    let Some(etcd) = locked_etcd(folder.path()) else {
        return;
    };
    let mut machines: Vec<Machine> = cluster(&["127.0.1.1", "127.0.1.2", "127.0.1.3"])
        .into_iter()
        .map(|config| Machine::new(config, etcd.clone()))
        .collect();
    begins_when_all_are_there(&mut machines).await;
    let first = ids(&machines[0].view().await.members);

    machines[1].switch_off();
    machines[1].switch_on().await;
    until_healthy(&mut machines, "one that was switched off comes back").await;
    assert_eq!(ids(&machines[0].view().await.members), first);

    machines[2].switch_off();
    machines[2].wipe();
    machines[2].switch_on().await;
    until_healthy(&mut machines, "one that lost its disk is replaced").await;
    let second = ids(&machines[0].view().await.members);
    assert_eq!(second[..2], first[..2]);
    assert_ne!(second[2], first[2]);

    take_out(&mut machines, 1, &second[1]).await;
    until(
        &mut machines,
        "one that was taken out enters anew",
        |views| {
            healthy(views, 3)
                && views
                    .iter()
                    .all(|view| !ids(&view.members).contains(&second[1]))
        },
    )
    .await;
    let third = ids(&machines[0].view().await.members);
    assert_eq!((&third[0], &third[2]), (&second[0], &second[2]));

    for machine in &mut machines {
        machine.switch_off();
    }
    for machine in &mut machines {
        machine.switch_on().await;
    }
    until_healthy(&mut machines, "all were switched off and come back").await;
    assert_eq!(ids(&machines[0].view().await.members), third);
}

async fn begins_when_all_are_there(machines: &mut [Machine]) {
    machines[0].switch_on().await;
    machines[1].switch_on().await;
    until(
        machines,
        "the first two wait for the third by name",
        |views| {
            views.iter().all(|view| {
                !view.decided && view.waiting.len() == 1 && view.waiting[0].starts_with("dev-3 ")
            })
        },
    )
    .await;
    machines[2].switch_on().await;
    until_healthy(machines, "three members are healthy").await;
}

async fn until_healthy(machines: &mut [Machine], what: &str) {
    let count = machines.len();
    until(machines, what, |views| healthy(views, count)).await;
}

/// As an operator would, while the member and its master run.
async fn take_out(machines: &mut [Machine], at: usize, id: &str) {
    let machine = &machines[at];
    let files = Files::new(machine.folder.path().join("other-keys"));
    let own = credentials::renew(&machine.config, &files).unwrap();
    let links = Links::new(&machine.config, &own).unwrap();
    let id = u64::from_str_radix(id, 16).unwrap();
    // etcd refuses until it has seen all members well for a while.
    while let Err(error) = links.remove(id).await {
        assert_eq!(error.status(), Some(503), "{error}");
        machines.iter_mut().for_each(Machine::supervise);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Member ids in the order of the nodes' names.
fn ids(members: &[spec_api::EtcdMember]) -> Vec<String> {
    let mut members: Vec<_> = members
        .iter()
        .map(|member| (member.name.clone(), member.id.clone()))
        .collect();
    members.sort();
    members.into_iter().map(|(_, id)| id).collect()
}
