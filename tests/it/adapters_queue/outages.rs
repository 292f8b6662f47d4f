//! Brokers that are killed, blocked, silent or too small: each test has one of its own.

use super::*;

for_each_publisher! {
    while_the_broker_is_gone_publishes_fail_at_once_and_then_go_on,
    a_blocked_broker_takes_no_publishes_but_acknowledgements,
    a_silent_broker_is_noticed_by_its_missing_heartbeats,
    a_message_too_large_for_the_broker_ends_the_channel_once,
}

async fn while_the_broker_is_gone_publishes_fail_at_once_and_then_go_on(kind: PublisherKind) {
    let bench = Bench::own().await;
    let (publisher, queue) = (bench.publisher_up_of(kind).await, bench.queue_up().await);
    let mut deliveries = queue.consume(&orders(), 8);
    publisher.publish(&event()).await.expect("confirmed");
    let taken = next(&mut deliveries).await;

    bench.broker.write_down_queues().await.expect("a list of queues that a kill leaves");
    bench.broker.kill().await.expect("killed");
    becomes(publisher.health(), "down", |health| matches!(health, Health::Down(_))).await;
    becomes(queue.health(), "down", |health| matches!(health, Health::Down(_))).await;
    let started = Instant::now();
    let outcome = publisher.publish(&event()).await;
    assert!(matches!(outcome, Err(PublishError::Unavailable(_))), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_millis(50), "{:?}", started.elapsed());
    assert_eq!(taken.ticket.ack().await, Err(SettleError::ChannelGone));

    bench.broker.start().await.expect("started");
    is_up(publisher.health()).await;
    publisher.publish(&event()).await.expect("confirmed again");
    for _ in 0..2 {
        next(&mut deliveries).await.ticket.ack().await.expect("acknowledged, the first one being delivered again");
    }
    queue.close().await;
    publisher.close().await;
    bench.finish().await;
}

#[tokio::test]
async fn an_ack_after_its_channel_is_gone_fails_and_deliveries_go_on() {
    let bench = Bench::own().await;
    let queue = bench.queue_up().await;
    queue.deliver(&handler(), &Message::first(event()).encode()).await.expect("confirmed");
    let mut deliveries = queue.consume(&orders(), 8);
    let taken = next(&mut deliveries).await;
    bench.broker.rabbitmqctl(&["close_all_connections", "test"]).await.expect("closed");
    becomes(queue.health(), "down", |health| matches!(health, Health::Down(_))).await;
    assert_eq!(taken.ticket.ack().await, Err(SettleError::ChannelGone));
    let again = next(&mut deliveries).await;
    assert!(again.redelivered);
    is_up(queue.health()).await;

    // A queue that disappears under its consumer comes back.
    let (_connection, channel) = admin(bench.broker.url()).await;
    again.ticket.ack().await.expect("acknowledged");
    let name = bench.name("handler.orders");
    channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    let message = Message::first(event()).encode();
    let delivered = async {
        let deliver = async || queue.deliver(&handler(), &message).await.map_err(|error| error.to_string());
        eventually("a delivery to the queue", PATIENCE, deliver).await.expect("the queue is there again");
    };
    let (delivery, ()) = tokio::join!(next(&mut deliveries), delivered);
    delivery.ticket.ack().await.expect("acknowledged");
    queue.close().await;
    bench.finish().await;
}

// Goal: an alarm of the broker makes publishes fail at once, not late; acknowledgements still get through, since they
// are what ends the alarm.
async fn a_blocked_broker_takes_no_publishes_but_acknowledgements(kind: PublisherKind) {
    let bench = Bench::own().await;
    let (publisher, queue) = (bench.publisher_up_of(kind).await, bench.queue_up().await);
    publisher.publish(&event()).await.expect("confirmed");
    let mut deliveries = queue.consume(&orders(), 8);
    let taken = next(&mut deliveries).await;

    bench.broker.raise_disk_alarm().await.expect("raised");
    // RabbitMQ blocks a connection when it next publishes.
    let outcome = tokio::time::timeout(Duration::from_secs(2), publisher.publish(&event())).await;
    assert!(!matches!(outcome, Ok(Ok(()))), "{outcome:?}");
    becomes(publisher.health(), "blocked", |health| matches!(health, Health::Blocked(_))).await;
    let started = Instant::now();
    let outcome = publisher.publish(&event()).await;
    assert!(matches!(outcome, Err(PublishError::Unavailable(_))), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_millis(50), "{:?}", started.elapsed());
    taken.ticket.ack().await.expect("acknowledged in spite of the alarm");

    bench.broker.clear_disk_alarm().await.expect("cleared");
    is_up(publisher.health()).await;
    let last = event();
    publisher.publish(&last).await.expect("confirmed again");
    // The publish that met the alarm was stored late, whatever its caller was told.
    for _ in 0..2 {
        next(&mut deliveries).await.ticket.ack().await.expect("acknowledged");
    }
    queue.close().await;
    publisher.close().await;
    bench.finish().await;
}

// A paused broker: nothing is closed, nothing answers.
async fn a_silent_broker_is_noticed_by_its_missing_heartbeats(kind: PublisherKind) {
    let mut bench = Bench::own().await;
    let url = format!("{}?heartbeat=2", bench.broker.url());
    bench.settings = RabbitMqSettings::try_new([url.as_str()]).expect("a valid URL");
    let publisher = bench.publisher_up_of(kind).await;
    bench.broker.pause().await.expect("frozen");
    let outcome = tokio::time::timeout(Duration::from_secs(2), publisher.publish(&event())).await;
    assert!(outcome.is_err(), "no answer can come: {outcome:?}");
    becomes(publisher.health(), "down", |health| matches!(health, Health::Down(_))).await;
    bench.broker.resume().await.expect("resumed");
    is_up(publisher.health()).await;
    publisher.publish(&event()).await.expect("confirmed again");
    drop(publisher);
    bench.finish().await;
}

async fn a_message_too_large_for_the_broker_ends_the_channel_once(kind: PublisherKind) {
    let bench = Bench::own().await;
    bench.broker.limit_messages(1_000_000).await.expect("set");
    let publisher = bench.publisher_up_of(kind).await;
    publisher.publish(&event_with("order.paid", &vec![b'x'; 900_000])).await.expect("confirmed");
    let large = event_with("order.paid", &vec![b'x'; 1_100_000]);
    let outcome = publisher.publish(&large).await;
    assert!(matches!(outcome, Err(PublishError::OutcomeUnknown(_))), "{outcome:?}");
    is_up(publisher.health()).await;
    let outcome = publisher.publish(&large).await;
    assert!(matches!(outcome, Err(PublishError::Refused(_))), "{outcome:?}");
    publisher.publish(&event_with("order.paid", &vec![b'x'; 950_000])).await.expect("confirmed");
    let mut many_headers = event();
    many_headers.headers.append("x-long", HeaderValue::from_str(&"v".repeat(200_000)).expect("a valid value"));
    let outcome = publisher.publish(&many_headers).await;
    assert!(matches!(outcome, Err(PublishError::Refused(_))), "{outcome:?}");
    assert!(publisher.health().get().is_up());
    drop(publisher);
    bench.finish().await;
}
