//! Selling, paying and keeping books.

use super::standard_webhooks::SIGNED;
use super::{Preset, Success};
use crate::signature::{BatchText, Encoding, HandshakeText, Hash, KeyForm, Kind, Pairing, SchemeText, TimestampUnit};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "xero",
        title: "Xero",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:x-xero-signature"],
            encoding: Encoding::Base64,
            id: &["json:/firstEventSequence + json:/lastEventSequence", "body-sha256"],
            event_type: &["json:/events/0/eventCategory + json:/events/0/eventType"],
            handshakes: &[HandshakeText {
                method: "POST",
                when: &["empty json:/events"],
                proof: "signature",
                answer: "200",
            }],
            ..SchemeText::HMAC
        },
        source: "https://developer.xero.com/documentation/guides/webhooks/overview/ and XeroAPI/xero-node-oauth2-app \
               src/app.ts (through webhook-verify's specification, which cites them)",
        proven: "vectors computed independently with Node's and Python's HMAC, after the construction that several \
               receivers share",
        note: "Answers are to be empty and fast (5 s by Xero's page, not read again). Events only name what changed.",
        success: Success::Empty,
        batch: Some(BatchText {
            items: "/events",
            id: &[
                "json:/resourceId + json:/eventType + json:/eventDateUtc + json:/tenantId",
                "json:/resourceId + json:/eventType + json:/eventDateUtc",
            ],
            event_type: &["json:/eventCategory + json:/eventType"],
        }),
        ..Preset::PLAIN
    },
    Preset {
        name: "mollie",
        title: "Mollie",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Mollie-Signature"],
            format: "prefix?:sha256=",
            pairing: Pairing::Every,
            id: &["json:/id"],
            event_type: &["json:/type"],
            ..SchemeText::HMAC
        },
        source: "PyPI mollie-api-py 1.10.20 mollie/utils/webhooks/signature_validator.py; \
               https://docs.mollie.com/reference/webhooks-new",
        proven: "vectors computed independently, accepted by PyPI mollie-api-py 1.10.20 \
               SignatureValidator.validate_payload",
        note: "The newer webhooks only. The classic ones (a form with id=tr_...) are not signed and are refused \
               here. While a secret is rolled Mollie sends the header twice; any may match.",
        ..Preset::PLAIN
    },
    Preset {
        name: "adyen-platform",
        title: "Adyen (platforms and management)",
        scheme: SchemeText {
            key: KeyForm::Hex,
            signed: "{body}",
            at: &["header:HmacSignature"],
            encoding: Encoding::Base64,
            id: &["body-sha256"],
            event_type: &["json:/type"],
            ..SchemeText::HMAC
        },
        source: "npm @adyen/api-library 32.1.0 utils/hmacValidator validateHMACSignature and \
               https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures",
        proven: "vectors signed and judged by npm @adyen/api-library 32.1.0",
        note: "no delivery id is documented; each body has the time of its event.",
        ..Preset::PLAIN
    },
    Preset {
        name: "shopify-events",
        title: "Shopify Events (preview)",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:shopify-hmac-sha256"],
            encoding: Encoding::Base64,
            id: &["header:shopify-webhook-id", "body-sha256"],
            event_type: &["header:shopify-topic + header:shopify-action", "header:shopify-topic"],
            ..SchemeText::HMAC
        },
        source: "npm @shopify/shopify-api 13.1.0 lib/types ShopifyEventsHeader and \
               https://shopify.dev/docs/apps/build/events/verify-deliveries",
        proven: "vectors signed and judged by npm @shopify/shopify-api 13.1.0",
        note: "a developer preview of Shopify's: headers without X-. They are not signed.",
        ..Preset::PLAIN
    },
    Preset {
        name: "wise",
        title: "Wise",
        scheme: SchemeText {
            kind: Kind::Rsa,
            key: KeyForm::Pem,
            signed: "{body}",
            at: &["header:X-Signature-SHA256"],
            encoding: Encoding::Base64,
            id: &["header:X-Delivery-Id", "body-sha256"],
            event_type: &["json:/event_type"],
            ..SchemeText::HMAC
        },
        source: "https://docs.wise.com/features/webhooks-notifications/event-handling",
        proven: "vectors computed independently, by RSA with SHA-256 over the raw body (documentation), PKCS #1 v1.5 \
               (not confirmed); no vendor's library judged them",
        note: "The secret is Wise's public key in PEM; sandbox and production have their own. Answer within 5 s.",
        ..Preset::PLAIN
    },
    Preset {
        name: "zoho-payments",
        title: "Zoho Payments",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:X-Zoho-Webhook-Signature"],
            format: "kv:t,v",
            timestamp_unit: TimestampUnit::Milliseconds,
            id: &["body-sha256"],
            event_type: &["json:/event_type"],
            ..SchemeText::HMAC
        },
        source: "https://www.zoho.com/in/payments/developerdocs/webhooks/verification",
        proven: "vectors computed independently, by the documented steps; no vendor's library judged them",
        note: "Answer within 15 s.",
        ..Preset::PLAIN
    },
    Preset {
        name: "brex",
        title: "Brex",
        scheme: SchemeText { event_type: &["json:/event_type"], ..SIGNED },
        source: "https://developer.brex.com/docs/webhooks and Brex's API description, List webhook secrets",
        proven: "vectors signed by npm standardwebhooks 1.1.1; no library of Brex's judges them",
        note: "while a key is rotated Webhook-Signature holds two signatures. That the secret is base64 is from a \
               secondary source.",
        ..Preset::PLAIN
    },
    Preset {
        name: "loops",
        title: "Loops",
        scheme: SchemeText { event_type: &["json:/eventName"], ..SIGNED },
        source: "https://loops.so/docs/webhooks and https://trigger.dev/docs/webhooks/providers/loops",
        proven: "vectors signed by npm standardwebhooks 1.1.1; npm loops 7.3.0 has no verifier",
        note: "headers from a secondary source.",
        ..Preset::PLAIN
    },
    Preset {
        name: "paystack",
        title: "Paystack",
        scheme: SchemeText {
            hash: Hash::Sha512,
            signed: "{body}",
            at: &["header:X-Paystack-Signature"],
            id: &["body-sha256"],
            event_type: &["json:/event"],
            ..SchemeText::HMAC
        },
        source: "https://paystack.com/docs/payments/webhooks/#verify-event-origin (through webhook-verify, \
               hookdeck/webhook-skills)",
        proven: "vectors computed independently, by the documented rule, through three secondary sources; no vendor's \
               library judged them",
        note: "The key is the account's secret key. No event id. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "lemon-squeezy",
        title: "Lemon Squeezy",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Signature"],
            id: &["body-sha256"],
            event_type: &["header:X-Event-Name", "json:/meta/event_name"],
            ..SchemeText::HMAC
        },
        source: "https://docs.lemonsqueezy.com/help/webhooks/signing-requests (through webhook-verify, trigger.dev)",
        proven: "vectors computed independently, by the documented rule, through two secondary sources; no vendor's \
               library judged them",
        note: "data.id is the order's or subscription's. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "fastspring",
        title: "FastSpring",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-FS-Signature"],
            encoding: Encoding::Base64,
            id: &["body-sha256"],
            event_type: &["json:/events/0/type"],
            ..SchemeText::HMAC
        },
        source: "https://developer.fastspring.com/reference/message-security (through webhook-verify, \
               hookdeck/webhook-skills)",
        proven: "vectors computed independently, by the documented rule, through two secondary sources; no vendor's \
               library judged them",
        note: "Signed only where a secret is set. Batched: the type is that of the first event. Facts from \
               secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "fintoc",
        title: "Fintoc",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:Fintoc-Signature"],
            format: "kv:t,v1",
            id: &["json:/id"],
            event_type: &["json:/type"],
            ..SchemeText::HMAC
        },
        source: "https://docs.fintoc.com/docs/webhooks-walkthrough (through webhook-verify)",
        proven: "vectors computed independently, by the documented rule, through webhook-verify; no vendor's library \
               judged them",
        note: "Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "authorize-net",
        title: "Authorize.Net",
        scheme: SchemeText {
            hash: Hash::Sha512,
            signed: "{body}",
            at: &["header:X-ANET-Signature"],
            format: "prefix:sha512=",
            id: &["json:/notificationId"],
            event_type: &["json:/eventType"],
            ..SchemeText::HMAC
        },
        source: "https://developer.authorize.net/api/reference/features/webhooks.html; \
               https://community.developer.cybersource.com/t5/Integration-and-Testing/HMAC-SHA-512-hash-not-matching-in-webhook-callback/td-p/57162",
        proven: "vectors computed independently, by the rule that reproduces the body, key and digest published on \
               the vendor's forum; no vendor's library judged them",
        note: "The signature key is used as text, not hex-decoded, and the digest is in upper-case hex. Not stated \
               by the vendor's reference; receivers that decode the key exist. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "airwallex",
        title: "Airwallex",
        scheme: SchemeText {
            signed: "{timestamp}{body}",
            at: &["header:X-Signature"],
            timestamp_at: &["header:X-Timestamp"],
            timestamp_unit: TimestampUnit::Milliseconds,
            id: &["json:/id"],
            event_type: &["json:/name"],
            ..SchemeText::HMAC
        },
        source: "https://www.airwallex.com/docs/developer-tools/webhooks/listen-for-webhook-events (through \
               webhook-verify, hookdeck/webhook-skills)",
        proven: "vectors computed independently, by the documented rule, through two secondary sources; no vendor's \
               library judged them",
        note: "Time in milliseconds. No window is documented. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "persona",
        title: "Persona",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:Persona-Signature"],
            format: "kv:t,v1",
            id: &["json:/data/id"],
            event_type: &["json:/data/attributes/name"],
            ..SchemeText::HMAC
        },
        source: "https://docs.withpersona.com/webhooks-best-practices#checking-signatures (through \
               hookdeck/webhook-skills)",
        proven: "vectors computed independently, by the documented rule, through hookdeck/webhook-skills; no vendor's \
               library judged them",
        note: "While a secret is rolled the header holds two t=,v1= pairs with a space between; that form is not \
               read by kv. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "pipedrive",
        title: "Pipedrive",
        scheme: SchemeText {
            id: &["body-sha256"],
            event_type: &["json:/meta/action + json:/meta/entity", "json:/event"],
            ..SchemeText::BASIC
        },
        source: "https://pipedrive.readme.io/docs/guide-for-webhooks-v2 (through hookdeck/webhook-skills \
               providers.yaml)",
        proven: "vectors computed independently, by RFC 7617; no vendor's library judged them",
        note: "Not signed: Basic authentication only. In version 1 meta.id is the id of the object, not of the \
               event: never use it. Facts from secondary sources.",
        counters: &["attempt"],
        ..Preset::PLAIN
    },
    Preset {
        name: "freshdesk",
        title: "Freshdesk",
        scheme: SchemeText { id: &["body-sha256"], event_type: &[], ..SchemeText::BASIC },
        source: "https://support.freshdesk.com/support/solutions/articles/50000009511 (through trigger.dev research \
               notes)",
        proven: "vectors computed independently, by RFC 7617; no vendor's library judged them",
        note: "Not signed; the administrator writes body and headers in an automation rule, so there is no id and \
               no type that is always there. Basic authentication is one of the choices. Facts from secondary \
               sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "customer-io",
        title: "Customer.io",
        scheme: SchemeText {
            signed: "v0:{timestamp}:{body}",
            at: &["header:X-CIO-Signature"],
            timestamp_at: &["header:X-CIO-Timestamp"],
            id: &["json:/event_id"],
            event_type: &["json:/object_type + json:/metric"],
            ..SchemeText::HMAC
        },
        source: "https://docs.customer.io/integrations/data-out/connections/webhooks/ (through \
               hookdeck/webhook-skills and public receivers)",
        proven: "vectors computed independently, by the documented rule, through several public receivers; no \
               vendor's library judged them",
        note: "Answer within 4 s. No window is documented. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "mandrill",
        title: "Mailchimp Transactional (Mandrill)",
        scheme: SchemeText {
            hash: Hash::Sha1,
            signed: "{url}{form_sorted}",
            at: &["header:X-Mandrill-Signature"],
            encoding: Encoding::Base64,
            id: &["body-sha256"],
            event_type: &[],
            ..SchemeText::HMAC
        },
        source: "https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/#authenticating-webhook-requests \
               (through webhook-verify, trigger.dev)",
        proven: "vectors computed independently, by the documented rule (URL, then names and values sorted by name); \
               no vendor's library judged them",
        note: "A form, known by its fields however they are written, whose one field mandrill_events holds a JSON array; the URL must be as configured there. The \
               array is inside a form field, so there is no type and no split. _id is the message's, not the \
               event's. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "smartcar",
        title: "Smartcar",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:SC-Signature"],
            id: &["json:/eventId", "body-sha256"],
            event_type: &["json:/eventType"],
            handshakes: &[HandshakeText {
                method: "POST",
                when: &["json:/eventType = VERIFY"],
                proof: "signature",
                answer: "json challenge=mac(json:/data/challenge)",
            }],
            ..SchemeText::HMAC
        },
        source: "npm smartcar 10.4.0 index.js; https://smartcar.com/docs/integrations/webhooks/payload-verification",
        proven: "vectors signed by npm smartcar 10.4.0 hashChallenge, judged by verifyPayload",
        note: "The secret is the application management token. meta.deliveryId changes from try to try.",
        ..Preset::PLAIN
    },
];
