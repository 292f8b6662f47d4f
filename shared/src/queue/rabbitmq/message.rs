//! A message in AMQP's terms: properties, a header table, a body.
//!
//! Values are written as long strings, which keep every byte. A name that occurs twice becomes an array, since the
//! keys of an AMQP table are unique. What the broker itself adds (`x-death` and its kin) never enters a
//! [`WireMessage`] and is never published: RabbitMQ up to 3.13 would believe a published `x-death`.

use std::collections::BTreeMap;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};

use crate::wire::WireMessage;

/// Survives the broker's restart; quorum queues keep every message on disk anyway, dead-lettering keeps the mode.
const PERSISTENT: u8 = 2;
const APP_ID: &str = "tidegate";
/// Where the content type stands when it is longer than a property may be.
const CONTENT_TYPE_HEADER: &str = "http-content-type";

/// The properties of the message, with a table of its headers.
pub(super) fn properties_from_wire(message: &WireMessage) -> BasicProperties {
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_app_id(ShortString::from(APP_ID))
        .with_timestamp(message.timestamp)
        .with_headers(table_from_headers(&message.headers));
    if let Some(id) = short(&message.message_id) {
        properties = properties.with_message_id(id);
    }
    if let Some(event_type) = short(&message.event_type) {
        properties = properties.with_type(event_type);
    }
    if let Some(content_type) = message.content_type.as_deref().and_then(short) {
        properties = properties.with_content_type(content_type);
    }
    properties
}

/// Reads a delivery. A message that Tidegate did not write has empty fields, so that decoding names what is missing.
pub(super) fn wire_from_delivery(properties: &BasicProperties, body: Vec<u8>) -> WireMessage {
    let headers = properties.headers().as_ref().map(headers_from_table).unwrap_or_default();
    let content_type = properties.content_type().as_ref().map(ToString::to_string).or_else(|| {
        let (_, value) = headers.iter().find(|(name, _)| name == CONTENT_TYPE_HEADER)?;
        String::from_utf8(value.to_vec()).ok()
    });
    let text = |property: &Option<ShortString>| property.as_ref().map(ToString::to_string).unwrap_or_default();
    WireMessage {
        message_id: text(properties.message_id()),
        event_type: text(properties.kind()),
        content_type,
        timestamp: properties.timestamp().unwrap_or(0),
        headers,
        body: Bytes::from(body),
    }
}

/// The queue out of which the broker last dead-lettered a message and whose name begins with `prefix`.
///
/// Not `x-first-death-queue`: for a message that was ever retried, that is the rung.
pub(super) fn last_death_queue<'a>(properties: &'a BasicProperties, prefix: &str) -> Option<&'a str> {
    let headers = properties.headers().as_ref()?.inner();
    let deaths = headers.get("x-death").map(values_of).unwrap_or_default();
    let queues = deaths.iter().filter_map(|death| {
        let AMQPValue::FieldTable(death) = death else { return None };
        death.inner().get("queue")
    });
    let names = ["x-last-death-queue", "x-first-death-queue"].into_iter().filter_map(|name| headers.get(name));
    queues.chain(names).filter_map(text_of).find_map(|queue| queue.strip_prefix(prefix))
}

/// About how many bytes the properties take on the wire, never fewer than they do.
///
/// They must fit into one frame: AMQP splits bodies over frames, but not properties.
pub(super) fn header_bytes(message: &WireMessage) -> usize {
    /// A key's length byte, a value's type and its 32-bit length.
    const PER_HEADER: usize = 6;
    /// Every other property at its longest, the table's own length and the frame around it.
    const FIXED: usize = 4 * 256 + 64;
    message.headers.iter().fold(FIXED, |sum, (name, value)| sum + name.len() + value.len() + PER_HEADER)
}

fn table_from_headers(headers: &[(String, Bytes)]) -> FieldTable {
    let mut values: BTreeMap<ShortString, Vec<AMQPValue>> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| !is_of_the_broker(name)) {
        match short(name) {
            Some(name) => values.entry(name).or_default().push(AMQPValue::LongString(LongString::from(value.to_vec()))),
            // The event counts, not a header whose name no provider sends.
            None => tracing::warn!(bytes = name.len(), "a header was left out: AMQP takes names up to 255 bytes"),
        }
    }
    let mut table = FieldTable::default();
    for (name, mut values) in values {
        let value = match values.pop() {
            Some(only) if values.is_empty() => only,
            Some(last) => {
                values.push(last);
                AMQPValue::FieldArray(FieldArray::from(values))
            }
            None => continue,
        };
        table.insert(name, value);
    }
    table
}

pub(super) fn headers_from_table(table: &FieldTable) -> Vec<(String, Bytes)> {
    let mut headers = Vec::with_capacity(table.inner().len());
    for (name, value) in table.inner().iter().filter(|(name, _)| !is_of_the_broker(name.as_str())) {
        headers.extend(values_of(value).iter().filter_map(|value| Some((name.to_string(), bytes_of(value)?))));
    }
    headers
}

fn is_of_the_broker(name: &str) -> bool {
    let prefixes = ["x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// A header's value as Tidegate's own would be; other clients write numbers and flags. Nested values say nothing to us.
fn bytes_of(value: &AMQPValue) -> Option<Bytes> {
    Some(match value {
        AMQPValue::LongString(text) => Bytes::copy_from_slice(text.as_bytes()),
        AMQPValue::ShortString(text) => Bytes::copy_from_slice(text.as_str().as_bytes()),
        AMQPValue::ByteArray(bytes) => Bytes::copy_from_slice(bytes.as_slice()),
        AMQPValue::Boolean(value) => Bytes::from(value.to_string()),
        AMQPValue::ShortShortInt(value) => Bytes::from(value.to_string()),
        AMQPValue::ShortShortUInt(value) => Bytes::from(value.to_string()),
        AMQPValue::ShortInt(value) => Bytes::from(value.to_string()),
        AMQPValue::ShortUInt(value) => Bytes::from(value.to_string()),
        AMQPValue::LongInt(value) => Bytes::from(value.to_string()),
        AMQPValue::LongUInt(value) => Bytes::from(value.to_string()),
        AMQPValue::LongLongInt(value) => Bytes::from(value.to_string()),
        AMQPValue::Timestamp(value) => Bytes::from(value.to_string()),
        AMQPValue::Float(value) => Bytes::from(value.to_string()),
        AMQPValue::Double(value) => Bytes::from(value.to_string()),
        AMQPValue::DecimalValue(_) | AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) | AMQPValue::Void => {
            return None;
        }
    })
}

fn values_of(value: &AMQPValue) -> &[AMQPValue] {
    if let AMQPValue::FieldArray(values) = value { values.as_slice() } else { std::slice::from_ref(value) }
}

fn text_of(value: &AMQPValue) -> Option<&str> {
    let AMQPValue::LongString(text) = value else { return None };
    std::str::from_utf8(text.as_bytes()).ok()
}

fn short(text: &str) -> Option<ShortString> {
    ShortString::try_new(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &[(&str, &[u8])]) -> WireMessage {
        WireMessage {
            message_id: "ab".repeat(32),
            event_type: "order.paid".to_owned(),
            content_type: Some("application/json".to_owned()),
            timestamp: 1_700_000_000,
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), Bytes::copy_from_slice(v))).collect(),
            body: Bytes::from_static(b"\x00\xff{}"),
        }
    }

    #[test]
    fn a_message_comes_back_byte_for_byte() {
        let sent = message(&[
            ("http-x-latin", b"caf\xe9"),
            ("http-x-many", b"1"),
            ("http-x-many", b"2"),
            ("tg-version", b"1"),
        ]);
        let properties = properties_from_wire(&sent);
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(wire_from_delivery(&properties, sent.body.to_vec()), sent);
    }

    #[test]
    fn a_long_content_type_survives_in_its_header() {
        let long = "text/plain; x=".to_owned() + &"y".repeat(300);
        let sent =
            WireMessage { content_type: Some(long.clone()), ..message(&[(CONTENT_TYPE_HEADER, long.as_bytes())]) };
        let properties = properties_from_wire(&sent);
        assert_eq!(*properties.content_type(), None);
        assert_eq!(wire_from_delivery(&properties, Vec::new()).content_type, Some(long));
    }

    #[test]
    fn a_foreign_message_has_empty_fields() {
        let mut table = FieldTable::default();
        table.insert("count".into(), AMQPValue::LongInt(7));
        table.insert("nested".into(), AMQPValue::FieldTable(FieldTable::default()));
        let wire = wire_from_delivery(&BasicProperties::default().with_headers(table), b"x".to_vec());
        assert_eq!((wire.message_id.as_str(), wire.event_type.as_str(), wire.content_type), ("", "", None));
        assert_eq!(wire.headers, [("count".to_owned(), Bytes::from_static(b"7"))]);
    }

    #[test]
    fn headers_of_the_broker_are_neither_read_nor_written() {
        let sent = message(&[("x-death", b"forged"), ("x-first-death-queue", b"forged"), ("x-trace", b"kept")]);
        let properties = properties_from_wire(&sent);
        let names: Vec<_> =
            properties.headers().as_ref().map(|t| t.inner().keys().cloned().collect()).unwrap_or_default();
        assert_eq!(names, [ShortString::from("x-trace")]);
    }

    #[test]
    fn the_handler_that_gave_up_is_found_behind_a_rung() {
        let death = |queue: &str| {
            let mut table = FieldTable::default();
            table.insert("queue".into(), AMQPValue::LongString(queue.into()));
            AMQPValue::FieldTable(table)
        };
        let mut table = FieldTable::default();
        let deaths = vec![death("tidegate.handler.orders"), death("tidegate.retry.5s")];
        table.insert("x-death".into(), AMQPValue::FieldArray(deaths.into()));
        table.insert("x-first-death-queue".into(), AMQPValue::LongString("tidegate.retry.5s".into()));
        let properties = BasicProperties::default().with_headers(table);
        assert_eq!(last_death_queue(&properties, "tidegate.handler."), Some("orders"));
        assert_eq!(last_death_queue(&BasicProperties::default(), "tidegate.handler."), None);
    }

    #[test]
    fn a_name_too_long_for_amqp_is_left_out() {
        let name = "http-".to_owned() + &"n".repeat(255);
        let properties = properties_from_wire(&message(&[(&name, b"v"), ("tg-version", b"1")]));
        assert_eq!(properties.headers().as_ref().map(|table| table.inner().len()), Some(1));
    }
}
