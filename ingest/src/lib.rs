//! The door: receives webhooks, proves who sent them, and says 2xx once each is durable.
//!
//! The path is a chain of types, each consumed by the step that makes the next:
//! [`RawRequest`](receive::RawRequest) → [`VerifiedEvent`](verify::VerifiedEvent) →
//! [`ClaimedEvent`](claim::ClaimedEvent) → [`PublishedEvent`](publish::PublishedEvent) →
//! [`Accepted`](publish::Accepted). Only `Accepted` can be answered with a 2xx;
//! what a provider asks to make sure of the URL is a [`Reply`](tidegate_shared::signature::Reply) instead, and no event.
//!
//! Guaranteed: what was answered 2xx is durable in the queue, or, for a source with `on_broker_down = "spool"`, on this
//! machine's disk until it is. Not guaranteed: that it is there only once (the worker's
//! inbox drops twins), that an event which was not answered 2xx is absent, or that order is kept.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use tidegate_shared::bearer::Bearer;
use tidegate_shared::claims::{Claims, embedded::EmbeddedClaims, redis::RedisClaims};
use tidegate_shared::config::{Backend, Config, OnBrokerDown, PublisherKind};
use tidegate_shared::process;
use tidegate_shared::queue::Publisher;
use tidegate_shared::queue::rabbitmq::RabbitMqPublisher;
use tidegate_shared::serve::{Limits, serve};
use tidegate_shared::spool::Spool;
use tidegate_shared::tasks::Tasks;
use tokio::net::TcpListener;

pub mod admin;
mod admission;
pub mod claim;
mod drain;
pub mod error;
pub mod handshake;
pub mod keys;
mod lines;
pub mod offered;
pub mod openapi;
mod pace;
pub mod publish;
pub mod readiness;
pub mod receive;
pub mod rejected;
mod replay;
pub mod respond;
pub mod router;
pub mod source;
pub mod spool;
pub mod verify;

use drain::Drain;
use receive::Door;
use router::PublicService;

/// A door that has just started takes connections once it can accept their events, or after this long, to say 503:
/// until then they wait in the system's queue. Providers try again after minutes, if at all.
const OPEN_ANYWAY: Duration = Duration::from_secs(3);

/// Files of a process that are no connections of its listeners, of which there are two as a rule.
const OTHER_FILES: u64 = 256;

/// What the door stands on.
#[derive(Debug)]
pub struct Parts {
    /// Who may publish an event.
    pub claims: Claims,
    /// Where events become durable.
    pub publisher: Publisher,
    /// Where they are durable while that is away, for the sources that want it.
    pub spool: Option<Spool>,
}

impl Parts {
    /// Connects to the servers of the configuration. Never waits for them: until they answer the door is not ready.
    ///
    /// # Errors
    /// If the backend is embedded: that is one process with the worker, `tidegate dev`. If there is to be a spool, and its
    /// folder cannot be used.
    pub async fn connect(config: &Config, tasks: &Tasks) -> anyhow::Result<Self> {
        let Backend::Distributed(servers) = &config.backend else {
            anyhow::bail!(
                "backend.kind is \"embedded\", which is one process for everything: run `tidegate dev --config FILE`, \
                 or set backend.kind = \"distributed\""
            );
        };
        let topology = config.topology();
        let publisher = match config.ingest.publisher {
            PublisherKind::Lapin => RabbitMqPublisher::start(&servers.rabbitmq, &topology, tasks),
            PublisherKind::Direct => RabbitMqPublisher::start_direct(&servers.rabbitmq, &topology, tasks)?,
        };
        Ok(Self {
            claims: Claims::Redis(RedisClaims::start(&servers.redis, tasks)),
            publisher: Publisher::RabbitMq(publisher),
            spool: open_spool(config).await?,
        })
    }

    /// Stands on the embedded store, which the worker in the same process shares.
    #[must_use]
    pub fn embedded(queue: tidegate_shared::queue::embedded::EmbeddedQueue) -> Self {
        let claims = Claims::Embedded(EmbeddedClaims::beside(&queue));
        Self { claims, publisher: Publisher::Embedded(queue), spool: None }
    }
}

/// The spool that the sources ask for; if none does any more, what an earlier configuration left is drained all the same.
async fn open_spool(config: &Config) -> anyhow::Result<Option<Spool>> {
    let settings = &config.ingest.spool;
    if config.sources.values().any(|source| source.on_broker_down == OnBrokerDown::Spool) {
        let opened = Spool::open(settings).await;
        return Ok(Some(opened.with_context(|| format!("cannot use ingest.spool, {}", settings.path.display()))?));
    }
    Ok(settings.path.is_dir().then(|| Spool::drain_only(settings)))
}

/// The listeners of an ingest process.
#[derive(Debug)]
pub struct Listeners {
    /// For providers.
    pub door: TcpListener,
    /// For Prometheus, unless another half of the same process has it.
    pub admin: Option<(TcpListener, PrometheusHandle)>,
}

/// As [`start`] with a door that was made before, on a thread of its own: what handlers in the same process do holds up no request, and a request moves
/// between no processors.
///
/// # Errors
/// If the system gives no thread.
pub fn start_on_a_thread(listeners: Listeners, config: &Config, door: Arc<Door>, tasks: &Tasks) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // A socket belongs to the runtime that watches it.
    let socket = listeners.door.into_std()?;
    let socket = {
        let _within = runtime.enter();
        TcpListener::from_std(socket)?
    };
    let listeners = Listeners { door: socket, ..listeners };
    let (config, tasks) = (config.clone(), tasks.clone());
    std::thread::Builder::new().name("door".to_owned()).spawn(move || {
        runtime.block_on(async {
            start_door(listeners, &config, door, &tasks);
            tasks.ended().await;
        });
    })?;
    Ok(())
}

/// Starts receiving, until `tasks` is told to shut down; open requests then finish as jobs of `tasks`.
pub fn start(listeners: Listeners, config: &Config, parts: Parts, tasks: &Tasks) {
    start_door(listeners, config, Arc::new(Door::new(config, parts, tasks.clone())), tasks);
}

fn start_door(listeners: Listeners, config: &Config, door: Arc<Door>, tasks: &Tasks) {
    let limits = Limits::of_the_door(&config.ingest);
    process::allow_open_files(2 * limits.connections_max.get() as u64 + OTHER_FILES);
    if let Some((listener, metrics)) = listeners.admin {
        let bearer = Bearer::new(config.admin.token.as_ref());
        let router = admin::router(Arc::clone(&door), bearer, metrics);
        tasks.spawn("admin listener", serve(listener, router, Limits::of(&config.ingest), tasks.clone()));
    }
    if let Some(spool) = door.parts.spool.clone() {
        let drain = Drain::new(Arc::clone(&door), spool);
        tasks.spawn("drain", drain.run());
    }
    if let Some(rejected) = door.rejected.clone() {
        tasks.spawn("rejected", rejected.write(tasks.clone()));
    }
    let tasks_of_door = tasks.clone();
    tasks.spawn("door", async move {
        door.until_ready(OPEN_ANYWAY).await;
        serve(listeners.door, PublicService::new(door), limits, tasks_of_door).await;
    });
}
