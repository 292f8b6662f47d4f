//! What happens when a handler fails: the ladder, dead letters, and their replay.

use std::time::Duration;

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use tidegate_tests::eventually::eventually;
use tidegate_tests::sender::{self, client, send};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};
use tidegate_tests::target::{Answer, Target};

use crate::on_both_backends;

on_both_backends!(
    a_failing_target_leads_up_the_ladder_to_dead_letters_and_a_replay_delivers_each_once,
    a_rejected_event_is_dead_at_once,
    retry_after_is_honoured,
    what_is_discarded_is_never_delivered,
    a_replay_that_fails_again_is_dead_again_with_every_attempt,
    a_database_that_refuses_the_effects_leads_to_a_dead_letter,
);

fn handler(target: &Target, retry: &str) -> String {
    format!(
        "[[handler]]\nname = \"out\"\non = [\"**\"]\nrun = \"forward\"\nurl = {:?}\nretry = {retry}\n",
        target.url()
    )
}

async fn a_failing_target_leads_up_the_ladder_to_dead_letters_and_a_replay_delivers_each_once(
    backend: Backend,
) -> Result<()> {
    let target = Target::start().await?;
    target.answer(500);
    let stack = Stack::start(backend, &format!("{SOURCES}{}", handler(&target, "[\"300ms\", \"600ms\"]"))).await?;
    let ids: Vec<String> = (0..5).map(|number| format!("d-{number}")).collect();
    for id in &ids {
        send(&client(), &stack.url("github"), &sender::github(id, "push", "{}")).await?;
    }
    let dead = stack.until_dead(ids.len()).await?;
    assert_eq!(target.calls().len(), 15, "three attempts each");
    for letter in &dead {
        assert_eq!((letter["handler"].as_str(), letter["attempts"].as_u64()), (Some("out"), Some(3)));
        let path = format!("/v1/dead-letters/{}", letter["id"].as_str().unwrap_or_default());
        let shown = stack.ask(Method::GET, &path, None).await?;
        let attempts = shown["failed_attempts"].as_array().cloned().unwrap_or_default();
        assert_eq!(attempts.iter().map(|one| one["attempt"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
        assert!(attempts.iter().all(|one| one["error"].as_str().is_some_and(|text| text.contains("500"))), "{shown}");
        assert_eq!(shown["body"], "{}");
    }
    assert_eq!(stack.until_status("d-0", "dead").await?["handlers"][0]["attempts"], 3);
    target.answer(200);
    let all = json!({ "all": true });
    let plan =
        stack.ask(Method::POST, "/v1/dead-letters/replay", Some(&json!({ "all": true, "dry_run": true }))).await?;
    assert_eq!((plan["matched"].as_u64(), plan["replayed"].as_u64()), (Some(5), Some(0)));
    let replayed = stack.ask(Method::POST, "/v1/dead-letters/replay", Some(&all)).await?;
    assert_eq!((replayed["replayed"].as_u64(), replayed["remaining"].as_u64()), (Some(5), Some(0)));
    for id in &ids {
        stack.until_status(id, "applied").await?;
    }
    let again = stack.ask(Method::POST, "/v1/dead-letters/replay", Some(&all)).await?;
    assert_eq!((again["matched"].as_u64(), again["replayed"].as_u64()), (Some(0), Some(0)));
    assert!(stack.list("/v1/dead-letters").await?.is_empty());
    let delivered = target.delivered();
    assert_eq!(delivered.len(), 5);
    assert!(delivered.values().all(|&times| times == 1), "{delivered:?}");
    stack.finish().await
}

async fn a_rejected_event_is_dead_at_once(backend: Backend) -> Result<()> {
    let target = Target::start().await?;
    target.answer(410);
    let stack = Stack::start(backend, &format!("{SOURCES}{}", handler(&target, "[\"1s\"]"))).await?;
    send(&client(), &stack.url("github"), &sender::github("d-1", "push", "{}")).await?;
    let dead = stack.until_dead(1).await?;
    assert_eq!(dead[0]["attempts"], 1);
    assert!(dead[0]["reason"].as_str().is_some_and(|reason| reason.contains("410")), "{dead:?}");
    assert_eq!(target.calls().len(), 1);
    stack.finish().await
}

async fn retry_after_is_honoured(backend: Backend) -> Result<()> {
    let target = Target::start().await?;
    target.answer(Answer { retry_after: Some(2), ..429.into() });
    let stack = Stack::start(backend, &format!("{SOURCES}{}", handler(&target, "[\"100ms\", \"3s\"]"))).await?;
    send(&client(), &stack.url("github"), &sender::github("d-1", "push", "{}")).await?;
    eventually("the first attempt", SOON, || async {
        if target.calls().is_empty() { Err("none".into()) } else { Ok(()) }
    })
    .await?;
    target.answer(200);
    stack.until_status("d-1", "applied").await?;
    let calls = target.calls();
    assert_eq!(calls.len(), 2);
    let waited = calls[1].at - calls[0].at;
    assert!(waited >= Duration::from_secs(2), "asked for 2 s, waited {waited:?}");
    stack.finish().await
}

async fn what_is_discarded_is_never_delivered(backend: Backend) -> Result<()> {
    let target = Target::start().await?;
    target.answer(400);
    let stack = Stack::start(backend, &format!("{SOURCES}{}", handler(&target, "[\"1s\"]"))).await?;
    for id in ["d-1", "d-2"] {
        send(&client(), &stack.url("github"), &sender::github(id, "push", "{}")).await?;
    }
    let dead = stack.until_dead(2).await?;
    let id = dead[0]["id"].as_str().unwrap_or_default();
    stack.ask(Method::DELETE, &format!("/v1/dead-letters/{id}"), None).await?;
    assert!(stack.ask(Method::DELETE, &format!("/v1/dead-letters/{id}"), None).await.is_err(), "it is gone");
    target.answer(200);
    let replayed = stack.ask(Method::POST, "/v1/dead-letters/replay", Some(&json!({ "handler": "out" }))).await?;
    assert_eq!(replayed["replayed"], 1);
    stack.until_status(dead[1]["event_id"].as_str().unwrap_or_default(), "applied").await?;
    assert_eq!(target.delivered().len(), 1);
    stack.finish().await
}

async fn a_replay_that_fails_again_is_dead_again_with_every_attempt(backend: Backend) -> Result<()> {
    let target = Target::start().await?;
    target.answer(503);
    let stack = Stack::start(backend, &format!("{SOURCES}{}", handler(&target, "[\"100ms\"]"))).await?;
    send(&client(), &stack.url("github"), &sender::github("d-1", "push", "{}")).await?;
    let id = stack.until_dead(1).await?[0]["id"].clone();
    stack.ask(Method::POST, "/v1/dead-letters/replay", Some(&json!({ "ids": [id] }))).await?;
    let shown = eventually("it is dead again", SOON, || async {
        let dead = stack.list("/v1/dead-letters").await.map_err(|error| error.to_string())?;
        match dead.first() {
            Some(letter) if letter["attempts"] == 4 => Ok(letter.clone()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    let path = format!("/v1/dead-letters/{}", shown["id"].as_str().unwrap_or_default());
    let attempts = stack.ask(Method::GET, &path, None).await?["failed_attempts"].as_array().map(Vec::len);
    assert_eq!(attempts, Some(4));
    stack.finish().await
}

/// A handler's effects that the database refuses: here a payment whose currency is missing in a table of the test's.
async fn a_database_that_refuses_the_effects_leads_to_a_dead_letter(backend: Backend) -> Result<()> {
    let handler = "[[handler]]\nname = \"payments\"\non = [\"stripe:**\"]\nrun = \"payments\"\nretry = [\"100ms\"]\n";
    let stack = Stack::start(backend, &format!("{SOURCES}{handler}")).await?;
    // An id with a zero character: PostgreSQL refuses it as text, SQLite stores it. What is refused is dead, and alone.
    let odd = sender::stripe(
        r#"{"id": "evt_odd", "type": "payment_intent.succeeded", "data": {"object": {"id": "pi_\u0000", "amount": 5, "currency": "usd"}}}"#,
    );
    send(&client(), &stack.url("stripe"), &odd).await?;
    send(&client(), &stack.url("stripe"), &sender::payment("evt_good", "pi_good")).await?;
    stack.until_status("evt_good", "applied").await?;
    if backend == Backend::Distributed {
        let dead = stack.until_dead(1).await?;
        assert_eq!((dead[0]["event_id"].as_str(), dead[0]["attempts"].as_u64()), (Some("evt_odd"), Some(2)));
        assert_eq!(stack.number("SELECT amount FROM balances").await?, 1);
    }
    stack.finish().await
}
