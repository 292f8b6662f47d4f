//! Idempotency keys: one owner, one answer, and an end.

use tidegate_shared::ledger::{BeginKeyed, Begun, FinishKeyed, KeptAnswer};

use super::world::*;
use super::*;

const LEASE: Duration = Duration::from_secs(30);
const KEEP: Duration = Duration::from_secs(3_600);

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a moment")
}

fn begin(key: &str, body: &str, owner: &str, now: Timestamp) -> BeginKeyed {
    BeginKeyed {
        scope: "shop".to_owned(),
        key: key.to_owned(),
        fingerprint: BodyHash::of(body.as_bytes()),
        owner: owner.to_owned(),
        lease: LEASE,
        keep: KEEP,
        now,
    }
}

fn finish(key: &str, owner: &str, effects: Effects) -> FinishKeyed {
    FinishKeyed {
        scope: "shop".to_owned(),
        key: key.to_owned(),
        owner: owner.to_owned(),
        answer: answer(owner),
        effects: effects.statements,
    }
}

fn answer(owner: &str) -> KeptAnswer {
    let body = Bytes::from(format!("\0\u{fe} by {owner}"));
    KeptAnswer { status: 201, content_type: Some("application/json".to_owned()), body }
}

async fn begun(ledger: &Ledger, begin: BeginKeyed) -> Begun {
    ledger.begin_keyed(begin).await.expect("an answer")
}

pub(super) async fn a_key_has_one_owner_and_one_answer(world: &World) {
    let ledger = &world.ledger;
    assert_eq!(begun(ledger, begin("k", "a", "one", second(0))).await, Begun::Owned);
    assert_eq!(begun(ledger, begin("k", "a", "one", second(1))).await, Begun::Owned, "its answer may have been lost");
    let running = Begun::Running { lease_left: Duration::from_secs(20) };
    assert_eq!(begun(&world.another(), begin("k", "a", "two", second(10))).await, running);
    assert_eq!(begun(ledger, begin("k", "b", "two", second(10))).await, Begun::Other);
    let elsewhere = BeginKeyed { scope: "github".to_owned(), ..begin("k", "b", "two", second(10)) };
    assert_eq!(begun(ledger, elsewhere).await, Begun::Owned);

    let event = event("e1");
    assert!(ledger.finish_keyed(finish("k", "one", pay(&event, "usd", 5))).await.expect("an answer"));
    assert!(!ledger.finish_keyed(finish("k", "one", pay(&event, "usd", 5))).await.expect("an answer"));
    assert_eq!(world.number("SELECT amount FROM balances").await, 5);
    ledger.release_keyed("shop".to_owned(), "k".to_owned(), "one".to_owned()).await.expect("an answer");
    for owner in ["one", "two"] {
        let again = begun(&world.another(), begin("k", "a", owner, second(3_599))).await;
        assert_eq!(again, Begun::Finished(answer("one")));
        assert_eq!(begun(ledger, begin("k", "b", owner, second(3_599))).await, Begun::Other);
    }
}

pub(super) async fn a_lease_that_ended_is_taken_over_and_its_owner_changes_nothing(world: &World) {
    let ledger = &world.ledger;
    assert_eq!(begun(ledger, begin("k", "a", "slow", second(0))).await, Begun::Owned);
    assert_eq!(begun(ledger, begin("k", "b", "other", second(30))).await, Begun::Other);
    let left = Begun::Running { lease_left: Duration::from_secs(1) };
    assert_eq!(begun(ledger, begin("k", "a", "next", second(29))).await, left);
    assert_eq!(begun(ledger, begin("k", "a", "next", second(30))).await, Begun::Owned);

    let event = event("e1");
    assert!(!ledger.finish_keyed(finish("k", "slow", pay(&event, "usd", 5))).await.expect("an answer"));
    ledger.release_keyed("shop".to_owned(), "k".to_owned(), "slow".to_owned()).await.expect("an answer");
    assert_eq!(world.number("SELECT count(*) FROM applied_log").await, 0);
    assert!(ledger.finish_keyed(finish("k", "next", pay(&event, "usd", 7))).await.expect("an answer"));
    assert_eq!(begun(ledger, begin("k", "a", "slow", second(31))).await, Begun::Finished(answer("next")));
    assert_eq!(world.number("SELECT amount FROM balances").await, 7);
}

pub(super) async fn a_key_that_is_released_or_expired_is_free(world: &World) {
    let ledger = &world.ledger;
    begun(ledger, begin("released", "a", "one", second(0))).await;
    ledger.release_keyed("shop".to_owned(), "released".to_owned(), "one".to_owned()).await.expect("an answer");
    assert_eq!(begun(ledger, begin("released", "b", "two", second(1))).await, Begun::Owned);

    begun(ledger, begin("finished", "a", "one", second(0))).await;
    assert!(ledger.finish_keyed(finish("finished", "one", Effects::none())).await.expect("an answer"));
    assert_eq!(begun(ledger, begin("finished", "b", "two", second(3_600))).await, Begun::Owned);
    let kept = "SELECT count(*) FROM idempotency_keys WHERE body IS NOT NULL";
    assert_eq!(world.number(kept).await, 0, "nothing is left of the first answer");

    for number in 0..5 {
        begun(ledger, begin(&format!("old{number}"), "a", "one", second(number))).await;
    }
    let rows = "SELECT count(*) FROM idempotency_keys";
    assert_eq!(world.number(rows).await, 7);
    assert_eq!(ledger.sweep_keyed(second(3_599), 100).await.expect("a count"), 0);
    assert_eq!(ledger.sweep_keyed(second(3_603), 3).await.expect("a count"), 3);
    assert_eq!(ledger.sweep_keyed(second(3_603), 3).await.expect("a count"), 2);
    assert_eq!(world.number(rows).await, 2, "old4 and the key that was begun anew are not over yet");
    assert_eq!(world.number("SELECT count(*) FROM idempotency_keys WHERE key IN ('old4', 'finished')").await, 2);
    let brief = BeginKeyed { keep: Duration::from_secs(1), ..begin("brief", "a", "one", second(0)) };
    assert_eq!(begun(ledger, brief).await, Begun::Owned);
    let running = Begun::Running { lease_left: Duration::from_secs(10) };
    assert_eq!(begun(ledger, begin("brief", "a", "two", second(20))).await, running, "no key expires in its lease");
}

pub(super) async fn many_begins_of_one_key_have_one_owner(world: &World) {
    let ledgers: Vec<Ledger> = (0..4).map(|_| world.another()).collect();
    for round in 0..4 {
        // In the last two rounds over a row that is expired, or whose lease ended.
        let (key, now) = (["k", "k2", "k", "k2"][round], second([0, 0, 3_600, 30][round]));
        let racers = (0..50).map(|racer: usize| {
            let ledger = ledgers[racer % ledgers.len()].clone();
            let begin = begin(key, "a", &format!("{round}-{racer}"), now);
            world.tasks.spawn_job(async move { begun(&ledger, begin).await })
        });
        let answers = join_all(racers.collect::<Vec<_>>()).await;
        let answers: Vec<Begun> = answers.into_iter().map(|answer| answer.expect("a racer")).collect();
        let owned = answers.iter().filter(|answer| **answer == Begun::Owned).count();
        let running = answers.iter().filter(|answer| **answer == Begun::Running { lease_left: LEASE }).count();
        assert_eq!((owned, running), (1, 49), "{round}: {answers:?}");
    }
}

pub(super) async fn a_finish_that_is_refused_keeps_nothing(world: &World) {
    let ledger = &world.ledger;
    let event = event("e1");
    begun(ledger, begin("k", "a", "one", second(0))).await;
    for (bad, word) in [("COMMIT", "COMMIT"), ("INSERT INTO nowhere VALUES (1)", "nowhere")] {
        let refused = ledger.finish_keyed(finish("k", "one", pay(&event, "usd", 5).sql(bad, []))).await;
        assert!(matches!(&refused, Err(CommitError::Refused(why)) if why.contains(word)), "{refused:?}");
    }
    let twice = ["INSERT INTO balances VALUES ('x', 1)"; 2];
    let twice = twice.into_iter().fold(Effects::none(), |effects, sql| effects.sql(sql, []));
    let refused = ledger.finish_keyed(finish("k", "one", twice)).await;
    assert!(matches!(refused, Err(CommitError::Duplicate(_))), "{refused:?}");
    let negative = pay(&event, "usd", 5).sql("INSERT INTO payments VALUES ('p', $1)", [Value::Int(-1)]);
    let refused = ledger.finish_keyed(finish("k", "one", negative)).await;
    assert!(matches!(refused, Err(CommitError::Refused(_))), "{refused:?}");
    assert_eq!(world.number("SELECT count(*) FROM applied_log").await, 0);
    assert!(ledger.finish_keyed(finish("k", "one", pay(&event, "usd", 5))).await.expect("it is still its owner's"));
    assert_eq!(world.number("SELECT amount FROM balances").await, 5);
}
