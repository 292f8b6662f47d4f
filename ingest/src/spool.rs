//! Spool: makes an event that the broker does not confirm durable on this machine.

use tidegate_shared::claims::Claims;
use tidegate_shared::protocol::spool::{AfterSpool, after_spool};
use tidegate_shared::queue::PublishError;
use tidegate_shared::spool::Spool;
use tidegate_shared::telemetry::chain;

use crate::claim::ClaimedEvent;
use crate::publish::{Accepted, Publish, PublishFailure};

/// An event that is fsynced on this machine. Built only by [`ClaimedEvent::spool`].
#[derive(Debug)]
pub struct SpooledEvent {
    claimed: ClaimedEvent,
    first_time: bool,
}

impl ClaimedEvent {
    /// Keeps the event in the spool; `unpublished` is why it has to be.
    ///
    /// # Errors
    /// [`PublishFailure`] gives the claim back: a 2xx is out of reach.
    pub(crate) async fn spool(self, spool: &Spool, unpublished: PublishError) -> Result<Publish, PublishFailure> {
        let kept = after_spool(spool.keep(&self.event, self.source.config.dedup_window).await);
        let outcome = match &kept {
            AfterSpool::Accept => "spooled",
            AfterSpool::AnswerDuplicate => "duplicate",
            AfterSpool::Separate => "conflict",
            AfterSpool::Refuse(error) => error.outcome(),
        };
        metrics::counter!("tidegate_spool_total", "source" => self.event.source.to_string(), "outcome" => outcome)
            .increment(1);
        match kept {
            AfterSpool::Accept => Ok(Publish::Spooled(SpooledEvent { claimed: self, first_time: true })),
            AfterSpool::AnswerDuplicate => Ok(Publish::Spooled(SpooledEvent { claimed: self, first_time: false })),
            AfterSpool::Separate => Ok(Publish::Conflict(self)),
            AfterSpool::Refuse(error) => {
                tracing::debug!(error = %chain(&error), "an event is not in the spool");
                Err(PublishFailure { claimed: self, error: unpublished, spool: Some(error) })
            }
        }
    }
}

impl SpooledEvent {
    /// Gives the claim up, which says nothing false to anybody; `tidegate_shared::protocol::spool` says why.
    pub(crate) async fn accept(self, claims: &Claims) -> Accepted {
        let Self { claimed, first_time } = self;
        claimed.release(claims).await;
        Accepted::spooled(&claimed.event, first_time)
    }
}
