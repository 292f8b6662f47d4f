//! Twilio: the URL and the fields of a form, or a URL that holds the SHA-256 of any other body.
//!
//! By twilio-node, `lib/webhooks/webhooks.js`. The library tries the URL with the standard port and without, since a
//! request does not tell which of them was configured. Which key and hash count is configured, whatever a header says.

use url::form_urlencoded;

use super::super::document::is_form;
use super::super::key::Key;
use super::super::prove::{Offer, Proven};
use super::super::received::Reader;
use super::super::signed_text::sorted_form;
use super::super::{Location, Received, Verifier, VerifyError};
use crate::event::BodyHash;

/// The parameter with the hash of a body that is no form.
const BODY_HASH: &str = "bodySHA256";

pub(in super::super) fn prove<'a>(verifier: &Verifier, reader: &mut Reader<'a, '_>) -> Result<Proven<'a>, VerifyError> {
    let mut claimed = verifier.nothing_claimed();
    let Offer { position, .. } = verifier.offer(reader, &mut claimed)?;
    let received = *reader.received;
    let fields = if received.body.is_empty() || is_form(received.headers) {
        sorted_form(received.body)?
    } else {
        check_body_hash(&received)?;
        String::new()
    };
    let url = verifier.scheme().url.with_query_of(&received);
    let urls = [Some(with_other_port(&url)), Some(url)];
    let is_right = |key: &Key, url: &String| {
        key.tag_of([url.as_bytes(), fields.as_bytes()].into_iter()).is_some_and(|tag| claimed.has(&tag))
    };
    if urls.iter().flatten().any(|url| verifier.keys().iter().any(|key| is_right(key, url))) {
        Ok(Proven::at(position))
    } else {
        Err(VerifyError::InvalidSignature)
    }
}

/// Without it, nothing that is signed would cover the body.
fn check_body_hash(received: &Received<'_>) -> Result<(), VerifyError> {
    let mut claimed = form_urlencoded::parse(received.query().as_bytes()).filter(|(name, _)| name == BODY_HASH);
    let hash = claimed.next().and_then(|(_, hash)| BodyHash::from_hex(&hash));
    if claimed.next().is_some() {
        return Err(VerifyError::Duplicate { place: Location::Query(BODY_HASH.to_owned()) });
    }
    if hash == Some(BodyHash::of(received.body)) { Ok(()) } else { Err(VerifyError::InvalidSignature) }
}

/// The URL without its port, or with the standard port of its scheme.
fn with_other_port(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => format!("{scheme}://{host}{path}"),
        Some(_) | None => format!("{scheme}://{authority}:{}{path}", if scheme == "https" { 443 } else { 80 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_added_or_taken_away() {
        let check = |url: &str, other: &str| assert_eq!(with_other_port(url), other);
        check("https://a.example/b?c=d", "https://a.example:443/b?c=d");
        check("http://a.example", "http://a.example:80");
        check("https://a.example:8443/b:9", "https://a.example/b:9");
        check("/b", "/b");
    }
}
