//! Where a rule begins and ends: the last case that is taken, and the first that is not.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::{Value, json};

use super::*;
use crate::event::EVENT_ID_MAX;

const ADYEN_KEY: &str = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";

/// An item of a notification, signed as it is: whatever is refused of it is so for its form.
fn adyen_item(field: &str, value: &Value) -> Value {
    let mut item = json!({
        "pspReference": "psp", "originalReference": "", "merchantAccountCode": "account", "merchantReference": "order:1",
        "amount": { "value": 1130, "currency": "EUR" }, "eventCode": "AUTHORISATION", "success": "true",
        "eventDate": "2026-11-02",
    });
    *item.pointer_mut(field).expect("a field") = value.clone();
    let text = |pointer| item.pointer(pointer).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
    let signed = [
        "/pspReference",
        "/originalReference",
        "/merchantAccountCode",
        "/merchantReference",
        "/amount/value",
        "/amount/currency",
        "/eventCode",
        "/success",
    ]
    .map(|pointer| text(pointer).filter(|text| text != "null").unwrap_or_default())
    .join(":");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &hex::decode(ADYEN_KEY).expect("a key"));
    item["additionalData"] = json!({ "hmacSignature": STANDARD.encode(hmac::sign(&key, signed.as_bytes())) });
    json!({ "NotificationRequestItem": item })
}

fn adyen(items: &[Value]) -> Result<Identity, VerifyError> {
    let body = json!({ "notificationItems": items }).to_string();
    verify(&verifier("adyen", &[ADYEN_KEY]), &HeaderMap::new(), body.as_bytes(), at(THEN))
}

#[test]
fn an_id_of_several_values_is_told_by_its_hash_where_it_would_be_too_long() {
    let of_length = |length: usize| {
        let value = vec![b'a'; length - 2];
        composed::join_id(&[Cow::Borrowed(&value[..]), Cow::Borrowed(b"b")])
    };
    let longest = of_length(EVENT_ID_MAX);
    assert_eq!((longest.len(), longest.ends_with(b"a|b")), (EVENT_ID_MAX, true));
    let hash = of_length(EVENT_ID_MAX + 1);
    assert!(hash.len() == 64 && hash.iter().all(u8::is_ascii_hexdigit), "{hash:?}");
}

#[test]
fn each_field_around_adyens_reference_has_its_form() {
    let check = |field: &str, value: Value, is_taken: bool| {
        let judged = adyen(&[adyen_item(field, &value)]);
        assert_eq!(judged.is_ok(), is_taken, "{field} {value}: {judged:?}");
        assert!(is_taken || judged == Err(VerifyError::InvalidSignature), "{field} {value}: {judged:?}");
    };
    for field in ["/pspReference", "/originalReference", "/merchantAccountCode"] {
        check(field, json!("a:b"), false);
    }
    for (currency, is_taken) in
        [("", true), ("EUR", true), ("EU", false), ("EURO", false), ("eur", false), ("E:R", false)]
    {
        check("/amount/currency", json!(currency), is_taken);
    }
    check("/amount/value", Value::Null, true);
    check("/amount/value", json!(-1), true);
    for (code, is_taken) in [("A_1", true), ("", true), ("a", false), ("A:B", false), ("A-B", false)] {
        check("/eventCode", json!(code), is_taken);
    }
    for (success, is_taken) in [("true", true), ("false", true), ("", true), ("TRUE", false), ("true:", false)] {
        check("/success", json!(success), is_taken);
    }
}

#[test]
fn every_item_of_adyens_is_proven_and_several_have_an_id_of_their_own() {
    let item = || adyen_item("/pspReference", &json!("psp"));
    let one = adyen(&[item()]).expect("it is signed");
    assert_eq!(one.id.as_str(), "psp|AUTHORISATION|true");
    let two = adyen(&[item(), item()]).expect("they are signed");
    assert_eq!(two.id.as_str().len(), 64, "{two:?}");
    let mut forged = item();
    forged["NotificationRequestItem"]["amount"]["value"] = json!(1);
    for items in [[item(), forged.clone()], [forged, item()]] {
        assert_eq!(adyen(&items), Err(VerifyError::InvalidSignature));
    }
    let mut bare = item();
    bare["NotificationRequestItem"]["additionalData"] = json!({});
    for items in [vec![], vec![bare.clone()], vec![item(), bare]] {
        assert!(matches!(adyen(&items), Err(VerifyError::MissingSignature { .. })), "{items:?}");
    }
}

#[test]
fn a_notification_of_adyens_is_read_up_to_its_bound() {
    let judge = |length: usize| {
        let mut body = json!({ "notificationItems": [adyen_item("/pspReference", &json!("psp"))] }).to_string();
        body.push_str(&" ".repeat(length - body.len()));
        verify(&verifier("adyen", &[ADYEN_KEY]), &HeaderMap::new(), body.as_bytes(), at(THEN))
    };
    assert!(judge(1 << 20).is_ok());
    assert_eq!(judge((1 << 20) + 1), malformed("the notification is too long"));
}

/// A token's header that names a key, as it is sent: nothing else of it is read before the key is there.
fn token(header: &Value) -> HeaderMap {
    let part = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}.{}", part(header), part(&json!({})), "A".repeat(86));
    headers(&[("plaid-verification", &text)])
}

#[test]
fn plaids_key_is_asked_for_with_the_credentials_that_count() {
    let plaid = verifier("plaid", &["client-id:a secret of this client"]);
    let needs = |name: &str| {
        let headers = token(&json!({ "alg": "ES256", "kid": name }));
        plaid.needs(&Received::post(&headers, b"{}"))
    };
    let longest = "a-".repeat(32);
    let location = needs(&longest).expect("a name").expect("a key is needed");
    let question = plaid.question(&location, at(THEN)).expect("there are credentials").expect("it is posted");
    let question: Value = serde_json::from_slice(&question).expect("it is JSON");
    assert_eq!(question, json!({ "client_id": "client-id", "secret": "a secret of this client", "key_id": longest }));
    for name in ["", "a/b", "a.b", &format!("{longest}a")] {
        assert_eq!(needs(name), Err(VerifyError::InvalidSignature), "{name:?}");
    }
    let over = DatedSecret {
        secret: secret("client-id:a secret of this client"),
        validity: Validity { not_after: Some(at(THEN)), ..Validity::ALWAYS },
    };
    let dated = Verifier::try_new_dated(scheme("plaid"), &[over]).expect("a verifier");
    assert!(dated.question(&location, at(THEN)).is_ok());
    assert!(dated.question(&location, at(THEN + 1)).is_err());
}

/// X has any short token signed for whoever asks: what it answers must prove no event.
#[test]
fn what_was_signed_for_anyone_is_no_event() {
    let x = verifier("x", &[SECRET]);
    let judge = |body: &str| verify(&x, &signed("x", body.as_bytes()), body.as_bytes(), at(THEN));
    for token in ["a", "abc-_+/=", &"a".repeat(256)] {
        assert_eq!(judge(token), Err(VerifyError::InvalidSignature), "{token}");
    }
    assert!(judge("{\"for_user_id\":\"1\"}").is_ok());
}

#[test]
fn a_form_is_sorted_up_to_its_bound() {
    let sorted = |fields: usize| super::super::signed_text::sorted_form("a=b&".repeat(fields).as_bytes());
    assert_eq!(sorted(1_000).as_deref(), Ok("ab"));
    let too_many = VerifyError::MalformedRequest { what: "the form has too many fields" };
    assert_eq!(sorted(1_001), Err(too_many.clone()));
    assert_eq!(sorted(2_000), Err(too_many));
}

#[test]
fn nothing_is_signed_in_the_place_of_those_who_sign_their_own_way() {
    for (preset, key) in [("adyen", ADYEN_KEY), ("twilio", SECRET), ("microsoft-graph", SECRET)] {
        let signed = scheme(preset).sign(&secret(key), &message(b"{}"));
        assert!(matches!(signed, Err(SecretError::NotSignedHere { .. })), "{preset}: {signed:?}");
    }
    for preset in ["paypal", "aws-sns", "discord", "wise"] {
        let signed = scheme(preset).sign(&secret(SECRET), &message(b"{}"));
        assert!(matches!(signed, Err(SecretError::PrivateKeyNeeded { .. })), "{preset}: {signed:?}");
    }
}

#[test]
fn a_refusal_names_the_place_in_words() {
    let place = |text: &str| text.parse::<Location>().expect("a place");
    for (text, words) in [
        ("header:X-Sig", "the header x-sig"),
        ("query:sig", "the query parameter sig"),
        ("form:sig", "the form field sig"),
        ("json:/sig", "the value at json:/sig"),
        ("body", "the body"),
    ] {
        let missing = VerifyError::MissingSignature { place: place(text) }.to_string();
        assert_eq!(missing, format!("{words} with the signature is missing"));
        assert_eq!(
            VerifyError::Duplicate { place: place(text) }.to_string(),
            format!("{words} appears more than once")
        );
    }
}

/// Only what is offered as a signature is worth a question, and only Plaid's keys have names.
#[test]
fn a_key_is_needed_from_where_its_provider_says() {
    let paypal = Verifier::try_new(Scheme { setting: Some("1".into()), ..scheme("paypal") }, &[]).unwrap();
    let place = "https://api.paypal.com/v1/notifications/certs/CERT-1";
    let offered = |url: &str, signature: &str| {
        let headers = headers(&[("paypal-cert-url", url), ("paypal-transmission-sig", signature)]);
        paypal.needs(&Received::post(&headers, b"{}")).map(|needed| needed.map(|place| place.to_string()))
    };
    assert_eq!(offered(place, "AAAA"), Ok(Some(place.to_owned())));
    for url in [
        "https://api.paypal.com/v1/notifications/certs/CERT-1#2",
        "https://api.paypal.com/v1/notifications/certs/CERT-1?a",
        "https://api.paypal.com/CERT-1",
        "https://www.paypal.com/v1/notifications/certs/CERT-1",
    ] {
        assert_eq!(offered(url, "AAAA"), Err(VerifyError::InvalidSignature), "{url}");
    }
    assert_eq!(offered(place, "!"), Err(VerifyError::InvalidSignature), "nothing that could be a signature");

    let plaid = verifier("plaid", &["an id of the client:a secret"]);
    let token = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImstMSJ9.e30.AA";
    let headers = headers(&[("plaid-verification", token)]);
    let needed = plaid.needs(&Received::post(&headers, b"{}")).unwrap().expect("a key");
    assert_eq!((needed.name(), needed.url().host_str()), (Some("k-1"), Some("production.plaid.com")));
    assert_eq!(verifier("github", &[SECRET]).needs(&Received::post(&HeaderMap::new(), b"")), Ok(None));
}
