//! Access tokens for one API: RFC 6749, as the client itself or with a user's grant.
//!
//! Whoever needs a token asks [`OAuth::token`], and whoever sees it refused says so by [`OAuth::refused`]. However many
//! do, one renewal is under way at a time, as a job of its own: a caller that leaves does not break it off. A token is
//! renewed before its end, beside the calls that still use it. After a failed renewal the server is left alone for a
//! while, and callers get the failure at once.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tidegate_shared::config::{OAuthConfig, OAuthGrant};
use tidegate_shared::event::ApiName;
use tidegate_shared::ledger::{Ledger, LedgerUnavailable};
use tidegate_shared::signature::Secret;
use tidegate_shared::tasks::Tasks;
use tokio::time::Instant;

mod consent;
mod endpoint;
mod grant;
mod renewal;
mod seal;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use consent::{Begun, CONSENT_TIME, Callback, ConsentError};
pub(crate) use seal::Seal;

use consent::{Consent, Consented};
use endpoint::Endpoint;
use grant::Grants;
use renewal::{Held, Renewal, Step, TakeOff};

/// The life of a client's token whose server does not say it: RFC 6749 section 5.1 leaves that to the server's documents.
/// Another token costs one request.
const LIFE_ASSUMED: Duration = Duration::from_secs(300);
/// How often to see whether another worker has a new grant, or lost it.
const GRANT_LOOK: Duration = Duration::from_secs(30);
/// The same while the ledger is away.
const GRANT_LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The source of one API's access tokens; clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct OAuth(Arc<Inner>);

/// A token that opens the API; cheap to clone.
#[derive(Clone)]
pub(crate) struct AccessToken(Arc<Secret>);

/// Why there is no token. Holds no token and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// No user has consented yet.
    #[error("nobody has granted access yet; log in at /oauth/{0}/login")]
    NotGranted(ApiName),
    /// The grant is gone; says what to do.
    #[error("{0}")]
    Revoked(String),
    /// The authorization server says no: RFC 6749 section 5.2.
    #[error("the authorization server says {error}{}{description}", if description.is_empty() { "" } else { ": " })]
    Refused {
        /// Its code.
        error: String,
        /// Its words.
        description: String,
    },
    /// The authorization server cannot be used now.
    #[error("the authorization server cannot be used: {0}")]
    Unavailable(String),
    /// The grant cannot be read or kept.
    #[error("the grant is out of reach: {0}")]
    Ledger(String),
}

#[derive(Debug)]
struct Inner {
    api: ApiName,
    endpoint: Endpoint,
    source: Source,
    renewal: Mutex<Renewal>,
    tasks: Tasks,
}

#[derive(Debug)]
enum Source {
    /// The client itself.
    Client { renew_before: Duration },
    /// What a user granted.
    User(Box<User>),
}

/// A user's grant, and how it is asked for.
#[derive(Debug)]
struct User {
    grants: Grants,
    consent: Consent,
}

impl OAuth {
    /// The tokens of `api`. A user's grant is looked for in the ledger from now on.
    ///
    /// # Errors
    /// If a user's grant could not be sealed, or there is no TLS.
    pub(crate) fn start(
        config: &OAuthConfig,
        api: ApiName,
        ledger: Ledger,
        seal: Option<Arc<Seal>>,
        tasks: &Tasks,
    ) -> Result<Self, String> {
        let renew_before = config.renew_before;
        let source = match &config.grant {
            OAuthGrant::ClientCredentials => Source::Client { renew_before },
            OAuthGrant::AuthorizationCode { authorize_url, redirect_url } => {
                let seal = seal.ok_or("oauth.keys is missing")?;
                let (authorize_url, redirect_url) = (authorize_url.clone(), redirect_url.clone());
                let consent = Consent { api: api.clone(), authorize_url, redirect_url, seal: Arc::clone(&seal) };
                let shutdown = tasks.shutdown().clone();
                let grants = Grants { api: api.clone(), ledger, seal, renew_before, shutdown };
                Source::User(Box::new(User { grants, consent }))
            }
        };
        let endpoint = Endpoint::new(config)?;
        let inner = Arc::new(Inner { api, endpoint, source, renewal: Mutex::default(), tasks: tasks.clone() });
        if matches!(inner.source, Source::User(_)) {
            tasks.spawn("oauth grant", look_for_grants(Arc::clone(&inner)));
        }
        Ok(Self(inner))
    }

    /// The API that the tokens are for.
    pub(crate) fn api(&self) -> &ApiName {
        &self.0.api
    }

    /// Says whether a user grants the access.
    pub(crate) fn asks_users(&self) -> bool {
        matches!(self.0.source, Source::User(_))
    }

    /// Says whether browsers reach us by HTTPS, so that a cookie must not go in the clear.
    pub(crate) fn is_https(&self) -> bool {
        matches!(&self.0.source, Source::User(user) if user.consent.redirect_url.scheme() == "https")
    }

    /// A token to call the API with.
    ///
    /// # Errors
    /// [`TokenError`] says why there is none.
    ///
    /// # Cancel safety
    /// A renewal goes on without its callers.
    pub(crate) async fn token(&self) -> Result<AccessToken, TokenError> {
        let step = self.0.renewal().step(Instant::now());
        let mut flight = match step {
            Step::Use(token) => return Ok(token),
            Step::Fail(error) => return Err(error),
            Step::UseAndRenew(token, take_off) => {
                self.take_off(take_off);
                return Ok(token);
            }
            Step::Renew(take_off, flight) => {
                self.take_off(take_off);
                flight
            }
            Step::Wait(flight) => flight,
        };
        let landing = flight.wait_for(Option::is_some).await.ok().and_then(|landing| landing.clone());
        landing.unwrap_or_else(|| Err(TokenError::Unavailable("the renewal was broken off".to_owned())))
    }

    /// The API took `token`: it was no fault of the server's if it refuses it later.
    pub(crate) fn worked(&self, token: &AccessToken) {
        self.0.renewal().worked(token);
    }

    /// The API answered 401 to `token`: the next caller gets another. Of no effect if another is here already.
    pub(crate) fn refused(&self, token: &AccessToken) {
        if self.0.renewal().refused(token, Instant::now(), spread()) {
            tracing::info!(api = %self.0.api, "the API refused its access token");
        }
    }

    /// What an operator should know: a grant that is missing or lost, or how the last renewal failed.
    pub(crate) fn problem(&self) -> Option<String> {
        self.0.renewal().problem()
    }

    /// Begins a user's login. `None` if no user is asked for this API.
    pub(crate) fn begin_login(&self, now: Timestamp) -> Option<Begun> {
        match &self.0.source {
            Source::User(user) => Some(user.consent.begin(&self.0.endpoint, now)),
            Source::Client { .. } => None,
        }
    }

    /// Finishes a user's login with what their browser brought: from now on all workers use what was granted.
    ///
    /// # Errors
    /// [`ConsentError`] says why there is no grant. One that was there before stays.
    ///
    /// # Cancel safety
    /// A code is good once: a browser that leaves does not break its exchange off.
    pub(crate) async fn finish_login(
        &self,
        cookie: Option<&str>,
        callback: Callback,
        now: Timestamp,
    ) -> Result<(), ConsentError> {
        let Source::User(user) = &self.0.source else { return Err(ConsentError::NotBegun) };
        let consented = user.consent.judge(cookie, callback, now)?;
        let oauth = self.clone();
        let exchange = self.0.tasks.spawn_job(async move { oauth.exchange(consented).await });
        let lost = |_| Err(TokenError::Unavailable("the exchange was broken off".to_owned()).into());
        exchange.await.unwrap_or_else(lost)
    }

    async fn exchange(&self, consented: Consented) -> Result<(), ConsentError> {
        let Source::User(user) = &self.0.source else { return Err(ConsentError::NotBegun) };
        let User { grants, consent } = &**user;
        let endpoint = &self.0.endpoint;
        let issued = endpoint.exchange(&consented.code, &consented.verifier, &consent.redirect_url).await?;
        let held = grants.put(issued).await?;
        self.0.renewal().adopt(held);
        tracing::info!(api = %self.0.api, "a user granted access");
        Ok(())
    }

    fn take_off(&self, take_off: TakeOff) {
        drop(self.0.tasks.spawn_job(renew(Arc::clone(&self.0), take_off)));
    }
}

impl Inner {
    fn renewal(&self) -> MutexGuard<'_, Renewal> {
        self.renewal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessToken {
    fn new(text: String) -> Self {
        Self(Arc::new(Secret::new(text)))
    }

    /// The token itself, for the header that carries it.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(***)")
    }
}

impl TokenError {
    /// Says whether only a user's login helps.
    fn is_without_grant(&self) -> bool {
        matches!(self, Self::NotGranted(_) | Self::Revoked(_))
    }

    fn outcome(&self) -> &'static str {
        match self {
            Self::NotGranted(_) => "not_granted",
            Self::Revoked(_) => "revoked",
            Self::Refused { .. } => "refused",
            Self::Unavailable(_) => "unavailable",
            Self::Ledger(_) => "ledger",
        }
    }
}

impl From<LedgerUnavailable> for TokenError {
    fn from(error: LedgerUnavailable) -> Self {
        Self::Ledger(error.to_string())
    }
}

/// One renewal, from the take-off to the landing that all who wait are told.
async fn renew(inner: Arc<Inner>, take_off: TakeOff) {
    let outcome = match &inner.source {
        Source::Client { renew_before } => inner.endpoint.issue().await.map(|issued| {
            let life = issued.life.unwrap_or(LIFE_ASSUMED);
            Held::new(issued.token, None, Some(life), (*renew_before).min(life / 2), Instant::now())
        }),
        Source::User(user) => user.grants.obtain(take_off.spent, &inner.endpoint).await,
    };
    let label = outcome.as_ref().map_or_else(TokenError::outcome, |_| "renewed");
    let api = inner.api.to_string();
    metrics::counter!("tidegate_api_token_renewals_total", "api" => api, "outcome" => label).increment(1);
    let mut renewal = inner.renewal();
    if let Err(error) = &outcome
        && renewal.problem() != Some(error.to_string())
    {
        tracing::warn!(api = %inner.api, %error, "no access token");
    }
    let landing = renewal.land(outcome, Instant::now(), spread());
    drop(renewal);
    take_off.sender.send_replace(landing);
}

/// Sees what other workers do with the grant, until the shutdown.
async fn look_for_grants(inner: Arc<Inner>) {
    let Source::User(user) = &inner.source else { return };
    loop {
        let known = inner.renewal().version();
        let wait = match user.grants.look(known).await {
            Ok(held) => {
                held.into_iter().for_each(|held| inner.renewal().adopt(held));
                GRANT_LOOK
            }
            Err(TokenError::Ledger(reason)) => {
                tracing::debug!(api = %inner.api, reason, "the grant cannot be looked for");
                GRANT_LOOK_AGAIN
            }
            Err(error) => {
                let mut renewal = inner.renewal();
                // A login may have come while we looked.
                if renewal.version() == known {
                    renewal.lose(error, Instant::now(), spread());
                }
                GRANT_LOOK
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = inner.tasks.shutdown().cancelled() => return,
        }
    }
}

fn spread() -> u8 {
    let [byte] = seal::random();
    byte
}
