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
    let is_form = received.body.is_empty() || is_form(received.headers);
    // As in the library, a hash counts whatever the content type says: no header that is not signed takes it away.
    let fields = match is_body_hash_right(&received)? {
        Some(true) => String::new(),
        None if is_form => sorted_form(received.body)?,
        // Without a hash, nothing that is signed would cover the body.
        Some(false) | None => return Err(VerifyError::InvalidSignature),
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

/// Whether the hash in the query is the body's; `None` if there is none.
fn is_body_hash_right(received: &Received<'_>) -> Result<Option<bool>, VerifyError> {
    let mut claimed = form_urlencoded::parse(received.query().as_bytes()).filter(|(name, _)| name == BODY_HASH);
    let is_right = claimed.next().map(|(_, hash)| BodyHash::from_hex(&hash) == Some(BodyHash::of(received.body)));
    if claimed.next().is_some() {
        return Err(VerifyError::Duplicate { place: Location::Query(BODY_HASH.to_owned()) });
    }
    Ok(is_right)
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
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use http::{HeaderMap, HeaderName, HeaderValue, header};
    use jiff::Timestamp;
    use sha1::Sha1;

    use super::super::super::{PublicUrl, Scheme, Secret};
    use super::*;

    /// Whether a JSON body is taken that was signed by the hash in the query, with another content type or body.
    fn is_taken(query: &str, content_type: &'static str, body: &[u8]) -> bool {
        const SECRET: &str = "an auth token of the tests";
        let target = format!("/webhooks/t?{query}");
        let mut mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("https://hooks.example.com{target}").as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("x-twilio-signature"), HeaderValue::try_from(signature).unwrap()),
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        ]);
        let url = PublicUrl::Base("https://hooks.example.com".to_owned());
        let scheme = Scheme { url, ..crate::provider::preset("twilio").unwrap().scheme() };
        let verifier = Verifier::try_new(scheme, &[Secret::new(SECRET.to_owned())]).unwrap();
        let received = Received { target: &target, ..Received::post(&headers, body) };
        match verifier.verify(&received, Timestamp::UNIX_EPOCH) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, VerifyError::InvalidSignature);
                false
            }
        }
    }

    /// Neither header nor method is signed: whoever saw such a request could send it again without its body.
    #[test]
    fn a_signed_hash_counts_whatever_the_content_type_says() {
        const FORM: &str = "application/x-www-form-urlencoded";
        let query = format!("bodySHA256={}", BodyHash::of(br#"{"id":1}"#));
        assert!(is_taken(&query, "application/json", br#"{"id":1}"#));
        assert!(is_taken(&query, FORM, br#"{"id":1}"#));
        for other in [&b""[..], b"&&", br#"{"id":2}"#] {
            assert!(!is_taken(&query, "application/json", other), "{other:?}");
            assert!(!is_taken(&query, FORM, other), "{other:?}");
        }
        assert!(!is_taken("bodySHA256=x", "application/json", b"x"));
        // Without a hash, only a form is covered; one without fields has nothing to cover.
        assert!(!is_taken("a=b", "application/json", br#"{"id":1}"#));
        assert!(is_taken("a=b", "application/json", b""));
        assert!(is_taken("a=b", FORM, b""));
        assert!(!is_taken("a=b", FORM, b"a=b"));
    }

    #[test]
    fn a_port_is_added_or_taken_away() {
        let check = |url: &str, other: &str| assert_eq!(with_other_port(url), other);
        check("https://a.example/b?c=d", "https://a.example:443/b?c=d");
        check("http://a.example", "http://a.example:80");
        check("https://a.example:8443/b:9", "https://a.example/b:9");
        check("/b", "/b");
    }
}
