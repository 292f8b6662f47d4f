//! Claims in Redis, where many ingest processes meet.
//!
//! A claim is one round trip: `SET key pending:… NX GET PX lease` answers what stood there before. Every call has one
//! time limit for everything, and after failures in a row is not tried at all for a while: an event is better received
//! unclaimed than late. Redis may lose any key at any time; see [`super`].

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{Client, RedisError, Script};
use tokio::sync::{Notify, watch};

use self::breaker::Breaker;
use self::connection::{Connection, Keeper};
use super::{ClaimToken, ClaimsError, Decision, Marker, decide};
use crate::event::{BodyHash, EventKey};
use crate::health::{Health, HealthCell};
use crate::tasks::Tasks;

mod breaker;
mod connection;

/// The namespace whose keys carry no prefix.
const DEFAULT_NAMESPACE: &str = "tidegate";
/// Deletes the key if its value begins as given: only the claim of one token, never what came after it.
const RELEASE: &str = "\
local value = redis.call('GET', KEYS[1])
if value and string.sub(value, 1, #ARGV[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0";

/// Where Redis is and how long an answer may take.
#[derive(Clone)]
pub struct RedisSettings {
    client: Client,
    prefix: String,
    timeout: Duration,
}

/// A URL that does not lead to Redis. It may hold a password, so that it is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected \"redis://user:password@host:6379/0\", or \"rediss://…\" where TLS is built in")]
pub struct InvalidRedisUrl;

impl RedisSettings {
    /// Takes the URL; every key begins with `namespace`, unless that is "tidegate". A call takes at most `timeout`.
    ///
    /// # Errors
    /// If it is not a URL of Redis.
    pub fn try_new(url: &str, namespace: &str, timeout: Duration) -> Result<Self, InvalidRedisUrl> {
        let client = Client::open(url).map_err(|_| InvalidRedisUrl)?;
        let prefix = if namespace == DEFAULT_NAMESPACE { String::new() } else { format!("{namespace}:") };
        Ok(Self { client, prefix, timeout })
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.client.get_connection_info().addr().to_string();
        f.debug_struct("RedisSettings").field("address", &address).field("timeout", &self.timeout).finish()
    }
}

/// The Redis adapter of [`super::Claims`]; clones share one connection.
#[derive(Clone)]
pub struct RedisClaims {
    shared: Arc<Shared>,
}

impl fmt::Debug for RedisClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisClaims").field("health", &self.shared.health.get()).finish_non_exhaustive()
    }
}

struct Shared {
    connections: watch::Receiver<Option<Connection>>,
    lost: Arc<Notify>,
    breaker: Mutex<Breaker>,
    health: HealthCell,
    prefix: String,
    timeout: Duration,
    release: Script,
}

impl RedisClaims {
    /// Starts connecting, and returns at once.
    #[must_use]
    pub fn start(settings: &RedisSettings, tasks: &Tasks) -> Self {
        let health = HealthCell::starting("redis");
        let lost = Arc::new(Notify::new());
        let (sender, connections) = watch::channel(None);
        let keeper = Keeper {
            client: settings.client.clone(),
            probe_key: format!("{}tg:{{probe}}", settings.prefix),
            connections: sender,
            lost: Arc::clone(&lost),
            health: health.clone(),
        };
        tasks.spawn("redis connection", keeper.run(tasks.shutdown().clone()));
        let shared = Shared {
            connections,
            lost,
            breaker: Mutex::default(),
            health,
            prefix: settings.prefix.clone(),
            timeout: settings.timeout,
            release: Script::new(RELEASE),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Claims `key` for the request with `token`, for at most `lease`.
    ///
    /// # Errors
    /// If Redis could not be asked within the time limit, or was not tried; the claim may stand all the same.
    ///
    /// # Cancel safety
    /// Dropped half-way, the claim may stand until its lease ends.
    pub async fn claim(
        &self,
        key: &EventKey,
        token: ClaimToken,
        body: &BodyHash,
        lease: Duration,
    ) -> Result<Decision, ClaimsError> {
        let mut command = redis::cmd("SET");
        command.arg(self.key(key)).arg(Marker::pending_text(token, body));
        command.arg("NX").arg("GET").arg("PX").arg(millis(lease));
        let stored: Option<Vec<u8>> =
            self.call(async |connection: &mut Connection| command.query_async(connection).await).await?;
        let marker = stored.map(|text| Marker::parse(&String::from_utf8_lossy(&text)));
        Ok(decide(marker.as_ref(), token, body))
    }

    /// Marks `key` as durable for `window`. Only after the queue's confirm.
    ///
    /// # Errors
    /// If the marker could not be written; the event is durable all the same.
    pub async fn accept(&self, key: &EventKey, body: &BodyHash, window: Duration) -> Result<(), ClaimsError> {
        let mut command = redis::cmd("SET");
        command.arg(self.key(key)).arg(Marker::committed_text(body)).arg("PX").arg(millis(window));
        self.call(async |connection: &mut Connection| command.query_async(connection).await).await
    }

    /// Gives the claim up, if it is still the one of `token`.
    ///
    /// # Errors
    /// If it could not be given up; it then ends with its lease.
    pub async fn release(&self, key: &EventKey, token: ClaimToken) -> Result<(), ClaimsError> {
        let mut invocation = self.shared.release.key(self.key(key));
        invocation.arg(format!("pending:{token}:"));
        self.call(async |connection: &mut Connection| invocation.invoke_async(connection).await).await
    }

    /// The state of Redis.
    #[must_use]
    pub fn health(&self) -> &HealthCell {
        &self.shared.health
    }

    /// Asks Redis, unless it rests, within the time limit.
    async fn call<T>(&self, ask: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>) -> Result<T, ClaimsError> {
        let Shared { breaker, timeout, lost, .. } = &*self.shared;
        let breaker = || breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if !breaker().admits(Instant::now()) || self.is_known_to_be_lost() {
            return Err(ClaimsError::Resting);
        }
        let asked = async {
            let mut connection = self.connection().await?;
            let answer = ask(&mut connection).await;
            if answer.as_ref().is_err_and(RedisError::is_unrecoverable_error) {
                lost.notify_one();
            }
            answer.map_err(ClaimsError::from)
        };
        let outcome = match tokio::time::timeout(*timeout, asked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ClaimsError::Timeout(*timeout)),
        };
        match &outcome {
            Ok(_) => breaker().succeeded(),
            Err(_) => breaker().failed(Instant::now()),
        }
        outcome
    }

    /// Says whether waiting for a connection is in vain; at the very start it is not.
    fn is_known_to_be_lost(&self) -> bool {
        self.shared.connections.borrow().is_none() && matches!(self.shared.health.get(), Health::Down(_))
    }

    /// The connection, waiting for the first one.
    async fn connection(&self) -> Result<Connection, ClaimsError> {
        let mut connections = self.shared.connections.clone();
        let found = connections.wait_for(Option::is_some).await.map_err(|_| ClaimsError::Resting)?;
        found.clone().ok_or(ClaimsError::Resting)
    }

    fn key(&self, key: &EventKey) -> String {
        format!("{}tg:{{{key}}}", self.shared.prefix)
    }
}

/// Redis takes no expiry of zero.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_never_shown() {
        let timeout = Duration::from_millis(150);
        let settings = RedisSettings::try_new("redis://user:hunter2@cache:6380/1", "tidegate", timeout).expect("valid");
        let shown = format!("{settings:?}");
        assert!(shown.contains("cache:6380") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(settings.prefix, "");
        for bad in ["", "http://cache", "hunter2"] {
            assert!(RedisSettings::try_new(bad, "tidegate", timeout).is_err(), "{bad}");
        }
        let other = RedisSettings::try_new("redis://cache", "staging", timeout).expect("valid");
        assert_eq!(other.prefix, "staging:");
    }
}
