//! The worker: takes events from the queue and applies each exactly once in effect.
//!
//! The path is a chain of types, each consumed by the step that makes the next: `Received` → `Decoded` → (effects) →
//! `Committed` → `Settled`. Only what is committed, durably retried or durably dead is acknowledged to the queue.
//!
//! Guaranteed: the effects that a handler returns are committed once per event, however often it is delivered. Not
//! guaranteed: that a handler runs once (calls to the outside world carry an idempotency key for that), or that order
//! is kept.
//!
//! A worker of one's own is a few lines: see [`Worker`].

use std::fmt;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tidegate_shared::cache::Cache;
use tidegate_shared::cache::embedded::EmbeddedCache;
use tidegate_shared::cache::redis::RedisCache;
use tidegate_shared::claims::Claims;
use tidegate_shared::claims::embedded::EmbeddedClaims;
use tidegate_shared::claims::redis::RedisClaims;
use tidegate_shared::config::{Backend, Config};
use tidegate_shared::health::HealthCell;
use tidegate_shared::ledger::Ledger;
use tidegate_shared::ledger::embedded::EmbeddedLedger;
use tidegate_shared::ledger::postgres::PostgresLedger;
use tidegate_shared::queue::embedded::EmbeddedQueue;
use tidegate_shared::queue::rabbitmq::RabbitMqQueue;
use tidegate_shared::queue::{Queue, Stream};
use tidegate_shared::redis::RedisServer;
use tidegate_shared::serve::{Limits, serve};
use tidegate_shared::store::Store;
use tidegate_shared::tasks::Tasks;
use tokio::net::TcpListener;
use utoipa_axum::router::OpenApiRouter;

pub mod admin;
mod answer;
pub mod api;
mod backstop;
mod commit;
mod consume;
mod decode;
pub mod handle;
mod http;
mod in_flight;
mod openapi;
mod program;
mod retention;
pub mod saga;
mod settle;

pub use handle::{Attempt, Handler, Outcome, Registry};
pub use program::Worker;
pub use saga::{Ended, Saga, Step, StepError, StepResult};
pub use tidegate_shared::event::Event;
pub use tidegate_shared::ledger::{Effects, Migration, Value};

use admin::Admin;
use api::Apis;
use backstop::Backstop;
use commit::Committer;
use consume::Consumer;
use handle::{RunnableHandler, World};
use http::Http;
use http::login::LoginState;
use in_flight::{Held, Meter};
use settle::PatientLedger;

/// What the worker stands on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where events come from.
    pub queue: Queue,
    /// Where effects go to.
    pub ledger: Ledger,
    /// Where the answers of external APIs are kept.
    pub cache: Cache,
    /// What the door knows of events; for an operator to look at.
    pub claims: Claims,
}

impl Parts {
    /// Connects to the servers of the configuration. Never waits for them: until they answer nothing is consumed.
    ///
    /// # Errors
    /// If the backend is embedded: that is one process with the door, `tidegate dev`.
    pub fn connect(config: &Config, tasks: &Tasks) -> anyhow::Result<Self> {
        let Backend::Distributed(servers) = &config.backend else {
            anyhow::bail!(
                "backend.kind is \"embedded\", which is one process for everything: run `tidegate dev --config FILE`, \
                 or set backend.kind = \"distributed\""
            );
        };
        let redis = RedisServer::start(&servers.redis, tasks);
        Ok(Self {
            queue: Queue::RabbitMq(RabbitMqQueue::start(&servers.rabbitmq, &config.topology(), tasks)),
            ledger: Ledger::Postgres(PostgresLedger::start(&servers.postgres, tasks)),
            cache: Cache::Redis(RedisCache::new(redis.clone())),
            claims: Claims::Redis(RedisClaims::on(redis)),
        })
    }

    /// All of it on one store.
    #[must_use]
    pub fn embedded(queue: EmbeddedQueue, store: Store) -> Self {
        Self {
            claims: Claims::Embedded(EmbeddedClaims::beside(&queue)),
            queue: Queue::Embedded(queue),
            ledger: Ledger::Embedded(EmbeddedLedger::new(store.clone())),
            cache: Cache::Embedded(EmbeddedCache::new(store)),
        }
    }

    /// The servers or the store that the worker needs, for `/health`.
    pub(crate) fn components(&self) -> [&HealthCell; 2] {
        [self.queue.health(), self.ledger.health()]
    }
}

/// The listeners of a worker process.
pub struct Listeners {
    /// The admin API, with the process's metrics.
    pub admin: (TcpListener, PrometheusHandle),
    /// What another half in the same process answers on the admin API, behind its token.
    pub more_admin: Option<OpenApiRouter>,
    /// The worker's API, where it is wanted.
    pub http: Option<TcpListener>,
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { admin: (admin, _), more_admin: _, http } = self;
        f.debug_struct("Listeners").field("admin", admin).field("http", http).finish_non_exhaustive()
    }
}

/// Starts the worker, until `tasks` is told to shut down; open deliveries then finish as jobs of `tasks`.
///
/// # Errors
/// If the configuration names a handler that `registry` does not have, or that cannot be made.
pub fn start(
    listeners: Listeners,
    config: &Config,
    registry: &Registry,
    parts: Parts,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let handlers = config
        .handlers
        .iter()
        .map(|handler| registry.make(handler).map_err(|reason| anyhow::anyhow!("handler.{}: {reason}", handler.name)));
    let handlers: Vec<RunnableHandler> = handlers.collect::<Result<_, _>>()?;
    let limits = Limits::of(&config.ingest);
    let apis = Apis::start(config, &parts, tasks)?;
    let admin = Arc::new(Admin::new(config, parts.clone(), apis.clone(), tasks.clone()));
    if let (Some(listener), Some(http)) = (listeners.http, &config.http) {
        let logins = LoginState::new(apis.granted_by_users(), &http.callers);
        let http = Arc::new(Http::new(http, apis.clone(), parts.ledger.clone(), tasks.clone()));
        let router = http::router(http, admin::state_routes(Arc::clone(&admin)), logins);
        tasks.spawn("worker API", serve(listener, router, limits.clone(), tasks.clone()));
        tasks.spawn("sweep", http::sweep(parts.ledger.clone(), tasks.shutdown().clone()));
    }
    let (listener, metrics) = listeners.admin;
    let router = admin::router(Arc::clone(&admin), metrics, listeners.more_admin);
    tasks.spawn("admin listener", serve(listener, router, limits, tasks.clone()));
    tasks.spawn("worker", consume_all(config.clone(), handlers, parts, apis, admin, tasks.clone()));
    Ok(())
}

/// Brings the ledger up to date, then consumes every stream until the shutdown.
async fn consume_all(
    config: Config,
    handlers: Vec<RunnableHandler>,
    parts: Parts,
    apis: Apis,
    admin: Arc<Admin>,
    tasks: Tasks,
) {
    let ledger = PatientLedger { ledger: parts.ledger.clone(), shutdown: tasks.shutdown().clone() };
    let mut migrations: Vec<_> = handlers.iter().flat_map(RunnableHandler::migrations).collect();
    if config.http.is_some() {
        migrations.extend(http::migrations());
    }
    let migrated = ledger.until_done(|ledger| {
        let migrations = migrations.clone();
        async move { ledger.migrate(&migrations).await.inspect_err(|error| tracing::warn!(%error, "cannot migrate")) }
    });
    if migrated.await.is_none() {
        return;
    }
    admin.set_migrated();
    let topology = Arc::new(config.topology());
    let mut meter = Meter { queue: parts.queue.clone(), ledger: parts.ledger.clone(), handlers: Vec::new() };
    for (queue, handler) in topology.handlers.iter().zip(handlers) {
        let held = Held::default();
        meter.handlers.push((queue.clone(), held.clone()));
        // One each: effects that wait for a lock must not hold up another handler's.
        let committer = Committer::start(parts.ledger.clone(), config.worker.commit_batch_max.get(), &tasks);
        let consumer = Consumer {
            queue: queue.clone(),
            handler,
            topology: Arc::clone(&topology),
            committer,
            ledger: ledger.clone(),
            world: World { apis: apis.clone(), ledger: ledger.clone() },
            held,
        };
        tasks.spawn("consumer", Arc::new(consumer).run(parts.queue.clone(), tasks.clone()));
    }
    tasks.spawn("in flight", meter.run(tasks.shutdown().clone()));
    // Only now: before, there may be no tables.
    tasks.spawn("retention", retention::sweep(parts.ledger.clone(), config.retention, tasks.shutdown().clone()));
    let backstop = Arc::new(Backstop { ledger, topology });
    for stream in [Stream::Dead, Stream::Unrouted] {
        tasks.spawn("backstop", Arc::clone(&backstop).run(parts.queue.clone(), stream, tasks.clone()));
    }
    drop(backstop);
    tasks.shutdown().cancelled().await;
}
