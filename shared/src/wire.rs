//! The message: an event and how far it has come, as properties, headers and a body.
//!
//! Both queues carry the same [`WireMessage`]: RabbitMQ as AMQP properties, the embedded store as columns. This is the
//! only place that knows the envelope's fields. A published version never changes: a new field is either optional or
//! a new `tg-version`, and `fixtures/wire/` holds a message of every version ever published.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::event::{BodyHash, Event, EventId, EventKey, EventType, RequestId, SourceName};

/// The version that this build writes.
pub const VERSION: &str = "1";

/// A message as a queue carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireMessage {
    /// The event's key, in hexadecimal; AMQP `message_id`.
    pub message_id: String,
    /// The event's type; AMQP `type`.
    pub event_type: String,
    /// As received; AMQP `content_type`.
    pub content_type: Option<String>,
    /// When the door received it, in unix seconds; AMQP `timestamp`.
    pub timestamp: u64,
    /// `tg-*`, `traceparent` and `http-*`. Values are bytes: HTTP allows more than UTF-8.
    pub headers: Vec<(String, Bytes)>,
    /// The raw request body.
    pub body: Bytes,
}

/// An event on its way through one handler.
#[derive(Debug, Clone)]
pub struct Message {
    /// What is to be handled.
    pub event: Event,
    /// How far it has come.
    pub progress: Progress,
}

/// How often a handler has tried an event, and why it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// The attempt that began the current ladder: 1, or the first one after a replay.
    pub ladder_start: u32,
    /// Raised to handle an applied event anew on purpose; part of the inbox's key.
    pub epoch: u32,
    /// The dead letter that an operator replayed, if this is such a delivery.
    pub replay_of: Option<String>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { attempt: 1, ladder_start: 1, epoch: 0, replay_of: None }
    }
}

impl Progress {
    /// The progress of the next attempt on the same ladder.
    #[must_use]
    pub fn next_attempt(&self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self.clone() }
    }

    /// The progress of the first attempt after an operator's replay of the dead letter `id`.
    #[must_use]
    pub fn replayed(&self, id: &str) -> Self {
        let attempt = self.attempt.saturating_add(1);
        Self { attempt, ladder_start: attempt, epoch: self.epoch, replay_of: Some(id.to_owned()) }
    }

    /// How many attempts of the current ladder have been made, this one included.
    #[must_use]
    pub fn attempts_on_ladder(&self) -> u32 {
        self.attempt.saturating_sub(self.ladder_start).saturating_add(1)
    }
}

/// Why a message could not be read as an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A needed header or property is absent.
    #[error("the message has no {field}")]
    Missing {
        /// The header's or property's name.
        field: &'static str,
    },
    /// A header or property has a value that cannot be.
    #[error("the message's {field} is not valid")]
    Invalid {
        /// The header's or property's name.
        field: &'static str,
    },
    /// Written by a build that this one does not understand.
    #[error("the message has version {version:?}, this worker reads version {VERSION}")]
    UnknownVersion {
        /// The version found.
        version: String,
    },
    /// The body is not the one that was verified.
    #[error("the body does not match its hash")]
    BodyChanged,
}

/// Says whether a request header is kept with the event, whatever the source; a source's own secret is not either:
/// [`crate::signature::Scheme::sends_secret_in`].
///
/// Left out: credentials of the hop (`Authorization`, `Cookie`), which are no part of the event and would otherwise
/// stand in queues and dead letters, and the hop-by-hop fields of RFC 9110 section 7.6.1.
#[must_use]
pub fn is_kept_header(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "authorization"
            | "proxy-authorization"
            | "cookie"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "expect"
    )
}

impl Message {
    /// A first attempt at `event`.
    #[must_use]
    pub fn first(event: Event) -> Self {
        Self { event, progress: Progress::default() }
    }

    /// Writes the message in the current version.
    #[must_use]
    pub fn encode(&self) -> WireMessage {
        encode(&self.event, &self.progress)
    }

    /// Reads a message of any version ever published.
    ///
    /// # Errors
    /// [`DecodeError`] names the first field that is missing or wrong.
    pub fn decode(wire: &WireMessage) -> Result<Self, DecodeError> {
        let version = wire.text("tg-version")?;
        if version != VERSION {
            return Err(DecodeError::UnknownVersion { version: version.to_owned() });
        }
        let body_hash = BodyHash::from_hex(wire.text("tg-body-hash")?).ok_or(invalid("tg-body-hash"))?;
        if BodyHash::of(&wire.body) != body_hash {
            return Err(DecodeError::BodyChanged);
        }
        let event = Event {
            source: SourceName::try_new(wire.text("tg-source")?).map_err(|_| invalid("tg-source"))?,
            id: EventId::try_new(wire.text("tg-event-id")?).map_err(|_| invalid("tg-event-id"))?,
            key: EventKey::from_hex(&wire.message_id).ok_or(invalid("message_id"))?,
            event_type: EventType::try_new(&wire.event_type).map_err(|_| invalid("type"))?,
            received_at: wire.text("tg-received-at")?.parse::<Timestamp>().map_err(|_| invalid("tg-received-at"))?,
            request_id: RequestId::try_new(wire.text("tg-request-id")?).map_err(|_| invalid("tg-request-id"))?,
            traceparent: wire.text("traceparent").ok().map(str::to_owned),
            content_type: wire.content_type.clone(),
            headers: wire.http_headers()?,
            body: wire.body.clone(),
            body_hash,
            fingerprint: wire.fingerprint()?,
        };
        Ok(Self { event, progress: wire.progress()? })
    }
}

/// Writes an event and its progress in the current version.
#[must_use]
pub fn encode(event: &Event, progress: &Progress) -> WireMessage {
    let mut headers = Vec::with_capacity(12 + event.headers.len());
    each_header(event, progress, |prefix, name, value| {
        headers.push(([prefix, name].concat(), Bytes::copy_from_slice(value)));
    });
    WireMessage {
        message_id: event.key.to_string(),
        event_type: event.event_type.to_string(),
        content_type: event.content_type.clone(),
        timestamp: timestamp(event),
        headers,
        body: event.body.clone(),
    }
}

/// The headers of a first message, as [`WireMessage::header_block`] writes them.
#[must_use]
pub fn first_header_block(event: &Event) -> Vec<u8> {
    /// What most events take, so that the block grows at most once.
    const USUAL_BYTES: usize = 1_024;
    let mut block = Vec::with_capacity(USUAL_BYTES);
    each_header(event, &Progress::default(), |prefix, name, value| {
        put_header_line(&mut block, &[prefix.as_bytes(), name.as_bytes()], value);
    });
    block
}

/// When the event was received, in unix seconds.
pub(crate) fn timestamp(event: &Event) -> u64 {
    u64::try_from(event.received_at.as_second()).unwrap_or(0)
}

/// Gives every header of a message to `put`: what its name begins with, the rest of its name, its value.
///
/// The one list of what a message says beside its properties, for every way in which a queue writes headers down.
pub(crate) fn each_header(event: &Event, progress: &Progress, mut put: impl FnMut(&str, &str, &[u8])) {
    let mut own = |name: &str, value: &[u8]| put("", name, value);
    own("tg-version", VERSION.as_bytes());
    own("tg-source", event.source.as_str().as_bytes());
    own("tg-event-id", event.id.as_str().as_bytes());
    own("tg-received-at", event.received_at.to_string().as_bytes());
    own("tg-request-id", event.request_id.as_str().as_bytes());
    own("tg-body-hash", event.body_hash.to_hex().as_bytes());
    if let Some(fingerprint) = &event.fingerprint {
        own(FINGERPRINT, fingerprint.to_hex().as_bytes());
    }
    if let Some(traceparent) = &event.traceparent {
        own("traceparent", traceparent.as_bytes());
    }
    for (name, value) in &event.headers {
        put("http-", name.as_str(), value.as_bytes());
    }
    each_progress_header(progress, |name, value| put("", name, value.as_bytes()));
}

fn each_progress_header(progress: &Progress, mut put: impl FnMut(&str, &str)) {
    put("tg-attempt", &progress.attempt.to_string());
    if progress.ladder_start != 1 {
        put("tg-ladder-start", &progress.ladder_start.to_string());
    }
    if progress.epoch != 0 {
        put("tg-epoch", &progress.epoch.to_string());
    }
    if let Some(id) = &progress.replay_of {
        put("tg-replay-of", id);
    }
}

/// The header with [`Event::fingerprint`].
const FINGERPRINT: &str = "tg-fingerprint";

/// The event's fingerprint, read from the headers of its message; `None` if it has none.
#[must_use]
pub fn fingerprint_in(headers: &[(String, Bytes)]) -> Option<BodyHash> {
    let (_, value) = headers.iter().find(|(name, _)| name == FINGERPRINT)?;
    BodyHash::from_hex(std::str::from_utf8(value).ok()?)
}

/// The headers of [`Progress`]: the only ones that change from attempt to attempt.
const PROGRESS: [&str; 4] = ["tg-attempt", "tg-ladder-start", "tg-epoch", "tg-replay-of"];

impl WireMessage {
    /// Writes how far the message has come, in the place of what it said before.
    pub fn set_progress(&mut self, progress: &Progress) {
        self.headers.retain(|(name, _)| !PROGRESS.contains(&name.as_str()));
        each_progress_header(progress, |name, value| {
            self.headers.push((name.to_owned(), Bytes::copy_from_slice(value.as_bytes())));
        });
    }

    /// The value of the header `name` as text.
    ///
    /// # Errors
    /// If it is absent or not UTF-8.
    pub fn text(&self, name: &'static str) -> Result<&str, DecodeError> {
        let (_, value) =
            self.headers.iter().find(|(have, _)| have == name).ok_or(DecodeError::Missing { field: name })?;
        std::str::from_utf8(value).map_err(|_| invalid(name))
    }

    fn fingerprint(&self) -> Result<Option<BodyHash>, DecodeError> {
        let field = FINGERPRINT;
        match self.text(field) {
            Ok(text) => BodyHash::from_hex(text).map(Some).ok_or(invalid(field)),
            Err(DecodeError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn progress(&self) -> Result<Progress, DecodeError> {
        let attempt = self.number("tg-attempt")?.unwrap_or(1);
        let ladder_start = self.number("tg-ladder-start")?.unwrap_or(1);
        if attempt == 0 || ladder_start > attempt {
            return Err(invalid("tg-attempt"));
        }
        Ok(Progress {
            attempt,
            ladder_start,
            epoch: self.number("tg-epoch")?.unwrap_or(0),
            replay_of: self.text("tg-replay-of").ok().map(str::to_owned),
        })
    }

    fn number(&self, name: &'static str) -> Result<Option<u32>, DecodeError> {
        match self.text(name) {
            Ok(text) => text.parse().map(Some).map_err(|_| invalid(name)),
            Err(DecodeError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn http_headers(&self) -> Result<HeaderMap, DecodeError> {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            let Some(name) = name.strip_prefix("http-") else { continue };
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("http-*"))?;
            let value = HeaderValue::from_bytes(value).map_err(|_| invalid("http-*"))?;
            map.append(name, value);
        }
        Ok(map)
    }

    /// The headers as lines of `name: value`, for stores without a header table of their own.
    #[must_use]
    pub fn header_block(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(self.headers.iter().map(|(n, v)| n.len() + v.len() + 3).sum());
        self.headers.iter().for_each(|(name, value)| put_header_line(&mut block, &[name.as_bytes()], value));
        block
    }

    /// Reads what [`Self::header_block`] wrote. No name contains a colon and no value a line break (RFC 9110 section 5).
    #[must_use]
    pub fn headers_from_block(block: &[u8]) -> Vec<(String, Bytes)> {
        block
            .split(|byte| *byte == b'\n')
            .filter_map(|line| {
                let colon = line.iter().position(|byte| *byte == b':')?;
                let value = line.get(colon + 2..)?;
                Some((String::from_utf8_lossy(&line[..colon]).into_owned(), Bytes::copy_from_slice(value)))
            })
            .collect()
    }
}

fn put_header_line(block: &mut Vec<u8>, name: &[&[u8]], value: &[u8]) {
    name.iter().for_each(|part| block.extend_from_slice(part));
    block.extend_from_slice(b": ");
    block.extend_from_slice(value);
    block.push(b'\n');
}

fn invalid(field: &'static str) -> DecodeError {
    DecodeError::Invalid { field }
}

#[cfg(test)]
mod tests;
