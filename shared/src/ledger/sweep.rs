//! Retention: forgets what is done with and old enough, a small batch at a time.
//!
//! All that the ledger keeps of an event hangs on its row in the event log, so one walk along `seq`, the oldest first,
//! finds it by keys and needs no index by age. An event's row goes last: a batch that stops half way is found again.
//! Deleted in batches and not by dropping partitions: a table that is partitioned by time cannot keep `event_key`
//! unique over all of them, and that is what applies an event once.

use jiff::Timestamp;

use super::list::Conditions;
use super::{DeadLetterFilter, Ledger, LedgerUnavailable, Statement};

/// In the embedded store: handlers that are not done read the event from the log, and a claim stands for its window.
const HELD_BY_JOB: &str = " AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.event_seq = e.seq)";
const HELD_BY_CLAIM: &str = " AND COALESCE(e.claimed_until < $1, TRUE)";

/// What one batch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// How many events it was about.
    pub count: u64,
    /// Where the next batch goes on; `None` if what follows is too young.
    pub next: Option<i64>,
}

impl Ledger {
    /// Forgets events that came and were last touched before `before`: at most `limit` are looked at, after `cursor`.
    ///
    /// An event with an open dead letter is kept, and in the embedded store one that a handler still has to do.
    ///
    /// # Errors
    /// If the ledger cannot be reached; what was not forgotten is found again.
    pub async fn forget_events(&self, before: Timestamp, cursor: i64, limit: u32) -> Result<Swept, LedgerUnavailable> {
        let held = match self {
            Self::Embedded(_) => [HELD_BY_JOB, HELD_BY_CLAIM].concat(),
            Self::Postgres(_) => String::new(),
        };
        let sql = format!(
            "SELECT e.seq, CAST(CASE WHEN e.received_at < $1 THEN 1 ELSE 0 END AS BIGINT),
                    CASE WHEN e.received_at < $1
                          AND NOT EXISTS (SELECT 1 FROM inbox i WHERE i.event_key = e.event_key AND i.applied_at >= $1)
                          AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.event_key = e.event_key AND a.at >= $1)
                          AND NOT EXISTS (SELECT 1 FROM steps s WHERE s.event_key = e.event_key AND s.at >= $1)
                          AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.event_key = e.event_key
                                          AND (d.status IN ('dead', 'replayed') OR d.dead_at >= $1)){held}
                         THEN e.event_key END
             FROM events e WHERE e.seq > $2 ORDER BY e.seq LIMIT $3"
        );
        let params = vec![before.as_millisecond().into(), cursor.into(), i64::from(limit).into()];
        let rows = self.query(Statement { sql: sql.into(), params }).await?;
        let keys: Vec<Vec<u8>> =
            rows.iter().map(|row| row.maybe_bytes(2)).filter_map(Result::transpose).collect::<Result<_, _>>()?;
        if !keys.is_empty() {
            for table in ["attempts", "steps", "inbox", "events"] {
                let mut conditions = Conditions::default();
                let places = conditions.bind_all(keys.iter().map(|key| key.as_slice().into()));
                let delete = conditions.into_statement(format!("DELETE FROM {table} WHERE event_key IN ({places})"));
                self.change(delete).await?;
            }
        }
        Ok(Swept { count: keys.len() as u64, next: next(&rows, limit)? })
    }

    /// Takes headers and bodies out of the event log that came before `before`: at most `limit` events are looked at,
    /// after `cursor`. Kept are those that a handler or a replay still reads.
    ///
    /// # Errors
    /// As [`Self::forget_events`].
    pub async fn strip_events(&self, before: Timestamp, cursor: i64, limit: u32) -> Result<Swept, LedgerUnavailable> {
        let sql = "SELECT e.seq, CAST(CASE WHEN e.received_at < $1 THEN 1 ELSE 0 END AS BIGINT)
                   FROM events e WHERE e.seq > $2 ORDER BY e.seq LIMIT $3";
        let params = vec![before.as_millisecond().into(), cursor.into(), i64::from(limit).into()];
        let rows = self.query(Statement { sql: sql.into(), params }).await?;
        let Some(last) = rows.last() else { return Ok(Swept { count: 0, next: None }) };
        let held = match self {
            Self::Embedded(_) => HELD_BY_JOB,
            Self::Postgres(_) => "",
        };
        let sql = format!(
            "UPDATE events AS e SET headers = NULL, body = NULL
             WHERE e.seq > $2 AND e.seq <= $3 AND e.received_at < $1 AND e.body IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM dead_letters d
                               WHERE d.event_key = e.event_key AND d.status IN ('dead', 'replayed')){held}"
        );
        let params = vec![before.as_millisecond().into(), cursor.into(), last.number(0)?.into()];
        let count = self.change(Statement { sql: sql.into(), params }).await?;
        Ok(Swept { count, next: next(&rows, limit)? })
    }

    /// Gives up for good at most `limit` dead letters that died before `before`, and deletes as many of those that are
    /// not open any more. Says how many were deleted.
    ///
    /// # Errors
    /// As [`Self::forget_events`].
    pub async fn forget_dead_letters(&self, before: Timestamp, limit: u32) -> Result<u64, LedgerUnavailable> {
        let params = || vec![before.as_millisecond().into(), i64::from(limit).into()];
        let open = "SELECT id FROM dead_letters WHERE status = 'dead' AND dead_at < $1 ORDER BY seq LIMIT $2";
        let open = self.query(Statement { sql: open.into(), params: params() }).await?;
        if !open.is_empty() {
            let ids = open.iter().map(|row| row.text(0)).collect::<Result<_, _>>()?;
            self.discard(DeadLetterFilter { ids, until: Some(before), ..DeadLetterFilter::default() }).await?;
        }
        // Said twice: one that dies anew meanwhile must be spared.
        let closed = "DELETE FROM dead_letters WHERE status <> 'dead' AND dead_at < $1 AND id IN (
                          SELECT id FROM dead_letters WHERE status <> 'dead' AND dead_at < $1 ORDER BY seq LIMIT $2)";
        self.change(Statement { sql: closed.into(), params: params() }).await
    }
}

/// A batch that was full, and not all of it young, is followed by another one.
fn next(rows: &[super::row::Row], limit: u32) -> Result<Option<i64>, LedgerUnavailable> {
    let Some(last) = rows.last() else { return Ok(None) };
    let mut is_old = false;
    for row in rows {
        is_old |= row.number(1)? == 1;
    }
    Ok(if is_old && rows.len() as u64 >= u64::from(limit) { Some(last.number(0)?) } else { None })
}
