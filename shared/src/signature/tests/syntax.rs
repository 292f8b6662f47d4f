//! How the fields of a scheme are written in the configuration, and which do not go together.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use super::*;

/// Each text is read, and written back as it was.
fn round_trips<T: FromStr<Err: Debug> + Display>(texts: &[&str]) {
    for text in texts {
        assert_eq!(text.parse::<T>().unwrap().to_string(), *text);
    }
}

fn refuses<T: FromStr<Err = InvalidField> + Debug>(texts: &[&str], message: &str) {
    for text in texts {
        assert_eq!(text.parse::<T>().unwrap_err().to_string(), message, "{text:?}");
    }
}

#[test]
fn words_are_read_and_written_and_others_refused() {
    round_trips::<Kind>(&[
        "hmac",
        "plain-hash",
        "ed25519",
        "ecdsa-p256",
        "rsa",
        "token",
        "basic",
        "jwt",
        "jwt-rsa",
        "jwt-es256",
    ]);
    round_trips::<Hash>(&["sha1", "sha256", "sha384", "sha512"]);
    round_trips::<KeyForm>(&["utf8", "hex", "base64", "whsec", "whpk", "pem", "sha1-of"]);
    round_trips::<Encoding>(&["hex", "base64", "base64url"]);
    round_trips::<TimestampUnit>(&["s", "ms", "rfc3339"]);
    round_trips::<Pairing>(&["independent", "by-position", "every"]);
    refuses::<Kind>(
        &["", "none", "HMAC", "jwt-none"],
        "a kind of proof must be hmac, plain-hash, ed25519, ecdsa-p256, rsa, token, basic, jwt, jwt-rsa or jwt-es256",
    );
    refuses::<Hash>(&["", "SHA256", "sha-1", "md5", "sha256 "], "a hash must be sha1, sha256, sha384 or sha512");
    refuses::<KeyForm>(&["", "raw"], "a key form must be utf8, hex, base64, whsec, whpk, pem or sha1-of");
    refuses::<Encoding>(&["base16"], "a signature encoding must be hex, base64 or base64url");
    refuses::<TimestampUnit>(&["sec"], "a timestamp unit must be s, ms or rfc3339");
    refuses::<Pairing>(&["any"], "a pairing must be independent, by-position or every");
    assert_eq!(Hash::ALL.len(), 4);
}

#[test]
fn templates_are_read_and_written() {
    round_trips::<Template>(&[
        "{body}",
        "{timestamp}.{body}",
        "{id}.{timestamp}.{body}",
        "v0:{timestamp}:{body}!",
        "{body}.{id}",
        "{timestamp}{body}",
        "{body}{timestamp}",
        "{method}{url}{body}{timestamp}",
        "{url}{form_sorted}",
        "{form_php}",
        "{secret}{body}",
        "{header:x-id}|{header:x-time}|{setting}|{crc32}",
        "{json:/a~1b/0}:{query:q}:{form:f}:{body_sha256}",
        "{timestamp}{json:/signature/token}",
        "{uri}\n{query}\n{body}",
    ]);
    refuses::<Template>(
        &[
            "",
            "body",
            "{body}{body}",
            "{body",
            "{Body}",
            "{}{body}",
            "{host}{body}",
            "{id}{body}",
            "{body}{id}",
            "{header:x}{body}",
            "{json:/a}{json:/b}",
            "{query}{body}",
            "{body}.{form_sorted}",
            "{timestamp}{timestamp}{body}",
            "{header:}{body}",
            "{body-sha256}",
            "{json-key:/}.{body}",
            "{{body}}",
        ],
        "a signed template must be text with placeholders such as {body}, {timestamp} and {id}, each at most once, where \
         literal text stands between {body} and what else is taken from the request, but for {timestamp} and {url}",
    );
}

#[test]
fn locations_are_read_and_written() {
    round_trips::<Location>(&["header:x-id", "header:x-id-{n}", "query:id", "form:id", "json:/id", "json:/a~1b/0/~0c"]);
    round_trips::<Location>(&["json:/", "json-key:/", "json-key:/!a", "json-key:/!a,b", "body"]);
    round_trips::<Location>(&["body-sha256", "arrival"]);
    round_trips::<Composed>(&["header:x-id", "json:/id + json:/type + body-sha256"]);
    assert_eq!("header:X-Id".parse::<Location>().unwrap().to_string(), "header:x-id");
    refuses::<Location>(
        &[
            "",
            "x-id",
            "header:",
            "header:a b",
            "header:{n}",
            "body-sha256:",
            "query:",
            "form:",
            "json-key:a",
            "cookie:id",
        ],
        "a location must be header:<Name>, query:<name>, json:</pointer>, json-key:/!<other key>, form:<name>, \
         body, body-sha256 or arrival",
    );
    refuses::<Location>(
        &["json:", "json:id", "json:/1/2/3/4/5/6/7/8/9"],
        "a JSON pointer must be 1 to 8 steps that begin with '/', such as /data/id",
    );
}

#[test]
fn a_composed_name_has_at_most_six_parts() {
    let seven = ["json:/a"; 7].join(" + ");
    refuses::<Composed>(&[&seven], "a composed name must be at most 6 locations with \" + \" between");
    assert!("json:/a + ".parse::<Composed>().is_err());
}

#[test]
fn signature_formats_are_read_and_written() {
    let formats = [
        "raw",
        "prefix:Bearer ",
        "prefix:sha256=",
        "prefix?:sha256=",
        "kv:t,v1",
        "kv:ts;h1",
        "kv:v1",
        "kv:;h1",
        "versioned:v1",
    ];
    round_trips::<SignatureFormat>(&formats);
    for refused in [
        "",
        "raw:",
        "prefix:",
        "prefix:a\tb",
        "kv:",
        "kv:t,",
        "kv:t,t",
        "kv:a,b,c",
        "kv:t=,v1",
        "versioned:",
        "versioned:v 1",
        "list:v1",
    ] {
        assert!(refused.parse::<SignatureFormat>().is_err(), "{refused:?}");
    }
}

#[test]
fn a_scheme_that_contradicts_itself_is_refused() {
    let generic = || scheme("generic");
    let standard = || scheme("standard-webhooks");
    let rule = || generic().timestamp.unwrap();
    let in_signature = || Some(TimestampRule { from: TimestampFrom::Signature, ..rule() });
    let nowhere = || Some(TimestampRule { from: TimestampFrom::At(vec![]), ..rule() });
    let in_body = || vec!["json:/id".parse::<Composed>().unwrap()];
    let text = |text: SchemeText| text.read().unwrap();
    let base = SchemeText { at: &["header:x-sig"], id: &["json:/id"], ..SchemeText::HMAC };
    let token = SchemeText { at: &["body"], id: &["json:/id"], ..SchemeText::JWT };
    assert_eq!(text(token).check(), Ok(()));
    const ECHO: HandshakeText =
        HandshakeText { method: "POST", when: &["query:c"], proof: "none", answer: "text query:c" };
    let misplaced = [
        SchemeText { at: &["body-sha256"], ..base },
        SchemeText { at: &["json-key:/"], signed: "", kind: Kind::Token, ..base },
        SchemeText { id: &["json-key:/"], ..base },
        SchemeText { id: &["json:/a + header:x-{n}"], ..base },
        SchemeText { event_type: &["header:x-{n}"], ..base },
        SchemeText { id: &["body"], ..base },
        SchemeText { event_type: &["json:/a + body"], ..base },
        SchemeText { signed: "{timestamp}.{body}", timestamp_at: &["body"], ..base },
        SchemeText { handshakes: &[HandshakeText { answer: "text body", ..ECHO }], ..base },
        SchemeText { handshakes: &[HandshakeText { when: &["body"], ..ECHO }], ..base },
        SchemeText { signed: "{timestamp}.{body}", timestamp_at: &["header:x-{n}"], ..base },
    ];
    for scheme in misplaced {
        assert_eq!(text(scheme).check(), Err(SchemeError::Misplaced), "{scheme:?}");
    }
    for (scheme, error) in [
        (Scheme { signature: vec![], ..generic() }, SchemeError::NoSignatureHeader),
        (Scheme { timestamp: None, ..generic() }, SchemeError::NoTimestamp),
        (Scheme { timestamp: nowhere(), ..generic() }, SchemeError::NoTimestamp),
        (Scheme { timestamp: generic().timestamp, ..scheme("generic-body") }, SchemeError::UnsignedTimestamp),
        (Scheme { timestamp: in_signature(), ..generic() }, SchemeError::NoTimestampKey),
        (Scheme { timestamp: in_signature(), ..scheme("generic-body") }, SchemeError::UnsignedTimestamp),
        (Scheme { id: vec![], ..generic() }, SchemeError::NoId),
        (Scheme { id: in_body(), ..standard() }, SchemeError::SignedIdNotInHeader),
        (Scheme { event_type: vec![Location::BodySha256.into()], ..generic() }, SchemeError::TypeFromBodyHash),
        (Scheme { event_type: vec![in_body()[0].clone(); 9], ..generic() }, SchemeError::TooManyLocations),
        (Scheme { pairing: Pairing::ByPosition, ..generic() }, SchemeError::Unpaired),
        (Scheme { id: standard().id[..1].to_vec(), ..standard() }, SchemeError::Unpaired),
        (text(SchemeText { signed: "", ..base }), SchemeError::NoSignedText),
        (text(SchemeText { kind: Kind::Token, ..base }), SchemeError::NoSignedText),
        (text(SchemeText { kind: Kind::PlainHash, ..base }), SchemeError::Secret),
        (text(SchemeText { signed: "{secret}{body}", ..base }), SchemeError::Secret),
        (text(SchemeText { key: KeyForm::Whpk, ..base }), SchemeError::KeyForm),
        (text(SchemeText { kind: Kind::Ed25519, ..base }), SchemeError::KeyForm),
        (text(SchemeText { kind: Kind::Token, signed: "", key: KeyForm::Hex, ..base }), SchemeError::KeyForm),
        (text(SchemeText { signed: "{timestamp}", format: "kv:t,v", ..base }), SchemeError::UnsignedBody),
        (text(SchemeText { at: &["json:/sig"], ..base }), SchemeError::SignatureInSignedBody),
        (text(SchemeText { at: &["body"], ..base }), SchemeError::TokenIsBody),
        (text(SchemeText { at: &["body"], signed: "", kind: Kind::Token, ..base }), SchemeError::TokenIsBody),
        (text(SchemeText { at: &["header:x-sig", "body"], ..token }), SchemeError::TokenIsBody),
        (text(SchemeText { kind: Kind::JwtEs256, key: KeyForm::Pem, ..token }), SchemeError::TokenIsBody),
        (text(SchemeText { format: "prefix?:Bearer ", ..token }), SchemeError::TokenIsBody),
        (text(SchemeText { body_claim: "sha256", ..token }), SchemeError::TokenIsBody),
        (text(SchemeText { json_field: "json", ..token }), SchemeError::TokenIsBody),
        (text(SchemeText { timestamp_at: &["header:x-time"], ..base }), SchemeError::UnsignedTimestamp),
        (
            text(SchemeText { signed: "{timestamp}.{body}", format: "kv:t,v", pairing: Pairing::Every, ..base }),
            SchemeError::NoTimestampKey,
        ),
    ] {
        assert_eq!(scheme.check(), Err(error));
        assert_eq!(Verifier::try_new(scheme, &[secret(SECRET)]).unwrap_err(), SecretError::Scheme(error));
    }
}

/// What presets begin with: it has a key form that fits its kind.
#[test]
fn each_beginning_of_a_preset_contradicts_nothing() {
    use KeyForm::{Base64, Hex, Pem, Utf8};
    for (text, key) in [
        (SchemeText::HMAC, Utf8),
        (SchemeText::ED25519, Hex),
        (SchemeText::ECDSA_P256, Base64),
        (SchemeText::RSA, Pem),
        (SchemeText::TOKEN, Utf8),
        (SchemeText::BASIC, Utf8),
        (SchemeText { body_claim: "sha256", ..SchemeText::JWT }, Utf8),
    ] {
        let scheme = SchemeText { at: &["header:x-sig"], id: &["json:/id"], ..text }.read().unwrap();
        assert_eq!((scheme.check(), scheme.key), (Ok(()), key), "{scheme:?}");
    }
}

#[test]
fn as_many_places_as_may_be_named_are_taken_and_no_more() {
    // So many places, each of so many parts, no two alike.
    let places = |count: usize, parts: usize, name: &str| -> Vec<Composed> {
        let part = |place, part| format!("json:/{name}{place}-{part}");
        let text = |place| (0..parts).map(|number| part(place, number)).collect::<Vec<_>>().join(" + ");
        (0..count).map(|place| text(place).parse().unwrap()).collect()
    };
    let check = |id, event_type| Scheme { id, event_type, ..scheme("generic") }.check();
    let too_many = Err(SchemeError::TooManyLocations);
    assert_eq!(check(places(8, 1, "i"), places(8, 1, "t")), Ok(()));
    assert_eq!(check(places(9, 1, "i"), places(8, 1, "t")), too_many);
    assert_eq!(check(places(8, 1, "i"), places(9, 1, "t")), too_many);
    // 64 places of the body in all.
    assert_eq!(check(places(8, 6, "i"), places(8, 2, "t")), Ok(()));
    assert_eq!(check(places(8, 6, "i"), places(6, 3, "t")), too_many);
}

#[test]
fn sign_writes_the_headers_that_the_provider_would() {
    let body = b"{}";
    let names = |preset: &str| {
        let mut names: Vec<_> = signed(preset, body).keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(names("github"), ["x-github-delivery", "x-github-event", "x-hub-signature-256"]);
    assert_eq!(names("stripe"), ["stripe-signature"]);
    assert_eq!(names("standard-webhooks"), ["webhook-id", "webhook-signature", "webhook-timestamp"]);
    assert_eq!(names("generic"), ["x-webhook-event", "x-webhook-id", "x-webhook-signature", "x-webhook-timestamp"]);
    assert_eq!(names("generic-body"), ["x-webhook-event", "x-webhook-id", "x-webhook-signature"]);
}

#[test]
fn sign_names_an_event_without_an_id_by_its_body_where_an_id_is_signed() {
    let message = ToSign { id: None, event_type: None, ..message(b"{}") };
    let headers = scheme("standard-webhooks").sign(&secret(SECRET), &message).unwrap().headers;
    assert_eq!(headers["webhook-id"], *crate::event::BodyHash::of(b"{}").to_string());
    assert!(!scheme("github").sign(&secret(SECRET), &message).unwrap().headers.contains_key("x-github-delivery"));
}
