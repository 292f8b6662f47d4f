//! The request that a provider would send: the other side of [`super::Verifier::verify`].

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use url::form_urlencoded;

use super::json;
use super::key::Key;
use super::native;
use super::received::Reader;
use super::signed_text::{self, SignedText, Unmade};
use super::{Composed, Kind, Location, Piece, Received, Scheme, Secret, SecretError, TimestampFrom};
use crate::event::BodyHash;

/// A message to be signed.
#[derive(Debug, Clone, Copy)]
pub struct ToSign<'a> {
    /// The raw body.
    pub body: &'a [u8],
    /// Path and query of the URL that it is sent to; where the scheme signs the URL, its own says the rest.
    pub target: &'a str,
    /// The id to send in a header, where the scheme has one for it.
    pub id: Option<&'a str>,
    /// The type to send in a header, where the scheme has one for it.
    pub event_type: Option<&'a str>,
    /// When it is sent.
    pub timestamp: Timestamp,
}

/// What to send, so that it verifies.
#[derive(Debug, Clone)]
pub struct Signed<'a> {
    /// The headers to send with it: signature, timestamp, id and type.
    pub headers: HeaderMap,
    /// Path and query, with what stands there.
    pub target: Cow<'a, str>,
    /// The body, with what stands there.
    pub body: Cow<'a, [u8]>,
}

impl Scheme {
    /// Signs `message`.
    ///
    /// Of several possible places the first is used. An id or type that the scheme reads from the body is not written
    /// into it; a timestamp or a signature is. Where the scheme signs an id and `message` has none, the body's SHA-256 in
    /// hexadecimal is the id.
    ///
    /// # Errors
    /// A secret or scheme that [`super::Verifier::try_new`] would refuse; a kind that only the provider can sign; an id
    /// or type that no header can carry or that would make the signed text ambiguous; a value that is signed and absent.
    pub fn sign<'m>(&self, secret: &Secret, message: &ToSign<'m>) -> Result<Signed<'m>, SecretError> {
        self.check()?;
        self.check_signed_here()?;
        let key = Key::try_new(self, secret, 0)?;
        self.sign_by(message, |text| {
            if self.kind == Kind::Token {
                return Ok(secret.expose().to_owned());
            }
            if self.kind == Kind::Basic {
                return Ok(format!("Basic {}", STANDARD.encode(secret.expose())));
            }
            if self.kind == Kind::Jwt {
                return native::jwt::sign(self, &key, text.body, message.timestamp)
                    .ok_or(SecretError::NotSignedHere { kind: self.kind });
            }
            let tag = key.tag(text).ok_or(SecretError::PrivateKeyNeeded { kind: self.kind })?;
            Ok(self.encoding.encode(tag.as_bytes()))
        })
    }

    /// Refuses a scheme that only the provider can sign, whatever the message.
    ///
    /// # Errors
    /// What it would take.
    pub fn check_signed_here(&self) -> Result<(), SecretError> {
        if self.kind.has_public_keys() || self.fetches_keys() {
            return Err(SecretError::PrivateKeyNeeded { kind: self.kind });
        }
        if self.kind.is_native() || self.body_is_token() {
            return Err(SecretError::NotSignedHere { kind: self.kind });
        }
        Ok(())
    }

    /// Makes the request whose signature `prove` writes.
    pub(super) fn sign_by<'m>(
        &self,
        message: &ToSign<'m>,
        prove: impl FnOnce(&SignedText<'_>) -> Result<String, SecretError>,
    ) -> Result<Signed<'m>, SecretError> {
        self.check_source()?;
        let timestamp = self.timestamp.as_ref().map(|rule| rule.unit.write(message.timestamp)).unwrap_or_default();
        let id = self.id_to_send(message);

        let mut signed = Signed {
            headers: HeaderMap::new(),
            target: Cow::Borrowed(message.target),
            body: Cow::Borrowed(message.body),
        };
        if let (Some(name), Some(id)) = (first_header(&self.id), &id) {
            if !self.template.admits(&Piece::Id, id.as_bytes()) {
                return Err(SecretError::Unsendable { header: name.clone() });
            }
            put_header(&mut signed.headers, name, id)?;
        }
        if let (Some(name), Some(event_type)) = (first_header(&self.event_type), message.event_type) {
            put_header(&mut signed.headers, name, event_type)?;
        }
        if let Some(TimestampFrom::At(places)) = self.timestamp.as_ref().map(|rule| &rule.from) {
            signed.put(&places[0], &timestamp)?;
        }
        let proof = {
            let Signed { headers, target, body } = &signed;
            let received = Received { method: &Method::POST, target, headers, body };
            let pointers = self.pointers();
            let made =
                signed_text::make(self, &mut Reader::new(&received, &pointers, self.json_in())).map_err(|unmade| {
                    match unmade {
                        Unmade::Absent(location) => SecretError::NoPlace { location: location.clone() },
                        Unmade::Refused(error) => SecretError::Unsignable(error),
                    }
                })?;
            let id = id.as_deref().unwrap_or_default().as_bytes();
            prove(&SignedText { template: &self.template, body, timestamp: timestamp.as_bytes(), id, made })?
        };
        signed.put(&self.signature[0], &self.format.write(&proof, &timestamp))?;
        Ok(signed)
    }

    fn id_to_send<'a>(&self, message: &ToSign<'a>) -> Option<Cow<'a, str>> {
        match message.id {
            Some(id) => Some(Cow::Borrowed(id)),
            None if self.template.has_id() => Some(Cow::Owned(BodyHash::of(message.body).to_string())),
            None => None,
        }
    }
}

impl Signed<'_> {
    fn put(&mut self, location: &Location, text: &str) -> Result<(), SecretError> {
        let no_place = || SecretError::NoPlace { location: location.clone() };
        let field = |name: &str| form_urlencoded::Serializer::new(String::new()).append_pair(name, text).finish();
        match location {
            Location::Header(name) => put_header(&mut self.headers, name, text)?,
            Location::NumberedHeader(prefix) => {
                let name = HeaderName::try_from(format!("{prefix}1")).map_err(|_| no_place())?;
                put_header(&mut self.headers, &name, text)?;
            }
            Location::Query(name) => {
                let separator = if self.target.contains('?') { '&' } else { '?' };
                self.target = Cow::Owned(format!("{}{separator}{}", self.target, field(name)));
            }
            Location::Form(name) => {
                let separator: &[u8] = if self.body.is_empty() { b"" } else { b"&" };
                self.body = Cow::Owned([&self.body[..], separator, field(name).as_bytes()].concat());
            }
            Location::Json(pointer) => {
                self.body = Cow::Owned(json::with_value(&self.body, pointer, text).ok_or_else(no_place)?);
            }
            Location::JsonKey(_) | Location::Body | Location::BodySha256 | Location::Arrival => {
                return Err(no_place());
            }
        }
        Ok(())
    }
}

fn first_header(names: &[Composed]) -> Option<&HeaderName> {
    names.iter().find_map(|name| name.single()?.header())
}

fn put_header(headers: &mut HeaderMap, name: &HeaderName, text: &str) -> Result<(), SecretError> {
    let value =
        HeaderValue::from_bytes(text.as_bytes()).map_err(|_| SecretError::Unsendable { header: name.clone() })?;
    headers.insert(name.clone(), value);
    Ok(())
}
