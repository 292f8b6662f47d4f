use std::sync::mpsc as std_mpsc;

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::Timestamp;
use tempfile::TempDir;
use tidegate_shared::cache::embedded::EmbeddedCache;
use tidegate_shared::store::Store;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two processes that share one store, as workers share Redis; their memories are their own.
struct Bench {
    _folder: TempDir,
    store: Store,
    ours: ResponseCache,
    theirs: ResponseCache,
}

fn config(bytes_max: usize) -> ApiCacheConfig {
    ApiCacheConfig {
        ttl: Some(60 * SECOND),
        paths: Vec::new(),
        stale_while_revalidate: 10 * SECOND,
        stale_if_error: 30 * SECOND,
        bytes_max,
    }
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let shared = Cache::Embedded(EmbeddedCache::new(store.clone()));
        let process =
            || ResponseCache { trusted_for: Some(TRUSTED_FOR), ..cache_of("weather", 1 << 20, shared.clone()) };
        Self { ours: process(), theirs: process(), _folder: folder, store }
    }

    async fn batch(&self, sql: &'static str) {
        self.store.write(move |tx| tx.execute_batch(sql)).await.expect("written");
    }
}

fn cache_of(api: &str, bytes_max: usize, shared: Cache) -> ResponseCache {
    ResponseCache::new(ApiName::try_new(api).expect("a name"), &config(bytes_max), String::new(), shared)
}

fn entry(body: &'static str) -> Entry {
    Entry {
        body: Bytes::from_static(body.as_bytes()),
        content_type: Some("text/plain".to_owned()),
        etag: None,
        last_modified: None,
        stored_at: Timestamp::from_second(1_800_000_000).expect("a moment"),
        ttl: 60 * SECOND,
    }
}

async fn store(cache: &ResponseCache, path: &str, body: &'static str) {
    cache.store(path, &entry(body), cache.generation()).await;
}

async fn body_at(cache: &ResponseCache, path: &str, now: Instant) -> Option<Bytes> {
    cache.lookup_at(path, now).await.map(|entry| entry.body)
}

/// Holds the store's writer until the sender is dropped; what is written meanwhile waits.
async fn hold_writer(store: &Store) -> (std_mpsc::Sender<()>, impl Future<Output = ()>) {
    let (let_go, wait) = std_mpsc::channel::<()>();
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    let mut held = Box::pin({
        let store = store.clone();
        async move {
            let write = store.write(move |_| {
                drop(begin);
                wait.recv_timeout(PATIENCE).expect_err("nothing is sent");
                Ok(())
            });
            write.await.expect("written");
        }
    });
    assert!((&mut held).now_or_never().is_none());
    begun.await.expect_err("the writer drops its end when it begins");
    (let_go, held)
}

/// Holds every reading connection of the store until it is dropped; who reads meanwhile waits.
fn hold_readers(store: &Store) -> impl Sized {
    // More than there are: the rest stand in the queue before whoever comes next.
    let hold = |_| {
        let (let_go, wait) = std_mpsc::channel::<()>();
        let store = store.clone();
        let mut held = Box::pin(async move {
            let read = store.read(move |_| {
                wait.recv_timeout(PATIENCE).expect_err("nothing is sent");
                Ok(())
            });
            read.await
        });
        assert!((&mut held).now_or_never().is_none());
        (let_go, held)
    };
    (0..16).map(hold).collect::<Vec<_>>()
}

#[tokio::test]
async fn an_answer_is_found_under_its_own_api_and_path() {
    let bench = Bench::new();
    store(&bench.ours, "/a?q=1", "one").await;
    assert_eq!(bench.ours.lookup("/a?q=1").await, Some(entry("one")));
    assert_eq!(bench.theirs.lookup("/a?q=1").await, Some(entry("one")), "another process finds it");
    assert_eq!(bench.ours.lookup("/a?q=2").await, None);
    let rates = cache_of("rates", 1 << 20, bench.ours.shared.clone());
    assert_eq!(rates.lookup("/a?q=1").await, None, "another API does not");
}

#[tokio::test]
async fn an_answer_in_memory_needs_no_asking_for_a_while() {
    let bench = Bench::new();
    let now = Instant::now();
    store(&bench.ours, "/a", "one").await;
    store(&bench.theirs, "/a", "two").await;
    assert_eq!(body_at(&bench.ours, "/a", now).await.as_deref(), Some(&b"one"[..]));
    let later = now + TRUSTED_FOR + SECOND;
    assert_eq!(body_at(&bench.ours, "/a", later).await.as_deref(), Some(&b"two"[..]), "the newer one took its place");
    bench.batch("DELETE FROM api_cache").await;
    let trusted = body_at(&bench.ours, "/a", later + TRUSTED_FOR - SECOND).await;
    assert_eq!(trusted.as_deref(), Some(&b"two"[..]), "it is believed anew");
}

#[tokio::test]
async fn an_invalidation_elsewhere_is_seen_once_the_trust_is_over() {
    let bench = Bench::new();
    let now = Instant::now();
    store(&bench.ours, "/a", "one").await;
    bench.theirs.invalidate("/a").await.expect("removed");
    assert!(body_at(&bench.ours, "/a", now).await.is_some(), "we cannot know yet");
    assert_eq!(body_at(&bench.ours, "/a", now + TRUSTED_FOR + SECOND).await, None);
    assert_eq!(body_at(&bench.ours, "/a", now).await, None, "it is dropped, not hidden");
}

#[tokio::test]
async fn an_answer_in_memory_outlives_a_cache_that_cannot_be_asked() {
    let bench = Bench::new();
    let now = Instant::now();
    store(&bench.ours, "/a", "one").await;
    bench.batch("ALTER TABLE api_cache RENAME TO away").await;
    let later = now + TRUSTED_FOR + SECOND;
    assert!(body_at(&bench.ours, "/a", later).await.is_some());
    assert_eq!(body_at(&bench.ours, "/b", later).await, None);
    bench.ours.invalidate("/a").await.expect_err("an invalidation that did not happen is told");
    assert_eq!(body_at(&bench.ours, "/a", later).await, None, "yet this process forgot it");
}

#[tokio::test]
async fn one_lookup_asks_while_others_go_on() {
    let bench = Bench::new();
    let now = Instant::now();
    store(&bench.ours, "/a", "one").await;
    bench.batch("DELETE FROM api_cache").await;
    let due = now + TRUSTED_FOR + SECOND;
    let held = hold_readers(&bench.store);
    let mut asking = Box::pin(bench.ours.lookup_at("/a", due));
    assert!((&mut asking).now_or_never().is_none(), "the first one asks");
    let other = bench.ours.lookup_at("/a", due).now_or_never();
    assert_eq!(other, Some(Some(entry("one"))), "the second one does not");
    drop((asking, held));
    assert_eq!(body_at(&bench.ours, "/a", due + ASK_ANEW_AFTER).await, None, "a lookup that is gone is made up for");
}

#[tokio::test]
async fn alone_with_its_store_a_cache_believes_its_memory_for_ever() {
    let bench = Bench::new();
    let alone = cache_of("weather", 1 << 20, bench.ours.shared.clone());
    store(&alone, "/a", "one").await;
    bench.batch("DELETE FROM api_cache").await;
    assert!(body_at(&alone, "/a", Instant::now() + 100 * TRUSTED_FOR).await.is_some());
}

#[tokio::test]
async fn an_answer_fetched_before_an_invalidation_is_not_kept() {
    let bench = Bench::new();
    let fetching = bench.ours.generation();
    bench.ours.invalidate("/a").await.expect("removed");
    bench.ours.store("/a", &entry("old"), fetching).await;
    assert_eq!(bench.ours.lookup("/a").await, None);
    assert_eq!(bench.theirs.lookup("/a").await, None);
    store(&bench.ours, "/a", "new").await;
    bench.ours.store("/a", &entry("old"), fetching).await;
    assert_eq!(bench.ours.lookup("/a").await, Some(entry("new")));
    assert_eq!(bench.theirs.lookup("/a").await, Some(entry("new")));
}

#[tokio::test]
async fn an_invalidation_that_is_dropped_half_way_has_emptied_this_memory() {
    let bench = Bench::new();
    store(&bench.ours, "/a", "one").await;
    let (let_go, held) = hold_writer(&bench.store).await;
    assert!(bench.ours.invalidate("/a").now_or_never().is_none());
    assert!(bench.ours.memory.get(&CacheKey::of(&bench.ours.api, "/a")).is_none());
    drop(let_go);
    held.await;
}

// The invalidation comes between the look at the generation and the put.
#[tokio::test]
async fn an_invalidation_that_overtakes_a_put_is_made_up_for() {
    let bench = Bench::new();
    let fetching = bench.ours.generation();
    bench.ours.invalidate("/a").await.expect("removed");
    bench.ours.write("/a", &entry("old"), fetching).await;
    assert_eq!(bench.ours.lookup("/a").await, None);
    assert_eq!(bench.theirs.lookup("/a").await, None);
}

// Method: the lookup is held before it reads, and the invalidation before it removes.
#[tokio::test]
async fn a_lookup_that_an_invalidation_overtakes_keeps_nothing() {
    let bench = Bench::new();
    store(&bench.theirs, "/a", "old").await;
    let (let_go, held) = hold_writer(&bench.store).await;
    let held_readers = hold_readers(&bench.store);
    let mut lookup = Box::pin(bench.ours.lookup("/a"));
    assert!((&mut lookup).now_or_never().is_none());
    let mut invalidation = Box::pin(bench.ours.invalidate("/a"));
    assert!((&mut invalidation).now_or_never().is_none());
    drop(held_readers);
    lookup.await.expect("it was there when it was asked");
    assert!(bench.ours.memory.get(&CacheKey::of(&bench.ours.api, "/a")).is_none());
    drop(let_go);
    held.await;
    invalidation.await.expect("removed");
    assert_eq!(bench.ours.lookup("/a").await, None);
}

// Method: the lookup begins when the generation is the new one, and the shared answer still there.
#[tokio::test]
async fn a_lookup_during_an_invalidation_leaves_nothing_behind() {
    let bench = Bench::new();
    store(&bench.theirs, "/a", "old").await;
    let (let_go, held) = hold_writer(&bench.store).await;
    let mut invalidation = Box::pin(bench.ours.invalidate("/a"));
    assert!((&mut invalidation).now_or_never().is_none());
    bench.ours.lookup("/a").await.expect("it is still there");
    drop(let_go);
    held.await;
    invalidation.await.expect("removed");
    assert_eq!(bench.ours.lookup("/a").await, None);
}

// Method: the second half of a lookup that saw nothing in memory, and was slow.
#[tokio::test]
async fn a_lookup_does_not_put_back_what_was_replaced_meanwhile() {
    let bench = Bench::new();
    let old = bench.ours.hold(&entry("old"), Instant::now());
    store(&bench.ours, "/a", "new").await;
    let key = CacheKey::of(&bench.ours.api, "/a");
    bench.ours.replace(key, None, Some(old), bench.ours.generation());
    assert_eq!(bench.ours.lookup("/a").await, Some(entry("new")));
    bench.ours.replace(key, None, None, bench.ours.generation());
    assert_eq!(bench.ours.lookup("/a").await, Some(entry("new")));
}

#[tokio::test]
async fn memory_is_bounded_in_bytes_and_the_rest_is_found_behind_it() {
    let bench = Bench::new();
    let small = cache_of("weather", 64 << 10, bench.ours.shared.clone());
    let body = Bytes::from(vec![b'x'; 1 << 10]);
    for n in 0..200 {
        let entry = Entry { body: body.clone(), ..entry("") };
        small.store(&format!("/{n}"), &entry, small.generation()).await;
    }
    small.memory.run_pending_tasks();
    let (count, bytes) = (small.memory.entry_count(), small.memory.weighted_size());
    assert!(bytes <= 64 << 10 && (20..=64).contains(&count), "{count} entries of {bytes} bytes");
    for n in 0..200 {
        assert!(small.lookup(&format!("/{n}")).await.is_some(), "/{n}");
    }
}

#[tokio::test]
async fn an_answer_is_shared_for_as_long_as_it_can_be_used() {
    let bench = Bench::new();
    store(&bench.ours, "/a", "one").await;
    let sql = "SELECT expires_at - stored_at FROM api_cache";
    let kept = bench.store.read(|connection| connection.query_row(sql, [], |row| row.get::<_, i64>(0)));
    assert_eq!(kept.await.expect("a row"), 90_000, "60 s fresh, then 30 s if fetching fails");
}
