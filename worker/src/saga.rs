//! Sagas: an event handled in steps, each with a result of its own.
//!
//! A step calls the outside world. Its result is durable before the next step begins; the last one commits together
//! with the handler's effects and the inbox row, so that a saga of one step costs no commit of its own. Whatever breaks
//! an attempt (a crash, a panic, the handler's timeout, a ledger that is away), the next one goes on where it stood:
//! what is recorded is not called again, and what may have been called without being recorded is called again under the
//! same [`Step::idempotency_key`]. So each step runs at least once, and counts once where the other side honours the key.
//!
//! | a step answers | what follows |
//! | --- | --- |
//! | a result | it is recorded, and the next step begins |
//! | [`StepError::Retry`] | a failed attempt, as with any handler; nothing is recorded |
//! | [`StepError::Reject`] before any step has a result | a dead letter; nothing is recorded, and a replay asks again |
//! | [`StepError::Reject`] later on | it is recorded, and for good; then what has a result is undone, the last step first |
//! | the same, in a [`Saga::optional_step`] | it is recorded, and the next step begins |
//!
//! Undoing obeys the same rules, so that it too goes on where it stood. What cannot be undone is a dead letter, which
//! says so: a person has to look. A replay of it goes on undoing.
//!
//! Steps are known by their names. Where events are under way, a new version of a handler may add steps and undos, and
//! must not rename any.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Serialize;
use tidegate_shared::ledger::Effects;

use crate::handle::{Attempt, Outcome};

mod advance;
mod journal;
mod step;

pub use step::{Results, Step, StepError, StepResult};

use journal::Journal;

/// The steps of a handler, declared once, in the handler's constructor.
///
/// ```
/// use tidegate_worker::api::Call;
/// use tidegate_worker::{Attempt, Effects, Ended, Outcome, Saga, Step, StepResult};
///
/// async fn reserve(cx: Step<String>) -> StepResult {
///     let call = Call::put("/seats").segment(cx.input()).idempotency_key(cx.idempotency_key());
///     Ok(cx.api("booking")?.call(call).await?.value)
/// }
///
/// async fn release(cx: Step<String>) -> StepResult {
///     let call = Call::delete("/seats").segment(cx.input()).idempotency_key(cx.idempotency_key());
///     Ok(cx.api("booking")?.call(call).await?.value)
/// }
/// # async fn charge(_: Step<String>) -> StepResult<()> { Ok(()) }
///
/// fn booking() -> Saga<String> {
///     Saga::new().step("reserve", reserve).undo(release).step("charge", charge)
/// }
///
/// async fn handle(saga: &Saga<String>, attempt: Attempt<'_>) -> Outcome {
///     let seat = attempt.event.id.to_string();
///     saga.run(&attempt, seat, |seat, ended| {
///         let status = match ended {
///             Ended::Done(_) => "booked",
///             Ended::Compensated(_) => "refused",
///         };
///         let sql = "INSERT INTO bookings (seat, status) VALUES ($1, $2)";
///         Ok(Effects::none().sql(sql, [seat.as_str().into(), status.into()]))
///     })
///     .await
/// }
/// ```
pub struct Saga<T> {
    steps: Vec<Declared<T>>,
}

/// A step or its undo, ready to call.
type Action<T> = Box<dyn Fn(Step<T>) -> BoxFuture<'static, StepResult> + Send + Sync>;

struct Declared<T> {
    name: &'static str,
    on_rejection: OnRejection,
    call: Action<T>,
    undo: Option<Action<T>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnRejection {
    Compensate,
    GoOn,
}

/// How a saga ended: what its effects depend on.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// Every step has its result, or was optional.
    Done(Results),
    /// A step was rejected, and what was done before it is undone.
    Compensated(Rejection),
}

/// The step that turned a saga back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its name.
    pub step: &'static str,
    /// Why, in the words of the step.
    pub reason: String,
}

impl<T> fmt::Debug for Saga<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| step.name)).finish()
    }
}

impl<T: Send + Sync + 'static> Default for Saga<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> Saga<T> {
    /// A saga without steps.
    #[must_use]
    pub fn new() -> Self {
        Self { steps: Vec::new() }
    }

    /// Adds a step.
    ///
    /// Its name is a part of its idempotency key and of the event's story.
    ///
    /// # Panics
    /// If the name is taken, or is not made of a-z, 0-9, `-` and `_`: at start-up, where the saga is declared.
    #[must_use]
    #[track_caller]
    pub fn step<F, Fut, R>(self, name: &'static str, call: F) -> Self
    where
        F: Fn(Step<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StepResult<R>> + Send + 'static,
        R: Serialize + 'static,
    {
        self.declare(name, OnRejection::Compensate, action(call))
    }

    /// Adds a step that the saga can do without: its rejection is recorded, and the next step begins. One that may work
    /// later is tried again as any other.
    ///
    /// # Panics
    /// As [`Self::step`].
    #[must_use]
    #[track_caller]
    pub fn optional_step<F, Fut, R>(self, name: &'static str, call: F) -> Self
    where
        F: Fn(Step<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StepResult<R>> + Send + 'static,
        R: Serialize + 'static,
    {
        self.declare(name, OnRejection::GoOn, action(call))
    }

    /// Says how the step that was added last is undone. What is undone already, or was never there, counts as undone:
    /// it may be called more than once.
    ///
    /// # Panics
    /// If there is no step yet, or it has its undo: at start-up, where the saga is declared.
    #[must_use]
    #[track_caller]
    pub fn undo<F, Fut, R>(mut self, undo: F) -> Self
    where
        F: Fn(Step<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StepResult<R>> + Send + 'static,
        R: Serialize + 'static,
    {
        let step = self.steps.last_mut();
        assert!(step.is_some(), "an undo needs a step before it");
        if let Some(step) = step {
            assert!(step.undo.is_none(), "the step {:?} has an undo already", step.name);
            step.undo = Some(action(undo));
        }
        self
    }

    #[track_caller]
    fn declare(mut self, name: &'static str, on_rejection: OnRejection, call: Action<T>) -> Self {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        assert!(
            !name.is_empty() && name.bytes().all(is_plain),
            "a step's name is made of a-z, 0-9, '-' and '_', which {name:?} is not"
        );
        assert!(self.steps.iter().all(|step| step.name != name), "two steps are called {name:?}");
        self.steps.push(Declared { name, on_rejection, call, undo: None });
        self
    }

    /// Runs what is left to do for the attempt's event. `effects` says what is committed together with the end, whichever
    /// it is.
    ///
    /// # Cancel safety
    /// If it is dropped, the step at hand may have been called and is called again by the next attempt.
    pub async fn run<E>(&self, attempt: &Attempt<'_>, input: T, effects: E) -> Outcome
    where
        E: FnOnce(&T, Ended) -> StepResult<Effects> + Send,
    {
        match self.effects(attempt, Arc::new(input), effects).await {
            Ok(effects) => Outcome::Done(effects),
            Err(outcome) => outcome,
        }
    }

    async fn effects<E>(&self, attempt: &Attempt<'_>, input: Arc<T>, effects: E) -> Result<Effects, Outcome>
    where
        E: FnOnce(&T, Ended) -> StepResult<Effects> + Send,
    {
        // The record of a saga's only step commits with the event: while there is an attempt there is none to load.
        let mut journal = if self.steps.len() > 1 { Journal::load(attempt).await? } else { Journal::blank(attempt) };
        let (ended, wrap): (_, fn(Effects) -> Effects) = match self.advance(&mut journal, &input).await? {
            None => (Ended::Done(journal.results().clone()), |effects| effects),
            Some(rejection) => {
                self.compensate(&rejection, &mut journal, &input).await?;
                (Ended::Compensated(rejection), Effects::compensated)
            }
        };
        let effects = wrap(effects(&input, ended)?);
        Ok(match journal.into_unrecorded() {
            Some(record) => effects.step(record),
            None => effects,
        })
    }
}

/// A step's code behind one type for all of them.
fn action<T, F, Fut, R>(call: F) -> Action<T>
where
    F: Fn(Step<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = StepResult<R>> + Send + 'static,
    R: Serialize + 'static,
{
    Box::new(move |cx| {
        let called = call(cx);
        async move {
            let result = called.await?;
            // The other side has acted: this is for a new version of the handler to mend, not to turn back from.
            serde_json::to_value(&result).map_err(|error| StepError::retry(format!("the result is no JSON: {error}")))
        }
        .boxed()
    })
}

#[cfg(test)]
mod tests;
