//! What a run comes to, for a person and for a program.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::audit::Totals;
use crate::growth::Growth;
use crate::site::Published;

/// What a round was made of.
#[derive(Debug, Clone, Serialize)]
pub struct RoundNote {
    /// What its events and faults followed from.
    pub seed: u64,
    /// What published to RabbitMQ.
    pub published: Published,
}

/// One scenario's rounds, added up.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tally {
    /// The scenario.
    pub scenario: String,
    /// Rounds whose account was closed without a discrepancy.
    pub rounds: u64,
    /// Each round that was begun.
    pub round_log: Vec<RoundNote>,
    /// Seconds of load with faults.
    pub seconds: u64,
    /// Requests that were sent, tries that got no answer included.
    pub requests: u64,
    /// Events that were sent.
    pub events: u64,
    /// Events that a sender read 2xx for.
    pub acknowledged: u64,
    /// Events whose sender gave up without a 2xx: what became of them is unknown to it.
    pub unknown: u64,
    /// Of those, events that were applied or kept all the same.
    pub unknown_kept: u64,
    /// Events that were applied once.
    pub applied: u64,
    /// Poison that was kept as a dead letter.
    pub dead: u64,
    /// Events that were lost, and events that were applied twice: a run with one ends there.
    pub lost: u64,
    /// As before.
    pub twice: u64,
    /// How often each thing was broken.
    pub faults: BTreeMap<String, u64>,
    /// How often each answer was read.
    pub answers: BTreeMap<String, u64>,
    /// Times that the embedded store was found whole after a kill.
    pub integrity_checks: u64,
    /// The longest time from a fault's end until everything was ready again, in milliseconds.
    pub recovery_max_ms: u64,
    /// The longest time from the first try at an event until its 2xx, in milliseconds.
    pub slowest_ms: u64,
    /// What grew, where nothing was broken.
    pub growth: Option<Growth>,
    /// Errors that programs logged: each is a defect to look at, though nothing was lost.
    pub logged_errors: Vec<String>,
}

impl Tally {
    /// An empty account of a scenario.
    #[must_use]
    pub fn of(scenario: &str) -> Self {
        Self { scenario: scenario.to_owned(), ..Self::default() }
    }

    pub(crate) fn add(&mut self, totals: Totals) {
        self.rounds += 1;
        self.events += totals.sent;
        self.acknowledged += totals.acknowledged;
        self.unknown += totals.sent - totals.acknowledged;
        self.unknown_kept += totals.unknown_kept;
        self.applied += totals.applied;
        self.dead += totals.dead;
    }

    pub(crate) fn note_recovery(&mut self, took: Duration) {
        self.recovery_max_ms = self.recovery_max_ms.max(milliseconds(took));
    }

    pub(crate) fn note_slowest(&mut self, took: Duration) {
        self.slowest_ms = self.slowest_ms.max(milliseconds(took));
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What everything followed from.
    pub seed: u64,
    /// When it began.
    pub began: String,
    /// By scenario.
    pub scenarios: Vec<Tally>,
    /// What ended it, if something did.
    pub failure: Option<String>,
}

impl Report {
    /// The table that is printed.
    #[must_use]
    pub fn table(&self) -> String {
        let head = [
            "SCENARIO", "MIN", "FAULTS", "EVENTS", "REQUESTS", "UNKNOWN", "APPLIED", "DEAD", "LOST", "TWICE", "BACK IN",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        for tally in &self.scenarios {
            rows.push([
                tally.scenario.clone(),
                format!("{:.1}", tally.seconds as f64 / 60.0),
                tally.faults.values().sum::<u64>().to_string(),
                tally.events.to_string(),
                tally.requests.to_string(),
                tally.unknown.to_string(),
                tally.applied.to_string(),
                tally.dead.to_string(),
                tally.lost.to_string(),
                tally.twice.to_string(),
                format!("{:.1} s", tally.recovery_max_ms as f64 / 1_000.0),
            ]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let line = |row: &[String; 11]| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ")
        };
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The seed and the publisher of each round, in one line a scenario.
    #[must_use]
    pub fn rounds(&self) -> String {
        let round = |note: &RoundNote| format!("{} {}", note.seed, note.published);
        let line = |tally: &Tally| {
            format!("{}: {}", tally.scenario, tally.round_log.iter().map(round).collect::<Vec<_>>().join(", "))
        };
        self.scenarios.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// What was broken, how often, in one line a scenario.
    #[must_use]
    pub fn faults(&self) -> String {
        let line = |tally: &Tally| {
            let faults = tally.faults.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>();
            format!("{}: {}", tally.scenario, faults.join(", "))
        };
        self.scenarios.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
