//! One API's client: each call goes through its cache, its breaker, its limits and its retries.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use tidegate_shared::cache::CacheUnavailable;
use tidegate_shared::config::{ApiConfig, ApiPreset};
use tidegate_shared::event::ApiName;
use tidegate_shared::tasks::Tasks;

use super::auth::Credentials;
use super::breaker::{SharedBreaker, State};
use super::budget::RetryBudget;
use super::cache::ResponseCache;
use super::cache::entry::{Entry, Freshness};
use super::call::Stale;
use super::condition::Condition;
use super::error::CallFailure;
use super::exchange::{Exchange, Failed, Fetched};
use super::flight::Flights;
use super::limit::Limiter;
use super::retry::{Again, verdict, wait};
use super::trace::Span;
use super::{Accept, ApiError, Call, Source};

/// What a call came to: an answer, how old it is and where it comes from.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) entry: Entry,
    pub(super) source: Source,
}

/// Everything that the calls of one API share.
pub(super) struct Client {
    config: ApiConfig,
    http: reqwest::Client,
    pub(super) credentials: Credentials,
    cache: ResponseCache,
    flights: Flights<String, Result<Reply, ApiError>>,
    pub(super) limiter: Limiter,
    breaker: SharedBreaker,
    budget: Mutex<RetryBudget>,
    condition: Condition,
    tasks: Tasks,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.config.name).finish()
    }
}

impl Client {
    pub(super) fn new(
        config: ApiConfig,
        http: reqwest::Client,
        credentials: Credentials,
        cache: ResponseCache,
        tasks: &Tasks,
    ) -> Self {
        let name = config.name.to_string();
        metrics::gauge!("tidegate_api_breaker_state", "api" => name.clone()).set(0.0);
        Self {
            limiter: Limiter::new(name.clone(), &config.limit),
            breaker: SharedBreaker::new(config.breaker.clone(), Instant::now()),
            budget: Mutex::new(RetryBudget::new(config.retry.budget)),
            flights: Flights::new(tasks),
            condition: Condition::default(),
            tasks: tasks.clone(),
            config,
            http,
            credentials,
            cache,
        }
    }

    pub(super) fn name(&self) -> &ApiName {
        &self.config.name
    }

    pub(super) fn preset(&self) -> Option<ApiPreset> {
        self.config.preset
    }

    pub(super) fn config(&self) -> &ApiConfig {
        &self.config
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// How the API is, in one word and for people.
    pub(super) fn state(&self) -> (&'static str, Option<String>) {
        let trouble = self.condition.trouble();
        match (self.breaker.state(Instant::now()), self.credentials.problem()) {
            (State::Open { left }, _) => {
                let why = trouble.unwrap_or_default();
                ("open", Some(format!("left alone for {} s more: {why}", left.as_secs().max(1))))
            }
            (_, Some(problem)) => ("blocked", Some(problem)),
            (State::HalfOpen, None) => ("probing", trouble),
            (State::Closed, None) => (if trouble.is_some() { "degraded" } else { "up" }, trouble),
        }
    }

    /// Forgets the answer to a path.
    pub(super) async fn invalidate(&self, path_and_query: &str) -> Result<(), CacheUnavailable> {
        self.cache.invalidate(path_and_query).await
    }

    /// Makes the call; `accept` says whether a body is what the caller can use.
    pub(super) async fn call(
        self: &Arc<Self>,
        call: Call,
        accept: Accept,
        trace: Option<&Arc<str>>,
    ) -> Result<Reply, ApiError> {
        if let Some(flaw) = call.flaw() {
            return Err(self.error(CallFailure::BadCall(flaw.to_owned())));
        }
        match self.ttl_of(&call) {
            Some(ttl) => self.kept_or_fetched(call, ttl, accept, trace).await,
            None => {
                let fetched = self.fetch(&call, accept, None, trace.map(|trace| &**trace)).await?;
                Ok(Reply { entry: entry(fetched, None, Duration::ZERO), source: Source::Api })
            }
        }
    }

    /// How long the answer to this call is fresh; `None` if it is not kept.
    fn ttl_of(&self, call: &Call) -> Option<Duration> {
        let may_be_kept = call.may_be_kept && call.method == http::Method::GET;
        self.config.cache.ttl_of(call.path()).filter(|_| may_be_kept)
    }

    async fn kept_or_fetched(
        self: &Arc<Self>,
        call: Call,
        ttl: Duration,
        accept: Accept,
        trace: Option<&Arc<str>>,
    ) -> Result<Reply, ApiError> {
        let kept = self.cache.lookup(&call.path_and_query()).await;
        let stale = call.stale;
        match (self.freshness(kept.as_ref()), kept) {
            (Freshness::Fresh, Some(entry)) => {
                self.count("hit");
                Ok(Reply { entry, source: Source::Cache })
            }
            (Freshness::Revalidate, Some(entry)) => {
                self.count("stale");
                let client = Arc::clone(self);
                let refresh = client.refreshed(call, ttl, accept, trace.cloned());
                // Who asked has an answer; the next one will have a fresh one.
                drop(self.tasks.spawn_job(async move { drop(refresh.await) }));
                Ok(Reply { entry, source: Source::Stale })
            }
            (_, kept) => {
                self.count("miss");
                let refreshed = Arc::clone(self).refreshed(call, ttl, accept, trace.cloned()).await;
                refreshed.or_else(|error| self.stale_instead(kept, stale, error))
            }
        }
    }

    fn freshness(&self, kept: Option<&Entry>) -> Freshness {
        kept.map_or(Freshness::Gone, |entry| entry.freshness(&self.config.cache, Timestamp::now()))
    }

    /// Refreshes the answer, once for all who ask for it meanwhile.
    async fn refreshed(
        self: Arc<Self>,
        call: Call,
        ttl: Duration,
        accept: Accept,
        trace: Option<Arc<str>>,
    ) -> Result<Reply, ApiError> {
        let path = call.path_and_query();
        let client = Arc::clone(&self);
        let refreshed =
            self.flights.run(path, async move { client.refresh(&call, ttl, accept, trace.as_deref()).await }).await;
        refreshed.unwrap_or_else(|_| Err(self.error(CallFailure::Stopping)))
    }

    async fn refresh(
        &self,
        call: &Call,
        ttl: Duration,
        accept: Accept,
        trace: Option<&str>,
    ) -> Result<Reply, ApiError> {
        let path = call.path_and_query();
        let generation = self.cache.generation();
        let kept = self.cache.lookup(&path).await;
        // Another flight may have landed between the caller's look and this one.
        if let (Freshness::Fresh, Some(entry)) = (self.freshness(kept.as_ref()), kept.clone()) {
            return Ok(Reply { entry, source: Source::Cache });
        }
        match self.fetch(call, accept, kept.as_ref(), trace).await {
            Ok(fetched) => {
                let entry = entry(fetched, kept, ttl);
                self.cache.store(&path, &entry, generation).await;
                Ok(Reply { entry, source: Source::Api })
            }
            Err(error) => {
                let is_gone = matches!(error.status(), Some(http::StatusCode::NOT_FOUND | http::StatusCode::GONE));
                if is_gone && kept.is_some() {
                    self.cache
                        .invalidate(&path)
                        .await
                        .unwrap_or_else(|error| tracing::debug!(%error, "an answer that is gone stays kept"));
                }
                Err(error)
            }
        }
    }

    /// The old answer, where the failure allows it and the answer is not too old.
    fn stale_instead(&self, kept: Option<Entry>, stale: Stale, error: ApiError) -> Result<Reply, ApiError> {
        let bound = match stale {
            Stale::AsConfigured => self.config.cache.stale_if_error,
            Stale::UpTo(bound) => bound,
        };
        let Some(entry) = kept.filter(|_| error.stale_may_serve()) else { return Err(error) };
        if entry.age(Timestamp::now()) > entry.ttl.saturating_add(bound) {
            return Err(error);
        }
        self.count("stale");
        self.condition.serves_stale();
        tracing::info!(api = %self.name(), %error, "a stale answer is given");
        Ok(Reply { entry, source: Source::Stale })
    }

    /// Attempts until there is an answer, the policy gives up, or the budget of retries is spent.
    async fn fetch(
        &self,
        call: &Call,
        accept: Accept,
        known: Option<&Entry>,
        trace: Option<&str>,
    ) -> Result<Fetched, ApiError> {
        let started = Instant::now();
        // All attempts of a call are in one trace, also of one that begins here.
        let root = trace.is_none().then(|| Span::child_of(None).header());
        let trace = trace.or(root.as_deref());
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).deposit();
        let mut made = 0;
        loop {
            let left = self.config.retry.total.saturating_sub(started.elapsed());
            let timeout = self.config.timeout.min(left).max(Duration::from_millis(1));
            let exchange = Exchange { client: self, call, accept, known, trace, timeout };
            made += 1;
            let failed = match self.attempt(&exchange, made).await {
                Ok(fetched) => {
                    self.condition.is_well();
                    return Ok(fetched);
                }
                Err(failed) => failed,
            };
            let Some(wait) = self.wait_before_next(call, &failed, made, started.elapsed()) else {
                let error = self.error(failed.failure);
                self.condition.learns_of(&error);
                return Err(error);
            };
            metrics::counter!("tidegate_api_retries_total", "api" => self.name().to_string()).increment(1);
            tokio::time::sleep(wait).await;
        }
    }

    /// One attempt, if breaker and limits let it through. The breaker is asked first: open, it answers at once.
    async fn attempt(&self, exchange: &Exchange<'_>, number: u32) -> Result<Fetched, Failed> {
        let permit = self.breaker.admit(Instant::now());
        let permit =
            permit.map_err(|refused| Failed::of(CallFailure::BreakerOpen { retry_after: refused.retry_after }))?;
        self.show(permit.changed());
        let turn = self.limiter.acquire().await;
        let turn = turn.map_err(|limited| Failed::of(CallFailure::Limited { retry_after: limited.retry_after }))?;
        let outcome = exchange.attempt(number).await;
        drop(turn);
        let signal = match &outcome {
            Ok(_) => Some(super::retry::Signal::Success),
            Err(failed) => failed.kind.map(|kind| verdict(kind).breaker),
        };
        if let Some(signal) = signal {
            self.show(permit.record(Instant::now(), signal));
        }
        outcome
    }

    fn wait_before_next(&self, call: &Call, failed: &Failed, made: u32, spent: Duration) -> Option<Duration> {
        // With less time than this an attempt would only count as one more failure.
        let useful = self.config.timeout / 10;
        let may = match verdict(failed.kind?).again {
            Again::Always => true,
            Again::IfIdempotent => call.is_idempotent(),
            Again::Never => false,
        };
        let wait = wait(&self.config.retry, made, failed.retry_after, spent.saturating_add(useful), random())
            .filter(|_| may)?;
        if self.budget.lock().unwrap_or_else(PoisonError::into_inner).try_withdraw() {
            return Some(wait);
        }
        metrics::counter!("tidegate_api_retries_refused_total", "api" => self.name().to_string()).increment(1);
        None
    }

    /// Tells a change of the breaker's.
    fn show(&self, changed: Option<State>) {
        let Some(state) = changed else { return };
        let api = self.name();
        let number = match state {
            State::Closed => 0.0,
            State::HalfOpen => 1.0,
            State::Open { .. } => 2.0,
        };
        metrics::gauge!("tidegate_api_breaker_state", "api" => api.to_string()).set(number);
        match state {
            State::Closed => tracing::info!(%api, "api answers again; its breaker is closed"),
            State::HalfOpen => tracing::info!(%api, "api is probed"),
            State::Open { left } => {
                tracing::warn!(%api, for_ = ?left, "api fails too often; its breaker is open");
                self.show_when_it_may_be_probed(left);
            }
        }
    }

    /// Without a call nobody would notice, and the gauge would say "open" for ever.
    fn show_when_it_may_be_probed(&self, left: Duration) {
        let (breaker, api, shutdown) = (self.breaker.clone(), self.name().to_string(), self.tasks.shutdown().clone());
        drop(self.tasks.spawn_job(async move {
            let is_over = shutdown.run_until_cancelled(tokio::time::sleep(left)).await.is_some();
            if is_over && breaker.state(Instant::now()) == State::HalfOpen {
                metrics::gauge!("tidegate_api_breaker_state", "api" => api).set(1.0);
            }
        }));
    }

    fn count(&self, outcome: &'static str) {
        metrics::counter!("tidegate_api_cache_total", "api" => self.name().to_string(), "outcome" => outcome)
            .increment(1);
    }

    fn error(&self, failure: CallFailure) -> ApiError {
        ApiError { api: self.name().clone(), failure }
    }
}

/// The answer as it is kept from now on.
fn entry(fetched: Fetched, kept: Option<Entry>, ttl: Duration) -> Entry {
    let stored_at = Timestamp::now();
    match (fetched, kept) {
        (Fetched::New { body, content_type, etag, last_modified }, _) => {
            Entry { body, content_type, etag, last_modified, stored_at, ttl }
        }
        (Fetched::NotModified { etag, last_modified }, Some(kept)) => {
            kept.revalidated(stored_at, ttl, etag, last_modified)
        }
        // Only what was asked for under a condition is answered so, and then something is kept.
        (Fetched::NotModified { etag, last_modified }, None) => {
            Entry { body: Bytes::new(), content_type: None, etag, last_modified, stored_at, ttl }
        }
    }
}

/// From 0 up to, and without, 1. Without randomness it is one half: still a wait, only not a scattered one.
fn random() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / (f64::from(u32::MAX) + 1.0))
}
