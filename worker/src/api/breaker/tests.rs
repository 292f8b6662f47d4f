use std::num::NonZeroU32;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const SIGNALS: [Signal; 3] = [Signal::Success, Signal::Failure, Signal::Ignored];

fn config(minimum: u32, probes: u32) -> ApiBreakerConfig {
    ApiBreakerConfig {
        failure_rate: 0.5,
        minimum: NonZeroU32::new(minimum).unwrap(),
        window: 10 * SECOND,
        open_for: 30 * SECOND,
        probes: NonZeroU32::new(probes).unwrap(),
    }
}

fn token(breaker: &mut Breaker, now: Instant) -> Token {
    breaker.admit(now).expect("it is let through").token
}

fn call(breaker: &mut Breaker, now: Instant, signal: Signal) -> Option<State> {
    let token = token(breaker, now);
    breaker.record(now, token, signal)
}

/// One that opened at `now`.
fn open(minimum: u32, probes: u32, now: Instant) -> Breaker {
    let mut breaker = Breaker::new(config(minimum, probes), now);
    for _ in 1..minimum {
        assert_eq!(call(&mut breaker, now, Signal::Failure), None);
    }
    assert_eq!(call(&mut breaker, now, Signal::Failure), Some(State::Open { left: 30 * SECOND }));
    breaker
}

#[test]
fn it_opens_at_the_rate_and_not_below_the_minimum() {
    let now = Instant::now();
    let check = |failures: u32, successes: u32, opens: bool| {
        let mut breaker = Breaker::new(config(4, 1), now);
        for _ in 0..successes {
            assert_eq!(call(&mut breaker, now, Signal::Success), None);
        }
        for _ in 0..failures {
            call(&mut breaker, now, Signal::Failure);
        }
        assert_eq!(breaker.state(now) != State::Closed, opens, "{failures} of {}", failures + successes);
    };
    check(3, 0, false);
    check(4, 0, true);
    check(1, 3, false);
    check(2, 2, true);
    check(49, 51, false);
    check(51, 51, true);
}

#[test]
fn what_left_the_window_does_not_count() {
    let start = Instant::now();
    let check = |gap: Duration, opens: bool| {
        let mut breaker = Breaker::new(config(4, 1), start);
        let mut now = start;
        for _ in 0..4 {
            call(&mut breaker, now, Signal::Failure);
            now += gap;
        }
        assert_eq!(breaker.state(now) != State::Closed, opens, "{gap:?}");
    };
    check(3 * SECOND, true);
    check(4 * SECOND, false);
    check(3_600 * SECOND, false);
}

#[test]
fn what_is_ignored_does_not_count() {
    let now = Instant::now();
    let mut breaker = Breaker::new(config(2, 1), now);
    call(&mut breaker, now, Signal::Failure);
    for _ in 0..10 {
        assert_eq!(call(&mut breaker, now, Signal::Ignored), None);
    }
    assert!(matches!(call(&mut breaker, now, Signal::Failure), Some(State::Open { .. })));
}

#[test]
fn only_a_failure_opens_it() {
    let start = Instant::now();
    for signal in [Signal::Success, Signal::Ignored] {
        let mut breaker = Breaker::new(config(2, 1), start);
        for _ in 0..4 {
            call(&mut breaker, start, Signal::Success);
        }
        for _ in 0..3 {
            call(&mut breaker, start + 5 * SECOND, Signal::Failure);
        }
        let later = start + 11 * SECOND;
        assert_eq!(call(&mut breaker, later, signal), None, "the first successes left, the failures did not");
        assert!(call(&mut breaker, later, Signal::Failure).is_some());
    }
}

#[test]
fn open_it_refuses_and_says_for_how_long() {
    let now = Instant::now();
    let mut breaker = open(2, 1, now);
    assert_eq!(breaker.admit(now).unwrap_err(), Refused { retry_after: 30 * SECOND });
    assert_eq!(breaker.admit(now + 29 * SECOND).unwrap_err(), Refused { retry_after: SECOND });
    assert_eq!(breaker.state(now + 29 * SECOND), State::Open { left: SECOND });
    let probe = breaker.admit(now + 30 * SECOND).expect("a probe");
    assert_eq!(probe.changed, Some(State::HalfOpen));
}

#[test]
fn half_open_lets_the_probes_through_and_closes_when_all_succeed() {
    let now = Instant::now();
    let mut breaker = open(2, 3, now);
    let later = now + 30 * SECOND;
    let probes = [(); 3].map(|()| token(&mut breaker, later));
    assert_eq!(breaker.admit(later).unwrap_err(), Refused { retry_after: PROBING_RETRY_AFTER });
    assert_eq!(breaker.record(later, probes[0], Signal::Success), None);
    assert!(breaker.admit(later).is_err(), "two more are out, and two are needed");
    assert_eq!(breaker.record(later, probes[1], Signal::Success), None);
    assert_eq!(breaker.record(later, probes[2], Signal::Success), Some(State::Closed));
    assert_eq!(call(&mut breaker, later, Signal::Failure), None, "closed, it counts from nothing");
}

#[test]
fn one_failed_probe_opens_it_again() {
    let now = Instant::now();
    let mut breaker = open(2, 2, now);
    let later = now + 30 * SECOND;
    let (first, second) = (token(&mut breaker, later), token(&mut breaker, later));
    assert_eq!(breaker.record(later, first, Signal::Failure), Some(State::Open { left: 30 * SECOND }));
    assert_eq!(breaker.record(later, second, Signal::Success), None);
    assert_eq!(breaker.state(later), State::Open { left: 30 * SECOND });
}

#[test]
fn a_late_result_does_not_decide_for_the_probe() {
    for signal in SIGNALS {
        let now = Instant::now();
        let mut breaker = Breaker::new(config(2, 1), now);
        let late = token(&mut breaker, now);
        call(&mut breaker, now, Signal::Failure);
        call(&mut breaker, now, Signal::Failure);
        let later = now + 30 * SECOND;
        let probe = token(&mut breaker, later);
        assert_eq!(breaker.record(later, late, signal), None);
        assert_eq!(breaker.state(later), State::HalfOpen);
        assert!(breaker.admit(later).is_err(), "the probe's slot is still taken");
        assert_eq!(breaker.record(later, probe, Signal::Success), Some(State::Closed));
    }
}

#[test]
fn a_permit_that_is_dropped_frees_its_slot() {
    let now = Instant::now();
    let breaker = SharedBreaker::new(config(1, 1), now);
    let changed = breaker.admit(now).unwrap().record(now, Signal::Failure);
    assert_eq!(changed, Some(State::Open { left: 30 * SECOND }));
    let later = now + 30 * SECOND;
    let probe = breaker.admit(later).unwrap();
    assert_eq!(probe.changed(), Some(State::HalfOpen));
    assert!(breaker.admit(later).is_err());
    drop(probe);
    let probe = breaker.admit(later).expect("the slot is free");
    assert_eq!(probe.changed(), None);
    assert_eq!(probe.record(later, Signal::Success), Some(State::Closed));
    assert_eq!(breaker.state(later), State::Closed);
}

/// Everything that four calls and the clock can do in eight steps, each checked against what must hold after it.
#[test]
fn no_order_of_events_lets_too_much_through_or_stays_shut() {
    #[derive(Clone, Copy)]
    enum Step {
        Admit,
        Record(Signal),
        Pass(Duration),
    }
    const STEPS: [Step; 6] = [
        Step::Admit,
        Step::Record(Signal::Success),
        Step::Record(Signal::Failure),
        Step::Record(Signal::Ignored),
        Step::Pass(SECOND),
        Step::Pass(Duration::from_secs(30)),
    ];
    let mut seen = [0_u32; 3];
    for number in 0..6_usize.pow(8) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(config(2, 2), now);
        // Whether each call that is out is a probe of this half-open phase.
        let mut out: Vec<(Token, bool)> = Vec::new();
        let mut rest = number;
        for _ in 0..8 {
            let before = breaker.state(now);
            let mut changed = None;
            match STEPS[rest % 6] {
                Step::Admit => match breaker.admit(now) {
                    Ok(admitted) => {
                        assert!(!matches!(before, State::Open { .. }), "open, nothing passes");
                        changed = admitted.changed;
                        out.push((admitted.token, before == State::HalfOpen));
                    }
                    Err(refused) => match before {
                        State::Closed => panic!("closed, nothing is refused"),
                        State::Open { left } => assert_eq!(refused.retry_after, left),
                        State::HalfOpen => assert!(out.iter().any(|(_, is_probe)| *is_probe), "somebody decides"),
                    },
                },
                Step::Record(signal) if !out.is_empty() => {
                    let (token, is_probe) = out.remove(0);
                    changed = breaker.record(now, token, signal);
                    let is_late = !is_probe && before != State::Closed;
                    assert!(!is_late || changed.is_none(), "a late result changes nothing");
                }
                Step::Record(_) => {}
                Step::Pass(time) => now += time,
            }
            let after = breaker.state(now);
            if changed.is_some_and(|state| state != State::HalfOpen) {
                out.iter_mut().for_each(|(_, is_probe)| *is_probe = false);
            }
            assert!(out.iter().filter(|(_, is_probe)| *is_probe).count() <= 2, "never more than the probes");
            if let Some(changed) = changed {
                assert_eq!(changed, after);
            }
            seen[match after {
                State::Closed => 0,
                State::Open { .. } => 1,
                State::HalfOpen => 2,
            }] += 1;
            rest /= 6;
        }
        let State::Open { left } = breaker.state(now) else { continue };
        assert!(breaker.admit(now + left).is_ok(), "after its time it always probes");
    }
    assert!(seen.iter().all(|count| *count > 1_000), "every state is reached: {seen:?}");
}

proptest! {
    /// The ring of counters against a list of all calls.
    #[test]
    fn it_opens_exactly_when_the_window_is_bad(
        calls in prop::collection::vec((0_u64..3_000, select(SIGNALS.to_vec())), 1..200),
        minimum in 1_u32..30,
        rate in 0.05_f64..=1.0,
    ) {
        let start = Instant::now();
        let config = ApiBreakerConfig { failure_rate: rate, ..config(minimum, 1) };
        let mut breaker = Breaker::new(config, start);
        let mut millis = 0;
        let mut all: Vec<(u64, bool)> = Vec::new();
        for (gap, signal) in calls {
            millis += gap;
            let changed = call(&mut breaker, start + Duration::from_millis(millis), signal);
            if signal != Signal::Ignored {
                all.push((millis / 1_000, signal == Signal::Failure));
            }
            let recent: Vec<_> = all.iter().filter(|(second, _)| second + 10 > millis / 1_000).collect();
            let failures = recent.iter().filter(|(_, failed)| *failed).count();
            let (total, failures) = (u32::try_from(recent.len()).unwrap(), u32::try_from(failures).unwrap());
            let is_bad = total >= minimum && f64::from(failures) / f64::from(total) >= rate;
            let opens = signal == Signal::Failure && is_bad;
            prop_assert_eq!(changed.is_some(), opens);
            if opens {
                break;
            }
        }
    }
}
