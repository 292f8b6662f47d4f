//! Servers that stand in for each other: three nodes of RabbitMQ, a Redis Cluster, PostgreSQL with a standby.
//!
//! Always the programs of this machine. Those that are started apart are in a network of their own, where each can be cut
//! off from everybody; the others are on this machine's own address.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use tokio_postgres::NoTls;

use super::host::Host;
use super::kind::Kind;
use super::network::{Network, Place};
use super::postgres::{PostgresKind, lay_out_primary, lay_out_standby};
use super::process::{Process, output_of};
use super::redis::{RedisKind, lay_out_cluster_node};
use super::{Postgres, Redis, Server, find};
use crate::eventually::eventually;

mod rabbitmq;

pub use rabbitmq::{CutOff, RabbitMqCluster};

/// How long nodes may take to agree, on a busy machine.
const AGREE: Duration = Duration::from_secs(60);

/// How long a write may take that is done at once, or never.
const WRITE: Duration = Duration::from_secs(3);

/// Why Docker or a URL does not help where a program is missing.
const OF_PROGRAMS: &str = "a cluster is made of this machine's programs";

/// Why nothing can be cut.
const NOT_APART: &str = "what is to be cut off must be started apart";

async fn start<K: Kind>(process: Process) -> Result<Server<K>> {
    process.start()?;
    let (host, kind) = (Host::Process(Box::new(process)), std::marker::PhantomData);
    let addr = host.addr()?;
    let server = Server { url: K::url(addr), addr, host, kind };
    server.until_it_answers().await?;
    Ok(server)
}

/// Three masters of Redis with a replica each.
#[derive(Debug)]
pub struct RedisCluster {
    /// The nodes, masters first.
    pub nodes: Vec<Redis>,
    network: Option<Network>,
}

impl RedisCluster {
    /// Starts the nodes, and has them share the keys.
    ///
    /// # Errors
    /// If one does not start or join.
    pub async fn start() -> Result<Self> {
        Self::start_in(None).await
    }

    /// The same in a network of their own, where each can be cut off.
    ///
    /// # Errors
    /// If there is no such network, or a node does not start or join.
    pub async fn start_apart() -> Result<Self> {
        Self::start_in(Some(Network::create().await?)).await
    }

    async fn start_in(mut network: Option<Network>) -> Result<Self> {
        let program = RedisKind::programs().context(OF_PROGRAMS)?;
        let client = find::program("redis-cli", &[]).context("redis-cli is missing: install redis-tools")?;
        let mut starting = Vec::new();
        for _ in 0..6 {
            let place = place_in(&mut network).await?;
            starting.push(start(lay_out_cluster_node(&program, place.as_ref())?));
        }
        let nodes: Vec<Redis> = try_join_all(starting).await?;
        let mut create = std::process::Command::new(&client);
        create.args(["--cluster", "create"]).args(nodes.iter().map(|node| node.addr().to_string()));
        create.args(["--cluster-replicas", "1", "--cluster-yes"]);
        output_of(create).await?;
        let cluster = Self { nodes, network };
        for node in 0..cluster.nodes.len() {
            cluster.until_whole(node).await?;
        }
        Ok(cluster)
    }

    /// Drops whatever is sent to a node and by it, from now on.
    ///
    /// # Errors
    /// If the nodes were not started apart.
    pub async fn isolate(&self, node: usize) -> Result<()> {
        self.network.as_ref().context(NOT_APART)?.unplug(node).await
    }

    /// Gives the node its way back.
    ///
    /// # Errors
    /// If the nodes were not started apart.
    pub async fn heal(&self, node: usize) -> Result<()> {
        self.network.as_ref().context(NOT_APART)?.plug(node).await
    }

    /// Waits until a node sees a whole cluster, and is a master or follows one: a replica that never had its master's keys
    /// does not take its place.
    ///
    /// # Errors
    /// If it does not.
    pub async fn until_whole(&self, node: usize) -> Result<()> {
        eventually("the cluster is well", AGREE, || async {
            let ask = async |command: &[&str]| self.ask(node, command).await.map_err(|error| format!("{error:#}"));
            let (info, role) = (ask(&["cluster", "info"]).await?, ask(&["info", "replication"]).await?);
            let is_well = info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6");
            let follows = role.contains("role:master") || role.contains("master_link_status:up");
            if is_well && follows { Ok(()) } else { Err(format!("{info}\n{role}")) }
        })
        .await
    }

    /// Asks a node from where it runs, on its side of a cut.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn ask(&self, node: usize, command: &[&str]) -> Result<String> {
        let node = &self.nodes[node];
        let (ip, port) = (node.addr().ip().to_string(), node.addr().port().to_string());
        node.run_tool("redis-cli", &[&["-h", &ip, "-p", &port], command].concat()).await
    }

    /// Every node's URL.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.url().to_owned()).collect()
    }
}

/// The next place in a network, if there is one.
async fn place_in(network: &mut Option<Network>) -> Result<Option<Place>> {
    match network {
        None => Ok(None),
        Some(network) => network.make_place().await.map(Some),
    }
}

/// One of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// The server that took writes at first.
    Primary,
    /// The one that followed.
    Standby,
}

impl Member {
    /// In the order in which they were started.
    fn place(self) -> usize {
        match self {
            Self::Primary => 0,
            Self::Standby => 1,
        }
    }
}

/// A PostgreSQL server whose commits wait for its standby.
#[derive(Debug)]
pub struct PostgresPair {
    /// The one that takes writes at first.
    pub primary: Postgres,
    /// The one that follows.
    pub standby: Postgres,
    network: Option<Network>,
}

impl PostgresPair {
    /// Starts both.
    ///
    /// # Errors
    /// If one does not start, or the standby does not follow.
    pub async fn start() -> Result<Self> {
        Self::start_in(None).await
    }

    /// The same in a network of their own, where each can be cut off.
    ///
    /// # Errors
    /// If there is no such network, one does not start, or the standby does not follow.
    pub async fn start_apart() -> Result<Self> {
        Self::start_in(Some(Network::create().await?)).await
    }

    async fn start_in(mut network: Option<Network>) -> Result<Self> {
        let program = PostgresKind::programs().context(OF_PROGRAMS)?;
        let place = place_in(&mut network).await?;
        let primary: Postgres = start(lay_out_primary(&program, place.as_ref()).await?).await?;
        let place = place_in(&mut network).await?;
        let standby: Postgres = start(lay_out_standby(&program, primary.addr(), place.as_ref()).await?).await?;
        let pair = Self { primary, standby, network };
        // Each by itself: ALTER SYSTEM refuses to be part of a transaction.
        for sql in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
            run(&pair.primary, sql).await?;
        }
        pair.until_whole().await?;
        Ok(pair)
    }

    /// Waits until commits at the primary wait for the standby, and that one follows.
    ///
    /// # Errors
    /// If it does not.
    pub async fn until_whole(&self) -> Result<()> {
        eventually("commits wait for the standby", AGREE, || async {
            let states = number(
                &self.primary,
                "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'",
            );
            match states.await {
                Ok(1) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Drops whatever is sent to one of them and by it, from now on.
    ///
    /// # Errors
    /// If they were not started apart.
    pub async fn isolate(&self, member: Member) -> Result<()> {
        self.network.as_ref().context(NOT_APART)?.unplug(member.place()).await
    }

    /// Gives it its way back.
    ///
    /// # Errors
    /// If they were not started apart.
    pub async fn heal(&self, member: Member) -> Result<()> {
        self.network.as_ref().context(NOT_APART)?.plug(member.place()).await
    }

    /// Writes at one of them from where it runs, on its side of a cut, and answers whether it said that this is done.
    ///
    /// # Errors
    /// If it refuses.
    pub async fn confirms_writes(&self, member: Member) -> Result<bool> {
        let server = match member {
            Member::Primary => &self.primary,
            Member::Standby => &self.standby,
        };
        let psql = PostgresKind::programs().context(OF_PROGRAMS)?.with_file_name("psql");
        let psql = psql.to_str().context("its path is text")?;
        let (ip, port) = (server.addr().ip().to_string(), server.addr().port().to_string());
        // It touches no table, and is part of what the standby must have.
        let sql = "SELECT pg_logical_emit_message(true, 'tidegate', 'a write')";
        let arguments = ["-h", &ip, "-p", &port, "-U", "postgres", "-d", "postgres", "-Atqc", sql];
        match tokio::time::timeout(WRITE, server.run_tool(psql, &arguments)).await {
            Ok(done) => done.map(|_| true),
            Err(_waits) => Ok(false),
        }
    }

    /// Both URLs.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        [&self.primary, &self.standby].map(|server| server.url().to_owned()).to_vec()
    }

    /// Has the standby take writes from now on.
    ///
    /// # Errors
    /// If it refuses.
    pub async fn promote(&self) -> Result<()> {
        let promoted = number(&self.standby, "SELECT pg_promote()::int::bigint").await?;
        ensure!(promoted == 1, "the standby was not promoted in time");
        Ok(())
    }
}

async fn connect(server: &Postgres) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(server.url(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn run(server: &Postgres, sql: &str) -> Result<()> {
    Ok(connect(server).await?.batch_execute(sql).await?)
}

async fn number(server: &Postgres, sql: &str) -> Result<i64> {
    Ok(connect(server).await?.query_one(sql, &[]).await?.try_get(0)?)
}
