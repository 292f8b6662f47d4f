//! Where the database is and how long to wait for it.

use std::fmt;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// How long each part of the work may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresTimeouts {
    /// To reach the server and log in, and to get a connection from the pool: each. One of several servers has no more
    /// than two seconds of it.
    pub connect: Duration,
    /// For one statement, told to the server. Too short refuses big effects; too long lets one hold up its batch.
    pub statement: Duration,
    /// For one lock, told to the server. What cannot get it is tried again a few times.
    pub lock: Duration,
    /// For a transaction in which nothing happens, told to the server: frees the locks of a worker that hangs.
    pub idle_in_transaction: Duration,
    /// For a whole transaction, kept here: covers a server or a network that stopped answering.
    pub transaction: Duration,
}

impl Default for PostgresTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            statement: Duration::from_secs(10),
            lock: Duration::from_secs(5),
            idle_in_transaction: Duration::from_secs(10),
            transaction: Duration::from_secs(30),
        }
    }
}

/// PostgreSQL's own.
const PORT: u16 = 5432;
/// How long one of several servers may take to let us in: it may be gone, and another one have taken over.
const EACH_MAX: Duration = Duration::from_secs(2);
/// For how long nothing that was sent may stay without a sign from the other machine. The machine, not the server: one
/// that is slow, or waits for its standby, has all the time of a transaction. Shorter ends connections over a line that
/// only stumbled; longer is added to every failover.
const SILENT_MAX: Duration = Duration::from_secs(4);

/// What [`super::PostgresLedger`] needs to know. Shows no secret in `Debug`.
#[derive(Clone)]
pub struct PostgresSettings {
    pub(super) config: tokio_postgres::Config,
    pub(super) namespace: String,
    /// Connections at most: those of one process, so that all processes together stay below `max_connections`.
    pub pool_max: usize,
    /// How long to wait.
    pub timeouts: PostgresTimeouts,
}

/// Why a URL or namespace cannot be used. Says nothing of what the URL holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPostgresSettings {
    /// Not a URL of a PostgreSQL server.
    #[error("expected a PostgreSQL URL such as postgres://user:password@host:5432/database")]
    Url,
    /// The URL asks for TLS.
    #[error(
        "the PostgreSQL URL asks for TLS (sslmode or channel_binding), which this build cannot do; reach the server \
         over a private network or a local TLS proxy and say sslmode=disable"
    )]
    Tls,
    /// The URL sets what Tidegate sets itself.
    #[error("the PostgreSQL URL may not have options: Tidegate sets its own timeouts and search path")]
    Options,
    /// The namespace cannot be the name of a schema.
    #[error("expected a namespace of 1 to 63 of a-z, 0-9, '-' and '_' that does not begin with \"pg_\"")]
    Namespace,
}

impl PostgresSettings {
    /// Reads the URL of a server, or several of one and its standbys: they are tried in turn for the one that takes
    /// writes. What else a URL says counts in the first. `namespace` is the schema that holds all tables; it is made by
    /// the migration.
    ///
    /// # Errors
    /// [`InvalidPostgresSettings`] says what is wrong, without the URL.
    pub fn try_new<'a>(
        urls: impl IntoIterator<Item = &'a str>,
        namespace: &str,
    ) -> Result<Self, InvalidPostgresSettings> {
        let mut servers = urls.into_iter().map(read_url);
        let mut config = servers.next().ok_or(InvalidPostgresSettings::Url)??;
        for server in servers {
            add_hosts(&mut config, &server?);
        }
        if config.get_hosts().len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if !is_schema_name(namespace) {
            return Err(InvalidPostgresSettings::Namespace);
        }
        Ok(Self { config, namespace: namespace.to_owned(), pool_max: 8, timeouts: PostgresTimeouts::default() })
    }

    /// How long each server may take to let us in.
    pub(super) fn connect_each(&self) -> Duration {
        let connect = self.timeouts.connect;
        if self.config.get_hosts().len() > 1 { connect.min(EACH_MAX) } else { connect }
    }

    /// How long all of them may take together.
    pub(super) fn connect_all(&self) -> Duration {
        self.connect_each() * u32::try_from(self.config.get_hosts().len()).unwrap_or(u32::MAX).max(1)
    }

    /// The configuration of a connection to each of the servers.
    pub(super) fn servers(&self) -> Vec<tokio_postgres::Config> {
        let all = &self.config;
        if all.get_hosts().len() < 2 {
            return vec![self.prepared(all.clone())];
        }
        let one = |place: usize| {
            let mut config = tokio_postgres::Config::new();
            if let Some(user) = all.get_user() {
                config.user(user);
            }
            if let Some(password) = all.get_password() {
                config.password(password);
            }
            if let Some(database) = all.get_dbname() {
                config.dbname(database);
            }
            if let Some(ip) = all.get_hostaddrs().get(place) {
                config.hostaddr(*ip);
            }
            add_host(&mut config, all, place);
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
            self.prepared(config)
        };
        (0..all.get_hosts().len()).map(one).collect()
    }

    /// What no transaction may forget is set before its first one.
    fn prepared(&self, mut config: tokio_postgres::Config) -> tokio_postgres::Config {
        let PostgresTimeouts { connect: _, statement, lock, idle_in_transaction, transaction: _ } = self.timeouts;
        let options = format!(
            "-c search_path=\"{}\" -c statement_timeout={} -c lock_timeout={} \
             -c idle_in_transaction_session_timeout={}",
            self.namespace,
            statement.as_millis(),
            lock.as_millis(),
            idle_in_transaction.as_millis(),
        );
        config
            .ssl_mode(SslMode::Disable)
            .options(options)
            .application_name("tidegate")
            .connect_timeout(self.connect_each())
            // A machine that vanished is noticed as soon while an answer is awaited as while data is under way.
            .keepalives(true)
            .keepalives_idle(SILENT_MAX / 2)
            .keepalives_interval(SILENT_MAX / 4)
            .keepalives_retries(2)
            .tcp_user_timeout(SILENT_MAX);
        config
    }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("namespace", &self.namespace)
            .field("pool_max", &self.pool_max)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

fn read_url(url: &str) -> Result<tokio_postgres::Config, InvalidPostgresSettings> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(InvalidPostgresSettings::Url);
    }
    // The library knows sslmode=verify-ca and verify-full only as mistakes; they ask for TLS all the same.
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let asks_tls = |pair: &str| pair.starts_with("sslmode=verify") || pair == "channel_binding=require";
    if query.split('&').any(asks_tls) {
        return Err(InvalidPostgresSettings::Tls);
    }
    let config: tokio_postgres::Config = url.parse().map_err(|_| InvalidPostgresSettings::Url)?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(InvalidPostgresSettings::Tls);
    }
    if config.get_options().is_some() {
        return Err(InvalidPostgresSettings::Options);
    }
    if config.get_hosts().is_empty() {
        return Err(InvalidPostgresSettings::Url);
    }
    Ok(config)
}

/// Adds the hosts of `more`, each with its port: the library pairs them by place.
fn add_hosts(config: &mut tokio_postgres::Config, more: &tokio_postgres::Config) {
    let missing = config.get_hosts().len().saturating_sub(config.get_ports().len());
    let usual = config.get_ports().first().copied().unwrap_or(PORT);
    for _ in 0..missing {
        config.port(usual);
    }
    for place in 0..more.get_hosts().len() {
        add_host(config, more, place);
    }
}

/// Adds the host at `place` of `more`, with its port.
fn add_host(config: &mut tokio_postgres::Config, more: &tokio_postgres::Config, place: usize) {
    match &more.get_hosts()[place] {
        Host::Tcp(name) => config.host(name),
        #[cfg(unix)]
        Host::Unix(path) => config.host_path(path),
    };
    config.port(more.get_ports().get(place).or(more.get_ports().first()).copied().unwrap_or(PORT));
}

/// Its characters need no escape inside of double quotes, which is how it is written everywhere.
fn is_schema_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with("pg_")
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_kept_to_are_refused() {
        let check = |url: &str, expected: Option<InvalidPostgresSettings>| {
            assert_eq!(PostgresSettings::try_new([url], "tidegate").err(), expected, "{url}");
        };
        check("postgres://user:secret@db.example:5432/app", None);
        check("postgresql://user@db.example/app?sslmode=disable", None);
        check("postgres://user@db.example/app?sslmode=prefer", None);
        check("postgres://user@db.example/app?sslmode=require", Some(InvalidPostgresSettings::Tls));
        check("postgres://user@db.example/app?sslmode=verify-full", Some(InvalidPostgresSettings::Tls));
        check("postgres://user@db.example/app?channel_binding=require", Some(InvalidPostgresSettings::Tls));
        check("postgres://user@db.example/app?options=-cx%3Dy", Some(InvalidPostgresSettings::Options));
        check("postgres://user@db.example/app?unheard=of", Some(InvalidPostgresSettings::Url));
        check("amqp://db.example", Some(InvalidPostgresSettings::Url));
        check("postgres:///app", Some(InvalidPostgresSettings::Url));
        check("", Some(InvalidPostgresSettings::Url));
    }

    #[test]
    fn several_servers_are_tried_for_the_one_that_takes_writes() {
        let urls = ["postgres://me@one,two:7/app", "postgres://three:8/", "postgres://four/"];
        let settings = PostgresSettings::try_new(urls, "tidegate").expect("valid URLs");
        let hosts: Vec<String> = settings.config.get_hosts().iter().map(|host| format!("{host:?}")).collect();
        assert_eq!(hosts, [r#"Tcp("one")"#, r#"Tcp("two")"#, r#"Tcp("three")"#, r#"Tcp("four")"#]);
        assert_eq!(settings.config.get_ports(), [5432, 7, 8, 5432]);
        assert_eq!(settings.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(settings.config.get_user(), Some("me"));
        for (server, (host, port)) in
            settings.servers().iter().zip([("one", 5432), ("two", 7), ("three", 8), ("four", 5432)])
        {
            assert_eq!((server.get_hosts(), server.get_ports()), (&[Host::Tcp(host.to_owned())][..], &[port][..]));
            assert_eq!((server.get_user(), server.get_dbname()), (Some("me"), Some("app")));
            assert_eq!(server.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        }
        assert_eq!(settings.connect_all(), 4 * EACH_MAX);
        let single = PostgresSettings::try_new(["postgres://one/app"], "tidegate").expect("a valid URL");
        assert_eq!(single.connect_all(), single.timeouts.connect);
        assert!(PostgresSettings::try_new([], "tidegate").is_err());
        assert!(PostgresSettings::try_new(["postgres://one/", "amqp://two"], "tidegate").is_err());
    }

    #[test]
    fn namespaces_are_names_of_schemas() {
        for (name, good) in [("tidegate", true), ("tide-gate_2", true), ("", false), ("a\"b", false), ("pg_x", false)] {
            assert_eq!(PostgresSettings::try_new(["postgres://h/d"], name).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let settings = PostgresSettings::try_new(["postgres://user:canary@host/app"], "tidegate").expect("a valid URL");
        assert!(!format!("{settings:?}").contains("canary"));
    }
}
