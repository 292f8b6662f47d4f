//! The checkpointer's thread: moves what the log holds into the database, beside the writer.
//!
//! Left to the commit that fills the log, a checkpoint of some megabytes keeps everybody waiting who comes after it. So it
//! is begun early, by another thread, and the writer only moves what came meanwhile: the log begins anew when nothing is
//! left in it, which beside a busy writer no other thread can bring about. That last move is also the one with which
//! SQLite syncs the database. A sync by this thread after each of its passes would leave the writer less, and was tried:
//! the disk then takes so much at once that commits wait for longer.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

/// Pages that the log grows by until the checkpointer moves them: 16 MiB. Each pass sorts them, and writes a page once that
/// changed many times since the last.
const STEP: i32 = 4_096;
/// Pages in the log at which the writer moves the rest: 32 MiB.
const END: i32 = 8_192;
/// Where the checkpointer moves what it can once more, so that little is left for the writer.
const LAST: i32 = END - 256;

/// The thread, for the writer to end.
#[derive(Debug)]
pub(super) struct Checkpointer(JoinHandle<()>);

impl Checkpointer {
    /// Starts it for the database at `path`, whose only writer is `writer`.
    ///
    /// # Errors
    /// If it cannot open the database, or the system gives no thread.
    pub(super) fn start(path: &Path, writer: &mut Connection, name: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        super::make_durable(&connection)?;
        // One that is asked for already will move what came since.
        let (ask, asked) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("{name}-checkpoint"))
            .spawn(move || move_until_closed(connection, &asked))
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        watch(writer, ask)?;
        Ok(Self(thread))
    }

    /// Ends it, so that the writer's connection is the last one and leaves no log behind.
    pub(super) fn end(self, writer: &mut Connection) {
        let forgotten = writer.wal_hook(None::<fn(&mut rusqlite::hooks::Wal, i32) -> rusqlite::Result<()>>);
        if forgotten.is_err() || self.0.join().is_err() {
            tracing::error!("the store's checkpointer did not end");
        }
    }
}

fn watch(writer: &mut Connection, ask: SyncSender<()>) -> rusqlite::Result<()> {
    let mut passes = Passes::default();
    writer.wal_hook(Some(move |log: &mut rusqlite::hooks::Wal, pages: i32| {
        if pages >= END {
            // What it cannot move now, for a reader or the disk, it moves after the next commit.
            if let Err(error) = log.checkpoint() {
                tracing::debug!(%error, "the log stays as it is for now");
            }
        } else if passes.is_due(pages) {
            match ask.try_send(()) {
                // Full: it is asked for already.
                Ok(()) | Err(TrySendError::Full(())) => {}
                Err(TrySendError::Disconnected(())) => tracing::error!("the store's checkpointer is gone"),
            }
        }
        Ok(())
    }))
}

/// When the checkpointer is asked for a pass.
#[derive(Debug, Default)]
struct Passes {
    /// Pages in the log when it was asked last.
    asked_at: i32,
}

impl Passes {
    /// Whether to ask after a commit that left so many pages in the log.
    fn is_due(&mut self, pages: i32) -> bool {
        if pages < self.asked_at {
            // The log began anew.
            self.asked_at = 0;
        }
        let due = pages >= self.asked_at + STEP || (pages >= LAST && self.asked_at < LAST);
        if due {
            self.asked_at = pages;
        }
        due
    }
}

fn move_until_closed(connection: Connection, asked: &Receiver<()>) {
    while asked.recv().is_ok() {
        // PASSIVE: it waits for nobody, and nobody for it.
        let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = moved {
            tracing::debug!(%error, "the log stays as it is for now");
        }
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the store's checkpointer did not close cleanly");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_fills_is_moved_a_few_times_and_once_more_at_its_end() {
        let mut passes = Passes::default();
        let mut asked = |log: std::ops::Range<i32>| log.filter(|pages| passes.is_due(*pages)).collect::<Vec<_>>();
        let whole = asked(1..END);
        assert_eq!(whole, [STEP, LAST]);
        assert_eq!(asked(1..END), whole, "a log that began anew is as the first");
        assert_eq!(asked(1..STEP), [0; 0]);
    }

    #[test]
    fn commits_of_many_pages_are_noticed_too() {
        let mut passes = Passes::default();
        let asked = [STEP - 1, STEP + 700, STEP + 701, LAST + 9, LAST + 10].map(|pages| passes.is_due(pages));
        assert_eq!(asked, [false, true, false, true, false]);
    }
}
