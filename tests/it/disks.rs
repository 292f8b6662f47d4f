//! A disk that is full, failing or read-only: 503 and never a 2xx, nothing is damaged, and service returns by itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidegate_tests::disk::{self, Fault};
use tidegate_tests::eventually::eventually;
use tidegate_tests::program::Program;
use tidegate_tests::sender::{self, Answer, client, send};
use tidegate_tests::stack::{SOON, SOURCES, Stack};

const PAYMENTS: &str =
    "[[handler]]\nname = \"payments\"\non = [\"stripe:**\"]\nrun = \"payments\"\nretry = [\"300ms\"]\n";
/// Events that are sent to a full disk until one does not fit: what stands in its log is written over first.
const TRIES: usize = 500;
/// Longer than any answer takes, with or without a disk.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Sends events with numbers of their own, and remembers which were answered 2xx.
struct Sender {
    url: String,
    sent: usize,
    accepted: BTreeSet<usize>,
}

impl Sender {
    async fn send(&mut self, number: usize) -> Result<Answer> {
        let began = Instant::now();
        let event = sender::payment(&format!("evt_{number}"), &format!("pi_{number}"));
        let answer = send(&client(), &self.url, &event).await?;
        ensure!(began.elapsed() < ANSWER_MAX, "it took {:?}: {answer:?}", began.elapsed());
        match answer.status {
            200 => drop(self.accepted.insert(number)),
            503 => ensure!(answer.headers.contains_key("retry-after"), "{answer:?}"),
            other => anyhow::bail!("{other}: {answer:?}"),
        }
        Ok(answer)
    }

    async fn send_new(&mut self) -> Result<u16> {
        self.sent += 1;
        Ok(self.send(self.sent - 1).await?.status)
    }

    /// Well, then broken, then well again: every event is accepted in the end.
    async fn through(&mut self, fault: Fault, control: &Path) -> Result<()> {
        for _ in 0..5 {
            ensure!(self.send_new().await? == 200, "the disk is well");
        }
        disk::set(control, fault)?;
        if fault == Fault::Full {
            let mut tries = 0;
            while self.send_new().await? == 200 {
                tries += 1;
                ensure!(tries < TRIES, "a full disk takes whatever is sent");
            }
        } else {
            for _ in 0..10 {
                ensure!(self.send_new().await? == 503, "answered 2xx while the disk does not keep anything");
            }
        }
        disk::set(control, Fault::None)?;
        for number in 0..self.sent {
            eventually("it is accepted", SOON, || async {
                let event = sender::payment(&format!("evt_{number}"), &format!("pi_{number}"));
                let answer = send(&client(), &self.url, &event).await.map_err(|error| error.to_string())?;
                if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
            })
            .await?;
            self.accepted.insert(number);
        }
        Ok(())
    }
}

async fn the_store_survives(fault: Fault) -> Result<()> {
    let mut stack = Stack::prepare(None, &format!("{SOURCES}{PAYMENTS}"))?;
    let control = stack.data().with_file_name("control");
    stack.variables = disk::controlled(&stack.data(), &control)?;
    stack.start_ingest().await?;
    stack.until_ready().await?;
    let mut sender = Sender { url: stack.url("stripe"), sent: 0, accepted: BTreeSet::new() };
    sender.through(fault, &control).await?;
    stack.until_ready().await?;
    let sent = i64::try_from(sender.sent)?;
    for _ in 0..2 {
        stack.until_number("SELECT COUNT(*) FROM payments", sent, SOON).await?;
        assert_eq!(stack.number("SELECT SUM(amount) FROM balances").await?, sent);
        assert_eq!(stack.text("PRAGMA integrity_check")?, "ok");
        // What a restart finds is the same.
        stack.crash_ingest(0).await?;
        stack.until_ready().await?;
    }
    assert!(stack.list("/v1/dead-letters").await?.is_empty());
    ensure!(stack.ingests[0].terminate().await?.success(), "{}", stack.ingests[0].log_text());
    Ok(())
}

async fn the_spool_survives(fault: Fault) -> Result<()> {
    let site = tempfile::tempdir()?;
    let (spool, control, config) =
        (site.path().join("spool"), site.path().join("control"), site.path().join("tidegate.toml"));
    // Nobody listens on the discard port.
    let text = format!(
        "[ingest]\nspool = {spool:?}\npublish_timeout = \"500ms\"\n\
         [[source]]\nname = \"stripe\"\nprovider = \"stripe\"\nsecrets = [{:?}]\non_broker_down = \"spool\"\n\
         [backend]\nkind = \"distributed\"\nrabbitmq = \"amqp://guest:guest@127.0.0.1:9\"\n\
         redis = \"redis://127.0.0.1:9\"\npostgres = \"postgres://nobody@127.0.0.1:9/none\"\n",
        sender::SECRET
    );
    std::fs::write(&config, text)?;
    let at = ["--config", &config.display().to_string(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let variables = disk::controlled(&spool, &control)?;
    let mut ingest = Program::start_with("tidegate-ingest", &at.map(str::to_owned), &variables).await?;
    let url = format!("http://{}/webhooks/stripe", ingest.listen);
    let mut sender = Sender { url, sent: 0, accepted: BTreeSet::new() };
    sender.through(fault, &control).await?;
    ingest.kill().await?;
    let store = rusqlite::Connection::open(spool.join("0/tidegate.db"))?;
    let whole: String = store.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    assert_eq!(whole, "ok");
    let waiting: i64 = store.query_row("SELECT COUNT(DISTINCT event_id) FROM waiting", [], |row| row.get(0))?;
    assert_eq!(usize::try_from(waiting)?, sender.accepted.len());
    assert_eq!(sender.accepted.len(), sender.sent);
    Ok(())
}

async fn both_survive(fault: Fault) -> Result<()> {
    the_store_survives(fault).await?;
    the_spool_survives(fault).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_answered_503_and_service_returns() -> Result<()> {
    both_survive(Fault::Full).await
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_writes_are_answered_503_and_service_returns() -> Result<()> {
    both_survive(Fault::WriteFails).await
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_syncs_are_answered_503_and_service_returns() -> Result<()> {
    both_survive(Fault::SyncFails).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_read_only_is_answered_503_and_service_returns() -> Result<()> {
    both_survive(Fault::ReadOnly).await
}
