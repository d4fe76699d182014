//! How handlers fail: a status and an [`ApiError`] that says what happened and what to do.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use client::control;
use spec_api::ApiError;

/// A refused request.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    /// The request is wrong.
    pub(super) fn bad_request(error: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error: error.into(),
        }
    }

    /// What it is about does not exist.
    pub(super) fn not_found(error: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            error: error.into(),
        }
    }

    /// Whoever asks may not.
    pub(super) fn forbidden(error: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            error: error.into(),
        }
    }

    /// Not now, or not in this way.
    pub(super) fn conflict(error: impl Into<String>) -> Self {
        Self {
            status: StatusCode::CONFLICT,
            error: error.into(),
        }
    }

    /// The node could not.
    pub(super) fn failed(error: impl Into<String>) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: error.into(),
        }
    }

    /// A program of this node that is needed does not answer now.
    pub(super) fn unavailable(error: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error: error.into(),
        }
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self {
            status: rejection.status(),
            error: rejection.body_text(),
        }
    }
}

impl From<control::Error> for Refusal {
    fn from(error: control::Error) -> Self {
        let status = match &error {
            control::Error::Refused(_) => StatusCode::CONFLICT,
            control::Error::Timeout => StatusCode::GATEWAY_TIMEOUT,
            control::Error::Socket(_) | control::Error::Answer(_) => StatusCode::BAD_GATEWAY,
        };
        Self {
            status,
            error: error.to_string(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(ApiError { error: self.error })).into_response()
    }
}

/// For every path that is in no route.
pub(super) async fn nothing_there() -> Refusal {
    Refusal::not_found("there is no such path; GET /openapi.json lists all")
}
