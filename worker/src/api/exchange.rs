//! One attempt at a call: a request, and its answer read as far as it is allowed to be long.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use reqwest::{Request, Response};
use tidegate_shared::telemetry::chain;
use tracing::Instrument as _;

use super::cache::entry::Entry;
use super::client::Client;
use super::error::CallFailure;
use super::oauth::TokenError;
use super::retry::{Failure, retry_after};
use super::trace::{Span, TRACEPARENT};
use super::{Accept, Call};

/// Bytes of a refusal that are kept for the operator.
const EXCERPT_MAX: usize = 200;
/// Bytes of it that are looked at: a key must not be cut in two before it is found.
const READ_MAX: usize = 4_096;

/// How long to wait where an API that has enough does not say.
const QUIET: Duration = Duration::from_secs(1);

/// A success.
#[derive(Debug, Clone)]
pub(super) enum Fetched {
    /// A new answer.
    New { body: Bytes, content_type: Option<String>, etag: Option<String>, last_modified: Option<String> },
    /// What we have is still right: RFC 9110 section 15.4.5.
    NotModified { etag: Option<String>, last_modified: Option<String> },
}

/// An attempt that brought nothing.
#[derive(Debug)]
pub(super) struct Failed {
    /// For the policies. `None`: it was not even tried.
    pub(super) kind: Option<Failure>,
    /// For whoever made the call.
    pub(super) failure: CallFailure,
    /// How long the API asks to wait.
    pub(super) retry_after: Option<Duration>,
}

impl Failed {
    pub(super) fn of(failure: CallFailure) -> Self {
        let retry_after = if let CallFailure::Status { retry_after, .. } = &failure { *retry_after } else { None };
        Self { kind: failure.of_attempt(), failure, retry_after }
    }
}

/// What an attempt needs to know.
#[derive(Clone, Copy)]
pub(super) struct Exchange<'a> {
    pub(super) client: &'a Client,
    pub(super) call: &'a Call,
    pub(super) accept: Accept,
    /// Ask only for what differs from this.
    pub(super) known: Option<&'a Entry>,
    pub(super) trace: Option<&'a str>,
    /// Time for the attempt.
    pub(super) timeout: Duration,
}

impl Exchange<'_> {
    /// Makes attempt `number`: once more with a new token where the API does not take the old one.
    pub(super) async fn attempt(&self, number: u32) -> Result<Fetched, Failed> {
        match self.attempt_once(number).await {
            Err((_, Some(token))) => {
                self.client.credentials.refused(&token);
                self.attempt_once(number).await.map_err(|(failed, _)| failed)
            }
            outcome => outcome.map_err(|(failed, _)| failed),
        }
    }

    /// With the failure comes the token that was not taken.
    async fn attempt_once(&self, number: u32) -> Result<Fetched, (Failed, Option<super::oauth::AccessToken>)> {
        let mut request = self.request().map_err(|failed| (failed, None))?;
        let asked = tokio::time::timeout(self.timeout, self.client.credentials.put_on(&mut request)).await;
        let asked =
            asked.unwrap_or_else(|_| Err(TokenError::Unavailable(format!("no token within {:?}", self.timeout))));
        let token = asked.map_err(|error| (Failed::of(no_token(&error)), None))?;
        let span = Span::child_of(self.trace);
        if let Ok(value) = HeaderValue::from_str(&span.header()) {
            request.headers_mut().insert(TRACEPARENT, value);
        }
        let api = self.client.name().as_str();
        let span = tracing::info_span!(
            "api_call", api, method = %self.call.method, path = self.call.path(), attempt = number,
            trace_id = span.trace_id, span_id = span.span_id, outcome = tracing::field::Empty
        );
        let started = Instant::now();
        let outcome = self.send(request).instrument(span.clone()).await;
        let class = class(&outcome);
        span.record("outcome", class);
        span.in_scope(|| tracing::debug!(elapsed = ?started.elapsed(), "api called"));
        metrics::counter!("tidegate_api_requests_total", "api" => api.to_owned(), "class" => class).increment(1);
        metrics::histogram!("tidegate_api_request_seconds", "api" => api.to_owned())
            .record(started.elapsed().as_secs_f64());
        if let (Ok(_), Some(token)) = (&outcome, &token) {
            self.client.credentials.worked(token);
        }
        outcome.map_err(|mut failed| {
            if let CallFailure::Status { excerpt, .. } = &mut failed.failure {
                *excerpt = cut(self.client.credentials.hide(excerpt, token.as_ref()));
            }
            let is_refused = matches!(failed.kind, Some(Failure::Status(StatusCode::UNAUTHORIZED)));
            (failed, token.filter(|_| is_refused))
        })
    }

    fn request(&self) -> Result<Request, Failed> {
        let bad = |reason: String| Failed::of(CallFailure::BadCall(reason));
        let base = self.client.config().base_url.as_str().trim_end_matches('/');
        let url = format!("{base}{}", self.call.path_and_query()).parse().map_err(|error| bad(format!("{error}")))?;
        let mut request = Request::new(self.call.method.clone(), url);
        *request.timeout_mut() = Some(self.timeout);
        *request.headers_mut() = self.call.headers.clone();
        let headers = request.headers_mut();
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        for (name, value) in self.known.map(conditions).into_iter().flatten() {
            headers.insert(name, value);
        }
        *request.body_mut() = self.call.body.clone().map(Into::into);
        Ok(request)
    }

    async fn send(&self, request: Request) -> Result<Fetched, Failed> {
        let response = self.client.http().execute(request).await.map_err(|error| self.broken(error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let now = Timestamp::now();
        let pause = self.client.limiter.learn(Instant::now(), status, &headers, now);
        // GitHub says "too many" by a 403 with the headers of its limit.
        let is_limited =
            status == StatusCode::TOO_MANY_REQUESTS || (status == StatusCode::FORBIDDEN && pause.is_some());
        if is_limited {
            tracing::info!(api = %self.client.name(), ?pause, "api has enough of our calls");
            metrics::counter!("tidegate_api_rate_limited_total", "api" => self.client.name().to_string()).increment(1);
            let retry_after = retry_after(&headers, now).or(pause);
            let failure = CallFailure::Limited { retry_after: retry_after.unwrap_or(QUIET) };
            return Err(Failed { kind: Some(Failure::Status(StatusCode::TOO_MANY_REQUESTS)), failure, retry_after });
        }
        if status == StatusCode::NOT_MODIFIED && self.known.is_some() {
            let (etag, last_modified) = (text(&headers, &header::ETAG), text(&headers, &header::LAST_MODIFIED));
            return Ok(Fetched::NotModified { etag, last_modified });
        }
        if !status.is_success() {
            let after = retry_after(&headers, now);
            let excerpt = excerpt(response).await;
            return Err(Failed::of(CallFailure::Status { status, retry_after: after, excerpt }));
        }
        let body = self.body(response).await?;
        // Some APIs say their errors under a success's status.
        (self.accept)(&body).map_err(Failed::of)?;
        Ok(Fetched::New {
            body,
            content_type: text(&headers, &header::CONTENT_TYPE),
            etag: text(&headers, &header::ETAG),
            last_modified: text(&headers, &header::LAST_MODIFIED),
        })
    }

    async fn body(&self, mut response: Response) -> Result<Bytes, Failed> {
        let limit = self.client.config().body_limit;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error))? {
            if body.len() + chunk.len() > limit {
                return Err(Failed::of(CallFailure::TooLarge(limit)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// What a failed exchange means. The URL is left out: it may hold the API's key.
    fn broken(&self, error: reqwest::Error) -> Failed {
        let error = error.without_url();
        if error.is_connect() {
            return Failed::of(CallFailure::Unreachable(chain(&error).to_string()));
        }
        if error.is_timeout() {
            return Failed::of(CallFailure::Timeout(self.timeout));
        }
        Failed::of(CallFailure::Broken(chain(&error).to_string()))
    }
}

/// The conditions under which an answer is wanted: RFC 9110 section 13.1. With an entity tag the date says nothing more.
fn conditions(known: &Entry) -> Option<(header::HeaderName, HeaderValue)> {
    let tag = known.etag.as_deref().map(|etag| (header::IF_NONE_MATCH, etag));
    let (name, value) = tag.or_else(|| known.last_modified.as_deref().map(|date| (header::IF_MODIFIED_SINCE, date)))?;
    Some((name, HeaderValue::from_str(value).ok()?))
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The word that stands for an attempt's outcome in metrics.
fn class(outcome: &Result<Fetched, Failed>) -> &'static str {
    match outcome {
        Ok(Fetched::New { .. }) => "2xx",
        Ok(Fetched::NotModified { .. }) => "3xx",
        Err(failed) => match failed.kind {
            None => "unsent",
            Some(Failure::Connect) => "unreachable",
            Some(Failure::Timeout) => "timeout",
            Some(Failure::Reset) => "broken",
            Some(Failure::Malformed) => "malformed",
            Some(Failure::TooLarge) => "too_large",
            Some(Failure::Status(status)) => match status.as_u16() / 100 {
                3 => "3xx",
                4 => "4xx",
                5 => "5xx",
                _ => "other",
            },
        },
    }
}

fn no_token(error: &TokenError) -> CallFailure {
    match error {
        TokenError::NotGranted(_) | TokenError::Revoked(_) => CallFailure::NoGrant(error.to_string()),
        TokenError::Refused { .. } | TokenError::Unavailable(_) | TokenError::Ledger(_) => {
            CallFailure::NoToken(error.to_string())
        }
    }
}

/// As much of it as an operator needs.
pub(crate) fn cut(mut text: String) -> String {
    let mut end = text.len().min(EXCERPT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// The beginning of a refusal's body, in one line.
pub(crate) async fn excerpt(mut response: Response) -> String {
    let mut text = Vec::new();
    while text.len() < READ_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        text.extend_from_slice(&chunk);
    }
    text.truncate(READ_MAX);
    let text = String::from_utf8_lossy(&text);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}
