//! Claim: one request per event goes on to the queue; its twins wait for the outcome.
//!
//! What counts as the same event is its key (source and event id), compared with the body's hash: the same id with
//! another body is never dropped as a duplicate.

use std::sync::Arc;
use std::time::Duration;

use tidegate_shared::claims::{ClaimToken, Claims, ClaimsError, Decision};
use tidegate_shared::config::{OnUnavailable, SourceConfig};
use tidegate_shared::event::Event;
use tidegate_shared::telemetry::chain;
use tokio::time::Instant;

use crate::publish::Accepted;
use crate::receive::DoorLimits;
use crate::verify::VerifiedEvent;

/// A twin looks for the outcome of the first request this often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// An event that this request may publish. Built only by [`VerifiedEvent::claim`].
#[derive(Debug)]
pub struct ClaimedEvent {
    pub(crate) event: Event,
    pub(crate) source: Arc<SourceConfig>,
    /// `None` if the claims could not be asked and the event goes on unclaimed.
    token: Option<ClaimToken>,
}

/// What the claim said.
#[derive(Debug)]
pub enum Claim {
    /// Publish it.
    Fresh(ClaimedEvent),
    /// It is durable already.
    AlreadyAccepted(Accepted),
    /// Another event with its id is durable already.
    Conflict(VerifiedEvent),
}

/// Why nothing was claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another request holds the claim and has not finished.
    #[error("another request is receiving this event")]
    InFlight,
    /// The claims cannot be asked, and the configuration says to refuse then.
    #[error("the claims cannot be asked")]
    Unavailable(#[source] ClaimsError),
}

impl VerifiedEvent {
    /// Claims the event; if another request holds it, waits for the outcome.
    ///
    /// # Errors
    /// [`ClaimError`]: the sender must try again later.
    pub(crate) async fn claim(self, claims: &Claims, limits: &DoorLimits) -> Result<Claim, ClaimError> {
        let token = ClaimToken::generate();
        let give_up = Instant::now() + limits.claim_wait;
        loop {
            let decided = claims.claim(&self.event.key, token, &self.event.fingerprint, limits.claim_lease).await;
            match decided {
                Ok(Decision::Fresh) => return Ok(Claim::Fresh(self.claimed(Some(token)))),
                Ok(Decision::Duplicate) => {
                    self.count("duplicate");
                    return Ok(Claim::AlreadyAccepted(Accepted::duplicate(&self.event)));
                }
                Ok(Decision::Conflict) => {
                    self.count("conflict");
                    return Ok(Claim::Conflict(self));
                }
                Ok(Decision::InFlight) if Instant::now() + LOOK_EVERY < give_up => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Ok(Decision::InFlight) => {
                    self.count("in_flight");
                    return Err(ClaimError::InFlight);
                }
                Err(error) => return self.claim_without_claims(error, limits.on_unavailable),
            }
        }
    }

    /// Without the claims nothing is unsafe: an event may be queued twice, and the worker's inbox drops the twin.
    fn claim_without_claims(self, error: ClaimsError, on: OnUnavailable) -> Result<Claim, ClaimError> {
        match on {
            OnUnavailable::Accept => {
                tracing::debug!(error = %chain(&error), "an event goes on unclaimed");
                Ok(Claim::Fresh(self.claimed(None)))
            }
            OnUnavailable::Reject => {
                self.count("unavailable");
                Err(ClaimError::Unavailable(error))
            }
        }
    }

    fn claimed(self, token: Option<ClaimToken>) -> ClaimedEvent {
        self.count(if token.is_some() { "fresh" } else { "unclaimed" });
        ClaimedEvent { event: self.event, source: self.source, token }
    }

    fn count(&self, outcome: &'static str) {
        metrics::counter!("tidegate_claim_total", "source" => self.event.source.to_string(), "outcome" => outcome)
            .increment(1);
    }
}

impl ClaimedEvent {
    /// Gives the claim up, so that the sender's next try need not wait for the lease to end.
    pub(crate) async fn release(self, claims: &Claims) {
        if let Some(token) = self.token
            && let Err(error) = claims.release(&self.event.key, token).await
        {
            tracing::debug!(error = %chain(&error), "a claim was not released; it ends with its lease");
        }
    }

    pub(crate) fn into_verified(self) -> VerifiedEvent {
        VerifiedEvent { event: self.event, source: self.source }
    }
}
