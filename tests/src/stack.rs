//! Tidegate as a user runs it, on one of the two backends, with a configuration of the test's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use reqwest::Client;
use tempfile::TempDir;
use tidegate_shared::config::{Backend as Configured, Config};
use tidegate_shared::queue::rabbitmq::delete_topology;

use crate::eventually::eventually;
use crate::program::Program;
use crate::sender::{SECRET, client};

mod look;
mod servers;

pub use self::servers::{Servers, Urls};

/// How long anything may take that must happen soon: a debug build beside two servers on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Sources of most tests: one of each kind, with the tests' secret.
pub const SOURCES: &str = r#"
[[source]]
name = "github"
provider = "github"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "stripe"
provider = "stripe"
secrets = ["tidegate-test-secret-of-32-bytes"]
[[source]]
name = "demo"
provider = "generic"
secrets = ["tidegate-test-secret-of-32-bytes"]
"#;

/// Which of the two ways to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// One process on the embedded store.
    Embedded,
    /// Ingest and worker over RabbitMQ, Redis and PostgreSQL.
    Distributed,
}

/// Where a stack keeps its data.
#[derive(Debug)]
enum Store {
    Embedded,
    Distributed { _servers: Option<Arc<Servers>>, urls: Urls, namespace: String },
}

/// A running Tidegate.
#[derive(Debug)]
pub struct Stack {
    store: Store,
    folder: TempDir,
    http: Client,
    /// More environment for the ingests (or the one process) that are started from now on.
    pub variables: Vec<(String, String)>,
    /// `tidegate-ingest`, or `tidegate dev` where everything is one process.
    pub ingests: Vec<Program>,
    /// `tidegate-worker`; none where everything is one process.
    pub workers: Vec<Program>,
}

impl Stack {
    /// Starts one ingest and one worker, or one process with both, and waits until they are ready.
    ///
    /// `config` has the sources, the handlers and whatever else the test wants.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn start(backend: Backend, config: &str) -> Result<Self> {
        let servers = match backend {
            Backend::Embedded => None,
            Backend::Distributed => Some(Servers::shared().await?),
        };
        let mut stack = Self::prepare(servers, config)?;
        stack.start_ingest().await?;
        stack.start_worker().await?;
        stack.until_ready().await?;
        Ok(stack)
    }

    /// Starts on servers of the test's own.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn start_on(servers: Arc<Servers>, config: &str) -> Result<Self> {
        let mut stack = Self::prepare(Some(servers), config)?;
        stack.start_ingest().await?;
        stack.start_worker().await?;
        stack.until_ready().await?;
        Ok(stack)
    }

    /// Writes the configuration and starts nothing.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn prepare(servers: Option<Arc<Servers>>, config: &str) -> Result<Self> {
        let urls = servers.as_deref().map(Urls::of);
        Self::prepare_at(urls, servers, config)
    }

    /// Starts on servers that the test keeps itself.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn start_at(urls: Urls, config: &str) -> Result<Self> {
        let mut stack = Self::prepare_at(Some(urls), None, config)?;
        stack.start_ingest().await?;
        stack.start_worker().await?;
        stack.until_ready().await?;
        Ok(stack)
    }

    fn prepare_at(urls: Option<Urls>, servers: Option<Arc<Servers>>, config: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (store, backend) = match urls {
            None => {
                let path = folder.path().join("data");
                (Store::Embedded, format!("kind = \"embedded\"\npath = {path:?}\n"))
            }
            Some(urls) => {
                let namespace = format!("test-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
                let backend = format!(
                    "kind = \"distributed\"\nrabbitmq = {:?}\nredis = {:?}\npostgres = {:?}\nnamespace = {namespace:?}\n",
                    urls.rabbitmq, urls.redis, urls.postgres,
                );
                (Store::Distributed { _servers: servers, urls, namespace }, backend)
            }
        };
        let config = with_rejected_path(config, &folder.path().join("rejected"));
        std::fs::write(folder.path().join("tidegate.toml"), format!("{config}\n[backend]\n{backend}"))?;
        let (variables, ingests, workers) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { store, folder, http: client(), variables, ingests, workers })
    }

    /// Starts one more ingest (or the one process).
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_ingest(&mut self) -> Result<()> {
        let program = self.ingest_at("127.0.0.1:0", "127.0.0.1:0").await?;
        self.ingests.push(program);
        Ok(())
    }

    /// Starts one more worker, where workers are processes of their own.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_worker(&mut self) -> Result<()> {
        if let Store::Distributed { .. } = self.store {
            let arguments = self.arguments(&["--admin", "127.0.0.1:0"]);
            self.workers.push(Program::start("tidegate-worker", &arguments).await?);
        }
        Ok(())
    }

    /// Starts whatever runs the handlers, once more.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_handlers(&mut self) -> Result<()> {
        match self.store {
            Store::Embedded => self.start_ingest().await?,
            Store::Distributed { .. } => self.start_worker().await?,
        }
        self.until_ready().await
    }

    /// A URL of the worker's API, of the worker `number` (or of the one process).
    ///
    /// # Panics
    /// If the configuration has no `[http]`.
    #[must_use]
    pub fn api_url_of(&self, number: usize, path: &str) -> String {
        let workers = if self.workers.is_empty() { &self.ingests } else { &self.workers };
        let http = workers[number].http.expect("the configuration has [http]");
        format!("http://{http}{path}")
    }

    /// A URL of the first worker's API.
    #[must_use]
    pub fn api_url(&self, path: &str) -> String {
        self.api_url_of(0, path)
    }

    /// Kills whatever runs the handlers with -9, and starts it again.
    ///
    /// # Errors
    /// If it does not start again.
    pub async fn crash_handlers(&mut self) -> Result<()> {
        if self.workers.is_empty() { self.crash_ingest(0).await } else { self.crash_worker(0).await }
    }

    /// Kills an ingest (or the one process) with -9 and starts it again at the same address.
    ///
    /// # Errors
    /// If it does not start again.
    pub async fn crash_ingest(&mut self, number: usize) -> Result<()> {
        let (listen, admin) = (self.ingests[number].listen, self.ingests[number].admin);
        self.ingests[number].kill().await?;
        self.ingests[number] = self.ingest_at(&listen.to_string(), &admin.to_string()).await?;
        Ok(())
    }

    /// Starts an ingest again that has stopped, at the same address.
    ///
    /// # Errors
    /// If it does not start again.
    pub async fn restart_ingest_at(&mut self, number: usize, listen: SocketAddr, admin: SocketAddr) -> Result<()> {
        self.ingests[number] = self.ingest_at(&listen.to_string(), &admin.to_string()).await?;
        Ok(())
    }

    /// Kills a worker with -9 and starts it again.
    ///
    /// # Errors
    /// If it does not start again.
    pub async fn crash_worker(&mut self, number: usize) -> Result<()> {
        self.workers[number].kill().await?;
        let arguments = self.arguments(&["--admin", "127.0.0.1:0"]);
        self.workers[number] = Program::start("tidegate-worker", &arguments).await?;
        Ok(())
    }

    async fn ingest_at(&self, listen: &str, admin: &str) -> Result<Program> {
        let at = ["--listen", listen, "--admin", admin];
        match self.store {
            Store::Embedded => {
                let arguments = [vec!["dev".to_owned()], self.arguments(&at)].concat();
                Program::start_with("tidegate", &arguments, &self.variables).await
            }
            Store::Distributed { .. } => {
                Program::start_with("tidegate-ingest", &self.arguments(&at), &self.variables).await
            }
        }
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let config = self.config_path();
        ["--config", &config].iter().chain(more).map(|&argument| argument.to_owned()).collect()
    }

    /// The configuration file.
    #[must_use]
    pub fn config_path(&self) -> String {
        self.folder.path().join("tidegate.toml").display().to_string()
    }

    /// Waits until every process can do its work.
    ///
    /// # Errors
    /// If one cannot.
    pub async fn until_ready(&self) -> Result<()> {
        for program in self.ingests.iter().chain(&self.workers) {
            self.until_ready_at(&format!("http://{}/ready", program.admin)).await?;
        }
        Ok(())
    }

    async fn until_ready_at(&self, url: &str) -> Result<()> {
        eventually(&format!("{url} is ready"), SOON, || async {
            let answer = self.http.get(url).send().await.map_err(|error| error.to_string())?;
            let status = answer.status();
            if status.is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
        })
        .await
    }

    /// The name of a handler's queue on RabbitMQ.
    #[must_use]
    pub fn queue_of(&self, handler: &str) -> String {
        match &self.store {
            Store::Embedded => handler.to_owned(),
            Store::Distributed { namespace, .. } => format!("{namespace}.handler.{handler}"),
        }
    }

    /// Where requests that did not verify are kept, unless the test says where itself.
    #[must_use]
    pub fn rejected(&self) -> PathBuf {
        self.folder.path().join("rejected")
    }

    /// The admin API of the first ingest.
    #[must_use]
    pub fn door_admin(&self) -> String {
        format!("http://{}", self.ingests[0].admin)
    }

    /// The folder of the embedded store.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where to send a source's events, at the first ingest.
    #[must_use]
    pub fn url(&self, source: &str) -> String {
        format!("http://{}/webhooks/{source}", self.ingests[0].listen)
    }

    /// Where to send a source's events, at every ingest.
    #[must_use]
    pub fn urls(&self, source: &str) -> Vec<String> {
        self.ingests.iter().map(|ingest| format!("http://{}/webhooks/{source}", ingest.listen)).collect()
    }

    /// The admin API's URL.
    #[must_use]
    pub fn admin(&self) -> String {
        format!("http://{}", self.workers.first().unwrap_or(&self.ingests[0]).admin)
    }

    /// Has RabbitMQ lose what waits for a handler, as a broker with a defect would: without a word.
    ///
    /// # Errors
    /// If the backend is embedded, or RabbitMQ does not answer.
    pub async fn lose_queue_of(&self, handler: &str) -> Result<()> {
        let Store::Distributed { urls, .. } = &self.store else { bail!("the queue is a table") };
        let connection = lapin::Connection::connect(&urls.rabbitmq[0], lapin::ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let queue = self.queue_of(handler);
        channel.queue_purge(queue.into(), lapin::options::QueuePurgeOptions { nowait: false }).await?;
        Ok(connection.close(200, "OK".into()).await?)
    }

    /// Stops every process gracefully, and makes sure that nothing was left behind or complained about.
    ///
    /// # Errors
    /// If a process did not finish its work, logged an error, or dropped a delivery.
    pub async fn finish(mut self) -> Result<()> {
        let mut programs: Vec<Program> = self.ingests.drain(..).chain(self.workers.drain(..)).collect();
        for program in &mut programs {
            let metrics = self.metrics(program).await?;
            ensure!(!metrics.contains("tidegate_tickets_dropped_total"), "a delivery was dropped unsettled: {metrics}");
            let ended = program.terminate().await?;
            ensure!(ended.success(), "it ended with {ended}: {}", program.log_text());
            let errors = program.logged("ERROR");
            ensure!(errors.is_empty(), "it complained: {errors:#?}");
            ensure!(!program.log_text().contains(SECRET), "a secret stands in the log");
        }
        self.clean_up().await
    }

    /// Deletes what the stack made on shared servers.
    ///
    /// # Errors
    /// If a server does not answer.
    pub async fn clean_up(&self) -> Result<()> {
        let Store::Distributed { namespace, .. } = &self.store else { return Ok(()) };
        let text = std::fs::read_to_string(self.config_path())?;
        let config = Config::parse("tidegate.toml", &text, &|_| None)?;
        let Configured::Distributed(configured) = &config.backend else { bail!("the stack is distributed") };
        delete_topology(&configured.rabbitmq, &config.topology()).await?;
        let client = self.connect_ledger().await?;
        Ok(client.batch_execute(&format!("DROP SCHEMA IF EXISTS {namespace:?} CASCADE")).await?)
    }
}

/// Each stack keeps what it rejects in a folder of its own: the usual one is where the tests run.
fn with_rejected_path(config: &str, path: &Path) -> String {
    const TABLE: &str = "[ingest.rejected]\n";
    let table = format!("{TABLE}path = {path:?}\n");
    match config.split_once(TABLE) {
        Some((_, rest))
            if rest.lines().take_while(|line| !line.starts_with('[')).any(|line| line.starts_with("path")) =>
        {
            config.to_owned()
        }
        Some((before, rest)) => format!("{before}{table}{rest}"),
        None => format!("{config}\n{table}"),
    }
}
