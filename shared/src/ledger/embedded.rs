//! The ledger in the embedded store: every write is one savepoint of the store's group, so that the commits of many
//! events share one fsync.

use std::sync::Arc;

use futures_util::future::join_all;
use rusqlite::Connection;

use super::read::Follow;
use super::row::Row;
use super::{
    Applied, Commit, CommitError, DeadLetter, DeadLetterFilter, FailedAttempt, Kept, LedgerUnavailable, Migration,
    Statement, keep, list, statement,
};
use crate::event::Event;
use crate::health::HealthCell;
use crate::store::{Store, StoreError};
use crate::telemetry::chain;

mod apply;
mod migrate;
mod read;

use apply::{Blame, Found};

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
        statement::check(&commit.effects.statements).map_err(CommitError::Refused)?;
        let blame = Blame::default();
        let whose = blame.clone();
        let write = self.store.write(move |tx| apply::apply(tx, &commit, &whose));
        write.await.map_err(|error| refused_or_unavailable(&error, &blame))
    }

    pub(super) async fn record_attempt(&self, attempt: FailedAttempt) -> Result<(), LedgerUnavailable> {
        self.write(move |tx| {
            apply::run(tx, &keep::attempt(&attempt))?;
            apply::log_event(tx, &attempt.event, &attempt.wanted_by)
        })
        .await
    }

    pub(super) async fn dead_letter(&self, dead: DeadLetter) -> Result<Kept, LedgerUnavailable> {
        self.write(move |tx| {
            let Some(event) = &dead.event else {
                return apply::run(tx, &keep::dead_letter(&dead, NEXT_SEQ)).map(|_| Kept::Done);
            };
            match apply::found_in_inbox(tx, dead.handler.as_str(), event, dead.progress.epoch)? {
                Some(Found::Same) => return Ok(Kept::Done),
                Some(Found::OtherBody) => return Ok(Kept::OtherBody),
                None => {}
            }
            apply::run(tx, &keep::dead_letter(&dead, NEXT_SEQ))?;
            apply::run(tx, &keep::last_attempt(&dead, event))?;
            apply::log_event(tx, event, &dead.wanted_by)?;
            Ok(Kept::Done)
        })
        .await
    }

    pub(super) async fn log_unrouted(&self, event: Arc<Event>) -> Result<(), LedgerUnavailable> {
        self.write(move |tx| apply::log_event(tx, &event, "")).await
    }

    pub(super) async fn discard(&self, filter: DeadLetterFilter) -> Result<u64, LedgerUnavailable> {
        self.write(move |tx| {
            let [stones, gone] = list::discard_in_steps(&filter);
            apply::run(tx, &stones)?;
            apply::run(tx, &gone)
        })
        .await
    }

    pub(super) async fn query(&self, statement: Statement) -> Result<Vec<Row>, LedgerUnavailable> {
        self.store.read(move |c| read::rows(c, &statement)).await.map_err(|error| unavailable(&error))
    }

    pub(super) async fn query_on(&self, first: Statement, follow: Follow) -> Result<Vec<Vec<Row>>, LedgerUnavailable> {
        let read = self.store.read(move |connection| {
            let tx = connection.unchecked_transaction()?;
            let found = read::rows(&tx, &first)?;
            let followed: Vec<_> =
                follow(&found).iter().map(|question| read::rows(&tx, question)).collect::<rusqlite::Result<_>>()?;
            tx.commit()?;
            Ok(std::iter::once(found).chain(followed).collect())
        });
        read.await.map_err(|error| unavailable(&error))
    }

    pub(super) async fn change(&self, statement: Statement) -> Result<u64, LedgerUnavailable> {
        self.write(move |tx| apply::run(tx, &statement)).await
    }

    pub(super) async fn returning(&self, statement: Statement) -> Result<Vec<Row>, LedgerUnavailable> {
        self.write(move |tx| read::rows(tx, &statement)).await
    }

    pub(super) async fn guarded(&self, guard: Statement, effects: Vec<Statement>) -> Result<bool, CommitError> {
        let blame = Blame::default();
        let whose = blame.clone();
        let write = self.store.write(move |tx| apply::guarded(tx, &guard, &effects, &whose));
        write.await.map_err(|error| refused_or_unavailable(&error, &blame))
    }

    async fn write<T, F>(&self, work: F) -> Result<T, LedgerUnavailable>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.store.write(work).await.map_err(|error| unavailable(&error))
    }
}

/// A statement that is refused is the effects' fault only if it is theirs.
fn refused_or_unavailable(error: &StoreError, blame: &Blame) -> CommitError {
    if let StoreError::Refused(error) = error
        && blame.is_on_effects()
    {
        let reason = apply::message(error);
        return if apply::is_duplicate(error) { CommitError::Duplicate(reason) } else { CommitError::Refused(reason) };
    }
    CommitError::Unavailable(chain(error).to_string())
}

fn unavailable(error: &StoreError) -> LedgerUnavailable {
    LedgerUnavailable(chain(error).to_string())
}
