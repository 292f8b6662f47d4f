//! Verify: proves that the source's provider sent these bytes, then reads the event's id and type.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, header};
use tidegate_shared::event::{BodyHash, Event, EventId, EventKey, RequestId};
use tidegate_shared::random;
use tidegate_shared::signature::{
    FetchedKey, Identity, Item, Judgement, KeyLocation, Received, Reply, Scheme, VerifyError,
};
use tidegate_shared::wire::is_kept_header;

use crate::error::IngestError;
use crate::receive::RawRequest;
use crate::source::Source;

/// An event that its provider signed. Built only by [`RawRequest::verify`].
#[derive(Debug)]
pub struct VerifiedEvent {
    /// Boxed: every step takes it from the one before.
    pub(crate) event: Box<Event>,
    pub(crate) source: Arc<Source>,
}

/// Several events that came in one request that their provider signed.
#[derive(Debug)]
pub struct VerifiedBatch {
    /// What stands for all of them.
    pub(crate) id: EventId,
    pub(crate) request_id: RequestId,
    pub(crate) events: Vec<VerifiedEvent>,
}

/// What a request is that its provider signed.
#[derive(Debug)]
pub enum Verified {
    /// An event.
    Event(VerifiedEvent),
    /// Several.
    Batch(VerifiedBatch),
    /// A question, and its answer.
    Handshake(Reply),
}

impl RawRequest {
    /// The answer, if it is a handshake that comes without a signature, or by another method than events do.
    ///
    /// # Errors
    /// [`IngestError::Unverified`] if it is one, and is not proven or not well formed.
    pub fn open_handshake(&self) -> Result<Option<Reply>, IngestError> {
        let reply = self.source.verifier().open_handshake(&self.received(), self.received_at);
        reply.map_err(|error| {
            self.count(outcome(&error));
            self.refused(error)
        })
    }

    /// The key that it is to be verified with, where its provider keeps it.
    ///
    /// # Errors
    /// [`IngestError::Unverified`] if it can be seen already that it does not verify.
    pub fn needs(&self) -> Result<Option<KeyLocation>, IngestError> {
        let needed = self.source.verifier().needs(&self.received());
        needed.map_err(|error| {
            self.count(outcome(&error));
            self.refused(error)
        })
    }

    /// Verifies the exact bytes that were received, with the key that it [needs](Self::needs). Nothing was claimed or
    /// stored before.
    ///
    /// Where the source asks for it, a list becomes one event for each of its items.
    ///
    /// # Errors
    /// [`IngestError::Unverified`] with the first rule that the request breaks.
    pub fn verify(self, key: Option<&FetchedKey>) -> Result<Verified, IngestError> {
        let judged = self.judge(key);
        self.count(judged.as_ref().map_or_else(outcome, |_| "verified"));
        match judged.map_err(|error| self.refused(error))? {
            (Judgement::Handshake(reply), _) => Ok(Verified::Handshake(reply)),
            (Judgement::Event(identity), None) => {
                let source = Arc::clone(&self.source);
                Ok(Verified::Event(VerifiedEvent { event: Box::new(self.event(identity)), source }))
            }
            (Judgement::Event(identity), Some(items)) => Ok(Verified::Batch(self.batch(identity, items))),
        }
    }

    /// What it is, and its items where it is an event that is to be split.
    fn judge(&self, key: Option<&FetchedKey>) -> Result<(Judgement, Option<Vec<Item>>), VerifyError> {
        let judgement = self.source.verifier().judge(&self.received(), self.received_at, key)?;
        let items = match (&judgement, &self.source.config.split) {
            (Judgement::Event(_), Some(split)) => split.split(&self.received(), &self.body)?,
            (Judgement::Event(_), None) | (Judgement::Handshake(_), _) => None,
        };
        Ok((judgement, items))
    }

    fn batch(self, identity: Identity, items: Vec<Item>) -> VerifiedBatch {
        let (source, request_id) = (Arc::clone(&self.source), self.request_id.clone());
        let (id, whole) = (identity.id.clone(), self.event(identity));
        let part = |item| {
            let event = Box::new(part_of(&whole, item, &source.config.scheme, source.config.counters));
            VerifiedEvent { event, source: Arc::clone(&source) }
        };
        VerifiedBatch { id, request_id, events: items.into_iter().map(part).collect() }
    }

    fn event(self, identity: Identity) -> Event {
        let config = &self.source.config;
        let traceparent = traceparent(&self.headers);
        let content_type =
            self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body_hash = BodyHash::of(&self.body);
        let fingerprint = fingerprint(body_hash, &self.received(), &config.scheme, config.counters);
        Event {
            source: config.name.clone(),
            key: EventKey::new(&config.name, &identity.id),
            id: identity.id,
            event_type: identity.event_type,
            received_at: self.received_at,
            request_id: self.request_id,
            traceparent: Some(traceparent),
            content_type,
            headers: kept(self.headers, &config.scheme),
            body_hash,
            fingerprint: Some(fingerprint),
            body: self.body,
        }
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
            "an event came with an id that another body has had; it goes on as an event of its own"
        );
        metrics::counter!("tidegate_claim_conflicts_total", "source" => self.event.source.to_string()).increment(1);
        Self { event: Box::new(self.event.into_conflict()), source: self.source }
    }
}

/// One event of the request that was read as `whole`.
fn part_of(whole: &Event, item: Item, scheme: &Scheme, counters: &[&str]) -> Event {
    let Item { identity: Identity { id, event_type }, body } = item;
    let body_hash = BodyHash::of(&body);
    let fingerprint = fingerprint(body_hash, &Received::post(&whole.headers, &body), scheme, counters);
    // An item of CloudEvents' batched mode is a structured event of its own.
    let content_type =
        whole.content_type.as_ref().map(|text| text.replace("cloudevents-batch+json", "cloudevents+json"));
    Event {
        key: EventKey::new(&whole.source, &id),
        id,
        event_type,
        content_type,
        body_hash,
        fingerprint: Some(fingerprint),
        body,
        ..whole.clone()
    }
}

/// What tells the event from another one with its id: what is signed, or the body less what its provider counts up.
fn fingerprint(body_hash: BodyHash, received: &Received<'_>, scheme: &Scheme, counters: &[&str]) -> BodyHash {
    let without = || if counters.is_empty() { body_hash } else { BodyHash::without_counters(received.body, counters) };
    scheme.content_hash(received).unwrap_or_else(without)
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
    use bytes::Bytes;
    use http::HeaderValue;
    use jiff::Timestamp;
    use tidegate_shared::event::{EventType, SourceName};

    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn whole() -> Event {
        let source = SourceName::try_new("bulk").expect("a name");
        let id = EventId::try_new("whole").expect("an id");
        let body = Bytes::from_static(br#"[{"n": 1}, {"n": 2}]"#);
        Event {
            key: EventKey::new(&source, &id),
            id,
            source,
            event_type: EventType::try_new("batch").expect("a type"),
            received_at: Timestamp::UNIX_EPOCH,
            request_id: RequestId::generate(),
            traceparent: Some(TRACE.to_owned()),
            content_type: Some("application/cloudevents-batch+json; charset=utf-8".to_owned()),
            headers: HeaderMap::new(),
            body_hash: BodyHash::of(&body),
            fingerprint: Some(BodyHash::of(&body)),
            body,
        }
    }

    #[test]
    fn an_item_is_an_event_of_its_own_with_what_its_request_brought() {
        let (id, event_type) = (EventId::try_new("one"), EventType::try_new("made"));
        let identity = Identity { id: id.expect("an id"), event_type: event_type.expect("a type") };
        let body = Bytes::from_static(br#"{"n": 1, "tries": 7}"#);
        let (whole, item) = (whole(), Item { identity: identity.clone(), body: body.clone() });
        let scheme = tidegate_shared::provider::preset("generic").expect("a preset").scheme();
        let part = part_of(&whole, item.clone(), &scheme, &[]);
        assert_eq!((&part.id, &part.event_type, &part.body), (&identity.id, &identity.event_type, &body));
        assert_eq!(part.key, EventKey::new(&whole.source, &identity.id));
        assert_eq!((part.body_hash, part.fingerprint), (BodyHash::of(&body), Some(BodyHash::of(&body))));
        assert_eq!(part.content_type.as_deref(), Some("application/cloudevents+json; charset=utf-8"));
        assert_eq!((&part.request_id, &part.traceparent), (&whole.request_id, &whole.traceparent));
        // What counts up from try to try tells no event from another.
        let counted = part_of(&whole, item, &scheme, &["tries"]);
        assert_eq!(counted.fingerprint, Some(BodyHash::without_counters(&body, &["tries"])));
        assert_ne!(counted.fingerprint, part.fingerprint);
    }

    #[test]
    fn headers_stay_but_for_the_connections_own_and_secrets() {
        let scheme = tidegate_shared::provider::preset("gitlab").expect("a preset").scheme();
        let header = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let own = [header("x-gitlab-event", "Push Hook"), header("x-gitlab-event-uuid", "1")];
        let more = [header("x-gitlab-token", "a secret that is sent itself"), header("connection", "close")];
        let all: HeaderMap = own.iter().cloned().chain(more).collect();
        assert_eq!(kept(all, &scheme), HeaderMap::from_iter(own));
    }

    #[test]
    fn what_a_request_breaks_is_counted_by_the_answers_code() {
        assert_eq!(outcome(&VerifyError::InvalidSignature), "invalid_signature");
        assert_eq!(outcome(&VerifyError::MissingEventId), "missing_event_id");
    }

    #[test]
    fn trace_contexts_are_taken_or_made() {
        let given = TRACE;
        assert!(is_traceparent(given));
        let headers = HeaderMap::from_iter([(HeaderName::from_static("traceparent"), HeaderValue::from_static(given))]);
        assert_eq!(traceparent(&headers), given);
        let made = [traceparent(&HeaderMap::new()), traceparent(&HeaderMap::new())];
        assert!(made.iter().all(|made| is_traceparent(made)) && made[0] != made[1], "{made:?}");
        for bad in [
            "",
            "00-4bf9-00f0-01",
            &given.to_uppercase(),
            &given.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
