//! The spool's decisions: who may wait in it, what is told once an event does, and what follows a try to publish it.
//!
//! The spool is one machine's disk, so an event in it is durable *here* and nowhere else. Hence the rule on claims: a
//! spooled event's claim is **given up**, and never marked as `committed`. `committed` lets every ingest answer a later
//! delivery without keeping it, which is only true once the broker has confirmed. With the claim given up, each later
//! delivery is answered 2xx because it was made durable itself: this spool finds it in itself, another machine's spool
//! or the broker keeps a twin, and the inbox drops that. Should this disk be lost before the drain, whatever the provider
//! sends again is therefore taken anew instead of being answered "duplicate" for an event that is gone.
//!
//! A waiting event takes the path of every other: claim, publish under the same key, confirm, `committed`, and only then
//! does it leave the spool. A crash between two of these repeats from the claim.

use std::time::Duration;

use crate::claims::Decision;
use crate::config::OnUnavailable;
use crate::queue::{PublishError, Stored};

/// Events that one step of the drain publishes together at most.
pub const WIDTH_MAX: usize = 64;
/// How long an event that the broker did not take by itself waits for its second try; each further wait is twice as long.
const BEHIND_MIN: Duration = Duration::from_secs(1);
/// The longest such wait.
const BEHIND_MAX: Duration = Duration::from_secs(300);

/// What waits in a spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Load {
    /// Bytes of all that waits.
    pub bytes: u64,
    /// How long the oldest event has waited for the broker; those that the broker would not take are not counted.
    pub oldest_age: Option<Duration>,
}

/// The bounds of a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Bytes that may wait.
    pub bytes_max: u64,
    /// While the oldest event waits for longer, nothing more is taken.
    pub age_max: Duration,
}

/// Whether an event may wait in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Admission {
    /// It may.
    Take,
    /// There is no room for it.
    RefuseFull,
    /// The outage lasts longer than the spool is meant for.
    RefuseOld,
}

/// Decides whether an event of `bytes` may join what waits.
///
/// Nothing that waits is ever dropped to make room: it was acknowledged. An event that the broker would not take does
/// not count for the age, or one poisonous event would close the spool of every later outage.
#[must_use]
pub fn admit(load: Load, bytes: u64, bounds: Bounds) -> Admission {
    if load.oldest_age.is_some_and(|age| age > bounds.age_max) {
        Admission::RefuseOld
    } else if load.bytes.saturating_add(bytes) > bounds.bytes_max {
        Admission::RefuseFull
    } else {
        Admission::Take
    }
}

/// What a request does once the spool has answered, or has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterSpool<E> {
    /// Gives the claim up, then answers 2xx: the event is durable on this machine.
    Accept,
    /// Gives the claim up, then answers 2xx: the event waits here already.
    AnswerDuplicate,
    /// Gives the claim up and begins anew as an event of its own: its id waits here with another body.
    Separate,
    /// Gives the claim up, then refuses.
    Refuse(E),
}

/// Decides on what the spool answered. Only an fsynced commit may lead to a 2xx, now or earlier.
#[must_use]
pub fn after_spool<E>(kept: Result<Stored, E>) -> AfterSpool<E> {
    match kept {
        Ok(Stored::New) => AfterSpool::Accept,
        Ok(Stored::Duplicate) => AfterSpool::AnswerDuplicate,
        Ok(Stored::OtherBody) => AfterSpool::Separate,
        Err(error) => AfterSpool::Refuse(error),
    }
}

/// What the drain does with a waiting event once the claims have answered, or have not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AfterDrainClaim {
    /// Publishes it, as the holder of the claim.
    Publish,
    /// Publishes it without a claim.
    PublishUnclaimed,
    /// Takes it out of the spool: `committed` was read, so the broker has it.
    Remove,
    /// Begins anew as an event of its own: its id has had another body.
    Separate,
    /// Lets it wait behind the others: a request is receiving its twin.
    Behind,
    /// Lets it wait where it is: the claims cannot be asked, and must be.
    Stay,
}

/// Decides on what the claims answered; `None` if they could not be asked.
#[must_use]
pub fn after_drain_claim(answer: Option<Decision>, on_unavailable: OnUnavailable) -> AfterDrainClaim {
    match (answer, on_unavailable) {
        (Some(Decision::Fresh), _) => AfterDrainClaim::Publish,
        (Some(Decision::Duplicate), _) => AfterDrainClaim::Remove,
        (Some(Decision::Conflict), _) => AfterDrainClaim::Separate,
        (Some(Decision::InFlight), _) => AfterDrainClaim::Behind,
        (None, OnUnavailable::Accept) => AfterDrainClaim::PublishUnclaimed,
        (None, OnUnavailable::Reject) => AfterDrainClaim::Stay,
    }
}

/// Whether other events were published in the same step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Company {
    /// It was the only one.
    Alone,
    /// There were others, and any of them may be to blame.
    Together,
}

/// What the drain does with a waiting event once the queue has answered, or has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AfterDrain {
    /// Tells the claims that it is durable, then takes it out of the spool.
    CommitAndRemove,
    /// Gives the claim up; it waits where it is, for the broker or for a step of its own.
    Stay,
    /// Gives the claim up; it waits behind the others, and is counted.
    Behind,
}

/// Decides on what the queue answered.
///
/// A broker that cannot be reached says nothing about the event. One that refuses it, or breaks off under it, does so
/// only if nothing else was under way: a message that is too large ends the connection of all that fly beside it.
#[must_use]
pub fn after_drain(outcome: &Result<Stored, PublishError>, company: Company) -> AfterDrain {
    match (outcome, company) {
        // Whatever was stored before under this key, the queue has it; `OtherBody` is the embedded queue's only.
        (Ok(Stored::New | Stored::Duplicate | Stored::OtherBody), _) => AfterDrain::CommitAndRemove,
        (Err(PublishError::Unavailable(_)), _) => AfterDrain::Stay,
        (Err(PublishError::Refused(_) | PublishError::OutcomeUnknown(_)), Company::Together) => AfterDrain::Stay,
        (Err(PublishError::Refused(_) | PublishError::OutcomeUnknown(_)), Company::Alone) => AfterDrain::Behind,
    }
}

/// How many events the next step takes: one after trouble, to find out which event it comes from, then ever more.
#[must_use]
pub fn next_width(width: usize, all_went: bool) -> usize {
    if all_went { width.saturating_mul(2).clamp(1, WIDTH_MAX) } else { 1 }
}

/// How long an event waits behind the others after so many tries.
#[must_use]
pub fn behind_for(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    BEHIND_MIN.saturating_mul(1 << doublings).min(BEHIND_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_spool_takes_events_within_its_bounds_only() {
        let bounds = Bounds { bytes_max: 100, age_max: 10 * SECOND };
        let check = |bytes, oldest_age, more, expected| {
            assert_eq!(admit(Load { bytes, oldest_age }, more, bounds), expected, "{bytes} {oldest_age:?} {more}");
        };
        check(0, None, 100, Admission::Take);
        check(0, None, 101, Admission::RefuseFull);
        check(99, Some(SECOND), 1, Admission::Take);
        check(100, Some(SECOND), 1, Admission::RefuseFull);
        check(0, Some(10 * SECOND), 1, Admission::Take);
        check(0, Some(11 * SECOND), 1, Admission::RefuseOld);
        check(100, Some(11 * SECOND), 1, Admission::RefuseOld);
        check(u64::MAX, None, u64::MAX, Admission::RefuseFull);
    }

    #[test]
    fn only_a_commit_of_the_spool_is_accepted() {
        assert_eq!(after_spool::<&str>(Ok(Stored::New)), AfterSpool::Accept);
        assert_eq!(after_spool::<&str>(Ok(Stored::Duplicate)), AfterSpool::AnswerDuplicate);
        assert_eq!(after_spool::<&str>(Ok(Stored::OtherBody)), AfterSpool::Separate);
        assert_eq!(after_spool(Err("full")), AfterSpool::Refuse("full"));
    }

    #[test]
    fn a_waiting_event_is_only_removed_unpublished_if_committed_was_read() {
        for on in [OnUnavailable::Accept, OnUnavailable::Reject] {
            let check = |decision, expected| assert_eq!(after_drain_claim(Some(decision), on), expected);
            check(Decision::Fresh, AfterDrainClaim::Publish);
            check(Decision::Duplicate, AfterDrainClaim::Remove);
            check(Decision::Conflict, AfterDrainClaim::Separate);
            check(Decision::InFlight, AfterDrainClaim::Behind);
        }
        assert_eq!(after_drain_claim(None, OnUnavailable::Accept), AfterDrainClaim::PublishUnclaimed);
        assert_eq!(after_drain_claim(None, OnUnavailable::Reject), AfterDrainClaim::Stay);
    }

    #[test]
    fn only_a_confirm_takes_an_event_out_of_the_spool() {
        let why = || "why".to_owned();
        for company in [Company::Alone, Company::Together] {
            for stored in [Stored::New, Stored::Duplicate, Stored::OtherBody] {
                assert_eq!(after_drain(&Ok(stored), company), AfterDrain::CommitAndRemove);
            }
            assert_eq!(after_drain(&Err(PublishError::Unavailable(why())), company), AfterDrain::Stay);
        }
        for error in [PublishError::Refused(why()), PublishError::OutcomeUnknown(why())] {
            assert_eq!(after_drain(&Err(error.clone()), Company::Together), AfterDrain::Stay);
            assert_eq!(after_drain(&Err(error), Company::Alone), AfterDrain::Behind);
        }
    }

    #[test]
    fn trouble_is_looked_for_one_by_one() {
        assert_eq!(next_width(WIDTH_MAX, false), 1);
        let widths: Vec<usize> =
            std::iter::successors(Some(1), |width| Some(next_width(*width, true))).take(8).collect();
        assert_eq!(widths, [1, 2, 4, 8, 16, 32, 64, 64]);
    }

    #[test]
    fn waits_behind_the_others_grow_to_a_bound() {
        let waits: Vec<u64> = [0, 1, 2, 3, 9, 10, u32::MAX].map(|tries| behind_for(tries).as_secs()).to_vec();
        assert_eq!(waits, [1, 1, 2, 4, 256, 300, 300]);
    }
}
