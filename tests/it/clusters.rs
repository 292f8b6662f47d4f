//! Servers that stand in for each other: one is killed, cut off or restarted, and the others go on with everything.
#![expect(clippy::print_stdout, reason = "what a run measured is worth reading")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tidegate_tests::eventually::eventually;
use tidegate_tests::sender::{self, client, send};
use tidegate_tests::servers::cluster::{CutOff, Member, PostgresPair, RabbitMqCluster, RedisCluster};
use tidegate_tests::servers::{Postgres, RabbitMq, Redis};
use tidegate_tests::stack::{SOON, SOURCES, Stack, Urls};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PAYMENTS: &str = "[[handler]]\nname = \"payments\"\non = [\"stripe:**\"]\nrun = \"payments\"\n";
/// From a fault until an event is accepted and applied again: some seconds for an election, and what is promised.
const RECOVERY_MAX: Duration = Duration::from_secs(10);
/// For how long something is cut off that nothing stands in for: long enough that connections are given up meanwhile.
const CUT: Duration = Duration::from_secs(6);
/// From the loss of a master until its keys are claimed again. Nothing waits for it: events are accepted unclaimed.
const CLAIMS_MAX: Duration = Duration::from_secs(30);
const SENDERS: usize = 4;

/// Senders that never stop, each with one event at a time until that is accepted.
struct Load {
    stop: CancellationToken,
    senders: Vec<JoinHandle<Result<i64>>>,
}

impl Load {
    fn start(stack: &Stack) -> Self {
        let stop = CancellationToken::new();
        let senders = (0..SENDERS).map(|number| tokio::spawn(send_on(stack.url("stripe"), number, stop.clone())));
        Self { senders: senders.collect(), stop: stop.clone() }
    }

    /// How many events were accepted.
    async fn stop(self) -> Result<i64> {
        self.stop.cancel();
        let mut accepted = 0;
        for sender in self.senders {
            accepted += sender.await??;
        }
        Ok(accepted)
    }
}

async fn send_on(url: String, sender: usize, stop: CancellationToken) -> Result<i64> {
    let mut accepted = 0;
    while !stop.is_cancelled() {
        let id = format!("{sender}-{accepted}");
        until_accepted(&url, &id).await?;
        accepted += 1;
        // Every third comes twice.
        if accepted % 3 == 0 {
            until_accepted(&url, &id).await?;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(accepted)
}

async fn until_accepted(url: &str, id: &str) -> Result<()> {
    eventually(&format!("{id} is accepted"), SOON, || async {
        let event = sender::payment(&format!("evt_{id}"), &format!("pi_{id}"));
        let answer = send(&client(), url, &event).await.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await
}

/// Sends one event of its own, and takes the time since `began` until that was accepted and applied.
async fn recovery(stack: &Stack, what: &str, began: Instant) -> Result<()> {
    until_accepted(&stack.url("stripe"), what).await.with_context(|| logs(stack))?;
    let accepted = began.elapsed();
    let sql = format!("SELECT COUNT(*) FROM payments WHERE payment_id = 'pi_{what}'");
    stack.until_number(&sql, 1, SOON).await.with_context(|| logs(stack))?;
    let applied = began.elapsed();
    println!("after {what}: accepted {:.1} s, applied {:.1} s", accepted.as_secs_f64(), applied.as_secs_f64());
    ensure!(applied < RECOVERY_MAX, "after {what} it took {applied:?}\n{}", logs(stack));
    Ok(())
}

fn logs(stack: &Stack) -> String {
    format!("the ingest's log:\n{}\nthe worker's log:\n{}", stack.ingests[0].log_text(), stack.workers[0].log_text())
}

/// Every accepted event was applied once.
async fn applied_once(stack: &Stack, accepted: i64) -> Result<()> {
    stack.until_number("SELECT COUNT(*) FROM payments", accepted, SOON).await?;
    assert_eq!(stack.number("SELECT CAST(SUM(amount) AS BIGINT) FROM balances").await?, accepted);
    assert!(stack.list("/v1/dead-letters").await?.is_empty());
    println!("{accepted} events, each applied once");
    Ok(())
}

/// What a cluster of RabbitMQ needs beside it; held for as long as that runs, since it may be the test's own.
struct Beside {
    redis: Redis,
    postgres: Postgres,
}

impl Beside {
    async fn start() -> Result<Self> {
        let (redis, postgres) = tokio::try_join!(Redis::shared_or_own(), Postgres::shared_or_own())?;
        Ok(Self { redis, postgres })
    }

    async fn stack_on(&self, cluster: &RabbitMqCluster) -> Result<Stack> {
        let (redis, postgres) = (vec![self.redis.url().to_owned()], vec![self.postgres.url().to_owned()]);
        Stack::start_at(Urls { rabbitmq: cluster.urls(), redis, postgres }, &format!("{SOURCES}{PAYMENTS}")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_rabbitmq_loses_nodes_and_no_event() -> Result<()> {
    let cluster = RabbitMqCluster::start(CutOff::PauseMinority).await?;
    let beside = Beside::start().await?;
    let stack = beside.stack_on(&cluster).await?;
    for node in &cluster.nodes {
        node.write_down_queues().await?;
    }
    let queue = stack.queue_of("payments");
    let load = Load::start(&stack);
    recovery(&stack, "nothing", Instant::now()).await?;

    let leader = cluster.leader_of(&queue, 0).await?;
    let began = Instant::now();
    cluster.nodes[leader].kill().await?;
    recovery(&stack, "the-leader-killed", began).await?;
    cluster.nodes[leader].start().await?;
    cluster.until_whole(leader).await?;

    let leader = cluster.leader_of(&queue, (leader + 1) % 3).await?;
    cluster.nodes[leader].until_it_can_be_spared().await?;
    let began = cluster.isolate(leader).await?;
    recovery(&stack, "the-leader-cut-off", began).await?;
    eventually("the minority pauses, or keeps its clients", SOON, || async {
        match TcpStream::connect(cluster.nodes[leader].addr()).await {
            Ok(_) if cluster.pauses => Err("it takes clients".to_owned()),
            Err(error) if !cluster.pauses => Err(error.to_string()),
            Ok(_) | Err(_) => Ok(()),
        }
    })
    .await?;
    cluster.heal(leader).await?;

    for node in 0..cluster.nodes.len() {
        cluster.nodes[node].until_it_can_be_spared().await?;
        cluster.nodes[node].stop().await?;
        recovery(&stack, &format!("a-stop-{node}"), Instant::now()).await?;
        cluster.nodes[node].start().await?;
        cluster.until_whole(node).await?;
    }
    recovery(&stack, "all", Instant::now()).await?;
    applied_once(&stack, load.stop().await? + 7).await?;
    stack.finish().await
}

// Goal: nothing waits for a node that keeps its clients and does nothing for them. Method: every program is connected to
// the first node, which answers heartbeats all the time and has no majority.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_and_keeps_its_clients_is_left() -> Result<()> {
    let cluster = RabbitMqCluster::start(CutOff::Ignore).await?;
    let beside = Beside::start().await?;
    let stack = beside.stack_on(&cluster).await?;
    let load = Load::start(&stack);
    recovery(&stack, "nothing", Instant::now()).await?;
    cluster.nodes[0].until_it_can_be_spared().await?;
    println!("the queue is led by {}", cluster.leader_of(&stack.queue_of("payments"), 0).await?);
    let began = cluster.isolate(0).await?;
    recovery(&stack, "the-node-cut-off", began).await?;
    ensure!(TcpStream::connect(cluster.nodes[0].addr()).await.is_ok(), "the node let go of its clients");
    cluster.nodes[0].kill().await?;
    cluster.nodes[0].start().await?;
    cluster.until_whole(0).await?;
    recovery(&stack, "all", Instant::now()).await?;
    applied_once(&stack, load.stop().await? + 3).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_cluster_loses_masters_and_goes_on_with_claims() -> Result<()> {
    let cluster = RedisCluster::start().await?;
    let (rabbitmq, postgres) = tokio::try_join!(RabbitMq::shared_or_own(), Postgres::shared_or_own())?;
    let (rabbitmq_url, postgres_url) = (rabbitmq.url().to_owned(), postgres.url().to_owned());
    let urls = Urls { rabbitmq: vec![rabbitmq_url], redis: cluster.urls(), postgres: vec![postgres_url] };
    let stack = Stack::start_at(urls, &format!("{SOURCES}{PAYMENTS}")).await?;
    let load = Load::start(&stack);
    let mut sent = 0;
    claims_work(&stack, &mut sent).await?;
    for master in 0..2 {
        let began = Instant::now();
        cluster.nodes[master].kill().await?;
        recovery(&stack, &format!("master-{master}-killed"), began).await?;
        until_claims_work(&stack, &cluster, &mut sent, began).await?;
        println!("claims work {:.1} s after the kill", began.elapsed().as_secs_f64());
        cluster.nodes[master].start().await?;
    }
    let accepted = load.stop().await?;
    applied_once(&stack, accepted + sent + 2).await?;
    stack.finish().await
}

// The master keeps running behind the cut: nothing refuses what is sent to it, and it does not know that it was replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_of_the_redis_cluster_is_cut_off_and_comes_back() -> Result<()> {
    let cluster = RedisCluster::start_apart().await?;
    let (rabbitmq, postgres) = tokio::try_join!(RabbitMq::shared_or_own(), Postgres::shared_or_own())?;
    let (rabbitmq_url, postgres_url) = (rabbitmq.url().to_owned(), postgres.url().to_owned());
    let urls = Urls { rabbitmq: vec![rabbitmq_url], redis: cluster.urls(), postgres: vec![postgres_url] };
    let mut stack = Stack::start_at(urls, &format!("{SOURCES}{PAYMENTS}")).await?;
    let load = Load::start(&stack);
    let mut sent = 0;
    until_claims_work(&stack, &cluster, &mut sent, Instant::now()).await?;
    ensure!(takes_keys(&cluster, 0).await?, "the master takes no keys before it is cut off");
    let began = Instant::now();
    cluster.isolate(0).await?;
    recovery(&stack, "the-master-cut-off", began).await?;
    eventually("the minority refuses", SOON, || async {
        match takes_keys(&cluster, 0).await {
            Ok(false) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    println!("the minority refuses {:.1} s after the cut", began.elapsed().as_secs_f64());
    until_claims_work(&stack, &cluster, &mut sent, began).await?;
    println!("claims work {:.1} s after the cut", began.elapsed().as_secs_f64());
    // Who starts meanwhile is told of the node that is cut off.
    let began = Instant::now();
    stack.crash_ingest(0).await?;
    recovery(&stack, "a-start-during-the-cut", began).await?;
    let began = Instant::now();
    cluster.heal(0).await?;
    recovery(&stack, "the-master-back", began).await?;
    until_claims_work(&stack, &cluster, &mut sent, began).await?;
    println!("claims work {:.1} s after the heal", began.elapsed().as_secs_f64());
    cluster.until_whole(0).await?;
    let accepted = load.stop().await?;
    applied_once(&stack, accepted + sent + 3).await?;
    stack.finish().await
}

/// Whether a master takes one of its own keys, asked on its side of a cut.
async fn takes_keys(cluster: &RedisCluster, master: usize) -> Result<bool> {
    let nodes = cluster.ask(master, &["cluster", "nodes"]).await?;
    let own = nodes.lines().find(|line| line.contains("myself")).context("it knows itself")?;
    let slots = own.split_whitespace().nth(8).and_then(|slots| slots.split_once('-')).context("it has slots")?;
    let slots = slots.0.parse::<u32>()?..=slots.1.parse()?;
    for number in 0.. {
        let key = format!("cut-{number}");
        if slots.contains(&cluster.ask(master, &["cluster", "keyslot", &key]).await?.trim().parse()?) {
            let answer = cluster.ask(master, &["set", &key, "taken"]).await?;
            ensure!(answer.contains("OK") || answer.contains("CLUSTERDOWN"), "{answer}");
            return Ok(answer.contains("OK"));
        }
    }
    anyhow::bail!("no key is one of its own")
}

/// Until a replica has taken over, some events are received without a claim: their twins are accepted too.
async fn until_claims_work(stack: &Stack, cluster: &RedisCluster, sent: &mut i64, began: Instant) -> Result<()> {
    while let Err(error) = claims_work(stack, sent).await {
        if began.elapsed() >= CLAIMS_MAX {
            let nodes = cluster.ask(1, &["cluster", "nodes"]).await;
            let log = stack.ingests[0].log_text();
            let last: Vec<&str> = log.lines().filter(|line| line.contains("redis")).rev().take(12).collect();
            anyhow::bail!(
                "claims do not work again: {error:#}\n{nodes:?}\nthe ingest, backwards:\n{}",
                last.join("\n")
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Sends some events twice, enough for keys on each of the nodes, and makes sure that each is known the second time.
async fn claims_work(stack: &Stack, sent: &mut i64) -> Result<()> {
    for _ in 0..30 {
        let id = format!("twice-{sent}");
        *sent += 1;
        until_accepted(&stack.url("stripe"), &id).await?;
        let again = sender::payment(&format!("evt_{id}"), &format!("pi_{id}"));
        let answer = send(&client(), &stack.url("stripe"), &again).await?;
        ensure!((answer.status, answer.outcome()) == (200, "duplicate"), "{answer:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_of_postgres_takes_over_with_every_effect() -> Result<()> {
    let pair = PostgresPair::start().await?;
    let (rabbitmq, redis) = tokio::try_join!(RabbitMq::shared_or_own(), Redis::shared_or_own())?;
    let (rabbitmq_url, redis_url) = (rabbitmq.url().to_owned(), redis.url().to_owned());
    let urls = Urls { rabbitmq: vec![rabbitmq_url], redis: vec![redis_url], postgres: pair.urls() };
    let stack = Stack::start_at(urls, &format!("{SOURCES}{PAYMENTS}")).await?;
    let load = Load::start(&stack);
    recovery(&stack, "nothing", Instant::now()).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let began = Instant::now();
    pair.primary.kill().await?;
    pair.promote().await?;
    recovery(&stack, "the-primary-killed", began).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    applied_once(&stack, load.stop().await? + 2).await?;
    stack.finish().await
}

// Each is cut off in its turn while it runs. A primary without its standby confirms nothing, wherever it is asked; so
// nothing that was acknowledged to the queue can be missing at the standby, whichever of them goes on.
#[tokio::test(flavor = "multi_thread")]
async fn servers_of_postgres_are_cut_off_and_come_back() -> Result<()> {
    let pair = PostgresPair::start_apart().await?;
    let (rabbitmq, redis) = tokio::try_join!(RabbitMq::shared_or_own(), Redis::shared_or_own())?;
    let (rabbitmq_url, redis_url) = (rabbitmq.url().to_owned(), redis.url().to_owned());
    let urls = Urls { rabbitmq: vec![rabbitmq_url], redis: vec![redis_url], postgres: pair.urls() };
    let mut stack = Stack::start_at(urls, &format!("{SOURCES}{PAYMENTS}")).await?;
    let load = Load::start(&stack);
    recovery(&stack, "nothing", Instant::now()).await?;

    for member in [Member::Standby, Member::Primary] {
        ensure!(pair.confirms_writes(Member::Primary).await?, "the primary takes no writes before the cut");
        let began = Instant::now();
        pair.isolate(member).await?;
        until_accepted(&stack.url("stripe"), &format!("during-{member:?}")).await?;
        ensure!(!pair.confirms_writes(Member::Primary).await?, "a primary alone confirms a write");
        tokio::time::sleep(CUT.saturating_sub(began.elapsed())).await;
        let began = Instant::now();
        pair.heal(member).await?;
        recovery(&stack, &format!("{member:?}-back"), began).await?;
        pair.until_whole().await?;
    }

    let began = Instant::now();
    pair.isolate(Member::Primary).await?;
    pair.promote().await?;
    recovery(&stack, "the-primary-cut-off", began).await?;
    ensure!(!pair.confirms_writes(Member::Primary).await?, "the primary that was replaced confirms a write");
    // Who starts meanwhile asks the silent one first.
    let began = Instant::now();
    stack.crash_worker(0).await?;
    recovery(&stack, "a-start-during-the-cut", began).await?;
    // Whoever promotes a standby must see to it that the old primary does not come back as one.
    pair.primary.kill().await?;
    pair.heal(Member::Primary).await?;
    recovery(&stack, "all", Instant::now()).await?;
    applied_once(&stack, load.stop().await? + 8).await?;
    stack.finish().await
}
