//! GitHub: repository, organisation and app webhooks.

use http::HeaderName;

use super::{Handshake, Preset};
use crate::signature::{Encoding, Hash, KeyForm, Location, Pairing, Scheme, SignatureFormat};

pub(super) const PRESET: Preset = Preset {
    name: "github",
    title: "GitHub",
    scheme,
    signs: "HMAC-SHA256 of {body} in X-Hub-Signature-256, hex after sha256=",
    id: "header X-GitHub-Delivery",
    event_type: "header X-GitHub-Event",
    source: "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
    proven: "GitHub's published vector; requests signed by @octokit/webhooks-methods 6.0.0",
    handshake: Handshake::None,
    counters: &[],
};

/// The older `X-Hub-Signature` (SHA-1) is sent beside it and ignored: whoever can choose picks the weaker one.
fn scheme() -> Scheme {
    Scheme {
        hash: Hash::Sha256,
        key: KeyForm::Utf8,
        template: "{body}".parse().expect("a valid template"),
        signature_headers: vec![HeaderName::from_static("x-hub-signature-256")],
        format: SignatureFormat::Prefixed("sha256=".into()),
        encoding: Encoding::Hex,
        timestamp: None,
        id: vec![Location::Header(HeaderName::from_static("x-github-delivery"))],
        event_type: vec![Location::Header(HeaderName::from_static("x-github-event"))],
        pairing: Pairing::Independent,
    }
}
