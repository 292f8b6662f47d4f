//! The headers that a provider would send: the other side of [`super::Verifier::verify`].

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::key::Key;
use super::template::SignedParts;
use super::verify::header_name;
use super::{Location, Scheme, Secret, SecretError, TimestampFrom};
use crate::event::BodyHash;

/// A message to be signed.
#[derive(Debug, Clone, Copy)]
pub struct ToSign<'a> {
    /// The raw body.
    pub body: &'a [u8],
    /// The id to send in a header, where the scheme has one for it.
    pub id: Option<&'a str>,
    /// The type to send in a header, where the scheme has one for it.
    pub event_type: Option<&'a str>,
    /// When it is sent.
    pub timestamp: Timestamp,
}

impl Scheme {
    /// Signs `message` and returns the headers to send with it: signature, timestamp, id and type.
    ///
    /// Of several possible headers the first is used. An id or type that the scheme reads from the body is not written
    /// into it. Where the scheme signs an id and `message` has none, the body's SHA-256 in hexadecimal is the id.
    ///
    /// # Errors
    /// A secret or scheme that [`super::Verifier::try_new`] would refuse, or an id or type that no header can carry or
    /// that would make the signed text ambiguous.
    pub fn sign(&self, secret: &Secret, message: &ToSign<'_>) -> Result<HeaderMap, SecretError> {
        self.check()?;
        let key = Key::try_new(self.hash, self.key, secret, 0)?;
        let timestamp = self.timestamp.as_ref().map(|rule| rule.unit.write(message.timestamp)).unwrap_or_default();
        let id = self.id_to_send(message);

        let mut headers = HeaderMap::new();
        if let (Some(name), Some(id)) = (first_header(&self.id), &id) {
            if !self.template.is_unambiguous(id) {
                return Err(SecretError::Unsendable { header: name.clone() });
            }
            put(&mut headers, name, id)?;
        }
        if let (Some(name), Some(event_type)) = (first_header(&self.event_type), message.event_type) {
            put(&mut headers, name, event_type)?;
        }
        if let Some(TimestampFrom::Headers(names)) = self.timestamp.as_ref().map(|rule| &rule.from) {
            put(&mut headers, &names[0], &timestamp)?;
        }
        let id = id.as_deref().unwrap_or_default().as_bytes();
        let parts = SignedParts { body: message.body, timestamp: timestamp.as_bytes(), id };
        let signature = self.encoding.encode(key.tag(&self.template, &parts).as_bytes());
        put(&mut headers, &self.signature_headers[0], &self.format.write(&signature, &timestamp))?;
        Ok(headers)
    }

    fn id_to_send<'a>(&self, message: &ToSign<'a>) -> Option<Cow<'a, str>> {
        match message.id {
            Some(id) => Some(Cow::Borrowed(id)),
            None if self.template.has_id() => Some(Cow::Owned(BodyHash::of(message.body).to_string())),
            None => None,
        }
    }
}

fn first_header(locations: &[Location]) -> Option<&HeaderName> {
    locations.iter().find_map(header_name)
}

fn put(headers: &mut HeaderMap, name: &HeaderName, text: &str) -> Result<(), SecretError> {
    let value =
        HeaderValue::from_bytes(text.as_bytes()).map_err(|_| SecretError::Unsendable { header: name.clone() })?;
    headers.insert(name.clone(), value);
    Ok(())
}
