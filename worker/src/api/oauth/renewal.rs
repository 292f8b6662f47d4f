//! When a token is used, renewed or waited for: decided here over values, with the time passed in.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{AccessToken, TokenError};

/// The wait after a first failed renewal; it doubles with each.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait: soon enough after the server is mended.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A token that the API refuses sooner than this after it came was never good.
const YOUNG: Duration = Duration::from_secs(30);

/// How a renewal ended: `None` while it goes on.
pub(super) type Landing = Option<Result<AccessToken, TokenError>>;

/// A token and its times.
#[derive(Debug, Clone)]
pub(super) struct Held {
    token: AccessToken,
    /// Of the ledger's grant.
    version: Option<i64>,
    since: Instant,
    ends: Option<Instant>,
    due: Option<Instant>,
    refused: bool,
    /// The API took it, at least once.
    worked: bool,
}

/// What one API's token source knows.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    held: Option<Held>,
    flight: Option<watch::Receiver<Landing>>,
    failure: Option<Failure>,
    /// Renewals that failed since one succeeded, tokens that were refused at once included.
    failures: u32,
    /// Tokens in a row that the API refused while they were young.
    refused_young: u32,
}

/// The last renewal's failure.
#[derive(Debug)]
struct Failure {
    error: TokenError,
    /// No renewal before.
    wait_until: Instant,
}

/// A renewal that is to be started now.
#[derive(Debug)]
pub(super) struct TakeOff {
    /// The grant's version that is of no use any more, as its caller saw it: one that came since must not be renewed.
    pub(super) spent: Option<i64>,
    /// Where it lands.
    pub(super) sender: watch::Sender<Landing>,
}

/// What a caller gets.
#[derive(Debug)]
pub(super) enum Step {
    /// This token.
    Use(AccessToken),
    /// This token; the caller starts the renewal for those to come.
    UseAndRenew(AccessToken, TakeOff),
    /// The outcome of a renewal under way.
    Wait(watch::Receiver<Landing>),
    /// The outcome of the renewal that the caller starts.
    Renew(TakeOff, watch::Receiver<Landing>),
    /// What the last renewal failed of: it is too early for another.
    Fail(TokenError),
}

impl Held {
    /// A token that has `left` to live and is renewed `early` before its end. Without an end it is used until the API
    /// refuses it.
    pub(super) fn new(
        token: AccessToken,
        version: Option<i64>,
        left: Option<Duration>,
        early: Duration,
        now: Instant,
    ) -> Self {
        let ends = left.map(|left| now + left);
        let due = left.map(|left| now + left.saturating_sub(early));
        Self { token, version, since: now, ends, due, refused: false, worked: false }
    }

    fn is_usable(&self, now: Instant) -> bool {
        !self.refused && self.ends.is_none_or(|ends| now < ends)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| now >= due)
    }
}

impl Renewal {
    /// What a caller gets at `now`.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        // One that ended without landing was broken off.
        let flight = self.flight.take().filter(|flight| flight.has_changed().is_ok());
        self.flight.clone_from(&flight);
        let waits = self.failure.as_ref().filter(|failure| now < failure.wait_until);
        match (self.held.as_ref().filter(|held| held.is_usable(now)), flight, waits) {
            (Some(held), None, None) if held.is_due(now) => {
                let token = held.token.clone();
                Step::UseAndRenew(token, self.take_off().0)
            }
            (Some(held), _, _) => Step::Use(held.token.clone()),
            (None, Some(flight), _) => Step::Wait(flight),
            (None, None, Some(failure)) => Step::Fail(failure.error.clone()),
            (None, None, None) => {
                let (take_off, flight) = self.take_off();
                Step::Renew(take_off, flight)
            }
        }
    }

    /// The API took `token`.
    pub(super) fn worked(&mut self, token: &AccessToken) {
        if let Some(held) = self.held.as_mut().filter(|held| held.token == *token) {
            held.worked = true;
            self.refused_young = 0;
        }
    }

    /// The API refused `token`. Says whether that was news.
    pub(super) fn refused(&mut self, token: &AccessToken, now: Instant, spread: u8) -> bool {
        let Some(held) = self.held.as_mut().filter(|held| !held.refused && held.token == *token) else { return false };
        held.refused = true;
        // One that worked has ended, whatever the server said of its life.
        let is_young = !held.worked && now < held.since + YOUNG;
        self.refused_young = if is_young { self.refused_young + 1 } else { 0 };
        // Once is an early end of the token; twice, and more of them would be of no use.
        if self.refused_young > 1 {
            self.fail(TokenError::Unavailable("the API refuses what was just issued".to_owned()), now, spread);
        }
        true
    }

    /// A renewal ended.
    pub(super) fn land(&mut self, outcome: Result<Held, TokenError>, now: Instant, spread: u8) -> Landing {
        self.flight = None;
        match outcome {
            Ok(held) => {
                let token = held.token.clone();
                self.adopt(held);
                Some(Ok(token))
            }
            Err(error) => {
                self.spoil(&error);
                self.fail(error.clone(), now, spread);
                Some(Err(error))
            }
        }
    }

    /// Takes a token, unless a newer one is here.
    pub(super) fn adopt(&mut self, held: Held) {
        if self.version().is_some_and(|known| held.version.is_some_and(|version| version < known)) {
            return;
        }
        self.failures = self.refused_young.saturating_sub(1);
        self.failure = None;
        self.held = Some(held);
    }

    /// The ledger has no grant any more: whatever is held came from it.
    pub(super) fn lose(&mut self, error: TokenError, now: Instant, spread: u8) {
        self.spoil(&error);
        if self.failure.as_ref().is_none_or(|failure| failure.error != error) {
            self.fail(error, now, spread);
        }
    }

    /// The version of what is held.
    pub(super) fn version(&self) -> Option<i64> {
        self.held.as_ref().and_then(|held| held.version)
    }

    /// What an operator should know.
    pub(super) fn problem(&self) -> Option<String> {
        self.failure.as_ref().map(|failure| failure.error.to_string())
    }

    fn take_off(&mut self) -> (TakeOff, watch::Receiver<Landing>) {
        let (sender, flight) = watch::channel(None);
        self.flight = Some(flight.clone());
        (TakeOff { spent: self.version(), sender }, flight)
    }

    /// Stops using what is held, if `error` says that its grant is gone. A lost one's version still tells it from a new
    /// login's; where no grant is, versions begin anew.
    fn spoil(&mut self, error: &TokenError) {
        match error {
            TokenError::NotGranted(_) => self.held = None,
            TokenError::Revoked(_) => self.held.iter_mut().for_each(|held| held.refused = true),
            TokenError::Refused { .. } | TokenError::Unavailable(_) | TokenError::Ledger(_) => {}
        }
    }

    fn fail(&mut self, error: TokenError, now: Instant, spread: u8) {
        // Without a grant only the ledger is asked: there a login elsewhere should soon be seen.
        let failures = if error.is_without_grant() { 1 } else { self.failures.saturating_add(1) };
        self.failures = failures;
        self.failure = Some(Failure { error, wait_until: now + wait(failures, spread) });
    }
}

/// The wait after so many failures: 1 s, doubling to 30 s, and up to a quarter more, so that workers do not go together.
fn wait(failures: u32, spread: u8) -> Duration {
    let wait = WAIT_MIN.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(WAIT_MAX);
    wait + wait.mul_f64(f64::from(spread) / 255.0 / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn token(text: &str) -> AccessToken {
        AccessToken::new(text.to_owned())
    }

    fn held(text: &str, seconds: u64, early: u64, now: Instant) -> Held {
        Held::new(
            token(text),
            None,
            Some(SECOND * u32::try_from(seconds).expect("few")),
            SECOND * u32::try_from(early).expect("few"),
            now,
        )
    }

    fn failure() -> TokenError {
        TokenError::Unavailable("it is away".to_owned())
    }

    #[test]
    fn a_token_is_used_then_renewed_beside_then_waited_for() {
        let start = Instant::now();
        let mut renewal = Renewal::default();
        let Step::Renew(sender, _flight) = renewal.step(start) else { panic!("nothing is held") };
        assert!(matches!(renewal.step(start), Step::Wait(_)));
        renewal.land(Ok(held("a", 100, 10, start)), start, 0);
        drop(sender);
        assert!(matches!(renewal.step(start + 89 * SECOND), Step::Use(_)));
        let Step::UseAndRenew(_, sender) = renewal.step(start + 90 * SECOND) else { panic!("it is due") };
        assert!(matches!(renewal.step(start + 91 * SECOND), Step::Use(_)), "one renewal is enough");
        assert!(matches!(renewal.step(start + 100 * SECOND), Step::Wait(_)), "it has ended");
        drop(sender);
        assert!(matches!(renewal.step(start + 101 * SECOND), Step::Renew(..)), "a renewal that died blocks for ever");
    }

    #[test]
    fn a_failure_holds_the_next_renewal_back_and_no_valid_token() {
        let start = Instant::now();
        let mut renewal = Renewal::default();
        renewal.adopt(held("a", 100, 10, start));
        let due = start + 95 * SECOND;
        assert!(matches!(renewal.step(due), Step::UseAndRenew(..)));
        renewal.land(Err(failure()), due, 0);
        assert!(matches!(renewal.step(due), Step::Use(_)));
        assert_eq!(renewal.problem(), Some(failure().to_string()));
        assert!(matches!(renewal.step(due + SECOND), Step::UseAndRenew(..)));
        renewal.land(Err(failure()), start + 99 * SECOND, 0);
        let ended = start + 100 * SECOND;
        assert!(matches!(renewal.step(ended), Step::Fail(error) if error == failure()));
        assert!(matches!(renewal.step(ended + SECOND), Step::Renew(..)));
        renewal.land(Ok(held("b", 100, 10, ended)), ended, 0);
        assert_eq!(renewal.problem(), None);
    }

    #[test]
    fn only_the_token_that_is_held_can_be_refused() {
        let now = Instant::now();
        let mut renewal = Renewal::default();
        renewal.adopt(held("new", 100, 10, now));
        assert!(!renewal.refused(&token("old"), now, 0));
        assert!(matches!(renewal.step(now), Step::Use(_)));
        assert!(renewal.refused(&token("new"), now, 0));
        assert!(!renewal.refused(&token("new"), now, 0), "said twice");
        assert!(matches!(renewal.step(now), Step::Renew(..)));
    }

    #[test]
    fn an_api_that_refuses_every_token_does_not_storm_the_server() {
        let mut now = Instant::now();
        let mut renewal = Renewal::default();
        let mut renewals = 0;
        let end = now + 300 * SECOND;
        while now < end {
            match renewal.step(now) {
                Step::Renew(..) => {
                    renewals += 1;
                    assert!(renewals < 100, "the server is stormed");
                    let fresh = format!("t{renewals}");
                    renewal.land(Ok(held(&fresh, 3_600, 10, now)), now, 0);
                    assert!(renewal.refused(&token(&fresh), now, 0));
                }
                Step::Fail(_) => now += SECOND / 4,
                other @ (Step::Use(_) | Step::UseAndRenew(..) | Step::Wait(_)) => panic!("{other:?}"),
            }
        }
        assert!((8..20).contains(&renewals), "{renewals} renewals in five minutes");
        renewal.land(Ok(held("good", 3_600, 10, now)), now, 0);
        assert!(renewal.refused(&token("good"), now + 60 * SECOND, 0));
        assert!(matches!(renewal.step(now + 60 * SECOND), Step::Renew(..)), "a token that worked is renewed at once");
    }

    /// Some servers' tokens live for seconds, or end when a user says so.
    #[test]
    fn tokens_that_worked_may_end_early_again_and_again() {
        let now = Instant::now();
        let mut renewal = Renewal::default();
        for number in 0..10 {
            let fresh = format!("t{number}");
            renewal.land(Ok(held(&fresh, 3_600, 10, now)), now, 0);
            renewal.worked(&token(&fresh));
            assert!(renewal.refused(&token(&fresh), now + SECOND, 0));
            assert!(matches!(renewal.step(now + SECOND), Step::Renew(..)), "{fresh} is renewed at once");
        }
    }

    #[test]
    fn waits_double_to_half_a_minute() {
        let waits: Vec<_> = [1, 2, 3, 4, 5, 6, 7, 40].iter().map(|failures| wait(*failures, 0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(wait(1, 255), SECOND * 5 / 4);
    }

    #[test]
    fn an_older_grant_never_replaces_a_newer_one() {
        let now = Instant::now();
        let of = |text: &str, version| Held::new(token(text), Some(version), None, SECOND, now);
        let mut renewal = Renewal::default();
        renewal.adopt(of("two", 2));
        renewal.adopt(of("one", 1));
        assert!(matches!(renewal.step(now), Step::Use(used) if used == token("two")));
        renewal.adopt(of("three", 3));
        assert!(matches!(renewal.step(now), Step::Use(used) if used == token("three")));
        renewal.lose(TokenError::Revoked("by a user".to_owned()), now, 0);
        assert!(matches!(renewal.step(now), Step::Fail(TokenError::Revoked(_))));
        renewal.adopt(of("four", 4));
        assert!(matches!(renewal.step(now), Step::Use(used) if used == token("four")));
    }
}
