//! The presets: what Tidegate knows about each provider, one declarative entry each.
//!
//! An entry is a [`Scheme`] with its provenance. `provider = "hmac"` has no entry: it spells the scheme out in the
//! configuration.

use crate::signature::Scheme;

mod generic;
mod github;
mod standard_webhooks;
mod stripe;

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
    pub scheme: fn() -> Scheme,
    /// What it signs, for people.
    pub signs: &'static str,
    /// Where it keeps an event's id, for people.
    pub id: &'static str,
    /// Where it keeps an event's type, for people.
    pub event_type: &'static str,
    /// Where these facts are from.
    pub source: &'static str,
    /// How the preset was proven.
    pub proven: &'static str,
    /// What the provider asks before it sends events.
    pub handshake: Handshake,
    /// JSON fields whose numbers it changes from one delivery of an event to the next.
    pub counters: &'static [&'static str],
}

/// What a provider asks before it sends events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// Nothing.
    None,
}

impl Handshake {
    /// The word that stands for it in lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
        }
    }
}

static PRESETS: [Preset; 5] =
    [github::PRESET, stripe::PRESET, standard_webhooks::PRESET, generic::PRESET, generic::BODY_PRESET];

/// Every preset, in the order of the documentation.
#[must_use]
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

/// The preset of that name.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Location;

    /// What people are told is held against what the code does.
    #[test]
    fn texts_name_what_the_scheme_does() {
        for preset in presets() {
            let scheme = (preset.scheme)();
            assert!(preset.signs.contains(&scheme.template.to_string()), "{}: {}", preset.name, preset.signs);
            check(preset.id, &scheme.id);
            check(preset.event_type, &scheme.event_type);
        }

        fn check(text: &str, locations: &[Location]) {
            let mut rest = text.to_ascii_lowercase();
            for location in locations {
                let word = match location {
                    Location::Header(name) => name.to_string(),
                    Location::Json(pointer) => pointer.to_string(),
                    Location::BodySha256 => "sha-256 of the body".into(),
                };
                let at = rest.find(&word);
                let at = at.unwrap_or_else(|| unreachable!("{text:?} must name {word}, in the order of the scheme"));
                rest.replace_range(..at + word.len(), "");
            }
        }
    }

    #[test]
    fn every_preset_is_sound_and_found_by_its_own_name() {
        for known in presets() {
            assert_eq!((known.scheme)().check(), Ok(()), "{}", known.name);
            assert_eq!(preset(known.name).map(|found| found.title), Some(known.title));
            assert_ne!(known.name, HMAC);
        }
        assert!(preset("GitHub").is_none());
        assert!(preset(HMAC).is_none());
    }
}
