//! The pure parts of an event's path, each ready to be run again and again: for a clock (`cargo bench --package
//! tidegate-cost`), and for a count of instructions, which tells a slow-down on any machine (`cargo xtask cost`).

use std::hint::black_box;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use tidegate_shared::claims::{ClaimToken, Marker, decide};
use tidegate_shared::event::{BodyHash, Event, EventId, EventKey, EventType, RequestId, SourceName};
use tidegate_shared::provider::{Preset, presets};
use tidegate_shared::signature::{Received, Secret, Signed, ToSign, Verifier, VerifyError};
use tidegate_shared::wire::{Message, Progress, encode, first_header_block};

/// The body of every event that is measured: 1 KiB of JSON.
const BODY_BYTES: usize = 1_024;
/// Fits every symmetric preset: text of more than 16 bytes, and base64 of as many.
const SECRET: &str = "dGlkZWdhdGUtY29zdC1zZWNyZXQtb2YtMzItYnl0ZXM=";

/// Something that costs.
pub struct Subject {
    /// What it is called, such as `verify/github`.
    pub name: String,
    /// Does it once.
    pub run: Box<dyn FnMut()>,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Everything that is measured.
///
/// # Panics
/// If a preset does not take what it has signed itself.
#[must_use]
pub fn subjects() -> Vec<Subject> {
    let mut subjects: Vec<Subject> = presets().filter_map(verify).collect();
    let event = event();
    let (first, block) = (event.clone(), event.clone());
    let wire = encode(&event, &Progress::default());
    subjects.push(subject("wire/encode", move || drop(black_box(encode(&first, &Progress::default())))));
    subjects.push(subject("wire/header block", move || drop(black_box(first_header_block(&block)))));
    subjects.push(subject("wire/decode", move || drop(black_box(Message::decode(&wire)))));
    let (own, body) = (ClaimToken::generate(), event.body_hash);
    let stored = Marker::committed_bytes(&body);
    subjects.push(subject("claim/decide", move || {
        black_box(decide(Some(&Marker::parse(black_box(&stored))), own, &body));
    }));
    subjects
}

fn subject(name: &str, run: impl FnMut() + 'static) -> Subject {
    Subject { name: name.to_owned(), run: Box::new(run) }
}

/// A request as the provider would sign it, verified: signature, age, id and type. `None` if the preset cannot sign.
fn verify(preset: &Preset) -> Option<Subject> {
    let scheme = preset.scheme();
    let (secret, body, now) = (Secret::new(SECRET.to_owned()), body(), Timestamp::now());
    let message =
        ToSign { body: &body, target: "/", id: Some("evt_1"), event_type: Some("order.paid"), timestamp: now };
    let Signed { headers, target, body } = scheme.sign(&secret, &message).ok()?;
    let (target, body) = (target.into_owned(), body.into_owned());
    let verifier = Verifier::try_new(scheme, &[secret]).ok()?;
    // The body has no id where every provider keeps one; the signature is judged before that is missed.
    let received = Received { target: &target, ..Received::post(&headers, &body) };
    let judged = verifier.verify(&received, now);
    assert!(matches!(judged, Ok(_) | Err(VerifyError::MissingEventId)), "{}: {judged:?}", preset.name);
    Some(subject(&format!("verify/{}", preset.name), move || {
        let received = Received { target: &target, ..Received::post(&headers, &body) };
        drop(black_box(verifier.verify(black_box(&received), now)));
    }))
}

fn body() -> Vec<u8> {
    let head = r#"{"id":"evt_1","type":"order.paid","data":""#;
    let filler = "0123456789abcdef".chars().cycle().take(BODY_BYTES - head.len() - 2).collect::<String>();
    format!("{head}{filler}\"}}").into_bytes()
}

fn event() -> Event {
    let source = SourceName::try_new("shop").expect("a name");
    let id = EventId::try_new("evt_1").expect("an id");
    let body = Bytes::from(body());
    let mut headers = HeaderMap::new();
    for name in ["host", "user-agent", "content-type", "content-length", "webhook-id", "webhook-timestamp"] {
        headers.append(name, HeaderValue::from_static("a value of usual length"));
    }
    Event {
        key: EventKey::new(&source, &id),
        source,
        id,
        event_type: EventType::try_new("order.paid").expect("a type"),
        received_at: Timestamp::now(),
        request_id: RequestId::generate(),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        content_type: Some("application/json".to_owned()),
        headers,
        body_hash: BodyHash::of(&body),
        fingerprint: Some(BodyHash::of(&body)),
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_measured_runs() {
        let mut subjects = subjects();
        subjects.iter_mut().for_each(|subject| (subject.run)());
        for name in ["verify/github", "verify/stripe", "verify/standard-webhooks", "wire/decode", "claim/decide"] {
            assert!(subjects.iter().any(|subject| subject.name == name), "{name}");
        }
    }
}
