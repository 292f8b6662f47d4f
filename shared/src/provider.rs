//! The presets: what Tidegate knows about each provider, one declarative entry each.
//!
//! An entry is a [`SchemeText`] with its provenance; each file holds a family of providers. `provider = "hmac"` has no
//! entry: it spells the scheme out in the configuration, in the same words.

use crate::signature::{Batch, BatchText, Scheme, SchemeText};

mod certificate;
mod cloud;
mod code;
mod commerce;
mod documents;
mod form;
mod generic;
mod github;
mod messaging;
mod own_way;
mod payments;
mod products;
mod social;
mod standard_webhooks;
mod stripe;
mod trade;
mod work;

/// The provider of a source whose configuration spells every field of its scheme out.
pub const HMAC: &str = "hmac";

/// What is known about one provider.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// What the configuration calls it.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// How it signs, and where it keeps id and type.
    pub scheme: SchemeText,
    /// Where these facts are from.
    pub source: &'static str,
    /// How the preset was proven.
    pub proven: &'static str,
    /// What people must know besides: what is not signed, what could not be confirmed. Empty if nothing.
    pub note: &'static str,
    /// JSON fields whose numbers, strings, or true and false, it changes from one delivery of an event to the next.
    pub counters: &'static [&'static str],
    /// How it wants to be told that an event is durable.
    pub success: Success,
    /// Where its requests hold several events.
    pub batch: Option<BatchText>,
}

/// What answers an event that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Success {
    /// 200 with what happened: status, event id and request id.
    Json,
    /// 200 and nothing.
    Empty,
    /// 202 and nothing.
    Accepted,
    /// 204.
    NoContent,
    /// 200 with a text that the provider looks for.
    Text(&'static str),
}

impl Success {
    /// The word that stands for it in the configuration and in lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Empty => "empty",
            Self::Accepted => "accepted",
            Self::NoContent => "no-content",
            Self::Text(text) => text,
        }
    }
}

impl Preset {
    /// A provider without quirks, for the fields that an entry does not name.
    pub(crate) const PLAIN: Self = Self {
        name: "",
        title: "",
        scheme: SchemeText::HMAC,
        source: "",
        proven: "",
        note: "",
        counters: &[],
        success: Success::Json,
        batch: None,
    };

    /// How it signs, and where it keeps id and type.
    ///
    /// # Panics
    /// Never: the text is part of the program, and a test reads every one.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme.read().expect("a test reads every preset")
    }

    /// Where its requests hold several events.
    ///
    /// # Panics
    /// Never: the text is part of the program, and a test reads every one.
    #[must_use]
    pub fn batch(&self) -> Option<Batch> {
        self.batch.map(|batch| batch.read().expect("a test reads every preset"))
    }
}

const FAMILIES: &[&[Preset]] = &[
    github::PRESETS,
    stripe::PRESETS,
    standard_webhooks::PRESETS,
    certificate::PRESETS,
    own_way::PRESETS,
    commerce::PRESETS,
    payments::PRESETS,
    code::PRESETS,
    messaging::PRESETS,
    documents::PRESETS,
    products::PRESETS,
    social::PRESETS,
    work::PRESETS,
    cloud::PRESETS,
    trade::PRESETS,
    form::PRESETS,
    generic::PRESETS,
];

/// Every preset, in the order of the documentation.
pub fn presets() -> impl Iterator<Item = &'static Preset> {
    FAMILIES.iter().copied().flatten()
}

/// The preset of that name.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    presets().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_sound_and_found_by_its_own_name() {
        for known in presets() {
            let scheme = known.scheme.read().map(|scheme| scheme.check());
            assert_eq!(scheme, Ok(Ok(())), "{}", known.name);
            assert!(known.batch.is_none_or(|batch| batch.read().is_ok()), "{}", known.name);
            assert_eq!(preset(known.name).map(|found| found.title), Some(known.title));
            assert_ne!(known.name, HMAC);
            let is_plain = known.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            assert!(is_plain && !known.name.is_empty(), "{}", known.name);
            assert!(!known.title.is_empty() && !known.source.is_empty() && !known.proven.is_empty(), "{}", known.name);
        }
        assert!(preset("GitHub").is_none());
        assert!(preset(HMAC).is_none());
    }

    /// Whoever has seen one request of such a provider can send another body: that is said to who configures it.
    #[test]
    fn presets_whose_requests_hold_several_events_say_how_they_are_split() {
        let can_split = |name| preset(name).expect("a preset").batch().is_some();
        assert!(["sendgrid", "hubspot", "adyen", "microsoft-graph", "line", "meta", "okta"].into_iter().all(can_split));
        assert!(!["github", "stripe", "slack"].into_iter().any(can_split));
    }

    #[test]
    fn a_preset_that_does_not_sign_the_body_says_so() {
        for preset in presets().filter(|preset| preset.scheme.unsigned_body) {
            assert!(preset.note.contains("not signed"), "{}", preset.name);
        }
    }
}
