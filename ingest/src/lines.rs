//! Lines in the log that a stranger can cause: each of them while they are few, else one a second that says how many there
//! were. The metrics count all of them.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidegate_shared::config::Rate;
use tidegate_shared::rate::Bucket;

/// Lines at once.
const BURST: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// Lines after those.
const RATE: Rate = Rate { count: NonZeroU32::MIN, per: Duration::from_secs(1) };

/// Lines of one kind.
#[derive(Debug)]
pub(crate) struct Lines(Mutex<State>);

#[derive(Debug)]
struct State {
    bucket: Bucket,
    left_out: u64,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { bucket: Bucket::new(RATE, BURST), left_out: 0 }))
    }

    /// Whether a line may be written at `now`, and how many were left out since the last one.
    pub(crate) fn next(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.bucket.take(now).is_err() {
            state.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_written_or_counted() {
        let (lines, start) = (Lines::new(), Instant::now());
        let written = |at: Instant| (0..1_000).filter_map(|_| lines.next(at)).collect::<Vec<_>>();
        assert_eq!(written(start), vec![0; 100]);
        assert_eq!(written(start + Duration::from_secs(1)), [900]);
        assert_eq!(written(start + Duration::from_secs(3)), [999, 0]);
        assert_eq!(written(start + Duration::from_secs(1_000))[..2], [998, 0]);
    }
}
