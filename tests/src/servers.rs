//! Real servers for tests: RabbitMQ, Redis and PostgreSQL, found or started.
//!
//! Each is looked for in this order, and if nothing is found the test fails with what to install; nothing is skipped:
//!
//! 1. a URL in the environment: `TIDEGATE_TEST_RABBITMQ_URL`, `TIDEGATE_TEST_REDIS_URL`, `TIDEGATE_TEST_POSTGRES_URL`;
//! 2. Docker, if a daemon answers;
//! 3. the programs of this machine, on private ports and in a private folder (Linux only).
//!
//! A server from a URL is shared: it can be used, but not killed. [`Server::own`] leaves the first step out, for tests
//! that break things. What is started here ends with its value, and at the latest with the test process, however that
//! ends (see `servers/guardian.rs`); a server in a `static` is fine.

pub mod cluster;
mod container;
pub(crate) mod find;
mod folder;
mod guardian;
mod host;
pub(crate) mod kind;
mod network;
mod port;
pub mod postgres;
mod process;
pub mod rabbitmq;
pub mod redis;
#[cfg(test)]
mod tests;

use std::{
    marker::PhantomData,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use tokio::{
    net::{TcpStream, lookup_host},
    select,
    time::timeout,
};
use url::{Host as UrlHost, Url};

use self::{container::Container, host::Host};
pub use self::{kind::Kind, postgres::Postgres, rabbitmq::RabbitMq, redis::Redis};
use crate::eventually::eventually;

/// How long a server may take from its start to its first answer: RabbitMQ needs 6 s on a free machine, and may share
/// this one with a build.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a server may take for its sign of life before it is asked anew.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a shared server may take to accept a connection before it counts as not there.
const SHARED_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that tests can use and, if it is their own, break.
///
/// What breaks it takes `&self`, so that a test can do it while others use the server.
#[derive(Debug)]
pub struct Server<K: Kind> {
    url: String,
    addr: SocketAddr,
    host: Host,
    kind: PhantomData<K>,
}

impl<K: Kind> Server<K> {
    /// Takes the server that the environment names, else starts one.
    ///
    /// # Errors
    ///
    /// The named server does not answer, or there is nothing to start; the message says what to install.
    pub async fn shared_or_own() -> Result<Self> {
        match find::variable(K::URL_VARIABLE) {
            Some(url) => {
                let url = url.into_string().map_err(|_| anyhow!("{} is not UTF-8", K::URL_VARIABLE))?;
                Self::shared(url).await.with_context(|| format!("the server of {} is not usable", K::URL_VARIABLE))
            }
            None => Self::own().await,
        }
    }

    /// Starts a server that belongs to the caller alone, and can be killed.
    ///
    /// # Errors
    ///
    /// It does not start, or there is nothing to start; the message says what to install.
    pub async fn own() -> Result<Self> {
        let host = if find::docker_answers().await {
            Host::Container(Box::new(Container::run(K::image(), K::PORT).await?))
        } else {
            let programs = K::programs()?;
            let process = K::lay_out(programs).await.with_context(|| format!("cannot prepare {}", K::NAME))?;
            process.start()?;
            Host::Process(Box::new(process))
        };
        let addr = host.addr()?;
        let server = Self { url: K::url(addr), addr, host, kind: PhantomData };
        server.until_it_answers().await?;
        Ok(server)
    }

    /// The URL to connect to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL with another address in it: that of a proxy in front of the server.
    ///
    /// # Errors
    ///
    /// The server is shared, and its URL is not one that an address fits into.
    pub fn url_via(&self, addr: SocketAddr) -> Result<String> {
        let mut url = Url::parse(&self.url)?;
        // By text: the host of `amqp:` and `postgres:` URLs is not "special", so it has no typed setter.
        url.set_host(Some(&host_of_ip(addr.ip())))?;
        url.set_port(Some(addr.port())).map_err(|()| anyhow!("{url} takes no port"))?;
        Ok(url.into())
    }

    /// The address to connect to, for a proxy in front of the server.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether this server is the test's own, and so can be killed.
    pub fn is_own(&self) -> bool {
        !matches!(self.host, Host::Given { .. })
    }

    /// Starts the server again, on the same port and with its data, and returns once it answers.
    ///
    /// # Errors
    ///
    /// It is shared, running already, or does not start; the message quotes its log.
    pub async fn start(&self) -> Result<()> {
        self.host.start().await?;
        self.until_it_answers().await
    }

    /// Kills the server with all its processes by SIGKILL, and returns once they are dead.
    ///
    /// # Errors
    ///
    /// It is shared, or does not die.
    pub async fn kill(&self) -> Result<()> {
        self.host.kill().await.with_context(|| format!("cannot kill {}", K::NAME))
    }

    /// Asks the server to end, and returns once it did. One that is paused is resumed first.
    ///
    /// # Errors
    ///
    /// It is shared, or does not end.
    pub async fn stop(&self) -> Result<()> {
        self.host.stop().await.with_context(|| format!("cannot stop {}", K::NAME))
    }

    /// Freezes the server with all its processes: connections stay open, nothing answers.
    ///
    /// # Errors
    ///
    /// It is shared, or cannot be frozen.
    pub async fn pause(&self) -> Result<()> {
        self.host.pause().await.with_context(|| format!("cannot pause {}", K::NAME))
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    ///
    /// It is shared, or cannot be resumed.
    pub async fn resume(&self) -> Result<()> {
        self.host.resume().await.with_context(|| format!("cannot resume {}", K::NAME))
    }

    async fn shared(url: String) -> Result<Self> {
        let addr = addr_of_url(&url, K::PORT).await?;
        timeout(SHARED_CONNECT_TIMEOUT, TcpStream::connect(addr))
            .await
            .with_context(|| format!("{addr} does not answer"))?
            .with_context(|| format!("{addr} cannot be connected to"))?;
        Ok(Self { url, addr, host: Host::Given { url_variable: K::URL_VARIABLE }, kind: PhantomData })
    }

    async fn until_it_answers(&self) -> Result<()> {
        let answers = eventually("its first answer", START_TIMEOUT, async || {
            match timeout(ANSWER_TIMEOUT, K::answers(self.addr)).await {
                Ok(answer) => answer,
                Err(_elapsed) => Err(format!("no answer within {ANSWER_TIMEOUT:?}")),
            }
        });
        let failure = select! {
            answer = answers => match answer {
                Ok(()) => return Ok(()),
                Err(overdue) => overdue,
            },
            ended = self.host.ended() => ended,
        };
        let last_words = self.host.last_words().await;
        Err(failure.context(format!("{} does not start; its log ends with:\n{last_words}", K::NAME)))
    }

    /// Runs one of the server's tools where it runs, and returns what it printed.
    async fn run_tool(&self, tool: &str, arguments: &[&str]) -> Result<String> {
        match &self.host {
            Host::Given { url_variable } => bail!("{tool} cannot reach the shared server of {url_variable}"),
            Host::Container(container) => container.run_tool(tool, arguments).await,
            Host::Process(process) => process.run_tool(tool, arguments).await,
        }
    }
}

/// Makes sure that [`Server::shared_or_own`] has something to take.
///
/// # Errors
///
/// There is nothing; the message says what to install.
pub(crate) async fn ensure_available<K: Kind>() -> Result<()> {
    match K::programs() {
        Err(missing) if find::variable(K::URL_VARIABLE).is_none() && !find::docker_answers().await => Err(missing),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Says what to install.
pub(crate) fn missing<K: Kind>() -> String {
    format!(
        "{name} is missing, and the tests need a real one. Do one of these: start Docker; install the package \
         {package} (Debian, Ubuntu) or what has it elsewhere; set {variable} to the URL of one that runs",
        name = K::NAME,
        package = K::PACKAGES.join(" "),
        variable = K::URL_VARIABLE,
    )
}

async fn addr_of_url(url: &str, default_port: u16) -> Result<SocketAddr> {
    let url = Url::parse(url).context("not a URL")?;
    let port = url.port().unwrap_or(default_port);
    let host = match url.host().context("the URL has no host")? {
        UrlHost::Domain(name) => name.to_owned(),
        UrlHost::Ipv4(ip) => ip.to_string(),
        UrlHost::Ipv6(ip) => ip.to_string(),
    };
    let mut addrs = lookup_host((host.as_str(), port)).await?;
    addrs.next().with_context(|| format!("{host} has no address"))
}

fn host_of_ip(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}
