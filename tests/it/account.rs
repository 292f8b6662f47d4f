//! The account that the metrics make: what was accepted and replayed is applied, dead, unwanted or in flight.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use tidegate_tests::eventually::eventually;
use tidegate_tests::sender::{self, client, send};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};
use tidegate_tests::target::Target;

use crate::on_both_backends;

on_both_backends!(what_is_accepted_is_settled_or_in_flight);

const PAYMENTS: &str = "[[handler]]\nname = \"payments\"\non = [\"stripe:**\"]\nrun = \"payments\"\n";

/// What the metrics say of one handler.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Account {
    accepted: f64,
    replayed: f64,
    settled: f64,
    in_flight: f64,
}

async fn account(stack: &Stack, handler: &str) -> Result<Account> {
    let of = format!("handler=\"{handler}\"");
    let mut settled = 0.0;
    for outcome in ["applied", "applied_before", "dead", "unwanted"] {
        settled += stack.metric("tidegate_settle_total", &[&of, &format!("outcome=\"{outcome}\"")]).await?;
    }
    Ok(Account {
        accepted: stack.metric("tidegate_accepted_total", &[&of]).await?,
        replayed: stack.metric("tidegate_replays_total", &[&of]).await?,
        settled,
        in_flight: stack.metric("tidegate_in_flight_events", &[&of]).await?,
    })
}

async fn until_account(stack: &Stack, handler: &str, expected: Account) -> Result<()> {
    eventually(&format!("the account of {handler} is {expected:?}"), SOON, || async {
        let account = account(stack, handler).await.map_err(|error| error.to_string())?;
        if account == expected { Ok(()) } else { Err(format!("{account:?}")) }
    })
    .await
}

async fn what_is_accepted_is_settled_or_in_flight(backend: Backend) -> Result<()> {
    let (slow, doomed) = (Target::start().await?, Target::start().await?);
    slow.answer(500);
    doomed.answer(410);
    let forward = |name: &str, target: &Target| {
        let url = target.url();
        format!(
            "[[handler]]\nname = \"{name}\"\non = [\"github:**\"]\nrun = \"forward\"\nurl = {url:?}\nretry = [\"1h\"]\n"
        )
    };
    let (slow_handler, doomed_handler) = (forward("slow", &slow), forward("doomed", &doomed));
    let stack = Stack::start(backend, &format!("{SOURCES}{PAYMENTS}{slow_handler}{doomed_handler}")).await?;
    for number in 0..10 {
        let event = sender::payment(&format!("evt_{number}"), &format!("pi_{number}"));
        assert_eq!(send(&client(), &stack.url("stripe"), &event).await?.outcome(), "accepted");
        assert_eq!(send(&client(), &stack.url("stripe"), &event).await?.outcome(), "duplicate");
    }
    for number in 0..3 {
        send(&client(), &stack.url("github"), &sender::github(&format!("d-{number}"), "push", "{}")).await?;
    }
    let none = Account { accepted: 0.0, replayed: 0.0, settled: 0.0, in_flight: 0.0 };
    until_account(&stack, "payments", Account { accepted: 10.0, settled: 10.0, ..none }).await?;
    until_account(&stack, "doomed", Account { accepted: 3.0, settled: 3.0, ..none }).await?;
    until_account(&stack, "slow", Account { accepted: 3.0, in_flight: 3.0, ..none }).await?;
    let age = async |handler| stack.metric("tidegate_oldest_unapplied_age_seconds", &[handler]).await;
    assert!(age("handler=\"slow\"").await? > 0.0);
    assert!(age("handler=\"payments\"").await?.abs() < f64::EPSILON);

    doomed.answer(200);
    stack.ask(Method::POST, "/v1/dead-letters/replay", Some(&json!({ "handler": "doomed" }))).await?;
    until_account(&stack, "doomed", Account { accepted: 3.0, replayed: 3.0, settled: 6.0, ..none }).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_loses_what_it_confirmed_shows_in_the_account() -> Result<()> {
    let mut stack = Stack::start(Backend::Distributed, &format!("{SOURCES}{PAYMENTS}")).await?;
    for mut worker in stack.workers.drain(..) {
        assert!(worker.terminate().await?.success(), "{}", worker.log_text());
    }
    for number in 0..5 {
        let event = sender::payment(&format!("evt_{number}"), &format!("pi_{number}"));
        assert_eq!(send(&client(), &stack.url("stripe"), &event).await?.outcome(), "accepted");
    }
    stack.lose_queue_of("payments").await?;
    stack.start_handlers().await?;
    let event = sender::payment("evt_after", "pi_after");
    assert_eq!(send(&client(), &stack.url("stripe"), &event).await?.outcome(), "accepted");
    let missing_five = Account { accepted: 6.0, replayed: 0.0, settled: 1.0, in_flight: 0.0 };
    until_account(&stack, "payments", missing_five).await?;
    stack.finish().await
}
