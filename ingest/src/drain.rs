//! Drain: publishes what waits in the spool once the broker is back, the oldest first, along the path of every event.
//!
//! In steps: the next few events are claimed, published in their order, and taken out once each is confirmed. Trouble
//! makes the steps as small as one event, so that one which the broker does not take is found and moved behind the
//! others. New events do not wait for the drain: order is not promised, and the door would stand still for it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tidegate_shared::claims::ClaimToken;
use tidegate_shared::event::Event;
use tidegate_shared::protocol::spool::{
    AfterDrain, AfterDrainClaim, Company, after_drain, after_drain_claim, next_width,
};
use tidegate_shared::queue::{PublishError, Stored};
use tidegate_shared::spool::{Slot, Spool, Waiting};
use tidegate_shared::store::StoreError;
use tidegate_shared::telemetry::chain;
use tokio::time::Instant;

use crate::receive::Door;

/// Between two looks at an idle spool; as old is at most what the metrics say.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at the slots of other processes.
const ADOPT_EVERY: Duration = Duration::from_secs(5);
/// After a step with trouble.
const PAUSE: Duration = Duration::from_millis(250);

/// The task that empties the spool.
pub(crate) struct Drain {
    door: Arc<Door>,
    spool: Spool,
    width: usize,
}

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing to do now.
    Idle,
    /// Every event of it went.
    Went,
    /// At least one did not.
    Trouble,
}

/// An event on its way through a step.
struct Draining {
    waiting: Waiting,
    state: State,
}

enum State {
    /// To be published, with the claim if there is one.
    Publish(Box<Event>, Option<ClaimToken>),
    /// Waits behind the others, for this reason.
    Behind(String),
    Stay,
    Remove,
}

impl Drain {
    pub(crate) fn new(door: Arc<Door>, spool: Spool) -> Self {
        Self { door, spool, width: 1 }
    }

    /// Drains until the shutdown. A step that was begun is finished, so that no claim is left standing.
    pub(crate) async fn run(mut self) {
        let shutdown = self.door.tasks.shutdown().clone();
        let mut adopt_at = Instant::now();
        while !shutdown.is_cancelled() {
            if Instant::now() >= adopt_at {
                self.spool.adopt().await;
                adopt_at = Instant::now() + ADOPT_EVERY;
            }
            let pause = match self.step_everywhere().await {
                Step::Went => Duration::ZERO,
                Step::Trouble => PAUSE,
                Step::Idle => LOOK_EVERY,
            };
            show(&self.spool);
            if !pause.is_zero() {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = self.door.drain_now.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }

    async fn step_everywhere(&mut self) -> Step {
        let mut all = Step::Idle;
        for slot in self.spool.slots() {
            let step = self.step(&slot).await.unwrap_or_else(|error| {
                tracing::warn!(error = %chain(&error), slot = slot.number(), "the spool cannot be drained; trying again");
                Step::Trouble
            });
            if step != Step::Idle {
                self.width = next_width(self.width, step == Step::Went);
                all = if all == Step::Trouble { all } else { step };
            }
        }
        all
    }

    async fn step(&self, slot: &Slot) -> Result<Step, StoreError> {
        slot.look().await?;
        if slot.figures().events == 0 || !self.door.parts.publisher.health().get().is_up() {
            return Ok(Step::Idle);
        }
        let waiting = slot.next(self.width).await?;
        if waiting.is_empty() {
            return Ok(Step::Idle);
        }
        let company = if waiting.len() == 1 { Company::Alone } else { Company::Together };
        let claimed = join_all(waiting.into_iter().map(|waiting| self.claim(waiting))).await;
        // Each is handed to the publisher at its first poll, and those follow the order of the events.
        let published = join_all(claimed.into_iter().map(|draining| self.publish(draining, company))).await;
        settle(slot, published).await
    }

    async fn claim(&self, waiting: Waiting) -> Draining {
        let state = match &waiting.event {
            Ok(event) => self.claim_event(event.clone()).await,
            // Perhaps a later build wrote it and will read it.
            Err(error) => State::Behind(chain(error).to_string()),
        };
        Draining { waiting, state }
    }

    async fn claim_event(&self, event: Event) -> State {
        let mut event = event;
        // A conflict's own key holds the hash of the body, so that it cannot conflict again.
        for _ in 0..2 {
            let token = ClaimToken::generate();
            let limits = &self.door.limits;
            let asked = self.door.parts.claims.claim(&event.key, token, event.known_by(), limits.claim_lease).await;
            match after_drain_claim(asked.ok(), limits.on_unavailable) {
                AfterDrainClaim::Publish => return State::Publish(Box::new(event), Some(token)),
                AfterDrainClaim::PublishUnclaimed => return State::Publish(Box::new(event), None),
                AfterDrainClaim::Remove => return State::Remove,
                AfterDrainClaim::Separate => event = event.into_conflict(),
                AfterDrainClaim::Behind => return State::Behind("another request holds its claim".to_owned()),
                AfterDrainClaim::Stay => return State::Stay,
            }
        }
        State::Behind("its id has had two other bodies".to_owned())
    }

    async fn publish(&self, draining: Draining, company: Company) -> Draining {
        let Draining { waiting, state } = draining;
        let State::Publish(event, token) = state else { return Draining { waiting, state } };
        let (parts, deadline) = (&self.door.parts, self.door.limits.publish_timeout);
        let outcome = parts.publisher.publish(&event, waiting.window, deadline).await;
        let step = after_drain(&outcome, company);
        if step == AfterDrain::CommitAndRemove {
            if let Err(error) = parts.claims.accept(&event.key, event.known_by(), waiting.window).await {
                tracing::debug!(error = %chain(&error), event_id = %event.id, "a drained event is not marked in the claims");
            }
        } else if let Some(token) = token
            && let Err(error) = parts.claims.release(&event.key, token).await
        {
            tracing::debug!(error = %chain(&error), "a claim was not released; it ends with its lease");
        }
        let state = match step {
            AfterDrain::CommitAndRemove => State::Remove,
            AfterDrain::Stay => State::Stay,
            AfterDrain::Behind => State::Behind(reason(outcome)),
        };
        Draining { waiting, state }
    }
}

fn reason(outcome: Result<Stored, PublishError>) -> String {
    outcome.err().map_or_else(String::new, |error| error.to_string())
}

/// Writes down what became of each event of a step.
async fn settle(slot: &Slot, step: Vec<Draining>) -> Result<Step, StoreError> {
    let (mut gone, mut all_went) = (Vec::new(), true);
    for Draining { waiting, state } in step {
        match state {
            State::Remove => gone.push(waiting.id),
            State::Behind(reason) => {
                all_went = false;
                metrics::counter!("tidegate_spool_drained_total", "outcome" => "behind").increment(1);
                tracing::warn!(
                    reason,
                    tries = waiting.tries + 1,
                    slot = slot.number(),
                    id = waiting.id,
                    "a spooled event waits behind the others"
                );
                slot.put_behind(&waiting, reason).await?;
            }
            State::Publish(..) | State::Stay => all_went = false,
        }
    }
    let went = gone.len() as u64;
    if went > 0 {
        slot.remove(gone).await?;
        metrics::counter!("tidegate_spool_drained_total", "outcome" => "drained").increment(went);
    }
    Ok(if all_went { Step::Went } else { Step::Trouble })
}

fn show(spool: &Spool) {
    let figures = spool.figures();
    metrics::gauge!("tidegate_spool_events").set(figures.events as f64);
    metrics::gauge!("tidegate_spool_behind_events").set(figures.behind as f64);
    metrics::gauge!("tidegate_spool_bytes").set(figures.bytes as f64);
    metrics::gauge!("tidegate_spool_bytes_max").set(figures.bytes_max as f64);
    metrics::gauge!("tidegate_spool_oldest_age_seconds").set(figures.oldest_age_seconds);
    metrics::gauge!("tidegate_spool_age_max_seconds").set(figures.age_max_seconds);
}
