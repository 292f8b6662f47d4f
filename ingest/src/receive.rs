//! Receive: reads a request within its bounds and walks it along the whole path.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::request;
use http::{HeaderMap, Method, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::Timestamp;
use metrics::Histogram;
use tidegate_shared::config::{Config, ContentEncoding, OnUnavailable};
use tidegate_shared::event::{RequestId, SourceName};
use tidegate_shared::signature::{FetchedKey, Reply};
use tidegate_shared::tasks::Tasks;
use tokio::sync::Notify;

use crate::Parts;
use crate::admission::Admission;
use crate::claim::Claim;
use crate::error::IngestError;
use crate::handshake::shake;
use crate::keys::Keys;
use crate::pace::BodyPace;
use crate::publish::{Accepted, Publish, PublishFailure};
use crate::rejected::Rejected;
use crate::source::{Counts, Source};
use crate::verify::{Verified, VerifiedBatch, VerifiedEvent};

mod in_flight;

use in_flight::InFlight;

/// Bodies up to this size are verified between two other requests; a larger one would hold those up for longer than a
/// millisecond, and goes to a thread of its own.
const VERIFIED_INLINE_MAX: usize = 256 * 1_024;

/// Events of one request on their way at once; each holds a claim and a message meanwhile.
const ADMITTED_AT_ONCE: usize = 32;

/// The door: everything that a request needs on its path.
#[derive(Debug)]
pub struct Door {
    pub(crate) sources: BTreeMap<SourceName, Arc<Source>>,
    /// What was asked for and does not exist.
    pub(crate) unknown: Counts,
    publish_seconds: Histogram,
    pub(crate) parts: Parts,
    pub(crate) limits: DoorLimits,
    pub(crate) tasks: Tasks,
    /// An operator wants the spool to be drained without waiting.
    pub(crate) drain_now: Notify,
    pub(crate) admission: Admission,
    /// What is kept of requests that do not verify.
    pub(crate) rejected: Option<Arc<Rejected>>,
    keys: Keys,
    in_flight: Arc<InFlight>,
}

/// The door's bounds, from `[ingest]` and `[claims]`.
#[derive(Debug, Clone)]
pub(crate) struct DoorLimits {
    pub(crate) body_limit: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) body_rate_min: usize,
    pub(crate) publish_timeout: Duration,
    pub(crate) claim_lease: Duration,
    pub(crate) claim_wait: Duration,
    pub(crate) on_unavailable: OnUnavailable,
}

/// A request as it came: the exact bytes, nothing parsed.
#[derive(Debug)]
pub struct RawRequest {
    pub(crate) source: Arc<Source>,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) request_id: RequestId,
    pub(crate) received_at: Timestamp,
}

impl Door {
    /// Makes the door of a configuration.
    #[must_use]
    pub fn new(config: &Config, parts: Parts, tasks: Tasks) -> Self {
        let rejected = Rejected::new(config);
        let intake = |name| rejected.as_ref().map(|rejected| rejected.intake(name));
        Self {
            sources: config
                .sources
                .iter()
                .map(|(name, source)| (name.clone(), Arc::new(Source::new(source.clone(), intake(name)))))
                .collect(),
            rejected,
            unknown: Counts::of(""),
            publish_seconds: metrics::histogram!("tidegate_publish_seconds"),
            parts,
            limits: DoorLimits {
                body_limit: config.ingest.body_limit,
                body_timeout: config.ingest.body_timeout,
                body_rate_min: config.ingest.admission.body_rate_min,
                publish_timeout: config.ingest.publish_timeout,
                claim_lease: config.claims.lease,
                claim_wait: config.claims.wait,
                on_unavailable: config.claims.on_unavailable,
            },
            tasks,
            drain_now: Notify::new(),
            admission: Admission::new(&config.ingest.admission),
            keys: Keys::new(),
            in_flight: InFlight::new(&config.ingest),
        }
    }

    /// The source of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn source(&self, name: &str) -> Result<Arc<Source>, IngestError> {
        SourceName::try_new(name)
            .ok()
            .and_then(|name| self.sources.get(&name).map(Arc::clone))
            .ok_or_else(|| IngestError::UnknownSource { name: name.chars().take(64).collect() })
    }

    /// Reads the body of a request for `source`, within every bound.
    ///
    /// # Errors
    /// [`IngestError`] says which bound was met.
    pub async fn read(
        &self,
        source: Arc<Source>,
        head: request::Parts,
        body: Incoming,
        request_id: RequestId,
    ) -> Result<RawRequest, IngestError> {
        // Verified are the bytes on the wire; a compressed body would verify as such and surprise every handler.
        let request::Parts { method, uri, headers, extensions, .. } = head;
        if source.config.admission.content_encoding == ContentEncoding::Refuse && is_encoded(&headers) {
            return Err(IngestError::UnsupportedEncoding);
        }
        let sender = self.admission.sender(&extensions, &headers);
        let body = self.read_body(sender, &headers, body).await?;
        Ok(RawRequest { source, method, uri, headers, body, request_id, received_at: Timestamp::now() })
    }

    async fn read_body(&self, sender: IpAddr, headers: &HeaderMap, mut body: Incoming) -> Result<Bytes, IngestError> {
        let limit = self.limits.body_limit;
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: u64| length > limit as u64) {
            return Err(IngestError::BodyTooLarge { limit });
        }
        let mut whole = BytesMut::new();
        let mut held = self.in_flight.begin(sender);
        let pace = BodyPace::start(&self.limits);
        while let Some(frame) = pace.keep(whole.len(), body.frame()).await? {
            let Ok(data) = frame.map_err(IngestError::BodyBroken)?.into_data() else { continue };
            if whole.len() + data.len() > limit {
                return Err(IngestError::BodyTooLarge { limit });
            }
            held.grow(data.len())?;
            whole.extend_from_slice(&data);
        }
        Ok(if whole.is_empty() { Bytes::new() } else { held.into_body(whole.freeze()) })
    }

    /// A request by another method than events come by: only a handshake can be one.
    #[must_use]
    pub fn bodiless(source: Arc<Source>, head: request::Parts, request_id: RequestId) -> RawRequest {
        let request::Parts { method, uri, headers, .. } = head;
        let received_at = Timestamp::now();
        RawRequest { source, method, uri, headers, body: Bytes::new(), request_id, received_at }
    }

    /// Walks a request along the whole path, or answers it where its provider only asks.
    ///
    /// # Errors
    /// [`IngestError`] of the step that failed.
    ///
    /// # Cancel safety
    /// An event that is verified goes on in a task of its own: a client that hangs up does not stop it half-way. A handshake
    /// may stop; its provider asks again.
    pub async fn receive(self: &Arc<Self>, request: RawRequest) -> Result<Received, IngestError> {
        let source = Arc::clone(&request.source);
        if let Some(reply) = request.open_handshake()? {
            return shake(&source, reply).await.map(Received::Handshake).map_err(IngestError::Handshake);
        }
        if request.method != Method::POST {
            return Err(IngestError::MethodNotAllowed);
        }
        let key = self.key_of(&request).await?;
        let verified = if request.body.len() <= VERIFIED_INLINE_MAX {
            request.verify(key.as_ref())?
        } else {
            let verifying = tokio::task::spawn_blocking(move || request.verify(key.as_ref()));
            verifying.await.map_err(|_| IngestError::Abandoned)??
        };
        source.gate.count_verified()?;
        let door = Arc::clone(self);
        let admitted = match verified {
            Verified::Handshake(reply) => {
                return shake(&source, reply).await.map(Received::Handshake).map_err(IngestError::Handshake);
            }
            // Boxed: on its way into a task a future is copied a few times.
            Verified::Event(event) => self.tasks.spawn_job(Box::pin(async move { door.admit(event).await })),
            Verified::Batch(batch) => self.tasks.spawn_job(Box::pin(async move { door.admit_all(batch).await })),
        };
        admitted.await.unwrap_or(Err(IngestError::Abandoned)).map(Received::Events)
    }

    /// Admits every event of a request. One that fails fails the request: when it comes again, the others are
    /// duplicates, unless their provider numbers no events.
    /// Those under way then are finished, since each holds a claim, and no more are begun.
    async fn admit_all(&self, batch: VerifiedBatch) -> Result<Accepted, IngestError> {
        let VerifiedBatch { id, request_id, events } = batch;
        let has_failed = AtomicBool::new(false);
        let wanted = events.into_iter().take_while(|_| !has_failed.load(Ordering::Relaxed));
        let admitting = stream::iter(wanted).map(|event| self.admit(event)).buffer_unordered(ADMITTED_AT_ONCE);
        let noticing = admitting.inspect(|admitted| {
            has_failed.fetch_or(admitted.is_err(), Ordering::Relaxed);
        });
        let admitted: Vec<Result<Accepted, IngestError>> = noticing.collect().await;
        let accepted: Vec<Accepted> = admitted.into_iter().collect::<Result<_, _>>()?;
        Ok(Accepted::all(id, request_id, &accepted))
    }

    /// The key that the request names, where its provider keeps it.
    pub(crate) async fn key_of(&self, request: &RawRequest) -> Result<Option<FetchedKey>, IngestError> {
        let Some(location) = request.needs()? else { return Ok(None) };
        self.keys.get(location, request.source.verifier()).await.map(Some).map_err(IngestError::NoKey)
    }

    async fn admit(&self, verified: VerifiedEvent) -> Result<Accepted, IngestError> {
        match self.claim_and_publish(verified).await? {
            Admitted::Accepted(accepted) => Ok(accepted),
            // Its key holds the body's hash, so that it cannot conflict again.
            Admitted::Conflict(conflicting) => match self.claim_and_publish(*conflicting).await? {
                Admitted::Accepted(accepted) => Ok(accepted),
                Admitted::Conflict(_) => Err(IngestError::Abandoned),
            },
        }
    }

    async fn claim_and_publish(&self, verified: VerifiedEvent) -> Result<Admitted, IngestError> {
        let claims = &self.parts.claims;
        let claimed = match verified.claim(claims, &self.limits).await.map_err(IngestError::Unclaimed)? {
            Claim::Fresh(claimed) => claimed.refuse_replay(claims).await?,
            Claim::AlreadyAccepted(accepted) => return Ok(Admitted::Accepted(accepted)),
            Claim::Conflict(verified) => return Ok(Admitted::Conflict(Box::new(verified.into_conflict()))),
        };
        let started = Instant::now();
        let Parts { publisher, spool, .. } = &self.parts;
        let body = claimed.body_to_keep();
        let published = claimed.publish(publisher, self.limits.publish_timeout, spool.as_ref()).await;
        self.publish_seconds.record(started.elapsed().as_secs_f64());
        match published {
            Ok(Publish::Published(published)) => {
                Ok(Admitted::Accepted(self.keep_body(published.accept(claims).await, body).await))
            }
            Ok(Publish::Spooled(spooled)) => {
                Ok(Admitted::Accepted(self.keep_body(spooled.accept(claims).await, body).await))
            }
            Ok(Publish::AlreadyAccepted(accepted)) => Ok(Admitted::Accepted(accepted)),
            Ok(Publish::Conflict(claimed)) => {
                claimed.release(claims).await;
                Ok(Admitted::Conflict(Box::new(claimed.into_verified().into_conflict())))
            }
            // It may be queued all the same: the sender tries again, and the worker's inbox drops the twin.
            Err(PublishFailure { claimed, error, spool }) => {
                claimed.release(claims).await;
                Err(match spool {
                    Some(spool) => IngestError::NotSpooled { unpublished: error, spool },
                    None => IngestError::NotDurable(error),
                })
            }
        }
    }
}

/// Whether the body is encoded in any way. Names of codings mean the same in upper and lower case:
/// <https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1>
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// What a request came to.
#[derive(Debug)]
pub enum Received {
    /// Its event, or every one of its events, is durable.
    Events(Accepted),
    /// Its provider only asked.
    Handshake(Reply),
}

enum Admitted {
    Accepted(Accepted),
    Conflict(Box<VerifiedEvent>),
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_body_is_encoded_unless_it_says_otherwise_in_whatever_case() {
        let check = |values: &[&'static str], expected: bool| {
            let headers = values.iter().map(|value| (header::CONTENT_ENCODING, HeaderValue::from_static(value)));
            assert_eq!(is_encoded(&headers.collect()), expected, "{values:?}");
        };
        for plain in [&["identity"][..], &["Identity"], &["IDENTITY"], &["identity", "Identity"], &[]] {
            check(plain, false);
        }
        for encoded in [&["gzip"][..], &["GZIP"], &["identity, gzip"], &["identity", "br"], &[""], &["identity2"]] {
            check(encoded, true);
        }
    }
}
