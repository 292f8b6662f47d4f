//! A user's grant: sealed in the ledger, shared by all workers, renewed by one of them at a time.
//!
//! Most servers take a refresh token only once, and take its second use for a theft: the whole grant ends (RFC 9700
//! section 4.14.2). So only the holder of the ledger's lease renews; the others wait for the version that it commits.
//! One gap is left, as server and ledger share no transaction: a process that dies after the server rotated the refresh
//! token, and before the ledger has the new one, leaves a grant that the next renewal finds invalid. Then `/health`
//! says so, and a user must log in again. While only the ledger is away, the renewed grant waits for it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidegate_shared::event::ApiName;
use tidegate_shared::ledger::Ledger;
use tidegate_shared::signature::Secret;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::endpoint::{Endpoint, Issued};
use super::renewal::Held;
use super::seal::Seal;
use super::{AccessToken, TokenError};
use crate::commit::waits;

/// How long one worker keeps the others from renewing: the token endpoint's time, and some for the ledger.
const LEASE: Duration = Duration::from_secs(30);
/// How long to wait for the worker that renews: as long as the token endpoint may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(200);

/// The grant of one API, in the ledger.
#[derive(Debug)]
pub(super) struct Grants {
    pub(super) api: ApiName,
    pub(super) ledger: Ledger,
    pub(super) seal: Arc<Seal>,
    pub(super) renew_before: Duration,
    /// While the process does not stop, a renewed grant is not given up.
    pub(super) shutdown: CancellationToken,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    issued_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    scopes: Vec<String>,
}

/// The ledger's grant, opened.
struct Opened {
    version: i64,
    kept: Kept,
}

impl Grants {
    /// The token in the ledger, if it is newer than `known`.
    pub(super) async fn look(&self, known: Option<i64>) -> Result<Option<Held>, TokenError> {
        let opened = self.opened().await?;
        Ok((known.is_none_or(|known| opened.version > known)).then(|| self.held(&opened)))
    }

    /// A token of another version than `spent`: another worker's, or one that is renewed now.
    pub(super) async fn obtain(&self, spent: Option<i64>, endpoint: &Endpoint) -> Result<Held, TokenError> {
        let patient_until = Instant::now() + PATIENCE;
        loop {
            let opened = self.opened().await?;
            let now = Timestamp::now();
            if spent.is_none_or(|spent| opened.version > spent) && opened.kept.expires_at.is_none_or(|end| end > now) {
                return Ok(self.held(&opened));
            }
            let Some(refresh_token) = opened.kept.refresh_token.clone().map(Secret::new) else {
                return Err(self.lost("the access token has ended, and the server gave no refresh token"));
            };
            let lease = self.ledger.lease_grant(self.api.clone(), opened.version, now + LEASE, now).await?;
            if lease && let Some(held) = self.renew(opened, &refresh_token, endpoint).await? {
                return Ok(held);
            }
            if Instant::now() > patient_until {
                return Err(TokenError::Unavailable("another worker has been renewing the grant too long".to_owned()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Keeps what a login brought, in place of what was there.
    pub(super) async fn put(&self, issued: Issued) -> Result<Held, TokenError> {
        let kept = Kept::new(issued, Timestamp::now(), None, Vec::new());
        let version = self.ledger.put_grant(self.api.clone(), self.sealed(&kept)).await?;
        Ok(self.held(&Opened { version, kept }))
    }

    /// Renews under our lease. `None` if a login replaced the grant meanwhile.
    async fn renew(
        &self,
        opened: Opened,
        refresh_token: &Secret,
        endpoint: &Endpoint,
    ) -> Result<Option<Held>, TokenError> {
        let Opened { version, kept } = opened;
        match endpoint.renew(refresh_token).await {
            Ok(issued) => {
                // RFC 6749 section 6: without a new one the old refresh token stays good, as do the scopes.
                let kept = Kept::new(issued, Timestamp::now(), kept.refresh_token, kept.scopes);
                self.commit(Opened { version, kept }).await
            }
            Err(TokenError::Refused { error, description }) if error == "invalid_grant" => {
                tracing::warn!(api = %self.api, description, "the grant is not honoured any more");
                let lost = self.lost("the server does not honour it any more");
                let revoked = self.ledger.revoke_grant(self.api.clone(), version, lost.to_string()).await?;
                if revoked { Err(lost) } else { Ok(None) }
            }
            Err(error) => {
                // The lease ends by itself where this fails.
                let released = self.ledger.release_grant(self.api.clone(), version).await;
                released.unwrap_or_else(|error| tracing::debug!(%error, "a lease waits for its end"));
                Err(error)
            }
        }
    }

    /// Commits the renewed grant, for as long as that takes: the one before it may be worth nothing now.
    async fn commit(&self, renewed: Opened) -> Result<Option<Held>, TokenError> {
        let sealed = self.sealed(&renewed.kept);
        let mut waits = waits();
        loop {
            let error = match self.ledger.renew_grant(self.api.clone(), renewed.version, sealed.clone()).await {
                Ok(true) => return Ok(Some(self.held(&Opened { version: renewed.version + 1, ..renewed }))),
                Ok(false) => return Ok(None),
                Err(error) => error,
            };
            if self.shutdown.is_cancelled() {
                tracing::error!(api = %self.api, %error, "the process stops, and a renewed grant is not in the ledger");
                return Err(error.into());
            }
            tracing::warn!(api = %self.api, %error, "a renewed grant waits for the ledger");
            tokio::select! {
                () = tokio::time::sleep(waits.next().unwrap_or(LOOK)) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
    }

    async fn opened(&self) -> Result<Opened, TokenError> {
        let grant = self.ledger.grant(self.api.clone()).await?;
        let grant = grant.ok_or_else(|| TokenError::NotGranted(self.api.clone()))?;
        let Some(sealed) = grant.sealed else {
            return Err(TokenError::Revoked(grant.problem.unwrap_or_else(|| self.lost("it was lost").to_string())));
        };
        let plain = self.seal.open(&self.purpose(), &sealed);
        let plain = plain.map_err(|_| self.lost("it does not open with any of the keys of [oauth]"))?;
        let kept = serde_json::from_slice(&plain).map_err(|_| self.lost("it was written by another version"))?;
        Ok(Opened { version: grant.version, kept })
    }

    fn sealed(&self, kept: &Kept) -> Vec<u8> {
        let plain = serde_json::to_vec(kept).expect("texts and times are JSON");
        self.seal.seal(&self.purpose(), &plain)
    }

    fn purpose(&self) -> String {
        format!("grant:{}", self.api)
    }

    fn held(&self, opened: &Opened) -> Held {
        let kept = &opened.kept;
        let between = |from: Timestamp, to: Timestamp| Duration::try_from(to.duration_since(from)).unwrap_or_default();
        let left = kept.expires_at.map(|end| between(Timestamp::now(), end));
        let life = kept.expires_at.map(|end| between(kept.issued_at, end)).unwrap_or_default();
        let token = AccessToken::new(kept.access_token.clone());
        Held::new(token, Some(opened.version), left, self.renew_before.min(life / 2), Instant::now())
    }

    fn lost(&self, why: &str) -> TokenError {
        TokenError::Revoked(format!("the grant is lost: {why}; log in again at /oauth/{}/login", self.api))
    }
}

impl Kept {
    fn new(issued: Issued, now: Timestamp, refresh_token: Option<String>, scopes: Vec<String>) -> Self {
        Self {
            access_token: issued.token.expose().to_owned(),
            refresh_token: issued.refresh_token.map(|token| token.expose().to_owned()).or(refresh_token),
            issued_at: now,
            // Where the server does not say, the token is used until the API refuses it: some never end.
            expires_at: issued.life.map(|life| now + life),
            scopes: issued.scopes.unwrap_or(scopes),
        }
    }
}
