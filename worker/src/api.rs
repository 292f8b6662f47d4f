//! External APIs: one client for each `[api.NAME]`, with every policy of calling in one place.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderName;
use jiff::Timestamp;
use reqwest::redirect::Policy;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tidegate_shared::cache::CacheUnavailable;
use tidegate_shared::config::{ApiAuth, ApiConfig, ApiPreset, Config};
use tidegate_shared::event::ApiName;
use tidegate_shared::tasks::Tasks;

mod auth;
mod breaker;
mod budget;
mod cache;
mod call;
mod client;
mod condition;
mod error;
mod exchange;
mod flight;
mod limit;
pub(crate) mod oauth;
pub mod preset;
mod redact;
pub(crate) mod retry;
mod trace;

pub use call::Call;
pub use error::{ApiError, CallFailure};
pub use tidegate_shared::guard::{GuardError, PublicClient, is_public};

pub(crate) use exchange::{cut, excerpt};

use crate::Parts;
use auth::Credentials;
use cache::ResponseCache;
use client::Client;
use oauth::{OAuth, Seal};

/// Time for a connection; a call has its own time for everything.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections kept open to one API while idle.
const IDLE_MAX: usize = 32;

/// The header that makes a write safe to repeat.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What an API answered, and how we came by it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// The answer's body.
    pub value: T,
    /// Where it comes from.
    pub source: Source,
    /// How long ago the API gave or confirmed it.
    pub age: Duration,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The API gave or confirmed it now.
    Api,
    /// It was kept, and is fresh.
    Cache,
    /// It was kept, and no fresh one could be had.
    Stale,
    /// The caller's own default: [`Degrade::or_default`].
    Default,
}

/// The client of one API; clones share everything.
#[derive(Clone)]
pub struct Api {
    client: Arc<Client>,
    /// The `traceparent` of what calls are made for.
    trace: Option<Arc<str>>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Api").field(self.name()).finish()
    }
}

impl Api {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &ApiName {
        self.client.name()
    }

    /// The ready-made client that speaks to it, if one does.
    #[must_use]
    pub fn preset(&self) -> Option<ApiPreset> {
        self.client.preset()
    }

    /// The same API, called on behalf of a trace.
    #[must_use]
    pub(crate) fn traced(&self, traceparent: Option<&str>) -> Self {
        Self { client: Arc::clone(&self.client), trace: traceparent.map(Into::into) }
    }

    /// Makes the call, within all of the API's policies, and reads the answer as JSON. An empty answer is read as `null`.
    ///
    /// # Errors
    /// [`ApiError`], which a handler turns into its outcome by [`Degrade`].
    ///
    /// # Cancel safety
    /// A call that answers may be kept by goes on without its caller. Any other is broken off, and may have been acted
    /// on.
    pub async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<Answer<T>, ApiError> {
        self.call_for::<Json<T>>(call).await
    }

    /// Makes the call and reads the answer in a way of its own.
    pub(crate) async fn call_for<R: Read>(&self, call: Call) -> Result<Answer<R::Answer>, ApiError> {
        let accept: Accept = |body| R::read(body).map(drop);
        let reply = self.client.call(call, accept, self.trace.as_ref()).await?;
        // Checked when it came; but another caller of this path may have wanted something else of it.
        let value = R::read(&reply.entry.body).map_err(|failure| ApiError { api: self.name().clone(), failure })?;
        Ok(Answer { value, source: reply.source, age: reply.entry.age(Timestamp::now()) })
    }

    /// Makes a call whose answer does not matter, as long as it is a success.
    ///
    /// # Errors
    /// As [`Self::call`].
    ///
    /// # Cancel safety
    /// As [`Self::call`].
    pub async fn send(&self, call: Call) -> Result<(), ApiError> {
        self.client.call(call, |_| Ok(()), self.trace.as_ref()).await.map(drop)
    }

    /// Forgets the answer that is kept for a path with its query, as it is sent to the API. Other processes see that
    /// within seconds.
    ///
    /// # Errors
    /// If the cache that the processes share cannot be told.
    pub async fn invalidate(&self, path_and_query: &str) -> Result<(), CacheUnavailable> {
        self.client.invalidate(path_and_query).await
    }

    /// How it is: a word for programs, and what is wrong for people.
    pub(crate) fn state(&self) -> (&'static str, Option<String>) {
        self.client.state()
    }
}

/// What a handler does when a call has no answer, chosen in one line. (A stale answer is chosen on the call, by
/// [`Call::stale_up_to`].)
pub trait Degrade<T> {
    /// Tries the event again later, or gives it up where the API refuses for good.
    ///
    /// # Errors
    /// The event's outcome.
    fn or_retry(self) -> Result<Answer<T>, crate::Outcome>;

    /// Goes on with a default.
    fn or_default(self, default: T) -> Answer<T>;
}

impl<T> Degrade<T> for Result<Answer<T>, ApiError> {
    fn or_retry(self) -> Result<Answer<T>, crate::Outcome> {
        self.map_err(crate::Outcome::from)
    }

    fn or_default(self, default: T) -> Answer<T> {
        self.unwrap_or(Answer { value: default, source: Source::Default, age: Duration::ZERO })
    }
}

/// How the body of a success is read. What cannot be read is a failure, and is not kept.
pub(crate) trait Read {
    /// What it says.
    type Answer;

    /// Reads it.
    fn read(body: &[u8]) -> Result<Self::Answer, CallFailure>;
}

/// Where and as whom an API is asked: answers that were given elsewhere, or to another key, are not taken for its own.
fn scope(api: &ApiConfig) -> String {
    let key = match &api.auth {
        ApiAuth::Bearer(key) | ApiAuth::Basic(key) | ApiAuth::Header(_, key) | ApiAuth::Query(_, key) => key.expose(),
        ApiAuth::None => "",
        ApiAuth::OAuth(oauth) => &oauth.client_id,
    };
    format!("{} {} ", api.base_url, hex::encode(Sha256::digest(key)))
}

/// Says whether a body is what the caller can use.
type Accept = fn(&[u8]) -> Result<(), CallFailure>;

/// Any JSON; an empty body is `null`.
struct Json<T>(PhantomData<T>);

impl<T: DeserializeOwned> Read for Json<T> {
    type Answer = T;

    fn read(body: &[u8]) -> Result<T, CallFailure> {
        let body = if body.is_empty() { b"null" } else { body };
        serde_json::from_slice(body).map_err(|error| CallFailure::Malformed(error.to_string()))
    }
}

/// Every API of the configuration, by name.
#[derive(Debug, Clone, Default)]
pub struct Apis(Arc<BTreeMap<ApiName, Api>>);

impl Apis {
    /// Makes the client of each API. Their answers and grants are kept in `parts`.
    ///
    /// # Errors
    /// If an API's key cannot be sent, or a grant could not be sealed.
    pub(crate) fn start(config: &Config, parts: &Parts, tasks: &Tasks) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            // A redirect would take the API's key to a place that the operator did not name.
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .user_agent(concat!("Tidegate/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let seal = Seal::new(&config.seal_keys).map(Arc::new);
        let client = |api: &ApiConfig| {
            let oauth = if let ApiAuth::OAuth(oauth) = &api.auth {
                let oauth = OAuth::start(oauth, api.name.clone(), parts.ledger.clone(), seal.clone(), tasks);
                Some(oauth.map_err(|reason| anyhow::anyhow!("api.{}: {reason}", api.name))?)
            } else {
                None
            };
            let credentials = Credentials::new(&api.auth, oauth).with_context(|| format!("api.{}", api.name))?;
            let kept = ResponseCache::new(api.name.clone(), &api.cache, scope(api), parts.cache.clone());
            let client = Client::new(api.clone(), http.clone(), credentials, kept, tasks);
            Ok((api.name.clone(), Api { client: Arc::new(client), trace: None }))
        };
        let apis: anyhow::Result<BTreeMap<ApiName, Api>> = config.apis.values().map(client).collect();
        Ok(Self(Arc::new(apis?)))
    }

    /// The API with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Api> {
        self.0.values().find(|api| api.name().as_str() == name)
    }

    /// The first API, by name, whose preset is one of `presets`.
    #[must_use]
    pub fn with_preset(&self, presets: &[ApiPreset]) -> Option<&Api> {
        self.0.values().find(|api| api.preset().is_some_and(|preset| presets.contains(&preset)))
    }

    /// The tokens of those that users grant access to.
    pub(crate) fn granted_by_users(&self) -> impl Iterator<Item = OAuth> {
        self.0.values().filter_map(|api| api.client.credentials.oauth().filter(|oauth| oauth.asks_users()).cloned())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Api> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests;
