//! The queue in the embedded store: one row per event and handler.
//!
//! Publishing writes the claim, the event and a job for each handler that wants it in one commit. A pump per handler
//! takes jobs in batches: taking counts a delivery before the handler sees it, so that an event under which the
//! process dies again and again reaches the backstop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use self::event_row::EventRow;
use super::tally::Tally;
use super::{PublishError, Stored, Stream, Topology};
use crate::event::{Event, HandlerName};
use crate::health::HealthCell;
use crate::store::{Store, StoreError};
use crate::tasks::Tasks;
use crate::wire::{Message, Progress, WireMessage};

mod deliveries;
mod event_row;
mod job;

pub use self::deliveries::{EmbeddedDeliveries, EmbeddedTicket};

/// The embedded adapter of both ends of the port.
#[derive(Debug, Clone)]
pub struct EmbeddedQueue {
    store: Store,
    topology: Arc<Topology>,
    wakers: Arc<HashMap<HandlerName, Arc<Notify>>>,
    tally: Tally,
    tasks: Tasks,
}

impl EmbeddedQueue {
    /// Opens the queue and frees the jobs that a killed process had taken.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn open(store: Store, topology: Topology, tasks: &Tasks) -> Result<Self, StoreError> {
        store.write(|tx| tx.execute("UPDATE jobs SET taken = 0 WHERE taken = 1", [])).await?;
        let wakers = topology.handlers.iter().map(|handler| (handler.name.clone(), Arc::default())).collect();
        let tally = Tally::new(&topology);
        Ok(Self { store, topology: Arc::new(topology), wakers: Arc::new(wakers), tally, tasks: tasks.clone() })
    }

    /// What it stands on.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) async fn publish(&self, event: &Event, window: Duration) -> Result<Stored, PublishError> {
        let wanted: Vec<HandlerName> = self.topology.handlers_for(event).map(|handler| handler.name.clone()).collect();
        let now = now_ms();
        let claimed_until = now.saturating_add(millis(window));
        // On this thread: the writer's is the one that everybody waits for.
        let (row, handlers) = (EventRow::new(event, &wanted, Some(claimed_until)), wanted.clone());
        let write = self.store.write_with_group(move |tx| {
            if let Some(seq) = row.insert(tx)? {
                handlers.iter().try_for_each(|handler| job::insert(tx, handler, seq, now, &Progress::default()))?;
                return Ok((Stored::New, true));
            }
            Ok((row.claim_again(tx, now)?, false))
        });
        let (stored, is_inserted) = write.await.map_err(publish_error)?;
        if is_inserted {
            self.tally.count(event);
            wanted.iter().for_each(|handler| self.wake(handler));
        }
        Ok(stored)
    }

    pub(super) async fn deliver(&self, handler: &HandlerName, wire: &WireMessage) -> Result<(), PublishError> {
        if !self.wakers.contains_key(handler) {
            return Err(PublishError::Refused(format!("no handler is called {handler} in the configuration")));
        }
        let message = Message::decode(wire).map_err(|error| PublishError::Refused(error.to_string()))?;
        let (row, to) = (EventRow::new(&message.event, std::slice::from_ref(handler), None), handler.clone());
        let write = self.store.write(move |tx| {
            let seq = match row.insert(tx)? {
                Some(seq) => seq,
                None => row.seq(tx)?,
            };
            job::insert(tx, &to, seq, now_ms(), &message.progress)
        });
        write.await.map_err(publish_error)?;
        self.wake(handler);
        Ok(())
    }

    pub(super) fn consume(&self, stream: &Stream, prefetch: u16) -> EmbeddedDeliveries {
        let wake = match stream {
            Stream::Handler(name) => self.wakers.get(name).map(Arc::clone).unwrap_or_default(),
            Stream::Dead | Stream::Unrouted => Arc::default(),
        };
        EmbeddedDeliveries::begin(self.store.clone(), stream.clone(), wake, prefetch, &self.tasks)
    }

    pub(super) async fn queued(&self) -> Option<Vec<(HandlerName, u64)>> {
        let counted = self.store.read(|connection| {
            let sql = "SELECT handler, count(*) FROM jobs WHERE taken = 0 AND ready_at <= ?1 GROUP BY handler";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            connection
                .prepare_cached(sql)?
                .query_map([now_ms()], row)?
                .collect::<rusqlite::Result<HashMap<String, u32>>>()
        });
        let counted = counted.await.ok()?;
        let count = |name: &HandlerName| counted.get(name.as_str()).copied().unwrap_or(0).into();
        Some(self.wakers.keys().map(|name| (name.clone(), count(name))).collect())
    }

    pub(super) fn health(&self) -> &HealthCell {
        self.store.health()
    }

    fn wake(&self, handler: &HandlerName) {
        if let Some(waker) = self.wakers.get(handler) {
            waker.notify_one();
        }
    }
}

fn publish_error(error: StoreError) -> PublishError {
    match error {
        StoreError::Refused(_) | StoreError::Panicked => PublishError::Refused(chain(&error)),
        // The commit failed, but frames of it may already stand in the log.
        StoreError::NotCommitted(reason) => PublishError::OutcomeUnknown(reason),
        StoreError::Closed => PublishError::Unavailable(error.to_string()),
    }
}

fn chain(error: &StoreError) -> String {
    crate::telemetry::chain(error).to_string()
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
