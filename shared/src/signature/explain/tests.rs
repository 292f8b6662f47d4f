//! For each cause a request that fails by it, and by nothing else: it must be named, exactly.
//!
//! The signatures are made here with `hmac` itself, not by the code that is judged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use http::{HeaderMap, HeaderName, Method};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

use super::*;
use crate::provider::preset;
use crate::signature::{Location, PublicUrl, Validity};

mod graph;

const SECRET: &str = "a-secret-of-thirty-two-characters";
const NOW: i64 = 1_700_000_000;
/// Where Meta asks, without the word that it must know.
const ASKED: &str = "/webhooks/s?hub.mode=subscribe&hub.challenge=1";
const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:tidegate";
const BODY: &str = "{\"b\": 1.50, \"a\": {\"ü\": \"x/y\"}}";

fn mac<M: hmac::Mac + hmac::KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = <M as hmac::KeyInit>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn sha256(key: &[u8], text: &[u8]) -> String {
    hex::encode(mac::<Hmac<Sha256>>(key, text))
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// A source with one secret, and the request to it.
struct Case {
    provider: &'static str,
    scheme: Scheme,
    secrets: Vec<DatedSecret>,
    method: Method,
    headers: HeaderMap,
    target: String,
    body: Vec<u8>,
}

impl Case {
    fn new(provider: &'static str, headers: &[(&str, &str)]) -> Self {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        Self {
            provider,
            scheme: preset(provider).unwrap().scheme(),
            secrets: vec![Secret::new(SECRET.to_owned()).into()],
            method: Method::POST,
            headers: map,
            target: "/webhooks/s".to_owned(),
            body: BODY.as_bytes().to_vec(),
        }
    }

    /// GitHub's, with this signature.
    fn github(signature: &str) -> Self {
        Self::new("github", &[("x-hub-signature-256", signature), ("x-github-delivery", "d-1")])
    }

    /// Stripe's, with this time and key.
    fn stripe(seconds: i64, key: &[u8]) -> Self {
        let signature = sha256(key, format!("{seconds}.{BODY}").as_bytes());
        let body = Self::new("stripe", &[("stripe-signature", &format!("t={seconds},v1={signature}"))]);
        // The id must be there, or that is what is wrong.
        Self { scheme: Scheme { id: vec![Location::BodySha256.into()], ..body.scheme.clone() }, ..body }
    }

    fn secret(mut self, text: &str) -> Self {
        self.secrets = vec![Secret::new(text.to_owned()).into()];
        self
    }

    fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    fn explain(&self) -> Cause {
        self.explain_among(&[])
    }

    fn explain_among(&self, others: &[Suspect<'_>]) -> Cause {
        self.explain_by(&self.verifier(), others, Ok(None))
    }

    fn explain_with(&self, key: Result<&FetchedKey, &str>) -> Cause {
        self.explain_by(&self.verifier(), &[], key.map(Some))
    }

    fn verifier(&self) -> Verifier {
        Verifier::try_new_dated(self.scheme.clone(), &self.secrets).unwrap()
    }

    fn received(&self) -> Received<'_> {
        Received { method: &self.method, target: &self.target, headers: &self.headers, body: &self.body }
    }

    fn explain_by(&self, verifier: &Verifier, others: &[Suspect<'_>], key: Result<Option<&FetchedKey>, &str>) -> Cause {
        let source = Suspect { name: "s", provider: self.provider, scheme: &self.scheme, secrets: &self.secrets };
        let question = Question { received: self.received(), received_at: now(), source, verifier, others, key };
        let cause = explain(&question);
        let Explanation { why, advice, .. } = cause.explanation();
        for text in [&why, &advice] {
            assert!(text.ends_with('.') && text.len() > 20, "{text}");
            assert!(!text.contains(SECRET), "{text}");
        }
        cause
    }
}

fn github_signed(key: &[u8], body: &[u8]) -> Case {
    Case::github(&format!("sha256={}", sha256(key, body))).body(body)
}

#[test]
fn what_is_right_and_what_is_forged_are_told_apart() {
    assert_eq!(github_signed(SECRET.as_bytes(), BODY.as_bytes()).explain(), Cause::Verifies);
    let forged = github_signed(b"somebody-else's-secret-of-some-length", BODY.as_bytes()).explain();
    assert_eq!(forged, Cause::Unexplained);
    assert!(!forged.explanation().explained && forged.explanation().why.starts_with("Nothing explains it"));
    for signature in ["", "sha256=", "sha256=00", &format!("sha256={}", "0".repeat(64))] {
        assert_eq!(Case::github(signature).explain(), Cause::Unexplained, "{signature:?}");
    }
    assert_eq!(Case::stripe(NOW, b"somebody-else's-secret-of-some-length").explain(), Cause::Unexplained);
}

#[test]
fn a_secret_that_is_written_otherwise_is_named() {
    let check = |senders: String, configured: &str, how: TextChange| {
        let case = github_signed(senders.as_bytes(), BODY.as_bytes()).secret(configured);
        assert_eq!(case.explain(), Cause::SecretText { index: 0, how }, "{how:?}");
    };
    check(format!("{SECRET}\n"), SECRET, TextChange::Newline);
    check(format!("{SECRET}\r\n"), SECRET, TextChange::CrLf);
    check(format!("{SECRET} "), SECRET, TextChange::SpaceBehind);
    check(format!(" {SECRET}"), SECRET, TextChange::SpaceBefore);
    check(format!("\"{SECRET}\""), SECRET, TextChange::Quoted);
    check(SECRET.to_owned(), &format!("'{SECRET}'"), TextChange::Unquoted);
    check(SECRET.to_owned(), &format!("whsec_{SECRET}"), TextChange::WithoutPrefix("whsec_"));
    check(format!("whsec_{SECRET}"), SECRET, TextChange::WithPrefix("whsec_"));
}

#[test]
fn the_secret_is_named_by_its_place_in_the_rotation() {
    let mut case = github_signed(format!("{SECRET}\n").as_bytes(), BODY.as_bytes());
    case.secrets.insert(0, Secret::new("another-secret-of-the-same-rotation".into()).into());
    assert_eq!(case.explain(), Cause::SecretText { index: 1, how: TextChange::Newline });
}

#[test]
fn a_secret_that_does_not_count_is_named_with_its_dates() {
    let mut case = github_signed(SECRET.as_bytes(), BODY.as_bytes());
    let validity = Validity { not_after: Some(Timestamp::from_second(NOW - 1).unwrap()), ..Validity::ALWAYS };
    case.secrets[0].validity = validity;
    assert_eq!(case.explain(), Cause::SecretDate { index: 0, validity });
    case.secrets.push(Secret::new("the-next-secret-of-the-rotation".into()).into());
    assert_eq!(case.explain(), Cause::SecretDate { index: 0, validity });
}

#[test]
fn a_secret_that_is_read_in_another_form_is_named() {
    let key = [7_u8; 32];
    let check = |secret: String, senders: &[u8], configured: KeyForm, used: KeyForm| {
        let mut case = github_signed(senders, BODY.as_bytes()).secret(&secret);
        case.scheme.key = configured;
        assert_eq!(case.explain(), Cause::SecretForm { index: 0, configured, used });
    };
    let (as_hex, as_base64) = (hex::encode(key), STANDARD.encode(key));
    check(as_hex.clone(), &key, KeyForm::Utf8, KeyForm::Hex);
    check(as_base64.clone(), &key, KeyForm::Utf8, KeyForm::Base64);
    check(as_base64.clone(), as_base64.as_bytes(), KeyForm::Base64, KeyForm::Utf8);
    check(as_hex.clone(), &key, KeyForm::Base64, KeyForm::Hex);
    check(format!("whsec_{as_base64}"), &key, KeyForm::Utf8, KeyForm::Whsec);
}

#[test]
fn a_signature_that_is_written_otherwise_is_named() {
    let tag = mac::<Hmac<Sha256>>(SECRET.as_bytes(), BODY.as_bytes());
    let base64 = Case::github(&format!("sha256={}", STANDARD.encode(&tag)));
    let expected = Cause::SignatureEncoding { configured: Encoding::Hex, used: Encoding::Base64 };
    assert_eq!(base64.explain(), expected);
    let prefixed = |prefix: &str| SignatureFormat::Prefixed(prefix.to_owned());
    let bare = Case::github(&hex::encode(&tag)).explain();
    assert_eq!(bare, Cause::SignatureFormat { configured: prefixed("sha256="), found: SignatureFormat::Raw });
    let other = Case::github(&format!("v1={}", hex::encode(&tag))).explain();
    assert_eq!(other, Cause::SignatureFormat { configured: prefixed("sha256="), found: prefixed("v1=") });
    let sha512 = hex::encode(mac::<Hmac<Sha512>>(SECRET.as_bytes(), BODY.as_bytes()));
    let hash = Case::github(&format!("sha256={sha512}")).explain();
    assert_eq!(hash, Cause::Hash { configured: Hash::Sha256, used: Hash::Sha512 });
}

#[test]
fn a_body_that_was_written_anew_is_named() {
    let check = |signed: &[u8], received: &[u8], change: BodyChange| {
        let case = github_signed(SECRET.as_bytes(), signed).body(received);
        assert_eq!(case.explain(), Cause::Body { change }, "{change:?}");
    };
    let layout = |layout| BodyChange::Layout(layout);
    let received = BODY.as_bytes();
    check(received, format!("{BODY}\n").as_bytes(), BodyChange::NewlineAdded);
    check(format!("{BODY}\n").as_bytes(), received, BodyChange::NewlineRemoved);
    check(received, format!("  {BODY}\n\n").as_bytes(), BodyChange::Padded);
    check(b"a\r\nb\r\n", b"a\nb\n", BodyChange::CrLfToLf);
    check(b"a\nb\n", b"a\r\nb\r\n", BodyChange::LfToCrLf);
    check("\u{feff}{}".as_bytes(), b"{}", BodyChange::MarkRemoved);
    check(b"{}", "\u{feff}{}".as_bytes(), BodyChange::MarkAdded);
    check("ü".as_bytes(), b"\xfc", BodyChange::Utf8ToLatin1);
    check(b"\xfc", "ü".as_bytes(), BodyChange::Latin1ToUtf8);
    check(b"", received, BodyChange::Empty);
    check("{\"b\":1.50,\"a\":{\"ü\":\"x/y\"}}".as_bytes(), received, layout(JsonLayout::Compact));
    let pretty = "{\n  \"b\": 1.50,\n  \"a\": {\n    \"ü\": \"x/y\"\n  }\n}";
    check(pretty.as_bytes(), received, layout(JsonLayout::Indented2));
    check(pretty.replace("  ", "\t").as_bytes(), received, layout(JsonLayout::Tabs));
    check(pretty.replace("  ", "    ").as_bytes(), received, layout(JsonLayout::Indented4));
    check(received, pretty.as_bytes(), layout(JsonLayout::Spaced));
    check("{\"a\":{\"ü\":\"x/y\"},\"b\":1.50}".as_bytes(), received, BodyChange::KeysSorted);
    check("{\"b\": 1.50, \"a\": {\"\\u00fc\": \"x/y\"}}".as_bytes(), received, BodyChange::Escapes);
    check("{\"b\": 1.50, \"a\": {\"ü\": \"x\\/y\"}}".as_bytes(), received, BodyChange::Escapes);
    check(received, "{\"b\": 1.50, \"a\": {\"\\u00fc\": \"x\\/y\"}}".as_bytes(), BodyChange::Escapes);
}

/// Goal: whoever signed and whoever wrote anew, it is seen. Method: one text as each kind of program spells it.
#[test]
fn every_spelling_of_json_is_known_from_every_other() {
    let spellings = [
        r#"{"a":"<b>&ü/😀~\"\\"}"#,
        r#"{"a":"<b>&ü\/😀~\"\\"}"#,
        r#"{"a":"<b>&\u00fc/\ud83d\ude00\u2028\"\\"}"#,
        r#"{"a":"<b>&\u00fc\/\ud83d\ude00\u2028\"\\"}"#,
        r#"{"a":"<b>&\u00FC/\uD83D\uDE00\u2028\"\\"}"#,
        r#"{"a":"\u003cb\u003e\u0026ü/😀\u2028\"\\"}"#,
        r#"{"a":"\u003cb\u003e\u0026\u00fc/\ud83d\ude00\u2028\"\\"}"#,
        r#"{"a":"\u003Cb\u003E\u0026\u00FC/\uD83D\uDE00\u2028\"\\"}"#,
    ]
    .map(|text| text.replace('~', "\u{2028}"));
    for (signed, received) in spellings.iter().flat_map(|one| spellings.iter().map(move |other| (one, other))) {
        let cause = github_signed(SECRET.as_bytes(), signed.as_bytes()).body(received.as_bytes()).explain();
        let change = BodyChange::Escapes;
        let expected = if signed == received { Cause::Verifies } else { Cause::Body { change } };
        assert_eq!(cause, expected, "{signed} as {received}");
    }
}

/// Goal: a layout changes no text. Method: strings that look like JSON, and every layout there and back.
#[test]
fn a_layout_leaves_strings_and_numbers_alone() {
    let text = "{\"k\":\"a, b: {\\\"c\\\": [1]}\\\\\",\"e\":[],\"o\":{},\"n\":[1e3,-0.0,10.50],\"s\":\"  \"}";
    let spaced =
        "{\"k\": \"a, b: {\\\"c\\\": [1]}\\\\\", \"e\": [], \"o\": {}, \"n\": [1e3, -0.0, 10.50], \"s\": \"  \"}";
    let signed = github_signed(SECRET.as_bytes(), text.as_bytes());
    let expected = Cause::Body { change: BodyChange::Layout(JsonLayout::Compact) };
    assert_eq!(Case { body: spaced.into(), ..signed }.explain(), expected);
    let expected = Cause::Body { change: BodyChange::Layout(JsonLayout::Spaced) };
    assert_eq!(github_signed(SECRET.as_bytes(), spaced.as_bytes()).body(text.as_bytes()).explain(), expected);
}

#[test]
fn another_public_url_is_named() {
    let check = |signed: &str, parts: &[UrlPart], shown: &str| {
        // HubSpot v3: method, URL, body and milliseconds.
        let at = (NOW * 1000).to_string();
        let tag = mac::<Hmac<Sha256>>(SECRET.as_bytes(), format!("POST{signed}{BODY}{at}").as_bytes());
        let signature = STANDARD.encode(tag);
        let mut case = Case::new(
            "hubspot",
            &[("x-hubspot-signature-v3", &signature), ("x-hubspot-request-timestamp", &at), ("host", "inner:8080")],
        );
        case.target = "/webhooks/s?b=2&a=1".to_owned();
        case.scheme.url = PublicUrl::Whole("https://hooks.example.com/webhooks/s?b=2&a=1".into());
        assert_eq!(case.explain(), Cause::Url { parts: parts.to_vec(), signed: shown.into() }, "{signed}");
    };
    let shown = "https://hooks.example.com/webhooks/s";
    check("http://hooks.example.com/webhooks/s?b=2&a=1", &[UrlPart::Scheme], "http://hooks.example.com/webhooks/s");
    let port = "https://hooks.example.com:443/webhooks/s";
    check(&format!("{port}?b=2&a=1"), &[UrlPart::Port], port);
    check(&format!("{shown}/?b=2&a=1"), &[UrlPart::Path], &format!("{shown}/"));
    check(&format!("{shown}?a=1&b=2"), &[UrlPart::Query], shown);
    check(shown, &[UrlPart::Query], shown);
    let inner = "http://inner:8080/webhooks/s";
    check(&format!("{inner}?b=2&a=1"), &[UrlPart::Scheme, UrlPart::Host, UrlPart::Port], inner);
}

#[test]
fn a_clock_that_is_off_is_named_with_its_seconds() {
    let check = |sent: i64, age: i64| {
        let cause = Case::stripe(sent, SECRET.as_bytes()).explain();
        let (age, tolerance) = (jiff::SignedDuration::from_secs(age), std::time::Duration::from_secs(300));
        assert_eq!(cause, Cause::Clock { age, tolerance });
        assert!(cause.explanation().why.contains(&format!("{} s", age.as_secs().abs())), "{cause:?}");
    };
    check(NOW - 301, 301);
    check(NOW + 7_200, -7_200);
    let ahead = Case::stripe(NOW + 7_200, SECRET.as_bytes()).explain().explanation().advice;
    for word in ["this machine's clock", "the sender's", "NTP", "tolerance above 7200 s"] {
        assert!(ahead.contains(word), "{ahead}");
    }
    let milliseconds = Case::stripe(NOW * 1000, SECRET.as_bytes()).explain();
    let (configured, sent) = (TimestampUnit::Seconds, TimestampUnit::Milliseconds);
    assert_eq!(milliseconds, Cause::TimestampUnit { configured, sent });
}

#[test]
fn another_scheme_of_the_same_vendor_is_named() {
    let sha1 = hex::encode(mac::<Hmac<Sha1>>(SECRET.as_bytes(), BODY.as_bytes()));
    let older = Case::new("github", &[("x-hub-signature", &format!("sha1={sha1}")), ("x-github-delivery", "d-1")]);
    let Cause::OtherScheme { title, provider: None } = older.explain() else { unreachable!("{:?}", older.explain()) };
    assert!(title.contains("X-Hub-Signature"), "{title}");

    let v0 = sha256(SECRET.as_bytes(), format!("{NOW}.{BODY}").as_bytes());
    let test = Case::new("stripe", &[("stripe-signature", &format!("t={NOW},v0={v0}"))]).explain();
    assert!(matches!(test, Cause::OtherScheme { title, provider: None } if title.contains("v0")), "{test:?}");

    let slack = sha256(SECRET.as_bytes(), format!("v0:{NOW}:{BODY}").as_bytes());
    let headers = [("x-slack-signature", &*format!("v0={slack}")), ("x-slack-request-timestamp", &NOW.to_string())];
    let slack = Case::new("generic", &headers).explain();
    assert!(matches!(slack, Cause::OtherScheme { title, .. } if title.contains("Slack")), "{slack:?}");

    let plain = |text: String| hex::encode(Sha256::digest(text));
    let check = |signed: String, provider: &'static str| {
        let mut case = Case::new("hubspot", &[("x-hubspot-signature", &plain(signed))]);
        case.scheme.url = PublicUrl::Whole("https://h.example/w".into());
        let cause = case.explain();
        assert!(matches!(cause, Cause::OtherScheme { provider: Some(found), .. } if found == provider), "{cause:?}");
    };
    check(format!("{SECRET}POSThttps://h.example/w{BODY}"), "hubspot-v2");
    check(format!("{SECRET}{BODY}"), "hubspot-v1");
}

#[test]
fn another_source_and_another_provider_are_named() {
    let stripe = preset("stripe").unwrap().scheme();
    let theirs = [DatedSecret::from(Secret::new("the-secret-of-the-other-source".into()))];
    let others = [Suspect { name: "pay", provider: "stripe", scheme: &stripe, secrets: &theirs }];
    let name = || "pay".to_owned();
    let signature = sha256(theirs[0].secret.expose().as_bytes(), format!("{NOW}.{BODY}").as_bytes());
    let lost = Case::new("github", &[("stripe-signature", &format!("t={NOW},v1={signature}"))]);
    assert_eq!(lost.explain_among(&others), Cause::OtherSource { name: name() });
    let swapped = github_signed(theirs[0].secret.expose().as_bytes(), BODY.as_bytes());
    assert_eq!(swapped.explain_among(&others), Cause::OtherSecret { name: name() });
    assert_eq!(swapped.explain(), Cause::Unexplained);

    let gitea = sha256(SECRET.as_bytes(), BODY.as_bytes());
    let cause = Case::new("github", &[("x-gitea-signature", &gitea)]).explain();
    assert!(matches!(cause, Cause::OtherProvider { provider: "gitea", .. }), "{cause:?}");
    let token = Case::new("github", &[("x-gitlab-token", SECRET)]).explain();
    assert!(matches!(token, Cause::OtherProvider { provider: "gitlab", .. }), "{token:?}");
}

#[test]
fn what_is_missing_twice_or_malformed_is_named() {
    let place = || Location::Header(HeaderName::from_static("x-hub-signature-256"));
    assert_eq!(Case::new("github", &[]).explain(), Cause::NotSigned { place: place() });
    let twice = Case::new("github", &[("x-hub-signature-256", "a"), ("x-hub-signature-256", "b")]);
    assert_eq!(twice.explain(), Cause::SentTwice { place: place() });
    let mut no_id = github_signed(SECRET.as_bytes(), BODY.as_bytes());
    no_id.headers.remove("x-github-delivery");
    assert_eq!(no_id.explain(), Cause::NoEventId);
    let malformed = Case::new("stripe", &[("stripe-signature", &format!("t=now,v1={}", "0".repeat(64)))]).explain();
    assert!(matches!(malformed, Cause::Malformed { what } if what.contains("timestamp")), "{malformed:?}");
}

#[test]
fn a_token_and_its_prefix_are_named() {
    let bearer = Case::new("gitlab", &[("x-gitlab-token", &format!("Bearer {SECRET}"))]);
    let found = SignatureFormat::Prefixed("Bearer ".into());
    assert_eq!(bearer.explain(), Cause::SignatureFormat { configured: SignatureFormat::Raw, found });
    let quoted = Case::new("gitlab", &[("x-gitlab-token", &format!("\"{SECRET}\""))]);
    assert_eq!(quoted.explain(), Cause::SecretText { index: 0, how: TextChange::Quoted });
    assert_eq!(Case::new("gitlab", &[("x-gitlab-token", "something else")]).explain(), Cause::Unexplained);
}

#[test]
fn every_credential_of_a_scheme_is_written_as_it_is_sent() {
    let basic = Scheme { ..preset("postmark").unwrap().scheme() };
    assert!(
        credentials("user:password-of-many", &basic)
            .contains(&format!("Basic {}", STANDARD.encode("user:password-of-many")))
    );
    let token = preset("gitlab").unwrap().scheme();
    assert_eq!(credentials(SECRET, &token)[0], SECRET);
    assert!(credentials(SECRET, &token).contains(&format!("{SECRET}\n")));
}

#[test]
fn a_handshake_is_named_and_so_is_a_word_that_differs() {
    let check = |target: &str, cause: Cause| {
        let (method, target) = (Method::GET, target.to_owned());
        let case = Case { method, target, body: Vec::new(), ..Case::new("meta", &[]) };
        let verifier = case.verifier().with_verify_token(&Secret::new("the word".into()));
        assert_eq!(case.explain_by(&verifier, &[], Ok(None)), cause, "{}", case.target);
    };
    let place = || Location::Query("hub.verify_token".into());
    check(&format!("{ASKED}&hub.verify_token=the+word"), Cause::Handshake);
    check(&format!("{ASKED}&hub.verify_token=a+guess"), Cause::HandshakeWord { place: place() });
    check(ASKED, Cause::HandshakeWord { place: place() });
    let twice = format!("{ASKED}&hub.verify_token=the+word&hub.verify_token=a+guess");
    check(&twice, Cause::SentTwice { place: place() });
    let odd = format!("{ASKED}%0A&hub.verify_token=the+word");
    check(&odd, Cause::Malformed { what: "the handshake is not well formed" });
    let signature = Location::Header(HeaderName::from_static("x-hub-signature-256"));
    check("/webhooks/s", Cause::NotSigned { place: signature });
}

#[test]
fn a_handshake_is_named_that_is_signed_or_that_asks_for_a_signature() {
    let asked = r#"{"type":"url_verification","challenge":"c"}"#;
    let slack = |key: &[u8]| {
        let tag = sha256(key, format!("v0:{NOW}:{asked}").as_bytes());
        let headers = [("x-slack-signature", &*format!("v0={tag}")), ("x-slack-request-timestamp", &NOW.to_string())];
        Case::new("slack", &headers).body(asked.as_bytes()).explain()
    };
    assert_eq!(slack(SECRET.as_bytes()), Cause::Handshake);
    assert_eq!(slack(b"somebody-else's-secret-of-some-length"), Cause::Unexplained);

    let (method, target) = (Method::GET, "/webhooks/s?crc_token=c".to_owned());
    let mut challenge = Case { method, target, body: Vec::new(), ..Case::new("x", &[]) };
    assert_eq!(challenge.explain(), Cause::Handshake);
    challenge.secrets[0].validity.not_after = Some(Timestamp::from_second(NOW - 1).unwrap());
    assert_eq!(challenge.explain(), Cause::NoSecretCounts);
}

#[test]
fn a_source_without_a_secret_is_named_before_its_requests_are_called_forged() {
    let signature = sha256(SECRET.as_bytes(), BODY.as_bytes());
    let asana = || Case::new("asana", &[("x-hook-signature", &signature)]);
    assert_eq!(asana().explain(), Cause::Verifies);
    // As the configuration has it: nobody knows the secret.
    let verifier = asana().secret("a secret that nobody knows, until one is offered").verifier();
    let waiting = Case { secrets: Vec::new(), ..asana() };
    assert_eq!(waiting.explain_by(&verifier, &[], Ok(None)), Cause::NoSecretOffered);
    let (github, theirs) = (preset("github").unwrap().scheme(), [DatedSecret::from(Secret::new(SECRET.into()))]);
    let others = [Suspect { name: "theirs", provider: "github", scheme: &github, secrets: &theirs }];
    let cause = waiting.explain_by(&verifier, &others, Ok(None));
    assert_eq!(cause, Cause::OtherSecret { name: "theirs".into() });

    let mut forged = github_signed(b"somebody-else's-secret-of-some-length", BODY.as_bytes());
    forged.secrets[0].validity.not_before = Some(Timestamp::from_second(NOW + 1).unwrap());
    assert_eq!(forged.explain(), Cause::NoSecretCounts);
}

/// A request of `fixtures/vectors`, and the key that it names there.
fn vector(provider: &'static str, vectors: &str, name: &str) -> (Case, FetchedKey) {
    let all: Vec<Value> = serde_json::from_str(vectors).unwrap();
    let found = all.iter().find(|vector| vector["name"] == name).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let members = |field: &str| found[field].as_object().unwrap().iter();
    let headers: Vec<_> = members("headers").map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
    let mut case = Case::new(provider, &headers).body(text(&found["body"]).as_bytes());
    case.scheme.setting = found["setting"].as_str().map(str::to_owned);
    case.secrets = found["secrets"].as_array().unwrap().iter().map(|found| Secret::new(text(found)).into()).collect();
    let location = case.verifier().needs(&case.received()).unwrap().unwrap();
    let key = location.read(text(members("keys").next().unwrap().1).as_bytes()).unwrap();
    (case, key)
}

fn paypal(name: &str) -> (Case, FetchedKey) {
    vector("paypal", include_str!("../../../../fixtures/vectors/paypal.json"), name)
}

fn sns(name: &str) -> (Case, FetchedKey) {
    vector("aws-sns", include_str!("../../../../fixtures/vectors/aws-sns.json"), name)
}

fn plaid(name: &str) -> (Case, FetchedKey) {
    vector("plaid", include_str!("../../../../fixtures/vectors/plaid.json"), name)
}

#[test]
fn without_the_providers_key_nothing_is_called_forged() {
    const WHY: &str = "there is no network";
    let unknown = Cause::Key(KeyCause::Unknown { why: WHY.to_owned() });
    let known = ["sale completed", "notification, version 2", "SYNC_UPDATES_AVAILABLE"];
    for (case, key) in [paypal(known[0]), sns(known[1]), plaid(known[2])] {
        assert_eq!(case.explain_with(Err(WHY)), unknown, "{}", case.provider);
        assert_ne!(case.explain_with(Ok(&key)), unknown, "{}", case.provider);
    }
    let Explanation { explained, why, advice, .. } = unknown.explanation();
    assert!(
        !explained && why.contains(WHY) && !advice.contains("forged") && !advice.contains("Copy"),
        "{why} {advice}"
    );
    assert_eq!(paypal(known[0]).0.explain_with(Ok(&paypal(known[0]).1)), Cause::Verifies);

    let (mut unsigned, _) = paypal(known[0]);
    let place = Location::Header(HeaderName::from_static("paypal-transmission-sig"));
    unsigned.headers.remove("paypal-transmission-sig");
    assert_eq!(unsigned.explain_with(Err(WHY)), Cause::NotSigned { place });
    let (mut elsewhere, _) = paypal(known[0]);
    elsewhere.headers.insert("paypal-cert-url", "https://evil.example/certs/1".parse().unwrap());
    assert_eq!(elsewhere.explain_with(Err(WHY)), Cause::Key(KeyCause::Unnamed));
}

#[test]
fn a_wrong_setting_is_named_where_a_provider_has_no_secret() {
    let (other, key) = paypal("another webhook id is configured");
    let cause = other.explain_with(Ok(&key));
    assert_eq!(cause, Cause::Key(KeyCause::Unmatched { setting: other.scheme.setting.clone() }));
    let Explanation { why, advice, .. } = cause.explanation();
    assert!(why.contains("1JE4291016473214C") && advice.contains("webhook's id"), "{why} {advice}");
    let (forged, key) = plaid("tampered body");
    assert_eq!(forged.explain_with(Ok(&key)), Cause::Key(KeyCause::Unmatched { setting: None }));
}

#[test]
fn another_topic_of_sns_is_named_and_a_forged_message_is_not_explained_by_it() {
    let topic = |sent: &str| Cause::Key(KeyCause::Topic { configured: TOPIC.to_owned(), sent: sent.to_owned() });
    let (case, key) = sns("another topic of the same account, rightly signed");
    let sent = "arn:aws:sns:eu-west-1:999999999999:attacker";
    assert_eq!(case.explain_with(Ok(&key)), topic(sent));
    assert_eq!(case.explain_with(Err("there is no network")), topic(sent));
    let configured = Scheme { setting: Some(sent.to_owned()), ..case.scheme.clone() };
    let others = [Suspect { name: "theirs", provider: "aws-sns", scheme: &configured, secrets: &[] }];
    let cause = case.explain_by(&case.verifier(), &others, Ok(Some(&key)));
    assert_eq!(cause, Cause::OtherSource { name: "theirs".into() });

    let forged = String::from_utf8(case.body.clone()).unwrap().replace("Hello", "Goodbye");
    let unmatched = Cause::Key(KeyCause::Unmatched { setting: None });
    assert_eq!(case.body(forged.as_bytes()).explain_with(Ok(&key)), unmatched);
    let (case, key) = sns("notification, version 2");
    // What is shown is no text that a stranger may choose.
    let odd = String::from_utf8(case.body.clone()).unwrap().replace(TOPIC, "arn:\\u001b[2J");
    let unknown = Cause::Key(KeyCause::Unknown { why: "there is no network".into() });
    assert_eq!(case.body(odd.as_bytes()).explain_with(Err("there is no network")), unknown);
    assert_eq!(sns("tampered message").0.explain_with(Ok(&key)), unmatched);
}
