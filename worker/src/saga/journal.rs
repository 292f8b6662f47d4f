//! The journal of one run: what is known of a saga's steps, from the ledger or from this attempt.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tidegate_shared::ledger::{StepOutcome, StepRecord};
use tracing::Instrument as _;

use super::{Action, Results, Step, StepResult};
use crate::handle::{Attempt, Outcome};

pub(super) struct Journal<'a> {
    attempt: Attempt<'a>,
    results: Results,
    rejected: BTreeMap<Cow<'static, str>, String>,
    undone: BTreeSet<Cow<'static, str>>,
    /// The last record, for the commit to keep.
    unrecorded: Option<StepRecord>,
}

impl<'a> Journal<'a> {
    pub(super) fn blank(attempt: &Attempt<'a>) -> Self {
        Self {
            attempt: *attempt,
            results: Results::default(),
            rejected: BTreeMap::new(),
            undone: BTreeSet::new(),
            unrecorded: None,
        }
    }

    /// The journal as the attempts before left it.
    pub(super) async fn load(attempt: &Attempt<'a>) -> Result<Self, Outcome> {
        let mut journal = Self::blank(attempt);
        let Some(world) = attempt.world() else { return Ok(journal) };
        let loaded = world.ledger.until_done(|ledger| {
            let (event, handler) = (attempt.event.key, attempt.handler.clone());
            async move { ledger.steps(event, handler).await }
        });
        loaded.await.ok_or_else(stopping)?.into_iter().for_each(|record| journal.learn(record));
        Ok(journal)
    }

    pub(super) fn results(&self) -> &Results {
        &self.results
    }

    /// What became of a step, if it was taken.
    pub(super) fn outcome(&self, step: &str) -> Option<StepOutcome> {
        let rejected = self.rejected.get(step).map(|reason| StepOutcome::Rejected { reason: reason.clone() });
        rejected.or_else(|| self.results.value(step).map(|result| StepOutcome::Done { result: result.clone() }))
    }

    pub(super) fn is_to_undo(&self, step: &str) -> bool {
        self.results.value(step).is_some() && !self.undone.contains(step)
    }

    /// Calls a step.
    pub(super) async fn call<T>(&self, step: &'static str, action: &Action<T>, input: &Arc<T>) -> StepResult {
        self.call_as(step.to_owned(), action, input).await
    }

    /// Calls a step's undo. No step has a name with a colon.
    pub(super) async fn call_undo<T>(&self, step: &'static str, undo: &Action<T>, input: &Arc<T>) -> StepResult {
        self.call_as(format!("{step}:undo"), undo, input).await
    }

    async fn call_as<T>(&self, step: String, action: &Action<T>, input: &Arc<T>) -> StepResult {
        let Attempt { handler, event, number, .. } = self.attempt;
        let span = tracing::info_span!("step", %handler, event_id = %event.id, step);
        let cx = Step {
            input: Arc::clone(input),
            event: Arc::clone(event),
            key: self.attempt.idempotency_key(&step),
            number,
            results: self.results.clone(),
            apis: self.attempt.world().map(|world| world.apis.clone()).unwrap_or_default(),
        };
        // Even what the step does before its first wait belongs to its span.
        async { action(cx).await }.instrument(span).await
    }

    pub(super) fn record_of(&self, step: &'static str, outcome: StepOutcome) -> StepRecord {
        StepRecord { step: step.into(), undo: false, outcome, at: Timestamp::now(), attempt: self.attempt.number }
    }

    pub(super) fn record_of_undo(&self, step: &'static str, result: Value) -> StepRecord {
        StepRecord { undo: true, ..self.record_of(step, StepOutcome::Done { result }) }
    }

    /// Makes a record durable, and answers with what stands: another worker may have been first.
    ///
    /// What this one did and the other was refused is still known here, and undone with the rest.
    pub(super) async fn record(&mut self, record: StepRecord) -> Result<StepOutcome, Outcome> {
        self.learn(record.clone());
        let Some(world) = self.attempt.world() else { return Ok(record.outcome) };
        let stands = world.ledger.until_done(|ledger| {
            let (event, handler, record) =
                (Arc::clone(self.attempt.event), self.attempt.handler.clone(), record.clone());
            async move { ledger.record_step(event, handler, record).await }
        });
        let stands = stands.await.ok_or_else(stopping)?;
        self.learn(stands.clone());
        Ok(stands.outcome)
    }

    /// Leaves the last record to the commit: nothing is called after it.
    pub(super) fn leave_to_commit(&mut self, record: StepRecord) -> StepOutcome {
        let outcome = record.outcome.clone();
        self.learn(record.clone());
        self.unrecorded = Some(record);
        outcome
    }

    pub(super) fn into_unrecorded(self) -> Option<StepRecord> {
        self.unrecorded
    }

    pub(super) fn tell_that_it_turns_back(&self, step: &str, reason: &str) {
        let Attempt { handler, event, number, .. } = self.attempt;
        tracing::info!(
            %handler, event_id = %event.id, request_id = %event.request_id, attempt = number, step, reason,
            "step rejected; undoing the steps before it"
        );
    }

    fn learn(&mut self, StepRecord { step, undo, outcome, .. }: StepRecord) {
        match outcome {
            StepOutcome::Done { .. } if undo => drop(self.undone.insert(step)),
            StepOutcome::Done { result } => self.results.insert(step, result),
            // An undo that is rejected is never recorded.
            StepOutcome::Rejected { .. } if undo => {}
            StepOutcome::Rejected { reason } => drop(self.rejected.insert(step, reason)),
        }
    }
}

fn stopping() -> Outcome {
    Outcome::retry("the process stops before the ledger is back")
}
