//! The ledger in the embedded store: every write is one savepoint of the store's group, so that the commits of many
//! events share one fsync.

use std::sync::Arc;

use futures_util::future::join_all;
use rusqlite::Connection;

use super::{
    Applied, Commit, CommitError, DeadLetter, DeadLetterCount, DeadLetterDetail, DeadLetterFilter, DeadLetterRow,
    EventDetail, EventFilter, EventRow, FailedAttempt, LedgerUnavailable, Migration, Page, keep, list, statement,
};
use crate::event::Event;
use crate::health::HealthCell;
use crate::store::{Store, StoreError};
use crate::telemetry::chain;

mod apply;
mod migrate;
mod read;

use apply::Blame;

/// Above the newest dead letter; there is only one writer, so nobody takes the place meanwhile.
const NEXT_SEQ: &str = "(SELECT coalesce(max(seq), 0) + 1 FROM dead_letters)";

/// The embedded adapter of [`super::Ledger`]; clones share it.
#[derive(Debug, Clone)]
pub struct EmbeddedLedger {
    store: Store,
}

impl EmbeddedLedger {
    /// The ledger in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    pub(super) fn health(&self) -> &HealthCell {
        self.store.health()
    }

    pub(super) async fn migrate(&self, migrations: &[Migration]) -> Result<(), LedgerUnavailable> {
        migrate::migrate(&self.store, migrations).await
    }

    pub(super) async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Applied, CommitError>> {
        join_all(commits.into_iter().map(|commit| self.commit_one(commit))).await
    }

    async fn commit_one(&self, commit: Commit) -> Result<Applied, CommitError> {
        statement::check(&commit.effects).map_err(CommitError::Refused)?;
        let blame = Blame::default();
        let whose = blame.clone();
        match self.store.write(move |tx| apply::apply(tx, &commit, &whose)).await {
            Ok(applied) => Ok(applied),
            Err(StoreError::Refused(error)) if blame.is_on_effects() => {
                Err(CommitError::Refused(apply::message(&error)))
            }
            Err(error) => Err(CommitError::Unavailable(chain(&error).to_string())),
        }
    }

    pub(super) async fn record_attempt(&self, attempt: FailedAttempt) -> Result<(), LedgerUnavailable> {
        self.write(move |tx| {
            apply::run(tx, &keep::attempt(&attempt))?;
            apply::log_event(tx, &attempt.event, &attempt.wanted_by)
        })
        .await
    }

    pub(super) async fn dead_letter(&self, dead: DeadLetter) -> Result<(), LedgerUnavailable> {
        self.write(move |tx| {
            let Some(event) = &dead.event else {
                return apply::run(tx, &keep::dead_letter(&dead, NEXT_SEQ)).map(drop);
            };
            if apply::is_in_inbox(tx, dead.handler.as_str(), event, dead.progress.epoch)? {
                return Ok(());
            }
            apply::run(tx, &keep::dead_letter(&dead, NEXT_SEQ))?;
            apply::run(tx, &keep::last_attempt(&dead, event))?;
            apply::log_event(tx, event, &dead.wanted_by)
        })
        .await
    }

    pub(super) async fn log_unrouted(&self, event: Arc<Event>) -> Result<(), LedgerUnavailable> {
        self.write(move |tx| apply::log_event(tx, &event, "")).await
    }

    pub(super) async fn events(&self, filter: EventFilter, page: Page) -> Result<Vec<EventRow>, LedgerUnavailable> {
        self.read(move |tx| read::events(tx, &list::events(&filter, page))).await
    }

    pub(super) async fn event(&self, id: String) -> Result<Vec<EventDetail>, LedgerUnavailable> {
        self.read(move |tx| read::event(tx, &id)).await
    }

    pub(super) async fn dead_letters(
        &self,
        filter: DeadLetterFilter,
        page: Page,
    ) -> Result<Vec<DeadLetterRow>, LedgerUnavailable> {
        self.read(move |tx| read::dead_letters(tx, &list::dead_letters(&filter, page))).await
    }

    pub(super) async fn count_dead_letters(
        &self,
        filter: DeadLetterFilter,
    ) -> Result<Vec<DeadLetterCount>, LedgerUnavailable> {
        self.read(move |tx| read::dead_letter_counts(tx, &list::count_dead_letters(&filter))).await
    }

    pub(super) async fn dead_letter_by_id(&self, id: String) -> Result<Option<DeadLetterDetail>, LedgerUnavailable> {
        self.read(move |tx| read::dead_letter(tx, &id)).await
    }

    pub(super) async fn mark_replayed(&self, id: String, attempts: u32) -> Result<bool, LedgerUnavailable> {
        self.write(move |tx| apply::run(tx, &keep::mark_replayed(&id, attempts)).map(|changed| changed == 1)).await
    }

    pub(super) async fn discard(&self, filter: DeadLetterFilter) -> Result<u64, LedgerUnavailable> {
        self.write(move |tx| {
            let [stones, gone] = list::discard_in_steps(&filter);
            apply::run(tx, &stones)?;
            apply::run(tx, &gone)
        })
        .await
    }

    async fn write<T, F>(&self, work: F) -> Result<T, LedgerUnavailable>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.store.write(work).await.map_err(|error| unavailable(&error))
    }

    /// Reads within one transaction, so that all its queries see one state.
    async fn read<T, F>(&self, work: F) -> Result<T, LedgerUnavailable>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let read = self.store.read(move |connection| {
            let tx = connection.unchecked_transaction()?;
            let found = work(&tx)?;
            tx.commit()?;
            Ok(found)
        });
        read.await.map_err(|error| unavailable(&error))
    }
}

fn unavailable(error: &StoreError) -> LedgerUnavailable {
    LedgerUnavailable(chain(error).to_string())
}
