//! Dead letters: kept, replayed, delivered, discarded.

use super::world::*;
use super::*;

pub(super) async fn a_dead_letter_is_replayed_and_delivered(world: &World) {
    let event = event("e1");
    let first = FailedAttempt { wanted_by: "payments".into(), ..attempt_of(&event, 1) };
    world.ledger.record_attempt(first).await.expect("an attempt");
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

pub(super) async fn a_replay_that_dies_is_dead_again_under_its_id(world: &World) {
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

pub(super) async fn nothing_is_both_dead_and_applied(world: &World) {
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

    let another = world.another();
    let races = (0..60).map(|number| {
        let event = event(&format!("race{number}"));
        let (one, other) = (another.clone(), world.ledger.clone());
        let commit = commit_of(&event, pay(&event, "usd", 1));
        let dead = dead_of(&event, attempt(1), "race");
        world.tasks.spawn_job(async move {
            let (applied, kept) = futures_util::future::join(one.commit(vec![commit]), other.dead_letter(dead)).await;
            kept.expect("an answer");
            assert!(matches!(applied[..], [Ok(Applied::Now)]), "{applied:?}");
        })
    });
    join_all(races.collect::<Vec<_>>()).await.into_iter().for_each(|race| race.expect("a race"));
    assert!(world.dead_ids().await.is_empty());
    assert_eq!(world.number("SELECT amount FROM balances").await, 60);
}

pub(super) async fn what_is_discarded_is_never_applied(world: &World) {
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

pub(super) async fn unreadable_messages_are_kept_once_each(world: &World) {
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

pub(super) async fn dead_letters_are_filtered_and_counted(world: &World) {
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
