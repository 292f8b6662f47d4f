//! Code, builds and issues.

use super::Preset;
use crate::signature::{Encoding, Hash, KeyForm, SchemeText, TimestampUnit};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "bitbucket",
        title: "Bitbucket",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Hub-Signature"],
            format: "prefix:sha256=",
            id: &["header:X-Request-UUID", "header:X-Request-Id", "body-sha256"],
            event_type: &["header:X-Event-Key"],
            ..SchemeText::HMAC
        },
        source: "https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/ and .../event-payloads/",
        proven: "Atlassian's documented example; requests signed by npm @octokit/webhooks-methods 6.0.0 (the same \
                   construction)",
        note: "Cloud: X-Request-UUID; Data Center: X-Request-Id. Sent only where the webhook has a secret. The \
                   header has no -256 although it is SHA-256.",
        ..Preset::PLAIN
    },
    Preset {
        name: "gitlab",
        title: "GitLab (token)",
        scheme: SchemeText {
            at: &["header:X-Gitlab-Token"],
            id: &["header:webhook-id", "header:Idempotency-Key", "header:X-Gitlab-Webhook-UUID", "body-sha256"],
            event_type: &["json:/object_kind", "json:/event_name"],
            ..SchemeText::TOKEN
        },
        source: "https://docs.gitlab.com/user/project/integrations/webhooks/ and gitlabhq \
                   app/services/web_hook_service.rb, lib/gitlab/web_hooks/recursion_detection/uuid.rb",
        proven: "vectors of the token itself; no library judges it",
        note: "a token covers nothing of the body: prefer gitlab-signed from GitLab 19.0 on. \
                   X-Gitlab-Event-UUID is one for several events and is never the id.",
        ..Preset::PLAIN
    },
    Preset {
        name: "gitlab-signed",
        title: "GitLab (signing token)",
        scheme: SchemeText {
            key: KeyForm::Whsec,
            signed: "{id}.{timestamp}.{body}",
            at: &["header:webhook-signature"],
            format: "versioned:v1",
            encoding: Encoding::Base64,
            timestamp_at: &["header:webhook-timestamp"],
            id: &["header:webhook-id"],
            event_type: &["json:/object_kind", "json:/event_name"],
            ..SchemeText::HMAC
        },
        source: "https://docs.gitlab.com/user/project/integrations/webhooks/#signing-tokens and gitlab-org/gitlab \
                   merge requests 230944, 231325",
        proven: "vectors signed and judged by npm standardwebhooks 1.1.1",
        note: "GitLab 19.0 and later; whether GitLab re-signs a resent request with a new time is not \
                   confirmed.",
        ..Preset::PLAIN
    },
    Preset {
        name: "gitea",
        title: "Gitea",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Gitea-Signature"],
            id: &["header:X-Gitea-Delivery"],
            event_type: &["header:X-Gitea-Event"],
            ..SchemeText::HMAC
        },
        source: "go-gitea/gitea services/webhook/deliver.go",
        proven: "vectors computed independently, by the sender's own source; no vendor's library judged them",
        note: "Content type application/json only: for a form the signature is over the field payload, not over \
                   the body. X-Gogs-* and X-Hub-Signature(-256) and X-GitHub-* are sent beside it with the same \
                   digests. Without a secret the header is there and empty.",
        ..Preset::PLAIN
    },
    Preset {
        name: "circleci",
        title: "CircleCI",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:circleci-signature"],
            format: "kv:v1",
            id: &["json:/id"],
            event_type: &["json:/type"],
            ..SchemeText::HMAC
        },
        source: "https://circleci.com/docs/guides/integration/outbound-webhooks/",
        proven: "vectors computed independently with Node's and Python's HMAC; CircleCI's documented examples \
                   reproduced",
        note: "Only v1 counts, by CircleCI's own advice against downgrades. The payload's id is the same over \
                   retries.",
        ..Preset::PLAIN
    },
    Preset {
        name: "buildkite",
        title: "Buildkite",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:X-Buildkite-Signature"],
            format: "kv:timestamp,signature",
            id: &["body-sha256"],
            event_type: &["json:/event", "header:X-Buildkite-Event"],
            ..SchemeText::HMAC
        },
        source: "buildkite/docs pages/apis/webhooks/pipelines.md and _verifying_hmac_signatures.md",
        proven: "vectors computed independently with Node's and Python's HMAC, after Buildkite's documented code",
        note: "Choose signature, not token, in the notification service; buildkite-token is for the other. No \
                   event id.",
        ..Preset::PLAIN
    },
    Preset {
        name: "buildkite-token",
        title: "Buildkite, with a token",
        scheme: SchemeText {
            at: &["header:X-Buildkite-Token"],
            id: &["body-sha256"],
            event_type: &["json:/event", "header:X-Buildkite-Event"],
            ..SchemeText::TOKEN
        },
        source: "buildkite/docs pages/apis/webhooks/pipelines.md",
        proven: "vectors computed independently",
        note: "Not signed; the default of Buildkite. buildkite is the better one.",
        ..Preset::PLAIN
    },
    Preset {
        name: "vercel",
        title: "Vercel",
        scheme: SchemeText {
            hash: Hash::Sha1,
            signed: "{body}",
            at: &["header:x-vercel-signature"],
            id: &["json:/id", "body-sha256"],
            event_type: &["json:/type"],
            ..SchemeText::HMAC
        },
        source: "https://vercel.com/docs/webhooks/webhooks-api",
        proven: "vectors computed independently with Node's and Python's HMAC, after Vercel's documented code",
        note: "HMAC-SHA1, hex, no prefix. The secret is the webhook's own; for an integration, its client \
                   secret.",
        ..Preset::PLAIN
    },
    Preset {
        name: "sentry",
        title: "Sentry",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:Sentry-Hook-Signature"],
            id: &["header:Request-ID"],
            event_type: &["header:Sentry-Hook-Resource + json:/action", "header:Sentry-Hook-Resource"],
            ..SchemeText::HMAC
        },
        source: "https://docs.sentry.io/integrations/integration-platform/webhooks; getsentry/sentry \
                   src/sentry/sentry_apps/api/serializers/app_platform_event.py",
        proven: "vectors computed independently with Node's and Python's HMAC, after Sentry's own sender",
        note: "Request-ID and Sentry-Hook-Timestamp are not signed. Sentry makes a new Request-ID for each \
                   attempt: a retried event arrives as two.",
        ..Preset::PLAIN
    },
    Preset {
        name: "jira",
        title: "Jira Cloud",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Hub-Signature"],
            format: "prefix:sha256=",
            id: &["header:X-Atlassian-Webhook-Identifier"],
            event_type: &["json:/webhookEvent"],
            ..SchemeText::HMAC
        },
        source: "https://developer.atlassian.com/cloud/jira/platform/webhooks/",
        proven: "Atlassian's documented example; requests signed by npm @octokit/webhooks-methods 6.0.0 (the same \
                   construction)",
        note: "Only admin webhooks that were saved with a secret are signed; those of Connect and OAuth apps \
                   are not. The identifier is the same over retries (X-Atlassian-Webhook-Retry counts them).",
        ..Preset::PLAIN
    },
    Preset {
        name: "linear",
        title: "Linear",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:Linear-Signature"],
            timestamp_at: &["json:/webhookTimestamp"],
            timestamp_unit: TimestampUnit::Milliseconds,
            tolerance: 60,
            id: &["header:Linear-Delivery"],
            event_type: &["json:/type + json:/action", "json:/type"],
            ..SchemeText::HMAC
        },
        source: "npm @linear/sdk 98.0.0 dist/webhooks LinearWebhookClient.verify and \
                   https://linear.app/developers/webhooks",
        proven: "vectors judged by npm @linear/sdk 98.0.0",
        note: "the Linear-Timestamp header is not signed and is ignored, as Linear's library does. \
                   Linear-Delivery is not signed either.",
        counters: &["webhookTimestamp"],
        ..Preset::PLAIN
    },
    Preset {
        name: "clickup",
        title: "ClickUp",
        scheme: SchemeText {
            signed: "{body}",
            at: &["header:X-Signature"],
            id: &["body-sha256"],
            event_type: &["json:/event"],
            ..SchemeText::HMAC
        },
        source: "https://developer.clickup.com/docs/webhooksignature",
        proven: "vectors computed independently, by the documented rule; no vendor's library judged them",
        note: "webhook_id and task_id are no event ids.",
        ..Preset::PLAIN
    },
    Preset {
        name: "figma",
        title: "Figma",
        scheme: SchemeText {
            at: &["json:/passcode"],
            id: &["body-sha256"],
            event_type: &["json:/event_type"],
            ..SchemeText::TOKEN
        },
        source: "npm @figma/rest-api-spec 0.43.0 dist/api_types.ts (passcode in every webhook payload); \
                   https://developers.figma.com/docs/rest-api/webhooks/",
        proven: "vectors computed independently, by plain comparison; no vendor's library judged them",
        note: "Not signed: the passcode stands in the body, so it is stored with every event. A PING comes when \
                   the webhook is made.",
        counters: &["retries"],
        ..Preset::PLAIN
    },
    Preset {
        name: "huggingface",
        title: "Hugging Face",
        scheme: SchemeText {
            at: &["header:X-Webhook-Secret"],
            id: &["body-sha256"],
            event_type: &["json:/event/scope + json:/event/action"],
            ..SchemeText::TOKEN
        },
        source: "https://huggingface.co/docs/hub/webhooks#webhook-secret (huggingface/hub-docs \
                   docs/hub/webhooks.md)",
        proven: "vectors computed independently, by plain comparison; no vendor's library judged them",
        note: "Not signed: the secret itself is sent, ASCII only. No event id; a replay from the settings page \
                   sends the same body again.",
        ..Preset::PLAIN
    },
];
