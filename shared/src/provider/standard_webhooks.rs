//! Standard Webhooks: the shared convention of Svix and of everyone who sends through it.

use super::Preset;
use crate::signature::{Encoding, KeyForm, Kind, Pairing, SchemeText};

/// What all versions and senders have in common; none is ever taken for another. The family of the signature's header
/// decides which id and time go with it.
pub(super) const SIGNED: SchemeText = SchemeText {
    key: KeyForm::Whsec,
    signed: "{id}.{timestamp}.{body}",
    at: &["header:webhook-signature", "header:svix-signature"],
    format: "versioned:v1",
    encoding: Encoding::Base64,
    timestamp_at: &["header:webhook-timestamp", "header:svix-timestamp"],
    id: &["header:webhook-id", "header:svix-id"],
    event_type: &["json:/type"],
    pairing: Pairing::ByPosition,
    ..SchemeText::HMAC
};

const SOURCE: &str = "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md";

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "standard-webhooks",
        title: "Standard Webhooks and Svix",
        scheme: SIGNED,
        source: SOURCE,
        proven: "the vectors of the Standard Webhooks and Svix libraries; requests signed by standardwebhooks 1.1.0 (PyPI)",
        ..Preset::PLAIN
    },
    Preset {
        name: "standard-webhooks-ed25519",
        title: "Standard Webhooks, with public keys (v1a)",
        scheme: SchemeText { kind: Kind::Ed25519, key: KeyForm::Whpk, format: "versioned:v1a", ..SIGNED },
        source: SOURCE,
        proven: "the vectors of the Go library and of the Svix server",
        note: "the secrets are public keys, whpk_...",
        ..Preset::PLAIN
    },
];
