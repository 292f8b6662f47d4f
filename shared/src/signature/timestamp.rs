//! When a request says it was sent.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Location;
use super::verify::VerifyError;
use super::word::word;

word! {
    /// How a timestamp is written.
    TimestampUnit, "a timestamp unit", "s, ms or rfc3339",
    {
        /// Whole seconds since 1970, 1 to 12 digits.
        Seconds = "s",
        /// Whole milliseconds since 1970, 1 to 15 digits.
        Milliseconds = "ms",
        /// RFC 3339, such as `2026-01-31T12:00:00Z`.
        Rfc3339 = "rfc3339",
    }
}

/// Where a timestamp stands, and how far it may be from now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampRule {
    /// Where it stands.
    pub from: TimestampFrom,
    /// How it is written.
    pub unit: TimestampUnit,
    /// How old a request may be, and how far in the future; exactly this far is still taken.
    pub tolerance: Duration,
}

/// Where a timestamp stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimestampFrom {
    /// In a place of its own: the first of these that is present.
    At(Vec<Location>),
    /// In the token's own claims: `iat`, `nbf` and `exp`, each where it is present.
    Token,
    /// Beside the signature, under the timestamp key of [`super::SignatureFormat::KeyValue`].
    Signature,
}

/// Longest RFC 3339 text that is looked at, in bytes; nanoseconds and an offset take 35.
const RFC3339_MAX: usize = 40;
const MILLIS_PER_SECOND: i64 = 1000;

impl TimestampUnit {
    /// Reads milliseconds since 1970; `None` if `text` is not written in this unit.
    ///
    /// Digits only: a sign or a space would let one signed text be read in two ways.
    pub(super) fn read(self, text: &[u8]) -> Option<i64> {
        match self {
            Self::Seconds => digits(text, 12)?.checked_mul(MILLIS_PER_SECOND),
            Self::Milliseconds => digits(text, 15),
            Self::Rfc3339 if text.len() <= RFC3339_MAX && has_rfc3339_end(text) => {
                let timestamp: Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
                Some(timestamp.as_millisecond())
            }
            Self::Rfc3339 => None,
        }
    }

    /// Whether `text`, which can be read, is as long as every timestamp of these centuries: a digit that is moved into it
    /// or out of it cannot go unnoticed.
    pub(super) fn has_usual_width(self, text: &[u8]) -> bool {
        match self {
            Self::Seconds => text.len() == 10 && text[0] != b'0',
            Self::Milliseconds => text.len() == 13 && text[0] != b'0',
            Self::Rfc3339 => true,
        }
    }

    /// Writes `timestamp` as a provider would.
    pub(super) fn write(self, timestamp: Timestamp) -> String {
        match self {
            Self::Seconds => timestamp.as_second().to_string(),
            Self::Milliseconds => timestamp.as_millisecond().to_string(),
            Self::Rfc3339 => timestamp.to_string(),
        }
    }
}

impl TimestampRule {
    /// Refuses a request that was sent `sent` (milliseconds since 1970) if that is too far from `now`.
    pub(super) fn judge(&self, sent: i64, now: Timestamp) -> Result<(), VerifyError> {
        let age = now.as_millisecond().saturating_sub(sent);
        if u128::from(age.unsigned_abs()) <= self.tolerance.as_millis() {
            Ok(())
        } else {
            Err(VerifyError::StaleTimestamp { age: SignedDuration::from_millis(age), tolerance: self.tolerance })
        }
    }
}

/// A `Z`, or an offset of hours and minutes: no shorter text is a timestamp too, so nothing behind it could be its end.
fn has_rfc3339_end(text: &[u8]) -> bool {
    match text {
        [.., b'Z'] => true,
        [.., b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn digits(text: &[u8], max: usize) -> Option<i64> {
    let well_formed = (1..=max).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    if well_formed { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_has_its_longest_and_its_shortest_text() {
        let check = |unit: TimestampUnit, text: &str, read: Option<i64>| {
            assert_eq!(unit.read(text.as_bytes()), read, "{unit:?} {text:?}");
        };
        use TimestampUnit::{Milliseconds, Rfc3339, Seconds};
        check(Seconds, "", None);
        check(Seconds, "0", Some(0));
        check(Seconds, "1700000000", Some(1_700_000_000_000));
        check(Seconds, &"9".repeat(12), Some(999_999_999_999_000));
        check(Seconds, &"9".repeat(13), None);
        check(Milliseconds, "1700000000001", Some(1_700_000_000_001));
        check(Milliseconds, &"9".repeat(15), Some(999_999_999_999_999));
        check(Milliseconds, &"9".repeat(16), None);
        for text in ["+1", "-1", " 1", "1 ", "1.5", "0x1", "１"] {
            check(Seconds, text, None);
            check(Milliseconds, text, None);
        }
        check(Rfc3339, "2023-11-14T22:13:20Z", Some(1_700_000_000_000));
        check(Rfc3339, "2023-11-14T23:13:20.001+01:00", Some(1_700_000_000_001));
        check(Rfc3339, "2023-11-14T21:13:20-01:00", Some(1_700_000_000_000));
        // What would also be a timestamp without its last characters, or with fewer of them.
        for text in ["2023-11-14T22:13:20", "2023-11-14T22:13:20+01", "2023-11-14T22:13:20+0100", "2023-11-14", "Z", ""]
        {
            check(Rfc3339, text, None);
        }
    }

    #[test]
    fn the_usual_width_is_that_of_these_centuries() {
        let usual = |unit: TimestampUnit, text: &str| unit.has_usual_width(text.as_bytes());
        assert!(usual(TimestampUnit::Seconds, "1700000000") && usual(TimestampUnit::Milliseconds, "1700000000000"));
        for text in ["170000000", "17000000000", "0700000000"] {
            assert!(!usual(TimestampUnit::Seconds, text), "{text}");
        }
        for text in ["170000000000", "17000000000000", "0700000000000"] {
            assert!(!usual(TimestampUnit::Milliseconds, text), "{text}");
        }
        assert!(usual(TimestampUnit::Rfc3339, "2023-11-14T22:13:20Z"));
    }

    #[test]
    fn exactly_the_tolerance_is_still_taken_on_both_sides() {
        let rule = TimestampRule {
            from: TimestampFrom::Token,
            unit: TimestampUnit::Milliseconds,
            tolerance: Duration::from_millis(1_500),
        };
        let now = Timestamp::from_millisecond(1_700_000_000_000).expect("a time");
        let judge = |age: i64| rule.judge(now.as_millisecond() - age, now);
        for age in [0, 1_500, -1_500] {
            assert_eq!(judge(age), Ok(()), "{age}");
        }
        for age in [1_501, -1_501] {
            let told = SignedDuration::from_millis(age);
            assert_eq!(judge(age), Err(VerifyError::StaleTimestamp { age: told, tolerance: rule.tolerance }), "{age}");
        }
        assert!(rule.judge(i64::MIN, now).is_err() && rule.judge(i64::MAX, now).is_err());
    }
}
