//! What an operator does with rejected requests: looks at them, has them explained, and lets them in.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use tidegate_shared::config::SourceConfig;
use tidegate_shared::event::SourceName;
use tidegate_shared::rejected::{RejectedRequest, RingError, Row, SealedRequest};
use tidegate_shared::signature::explain::{Cause, Explanation, Question, Suspect, explain};
use tidegate_shared::signature::{FetchedKey, Received};
use tidegate_shared::telemetry::chain;
use utoipa::ToSchema;

use super::Rejected;
use crate::receive::{Door, RawRequest};
use crate::respond;
use crate::source::Source;

/// A request that could not be let in, and why.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Refused {
    /// Its id.
    pub id: String,
    /// The error's code.
    pub code: String,
    /// The error in one sentence.
    pub message: String,
}

/// What became of requests that were to be let in.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Released {
    /// Ids of those that were accepted, and are kept no more.
    pub released: Vec<String>,
    /// Those that are kept still.
    pub refused: Vec<Refused>,
}

/// What an operator asks for that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RejectedError {
    /// `ingest.rejected.keep` is 0.
    #[error("no rejected requests are kept: ingest.rejected.keep is 0")]
    Off,
    /// There is none with this id.
    #[error("there is no rejected request {id:?}")]
    NotFound {
        /// The id.
        id: String,
    },
    /// The ring cannot be used.
    #[error(transparent)]
    Ring(#[from] RingError),
}

impl Rejected {
    /// Whether the inbox may have forgotten by `now` that the event of a request was applied: that can have been before the
    /// request came, by as long as providers try again, a [`SourceConfig::dedup_window`].
    fn may_be_forgotten(&self, request: &RejectedRequest, source: &SourceConfig, now: Timestamp) -> bool {
        let age = now.duration_since(request.received_at).unsigned_abs();
        self.inbox.is_some_and(|inbox| age >= inbox.saturating_sub(source.dedup_window))
    }
}

impl Door {
    fn ring(&self) -> Result<&Rejected, RejectedError> {
        self.rejected.as_deref().ok_or(RejectedError::Off)
    }

    /// Rejected requests, the newest first; none where none are kept.
    ///
    /// # Errors
    /// If the ring cannot be read.
    pub(crate) async fn rejected(
        &self,
        source: Option<SourceName>,
        before: Option<String>,
        limit: usize,
    ) -> Result<Vec<Row>, RejectedError> {
        match &self.rejected {
            Some(rejected) => Ok(rejected.ring.list(source, before, limit).await?),
            None => Ok(Vec::new()),
        }
    }

    /// The rejected request called `id`.
    pub(crate) async fn rejected_request(&self, id: &str) -> Result<SealedRequest, RejectedError> {
        let found = self.ring()?.ring.get(id).await?;
        found.ok_or_else(|| RejectedError::NotFound { id: id.to_owned() })
    }

    /// Says why the rejected request called `id` did not verify.
    pub(crate) async fn explain(&self, id: &str) -> Result<Explanation, RejectedError> {
        let sealed = self.rejected_request(id).await?;
        let rejected = self.ring()?;
        let source = sealed.request().source.clone();
        let Some(own) = self.sources.get(&source) else {
            return Ok(Explanation {
                cause: "no_source",
                explained: true,
                why: format!("There is no source {source} any more."),
                advice: "Configure it again, or leave the request to be pushed out.".to_owned(),
            });
        };
        let sealers = Arc::clone(&rejected.sealers);
        let open = move || sealed.opened(&sealers.now().likely(&sealed.request().source));
        let (request, left) = tokio::task::spawn_blocking(open).await.map_err(|_| RingError::Closed)?;
        let key = match raw(own, &request) {
            Some(raw) => self.key_of(&raw).await.map_err(|error| chain(&error).to_string()),
            None => return Ok(Cause::BodyNotKept.explanation()),
        };
        let configs: BTreeMap<SourceName, SourceConfig> =
            self.sources.iter().map(|(name, source)| (name.clone(), source.present().clone())).collect();
        let search = move || explain_request(&configs, &request, &key);
        let cause = tokio::task::spawn_blocking(search).await.map_err(|_| RingError::Closed)?;
        // A credential that no candidate opened is not ours, nor ours written otherwise.
        let is_unknown = left > 0 && cause == Cause::Unexplained && own.config.scheme.kind.is_token();
        Ok(if is_unknown { Cause::UnknownCredential } else { cause }.explanation())
    }

    /// Verifies rejected requests again, as of when each was received, and lets in those that do.
    ///
    /// # Errors
    /// If the ring cannot be read or written. What was let in and is kept still is a duplicate the next time.
    pub(crate) async fn release(self: &Arc<Self>, ids: Vec<String>) -> Result<Released, RejectedError> {
        let mut all = Released::default();
        for id in ids {
            match self.release_one(&id).await? {
                Ok(()) => {
                    self.ring()?.ring.remove(&id).await?;
                    metrics::counter!("tidegate_rejected_released_total").increment(1);
                    all.released.push(id);
                }
                Err((code, message)) => all.refused.push(Refused { id, code, message }),
            }
        }
        tracing::info!(
            released = all.released.len(),
            refused = all.refused.len(),
            "rejected requests were tried again"
        );
        Ok(all)
    }

    /// The ids of every rejected request of a source, the oldest first.
    pub(crate) async fn rejected_of(&self, source: &SourceName) -> Result<Vec<String>, RejectedError> {
        Ok(self.ring()?.ring.ids_of(source).await?)
    }

    async fn release_one(self: &Arc<Self>, id: &str) -> Result<Result<(), (String, String)>, RejectedError> {
        let refused = |code: &str, message: String| Ok(Err((code.to_owned(), message)));
        let rejected = self.ring()?;
        let Some(sealed) = rejected.ring.get(id).await? else {
            return refused("not_found", format!("there is no rejected request {id:?}"));
        };
        let Some(source) = self.sources.get(&sealed.request().source) else {
            return refused("unknown_source", format!("there is no source {:?}", sealed.request().source.as_str()));
        };
        if rejected.may_be_forgotten(sealed.request(), &source.config, Timestamp::now()) {
            let message = "it came so long ago that its event may have been applied and forgotten: see retention.inbox";
            return refused("too_old", message.to_owned());
        }
        let sealers = Arc::clone(&rejected.sealers);
        let open = move || sealed.opened(&sealers.now().exact(&sealed.request().source)).0;
        let request = tokio::task::spawn_blocking(open).await.map_err(|_| RingError::Closed)?;
        let Some(raw) = raw(source, &request) else {
            return refused("body_not_kept", "it was not kept whole; have it sent again".to_owned());
        };
        match self.receive(raw).await {
            Ok(_) => Ok(Ok(())),
            Err(error) => refused(respond::row(&error).code, respond::message(&error)),
        }
    }
}

/// The request as it came; its refusal is not kept once more. `None` if it was not kept whole.
fn raw(source: &Source, request: &RejectedRequest) -> Option<RawRequest> {
    Some(RawRequest {
        source: Arc::new(Source::new(source.config.clone(), None)),
        method: request.method.clone(),
        uri: request.target.parse().ok()?,
        headers: request.headers.clone(),
        body: request.body.clone()?,
        request_id: request.request_id.clone(),
        received_at: request.received_at,
    })
}

/// Asks for the cause, with all that the configuration knows.
fn explain_request(
    sources: &BTreeMap<SourceName, SourceConfig>,
    request: &RejectedRequest,
    key: &Result<Option<FetchedKey>, String>,
) -> Cause {
    let (Some(own), Some(body)) = (sources.get(&request.source), &request.body) else { return Cause::BodyNotKept };
    let others: Vec<Suspect<'_>> =
        sources.values().filter(|source| source.name != request.source).map(SourceConfig::suspect).collect();
    let received = Received { method: &request.method, target: &request.target, headers: &request.headers, body };
    explain(&Question {
        received,
        received_at: request.received_at,
        source: own.suspect(),
        verifier: &own.verifier,
        others: &others,
        key: key.as_ref().map(Option::as_ref).map_err(String::as_str),
    })
}
