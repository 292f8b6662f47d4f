//! Payments, payouts and subscriptions.

use super::Preset;
use crate::signature::{Encoding, KeyForm, SchemeText, TimestampUnit};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "paddle",
        title: "Paddle Billing",
        scheme: SchemeText {
            signed: "{timestamp}:{body}",
            at: &["header:Paddle-Signature"],
            format: "kv:ts;h1",
            id: &["json:/event_id"],
            event_type: &["json:/event_type"],
            ..SchemeText::HMAC
        },
        source: "npm @paddle/paddle-node-sdk 3.10.0 notifications/helpers/webhooks-validator, PyPI \
                   paddle-python-sdk 1.16.1 Notifications/PaddleSignature.py",
        proven: "vectors signed by PyPI paddle-python-sdk 1.16.1 and judged by npm @paddle/paddle-node-sdk 3.10.0",
        note: "Paddle's libraries allow 5 s, which a queue in front would exceed; 300 s here.",
        ..Preset::PLAIN
    },
    Preset {
        name: "razorpay",
        title: "Razorpay",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Razorpay-Signature"],
            id: &["header:X-Razorpay-Event-Id", "body-sha256"],
            event_type: &["json:/event"],
            ..SchemeText::HMAC
        },
        source: "npm razorpay 2.9.8 dist/utils/razorpay-utils.js; \
                   https://razorpay.com/docs/webhooks/validate-test/",
        proven: "vectors computed independently, accepted by npm razorpay 2.9.8 validateWebhookSignature",
        note: "",
        ..Preset::PLAIN
    },
    Preset {
        name: "cashfree",
        title: "Cashfree Payments",
        scheme: SchemeText {
            signed: "{timestamp}{body}",
            at: &["header:x-webhook-signature"],
            encoding: Encoding::Base64,
            timestamp_at: &["header:x-webhook-timestamp"],
            timestamp_unit: TimestampUnit::Milliseconds,
            id: &["body-sha256"],
            event_type: &["json:/type"],
            ..SchemeText::HMAC
        },
        source: "npm cashfree-pg 6.0.6 dist/api.js; \
                   https://www.cashfree.com/docs/payments/subscription/webhook-signature, \
                   https://www.cashfree.com/docs/payments/online/webhooks/signature-verification",
        proven: "vectors computed independently, accepted by npm cashfree-pg 6.0.6 PGVerifyWebhookSignature",
        note: "One documentation page joins time and body with a full stop; the library does not. The key is \
                   the client secret. Milliseconds. No window is documented.",
        ..Preset::PLAIN
    },
    Preset {
        name: "gocardless",
        title: "GoCardless",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:Webhook-Signature"],
            id: &["json:/meta/webhook_id", "body-sha256"],
            event_type: &["json:/events/0/resource_type + json:/events/0/action"],
            ..SchemeText::HMAC
        },
        source: "npm gocardless-nodejs 10.1.2 esm/webhooks.js",
        proven: "vectors computed independently, accepted by npm gocardless-nodejs 10.1.2 verifySignature",
        note: "Batched: the type is that of the first event. The vendor asks for 498 Token Invalid on a bad \
                   signature; any 4xx does.",
        ..Preset::PLAIN
    },
    Preset {
        name: "chargebee",
        title: "Chargebee",
        scheme: SchemeText { id: &["json:/id"], event_type: &["json:/event_type"], ..SchemeText::BASIC },
        source: "npm chargebee 3.33.0 esm/resources/webhook/{auth,handler}.js; \
                   https://www.chargebee.com/docs/2.0/webhook_settings.html",
        proven: "vectors computed independently, accepted by npm chargebee 3.33.0 basicAuthValidator",
        note: "Not signed: Basic authentication, and only where it is switched on. The password may hold \
                   colons.",
        ..Preset::PLAIN
    },
    Preset {
        name: "coinbase",
        title: "Coinbase Developer Platform (Hook0)",
        scheme: SchemeText {
            signed: "{timestamp}.{signed_headers}{body}",
            at: &["header:X-Hook0-Signature"],
            format: "kv:t,v1",
            id: &["json:/eventId", "json:/eventID", "header:X-Event-Id", "body-sha256"],
            event_type: &["json:/eventType", "header:X-Event-Type"],
            ..SchemeText::HMAC
        },
        source: "https://docs.cdp.coinbase.com/webhooks/verify-signatures; npm hook0-client 1.1.0 \
                   dist/signature.js; PyPI hook0-client 2.0.3 signature.py; npm @coinbase/cdp-sdk 1.57.0 (types)",
        proven: "vectors judged by npm hook0-client 1.1.0",
        note: "v1 covers the headers that h names besides time and body. v0, which does not, is ignored: who has seen both \
                   could send the headers changed. The body is JSON, or the signed text could be read in two ways.",
        ..Preset::PLAIN
    },
    Preset {
        name: "coinbase-commerce",
        title: "Coinbase Commerce",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-CC-Webhook-Signature"],
            id: &["json:/event/id"],
            event_type: &["json:/event/type"],
            ..SchemeText::HMAC
        },
        source: "npm coinbase-commerce-node 1.0.4 lib/Webhook.js",
        proven: "the library's own test; requests signed by npm coinbase-commerce-node 1.0.4; judged by PyPI \
                   coinbase-commerce 1.0.1",
        note: "A product that is being wound up; new integrations use coinbase.",
        counters: &["attempt_number"],
        ..Preset::PLAIN
    },
    Preset {
        name: "modern-treasury",
        title: "Modern Treasury",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Signature"],
            id: &["body-sha256"],
            event_type: &["json:/data/object + json:/event", "json:/event"],
            ..SchemeText::HMAC
        },
        source: "npm modern-treasury 3.3.0 resources/webhooks.js",
        proven: "vectors signed by npm modern-treasury 3.3.0 webhooks.getSignature, judged by validateSignature",
        note: "No event id is known; data.id is the object's.",
        ..Preset::PLAIN
    },
    Preset {
        name: "finch",
        title: "Finch",
        scheme: SchemeText {
            key: KeyForm::Base64,
            signed: "{id}.{timestamp}.{body}",
            at: &["header:Finch-Signature"],
            format: "versioned:v1",
            encoding: Encoding::Base64,
            timestamp_at: &["header:Finch-Timestamp"],
            id: &["header:Finch-Event-Id"],
            event_type: &["json:/event_type"],
            ..SchemeText::HMAC
        },
        source: "npm @tryfinch/finch-api 10.7.0 resources/webhooks.js",
        proven: "vectors signed by npm @tryfinch/finch-api 10.7.0 webhooks.signPayload, judged by verifySignature",
        note: "Standard Webhooks under other header names; the secret is base64 without a prefix.",
        ..Preset::PLAIN
    },
    Preset {
        name: "revenuecat",
        title: "RevenueCat",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:X-RevenueCat-Webhook-Signature"],
            format: "kv:t,v1",
            id: &["json:/event/id"],
            event_type: &["json:/event/type"],
            ..SchemeText::HMAC
        },
        source: "https://www.revenuecat.com/docs/integrations/webhooks (through receivers that cite it)",
        proven: "vectors computed independently with Node's and Python's HMAC",
        note: "Signing is opt-in for each webhook; without it use revenuecat-token. Each attempt is signed \
                   anew, with the same event.id.",
        ..Preset::PLAIN
    },
    Preset {
        name: "revenuecat-token",
        title: "RevenueCat, with an authorization header",
        scheme: SchemeText {
            at: &["header:Authorization"],
            id: &["json:/event/id"],
            event_type: &["json:/event/type"],
            ..SchemeText::TOKEN
        },
        source: "https://www.revenuecat.com/docs/integrations/webhooks",
        proven: "vectors computed independently",
        note: "Not signed. The secret is the header's whole value, Bearer included if it was typed so.",
        ..Preset::PLAIN
    },
];
