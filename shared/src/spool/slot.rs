//! One process's part of the spool: a store in a folder of its own, and the tally of what waits in it.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::rows::{self, Heads, New};
use super::{Figures, Row, SpoolError, Waiting};
use crate::event::Event;
use crate::health::Health;
use crate::protocol::spool::{Bounds, Load, admit, behind_for};
use crate::queue::Stored;
use crate::store::{OpenError, Store, StoreError, Tables};

const TABLES: Tables = Tables { schema: include_str!("schema.sql"), upgrades: &[] };

/// A locked folder with waiting events; clones share it.
#[derive(Debug, Clone)]
pub struct Slot {
    number: u32,
    store: Store,
    bounds: Bounds,
    tally: Arc<Mutex<Tally>>,
}

/// What waits. Bytes are counted before they are written, so that no burst passes the bound.
#[derive(Debug, Default)]
struct Tally {
    events: u64,
    bytes: u64,
    heads: Heads,
}

impl Slot {
    /// Opens slot `number` in `folder` and counts what waits in it.
    pub(super) async fn open(
        folder: &Path,
        number: u32,
        bounds: Bounds,
        name: &'static str,
    ) -> Result<Self, OpenError> {
        let path = folder.join(number.to_string());
        let store = Store::open_with(&path, &TABLES, name)?;
        let counted = store.read(|connection| Ok((rows::count(connection)?, rows::heads(connection)?))).await;
        let ((events, bytes), heads) =
            counted.map_err(|error| OpenError::Folder { path, source: std::io::Error::other(error) })?;
        Ok(Self { number, store, bounds, tally: Arc::new(Mutex::new(Tally { events, bytes, heads })) })
    }

    /// Its place among the slots of the machine.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    pub(super) async fn keep(&self, event: &Event, window: Duration) -> Result<Stored, SpoolError> {
        let (new, now) = (New::of(event, window), now_ms());
        let bytes = new.bytes();
        self.reserve(bytes, now)?;
        let written = self.store.write(move |tx| new.insert(tx, now)).await;
        let mut tally = self.tally();
        match &written {
            Ok(Stored::New) => {
                tally.events += 1;
                tally.heads.oldest.get_or_insert(now);
                tally.heads.oldest_first.get_or_insert(now);
            }
            Ok(Stored::Duplicate | Stored::OtherBody) | Err(_) => tally.bytes = tally.bytes.saturating_sub(bytes),
        }
        written.map_err(SpoolError::Store)
    }

    fn reserve(&self, bytes: u64, now: i64) -> Result<(), SpoolError> {
        let mut tally = self.tally();
        match SpoolError::from_admission(admit(tally.load(now), bytes, self.bounds), self.bounds) {
            Some(refusal) => Err(refusal),
            None => {
                tally.bytes += bytes;
                Ok(())
            }
        }
    }

    /// The next events to publish, the oldest first, at most `width`. If only events wait that the broker did not take by
    /// themselves, one whose time has come.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn next(&self, width: usize) -> Result<Vec<Waiting>, StoreError> {
        self.store.read(move |connection| rows::next(connection, width, now_ms())).await
    }

    /// Takes events out. Only after the broker's confirm, or after `committed` was read.
    ///
    /// # Errors
    /// If the disk does not take it: they will be published once more.
    pub async fn remove(&self, ids: Vec<i64>) -> Result<(), StoreError> {
        let removed = self.store.write(move |tx| {
            ids.iter().map(|id| rows::remove(tx, *id)).collect::<rusqlite::Result<Vec<Option<u64>>>>()
        });
        let removed: Vec<u64> = removed.await?.into_iter().flatten().collect();
        {
            let mut tally = self.tally();
            tally.events = tally.events.saturating_sub(removed.len() as u64);
            tally.bytes = tally.bytes.saturating_sub(removed.iter().sum());
        }
        self.look().await
    }

    /// Lets an event wait behind the others, longer with each try.
    ///
    /// # Errors
    /// If the disk does not take it: it keeps its place.
    pub async fn put_behind(&self, waiting: &Waiting, reason: String) -> Result<(), StoreError> {
        let wait = i64::try_from(behind_for(waiting.tries.saturating_add(1)).as_millis()).unwrap_or(i64::MAX);
        let (id, retry_at) = (waiting.id, now_ms().saturating_add(wait));
        self.store.write(move |tx| rows::put_behind(tx, id, retry_at, &reason)).await?;
        self.look().await
    }

    /// Looks at the rows for what the tally cannot know.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn look(&self) -> Result<(), StoreError> {
        let heads = self.store.read(rows::heads).await?;
        self.tally().heads = heads;
        Ok(())
    }

    pub(super) async fn retry_now(&self) -> Result<(), StoreError> {
        self.store.write(|tx| tx.execute("UPDATE waiting SET retry_at = 0 WHERE tries > 0", [])).await.map(drop)
    }

    pub(super) async fn list(&self, after: i64, limit: usize) -> Result<Vec<Row>, StoreError> {
        let number = self.number;
        self.store.read(move |connection| rows::list(connection, number, after, limit)).await
    }

    /// Whether it takes events now.
    pub(super) fn health(&self) -> Health {
        let store = self.store.health().get();
        if !store.is_up() {
            return store;
        }
        match SpoolError::from_admission(admit(self.tally().load(now_ms()), 0, self.bounds), self.bounds) {
            None => Health::Up,
            Some(refusal) => Health::Blocked(refusal.to_string()),
        }
    }

    /// What waits in it.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let tally = self.tally();
        Figures {
            events: tally.events,
            behind: tally.heads.behind,
            bytes: tally.bytes,
            oldest_age_seconds: tally.heads.oldest.map_or(0.0, |oldest| age(oldest, now_ms()).as_secs_f64()),
            ..Figures::default()
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn load(&self, now: i64) -> Load {
        Load { bytes: self.bytes, oldest_age: self.heads.oldest_first.map(|oldest| age(oldest, now)) }
    }
}

/// How long ago; nothing if the clock was set back.
fn age(since: i64, now: i64) -> Duration {
    Duration::from_millis(u64::try_from(now.saturating_sub(since)).unwrap_or(0))
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}
