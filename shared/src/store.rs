//! The embedded store: one SQLite database in one folder, one writer, commits in groups.
//!
//! Every write goes through one thread (`store/writer.rs`) that takes all that waits, runs it in one transaction and
//! answers after the COMMIT: with `synchronous=FULL` in WAL mode that is after the fsync. A thousand waiting writers
//! share one fsync. Readers have connections of their own (`store/reader.rs`) and never wait for the writer.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use self::checkpoint::Checkpointer;
use crate::health::{Health, HealthCell};

mod checkpoint;
mod reader;
mod writer;

/// Writes that may wait for the writer; one more makes its caller wait. Bounds memory, not throughput.
const WAITING_MAX: usize = 4_096;
/// The database's file in the folder.
pub(crate) const DATABASE: &str = "tidegate.db";
/// The tables of the one store that everything stands on.
const TABLES: Tables =
    Tables { schema: include_str!("store/schema.sql"), upgrades: &[include_str!("store/upgrade-1.sql")] };

/// What a store holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables {
    /// Makes every table, or lets it be where it is.
    pub(crate) schema: &'static str,
    /// What makes tables of an older build the same, in order. `PRAGMA user_version` counts those that were applied; a
    /// published one never changes.
    pub(crate) upgrades: &'static [&'static str],
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another Tidegate process; stop that one or give this one a folder of its own", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The folder or its lock file cannot be used.
    #[error("cannot use the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// SQLite cannot open the database.
    #[error("cannot open the database {}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
}

/// Why a read or write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The statement itself was refused; nothing of this write was kept, others of its group were.
    #[error("the store refused the statement")]
    Refused(#[source] rusqlite::Error),
    /// The transaction did not commit, through no fault of the statement: the disk is full or failing, or another
    /// write ended the group's transaction. Nothing of it was kept.
    #[error("the store could not commit: {0}")]
    NotCommitted(String),
    /// The code of this read or write panicked. Nothing of it was kept.
    #[error("the code of this read or write panicked")]
    Panicked,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Tells a statement that is wrong from a store that fails: only the first is its author's fault.
    fn from_work(error: rusqlite::Error) -> Self {
        if is_refusal(&error) { Self::Refused(error) } else { Self::NotCommitted(error.to_string()) }
    }
}

/// Says whether the statement is to blame for the error, and not the disk, the memory or the file.
pub(crate) fn is_refusal(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::OutOfMemory
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::OperationInterrupted
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::InternalMalfunction
        )
    )
}

/// A handle to the store; clones share it. The last one to go waits until all that was sent is written, then closes
/// the database.
#[derive(Debug, Clone)]
pub struct Store {
    /// Before the writer, so that the writer's connection closes last and leaves no log behind.
    readers: Arc<reader::Readers>,
    writer: Arc<Writer>,
    health: HealthCell,
}

/// The way to the writer's thread, and that thread.
#[derive(Debug)]
struct Writer {
    /// `None` only while it is dropped.
    work: Option<mpsc::Sender<Box<dyn writer::Work>>>,
    /// `None` only while it is dropped.
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.work.take());
        let Some(thread) = self.thread.take() else { return };
        // A work that holds the last handle drops it on the writer's own thread, which cannot wait for itself.
        if std::thread::current().id() != thread.thread().id() && thread.join().is_err() {
            tracing::error!("the store's writer ended by a panic");
        }
    }
}

impl Store {
    /// Opens the store in `folder`, making both if they are not there.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::open_with(folder, &TABLES, "store")
    }

    /// Opens a store with tables of its own, which calls itself `name` in health and metrics.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way.
    pub(crate) fn open_with(folder: &Path, tables: &Tables, name: &'static str) -> Result<Self, OpenError> {
        let lock = lock_folder(folder)?;
        let path = folder.join(DATABASE);
        let failed = |source| OpenError::Database { path: path.clone(), source };
        let mut connection = open_writer(&path, tables).map_err(failed)?;
        let checkpointer = Checkpointer::start(&path, &mut connection, name).map_err(failed)?;
        sync_folder(folder).map_err(|source| OpenError::Folder { path: folder.to_owned(), source })?;
        let (sender, work) = mpsc::channel(WAITING_MAX);
        let health = HealthCell::starting(name);
        health.set(Health::Up);
        let writer_health = health.clone();
        let thread = std::thread::Builder::new()
            .name(format!("{name}-writer"))
            .spawn(move || {
                writer::write_until_closed(&connection, work, &writer_health);
                close(connection, checkpointer);
                // Only now may another process open the folder: everything sent was written.
                drop(lock);
            })
            .map_err(|source| OpenError::Folder { path: folder.to_owned(), source })?;
        Ok(Self {
            readers: Arc::new(reader::Readers::new(path)),
            writer: Arc::new(Writer { work: Some(sender), thread: Some(thread) }),
            health,
        })
    }

    /// Runs `work` in a transaction and returns once that is on the disk.
    ///
    /// `work` runs on the writer's thread, inside a savepoint of its own: its failure or panic undoes only itself. It
    /// must not block, and must neither begin nor end transactions. Its tables may not have deferred foreign keys:
    /// SQLite checks those at the COMMIT, where one violation undoes the whole group.
    ///
    /// # Errors
    /// [`StoreError`]; in every case nothing of this write was kept.
    ///
    /// # Cancel safety
    /// Dropping the returned future does not undo the write once it was handed over.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.send(writer::Failure::Itself, work).await
    }

    /// As [`Self::write`], but without the savepoint, which costs more than most writes do: a failure or panic of `work`
    /// undoes its whole group, and every write of it is told so.
    ///
    /// For work that fails only with the disk: statements of our own, whose conflicts are all provided for.
    ///
    /// # Errors
    /// As [`Self::write`].
    ///
    /// # Cancel safety
    /// As [`Self::write`].
    pub(crate) async fn write_with_group<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.send(writer::Failure::Group, work).await
    }

    async fn send<T, F>(&self, failure: writer::Failure, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(writer::Write::new(failure, work, answer));
        let sender = self.writer.work.as_ref().ok_or(StoreError::Closed)?;
        sender.send(work).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs `work` on a reading connection: it sees every write that was answered before.
    ///
    /// # Errors
    /// [`StoreError`] if the query fails.
    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        reader::read(&self.readers, work).await
    }

    /// The store's state.
    #[must_use]
    pub fn health(&self) -> &HealthCell {
        &self.health
    }
}

/// Makes the folder, for its owner only: it will hold what providers sent. One process at a time holds its lock.
fn lock_folder(folder: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Folder { path: folder.to_owned(), source };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(failed)?;
    let lock = File::create(folder.join("tidegate.lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse { path: folder.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Makes the folder's own name durable, and those of the folders that lead to it, as this process or one that was killed
/// may have made them: SQLite syncs what is in the folder, not the entries that lead there.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    for folder in folder.canonicalize()?.ancestors() {
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            Ok(()) => {}
            // One that we may not read, or that cannot be synced, is one in which somebody else made the next.
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn open_writer(path: &Path, tables: &Tables) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    make_durable(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    #[cfg(feature = "price")]
    if crate::price::Guard::Fsync.is_off() {
        connection.pragma_update(None, "synchronous", "OFF")?;
    }
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // Twice the default: each event goes to a place of its own in the index of keys.
    connection.pragma_update(None, "cache_size", -4_096)?;
    connection.set_prepared_statement_cache_capacity(128);
    bring_up_to_date(&mut connection, tables)?;
    Ok(connection)
}

/// Has a connection sync what it writes.
fn make_durable(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(reader::BUSY_TIMEOUT)?;
    // FULL: a commit returns after the WAL was fsynced. NORMAL would lose acknowledged events at a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // macOS answers a plain fsync before the drive has the data; elsewhere these two change nothing.
    connection.pragma_update(None, "fullfsync", "ON")?;
    connection.pragma_update(None, "checkpoint_fullfsync", "ON")
}

fn close(mut connection: Connection, checkpointer: Checkpointer) {
    checkpointer.end(&mut connection);
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the store did not close cleanly; its log is replayed at the next start");
    }
}

/// Makes the tables, or applies the upgrades that they lack, in one transaction.
fn bring_up_to_date(connection: &mut Connection, Tables { schema, upgrades }: &Tables) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let is_new = !tx.prepare("SELECT 1 FROM sqlite_schema")?.exists([])?;
    let version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (number, upgrade) in (1_i64..).zip(*upgrades).filter(|(number, _)| *number > version) {
        if !is_new {
            tx.execute_batch(upgrade)?;
        }
        tx.pragma_update(None, "user_version", number)?;
    }
    tx.execute_batch(schema)?;
    tx.commit()
}

#[cfg(test)]
mod tests;
