//! Claim: one request per event goes on to the queue; its twins wait for the outcome.
//!
//! What counts as the same event is its key (source and event id), compared with the body's hash: the same id with
//! another body is never dropped as a duplicate.

use std::sync::Arc;
use std::time::Duration;

use tidegate_shared::claims::{ClaimToken, Claims, ClaimsError};
use tidegate_shared::event::Event;
use tidegate_shared::protocol::{AfterClaim, Patience, after_claim};
use tidegate_shared::telemetry::chain;
use tokio::time::Instant;

use crate::publish::Accepted;
use crate::receive::DoorLimits;
use crate::source::Source;
use crate::verify::VerifiedEvent;

/// A twin looks for the outcome of the first request this often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// An event that this request may publish. Built only by [`VerifiedEvent::claim`].
#[derive(Debug)]
pub struct ClaimedEvent {
    pub(crate) event: Box<Event>,
    pub(crate) source: Arc<Source>,
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
    Unavailable(#[source] Option<ClaimsError>),
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
            let asked = claims.claim(&self.event.key, token, self.event.known_by(), limits.claim_lease).await;
            match after_claim(asked.as_ref().ok().copied(), patience(Instant::now(), give_up), limits.on_unavailable) {
                AfterClaim::Publish => return Ok(Claim::Fresh(self.claimed(Some(token)))),
                AfterClaim::PublishUnclaimed => return Ok(Claim::Fresh(self.claimed(None))),
                AfterClaim::AnswerDuplicate => {
                    self.count("duplicate");
                    return Ok(Claim::AlreadyAccepted(Accepted::duplicate(&self.event)));
                }
                AfterClaim::Separate => {
                    self.count("conflict");
                    return Ok(Claim::Conflict(self));
                }
                AfterClaim::LookAgain => tokio::time::sleep(LOOK_EVERY).await,
                AfterClaim::RefuseInFlight => {
                    self.count("in_flight");
                    return Err(ClaimError::InFlight);
                }
                AfterClaim::RefuseUnavailable => {
                    self.count("unavailable");
                    return Err(ClaimError::Unavailable(asked.err()));
                }
            }
        }
    }

    fn claimed(self, token: Option<ClaimToken>) -> ClaimedEvent {
        self.count(if token.is_some() { "fresh" } else { "unclaimed" });
        ClaimedEvent { event: self.event, source: self.source, token }
    }

    fn count(&self, outcome: &'static str) {
        self.source.counts.claim.count(outcome);
    }
}

/// Whether another look would still come before it is time to give up.
fn patience(now: Instant, give_up: Instant) -> Patience {
    if now + LOOK_EVERY < give_up { Patience::Left } else { Patience::Over }
}

impl ClaimedEvent {
    /// Gives the claim up, so that the sender's next try need not wait for the lease to end.
    pub(crate) async fn release(&self, claims: &Claims) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_would_come_too_late_is_not_waited_for() {
        let give_up = Instant::now() + Duration::from_secs(60);
        let judge = |left: Duration| patience(give_up - left, give_up);
        assert_eq!(judge(Duration::from_secs(1)), Patience::Left);
        assert_eq!(judge(LOOK_EVERY + Duration::from_millis(1)), Patience::Left);
        assert_eq!(judge(LOOK_EVERY), Patience::Over);
        assert_eq!(judge(Duration::from_millis(1)), Patience::Over);
        assert_eq!(patience(give_up + Duration::from_secs(1), give_up), Patience::Over);
    }
}
