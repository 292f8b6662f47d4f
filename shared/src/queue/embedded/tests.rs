use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::event::{BodyHash, EventId, EventKey, EventType, RequestId, SourceName};
use crate::pattern::Pattern;
use crate::queue::{DELIVERY_LIMIT, Delivery, HandlerQueue};

const DAY: Duration = Duration::from_secs(86_400);

struct Fixture {
    folder: tempfile::TempDir,
    queue: EmbeddedQueue,
    tasks: Tasks,
}

fn topology() -> Topology {
    let handler = |name: &str, on: &str| HandlerQueue {
        name: HandlerName::try_new(name).expect("a name"),
        on: vec![Pattern::try_new(on).expect("a pattern")],
        retry: Vec::new(),
        prefetch: 4,
    };
    Topology { namespace: "test".to_owned(), handlers: vec![handler("all", "**"), handler("paid", "shop:order.paid")] }
}

async fn open(folder: &std::path::Path) -> (EmbeddedQueue, Tasks) {
    let tasks = Tasks::new();
    let store = Store::open(folder).expect("the store opens");
    (EmbeddedQueue::open(store, topology(), &tasks).await.expect("the queue opens"), tasks)
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("a folder");
    let (queue, tasks) = open(folder.path()).await;
    Fixture { folder, queue, tasks }
}

fn event(id: &str, event_type: &str, body: &'static str) -> Event {
    let source = SourceName::try_new("shop").expect("a name");
    let id = EventId::try_new(id).expect("an id");
    Event {
        key: EventKey::new(&source, &id),
        source,
        id,
        event_type: EventType::try_new(event_type).expect("a type"),
        received_at: Timestamp::now(),
        request_id: RequestId::generate(),
        traceparent: None,
        content_type: Some("text/plain".to_owned()),
        headers: HeaderMap::new(),
        body_hash: BodyHash::of(body.as_bytes()),
        fingerprint: Some(BodyHash::of(body.as_bytes())),
        body: Bytes::from_static(body.as_bytes()),
    }
}

fn stream(name: &str) -> Stream {
    Stream::Handler(HandlerName::try_new(name).expect("a name"))
}

async fn next(deliveries: &mut EmbeddedDeliveries) -> Delivery {
    tokio::time::timeout(Duration::from_secs(10), deliveries.next()).await.expect("a delivery comes").expect("one more")
}

async fn nothing_comes(deliveries: &mut EmbeddedDeliveries) {
    let waited = tokio::time::timeout(Duration::from_millis(300), deliveries.next()).await;
    assert!(waited.is_err(), "a delivery came: {waited:?}");
}

#[tokio::test]
async fn each_handler_that_wants_an_event_gets_it_once() {
    let Fixture { queue, .. } = &fixture().await;
    queue.publish(&event("1", "order.paid", "body"), DAY).await.expect("it is stored");
    queue.publish(&event("2", "order.sent", "body"), DAY).await.expect("it is stored");
    let (mut all, mut paid) = (queue.consume(&stream("all"), 4), queue.consume(&stream("paid"), 4));
    for expected in ["1", "2"] {
        let delivery = next(&mut all).await;
        let message = Message::decode(&delivery.message).expect("it decodes");
        assert_eq!((message.event.id.as_str(), &message.event.body[..]), (expected, &b"body"[..]));
        assert_eq!(message.progress, Progress::default());
        delivery.ticket.ack().await.expect("it is acknowledged");
    }
    next(&mut paid).await.ticket.ack().await.expect("it is acknowledged");
    nothing_comes(&mut paid).await;
    nothing_comes(&mut all).await;
}

#[tokio::test]
async fn the_same_event_is_stored_once_and_another_body_is_told_apart() {
    let Fixture { queue, .. } = &fixture().await;
    let first = event("1", "order.paid", "body");
    assert_eq!(queue.publish(&first, DAY).await, Ok(Stored::New));
    assert_eq!(queue.publish(&first, DAY).await, Ok(Stored::Duplicate));
    let other = event("1", "order.paid", "other body");
    assert_eq!(queue.publish(&other, DAY).await, Ok(Stored::OtherBody));
    assert_eq!(queue.publish(&other.clone().into_conflict(), DAY).await, Ok(Stored::New));
    assert_eq!(queue.publish(&other.into_conflict(), DAY).await, Ok(Stored::Duplicate));
}

#[tokio::test]
async fn a_claim_ends_with_its_window() {
    let Fixture { queue, .. } = &fixture().await;
    let event = event("1", "order.paid", "body");
    assert_eq!(queue.publish(&event, Duration::from_millis(1)).await, Ok(Stored::New));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(queue.publish(&event, DAY).await, Ok(Stored::New));
    assert_eq!(queue.publish(&event, DAY).await, Ok(Stored::Duplicate));
}

#[tokio::test]
async fn another_body_is_told_apart_after_the_window_too() {
    let Fixture { queue, .. } = &fixture().await;
    let (first, other) = (event("1", "order.paid", "body"), event("1", "order.paid", "other body"));
    assert_eq!(queue.publish(&first, Duration::from_millis(1)).await, Ok(Stored::New));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(queue.publish(&other, DAY).await, Ok(Stored::OtherBody));
    assert_eq!(queue.publish(&first, DAY).await, Ok(Stored::New), "the first is still the one with this key");
    let mut paid = queue.consume(&stream("paid"), 4);
    let delivery = next(&mut paid).await;
    assert_eq!(delivery.message.body, "body");
    delivery.ticket.ack().await.expect("it is acknowledged");
    nothing_comes(&mut paid).await;
}

#[tokio::test]
async fn a_retry_comes_after_its_delay_with_its_attempt() {
    let Fixture { queue, .. } = &fixture().await;
    queue.publish(&event("1", "order.sent", "body"), DAY).await.expect("it is stored");
    let mut all = queue.consume(&stream("all"), 4);
    let delivery = next(&mut all).await;
    let mut message = Message::decode(&delivery.message).expect("it decodes");
    message.progress = message.progress.next_attempt();
    let asked = std::time::Instant::now();
    delivery.ticket.retry(Duration::from_millis(400), &message).await.expect("it is scheduled");
    let again = next(&mut all).await;
    assert!(asked.elapsed() >= Duration::from_millis(400), "{:?}", asked.elapsed());
    assert_eq!(Message::decode(&again.message).expect("it decodes").progress.attempt, 2);
    again.ticket.ack().await.expect("it is acknowledged");
}

#[tokio::test]
async fn no_more_than_the_prefetch_is_unsettled() {
    let Fixture { queue, .. } = &fixture().await;
    for id in ["1", "2", "3"] {
        queue.publish(&event(id, "order.sent", "body"), DAY).await.expect("it is stored");
    }
    let mut all = queue.consume(&stream("all"), 2);
    let (first, second) = (next(&mut all).await, next(&mut all).await);
    nothing_comes(&mut all).await;
    first.ticket.ack().await.expect("it is acknowledged");
    next(&mut all).await.ticket.ack().await.expect("it is acknowledged");
    second.ticket.ack().await.expect("it is acknowledged");
}

#[tokio::test]
async fn what_is_dropped_or_given_back_comes_again() {
    let Fixture { queue, .. } = &fixture().await;
    queue.publish(&event("1", "order.sent", "body"), DAY).await.expect("it is stored");
    let mut all = queue.consume(&stream("all"), 4);
    drop(next(&mut all).await);
    next(&mut all).await.ticket.give_back().await.expect("it is given back");
    next(&mut all).await.ticket.ack().await.expect("it is acknowledged");
    nothing_comes(&mut all).await;
}

/// The process dies with the delivery in its hands, again and again: the backstop gets it in the end.
#[tokio::test]
async fn what_kills_the_process_again_and_again_reaches_the_backstop() {
    let Fixture { folder, mut queue, mut tasks } = fixture().await;
    queue.publish(&event("1", "order.sent", "body"), DAY).await.expect("it is stored");
    for _ in 0..DELIVERY_LIMIT {
        let delivery = next(&mut queue.consume(&stream("all"), 4)).await;
        // As after kill -9: nothing settles it, nothing gives it back.
        std::mem::forget(delivery.ticket);
        tasks.shutdown().cancel();
        assert_eq!(tasks.finish(Duration::from_secs(10)).await, 0, "the pump of the dead process ends");
        let store = queue.store.clone();
        drop(queue);
        queue = EmbeddedQueue::open(store, topology(), &Tasks::new()).await.expect("the queue opens");
        tasks = queue.tasks.clone();
    }
    nothing_comes(&mut queue.consume(&stream("all"), 4)).await;
    let delivery = next(&mut queue.consume(&Stream::Dead, 4)).await;
    assert_eq!(delivery.given_up_by.map(|name| name.to_string()), Some("all".to_owned()));
    delivery.ticket.ack().await.expect("it is acknowledged");
    drop(folder);
}

#[tokio::test]
async fn a_replay_to_a_handler_that_is_gone_is_refused() {
    let Fixture { queue, .. } = &fixture().await;
    let message = Message::first(event("1", "order.sent", "body")).encode();
    let gone = HandlerName::try_new("gone").expect("a name");
    assert!(matches!(queue.deliver(&gone, &message).await, Err(PublishError::Refused(_))));
}
