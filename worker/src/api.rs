//! External APIs: one client for each `[api.NAME]`, with every policy of calling in one place.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_shared::config::ApiPreset;
use tidegate_shared::event::ApiName;

mod call;
mod client;
mod error;
pub(crate) mod oauth;

pub use call::Call;
pub use error::{ApiError, CallFailure};

use client::Client;

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
        self.client.call(call, self.trace.as_deref()).await
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

/// Every API of the configuration, by name.
#[derive(Debug, Clone, Default)]
pub struct Apis(Arc<BTreeMap<ApiName, Api>>);

impl Apis {
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

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Api> {
        self.0.values()
    }
}
