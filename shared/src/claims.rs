//! The claim: who may publish an event, and whether somebody already has.
//!
//! A claim is an optimisation, never a safety net: the inbox of the worker decides what is applied. It may lose any
//! key at any time. What must hold is that `committed` is written only after the queue's confirm, and that a sender
//! reads "duplicate" only where `committed` was read.
//!
//! Two adapters: [`redis`], where many ingest processes meet, and [`embedded`], where the claim's row commits together
//! with the event, so that no state between the two exists.

use std::fmt;
use std::time::Duration;

use crate::event::{BodyHash, EventKey};
use crate::health::HealthCell;
use crate::random;
use crate::redis::CallError;
use crate::store::StoreError;

mod body;
pub mod embedded;
pub mod redis;

pub use body::BodyClaim;

/// Tells the claims of one process's requests apart; 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClaimToken([u8; 16]);

impl ClaimToken {
    /// A new token from the system's random source.
    ///
    /// # Panics
    /// If the system has no random source: nothing safe can run then.
    #[must_use]
    pub fn generate() -> Self {
        Self(random::bytes())
    }
}

impl fmt::Display for ClaimToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        hex::encode_to_slice(self.0, &mut digits).expect("two digits a byte");
        f.write_str(std::str::from_utf8(&digits).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for ClaimToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stood under a key before this request's claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marker {
    /// A request holds the claim and has not finished.
    Pending {
        /// Whose claim it is.
        token: String,
    },
    /// The event is durable.
    Committed {
        /// Which body it had.
        body: BodyMark,
    },
}

/// Bytes of a body's fingerprint that a marker keeps for as long as an event may come again.
///
/// 88 bits tell an event's own bodies apart, which are few and all signed by its provider; with them a marker takes the
/// smallest piece of memory that Redis has for it.
const MARK_BYTES: usize = 11;
/// What a marker of a durable event begins with.
const COMMITTED: u8 = b'c';
const PENDING: &[u8] = b"pending:";

/// The beginning of a body's fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyMark([u8; MARK_BYTES]);

impl BodyMark {
    fn of(body: &BodyHash) -> Self {
        let mut mark = [0; MARK_BYTES];
        mark.copy_from_slice(&body.as_bytes()[..MARK_BYTES]);
        Self(mark)
    }
}

impl Marker {
    /// Reads a stored marker; bytes that no version of Tidegate wrote are taken as another's pending claim.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        if let [COMMITTED, body @ ..] = bytes
            && let Ok(body) = body.try_into()
        {
            return Self::Committed { body: BodyMark(body) };
        }
        let token = bytes.strip_prefix(PENDING).and_then(|rest| rest.split(|byte| *byte == b':').next());
        Self::Pending { token: String::from_utf8_lossy(token.unwrap_or_default()).into_owned() }
    }

    /// `pending:<token>:<body hash>`.
    #[must_use]
    pub fn pending_text(token: ClaimToken, body: &BodyHash) -> String {
        let mut text = String::with_capacity(PENDING.len() + 32 + 1 + 64);
        for part in ["pending:", &token.to_string(), ":", body.to_hex().as_str()] {
            text.push_str(part);
        }
        text
    }

    /// `c`, and the beginning of the body's fingerprint as it is.
    #[must_use]
    pub fn committed_bytes(body: &BodyHash) -> Vec<u8> {
        [&[COMMITTED][..], &BodyMark::of(body).0].concat()
    }
}

/// What a request may do after its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The claim is ours: publish.
    Fresh,
    /// The same event is durable already.
    Duplicate,
    /// An event with this id and another body is durable already.
    Conflict,
    /// Another request holds the claim.
    InFlight,
}

/// Decides on a claim from what stood under its key.
///
/// Our own token counts as fresh: a client library may have run the command twice after a lost reply, and the second
/// run meets the marker of the first.
#[must_use]
pub fn decide(stored: Option<&Marker>, own: ClaimToken, body: &BodyHash) -> Decision {
    match stored {
        None => Decision::Fresh,
        Some(Marker::Pending { token }) if *token == own.to_string() => Decision::Fresh,
        Some(Marker::Pending { .. }) => Decision::InFlight,
        Some(Marker::Committed { body: stored }) if *stored == BodyMark::of(body) => Decision::Duplicate,
        Some(Marker::Committed { .. }) => Decision::Conflict,
    }
}

/// The claims could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// The server did not answer within its time limit.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Recent calls failed, so that this one was not tried.
    #[error("not asked: recent calls failed")]
    Resting,
    /// The server or the connection failed.
    #[error("the claims' server failed")]
    Redis(#[source] ::redis::RedisError),
    /// The embedded store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

impl From<CallError> for ClaimsError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Timeout(limit) => Self::Timeout(limit),
            CallError::Resting => Self::Resting,
            CallError::Redis(error) => Self::Redis(error),
        }
    }
}

/// The port, with its two adapters.
#[derive(Debug, Clone)]
pub enum Claims {
    /// In the embedded store.
    Embedded(embedded::EmbeddedClaims),
    /// In Redis.
    Redis(redis::RedisClaims),
}

impl Claims {
    /// Claims `key` for the request with `token`, for at most `lease`.
    ///
    /// # Errors
    /// If the claims cannot be asked; whether to go on unclaimed is the caller's to decide.
    pub async fn claim(
        &self,
        key: &EventKey,
        token: ClaimToken,
        body: &BodyHash,
        lease: Duration,
    ) -> Result<Decision, ClaimsError> {
        #[cfg(feature = "price")]
        if crate::price::Guard::Claim.is_off() {
            return Ok(Decision::Fresh);
        }
        match self {
            Self::Embedded(claims) => Ok(claims.claim()),
            Self::Redis(claims) => claims.claim(key, token, body, lease).await,
        }
    }

    /// Marks `key` as durable for `window`. Only after the queue's confirm.
    ///
    /// # Errors
    /// If the marker could not be written; the event is durable all the same.
    pub async fn accept(&self, key: &EventKey, body: &BodyHash, window: Duration) -> Result<(), ClaimsError> {
        #[cfg(feature = "price")]
        if crate::price::Guard::Claim.is_off() {
            return Ok(());
        }
        match self {
            // The marker was committed together with the event.
            Self::Embedded(_) => Ok(()),
            Self::Redis(claims) => claims.accept(key, body, window).await,
        }
    }

    /// Gives the claim up, if it is still the one of `token`.
    ///
    /// # Errors
    /// If it could not be given up; it then ends with its lease.
    pub async fn release(&self, key: &EventKey, token: ClaimToken) -> Result<(), ClaimsError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Redis(claims) => claims.release(key, token).await,
        }
    }

    /// The server's state; `None` where the claims have no server of their own.
    #[must_use]
    pub fn health(&self) -> Option<&HealthCell> {
        match self {
            Self::Embedded(_) => None,
            Self::Redis(claims) => Some(claims.health()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_marker_has_its_decision() {
        let own = ClaimToken::generate();
        let other = ClaimToken::generate();
        let body = BodyHash::of(b"body");
        let check = |stored: Option<Vec<u8>>, expected: Decision| {
            let marker = stored.as_deref().map(Marker::parse);
            assert_eq!(decide(marker.as_ref(), own, &body), expected, "{stored:?}");
        };
        assert_eq!(format!("{own:?}"), own.to_string());
        check(None, Decision::Fresh);
        check(Some(Marker::pending_text(own, &body).into()), Decision::Fresh);
        check(Some(Marker::pending_text(other, &body).into()), Decision::InFlight);
        check(Some(Marker::committed_bytes(&body)), Decision::Duplicate);
        check(Some(Marker::committed_bytes(&BodyHash::of(b"other"))), Decision::Conflict);
        // Never answered as a duplicate: nothing says that such an event is durable.
        check(Some(b"garbage".to_vec()), Decision::InFlight);
        check(Some(b"c".to_vec()), Decision::InFlight);
        check(Some(Vec::new()), Decision::InFlight);
        check(Some(b"done:x".to_vec()), Decision::InFlight);
        // What builds before this one wrote, under keys of other names.
        check(Some(format!("committed:{body}").into()), Decision::InFlight);
    }
}
