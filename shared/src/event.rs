//! The event: what a provider sent, under the names that every step agrees on.
//!
//! Ids are types: none of them can be built from text that breaks its bounds, so later steps never check again.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::random;

/// Longest event id that is taken, in bytes. GitHub's, Stripe's and Svix's are under 70.
pub const EVENT_ID_MAX: usize = 256;
/// Longest event type that is taken, in bytes: with a source name it must fit AMQP's 255-byte routing key.
pub const EVENT_TYPE_MAX: usize = 128;
/// Longest name of a source or handler, in bytes.
pub const NAME_MAX: usize = 64;

/// Text that is not a valid name or id, with the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes `text` if it keeps the rule of this name.
            ///
            /// # Errors
            /// [`InvalidName`] says the rule.
            pub fn try_new(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { what: $what, rule: $rule })
                }
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// The name of a source: the last part of its URL and the first word of its routing keys.
    SourceName,
    "a source name",
    "1 to 64 of a-z, 0-9, '-' and '_', beginning with a letter or digit",
    is_plain_name
);
name!(
    /// The name of a handler: the last part of its queue's name.
    HandlerName,
    "a handler name",
    "1 to 64 of a-z, 0-9, '-' and '_', beginning with a letter or digit",
    is_plain_name
);
name!(
    /// The name of an external API: for handlers, routes and metrics.
    ApiName,
    "an API name",
    "1 to 64 of a-z, 0-9, '-' and '_', beginning with a letter or digit",
    is_plain_name
);
name!(
    /// The name of a caller of the worker's API.
    CallerName,
    "a caller's name",
    "1 to 64 of a-z, 0-9, '-' and '_', beginning with a letter or digit",
    is_plain_name
);
name!(
    /// A currency: ISO 4217, in upper case.
    Currency,
    "a currency",
    "three letters of ISO 4217 in upper case, such as EUR",
    |text| text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase())
);
name!(
    /// The provider's own id of an event: what makes two deliveries the same event.
    EventId,
    "an event id",
    "1 to 256 bytes without control characters",
    |text| bounded(text, EVENT_ID_MAX) && !text.chars().any(char::is_control)
);
name!(
    /// The provider's own type of an event; its words are separated by dots.
    EventType,
    "an event type",
    "1 to 128 bytes without spaces or control characters",
    |text| bounded(text, EVENT_TYPE_MAX) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
);
name!(
    /// The id of one HTTP request, carried from the door to the effect.
    RequestId,
    "a request id",
    "1 to 128 printable ASCII characters",
    |text| bounded(text, 128) && text.bytes().all(|b| b.is_ascii_graphic())
);

impl EventType {
    /// The type of an event whose provider names none.
    #[must_use]
    pub fn unknown() -> Self {
        Self("unknown".into())
    }
}

impl RequestId {
    /// A new id: a version 7 UUID, so that ids sort by time.
    #[must_use]
    pub fn generate() -> Self {
        let millis = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &random::bytes()).into_uuid();
        let mut buffer = uuid::Uuid::encode_buffer();
        Self((&*id.hyphenated().encode_lower(&mut buffer)).into())
    }
}

fn bounded(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max
}

fn is_plain_name(text: &str) -> bool {
    bounded(text, NAME_MAX)
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

/// A digest in hexadecimal.
#[derive(Debug, Clone, Copy)]
pub struct Hex([u8; 64]);

impl Hex {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }

    /// As bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The 32 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// What `Display` writes, without a detour: 64 hexadecimal digits.
            #[must_use]
            pub fn to_hex(&self) -> Hex {
                let mut digits = [0; 64];
                hex::encode_to_slice(self.0, &mut digits).expect("two digits a byte");
                Hex(digits)
            }

            /// Reads what `Display` wrote: 64 hexadecimal digits.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).ok()?;
                Some(Self(bytes))
            }

            /// Takes back what [`Self::as_bytes`] gave.
            #[must_use]
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.to_hex().as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

digest!(
    /// SHA-256 of the raw body.
    BodyHash
);
digest!(
    /// What the claim, the queue and the inbox know an event by: SHA-256 over source and event id.
    ///
    /// Hashed, so that a sender can neither choose the key's length nor its place in a Redis Cluster.
    EventKey
);

digest!(
    /// What a body is known by at its source: SHA-256 over source and body's hash.
    BodyKey
);

impl BodyKey {
    /// The key of a body that `source` received.
    #[must_use]
    pub fn new(source: &SourceName, body: &BodyHash) -> Self {
        Self(Sha256::new().chain_update(source.as_str()).chain_update(b"|").chain_update(body.0).finalize().into())
    }
}

impl BodyHash {
    /// Hashes the raw body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// Hashes the body without the numbers, strings, `true` and `false` of these JSON fields, at any depth: what a provider
    /// changes from one delivery of an event to the next.
    #[must_use]
    pub fn without_counters(body: &[u8], counters: &[&str]) -> Self {
        let (mut hasher, mut rest) = (Sha256::new(), body);
        while let Some((before, after)) =
            counters.iter().filter_map(|name| split_at_counter(rest, name)).min_by_key(|(before, _)| before.len())
        {
            hasher.update(before);
            rest = after;
        }
        Self(hasher.chain_update(rest).finalize().into())
    }
}

/// What stands before and after the value, if that is no list and no object, of the first JSON field called `name`.
fn split_at_counter<'b>(body: &'b [u8], name: &str) -> Option<(&'b [u8], &'b [u8])> {
    let quoted = format!("\"{name}\"");
    let mut from = 0;
    loop {
        let at = from + body[from..].windows(quoted.len()).position(|window| window == quoted.as_bytes())?;
        from = at + quoted.len();
        let after_name = body[from..].trim_ascii_start();
        let Some(value) = after_name.strip_prefix(b":").map(<[u8]>::trim_ascii_start) else { continue };
        if let Some(len) = scalar_len(value) {
            return Some((&body[..body.len() - value.len()], &value[len..]));
        }
    }
}

/// The bytes of the number, the string, or the `true` or `false` that `json` begins with.
fn scalar_len(json: &[u8]) -> Option<usize> {
    let digits = json.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let word = [&b"true"[..], b"false"].into_iter().find(|word| json.starts_with(word)).map(<[u8]>::len);
    let string = json.strip_prefix(b"\"").and_then(|inner| {
        let mut is_escaped = false;
        let end = inner.iter().position(|byte| {
            let is_end = *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            is_end
        })?;
        Some(end + 2)
    });
    word.or(string).or_else(|| Some(digits).filter(|digits| *digits > 0))
}

impl EventKey {
    /// The key of the event `id` of `source`.
    #[must_use]
    pub fn new(source: &SourceName, id: &EventId) -> Self {
        Self(Self::hasher(source, id).finalize().into())
    }

    /// The key of an event that came with the id of another one but with another body.
    ///
    /// The separating zero byte cannot occur in an [`EventId`], so no id can be chosen to meet this key.
    #[must_use]
    pub fn of_conflict(source: &SourceName, id: &EventId, body: &BodyHash) -> Self {
        Self(Self::hasher(source, id).chain_update([0]).chain_update(body.0).finalize().into())
    }

    fn hasher(source: &SourceName, id: &EventId) -> Sha256 {
        Sha256::new().chain_update(source.as_str()).chain_update(b"|").chain_update(id.as_str())
    }
}

/// One verified event. Not serializable by itself: [`crate::wire`] is the only place that writes it down.
#[derive(Debug, Clone)]
pub struct Event {
    /// Which source received it.
    pub source: SourceName,
    /// The provider's id.
    pub id: EventId,
    /// What claim, queue and inbox know it by.
    pub key: EventKey,
    /// The provider's type.
    pub event_type: EventType,
    /// When the door received it.
    pub received_at: Timestamp,
    /// The request that brought it.
    pub request_id: RequestId,
    /// W3C trace context of that request, if it had one.
    pub traceparent: Option<String>,
    /// `Content-Type` as received.
    pub content_type: Option<String>,
    /// The provider's own headers, as received; see [`crate::wire::is_kept_header`].
    pub headers: HeaderMap,
    /// The body, byte for byte as received.
    pub body: Bytes,
    /// SHA-256 of `body`.
    pub body_hash: BodyHash,
    /// What tells an event from another one with its id: `body_hash`, less the counters that its provider changes
    /// between deliveries. `None` in a message of a build that did not write it yet.
    pub fingerprint: Option<BodyHash>,
}

impl Event {
    /// The same event under the key that tells it from the earlier one with its id and another body.
    #[must_use]
    pub fn into_conflict(self) -> Self {
        let key = EventKey::of_conflict(&self.source, &self.id, self.known_by());
        Self { key, ..self }
    }

    /// The fingerprint, or the body's hash where there is none.
    #[must_use]
    pub fn known_by(&self) -> &BodyHash {
        self.fingerprint.as_ref().unwrap_or(&self.body_hash)
    }

    /// `source.event.type`, as topic exchanges route it.
    #[must_use]
    pub fn routing_key(&self) -> String {
        format!("{}.{}", self.source, self.event_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_bounds() {
        for good in ["a", "github", "my-shop_2", "0"] {
            assert!(SourceName::try_new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a.b", "a b", "-a", "ü", &"a".repeat(65)] {
            assert!(SourceName::try_new(bad).is_err(), "{bad}");
        }
        assert!(EventId::try_new(&"x".repeat(256)).is_ok());
        assert!(EventId::try_new(&"x".repeat(257)).is_err());
        assert!(EventId::try_new("a\0b").is_err());
        assert!(EventType::try_new("order created").is_err());
    }

    #[test]
    fn no_event_id_reaches_a_conflict_key() {
        let source = SourceName::try_new("s").expect("a valid name");
        let id = EventId::try_new("e|1").expect("a valid id");
        let body = BodyHash::of(b"body");
        assert_ne!(EventKey::new(&source, &id), EventKey::of_conflict(&source, &id, &body));
        assert_eq!(
            EventKey::new(&source, &id).to_string(),
            hex::encode(Sha256::digest(b"s|e|1")),
            "the key is the documented hash"
        );
    }

    #[test]
    fn a_counter_does_not_count_and_everything_else_does() {
        let hash = |body: &str| BodyHash::without_counters(body.as_bytes(), &["pending_webhooks"]);
        let one = hash("{\"id\": 1, \"pending_webhooks\": 1, \"x\": \"pending_webhooks\"}");
        assert_eq!(one, hash("{\"id\": 1, \"pending_webhooks\": 20, \"x\": \"pending_webhooks\"}"));
        assert_ne!(one, hash("{\"id\": 2, \"pending_webhooks\": 1, \"x\": \"pending_webhooks\"}"));
        assert_ne!(one, hash("{\"id\": 1, \"pending_webhooks\": 1, \"x\": \"pending_webhook\"}"));
        assert_eq!(hash(r#"{"pending_webhooks": "1"}"#), hash(r#"{"pending_webhooks": "a\"b\\"}"#));
        assert_ne!(hash(r#"{"pending_webhooks": "1", "a": 1}"#), hash(r#"{"pending_webhooks": "1", "a": 2}"#));
        assert_ne!(hash(r#"{"pending_webhooks": "1\", "a": 1}"#), hash(r#"{"pending_webhooks": "1\", "a": 2}"#));
        assert_ne!(hash(r#"{"pending_webhooks": [1]}"#), hash(r#"{"pending_webhooks": [2]}"#));
        assert_eq!(hash("{\"pending_webhooks\": true}"), hash("{\"pending_webhooks\": false}"));
        assert_ne!(hash("{\"pending_webhooks\": null}"), hash("{\"pending_webhooks\": false}"));
        assert_eq!(BodyHash::without_counters(b"body", &[]), BodyHash::of(b"body"));
        assert_eq!(hash("\"pending_webhooks\""), BodyHash::of(b"\"pending_webhooks\""));
    }

    #[test]
    fn digests_read_what_they_wrote() {
        let hash = BodyHash::of(b"x");
        assert_eq!(BodyHash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(BodyHash::from_bytes(hash.as_bytes()), Some(hash));
        assert_eq!(BodyHash::from_hex("00"), None);
    }
}
