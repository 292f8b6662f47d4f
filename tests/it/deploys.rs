//! Deploys under load: old and new processes side by side, no honest sender refused, nothing lost, nothing twice.
//!
//! An honest sender here tries again on another address when a connection is refused, reset or closed, but takes every
//! answer as final: one answer that is not 2xx fails the test.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reqwest::Client;
use tidegate_tests::eventually::eventually;
use tidegate_tests::program::Program;
use tidegate_tests::sender::{self, client, payment, send};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Servers, Stack};
use tidegate_tests::upstream::{Does, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::on_both_backends;

const PAYMENTS: &str = "[[handler]]\nname = \"payments\"\non = [\"stripe:**\"]\nrun = \"payments\"\n";
const SENDERS: usize = 16;
/// One in so many requests comes on a connection of its own; the others share what is open.
const FRESH_CONNECTION_EVERY: usize = 8;
/// Code of a process that abandoned work: `tidegate_shared::process::EXIT_ABANDONED`.
const ABANDONED: Option<i32> = Some(3);

on_both_backends!(
    a_stopping_door_is_unready_but_takes_events_until_its_delay_is_over,
    a_second_signal_leaves_at_once_and_the_event_comes_again,
    a_request_that_never_ends_does_not_outlast_the_grace,
);

/// Senders that send new events until they are told to stop.
struct Load {
    addresses: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    senders: JoinSet<Result<()>>,
}

impl Load {
    fn start(addresses: Vec<String>) -> Self {
        let mut load = Self {
            addresses: Arc::new(Mutex::new(addresses)),
            stop: Arc::default(),
            sent: Arc::default(),
            senders: JoinSet::new(),
        };
        for number in 0..SENDERS {
            let (addresses, stop, sent) = (Arc::clone(&load.addresses), Arc::clone(&load.stop), Arc::clone(&load.sent));
            load.senders.spawn(async move {
                let kept_alive = client();
                while !stop.load(Ordering::Relaxed) {
                    let event = sent.fetch_add(1, Ordering::Relaxed);
                    let fresh = (event % FRESH_CONNECTION_EVERY == 0).then(client);
                    accept_one(fresh.as_ref().unwrap_or(&kept_alive), &addresses, number, event).await?;
                }
                Ok(())
            });
        }
        load
    }

    /// What a load balancer's configuration says from now on.
    fn send_to(&self, addresses: Vec<String>) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Waits for so many more events.
    async fn until_sent(&self, more: usize) -> Result<()> {
        let goal = self.sent.load(Ordering::Relaxed) + more;
        eventually("the load goes on", SOON, || async {
            let sent = self.sent.load(Ordering::Relaxed);
            if sent >= goal { Ok(()) } else { Err(sent.to_string()) }
        })
        .await
    }

    /// Stops, and says how many events were accepted.
    async fn finish(mut self) -> Result<i64> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(sender) = self.senders.join_next().await {
            sender??;
        }
        Ok(i64::try_from(self.sent.load(Ordering::Relaxed))?)
    }
}

/// Sends one event until there is an answer, which must be 200.
async fn accept_one(client: &Client, addresses: &Mutex<Vec<String>>, number: usize, event: usize) -> Result<()> {
    let request = payment(&format!("evt_{event}"), &format!("pi_{event}"));
    let begun = Instant::now();
    for attempt in 0.. {
        ensure!(begun.elapsed() < SOON, "event {event} found no open door within {SOON:?}");
        let address = {
            let addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
            addresses[(number + event + attempt) % addresses.len()].clone()
        };
        match send(client, &address, &request).await {
            Ok(answer) => {
                ensure!(answer.status == 200, "event {event} was answered {} {}", answer.status, answer.body);
                return Ok(());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    Ok(())
}

async fn stop_gracefully(mut program: Program) -> Result<()> {
    let ended = program.terminate().await?;
    ensure!(ended.success(), "it ended with {ended}: {}", program.log_text());
    let errors = program.logged("ERROR");
    ensure!(errors.is_empty(), "it complained: {errors:#?}");
    Ok(())
}

async fn each_was_applied_once(stack: &Stack, accepted: i64) -> Result<()> {
    stack.until_number("SELECT COUNT(*) FROM payments", accepted, SOON).await?;
    let applied = stack.number("SELECT CAST(SUM(amount) AS BIGINT) FROM balances").await?;
    ensure!(applied == accepted, "{accepted} accepted, but effects of {applied}");
    ensure!(stack.list("/v1/dead-letters").await?.is_empty(), "there are dead letters");
    Ok(())
}

/// Goal: a deploy costs nobody anything. Method: under load each of two ingests and two workers is replaced, the new one
/// beside the old; in one round senders learn of it before the old one stops, in the next only from the closed port.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_deploy_refuses_nobody_loses_nothing_and_repeats_nothing() -> Result<()> {
    let mut stack = Stack::prepare(Some(Servers::shared().await?), &format!("{SOURCES}{PAYMENTS}"))?;
    for _ in 0..2 {
        stack.start_ingest().await?;
        stack.start_worker().await?;
    }
    stack.until_ready().await?;
    let load = Load::start(stack.urls("stripe"));
    load.until_sent(200).await?;
    for round in 0..4 {
        stack.start_ingest().await?;
        stack.start_worker().await?;
        stack.until_ready().await?;
        let (old_ingest, old_worker) = (stack.ingests.remove(0), stack.workers.remove(0));
        if round % 2 == 0 {
            load.send_to(stack.urls("stripe"));
        }
        load.until_sent(100).await?;
        tokio::try_join!(stop_gracefully(old_ingest), stop_gracefully(old_worker))?;
        load.until_sent(100).await?;
        load.send_to(stack.urls("stripe"));
    }
    let accepted = load.finish().await?;
    each_was_applied_once(&stack, accepted).await?;
    stack.finish().await
}

/// The one process of the embedded way: senders find a closed port for a moment, and never a refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_one_process_refuses_nobody() -> Result<()> {
    let mut stack = Stack::start(Backend::Embedded, &format!("{SOURCES}{PAYMENTS}")).await?;
    let load = Load::start(stack.urls("stripe"));
    for _ in 0..4 {
        load.until_sent(200).await?;
        let (listen, admin) = (stack.ingests[0].listen, stack.ingests[0].admin);
        let ended = stack.ingests[0].terminate().await?;
        ensure!(ended.success(), "{ended}: {}", stack.ingests[0].log_text());
        stack.restart_ingest_at(0, listen, admin).await?;
    }
    load.until_sent(200).await?;
    let accepted = load.finish().await?;
    each_was_applied_once(&stack, accepted).await?;
    stack.finish().await
}

async fn a_stopping_door_is_unready_but_takes_events_until_its_delay_is_over(backend: Backend) -> Result<()> {
    let mut stack = Stack::start(backend, &format!("[ingest]\ndrain_delay = \"3s\"\n{SOURCES}{PAYMENTS}")).await?;
    let (door, client) = (stack.ingests[0].listen, client());
    stack.ingests[0].signal("TERM").await?;
    eventually("it is not ready any more", Duration::from_secs(2), || async {
        let ready = client.get(format!("http://{door}/ready")).send().await.map_err(|error| error.to_string())?;
        if ready.status() == 503 { Ok(()) } else { Err(ready.status().to_string()) }
    })
    .await?;
    let answer = send(&client, &stack.url("stripe"), &payment("evt_late", "pi_late")).await?;
    assert_eq!((answer.status, answer.outcome()), (200, "accepted"));
    eventually("the port is closed", SOON, || async {
        if TcpStream::connect(door).await.is_err() { Ok(()) } else { Err("it is open".to_owned()) }
    })
    .await?;
    let ended = stack.ingests.remove(0).wait().await?;
    ensure!(ended.success(), "{ended}");
    stack.start_ingest().await?;
    stack.until_ready().await?;
    stack.until_status("evt_late", "applied").await?;
    stack.finish().await
}

/// A worker with little patience, whose handler calls `target`.
fn forward(target: &Upstream) -> String {
    format!(
        "[worker]\nshutdown_grace = \"4s\"\n[[handler]]\nname = \"out\"\non = [\"**\"]\nrun = \"forward\"\nurl = {:?}\n\
         timeout = \"3s\"\nconcurrency = 2\nretry = [\"100ms\", \"100ms\", \"100ms\"]\n",
        target.url()
    )
}

async fn until_asked(target: &Upstream, times: usize) -> Result<()> {
    eventually(&format!("the target was asked {times} times"), SOON, || async {
        let asked = target.asked().len();
        if asked >= times { Ok(()) } else { Err(asked.to_string()) }
    })
    .await
}

async fn a_second_signal_leaves_at_once_and_the_event_comes_again(backend: Backend) -> Result<()> {
    let target = Upstream::start(|_| Does::hangs()).await?;
    let mut stack = Stack::start(backend, &format!("{SOURCES}{}", forward(&target))).await?;
    let answer = send(&client(), &stack.url("github"), &sender::github("id-1", "push", "{}")).await?;
    assert_eq!(answer.status, 200);
    until_asked(&target, 1).await?;
    let mut handlers = if backend == Backend::Embedded { stack.ingests.remove(0) } else { stack.workers.remove(0) };
    handlers.signal("TERM").await?;
    eventually("it has heard the first signal", SOON, || async {
        if handlers.log_text().contains("finishing what was begun") { Ok(()) } else { Err(handlers.log_text()) }
    })
    .await?;
    let second = Instant::now();
    handlers.signal("TERM").await?;
    let ended = handlers.wait().await?;
    assert_eq!(ended.code(), ABANDONED, "{}", handlers.log_text());
    assert!(second.elapsed() < Duration::from_secs(2), "it left at once, not after {:?}", second.elapsed());
    target.always(|_| Does::status(200));
    stack.start_handlers().await?;
    stack.until_status("id-1", "applied").await?;
    stack.finish().await
}

/// Goal: nobody waits for a worker that stops. Method: of two workers with two places each one is stopped while all four
/// places hang; the other applies everything that nobody has begun, before the first has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_leaves_the_rest_to_others_at_once() -> Result<()> {
    let target = Upstream::start(|_| Does::status(200)).await?;
    let slow = || Does::status(200).after(Duration::from_millis(2_500));
    target.first([slow(), slow(), slow(), slow()]);
    let mut stack = Stack::prepare(Some(Servers::shared().await?), &format!("{SOURCES}{}", forward(&target)))?;
    stack.start_ingest().await?;
    stack.start_worker().await?;
    stack.start_worker().await?;
    stack.until_ready().await?;
    for number in 0..24 {
        let request = sender::github(&format!("id-{number}"), "push", "{}");
        assert_eq!(send(&client(), &stack.url("github"), &request).await?.status, 200);
    }
    until_asked(&target, 4).await?;
    let mut stopping = stack.workers.remove(0);
    let told = Instant::now();
    stopping.signal("TERM").await?;
    until_asked(&target, 24).await?;
    assert!(told.elapsed() < Duration::from_secs(6), "the rest waited {:?}", told.elapsed());
    let ended = stopping.wait().await?;
    ensure!(ended.success(), "what it had begun was finished: {ended}");
    for number in 0..24 {
        stack.until_status(&format!("id-{number}"), "applied").await?;
    }
    assert_eq!(target.asked().len(), 24, "nothing was delivered twice");
    stack.finish().await
}

/// Goal: the grace is a deadline. Method: a lock on its table holds up the commit for longer than the worker may take.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_finished_within_the_grace_is_abandoned_and_comes_again() -> Result<()> {
    let limits = "[worker]\nshutdown_grace = \"2s\"\n";
    let handler = format!("{PAYMENTS}timeout = \"1s\"\n");
    let mut stack = Stack::start(Backend::Distributed, &format!("{limits}{SOURCES}{handler}")).await?;
    let mut ledger = stack.connect_ledger().await?;
    let lock = ledger.transaction().await?;
    lock.batch_execute("LOCK TABLE payments IN ACCESS EXCLUSIVE MODE").await?;
    assert_eq!(send(&client(), &stack.url("stripe"), &payment("evt_1", "pi_1")).await?.status, 200);
    eventually("its commit waits for the lock", SOON, || async {
        let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND relation = to_regclass('payments')";
        match stack.number(waiting).await {
            Ok(1..) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    let mut worker = stack.workers.remove(0);
    let ended = worker.terminate().await?;
    assert_eq!(ended.code(), ABANDONED, "{}", worker.log_text());
    assert!(worker.log_text().contains("not everything was finished in time"), "{}", worker.log_text());
    lock.rollback().await?;
    stack.start_worker().await?;
    stack.until_ready().await?;
    stack.until_status("evt_1", "applied").await?;
    each_was_applied_once(&stack, 1).await?;
    stack.finish().await
}

/// Goal: a sender that dawdles cannot keep the process. Method: half a request, and no more of it.
async fn a_request_that_never_ends_does_not_outlast_the_grace(backend: Backend) -> Result<()> {
    // The body may be as slow as it is: it is the process that must not wait for it.
    let limits = "[ingest]\nshutdown_grace = \"1s\"\nbody_rate_min = \"1B\"\n[worker]\nshutdown_grace = \"2s\"\n";
    let handler = format!("{PAYMENTS}timeout = \"1s\"\n");
    let mut stack = Stack::start(backend, &format!("{limits}{SOURCES}{handler}")).await?;
    let mut door = TcpStream::connect(stack.ingests[0].listen).await?;
    door.write_all(b"POST /webhooks/stripe HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf of").await?;
    let metrics = stack.metrics(&stack.ingests[0]).await?;
    ensure!(metrics.contains("tidegate_"), "the door answers beside it: {metrics}");
    let mut ingest = stack.ingests.remove(0);
    let told = Instant::now();
    let ended = ingest.terminate().await?;
    assert_eq!(ended.code(), ABANDONED, "{}", ingest.log_text());
    assert!(told.elapsed() < Duration::from_secs(10), "it took {:?}", told.elapsed());
    let mut answer = Vec::new();
    door.read_to_end(&mut answer).await.context("the connection is closed").or_else(|error| {
        // A reset is as good as an end.
        if error.downcast_ref::<std::io::Error>().is_some() { Ok(0) } else { Err(error) }
    })?;
    assert!(answer.is_empty(), "no answer was made up: {}", String::from_utf8_lossy(&answer));
    stack.start_ingest().await?;
    stack.until_ready().await?;
    stack.finish().await
}
