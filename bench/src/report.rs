//! What was found: each figure as the least, the middle and the most of several rounds, beside its target.

use serde::{Deserialize, Serialize};

/// A figure over all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of these; of nothing it is zero.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(0.0);
        let last = sorted.len().saturating_sub(1);
        Self { min: at(0), median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), max: at(last) }
    }
}

/// Where a figure should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The median is at most this.
    AtMost(f64),
    /// The median is at least this.
    AtLeast(f64),
}

impl Target {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(limit) => figure <= limit,
            Self::AtLeast(limit) => figure >= limit,
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which scenario.
    pub scenario: String,
    /// What was measured, with its unit.
    pub what: String,
    /// What it came to.
    pub figure: Spread,
    /// Where it should be, if anywhere.
    pub target: Option<Target>,
}

impl Finding {
    /// A figure without a target.
    #[must_use]
    pub fn new(scenario: &str, what: &str, figures: impl IntoIterator<Item = f64>) -> Self {
        Self { scenario: scenario.to_owned(), what: what.to_owned(), figure: Spread::of(figures), target: None }
    }

    /// The same with a target.
    #[must_use]
    pub fn at_most(self, limit: f64) -> Self {
        Self { target: Some(Target::AtMost(limit)), ..self }
    }

    /// The same with a target.
    #[must_use]
    pub fn at_least(self, limit: f64) -> Self {
        Self { target: Some(Target::AtLeast(limit)), ..self }
    }

    /// Whether the median is where it should be.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        self.target.map(|target| target.is_met(self.figure.median))
    }
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When it began.
    pub began: String,
    /// What it ran on.
    pub machine: String,
    /// Which servers it measured beside.
    pub servers: String,
    /// Rounds of each scenario.
    pub rounds: usize,
    /// Everything found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The table that is printed.
    #[must_use]
    pub fn table(&self) -> String {
        let mut rows = vec![["SCENARIO", "WHAT", "MIN", "MEDIAN", "MAX", "TARGET", ""].map(str::to_owned)];
        for finding in &self.findings {
            let Spread { min, median, max } = finding.figure;
            let target = match finding.target {
                None => String::new(),
                Some(Target::AtMost(limit)) => format!("<= {limit}"),
                Some(Target::AtLeast(limit)) => format!(">= {limit}"),
            };
            let verdict = match finding.is_met() {
                None => "",
                Some(true) => "met",
                Some(false) => "MISSED",
            };
            let (scenario, what) = (finding.scenario.clone(), finding.what.clone());
            rows.push([scenario, what, show(min), show(median), show(max), target, verdict.to_owned()]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let line = |row: &[String; 7]| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                2..=4 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Three digits that mean something.
fn show(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_what_was_found() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]), Spread { min: 1.0, median: 2.5, max: 4.0 });
        assert_eq!(Spread::of([]), Spread { min: 0.0, median: 0.0, max: 0.0 });
    }

    #[test]
    fn the_table_says_what_was_missed() {
        let report = Report {
            began: String::new(),
            machine: String::new(),
            servers: String::new(),
            rounds: 1,
            findings: vec![
                Finding::new("a", "ratio", [1.9]).at_most(2.0),
                Finding::new("a", "share", [0.5]).at_least(0.6),
                Finding::new("b", "events/s", [12_345.6]),
            ],
        };
        let lines: Vec<String> = report.table().lines().map(str::to_owned).collect();
        assert!(lines[1].ends_with("<= 2    met") && lines[2].ends_with(">= 0.6  MISSED"), "{lines:#?}");
        assert!(lines[3].ends_with("12346"), "{lines:#?}");
    }
}
