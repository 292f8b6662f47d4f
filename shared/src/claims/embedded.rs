//! Claims in the embedded store: a row that commits together with the event.
//!
//! Nothing is claimed ahead of the publish, so there is no pending state to leak or to wait for: of two requests with
//! one event, the second one to reach the store's only writer finds the row of the first.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::Decision;
use crate::event::{BodyHash, EventKey};

/// The embedded adapter of [`super::Claims`].
#[derive(Debug, Clone, Default)]
pub struct EmbeddedClaims;

impl EmbeddedClaims {
    /// Lets the request go on to the queue, whose commit decides.
    #[must_use]
    pub fn claim(&self) -> Decision {
        let Self = self;
        Decision::Fresh
    }
}

/// Claims `key` inside the transaction that also stores the event.
///
/// # Errors
/// Whatever the store says; the transaction must then not commit.
pub(crate) fn claim_in(
    tx: &Connection,
    key: &EventKey,
    body: &BodyHash,
    window: Duration,
    now_ms: i64,
) -> rusqlite::Result<Decision> {
    let expires_at = now_ms.saturating_add(i64::try_from(window.as_millis()).unwrap_or(i64::MAX));
    let inserted = tx
        .prepare_cached(
            "INSERT INTO claims (event_key, body_hash, expires_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (event_key) DO UPDATE SET body_hash = ?2, expires_at = ?3 WHERE expires_at <= ?4",
        )?
        .execute(params![key.as_bytes(), body.as_bytes(), expires_at, now_ms])?;
    if inserted == 1 {
        return Ok(Decision::Fresh);
    }
    let stored: Option<[u8; 32]> = tx
        .prepare_cached("SELECT body_hash FROM claims WHERE event_key = ?1")?
        .query_row([key.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(if stored.as_ref() == Some(body.as_bytes()) { Decision::Duplicate } else { Decision::Conflict })
}
