//! Plaid: which key a token is to be verified with, and how its API is asked for it.
//!
//! By <https://plaid.com/docs/api/webhooks/webhook-verification>: the token's header names the key, `POST
//! /webhook_verification_key/get` tells it to whoever has the credentials.

use serde_json::json;
use url::Url;

use super::super::received::Reader;
use super::super::{KeyLocation, Scheme, Secret, VerifyError};
use super::jwt::with_token;

/// Longest name of a key that is asked for, in bytes; Plaid's are UUIDs.
const NAME_MAX: usize = 64;

/// A token of another algorithm is refused before anybody is asked.
pub(in super::super) fn location(scheme: &Scheme, reader: &mut Reader<'_, '_>) -> Result<KeyLocation, VerifyError> {
    let is_name = |text: &&str| {
        (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let name = with_token(scheme, reader, |token| token.header.kid.as_deref().filter(is_name).map(str::to_owned))?;
    let environment = scheme.setting.as_deref().unwrap_or("production");
    let url = format!("https://{environment}.plaid.com/webhook_verification_key/get");
    let url = Url::parse(&url).map_err(|_| VerifyError::InvalidSignature)?;
    Ok(KeyLocation::named(url, name))
}

/// The body of the request for the key called `name`.
pub(in super::super) fn question(credentials: &Secret, name: &str) -> Vec<u8> {
    let (client_id, secret) = credentials.expose().split_once(':').unwrap_or_default();
    json!({ "client_id": client_id, "secret": secret, "key_id": name }).to_string().into_bytes()
}
