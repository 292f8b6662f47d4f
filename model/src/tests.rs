use tidegate_shared::claims::{ClaimToken, Decision, Marker, decide};
use tidegate_shared::config::{OnBrokerDown, OnUnavailable};
use tidegate_shared::event::BodyHash;
use tidegate_shared::protocol::spool::{AfterDrain, AfterDrainClaim, Company, after_drain, after_drain_claim};
use tidegate_shared::protocol::{AfterClaim, AfterPublish, Patience, after_claim, after_publish};
use tidegate_shared::queue::{PublishError, Stored};

use super::*;
use crate::rules::Redis;

const SMALL: World = World {
    requests: 1,
    crashes: 1,
    resends: 1,
    replays: 0,
    messages_max: 2,
    ladder: 0,
    redis: Redis::LosesAnything,
    on_unavailable: OnUnavailable::Accept,
    on_broker_down: OnBrokerDown::Reject,
};
const RETRIES: World = World { ladder: 1, ..SMALL };
const REPLAYS: World = World { replays: 1, ..SMALL };
const SPOOL: World = World { on_broker_down: OnBrokerDown::Spool, ..SMALL };

/// Searches, and says how much that was.
fn searched(name: &str, world: World, rules: Rules) -> Verdict {
    let verdict = search(world, rules);
    println!("{name}: {} states, {} steps, {:?}", verdict.states, verdict.steps, verdict.harms());
    verdict
}

/// Nothing goes wrong in a world of at least this many states: a model that lost its steps must not pass.
fn is_clean(name: &str, world: World, states_min: usize) {
    let verdict = searched(name, world, Rules::shipped());
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert!(verdict.states >= states_min, "{name} has only {} states", verdict.states);
}

#[test]
fn three_requests_at_once_lose_nothing_and_double_nothing() {
    is_clean("three requests", World { requests: 3, crashes: 0, resends: 0, ..SMALL }, 1_000_000);
}

#[test]
fn two_requests_and_crashes_at_every_step_lose_nothing_and_double_nothing() {
    is_clean("two requests, two crashes", World { requests: 2, crashes: 2, ..SMALL }, 300_000);
}

#[test]
fn retries_and_replays_beside_crashes_lose_nothing_and_double_nothing() {
    is_clean("retries, replays, two crashes", World { ladder: 1, replays: 1, crashes: 2, ..SMALL }, 1_000_000);
}

#[test]
fn two_requests_beside_replays_lose_nothing_and_double_nothing() {
    is_clean("two requests, replays", World { requests: 2, replays: 1, resends: 0, ..SMALL }, 300_000);
}

#[test]
fn store_and_forward_loses_nothing_and_doubles_nothing() {
    is_clean("spool, two crashes", World { crashes: 2, ..SPOOL }, 300_000);
}

#[test]
fn a_redis_without_fault_and_one_that_refuses_lose_nothing_and_double_nothing() {
    let two = World { requests: 2, ..SMALL };
    is_clean("a perfect Redis", World { redis: Redis::Perfect, ..two }, 50_000);
    is_clean("refusing without Redis", World { on_unavailable: OnUnavailable::Reject, ..two }, 100_000);
}

#[test]
fn each_broken_rule_of_order_does_its_harm() {
    let perfect = World { redis: Redis::Perfect, ..SMALL };
    let table: [(Break, World, &[&str]); 18] = [
        (Break::MarkBeforeConfirm, SMALL, &["lost", "stuck"]),
        (Break::AnswerBeforeConfirm, SMALL, &["lost", "stuck"]),
        (Break::NoLease, perfect, &["stuck"]),
        (Break::NoInbox, SMALL, &["twice", "revived"]),
        (Break::InboxApart, SMALL, &["twice", "both", "revived"]),
        (Break::AckBeforeCommit, SMALL, &["lost", "stuck"]),
        (Break::AckBeforeRetry, RETRIES, &["lost", "stuck"]),
        (Break::AckBeforeDeadLetter, SMALL, &["lost", "stuck"]),
        (Break::DeadLetterOfApplied, SMALL, &["both", "revived"]),
        (Break::DeadLetterNotHealed, REPLAYS, &["both", "revived"]),
        (Break::ReplayPastInbox, REPLAYS, &["twice", "revived"]),
        (Break::MarkBeforeReplay, REPLAYS, &["lost", "stuck"]),
        (Break::DiscardWithoutStone, REPLAYS, &["revived"]),
        (Break::AnswerBeforeSpool, SPOOL, &["lost", "stuck"]),
        (Break::RemoveBeforePublish, SPOOL, &["lost", "stuck"]),
        (Break::SpoolInMemory, SPOOL, &["lost", "stuck"]),
        // These two only save work: the lease ends, and the inbox drops the twin.
        (Break::NoRelease, SMALL, &[]),
        (Break::ReleaseOfAnothers, World { requests: 2, ..SMALL }, &[]),
    ];
    for (rule, world, harms) in table {
        let verdict = searched(&format!("{rule:?}"), world, Rules::without(rule));
        assert_eq!(verdict.harms(), harms, "{rule:?} {verdict:#?}");
    }
}

/// Takes the claim of a twin for a proof that the event is durable: the classic hole of "SET NX, then publish".
fn pending_is_a_duplicate(stored: Option<&Marker>, own: ClaimToken, body: &BodyHash) -> Decision {
    let decided = decide(stored, own, body);
    if decided == Decision::InFlight { Decision::Duplicate } else { decided }
}

/// Takes its own claim, found after a lost reply, for that of a twin.
fn own_claim_is_a_twins(stored: Option<&Marker>, own: ClaimToken, body: &BodyHash) -> Decision {
    let decided = decide(stored, own, body);
    if stored.is_some() && decided == Decision::Fresh { Decision::InFlight } else { decided }
}

/// Takes silence of Redis for a duplicate.
fn silence_is_a_duplicate(answer: Option<Decision>, patience: Patience, on: OnUnavailable) -> AfterClaim {
    answer.map_or(AfterClaim::AnswerDuplicate, |answer| after_claim(Some(answer), patience, on))
}

/// Takes silence of the queue for a confirm.
fn silence_is_a_confirm(outcome: Result<Stored, PublishError>, on: OnBrokerDown) -> AfterPublish {
    match outcome {
        Err(PublishError::OutcomeUnknown(_)) => AfterPublish::Accept,
        other => after_publish(other, on),
    }
}

/// Takes a twin's claim for a proof that the spool may forget its event.
fn twin_empties_the_spool(answer: Option<Decision>, on: OnUnavailable) -> AfterDrainClaim {
    if answer == Some(Decision::InFlight) { AfterDrainClaim::Remove } else { after_drain_claim(answer, on) }
}

/// Takes silence of the queue for a confirm of what the drain publishes.
fn silence_empties_the_spool(outcome: &Result<Stored, PublishError>, company: Company) -> AfterDrain {
    let silent = matches!(outcome, Err(PublishError::OutcomeUnknown(_)));
    if silent { AfterDrain::CommitAndRemove } else { after_drain(outcome, company) }
}

#[test]
fn each_wrong_decision_of_the_drain_does_its_harm() {
    let shipped = Rules::shipped();
    let table: [(&str, Rules); 2] = [
        ("a twin empties the spool", Rules { after_drain_claim: twin_empties_the_spool, ..shipped }),
        ("silence empties the spool", Rules { after_drain: silence_empties_the_spool, ..shipped }),
    ];
    for (name, rules) in table {
        let verdict = searched(name, SPOOL, rules);
        assert_eq!(verdict.harms(), ["lost", "stuck"], "{name} {verdict:#?}");
    }
}

#[test]
fn each_wrong_decision_does_its_harm() {
    let shipped = Rules::shipped();
    let table: [(&str, Rules, &[&str]); 4] = [
        ("pending is a duplicate", Rules { decide: pending_is_a_duplicate, ..shipped }, &["lost", "stuck"]),
        (
            "silence of Redis is a duplicate",
            Rules { after_claim: silence_is_a_duplicate, ..shipped },
            &["lost", "stuck"],
        ),
        (
            "silence of the queue is a confirm",
            Rules { after_publish: silence_is_a_confirm, ..shipped },
            &["lost", "stuck"],
        ),
        // It costs the sender a retry after the lease, no more.
        ("its own claim is a twin's", Rules { decide: own_claim_is_a_twins, ..shipped }, &[]),
    ];
    for (name, rules, harms) in table {
        let verdict = searched(name, World { requests: 2, ..SMALL }, rules);
        assert_eq!(verdict.harms(), harms, "{name} {verdict:#?}");
    }
}
