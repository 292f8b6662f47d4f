//! Events that failed and are to be tried again: how many, and since when the oldest of them waits.

use jiff::Timestamp;

use super::{Ledger, LedgerUnavailable, Statement};

/// What one handler has still to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The handler's name.
    pub handler: String,
    /// Events.
    pub count: u64,
    /// When the door received the first of them.
    pub oldest: Timestamp,
}

impl Ledger {
    /// Counts the events of each handler that failed since `since` and are neither applied nor given up.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn pending(&self, since: Timestamp) -> Result<Vec<Pending>, LedgerUnavailable> {
        let sql = "SELECT a.handler, CAST(count(DISTINCT a.event_key) AS BIGINT), min(e.received_at)
                   FROM attempts a JOIN events e ON e.event_key = a.event_key
                   WHERE a.at >= $1
                     AND NOT EXISTS (SELECT 1 FROM inbox i WHERE i.event_key = a.event_key
                                     AND i.handler = a.handler AND i.epoch = a.epoch)
                     AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.event_key = a.event_key
                                     AND d.handler = a.handler AND d.epoch = a.epoch AND d.status = 'dead')
                   GROUP BY a.handler";
        let rows = self.query(Statement { sql: sql.into(), params: vec![since.as_millisecond().into()] }).await?;
        let read = |row: &super::row::Row| {
            Ok(Pending { handler: row.text(0)?, count: row.count(1)?.into(), oldest: row.moment(2)? })
        };
        rows.iter().map(read).collect()
    }
}
