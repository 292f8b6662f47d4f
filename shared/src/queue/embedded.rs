//! The queue in the embedded store: one row per event and handler.
//!
//! Publishing writes the claim, the event and a job for each handler that wants it in one commit. A pump per handler
//! takes jobs in batches: taking counts a delivery before the handler sees it, so that an event under which the
//! process dies again and again reaches the backstop.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use self::event_row::EventRow;
use super::tally::Tally;
use super::{DELIVERY_LIMIT, Delivery, PublishError, SettleError, Stored, Stream, Ticket, Topology};
use crate::event::{Event, HandlerName};
use crate::health::HealthCell;
use crate::store::{Store, StoreError};
use crate::tasks::Tasks;
use crate::wire::{Message, Progress, WireMessage};

mod event_row;

/// Jobs taken in one commit at most.
const TAKE_MAX: usize = 128;
/// Between two tries of a write that the disk did not take.
const DISK_PAUSE: Duration = Duration::from_millis(200);
/// An idle pump looks at the clock this often: bounds the harm of a clock that was set back.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

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

    pub(super) async fn publish(&self, event: &Event, window: Duration) -> Result<Stored, PublishError> {
        let wanted: Vec<HandlerName> = self.topology.handlers_for(event).map(|handler| handler.name.clone()).collect();
        let now = now_ms();
        let claimed_until = now.saturating_add(millis(window));
        // On this thread: the writer's is the one that everybody waits for.
        let (row, handlers) = (EventRow::new(event, &wanted, Some(claimed_until)), wanted.clone());
        let write = self.store.write_with_group(move |tx| {
            if let Some(seq) = row.insert(tx)? {
                handlers.iter().try_for_each(|handler| insert_job(tx, handler, seq, now, &Progress::default()))?;
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
            insert_job(tx, &to, seq, now_ms(), &message.progress)
        });
        write.await.map_err(publish_error)?;
        self.wake(handler);
        Ok(())
    }

    pub(super) fn consume(&self, stream: &Stream, prefetch: u16) -> EmbeddedDeliveries {
        // One place: what the pump has taken beyond it can be given back, and is soon.
        let (deliver, deliveries) = mpsc::channel(1);
        let (returns, returned) = mpsc::channel(usize::from(prefetch).max(1));
        let wake = match stream {
            Stream::Handler(name) => self.wakers.get(name).map(Arc::clone).unwrap_or_default(),
            Stream::Dead | Stream::Unrouted => Arc::default(),
        };
        // Events that no handler wants stand in the event log already.
        if *stream != Stream::Unrouted {
            let permits = Arc::new(Semaphore::new(usize::from(prefetch)));
            let pump =
                Pump { store: self.store.clone(), stream: stream.clone(), wake, permits, deliver, returns, returned };
            let shutdown = self.tasks.shutdown().clone();
            drop(self.tasks.spawn_job(async move { pump.run().await }));
            return EmbeddedDeliveries { deliveries, idle: None, shutdown };
        }
        EmbeddedDeliveries { deliveries, idle: Some(deliver), shutdown: self.tasks.shutdown().clone() }
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

/// Deliveries of one handler.
#[derive(Debug)]
pub struct EmbeddedDeliveries {
    deliveries: mpsc::Receiver<Delivery>,
    /// Keeps the channel of a stream without a pump open, so that `next` waits instead of ending.
    idle: Option<mpsc::Sender<Delivery>>,
    shutdown: tokio_util::sync::CancellationToken,
}

impl EmbeddedDeliveries {
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        if self.idle.is_some() {
            self.shutdown.cancelled().await;
            return None;
        }
        self.deliveries.recv().await
    }

    pub(super) async fn cancel(&mut self) {
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
    pub(super) async fn ack(mut self) -> Result<(), SettleError> {
        self.settled = true;
        let job = self.job;
        self.settle(move |tx| tx.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([job])).await
    }

    pub(super) async fn retry(mut self, delay: Duration, next: &Message) -> Result<(), SettleError> {
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

    pub(super) async fn give_back(mut self) -> Result<(), SettleError> {
        self.settled = true;
        let job = self.job;
        self.settle(move |tx| give_back(tx, job)).await?;
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
            move |connection| next_ready_at(connection, &stream)
        });
        match any.await? {
            Some(ready_at) if ready_at <= now_ms() => {
                self.store.write(move |tx| take_jobs(tx, &stream, limit, now_ms())).await
            }
            Some(_) | None => Ok(Vec::new()),
        }
    }

    async fn wait_for_work(&mut self) {
        let stream = self.stream.clone();
        let next = self.store.read(move |connection| next_ready_at(connection, &stream)).await.ok().flatten();
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
        if let Err(error) = write_until_committed(&self.store, move |tx| give_back(tx, job)).await {
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

struct Job {
    id: i64,
    handler: HandlerName,
    deliveries: u32,
    message: WireMessage,
}

fn insert_job(
    tx: &Connection,
    handler: &HandlerName,
    event_seq: i64,
    ready_at: i64,
    progress: &Progress,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO jobs (handler, event_seq, ready_at, attempt, ladder_start, epoch, replay_of)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        handler.as_str(),
        event_seq,
        ready_at,
        progress.attempt,
        progress.ladder_start,
        progress.epoch,
        progress.replay_of
    ])
    .map(drop)
}

/// When the stream's next job may be taken, if it has one.
fn next_ready_at(connection: &Connection, stream: &Stream) -> rusqlite::Result<Option<i64>> {
    match stream {
        Stream::Handler(name) => connection
            .prepare_cached(
                "SELECT ready_at FROM jobs WHERE handler = ?1 AND taken = 0 AND deliveries < ?2
                 ORDER BY ready_at, id LIMIT 1",
            )?
            .query_row(params![name.as_str(), DELIVERY_LIMIT], |row| row.get(0))
            .optional(),
        Stream::Dead => connection
            .prepare_cached("SELECT 0 FROM jobs WHERE taken = 0 AND deliveries >= ?1 LIMIT 1")?
            .query_row([DELIVERY_LIMIT], |row| row.get(0))
            .optional(),
        Stream::Unrouted => Ok(None),
    }
}

fn take_jobs(tx: &Connection, stream: &Stream, limit: usize, now: i64) -> rusqlite::Result<Vec<Job>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let ids: Vec<i64> = match stream {
        Stream::Handler(name) => tx
            .prepare_cached(
                "SELECT id FROM jobs WHERE handler = ?1 AND taken = 0 AND deliveries < ?2 AND ready_at <= ?3
                 ORDER BY ready_at, id LIMIT ?4",
            )?
            .query_map(params![name.as_str(), DELIVERY_LIMIT, now, limit], |row| row.get(0))?
            .collect::<Result<_, _>>()?,
        Stream::Dead => tx
            .prepare_cached("SELECT id FROM jobs WHERE taken = 0 AND deliveries >= ?1 LIMIT ?2")?
            .query_map(params![DELIVERY_LIMIT, limit], |row| row.get(0))?
            .collect::<Result<_, _>>()?,
        Stream::Unrouted => Vec::new(),
    };
    ids.into_iter().map(|id| take_job(tx, id)).collect()
}

fn take_job(tx: &Connection, id: i64) -> rusqlite::Result<Job> {
    tx.prepare_cached("UPDATE jobs SET taken = 1, deliveries = deliveries + 1 WHERE id = ?1")?.execute([id])?;
    tx.prepare_cached(
        "SELECT jobs.handler, jobs.deliveries, jobs.attempt, jobs.ladder_start, jobs.epoch, jobs.replay_of,
                events.event_key, events.event_type, events.content_type, events.received_at, events.headers, events.body
         FROM jobs JOIN events ON events.seq = jobs.event_seq WHERE jobs.id = ?1",
    )?
    .query_row([id], |row| {
        let handler: String = row.get(0)?;
        let key: [u8; 32] = row.get(6)?;
        let received_at: i64 = row.get(9)?;
        let mut message = WireMessage {
            message_id: hex::encode(key),
            event_type: row.get(7)?,
            content_type: row.get(8)?,
            timestamp: u64::try_from(received_at / 1_000).unwrap_or(0),
            headers: WireMessage::headers_from_block(row.get_ref(10)?.as_bytes()?),
            body: row.get::<_, Vec<u8>>(11)?.into(),
        };
        message.set_progress(&Progress {
            attempt: row.get(2)?,
            ladder_start: row.get(3)?,
            epoch: row.get(4)?,
            replay_of: row.get(5)?,
        });
        let handler = HandlerName::try_new(&handler)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into()))?;
        Ok(Job { id, handler, deliveries: row.get(1)?, message })
    })
}

fn give_back(tx: &Connection, job: i64) -> rusqlite::Result<usize> {
    tx.prepare_cached("UPDATE jobs SET taken = 0, deliveries = deliveries - 1 WHERE id = ?1 AND taken = 1")?
        .execute([job])
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

/// Up to a fifth longer, so that what failed together does not come back together.
fn jittered(delay: Duration) -> Duration {
    let mut byte = [0];
    match getrandom::fill(&mut byte) {
        Ok(()) => delay + delay.mul_f64(f64::from(byte[0]) / 255.0 / 5.0),
        Err(_) => delay,
    }
}

#[cfg(test)]
mod tests;
