//! `node boot-check`: ends well when this boot is good, by local facts alone.
//!
//! An image is counted good or bad by this, so nothing of other nodes may enter: never quorum, never a leader. On a
//! master etcd must have its log open, or must wait for its peers to agree on the first members.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use client::control::Control;
use client::tls;
use rustls::pki_types::ServerName;
use spec_config::{ConfigState, NodeConfig, Role};
use spec_layout::{path, port};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::api::cluster_view;
use super::identity::own_server;
use super::{config, facts};
use crate::notify;

/// How often the facts are looked at. The unit's TimeoutStartSec= ends it.
const PERIOD: Duration = Duration::from_millis(500);
/// How long one look at the API may take.
const API_TIMEOUT: Duration = Duration::from_secs(5);
/// etcd's unit.
const ETCD: &str = "etcd.service";

/// Looks until every fact holds; says whenever what it waits for changes.
pub(super) fn run() -> ExitCode {
    tls::install_provider();
    let Some(runtime) = super::runtime() else {
        return ExitCode::FAILURE;
    };
    let mut said = String::new();
    loop {
        match runtime.block_on(look()) {
            Ok(()) => {
                log::info!("the boot is good");
                notify::ready("the boot is good");
                return ExitCode::SUCCESS;
            }
            Err(missing) if missing != said => {
                log::info!("waiting: {missing}");
                notify::status(&missing);
                said = missing;
            }
            Err(_) => {}
        }
        std::thread::sleep(PERIOD);
    }
}

/// The first fact that does not hold.
async fn look() -> Result<(), String> {
    root_verified()?;
    config_applied()?;
    let Some(node) = node_config()? else {
        return Ok(());
    };
    api_answers(&node).await?;
    if node.has_role(Role::Master) {
        etcd_started().await
    } else {
        Ok(())
    }
}

fn root_verified() -> Result<(), String> {
    if facts::boot_report().root_verified {
        Ok(())
    } else {
        Err("the root is not verified".to_owned())
    }
}

/// The config holds; or there never was one on this machine.
fn config_applied() -> Result<(), String> {
    let facts = facts::boot_facts();
    judge_config(
        facts.config,
        facts.message.as_deref(),
        config::in_force().exists(),
    )
}

fn judge_config(state: ConfigState, message: Option<&str>, had_one: bool) -> Result<(), String> {
    match state {
        ConfigState::Ok => Ok(()),
        ConfigState::Missing if !had_one => Ok(()),
        ConfigState::Missing | ConfigState::Invalid => Err(format!(
            "the machine config is {state}: {}",
            message.unwrap_or_default()
        )),
    }
}

fn node_config() -> Result<Option<NodeConfig>, String> {
    match std::fs::read(path::NODE_CONFIG) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| format!("{}: {error}", path::NODE_CONFIG)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path::NODE_CONFIG)),
    }
}

/// The API shows a certificate that operators take. Without an operator's own, that is as far as one gets.
async fn api_answers(node: &NodeConfig) -> Result<(), String> {
    let config = tls::client_config(None, &own_server(node)).map_err(|error| error.to_string())?;
    let greet = async {
        let stream = TcpStream::connect(("127.0.0.1", port::NODE_API)).await?;
        let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
        TlsConnector::from(std::sync::Arc::new(config))
            .connect(name, stream)
            .await
            .map(drop)
    };
    match tokio::time::timeout(API_TIMEOUT, greet).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("the node API does not answer: {error}")),
        Err(_) => Err("the node API does not answer in time".to_owned()),
    }
}

async fn etcd_started() -> Result<(), String> {
    let view = cluster_view().await?;
    if !view.decided {
        // The peers are not there yet: that is no fault of this boot.
        return if view.waiting.is_empty() {
            Err(view.state)
        } else {
            Ok(())
        };
    }
    let mut control =
        Control::connect(Path::new(path::CONTROL_SOCKET)).map_err(|error| error.to_string())?;
    let unit = control
        .show(ETCD)
        .await
        .map_err(|error| error.to_string())?;
    let Some(pid) = unit.main_pid else {
        return Err(format!(
            "{ETCD} is {} ({})",
            unit.active,
            unit.reason.unwrap_or(unit.result)
        ));
    };
    if has_log_open(&format!("/proc/{pid}/fd"), path::ETCD_DATA) {
        return Ok(());
    }
    Err(format!("{ETCD} has not opened its log"))
}

/// Whether a process has a write-ahead log below `data` open, by its folder of descriptors.
fn has_log_open(descriptors: &str, data: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(descriptors) else {
        return false;
    };
    let mut targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.any(|target| {
        target.starts_with(data)
            && target
                .extension()
                .is_some_and(|extension| extension == "wal")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_never_had_a_config_boots_well_without() {
        assert!(judge_config(ConfigState::Missing, None, false).is_ok());
        assert!(judge_config(ConfigState::Missing, Some("found nowhere"), true).is_err());
        assert!(
            judge_config(ConfigState::Invalid, Some("1:1: wrong"), false)
                .unwrap_err()
                .contains("1:1: wrong")
        );
        assert!(judge_config(ConfigState::Ok, None, true).is_ok());
    }

    #[test]
    fn etcds_log_is_seen_among_its_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let link = |name: &str, target: &str| {
            std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap()
        };
        let descriptors = folder.path().to_str().unwrap();
        link("3", "socket:[1]");
        link("4", "/var/lib/etcd/default/member/snap/db");
        assert!(!has_log_open(descriptors, "/var/lib/etcd"));
        link("5", "/elsewhere/0.wal");
        assert!(!has_log_open(descriptors, "/var/lib/etcd"));
        link(
            "6",
            "/var/lib/etcd/default/member/wal/0000000000000000-0000000000000000.wal",
        );
        assert!(has_log_open(descriptors, "/var/lib/etcd"));
        assert!(!has_log_open("/nonexistent", "/var/lib/etcd"));
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_no_answer() {
        tls::install_provider();
        let roots = client::ca::Roots::new(super::super::identity::tests::CLUSTER).unwrap();
        let node = super::super::identity::tests::node_config(&roots, Role::Master);
        assert!(
            api_answers(&node)
                .await
                .unwrap_err()
                .starts_with("the node API does not answer")
        );
    }
}
