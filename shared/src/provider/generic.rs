//! Tidegate's own convention, for any sender of one's own.

use std::time::Duration;

use http::HeaderName;

use super::{Handshake, Preset};
use crate::signature::{
    Encoding, Hash, KeyForm, Location, Pairing, Scheme, SignatureFormat, TimestampFrom, TimestampRule, TimestampUnit,
};

const ID: &str = "body /id, body /event_id, header X-Webhook-ID, else SHA-256 of the body";
const EVENT_TYPE: &str = "body /type, body /event, header X-Webhook-Event";
const SOURCE: &str = "Tidegate's own convention";
const PROVEN: &str = "requests signed by Python's hmac module";

pub(super) const PRESET: Preset = Preset {
    name: "generic",
    title: "Any sender, with a timestamp",
    scheme,
    signs: "HMAC-SHA256 of {timestamp}.{body} in X-Webhook-Signature, X-Signature or X-Hub-Signature-256, hex, \
            optionally after sha256=; seconds in X-Webhook-Timestamp or X-Timestamp",
    id: ID,
    event_type: EVENT_TYPE,
    source: SOURCE,
    proven: PROVEN,
    handshake: Handshake::None,
    counters: &[],
};

pub(super) const BODY_PRESET: Preset = Preset {
    name: "generic-body",
    title: "Any sender, without a timestamp",
    scheme: body_scheme,
    signs: "HMAC-SHA256 of {body} in X-Webhook-Signature, X-Signature or X-Hub-Signature-256, hex, optionally after \
            sha256=",
    id: ID,
    event_type: EVENT_TYPE,
    source: SOURCE,
    proven: PROVEN,
    handshake: Handshake::None,
    counters: &[],
};

fn scheme() -> Scheme {
    Scheme {
        template: "{timestamp}.{body}".parse().expect("a valid template"),
        timestamp: Some(TimestampRule {
            from: TimestampFrom::Headers(vec![
                HeaderName::from_static("x-webhook-timestamp"),
                HeaderName::from_static("x-timestamp"),
            ]),
            unit: TimestampUnit::Seconds,
            tolerance: Duration::from_secs(300),
        }),
        ..body_scheme()
    }
}

fn body_scheme() -> Scheme {
    Scheme {
        hash: Hash::Sha256,
        key: KeyForm::Utf8,
        template: "{body}".parse().expect("a valid template"),
        signature_headers: vec![
            HeaderName::from_static("x-webhook-signature"),
            HeaderName::from_static("x-signature"),
            HeaderName::from_static("x-hub-signature-256"),
        ],
        format: SignatureFormat::MaybePrefixed("sha256=".into()),
        encoding: Encoding::Hex,
        timestamp: None,
        id: vec![json("/id"), json("/event_id"), header("x-webhook-id"), Location::BodySha256],
        event_type: vec![json("/type"), json("/event"), header("x-webhook-event")],
        pairing: Pairing::Independent,
    }
}

fn json(pointer: &str) -> Location {
    Location::Json(pointer.parse().expect("a valid pointer"))
}

fn header(name: &'static str) -> Location {
    Location::Header(HeaderName::from_static(name))
}
