//! The vendors' own SDKs and published vectors judge our signatures, and GitHub's real payloads go through.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tidegate_shared::config::Config;
use tidegate_shared::provider::{preset, presets};
use tidegate_shared::signature::{
    Composed, HandshakeProof, Identity, Location, Piece, Received, SECRET_MIN, Scheme, Verifier, VerifyError,
};
use tidegate_tests::fixture::{self, Vector};
use tidegate_tests::sdk::Sdk;
use tidegate_tests::sender::{SECRET, Signed, client, send, send_until_accepted};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};

use crate::{keys, on_both_backends};

on_both_backends!(
    every_example_of_github_is_accepted_and_applied_once,
    what_the_official_sdks_sign_is_accepted,
    what_the_libraries_of_other_vendors_sign_is_accepted,
);

const ARCHIVE: &str = "[[handler]]\nname = \"archive\"\non = [\"**\"]\nrun = \"archive\"\nretry = [\"1s\"]\n";

async fn every_example_of_github_is_accepted_and_applied_once(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &format!("{SOURCES}{ARCHIVE}")).await?;
    let examples = fixture::github_examples()?;
    assert_eq!(examples.len(), 329);
    let events: BTreeMap<&str, usize> = examples.iter().fold(BTreeMap::new(), |mut counts, (event, _)| {
        *counts.entry(event.as_str()).or_default() += 1;
        counts
    });
    assert_eq!(events.len(), 58);
    let mut sdk = Sdk::start()?;
    let mut requests = Vec::new();
    for (number, (event, body)) in examples.iter().enumerate() {
        let mut headers = sdk.sign("octokit", SECRET, body, None).await?;
        headers.insert("x-github-event", event.parse()?);
        headers.insert("x-github-delivery", format!("delivery-{number}").parse()?);
        requests.push(Signed { headers, body: body.clone().into_bytes() });
    }
    let report = send_until_accepted(stack.urls("github"), requests, 16).await;
    assert_eq!(report.answers, BTreeMap::from([("200 accepted".to_owned(), 329)]), "{report:?}");
    stack.until_number("SELECT COUNT(*) FROM inbox", 329, SOON).await?;
    for (event, count) in events {
        let sql = format!("SELECT COUNT(*) FROM events WHERE event_type = '{event}' AND body IS NOT NULL");
        assert_eq!(stack.number(&sql).await?, i64::try_from(count)?, "{event}");
    }
    stack.finish().await
}

/// A library's signing code in `tests/sdk`, and who takes what it signs.
pub(crate) struct Signer {
    /// The library, as its registry calls it.
    pub(crate) library: &'static str,
    /// What `tests/sdk` calls the code. A source of this name is sent what it signs.
    pub(crate) name: &'static str,
    /// That source's preset.
    pub(crate) preset: &'static str,
    /// A secret of its form.
    pub(crate) secret: &'static str,
}

impl Signer {
    /// Code that is called as its preset is.
    pub(crate) const fn new(library: &'static str, name: &'static str, secret: &'static str) -> Self {
        Self { library, name, preset: name, secret }
    }

    /// The same for a preset that is called otherwise.
    const fn of(self, preset: &'static str) -> Self {
        Self { preset, ..self }
    }

    fn source(&self) -> String {
        let Self { name, preset, secret, .. } = self;
        format!("[[source]]\nname = {name:?}\nprovider = {preset:?}\nsecrets = [{secret:?}]\n")
    }
}

/// The official SDKs, which judge too, each with another secret of the same form.
static OFFICIAL: [(Signer, &str); 4] = [
    (Signer::new("stripe", "stripe", SECRET), OTHER_SECRET),
    (Signer::new("standardwebhooks", "standardwebhooks", WHSEC).of("standard-webhooks"), OTHER_WHSEC),
    (Signer::new("svix", "svix", WHSEC).of("standard-webhooks"), OTHER_WHSEC),
    (Signer::new("@octokit/webhooks-methods", "octokit", SECRET).of("github"), OTHER_SECRET),
];
const OTHER_SECRET: &str = "another-test-secret-of-32-bytes!";
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_WHSEC: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Libraries that sign what they would receive.
static SIGNERS: [Signer; 24] = [
    Signer::new("twilio", "twilio", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
    Signer::new("twilio", "twilio-json", "0a1b2c3d4e5f60718293a4b5c6d7e8f9").of("twilio"),
    Signer::new("twilio", "twilio-shared-key", "tidegate-twilio-shared-key-secret-1"),
    Signer::new("@adyen/api-library", "adyen", "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"),
    Signer::new(
        "@adyen/api-library",
        "adyen-platform",
        "9F2E7C1B5A60D3488E17F0C2B6A4395D1E8B7F6C0A2D4E3F5B6C7D8E9F0A1B2C",
    ),
    Signer::new("braintree", "braintree", "integration_public_key:integration_private_key"),
    Signer::new("@notionhq/client", "notion", "secret_tidegateNotionVerificationToken1"),
    Signer::new("livekit-server-sdk", "livekit", "tidegate-livekit-secret-0001"),
    Signer::new("@hubspot/api-client", "hubspot", "b1d2c3e4-tidegate-hubspot-secret-1"),
    Signer::new("@hubspot/api-client", "hubspot-v2", "b1d2c3e4-tidegate-hubspot-secret-2"),
    Signer::new("@hubspot/api-client", "hubspot-v1", "b1d2c3e4-tidegate-hubspot-secret-3"),
    Signer::new("retell-sdk", "retell", "tidegate-retell-secret-0001"),
    Signer::new("pusher", "pusher", "tidegate-pusher-secret-0001"),
    Signer::new("smartcar", "smartcar", "tidegate-smartcar-secret-0001"),
    Signer::new("@shopify/shopify-api", "shopify", "shpss_tidegate_test_secret_1"),
    Signer::new("@shopify/shopify-api", "shopify-events", "shpss_tidegate_test_secret_2"),
    Signer::new("square", "square", "tidegate-square-signature-key-1"),
    Signer::new("@mux/mux-node", "mux", "tidegate-mux-secret-0001"),
    Signer::new("@tryfinch/finch-api", "finch", "dGlkZWdhdGUtZmluY2gtc2VjcmV0LTAwMDEuLi4uLi4="),
    Signer::new("cloudinary", "cloudinary", "tidegate-cloudinary-secret-0001"),
    Signer::new("modern-treasury", "modern-treasury", "tidegate-modern-treasury-secret-0001"),
    Signer::new("@sanity/webhook", "sanity", "tidegate-sanity-webhook-secret-1"),
    Signer::new("@workos-inc/node", "workos", "tidegateWorkOSSecret1aaaaaa"),
    Signer::new("coinbase-commerce-node", "coinbase-commerce", "4b1c2d3e-5f60-4718-8293-a4b5c6d7e8f9"),
];
/// The same for libraries of Python.
static PYTHON_SIGNERS: [Signer; 3] = [
    Signer::new("slack_sdk", "slack", "tidegate-slack-signing-secret-01"),
    Signer::new("paddle-python-sdk", "paddle", "pdl_ntfset_01tidegate0000000000000000_test1secret"),
    Signer::new("mollie-api-py", "mollie", "tidegate-mollie-secret-0001"),
];

/// Everyone whose requests are sent to a live door.
pub(crate) fn signers() -> impl Iterator<Item = &'static Signer> {
    let official = OFFICIAL.iter().map(|(signer, _)| signer);
    official.chain(&SIGNERS).chain(&PYTHON_SIGNERS).chain([&keys::PLAID])
}

async fn what_the_official_sdks_sign_is_accepted(backend: Backend) -> Result<()> {
    let sources: String = OFFICIAL.iter().map(|(signer, _)| signer.source()).collect();
    let stack = Stack::start(backend, &format!("{sources}{ARCHIVE}")).await?;
    let mut sdk = Sdk::start()?;
    let body = String::from_utf8(fixture::read("stripe/payment_intent.succeeded.json")?)?;
    for (signer, other) in &OFFICIAL {
        let (name, url) = (signer.name, stack.url(signer.name));
        let request = officially_signed(&mut sdk, name, signer.secret, &body).await?;
        // Nobody has sent this event yet: it would be accepted, and no duplicate, if its signature were taken.
        let forged = officially_signed(&mut sdk, name, other, &body).await?;
        assert_eq!(forged.body, request.body);
        let tampered = Signed { body: [&request.body[..], b" "].concat(), ..request.clone() };
        for (refused, why) in [(forged, "another secret"), (tampered, "another body")] {
            let answer = send(&client(), &url, &refused).await?;
            assert_eq!((answer.status, answer.outcome()), (401, "invalid_signature"), "{name}, {why}: {answer:?}");
        }
        let answer = send(&client(), &url, &request).await?;
        assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{name}: {answer:?}");
    }
    stack.finish().await
}

/// What the official SDK sends, with the headers beside it that name GitHub's events.
async fn officially_signed(sdk: &mut Sdk, name: &str, secret: &str, body: &str) -> Result<Signed> {
    let mut headers = sdk.sign(name, secret, body, Some(&format!("msg_{name}"))).await?;
    if name == "octokit" {
        headers.insert("x-github-event", HeaderValue::from_static("push"));
        headers.insert("x-github-delivery", HeaderValue::from_static("delivery-1"));
    }
    Ok(Signed { headers, body: body.to_owned().into_bytes() })
}

async fn what_the_libraries_of_other_vendors_sign_is_accepted(backend: Backend) -> Result<()> {
    let sources: String = SIGNERS.iter().chain(&PYTHON_SIGNERS).map(Signer::source).collect();
    let public = "[ingest]\npublic_url = \"https://hooks.example.com\"\n";
    let stack = Stack::start(backend, &format!("{public}{sources}{ARCHIVE}")).await?;
    let (mut node, mut python) = (Sdk::start()?, Sdk::start_python()?);
    for signer in &SIGNERS {
        the_door_agrees_with(&mut node, &stack, signer).await?;
    }
    for signer in &PYTHON_SIGNERS {
        the_door_agrees_with(&mut python, &stack, signer).await?;
    }
    let accepted = SIGNERS.len() + PYTHON_SIGNERS.len();
    stack.until_number("SELECT COUNT(*) FROM events", accepted.try_into()?, SOON).await?;
    stack.finish().await
}

/// What the library signs is accepted, and neither the same with one byte changed nor what it signs with another secret.
async fn the_door_agrees_with(sdk: &mut Sdk, stack: &Stack, signer: &Signer) -> Result<()> {
    const ADYEN: &str = r#"{"notificationItems":[{"NotificationRequestItem":{"amount":{"currency":"EUR","value":1130},
        "eventCode":"AUTHORISATION","eventDate":"2026-11-02T10:59:58+01:00","merchantAccountCode":"TestMerchant",
        "merchantReference":"order 1","pspReference":"7914073381342284","success":"true"}}]}"#;
    let Signer { name, secret, .. } = *signer;
    let body = if name == "adyen" {
        ADYEN
    } else {
        r#"{"id": "evt-1", "event_id": "evt-1", "event": {"id": "evt-1"}, "text": "ä"}"#
    };
    let url = format!("https://hooks.example.com/webhooks/{name}");
    let (query, request) = sdk.make(name, secret, &url, body).await?;
    let to = format!("{}{query}", stack.url(name));
    let mut tampered = request.clone();
    let change = tampered.body.iter().position(|byte| *byte == b'1').context("a digit")?;
    tampered.body[change] = b'2';
    let refused = send(&client(), &to, &tampered).await?;
    assert_eq!((refused.status, refused.outcome()), (401, "invalid_signature"), "{name}, tampered: {refused:?}");
    let other = secret.replace(['e', 'E'], "f");
    assert_ne!(other, secret);
    let (query, forged) = sdk.make(name, &other, &url, body).await?;
    let refused = send(&client(), &format!("{}{query}", stack.url(name)), &forged).await?;
    assert_eq!((refused.status, refused.outcome()), (401, "invalid_signature"), "{name}, forged: {refused:?}");
    let answer = send(&client(), &to, &request).await?;
    assert_eq!(answer.status, 200, "{name}: {answer:?}");
    Ok(())
}

/// What our own signer makes is taken by the SDKs.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdks_take_what_tidegate_signs() -> Result<()> {
    use tidegate_shared::signature::{Secret, ToSign};
    let mut sdk = Sdk::start()?;
    let body = r#"{"id": "evt_1", "object": "event"}"#;
    for (signer, _) in &OFFICIAL {
        let (judge, secret) = (signer.name, signer.secret);
        let scheme = preset(signer.preset).context("a preset")?.scheme();
        let message = ToSign {
            body: body.as_bytes(),
            target: "/",
            id: Some("msg_1"),
            event_type: Some("push"),
            timestamp: Timestamp::now(),
        };
        let headers = scheme.sign(&Secret::new(secret.to_owned()), &message)?.headers;
        assert!(sdk.verify(judge, secret, &headers, body).await?, "{judge} refuses {headers:?}");
        assert!(!sdk.verify(judge, secret, &headers, &format!("{body} ")).await?, "{judge} takes another body");
    }
    Ok(())
}

/// How many vectors there are, so that none drops out unseen: judged, and refused for their secret.
const VECTORS: (usize, usize) = (2502, 4);

#[test]
fn every_vector_is_judged_as_published() -> Result<()> {
    let (mut wrong, mut counts) = (Vec::new(), (0, 0));
    for file in fixture::vector_files()? {
        for vector in fixture::vectors(&file)? {
            match judge(&vector).with_context(|| format!("{file}: {}", vector.name))? {
                Judged::Outcome(outcome) => {
                    counts.0 += 1;
                    if outcome != vector.expect {
                        wrong.push(format!("{file}: {}: {outcome}, expected {}", vector.name, vector.expect));
                    }
                }
                Judged::Refused => counts.1 += 1,
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(counts, VECTORS, "judged and refused");
    Ok(())
}

/// For every provider: a secret counts within its dates only, by when the request was received. Plaid's are ours to ask
/// its API with, and prove nothing.
#[test]
fn a_secret_of_any_provider_counts_within_its_dates_only() -> Result<()> {
    let mut judged = 0;
    for file in fixture::vector_files()? {
        for vector in fixture::vectors(&file)? {
            let has_dates = vector.expect == "valid" && !vector.secrets.is_empty() && vector.provider != "plaid";
            if !has_dates || matches!(judge(&vector)?, Judged::Refused) {
                continue;
            }
            judged += 1;
            let second = |from_now: i64| Timestamp::from_second(vector.now + from_now);
            for (date, expected) in [
                (format!("not_before = {}", second(0)?), "valid"),
                (format!("not_after = {}", second(0)?), "valid"),
                (format!("not_before = {}", second(1)?), "invalid_signature"),
                (format!("not_after = {}", second(-1)?), "invalid_signature"),
            ] {
                let dated: Vec<_> =
                    vector.secrets.iter().map(|secret| format!("{{ value = {secret:?}, {date} }}")).collect();
                let config = configuration_with(&vector, &format!("[{}]", dated.join(", ")));
                let Judged::Outcome(outcome) = judge_by(&vector, &config)? else { anyhow::bail!("{file}: refused") };
                assert_eq!(outcome, expected, "{file}: {}: {date}", vector.name);
            }
        }
    }
    assert!(judged > 200, "{judged}");
    Ok(())
}

/// What becomes of a vector.
enum Judged {
    /// Its request was judged.
    Outcome(String),
    /// Its source was refused, for its secret.
    Refused,
}

fn judge(vector: &Vector) -> Result<Judged> {
    judge_by(vector, &configuration(vector))
}

fn judge_by(vector: &Vector, configuration: &str) -> Result<Judged> {
    let config = match Config::parse("vector", configuration, &|_| None) {
        // A published example may have a secret that could be guessed, or one that was copied with a line break: both
        // are refused before any request is.
        Err(refused) if vector.secrets.iter().any(|secret| secret.len() < SECRET_MIN || secret.trim() != secret) => {
            let why = refused.to_string();
            assert!(why.contains("at least 16 bytes") || why.contains("white space"), "{why}");
            return Ok(Judged::Refused);
        }
        parsed => parsed?,
    };
    let source = config.sources.values().next().context("one source")?;
    let Signed { headers, body } = vector.signed()?;
    let method = vector.method.as_deref().unwrap_or("POST").parse()?;
    let target = vector.target()?;
    let received = Received { method: &method, target: &target, headers: &headers, body: &body };
    let outcome = match verdict(&source.verifier, &received, vector)? {
        Ok(identity) => return Ok(Judged::Outcome(named(&identity, vector, &source.scheme, &received))),
        Err(VerifyError::MissingEventId) => "missing_event_id",
        Err(VerifyError::InvalidSignature) => "invalid_signature",
        Err(VerifyError::MissingSignature { .. }) => "missing_signature",
        Err(VerifyError::StaleTimestamp { .. }) => "stale_timestamp",
        Err(VerifyError::MalformedRequest { .. }) => "malformed_request",
        Err(VerifyError::Duplicate { .. }) => "duplicate_header",
    };
    Ok(Judged::Outcome(outcome.to_owned()))
}

/// `valid`, and what its event is called, where that is not what it should be.
fn named(identity: &Identity, vector: &Vector, scheme: &Scheme, received: &Received<'_>) -> String {
    let (id, event_type) = told(vector, received);
    let id = id.or_else(|| is_known_by_its_bytes(scheme).then(|| hash_of(received.body)));
    match (id, event_type) {
        (Some(id), _) if id != identity.id.as_str() => format!("valid, with id {}, not {id}", identity.id.as_str()),
        (_, Some(event_type)) if event_type != identity.event_type.as_str() => {
            format!("valid, with type {}, not {event_type}", identity.event_type.as_str())
        }
        _ => "valid".to_owned(),
    }
}

/// The id and the type of a vector's event: what it tells; else what stands where the provider documents them, read here by
/// other means than the preset's.
fn told(vector: &Vector, received: &Received<'_>) -> (Option<String>, Option<String>) {
    let header = |name: &str| received.headers.get(name)?.to_str().ok().map(str::to_owned);
    let json = object_in(received.body);
    let text = |pointer: &str| json.pointer(pointer)?.as_str().map(str::to_owned);
    let (id, event_type) = match vector.provider.as_str() {
        "github" => (header("x-github-delivery"), header("x-github-event")),
        "standard-webhooks" => (header("webhook-id"), text("/type")),
        "svix" => (header("svix-id"), text("/type")),
        "stripe" | "generic" | "generic-body" => (text("/id"), text("/type")),
        "dropbox-sign" => {
            let parts = [
                "/event/event_hash",
                "/signature_request/signature_request_id",
                "/event/event_metadata/related_signature_id",
            ];
            let parts: Option<Vec<_>> = parts.into_iter().map(text).collect();
            (parts.map(|parts| parts.join("|")), text("/event/event_type"))
        }
        _ => (None, None),
    };
    (vector.id.clone().or(id), vector.event_type.clone().or(event_type))
}

/// The object that a body is, or that one of its parts is; null if there is none.
fn object_in(body: &[u8]) -> Value {
    let begin = body.iter().position(|byte| *byte == b'{');
    let end = body.iter().rposition(|byte| *byte == b'}');
    let object = begin.zip(end).and_then(|(begin, end)| body.get(begin..=end));
    object.and_then(|object| serde_json::from_slice(object).ok()).unwrap_or_default()
}

fn hash_of(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// Whether the hash of its body is the only id that an event has. What is signed of a form is no bytes, but fields.
fn is_known_by_its_bytes(scheme: &Scheme) -> bool {
    scheme.id == [Composed::from(Location::BodySha256)] && !scheme.template.has(&Piece::FormSorted)
}

/// No vector of these has an id of its own: what is signed beyond `fixtures` has one.
const WITHOUT_ID: [(&str, &str); 1] = [("generic-body", "shared's verifies_generic_requests_in_every_spelling")];
/// No vector of these has a type: the published bodies have none.
const WITHOUT_TYPE: [(&str, &str); 1] = [("standard-webhooks-ed25519", "the places are those of standard-webhooks")];

/// Where a place of a preset's is wrong nothing is found there, and the next one stands in for it, or the body's hash. So
/// one vector at least tells what is to be found.
#[test]
fn every_preset_finds_an_id_and_a_type_where_it_has_a_place_for_them() -> Result<()> {
    let mut found: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for file in fixture::vector_files()? {
        for vector in fixture::vectors(&file)? {
            let Some(preset) = preset(preset_of(&vector)).filter(|_| vector.expect == "valid") else { continue };
            if matches!(judge(&vector)?, Judged::Refused) {
                continue;
            }
            let Signed { headers, body } = vector.signed()?;
            let (id, event_type) = told(&vector, &Received::post(&headers, &body));
            let found = found.entry(preset.name).or_default();
            found.0 |= id.is_some_and(|id| id != hash_of(&body));
            found.1 |= event_type.is_some_and(|event_type| event_type != "unknown");
        }
    }
    let is_own = |name: &Composed| !matches!(name.single(), Some(Location::BodySha256 | Location::Arrival));
    let is_in = |list: &[(&str, &str)], name: &str| list.iter().any(|(known, _)| *known == name);
    for preset in presets() {
        let (scheme, name) = (preset.scheme(), preset.name);
        let (has_id, has_type) = *found.get(name).with_context(|| format!("{name} has no vector"))?;
        let needs_id = scheme.id.iter().any(is_own) && !is_in(&WITHOUT_ID, name);
        let needs_type = !scheme.event_type.is_empty() && !is_in(&WITHOUT_TYPE, name);
        assert!(has_id || !needs_id, "{name}: no valid vector tells an id that is not its body's hash");
        assert!(has_type || !needs_type, "{name}: no valid vector tells a type");
        let is_listed_in_vain = (has_id && is_in(&WITHOUT_ID, name)) || (has_type && is_in(&WITHOUT_TYPE, name));
        assert!(!is_listed_in_vain, "{name} has a vector that tells it");
    }
    Ok(())
}

/// Verifies with the key that would be fetched, where the request names one that the vector has.
fn verdict(verifier: &Verifier, received: &Received<'_>, vector: &Vector) -> Result<Result<Identity, VerifyError>> {
    let now = Timestamp::from_second(vector.now)?;
    let needed = match verifier.needs(received) {
        Ok(needed) => needed,
        Err(error) => return Ok(Err(error)),
    };
    let key = needed.and_then(|location| {
        let got = vector.keys.get(location.name().unwrap_or(location.url().as_str()))?;
        location.read(got.as_bytes())
    });
    Ok(match key {
        Some(key) => verifier.verify_with(received, now, &key),
        None => verifier.verify(received, now),
    })
}

/// The source that a vector is sent to.
fn configuration(vector: &Vector) -> String {
    configuration_with(vector, &format!("{:?}", vector.secrets))
}

/// The preset that a vector is for, or `hmac`.
fn preset_of(vector: &Vector) -> &str {
    let has_public_key = vector.secrets.iter().any(|secret| secret.starts_with("whpk_"));
    match vector.provider.as_str() {
        "standard-webhooks" | "svix" if has_public_key => "standard-webhooks-ed25519",
        "svix" => "standard-webhooks",
        provider => provider,
    }
}

fn configuration_with(vector: &Vector, secrets: &str) -> String {
    let provider = preset_of(vector);
    let mut lines = vec![format!("[[source]]\nname = \"v\"\nprovider = {provider:?}\nsecrets = {secrets}")];
    let signs_url = preset(provider).is_some_and(|preset| preset.scheme().signs_url());
    lines.extend(vector.url.iter().filter(|_| signs_url).map(|url| format!("url = {url:?}")));
    let agrees_on_a_word = preset(provider).is_some_and(|preset| {
        preset.scheme().handshakes.iter().any(|known| matches!(known.proof, HandshakeProof::Word(_)))
    });
    lines.extend(agrees_on_a_word.then(|| "verify_token = \"a word that was agreed on\"".to_owned()));
    lines.extend(vector.setting.iter().map(|setting| format!("setting = {setting:?}")));
    let tolerance = vector.scheme.as_ref().and_then(|scheme| scheme["tolerance"].as_u64()).or(vector.tolerance);
    lines.extend(tolerance.map(|tolerance| format!("tolerance = \"{tolerance}s\"")));
    if let Some(scheme) = &vector.scheme {
        lines.extend(spelled_out(scheme));
    }
    lines.join("\n")
}

fn spelled_out(scheme: &serde_json::Value) -> Vec<String> {
    let text = |field: &str| scheme[field].as_str().filter(|text| !text.is_empty());
    let mut lines = vec!["[source.signature]".to_owned()];
    lines.extend(text("signature_header").map(|header| format!("header = [{header:?}]")));
    lines.push(format!("format = {:?}", text("prefix").map_or("raw".to_owned(), |prefix| format!("prefix:{prefix}"))));
    for field in ["encoding", "hash", "key", "signed", "timestamp_unit"] {
        lines.extend(text(field).map(|value| format!("{field} = {value:?}")));
    }
    lines.extend(text("timestamp_header").map(|header| format!("timestamp_header = [{header:?}]")));
    let id = text("id_header").map_or("body-sha256".to_owned(), |header| format!("header:{header}"));
    lines.push(format!("id = [{id:?}]"));
    lines
}
