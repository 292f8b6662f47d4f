//! Replay: notices a body that comes again under another id, of sources whose signature does not hold the id.
//!
//! Somebody who has seen one request of such a source can send it again under an id of their own, and it verifies. But two
//! true events can have one body too: so it is counted and logged, and refused only where the source asks for that.
//!
//! It stands beside the claim on the event and weakens nothing of it. Refused is only what the event's own claim calls
//! fresh and whose body is durable under another id already: what it asks for is done once, under the id that came first.
//! Whose request that was cannot be known. A stranger whose copy overtook the sender's own has that one refused.
//! What cannot be asked lets the event through.

use std::sync::Arc;

use tidegate_shared::claims::{BodyClaim, Claims, ClaimsError};
use tidegate_shared::config::OnReplay;
use tidegate_shared::event::RequestId;
use tidegate_shared::telemetry::chain;

use crate::claim::ClaimedEvent;
use crate::error::IngestError;
use crate::publish::Accepted;
use crate::receive::Door;
use crate::source::Source;

/// What is to be kept of an event's body once the event is durable; nothing of a source that need not be looked at.
pub(crate) struct BodyToKeep(Option<(Arc<Source>, BodyClaim, RequestId)>);

impl ClaimedEvent {
    /// Refuses the event, and gives its claim up, if its source refuses replays and the body is durable under another id.
    ///
    /// # Errors
    /// [`IngestError::Replayed`]
    pub(crate) async fn refuse_replay(self, claims: &Claims) -> Result<Self, IngestError> {
        match self.source.config.replay {
            OnReplay::Reject => {}
            OnReplay::Count | OnReplay::Off => return Ok(self),
        }
        match claims.first_with_body(&BodyClaim::of(&self.event)).await {
            Ok(None) => Ok(self),
            Ok(Some(first)) => {
                count(&self.source);
                self.release(claims).await;
                Err(IngestError::Replayed { event_id: self.event.id, first })
            }
            Err(error) => {
                not_asked(&self.source, &error);
                Ok(self)
            }
        }
    }

    /// What [`Door::keep_body`] needs of it: the event itself is gone by then.
    pub(crate) fn body_to_keep(&self) -> BodyToKeep {
        let is_watched = match self.source.config.replay {
            OnReplay::Count | OnReplay::Reject => true,
            OnReplay::Off => false,
        };
        let keep = || (Arc::clone(&self.source), BodyClaim::of(&self.event), self.event.request_id.clone());
        BodyToKeep(is_watched.then(keep))
    }
}

impl Door {
    /// Keeps the body of an event that is durable. A source that refuses replays waits for it, so that the sender's answer
    /// comes after it; any other does not.
    pub(crate) async fn keep_body(&self, accepted: Accepted, BodyToKeep(kept): BodyToKeep) -> Accepted {
        let Some((source, claim, request_id)) = kept else { return accepted };
        let claims = self.parts.claims.clone();
        if source.config.replay == OnReplay::Reject {
            keep(&claims, &source, &claim, &request_id).await;
        } else {
            // One for each event that was accepted, and over within `claims.timeout` or with the store's next commits.
            drop(self.tasks.spawn_job(async move { keep(&claims, &source, &claim, &request_id).await }));
        }
        accepted
    }
}

async fn keep(claims: &Claims, source: &Source, claim: &BodyClaim, request_id: &RequestId) {
    match claims.keep_body(claim, source.config.dedup_window).await {
        Ok(None) => {}
        Ok(Some(first)) => {
            count(source);
            tracing::info!(
                source = %source.config.name,
                event_id = %claim.id,
                first_event_id = %first,
                %request_id,
                "an accepted event has the body of an earlier one: possibly a replay"
            );
        }
        Err(error) => not_asked(source, &error),
    }
}

fn count(source: &Source) {
    metrics::counter!("tidegate_possible_replays_total", "source" => source.config.name.to_string()).increment(1);
}

fn not_asked(source: &Source, error: &ClaimsError) {
    metrics::counter!("tidegate_replays_unknown_total", "source" => source.config.name.to_string()).increment(1);
    tracing::debug!(source = %source.config.name, error = %chain(error), "whether a body came before is not known");
}
