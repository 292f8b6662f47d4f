//! Tables of an older build, with rows in them, brought up to date.

use super::world::*;
use super::*;

const VERSION_1: [(&str, &str); 2] = [
    ("embedded", include_str!("../../../shared/src/ledger/embedded/schema.sql")),
    ("postgres", include_str!("../../../shared/src/ledger/postgres/schema.sql")),
];

/// What a ledger of version 1 kept of two events: one applied at the second attempt, one dead.
async fn at_version_1(world: &World, applied: &Event, dead: &Event) {
    let of = match &world.place {
        Place::Embedded { .. } => "embedded",
        Place::Postgres { .. } => "postgres",
    };
    let schema = VERSION_1.iter().find(|(place, _)| *place == of).map(|(_, schema)| *schema).expect("a schema");
    let [key, dead_key] = [applied, dead].map(|event| match &world.place {
        Place::Embedded { .. } => format!("x'{}'", event.key),
        Place::Postgres { .. } => format!("'\\x{}'::bytea", event.key),
    });
    let empty = if of == "embedded" { "x''" } else { "''::bytea" };
    let rows = format!(
        "CREATE TABLE migrations (id TEXT PRIMARY KEY, applied_at BIGINT NOT NULL);
         {schema};
         {};
         INSERT INTO migrations VALUES ('tidegate/1', 1), ('payments/1', 1);
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
                     'm', 1, {empty}, {empty}, 7, 1, 0)",
        TABLES.sql, dead.key
    );
    world.run(&rows).await;
}

pub(super) async fn version_1_goes_on_with_all_that_it_kept(world: &World) {
    let (applied, dead) = (event("e1"), event("e2"));
    at_version_1(world, &applied, &dead).await;
    let racers = (0..4).map(|_| {
        let ledger = world.another();
        world.tasks.spawn_job(async move { ledger.migrate(&[TABLES]).await })
    });
    join_all(racers.collect::<Vec<_>>())
        .await
        .into_iter()
        .for_each(|racer| racer.expect("a racer").expect("it is run"));
    assert_eq!(world.number("SELECT count(*) FROM migrations").await, 3);
    assert_eq!(world.status(&applied).await, Status::Applied);
    assert_eq!(world.status(&dead).await, Status::Dead);
    assert_eq!(world.dead_ids().await, ["d"]);
    let story = world.ledger.event("e1".to_owned()).await.expect("a story").pop().expect("the event");
    assert_eq!((story.failed_attempts[0].attempts.len(), story.steps.len()), (1, 0));
    let commit = commit_of(&applied, pay(&applied, "usd", 5));
    assert_eq!(world.commit_one(commit).await.expect("a commit"), Applied::Before);
    let replay = Progress { attempt: 8, ladder_start: 8, epoch: 0, replay_of: Some("d".to_owned()) };
    let commit = Commit { progress: replay, ..commit_of(&dead, pay(&dead, "usd", 5).compensated()) };
    assert_eq!(world.commit_one(commit).await.expect("a commit"), Applied::Now);
    assert_eq!(world.status(&dead).await, Status::Compensated);
    assert!(world.dead_ids().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_version_1_goes_on_with_all_that_it_kept() {
    let world = World::embedded_without_tables();
    within_a_minute(version_1_goes_on_with_all_that_it_kept(&world)).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_version_1_goes_on_with_all_that_it_kept() {
    let world = World::postgres_without_tables();
    let Place::Postgres { namespace } = &world.place else { unreachable!("it is one of PostgreSQL") };
    world.run(&format!("CREATE SCHEMA \"{namespace}\"")).await;
    within_a_minute(version_1_goes_on_with_all_that_it_kept(&world)).await;
    world.finish().await;
}
