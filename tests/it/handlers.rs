//! The built-in handlers.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use tidegate_tests::fixture;
use tidegate_tests::sdk::Sdk;
use tidegate_tests::sender::{self, client, send};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};
use tidegate_tests::target::Target;
use tidegate_tests::upstream::{Does, Upstream};

use crate::on_both_backends;

on_both_backends!(
    what_forward_signs_is_taken_by_the_standard_webhooks_sdk,
    payments_keep_every_payment_and_add_each_success_once,
    archive_keeps_headers_and_body,
    payments_are_converted_to_the_currency_of_the_balances,
);

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn what_forward_signs_is_taken_by_the_standard_webhooks_sdk(backend: Backend) -> Result<()> {
    let target = Target::start().await?;
    let handler = format!(
        "[[handler]]\nname = \"out\"\non = [\"**\"]\nrun = \"forward\"\nurl = {:?}\nsecret = {KEY:?}\nretry = [\"1s\"]\n",
        target.url()
    );
    let stack = Stack::start(backend, &format!("{SOURCES}{handler}")).await?;
    let (_, body) = fixture::github_examples()?.swap_remove(0);
    send(&client(), &stack.url("github"), &sender::github("d-1", "push", body.clone())).await?;
    stack.until_status("d-1", "applied").await?;
    let call = &target.calls()[0];
    let mut sdk = Sdk::start()?;
    for judge in ["standardwebhooks", "svix"] {
        assert!(sdk.verify(judge, KEY, &call.headers, &body).await?, "{judge} refuses {:?}", call.headers);
        assert!(!sdk.verify(judge, KEY, &call.headers, &format!("{body} ")).await?, "{judge} takes another body");
    }
    // The provider's own signature is still there, for an endpoint that knows the provider.
    assert!(sdk.verify("octokit", sender::SECRET, &call.headers, &body).await?);
    let key = call.header("webhook-id");
    assert_eq!(call.header("idempotency-key"), format!("{key}:out:deliver"));
    assert_eq!((call.header("tidegate-source"), call.header("tidegate-attempt")), ("github", "1"));
    stack.finish().await
}

async fn payments_keep_every_payment_and_add_each_success_once(backend: Backend) -> Result<()> {
    let handler =
        "[[handler]]\nname = \"payments\"\non = [\"stripe:payment_intent.*\"]\nrun = \"payments\"\nretry = [\"1s\"]\n";
    let stack = Stack::start(backend, &format!("{SOURCES}{handler}")).await?;
    let mut ids = Vec::new();
    for name in
        ["payment_intent.created", "payment_intent.succeeded", "payment_intent.payment_failed", "charge.refunded"]
    {
        let request = sender::stripe(fixture::read(&format!("stripe/{name}.json"))?);
        for outcome in ["accepted", "duplicate"] {
            let answer = send(&client(), &stack.url("stripe"), &request).await?;
            assert_eq!(answer.outcome(), outcome, "{name}: {answer:?}");
            ids.push(answer.body["event_id"].as_str().unwrap_or_default().to_owned());
        }
    }
    stack.until_number("SELECT COUNT(*) FROM payments", 2, SOON).await?;
    stack.until_status(&ids[0], "applied").await?;
    assert_eq!(stack.number("SELECT amount FROM balances WHERE currency = 'usd'").await?, 2000);
    assert_eq!(stack.number("SELECT COUNT(*) FROM balances WHERE currency = 'eur'").await?, 0);
    assert_eq!(stack.number("SELECT amount FROM payments WHERE status = 'failed' AND currency = 'eur'").await?, 1099);
    stack.finish().await
}

async fn archive_keeps_headers_and_body(backend: Backend) -> Result<()> {
    let handler = "[[handler]]\nname = \"archive\"\non = [\"**\"]\nrun = \"archive\"\nretry = [\"1s\"]\n";
    let stack = Stack::start(backend, &format!("{SOURCES}{handler}")).await?;
    send(&client(), &stack.url("demo"), &sender::generic("id-1", "order.paid", "{\"a\": 1}")).await?;
    let event = stack.until_status("id-1", "applied").await?;
    assert_eq!(event["body"], "{\"a\": 1}");
    let headers = event["headers"].as_array().cloned().unwrap_or_default();
    assert!(headers.iter().any(|header| header[0] == "x-webhook-event" && header[1] == "order.paid"), "{headers:?}");
    stack.finish().await
}

/// Amounts are converted at the rate that is recorded, and a retry does not ask for another.
async fn payments_are_converted_to_the_currency_of_the_balances(backend: Backend) -> Result<()> {
    let upstream = Upstream::start(|asked| {
        let rates =
            json!({ "result": "success", "base_code": "USD", "rates": { "USD": 1, "EUR": 0.5, "JPY": 150.25 } });
        if asked.path == "/v6/latest/USD" { Does::json(&rates) } else { Does::status(404) }
    })
    .await?;
    let config = format!(
        "[api.open-er-api]\nbase_url = {:?}\n{SOURCES}[[handler]]\nname = \"pay\"\non = [\"stripe:**\"]\n\
         run = \"payments\"\ncurrency = \"JPY\"\n",
        upstream.url()
    );
    let stack = Stack::start(backend, &config).await?;
    for (id, amount, currency) in [("evt_usd", 1_000, "usd"), ("evt_jpy", 7, "jpy")] {
        let object =
            json!({ "id": format!("pi_{id}"), "amount": amount, "amount_received": amount, "currency": currency });
        let event = json!({ "id": id, "type": "payment_intent.succeeded", "data": { "object": object } });
        send(&client(), &stack.url("stripe"), &sender::stripe(event.to_string())).await?;
        stack.until_status(id, "applied").await?;
    }
    // 10.00 USD at 150.25 are 1502.5 JPY, which has no smaller unit: to the even one.
    stack.until_number("SELECT amount FROM balances WHERE currency = 'jpy'", 1_502 + 7, SOON).await?;
    assert_eq!(stack.number("SELECT amount FROM payments WHERE payment_id = 'pi_evt_usd'").await?, 1_000);
    let story = stack.ask(Method::GET, "/v1/events/evt_usd", None).await?["items"][0]["steps"].to_string();
    assert!(story.contains("150.25"), "{story}");
    assert_eq!(upstream.asked().len(), 1, "the same currency needs no rate");
    stack.finish().await
}
