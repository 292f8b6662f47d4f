//! One suite for both adapters of the ledger: what the port promises, each promise by name.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::HeaderMap;
use jiff::Timestamp;
use tempfile::TempDir;
use tidegate_shared::event::{BodyHash, Event, EventId, EventKey, EventType, HandlerName, RequestId, SourceName};
use tidegate_shared::ledger::embedded::EmbeddedLedger;
use tidegate_shared::ledger::postgres::{PostgresLedger, PostgresSettings};
use tidegate_shared::ledger::{
    Applied, Commit, CommitError, DeadLetter, DeadLetterFilter, DeadLetterStatus, Effects, EventFilter, FailedAttempt,
    Ledger, Migration, Page, Status, Value, overall_status,
};
use tidegate_shared::store::Store;
use tidegate_shared::tasks::Tasks;
use tidegate_shared::wire::{Message, Progress, WireMessage};

#[path = "adapters_ledger/postgres_only.rs"]
mod postgres_only;

/// The tables of the example handlers, as their own migration would make them.
const TABLES: Migration = Migration {
    id: "payments/1",
    sql: "CREATE TABLE payments (payment_id TEXT PRIMARY KEY, amount BIGINT NOT NULL CHECK (amount >= 0));
          CREATE TABLE balances (currency TEXT PRIMARY KEY, amount BIGINT NOT NULL);
          CREATE TABLE applied_log (event_id TEXT NOT NULL)",
};
const UPSERT: &str = "INSERT INTO balances (currency, amount) VALUES ($1, $2)
                      ON CONFLICT (currency) DO UPDATE SET amount = balances.amount + excluded.amount";

/// A ledger with its tables, and a way to look at them that is not the ledger's.
struct World {
    ledger: Ledger,
    tasks: Tasks,
    place: Place,
}

enum Place {
    Embedded { _folder: TempDir, store: Store },
    Postgres { namespace: String },
}

/// Where the tests' server is.
fn postgres_url() -> String {
    #[expect(clippy::disallowed_methods, reason = "a test's server is not part of any configuration")]
    std::env::var("TIDEGATE_TEST_POSTGRES_URL").unwrap_or_else(|_| "postgres://root@127.0.0.1:5432/test".to_owned())
}

impl World {
    async fn embedded() -> Self {
        let folder = TempDir::new().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let ledger = Ledger::Embedded(EmbeddedLedger::new(store.clone()));
        Self { ledger, tasks: Tasks::new(), place: Place::Embedded { _folder: folder, store } }.migrated().await
    }

    async fn postgres() -> Self {
        let namespace = format!("tg-test-{}", uuid::Uuid::now_v7());
        let tasks = Tasks::new();
        let ledger = ledger_in(&namespace, &tasks);
        Self { ledger, tasks, place: Place::Postgres { namespace } }.migrated().await
    }

    async fn migrated(self) -> Self {
        self.ledger.migrate(&[TABLES]).await.expect("the tables");
        self
    }

    /// A ledger on the same tables: another process's, where there can be one.
    fn another(&self) -> Ledger {
        match &self.place {
            Place::Embedded { .. } => self.ledger.clone(),
            Place::Postgres { namespace } => ledger_in(namespace, &self.tasks),
        }
    }

    /// One number, by SQL that both databases read.
    async fn number(&self, sql: &str) -> i64 {
        match &self.place {
            Place::Embedded { store, .. } => {
                let sql = sql.to_owned();
                store.read(move |c| c.query_row(&sql, [], |row| row.get(0))).await.expect("a number")
            }
            Place::Postgres { namespace } => {
                let (client, connection) =
                    tokio_postgres::connect(&postgres_url(), tokio_postgres::NoTls).await.expect("the server");
                drop(self.tasks.spawn_job(connection));
                client.batch_execute(&format!("SET search_path = \"{namespace}\"")).await.expect("the schema");
                client.query_one(sql, &[]).await.expect("a number").get(0)
            }
        }
    }

    async fn commit_one(&self, commit: Commit) -> Result<Applied, CommitError> {
        self.ledger.commit(vec![commit]).await.pop().expect("one answer")
    }

    async fn dead_ids(&self) -> Vec<String> {
        let page = Page { limit: 100, after: None };
        let rows = self.ledger.dead_letters(DeadLetterFilter::default(), page).await.expect("dead letters");
        rows.into_iter().map(|row| row.id).collect()
    }

    /// The event's status in the list, held against what its handlers' parts say.
    async fn status(&self, event: &Event) -> Status {
        let page = Page { limit: 1_000, after: None };
        let rows = self.ledger.events(EventFilter::default(), page).await.expect("events");
        let row = rows.iter().find(|row| row.key == event.key.to_string()).expect("the event is in the log");
        assert_eq!(row.status, overall_status(&row.handlers), "{:?}", row.handlers);
        row.status
    }

    async fn finish(self) {
        if let Place::Postgres { namespace } = &self.place {
            let (client, connection) =
                tokio_postgres::connect(&postgres_url(), tokio_postgres::NoTls).await.expect("the server");
            drop(self.tasks.spawn_job(connection));
            client.batch_execute(&format!("DROP SCHEMA \"{namespace}\" CASCADE")).await.expect("the schema goes");
        }
        self.tasks.shutdown().cancel();
    }
}

fn ledger_in(namespace: &str, tasks: &Tasks) -> Ledger {
    let settings = PostgresSettings::try_new(&postgres_url(), namespace).expect("a valid URL");
    Ledger::Postgres(PostgresLedger::start(&settings, tasks))
}

fn handler(name: &str) -> HandlerName {
    HandlerName::try_new(name).expect("a valid name")
}

fn event_of(source: &str, id: &str) -> Arc<Event> {
    let source = SourceName::try_new(source).expect("a valid name");
    let id = EventId::try_new(id).expect("a valid id");
    let body = Bytes::from(format!("{{\"id\":\"{id}\"}}"));
    let mut headers = HeaderMap::new();
    headers.insert("x-test", "yes".parse().expect("a value"));
    Arc::new(Event {
        key: EventKey::new(&source, &id),
        source,
        id,
        event_type: EventType::try_new("order.paid").expect("a valid type"),
        received_at: Timestamp::from_millisecond(1_700_000_000_123).expect("a moment"),
        request_id: RequestId::generate(),
        traceparent: None,
        content_type: Some("application/json".to_owned()),
        headers,
        body_hash: BodyHash::of(&body),
        body,
    })
}

fn event(id: &str) -> Arc<Event> {
    event_of("shop", id)
}

fn commit_of(event: &Arc<Event>, effects: Effects) -> Commit {
    let (handler, progress) = (handler("payments"), Progress::default());
    Commit { handler, event: Arc::clone(event), progress, effects, wanted_by: "payments".into() }
}

/// Not idempotent on purpose: applied twice, it shows.
fn pay(event: &Event, currency: &str, amount: i64) -> Effects {
    Effects::none()
        .sql("INSERT INTO applied_log (event_id) VALUES ($1)", [event.id.as_str().into()])
        .sql(UPSERT, [currency.into(), amount.into()])
}

fn attempt_of(event: &Arc<Event>, attempt: u32) -> FailedAttempt {
    FailedAttempt {
        handler: handler("payments"),
        event: Arc::clone(event),
        progress: Progress { attempt, ..Progress::default() },
        at: Timestamp::now(),
        error: format!("failure {attempt}"),
        wanted_by: "payments,archive".into(),
    }
}

fn dead_of(event: &Arc<Event>, progress: Progress, reason: &str) -> DeadLetter {
    DeadLetter {
        handler: handler("payments"),
        event: Some(Arc::clone(event)),
        message: Message { event: Event::clone(event), progress: progress.clone() }.encode(),
        progress,
        reason: reason.to_owned(),
        dead_at: Timestamp::now(),
        wanted_by: "payments".into(),
    }
}

fn unreadable(body: &'static str) -> DeadLetter {
    DeadLetter {
        handler: handler("payments"),
        event: None,
        progress: Progress::default(),
        message: WireMessage {
            message_id: "\0odd".to_owned(),
            event_type: "odd\0type".to_owned(),
            content_type: None,
            timestamp: 7,
            headers: vec![("x".to_owned(), Bytes::from_static(b"\xff"))],
            body: Bytes::from_static(body.as_bytes()),
        },
        reason: "no\0version".to_owned(),
        dead_at: Timestamp::now(),
        wanted_by: "".into(),
    }
}

fn attempt(attempt: u32) -> Progress {
    Progress { attempt, ..Progress::default() }
}

fn refusal(outcome: &Result<Applied, CommitError>) -> &str {
    match outcome {
        Err(CommitError::Refused(reason)) => reason,
        other => panic!("expected a refusal, not {other:?}"),
    }
}

async fn is_applied_once_however_often_it_is_committed(world: &World) {
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

async fn is_applied_once_when_a_batch_holds_it_twice(world: &World) {
    let event = event("e1");
    let commit = commit_of(&event, pay(&event, "usd", 5));
    let other = Commit { handler: handler("audit"), ..commit.clone() };
    let outcomes = world.ledger.commit(vec![commit.clone(), other, commit]).await;
    let outcomes: Vec<Applied> = outcomes.into_iter().map(|outcome| outcome.expect("a commit")).collect();
    assert_eq!(outcomes, [Applied::Now, Applied::Now, Applied::Before]);
    assert_eq!(world.number("SELECT amount FROM balances").await, 10);
    assert_eq!(world.number("SELECT count(*) FROM events").await, 1);
}

async fn bad_statements_are_refused_alone(world: &World) {
    let bad = |number: usize, event: &Event| match number {
        7 => pay(event, "usd", 1).sql("INSERT INTO payments VALUES ($1, $2)", [event.id.as_str().into(), Value::Int(-1)]),
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

async fn a_batch_of_nothing_but_bad_statements_is_refused(world: &World) {
    let commits = (0..20).map(|number| {
        let event = event(&format!("e{number}"));
        commit_of(&event, Effects::none().sql("INSERT INTO payments VALUES ($1, -1)", [event.id.as_str().into()]))
    });
    let outcomes = world.ledger.commit(commits.collect()).await;
    outcomes.iter().for_each(|outcome| drop(refusal(outcome).to_owned()));
    assert_eq!(outcomes.len(), 20);
    assert_eq!(world.ledger.commit(Vec::new()).await.len(), 0);
}

async fn two_ledgers_apply_each_event_once(world: &World) {
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
                now += outcomes.into_iter().filter(|outcome| *outcome.as_ref().expect("a commit") == Applied::Now).count();
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
async fn batches_that_deadlock_are_applied_all_the_same(world: &World) {
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

async fn parameters_are_bound_by_number(world: &World) {
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

async fn an_events_story_shows_in_its_status(world: &World) {
    let (unrouted, retried, applied, dead) = (event("e1"), event("e2"), event("e3"), event("e4"));
    world.ledger.log_unrouted(Arc::clone(&unrouted)).await.expect("a row");
    assert_eq!(world.status(&unrouted).await, Status::Accepted);

    for number in [1, 1, 2] {
        world.ledger.record_attempt(attempt_of(&retried, number)).await.expect("an attempt");
    }
    assert_eq!(world.status(&retried).await, Status::Retrying);
    let archive = Commit { handler: handler("archive"), ..commit_of(&retried, Effects::none().archived()) };
    world.commit_one(archive).await.expect("a commit");
    assert_eq!(world.status(&retried).await, Status::Retrying, "one handler of two has applied it");
    let third = Commit { progress: attempt(3), ..commit_of(&retried, pay(&retried, "usd", 1)) };
    world.commit_one(third).await.expect("a commit");
    assert_eq!(world.status(&retried).await, Status::Applied);

    let half = Commit { wanted_by: "payments,audit".into(), ..commit_of(&applied, Effects::none()) };
    world.commit_one(half.clone()).await.expect("a commit");
    assert_eq!(world.status(&applied).await, Status::Accepted, "one handler of two has not begun");
    world.commit_one(Commit { handler: handler("audit"), ..half }).await.expect("a commit");
    assert_eq!(world.status(&applied).await, Status::Applied);

    world.ledger.dead_letter(dead_of(&dead, attempt(7), "gave up")).await.expect("a dead letter");
    assert_eq!(world.status(&dead).await, Status::Dead);

    for (status, ids) in [
        (Status::Accepted, vec!["e1"]),
        (Status::Applied, vec!["e3", "e2"]),
        (Status::Retrying, vec![]),
        (Status::Dead, vec!["e4"]),
    ] {
        let filter = EventFilter { source: None, status: Some(status) };
        let rows = world.ledger.events(filter, Page { limit: 10, after: None }).await.expect("events");
        assert_eq!(rows.iter().map(|row| row.event_id.as_str()).collect::<Vec<_>>(), ids, "{status:?}");
    }
    let story = world.ledger.event("e2".to_owned()).await.expect("a story").pop().expect("the event");
    let parts: Vec<_> = story.row.handlers.iter().map(|part| (part.handler.as_str(), part.status, part.attempts)).collect();
    assert_eq!(parts, [("archive", Status::Applied, 1), ("payments", Status::Applied, 3)]);
    let attempts: Vec<_> = story.failed_attempts[0].attempts.iter().map(|row| (row.attempt, row.error.as_str())).collect();
    assert_eq!(attempts, [(1, "failure 1"), (2, "failure 2")]);
    assert_eq!(story.row.received_at, retried.received_at);
    assert_eq!(story.content_type.as_deref(), Some("application/json"));
    let content = story.content.expect("it was archived");
    assert_eq!(content.body, retried.body);
    assert!(content.headers.contains(&("http-x-test".to_owned(), Bytes::from_static(b"yes"))));
}

async fn an_event_is_found_by_key_and_by_id_in_every_source(world: &World) {
    for source in ["shop", "github"] {
        let event = event_of(source, "same");
        world.commit_one(commit_of(&event, Effects::none())).await.expect("a commit");
    }
    assert_eq!(world.ledger.event("same".to_owned()).await.expect("stories").len(), 2);
    let key = event("same").key.to_string();
    let by_key = world.ledger.event(key).await.expect("stories");
    assert_eq!(by_key.iter().map(|story| story.row.source.as_str()).collect::<Vec<_>>(), ["shop"]);
    assert!(world.ledger.event("nothing".to_owned()).await.expect("stories").is_empty());
    let filter = EventFilter { source: SourceName::try_new("github").ok(), status: Some(Status::Applied) };
    let rows = world.ledger.events(filter, Page { limit: 10, after: None }).await.expect("events");
    assert_eq!(rows.iter().map(|row| row.source.as_str()).collect::<Vec<_>>(), ["github"]);
}

async fn pages_show_every_row_once_newest_first(world: &World) {
    for number in 0..25 {
        let event = event(&format!("e{number:02}"));
        world.commit_one(commit_of(&event, Effects::none())).await.expect("a commit");
        let other = event_of("shop", &format!("d{number:02}"));
        world.ledger.dead_letter(dead_of(&other, attempt(1), "no")).await.expect("a dead letter");
    }
    let (mut events, mut after) = (Vec::new(), None);
    loop {
        let filter = EventFilter { source: None, status: Some(Status::Applied) };
        let page = world.ledger.events(filter, Page { limit: 10, after }).await.expect("a page");
        let Some(last) = page.last() else { break };
        after = Some(last.cursor);
        events.extend(page.into_iter().map(|row| row.event_id));
    }
    assert_eq!(events, (0..25).rev().map(|number| format!("e{number:02}")).collect::<Vec<_>>());
    let (mut dead, mut after) = (Vec::new(), None);
    loop {
        let page = Page { limit: 10, after };
        let page = world.ledger.dead_letters(DeadLetterFilter::default(), page).await.expect("a page");
        let Some(last) = page.last() else { break };
        after = Some(last.cursor);
        dead.extend(page.into_iter().filter_map(|row| row.event_id));
    }
    assert_eq!(dead, (0..25).rev().map(|number| format!("d{number:02}")).collect::<Vec<_>>());
}

async fn a_dead_letter_is_replayed_and_delivered(world: &World) {
    let event = event("e1");
    world.ledger.record_attempt(attempt_of(&event, 1)).await.expect("an attempt");
    let dead = dead_of(&event, attempt(2), "gave up");
    for _ in 0..3 {
        world.ledger.dead_letter(dead.clone()).await.expect("a dead letter");
    }
    let [id] = <[String; 1]>::try_from(world.dead_ids().await).expect("one dead letter");
    let detail = world.ledger.dead_letter_by_id(id.clone()).await.expect("a detail").expect("it is there");
    assert_eq!((&detail.message, &detail.progress), (&dead.message, &dead.progress));
    assert_eq!(detail.row.event_id.as_deref(), Some("e1"));
    assert_eq!((detail.row.reason.as_str(), detail.row.attempts), ("gave up", 2));
    let attempts: Vec<_> = detail.failed_attempts.iter().map(|row| (row.attempt, row.error.as_str())).collect();
    assert_eq!(attempts, [(1, "failure 1"), (2, "gave up")]);

    assert!(!world.ledger.mark_replayed(id.clone(), 1).await.expect("an answer"), "those are not its attempts");
    assert!(world.ledger.mark_replayed(id.clone(), 2).await.expect("an answer"));
    assert!(!world.ledger.mark_replayed(id.clone(), 2).await.expect("an answer"), "it is dead no more");
    assert!(world.dead_ids().await.is_empty());
    assert_eq!(world.status(&event).await, Status::Retrying);
    world.ledger.dead_letter(dead.clone()).await.expect("a late redelivery of what died before the replay");
    assert!(world.dead_ids().await.is_empty(), "the replay is on its way");

    let progress = dead.progress.replayed(&id);
    let commit = Commit { progress, ..commit_of(&event, pay(&event, "usd", 5)) };
    assert_eq!(world.commit_one(commit).await.expect("a commit"), Applied::Now);
    let detail = world.ledger.dead_letter_by_id(id).await.expect("a detail").expect("it is there");
    assert_eq!(detail.status, DeadLetterStatus::Delivered);
    assert_eq!(world.status(&event).await, Status::Applied);
    assert!(world.ledger.dead_letter_by_id("nothing".to_owned()).await.expect("an answer").is_none());
}

async fn a_replay_that_dies_is_dead_again_under_its_id(world: &World) {
    let (first, second) = (event("e1"), event("e2"));
    world.ledger.dead_letter(dead_of(&first, attempt(2), "gave up")).await.expect("a dead letter");
    let id = world.dead_ids().await.pop().expect("one dead letter");
    world.ledger.dead_letter(dead_of(&second, attempt(2), "other")).await.expect("a dead letter");
    assert!(world.ledger.mark_replayed(id.clone(), 2).await.expect("an answer"));
    let again = attempt(2).replayed(&id);
    for _ in 0..2 {
        world.ledger.dead_letter(dead_of(&first, again.clone(), "gave up again")).await.expect("a dead letter");
    }
    let page = Page { limit: 10, after: None };
    let rows = world.ledger.dead_letters(DeadLetterFilter::default(), page).await.expect("dead letters");
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].id.as_str(), rows[0].reason.as_str(), rows[0].attempts), (id.as_str(), "gave up again", 3));

    // The replay may die before the operator's program says that it replayed it.
    world.ledger.dead_letter(dead_of(&first, again.replayed(&id), "a third time")).await.expect("a dead letter");
    assert!(!world.ledger.mark_replayed(id.clone(), 3).await.expect("an answer"));
    assert_eq!(world.dead_ids().await.len(), 2, "it stays on the list");
}

async fn nothing_is_both_dead_and_applied(world: &World) {
    let (dead_first, applied_first) = (event("e1"), event("e2"));
    world.ledger.dead_letter(dead_of(&dead_first, attempt(2), "crash before the ack")).await.expect("a dead letter");
    let id = world.dead_ids().await.pop().expect("one dead letter");
    world.commit_one(commit_of(&dead_first, Effects::none())).await.expect("a commit");
    assert!(world.dead_ids().await.is_empty());
    assert!(!world.ledger.mark_replayed(id, 2).await.expect("an answer"));
    assert_eq!(world.status(&dead_first).await, Status::Applied);

    world.commit_one(commit_of(&applied_first, Effects::none())).await.expect("a commit");
    world.ledger.dead_letter(dead_of(&applied_first, attempt(2), "late twin")).await.expect("an answer");
    assert!(world.dead_ids().await.is_empty());
    assert_eq!(world.status(&applied_first).await, Status::Applied);

    let races = (0..60).map(|number| {
        let event = event(&format!("race{number}"));
        let (one, other) = (world.another(), world.ledger.clone());
        let commit = commit_of(&event, pay(&event, "usd", 1));
        let dead = dead_of(&event, attempt(1), "race");
        world.tasks.spawn_job(async move {
            let (applied, kept) =
                futures_util::future::join(one.commit(vec![commit]), other.dead_letter(dead)).await;
            kept.expect("an answer");
            assert!(matches!(applied[..], [Ok(Applied::Now)]), "{applied:?}");
        })
    });
    join_all(races.collect::<Vec<_>>()).await.into_iter().for_each(|race| race.expect("a race"));
    assert!(world.dead_ids().await.is_empty());
    assert_eq!(world.number("SELECT amount FROM balances").await, 60);
}

async fn what_is_discarded_is_never_applied(world: &World) {
    let (gone, kept) = (event("e1"), event_of("github", "e2"));
    world.ledger.dead_letter(dead_of(&gone, attempt(2), "no")).await.expect("a dead letter");
    world.ledger.dead_letter(dead_of(&kept, attempt(2), "no")).await.expect("a dead letter");
    let filter = DeadLetterFilter { source: SourceName::try_new("shop").ok(), ..DeadLetterFilter::default() };
    assert_eq!(world.ledger.discard(filter.clone()).await.expect("a count"), 1);
    assert_eq!(world.ledger.discard(filter).await.expect("a count"), 0);
    assert_eq!(world.dead_ids().await.len(), 1);

    let commit = commit_of(&gone, pay(&gone, "usd", 5));
    assert_eq!(world.commit_one(commit).await.expect("a commit"), Applied::Before);
    world.ledger.dead_letter(dead_of(&gone, attempt(3), "again")).await.expect("an answer");
    assert_eq!(world.dead_ids().await.len(), 1);
    assert_eq!(world.number("SELECT count(*) FROM balances").await, 0);
    assert_eq!(world.status(&gone).await, Status::Dead);

    assert_eq!(world.ledger.discard(DeadLetterFilter::default()).await.expect("a count"), 1);
    let count = world.ledger.count_dead_letters(DeadLetterFilter::default()).await.expect("counts");
    assert!(count.is_empty());
}

async fn unreadable_messages_are_kept_once_each(world: &World) {
    world.ledger.dead_letter(unreadable("a")).await.expect("a dead letter");
    world.ledger.dead_letter(unreadable("b")).await.expect("a dead letter");
    let mut again = unreadable("a");
    again.message.headers.push(("tg-attempt".to_owned(), Bytes::from_static(b"9")));
    world.ledger.dead_letter(again.clone()).await.expect("a dead letter");
    let page = Page { limit: 10, after: None };
    let rows = world.ledger.dead_letters(DeadLetterFilter::default(), page).await.expect("dead letters");
    assert_eq!(rows.iter().map(|row| row.attempts).collect::<Vec<_>>(), [2, 1]);
    let id = rows[0].id.clone();
    let detail = world.ledger.dead_letter_by_id(id.clone()).await.expect("a detail").expect("it is there");
    assert_eq!(detail.message.body, again.message.body);
    assert_eq!(detail.message.headers[0], again.message.headers[0]);
    assert_eq!(detail.failed_attempts.len(), 1);
    assert_eq!(detail.row.source, None);

    assert!(world.ledger.mark_replayed(id.clone(), 2).await.expect("an answer"));
    world.ledger.dead_letter(again.clone()).await.expect("a dead letter");
    assert_eq!(world.dead_ids().await[0], id, "still unreadable: dead again");
    let only = DeadLetterFilter { ids: vec![id], ..DeadLetterFilter::default() };
    assert_eq!(world.ledger.discard(only).await.expect("a count"), 1);
    world.ledger.dead_letter(again).await.expect("an answer");
    assert_eq!(world.dead_ids().await.len(), 1);

    // A newer build may read what this one could not.
    let id = world.dead_ids().await.pop().expect("one dead letter");
    assert!(world.ledger.mark_replayed(id.clone(), 1).await.expect("an answer"));
    let event = event("e1");
    let read = Commit { progress: Progress::default().replayed(&id), ..commit_of(&event, Effects::none()) };
    world.commit_one(read).await.expect("a commit");
    let detail = world.ledger.dead_letter_by_id(id).await.expect("a detail").expect("it is there");
    assert_eq!(detail.status, DeadLetterStatus::Delivered);
}

async fn dead_letters_are_filtered_and_counted(world: &World) {
    let start = Timestamp::from_millisecond(1_800_000_000_000).expect("a moment");
    let later = start + jiff::Span::new().hours(1);
    for (source, name, id, dead_at) in
        [("shop", "payments", "e1", start), ("shop", "audit", "e2", later), ("github", "audit", "e3", later)]
    {
        let event = event_of(source, id);
        let dead = DeadLetter { handler: handler(name), dead_at, ..dead_of(&event, attempt(1), "no") };
        world.ledger.dead_letter(dead).await.expect("a dead letter");
    }
    world.ledger.dead_letter(DeadLetter { dead_at: later, ..unreadable("x") }).await.expect("a dead letter");
    let ids = async |filter: DeadLetterFilter| -> Vec<Option<String>> {
        let page = Page { limit: 10, after: None };
        let rows = world.ledger.dead_letters(filter, page).await.expect("dead letters");
        rows.into_iter().map(|row| row.event_id).collect()
    };
    let some = |ids: &[&str]| ids.iter().map(|id| Some((*id).to_owned())).collect::<Vec<_>>();
    let all = DeadLetterFilter::default();
    assert_eq!(ids(DeadLetterFilter { handler: Some(handler("audit")), ..all.clone() }).await, some(&["e3", "e2"]));
    assert_eq!(ids(DeadLetterFilter { until: Some(later), ..all.clone() }).await, some(&["e1"]));
    assert_eq!(ids(DeadLetterFilter { since: Some(later), ..all.clone() }).await.len(), 3);
    let shop = SourceName::try_new("shop").ok();
    assert_eq!(ids(DeadLetterFilter { since: Some(later), source: shop, ..all.clone() }).await, some(&["e2"]));
    assert_eq!(ids(DeadLetterFilter { ids: vec!["nothing".to_owned()], ..all.clone() }).await, some(&[]));
    let counts = world.ledger.count_dead_letters(all).await.expect("counts");
    let mut counts: Vec<_> = counts.into_iter().map(|c| (c.handler, c.source.unwrap_or_default(), c.count)).collect();
    counts.sort();
    let expected = [("audit", "github", 1), ("audit", "shop", 1), ("payments", "", 1), ("payments", "shop", 1)];
    assert_eq!(counts, expected.map(|(handler, source, count)| (handler.to_owned(), source.to_owned(), count)));
}

async fn migrations_run_once_however_many_try(world: &World) {
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
    let newer = Migration { id: "tidegate/2", sql: "SELECT 1" };
    world.ledger.migrate(&[newer]).await.expect("as a newer build would");
    let error = world.ledger.migrate(&[TABLES]).await.expect_err("the tables are newer");
    assert!(error.0.contains("version 2"), "{error}");
}

/// Makes one test of each claim for each adapter.
macro_rules! on_both {
    ($($claim:ident),* $(,)?) => {
        mod embedded { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                let world = super::World::embedded().await;
                super::within_a_minute(super::$claim(&world)).await;
                world.finish().await;
            }
        )* }
        mod postgres { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                let world = super::World::postgres().await;
                super::within_a_minute(super::$claim(&world)).await;
                world.finish().await;
            }
        )* }
    };
}

async fn within_a_minute(claim: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), claim).await.expect("the claim is shown within a minute");
}

on_both! {
    is_applied_once_however_often_it_is_committed,
    is_applied_once_when_a_batch_holds_it_twice,
    bad_statements_are_refused_alone,
    a_batch_of_nothing_but_bad_statements_is_refused,
    two_ledgers_apply_each_event_once,
    batches_that_deadlock_are_applied_all_the_same,
    parameters_are_bound_by_number,
    an_events_story_shows_in_its_status,
    an_event_is_found_by_key_and_by_id_in_every_source,
    pages_show_every_row_once_newest_first,
    a_dead_letter_is_replayed_and_delivered,
    a_replay_that_dies_is_dead_again_under_its_id,
    nothing_is_both_dead_and_applied,
    what_is_discarded_is_never_applied,
    unreadable_messages_are_kept_once_each,
    dead_letters_are_filtered_and_counted,
    migrations_run_once_however_many_try,
}
