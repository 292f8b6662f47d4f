//! One Redis server or one Redis Cluster, as every adapter that stands on it asks it.
//!
//! What is kept there may be lost at any time, and nothing may wait for it: every call has one time limit for
//! everything, and after failures in a row is not tried at all for a while.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, RedisError};
use tokio::sync::{Notify, watch};

use self::breaker::Breaker;
use self::connection::{Keeper, Way};
use self::line::Line;
use crate::health::{Health, HealthCell};
use crate::tasks::Tasks;

mod breaker;
mod connection;
mod line;

pub(crate) use self::connection::Connection;

/// The namespace whose keys carry no prefix.
const DEFAULT_NAMESPACE: &str = "tidegate";

/// Where Redis is and how long an answer may take.
#[derive(Clone)]
pub struct RedisSettings {
    way: Way,
    prefix: String,
    timeout: Duration,
}

/// URLs that do not lead to Redis. They may hold a password, so that they are not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected \"redis://user:password@host:6379/0\", or \"rediss://…\" where TLS is built in")]
pub struct InvalidRedisUrl;

impl RedisSettings {
    /// Takes the URL of a server, or several of a Redis Cluster's nodes, which lead to the others. Every key begins with
    /// `namespace`, unless that is "tidegate". A call takes at most `timeout`.
    ///
    /// # Errors
    /// If there is none, or one is not a URL of Redis.
    pub fn try_new<'a>(
        urls: impl IntoIterator<Item = &'a str>,
        namespace: &str,
        timeout: Duration,
    ) -> Result<Self, InvalidRedisUrl> {
        let urls: Vec<&str> = urls.into_iter().collect();
        let way = Way::to(&urls).map_err(|_| InvalidRedisUrl)?;
        let prefix = if namespace == DEFAULT_NAMESPACE { String::new() } else { format!("{namespace}:") };
        Ok(Self { way, prefix, timeout })
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings").field("way", &self.way).field("timeout", &self.timeout).finish()
    }
}

/// Why Redis did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// It did not answer within the time limit; what was asked may have been done.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Recent calls failed, so that this one was not tried.
    #[error("not asked: recent calls failed")]
    Resting,
    /// The server or the connection failed.
    #[error("the Redis server failed")]
    Redis(#[from] RedisError),
}

/// The server; clones share one connection.
#[derive(Clone)]
pub struct RedisServer {
    shared: Arc<Shared>,
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer").field("health", &self.shared.health.get()).finish_non_exhaustive()
    }
}

struct Shared {
    connections: watch::Receiver<Option<Connection>>,
    /// To one server; the nodes of a cluster are asked one by one.
    line: Option<Line>,
    lost: Arc<Notify>,
    breaker: Mutex<Breaker>,
    health: HealthCell,
    prefix: String,
    timeout: Duration,
}

impl RedisServer {
    /// Starts connecting, and returns at once.
    #[must_use]
    pub fn start(settings: &RedisSettings, tasks: &Tasks) -> Self {
        let health = HealthCell::starting("redis");
        let lost = Arc::new(Notify::new());
        let (sender, connections) = watch::channel(None);
        let keeper = Keeper {
            way: settings.way.clone(),
            probe_keys: settings.way.probe_keys(&settings.prefix),
            connections: sender,
            lost: Arc::clone(&lost),
            health: health.clone(),
        };
        tasks.spawn("redis connection", keeper.run(tasks.shutdown().clone()));
        let line = settings.way.is_single().then(|| {
            let (line, serve) = Line::new(connections.clone(), settings.timeout);
            let shutdown = tasks.shutdown().clone();
            // A job, not a task for life: it ends with the last handle of the server, too.
            drop(tasks.spawn_job(async move {
                tokio::select! {
                    () = serve => {}
                    () = shutdown.cancelled() => {}
                }
            }));
            line
        });
        let shared = Shared {
            connections,
            line,
            lost,
            breaker: Mutex::default(),
            health,
            prefix: settings.prefix.clone(),
            timeout: settings.timeout,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Asks Redis one command, beside those of other callers; as [`Self::call`].
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(crate) async fn command<T: FromRedisValue>(&self, command: Cmd) -> Result<T, CallError> {
        let Some(line) = &self.shared.line else {
            return self.call(async |connection: &mut Connection| command.query_async(connection).await).await;
        };
        let asked = async {
            // Only at the very start: to wait takes a handle of one's own.
            if self.shared.connections.borrow().is_none() {
                self.connection().await?;
            }
            let answer = line.ask(command).await;
            if let Err(CallError::Redis(error)) = &answer
                && error.is_unrecoverable_error()
            {
                self.shared.lost.notify_one();
            }
            Ok(T::from_redis_value(answer?).map_err(RedisError::from)?)
        };
        self.guarded(asked).await
    }

    /// Asks Redis, unless it rests, within the time limit.
    ///
    /// # Errors
    /// [`CallError`]; unless it says that nothing was asked, what was asked may have been done.
    pub(crate) async fn call<T>(
        &self,
        ask: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, CallError> {
        let asked = async {
            let mut connection = self.connection().await?;
            let answer = ask(&mut connection).await;
            // A cluster's connection mends itself, and the other nodes go on.
            if !connection.is_of_cluster() && answer.as_ref().is_err_and(RedisError::is_unrecoverable_error) {
                self.shared.lost.notify_one();
            }
            answer.map_err(CallError::from)
        };
        self.guarded(asked).await
    }

    /// Runs what asks within the time limit, unless recent calls failed.
    async fn guarded<T>(&self, asked: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        let Shared { breaker, timeout, .. } = &*self.shared;
        let breaker = || breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if !breaker().admits(Instant::now()) || self.is_known_to_be_lost() {
            return Err(CallError::Resting);
        }
        let outcome = match tokio::time::timeout(*timeout, asked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::Timeout(*timeout)),
        };
        match &outcome {
            Ok(_) => breaker().succeeded(),
            Err(_) => breaker().failed(Instant::now()),
        }
        outcome
    }

    /// The state of Redis.
    #[must_use]
    pub fn health(&self) -> &HealthCell {
        &self.shared.health
    }

    /// What every key begins with.
    pub(crate) fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    /// Says whether waiting for a connection is in vain; at the very start it is not.
    fn is_known_to_be_lost(&self) -> bool {
        self.shared.connections.borrow().is_none() && matches!(self.shared.health.get(), Health::Down(_))
    }

    /// The connection, waiting for the first one.
    async fn connection(&self) -> Result<Connection, CallError> {
        let mut connections = self.shared.connections.clone();
        let found = connections.wait_for(Option::is_some).await.map_err(|_| CallError::Resting)?;
        found.clone().ok_or(CallError::Resting)
    }
}

/// A time to live as Redis takes it: no expiry of zero.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_never_shown() {
        let timeout = Duration::from_millis(150);
        let settings =
            RedisSettings::try_new(["redis://user:hunter2@cache:6380/1"], "tidegate", timeout).expect("valid");
        let shown = format!("{settings:?}");
        assert!(shown.contains("cache:6380") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(settings.prefix, "");
        for bad in ["", "http://cache", "hunter2"] {
            assert!(RedisSettings::try_new([bad], "tidegate", timeout).is_err(), "{bad}");
            assert!(RedisSettings::try_new(["redis://cache", bad], "tidegate", timeout).is_err(), "{bad}");
        }
        assert!(RedisSettings::try_new([], "tidegate", timeout).is_err());
        let nodes = ["redis://user:hunter2@one:7000", "redis://user:hunter2@two:7001"];
        let cluster = RedisSettings::try_new(nodes, "tidegate", timeout).expect("valid");
        let shown = format!("{cluster:?}");
        assert!(shown.contains("one:7000, two:7001") && !shown.contains("hunter2"), "{shown}");
        let other = RedisSettings::try_new(["redis://cache"], "staging", timeout).expect("valid");
        assert_eq!(other.prefix, "staging:");
    }
}
