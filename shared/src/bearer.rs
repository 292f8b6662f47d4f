//! Who may use a listener of ours: holders of a bearer token, or, where there is none, programs on this machine.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::signature::Secret;

/// The rule of one admin listener.
#[derive(Debug, Clone)]
pub struct Bearer {
    token: Option<TokenHash>,
}

/// SHA-256 of a token: comparing hashes takes the same time for every wrong token.
#[derive(Clone)]
pub struct TokenHash([u8; 32]);

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token, or a wrong one.
    #[error("send a token of this listener: Authorization: Bearer …")]
    BadToken,
    /// A browser's page may be behind it: another site must not steer a listener that trusts its own machine.
    #[error("without a token only programs on this machine may ask, and no web page")]
    ForeignOrigin,
}

impl Bearer {
    /// The rule for a listener with this token. Without one the listener must be on a loopback address.
    #[must_use]
    pub fn new(token: Option<&Secret>) -> Self {
        Self { token: token.map(TokenHash::of) }
    }

    /// Says whether a request with these headers may pass.
    ///
    /// # Errors
    /// [`Refusal`] says why not.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return is_local_program(headers) };
        if TokenHash::given(headers).is(token) { Ok(()) } else { Err(Refusal::BadToken) }
    }
}

impl TokenHash {
    /// The hash of a token of the configuration.
    #[must_use]
    pub fn of(token: &Secret) -> Self {
        Self::of_text(token.expose())
    }

    /// The hash of what somebody says is a token.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// The hash of the token that a request brings, or of nothing.
    #[must_use]
    pub fn given(headers: &HeaderMap) -> Self {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, token)| token.trim());
        Self::of_text(token)
    }

    /// Says whether both are of the same token, in the same time for all that are not.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(***)")
    }
}

/// Says whether a program on this machine asks. A name that resolves to loopback (DNS rebinding) or a form posted by a
/// page (CSRF) comes with headers that tell.
///
/// # Errors
/// [`Refusal::ForeignOrigin`] if a web page may be behind it.
pub fn is_local_program(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    // A browser says with every request who asked for it: <https://www.w3.org/TR/fetch-metadata/>.
    let site = headers.get("sec-fetch-site").map_or("none", |site| site.to_str().unwrap_or_default());
    let own = matches!(site, "none" | "same-origin");
    let local = own && (host == "localhost" || address.is_ok_and(|address| address.is_loopback()));
    if local && !headers.contains_key(header::ORIGIN) { Ok(()) } else { Err(Refusal::ForeignOrigin) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (http::HeaderName::from_static(n), http::HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn only_the_token_opens() {
        let bearer = Bearer::new(Some(&Secret::new("correct horse battery".to_owned())));
        assert_eq!(bearer.check(&headers(&[("authorization", "Bearer correct horse battery")])), Ok(()));
        for wrong in ["Bearer correct horse", "Bearer ", "Basic correct horse battery", "correct horse battery"] {
            assert_eq!(bearer.check(&headers(&[("authorization", wrong)])), Err(Refusal::BadToken), "{wrong}");
        }
        assert_eq!(bearer.check(&headers(&[("host", "127.0.0.1:3001")])), Err(Refusal::BadToken));
    }

    #[test]
    fn without_a_token_no_web_page_gets_in() {
        let bearer = Bearer::new(None);
        for host in ["127.0.0.1:3001", "localhost:3001", "[::1]:3001"] {
            assert_eq!(bearer.check(&headers(&[("host", host)])), Ok(()), "{host}");
        }
        assert!(bearer.check(&headers(&[("host", "evil.example:3001")])).is_err());
        assert!(bearer.check(&headers(&[("host", "localhost:3001"), ("origin", "https://evil.example")])).is_err());
        let from = |site| bearer.check(&headers(&[("host", "localhost:3001"), ("sec-fetch-site", site)]));
        assert_eq!((from("none"), from("same-origin")), (Ok(()), Ok(())));
        assert!(from("cross-site").is_err() && from("same-site").is_err(), "a page's image or link sends no origin");
    }
}
