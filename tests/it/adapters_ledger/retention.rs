//! Retention: what is done with and old is forgotten whole, and nothing else is.

use super::world::*;
use super::*;

const LIMIT: u32 = 100;

fn in_days(days: i64) -> Timestamp {
    Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)
}

/// Rows of every table that an event leaves something in.
async fn rows(world: &World) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in ["events", "inbox", "attempts", "steps", "dead_letters"] {
        counts.push(world.number(&format!("SELECT count(*) FROM {table}")).await);
    }
    counts
}

pub(super) async fn an_event_that_is_done_is_forgotten_whole_when_it_is_old(world: &World) {
    let event = event("e1");
    world.ledger.record_attempt(attempt_of(&event, 1)).await.expect("an attempt");
    let commit = commit_of(&event, pay(&event, "usd", 5));
    assert_eq!(world.commit_one(commit.clone()).await.expect("a commit"), Applied::Now);
    assert_eq!(rows(world).await, [1, 1, 1, 0, 0]);

    // It came long ago, but was applied just now: a redelivery must find that.
    let swept = world.ledger.forget_events(in_days(-1), 0, LIMIT).await.expect("a sweep");
    assert_eq!((swept.count, swept.next), (0, None));
    assert_eq!(world.commit_one(commit).await.expect("a commit"), Applied::Before);

    let swept = world.ledger.forget_events(in_days(1), 0, LIMIT).await.expect("a sweep");
    assert_eq!(swept.count, 1);
    assert_eq!(rows(world).await, [0; 5]);
    assert_eq!(world.number("SELECT amount FROM balances").await, 5, "effects are the user's, and stay");
}

pub(super) async fn an_event_with_a_dead_letter_is_kept_until_that_is_forgotten(world: &World) {
    let event = event("e1");
    world.ledger.dead_letter(dead_of(&event, attempt(3), "it fails")).await.expect("a dead letter");
    let swept = world.ledger.forget_events(in_days(1), 0, LIMIT).await.expect("a sweep");
    assert_eq!(swept.count, 0);
    assert_eq!(world.dead_ids().await.len(), 1);

    assert_eq!(world.ledger.forget_dead_letters(in_days(-1), LIMIT).await.expect("a sweep"), 0);
    assert_eq!(world.ledger.forget_dead_letters(in_days(1), LIMIT).await.expect("a sweep"), 1);
    assert!(world.dead_ids().await.is_empty());
    // Given up for good: until the event is forgotten too, a late delivery does not apply it.
    let commit = commit_of(&event, pay(&event, "usd", 5));
    assert_eq!(world.commit_one(commit).await.expect("a commit"), Applied::Before);

    let swept = world.ledger.forget_events(in_days(1), 0, LIMIT).await.expect("a sweep");
    assert_eq!(swept.count, 1);
    assert_eq!(rows(world).await, [0; 5]);
}

pub(super) async fn bodies_go_and_what_was_applied_stays_known(world: &World) {
    let event = event("e1");
    let commit = commit_of(&event, pay(&event, "usd", 5).archived());
    assert_eq!(world.commit_one(commit.clone()).await.expect("a commit"), Applied::Now);
    let with_body = "SELECT count(*) FROM events WHERE body IS NOT NULL";
    assert_eq!(world.number(with_body).await, 1);
    assert_eq!(world.ledger.strip_events(in_days(1), 0, LIMIT).await.expect("a sweep").count, 1);
    assert_eq!(world.ledger.strip_events(in_days(1), 0, LIMIT).await.expect("a sweep").count, 0);
    assert_eq!(world.number(with_body).await, 0);
    assert_eq!(world.status(&event).await, Status::Applied);
    assert_eq!(world.commit_one(commit).await.expect("a commit"), Applied::Before);
}

/// The disk that is in use stays what it is, however many events come and are forgotten.
pub(super) async fn what_is_kept_does_not_grow_with_what_came(world: &World) {
    let mut rows_after = Vec::new();
    for round in 0..10 {
        let events: Vec<_> = (0..250).map(|number| event(&format!("e{round}-{number}"))).collect();
        let commits = events.iter().map(|event| commit_of(event, pay(event, "usd", 1))).collect();
        let outcomes = world.ledger.commit(commits).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Applied::Now))), "{outcomes:?}");
        let (mut cursor, mut forgotten) = (0, 0);
        loop {
            let swept = world.ledger.forget_events(in_days(1), cursor, LIMIT).await.expect("a sweep");
            forgotten += swept.count;
            match swept.next {
                Some(next) => cursor = next,
                None => break,
            }
        }
        assert_eq!(forgotten, 250, "round {round}");
        rows_after.push(rows(world).await);
    }
    assert!(rows_after.iter().all(|rows| rows.iter().all(|count| *count == 0)), "{rows_after:?}");
}
