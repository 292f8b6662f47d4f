//! A source at the door: its configuration beside what is counted of it.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use metrics::{Counter, Histogram};
use tidegate_shared::config::SourceConfig;
use tidegate_shared::signature::Verifier;

use crate::admission::Gate;
use crate::lines::Lines;
use crate::offered::Offered;
use crate::rejected::Intake;

/// One source, as every step of the path needs it.
#[derive(Debug)]
pub struct Source {
    /// What the configuration says of it.
    pub config: SourceConfig,
    pub(crate) counts: Counts,
    pub(crate) gate: Gate,
    /// The secret that its provider offers, where it does.
    pub(crate) offered: Option<Offered>,
    /// Where its requests go that do not verify, if they are kept.
    pub(crate) rejected: Option<Intake>,
}

impl Source {
    pub(crate) fn new(config: SourceConfig, rejected: Option<Intake>) -> Self {
        let counts = Counts::of(config.name.as_str());
        let gate = Gate::new(config.name.clone(), &config.admission);
        let offered = config.offered_secret.clone().map(Offered::new);
        Self { config, counts, gate, offered, rejected }
    }

    /// What is configured, with the secret that its provider has offered.
    pub(crate) fn present(&self) -> &SourceConfig {
        let offered = self.offered.as_ref().and_then(|offered| offered.known(&self.config));
        offered.unwrap_or(&self.config)
    }

    /// What judges its requests now.
    pub(crate) fn verifier(&self) -> &Verifier {
        &self.present().verifier
    }
}

/// What is counted of one source, a field for each step.
pub(crate) struct Counts {
    pub(crate) request: Outcomes,
    pub(crate) verify: Outcomes,
    pub(crate) claim: Outcomes,
    pub(crate) publish: Outcomes,
    pub(crate) accept: Outcomes,
    pub(crate) request_seconds: Histogram,
    /// In the log, of requests that were refused.
    pub(crate) refused_lines: Lines,
    /// Likewise, of those that their provider has signed: nobody else's hide these.
    pub(crate) signed_lines: Lines,
    /// Likewise, of handshakes.
    pub(crate) handshake_lines: Lines,
}

impl Counts {
    /// Of a source's name, or of none: what is asked for and does not exist gets no label of its own, so that a scanner
    /// cannot make any.
    pub(crate) fn of(source: &str) -> Self {
        let outcomes = |metric| Outcomes { metric, source: source.to_owned(), known: Mutex::default() };
        Self {
            request: outcomes("tidegate_requests_total"),
            verify: outcomes("tidegate_verify_total"),
            claim: outcomes("tidegate_claim_total"),
            publish: outcomes("tidegate_publish_total"),
            accept: outcomes("tidegate_accept_total"),
            request_seconds: metrics::histogram!("tidegate_request_seconds", "source" => source.to_owned()),
            refused_lines: Lines::new(),
            signed_lines: Lines::new(),
            handshake_lines: Lines::new(),
        }
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").field("source", &self.request.source).finish_non_exhaustive()
    }
}

/// One metric with a counter for each outcome, each looked up once: the registry's lookup hashes every label.
pub(crate) struct Outcomes {
    metric: &'static str,
    source: String,
    known: Mutex<Vec<(&'static str, Counter)>>,
}

impl Outcomes {
    /// Counts one more of `outcome`.
    pub(crate) fn count(&self, outcome: &'static str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = known.iter().find(|(name, _)| *name == outcome) {
            counter.increment(1);
            return;
        }
        let counter = metrics::counter!(self.metric, "source" => self.source.clone(), "outcome" => outcome);
        counter.increment(1);
        known.push((outcome, counter));
    }
}
