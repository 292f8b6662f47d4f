//! Stripe: account, Connect and thin events.

use std::time::Duration;

use http::HeaderName;

use super::{Handshake, Preset};
use crate::signature::{
    Encoding, Hash, KeyForm, Location, Pairing, Scheme, SignatureFormat, TimestampFrom, TimestampRule, TimestampUnit,
};

pub(super) const PRESET: Preset = Preset {
    name: "stripe",
    title: "Stripe",
    scheme,
    signs: "HMAC-SHA256 of {timestamp}.{body} in Stripe-Signature, as t=seconds,v1=hex; the key is the whole whsec_ text",
    id: "body /id",
    event_type: "body /type",
    source: "https://docs.stripe.com/webhooks/signature and stripe-node src/Webhooks.ts",
    proven: "requests signed by stripe-node 23.1.0",
    handshake: Handshake::None,
    counters: &["pending_webhooks"],
};

/// While a secret is rolled there are several `v1`; `v0` is a test scheme and never counts.
fn scheme() -> Scheme {
    Scheme {
        hash: Hash::Sha256,
        key: KeyForm::Utf8,
        template: "{timestamp}.{body}".parse().expect("a valid template"),
        signature_headers: vec![HeaderName::from_static("stripe-signature")],
        format: SignatureFormat::KeyValue { timestamp: Some("t".into()), separator: ',', signature: "v1".into() },
        encoding: Encoding::Hex,
        timestamp: Some(TimestampRule {
            from: TimestampFrom::SignatureHeader,
            unit: TimestampUnit::Seconds,
            tolerance: Duration::from_secs(300),
        }),
        id: vec![Location::Json("/id".parse().expect("a valid pointer"))],
        event_type: vec![Location::Json("/type".parse().expect("a valid pointer"))],
        pairing: Pairing::Independent,
    }
}
