//! Commit: applies effects and records that they were applied, in one transaction, many events at a time.
//!
//! One task gathers what waits and gives it to the ledger as one group. While the ledger cannot be reached the group
//! waits with it: no attempt is counted, the deliveries stay unsettled, and the prefetch keeps new ones away.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tidegate_shared::ledger::{Applied, Commit, CommitError, Effects, Ledger};
use tidegate_shared::tasks::Tasks;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::decode::Decoded;
use crate::settle::Committed;

/// Waits between tries while the ledger is away: it is asked at most this rarely, and soon after it is back.
const WAIT_MAX: Duration = Duration::from_secs(2);
const WAIT_MIN: Duration = Duration::from_millis(100);

/// The handle to the committing task.
#[derive(Debug, Clone)]
pub(crate) struct Committer {
    waiting: mpsc::Sender<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    commit: Commit,
    answer: oneshot::Sender<Result<Applied, Refused>>,
}

/// The database refused the event's own statements.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

/// Why effects are not committed.
#[derive(Debug)]
pub(crate) enum Uncommitted {
    /// A failed attempt.
    Refused { decoded: Box<Decoded>, reason: String },
    /// Another event with its id was applied: it is to be handled as an event of its own.
    OtherBody { decoded: Box<Decoded> },
    /// The process stops before the ledger is back. Give the delivery back.
    Stopping { decoded: Box<Decoded> },
}

impl Committer {
    /// Starts the committing task, with groups of at most `batch_max`.
    pub(crate) fn start(ledger: Ledger, batch_max: usize, tasks: &Tasks) -> Self {
        let (waiting, queue) = mpsc::channel(batch_max);
        let shutdown = tasks.shutdown().clone();
        // A job, not a task for life: it ends after the last delivery that could commit.
        drop(tasks.spawn_job(commit_groups(ledger, queue, batch_max, shutdown)));
        Self { waiting }
    }

    async fn commit(&self, commit: Commit) -> Option<Result<Applied, Refused>> {
        let (answer, answered) = oneshot::channel();
        self.waiting.send(Waiting { commit, answer }).await.ok()?;
        answered.await.ok()
    }
}

impl Decoded {
    /// Commits the effects together with the inbox row.
    ///
    /// # Errors
    /// [`Uncommitted`]: nothing of them was applied now.
    pub(crate) async fn commit(
        self,
        effects: Effects,
        wanted_by: &str,
        by: &Committer,
    ) -> Result<Committed, Uncommitted> {
        let commit = Commit {
            handler: self.handler.clone(),
            event: std::sync::Arc::clone(&self.event),
            progress: self.progress.clone(),
            wanted_by: wanted_by.into(),
            effects,
        };
        match by.commit(commit).await {
            Some(Ok(Applied::OtherBody)) => Err(Uncommitted::OtherBody { decoded: Box::new(self) }),
            Some(Ok(applied)) => Ok(Committed::new(self, applied)),
            Some(Err(Refused(reason))) => Err(Uncommitted::Refused { decoded: Box::new(self), reason }),
            None => Err(Uncommitted::Stopping { decoded: Box::new(self) }),
        }
    }
}

async fn commit_groups(
    ledger: Ledger,
    mut queue: mpsc::Receiver<Waiting>,
    batch_max: usize,
    shutdown: CancellationToken,
) {
    let mut group = Vec::with_capacity(batch_max);
    while queue.recv_many(&mut group, batch_max).await > 0 {
        metrics::histogram!("tidegate_commit_group_size")
            .record(f64::from(u32::try_from(group.len()).unwrap_or(u32::MAX)));
        commit_group(&ledger, std::mem::take(&mut group), &shutdown).await;
    }
}

/// Commits until every event of the group has its answer, or the process stops while the ledger is away.
async fn commit_group(ledger: &Ledger, mut group: Vec<Waiting>, shutdown: &CancellationToken) {
    let mut waits = waits();
    loop {
        let commits = group.iter().map(|waiting| waiting.commit.clone()).collect();
        let started = std::time::Instant::now();
        let outcomes = ledger.commit(commits).await;
        metrics::histogram!("tidegate_commit_seconds").record(started.elapsed().as_secs_f64());
        let mut again = Vec::new();
        for (waiting, outcome) in group.into_iter().zip(outcomes) {
            match outcome {
                Ok(applied) => answer(waiting, Ok(applied)),
                Err(CommitError::Refused(reason) | CommitError::Duplicate(reason)) => {
                    answer(waiting, Err(Refused(reason)));
                }
                Err(CommitError::Unavailable(reason)) => {
                    tracing::debug!(%reason, "a commit waits for the ledger");
                    again.push(waiting);
                }
            }
        }
        // Dropping the rest tells their deliveries that the process stops.
        if again.is_empty() || shutdown.is_cancelled() {
            return;
        }
        group = again;
        tokio::select! {
            () = tokio::time::sleep(waits.next().unwrap_or(WAIT_MAX)) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

fn answer(waiting: Waiting, outcome: Result<Applied, Refused>) {
    // The delivery's job waits for the answer; only the end of the process drops it.
    drop(waiting.answer.send(outcome));
}

/// Jittered waits while a server is away, for ever.
pub(crate) fn waits() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(WAIT_MIN)
        .with_max_delay(WAIT_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}
