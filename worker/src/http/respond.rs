//! Respond: which status a caller of the worker's API sees when something fails. One table.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::answer;
use crate::api::{ApiError, CallFailure};

/// When to ask again where nobody knows better: short, as most outages are.
const RETRY_AFTER_USUAL: Duration = Duration::from_secs(5);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{0}")]
    BadRequest(String),
    #[error("the body is longer than the {limit} bytes that are taken")]
    BodyTooLarge { limit: usize },
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    #[error("there is no [api.{0}] in the configuration")]
    UnknownApi(String),
    #[error("no API is configured that answers this; add one to the configuration, such as {example}")]
    NotConfigured { example: &'static str },
    #[error("{}", said(.0))]
    Upstream(#[from] ApiError),
    #[error("the cache cannot be told now, so it may still answer with the old value")]
    CacheUnavailable,
    #[error("send an Idempotency-Key header, a new one for each new request, the same one for each retry")]
    KeyMissing,
    #[error("the Idempotency-Key {0}")]
    KeyInvalid(&'static str),
    #[error("this Idempotency-Key was used for another request; take a new one")]
    KeyReused,
    #[error("a request with this Idempotency-Key is at work; ask again for its answer")]
    InProgress { retry_after: Duration },
    #[error("{0}")]
    Conflict(&'static str),
    #[error("the ledger cannot be reached; nothing was done")]
    Unavailable,
    #[error("the ledger did not confirm in time; ask again with the same Idempotency-Key to learn the outcome")]
    OutcomeUnknown,
    #[error("the work took too long and was given up; nothing was done")]
    WorkTooLong,
    #[error("a defect of ours; nothing was done")]
    Internal,
}

/// How an error is told.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    status: StatusCode,
    code: &'static str,
    retry_after: Option<Duration>,
}

impl HttpError {
    /// The table.
    fn told(&self) -> Told {
        let now = |status, code| Told { status, code, retry_after: None };
        let later = |status, code, after| Told { status, code, retry_after: Some(after) };
        match self {
            Self::BadRequest(_) => now(StatusCode::BAD_REQUEST, "bad_request"),
            Self::BodyTooLarge { .. } => now(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::BodyTooSlow => now(StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::UnknownApi(_) => now(StatusCode::NOT_FOUND, "unknown_api"),
            Self::NotConfigured { .. } => now(StatusCode::NOT_FOUND, "api_not_configured"),
            Self::Upstream(error) => upstream(error),
            Self::KeyMissing => now(StatusCode::BAD_REQUEST, "idempotency_key_missing"),
            Self::KeyInvalid(_) => now(StatusCode::BAD_REQUEST, "idempotency_key_invalid"),
            Self::KeyReused => now(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
            Self::InProgress { retry_after } => later(StatusCode::CONFLICT, "in_progress", *retry_after),
            Self::Conflict(_) => now(StatusCode::CONFLICT, "conflict"),
            Self::CacheUnavailable | Self::Unavailable | Self::OutcomeUnknown | Self::WorkTooLong => {
                later(StatusCode::SERVICE_UNAVAILABLE, "unavailable", RETRY_AFTER_USUAL)
            }
            Self::Internal => now(StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

/// The table of what an external API can fail with.
fn upstream(error: &ApiError) -> Told {
    let now = |status, code| Told { status, code, retry_after: None };
    let later = |after| Told {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "upstream_unavailable",
        retry_after: Some(after),
    };
    match &error.failure {
        CallFailure::Timeout(_) => now(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"),
        CallFailure::BreakerOpen { retry_after } | CallFailure::Limited { retry_after } => later(*retry_after),
        CallFailure::Unreachable(_) | CallFailure::Broken(_) | CallFailure::Malformed(_) | CallFailure::TooLarge(_) => {
            now(StatusCode::BAD_GATEWAY, "upstream_error")
        }
        CallFailure::NoToken(_) | CallFailure::NoGrant(_) => now(StatusCode::BAD_GATEWAY, "upstream_refused"),
        CallFailure::BadCall(_) => now(StatusCode::BAD_REQUEST, "bad_request"),
        CallFailure::Stopping => later(RETRY_AFTER_USUAL),
        CallFailure::Status { status, retry_after, .. } => match (status.as_u16(), *retry_after) {
            (404, _) => now(StatusCode::NOT_FOUND, "not_found"),
            (429, after) => later(after.unwrap_or(RETRY_AFTER_USUAL)),
            // Whoever says when to come back will answer then. A 403 is GitHub's way to say that its limit is reached.
            (403 | 500..=599, Some(after)) => later(after),
            (401 | 403 | 407, _) => now(StatusCode::BAD_GATEWAY, "upstream_refused"),
            (400 | 422, _) => now(StatusCode::BAD_REQUEST, "bad_request"),
            (_, _) => now(StatusCode::BAD_GATEWAY, "upstream_error"),
        },
    }
}

/// What the caller is told of it. Never the API's own words: they may hold what is ours.
fn said(error: &ApiError) -> String {
    let what = match upstream(error).code {
        "not_found" => "has no such thing",
        "bad_request" => "does not take this request",
        "upstream_timeout" => "did not answer in time",
        "upstream_unavailable" => "is left alone for now: it is at its limit or fails too often",
        "upstream_refused" => "refuses the gateway's own key or grant; its operator must look, you need not",
        _ => "cannot be reached, or its answer cannot be used",
    };
    format!("the API {} {what}", error.api)
}

impl From<PathRejection> for HttpError {
    fn from(rejection: PathRejection) -> Self {
        Self::BadRequest(rejection.body_text())
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let told = self.told();
        if let (Self::Upstream(error), true) = (&self, told.status.is_server_error()) {
            // The one place where an upstream's failure is logged in full.
            tracing::warn!(api = %error.api, %error, "a caller's request was not answered by the API");
        } else {
            tracing::debug!(status = %told.status, error = %self, "a caller's request failed");
        }
        let response = answer::problem(told.status, told.code, self.to_string());
        match told.retry_after {
            Some(after) => answer::retry_after(response, after),
            None => response,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_shared::event::ApiName;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn error(failure: CallFailure) -> ApiError {
        ApiError { api: ApiName::try_new("crm").expect("a name"), failure }
    }

    fn check(error: HttpError, status: u16, code: &str, retry_after: Option<&str>) {
        let text = format!("{error:?}");
        let told = error.told();
        assert_eq!((told.status.as_u16(), told.code), (status, code), "{text}");
        let response = error.into_response();
        let given = response.headers().get(http::header::RETRY_AFTER).map(|value| value.to_str().expect("text"));
        assert_eq!(given, retry_after, "{text}");
    }

    #[test]
    fn every_failure_of_an_api_has_its_row() {
        let check = |failure: CallFailure, status, code, after| check(error(failure).into(), status, code, after);
        check(CallFailure::Unreachable(String::new()), 502, "upstream_error", None);
        check(CallFailure::Timeout(SECOND), 504, "upstream_timeout", None);
        check(CallFailure::Broken(String::new()), 502, "upstream_error", None);
        check(CallFailure::Malformed(String::new()), 502, "upstream_error", None);
        check(CallFailure::TooLarge(1), 502, "upstream_error", None);
        let after = Duration::from_millis(2_500);
        check(CallFailure::BreakerOpen { retry_after: after }, 503, "upstream_unavailable", Some("3"));
        check(CallFailure::Limited { retry_after: Duration::ZERO }, 503, "upstream_unavailable", Some("1"));
        check(CallFailure::NoToken(String::new()), 502, "upstream_refused", None);
        check(CallFailure::BadCall(String::new()), 400, "bad_request", None);
        check(CallFailure::Stopping, 503, "upstream_unavailable", Some("5"));
    }

    #[test]
    fn every_status_of_an_api_has_its_row() {
        let check = |given: u16, retry_after: Option<Duration>, status, code, after| {
            let given = StatusCode::from_u16(given).expect("a status");
            let failure = CallFailure::Status { status: given, retry_after, excerpt: "a secret".to_owned() };
            assert!(!HttpError::from(error(failure.clone())).to_string().contains("secret"));
            check(error(failure).into(), status, code, after);
        };
        check(404, None, 404, "not_found", None);
        check(429, Some(7 * SECOND), 503, "upstream_unavailable", Some("7"));
        check(429, None, 503, "upstream_unavailable", Some("5"));
        for refused in [401, 403, 407] {
            check(refused, None, 502, "upstream_refused", None);
        }
        check(403, Some(60 * SECOND), 503, "upstream_unavailable", Some("60"));
        check(503, Some(60 * SECOND), 503, "upstream_unavailable", Some("60"));
        for bad in [400, 422] {
            check(bad, None, 400, "bad_request", None);
        }
        for other in [301, 304, 402, 405, 408, 409, 410, 500, 502, 503, 504] {
            check(other, None, 502, "upstream_error", None);
        }
    }

    #[test]
    fn every_failure_of_our_own_has_its_row() {
        check(HttpError::BadRequest(String::new()), 400, "bad_request", None);
        check(HttpError::BodyTooLarge { limit: 1 }, 413, "body_too_large", None);
        check(HttpError::BodyTooSlow, 408, "request_timeout", None);
        check(HttpError::UnknownApi(String::new()), 404, "unknown_api", None);
        check(HttpError::NotConfigured { example: "" }, 404, "api_not_configured", None);
        check(HttpError::CacheUnavailable, 503, "unavailable", Some("5"));
        check(HttpError::KeyMissing, 400, "idempotency_key_missing", None);
        check(HttpError::KeyInvalid(""), 400, "idempotency_key_invalid", None);
        check(HttpError::KeyReused, 422, "idempotency_key_reused", None);
        check(HttpError::InProgress { retry_after: SECOND }, 409, "in_progress", Some("1"));
        check(HttpError::Conflict(""), 409, "conflict", None);
        check(HttpError::Unavailable, 503, "unavailable", Some("5"));
        check(HttpError::OutcomeUnknown, 503, "unavailable", Some("5"));
        check(HttpError::WorkTooLong, 503, "unavailable", Some("5"));
        check(HttpError::Internal, 500, "internal", None);
    }
}
