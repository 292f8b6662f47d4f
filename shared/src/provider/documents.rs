//! Documents, media and content.

use super::Preset;
use crate::signature::{Encoding, Hash, Kind, Pairing, SchemeText, TimestampUnit};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "docusign",
        title: "DocuSign Connect",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-DocuSign-Signature-{n}"],
            encoding: Encoding::Base64,
            id: &[
                "json:/data/envelopeId + json:/data/recipientId + json:/event + json:/generatedDateTime",
                "json:/data/envelopeId + json:/event + json:/generatedDateTime",
                "body-sha256",
            ],
            event_type: &["json:/event"],
            pairing: Pairing::Every,
            ..SchemeText::HMAC
        },
        source: "https://developers.docusign.com/platform/webhooks/connect/validate",
        proven: "vectors computed independently with Node's and Python's HMAC, after DocuSign's documented code",
        note: "One header for each active Connect key (documented up to 100); any of the first 16 may match. The XML format of \
                   older configurations has no JSON fields: its id is the body's hash and its type is unknown. An \
                   envelope's id is not an event's.",
        counters: &["retryCount"],
        ..Preset::PLAIN
    },
    Preset {
        name: "documenso",
        title: "Documenso",
        scheme: SchemeText {
            at: &["header:X-Documenso-Secret"],
            id: &["body-sha256"],
            event_type: &["json:/event"],
            ..SchemeText::TOKEN
        },
        source: "https://docs.documenso.com/docs/developers/webhooks/verification",
        proven: "vectors computed independently, by plain comparison; no vendor's library judged them",
        note: "Not signed: the secret itself; the header is empty where no secret is set. payload.id is the \
                   document's.",
        ..Preset::PLAIN
    },
    Preset {
        name: "pandadoc",
        title: "PandaDoc",
        scheme: SchemeText {
            signed: "{body}",
            at: &["query:signature"],
            id: &["body-sha256"],
            event_type: &["json:/0/event"],
            ..SchemeText::HMAC
        },
        source: "https://developers.pandadoc.com/docs/webhook-verification",
        proven: "vectors computed independently, by the documented verifier; no vendor's library judged them",
        note: "The signature is the query parameter signature, added by PandaDoc. The body is an array; data.id \
                   is the document's.",
        ..Preset::PLAIN
    },
    Preset {
        name: "signwell",
        title: "SignWell",
        scheme: SchemeText {
            signed: "{json:/event/type}@{json:/event/time}",
            at: &["json:/event/hash"],
            id: &["body-sha256"],
            event_type: &["json:/event/type"],
            unsigned_body: true,
            ..SchemeText::HMAC
        },
        source: "https://developers.signwell.com/reference/event-hash-verification",
        proven: "vectors computed independently, by the documented rule; no vendor's library judged them",
        note: "The body is not signed, only the event's type and time. The key is the webhook's id.",
        ..Preset::PLAIN
    },
    Preset {
        name: "box",
        title: "Box",
        scheme: SchemeText {
            signed: "{body}{timestamp}",
            at: &["header:BOX-SIGNATURE-PRIMARY", "header:BOX-SIGNATURE-SECONDARY"],
            encoding: Encoding::Base64,
            timestamp_at: &["header:BOX-DELIVERY-TIMESTAMP"],
            timestamp_unit: TimestampUnit::Rfc3339,
            tolerance: 600,
            id: &["json:/id"],
            event_type: &["json:/trigger"],
            pairing: Pairing::Every,
            ..SchemeText::HMAC
        },
        source: "https://developer.box.com/guides/webhooks/v2/ (headers), \
                   https://developer.box.com/guides/webhooks/v2/signatures-v2; npm box-node-sdk 10.12.0 \
                   lib-esm/managers/webhooks.js, lib-esm/internal/utilsNode.js",
        proven: "vectors computed independently, accepted by npm box-node-sdk 10.12.0 \
                   WebhooksManager.validateMessage",
        note: "BOX-DELIVERY-ID changes with every retry; the body's id stays, so that is the event's id. The \
                   library refuses any timestamp later than the receiver's clock; here 600 s either way.",
        ..Preset::PLAIN
    },
    Preset {
        name: "onfido",
        title: "Onfido",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-SHA2-Signature"],
            id: &["body-sha256"],
            event_type: &["json:/payload/action"],
            ..SchemeText::HMAC
        },
        source: "npm @onfido/api 6.2.0 dist/webhook-event-verifier.js",
        proven: "vectors computed independently, accepted by npm @onfido/api 6.2.0 \
                   WebhookEventVerifier.readPayload",
        note: "No event id; payload.object.id is the check's.",
        ..Preset::PLAIN
    },
    Preset {
        name: "sanity",
        title: "Sanity",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:sanity-webhook-signature"],
            format: "kv:t,v1",
            encoding: Encoding::Base64Url,
            timestamp_unit: TimestampUnit::Milliseconds,
            tolerance: 3600,
            id: &["header:idempotency-key", "body-sha256"],
            event_type: &["header:sanity-operation"],
            ..SchemeText::HMAC
        },
        source: "npm @sanity/webhook 4.0.4 dist/index.js; https://www.sanity.io/docs/compute-and-ai/webhooks",
        proven: "requests signed and judged by npm @sanity/webhook 4.0.4",
        note: "base64url without padding, milliseconds. The library judges no age and Sanity documents delays, \
                   so the window is an hour. idempotency-key and sanity-operation are not signed. The body is what \
                   the webhook's projection makes it.",
        ..Preset::PLAIN
    },
    Preset {
        name: "webflow",
        title: "Webflow",
        scheme: SchemeText {
            signed: "{timestamp}:{body}",
            at: &["header:x-webflow-signature"],
            timestamp_at: &["header:x-webflow-timestamp"],
            timestamp_unit: TimestampUnit::Milliseconds,
            id: &["body-sha256"],
            event_type: &["json:/triggerType"],
            ..SchemeText::HMAC
        },
        source: "npm webflow-api 3.3.4 wrapper/WebhooksClient.js; \
                   https://developers.webflow.com/data/docs/working-with-webhooks",
        proven: "vectors judged by npm webflow-api 3.3.4 webhooks.verifySignature",
        note: "payload.id is an entity's. Which of Webflow's webhooks are signed, and by which secret (an app's \
                   client secret, or the webhook's own), was not confirmed.",
        ..Preset::PLAIN
    },
    Preset {
        name: "cloudinary",
        title: "Cloudinary",
        scheme: SchemeText {
            kind: Kind::PlainHash,
            hash: Hash::Sha1,
            signed: "{body}{timestamp}{secret}",
            at: &["header:X-Cld-Signature"],
            timestamp_at: &["header:X-Cld-Timestamp"],
            tolerance: 7200,
            id: &["body-sha256"],
            event_type: &["json:/notification_type"],
            ..SchemeText::HMAC
        },
        source: "npm cloudinary 2.11.0 lib/utils/index.js; \
                   https://cloudinary.com/documentation/notification_signatures",
        proven: "vectors signed by npm cloudinary 2.11.0 utils.webhook_signature, judged by \
                   verifyNotificationSignature",
        note: "Not an HMAC: a plain SHA-1 of body, time and API secret. Accounts set to SHA-256 need hash \
                   sha256. 2 h window. The secret is the account's API secret.",
        ..Preset::PLAIN
    },
    Preset {
        name: "cloudflare-stream",
        title: "Cloudflare Stream",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:Webhook-Signature"],
            format: "kv:time,sig1",
            id: &["body-sha256"],
            event_type: &["json:/status/state"],
            ..SchemeText::HMAC
        },
        source: "https://developers.cloudflare.com/stream/manage-video-library/using-webhooks/ \
                   (cloudflare/cloudflare-docs src/content/docs/stream/manage-video-library/using-webhooks.mdx)",
        proven: "vectors computed independently, by the documented steps; no vendor's library judged them",
        note: "uid is the video's id, not the event's. No window is documented. Live input webhooks come \
                   through notifications (cf-webhook-auth).",
        ..Preset::PLAIN
    },
    Preset {
        name: "mux",
        title: "Mux",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:Mux-Signature"],
            format: "kv:t,v1",
            id: &["json:/id"],
            event_type: &["json:/type"],
            ..SchemeText::HMAC
        },
        source: "npm @mux/mux-node 15.3.0 resources/webhooks/webhooks.js; \
                   https://mux.com/docs/core/verify-webhook-signatures",
        proven: "vectors signed by npm @mux/mux-node 15.3.0 webhooks.computeSignature, judged by verifySignature",
        note: "Several v1 are any-of.",
        ..Preset::PLAIN
    },
    Preset {
        name: "elevenlabs",
        title: "ElevenLabs",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:ElevenLabs-Signature"],
            format: "kv:t,v0",
            tolerance: 1800,
            id: &["json:/type + json:/data/conversation_id + json:/event_timestamp", "body-sha256"],
            event_type: &["json:/type"],
            ..SchemeText::HMAC
        },
        source: "npm @elevenlabs/elevenlabs-js 2.73.0 wrapper/webhooks.js; PyPI elevenlabs 2.78.0 \
                   webhooks_custom.py",
        proven: "vectors judged by npm @elevenlabs/elevenlabs-js 2.73.0 and PyPI elevenlabs 2.78.0 constructEvent",
        note: "The libraries take 30 minutes into the past and any future. The conversation's id is shared by \
                   its events.",
        ..Preset::PLAIN
    },
    Preset {
        name: "segment",
        title: "Segment (Twilio)",
        scheme: SchemeText {
            hash: Hash::Sha1,
            signed: "{body}",
            at: &["header:X-Signature"],
            id: &["json:/messageId", "body-sha256"],
            event_type: &["json:/type"],
            ..SchemeText::HMAC
        },
        source: "segmentio/action-destinations packages/destination-actions/src/destinations/webhook/index.ts; \
                   https://segment.com/docs/connections/destinations/catalog/actions-webhook/",
        proven: "vectors computed independently, by the sender's own source; no vendor's library judged them",
        note: "Signed only where a shared secret is set. The sender hashes its own JSON of the data; in the \
                   source read, a batched request carries no signature at all. Switch batching off.",
        ..Preset::PLAIN
    },
];
