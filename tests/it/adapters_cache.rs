//! One suite for both adapters of the cache, then what only Redis can show.

use std::time::{Duration, Instant};

use ::redis::AsyncCommands;
use bytes::Bytes;
use tempfile::TempDir;
use tidegate_shared::cache::embedded::EmbeddedCache;
use tidegate_shared::cache::redis::RedisCache;
use tidegate_shared::cache::{Cache, CacheKey, CacheUnavailable, Cached};
use tidegate_shared::event::ApiName;
use tidegate_shared::redis::{RedisServer, RedisSettings};
use tidegate_shared::store::Store;
use tidegate_shared::tasks::Tasks;
use tidegate_tests::eventually::eventually;
use tidegate_tests::servers::Redis;

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// Far longer than any check takes.
const KEEP: Duration = Duration::from_secs(600);
/// What a call to Redis may take; generous where no check is about it, for machines that are busy.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const MIB: usize = 1 << 20;

/// Makes one test of each claim for each adapter.
macro_rules! on_both {
    ($($claim:ident),* $(,)?) => {
        mod embedded { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() -> anyhow::Result<()> {
                let folder = tempfile::TempDir::new()?;
                super::$claim(&super::embedded_cache(&folder)?).await
            }
        )* }
        mod redis { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() -> anyhow::Result<()> {
                let server = tidegate_tests::servers::Redis::shared_or_own().await?;
                let bench = super::Bench::on(server.url(), super::CALL_TIMEOUT)?;
                super::$claim(&bench.cache).await?;
                bench.finish().await
            }
        )* }
    };
}

on_both! {
    a_value_is_found_under_its_key,
    a_value_ends_by_itself,
    a_removed_value_is_gone,
    a_value_that_is_too_large_is_not_kept_nor_what_it_would_replace,
}

fn embedded_cache(folder: &TempDir) -> anyhow::Result<Cache> {
    Ok(Cache::Embedded(EmbeddedCache::new(Store::open(folder.path())?)))
}

/// A cache under a namespace of its own on a server.
struct Bench {
    namespace: String,
    cache: Cache,
    tasks: Tasks,
}

impl Bench {
    fn on(url: &str, timeout: Duration) -> anyhow::Result<Self> {
        let namespace = format!("t{}", uuid::Uuid::now_v7().simple());
        let tasks = Tasks::new();
        let server = RedisServer::start(&RedisSettings::try_new([url], &namespace, timeout)?, &tasks);
        Ok(Self { namespace, cache: Cache::Redis(RedisCache::new(server)), tasks })
    }

    async fn finish(self) -> anyhow::Result<()> {
        self.tasks.shutdown().cancel();
        anyhow::ensure!(self.tasks.finish(PATIENCE).await == 0, "every task ends");
        Ok(())
    }
}

fn key(path: &str) -> CacheKey {
    CacheKey::of(&ApiName::try_new("weather").expect("a valid name"), path)
}

fn hit(value: &'static [u8]) -> Cached {
    Cached::Hit(Bytes::from_static(value))
}

fn large(bytes: usize) -> Bytes {
    Bytes::from(vec![b'x'; bytes])
}

async fn a_value_is_found_under_its_key(cache: &Cache) -> anyhow::Result<()> {
    assert_eq!(cache.get(&key("/a")).await, Cached::Miss);
    cache.put(&key("/a"), Bytes::from_static(b"\0one\xff\r\n"), KEEP).await;
    cache.put(&key("/empty"), Bytes::new(), Duration::MAX).await;
    assert_eq!(cache.get(&key("/a")).await, hit(b"\0one\xff\r\n"));
    assert_eq!(cache.get(&key("/empty")).await, hit(b""));
    assert_eq!(cache.get(&key("/b")).await, Cached::Miss);
    cache.put(&key("/a"), Bytes::from_static(b"two"), KEEP).await;
    assert_eq!(cache.get(&key("/a")).await, hit(b"two"), "the last one counts");
    Ok(())
}

async fn a_value_ends_by_itself(cache: &Cache) -> anyhow::Result<()> {
    cache.put(&key("/stays"), Bytes::from_static(b"one"), KEEP).await;
    cache.put(&key("/goes"), Bytes::from_static(b"one"), KEEP).await;
    cache.put(&key("/goes"), Bytes::from_static(b"two"), Duration::from_millis(50)).await;
    eventually("the end of the value", PATIENCE, async || match cache.get(&key("/goes")).await {
        Cached::Miss => Ok(()),
        other @ (Cached::Hit(_) | Cached::Unknown) => Err(format!("{other:?}")),
    })
    .await?;
    cache.put(&key("/goes"), Bytes::from_static(b"three"), KEEP).await;
    cache.put(&key("/goes"), Bytes::from_static(b"four"), Duration::ZERO).await;
    eventually("the end of a value that had no time", PATIENCE, async || match cache.get(&key("/goes")).await {
        Cached::Miss => Ok(()),
        other @ (Cached::Hit(_) | Cached::Unknown) => Err(format!("{other:?}")),
    })
    .await?;
    assert_eq!(cache.get(&key("/stays")).await, hit(b"one"));
    Ok(())
}

async fn a_removed_value_is_gone(cache: &Cache) -> anyhow::Result<()> {
    cache.put(&key("/a"), Bytes::from_static(b"one"), KEEP).await;
    cache.put(&key("/b"), Bytes::from_static(b"one"), KEEP).await;
    cache.remove(&key("/a")).await?;
    cache.remove(&key("/never there")).await?;
    assert_eq!(cache.get(&key("/a")).await, Cached::Miss);
    assert_eq!(cache.get(&key("/b")).await, hit(b"one"));
    Ok(())
}

async fn a_value_that_is_too_large_is_not_kept_nor_what_it_would_replace(cache: &Cache) -> anyhow::Result<()> {
    cache.put(&key("/a"), large(MIB), KEEP).await;
    assert_eq!(cache.get(&key("/a")).await, Cached::Hit(large(MIB)));
    cache.put(&key("/a"), large(8 * MIB + 1), KEEP).await;
    assert_eq!(cache.get(&key("/a")).await, Cached::Miss);
    Ok(())
}

#[tokio::test]
async fn redis_is_spared_values_over_a_mebibyte() -> anyhow::Result<()> {
    let server = Redis::shared_or_own().await?;
    let bench = Bench::on(server.url(), CALL_TIMEOUT)?;
    bench.cache.put(&key("/a"), large(MIB + 1), KEEP).await;
    assert_eq!(bench.cache.get(&key("/a")).await, Cached::Miss);
    bench.finish().await
}

// Other versions of Tidegate meet at these keys.
#[tokio::test]
async fn redis_has_each_value_under_the_namespace_with_an_end() -> anyhow::Result<()> {
    let server = Redis::shared_or_own().await?;
    let bench = Bench::on(server.url(), CALL_TIMEOUT)?;
    bench.cache.put(&key("/a"), Bytes::from_static(b"one"), KEEP).await;
    let mut connection = ::redis::Client::open(server.url())?.get_multiplexed_async_connection().await?;
    let name = format!("{}:tg:cache:{}", bench.namespace, key("/a"));
    assert_eq!(connection.get::<_, Vec<u8>>(&name).await?, b"one");
    let ends_in_ms: i64 = connection.pttl(&name).await?;
    assert!((500_000..=600_000).contains(&ends_in_ms), "{ends_in_ms}");
    bench.finish().await
}

#[tokio::test]
async fn a_redis_that_is_away_is_unknown_in_time_and_a_removal_says_so() -> anyhow::Result<()> {
    const TIMEOUT: Duration = Duration::from_millis(150);
    let server = Redis::own().await?;
    let bench = Bench::on(server.url(), TIMEOUT)?;
    let cache = &bench.cache;
    let answers = |what: &'static str| {
        eventually(what, PATIENCE, async || match cache.get(&key("/a")).await {
            Cached::Unknown => Err("unknown".to_owned()),
            found @ (Cached::Hit(_) | Cached::Miss) => Ok(found),
        })
    };
    answers("the first answer").await?;
    cache.put(&key("/a"), Bytes::from_static(b"one"), KEEP).await;
    assert_eq!(answers("an answer").await?, hit(b"one"));

    // Silent: nothing is closed, nothing answers.
    server.pause().await?;
    for _ in 0..10 {
        let started = Instant::now();
        assert_eq!(cache.get(&key("/a")).await, Cached::Unknown);
        assert!(started.elapsed() < TIMEOUT + Duration::from_millis(100), "{:?}", started.elapsed());
    }
    let removed = cache.remove(&key("/a")).await;
    assert!(matches!(removed, Err(CacheUnavailable::Redis(_))), "{removed:?}");
    cache.put(&key("/a"), Bytes::from_static(b"two"), KEEP).await;
    server.resume().await?;
    // Which one is open: a call without an answer may have been done.
    answers("an answer after the silence").await?;

    // Gone, with all that it had.
    server.kill().await?;
    eventually("the loss", PATIENCE, async || match cache.get(&key("/a")).await {
        Cached::Unknown => Ok(()),
        found @ (Cached::Hit(_) | Cached::Miss) => Err(format!("{found:?}")),
    })
    .await?;
    server.start().await?;
    assert_eq!(answers("an answer after the start").await?, Cached::Miss);
    bench.finish().await
}
