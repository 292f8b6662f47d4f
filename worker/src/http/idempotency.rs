//! `Idempotency-Key`: a request is done once, and every repetition gets its answer.
//!
//! <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07>. The ledger decides who does the
//! work of a key, and keeps the answer in the transaction that applies the effects: after a crash either both are there
//! or neither. The work itself may run twice (its owner's lease can end while it is still at it); its effects are applied
//! once.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;
use tidegate_shared::event::CallerName;
use tidegate_shared::ledger::{BeginKeyed, Begun, CommitError, FinishKeyed, KeptAnswer, Ledger, Statement};
use tokio_util::sync::CancellationToken;

use super::respond::HttpError;
use super::{BODY_MAX, Http};

mod key;

pub(super) use key::Keyed;

/// How long a request may own its key before another one may take it over: the crash of a worker delays a retry by as
/// much. Longer than [`WORK_MAX`], with room for the commit.
const LEASE: Duration = Duration::from_secs(30);
/// Time for the work itself: it must be over before its lease.
const WORK_MAX: Duration = Duration::from_secs(20);
/// Time for a body to arrive: a caller that never sends it would hold its connection for ever.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the work is begun by one request. More than once only if its lease ended and the next owner gave up too.
const BEGINS_MAX: u32 = 2;
/// What is said to come back after while another request is at work: its answer is mostly a moment away, but the lease
/// can have longer to go.
const IN_PROGRESS_MAX: Duration = Duration::from_secs(2);
/// Between two looks for answers whose time is over.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Answers that are deleted in one transaction: a short one, that holds up no request.
const SWEEP_BATCH: u32 = 500;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const JSON: &str = "application/json";

/// What a request's work comes to: its answer, and what it does to the ledger.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    pub(super) effects: Vec<Statement>,
    /// What it means if the database refuses the effects.
    pub(super) conflict: &'static str,
}

/// Answers a request of `caller` on `route`, doing its `work` once.
///
/// # Errors
/// [`HttpError`]. An error of the work itself is not kept: the key is free again.
///
/// # Cancel safety
/// The work runs as a job of the process: a caller who hangs up does not stop it half-way.
pub(super) async fn idempotent<W, F>(
    http: &Arc<Http>,
    caller: CallerName,
    route: &'static str,
    request: Request,
    work: W,
) -> Result<Response, HttpError>
where
    W: Fn(Arc<Keyed>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Reply, HttpError>> + Send + 'static,
{
    let (parts, body) = request.into_parts();
    let key = key::key(&parts.headers)?.to_owned();
    let body = read(body).await?;
    let keyed = Arc::new(Keyed::new(&caller, route, key, &parts, body));
    let (ledger, keep) = (http.ledger.clone(), http.idempotency_window);
    let job = http.tasks.spawn_job(async move { once(&ledger, &keyed, keep, work).await });
    let outcome = job.await.map_err(|error| {
        tracing::error!(%error, route, "a job of a request with a key ended without an outcome");
        HttpError::Internal
    })?;
    let replayed = matches!(outcome, Ok((_, Origin::Kept)));
    let counted = if replayed { "replayed" } else { outcome.as_ref().map_or("failed", |_| "done") };
    metrics::counter!("tidegate_keyed_requests_total", "route" => route, "outcome" => counted).increment(1);
    let (answer, origin) = outcome?;
    response(answer, origin)
}

/// Deletes kept answers whose time is over, until the process stops.
pub(crate) async fn sweep(ledger: Ledger, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
        loop {
            match ledger.sweep_keyed(Timestamp::now(), SWEEP_BATCH).await {
                Ok(swept) => {
                    metrics::counter!("tidegate_idempotency_keys_swept_total").increment(swept);
                    if swept < u64::from(SWEEP_BATCH) || shutdown.is_cancelled() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "old idempotency keys stay for now");
                    break;
                }
            }
        }
    }
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// This request's work.
    Work,
    /// An earlier request's.
    Kept,
}

async fn read(body: axum::body::Body) -> Result<Bytes, HttpError> {
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        // A connection that broke has nobody left to tell.
        Ok(Err(_)) => Err(HttpError::BodyTooLarge { limit: BODY_MAX }),
        Err(_) => Err(HttpError::BodyTooSlow),
    }
}

/// Does the work if the key is free, or says what stands.
async fn once<W, F>(
    ledger: &Ledger,
    keyed: &Arc<Keyed>,
    keep: Duration,
    work: W,
) -> Result<(KeptAnswer, Origin), HttpError>
where
    W: Fn(Arc<Keyed>) -> F,
    F: Future<Output = Result<Reply, HttpError>>,
{
    for _ in 0..BEGINS_MAX {
        match ledger.begin_keyed(begin(keyed, keep)).await {
            Ok(Begun::Owned) => {}
            Ok(Begun::Finished(answer)) => return Ok((answer, Origin::Kept)),
            Ok(Begun::Other) => return Err(HttpError::KeyReused),
            Ok(Begun::Running { lease_left }) => {
                return Err(HttpError::InProgress { retry_after: lease_left.min(IN_PROGRESS_MAX) });
            }
            Err(error) => {
                tracing::warn!(%error, "an idempotency key cannot be asked for");
                return Err(HttpError::Unavailable);
            }
        }
        let reply = match run(keyed, &work, WORK_MAX).await {
            Ok(reply) => reply,
            Err(error) => {
                release(ledger, keyed).await;
                return Err(error);
            }
        };
        let conflict = reply.conflict;
        let finish = finish(keyed, reply);
        let answer = finish.answer.clone();
        match ledger.finish_keyed(finish).await {
            Ok(true) => return Ok((answer, Origin::Work)),
            // The lease ended and the key was taken over, or an earlier try came through unnoticed: ask what stands.
            Ok(false) => {}
            Err(CommitError::Duplicate(_)) => {
                release(ledger, keyed).await;
                return Err(HttpError::Conflict(conflict));
            }
            Err(CommitError::Refused(reason)) => {
                tracing::error!(reason, "the database refused the effects of a request");
                release(ledger, keyed).await;
                return Err(HttpError::Internal);
            }
            // It may have been committed: the key must stay until its answer or the end of its lease is seen.
            Err(CommitError::Unavailable(reason)) => {
                tracing::warn!(reason, "the outcome of a request is unknown");
                return Err(HttpError::OutcomeUnknown);
            }
        }
    }
    Err(HttpError::InProgress { retry_after: IN_PROGRESS_MAX })
}

/// The work, within its time; a panic is a defect of ours.
async fn run<W, F>(keyed: &Arc<Keyed>, work: &W, limit: Duration) -> Result<Reply, HttpError>
where
    W: Fn(Arc<Keyed>) -> F,
    F: Future<Output = Result<Reply, HttpError>>,
{
    let caught = AssertUnwindSafe(async { work(Arc::clone(keyed)).await }).catch_unwind();
    match tokio::time::timeout(limit, caught).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => {
            tracing::error!("the work of a request panicked");
            Err(HttpError::Internal)
        }
        Err(_) => Err(HttpError::WorkTooLong),
    }
}

fn begin(keyed: &Keyed, keep: Duration) -> BeginKeyed {
    BeginKeyed {
        scope: keyed.scope.clone(),
        key: keyed.key.clone(),
        fingerprint: keyed.fingerprint,
        owner: keyed.owner.clone(),
        lease: LEASE,
        keep,
        now: Timestamp::now(),
    }
}

fn finish(keyed: &Keyed, reply: Reply) -> FinishKeyed {
    let answer = KeptAnswer {
        status: reply.status.as_u16(),
        content_type: Some(JSON.to_owned()),
        body: reply.body.to_string().into(),
    };
    FinishKeyed {
        scope: keyed.scope.clone(),
        key: keyed.key.clone(),
        owner: keyed.owner.clone(),
        answer,
        effects: reply.effects,
    }
}

/// Nothing was done under the key: a better request may use it.
async fn release(ledger: &Ledger, keyed: &Keyed) {
    let (scope, key, owner) = (keyed.scope.clone(), keyed.key.clone(), keyed.owner.clone());
    if let Err(error) = ledger.release_keyed(scope, key, owner).await {
        tracing::warn!(%error, "an idempotency key stays taken until its lease ends");
    }
}

fn response(answer: KeptAnswer, origin: Origin) -> Result<Response, HttpError> {
    let status = StatusCode::from_u16(answer.status).map_err(|_| HttpError::Internal)?;
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    let content_type = answer.content_type.as_deref().unwrap_or(JSON);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).map_err(|_| HttpError::Internal)?);
    if origin == Origin::Kept {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests;
