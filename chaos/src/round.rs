//! One round of a scenario: load and faults for a while, then peace, then the account.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;

use crate::audit::{Books, Discrepancy};
use crate::fault::Fault;
use crate::growth::Growth;
use crate::journal::Journal;
use crate::load::{Load, Sent};
use crate::plan::Plan;
use crate::report::{RoundNote, Tally};
use crate::scenario::Scenario;
use crate::site::{Role, Site};

/// How far workers may be behind before senders wait.
const BEHIND_MAX: u64 = 4_000;
/// How long a queue may stand still before it counts as stuck.
const STUCK: Duration = Duration::from_secs(90);
/// One fault in so many comes before everything is ready again.
const HASTE: u64 = 5;

/// What is wrong at the end of a round.
#[derive(Debug, thiserror::Error)]
#[error("{discrepancy}\n  seed {seed}, round folder {folder}\n  {}", history.join("\n  "))]
pub struct Broken {
    /// The promise that was broken.
    pub discrepancy: Discrepancy,
    seed: u64,
    folder: String,
    /// The event's whole history.
    history: Vec<String>,
}

/// Runs a round, and adds it to the tally.
///
/// # Errors
/// [`Broken`] if the account does not balance; anything else if something did not come back.
pub async fn run(scenario: &Scenario, mut site: Site, seed: u64, length: Duration, tally: &mut Tally) -> Result<()> {
    let journal = Arc::new(Journal::create(site.folder())?);
    tally.round_log.push(RoundNote { seed, published: site.published() });
    let outcome = run_on(&mut site, &journal, scenario, seed, length, tally).await;
    match outcome {
        Ok(()) => site.clean_up().await,
        Err(error) => {
            let error = match error.downcast::<Discrepancy>() {
                Ok(discrepancy) => explain(&site, &journal, discrepancy, seed).await.into(),
                Err(error) => error,
            };
            let folder = site.keep();
            Err(error.context(format!("{} with seed {seed}; its files are in {}", scenario.name, folder.display())))
        }
    }
}

async fn explain(site: &Site, journal: &Journal, discrepancy: Discrepancy, seed: u64) -> Broken {
    let mut history = Vec::new();
    if let Some(event) = discrepancy.event() {
        history = journal.history(event).unwrap_or_else(|error| vec![format!("no history: {error:#}")]);
        history.extend(site.ledger_of(event).await.unwrap_or_else(|error| vec![format!("no ledger: {error:#}")]));
    }
    Broken { discrepancy, seed, folder: site.folder().display().to_string(), history }
}

async fn run_on(
    site: &mut Site,
    journal: &Arc<Journal>,
    scenario: &Scenario,
    seed: u64,
    length: Duration,
    tally: &mut Tally,
) -> Result<()> {
    let plan = Plan { seed };
    let mut load = Load::start(plan, site.urls(), Arc::clone(journal));
    let began = Instant::now();
    let mut rng = Rng::with_seed(seed);
    let mut growth = Growth::default();
    while began.elapsed() < length {
        calm(site, &load, Duration::from_millis(rng.u64(..scenario.calm_max))).await;
        ensure!(!load.has_failed(), "a sender gave up: {:#}", failure_of(load.stop().await));
        let Some(fault) = rng.choice(scenario.faults).copied() else {
            growth.look(began.elapsed(), &site.resident()?);
            continue;
        };
        journal.fault(&format!("begins: {fault:?}"))?;
        let name = fault.strike(site, &mut rng).await.with_context(|| format!("{fault:?}"))?;
        journal.fault(&format!("mended: {name}"))?;
        *tally.faults.entry(name).or_default() += 1;
        let mended = Instant::now();
        if rng.u64(..HASTE) > 0 {
            site.until_ready().await?;
            tally.note_recovery(mended.elapsed());
        }
        if site.is_embedded() && fault == Fault::Kill(Role::Ingest) {
            site.until_ready().await?;
            site.check_integrity()?;
            tally.integrity_checks += 1;
        }
    }
    tally.seconds += began.elapsed().as_secs();
    journal.fault("peace")?;
    site.until_ready().await?;
    load.hold(false);
    let sent = load.stop().await?;
    if scenario.faults.is_empty() {
        growth.stored(site.stored_bytes().await?, sent.acknowledged.len());
        tally.growth = Some(growth);
    }
    until_nothing_is_left(site, &sent.acknowledged).await?;
    let errors = site.stop().await?;
    tally.logged_errors.extend(errors);
    ensure!(site.left().await?.is_none(), "a stopped worker left something in the queue: {:?}", site.left().await?);
    close_the_account(site, plan, sent, tally).await
}

fn failure_of(sent: Result<Sent>) -> anyhow::Error {
    sent.err().unwrap_or_else(|| anyhow::anyhow!("without saying why"))
}

/// Waits, and holds senders back while workers are far behind.
async fn calm(site: &Site, load: &Load, time: Duration) {
    let ends = Instant::now() + time;
    loop {
        if let (Ok(applied), Ok(dead)) = (site.applied().await, site.dead().await) {
            load.hold(load.acknowledged().saturating_sub(applied + dead) > BEHIND_MAX);
        }
        let left = ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(Duration::from_millis(250))).await;
    }
}

/// Waits until every acknowledged event is applied or dead, and no delivery of any is left that could apply it again.
async fn until_nothing_is_left(site: &Site, acknowledged: &[bool]) -> Result<()> {
    let count = acknowledged.iter().filter(|acknowledged| **acknowledged).count() as u64;
    let mut last = (0, Instant::now());
    loop {
        let done = site.applied().await? + site.dead().await?;
        let left = site.left().await?;
        // Some of what is done may be of events that nobody read a 2xx for: so many is not yet all.
        if done >= count && left.is_none() && is_every_one_done(site, acknowledged).await? {
            return Ok(());
        }
        if done > last.0 {
            last = (done, Instant::now());
        }
        if last.1.elapsed() > STUCK {
            // With an empty queue the account says which event is lost.
            let Some(left) = left else { return Ok(()) };
            bail!("the queue stands still: {done} events are done, {count} were acknowledged, left are {left}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn is_every_one_done(site: &Site, acknowledged: &[bool]) -> Result<bool> {
    let effects = site.effects().await?.into_iter().map(|(number, _)| number);
    let dead = site.dead_letters().await?.into_iter().filter_map(|dead| dead.number);
    let done: HashSet<u64> = effects.chain(dead).collect();
    Ok((0..).zip(acknowledged).all(|(number, acknowledged)| !acknowledged || done.contains(&number)))
}

async fn close_the_account(site: &Site, plan: Plan, sent: Sent, tally: &mut Tally) -> Result<()> {
    let books = Books {
        plan,
        acknowledged: sent.acknowledged,
        effects: site.effects().await?,
        counter: site.applied().await?,
        dead: site.dead_letters().await?,
    };
    tally.requests += sent.answers.values().sum::<u64>();
    for (answer, count) in sent.answers {
        *tally.answers.entry(answer).or_default() += count;
    }
    tally.note_slowest(sent.slowest);
    match books.audit() {
        Ok(totals) => {
            tally.add(totals);
            Ok(())
        }
        Err(discrepancy) => {
            match discrepancy {
                Discrepancy::Lost(_) => tally.lost += 1,
                Discrepancy::Repeated(..) | Discrepancy::AppliedAndDead(_) => tally.twice += 1,
                Discrepancy::DeadTwice(..)
                | Discrepancy::Phantom(_)
                | Discrepancy::Altered(_)
                | Discrepancy::PoisonApplied(_)
                | Discrepancy::InnocentDead(..)
                | Discrepancy::DeadWithoutReason(_)
                | Discrepancy::CounterOff { .. } => {}
            }
            Err(discrepancy.into())
        }
    }
}
