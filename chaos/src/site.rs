//! What is broken: Tidegate's programs as a user runs them, on servers that belong to the round.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tempfile::TempDir;
use tidegate_tests::chaos_proxy::ChaosProxy;
use tidegate_tests::eventually::eventually;
use tidegate_tests::program::Program;
use tidegate_tests::sender::{SECRET, client};
use tidegate_tests::stack::Servers;

mod ledger;
mod publisher;

pub use publisher::{Published, Publisher};

/// How long a claim holds whose request does not finish: short, so that a program can be frozen for longer.
pub const LEASE: Duration = Duration::from_secs(2);
/// How long everything may take to be ready again once nothing is broken any more.
const READY: Duration = Duration::from_secs(60);
/// A deadline that only a process without work to wait for can meet.
pub(crate) const HANDLERS: &str = r#"
[worker]
own_handlers = ["effect"]
shutdown_grace = "20s"
[[handler]]
name = "effect"
on = ["chaos:**"]
run = "effect"
retry = ["100ms", "300ms"]
concurrency = 64
timeout = "15s"
"#;

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One process on the embedded store.
    Embedded {
        /// Whether senders go through a proxy.
        proxied: bool,
    },
    /// Ingests and workers over RabbitMQ, Redis and PostgreSQL.
    Distributed {
        /// How many ingests.
        ingests: usize,
        /// How many workers.
        workers: usize,
        /// Whether each goes through a proxy to each server, and senders through one to each ingest.
        proxied: bool,
        /// Whether events wait on the ingest's disk while RabbitMQ is away.
        spooling: bool,
    },
}

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Senders to the ingest with this number, or to the one process.
    Door(usize),
    /// Ingests to RabbitMQ.
    IngestRabbitMq,
    /// Ingests to Redis.
    IngestRedis,
    /// Workers to RabbitMQ.
    WorkerRabbitMq,
    /// Workers to Redis.
    WorkerRedis,
    /// Workers to PostgreSQL.
    WorkerPostgres,
}

#[derive(Debug)]
enum Backend {
    Embedded,
    Distributed { servers: Arc<Servers>, namespace: String },
}

/// The programs with their servers.
#[derive(Debug)]
pub struct Site {
    backend: Backend,
    published: Published,
    /// What stands between those who talk; none where lines are not broken.
    proxies: Vec<(Link, ChaosProxy)>,
    folder: TempDir,
    /// Where the programs lie that are started now, if not with this one.
    from: Option<PathBuf>,
    /// `tidegate-ingest`, or the one process.
    ingests: Vec<Program>,
    workers: Vec<Program>,
}

/// Which programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The ingests, or the one process.
    Ingest,
    /// The workers; there are none where everything is one process.
    Worker,
}

impl Site {
    /// Starts everything, and waits until it is ready. The programs are those in the folder `from`, if there is one; what
    /// is started later is of this build. Ingests of this build publish with `publisher`.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn start(
        shape: Shape,
        servers: Option<Arc<Servers>>,
        from: Option<&Path>,
        publisher: Publisher,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tidegate-chaos-").tempdir()?;
        let (ingests, workers, proxied, spooling, backend) = match (shape, servers) {
            (Shape::Embedded { proxied }, _) => (1, 0, proxied, false, Backend::Embedded),
            (Shape::Distributed { .. }, None) => bail!("this scenario needs servers"),
            (Shape::Distributed { ingests, workers, proxied, spooling }, Some(servers)) => {
                let namespace = format!("chaos-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
                (ingests, workers, proxied, spooling, Backend::Distributed { servers, namespace })
            }
        };
        let published = match (&backend, from) {
            (Backend::Embedded, _) => Published::Embedded,
            (Backend::Distributed { .. }, None) => Published::By(publisher),
            (Backend::Distributed { .. }, Some(_)) => Published::AfterOlderBuild(publisher),
        };
        let proxies = match &backend {
            Backend::Distributed { servers, .. } if proxied => proxies(servers).await?,
            Backend::Distributed { .. } | Backend::Embedded => Vec::new(),
        };
        let from = from.map(Path::to_owned);
        let mut site = Self { backend, published, proxies, folder, from, ingests: Vec::new(), workers: Vec::new() };
        site.configure(spooling)?;
        for number in 0..ingests {
            let program = site.launch(Role::Ingest, "127.0.0.1:0", "127.0.0.1:0").await?;
            if proxied {
                site.proxies.push((Link::Door(number), ChaosProxy::start(program.listen).await?));
            }
            site.ingests.push(program);
        }
        for _ in 0..workers {
            let program = site.launch(Role::Worker, "", "127.0.0.1:0").await?;
            site.workers.push(program);
        }
        if site.from.take().is_some() {
            site.configure(spooling)?;
        }
        site.until_ready().await?;
        if let Backend::Distributed { servers, .. } = &site.backend {
            servers.rabbitmq.write_down_queues().await?;
        }
        Ok(site)
    }

    /// Writes the configuration of what is started from now on.
    fn configure(&self, spooling: bool) -> Result<()> {
        for role in [Role::Ingest, Role::Worker] {
            std::fs::write(self.config_path(role), self.config(role, spooling)?)?;
        }
        Ok(())
    }

    /// `ingest.publisher`, for programs that know it: builds before it refuse the key.
    fn publisher_line(&self, role: Role) -> String {
        let publisher = match self.published {
            Published::Embedded => None,
            Published::By(publisher) | Published::AfterOlderBuild(publisher) => Some(publisher),
        };
        match publisher {
            Some(publisher) if role == Role::Ingest && self.from.is_none() => {
                format!("publisher = {:?}\n", publisher.setting())
            }
            Some(_) | None => String::new(),
        }
    }

    fn config(&self, role: Role, spooling: bool) -> Result<String> {
        let spool = self.folder.path().join("spool");
        let on_broker_down = if spooling { "spool" } else { "reject" };
        let publisher = self.publisher_line(role);
        let door = format!(
            "[ingest]\npublish_timeout = \"1500ms\"\nspool = {spool:?}\n{publisher}\
             [claims]\nlease = \"{}ms\"\nwait = \"1s\"\n\
             [[source]]\nname = \"chaos\"\nprovider = \"generic\"\nsecrets = [{SECRET:?}]\n\
             on_broker_down = {on_broker_down:?}\n",
            LEASE.as_millis()
        );
        let backend = match &self.backend {
            Backend::Embedded => format!("kind = \"embedded\"\npath = {:?}\n", self.data()),
            Backend::Distributed { servers, namespace } => {
                let via = |link| self.proxy(link).map(ChaosProxy::addr);
                let (rabbitmq, redis) = match role {
                    Role::Ingest => (via(Link::IngestRabbitMq), via(Link::IngestRedis)),
                    Role::Worker => (via(Link::WorkerRabbitMq), via(Link::WorkerRedis)),
                };
                let direct = (servers.rabbitmq.addr(), servers.redis.addr(), servers.postgres.addr());
                format!(
                    "kind = \"distributed\"\nnamespace = {namespace:?}\nrabbitmq = {:?}\nredis = {:?}\npostgres = {:?}\n",
                    servers.rabbitmq.url_via(rabbitmq.unwrap_or(direct.0))?,
                    servers.redis.url_via(redis.unwrap_or(direct.1))?,
                    servers.postgres.url_via(via(Link::WorkerPostgres).unwrap_or(direct.2))?,
                )
            }
        };
        Ok(format!("{door}{HANDLERS}[backend]\n{backend}"))
    }

    /// Where this round keeps everything.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn config_path(&self, role: Role) -> PathBuf {
        self.folder.path().join(if role == Role::Ingest { "ingest.toml" } else { "worker.toml" })
    }

    async fn launch(&self, role: Role, listen: &str, admin: &str) -> Result<Program> {
        let config = self.config_path(role).display().to_string();
        let (name, listen) = match (role, &self.backend) {
            (Role::Ingest, Backend::Embedded) => ("chaos-dev", vec!["--listen", listen]),
            (Role::Ingest, Backend::Distributed { .. }) => ("tidegate-ingest", vec!["--listen", listen]),
            (Role::Worker, _) => ("chaos-worker", vec![]),
        };
        let arguments = [vec!["--config", &config, "--admin", admin], listen].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        match &self.from {
            Some(folder) => Program::start_at(&folder.join(name), name, &arguments, &[]).await,
            None => Program::start(name, &arguments).await,
        }
    }

    /// How many programs of this role there are.
    #[must_use]
    pub fn count(&self, role: Role) -> usize {
        match role {
            Role::Ingest => self.ingests.len(),
            Role::Worker => self.workers.len(),
        }
    }

    fn program(&mut self, role: Role, number: usize) -> &mut Program {
        match role {
            Role::Ingest => &mut self.ingests[number],
            Role::Worker => &mut self.workers[number],
        }
    }

    /// Kills a program with SIGKILL and starts it again at the same address, without waiting until it is ready.
    ///
    /// # Errors
    /// If it does not start again.
    pub async fn crash(&mut self, role: Role, number: usize) -> Result<()> {
        self.program(role, number).kill().await?;
        self.relaunch(role, number).await
    }

    /// Asks a program to stop, and starts it again at the same address.
    ///
    /// # Errors
    /// If it does not stop, or does not start again.
    pub async fn restart(&mut self, role: Role, number: usize) -> Result<()> {
        self.program(role, number).terminate().await?;
        self.relaunch(role, number).await
    }

    async fn relaunch(&mut self, role: Role, number: usize) -> Result<()> {
        let Program { listen, admin, .. } = *self.program(role, number);
        let program = self.launch(role, &listen.to_string(), &admin.to_string()).await?;
        *self.program(role, number) = program;
        Ok(())
    }

    /// Sends a program a signal by name.
    ///
    /// # Errors
    /// If it is gone.
    pub async fn signal(&mut self, role: Role, number: usize, signal: &str) -> Result<()> {
        self.program(role, number).signal(signal).await
    }

    /// The servers.
    ///
    /// # Errors
    /// If everything is one process.
    pub fn servers(&self) -> Result<Arc<Servers>> {
        match &self.backend {
            Backend::Embedded => bail!("the embedded way has no servers"),
            Backend::Distributed { servers, .. } => Ok(Arc::clone(servers)),
        }
    }

    /// The links that can be broken, each with what stands in it.
    #[must_use]
    pub fn proxies(&self) -> &[(Link, ChaosProxy)] {
        &self.proxies
    }

    fn proxy(&self, link: Link) -> Option<&ChaosProxy> {
        self.proxies.iter().find(|(of, _)| *of == link).map(|(_, proxy)| proxy)
    }

    /// What publishes here.
    #[must_use]
    pub fn published(&self) -> Published {
        self.published
    }

    /// Where events are sent to, at every ingest.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let door = |(number, ingest): (usize, &Program)| {
            self.proxy(Link::Door(number)).map_or(ingest.listen, ChaosProxy::addr)
        };
        self.ingests.iter().enumerate().map(door).map(|addr| format!("http://{addr}/webhooks/chaos")).collect()
    }

    /// Waits until every program can do its work.
    ///
    /// # Errors
    /// If one cannot within a minute; the error says what it lacks.
    pub async fn until_ready(&self) -> Result<()> {
        let http = client();
        for program in self.ingests.iter().chain(&self.workers) {
            let url = format!("http://{}/ready", program.admin);
            eventually(&format!("{url} is ready"), READY, || async {
                let answer = http.get(&url).send().await.map_err(|error| error.to_string())?;
                let status = answer.status();
                if status.is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
            })
            .await?;
        }
        Ok(())
    }

    /// Messages that no handler has settled yet, in words; `None` if there are none. Taken ones count too.
    ///
    /// # Errors
    /// If the queue cannot be asked.
    pub async fn left(&self) -> Result<Option<String>> {
        let Backend::Distributed { servers, namespace, .. } = &self.backend else {
            let jobs = self.number("SELECT count(*) FROM jobs").await?;
            return Ok((jobs > 0).then(|| format!("{jobs} jobs")));
        };
        for ingest in &self.ingests {
            let health = client().get(format!("http://{}/health", ingest.listen)).send().await;
            // One that has been stopped spools nothing.
            if let Ok(health) = health {
                let health: serde_json::Value = health.json().await?;
                if let Some(events @ 1..) = health["components"]["spool"]["events"].as_u64() {
                    return Ok(Some(format!("{events} events in a spool")));
                }
            }
        }
        let queues =
            servers.rabbitmq.rabbitmqctl(&["-q", "--no-table-headers", "list_queues", "name", "messages"]).await?;
        let full = queues.lines().filter(|line| line.starts_with(namespace.as_str()) && !line.ends_with("\t0"));
        let full: Vec<&str> = full.collect();
        Ok((!full.is_empty()).then(|| full.join(", ")))
    }

    /// Whether everything is one process.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        matches!(self.backend, Backend::Embedded)
    }

    /// Resident memory of each program, in bytes.
    ///
    /// # Errors
    /// If a program is gone.
    pub fn resident(&self) -> Result<Vec<u64>> {
        self.ingests.iter().chain(&self.workers).map(Program::resident).collect()
    }

    /// Bytes that the store or the ledger's tables take on the disk.
    ///
    /// # Errors
    /// If they cannot be asked.
    pub async fn stored_bytes(&self) -> Result<u64> {
        match &self.backend {
            Backend::Embedded => {
                let sizes = std::fs::read_dir(self.data())?.map(|entry| Ok(entry?.metadata()?.len()));
                sizes.sum::<Result<u64>>()
            }
            Backend::Distributed { namespace, .. } => {
                self.number(&format!(
                    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
                     WHERE c.relnamespace = to_regnamespace('\"{namespace}\"') AND c.relkind = 'r'"
                ))
                .await
            }
        }
    }

    /// Stops every program gracefully. Answers with the errors that they logged.
    ///
    /// # Errors
    /// If one does not finish its work.
    pub async fn stop(&mut self) -> Result<Vec<String>> {
        let mut errors = Vec::new();
        for program in self.ingests.iter_mut().chain(&mut self.workers) {
            let ended = program.terminate().await?;
            ensure!(ended.success(), "it ended with {ended}: {:#?}", program.logged("ERROR"));
            errors.extend(program.logged("ERROR").iter().map(ToString::to_string));
        }
        Ok(errors)
    }

    /// Deletes what the round made on its servers.
    ///
    /// # Errors
    /// If PostgreSQL does not answer.
    pub async fn clean_up(&self) -> Result<()> {
        let Backend::Distributed { servers, namespace, .. } = &self.backend else { return Ok(()) };
        self.connect_ledger().await?.batch_execute(&format!("DROP SCHEMA IF EXISTS {namespace:?} CASCADE")).await?;
        let delete = format!(
            "[rabbit_amqqueue:delete(Q, false, false, <<\"chaos\">>) || Q <- rabbit_amqqueue:list(), \
             binary:match(element(4, amqqueue:get_name(Q)), <<\"{namespace}\">>) =/= nomatch], ok."
        );
        servers.rabbitmq.rabbitmqctl(&["eval", &delete]).await.map(drop)
    }

    /// Keeps the round's folder, and says where it is.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

async fn proxies(servers: &Servers) -> Result<Vec<(Link, ChaosProxy)>> {
    let (rabbitmq, redis, postgres) = (servers.rabbitmq.addr(), servers.redis.addr(), servers.postgres.addr());
    let links = [
        (Link::IngestRabbitMq, rabbitmq),
        (Link::IngestRedis, redis),
        (Link::WorkerRabbitMq, rabbitmq),
        (Link::WorkerRedis, redis),
        (Link::WorkerPostgres, postgres),
    ];
    let mut proxies = Vec::new();
    for (link, server) in links {
        proxies.push((link, ChaosProxy::start(server).await?));
    }
    Ok(proxies)
}
