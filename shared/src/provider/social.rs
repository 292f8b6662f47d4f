//! Messengers, social networks and calls.

use super::{Preset, Success};
use crate::signature::{BatchText, Encoding, HandshakeText, Hash, KeyForm, Kind, Pairing, SchemeText, TimestampUnit};

/// One scheme for all that Meta sends.
const META: SchemeText = SchemeText {
    signed: "{body}",
    at: &["header:X-Hub-Signature-256"],
    format: "prefix:sha256=",
    id: &["body-sha256"],
    event_type: &["json:/object + json:/entry/0/changes/0/field", "json:/object"],
    handshakes: &[HandshakeText {
        method: "GET",
        when: &["query:hub.mode = subscribe"],
        proof: "word query:hub.verify_token",
        answer: "text query:hub.challenge",
    }],
    ..SchemeText::HMAC
};
/// An entry can hold several changes, and has no id.
const META_BATCH: Option<BatchText> =
    Some(BatchText { items: "/entry", id: &[], event_type: &["json:/changes/0/field"] });

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "slack",
        title: "Slack",
        scheme: SchemeText {
            signed: "v0:{timestamp}:{body}",
            at: &["header:X-Slack-Signature"],
            format: "prefix:v0=",
            timestamp_at: &["header:X-Slack-Request-Timestamp"],
            id: &["json:/event_id", "form:trigger_id", "body-sha256"],
            event_type: &["json:/event/type", "json:/type", "form:command"],
            handshakes: &[
                HandshakeText {
                    method: "POST",
                    when: &["json:/type = url_verification"],
                    proof: "signature",
                    answer: "json challenge=json:/challenge",
                },
                HandshakeText {
                    method: "POST",
                    when: &["header:Content-Type = application/x-www-form-urlencoded", "form:ssl_check = 1"],
                    proof: "none",
                    answer: "200",
                },
            ],
            ..SchemeText::HMAC
        },
        source: "npm @slack/bolt 5.1.0 receivers/verify-request and \
               https://docs.slack.dev/authentication/verifying-requests-from-slack",
        proven: "Slack's published example; vectors signed by PyPI slack_sdk 3.48.0 and judged by npm @slack/bolt \
               5.1.0",
        note: "interactivity is JSON in the form field payload: its id is the body's hash and its type unknown.",
        ..Preset::PLAIN
    },
    Preset {
        name: "discord",
        title: "Discord",
        scheme: SchemeText {
            key: KeyForm::Hex,
            signed: "{timestamp}{body}",
            at: &["header:X-Signature-Ed25519"],
            timestamp_at: &["header:X-Signature-Timestamp"],
            tolerance: 900,
            id: &["json:/id", "body-sha256"],
            event_type: &["json:/event/type", "json:/type"],
            handshakes: &[
                HandshakeText {
                    method: "POST",
                    when: &["json:/type = 1", "no json:/event/type"],
                    proof: "signature",
                    answer: "json type=1",
                },
                HandshakeText {
                    method: "POST",
                    when: &["json:/type = 0", "no json:/event/type"],
                    proof: "signature",
                    answer: "204",
                },
            ],
            ..SchemeText::ED25519
        },
        source: "npm discord-interactions 4.4.0 dist/index.js and discord/discord-api-docs \
               docs/events/webhook-events.mdx",
        proven: "vectors judged by npm discord-interactions 4.4.0",
        note: "secrets are the application's public key. Discord probes with bad signatures and wants 401 for them. \
               900 s outlast its ten minutes of retries, should they keep their time. Events want 204.",
        success: Success::NoContent,
        ..Preset::PLAIN
    },
    Preset {
        name: "zoom",
        title: "Zoom",
        scheme: SchemeText {
            signed: "v0:{timestamp}:{body}",
            at: &["header:x-zm-signature"],
            format: "prefix:v0=",
            timestamp_at: &["header:x-zm-request-timestamp"],
            tolerance: 10_800,
            id: &["body-sha256"],
            event_type: &["json:/event"],
            handshakes: &[HandshakeText {
                method: "POST",
                when: &["json:/event = endpoint.url_validation"],
                proof: "signature",
                answer: "json plainToken=json:/payload/plainToken encryptedToken=mac(json:/payload/plainToken)",
            }],
            ..SchemeText::HMAC
        },
        source: "npm @zoom/rivet 0.4.0 users/users.mjs CommonHttpRequest and \
               https://developers.zoom.us/docs/api/webhooks/",
        proven: "vectors judged by npm @zoom/rivet 0.4.0",
        note: "no event id and no window are documented. Three hours outlast the retries (85 minutes), should they \
               keep their time.",
        ..Preset::PLAIN
    },
    Preset {
        name: "meta",
        title: "Meta (Facebook pages, Messenger, lead ads)",
        scheme: META,
        source: "npm @great-detail/whatsapp 8.4.0 dist/index.js and \
               https://developers.facebook.com/docs/messenger-platform/webhook-reference",
        proven: "vectors judged by npm @great-detail/whatsapp 8.4.0 (not Meta's own)",
        note: "the secret is the app secret. Deliveries are batches without an id of their own: entity ids of \
               messages are never the delivery's id.",
        batch: META_BATCH,
        ..Preset::PLAIN
    },
    Preset {
        name: "whatsapp",
        title: "WhatsApp Cloud API",
        scheme: META,
        source: "npm @great-detail/whatsapp 8.4.0 dist/index.js and \
               https://developers.facebook.com/docs/messenger-platform/webhook-reference",
        proven: "vectors judged by npm @great-detail/whatsapp 8.4.0 (not Meta's own)",
        note: "the secret is the app secret. Deliveries are batches without an id of their own: entity ids of \
               messages are never the delivery's id. messages and statuses come under the same field.",
        batch: META_BATCH,
        ..Preset::PLAIN
    },
    Preset {
        name: "instagram",
        title: "Instagram",
        scheme: META,
        source: "npm @great-detail/whatsapp 8.4.0 dist/index.js and \
               https://developers.facebook.com/docs/messenger-platform/webhook-reference",
        proven: "vectors judged by npm @great-detail/whatsapp 8.4.0 (not Meta's own)",
        note: "the secret is the app secret. Deliveries are batches without an id of their own: entity ids of \
               messages are never the delivery's id.",
        batch: META_BATCH,
        ..Preset::PLAIN
    },
    Preset {
        name: "x",
        title: "X (Twitter)",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Twitter-Webhooks-Signature-OAuth2", "header:X-Twitter-Webhooks-Signature"],
            format: "prefix:sha256=",
            encoding: Encoding::Base64,
            id: &["json:/data/event_uuid", "body-sha256"],
            event_type: &["json:/data/event_type", "json-key:/!for_user_id,user_has_blocked,users,apps,tweets"],
            pairing: Pairing::Every,
            handshakes: &[HandshakeText {
                method: "GET",
                when: &["query:crc_token"],
                proof: "none",
                answer: "json response_token=signature(query:crc_token)",
            }],
            ..SchemeText::HMAC
        },
        source: "https://docs.x.com/x-api/webhooks (through receivers that cite it); npm twitter-autohook 1.7.2 \
               index.js",
        proven: "vectors judged by npm twitter-autohook 1.7.2 validateSignature",
        note: "Two headers: -OAuth2 is keyed by the app's OAuth 2.0 client secret, the older one by the consumer \
               secret; either may match. The first secret of the source answers X's challenge.",
        ..Preset::PLAIN
    },
    Preset {
        name: "twitch",
        title: "Twitch EventSub",
        scheme: SchemeText {
            signed: "{id}{timestamp}{body}",
            at: &["header:Twitch-Eventsub-Message-Signature"],
            format: "prefix:sha256=",
            timestamp_at: &["header:Twitch-Eventsub-Message-Timestamp"],
            timestamp_unit: TimestampUnit::Rfc3339,
            tolerance: 600,
            id: &["header:Twitch-Eventsub-Message-Id"],
            event_type: &["json:/subscription/type"],
            handshakes: &[HandshakeText {
                method: "POST",
                when: &["header:Twitch-Eventsub-Message-Type = webhook_callback_verification"],
                proof: "signature",
                answer: "text json:/challenge",
            }],
            ..SchemeText::HMAC
        },
        source: "npm @twurple/eventsub-http 8.1.4 lib/EventSubHttpBase.js; \
               https://dev.twitch.tv/docs/eventsub/handling-webhook-events/ (through webhook-verify, \
               hookdeck/webhook-skills)",
        proven: "vectors computed independently, by the rule of npm @twurple/eventsub-http 8.1.4 (the community's \
               library); no vendor's library judged them",
        note: "10 min window. subscription.id is the subscription's, not the event's. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "pusher",
        title: "Pusher Channels",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Pusher-Signature"],
            id: &["body-sha256"],
            event_type: &["json:/events/0/name"],
            ..SchemeText::HMAC
        },
        source: "npm pusher 5.3.4 lib/webhook.js, lib/token.js",
        proven: "vectors signed by npm pusher 5.3.4 Token.sign, judged by WebHook.isValid",
        note: "X-Pusher-Key names the token whose secret signed; with several live secrets any may match. Events \
               have no ids; time_ms makes bodies differ.",
        ..Preset::PLAIN
    },
    Preset {
        name: "vonage",
        title: "Vonage",
        scheme: SchemeText {
            at: &["header:Authorization"],
            format: "prefix:Bearer ",
            id: &["json:/message_uuid + json:/status", "json:/message_uuid", "body-sha256"],
            event_type: &["json:/status", "json:/message_type"],
            body_claim: "payload_hash",
            ..SchemeText::JWT
        },
        source: "https://developer.vonage.com/en/getting-started/concepts/webhooks (not read; payload_hash through \
               public receivers); npm @vonage/jwt 1.14.0 dist/cjs/verifySignature.js",
        proven: "vectors computed independently, accepted by npm @vonage/jwt 1.14.0 verifySignature (the token) and \
               payload_hash compared",
        note: "Messages, Voice and Verify v2. SMS webhooks of the old API carry a sig parameter instead and are not \
               covered. payload_hash is left out of requests without a body. HS256 with the account's signature \
               secret, which is not the API secret.",
        ..Preset::PLAIN
    },
    Preset {
        name: "messagebird",
        title: "MessageBird (Bird)",
        scheme: SchemeText {
            at: &["header:MessageBird-Signature-JWT"],
            id: &["body-sha256"],
            event_type: &["json:/type"],
            body_claim: "payload_hash",
            ..SchemeText::JWT
        },
        source: "npm messagebird 4.0.1 lib/webhook-signature-jwt.js",
        proven: "vectors computed independently, accepted by npm messagebird 4.0.1 lib/webhook-signature-jwt verify",
        note: "The token also carries url_hash, the SHA-256 in hex of the URL called, and jti against replay. \
               HS256, HS384 and HS512 are possible. Clock tolerance of the library: 5 s.",
        ..Preset::PLAIN
    },
    Preset {
        name: "webex",
        title: "Webex",
        scheme: SchemeText {
            hash: Hash::Sha1,
            signed: "{body}",
            at: &["header:X-Spark-Signature"],
            id: &["body-sha256"],
            event_type: &["json:/resource + json:/event"],
            ..SchemeText::HMAC
        },
        source: "https://developer.webex.com/docs/webhooks; n8n-io/n8n CiscoWebexTrigger.node.ts",
        proven: "vectors computed independently, by the rules of two public receivers (n8n, Bot Framework); no \
               vendor's library judged them",
        note: "Signed only where the webhook has a secret. The body's id is the webhook's own, the same in every \
               event. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "freshchat",
        title: "Freshchat",
        scheme: SchemeText {
            kind: Kind::Rsa,
            key: KeyForm::Pem,
            signed: "{body}",
            at: &["header:X-Freshchat-Signature"],
            encoding: Encoding::Base64,
            id: &["body-sha256"],
            event_type: &["json:/action"],
            ..SchemeText::HMAC
        },
        source: "https://crmsupport.freshworks.com/support/solutions/articles/50000004461; nyaruka/courier \
               handlers/freshchat",
        proven: "vectors: a delivery published in nyaruka/courier handlers/freshchat/handler_test.go, and some \
               computed independently",
        note: "The secret is the public key of the webhook's settings. It is shown on one line as BEGIN RSA PUBLIC \
               KEY, but holds a SubjectPublicKeyInfo: write it as BEGIN PUBLIC KEY. Facts from secondary sources.",
        ..Preset::PLAIN
    },
];
