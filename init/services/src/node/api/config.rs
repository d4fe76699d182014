//! The machine config: showing it, changing it, trying a change, going back. The keeper does all of it; who asked is
//! written in the journal here.

use std::path::Path;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Query};
use axum::{Extension, Json};
use serde::Deserialize;
use spec_api::{ConfigChange, ConfigEntry, ConfigMode, ConfigRequest, ConfigRollback, ConfigView};
use spec_layout::path;

use super::Caller;
use super::answer::Refusal;
use crate::node::config::{Answer, Ask, Problem, ask};

/// Most bytes of a request with a document: each of its bytes may be escaped in JSON.
pub(super) const MAX_REQUEST: usize = 6 * spec_config::MAX_DOCUMENT + 1024;

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Invalid(said) => Self::bad_request(said),
            Problem::Conflict(said) => Self::conflict(said),
            Problem::NotFound(said) => Self::not_found(said),
            Problem::Failed(said) => Self::failed(said),
        }
    }
}

async fn asked(question: Ask) -> Result<Answer, Refusal> {
    Ok(ask(Path::new(path::CONFIG_SOCKET), &question).await?)
}

async fn changed(question: Ask) -> Result<Json<ConfigChange>, Refusal> {
    match asked(question).await? {
        Answer::Change(change) => Ok(Json(change)),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Answer) -> Refusal {
    log::error!("the keeper of the machine config answers beside the question: {answer:?}");
    Refusal::failed("the keeper of the machine config answers beside the question")
}

/// The machine config in force.
#[utoipa::path(get, path = "/v1/config", responses((status = 200, body = ConfigView)))]
pub(super) async fn show() -> Result<Json<ConfigView>, Refusal> {
    match asked(Ask::Show).await? {
        Answer::View(view) => Ok(Json(view)),
        other => Err(unexpected(&other)),
    }
}

/// The configs that there were, newest first.
#[utoipa::path(get, path = "/v1/config/history", responses((status = 200, body = Vec<ConfigEntry>)))]
pub(super) async fn history() -> Result<Json<Vec<ConfigEntry>>, Refusal> {
    match asked(Ask::History).await? {
        Answer::History(entries) => Ok(Json(entries)),
        other => Err(unexpected(&other)),
    }
}

/// Brings another config.
#[utoipa::path(post, path = "/v1/config", request_body = ConfigRequest,
    responses((status = 200, body = ConfigChange)))]
pub(super) async fn apply(
    Extension(caller): Extension<Caller>,
    request: Result<Json<ConfigRequest>, JsonRejection>,
) -> Result<Json<ConfigChange>, Refusal> {
    let Json(request) = request?;
    let ConfigRequest { document, mode } = request;
    note(&caller, mode, "a machine config");
    let by = caller.name;
    changed(Ask::Apply { by, document, mode }).await
}

/// The limit of [`apply`]'s body.
pub(super) fn limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(MAX_REQUEST)
}

/// Which config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Number {
    number: u64,
}

/// The config on trial stays.
#[utoipa::path(post, path = "/v1/config/confirm",
    params(("number" = u64, Query, description = "The one on trial")),
    responses((status = 200, body = ConfigChange)))]
pub(super) async fn confirm(
    Query(Number { number }): Query<Number>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<ConfigChange>, Refusal> {
    log::info!("{} confirms config {number}", caller.name);
    changed(Ask::Confirm { number }).await
}

/// Brings a config from the history again.
#[utoipa::path(post, path = "/v1/config/rollback", request_body = ConfigRollback,
    responses((status = 200, body = ConfigChange)))]
pub(super) async fn rollback(
    Extension(caller): Extension<Caller>,
    request: Result<Json<ConfigRollback>, JsonRejection>,
) -> Result<Json<ConfigChange>, Refusal> {
    let Json(ConfigRollback { number, mode }) = request?;
    let which = number.map_or("the config before".to_owned(), |n| format!("config {n}"));
    note(&caller, mode, &which);
    let by = caller.name;
    changed(Ask::Rollback { by, number, mode }).await
}

fn note(caller: &Caller, mode: ConfigMode, what: &str) {
    let how = match mode {
        ConfigMode::DryRun => return,
        ConfigMode::Now => "now".to_owned(),
        ConfigMode::Try(seconds) => format!("for {seconds} s"),
        ConfigMode::AtReboot => "at the next boot".to_owned(),
    };
    log::info!("{} brings {what}, {how}", caller.name);
}
