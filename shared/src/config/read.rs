//! Reads the file's tables into the configuration, and checks what holds between their keys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use toml::de::DeTable;
use url::Url;

use super::reader::{Context, Section, nearest};
use super::setting::{ByteCount, OrOff, ServerUrl};
use super::{
    AdminConfig, ApiConfig, ApiPreset, BUILT_IN_HANDLERS, Backend, ClaimsConfig, Config, HandlerConfig, IngestConfig,
    ORDERS_APIS, OnUnavailable, PublisherKind, RejectedConfig, RetentionConfig, Servers, SourceConfig, SpoolConfig,
    WorkerConfig, admission, api, http, source,
};
use crate::claims::redis::RedisSettings;
use crate::event::{ApiName, HandlerName, SourceName};
use crate::ledger::postgres::PostgresSettings;
use crate::pattern::Pattern;
use crate::queue::rabbitmq::RabbitMqSettings;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// Bytes of a body where nothing is said: GitHub sends up to 25 MB.
const BODY_LIMIT: usize = 25 << 20;
/// What RabbitMQ 4 takes as one message by default.
const RABBITMQ_MESSAGE_MAX: usize = 16 << 20;
/// RabbitMQ's default time for a consumer to settle a delivery; a handler must be well within it.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(30 * 60);
pub(super) fn read_root<'a>(context: &Rc<Context<'a>>, table: &'a DeTable<'a>) -> Option<Config> {
    let root = Section::root(Rc::clone(context), table);
    let worker = read_worker(root.section("worker"));
    let ingest = read_ingest(root.section("ingest"));
    let claims = read_claims(root.section("claims"), &ingest);
    let admin = read_admin(root.section("admin"), &ingest);
    let http = http::read_http(root.section("http"));
    let apis = read_apis(&root);
    let seal_keys = http::read_seal_keys(root.section("oauth"), apis.as_ref(), http.as_ref());
    let backend = read_backend(root.section("backend"), &ingest, &claims);
    let sources = read_sources(&root, ingest.public_url.as_ref());
    let handlers = read_handlers(&root, &worker, sources.as_ref(), apis.as_ref());
    let retention = read_retention(root.section("retention"), sources.as_ref(), handlers.as_deref());
    root.finish();
    Some(Config {
        ingest,
        claims,
        worker,
        admin,
        retention,
        http,
        backend: backend?,
        sources: sources?,
        apis: apis?,
        seal_keys,
        handlers: handlers?,
        warnings: Vec::new(),
    })
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn read_ingest(section: Section<'_>) -> IngestConfig {
    let count = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
    let connections_max = section.or("connections_max", count(4_096));
    let config = IngestConfig {
        listen: section.or("listen", loopback(3000)),
        admin: section.or("admin", loopback(3003)),
        public_url: section.get("public_url"),
        publisher: section.or("publisher", PublisherKind::Lapin),
        body_limit: section.or("body_limit", ByteCount(BODY_LIMIT)).0,
        connections_max,
        admission: admission::read_admission(&section, connections_max),
        bytes_in_flight_max: section.or("bytes_in_flight_max", ByteCount(256 << 20)).0,
        header_timeout: section.or("header_timeout", 5 * SECOND),
        body_timeout: section.or("body_timeout", 10 * SECOND),
        publish_timeout: section.or("publish_timeout", 2 * SECOND),
        drain_delay: section.or("drain_delay", Duration::ZERO),
        shutdown_grace: section.or("shutdown_grace", 25 * SECOND),
        spool: SpoolConfig {
            path: section.or("spool", "./tidegate-spool".into()),
            bytes_max: section.or("spool_bytes_max", ByteCount(1 << 30)).0,
            age_max: section.or("spool_age_max", DAY),
        },
        rejected: read_rejected(section.section("rejected")),
    };
    if config.bytes_in_flight_max < config.body_limit {
        section
            .mistake("bytes_in_flight_max", "must be at least body_limit, or no large body is ever taken".to_owned());
    }
    section.finish();
    config
}

fn read_rejected(section: Section<'_>) -> RejectedConfig {
    let config = RejectedConfig {
        keep: section.or("keep", 100),
        bytes_max: section.or("bytes_max", ByteCount(16 << 20)).0,
        path: section.get("path"),
    };
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

fn read_retention(
    section: Section<'_>,
    sources: Option<&BTreeMap<SourceName, SourceConfig>>,
    handlers: Option<&[HandlerConfig]>,
) -> RetentionConfig {
    let days = |key, days: u32| section.or(key, OrOff(Some(days * DAY))).0;
    let config = RetentionConfig {
        inbox: days("inbox", 35),
        events: days("events", 35),
        dead_letters: days("dead_letters", 90),
    };
    if config.inbox.is_some_and(|inbox| inbox < DAY) {
        section.mistake("inbox", "must be at least a day: an event that comes again after it is applied again".into());
    }
    let window = sources.into_iter().flat_map(BTreeMap::values).map(|source| source.dedup_window).max();
    let ladder = handlers.into_iter().flatten().map(|handler| handler.retry.iter().sum::<Duration>()).max();
    let comes_again = window.max(ladder).unwrap_or_default();
    if config.inbox.is_some_and(|inbox| inbox < comes_again) {
        section.mistake(
            "inbox",
            "must be at least as long as every source's dedup_window and every handler's delays together: an event that \
             comes again after it is applied again"
                .into(),
        );
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
    let redis = section.required_list("redis").and_then(|urls: Vec<ServerUrl>| {
        let urls = urls.iter().map(ServerUrl::expose);
        reported(section, "redis", RedisSettings::try_new(urls, &namespace, claims.timeout))
    });
    let postgres = section.required_list("postgres").and_then(|urls: Vec<ServerUrl>| {
        reported(section, "postgres", PostgresSettings::try_new(urls.iter().map(ServerUrl::expose), &namespace))
    });
    Some(Servers { rabbitmq: rabbitmq?, redis: redis?, postgres: postgres?, namespace })
}

fn reported<T, E: std::fmt::Display>(section: &Section<'_>, key: &str, result: Result<T, E>) -> Option<T> {
    result.map_err(|error| section.mistake(key, error.to_string())).ok()
}

fn read_sources(root: &Section<'_>, public_url: Option<&Url>) -> Option<BTreeMap<SourceName, SourceConfig>> {
    let mut sources = BTreeMap::new();
    let mut complete = true;
    for mut section in root.sections("source") {
        if let Some(name) = section.required::<SourceName>("name") {
            section.rename(format!("source.{name}"));
            if sources.contains_key(&name) {
                section.mistake("name", "another source has this name".to_owned());
            }
            match source::read_source(&section, name.clone(), public_url) {
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

fn read_apis(root: &Section<'_>) -> Option<BTreeMap<ApiName, ApiConfig>> {
    let mut apis = BTreeMap::new();
    let mut complete = true;
    for (name, section) in root.named_sections("api") {
        match ApiName::try_new(&name) {
            Ok(name) => match api::read_api(&section, name.clone()) {
                Some(api) => drop(apis.insert(name, api)),
                None => complete = false,
            },
            Err(error) => {
                root.mistake("api", format!("{name:?}: {error}"));
                complete = false;
            }
        }
        section.finish();
    }
    complete.then_some(apis)
}

fn read_handlers(
    root: &Section<'_>,
    worker: &WorkerConfig,
    sources: Option<&BTreeMap<SourceName, SourceConfig>>,
    apis: Option<&BTreeMap<ApiName, ApiConfig>>,
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
            if let (Some(handler), Some(apis)) = (&handler, apis) {
                check_apis(&section, handler, apis);
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
        currency: section.get("currency"),
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

/// A handler whose API is missing would fail at its first event, and at every one after it.
fn check_apis(section: &Section<'_>, handler: &HandlerConfig, apis: &BTreeMap<ApiName, ApiConfig>) {
    let has = |name: &str| apis.keys().any(|api| api.as_str() == name);
    let missing: Vec<String> =
        ORDERS_APIS.iter().filter(|name| !has(name)).map(|name| format!("[api.{name}]")).collect();
    if handler.run == "orders" && !missing.is_empty() {
        section.mistake("run", format!("orders also needs {}", missing.join(", ")));
    }
    let converts = handler.currency.is_some();
    if converts && handler.run != "payments" {
        section.mistake("currency", "only payments converts amounts".to_owned());
    } else if converts && !apis.values().any(|api| api.preset.is_some_and(ApiPreset::has_rates)) {
        section.mistake("currency", "converting needs exchange rates: add [api.open-er-api]".to_owned());
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
