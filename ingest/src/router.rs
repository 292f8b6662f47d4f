//! The door's URLs.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use tidegate_shared::event::RequestId;
use tidegate_shared::provider::Success;
use tidegate_shared::telemetry::chain;
use tower_service::Service;

use crate::admission::NotEntered;
use crate::error::IngestError;
use crate::readiness::HealthReport;
use crate::receive::{Door, Received};
use crate::respond::{self, REQUEST_ID};
use crate::source::{Counts, Source};

/// `/webhooks/{source}`, `/health` and `/ready`.
///
/// Events go past axum's router, which boxes and copies each request several times on its way.
#[derive(Debug, Clone)]
pub struct PublicService {
    door: Arc<Door>,
    others: Router,
}

impl PublicService {
    /// The URLs that anybody reaches.
    #[must_use]
    pub fn new(door: Arc<Door>) -> Self {
        let others = Router::new().route("/health", get(public_health)).route("/ready", get(public_ready));
        Self { others: others.with_state(Arc::clone(&door)).fallback(nothing_here), door }
    }
}

impl Service<Request<Incoming>> for PublicService {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let Some(name) = source_name(request.uri().path()) else { return Box::pin(self.others.call(request)) };
        let entered = self.door.enter(&name, &request);
        let door = Arc::clone(&self.door);
        Box::pin(async move { Ok(webhook(door, entered, request).await) })
    }
}

/// The source that a path names, if it is that of one. Any character of it may be percent-encoded (RFC 3986, section 2.1).
fn source_name(path: &str) -> Option<Cow<'_, str>> {
    let name = path.strip_prefix("/webhooks/").filter(|name| !name.is_empty() && !name.contains('/'))?;
    Some(percent_decode_str(name).decode_utf8_lossy())
}

/// `/health` and `/ready` as the admin listener has them: with reasons, which name servers.
pub(crate) fn state_routes(door: Arc<Door>) -> Router {
    Router::new().route("/health", get(health)).route("/ready", get(ready)).with_state(door)
}

async fn webhook(door: Arc<Door>, entered: Result<Arc<Source>, NotEntered>, request: Request<Incoming>) -> Response {
    let started = Instant::now();
    let request_id = request_id(request.headers());
    let (source, received) = match entered {
        Ok(source) => (Some(Arc::clone(&source)), receive(&door, source, request, request_id.clone()).await),
        Err(NotEntered { source, error }) => (source, Err(error)),
    };
    let (counts, label) = match &source {
        Some(source) => (&source.counts, source.config.name.as_str()),
        None => (&door.unknown, ""),
    };
    let (outcome, response) = match received {
        Ok((Received::Handshake(reply), _)) => {
            if let Some(left_out) = counts.handshake_lines.next(Instant::now()) {
                tracing::info!(source = label, %request_id, left_out, "handshake answered");
            }
            ("handshake", respond::reply(reply, &request_id))
        }
        Ok((Received::Events(accepted), success)) => {
            tracing::debug!(
                source = label, event_id = %accepted.event_id(), %request_id, status = accepted.status(), "event received"
            );
            (accepted.status(), respond::accept(&accepted, success))
        }
        Err(error) => {
            log_refusal(counts, label, &error, &request_id);
            (respond::outcome(&error), respond::refuse(&error, &request_id))
        }
    };
    counts.request.count(outcome);
    counts.request_seconds.record(started.elapsed().as_secs_f64());
    response
}

async fn receive(
    door: &Arc<Door>,
    source: Arc<Source>,
    request: Request<Incoming>,
    request_id: RequestId,
) -> Result<(Received, Success), IngestError> {
    let (head, body) = request.into_parts();
    let success = source.config.success;
    let request = if head.method == Method::POST {
        door.read(source, head, body, request_id).await?
    } else {
        Door::bodiless(source, head, request_id)
    };
    Ok((door.receive(request).await?, success))
}

fn log_refusal(counts: &Counts, source: &str, error: &IngestError, request_id: &RequestId) {
    let lines = if error.is_of_a_signed_event() { &counts.signed_lines } else { &counts.refused_lines };
    let Some(left_out) = lines.next(Instant::now()) else { return };
    let is_ours = respond::row(error).status.is_server_error();
    let (code, error) = (respond::outcome(error), chain(error));
    if is_ours {
        tracing::warn!(source, code, %request_id, left_out, %error, "event refused");
    } else {
        tracing::info!(source, code, %request_id, left_out, %error, "event refused");
    }
}

/// The sender's own request id where it has a valid one, else a new one.
fn request_id(headers: &HeaderMap) -> RequestId {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| RequestId::try_new(text).ok())
        .unwrap_or_else(RequestId::generate)
}

async fn health(State(door): State<Arc<Door>>, headers: HeaderMap) -> Response {
    report(StatusCode::OK, &door.health(), &headers)
}

async fn ready(State(door): State<Arc<Door>>, headers: HeaderMap) -> Response {
    report(readiness(&door), &door.health(), &headers)
}

async fn public_health(State(door): State<Arc<Door>>, headers: HeaderMap) -> Response {
    report(StatusCode::OK, &door.health().without_reasons(), &headers)
}

async fn public_ready(State(door): State<Arc<Door>>, headers: HeaderMap) -> Response {
    report(readiness(&door), &door.health().without_reasons(), &headers)
}

fn readiness(door: &Door) -> StatusCode {
    if door.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn report(status: StatusCode, report: &HealthReport, headers: &HeaderMap) -> Response {
    let mut response = (status, Json(report)).into_response();
    respond::mark(&mut response, &request_id(headers));
    response
}

async fn nothing_here(headers: HeaderMap) -> Response {
    let message = "nothing is here; events go to POST /webhooks/{source}".to_owned();
    respond::problem(StatusCode::NOT_FOUND, "not_found", message, false, &request_id(&headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_one_segment_names_a_source() {
        let check = |path, name: Option<&str>| assert_eq!(source_name(path).as_deref(), name, "{path}");
        check("/webhooks/my-shop", Some("my-shop"));
        check("/webhooks/my%2Dshop", Some("my-shop"));
        check("/webhooks/%2F%ff", Some("/\u{fffd}"));
        for other in ["/webhooks", "/webhooks/", "/webhooks/a/", "/webhooks/a/b", "/Webhooks/a", "/health"] {
            check(other, None);
        }
    }
}
