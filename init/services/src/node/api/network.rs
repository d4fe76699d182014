//! The network as its service sees it.

use axum::Json;
use spec_api::NetworkView;
use spec_layout::path::NETWORK_VIEW;

use super::answer::Refusal;
use crate::node::facts;

/// Links with their addresses, routes and leases, and what lacks.
#[utoipa::path(get, path = "/v1/network", responses((status = 200, body = NetworkView)))]
pub(super) async fn show() -> Result<Json<NetworkView>, Refusal> {
    serde_json::from_str(&facts::small_file(NETWORK_VIEW))
        .map(Json)
        .map_err(|error| {
            Refusal::unavailable(format!(
                "the network service has not told what it knows ({error}); see bedplate-network.service"
            ))
        })
}
