//! Every exchange, queue and binding, declared by one function, targets before sources.
//!
//! | object | what it is |
//! | --- | --- |
//! | exchange `<ns>.events` | topic; what no binding takes goes to `<ns>.unrouted` |
//! | queue `<ns>.handler.<name>` | quorum; given up deliveries go to `<ns>.dead`, at least once |
//! | exchange and queue `<ns>.retry.<delay>` | one fixed TTL; expired messages go back to the queue named by their routing key |
//! | exchange and queue `<ns>.dead`, `<ns>.unrouted` | where nothing is lost silently |
//! | queue `<ns>.pulse` | nothing leads there: workers ask it whether their node has a majority |
//!
//! A binding outlives the pattern that asked for it: AMQP cannot list bindings, so a handler whose `on` became narrower
//! still receives what it asked for before, and the worker leaves aside what [`HandlerQueue::wants`] refuses. A queue
//! outlives its handler for the same reason; it is the operator's to delete.
//!
//! [`HandlerQueue::wants`]: crate::queue::HandlerQueue::wants

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use super::name::{Names, short};
use super::rung;
use crate::queue::{DELIVERY_LIMIT, Topology};

/// For queues that only wait: RabbitMQ 4 drops a message after 20 returns unless another limit is named, and no
/// version before 4 knows "without limit".
const NO_DELIVERY_LIMIT: u32 = 1_000_000;

/// One object on the broker.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Object {
    /// An exchange, durable.
    Exchange { name: String, kind: ExchangeKind, arguments: FieldTable },
    /// A quorum queue.
    Queue { name: String, arguments: FieldTable },
    /// A binding of `queue` to `exchange`.
    Binding { queue: String, exchange: String, key: String },
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange { name, .. } => write!(f, "the exchange {name}"),
            Self::Queue { name, .. } => write!(f, "the queue {name}"),
            Self::Binding { queue, exchange, key } => write!(f, "the binding of {queue} to {exchange} by {key:?}"),
        }
    }
}

/// Every object of the topology, in the order in which they are declared.
pub(super) fn objects(topology: &Topology) -> Vec<Object> {
    let names = Names::new(&topology.namespace);
    let mut objects = Vec::new();
    for name in [names.dead(), names.unrouted()] {
        objects.extend(with_exchange_of_its_own(name, waiting_queue()));
    }
    objects.push(Object::Queue { name: names.pulse(), arguments: waiting_queue() });
    for handler in &topology.handlers {
        objects.push(Object::Queue { name: names.handler(&handler.name), arguments: handler_queue(&names) });
    }
    for delay in rung::all(topology) {
        objects.extend(with_exchange_of_its_own(names.rung(delay), rung_queue(delay)));
    }
    let mut arguments = FieldTable::default();
    arguments.insert(short("alternate-exchange"), text(&names.unrouted()));
    objects.push(Object::Exchange { name: names.events(), kind: ExchangeKind::Topic, arguments });
    for handler in &topology.handlers {
        let keys: BTreeSet<String> = handler.on.iter().map(crate::pattern::Pattern::binding_key).collect();
        for key in keys {
            objects.push(Object::Binding { queue: names.handler(&handler.name), exchange: names.events(), key });
        }
    }
    objects
}

/// An object could not be declared or deleted.
#[derive(Debug)]
pub(super) struct Refused {
    /// Which one.
    pub(super) object: Object,
    /// What the broker said.
    pub(super) source: lapin::Error,
}

/// Declares every object; those that exist as asked for stay as they are.
pub(super) async fn declare(channel: &Channel, objects: &[Object]) -> Result<(), Refused> {
    for object in objects {
        declare_one(channel, object).await.map_err(|source| Refused { object: object.clone(), source })?;
    }
    Ok(())
}

async fn declare_one(channel: &Channel, object: &Object) -> lapin::Result<()> {
    match object.clone() {
        Object::Exchange { name, kind, arguments } => {
            let options = ExchangeDeclareOptions {
                passive: false,     // create it where it is missing
                durable: true,      // outlives the broker's restart, as its queues do
                auto_delete: false, // outlives its last binding
                internal: false,    // publishers name it
                nowait: false,      // the answer is the point
            };
            channel.exchange_declare(short(name), kind, options, arguments).await
        }
        Object::Queue { name, arguments } => {
            let options = QueueDeclareOptions {
                passive: false,     // create it where it is missing
                durable: true,      // a quorum queue must be
                exclusive: false,   // many workers share it
                auto_delete: false, // outlives its last consumer
                nowait: false,      // the answer is the point
            };
            channel.queue_declare(short(name), options, arguments).await.map(drop)
        }
        Object::Binding { queue, exchange, key } => {
            let options = QueueBindOptions { nowait: false /* routed from here on, or known not to be */ };
            channel.queue_bind(short(queue), short(exchange), short(key), options, FieldTable::default()).await
        }
    }
}

/// Messages of a queue that no consumer holds.
pub(super) async fn message_count(channel: &Channel, queue: String) -> lapin::Result<u32> {
    let options = QueueDeclareOptions {
        passive: true,      // only ask
        durable: true,      // the rest is not looked at
        exclusive: false,   // nor this
        auto_delete: false, // nor this
        nowait: false,      // the answer is the point
    };
    Ok(channel.queue_declare(short(queue), options, FieldTable::default()).await?.message_count())
}

/// Deletes every exchange, then every queue with all that is in it.
pub(super) async fn delete(channel: &Channel, objects: &[Object]) -> Result<(), Refused> {
    let (sources, queues): (Vec<_>, Vec<_>) =
        objects.iter().rev().partition(|object| matches!(object, Object::Exchange { .. }));
    for object in sources.into_iter().chain(queues) {
        delete_one(channel, object).await.map_err(|source| Refused { object: object.clone(), source })?;
    }
    Ok(())
}

async fn delete_one(channel: &Channel, object: &Object) -> lapin::Result<()> {
    match object {
        Object::Exchange { name, .. } => {
            let options = ExchangeDeleteOptions { if_unused: false /* its queues go too */, nowait: false };
            channel.exchange_delete(short(name), options).await
        }
        Object::Queue { name, .. } => {
            // Quorum queues know neither "if unused" nor "if empty".
            let options = QueueDeleteOptions { if_unused: false, if_empty: false, nowait: false };
            channel.queue_delete(short(name), options).await.map(drop)
        }
        // Goes with its exchange.
        Object::Binding { .. } => Ok(()),
    }
}

fn with_exchange_of_its_own(name: String, arguments: FieldTable) -> [Object; 3] {
    [
        Object::Exchange { name: name.clone(), kind: ExchangeKind::Fanout, arguments: FieldTable::default() },
        Object::Queue { name: name.clone(), arguments },
        Object::Binding { queue: name.clone(), exchange: name, key: String::new() },
    ]
}

fn handler_queue(names: &Names) -> FieldTable {
    let mut arguments = dead_lettering(&names.dead());
    arguments.insert(short("x-delivery-limit"), number(DELIVERY_LIMIT.into()));
    arguments
}

fn rung_queue(delay: Duration) -> FieldTable {
    // Through the default exchange, which routes by queue name: back to the queue that the routing key names.
    let mut arguments = dead_lettering("");
    arguments.insert(short("x-message-ttl"), number(delay.as_millis().try_into().unwrap_or(i64::MAX)));
    arguments
}

fn waiting_queue() -> FieldTable {
    let mut arguments = quorum();
    arguments.insert(short("x-delivery-limit"), number(NO_DELIVERY_LIMIT.into()));
    arguments
}

fn dead_lettering(exchange: &str) -> FieldTable {
    let mut arguments = quorum();
    arguments.insert(short("x-dead-letter-exchange"), text(exchange));
    // The default, at most once, may lose a message on its way.
    arguments.insert(short("x-dead-letter-strategy"), text("at-least-once"));
    // Without it the broker silently falls back to at most once.
    arguments.insert(short("x-overflow"), text("reject-publish"));
    arguments
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert(short("x-queue-type"), text("quorum"));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn number(value: i64) -> AMQPValue {
    AMQPValue::LongLongInt(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::HandlerName;
    use crate::pattern::Pattern;
    use crate::queue::HandlerQueue;

    fn topology() -> Topology {
        let pattern = |text| Pattern::try_new(text).expect("a valid pattern");
        Topology {
            namespace: "tidegate".to_owned(),
            handlers: vec![HandlerQueue {
                name: HandlerName::try_new("orders").expect("a valid name"),
                on: vec![pattern("shop:order.*"), pattern("shop:order.*"), pattern("github:push")],
                retry: vec![Duration::from_secs(5)],
                prefetch: 8,
            }],
        }
    }

    fn position(objects: &[Object], name: &str) -> usize {
        objects.iter().position(|object| object.to_string() == name).unwrap_or_else(|| panic!("{name} is declared"))
    }

    #[test]
    fn targets_are_declared_before_their_sources() {
        let objects = objects(&topology());
        let order = [
            "the queue tidegate.dead",
            "the exchange tidegate.unrouted",
            "the queue tidegate.handler.orders",
            "the queue tidegate.retry.5500ms",
            "the exchange tidegate.events",
            "the binding of tidegate.handler.orders to tidegate.events by \"shop.order.*\"",
        ];
        let positions: Vec<usize> = order.iter().map(|name| position(&objects, name)).collect();
        assert!(positions.is_sorted(), "{positions:?}");
        let bindings =
            objects.iter().filter(|o| matches!(o, Object::Binding { exchange, .. } if exchange == "tidegate.events"));
        assert_eq!(bindings.count(), 2, "each key is bound once");
    }

    #[test]
    fn no_queue_may_drop_a_message_silently() {
        for object in objects(&topology()) {
            let Object::Queue { name, arguments } = object else { continue };
            let has = |argument: &str| arguments.contains_key(argument);
            assert!(has("x-queue-type"), "{name}");
            assert!(has("x-delivery-limit") || has("x-message-ttl"), "{name}");
            if has("x-dead-letter-exchange") {
                assert!(has("x-dead-letter-strategy") && has("x-overflow"), "{name}");
                assert!(!has("x-dead-letter-routing-key"), "{name}");
            }
        }
    }
}
