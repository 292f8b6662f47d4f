//! What a step sees of its saga, with what it may answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_shared::config::ApiPreset;
use tidegate_shared::event::Event;

use crate::api::{Api, ApiError, Apis};
use crate::handle::Outcome;

/// What a step answers: anything that is JSON. It is kept in the ledger and shown to operators: ids rather than people.
pub type StepResult<R = Value> = Result<R, StepError>;

/// Why a step has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// It may work later: the attempt has failed.
    Retry {
        /// At the earliest after this long; otherwise as the ladder says.
        after: Option<Duration>,
        /// Why, for an operator.
        reason: String,
    },
    /// It will never work.
    Reject {
        /// Why, for an operator.
        reason: String,
    },
}

impl StepError {
    /// It may work later, as the ladder says.
    #[must_use]
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { after: None, reason: reason.into() }
    }

    /// It will never work.
    #[must_use]
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject { reason: reason.into() }
    }
}

/// Tried again where that may help, and given up where it cannot.
impl From<ApiError> for StepError {
    fn from(error: ApiError) -> Self {
        let reason = error.to_string();
        if error.may_work_later() {
            Self::Retry { after: error.retry_after(), reason }
        } else {
            Self::Reject { reason }
        }
    }
}

impl From<StepError> for Outcome {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Retry { after, reason } => Self::Retry { after, reason },
            StepError::Reject { reason } => Self::Reject { reason },
        }
    }
}

/// The results of a saga's steps so far, by the steps' names. Clones share them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Results(Arc<BTreeMap<Cow<'static, str>, Value>>);

impl Results {
    /// The result of a step.
    ///
    /// # Errors
    /// If it has none (it is optional and was rejected, or comes later), or if it was recorded by another version of the
    /// handler and cannot be read: the event waits for one that can.
    pub fn get<R: DeserializeOwned>(&self, step: &str) -> StepResult<R> {
        let result = self.0.get(step).ok_or_else(|| StepError::retry(format!("there is no result of {step}")))?;
        R::deserialize(result).map_err(|error| StepError::retry(format!("the result of {step} is another: {error}")))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn value(&self, step: &str) -> Option<&Value> {
        self.0.get(step)
    }

    pub(super) fn insert(&mut self, step: Cow<'static, str>, result: Value) {
        Arc::make_mut(&mut self.0).insert(step, result);
    }
}

/// One call of a step or of its undo.
#[derive(Debug)]
pub struct Step<T> {
    pub(super) input: Arc<T>,
    pub(super) event: Arc<Event>,
    pub(super) key: String,
    pub(super) number: u32,
    pub(super) results: Results,
    pub(super) apis: Apis,
}

impl<T> Step<T> {
    /// What the saga was started with.
    #[must_use]
    pub fn input(&self) -> &T {
        &self.input
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &Arc<Event> {
        &self.event
    }

    /// The key under which the outside world does it at most once: the same for every attempt, and another for the undo.
    #[must_use]
    pub fn idempotency_key(&self) -> &str {
        &self.key
    }

    /// The attempt's number, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The result of an earlier step; in an undo also that of the step itself.
    ///
    /// # Errors
    /// As [`Results::get`].
    pub fn result<R: DeserializeOwned>(&self, step: &str) -> StepResult<R> {
        self.results.get(step)
    }

    /// The client of `[api.NAME]`; its calls belong to the event's trace.
    ///
    /// # Errors
    /// If the configuration has no such API: the event is tried again later, as an operator can mend that.
    pub fn api(&self, name: &str) -> StepResult<Api> {
        let api = self.apis.get(name).map(|api| api.traced(self.event.traceparent.as_deref()));
        api.ok_or_else(|| StepError::retry(format!("the configuration has no [api.{name}]")))
    }

    /// The client of the first API with one of these presets.
    ///
    /// # Errors
    /// As [`Self::api`].
    pub fn api_with_preset(&self, presets: &[ApiPreset]) -> StepResult<Api> {
        let api = self.apis.with_preset(presets).map(|api| api.traced(self.event.traceparent.as_deref()));
        let names = || presets.iter().map(|preset| preset.name()).collect::<Vec<_>>().join(" or ");
        api.ok_or_else(|| StepError::retry(format!("the configuration has no API with the preset {}", names())))
    }
}
