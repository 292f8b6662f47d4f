//! What these tests stand on: a namespace of their own on a broker, its two ends, and events to send.

use super::*;

/// A namespace of one's own on a broker, with one handler for `shop:order.*` whose ladder is one second.
pub(super) struct Bench {
    pub(super) broker: RabbitMq,
    pub(super) settings: RabbitMqSettings,
    pub(super) topology: Topology,
    pub(super) tasks: Tasks,
}

impl Bench {
    pub(super) async fn shared() -> Self {
        Self::on(RabbitMq::shared_or_own().await.expect("a RabbitMQ"))
    }

    /// With a broker of one's own, to break.
    pub(super) async fn own() -> Self {
        Self::on(RabbitMq::own().await.expect("a RabbitMQ to break"))
    }

    fn on(broker: RabbitMq) -> Self {
        let handler = HandlerQueue {
            name: handler(),
            on: vec![Pattern::try_new("shop:order.*").expect("a valid pattern")],
            retry: vec![Duration::from_secs(1)],
            prefetch: 8,
        };
        Self {
            settings: RabbitMqSettings::try_new([broker.url()]).expect("a valid URL"),
            broker,
            topology: Topology { namespace: format!("t{}", uuid::Uuid::now_v7().simple()), handlers: vec![handler] },
            tasks: Tasks::new(),
        }
    }

    pub(super) fn publisher(&self, kind: PublisherKind) -> RabbitMqPublisher {
        match kind {
            PublisherKind::Lapin => RabbitMqPublisher::start(&self.settings, &self.topology, &self.tasks),
            PublisherKind::Direct => RabbitMqPublisher::start_direct(&self.settings, &self.topology, &self.tasks)
                .expect("no TLS is asked for"),
        }
    }

    pub(super) fn queue(&self) -> RabbitMqQueue {
        RabbitMqQueue::start(&self.settings, &self.topology, &self.tasks)
    }

    pub(super) async fn publisher_up(&self) -> RabbitMqPublisher {
        self.publisher_up_of(PublisherKind::Lapin).await
    }

    pub(super) async fn publisher_up_of(&self, kind: PublisherKind) -> RabbitMqPublisher {
        let publisher = self.publisher(kind);
        is_up(publisher.health()).await;
        publisher
    }

    pub(super) async fn queue_up(&self) -> RabbitMqQueue {
        let queue = self.queue();
        is_up(queue.health()).await;
        queue
    }

    /// Deletes the namespace and stops every task; none may be left.
    pub(super) async fn finish(self) {
        delete_topology(&self.settings, &self.topology).await.expect("the topology is deleted");
        self.tasks.shutdown().cancel();
        assert_eq!(self.tasks.finish(PATIENCE).await, 0, "every task ends");
    }

    pub(super) fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.topology.namespace)
    }
}

pub(super) fn handler() -> HandlerName {
    HandlerName::try_new("orders").expect("a valid name")
}

pub(super) fn orders() -> Stream {
    Stream::Handler(handler())
}

pub(super) fn event_with(event_type: &str, body: &[u8]) -> Event {
    let source = SourceName::try_new("shop").expect("a valid name");
    let id = EventId::try_new(&uuid::Uuid::now_v7().to_string()).expect("a valid id");
    let mut headers = HeaderMap::new();
    headers.append("x-latin", HeaderValue::from_bytes(b"caf\xe9").expect("a valid value"));
    headers.append("x-many", HeaderValue::from_static("1"));
    headers.append("x-many", HeaderValue::from_static("2"));
    Event {
        key: EventKey::new(&source, &id),
        source,
        id,
        event_type: EventType::try_new(event_type).expect("a valid type"),
        received_at: Timestamp::now(),
        request_id: RequestId::generate(),
        traceparent: None,
        content_type: Some("application/json".to_owned()),
        headers,
        body_hash: BodyHash::of(body),
        fingerprint: Some(BodyHash::of(body)),
        body: Bytes::copy_from_slice(body),
    }
}

pub(super) fn event() -> Event {
    event_with("order.paid", b"{\"amount\":1}")
}

pub(super) async fn next(deliveries: &mut RabbitMqDeliveries) -> Delivery {
    tokio::time::timeout(PATIENCE, deliveries.next()).await.expect("a delivery comes").expect("the queue is open")
}

pub(super) async fn none_for(deliveries: &mut RabbitMqDeliveries, time: Duration) {
    assert!(tokio::time::timeout(time, deliveries.next()).await.is_err(), "nothing more is delivered");
}

pub(super) async fn admin(url: &str) -> (lapin::Connection, lapin::Channel) {
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await.expect("connects");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}
