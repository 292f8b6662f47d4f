//! The rungs of the retry ladder: which delays have a queue, which of them a retry takes.
//!
//! A queue with one fixed TTL keeps its order; a TTL per message would let a long one hold up the short ones behind it.
//! Jitter therefore comes from choosing among three queues per delay: the delay itself, 10 and 20 percent more.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::queue::Topology;

/// The delay of a topology whose handlers name none: a commit that failed is still worth another try.
const FALLBACK: Duration = Duration::from_secs(5);
/// The longest TTL that RabbitMQ takes is 2^32 - 1 ms; with 20 percent more this stays below.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// A TTL has whole milliseconds, and none would be no pause at all.
const SHORTEST: Duration = Duration::from_millis(1);
/// What the variants of a delay add, in percent.
const JITTER_PERCENT: [u32; 3] = [0, 10, 20];

/// The delays that handlers ask for, shortest first.
pub(super) fn delays(topology: &Topology) -> Vec<Duration> {
    let delays = topology.handlers.iter().flat_map(|handler| &handler.retry);
    let mut delays: BTreeSet<Duration> = delays.map(|delay| whole_millis((*delay).min(LONGEST))).collect();
    if delays.is_empty() {
        delays.insert(FALLBACK);
    }
    delays.into_iter().collect()
}

/// Every rung: each delay with its variants.
pub(super) fn all(topology: &Topology) -> BTreeSet<Duration> {
    delays(topology).into_iter().flat_map(|delay| JITTER_PERCENT.map(|percent| longer(delay, percent))).collect()
}

/// The rung for a retry after `delay`: a variant of the shortest delay that is long enough, or of the longest there is.
///
/// `dice` chooses the variant.
pub(super) fn choose(delays: &[Duration], delay: Duration, dice: u32) -> Duration {
    let base = delays.iter().find(|have| **have >= delay).or(delays.last()).copied().unwrap_or(FALLBACK);
    longer(base, JITTER_PERCENT[dice as usize % JITTER_PERCENT.len()])
}

fn longer(delay: Duration, percent: u32) -> Duration {
    whole_millis(delay * (100 + percent) / 100)
}

fn whole_millis(delay: Duration) -> Duration {
    let millis = delay.max(SHORTEST).as_millis();
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::HandlerName;
    use crate::queue::HandlerQueue;

    fn topology(ladders: &[&[u64]]) -> Topology {
        let handler = |(at, seconds): (usize, &&[u64])| HandlerQueue {
            name: HandlerName::try_new(&format!("h{at}")).expect("a valid name"),
            on: Vec::new(),
            retry: seconds.iter().map(|seconds| Duration::from_secs(*seconds)).collect(),
            prefetch: 1,
        };
        Topology { namespace: "n".to_owned(), handlers: ladders.iter().enumerate().map(handler).collect() }
    }

    #[test]
    fn each_delay_has_three_rungs_shared_by_all_handlers() {
        let all: Vec<u128> = all(&topology(&[&[5, 30], &[30]])).iter().map(Duration::as_millis).collect();
        assert_eq!(all, [5_000, 5_500, 6_000, 30_000, 33_000, 36_000]);
        assert_eq!(delays(&topology(&[&[]])), [FALLBACK]);
    }

    #[test]
    fn a_retry_takes_the_shortest_delay_that_is_long_enough() {
        let delays = delays(&topology(&[&[5, 30, 120]]));
        let check = |seconds, dice, expected| {
            assert_eq!(choose(&delays, Duration::from_secs(seconds), dice), Duration::from_secs(expected));
        };
        check(0, 0, 5);
        check(5, 0, 5);
        check(6, 0, 30);
        check(30, 1, 33);
        check(30, 2, 36);
        check(120, 3, 120);
        check(9_999, 0, 120);
    }

    #[test]
    fn every_choice_has_a_queue() {
        let topology = topology(&[&[1, 7, 3_600, 10_000_000]]);
        let (delays, all) = (delays(&topology), all(&topology));
        for seconds in [0, 1, 2, 7, 8, 5_000, 20_000_000] {
            for dice in 0..3 {
                assert!(all.contains(&choose(&delays, Duration::from_secs(seconds), dice)));
            }
        }
        assert!(all.iter().all(|delay| delay.as_millis() <= u128::from(u32::MAX)));
    }
}
