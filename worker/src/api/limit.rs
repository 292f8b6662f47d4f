//! When a call to an API has its turn: so many at once, so many over time, none while the API asks for quiet.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tidegate_shared::config::{ApiLimitConfig, Rate};
use tidegate_shared::rate::Bucket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::retry::retry_after;

/// The longest quiet that an API is believed: a mistaken clock must not silence us for days.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);
/// What a caller is told when all places stayed taken: when one becomes free is not known.
const PLACE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Below this a turn came at once: the clock always moves a little.
const WAIT_WORTH_COUNTING: Duration = Duration::from_millis(1);

/// The turn would come too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls: no turn within the wait")]
pub(crate) struct Limited {
    /// When to try again.
    pub retry_after: Duration,
}

/// A call's turn; it takes one of the places until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn {
    _place: OwnedSemaphorePermit,
}

/// Gives turns to the calls to one API.
#[derive(Debug)]
pub(crate) struct Limiter {
    api: String,
    wait: Duration,
    places: Arc<Semaphore>,
    queued: AtomicU32,
    pace: Mutex<Pace>,
}

impl Limiter {
    /// The limiter of the API that is named `api` in metrics.
    #[must_use]
    pub(crate) fn new(api: String, config: &ApiLimitConfig) -> Self {
        Self {
            api,
            wait: config.wait,
            places: Arc::new(Semaphore::new(config.concurrency.get().into())),
            queued: AtomicU32::new(0),
            pace: Mutex::new(Pace::new(config.rate)),
        }
    }

    /// Waits for a turn, at most the configured time.
    ///
    /// # Errors
    /// At once, where it is known beforehand that the wait would not do; else after the wait.
    ///
    /// # Cancel safety
    /// Dropped while it waits, its place is free again; a moment that it had reserved stays unused.
    pub(crate) async fn acquire(&self) -> Result<Turn, Limited> {
        let started = now();
        let turn = self.wait_for_turn(started).await;
        if turn.is_err() {
            metrics::counter!("tidegate_api_rate_limit_refused_total", "api" => self.api.clone()).increment(1);
        } else if now().saturating_duration_since(started) >= WAIT_WORTH_COUNTING {
            metrics::counter!("tidegate_api_rate_limit_waits_total", "api" => self.api.clone()).increment(1);
        }
        turn
    }

    async fn wait_for_turn(&self, started: Instant) -> Result<Turn, Limited> {
        let place = self.wait_for_place(started).await?;
        loop {
            let now = now();
            let left = self.wait.saturating_sub(now.saturating_duration_since(started));
            let wait = self.pace().reserve(now, left)?;
            // A sleep of nothing takes up to a millisecond all the same.
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            // The API may have asked for quiet meanwhile; then this moment is lost, and another is needed.
            if !self.pace().is_paused(self::now()) {
                return Ok(Turn { _place: place });
            }
        }
    }

    /// The place comes before the moment: a moment that is reserved and then missed would let calls bunch up.
    async fn wait_for_place(&self, started: Instant) -> Result<OwnedSemaphorePermit, Limited> {
        let queued = Queued::join(&self.queued);
        // Those in the queue will reserve first: who cannot have a turn behind them need not line up.
        let behind = self.pace().wait_behind(queued.before, started);
        if behind > self.wait {
            return Err(Limited { retry_after: behind });
        }
        match tokio::time::timeout(self.wait, Arc::clone(&self.places).acquire_owned()).await {
            Ok(place) => Ok(place.expect("the semaphore is never closed")),
            Err(_) => Err(Limited { retry_after: behind.max(PLACE_RETRY_AFTER) }),
        }
    }

    /// Learns from an answer when the API wants to be asked again; calls wait until then. Says for how long.
    ///
    /// An answer that is no success and that this gives a pause for was refused for its rate, whatever its status.
    pub(crate) fn learn(
        &self,
        now: Instant,
        status: StatusCode,
        headers: &HeaderMap,
        now_unix: Timestamp,
    ) -> Option<Duration> {
        let pause = pause(status, headers, now_unix)?;
        self.pace().pause(now, pause);
        Some(pause)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock of tokio, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A call in the queue for a place.
struct Queued<'a> {
    counter: &'a AtomicU32,
    before: u32,
}

impl<'a> Queued<'a> {
    fn join(counter: &'a AtomicU32) -> Self {
        // Relaxed: the number is an estimate and guards nothing.
        Self { counter, before: counter.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Calls that may come at once: a tenth of the rate, one at least.
fn burst(rate: Rate) -> NonZeroU32 {
    NonZeroU32::new(rate.count.get() / 10).unwrap_or(NonZeroU32::MIN)
}

/// When calls may start. Pure: time is passed in.
#[derive(Debug)]
struct Pace {
    bucket: Option<Bucket>,
    paused_until: Option<Instant>,
}

impl Pace {
    fn new(rate: Option<Rate>) -> Self {
        Self { bucket: rate.map(|rate| Bucket::new(rate, burst(rate))), paused_until: None }
    }

    /// Reserves the next moment and says how long it is until then; reserves nothing if that is more than `wait_max`.
    fn reserve(&mut self, now: Instant, wait_max: Duration) -> Result<Duration, Limited> {
        let wait = self.wait_behind(0, now);
        if wait > wait_max {
            return Err(Limited { retry_after: wait });
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.count(now + wait);
        }
        Ok(wait)
    }

    /// How long it is until the next moment but `others`.
    fn wait_behind(&self, others: u32, now: Instant) -> Duration {
        let quiet = self.paused_until.map_or(now, |until| until.max(now));
        let start = self.bucket.as_ref().map_or(quiet, |bucket| bucket.start_behind(others, quiet));
        start - now
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    fn pause(&mut self, now: Instant, pause: Duration) {
        self.paused_until = self.paused_until.max(Some(now + pause.min(PAUSE_MAX)));
    }
}

/// For how long an answer asks for quiet.
///
/// - `Retry-After` of a 429 or 503, or of GitHub's 403.
/// - `X-RateLimit-Remaining: 0` with `X-RateLimit-Reset` in unix seconds, as GitHub does:
///   <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>.
/// - `RateLimit-Remaining: 0` with `RateLimit-Reset` in seconds from now, and `RateLimit: "name";r=0;t=30`: the older
///   form and the newer of <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>.
///
/// Nothing left is believed of a success as well: the next call would be refused. The longest counts.
fn pause(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
    let is_refused =
        matches!(status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let asked = is_refused.then(|| retry_after(headers, now)).flatten();
    let until = match number("x-ratelimit-remaining") {
        Some(0) => number("x-ratelimit-reset")
            .and_then(|reset| Timestamp::from_second(reset).ok())
            .and_then(|reset| Duration::try_from(reset.duration_since(now)).ok()),
        Some(_) | None => None,
    };
    let delta = match number("ratelimit-remaining") {
        Some(0) => number("ratelimit-reset").and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs),
        Some(_) | None => None,
    };
    let fields = headers.get_all("ratelimit").iter().filter_map(|field| field.to_str().ok());
    let quotas = fields.flat_map(|field| unquoted_parts(field, ',')).filter_map(exhausted_for).max();
    let longest = asked.max(until).max(delta).max(quotas)?.min(PAUSE_MAX);
    (!longest.is_zero()).then_some(longest)
}

/// The time until an exhausted quota is refilled, of one item such as `"default";r=0;t=30`.
fn exhausted_for(item: &str) -> Option<Duration> {
    let parameter = |name: &str| {
        let mut parts = unquoted_parts(item, ';');
        parts.find_map(|part| part.trim().strip_prefix(name)?.parse::<u64>().ok())
    };
    (parameter("r=")? == 0).then(|| parameter("t=").map(Duration::from_secs)).flatten()
}

/// Splits where `separator` is not inside of quotes: a quota's name may hold any.
fn unquoted_parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    text.split(move |c| {
        let was_escaped = std::mem::replace(&mut is_escaped, false);
        match c {
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            '"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        c == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests;
