//! Units: what PID 1 says of them, and asking it to start and stop them.

use std::path::Path as FilePath;

use axum::Json;
use axum::extract::{Path, Query};
use client::control::{Control, Error};
use serde::Deserialize;
use spec_api::Unit;
use spec_layout::path;
use spec_unit::control::{ExitStatus, Request, UnitStatus};

use super::answer::Refusal;
use crate::node::metrics;

/// Longest unit name (systemd.unit(5)).
const MAX_NAME: usize = 255;

/// A connection to PID 1.
pub(super) fn connect() -> Result<Control, Error> {
    Control::connect(FilePath::new(path::CONTROL_SOCKET))
}

/// All units in PID 1's words.
pub(super) async fn show_all() -> Result<Vec<UnitStatus>, Error> {
    connect()?.list().await
}

fn unit(status: UnitStatus) -> Unit {
    let (exec_main_code, exec_main_status) = status.exit.map(ExitStatus::parts).unzip();
    let memory_bytes = status.cgroup.as_deref().and_then(metrics::memory_bytes);
    Unit {
        name: status.name,
        description: status.description,
        load: status.load,
        active: status.active,
        sub: status.sub,
        main_pid: status.main_pid,
        main_started_us: status.main_started_monotonic_us,
        memory_bytes,
        restarts: status.restarts,
        result: status.result,
        exec_main_code: exec_main_code.map(str::to_owned),
        exec_main_status,
        reason: status.reason,
    }
}

/// All loaded units, by name.
#[utoipa::path(get, path = "/v1/units", responses((status = 200, body = Vec<Unit>)))]
pub(super) async fn list() -> Result<Json<Vec<Unit>>, Refusal> {
    Ok(Json(show_all().await?.into_iter().map(unit).collect()))
}

/// One unit.
#[utoipa::path(get, path = "/v1/units/{name}", params(("name" = String, Path, description = "Unit name")),
    responses((status = 200, body = Unit)))]
pub(super) async fn show(Path(name): Path<String>) -> Result<Json<Unit>, Refusal> {
    let name = checked(name)?;
    match connect()?.show(&name).await {
        Ok(status) => Ok(Json(unit(status))),
        Err(Error::Refused(reason)) => Err(Refusal::not_found(reason)),
        Err(error) => Err(error.into()),
    }
}

/// Starts a unit and what it requires.
#[utoipa::path(post, path = "/v1/units/{name}/start", params(("name" = String, Path, description = "Unit name")),
    responses((status = 200, description = "Begun.")))]
pub(super) async fn start(Path(name): Path<String>) -> Result<(), Refusal> {
    order(name, |unit| Request::Start { unit }).await
}

/// Stops a unit and what requires it.
#[utoipa::path(post, path = "/v1/units/{name}/stop", params(("name" = String, Path, description = "Unit name")),
    responses((status = 200, description = "Begun.")))]
pub(super) async fn stop(Path(name): Path<String>) -> Result<(), Refusal> {
    order(name, |unit| Request::Stop { unit }).await
}

/// Stops a unit, then starts it.
#[utoipa::path(post, path = "/v1/units/{name}/restart", params(("name" = String, Path, description = "Unit name")),
    responses((status = 200, description = "Begun.")))]
pub(super) async fn restart(Path(name): Path<String>) -> Result<(), Refusal> {
    order(name, |unit| Request::Restart { unit }).await
}

/// Which signal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signal {
    signal: i32,
}

/// Sends a signal to every process of a unit.
#[utoipa::path(post, path = "/v1/units/{name}/kill",
    params(("name" = String, Path, description = "Unit name"), ("signal" = i32, Query, description = "1 to 64")),
    responses((status = 200, description = "Sent.")))]
pub(super) async fn kill(
    Path(name): Path<String>,
    Query(Signal { signal }): Query<Signal>,
) -> Result<(), Refusal> {
    order(name, |unit| Request::Kill { unit, signal }).await
}

async fn order(name: String, request: impl FnOnce(String) -> Request) -> Result<(), Refusal> {
    let name = checked(name)?;
    Ok(connect()?.order(request(name)).await?)
}

/// Refuses what cannot be a unit's name, so that PID 1 never sees it.
pub(super) fn checked(name: String) -> Result<String, Refusal> {
    let known = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte));
    if known && name.contains('.') && name.len() <= MAX_NAME {
        return Ok(name);
    }
    Err(Refusal::bad_request(
        "that is not a unit name, such as etcd.service",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unit_names_reach_pid_1() {
        for good in [
            "etcd.service",
            "getty@tty1.service",
            "dev-disk-by\\x2dlabel.device",
        ] {
            assert!(checked(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "etcd",
            "../x.service",
            "a b.service",
            "é.service",
            &"x".repeat(300),
        ] {
            assert!(checked(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
