//! The accept loop of every listener: bounded connections, a time limit on each request's head, a graceful end.
//!
//! Written on hyper because ready-made servers either have no limit on reading a request's head, which lets a slow
//! client hold a connection for ever, or none on the number of connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::tasks::Tasks;

/// Headers of one request at most.
const HEADERS_MAX: usize = 64;
/// Bytes of one request's head at most.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Time for a client to take its last answer once the process stops.
const CLOSING_MAX: Duration = Duration::from_secs(20);
/// Time for a client to take what was sent to it: one that never reads would hold its connection for ever.
const UNREAD_MAX: Duration = Duration::from_secs(30);

/// The bounds of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at most; one more waits in the system's queue.
    pub connections_max: NonZeroUsize,
    /// Time to read a request's head, which is also how long an idle connection is kept.
    pub header_timeout: Duration,
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
    loop {
        // A permit before the accept: connections over the limit wait in the system's queue and cost nothing.
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let (service, shutdown) = (service.clone(), shutdown.clone());
        drop(tasks.spawn_job(async move {
            connection(stream, peer, service, limits, shutdown).await;
            drop(permit);
        }));
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
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
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
