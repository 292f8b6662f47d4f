//! What grows under steady load: the memory of each program, and what is kept of each event.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Looks at it, from the start of the load to its end.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Growth {
    /// Seconds since the load began, and each program's resident bytes.
    pub resident: Vec<(f64, Vec<u64>)>,
    /// Bytes that the store or the ledger takes at the end.
    pub stored_bytes: u64,
    /// Of so many events.
    pub events: u64,
}

impl Growth {
    pub(crate) fn look(&mut self, at: Duration, resident: &[u64]) {
        self.resident.push((at.as_secs_f64(), resident.to_vec()));
    }

    pub(crate) fn stored(&mut self, bytes: u64, events: usize) {
        (self.stored_bytes, self.events) = (bytes, events as u64);
    }

    /// By how many bytes each program's memory grew in an hour, by the second half of what was seen: in the first,
    /// pools and caches fill.
    #[must_use]
    pub fn bytes_per_hour(&self) -> Vec<f64> {
        let half = &self.resident[self.resident.len() / 2..];
        let programs = half.first().map_or(0, |(_, resident)| resident.len());
        let of = |program: usize| {
            let points: Vec<_> = half.iter().map(|(at, resident)| (*at, resident[program] as f64)).collect();
            slope(&points) * 3_600.0
        };
        (0..programs).map(of).collect()
    }
}

/// The slope of the line that fits the points best.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let together: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    if spread > 0.0 { together / spread } else { 0.0 }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: f64 = 1_048_576.0;
        let list =
            |bytes: Vec<f64>| bytes.iter().map(|bytes| format!("{:.1}", bytes / MIB)).collect::<Vec<_>>().join(", ");
        let last = self.resident.last().map(|(_, resident)| resident.iter().map(|bytes| *bytes as f64).collect());
        write!(
            f,
            "memory: {} MiB at the end, growing by {} MiB an hour; stored: {:.0} bytes an event",
            list(last.unwrap_or_default()),
            list(self.bytes_per_hour()),
            self.stored_bytes as f64 / self.events.max(1) as f64
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_second_half() {
        let mut growth = Growth::default();
        for minute in 0..60_u64 {
            let filling = 1_000 * minute.min(20);
            growth.look(Duration::from_secs(60 * minute), &[filling, 500 + 10 * minute]);
        }
        let grown: Vec<i64> = growth.bytes_per_hour().iter().map(|bytes| bytes.round() as i64).collect();
        assert_eq!(grown, [0, 600]);
    }
}
