//! RabbitMQ's adapter against real servers: what it promises when all is well, and when it is not.
//!
//! Tests that stop, block or kill a server start one of their own.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use lapin::options::{
    BasicGetOptions, BasicRejectOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use tidegate_shared::config::PublisherKind;
use tidegate_shared::event::{BodyHash, Event, EventId, EventKey, EventType, HandlerName, RequestId, SourceName};
use tidegate_shared::health::Health;
use tidegate_shared::pattern::Pattern;
use tidegate_shared::queue::rabbitmq::{
    RabbitMqDeliveries, RabbitMqPublisher, RabbitMqQueue, RabbitMqSettings, delete_topology,
};
use tidegate_shared::queue::{DELIVERY_LIMIT, Delivery, HandlerQueue, PublishError, SettleError, Stream, Topology};
use tidegate_shared::tasks::Tasks;
use tidegate_shared::wire::{Message, Progress, WireMessage};
use tidegate_tests::eventually::eventually;
use tidegate_tests::health::{becomes, is_up};
use tidegate_tests::servers::RabbitMq;

mod bench;
mod lost_answer;

use bench::{Bench, admin, event, event_with, handler, next, none_for, orders};

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// What holds for whatever publishes.
macro_rules! for_each_publisher {
    ($($name:ident),* $(,)?) => {
        mod by_lapin {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::PublisherKind::Lapin).await;
            })*
        }
        mod directly {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::PublisherKind::Direct).await;
            })*
        }
    };
}

mod outages;

for_each_publisher! {
    a_confirmed_event_is_delivered_byte_for_byte,
    an_event_that_no_handler_wants_waits_in_unrouted,
    a_queue_with_other_arguments_is_named_in_health,
    a_returned_message_poisons_the_channel_and_is_never_accepted,
}

async fn a_confirmed_event_is_delivered_byte_for_byte(kind: PublisherKind) {
    let bench = Bench::shared().await;
    let (publisher, queue) = (bench.publisher_up_of(kind).await, bench.queue_up().await);
    let sent = event_with("order.paid", b"\x00\xff not json");
    publisher.publish(&sent).await.expect("confirmed");

    let mut deliveries = queue.consume(&orders(), 8);
    let delivery = next(&mut deliveries).await;
    assert_eq!(delivery.message.body, sent.body);
    let message = Message::decode(&delivery.message).expect("it decodes");
    assert_eq!((&message.event.key, &message.event.headers), (&sent.key, &sent.headers));
    assert_eq!(message.event.content_type, sent.content_type);
    assert_eq!(message.progress, Progress::default());
    assert!(!delivery.redelivered);
    delivery.ticket.ack().await.expect("acknowledged");
    none_for(&mut deliveries, Duration::from_millis(200)).await;
    queue.close().await;
    publisher.close().await;
    bench.finish().await;
}

async fn an_event_that_no_handler_wants_waits_in_unrouted(kind: PublisherKind) {
    let bench = Bench::shared().await;
    let (publisher, queue) = (bench.publisher_up_of(kind).await, bench.queue_up().await);
    let sent = event_with("invoice.sent", b"{}");
    publisher.publish(&sent).await.expect("confirmed");
    let delivery = next(&mut queue.consume(&Stream::Unrouted, 1)).await;
    assert_eq!(delivery.message.message_id, sent.key.to_string());
    delivery.ticket.ack().await.expect("acknowledged");
    queue.close().await;
    drop(publisher);
    bench.finish().await;
}

#[tokio::test]
async fn a_retry_comes_back_after_its_delay_with_its_attempt() {
    let bench = Bench::shared().await;
    let (publisher, queue) = (bench.publisher_up().await, bench.queue_up().await);
    publisher.publish(&event()).await.expect("confirmed");
    let mut deliveries = queue.consume(&orders(), 8);
    let delivery = next(&mut deliveries).await;
    let first = Message::decode(&delivery.message).expect("it decodes");
    let second = Message { event: first.event.clone(), progress: first.progress.next_attempt() };
    let started = Instant::now();
    delivery.ticket.retry(Duration::from_millis(300), &second).await.expect("durable");

    let delivery = next(&mut deliveries).await;
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(950) && waited < Duration::from_secs(3), "{waited:?}");
    let again = Message::decode(&delivery.message).expect("it decodes");
    assert_eq!(again.progress.attempt, 2);
    assert_eq!(again.event.headers, first.event.headers);
    assert!(delivery.message.headers.iter().all(|(name, _)| !name.starts_with("x-")), "{:?}", delivery.message.headers);
    delivery.ticket.ack().await.expect("acknowledged");
    none_for(&mut deliveries, Duration::from_millis(1_500)).await;
    queue.close().await;
    publisher.close().await;
    bench.finish().await;
}

#[tokio::test]
async fn what_is_given_back_or_dropped_is_delivered_again() {
    let bench = Bench::shared().await;
    let (publisher, queue) = (bench.publisher_up().await, bench.queue_up().await);
    publisher.publish(&event()).await.expect("confirmed");
    let mut deliveries = queue.consume(&orders(), 1);
    next(&mut deliveries).await.ticket.give_back().await.expect("given back");
    let delivery = next(&mut deliveries).await;
    assert!(delivery.redelivered);
    drop(delivery);
    next(&mut deliveries).await.ticket.ack().await.expect("acknowledged");
    queue.close().await;
    publisher.close().await;
    bench.finish().await;
}

#[tokio::test]
async fn cancel_gives_back_what_was_not_handed_out_and_keeps_what_was() {
    let bench = Bench::shared().await;
    let (publisher, queue) = (bench.publisher_up().await, bench.queue_up().await);
    for published in join_all((0..10).map(async |_| publisher.publish(&event()).await)).await {
        published.expect("confirmed");
    }
    let mut deliveries = queue.consume(&orders(), 6);
    let taken = next(&mut deliveries).await;
    deliveries.cancel().await;
    assert!(deliveries.next().await.is_none());
    let mut others = queue.consume(&orders(), 20);
    for _ in 0..9 {
        next(&mut others).await.ticket.ack().await.expect("acknowledged");
    }
    none_for(&mut others, Duration::from_millis(200)).await;
    drop(deliveries);
    taken.ticket.ack().await.expect("still settled after the cancel");
    queue.close().await;
    publisher.close().await;
    bench.finish().await;
}

// A message that fails its worker again and again, up to the limit. It was retried before, so that its first death is
// the rung's; the handler must be named all the same. Method: rejections of the test's own, since RabbitMQ 4.3 counts
// nothing else that is not a crash.
#[tokio::test]
async fn the_delivery_limit_leads_to_dead_with_the_handlers_name() {
    let bench = Bench::shared().await;
    let (publisher, queue) = (bench.publisher_up().await, bench.queue_up().await);
    let sent = event();
    publisher.publish(&sent).await.expect("confirmed");
    let mut deliveries = queue.consume(&orders(), 1);
    let delivery = next(&mut deliveries).await;
    let message = Message::decode(&delivery.message).expect("it decodes");
    delivery.ticket.retry(Duration::from_secs(1), &message).await.expect("durable");
    deliveries.cancel().await;

    let (_connection, channel) = admin(bench.broker.url()).await;
    let name = bench.name("handler.orders");
    for _ in 0..=DELIVERY_LIMIT {
        let get = || channel.basic_get(name.as_str().into(), BasicGetOptions { no_ack: false });
        let got = eventually("the message", PATIENCE, async || {
            get().await.map_err(|error| error.to_string())?.ok_or_else(|| "the queue is empty".to_owned())
        })
        .await
        .expect("it comes again");
        got.acker.reject(BasicRejectOptions { requeue: true }).await.expect("rejected");
    }
    let last = next(&mut queue.consume(&Stream::Dead, 1)).await;
    assert_eq!(last.given_up_by, Some(handler()));
    assert_eq!(last.message.message_id, sent.key.to_string());
    last.ticket.ack().await.expect("acknowledged");
    queue.close().await;
    publisher.close().await;
    bench.finish().await;
}

#[tokio::test]
async fn a_replay_goes_to_its_handler_only() {
    let bench = Bench::shared().await;
    let queue = bench.queue_up().await;
    let message = Message::first(event_with("invoice.sent", b"{}")).encode();
    queue.deliver(&handler(), &message).await.expect("confirmed");
    let nobody = HandlerName::try_new("nobody").expect("a valid name");
    assert!(matches!(queue.deliver(&nobody, &message).await, Err(PublishError::Refused(_))));
    let delivery = next(&mut queue.consume(&orders(), 1)).await;
    let sorted = |mut message: WireMessage| {
        message.headers.sort();
        message
    };
    assert_eq!(sorted(delivery.message), sorted(message));
    delivery.ticket.ack().await.expect("acknowledged");
    queue.close().await;
    bench.finish().await;
}

#[tokio::test]
async fn a_foreign_message_is_delivered_and_does_not_decode() {
    let bench = Bench::shared().await;
    let queue = bench.queue_up().await;
    let (_connection, channel) = admin(bench.broker.url()).await;
    #[expect(clippy::disallowed_methods, reason = "a foreign publisher")]
    channel
        .basic_publish(
            "".into(),
            bench.name("handler.orders").into(),
            lapin::options::BasicPublishOptions::default(),
            b"hello",
            lapin::BasicProperties::default(),
        )
        .await
        .expect("published");
    let delivery = next(&mut queue.consume(&orders(), 1)).await;
    assert!(Message::decode(&delivery.message).is_err());
    delivery.ticket.ack().await.expect("acknowledged");
    queue.close().await;
    bench.finish().await;
}

// Goal: a queue that somebody declared otherwise is named, with what to do; and heals without a restart.
async fn a_queue_with_other_arguments_is_named_in_health(kind: PublisherKind) {
    let bench = Bench::shared().await;
    let (_connection, channel) = admin(bench.broker.url()).await;
    let queue = bench.name("handler.orders");
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await.expect("declared");
    let publisher = bench.publisher(kind);
    let health = becomes(publisher.health(), "down", |health| matches!(health, Health::Down(_))).await;
    let reason = health.reason().unwrap_or_default();
    assert!(reason.contains(&queue) && reason.contains("delete it"), "{reason}");
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    is_up(publisher.health()).await;
    publisher.publish(&event()).await.expect("confirmed");
    drop(publisher);
    bench.finish().await;
}

// Goal: no publish is ever answered "kept" while its message was returned. Method: without the alternate exchange, an
// event that no handler wants is returned; it is published amid others, again and again.
async fn a_returned_message_poisons_the_channel_and_is_never_accepted(kind: PublisherKind) {
    let bench = Bench::shared().await;
    let publisher = bench.publisher_up_of(kind).await;
    let (_connection, channel) = admin(bench.broker.url()).await;
    let delete_alternate = async || {
        let unrouted = bench.name("unrouted");
        channel.exchange_delete(unrouted.as_str().into(), ExchangeDeleteOptions::default()).await.expect("deleted");
    };

    delete_alternate().await;
    let alone = publisher.publish(&event_with("invoice.sent", b"{}")).await;
    assert!(matches!(alone, Err(PublishError::Refused(_))), "{alone:?}");
    assert!(!publisher.health().get().is_up());
    is_up(publisher.health()).await;
    publisher.publish(&event_with("invoice.sent", b"{}")).await.expect("the alternate exchange is declared again");

    for round in 0..6 {
        is_up(publisher.health()).await;
        delete_alternate().await;
        let publishes = (0..60).map(async |at| {
            let is_routed = at != 30;
            let event = event_with(if is_routed { "order.paid" } else { "invoice.sent" }, b"{}");
            (is_routed, publisher.publish(&event).await)
        });
        for (is_routed, outcome) in join_all(publishes).await {
            assert!(is_routed || outcome.is_err(), "round {round}: a returned message was accepted");
            assert!(!matches!(outcome, Err(PublishError::Refused(_))) || !is_routed, "round {round}: {outcome:?}");
        }
    }
    drop(publisher);
    bench.finish().await;
}
