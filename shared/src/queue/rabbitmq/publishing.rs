//! The one task that publishes: one connection, one channel in confirm mode.
//!
//! Only this task publishes on its channel: lapin numbers a publish before it queues the frames, so that two tasks on
//! one channel could swap their confirms. A confirm is believed only where no message was returned; see
//! [`super::confirms`]. Whatever goes wrong ends the link, and with it every publish in flight becomes "unknown".

use std::time::Duration;

use futures_util::StreamExt;
use lapin::Event as BrokerEvent;
use lapin::options::ConfirmSelectOptions;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::confirms::Confirms;
use super::link::{Events, Link, reply_code};
use super::outgoing::{Flown, Outcome, Request, Returned, SizeLimit, fly};
use super::supervisor::Supervisor;
use crate::health::Health;
use crate::queue::PublishError;
use crate::telemetry::chain;

/// Publishes sent and not confirmed: bounds memory, and how many outcomes a lost connection leaves unknown.
pub(super) const IN_FLIGHT_MAX: usize = 4_096;
/// Requests taken at once before confirms are looked at again.
pub(super) const TAKEN_MAX: usize = 64;
/// Confirms that may fail to come before the connection is replaced: lapin keeps each of them until then.
pub(super) const LATE_CONFIRMS_MAX: u32 = 3;
/// Time for the broker to switch the channel to confirm mode.
const CONFIRM_SELECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a link is not used any longer.
enum End {
    Closed,
    Lost(String),
}

/// The task behind every [`super::RabbitMqPublisher`].
pub(super) struct Publishing {
    requests: mpsc::Receiver<Request>,
    supervisor: Supervisor,
    closing: CancellationToken,
    size_limit: SizeLimit,
    /// The alarm for which the broker takes no publishes.
    blocked: Option<String>,
    /// Confirms that did not come on this link.
    late_confirms: u32,
}

impl Publishing {
    /// Will publish what comes through `requests`, until that is closed or `closing` is cancelled.
    pub(super) fn new(requests: mpsc::Receiver<Request>, supervisor: Supervisor, closing: CancellationToken) -> Self {
        Self { requests, supervisor, closing, size_limit: SizeLimit::default(), blocked: None, late_confirms: 0 }
    }

    /// Publishes, over as many links as it takes.
    pub(super) async fn run(mut self) {
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
        self.supervisor.vital().set(Health::Closed);
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
        // Whatever is in flight when this returns reads "unknown".
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
            None => {
                let (header_bytes, body_bytes) = request.outgoing.sizes();
                self.size_limit.refuses(header_bytes, body_bytes, link.frame_max()).map(PublishError::Refused)
            }
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
        let answers: Vec<_> = batch
            .into_iter()
            .map(|flown| {
                let answer = match &flown.outcome {
                    Outcome::Confirmed if is_poisoned => {
                        Err(unknown("another message was returned beside the confirm"))
                    }
                    Outcome::Confirmed => {
                        self.size_limit.was_taken(flown.bytes);
                        Ok(())
                    }
                    Outcome::Returned(returned) => Err(returned_with(&flown, returned)),
                    Outcome::Refused => Err(PublishError::Refused("a queue is full, or has no leader".to_owned())),
                    Outcome::Late | Outcome::Failed(_) | Outcome::Unconfirmed => {
                        let (reason, is_lost) = self.trouble(&flown.outcome);
                        lost = lost.take().or(is_lost.then(|| reason.clone()));
                        Err(PublishError::OutcomeUnknown(reason))
                    }
                };
                (flown, answer)
            })
            .collect();
        if let Some(reason) = &lost {
            // Before anybody is answered, so that nobody who tries again at once meets this link.
            self.supervisor.vital().set(Health::Down(reason.clone()));
        }
        for (flown, answer) in answers {
            flown.answer(answer);
        }
        lost.map_or(Ok(()), Err)
    }

    /// Why there is no confirm, and whether the link must go for it.
    fn trouble(&mut self, outcome: &Outcome) -> (String, bool) {
        match outcome {
            Outcome::Failed(error) => (self.lost_by(error), true),
            Outcome::Unconfirmed => ("the channel is not in confirm mode".to_owned(), true),
            Outcome::Late | Outcome::Confirmed | Outcome::Returned(_) | Outcome::Refused => {
                // While an alarm lasts, lateness says nothing about the connection.
                self.late_confirms += u32::from(self.blocked.is_none());
                ("the confirm did not come".to_owned(), self.late_confirms >= LATE_CONFIRMS_MAX)
            }
        }
    }

    fn lost_by(&mut self, error: &lapin::Error) -> String {
        self.size_limit.was_lost_with(reply_code(error));
        chain(error).to_string()
    }
}

/// What the caller learns whose confirm came with a returned message.
fn returned_with(flown: &Flown, returned: &Returned) -> PublishError {
    metrics::counter!("tidegate_rabbitmq_returned_total").increment(1);
    tracing::error!(%returned, "RabbitMQ returned a message: an exchange or queue is missing");
    // Its own only if it says so: the confirm that carries a returned message may be another's.
    if returned.message_id == flown.message_id {
        PublishError::Refused(returned.to_string())
    } else {
        unknown("another message was returned with the confirm")
    }
}

fn unknown(reason: &str) -> PublishError {
    PublishError::OutcomeUnknown(reason.to_owned())
}

/// The next request; once closing, those that still wait, then `None`.
pub(super) async fn next_request<T>(requests: &mut mpsc::Receiver<T>, closing: &CancellationToken) -> Option<T> {
    tokio::select! {
        request = requests.recv() => request,
        () = closing.cancelled() => {
            requests.close();
            requests.recv().await
        }
    }
}
