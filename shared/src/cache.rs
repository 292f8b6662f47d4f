//! The cache: what external APIs answered, where every process of one installation finds it.
//!
//! It saves calls and is never needed: it may lose any key at any time, and its failure is nobody's failure. So reading
//! and writing return no error, they count it; and reading tells "nothing is there" from "nobody knows", because only
//! the first says that somebody may have removed it. Removing does return its error: an invalidation that did not
//! happen must be told.
//!
//! Two adapters: [`redis`], where many workers meet, and [`embedded`], where there is one.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::event::ApiName;
use crate::health::HealthCell;
use crate::redis::CallError;
use crate::store::StoreError;
use crate::telemetry::chain;

pub mod embedded;
pub mod redis;

/// Under what an answer is kept: SHA-256 of the API's name and the path with its query.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// The key of what `api` answers at `path_and_query`.
    #[must_use]
    pub fn of(api: &ApiName, path_and_query: &str) -> Self {
        // No name of an API holds the character between the two.
        let hasher = Sha256::new().chain_update(api.as_str()).chain_update(b"|").chain_update(path_and_query);
        Self(hasher.finalize().into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a cache knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cached {
    /// It has this value.
    Hit(Bytes),
    /// It has none: never had one, or it ended, or was pushed out, or was removed.
    Miss,
    /// It could not be asked.
    Unknown,
}

/// The cache could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum CacheUnavailable {
    /// By the embedded store.
    #[error("the embedded store could not be asked for the cache")]
    Store(#[from] StoreError),
    /// By Redis.
    #[error("Redis could not be asked for the cache")]
    Redis(#[from] CallError),
}

/// The port, with its two adapters.
#[derive(Debug, Clone)]
pub enum Cache {
    /// In the embedded store.
    Embedded(embedded::EmbeddedCache),
    /// In Redis.
    Redis(redis::RedisCache),
}

impl Cache {
    /// The value under `key`.
    pub async fn get(&self, key: &CacheKey) -> Cached {
        let found = match self {
            Self::Embedded(cache) => cache.get(key).await,
            Self::Redis(cache) => cache.get(key).await,
        };
        match found {
            Ok(Some(value)) => Cached::Hit(value),
            Ok(None) => Cached::Miss,
            Err(error) => {
                count("get", key, &error);
                Cached::Unknown
            }
        }
    }

    /// Keeps `value` under `key` for at most `keep`. One that is too large is not kept, and what it would have replaced
    /// is removed.
    pub async fn put(&self, key: &CacheKey, value: Bytes, keep: Duration) {
        let (bytes, bytes_max) = (value.len(), self.value_bytes_max());
        let put = if bytes > bytes_max {
            tracing::debug!(?key, bytes, bytes_max, "too large for the cache");
            self.try_remove(key).await
        } else {
            match self {
                Self::Embedded(cache) => cache.put(key, value, keep).await,
                Self::Redis(cache) => cache.put(key, &value, keep).await,
            }
        };
        if let Err(error) = put {
            count("put", key, &error);
        }
    }

    /// Removes what is under `key`.
    ///
    /// # Errors
    /// If it may still be there.
    pub async fn remove(&self, key: &CacheKey) -> Result<(), CacheUnavailable> {
        self.try_remove(key).await.inspect_err(|error| count("remove", key, error))
    }

    /// The state of its server; the embedded store tells its own.
    #[must_use]
    pub fn health(&self) -> Option<&HealthCell> {
        match self {
            Self::Embedded(_) => None,
            Self::Redis(cache) => Some(cache.health()),
        }
    }

    /// Says whether other processes read, write and remove here, too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Redis(_) => true,
        }
    }

    fn value_bytes_max(&self) -> usize {
        match self {
            Self::Embedded(_) => embedded::VALUE_BYTES_MAX,
            Self::Redis(_) => redis::VALUE_BYTES_MAX,
        }
    }

    async fn try_remove(&self, key: &CacheKey) -> Result<(), CacheUnavailable> {
        match self {
            Self::Embedded(cache) => cache.remove(key).await,
            Self::Redis(cache) => cache.remove(key).await,
        }
    }
}

fn count(op: &'static str, key: &CacheKey, error: &CacheUnavailable) {
    metrics::counter!("tidegate_cache_errors_total", "op" => op).increment(1);
    tracing::debug!(op, ?key, error = %chain(error), "the cache could not be asked");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_its_api_and_its_whole_path() {
        let key = |api: &str, path: &str| CacheKey::of(&ApiName::try_new(api).expect("a name"), path).to_string();
        assert_eq!(key("weather", "/a?q=1"), hex::encode(Sha256::digest(b"weather|/a?q=1")));
        let keys = [key("weather", "/a"), key("weather", "/a?q=1"), key("rates", "/a"), key("weather", "/a/")];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
