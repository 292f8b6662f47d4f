//! The built-in handlers.

use anyhow::Result;
use tidegate_tests::fixture;
use tidegate_tests::sdk::Sdk;
use tidegate_tests::sender::{self, client, send};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};
use tidegate_tests::target::Target;

use crate::on_both_backends;

on_both_backends!(
    what_forward_signs_is_taken_by_the_standard_webhooks_sdk,
    payments_keep_every_payment_and_add_each_success_once,
    archive_keeps_headers_and_body,
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
