//! What is accepted, and that it is applied once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::join_all;
use http::StatusCode;
use reqwest::Method;
use serde_json::Value;
use tidegate_shared::claims::redis::RedisClaims;
use tidegate_shared::claims::{ClaimToken, Decision};
use tidegate_shared::config::{Backend as Configured, Config};
use tidegate_shared::event::{BodyHash, EventId, EventKey, SourceName};
use tidegate_shared::tasks::Tasks;
use tidegate_tests::eventually::eventually;
use tidegate_tests::fixture;
use tidegate_tests::health::is_up;
use tidegate_tests::program::binary;
use tidegate_tests::sender::{self, client, send};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};
use tidegate_tests::target::Target;
use tokio::process::Command;

use crate::on_both_backends;

on_both_backends!(
    an_event_is_accepted_once_and_then_a_duplicate,
    a_thousand_copies_at_once_have_one_effect,
    the_same_id_with_another_body_is_never_dropped,
    a_counter_that_the_provider_changes_does_not_make_another_event,
    every_byte_of_body_and_headers_reaches_the_handler,
    a_secret_that_is_sent_itself_stays_behind,
    a_slow_handler_does_not_hold_up_another,
    an_event_that_no_handler_wants_is_kept,
    an_event_that_only_the_binding_lets_through_is_kept,
    one_request_id_leads_from_the_answer_to_the_event,
    a_request_finishes_although_the_worker_and_the_door_are_told_to_stop,
);

const ARCHIVE: &str = "[[handler]]\nname = \"archive\"\non = [\"**\"]\nrun = \"archive\"\nretry = [\"1s\"]\n";
const PAYMENTS: &str = "[[handler]]\nname = \"payments\"\non = [\"stripe:**\"]\nrun = \"payments\"\nretry = [\"1s\"]\n";

fn forward(name: &str, on: &str, target: &Target) -> String {
    format!(
        "[[handler]]\nname = {name:?}\non = [{on:?}]\nrun = \"forward\"\nurl = {:?}\nretry = [\"1s\", \"1h\"]\n",
        target.url()
    )
}

async fn an_event_is_accepted_once_and_then_a_duplicate(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &format!("{SOURCES}{ARCHIVE}")).await?;
    let push = sender::github("delivery-1", "push", fixture::github_examples()?[0].1.clone());
    let first = send(&client(), &stack.url("github"), &push).await?;
    assert_eq!((first.status, first.outcome()), (200, "accepted"), "{first:?}");
    assert_eq!(first.body["event_id"], "delivery-1");
    for _ in 0..3 {
        let again = send(&client(), &stack.url("github"), &push).await?;
        assert_eq!((again.status, again.outcome()), (200, "duplicate"), "{again:?}");
    }
    let row = stack.until_status("delivery-1", "applied").await?;
    assert_eq!(row["event_type"], "push");
    assert_eq!(row["handlers"][0]["handler"], "archive");
    assert_eq!(stack.list("/v1/events").await?.len(), 1);
    let counted = async |name, outcome| -> Result<String> {
        Ok(stack.metric(name, &["source=\"github\"", outcome]).await?.to_string())
    };
    assert_eq!(counted("tidegate_verify_total", "outcome=\"verified\"").await?, "4");
    // The embedded store tells a duplicate when it stores, and has nothing to claim before.
    let (fresh, duplicate) = if backend == Backend::Embedded { ("4", "0") } else { ("1", "3") };
    assert_eq!(counted("tidegate_claim_total", "outcome=\"fresh\"").await?, fresh);
    assert_eq!(counted("tidegate_claim_total", "outcome=\"duplicate\"").await?, duplicate);
    stack.finish().await
}

/// T14: one id, a thousand requests at the same moment.
async fn a_thousand_copies_at_once_have_one_effect(backend: Backend) -> Result<()> {
    // A thousand claims at once take a debug build longer than the usual 150 ms; without claims each would be queued.
    let patient = "[claims]\ntimeout = \"5s\"\n";
    let stack = Stack::start(backend, &format!("{patient}{SOURCES}{PAYMENTS}")).await?;
    let (client, url) = (client(), stack.url("stripe"));
    let payment = sender::payment("evt_storm", "pi_storm");
    let answers = join_all((0..1_000).map(|_| send(&client, &url, &payment))).await;
    let mut accepted = 0;
    for answer in answers {
        let answer = answer?;
        accepted += usize::from(answer.outcome() == "accepted");
        // A copy that waited in vain for the first one's outcome is told to come again; none is told a lie.
        let honest = ["accepted", "duplicate", "in_progress"].contains(&answer.outcome());
        ensure!(honest && (answer.status == 200 || answer.status == 409), "{answer:?}");
    }
    assert_eq!(accepted, 1);
    stack.until_number("SELECT COUNT(*) FROM payments", 1, SOON).await?;
    stack.until_status("evt_storm", "applied").await?;
    assert_eq!(stack.number("SELECT CAST(SUM(amount) AS BIGINT) FROM balances").await?, 1);
    stack.finish().await
}

/// How the first of two requests with one event ends, while the second one waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Accepted,
    GivenUp,
    Unfinished,
}

/// Goal: who comes while another request receives the same event hears what became of that one, and waits for no longer
/// than `claims.wait`. Method: the test holds the claim, as an ingest in another process does.
#[tokio::test(flavor = "multi_thread")]
async fn a_twin_hears_what_became_of_the_first() -> Result<()> {
    const WAIT: Duration = Duration::from_secs(3);
    let (lease, body, patient) = (Duration::from_secs(30), "{}", "[claims]\nwait = \"3s\"\n");
    let stack = Stack::start(Backend::Distributed, &format!("{patient}{SOURCES}{ARCHIVE}")).await?;
    let config = Config::parse("test", &std::fs::read_to_string(stack.config_path())?, &|_| None)?;
    let Configured::Distributed(servers) = &config.backend else { bail!("the stack is distributed") };
    let claims = RedisClaims::start(&servers.redis, &Tasks::new());
    is_up(claims.health()).await;
    for (first, expected) in [
        (First::Accepted, (200, "duplicate")),
        (First::GivenUp, (200, "accepted")),
        (First::Unfinished, (409, "in_progress")),
    ] {
        let (id, token) = (format!("twin-{first:?}"), ClaimToken::generate());
        let key = EventKey::new(&SourceName::try_new("github")?, &EventId::try_new(&id)?);
        let body_hash = BodyHash::of(body.as_bytes());
        assert_eq!(claims.claim(&key, token, &body_hash, lease).await?, Decision::Fresh);
        let (url, twin, began) = (stack.url("github"), sender::github(&id, "push", body), Instant::now());
        let twin = tokio::spawn(async move { send(&client(), &url, &twin).await });
        // Long enough for an answer that does not wait.
        tokio::time::sleep(WAIT / 3).await;
        assert!(!twin.is_finished(), "{first:?}: it does not wait");
        match first {
            First::Accepted => claims.accept(&key, &body_hash, lease).await?,
            First::GivenUp => claims.release(&key, token).await?,
            First::Unfinished => {}
        }
        let answer = twin.await??;
        assert_eq!((answer.status, answer.outcome()), expected, "{first:?}: {answer:?}");
        let waited = began.elapsed();
        assert_eq!(waited >= WAIT - Duration::from_millis(100), first == First::Unfinished, "{first:?}: {waited:?}");
    }
    stack.finish().await
}

/// It is accepted, warned about, counted and applied, each request with the other body anew.
async fn the_same_id_with_another_body_is_never_dropped(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &format!("{SOURCES}{PAYMENTS}")).await?;
    let mut conflicting = Vec::new();
    for (payment, outcome, conflicts) in
        [("pi_1", "accepted", 0), ("pi_2", "accepted", 1), ("pi_2", "duplicate", 2), ("pi_1", "duplicate", 2)]
    {
        let answer = send(&client(), &stack.url("stripe"), &sender::payment("evt_1", payment)).await?;
        // The other body is another event, and its own twin is a duplicate.
        assert_eq!((answer.status, answer.outcome()), (200, outcome), "{payment}: {answer:?}");
        assert_eq!(answer.body["event_id"], "evt_1", "{payment}: {answer:?}");
        let counted = stack.metric("tidegate_claim_conflicts_total", &["source=\"stripe\""]).await?;
        assert_eq!(counted.to_string(), conflicts.to_string(), "{payment}");
        if payment == "pi_2" {
            conflicting.push(answer.body["request_id"].clone());
        }
    }
    stack.until_number("SELECT COUNT(*) FROM payments", 2, SOON).await?;
    eventually("the two requests are warned about", SOON, || async {
        let lines = stack.ingests[0].logged("WARN");
        let about = lines.iter().filter(|line| line["source"] == "stripe" && line["event_id"] == "evt_1");
        let told: Vec<Value> = about.map(|line| line["request_id"].clone()).collect();
        if told == conflicting { Ok(()) } else { Err(format!("{told:?} of {conflicting:?}: {lines:#?}")) }
    })
    .await?;
    let events = eventually("both events are applied", SOON, || async {
        let found = stack.ask(Method::GET, "/v1/events/evt_1", None).await.map_err(|error| error.to_string())?;
        let events = found["items"].as_array().cloned().unwrap_or_default();
        let are_done = events.len() == 2 && events.iter().all(|event| event["status"] == "applied");
        if are_done { Ok(events) } else { Err(found.to_string()) }
    })
    .await?;
    let differ = |field: &str| events.iter().map(|event| event[field].to_string()).collect::<BTreeSet<_>>().len() == 2;
    assert!(differ("key") && differ("request_id"), "each leads to the request that brought it: {events:#?}");
    assert!(events.iter().all(|event| event["event_id"] == "evt_1"), "under one id: {events:#?}");
    // The operator's command tells of both.
    let mut command = Command::new(binary("tidegate")?);
    let shown = command.args(["events", "show", "evt_1", "--admin", &stack.admin()]).output().await?;
    let shown = String::from_utf8(shown.stdout)?;
    for event in &events {
        let key = event["key"].as_str().context("a key")?;
        ensure!(shown.contains(key), "{key} in {shown}");
    }
    stack.finish().await
}

/// Stripe counts in every event how many endpoints have not taken it yet, so that a resent one may differ by that.
async fn a_counter_that_the_provider_changes_does_not_make_another_event(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &format!("{SOURCES}{PAYMENTS}")).await?;
    for (pending, outcome) in [("2", "accepted"), ("1", "duplicate"), ("0", "duplicate")] {
        let event = sender::stripe(format!(
            r#"{{"id": "evt_1", "type": "payment_intent.succeeded", "pending_webhooks": {pending}, "data": {{"object": {{"id": "pi_1", "amount": 1, "currency": "usd"}}}}}}"#
        ));
        let answer = send(&client(), &stack.url("stripe"), &event).await?;
        assert_eq!((answer.status, answer.outcome()), (200, outcome), "{pending}: {answer:?}");
    }
    stack.until_status("evt_1", "applied").await?;
    assert_eq!(stack.number("SELECT CAST(SUM(amount) AS BIGINT) FROM balances").await?, 1);
    stack.finish().await
}

async fn every_byte_of_body_and_headers_reaches_the_handler(backend: Backend) -> Result<()> {
    let target = Target::start().await?;
    let stack = Stack::start(backend, &format!("{SOURCES}{}", forward("out", "github:**", &target))).await?;
    let every_byte: Vec<u8> = (0..=255).collect();
    let bodies: Vec<Vec<u8>> =
        vec![every_byte, b" {\"a\" :1.0, \"b\":\"\\u00e9\"}\r\n".to_vec(), vec![b'x'; 3 << 20], Vec::new()];
    for (number, body) in bodies.iter().enumerate() {
        let mut request = sender::github(&format!("bytes-{number}"), "push", body.clone());
        request.headers.insert("x-custom", http::HeaderValue::from_bytes(b"caf\xe9")?);
        request.headers.append("x-twice", "one".parse()?);
        request.headers.append("x-twice", "two".parse()?);
        request.headers.insert("cookie", "session=secret".parse()?);
        assert_eq!(send(&client(), &stack.url("github"), &request).await?.outcome(), "accepted");
        stack.until_status(&format!("bytes-{number}"), "applied").await?;
    }
    let calls = target.calls();
    assert_eq!(calls.len(), bodies.len());
    for (call, body) in calls.iter().map(|call| (call, number(call))).map(|(call, number)| (call, &bodies[number])) {
        assert_eq!(call.body, body[..], "the body is the one that was sent");
        assert_eq!(call.headers["x-custom"].as_bytes(), b"caf\xe9");
        assert_eq!(call.headers.get_all("x-twice").iter().count(), 2);
        assert!(!call.headers.contains_key("cookie"), "credentials of the hop stay behind");
        assert_eq!(call.header("content-type"), "application/json");
    }
    stack.finish().await
}

/// What stands in queues, dead letters and forwards must not be enough to forge a request.
async fn a_secret_that_is_sent_itself_stays_behind(backend: Backend) -> Result<()> {
    let target = Target::start().await?;
    let source = format!(
        "[[source]]\nname = \"gitlab\"\nprovider = \"gitlab\"\nsecrets = [{:?}]\n{}",
        sender::SECRET,
        forward("out", "gitlab:**", &target)
    );
    let stack = Stack::start(backend, &source).await?;
    let headers = [("x-gitlab-token", sender::SECRET), ("idempotency-key", "g-1"), ("x-gitlab-event", "Push Hook")];
    let headers = headers.into_iter().map(|(name, value)| Ok((name.parse()?, value.parse()?)));
    let request =
        sender::Signed { headers: headers.collect::<Result<_>>()?, body: br#"{"object_kind": "push"}"#.to_vec() };
    assert_eq!(send(&client(), &stack.url("gitlab"), &request).await?.outcome(), "accepted");
    stack.until_status("g-1", "applied").await?;
    let calls = target.calls();
    let [call] = &calls[..] else { anyhow::bail!("{} calls", calls.len()) };
    assert_eq!(call.header("x-gitlab-event"), "Push Hook");
    let secret = sender::SECRET.as_bytes();
    let shown = |value: &http::HeaderValue| value.as_bytes().windows(secret.len()).any(|bytes| bytes == secret);
    assert!(!call.headers.values().any(shown), "{:?}", call.headers);
    stack.finish().await
}

fn number(call: &tidegate_tests::target::Call) -> usize {
    call.header("tidegate-event-id").trim_start_matches("bytes-").parse().expect("the id ends with a number")
}

async fn a_slow_handler_does_not_hold_up_another(backend: Backend) -> Result<()> {
    let (well, ill) = (Target::start().await?, Target::start().await?);
    ill.answer(500);
    let handlers = format!("{}{}", forward("well", "**", &well), forward("ill", "**", &ill));
    let stack = Stack::start(backend, &format!("{SOURCES}{handlers}")).await?;
    let requests = (0..100).map(|number| sender::github(&format!("d-{number}"), "push", "{}")).collect();
    let report = sender::send_until_accepted(stack.urls("github"), requests, 16).await;
    assert_eq!(report.given_up, 0, "{report:?}");
    tidegate_tests::eventually::eventually("the well one has all", SOON, || async {
        let have = well.delivered().len();
        if have == 100 { Ok(()) } else { Err(have.to_string()) }
    })
    .await?;
    assert!(well.delivered().values().all(|&times| times == 1));
    let row = stack.until_status("d-0", "retrying").await?;
    assert_eq!(row["handlers"].as_array().map(Vec::len), Some(2));
    stack.finish().await
}

async fn an_event_that_no_handler_wants_is_kept(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &format!("{SOURCES}{PAYMENTS}")).await?;
    let answer = send(&client(), &stack.url("github"), &sender::github("unwanted", "push", "{\"a\":1}")).await?;
    assert_eq!(answer.outcome(), "accepted");
    let row = stack.until_status("unwanted", "accepted").await?;
    assert_eq!(row["handlers"].as_array().map(Vec::len), Some(0));
    assert_eq!(row["body"], "{\"a\":1}", "it can be looked at");
    stack.finish().await
}

/// RabbitMQ has wildcards for whole words only: `pu*` is bound as `*`, and the worker must not drop what it lets through.
async fn an_event_that_only_the_binding_lets_through_is_kept(backend: Backend) -> Result<()> {
    let handler = "[[handler]]\nname = \"some\"\non = [\"github:pu*\"]\nrun = \"archive\"\nretry = [\"1s\"]\n";
    let stack = Stack::start(backend, &format!("{SOURCES}{handler}")).await?;
    for (id, event) in [("wanted", "push"), ("other", "issues")] {
        send(&client(), &stack.url("github"), &sender::github(id, event, "{\"a\":1}")).await?;
    }
    stack.until_status("wanted", "applied").await?;
    let row = stack.until_status("other", "accepted").await?;
    assert_eq!((row["handlers"].as_array().map(Vec::len), &row["body"]), (Some(0), &"{\"a\":1}".into()));
    stack.finish().await
}

async fn one_request_id_leads_from_the_answer_to_the_event(backend: Backend) -> Result<()> {
    let target = Target::start().await?;
    let stack = Stack::start(backend, &format!("{SOURCES}{}", forward("out", "**", &target))).await?;
    let mut request = sender::generic("id-1", "order.paid", "{}");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request.headers.insert("traceparent", trace.parse()?);
    let answer = send(&client(), &stack.url("demo"), &request).await?;
    let id = answer.body["request_id"].as_str().unwrap_or_default();
    assert_eq!(answer.headers["x-request-id"], id);
    let row = stack.until_status("id-1", "applied").await?;
    assert_eq!(row["request_id"], id);
    let call = &target.calls()[0];
    assert_eq!((call.header("x-request-id"), call.header("traceparent")), (id, trace));
    stack.finish().await
}

async fn a_request_finishes_although_the_worker_and_the_door_are_told_to_stop(backend: Backend) -> Result<()> {
    let mut stack = Stack::start(backend, &format!("{SOURCES}{PAYMENTS}")).await?;
    let requests: Vec<_> = (0..200).map(|n| sender::payment(&format!("evt_{n}"), &format!("pi_{n}"))).collect();
    let sending = tokio::spawn(sender::send_until_accepted(stack.urls("stripe"), requests, 8));
    tidegate_tests::eventually::eventually("some are applied", SOON, || async {
        let applied = stack.number("SELECT COUNT(*) FROM payments").await.map_err(|error| error.to_string())?;
        if applied > 20 { Ok(()) } else { Err(applied.to_string()) }
    })
    .await?;
    let (listen, admin) = (stack.ingests[0].listen, stack.ingests[0].admin);
    let ended = stack.ingests[0].terminate().await?;
    assert!(ended.success(), "{ended}: {}", stack.ingests[0].log_text());
    stack.restart_ingest_at(0, listen, admin).await?;
    let report = sending.await?;
    assert_eq!(report.given_up, 0, "{report:?}");
    assert!(!report.answers.keys().any(|answer| answer.starts_with('5')), "no request was refused: {report:?}");
    stack.until_number("SELECT COUNT(*) FROM payments", 200, SOON).await?;
    assert_eq!(stack.number("SELECT CAST(SUM(amount) AS BIGINT) FROM balances").await?, 200);
    assert_eq!(StatusCode::OK, reqwest::get(format!("http://{}/health", stack.ingests[0].listen)).await?.status());
    stack.finish().await
}
