//! GitHub: repository, organisation and app webhooks.

use super::Preset;
use crate::signature::SchemeText;

/// The older `X-Hub-Signature` (SHA-1) is sent beside it and ignored: whoever can choose picks the weaker one.
pub(super) const PRESETS: &[Preset] = &[Preset {
    name: "github",
    title: "GitHub",
    scheme: SchemeText {
        at: &["header:X-Hub-Signature-256"],
        format: "prefix:sha256=",
        id: &["header:X-GitHub-Delivery"],
        event_type: &["header:X-GitHub-Event"],
        ..SchemeText::HMAC
    },
    source: "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
    proven: "GitHub's published vector; requests signed by @octokit/webhooks-methods 6.0.0",
    note: "the headers, id and type among them, are not signed. The type is the header's; action stands in the body. A failed \
           delivery is not sent again by itself, and one sent again by hand keeps its id.",
    ..Preset::PLAIN
}];
