//! Tidegate's own convention, for any sender of one's own.

use super::Preset;
use crate::signature::SchemeText;

const BODY: SchemeText = SchemeText {
    at: &["header:X-Webhook-Signature", "header:X-Signature", "header:X-Hub-Signature-256"],
    format: "prefix?:sha256=",
    id: &["json:/id", "json:/event_id", "header:X-Webhook-ID", "body-sha256"],
    event_type: &["json:/type", "json:/event", "header:X-Webhook-Event"],
    ..SchemeText::HMAC
};

const PLAIN: Preset =
    Preset { source: "Tidegate's own convention", proven: "requests signed by Python's hmac module", ..Preset::PLAIN };

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "generic",
        title: "Any sender, with a timestamp",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            timestamp_at: &["header:X-Webhook-Timestamp", "header:X-Timestamp"],
            ..BODY
        },
        ..PLAIN
    },
    Preset { name: "generic-body", title: "Any sender, without a timestamp", scheme: BODY, ..PLAIN },
];
