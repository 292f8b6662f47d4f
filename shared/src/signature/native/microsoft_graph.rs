//! Microsoft Graph: the secret that was given with the subscription, in every item, and tokens of Microsoft's beside them.
//!
//! By <https://learn.microsoft.com/graph/change-notifications-delivery-webhooks>. One request holds the notifications of
//! many subscriptions, and whoever has an account can subscribe with our URL: an item without the secret proves nothing,
//! whatever stands beside it.
//!
//! Notifications with resource data carry tokens, too. Where the source says which application they are for, they must be
//! there and right, by <https://learn.microsoft.com/graph/change-notifications-with-resource-data>, section "Validating the
//! authenticity of notifications". Which tenant issued one is not judged: its key is Microsoft's.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use url::Url;

use super::super::claimed::token_tag;
use super::super::format::SIGNATURE_HEADER_MAX;
use super::super::json::{self, Strings};
use super::super::key::Key;
use super::super::prove::Proven;
use super::super::received::Reader;
use super::super::{
    FetchedKey, KeyLocation, Kind, Location, Pointer, Scheme, TimestampFrom, TimestampRule, TimestampUnit, Verifier,
    VerifyError,
};
use super::jwks;
use super::jwt::{CLOCK, Token, algorithm, judge_times, times};

/// Most bytes of a request: what is not proven must not fill the memory.
const BODY_MAX: usize = 4 << 20;
/// Most tokens of a request: there is one for each application and tenant of its items.
const TOKENS_MAX: usize = 16;
/// The keys of every tenant.
const KEYS_URL: &str = "https://login.microsoftonline.com/common/discovery/v2.0/keys";
/// Microsoft Graph's change tracking, to which the tokens are issued.
const PUBLISHER: &str = "0bf30f3b-4a52-48df-9a82-234910c4a086";
/// The place of the end among the claims that are read.
const EXPIRES: usize = 2;
/// The place of the application there.
const AUDIENCE: usize = 3;
/// The places of the publisher there, as tokens of version 2 and of version 1 name it.
const PUBLISHERS: [usize; 2] = [4, 5];

/// A key that is there twice is an error.
#[derive(Deserialize)]
struct Notifications<'b> {
    #[serde(borrow, default)]
    value: Vec<Item<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item<'b> {
    #[serde(borrow, default)]
    client_state: Option<Cow<'b, str>>,
}

/// The tokens are read only where they are judged.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Validation<'b> {
    #[serde(borrow, default)]
    validation_tokens: Option<Vec<Cow<'b, str>>>,
}

const UNREADABLE: VerifyError = VerifyError::MalformedRequest { what: "the body holds no notifications" };

/// Every secret that the items carry; `None` if they cannot be read.
pub(in super::super) fn client_states(body: &[u8]) -> Option<Vec<String>> {
    let notifications: Notifications<'_> = serde_json::from_slice(body).ok()?;
    Some(notifications.value.into_iter().filter_map(|item| item.client_state).map(Cow::into_owned).collect())
}

/// The key that the tokens of `body` name. Who does not know the secret has nobody asked.
pub(in super::super) fn location(verifier: &Verifier, body: &[u8]) -> Result<KeyLocation, VerifyError> {
    judge_client_states(verifier, body)?;
    let (scheme, texts) = (verifier.scheme(), token_texts(body)?);
    let tokens = texts.iter().map(|text| read_token(scheme, text)).collect::<Result<Vec<_>, _>>()?;
    let names = tokens.iter().map(|token| jwks::name(&token.header).ok_or(VerifyError::InvalidSignature));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    if names.iter().any(|name| *name != names[0]) {
        return Err(VerifyError::MalformedRequest { what: "the validation tokens name several keys" });
    }
    let (url, algorithm) = (Url::parse(KEYS_URL).ok(), algorithm(scheme.kind, scheme.hash));
    let (Some(url), Some(algorithm)) = (url, algorithm) else { return Err(VerifyError::InvalidSignature) };
    Ok(KeyLocation::in_set(url, names[0].to_owned(), algorithm))
}

pub(in super::super) fn prove<'a>(
    verifier: &Verifier,
    reader: &mut Reader<'a, '_>,
    now: Timestamp,
    key: Option<&FetchedKey>,
) -> Result<Proven<'a>, VerifyError> {
    let (scheme, body) = (verifier.scheme(), reader.received.body);
    judge_client_states(verifier, body)?;
    if let Some(application) = scheme.application() {
        let keys = [Key::Public(verifier.public_key(key)?)];
        for text in &token_texts(body)? {
            judge_token(&read_token(scheme, text)?, &keys, application, now)?;
        }
    }
    Ok(Proven::at(0))
}

fn judge_client_states(verifier: &Verifier, body: &[u8]) -> Result<(), VerifyError> {
    if body.len() > BODY_MAX {
        return Err(VerifyError::MalformedRequest { what: "the notifications are too long" });
    }
    let notifications: Notifications<'_> = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    if notifications.value.first().is_none_or(|item| item.client_state.is_none()) {
        return Err(missing("/value/0/clientState"));
    }
    let has_secret = |item: &Item<'_>| {
        let claimed = token_tag(item.client_state.as_deref().unwrap_or_default().as_bytes());
        let mut secrets = verifier.keys().iter().filter_map(|key| key.tag_of(std::iter::empty()));
        secrets.any(|secret| secret.ct_eq(claimed.as_bytes()).into())
    };
    if notifications.value.iter().all(has_secret) { Ok(()) } else { Err(VerifyError::InvalidSignature) }
}

/// The tokens of `body`: one at least, and not too many.
fn token_texts(body: &[u8]) -> Result<Vec<Cow<'_, str>>, VerifyError> {
    let validation: Validation<'_> = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    let texts = validation.validation_tokens.unwrap_or_default();
    if texts.is_empty() {
        return Err(missing("/validationTokens/0"));
    }
    if texts.len() > TOKENS_MAX || texts.iter().any(|text| text.len() > SIGNATURE_HEADER_MAX) {
        return Err(VerifyError::MalformedRequest { what: "the validation tokens are too many or too long" });
    }
    Ok(texts)
}

fn read_token<'t>(scheme: &Scheme, text: &'t str) -> Result<Token<'t>, VerifyError> {
    Token::read(text).filter(|token| token.is_of(scheme)).ok_or(VerifyError::InvalidSignature)
}

/// That it is signed, for the source's application, issued to the publisher of notifications, and fresh.
fn judge_token(token: &Token<'_>, keys: &[Key], application: &str, now: Timestamp) -> Result<(), VerifyError> {
    let payload = token.claims_by(keys).ok_or(VerifyError::InvalidSignature)?;
    let others = ["/aud", "/azp", "/appid"].map(|claim| claim.parse().expect("a valid pointer"));
    let pointers: Vec<Pointer> = times().into_iter().chain(others).collect();
    let claims = json::pick(&payload, &pointers, Strings::Closed);
    let is = |index: usize, expected: &str| {
        claims.value(index).is_some_and(|value| value.eq_ignore_ascii_case(expected)) && !claims.is_repeated(index)
    };
    let is_published = PUBLISHERS.iter().any(|&index| is(index, PUBLISHER))
        && PUBLISHERS.iter().all(|&index| claims.value(index).is_none() || is(index, PUBLISHER));
    let ends = claims.value(EXPIRES).is_some_and(|time| time.parse::<i64>().is_ok());
    if !is(AUDIENCE, application) || !is_published || !ends {
        return Err(VerifyError::InvalidSignature);
    }
    let rule = TimestampRule { from: TimestampFrom::Token, unit: TimestampUnit::Seconds, tolerance: CLOCK };
    judge_times(Kind::MicrosoftGraph, &rule, &claims, now)
}

fn missing(pointer: &str) -> VerifyError {
    VerifyError::MissingSignature { place: Location::Json(pointer.parse().expect("a valid pointer")) }
}
