//! Tables of an older build, with rows in them, brought up to date.

use tidegate_shared::ledger::SCHEMA_VERSION;

use super::world::*;
use super::*;

/// The migrations of each adapter, as they ship, beside what was published.
const PUBLISHED: [(&str, [(&str, &str); 3]); 2] = [
    (
        "embedded",
        [
            (
                include_str!("../../../shared/src/ledger/embedded/schema.sql"),
                include_str!("../../../fixtures/ledger/embedded-1.sql"),
            ),
            (
                include_str!("../../../shared/src/ledger/embedded/schema-2.sql"),
                include_str!("../../../fixtures/ledger/embedded-2.sql"),
            ),
            (
                include_str!("../../../shared/src/ledger/embedded/schema-3.sql"),
                include_str!("../../../fixtures/ledger/embedded-3.sql"),
            ),
        ],
    ),
    (
        "postgres",
        [
            (
                include_str!("../../../shared/src/ledger/postgres/schema.sql"),
                include_str!("../../../fixtures/ledger/postgres-1.sql"),
            ),
            (
                include_str!("../../../shared/src/ledger/postgres/schema-2.sql"),
                include_str!("../../../fixtures/ledger/postgres-2.sql"),
            ),
            (
                include_str!("../../../shared/src/ledger/postgres/schema-3.sql"),
                include_str!("../../../fixtures/ledger/postgres-3.sql"),
            ),
        ],
    ),
];

/// Rows that only a ledger of version 2 can have: a step, an answered key, and a grant.
const SINCE_VERSION_2: &str = "
    INSERT INTO steps (event_key, handler, step, undo, outcome, result, attempt, at)
        SELECT event_key, 'payments', 'charge', 0, 'done', '1', 1, 4 FROM events WHERE event_id = 'e1';
    INSERT INTO idempotency_keys (scope, key, fingerprint, owner, lease_until, status, expires_at)
        SELECT 'payments', 'k', event_key, 'me', 1, 200, 9000000000000 FROM events WHERE event_id = 'e1';
    INSERT INTO grants (api, version, problem, updated_at) VALUES ('crm', 3, 'revoked', 1);
";

#[test]
fn no_published_migration_ever_changes() {
    for (adapter, migrations) in PUBLISHED {
        assert_eq!(migrations.len(), usize::try_from(SCHEMA_VERSION).expect("small"), "publish the newest one too");
        for (version, (ships, published)) in (1..).zip(migrations) {
            assert_eq!(ships, published, "{adapter} {version} was published: write a new migration instead");
        }
    }
}

/// What a ledger of `version` kept of two events: one applied at the second attempt, one dead.
async fn at_version(world: &World, version: usize, applied: &Event, dead: &Event) {
    let of = match &world.place {
        Place::Embedded { .. } => "embedded",
        Place::Postgres { .. } => "postgres",
    };
    let (_, migrations) = PUBLISHED.iter().find(|(place, _)| *place == of).expect("both adapters are there");
    let schema: String = migrations[..version].iter().map(|(_, published)| *published).collect();
    let ids: String = (1..=version).map(|number| format!("('tidegate/{number}', 1), ")).collect();
    let newer = if version >= 2 { SINCE_VERSION_2 } else { "" };
    let [key, dead_key] = [applied, dead].map(|event| match &world.place {
        Place::Embedded { .. } => format!("x'{}'", event.key),
        Place::Postgres { .. } => format!("'\\x{}'::bytea", event.key),
    });
    let empty = if of == "embedded" { "x''" } else { "''::bytea" };
    let rows = format!(
        "CREATE TABLE migrations (id TEXT PRIMARY KEY, applied_at BIGINT NOT NULL);
         {schema};
         {};
         INSERT INTO migrations VALUES {ids} ('payments/1', 1);
         INSERT INTO events (event_key, source, event_id, event_type, received_at, request_id, handlers)
             VALUES ({key}, 'shop', 'e1', 't', 1, 'r', 'payments'), ({dead_key}, 'shop', 'e2', 't', 2, 'r', 'payments');
         INSERT INTO inbox (event_key, handler, epoch, source, attempts, applied_at)
             VALUES ({key}, 'payments', 0, 'shop', 2, 5);
         INSERT INTO attempts (event_key, handler, epoch, attempt, at, error)
             VALUES ({key}, 'payments', 0, 1, 4, 'no');
         INSERT INTO dead_letters
             (seq, id, dedupe_key, handler, source, event_id, event_key, event_type, reason, attempts, dead_at, status,
              message_id, sent_at, headers, body, attempt, ladder_start, epoch)
             VALUES (1, 'd', 'payments/{}/0', 'payments', 'shop', 'e2', {dead_key}, 't', 'gave up', 7, 6, 'dead',
                     'm', 1, {empty}, {empty}, 7, 1, 0);
         {newer}",
        TABLES.sql, dead.key
    );
    world.run(&rows).await;
}

async fn goes_on_with_all_that_it_kept(world: &World, version: usize) {
    let (applied, dead) = (event("e1"), event("e2"));
    at_version(world, version, &applied, &dead).await;
    let racers = (0..4).map(|_| {
        let ledger = world.another();
        world.tasks.spawn_job(async move { ledger.migrate(&[TABLES]).await })
    });
    join_all(racers.collect::<Vec<_>>())
        .await
        .into_iter()
        .for_each(|racer| racer.expect("a racer").expect("it is run"));
    assert_eq!(world.number("SELECT count(*) FROM migrations").await, i64::from(SCHEMA_VERSION) + 1);
    assert_eq!(world.status(&applied).await, Status::Applied);
    assert_eq!(world.status(&dead).await, Status::Dead);
    assert_eq!(world.dead_ids().await, ["d"]);
    let story = world.ledger.event("e1".to_owned()).await.expect("a story").pop().expect("the event");
    assert_eq!((story.failed_attempts[0].attempts.len(), story.steps.len()), (1, usize::from(version >= 2)));
    let kept = if version >= 2 { 1 } else { 0 };
    assert_eq!(world.number("SELECT count(*) FROM grants WHERE problem = 'revoked'").await, kept);
    assert_eq!(world.number("SELECT count(*) FROM idempotency_keys WHERE status = 200").await, kept);
    let commit = commit_of(&applied, pay(&applied, "usd", 5));
    assert_eq!(world.commit_one(commit).await.expect("a commit"), Applied::Before);
    let replay = Progress { attempt: 8, ladder_start: 8, epoch: 0, replay_of: Some("d".to_owned()) };
    let commit = Commit { progress: replay, ..commit_of(&dead, pay(&dead, "usd", 5).compensated()) };
    assert_eq!(world.commit_one(commit).await.expect("a commit"), Applied::Now);
    assert_eq!(world.status(&dead).await, Status::Compensated);
    assert!(world.dead_ids().await.is_empty());
}

async fn embedded_goes_on(version: usize) {
    let world = World::embedded_without_tables();
    within_a_minute(goes_on_with_all_that_it_kept(&world, version)).await;
    world.finish().await;
}

async fn postgres_goes_on(version: usize) {
    let world = World::postgres_without_tables();
    let Place::Postgres { namespace } = &world.place else { unreachable!("it is one of PostgreSQL") };
    world.run(&format!("CREATE SCHEMA \"{namespace}\"")).await;
    within_a_minute(goes_on_with_all_that_it_kept(&world, version)).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_ledgers_of_every_version_go_on_with_all_that_they_kept() {
    for version in 1..PUBLISHED[0].1.len() {
        embedded_goes_on(version).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_ledgers_of_every_version_go_on_with_all_that_they_kept() {
    for version in 1..PUBLISHED[1].1.len() {
        postgres_goes_on(version).await;
    }
}
