//! Keys that a request names and that its provider keeps: where they are, and what is read of them.
//!
//! Verifying stays pure. [`super::Verifier::needs`] says which key a request is to be verified with, at a place that was
//! held against the provider's own hosts, or is the configuration's, before anybody is asked; whoever has the network gets
//! it there, with the body that [`super::Verifier::question`] tells, and gives it to [`super::Verifier::verify_with`].

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::der;
use super::public_key::{p256_spki, rsa_spki};

/// Where a key is to be had: an `https` URL on one of the provider's own hosts or of the configuration, and the key's name
/// where one URL has several.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyLocation(Arc<Place>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    url: Url,
    holds: Holds,
}

/// What is to be had at a URL.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Holds {
    /// A certificate in PEM.
    Certificate,
    /// The key of this name, for who asks for it.
    Answer(String),
    /// A set of keys, of which the one of this name is wanted for this algorithm.
    Set(String, &'static str),
}

impl KeyLocation {
    /// Takes a URL that the provider's rule let through; a certificate is there.
    pub(super) fn new(url: Url) -> Self {
        Self(Arc::new(Place { url, holds: Holds::Certificate }))
    }

    /// Takes a URL that is asked for the key called `name`.
    pub(super) fn named(url: Url, name: String) -> Self {
        Self(Arc::new(Place { url, holds: Holds::Answer(name) }))
    }

    /// Takes a URL of a JWK Set and the name of a key in it, which is to verify what `algorithm` signed, as tokens call it.
    pub(super) fn in_set(url: Url, name: String, algorithm: &'static str) -> Self {
        Self(Arc::new(Place { url, holds: Holds::Set(name, algorithm) }))
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// The name, where the URL has several keys.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.0.holds {
            Holds::Certificate => None,
            Holds::Answer(name) | Holds::Set(name, _) => Some(name),
        }
    }

    /// The name that the provider is asked with; `None` where a GET is enough.
    pub(super) fn asked_name(&self) -> Option<&str> {
        match &self.0.holds {
            Holds::Answer(name) => Some(name),
            Holds::Certificate | Holds::Set(..) => None,
        }
    }

    /// Reads what was got there: a certificate in PEM, a JSON Web Key or a set of them; `None` if it is not that, or has no
    /// such key.
    #[must_use]
    pub fn read(&self, got: &[u8]) -> Option<FetchedKey> {
        match &self.0.holds {
            Holds::Certificate => FetchedKey::from_certificate(got),
            Holds::Answer(_) => FetchedKey::from_jwk(got),
            Holds::Set(name, algorithm) => FetchedKey::from_set(got, name, algorithm),
        }
    }
}

impl fmt::Display for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.url)?;
        self.name().iter().try_for_each(|name| write!(f, " (key {name})"))
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

/// A JWK Set ([RFC 7517, section 5](https://www.rfc-editor.org/rfc/rfc7517#section-5)). What cannot be read of it is no
/// reason to lose the other keys.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// What is read of a key in a set ([RFC 7518, section 6](https://www.rfc-editor.org/rfc/rfc7518#section-6)); a symmetric
/// key has nothing here that would be one.
#[derive(Deserialize)]
struct SetKey {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl SetKey {
    /// Whether it is called so and may verify what `algorithm` signed: what it says of itself must fit.
    fn is_for(&self, name: &str, algorithm: &str) -> bool {
        let fits = |own: Option<&str>, expected: &str| own.is_none_or(|own| own == expected);
        self.kid == name && fits(self.purpose.as_deref(), "sig") && fits(self.alg.as_deref(), algorithm)
    }

    /// The key, of the type that `algorithm` has.
    fn spki(&self, algorithm: &str) -> Option<Vec<u8>> {
        let number = |text: Option<&str>| URL_SAFE_NO_PAD.decode(text?).ok();
        let numbers = |first: Option<&str>, second: Option<&str>| Some((number(first)?, number(second)?));
        match (algorithm, self.kty.as_str(), self.crv.as_deref()) {
            ("RS256" | "RS384" | "RS512", "RSA", _) => {
                let (modulus, exponent) = numbers(self.n.as_deref(), self.e.as_deref())?;
                rsa_spki(&modulus, &exponent)
            }
            ("ES256", "EC", Some("P-256")) => {
                let (x, y) = numbers(self.x.as_deref(), self.y.as_deref())?;
                p256_spki(&x, &y)
            }
            (_, _, _) => None,
        }
    }
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

    /// The key called `name` in a set, if it is one for `algorithm`.
    fn from_set(json: &[u8], name: &str, algorithm: &str) -> Option<Self> {
        let set: KeySet = serde_json::from_slice(json).ok()?;
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<SetKey>(key).ok());
        keys.filter(|key| key.is_for(name, algorithm)).find_map(|key| key.spki(algorithm)).map(Self)
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
