//! Effects: applied once, refused alone, and the tables that they need.

use super::world::*;
use super::*;

pub(super) async fn is_applied_once_however_often_it_is_committed(world: &World) {
    let event = event("e1");
    let commit = commit_of(&event, pay(&event, "usd", 5));
    assert_eq!(world.commit_one(commit.clone()).await.expect("a commit"), Applied::Now);
    for _ in 0..3 {
        assert_eq!(world.commit_one(commit.clone()).await.expect("a commit"), Applied::Before);
    }
    assert_eq!(world.number("SELECT amount FROM balances").await, 5);
    let anew = Commit { progress: Progress { epoch: 1, ..Progress::default() }, ..commit };
    assert_eq!(world.commit_one(anew).await.expect("a commit"), Applied::Now, "an epoch is applied anew on purpose");
    assert_eq!(world.number("SELECT amount FROM balances").await, 10);
}

pub(super) async fn is_applied_once_when_a_batch_holds_it_twice(world: &World) {
    let event = event("e1");
    let commit = commit_of(&event, pay(&event, "usd", 5));
    let other = Commit { handler: handler("audit"), ..commit.clone() };
    let outcomes = world.ledger.commit(vec![commit.clone(), other, commit]).await;
    let outcomes: Vec<Applied> = outcomes.into_iter().map(|outcome| outcome.expect("a commit")).collect();
    assert_eq!(outcomes, [Applied::Now, Applied::Now, Applied::Before]);
    assert_eq!(world.number("SELECT amount FROM balances").await, 10);
    assert_eq!(world.number("SELECT count(*) FROM events").await, 1);
}

pub(super) async fn another_body_under_an_id_is_told_apart(world: &World) {
    let (first, second) = (event("e1"), event("e2"));
    let with = |event: &Event, fingerprint| Arc::new(Event { fingerprint, ..event.clone() });
    let other = |event: &Event| with(event, Some(BodyHash::of(b"another body")));
    assert_eq!(world.commit_one(commit_of(&first, pay(&first, "usd", 1))).await.expect("a commit"), Applied::Now);
    let outcome = world.commit_one(commit_of(&other(&first), pay(&first, "usd", 10))).await;
    assert_eq!(outcome.expect("a commit"), Applied::OtherBody);
    let unknown = world.commit_one(commit_of(&with(&first, None), pay(&first, "usd", 100))).await;
    assert_eq!(unknown.expect("a commit"), Applied::Before, "an older build's message is not told apart");
    let both = [&second, &other(&second)].map(|event| commit_of(event, pay(event, "usd", 1_000)));
    let outcomes: Vec<Applied> =
        world.ledger.commit(both.to_vec()).await.into_iter().map(|outcome| outcome.expect("a commit")).collect();
    assert_eq!(outcomes, [Applied::Now, Applied::OtherBody]);
    let own = Arc::new(Event::clone(&other(&first)).into_conflict());
    assert_eq!(world.commit_one(commit_of(&own, pay(&own, "usd", 10_000))).await.expect("a commit"), Applied::Now);
    assert_eq!(world.commit_one(commit_of(&own, pay(&own, "usd", 10_000))).await.expect("a commit"), Applied::Before);
    assert_eq!(world.number("SELECT amount FROM balances").await, 11_001);

    let dead = dead_of(&other(&second), attempt(2), "no");
    assert_eq!(world.ledger.dead_letter(dead.clone()).await.expect("an answer"), Kept::OtherBody);
    assert!(world.dead_ids().await.is_empty());
    let same = dead_of(&second, attempt(2), "no");
    assert_eq!(world.ledger.dead_letter(same).await.expect("an answer"), Kept::Done);
    assert!(world.dead_ids().await.is_empty(), "what is applied is not dead");
    assert_eq!(world.ledger.dead_letter(dead.into_conflict()).await.expect("an answer"), Kept::Done);
    assert_eq!(world.dead_ids().await.len(), 1);
    assert_eq!(world.status(&second).await, Status::Applied);
}

pub(super) async fn bad_statements_are_refused_alone(world: &World) {
    let bad = |number: usize, event: &Event| match number {
        7 => {
            pay(event, "usd", 1).sql("INSERT INTO payments VALUES ($1, $2)", [event.id.as_str().into(), Value::Int(-1)])
        }
        19 => pay(event, "usd", 1).sql("INSERT INTO nowhere VALUES ($1)", ["secret-parameter".into()]),
        33 => pay(event, "usd", 1).sql("COMMIT", []),
        40 => pay(event, "usd", 1).sql("DELETE FROM balances; DELETE FROM payments", []),
        45 => pay(event, "usd", 1).sql("INSERT INTO payments VALUES ($1, $2)", ["only one".into()]),
        _ => pay(event, "usd", 1),
    };
    let commits: Vec<Commit> = (0..60)
        .map(|number| {
            let event = event(&format!("e{number}"));
            commit_of(&event, bad(number, &event))
        })
        .collect();
    let outcomes = world.ledger.commit(commits.clone()).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        if [7, 19, 33, 40, 45].contains(&number) {
            assert!(!refusal(outcome).contains("secret-parameter"), "{outcome:?}");
        } else {
            assert!(matches!(outcome, Ok(Applied::Now)), "{number}: {outcome:?}");
        }
    }
    assert!(refusal(&outcomes[19]).contains("nowhere"), "{outcomes:?}");
    assert!(refusal(&outcomes[33]).contains("COMMIT"), "{outcomes:?}");
    assert_eq!(world.number("SELECT amount FROM balances").await, 55);
    assert_eq!(world.number("SELECT count(*) FROM applied_log").await, 55);
    assert_eq!(world.number("SELECT count(*) FROM inbox").await, 55, "what is refused is not marked as applied");
    let again = world.ledger.commit(commits).await;
    assert_eq!(again.iter().filter(|outcome| matches!(outcome, Ok(Applied::Before))).count(), 55);
}

pub(super) async fn a_batch_of_nothing_but_bad_statements_is_refused(world: &World) {
    let commits = (0..20).map(|number| {
        let event = event(&format!("e{number}"));
        commit_of(&event, Effects::none().sql("INSERT INTO payments VALUES ($1, -1)", [event.id.as_str().into()]))
    });
    let outcomes = world.ledger.commit(commits.collect()).await;
    outcomes.iter().for_each(|outcome| drop(refusal(outcome).to_owned()));
    assert_eq!(outcomes.len(), 20);
    assert_eq!(world.ledger.commit(Vec::new()).await.len(), 0);
}

pub(super) async fn two_ledgers_apply_each_event_once(world: &World) {
    let commits: Vec<Commit> = (0..100)
        .map(|number| {
            let event = event(&format!("e{number}"));
            commit_of(&event, pay(&event, "usd", 1))
        })
        .collect();
    let ledgers: Vec<Ledger> = (0..4).map(|_| world.another()).collect();
    let racers = ledgers.into_iter().enumerate().map(|(racer, ledger)| {
        let mut commits = commits.clone();
        commits.rotate_left(racer * 25);
        world.tasks.spawn_job(async move {
            let mut now = 0;
            for batch in commits.chunks(20) {
                let outcomes = ledger.commit(batch.to_vec()).await;
                now +=
                    outcomes.into_iter().filter(|outcome| *outcome.as_ref().expect("a commit") == Applied::Now).count();
            }
            now
        })
    });
    let now: usize = join_all(racers.collect::<Vec<_>>()).await.into_iter().map(|now| now.expect("a racer")).sum();
    assert_eq!(now, 100);
    assert_eq!(world.number("SELECT amount FROM balances").await, 100);
    assert_eq!(world.number("SELECT count(*) FROM applied_log").await, 100);
}

/// Two rows taken in opposite order: `PostgreSQL` must kill one of the two, and the ledger must try it again.
pub(super) async fn batches_that_deadlock_are_applied_all_the_same(world: &World) {
    let racers = [["usd", "eur"], ["eur", "usd"]].into_iter().enumerate().map(|(racer, currencies)| {
        let ledger = world.another();
        world.tasks.spawn_job(async move {
            for round in 0..6 {
                let commits = (0..8).map(|number| {
                    let event = event(&format!("e{racer}-{round}-{number}"));
                    let effects = pay(&event, currencies[0], 1).sql(UPSERT, [currencies[1].into(), Value::Int(1)]);
                    commit_of(&event, effects)
                });
                for outcome in ledger.commit(commits.collect()).await {
                    assert_eq!(outcome.expect("a commit"), Applied::Now);
                }
            }
        })
    });
    join_all(racers.collect::<Vec<_>>()).await.into_iter().for_each(|racer| racer.expect("a racer"));
    assert_eq!(world.number("SELECT min(amount) FROM balances").await, 96);
    assert_eq!(world.number("SELECT max(amount) FROM balances").await, 96);
}

pub(super) async fn parameters_are_bound_by_number(world: &World) {
    let table = Migration {
        id: "kinds/1",
        sql: "CREATE TABLE kinds (i BIGINT, s SMALLINT, f DOUBLE PRECISION, t TEXT, b BYTEA, n BIGINT, t2 TEXT)",
    };
    world.ledger.migrate(&[TABLES, table]).await.expect("a table");
    let event = event("e1");
    let effects = Effects::none().sql(
        "INSERT INTO kinds (b, t, f, s, i, n, t2) VALUES ($5, $4, $3, $2, $1, $6, $4)",
        [Value::Int(1), Value::Int(2), Value::Float(2.5), "'; --".into(), Value::Bytes(vec![0, 255]), Value::Null],
    );
    world.commit_one(commit_of(&event, effects)).await.expect("a commit");
    let same = "SELECT count(*) FROM kinds WHERE i = 1 AND s = 2 AND f = 2.5 AND t = '''; --' AND t2 = t AND n IS NULL
                AND length(b) = 2";
    assert_eq!(world.number(same).await, 1);
}

pub(super) async fn migrations_run_once_however_many_try(world: &World) {
    let more = Migration { id: "more/1", sql: "CREATE TABLE more (n BIGINT); INSERT INTO more VALUES (1)" };
    let racers = (0..8).map(|_| {
        let (ledger, more) = (world.another(), more.clone());
        world.tasks.spawn_job(async move { ledger.migrate(&[TABLES, more]).await })
    });
    for racer in join_all(racers.collect::<Vec<_>>()).await {
        racer.expect("a racer").expect("the migrations");
    }
    assert_eq!(world.number("SELECT count(*) FROM more").await, 1);
    let bad = Migration { id: "bad/1", sql: "CREATE TABLE half (n BIGINT); INSERT INTO nowhere VALUES (1)" };
    let error = world.ledger.migrate(&[TABLES, bad]).await.expect_err("there is no such table");
    assert!(error.0.contains("bad/1") && error.0.contains("nowhere"), "{error}");
    let half = Migration { id: "half/1", sql: "CREATE TABLE half (n BIGINT)" };
    world.ledger.migrate(&[half]).await.expect("nothing was left of the bad one");
    let newer = Migration { id: "tidegate/4", sql: "SELECT 1" };
    world.ledger.migrate(&[newer]).await.expect("as a newer build would");
    let error = world.ledger.migrate(&[TABLES]).await.expect_err("the tables are newer");
    assert!(error.0.contains("version 4"), "{error}");
}
