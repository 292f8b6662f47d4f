//! Reading connections: opened on demand, kept for the next read, never more than a few.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::StoreError;

/// Reading connections; a read beyond them waits.
const READERS: usize = 4;
/// How long a connection waits for a lock that only opening, closing and recovering the file take.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The connections that are not in use, and the right to use one.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), permits: Arc::new(Semaphore::new(READERS)) }
    }

    fn take(&self) -> rusqlite::Result<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(connection) = idle {
            return Ok(connection);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    }

    fn put_back(&self, connection: Connection) {
        // One left inside of a transaction would read the past for ever and keep the log from shrinking.
        if connection.is_autocommit() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

/// Runs `work` on a thread for blocking work. The permit goes with it: a caller that is gone frees no connection.
pub(super) async fn read<T, F>(readers: &Arc<Readers>, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
{
    let readers = Arc::clone(readers);
    let permit = Arc::clone(&readers.permits).acquire_owned().await.map_err(|_| StoreError::Closed)?;
    let read = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let connection = readers.take()?;
        let result = work(&connection);
        readers.put_back(connection);
        result
    });
    match read.await {
        Ok(result) => result.map_err(StoreError::from_work),
        Err(error) if error.is_panic() => Err(StoreError::Panicked),
        Err(_) => Err(StoreError::Closed),
    }
}
