//! Every known way around a signature, each closed.

use super::*;

const BODY: &[u8] = br#"{"id":"evt_1","type":"order.created"}"#;
const PRESETS: [&str; 5] = ["github", "stripe", "standard-webhooks", "generic", "generic-body"];
const INVALID: Result<Identity, VerifyError> = Err(VerifyError::InvalidSignature);

fn signature_header(preset: &str) -> HeaderName {
    scheme(preset).signature[0].header().unwrap().clone()
}

fn verify(preset: &str, request: &HeaderMap) -> Result<Identity, VerifyError> {
    super::verify(&verifier(preset, &[SECRET]), request, BODY, at(THEN))
}

fn missing_signature(header: &HeaderName) -> Result<Identity, VerifyError> {
    Err(VerifyError::MissingSignature { place: Location::Header(header.clone()) })
}

/// Signs `BODY`, lets `change` rewrite the signature header, and verifies.
fn verify_changed(preset: &str, change: impl Fn(&str) -> String) -> Result<Identity, VerifyError> {
    let name = signature_header(preset);
    let mut request = signed(preset, BODY);
    let changed = change(request[&name].to_str().unwrap());
    request.insert(name, changed.parse().unwrap());
    verify(preset, &request)
}

/// Takes one header away from, or writes one into, a signed request.
fn verify_with(preset: &str, name: &'static str, value: Option<&str>) -> Result<Identity, VerifyError> {
    let mut request = signed(preset, BODY);
    request.remove(name);
    if let Some(value) = value {
        request.insert(name, value.parse().unwrap());
    }
    verify(preset, &request)
}

#[test]
fn an_unchanged_request_is_accepted() {
    for preset in PRESETS {
        assert_eq!(verify_changed(preset, str::to_owned), identity("evt_1", "order.created"), "{preset}");
    }
}

#[test]
fn a_missing_signature_is_told() {
    for preset in PRESETS {
        let header = signature_header(preset);
        let mut request = signed(preset, BODY);
        request.remove(&header);
        assert_eq!(verify(preset, &request), missing_signature(&header), "{preset}");
    }
}

/// CVE-2024-21491: a comparison that stops at the shorter side.
#[test]
fn a_truncated_signature_is_invalid() {
    for preset in PRESETS {
        for cut in 1..=64 {
            let verdict = verify_changed(preset, |whole| whole[..whole.len().saturating_sub(cut)].into());
            assert_eq!(verdict, INVALID, "{preset} {cut}");
        }
    }
}

#[test]
fn an_empty_signature_is_invalid() {
    for (preset, empty) in [
        ("github", ""),
        ("github", "sha256="),
        ("stripe", ""),
        ("stripe", "t=1700000000,v1="),
        ("stripe", "t=1700000000,v1"),
        ("standard-webhooks", ""),
        ("standard-webhooks", "v1,"),
        ("standard-webhooks", "v1"),
        ("generic", ""),
        ("generic", "sha256="),
    ] {
        assert_eq!(verify_changed(preset, |_| empty.into()), INVALID, "{preset} {empty:?}");
    }
}

#[test]
fn a_lengthened_signature_is_invalid() {
    for preset in PRESETS {
        for more in ["0", "00", "=", "A", " x"] {
            let verdict = verify_changed(preset, |whole| format!("{whole}{more}"));
            // A further item of a list changes nothing.
            let is_item = preset == "standard-webhooks" && more == " x";
            assert_eq!(verdict.is_err(), !is_item, "{preset} {more:?}");
        }
    }
}

#[test]
fn an_unknown_version_never_counts() {
    assert_eq!(verify_changed("stripe", |header| header.replace("v1=", "v0=")), INVALID);
    assert_eq!(verify_changed("stripe", |header| header.replace("v1=", "V1=")), INVALID);
    assert_eq!(verify_changed("standard-webhooks", |header| header.replace("v1,", "v1a,")), INVALID);
    assert_eq!(verify_changed("standard-webhooks", |header| header.replace("v1,", "v2,")), INVALID);
}

/// The prefix is a spelling; it does not choose the hash.
#[test]
fn no_header_selects_the_algorithm() {
    for prefix in ["sha1=", "sha512=", "none=", "SHA256=", "md5="] {
        for preset in ["github", "generic", "generic-body"] {
            let verdict = verify_changed(preset, |header| format!("{prefix}{}", header.trim_start_matches("sha256=")));
            assert_eq!(verdict, INVALID, "{preset} {prefix}");
        }
    }
    let mut downgraded = signed("github", BODY);
    let signature = downgraded.remove("x-hub-signature-256").unwrap();
    downgraded.insert("x-hub-signature", signature);
    assert_eq!(verify("github", &downgraded), missing_signature(&signature_header("github")));
}

#[test]
fn a_duplicate_header_is_refused() {
    for (preset, names) in [
        ("github", &["x-hub-signature-256", "x-github-delivery", "x-github-event"][..]),
        ("stripe", &["stripe-signature"]),
        ("standard-webhooks", &["webhook-signature", "webhook-id", "webhook-timestamp"]),
        ("generic", &["x-webhook-signature", "x-webhook-timestamp"]),
    ] {
        for name in names {
            let header = HeaderName::from_static(name);
            let mut request = signed(preset, BODY);
            request.append(&header, request[&header].clone());
            assert_eq!(
                verify(preset, &request),
                Err(VerifyError::Duplicate { place: Location::Header(header) }),
                "{preset}"
            );
        }
    }
    let verdict = verify_changed("stripe", |header| format!("t=1700000000,{header}"));
    assert_eq!(verdict, malformed("the signature header holds more than one timestamp"));
}

#[test]
fn a_signature_header_is_bounded() {
    let wrong = format!("v1,{}=", "A".repeat(43));
    let with = |count: usize| {
        verify_changed("standard-webhooks", |header| {
            format!("{}{header}", std::iter::repeat_n(format!("{wrong} "), count).collect::<String>())
        })
    };
    assert_eq!(with(15), identity("evt_1", "order.created"));
    assert_eq!(with(16), malformed("the signature header holds too many signatures"));
    let padded = |length: usize| {
        verify_changed("standard-webhooks", |header| format!("{header}{}", " ".repeat(length - header.len() - 1) + "x"))
    };
    assert_eq!(padded(SIGNATURE_HEADER_MAX), identity("evt_1", "order.created"));
    assert_eq!(padded(SIGNATURE_HEADER_MAX + 1), malformed("the signature header is too long"));
}

#[test]
fn a_request_outside_the_window_is_stale_on_both_sides() {
    for preset in ["stripe", "standard-webhooks", "generic"] {
        let request = signed(preset, BODY);
        let verify = |now| super::verify(&verifier(preset, &[SECRET]), &request, BODY, now);
        for near in [-300, 0, 300] {
            assert!(verify(at(THEN + near)).is_ok(), "{preset} {near}");
        }
        for far in [-301, 301, 1_000_000] {
            let age = jiff::SignedDuration::from_secs(far);
            let tolerance = std::time::Duration::from_secs(300);
            assert_eq!(verify(at(THEN + far)), Err(VerifyError::StaleTimestamp { age, tolerance }), "{preset}");
        }
        for end in [Timestamp::MIN, Timestamp::MAX] {
            assert!(matches!(verify(end), Err(VerifyError::StaleTimestamp { .. })), "{preset} {end}");
        }
    }
}

#[test]
fn a_forged_request_is_invalid_however_old() {
    for preset in ["stripe", "standard-webhooks", "generic"] {
        let request = signed(preset, BODY);
        let verdict = super::verify(&verifier(preset, &[OTHER_SECRET]), &request, BODY, at(THEN + 1_000_000));
        assert_eq!(verdict, INVALID, "{preset}");
    }
}

#[test]
fn a_rewritten_timestamp_is_invalid() {
    assert_eq!(verify_changed("stripe", |header| header.replace("t=1700000000", "t=1700000001")), INVALID);
    assert_eq!(verify_with("standard-webhooks", "webhook-timestamp", Some("1700000001")), INVALID);
    assert_eq!(verify_with("generic", "x-webhook-timestamp", Some("01700000000")), INVALID);
}

#[test]
fn a_timestamp_that_is_not_plain_digits_is_malformed() {
    for text in [
        "",
        "-1700000000",
        "+1700000000",
        "1700000000.0",
        "1.7e9",
        "0x1",
        "1700000000000",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "2023-11-14T22:13:20Z",
        "17000 00000",
    ] {
        let expected = malformed("the timestamp is not well formed");
        assert_eq!(verify_with("standard-webhooks", "webhook-timestamp", Some(text)), expected, "{text}");
        assert_eq!(verify_with("generic", "x-webhook-timestamp", Some(text)), expected, "{text}");
        assert_eq!(verify_changed("stripe", |header| header.replace("1700000000", text)), expected, "{text}");
    }
}

/// The largest text that is taken is far beyond what a calendar knows, and must not overflow anything.
#[test]
fn the_extremes_of_a_timestamp_are_judged_without_a_panic() {
    for text in ["999999999999", "0", "000000000000"] {
        let generic = scheme("generic");
        let key = key::Key::try_new(&generic, &secret(SECRET), 0).unwrap();
        let (template, timestamp) = (&generic.template, text.as_bytes());
        let signed = signed_text::SignedText { template, body: BODY, timestamp, id: b"", made: vec![] };
        let signature = hex::encode(key.tag(&signed).unwrap().as_bytes());
        let request = headers(&[("x-signature", &signature), ("x-timestamp", text)]);
        for now in [Timestamp::MIN, Timestamp::MAX, at(THEN)] {
            let verdict = super::verify(&verifier("generic", &[SECRET]), &request, BODY, now);
            assert!(matches!(verdict, Err(VerifyError::StaleTimestamp { .. })), "{text} {now}: {verdict:?}");
        }
    }
}

#[test]
fn a_missing_timestamp_is_malformed() {
    let expected = malformed("the timestamp is missing");
    assert_eq!(verify_with("standard-webhooks", "webhook-timestamp", None), expected);
    assert_eq!(verify_with("generic", "x-webhook-timestamp", None), expected);
    assert_eq!(verify_changed("stripe", |header| header.replace("t=", "T=")), expected);
}

#[test]
fn header_families_are_never_mixed() {
    for part in ["id", "timestamp"] {
        let mut request = signed("standard-webhooks", BODY);
        let value = request.remove(format!("webhook-{part}")).unwrap();
        request.insert(format!("svix-{part}").parse::<HeaderName>().unwrap(), value);
        assert!(verify("standard-webhooks", &request).is_err(), "{part}");
    }
    // With a signature of one family, the other family's id must not name the event.
    let mut request = HeaderMap::new();
    for (name, value) in &signed("standard-webhooks", BODY) {
        let svix: HeaderName = name.as_str().replace("webhook-", "svix-").parse().unwrap();
        request.insert(svix, value.clone());
    }
    request.insert("webhook-id", "evt_of_the_attacker".parse().unwrap());
    assert_eq!(verify("standard-webhooks", &request), identity("evt_1", "order.created"));
}

/// `a.1700000000` as an id would let the end of an id be read as a timestamp.
#[test]
fn a_signed_id_cannot_hold_its_separator() {
    let verdict = verify_with("standard-webhooks", "webhook-id", Some("evt_1.1700000000"));
    assert_eq!(verdict, malformed("the event id is not well formed"));
    let message = ToSign { id: Some("a.b"), event_type: None, ..message(BODY) };
    let refused = scheme("standard-webhooks").sign(&secret(SECRET), &message).unwrap_err();
    assert_eq!(refused, SecretError::Unsendable { header: HeaderName::from_static("webhook-id") });
}

#[test]
fn a_missing_id_is_told_where_nothing_stands_in_for_it() {
    let missing = Err(VerifyError::MissingEventId);
    assert_eq!(verify_with("github", "x-github-delivery", None), missing);
    assert_eq!(verify_with("standard-webhooks", "webhook-id", None), missing);
    for body in [&b"{}"[..], b"", b"id=evt_1", b"{\"id\":null}", b"{\"id\":\"evt_1\""] {
        let verdict = super::verify(&verifier("stripe", &[SECRET]), &signed("stripe", body), body, at(THEN));
        assert_eq!(verdict, missing, "{body:?}");
    }
}

#[test]
fn an_id_out_of_bounds_is_malformed() {
    let expected = malformed("the event id is not well formed");
    for id in ["", &"x".repeat(257)] {
        assert_eq!(verify_with("github", "x-github-delivery", Some(id)), expected);
    }
    for body in [r#"{"id":""}"#, r#"{"id":"a\u0000b"}"#, &format!(r#"{{"id":"{}"}}"#, "x".repeat(257))] {
        let request = signed("generic", body.as_bytes());
        assert_eq!(
            super::verify(&verifier("generic", &[SECRET]), &request, body.as_bytes(), at(THEN)),
            expected,
            "{body}"
        );
    }
    let mut request = signed("github", BODY);
    request.insert("x-github-delivery", http::HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(verify("github", &request), expected);
}

#[test]
fn an_unusable_type_is_unknown() {
    for event_type in [None, Some(""), Some("two words"), Some(&*"x".repeat(129))] {
        assert_eq!(verify_with("github", "x-github-event", event_type), identity("evt_1", "unknown"));
    }
    let body = br#"{"id":1,"type":"two words","event":"order.created"}"#;
    let verdict = super::verify(&verifier("generic", &[SECRET]), &signed("generic", body), body, at(THEN));
    assert_eq!(verdict, identity("1", "unknown"));
}

#[test]
fn an_id_is_taken_from_the_first_place_that_has_one() {
    let hash = crate::event::BodyHash::of(b"not json").to_string();
    for (body, id_header, expected) in [
        (r#"{"id":"a","event_id":"b"}"#, Some("c"), "a"),
        (r#"{"event_id":"b","id":{"x":1}}"#, Some("c"), "b"),
        (r#"{"id":false}"#, Some("c"), "c"),
        ("not json", Some("c"), "c"),
        ("not json", None, &*hash),
        (r#"{"id":9007199254740993}"#, None, "9007199254740993"),
    ] {
        let message = ToSign { id: id_header, event_type: Some("t"), ..message(body.as_bytes()) };
        for preset in ["generic", "generic-body"] {
            let request = scheme(preset).sign(&secret(SECRET), &message).unwrap().headers;
            let verdict = super::verify(&verifier(preset, &[SECRET]), &request, body.as_bytes(), at(THEN));
            assert_eq!(verdict, identity(expected, "t"), "{body}");
        }
    }
}

/// The first header that is present decides; a wrong one there is not healed by a right one further on.
#[test]
fn only_the_first_present_signature_header_counts() {
    let mut request = signed("generic-body", BODY);
    let right = request.remove("x-webhook-signature").unwrap();
    request.insert("x-hub-signature-256", right.clone());
    assert!(verify("generic-body", &request).is_ok());
    request.insert("x-signature", "00".parse().unwrap());
    assert_eq!(verify("generic-body", &request), INVALID);
    request.insert("x-webhook-signature", right);
    assert!(verify("generic-body", &request).is_ok());
}

#[test]
fn a_body_of_any_bytes_verifies() {
    for body in [&b""[..], b"\0\xff\xfe", b"\r\n", &[b'x'; 100_000]] {
        for preset in ["github", "generic", "generic-body", "standard-webhooks"] {
            assert!(
                super::verify(&verifier(preset, &[SECRET]), &signed(preset, body), body, at(THEN)).is_ok(),
                "{preset}"
            );
        }
    }
}
