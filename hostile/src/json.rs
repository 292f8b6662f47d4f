//! Picking values out of a body: as a parser finds them that builds all of it.
//!
//! What picks is not public, so it is asked as a provider's request asks it: where an id stands, and where a token does,
//! which must not be there twice.

use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::value::RawValue;
use tidegate_shared::event::EventId;
use tidegate_shared::signature::{Composed, Identity, Location, Received, SchemeText, Secret, Verifier, VerifyError};

use crate::input::Input;
use crate::tree::{members, steps, strict, text_at};

const SECRET: &str = "a secret that no body holds";
/// Most pointers of one input: as many as a scheme has locations.
const POINTERS_MAX: usize = 8;

/// A line with pointers, a space between, then the body.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let line = input.text();
    let body = input.rest();
    let pointers = line.split(' ').take(POINTERS_MAX).filter_map(|text| format!("json:{text}").parse().ok());
    let pointers: Vec<Location> = pointers.collect();
    if pointers.is_empty() {
        return;
    }
    judge_ids(&pointers, body);
    judge_token(&pointers[0], body);
}

/// The id is the first value that is there.
fn judge_ids(pointers: &[Location], body: &[u8]) {
    let id = pointers.iter().cloned().map(Composed::from).collect();
    let text = SchemeText { at: &["header:x-token"], id: &["arrival"], ..SchemeText::TOKEN };
    let scheme = tidegate_shared::signature::Scheme { id, ..text.read().expect("a scheme") };
    let verifier = Verifier::try_new(scheme, &[Secret::new(SECRET.to_owned())]).expect("a verifier");
    let headers = HeaderMap::from_iter([(http::HeaderName::from_static("x-token"), HeaderValue::from_static(SECRET))]);
    let found = verifier.verify(&Received::post(&headers, body), Timestamp::UNIX_EPOCH);
    let Some(document) = strict(body) else {
        if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
            assert_eq!(found, Err(VerifyError::MissingEventId), "what is no JSON has no values");
        }
        return;
    };
    let expected = pointers.iter().find_map(|pointer| text_at(document, &steps_of(pointer)));
    match expected {
        None => assert_eq!(found, Err(VerifyError::MissingEventId)),
        Some(text) => match EventId::try_new(&text) {
            Ok(id) => assert_eq!(found.map(|Identity { id, .. }| id), Ok(id)),
            Err(_) => assert!(matches!(found, Err(VerifyError::MalformedRequest { .. })), "{found:?} for {text:?}"),
        },
    }
}

/// A token that is there twice, or a key on the way to it, is told; one that is there is compared.
fn judge_token(pointer: &Location, body: &[u8]) {
    let text = SchemeText { at: &["header:x"], id: &["arrival"], ..SchemeText::TOKEN };
    let scheme = text.read().expect("a scheme");
    let scheme = tidegate_shared::signature::Scheme { signature: vec![pointer.clone()], ..scheme };
    let verifier = Verifier::try_new(scheme, &[Secret::new(SECRET.to_owned())]).expect("a verifier");
    let found = verifier.verify(&Received::post(&HeaderMap::new(), body), Timestamp::UNIX_EPOCH);
    assert!(found.is_err() || contains(body, b"secret") || contains(body, b"\\u"), "{found:?}");
    let Some(document) = strict(body) else { return };
    let place = pointer.clone();
    let steps = steps_of(pointer);
    let is_repeated = is_repeated(document, &steps);
    match text_at(document, &steps) {
        _ if is_repeated => assert_eq!(found, Err(VerifyError::Duplicate { place })),
        None => assert_eq!(found, Err(VerifyError::MissingSignature { place })),
        Some(text) if text == SECRET => assert!(found.is_ok(), "{found:?}"),
        Some(_) => assert_eq!(found, Err(VerifyError::InvalidSignature)),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn steps_of(pointer: &Location) -> Vec<String> {
    steps(&pointer.pointer().expect("only pointers are asked for").to_string())
}

/// Whether a key on the way is there twice at its depth, whichever way leads there.
fn is_repeated(document: &RawValue, steps: &[String]) -> bool {
    let mut values = vec![document];
    for step in steps {
        values =
            values.into_iter().flat_map(members).filter(|(name, _)| name == step).map(|(_, value)| value).collect();
        if values.len() > 1 {
            return true;
        }
    }
    false
}

/// Bodies of every form, with pointers that lead somewhere and nowhere.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"id":"a"}"#,
        r#"{"id":"a","id":"b"}"#,
        r#"{"a":{"id":"b"},"a":{}}"#,
        r#"{"a":[{"id":1},{"id":2.50e3}],"b":null,"id":true}"#,
        r#" {"a":{"id":"\u00e9\"\\","b":[[[]]]}} "#,
        r#"{"a/b":{"c~d":"e"},"":{"":"x"}}"#,
        r#"[{"id":"x"},["y"]]"#,
        r#"{"id":"\ud83d\ude00","a":"\ud800"}"#,
        r#""id""#,
        "-1.5e-7",
        r#"{"a":1"#,
    ];
    let lines = ["/id", "/a/id /id", "/a/0/id /a/1/id /0/id /1/0 /b", "/a~1b/c~0d // /a/b/0/0"];
    let each = |body: &&str| lines.map(|line| format!("{line}\n{body}").into_bytes());
    bodies.iter().flat_map(each).collect()
}
