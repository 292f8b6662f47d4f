use std::num::{NonZeroU16, NonZeroU32};

use futures_util::future::join_all;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use tokio::time::Instant as Clock;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rate(count: u32, per: Duration) -> Rate {
    Rate { count: NonZeroU32::new(count).unwrap(), per }
}

fn limiter(rate: Option<Rate>, concurrency: u16, wait: Duration) -> Limiter {
    let concurrency = NonZeroU16::new(concurrency).unwrap();
    Limiter::new("test".to_owned(), &ApiLimitConfig { rate, concurrency, wait })
}

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[tokio::test(start_paused = true)]
async fn calls_start_at_the_rate() {
    let limiter = limiter(Some(rate(5, SECOND)), 100, 10 * SECOND);
    let start = Clock::now();
    for number in 0..5 {
        drop(limiter.acquire().await.expect("a turn"));
        assert_eq!(start.elapsed(), number * SECOND / 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_would_come_too_late_is_refused_at_once_and_not_reserved() {
    let limiter = limiter(Some(rate(1, SECOND)), 100, SECOND / 2);
    let start = Clock::now();
    drop(limiter.acquire().await.expect("a turn"));
    for _ in 0..10 {
        assert_eq!(limiter.acquire().await.unwrap_err(), Limited { retry_after: SECOND });
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    tokio::time::advance(SECOND).await;
    drop(limiter.acquire().await.expect("the refused reserved nothing"));
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn nobody_lines_up_in_vain_for_a_place() {
    let limiter = limiter(Some(rate(1, SECOND)), 1, 5 * SECOND);
    let start = Clock::now();
    let ask = || async {
        let turn = limiter.acquire().await;
        (turn.map(drop), start.elapsed())
    };
    let answers = join_all((0..20).map(|_| ask())).await;
    let (given, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(turn, _)| turn.is_ok());
    assert_eq!(given.len(), 6);
    assert!(refused.iter().all(|(_, after)| after.is_zero()), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_places_are_taken_at_once() {
    let limiter = limiter(None, 3, 60 * SECOND);
    let (now, most) = (AtomicU32::new(0), AtomicU32::new(0));
    let start = Clock::now();
    let call = || async {
        let turn = limiter.acquire().await.expect("a turn");
        most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        tokio::time::sleep(SECOND).await;
        now.fetch_sub(1, Ordering::Relaxed);
        drop(turn);
    };
    join_all((0..30).map(|_| call())).await;
    assert_eq!(most.into_inner(), 3);
    assert_eq!(start.elapsed(), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_place_has_an_end() {
    let limiter = limiter(None, 1, 5 * SECOND);
    let held = limiter.acquire().await.expect("a turn");
    let start = Clock::now();
    assert_eq!(limiter.acquire().await.unwrap_err(), Limited { retry_after: PLACE_RETRY_AFTER });
    assert_eq!(start.elapsed(), 5 * SECOND);
    drop(held);
    drop(limiter.acquire().await.expect("the place is free"));
}

#[tokio::test(start_paused = true)]
async fn place_and_moment_share_one_wait() {
    let limiter = limiter(None, 1, 5 * SECOND);
    let held = limiter.acquire().await.expect("a turn");
    let start = Clock::now();
    let release = async {
        tokio::time::sleep(4 * SECOND).await;
        limiter.learn(now(), StatusCode::OK, &headers(&[("ratelimit", "\"a\";r=0;t=2")]), Timestamp::UNIX_EPOCH);
        drop(held);
    };
    let (turn, ()) = tokio::join!(limiter.acquire(), release);
    assert_eq!(turn.unwrap_err(), Limited { retry_after: 2 * SECOND });
    assert_eq!(start.elapsed(), 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_gives_up_waiting_leaves_its_place() {
    let limiter = limiter(Some(rate(1, SECOND)), 1, 5 * SECOND);
    drop(limiter.acquire().await.expect("a turn"));
    tokio::time::timeout(SECOND / 2, limiter.acquire()).await.expect_err("it waits for its moment");
    assert_eq!(limiter.places.available_permits(), 1);
    assert_eq!(limiter.queued.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_all_calls_back() {
    let limiter = limiter(None, 8, 5 * SECOND);
    let start = Clock::now();
    let asks = headers(&[("retry-after", "3")]);
    let learned = limiter.learn(now(), StatusCode::TOO_MANY_REQUESTS, &asks, Timestamp::UNIX_EPOCH);
    assert_eq!(learned, Some(3 * SECOND));
    for turn in join_all((0..4).map(|_| limiter.acquire())).await {
        drop(turn.expect("a turn"));
    }
    assert_eq!(start.elapsed(), 3 * SECOND);
    let asks = headers(&[("retry-after", "6")]);
    limiter.learn(now(), StatusCode::TOO_MANY_REQUESTS, &asks, Timestamp::UNIX_EPOCH);
    assert_eq!(limiter.acquire().await.unwrap_err(), Limited { retry_after: 6 * SECOND });
    assert_eq!(start.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_pause_reaches_those_that_wait_already() {
    let limiter = limiter(Some(rate(1, SECOND)), 8, 10 * SECOND);
    drop(limiter.acquire().await.expect("a turn"));
    let start = Clock::now();
    let learn = async {
        tokio::time::sleep(SECOND / 2).await;
        limiter.learn(now(), StatusCode::OK, &headers(&[("ratelimit", "\"a\";r=0;t=4")]), Timestamp::UNIX_EPOCH);
    };
    let (turn, ()) = tokio::join!(limiter.acquire(), learn);
    drop(turn.expect("a turn"));
    assert_eq!(start.elapsed(), 4 * SECOND + SECOND / 2);
}

#[test]
fn each_answer_has_its_pause() {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let check = |status: u16, fields: &[(&'static str, &'static str)], expected: Option<u64>| {
        let status = StatusCode::from_u16(status).unwrap();
        let paused = pause(status, &headers(fields), now);
        assert_eq!(paused, expected.map(Duration::from_secs), "{status} {fields:?}");
    };
    check(429, &[("retry-after", "7")], Some(7));
    check(503, &[("retry-after", "7")], Some(7));
    check(403, &[("retry-after", "7")], Some(7));
    check(503, &[("retry-after", "Tue, 14 Nov 2023 22:13:30 GMT")], Some(10));
    check(500, &[("retry-after", "7")], None);
    check(200, &[("retry-after", "7")], None);
    check(429, &[("retry-after", "0")], None);
    check(429, &[("retry-after", "999999")], Some(3_600));
    check(429, &[], None);

    for status in [200, 403, 429] {
        check(status, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000060")], Some(60));
    }
    check(200, &[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "1700000060")], None);
    check(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1699999999")], None);
    check(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000000")], Some(3_600));
    check(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9223372036854775807")], None);
    check(403, &[("x-ratelimit-remaining", "0")], None);
    check(403, &[("x-ratelimit-reset", "1700000060")], None);

    check(200, &[("ratelimit-remaining", "0"), ("ratelimit-reset", "30")], Some(30));
    check(200, &[("ratelimit-remaining", "5"), ("ratelimit-reset", "30")], None);
    check(200, &[("ratelimit-remaining", "0"), ("ratelimit-reset", "-30")], None);

    check(200, &[("ratelimit", "\"default\";r=0;t=30")], Some(30));
    check(200, &[("ratelimit", "\"default\";r=1;t=30")], None);
    check(200, &[("ratelimit", "\"default\";r=0")], None);
    check(200, &[("ratelimit", "\"default\"; t=30; r=0")], Some(30));
    check(200, &[("ratelimit", "\"hour\";r=0;t=9, \"day\";r=0;t=90, \"month\";r=4;t=900")], Some(90));
    check(200, &[("ratelimit", "\"a;r=0;t=9;x\";r=4;t=30")], None);
    check(200, &[("ratelimit", "\"a\\\";r=0;t=9;\";r=4;t=30")], None);
    check(200, &[("ratelimit", "\"a,b\";r=0;t=9")], Some(9));
    check(200, &[("ratelimit", "limit=5")], None);
    check(429, &[("retry-after", "7"), ("ratelimit", "\"default\";r=0;t=30")], Some(30));
}

#[test]
fn a_tenth_of_the_rate_may_come_at_once() {
    let check = |count: u32, burst: u32| {
        let now = Instant::now();
        let mut pace = Pace::new(Some(rate(count, 60 * SECOND)));
        let at_once = (0..1_000).take_while(|_| pace.reserve(now, Duration::ZERO).is_ok()).count();
        assert_eq!(u32::try_from(at_once).unwrap(), burst, "{count}");
    };
    check(1, 1);
    check(19, 1);
    check(20, 2);
    check(600, 60);
}

#[test]
fn the_rate_is_used_in_full() {
    let start = Instant::now();
    let mut pace = Pace::new(Some(rate(600, 60 * SECOND)));
    let last = (0..660).map(|_| pace.reserve(start, Duration::MAX).expect("a moment")).last();
    assert_eq!(last, Some(60 * SECOND));
}

#[test]
fn a_shorter_pause_does_not_end_a_longer_one() {
    let now = Instant::now();
    let mut pace = Pace::new(None);
    pace.pause(now, 60 * SECOND);
    pace.pause(now, SECOND);
    assert_eq!(pace.wait_behind(0, now), 60 * SECOND);
}

proptest! {
    /// Calls come and go as they like, some cannot wait, and the API asks for quiet now and then.
    #[test]
    fn no_stretch_of_time_has_more_starts_than_rate_and_burst(
        count in 1_u32..60,
        per_ms in 1_u64..5_000,
        events in prop::collection::vec((0_u64..400, 0_u64..3_000, prop::option::weighted(0.05, 0_u64..2_000)), 1..400),
    ) {
        let per = Duration::from_millis(per_ms);
        let mut pace = Pace::new(Some(rate(count, per)));
        let mut now = Instant::now();
        let mut starts = Vec::new();
        for (gap, wait_max, quiet) in events {
            now += Duration::from_millis(gap);
            if let Some(quiet) = quiet {
                pace.pause(now, Duration::from_millis(quiet));
            }
            let wait_max = Duration::from_millis(wait_max);
            if let Ok(wait) = pace.reserve(now, wait_max) {
                prop_assert!(wait <= wait_max);
                starts.push(now + wait);
            }
        }
        let most = usize::try_from(count + (count / 10).max(1)).unwrap();
        prop_assert!(starts.is_sorted());
        for (index, start) in starts.iter().enumerate() {
            let within = starts[index..].iter().take_while(|other| **other - *start <= per).count();
            prop_assert!(within <= most, "{within} of {most}");
        }
    }
}
