//! Providers that sign with a key of theirs which each request names, and which is got from them.

use super::Preset;
use crate::signature::{Encoding, HandshakeText, Hash, Kind, SchemeText};

const SNS: SchemeText = SchemeText {
    kind: Kind::AwsSns,
    signed: "",
    at: &["json:/Signature"],
    encoding: Encoding::Base64,
    id: &["json:/MessageId"],
    event_type: &["json:/Type"],
    handshakes: &[HandshakeText {
        method: "POST",
        when: &["json:/Type = SubscriptionConfirmation"],
        proof: "signature",
        answer: "confirm json:/SubscribeURL",
    }],
    ..SchemeText::HMAC
};
const SNS_PLAIN: Preset = Preset {
    source: "https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html",
    proven: "vectors over a certificate of our own, judged by npm sns-validator 0.3.5",
    ..Preset::PLAIN
};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "paypal",
        title: "PayPal",
        scheme: SchemeText {
            kind: Kind::PayPal,
            signed: "{header:PAYPAL-TRANSMISSION-ID}|{header:PAYPAL-TRANSMISSION-TIME}|{setting}|{crc32}",
            at: &["header:PAYPAL-TRANSMISSION-SIG"],
            encoding: Encoding::Base64,
            id: &["json:/id"],
            event_type: &["json:/event_type"],
            unsigned_body: true,
            ..SchemeText::HMAC
        },
        source: "PyPI paypalrestsdk 1.13.3 notifications.py, npm paypal-rest-sdk 1.8.1 lib/resources/Notification.js",
        proven: "vectors over the text that PyPI paypalrestsdk 1.13.3 builds, with a certificate made for the tests",
        note: "setting is the webhook's id, and there are no secrets. The body is not signed but by its CRC-32, which \
               whoever saw a request can match. No window is documented, so that the time is signed and not judged.",
        ..Preset::PLAIN
    },
    Preset {
        name: "aws-sns",
        title: "AWS SNS, signature version 2",
        scheme: SNS,
        note: "setting is the topic's ARN, and there are no secrets. The topic must have SignatureVersion 2; raw delivery \
               is not signed and cannot be used. Its time is not judged, since retries go on for hours.",
        ..SNS_PLAIN
    },
    Preset {
        name: "aws-sns-v1",
        title: "AWS SNS, signature version 1",
        scheme: SchemeText { hash: Hash::Sha1, ..SNS },
        note: "setting is the topic's ARN, and there are no secrets. By SHA-1, which SNS uses until the topic's \
               SignatureVersion is 2: set it, and use aws-sns.",
        ..SNS_PLAIN
    },
    Preset {
        name: "plaid",
        title: "Plaid",
        scheme: SchemeText {
            kind: Kind::Plaid,
            at: &["header:Plaid-Verification"],
            id: &["arrival"],
            event_type: &["json:/webhook_type + json:/webhook_code"],
            body_claim: "request_body_sha256",
            ..SchemeText::JWT
        },
        source: "https://plaid.com/docs/api/webhooks/webhook-verification; npm plaid 47.0.0 api.ts (JWKPublicKey)",
        proven: "vectors judged by PyPI PyJWT 2.15.1 as in Plaid's documentation",
        note: "a secret is client_id:secret of Plaid's API, which tells the keys; setting is production (if nothing is \
               said) or sandbox. Bodies of distinct events can be the same and have no id: each request is an event.",
        ..Preset::PLAIN
    },
];
