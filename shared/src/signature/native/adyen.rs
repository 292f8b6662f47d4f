//! Adyen: eight fields of each item, joined by colons.
//!
//! By adyen-node-api-library, `utils/hmacValidator`. Nothing is escaped, and only the merchant's own reference may hold
//! a colon: the fields around it are held to their form, so that no text moves from one to another.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::prove::Proven;
use super::super::received::Reader;
use super::super::{Encoding, Location, Verifier, VerifyError};
use crate::event::BodyHash;

/// The length of HMAC-SHA256, in bytes.
const TAG_LEN: usize = 32;
/// Most bytes of a notification, in JSON mostly of one item: what is not proven must not fill the memory.
const BODY_MAX: usize = 1 << 20;

/// A key that is there twice is an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification<'b> {
    #[serde(borrow, default)]
    notification_items: Vec<Wrapped<'b>>,
}

#[derive(Deserialize)]
struct Wrapped<'b> {
    #[serde(borrow, rename = "NotificationRequestItem")]
    item: Item<'b>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item<'b> {
    #[serde(borrow, default)]
    additional_data: Additional<'b>,
    #[serde(borrow, default)]
    amount: Amount<'b>,
    #[serde(borrow, default)]
    psp_reference: Cow<'b, str>,
    #[serde(borrow, default)]
    original_reference: Cow<'b, str>,
    #[serde(borrow, default)]
    merchant_account_code: Cow<'b, str>,
    #[serde(borrow, default)]
    merchant_reference: Cow<'b, str>,
    #[serde(borrow, default)]
    event_code: Cow<'b, str>,
    #[serde(borrow, default)]
    success: Cow<'b, str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Additional<'b> {
    #[serde(borrow, default)]
    hmac_signature: Option<Cow<'b, str>>,
}

#[derive(Default, Deserialize)]
struct Amount<'b> {
    value: Option<i64>,
    #[serde(borrow, default)]
    currency: Cow<'b, str>,
}

pub(in super::super) fn prove<'a>(verifier: &Verifier, reader: &mut Reader<'a, '_>) -> Result<Proven<'a>, VerifyError> {
    const UNREADABLE: VerifyError = VerifyError::MalformedRequest { what: "the body is no notification" };
    let body = reader.received.body;
    if body.len() > BODY_MAX {
        return Err(VerifyError::MalformedRequest { what: "the notification is too long" });
    }
    let notification: Notification<'_> = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    let items = &notification.notification_items;
    if items.is_empty() {
        return Err(missing());
    }
    items.iter().try_for_each(|wrapped| prove_item(verifier, &wrapped.item))?;
    // The places of an id name the first item.
    let id = (items.len() > 1).then(|| Cow::Owned(BodyHash::of(&content_of(items)).to_string().into_bytes()));
    Ok(Proven { id, ..Proven::at(0) })
}

/// What is signed of a notification, or of an item of one; `None` if it is neither.
pub(in super::super) fn content(body: &[u8]) -> Option<Vec<u8>> {
    if let Ok(item) = serde_json::from_slice::<Wrapped<'_>>(body) {
        return Some(content_of(&[item]));
    }
    let notification: Notification<'_> = serde_json::from_slice(body).ok()?;
    Some(notification.notification_items).filter(|items| !items.is_empty()).map(|items| content_of(&items))
}

/// The signed text of each item, each behind its length.
fn content_of(items: &[Wrapped<'_>]) -> Vec<u8> {
    let texts = items.iter().map(|wrapped| wrapped.item.signed_text());
    texts.flat_map(|text| [text.len().to_string(), text].join(":").into_bytes()).collect()
}

fn prove_item(verifier: &Verifier, item: &Item<'_>) -> Result<(), VerifyError> {
    let signature = item.additional_data.hmac_signature.as_deref().ok_or_else(missing)?;
    let mut claimed = [0; TAG_LEN];
    let is_decoded = Encoding::Base64.decode(signature.as_bytes(), &mut claimed);
    let text = item.signed_text();
    let is_right = |tag: super::super::tag::Tag| tag.ct_eq(&claimed).into();
    let is_proven = is_decoded
        && item.is_unambiguous()
        && verifier.keys().iter().filter_map(|key| key.tag_of([text.as_bytes()].into_iter())).any(is_right);
    if is_proven { Ok(()) } else { Err(VerifyError::InvalidSignature) }
}

impl Item<'_> {
    fn signed_text(&self) -> String {
        let value = self.amount.value.map(|value| value.to_string()).unwrap_or_default();
        [
            &*self.psp_reference,
            &*self.original_reference,
            &*self.merchant_account_code,
            &*self.merchant_reference,
            &value,
            &*self.amount.currency,
            &*self.event_code,
            &*self.success,
        ]
        .join(":")
    }

    fn is_unambiguous(&self) -> bool {
        let before = [&self.psp_reference, &self.original_reference, &self.merchant_account_code];
        let is_currency =
            |text: &str| text.is_empty() || text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase());
        let is_code = |text: &str| text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        before.iter().all(|text| !text.contains(':'))
            && is_currency(&self.amount.currency)
            && is_code(&self.event_code)
            && matches!(&*self.success, "true" | "false" | "")
    }
}

fn missing() -> VerifyError {
    let pointer = "/notificationItems/0/NotificationRequestItem/additionalData/hmacSignature";
    VerifyError::MissingSignature { place: Location::Json(pointer.parse().expect("a valid pointer")) }
}
