//! The cache in Redis, where many workers meet.
//!
//! Redis ends each value by itself (`PX`), and what it does when its memory is full is its operator's `maxmemory-policy`.

use std::time::Duration;

use bytes::Bytes;

use super::{CacheKey, CacheUnavailable};
use crate::health::HealthCell;
use crate::redis::{Connection, RedisServer, millis};

/// Larger values are not kept: one of them would hold up every command behind it on the one connection.
pub(super) const VALUE_BYTES_MAX: usize = 1 << 20;

/// The Redis adapter of [`super::Cache`].
#[derive(Debug, Clone)]
pub struct RedisCache {
    server: RedisServer,
}

impl RedisCache {
    /// A cache on `server`.
    #[must_use]
    pub fn new(server: RedisServer) -> Self {
        Self { server }
    }

    pub(super) fn health(&self) -> &HealthCell {
        self.server.health()
    }

    pub(super) async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheUnavailable> {
        let mut command = redis::cmd("GET");
        command.arg(self.key(key));
        let value: Option<Vec<u8>> =
            self.server.call(async |connection: &mut Connection| command.query_async(connection).await).await?;
        Ok(value.map(Bytes::from))
    }

    pub(super) async fn put(&self, key: &CacheKey, value: &[u8], keep: Duration) -> Result<(), CacheUnavailable> {
        let mut command = redis::cmd("SET");
        command.arg(self.key(key)).arg(value).arg("PX").arg(millis(keep));
        Ok(self.server.call(async |connection: &mut Connection| command.query_async(connection).await).await?)
    }

    pub(super) async fn remove(&self, key: &CacheKey) -> Result<(), CacheUnavailable> {
        let mut command = redis::cmd("DEL");
        command.arg(self.key(key));
        Ok(self.server.call(async |connection: &mut Connection| command.query_async(connection).await).await?)
    }

    fn key(&self, key: &CacheKey) -> String {
        format!("{}tg:cache:{key}", self.server.prefix())
    }
}
