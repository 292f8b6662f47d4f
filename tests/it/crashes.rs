//! Killed processes under load: nothing acknowledged is lost, nothing is applied twice.
//!
//! The effect counts how often it was applied: each payment adds one to a balance in the same transaction as its row,
//! so with n events the balance and the rows are both n only if each was applied exactly once.

use std::time::Duration;

use anyhow::Result;
use tidegate_tests::eventually::eventually;
use tidegate_tests::sender::{self, Report, Signed};
use tidegate_tests::servers::{Postgres, RabbitMq, Redis};
use tidegate_tests::stack::{SOURCES, Servers, Stack};
use tokio::task::JoinHandle;

const EVENTS: usize = 20_000;
const AT_ONCE: usize = 64;
/// Time for the rest of the queue after the last answer, in a debug build on two cores.
const DRAIN: Duration = Duration::from_secs(180);
const PAYMENTS: &str = "[[handler]]\nname = \"payments\"\non = [\"stripe:**\"]\nrun = \"payments\"\nretry = [\"200ms\", \"400ms\", \"800ms\"]\n";

/// 20,000 requests of which three in ten repeat an earlier event.
fn requests() -> (usize, Vec<Signed>) {
    let mut distinct = 0;
    let requests = (0..EVENTS).map(|number| {
        let event = if number % 10 < 7 {
            distinct += 1;
            distinct
        } else {
            1 + (number * 7919) % distinct
        };
        sender::payment(&format!("evt_{event}"), &format!("pi_{event}"))
    });
    let requests = requests.collect();
    (distinct, requests)
}

async fn until_half_is_applied(stack: &Stack, sending: &JoinHandle<Report>) -> Result<()> {
    eventually("half of the events are applied", DRAIN, || async {
        let applied = stack.number("SELECT COUNT(*) FROM payments").await.map_err(|error| error.to_string())?;
        if applied > (EVENTS / 3) as i64 || sending.is_finished() { Ok(()) } else { Err(applied.to_string()) }
    })
    .await
}

async fn every_event_has_exactly_one_effect(stack: &Stack, distinct: usize, report: &Report) -> Result<()> {
    assert_eq!(report.given_up, 0, "every sender read a 2xx in the end: {report:?}");
    let distinct = i64::try_from(distinct)?;
    stack.until_number("SELECT COUNT(*) FROM payments", distinct, DRAIN).await?;
    // A second effect would come with a later delivery: let every delivery be settled first.
    if let Some(worker) = stack.workers.first() {
        let metrics = stack.metrics(worker).await?;
        assert!(metrics.contains("tidegate_settle_total"), "{metrics}");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        stack.number("SELECT CAST(SUM(amount) AS BIGINT) FROM balances").await?,
        distinct,
        "none was applied twice"
    );
    assert_eq!(stack.number("SELECT COUNT(*) FROM payments").await?, distinct);
    assert!(stack.list("/v1/dead-letters").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_under_load_loses_nothing_and_repeats_nothing() -> Result<()> {
    let servers = Servers {
        rabbitmq: RabbitMq::shared_or_own().await?,
        redis: Redis::shared_or_own().await?,
        postgres: Postgres::shared_or_own().await?,
    };
    let mut stack = Stack::prepare(Some(servers.into()), &format!("{SOURCES}{PAYMENTS}"))?;
    for _ in 0..2 {
        stack.start_ingest().await?;
    }
    for _ in 0..4 {
        stack.start_worker().await?;
    }
    stack.until_ready().await?;
    let (distinct, requests) = requests();
    let sending = tokio::spawn(sender::send_until_accepted(stack.urls("stripe"), requests, AT_ONCE));
    until_half_is_applied(&stack, &sending).await?;
    stack.crash_worker(1).await?;
    let report = sending.await?;
    every_event_has_exactly_one_effect(&stack, distinct, &report).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_killed_under_load_loses_nothing_and_repeats_nothing() -> Result<()> {
    let servers = Servers::shared().await?;
    let mut stack = Stack::prepare(Some(servers), &format!("{SOURCES}{PAYMENTS}"))?;
    for _ in 0..2 {
        stack.start_ingest().await?;
    }
    stack.start_worker().await?;
    stack.until_ready().await?;
    let (distinct, requests) = requests();
    let sending = tokio::spawn(sender::send_until_accepted(stack.urls("stripe"), requests, AT_ONCE));
    until_half_is_applied(&stack, &sending).await?;
    stack.crash_ingest(0).await?;
    let report = sending.await?;
    every_event_has_exactly_one_effect(&stack, distinct, &report).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_process_killed_under_load_loses_nothing_and_repeats_nothing() -> Result<()> {
    let mut stack = Stack::prepare(None, &format!("{SOURCES}{PAYMENTS}"))?;
    stack.start_ingest().await?;
    stack.until_ready().await?;
    let (distinct, requests) = requests();
    let sending = tokio::spawn(sender::send_until_accepted(stack.urls("stripe"), requests, AT_ONCE));
    until_half_is_applied(&stack, &sending).await?;
    for _ in 0..3 {
        stack.crash_ingest(0).await?;
        stack.until_ready().await?;
        assert_eq!(stack.text("PRAGMA integrity_check")?, "ok");
    }
    let report = sending.await?;
    every_event_has_exactly_one_effect(&stack, distinct, &report).await?;
    stack.finish().await
}
