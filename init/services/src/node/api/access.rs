//! Who may do what, by the certificate that a connection shows, and the audit of what was done and refused.

use std::net::SocketAddr;

use axum::Extension;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use client::trust::Purpose;

use super::answer::Refusal;

/// What the holder of a certificate may do: each what those before it may, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::node) enum Access {
    /// Look at everything but secrets.
    Reader,
    /// Start, stop and signal units, run programs, restart the node.
    Operator,
    /// Change what the node is.
    Admin,
}

impl Access {
    /// What this purpose of a certificate gives; nothing at all for those that are no people's.
    pub(in crate::node) fn of(purpose: Purpose) -> Option<Self> {
        match purpose {
            Purpose::Reader => Some(Self::Reader),
            Purpose::Operator => Some(Self::Operator),
            Purpose::Admin => Some(Self::Admin),
            Purpose::Node
            | Purpose::EtcdPeer
            | Purpose::EtcdServer
            | Purpose::EtcdClient
            | Purpose::Master => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Whose certificate the connection showed.
#[derive(Debug, Clone)]
pub(in crate::node) struct Caller {
    /// Their name.
    pub(in crate::node) name: String,
    /// What they may do; nothing, for a certificate that is no person's.
    pub(in crate::node) access: Option<Access>,
    /// Where they come from.
    pub(in crate::node) address: SocketAddr,
}

impl Caller {
    fn role(&self) -> &'static str {
        self.access.map_or("none", Access::word)
    }
}

/// Lets those pass who may, and tells the journal of each change and each refusal.
pub(super) async fn guard(
    needs: Access,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let what = format!("{} {}", request.method(), request.uri());
    if caller.access < Some(needs) {
        tell(&caller, &format!("{what}: refused"));
        return Refusal::forbidden(format!(
            "this needs a certificate of role {}; that of {} is of role {}",
            needs.word(),
            caller.name,
            caller.role()
        ))
        .into_response();
    }
    // Before it is done: whoever hangs up meanwhile has asked all the same, and may get what they asked for.
    if !reads {
        tell(&caller, &what);
    }
    let answer = next.run(request).await;
    if !reads {
        tell(&caller, &format!("{what}: {}", answer.status()));
    }
    answer
}

fn tell(caller: &Caller, what: &str) {
    let (name, role) = (caller.name.as_str(), caller.role());
    log::info!(
        OPERATOR = name, OPERATOR_ROLE = role;
        "audit: {name} ({role}) from {}: {what}", caller.address.ip().to_canonical()
    );
}
