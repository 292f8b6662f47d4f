//! What the tests share: presets as verifiers, and requests as a few words.

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;

use super::*;

mod batches;
mod edges;
mod every_preset;
mod handshakes;
mod key_sets;
mod keys;
mod kinds;
mod known_answers;
mod properties;
mod refuses;
mod sample;
mod secrets;
mod syntax;
mod vectors;

/// When the requests of these tests were signed, in seconds since 1970.
const THEN: i64 = 1_700_000_000;
/// A secret that fits every preset: as text, and as base64.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text.into())
}

fn scheme(preset: &str) -> Scheme {
    crate::provider::preset(preset).unwrap().scheme()
}

fn verify(verifier: &Verifier, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Identity, VerifyError> {
    verifier.verify(&Received::post(headers, body), now)
}

fn verifier(preset: &str, secrets: &[&str]) -> Verifier {
    let secrets: Vec<_> = secrets.iter().copied().map(secret).collect();
    Verifier::try_new(scheme(preset), &secrets).unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

/// A request as `preset` would send it, with everything that it may carry in headers.
fn signed(preset: &str, body: &[u8]) -> HeaderMap {
    scheme(preset).sign(&secret(SECRET), &message(body)).unwrap().headers
}

fn message(body: &[u8]) -> ToSign<'_> {
    ToSign { body, target: "/", id: Some("evt_1"), event_type: Some("order.created"), timestamp: at(THEN) }
}

fn identity(id: &str, event_type: &str) -> Result<Identity, VerifyError> {
    use crate::event::{EventId, EventType};
    Ok(Identity { id: EventId::try_new(id).unwrap(), event_type: EventType::try_new(event_type).unwrap() })
}

fn malformed(what: &'static str) -> Result<Identity, VerifyError> {
    Err(VerifyError::MalformedRequest { what })
}
