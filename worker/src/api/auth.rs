//! How a call proves who makes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};
use reqwest::Request;
use tidegate_shared::config::ApiAuth;
use tidegate_shared::signature::Secret;

use super::oauth::{AccessToken, OAuth, TokenError};
use super::redact::redact;

/// What calls of one API are given on their way.
#[derive(Debug)]
pub(super) enum Credentials {
    None,
    /// Marked as sensitive, so that nothing prints it.
    Header(HeaderName, HeaderValue, Secret),
    Query(String, Secret),
    Tokens(OAuth),
}

/// A key that cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("the key cannot stand in a header")]
pub(super) struct UnfitKey;

impl Credentials {
    /// Reads what the configuration says; `oauth` is there where it says so.
    pub(super) fn new(auth: &ApiAuth, oauth: Option<OAuth>) -> Result<Self, UnfitKey> {
        let authorization =
            |value: String, key: &Secret| Ok(Self::Header(header::AUTHORIZATION, sensitive(&value)?, key.clone()));
        match (auth, oauth) {
            (_, Some(oauth)) => Ok(Self::Tokens(oauth)),
            (ApiAuth::None | ApiAuth::OAuth(_), None) => Ok(Self::None),
            (ApiAuth::Bearer(key), None) => authorization(format!("Bearer {}", key.expose()), key),
            (ApiAuth::Basic(key), None) => authorization(format!("Basic {}", STANDARD.encode(key.expose())), key),
            (ApiAuth::Header(name, key), None) => Ok(Self::Header(name.clone(), sensitive(key.expose())?, key.clone())),
            (ApiAuth::Query(name, key), None) => Ok(Self::Query(name.clone(), key.clone())),
        }
    }

    /// Puts them on the request, and gives the token that it went out with, if it was one.
    pub(super) async fn put_on(&self, request: &mut Request) -> Result<Option<AccessToken>, TokenError> {
        match self {
            Self::None => {}
            Self::Header(name, value, _) => drop(request.headers_mut().insert(name, value.clone())),
            Self::Query(name, key) => {
                request.url_mut().query_pairs_mut().append_pair(name, key.expose());
            }
            Self::Tokens(oauth) => {
                let token = oauth.token().await?;
                let value = sensitive(&format!("Bearer {}", token.expose()));
                let value = value.map_err(|error| TokenError::Unavailable(error.to_string()))?;
                request.headers_mut().insert(header::AUTHORIZATION, value);
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    /// The API took this token.
    pub(super) fn worked(&self, token: &AccessToken) {
        if let Some(oauth) = self.oauth() {
            oauth.worked(token);
        }
    }

    /// The API did not take this token.
    pub(super) fn refused(&self, token: &AccessToken) {
        if let Some(oauth) = self.oauth() {
            oauth.refused(token);
        }
    }

    /// The text without the key, or without the token that was sent.
    pub(super) fn hide(&self, text: &str, token: Option<&AccessToken>) -> String {
        match self {
            Self::None => text.to_owned(),
            Self::Header(_, value, key) => {
                // As it is sent, behind the scheme's name: that of Basic is another text.
                let sent = value.to_str().ok().and_then(|value| value.split_once(' '));
                redact(text, [key.expose()].into_iter().chain(sent.map(|(_, sent)| sent)))
            }
            Self::Query(_, key) => redact(text, [key.expose()]),
            Self::Tokens(_) => redact(text, token.map(AccessToken::expose)),
        }
    }

    /// The source of tokens, if there is one.
    pub(super) fn oauth(&self) -> Option<&OAuth> {
        match self {
            Self::Tokens(oauth) => Some(oauth),
            Self::None | Self::Header(..) | Self::Query(..) => None,
        }
    }

    /// What an operator has to mend.
    pub(super) fn problem(&self) -> Option<String> {
        self.oauth().and_then(OAuth::problem)
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, UnfitKey> {
    let mut value = HeaderValue::from_str(text).map_err(|_| UnfitKey)?;
    value.set_sensitive(true);
    Ok(value)
}
