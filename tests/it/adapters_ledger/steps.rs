//! Steps of handlers: recorded once, and what became of an event whose steps were undone.

use serde_json::json;

use super::world::*;
use super::*;

fn done(step: &'static str, result: serde_json::Value) -> StepRecord {
    let at = Timestamp::from_millisecond(1_700_000_000_456).expect("a moment");
    StepRecord { step: step.into(), undo: false, outcome: StepOutcome::Done { result }, at, attempt: 1 }
}

fn rejected(step: &'static str, reason: &str) -> StepRecord {
    let outcome = StepOutcome::Rejected { reason: reason.to_owned() };
    StepRecord { outcome, attempt: 2, ..done(step, json!(null)) }
}

fn undone(step: &'static str) -> StepRecord {
    StepRecord { undo: true, attempt: 2, ..done(step, json!(null)) }
}

async fn record(ledger: &Ledger, event: &Arc<Event>, record: StepRecord) -> StepRecord {
    ledger.record_step(Arc::clone(event), handler("payments"), record).await.expect("a step")
}

pub(super) async fn steps_are_kept_in_order_and_the_first_record_wins(world: &World) {
    let (event, other) = (event("e1"), event("e2"));
    let reserve = done("reserve", json!({ "id": 1, "odd": "a\0b", "list": [null, 1.5] }));
    let all = [reserve.clone(), rejected("charge", "card declined"), undone("reserve")];
    for step in &all {
        assert_eq!(record(&world.ledger, &event, step.clone()).await, *step);
    }
    let late = [done("reserve", json!(2)), done("charge", json!("now it works")), rejected("reserve", "late")];
    for (step, stands) in late.into_iter().zip([&all[0], &all[1], &all[0]]) {
        assert_eq!(record(&world.ledger, &event, step).await, *stands);
    }
    assert_eq!(record(&world.ledger, &other, done("reserve", json!(3))).await, done("reserve", json!(3)));
    assert_eq!(world.another().steps(event.key, handler("payments")).await.expect("steps"), all);
    assert!(world.ledger.steps(event.key, handler("audit")).await.expect("steps").is_empty());
    let odd = record(&world.ledger, &other, rejected("charge", "a\0b")).await;
    assert_eq!(odd.outcome, StepOutcome::Rejected { reason: "a\u{fffd}b".to_owned() });
}

pub(super) async fn workers_that_race_go_on_with_one_result(world: &World) {
    let event = event("e1");
    let racers = (0..20).map(|racer| {
        let (ledger, event) = (if racer % 2 == 0 { world.ledger.clone() } else { world.another() }, Arc::clone(&event));
        world.tasks.spawn_job(async move { record(&ledger, &event, done("charge", json!({ "racer": racer }))).await })
    });
    let answers = join_all(racers.collect::<Vec<_>>()).await;
    let answers: Vec<StepRecord> = answers.into_iter().map(|answer| answer.expect("a racer")).collect();
    let stands = world.ledger.steps(event.key, handler("payments")).await.expect("steps");
    assert_eq!(stands.len(), 1);
    assert!(answers.iter().all(|answer| *answer == stands[0]), "{answers:?}");
}

pub(super) async fn steps_commit_with_their_inbox_row_or_not_at_all(world: &World) {
    let (good, bad, plain) = (event("good"), event("bad"), event("plain"));
    let before = record(&world.ledger, &good, done("reserve", json!("first"))).await;
    let steps = |effects: Effects| effects.step(done("reserve", json!("second"))).step(done("charge", json!(7)));
    let refused = Effects::none().sql("INSERT INTO payments VALUES ($1, -1)", ["x".into()]);
    let commits = [
        commit_of(&good, steps(pay(&good, "usd", 1))),
        commit_of(&bad, steps(refused)),
        commit_of(&plain, pay(&plain, "usd", 1)),
    ];
    for round in 0..2 {
        let outcomes = world.ledger.commit(commits.to_vec()).await;
        assert!(matches!(outcomes[..], [Ok(_), Err(CommitError::Refused(_)), Ok(_)]), "{round}: {outcomes:?}");
        let kept = world.ledger.steps(good.key, handler("payments")).await.expect("steps");
        assert_eq!(kept, [before.clone(), done("charge", json!(7))], "{round}");
        assert!(world.ledger.steps(bad.key, handler("payments")).await.expect("steps").is_empty());
    }
    let late = commit_of(&plain, Effects::none().step(done("late", json!(1))));
    assert_eq!(world.commit_one(late).await.expect("a commit"), Applied::Before);
    assert_eq!(world.number("SELECT count(*) FROM steps").await, 2, "what was applied before adds no steps");
}

pub(super) async fn a_compensated_event_shows_as_one(world: &World) {
    let (undone_one, applied) = (event("e1"), event("e2"));
    record(&world.ledger, &undone_one, done("reserve", json!({ "id": 1 }))).await;
    let failed = FailedAttempt { wanted_by: "payments,audit".into(), ..attempt_of(&undone_one, 1) };
    world.ledger.record_attempt(failed).await.expect("an attempt");
    assert_eq!(world.status(&undone_one).await, Status::Retrying);
    let effects = Effects::none().step(rejected("charge", "card declined")).step(undone("reserve")).compensated();
    let commit = Commit { progress: attempt(2), ..commit_of(&undone_one, effects) };
    assert_eq!(world.commit_one(commit.clone()).await.expect("a commit"), Applied::Now);
    assert_eq!(world.status(&undone_one).await, Status::Accepted, "one handler of two has not begun");
    let audit = Commit { handler: handler("audit"), effects: Effects::none(), ..commit.clone() };
    world.commit_one(audit).await.expect("a commit");
    assert_eq!(world.status(&undone_one).await, Status::Compensated);
    assert_eq!(world.commit_one(commit).await.expect("a commit"), Applied::Before);
    world.commit_one(commit_of(&applied, Effects::none())).await.expect("a commit");

    for (status, ids) in [(Status::Compensated, ["e1"]), (Status::Applied, ["e2"])] {
        let filter = EventFilter { source: None, status: Some(status) };
        let rows = world.ledger.events(filter, Page { limit: 10, after: None }).await.expect("events");
        assert_eq!(rows.iter().map(|row| row.event_id.as_str()).collect::<Vec<_>>(), ids, "{status:?}");
    }
    let story = world.ledger.event("e1".to_owned()).await.expect("a story").pop().expect("the event");
    let parts: Vec<_> =
        story.row.handlers.iter().map(|part| (part.handler.as_str(), part.status, part.attempts)).collect();
    assert_eq!(parts, [("audit", Status::Applied, 2), ("payments", Status::Compensated, 2)]);
    assert_eq!(story.failed_attempts[0].attempts.len(), 1);
    let shown = serde_json::to_value(&story).expect("JSON");
    let at = "2023-11-14T22:13:20.456Z";
    let expected = json!([{ "handler": "payments", "steps": [
        { "step": "reserve", "undo": false, "outcome": "done", "result": { "id": 1 }, "at": at, "attempt": 1 },
        { "step": "charge", "undo": false, "outcome": "rejected", "reason": "card declined", "at": at, "attempt": 2 },
        { "step": "reserve", "undo": true, "outcome": "done", "result": null, "at": at, "attempt": 2 },
    ] }]);
    assert_eq!(shown["steps"], expected);
    assert_eq!(shown["status"], "compensated");
}
