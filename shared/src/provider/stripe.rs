//! Stripe: account, Connect and thin events.

use super::Preset;
use crate::signature::SchemeText;

/// While a secret is rolled there are several `v1`; `v0` is a test scheme and never counts.
pub(super) const PRESETS: &[Preset] = &[Preset {
    name: "stripe",
    title: "Stripe",
    scheme: SchemeText {
        signed: "{timestamp}.{body}",
        at: &["header:Stripe-Signature"],
        format: "kv:t,v1",
        id: &["json:/id"],
        event_type: &["json:/type"],
        ..SchemeText::HMAC
    },
    source: "https://docs.stripe.com/webhooks/signature and stripe-node src/Webhooks.ts",
    proven: "requests signed by stripe-node 23.1.0",
    counters: &["pending_webhooks"],
    ..Preset::PLAIN
}];
