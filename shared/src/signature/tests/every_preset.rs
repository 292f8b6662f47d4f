//! No preset takes the first request that its provider is known to have signed once the signature, the body or the time is
//! another one. The requests are the valid vectors of `fixtures/vectors`, which others made.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use serde::Deserialize;
use serde_json::Value;
use url::{Position, Url, form_urlencoded};

use super::super::received::Reader;
use super::*;
use crate::provider::{Preset, presets};

/// Its body is the token: there is no place for a second one, and nothing in it is no signature at all.
const BODY_IS_TOKEN: &str = "wix";
/// Both sign a time and a token, and nothing else: their vectors have the same signature.
const ALIKE: [&str; 2] = ["mailgun", "mailgun-routes"];
/// Their providers' tokens say nothing about their time.
const TIMELESS: [&str; 2] = ["fusionauth", "netlify"];

#[test]
fn every_preset_takes_what_its_provider_signed() {
    let made = made();
    assert_eq!(made.len(), presets().count());
    for one in &made {
        let verdict = one.verify(&one.request, one.now);
        assert!(verdict.is_ok() && !one.signatures.is_empty(), "{}: {verdict:?}", one.preset.name);
    }
}

#[test]
fn no_preset_takes_a_signature_that_is_there_twice() {
    for one in made() {
        let (name, scheme) = (one.preset.name, one.verifier.scheme());
        let Some(doubled) = one.doubled() else {
            assert_eq!(name, BODY_IS_TOKEN);
            continue;
        };
        let verdict = one.verify(&doubled, one.now);
        let is_as_expected = if scheme.pairing == Pairing::Every && scheme.signature.contains(&one.signatures[0].0) {
            // It may send the header again for each of its secrets: one of them is enough.
            verdict.is_ok()
        } else if matches!(scheme.kind, Kind::Adyen | Kind::MicrosoftGraph) {
            // Their JSON is read by code of their own, for which a key that is there twice is no JSON.
            matches!(verdict, Err(VerifyError::MalformedRequest { .. }))
        } else {
            matches!(verdict, Err(VerifyError::Duplicate { .. }))
        };
        assert!(is_as_expected, "{name}: {verdict:?}");
    }
}

#[test]
fn no_preset_takes_an_empty_signature_nor_a_part_of_one() {
    for one in made() {
        let (name, scheme) = (one.preset.name, one.verifier.scheme());
        let verdict = one.verify(&one.with(|_| String::new()), one.now);
        if name == BODY_IS_TOKEN {
            assert!(matches!(verdict, Err(VerifyError::MissingSignature { .. })), "{name}, empty: {verdict:?}");
        } else {
            assert_eq!(verdict, Err(VerifyError::InvalidSignature), "{name}, empty");
        }
        let verdict = one.verify(&one.with(|own| cut(scheme, own)), one.now);
        assert_eq!(verdict, Err(VerifyError::InvalidSignature), "{name}, cut");
    }
}

#[test]
fn no_preset_takes_the_signature_of_another_ones_request() {
    let made = made();
    for (one, other) in made.iter().flat_map(|one| made.iter().map(move |other| (one, other))) {
        let (name, other_name, text) = (one.preset.name, other.preset.name, &other.signatures[0].1);
        if one.signatures.iter().any(|(_, own)| own == text) {
            assert!(name == other_name || [name, other_name].iter().all(|name| ALIKE.contains(name)), "{other_name}");
            continue;
        }
        let verdict = one.verify(&one.with(|_| text.clone()), one.now);
        // A list of another one's can lack the time that stands in the preset's own.
        let is_refused = matches!(verdict, Err(VerifyError::InvalidSignature | VerifyError::MalformedRequest { .. }));
        assert!(is_refused, "{name}, signed by {other_name}: {verdict:?}");
    }
}

#[test]
fn no_preset_takes_another_body_than_its_signature_covers() {
    let covered: Vec<Made> = made().into_iter().filter(|one| one.verifier.scheme().covers_body()).collect();
    assert!(covered.len() > 100, "{}", covered.len());
    for one in covered {
        for place in one.signed_bytes() {
            let mut request = one.request.clone();
            request.body[place] ^= 1;
            let verdict = one.verify(&request, one.now);
            // Where the signature stands in the body, or the body must be JSON, it may have become unreadable.
            let is_refused = matches!(
                verdict,
                Err(VerifyError::InvalidSignature
                    | VerifyError::MalformedRequest { .. }
                    | VerifyError::MissingSignature { .. })
            );
            assert!(is_refused, "{}, byte {place}: {verdict:?}", one.preset.name);
        }
    }
}

#[test]
fn no_preset_takes_what_is_old_or_from_the_future() {
    for one in made() {
        let (name, times) = (one.preset.name, one.wrong_times());
        let tells = one.verifier.scheme().timestamp.is_some() && !TIMELESS.contains(&name);
        assert_eq!(times.map(|(_, tells)| tells), [tells; 2], "{name}");
        for (now, tells) in times {
            let verdict = one.verify(&one.request, now);
            let is_as_expected =
                if tells { matches!(verdict, Err(VerifyError::StaleTimestamp { .. })) } else { verdict.is_ok() };
            assert!(is_as_expected, "{name} at {now}: {verdict:?}");
        }
    }
}

/// A request that its provider signed, and the source that it is for.
struct Made {
    preset: &'static Preset,
    verifier: Verifier,
    /// Keys that are got from the provider, by their places.
    keys: BTreeMap<String, String>,
    request: Request,
    /// When it is fresh, in seconds since 1970.
    now: i64,
    /// Where its signatures stand, and what they are.
    signatures: Vec<(Location, String)>,
}

/// One for each preset.
fn made() -> Vec<Made> {
    let vectors = vectors();
    let first = |preset: &'static Preset| {
        let mut own = vectors.iter().filter(|vector| vector.expect == "valid" && preset_of(vector) == preset.name);
        own.find_map(|vector| Made::of(preset, vector)).expect(preset.name)
    };
    presets().map(first).collect()
}

impl Made {
    /// `None` for a published example whose secret no source may have.
    fn of(preset: &'static Preset, vector: &Vector) -> Option<Self> {
        let mut scheme = preset.scheme();
        if let Some((rule, seconds)) = scheme.timestamp.as_mut().zip(vector.tolerance) {
            rule.tolerance = Duration::from_secs(seconds);
        }
        if scheme.signs_url() {
            scheme.url = vector.url.clone().map_or(PublicUrl::Unknown, PublicUrl::Whole);
        }
        scheme.setting = vector.setting.clone().filter(|_| scheme.takes_setting());
        let secrets: Vec<Secret> = vector.secrets.iter().map(|text| secret(text)).collect();
        let verifier = Verifier::try_new(scheme, &secrets).ok()?;
        let request = Request::of(vector);
        let signatures = signatures_of(verifier.scheme(), &request);
        Some(Self { preset, verifier, keys: vector.keys.clone(), request, now: vector.now, signatures })
    }

    /// Verifies as the door does: with the key that the request names, if the provider has it.
    fn verify(&self, request: &Request, now: i64) -> Result<Identity, VerifyError> {
        let received = request.received();
        let key = self.verifier.needs(&received)?.and_then(|place| {
            let got = self.keys.get(place.name().unwrap_or(place.url().as_str()))?;
            place.read(got.as_bytes())
        });
        match key {
            Some(key) => self.verifier.verify_with(&received, at(now), &key),
            None => self.verifier.verify(&received, at(now)),
        }
    }

    /// The request with each of its signatures changed so.
    fn with(&self, change: impl Fn(&str) -> String) -> Request {
        let mut request = self.request.clone();
        for (place, own) in &self.signatures {
            request.put(place, own, &change(own));
        }
        request
    }

    /// The request with the first of its signatures there twice; `None` where it is all that the body is.
    fn doubled(&self) -> Option<Request> {
        let (place, own) = &self.signatures[0];
        let mut request = self.request.clone();
        match place {
            Location::Header(name) => {
                request.headers.append(name, own.parse().unwrap());
            }
            Location::Query(name) => request.target += &format!("&{}", pair(name, own)),
            Location::Form(name) => request.body.extend(format!("&{}", pair(name, own)).bytes()),
            Location::Json(pointer) => {
                let (key, own) = (json_text(pointer.steps().last().unwrap()), json_text(own));
                request.replace(&own, &format!("{own},{key}:{own}"));
            }
            Location::Body => return None,
            Location::NumberedHeader(_) | Location::JsonKey(_) | Location::BodySha256 | Location::Arrival => {
                unreachable!("no signature stands at {place}")
            }
        }
        Some(request)
    }

    /// Some bytes of its body that are signed: the first, one in the middle and the last; where only some values are, one
    /// of a value.
    fn signed_bytes(&self) -> Vec<usize> {
        let (kind, body) = (self.verifier.scheme().kind, &self.request.body);
        let signed = if kind == Kind::Adyen {
            "/notificationItems/0/NotificationRequestItem/pspReference"
        } else if kind == Kind::AwsSns {
            "/MessageId"
        } else {
            return vec![0, body.len() / 2, body.len() - 1];
        };
        let json: Value = serde_json::from_slice(body).unwrap();
        let value = json.pointer(signed).unwrap().to_string();
        vec![std::str::from_utf8(body).unwrap().find(&value).unwrap() + 1]
    }

    /// When it is old and when it is from the future, for certain; and whether it tells when it was made.
    fn wrong_times(&self) -> [(i64, bool); 2] {
        const DAY: i64 = 86_400;
        let Some(rule) = &self.verifier.scheme().timestamp else {
            return [(self.now + DAY, false), (self.now - DAY, false)];
        };
        let far = 2 * i64::try_from(rule.tolerance.as_secs()).unwrap() + DAY;
        if rule.from != TimestampFrom::Token {
            return [(self.now + far, true), (self.now - far, true)];
        }
        // A token is fresh until its `exp`, and only without one as old as its `iat`. It begins with its `iat` or `nbf`.
        let claims = claims(&self.signatures[0].1);
        let expires = claims["exp"].as_i64();
        let begins = ["iat", "nbf"].iter().any(|claim| claims[claim].is_number());
        let ends = expires.is_some() || claims["iat"].is_number();
        [(expires.unwrap_or(self.now).max(self.now) + far, ends), (self.now - far, begins)]
    }
}

/// Every place of the scheme's where a signature of `request` stands, and what stands there.
fn signatures_of(scheme: &Scheme, request: &Request) -> Vec<(Location, String)> {
    let places = places_of(scheme);
    let pointers: Vec<Pointer> = places.iter().filter_map(Location::pointer).cloned().collect();
    let received = request.received();
    let mut reader = Reader::new(&received, &pointers, scheme.json_in());
    let mut found = Vec::new();
    for place in places {
        if let Some(text) = reader.read(&place).unwrap() {
            found.push((place, String::from_utf8(text.into_owned()).unwrap()));
        }
    }
    found
}

fn places_of(scheme: &Scheme) -> Vec<Location> {
    // Two have places that only their code knows.
    let known = if scheme.kind == Kind::Adyen {
        "json:/notificationItems/0/NotificationRequestItem/additionalData/hmacSignature"
    } else if scheme.kind == Kind::MicrosoftGraph {
        "json:/value/0/clientState"
    } else {
        let each = |place: &Location| match place.to_string().strip_suffix("{n}") {
            Some(prefix) => (1..=SIGNATURES_MAX).map(|n| format!("{prefix}{n}").parse().unwrap()).collect::<Vec<_>>(),
            None => vec![place.clone()],
        };
        return scheme.signature.iter().flat_map(each).collect();
    };
    vec![known.parse().unwrap()]
}

/// Without its last character but for padding, which some may leave out; of a list of signatures each.
fn cut(scheme: &Scheme, own: &str) -> String {
    let cut = |text: &str| {
        let mut text = text.trim_end_matches('=').to_owned();
        text.pop();
        text
    };
    if matches!(scheme.format, SignatureFormat::Versioned(_)) {
        own.split(' ').map(cut).collect::<Vec<_>>().join(" ")
    } else {
        cut(own)
    }
}

/// The claims of a token, behind whatever stands before it.
fn claims(token: &str) -> Value {
    let token = token.rsplit(' ').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[derive(Clone)]
struct Request {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    fn of(vector: &Vector) -> Self {
        let values = vector.headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
        let headers = headers(&values.collect::<Vec<_>>());
        let url = vector.url.as_deref().map(|url| Url::parse(url).unwrap());
        let target = url.map_or("/".to_owned(), |url| url[Position::BeforePath..Position::AfterQuery].to_owned());
        let base64 = |text: &String| STANDARD.decode(text).unwrap();
        let body = vector.body.clone().map(String::into_bytes).or_else(|| vector.body_base64.as_ref().map(base64));
        let method = vector.method.as_deref().unwrap_or("POST").parse().unwrap();
        Self { method, target, headers, body: body.unwrap() }
    }

    fn received(&self) -> Received<'_> {
        Received { method: &self.method, target: &self.target, headers: &self.headers, body: &self.body }
    }

    /// Puts `text` where `own` stands.
    fn put(&mut self, place: &Location, own: &str, text: &str) {
        match place {
            Location::Header(name) => {
                self.headers.insert(name, text.parse().unwrap());
            }
            Location::Query(name) => {
                let (path, query) = self.target.split_once('?').unwrap();
                self.target = format!("{path}?{}", list_with(query.as_bytes(), name, text));
            }
            Location::Form(name) => self.body = list_with(&self.body, name, text).into_bytes(),
            Location::Json(_) => self.replace(&json_text(own), &json_text(text)),
            Location::Body => self.body = text.as_bytes().to_vec(),
            Location::NumberedHeader(_) | Location::JsonKey(_) | Location::BodySha256 | Location::Arrival => {
                unreachable!("no signature stands at {place}")
            }
        }
    }

    fn replace(&mut self, old: &str, new: &str) {
        let body = std::str::from_utf8(&self.body).unwrap();
        assert!(body.contains(old), "{old} stands in {body}");
        self.body = body.replacen(old, new, 1).into_bytes();
    }
}

fn json_text(text: &str) -> String {
    Value::from(text).to_string()
}

fn pair(name: &str, value: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

/// A list of `name=value` with another value of `name`.
fn list_with(list: &[u8], name: &str, text: &str) -> String {
    let pairs = form_urlencoded::parse(list);
    let pairs = pairs.map(|(key, value)| if key == name { (key, text.into()) } else { (key, value) });
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// What is read of a vector here; `fixtures/README.md` has all its fields.
#[derive(Deserialize)]
struct Vector {
    provider: String,
    secrets: Vec<String>,
    headers: BTreeMap<String, Value>,
    body: Option<String>,
    body_base64: Option<String>,
    now: i64,
    expect: String,
    method: Option<String>,
    url: Option<String>,
    setting: Option<String>,
    #[serde(default)]
    keys: BTreeMap<String, String>,
    tolerance: Option<u64>,
}

/// Every vector, in the order of the files' names.
fn vectors() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/vectors");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file| serde_json::from_slice::<Vec<Vector>>(&std::fs::read(file).unwrap()).unwrap();
    files.iter().flat_map(read).collect()
}

/// The preset that a vector is for, or `hmac`.
fn preset_of(vector: &Vector) -> &str {
    match vector.provider.as_str() {
        "standard-webhooks" | "svix" if vector.secrets.iter().any(|secret| secret.starts_with("whpk_")) => {
            "standard-webhooks-ed25519"
        }
        "svix" => "standard-webhooks",
        provider => provider,
    }
}
