//! The connection to Redis: made again and again by one task, and probed while nobody asks.
//!
//! redis-rs' own `ConnectionManager` is not used: it keeps a connection whose other end is silent, and makes a caller
//! wait through its reconnects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisError, RedisFuture,
    ServerErrorKind, Value,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::health::{Health, HealthCell};
use crate::telemetry::chain;

/// Time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a connection to one node of a cluster; the others wait for it, and one that is silent must not take all of
/// their time.
const NODE_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a connection to be made to each node of a cluster.
const CLUSTER_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// Between two probes.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Time for a probe. More than a claim has: a slow server is not a lost connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Silent probes in a row after which the connection is replaced; of a cluster, probes that failed in any way.
const SILENT_PROBES_MAX: u32 = 2;
/// How often a command is sent again to a node of a cluster that has not answered it: a `SET NX` that comes again finds its
/// own token, and is not worth more time than one detour takes.
const CLUSTER_RETRIES: u32 = 1;
/// Commands that may wait to be written to the connection.
const PIPELINE_MAX: usize = 1_024;
/// Keys of a probe of a cluster: among eight masters, the chance that one has none of them is one in six hundred.
const CLUSTER_PROBES: usize = 64;
/// How long a probe's key stands; it is written under no event's name.
const PROBE_KEY_MS: u64 = 1;

/// How to get to Redis.
#[derive(Clone)]
pub(super) enum Way {
    /// To one server.
    Single(Client),
    /// To a cluster.
    Cluster(Box<ClusterClient>, String),
}

impl Way {
    /// By one URL to that server, by several to the cluster that their nodes are of.
    pub(super) fn to(urls: &[&str]) -> Result<Self, RedisError> {
        if let [url] = urls {
            return Client::open(*url).map(Self::Single);
        }
        let nodes = urls.iter().map(|url| url.into_connection_info()).collect::<Result<Vec<_>, _>>()?;
        let shown = nodes.iter().map(|node| node.addr().to_string()).collect::<Vec<_>>().join(", ");
        let cluster = ClusterClient::builder(nodes)
            .retries(CLUSTER_RETRIES)
            .connection_timeout(NODE_CONNECT_TIMEOUT)
            .response_timeout(PROBE_TIMEOUT)
            .build()?;
        Ok(Self::Cluster(Box::new(cluster), shown))
    }

    /// The keys of a probe, all of which begin with `prefix`.
    pub(super) fn probe_keys(&self, prefix: &str) -> Vec<String> {
        let count = if self.is_single() { 1 } else { CLUSTER_PROBES };
        (0..count).map(|number| format!("{prefix}tg:{{probe-{number}}}")).collect()
    }

    pub(super) fn is_single(&self) -> bool {
        matches!(self, Self::Single(_))
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        match self {
            Self::Single(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(None) // each caller has a time limit of its own
                    .set_pipeline_buffer_size(PIPELINE_MAX); // the default of 50 would make callers wait for each other
                client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Single)
            }
            Self::Cluster(client, _) => client.get_async_connection().await.map(Connection::Cluster),
        }
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(client) => write!(f, "{}", client.get_connection_info().addr()),
            Self::Cluster(_, nodes) => write!(f, "cluster of {nodes}"),
        }
    }
}

/// A connection that many callers share.
#[derive(Clone)]
pub(crate) enum Connection {
    /// To one server.
    Single(MultiplexedConnection),
    /// To each node of a cluster.
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) fn is_of_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(cmd, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// Keeps a connection in `connections` for as long as the process lives.
pub(super) struct Keeper {
    pub(super) way: Way,
    /// The keys of a probe: of a cluster so many that each of its nodes has one, since each fails by itself.
    pub(super) probe_keys: Vec<String>,
    pub(super) connections: watch::Sender<Option<Connection>>,
    /// Told by callers whose connection was lost under them.
    pub(super) lost: Arc<Notify>,
    pub(super) health: HealthCell,
}

/// Why a connection was given up, or not made.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("this Redis does not know SET with NX and GET together: version 7.0 or newer is needed")]
    TooOld(#[source] RedisError),
    #[error("it cannot be used")]
    Redis(#[source] RedisError),
    #[error("the connection was lost")]
    Lost,
}

impl Keeper {
    /// Connects, probes, reconnects; until `shutdown`. The last connection then stays for requests under way.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        tokio::select! {
            () = self.keep() => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn keep(&self) {
        let mut is_first = true;
        loop {
            let error = match self.connect().await {
                Ok(connection) => {
                    if !std::mem::take(&mut is_first) {
                        metrics::counter!("tidegate_redis_reconnects_total").increment(1);
                    }
                    self.connections.send_replace(Some(connection.clone()));
                    let error = self.watch(connection).await;
                    self.connections.send_replace(None);
                    error
                }
                Err(error) => error,
            };
            self.health.set(Health::Down(chain(&error).to_string()));
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn connect(&self) -> Result<Connection, KeepError> {
        let limit = if self.way.is_single() { CONNECT_TIMEOUT } else { CLUSTER_CONNECT_TIMEOUT };
        match tokio::time::timeout(limit, self.way.connect()).await {
            Ok(connected) => connected.map_err(KeepError::Redis),
            Err(_) => Err(KeepError::Silent(limit)),
        }
    }

    /// Probes the connection until it is lost, and says why.
    async fn watch(&self, connection: Connection) -> KeepError {
        let mut silent = 0;
        loop {
            let error = match self.probe(&connection).await {
                Ok(()) => {
                    silent = 0;
                    self.health.set(Health::Up);
                    None
                }
                Err(KeepError::Redis(error)) if error.is_unrecoverable_error() && !connection.is_of_cluster() => {
                    return KeepError::Redis(error);
                }
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                self.health.set(Health::Down(chain(&error).to_string()));
                silent += u32::from(connection.is_of_cluster() || matches!(error, KeepError::Silent(_)));
                if silent >= SILENT_PROBES_MAX {
                    return error;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PROBE_EVERY) => {}
                () = self.lost.notified() => return KeepError::Lost,
            }
        }
    }

    /// Asks for every key, and says what went wrong with the first that something did with.
    async fn probe(&self, connection: &Connection) -> Result<(), KeepError> {
        let probes = self.probe_keys.iter().map(|key| Self::probe_key(connection.clone(), key));
        join_all(probes).await.into_iter().collect()
    }

    /// Asks for what a claim asks for: a server that is too old, read-only or out of memory answers a PING.
    async fn probe_key(mut connection: Connection, key: &str) -> Result<(), KeepError> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg("probe").arg("NX").arg("GET").arg("PX").arg(PROBE_KEY_MS);
        match tokio::time::timeout(PROBE_TIMEOUT, command.query_async::<Option<String>>(&mut connection)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError) => {
                Err(KeepError::TooOld(error))
            }
            Ok(Err(error)) => Err(KeepError::Redis(error)),
            Err(_) => Err(KeepError::Silent(PROBE_TIMEOUT)),
        }
    }
}
