//! The accept loop of every listener: bounded connections, a time limit on each request's head, a graceful end.
//!
//! Written on hyper because ready-made servers either have no limit on reading a request's head, which lets a slow
//! client hold a connection for ever, or none on the number of connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::config::IngestConfig;
use crate::tasks::Tasks;

mod lingering;
mod places;

pub use places::PerAddress;

use lingering::Lingering;
use places::{Place, Places};

/// Headers that the HTTP library has room for without an allocation for each request.
const HEADERS_INLINE: usize = 100;
/// Bytes that are read at once at least; the HTTP library takes no less than 8 KiB.
const READ_BYTES: usize = 16 << 10;
/// A flood of refused connections is worth a line in the log this often.
const REFUSED_LOGGED_EVERY: Duration = Duration::from_secs(10);
/// Time for a client to take its last answer once the process stops.
const CLOSING_MAX: Duration = Duration::from_secs(20);
/// Time for a client to take what was sent to it: one that never reads would hold its connection for ever.
const UNREAD_MAX: Duration = Duration::from_secs(30);

/// The bounds of one listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at most; one more waits in the system's queue.
    pub connections_max: NonZeroUsize,
    /// Connections of one address at most; one more is closed at once.
    pub per_address: Option<PerAddress>,
    /// Time to read a request's head, which is also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// Headers of one request at most; more are answered 431 by the HTTP library.
    pub headers_max: usize,
    /// Bytes of one request's head at most; more are answered 431 by the HTTP library.
    pub head_bytes_max: usize,
}

impl Limits {
    /// Those of a listener that only the operator's own programs reach.
    #[must_use]
    pub fn of(config: &IngestConfig) -> Self {
        Self {
            connections_max: config.connections_max,
            per_address: None,
            header_timeout: config.header_timeout,
            headers_max: config.admission.headers_max,
            head_bytes_max: config.admission.head_bytes_max,
        }
    }

    /// Those of a listener that anybody reaches.
    #[must_use]
    pub fn of_the_door(config: &IngestConfig) -> Self {
        let max = config.admission.connections_per_address_max;
        let exempt = config.admission.proxies.trusted.clone();
        Self { per_address: Some(PerAddress { max, exempt }), ..Self::of(config) }
    }
}

/// The address of the peer, as an extension of every request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Serves `service` on `listener` until `tasks` is told to shut down, then lets open requests finish.
///
/// Each connection is a job of `tasks`, so the shutdown waits for them.
pub async fn serve<S, B>(listener: TcpListener, service: S, limits: Limits, tasks: Tasks)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.connections_max.get()));
    let shutdown = tasks.shutdown().clone();
    let mut crowd = limits.per_address.clone().map(Crowd::new);
    loop {
        // A permit before the accept: connections over the limit wait in the system's queue and cost nothing.
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let place = match &mut crowd {
            None => None,
            Some(crowd) => match crowd.enter(peer) {
                Some(place) => Some(place),
                None => continue,
            },
        };
        let (service, limits, shutdown) = (service.clone(), limits.clone(), shutdown.clone());
        drop(tasks.spawn_job(async move {
            connection(stream, peer, service, limits, shutdown).await;
            // The place first: who comes in by the permit may be of the same address.
            drop(place);
            drop(permit);
        }));
    }
}

/// Keeps one address from taking every connection.
struct Crowd {
    places: Arc<Places>,
    logged: Option<Instant>,
}

impl Crowd {
    fn new(rule: PerAddress) -> Self {
        Self { places: Places::new(rule), logged: None }
    }

    /// A place for the connection of `peer`; counts and tells if there is none.
    fn enter(&mut self, peer: SocketAddr) -> Option<Place> {
        let place = self.places.enter(peer.ip());
        if place.is_none() {
            metrics::counter!("tidegate_connections_refused_total").increment(1);
            if self.logged.is_none_or(|at| at.elapsed() >= REFUSED_LOGGED_EVERY) {
                self.logged = Some(Instant::now());
                tracing::warn!(%peer, "an address has as many connections as it may; if it is a proxy, trust it");
            }
        }
        place
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers are one small write; waiting to fill a packet only delays them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection is gone before its first byte");
            }
            #[cfg(target_os = "linux")]
            if let Err(error) = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_MAX)) {
                tracing::debug!(%error, "a connection has no limit on unread answers");
            }
            Some((stream, peer, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept connections");
            // Out of file descriptors, most likely: trying again at once would spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection<S, B>(stream: TcpStream, peer: SocketAddr, service: S, limits: Limits, shutdown: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        service.clone().call(request)
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.head_bytes_max)
        .max_buf_size(limits.head_bytes_max.max(READ_BYTES));
    if limits.headers_max != HEADERS_INLINE {
        builder.max_headers(limits.headers_max);
    }
    let mut served = pin!(builder.serve_connection(Lingering::new(stream, shutdown.clone()), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(CLOSING_MAX, served).await {
                Ok(ended) => ended,
                // A client that does not read its answer must not keep the process.
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        // Clients that hang up or dawdle; nothing an operator needs to see at the usual level.
        tracing::debug!(%peer, %error, "connection ended early");
    }
}
