//! When an API is not asked for a while, because asking it failed too often.
//!
//! Closed, calls pass and are counted; open, they are refused at once; half-open, a few probes decide between the two.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate_shared::config::ApiBreakerConfig;

use super::retry::Signal;

/// Parts of the window: it forgets a tenth at a time.
const BUCKETS: usize = 10;
/// What a caller is told while probes are out: they end within a call's timeout, and most far sooner.
const PROBING_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Lets them pass.
    Closed,
    /// Refuses them,
    Open {
        /// for so long.
        left: Duration,
    },
    /// Lets probes pass.
    HalfOpen,
}

/// The call is not to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls failed: not asked for now")]
pub(crate) struct Refused {
    /// When to try again.
    pub retry_after: Duration,
}

/// A call that was let through; `changed` if it changed the state.
#[derive(Debug)]
pub(crate) struct Admitted {
    token: Token,
    changed: Option<State>,
}

/// Says which phase let a call through, so that a late result does not count in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    generation: u64,
}

/// One API's breaker. Pure: time is passed in.
#[derive(Debug)]
pub(crate) struct Breaker {
    config: ApiBreakerConfig,
    phase: Phase,
    generation: u64,
}

#[derive(Debug)]
enum Phase {
    Closed(Window),
    Open { since: Instant },
    HalfOpen { out: u32, succeeded: u32 },
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub(crate) fn new(config: ApiBreakerConfig, now: Instant) -> Self {
        let window = Window::new(config.window, now);
        Self { config, phase: Phase::Closed(window), generation: 0 }
    }

    /// Decides on a call.
    ///
    /// # Errors
    /// If it is not to be made.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Admitted, Refused> {
        let mut changed = None;
        if let Phase::Open { since } = self.phase {
            let left = self.left(since, now);
            if !left.is_zero() {
                return Err(Refused { retry_after: left });
            }
            changed = Some(self.enter(Phase::HalfOpen { out: 0, succeeded: 0 }, now));
        }
        if let Phase::HalfOpen { out, succeeded } = &mut self.phase {
            // No more than still have to succeed: every probe is a call that may well fail.
            if out.saturating_add(*succeeded) >= self.config.probes.get() {
                return Err(Refused { retry_after: PROBING_RETRY_AFTER });
            }
            *out += 1;
        }
        Ok(Admitted { token: Token { generation: self.generation }, changed })
    }

    /// Takes the result of a call that was let through; says the new state if it changed.
    pub(crate) fn record(&mut self, now: Instant, token: Token, signal: Signal) -> Option<State> {
        // What a call of an earlier phase found out is old news.
        if token.generation != self.generation {
            return None;
        }
        let next = match &mut self.phase {
            Phase::Closed(window) => {
                window.count(now, signal);
                // Successes that leave the window must not open it: only a failure is a reason.
                let opens = signal == Signal::Failure && window.is_bad(&self.config);
                opens.then_some(Phase::Open { since: now })
            }
            Phase::HalfOpen { out, succeeded } => {
                *out = out.saturating_sub(1);
                match signal {
                    Signal::Failure => Some(Phase::Open { since: now }),
                    Signal::Ignored => None,
                    Signal::Success => {
                        *succeeded = succeeded.saturating_add(1);
                        let is_well = *succeeded >= self.config.probes.get();
                        is_well.then(|| Phase::Closed(Window::new(self.config.window, now)))
                    }
                }
            }
            // Nothing is let through while open, so no token is of such a phase.
            Phase::Open { .. } => None,
        };
        next.map(|phase| self.enter(phase, now))
    }

    /// What it does with calls now.
    #[must_use]
    pub(crate) fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed(_) => State::Closed,
            Phase::Open { since } => match self.left(since, now) {
                Duration::ZERO => State::HalfOpen,
                left => State::Open { left },
            },
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn left(&self, since: Instant, now: Instant) -> Duration {
        self.config.open_for.saturating_sub(now.saturating_duration_since(since))
    }

    fn enter(&mut self, phase: Phase, now: Instant) -> State {
        self.phase = phase;
        self.generation += 1;
        self.state(now)
    }
}

/// The calls of the last while: a ring of counters over the nine parts of the window before now, and now's own.
#[derive(Debug)]
struct Window {
    start: Instant,
    part: Duration,
    newest: u128,
    counts: [Counts; BUCKETS],
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    calls: u32,
    failures: u32,
}

impl Window {
    fn new(length: Duration, now: Instant) -> Self {
        let part = (length / 10).max(Duration::from_nanos(1));
        Self { start: now, part, newest: 0, counts: [Counts::default(); BUCKETS] }
    }

    fn count(&mut self, now: Instant, signal: Signal) {
        self.advance(now);
        let newest = slot(self.newest);
        let counts = &mut self.counts[newest];
        match signal {
            Signal::Ignored => {}
            Signal::Success => counts.calls = counts.calls.saturating_add(1),
            Signal::Failure => {
                counts.calls = counts.calls.saturating_add(1);
                counts.failures = counts.failures.saturating_add(1);
            }
        }
    }

    /// Forgets what has left the window. A time before the newest part, from a slow caller, counts as now.
    fn advance(&mut self, now: Instant) {
        let number = now.saturating_duration_since(self.start).as_nanos() / self.part.as_nanos();
        for passed in (self.newest + 1..=number).take(BUCKETS) {
            self.counts[slot(passed)] = Counts::default();
        }
        self.newest = self.newest.max(number);
    }

    fn is_bad(&self, config: &ApiBreakerConfig) -> bool {
        let calls = self.counts.iter().fold(0_u32, |sum, counts| sum.saturating_add(counts.calls));
        let failures = self.counts.iter().fold(0_u32, |sum, counts| sum.saturating_add(counts.failures));
        calls >= config.minimum.get() && f64::from(failures) / f64::from(calls) >= config.failure_rate
    }
}

fn slot(number: u128) -> usize {
    usize::try_from(number % 10).expect("a number below ten")
}

/// A [`Breaker`] that many tasks share; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct SharedBreaker(Arc<Mutex<Breaker>>);

impl SharedBreaker {
    /// A closed one.
    #[must_use]
    pub(crate) fn new(config: ApiBreakerConfig, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Breaker::new(config, now))))
    }

    /// Decides on a call.
    ///
    /// # Errors
    /// If it is not to be made.
    pub(crate) fn admit(&self, now: Instant) -> Result<Permit, Refused> {
        let Admitted { token, changed } = self.lock().admit(now)?;
        Ok(Permit { breaker: self.clone(), token: Some(token), admitted_at: now, changed })
    }

    /// What it does with calls now.
    #[must_use]
    pub(crate) fn state(&self, now: Instant) -> State {
        self.lock().state(now)
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to make one call. Dropped without a result, it counts for nothing.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit {
    breaker: SharedBreaker,
    token: Option<Token>,
    admitted_at: Instant,
    changed: Option<State>,
}

impl Permit {
    /// The state that the breaker went into when it let this call through, if that changed it.
    #[must_use]
    pub(crate) fn changed(&self) -> Option<State> {
        self.changed
    }

    /// Hands in the call's result; says the new state if it changed.
    pub(crate) fn record(mut self, now: Instant, signal: Signal) -> Option<State> {
        let token = self.token.take()?;
        self.breaker.lock().record(now, token, signal)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            // `Ignored` decides nothing, so the time it comes at is of no matter.
            let changed = self.breaker.lock().record(self.admitted_at, token, Signal::Ignored);
            debug_assert!(changed.is_none(), "a call without a result changes nothing");
        }
    }
}

#[cfg(test)]
mod tests;
