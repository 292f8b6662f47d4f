//! The spool: what is acknowledged while RabbitMQ is away waits on this machine's disk, and is applied once.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::eventually::eventually;
use tidegate_tests::program::binary;
use tidegate_tests::sender::{self, Answer, Signed, client, github, send};
use tidegate_tests::stack::{SOON, Servers, Stack};
use tidegate_tests::target::Target;
use tokio::process::Command;

const PAYMENTS: &str =
    "[[handler]]\nname = \"payments\"\non = [\"stripe:**\"]\nrun = \"payments\"\nretry = [\"300ms\"]\n";

/// Sources that spool, and `demo` that does not; `more` goes into `[ingest]`.
fn config(spool: &Path, more: &str) -> String {
    let source = |name, provider, more| {
        format!("[[source]]\nname = {name:?}\nprovider = {provider:?}\nsecrets = [{:?}]\n{more}", sender::SECRET)
    };
    let spooled = "on_broker_down = \"spool\"\n";
    [
        // Far longer than any answer may take here: what is fast is not so by this deadline.
        format!("[ingest]\nspool = {spool:?}\npublish_timeout = \"5s\"\n{more}"),
        source("github", "github", spooled),
        source("stripe", "stripe", spooled),
        source("demo", "generic", ""),
    ]
    .join("\n")
}

struct World {
    servers: Arc<Servers>,
    stack: Stack,
    _spool: TempDir,
}

impl World {
    /// One ingest and one worker that are ready; the broker remembers its queues from now on.
    async fn start(ingest: &str, handlers: &str) -> Result<Self> {
        let (servers, spool) = (Servers::own().await?, tempfile::tempdir()?);
        let config = format!("{}{handlers}", config(&spool.path().join("spool"), ingest));
        let stack = Stack::start_on(Arc::clone(&servers), &config).await?;
        servers.rabbitmq.write_down_queues().await?;
        Ok(Self { servers, stack, _spool: spool })
    }

    async fn break_broker(&self) -> Result<()> {
        self.servers.rabbitmq.kill().await?;
        eventually("every ingest knows that the broker is away", SOON, || async {
            let health = self.health().await.map_err(|error| error.to_string())?;
            let known = health.iter().all(|health| health["components"]["rabbitmq"]["state"] == "down");
            if known { Ok(()) } else { Err(format!("{health:?}")) }
        })
        .await
    }

    async fn health(&self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        for ingest in &self.stack.ingests {
            all.push(client().get(format!("http://{}/health", ingest.listen)).send().await?.json().await?);
        }
        Ok(all)
    }

    async fn is_ready(&self) -> Result<bool> {
        let ready = client().get(format!("http://{}/ready", self.stack.ingests[0].listen)).send().await?;
        Ok(ready.status().is_success())
    }

    /// What waits at the first ingest.
    async fn waiting(&self) -> Result<u64> {
        self.health().await?[0]["components"]["spool"]["events"].as_u64().context("the spool is a component")
    }

    async fn until_drained(&self) -> Result<()> {
        eventually("every spool is empty", SOON, || async {
            let health = self.health().await.map_err(|error| error.to_string())?;
            let waiting: Vec<_> = health.iter().map(|health| &health["components"]["spool"]["events"]).collect();
            if waiting.iter().all(|events| **events == 0) { Ok(()) } else { Err(format!("{waiting:?}")) }
        })
        .await
    }

    async fn pay(&self, id: &str) -> Result<Answer> {
        send(&client(), &self.stack.url("stripe"), &payment(id)).await
    }

    /// Every payment that was answered 2xx, once.
    async fn applied_once(&self, accepted: i64) -> Result<()> {
        self.until_drained().await?;
        self.stack.until_number("SELECT COUNT(*) FROM payments", accepted, SOON).await?;
        let amount = self.stack.number("SELECT CAST(SUM(amount) AS BIGINT) FROM balances").await?;
        ensure!(amount == accepted, "{accepted} acknowledged, and effects of {amount}");
        ensure!(self.stack.list("/v1/dead-letters").await?.is_empty(), "there are dead letters");
        Ok(())
    }

    async fn tidegate_spool(&self, arguments: &[&str]) -> Result<String> {
        let admin = format!("http://{}", self.stack.ingests[0].admin);
        let command = [&["spool"], arguments, &["--admin", &admin]].concat();
        let output = Command::new(binary("tidegate")?).args(command).output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn payment(id: &str) -> Signed {
    sender::payment(&format!("evt_{id}"), &format!("pi_{id}"))
}

/// Goal: acknowledged means applied once, whatever dies. Method: a load runs through an outage of the broker while the
/// ingest is killed again and again, then once more while it drains.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_spooled_is_applied_once_though_the_ingest_is_killed_again_and_again() -> Result<()> {
    const EVENTS: usize = 3_000;
    let mut world = World::start("", PAYMENTS).await?;
    world.break_broker().await?;
    // Three in ten repeat an earlier event.
    let ids = (0..EVENTS).map(|number| if number % 10 < 7 { number } else { number * 7919 % number });
    let ids: Vec<usize> = ids.collect();
    let distinct = ids.iter().collect::<std::collections::BTreeSet<_>>().len();
    let requests = ids.iter().map(|id| payment(&id.to_string())).collect();
    let sending = tokio::spawn(sender::send_until_accepted(world.stack.urls("stripe"), requests, 16));
    for kill in 1..=5 {
        let goal = (kill * distinct / 8) as u64;
        eventually("more events wait", SOON, || async {
            match world.waiting().await {
                Ok(waiting) if waiting >= goal || sending.is_finished() => Ok(()),
                other => Err(format!("{other:?} of {goal}")),
            }
        })
        .await?;
        world.stack.crash_ingest(0).await?;
    }
    let report = sending.await?;
    ensure!(report.given_up == 0, "{report:?}");
    ensure!(!report.answers.keys().any(|answer| answer.starts_with('5')), "none was refused: {report:?}");
    ensure!(world.waiting().await? == distinct as u64, "each waits once");
    world.servers.rabbitmq.start().await?;
    for left in [4, 2] {
        let goal = (distinct * left / 5) as u64;
        eventually("some of it is drained", SOON, || async {
            match world.waiting().await {
                Ok(waiting) if waiting < goal => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
        world.stack.crash_ingest(0).await?;
    }
    world.applied_once(i64::try_from(distinct)?).await?;
    world.stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_away_a_source_that_spools_is_answered_at_once_and_one_that_rejects_is_refused()
-> Result<()> {
    let world = World::start("", PAYMENTS).await?;
    world.break_broker().await?;
    for number in 0..20 {
        let asked = Instant::now();
        let answer = world.pay(&number.to_string()).await?;
        ensure!((answer.status, answer.outcome()) == (200, "accepted"), "{answer:?}");
        ensure!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
    }
    ensure!(world.pay("7").await?.outcome() == "duplicate", "it waits already");
    let refused = send(&client(), &world.stack.url("demo"), &sender::generic("1", "thing.done", "{}")).await?;
    ensure!((refused.status, refused.outcome()) == (503, "unavailable"), "{refused:?}");
    ensure!(world.is_ready().await?, "the spool takes events");
    let health = world.health().await?.remove(0);
    ensure!(health["status"] == "degraded" && health["components"]["spool"]["state"] == "up", "{health}");
    ensure!(health["components"]["spool"]["oldest_age_seconds"].as_f64().is_some_and(|age| age > 0.0), "{health}");
    let metrics = world.stack.metrics(&world.stack.ingests[0]).await?;
    ensure!(metrics.contains("tidegate_spool_total{source=\"stripe\",outcome=\"spooled\"} 20"), "{metrics}");
    world.servers.rabbitmq.start().await?;
    world.applied_once(20).await?;
    eventually("the metrics say that it is empty", SOON, || async {
        let metrics = world.stack.metrics(&world.stack.ingests[0]).await.map_err(|error| error.to_string())?;
        let says = ["tidegate_spool_events 0", "tidegate_spool_drained_total{outcome=\"drained\"} 20"];
        if says.iter().all(|line| metrics.contains(line)) { Ok(()) } else { Err(metrics) }
    })
    .await?;
    world.stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_is_answered_503_and_takes_events_again_once_it_is_drained() -> Result<()> {
    let world = World::start("spool_bytes_max = \"8KiB\"\n", PAYMENTS).await?;
    world.break_broker().await?;
    let mut accepted = 0;
    let refused = loop {
        let answer = world.pay(&accepted.to_string()).await?;
        if answer.status != 200 {
            break answer;
        }
        accepted += 1;
        ensure!(accepted < 20, "the bound does not hold");
    };
    ensure!((refused.status, refused.outcome()) == (503, "unavailable"), "{refused:?}");
    ensure!(refused.headers.contains_key("retry-after"), "{refused:?}");
    ensure!(accepted >= 3, "{accepted} events fit 8 KiB");
    ensure!(!world.is_ready().await? || world.pay("full").await?.status == 503, "a full door says so");
    let health = world.health().await?.remove(0);
    ensure!(health["components"]["spool"]["events"] == accepted, "{health}");
    world.servers.rabbitmq.start().await?;
    world.until_drained().await?;
    world.stack.until_ready().await?;
    ensure!(world.pay("after").await?.status == 200, "it takes events again");
    world.applied_once(accepted + 1).await?;
    world.stack.finish().await
}

/// Two ingests of one configuration on one machine: each has its own part of the folder. A delivery that GitHub's user
/// sends again reaches the other one, which cannot know, and keeps a twin.
#[tokio::test(flavor = "multi_thread")]
async fn a_github_delivery_sent_again_during_the_outage_to_any_ingest_is_applied_once() -> Result<()> {
    let target = Target::start().await?;
    let mut world = World::start("", &forward(&target, 8)).await?;
    world.stack.start_ingest().await?;
    world.stack.until_ready().await?;
    world.break_broker().await?;
    let urls = world.stack.urls("github");
    let event = github("delivery-1", "push", "{}");
    ensure!(send(&client(), &urls[0], &event).await?.outcome() == "accepted");
    ensure!(send(&client(), &urls[0], &event).await?.outcome() == "duplicate", "it waits here");
    let twin = send(&client(), &urls[1], &event).await?;
    ensure!(twin.outcome() == "accepted", "the other machine's disk answers for itself: {twin:?}");
    ensure!(send(&client(), &urls[1], &github("delivery-2", "push", "{}")).await?.outcome() == "accepted");
    // Nobody starts the second one again: the first adopts what it left.
    world.stack.ingests[1].kill().await?;
    world.stack.ingests.truncate(1);
    world.servers.rabbitmq.start().await?;
    world.stack.until_ready().await?;
    eventually("both are delivered", SOON, || async {
        let delivered = target.delivered();
        if delivered.len() == 2 { Ok(()) } else { Err(format!("{delivered:?}")) }
    })
    .await?;
    world.until_drained().await?;
    ensure!(send(&client(), &urls[0], &event).await?.outcome() == "duplicate", "now it is committed");
    world.stack.until_status("delivery-1", "applied").await?;
    ensure!(target.delivered().values().all(|&times| times == 1), "{:?}", target.delivered());
    world.stack.finish().await
}

fn forward(target: &Target, concurrency: usize) -> String {
    format!(
        "[[handler]]\nname = \"out\"\non = [\"github:**\"]\nrun = \"forward\"\nurl = {:?}\nconcurrency = {concurrency}\n",
        target.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_that_starts_without_the_broker_takes_events_and_drains_the_oldest_first() -> Result<()> {
    const EVENTS: usize = 150;
    let target = Target::start().await?;
    let mut world = World::start("", &forward(&target, 1)).await?;
    world.servers.rabbitmq.kill().await?;
    world.stack.crash_ingest(0).await?;
    let expected: Vec<String> = (0..EVENTS).map(|number| format!("delivery-{number}")).collect();
    for id in &expected {
        let answer = send(&client(), &world.stack.url("github"), &github(id, "push", "{}")).await?;
        ensure!((answer.status, answer.outcome()) == (200, "accepted"), "{answer:?}");
    }
    world.servers.rabbitmq.start().await?;
    let delivered = eventually("all are delivered", SOON, || async {
        let calls = target.calls();
        if calls.len() >= EVENTS { Ok(calls) } else { Err(calls.len().to_string()) }
    })
    .await?;
    let order: Vec<String> = delivered.iter().map(|call| call.header("tidegate-event-id").to_owned()).collect();
    ensure!(order == expected, "{order:?}");
    world.until_drained().await?;
    world.stack.finish().await
}

/// Goal: one event that the broker will never take stops no other, is shown, and is not lost. Method: a message larger
/// than the broker's limit, for which that ends the connection of all that fly beside it.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_broker_refuses_for_good_waits_behind_the_others_and_is_shown() -> Result<()> {
    let mut world = World::start("", PAYMENTS).await?;
    let servers = Arc::clone(&world.servers);
    servers.rabbitmq.limit_messages(100_000).await?;
    // A channel has the limit that was in force when it was opened.
    world.stack.crash_ingest(0).await?;
    world.stack.until_ready().await?;
    let large = String::from_utf8(payment("large").body)?
        .replace("\"data\"", &format!("\"pad\": \"{}\", \"data\"", "x".repeat(200_000)));
    let answer = send(&client(), &world.stack.url("stripe"), &sender::stripe(large)).await?;
    ensure!(answer.status == 200, "the spool has it: {answer:?}");
    for number in 0..20 {
        ensure!(world.pay(&number.to_string()).await?.status == 200);
    }
    eventually("only the large one waits, behind", SOON, || async {
        let spool = world.health().await.map_err(|error| error.to_string())?[0]["components"]["spool"].clone();
        if (&spool["events"], &spool["behind"]) == (&1.into(), &1.into()) { Ok(()) } else { Err(spool.to_string()) }
    })
    .await?;
    world.stack.until_number("SELECT COUNT(*) FROM payments", 20, SOON).await?;
    let row: Value = serde_json::from_str(&world.tidegate_spool(&["list", "--json"]).await?)?;
    ensure!(row["event_id"] == "evt_large" && row["tries"].as_u64() >= Some(1), "{row}");
    ensure!(row["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{row}");
    ensure!(world.tidegate_spool(&["status"]).await?.contains("1 of them the broker did not take"));
    servers.rabbitmq.limit_messages(100_000_000).await?;
    world.stack.crash_ingest(0).await?;
    world.stack.until_ready().await?;
    world.tidegate_spool(&["drain"]).await?;
    world.applied_once(21).await?;
    world.stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_where_the_spool_lies_and_what_it_needs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let spool = folder.path().join("waits here");
    let check = async |backend: &str| -> Result<String> {
        let file = folder.path().join("tidegate.toml");
        std::fs::write(&file, format!("{}\n[backend]\n{backend}", config(&spool, "")))?;
        let output = Command::new(binary("tidegate")?).args(["check", "--config"]).arg(&file).output().await?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let urls = "rabbitmq = \"amqp://mq\"\nredis = \"redis://r\"\npostgres = \"postgres://p/x\"\n";
    let distributed = check(&format!("kind = \"distributed\"\n{urls}")).await?;
    ensure!(distributed.contains("waits here") && distributed.contains("github, stripe"), "{distributed}");
    ensure!(distributed.contains("survives"), "{distributed}");
    let embedded = check("kind = \"embedded\"\n").await?;
    ensure!(embedded.contains("has no meaning"), "{embedded}");
    Ok(())
}
