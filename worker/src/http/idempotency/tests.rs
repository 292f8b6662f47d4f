use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use tidegate_shared::ledger::embedded::EmbeddedLedger;
use tidegate_shared::ledger::{Effects, Migration};
use tidegate_shared::store::Store;
use tokio::sync::Notify;

use super::*;

const KEEP: Duration = Duration::from_secs(3_600);
const NOTES: Migration = Migration { id: "notes/1", sql: "CREATE TABLE notes (id TEXT PRIMARY KEY)" };

struct World {
    ledger: Ledger,
    _folder: TempDir,
}

async fn world() -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::Embedded(EmbeddedLedger::new(Store::open(folder.path()).expect("a store")));
    ledger.migrate(&[NOTES]).await.expect("it migrates");
    World { ledger, _folder: folder }
}

fn keyed(key: &str, body: &'static str) -> Arc<Keyed> {
    let caller = CallerName::try_new("shop").expect("a name");
    let (parts, ()) = http::Request::post("/notes").body(()).expect("a request").into_parts();
    Arc::new(Keyed::new(&caller, "POST /notes", key.to_owned(), &parts, Bytes::from_static(body.as_bytes())))
}

fn note(id: &str) -> Reply {
    let effects = Effects::none().sql("INSERT INTO notes (id) VALUES ($1)", [id.into()]).statements;
    Reply { status: StatusCode::CREATED, body: serde_json::json!({ "id": id }), effects, conflict: "it is there" }
}

async fn do_once(world: &World, keyed: &Arc<Keyed>, reply: Reply) -> Result<(KeptAnswer, Origin), HttpError> {
    let reply = std::sync::Mutex::new(Some(reply));
    let work = |_| std::future::ready(Ok(reply.lock().expect("no panic").take().expect("the work runs once")));
    once(&world.ledger, keyed, KEEP, work).await
}

async fn must_not_work(_: Arc<Keyed>) -> Result<Reply, HttpError> {
    panic!("the work must not run")
}

#[tokio::test]
async fn a_repetition_gets_the_first_answer_and_works_no_more() {
    let world = world().await;
    let (first, origin) = do_once(&world, &keyed("k", "{}"), note("a")).await.expect("it is done");
    assert_eq!((first.status, origin), (201, Origin::Work));
    let (second, origin) = once(&world.ledger, &keyed("k", "{}"), KEEP, must_not_work).await.expect("it is kept");
    assert_eq!((&second, origin), (&first, Origin::Kept));
    let response = response(second, origin).expect("a response");
    assert_eq!(response.headers()[REPLAYED], "true");
    assert_eq!(response.headers()[header::CONTENT_TYPE], JSON);
}

#[tokio::test]
async fn a_key_serves_one_request_only() {
    let world = world().await;
    do_once(&world, &keyed("k", "{}"), note("a")).await.expect("it is done");
    let other = once(&world.ledger, &keyed("k", "{ }"), KEEP, must_not_work).await;
    assert!(matches!(other, Err(HttpError::KeyReused)), "{other:?}");
}

#[tokio::test]
async fn the_second_of_two_at_once_is_told_to_wait() {
    let world = world().await;
    let (begun, go_on) = (Notify::new(), Notify::new());
    let slow = |_| async {
        begun.notify_one();
        go_on.notified().await;
        Ok(note("a"))
    };
    let first = keyed("k", "{}");
    let second = async {
        begun.notified().await;
        let second = once(&world.ledger, &keyed("k", "{}"), KEEP, must_not_work).await;
        go_on.notify_one();
        second
    };
    let (first, second) = tokio::join!(once(&world.ledger, &first, KEEP, slow), second);
    assert!(matches!(first, Ok((_, Origin::Work))), "{first:?}");
    assert!(
        matches!(second, Err(HttpError::InProgress { retry_after }) if retry_after <= IN_PROGRESS_MAX),
        "{second:?}"
    );
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let world = world().await;
    let refuse = |_| std::future::ready(Err(HttpError::BadRequest("no".to_owned())));
    let refused = once(&world.ledger, &keyed("k", "bad"), KEEP, refuse).await;
    assert!(matches!(refused, Err(HttpError::BadRequest(_))), "{refused:?}");
    let panics = |_| async { panic!("as it must in this test") };
    let panicked = once(&world.ledger, &keyed("k", "bad"), KEEP, panics).await;
    assert!(matches!(panicked, Err(HttpError::Internal)), "{panicked:?}");
    let (_, origin) = do_once(&world, &keyed("k", "{}"), note("a")).await.expect("the key is free");
    assert_eq!(origin, Origin::Work);
}

#[tokio::test]
async fn what_the_database_refuses_is_a_conflict_and_leaves_the_key_free() {
    let world = world().await;
    do_once(&world, &keyed("k1", "{}"), note("a")).await.expect("it is done");
    let refused = do_once(&world, &keyed("k2", "{}"), note("a")).await;
    assert!(matches!(refused, Err(HttpError::Conflict("it is there"))), "{refused:?}");
    do_once(&world, &keyed("k2", "{}"), note("b")).await.expect("the key is free");
}

/// The first owner is still at work when its lease ends and another finishes: the other's answer stands, and the first
/// one's effects are not applied.
#[tokio::test]
async fn the_answer_of_a_key_that_was_taken_over_stands() {
    let world = world().await;
    let first = keyed("k", "{}");
    let overtaken = |_| async {
        world.ledger.release_keyed(first.scope.clone(), "k".to_owned(), first.owner.clone()).await.expect("released");
        do_once(&world, &keyed("k", "{}"), note("theirs")).await.expect("it is done");
        Ok(note("ours"))
    };
    let (answer, origin) = once(&world.ledger, &first, KEEP, overtaken).await.expect("an answer stands");
    assert_eq!((answer.body.as_ref(), origin), (br#"{"id":"theirs"}"#.as_slice(), Origin::Kept));
    do_once(&world, &keyed("k2", "{}"), note("ours")).await.expect("our first effects were not applied");
}

#[tokio::test]
async fn work_that_takes_too_long_is_given_up_within_its_lease() {
    let late = run(&keyed("k", "{}"), &|_| std::future::pending(), Duration::from_millis(10)).await;
    assert!(matches!(late, Err(HttpError::WorkTooLong)), "{late:?}");
    const { assert!(WORK_MAX.as_secs() < LEASE.as_secs()) };
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_stop_the_work() {
    let world = world().await;
    let tasks = tidegate_shared::tasks::Tasks::new();
    let http = Arc::new(Http {
        apis: crate::api::Apis::default(),
        callers: super::super::caller::Callers::nobody(),
        ledger: world.ledger.clone(),
        idempotency_window: KEEP,
        tasks: tasks.clone(),
    });
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let runs = Arc::new(AtomicU32::new(0));
    let work = {
        let (begun, go_on, runs) = (Arc::clone(&begun), Arc::clone(&go_on), Arc::clone(&runs));
        move |_| {
            let (begun, go_on, runs) = (Arc::clone(&begun), Arc::clone(&go_on), Arc::clone(&runs));
            async move {
                runs.fetch_add(1, Ordering::Relaxed);
                begun.notify_one();
                go_on.notified().await;
                Ok(note("a"))
            }
        }
    };
    let request = || {
        let request = Request::post("/notes").header("idempotency-key", "k");
        request.body(axum::body::Body::from("{}")).expect("a request")
    };
    let caller = CallerName::try_new("shop").expect("a name");
    let asked = idempotent(&http, caller.clone(), "POST /notes", request(), work);
    tokio::select! {
        _ = asked => panic!("the work waits"),
        () = begun.notified() => {}
    }
    go_on.notify_one();
    tasks.shutdown().cancel();
    assert_eq!(tasks.finish(Duration::from_secs(10)).await, 0);
    let again = idempotent(&http, caller, "POST /notes", request(), must_not_work).await.expect("it is kept");
    assert_eq!(again.headers()[REPLAYED], "true");
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}
