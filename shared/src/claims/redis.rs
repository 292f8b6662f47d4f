//! Claims in Redis, where many ingest processes meet.
//!
//! A claim is one round trip: `SET key pending:… NX GET PX lease` answers what stood there before. An event is better
//! received unclaimed than late, and Redis may lose any key at any time; see [`super`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::Script;

use super::{BodyClaim, ClaimToken, ClaimsError, Decision, Marker, decide};
use crate::event::{BodyHash, BodyKey, EventKey};
use crate::health::HealthCell;
use crate::redis::{Connection, RedisServer, millis};
use crate::tasks::Tasks;

pub use crate::redis::{InvalidRedisUrl, RedisSettings};

/// Bytes of a key that its claim is found by, which is half of them: two events that shared those would be told apart by
/// their bodies, and Redis keeps a key of this length in its smallest piece of memory.
const KEY_BYTES: usize = 16;

/// What the arguments of a command take, so that they are moved nowhere while they are gathered.
const COMMAND_BYTES: usize = 256;

/// Deletes the key if its value begins as given: only the claim of one token, never what came after it.
const RELEASE: &str = "\
local value = redis.call('GET', KEYS[1])
if value and string.sub(value, 1, #ARGV[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0";

/// The Redis adapter of [`super::Claims`]; clones share one connection.
#[derive(Clone)]
pub struct RedisClaims {
    server: RedisServer,
    release: Arc<Script>,
}

impl fmt::Debug for RedisClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisClaims").field("server", &self.server).finish_non_exhaustive()
    }
}

impl RedisClaims {
    /// Starts connecting, and returns at once.
    #[must_use]
    pub fn start(settings: &RedisSettings, tasks: &Tasks) -> Self {
        Self::on(RedisServer::start(settings, tasks))
    }

    /// Claims on a connection that others share.
    #[must_use]
    pub fn on(server: RedisServer) -> Self {
        Self { server, release: Arc::new(Script::new(RELEASE)) }
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
        let mut command = redis::Cmd::with_capacity(7, COMMAND_BYTES);
        command.arg("SET").arg(self.key(key)).arg(Marker::pending_text(token, body));
        command.arg("NX").arg("GET").arg("PX").arg(millis(lease));
        let stored: Option<Vec<u8>> = self.server.command(command).await?;
        let marker = stored.as_deref().map(Marker::parse);
        Ok(decide(marker.as_ref(), token, body))
    }

    /// Marks `key` as durable for `window`. Only after the queue's confirm.
    ///
    /// # Errors
    /// If the marker could not be written; the event is durable all the same.
    pub async fn accept(&self, key: &EventKey, body: &BodyHash, window: Duration) -> Result<(), ClaimsError> {
        let mut command = redis::Cmd::with_capacity(5, COMMAND_BYTES);
        command.arg("SET").arg(self.key(key)).arg(Marker::committed_bytes(body)).arg("PX").arg(millis(window));
        Ok(self.server.command(command).await?)
    }

    /// Gives the claim up, if it is still the one of `token`.
    ///
    /// # Errors
    /// If it could not be given up; it then ends with its lease.
    pub async fn release(&self, key: &EventKey, token: ClaimToken) -> Result<(), ClaimsError> {
        let mut invocation = self.release.key(self.key(key));
        invocation.arg(format!("pending:{token}:"));
        Ok(self.server.call(async |connection: &mut Connection| invocation.invoke_async(connection).await).await?)
    }

    pub(super) async fn first_id(&self, body: &BodyKey) -> Result<Option<String>, ClaimsError> {
        let mut command = redis::Cmd::with_capacity(2, COMMAND_BYTES);
        command.arg("GET").arg(self.body_key(body));
        Ok(text(self.server.command(command).await?))
    }

    /// One round trip, as a claim is; nil says that this event is the first.
    pub(super) async fn keep_body(&self, claim: &BodyClaim, window: Duration) -> Result<Option<String>, ClaimsError> {
        let mut command = redis::Cmd::with_capacity(7, COMMAND_BYTES);
        command.arg("SET").arg(self.body_key(&claim.body)).arg(claim.id.as_str());
        command.arg("NX").arg("GET").arg("PX").arg(millis(window));
        Ok(text(self.server.command(command).await?))
    }

    /// The state of Redis.
    #[must_use]
    pub fn health(&self) -> &HealthCell {
        self.server.health()
    }

    fn key(&self, key: &EventKey) -> String {
        self.key_of("tg:{", key.as_bytes())
    }

    fn body_key(&self, body: &BodyKey) -> String {
        self.key_of("tg:body:{", body.as_bytes())
    }

    /// In braces stands what decides on the node of a cluster.
    fn key_of(&self, kind: &str, hash: &[u8]) -> String {
        let prefix = self.server.prefix();
        let mut key = String::with_capacity(prefix.len() + kind.len() + 2 * KEY_BYTES);
        key.push_str(prefix);
        key.push_str(kind);
        URL_SAFE_NO_PAD.encode_string(&hash[..KEY_BYTES], &mut key);
        key.push('}');
        key
    }
}

/// What is no text was not written by us, and tells nothing.
fn text(stored: Option<Vec<u8>>) -> Option<String> {
    stored.and_then(|bytes| String::from_utf8(bytes).ok())
}
