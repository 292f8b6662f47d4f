//! The ledger in `PostgreSQL`: many events' effects and inbox rows in one transaction.
//!
//! It never makes a process wait at its start: connections are made when they are needed, and a task of its own keeps
//! the health. No connection outlives work that did not end cleanly on it: see `postgres/session.rs`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::sync::Notify;

use super::read::Follow;
use super::row::Row;
use super::{
    Applied, Commit, CommitError, DeadLetter, DeadLetterFilter, FailedAttempt, Kept, LedgerUnavailable, Migration,
    Statement,
};
use crate::event::Event;
use crate::health::HealthCell;
use crate::tasks::Tasks;

mod apply;
mod batch;
mod bind;
mod connect;
mod fault;
mod keep;
mod migrate;
mod ping;
mod read;
mod session;
mod settings;

pub use settings::{InvalidPostgresSettings, PostgresSettings, PostgresTimeouts};

use connect::Connector;
use fault::{Failed, Fault};
use session::Session;

/// How often a transaction that another one stood in the way of is tried again.
const COLLISIONS_MAX: usize = 6;

/// The `PostgreSQL` adapter of [`super::Ledger`]; clones share its connections.
#[derive(Debug, Clone)]
pub struct PostgresLedger {
    database: Arc<Database>,
}

/// The pool with what all work on it needs.
#[derive(Debug)]
struct Database {
    pool: Pool,
    namespace: String,
    timeouts: PostgresTimeouts,
    health: HealthCell,
    /// Pieces of work that ended well: while it grows, nobody needs to ask whether the server is there.
    successes: AtomicU64,
    /// Told when the server seems to be gone, so that the health says so at once.
    doubt: Notify,
}

/// Calls a function with a session, as [`Database::retried`] wants it, and with references to the arguments.
macro_rules! retried {
    ($ledger:ident, $module:ident::$work:ident($($arg:ident),*)) => {{
        $(let $arg = &$arg;)*
        let work = |session: Session| async move {
            let outcome = $module::$work(&session, $($arg),*).await;
            (session, outcome)
        };
        $ledger.database.retried(work).await
    }};
}

impl PostgresLedger {
    /// Starts the ledger: returns at once, whether or not the server is there.
    #[must_use]
    pub fn start(settings: &PostgresSettings, tasks: &Tasks) -> Self {
        let PostgresTimeouts { connect, .. } = settings.timeouts;
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), Connector::new(settings), recycling);
        let pool = Pool::builder(manager)
            .max_size(settings.pool_max.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(connect))
            .create_timeout(Some(settings.connect_all()))
            .recycle_timeout(Some(connect))
            .build()
            .expect("a pool with timeouts has a runtime");
        let database = Arc::new(Database {
            pool,
            namespace: settings.namespace.clone(),
            timeouts: settings.timeouts,
            health: HealthCell::starting("postgres"),
            successes: AtomicU64::new(0),
            doubt: Notify::new(),
        });
        tasks.spawn("postgres-ping", ping::ping(Arc::clone(&database), tasks.shutdown().clone()));
        Self { database }
    }

    pub(super) fn health(&self) -> &HealthCell {
        &self.database.health
    }

    pub(super) async fn migrate(&self, migrations: &[Migration]) -> Result<(), LedgerUnavailable> {
        migrate::migrate(&self.database, migrations).await
    }

    pub(super) async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Applied, CommitError>> {
        batch::commit(&self.database, &commits).await
    }

    pub(super) async fn record_attempt(&self, attempt: FailedAttempt) -> Result<(), LedgerUnavailable> {
        Ok(retried!(self, keep::record_attempt(attempt))?)
    }

    pub(super) async fn dead_letter(&self, dead: DeadLetter) -> Result<Kept, LedgerUnavailable> {
        Ok(retried!(self, keep::dead_letter(dead))?)
    }

    pub(super) async fn log_unrouted(&self, event: Arc<Event>) -> Result<(), LedgerUnavailable> {
        Ok(retried!(self, keep::log_unrouted(event))?)
    }

    pub(super) async fn discard(&self, filter: DeadLetterFilter) -> Result<u64, LedgerUnavailable> {
        Ok(retried!(self, keep::discard(filter))?)
    }

    pub(super) async fn query(&self, statement: Statement) -> Result<Vec<Row>, LedgerUnavailable> {
        Ok(retried!(self, read::rows(statement))?)
    }

    pub(super) async fn query_on(&self, first: Statement, follow: Follow) -> Result<Vec<Vec<Row>>, LedgerUnavailable> {
        Ok(retried!(self, read::rows_on(first, follow))?)
    }

    pub(super) async fn change(&self, statement: Statement) -> Result<u64, LedgerUnavailable> {
        Ok(retried!(self, keep::change(statement))?)
    }

    pub(super) async fn returning(&self, statement: Statement) -> Result<Vec<Row>, LedgerUnavailable> {
        Ok(retried!(self, read::rows(statement))?)
    }

    pub(super) async fn guarded(&self, guard: Statement, effects: Vec<Statement>) -> Result<bool, CommitError> {
        Ok(retried!(self, apply::guarded(guard, effects))?)
    }
}

impl Database {
    /// Does the work, again while other transactions stand in its way: each time a little later, and not all at once.
    ///
    /// The work gives its session back. If it does not come to that, the session's connection is closed.
    async fn retried<T, W>(&self, work: impl Fn(Session) -> W) -> Result<T, Failed>
    where
        W: Future<Output = (Session, Result<T, Failed>)>,
    {
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(5))
            .with_max_delay(Duration::from_millis(250))
            .with_max_times(COLLISIONS_MAX)
            .with_jitter()
            .build();
        loop {
            match self.once(self.timeouts.transaction, &work).await {
                Err(Failed { fault: Fault::Again(reason), of }) => {
                    metrics::counter!("tidegate_ledger_collisions_total").increment(1);
                    let Some(delay) = delays.next() else {
                        return Err(Failed { fault: Fault::Unavailable(reason), of });
                    };
                    tokio::time::sleep(delay).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Does the work once, and decides whether its connection can be used again.
    async fn once<T, W>(&self, limit: Duration, work: impl FnOnce(Session) -> W) -> Result<T, Failed>
    where
        W: Future<Output = (Session, Result<T, Failed>)>,
    {
        let session = Session::open(&self.pool).await.inspect_err(|_| self.doubt.notify_one())?;
        let Ok((session, outcome)) = tokio::time::timeout(limit, work(session)).await else {
            self.doubt.notify_one();
            return Err(Fault::Unavailable(format!("no answer within {limit:?}")).into());
        };
        match &outcome {
            Ok(_) => {
                self.successes.fetch_add(1, Ordering::Relaxed);
                session.give_back();
            }
            Err(Failed { fault: Fault::Again(_) | Fault::Refused(_) | Fault::Duplicate(_), .. }) => {
                session.roll_back().await
            }
            Err(Failed { fault: Fault::Unavailable(_), .. }) => self.doubt.notify_one(),
        }
        outcome
    }
}
