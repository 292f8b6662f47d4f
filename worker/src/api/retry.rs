//! Whether a failed attempt at an API is made again. Pure.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use tidegate_shared::config::ApiRetryConfig;

/// What went wrong with one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was no connection; nothing was sent.
    Connect,
    /// The answer did not come in time.
    Timeout,
    /// The connection broke after the request was under way.
    Reset,
    /// The answer was no success.
    Status(StatusCode),
    /// The answer was a success, but not what the caller expects.
    Malformed,
    /// The answer was larger than allowed.
    TooLarge,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether the same request may be made again.
    pub again: Again,
    /// What the breaker is told.
    pub breaker: Signal,
    /// Whether an answer of before may stand in for this one.
    pub stale_may_serve: bool,
}

/// Which requests may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Any.
    Always,
    /// Those that do no more when made twice.
    IfIdempotent,
    /// None: the answer would be the same.
    Never,
}

/// What an attempt says about the API's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It is not well.
    Failure,
    /// It answers properly, if only to refuse.
    Success,
    /// Nothing.
    Ignored,
}

/// The table: what each failure means.
#[must_use]
pub(crate) fn verdict(failure: Failure) -> Verdict {
    let (again, breaker, stale_may_serve) = match failure {
        Failure::Connect => (Again::Always, Signal::Failure, true),
        Failure::Timeout | Failure::Reset | Failure::Malformed => (Again::IfIdempotent, Signal::Failure, true),
        Failure::TooLarge => (Again::Never, Signal::Ignored, false),
        Failure::Status(status) => match status.as_u16() {
            // Only if idempotent, 429 and 503 too: a gateway may say so after what is behind it has acted.
            // No word on its health: it is slow or careful about this one request, or well and the limiter's affair.
            408 | 425 | 429 => (Again::IfIdempotent, Signal::Ignored, true),
            501 | 505 => (Again::Never, Signal::Failure, false),
            // From 600 on a status means what 500 does: RFC 9110 section 15.
            500..=599 | 600.. => (Again::IfIdempotent, Signal::Failure, true),
            // Redirects are not followed: the configuration names the final URL.
            0..=499 => (Again::Never, Signal::Success, false),
        },
    };
    Verdict { again, breaker, stale_may_serve }
}

/// How long to wait after the attempt number `made`, or `None` to give up.
///
/// The wait is random between zero and a bound, which doubles with each attempt from `base` up to `cap` (full jitter:
/// <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>). Where the API itself asked for
/// a wait (`retry_after`), that is waited first, and the random part comes on top as far as `cap` leaves room: callers
/// that were sent away together must not come back together. No wait is longer than `cap`.
///
/// It gives up after `attempts`, where the API asks for more than `cap`, and where no time of `total` would be left;
/// `spent` is what the call took so far. `random` is from 0 up to, and without, 1.
#[must_use]
pub(crate) fn wait(
    config: &ApiRetryConfig,
    made: u32,
    retry_after: Option<Duration>,
    spent: Duration,
    random: f64,
) -> Option<Duration> {
    if made >= config.attempts.get() {
        return None;
    }
    let asked = retry_after.unwrap_or_default();
    let room = config.cap.checked_sub(asked)?;
    let doubled = 2_u32.saturating_pow(made.saturating_sub(1));
    let bound = config.base.saturating_mul(doubled).min(room);
    // Rounding may pass the bound by a nanosecond.
    let jitter = Duration::try_from_secs_f64(bound.as_secs_f64() * random).unwrap_or(bound).min(bound);
    let wait = asked + jitter;
    (spent.saturating_add(wait) < config.total).then_some(wait)
}

/// `Retry-After` in both its forms, RFC 9110 section 10.2.3.
#[must_use]
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(at.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn config() -> ApiRetryConfig {
        ApiRetryConfig {
            attempts: NonZeroU32::new(4).unwrap(),
            base: SECOND,
            cap: 10 * SECOND,
            total: 60 * SECOND,
            budget: 0.2,
        }
    }

    #[test]
    fn each_failure_has_its_verdict() {
        let check = |failure, again, breaker, stale_may_serve| {
            assert_eq!(verdict(failure), Verdict { again, breaker, stale_may_serve }, "{failure:?}");
        };
        check(Failure::Connect, Again::Always, Signal::Failure, true);
        check(Failure::Timeout, Again::IfIdempotent, Signal::Failure, true);
        check(Failure::Reset, Again::IfIdempotent, Signal::Failure, true);
        check(Failure::Malformed, Again::IfIdempotent, Signal::Failure, true);
        check(Failure::TooLarge, Again::Never, Signal::Ignored, false);
    }

    #[test]
    fn each_status_has_its_verdict() {
        let later = [408, 425, 429];
        let never = [501, 505];
        for code in 300..=599 {
            let (again, breaker, stale_may_serve) = if later.contains(&code) {
                (Again::IfIdempotent, Signal::Ignored, true)
            } else if never.contains(&code) {
                (Again::Never, Signal::Failure, false)
            } else if code >= 500 {
                (Again::IfIdempotent, Signal::Failure, true)
            } else {
                (Again::Never, Signal::Success, false)
            };
            let failure = Failure::Status(StatusCode::from_u16(code).unwrap());
            assert_eq!(verdict(failure), Verdict { again, breaker, stale_may_serve }, "{code}");
        }
    }

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let config = ApiRetryConfig { attempts: NonZeroU32::MAX, ..config() };
        let check = |made, expected: u32| {
            let bound = expected * SECOND;
            let most = wait(&config, made, None, Duration::ZERO, 1.0 - f64::EPSILON).unwrap();
            assert!(most <= bound && bound - most < Duration::from_micros(1), "{made}: {most:?}");
            assert_eq!(wait(&config, made, None, Duration::ZERO, 0.0), Some(Duration::ZERO));
            assert_eq!(wait(&config, made, None, Duration::ZERO, 0.5), Some(bound / 2));
        };
        for (made, expected) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (6, 10), (33, 10), (u32::MAX - 1, 10)] {
            check(made, expected);
        }
    }

    #[test]
    fn a_retry_after_is_waited_for_and_never_shortened() {
        let check = |asked: Duration, random, expected| {
            assert_eq!(wait(&config(), 2, Some(asked), Duration::ZERO, random), expected, "{asked:?}");
        };
        check(5 * SECOND, 0.0, Some(5 * SECOND));
        check(5 * SECOND, 0.5, Some(6 * SECOND));
        check(9 * SECOND, 0.5, Some(9 * SECOND + SECOND / 2));
        check(10 * SECOND, 0.5, Some(10 * SECOND));
        check(10 * SECOND + Duration::from_nanos(1), 0.5, None);
        check(Duration::MAX, 0.5, None);
    }

    #[test]
    fn no_wait_passes_the_total() {
        let check = |spent, expected| assert_eq!(wait(&config(), 1, None, spent, 0.5), expected, "{spent:?}");
        check(59 * SECOND, Some(SECOND / 2));
        check(59 * SECOND + SECOND / 2, None);
        check(Duration::MAX, None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn wait_is_always_within_its_bounds(
            attempts in 1_u32..,
            made: u32,
            base: Duration,
            cap: Duration,
            total: Duration,
            asked: Option<Duration>,
            spent: Duration,
            random in 0.0_f64..1.0,
        ) {
            let attempts = NonZeroU32::new(attempts).unwrap();
            let config = ApiRetryConfig { attempts, base, cap, total, budget: 0.2 };
            if let Some(wait) = wait(&config, made, asked, spent, random) {
                prop_assert!(made < attempts.get());
                prop_assert!(wait <= cap);
                prop_assert!(wait >= asked.unwrap_or_default());
                prop_assert!(spent + wait < total);
            }
        }

        #[test]
        fn attempts_end(attempts in 1_u32..100, random in 0.0_f64..1.0) {
            let attempts = NonZeroU32::new(attempts).unwrap();
            let config = ApiRetryConfig { attempts, total: Duration::MAX, ..config() };
            let made = (1..).find(|made| wait(&config, *made, None, Duration::ZERO, random).is_none());
            prop_assert_eq!(made, Some(attempts.get()));
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().expect("a time");
        let check = |value: &'static str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
        };
        check("120", Some(120));
        check("Sun, 22 Nov 2026 12:01:00 GMT", Some(60));
        check("Sun, 22 Nov 2026 11:00:00 GMT", None);
        check("soon", None);
        check("-1", None);
    }
}
