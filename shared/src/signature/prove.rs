//! Whether a request is its provider's: the signature, and what the signature itself tells.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;

use super::claimed::Claimed;
use super::key::Key;
use super::native;
use super::public_key::PublicKey;
use super::received::{Reader, single};
use super::signed_text::{self, SignedText};
use super::verify::MALFORMED_ID;
use super::{
    Composed, FetchedKey, Kind, Location, Pairing, Piece, SIGNATURES_MAX, TimestampFrom, TimestampRule, Verifier,
    VerifyError,
};

/// Where a request offers to prove itself.
pub(super) struct Offer<'a> {
    /// Which of the scheme's places the signature stands at.
    pub(super) position: usize,
    /// The timestamp that stands beside it.
    timestamp: Option<Cow<'a, [u8]>>,
}

/// What a proof tells besides that it is one.
pub(super) struct Proven<'a> {
    /// Which of the source's keys has proven it; 0 where that cannot be told.
    pub(super) key: usize,
    /// Which of the scheme's places the signature stands at.
    pub(super) position: usize,
    /// The signed id, or the one that only the proof can tell.
    pub(super) id: Option<Cow<'a, [u8]>>,
    /// The type that only the proof can tell.
    pub(super) event_type: Option<Cow<'a, [u8]>>,
    /// The signed timestamp, in milliseconds since 1970.
    pub(super) sent: Option<i64>,
}

impl Proven<'_> {
    /// A proof that tells nothing more.
    pub(super) fn at(position: usize) -> Self {
        Self { key: 0, position, id: None, event_type: None, sent: None }
    }
}

impl Verifier {
    /// Judges the signature, and nothing else.
    pub(super) fn prove<'a>(
        &'a self,
        reader: &mut Reader<'a, '_>,
        now: Timestamp,
        key: Option<&FetchedKey>,
    ) -> Result<Proven<'a>, VerifyError> {
        let scheme = self.scheme();
        match scheme.kind {
            Kind::Hmac | Kind::PlainHash | Kind::Ed25519 | Kind::EcdsaP256 | Kind::Rsa | Kind::Token | Kind::Basic => {
                self.prove_text(reader, self.keys())
            }
            Kind::Jwt | Kind::JwtRsa | Kind::JwtEs256 if scheme.jwks.is_none() => {
                native::jwt::prove(scheme, reader, now, self.keys())
            }
            Kind::Jwt | Kind::JwtRsa | Kind::JwtEs256 | Kind::Plaid => {
                native::jwt::prove(scheme, reader, now, &[Key::Public(self.public_key(key)?)])
            }
            Kind::MicrosoftGraph => native::microsoft_graph::prove(self, reader, now, key),
            Kind::Twilio => native::twilio::prove(self, reader),
            Kind::Adyen => native::adyen::prove(self, reader),
            Kind::Braintree => native::braintree::prove(self, reader),
            Kind::PayPal => self.prove_text(reader, &[Key::Public(self.public_key(key)?)]),
            Kind::AwsSns => native::aws_sns::prove(self, reader, &self.public_key(key)?),
        }
    }

    /// Without the key that was asked for, nothing is proven.
    pub(super) fn public_key(&self, key: Option<&FetchedKey>) -> Result<PublicKey, VerifyError> {
        let scheme = self.scheme();
        key.and_then(|key| PublicKey::try_new(scheme.kind, scheme.hash, key.as_spki(), 0).ok())
            .ok_or(VerifyError::InvalidSignature)
    }

    fn prove_text<'a>(&'a self, reader: &mut Reader<'a, '_>, keys: &[Key]) -> Result<Proven<'a>, VerifyError> {
        let scheme = self.scheme();
        let mut claimed = self.nothing_claimed();
        let Offer { position, timestamp: beside } = self.offer(reader, &mut claimed)?;
        if claimed.is_empty() {
            return Err(VerifyError::InvalidSignature);
        }
        let rule = scheme.timestamp.as_ref().filter(|_| scheme.template.has_timestamp());
        let timestamp = rule.map(|rule| self.timestamp(rule, reader, position, beside)).transpose()?;
        let id = self.signed_id(reader.received.headers, position)?;
        let text = SignedText {
            template: &scheme.template,
            body: reader.received.body,
            timestamp: timestamp.as_ref().map(|sent| sent.text.as_ref()).unwrap_or_default(),
            id: id.unwrap_or_default().as_bytes(),
            made: signed_text::make(scheme, reader)?,
        };
        let Some(key) = keys.iter().position(|key| key.proves(&claimed, &text)) else {
            return Err(VerifyError::InvalidSignature);
        };
        let id = id.map(|id| Cow::Borrowed(id.as_bytes()));
        Ok(Proven { key, position, id, event_type: None, sent: timestamp.as_ref().map(|sent| sent.at) })
    }

    /// Room for what a request claims; it is large, and filled where it stays.
    pub(super) fn nothing_claimed(&self) -> Claimed {
        let scheme = self.scheme();
        Claimed::new(scheme.kind, scheme.hash, scheme.encoding)
    }

    /// Takes everything that the request offers as its signature, from the first place that has something, or from every
    /// one.
    pub(super) fn offer<'a>(
        &self,
        reader: &mut Reader<'a, '_>,
        claimed: &mut Claimed,
    ) -> Result<Offer<'a>, VerifyError> {
        let scheme = self.scheme();
        let mut found = None;
        for (position, place) in scheme.signature.iter().enumerate() {
            let headers = reader.received.headers;
            if let Location::NumberedHeader(prefix) = place {
                if self.offer_numbered(prefix, headers, claimed)? {
                    found = Some((position, None));
                }
            } else if let (Location::Header(name), Pairing::Every) = (place, scheme.pairing) {
                // Some providers send the header again for each of their secrets.
                for value in headers.get_all(name) {
                    scheme.format.read(value.as_bytes(), claimed)?;
                    found = Some((position, None));
                }
            } else if let Some(text) = reader.read_once(place)? {
                found = Some((position, self.offer_text(text, claimed)?));
            }
            if found.is_some() && scheme.pairing != Pairing::Every {
                break;
            }
        }
        match found {
            Some((position, timestamp)) => Ok(Offer { position, timestamp }),
            None => Err(VerifyError::MissingSignature { place: scheme.signature[0].clone() }),
        }
    }

    fn offer_text<'a>(&self, text: Cow<'a, [u8]>, claimed: &mut Claimed) -> Result<Option<Cow<'a, [u8]>>, VerifyError> {
        let format = &self.scheme().format;
        Ok(match text {
            Cow::Borrowed(text) => format.read(text, claimed)?.map(Cow::Borrowed),
            Cow::Owned(text) => format.read(&text, claimed)?.map(|found| Cow::Owned(found.to_vec())),
        })
    }

    /// Offers what stands in the headers that are numbered from 1, without a gap; false if there is none.
    fn offer_numbered(&self, prefix: &str, headers: &HeaderMap, claimed: &mut Claimed) -> Result<bool, VerifyError> {
        for number in 1..=SIGNATURES_MAX {
            let name = HeaderName::try_from(format!("{prefix}{number}"));
            let value = name.ok().map(|name| single(headers, &name)).transpose()?.flatten();
            let Some(value) = value else { return Ok(number > 1) };
            self.scheme().format.read(value.as_bytes(), claimed)?;
        }
        Ok(true)
    }

    /// The timestamp as it is written, and when that is.
    pub(super) fn timestamp<'a>(
        &self,
        rule: &TimestampRule,
        reader: &mut Reader<'a, '_>,
        position: usize,
        beside: Option<Cow<'a, [u8]>>,
    ) -> Result<Sent<'a>, VerifyError> {
        const MALFORMED: VerifyError = VerifyError::MalformedRequest { what: "the timestamp is not well formed" };
        let text = match &rule.from {
            TimestampFrom::Signature | TimestampFrom::Token => beside,
            TimestampFrom::At(places) => reader.first_once(self.scheme().paired(places, position))?,
        };
        let text = text.ok_or(VerifyError::MalformedRequest { what: "the timestamp is missing" })?;
        let at = rule.unit.read(&text).ok_or(MALFORMED)?;
        if self.scheme().template.has_bare_timestamp() && !rule.unit.has_usual_width(&text) {
            return Err(MALFORMED);
        }
        Ok(Sent { text, at })
    }

    /// The id that the signature covers, if it covers one.
    fn signed_id<'h>(&self, headers: &'h HeaderMap, position: usize) -> Result<Option<&'h str>, VerifyError> {
        let scheme = self.scheme();
        if !scheme.template.has_id() {
            return Ok(None);
        }
        for name in scheme.paired(&scheme.id, position).iter().filter_map(header_of) {
            if let Some(value) = single(headers, name)? {
                return match std::str::from_utf8(value.as_bytes()) {
                    Ok(id) if scheme.template.admits(&Piece::Id, id.as_bytes()) => Ok(Some(id)),
                    Ok(_) | Err(_) => Err(MALFORMED_ID),
                };
            }
        }
        Err(VerifyError::MissingEventId)
    }
}

/// When a request says that it was sent.
pub(super) struct Sent<'a> {
    text: Cow<'a, [u8]>,
    /// Milliseconds since 1970.
    pub(super) at: i64,
}

fn header_of(name: &Composed) -> Option<&HeaderName> {
    name.single().and_then(Location::header)
}
