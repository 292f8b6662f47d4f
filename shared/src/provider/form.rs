//! Providers that send forms: what they sign, or where their JSON is, stands in fields.

use super::{Preset, Success};
use crate::signature::{Encoding, Hash, KeyForm, SchemeText};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "paddle-classic",
        title: "Paddle Classic",
        scheme: SchemeText {
            hash: Hash::Sha1,
            key: KeyForm::Pem,
            signed: "{form_php}",
            at: &["form:p_signature"],
            encoding: Encoding::Base64,
            id: &["form:alert_id", "body-sha256"],
            event_type: &["form:alert_name"],
            ..SchemeText::RSA
        },
        source: "npm @devoxa/paddle-sdk 0.4.2 dist/src/index.js verifyWebhookEvent, helpers/stableSerialize.js",
        proven: "vectors judged by npm @devoxa/paddle-sdk 0.4.2 (not Paddle's own)",
        note: "secrets are the account's public key in PEM. SHA-1 is all that it offers.",
        ..Preset::PLAIN
    },
    Preset {
        name: "dropbox-sign",
        title: "Dropbox Sign",
        scheme: SchemeText {
            signed: "{timestamp}{json:/event/event_type}",
            at: &["json:/event/event_hash"],
            timestamp_at: &["json:/event/event_time"],
            tolerance: 345_600,
            id: &[
                "json:/event/event_hash + json:/signature_request/signature_request_id + \
                 json:/event/event_metadata/related_signature_id",
                "json:/event/event_hash + json:/signature_request/signature_request_id",
                "json:/event/event_hash + json:/template/template_id",
                "body-sha256",
            ],
            event_type: &["json:/event/event_type"],
            json_field: "json",
            unsigned_body: true,
            ..SchemeText::HMAC
        },
        source: "npm @dropbox/sign 1.11.0 model/eventCallbackHelper.ts; \
                 https://developers.hellosign.com/docs/guides/events-and-callbacks/walkthrough",
        proven: "vectors accepted by npm @dropbox/sign 1.11.0 and PyPI dropbox-sign 2.0.0",
        note: "only the event's time and type are signed, by the account's API key; the rest is not signed: whoever has seen \
               one callback can make others with another content. event_time is when the event happened, so that retries \
               are days old.",
        success: Success::Text("Hello API Event Received"),
        ..Preset::PLAIN
    },
];
