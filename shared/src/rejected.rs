//! Requests that did not verify: the last few of each source, whole, to be explained and, after the mend, let in.
//!
//! They are kept in a store of their own, apart from every event: it may fill up, fail or be deleted, and no event is the
//! worse for it. What may be kept is a bounded ring: of each source the newest [`Bounds::keep`], of all of them together
//! [`Bounds::bytes_max`]. No secret is written in the clear: only a [`SealedRequest`] can be written, and only
//! [`Sealer::seal`] makes one.
//!
//! As with the spool, processes of one machine share the folder: each locks a numbered folder in it, and takes over what
//! lies in those that nobody holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::OnceCell;
use utoipa::ToSchema;

use crate::event::{RequestId, SourceName};
use crate::store::{DATABASE, OpenError, Store, StoreError, Tables};

mod rows;
mod seal;

pub use seal::{Seal, Sealer};

const TABLES: Tables = Tables { schema: include_str!("rejected/schema.sql"), upgrades: &[] };
/// Processes of one machine that can share one folder.
const SLOTS_MAX: u32 = 64;
/// Bytes of a body that are kept; a larger one is not, since half of it could neither be explained nor let in.
pub const BODY_KEPT_MAX: usize = 1 << 20;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Requests of each source at most.
    pub keep: usize,
    /// Bytes of all of them at most.
    pub bytes_max: usize,
}

/// A request that did not verify, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRequest {
    /// Its own id: the request's can be chosen by its sender.
    pub id: String,
    /// The source that it was sent to.
    pub source: SourceName,
    /// The request's id, to be found in the logs.
    pub request_id: RequestId,
    /// When it was received.
    pub received_at: Timestamp,
    /// The error code that was answered.
    pub code: String,
    /// The sentence that was answered.
    pub message: String,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub target: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; `None` if that was larger than [`BODY_KEPT_MAX`], or holds a credential that cannot be cut out.
    pub body: Option<Bytes>,
    /// Bytes of its body, kept or not.
    pub body_bytes: usize,
}

impl RejectedRequest {
    /// A new id: they sort by time.
    #[must_use]
    pub fn new_id() -> String {
        RequestId::generate().as_str().to_owned()
    }

    /// Whether `text` has the form of an id.
    #[must_use]
    pub fn is_id(text: &str) -> bool {
        uuid::Uuid::try_parse(text).is_ok()
    }
}

/// A rejected request without its credentials. Made only by [`Sealer::seal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRequest {
    request: RejectedRequest,
    seals: Vec<Seal>,
}

impl SealedRequest {
    /// The request, with a marker in the place of each credential.
    #[must_use]
    pub fn request(&self) -> &RejectedRequest {
        &self.request
    }

    /// What the markers stand for.
    #[must_use]
    pub fn seals(&self) -> &[Seal] {
        &self.seals
    }
}

/// A rejected request in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RejectedRow)]
pub struct Row {
    /// Its own id, and the cursor of what came before it.
    pub id: String,
    /// The source that it was sent to.
    pub source: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// The error code that was answered.
    pub code: String,
    /// The sentence that was answered.
    pub message: String,
    /// Its method.
    pub method: String,
    /// Its path and query, without credentials.
    pub target: String,
    /// Bytes of its body.
    pub body_bytes: u64,
    /// Whether the body was kept.
    pub body_is_kept: bool,
    /// The request's id, to be found in the logs.
    pub request_id: String,
}

/// Why rejected requests cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// There is no place to keep them.
    #[error("rejected requests cannot be kept")]
    Open(#[source] OpenError),
    /// The disk does not take or give them.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The process stops.
    #[error("the process stops")]
    Closed,
}

/// The rejected requests of this machine; clones share them. Nothing is made on the disk before the first is kept.
#[derive(Debug, Clone)]
pub struct Ring {
    folder: Arc<Path>,
    bounds: Bounds,
    own: Arc<OnceCell<(u32, Store)>>,
}

impl Ring {
    /// The ring in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf, bounds: Bounds) -> Self {
        Self { folder: folder.into(), bounds, own: Arc::default() }
    }

    /// Where it lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps `requests`, and lets go of the oldest beyond the bounds.
    ///
    /// # Errors
    /// [`RingError`]; none of them was kept.
    pub async fn keep(&self, requests: Vec<SealedRequest>) -> Result<(), RingError> {
        let bounds = self.bounds;
        let write = move |tx: &rusqlite::Connection| {
            requests.iter().try_for_each(|request| rows::insert(tx, request))?;
            rows::trim(tx, bounds)
        };
        Ok(self.store().await?.write(write).await?)
    }

    /// Up to `limit`, the newest first, that came before the one called `before`.
    ///
    /// # Errors
    /// [`RingError`].
    pub async fn list(
        &self,
        source: Option<SourceName>,
        before: Option<String>,
        limit: usize,
    ) -> Result<Vec<Row>, RingError> {
        let Some(store) = self.existing().await? else { return Ok(Vec::new()) };
        let source = source.map(|source| source.as_str().to_owned());
        Ok(store.read(move |db| rows::list(db, source.as_deref(), before.as_deref(), limit)).await?)
    }

    /// The one called `id`.
    ///
    /// # Errors
    /// [`RingError`].
    pub async fn get(&self, id: &str) -> Result<Option<SealedRequest>, RingError> {
        let Some(store) = self.existing().await? else { return Ok(None) };
        let id = id.to_owned();
        Ok(store.read(move |db| rows::get(db, &id)).await?)
    }

    /// The ids of all that a source has, the oldest first.
    ///
    /// # Errors
    /// [`RingError`].
    pub async fn ids_of(&self, source: &SourceName) -> Result<Vec<String>, RingError> {
        let Some(store) = self.existing().await? else { return Ok(Vec::new()) };
        let source = source.as_str().to_owned();
        Ok(store.read(move |db| rows::ids(db, &source)).await?)
    }

    /// Takes one out. Only after it was accepted.
    ///
    /// # Errors
    /// [`RingError`]: it is still there.
    pub async fn remove(&self, id: &str) -> Result<(), RingError> {
        let Some(store) = self.existing().await? else { return Ok(()) };
        let id = id.to_owned();
        Ok(store.write(move |tx| rows::remove(tx, &id).map(drop)).await?)
    }

    async fn store(&self) -> Result<&Store, RingError> {
        let folder = Arc::clone(&self.folder);
        let open = || async {
            let opened = tokio::task::spawn_blocking(move || open_slot(&folder)).await;
            opened.map_err(|_| RingError::Closed)?.map_err(RingError::Open)
        };
        Ok(&self.own.get_or_try_init(open).await?.1)
    }

    /// The store with whatever was kept before; `None` if nothing ever was.
    async fn existing(&self) -> Result<Option<&Store>, RingError> {
        if !self.folder.is_dir() {
            return Ok(None);
        }
        let store = self.store().await?;
        self.adopt(store).await?;
        Ok(Some(store))
    }

    /// Moves here what processes left that are gone.
    async fn adopt(&self, store: &Store) -> Result<(), RingError> {
        let own = self.own.get().map_or(0, |(number, _)| *number);
        for number in (0..SLOTS_MAX).filter(|number| *number != own) {
            let path = self.folder.join(number.to_string());
            let open = move || {
                let holds = rows::holds_any(&path.join(DATABASE));
                // One that is in use is another process's own.
                holds.then(|| Store::open_with(&path, &TABLES, "orphaned rejected").ok()).flatten()
            };
            if let Ok(Some(left)) = tokio::task::spawn_blocking(open).await {
                self.take_over(&left, store).await?;
            }
        }
        Ok(())
    }

    async fn take_over(&self, left: &Store, store: &Store) -> Result<(), RingError> {
        for row in left.read(|db| rows::list(db, None, None, usize::MAX)).await? {
            let id = row.id.clone();
            let request = left.read(move |db| rows::get(db, &id)).await?;
            store.write(move |tx| request.iter().try_for_each(|request| rows::insert(tx, request))).await?;
            left.write(move |tx| rows::remove(tx, &row.id).map(drop)).await?;
        }
        let bounds = self.bounds;
        Ok(store.write(move |tx| rows::trim(tx, bounds)).await?)
    }
}

/// The first folder that no other process holds.
fn open_slot(folder: &Path) -> Result<(u32, Store), OpenError> {
    for number in 0..SLOTS_MAX {
        match Store::open_with(&folder.join(number.to_string()), &TABLES, "rejected") {
            Err(OpenError::InUse { .. }) => {}
            opened => return opened.map(|store| (number, store)),
        }
    }
    Err(OpenError::InUse { path: folder.to_owned() })
}

#[cfg(test)]
mod tests;
