//! What is measured, a scenario a file.

use std::sync::Arc;

use anyhow::Result;
use tidegate_tests::program::binary;
use tidegate_tests::stack::Servers;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::measure::{Measured, measure};
use crate::report::Finding;
use crate::usage::Watched;

pub mod apply;
pub mod growth;
pub mod hostile;
pub mod latency;
pub mod price;
pub mod receive;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Pairs of baseline and subject.
    pub rounds: usize,
    /// Seconds of each.
    pub seconds: f64,
    /// Less of everything: a look, not a figure to print.
    pub quick: bool,
}

/// What the scenarios share.
#[derive(Debug)]
pub struct Bench {
    /// How much is measured.
    pub effort: Effort,
    /// The run's own servers.
    pub servers: Arc<Servers>,
    baseline: Baseline,
}

/// Every scenario's name, and what it is about.
pub const ALL: [(&str, &str); 9] = [
    ("ingest-embedded", "the door on the embedded store against a bare axum server"),
    ("ingest-distributed", "the door on Redis and RabbitMQ against a bare axum server and a raw publisher"),
    ("latency", "answers at a steady rate, and the time from 2xx to applied"),
    ("worker", "exactly-once effects, in groups against one by one"),
    ("scale-out", "four workers with a slow handler against one"),
    ("price", "what the claim, the confirm, the fsync and the inbox row cost"),
    ("hostile", "honest senders beside two thousand slow clients against as many idle ones"),
    ("growth", "millions of rows, messages and claims against none"),
    ("upkeep", "a claim's memory, a sweep beside full load, a replay of many dead letters"),
];

impl Bench {
    /// Starts the servers and the baseline.
    ///
    /// # Errors
    /// If one does not start.
    pub async fn start(effort: Effort) -> Result<Self> {
        Ok(Self { effort, servers: Servers::own().await?, baseline: Baseline::start().await? })
    }

    /// Runs one scenario.
    ///
    /// # Errors
    /// If there is none of this name, or something of it fails.
    pub async fn run(&self, name: &str) -> Result<Vec<Finding>> {
        match name {
            "ingest-embedded" => receive::embedded(self).await,
            "ingest-distributed" => receive::distributed(self).await,
            "latency" => latency::latency(self).await,
            "worker" => apply::worker(self).await,
            "scale-out" => apply::scale_out(self).await,
            "price" => price::price(self).await,
            "hostile" => hostile::hostile(self).await,
            "growth" => growth::growth(self).await,
            "upkeep" => growth::upkeep(self).await,
            _ => anyhow::bail!("there is no scenario {name:?}; --list shows them"),
        }
    }

    /// Which servers it measures beside.
    ///
    /// # Errors
    /// If one does not answer.
    pub async fn versions(&self) -> Result<String> {
        let rabbitmq = self.servers.rabbitmq.rabbitmqctl(&["-q", "version"]).await?;
        let redis = redis::Client::open(self.servers.redis.url())?;
        let info: String =
            redis::cmd("INFO").arg("server").query_async(&mut redis.get_multiplexed_async_connection().await?).await?;
        let redis = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("?");
        let (postgres, connection) =
            tokio_postgres::connect(self.servers.postgres.url(), tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let postgres: String = postgres.query_one("SHOW server_version", &[]).await?.try_get(0)?;
        let postgres = postgres.split_whitespace().next().unwrap_or("?");
        Ok(format!("RabbitMQ {}, Redis {redis}, PostgreSQL {postgres}", rabbitmq.trim()))
    }

    /// One load on the baseline, which costs its process this much.
    pub(crate) async fn baseline(&self, load: &Load) -> Result<Measured> {
        let load = Load { again: load.rate.is_none(), ..load.clone() };
        load.run(self.baseline.address, std::slice::from_ref(&self.baseline.watched)).await
    }
}

/// The bare axum server.
#[derive(Debug)]
struct Baseline {
    address: std::net::SocketAddr,
    watched: Watched,
    _child: Child,
}

impl Baseline {
    async fn start() -> Result<Self> {
        let mut command = Command::new(binary("bench-baseline")?);
        let mut child = command.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = child.stdout.take().ok_or_else(|| anyhow::anyhow!("standard output is piped"))?;
        let line = BufReader::new(output).lines().next_line().await?;
        let address = line.unwrap_or_default().parse()?;
        Ok(Self { address, watched: Watched::listening_on("bare axum", address)?, _child: child })
    }
}

/// A load, as arguments of `bench-load`.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    pub(crate) events: usize,
    pub(crate) again: bool,
    pub(crate) rate: Option<f64>,
    pub(crate) answers: Option<std::path::PathBuf>,
}

impl Load {
    /// As fast as answers come, over so many connections.
    pub(crate) fn closed(effort: Effort, connections: usize) -> Self {
        // More than any door has accepted here in a second.
        let events = ((effort.seconds + 1.0) * 60_000.0) as usize;
        Self { connections, seconds: effort.seconds, events, again: false, rate: None, answers: None }
    }

    /// So many a second, whatever the answers take.
    pub(crate) fn open(effort: Effort, rate: f64) -> Self {
        let events = ((effort.seconds + 2.0) * rate) as usize;
        Self { connections: 64, seconds: effort.seconds, events, again: false, rate: Some(rate), answers: None }
    }

    pub(crate) async fn run(&self, to: std::net::SocketAddr, watched: &[Watched]) -> Result<Measured> {
        let ids = uuid::Uuid::new_v4().simple().to_string();
        let mut arguments = vec![
            format!("--to={to}"),
            format!("--connections={}", self.connections),
            format!("--seconds={}", self.seconds),
            format!("--events={}", self.events),
            format!("--ids={}", &ids[..12]),
        ];
        arguments.extend(self.again.then(|| "--again".to_owned()));
        arguments.extend(self.rate.map(|rate| format!("--rate={rate}")));
        arguments.extend(self.answers.as_ref().map(|path| format!("--answers={}", path.display())));
        let measured = measure("bench-load", &arguments, watched).await?;
        anyhow::ensure!(measured.sent.refused == 0, "{} events were refused", measured.sent.refused);
        Ok(measured)
    }
}
