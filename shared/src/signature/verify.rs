//! The judgement over a request: is it from who it says, now, and which event is it.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::zeroize::Zeroizing;

use super::claimed::token_tag;
use super::composed::{join_id, join_type};
use super::key::Key;
use super::native;
use super::prove::Proven;
use super::received::Reader;
use super::tag::Tag;
use super::{
    DatedSecret, FetchedKey, KeyLocation, Kind, Location, Pointer, Received, SECRETS_MAX, Scheme, Secret, SecretError,
    Shift, TimestampFrom, Validity, shifts,
};
use crate::event::{EventId, EventType};

/// A scheme with its live secrets made ready. `Debug` shows the scheme, never a key.
pub struct Verifier {
    scheme: Scheme,
    keys: Vec<Key>,
    /// What stands for the word that handshakes alone are proven with.
    verify_token: Option<Tag>,
    /// Every JSON pointer of the scheme, so that one pass over the body finds them all.
    pointers: Vec<Pointer>,
    /// Who judges from when on, where secrets have dates; empty where each of them counts always.
    shifts: Vec<(Timestamp, Verifier)>,
}

/// None of the secrets counts now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no secret of the source counts now")]
pub struct NoLiveSecret;

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
    /// There is nothing at any of the places where a signature may stand.
    #[error("{} with the signature is missing", in_words(place))]
    MissingSignature {
        /// The one that the scheme names first.
        place: Location,
    },
    /// A value that decides something is there twice: another reader might believe the other one.
    #[error("{} appears more than once", in_words(place))]
    Duplicate {
        /// Which one.
        place: Location,
    },
    /// There is a signature, and nothing in it is the signature of this request by a live secret.
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
    /// A scheme that contradicts itself or lacks what its source must tell; no secret or too many; a secret that is too
    /// short or not of the key's form.
    pub fn try_new(scheme: Scheme, secrets: &[Secret]) -> Result<Self, SecretError> {
        scheme.check()?;
        scheme.check_source()?;
        match (scheme.has_secrets(), secrets.is_empty()) {
            (true, true) => return Err(SecretError::Missing),
            (false, false) => return Err(SecretError::Needless),
            (true, false) | (false, true) => {}
        }
        if secrets.len() > SECRETS_MAX {
            return Err(SecretError::TooMany { count: secrets.len() });
        }
        let prepare = |(index, secret)| Key::try_new(&scheme, secret, index);
        let keys = secrets.iter().enumerate().map(prepare).collect::<Result<_, _>>()?;
        let pointers = scheme.pointers();
        Ok(Self { scheme, keys, verify_token: None, pointers, shifts: Vec::new() })
    }

    /// Makes `secrets` ready, each to count within its dates. They are bounded and held to their form whether they count
    /// now or not.
    ///
    /// # Errors
    /// As [`Self::try_new`].
    pub fn try_new_dated(scheme: Scheme, secrets: &[DatedSecret]) -> Result<Self, SecretError> {
        let texts: Vec<Secret> = secrets.iter().map(|dated| dated.secret.clone()).collect();
        let all = Self::try_new(scheme, &texts)?;
        if secrets.iter().all(|dated| dated.validity == Validity::ALWAYS) {
            return Ok(all);
        }
        let shift = |Shift { from, live }| Ok((from, all.with_only(&texts, &live)?));
        let shifts = shifts(secrets).into_iter().map(shift).collect::<Result<_, SecretError>>()?;
        Ok(Self { shifts, ..all })
    }

    /// The verifier that knows these of its secrets only, by their places; perhaps none, and then it takes nothing.
    fn with_only(&self, secrets: &[Secret], live: &[usize]) -> Result<Self, SecretError> {
        let keys = live.iter().map(|&index| Key::try_new(&self.scheme, &secrets[index], index));
        let keys = keys.collect::<Result<_, _>>()?;
        let (scheme, pointers) = (self.scheme.clone(), self.pointers.clone());
        Ok(Self { scheme, keys, verify_token: None, pointers, shifts: Vec::new() })
    }

    /// The verifier with the secrets that count at `now`; itself where none has dates.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> &Self {
        if self.shifts.is_empty() {
            return self;
        }
        // The first begins with time itself.
        let begun = self.shifts.partition_point(|(from, _)| *from <= now);
        &self.shifts[begun.saturating_sub(1)].1
    }

    /// The same, with the word that was agreed on for handshakes.
    #[must_use]
    pub fn with_verify_token(self, token: &Secret) -> Self {
        Self { verify_token: Some(token_tag(token.expose().as_bytes())), ..self }
    }

    pub(super) fn verify_token(&self) -> Option<&Tag> {
        self.verify_token.as_ref()
    }

    /// Takes keys that the configuration would refuse, to explain why a request was refused. Its word lets nothing in.
    pub(super) fn trial(scheme: Scheme, keys: Vec<Key>) -> Self {
        let pointers = scheme.pointers();
        Self { scheme, keys, verify_token: None, pointers, shifts: Vec::new() }
    }

    /// Whether the signature is right, however old it is and whatever event it is of.
    pub(super) fn is_proven(&self, received: &Received<'_>, now: Timestamp, key: Option<&FetchedKey>) -> bool {
        matches!(self.prove(&mut self.reader(received), now, key), Ok(_) | Err(VerifyError::StaleTimestamp { .. }))
    }

    /// The scheme that it judges by.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    pub(super) fn reader<'a, 'v>(&'v self, received: &'v Received<'a>) -> Reader<'a, 'v> {
        Reader::new(received, &self.pointers, self.scheme.json_in()).of(&self.scheme)
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key that `received` is to be verified with, where a request names one that its provider keeps.
    ///
    /// # Errors
    /// [`VerifyError`] if it names none, or one at a place that is not the provider's.
    pub fn needs(&self, received: &Received<'_>) -> Result<Option<KeyLocation>, VerifyError> {
        if !self.scheme.fetches_keys() {
            return Ok(None);
        }
        let mut reader = self.reader(received);
        if let Some(url) = &self.scheme.jwks {
            return native::jwks::location(&self.scheme, url, &mut reader).map(Some);
        }
        if self.scheme.kind == Kind::MicrosoftGraph {
            return native::microsoft_graph::location(self, received.body).map(Some);
        }
        if self.scheme.kind == Kind::Plaid {
            return native::plaid::location(&self.scheme, &mut reader).map(Some);
        }
        // What has no signature is not worth a request to anybody.
        let mut claimed = self.nothing_claimed();
        self.offer(&mut reader, &mut claimed)?;
        if claimed.is_empty() {
            return Err(VerifyError::InvalidSignature);
        }
        let location = if self.scheme.kind == Kind::PayPal {
            native::paypal::location(&reader)
        } else {
            native::aws_sns::location(&mut reader)
        };
        location.map(Some)
    }

    /// The JSON that is to be posted to `location` to get its key at `now`; `None` if a GET is enough. It holds secrets.
    ///
    /// # Errors
    /// If one is needed, and no secret counts: that is ours to mend, and not the sender's.
    pub fn question(&self, location: &KeyLocation, now: Timestamp) -> Result<Option<Zeroizing<Vec<u8>>>, NoLiveSecret> {
        let Some(name) = location.asked_name() else { return Ok(None) };
        let mut live = self.at(now).keys.iter();
        let credentials = live.find_map(|key| if let Key::Api(secret) = key { Some(secret) } else { None });
        Ok(Some(Zeroizing::new(native::plaid::question(credentials.ok_or(NoLiveSecret)?, name))))
    }

    /// Judges a request received at `now` over its raw bytes: the signature, by a secret that counts then, then the age,
    /// then id and type.
    ///
    /// What the signed text is made of (timestamp, signed id) must be well formed before there is anything to compare,
    /// so its absence is told before a wrong signature is. That a well formed timestamp is stale is told only to who
    /// signed it. The body is read before it is verified only where the signature, or a value that is signed by itself,
    /// stands in it. What [`Self::needs`] a key that was fetched never verifies without it.
    ///
    /// # Errors
    /// [`VerifyError`] says what the sender must change.
    pub fn verify(&self, received: &Received<'_>, now: Timestamp) -> Result<Identity, VerifyError> {
        self.at(now).event(received, now, None)
    }

    /// The same, with the key that [`Self::needs`] told.
    ///
    /// # Errors
    /// [`VerifyError`] says what the sender must change.
    pub fn verify_with(
        &self,
        received: &Received<'_>,
        now: Timestamp,
        key: &FetchedKey,
    ) -> Result<Identity, VerifyError> {
        self.at(now).event(received, now, Some(key))
    }

    fn event(
        &self,
        received: &Received<'_>,
        now: Timestamp,
        key: Option<&FetchedKey>,
    ) -> Result<Identity, VerifyError> {
        let mut reader = self.reader(received);
        let proven = self.proven(&mut reader, now, key)?;
        self.identity(proven, &mut reader)
    }

    /// Judges the signature, then the age.
    pub(super) fn proven<'a>(
        &'a self,
        reader: &mut Reader<'a, '_>,
        now: Timestamp,
        key: Option<&FetchedKey>,
    ) -> Result<Proven<'a>, VerifyError> {
        let scheme = &self.scheme;
        if self.signs_for_anyone(reader.received.body) {
            return Err(VerifyError::InvalidSignature);
        }
        let proven = self.prove(reader, now, key)?;
        if let Some(rule) = scheme.timestamp.as_ref().filter(|rule| rule.from != TimestampFrom::Token) {
            let sent = match proven.sent {
                Some(sent) => sent,
                None => self.timestamp(rule, reader, proven.position, None)?.at,
            };
            rule.judge(sent, now)?;
        }
        Ok(proven)
    }

    /// Which event the request is that `proven` is about.
    pub(super) fn identity(&self, proven: Proven<'_>, reader: &mut Reader<'_, '_>) -> Result<Identity, VerifyError> {
        let scheme = &self.scheme;
        let id = match proven.id {
            Some(id) => Some(id),
            None => reader.name(scheme.paired(&scheme.id, proven.position), join_id)?,
        };
        let id = event_id(&id.ok_or(VerifyError::MissingEventId)?)?;
        let event_type = match proven.event_type {
            Some(event_type) => Some(event_type),
            None => reader.name(&scheme.event_type, join_type)?,
        };
        Ok(Identity { id, event_type: event_type.as_deref().map_or_else(EventType::unknown, event_type_or_unknown) })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("scheme", &self.scheme).field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

pub(super) const MALFORMED_ID: VerifyError = VerifyError::MalformedRequest { what: "the event id is not well formed" };

fn in_words(place: &Location) -> String {
    match place {
        Location::Header(name) => format!("the header {name}"),
        Location::Query(name) => format!("the query parameter {name}"),
        Location::Form(name) => format!("the form field {name}"),
        Location::Body => "the body".to_owned(),
        Location::NumberedHeader(_)
        | Location::Json(_)
        | Location::JsonKey(_)
        | Location::BodySha256
        | Location::Arrival => {
            format!("the value at {place}")
        }
    }
}

pub(super) fn event_id(bytes: &[u8]) -> Result<EventId, VerifyError> {
    let text = std::str::from_utf8(bytes).map_err(|_| MALFORMED_ID)?;
    EventId::try_new(text).map_err(|_| MALFORMED_ID)
}

/// A type only routes: one that cannot be written in a routing key is no reason to lose the event.
pub(super) fn event_type_or_unknown(bytes: &[u8]) -> EventType {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| EventType::try_new(text).ok()).unwrap_or_else(EventType::unknown)
}
