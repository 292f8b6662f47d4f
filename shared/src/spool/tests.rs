//! The spool on a real disk: bounds, order, twins, and what a successor finds.

use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::event::{BodyHash, EventId, EventKey, EventType, RequestId, SourceName};
use crate::wire::Message;

const WINDOW: Duration = Duration::from_secs(60);

fn event(id: &str, body: &str) -> Event {
    let source = SourceName::try_new("github").expect("a name");
    let id = EventId::try_new(id).expect("an id");
    let mut headers = HeaderMap::new();
    headers.insert("x-github-event", "push".parse().expect("a value"));
    Event {
        key: EventKey::new(&source, &id),
        source,
        id,
        event_type: EventType::try_new("push").expect("a type"),
        received_at: Timestamp::from_second(1_800_000_000).expect("a time"),
        request_id: RequestId::generate(),
        traceparent: None,
        content_type: Some("application/json".to_owned()),
        headers,
        body_hash: BodyHash::of(body.as_bytes()),
        fingerprint: Some(BodyHash::of(b"without its counters")),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn config(folder: &Path) -> SpoolConfig {
    SpoolConfig { path: folder.to_owned(), bytes_max: 1 << 20, age_max: Duration::from_secs(3_600) }
}

async fn ids(slot: &Slot, width: usize) -> Vec<String> {
    let next = slot.next(width).await.expect("rows");
    next.iter().map(|waiting| waiting.event.as_ref().expect("an event").id.to_string()).collect()
}

#[tokio::test]
async fn a_waiting_event_is_what_was_kept_and_the_oldest_comes_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(&config(folder.path())).await.expect("a spool");
    let kept = event("1", "body");
    assert_eq!(spool.keep(&kept, WINDOW).await.expect("kept"), Stored::New);
    assert_eq!(spool.keep(&event("2", "body"), WINDOW).await.expect("kept"), Stored::New);
    assert_eq!(spool.keep(&kept, WINDOW).await.expect("known"), Stored::Duplicate);
    let other = Event { fingerprint: Some(BodyHash::of(b"other")), ..kept.clone() };
    assert_eq!(spool.keep(&other, WINDOW).await.expect("known"), Stored::OtherBody);
    assert_eq!(spool.figures().events, 2);
    let slot = &spool.slots()[0];
    let next = slot.next(8).await.expect("rows");
    let read = next[0].event.as_ref().expect("an event");
    assert_eq!(Message::first(read.clone()).encode(), Message::first(kept.clone()).encode());
    assert_eq!(read.fingerprint, kept.fingerprint);
    assert_eq!((next[0].window, next[0].tries), (WINDOW, 0));
    assert_eq!(ids(slot, 1).await, ["1"]);
    slot.remove(vec![next[0].id]).await.expect("removed");
    assert_eq!(ids(slot, 8).await, ["2"]);
    slot.remove(vec![next[0].id, next[1].id]).await.expect("removed");
    let figures = spool.figures();
    assert_eq!((figures.events, figures.bytes, figures.oldest_age_seconds), (0, 0, 0.0));
}

#[tokio::test]
async fn a_full_spool_takes_nothing_until_there_is_room_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(&SpoolConfig { bytes_max: 2_000, ..config(folder.path()) }).await.expect("a spool");
    let body = "x".repeat(1_000);
    assert_eq!(spool.keep(&event("1", &body), WINDOW).await.expect("kept"), Stored::New);
    assert!(matches!(spool.keep(&event("2", &body), WINDOW).await, Err(SpoolError::Full { bytes_max: 2_000 })));
    assert_eq!(spool.figures().events, 1);
    let slot = &spool.slots()[0];
    let first = slot.next(1).await.expect("rows")[0].id;
    slot.remove(vec![first]).await.expect("removed");
    assert_eq!(spool.keep(&event("2", &body), WINDOW).await.expect("kept"), Stored::New);
}

#[tokio::test]
async fn a_spool_whose_oldest_event_is_too_old_takes_nothing_and_drops_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(&SpoolConfig { age_max: Duration::ZERO, ..config(folder.path()) }).await.expect("a spool");
    assert_eq!(spool.keep(&event("1", "body"), WINDOW).await.expect("kept"), Stored::New);
    while spool.is_open() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(spool.keep(&event("2", "body"), WINDOW).await, Err(SpoolError::Old { .. })));
    assert_eq!(spool.health().state(), "blocked");
    // One that the broker would not take does not close the spool.
    let slot = &spool.slots()[0];
    let first = slot.next(1).await.expect("rows").remove(0);
    slot.put_behind(&first, "too large".to_owned()).await.expect("moved");
    assert!(spool.is_open());
    assert_eq!((spool.figures().events, spool.figures().behind), (1, 1));
}

#[tokio::test]
async fn an_event_that_the_broker_does_not_take_waits_behind_the_others_and_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(&config(folder.path())).await.expect("a spool");
    for id in ["1", "2", "3"] {
        spool.keep(&event(id, "body"), WINDOW).await.expect("kept");
    }
    let slot = &spool.slots()[0];
    let first = slot.next(1).await.expect("rows").remove(0);
    slot.put_behind(&first, "too large".to_owned()).await.expect("moved");
    assert_eq!(ids(slot, 8).await, ["2", "3"]);
    let rest = slot.next(8).await.expect("rows").iter().map(|waiting| waiting.id).collect();
    slot.remove(rest).await.expect("removed");
    assert_eq!(ids(slot, 8).await, [""; 0], "its time has not come");
    spool.retry_now().await.expect("written");
    assert_eq!(ids(slot, 8).await, ["1"]);
    let rows = spool.list(None, 10).await.expect("rows");
    assert_eq!((rows.len(), rows[0].tries, rows[0].reason.as_deref()), (1, 1, Some("too large")));
    assert!(spool.list(Some(&rows[0].id), 10).await.expect("rows").is_empty());
}

#[tokio::test]
async fn two_processes_share_a_folder_and_each_drains_what_the_other_leaves() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path());
    let (first, second) = (Spool::open(&config).await.expect("a spool"), Spool::open(&config).await.expect("a spool"));
    assert_eq!((first.slots()[0].number(), second.slots()[0].number()), (0, 1));
    first.keep(&event("1", "body"), WINDOW).await.expect("kept");
    second.keep(&event("2", "body"), WINDOW).await.expect("kept");
    second.adopt().await;
    assert_eq!(second.slots().len(), 1, "the first one lives");
    drop(first);
    second.adopt().await;
    assert_eq!(second.figures().events, 2);
    assert_eq!(second.list(None, 1).await.expect("rows")[0].event_id, "1");
    let adopted = second.slots().remove(1);
    let next = adopted.next(8).await.expect("rows");
    adopted.remove(vec![next[0].id]).await.expect("removed");
    drop(adopted);
    second.adopt().await;
    assert_eq!(second.slots().len(), 1, "the empty one is free again");
    drop(second);
    let successor = Spool::open(&config).await.expect("a spool");
    assert_eq!(successor.slots()[0].number(), 0);
    successor.adopt().await;
    assert_eq!(successor.figures().events, 1);
    let drains = Spool::drain_only(&config);
    assert!(!drains.is_open());
    assert!(matches!(drains.keep(&event("3", "body"), WINDOW).await, Err(SpoolError::Absent)));
}
