//! What providers ask before they send, and what they want to hear afterwards.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use rcgen::{KeyPair, PKCS_ED25519, SigningKey as _};
use serde_json::json;
use tidegate_shared::config::Config;
use tidegate_shared::signature::{Judgement, Received};
use tidegate_tests::fixture;
use tidegate_tests::sender::{SECRET, Signed, client, hmac_hex, send};
use tidegate_tests::stack::{Backend, SOON, Stack};

use crate::on_both_backends;

on_both_backends!(
    what_a_provider_asks_is_answered_and_is_no_event,
    a_handshake_that_proves_nothing_is_refused,
    what_is_signed_for_anyone_proves_no_event,
    a_secret_that_is_offered_is_kept_and_never_replaced,
    each_provider_hears_what_it_wants_to_hear,
);

const ARCHIVE: &str = "[[handler]]\nname = \"archive\"\non = [\"**\"]\nrun = \"archive\"\nretry = [\"1s\"]\n";

/// A source for each kind of handshake that needs no key of its provider's; Discord's is [`with_discord`].
const SOURCES: &str = r#"
[ingest]
public_url = "https://hooks.example.com"
[[source]]
name = "slack"
provider = "slack"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "zoom"
provider = "zoom"
secrets = ["another secret, live before it", "tidegate-test-secret-of-32-bytes"]
[[source]]
name = "whatsapp"
provider = "whatsapp"
secrets = ["tidegate-test-secret-of-32-bytes"]
verify_token = "the word that Meta was told"
[[source]]
name = "x"
provider = "x"
secrets = ["a consumer secret of an app"]
[[source]]
name = "dropbox"
provider = "dropbox"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "trello"
provider = "trello"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "okta"
provider = "okta"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "azure"
provider = "azure-event-grid"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "graph"
provider = "microsoft-graph"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "braintree"
provider = "braintree"
secrets = ["integration_public_key:integration_private_key"]
[[source]]
name = "xero"
provider = "xero"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "sign"
provider = "dropbox-sign"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "twitch"
provider = "twitch"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "smartcar"
provider = "smartcar"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "nylas"
provider = "nylas"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "cloudevents"
provider = "cloudevents"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "own"
provider = "hmac"
secrets = ["tidegate-test-secret-of-32-bytes"]
[source.signature]
header = "X-Own-Signature"
signed = "{body}"
id = ["json:/id"]
success = "no-content"
[[source.signature.handshake]]
method = "GET"
when = ["query:are_you_there"]
proof = "none"
answer = "json yes=query:are_you_there"
"#;

/// The sources, and one of the application that has `key`.
fn with_discord(key: &KeyPair) -> String {
    let public = hex::encode(key.public_key_raw());
    format!("{SOURCES}[[source]]\nname = \"discord\"\nprovider = \"discord\"\nsecrets = [{public:?}]\n{ARCHIVE}")
}

fn key_on_ed25519() -> Result<KeyPair> {
    Ok(KeyPair::generate_for(&PKCS_ED25519)?)
}

fn request(pairs: &[(&'static str, &str)], body: impl Into<Vec<u8>>) -> Signed {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header's value"))
    };
    Signed { headers: pairs.iter().map(pair).collect(), body: body.into() }
}

/// Signs as Slack and Zoom do.
fn v0(signature: &'static str, timestamp: &'static str, body: &str) -> Signed {
    let now = Timestamp::now().as_second().to_string();
    let mac = hmac_hex(SECRET, &[b"v0:", now.as_bytes(), b":", body.as_bytes()]);
    request(&[(signature, &format!("v0={mac}")), (timestamp, &now)], body)
}

fn slack(body: &str) -> Signed {
    v0("x-slack-signature", "x-slack-request-timestamp", body)
}

fn zoom(body: &str) -> Signed {
    v0("x-zm-signature", "x-zm-request-timestamp", body)
}

fn base64_of(hex_mac: &str) -> String {
    STANDARD.encode(hex::decode(hex_mac).expect("hexadecimal digits"))
}

fn xero(body: &str) -> Signed {
    request(&[("x-xero-signature", &base64_of(&hmac_hex(SECRET, &[body.as_bytes()])))], body)
}

fn smartcar(body: &str) -> Signed {
    request(&[("sc-signature", &hmac_hex(SECRET, &[body.as_bytes()]))], body)
}

/// Signs as Twitch does, a message of this type.
fn twitch(message_type: &str, body: &str) -> Signed {
    let (id, now) = ("e76c6bd4-55c9-4987-8304-da1588d8988b", Timestamp::now().to_string());
    let signature = format!("sha256={}", hmac_hex(SECRET, &[id.as_bytes(), now.as_bytes(), body.as_bytes()]));
    let headers = [
        ("twitch-eventsub-message-id", id),
        ("twitch-eventsub-message-timestamp", &now),
        ("twitch-eventsub-message-type", message_type),
        ("twitch-eventsub-message-signature", &signature),
    ];
    request(&headers, body)
}

/// Signs as Discord does.
fn discord(key: &KeyPair, body: &str) -> Result<Signed> {
    let now = Timestamp::now().as_second().to_string();
    let signature = key.sign(&[now.as_bytes(), body.as_bytes()].concat())?;
    let signature = hex::encode(signature);
    Ok(request(&[("x-signature-ed25519", &signature), ("x-signature-timestamp", &now)], body))
}

/// Discord's PINGs: what an application is asked at its URL for interactions, and at the one for events.
const PINGS: [(&str, (u16, &str, &str)); 2] = [
    (r#"{"application_id":"1","id":"2","token":"t","type":1,"version":1}"#, (200, JSON, r#"{"type":1}"#)),
    (r#"{"version":1,"application_id":"1","type":0}"#, (204, "", "")),
];

/// What came back: status, content type, body.
async fn ask(stack: &Stack, method: Method, path: &str, request: &Signed) -> Result<(u16, String, String, HeaderMap)> {
    let url = stack.url(path);
    let asked = client().request(method, url).headers(request.headers.clone()).body(request.body.clone());
    let answer = asked.send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let content_type = headers.get("content-type").map(|value| value.to_str().unwrap_or("?").to_owned());
    ensure!(headers.contains_key("x-request-id"), "every answer has a request id");
    Ok((status, content_type.unwrap_or_default(), answer.text().await?, headers))
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// A handshake, and what answers it: status, content type, body.
type Question = (Method, &'static str, Signed, (u16, &'static str, String));

/// Questions that prove themselves.
fn proven_questions(key: &KeyPair) -> Result<Vec<Question>> {
    let token = ("authorization", SECRET);
    let challenge = r#"{"type":"url_verification","token":"t","challenge":"3eZbrw1aB"}"#;
    let plain = "qgg8vlvZRS6UYooatFL8Aw";
    let zoomed = format!(r#"{{"event":"endpoint.url_validation","payload":{{"plainToken":"{plain}"}}}}"#);
    let encrypted = hmac_hex(SECRET, &[plain.as_bytes()]);
    let zoom_answer = format!(r#"{{"encryptedToken":"{encrypted}","plainToken":"{plain}"}}"#);
    let validation = r#"[{"id":"1","data":{"validationCode":"512d38b6"}}]"#;
    let validation = request(&[("aeg-event-type", "SubscriptionValidation"), token], validation);
    let okta = request(&[("x-okta-verification-challenge", "ZQ0yZ"), token], "");
    let meta = "whatsapp?hub.mode=subscribe&hub.verify_token=the+word+that+Meta+was+told&hub.challenge=1158201444";
    let intent = xero(r#"{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S"}"#);
    let challenged = r#"{"challenge":"pogchamp-kappa-360noscope-vohiyo","subscription":{"type":"channel.follow"}}"#;
    let challenged = twitch("webhook_callback_verification", challenged);
    let verify = r#"{"eventType":"VERIFY","data":{"challenge":"3a5c8f72-e6d9-4b1a-9f2e-8c7d6a5b4e3f"}}"#;
    let hashed = hmac_hex(SECRET, &[b"3a5c8f72-e6d9-4b1a-9f2e-8c7d6a5b4e3f"]);
    let verified = format!(r#"{{"challenge":"{hashed}"}}"#);
    let mut questions = vec![
        (Method::POST, "slack", slack(challenge), (200, JSON, r#"{"challenge":"3eZbrw1aB"}"#.to_owned())),
        (Method::POST, "zoom", zoom(&zoomed), (200, JSON, zoom_answer)),
        (Method::GET, meta, request(&[], ""), (200, TEXT, "1158201444".to_owned())),
        (Method::GET, "okta", okta, (200, JSON, r#"{"verification":"ZQ0yZ"}"#.to_owned())),
        (Method::POST, "azure", validation, (200, JSON, r#"{"validationResponse":"512d38b6"}"#.to_owned())),
        (Method::POST, "xero", intent, (200, "", String::new())),
        (Method::POST, "twitch", challenged, (200, TEXT, "pogchamp-kappa-360noscope-vohiyo".to_owned())),
        (Method::POST, "smartcar", smartcar(verify), (200, JSON, verified)),
    ];
    for (ping, (status, content_type, body)) in PINGS {
        let ping = discord(key, ping)?;
        questions.push((Method::POST, "discord", ping, (status, content_type, body.to_owned())));
    }
    Ok(questions)
}

/// Questions that anyone may ask.
fn open_questions() -> Vec<Question> {
    let nothing = || request(&[], "");
    let ssl_check = request(&[("content-type", "application/x-www-form-urlencoded")], "token=t&ssl_check=1");
    let origin = |origin: &str| request(&[("webhook-request-origin", origin)], "");
    let graph = "graph?validationToken=Validation%3A+Testing+client+application+reachability";
    let graph_answer = "Validation: Testing client application reachability".to_owned();
    // What npm `twitter-autohook` 1.7.2 computes, and what npm `braintree` 3.40.0 answers.
    let x_answer = r#"{"response_token":"sha256=JbTCkMKNlHSWrYGGNMAYfpYyMt/dSjpJBc6GyW/IlcQ="}"#.to_owned();
    let braintree = "braintree?bt_challenge=20f9f8ed05f77439fe955c977e4c8a53";
    let braintree_answer = "integration_public_key|d9b899556c966b3f06945ec21311865d35df3ce4".to_owned();
    vec![
        (Method::POST, "slack", ssl_check, (200, "", String::new())),
        (Method::GET, "x?crc_token=NDNmNDRlNzMtYjg5Zi00", nothing(), (200, JSON, x_answer)),
        (Method::GET, "dropbox?challenge=a%20%3Cb%3E", nothing(), (200, TEXT, "a <b>".to_owned())),
        (Method::HEAD, "trello", nothing(), (200, "", String::new())),
        (Method::OPTIONS, "azure", origin("eventgrid.azure.net"), (200, "", String::new())),
        (Method::OPTIONS, "cloudevents", origin("eventemitter.example.com"), (200, "", String::new())),
        (Method::GET, "nylas?challenge=bc609b38-c81f-47fb", nothing(), (200, TEXT, "bc609b38-c81f-47fb".to_owned())),
        (Method::POST, graph, nothing(), (200, TEXT, graph_answer)),
        (Method::GET, braintree, nothing(), (200, TEXT, braintree_answer)),
        (Method::GET, "own?are_you_there=%22yes%22", nothing(), (200, JSON, r#"{"yes":"\"yes\""}"#.to_owned())),
    ]
}

async fn what_a_provider_asks_is_answered_and_is_no_event(backend: Backend) -> Result<()> {
    let key = key_on_ed25519()?;
    let stack = Stack::start(backend, &with_discord(&key)).await?;
    let questions = proven_questions(&key)?.into_iter().chain(open_questions());
    for (method, path, request, (status, content_type, body)) in questions {
        let answer = ask(&stack, method.clone(), path, &request).await?;
        assert_eq!((answer.0, &*answer.1, &answer.2), (status, content_type, &body), "{method} {path}: {answer:?}");
        if content_type == TEXT {
            assert_eq!(answer.3["x-content-type-options"], "nosniff", "{path}");
        }
        if method == Method::OPTIONS {
            assert_eq!(answer.3["webhook-allowed-origin"], request.headers["webhook-request-origin"]);
            assert_eq!(answer.3["webhook-allowed-rate"], "*");
        }
    }
    for (method, path) in [(Method::GET, "own"), (Method::HEAD, "slack"), (Method::PUT, "slack")] {
        assert_eq!(ask(&stack, method, path, &request(&[], "")).await?.0, 405, "{path}");
    }
    assert!(stack.list("/v1/events").await?.is_empty());
    stack.finish().await
}

async fn a_handshake_that_proves_nothing_is_refused(backend: Backend) -> Result<()> {
    let key = key_on_ed25519()?;
    let stack = Stack::start(backend, &with_discord(&key)).await?;
    let challenge = r#"{"type":"url_verification","challenge":"3eZbrw1aB"}"#;
    let mut forged = slack(challenge);
    forged.body = challenge.replace("3eZ", "4eZ").into_bytes();
    let nothing = request(&[], "");
    let okta = request(&[("x-okta-verification-challenge", "ZQ0yZ"), ("authorization", "another")], "");
    let azure = request(&[("aeg-event-type", "SubscriptionValidation")], r#"[{"data":{"validationCode":"512d38b6"}}]"#);
    let wrong_intent = Signed { body: br#"{"events":[ ]}"#.to_vec(), ..xero(r#"{"events":[]}"#) };
    let challenge_of_another = Signed {
        body: br#"{"challenge":"3eZbrw1aB"}"#.to_vec(),
        ..twitch("webhook_callback_verification", r#"{"challenge":"4eZbrw1aB"}"#)
    };
    let verify = r#"{"eventType":"VERIFY","data":{"challenge":"3eZbrw1aB"}}"#;
    let verify_of_another = Signed { body: verify.into(), ..smartcar(&verify.replace("3eZ", "4eZ")) };
    for (method, path, request, expected) in [
        (Method::POST, "slack", forged, 401),
        (Method::POST, "slack", request(&[], challenge), 400),
        (Method::GET, "whatsapp?hub.mode=subscribe&hub.verify_token=guessed&hub.challenge=1", nothing.clone(), 401),
        (Method::GET, "whatsapp?hub.mode=subscribe&hub.challenge=1", nothing.clone(), 401),
        (Method::GET, "okta", okta, 401),
        (Method::POST, "azure", azure, 400),
        (Method::POST, "xero", wrong_intent, 401),
        (Method::POST, "twitch", challenge_of_another, 401),
        (Method::POST, "smartcar", verify_of_another, 401),
        // A text that could be more than a challenge is not signed, a control character not sent back.
        (Method::GET, "x?crc_token=%7B%22a%22%3A1%7D", nothing.clone(), 400),
        (Method::GET, &format!("x?crc_token={}", "a".repeat(257)), nothing.clone(), 400),
        (Method::GET, "braintree?bt_challenge=20f9f8ed05f77439fe955c977e4c8a5g", nothing.clone(), 400),
        (Method::GET, "dropbox?challenge=a%0Ab", nothing.clone(), 400),
        (Method::GET, "dropbox?challenge=a&challenge=b", nothing.clone(), 400),
    ] {
        let answer = ask(&stack, method.clone(), path, &request).await?;
        assert_eq!(answer.0, expected, "{method} {path}: {answer:?}");
        assert!(!answer.2.contains("3eZbrw1aB") && !answer.2.contains("512d38b6"), "{answer:?}");
    }
    // Discord tries whether an application refuses what is not signed by its key, before it sends it anything.
    let other_key = key_on_ed25519()?;
    for (ping, _) in PINGS {
        let forged = discord(&other_key, ping)?;
        let tampered = Signed { body: ping.replace("\"1\"", "\"3\"").into(), ..discord(&key, ping)? };
        for (request, expected) in [(forged, 401), (tampered, 401), (request(&[], ping), 400)] {
            let answer = ask(&stack, Method::POST, "discord", &request).await?;
            assert_eq!(answer.0, expected, "{ping}: {answer:?}");
        }
    }
    assert!(stack.list("/v1/events").await?.is_empty());
    stack.finish().await
}

/// X signs bodies and challenges with one key, and anybody may ask for a challenge's signature; so does Braintree.
async fn what_is_signed_for_anyone_proves_no_event(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &format!("{SOURCES}{ARCHIVE}")).await?;
    let (_, _, answer, _) = ask(&stack, Method::GET, "x?crc_token=1234567890", &request(&[], "")).await?;
    let answer: serde_json::Value = serde_json::from_str(&answer)?;
    let signature = answer["response_token"].as_str().context("a signature")?;
    let forged = request(&[("x-twitter-webhooks-signature", signature)], "1234567890");
    assert_eq!(send(&client(), &stack.url("x"), &forged).await?.outcome(), "invalid_signature");

    let challenge = "20f9f8ed05f77439fe955c977e4c8a53";
    let path = format!("braintree?bt_challenge={challenge}");
    let (_, _, signature, _) = ask(&stack, Method::GET, &path, &request(&[], "")).await?;
    let form = format!("bt_signature={}&bt_payload={challenge}", signature.replace('|', "%7C"));
    let forged = request(&[("content-type", "application/x-www-form-urlencoded")], form);
    assert_eq!(send(&client(), &stack.url("braintree"), &forged).await?.outcome(), "invalid_signature");
    stack.finish().await
}

async fn a_secret_that_is_offered_is_kept_and_never_replaced(backend: Backend) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (asana, notion) = (folder.path().join("asana"), folder.path().join("notion"));
    let config = format!(
        "[[source]]\nname = \"asana\"\nprovider = \"asana\"\noffered_secret = {asana:?}\n\
         [[source]]\nname = \"notion\"\nprovider = \"notion\"\noffered_secret = {notion:?}\n\
         [[source]]\nname = \"closed\"\nprovider = \"asana\"\nsecrets = [\"{SECRET}\"]\n{ARCHIVE}"
    );
    let mut stack = Stack::start(backend, &config).await?;
    let offered = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81";
    let body = r#"{"events":[{"action":"changed","resource":{"resource_type":"task"}}]}"#;
    let event = request(&[("x-hook-signature", &hmac_hex(offered, &[body.as_bytes()]))], body);
    let offer = |secret: &str| request(&[("x-hook-secret", secret)], "{}");

    assert_eq!(send(&client(), &stack.url("asana"), &event).await?.status, 401, "nothing was offered yet");
    let answer = ask(&stack, Method::POST, "asana", &offer(offered)).await?;
    assert_eq!((answer.0, answer.3["x-hook-secret"].to_str()?), (200, offered));
    assert_eq!(fs::read_to_string(&asana)?, offered, "it is on the disk before the answer");
    assert_eq!(send(&client(), &stack.url("asana"), &event).await?.outcome(), "accepted");
    // A stranger's comes too late; the provider's own may come again.
    let stranger = ask(&stack, Method::POST, "asana", &offer("a secret-of-a-stranger-who-would")).await?;
    assert_eq!(stranger.0, 400, "{stranger:?}");
    let stranger = ask(&stack, Method::POST, "asana", &offer("a-secret-of-a-stranger-who-would")).await?;
    assert_eq!(stranger.0, 401, "{stranger:?}");
    assert!(!stranger.3.contains_key("x-hook-secret"), "{stranger:?}");
    assert_eq!(ask(&stack, Method::POST, "asana", &offer(offered)).await?.0, 200);
    assert_eq!(ask(&stack, Method::POST, "closed", &offer(offered)).await?.0, 401, "nobody waits for one there");

    let token = "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl";
    let offer = request(&[], json!({"verification_token": token}).to_string());
    assert_eq!(ask(&stack, Method::POST, "notion", &offer).await?.0, 200);
    assert_eq!(fs::read_to_string(&notion)?, token);
    stack.crash_ingest(0).await?;
    stack.until_ready().await?;
    let page = r#"{"id":"1","type":"page.created"}"#;
    let signature = format!("sha256={}", hmac_hex(token, &[page.as_bytes()]));
    let page = request(&[("x-notion-signature", &signature)], page);
    assert_eq!(send(&client(), &stack.url("notion"), &page).await?.outcome(), "accepted");
    assert_eq!(send(&client(), &stack.url("asana"), &event).await?.outcome(), "duplicate");
    stack.finish().await
}

async fn each_provider_hears_what_it_wants_to_hear(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &format!("{SOURCES}{ARCHIVE}")).await?;
    let graph = request(&[], json!({"value": [{"clientState": SECRET, "changeType": "created"}]}).to_string());
    let body = r#"{"id":"evt-own"}"#;
    let own = request(&[("x-own-signature", &hmac_hex(SECRET, &[body.as_bytes()]))], body);
    let now = Timestamp::now().as_second().to_string();
    let hash = hmac_hex(SECRET, &[now.as_bytes(), b"callback_test"]);
    let event = json!({"event_time": now, "event_type": "callback_test", "event_hash": hash});
    let sign = request(&[("content-type", "application/json")], json!({ "event": event }).to_string());
    let events = r#"{"events":[{"resourceId":"r"}],"firstEventSequence":1,"lastEventSequence":1}"#;
    for (path, request, expected) in [
        ("graph", graph, (202, "")),
        ("own", own.clone(), (204, "")),
        ("own", own, (204, "")),
        ("xero", xero(events), (200, "")),
        ("sign", sign, (200, "Hello API Event Received")),
    ] {
        let answer = ask(&stack, Method::POST, path, &request).await?;
        assert_eq!((answer.0, &*answer.2), expected, "{path}: {answer:?}");
    }
    // In no order: each is applied when a consumer comes to it.
    stack.until_number("SELECT COUNT(*) FROM events", 4, SOON).await?;
    stack.until_status("evt-own", "applied").await?;
    assert_eq!(stack.list("/v1/events").await?.len(), 4);
    stack.finish().await
}

/// Vectors of handshakes: what their senders signed, and how each is answered.
#[test]
fn signed_handshakes_of_the_vectors_are_answered() -> Result<()> {
    for (file, name, status, body) in [
        ("slack", "url_verification is signed", 200, None),
        (
            "zoom",
            "endpoint.url_validation is signed",
            200,
            Some(
                "{\"encryptedToken\":\"1c8ade07bbfa6297990f38cfcff52d05fb42777dc507aae18774e6afffcd20bc\",\"plainToken\":\"qgg8vlvZRS6UYooatFL8Aw\"}",
            ),
        ),
        ("discord", "interactions PING (type 1) is signed", 200, Some("{\"type\":1}")),
        ("discord", "webhook events PING (type 0) is signed", 204, Some("")),
        ("xero", "intent to receive, rightly signed", 200, Some("")),
        ("asana", "heartbeat: no events", 200, Some("")),
        ("azure-event-grid", "subscription validation", 200, None),
    ] {
        let vector = fixture::vector(&format!("{file}.json"), name)?;
        let text = format!("[[source]]\nname = \"v\"\nprovider = {file:?}\nsecrets = {:?}", vector.secrets);
        let config = Config::parse("vector", &text, &|_| None)?;
        let verifier = &config.sources.values().next().context("one source")?.verifier;
        let (Signed { headers, body: sent }, target) = (vector.signed()?, vector.target()?);
        let received = Received { target: &target, ..Received::post(&headers, &sent) };
        let now = Timestamp::from_second(vector.now)?;
        assert!(verifier.open_handshake(&received, now)?.is_none(), "{file}: {name}: it must be proven first");
        let Judgement::Handshake(reply) = verifier.judge(&received, now, None)? else {
            anyhow::bail!("{file}: {name}: it is taken for an event");
        };
        assert_eq!(reply.status.as_u16(), status, "{file}: {name}");
        if let Some(body) = body {
            assert_eq!(std::str::from_utf8(&reply.body)?, body, "{file}: {name}");
        }
    }
    Ok(())
}
