//! An event as the bytes of its publish: everything but the body's frames, whose size the connection decides.

use bytes::Bytes;

use super::frame::{Arguments, CHANNEL, Malformed, method, put_header, put_long, put_method, put_short, put_sized};
use crate::event::{Event, EventKey};
use crate::wire::{Progress, each_header, timestamp};

/// Survives the broker's restart; quorum queues keep every message on disk anyway, dead-lettering keeps the mode.
const PERSISTENT: u8 = 2;
const APP_ID: &str = "tidegate";
/// The one bit of a publish: without a queue the message is returned, not dropped.
const MANDATORY: u8 = 1;
/// Longest text of a property, and longest name of a header, in bytes.
const SHORT_MAX: usize = 255;

/// The bits of `basic`'s properties, in the order in which they are written.
mod flag {
    pub(super) const CONTENT_TYPE: u16 = 1 << 15;
    pub(super) const CONTENT_ENCODING: u16 = 1 << 14;
    pub(super) const HEADERS: u16 = 1 << 13;
    pub(super) const DELIVERY_MODE: u16 = 1 << 12;
    pub(super) const PRIORITY: u16 = 1 << 11;
    pub(super) const CORRELATION_ID: u16 = 1 << 10;
    pub(super) const REPLY_TO: u16 = 1 << 9;
    pub(super) const EXPIRATION: u16 = 1 << 8;
    pub(super) const MESSAGE_ID: u16 = 1 << 7;
    pub(super) const TIMESTAMP: u16 = 1 << 6;
    pub(super) const TYPE: u16 = 1 << 5;
    pub(super) const APP_ID: u16 = 1 << 3;
}

/// A publish, ready to be written.
#[derive(Debug)]
pub(in super::super) struct Encoded {
    /// The frames of the method and of the properties.
    pub(super) head: Vec<u8>,
    /// Bytes of the second of them: AMQP splits bodies over frames, but not properties.
    pub(super) header_bytes: usize,
    pub(super) body: Bytes,
    pub(super) key: EventKey,
}

impl Encoded {
    /// A first message with `event`, to `exchange`.
    pub(in super::super) fn first(exchange: &str, event: &Event) -> Self {
        /// What most events take, so that it grows at most once.
        const USUAL_BYTES: usize = 2_048;
        let mut head = Vec::with_capacity(USUAL_BYTES);
        put_method(&mut head, CHANNEL, method::PUBLISH, |to| {
            to.extend([0, 0]); // reserved
            put_short(to, exchange);
            put_short(to, &event.routing_key());
            to.push(MANDATORY);
        });
        let method_bytes = head.len();
        let content_type = event.content_type.as_deref().filter(|text| text.len() <= SHORT_MAX);
        let flags = flag::HEADERS
            | flag::DELIVERY_MODE
            | flag::MESSAGE_ID
            | flag::TIMESTAMP
            | flag::TYPE
            | flag::APP_ID
            | content_type.map_or(0, |_| flag::CONTENT_TYPE);
        put_header(&mut head, event.body.len(), flags, |to| {
            content_type.into_iter().for_each(|text| put_short(to, text));
            put_sized(to, |to| put_table(to, event));
            to.push(PERSISTENT);
            put_short(to, event.key.to_hex().as_str());
            to.extend(timestamp(event).to_be_bytes());
            put_short(to, event.event_type.as_str());
            put_short(to, APP_ID);
        });
        Self { header_bytes: head.len() - method_bytes, head, body: event.body.clone(), key: event.key }
    }
}

/// The table of headers. The keys of an AMQP table are unique: a header that occurs twice becomes an array.
fn put_table(to: &mut Vec<u8>, event: &Event) {
    /// Where the values of the header before stand.
    struct Last {
        name: std::ops::Range<usize>,
        values: usize,
        is_array: bool,
    }
    let mut last: Option<Last> = None;
    each_header(event, &Progress::default(), |prefix, rest, value| {
        let length = prefix.len() + rest.len();
        let Ok(length) = u8::try_from(length) else {
            // The event counts, not a header whose name no provider sends.
            tracing::warn!(bytes = length, "a header was left out: AMQP takes names up to 255 bytes");
            return;
        };
        // A map of headers gives the values of one name one after the other.
        if let Some(last) = last.as_mut().filter(|last| {
            to[last.name.clone()].strip_prefix(prefix.as_bytes()).is_some_and(|name| name == rest.as_bytes())
        }) {
            if !std::mem::replace(&mut last.is_array, true) {
                to.splice(last.values..last.values, [b'A', 0, 0, 0, 0]);
            }
            put_value(to, value);
            let bytes = u32::try_from(to.len() - last.values - 5).expect("bounded by the size of a request");
            to[last.values + 1..last.values + 5].copy_from_slice(&bytes.to_be_bytes());
            return;
        }
        to.push(length);
        let name = to.len()..to.len() + usize::from(length);
        to.extend_from_slice(prefix.as_bytes());
        to.extend_from_slice(rest.as_bytes());
        last = Some(Last { name, values: to.len(), is_array: false });
        put_value(to, value);
    });
}

/// As a long string, which keeps every byte.
fn put_value(to: &mut Vec<u8>, value: &[u8]) {
    to.push(b'S');
    put_long(to, value);
}

/// The `message_id` in the properties of a message that came back; empty if it has none.
pub(super) fn message_id(mut header: Arguments<'_>) -> Result<String, Malformed> {
    header.take(12)?; // class, weight, size of the body
    let flags = header.short()?;
    let has = |bit: u16| flags & bit != 0;
    for (bit, is_table) in [(flag::CONTENT_TYPE, false), (flag::CONTENT_ENCODING, false), (flag::HEADERS, true)] {
        if has(bit) && is_table {
            header.long_bytes()?;
        } else if has(bit) {
            header.short_text()?;
        }
    }
    for _ in [flag::DELIVERY_MODE, flag::PRIORITY].into_iter().filter(|bit| has(*bit)) {
        header.octet()?;
    }
    for _ in [flag::CORRELATION_ID, flag::REPLY_TO, flag::EXPIRATION].into_iter().filter(|bit| has(*bit)) {
        header.short_text()?;
    }
    if has(flag::MESSAGE_ID) { header.short_text() } else { Ok(String::new()) }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use jiff::Timestamp;
    use lapin::types::FieldTable;

    use super::super::frame::{Frame, read};
    use super::*;
    use crate::event::{BodyHash, EventId, EventType, RequestId, SourceName};
    use crate::queue::rabbitmq::message::{headers_from_table, properties_from_wire};
    use crate::wire::Message;

    fn event(headers: HeaderMap, content_type: Option<String>) -> Event {
        let source = SourceName::try_new("shop").expect("a name");
        let id = EventId::try_new("evt_1").expect("an id");
        let body = Bytes::from_static(b"{}");
        Event {
            key: EventKey::new(&source, &id),
            source,
            id,
            event_type: EventType::try_new("order.paid").expect("a type"),
            received_at: Timestamp::from_second(1_700_000_000).expect("a time"),
            request_id: RequestId::try_new("r-1").expect("an id"),
            traceparent: None,
            content_type,
            headers,
            body_hash: BodyHash::of(&body),
            fingerprint: None,
            body,
        }
    }

    /// lapin's own reader of tables is the judge.
    fn table_of(event: &Event) -> FieldTable {
        let mut bytes = Vec::new();
        put_sized(&mut bytes, |to| put_table(to, event));
        let (rest, table) = amq_protocol_table(&bytes);
        assert!(rest.is_empty());
        table
    }

    fn amq_protocol_table(bytes: &[u8]) -> (&[u8], FieldTable) {
        let (rest, table) = lapin::types::parsing::parse_field_table(bytes).expect("a table");
        (rest, table)
    }

    #[test]
    fn headers_are_written_as_lapin_reads_them() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-one", "1"), ("x-many", "a"), ("x-many", "b"), ("x-many", "c"), ("x-last", "")] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers.append("x-bytes", HeaderValue::from_bytes(b"caf\xe9").expect("a value"));
        let event = event(headers, Some("application/json".to_owned()));
        let by_lapin = properties_from_wire(&Message::first(event.clone()).encode());
        let by_lapin = headers_from_table(by_lapin.headers().as_ref().expect("headers"));
        assert_eq!(headers_from_table(&table_of(&event)), by_lapin);
    }

    #[test]
    fn properties_say_who_and_how_much() {
        let long = "text/plain; x=".to_owned() + &"y".repeat(300);
        for content_type in [None, Some("application/json".to_owned()), Some(long)] {
            let event = event(HeaderMap::new(), content_type);
            let encoded = Encoded::first("tidegate.events", &event);
            let (method, length) = read(&encoded.head, 131_072).expect("well formed").expect("whole");
            assert!(matches!(method, Frame::Method(method::PUBLISH, _)));
            assert_eq!(encoded.head.len() - length, encoded.header_bytes);
            let (header, _) = read(&encoded.head[length..], 131_072).expect("well formed").expect("whole");
            let Frame::Header(header) = header else { unreachable!("{header:?}") };
            assert_eq!(message_id(header), Ok(event.key.to_string()));
        }
    }

    #[test]
    fn a_name_too_long_for_amqp_is_left_out() {
        let name = HeaderName::from_bytes("n".repeat(255).as_bytes()).expect("a name");
        let event = event(HeaderMap::from_iter([(name, HeaderValue::from_static("v"))]), None);
        assert!(table_of(&event).inner().keys().all(|name| !name.as_str().starts_with("http-")));
    }
}
