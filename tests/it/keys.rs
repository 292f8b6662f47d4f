//! Keys that requests name and that their providers keep, and what a confirmation calls: by TLS, at the providers' own
//! hosts, on an internet of the tests'.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::future::{join_all, try_join};
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};
use tidegate_tests::fixture::{self, Vector, vector};
use tidegate_tests::internet::Internet;
use tidegate_tests::sdk::Sdk;
use tidegate_tests::sender::{Answer, Signed, client, send};
use tidegate_tests::stack::{Backend, SOON, Stack};
use tidegate_tests::upstream::{Asked, Does, Upstream};

use crate::conformance::Signer;

const ARCHIVE: &str = "[[handler]]\nname = \"archive\"\non = [\"**\"]\nrun = \"archive\"\nretry = [\"1s\"]\n";
/// The certificate that the vectors of SNS name, and others that are not there.
const CERTIFICATE: &str = "9c6465fa7f48f5cacd23014631ec1136";
const BROKEN: &str = "00000000000000000000000000000000";
const MOVED: &str = "11111111111111111111111111111111";

fn certificate_path(name: &str) -> String {
    format!("/SimpleNotificationService-{name}.pem")
}

/// The request with another certificate named, which SNS does not sign.
fn with_certificate(signed: &Signed, name: &str) -> Signed {
    let body = String::from_utf8_lossy(&signed.body).replace(CERTIFICATE, name);
    Signed { headers: signed.headers.clone(), body: body.into_bytes() }
}

fn key_of(vector: &Vector) -> Result<String> {
    vector.keys.values().next().cloned().context("a key")
}

async fn post(stack: &Stack, source: &str, signed: &Signed) -> Result<(u16, String)> {
    let answer: Answer = send(&client(), &stack.url(source), signed).await?;
    Ok((answer.status, answer.outcome().to_owned()))
}

fn paths(api: &Upstream) -> Vec<String> {
    api.asked().into_iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
}

fn host(asked: &Asked) -> &str {
    asked.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_sns_are_got_once_and_its_confirmations_are_called() -> Result<()> {
    let name = "keys::certificates_of_sns_are_got_once_and_its_confirmations_are_called";
    let Some(internet) = Internet::enter(name, &["sns.eu-west-1.amazonaws.com"])? else { return Ok(()) };
    let notification = vector("aws-sns.json", "notification, version 2")?;
    let certificate = key_of(&notification)?;
    let api = Upstream::start_on(internet.listen().await?, move |asked| {
        let is = |name| asked.path == certificate_path(name);
        match () {
            () if host(asked) != "sns.eu-west-1.amazonaws.com" => Does::status(421),
            () if is(CERTIFICATE) => Does::text(200, &certificate),
            () if is(MOVED) => Does::status(302).with("location", "https://sns.eu-west-1.amazonaws.com/elsewhere"),
            () if asked.path.starts_with("/?Action=ConfirmSubscription") => Does::status(200),
            () => Does::status(500),
        }
    })?;
    let topic = notification.setting.as_deref().context("a topic")?;
    let source = format!("[[source]]\nname = \"sns\"\nprovider = \"aws-sns\"\nsetting = {topic:?}\n");
    let stack = Stack::start(Backend::Embedded, &format!("{source}{ARCHIVE}")).await?;
    let notification = notification.signed()?;

    // A key that cannot be had is ours to mend: the sender keeps its event. Its place is not asked again at once.
    for place in [BROKEN, MOVED] {
        let signed = with_certificate(&notification, place);
        for _ in 0..2 {
            assert_eq!(post(&stack, "sns", &signed).await?, (503, "unavailable".to_owned()), "{place}");
        }
    }
    let failed: Vec<_> = [BROKEN, MOVED].iter().map(|place| format!("GET {}", certificate_path(place))).collect();
    assert_eq!(paths(&api), failed, "once each, and no redirect is followed");

    // Who comes while a key is on its way waits for it.
    let answers = join_all((0..16).map(|_| post(&stack, "sns", &notification))).await;
    let answers: Vec<_> = answers.into_iter().collect::<Result<_>>()?;
    let accepted = answers.iter().filter(|(status, outcome)| (*status, outcome.as_str()) == (200, "accepted")).count();
    let duplicates = answers.iter().filter(|(_, outcome)| outcome == "duplicate").count();
    assert_eq!((accepted, duplicates), (1, 15), "{answers:?}");
    let got = api.asked().len();
    assert!((3..=6).contains(&got), "at most four fetches at once: {:?}", paths(&api));

    // From now on it is there: nothing true, false or misleading makes the door ask again.
    let vectors = fixture::vectors("aws-sns.json")?;
    let others = vectors.iter().filter(|vector| vector.provider == "aws-sns");
    let others = others.filter(|vector| vector.name != "China region" && vector.name != "subscription confirmation");
    let mut tried = (0, 0);
    for vector in others {
        let (status, outcome) = post(&stack, "sns", &vector.signed()?).await?;
        if vector.expect == "valid" {
            assert_eq!(status, 200, "{}: {outcome}", vector.name);
            tried.0 += 1;
        } else {
            let expected = if vector.expect == "missing_signature" { 400 } else { 401 };
            assert_eq!((status, outcome), (expected, vector.expect.clone()), "{}", vector.name);
            tried.1 += 1;
        }
    }
    assert!(tried.0 >= 7 && tried.1 >= 18, "{tried:?}");
    assert_eq!(api.asked().len(), got, "{:?}", paths(&api));

    // The subscription is confirmed by a call to where the signed text says, and is no event.
    let confirmation = vector("aws-sns.json", "subscription confirmation")?.signed()?;
    let body: Value = serde_json::from_slice(&confirmation.body)?;
    let url = url::Url::parse(body["SubscribeURL"].as_str().context("a URL")?)?;
    let events = stack.number("SELECT COUNT(*) FROM events").await?;
    assert_eq!(post(&stack, "sns", &confirmation).await?.0, 200);
    let called = api.asked().pop().context("a call")?;
    assert_eq!((called.method, called.path), (Method::GET, format!("/?{}", url.query().context("a query")?)));
    assert_eq!((api.asked().len(), stack.number("SELECT COUNT(*) FROM events").await?), (got + 1, events));
    // Where that fails SNS must try again.
    api.always(|_| Does::status(500));
    assert_eq!(post(&stack, "sns", &confirmation).await?.0, 503);
    assert_eq!(api.asked().len(), got + 2);
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_paypal_are_got_from_its_host() -> Result<()> {
    let name = "keys::certificates_of_paypal_are_got_from_its_host";
    let Some(internet) = Internet::enter(name, &["api.paypal.com"])? else { return Ok(()) };
    let sale = vector("paypal.json", "sale completed")?;
    let certificate = key_of(&sale)?;
    let api = Upstream::start_on(internet.listen().await?, move |_| Does::text(200, &certificate))?;
    let setting = sale.setting.as_deref().context("a webhook's id")?;
    let source = format!("[[source]]\nname = \"paypal\"\nprovider = \"paypal\"\nsetting = {setting:?}\n");
    let stack = Stack::start(Backend::Embedded, &format!("{source}{ARCHIVE}")).await?;
    let signed = sale.signed()?;
    let mut elsewhere = signed.clone();
    elsewhere.headers.insert("paypal-cert-url", HeaderValue::from_static("https://api.paypal.com.example.org/CERT-1"));
    assert_eq!(post(&stack, "paypal", &elsewhere).await?, (401, "invalid_signature".to_owned()));
    assert!(api.asked().is_empty(), "{:?}", paths(&api));
    let tampered = Signed { body: [&signed.body[..], b" "].concat(), ..signed.clone() };
    assert_eq!(post(&stack, "paypal", &tampered).await?, (401, "invalid_signature".to_owned()));
    assert_eq!(post(&stack, "paypal", &signed).await?, (200, "accepted".to_owned()));
    let other = vector("paypal.json", "order approved, beyond ASCII")?.signed()?;
    assert_eq!(post(&stack, "paypal", &other).await?, (200, "accepted".to_owned()));
    assert_eq!(paths(&api), ["GET /v1/notifications/certs/CERT-360caa42-fca2a594-5edc0ebc"]);
    stack.until_number("SELECT COUNT(*) FROM inbox", 2, SOON).await?;
    stack.finish().await
}

/// Plaid's libraries sign nothing: its documentation does it by this one.
pub(crate) static PLAID: Signer = Signer::new("jose", "plaid", PLAID_KEY);

/// A key on P-256 of the tests', with its secret half.
const PLAID_KEY: &str = r#"{"kty":"EC","x":"hG3kenYAk9CwKm8aVlgH7X37LywEz4xpnaNxB5eSTUc","y":"5RX7dWWpC-VvfEF3U2e8HYl-Jimd1Q-qU2Glrta8bAU","crv":"P-256","d":"V4Z3tLsRLDMYb0ysNSqyMZ-i4NFLSIIGanEajKzsyTY","kid":"tidegate-plaid-key-1"}"#;

/// Another one that says it was the first.
const OTHER_KEY: &str = r#"{"kty":"EC","x":"ffrhmH-Hl0K1xrGAHC3IuqFNw6M_C-T0WKMDPfbvHYQ","y":"LWtWhhWkdhgGSEDzCoNjuluvQCBd-sDb2JwUerf9cFs","crv":"P-256","d":"_NrhRf6VGfMr9a72Oypx0rt0l4q-Naz547ksMWxBeaU","kid":"tidegate-plaid-key-1"}"#;

/// What Plaid's API tells of the key.
fn plaid_answer() -> Result<Value> {
    let mut key: Value = serde_json::from_str(PLAID.secret)?;
    key.as_object_mut().context("an object")?.remove("d");
    Ok(json!({ "key": key }))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_plaid_are_asked_for_with_the_accounts_secret() -> Result<()> {
    let name = "keys::keys_of_plaid_are_asked_for_with_the_accounts_secret";
    let Some(internet) = Internet::enter(name, &["production.plaid.com"])? else { return Ok(()) };
    let answer = plaid_answer()?;
    let api = Upstream::start_on(internet.listen().await?, move |_| Does::json(&answer))?;
    let source = "[[source]]\nname = \"plaid\"\nprovider = \"plaid\"\nsecrets = [\"a-client:a-secret-of-its-api\"]\n";
    let stack = Stack::start(Backend::Embedded, &format!("{source}{ARCHIVE}")).await?;
    let mut sdk = Sdk::start()?;
    let body = r#"{"webhook_type": "TRANSACTIONS", "webhook_code": "SYNC_UPDATES_AVAILABLE"}"#;
    let (_, signed) = sdk.make(PLAID.name, PLAID.secret, "", body).await?;
    let tampered = Signed { body: [&signed.body[..], b" "].concat(), ..signed.clone() };
    assert_eq!(post(&stack, "plaid", &tampered).await?, (401, "invalid_signature".to_owned()));
    let (_, forged) = sdk.make(PLAID.name, OTHER_KEY, "", body).await?;
    assert_eq!(post(&stack, "plaid", &forged).await?, (401, "invalid_signature".to_owned()));
    for _ in 0..2 {
        assert_eq!(post(&stack, "plaid", &signed).await?, (200, "accepted".to_owned()));
    }
    let [asked] = &api.asked()[..] else { panic!("{:?}", paths(&api)) };
    assert_eq!((&asked.method, asked.path.as_str()), (&Method::POST, "/webhook_verification_key/get"));
    let question: Value = serde_json::from_slice(&asked.body)?;
    let expected =
        json!({ "client_id": "a-client", "secret": "a-secret-of-its-api", "key_id": "tidegate-plaid-key-1" });
    assert_eq!(question, expected);
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_microsoft_are_got_for_notifications_with_resource_data() -> Result<()> {
    let name = "keys::keys_of_microsoft_are_got_for_notifications_with_resource_data";
    let Some(internet) = Internet::enter(name, &["login.microsoftonline.com"])? else { return Ok(()) };
    let lasting = vector("microsoft-graph.json", "resource data: a token that is fresh for long")?;
    let set = key_of(&lasting)?;
    let api = Upstream::start_on(internet.listen().await?, |_| Does::status(500))?;
    let (secrets, setting) = (&lasting.secrets, lasting.setting.as_deref().context("an application")?);
    let source =
        |name: &str| format!("[[source]]\nname = {name:?}\nprovider = \"microsoft-graph\"\nsecrets = {secrets:?}\n");
    let sources = format!("{}setting = {setting:?}\n{}", source("rich"), source("plain"));
    let stack = Stack::start(Backend::Embedded, &format!("{sources}{ARCHIVE}")).await?;
    let signed = lasting.signed()?;
    let accepted = (202, "-".to_owned());

    // Nobody is asked by a handshake, by a source without the setting, or for who does not know the secret.
    let handshake = format!("{}?validationToken=a", stack.url("rich"));
    let answer = send(&client(), &handshake, &Signed { body: Vec::new(), ..signed.clone() }).await?;
    assert_eq!(answer.status, 200);
    assert_eq!(post(&stack, "plain", &signed).await?, accepted);
    let stranger = String::from_utf8_lossy(&signed.body).replace(&secrets[0], "a secret of a stranger's");
    let stranger = Signed { body: stranger.into_bytes(), ..signed.clone() };
    assert_eq!(post(&stack, "rich", &stranger).await?, (401, "invalid_signature".to_owned()));
    let without = vector("microsoft-graph.json", "no tokens")?.signed()?;
    assert_eq!(post(&stack, "rich", &without).await?, (400, "missing_signature".to_owned()));
    assert!(api.asked().is_empty(), "{:?}", paths(&api));

    // A key that cannot be had is no fault of the sender's, and stands in no other key's way.
    let other = vector("microsoft-graph.json", "named as another key of the set")?.signed()?;
    assert_eq!(post(&stack, "rich", &other).await?, (503, "unavailable".to_owned()));
    api.always(move |_| Does::text(200, &set));
    for _ in 0..2 {
        assert_eq!(post(&stack, "rich", &signed).await?, accepted);
    }
    let elsewhere = vector("microsoft-graph.json", "for another application")?.signed()?;
    assert_eq!(post(&stack, "rich", &elsewhere).await?, (401, "invalid_signature".to_owned()));
    assert_eq!(paths(&api), ["GET /common/discovery/v2.0/keys"; 2]);
    assert!(api.asked().iter().all(|asked| host(asked) == "login.microsoftonline.com"));
    stack.finish().await
}

/// What it is called, and what the host does.
type Failure = (&'static str, fn() -> Does);

/// What keeps a key from being had, wherever it is.
const FAILURES: [Failure; 5] = [
    ("it is not there", || Does::status(404)),
    ("its host is broken", || Does::status(500)),
    ("something else is there", Does::garbage),
    ("it breaks off", Does::breaks),
    ("its host hangs", Does::hangs),
];

/// How soon the door must answer though a host of keys does not: it waits for some seconds, and the machine is busy.
const IN_TIME: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_had_is_no_fault_of_the_sender() -> Result<()> {
    let name = "keys::a_key_that_cannot_be_had_is_no_fault_of_the_sender";
    let Some(internet) = Internet::enter(name, &["api.paypal.com", "production.plaid.com"])? else { return Ok(()) };
    let sale = vector("paypal.json", "sale completed")?;
    let api = Upstream::start_on(internet.listen().await?, |_| Does::status(500))?;
    let setting = sale.setting.as_deref().context("a webhook's id")?;
    let sources = format!(
        "[[source]]\nname = \"paypal\"\nprovider = \"paypal\"\nsetting = {setting:?}\n\
         [[source]]\nname = \"plaid\"\nprovider = \"plaid\"\nsecrets = [\"a-client:a-secret-of-its-api\"]\n"
    );
    let stack = Stack::start(Backend::Embedded, &format!("{sources}{ARCHIVE}")).await?;
    let (mut sdk, signed) = (Sdk::start()?, sale.signed()?);
    let both = async |requests: &(Signed, Signed)| {
        try_join(post(&stack, "paypal", &requests.0), post(&stack, "plaid", &requests.1)).await
    };

    let unavailable = (503, "unavailable".to_owned());
    for (number, (why, failure)) in FAILURES.into_iter().enumerate() {
        api.always(move |_| failure());
        let requests = with_keys(&mut sdk, &signed, number).await?;
        // The second time the places are not asked.
        for _ in 0..2 {
            let begun = Instant::now();
            assert_eq!(both(&requests).await?, (unavailable.clone(), unavailable.clone()), "{why}");
            assert!(begun.elapsed() < IN_TIME, "{why}: after {:?}", begun.elapsed());
        }
        assert_eq!(api.asked().len(), 2 * (number + 1), "{why}: {:?}", paths(&api));
    }

    // The senders have kept what was not taken; as soon as a key can be had, it is.
    let (certificate, answer) = (key_of(&sale)?, plaid_answer()?);
    let key_of_host = move |asked: &Asked| {
        if host(asked) == "api.paypal.com" { Does::text(200, &certificate) } else { Does::json(&answer) }
    };
    api.always(key_of_host);
    let accepted = (200, "accepted".to_owned());
    let requests = with_keys(&mut sdk, &signed, FAILURES.len()).await?;
    assert_eq!(both(&requests).await?, (accepted.clone(), accepted));
    stack.until_number("SELECT COUNT(*) FROM inbox", 2, SOON).await?;
    stack.finish().await
}

/// PayPal's request and one of Plaid's, with keys that `number` tells from others: PayPal does not sign where its own is.
async fn with_keys(sdk: &mut Sdk, paypal: &Signed, number: usize) -> Result<(Signed, Signed)> {
    let mut paypal = paypal.clone();
    let certificate = format!("https://api.paypal.com/v1/notifications/certs/CERT-{number}");
    paypal.headers.insert("paypal-cert-url", certificate.parse()?);
    let key = PLAID.secret.replace("tidegate-plaid-key-1", &format!("tidegate-plaid-key-{number}"));
    let body = r#"{"webhook_type": "TRANSACTIONS", "webhook_code": "SYNC_UPDATES_AVAILABLE"}"#;
    let (_, plaid) = sdk.make(PLAID.name, &key, "", body).await?;
    Ok((paypal, plaid))
}
