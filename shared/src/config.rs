//! The configuration: one TOML file for all binaries, parsed once into real types, every mistake reported at once.
//!
//! [`Config::parse`] is pure; only [`load`] touches the file system and the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use toml::de::DeTable;
use url::Url;

use crate::claims::redis::RedisSettings;
use crate::environment;
use crate::event::{ApiName, Currency, HandlerName, SourceName};
use crate::ledger::postgres::PostgresSettings;
use crate::pattern::Pattern;
use crate::process::Patience;
use crate::provider::Success;
use crate::queue::rabbitmq::RabbitMqSettings;
use crate::queue::{HandlerQueue, Topology};
use crate::signature::explain::Suspect;
use crate::signature::{Batch, DatedSecret, Scheme, Secret, SecretError, Verifier};

mod admission;
mod api;
mod http;
mod origin;
mod read;
mod reader;
mod secret;
mod setting;
mod signature;
mod source;

pub use admission::{AdmissionConfig, ContentEncoding, SourceAdmissionConfig};
pub use api::{
    ApiAuth, ApiBreakerConfig, ApiCacheConfig, ApiConfig, ApiLimitConfig, ApiPreset, ApiRetryConfig, OAuthClientAuth,
    OAuthConfig, OAuthGrant,
};
pub use http::{Caller, HttpConfig, SealKey};
pub use reader::{Mistake, Setting};
pub use setting::{ByteCount, OrOff, PathPattern, Rate, Ratio, ServerUrl};

use reader::Context;

/// The handlers that every worker has.
pub const BUILT_IN_HANDLERS: [&str; 4] = ["archive", "forward", "orders", "payments"];
/// The APIs that the handler `orders` calls, by name.
pub const ORDERS_APIS: [&str; 5] = ["crm", "stock", "payment", "notify", "analytics"];
/// The secret of the sources that `tidegate dev` has without a configuration. Known to everyone: loopback only.
pub const DEVELOPMENT_SECRET: &str = "tidegate-development-secret";

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
    /// `[retention]`: how long things are remembered.
    pub retention: RetentionConfig,
    /// `[http]`: the worker's API, if there is to be one.
    pub http: Option<HttpConfig>,
    /// `[backend]`: where events, claims and the ledger live.
    pub backend: Backend,
    /// `[[source]]`, by name.
    pub sources: BTreeMap<SourceName, SourceConfig>,
    /// `[api.NAME]`, by name.
    pub apis: BTreeMap<ApiName, ApiConfig>,
    /// `[oauth] keys`: what seals the tokens that users granted. The first one seals, each of them opens.
    pub seal_keys: Vec<SealKey>,
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
    /// What publishes events to RabbitMQ.
    pub publisher: PublisherKind,
    /// Bytes of one body at most.
    pub body_limit: usize,
    /// Connections at most; one more waits to be accepted.
    pub connections_max: NonZeroUsize,
    /// Who may come in, how often and how slowly.
    pub admission: AdmissionConfig,
    /// Bytes of bodies held in memory at most, and a quarter of it, but at least one body, for each address; beyond it
    /// requests are answered 503.
    pub bytes_in_flight_max: usize,
    /// Time to read a request's head.
    pub header_timeout: Duration,
    /// Time to read a request's body.
    pub body_timeout: Duration,
    /// Time for the queue to confirm.
    pub publish_timeout: Duration,
    /// Time after SIGTERM in which it is not ready any more but still takes connections.
    pub drain_delay: Duration,
    /// Time to finish requests after that.
    pub shutdown_grace: Duration,
    /// Where events wait for the broker.
    pub spool: SpoolConfig,
    /// What is kept of requests that do not verify.
    pub rejected: RejectedConfig,
}

impl IngestConfig {
    /// How long its process takes to stop.
    #[must_use]
    pub fn patience(&self) -> Patience {
        Patience { drain_delay: self.drain_delay, grace: self.shutdown_grace }
    }
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

/// What publishes events to RabbitMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublisherKind {
    /// The client library that everything else goes through.
    Lapin,
    /// A connection of our own, which costs less for each event; it speaks no TLS.
    Direct,
}

/// What the door does with a source's event that the broker does not confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnBrokerDown {
    /// Answers 503: the sender must try again.
    Reject,
    /// Makes it durable on its own machine, answers 200, and publishes it when the broker is back.
    Spool,
}

/// What the door does with a body that it has accepted from a source under another id, where the signature does not hold
/// the id: perhaps a request that somebody has seen and sends again, perhaps another event that looks the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnReplay {
    /// Accepts the event, counts and logs it.
    Count,
    /// Refuses it.
    Reject,
    /// Does not look.
    Off,
}

/// `ingest.spool*`: where events wait for the broker.
#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// The folder; one process at a time.
    pub path: PathBuf,
    /// Bytes of waiting events at most; beyond it events are refused.
    pub bytes_max: usize,
    /// While the oldest event waits for longer than this, further ones are refused. Nothing is ever dropped.
    pub age_max: Duration,
}

/// `[ingest.rejected]`: what is kept of requests that do not verify.
#[derive(Debug, Clone)]
pub struct RejectedConfig {
    /// Requests of each source at most; none if 0.
    pub keep: usize,
    /// Bytes of all of them at most.
    pub bytes_max: usize,
    /// The folder, if it is not the usual one; see [`Config::rejected_path`].
    pub path: Option<PathBuf>,
}

/// `[retention]`: how long what is done with is remembered at least; `None` for ever.
#[derive(Debug, Clone)]
pub struct RetentionConfig {
    /// What was applied: as long as its event can come again.
    pub inbox: Option<Duration>,
    /// The event log, only of events that every handler is done with.
    pub events: Option<Duration>,
    /// Dead letters.
    pub dead_letters: Option<Duration>,
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
    /// Its secrets, those whose dates are still to come or over among them.
    pub secrets: Vec<DatedSecret>,
    /// The scheme with the keys ready.
    pub verifier: Arc<Verifier>,
    /// How long an event's claim is remembered.
    pub dedup_window: Duration,
    /// What happens to its events while the broker does not confirm.
    pub on_broker_down: OnBrokerDown,
    /// What happens to a body that comes again under another id; `Off` where its provider's signature holds the id.
    pub replay: OnReplay,
    /// Whose requests are looked at, and how many.
    pub admission: SourceAdmissionConfig,
    /// As in [`crate::provider::Preset::counters`].
    pub counters: &'static [&'static str],
    /// What answers an event that is durable.
    pub success: Success,
    /// Where the events of one request are; `None` where a request is one event.
    pub split: Option<Batch>,
    /// The word that its handshakes are proven with, where they are so.
    pub verify_token: Option<Secret>,
    /// Where a secret is kept that the provider itself offers in a handshake; nothing is taken if there is one already.
    pub offered_secret: Option<PathBuf>,
}

impl SourceConfig {
    /// The same source with one secret more.
    ///
    /// # Errors
    /// As for [`Verifier::try_new`].
    pub fn with_secret(&self, more: Secret) -> Result<Self, SecretError> {
        let secrets: Vec<DatedSecret> = self.secrets.iter().cloned().chain([more.into()]).collect();
        let mut verifier = Verifier::try_new_dated(self.scheme.clone(), &secrets)?;
        if let Some(token) = &self.verify_token {
            verifier = verifier.with_verify_token(token);
        }
        Ok(Self { secrets, verifier: Arc::new(verifier), ..self.clone() })
    }

    /// The source as [`crate::signature::explain`] asks about it.
    #[must_use]
    pub fn suspect(&self) -> Suspect<'_> {
        Suspect { name: self.name.as_str(), provider: &self.provider, scheme: &self.scheme, secrets: &self.secrets }
    }
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
    /// `payments`: the currency of the balances, if amounts are to be converted.
    pub currency: Option<Currency>,
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

/// Reads the file, the environment and the files that secrets are in, and looks at the clock: dates of secrets may be a
/// reason to warn.
///
/// # Errors
/// Every mistake, or that the file cannot be read.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
        file: file.clone(),
        mistakes: vec![Mistake { line: None, key: file.clone(), message: format!("cannot read it: {error}") }],
    })?;
    let config = Config::parse_noting_keys(&file, &text, &environment::variable, &origin::read_file).0?;
    let dated = config.dated_warnings(Timestamp::now());
    Ok(Config { warnings: [config.warnings.clone(), dated].concat(), ..config })
}

impl Config {
    /// Reads `text`; `file` names it in messages and `env` looks up `env:NAME`. No other file is read.
    ///
    /// # Errors
    /// Every mistake at once; `file:PATH` is one.
    pub fn parse(file: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::parse_noting_keys(file, text, env, &origin::no_file).0
    }

    /// What `tidegate dev` runs without a file: three sources with the development secret, everything on loopback.
    ///
    /// # Panics
    /// Never: the text is part of the program, and a test reads it.
    #[must_use]
    pub fn development() -> Self {
        let text = include_str!("config/development.toml");
        let config = Self::parse("the built-in configuration", text, &|_| None);
        let config = config.expect("the built-in configuration is right");
        // Its secret is public, and everybody is told so.
        Self { warnings: Vec::new(), ..config }
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

    /// The same configuration with the worker's API at another address.
    ///
    /// # Errors
    /// If the API would be reachable from other machines without a token.
    pub fn serving_http(mut self, listen: Option<SocketAddr>) -> Result<Self, ConfigError> {
        let Some(listen) = listen else { return Ok(self) };
        let http = self.http.take().unwrap_or_else(|| HttpConfig::at(listen));
        let http = HttpConfig { listen, ..http };
        match http.unguarded(listen) {
            None => Ok(Self { http: Some(http), ..self }),
            Some(message) => {
                let mistake = Mistake { line: None, key: "http.callers".to_owned(), message };
                Err(ConfigError { file: "the command line".to_owned(), mistakes: vec![mistake] })
            }
        }
    }

    /// Where requests that did not verify are kept: beside the embedded store, or in a folder of their own.
    #[must_use]
    pub fn rejected_path(&self) -> PathBuf {
        let usual = || match &self.backend {
            Backend::Embedded { path } => path.join("rejected"),
            Backend::Distributed(_) => "./tidegate-rejected".into(),
        };
        self.ingest.rejected.path.clone().unwrap_or_else(usual)
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
        files: &dyn Fn(&Path) -> io::Result<String>,
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
            files,
            mistakes: syntax.into(),
            warnings: Vec::new().into(),
            known: BTreeSet::new().into(),
        });
        let config = read::read_root(&Rc::clone(&context), root.get_ref());
        let mut mistakes = context.mistakes.take();
        mistakes.sort_by_key(|mistake| mistake.line.unwrap_or(usize::MAX));
        let known = context.known.take();
        match config {
            Some(config) if mistakes.is_empty() => (Ok(Self { warnings: context.warnings.take(), ..config }), known),
            Some(_) | None => (Err(ConfigError { file: file.to_owned(), mistakes }), known),
        }
    }
}

#[cfg(test)]
mod tests;
