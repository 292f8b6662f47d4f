//! A provider's way of signing, as data.

use http::HeaderName;

use super::word::word;
use super::{Encoding, Hash, KeyForm, Location, SignatureFormat, Template, TimestampFrom, TimestampRule};

/// Everything that tells one provider's requests from forged ones, and one event from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheme {
    /// The hash inside the HMAC.
    pub hash: Hash,
    /// How the key is got from a secret.
    pub key: KeyForm,
    /// What is signed.
    pub template: Template,
    /// The header that carries the signature: the first of these that is present.
    pub signature_headers: Vec<HeaderName>,
    /// How signatures stand in that header.
    pub format: SignatureFormat,
    /// How a signature is written.
    pub encoding: Encoding,
    /// Where the signed timestamp stands and how far it may be from now; `None` where the provider signs none.
    pub timestamp: Option<TimestampRule>,
    /// Where the event's id stands: the first of these that is present. If the template signs an `{id}`, it is this one.
    pub id: Vec<Location>,
    /// Where the event's type stands: the first of these that is present. If none is, the type is `unknown`.
    pub event_type: Vec<Location>,
    /// Whether headers of different families may be mixed.
    pub pairing: Pairing,
}

word! {
    /// Which of several headers belong to one another.
    Pairing, "a pairing", "independent or by-position",
    {
        /// Of each list the first header that is present is taken.
        Independent = "independent",
        /// The lists of signature, timestamp and id headers are equally long: with the signature header at one place
        /// go only the timestamp and the id at the same place, whatever other headers are present.
        ByPosition = "by-position",
    }
}

/// Most locations of an id, or of a type.
pub const LOCATIONS_MAX: usize = 8;

/// How the fields of a scheme contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// There is nowhere to look for a signature.
    #[error("a signature header must be named")]
    NoSignatureHeader,
    /// The signed text cannot be rebuilt.
    #[error("the template signs a {{timestamp}}, but nothing says where it stands")]
    NoTimestamp,
    /// A window over an unsigned timestamp stops nobody: whoever replays a request writes a new one.
    #[error("a timestamp is configured that the template does not sign")]
    UnsignedTimestamp,
    /// `kv:` without a timestamp key, or another format.
    #[error("the timestamp is said to stand in the signature header, but its format has none")]
    NoTimestampKey,
    /// Without an id no duplicate can be told.
    #[error("an id location must be named; the last resort is body-sha256")]
    NoId,
    /// The signed text must be known before the body is read.
    #[error("an id that the template signs must stand in a header")]
    SignedIdNotInHeader,
    /// A hash says nothing about an event's type.
    #[error("an event type cannot be taken from body-sha256")]
    TypeFromBodyHash,
    /// A bound.
    #[error("at most {LOCATIONS_MAX} locations of an id, and as many of a type, may be named")]
    TooManyLocations,
    /// By-position pairing has nothing to pair.
    #[error("by-position pairing needs as many timestamp headers and id headers as signature headers")]
    Unpaired,
}

impl Scheme {
    /// Refuses a scheme whose fields contradict each other. [`super::Verifier`] asks this too.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), SchemeError> {
        let is_header = |location: &Location| matches!(location, Location::Header(_));
        if self.signature_headers.is_empty() {
            return Err(SchemeError::NoSignatureHeader);
        }
        self.check_timestamp()?;
        if self.id.is_empty() {
            return Err(SchemeError::NoId);
        }
        if self.id.len() > LOCATIONS_MAX || self.event_type.len() > LOCATIONS_MAX {
            return Err(SchemeError::TooManyLocations);
        }
        if self.template.has_id() && !self.id.iter().all(is_header) {
            return Err(SchemeError::SignedIdNotInHeader);
        }
        if self.event_type.contains(&Location::BodySha256) {
            return Err(SchemeError::TypeFromBodyHash);
        }
        if self.pairing == Pairing::ByPosition && !(self.id.iter().all(is_header) && self.is_paired()) {
            return Err(SchemeError::Unpaired);
        }
        Ok(())
    }

    /// The timestamp headers and id locations that go with the signature header at `position`.
    pub(super) fn paired<'s, T>(&self, list: &'s [T], position: usize) -> &'s [T] {
        match self.pairing {
            Pairing::Independent => list,
            Pairing::ByPosition => list.get(position..=position).unwrap_or_default(),
        }
    }

    fn check_timestamp(&self) -> Result<(), SchemeError> {
        match (&self.timestamp, self.template.has_timestamp()) {
            (None, false) => Ok(()),
            (None, true) => Err(SchemeError::NoTimestamp),
            (Some(_), false) => Err(SchemeError::UnsignedTimestamp),
            (Some(rule), true) => match &rule.from {
                TimestampFrom::Headers(headers) if headers.is_empty() => Err(SchemeError::NoTimestamp),
                TimestampFrom::SignatureHeader if !self.format.has_timestamp() => Err(SchemeError::NoTimestampKey),
                TimestampFrom::Headers(_) | TimestampFrom::SignatureHeader => Ok(()),
            },
        }
    }

    fn is_paired(&self) -> bool {
        let count = self.signature_headers.len();
        let timestamps = match self.timestamp.as_ref().map(|rule| &rule.from) {
            Some(TimestampFrom::Headers(headers)) => headers.len(),
            Some(TimestampFrom::SignatureHeader) | None => count,
        };
        self.id.len() == count && timestamps == count
    }
}
