//! The life of a config, from the first boot on.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use client::ca::Roots;
use client::trust::Root;
use spec_api::{ConfigChange, ConfigMode, ConfigOutcome, ConfigView};
use spec_config::{
    BootFacts, Cluster, Config, ConfigState, Issuer, Issuers, Master, Network, Node, NodeConfig,
    Pem, Role, Schema, Secret, Trust, TrustStore,
};

use super::ask::{Answer, Ask, Problem};
use super::boot::Boot;
use super::keeper::{Keeper, Reload};
use super::ledger::Ledger;
use super::parts::{NETWORK_UNIT, Places, TIME_UNIT};
use crate::node::platform::Found;

pub(super) fn places(folder: &Path) -> Places {
    Places {
        machine_config: folder.join("machine.toml"),
        node_config: folder.join("node-config.json"),
        network_config: folder.join("network.json"),
        time_config: folder.join("time.json"),
        roles: folder.join("roles"),
        trial: folder.join("trial.json"),
        changing: folder.join("changing.json"),
        offer: folder.join("offer.json"),
    }
}

/// The config of a master; always the same.
pub(super) fn master() -> Config {
    thread_local! {
        static MASTER: Config = make_master();
    }
    MASTER.with(Clone::clone)
}

fn make_master() -> Config {
    let id = "00112233445566778899aabbccddeeff";
    let roots = Roots::new(id).unwrap();
    let pem = |root| {
        let certificate = roots.get(root).unwrap().certificate_pem().to_owned();
        TrustStore::from(vec![certificate.parse::<Pem>().unwrap()])
    };
    let issuer = |root| {
        let made = roots.intermediate(root, "dev-1").unwrap();
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
            masters: vec![Master {
                name: "dev-1".parse().unwrap(),
                address: "10.77.0.11".parse().unwrap(),
            }],
            join_token: Secret::new("join-token-of-the-test"),
        },
        node: Node {
            hostname: "dev-1".parse().unwrap(),
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
}

/// The same with a name server more.
fn changed(server: &str) -> Config {
    let mut config = master();
    config.network.nameservers.push(server.parse().unwrap());
    config
}

fn text(config: &Config) -> String {
    config.to_toml().unwrap()
}

fn found(document: &str) -> Option<Found> {
    Some(Found {
        source: "credential bedplate.config".to_owned(),
        document: document.as_bytes().to_vec(),
    })
}

/// Units that note who was reloaded, and may refuse.
#[derive(Clone, Default)]
struct Reloads {
    told: Rc<RefCell<Vec<String>>>,
    refuses: Rc<RefCell<Vec<String>>>,
    dawdles: Rc<Cell<bool>>,
}

impl Reload for Reloads {
    async fn reload(&mut self, unit: &str) -> Result<(), String> {
        self.told.borrow_mut().push(unit.to_owned());
        if self.dawdles.take() {
            std::future::pending::<()>().await;
        }
        self.refuses.borrow_mut().pop().map_or(Ok(()), Err)
    }
}

impl Reloads {
    /// The next ones fail.
    fn fail(&self, times: usize) {
        *self.refuses.borrow_mut() = vec!["no such link".to_owned(); times];
    }
}

/// A node: its state partition and its /run.
struct Machine {
    folder: tempfile::TempDir,
    reloads: Reloads,
}

impl Machine {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            reloads: Reloads::default(),
        }
    }

    /// One that was given [`master`] as a credential.
    fn with_a_credential() -> Self {
        let machine = Self::new();
        let facts = machine.boot(found(&text(&master())));
        assert_eq!(facts.config, ConfigState::Ok, "{facts:?}");
        machine
    }

    fn run(&self) -> std::path::PathBuf {
        self.folder.path().join("run")
    }

    fn ledger(&self) -> Ledger {
        Ledger::at(&self.folder.path().join("state"))
    }

    /// Power off and on: what is below /run is gone.
    fn boot(&self, found: Option<Found>) -> BootFacts {
        let _ = std::fs::remove_dir_all(self.run());
        std::fs::create_dir_all(self.run()).unwrap();
        std::fs::create_dir_all(self.folder.path().join("state")).unwrap();
        let boot = Boot {
            places: places(&self.run()),
            ledger: self.ledger(),
        };
        boot.decide(found, &[])
    }

    async fn keeper(&self) -> Keeper<Reloads> {
        let mut keeper = Keeper::new(places(&self.run()), self.ledger(), self.reloads.clone());
        keeper.resume().unwrap();
        keeper
    }

    /// What the network service would read.
    fn network(&self) -> Network {
        let bytes = std::fs::read(self.run().join("network.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn reloaded(&self) -> Vec<String> {
        std::mem::take(&mut *self.reloads.told.borrow_mut())
    }
}

async fn apply(
    keeper: &mut Keeper<Reloads>,
    config: &Config,
    mode: ConfigMode,
) -> Result<ConfigChange, Problem> {
    let ask = Ask::Apply {
        by: "anna".to_owned(),
        document: text(config),
        mode,
    };
    change(keeper.answer(ask).await)
}

fn change(answer: Answer) -> Result<ConfigChange, Problem> {
    match answer {
        Answer::Change(change) => Ok(change),
        Answer::Problem(problem) => Err(problem),
        other => panic!("{other:?}"),
    }
}

async fn shown(keeper: &mut Keeper<Reloads>) -> ConfigView {
    match keeper.answer(Ask::Show).await {
        Answer::View(view) => view,
        other => panic!("{other:?}"),
    }
}

async fn outcomes(keeper: &mut Keeper<Reloads>) -> Vec<(u64, ConfigOutcome)> {
    match keeper.answer(Ask::History).await {
        Answer::History(entries) => entries
            .into_iter()
            .map(|entry| (entry.number, entry.outcome))
            .collect(),
        other => panic!("{other:?}"),
    }
}

mod at_boot {
    use super::*;

    #[test]
    fn a_good_document_is_taken_up_and_kept() {
        let machine = Machine::new();
        let facts = machine.boot(found(&text(&master())));
        assert_eq!(facts.config, ConfigState::Ok, "{facts:?}");
        assert_eq!(facts.hostname.as_deref(), Some("dev-1"));
        let roles = machine.run().join("roles");
        assert!(roles.join("master").exists() && !roles.join("agent").exists());
        let node = std::fs::read(machine.run().join("node-config.json")).unwrap();
        let node: NodeConfig = serde_json::from_slice(&node).unwrap();
        assert!(node.issuer.is_some());
        assert_eq!(machine.ledger().in_force_number(), Some(1));
    }

    #[test]
    fn without_a_document_the_node_has_no_role_and_says_where_it_looked() {
        let facts = Machine::new().boot(None);
        assert_eq!(facts.config, ConfigState::Missing);
        let message = facts.message.unwrap();
        assert!(message.contains("credential, config disk"), "{message}");
    }

    #[test]
    fn a_broken_document_is_refused_with_its_place_and_takes_up_nothing() {
        let machine = Machine::new();
        let facts = machine.boot(found("schema = 1\nnonsense\n"));
        assert_eq!(facts.config, ConfigState::Invalid);
        let message = facts.message.unwrap();
        assert!(
            message.starts_with("credential bedplate.config:2:"),
            "{message}"
        );
        assert!(!machine.run().join("machine.toml").exists());
        assert!(!machine.run().join("roles").exists());
    }

    #[test]
    fn the_same_offer_again_is_not_news() {
        let machine = Machine::with_a_credential();
        for _ in 0..3 {
            machine.boot(found(&text(&master())));
        }
        assert_eq!(machine.ledger().in_force_number(), Some(1));
    }

    #[test]
    fn a_new_offer_is_taken() {
        let machine = Machine::with_a_credential();
        let facts = machine.boot(found(&text(&changed("10.0.0.1"))));
        assert_eq!(facts.config, ConfigState::Ok);
        assert_eq!(machine.network(), changed("10.0.0.1").network);
        assert_eq!(machine.ledger().in_force_number(), Some(2));
    }

    #[test]
    fn without_an_offer_the_node_is_what_it_was() {
        let machine = Machine::with_a_credential();
        let facts = machine.boot(None);
        assert_eq!(facts.config, ConfigState::Ok);
        let source = facts.message.unwrap();
        assert_eq!(source, "config 1 by credential bedplate.config");
    }

    #[test]
    fn an_offer_that_does_not_hold_or_is_too_new_is_said_and_left() {
        for bad in ["schema = 1\n", "schema = 2 # from a newer image\nx = 1\n"] {
            let machine = Machine::with_a_credential();
            let facts = machine.boot(found(bad));
            assert_eq!(facts.config, ConfigState::Ok);
            let message = facts.message.unwrap();
            assert!(
                message.contains("a new document is refused: credential bedplate.config:1:"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_damaged_history_does_not_keep_the_node_from_its_offer() {
        let machine = Machine::with_a_credential();
        let document = machine.folder.path().join("state/history/1.toml");
        std::fs::write(document, [0xff; 100]).unwrap();
        let facts = machine.boot(found(&text(&master())));
        assert_eq!(facts.config, ConfigState::Ok);
        assert!(facts.message.unwrap().contains("cannot be read"));
    }

    #[tokio::test]
    async fn damage_to_the_last_costs_one_change_and_not_all() {
        let machine = Machine::with_a_credential();
        let mut keeper = machine.keeper().await;
        for server in ["10.0.0.1", "10.0.0.2"] {
            apply(&mut keeper, &changed(server), ConfigMode::Now)
                .await
                .unwrap();
        }
        let document = machine.folder.path().join("state/history/3.toml");
        std::fs::write(document, "").unwrap();
        machine.boot(found(&text(&master())));
        assert_eq!(machine.network(), changed("10.0.0.1").network);
    }
}

#[tokio::test]
async fn a_change_is_taken_up_by_whom_it_concerns_and_lasts() {
    let machine = Machine::with_a_credential();
    let mut keeper = machine.keeper().await;
    let new = changed("10.0.0.1");
    let told = apply(&mut keeper, &new, ConfigMode::Now).await.unwrap();
    assert_eq!(told.differences[0].field, "network.nameservers[0]");
    assert_eq!(told.number, Some(2));
    assert_eq!(machine.reloaded(), [NETWORK_UNIT]);
    assert_eq!(machine.network(), new.network);
    machine.boot(found(&text(&master())));
    assert_eq!(machine.network(), new.network);
}

#[tokio::test]
async fn a_dry_run_tells_and_does_nothing() {
    let machine = Machine::with_a_credential();
    let mut keeper = machine.keeper().await;
    let told = apply(&mut keeper, &changed("10.0.0.1"), ConfigMode::DryRun)
        .await
        .unwrap();
    assert_eq!((told.differences.len(), told.number), (1, None));
    assert_eq!(machine.network(), master().network);
    assert!(machine.reloaded().is_empty());
    assert_eq!(outcomes(&mut keeper).await, [(1, ConfigOutcome::InForce)]);
}

#[tokio::test]
async fn the_config_in_force_again_changes_nothing() {
    let machine = Machine::with_a_credential();
    let mut keeper = machine.keeper().await;
    let told = apply(&mut keeper, &master(), ConfigMode::Now)
        .await
        .unwrap();
    assert_eq!(told, ConfigChange::default());
    assert!(machine.reloaded().is_empty());
}

#[tokio::test]
async fn a_shown_config_can_be_edited_and_brought_back() {
    let machine = Machine::with_a_credential();
    let mut keeper = machine.keeper().await;
    let document = shown(&mut keeper).await.document.unwrap();
    assert!(!document.contains("join-token-of-the-test"));
    let ask = Ask::Apply {
        by: "anna".to_owned(),
        document: document.replace("nameservers = []", "nameservers = [\"10.0.0.1\"]"),
        mode: ConfigMode::Now,
    };
    let told = change(keeper.answer(ask).await).unwrap();
    assert_eq!(told.differences.len(), 1);
    let kept = machine.ledger().in_force().unwrap().unwrap();
    assert_eq!(kept.config, changed("10.0.0.1"));
}

#[tokio::test]
async fn an_invalid_document_leaves_the_running_state_alone() {
    let machine = Machine::with_a_credential();
    let mut keeper = machine.keeper().await;
    let ask = Ask::Apply {
        by: "anna".to_owned(),
        document: text(&master()).replace("hostname = \"dev-1\"", "hostname = \"dev-9\""),
        mode: ConfigMode::Now,
    };
    let Err(Problem::Invalid(said)) = change(keeper.answer(ask).await) else {
        panic!("taken");
    };
    assert!(said.contains("`cluster.masters` has no dev-9"), "{said}");
    assert!(machine.reloaded().is_empty());
    assert_eq!(machine.ledger().in_force_number(), Some(1));
}

#[tokio::test]
async fn a_service_that_refuses_its_part_gets_the_old_one_back() {
    let machine = Machine::with_a_credential();
    let mut keeper = machine.keeper().await;
    machine.reloads.fail(1);
    let refused = apply(&mut keeper, &changed("10.0.0.1"), ConfigMode::Now).await;
    let Err(Problem::Failed(said)) = refused else {
        panic!("{refused:?}");
    };
    assert!(said.contains("no such link"), "{said}");
    assert_eq!(machine.network(), master().network);
    assert_eq!(machine.reloaded(), [NETWORK_UNIT, NETWORK_UNIT, TIME_UNIT]);
    assert_eq!(
        outcomes(&mut keeper).await,
        [(2, ConfigOutcome::Failed), (1, ConfigOutcome::InForce)]
    );
}

#[tokio::test]
async fn what_a_running_node_cannot_take_up_waits_for_a_reboot() {
    let machine = Machine::with_a_credential();
    let mut keeper = machine.keeper().await;
    let mut new = master();
    new.node.roles.push(Role::Agent);
    let refused = apply(&mut keeper, &new, ConfigMode::Now).await;
    let Err(Problem::Conflict(said)) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        said.contains("node") && said.contains("--at-reboot"),
        "{said}"
    );
    let told = apply(&mut keeper, &new, ConfigMode::AtReboot)
        .await
        .unwrap();
    assert!(told.at_reboot);
    assert_eq!(shown(&mut keeper).await.at_reboot, Some(2));
    let facts = machine.boot(found(&text(&master())));
    assert_eq!(facts.roles, ["master", "agent"]);
    assert_eq!(
        outcomes(&mut machine.keeper().await).await,
        [(2, ConfigOutcome::InForce), (1, ConfigOutcome::Replaced)]
    );
}

mod on_trial {
    use super::*;

    #[tokio::test]
    async fn it_stays_once_it_is_confirmed() {
        let machine = Machine::with_a_credential();
        let mut keeper = machine.keeper().await;
        let new = changed("10.0.0.1");
        let told = apply(&mut keeper, &new, ConfigMode::Try(60)).await.unwrap();
        assert_eq!(told.trial_seconds, Some(60));
        let view = shown(&mut keeper).await;
        assert_eq!(view.trial.unwrap().number, 2);
        assert!(view.document.unwrap().contains("10.0.0.1"));
        change(keeper.answer(Ask::Confirm { number: 2 }).await).unwrap();
        assert_eq!(keeper.next(), None);
        machine.boot(found(&text(&master())));
        assert_eq!(machine.network(), new.network);
    }

    #[tokio::test]
    async fn it_goes_back_when_it_is_not() {
        let machine = Machine::with_a_credential();
        let mut keeper = machine.keeper().await;
        apply(&mut keeper, &changed("10.0.0.1"), ConfigMode::Try(60))
            .await
            .unwrap();
        keeper.end_trial().await;
        assert_eq!(machine.network(), master().network);
        assert_eq!(machine.reloaded(), [NETWORK_UNIT, NETWORK_UNIT, TIME_UNIT]);
        assert_eq!(
            outcomes(&mut keeper).await,
            [(2, ConfigOutcome::WentBack), (1, ConfigOutcome::InForce)]
        );
        let late = change(keeper.answer(Ask::Confirm { number: 2 }).await);
        assert!(matches!(late, Err(Problem::Conflict(_))), "{late:?}");
    }

    #[tokio::test]
    async fn it_goes_back_over_a_power_cut() {
        let machine = Machine::with_a_credential();
        let mut keeper = machine.keeper().await;
        apply(&mut keeper, &changed("10.0.0.1"), ConfigMode::Try(60))
            .await
            .unwrap();
        machine.boot(found(&text(&master())));
        assert_eq!(machine.network(), master().network);
        assert_eq!(machine.keeper().await.next(), None);
    }

    #[tokio::test]
    async fn it_lasts_over_a_restart_of_the_keeper() {
        let machine = Machine::with_a_credential();
        let mut keeper = machine.keeper().await;
        apply(&mut keeper, &changed("10.0.0.1"), ConfigMode::Try(60))
            .await
            .unwrap();
        let mut keeper = machine.keeper().await;
        assert_eq!(shown(&mut keeper).await.trial.unwrap().seconds_left, 60);
        keeper.end_trial().await;
        assert_eq!(machine.network(), master().network);
    }

    #[tokio::test]
    async fn meanwhile_no_other_is_taken() {
        let machine = Machine::with_a_credential();
        let mut keeper = machine.keeper().await;
        apply(&mut keeper, &changed("10.0.0.1"), ConfigMode::Try(60))
            .await
            .unwrap();
        let second = apply(&mut keeper, &changed("10.0.0.2"), ConfigMode::Now).await;
        let Err(Problem::Conflict(said)) = second else {
            panic!("{second:?}");
        };
        assert!(said.contains("on trial for 60 s"), "{said}");
        let wrong = change(keeper.answer(Ask::Confirm { number: 7 }).await);
        assert!(matches!(wrong, Err(Problem::Conflict(_))), "{wrong:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_back_in_time_though_a_service_dawdles() {
        let machine = Machine::with_a_credential();
        let mut keeper = machine.keeper().await;
        machine.reloads.dawdles.set(true);
        let late = apply(&mut keeper, &changed("10.0.0.1"), ConfigMode::Try(60)).await;
        assert!(matches!(late, Err(Problem::Failed(_))), "{late:?}");
        assert_eq!(keeper.next(), None);
        assert_eq!(machine.network(), master().network);
    }

    #[tokio::test]
    async fn one_that_never_began_cannot_be_confirmed() {
        let machine = Machine::with_a_credential();
        let mut keeper = machine.keeper().await;
        apply(&mut keeper, &changed("10.0.0.1"), ConfigMode::Try(60))
            .await
            .unwrap();
        // Killed before the network service had read its part.
        std::fs::write(places(&machine.run()).changing, "true").unwrap();
        let mut keeper = machine.keeper().await;
        let confirmed = change(keeper.answer(Ask::Confirm { number: 2 }).await);
        assert!(
            matches!(confirmed, Err(Problem::Conflict(_))),
            "{confirmed:?}"
        );
        keeper.on_time().await;
        assert_eq!(machine.network(), master().network);
        assert_eq!(keeper.next(), None);
    }

    #[tokio::test]
    async fn it_does_not_begin_where_a_service_refuses() {
        let machine = Machine::with_a_credential();
        let mut keeper = machine.keeper().await;
        machine.reloads.fail(1);
        let refused = apply(&mut keeper, &changed("10.0.0.1"), ConfigMode::Try(60)).await;
        assert!(matches!(refused, Err(Problem::Failed(_))), "{refused:?}");
        assert_eq!(keeper.next(), None);
        assert_eq!(machine.network(), master().network);
    }
}

#[tokio::test]
async fn a_change_that_was_cut_short_is_taken_back() {
    let machine = Machine::with_a_credential();
    let places = places(&machine.run());
    // Killed after the first file.
    std::fs::write(&places.changing, "true").unwrap();
    let network = serde_json::to_vec(&changed("10.0.0.1").network).unwrap();
    std::fs::write(&places.network_config, network).unwrap();
    let mut keeper = machine.keeper().await;
    keeper.on_time().await;
    assert_eq!(machine.network(), master().network);
    assert_eq!(machine.reloaded(), [NETWORK_UNIT, TIME_UNIT]);
    assert!(!places.changing.exists());
}

#[tokio::test]
async fn a_restart_of_the_keeper_alone_touches_nothing() {
    let machine = Machine::with_a_credential();
    // Boot could not write this one down, and the programs work by it.
    super::parts::write(&places(&machine.run()), &changed("10.0.0.1")).unwrap();
    let keeper = machine.keeper().await;
    assert_eq!(keeper.next(), None);
    assert_eq!(machine.network(), changed("10.0.0.1").network);
}

#[tokio::test(start_paused = true)]
async fn going_back_is_tried_until_it_succeeds_and_another_config_mends_it_too() {
    let machine = Machine::with_a_credential();
    let mut keeper = machine.keeper().await;
    machine.reloads.fail(3);
    let refused = apply(&mut keeper, &changed("10.0.0.1"), ConfigMode::Now).await;
    let Err(Problem::Failed(said)) = refused else {
        panic!("{refused:?}");
    };
    assert!(said.contains("tried again"), "{said}");
    tokio::time::sleep_until(keeper.next().unwrap()).await;
    keeper.on_time().await;
    assert!(keeper.next().is_some(), "the third failure");
    machine.reloaded();
    let other = changed("10.0.0.2");
    apply(&mut keeper, &other, ConfigMode::Now).await.unwrap();
    assert_eq!(machine.reloaded(), [NETWORK_UNIT, TIME_UNIT]);
    assert_eq!((machine.network(), keeper.next()), (other.network, None));
}

#[tokio::test]
async fn what_cannot_be_put_in_force_is_taken_back() {
    let machine = Machine::with_a_credential();
    let mut keeper = machine.keeper().await;
    // The name of the link's draft is taken by something that cannot be removed as a file.
    let blocked = machine.folder.path().join("state/.link/x");
    std::fs::create_dir_all(blocked).unwrap();
    let refused = apply(&mut keeper, &changed("10.0.0.1"), ConfigMode::Now).await;
    let Err(Problem::Failed(said)) = refused else {
        panic!("{refused:?}");
    };
    assert!(said.contains("cannot be put in force"), "{said}");
    assert_eq!(machine.network(), master().network);
}

#[tokio::test]
async fn a_disk_that_was_away_for_a_boot_is_no_news_when_it_comes_back() {
    let machine = Machine::with_a_credential();
    machine.boot(None);
    let mut keeper = machine.keeper().await;
    let new = changed("10.0.0.1");
    apply(&mut keeper, &new, ConfigMode::Now).await.unwrap();
    machine.boot(found(&text(&master())));
    assert_eq!(machine.network(), new.network);
}

#[tokio::test]
async fn what_waits_for_a_boot_is_dropped_by_whatever_is_applied_after() {
    let machine = Machine::with_a_credential();
    let mut keeper = machine.keeper().await;
    let waiting = changed("10.0.0.1");
    apply(&mut keeper, &waiting, ConfigMode::AtReboot)
        .await
        .unwrap();
    let told = apply(&mut keeper, &master(), ConfigMode::Now)
        .await
        .unwrap();
    assert_eq!(told.dropped, Some(2));
    assert_eq!(shown(&mut keeper).await.at_reboot, None);
    apply(&mut keeper, &changed("10.0.0.3"), ConfigMode::Now)
        .await
        .unwrap();
    // It never was in force: that is not where rolling back leads.
    let ask = Ask::Rollback {
        by: "anna".to_owned(),
        number: None,
        mode: ConfigMode::Now,
    };
    change(keeper.answer(ask).await).unwrap();
    assert_eq!(machine.network(), master().network);
}

#[tokio::test]
async fn rolling_back_brings_the_one_before_or_any_other() {
    let machine = Machine::with_a_credential();
    let mut keeper = machine.keeper().await;
    for server in ["10.0.0.1", "10.0.0.2"] {
        apply(&mut keeper, &changed(server), ConfigMode::Now)
            .await
            .unwrap();
    }
    let mut back = async |number| {
        let ask = Ask::Rollback {
            by: "anna".to_owned(),
            number,
            mode: ConfigMode::Now,
        };
        change(keeper.answer(ask).await)
    };
    assert_eq!(back(None).await.unwrap().number, Some(4));
    assert_eq!(machine.network(), changed("10.0.0.1").network);
    assert_eq!(back(Some(1)).await.unwrap().number, Some(5));
    assert_eq!(machine.network(), master().network);
    let gone = back(Some(77)).await;
    assert!(matches!(gone, Err(Problem::NotFound(_))), "{gone:?}");
}
