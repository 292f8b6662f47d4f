//! Sagas against a scripted world and the embedded ledger.

use std::sync::Mutex;

use bytes::Bytes;
use futures_util::future::join_all;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;
use tidegate_shared::event::{BodyHash, Event, EventId, EventKey, EventType, HandlerName, RequestId, SourceName};
use tidegate_shared::ledger::embedded::EmbeddedLedger;
use tidegate_shared::ledger::{Applied, Commit, Ending, Ledger, StepOutcome, StepRecord};
use tidegate_shared::store::Store;
use tidegate_shared::wire::Progress;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::Apis;
use crate::handle::World;
use crate::settle::PatientLedger;

const STEPS: [&str; 4] = ["a", "b", "c", "d"];

async fn world() -> (TempDir, World) {
    let folder = TempDir::new().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let ledger = Ledger::Embedded(EmbeddedLedger::new(store));
    ledger.migrate(&[]).await.expect("the tables");
    let ledger = PatientLedger { ledger, shutdown: CancellationToken::new() };
    (folder, World { apis: Apis::default(), ledger })
}

fn event(id: &str) -> Arc<Event> {
    let source = SourceName::try_new("shop").expect("a valid name");
    let id = EventId::try_new(id).expect("a valid id");
    Arc::new(Event {
        key: EventKey::new(&source, &id),
        source,
        id,
        event_type: EventType::unknown(),
        received_at: Timestamp::UNIX_EPOCH,
        request_id: RequestId::generate(),
        traceparent: None,
        content_type: None,
        headers: HeaderMap::new(),
        body_hash: BodyHash::of(b""),
        fingerprint: Some(BodyHash::of(b"")),
        body: Bytes::new(),
    })
}

fn handler() -> HandlerName {
    HandlerName::try_new("saga").expect("a valid name")
}

/// Where an attempt can break off.
#[derive(Debug, Clone, PartialEq)]
enum Point {
    /// The call has not reached the other side. What came before it is recorded.
    Before(String),
    /// The other side has acted, and nobody knows.
    After(String),
    BeforeCommit,
    AfterCommit,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stop {
    Crash,
    Retry,
}

/// One event's saga, with everything that happens to it.
#[derive(Debug)]
struct Script {
    rejected: Option<&'static str>,
    stops: Vec<(Point, Stop)>,
}

/// The other side, which does what it is asked once for each key.
#[derive(Debug, Default)]
struct OtherSide {
    rejected: Option<&'static str>,
    stops: Mutex<Vec<(Point, Stop)>>,
    calls: Mutex<Vec<String>>,
    effects: Mutex<Vec<String>>,
    crashed: Notify,
}

impl OtherSide {
    fn take_stop(&self, point: &Point) -> Option<Stop> {
        let mut stops = self.stops.lock().unwrap();
        let at = stops.iter().position(|(at, _)| at == point)?;
        Some(stops.remove(at).1)
    }

    async fn pass(&self, point: Point) -> StepResult<()> {
        match self.take_stop(&point) {
            None => Ok(()),
            Some(Stop::Retry) => Err(StepError::retry("not now")),
            Some(Stop::Crash) => {
                self.crashed.notify_one();
                std::future::pending().await
            }
        }
    }

    fn calls_of(&self, action: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| *call == action).count()
    }
}

/// The end of the idempotency key, which is all that differs within a saga.
fn action_of<T>(cx: &Step<T>) -> String {
    let prefix = format!("{}:saga:", cx.event().key);
    cx.idempotency_key().strip_prefix(&prefix).expect("a key of this saga").to_owned()
}

async fn act(cx: Step<Arc<OtherSide>>) -> StepResult<String> {
    let (there, action) = (cx.input(), action_of(&cx));
    there.calls.lock().unwrap().push(action.clone());
    there.pass(Point::Before(action.clone())).await?;
    if there.rejected == Some(&action) {
        return Err(StepError::reject(format!("no {action}")));
    }
    if !there.effects.lock().unwrap().contains(&action) {
        there.effects.lock().unwrap().push(action.clone());
    }
    there.pass(Point::After(action.clone())).await?;
    Ok(format!("{action} done"))
}

async fn undo(cx: Step<Arc<OtherSide>>) -> StepResult<String> {
    let action = action_of(&cx);
    let step = action.strip_suffix(":undo").expect("an undo's key");
    assert_eq!(cx.result::<String>(step), Ok(format!("{step} done")), "an undo knows what it undoes");
    act(cx).await
}

fn saga() -> Saga<Arc<OtherSide>> {
    STEPS.into_iter().fold(Saga::new(), |saga, step| saga.step(step, act).undo(undo))
}

impl Script {
    /// Every call that the script's saga makes, in order.
    fn actions(&self) -> Vec<String> {
        let turn = self.rejected.map(|step| STEPS.iter().position(|name| *name == step).expect("a step"));
        let there = STEPS.iter().take(turn.map_or(STEPS.len(), |at| at + 1)).map(|step| (*step).to_owned());
        let back = STEPS.iter().take(turn.unwrap_or(0)).rev().map(|step| format!("{step}:undo"));
        there.chain(back).collect()
    }

    /// Every point where an attempt of it can break off.
    fn points(&self) -> Vec<(Point, Stop)> {
        let mut points = Vec::new();
        for action in self.actions() {
            let is_rejected = self.rejected == Some(&action);
            for stop in [Stop::Crash, Stop::Retry] {
                points.push((Point::Before(action.clone()), stop));
                points.extend((!is_rejected).then(|| (Point::After(action.clone()), stop)));
            }
        }
        // What is rejected at once is not committed.
        if self.rejected != Some(STEPS[0]) {
            points.extend([(Point::BeforeCommit, Stop::Crash), (Point::AfterCommit, Stop::Crash)]);
        }
        points
    }

    /// Plays the saga to its end, and holds what happened against what should.
    async fn play(self, world: &World) {
        let (event, handler) = (event(&BodyHash::of(format!("{self:?}").as_bytes()).to_string()), handler());
        let there = Arc::new(OtherSide {
            rejected: self.rejected,
            stops: Mutex::new(self.stops.clone()),
            ..OtherSide::default()
        });
        let (mut applied_now, mut ending, mut outcome) = (0, None, None);
        for number in 1..=self.stops.len() + 1 {
            let number = u32::try_from(number).expect("few stops");
            match attempt(&there, &event, &handler, number, world).await {
                Some(Outcome::Done(effects)) if there.take_stop(&Point::BeforeCommit).is_none() => {
                    ending = Some(effects.ending);
                    applied_now += usize::from(commit(effects, &event, &handler, world).await == Applied::Now);
                    outcome = there.take_stop(&Point::AfterCommit).is_none().then_some("committed");
                }
                Some(Outcome::Reject { .. }) => outcome = Some("rejected"),
                Some(Outcome::Done(_) | Outcome::Retry { .. }) | None => {}
            }
        }
        assert!(there.stops.lock().unwrap().is_empty(), "{self:?}: every stop was met");
        assert_eq!(*there.effects.lock().unwrap(), self.effects(), "{self:?}");
        for action in self.actions() {
            assert_eq!(there.calls_of(&action), self.calls(&action), "{self:?}: calls of {action}");
        }
        assert_eq!(
            there.calls.lock().unwrap().len(),
            self.actions().iter().map(|action| self.calls(action)).sum::<usize>()
        );
        let records = world.ledger.ledger.steps(event.key, handler).await.expect("the steps");
        let expected = match self.rejected {
            Some(step) if step == STEPS[0] => (Some("rejected"), None, 0, Vec::new()),
            Some(_) => (Some("committed"), Some(Ending::Compensated), 1, self.actions()),
            None => (Some("committed"), Some(Ending::Applied), 1, self.actions()),
        };
        let records: Vec<_> = records.iter().map(|record| self.action_recorded(record)).collect();
        assert_eq!((outcome, ending, applied_now, records), expected, "{self:?}");
    }

    fn action_recorded(&self, record: &StepRecord) -> String {
        let action = if record.undo { format!("{}:undo", record.step) } else { record.step.to_string() };
        let is_rejected = matches!(record.outcome, StepOutcome::Rejected { .. });
        assert_eq!(is_rejected, self.rejected == Some(&action), "{self:?}: {record:?}");
        action
    }

    /// What the other side has done in the end: everything once, but what it rejected.
    fn effects(&self) -> Vec<String> {
        self.actions().into_iter().filter(|action| self.rejected != Some(action)).collect()
    }

    /// Calls of an action: one more for each attempt that broke off before its record was durable.
    fn calls(&self, action: &str) -> usize {
        let is_last = self.actions().last().is_some_and(|last| last == action);
        let again = |point: &Point| match point {
            Point::Before(at) | Point::After(at) => at == action,
            Point::BeforeCommit => is_last,
            Point::AfterCommit => false,
        };
        1 + self.stops.iter().filter(|(point, _)| again(point)).count()
    }
}

/// One attempt; `None` if it crashed.
async fn attempt(
    there: &Arc<OtherSide>,
    event: &Arc<Event>,
    handler: &HandlerName,
    number: u32,
    world: &World,
) -> Option<Outcome> {
    let (saga, attempt) = (saga(), Attempt::new(handler, event, number).within(world));
    let run = saga.run(&attempt, Arc::clone(there), |there, ended| {
        match ended {
            Ended::Done(results) => {
                assert_eq!(there.rejected, None);
                STEPS.iter().for_each(|step| assert_eq!(results.get(step), Ok(format!("{step} done"))));
            }
            Ended::Compensated(Rejection { step, reason }) => {
                assert_eq!((there.rejected, reason), (Some(step), format!("no {step}")));
            }
        }
        Ok(Effects::none())
    });
    tokio::select! {
        outcome = run => Some(outcome),
        () = there.crashed.notified() => None,
    }
}

async fn commit(effects: Effects, event: &Arc<Event>, handler: &HandlerName, world: &World) -> Applied {
    let commit = Commit {
        handler: handler.clone(),
        event: Arc::clone(event),
        progress: Progress::default(),
        effects,
        wanted_by: "saga".into(),
    };
    world.ledger.ledger.commit(vec![commit]).await.remove(0).expect("it commits")
}

/// Goal: whatever is rejected, and wherever attempts break off, each key has its effect once, what was done before a
/// rejection is undone once and in reverse, nothing else is, and the event ends as it should.
/// Method: every saga of four steps with undos, broken off at every point, and at every two points.
#[tokio::test]
async fn every_saga_ends_as_it_should_wherever_it_breaks_off() {
    let (_folder, world) = world().await;
    let mut scripts = Vec::new();
    for rejected in [None].into_iter().chain(STEPS.map(Some)) {
        let points = Script { rejected, stops: Vec::new() }.points();
        scripts.push(Script { rejected, stops: Vec::new() });
        for (at, first) in points.iter().enumerate() {
            scripts.push(Script { rejected, stops: vec![first.clone()] });
            let two = points[at..].iter().map(|second| vec![first.clone(), second.clone()]);
            scripts.extend(two.map(|stops| Script { rejected, stops }));
        }
    }
    assert!(scripts.len() > 900, "{}", scripts.len());
    join_all(scripts.into_iter().map(|script| script.play(&world))).await;
}

fn record(step: &'static str, outcome: StepOutcome) -> StepRecord {
    StepRecord { step: step.into(), undo: false, outcome, at: Timestamp::UNIX_EPOCH, attempt: 1 }
}

/// Another worker that was a moment faster with the step `b`.
async fn beaten(
    world: &World,
    id: &str,
    winner: StepOutcome,
    rejected: Option<&'static str>,
) -> (Outcome, Vec<String>) {
    let (event, handler) = (event(id), handler());
    let there = Arc::new(OtherSide { rejected, ..OtherSide::default() });
    let faster = world.clone();
    let b = move |cx: Step<Arc<OtherSide>>| {
        let (ledger, winner) = (faster.ledger.ledger.clone(), record("b", winner.clone()));
        async move {
            ledger.record_step(Arc::clone(cx.event()), self::handler(), winner).await.expect("it is kept");
            act(cx).await
        }
    };
    let saga = Saga::new().step("a", act).undo(undo).step("b", b).undo(undo).step("c", act);
    let attempt = Attempt::new(&handler, &event, 1).within(world);
    let outcome = saga
        .run(&attempt, Arc::clone(&there), |_, ended| {
            Ok(Effects::none().sql(
                "SELECT $1",
                [match ended {
                    Ended::Done(results) => results.get::<String>("b")?.into(),
                    Ended::Compensated(rejection) => rejection.reason.into(),
                }],
            ))
        })
        .await;
    let effects = there.effects.lock().unwrap().clone();
    (outcome, effects)
}

#[tokio::test]
async fn whoever_comes_second_goes_on_with_what_the_first_recorded() {
    let (_folder, world) = world().await;
    let check = async |id: &str, winner: StepOutcome, rejected, ends: (Ending, &str), effects: &[&str]| {
        let (outcome, had) = beaten(&world, id, winner, rejected).await;
        let Outcome::Done(done) = outcome else { panic!("{id}: {outcome:?}") };
        assert_eq!((done.ending, &done.statements[0].params[0]), (ends.0, &ends.1.into()), "{id}");
        assert_eq!(had, effects, "{id}");
    };
    let done = StepOutcome::Done { result: json!("theirs") };
    let no = StepOutcome::Rejected { reason: "theirs".to_owned() };
    check("both done", done.clone(), None, (Ending::Applied, "theirs"), &["a", "b", "c"]).await;
    check("only they are done", done, Some("b"), (Ending::Applied, "theirs"), &["a", "c"]).await;
    check("both rejected", no.clone(), Some("b"), (Ending::Compensated, "theirs"), &["a", "a:undo"]).await;
    // What this worker got is not left behind.
    let undone = ["a", "b", "b:undo", "a:undo"];
    check("only they are rejected", no, None, (Ending::Compensated, "theirs"), &undone).await;
}

#[tokio::test]
async fn what_is_optional_is_skipped_where_it_is_rejected() {
    let (_folder, world) = world().await;
    let (event, handler) = (event("optional"), handler());
    for rejected in ["b", "c"] {
        let there = Arc::new(OtherSide { rejected: Some(rejected), ..OtherSide::default() });
        let saga = Saga::new().step("a", act).undo(undo).optional_step("b", act).optional_step("c", act);
        let ended = |_: &Arc<OtherSide>, ended| {
            let Ended::Done(results) = ended else { panic!("nothing turns back") };
            assert_eq!(results.get::<String>("a"), Ok("a done".to_owned()));
            assert!(matches!(results.get::<String>(rejected), Err(StepError::Retry { .. })));
            Ok(Effects::none())
        };
        // Without a world, so that the two do not meet.
        let outcome = saga.run(&Attempt::new(&handler, &event, 1), Arc::clone(&there), ended).await;
        let Outcome::Done(effects) = outcome else { panic!("{outcome:?}") };
        assert_eq!(effects.ending, Ending::Applied);
        assert_eq!(there.calls.lock().unwrap().join(" "), "a b c");
    }
    let there = Arc::new(OtherSide { rejected: Some("b"), ..OtherSide::default() });
    let stop = (Point::Before("c".to_owned()), Stop::Retry);
    there.stops.lock().unwrap().push(stop);
    let saga = Saga::new().step("a", act).undo(undo).optional_step("b", act).optional_step("c", act);
    for number in 1..=2 {
        let attempt = Attempt::new(&handler, &event, number).within(&world);
        saga.run(&attempt, Arc::clone(&there), |_, _| Ok(Effects::none())).await;
    }
    assert_eq!(there.calls.lock().unwrap().join(" "), "a b c c", "the rejection was recorded");
}

#[tokio::test]
async fn what_cannot_be_undone_is_a_dead_letter_and_a_replay_goes_on_there() {
    let (_folder, world) = world().await;
    let (event, handler) = (event("stuck"), handler());
    let no = record("d", StepOutcome::Rejected { reason: "no d".to_owned() });
    for step in ["a", "b", "c"] {
        let done = record(step, StepOutcome::Done { result: json!(format!("{step} done")) });
        world.ledger.ledger.record_step(Arc::clone(&event), handler.clone(), done).await.expect("it is kept");
    }
    world.ledger.ledger.record_step(Arc::clone(&event), handler.clone(), no).await.expect("it is kept");
    let play = async |rejected, number| {
        let there = Arc::new(OtherSide { rejected, ..OtherSide::default() });
        let attempt = Attempt::new(&handler, &event, number).within(&world);
        let outcome = saga().run(&attempt, Arc::clone(&there), |_, _| Ok(Effects::none())).await;
        (outcome, there.calls.lock().unwrap().join(" "))
    };
    let (outcome, calls) = play(Some("b:undo"), 1).await;
    assert_eq!(calls, "c:undo b:undo");
    let Outcome::Reject { reason } = outcome else { panic!("{outcome:?}") };
    let expected = "d was rejected (no d), and b cannot be undone: no b:undo; an operator must look";
    assert_eq!(reason, expected);
    let (outcome, calls) = play(None, 2).await;
    assert_eq!(calls, "b:undo a:undo");
    assert!(matches!(outcome, Outcome::Done(effects) if effects.ending == Ending::Compensated));
}

#[tokio::test]
async fn a_saga_of_one_step_asks_the_ledger_nothing_before_its_commit() {
    let (_folder, world) = world().await;
    let (event, handler) = (event("single"), handler());
    let done = record("a", StepOutcome::Done { result: json!("a done") });
    world.ledger.ledger.record_step(Arc::clone(&event), handler.clone(), done).await.expect("it is kept");
    let there = Arc::new(OtherSide::default());
    let attempt = Attempt::new(&handler, &event, 1).within(&world);
    let saga = Saga::new().step("a", act);
    let outcome = saga.run(&attempt, Arc::clone(&there), |_, _| Ok(Effects::none())).await;
    assert_eq!(there.calls_of("a"), 1, "the record was not looked for");
    let Outcome::Done(effects) = outcome else { panic!("{outcome:?}") };
    assert_eq!(effects.steps.len(), 1);
    let rejecting = Arc::new(OtherSide { rejected: Some("a"), ..OtherSide::default() });
    let outcome = saga.run(&attempt, rejecting, |_, _| Ok(Effects::none())).await;
    assert_eq!(outcome, Outcome::reject("no a"), "the only step needs no name");
}

#[tokio::test]
async fn a_reason_names_its_step() {
    let (event, handler) = (event("named"), handler());
    let there = Arc::new(OtherSide { rejected: Some("a"), ..OtherSide::default() });
    let attempt = Attempt::new(&handler, &event, 1);
    let outcome = saga().run(&attempt, there, |_, _| Ok(Effects::none())).await;
    assert_eq!(outcome, Outcome::reject("a: no a"));
    let there = Arc::new(OtherSide::default());
    there.stops.lock().unwrap().push((Point::Before("b".to_owned()), Stop::Retry));
    let outcome = saga().run(&attempt, there, |_, _| Ok(Effects::none())).await;
    assert_eq!(outcome, Outcome::retry("b: not now"));
}

#[test]
fn a_wrong_saga_is_refused_where_it_is_declared() {
    async fn nothing(_: Step<()>) -> StepResult<()> {
        Ok(())
    }
    type Declare = fn() -> Saga<()>;
    let refused: [(&str, Declare); 6] = [
        ("undo without a step", || Saga::new().undo(nothing)),
        ("two undos", || Saga::new().step("a", nothing).undo(nothing).undo(nothing)),
        ("a name twice", || Saga::new().step("a", nothing).optional_step("a", nothing)),
        ("no name", || Saga::new().step("", nothing)),
        ("an undo's key", || Saga::new().step("a:undo", nothing)),
        ("upper case", || Saga::new().step("A", nothing)),
    ];
    for (what, declare) in refused {
        assert!(std::panic::catch_unwind(declare).is_err(), "{what}");
    }
}

/// A new version of the handler has put a step in front of the one that was rejected before the deploy.
#[tokio::test]
async fn a_saga_that_turned_back_takes_no_new_step() {
    let (_folder, world) = world().await;
    let (event, handler) = (event("turned back"), handler());
    for (step, outcome) in [
        ("a", StepOutcome::Done { result: json!("a done") }),
        ("b", StepOutcome::Rejected { reason: "no b".to_owned() }),
    ] {
        let kept = world.ledger.ledger.record_step(Arc::clone(&event), handler.clone(), record(step, outcome)).await;
        kept.expect("it is kept");
    }
    let there = Arc::new(OtherSide::default());
    let saga = Saga::new().step("a", act).undo(undo).step("new", act).step("b", act);
    let attempt = Attempt::new(&handler, &event, 2).within(&world);
    let outcome = saga.run(&attempt, Arc::clone(&there), |_, _| Ok(Effects::none())).await;
    assert!(matches!(outcome, Outcome::Done(effects) if effects.ending == Ending::Compensated));
    assert_eq!(*there.calls.lock().unwrap(), ["a:undo"]);
}
