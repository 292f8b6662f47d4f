//! Standard Webhooks: the shared convention of Svix and of everyone who sends through it.

use std::time::Duration;

use http::HeaderName;

use super::{Handshake, Preset};
use crate::signature::{
    Encoding, Hash, KeyForm, Location, Pairing, Scheme, SignatureFormat, TimestampFrom, TimestampRule, TimestampUnit,
};

pub(super) const PRESET: Preset = Preset {
    name: "standard-webhooks",
    title: "Standard Webhooks and Svix",
    scheme,
    signs: "HMAC-SHA256 of {id}.{timestamp}.{body} in webhook-signature or svix-signature, as a list of v1,base64; the \
            key is base64 after whsec_",
    id: "header webhook-id or svix-id, of the signature's family",
    event_type: "body /type",
    source: "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    proven: "the vectors of the Standard Webhooks and Svix libraries; requests signed by standardwebhooks 1.1.0 (PyPI)",
    handshake: Handshake::None,
    counters: &[],
};

/// The public-key version `v1a` is another scheme, and ignored here.
fn scheme() -> Scheme {
    let families = ["webhook", "svix"];
    let headers = |part: &str| -> Vec<HeaderName> {
        families.iter().map(|family| format!("{family}-{part}").parse().expect("a valid header name")).collect()
    };
    Scheme {
        hash: Hash::Sha256,
        key: KeyForm::Whsec,
        template: "{id}.{timestamp}.{body}".parse().expect("a valid template"),
        signature_headers: headers("signature"),
        format: SignatureFormat::Versioned("v1".into()),
        encoding: Encoding::Base64,
        timestamp: Some(TimestampRule {
            from: TimestampFrom::Headers(headers("timestamp")),
            unit: TimestampUnit::Seconds,
            tolerance: Duration::from_secs(300),
        }),
        id: headers("id").into_iter().map(Location::Header).collect(),
        event_type: vec![Location::Json("/type".parse().expect("a valid pointer"))],
        pairing: Pairing::ByPosition,
    }
}
