//! A server goes away and comes back: what senders read meanwhile, and that nothing is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidegate_tests::eventually::eventually;
use tidegate_tests::sender::{self, client, send};
use tidegate_tests::servers::{Postgres, RabbitMq, Redis};
use tidegate_tests::stack::{SOON, SOURCES, Servers, Stack};
use tidegate_tests::target::Target;

const PAYMENTS: &str =
    "[[handler]]\nname = \"payments\"\non = [\"stripe:**\"]\nrun = \"payments\"\nretry = [\"300ms\"]\n";

async fn pay(stack: &Stack, id: &str) -> Result<sender::Answer> {
    send(&client(), &stack.url("stripe"), &sender::payment(&format!("evt_{id}"), &format!("pi_{id}"))).await
}

/// Every payment that was answered 2xx, once.
async fn applied_once(stack: &Stack, accepted: i64) -> Result<()> {
    stack.until_number("SELECT COUNT(*) FROM payments", accepted, SOON).await?;
    assert_eq!(stack.number("SELECT CAST(SUM(amount) AS BIGINT) FROM balances").await?, accepted);
    assert!(stack.list("/v1/dead-letters").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_2xx_while_rabbitmq_is_down_and_all_is_well_when_it_is_back() -> Result<()> {
    let servers = Servers::own().await?;
    let stack = Stack::start_on(servers.clone(), &format!("{SOURCES}{PAYMENTS}")).await?;
    assert_eq!(pay(&stack, "before").await?.outcome(), "accepted");
    // Brokers before the fix of rabbitmq/ra#443 forget a queue that is younger than a second when they are killed.
    servers.rabbitmq.write_down_queues().await?;
    servers.rabbitmq.kill().await?;
    for number in 0..5 {
        let asked = Instant::now();
        let answer = pay(&stack, &format!("down-{number}")).await?;
        assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{answer:?}");
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        assert!(asked.elapsed() < Duration::from_secs(3), "it took {:?}", asked.elapsed());
    }
    let ready = client().get(format!("http://{}/ready", stack.ingests[0].listen)).send().await?;
    assert_eq!(ready.status().as_u16(), 503);
    let text = ready.text().await?;
    assert!(text.contains("\"rabbitmq\":{\"state\":\"down\""), "{text}");
    servers.rabbitmq.start().await?;
    stack.until_ready().await?;
    for number in 0..5 {
        assert_eq!(pay(&stack, &format!("down-{number}")).await?.outcome(), "accepted");
    }
    applied_once(&stack, 6).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_a_disk_alarm_makes_the_door_refuse_until_it_is_cleared() -> Result<()> {
    let servers = Servers::own().await?;
    let stack = Stack::start_on(servers.clone(), &format!("{SOURCES}{PAYMENTS}")).await?;
    servers.rabbitmq.raise_disk_alarm().await?;
    // RabbitMQ tells a connection that it is blocked when that publishes next.
    let refused = eventually("the door refuses", SOON, || async {
        let answer = pay(&stack, "blocked").await.map_err(|error| error.to_string())?;
        if answer.status == 503 { Ok(answer) } else { Err(format!("{answer:?}")) }
    })
    .await?;
    assert_eq!(refused.outcome(), "unavailable");
    servers.rabbitmq.clear_disk_alarm().await?;
    stack.until_ready().await?;
    let answer = pay(&stack, "blocked").await?;
    assert!(["accepted", "duplicate"].contains(&answer.outcome()), "{answer:?}");
    applied_once(&stack, 1).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_accepted_and_applied_once_while_redis_is_down() -> Result<()> {
    let servers = Servers::own().await?;
    let stack = Stack::start_on(servers.clone(), &format!("{SOURCES}{PAYMENTS}")).await?;
    servers.redis.kill().await?;
    for number in 0..20 {
        for _ in 0..2 {
            // Without claims nobody can say "duplicate" at the door: both are accepted, and the inbox drops one.
            let answer = pay(&stack, &number.to_string()).await?;
            assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{answer:?}");
        }
    }
    let health = client().get(format!("http://{}/health", stack.ingests[0].listen)).send().await?.text().await?;
    assert!(health.contains("\"status\":\"degraded\""), "{health}");
    applied_once(&stack, 20).await?;
    eventually("the worker says that its cache is away, and works on", SOON, || async {
        let ask = async |path| client().get(format!("{}{path}", stack.admin())).send().await;
        let (health, ready) = (ask("/health").await, ask("/ready").await);
        let (health, ready) = (health.map_err(|error| error.to_string())?, ready.map_err(|error| error.to_string())?);
        let text = health.text().await.unwrap_or_default();
        let says = text.contains("\"redis\":{\"state\":\"down\"") && text.contains("\"status\":\"degraded\"");
        if says && ready.status().is_success() { Ok(()) } else { Err(text) }
    })
    .await?;
    servers.redis.start().await?;
    stack.until_number("SELECT COUNT(*) FROM payments", 20, SOON).await?;
    eventually("claims work again", SOON, || async {
        let id = uuid::Uuid::new_v4().to_string();
        let (first, second) = (pay(&stack, &id).await, pay(&stack, &id).await);
        match (first, second) {
            (Ok(first), Ok(second)) if (first.outcome(), second.outcome()) == ("accepted", "duplicate") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_under_an_id_is_applied_although_redis_forgot_the_first() -> Result<()> {
    let (rabbitmq, redis, postgres) =
        tokio::try_join!(RabbitMq::shared_or_own(), Redis::own(), Postgres::shared_or_own())?;
    let servers = Arc::new(Servers { rabbitmq, redis, postgres });
    let stack = Stack::start_on(servers.clone(), &format!("{SOURCES}{PAYMENTS}")).await?;
    // Each is accepted: nobody at the door knows the others any more.
    for (payment, applied) in [("pi_1", 1), ("pi_2", 2), ("pi_1", 2), ("pi_2", 2)] {
        let answer = send(&client(), &stack.url("stripe"), &sender::payment("evt_1", payment)).await?;
        assert_eq!((answer.status, answer.outcome()), (200, "accepted"), "{answer:?}");
        stack.until_number("SELECT COUNT(*) FROM payments", applied, SOON).await?;
        servers.flush_redis().await?;
    }
    eventually("all four are settled", SOON, || async {
        let settled = stack.metric("tidegate_settle_total", &["outcome=\"applied"]).await;
        if settled.as_ref().is_ok_and(|settled| *settled > 3.5) { Ok(()) } else { Err(format!("{settled:?}")) }
    })
    .await?;
    assert_eq!(stack.number("SELECT CAST(SUM(amount) AS BIGINT) FROM balances").await?, 2);
    let conflicts = stack.metric("tidegate_inbox_conflicts_total", &[]).await?;
    assert!((conflicts - 2.0).abs() < f64::EPSILON, "{conflicts}");
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_pause_while_postgres_is_down_and_count_no_attempt() -> Result<()> {
    let servers = Servers::own().await?;
    let target = Target::start().await?;
    let forward = format!(
        "[[handler]]\nname = \"out\"\non = [\"stripe:**\"]\nrun = \"forward\"\nurl = {:?}\nretry = [\"1s\"]\n",
        target.url()
    );
    let stack = Stack::start_on(servers.clone(), &format!("{SOURCES}{PAYMENTS}{forward}")).await?;
    servers.postgres.kill().await?;
    for number in 0..100 {
        assert_eq!(pay(&stack, &number.to_string()).await?.outcome(), "accepted");
    }
    let ready = client().get(format!("{}/ready", stack.admin())).send().await?;
    assert_eq!(ready.status().as_u16(), 503, "the worker is not ready");
    // Longer than the whole retry ladder of `payments`: a worker that counted attempts would have given up by now.
    tokio::time::sleep(Duration::from_secs(3)).await;
    servers.postgres.start().await?;
    stack.until_ready().await?;
    applied_once(&stack, 100).await?;
    let row = stack.until_status("evt_0", "applied").await?;
    let attempts = row["handlers"].as_array().cloned().unwrap_or_default();
    ensure!(attempts.iter().all(|handler| handler["attempts"] == 1), "{row}");
    assert!(target.delivered().values().all(|&times| times == 1), "an effect that only waits is not made again");
    stack.finish().await
}
