//! What is measured: Tidegate's programs on one store or on servers of the run's own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use tidegate_shared::config::{Backend, Config};
use tidegate_shared::queue::rabbitmq::delete_topology;
use tidegate_tests::eventually::eventually;
use tidegate_tests::program::{Program, binary};
use tidegate_tests::sender::client;
use tidegate_tests::stack::Servers;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use crate::load;
use crate::usage::Watched;

/// How long a program may take until it is ready.
const READY: Duration = Duration::from_secs(60);

/// The default: a run's servers are its own, and each site leaves nothing behind. Others make every key of Redis longer.
const NAMESPACE: &str = "tidegate";

/// The programs, with where they keep everything.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    /// `None` where everything is one process.
    servers: Option<Arc<Servers>>,
    /// Kept: a server forks a process for each connection, which counts as its own time.
    ledger: OnceCell<Client>,
    /// What runs.
    pub programs: Vec<Program>,
}

/// What a site's configuration says beside its source.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// What the handler runs: `count` or `slow`.
    pub run: &'static str,
    /// Deliveries that it holds at once.
    pub concurrency: u16,
    /// Events in one commit at most.
    pub commit_batch_max: u16,
    /// What publishes to RabbitMQ.
    pub publisher: &'static str,
    /// How long the ledger remembers anything.
    pub retention: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self { run: "count", concurrency: 256, commit_batch_max: 256, publisher: "direct", retention: "35d" }
    }
}

impl Site {
    /// Writes the configuration, and starts nothing.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn new(servers: Option<Arc<Servers>>, setup: Setup) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tidegate-bench-").tempdir()?;
        let site = Self { folder, servers, ledger: OnceCell::new(), programs: Vec::new() };
        site.set_up(setup)?;
        Ok(site)
    }

    /// Writes another configuration for whatever is started from now on.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn set_up(&self, setup: Setup) -> Result<()> {
        Ok(std::fs::write(self.config_path(), self.config(setup))?)
    }

    fn config(&self, Setup { run, concurrency, commit_batch_max, publisher, retention }: Setup) -> String {
        let secret = format!("whsec_{}", STANDARD.encode(load::KEY));
        let backend = match &self.servers {
            None => format!("kind = \"embedded\"\npath = {:?}\n", self.folder.path().join("data")),
            Some(servers) => format!(
                "kind = \"distributed\"\nrabbitmq = {:?}\nredis = {:?}\npostgres = {:?}\n",
                servers.rabbitmq.url(),
                servers.redis.url(),
                servers.postgres.url(),
            ),
        };
        format!(
            "[ingest]\npublisher = {publisher:?}\nconnections_per_address_max = 4096\n[retention]\ninbox = {retention:?}\nevents = {retention:?}\n\
             [[source]]\nname = \"bench\"\nprovider = \"standard-webhooks\"\nsecrets = [{secret:?}]\ndedup_window = \"1d\"\n\
             [worker]\nown_handlers = [\"count\", \"slow\", \"refuse\"]\ncommit_batch_max = {commit_batch_max}\n\
             [[handler]]\nname = \"bench\"\non = [\"bench:**\"]\nrun = {run:?}\nconcurrency = {concurrency}\n\
             [backend]\n{backend}"
        )
    }

    fn config_path(&self) -> PathBuf {
        self.folder.path().join("tidegate.toml")
    }

    /// Starts a program, and waits until it is ready. Answers with its process.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(&mut self, name: &'static str) -> Result<Watched> {
        self.start_at(&binary(name)?, name, &[]).await
    }

    /// Starts the program that lies there, with more variables in its environment.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_at(
        &mut self,
        path: &Path,
        name: &'static str,
        variables: &[(String, String)],
    ) -> Result<Watched> {
        let config = self.config_path().display().to_string();
        let mut arguments = vec!["--config", &config, "--admin", "127.0.0.1:0"];
        if name != "bench-worker" {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let program = Program::start_at(path, name, &arguments, variables).await?;
        let (http, url) = (client(), format!("http://{}/ready", program.admin));
        eventually(&format!("{name} is ready"), READY, || async {
            let answer = http.get(&url).send().await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
        })
        .await?;
        let watched = Watched::listening_on(name, program.admin)?;
        self.programs.push(program);
        Ok(watched)
    }

    /// Where the program that was started first receives events.
    ///
    /// # Errors
    /// If nothing was started.
    pub fn door(&self) -> Result<SocketAddr> {
        Ok(self.programs.first().context("a program was started")?.listen)
    }

    /// The exchange of this site's events, with the key of the load's.
    #[must_use]
    pub fn exchange(&self) -> (String, String) {
        (format!("{NAMESPACE}.events"), "bench.bench.event".to_owned())
    }

    /// The handler's queue.
    #[must_use]
    pub fn queue(&self) -> String {
        format!("{NAMESPACE}.handler.bench")
    }

    /// Drops what waits in the handler's queue.
    ///
    /// # Errors
    /// If the broker cannot be asked.
    pub async fn purge(&self) -> Result<()> {
        if let Some(servers) = &self.servers {
            servers.rabbitmq.rabbitmqctl(&["purge_queue", &self.queue()]).await?;
        }
        Ok(())
    }

    /// Messages in the handler's queue.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn queued(&self) -> Result<u64> {
        let Some(servers) = &self.servers else { return self.number("SELECT count(*) FROM jobs").await };
        let listed =
            servers.rabbitmq.rabbitmqctl(&["-q", "--no-table-headers", "list_queues", "name", "messages"]).await?;
        let line = listed.lines().find_map(|line| line.strip_prefix(&self.queue()));
        Ok(line.context("the queue is listed")?.trim().parse()?)
    }

    /// Effects so far.
    ///
    /// # Errors
    /// If the ledger cannot be asked.
    pub async fn effects(&self) -> Result<u64> {
        self.number("SELECT count(*) FROM bench_effects").await
    }

    /// The one number that a query answers with.
    ///
    /// # Errors
    /// If the ledger cannot be asked.
    pub async fn number(&self, sql: &str) -> Result<u64> {
        let number: i64 = match &self.servers {
            None => self.open_store()?.query_row(sql, [], |row| row.get(0))?,
            Some(_) => self.ledger().await?.query_one(sql, &[]).await?.try_get(0)?,
        };
        Ok(u64::try_from(number)?)
    }

    /// A connection to the ledger's database.
    ///
    /// # Errors
    /// If it does not answer, or is a file.
    pub async fn ledger(&self) -> Result<&Client> {
        let servers = self.servers.as_ref().context("the ledger is a file")?;
        let connect = || async {
            let (client, connection) = tokio_postgres::connect(servers.postgres.url(), NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute(&format!("SET search_path TO {NAMESPACE:?}")).await?;
            Ok(client)
        };
        self.ledger.get_or_try_init(connect).await
    }

    /// The embedded store, for reading.
    ///
    /// # Errors
    /// If it is not there.
    pub fn open_store(&self) -> Result<rusqlite::Connection> {
        let path = self.folder.path().join("data").join("tidegate.db");
        let store = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        store.busy_timeout(Duration::from_secs(10))?;
        Ok(store)
    }

    /// A file of the site's own.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stops the programs.
    ///
    /// # Errors
    /// If one does not stop.
    pub async fn stop_all(&mut self) -> Result<()> {
        for mut program in self.programs.drain(..) {
            program.terminate().await?;
        }
        Ok(())
    }

    /// Stops the programs, and deletes what they made on the servers.
    ///
    /// # Errors
    /// If one does not stop, or a server does not answer.
    pub async fn end(mut self) -> Result<()> {
        self.stop_all().await?;
        let Some(servers) = &self.servers else { return Ok(()) };
        let text = std::fs::read_to_string(self.config_path())?;
        let config = Config::parse("tidegate.toml", &text, &|_| None)?;
        if let Backend::Distributed(backend) = &config.backend {
            delete_topology(&backend.rabbitmq, &config.topology()).await?;
        }
        self.ledger().await?.batch_execute(&format!("DROP SCHEMA IF EXISTS {NAMESPACE:?} CASCADE")).await?;
        servers.flush_redis().await
    }
}
