//! A request as it was received, and the values that stand in it.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::form_urlencoded;

use super::document::{JsonIn, document};
use super::json::{self, Picked};
use super::{Composed, Location, Pointer, Scheme, VerifyError};
use crate::event::BodyHash;

/// What of a received request can be signed, or can carry a signature, an id or a type. Borrowed: nothing is made of it
/// until a scheme names it.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query of the URL as they were received.
    pub target: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The exact bytes of the body.
    pub body: &'a [u8],
}

impl<'a> Received<'a> {
    /// A POST to `/`, for what is signed without its URL.
    #[must_use]
    pub fn post(headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        Self { method: &Method::POST, target: "/", headers, body }
    }

    /// The URL's query, empty if there is none.
    pub(super) fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

/// Reads values of one request; its body is parsed at most once, and only if one is in it.
pub(super) struct Reader<'a, 'v> {
    pub(super) received: &'v Received<'a>,
    pointers: &'v [Pointer],
    json_in: JsonIn<'v>,
    picked: Option<Picked<'a>>,
    /// Whose signature says what the body is known by; without one, its bytes do.
    scheme: Option<&'v Scheme>,
}

impl<'a, 'v> Reader<'a, 'v> {
    /// A reader that finds the values at `pointers` in one pass, and no others.
    pub(super) fn new(received: &'v Received<'a>, pointers: &'v [Pointer], json_in: JsonIn<'v>) -> Self {
        Self { received, pointers, json_in, picked: None, scheme: None }
    }

    /// The same, of a request that `scheme` judges.
    pub(super) fn of(self, scheme: &'v Scheme) -> Self {
        Self { scheme: Some(scheme), ..self }
    }

    /// The value at a place that the proof depends on: it must not be there twice.
    pub(super) fn read_once(&mut self, location: &Location) -> Result<Option<Cow<'a, [u8]>>, VerifyError> {
        if let Location::Json(pointer) = location {
            let (picked, index) = self.picked(pointer);
            if picked.is_repeated(index) {
                return Err(VerifyError::Duplicate { place: location.clone() });
            }
        }
        self.read(location)
    }

    /// The value at a place. In a JSON body the last of a repeated key counts, as in most parsers.
    pub(super) fn read(&mut self, location: &Location) -> Result<Option<Cow<'a, [u8]>>, VerifyError> {
        let Received { headers, body, .. } = *self.received;
        Ok(match location {
            Location::Header(name) => single(headers, name)?.map(|value| Cow::Borrowed(value.as_bytes())),
            Location::NumberedHeader(_) => None,
            Location::Query(name) => field(self.received.query().as_bytes(), name, location)?,
            Location::Form(name) => field(body, name, location)?,
            Location::Json(pointer) => {
                let (picked, index) = self.picked(pointer);
                picked.value(index).cloned().map(bytes)
            }
            Location::JsonKey(others) => match document(self.received, self.json_in) {
                Cow::Borrowed(document) => json::first_key(document, others).map(bytes),
                Cow::Owned(document) => {
                    json::first_key(&document, others).map(|key| bytes(Cow::Owned(key.into_owned())))
                }
            },
            Location::Arrival => Some(Cow::Owned(uuid::Uuid::now_v7().to_string().into_bytes())),
            Location::Body => Some(Cow::Borrowed(body)).filter(|body| !body.is_empty()),
            Location::BodySha256 => {
                let content = self.scheme.and_then(|scheme| scheme.content_hash(self.received));
                Some(Cow::Owned(content.unwrap_or_else(|| BodyHash::of(body)).to_string().into_bytes()))
            }
        })
    }

    /// The value at the first place that has one.
    pub(super) fn first_once(&mut self, locations: &[Location]) -> Result<Option<Cow<'a, [u8]>>, VerifyError> {
        for location in locations {
            if let Some(value) = self.read_once(location)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The first name of which every part is there, joined by `join`.
    pub(super) fn name(
        &mut self,
        alternatives: &[Composed],
        join: fn(&[Cow<'_, [u8]>]) -> Vec<u8>,
    ) -> Result<Option<Cow<'a, [u8]>>, VerifyError> {
        for name in alternatives {
            let found = match name.single() {
                Some(location) => self.read(location)?,
                None => self.every(name.parts())?.map(|values| Cow::Owned(join(&values))),
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn every(&mut self, parts: &[Location]) -> Result<Option<Vec<Cow<'a, [u8]>>>, VerifyError> {
        parts.iter().map(|part| self.read(part)).collect()
    }

    /// What the one pass over the body found, and which of it is at `pointer`.
    fn picked(&mut self, pointer: &Pointer) -> (&Picked<'a>, usize) {
        let strings = self.json_in.strings();
        let picked = self.picked.get_or_insert_with(|| match document(self.received, self.json_in) {
            Cow::Borrowed(document) => json::pick(document, self.pointers, strings),
            Cow::Owned(document) => json::pick(&document, self.pointers, strings).into_owned(),
        });
        (picked, self.pointers.iter().position(|known| known == pointer).unwrap_or(usize::MAX))
    }
}

/// The value of `name`, which must not be there twice: a proxy or a handler might read the other one.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, VerifyError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    match values.next() {
        None => Ok(value),
        Some(_) => Err(VerifyError::Duplicate { place: Location::Header(name.clone()) }),
    }
}

/// The decoded value of `name` in a list of `name=value`, which must not be there twice either.
fn field<'a>(list: &'a [u8], name: &str, place: &Location) -> Result<Option<Cow<'a, [u8]>>, VerifyError> {
    let mut values = form_urlencoded::parse(list).filter(|(key, _)| key == name).map(|(_, value)| value);
    let value = values.next();
    match values.next() {
        None => Ok(value.map(bytes)),
        Some(_) => Err(VerifyError::Duplicate { place: place.clone() }),
    }
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
