//! Braintree: a payload in a form, signed for the public key that stands beside the signature.
//!
//! By braintree-node, `webhook_notification_gateway.js`. The library signs the payload with the line feed that its
//! base64 ends with, and takes it without one too. The event's type is in the XML that the payload encodes.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;

use super::super::key::Key;
use super::super::prove::Proven;
use super::super::received::Reader;
use super::super::{Encoding, Location, SIGNATURES_MAX, Verifier, VerifyError};

/// The length of HMAC-SHA1, in bytes.
const TAG_LEN: usize = 20;

pub(in super::super) fn prove<'a>(verifier: &Verifier, reader: &mut Reader<'a, '_>) -> Result<Proven<'a>, VerifyError> {
    let place = &verifier.scheme().signature[0];
    let pairs = reader.read_once(place)?.ok_or_else(|| VerifyError::MissingSignature { place: place.clone() })?;
    let payload = reader.read_once(&signed_field())?;
    let payload = payload.ok_or(VerifyError::MalformedRequest { what: "the form has no bt_payload" })?;
    if is_challenge(&payload) {
        return Err(VerifyError::InvalidSignature);
    }
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\n".contains(byte);
    let is_proven = payload.iter().all(is_base64)
        && verifier.keys().iter().any(|key| {
            let Key::Named(name, _) = key else { return false };
            let ends: [&[u8]; 2] = [b"", b"\n"];
            let tags = ends.map(|end| key.tag_of([&*payload, end].into_iter()));
            signatures_of(name, &pairs).any(|signature| {
                let mut claimed = [0; TAG_LEN];
                Encoding::Hex.decode(signature, &mut claimed)
                    && tags.iter().flatten().any(|tag| tag.ct_eq(&claimed).into())
            })
        });
    if !is_proven {
        return Err(VerifyError::InvalidSignature);
    }
    Ok(Proven { event_type: kind_of(&payload).map(Cow::Owned), ..Proven::at(0) })
}

/// What is signed, without the line feed that it may end with; the rest of the form is nobody's.
pub(in super::super) fn content<'a>(reader: &mut Reader<'a, '_>) -> Result<Option<Cow<'a, [u8]>>, VerifyError> {
    let payload = reader.read_once(&signed_field())?;
    Ok(payload.map(|payload| match payload {
        Cow::Borrowed(payload) => Cow::Borrowed(payload.strip_suffix(b"\n").unwrap_or(payload)),
        Cow::Owned(mut payload) => {
            payload.pop_if(|last| *last == b'\n');
            Cow::Owned(payload)
        }
    }))
}

fn signed_field() -> Location {
    Location::Form("bt_payload".to_owned())
}

/// Whether `text` is what Braintree has signed to make sure of a URL: anyone may have it signed, so it proves nothing.
pub(in super::super) fn is_challenge(text: &[u8]) -> bool {
    (20..=32).contains(&text.len()) && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The signatures beside `name` in `name|signature&...`.
fn signatures_of<'p>(name: &str, pairs: &'p [u8]) -> impl Iterator<Item = &'p [u8]> {
    let beside = move |pair: &'p [u8]| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"|");
    pairs.split(|byte| *byte == b'&').take(SIGNATURES_MAX).filter_map(beside)
}

/// What stands between `<kind>` and its end in the XML.
fn kind_of(payload: &[u8]) -> Option<Vec<u8>> {
    let base64: Vec<u8> = payload.iter().copied().filter(|byte| *byte != b'\n').collect();
    let xml = String::from_utf8(STANDARD_PAD_INDIFFERENT.decode(base64).ok()?).ok()?;
    let (_, rest) = xml.split_once("<kind>")?;
    let (kind, _) = rest.split_once("</kind>")?;
    Some(kind.trim().as_bytes().to_vec())
}
