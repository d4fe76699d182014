//! Masters at work: configs for all tests, and whole clusters against a real etcd.
//!
//! The latter need etcd and take a minute: `BEDPLATE_TEST_ETCD=/usr/bin/etcd cargo test -p cluster -- --ignored`.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use client::ca::Roots;
use client::trust::Root;
use spec_api::ClusterView;
use spec_config::{Cluster, Issuer, Issuers, Network, Node, Role, Secret, Trust};
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;

use super::*;

/// Configs of masters dev-1, dev-2 and so on, at these addresses.
pub(super) fn cluster(addresses: &[&str]) -> Vec<Config> {
    let id = "00112233445566778899aabbccddeeff";
    let roots = Roots::new(id).unwrap();
    let pem = |root| {
        vec![
            roots
                .get(root)
                .unwrap()
                .certificate_pem()
                .parse::<Pem>()
                .unwrap(),
        ]
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
            cluster: Cluster {
                id: id.parse().unwrap(),
                name: "dev".parse().unwrap(),
                masters: masters.clone(),
                join_token: Some(Secret::new("join-token-of-the-test")),
            },
            node: Node {
                hostname: master.name.clone(),
                roles: vec![Role::Master],
            },
            network: Network::default(),
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

/// A node: its folder is its disk, and this plays PID 1 for etcd.
struct Machine {
    config: Config,
    folder: tempfile::TempDir,
    etcd: Option<Child>,
    master: Option<JoinHandle<()>>,
}

impl Machine {
    fn new(config: Config) -> Self {
        Self {
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

    /// Starts etcd when its environment is there, and again whenever it has ended: `Restart=always`.
    fn supervise(&mut self) {
        let ended = self
            .etcd
            .as_mut()
            .is_none_or(|etcd| etcd.try_wait().unwrap().is_some());
        let Ok(environment) = std::fs::read_to_string(self.places().environment) else {
            return;
        };
        if ended {
            let log = self.folder.path().join("etcd.log");
            let log = std::fs::File::options()
                .create(true)
                .append(true)
                .open(log)
                .unwrap();
            let variables = environment.lines().filter_map(|line| line.split_once('='));
            let etcd = Command::new(std::env::var("BEDPLATE_TEST_ETCD").unwrap())
                .env_clear()
                .envs(variables)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn();
            self.etcd = Some(etcd.unwrap());
        }
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

/// Looks after all machines until `done`, for at most a minute.
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
        if began.elapsed() > Duration::from_secs(90) {
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
#[ignore = "needs etcd: BEDPLATE_TEST_ETCD"]
async fn three_masters_bootstrap_and_one_that_lost_its_disk_is_replaced() {
    tls::install_provider();
    let mut machines: Vec<Machine> = cluster(&["127.0.1.1", "127.0.1.2", "127.0.1.3"])
        .into_iter()
        .map(Machine::new)
        .collect();

    machines[0].switch_on().await;
    machines[1].switch_on().await;
    until(
        &mut machines,
        "the first two wait for the third by name",
        |views| {
            views.iter().all(|view| {
                !view.decided && view.waiting.len() == 1 && view.waiting[0].starts_with("dev-3 ")
            })
        },
    )
    .await;
    machines[2].switch_on().await;
    until(&mut machines, "three members are healthy", |views| {
        healthy(views, 3)
    })
    .await;
    let first = machines[0].view().await.members;

    machines[1].switch_off();
    machines[1].switch_on().await;
    until(
        &mut machines,
        "one that was switched off comes back",
        |views| healthy(views, 3),
    )
    .await;
    assert_eq!(ids(&machines[0].view().await.members), ids(&first));

    machines[2].switch_off();
    machines[2].wipe();
    machines[2].switch_on().await;
    until(
        &mut machines,
        "one that lost its disk is replaced",
        |views| healthy(views, 3),
    )
    .await;
    let second = machines[0].view().await.members;
    assert_eq!(ids(&second)[..2], ids(&first)[..2]);
    assert_ne!(ids(&second)[2], ids(&first)[2]);

    for machine in &mut machines {
        machine.switch_off();
    }
    for machine in &mut machines {
        machine.switch_on().await;
    }
    until(
        &mut machines,
        "all were switched off and come back",
        |views| healthy(views, 3),
    )
    .await;
    assert_eq!(ids(&machines[0].view().await.members), ids(&second));
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
