//! Verify: proves that the source's provider sent these bytes, then reads the event's id and type.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, header};
use tidegate_shared::event::{BodyHash, Event, EventKey};
use tidegate_shared::random;
use tidegate_shared::signature::{FetchedKey, KeyLocation, Received, Scheme, VerifyError};
use tidegate_shared::wire::is_kept_header;

use crate::receive::{IngestError, RawRequest};
use crate::source::Source;

/// An event that its provider signed. Built only by [`RawRequest::verify`].
#[derive(Debug)]
pub struct VerifiedEvent {
    /// Boxed: every step takes it from the one before.
    pub(crate) event: Box<Event>,
    pub(crate) source: Arc<Source>,
}

impl RawRequest {
    /// The key that it is to be verified with, where its provider keeps it.
    ///
    /// # Errors
    /// [`IngestError::Unverified`] if it can be seen already that it does not verify.
    pub fn needs(&self) -> Result<Option<KeyLocation>, IngestError> {
        let needed = self.source.config.verifier.needs(&self.received());
        needed.map_err(|error| {
            self.count(outcome(&error));
            self.refused(error)
        })
    }

    /// Verifies the exact bytes that were received, with the key that it [needs](Self::needs). Nothing was claimed or
    /// stored before.
    ///
    /// # Errors
    /// [`IngestError::Unverified`] with the first rule that the request breaks.
    pub fn verify(self, key: Option<&FetchedKey>) -> Result<VerifiedEvent, IngestError> {
        let config = &self.source.config;
        let verified = match key {
            Some(key) => config.verifier.verify_with(&self.received(), self.received_at, key),
            None => config.verifier.verify(&self.received(), self.received_at),
        };
        self.count(verified.as_ref().map_or_else(outcome, |_| "verified"));
        let identity = verified.map_err(|error| self.refused(error))?;
        let traceparent = traceparent(&self.headers);
        let content_type =
            self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body_hash = BodyHash::of(&self.body);
        let fingerprint = match config.counters {
            [] => body_hash,
            counters => BodyHash::without_counters(&self.body, counters),
        };
        let event = Event {
            source: config.name.clone(),
            key: EventKey::new(&config.name, &identity.id),
            id: identity.id,
            event_type: identity.event_type,
            received_at: self.received_at,
            request_id: self.request_id,
            traceparent: Some(traceparent),
            content_type,
            headers: kept(self.headers, config.verifier.scheme()),
            body_hash,
            fingerprint: Some(fingerprint),
            body: self.body,
        };
        Ok(VerifiedEvent { event: Box::new(event), source: self.source })
    }

    pub(crate) fn received(&self) -> Received<'_> {
        let target = self.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        Received { method: &self.method, target, headers: &self.headers, body: &self.body }
    }

    fn count(&self, outcome: &'static str) {
        self.source.counts.verify.count(outcome);
    }
}

impl VerifiedEvent {
    /// The same event under a key that tells it from the earlier one with its id and another body.
    pub(crate) fn into_conflict(self) -> Self {
        tracing::warn!(
            source = %self.event.source,
            event_id = %self.event.id,
            request_id = %self.event.request_id,
            "an event came with an id that another body has had; it is kept as an event of its own"
        );
        metrics::counter!("tidegate_claim_conflicts_total", "source" => self.event.source.to_string()).increment(1);
        Self { event: Box::new(self.event.into_conflict()), source: self.source }
    }
}

fn outcome(error: &VerifyError) -> &'static str {
    crate::respond::verify_code(error).1
}

/// The headers that stay with the event; most requests have no other.
fn kept(mut headers: HeaderMap, scheme: &Scheme) -> HeaderMap {
    let is_kept = |name: &HeaderName| is_kept_header(name) && !scheme.sends_secret_in(name);
    let dropped: Vec<HeaderName> = headers.keys().filter(|name| !is_kept(name)).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
    headers
}

/// The request's W3C trace context, or a new one: version 00, a random trace and span, sampled.
fn traceparent(headers: &HeaderMap) -> String {
    let given = headers.get("traceparent").and_then(|value| value.to_str().ok()).filter(|text| is_traceparent(text));
    given.map_or_else(new_traceparent, str::to_owned)
}

/// <https://www.w3.org/TR/trace-context/#traceparent-header>
fn is_traceparent(text: &str) -> bool {
    let lengths = [2, 32, 16, 2];
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, length)| part.len() == length && hex(part))
        && parts[1..3].iter().all(|part| part.bytes().any(|b| b != b'0'))
}

fn new_traceparent() -> String {
    let mut digits = [0; 48];
    hex::encode_to_slice(random::bytes::<24>(), &mut digits).expect("two digits a byte");
    let (trace, span) = digits.split_at(32);
    let text = |part| std::str::from_utf8(part).expect("hexadecimal digits are ASCII");
    format!("00-{}-{}-01", text(trace), text(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_contexts_are_taken_or_made() {
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(given));
        for bad in [
            "",
            "00-4bf9-00f0-01",
            &given.to_uppercase(),
            &given.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
        assert!(is_traceparent(&new_traceparent()));
    }
}
