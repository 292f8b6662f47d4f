//! The answers of one API that are kept: in this process's memory, before those that every process shares.
//!
//! What an answer may still be used for is [`Entry::freshness`]'s to say, not this module's: a lookup also finds what
//! is stale, because a failing API or a conditional request has a use for it.
//!
//! An answer that was fetched before an invalidation is old even if it arrives after it. So whoever fetches takes the
//! [`Generation`] first and gives it back with the answer, and an invalidation begins a new one. That holds within
//! this process; another one's fetch that is under way can still bring the old answer back, until its time is over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::ops::compute::Op;
use moka::sync::Cache as Memory;
use tidegate_shared::cache::{Cache, CacheKey, CacheUnavailable, Cached};
use tidegate_shared::config::ApiCacheConfig;
use tidegate_shared::event::ApiName;

use self::entry::Entry;

pub(crate) mod entry;

/// How long an answer in memory is believed where other processes can invalidate it: they cannot empty our memory,
/// so that this is how late an invalidation is seen. Shorter would ask Redis more often for each popular answer.
const TRUSTED_FOR: Duration = Duration::from_secs(5);
/// While one lookup asks whether an answer still stands, others go on with it; if that one is dropped half-way, the
/// next asks after so long. Longer than Redis may take to answer.
const ASK_ANEW_AFTER: Duration = Duration::from_secs(1);
/// What an entry in memory takes besides its body and texts: key, times, counters and pointers.
const ENTRY_BYTES: usize = 256;

/// Which invalidations an answer has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u64);

/// The answers of one API that are kept.
#[derive(Debug)]
pub(crate) struct ResponseCache {
    api: ApiName,
    scope: String,
    memory: Memory<CacheKey, Arc<Held>>,
    shared: Cache,
    /// `None` where nobody else can invalidate.
    trusted_for: Option<Duration>,
    stale_max: Duration,
    generation: AtomicU64,
}

/// An answer in memory.
#[derive(Debug)]
struct Held {
    entry: Entry,
    /// When to ask whether it still stands.
    ask_at: Mutex<Instant>,
}

impl ResponseCache {
    /// Keeps answers of `api` as `config` says, behind its own memory in `shared`.
    /// `scope` tells apart what was asked elsewhere, or as somebody else, under the same name.
    pub(crate) fn new(api: ApiName, config: &ApiCacheConfig, scope: String, shared: Cache) -> Self {
        let memory = Memory::builder()
            .max_capacity(u64::try_from(config.bytes_max).unwrap_or(u64::MAX))
            .weigher(|_, held: &Arc<Held>| u32::try_from(ENTRY_BYTES + held.entry.bytes()).unwrap_or(u32::MAX))
            .build();
        Self {
            api,
            scope,
            memory,
            trusted_for: shared.is_shared().then_some(TRUSTED_FOR),
            shared,
            stale_max: config.stale_while_revalidate.max(config.stale_if_error),
            generation: AtomicU64::new(0),
        }
    }

    fn key(&self, path: &str) -> CacheKey {
        CacheKey::of(&self.api, &format!("{}{path}", self.scope))
    }

    /// What is kept for the path with its query, however old.
    ///
    /// # Cancel safety
    /// Can be dropped at any time.
    pub(crate) async fn lookup(&self, path: &str) -> Option<Entry> {
        self.lookup_at(path, Instant::now()).await
    }

    async fn lookup_at(&self, path: &str, now: Instant) -> Option<Entry> {
        let key = self.key(path);
        let held = self.memory.get(&key);
        if let Some(held) = &held
            && self.is_trusted(held, now)
        {
            return Some(held.entry.clone());
        }
        let generation = self.generation();
        let found = match self.shared.get(&key).await {
            Cached::Hit(value) => Entry::decode(&value),
            Cached::Miss => None,
            Cached::Unknown => {
                // Nobody says that it was removed.
                let held = held?;
                held.ask_at(self.ask_at(now));
                return Some(held.entry.clone());
            }
        };
        self.replace(key, held.as_ref(), found.as_ref().map(|entry| self.hold(entry, now)), generation);
        found
    }

    /// The generation of what is fetched from now on.
    pub(crate) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::SeqCst))
    }

    /// Keeps what was fetched in `generation`, unless that is over.
    ///
    /// # Cancel safety
    /// Dropped half-way, it may keep the answer although that was invalidated meanwhile: run it to its end.
    pub(crate) async fn store(&self, path: &str, entry: &Entry, generation: Generation) {
        if self.generation() == generation {
            self.write(path, entry, generation).await;
        }
    }

    async fn write(&self, path: &str, entry: &Entry, generation: Generation) {
        let key = self.key(path);
        let held = self.memory.get(&key);
        self.shared.put(&key, entry.encode(), entry.ttl.saturating_add(self.stale_max)).await;
        self.replace(key, held.as_ref(), Some(self.hold(entry, Instant::now())), generation);
        // An invalidation since then may have removed what was there before this put.
        if self.generation() != generation && self.shared.remove(&key).await.is_err() {
            tracing::warn!(api = %self.api, "an answer fetched before its invalidation may be kept until its time is over");
        }
    }

    /// Forgets what is kept for the path with its query, and every answer that is being fetched.
    ///
    /// # Errors
    /// If it may still be there for other processes, or for this one's next lookup.
    ///
    /// # Cancel safety
    /// Dropped half-way, it has emptied this memory, and nobody knows of more.
    pub(crate) async fn invalidate(&self, path: &str) -> Result<(), CacheUnavailable> {
        let key = self.key(path);
        // Before anything is removed: what others write from here on, they take back themselves.
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.memory.invalidate(&key);
        let removed = self.shared.remove(&key).await;
        // A lookup may have believed in the shared one until it was gone.
        self.memory.invalidate(&key);
        removed
    }

    /// Puts `new` in the place of `seen`, unless another came there since, or an invalidation.
    fn replace(&self, key: CacheKey, seen: Option<&Arc<Held>>, new: Option<Arc<Held>>, generation: Generation) {
        self.memory.entry(key).and_compute_with(|current| {
            let current = current.map(moka::Entry::into_value);
            if current.as_ref().map(Arc::as_ptr) != seen.map(Arc::as_ptr) {
                return Op::Nop;
            }
            new.map_or(Op::Remove, Op::Put)
        });
        if self.generation() != generation {
            self.memory.invalidate(&key);
        }
    }

    /// Says whether what is held needs no asking now; if it does, this caller is the one to ask.
    fn is_trusted(&self, held: &Held, now: Instant) -> bool {
        if self.trusted_for.is_none() {
            return true;
        }
        let mut ask_at = held.ask_at.lock().unwrap_or_else(PoisonError::into_inner);
        if now < *ask_at {
            return true;
        }
        *ask_at = now + ASK_ANEW_AFTER;
        false
    }

    fn hold(&self, entry: &Entry, now: Instant) -> Arc<Held> {
        Arc::new(Held { entry: entry.clone(), ask_at: Mutex::new(self.ask_at(now)) })
    }

    fn ask_at(&self, now: Instant) -> Instant {
        now + self.trusted_for.unwrap_or_default()
    }
}

impl Held {
    fn ask_at(&self, at: Instant) {
        *self.ask_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

#[cfg(test)]
mod tests;
