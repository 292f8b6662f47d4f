//! The writer's thread: takes all that waits, runs it in one transaction, answers after the COMMIT.
//!
//! Invariant: nobody reads `Ok` before the transaction with its work is on the disk, and everybody gets an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use crate::health::{Health, HealthCell};

/// Writes in one transaction at most: bounds how long the first of them waits for the last.
const GROUP_MAX: usize = 512;
/// How often a store that failed tries whether it can commit again, when nobody else does.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long a store that failed looks away from its queue.
const BLOCKED_NAP: Duration = Duration::from_millis(20);

/// One caller's write on its way through a group.
pub(super) trait Work: Send {
    /// Runs it inside the open transaction, leaving nothing behind if it fails.
    fn run(&mut self, tx: &Connection) -> Transaction;
    /// Tells the caller, once the fate of the transaction is known.
    fn answer(self: Box<Self>, committed: Result<(), &str>);
}

/// What a write left of the group's transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transaction {
    /// It is open, with the write in it or undone.
    Open,
    /// It is gone, or holds half of a write: nothing of the group may be kept.
    Lost,
    /// As before, because the disk or the memory failed.
    Failed(String),
}

/// What a write that fails takes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Itself: it runs in a savepoint, which copies every page that it changes.
    Itself,
    /// Its whole group.
    Group,
}

/// A closure, its result, and who waits for it.
pub(super) struct Write<T, F> {
    failure: Failure,
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Write<T, F> {
    pub(super) fn new(failure: Failure, work: F, answer: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { failure, work: Some(work), result: None, answer }
    }
}

impl<T, F> Write<T, F>
where
    F: FnOnce(&Connection) -> rusqlite::Result<T>,
{
    /// Runs the work within a savepoint.
    fn run_alone(&mut self, work: F, tx: &Connection) -> Transaction {
        if let Err(error) = control(tx, "SAVEPOINT one") {
            self.result = Some(Err(StoreError::NotCommitted(error.to_string())));
            return Transaction::Lost;
        }
        let result = caught(work, tx);
        let undone = if result.is_err() && !tx.is_autocommit() { control(tx, "ROLLBACK TO one") } else { Ok(()) };
        self.result = Some(result);
        match undone.and_then(|()| control(tx, "RELEASE one")) {
            Ok(()) if !tx.is_autocommit() => Transaction::Open,
            Ok(()) | Err(_) => Transaction::Lost,
        }
    }

    /// Runs the work as a part of the group: what it left half done can only be undone with all of it.
    fn run_in_group(&mut self, work: F, tx: &Connection) -> Transaction {
        let result = caught(work, tx);
        let left = match &result {
            Ok(_) if !tx.is_autocommit() => Transaction::Open,
            Err(StoreError::NotCommitted(reason)) => Transaction::Failed(reason.clone()),
            Ok(_) | Err(_) => Transaction::Lost,
        };
        self.result = Some(result);
        left
    }
}

/// Unwind safe: whatever the work left half done in the database is rolled back, and its captures are gone.
fn caught<T>(work: impl FnOnce(&Connection) -> rusqlite::Result<T>, tx: &Connection) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(|| work(tx))) {
        Ok(result) => result.map_err(StoreError::from_work),
        Err(_) => Err(StoreError::Panicked),
    }
}

impl<T, F> Work for Write<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, tx: &Connection) -> Transaction {
        let Some(work) = self.work.take() else { return Transaction::Open };
        match self.failure {
            Failure::Itself => self.run_alone(work, tx),
            Failure::Group => self.run_in_group(work, tx),
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), &str>) {
        let outcome = match (self.result, committed) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(StoreError::NotCommitted("the write was not run".to_owned())),
            (Some(Ok(_)) | None, Err(reason)) => Err(StoreError::NotCommitted(reason.to_owned())),
        };
        // The caller may be gone; the write stands all the same.
        drop(self.answer.send(outcome));
    }
}

/// Why a group did not commit.
#[derive(Debug)]
enum GroupError {
    /// A work ended the transaction: the store itself is well.
    Lost,
    /// SQLite could not begin or commit.
    Failed(String),
}

/// What there is to do next.
enum Next {
    Commit,
    Probe,
    Close,
}

/// Writes until every handle of the store is gone and all that they sent is written.
pub(super) fn write_until_closed(
    connection: &Connection,
    mut work: mpsc::Receiver<Box<dyn Work>>,
    health: &HealthCell,
) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    loop {
        match next(&mut work, &mut group, health) {
            Next::Close => break,
            Next::Probe => show(health, &probe(connection)),
            Next::Commit => {
                metrics::counter!("tidegate_store_writes_total").increment(group.len() as u64);
                let started = Instant::now();
                let committed = commit_group(connection, &mut group);
                metrics::histogram!("tidegate_store_commit_seconds").record(started.elapsed().as_secs_f64());
                show(health, &committed);
                let reason = match &committed {
                    Ok(()) => Ok(()),
                    Err(GroupError::Lost) => Err("another write ended the group's transaction"),
                    Err(GroupError::Failed(reason)) => Err(reason.as_str()),
                };
                group.drain(..).for_each(|work| work.answer(reason));
            }
        }
    }
}

/// Waits for work. A store that failed wakes by itself: with readiness gone, nobody may send the write that would
/// show that the disk has room again.
fn next(work: &mut mpsc::Receiver<Box<dyn Work>>, group: &mut Vec<Box<dyn Work>>, health: &HealthCell) -> Next {
    if health.get().is_up() {
        return if work.blocking_recv_many(group, GROUP_MAX) > 0 { Next::Commit } else { Next::Close };
    }
    let until = Instant::now() + PROBE_EVERY;
    loop {
        match work.try_recv() {
            Ok(first) => {
                group.push(first);
                while group.len() < GROUP_MAX
                    && let Ok(more) = work.try_recv()
                {
                    group.push(more);
                }
                return Next::Commit;
            }
            Err(TryRecvError::Disconnected) => return Next::Close,
            Err(TryRecvError::Empty) if Instant::now() >= until => return Next::Probe,
            Err(TryRecvError::Empty) => std::thread::park_timeout(BLOCKED_NAP),
        }
    }
}

fn show(health: &HealthCell, committed: &Result<(), GroupError>) {
    match committed {
        Ok(()) => health.set(Health::Up),
        Err(GroupError::Failed(reason)) => health.set(Health::Blocked(reason.clone())),
        Err(GroupError::Lost) => tracing::error!("a write ended the transaction of its group; all of it was undone"),
    }
}

/// Runs the group in one transaction.
fn commit_group(connection: &Connection, group: &mut [Box<dyn Work>]) -> Result<(), GroupError> {
    control(connection, "BEGIN IMMEDIATE").map_err(|error| GroupError::Failed(error.to_string()))?;
    let ran = group.iter_mut().try_for_each(|work| match work.run(connection) {
        Transaction::Open => Ok(()),
        Transaction::Lost => Err(GroupError::Lost),
        Transaction::Failed(reason) => Err(GroupError::Failed(reason)),
    });
    let commit = |()| control(connection, "COMMIT").map_err(|error| GroupError::Failed(error.to_string()));
    let committed = ran.and_then(commit);
    if committed.is_err() {
        undo(connection);
    }
    committed
}

fn undo(connection: &Connection) {
    if connection.is_autocommit() {
        return;
    }
    if let Err(error) = connection.execute_batch("ROLLBACK") {
        tracing::error!(%error, "a failed group could not be rolled back");
    }
}

/// Commits a page that says what it said before: enough to reach the disk.
fn probe(connection: &Connection) -> Result<(), GroupError> {
    let written = connection
        .query_row("PRAGMA user_version", [], |row| row.get::<_, i32>(0))
        .and_then(|version| connection.pragma_update(None, "user_version", version));
    written.map_err(|error| GroupError::Failed(error.to_string()))
}

fn control(tx: &Connection, sql: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(sql)?.execute([]).map(drop)
}
