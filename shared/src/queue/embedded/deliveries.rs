//! The consuming end: a pump takes a stream's jobs, and each goes with the ticket that settles it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use super::job::{self, Job};
use super::{chain, millis, now_ms};
use crate::queue::{Delivery, SettleError, Stream, Ticket};
use crate::store::{Store, StoreError};
use crate::tasks::Tasks;
use crate::wire::Message;

/// Jobs taken in one commit at most.
const TAKE_MAX: usize = 128;
/// Between two tries of a write that the disk did not take.
const DISK_PAUSE: Duration = Duration::from_millis(200);
/// An idle pump looks at the clock this often: bounds the harm of a clock that was set back.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Deliveries of one handler.
#[derive(Debug)]
pub struct EmbeddedDeliveries {
    deliveries: mpsc::Receiver<Delivery>,
    /// Keeps the channel of a stream without a pump open, so that `next` waits instead of ending.
    idle: Option<mpsc::Sender<Delivery>>,
    shutdown: tokio_util::sync::CancellationToken,
}

impl EmbeddedDeliveries {
    /// Deliveries of `stream`, at most `prefetch` of them unsettled; `wake` tells that there may be more.
    pub(super) fn begin(store: Store, stream: Stream, wake: Arc<Notify>, prefetch: u16, tasks: &Tasks) -> Self {
        // One place: what the pump has taken beyond it can be given back, and is soon.
        let (deliver, deliveries) = mpsc::channel(1);
        let shutdown = tasks.shutdown().clone();
        // Events that no handler wants stand in the event log already.
        if stream == Stream::Unrouted {
            return Self { deliveries, idle: Some(deliver), shutdown };
        }
        let (returns, returned) = mpsc::channel(usize::from(prefetch).max(1));
        let permits = Arc::new(Semaphore::new(usize::from(prefetch)));
        let pump = Pump { store, stream, wake, permits, deliver, returns, returned };
        drop(tasks.spawn_job(pump.run()));
        Self { deliveries, idle: None, shutdown }
    }

    pub(in crate::queue) async fn next(&mut self) -> Option<Delivery> {
        if self.idle.is_some() {
            self.shutdown.cancelled().await;
            return None;
        }
        self.deliveries.recv().await
    }

    pub(in crate::queue) async fn cancel(&mut self) {
        self.idle = None;
        self.deliveries.close();
        while let Some(delivery) = self.deliveries.recv().await {
            if let Err(error) = delivery.ticket.give_back().await {
                tracing::warn!(%error, "a delivery was not given back; it comes again after the restart");
            }
        }
    }
}

/// Settles one job.
#[derive(Debug)]
pub struct EmbeddedTicket {
    store: Store,
    job: i64,
    wake: Arc<Notify>,
    returns: mpsc::Sender<i64>,
    settled: bool,
    _permit: OwnedSemaphorePermit,
}

impl EmbeddedTicket {
    pub(in crate::queue) async fn ack(mut self) -> Result<(), SettleError> {
        self.settled = true;
        let job = self.job;
        self.settle(move |tx| tx.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([job])).await
    }

    pub(in crate::queue) async fn retry(mut self, delay: Duration, next: &Message) -> Result<(), SettleError> {
        self.settled = true;
        let (job, progress) = (self.job, next.progress.clone());
        let ready_at = now_ms().saturating_add(millis(jittered(delay)));
        let settled = self.settle(move |tx| {
            tx.prepare_cached(
                "UPDATE jobs SET taken = 0, deliveries = 0, ready_at = ?2, attempt = ?3, ladder_start = ?4 WHERE id = ?1",
            )?
            .execute(params![job, ready_at, progress.attempt, progress.ladder_start])
        });
        settled.await?;
        // The pump must look how long it may sleep now.
        self.wake.notify_one();
        Ok(())
    }

    pub(in crate::queue) async fn give_back(mut self) -> Result<(), SettleError> {
        self.settled = true;
        let job = self.job;
        self.settle(move |tx| job::give_back(tx, job)).await?;
        self.wake.notify_one();
        Ok(())
    }

    async fn settle<F>(&self, work: F) -> Result<(), SettleError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<usize> + Clone + Send + 'static,
    {
        write_until_committed(&self.store, work).await.map_err(|error| SettleError::Store(chain(&error)))
    }
}

/// Writes again and again while the disk does not take it: a job whose settlement were given up would stay taken until
/// the restart. Ends with the store.
async fn write_until_committed<F>(store: &Store, work: F) -> Result<(), StoreError>
where
    F: FnOnce(&Connection) -> rusqlite::Result<usize> + Clone + Send + 'static,
{
    loop {
        match store.write(work.clone()).await {
            Err(StoreError::NotCommitted(reason)) => tracing::warn!(reason, "a settlement waits for the disk"),
            written => return written.map(drop),
        }
        tokio::time::sleep(DISK_PAUSE).await;
    }
}

impl Drop for EmbeddedTicket {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        tracing::error!(job = self.job, "a delivery was dropped unsettled; it is given back");
        metrics::counter!("tidegate_tickets_dropped_total").increment(1);
        // There is room for as many as the prefetch allows.
        if self.returns.try_send(self.job).is_err() {
            tracing::debug!(job = self.job, "the queue is closed; the restart gives the delivery back");
        }
    }
}

/// Takes jobs of one stream and hands them over, as many at a time as there are permits.
struct Pump {
    store: Store,
    stream: Stream,
    wake: Arc<Notify>,
    permits: Arc<Semaphore>,
    deliver: mpsc::Sender<Delivery>,
    returns: mpsc::Sender<i64>,
    returned: mpsc::Receiver<i64>,
}

impl Pump {
    async fn run(mut self) {
        loop {
            let permits = tokio::select! {
                () = self.deliver.closed() => return,
                Some(job) = self.returned.recv() => {
                    self.take_back(job).await;
                    continue;
                }
                permits = available(&self.permits) => permits,
            };
            match self.take(permits.len()).await {
                Ok(jobs) if jobs.is_empty() => {
                    drop(permits);
                    self.wait_for_work().await;
                }
                Ok(jobs) => self.hand_over(jobs, permits).await,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "jobs cannot be taken; trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }

    async fn take(&self, limit: usize) -> Result<Vec<Job>, StoreError> {
        let stream = self.stream.clone();
        // Reading first costs nothing; an empty write would make the writer's group for it.
        let any = self.store.read({
            let stream = stream.clone();
            move |connection| job::next_ready_at(connection, &stream)
        });
        match any.await? {
            Some(ready_at) if ready_at <= now_ms() => {
                self.store.write(move |tx| job::take(tx, &stream, limit, now_ms())).await
            }
            Some(_) | None => Ok(Vec::new()),
        }
    }

    async fn wait_for_work(&mut self) {
        let stream = self.stream.clone();
        let next = self.store.read(move |connection| job::next_ready_at(connection, &stream)).await.ok().flatten();
        let sleep = match next {
            Some(ready_at) => Duration::from_millis(u64::try_from(ready_at.saturating_sub(now_ms())).unwrap_or(0)),
            None => LOOK_AGAIN,
        };
        tokio::select! {
            () = self.wake.notified() => {}
            () = self.deliver.closed() => {}
            Some(job) = self.returned.recv() => self.take_back(job).await,
            () = tokio::time::sleep(sleep.min(LOOK_AGAIN)) => {}
        }
    }

    async fn hand_over(&self, jobs: Vec<Job>, mut permits: VecDeque<OwnedSemaphorePermit>) {
        for job in jobs {
            let Some(permit) = permits.pop_front() else { break };
            let ticket = EmbeddedTicket {
                store: self.store.clone(),
                job: job.id,
                wake: Arc::clone(&self.wake),
                returns: self.returns.clone(),
                settled: false,
                _permit: permit,
            };
            let delivery = Delivery {
                message: job.message,
                redelivered: job.deliveries > 1,
                given_up_by: (self.stream == Stream::Dead).then_some(job.handler),
                ticket: Ticket::Embedded(ticket),
            };
            if let Err(undelivered) = self.deliver.send(delivery).await
                && let Err(error) = undelivered.0.ticket.give_back().await
            {
                tracing::warn!(%error, "a job was not given back; it comes again after the restart");
            }
        }
    }

    async fn take_back(&self, job: i64) {
        if let Err(error) = write_until_committed(&self.store, move |tx| job::give_back(tx, job)).await {
            tracing::warn!(error = %chain(&error), "a job was not given back; it comes again after the restart");
        }
    }
}

/// Waits for one permit and takes those that are free with it.
async fn available(permits: &Arc<Semaphore>) -> VecDeque<OwnedSemaphorePermit> {
    let mut taken = VecDeque::new();
    if let Ok(first) = Arc::clone(permits).acquire_owned().await {
        taken.push_back(first);
    }
    while taken.len() < TAKE_MAX
        && let Ok(more) = Arc::clone(permits).try_acquire_owned()
    {
        taken.push_back(more);
    }
    taken
}

/// Up to a fifth longer, so that what failed together does not come back together.
fn jittered(delay: Duration) -> Duration {
    let mut byte = [0];
    match getrandom::fill(&mut byte) {
        Ok(()) => delay + delay.mul_f64(f64::from(byte[0]) / 255.0 / 5.0),
        Err(_) => delay,
    }
}
