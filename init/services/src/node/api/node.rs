//! Status, power, etcd's members and metrics.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use client::control::Control;
use spec_api::{ClusterView, EtcdMember, NodeStatus};
use spec_config::Role;
use spec_layout::path;
use spec_unit::control::ShutdownAction;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::Node;
use super::answer::Refusal;
use super::units::{connect, show_all};
use crate::node::{facts, metrics};

/// The target that is active when this boot is good.
const BOOT_COMPLETE: &str = "boot-complete.target";
/// Says in its status text what the boot waits for.
const BOOT_CHECK: &str = "bedplate-boot-check.service";
/// How long the cluster program may take to tell its view.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of that view.
const MAX_VIEW: u64 = 1 << 20;

/// What this node is and whether its boot is complete.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = NodeStatus)))]
pub(super) async fn status(State(node): State<Node>) -> Json<NodeStatus> {
    let mut status = facts::status();
    match connect() {
        Ok(mut control) => completion(&mut control, &mut status).await,
        Err(error) => status
            .waiting
            .push(format!("PID 1 does not answer: {error}")),
    }
    if node.config.has_role(Role::Master)
        && let Ok(view) = cluster_view().await
    {
        status.waiting.extend(view.waiting);
    }
    Json(status)
}

async fn completion(control: &mut Control, status: &mut NodeStatus) {
    match control.show(BOOT_COMPLETE).await {
        Ok(target) if target.active == "active" => status.ready = true,
        Ok(target) => status.waiting.extend(target.reason),
        Err(error) => status.waiting.push(format!("{BOOT_COMPLETE}: {error}")),
    }
    if status.ready {
        return;
    }
    if let Ok(check) = control.show(BOOT_CHECK).await {
        status.waiting.extend(check.status_text.or(check.reason));
    }
}

/// Shuts down in order, then reboots.
#[utoipa::path(post, path = "/v1/reboot", responses((status = 200, description = "Begun.")))]
pub(super) async fn reboot() -> Result<(), Refusal> {
    shutdown(ShutdownAction::Reboot).await
}

/// Shuts down in order, then powers off.
#[utoipa::path(post, path = "/v1/poweroff", responses((status = 200, description = "Begun.")))]
pub(super) async fn poweroff() -> Result<(), Refusal> {
    shutdown(ShutdownAction::Poweroff).await
}

async fn shutdown(action: ShutdownAction) -> Result<(), Refusal> {
    Ok(connect()?.shutdown(action).await?)
}

/// etcd's members as this master sees them.
#[utoipa::path(get, path = "/v1/etcd/members", responses((status = 200, body = Vec<EtcdMember>)))]
pub(super) async fn etcd_members(
    State(node): State<Node>,
) -> Result<Json<Vec<EtcdMember>>, Refusal> {
    if !node.config.has_role(Role::Master) {
        let masters: Vec<&str> = node
            .config
            .masters
            .iter()
            .map(|master| master.name.as_str())
            .collect();
        return Err(Refusal::not_found(format!(
            "this node is no master; ask one of: {}",
            masters.join(", ")
        )));
    }
    let view = cluster_view().await.map_err(Refusal::unavailable)?;
    if view.members.is_empty() {
        let mut reason = view.state;
        for waiting in view.waiting {
            reason.push_str(&format!("; {waiting}"));
        }
        return Err(Refusal::unavailable(format!(
            "etcd has no leader that answers: {reason}"
        )));
    }
    Ok(Json(view.members))
}

/// What the cluster program says; also the boot check's way to ask.
pub(in crate::node) async fn cluster_view() -> Result<ClusterView, String> {
    let read = async {
        let stream = UnixStream::connect(path::CLUSTER_SOCKET).await?;
        let mut document = Vec::new();
        stream.take(MAX_VIEW).read_to_end(&mut document).await?;
        Ok::<_, std::io::Error>(serde_json::from_slice(&document)?)
    };
    match tokio::time::timeout(CLUSTER_TIMEOUT, read).await {
        Ok(Ok(view)) => Ok(view),
        Ok(Err(error)) => Err(format!("the cluster program does not answer: {error}")),
        Err(_) => Err("the cluster program does not answer in time".to_owned()),
    }
}

/// Prometheus' text format, version 0.0.4.
#[utoipa::path(get, path = "/metrics", responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn metrics() -> Result<impl IntoResponse, Refusal> {
    let units = show_all().await?;
    Ok((
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        metrics::text(&units),
    ))
}
