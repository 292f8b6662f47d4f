//! The embedded adapter and what both adapters share. The whole suite, on both databases, is `it/adapters_ledger.rs`.

use bytes::Bytes;
use futures_util::future::join_all;
use http::HeaderMap;
use tempfile::TempDir;

use super::embedded::EmbeddedLedger;
use super::*;
use crate::event::{BodyHash, EventId, EventKey, EventType, RequestId, SourceName};
use crate::store::Store;
use crate::wire::Message;

const LOG: Migration = Migration { id: "log/1", sql: "CREATE TABLE log (event_id TEXT, handler TEXT)" };

async fn ledger() -> (TempDir, Store, Ledger) {
    let folder = TempDir::new().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let ledger = Ledger::Embedded(EmbeddedLedger::new(store.clone()));
    ledger.migrate(&[LOG]).await.expect("the tables");
    (folder, store, ledger)
}

fn event(id: &str) -> Arc<Event> {
    let source = SourceName::try_new("shop").expect("a valid name");
    let id = EventId::try_new(id).expect("a valid id");
    let body = Bytes::from(id.to_string());
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
        body_hash: BodyHash::of(&body),
        fingerprint: Some(BodyHash::of(&body)),
        body,
    })
}

fn commit(handler: &str, event: &Arc<Event>, progress: Progress) -> Commit {
    let log = "INSERT INTO log (event_id, handler) VALUES ($1, $2)";
    Commit {
        handler: HandlerName::try_new(handler).expect("a valid name"),
        event: Arc::clone(event),
        progress,
        effects: Effects::none().sql(log, [event.id.as_str().into(), handler.into()]),
        wanted_by: "a,b".into(),
    }
}

fn dead(handler: &str, event: &Arc<Event>, progress: Progress) -> DeadLetter {
    DeadLetter {
        handler: HandlerName::try_new(handler).expect("a valid name"),
        event: Some(Arc::clone(event)),
        message: Message { event: Event::clone(event), progress: progress.clone() }.encode(),
        progress,
        reason: "no".to_owned(),
        dead_at: Timestamp::UNIX_EPOCH,
        wanted_by: "a,b".into(),
    }
}

/// Something that can happen to one event.
#[derive(Debug, Clone, Copy)]
enum Step {
    Fail(&'static str, u32),
    Die(&'static str, u32),
    Apply(&'static str),
    Compensate(&'static str),
    MarkReplayed,
    ApplyReplay,
    DieAfterReplay,
    Discard,
}

const STEPS: [Step; 11] = [
    Step::Fail("a", 1),
    Step::Fail("b", 1),
    Step::Die("a", 1),
    Step::Die("b", 2),
    Step::Apply("a"),
    Step::Apply("b"),
    Step::Compensate("b"),
    Step::MarkReplayed,
    Step::ApplyReplay,
    Step::DieAfterReplay,
    Step::Discard,
];

/// The newest open dead letter of an event: its id, handler and attempts.
type Letter = (String, String, u32);

impl Step {
    async fn take(self, ledger: &Ledger, event: &Arc<Event>, letter: Option<&Letter>) {
        let progress = |attempt| Progress { attempt, ..Progress::default() };
        let taken = match (self, letter) {
            (Self::Fail(handler, attempt), _) => {
                let Commit { handler, event, wanted_by, .. } = commit(handler, event, Progress::default());
                let (at, error, progress) = (Timestamp::UNIX_EPOCH, "no".to_owned(), progress(attempt));
                ledger.record_attempt(FailedAttempt { handler, event, progress, at, error, wanted_by }).await
            }
            (Self::Die(handler, attempt), _) => {
                ledger.dead_letter(dead(handler, event, progress(attempt))).await.map(drop)
            }
            (Self::Apply(handler), _) => applied(ledger.commit(vec![commit(handler, event, progress(3))]).await),
            (Self::Compensate(handler), _) => {
                let mut commit = commit(handler, event, progress(3));
                commit.effects = commit.effects.compensated();
                applied(ledger.commit(vec![commit]).await)
            }
            (Self::MarkReplayed, Some((id, _, attempts))) => {
                ledger.mark_replayed(id.clone(), *attempts).await.map(drop)
            }
            (Self::ApplyReplay, Some((id, handler, attempts))) => {
                applied(ledger.commit(vec![commit(handler, event, progress(*attempts).replayed(id))]).await)
            }
            (Self::DieAfterReplay, Some((id, handler, attempts))) => {
                ledger.dead_letter(dead(handler, event, progress(*attempts).replayed(id))).await.map(drop)
            }
            (Self::Discard, Some((id, _, _))) => {
                let filter = DeadLetterFilter { ids: vec![id.clone()], ..DeadLetterFilter::default() };
                ledger.discard(filter).await.map(drop)
            }
            (Self::MarkReplayed | Self::ApplyReplay | Self::DieAfterReplay | Self::Discard, None) => Ok(()),
        };
        taken.expect("the step is taken");
    }
}

fn applied(outcomes: Vec<Result<Applied, CommitError>>) -> Result<(), LedgerUnavailable> {
    outcomes.into_iter().try_for_each(|outcome| outcome.map(drop).map_err(|error| LedgerUnavailable(error.to_string())))
}

/// Takes three steps, one for each digit of `walk` in base `STEPS.len()`.
async fn walk_through(walk: usize, ledger: &Ledger, store: &Store) {
    let event = event(&format!("walk-{walk}"));
    let steps: Vec<Step> = (0..3_u32).map(|place| STEPS[walk / STEPS.len().pow(place) % STEPS.len()]).collect();
    let mut letter: Option<Letter> = None;
    for step in &steps {
        step.take(ledger, &event, letter.as_ref()).await;
        let key = event.key;
        let newest = "SELECT id, handler, attempts FROM dead_letters
                      WHERE event_key = ?1 AND status = 'dead' ORDER BY seq DESC LIMIT 1";
        let read = store.read(move |c| {
            let mut rows = c.prepare_cached(newest)?;
            rows.query_map([key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        });
        let open: Vec<Letter> = read.await.expect("dead letters");
        letter = open.into_iter().next().or(letter);
    }
    let story = ledger.event(event.key.to_string()).await.expect("a story").pop();
    if let Some(EventDetail { row, .. }) = story {
        assert_eq!(row.status, overall_status(&row.handlers), "{steps:?}: {:?}", row.handlers);
    }
}

/// Every way in which three steps can follow each other, each on an event of its own: afterwards no handler's part is
/// applied twice, or both applied and dead, and the status by SQL is the status by its definition.
#[tokio::test]
async fn no_order_of_steps_breaks_a_story() {
    let (_folder, store, ledger) = ledger().await;
    let walks: Vec<usize> = (0..STEPS.len().pow(3)).collect();
    for hundred in walks.chunks(100) {
        join_all(hundred.iter().map(|walk| walk_through(*walk, &ledger, &store))).await;
    }
    let wrong = |sql: &'static str| store.read(move |c| c.query_row(sql, [], |row| row.get::<_, i64>(0)));
    let twice = wrong("SELECT count(*) FROM (SELECT 1 FROM log GROUP BY event_id, handler HAVING count(*) > 1)").await;
    assert_eq!(twice.expect("a count"), 0, "applied twice");
    let both = wrong(
        "SELECT count(*) FROM inbox i JOIN dead_letters d USING (event_key, handler, epoch)
         WHERE i.applied_at IS NOT NULL AND d.status <> 'delivered'",
    );
    assert_eq!(both.await.expect("a count"), 0, "applied and not delivered");
    let unmarked = wrong(
        "SELECT count(*) FROM log l JOIN events e USING (event_id)
         WHERE NOT EXISTS (SELECT 1 FROM inbox i WHERE i.event_key = e.event_key AND i.handler = l.handler
                           AND i.applied_at IS NOT NULL)",
    );
    assert_eq!(unmarked.await.expect("a count"), 0, "an effect without its mark");
}

#[tokio::test]
async fn commits_share_their_fsyncs() {
    let (folder, _store, ledger) = ledger().await;
    let log_of = |folder: &TempDir| std::fs::metadata(folder.path().join("tidegate.db-wal")).expect("a log").len();
    let before = log_of(&folder);
    let commits = (0..200).map(|number| commit("a", &event(&format!("e{number}")), Progress::default())).collect();
    assert!(ledger.commit(commits).await.into_iter().all(|outcome| matches!(outcome, Ok(Applied::Now))));
    // Alone, each would write at least one 4 KiB page for each of the tables that it touches.
    assert!(log_of(&folder) - before < 200 * 2 * 4_096, "{} bytes", log_of(&folder) - before);
}

#[tokio::test]
async fn tables_that_are_missing_are_nobodys_fault() {
    let folder = TempDir::new().expect("a folder");
    let ledger = EmbeddedLedger::new(Store::open(folder.path()).expect("a store"));
    let outcomes = ledger.commit(vec![commit("a", &event("e1"), Progress::default())]).await;
    assert!(matches!(&outcomes[..], [Err(CommitError::Unavailable(why))] if why.contains("inbox")), "{outcomes:?}");
}

#[test]
fn an_unreadable_message_is_the_same_one_whatever_a_replay_changed() {
    let mut first = DeadLetter { event: None, ..dead("a", &event("e1"), Progress::default()) };
    let key = story::dead_letter_key(&first);
    first.message.set_progress(&Progress::default().replayed("id"));
    assert_eq!(story::dead_letter_key(&first), key);
    first.message.body = Bytes::from_static(b"other");
    assert_ne!(story::dead_letter_key(&first), key);
}

#[test]
fn words_are_stored_within_their_bounds() {
    assert_eq!(story::storable("a\0b"), "a\u{fffd}b");
    let long = "ü".repeat(5_000);
    let stored = story::storable(&long);
    assert!(stored.len() <= 4_096 && long.starts_with(&stored));
}

#[test]
fn the_worst_part_is_the_status() {
    let part = |status| HandlerStatus { handler: "a".to_owned(), status, attempts: 1 };
    let check = |parts: &[Status], expected: Status| {
        let parts: Vec<HandlerStatus> = parts.iter().copied().map(part).collect();
        assert_eq!(overall_status(&parts), expected, "{parts:?}");
    };
    check(&[], Status::Accepted);
    check(&[Status::Applied, Status::Applied], Status::Applied);
    check(&[Status::Applied, Status::Accepted], Status::Accepted);
    check(&[Status::Applied, Status::Compensated], Status::Compensated);
    check(&[Status::Compensated, Status::Accepted], Status::Accepted);
    check(&[Status::Compensated, Status::Retrying], Status::Retrying);
    check(&[Status::Accepted, Status::Retrying], Status::Retrying);
    check(&[Status::Retrying, Status::Dead, Status::Applied], Status::Dead);
}
