//! Respond: the one table from what happened to what the sender reads.
//!
//! A 4xx says that the sender must change something; a 503 that it must try again. Never 410 or 501: providers take
//! those as "stop sending". Only [`Accepted`] becomes a 2xx.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use tidegate_shared::event::RequestId;
use tidegate_shared::problem::Problem;
use tidegate_shared::provider::Success;
use tidegate_shared::signature::{Reply, VerifyError};

use crate::claim::ClaimError;
use crate::error::IngestError;
use crate::handshake::HandshakeError;
use crate::offered::OfferedError;
use crate::publish::Accepted;

/// The header that carries the request's id on every answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Seconds after which a refused sender may try again: a reconnect takes about as long.
const RETRY_AFTER: &str = "1";

#[derive(Serialize)]
struct AcceptedBody<'a> {
    status: &'static str,
    event_id: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<usize>,
}

/// The answer to an event that is durable, as its provider wants it.
pub(crate) fn accept(accepted: &Accepted, success: Success) -> Response {
    let mut response = match success {
        Success::Json => Json(AcceptedBody {
            status: accepted.status(),
            event_id: accepted.event_id().as_str(),
            request_id: accepted.request_id().as_str(),
            events: accepted.events(),
        })
        .into_response(),
        Success::Empty => StatusCode::OK.into_response(),
        Success::Accepted => StatusCode::ACCEPTED.into_response(),
        Success::NoContent => StatusCode::NO_CONTENT.into_response(),
        Success::Text(text) => text.into_response(),
    };
    mark(&mut response, accepted.request_id());
    response
}

/// The answer to a handshake.
pub(crate) fn reply(reply: Reply, request_id: &RequestId) -> Response {
    // Bytes alone would be given a type of their own.
    let mut response = (reply.status, reply.headers, Body::from(reply.body)).into_response();
    mark(&mut response, request_id);
    response
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) retry_after: bool,
}

/// The row of an error.
pub(crate) fn row(error: &IngestError) -> Row {
    let (status, code) = match error {
        IngestError::UnknownSource { .. } | IngestError::AddressNotAllowed { .. } => {
            (StatusCode::NOT_FOUND, "unknown_source")
        }
        IngestError::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
        IngestError::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        IngestError::UnsupportedEncoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding"),
        IngestError::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
        IngestError::BodyTimeout { .. } | IngestError::BodyTooSlow { .. } | IngestError::BodyBroken(_) => {
            (StatusCode::BAD_REQUEST, "malformed_request")
        }
        // Not a duplicate, which a sender would take for "kept", and nothing that trying again would mend.
        IngestError::Replayed { .. } => (StatusCode::BAD_REQUEST, "malformed_request"),
        IngestError::Unverified(error) => verify_code(error),
        IngestError::Handshake(HandshakeError::NotKept(
            OfferedError::Unwanted | OfferedError::Taken { .. } | OfferedError::Useless(_),
        )) => (StatusCode::UNAUTHORIZED, "invalid_signature"),
        IngestError::Unclaimed(ClaimError::InFlight) => (StatusCode::CONFLICT, "in_progress"),
        IngestError::Handshake(
            HandshakeError::Unconfirmed(_)
            | HandshakeError::Refused(_)
            | HandshakeError::Abandoned
            | HandshakeError::NotKept(OfferedError::File { .. }),
        )
        | IngestError::NoKey(_)
        | IngestError::Unclaimed(ClaimError::Unavailable(_))
        | IngestError::NotDurable(_)
        | IngestError::NotSpooled { .. }
        | IngestError::Overloaded
        | IngestError::Abandoned => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let retry_after =
        matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS);
    Row { status, code, retry_after }
}

/// What is counted and logged of an error: the code that the sender reads, or what is kept from it.
pub(crate) fn outcome(error: &IngestError) -> &'static str {
    if let IngestError::AddressNotAllowed { .. } = error { "address_not_allowed" } else { row(error).code }
}

/// The status and code of a request that does not verify.
pub(crate) fn verify_code(error: &VerifyError) -> (StatusCode, &'static str) {
    match error {
        VerifyError::InvalidSignature => (StatusCode::UNAUTHORIZED, "invalid_signature"),
        VerifyError::MissingSignature { .. } => (StatusCode::BAD_REQUEST, "missing_signature"),
        VerifyError::Duplicate { .. } => (StatusCode::BAD_REQUEST, "duplicate_header"),
        VerifyError::StaleTimestamp { .. } => (StatusCode::BAD_REQUEST, "stale_timestamp"),
        VerifyError::MissingEventId => (StatusCode::BAD_REQUEST, "missing_event_id"),
        VerifyError::MalformedRequest { .. } => (StatusCode::BAD_REQUEST, "malformed_request"),
    }
}

/// One sentence for the sender: what is wrong and what to do, and nothing about our insides.
pub(crate) fn message(error: &IngestError) -> String {
    match error {
        IngestError::Unverified(VerifyError::InvalidSignature) => {
            "no live secret of this source matches the signature; check the secret and that the body is sent unchanged"
                .to_owned()
        }
        IngestError::Unverified(error) => error.to_string(),
        IngestError::Handshake(HandshakeError::NotKept(
            OfferedError::Unwanted | OfferedError::Taken { .. } | OfferedError::Useless(_),
        )) => "this source takes no secret that is offered to it now".to_owned(),
        IngestError::Handshake(_) => "the handshake could not be finished; try again after Retry-After".to_owned(),
        IngestError::NoKey(_) => {
            "the key that this request is signed with could not be had; try again after Retry-After".to_owned()
        }
        IngestError::Replayed { .. } => {
            "this source refuses a body that it has accepted under another event id; nothing of this request is kept"
                .to_owned()
        }
        IngestError::Unclaimed(ClaimError::InFlight) => {
            "another request with this event is being received; try again after Retry-After".to_owned()
        }
        IngestError::Unclaimed(ClaimError::Unavailable(_))
        | IngestError::NotDurable(_)
        | IngestError::NotSpooled { .. }
        | IngestError::Overloaded
        | IngestError::Abandoned => "the event could not be stored; try again after Retry-After".to_owned(),
        IngestError::MethodNotAllowed => "send events to this URL with POST".to_owned(),
        IngestError::UnsupportedEncoding => "send the body without Content-Encoding".to_owned(),
        IngestError::RateLimited { limited, .. } => {
            format!("the {limited} is over its rate limit; try again after Retry-After")
        }
        IngestError::AddressNotAllowed { name, .. } => no_source(name.as_str()),
        IngestError::UnknownSource { name } => no_source(name),
        IngestError::BodyTooLarge { .. }
        | IngestError::BodyTimeout { .. }
        | IngestError::BodyTooSlow { .. }
        | IngestError::BodyBroken(_) => error.to_string(),
    }
}

/// What both read who may not know whether there is such a source.
fn no_source(name: &str) -> String {
    format!("there is no source {name:?}")
}

/// The answer to a request that failed.
pub(crate) fn refuse(error: &IngestError, request_id: &RequestId) -> Response {
    let row = row(error);
    let mut response = problem(row.status, row.code, message(error), row.retry_after, request_id);
    if let IngestError::RateLimited { retry_after, .. } = error {
        response.headers_mut().insert(header::RETRY_AFTER, whole_seconds(*retry_after).into());
    }
    response
}

/// Rounded up: a second early would be refused again.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// An answer with an error's body.
pub(crate) fn problem(
    status: StatusCode,
    code: &str,
    message: String,
    retry_after: bool,
    request_id: &RequestId,
) -> Response {
    let mut response = (status, Json(Problem::new(code, message, request_id.as_str()))).into_response();
    if retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    mark(&mut response, request_id);
    response
}

/// Writes the request's id on an answer.
pub(crate) fn mark(response: &mut Response, request_id: &RequestId) {
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tidegate_shared::claims::ClaimsError;
    use tidegate_shared::event::SourceName;
    use tidegate_shared::queue::PublishError;
    use tidegate_shared::spool::SpoolError;

    use super::*;
    use crate::admission::Limited;
    use crate::keys::KeyError;

    fn not_allowed(name: &str) -> IngestError {
        let name = SourceName::try_new(name).expect("a name");
        IngestError::AddressNotAllowed { name, sender: IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }

    fn limited(limited: Limited, retry_after: Duration) -> IngestError {
        IngestError::RateLimited { limited, retry_after }
    }

    #[test]
    fn each_error_has_its_row() {
        let check = |error: IngestError, status: u16, code: &str, retry_after: bool| {
            let row = row(&error);
            assert_eq!((row.status.as_u16(), row.code, row.retry_after), (status, code, retry_after), "{error:?}");
            assert!(!message(&error).is_empty());
        };
        check(IngestError::UnknownSource { name: "x".into() }, 404, "unknown_source", false);
        check(not_allowed("x"), 404, "unknown_source", false);
        check(limited(Limited::Address, Duration::ZERO), 429, "rate_limited", true);
        check(limited(Limited::Source, Duration::ZERO), 429, "rate_limited", true);
        check(IngestError::BodyTooSlow { rate_min: 1 }, 400, "malformed_request", false);
        check(IngestError::MethodNotAllowed, 405, "method_not_allowed", false);
        check(IngestError::UnsupportedEncoding, 415, "unsupported_encoding", false);
        check(IngestError::BodyTooLarge { limit: 1 }, 413, "body_too_large", false);
        check(IngestError::BodyTimeout { within: Duration::from_secs(1) }, 400, "malformed_request", false);
        check(IngestError::Unverified(VerifyError::InvalidSignature), 401, "invalid_signature", false);
        check(IngestError::Unverified(VerifyError::MissingEventId), 400, "missing_event_id", false);
        let id = |text: &str| tidegate_shared::event::EventId::try_new(text).expect("an id");
        check(IngestError::Replayed { event_id: id("b"), first: id("a") }, 400, "malformed_request", false);
        check(IngestError::Unclaimed(ClaimError::InFlight), 409, "in_progress", true);
        check(IngestError::Unclaimed(ClaimError::Unavailable(Some(ClaimsError::Resting))), 503, "unavailable", true);
        for error in [
            PublishError::Unavailable("down".into()),
            PublishError::Refused("full".into()),
            PublishError::OutcomeUnknown("late".into()),
        ] {
            check(IngestError::NotDurable(error), 503, "unavailable", true);
        }
        let full = SpoolError::Full { bytes_max: 1 };
        let unpublished = PublishError::Unavailable("down".into());
        check(IngestError::NotSpooled { unpublished, spool: full }, 503, "unavailable", true);
        let location = crate::keys::tests::place(1);
        check(IngestError::NoKey(KeyError::Absent { location }), 503, "unavailable", true);
        check(IngestError::Overloaded, 503, "unavailable", true);
        check(IngestError::Abandoned, 503, "unavailable", true);
    }

    /// Whoever may not send there cannot tell that there is anything.
    #[test]
    fn a_source_that_is_closed_to_an_address_looks_like_none() {
        let (closed, none) = (not_allowed("shop"), IngestError::UnknownSource { name: "shop".to_owned() });
        assert_eq!((row(&closed), message(&closed)), (row(&none), message(&none)));
        assert_eq!((outcome(&closed), outcome(&none)), ("address_not_allowed", "unknown_source"));
    }

    #[test]
    fn the_wait_is_told_in_whole_seconds_that_are_enough() {
        for (millis, seconds) in [(1, "1"), (1_000, "1"), (1_001, "2"), (59_999, "60")] {
            let error = limited(Limited::Source, Duration::from_millis(millis));
            let answer = refuse(&error, &RequestId::generate());
            assert_eq!(answer.headers()[header::RETRY_AFTER], seconds, "{millis} ms");
        }
    }

    #[test]
    fn no_error_tells_about_our_insides() {
        let secret = "amqp://user:password@broker";
        let error = IngestError::NotDurable(PublishError::Unavailable(secret.to_owned()));
        assert!(!message(&error).contains("password"));
    }
}
