//! Messages, calls, mail and support.

use super::Preset;
use crate::signature::{BatchText, Encoding, HandshakeText, Hash, KeyForm, Kind, SchemeText, TimestampUnit};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "telegram",
        title: "Telegram Bot API",
        scheme: SchemeText {
            at: &["header:X-Telegram-Bot-Api-Secret-Token"],
            id: &["json:/update_id"],
            event_type: &["json-key:/!update_id"],
            ..SchemeText::TOKEN
        },
        source: "https://core.telegram.org/bots/api#setwebhook; npm grammy 1.46.0 out/convenience/webhook.js; \
                   PyPI python-telegram-bot 22.8",
        proven: "vectors judged by npm grammy 1.46.0 webhookCallback",
        note: "Not signed: the secret_token given to setWebhook, 1 to 256 of A-Z a-z 0-9 _ -; here at least 16. \
                   One bot for each source: update ids are counted per bot.",
        ..Preset::PLAIN
    },
    Preset {
        name: "line",
        title: "LINE Messaging API",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:x-line-signature"],
            encoding: Encoding::Base64,
            id: &["body-sha256"],
            event_type: &["json:/events/0/type"],
            handshakes: &[HandshakeText {
                method: "POST",
                when: &["empty json:/events"],
                proof: "signature",
                answer: "200",
            }],
            ..SchemeText::HMAC
        },
        source: "npm @line/bot-sdk 11.0.0 lib/validate-signature.ts, lib/webhook/model/event.ts",
        proven: "vectors accepted by npm @line/bot-sdk 11.0.0 and PyPI line-bot-sdk 3.27.0",
        note: "A request holds an array of events, none when the console's Verify button is pressed. A \
                   redelivered event has the same webhookEventId but deliveryContext.isRedelivery true, so its body \
                   differs: split the batch to recognise it.",
        batch: Some(BatchText { items: "/events", id: &["json:/webhookEventId"], event_type: &["json:/type"] }),
        counters: &["isRedelivery"],
        ..Preset::PLAIN
    },
    Preset {
        name: "telnyx",
        title: "Telnyx",
        scheme: SchemeText {
            key: KeyForm::Base64,
            signed: "{timestamp}|{body}",
            at: &["header:Telnyx-Signature-Ed25519"],
            encoding: Encoding::Base64,
            timestamp_at: &["header:Telnyx-Timestamp"],
            id: &["json:/data/id"],
            event_type: &["json:/data/event_type"],
            ..SchemeText::ED25519
        },
        source: "npm telnyx 7.24.0 src/lib/webhooks.ts",
        proven: "vectors computed independently, accepted by npm telnyx 7.24.0 TelnyxWebhook.verify",
        note: "The secret is the account's public key, base64 of 32 bytes. The body's meta.attempt counts \
                   tries.",
        counters: &["attempt"],
        ..Preset::PLAIN
    },
    Preset {
        name: "sendgrid",
        title: "Twilio SendGrid",
        scheme: SchemeText {
            kind: Kind::EcdsaP256,
            key: KeyForm::Base64,
            signed: "{timestamp}{body}",
            at: &["header:X-Twilio-Email-Event-Webhook-Signature"],
            encoding: Encoding::Base64,
            timestamp_at: &["header:X-Twilio-Email-Event-Webhook-Timestamp"],
            tolerance: 90_000,
            id: &["body-sha256"],
            event_type: &["json:/0/event"],
            ..SchemeText::HMAC
        },
        source: "npm @sendgrid/eventwebhook 8.0.0 src/eventwebhook.js",
        proven: "the library's own test vector; vectors judged by npm @sendgrid/eventwebhook 8.0.0",
        note: "no window is documented; 25 hours are to outlast the retries, whose length and time are not \
                   confirmed. The body is an array: split it, or the type is that of its first event.",
        batch: Some(BatchText { items: "", id: &["json:/sg_event_id"], event_type: &["json:/event"] }),
        ..Preset::PLAIN
    },
    Preset {
        name: "postmark",
        title: "Postmark",
        scheme: SchemeText {
            id: &[
                "json:/MessageID + json:/RecordType + json:/Recipient + json:/DeliveredAt",
                "json:/MessageID + json:/RecordType + json:/Recipient + json:/ReceivedAt",
                "json:/MessageID + json:/RecordType + json:/Recipient + json:/ChangedAt",
                "json:/RecordType + json:/ID",
                "body-sha256",
            ],
            event_type: &["json:/RecordType"],
            ..SchemeText::BASIC
        },
        source: "https://postmarkapp.com/developer/webhooks/webhooks-overview and PyPI django-anymail 15.2 \
                   webhooks/postmark.py",
        proven: "vectors of RFC 7617 credentials; Postmark signs nothing",
        note: "Postmark signs nothing: put user and password into the webhook's URL there. MessageID names a \
                   message and not an event. Inbound messages have no RecordType: their type is unknown.",
        ..Preset::PLAIN
    },
    Preset {
        name: "mailgun",
        title: "Mailgun",
        scheme: SchemeText {
            signed: "{timestamp}{json:/signature/token}",
            at: &["json:/signature/signature"],
            timestamp_at: &["json:/signature/timestamp"],
            tolerance: 36_000,
            id: &["json:/event-data/id", "json:/signature/token"],
            event_type: &["json:/event-data/event"],
            unsigned_body: true,
            ..SchemeText::HMAC
        },
        source: "https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks and PyPI \
                   django-anymail 15.2 webhooks/mailgun.py",
        proven: "vectors judged by PyPI django-anymail 15.2 (Mailgun publishes no verifier)",
        note: "the event itself is not signed: whoever saw one request can send other events with it. \
                   The window is ten hours because retries go on for eight and, so secondary sources say, keep \
                   their time; whether they keep their token is not known, and makes no other event. parent-signature \
                   (subaccounts) is not looked at: configure the subaccount's key.",
        counters: &["timestamp", "token", "signature"],
        ..Preset::PLAIN
    },
    Preset {
        name: "mailgun-routes",
        title: "Mailgun routes (inbound)",
        scheme: SchemeText {
            signed: "{timestamp}{form:token}",
            at: &["form:signature"],
            timestamp_at: &["form:timestamp"],
            tolerance: 36_000,
            id: &["form:token"],
            unsigned_body: true,
            ..SchemeText::HMAC
        },
        source: "PyPI django-anymail 15.2 webhooks/mailgun.py validate_request",
        proven: "vectors computed as django-anymail 15.2 does",
        note: "the message itself is not signed. Only urlencoded forms: a route that sends attachments posts \
                   multipart/form-data, which is not read.",
        ..Preset::PLAIN
    },
    Preset {
        name: "intercom",
        title: "Intercom",
        scheme: SchemeText {
            hash: Hash::Sha1,
            signed: "{body}",
            at: &["header:X-Hub-Signature"],
            format: "prefix:sha1=",
            id: &["json:/id", "body-sha256"],
            event_type: &["json:/topic"],
            ..SchemeText::HMAC
        },
        source: "https://developers.intercom.com/docs/webhooks and \
                   https://developers.intercom.com/docs/references/webhooks/webhook-models",
        proven: "vectors computed after the documentation; npm intercom-client 7.0.3 has no verifier",
        note: "SHA-1 is all that Intercom offers. The key is the app's client secret. data/item/id names a \
                   conversation or contact and not an event.",
        counters: &["delivery_attempts", "delivered_at"],
        ..Preset::PLAIN
    },
    Preset {
        name: "zendesk",
        title: "Zendesk",
        scheme: SchemeText {
            signed: "{timestamp}{body}",
            at: &["header:X-Zendesk-Webhook-Signature"],
            encoding: Encoding::Base64,
            timestamp_at: &["header:X-Zendesk-Webhook-Signature-Timestamp"],
            timestamp_unit: TimestampUnit::Rfc3339,
            id: &["header:X-Zendesk-Webhook-Invocation-Id"],
            event_type: &["json:/type"],
            ..SchemeText::HMAC
        },
        source: "https://developer.zendesk.com/documentation/webhooks/verifying/ and \
                   .../anatomy-of-a-webhook-request",
        proven: "vectors computed independently with Node's and Python's HMAC, after Zendesk's documented \
                   construction",
        note: "Zendesk documents no window; 300 s is ours. Webhooks of triggers and automations carry an \
                   admin's own body, method and format: no type. Test requests before creation are signed with the \
                   public secret dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==, which must never be configured for \
                   long.",
        ..Preset::PLAIN
    },
    Preset {
        name: "help-scout",
        title: "Help Scout",
        scheme: SchemeText {
            hash: Hash::Sha1,
            signed: "{body}",
            at: &["header:X-HelpScout-Signature"],
            encoding: Encoding::Base64,
            id: &["body-sha256"],
            event_type: &["header:X-HelpScout-Event"],
            ..SchemeText::HMAC
        },
        source: "helpscout/helpscout-api-php src/Webhooks/IncomingWebhook.php; \
                   https://developer.helpscout.com/webhooks/",
        proven: "vectors computed independently, by the vendor's library helpscout/helpscout-api-php \
                   src/Webhooks/IncomingWebhook.php; no vendor's library judged them",
        note: "The body's id is the conversation's. A test event is called helpscout.test.",
        ..Preset::PLAIN
    },
    Preset {
        name: "pagerduty",
        title: "PagerDuty (V3 webhooks)",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-PagerDuty-Signature"],
            format: "kv:v1",
            id: &["json:/event/id"],
            event_type: &["json:/event/event_type"],
            ..SchemeText::HMAC
        },
        source: "https://developer.pagerduty.com/docs/verifying-signatures; PagerDuty/go-pagerduty \
                   webhookv3/webhookv3.go",
        proven: "the Go library's own test; vectors computed independently with Node's and Python's HMAC",
        note: "Several v1 while a secret is rotated; other versions are ignored.",
        ..Preset::PLAIN
    },
    Preset {
        name: "retell",
        title: "Retell AI",
        scheme: SchemeText {
            signed: "{body}{timestamp}",
            at: &["header:X-Retell-Signature"],
            format: "kv:v,d",
            timestamp_unit: TimestampUnit::Milliseconds,
            id: &["body-sha256"],
            event_type: &["json:/event"],
            ..SchemeText::HMAC
        },
        source: "npm retell-sdk 5.66.1 lib/webhook_auth.js",
        proven: "vectors signed by npm retell-sdk 5.66.1 lib/webhook_auth symmetric.sign, judged by verify",
        note: "The key is the API key. Time after the body, in milliseconds. No event id: call_id is the \
                   call's.",
        ..Preset::PLAIN
    },
];
