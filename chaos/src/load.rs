//! The load: honest senders that repeat what was not accepted, and three requests in ten that come again anyhow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use reqwest::Client;
use tidegate_tests::sender::{self, client};
use tokio::task::JoinSet;

use crate::journal::Journal;
use crate::plan::{Plan, Planned};

/// Requests at once.
const AT_ONCE: u64 = 32;
/// Share of requests with an event that was sent before.
const DUPLICATES: f64 = 0.3;
/// Half of the duplicates are of so many newest events, so that some meet the first one on its way.
const RECENT: u64 = 64;
/// Events whose intent is written at once.
const BLOCK: u64 = 64;
/// A provider's patience.
const PATIENCE: Duration = Duration::from_secs(180);
/// Milliseconds between two tries at one event.
const PAUSE: std::ops::Range<u64> = 20..200;

/// Senders at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    senders: JoinSet<Result<()>>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    urls: Vec<String>,
    http: Client,
    journal: Arc<Journal>,
    stop: AtomicBool,
    /// Set while the worker is far behind: a queue without end would measure nothing.
    hold: AtomicBool,
    books: Mutex<SentBooks>,
}

/// What senders know.
#[derive(Debug, Default)]
struct SentBooks {
    /// Events from here on may be sent: their intent is on the disk.
    next: u64,
    intended: u64,
    acknowledged: Vec<bool>,
    count: u64,
    answers: BTreeMap<String, u64>,
    slowest: Duration,
}

/// What senders knew in the end.
#[derive(Debug)]
pub struct Sent {
    /// By number: whether a sender read 2xx.
    pub acknowledged: Vec<bool>,
    /// How often each answer was read.
    pub answers: BTreeMap<String, u64>,
    /// The longest time from the first try at an event to its 2xx.
    pub slowest: Duration,
}

impl Load {
    /// Starts sending.
    #[must_use]
    pub fn start(plan: Plan, urls: Vec<String>, journal: Arc<Journal>) -> Self {
        let shared = Arc::new(Shared {
            plan,
            urls,
            http: client(),
            journal,
            stop: AtomicBool::new(false),
            hold: AtomicBool::new(false),
            books: Mutex::default(),
        });
        let mut senders = JoinSet::new();
        for number in 0..AT_ONCE {
            let rng = Rng::with_seed(plan.seed.wrapping_add(number));
            senders.spawn(send_on(Arc::clone(&shared), rng));
        }
        Self { shared, senders }
    }

    /// Events that were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.books().count
    }

    /// Lets senders wait, or go on.
    pub fn hold(&self, hold: bool) {
        self.shared.hold.store(hold, Ordering::Relaxed);
    }

    /// Whether a sender has ended, which none may before it is told.
    #[must_use]
    pub fn has_failed(&mut self) -> bool {
        self.senders.try_join_next().is_some()
    }

    /// Starts no event any more, and waits until each that was started is acknowledged.
    ///
    /// # Errors
    /// If one is not, in three minutes.
    pub async fn stop(mut self) -> Result<Sent> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(sender) = self.senders.join_next().await {
            sender??;
        }
        let mut books = self.shared.books();
        let sent = usize::try_from(books.next)?;
        ensure!(books.acknowledged[..sent].iter().all(|acknowledged| *acknowledged), "a sender forgot its event");
        books.acknowledged.truncate(sent);
        Ok(Sent {
            acknowledged: std::mem::take(&mut books.acknowledged),
            answers: std::mem::take(&mut books.answers),
            slowest: books.slowest,
        })
    }
}

async fn send_on(shared: Arc<Shared>, mut rng: Rng) -> Result<()> {
    while !shared.stop.load(Ordering::Relaxed) {
        if shared.hold.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        let earlier = if rng.f64() < DUPLICATES { shared.earlier(&mut rng) } else { None };
        let number = match earlier {
            Some(number) => number,
            None => shared.next()?,
        };
        shared.send(&shared.plan.event(number), &mut rng).await?;
    }
    Ok(())
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, SentBooks> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event that has been begun, at least by another sender.
    fn earlier(&self, rng: &mut Rng) -> Option<u64> {
        let next = self.books().next;
        let oldest = if rng.bool() { next.saturating_sub(RECENT) } else { 0 };
        (next > 0).then(|| rng.u64(oldest..next))
    }

    /// An event that is new, and whose intent is durable.
    fn next(&self) -> Result<u64> {
        let mut books = self.books();
        if books.next == books.intended {
            let block: Vec<Planned> = (books.next..books.next + BLOCK).map(|number| self.plan.event(number)).collect();
            self.journal.intend(&block)?;
            books.intended += BLOCK;
            let intended = usize::try_from(books.intended)?;
            books.acknowledged.resize(intended, false);
        }
        books.next += 1;
        Ok(books.next - 1)
    }

    /// Sends the event until a 2xx is read.
    async fn send(&self, event: &Planned, rng: &mut Rng) -> Result<()> {
        let began = Instant::now();
        loop {
            let url = rng.choice(&self.urls).context("there is an ingest")?;
            // Signed anew for each try, as providers do.
            let signed = sender::generic(&event.id, "load", event.body.as_slice());
            let (is_success, answer) = match sender::send(&self.http, url, &signed).await {
                Ok(answer) => ((200..300).contains(&answer.status), format!("{} {}", answer.status, answer.outcome())),
                Err(_) => (false, "no answer".to_owned()),
            };
            self.journal.answered(event.number, &answer)?;
            self.note(event, answer, is_success.then(|| began.elapsed()))?;
            if is_success {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "{} was not accepted within {PATIENCE:?}", event.id);
            tokio::time::sleep(Duration::from_millis(rng.u64(PAUSE))).await;
        }
    }

    fn note(&self, event: &Planned, answer: String, acknowledged: Option<Duration>) -> Result<()> {
        let mut books = self.books();
        *books.answers.entry(answer).or_default() += 1;
        if let Some(took) = acknowledged {
            let number = usize::try_from(event.number)?;
            books.slowest = books.slowest.max(took);
            books.count += u64::from(!std::mem::replace(&mut books.acknowledged[number], true));
        }
        Ok(())
    }
}
