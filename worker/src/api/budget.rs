//! How many retries an API is asked to bear, over many calls. Pure.

/// Retries that are allowed beyond the ratio: an API that is seldom asked could otherwise never be asked again.
const RESERVE: f64 = 10.0;

/// Counts calls against retries, so that an API in trouble does not get a multiple of its load from us.
///
/// Over any stretch of calls, requests <= calls * (1 + `budget`) + [`RESERVE`].
#[derive(Debug)]
pub(crate) struct RetryBudget {
    per_call: f64,
    tokens: f64,
}

impl RetryBudget {
    /// A full reserve, which `budget` of a token refills with each call.
    #[must_use]
    pub(crate) fn new(budget: f64) -> Self {
        Self { per_call: budget, tokens: RESERVE }
    }

    /// Counts a call: its first attempt, not its retries.
    pub(crate) fn deposit(&mut self) {
        self.tokens = (self.tokens + self.per_call).min(RESERVE);
    }

    /// Takes what one retry costs; says whether it was there.
    #[must_use]
    pub(crate) fn try_withdraw(&mut self) -> bool {
        let affordable = self.tokens >= 1.0;
        if affordable {
            self.tokens -= 1.0;
        }
        affordable
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quiet_api_may_be_asked_again() {
        let mut budget = RetryBudget::new(0.01);
        budget.deposit();
        assert!((0..10).all(|_| budget.try_withdraw()));
        assert!(!budget.try_withdraw(), "the reserve has an end");
    }

    #[test]
    fn calls_refill_it_at_the_ratio() {
        let mut budget = RetryBudget::new(0.25);
        while budget.try_withdraw() {}
        let allowed = (0..400).filter(|_| {
            budget.deposit();
            budget.try_withdraw()
        });
        assert_eq!(allowed.count(), 100);
    }

    proptest! {
        #[test]
        fn retries_stay_within_ratio_and_reserve(ratio in 0.001_f64..=1.0, calls in prop::collection::vec(any::<bool>(), 0..2_000)) {
            let mut budget = RetryBudget::new(ratio);
            // From any point on: the worst stretch is kept by counting down to zero and no further.
            let mut excess = 0.0_f64;
            for is_call in calls {
                if is_call {
                    budget.deposit();
                    excess = (excess - ratio).max(0.0);
                } else if budget.try_withdraw() {
                    excess += 1.0;
                }
                prop_assert!(excess <= RESERVE + 1e-6, "{excess}");
            }
        }
    }
}
