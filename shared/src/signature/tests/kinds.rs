//! Every kind, place and piece of a scheme, in requests that Python's `hmac` and `hashlib` signed.

use super::*;

const KEY: &str = "a secret of my own sender";
const BODY: &[u8] = br#"{"id":"evt-1","type":"order.created"}"#;
const URL: &str = "https://hooks.example.com/webhooks/v";
const BASE: SchemeText =
    SchemeText { at: &["header:X-Sig"], id: &["json:/id"], event_type: &["json:/type"], ..SchemeText::HMAC };

/// One request: everything but the scheme.
#[derive(Clone, Copy)]
struct Request<'r> {
    target: &'r str,
    headers: &'r [(&'r str, &'r str)],
    body: &'r [u8],
}

const PLAIN: Request<'_> = Request { target: "/webhooks/v", headers: &[], body: BODY };

fn judge(text: SchemeText, secrets: &[&str], request: Request<'_>) -> Result<Identity, VerifyError> {
    judge_at(PublicUrl::Base("https://hooks.example.com".into()), text, secrets, request)
}

fn judge_at(url: PublicUrl, text: SchemeText, secrets: &[&str], request: Request<'_>) -> Result<Identity, VerifyError> {
    let scheme = text.read().unwrap();
    let setting = scheme.needs_setting().then(|| "WH-1".to_owned());
    let secrets: Vec<_> = secrets.iter().copied().map(secret).collect();
    let verifier = Verifier::try_new(Scheme { url, setting, ..scheme }, &secrets).unwrap();
    let headers = headers(request.headers);
    verifier.verify(&Received { target: request.target, ..Received::post(&headers, request.body) }, at(THEN))
}

#[test]
fn a_plain_hash_takes_the_secret_where_it_stands() {
    let text = SchemeText { kind: Kind::PlainHash, signed: "{secret}{method}{url}{body}", ..BASE };
    let signature = "d5282fa5a4a2c4e3354ab73dab1be63159a454c7f213b62d34602c6b9a727050";
    let request = Request { headers: &[("X-Sig", signature)], ..PLAIN };
    assert_eq!(judge(text, &[KEY], request), identity("evt-1", "order.created"));
    assert_eq!(judge(text, &[OTHER_SECRET], request), Err(VerifyError::InvalidSignature));
    assert_eq!(judge(text, &[KEY], Request { body: b"{}", ..request }), Err(VerifyError::InvalidSignature));
}

#[test]
fn a_key_may_be_derived() {
    let text = SchemeText { hash: Hash::Sha1, key: KeyForm::Sha1Of, ..BASE };
    let request = Request { headers: &[("X-Sig", "3292337b7bda4d6c2d30a879fe84548e41ac7915")], ..PLAIN };
    assert_eq!(judge(text, &[KEY], request), identity("evt-1", "order.created"));
    let short = Verifier::try_new(text.read().unwrap(), &[secret("123456789012345")]).unwrap_err();
    assert_eq!(short, SecretError::TooShort { index: 0 });
}

#[test]
fn the_url_is_the_configured_one() {
    let text = SchemeText { hash: Hash::Sha1, signed: "{body}{url}", encoding: Encoding::Base64, ..BASE };
    let request = Request { target: "/webhooks/v?x=1", headers: &[("X-Sig", "8ST82kjacz4ca+u0z5t0VJmoGGQ=")], ..PLAIN };
    assert_eq!(judge(text, &[KEY], request), identity("evt-1", "order.created"));
    let elsewhere = Request { target: "/webhooks/v?x=2", ..request };
    assert_eq!(judge(text, &[KEY], elsewhere), Err(VerifyError::InvalidSignature));
    // What a proxy made of path and query does not matter where the whole URL is configured.
    let whole = PublicUrl::Whole(format!("{URL}?x=1"));
    assert_eq!(judge_at(whole, text, &[KEY], elsewhere), identity("evt-1", "order.created"));
    let refused = Verifier::try_new(text.read().unwrap(), &[secret(KEY)]).unwrap_err();
    assert_eq!(refused, SecretError::Scheme(SchemeError::NoUrl));
}

/// Else the first bytes of the body could be moved to the end of the query.
#[test]
fn what_follows_a_url_at_once_cannot_be_moved_into_its_query() {
    let text = SchemeText { signed: "{url}{body}", ..BASE };
    let signed = |url: &str, target: &str, body: &[u8]| {
        let scheme = Scheme { url: PublicUrl::Whole(url.into()), ..text.read().unwrap() };
        scheme.sign(&secret(KEY), &ToSign { target, ..message(body) }).unwrap().headers["x-sig"].clone()
    };
    let signature = signed(&format!("{URL}?a=b"), "/webhooks/v?a=b", br#"{"id":"1"}"#);
    let headers = &[("X-Sig", signature.to_str().unwrap())][..];
    let expected = malformed("the URL has a query; the source's url must be configured with it");
    for (target, body) in [("/webhooks/v?a=b", &br#"{"id":"1"}"#[..]), ("/webhooks/v?a=b{", br#""id":"1"}"#)] {
        assert_eq!(judge(text, &[KEY], Request { target, headers, body }), expected);
    }
    let whole = || PublicUrl::Whole(format!("{URL}?a=b"));
    let moved = Request { target: "/webhooks/v?a=b{", headers, body: br#""id":"1"}"# };
    assert_eq!(judge_at(whole(), text, &[KEY], moved), Err(VerifyError::InvalidSignature));
    let honest = Request { target: "/webhooks/v?a=b", headers, body: br#"{"id":"1"}"# };
    assert_eq!(judge_at(whole(), text, &[KEY], honest), identity("1", "unknown"));
}

#[test]
fn a_form_is_signed_by_its_sorted_fields() {
    let text = SchemeText {
        hash: Hash::Sha1,
        signed: "{url}{form_sorted}",
        encoding: Encoding::Base64,
        id: &["form:CallSid + form:Digits"],
        event_type: &[],
        ..BASE
    };
    let headers = &[("X-Sig", "sJFLE55rw0q6GvjUPE7gKDcU79o=")][..];
    for body in ["CallSid=CA1&Digits=12%2034&From=%2B14158675309", "From=%2B14158675309&Digits=12+34&CallSid=CA1"] {
        let verdict = judge(text, &[KEY], Request { headers, body: body.as_bytes(), ..PLAIN });
        assert_eq!(verdict, identity("CA1|12 34", "unknown"));
    }
    let other = Request { headers, body: b"CallSid=CA1&Digits=12%2034&From=%2B1", ..PLAIN };
    assert_eq!(judge(text, &[KEY], other), Err(VerifyError::InvalidSignature));
}

const IN_BODY: SchemeText = SchemeText {
    signed: "{timestamp}{json:/signature/token}",
    at: &["json:/signature/signature"],
    timestamp_at: &["json:/signature/timestamp"],
    id: &["json:/signature/token"],
    unsigned_body: true,
    ..BASE
};

fn in_body(timestamp: &str, token: &str) -> String {
    let signature = "cb106862286d311419667c2892da3401522c2f095a98706245e390fcebe33446";
    format!(r#"{{"signature":{{"timestamp":"{timestamp}","token":"{token}","signature":"{signature}"}},"type":"t"}}"#)
}

#[test]
fn a_signature_may_stand_in_a_body_that_it_does_not_cover() {
    let judge = |body: &str| judge(IN_BODY, &[KEY], Request { body: body.as_bytes(), ..PLAIN });
    assert_eq!(judge(&in_body("1700000000", "tok123")), identity("tok123", "t"));
    assert_eq!(judge(&in_body("1700000000", "tok124")), Err(VerifyError::InvalidSignature));
    // A digit that moves from the token to the timestamp or back leaves the signed bytes as they are.
    let width = malformed("the timestamp is not well formed");
    assert_eq!(judge(&in_body("170000000", "0tok123")), width);
    assert_eq!(judge(&in_body("", "1700000000tok123")), width);
    let twice = in_body("1700000000", "tok123").replace(r#""token""#, r#""token":"x","token""#);
    assert_eq!(judge(&twice), Err(VerifyError::Duplicate { place: "json:/signature/token".parse().unwrap() }));
    let missing = Err(VerifyError::MissingSignature { place: "json:/signature/signature".parse().unwrap() });
    assert_eq!(judge("{}"), missing);
    assert_eq!(judge("not json"), missing);
    let no_token = in_body("1700000000", "x").replace("token", "other");
    assert_eq!(judge(&no_token), malformed("a value that the signature covers is missing"));
}

#[test]
fn an_unsigned_body_must_be_said_to_be_one() {
    let quiet = SchemeText { unsigned_body: false, ..IN_BODY };
    assert_eq!(quiet.read().unwrap().check(), Err(SchemeError::UnsignedBody));
    let crc = SchemeText { signed: "{crc32}", ..BASE };
    assert_eq!(crc.read().unwrap().check(), Err(SchemeError::UnsignedBody));
}

/// A leading zero would let a digit of the body be taken for one of the timestamp.
#[test]
fn a_timestamp_beside_the_body_has_one_width() {
    let text = SchemeText { signed: "{body}{timestamp}", timestamp_at: &["header:X-Time"], ..BASE };
    let body = br#"{"id":"1"} 0"#;
    let request = text.read().unwrap().sign(&secret(KEY), &message(body)).unwrap();
    let signature = request.headers["x-sig"].to_str().unwrap();
    let width = malformed("the timestamp is not well formed");
    let moved =
        Request { body: br#"{"id":"1"} "#, headers: &[("X-Sig", signature), ("X-Time", "01700000000")], ..PLAIN };
    assert_eq!(judge(text, &[KEY], moved), width);
    let short = Request { headers: &[("X-Sig", signature), ("X-Time", "700000000")], ..PLAIN };
    assert_eq!(judge(text, &[KEY], short), width);
}

#[test]
fn url_and_milliseconds_are_signed_as_hubspot_does() {
    let text = SchemeText {
        signed: "{method}{url}{body}{timestamp}",
        encoding: Encoding::Base64,
        timestamp_at: &["header:X-Time"],
        timestamp_unit: TimestampUnit::Milliseconds,
        ..BASE
    };
    let headers = &[("X-Sig", "bZB3maPO4J9b74WE7vgIowNihK/3XgTTTXjTINQ59U8="), ("X-Time", "1700000000123")][..];
    assert_eq!(judge(text, &[KEY], Request { headers, ..PLAIN }), identity("evt-1", "order.created"));
}

/// Signed by OpenSSL: RSA over two headers, a setting of the source and the body's CRC-32.
#[test]
fn headers_a_setting_and_a_checksum_are_signed_as_paypal_does() {
    let text = SchemeText {
        signed: "{header:X-Id}|{timestamp}|{setting}|{crc32}",
        at: BASE.at,
        timestamp_at: &["header:X-Time"],
        timestamp_unit: TimestampUnit::Rfc3339,
        key: KeyForm::Base64,
        id: BASE.id,
        event_type: BASE.event_type,
        unsigned_body: true,
        ..SchemeText::RSA
    };
    let signature = "IRUnvK46nql0Y0o3W+9IRenKBHsF1uGRAa++/7jnXzalGkoha021wmgKdBx5ScngBbX+/NsEKpatz5OAWCmpmD5O0vGGfa6mgWx+yC9OkgiCSruFiS+4KBm5ojoFJdSgeGLSuaCgl7BdeqPUu7oi8eAz7NSQr63S6MzaLD9IGCxU4y+XylyJGemmbGuwVnTkrtN2DwWgNV0Rd4sz+OyKSoLyLnlNrUw2vGRH6+zLe9nIM4uA6hIsru+0lFYdv6i1h99C87t4fmQi2yTBS/l/Nf3iVjZY8JoujECQu3e7pPzuhucz+h5Ys4iX39p19OvrMP/MP6xPX0Vvbf2BibpMGA==";
    let headers = [("X-Sig", signature), ("X-Id", "tid"), ("X-Time", "2023-11-14T22:13:20Z")];
    let judge = |headers: &[_], body| judge(text, &[keys::RSA_PUBLIC], Request { headers, body, ..PLAIN });
    assert_eq!(judge(&headers, BODY), identity("evt-1", "order.created"));
    assert_eq!(judge(&headers, b"{}"), Err(VerifyError::InvalidSignature));
    let split = [("X-Sig", signature), ("X-Id", "tid|2023"), ("X-Time", "2023-11-14T22:13:20Z")];
    let ambiguous = malformed("a value that the signature covers holds what separates it from the next one");
    assert_eq!(judge(&split, BODY), ambiguous);
    let refused = Verifier::try_new(text.read().unwrap(), &[secret(keys::RSA_PUBLIC)]).unwrap_err();
    assert_eq!(refused, SecretError::Scheme(SchemeError::NoSetting));
}

#[test]
fn the_hash_of_a_body_may_be_signed_in_its_place() {
    let text = SchemeText { signed: "{timestamp}:{body_sha256}", timestamp_at: &["query:t"], at: &["query:s"], ..BASE };
    let target = "/webhooks/v?t=1700000000&s=c3427eb3ab6f03aee89dfb3e8a91a439f13933bcabb4c274677649e433c6266d";
    assert_eq!(judge(text, &[KEY], Request { target, ..PLAIN }), identity("evt-1", "order.created"));
    assert_eq!(judge(text, &[KEY], Request { target, body: b"{}", ..PLAIN }), Err(VerifyError::InvalidSignature));
    let twice = &format!("{target}&t=1700000000");
    let expected = Err(VerifyError::Duplicate { place: Location::Query("t".into()) });
    assert_eq!(judge(text, &[KEY], Request { target: twice, ..PLAIN }), expected);
}

#[test]
fn a_timestamp_in_a_signed_body_is_judged() {
    let text = SchemeText {
        timestamp_at: &["json:/webhookTimestamp"],
        timestamp_unit: TimestampUnit::Milliseconds,
        tolerance: 60,
        id: &["body-sha256"],
        event_type: &["json:/type + json:/action"],
        ..BASE
    };
    let body = br#"{"webhookTimestamp":1700000000123,"type":"Issue","action":"create"}"#;
    let headers = &[("X-Sig", "cde149cc27aa5f71cc1ec34f0f0e2719d92df5650fe3c47272d3be81aaf93311")][..];
    let hash = crate::event::BodyHash::of(body).to_string();
    assert_eq!(judge(text, &[KEY], Request { headers, body, ..PLAIN }), identity(&hash, "Issue.create"));
    let signed = |sent: i64| text.read().unwrap().sign(&secret(KEY), &ToSign { timestamp: at(sent), ..message(body) });
    let old = signed(THEN - 61).unwrap();
    let verifier = Verifier::try_new(text.read().unwrap(), &[secret(KEY)]).unwrap();
    let verdict = verify(&verifier, &old.headers, &old.body, at(THEN));
    assert!(matches!(verdict, Err(VerifyError::StaleTimestamp { .. })), "{verdict:?}");
    let without = signed_without_timestamp(text);
    assert_eq!(verify(&verifier, &without, b"{}", at(THEN)), malformed("the timestamp is missing"));
}

fn signed_without_timestamp(text: SchemeText) -> HeaderMap {
    SchemeText { timestamp_at: &[], ..text }.read().unwrap().sign(&secret(KEY), &message(b"{}")).unwrap().headers
}

#[test]
fn a_token_is_compared_whole() {
    let text = SchemeText { at: BASE.at, format: "prefix:Bearer ", id: BASE.id, ..SchemeText::TOKEN };
    let judge = |value: &str| judge(text, &[OTHER_SECRET, KEY], Request { headers: &[("X-Sig", value)], ..PLAIN });
    assert_eq!(judge("Bearer a secret of my own sender"), identity("evt-1", "unknown"));
    for wrong in [
        "Bearer a secret of my own sende",
        "Bearer a secret of my own sender ",
        "Bearer A secret of my own sender",
        "Bearer",
        "a secret of my own sender",
        "Bearer ",
        "",
    ] {
        // The end of a header's value is trimmed on the wire, not here.
        assert_eq!(judge(wrong), Err(VerifyError::InvalidSignature), "{wrong:?}");
    }
    let in_body = SchemeText { at: &["json:/value/0/clientState"], format: "raw", id: &["body-sha256"], ..text };
    let body = br#"{"value":[{"clientState":"a secret of my own sender"}]}"#;
    assert!(super::kinds::judge(in_body, &[KEY], Request { body, ..PLAIN }).is_ok());
    let body = br#"{"value":[{"clientState":"a secret of another sender"}]}"#;
    assert_eq!(super::kinds::judge(in_body, &[KEY], Request { body, ..PLAIN }), Err(VerifyError::InvalidSignature));
}

#[test]
fn a_token_may_be_the_body() {
    const SIGNED: &str = "eyJhbGciOiJIUzI1NiJ9.\
                          eyJkYXRhIjoie1wiaWRcIjpcImV2dC0xXCIsXCJ0eXBlXCI6XCJvcmRlci5jcmVhdGVkXCJ9In0";
    const SIGNATURE: &str = "tEp_waadSj_3YGE3HQcNVJoskbsttNHdel4Jt5qHpJk";
    let text =
        SchemeText { at: &["body"], id: &["json:/data/id"], event_type: &["json:/data/type"], ..SchemeText::JWT };
    let judge = |body: &str| judge(text, &[OTHER_SECRET, KEY], Request { body: body.as_bytes(), ..PLAIN });
    let token = format!("{SIGNED}.{SIGNATURE}");
    assert_eq!(judge(&token), identity("evt-1", "order.created"));
    // Another spelling of the same token would be another body, and known by another hash.
    for wrong in [
        format!("{token}="),
        format!("{token}\n"),
        format!(" {token}"),
        format!("{token}.{SIGNATURE}"),
        format!("{SIGNED}.{}B", &SIGNATURE[..SIGNATURE.len() - 1]),
        format!("{SIGNED}."),
        SIGNED.to_owned(),
        "{}".to_owned(),
    ] {
        assert_eq!(judge(&wrong), Err(VerifyError::InvalidSignature), "{wrong:?}");
    }
    assert_eq!(judge(""), Err(VerifyError::MissingSignature { place: Location::Body }));
    let refused = text.read().unwrap().sign(&secret(KEY), &message(b"{}")).unwrap_err();
    assert_eq!(refused, SecretError::NotSignedHere { kind: Kind::Jwt });
    let long = format!("{{\"id\":\"evt-2\",\"more\":\"{}\"}}", "x".repeat(20_000));
    let long = format!("{}.{}.AAAA", SIGNED.split_once('.').unwrap().0, hex::encode(long));
    assert_eq!(judge(&long), Err(VerifyError::InvalidSignature), "a body has its own bound");
}

#[test]
fn basic_credentials_are_compared_whole() {
    let text = SchemeText { id: BASE.id, ..SchemeText::BASIC };
    let key = "postmark:a long enough password";
    let judge = |value: &str| judge(text, &[key], Request { headers: &[("Authorization", value)], ..PLAIN });
    for right in
        ["Basic cG9zdG1hcms6YSBsb25nIGVub3VnaCBwYXNzd29yZA==", "basic cG9zdG1hcms6YSBsb25nIGVub3VnaCBwYXNzd29yZA"]
    {
        assert_eq!(judge(right), identity("evt-1", "unknown"), "{right}");
    }
    for wrong in
        ["", "Basic", "Basic ", "Basic *", "Bearer cG9zdG1hcms6YSBsb25nIGVub3VnaCBwYXNzd29yZA==", "Basic cG9zdG1hcms6"]
    {
        assert_eq!(judge(wrong), Err(VerifyError::InvalidSignature), "{wrong}");
    }
}

/// Two headers with a signature each, of the old secret and of the new one: either may be the right one.
#[test]
fn every_place_counts_where_the_pairing_says_so() {
    let primary = "n34aF0PN0fjJbVGuP1/gUaW0mP0z43j/SrGTj7P4+p8=";
    let text = SchemeText {
        signed: "{body}{timestamp}",
        at: &["header:X-Primary", "header:X-Secondary"],
        encoding: Encoding::Base64,
        timestamp_at: &["header:X-Time"],
        timestamp_unit: TimestampUnit::Rfc3339,
        pairing: Pairing::Every,
        ..BASE
    };
    let numbered = SchemeText { at: &["header:X-Sig-{n}"], pairing: Pairing::Independent, ..text };
    let key = "first key of a rotation";
    let time = ("X-Time", "2023-11-14T22:13:20Z");
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for headers in [
        &[("X-Primary", primary), time][..],
        &[("X-Secondary", primary), time],
        &[("X-Primary", other), ("X-Secondary", primary), time],
        &[("X-Primary", ""), ("X-Secondary", primary), time],
    ] {
        assert_eq!(
            judge(text, &[key], Request { headers, ..PLAIN }),
            identity("evt-1", "order.created"),
            "{headers:?}"
        );
    }
    for headers in [&[("X-Sig-1", primary), time][..], &[("X-Sig-1", other), ("X-Sig-2", primary), time]] {
        assert_eq!(judge(numbered, &[key], Request { headers, ..PLAIN }), identity("evt-1", "order.created"));
    }
    // The numbers begin at 1, and have no gap.
    for headers in [&[("X-Sig-0", primary), time][..], &[("X-Sig-2", primary), time]] {
        let missing = Err(VerifyError::MissingSignature { place: "header:X-Sig-{n}".parse().unwrap() });
        assert_eq!(judge(numbered, &[key], Request { headers, ..PLAIN }), missing);
    }
    let twice = [("X-Sig-1", primary), ("X-Sig-1", primary), time];
    let duplicate = Err(VerifyError::Duplicate { place: Location::Header(HeaderName::from_static("x-sig-1")) });
    assert_eq!(judge(numbered, &[key], Request { headers: &twice, ..PLAIN }), duplicate);
}

#[test]
fn a_composed_id_exists_only_if_all_its_parts_do() {
    let text = SchemeText {
        at: BASE.at,
        id: &["json:/a + json:/b", "json:/c + header:X-D", "body-sha256"],
        event_type: &["json:/kind + json:/action", "json-key:/!a,b,c"],
        ..SchemeText::TOKEN
    };
    let judge = |body: &str| {
        judge(text, &[KEY], Request { headers: &[("X-Sig", KEY), ("X-D", "d")], body: body.as_bytes(), ..PLAIN })
    };
    assert_eq!(judge(r#"{"a":"x","b":2,"kind":"k","action":"n"}"#), identity("x|2", "k.n"));
    assert_eq!(judge(r#"{"a":"x","c":"y","message":{}}"#), identity("y|d", "message"));
    let body = r#"{"a":"x"}"#;
    assert_eq!(judge(body), identity(&crate::event::BodyHash::of(body.as_bytes()).to_string(), "unknown"));
    // No two lists of parts make one id.
    let ids =
        [r#"{"a":"x|y","b":"z"}"#, r#"{"a":"x","b":"y|z"}"#, r#"{"a":"x\\","b":"y|z"}"#, r#"{"a":"x\\|y","b":"z"}"#];
    let distinct: std::collections::BTreeSet<_> = ids.map(|body| judge(body).unwrap().id).into_iter().collect();
    assert_eq!(distinct.len(), ids.len());
}

#[test]
fn an_arrival_is_never_a_duplicate() {
    let text = SchemeText { at: BASE.at, id: &["arrival"], ..SchemeText::TOKEN };
    let judge = || judge(text, &[KEY], Request { headers: &[("X-Sig", KEY)], ..PLAIN }).unwrap().id;
    assert_ne!(judge(), judge());
}

#[test]
fn sign_writes_to_every_place() {
    for text in [
        IN_BODY,
        SchemeText { at: &["query:sig"], ..BASE },
        SchemeText {
            signed: "{timestamp}",
            at: &["form:sig"],
            timestamp_at: &["form:time"],
            id: &["form:sig"],
            unsigned_body: true,
            ..BASE
        },
        SchemeText { at: &["header:X-Sig-{n}"], ..BASE },
        SchemeText { at: &["header:X-Sig"], ..SchemeText { id: BASE.id, ..SchemeText::TOKEN } },
        SchemeText { id: BASE.id, ..SchemeText::BASIC },
        SchemeText { kind: Kind::PlainHash, signed: "{secret}{body}", ..BASE },
        SchemeText { at: BASE.at, id: BASE.id, body_claim: "sha256", ..SchemeText::JWT },
        SchemeText { signed: "{url}{body}", ..BASE },
    ] {
        let scheme = Scheme { url: PublicUrl::Base("https://hooks.example.com".into()), ..text.read().unwrap() };
        let body: &[u8] =
            if text.at[0].starts_with("form") { b"" } else { br#"{"id":"evt-1","signature":{"token":"t"}}"# };
        let signed = scheme.sign(&secret(KEY), &ToSign { target: "/webhooks/v", ..message(body) }).unwrap();
        let verifier = Verifier::try_new(scheme, &[secret(KEY)]).unwrap();
        let received = Received { target: &signed.target, ..Received::post(&signed.headers, &signed.body) };
        let verdict = verifier.verify(&received, at(THEN));
        assert!(verdict.is_ok(), "{text:?}: {verdict:?}");
    }
}
