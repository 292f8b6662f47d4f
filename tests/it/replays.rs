//! Bodies that come again under another id, where the provider's signature does not hold the id.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::HeaderValue;
use reqwest::Method;
use serde_json::Value;
use tidegate_tests::eventually::eventually;
use tidegate_tests::fixture;
use tidegate_tests::sender::{self, Signed, client, send};
use tidegate_tests::servers::{Postgres, RabbitMq, Redis};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Servers, Stack};

use crate::on_both_backends;

on_both_backends!(
    a_body_under_another_id_is_accepted_counted_and_logged,
    a_source_that_asks_for_it_refuses_a_body_under_another_id,
    strangers_hide_no_line_about_a_signed_event,
    a_body_is_not_looked_at_where_the_signature_holds_the_id,
    a_signed_body_that_is_written_in_another_way_is_the_same_event,
    a_form_in_another_order_is_a_replay,
);

const ARCHIVE: &str = "[[handler]]\nname = \"archive\"\non = [\"**\"]\nrun = \"archive\"\nretry = [\"1s\"]\n";
const COUNTED: &str = "tidegate_possible_replays_total";

/// GitHub's source with `replay = how`.
fn github(how: &str) -> String {
    format!(
        "[[source]]\nname = \"github\"\nprovider = \"github\"\nsecrets = [{:?}]\nreplay = {how:?}\n{ARCHIVE}",
        sender::SECRET
    )
}

async fn answered(stack: &Stack, id: &str, body: &str) -> Result<(u16, String)> {
    let answer = send(&client(), &stack.url("github"), &sender::github(id, "push", body)).await?;
    Ok((answer.status, answer.outcome().to_owned()))
}

fn said(status: u16, outcome: &str) -> (u16, String) {
    (status, outcome.to_owned())
}

async fn until_counted(stack: &Stack, expected: f64) -> Result<()> {
    eventually(&format!("{expected} possible replays"), SOON, || async {
        let counted = stack.metric(COUNTED, &["source=\"github\""]).await.map_err(|error| error.to_string())?;
        if (counted - expected).abs() < 0.5 { Ok(()) } else { Err(counted.to_string()) }
    })
    .await
}

async fn a_body_under_another_id_is_accepted_counted_and_logged(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &format!("{SOURCES}{ARCHIVE}")).await?;
    assert_eq!(answered(&stack, "d-1", "{\"a\":1}").await?, said(200, "accepted"));
    assert_eq!(answered(&stack, "d-1", "{\"a\":1}").await?, said(200, "duplicate"), "the same event is no replay");
    assert_eq!(answered(&stack, "d-2", "{\"a\":2}").await?, said(200, "accepted"), "nor is another body");
    assert_eq!(answered(&stack, "d-3", "{\"a\":1}").await?, said(200, "accepted"), "it may be another true event");
    until_counted(&stack, 1.0).await?;
    // Both are applied: to count is all that is done.
    for id in ["d-1", "d-2", "d-3"] {
        stack.until_status(id, "applied").await?;
    }
    let lines = stack.ingests[0].logged("INFO");
    let ids = |line: &Value| {
        let ids = ["event_id", "first_event_id"].map(|field| line[field].as_str().unwrap_or_default().to_owned());
        BTreeSet::from(ids)
    };
    let told: Vec<_> = lines.iter().filter(|line| !line["first_event_id"].is_null()).map(ids).collect();
    assert_eq!(told, [BTreeSet::from(["d-1".to_owned(), "d-3".to_owned()])], "both ids are told: {lines:#?}");
    // An operator sees it: of the two that have one body, the one that was not first says which was.
    let mut shown = BTreeSet::new();
    for id in ["d-1", "d-2", "d-3"] {
        let event = stack.ask(Method::GET, &format!("/v1/events/{id}"), None).await?["items"][0].take();
        shown.extend(
            event["possible_replay_of"].as_str().map(|first| BTreeSet::from([id.to_owned(), first.to_owned()])),
        );
    }
    assert_eq!(shown, BTreeSet::from_iter(told));
    stack.finish().await
}

async fn a_source_that_asks_for_it_refuses_a_body_under_another_id(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &github("reject")).await?;
    assert_eq!(answered(&stack, "d-1", "{\"a\":1}").await?, said(200, "accepted"));
    assert_eq!(answered(&stack, "d-2", "{\"a\":1}").await?, said(400, "malformed_request"));
    // Its claim was given up, or the next request under its id would be told to wait for it.
    assert_eq!(answered(&stack, "d-2", "{\"a\":2}").await?, said(200, "accepted"));
    for (id, body) in [("d-1", "{\"a\":1}"), ("d-2", "{\"a\":2}")] {
        assert_eq!(answered(&stack, id, body).await?, said(200, "duplicate"), "what is durable is told to be");
    }
    until_counted(&stack, 1.0).await?;
    for id in ["d-1", "d-2"] {
        stack.until_status(id, "applied").await?;
    }
    assert_eq!(stack.list("/v1/events").await?.len(), 2, "nothing of what was refused is kept");
    let log = stack.ingests[0].log_text();
    assert!(log.contains("received before as \\\"d-1\\\""), "{log}");
    stack.finish().await
}

/// Goal: a flood fills no log, and hides nothing about events that their provider signed. Method: more forged requests than
/// have a line each, and then a replay, of which nothing but its line is left.
async fn strangers_hide_no_line_about_a_signed_event(backend: Backend) -> Result<()> {
    const FORGED: usize = 300;
    let stack = Stack::start(backend, &github("reject")).await?;
    let forged = Signed { body: b"{}".to_vec(), ..sender::github("d-0", "push", "{\"a\":1}") };
    for _ in 0..FORGED {
        assert_eq!(send(&client(), &stack.url("github"), &forged).await?.outcome(), "invalid_signature");
    }
    assert_eq!(answered(&stack, "d-1", "{\"a\":1}").await?, said(200, "accepted"));
    assert_eq!(answered(&stack, "d-2", "{\"a\":1}").await?, said(400, "malformed_request"));
    let log = stack.ingests[0].log_text();
    assert!(log.contains("received before as \\\"d-1\\\""), "{log}");
    let lines = log.lines().filter(|line| line.contains("invalid_signature")).count();
    assert!((100..FORGED).contains(&lines), "{lines} lines of {FORGED}");
    stack.finish().await
}

/// Nothing is kept of such a body, and nothing asked about it.
async fn a_body_is_not_looked_at_where_the_signature_holds_the_id(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &format!("{SOURCES}{ARCHIVE}")).await?;
    for id in ["g-1", "g-2"] {
        let answer = send(&client(), &stack.url("demo"), &sender::generic(id, "order.paid", "{}")).await?;
        assert_eq!(answer.outcome(), "accepted");
        stack.until_status(id, "applied").await?;
    }
    assert!(stack.metric(COUNTED, &[]).await? < 0.5);
    if backend == Backend::Embedded {
        assert_eq!(stack.number("SELECT COUNT(*) FROM bodies").await?, 0);
    }
    stack.finish().await
}

/// Goal: who has seen a request whose signature covers a reading of its body, and not the bytes, cannot have it applied once
/// more. Method: providers' own requests, and the same with what is not signed changed.
async fn a_signed_body_that_is_written_in_another_way_is_the_same_event(backend: Backend) -> Result<()> {
    let mut sources = "[ingest]\npublic_url = \"https://hooks.example.com\"\n".to_owned();
    let mut requests = Vec::new();
    for provider in ["adyen", "braintree", "mandrill"] {
        let vectors = fixture::vectors(&format!("{provider}.json"))?;
        let first = vectors.first().context("a vector")?;
        let again = vectors.iter().find(|vector| vector.name.contains("the same id")).context("another spelling")?;
        let secrets = &first.secrets;
        write!(sources, "[[source]]\nname = {provider:?}\nprovider = {provider:?}\nsecrets = {secrets:?}\n")?;
        requests.push((provider, first.signed()?, again.signed()?));
    }
    let stack = Stack::start(backend, &format!("{sources}{ARCHIVE}")).await?;
    for (provider, first, again) in &requests {
        assert_ne!(first.body, again.body);
        let answer = send(&client(), &stack.url(provider), first).await?;
        assert_eq!(answer.status, 200, "{provider}: {answer:?}");
        let answer = send(&client(), &stack.url(provider), again).await?;
        assert_eq!(answer.status, 200, "{provider}, in another way: {answer:?}");
        let labels = [&*format!("source={provider:?}"), "outcome=\"duplicate\""];
        // The embedded store tells a duplicate when it stores.
        let metric = if backend == Backend::Embedded { "tidegate_publish_total" } else { "tidegate_claim_total" };
        let duplicates = stack.metric(metric, &labels).await?;
        assert!((duplicates - 1.0).abs() < 0.5, "{provider}: {duplicates} duplicates");
    }
    assert!(stack.metric("tidegate_claim_conflicts_total", &[]).await? < 0.5, "no other body of a known id");
    stack.until_number("SELECT COUNT(*) FROM inbox", requests.len().try_into()?, SOON).await?;
    assert_eq!(stack.list("/v1/events").await?.len(), requests.len());
    stack.finish().await
}

/// Twilio signs a form's fields and no id.
async fn a_form_in_another_order_is_a_replay(backend: Backend) -> Result<()> {
    let vectors = fixture::vectors("twilio.json")?;
    let vector = vectors.first().context("a vector")?;
    let source = format!(
        "[ingest]\npublic_url = \"https://hooks.example.com\"\n[[source]]\nname = \"twilio\"\nprovider = \"twilio\"\n\
         secrets = {:?}\nreplay = \"reject\"\n{ARCHIVE}",
        vector.secrets
    );
    let stack = Stack::start(backend, &source).await?;
    let first = vector.signed()?;
    let mut again = first.clone();
    again.headers.insert("i-twilio-idempotency-token", HeaderValue::from_static("another one"));
    let text = String::from_utf8(first.body.clone())?;
    let fields: Vec<&str> = text.split('&').rev().collect();
    again.body = fields.join("&").into_bytes();
    assert_ne!(first.body, again.body);
    assert_eq!(send(&client(), &stack.url("twilio"), &first).await?.outcome(), "accepted");
    let answer = send(&client(), &stack.url("twilio"), &again).await?;
    assert_eq!((answer.status, answer.outcome()), (400, "malformed_request"), "{answer:?}");
    stack.finish().await
}

/// What cannot be asked lets the event through: a replay that is not noticed is worth less than a true event.
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_no_event_is_refused_as_a_replay() -> Result<()> {
    let (rabbitmq, redis, postgres) =
        tokio::try_join!(RabbitMq::shared_or_own(), Redis::own(), Postgres::shared_or_own())?;
    let servers = Arc::new(Servers { rabbitmq, redis, postgres });
    let stack = Stack::start_on(Arc::clone(&servers), &github("reject")).await?;
    assert_eq!(answered(&stack, "d-1", "{}").await?, said(200, "accepted"));
    assert_eq!(answered(&stack, "d-2", "{}").await?, said(400, "malformed_request"));
    servers.redis.kill().await?;
    assert_eq!(answered(&stack, "d-3", "{}").await?, said(200, "accepted"));
    assert!(stack.metric("tidegate_replays_unknown_total", &["source=\"github\""]).await? > 0.5);
    stack.until_status("d-3", "applied").await?;
    stack.finish().await
}
