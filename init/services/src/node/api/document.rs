//! `/openapi.json`: the document of the API, made from the table of routes.

use axum::Json;
use spec_api::{
    AddressView, ApiError, ConfigChange, ConfigEntry, ConfigMode, ConfigOutcome, ConfigRequest,
    ConfigRollback, ConfigTrial, ConfigView, EtcdMember, LeaseView, LinkView, LogEntry,
    NetworkView, NodeStatus, OutputStream, RouteView, RunEnd, RunEvent, RunOutput, RunRequest,
    RunStarted, Unit,
};
use spec_config::Difference;
use utoipa::OpenApi;
use utoipa::openapi::path::{PathItem, Paths};

use super::ROUTES;

/// Title and schemas; the paths are added from the table.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bedplate node API",
        description = "One node of a Bedplate cluster, over mutual TLS."
    ),
    components(schemas(
        AddressView,
        ApiError,
        ConfigChange,
        ConfigEntry,
        ConfigMode,
        ConfigOutcome,
        ConfigRequest,
        ConfigRollback,
        ConfigTrial,
        ConfigView,
        Difference,
        EtcdMember,
        LeaseView,
        LinkView,
        LogEntry,
        NetworkView,
        NodeStatus,
        OutputStream,
        RouteView,
        RunEnd,
        RunEvent,
        RunOutput,
        RunRequest,
        RunStarted,
        Unit
    ))
)]
struct Document;

/// The whole document.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let mut paths = Paths::new();
    for route in ROUTES {
        for method in (route.methods)() {
            paths.add_path_operation((route.path)(), vec![method], (route.operation)());
        }
    }
    for item in paths.paths.values_mut() {
        refuse_in_one_way(item);
    }
    document.paths = paths;
    document
}

/// Every operation can be refused with an [`ApiError`].
fn refuse_in_one_way(item: &mut PathItem) {
    use utoipa::openapi::{Content, Ref, RefOr, Response};
    let schema = Ref::from_schema_name("ApiError");
    for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
        let mut response = Response::new("Refused; the body says why and what to do.");
        response.content.insert(
            "application/json".to_owned(),
            Content::new(Some(schema.clone())),
        );
        operation
            .responses
            .responses
            .insert("default".to_owned(), RefOr::T(response));
    }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1.")))]
pub(super) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
