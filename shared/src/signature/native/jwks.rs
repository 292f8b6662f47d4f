//! JWK Sets: which key of its provider's set a token is to be verified with.
//!
//! By [RFC 7515, section 4.1.4](https://www.rfc-editor.org/rfc/rfc7515#section-4.1.4) and [RFC 7517, section
//! 5](https://www.rfc-editor.org/rfc/rfc7517#section-5): the token's header names the key. Where the set is, and which
//! algorithm the key is for, the configuration says; a token that says it itself (`jku`, `x5u`, `jwk`) is not listened to.

use url::Url;

use super::super::received::Reader;
use super::super::{KeyLocation, Scheme, VerifyError};
use super::jwt::{Header, algorithm, with_token};

/// Longest name of a key that is looked for, in bytes; most are hashes of the key.
const NAME_MAX: usize = 128;

/// A token of another algorithm is refused before anybody is asked.
pub(in super::super) fn location(
    scheme: &Scheme,
    url: &Url,
    reader: &mut Reader<'_, '_>,
) -> Result<KeyLocation, VerifyError> {
    with_token(scheme, reader, |token| {
        let algorithm = algorithm(scheme.kind, scheme.hash)?;
        Some(KeyLocation::in_set(url.clone(), name(&token.header)?.to_owned(), algorithm))
    })
}

/// The name of the token's key, if it is one that may be looked for and shown: hashes in base64, UUIDs, dates, URLs.
pub(super) fn name(header: &Header) -> Option<&str> {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
    header.kid.as_deref().filter(|name| (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_usual))
}
