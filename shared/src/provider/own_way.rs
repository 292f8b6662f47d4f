//! Providers whose proof no template can say: each has code of its own, in `signature/native`.

use super::{Preset, Success};
use crate::signature::{BatchText, Encoding, HandshakeText, Hash, KeyForm, Kind, SchemeText};

const TWILIO: SchemeText = SchemeText {
    kind: Kind::Twilio,
    hash: Hash::Sha1,
    signed: "{url}{form_sorted}",
    at: &["header:X-Twilio-Signature"],
    encoding: Encoding::Base64,
    id: &["header:I-Twilio-Idempotency-Token", "body-sha256"],
    event_type: &[
        "form:MessageStatus",
        "form:SmsStatus",
        "form:CallStatus",
        "form:EventType",
        "json:/0/type",
        "json:/type",
    ],
    ..SchemeText::HMAC
};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "twilio",
        title: "Twilio",
        scheme: TWILIO,
        source: "npm twilio 6.3.1 lib/webhooks/webhooks.js and https://www.twilio.com/docs/usage/webhooks/webhooks-security",
        proven: "vectors signed and judged by npm twilio 6.3.1",
        note: "needs the public URL exactly as configured at Twilio. A body that is no form is covered only by bodySHA256 \
               in the query, and refused without it. The idempotency token is not signed. Names and values of a form are \
               signed without anything between them, so that two ways to part them verify alike; they are one event. \
               The older encoding of the query, which the library tries too, is not.",
        ..Preset::PLAIN
    },
    Preset {
        name: "twilio-shared-key",
        title: "Twilio (shared key, SHA-256)",
        scheme: SchemeText { hash: Hash::Sha256, ..TWILIO },
        source: "npm twilio 6.3.1 lib/webhooks/webhooks.js and https://www.twilio.com/docs/usage/webhooks/webhook-shared-keys",
        proven: "vectors signed and judged by npm twilio 6.3.1",
        note: "a public beta of Twilio's. X-Twilio-Webhooks-Signature-Settings names key and algorithm and is ignored: the \
               source decides.",
        ..Preset::PLAIN
    },
    Preset {
        name: "adyen",
        title: "Adyen (payments)",
        scheme: SchemeText {
            kind: Kind::Adyen,
            key: KeyForm::Hex,
            signed: "",
            encoding: Encoding::Base64,
            id: &[
                "json:/notificationItems/0/NotificationRequestItem/pspReference + \
                 json:/notificationItems/0/NotificationRequestItem/eventCode + \
                 json:/notificationItems/0/NotificationRequestItem/success",
                "body-sha256",
            ],
            event_type: &["json:/notificationItems/0/NotificationRequestItem/eventCode"],
            ..SchemeText::HMAC
        },
        source: "npm @adyen/api-library 32.1.0 utils/hmacValidator, PyPI Adyen 16.0.0 util.py",
        proven: "vectors signed and judged by npm @adyen/api-library 32.1.0",
        note: "eight fields of each item are signed, the rest is not: two items with the same eight are one event, whatever \
               eventDate says, as Adyen's documentation has it. A notification of several items has the hash of what is \
               signed as its id.",
        batch: Some(BatchText {
            items: "/notificationItems",
            id: &[
                "json:/NotificationRequestItem/pspReference + json:/NotificationRequestItem/eventCode + json:/NotificationRequestItem/success",
            ],
            event_type: &["json:/NotificationRequestItem/eventCode"],
        }),
        success: Success::Text("[accepted]"),
        ..Preset::PLAIN
    },
    Preset {
        name: "braintree",
        title: "Braintree",
        scheme: SchemeText {
            kind: Kind::Braintree,
            hash: Hash::Sha1,
            key: KeyForm::Sha1Of,
            signed: "{form:bt_payload}",
            at: &["form:bt_signature"],
            id: &["body-sha256"],
            handshakes: &[HandshakeText {
                method: "GET",
                when: &["query:bt_challenge"],
                proof: "none",
                answer: "text mac(query:bt_challenge)",
            }],
            ..SchemeText::HMAC
        },
        source: "npm braintree 3.40.0 lib/braintree/webhook_notification_gateway.js, PyPI braintree 4.48.0 \
                 webhook_notification_gateway.py",
        proven: "vectors signed and judged by npm braintree 3.40.0",
        note: "a secret is the public key, a colon and the private key. The type is read from the XML in bt_payload; the \
               time there is signed and not judged. The id is the hash of bt_payload: what stands beside it in the form \
               is not signed and makes no other event.",
        ..Preset::PLAIN
    },
    Preset {
        name: "livekit",
        title: "LiveKit",
        scheme: SchemeText {
            at: &["header:Authorization"],
            format: "prefix?:Bearer ",
            encoding: Encoding::Base64,
            id: &["json:/id"],
            event_type: &["json:/event"],
            body_claim: "sha256",
            ..SchemeText::JWT
        },
        source: "npm livekit-server-sdk 2.19.2 dist/WebhookReceiver.js, dist/AccessToken.js",
        proven: "vectors signed by npm livekit-server-sdk 2.19.2 AccessToken, judged by WebhookReceiver.receive",
        note: "the token stands bare in Authorization; the secret is the API secret. The issuer is not judged.",
        ..Preset::PLAIN
    },
    Preset {
        name: "wix",
        title: "Wix",
        scheme: SchemeText {
            kind: Kind::JwtRsa,
            key: KeyForm::Pem,
            at: &["body"],
            id: &["json:/data/data/id", "body-sha256"],
            event_type: &["json:/data/eventType"],
            ..SchemeText::JWT
        },
        source: "npm @wix/sdk 1.21.16 build/auth/AppStrategy.js decodeJWT, build/event-handlers-modules.js parseJWT",
        proven: "vectors computed independently, judged by npm @wix/sdk 1.21.16 webhooks.parseJWT",
        note: "the body is a token, and an event's body is that token: its claim data is JSON in a string, and data in that \
               once more. The secret is the app's public key. Issuer and audience are not judged. Whether the token of a \
               retry is the same is not confirmed; an event without an id of its own (an app installed or removed) is known \
               by the token.",
        ..Preset::PLAIN
    },
    Preset {
        name: "microsoft-graph",
        title: "Microsoft Graph",
        scheme: SchemeText {
            kind: Kind::MicrosoftGraph,
            signed: "",
            id: &["arrival"],
            event_type: &["json:/value/0/lifecycleEvent", "json:/value/0/changeType"],
            handshakes: &[HandshakeText {
                method: "POST",
                when: &["query:validationToken"],
                proof: "none",
                answer: "text query:validationToken",
            }],
            ..SchemeText::HMAC
        },
        source: "https://learn.microsoft.com/graph/change-notifications-delivery-webhooks, \
               https://learn.microsoft.com/graph/change-notifications-with-resource-data",
        proven: "vectors computed independently",
        note: "Nothing is signed: clientState, given with the subscription, must stand in every item. Bodies of distinct \
               changes can be the same and need not have an id: each request is an event. Without setting, \
               validationTokens are not judged. For subscriptions with resource data let setting be the id of the \
               application (client) that made them: then every request must carry tokens of Microsoft Entra for it, \
               issued to Microsoft Graph's change tracking and not expired, all by one key, which is got from \
               login.microsoftonline.com (a request whose tokens name several keys is refused). Whether lifecycle \
               notifications and later retries always carry such tokens is not confirmed. The tenant is not judged.",
        batch: Some(BatchText {
            items: "/value",
            id: &["json:/id", "arrival"],
            event_type: &["json:/lifecycleEvent", "json:/changeType"],
        }),
        success: Success::Accepted,
        ..Preset::PLAIN
    },
];
