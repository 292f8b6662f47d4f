//! The cache in the embedded store: one table, bounded in bytes.
//!
//! The store has one writer, and events wait for it too, so that keeping the table small must cost little. The put
//! that completes a MiB since the last sweep also sweeps: it removes some of what ended, and the oldest while the
//! whole is over its bound. What comes between two sweeps is all that the table can exceed the bound by. A row weighs
//! at least `WEIGHT_MIN`, so that no more rows than one sweep may remove can have come since the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{CacheKey, CacheUnavailable};
use crate::store::Store;

/// Weight of all values together, give or take what comes between two sweeps.
const WEIGHT_MAX: i64 = 64 << 20;
/// A value weighs its bytes, and at least this: a row and its places in three indexes cost something too.
const WEIGHT_MIN: i64 = 1 << 10;
/// Weight that is put between two sweeps.
const SWEEP_EVERY: i64 = 1 << 20;
/// Rows that one sweep removes for each of its two reasons at most: the writer is not held longer.
const SWEEP_ROWS: i64 = SWEEP_EVERY / WEIGHT_MIN;
/// Larger values are not kept: one of them would push out too many others, and hold the writer.
pub(super) const VALUE_BYTES_MAX: usize = 8 << 20;

/// The embedded adapter of [`super::Cache`].
#[derive(Debug, Clone)]
pub struct EmbeddedCache {
    store: Store,
    /// What was put since the last sweep.
    unswept: Arc<AtomicI64>,
}

impl EmbeddedCache {
    /// A cache in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        // The first put sweeps: a process that never lives long would otherwise never do so.
        Self { store, unswept: Arc::new(AtomicI64::new(SWEEP_EVERY)) }
    }

    pub(super) async fn get(&self, key: &CacheKey) -> Result<Option<Bytes>, CacheUnavailable> {
        let (key, now_ms) = (*key, now_ms());
        let value: Option<Vec<u8>> = self.store.read(move |connection| read(connection, &key, now_ms)).await?;
        Ok(value.map(Bytes::from))
    }

    pub(super) async fn put(&self, key: &CacheKey, value: Bytes, keep: Duration) -> Result<(), CacheUnavailable> {
        let (key, now_ms) = (*key, now_ms());
        let expires_at = now_ms.saturating_add(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
        let sweeps = self.is_sweep_due(weight(&value));
        let write = self.store.write(move |tx| {
            insert(tx, &key, &value, now_ms, expires_at)?;
            if sweeps {
                sweep(tx, now_ms, WEIGHT_MAX)?;
            }
            Ok(())
        });
        Ok(write.await?)
    }

    pub(super) async fn remove(&self, key: &CacheKey) -> Result<(), CacheUnavailable> {
        let key = *key;
        let write = self.store.write(move |tx| {
            tx.prepare_cached("DELETE FROM api_cache WHERE key = ?1")?.execute([key.as_bytes()]).map(drop)
        });
        Ok(write.await?)
    }

    /// Says whether the put of `weight` is the one that sweeps; one of many at once is.
    fn is_sweep_due(&self, weight: i64) -> bool {
        let unswept = self.unswept.fetch_add(weight, Ordering::Relaxed).saturating_add(weight);
        unswept >= SWEEP_EVERY && self.unswept.swap(0, Ordering::Relaxed) >= SWEEP_EVERY
    }
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

fn weight(value: &[u8]) -> i64 {
    i64::try_from(value.len()).unwrap_or(i64::MAX).max(WEIGHT_MIN)
}

fn read(connection: &Connection, key: &CacheKey, now_ms: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT value FROM api_cache WHERE key = ?1 AND expires_at > ?2")?
        .query_row(params![key.as_bytes(), now_ms], |row| row.get(0))
        .optional()
}

fn insert(tx: &Connection, key: &CacheKey, value: &[u8], now_ms: i64, expires_at: i64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO api_cache (key, value, weight, stored_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (key) DO UPDATE SET value = ?2, weight = ?3, stored_at = ?4, expires_at = ?5",
    )?
    .execute(params![key.as_bytes(), value, weight(value), now_ms, expires_at])
    .map(drop)
}

/// Removes some of what ended, then the oldest for as long as the rest weighs more than `weight_max`.
fn sweep(tx: &Connection, now_ms: i64, weight_max: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM api_cache WHERE id IN (SELECT id FROM api_cache WHERE expires_at <= ?1 LIMIT ?2)")?
        .execute([now_ms, SWEEP_ROWS])?;
    // Both read nothing but the index by age: no value is touched that stays.
    let total: i64 =
        tx.prepare_cached("SELECT COALESCE(SUM(weight), 0) FROM api_cache")?.query_row([], |row| row.get(0))?;
    let mut excess = total - weight_max;
    let mut oldest = tx.prepare_cached("SELECT id, weight FROM api_cache ORDER BY stored_at LIMIT ?1")?;
    let oldest: Vec<(i64, i64)> =
        oldest.query_map([SWEEP_ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut delete = tx.prepare_cached("DELETE FROM api_cache WHERE id = ?1")?;
    for (id, weight) in oldest {
        if excess <= 0 {
            break;
        }
        delete.execute([id])?;
        excess -= weight;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::{Cache, Cached};
    use super::*;
    use crate::event::ApiName;
    use crate::store::StoreError;

    const KEEP: Duration = Duration::from_secs(600);

    fn cache() -> (TempDir, Store, Cache) {
        let folder = TempDir::new().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let cache = Cache::Embedded(EmbeddedCache::new(store.clone()));
        (folder, store, cache)
    }

    fn key(path: &str) -> CacheKey {
        CacheKey::of(&ApiName::try_new("weather").expect("a name"), path)
    }

    fn hit(value: &'static str) -> Cached {
        Cached::Hit(Bytes::from_static(value.as_bytes()))
    }

    async fn number(store: &Store, sql: &'static str) -> i64 {
        store.read(move |connection| connection.query_row(sql, [], |row| row.get(0))).await.expect("a number")
    }

    /// Rows `0..count` of one `weight`, the first the oldest.
    async fn fill(store: &Store, count: i64, weight: i64, expires_at: i64) {
        let write = store.write(move |tx| {
            let mut insert = tx.prepare("INSERT INTO api_cache VALUES (?1, ?2, x'00', ?3, ?1, ?4)")?;
            (0..count).try_for_each(|n| insert.execute(params![n, n.to_be_bytes(), weight, expires_at]).map(drop))
        });
        write.await.expect("rows");
    }

    #[tokio::test]
    async fn a_value_is_kept_until_it_ends() {
        let (_folder, _store, cache) = cache();
        assert_eq!(cache.get(&key("/a")).await, Cached::Miss);
        cache.put(&key("/a"), Bytes::from_static(b"one"), KEEP).await;
        assert_eq!(cache.get(&key("/a")).await, hit("one"));
        assert_eq!(cache.get(&key("/b")).await, Cached::Miss);
        cache.put(&key("/a"), Bytes::from_static(b"two"), Duration::ZERO).await;
        assert_eq!(cache.get(&key("/a")).await, Cached::Miss, "it ended at once");
        cache.put(&key("/a"), Bytes::from_static(b"three"), Duration::MAX).await;
        assert_eq!(cache.get(&key("/a")).await, hit("three"));
    }

    #[tokio::test]
    async fn a_store_that_fails_is_unknown_and_a_removal_says_so() {
        let (_folder, store, cache) = cache();
        store.write(|tx| tx.execute_batch("DROP TABLE api_cache")).await.expect("dropped");
        assert_eq!(cache.get(&key("/a")).await, Cached::Unknown);
        cache.put(&key("/a"), Bytes::from_static(b"one"), KEEP).await;
        let removed = cache.remove(&key("/a")).await;
        assert!(matches!(removed, Err(CacheUnavailable::Store(StoreError::Refused(_)))), "{removed:?}");
    }

    #[tokio::test]
    async fn a_sweep_removes_what_ended_and_then_the_oldest_over_the_bound() {
        let (_folder, store, _) = cache();
        let check = async |weight_max: i64, left: i64, oldest: i64| {
            store.write(move |tx| sweep(tx, 1_000, weight_max)).await.expect("swept");
            assert_eq!(number(&store, "SELECT COUNT(*) FROM api_cache").await, left);
            assert_eq!(number(&store, "SELECT COALESCE(MIN(stored_at), -1) FROM api_cache").await, oldest);
        };
        fill(&store, 10, 100, 1_001).await;
        check(1_000, 10, 0).await;
        check(999, 9, 1).await;
        check(450, 4, 6).await;
        store.write(|tx| tx.execute("UPDATE api_cache SET expires_at = 1000 WHERE id = 8", [])).await.expect("ended");
        check(300, 3, 6).await;
        check(0, 0, -1).await;
        fill(&store, SWEEP_ROWS + 1, 1, 1_000).await;
        check(i64::MAX, 1, SWEEP_ROWS).await;
    }

    #[tokio::test]
    async fn the_whole_stays_within_its_bound() {
        let (_folder, store, cache) = cache();
        let value = Bytes::from(vec![b'x'; 4 << 20]);
        for n in 0..20 {
            cache.put(&key(&format!("/{n}")), value.clone(), KEEP).await;
        }
        assert_eq!(number(&store, "SELECT SUM(length(value)) FROM api_cache").await, WEIGHT_MAX);
        assert_eq!(cache.get(&key("/3")).await, Cached::Miss, "the oldest went");
        assert_eq!(cache.get(&key("/4")).await, Cached::Hit(value.clone()));
        assert_eq!(cache.get(&key("/19")).await, Cached::Hit(value));
    }

    #[tokio::test]
    async fn a_sweep_comes_with_the_first_put_and_then_with_every_mebibyte() {
        let (_folder, store, _) = cache();
        let cache = EmbeddedCache::new(store);
        assert!(cache.is_sweep_due(WEIGHT_MIN));
        let swept = (0..4 * SWEEP_ROWS).filter(|_| cache.is_sweep_due(weight(b"small"))).count();
        assert_eq!(swept, 4);
        assert!(cache.is_sweep_due(SWEEP_EVERY));
    }

    // Method: ask SQLite. A plan that reads the table reads every value's page, on the thread that commits events.
    #[tokio::test]
    async fn a_sweep_reads_nothing_but_indexes() {
        let (_folder, store, _) = cache();
        let plan = async |sql: &str| {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            let read = store.read(move |c| c.query_row(&sql, [], |row| row.get::<_, String>("detail")));
            read.await.expect("a plan")
        };
        for sql in
            ["SELECT COALESCE(SUM(weight), 0) FROM api_cache", "SELECT id, weight FROM api_cache ORDER BY stored_at"]
        {
            let plan = plan(sql).await;
            assert!(plan.contains("COVERING INDEX api_cache_by_age"), "{sql}: {plan}");
        }
    }
}
