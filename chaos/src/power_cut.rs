//! Power cuts: records what a program does to its disk, then takes the power away after each step of it.
//!
//! What is left is opened as after a restart. It must be whole, hold every event whose sender was about to read a 2xx,
//! and every effect beside the row that says it was applied.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rusqlite::Connection;
use tempfile::TempDir;
use tidegate_shared::store::Store;
use tidegate_tests::program::Program;
use tidegate_tests::sender::{self, Signed};
use tidegate_tests::{disk as preload, eventually::eventually};

use crate::plan::Plan;
use crate::site::HANDLERS;

pub mod disk;
pub mod trace;

use disk::{Chance, Disk};
use trace::{Op, Trace};

/// Requests at once, so that commits hold several events.
const AT_ONCE: usize = 16;
/// Folders that do not exist yet: their names must become safe too.
const NESTED: &str = "var/lib/tidegate";
/// Entries of the record that a failure shows.
const SHOWN: usize = 12;

/// Whose disk it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The embedded store.
    Embedded,
    /// The spool of an ingest that cannot reach its broker.
    Spool,
}

impl Subject {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Embedded, Self::Spool];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded store",
            Self::Spool => "spool",
        }
    }

    fn config(self, folder: &Path) -> String {
        let source =
            format!("[[source]]\nname = \"chaos\"\nprovider = \"generic\"\nsecrets = [{:?}]\n", sender::SECRET);
        match self {
            Self::Embedded => {
                format!("{HANDLERS}{source}[backend]\nkind = \"embedded\"\npath = {:?}\n", folder.join(NESTED))
            }
            // Nobody listens on the discard port.
            Self::Spool => format!(
                "[ingest]\nspool = {:?}\npublish_timeout = \"500ms\"\n{source}on_broker_down = \"spool\"\n\
                 [backend]\nkind = \"distributed\"\nrabbitmq = \"amqp://guest:guest@127.0.0.1:9\"\n\
                 redis = \"redis://127.0.0.1:9\"\npostgres = \"postgres://nobody@127.0.0.1:9/none\"\n",
                folder.join(NESTED)
            ),
        }
    }

    /// Has a program take `events`, and records what it does to its disk until it has stopped.
    ///
    /// # Errors
    /// If it does not start, or does not take every event.
    pub async fn record(self, seed: u64, events: u64) -> Result<Trace> {
        let site = TempDir::new()?;
        let folder = site.path().join("disk");
        std::fs::create_dir(&folder)?;
        let (config, record) = (site.path().join("tidegate.toml"), site.path().join("record"));
        std::fs::write(&config, self.config(&folder))?;
        let at = ["--config", &config.display().to_string(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let name = match self {
            Self::Embedded => "chaos-dev",
            Self::Spool => "tidegate-ingest",
        };
        let variables = preload::recorded(&folder, &record)?;
        let mut program = Program::start_with(name, &at.map(str::to_owned), &variables).await?;
        let plan = Plan { seed };
        let requests: Vec<Signed> = (0..events)
            .map(|number| plan.event(number))
            .map(|event| sender::generic(&event.id, "chaos.event", event.body))
            .collect();
        let url = format!("http://{}/webhooks/chaos", program.listen);
        let sent = sender::send_until_accepted(vec![url], requests, AT_ONCE).await;
        ensure!(sent.given_up == 0, "{} events were not taken: {:?}", sent.given_up, sent.answers);
        if self == Self::Embedded {
            until_idle(&folder.join(NESTED)).await?;
        }
        let ended = program.terminate().await?;
        ensure!(ended.success(), "it ended with {ended}: {}", program.log_text());
        let trace = Trace::parse(std::fs::read(&record)?)?;
        let answers = trace.entries().iter().filter(|entry| matches!(entry.op, Op::Answer(_))).count();
        ensure!(answers as u64 >= events, "the record has {answers} answers for {events} events");
        Ok(trace)
    }

    /// Opens what a power cut left, and looks whether every one of `answered` is there.
    ///
    /// # Errors
    /// What is missing or broken.
    pub fn check(self, folder: &Path, answered: &BTreeSet<&str>) -> Result<()> {
        match self {
            Self::Embedded => check_store(&folder.join(NESTED), answered),
            Self::Spool => {
                let slot = folder.join(NESTED).join("0");
                if !slot.join("tidegate.db").exists() {
                    return all_there(&BTreeSet::new(), answered);
                }
                let spool = open_whole(&slot)?;
                let waiting = if has(&spool, "waiting")? {
                    texts(&spool, "SELECT event_id FROM waiting")?
                } else {
                    BTreeSet::new()
                };
                all_there(&waiting, answered)
            }
        }
    }
}

/// Waits until every event is handled, however that ended.
async fn until_idle(data: &Path) -> Result<()> {
    let path = data.join("tidegate.db");
    eventually("no event waits", Duration::from_secs(60), || async {
        let count = || -> rusqlite::Result<i64> {
            let store = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            store.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))
        };
        match count() {
            Ok(0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

fn check_store(folder: &Path, answered: &BTreeSet<&str>) -> Result<()> {
    // The program's own way to open it, and to close it.
    drop(Store::open(folder)?);
    let store = open_whole(folder)?;
    all_there(&texts(&store, "SELECT event_id FROM events")?, answered)?;
    let of_event = |table: &str| format!("NOT EXISTS (SELECT 1 FROM {table} t WHERE t.event_key = e.event_key)");
    let mut nowhere =
        "SELECT count(*) FROM events e WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.event_seq = e.seq)".to_owned();
    if has(&store, "inbox")? {
        nowhere = format!("{nowhere} AND {} AND {}", of_event("inbox"), of_event("dead_letters"));
    }
    let nowhere = number(&store, &nowhere)?;
    ensure!(nowhere == 0, "{nowhere} events are neither queued, applied nor dead");
    if has(&store, "chaos_effects")? {
        let effects = number(&store, "SELECT count(*) FROM chaos_effects")?;
        let distinct = number(&store, "SELECT count(DISTINCT event) FROM chaos_effects")?;
        let counter = number(&store, "SELECT total FROM chaos_counter")?;
        let applied = number(&store, "SELECT count(*) FROM inbox WHERE applied_at IS NOT NULL")?;
        let all = [effects, distinct, counter, applied];
        ensure!(all.iter().all(|count| *count == effects), "effects, events, counter and inbox differ: {all:?}");
    }
    Ok(())
}

fn has(store: &Connection, table: &str) -> Result<bool> {
    Ok(number(store, &format!("SELECT count(*) FROM sqlite_master WHERE name = '{table}'"))? == 1)
}

fn open_whole(folder: &Path) -> Result<Connection> {
    let store = Connection::open(folder.join("tidegate.db"))?;
    let whole: String = store.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure!(whole == "ok", "the database is damaged: {whole}");
    Ok(store)
}

fn texts(store: &Connection, sql: &str) -> Result<BTreeSet<String>> {
    Ok(store.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

fn number(store: &Connection, sql: &str) -> Result<i64> {
    store.query_row(sql, [], |row| row.get(0)).with_context(|| sql.to_owned())
}

fn all_there(found: &BTreeSet<String>, answered: &BTreeSet<&str>) -> Result<()> {
    let missing: Vec<_> = answered.iter().filter(|id| !found.contains(**id)).take(SHOWN).collect();
    ensure!(missing.is_empty(), "answered and lost: {missing:?}");
    Ok(())
}

/// Cuts the power `points` times, evenly over the whole of the record, and checks what each cut left.
///
/// # Errors
/// The first cut that left less than it must, with the steps before it.
pub fn cut(subject: Subject, trace: &Trace, points: usize, seed: u64) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| scope.spawn(move || cut_part(subject, trace, points, seed, |point| point % threads == part)))
            .collect();
        parts.into_iter().try_for_each(|part| part.join().unwrap_or_else(|_| anyhow::bail!("a check panicked")))
    })
}

fn cut_part(subject: Subject, trace: &Trace, points: usize, seed: u64, is_mine: impl Fn(usize) -> bool) -> Result<()> {
    let length = trace.entries().len();
    let (mut disk, mut answered, mut done) = (Disk::new(trace), BTreeSet::new(), 0);
    for point in (0..points).filter(|point| is_mine(*point)) {
        // After the entry before `upto`; the last cut is after everything.
        let upto = (point + 1) * length / points;
        while done < upto {
            if let Op::Answer(id) = &trace.entries()[done].op {
                answered.insert(id.as_str());
            }
            disk.apply(done);
            done += 1;
        }
        let folder = scratch()?;
        disk.write(folder.path(), &mut Chance::new(seed.wrapping_add(point as u64)))?;
        subject.check(folder.path(), &answered).with_context(|| {
            let steps: Vec<String> = trace.entries()[upto.saturating_sub(SHOWN)..upto]
                .iter()
                .map(|entry| format!("{:?} {:?}", entry.path, entry.op))
                .collect();
            format!(
                "the power was cut after step {upto} of {length} (seed {seed}, point {point}); the last steps were\n{}",
                steps.join("\n")
            )
        })?;
    }
    Ok(())
}

/// A folder in memory where there is one: each cut writes the whole disk anew.
fn scratch() -> Result<TempDir> {
    let memory = PathBuf::from("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.context("a folder for what a cut leaves")
}
