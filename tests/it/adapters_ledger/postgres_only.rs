//! What only a server can do to the ledger: go away, hang, refuse late, change under it.

use std::time::Instant;

use tidegate_shared::health::Health;
use tidegate_tests::servers::Postgres;

use super::world::*;
use super::*;

async fn own_server() -> Postgres {
    Postgres::own().await.expect("a PostgreSQL server of this test's own")
}

async fn run_sql(server: &Postgres, tasks: &Tasks, sql: &str) {
    let (client, connection) = tokio_postgres::connect(server.url(), tokio_postgres::NoTls).await.expect("the server");
    drop(tasks.spawn_job(connection));
    client.batch_execute(sql).await.expect("the statement");
}

fn ledger_with(url: &str, tasks: &Tasks, change: impl FnOnce(&mut PostgresSettings)) -> Ledger {
    let mut settings = PostgresSettings::try_new([url], "tidegate").expect("a valid URL");
    settings.pool_max = 4;
    change(&mut settings);
    Ledger::Postgres(PostgresLedger::start(&settings, tasks))
}

async fn until_health(ledger: &Ledger, wanted: &str) {
    let mut health = ledger.health().watch();
    let reached = tokio::time::timeout(Duration::from_secs(10), health.wait_for(|now| now.state() == wanted)).await;
    assert!(reached.is_ok(), "{} instead of {wanted}", ledger.health().get());
}

fn payments_of(numbers: std::ops::Range<usize>) -> Vec<Commit> {
    let commit = |number| {
        let event = event(&format!("e{number}"));
        commit_of(&event, pay(&event, ["usd", "eur"][number % 2], 1))
    };
    numbers.map(commit).collect()
}

/// Commits until everything is applied, as a worker that waits while the ledger is away.
async fn commit_all(ledger: &Ledger, mut commits: Vec<Commit>) {
    let until = Instant::now() + Duration::from_secs(40);
    while !commits.is_empty() {
        assert!(Instant::now() < until, "{} commits are left", commits.len());
        let outcomes = ledger.commit(commits.clone()).await;
        let unavailable = |outcome: &Result<Applied, CommitError>| {
            assert!(!matches!(outcome, Err(CommitError::Refused(_))), "{outcome:?}");
            outcome.is_err()
        };
        commits =
            commits.into_iter().zip(outcomes).filter(|(_, outcome)| unavailable(outcome)).map(|(c, _)| c).collect();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_noticed_at_once_and_found_again() {
    let (server, tasks) = (own_server().await, Tasks::new());
    let ledger = ledger_with(server.url(), &tasks, |_| ());
    ledger.migrate(&[TABLES]).await.expect("the tables");
    until_health(&ledger, "up").await;
    for round in 0..2 {
        commit_all(&ledger, payments_of(round * 20..round * 20 + 10)).await;
        server.kill().await.expect("a kill");
        let begun = Instant::now();
        for outcome in ledger.commit(payments_of(round * 20 + 10..round * 20 + 20)).await {
            assert!(matches!(outcome, Err(CommitError::Unavailable(_))), "{outcome:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
        until_health(&ledger, "down").await;
        server.start().await.expect("the server comes back");
        commit_all(&ledger, payments_of(round * 20..round * 20 + 20)).await;
        until_health(&ledger, "up").await;
    }
    run_sql(
        &server,
        &tasks,
        "SELECT 1 / (count(*) = 40 AND count(DISTINCT event_id) = 40)::int FROM tidegate.applied_log",
    )
    .await;
    tasks.shutdown().cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_killed_again_and_again_lose_and_repeat_nothing() {
    let (server, tasks) = (own_server().await, Tasks::new());
    let ledger = ledger_with(server.url(), &tasks, |_| ());
    ledger.migrate(&[TABLES]).await.expect("the tables");
    let killer = async {
        for _ in 0..60 {
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidegate'";
            run_sql(&server, &tasks, kill).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let workers = (0..4).map(|worker| {
        let ledger = ledger.clone();
        tasks.spawn_job(async move {
            for batch in 0..10 {
                let first = worker * 300 + batch * 30;
                commit_all(&ledger, payments_of(first..first + 30)).await;
            }
        })
    });
    let workers = join_all(workers.collect::<Vec<_>>());
    let (ended, ()) = futures_util::future::join(workers, killer).await;
    ended.into_iter().for_each(|worker| worker.expect("a worker"));
    run_sql(
        &server,
        &tasks,
        "SELECT 1 / (count(*) = 1200 AND count(DISTINCT event_id) = 1200)::int FROM tidegate.applied_log",
    )
    .await;
    run_sql(&server, &tasks, "SELECT 1 / (sum(amount) = 1200)::int FROM tidegate.balances").await;
    tasks.shutdown().cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_given_up_in_time() {
    let (server, tasks) = (own_server().await, Tasks::new());
    let ledger = ledger_with(server.url(), &tasks, |settings| {
        settings.timeouts.transaction = Duration::from_secs(1);
        settings.timeouts.connect = Duration::from_secs(1);
    });
    ledger.migrate(&[TABLES]).await.expect("the tables");
    server.pause().await.expect("a pause");
    let begun = Instant::now();
    for outcome in ledger.commit(payments_of(0..3)).await {
        assert!(matches!(outcome, Err(CommitError::Unavailable(_))), "{outcome:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
    until_health(&ledger, "down").await;
    server.resume().await.expect("the server goes on");
    commit_all(&ledger, payments_of(0..3)).await;
    until_health(&ledger, "up").await;
    tasks.shutdown().cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_is_not_up() {
    let (server, tasks) = (own_server().await, Tasks::new());
    let first = ledger_with(server.url(), &tasks, |_| ());
    first.migrate(&[TABLES]).await.expect("the tables");
    run_sql(&server, &tasks, "ALTER DATABASE postgres SET default_transaction_read_only = on").await;
    let ledger = ledger_with(server.url(), &tasks, |_| ());
    until_health(&ledger, "down").await;
    for outcome in ledger.commit(payments_of(0..2)).await {
        assert!(matches!(outcome, Err(CommitError::Unavailable(_))), "{outcome:?}");
    }
    tasks.shutdown().cancel();
}

// The first server's machine takes connections and never says a word, as one that is frozen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_does_not_keep_the_others_from_being_asked() {
    let (server, tasks) = (own_server().await, Tasks::new());
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent_url = format!("postgres://postgres@{}/postgres", silent.local_addr().expect("an address"));
    let settings = PostgresSettings::try_new([silent_url.as_str(), server.url()], "tidegate").expect("valid URLs");
    let ledger = Ledger::Postgres(PostgresLedger::start(&settings, &tasks));
    let begun = Instant::now();
    ledger.migrate(&[TABLES]).await.expect("the tables");
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
    until_health(&ledger, "up").await;
    // Whoever answered last is asked first, so that this costs nothing any more.
    run_sql(
        &server,
        &tasks,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidegate'",
    )
    .await;
    let begun = Instant::now();
    commit_all(&ledger, payments_of(0..3)).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
    tasks.shutdown().cancel();
}

#[tokio::test]
async fn a_server_that_was_never_there_keeps_nobody_from_starting() {
    let tasks = Tasks::new();
    let begun = Instant::now();
    let ledger = ledger_with("postgres://tidegate:canary@127.0.0.1:1/app", &tasks, |_| ());
    assert!(begun.elapsed() < Duration::from_millis(500));
    until_health(&ledger, "down").await;
    let Health::Down(reason) = ledger.health().get() else { unreachable!("it was down a moment ago") };
    assert!(reason.contains("refused") && !reason.contains("canary"), "{reason}");
    let error = ledger.migrate(&[TABLES]).await.expect_err("nobody is there");
    assert!(!format!("{error} {ledger:?}").contains("canary"), "{error}");
    tasks.shutdown().cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_are_missing_are_nobodys_fault() {
    let tasks = Tasks::new();
    let ledger = ledger_in(&format!("tg-test-{}", uuid::Uuid::now_v7()), &tasks);
    let event = event("e1");
    for outcome in ledger.commit(vec![commit_of(&event, Effects::none())]).await {
        assert!(matches!(&outcome, Err(CommitError::Unavailable(why)) if why.contains("inbox")), "{outcome:?}");
    }
    let error = ledger.dead_letter(dead_of(&event, attempt(1), "no")).await.expect_err("there is no table");
    assert!(error.0.contains("dead_letters") || error.0.contains("inbox"), "{error}");
    tasks.shutdown().cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_commit_leaves_no_transaction_behind() {
    let world = World::postgres().await;
    let Place::Postgres { namespace } = &world.place else { unreachable!("it is one of PostgreSQL") };
    let mut settings = PostgresSettings::try_new([postgres_url().as_str()], namespace).expect("a valid URL");
    settings.pool_max = 1;
    let ledger = Ledger::Postgres(PostgresLedger::start(&settings, &world.tasks));
    let (slow, quick) = (event("slow"), event("quick"));
    let effects = pay(&slow, "usd", 1).sql("SELECT pg_sleep($1)", [Value::Float(1.0)]);
    let dropped = ledger.commit(vec![commit_of(&slow, effects.clone())]);
    assert!(tokio::time::timeout(Duration::from_millis(300), dropped).await.is_err(), "it sleeps for a second");
    let outcome = ledger.commit(vec![commit_of(&quick, Effects::none())]).await;
    assert!(matches!(outcome[..], [Ok(Applied::Now)]), "{outcome:?}");
    assert_eq!(world.number("SELECT count(*) FROM inbox").await, 1, "nothing of the dropped one is kept");
    let outcome = ledger.commit(vec![commit_of(&slow, effects)]).await;
    assert!(matches!(outcome[..], [Ok(Applied::Now)]), "{outcome:?}");
    assert_eq!(world.number("SELECT amount FROM balances").await, 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_too_slow_is_refused_alone() {
    let world = World::postgres().await;
    let Place::Postgres { namespace } = &world.place else { unreachable!("it is one of PostgreSQL") };
    let mut settings = PostgresSettings::try_new([postgres_url().as_str()], namespace).expect("a valid URL");
    settings.timeouts.statement = Duration::from_millis(300);
    let ledger = Ledger::Postgres(PostgresLedger::start(&settings, &world.tasks));
    let mut commits = payments_of(0..5);
    let effects = commits[2].effects.clone();
    commits[2].effects = effects.sql("SELECT pg_sleep(30)", []);
    let outcomes = ledger.commit(commits).await;
    assert!(refusal(&outcomes[2]).contains("statement timeout"), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Ok(Applied::Now))).count(), 4);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_commit_refuses_is_refused_alone() {
    let world = World::postgres().await;
    let table = Migration {
        id: "deferred/1",
        sql: "CREATE TABLE orders (id TEXT PRIMARY KEY);
              CREATE TABLE lines (id TEXT REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)",
    };
    world.ledger.migrate(&[TABLES, table]).await.expect("the tables");
    let mut commits = payments_of(0..5);
    let effects = commits[3].effects.clone();
    commits[3].effects = effects.sql("INSERT INTO lines VALUES ($1)", ["nothing".into()]);
    let outcomes = world.ledger.commit(commits).await;
    assert!(refusal(&outcomes[3]).contains("foreign key"), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Ok(Applied::Now))).count(), 4);
    assert_eq!(world.number("SELECT count(*) FROM applied_log").await, 4);
    world.finish().await;
}

/// Values of the types that SQLite does not have, and the content that is kept only on request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_take_the_types_of_their_columns() {
    let world = World::postgres().await;
    let table = Migration {
        id: "types/1",
        sql: "CREATE TYPE mood AS ENUM ('calm');
              CREATE DOMAIN amount AS BIGINT CHECK (VALUE > 0);
              CREATE TABLE types (n NUMERIC, j JSONB, js JSON, u UUID, t TIMESTAMPTZ, m mood, a amount, f REAL,
                                  i INTEGER, s SMALLINT, o BOOLEAN, v VARCHAR(9))",
    };
    world.ledger.migrate(&[TABLES, table]).await.expect("the tables");
    let event = event("e1");
    let insert = "INSERT INTO types VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let values = || {
        vec![
            Value::Int(-12_345_678_901),
            "{\"a\": 1}".into(),
            "[]".into(),
            "018f4b1e-0000-7000-8000-000000000001".into(),
            "2026-11-22T03:00:00.5+01:00".into(),
            "calm".into(),
            Value::Int(5),
            Value::Float(0.5),
            Value::Int(-7),
            Value::Int(7),
            Value::Bool(true),
            "text".into(),
        ]
    };
    let outcome = world.commit_one(commit_of(&event, Effects::none().sql(insert, values()))).await;
    assert!(matches!(outcome, Ok(Applied::Now)), "{outcome:?}");
    let same = "SELECT count(*) FROM types WHERE n = -12345678901 AND j->>'a' = '1' AND js::text = '[]' AND m = 'calm'
                AND t = '2026-11-22T02:00:00.5Z' AND a = 5 AND f = 0.5 AND i = -7 AND s = 7 AND o AND v = 'text'
                AND u = '018f4b1e-0000-7000-8000-000000000001'";
    assert_eq!(world.number(same).await, 1);
    assert_eq!(world.number("SELECT count(*) FROM events WHERE body IS NOT NULL").await, 0);
    for (place, bad) in [(8, Value::Int(i64::MAX)), (1, "{secret".into()), (3, "secret".into()), (6, Value::Int(-1))] {
        let mut values = values();
        values[place] = bad;
        let event = super::world::event(&format!("bad{place}"));
        let outcome = world.commit_one(commit_of(&event, Effects::none().sql(insert, values))).await;
        assert!(!refusal(&outcome).contains("secret"), "{outcome:?}");
    }
    world.finish().await;
}

/// Two rows taken in opposite order, with time between: the server must end one of the two, which is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_the_server_ends_for_a_deadlock_is_tried_again() {
    let world = World::postgres().await;
    let both = [["usd", "eur"], ["eur", "usd"]].map(|[first, second]| {
        let event = event(first);
        let effects = pay(&event, first, 1).sql("SELECT pg_sleep(0.3)", []).sql(UPSERT, [second.into(), Value::Int(1)]);
        let (ledger, commit) = (world.another(), commit_of(&event, effects));
        async move { ledger.commit(vec![commit]).await }
    });
    let begun = Instant::now();
    for outcome in join_all(both).await {
        assert!(matches!(outcome[..], [Ok(Applied::Now)]), "{outcome:?}");
    }
    assert!(begun.elapsed() > Duration::from_millis(900), "there was no deadlock: deadlock_timeout is a second");
    assert_eq!(world.number("SELECT count(*) FROM balances WHERE amount = 2").await, 2);
    world.finish().await;
}
