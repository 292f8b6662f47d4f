//! Shops, orders and bookings.

use super::Preset;
use crate::signature::{Encoding, HandshakeText, SchemeText};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "shopify",
        title: "Shopify",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Shopify-Hmac-Sha256"],
            encoding: Encoding::Base64,
            id: &["header:X-Shopify-Webhook-Id", "header:X-Shopify-Event-Id + header:X-Shopify-Topic", "body-sha256"],
            event_type: &["header:X-Shopify-Topic"],
            ..SchemeText::HMAC
        },
        source: "npm @shopify/shopify-api 13.1.0 lib/types, lib/webhooks/types, lib/utils/hmac-validator and \
                   https://shopify.dev/docs/apps/build/webhooks/verify-deliveries",
        proven: "vectors signed and judged by npm @shopify/shopify-api 13.1.0",
        note: "the headers, id and topic among them, are not signed. The id is the delivery's: two subscriptions to one \
                   topic are two events. For up to an hour after the client secret was rotated the old one signs.",
        ..Preset::PLAIN
    },
    Preset {
        name: "woocommerce",
        title: "WooCommerce",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-WC-Webhook-Signature"],
            encoding: Encoding::Base64,
            id: &["header:X-WC-Webhook-Delivery-ID + json:/id", "body-sha256"],
            event_type: &["header:X-WC-Webhook-Topic"],
            handshakes: &[HandshakeText {
                method: "POST",
                when: &["no header:X-WC-Webhook-Signature", "form:webhook_id"],
                proof: "none",
                answer: "200",
            }],
            ..SchemeText::HMAC
        },
        source: "woocommerce/woocommerce plugins/woocommerce/includes/class-wc-webhook.php",
        proven: "vectors computed independently with Node's and Python's HMAC, after WooCommerce's own sender",
        note: "A delivery id is a hash of the webhook and the second: two deliveries of one webhook in one \
                   second share it, so the resource's id is joined to it. WooCommerce does not retry, and disables \
                   a webhook after more than five failures in a row. Quotes and & in a secret are decoded as HTML \
                   by the sender. The ping at a webhook's creation, webhook_id in a form, is not signed; it wants 200.",
        ..Preset::PLAIN
    },
    Preset {
        name: "bigcommerce",
        title: "BigCommerce",
        scheme: SchemeText {
            signed: "{id}.{timestamp}.{body}",
            at: &["header:webhook-signature"],
            format: "versioned:v1",
            encoding: Encoding::Base64,
            timestamp_at: &["header:webhook-timestamp"],
            id: &["header:webhook-id"],
            event_type: &["json:/scope"],
            ..SchemeText::HMAC
        },
        source: "https://developer.bigcommerce.com/docs/integrations/webhooks/https (bigcommerce/docs \
                   docs/integrations/webhooks/https-webhook-overview.mdx)",
        proven: "vectors signed by npm standardwebhooks 1.1.1 sign, judged by verify",
        note: "Standard Webhooks, except that the text of the app's client secret is the key. Own headers may \
                   be set besides. hash in the body is the same when a hook fires twice for one event.",
        ..Preset::PLAIN
    },
    Preset {
        name: "square",
        title: "Square",
        scheme: SchemeText {
            signed: "{url}{body}",
            at: &["header:x-square-hmacsha256-signature"],
            encoding: Encoding::Base64,
            id: &["json:/event_id"],
            event_type: &["json:/type"],
            ..SchemeText::HMAC
        },
        source: "npm square 46.0.0 wrapper/WebhooksHelper.js",
        proven: "vectors signed and judged by npm square 46.0.0",
        note: "the URL is the notification URL of the subscription, character for character. The older \
                   x-square-signature (SHA-1) is ignored.",
        ..Preset::PLAIN
    },
    Preset {
        name: "easypost",
        title: "EasyPost",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Hmac-Signature"],
            format: "prefix:hmac-sha256-hex=",
            id: &["json:/id"],
            event_type: &["json:/description"],
            ..SchemeText::HMAC
        },
        source: "npm @easypost/api 8.9.0 src/utils/util.js",
        proven: "vectors computed independently, accepted by npm @easypost/api 8.9.0 Utils.validateWebhook",
        note: "The key is the secret after Unicode NFKD: write it in ASCII, or already normalized. \
                   completed_urls and pending_urls in the body change from try to try, the id does not.",
        ..Preset::PLAIN
    },
    Preset {
        name: "cal-com",
        title: "Cal.com",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Cal-Signature-256"],
            id: &["body-sha256"],
            event_type: &["json:/triggerEvent"],
            ..SchemeText::HMAC
        },
        source: "calcom/cal.com packages/features/webhooks/lib/sendPayload.ts",
        proven: "vectors computed independently, by the sender's own source; no vendor's library judged them",
        note: "Without a secret the header says no-secret-provided. The payload's uid is the booking's. With a \
                   payload template the body, and with it the type, is the administrator's.",
        ..Preset::PLAIN
    },
    Preset {
        name: "calendly",
        title: "Calendly",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:Calendly-Webhook-Signature"],
            format: "kv:t,v1",
            tolerance: 180,
            id: &["json:/event + json:/created_at + json:/payload/uri", "body-sha256"],
            event_type: &["json:/event"],
            ..SchemeText::HMAC
        },
        source: "https://developer.calendly.com/api-docs (webhook signatures)",
        proven: "vectors computed independently with Node's and Python's HMAC, after Calendly's documented code",
        note: "No event id: composed. payload.uri is the invitee's, which several events share.",
        ..Preset::PLAIN
    },
    Preset {
        name: "typeform",
        title: "Typeform",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:Typeform-Signature"],
            format: "prefix:sha256=",
            encoding: Encoding::Base64,
            id: &["json:/event_id", "body-sha256"],
            event_type: &["json:/event_type"],
            ..SchemeText::HMAC
        },
        source: "https://www.typeform.com/developers/webhooks/secure-your-webhooks/ and \
                   https://www.typeform.com/developers/webhooks/example-payload/",
        proven: "vectors computed after the documentation; npm @typeform/api-client 2.8.0 has no verifier",
        note: "form_response/token names a response and not an event.",
        ..Preset::PLAIN
    },
];
