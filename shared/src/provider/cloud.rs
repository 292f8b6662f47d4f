//! Clouds, identities and queues.

use super::Preset;
use crate::signature::{BatchText, Encoding, HandshakeText, Hash, SchemeText};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "okta",
        title: "Okta event hooks",
        scheme: SchemeText {
            at: &["header:Authorization"],
            id: &["json:/eventId", "body-sha256"],
            event_type: &["json:/data/events/0/eventType", "json:/eventType"],
            handshakes: &[HandshakeText {
                method: "GET",
                when: &["header:X-Okta-Verification-Challenge"],
                proof: "signature",
                answer: "json verification=header:X-Okta-Verification-Challenge",
            }],
            ..SchemeText::TOKEN
        },
        source: "okta/okta-developer-docs packages/@okta/vuepress-site/docs/concepts/event-hooks/index.md",
        proven: "vectors computed independently",
        note: "Not signed: the text given as the authentication secret, whole, in the header Authorization, which is \
               to be named there. A request can hold several events; uuid tells each.",
        batch: Some(BatchText { items: "/data/events", id: &["json:/uuid"], event_type: &["json:/eventType"] }),
        ..Preset::PLAIN
    },
    Preset {
        name: "auth0",
        title: "Auth0 log streams",
        scheme: SchemeText {
            at: &["header:Authorization"],
            id: &["body-sha256"],
            event_type: &["json:/0/data/type"],
            ..SchemeText::TOKEN
        },
        source: "https://auth0.com/docs/customize/log-streams/custom-log-streams (through hookdeck/webhook-skills, \
               trigger.dev)",
        proven: "vectors computed independently, by plain comparison; no vendor's library judged them",
        note: "Not signed: the value that the stream was given for Authorization, whole (with its scheme word, if \
               it has one). Batched: an array, an object a line in the JSON Lines format. Facts from secondary \
               sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "assemblyai",
        title: "AssemblyAI",
        scheme: SchemeText {
            at: &["header:X-Webhook-Secret"],
            id: &["json:/transcript_id + json:/status", "body-sha256"],
            event_type: &["json:/status"],
            ..SchemeText::TOKEN
        },
        source: "https://assemblyai.com/docs/deployment/webhooks-for-pre-recorded-audio, \
                 webhooks-for-streaming-speech-to-text",
        proven: "vectors computed independently, by plain comparison; no vendor's library judged them",
        note: "Not signed: webhook_auth_header_value is the secret, webhook_auth_header_name is X-Webhook-Secret. A \
               transcript is told once for each of its states. Ten tries; an answer of 4xx ends them.",
        ..Preset::PLAIN
    },
    Preset {
        name: "datadog",
        title: "Datadog webhooks",
        scheme: SchemeText {
            at: &["header:Authorization"],
            id: &["json:/id + json:/last_updated", "json:/id", "body-sha256"],
            event_type: &["json:/event_type"],
            ..SchemeText::TOKEN
        },
        source: "https://docs.datadoghq.com/integrations/webhooks/",
        proven: "vectors computed independently, by plain comparison; no vendor's library judged them",
        note: "Not signed: the value that the custom headers give Authorization, whole (with its scheme word, if it has \
               one). Id and type are those of the default payload; keep $ID, $LAST_UPDATED and $EVENT_TYPE in one of your \
               own. Tried again after an answer of 5xx only.",
        ..Preset::PLAIN
    },
    Preset {
        name: "fusionauth",
        title: "FusionAuth",
        scheme: SchemeText {
            at: &["header:X-FusionAuth-Signature-JWT"],
            encoding: Encoding::Base64,
            id: &["json:/event/id"],
            event_type: &["json:/event/type"],
            body_claim: "request_body_sha256",
            ..SchemeText::JWT
        },
        source: "https://fusionauth.io/docs/extend/events-and-webhooks/signing (FusionAuth/fusionauth-site \
               astro/src/content/docs/extend/events-and-webhooks/signing.mdx)",
        proven: "vectors computed independently, by the rules of fusionauth-site signing.mdx, token read back by npm \
               jose 6.2.18 jwtVerify; no vendor's library judged them",
        note: "Signed only where the webhook has a signing key (since 1.48.0). The token has no iat or exp, so age \
               is not judged. HMAC, RSA, EC and EdDSA keys are possible: the preset takes HMAC. The claim is base64, not \
               hex. For an RSA or EC key: provider = \"hmac\", no secrets, and in [source.signature] kind = \"jwt-rsa\" or \
               \"jwt-es256\", header = \"X-FusionAuth-Signature-JWT\", encoding = \"base64\", body_claim = \
               \"request_body_sha256\", id = \"json:/event/id\", event_type = \"json:/event/type\", jwks = \
               \"https://YOUR-FUSIONAUTH/.well-known/jwks.json\".",
        ..Preset::PLAIN
    },
    Preset {
        name: "logto",
        title: "Logto",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:Logto-Signature-Sha-256"],
            id: &["body-sha256"],
            event_type: &["json:/event"],
            ..SchemeText::HMAC
        },
        source: "https://docs.logto.io/developers/webhooks/secure-webhooks",
        proven: "vectors computed independently, by the documented verifier; no vendor's library judged them",
        ..Preset::PLAIN
    },
    Preset {
        name: "azure-event-grid",
        title: "Azure Event Grid",
        scheme: SchemeText {
            at: &["query:token", "header:Authorization"],
            id: &[
                "json:/0/topic + json:/0/id",
                "json:/0/source + json:/0/id",
                "json:/source + json:/id",
                "body-sha256",
            ],
            event_type: &["json:/0/eventType", "json:/0/type", "json:/type"],
            handshakes: &[
                HandshakeText {
                    method: "POST",
                    when: &["header:aeg-event-type = SubscriptionValidation"],
                    proof: "signature",
                    answer: "json validationResponse=json:/0/data/validationCode",
                },
                HandshakeText {
                    method: "OPTIONS",
                    when: &["header:WebHook-Request-Origin"],
                    proof: "none",
                    answer: "origin",
                },
            ],
            ..SchemeText::TOKEN
        },
        source: "MicrosoftDocs/azure-docs articles/event-grid/end-point-validation-event-grid-events-schema.md and \
               -cloud-events-schema.md",
        proven: "vectors computed independently",
        note: "Not signed: put a secret into the subscription's URL (?token=...) or, as a delivery property, into \
               the header Authorization. Without output batching a request holds one event; with it, split.",
        batch: Some(BatchText {
            items: "",
            id: &["json:/topic + json:/id", "json:/source + json:/id"],
            event_type: &["json:/eventType", "json:/type"],
        }),
        ..Preset::PLAIN
    },
    Preset {
        name: "cloudevents",
        title: "CloudEvents over HTTP",
        scheme: SchemeText {
            at: &["header:Authorization"],
            format: "prefix:Bearer ",
            id: &["header:ce-source + header:ce-id", "json:/source + json:/id", "body-sha256"],
            event_type: &["header:ce-type", "json:/type"],
            handshakes: &[HandshakeText {
                method: "OPTIONS",
                when: &["header:WebHook-Request-Origin"],
                proof: "none",
                answer: "origin",
            }],
            ..SchemeText::TOKEN
        },
        source: "cloudevents/spec cloudevents/http-webhook.md 1.0.2; npm cloudevents 10.0.0",
        proven: "vectors' events read by npm cloudevents 10.0.0 HTTP.toEvent",
        note: "Not signed: a bearer token. Binary mode (ce- headers) and structured mode. id is unique only per \
               source.",
        batch: Some(BatchText { items: "", id: &["json:/source + json:/id"], event_type: &["json:/type"] }),
        ..Preset::PLAIN
    },
    Preset {
        name: "google-push",
        title: "Google push notifications (Drive, Calendar)",
        scheme: SchemeText {
            at: &["header:X-Goog-Channel-Token"],
            id: &["header:X-Goog-Channel-ID + header:X-Goog-Message-Number"],
            event_type: &["header:X-Goog-Resource-State"],
            ..SchemeText::TOKEN
        },
        source: "https://developers.google.com/workspace/drive/api/guides/push (through trigger.dev research notes)",
        proven: "vectors computed independently, by plain comparison; no vendor's library judged them",
        note: "Not signed: the token given when the channel was made. Bodies are mostly empty; fetch what changed. \
               Each channel begins with one message whose state is sync. Cloud Pub/Sub push (OIDC tokens) is \
               another thing and not covered. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "upstash-qstash",
        title: "Upstash QStash",
        scheme: SchemeText {
            at: &["header:Upstash-Signature"],
            encoding: Encoding::Base64Url,
            id: &["header:Upstash-Message-Id", "body-sha256"],
            event_type: &["json:/type"],
            body_claim: "body",
            ..SchemeText::JWT
        },
        source: "npm @upstash/qstash 2.12.0 index.js (Receiver)",
        proven: "vectors computed independently, accepted by npm @upstash/qstash 2.12.0 Receiver.verify",
        note: "Issuer must be Upstash; sub is the URL called. Both the current and the next signing key are live \
               secrets. The claim is base64url, with or without padding.",
        ..Preset::PLAIN
    },
    Preset {
        name: "netlify",
        title: "Netlify",
        scheme: SchemeText {
            at: &["header:X-Webhook-Signature"],
            id: &["body-sha256"],
            event_type: &["header:X-Netlify-Event", "json:/state"],
            body_claim: "sha256",
            ..SchemeText::JWT
        },
        source: "https://docs.netlify.com/site-deploys/notifications/#payload-signature (the page itself was not \
               read; its Ruby verifier stands in several public receivers)",
        proven: "vectors computed independently, by the documented verifier (iss netlify, HS256, sha256 claim in \
               hex), token read back by npm jose 6.2.18 jwtVerify; no vendor's library judged them",
        note: "Signed only where the notification has a JWS secret token. Issuer must be netlify. No time in the \
               token. The payload's id is the deploy's, one per deploy and not per event, so the body's hash is the \
               id. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "cloudflare-notifications",
        title: "Cloudflare notifications",
        scheme: SchemeText {
            at: &["header:cf-webhook-auth"],
            id: &["body-sha256"],
            event_type: &["json:/alert_type"],
            ..SchemeText::TOKEN
        },
        source: "https://developers.cloudflare.com/notifications/get-started/configure-webhooks/ (through \
               trigger.dev, webhook-verify)",
        proven: "vectors computed independently, by plain comparison; no vendor's library judged them",
        note: "Not signed: the secret itself. A test message comes when the destination is saved. Facts from \
               secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "tailscale",
        title: "Tailscale",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:Tailscale-Webhook-Signature"],
            format: "kv:t,v1",
            id: &["body-sha256"],
            event_type: &["json:/0/type"],
            ..SchemeText::HMAC
        },
        source: "https://tailscale.com/kb/1213/webhooks (through webhook-verify)",
        proven: "vectors computed independently, by the documented rule, through webhook-verify; no vendor's library \
               judged them",
        note: "The body is an array; the type is that of the first. No event id. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "launchdarkly",
        title: "LaunchDarkly",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-LD-Signature"],
            id: &["json:/_id", "body-sha256"],
            event_type: &["json:/kind"],
            ..SchemeText::HMAC
        },
        source: "https://launchdarkly.com/docs/home/infrastructure/webhooks (through webhook-verify)",
        proven: "vectors computed independently, by the documented rule, through webhook-verify; no vendor's library \
               judged them",
        note: "Signed only where a secret is set. Facts from secondary sources.",
        ..Preset::PLAIN
    },
    Preset {
        name: "expo",
        title: "Expo EAS",
        scheme: SchemeText {
            hash: Hash::Sha1,
            signed: "{body}",
            at: &["header:expo-signature"],
            format: "prefix:sha1=",
            id: &["body-sha256"],
            event_type: &["json:/status"],
            ..SchemeText::HMAC
        },
        source: "https://docs.expo.dev/eas/webhooks/ (through webhook-verify)",
        proven: "vectors computed independently, by the documented rule, through webhook-verify; no vendor's library \
               judged them",
        note: "The body's id is the build's or submission's. Facts from secondary sources.",
        ..Preset::PLAIN
    },
];
