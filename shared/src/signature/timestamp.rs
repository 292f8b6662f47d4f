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
