//! The node API: one table of routes, from which both the router and the OpenAPI document are made.

mod access;
mod answer;
mod config;
mod document;
mod logs;
mod network;
mod node;
mod run;
mod units;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::routing::MethodRouter;
use axum::{Extension, Router};
use spec_config::NodeConfig;
use tokio::sync::Semaphore;
use utoipa::Path as _;
use utoipa::openapi::path::{HttpMethod, Operation};

pub(super) use access::{Access, Caller};
pub(super) use node::cluster_view;

/// Most bytes of a request's body, where its route sets no bound of its own: a program with its arguments and
/// directives.
const MAX_BODY: usize = 64 * 1024;

/// What handlers work with.
#[derive(Clone)]
struct Node {
    config: Arc<NodeConfig>,
    /// A permit for each operator who waits for a program.
    waiting: Arc<Semaphore>,
}

/// One route: where it is and what it does come from the handler's own declaration.
struct Route {
    path: fn() -> String,
    methods: fn() -> Vec<HttpMethod>,
    operation: fn() -> Operation,
    handler: fn() -> MethodRouter<Node>,
    needs: Access,
}

/// A row of [`ROUTES`]: who may, the method, the handler, what `#[utoipa::path]` made beside it, and a limit of its
/// body if it has one of its own.
macro_rules! route {
    ($needs:ident, $method:ident, $module:ident :: $handler:ident, $declaration:ident $(, $limit:ident)?) => {
        Route {
            path: $module::$declaration::path,
            methods: $module::$declaration::methods,
            operation: $module::$declaration::operation,
            handler: || axum::routing::$method($module::$handler)$(.layer($module::$limit()))?,
            needs: Access::$needs,
        }
    };
}

const ROUTES: &[Route] = &[
    route!(Reader, get, node::status, __path_status),
    route!(Reader, get, config::show, __path_show),
    route!(Admin, post, config::apply, __path_apply, limit),
    route!(Admin, post, config::confirm, __path_confirm),
    route!(Admin, post, config::rollback, __path_rollback),
    route!(Reader, get, config::history, __path_history),
    route!(Operator, post, node::reboot, __path_reboot),
    route!(Operator, post, node::poweroff, __path_poweroff),
    route!(Reader, get, node::etcd_members, __path_etcd_members),
    route!(Reader, get, node::metrics, __path_metrics),
    route!(Reader, get, network::show, __path_show),
    route!(Reader, get, units::list, __path_list),
    route!(Reader, get, units::show, __path_show),
    route!(Operator, post, units::start, __path_start),
    route!(Operator, post, units::stop, __path_stop),
    route!(Operator, post, units::restart, __path_restart),
    route!(Operator, post, units::kill, __path_kill),
    route!(Operator, post, run::run, __path_run),
    route!(Operator, post, run::collect, __path_collect),
    route!(Reader, get, logs::logs, __path_logs),
    route!(Reader, get, document::openapi, __path_openapi),
];

/// The router of this node.
pub(super) fn router(config: Arc<NodeConfig>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let needs = route.needs;
        let guarded = (route.handler)().layer(from_fn(
            move |caller: Extension<Caller>, request: Request, next: Next| {
                access::guard(needs, caller, request, next)
            },
        ));
        router = router.route(&(route.path)(), guarded);
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
pub(super) fn for_caller(router: &Router, caller: Caller) -> Router {
    router.clone().layer(Extension(caller))
}

#[cfg(test)]
mod tests;
