//! Handle: what an event does, as code of ours or of a user's.
//!
//! A handler returns its effects as data. It may read the outside world and call it with
//! [`Attempt::idempotency_key`], but what it changes in the ledger it only describes: the commit step applies it
//! together with the record that it was applied.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tidegate_shared::config::{ApiPreset, HandlerConfig};
use tidegate_shared::event::{Event, HandlerName};
use tidegate_shared::ledger::{Effects, Migration};
use tidegate_shared::wire::Progress;

use crate::api::{Api, Apis};
use crate::settle::PatientLedger;

mod archive;
mod forward;
mod orders;
pub(crate) mod payments;

/// What a handler makes of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Commit these effects: the event is handled.
    Done(Effects),
    /// Try again later; after the last attempt it becomes a dead letter.
    Retry {
        /// At the earliest after this long; otherwise as the ladder says.
        after: Option<Duration>,
        /// Why, for an operator.
        reason: String,
    },
    /// It will never work: a dead letter at once.
    Reject {
        /// Why, for an operator.
        reason: String,
    },
}

impl Outcome {
    /// Try again as the ladder says.
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

/// So that a handler can be written with `?`: `self.effects(attempt).await.into()`.
impl From<Result<Effects, Self>> for Outcome {
    fn from(result: Result<Effects, Self>) -> Self {
        result.map_or_else(|outcome| outcome, Self::Done)
    }
}

/// What handlers can reach beside the event.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) apis: Apis,
    pub(crate) ledger: PatientLedger,
}

/// Which attempt at which event this is.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The handler's name in the configuration.
    pub handler: &'a HandlerName,
    /// The event.
    pub event: &'a Arc<Event>,
    /// The attempt's number, from 1.
    pub number: u32,
    /// `None` only in a handler's own unit tests.
    world: Option<&'a World>,
}

impl<'a> Attempt<'a> {
    /// An attempt without a world around it: no API, and no step of it is recorded. For a handler's own tests.
    #[must_use]
    pub fn new(handler: &'a HandlerName, event: &'a Arc<Event>, number: u32) -> Self {
        Self { handler, event, number, world: None }
    }

    /// The client of `[api.NAME]`; its calls belong to the event's trace.
    ///
    /// # Errors
    /// If the configuration has no such API: the event is tried again later, as an operator can mend that.
    pub fn api(&self, name: &str) -> Result<Api, Outcome> {
        let api = self.world.and_then(|world| world.apis.get(name));
        let api = api.map(|api| api.traced(self.event.traceparent.as_deref()));
        api.ok_or_else(|| Outcome::retry(format!("the configuration has no [api.{name}]")))
    }

    /// The client of the first API with one of these presets; see [`Self::api`].
    ///
    /// # Errors
    /// As [`Self::api`].
    pub fn api_with_preset(&self, presets: &[ApiPreset]) -> Result<Api, Outcome> {
        let api = self.world.and_then(|world| world.apis.with_preset(presets));
        let api = api.map(|api| api.traced(self.event.traceparent.as_deref()));
        let names = || presets.iter().map(|preset| preset.name()).collect::<Vec<_>>().join(" or ");
        api.ok_or_else(|| Outcome::retry(format!("the configuration has no API with the preset {}", names())))
    }

    /// What it stands in, for a saga to record its steps.
    pub(crate) fn world(&self) -> Option<&'a World> {
        self.world
    }

    #[cfg(test)]
    pub(crate) fn within(self, world: &'a World) -> Self {
        Self { world: Some(world), ..self }
    }

    /// The key under which a call to the outside world is made at most once: the same for every attempt.
    #[must_use]
    pub fn idempotency_key(&self, step: &str) -> String {
        format!("{}:{}:{step}", self.event.key, self.handler)
    }
}

/// Code that handles events.
pub trait Handler: Send + Sync + 'static {
    /// Handles one event. May be called again with an event that it has handled before; only one call's effects are
    /// ever applied.
    ///
    /// # Cancel safety
    /// It is dropped when the handler's timeout passes, which counts as a failed attempt.
    fn handle(&self, attempt: Attempt<'_>) -> impl Future<Output = Outcome> + Send;

    /// The tables it needs.
    fn migrations(&self) -> Vec<Migration> {
        Vec::new()
    }
}

type BoxedOutcome<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// [`Handler`] behind a pointer: one for every handler in the configuration.
trait AnyHandler: Send + Sync {
    fn handle_boxed<'a>(&'a self, attempt: Attempt<'a>) -> BoxedOutcome<'a>;
    fn migrations(&self) -> Vec<Migration>;
}

impl<H: Handler> AnyHandler for H {
    fn handle_boxed<'a>(&'a self, attempt: Attempt<'a>) -> BoxedOutcome<'a> {
        Box::pin(self.handle(attempt))
    }

    fn migrations(&self) -> Vec<Migration> {
        Handler::migrations(self)
    }
}

type Constructor = Box<dyn Fn(&HandlerConfig) -> Result<Arc<dyn AnyHandler>, String> + Send + Sync>;

/// The handlers that a worker binary knows, by the name that `run` gives in the configuration.
pub struct Registry(BTreeMap<String, Constructor>);

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// The built-in handlers.
    #[must_use]
    pub fn new() -> Self {
        Self(BTreeMap::new())
            .with("archive", |_| Ok(archive::Archive))
            .with("payments", |config| Ok(payments::Payments::new(config.currency.clone())))
            .with("orders", |_| Ok(orders::Orders::new()))
            .with("forward", forward::Forward::from_config)
    }

    /// Adds a handler: `make` is called once for each `[[handler]]` that runs `name`.
    #[must_use]
    pub fn with<H, F>(mut self, name: &str, make: F) -> Self
    where
        H: Handler,
        F: Fn(&HandlerConfig) -> Result<H, String> + Send + Sync + 'static,
    {
        let constructor: Constructor =
            Box::new(move |config| make(config).map(|handler| Arc::new(handler) as Arc<dyn AnyHandler>));
        self.0.insert(name.to_owned(), constructor);
        self
    }

    pub(crate) fn make(&self, config: &HandlerConfig) -> Result<RunnableHandler, String> {
        let make = self.0.get(&config.run).ok_or_else(|| {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            format!("this worker has no handler {:?}; it has {}", config.run, known.join(", "))
        })?;
        Ok(RunnableHandler { name: config.name.clone(), timeout: config.timeout, handler: make(config)? })
    }
}

/// A handler of the configuration, with its bounds.
#[derive(Clone)]
pub(crate) struct RunnableHandler {
    pub(crate) name: HandlerName,
    timeout: Duration,
    handler: Arc<dyn AnyHandler>,
}

impl fmt::Debug for RunnableHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnableHandler").field("name", &self.name).finish_non_exhaustive()
    }
}

impl RunnableHandler {
    /// Runs the handler on one event: within its timeout, and a panic is a failed attempt.
    pub(crate) async fn run(&self, event: &Arc<Event>, progress: &Progress, world: Option<&World>) -> Outcome {
        let attempt = Attempt { handler: &self.name, event, number: progress.attempt, world };
        let caught = AssertUnwindSafe(async { self.handler.handle_boxed(attempt).await }).catch_unwind();
        match tokio::time::timeout(self.timeout, caught).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Outcome::retry(format!("the handler panicked: {}", panic_text(&*panic))),
            Err(_) => Outcome::retry(format!("no result within the timeout of {:?}", self.timeout)),
        }
    }

    pub(crate) fn migrations(&self) -> Vec<Migration> {
        self.handler.migrations()
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests;
