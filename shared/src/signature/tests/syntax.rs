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
    round_trips::<Hash>(&["sha256", "sha384", "sha512"]);
    round_trips::<KeyForm>(&["utf8", "hex", "base64", "whsec"]);
    round_trips::<Encoding>(&["hex", "base64", "base64url"]);
    round_trips::<TimestampUnit>(&["s", "ms", "rfc3339"]);
    round_trips::<Pairing>(&["independent", "by-position"]);
    refuses::<Hash>(&["", "SHA256", "sha1", "md5", "sha256 "], "a hash must be sha256, sha384 or sha512");
    refuses::<KeyForm>(&["", "raw"], "a key form must be utf8, hex, base64 or whsec");
    refuses::<Encoding>(&["base16"], "a signature encoding must be hex, base64 or base64url");
    refuses::<TimestampUnit>(&["sec"], "a timestamp unit must be s, ms or rfc3339");
    refuses::<Pairing>(&["any"], "a pairing must be independent or by-position");
    assert_eq!(Hash::ALL.len(), 3);
}

#[test]
fn templates_are_read_and_written() {
    round_trips::<Template>(&[
        "{body}",
        "{timestamp}.{body}",
        "{id}.{timestamp}.{body}",
        "v0:{timestamp}:{body}!",
        "{body}{id}",
    ]);
    refuses::<Template>(
        &[
            "",
            "body",
            "{timestamp}",
            "{body}{body}",
            "{body",
            "{Body}",
            "{}{body}",
            "{url}{body}",
            "{id}{body}",
            "{{body}}",
        ],
        "a signed template must be text with {body} once and optionally {timestamp} and {id}, where literal text stands \
         between {id} and the next placeholder",
    );
}

#[test]
fn locations_are_read_and_written() {
    round_trips::<Location>(&["header:x-id", "json:/id", "json:/a~1b/0/~0c", "json:/", "body-sha256"]);
    assert_eq!("header:X-Id".parse::<Location>().unwrap().to_string(), "header:x-id");
    refuses::<Location>(
        &["", "x-id", "header:", "header:a b", "body-sha256:", "query:id"],
        "a location must be header:<Name>, json:</pointer> or body-sha256",
    );
    refuses::<Location>(
        &["json:", "json:id", "json:/1/2/3/4/5/6/7/8/9"],
        "a JSON pointer must be 1 to 8 steps that begin with '/', such as /data/id",
    );
}

#[test]
fn signature_formats_are_read_and_written() {
    let formats =
        ["raw", "prefix:sha256=", "prefix?:sha256=", "kv:t,v1", "kv:ts;h1", "kv:v1", "kv:;h1", "versioned:v1"];
    round_trips::<SignatureFormat>(&formats);
    for refused in [
        "",
        "raw:",
        "prefix:",
        "prefix:a b",
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
    let in_signature = || Some(TimestampRule { from: TimestampFrom::SignatureHeader, ..rule() });
    let nowhere = || Some(TimestampRule { from: TimestampFrom::Headers(vec![]), ..rule() });
    let in_body = || vec!["json:/id".parse().unwrap()];
    for (scheme, error) in [
        (Scheme { signature_headers: vec![], ..generic() }, SchemeError::NoSignatureHeader),
        (Scheme { timestamp: None, ..generic() }, SchemeError::NoTimestamp),
        (Scheme { timestamp: nowhere(), ..generic() }, SchemeError::NoTimestamp),
        (Scheme { timestamp: generic().timestamp, ..scheme("generic-body") }, SchemeError::UnsignedTimestamp),
        (Scheme { timestamp: in_signature(), ..generic() }, SchemeError::NoTimestampKey),
        (Scheme { id: vec![], ..generic() }, SchemeError::NoId),
        (Scheme { id: in_body(), ..standard() }, SchemeError::SignedIdNotInHeader),
        (Scheme { event_type: vec![Location::BodySha256], ..generic() }, SchemeError::TypeFromBodyHash),
        (Scheme { event_type: vec![in_body()[0].clone(); 9], ..generic() }, SchemeError::TooManyLocations),
        (Scheme { pairing: Pairing::ByPosition, ..generic() }, SchemeError::Unpaired),
        (Scheme { id: standard().id[..1].to_vec(), ..standard() }, SchemeError::Unpaired),
    ] {
        assert_eq!(scheme.check(), Err(error));
        assert_eq!(Verifier::try_new(scheme, &[secret(SECRET)]).unwrap_err(), SecretError::Scheme(error));
    }
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
    let message = ToSign { body: b"{}", id: None, event_type: None, timestamp: at(THEN) };
    let headers = scheme("standard-webhooks").sign(&secret(SECRET), &message).unwrap();
    assert_eq!(headers["webhook-id"], *crate::event::BodyHash::of(b"{}").to_string());
    assert!(!scheme("github").sign(&secret(SECRET), &message).unwrap().contains_key("x-github-delivery"));
}
