//! Makes links, again and again: one code path for the first connection and for every later one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::uri::AMQPUri;

use super::link::{Events, Link, LinkError};
use super::topology::{Object, objects};
use super::vital::Vital;
use super::{RabbitMqSettings, random};
use crate::health::Health;
use crate::queue::Topology;
use crate::telemetry::chain;

/// Pause before the second attempt; doubles with every further one.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A link that lived this long worked: the pauses begin anew after it.
const PROVEN_AFTER: Duration = Duration::from_secs(10);

/// What a link is made of, and how often that has been tried.
#[derive(Debug)]
pub(super) struct Supervisor {
    uris: Arc<[AMQPUri]>,
    /// What the broker's listings show.
    name: String,
    role: &'static str,
    objects: Arc<[Object]>,
    vital: Vital,
    /// Which node is tried next: never the one that was just lost or did not answer, if there is another.
    turn: usize,
    /// Attempts since the last link that lived long enough.
    attempts: u32,
    since: Option<Instant>,
}

impl Supervisor {
    /// Will connect as `role`, such as "publish".
    pub(super) fn new(settings: &RabbitMqSettings, topology: &Topology, role: &'static str, vital: Vital) -> Self {
        Self {
            uris: Arc::clone(&settings.uris),
            name: format!("{} {role}", topology.namespace),
            role,
            objects: objects(topology).into(),
            vital,
            turn: 0,
            attempts: 0,
            since: None,
        }
    }

    /// Connects, however long it takes. The caller says when the link is usable.
    ///
    /// # Cancel safety
    /// Cancel safe: an attempt under way is given up and its connection closed.
    pub(super) async fn connect(&mut self) -> (Link, Events) {
        let mut told = false;
        loop {
            if self.attempts > 0 {
                tokio::time::sleep(backoff(self.attempts, random())).await;
            }
            let uri = &self.uris[self.turn % self.uris.len()];
            self.turn = self.turn.wrapping_add(1);
            self.attempts = self.attempts.saturating_add(1);
            match Link::open(uri, &self.name, &self.objects).await {
                Ok(connected) => {
                    if self.since.replace(Instant::now()).is_some() {
                        metrics::counter!("tidegate_rabbitmq_reconnects_total", "connection" => self.role).increment(1);
                    }
                    return connected;
                }
                Err(error) => {
                    self.tell(&error, told);
                    told = true;
                }
            }
        }
    }

    /// Where the last link that was made leads to.
    pub(super) fn connected_to(&self) -> &AMQPUri {
        &self.uris[self.turn.wrapping_sub(1) % self.uris.len()]
    }

    /// Whether there is another node to go to.
    pub(super) fn has_choice(&self) -> bool {
        self.uris.len() > 1
    }

    /// What the broker's listings show.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What every link declares, for declaring it again where a queue was found missing.
    pub(super) fn objects(&self) -> Arc<[Object]> {
        Arc::clone(&self.objects)
    }

    /// The state of the connection that this makes.
    pub(super) fn vital(&self) -> &Vital {
        &self.vital
    }

    /// Says that the link is lost, and gets ready for the next.
    pub(super) fn lost(&mut self, reason: &str) {
        tracing::warn!(connection = self.role, reason, "lost the connection to RabbitMQ");
        self.vital.set(Health::Down(reason.to_owned()));
        if self.since.is_some_and(|since| since.elapsed() >= PROVEN_AFTER) {
            self.attempts = 0;
        }
    }

    fn tell(&self, error: &LinkError, told: bool) {
        let reason = chain(error).to_string();
        let needs_somebody = matches!(error, LinkError::OtherArguments { .. } | LinkError::Refused { .. });
        if needs_somebody && !told {
            tracing::error!(connection = self.role, reason, "the topology cannot be declared");
        } else {
            tracing::debug!(connection = self.role, reason, attempts = self.attempts, "not connected");
        }
        self.vital.set(Health::Down(reason));
    }
}

/// Between half of the pause and all of it, so that processes which lost one broker do not come back in step.
fn backoff(attempts: u32, dice: u32) -> Duration {
    let full = BACKOFF_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(BACKOFF_MAX);
    full / 2 + (full / 2).mul_f64(f64::from(dice) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_cap() {
        let check = |attempts, shortest, longest| {
            assert_eq!(backoff(attempts, 0), Duration::from_millis(shortest));
            assert_eq!(backoff(attempts, u32::MAX), Duration::from_millis(longest));
        };
        check(1, 50, 100);
        check(2, 100, 200);
        check(6, 1_600, 3_200);
        check(7, 2_500, 5_000);
        check(u32::MAX, 2_500, 5_000);
    }
}
