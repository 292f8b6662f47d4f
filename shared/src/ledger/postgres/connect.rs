//! How a connection is made: each of several servers is asked in its turn, and none of them takes the others' time.
//!
//! A machine that lost its power or its network answers nothing, not even a refusal. A library that waits for it alone, for
//! as long as the whole may take, never gets to the standby that has taken over.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::{ConfigConnectImpl, Connect};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error, NoTls};

use super::settings::PostgresSettings;

/// A connection, with the task that serves it.
type Connected = (Client, JoinHandle<()>);

/// Makes connections to the one server that takes writes.
pub(super) struct Connector {
    /// Each names one server.
    servers: Vec<Config>,
    /// For each: to reach it, log in, and ask whether it takes writes.
    limit: Duration,
    /// The one that took writes last, which is asked first: a server that was replaced may come back and not know it.
    first: AtomicUsize,
}

impl Connector {
    pub(super) fn new(settings: &PostgresSettings) -> Self {
        Self { servers: settings.servers(), limit: settings.connect_each(), first: AtomicUsize::new(0) }
    }

    async fn connect_to_any(&self) -> Result<Connected, Error> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.servers.len());
        let mut failure = None;
        for place in (0..count).map(|step| (first + step) % count) {
            let connecting = ConfigConnectImpl { tls: NoTls };
            match tokio::time::timeout(self.limit, connecting.connect(&self.servers[place])).await {
                Ok(Ok(connected)) => {
                    self.first.store(place, Ordering::Relaxed);
                    return Ok(connected);
                }
                Ok(Err(error)) => failure = Some(error),
                Err(_silent) => {}
            }
        }
        match failure {
            Some(error) => Err(error),
            // All are silent. The pool's own limit, which is just about to end, says so.
            None => std::future::pending().await,
        }
    }
}

impl Connect for Connector {
    fn connect(&self, _config: &Config) -> Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + '_>> {
        Box::pin(self.connect_to_any())
    }
}
