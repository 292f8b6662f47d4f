//! Claims in the embedded store: a part of the event's own row.
//!
//! Nothing is claimed ahead of the publish, so there is no pending state to leak or to wait for: of two requests with
//! one event, the second one to reach the store's only writer finds the row of the first.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{BodyClaim, ClaimsError, Decision};
use crate::event::BodyKey;
use crate::queue::embedded::EmbeddedQueue;
use crate::store::Store;

/// Claims on bodies whose time is over that each new one takes away: more than come, so that those never gather.
const SWEPT_AT_ONCE: i64 = 2;

/// The embedded adapter of [`super::Claims`].
#[derive(Debug, Clone)]
pub struct EmbeddedClaims {
    store: Store,
}

impl EmbeddedClaims {
    /// Claims in the store that `queue` stands on.
    #[must_use]
    pub fn beside(queue: &EmbeddedQueue) -> Self {
        Self { store: queue.store().clone() }
    }

    /// Lets the request go on to the queue, whose commit decides.
    #[must_use]
    pub fn claim(&self) -> Decision {
        let Self { store: _ } = self;
        Decision::Fresh
    }

    pub(super) async fn first_with_body(&self, claim: &BodyClaim) -> Result<Option<String>, ClaimsError> {
        let claim = claim.clone();
        let read = self.store.read(move |connection| first_with_body(connection, &claim, now_ms()));
        read.await.map_err(ClaimsError::Store)
    }

    pub(super) async fn first_id(&self, body: &BodyKey) -> Result<Option<String>, ClaimsError> {
        let body = *body;
        let read = self.store.read(move |connection| first_id(connection, &body, now_ms()));
        read.await.map_err(ClaimsError::Store)
    }

    pub(super) async fn keep_body(&self, claim: &BodyClaim, window: Duration) -> Result<Option<String>, ClaimsError> {
        let (claim, window) = (claim.clone(), i64::try_from(window.as_millis()).unwrap_or(i64::MAX));
        let write = self.store.write_with_group(move |tx| keep_body(tx, &claim, now_ms(), window));
        write.await.map(Some).map_err(ClaimsError::Store)
    }
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// The queue tells a duplicate only when it stores: so here an event that stands there already is told from a new one.
fn first_with_body(connection: &Connection, claim: &BodyClaim, now: i64) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached(
            "SELECT event_id FROM bodies WHERE body = ?1 AND ends_at > ?2
             AND NOT EXISTS (SELECT 1 FROM events WHERE event_key = ?3 AND claimed_until > ?2)",
        )?
        .query_row(params![claim.body.as_bytes(), now, claim.event.as_bytes()], |row| row.get(0))
        .optional()
}

fn first_id(connection: &Connection, body: &BodyKey, now: i64) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT event_id FROM bodies WHERE body = ?1 AND ends_at > ?2")?
        .query_row(params![body.as_bytes(), now], |row| row.get(0))
        .optional()
}

fn keep_body(tx: &Connection, claim: &BodyClaim, now: i64, window: i64) -> rusqlite::Result<String> {
    tx.prepare_cached(
        "INSERT INTO bodies (body, event_id, ends_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (body) DO UPDATE SET event_id = ?2, ends_at = ?3 WHERE ends_at <= ?4",
    )?
    .execute(params![claim.body.as_bytes(), claim.id.as_str(), now.saturating_add(window), now])?;
    tx.prepare_cached("DELETE FROM bodies WHERE body IN (SELECT body FROM bodies WHERE ends_at <= ?1 LIMIT ?2)")?
        .execute([now, SWEPT_AT_ONCE])?;
    tx.prepare_cached("SELECT event_id FROM bodies WHERE body = ?1")?
        .query_row([claim.body.as_bytes()], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{BodyHash, EventId, EventKey, SourceName};

    fn claim(id: &str, body: &str) -> BodyClaim {
        let source = SourceName::try_new("shop").expect("a name");
        let id = EventId::try_new(id).expect("an id");
        let body = BodyKey::new(&source, &BodyHash::of(body.as_bytes()));
        BodyClaim { event: EventKey::new(&source, &id), id, body }
    }

    fn connection() -> Connection {
        let connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch(include_str!("../store/schema.sql")).expect("the tables");
        connection
    }

    #[test]
    fn the_first_id_has_its_body_until_its_time_ends() {
        let db = connection();
        let keep = |id: &str, now| keep_body(&db, &claim(id, "a"), now, 100).expect("kept");
        let first = |id: &str, now| first_with_body(&db, &claim(id, "a"), now).expect("read");
        assert_eq!(first("one", 0), None);
        assert_eq!(keep("one", 0), "one");
        assert_eq!(keep("two", 99), "one", "the first keeps it, and its time does not grow");
        assert_eq!(first("two", 99).as_deref(), Some("one"));
        let shown = |now| first_id(&db, &claim("one", "a").body, now).expect("read");
        assert_eq!((shown(99).as_deref(), shown(100)), (Some("one"), None));
        assert_eq!(first("two", 100), None);
        assert_eq!(keep("two", 100), "two");
        assert_eq!(first("one", 150).as_deref(), Some("two"));
        assert_eq!(keep_body(&db, &claim("one", "b"), 150, 100).expect("kept"), "one", "another body");
    }

    #[test]
    fn claims_whose_time_is_over_go_as_new_ones_come() {
        let db = connection();
        for number in 0..100 {
            keep_body(&db, &claim("one", &format!("old {number}")), 0, 100).expect("kept");
        }
        for number in 0..60 {
            keep_body(&db, &claim("one", &format!("new {number}")), 200, 100).expect("kept");
        }
        let count: i64 = db.query_row("SELECT COUNT(*) FROM bodies", [], |row| row.get(0)).expect("a number");
        assert_eq!(count, 60);
    }
}
