//! Advance: takes a saga's steps one after the other, or undoes them.

use std::sync::Arc;

use tidegate_shared::ledger::StepOutcome;

use super::journal::Journal;
use super::{Declared, OnRejection, Rejection, Saga, StepError};
use crate::handle::Outcome;

impl<T: Send + Sync + 'static> Saga<T> {
    /// Takes every step that has not been taken; the rejection that turns the saga back, if there is one.
    pub(super) async fn advance(
        &self,
        journal: &mut Journal<'_>,
        input: &Arc<T>,
    ) -> Result<Option<Rejection>, Outcome> {
        // Before any step is taken: a new version of the handler may have put one in front of the rejected one.
        if let Some(rejection) = self.recorded_rejection(journal) {
            return Ok(Some(rejection));
        }
        for step in &self.steps {
            let outcome = match journal.outcome(step.name) {
                Some(outcome) => outcome,
                None => self.take(step, journal, input).await?,
            };
            match outcome {
                StepOutcome::Rejected { reason } if step.on_rejection == OnRejection::Compensate => {
                    return Ok(Some(Rejection { step: step.name, reason }));
                }
                StepOutcome::Rejected { .. } | StepOutcome::Done { .. } => {}
            }
        }
        Ok(None)
    }

    fn recorded_rejection(&self, journal: &Journal<'_>) -> Option<Rejection> {
        let turning = self.steps.iter().filter(|step| step.on_rejection == OnRejection::Compensate);
        let mut outcomes = turning.filter_map(|step| Some((step.name, journal.outcome(step.name)?)));
        outcomes.find_map(|(step, outcome)| match outcome {
            StepOutcome::Rejected { reason } => Some(Rejection { step, reason }),
            StepOutcome::Done { .. } => None,
        })
    }

    /// Calls a step and records what became of it: at once, or with the effects if nothing is called after it.
    async fn take(
        &self,
        step: &Declared<T>,
        journal: &mut Journal<'_>,
        input: &Arc<T>,
    ) -> Result<StepOutcome, Outcome> {
        let turns_back = step.on_rejection == OnRejection::Compensate;
        let outcome = match journal.call(step.name, &step.call, input).await {
            Ok(result) => StepOutcome::Done { result },
            Err(StepError::Reject { reason }) if turns_back && journal.results().is_empty() => {
                return Err(Outcome::reject(self.of_step(step.name, reason)));
            }
            Err(StepError::Reject { reason }) => StepOutcome::Rejected { reason },
            Err(StepError::Retry { after, reason }) => {
                return Err(Outcome::Retry { after, reason: self.of_step(step.name, reason) });
            }
        };
        let is_rejected = matches!(outcome, StepOutcome::Rejected { .. });
        let record = journal.record_of(step.name, outcome);
        let is_last = self.steps.last().is_some_and(|last| last.name == step.name);
        if is_last && !(is_rejected && turns_back) {
            return Ok(journal.leave_to_commit(record));
        }
        let stands = journal.record(record).await?;
        if turns_back && let StepOutcome::Rejected { reason } = &stands {
            journal.tell_that_it_turns_back(step.name, reason);
        }
        Ok(stands)
    }

    /// Undoes every step that has a result and an undo, the last one first.
    pub(super) async fn compensate(
        &self,
        rejection: &Rejection,
        journal: &mut Journal<'_>,
        input: &Arc<T>,
    ) -> Result<(), Outcome> {
        let undos = self.steps.iter().rev().filter_map(|step| Some((step.name, step.undo.as_ref()?)));
        let mut left: Vec<_> = undos.filter(|(name, _)| journal.is_to_undo(name)).collect();
        left.reverse();
        while let Some((name, undo)) = left.pop() {
            let result = match journal.call_undo(name, undo, input).await {
                Ok(result) => result,
                Err(StepError::Retry { after, reason }) => {
                    let reason = format!("undo of {name}: {reason}");
                    return Err(Outcome::Retry { after, reason });
                }
                Err(StepError::Reject { reason }) => {
                    return Err(Outcome::reject(format!(
                        "{} was rejected ({}), and {name} cannot be undone: {reason}; an operator must look",
                        rejection.step, rejection.reason
                    )));
                }
            };
            let record = journal.record_of_undo(name, result);
            if left.is_empty() {
                journal.leave_to_commit(record);
            } else {
                journal.record(record).await?;
            }
        }
        Ok(())
    }

    /// The reason with the step's name, where there are several.
    fn of_step(&self, name: &str, reason: String) -> String {
        if self.steps.len() > 1 { format!("{name}: {reason}") } else { reason }
    }
}
