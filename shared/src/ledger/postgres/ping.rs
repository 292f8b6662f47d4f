//! The health of the server, asked for each second in which nothing else showed it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_util::sync::CancellationToken;

use super::Database;
use super::fault::Fault;
use super::session::{Session, no_connection};
use crate::health::Health;

/// How often the server is asked.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Keeps the health until the shutdown.
pub(super) async fn ping(database: Arc<Database>, shutdown: CancellationToken) {
    let mut seen = 0;
    loop {
        let successes = database.successes.load(Ordering::Relaxed);
        let health = if successes == seen { ask(&database).await } else { Some(Health::Up) };
        seen = successes;
        if let Some(health) = health {
            database.health.set(health);
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PING_EVERY) => {}
            () = database.doubt.notified() => seen = database.successes.load(Ordering::Relaxed),
        }
    }
}

/// Asks the server; `None` if all connections are at work and there is none left to ask with.
async fn ask(database: &Database) -> Option<Health> {
    let client = match database.pool.get().await {
        Ok(client) => client,
        Err(PoolError::Timeout(TimeoutType::Wait)) => return None,
        Err(error) => return Some(Health::Down(no_connection(&error))),
    };
    let session = Session::of(client);
    let limit = database.timeouts.connect;
    Some(match tokio::time::timeout(limit, session.is_writable()).await {
        Ok(Ok(writable)) => {
            session.give_back();
            if writable {
                Health::Up
            } else {
                Health::Down("the server takes no writes: it is a standby, or set read-only".to_owned())
            }
        }
        Ok(Err(error)) => Health::Down(Fault::from(&error).into_reason()),
        Err(_) => Health::Down(format!("no answer within {limit:?}")),
    })
}
