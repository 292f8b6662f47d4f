//! The spool: events that wait on this machine's disk while the broker cannot be reached.
//!
//! What is kept here was fsynced and may be answered 2xx; it leaves only after the broker's confirm. How long it lasts is
//! how long this disk lasts, nothing more.
//!
//! Several ingest processes of one machine share the folder of the configuration. Each has a numbered folder in it,
//! locked for as long as the process lives: a new process takes the first free one, with whatever a killed one left
//! there, and every process adopts others that lie free and hold events, so that none waits for a restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::SpoolConfig;
use crate::event::Event;
use crate::health::Health;
use crate::protocol::spool::{Admission, Bounds};
use crate::queue::Stored;
use crate::store::{OpenError, StoreError};
use crate::wire::DecodeError;

mod rows;
mod slot;

pub use slot::Slot;

/// Processes of one machine that can share one folder.
const SLOTS_MAX: u32 = 64;

/// Why an event is not in the spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// No room.
    #[error("the spool holds {bytes_max} bytes already (ingest.spool_bytes_max)")]
    Full {
        /// `ingest.spool_bytes_max`.
        bytes_max: u64,
    },
    /// What waits has waited for too long.
    #[error("an event has waited in the spool for longer than {age_max:?} (ingest.spool_age_max)")]
    Old {
        /// `ingest.spool_age_max`.
        age_max: Duration,
    },
    /// This process has no spool of its own: no source of its configuration asks for one.
    #[error("this process keeps no spool")]
    Absent,
    /// The disk did not take it.
    #[error("the spool could not commit")]
    Store(#[source] StoreError),
}

impl SpoolError {
    /// The value of the label `outcome`.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::Old { .. } => "old",
            Self::Absent | Self::Store(_) => "failed",
        }
    }

    fn from_admission(admission: Admission, bounds: Bounds) -> Option<Self> {
        match admission {
            Admission::Take => None,
            Admission::RefuseFull => Some(Self::Full { bytes_max: bounds.bytes_max }),
            Admission::RefuseOld => Some(Self::Old { age_max: bounds.age_max }),
        }
    }
}

/// An event that waits.
#[derive(Debug)]
pub struct Waiting {
    /// Its place in its slot.
    pub id: i64,
    /// The event; an error if it cannot be read, such as when a later build wrote it.
    pub event: Result<Event, DecodeError>,
    /// How long its claim is remembered.
    pub window: Duration,
    /// How often the broker did not take it by itself.
    pub tries: u32,
}

/// What waits, as `/health`, the metrics and `tidegate spool` show it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Events that wait.
    pub events: u64,
    /// Those of them that the broker did not take by themselves, and that wait behind the others.
    pub behind: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// How long the oldest one has waited, in seconds; 0 if there is none.
    pub oldest_age_seconds: f64,
    /// `ingest.spool_bytes_max`.
    pub bytes_max: u64,
    /// `ingest.spool_age_max`, in seconds.
    pub age_max_seconds: f64,
}

/// A waiting event, as an operator's list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Slot and place: the cursor of what comes after it.
    pub id: String,
    /// Its source.
    pub source: String,
    /// The provider's id of it.
    pub event_id: String,
    /// The provider's type of it.
    pub event_type: String,
    /// Since when it waits.
    pub spooled_at: Timestamp,
    /// What it takes of the bound.
    pub bytes: u64,
    /// How often the broker did not take it by itself.
    pub tries: u32,
    /// Why the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The spool of a process; clones share it.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: Arc<Path>,
    bounds: Bounds,
    own: Option<Slot>,
    adopted: Arc<Mutex<Vec<Slot>>>,
}

impl Spool {
    /// Opens a slot of the folder for events of this process, with what an earlier process left in it.
    ///
    /// # Errors
    /// If there is no slot to be had.
    pub async fn open(config: &SpoolConfig) -> Result<Self, OpenError> {
        let bounds = bounds(config);
        for number in 0..SLOTS_MAX {
            match Slot::open(&config.path, number, bounds, "spool").await {
                Err(OpenError::InUse { .. }) => {}
                opened => return Ok(Self { own: Some(opened?), ..Self::drain_only(config) }),
            }
        }
        Err(OpenError::InUse { path: config.path.clone() })
    }

    /// Takes no events, but drains what other processes, or other configurations, left behind.
    #[must_use]
    pub fn drain_only(config: &SpoolConfig) -> Self {
        Self { folder: config.path.as_path().into(), bounds: bounds(config), own: None, adopted: Arc::default() }
    }

    /// Keeps the event; its claim will be remembered for `window`.
    ///
    /// # Errors
    /// [`SpoolError`]; in every case nothing of the event was kept.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the event is kept.
    pub async fn keep(&self, event: &Event, window: Duration) -> Result<Stored, SpoolError> {
        self.own.as_ref().ok_or(SpoolError::Absent)?.keep(event, window).await
    }

    /// Whether it takes events now, and if not, why.
    #[must_use]
    pub fn health(&self) -> Health {
        self.own.as_ref().map_or(Health::Up, Slot::health)
    }

    /// Says whether an event would be kept now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.own.is_some() && self.health().is_up()
    }

    /// Every slot of this process, its own first.
    #[must_use]
    pub fn slots(&self) -> Vec<Slot> {
        let adopted = self.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        self.own.iter().chain(adopted.iter()).cloned().collect()
    }

    /// What waits in every slot of this process.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let bounds = self.bounds;
        let empty = Figures {
            bytes_max: bounds.bytes_max,
            age_max_seconds: bounds.age_max.as_secs_f64(),
            ..Figures::default()
        };
        self.slots().iter().map(Slot::figures).fold(empty, |sum, slot| Figures {
            events: sum.events + slot.events,
            behind: sum.behind + slot.behind,
            bytes: sum.bytes + slot.bytes,
            oldest_age_seconds: sum.oldest_age_seconds.max(slot.oldest_age_seconds),
            ..sum
        })
    }

    /// Says whether `text` can be a [`Row::id`].
    #[must_use]
    pub fn is_cursor(text: &str) -> bool {
        rows::cursor(text).is_some()
    }

    /// Up to `limit` waiting events that come after `cursor`, slot by slot, in each the oldest first.
    ///
    /// # Errors
    /// If a slot cannot be read.
    pub async fn list(&self, cursor: Option<&str>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let (from_slot, from_id) = cursor.and_then(rows::cursor).unwrap_or((0, 0));
        let mut slots = self.slots();
        slots.sort_by_key(Slot::number);
        let mut rows = Vec::new();
        for slot in slots.into_iter().filter(|slot| slot.number() >= from_slot) {
            let after = if slot.number() == from_slot { from_id } else { 0 };
            rows.extend(slot.list(after, limit - rows.len()).await?);
            if rows.len() == limit {
                break;
            }
        }
        Ok(rows)
    }

    /// Lets every event that waits behind the others be tried now.
    ///
    /// # Errors
    /// If a slot cannot be written.
    pub async fn retry_now(&self) -> Result<(), StoreError> {
        for slot in self.slots() {
            slot.retry_now().await?;
        }
        Ok(())
    }

    /// Takes over slots that hold events and whose process is gone, and lets go of those that are empty again.
    pub async fn adopt(&self) {
        // One that is only now empty is let go of the next time: its tally was read before.
        self.adopted.lock().unwrap_or_else(PoisonError::into_inner).retain(|slot| slot.figures().events > 0);
        let ours: Vec<u32> = self.slots().iter().map(Slot::number).collect();
        for number in (0..SLOTS_MAX).filter(|number| !ours.contains(number)) {
            if !rows::holds_events(&self.folder.join(number.to_string())).await {
                continue;
            }
            match Slot::open(&self.folder, number, self.bounds, "orphaned spool").await {
                Ok(slot) => {
                    tracing::warn!(slot = number, events = slot.figures().events, "draining what another process left");
                    self.adopted.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
                }
                Err(OpenError::InUse { .. }) => {}
                Err(error @ (OpenError::Folder { .. } | OpenError::Database { .. })) => {
                    let error = crate::telemetry::chain(&error);
                    tracing::error!(slot = number, %error, "events wait in a spool that cannot be opened");
                }
            }
        }
    }

    /// The folder with every slot.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.to_path_buf()
    }
}

fn bounds(config: &SpoolConfig) -> Bounds {
    Bounds { bytes_max: config.bytes_max as u64, age_max: config.age_max }
}

#[cfg(test)]
mod tests;
