//! Microsoft Graph: the secret that was given with the subscription, in every item.
//!
//! By <https://learn.microsoft.com/graph/change-notifications-delivery-webhooks>. One request holds the notifications of
//! many subscriptions, and whoever has an account can subscribe with our URL: an item without the secret proves nothing,
//! whatever stands beside it.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::claimed::token_tag;
use super::super::prove::Proven;
use super::super::received::Reader;
use super::super::{Location, Verifier, VerifyError};

/// Most bytes of a request: what is not proven must not fill the memory.
const BODY_MAX: usize = 4 << 20;

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

/// Every secret that the items carry; `None` if they cannot be read.
pub(in super::super) fn client_states(body: &[u8]) -> Option<Vec<String>> {
    let notifications: Notifications<'_> = serde_json::from_slice(body).ok()?;
    Some(notifications.value.into_iter().filter_map(|item| item.client_state).map(Cow::into_owned).collect())
}

pub(in super::super) fn prove<'a>(verifier: &Verifier, reader: &mut Reader<'a, '_>) -> Result<Proven<'a>, VerifyError> {
    const UNREADABLE: VerifyError = VerifyError::MalformedRequest { what: "the body holds no notifications" };
    let body = reader.received.body;
    if body.len() > BODY_MAX {
        return Err(VerifyError::MalformedRequest { what: "the notifications are too long" });
    }
    let notifications: Notifications<'_> = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    if notifications.value.first().is_none_or(|item| item.client_state.is_none()) {
        let place = Location::Json("/value/0/clientState".parse().expect("a valid pointer"));
        return Err(VerifyError::MissingSignature { place });
    }
    let has_secret = |item: &Item<'_>| {
        let claimed = token_tag(item.client_state.as_deref().unwrap_or_default().as_bytes());
        let mut secrets = verifier.keys().iter().filter_map(|key| key.tag_of(std::iter::empty()));
        secrets.any(|secret| secret.ct_eq(claimed.as_bytes()).into())
    };
    if notifications.value.iter().all(has_secret) { Ok(Proven::at(0)) } else { Err(VerifyError::InvalidSignature) }
}
