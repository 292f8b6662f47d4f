//! Answers to requests that carry an `Idempotency-Key`: one owner a key, and its answer kept for whoever asks again.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::row::Row;
use super::{CommitError, Ledger, LedgerUnavailable, Statement, statement};
use crate::event::BodyHash;

/// How often a key is looked at whose row goes while it is asked for.
const LOOKS_MAX: u32 = 4;

/// A request that wants to be the one that does its key's work.
#[derive(Debug, Clone)]
pub struct BeginKeyed {
    /// Whose keys: two callers may use the same one.
    pub scope: String,
    /// The key.
    pub key: String,
    /// What tells the request from another one with its key.
    pub fingerprint: BodyHash,
    /// A random token of this request's own.
    pub owner: String,
    /// How long the work may take before another request may take it over.
    pub lease: Duration,
    /// How long the answer is kept, from now.
    pub keep: Duration,
    /// The time.
    pub now: Timestamp,
}

/// What a request with a key is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The work: the key is its own until the lease ends.
    Owned,
    /// Nothing: another request with the key is at work.
    Running {
        /// What is left of that one's lease.
        lease_left: Duration,
    },
    /// Nothing: the key belongs to another request, running or finished.
    Other,
    /// Nothing but to answer as the first did.
    Finished(KeptAnswer),
}

/// An answer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Work that is done, with its answer.
#[derive(Debug, Clone)]
pub struct FinishKeyed {
    /// As in [`BeginKeyed`].
    pub scope: String,
    /// As in [`BeginKeyed`].
    pub key: String,
    /// As in [`BeginKeyed`].
    pub owner: String,
    /// What every later request with the key is answered.
    pub answer: KeptAnswer,
    /// What the request does, committed with its answer. As in [`super::Effects::statements`].
    pub effects: Vec<Statement>,
}

impl Ledger {
    /// Takes a key for one request, or says what became of the one that has it.
    ///
    /// A key is free if nobody has it, if its time to be kept is over, or if its owner's lease ended without an answer
    /// and the request is the same.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn begin_keyed(&self, begin: BeginKeyed) -> Result<Begun, LedgerUnavailable> {
        for _ in 0..LOOKS_MAX {
            if !self.returning(take(&begin)).await?.is_empty() {
                return Ok(Begun::Owned);
            }
            // Not there any more if it was released or swept since.
            if let Some(row) = self.query(look(&begin)).await?.first() {
                return judge(row, &begin);
            }
        }
        Err(LedgerUnavailable("others take and release the idempotency key all the time".to_owned()))
    }

    /// Keeps the answer and commits what the request does, both or neither.
    ///
    /// `false`, with nothing kept, if the key is not the owner's any more, or is finished: begin again to learn its
    /// answer, which is this one where an earlier call came through unnoticed.
    ///
    /// # Errors
    /// [`CommitError`]; nothing was kept, but for a connection that broke during the commit.
    pub async fn finish_keyed(&self, finish: FinishKeyed) -> Result<bool, CommitError> {
        statement::check(&finish.effects).map_err(CommitError::Refused)?;
        let guard = Statement {
            sql: "UPDATE idempotency_keys SET status = $1, content_type = $2, body = $3
                  WHERE scope = $4 AND key = $5 AND owner = $6 AND status IS NULL"
                .into(),
            params: vec![
                i64::from(finish.answer.status).into(),
                finish.answer.content_type.into(),
                finish.answer.body.to_vec().into(),
                finish.scope.into(),
                finish.key.into(),
                finish.owner.into(),
            ],
        };
        self.guarded(guard, finish.effects).await
    }

    /// Gives a key back that was not finished. One that belongs to somebody else stays.
    ///
    /// # Errors
    /// If the ledger cannot be reached; the lease ends all the same.
    pub async fn release_keyed(&self, scope: String, key: String, owner: String) -> Result<(), LedgerUnavailable> {
        let sql = "DELETE FROM idempotency_keys WHERE scope = $1 AND key = $2 AND owner = $3 AND status IS NULL";
        let params = vec![scope.into(), key.into(), owner.into()];
        self.change(Statement { sql: sql.into(), params }).await.map(drop)
    }

    /// Deletes keys whose time to be kept is over, the oldest first, at most `limit`. Says how many.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn sweep_keyed(&self, now: Timestamp, limit: u32) -> Result<u64, LedgerUnavailable> {
        // Said twice: a key that is begun anew meanwhile is found by the inner one and must be spared by the outer one.
        let sql = "DELETE FROM idempotency_keys WHERE expires_at <= $1 AND (scope, key) IN (
                       SELECT scope, key FROM idempotency_keys WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
        let params = vec![now.as_millisecond().into(), i64::from(limit).into()];
        self.change(Statement { sql: sql.into(), params }).await
    }
}

/// Returns a row if the key is the request's now.
fn take(begin: &BeginKeyed) -> Statement {
    let sql = "INSERT INTO idempotency_keys (scope, key, fingerprint, owner, lease_until, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (scope, key) DO UPDATE SET
                   fingerprint = excluded.fingerprint, owner = excluded.owner, lease_until = excluded.lease_until,
                   expires_at = excluded.expires_at, status = NULL, content_type = NULL, body = NULL
               WHERE idempotency_keys.expires_at <= $7
                  OR (idempotency_keys.status IS NULL AND idempotency_keys.lease_until <= $7
                      AND idempotency_keys.fingerprint = excluded.fingerprint)
               RETURNING owner";
    let params = vec![
        begin.scope.as_str().into(),
        begin.key.as_str().into(),
        begin.fingerprint.as_bytes().as_slice().into(),
        begin.owner.as_str().into(),
        after(begin.now, begin.lease).into(),
        // A row that expires during its lease would be free while its owner is at work.
        after(begin.now, begin.keep.max(begin.lease)).into(),
        begin.now.as_millisecond().into(),
    ];
    Statement { sql: sql.into(), params }
}

fn look(begin: &BeginKeyed) -> Statement {
    let sql = "SELECT owner, fingerprint, lease_until, status, content_type, body FROM idempotency_keys
               WHERE scope = $1 AND key = $2";
    Statement { sql: sql.into(), params: vec![begin.scope.as_str().into(), begin.key.as_str().into()] }
}

/// What a row of [`look`] means for the request.
fn judge(row: &Row, begin: &BeginKeyed) -> Result<Begun, LedgerUnavailable> {
    if row.bytes(1)? != begin.fingerprint.as_bytes() {
        return Ok(Begun::Other);
    }
    if let Some(status) = row.maybe_number(3)? {
        return Ok(Begun::Finished(KeptAnswer {
            status: u16::try_from(status).map_err(|_| LedgerUnavailable(format!("{status} is no HTTP status")))?,
            content_type: row.maybe_text(4)?,
            body: row.maybe_bytes(5)?.unwrap_or_default().into(),
        }));
    }
    // The answer to an earlier try of the same call was lost.
    if row.text(0)? == begin.owner {
        return Ok(Begun::Owned);
    }
    let left = row.number(2)?.saturating_sub(begin.now.as_millisecond());
    Ok(Begun::Running { lease_left: Duration::from_millis(u64::try_from(left).unwrap_or(0)) })
}

/// Unix milliseconds, that much later.
fn after(now: Timestamp, time: Duration) -> i64 {
    now.as_millisecond().saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}
