//! The publishing end: one task, one connection, one channel in confirm mode.
//!
//! Only this task publishes on its channel: lapin numbers a publish before it queues the frames, so that two tasks on
//! one channel could swap their confirms. A confirm is believed only where no message was returned; see
//! [`super::confirms`]. Whatever goes wrong ends the link, and with it every publish in flight becomes "unknown".

use std::time::Duration;

use futures_util::StreamExt;
use lapin::Event as BrokerEvent;
use lapin::options::ConfirmSelectOptions;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::confirms::Confirms;
use super::link::{Events, Link};
use super::name::Names;
use super::outgoing::{Flown, Outcome, Outgoing, Request, SizeLimit, fly};
use super::supervisor::Supervisor;
use super::vital::Vital;
use super::{CLOSE_TIMEOUT, RabbitMqSettings};
use crate::event::Event;
use crate::health::{Health, HealthCell};
use crate::queue::{PublishError, Topology};
use crate::tasks::Tasks;
use crate::telemetry::chain;
use crate::wire::Message;

/// Publishes waiting for the task; one more is refused, since nothing would come of it within its deadline.
const WAITING_MAX: usize = 4_096;
/// Publishes sent and not confirmed: bounds memory, and how many outcomes a lost connection leaves unknown.
const IN_FLIGHT_MAX: usize = 4_096;
/// Requests taken at once before confirms are looked at again.
const TAKEN_MAX: usize = 64;
/// Confirms that may fail to come before the connection is replaced: lapin keeps each of them until then.
const LATE_CONFIRMS_MAX: u32 = 3;
/// Time for the broker to switch the channel to confirm mode.
const CONFIRM_SELECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes events; clones share one connection, which closes after the last of them is gone.
#[derive(Debug, Clone)]
pub struct RabbitMqPublisher {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<Health>,
    health: HealthCell,
    names: Names,
    closing: CancellationToken,
    closed: CancellationToken,
}

impl RabbitMqPublisher {
    /// Starts connecting, and returns at once.
    ///
    /// The connection outlives the shutdown of `tasks` until the last clone is gone or [`Self::close`] is called, so
    /// that requests under way can still be published.
    #[must_use]
    pub fn start(settings: &RabbitMqSettings, topology: &Topology, tasks: &Tasks) -> Self {
        let health = HealthCell::starting("rabbitmq");
        let [vital] = Vital::split(&health);
        Self::start_as_part(settings, topology, tasks, health, vital)
    }

    /// Starts as one of several connections behind `health`.
    pub(super) fn start_as_part(
        settings: &RabbitMqSettings,
        topology: &Topology,
        tasks: &Tasks,
        health: HealthCell,
        vital: Vital,
    ) -> Self {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let state = vital.watch();
        let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
        let task = Task {
            requests,
            supervisor: Supervisor::new(settings, topology, "publish", vital),
            closing: closing.clone(),
            size_limit: SizeLimit::default(),
            blocked: None,
            late_confirms: 0,
        };
        let (shutdown, ended) = (tasks.shutdown().clone(), closed.clone());
        tasks.spawn("rabbitmq publisher", async move {
            task.run().await;
            ended.cancel();
            shutdown.cancelled().await;
        });
        Self { requests: sender, state, health, names: Names::new(&topology.namespace), closing, closed }
    }

    /// Makes the event durable for every handler that wants it; has no deadline of its own.
    ///
    /// # Errors
    /// [`PublishError`] keeps "not kept" and "unknown" apart; only `Ok` may lead to a 2xx.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    pub async fn publish(&self, event: &Event) -> Result<(), PublishError> {
        let message = Message::first(event.clone()).encode();
        self.send(Outgoing::new(self.names.events(), event.routing_key(), &message)).await
    }

    /// Publishes and waits for the confirm.
    pub(super) async fn send(&self, outgoing: Outgoing) -> Result<(), PublishError> {
        {
            let state = self.state.borrow();
            if !state.is_up() {
                return Err(PublishError::Unavailable(state.to_string()));
            }
        }
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(Request { outgoing, answer }).map_err(|error| {
            PublishError::Unavailable(match error {
                mpsc::error::TrySendError::Full(_) => format!("{WAITING_MAX} publishes are waiting already"),
                mpsc::error::TrySendError::Closed(_) => "the publisher is closed".to_owned(),
            })
        })?;
        let lost = |_| Err(PublishError::OutcomeUnknown("the connection was lost before the confirm".to_owned()));
        answered.await.unwrap_or_else(lost)
    }

    /// The state of the connection.
    #[must_use]
    pub fn health(&self) -> &HealthCell {
        &self.health
    }

    /// Takes no more publishes, waits for those in flight and closes the connection.
    pub async fn close(&self) {
        self.closing.cancel();
        if tokio::time::timeout(CLOSE_TIMEOUT, self.closed.cancelled()).await.is_err() {
            tracing::warn!("the publisher did not close in time; what was in flight is unknown");
        }
    }
}

/// Why a link is not used any longer.
enum End {
    Closed,
    Lost(String),
}

struct Task {
    requests: mpsc::Receiver<Request>,
    supervisor: Supervisor,
    closing: CancellationToken,
    size_limit: SizeLimit,
    /// The alarm for which the broker takes no publishes.
    blocked: Option<String>,
    /// Confirms that did not come on this link.
    late_confirms: u32,
}

impl Task {
    async fn run(mut self) {
        while let Some((link, events)) = self.connect().await {
            let end = self.serve(&link, events).await;
            if let End::Lost(reason) = &end {
                // Before the link is closed, so that nobody waits for that.
                self.supervisor.lost(reason);
            }
            link.close().await;
            if matches!(end, End::Closed) {
                break;
            }
        }
        self.supervisor.vital().set(Health::Down("closed".to_owned()));
    }

    /// Connects; meanwhile whatever still waits is told that nothing was sent. `None` once closed.
    async fn connect(&mut self) -> Option<(Link, Events)> {
        let mut connecting = std::pin::pin!(self.supervisor.connect());
        loop {
            tokio::select! {
                connected = &mut connecting => return Some(connected),
                request = next_request(&mut self.requests, &self.closing) => {
                    request?.answer(Err(PublishError::Unavailable("not connected".to_owned())));
                }
            }
        }
    }

    async fn serve(&mut self, link: &Link, mut events: Events) -> End {
        let options = ConfirmSelectOptions { nowait: false /* nothing may be published before it is in force */ };
        match tokio::time::timeout(CONFIRM_SELECT_TIMEOUT, link.channel.confirm_select(options)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return End::Lost(chain(&error).to_string()),
            Err(_) => return End::Lost("the channel did not enter confirm mode in time".to_owned()),
        }
        (self.blocked, self.late_confirms) = (None, 0);
        self.supervisor.vital().set(Health::Up);
        let mut in_flight = Confirms::new();
        let mut open = true;
        while open || in_flight.len() > 0 {
            metrics::gauge!("tidegate_rabbitmq_publishes_in_flight").set(in_flight.len() as f64);
            tokio::select! {
                biased;
                event = events.next() => if let Err(reason) = self.hear(event) { return End::Lost(reason) },
                batch = in_flight.batch() => if let Err(reason) = self.answer(batch) { return End::Lost(reason) },
                request = next_request(&mut self.requests, &self.closing),
                    if open && in_flight.len() < IN_FLIGHT_MAX =>
                {
                    open = request.is_some();
                    let more = std::iter::from_fn(|| self.requests.try_recv().ok());
                    let taken: Vec<Request> = request.into_iter().chain(more).take(TAKEN_MAX).collect();
                    for request in taken.into_iter().filter_map(|request| self.admit(request, link)) {
                        in_flight.push(fly(link.channel.clone(), request));
                    }
                }
            }
        }
        End::Closed
    }

    /// Lets a request through that can be published now, and answers any other.
    fn admit(&self, request: Request, link: &Link) -> Option<Request> {
        if request.is_given_up() {
            return None;
        }
        let refusal = match &self.blocked {
            Some(reason) => Some(PublishError::Unavailable(format!("blocked: {reason}"))),
            None => self.size_limit.refuses(&request.outgoing, link.frame_max()).map(PublishError::Refused),
        };
        match refusal {
            None => Some(request),
            Some(refusal) => {
                request.answer(Err(refusal));
                None
            }
        }
    }

    fn hear(&mut self, event: Option<BrokerEvent>) -> Result<(), String> {
        match event {
            Some(BrokerEvent::ConnectionBlocked(reason)) => {
                self.supervisor.vital().set(Health::Blocked(reason.clone()));
                self.blocked = Some(reason);
            }
            Some(BrokerEvent::ConnectionUnblocked) => {
                self.blocked = None;
                self.supervisor.vital().set(Health::Up);
            }
            Some(BrokerEvent::Error(error)) => return Err(self.lost_by(&error)),
            None => return Err("the connection ended".to_owned()),
            // `Connected` says what we know; `SendFlow` is lapin's to obey.
            Some(_) => {}
        }
        Ok(())
    }

    /// Answers a whole batch. `Err` if the link must not be used any longer.
    fn answer(&mut self, batch: Vec<Flown>) -> Result<(), String> {
        let is_poisoned = batch.iter().any(|flown| matches!(flown.outcome, Outcome::Returned(_)));
        let mut lost = is_poisoned.then(|| "a message was returned: no queue takes it".to_owned());
        for flown in batch {
            let answer = match &flown.outcome {
                Outcome::Confirmed if !is_poisoned => {
                    self.size_limit.was_taken(flown.bytes);
                    Ok(())
                }
                Outcome::Confirmed => Err(unknown("another message was returned beside the confirm")),
                Outcome::Returned(returned) => {
                    metrics::counter!("tidegate_rabbitmq_returned_total").increment(1);
                    tracing::error!(%returned, "RabbitMQ returned a message: an exchange or queue is missing");
                    // Ours only if it says so: the confirm that carries it may be another's.
                    if returned.message_id == flown.message_id {
                        Err(PublishError::Refused(returned.to_string()))
                    } else {
                        Err(unknown("another message was returned with the confirm"))
                    }
                }
                Outcome::Refused => Err(PublishError::Refused("the queue is full".to_owned())),
                Outcome::Late => {
                    // While an alarm lasts, lateness says nothing about the connection.
                    self.late_confirms += u32::from(self.blocked.is_none());
                    if self.late_confirms >= LATE_CONFIRMS_MAX {
                        lost = Some(format!("{LATE_CONFIRMS_MAX} confirms did not come"));
                    }
                    Err(unknown("the confirm did not come"))
                }
                Outcome::Failed(error) => {
                    let reason = self.lost_by(error);
                    lost = Some(reason.clone());
                    Err(PublishError::OutcomeUnknown(reason))
                }
                Outcome::Unconfirmed => {
                    lost = Some("the channel is not in confirm mode".to_owned());
                    Err(unknown("the channel is not in confirm mode"))
                }
            };
            flown.answer(answer);
        }
        lost.map_or(Ok(()), Err)
    }

    fn lost_by(&mut self, error: &lapin::Error) -> String {
        self.size_limit.was_lost_by(error);
        chain(error).to_string()
    }
}

fn unknown(reason: &str) -> PublishError {
    PublishError::OutcomeUnknown(reason.to_owned())
}

/// The next request; once closing, those that still wait, then `None`.
async fn next_request(requests: &mut mpsc::Receiver<Request>, closing: &CancellationToken) -> Option<Request> {
    tokio::select! {
        request = requests.recv() => request,
        () = closing.cancelled() => {
            requests.close();
            requests.recv().await
        }
    }
}
