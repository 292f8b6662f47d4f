//! The protocol's decisions, apart from the servers that they are about: pure functions over small values.
//!
//! Ingest and worker ask here and do what they are told; connections, clocks and tasks are theirs. A model drives the
//! same functions through every order of crashes, lost replies and lost keys, so that what is proven is what runs.
//!
//! Three rules carry the promises: a 2xx only after a confirm or after `committed` was read; `committed` is written only
//! after a confirm; the inbox row commits with the effects. What a claim finds is decided in [`crate::claims::decide`].
//!
//! A source that asks for it weakens the first rule by one word: a 2xx also after the fsynced commit of this machine's
//! [`spool`]. The second rule stands as it is: [`spool`] says why.

mod retry;
pub mod spool;

pub use retry::{Next, after_failure};

use crate::claims::Decision;
use crate::config::{OnBrokerDown, OnUnavailable};
use crate::event::BodyHash;
use crate::queue::{PublishError, Stored};

/// Whether a request may still wait for the outcome of its twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Patience {
    /// There is time to look again.
    Left,
    /// The sender must be answered now.
    Over,
}

/// What a request does once the claims have answered, or have not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AfterClaim {
    /// Publishes, as the holder of the claim.
    Publish,
    /// Publishes without a claim.
    PublishUnclaimed,
    /// Answers 2xx: the event is durable.
    AnswerDuplicate,
    /// Begins anew as an event of its own: its id has had another body.
    Separate,
    /// Asks the claims again in a moment.
    LookAgain,
    /// Refuses: a twin is being received.
    RefuseInFlight,
    /// Refuses: the claims cannot be asked.
    RefuseUnavailable,
}

/// Decides on what the claims answered; `None` if they could not be asked.
///
/// Without the claims nothing is unsafe: the event may be queued twice, and the worker's inbox drops the twin.
#[must_use]
pub fn after_claim(answer: Option<Decision>, patience: Patience, on_unavailable: OnUnavailable) -> AfterClaim {
    match answer {
        Some(Decision::Fresh) => AfterClaim::Publish,
        Some(Decision::Duplicate) => AfterClaim::AnswerDuplicate,
        Some(Decision::Conflict) => AfterClaim::Separate,
        Some(Decision::InFlight) => match patience {
            Patience::Left => AfterClaim::LookAgain,
            Patience::Over => AfterClaim::RefuseInFlight,
        },
        None => match on_unavailable {
            OnUnavailable::Accept => AfterClaim::PublishUnclaimed,
            OnUnavailable::Reject => AfterClaim::RefuseUnavailable,
        },
    }
}

/// What a request does once the queue has answered, or has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterPublish {
    /// Tells the claims that the event is durable, then answers 2xx, whatever they say.
    Accept,
    /// Answers 2xx: the event was durable before.
    AnswerDuplicate,
    /// Begins anew as an event of its own: its id has had another body.
    Separate,
    /// Makes it durable on this machine, to be published later; answers 2xx only if that worked.
    Spool(PublishError),
    /// Gives the claim up, then refuses.
    Refuse(PublishError),
}

/// Decides on what the queue answered.
///
/// "Unknown" is as good as "no": the event may be queued all the same, and the inbox drops its twin.
#[must_use]
pub fn after_publish(outcome: Result<Stored, PublishError>, on_broker_down: OnBrokerDown) -> AfterPublish {
    match (outcome, on_broker_down) {
        (Ok(Stored::New), _) => AfterPublish::Accept,
        (Ok(Stored::Duplicate), _) => AfterPublish::AnswerDuplicate,
        (Ok(Stored::OtherBody), _) => AfterPublish::Separate,
        (Err(why), OnBrokerDown::Reject) => AfterPublish::Refuse(why),
        (Err(why), OnBrokerDown::Spool) => AfterPublish::Spool(why),
    }
}

/// Says whether what came is another event than the one that was applied under its key: the claims, which tell the two
/// apart at the door, may have lost what they knew. What is not known does not tell them apart.
#[must_use]
pub fn is_another_event(applied: Option<&BodyHash>, came: Option<&BodyHash>) -> bool {
    matches!((applied, came), (Some(applied), Some(came)) if applied != came)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_known_fingerprints_tell_events_apart() {
        let [one, other] = [b"one", b"two"].map(|body| BodyHash::of(body));
        assert!(is_another_event(Some(&one), Some(&other)));
        assert!(!is_another_event(Some(&one), Some(&one)));
        for (applied, came) in [(None, Some(&one)), (Some(&one), None), (None, None)] {
            assert!(!is_another_event(applied, came));
        }
    }

    #[test]
    fn each_answer_of_the_claims_has_its_step() {
        let check = |answer, patience, on_unavailable, expected| {
            assert_eq!(after_claim(answer, patience, on_unavailable), expected, "{answer:?} {patience:?}");
        };
        for patience in [Patience::Left, Patience::Over] {
            for on in [OnUnavailable::Accept, OnUnavailable::Reject] {
                check(Some(Decision::Fresh), patience, on, AfterClaim::Publish);
                check(Some(Decision::Duplicate), patience, on, AfterClaim::AnswerDuplicate);
                check(Some(Decision::Conflict), patience, on, AfterClaim::Separate);
            }
            check(None, patience, OnUnavailable::Accept, AfterClaim::PublishUnclaimed);
            check(None, patience, OnUnavailable::Reject, AfterClaim::RefuseUnavailable);
        }
        check(Some(Decision::InFlight), Patience::Left, OnUnavailable::Accept, AfterClaim::LookAgain);
        check(Some(Decision::InFlight), Patience::Over, OnUnavailable::Accept, AfterClaim::RefuseInFlight);
    }

    #[test]
    fn only_a_confirm_is_accepted() {
        let failures = [
            PublishError::Unavailable("away".into()),
            PublishError::Refused("full".into()),
            PublishError::OutcomeUnknown("late".into()),
        ];
        for on in [OnBrokerDown::Reject, OnBrokerDown::Spool] {
            assert_eq!(after_publish(Ok(Stored::New), on), AfterPublish::Accept);
            assert_eq!(after_publish(Ok(Stored::Duplicate), on), AfterPublish::AnswerDuplicate);
            assert_eq!(after_publish(Ok(Stored::OtherBody), on), AfterPublish::Separate);
        }
        for why in failures {
            let refused = after_publish(Err(why.clone()), OnBrokerDown::Reject);
            assert_eq!(refused, AfterPublish::Refuse(why.clone()));
            assert_eq!(after_publish(Err(why.clone()), OnBrokerDown::Spool), AfterPublish::Spool(why));
        }
    }
}
