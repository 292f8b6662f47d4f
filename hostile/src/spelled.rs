//! Schemes that are spelled out, as the configuration does: read, written, and forged.
//!
//! Whatever scheme a user may spell out, no request that is changed verifies unless what is signed is as it was. So the
//! fuzzer spells the scheme, the program signs a request by it, and the fuzzer changes that one.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use tidegate_shared::signature::{
    Composed, Encoding, Hash, InvalidField, KeyForm, Kind, Location, Pairing, PublicUrl, Scheme, Secret, Template,
    TimestampFrom, TimestampRule, TimestampUnit, ToSign, Verifier,
};

use crate::base::Site;
use crate::edit::edited;
use crate::input::Input;
use crate::request::Request;

/// Fits as text, as hexadecimal and as base64.
const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const BODY: &[u8] = br#"{"id":"evt-1","type":"order.created","data":{"id":"d-1","at":1700000000}}"#;
const FORM: &[u8] = b"id=evt-1&type=order.created&at=1700000000";
/// When everything is signed, in seconds since 1970.
const THEN: i64 = 1_700_000_000;

/// A line for each field of the scheme, then the changes of a request that is signed by it.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Some(scheme) = read(&mut input) else { return };
    let secrets = [Secret::new(SECRET.to_owned())];
    let now = Timestamp::from_second(THEN).expect("a time in this century");
    let (Ok(verifier), Some(signed)) = (Verifier::try_new(scheme.clone(), &secrets), signed(&scheme, &secrets[0], now))
    else {
        return;
    };
    let site = Site::of(verifier, signed, now);
    let made = &site.made[0];
    // A scheme may still have its parts written over each other: then nothing that is made here verifies.
    if !site.judge(&made.request, &site.made, now) {
        return;
    }
    // The door knows a source by its path: no other path is this source's.
    let changed = edited(&made.request, &mut input);
    if let Some(request) = changed.filter(|request| path(request) == path(&made.request)) {
        site.judge(&request, &site.made, now);
    }
}

fn path(request: &Request) -> &str {
    request.target.split_once('?').map_or(&request.target, |(path, _)| path)
}

/// Each field by its own reader, and written back.
fn read(input: &mut Input<'_>) -> Option<Scheme> {
    let kind: Kind = read_one(&input.text())?;
    let template = input.text();
    let signature: Vec<Location> = read_list(&input.text())?;
    let format = read_one(&input.text())?;
    let encoding: Encoding = read_one(&input.text())?;
    let times: Vec<Location> = read_list(&input.text())?;
    let unit: TimestampUnit = read_one(&input.text())?;
    let id: Vec<Composed> = read_list(&input.text())?;
    let pairing: Pairing = read_one(&input.text())?;
    let (hash, key): (Hash, KeyForm) = (read_one(&input.text())?, read_one(&input.text())?);
    let body_claim = input.text();
    let template = if template.is_empty() { Template::empty() } else { read_one(&template)? };
    let from = match times.is_empty() {
        false => TimestampFrom::At(times),
        true if kind.is_jwt() => TimestampFrom::Token,
        true => TimestampFrom::Signature,
    };
    let has_timestamp = template.has_timestamp() || matches!(from, TimestampFrom::At(_)) || kind.is_jwt();
    let rule = TimestampRule { from, unit, tolerance: Duration::from_secs(300) };
    let scheme = Scheme {
        kind,
        hash,
        key,
        template,
        signature,
        format,
        encoding,
        timestamp: has_timestamp.then_some(rule),
        id,
        event_type: Vec::new(),
        pairing,
        unsigned_body: false,
        json_field: None,
        body_claim: if body_claim.is_empty() { None } else { Some(read_one(&format!("/{body_claim}"))?) },
        jwks: None,
        url: PublicUrl::Base("https://hooks.example.com".to_owned()),
        handshakes: Vec::new(),
        setting: Some("a setting of the source".to_owned()),
    };
    let is_spelled = !kind.is_native() && !scheme.proof_in_words().is_empty();
    (is_spelled && scheme.check().is_ok()).then_some(scheme)
}

/// What can be read is written so that it is read as the same.
fn read_one<T>(text: &str) -> Option<T>
where
    T: FromStr<Err = InvalidField> + Display + Debug + PartialEq,
{
    match text.parse::<T>() {
        Ok(read) => {
            let again = read.to_string().parse::<T>();
            assert_eq!(again.as_ref(), Ok(&read), "{text:?} is written as {read}");
            Some(read)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "every refusal says why");
            None
        }
    }
}

fn read_list<T>(text: &str) -> Option<Vec<T>>
where
    T: FromStr<Err = InvalidField> + Display + Debug + PartialEq,
{
    if text.is_empty() { Some(Vec::new()) } else { text.split(" | ").map(read_one).collect() }
}

/// A request by the scheme, with what its signature covers.
fn signed(scheme: &Scheme, secret: &Secret, now: Timestamp) -> Option<Request> {
    let pieces = scheme.template.pieces().iter().filter_map(|piece| piece.location());
    let places = pieces.chain(&scheme.signature).chain(scheme.id.iter().flat_map(Composed::parts));
    let has_form = scheme.template.to_string().contains("form")
        || places.into_iter().any(|place| matches!(place, Location::Form(_)));
    let message = ToSign {
        body: if has_form { FORM } else { BODY },
        target: "/webhooks/shop",
        id: Some("evt-1"),
        event_type: None,
        timestamp: now,
    };
    let signed = scheme.sign(secret, &message).ok()?;
    Some(Request {
        method: http::Method::POST,
        target: signed.target.into_owned(),
        headers: signed.headers,
        body: signed.body.into_owned(),
    })
}

/// The schemes of the presets that can be spelled, and what only a user can say; each with a change.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let presets = tidegate_shared::provider::presets().map(|preset| preset.scheme());
    let presets = presets.filter(|scheme| !scheme.kind.is_native()).map(|scheme| spell(&scheme));
    let own = [
        "hmac\n{timestamp}.{body}\nheader:x-sig\nkv:t,v1\nhex\n\ns\njson:/id\nindependent\nsha256\nutf8\n\n",
        "hmac\n{url}{body}\nquery:sig\nraw\nbase64\n\ns\nbody-sha256\nindependent\nsha512\nhex\n\n",
        "hmac\n{uri}\\n{query}\\n{body}\nheader:x-sig\nraw\nhex\n\ns\nbody-sha256\nindependent\nsha1\nutf8\n\n",
        "hmac\n{body}{timestamp}\nheader:x-sig-{n}\nraw\nbase64url\nheader:x-time\nms\nbody-sha256\nevery\nsha256\nutf8\n\n",
        "hmac\n{id}.{timestamp}.{body}\nheader:a | header:b\nversioned:v1\nbase64\nheader:c | header:d\nrfc3339\nheader:e | header:f\nby-position\nsha384\nwhsec\n\n",
        "hmac\n{method}.{header:x-id}.{body_sha256}\nheader:x-sig\nprefix?:sha256=\nhex\n\ns\nheader:x-id\nindependent\nsha256\nsha1-of\n\n",
        "hmac\n{form_php}\nform:sig\nraw\nhex\n\ns\nform:id + form:type\nindependent\nsha1\nutf8\n\n",
        "plain-hash\n{secret}{form_sorted}\nheader:x-sig\nraw\nhex\n\ns\nform:id\nindependent\nsha1\nutf8\n\n",
    ];
    let schemes = presets.chain(own.into_iter().map(str::to_owned)).collect::<Vec<_>>();
    let edits: [&[u8]; 4] = [b"", &[3, 2, 0, 1, 0, 3, 1], &[1, 2, 0, 0, 0, 1, b' '], &[0, 4, 0, 5, 0, b'x']];
    schemes.iter().enumerate().map(|(at, scheme)| [scheme.as_bytes(), edits[at % edits.len()]].concat()).collect()
}

/// The lines that [`read`] reads.
fn spell(scheme: &Scheme) -> String {
    fn list<T: Display>(list: &[T]) -> String {
        list.iter().map(T::to_string).collect::<Vec<_>>().join(" | ")
    }
    let times = match scheme.timestamp.as_ref().map(|rule| &rule.from) {
        Some(TimestampFrom::At(places)) => list(places),
        Some(TimestampFrom::Signature | TimestampFrom::Token) | None => String::new(),
    };
    let unit = scheme.timestamp.as_ref().map_or(TimestampUnit::Seconds, |rule| rule.unit);
    let claim = scheme.body_claim.as_ref().map(|claim| claim.to_string().trim_start_matches('/').to_owned());
    let fields = [
        scheme.kind.to_string(),
        scheme.template.to_string(),
        list(&scheme.signature),
        scheme.format.to_string(),
        scheme.encoding.to_string(),
        times,
        unit.to_string(),
        list(&scheme.id),
        scheme.pairing.to_string(),
        scheme.hash.to_string(),
        scheme.key.to_string(),
        claim.unwrap_or_default(),
    ];
    fields.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else the target would judge nothing.
    #[test]
    fn most_seeds_spell_a_scheme_that_signs() {
        let secret = Secret::new(SECRET.to_owned());
        let now = Timestamp::from_second(THEN).unwrap();
        let seeds = seeds();
        let signs = |seed: &&Vec<u8>| {
            let scheme = read(&mut Input::new(seed));
            scheme.is_some_and(|scheme| signed(&scheme, &secret, now).is_some())
        };
        let count = seeds.iter().filter(signs).count();
        assert!(count > 40, "{count} of {}", seeds.len());
    }
}
