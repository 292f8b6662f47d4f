//! Reads the key of a request, with what tells the request from another one under the same key.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use tidegate_shared::event::{BodyHash, CallerName};

use super::super::respond::HttpError;
use crate::api::IDEMPOTENCY_KEY;

/// The longest key, in bytes. Keys are meant to be UUIDs or the like.
const KEY_MAX: usize = 255;

/// A request with a key.
#[derive(Debug)]
pub(in crate::http) struct Keyed {
    /// Whose key on which route: two callers, or two routes, may use the same one.
    pub(super) scope: String,
    pub(super) key: String,
    pub(super) fingerprint: BodyHash,
    /// What tells this request from others with its key that are at work at the same time.
    pub(super) owner: String,
    /// The body, whole.
    pub(in crate::http) body: Bytes,
}

impl Keyed {
    pub(super) fn new(caller: &CallerName, route: &str, key: String, parts: &Parts, body: Bytes) -> Self {
        let scope = format!("{caller} {route}");
        // Not the request's id: a caller chooses that, and may send it twice.
        let owner = tidegate_shared::event::RequestId::generate().to_string();
        Self { scope, key, fingerprint: fingerprint(parts, &body), owner, body }
    }

    /// A name for what the request does: the same for each repetition, different for each key.
    pub(in crate::http) fn reference(&self) -> String {
        format!("api:{}", hash(&[self.scope.as_bytes(), self.key.as_bytes()]))
    }
}

/// The key of a request: a string of RFC 8941 as the draft wants it, or a bare word as most callers send it.
pub(super) fn key(headers: &HeaderMap) -> Result<&str, HttpError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let value = values.next().ok_or(HttpError::KeyMissing)?;
    if values.next().is_some() {
        return Err(HttpError::KeyInvalid("must be sent once"));
    }
    let text = value.to_str().map_err(|_| HttpError::KeyInvalid("must be printable ASCII"))?.trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or(HttpError::KeyInvalid("has no closing quotation mark"))?,
        None => text,
    };
    if key.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(HttpError::KeyInvalid("must be printable ASCII"));
    }
    if key.contains(['"', '\\']) {
        return Err(HttpError::KeyInvalid("must not hold quotation marks or backslashes"));
    }
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(HttpError::KeyInvalid("must have 1 to 255 characters"));
    }
    Ok(key)
}

/// The hash of what makes two requests the same one.
fn fingerprint(parts: &Parts, body: &[u8]) -> BodyHash {
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    hash(&[
        parts.method.as_str().as_bytes(),
        parts.uri.path().as_bytes(),
        parts.uri.query().unwrap_or_default().as_bytes(),
        content_type.to_ascii_lowercase().as_bytes(),
        body,
    ])
}

/// The hash of the parts, each with its length: no two lists of parts run into one another.
fn hash(parts: &[&[u8]]) -> BodyHash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    BodyHash::from_bytes(&digest).expect("a SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_a_quoted_string_or_a_bare_word() {
        let check = |values: &[&[u8]], expected: Option<&str>| {
            let values = values.iter().map(|value| HeaderValue::from_bytes(value).expect("a header's value"));
            let headers: HeaderMap = values.map(|value| (IDEMPOTENCY_KEY, value)).collect();
            assert_eq!(key(&headers).ok(), expected, "{headers:?}");
        };
        check(&[b"\"8e03978e-40d5-43dd-bc93-6894a57f9324\""], Some("8e03978e-40d5-43dd-bc93-6894a57f9324"));
        check(&[b"8e03978e-40d5"], Some("8e03978e-40d5"));
        check(&[b" \"a b\" "], Some("a b"));
        check(&["x".repeat(255).as_bytes()], Some(&"x".repeat(255)));
        check(&["x".repeat(256).as_bytes()], None);
        check(&[], None);
        check(&[b"a", b"a"], None);
        for bad in [&b""[..], b"\"\"", b"\"", b"\"a", b"a\"", b"a\\b", b"\"a\";b=1", b"a\tb", "é".as_bytes()] {
            check(&[bad], None);
        }
    }

    #[test]
    fn requests_that_differ_have_different_fingerprints() {
        let print = |method: &str, uri: &str, content_type: &str, body: &'static str| {
            let request = Request::builder().method(method).uri(uri).header("content-type", content_type).body(());
            let (parts, ()) = request.expect("a request").into_parts();
            fingerprint(&parts, body.as_bytes())
        };
        let usual = print("POST", "/payments", "application/json", "{}");
        assert_eq!(usual, print("POST", "/payments", "Application/JSON; charset=utf-8", "{}"));
        for other in [
            print("PUT", "/payments", "application/json", "{}"),
            print("POST", "/payment", "application/json", "{}"),
            print("POST", "/payments?a", "application/json", "{}"),
            print("POST", "/payments", "text/json", "{}"),
            print("POST", "/payments", "application/json", "{ }"),
            print("POST", "/payments", "application/jso", "n{}"),
        ] {
            assert_ne!(usual, other);
        }
    }
}
