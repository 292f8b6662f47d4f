//! The load: honest senders that repeat what was not accepted, and three requests in ten that come again anyhow.
//!
//! A sender that reads no reply knows nothing: the event may be durable or not. It counts as acknowledged once a 2xx was
//! read, and not before. Most senders repeat it until then. One event in twelve is not repeated, so that what became of it
//! stays unknown: it may have been applied, once, or not at all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use reqwest::Client;
use tidegate_tests::sender::{self, Answer, client};
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
/// For longer than this no ingest works on a request whose sender has given up: it waits for a claim and for a confirm,
/// each within its own limit of 1 s and 1.5 s.
const OVER: Duration = Duration::from_secs(5);

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
    /// When a sender last gave an event up.
    gave_up: Option<Instant>,
}

/// What a sender knows after one try.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    /// It read a 2xx: the event is durable.
    Acknowledged(String),
    /// It read something else.
    Refused(String),
    /// No connection was made, so that nothing was sent.
    NotSent,
    /// No status was read: the event may be durable or not.
    Nothing,
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

    /// Starts no event any more, and waits until each that was started is acknowledged or given up, and no ingest works on
    /// one that was given up. Only when nothing is broken any more.
    ///
    /// # Errors
    /// If one that is repeated is not acknowledged, in three minutes.
    pub async fn stop(mut self) -> Result<Sent> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(sender) = self.senders.join_next().await {
            sender??;
        }
        let gave_up = self.shared.books().gave_up;
        if let Some(gave_up) = gave_up {
            tokio::time::sleep_until((gave_up + OVER).into()).await;
        }
        let mut books = self.shared.books();
        let sent = usize::try_from(books.next)?;
        books.acknowledged.truncate(sent);
        let forgotten = (0..)
            .zip(&books.acknowledged)
            .find(|(number, acknowledged)| !**acknowledged && !self.shared.plan.event(*number).is_sent_once);
        ensure!(forgotten.is_none(), "a sender forgot its event: {forgotten:?}");
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

    /// Sends the event until a 2xx is read, or once if it is one of those.
    async fn send(&self, event: &Planned, rng: &mut Rng) -> Result<()> {
        let began = Instant::now();
        loop {
            let url = rng.choice(&self.urls).context("there is an ingest")?;
            // Signed anew for each try, as providers do.
            let signed = sender::generic(&event.id, "load", event.body.as_slice());
            let known = Known::from(sender::send(&self.http, url, &signed).await);
            self.journal.answered(event.number, known.text())?;
            self.note(event, &known, began.elapsed())?;
            if known.is_acknowledged() || event.is_sent_once {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "{} was not accepted within {PATIENCE:?}", event.id);
            tokio::time::sleep(Duration::from_millis(rng.u64(PAUSE))).await;
        }
    }

    fn note(&self, event: &Planned, known: &Known, took: Duration) -> Result<()> {
        let mut books = self.books();
        *books.answers.entry(known.text().to_owned()).or_default() += 1;
        if known.is_acknowledged() {
            let number = usize::try_from(event.number)?;
            books.slowest = books.slowest.max(took);
            books.count += u64::from(!std::mem::replace(&mut books.acknowledged[number], true));
        } else if event.is_sent_once {
            books.gave_up = Some(Instant::now());
        }
        Ok(())
    }
}

impl Known {
    fn is_acknowledged(&self) -> bool {
        matches!(self, Self::Acknowledged(_))
    }

    /// As it stands in the journal and in the report.
    fn text(&self) -> &str {
        match self {
            Self::Acknowledged(answer) | Self::Refused(answer) => answer,
            Self::NotSent => "not sent",
            Self::Nothing => "unknown",
        }
    }
}

impl From<Result<Answer>> for Known {
    fn from(sent: Result<Answer>) -> Self {
        match sent {
            Ok(answer) => {
                let text = format!("{} {}", answer.status, answer.outcome());
                if (200..300).contains(&answer.status) { Self::Acknowledged(text) } else { Self::Refused(text) }
            }
            Err(error) if error.downcast_ref().is_some_and(reqwest::Error::is_connect) => Self::NotSent,
            Err(_) => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_tests::chaos_proxy::{ChaosProxy, Direction, Fault};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Sends one event to a door that answers with `reply` after the request, through a line with this fault.
    async fn known(reply: &'static str, fault: Fault) -> Known {
        let door = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = ChaosProxy::start(door.local_addr().expect("an address")).await.expect("a port");
        proxy.set(fault);
        let answer = tokio::spawn(async move {
            let (mut stream, _) = door.accept().await.expect("a sender");
            assert!(stream.read(&mut [0; 4_096]).await.expect("a request") > 0);
            stream.write_all(reply.as_bytes()).await.ok();
            // Until the sender or the line has ended it.
            stream.read_u8().await.ok();
        });
        let url = format!("http://{}/webhooks/chaos", proxy.addr());
        let sent = sender::send(&client(), &url, &sender::generic("evt_1", "load", "{}")).await;
        drop(proxy);
        answer.await.expect("it answers");
        Known::from(sent)
    }

    // What was read decides, and nothing else: a status counts without its body, and without a status nothing is known.
    #[tokio::test]
    async fn only_a_2xx_that_was_read_acknowledges() {
        const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"status\":\"accepted\"}";
        const REFUSED: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        let cut = |bytes| Fault::CutAfter { bytes, direction: Direction::ToClient };
        assert_eq!(known(OK, Fault::None).await, Known::Acknowledged("200 accepted".to_owned()));
        assert_eq!(known(REFUSED, Fault::None).await, Known::Refused("503 -".to_owned()));
        let head = OK.find('{').expect("a body") as u64;
        assert_eq!(known(OK, cut(head + 3)).await, Known::Acknowledged("200 -".to_owned()));
        assert_eq!(known(OK, cut(10)).await, Known::Nothing);
        assert_eq!(known(OK, cut(0)).await, Known::Nothing);
    }

    #[tokio::test]
    async fn what_found_no_listener_was_not_sent() {
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        let url = format!("http://{port}/webhooks/chaos");
        let sent = sender::send(&client(), &url, &sender::generic("evt_1", "load", "{}")).await;
        assert_eq!(Known::from(sent), Known::NotSent);
    }
}
