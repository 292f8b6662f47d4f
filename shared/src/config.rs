//! The configuration: one TOML file for all binaries, parsed once into real types, every mistake reported at once.
//!
//! [`Config::parse`] is pure; only [`load`] touches the file system and the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;
use url::Url;

use crate::claims::redis::RedisSettings;
use crate::event::{HandlerName, SourceName};
use crate::ledger::postgres::PostgresSettings;
use crate::pattern::Pattern;
use crate::queue::rabbitmq::RabbitMqSettings;
use crate::queue::{HandlerQueue, Topology};
use crate::signature::{Scheme, Secret, Verifier};

mod reader;
mod setting;
mod source;

pub use reader::{Mistake, Setting};
pub use setting::{ByteCount, ServerUrl};

use reader::{Context, Section, nearest};

/// The handlers that every worker has.
pub const BUILT_IN_HANDLERS: [&str; 3] = ["archive", "forward", "payments"];
/// The secret of the sources that `tidegate dev` has without a configuration. Known to everyone: loopback only.
pub const DEVELOPMENT_SECRET: &str = "tidegate-development-secret";

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// Bytes of a body where nothing is said: GitHub sends up to 25 MB.
const BODY_LIMIT: usize = 25 << 20;
/// What RabbitMQ 4 takes as one message by default.
const RABBITMQ_MESSAGE_MAX: usize = 16 << 20;
/// RabbitMQ's default time for a consumer to settle a delivery; a handler must be well within it.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[ingest]`: the door.
    pub ingest: IngestConfig,
    /// `[claims]`: the protocol's waits.
    pub claims: ClaimsConfig,
    /// `[worker]`: the worker.
    pub worker: WorkerConfig,
    /// `[admin]`: the admin API.
    pub admin: AdminConfig,
    /// `[http]`: the worker's API, if there is to be one.
    pub http: Option<SocketAddr>,
    /// `[backend]`: where events, claims and the ledger live.
    pub backend: Backend,
    /// `[[source]]`, by name.
    pub sources: BTreeMap<SourceName, SourceConfig>,
    /// `[[handler]]`, in the file's order.
    pub handlers: Vec<HandlerConfig>,
    /// What is allowed but most likely not meant.
    pub warnings: Vec<String>,
}

/// `[ingest]`
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// Where providers POST to.
    pub listen: SocketAddr,
    /// Where an ingest process of its own serves its metrics and its state; behind the admin token.
    pub admin: SocketAddr,
    /// The URL under which providers reach it.
    pub public_url: Option<Url>,
    /// Bytes of one body at most.
    pub body_limit: usize,
    /// Connections at most; one more waits to be accepted.
    pub connections_max: NonZeroUsize,
    /// Bytes of bodies held in memory at most; beyond it requests are answered 503.
    pub bytes_in_flight_max: usize,
    /// Time to read a request's head.
    pub header_timeout: Duration,
    /// Time to read a request's body.
    pub body_timeout: Duration,
    /// Time for the queue to confirm.
    pub publish_timeout: Duration,
    /// Time to finish requests after SIGTERM.
    pub shutdown_grace: Duration,
}

/// `[claims]`
#[derive(Debug, Clone)]
pub struct ClaimsConfig {
    /// Time for one answer of Redis.
    pub timeout: Duration,
    /// How long an unfinished claim holds.
    pub lease: Duration,
    /// How long a duplicate waits for the outcome of the first.
    pub wait: Duration,
    /// What happens to events while Redis cannot be asked.
    pub on_unavailable: OnUnavailable,
}

/// What the door does with an event while the claims cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnavailable {
    /// Takes it unclaimed: the worker's inbox drops what is there twice.
    Accept,
    /// Answers 503.
    Reject,
}

/// `[worker]`
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Time to finish deliveries after SIGTERM.
    pub shutdown_grace: Duration,
    /// Commits of effects in one transaction at most.
    pub commit_batch_max: NonZeroUsize,
    /// Names that a worker binary of one's own registers.
    pub own_handlers: Vec<String>,
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where the operator's commands and Prometheus reach it.
    pub listen: SocketAddr,
    /// The bearer token; needed on any address but loopback.
    pub token: Option<Secret>,
}

impl AdminConfig {
    /// What is wrong if other machines could reach `listener` without a token.
    fn unguarded(&self, listener: SocketAddr) -> Option<String> {
        let open = !listener.ip().is_loopback() && self.token.is_none();
        open.then(|| format!("missing; needed, because {listener} can be reached from other machines"))
    }
}

/// `[backend]`
#[derive(Debug, Clone)]
pub enum Backend {
    /// One folder.
    Embedded {
        /// The folder.
        path: PathBuf,
    },
    /// Servers.
    Distributed(Box<Servers>),
}

/// The servers of the distributed way.
#[derive(Debug, Clone)]
pub struct Servers {
    /// RabbitMQ, one URL or several nodes of a cluster.
    pub rabbitmq: RabbitMqSettings,
    /// Redis.
    pub redis: RedisSettings,
    /// PostgreSQL.
    pub postgres: PostgresSettings,
    /// First part of every name on the servers.
    pub namespace: String,
}

/// `[[source]]`
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Its name and the last part of its URL.
    pub name: SourceName,
    /// The preset's name, or `hmac`.
    pub provider: String,
    /// How its requests are signed.
    pub scheme: Scheme,
    /// Its live secrets.
    pub secrets: Vec<Secret>,
    /// The scheme with the keys ready.
    pub verifier: Arc<Verifier>,
    /// How long an event's claim is remembered.
    pub dedup_window: Duration,
    /// As in [`crate::provider::Preset::counters`].
    pub counters: &'static [&'static str],
}

/// `[[handler]]`
#[derive(Debug, Clone)]
pub struct HandlerConfig {
    /// Its name and its queue's.
    pub name: HandlerName,
    /// Which events it wants.
    pub on: Vec<Pattern>,
    /// Which code runs.
    pub run: String,
    /// `forward`: where to.
    pub url: Option<Url>,
    /// `forward`: what it signs with.
    pub secret: Option<Secret>,
    /// Time for one attempt.
    pub timeout: Duration,
    /// Attempts at once in one process.
    pub concurrency: NonZeroU16,
    /// Delays between attempts.
    pub retry: Vec<Duration>,
}

/// Every mistake of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: String,
    /// In the order of the file.
    pub mistakes: Vec<Mistake>,
}

impl std::error::Error for ConfigError {}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.mistakes.len();
        write!(f, "{}: {count} mistake{}", self.file, if count == 1 { "" } else { "s" })?;
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

/// Reads the file and the environment.
///
/// # Errors
/// Every mistake, or that the file cannot be read.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
        file: file.clone(),
        mistakes: vec![Mistake { line: None, key: file.clone(), message: format!("cannot read it: {error}") }],
    })?;
    Config::parse(&file, &text, &environment)
}

/// Reads a variable of the process's environment: for the few values that are not in the file.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Config {
    /// Reads `text`; `file` names it in messages and `env` looks up `env:NAME`.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn parse(file: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::parse_noting_keys(file, text, env).0
    }

    /// What `tidegate dev` runs without a file: three sources with the development secret, everything on loopback.
    ///
    /// # Panics
    /// Never: the text is part of the program, and a test reads it.
    #[must_use]
    pub fn development() -> Self {
        let text = include_str!("config/development.toml");
        Self::parse("the built-in configuration", text, &|_| None).expect("the built-in configuration is right")
    }

    /// The same configuration with the command line's addresses in the place of the file's.
    ///
    /// # Errors
    /// If the admin API would be reachable from other machines without a token.
    pub fn listening(mut self, listen: Option<SocketAddr>, admin: Option<SocketAddr>) -> Result<Self, ConfigError> {
        self.ingest.listen = listen.unwrap_or(self.ingest.listen);
        self.admin.listen = admin.unwrap_or(self.admin.listen);
        self.ingest.admin = admin.unwrap_or(self.ingest.admin);
        match self.admin.unguarded(self.admin.listen) {
            None => Ok(self),
            Some(message) => {
                let mistake = Mistake { line: None, key: "admin.token".to_owned(), message };
                Err(ConfigError { file: "the command line".to_owned(), mistakes: vec![mistake] })
            }
        }
    }

    /// The queues that this configuration needs.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let handlers = self.handlers.iter().map(|handler| HandlerQueue {
            name: handler.name.clone(),
            on: handler.on.clone(),
            retry: handler.retry.clone(),
            prefetch: handler.concurrency.get(),
        });
        let namespace = match &self.backend {
            Backend::Embedded { .. } => "tidegate".to_owned(),
            Backend::Distributed(servers) => servers.namespace.clone(),
        };
        Topology { namespace, handlers: handlers.collect() }
    }

    fn parse_noting_keys(
        file: &str,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> (Result<Self, ConfigError>, BTreeSet<String>) {
        let (root, errors) = DeTable::parse_recoverable(text);
        let syntax = errors.iter().map(|error| Mistake {
            line: error.span().map(|span| reader::line_at(text, span.start)),
            key: "syntax".to_owned(),
            message: error.message().to_owned(),
        });
        let syntax: Vec<_> = syntax.collect();
        let context = Rc::new(Context {
            text,
            env,
            mistakes: syntax.into(),
            warnings: Vec::new().into(),
            known: BTreeSet::new().into(),
        });
        let config = read_root(&Rc::clone(&context), root.get_ref());
        let mut mistakes = context.mistakes.take();
        mistakes.sort_by_key(|mistake| mistake.line.unwrap_or(usize::MAX));
        let known = context.known.take();
        match config {
            Some(config) if mistakes.is_empty() => (Ok(Self { warnings: context.warnings.take(), ..config }), known),
            Some(_) | None => (Err(ConfigError { file: file.to_owned(), mistakes }), known),
        }
    }
}

fn read_root<'a>(context: &Rc<Context<'a>>, table: &'a DeTable<'a>) -> Option<Config> {
    let root = Section::root(Rc::clone(context), table);
    let worker = read_worker(root.section("worker"));
    let ingest = read_ingest(root.section("ingest"));
    let claims = read_claims(root.section("claims"), &ingest);
    let admin = read_admin(root.section("admin"), &ingest);
    let http = root.section("http");
    let http_listen = http.is_present().then(|| http.or("listen", loopback(3002)));
    http.finish();
    let backend = read_backend(root.section("backend"), &ingest, &claims);
    let sources = read_sources(&root);
    let handlers = read_handlers(&root, &worker, sources.as_ref());
    root.finish();
    Some(Config {
        ingest,
        claims,
        worker,
        admin,
        http: http_listen,
        backend: backend?,
        sources: sources?,
        handlers: handlers?,
        warnings: Vec::new(),
    })
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn read_ingest(section: Section<'_>) -> IngestConfig {
    let count = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
    let config = IngestConfig {
        listen: section.or("listen", loopback(3000)),
        admin: section.or("admin", loopback(3003)),
        public_url: section.get("public_url"),
        body_limit: section.or("body_limit", ByteCount(BODY_LIMIT)).0,
        connections_max: section.or("connections_max", count(4_096)),
        bytes_in_flight_max: section.or("bytes_in_flight_max", ByteCount(256 << 20)).0,
        header_timeout: section.or("header_timeout", 5 * SECOND),
        body_timeout: section.or("body_timeout", 10 * SECOND),
        publish_timeout: section.or("publish_timeout", 2 * SECOND),
        shutdown_grace: section.or("shutdown_grace", 25 * SECOND),
    };
    if config.bytes_in_flight_max < config.body_limit {
        section
            .mistake("bytes_in_flight_max", "must be at least body_limit, or no large body is ever taken".to_owned());
    }
    section.finish();
    config
}

fn read_claims(section: Section<'_>, ingest: &IngestConfig) -> ClaimsConfig {
    let config = ClaimsConfig {
        timeout: section.or("timeout", Duration::from_millis(150)),
        lease: section.or("lease", 10 * SECOND),
        wait: section.or("wait", Duration::from_millis(1_500)),
        on_unavailable: section.or("on_unavailable", OnUnavailable::Accept),
    };
    // A lease that ends before its publish lets a second request publish the same event beside it: harmless, but wasteful.
    if config.lease <= ingest.publish_timeout + config.timeout {
        section.mistake("lease", "must be longer than ingest.publish_timeout and claims.timeout together".to_owned());
    }
    if config.wait >= config.lease {
        section.mistake("wait", "must be shorter than claims.lease".to_owned());
    }
    section.finish();
    config
}

impl Setting for OnUnavailable {
    const EXPECTED: &'static str = "\"accept\" or \"reject\"";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "accept" => Ok(Self::Accept),
            "reject" => Ok(Self::Reject),
            _ => Err(String::new()),
        }
    }
}

fn read_worker(section: Section<'_>) -> WorkerConfig {
    let config = WorkerConfig {
        shutdown_grace: section.or("shutdown_grace", 35 * SECOND),
        commit_batch_max: section.or("commit_batch_max", NonZeroUsize::new(128).unwrap_or(NonZeroUsize::MIN)),
        own_handlers: section.list("own_handlers").unwrap_or_default(),
    };
    section.finish();
    config
}

fn read_admin(section: Section<'_>, ingest: &IngestConfig) -> AdminConfig {
    let config = AdminConfig { listen: section.or("listen", loopback(3001)), token: section.get("token") };
    if let Some(message) = config.unguarded(config.listen).or_else(|| config.unguarded(ingest.admin)) {
        section.mistake("token", message);
    }
    section.finish();
    config
}

fn read_backend(section: Section<'_>, ingest: &IngestConfig, claims: &ClaimsConfig) -> Option<Backend> {
    let kind: String = section.or("kind", "embedded".to_owned());
    let path: PathBuf = section.or("path", "./tidegate-data".into());
    let backend = match kind.as_str() {
        "embedded" => {
            // They may stand ready in a file that is switched over.
            for key in ["rabbitmq", "redis", "postgres", "namespace"] {
                section.ignore(key);
            }
            Some(Backend::Embedded { path })
        }
        "distributed" => {
            if ingest.body_limit > RABBITMQ_MESSAGE_MAX && ingest.body_limit != BODY_LIMIT {
                section.warn(
                    "kind",
                    "ingest.body_limit is over the 16 MiB that RabbitMQ 4 takes unless max_message_size is raised",
                );
            }
            read_servers(&section, claims).map(Box::new).map(Backend::Distributed)
        }
        other => {
            section.mistake("kind", format!("expected \"embedded\" or \"distributed\", found {other:?}"));
            None
        }
    };
    section.finish();
    backend
}

fn read_servers(section: &Section<'_>, claims: &ClaimsConfig) -> Option<Servers> {
    let namespace = section.or("namespace", "tidegate".to_owned());
    if HandlerName::try_new(&namespace).is_err() {
        section.mistake("namespace", "expected 1 to 64 of a-z, 0-9, '-' and '_'".to_owned());
    }
    let rabbitmq = section.required_list("rabbitmq").and_then(|urls: Vec<ServerUrl>| {
        reported(section, "rabbitmq", RabbitMqSettings::try_new(urls.iter().map(ServerUrl::expose)))
    });
    let redis = section.required("redis").and_then(|url: ServerUrl| {
        reported(section, "redis", RedisSettings::try_new(url.expose(), &namespace, claims.timeout))
    });
    let postgres = section
        .required("postgres")
        .and_then(|url: ServerUrl| reported(section, "postgres", PostgresSettings::try_new(url.expose(), &namespace)));
    Some(Servers { rabbitmq: rabbitmq?, redis: redis?, postgres: postgres?, namespace })
}

fn reported<T, E: std::fmt::Display>(section: &Section<'_>, key: &str, result: Result<T, E>) -> Option<T> {
    result.map_err(|error| section.mistake(key, error.to_string())).ok()
}

fn read_sources(root: &Section<'_>) -> Option<BTreeMap<SourceName, SourceConfig>> {
    let mut sources = BTreeMap::new();
    let mut complete = true;
    for mut section in root.sections("source") {
        if let Some(name) = section.required::<SourceName>("name") {
            section.rename(format!("source.{name}"));
            if sources.contains_key(&name) {
                section.mistake("name", "another source has this name".to_owned());
            }
            match source::read_source(&section, name.clone()) {
                Some(source) => drop(sources.insert(name, source)),
                None => complete = false,
            }
        } else {
            complete = false;
        }
        section.finish();
    }
    complete.then_some(sources)
}

fn read_handlers(
    root: &Section<'_>,
    worker: &WorkerConfig,
    sources: Option<&BTreeMap<SourceName, SourceConfig>>,
) -> Option<Vec<HandlerConfig>> {
    let mut names = BTreeSet::new();
    let handlers: Vec<Option<HandlerConfig>> = root
        .sections("handler")
        .into_iter()
        .map(|mut section| {
            let name: HandlerName = section.required("name")?;
            section.rename(format!("handler.{name}"));
            if !names.insert(name.clone()) {
                section.mistake("name", "another handler has this name".to_owned());
            }
            let handler = read_handler(&section, name, worker);
            if let (Some(handler), Some(sources)) = (&handler, sources) {
                check_patterns(&section, handler, sources);
            }
            section.finish();
            handler
        })
        .collect();
    handlers.into_iter().collect()
}

fn read_handler(section: &Section<'_>, name: HandlerName, worker: &WorkerConfig) -> Option<HandlerConfig> {
    let on = section.required_list("on");
    let run: Option<String> = section.required("run");
    let url: Option<Url> = section.get("url");
    if let Some(run) = &run {
        check_run(section, run, url.is_some(), worker);
    }
    let timeout = section.or("timeout", 30 * SECOND);
    if timeout >= worker.shutdown_grace {
        section
            .mistake("timeout", "must be shorter than worker.shutdown_grace, or a stop cuts attempts off".to_owned());
    } else if timeout >= CONSUMER_TIMEOUT / 2 {
        section.mistake("timeout", "must be under 15 minutes: RabbitMQ takes deliveries back after 30".to_owned());
    }
    let ladder = || [5, 30, 120, 600, 3_600, 21_600].map(Duration::from_secs).to_vec();
    let handler = HandlerConfig {
        name,
        on: on.unwrap_or_default(),
        run: run.unwrap_or_default(),
        url,
        secret: section.get("secret"),
        timeout,
        concurrency: section.or("concurrency", NonZeroU16::new(32).unwrap_or(NonZeroU16::MIN)),
        retry: section.list("retry").unwrap_or_else(ladder),
    };
    Some(handler)
}

fn check_run(section: &Section<'_>, run: &str, has_url: bool, worker: &WorkerConfig) {
    let own = worker.own_handlers.iter().map(String::as_str);
    let known = BUILT_IN_HANDLERS.into_iter().chain(own);
    if !known.clone().any(|name| name == run) {
        let hint = match nearest(run, known.clone()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "if a worker binary of your own registers it, list it in worker.own_handlers".to_owned(),
        };
        section.mistake("run", format!("no handler is called {run:?}; {hint}"));
    }
    if run == "forward" && !has_url {
        section.mistake("url", "missing; a forward handler needs the URL to deliver to".to_owned());
    }
}

fn check_patterns(section: &Section<'_>, handler: &HandlerConfig, sources: &BTreeMap<SourceName, SourceConfig>) {
    for source in handler.on.iter().filter_map(Pattern::source) {
        if !sources.keys().any(|name| name.as_str() == source) {
            let hint = nearest(source, sources.keys().map(SourceName::as_str))
                .map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            section.mistake("on", format!("there is no source {source:?}{hint}"));
        }
    }
}

#[cfg(test)]
mod tests;
