//! Messages of a queue: what decodes is written and read again as it was.

use bytes::Bytes;
use tidegate_shared::event::BodyHash;
use tidegate_shared::wire::{Message, WireMessage};

use crate::input::Input;

/// What a message says in the place of its body's hash, to have the right one: the fuzzer cannot hash.
const RIGHT: &[u8] = b"right";

/// A line each for key, type, media type and time; the headers, an empty line, the body.
pub(crate) fn run(bytes: &[u8]) {
    let wire = read(bytes);
    match Message::decode(&wire) {
        Ok(message) => {
            let written = message.encode();
            let again = Message::decode(&written);
            let again = again.expect("what this build writes it reads");
            assert_eq!(again.encode(), written, "written twice");
            assert_eq!(again.progress, message.progress);
            assert_eq!(again.event.headers, message.event.headers);
            assert_eq!(again.event.body, wire.body, "the body is the one that came");
            assert_eq!(again.event.key.to_string(), message.event.key.to_string());
            let block = WireMessage::headers_from_block(&written.header_block());
            assert_eq!(block, written.headers, "the embedded store keeps the headers in a block");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "every refusal says why"),
    }
}

fn read(bytes: &[u8]) -> WireMessage {
    let mut input = Input::new(bytes);
    let (message_id, event_type, content_type) = (input.text(), input.text(), input.text());
    let timestamp = input.text().parse().unwrap_or(0);
    let mut block = Vec::new();
    loop {
        let line = input.line();
        if line.is_empty() {
            break;
        }
        block.extend_from_slice(line);
        block.push(b'\n');
    }
    let body = Bytes::copy_from_slice(input.rest());
    let mut headers = WireMessage::headers_from_block(&block);
    for (name, value) in &mut headers {
        if name == "tg-body-hash" && *value == RIGHT {
            *value = Bytes::from(BodyHash::of(&body).to_string());
        }
    }
    let content_type = Some(content_type).filter(|text| !text.is_empty());
    WireMessage { message_id, event_type, content_type, timestamp, headers, body }
}

/// The messages of every published version, with other bodies.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let golden: [&[u8]; 3] = [
        include_bytes!("../../fixtures/wire/v1.headers"),
        include_bytes!("../../fixtures/wire/v1-fingerprint.headers"),
        b"tg-version: 1\ntg-source: shop\ntg-event-id: \xc3\xa9\ntg-received-at: 2026-11-22T10:00:00Z\ntg-request-id: r\n\
          tg-body-hash: right\ntg-attempt: 3\ntg-ladder-start: 2\ntg-epoch: 1\ntg-replay-of: dead-1\nhttp-x: \n",
    ];
    golden.into_iter().map(seed).collect()
}

/// A message with these headers; its body is another one than theirs.
fn seed(headers: &[u8]) -> Vec<u8> {
    const HASH: &[u8] = b"tg-body-hash: ";
    let mut seed = format!("{}\norder.paid\napplication/json\n1700000000\n", "0f".repeat(32)).into_bytes();
    for line in headers.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        seed.extend_from_slice(&if line.starts_with(HASH) { [HASH, RIGHT].concat() } else { line.to_vec() });
        seed.push(b'\n');
    }
    seed.extend_from_slice(b"\n{\"a\":1}");
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_decodes() {
        for seed in seeds() {
            let decoded = Message::decode(&read(&seed));
            assert!(decoded.is_ok(), "{decoded:?}: {}", String::from_utf8_lossy(&seed));
        }
    }
}
