//! The judgement over a request: is it from who it says, now, and which event is it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};

use super::format::Claimed;
use super::json;
use super::key::Key;
use super::template::SignedParts;
use super::{Location, Pointer, SECRETS_MAX, Scheme, Secret, SecretError, TimestampFrom};
use crate::event::{BodyHash, EventId, EventType};

/// A scheme with its live secrets made ready. `Debug` shows the scheme, never a key.
pub struct Verifier {
    scheme: Scheme,
    keys: Vec<Key>,
    /// Every JSON pointer of the id and the type, so that one pass over the body finds them all.
    pointers: Vec<Pointer>,
}

/// Which event a verified request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider's id of it, or the body's hash where the scheme says so.
    pub id: EventId,
    /// The provider's type of it, or `unknown`.
    pub event_type: EventType,
}

/// Why a request is refused. All of them are the sender's to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// None of the signature headers is there.
    #[error("the signature header {header} is missing")]
    MissingSignature {
        /// The one that the scheme names first.
        header: HeaderName,
    },
    /// A header that decides something is there twice: another reader might believe the other one.
    #[error("the header {header} appears more than once")]
    DuplicateHeader {
        /// Which one.
        header: HeaderName,
    },
    /// There is a signature header, and nothing in it is the signature of this request by a live secret.
    #[error("no signature matches")]
    InvalidSignature,
    /// The signature is right, but the request is too old, or from too far in the future.
    #[error("the timestamp is {} s off; at most {} s are accepted", age.as_secs().abs(), tolerance.as_secs())]
    StaleTimestamp {
        /// How old the request is; negative for the future.
        age: SignedDuration,
        /// How old it may be.
        tolerance: Duration,
    },
    /// Something that must be known to verify or to name the event is absent or not well formed.
    #[error("{what}")]
    MalformedRequest {
        /// What, as a clause.
        what: &'static str,
    },
    /// The request verifies, or would, but carries no id where the scheme looks for one.
    #[error("no event id was found")]
    MissingEventId,
}

impl Verifier {
    /// Makes `secrets` ready for `scheme`.
    ///
    /// # Errors
    /// A scheme that contradicts itself; no secret or too many; a secret that is too short or not of the key's form.
    pub fn try_new(scheme: Scheme, secrets: &[Secret]) -> Result<Self, SecretError> {
        scheme.check()?;
        if secrets.is_empty() {
            return Err(SecretError::Missing);
        }
        if secrets.len() > SECRETS_MAX {
            return Err(SecretError::TooMany { count: secrets.len() });
        }
        let prepare = |(index, secret)| Key::try_new(scheme.hash, scheme.key, secret, index);
        let keys = secrets.iter().enumerate().map(prepare).collect::<Result<_, _>>()?;
        let pointers = scheme.id.iter().chain(&scheme.event_type).filter_map(pointer).cloned().collect();
        Ok(Self { scheme, keys, pointers })
    }

    /// The scheme that it judges by.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Judges a request received at `now` over its raw bytes: the signature, then the age, then id and type.
    ///
    /// What the signed text is made of (timestamp, signed id) must be well formed before there is anything to compare,
    /// so its absence is told before a wrong signature is. That a well formed timestamp is stale is told only to who
    /// signed it.
    ///
    /// # Errors
    /// [`VerifyError`] says what the sender must change.
    pub fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Identity, VerifyError> {
        let scheme = &self.scheme;
        let (position, header) = self.signature_header(headers)?;
        let claimed = scheme.format.read(header.as_bytes(), scheme.hash.tag_len(), scheme.encoding)?;
        if claimed.is_empty() {
            return Err(VerifyError::InvalidSignature);
        }

        let (timestamp, sent) = self.timestamp(headers, position, &claimed)?;
        let signed_id = self.signed_id(headers, position)?;
        let parts = SignedParts { body, timestamp, id: signed_id.unwrap_or_default().as_bytes() };
        if !self.keys.iter().any(|key| claimed.has(&key.tag(&scheme.template, &parts))) {
            return Err(VerifyError::InvalidSignature);
        }
        if let Some(rule) = &scheme.timestamp {
            rule.judge(sent, now)?;
        }

        let mut reader = Reader { headers, body, pointers: &self.pointers, picked: None };
        let id = match signed_id {
            Some(id) => Some(Cow::Borrowed(id.as_bytes())),
            None => reader.first(scheme.paired(&scheme.id, position))?,
        };
        let id = event_id(&id.ok_or(VerifyError::MissingEventId)?)?;
        let event_type = reader.first(&scheme.event_type)?;
        Ok(Identity { id, event_type: event_type.as_deref().map_or_else(EventType::unknown, event_type_or_unknown) })
    }

    fn signature_header<'h>(&self, headers: &'h HeaderMap) -> Result<(usize, &'h HeaderValue), VerifyError> {
        for (position, name) in self.scheme.signature_headers.iter().enumerate() {
            if let Some(value) = single(headers, name)? {
                return Ok((position, value));
            }
        }
        Err(VerifyError::MissingSignature { header: self.scheme.signature_headers[0].clone() })
    }

    /// The timestamp as it is signed, and in milliseconds since 1970; empty where the scheme has none.
    fn timestamp<'h>(
        &self,
        headers: &'h HeaderMap,
        position: usize,
        claimed: &Claimed<'h>,
    ) -> Result<(&'h [u8], i64), VerifyError> {
        let Some(rule) = &self.scheme.timestamp else { return Ok((b"", 0)) };
        let text = match &rule.from {
            TimestampFrom::SignatureHeader => claimed.timestamp,
            TimestampFrom::Headers(names) => {
                first_header(headers, self.scheme.paired(names, position))?.map(HeaderValue::as_bytes)
            }
        };
        let text = text.ok_or(VerifyError::MalformedRequest { what: "the timestamp is missing" })?;
        let sent =
            rule.unit.read(text).ok_or(VerifyError::MalformedRequest { what: "the timestamp is not well formed" })?;
        Ok((text, sent))
    }

    /// The id that the signature covers, if it covers one.
    fn signed_id<'h>(&self, headers: &'h HeaderMap, position: usize) -> Result<Option<&'h str>, VerifyError> {
        if !self.scheme.template.has_id() {
            return Ok(None);
        }
        let names = self.scheme.paired(&self.scheme.id, position).iter().filter_map(header_name);
        let value = first_header(headers, names)?.ok_or(VerifyError::MissingEventId)?;
        match std::str::from_utf8(value.as_bytes()) {
            Ok(id) if self.scheme.template.is_unambiguous(id) => Ok(Some(id)),
            Ok(_) | Err(_) => Err(MALFORMED_ID),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("scheme", &self.scheme).field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// Reads locations of one verified request; its body is parsed at most once, and only if a location is in it.
struct Reader<'a> {
    headers: &'a HeaderMap,
    body: &'a [u8],
    pointers: &'a [Pointer],
    picked: Option<Vec<Option<Cow<'a, str>>>>,
}

impl<'a> Reader<'a> {
    /// The value at the first location that has one.
    fn first(&mut self, locations: &[Location]) -> Result<Option<Cow<'a, [u8]>>, VerifyError> {
        for location in locations {
            if let Some(value) = self.read(location)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn read(&mut self, location: &Location) -> Result<Option<Cow<'a, [u8]>>, VerifyError> {
        Ok(match location {
            Location::Header(name) => single(self.headers, name)?.map(|value| Cow::Borrowed(value.as_bytes())),
            Location::Json(pointer) => self.pick(pointer).map(|value| match value {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
            Location::BodySha256 => Some(Cow::Owned(BodyHash::of(self.body).to_string().into_bytes())),
        })
    }

    fn pick(&mut self, pointer: &Pointer) -> Option<Cow<'a, str>> {
        let picked = self.picked.get_or_insert_with(|| json::pick(self.body, self.pointers));
        let index = self.pointers.iter().position(|known| known == pointer)?;
        picked[index].clone()
    }
}

const MALFORMED_ID: VerifyError = VerifyError::MalformedRequest { what: "the event id is not well formed" };

/// The value of `name`, which must not be there twice: a proxy or a handler might read the other one.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, VerifyError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    match values.next() {
        None => Ok(value),
        Some(_) => Err(VerifyError::DuplicateHeader { header: name.clone() }),
    }
}

fn first_header<'h, 'n>(
    headers: &'h HeaderMap,
    names: impl IntoIterator<Item = &'n HeaderName>,
) -> Result<Option<&'h HeaderValue>, VerifyError> {
    for name in names {
        if let Some(value) = single(headers, name)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn event_id(bytes: &[u8]) -> Result<EventId, VerifyError> {
    let text = std::str::from_utf8(bytes).map_err(|_| MALFORMED_ID)?;
    EventId::try_new(text).map_err(|_| MALFORMED_ID)
}

/// A type only routes: one that cannot be written in a routing key is no reason to lose the event.
fn event_type_or_unknown(bytes: &[u8]) -> EventType {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| EventType::try_new(text).ok()).unwrap_or_else(EventType::unknown)
}

pub(super) fn header_name(location: &Location) -> Option<&HeaderName> {
    match location {
        Location::Header(name) => Some(name),
        Location::Json(_) | Location::BodySha256 => None,
    }
}

fn pointer(location: &Location) -> Option<&Pointer> {
    match location {
        Location::Json(pointer) => Some(pointer),
        Location::Header(_) | Location::BodySha256 => None,
    }
}
