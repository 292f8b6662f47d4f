//! Rejected: keeps requests that do not verify, off the path of the others, to be explained and let in later.
//!
//! The door's part is a look at a bound and a copy. A task of its own takes the credentials out and writes the rest, a few
//! times a second. Whatever exceeds a bound is dropped and counted: a flood of forged requests costs no request its time,
//! and the disk no more than the ring.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::Counter;
use tidegate_shared::config::{Config, Rate, SourceConfig};
use tidegate_shared::event::SourceName;
use tidegate_shared::rate::Bucket;
use tidegate_shared::rejected::{BODY_KEPT_MAX, Bounds, RejectedRequest, Ring, RingError, Sealer};
use tidegate_shared::signature::VerifyError;
use tidegate_shared::tasks::Tasks;
use tidegate_shared::telemetry::chain;
use tokio::sync::Notify;

use crate::error::IngestError;
use crate::offered::with_offered;
use crate::receive::RawRequest;
use crate::respond;

mod operate;

pub use operate::{Refused, RejectedError, Released};

/// Requests that may wait to be written.
const WAITING_MAX: usize = 256;
/// Bytes that they may hold.
const WAITING_BYTES_MAX: usize = 2 << 20;
/// Between two writes: each is an fsync, on a disk that events may need.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// After a write that failed, until the next is tried.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(10);
/// Requests of one source that are taken in a second, once as many as it keeps were taken at once. More would only push
/// each other out, and what came before them.
const TAKEN_PER_SECOND: NonZeroU32 = NonZeroU32::new(5).unwrap();

/// What knows every credential.
#[derive(Debug)]
enum Sealers {
    /// All of them are configured.
    Ready(Arc<Sealer>),
    /// Providers of some of these sources offer theirs while we run.
    Offered(Vec<SourceConfig>),
}

impl Sealers {
    fn new(config: &Config) -> Self {
        let mut sources = config.sources.values();
        if sources.any(|source| source.offered_secret.is_some()) {
            Self::Offered(config.sources.values().cloned().collect())
        } else {
            Self::Ready(Arc::new(Sealer::new(config.sources.values())))
        }
    }

    /// The one that knows what has been offered until now, which is in files.
    fn now(&self) -> Arc<Sealer> {
        match self {
            Self::Ready(sealer) => Arc::clone(sealer),
            Self::Offered(sources) => {
                let known = |source: &SourceConfig| with_offered(source).ok().flatten();
                let sources: Vec<_> =
                    sources.iter().map(|source| known(source).unwrap_or_else(|| source.clone())).collect();
                Arc::new(Sealer::new(sources.iter()))
            }
        }
    }
}

/// The rejected requests of the door.
#[derive(Debug)]
pub struct Rejected {
    ring: Ring,
    sealers: Arc<Sealers>,
    waiting: Arc<Waiting>,
    keep: usize,
    /// `retention.inbox`
    inbox: Option<Duration>,
}

impl Rejected {
    /// What the configuration wants to be kept; `None` if that is nothing.
    pub(crate) fn new(config: &Config) -> Option<Arc<Self>> {
        let settings = &config.ingest.rejected;
        let bounds = Bounds { keep: settings.keep, bytes_max: settings.bytes_max };
        (settings.keep > 0).then(|| {
            Arc::new(Self {
                ring: Ring::new(config.rejected_path(), bounds),
                sealers: Arc::new(Sealers::new(config)),
                waiting: Arc::default(),
                keep: settings.keep,
                inbox: config.retention.inbox,
            })
        })
    }

    /// The way in for the requests of one source.
    pub(crate) fn intake(&self, source: &SourceName) -> Intake {
        Intake {
            waiting: Arc::clone(&self.waiting),
            dropped: metrics::counter!("tidegate_rejected_dropped_total", "source" => source.as_str().to_owned()),
            bucket: Mutex::new(bucket(self.keep)),
        }
    }

    /// Writes what waits, until the shutdown and what waits then.
    pub(crate) async fn write(self: Arc<Self>, tasks: Tasks) {
        let shutdown = tasks.shutdown();
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.waiting.some.notified() => {}
            }
            let pause = self.write_waiting().await;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.write_waiting().await;
    }

    /// Writes what waits now; says how long to leave the disk alone.
    async fn write_waiting(&self) -> Duration {
        let taken = self.waiting.take();
        if taken.is_empty() {
            return Duration::ZERO;
        }
        let (count, sealers) = (taken.len() as u64, Arc::clone(&self.sealers));
        let seal = move || {
            let sealer = sealers.now();
            taken.into_iter().map(|request| sealer.seal(request)).collect::<Vec<_>>()
        };
        let written = match tokio::task::spawn_blocking(seal).await {
            Ok(sealed) => self.ring.keep(sealed).await,
            Err(_) => Err(RingError::Closed),
        };
        match written {
            Ok(()) => {
                metrics::counter!("tidegate_rejected_total", "outcome" => "kept").increment(count);
                WRITE_EVERY
            }
            Err(error) => {
                metrics::counter!("tidegate_rejected_total", "outcome" => "failed").increment(count);
                tracing::warn!(error = %chain(&error), count, "rejected requests are not kept");
                PAUSE_AFTER_FAILURE
            }
        }
    }
}

/// Requests that wait to be written. In memory, as they came.
#[derive(Default)]
struct Waiting {
    queue: Mutex<(VecDeque<RejectedRequest>, usize)>,
    some: Notify,
}

impl std::fmt::Debug for Waiting {
    /// Shows no request: each is as it came.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("requests", &self.queue().0.len()).finish_non_exhaustive()
    }
}

impl Waiting {
    /// Takes a request, made only if there is room for `bytes` of it.
    fn offer(&self, bytes: usize, make: impl FnOnce() -> RejectedRequest) -> bool {
        {
            let mut queue = self.queue();
            if queue.0.len() >= WAITING_MAX || queue.1 + bytes > WAITING_BYTES_MAX {
                return false;
            }
            queue.1 += bytes;
            queue.0.push_back(make());
        }
        self.some.notify_one();
        true
    }

    fn take(&self) -> VecDeque<RejectedRequest> {
        std::mem::take(&mut *self.queue()).0
    }

    fn queue(&self) -> MutexGuard<'_, (VecDeque<RejectedRequest>, usize)> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many at once as a source keeps, and then [`TAKEN_PER_SECOND`].
fn bucket(keep: usize) -> Bucket {
    let burst = u32::try_from(keep).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
    Bucket::new(Rate { count: TAKEN_PER_SECOND, per: Duration::from_secs(1) }, burst)
}

/// The way in for the requests of one source.
#[derive(Debug)]
pub(crate) struct Intake {
    waiting: Arc<Waiting>,
    dropped: Counter,
    bucket: Mutex<Bucket>,
}

impl Intake {
    fn offer(&self, bytes: usize, make: impl FnOnce() -> RejectedRequest) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let may = bucket.take(Instant::now()).is_ok();
        drop(bucket);
        if !(may && self.waiting.offer(bytes, make)) {
            self.dropped.increment(1);
        }
    }
}

impl RawRequest {
    /// The refusal of this request, which is kept as it is, within the bounds, where the configuration wants that.
    pub(crate) fn refused(&self, error: VerifyError) -> IngestError {
        let error = IngestError::Unverified(error);
        if let Some(intake) = &self.source.rejected {
            let body = (self.body.len() <= BODY_KEPT_MAX).then_some(&self.body);
            let target = self.received().target;
            let head = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
            let bytes = target.len() + head + body.map_or(0, Bytes::len);
            intake.offer(bytes, || RejectedRequest {
                id: RejectedRequest::new_id(),
                source: self.source.config.name.clone(),
                request_id: self.request_id.clone(),
                received_at: self.received_at,
                code: respond::row(&error).code.to_owned(),
                message: respond::message(&error),
                method: self.method.clone(),
                target: target.to_owned(),
                headers: self.headers.clone(),
                // A copy: the original counts against the bytes in flight for as long as it lives.
                body: body.map(|body| Bytes::copy_from_slice(body)),
                body_bytes: self.body.len(),
            });
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> RejectedRequest {
        RejectedRequest {
            id: RejectedRequest::new_id(),
            source: SourceName::try_new("github").expect("a name"),
            request_id: tidegate_shared::event::RequestId::generate(),
            received_at: jiff::Timestamp::now(),
            code: String::new(),
            message: String::new(),
            method: http::Method::POST,
            target: String::new(),
            headers: http::HeaderMap::new(),
            body: None,
            body_bytes: 0,
        }
    }

    #[test]
    fn what_waits_is_bounded_by_number_and_by_bytes() {
        let waiting = Waiting::default();
        let taken = (0..2 * WAITING_MAX).filter(|_| waiting.offer(1, request)).count();
        assert_eq!((taken, waiting.take().len()), (WAITING_MAX, WAITING_MAX));
        let large = WAITING_BYTES_MAX / 3;
        let taken = (0..10).filter(|_| waiting.offer(large, request)).count();
        assert_eq!(taken, 3);
        assert!(!waiting.offer(WAITING_BYTES_MAX, || unreachable!("no copy is made of what is dropped")));
    }

    #[test]
    fn a_source_is_taken_as_often_as_it_keeps_and_then_a_few_times_a_second() {
        let start = Instant::now();
        let mut bucket = bucket(10);
        let mut taken_at = |at: Instant| (0..1_000).filter(|_| bucket.take(at).is_ok()).count();
        assert_eq!((taken_at(start), taken_at(start)), (10, 0));
        assert_eq!(taken_at(start + Duration::from_secs(1)), 5);
        assert_eq!(taken_at(start + Duration::from_secs(3_600)), 10);
    }
}
