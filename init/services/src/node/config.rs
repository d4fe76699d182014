//! `node config`: finds the machine config, checks it, and gives each program its part.
//!
//! It runs as root before any unit and touches no network. Whatever is wrong is written to
//! `spec_layout::path::BOOT_FACTS` and said; the node boots then without roles, so that no cluster component
//! starts. A document of a schema this image does not know falls back to the last one that held, which is kept
//! per schema version on the state partition.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use client::ca::Authority;
use client::key_file::{self, PUBLIC, SECRET};
use client::tls::trust_store;
use client::trust::Root;
use nix::unistd::{Gid, Group, Uid, User, chown};
use spec_config::{BootFacts, Config, ConfigState, NodeConfig, Pem, Role, SCHEMA};
use spec_layout::path;

use super::platform::{self, Found};

/// User of the node API's process.
const NODE_USER: &str = "bedplate-node";
/// Group of the cluster program.
const CLUSTER_GROUP: &str = "bedplate-cluster";
/// Mode of the whole document where the cluster program may read it too.
const GROUP_READABLE: u32 = 0o640;

/// Where everything is written; tests have their own.
struct Places {
    machine_config: PathBuf,
    node_config: PathBuf,
    network_config: PathBuf,
    boot_facts: PathBuf,
    roles: PathBuf,
    last_good: PathBuf,
}

impl Places {
    fn of_this_machine() -> Self {
        Self {
            machine_config: path::MACHINE_CONFIG.into(),
            node_config: path::NODE_CONFIG.into(),
            network_config: path::NETWORK_CONFIG.into(),
            boot_facts: path::BOOT_FACTS.into(),
            roles: path::ROLES.into(),
            last_good: last_good().into(),
        }
    }
}

/// The file of the last machine config that held, for the schema this image reads.
pub(super) fn last_good() -> String {
    format!("{}/{SCHEMA}.toml", path::STATE_CONFIG)
}

/// Finds, checks, writes. Only a /run that cannot be written is a failure, and even that is told.
pub(super) fn run() -> ExitCode {
    let (found, failures) = platform::find();
    for failure in &failures {
        log::warn!("{failure}");
    }
    let places = Places::of_this_machine();
    let facts = decide(&places, found, &failures);
    match (facts.config, &facts.message) {
        (ConfigState::Ok, message) => {
            log::info!("machine config: {}", message.as_deref().unwrap_or("ok"))
        }
        (state, message) => log::error!(
            "machine config {state}: {}. This node runs no cluster component",
            message.as_deref().unwrap_or("no reason known")
        ),
    }
    if let Err(error) = write_json(&places.boot_facts, &facts, PUBLIC) {
        log::error!("cannot say what became of the machine config: {error}");
    }
    ExitCode::SUCCESS
}

/// What becomes of the document; applies it if it holds.
fn decide(places: &Places, found: Option<Found>, failures: &[String]) -> BootFacts {
    let Some(found) = found else {
        let mut message = format!("found at none of: {}", platform::names());
        for failure in failures {
            message.push_str(&format!("; {failure}"));
        }
        return BootFacts {
            message: Some(message),
            ..BootFacts::default()
        };
    };
    let read = read(&found.document);
    let (result, mut source) = match read {
        Err(problem) if is_newer(&found.document) => match fall_back(places) {
            Some(config) => (
                Ok(config),
                format!("the last good one of schema {SCHEMA}, because {problem}"),
            ),
            None => (Err(problem), found.source),
        },
        other => (other, found.source),
    };
    let config = match result {
        Ok(config) => config,
        Err(problem) => {
            let message = Some(format!("{source}:{problem}"));
            return BootFacts {
                config: ConfigState::Invalid,
                message,
                ..BootFacts::default()
            };
        }
    };
    if let Err(error) = apply(places, &config) {
        let message = Some(format!("{source} holds, but cannot be applied: {error}"));
        return BootFacts {
            config: ConfigState::Invalid,
            message,
            ..BootFacts::default()
        };
    }
    if let Err(error) = keep(places, &config) {
        source.push_str(&format!(" (not kept for other images: {error})"));
    }
    BootFacts {
        hostname: Some(config.node.hostname.to_string()),
        roles: config.node.roles.iter().map(Role::to_string).collect(),
        config: ConfigState::Ok,
        message: Some(source),
    }
}

/// Reads the document and what its certificates say.
fn read(document: &[u8]) -> Result<Config, String> {
    let config = Config::parse_bytes(document).map_err(|error| error.to_string())?;
    check_trust(&config).map_err(|problem| format!(" {problem}"))?;
    Ok(config)
}

/// Every root must be a certificate, every issuer one with its key.
fn check_trust(config: &Config) -> Result<(), String> {
    let trust = &config.trust;
    let stores = [
        ("node_api", &trust.node_api),
        ("etcd_peer", &trust.etcd_peer),
        ("etcd_client", &trust.etcd_client),
        ("cluster", &trust.cluster),
    ];
    for (name, roots) in stores {
        let roots: Vec<&str> = roots.iter().map(Pem::as_str).collect();
        trust_store(&roots).map_err(|error| format!("trust.{name}.roots: {error}"))?;
    }
    let Some(issuers) = &trust.issuers else {
        return Ok(());
    };
    let issuers = [
        ("node_api", Root::NodeApi, &issuers.node_api),
        ("etcd_peer", Root::EtcdPeer, &issuers.etcd_peer),
        ("etcd_client", Root::EtcdClient, &issuers.etcd_client),
        ("cluster", Root::Cluster, &issuers.cluster),
    ];
    for (name, root, issuer) in issuers {
        Authority::from_pem(root, issuer.certificate.as_str(), issuer.key.expose())
            .map_err(|error| format!("trust.issuers.{name}: {error}"))?;
    }
    Ok(())
}

/// Whether the document says it is of another schema.
fn is_newer(document: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(document) else {
        return false;
    };
    let line = text.lines().find_map(|line| {
        line.trim()
            .strip_prefix("schema")?
            .trim_start()
            .strip_prefix('=')
    });
    line.and_then(|value| value.split('#').next()?.trim().parse::<i64>().ok())
        .is_some_and(|schema| schema > SCHEMA)
}

fn fall_back(places: &Places) -> Option<Config> {
    read(&fs::read(&places.last_good).ok()?).ok()
}

/// Writes each program's part. The roles come last: they start the cluster components.
fn apply(places: &Places, config: &Config) -> io::Result<()> {
    let invalid = |error: spec_config::Error| io::Error::other(error.to_string());
    write_json(&places.network_config, &config.network, PUBLIC)?;
    write_json(
        &places.node_config,
        &NodeConfig::of(config).map_err(invalid)?,
        SECRET,
    )?;
    if let Some(user) = User::from_name(NODE_USER)? {
        give(&places.node_config, Some(user.uid), Some(user.gid))?;
    }
    key_file::write(
        &places.machine_config,
        config.to_toml().map_err(invalid)?.as_bytes(),
        SECRET,
    )?;
    if let Some(group) = Group::from_name(CLUSTER_GROUP)? {
        give(&places.machine_config, None, Some(group.gid))?;
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(
            &places.machine_config,
            fs::Permissions::from_mode(GROUP_READABLE),
        )?;
    }
    write_roles(&places.roles, &config.node.roles)
}

fn give(path: &Path, user: Option<Uid>, group: Option<Gid>) -> io::Result<()> {
    chown(path, user, group)
        .map_err(|errno| io::Error::other(format!("{}: {errno}", path.display())))
}

/// One empty file per role, and no other.
fn write_roles(folder: &Path, roles: &[Role]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for role in Role::ALL {
        let marker = folder.join(role.as_str());
        if roles.contains(&role) {
            fs::write(marker, b"")?;
        } else if let Err(error) = fs::remove_file(marker)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
    }
    Ok(())
}

/// Keeps the config on the state partition for an older image that cannot read a newer schema.
fn keep(places: &Places, config: &Config) -> io::Result<()> {
    let text = config
        .to_toml()
        .map_err(|error| io::Error::other(error.to_string()))?;
    if fs::read(&places.last_good).is_ok_and(|kept| kept == text.as_bytes()) {
        return Ok(());
    }
    if let Some(folder) = places.last_good.parent() {
        fs::create_dir_all(folder)?;
    }
    key_file::write(&places.last_good, text.as_bytes(), SECRET)
}

fn write_json<T: serde::Serialize>(path: &Path, value: &T, mode: u32) -> io::Result<()> {
    key_file::write(path, &serde_json::to_vec(value)?, mode)
}

#[cfg(test)]
mod tests {
    use client::ca::Roots;
    use spec_config::{Cluster, Issuer, Issuers, Master, Network, Node, Secret, Trust};

    use super::*;

    fn places(folder: &Path) -> Places {
        Places {
            machine_config: folder.join("machine.toml"),
            node_config: folder.join("node-config.json"),
            network_config: folder.join("network.json"),
            boot_facts: folder.join("boot-facts.json"),
            roles: folder.join("roles"),
            last_good: folder.join("state/1.toml"),
        }
    }

    fn master() -> Config {
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
        let issuer = |root| {
            let made = roots.intermediate(root, "dev-1").unwrap();
            Issuer {
                certificate: made.certificate_pem().parse().unwrap(),
                key: Secret::new(made.key_pem()),
            }
        };
        Config {
            cluster: Cluster {
                id: id.parse().unwrap(),
                name: "dev".parse().unwrap(),
                masters: vec![Master {
                    name: "dev-1".parse().unwrap(),
                    address: "10.77.0.11".parse().unwrap(),
                }],
                join_token: Some(Secret::new("join-token-of-the-test")),
            },
            node: Node {
                hostname: "dev-1".parse().unwrap(),
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
    }

    fn found(document: &str) -> Option<Found> {
        Some(Found {
            source: "credential bedplate.config".to_owned(),
            document: document.as_bytes().to_vec(),
        })
    }

    #[test]
    fn a_good_document_is_applied_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let facts = decide(&places, found(&master().to_toml().unwrap()), &[]);
        assert_eq!(facts.config, ConfigState::Ok, "{facts:?}");
        assert_eq!(facts.hostname.as_deref(), Some("dev-1"));
        assert!(places.roles.join("master").exists() && !places.roles.join("agent").exists());
        let node: NodeConfig =
            serde_json::from_slice(&fs::read(&places.node_config).unwrap()).unwrap();
        assert!(node.issuer.is_some());
        assert!(places.last_good.exists());
        let network = fs::read_to_string(&places.network_config).unwrap();
        assert_eq!(network, r#"{"nameservers":[],"links":[]}"#);
    }

    #[test]
    fn without_a_document_the_node_has_no_role_and_says_where_it_looked() {
        let folder = tempfile::tempdir().unwrap();
        let facts = decide(
            &places(folder.path()),
            None,
            &["config disk: broken".to_owned()],
        );
        assert_eq!(facts.config, ConfigState::Missing);
        let message = facts.message.unwrap();
        assert!(
            message.contains("credential, config disk") && message.contains("broken"),
            "{message}"
        );
    }

    #[test]
    fn a_broken_document_is_refused_with_its_place_and_applies_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let facts = decide(&places, found("schema = 1\nnonsense\n"), &[]);
        assert_eq!(facts.config, ConfigState::Invalid);
        let message = facts.message.unwrap();
        assert!(
            message.starts_with("credential bedplate.config:2:"),
            "{message}"
        );
        assert!(!places.machine_config.exists() && !places.roles.exists());
    }

    #[test]
    fn a_certificate_that_is_none_is_refused() {
        let mut config = master();
        config.trust.etcd_peer = vec![
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
                .parse()
                .unwrap(),
        ];
        assert!(
            check_trust(&config)
                .unwrap_err()
                .starts_with("trust.etcd_peer.roots:")
        );
        let mut config = master();
        if let Some(issuers) = &mut config.trust.issuers {
            issuers.cluster.key = issuers.etcd_peer.key.clone();
        }
        assert!(
            check_trust(&config)
                .unwrap_err()
                .contains("do not belong together")
        );
    }

    #[test]
    fn a_newer_schema_falls_back_to_the_last_good_document() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let newer = "schema = 2 # from a newer image\nfuture = true\n";
        assert_eq!(
            decide(&places, found(newer), &[]).config,
            ConfigState::Invalid
        );
        decide(&places, found(&master().to_toml().unwrap()), &[]);
        let facts = decide(&places, found(newer), &[]);
        assert_eq!(facts.config, ConfigState::Ok);
        assert!(
            facts
                .message
                .unwrap()
                .starts_with("the last good one of schema 1, because 1:10:")
        );
    }

    #[test]
    fn a_broken_document_does_not_fall_back() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        decide(&places, found(&master().to_toml().unwrap()), &[]);
        assert_eq!(
            decide(&places, found("schema = 1\n"), &[]).config,
            ConfigState::Invalid
        );
    }

    #[test]
    fn a_role_that_was_taken_away_loses_its_marker() {
        let folder = tempfile::tempdir().unwrap();
        write_roles(folder.path(), &[Role::Master, Role::Agent]).unwrap();
        write_roles(folder.path(), &[Role::Agent]).unwrap();
        assert!(!folder.path().join("master").exists() && folder.path().join("agent").exists());
    }
}
