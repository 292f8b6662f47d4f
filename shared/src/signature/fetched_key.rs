//! Keys that a request names and that its provider keeps: where they are, and what is read of them.
//!
//! Verifying stays pure. [`super::Verifier::needs`] says which key a request is to be verified with, at a place that was
//! held against the provider's own hosts before anybody is asked; whoever has the network gets it there, with the body
//! that [`super::Verifier::question`] tells, and gives it to [`super::Verifier::verify_with`].

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use url::Url;

use super::der;
use super::public_key::p256_spki;

/// Where a key is to be had: an `https` URL on one of the provider's own hosts, and the key's name where one URL has
/// several.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyLocation(Arc<Place>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    url: Url,
    name: Option<String>,
}

impl KeyLocation {
    /// Takes a URL that the provider's rule let through; a certificate is there.
    pub(super) fn new(url: Url) -> Self {
        Self(Arc::new(Place { url, name: None }))
    }

    /// Takes a URL that is asked for the key called `name`.
    pub(super) fn named(url: Url, name: String) -> Self {
        Self(Arc::new(Place { url, name: Some(name) }))
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// The name, where the URL is asked for it.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Reads what was got there: a certificate in PEM, or a JSON Web Key; `None` if it is neither.
    #[must_use]
    pub fn read(&self, got: &[u8]) -> Option<FetchedKey> {
        if self.0.name.is_some() { FetchedKey::from_jwk(got) } else { FetchedKey::from_certificate(got) }
    }
}

impl fmt::Display for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.url)?;
        self.0.name.iter().try_for_each(|name| write!(f, " (key {name})"))
    }
}

/// A key that was got from its provider: a `SubjectPublicKeyInfo` in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedKey(Vec<u8>);

/// A key on P-256 ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)), alone or, as Plaid answers, under `key`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Jwk {
    Answer { key: Point },
    Alone(Point),
}

#[derive(Deserialize)]
struct Point {
    crv: String,
    x: String,
    y: String,
    /// Plaid's: when it stopped to sign with it.
    expired_at: Option<i64>,
}

impl FetchedKey {
    /// The key of the first certificate in a PEM file; `None` if there is none.
    ///
    /// Neither its chain nor its dates are looked at: that it was got by TLS from the provider's own host is the proof.
    fn from_certificate(pem: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(pem).ok()?;
        let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
        let (inner, _) = rest.split_once("-----END CERTIFICATE-----")?;
        let der = STANDARD.decode(inner.split_ascii_whitespace().collect::<String>()).ok()?;
        public_key(&der).map(|key| Self(key.to_vec()))
    }

    /// A key that is still in use.
    fn from_jwk(json: &[u8]) -> Option<Self> {
        let (Jwk::Answer { key: point } | Jwk::Alone(point)) = serde_json::from_slice(json).ok()?;
        if point.crv != "P-256" || point.expired_at.is_some() {
            return None;
        }
        let number = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        p256_spki(&number(&point.x)?, &number(&point.y)?).map(Self)
    }

    pub(super) fn as_spki(&self) -> &[u8] {
        &self.0
    }
}

/// The `SubjectPublicKeyInfo` of a certificate
/// ([RFC 5280, section 4.1](https://www.rfc-editor.org/rfc/rfc5280#section-4.1)): in what is signed, after the version,
/// the serial number, the algorithm, the issuer, the dates and the subject.
fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    const VERSION: u8 = 0xa0;
    const BEFORE_KEY: usize = 5;
    let (certificate, _) = der::read(certificate, der::SEQUENCE)?;
    let (mut signed, _) = der::read(certificate, der::SEQUENCE)?;
    if let Some((_, rest)) = der::read(signed, VERSION) {
        signed = rest;
    }
    for _ in 0..BEFORE_KEY {
        (_, signed) = der::read(signed, *signed.first()?)?;
    }
    let (_, after) = der::read(signed, der::SEQUENCE)?;
    Some(&signed[..signed.len() - after.len()])
}
