use http::{HeaderName, HeaderValue};

use super::*;

fn event() -> Event {
    let source = SourceName::try_new("shop").expect("a name");
    let id = EventId::try_new("evt_1").expect("an id");
    let body = Bytes::from_static(b"{\"a\": \"\xff\"}");
    Event {
        key: EventKey::new(&source, &id),
        source,
        id,
        event_type: EventType::try_new("order.paid").expect("a type"),
        received_at: "2026-11-22T10:00:00.123Z".parse().expect("a time"),
        request_id: RequestId::try_new("0199-a").expect("an id"),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        content_type: Some("application/json".to_owned()),
        headers: HeaderMap::from_iter([
            (HeaderName::from_static("x-shop"), HeaderValue::from_static("one: two")),
            (HeaderName::from_static("x-bytes"), HeaderValue::from_bytes(b"caf\xe9").expect("a value")),
        ]),
        body_hash: BodyHash::of(&body),
        fingerprint: Some(BodyHash::of(&body)),
        body,
    }
}

fn same(one: &Message, other: &Message) {
    assert_eq!(one.encode(), other.encode());
    assert_eq!(one.event.headers, other.event.headers);
    assert_eq!(one.event.body, other.event.body);
    assert_eq!(one.progress, other.progress);
}

#[test]
fn a_message_reads_as_it_was_written() {
    let first = Message::first(event());
    same(&first, &Message::decode(&first.encode()).expect("it decodes"));
    let later = Message { progress: first.progress.next_attempt().replayed("dead-1"), ..first };
    same(&later, &Message::decode(&later.encode()).expect("it decodes"));
}

#[test]
fn headers_survive_as_a_block() {
    let wire = Message::first(event()).encode();
    assert_eq!(WireMessage::headers_from_block(&wire.header_block()), wire.headers);
    assert_eq!(WireMessage::headers_from_block(b"x: \n"), [("x".to_owned(), Bytes::new())]);
}

#[test]
fn progress_is_replaced_and_nothing_else() {
    let mut wire = Message::first(event()).encode();
    let replayed = Progress { attempt: 4, ladder_start: 4, epoch: 2, replay_of: Some("dead-1".to_owned()) };
    wire.set_progress(&replayed);
    wire.set_progress(&replayed);
    let message = Message::decode(&wire).expect("it decodes");
    assert_eq!(message.progress, replayed);
    wire.set_progress(&Progress::default());
    assert_eq!(wire, Message::first(event()).encode());
}

#[test]
fn each_missing_or_wrong_field_is_named() {
    let check = |change: &dyn Fn(&mut WireMessage), expected: DecodeError| {
        let mut wire = Message::first(event()).encode();
        change(&mut wire);
        assert_eq!(Message::decode(&wire).expect_err("it does not decode"), expected);
    };
    let set = |wire: &mut WireMessage, name: &str, value: &'static str| {
        wire.headers.iter_mut().filter(|(have, _)| have == name).for_each(|(_, have)| *have = value.into());
    };
    for field in ["tg-version", "tg-source", "tg-event-id", "tg-received-at", "tg-request-id", "tg-body-hash"] {
        check(&|wire| wire.headers.retain(|(name, _)| name != field), DecodeError::Missing { field });
    }
    check(&|wire| set(wire, "tg-version", "2"), DecodeError::UnknownVersion { version: "2".to_owned() });
    check(&|wire| set(wire, "tg-source", "A b"), DecodeError::Invalid { field: "tg-source" });
    check(&|wire| set(wire, "tg-received-at", "now"), DecodeError::Invalid { field: "tg-received-at" });
    check(&|wire| set(wire, "tg-fingerprint", "0"), DecodeError::Invalid { field: "tg-fingerprint" });
    check(&|wire| set(wire, "tg-attempt", "0"), DecodeError::Invalid { field: "tg-attempt" });
    check(&|wire| wire.message_id.clear(), DecodeError::Invalid { field: "message_id" });
    check(&|wire| wire.event_type.clear(), DecodeError::Invalid { field: "type" });
    check(&|wire| wire.body = Bytes::from_static(b"other"), DecodeError::BodyChanged);
}

fn published(golden: &[u8]) -> WireMessage {
    WireMessage { headers: WireMessage::headers_from_block(golden), ..Message::first(event()).encode() }
}

/// Messages as they were published: a worker reads each for ever.
#[test]
fn every_message_ever_published_is_read() {
    let first = published(include_bytes!("../../../fixtures/wire/v1.headers"));
    let first = Message::decode(&first).expect("the first message decodes");
    same(&first, &Message::first(Event { fingerprint: None, ..event() }));
    assert_eq!(first.event.fingerprint, None, "it was not written yet");
    let second = published(include_bytes!("../../../fixtures/wire/v1-fingerprint.headers"));
    same(&Message::decode(&second).expect("the second one decodes"), &Message::first(event()));
}

#[test]
fn this_build_writes_the_last_message_published() {
    let golden = published(include_bytes!("../../../fixtures/wire/v1-fingerprint.headers"));
    assert_eq!(Message::first(event()).encode().headers, golden.headers);
}
