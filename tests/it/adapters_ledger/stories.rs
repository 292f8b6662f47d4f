//! What the admin API reads of events.

use super::world::*;
use super::*;

pub(super) async fn an_events_story_shows_in_its_status(world: &World) {
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
    let parts: Vec<_> =
        story.row.handlers.iter().map(|part| (part.handler.as_str(), part.status, part.attempts)).collect();
    assert_eq!(parts, [("archive", Status::Applied, 1), ("payments", Status::Applied, 3)]);
    let attempts: Vec<_> =
        story.failed_attempts[0].attempts.iter().map(|row| (row.attempt, row.error.as_str())).collect();
    assert_eq!(attempts, [(1, "failure 1"), (2, "failure 2")]);
    assert_eq!(story.row.received_at, retried.received_at);
    assert_eq!(story.content_type.as_deref(), Some("application/json"));
    let content = story.content.expect("it was archived");
    assert_eq!(content.body, retried.body);
    assert!(content.headers.contains(&("http-x-test".to_owned(), Bytes::from_static(b"yes"))));
}

pub(super) async fn an_event_is_found_by_key_and_by_id_in_every_source(world: &World) {
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

pub(super) async fn pages_show_every_row_once_newest_first(world: &World) {
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

pub(super) async fn what_failed_is_pending_until_it_is_applied_or_dead(world: &World) {
    let pending = async |since| {
        let found = world.ledger.pending(since).await.expect("an answer");
        found.into_iter().map(|pending| (pending.handler, pending.count, pending.oldest)).collect::<Vec<_>>()
    };
    let began = Timestamp::now();
    assert!(pending(began).await.is_empty());
    let [applied, dead, stays] = ["e1", "e2", "e3"].map(event);
    for (event, number) in [(&applied, 1), (&dead, 1), (&stays, 1), (&stays, 2)] {
        world.ledger.record_attempt(attempt_of(event, number)).await.expect("an attempt");
    }
    assert_eq!(pending(began).await, [("payments".to_owned(), 3, stays.received_at)]);
    world.commit_one(commit_of(&applied, Effects::none())).await.expect("a commit");
    world.ledger.dead_letter(dead_of(&dead, attempt(2), "no")).await.expect("a dead letter");
    assert_eq!(pending(began).await, [("payments".to_owned(), 1, stays.received_at)]);
    assert!(pending(Timestamp::now()).await.is_empty(), "what failed before is not asked for");
}
