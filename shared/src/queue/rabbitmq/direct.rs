//! Publishing without lapin: one task that writes what waits in one go, and reads confirms by their numbers.
//!
//! lapin hands every frame to a thread of its own and back, which costs more than all the rest of receiving an event.
//! This speaks only what publishing needs, over plain TCP; the topology is declared by lapin before each connection, and
//! everything else on RabbitMQ stays lapin's. A returned message names itself, and comes before its own confirm, so
//! that nothing has to be guessed here. Whatever goes wrong ends the session, and every publish in flight is "unknown".

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::outgoing::{CONFIRM_TIMEOUT, SizeLimit};
use super::publishing::{IN_FLIGHT_MAX, LATE_CONFIRMS_MAX, TAKEN_MAX, next_request};
use super::supervisor::Supervisor;
use crate::event::EventKey;
use crate::health::Health;
use crate::queue::PublishError;
use crate::telemetry::chain;

mod encoded;
mod frame;
mod session;

pub(super) use encoded::Encoded;
use session::{Heard, Session, SessionError};

/// Bytes that may wait for the socket before no more publishes are taken.
const UNWRITTEN_MAX: usize = 1_024 * 1_024;
/// How often late confirms and signs of life are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// An event to be published, with who waits for its outcome.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) publish: Encoded,
    pub(super) answer: oneshot::Sender<Result<(), PublishError>>,
}

impl Request {
    fn answer(self, outcome: Result<(), PublishError>) {
        // The caller may be gone, and with it every use of the answer.
        drop(self.answer.send(outcome));
    }
}

/// The task behind a publisher that does without lapin.
pub(super) struct Direct {
    requests: mpsc::Receiver<Request>,
    supervisor: Supervisor,
    closing: CancellationToken,
    size_limit: SizeLimit,
    /// The alarm for which the broker takes no publishes.
    blocked: Option<String>,
}

/// Publishes that wait for their confirm, in the order of their numbers.
#[derive(Default)]
struct InFlight {
    /// The number of the first in `publishes`, from 1 on.
    first: u64,
    /// `None`: answered already.
    publishes: VecDeque<Option<Publish>>,
    /// Those that are not answered.
    waiting: usize,
    /// Confirms that did not come on this session.
    late: u32,
}

struct Publish {
    key: EventKey,
    bytes: usize,
    since: Instant,
    /// Why no queue takes it, if the broker said so.
    returned: Option<String>,
    answer: oneshot::Sender<Result<(), PublishError>>,
}

impl Publish {
    fn answer(self, outcome: Result<(), PublishError>) {
        // The caller may be gone, and with it every use of the answer.
        drop(self.answer.send(outcome));
    }
}

impl Direct {
    /// Will publish what comes through `requests`, until that is closed or `closing` is cancelled.
    pub(super) fn new(requests: mpsc::Receiver<Request>, supervisor: Supervisor, closing: CancellationToken) -> Self {
        Self { requests, supervisor, closing, size_limit: SizeLimit::default(), blocked: None }
    }

    /// Publishes, over as many sessions as it takes.
    pub(super) async fn run(mut self) {
        while let Some(mut session) = self.connect().await {
            let mut in_flight = InFlight { first: 1, ..InFlight::default() };
            match self.serve(&mut session, &mut in_flight).await {
                Ok(()) => {
                    session.close().await;
                    break;
                }
                // Before what is in flight is told, so that nobody who tries again at once meets this session.
                Err(reason) => self.supervisor.lost(&reason),
            }
        }
        self.supervisor.vital().set(Health::Closed);
    }

    /// Connects; meanwhile whatever still waits is told that nothing was sent. `None` once closed.
    async fn connect(&mut self) -> Option<Session> {
        let mut connecting = std::pin::pin!(open(&mut self.supervisor));
        loop {
            tokio::select! {
                session = &mut connecting => return Some(session),
                request = next_request(&mut self.requests, &self.closing) => {
                    request?.answer(Err(PublishError::Unavailable("not connected".to_owned())));
                }
            }
        }
    }

    /// Serves until closed. Whatever is in flight when this fails reads "unknown".
    async fn serve(&mut self, session: &mut Session, in_flight: &mut InFlight) -> Result<(), String> {
        self.blocked = None;
        self.supervisor.vital().set(Health::Up);
        let in_flight_now = metrics::gauge!("tidegate_rabbitmq_publishes_in_flight");
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        while open || in_flight.waiting > 0 {
            let has_room = in_flight.publishes.len() < IN_FLIGHT_MAX && session.unwritten() < UNWRITTEN_MAX;
            tokio::select! {
                biased;
                heard = session.hear() => {
                    let mut next = Some(heard.map_err(|error| self.lost_by(&error))?);
                    while let Some(heard) = next {
                        self.take_in(heard, in_flight)?;
                        next = session.heard_already();
                    }
                }
                request = next_request(&mut self.requests, &self.closing), if open && has_room => {
                    open = request.is_some();
                    let more = std::iter::from_fn(|| self.requests.try_recv().ok());
                    let taken: Vec<Request> = request.into_iter().chain(more).take(TAKEN_MAX).collect();
                    let now = Instant::now();
                    for request in taken {
                        if let Some(request) = self.admit(request, session.frame_max) {
                            session.put(&request.publish);
                            in_flight.push(request, now);
                        }
                    }
                    session.write_what_fits().map_err(|error| self.lost_by(&error))?;
                }
                now = look.tick() => {
                    in_flight_now.set(in_flight.waiting as f64);
                    // While an alarm lasts, lateness says nothing about the connection.
                    if in_flight.give_up_late(now, self.blocked.is_none()) {
                        return Err("the confirm did not come".to_owned());
                    }
                    session.keep_alive(now).map_err(|error| self.lost_by(&error))?;
                }
            }
        }
        Ok(())
    }

    /// Lets a request through that can be published now, and answers any other.
    fn admit(&self, request: Request, frame_max: usize) -> Option<Request> {
        if request.answer.is_closed() {
            return None;
        }
        let Encoded { header_bytes, body, .. } = &request.publish;
        let refusal = match &self.blocked {
            Some(reason) => Some(PublishError::Unavailable(format!("blocked: {reason}"))),
            None => self.size_limit.refuses(*header_bytes, body.len(), frame_max).map(PublishError::Refused),
        };
        match refusal {
            None => Some(request),
            Some(refusal) => {
                request.answer(Err(refusal));
                None
            }
        }
    }

    fn take_in(&mut self, heard: Heard, in_flight: &mut InFlight) -> Result<(), String> {
        match heard {
            Heard::Ack { tag, multiple } => {
                let mut returned = None;
                for publish in in_flight.take(tag, multiple)? {
                    match publish.returned.clone() {
                        None => {
                            self.size_limit.was_taken(publish.bytes);
                            publish.answer(Ok(()));
                        }
                        Some(reason) => {
                            // Its exchange or queue is missing: a new session declares them first.
                            self.supervisor.vital().set(Health::Down(reason.clone()));
                            publish.answer(Err(PublishError::Refused(reason.clone())));
                            returned = Some(reason);
                        }
                    }
                }
                returned.map_or(Ok(()), Err)
            }
            Heard::Nack { tag, multiple } => {
                for publish in in_flight.take(tag, multiple)? {
                    publish.answer(Err(PublishError::Refused("a queue is full, or has no leader".to_owned())));
                }
                Ok(())
            }
            Heard::Returned { message_id, reason } => {
                metrics::counter!("tidegate_rabbitmq_returned_total").increment(1);
                tracing::error!(message_id, reason, "RabbitMQ returned a message: an exchange or queue is missing");
                in_flight.mark_returned(&message_id, &reason)
            }
            Heard::Blocked(reason) => {
                self.supervisor.vital().set(Health::Blocked(reason.clone()));
                self.blocked = Some(reason);
                Ok(())
            }
            Heard::Unblocked => {
                self.blocked = None;
                self.supervisor.vital().set(Health::Up);
                Ok(())
            }
        }
    }

    fn lost_by(&mut self, error: &SessionError) -> String {
        self.size_limit.was_lost_with(error.reply_code());
        chain(error).to_string()
    }
}

/// Declares the topology, then opens a session at the node that has it.
async fn open(supervisor: &mut Supervisor) -> Session {
    loop {
        let (link, _events) = supervisor.connect().await;
        link.close().await;
        match Session::open(supervisor.connected_to(), supervisor.name()).await {
            Ok(session) => return session,
            Err(error) => supervisor.lost(&chain(&error).to_string()),
        }
    }
}

impl InFlight {
    fn push(&mut self, Request { publish, answer }: Request, since: Instant) {
        let Encoded { key, body, .. } = publish;
        self.publishes.push_back(Some(Publish { key, bytes: body.len(), since, returned: None, answer }));
        self.waiting += 1;
    }

    /// Takes out the publishes that a confirm is about.
    fn take(&mut self, tag: u64, multiple: bool) -> Result<Vec<Publish>, String> {
        let end = self.first + self.publishes.len() as u64;
        if tag < self.first || tag >= end {
            return Err(format!("the broker confirmed {tag}, which is not in flight"));
        }
        let place = usize::try_from(tag - self.first).map_err(|error| error.to_string())?;
        let taken: Vec<Publish> = if multiple {
            self.first += place as u64 + 1;
            self.publishes.drain(..=place).flatten().collect()
        } else {
            let taken = self.publishes[place].take();
            while let Some(None) = self.publishes.front() {
                self.publishes.pop_front();
                self.first += 1;
            }
            taken.into_iter().collect()
        };
        self.waiting -= taken.len();
        Ok(taken)
    }

    /// Notes why no queue takes a message. Twins of it in flight count as returned too: none of them may be accepted.
    fn mark_returned(&mut self, message_id: &str, reason: &str) -> Result<(), String> {
        let mut is_known = false;
        for publish in self.publishes.iter_mut().flatten().filter(|publish| publish.key.to_hex().as_str() == message_id)
        {
            publish.returned = Some(reason.to_owned());
            is_known = true;
        }
        if is_known { Ok(()) } else { Err(format!("a message came back that is not in flight: {reason}")) }
    }

    /// Answers those that have waited for too long. Says whether so many were late that the session must go.
    fn give_up_late(&mut self, now: Instant, counts: bool) -> bool {
        for place in &mut self.publishes {
            match place {
                None => {}
                Some(publish) if now.duration_since(publish.since) < CONFIRM_TIMEOUT => break,
                Some(_) => {
                    let Some(late) = place.take() else { continue };
                    late.answer(Err(PublishError::OutcomeUnknown("the confirm did not come".to_owned())));
                    self.waiting -= 1;
                    self.late += u32::from(counts);
                }
            }
        }
        self.late >= LATE_CONFIRMS_MAX
    }
}

#[cfg(test)]
mod tests;
