//! Each program's part of the machine config, as files below /run, and who reads which.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use client::key_file::{self, Owner, PUBLIC, SECRET};
use nix::unistd::{Group, User};
use spec_config::{Config, NodeConfig, Role};
use spec_layout::path;

/// User of the node API's process.
const NODE_USER: &str = "bedplate-node";
/// Group of the cluster program.
const CLUSTER_GROUP: &str = "bedplate-cluster";
/// Mode of the whole document where the cluster program may read it too.
const GROUP_READABLE: u32 = 0o640;
/// The unit that reads the network part.
pub(super) const NETWORK_UNIT: &str = "bedplate-network.service";

/// The unit that reads the time servers.
pub(super) const TIME_UNIT: &str = "bedplate-time.service";

/// Where everything is written; tests have their own.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) machine_config: PathBuf,
    pub(super) node_config: PathBuf,
    pub(super) network_config: PathBuf,
    pub(super) time_config: PathBuf,
    pub(super) roles: PathBuf,
    pub(super) trial: PathBuf,
    pub(super) changing: PathBuf,
    pub(super) offer: PathBuf,
}

impl Places {
    pub(super) fn of_this_machine() -> Self {
        Self {
            machine_config: path::MACHINE_CONFIG.into(),
            node_config: path::NODE_CONFIG.into(),
            network_config: path::NETWORK_CONFIG.into(),
            time_config: path::TIME_CONFIG.into(),
            roles: path::ROLES.into(),
            trial: path::CONFIG_TRIAL.into(),
            changing: path::CONFIG_CHANGING.into(),
            offer: path::CONFIG_OFFER.into(),
        }
    }
}

/// Writes each program's part, where it differs from what is there. The roles come last: they start the cluster
/// components.
pub(super) fn write(places: &Places, config: &Config) -> io::Result<()> {
    let invalid = |error: spec_config::Error| io::Error::other(error.to_string());
    let public = Owner::default();
    let network = serde_json::to_vec(&config.network)?;
    renew(&places.network_config, &network, PUBLIC, public)?;
    let time = serde_json::to_vec(&config.time)?;
    renew(&places.time_config, &time, PUBLIC, public)?;
    let user = User::from_name(NODE_USER)?;
    let owner = Owner {
        user: user.as_ref().map(|user| user.uid.as_raw()),
        group: user.as_ref().map(|user| user.gid.as_raw()),
    };
    let node = serde_json::to_vec(&NodeConfig::of(config))?;
    renew(&places.node_config, &node, SECRET, owner)?;
    let group = Group::from_name(CLUSTER_GROUP)?;
    let mode = group.as_ref().map_or(SECRET, |_| GROUP_READABLE);
    let owner = Owner {
        user: None,
        group: group.map(|group| group.gid.as_raw()),
    };
    let whole = config.to_toml().map_err(invalid)?;
    renew(&places.machine_config, whole.as_bytes(), mode, owner)?;
    write_roles(&places.roles, &config.node.roles)
}

fn renew(path: &Path, content: &[u8], mode: u32, owner: Owner) -> io::Result<()> {
    if fs::read(path).is_ok_and(|kept| kept == content) {
        return Ok(());
    }
    key_file::write_for(path, content, mode, owner)
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

/// Writes a value as JSON, whole or not at all.
pub(super) fn write_json<T: serde::Serialize>(path: &Path, value: &T, mode: u32) -> io::Result<()> {
    key_file::write(path, &serde_json::to_vec(value)?, mode)
}

/// Units that have to read their part anew.
pub(super) fn readers(old: &Config, new: &Config) -> Vec<&'static str> {
    let parts = [
        (NETWORK_UNIT, old.network != new.network),
        (TIME_UNIT, old.time != new.time),
    ];
    let changed = parts.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(unit, _)| unit).collect()
}

/// All units that read a part.
pub(super) fn all_readers() -> Vec<&'static str> {
    vec![NETWORK_UNIT, TIME_UNIT]
}

/// What a running node cannot take up, by its keys in the document.
pub(super) fn needs_reboot(old: &Config, new: &Config) -> Vec<String> {
    let tables = [
        ("cluster", old.cluster != new.cluster),
        ("node", old.node != new.node),
        ("trust", old.trust != new.trust),
    ];
    let changed = tables.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{master, places};
    use super::*;

    #[test]
    fn each_program_gets_its_part() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        write(&places, &master()).unwrap();
        let network = fs::read_to_string(&places.network_config).unwrap();
        let cache = r#"{"entries":4096,"min_ttl":0,"max_ttl":86400}"#;
        let resolver = format!(r#"{{"cache":{cache}}}"#);
        let expected = format!(r#"{{"nameservers":[],"resolver":{resolver},"links":[]}}"#);
        assert_eq!(network, expected);
        let node: NodeConfig =
            serde_json::from_slice(&fs::read(&places.node_config).unwrap()).unwrap();
        assert!(node.issuer.is_some());
        assert!(places.machine_config.exists());
    }

    #[test]
    fn a_role_that_was_taken_away_loses_its_marker() {
        let folder = tempfile::tempdir().unwrap();
        write_roles(folder.path(), &[Role::Master, Role::Agent]).unwrap();
        write_roles(folder.path(), &[Role::Agent]).unwrap();
        assert!(!folder.path().join("master").exists() && folder.path().join("agent").exists());
    }

    #[test]
    fn only_who_is_concerned_reads_anew() {
        let old = master();
        let mut new = master();
        assert!(readers(&old, &new).is_empty() && needs_reboot(&old, &new).is_empty());
        new.network.nameservers.push("10.0.0.1".parse().unwrap());
        assert_eq!(readers(&old, &new), [NETWORK_UNIT]);
        new.time.servers.push("10.0.0.1".parse().unwrap());
        assert_eq!(readers(&old, &new), [NETWORK_UNIT, TIME_UNIT]);
        new.node.roles.push(Role::Agent);
        assert_eq!(needs_reboot(&old, &new), ["node"]);
    }
}
