use std::io::{BufRead, BufReader, Write};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use tempfile::TempDir;

use super::*;

/// Set for the child process of the kill test, to the folder that it writes into.
const CHILD_FOLDER: &str = "TIDEGATE_STORE_TEST_CHILD";

async fn store() -> (TempDir, Store) {
    let folder = TempDir::new().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let make = "CREATE TABLE n (n INTEGER PRIMARY KEY);
                CREATE TABLE child (n INTEGER REFERENCES n (n) DEFERRABLE INITIALLY DEFERRED)";
    store.write(move |tx| tx.execute_batch(make)).await.expect("tables");
    (folder, store)
}

fn insert(number: i64) -> impl FnOnce(&Connection) -> rusqlite::Result<usize> + Send + 'static {
    move |tx| tx.execute("INSERT INTO n VALUES (?1)", [number])
}

async fn numbers(store: &Store) -> Vec<i64> {
    let read = store.read(|connection| {
        connection.prepare("SELECT n FROM n ORDER BY n")?.query_map([], |row| row.get(0))?.collect()
    });
    read.await.expect("numbers")
}

type Held<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + 'a>>;

/// Sends a write that lasts until it is let go.
fn send_slow_write(store: &Store) -> (std_mpsc::Receiver<()>, std_mpsc::Sender<()>, Held<'_>) {
    let (begin, begun) = std_mpsc::channel::<()>();
    let (let_go, wait) = std_mpsc::channel::<()>();
    let mut slow: Held<'_> = Box::pin(store.write(move |_| {
        drop(begin);
        wait.recv_timeout(Duration::from_secs(10)).expect("the test lets it go");
        Ok(())
    }));
    assert!((&mut slow).now_or_never().is_none());
    (begun, let_go, slow)
}

/// Holds the writer in a group of its own, so that all that is sent until it is let go makes the next group.
fn hold(store: &Store) -> (std_mpsc::Sender<()>, Held<'_>) {
    let (begun, let_go, held) = send_slow_write(store);
    begun.recv_timeout(Duration::from_secs(10)).expect_err("the writer drops its end when it begins");
    (let_go, held)
}

/// Commits in the write-ahead log: its frames that say how big the database is after them.
/// <https://sqlite.org/fileformat.html#the_write_ahead_log>
fn commits_in_log(folder: &Path) -> usize {
    let log = std::fs::read(folder.join("tidegate.db-wal")).expect("a log");
    let page = u32::from_be_bytes(log[8..12].try_into().expect("4 bytes")) as usize;
    log[32..].chunks(24 + page).filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test]
async fn many_writers_share_few_commits() {
    let (folder, store) = store().await;
    let before = commits_in_log(folder.path());
    let (let_go, held) = hold(&store);
    // Unconstrained: tokio would make the task pause after some of the writes, and the writer is let go in that pause.
    let writes = tokio::task::unconstrained(join_all((0..1_000).map(|number| store.write(insert(number)))));
    let release = async { let_go.send(()).expect("the writer waits") };
    let ((held, results), ()) = join(join(held, writes), release).await;
    held.expect("the held write");
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(numbers(&store).await.len(), 1_000);
    let commits = commits_in_log(folder.path()) - before;
    assert!(commits <= 10, "1,000 writes made {commits} commits");
}

#[tokio::test]
async fn no_write_is_answered_before_its_group_is_committed() {
    let (_folder, store) = store().await;
    let (first_go, first) = hold(&store);
    let mut between = Box::pin(store.write(insert(1)));
    assert!((&mut between).now_or_never().is_none());
    let (_, last_go, last) = send_slow_write(&store);
    first_go.send(()).expect("the writer waits");
    first.await.expect("the first group");
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut between).await.is_err(), "answered too early");
    assert_eq!(numbers(&store).await, Vec::<i64>::new());
    last_go.send(()).expect("the writer waits");
    between.await.expect("the write between");
    last.await.expect("the second group");
    assert_eq!(numbers(&store).await, [1]);
}

#[tokio::test]
async fn a_failing_statement_undoes_only_itself() {
    let (_folder, store) = store().await;
    let (let_go, held) = hold(&store);
    let half_done = store.write(|tx| {
        tx.execute("INSERT INTO n VALUES (2)", [])?;
        tx.execute("INSERT INTO nowhere VALUES (2)", [])
    });
    let writes = join(store.write(insert(1)), join(half_done, store.write(insert(3))));
    let release = async { let_go.send(()).expect("the writer waits") };
    let ((held, (one, (two, three))), ()) = join(join(held, writes), release).await;
    held.expect("the held write");
    assert!(matches!(two, Err(StoreError::Refused(_))), "{two:?}");
    assert!(one.is_ok() && three.is_ok());
    assert_eq!(numbers(&store).await, [1, 3]);
}

#[tokio::test]
async fn a_panic_undoes_only_itself_and_the_writer_lives() {
    let (_folder, store) = store().await;
    let (let_go, held) = hold(&store);
    let panicking = store.write(|tx| {
        tx.execute("INSERT INTO n VALUES (2)", [])?;
        tx.query_row("SELECT NULL", [], |_| -> rusqlite::Result<usize> { panic!("this test panics on purpose") })
    });
    let writes = join(store.write(insert(1)), join(panicking, store.write(insert(3))));
    let release = async { let_go.send(()).expect("the writer waits") };
    let ((held, (one, (two, three))), ()) = join(join(held, writes), release).await;
    held.expect("the held write");
    assert!(matches!(two, Err(StoreError::Panicked)), "{two:?}");
    assert!(one.is_ok() && three.is_ok());
    let read = store.read(|_| -> rusqlite::Result<()> { panic!("this test panics on purpose") }).await;
    assert!(matches!(read, Err(StoreError::Panicked)), "{read:?}");
    store.write(insert(4)).await.expect("the writer lives");
    assert_eq!(numbers(&store).await, [1, 3, 4]);
}

#[tokio::test]
async fn a_write_that_ends_the_transaction_takes_its_group_with_it_and_no_other() {
    let (_folder, store) = store().await;
    store.write(insert(2)).await.expect("a number");
    for ending in ["ROLLBACK", "INSERT OR ROLLBACK INTO n VALUES (2)", "RELEASE one"] {
        let (let_go, held) = hold(&store);
        let ends = store.write(move |tx| tx.execute(ending, []));
        let writes = join(store.write(insert(1)), join(ends, store.write(insert(3))));
        let release = async { let_go.send(()).expect("the writer waits") };
        let ((_, (one, (ends, three))), ()) = join(join(held, writes), release).await;
        assert!(matches!(one, Err(StoreError::NotCommitted(_))), "{ending}: {one:?}");
        assert!(ends.is_err(), "{ending}");
        assert!(matches!(three, Err(StoreError::NotCommitted(_))), "{ending}: {three:?}");
        assert_eq!(numbers(&store).await, [2], "{ending}");
        assert!(store.health().get().is_up(), "{ending}");
    }
    store.write(insert(4)).await.expect("the next group");
    assert_eq!(numbers(&store).await, [2, 4]);
}

/// A COMMIT is made to fail by a deferred foreign key, which SQLite checks only then.
#[tokio::test]
async fn a_failed_commit_keeps_nothing_and_the_store_recovers_by_itself() {
    let (_folder, store) = store().await;
    let (let_go, held) = hold(&store);
    let orphan = store.write(|tx| tx.execute("INSERT INTO child VALUES (99)", []));
    let release = async { let_go.send(()).expect("the writer waits") };
    let ((_, (one, orphan)), ()) = join(join(held, join(store.write(insert(1)), orphan)), release).await;
    for outcome in [one, orphan] {
        assert!(matches!(outcome, Err(StoreError::NotCommitted(_))), "{outcome:?}");
    }
    assert_eq!(numbers(&store).await, Vec::<i64>::new());
    let mut health = store.health().watch();
    let recovered = health.wait_for(Health::is_up);
    tokio::time::timeout(Duration::from_secs(5), recovered).await.expect("it probes itself").expect("a store");
    store.write(insert(1)).await.expect("a write after the recovery");
}

#[tokio::test]
async fn a_full_disk_is_not_the_statements_fault() {
    let (_folder, store) = store().await;
    store.write(|tx| tx.query_row("PRAGMA max_page_count = 20", [], |_| Ok(()))).await.expect("a small limit");
    let big = store.write(|tx| tx.execute("CREATE TABLE big AS SELECT zeroblob(1000000) AS b", [])).await;
    assert!(matches!(big, Err(StoreError::NotCommitted(_))), "{big:?}");
    store.write(insert(1)).await.expect("a small write still fits");
}

#[tokio::test]
async fn a_read_sees_what_was_answered_before_and_does_not_wait_for_the_writer() {
    let (_folder, store) = store().await;
    store.write(insert(1)).await.expect("a write");
    let (let_go, held) = hold(&store);
    for _ in 0..20 {
        assert_eq!(numbers(&store).await, [1]);
    }
    let_go.send(()).expect("the writer waits");
    held.await.expect("the held write");
}

#[tokio::test]
async fn a_write_whose_caller_is_gone_stands() {
    let (folder, store) = store().await;
    let (let_go, held) = hold(&store);
    let mut abandoned = Box::pin(store.write(insert(7)));
    assert!((&mut abandoned).now_or_never().is_none());
    drop((abandoned, held));
    let_go.send(()).expect("the writer waits");
    drop(store);
    let store = Store::open(folder.path()).expect("the folder is free once the last handle is gone");
    assert_eq!(numbers(&store).await, [7]);
}

#[tokio::test]
async fn a_folder_is_used_by_one_store_at_a_time() {
    let (folder, store) = store().await;
    let second = Store::open(folder.path());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    let clone = store.clone();
    drop(store);
    assert!(matches!(Store::open(folder.path()), Err(OpenError::InUse { .. })), "a clone still has it");
    drop(clone);
    Store::open(folder.path()).expect("free again");
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let error = Store::open(Path::new("/proc/tidegate")).expect_err("nobody makes folders there");
    assert!(error.to_string().contains("/proc/tidegate"), "{error}");
}

#[test]
fn the_last_handle_may_go_inside_of_a_write() {
    let folder = TempDir::new().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let store = Store::open(folder.path()).expect("a store");
    let (let_go, wait) = std_mpsc::channel::<()>();
    let last = store.clone();
    let mut write = Box::pin(async move {
        store
            .clone()
            .write(move |_| {
                wait.recv_timeout(Duration::from_secs(10)).expect("the test lets it go");
                drop(last);
                Ok(())
            })
            .await
    });
    runtime.block_on(async { assert!((&mut write).now_or_never().is_none()) });
    drop(write);
    let_go.send(()).expect("the writer waits");
    let begun = Instant::now();
    while Store::open(folder.path()).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the writer did not close");
        std::thread::yield_now();
    }
}

/// A child process writes and says each number once it was answered; it is killed in the middle of that.
#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    for round in 1..=3 {
        let folder = TempDir::new().expect("a folder");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "store::tests::child_of_the_kill_test", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut answered = Vec::new();
        for line in BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok) {
            let Some(number) = line.strip_prefix("answered ") else { continue };
            answered.push(number.parse::<i64>().expect("a number"));
            if answered.len() == round * 150 {
                child.kill().expect("a kill");
            }
        }
        child.wait().expect("its end");
        assert!(answered.len() >= round * 150, "the child wrote {} only", answered.len());
        let store = Store::open(folder.path()).expect("the store opens after a kill");
        let kept = numbers(&store).await;
        assert!(answered.iter().all(|number| kept.binary_search(number).is_ok()), "an answered write is gone");
        let whole = store.read(|c| c.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))).await;
        assert_eq!(whole.expect("a check"), "ok");
    }
}

/// Does nothing unless it is the child of the test above.
#[tokio::test]
async fn child_of_the_kill_test() {
    #[expect(clippy::disallowed_methods, reason = "only the parent test sets it")]
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let store = Store::open(Path::new(&folder)).expect("a store");
    store.write(|tx| tx.execute_batch("CREATE TABLE n (n INTEGER PRIMARY KEY)")).await.expect("a table");
    let write = async |first: i64| {
        for number in (first..).step_by(16) {
            store.write(insert(number)).await.expect("a write");
            let mut out = std::io::stdout().lock();
            writeln!(out, "answered {number}").and_then(|()| out.flush()).expect("the parent reads");
        }
    };
    join_all((0..16).map(write)).await;
}

#[tokio::test]
async fn a_write_with_its_group_that_fails_undoes_all_of_it() {
    let (_folder, store) = store().await;
    let (let_go, held) = hold(&store);
    let wrong = |tx: &Connection| tx.execute("INSERT INTO n VALUES (2), ('two')", []);
    let panicking = |_: &Connection| -> rusqlite::Result<usize> { panic!("in a write") };
    let all = join(
        join(store.write(insert(1)), store.write_with_group(insert(2))),
        join(store.write_with_group(wrong), store.write(insert(3))),
    );
    let release = async { let_go.send(()).expect("the writer waits") };
    let ((held, ((one, two), (wrong, three))), ()) = join(join(held, all), release).await;
    held.expect("the held write");
    assert!(matches!(wrong, Err(StoreError::Refused(_))), "{wrong:?}");
    for undone in [one, two, three] {
        assert!(matches!(undone, Err(StoreError::NotCommitted(_))), "{undone:?}");
    }
    assert!(matches!(store.write_with_group(panicking).await, Err(StoreError::Panicked)));
    assert_eq!(numbers(&store).await, [0_i64; 0]);
    store.write_with_group(insert(4)).await.expect("the store goes on");
    assert_eq!(numbers(&store).await, [4]);
}

#[tokio::test]
async fn tables_of_an_older_build_get_what_they_lack_once() {
    let folder = TempDir::new().expect("a folder");
    let older = Connection::open(folder.path().join(DATABASE)).expect("a database");
    older.execute_batch(include_str!("../../../fixtures/store/2.sql")).expect("the tables of version 2");
    let claims = "SELECT event_key, expires_at FROM claims ORDER BY event_key";
    let claims: Vec<(Vec<u8>, i64)> = older
        .prepare(claims)
        .and_then(|mut query| query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .expect("claims");
    assert!(!claims.is_empty());
    older.close().expect("closed");
    for _ in 0..2 {
        let store = Store::open(folder.path()).expect("it opens");
        let read = store.read(|connection| {
            connection
                .prepare(
                    "SELECT event_key, claimed_until FROM events WHERE claimed_until IS NOT NULL ORDER BY event_key",
                )?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<Vec<(Vec<u8>, i64)>>>()
        });
        assert_eq!(read.await.expect("events"), claims, "each claim is a part of its event now");
    }
}

#[tokio::test]
async fn the_log_keeps_its_bound_beside_steady_writes_and_is_gone_after_the_close() {
    /// The bound at which the writer moves what is left, and what a group adds at most before that.
    const LOG_BYTES_MAX: u64 = 40 << 20;
    let (folder, store) = store().await;
    store.write(|tx| tx.execute_batch("CREATE TABLE large (value BLOB)")).await.expect("a table");
    let log = folder.path().join("tidegate.db-wal");
    let value = vec![7_u8; 16 * 1_024];
    let mut largest = 0;
    for _ in 0..120 {
        let writes = (0..48).map(|_| {
            let value = value.clone();
            store.write(move |tx| tx.execute("INSERT INTO large VALUES (?1)", [value]))
        });
        assert!(join_all(writes).await.iter().all(Result::is_ok));
        largest = largest.max(std::fs::metadata(&log).expect("a log").len());
    }
    assert!((4 << 20..LOG_BYTES_MAX).contains(&largest), "the log took {largest} bytes");
    drop(store);
    assert!(!log.exists(), "the last connection moves everything and deletes the log");
    assert!(std::fs::metadata(folder.path().join(DATABASE)).expect("a database").len() > 90 << 20);
}

/// SQLite lists no `HAVE_FDATASYNC`; this one comes by the same variable of `.cargo/config.toml`.
#[tokio::test]
async fn sqlite_is_built_as_this_repository_says() {
    let (_folder, store) = store().await;
    let options = store.read(|connection| {
        let mut options = connection.prepare("PRAGMA compile_options")?;
        options.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
    });
    let options = options.await.expect("options");
    assert!(options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"), "{options:?}");
}
