//! After a failed attempt: when to try the event again, and when to give it up.

use std::time::Duration;

use crate::wire::Progress;

/// A target's `Retry-After` is honoured up to here; a longer one would keep the event from its dead letter for days.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after about this long.
    RetryAfter(Duration),
    /// Give up: the ladder has no rung left.
    Dead,
}

/// Decides on a failed attempt: one delay of the `ladder` after each, and `asked` (the target's own wish) if longer.
///
/// With a ladder of n delays there are n + 1 attempts, and as many again after each replay.
#[must_use]
pub fn after_failure(progress: &Progress, ladder: &[Duration], asked: Option<Duration>) -> Next {
    let made = usize::try_from(progress.attempts_on_ladder()).unwrap_or(usize::MAX);
    match ladder.get(made - 1) {
        Some(delay) => Next::RetryAfter(asked.map_or(*delay, |asked| asked.min(RETRY_AFTER_MAX).max(*delay))),
        None => Next::Dead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn progress(attempt: u32, ladder_start: u32) -> Progress {
        Progress { attempt, ladder_start, ..Progress::default() }
    }

    #[test]
    fn each_attempt_has_its_rung_and_the_last_is_dead() {
        let ladder = [5 * SECOND, 30 * SECOND];
        assert_eq!(after_failure(&progress(1, 1), &ladder, None), Next::RetryAfter(5 * SECOND));
        assert_eq!(after_failure(&progress(2, 1), &ladder, None), Next::RetryAfter(30 * SECOND));
        assert_eq!(after_failure(&progress(3, 1), &ladder, None), Next::Dead);
        assert_eq!(after_failure(&progress(u32::MAX, 1), &ladder, None), Next::Dead);
        assert_eq!(after_failure(&progress(1, 1), &[], None), Next::Dead);
    }

    #[test]
    fn a_replay_begins_the_ladder_anew() {
        let ladder = [5 * SECOND];
        assert_eq!(after_failure(&progress(3, 3), &ladder, None), Next::RetryAfter(5 * SECOND));
        assert_eq!(after_failure(&progress(4, 3), &ladder, None), Next::Dead);
    }

    #[test]
    fn a_target_may_ask_for_longer_but_not_for_ever_and_never_for_more_attempts() {
        let ladder = [5 * SECOND];
        assert_eq!(after_failure(&progress(1, 1), &ladder, Some(60 * SECOND)), Next::RetryAfter(60 * SECOND));
        assert_eq!(after_failure(&progress(1, 1), &ladder, Some(SECOND)), Next::RetryAfter(5 * SECOND));
        assert_eq!(after_failure(&progress(1, 1), &ladder, Some(Duration::MAX)), Next::RetryAfter(86_400 * SECOND));
        assert_eq!(after_failure(&progress(2, 1), &ladder, Some(60 * SECOND)), Next::Dead);
    }
}
