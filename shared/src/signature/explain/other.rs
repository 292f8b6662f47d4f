//! Whose signature it may be instead: an older scheme's of the same vendor, another source's, another provider's.

use crate::provider::{self, Preset};
use crate::signature::{Hash, Scheme, SchemeText, TimestampUnit};

use super::{Cause, Question};

/// A scheme that is known and that no preset takes: weaker, or for tests only.
struct Known {
    title: &'static str,
    scheme: SchemeText,
}

const KNOWN: [Known; 3] = [
    Known {
        title: "the older X-Hub-Signature (HMAC-SHA1)",
        scheme: SchemeText {
            hash: Hash::Sha1,
            at: &["header:X-Hub-Signature"],
            format: "prefix:sha1=",
            id: &["body-sha256"],
            ..SchemeText::HMAC
        },
    },
    Known {
        title: "v0 of Stripe-Signature, which is for tests",
        scheme: SchemeText {
            signed: "{timestamp}.{body}",
            at: &["header:Stripe-Signature"],
            format: "kv:t,v0",
            id: &["body-sha256"],
            ..SchemeText::HMAC
        },
    },
    Known {
        title: "Slack's X-Slack-Signature",
        scheme: SchemeText {
            signed: "v0:{timestamp}:{body}",
            at: &["header:X-Slack-Signature"],
            format: "prefix:v0=",
            timestamp_at: &["header:X-Slack-Request-Timestamp"],
            timestamp_unit: TimestampUnit::Seconds,
            id: &["body-sha256"],
            ..SchemeText::HMAC
        },
    },
];

impl Question<'_> {
    /// Another scheme of the source's own vendor, or an older one that it may have sent beside.
    pub(super) fn same_vendor(&self) -> Option<Cause> {
        let vendor = vendor(self.source.provider);
        self.preset_among(|preset| vendor_of(preset) == vendor)
            .map(|preset| Cause::OtherScheme { title: preset.title, provider: Some(preset.name) })
            .or_else(|| {
                let known = KNOWN.iter().find(|known| known.scheme.read().is_ok_and(|scheme| self.proves_as(scheme)));
                known.map(|known| Cause::OtherScheme { title: known.title, provider: None })
            })
    }

    /// Another source that it was meant for, or whose secret it was made with.
    pub(super) fn other_source(&self) -> Option<Cause> {
        let own = self.source.scheme;
        for other in self.others {
            if other.scheme != own && self.proves(other.scheme, other.secrets, &self.received) {
                return Some(Cause::OtherSource { name: other.name.to_owned() });
            }
            if self.proves(own, other.secrets, &self.received) {
                return Some(Cause::OtherSecret { name: other.name.to_owned() });
            }
        }
        None
    }

    /// Another provider that would have sent this with the source's secret.
    pub(super) fn other_provider(&self) -> Option<Cause> {
        let vendor = vendor(self.source.provider);
        self.preset_among(|preset| vendor_of(preset) != vendor)
            .map(|preset| Cause::OtherProvider { title: preset.title, provider: preset.name })
    }

    fn preset_among(&self, is_meant: impl Fn(&Preset) -> bool) -> Option<&'static Preset> {
        provider::presets()
            .filter(|preset| preset.name != self.source.provider && is_meant(preset))
            .find(|preset| self.proves_as(preset.scheme()))
    }

    /// Whether the source would take it, were this its scheme.
    fn proves_as(&self, scheme: Scheme) -> bool {
        let own = self.source.scheme;
        let setting = own.setting.clone().filter(|_| scheme.needs_setting());
        let scheme = Scheme { url: own.url.clone(), setting, ..scheme };
        let is_whole = scheme.check_source().is_ok();
        is_whole && !scheme.fetches_keys() && self.proves(&scheme, self.source.secrets, &self.received)
    }
}

/// Presets of one vendor begin with its name: `hubspot`, `hubspot-v2`.
fn vendor(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

fn vendor_of(preset: &Preset) -> &'static str {
    vendor(preset.name)
}
