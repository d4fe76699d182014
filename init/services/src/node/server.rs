//! `node`: the long-running half. Tells PID 1 that it is up at once, then gets a certificate, then serves.
//!
//! Getting a certificate may wait for a master, so readiness does not wait for it; whether the API answers is
//! for the boot check to find out. Without a machine config there is nobody to trust: nothing listens.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use client::serve::{Limits, Peer, listen, serve};
use client::tls::{self, Clients, ServerKey};
use client::trust::Purpose;
use hyper_util::service::TowerToHyperService;
use spec_config::NodeConfig;
use spec_layout::{path, port};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::api::{self, Access, Caller};
use super::facts;
use super::identity::{self, pems};
use crate::notify;

/// How often the certificate's age is looked at.
const RENEWAL_PERIOD: Duration = Duration::from_secs(3600);

/// Runs until SIGTERM.
pub(super) fn run() -> ExitCode {
    tls::install_provider();
    let Some(runtime) = super::runtime() else {
        return ExitCode::FAILURE;
    };
    let result = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::spawn(feed_watchdog());
        tokio::select! {
            result = work() => result,
            _ = terminated.recv() => {
                notify::stopping();
                Ok(())
            }
        }
    });
    // Streams that follow the journal would hold a graceful end up.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn feed_watchdog() {
    let Some(period) = notify::watchdog_period() else {
        return;
    };
    loop {
        notify::watchdog();
        tokio::time::sleep(period).await;
    }
}

async fn work() -> std::io::Result<()> {
    let Some(config) = load()? else {
        let reason = facts::boot_facts().message.unwrap_or_default();
        log::warn!(
            "no machine config holds ({reason}): nobody to trust, so the API does not listen"
        );
        notify::ready("no machine config: the API does not listen");
        return std::future::pending().await;
    };
    notify::ready("getting a certificate");
    let config = Arc::new(config);
    let credentials = identity::obtain(Path::new(path::TRUST), &config, |problem| {
        log::warn!("{problem}");
        notify::status(problem);
    })
    .await;
    let key = ServerKey::new(&credentials.certificate, &credentials.key)
        .map_err(std::io::Error::other)?;
    let listener = listen(SocketAddr::from(([0u16; 8], port::NODE_API))).await?;
    notify::status(&format!("the API answers on port {}", port::NODE_API));
    log::info!("the API answers on port {}", port::NODE_API);
    tokio::spawn(keep_renewed(config.clone(), key.clone()));
    serve_api(listener, key, config).await
}

/// The node API's part of the machine config; `None` where none holds.
fn load() -> std::io::Result<Option<NodeConfig>> {
    match std::fs::read(path::NODE_CONFIG) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(std::io::Error::new(
            error.kind(),
            format!("{}: {error}", path::NODE_CONFIG),
        )),
    }
}

/// Serves operators of this cluster on `listener`.
pub(super) async fn serve_api(
    listener: TcpListener,
    key: Arc<ServerKey>,
    config: Arc<NodeConfig>,
) -> std::io::Result<()> {
    let clients = Clients {
        roots: pems(&config.node_api_roots),
        cluster_id: config.cluster_id.to_string(),
        purposes: &[Purpose::Admin, Purpose::Operator, Purpose::Reader],
        anonymous: false,
    };
    let tls = tls::server_config(key, &clients).map_err(std::io::Error::other)?;
    let router = api::router(config);
    serve(listener, tls, Limits::default(), move |peer: Peer| {
        let (name, access) = peer.holder.map_or((String::new(), None), |holder| {
            (holder.name, Access::of(holder.purpose))
        });
        let address = peer.address;
        let caller = Caller {
            name,
            access,
            address,
        };
        TowerToHyperService::new(api::for_caller(&router, caller))
    })
    .await;
    Ok(())
}

async fn keep_renewed(config: Arc<NodeConfig>, key: Arc<ServerKey>) {
    let folder = Path::new(path::TRUST);
    loop {
        tokio::time::sleep(RENEWAL_PERIOD).await;
        if identity::kept(folder, &config).is_some() {
            continue;
        }
        let renewed = identity::renew(folder, &config).await;
        let replaced = renewed.and_then(|new| {
            key.replace(&new.certificate, &new.key)
                .map_err(|e| e.to_string())
        });
        match replaced {
            Ok(()) => log::info!("the API's certificate is renewed"),
            Err(problem) => log::warn!("the API's certificate is not renewed: {problem}"),
        }
    }
}
