//! An order's way through five systems: each step once, and undone once where the order cannot be.

use std::time::Duration;

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use tidegate_tests::eventually::eventually;
use tidegate_tests::sender::{self, client, send};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};
use tidegate_tests::systems::Systems;

use crate::on_both_backends;

on_both_backends!(
    an_order_goes_through_every_step_once,
    a_worker_killed_at_each_step_makes_every_effect_once,
    a_rejected_payment_is_compensated_once_in_reverse,
    a_worker_killed_at_each_compensation_makes_it_once,
    a_step_that_fails_is_tried_again_and_no_other,
    an_order_given_up_in_its_middle_is_resumed_by_a_replay,
);

const STEPS: [&str; 6] = [
    "POST /crm/contacts",
    "POST /crm/deals",
    "POST /stock/reservations",
    "POST /payment/payments",
    "POST /notify/messages",
    "POST /analytics/events",
];
const COMPENSATIONS: [&str; 2] = ["DELETE /stock/reservations/{id}", "DELETE /crm/deals/{id}"];

fn config(systems: &Systems, retry: &str) -> String {
    let apis =
        systems.config("timeout = \"2s\"\nretry = { attempts = 1, total = \"2s\" }\nbreaker = { minimum = 1000 }");
    format!("{apis}{SOURCES}[[handler]]\nname = \"shop\"\non = [\"demo:order.*\"]\nrun = \"orders\"\nretry = {retry}\n")
}

fn order(id: &str) -> Value {
    json!({
        "id": id, "type": "order.created",
        "data": {
            "order_id": format!("order-{id}"), "customer": { "email": "ada@example.com", "name": "Ada Lovelace" },
            "currency": "EUR", "total": 4_998, "items": [{ "sku": "TEA-100", "quantity": 2 }], "payment_method": "pm_card"
        }
    })
}

async fn place(stack: &Stack, id: &str) -> Result<()> {
    let answer =
        send(&client(), &stack.url("demo"), &sender::generic(id, "order.created", order(id).to_string())).await?;
    assert_eq!(answer.outcome(), "accepted", "{}", answer.body);
    Ok(())
}

async fn key_of(stack: &Stack, id: &str, status: &str) -> Result<String> {
    let row = stack.until_status(id, status).await?;
    Ok(row["key"].as_str().unwrap_or_default().to_owned())
}

async fn an_order_goes_through_every_step_once(backend: Backend) -> Result<()> {
    let systems = Systems::start().await?;
    let stack = Stack::start(backend, &config(&systems, "[\"1s\"]")).await?;
    place(&stack, "o-1").await?;
    let key = key_of(&stack, "o-1", "applied").await?;
    assert_eq!(systems.effects_of(&key), STEPS);
    assert_eq!(systems.without_key(), [""; 0]);
    assert_eq!(stack.number("SELECT count(*) FROM orders WHERE order_id = 'order-o-1'").await?, 1);
    let story = stack.ask(Method::GET, "/v1/events/o-1", None).await?["items"][0]["steps"][0].clone();
    let steps: Vec<&str> =
        story["steps"].as_array().into_iter().flatten().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(steps, ["contact", "deal", "stock", "payment", "notify", "analytics"], "{story}");
    stack.finish().await
}

/// At each step in turn: the system has acted and not answered when the worker is killed.
async fn a_worker_killed_at_each_step_makes_every_effect_once(backend: Backend) -> Result<()> {
    let systems = Systems::start().await?;
    let mut stack = Stack::start(backend, &config(&systems, "[\"1s\", \"1s\"]")).await?;
    for (number, step) in STEPS.iter().enumerate() {
        let id = format!("kill-{number}");
        kill_at(&mut stack, &systems, step, &id).await?;
        let key = key_of(&stack, &id, "applied").await?;
        assert_eq!(systems.effects_of(&key), STEPS, "killed at {step}");
    }
    assert_eq!(stack.number("SELECT count(*) FROM orders").await?, 6);
    stack.finish().await
}

async fn kill_at(stack: &mut Stack, systems: &Systems, action: &str, id: &str) -> Result<()> {
    systems.hang_once(action);
    place(stack, id).await?;
    eventually(&format!("{action} is reached"), SOON, || async {
        if systems.is_to_hang() { Err("not yet".to_owned()) } else { Ok(()) }
    })
    .await?;
    stack.crash_handlers().await?;
    stack.until_ready().await
}

async fn a_rejected_payment_is_compensated_once_in_reverse(backend: Backend) -> Result<()> {
    let systems = Systems::start().await?;
    systems.refuse(STEPS[3], 402, "card_declined");
    let stack = Stack::start(backend, &config(&systems, "[\"1s\"]")).await?;
    place(&stack, "poor").await?;
    let key = key_of(&stack, "poor", "compensated").await?;
    assert_eq!(systems.effects_of(&key), [&STEPS[..3], &COMPENSATIONS].concat());
    assert_eq!(systems.asked_for(STEPS[3]), 1, "a refusal for good is not asked for again");
    let shown = stack.ask(Method::GET, "/v1/events/poor", None).await?.to_string();
    assert!(shown.contains("card_declined"), "{shown}");
    assert_eq!(stack.list("/v1/events?status=compensated").await?.len(), 1);
    assert_eq!(stack.list("/v1/dead-letters").await?.len(), 0);
    assert_eq!(stack.number("SELECT count(*) FROM orders WHERE status = 'rejected'").await?, 1);
    stack.finish().await
}

async fn a_worker_killed_at_each_compensation_makes_it_once(backend: Backend) -> Result<()> {
    let systems = Systems::start().await?;
    systems.refuse(STEPS[3], 402, "card_declined");
    let mut stack = Stack::start(backend, &config(&systems, "[\"1s\", \"1s\"]")).await?;
    for (number, compensation) in COMPENSATIONS.iter().enumerate() {
        let id = format!("undo-{number}");
        kill_at(&mut stack, &systems, compensation, &id).await?;
        let key = key_of(&stack, &id, "compensated").await?;
        assert_eq!(systems.effects_of(&key), [&STEPS[..3], &COMPENSATIONS].concat(), "killed at {compensation}");
    }
    stack.finish().await
}

async fn a_step_that_fails_is_tried_again_and_no_other(backend: Backend) -> Result<()> {
    let systems = Systems::start().await?;
    systems.refuse(STEPS[2], 503, "closed for stocktaking");
    let stack = Stack::start(backend, &config(&systems, "[\"200ms\", \"200ms\", \"200ms\", \"10s\"]")).await?;
    place(&stack, "slow").await?;
    eventually("three attempts", SOON, || async {
        let asked = systems.asked_for(STEPS[2]);
        if asked >= 3 { Ok(()) } else { Err(asked.to_string()) }
    })
    .await?;
    systems.refuse_nothing();
    let key = key_of(&stack, "slow", "applied").await?;
    assert_eq!(systems.effects_of(&key), STEPS);
    assert_eq!((systems.asked_for(STEPS[0]), systems.asked_for(STEPS[1])), (1, 1), "their results are recorded");
    stack.finish().await
}

async fn an_order_given_up_in_its_middle_is_resumed_by_a_replay(backend: Backend) -> Result<()> {
    let systems = Systems::start().await?;
    systems.refuse(STEPS[3], 500, "down");
    let stack = Stack::start(backend, &config(&systems, "[\"100ms\"]")).await?;
    place(&stack, "given-up").await?;
    let dead = stack.until_dead(1).await?;
    assert_eq!(dead[0]["attempts"], 2);
    systems.refuse_nothing();
    stack.ask(Method::POST, "/v1/dead-letters/replay", Some(&json!({ "all": true }))).await?;
    let key = key_of(&stack, "given-up", "applied").await?;
    assert_eq!(systems.effects_of(&key), STEPS);
    assert_eq!(systems.asked_for(STEPS[0]), 1);
    stack.until_number("SELECT count(*) FROM orders WHERE status = 'completed'", 1, Duration::from_secs(5)).await?;
    stack.finish().await
}
