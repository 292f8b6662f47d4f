//! What is sent: every event follows from the seed and its number, so that a run needs no memory of their bodies.

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// One event in so many is poison, half of which fails at every attempt and half of which is rejected at once.
const POISON: u64 = 20;
/// One in so many fails at its first attempt.
const FLAKY: u64 = 20;
/// One in so many is large.
const LARGE: u64 = 200;
const LARGE_BYTES: usize = 64 * 1024;
/// One in so many is sent by somebody who does not repeat it.
const ONCE: u64 = 12;
const SMALL_BYTES_MAX: usize = 1_000;

/// What the handler makes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Applies it.
    Good,
    /// Applies it at the second attempt.
    Flaky,
    /// Fails at every attempt.
    Failing,
    /// Rejects it.
    Rejected,
}

impl Kind {
    /// Whether it must end as a dead letter.
    #[must_use]
    pub fn is_poison(self) -> bool {
        matches!(self, Self::Failing | Self::Rejected)
    }
}

/// The events of one round.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What they follow from.
    pub seed: u64,
}

/// An event that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its number, from 0.
    pub number: u64,
    /// What is to become of it.
    pub kind: Kind,
    /// The provider's id.
    pub id: String,
    /// The body.
    pub body: Vec<u8>,
    /// Whether its sender does not repeat it when the first try was refused or stayed unanswered, as GitHub does not.
    pub is_sent_once: bool,
}

/// The body, as the handler reads it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Body {
    /// As in [`Planned::number`].
    pub number: u64,
    /// As in [`Planned::kind`].
    pub kind: Kind,
    /// What makes it as long as it is.
    pub text: String,
}

impl Plan {
    /// The event with this number.
    ///
    /// # Panics
    /// Never: the body is plain JSON.
    #[must_use]
    pub fn event(&self, number: u64) -> Planned {
        let mut rng = Rng::with_seed(self.seed ^ number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let kind = match rng.u64(..POISON * 2) {
            0 => Kind::Failing,
            1 => Kind::Rejected,
            _ if rng.u64(..FLAKY) == 0 => Kind::Flaky,
            _ => Kind::Good,
        };
        let bytes = if rng.u64(..LARGE) == 0 { LARGE_BYTES } else { rng.usize(..SMALL_BYTES_MAX) };
        let text = std::iter::repeat_with(|| rng.lowercase()).take(bytes).collect();
        let body = serde_json::to_vec(&Body { number, kind, text }).expect("a body is JSON");
        let is_sent_once = rng.u64(..ONCE) == 0;
        Planned { number, kind, id: format!("evt_{number}"), body, is_sent_once }
    }
}

impl Planned {
    /// The number of the event with this id.
    #[must_use]
    pub fn number_of(id: &str) -> Option<u64> {
        id.strip_prefix("evt_")?.parse().ok()
    }
}

/// What tells a body from another one.
#[must_use]
pub fn fingerprint(body: &[u8]) -> String {
    hex::encode(&Sha256::digest(body)[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_follow_from_the_seed_and_their_number_alone() {
        let (plan, other) = (Plan { seed: 7 }, Plan { seed: 8 });
        assert_eq!(plan.event(42), plan.event(42));
        assert_ne!(plan.event(42).body, plan.event(43).body);
        assert_ne!(plan.event(42).body, other.event(42).body);
        assert_eq!(Planned::number_of(&plan.event(42).id), Some(42));
    }

    #[test]
    fn one_event_in_twenty_is_poison() {
        let poison = (0..20_000).filter(|&number| Plan { seed: 1 }.event(number).kind.is_poison()).count();
        assert!((800..1_200).contains(&poison), "{poison} of 20,000");
    }

    #[test]
    fn one_event_in_twelve_is_not_repeated() {
        let once = (0..12_000).filter(|&number| Plan { seed: 1 }.event(number).is_sent_once).count();
        assert!((800..1_200).contains(&once), "{once} of 12,000");
    }
}
