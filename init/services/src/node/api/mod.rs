//! The node API: one table of routes, from which both the router and the OpenAPI document are made.

mod answer;
mod document;
mod logs;
mod node;
mod run;
mod units;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::MethodRouter;
use axum::{Extension, Router};
use spec_config::NodeConfig;
use tokio::sync::Semaphore;
use utoipa::Path as _;
use utoipa::openapi::path::{HttpMethod, Operation};

pub(super) use node::cluster_view;

/// Most bytes of a request's body: a program with its arguments and directives is the only one.
const MAX_BODY: usize = 64 * 1024;

/// What handlers work with.
#[derive(Clone)]
struct Node {
    config: Arc<NodeConfig>,
    /// A permit for each operator who waits for a program.
    waiting: Arc<Semaphore>,
}

/// Whose certificate the connection showed.
#[derive(Clone)]
struct Operator(String);

/// One route: where it is and what it does come from the handler's own declaration.
struct Route {
    path: fn() -> String,
    methods: fn() -> Vec<HttpMethod>,
    operation: fn() -> Operation,
    handler: fn() -> MethodRouter<Node>,
}

/// A row of [`ROUTES`]: the method, the handler, and what `#[utoipa::path]` made beside it.
macro_rules! route {
    ($method:ident, $module:ident :: $handler:ident, $declaration:ident) => {
        Route {
            path: $module::$declaration::path,
            methods: $module::$declaration::methods,
            operation: $module::$declaration::operation,
            handler: || axum::routing::$method($module::$handler),
        }
    };
}

const ROUTES: &[Route] = &[
    route!(get, node::status, __path_status),
    route!(get, node::config, __path_config),
    route!(post, node::reboot, __path_reboot),
    route!(post, node::poweroff, __path_poweroff),
    route!(get, node::etcd_members, __path_etcd_members),
    route!(get, node::metrics, __path_metrics),
    route!(get, units::list, __path_list),
    route!(get, units::show, __path_show),
    route!(post, units::start, __path_start),
    route!(post, units::stop, __path_stop),
    route!(post, units::restart, __path_restart),
    route!(post, units::kill, __path_kill),
    route!(post, run::run, __path_run),
    route!(post, run::collect, __path_collect),
    route!(get, logs::logs, __path_logs),
    route!(get, document::openapi, __path_openapi),
];

/// The router of this node.
pub(super) fn router(config: Arc<NodeConfig>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(&(route.path)(), (route.handler)());
    }
    router
        .fallback(answer::nothing_there)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Node {
            config,
            waiting: Arc::new(Semaphore::new(run::MAX_WAITING)),
        })
}

/// The router for one connection.
pub(super) fn for_operator(router: &Router, operator: String) -> Router {
    router.clone().layer(Extension(Operator(operator)))
}

#[cfg(test)]
mod tests;
