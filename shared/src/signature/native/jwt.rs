//! JSON Web Tokens with the body's SHA-256 in a claim ([RFC 7515](https://www.rfc-editor.org/rfc/rfc7515),
//! [RFC 7519](https://www.rfc-editor.org/rfc/rfc7519)).
//!
//! The algorithm is the scheme's: a token that names another one is forged, whatever it is signed with. `crit` is
//! refused, keys that a token brings along are ignored.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use super::super::format::SIGNATURE_HEADER_MAX;
use super::super::json::{self, Picked, Strings};
use super::super::key::Key;
use super::super::prove::Proven;
use super::super::received::Reader;
use super::super::{Encoding, Hash, Kind, Pointer, Scheme, TimestampRule, VerifyError};
use crate::event::BodyHash;

const MILLIS_PER_SECOND: i64 = 1_000;
/// The place of the body's hash among the claims that are read.
const CLAIMED_HASH: usize = 3;
/// How far clocks may be off where a token says until when it is fresh.
pub(super) const CLOCK: Duration = Duration::from_secs(60);

/// The parts of a token, still encoded but for its header.
pub(super) struct Token<'t> {
    pub(super) header: Header,
    payload: &'t str,
    /// Header and payload.
    signed: &'t str,
    signature: &'t str,
}

/// What is read of a token's header; whatever else stands there takes no memory. A member that is there twice is an error.
#[derive(Deserialize)]
pub(super) struct Header {
    alg: String,
    /// The key's name, where the token has one.
    pub(super) kid: Option<String>,
    /// That it is there is enough to refuse the token.
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

impl<'t> Token<'t> {
    pub(super) fn read(text: &'t str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.').filter(|(_, payload)| !payload.contains('.'))?;
        let header = Some(header).filter(|header| header.len() <= SIGNATURE_HEADER_MAX)?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        Some(Self { header, payload, signed, signature })
    }

    /// Whether it says that it is signed as the scheme wants it, and wants nothing itself.
    pub(super) fn is_of(&self, scheme: &Scheme) -> bool {
        let expected = algorithm(scheme.kind, scheme.hash);
        expected == Some(&*self.header.alg) && !self.header.crit
    }

    /// Its claims, if one of `keys` signed it.
    pub(super) fn claims_by(&self, keys: &[Key]) -> Option<Vec<u8>> {
        if self.is_signed_by(keys) { URL_SAFE_NO_PAD.decode(self.payload).ok() } else { None }
    }

    fn is_signed_by(&self, keys: &[Key]) -> bool {
        // Without padding (RFC 7515, section 2): where the token is the body, another spelling would be another body.
        let Ok(claimed) = URL_SAFE_NO_PAD.decode(self.signature) else { return false };
        let signed = self.signed.as_bytes();
        keys.iter().any(|key| {
            if let Key::Public(key) = key {
                return key.verifies(signed, &claimed);
            }
            key.tag_of([signed].into_iter()).is_some_and(|tag| tag.ct_eq(&claimed).into())
        })
    }
}

/// Gives the token of a request to `judge`; what is no token is forged.
pub(super) fn with_token<T>(
    scheme: &Scheme,
    reader: &mut Reader<'_, '_>,
    judge: impl FnOnce(&Token<'_>) -> Option<T>,
) -> Result<T, VerifyError> {
    let text = reader.first_once(&scheme.signature)?;
    let text = text.ok_or_else(|| VerifyError::MissingSignature { place: scheme.signature[0].clone() })?;
    if text.len() > SIGNATURE_HEADER_MAX && !scheme.body_is_token() {
        return Err(VerifyError::MalformedRequest { what: "the token is too long" });
    }
    let token = scheme.format.strip(&text).and_then(|token| std::str::from_utf8(token).ok()).and_then(Token::read);
    token.filter(|token| token.is_of(scheme)).and_then(|token| judge(&token)).ok_or(VerifyError::InvalidSignature)
}

pub(in super::super) fn prove<'a>(
    scheme: &Scheme,
    reader: &mut Reader<'a, '_>,
    now: Timestamp,
    keys: &[Key],
) -> Result<Proven<'a>, VerifyError> {
    let payload = with_token(scheme, reader, |token| token.claims_by(keys))?;
    let pointers = claims(scheme);
    let claims = json::pick(&payload, &pointers, Strings::Closed);
    if !holds_hash_of(scheme, &claims, reader.received.body) {
        return Err(VerifyError::InvalidSignature);
    }
    if let Some(rule) = &scheme.timestamp {
        judge_times(scheme.kind, rule, &claims, now)?;
    }
    Ok(Proven::at(0))
}

/// The claims of the token that is the body, whoever has signed it.
pub(in super::super) fn payload(body: &[u8]) -> Option<Vec<u8>> {
    let token = Token::read(std::str::from_utf8(body).ok()?)?;
    URL_SAFE_NO_PAD.decode(token.payload).ok()
}

/// A token for `body`, issued at `now`.
pub(in super::super) fn sign(scheme: &Scheme, key: &Key, body: &[u8], now: Timestamp) -> Option<String> {
    let hash = BodyHash::of(body);
    let hash = match scheme.encoding {
        Encoding::Hex => hash.to_string(),
        Encoding::Base64 => STANDARD.encode(hash.as_bytes()),
        Encoding::Base64Url => URL_SAFE_NO_PAD.encode(hash.as_bytes()),
    };
    let claim = scheme.body_claim.as_ref().and_then(|claim| claim.steps().last());
    let header = serde_json::json!({ "alg": algorithm(scheme.kind, scheme.hash)?, "typ": "JWT" });
    let mut payload = serde_json::json!({ "iat": now.as_second() });
    if let Some(claim) = claim {
        payload[claim] = hash.into();
    }
    let signed = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let tag = key.tag_of([signed.as_bytes()].into_iter())?;
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_bytes())))
}

/// What tokens call the algorithm of a scheme; `None` where there is none.
pub(super) fn algorithm(kind: Kind, hash: Hash) -> Option<&'static str> {
    match (kind, hash) {
        (Kind::JwtEs256 | Kind::Plaid, _) => Some("ES256"),
        (Kind::JwtRsa | Kind::MicrosoftGraph, Hash::Sha256) => Some("RS256"),
        (Kind::JwtRsa, Hash::Sha384) => Some("RS384"),
        (Kind::JwtRsa, Hash::Sha512) => Some("RS512"),
        (Kind::Jwt, Hash::Sha256) => Some("HS256"),
        (Kind::Jwt, Hash::Sha384) => Some("HS384"),
        (Kind::Jwt, Hash::Sha512) => Some("HS512"),
        _ => None,
    }
}

/// The claims that are read: the times, then the body's hash.
fn claims(scheme: &Scheme) -> Vec<Pointer> {
    times().into_iter().chain(scheme.body_claim.clone()).collect()
}

/// The claims that [`judge_times`] takes, in its order.
pub(super) fn times() -> [Pointer; 3] {
    ["/iat", "/nbf", "/exp"].map(|claim| claim.parse().expect("a valid pointer"))
}

/// Whether the token is about this body, is this body, or is about none. A body that is empty may have no hash: nobody can
/// add one to it.
fn holds_hash_of(scheme: &Scheme, claims: &Picked<'_>, body: &[u8]) -> bool {
    if scheme.body_claim.is_none() {
        return scheme.body_is_token() || scheme.unsigned_body;
    }
    let Some(claim) = claims.value(CLAIMED_HASH) else { return body.is_empty() };
    let decoded = match scheme.encoding {
        Encoding::Hex => hex::decode(claim.as_bytes()).ok(),
        Encoding::Base64 => STANDARD_PAD_INDIFFERENT.decode(claim.as_bytes()).ok(),
        Encoding::Base64Url => URL_SAFE_NO_PAD.decode(claim.trim_end_matches('=')).ok(),
    };
    decoded.is_some_and(|hash| hash == BodyHash::of(body).as_bytes()) && !claims.is_repeated(CLAIMED_HASH)
}

/// A token is as old as its `iat`, and a token with an `exp` is fresh until then. No clock is exact: both, and `nbf`, may
/// be off by the tolerance where there is nothing better, and by a minute where there is.
///
/// Plaid's tokens are as old as their `iat` and never without one; others may have no time at all, and are then not judged
/// by it.
pub(super) fn judge_times(
    kind: Kind,
    rule: &TimestampRule,
    claims: &Picked<'_>,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let time = |index: usize| {
        let seconds = claims.value(index)?.split('.').next()?.parse::<i64>().ok()?;
        seconds.checked_mul(MILLIS_PER_SECOND)
    };
    let [issued, not_before, expires] = [0, 1, 2].map(time);
    if kind == Kind::Plaid && issued.is_none() {
        return Err(VerifyError::MalformedRequest { what: "the timestamp is missing" });
    }
    let at = now.as_millisecond();
    if let Some(expires) = expires.filter(|expires| *expires < at) {
        TimestampRule { tolerance: CLOCK, ..rule.clone() }.judge(expires, now)?;
    }
    for begins in [issued, not_before].into_iter().flatten() {
        if begins > at || (expires.is_none() && Some(begins) == issued) {
            rule.judge(begins, now)?;
        }
    }
    Ok(())
}
