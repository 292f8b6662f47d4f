//! Where people work together.

use super::{Preset, Success};
use crate::signature::{BatchText, Encoding, HandshakeText, Hash, KeyForm, SchemeText};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "asana",
        title: "Asana",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Hook-Signature"],
            id: &["body-sha256"],
            event_type: &["json:/events/0/resource/resource_type + json:/events/0/action"],
            handshakes: &[
                HandshakeText {
                    method: "POST",
                    when: &["header:X-Hook-Secret"],
                    proof: "none",
                    answer: "keep header:X-Hook-Secret",
                },
                HandshakeText { method: "POST", when: &["empty json:/events"], proof: "signature", answer: "200" },
            ],
            ..SchemeText::HMAC
        },
        source: "https://developers.asana.com/docs/webhooks-guide; Asana/devrel-examples \
               javascript/webhooks-nodejs/index.js",
        proven: "vectors computed independently with Node's and Python's HMAC, after Asana's own example",
        note: "Each webhook has its own secret, sent once in the handshake. Events carry no id. A heartbeat every \
               eight hours has an empty list of events.",
        batch: Some(BatchText {
            items: "/events",
            id: &[],
            event_type: &["json:/resource/resource_type + json:/action"],
        }),
        ..Preset::PLAIN
    },
    Preset {
        name: "notion",
        title: "Notion",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Notion-Signature"],
            format: "prefix:sha256=",
            id: &["json:/id", "body-sha256"],
            event_type: &["json:/type"],
            handshakes: &[HandshakeText {
                method: "POST",
                when: &["no header:X-Notion-Signature", "only verification_token"],
                proof: "none",
                answer: "keep json:/verification_token",
            }],
            ..SchemeText::HMAC
        },
        source: "npm @notionhq/client 5.26.0 build/src/webhooks.js; https://developers.notion.com/reference/webhooks",
        proven: "Notion's documented example; requests signed and judged by npm @notionhq/client 5.26.0",
        note: "The secret is the verification_token that Notion sends once, unsigned, when a subscription is made.",
        counters: &["attempt_number"],
        ..Preset::PLAIN
    },
    Preset {
        name: "trello",
        title: "Trello",
        scheme: SchemeText {
            hash: Hash::Sha1,
            signed: "{body}{url}",
            at: &["header:X-Trello-Webhook"],
            encoding: Encoding::Base64,
            id: &["json:/action/id", "body-sha256"],
            event_type: &["json:/action/type"],
            handshakes: &[HandshakeText { method: "HEAD", when: &[], proof: "none", answer: "200" }],
            ..SchemeText::HMAC
        },
        source: "https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/",
        proven: "vectors computed independently with Node's and Python's HMAC, after Trello's documented code",
        note: "The callback URL exactly as given at creation is signed after the body: set the source's url. The \
               secret is the app's OAuth1 secret. One action reaches each of several webhooks once.",
        ..Preset::PLAIN
    },
    Preset {
        name: "dropbox",
        title: "Dropbox",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Dropbox-Signature"],
            id: &["arrival"],
            event_type: &[],
            handshakes: &[HandshakeText {
                method: "GET",
                when: &["query:challenge"],
                proof: "none",
                answer: "text query:challenge",
            }],
            ..SchemeText::HMAC
        },
        source: "https://www.dropbox.com/developers/reference/webhooks",
        proven: "vectors computed independently with Node's and Python's HMAC, after Dropbox's documented code",
        note: "A notification only says whose files changed; it carries no id, and two notifications of one account \
               have the same body and the same signature. They are therefore never taken for duplicates.",
        ..Preset::PLAIN
    },
    Preset {
        name: "airtable",
        title: "Airtable",
        scheme: SchemeText {
            key: KeyForm::Base64,
            signed: "{body}",
            at: &["header:X-Airtable-Content-MAC"],
            format: "prefix:hmac-sha256=",
            id: &["body-sha256"],
            event_type: &[],
            ..SchemeText::HMAC
        },
        source: "PyPI pyairtable 3.5.1 pyairtable/models/webhook.py; \
               https://airtable.com/developers/web/api/webhooks-overview",
        proven: "vectors computed independently, accepted by PyPI pyairtable 3.5.1 WebhookNotification.from_request",
        note: "A ping without content: fetch the payloads with a cursor. The key is macSecretBase64, decoded. \
               Answer 200 or 204 with an empty body.",
        success: Success::Empty,
        ..Preset::PLAIN
    },
    Preset {
        name: "tally",
        title: "Tally",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:Tally-Signature"],
            encoding: Encoding::Base64,
            id: &["json:/eventId", "body-sha256"],
            event_type: &["json:/eventType"],
            ..SchemeText::HMAC
        },
        source: "https://tally.so/help/webhooks (through webhook-verify, hookdeck/webhook-skills)",
        proven: "vectors computed independently, by the documented rule, through two secondary sources; no vendor's \
               library judged them",
        note: "Signed only where a secret is set. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "yousign",
        title: "Yousign",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Yousign-Signature-256"],
            format: "prefix:sha256=",
            id: &["json:/event_id", "body-sha256"],
            event_type: &["json:/event_name"],
            ..SchemeText::HMAC
        },
        source: "https://developers.yousign.com/docs/security",
        proven: "vectors computed independently, by the documented verifier; no vendor's library judged them",
        ..Preset::PLAIN
    },
    Preset {
        name: "nylas",
        title: "Nylas",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Nylas-Signature"],
            id: &["json:/id"],
            event_type: &["json:/type"],
            handshakes: &[HandshakeText {
                method: "GET",
                when: &["query:challenge"],
                proof: "none",
                answer: "text query:challenge",
            }],
            ..SchemeText::HMAC
        },
        source: "https://developer.nylas.com/docs/v3/notifications/webhooks/ (through webhook-verify, \
               hookdeck/webhook-skills)",
        proven: "vectors computed independently, by the documented rule, through two secondary sources; no vendor's \
               library judged them",
        note: "With compression switched on the compressed bytes are signed. Facts from secondary sources.",
        counters: &["webhook_delivery_attempt"],
        ..Preset::PLAIN
    },
];
