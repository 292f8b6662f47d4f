//! Secrets with dates, so that a rotation can be written down ahead of its day.

use jiff::{SignedDuration, Timestamp};

use super::Secret;

/// When a secret counts. Both ends are included: two secrets whose dates meet leave no moment without either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validity {
    /// From when on; `None` since ever.
    pub not_before: Option<Timestamp>,
    /// Until when; `None` for ever.
    pub not_after: Option<Timestamp>,
}

impl Validity {
    /// Since ever and for ever.
    pub const ALWAYS: Self = Self { not_before: None, not_after: None };

    /// Whether the secret counts at `now`.
    #[must_use]
    pub fn includes(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|begin| begin <= now) && !self.is_over(now)
    }

    /// Whether it has counted before `now`, and never will again.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.not_after.is_some_and(|end| end < now)
    }

    /// Whether it ends before it begins.
    #[must_use]
    pub fn is_never(&self) -> bool {
        self.not_before.zip(self.not_after).is_some_and(|(begin, end)| end < begin)
    }
}

/// A secret, and when it counts.
#[derive(Debug, Clone)]
pub struct DatedSecret {
    /// The secret.
    pub secret: Secret,
    /// When a signature by it is taken, by the time at which the request was received.
    pub validity: Validity,
}

impl From<Secret> for DatedSecret {
    fn from(secret: Secret) -> Self {
        Self { secret, validity: Validity::ALWAYS }
    }
}

/// A time in which the same secrets count; it lasts until the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// When it begins.
    pub from: Timestamp,
    /// The places in their list of the secrets that count.
    pub live: Vec<usize>,
}

/// All of time as shifts, in order; the first begins with time itself. Secrets without dates have one.
#[must_use]
pub fn shifts(secrets: &[DatedSecret]) -> Vec<Shift> {
    let moment = SignedDuration::from_nanos(1);
    let begins = secrets.iter().filter_map(|dated| dated.validity.not_before);
    let ends = secrets.iter().filter_map(|dated| dated.validity.not_after?.checked_add(moment).ok());
    let mut moments: Vec<Timestamp> = [Timestamp::MIN].into_iter().chain(begins).chain(ends).collect();
    moments.sort_unstable();
    let live_at = |now| (0..secrets.len()).filter(|&index| secrets[index].validity.includes(now)).collect();
    let mut shifts: Vec<Shift> = moments.into_iter().map(|from| Shift { from, live: live_at(from) }).collect();
    shifts.dedup_by(|later, earlier| later.live == earlier.live);
    shifts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn dated(begin: Option<i64>, end: Option<i64>) -> DatedSecret {
        let validity = Validity { not_before: begin.map(at), not_after: end.map(at) };
        DatedSecret { secret: Secret::new("a secret of enough length".to_owned()), validity }
    }

    #[test]
    fn both_ends_count() {
        let validity = dated(Some(10), Some(20)).validity;
        let nano = SignedDuration::from_nanos(1);
        for (now, live, over) in
            [(at(10) - nano, false, false), (at(10), true, false), (at(20), true, false), (at(20) + nano, false, true)]
        {
            assert_eq!((validity.includes(now), validity.is_over(now)), (live, over), "{now}");
        }
        assert!(Validity::ALWAYS.includes(Timestamp::MIN) && Validity::ALWAYS.includes(Timestamp::MAX));
        assert!(dated(Some(20), Some(10)).validity.is_never() && !dated(Some(10), Some(10)).validity.is_never());
    }

    /// Whatever the dates, at every moment the shift has the secrets that count then.
    #[test]
    fn every_moment_is_in_the_shift_of_its_secrets() {
        let ends = [None, Some(0), Some(10), Some(20)];
        let all = || ends.into_iter().flat_map(move |begin| ends.into_iter().map(move |end| dated(begin, end)));
        let nano = SignedDuration::from_nanos(1);
        let moments = [0, 10, 20].map(at).into_iter().flat_map(|at| [at - nano, at, at + nano]);
        let moments: Vec<_> = moments.chain([Timestamp::MIN, Timestamp::MAX]).collect();
        for (one, other) in all().flat_map(|one| all().map(move |other| (one.clone(), other))) {
            let secrets = [one, other];
            let shifts = shifts(&secrets);
            assert_eq!(shifts[0].from, Timestamp::MIN);
            for now in &moments {
                let shift = shifts.iter().rfind(|shift| shift.from <= *now).expect("a shift");
                let live = (0..2).filter(|&index| secrets[index].validity.includes(*now)).collect::<Vec<_>>();
                assert_eq!(shift.live, live, "{secrets:?} at {now}");
            }
        }
    }

    #[test]
    fn secrets_without_dates_have_one_shift() {
        let secrets = [dated(None, None), dated(None, None)];
        assert_eq!(shifts(&secrets), [Shift { from: Timestamp::MIN, live: vec![0, 1] }]);
    }
}
