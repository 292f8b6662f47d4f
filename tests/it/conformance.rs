//! The vendors' own SDKs and published vectors judge our signatures, and GitHub's real payloads go through.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use http::HeaderValue;
use jiff::Timestamp;
use tidegate_shared::config::Config;
use tidegate_shared::provider::preset;
use tidegate_shared::signature::{HandshakeProof, Identity, Received, SECRET_MIN, Verifier, VerifyError};
use tidegate_tests::fixture::{self, Vector};
use tidegate_tests::sdk::Sdk;
use tidegate_tests::sender::{SECRET, Signed, client, send, send_until_accepted};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};

use crate::on_both_backends;

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

async fn what_the_official_sdks_sign_is_accepted(backend: Backend) -> Result<()> {
    let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let source = format!("[[source]]\nname = \"sw\"\nprovider = \"standard-webhooks\"\nsecrets = [{key:?}]\n");
    let stack = Stack::start(backend, &format!("{SOURCES}{source}{ARCHIVE}")).await?;
    let mut sdk = Sdk::start()?;
    let body = String::from_utf8(fixture::read("stripe/payment_intent.succeeded.json")?)?;
    for (judge, source, secret) in [
        ("stripe", "stripe", SECRET),
        ("standardwebhooks", "sw", key),
        ("svix", "sw", key),
        ("octokit", "github", SECRET),
    ] {
        let mut headers = sdk.sign(judge, secret, &body, Some(&format!("msg_{judge}"))).await?;
        if judge == "octokit" {
            headers.insert("x-github-event", HeaderValue::from_static("push"));
            headers.insert("x-github-delivery", HeaderValue::from_static("delivery-1"));
        }
        let request = Signed { headers, body: body.clone().into_bytes() };
        let answer = send(&client(), &stack.url(source), &request).await?;
        assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{judge}: {answer:?}");
        let tampered = Signed { body: [&request.body[..], b" "].concat(), ..request };
        let answer = send(&client(), &stack.url(source), &tampered).await?;
        assert_eq!((answer.status, answer.outcome()), (401, "invalid_signature"), "{judge}: {answer:?}");
        let mut forged = tampered.clone();
        forged.headers = sdk.sign(judge, &format!("{secret}{secret}"), &body, None).await.unwrap_or_default();
        if !forged.headers.is_empty() {
            let answer = send(&client(), &stack.url(source), &forged).await?;
            assert_eq!(answer.status, 401, "{judge} with another secret: {answer:?}");
        }
    }
    stack.finish().await
}

/// Libraries that sign what they would receive: the preset of the same name, and a secret of its form.
const SIGNERS: [(&str, &str); 18] = [
    ("twilio", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
    ("adyen", "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"),
    ("braintree", "integration_public_key:integration_private_key"),
    ("notion", "secret_tidegateNotionVerificationToken1"),
    ("livekit", "tidegate-livekit-secret-0001"),
    ("hubspot", "b1d2c3e4-tidegate-hubspot-secret-1"),
    ("retell", "tidegate-retell-secret-0001"),
    ("pusher", "tidegate-pusher-secret-0001"),
    ("smartcar", "tidegate-smartcar-secret-0001"),
    ("shopify", "shpss_tidegate_test_secret_1"),
    ("square", "tidegate-square-signature-key-1"),
    ("mux", "tidegate-mux-secret-0001"),
    ("finch", "dGlkZWdhdGUtZmluY2gtc2VjcmV0LTAwMDEuLi4uLi4="),
    ("cloudinary", "tidegate-cloudinary-secret-0001"),
    ("modern-treasury", "tidegate-modern-treasury-secret-0001"),
    ("sanity", "tidegate-sanity-webhook-secret-1"),
    ("workos", "tidegateWorkOSSecret1aaaaaa"),
    ("coinbase-commerce", "4b1c2d3e-5f60-4718-8293-a4b5c6d7e8f9"),
];
/// The same for libraries of Python.
const PYTHON_SIGNERS: [(&str, &str); 2] =
    [("slack", "tidegate-slack-signing-secret-01"), ("paddle", "pdl_ntfset_01tidegate0000000000000000_test1secret")];

async fn what_the_libraries_of_other_vendors_sign_is_accepted(backend: Backend) -> Result<()> {
    let signers = SIGNERS.iter().chain(&PYTHON_SIGNERS);
    let source = |(name, secret): &(&str, &str)| {
        format!("[[source]]\nname = {name:?}\nprovider = {name:?}\nsecrets = [{secret:?}]\n")
    };
    let sources: String = signers.clone().map(source).collect();
    let public = "[ingest]\npublic_url = \"https://hooks.example.com\"\n";
    let stack = Stack::start(backend, &format!("{public}{sources}{ARCHIVE}")).await?;
    let (mut node, mut python) = (Sdk::start()?, Sdk::start_python()?);
    for (name, secret) in SIGNERS {
        the_door_agrees_with(&mut node, &stack, name, secret).await?;
    }
    for (name, secret) in PYTHON_SIGNERS {
        the_door_agrees_with(&mut python, &stack, name, secret).await?;
    }
    stack.until_number("SELECT COUNT(*) FROM events", signers.count().try_into()?, SOON).await?;
    stack.finish().await
}

/// What the library signs is accepted, and neither the same with one byte changed nor what it signs with another secret.
async fn the_door_agrees_with(sdk: &mut Sdk, stack: &Stack, name: &str, secret: &str) -> Result<()> {
    const ADYEN: &str = r#"{"notificationItems":[{"NotificationRequestItem":{"amount":{"currency":"EUR","value":1130},
        "eventCode":"AUTHORISATION","eventDate":"2026-11-02T10:59:58+01:00","merchantAccountCode":"TestMerchant",
        "merchantReference":"order 1","pspReference":"7914073381342284","success":"true"}}]}"#;
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
    assert_eq!(refused.status, 401, "{name}, tampered: {refused:?}");
    let other = secret.replace(['e', 'E'], "f");
    assert_ne!(other, secret);
    let (query, forged) = sdk.make(name, &other, &url, body).await?;
    let refused = send(&client(), &format!("{}{query}", stack.url(name)), &forged).await?;
    assert_eq!(refused.status, 401, "{name}, with another secret: {refused:?}");
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
    for (judge, preset, secret) in [
        ("stripe", "stripe", SECRET),
        ("standardwebhooks", "standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("svix", "standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("octokit", "github", SECRET),
    ] {
        let scheme = tidegate_shared::provider::preset(preset).context("a preset")?.scheme();
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
const VECTORS: (usize, usize) = (2437, 4);

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
    let Signed { mut headers, body } = vector.signed()?;
    if vector.provider == "github" {
        // Vectors are of signatures; an id that their headers lack is not what they are about.
        headers.entry("x-github-delivery").or_insert(HeaderValue::from_static("delivery"));
    }
    let method = vector.method.as_deref().unwrap_or("POST").parse()?;
    let target = vector.target()?;
    let received = Received { method: &method, target: &target, headers: &headers, body: &body };
    let outcome = match verdict(&source.verifier, &received, vector)? {
        Ok(identity) => match (&vector.id, &vector.event_type) {
            (Some(id), _) if id != identity.id.as_str() => return Ok(Judged::Outcome(format!("valid, with id {id}"))),
            (_, Some(event_type)) if event_type != identity.event_type.as_str() => {
                return Ok(Judged::Outcome(format!("valid, with type {event_type}")));
            }
            _ => "valid",
        },
        // Where the id is signed, its absence is the sender's mistake; elsewhere vectors just do not have one.
        Err(VerifyError::MissingEventId) if source.scheme.template.has_id() || vector.id.is_some() => {
            "missing_event_id"
        }
        Err(VerifyError::MissingEventId) if vector.expect == "missing_event_id" => "missing_event_id",
        Err(VerifyError::MissingEventId) => "valid",
        Err(VerifyError::InvalidSignature) => "invalid_signature",
        Err(VerifyError::MissingSignature { .. }) => "missing_signature",
        Err(VerifyError::StaleTimestamp { .. }) => "stale_timestamp",
        Err(VerifyError::MalformedRequest { .. }) => "malformed_request",
        Err(VerifyError::Duplicate { .. }) => "duplicate_header",
    };
    Ok(Judged::Outcome(outcome.to_owned()))
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

fn configuration_with(vector: &Vector, secrets: &str) -> String {
    let has_public_key = vector.secrets.iter().any(|secret| secret.starts_with("whpk_"));
    let provider = match vector.provider.as_str() {
        "standard-webhooks" | "svix" if has_public_key => "standard-webhooks-ed25519",
        "svix" => "standard-webhooks",
        provider => provider,
    };
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
