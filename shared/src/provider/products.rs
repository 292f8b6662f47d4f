//! Products that send by Standard Webhooks, and others for customers and identities.

use super::Preset;
use super::standard_webhooks::SIGNED;
use crate::signature::{BatchText, Encoding, KeyForm, Kind, SchemeText, TimestampUnit};

/// `eventId` is not promised to be unique, but with the rest of what tells a change apart it is.
const HUBSPOT_BATCH: Option<BatchText> = Some(BatchText {
    items: "",
    id: &[
        "json:/eventId + json:/subscriptionId + json:/portalId + json:/objectId + json:/occurredAt",
        "json:/eventId + json:/subscriptionId + json:/portalId + json:/occurredAt",
    ],
    event_type: &["json:/subscriptionType"],
});

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "clerk",
        title: "Clerk",
        scheme: SIGNED,
        source: "npm @clerk/backend 3.25.0 dist/webhooks.js",
        proven: "vectors signed by npm svix 1.99.1 and judged by npm @clerk/backend 3.25.0",
        note: "sends svix-* headers.",
        ..Preset::PLAIN
    },
    Preset {
        name: "resend",
        title: "Resend",
        scheme: SIGNED,
        source: "npm resend 6.38.0 dist/index.cjs Webhooks.verify and \
                   https://resend.com/docs/dashboard/webhooks/introduction",
        proven: "vectors signed by npm svix 1.99.1 and judged by npm resend 6.38.0",
        note: "sends svix-* headers. data.email_id names a message and not an event.",
        ..Preset::PLAIN
    },
    Preset {
        name: "openai",
        title: "OpenAI",
        scheme: SIGNED,
        source: "npm openai 6.49.0 resources/webhooks/webhooks.js",
        proven: "vectors signed by npm standardwebhooks 1.1.1 and judged by npm openai 6.49.0",
        ..Preset::PLAIN
    },
    Preset {
        name: "anthropic",
        title: "Anthropic (Claude managed agents)",
        scheme: SchemeText { event_type: &["json:/data/type", "json:/type"], ..SIGNED },
        source: "npm @anthropic-ai/sdk 1.14.0 resources/beta/webhooks.js",
        proven: "vectors signed by npm standardwebhooks 1.1.1 and judged by npm @anthropic-ai/sdk 1.14.0",
        note: "a beta of Anthropic's.",
        ..Preset::PLAIN
    },
    Preset {
        name: "replicate",
        title: "Replicate",
        scheme: SchemeText { event_type: &["json:/status"], ..SIGNED },
        source: "npm replicate 1.4.0 lib/util.js validateWebhook",
        proven: "vectors signed by npm standardwebhooks 1.1.1 and judged by npm replicate 1.4.0",
        note: "the body is the prediction: its id stands for all its events, its status is the type. The \
                   library judges no time.",
        ..Preset::PLAIN
    },
    Preset {
        name: "polar",
        title: "Polar",
        scheme: SchemeText { key: KeyForm::Utf8, ..SIGNED },
        source: "npm @polar-sh/sdk 0.49.0 dist/esm/webhooks.js validateEvent",
        proven: "vectors signed by npm standardwebhooks 1.1.1 and judged by npm @polar-sh/sdk 0.49.0",
        note: "the key is the secret's text itself, prefix and all, and not its base64.",
        ..Preset::PLAIN
    },
    Preset {
        name: "render",
        title: "Render",
        scheme: SIGNED,
        source: "render-examples/webhook-receiver app.ts (Render's own example) and \
                   https://render.com/docs/webhooks",
        proven: "vectors signed and judged by npm standardwebhooks 1.1.1, the library that Render's example uses",
        note: "an answer within 15 s. data.id names the event at Render, data.serviceId an entity.",
        ..Preset::PLAIN
    },
    Preset {
        name: "recall-ai",
        title: "Recall.ai",
        scheme: SchemeText { event_type: &["json:/event"], ..SIGNED },
        source: "https://docs.recall.ai/docs/authenticating-requests-from-recallai",
        proven: "vectors signed by npm standardwebhooks 1.1.1; no library of Recall's judges them",
        note: "accounts from before 15 December 2025 get svix-* headers and a secret for each endpoint. Nothing \
                   is signed until a workspace secret exists.",
        ..Preset::PLAIN
    },
    Preset {
        name: "dodo-payments",
        title: "Dodo Payments",
        scheme: SIGNED,
        source: "npm dodopayments 2.52.0 resources/webhooks",
        proven: "vectors signed by npm standardwebhooks 1.1.1 and judged by npm dodopayments 2.52.0",
        note: "data is the state at the time of the attempt: a retry may have another body under the same id.",
        ..Preset::PLAIN
    },
    Preset {
        name: "hubspot",
        title: "HubSpot (v3)",
        scheme: SchemeText {
            signed: "{method}{url}{body}{timestamp}",
            at: &["header:X-HubSpot-Signature-v3"],
            encoding: Encoding::Base64,
            timestamp_at: &["header:X-HubSpot-Request-Timestamp"],
            timestamp_unit: TimestampUnit::Milliseconds,
            id: &["body-sha256"],
            event_type: &["json:/0/subscriptionType"],
            ..SchemeText::HMAC
        },
        source: "npm @hubspot/api-client 13.5.0 lib/src/utils/signature.js",
        proven: "vectors signed and judged by npm @hubspot/api-client 13.5.0",
        note: "needs the public URL as configured at HubSpot. The body is an array: split it, as a retry has \
                   another body. With a URL that holds escapes HubSpot signs a decoded form: avoid them.",
        counters: &["attemptNumber"],
        batch: HUBSPOT_BATCH,
        ..Preset::PLAIN
    },
    Preset {
        name: "hubspot-v2",
        title: "HubSpot (v2)",
        scheme: SchemeText {
            kind: Kind::PlainHash,
            signed: "{secret}{method}{url}{body}",
            at: &["header:X-HubSpot-Signature"],
            id: &["body-sha256"],
            event_type: &["json:/0/subscriptionType"],
            ..SchemeText::HMAC
        },
        source: "npm @hubspot/api-client 13.5.0 lib/src/utils/signature.js",
        proven: "vectors signed and judged by npm @hubspot/api-client 13.5.0",
        note: "a hash with the secret in front, no HMAC: prefer hubspot. X-HubSpot-Signature-Version is \
                   ignored.",
        counters: &["attemptNumber"],
        batch: HUBSPOT_BATCH,
        ..Preset::PLAIN
    },
    Preset {
        name: "hubspot-v1",
        title: "HubSpot (v1)",
        scheme: SchemeText {
            kind: Kind::PlainHash,
            signed: "{secret}{body}",
            at: &["header:X-HubSpot-Signature"],
            id: &["body-sha256"],
            event_type: &["json:/0/subscriptionType"],
            ..SchemeText::HMAC
        },
        source: "npm @hubspot/api-client 13.5.0 lib/src/utils/signature.js",
        proven: "vectors signed and judged by npm @hubspot/api-client 13.5.0",
        note: "SHA-256 of secret and body can be extended by whoever saw one request; appended bytes break the \
                   JSON, so it is no better than a checksum with a secret: prefer hubspot. \
                   X-HubSpot-Signature-Version is ignored.",
        counters: &["attemptNumber"],
        batch: HUBSPOT_BATCH,
        ..Preset::PLAIN
    },
    Preset {
        name: "workos",
        title: "WorkOS",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:WorkOS-Signature"],
            format: "kv:t,v1",
            timestamp_unit: TimestampUnit::Milliseconds,
            tolerance: 180,
            id: &["json:/id"],
            event_type: &["json:/event"],
            ..SchemeText::HMAC
        },
        source: "npm @workos-inc/node 8.13.0 (signature provider); PyPI workos 10.8.0 webhooks/_verification.py; \
                   https://workos.com/docs/events/data-syncing/webhooks",
        proven: "requests signed and judged by npm @workos-inc/node 8.13.0, judged by PyPI workos 10.8.0",
        note: "Milliseconds. There is a space after the comma. 180 s is the default of both libraries.",
        ..Preset::PLAIN
    },
];
