//! The life of a process: start, run until told to stop, drain, leave with a code that says how it went.

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::ConfigError;
use crate::tasks::Tasks;

/// The configuration is wrong (BSD's `EX_USAGE`): nothing was started. A wrong command line leaves with 2.
pub const EXIT_USAGE: u8 = 64;
/// A server or a file that is needed to start is not to be had.
pub const EXIT_FAILURE: u8 = 1;
/// Stopped, but some work had to be abandoned; it will be delivered again.
pub const EXIT_ABANDONED: u8 = 3;

/// Time for connections to close after all work is done.
const LINKS_GRACE: Duration = Duration::from_secs(5);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}; is another process there? Give this one another address with {flag}")]
pub struct ListenError {
    address: SocketAddr,
    flag: &'static str,
    #[source]
    source: std::io::Error,
}

/// Connections that wait to be taken, as far as the system allows (`net.core.somaxconn`). One more is tried again by its
/// sender's system, a second later at best. What the standard library asks for is 128.
const BACKLOG: u32 = 4_096;

/// Listens on `address`; `flag` is the option that would change it.
///
/// # Errors
/// [`ListenError`] says what to do.
pub fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ListenError> {
    let listening = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A process that starts again need not wait for the connections of the one before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listening().map_err(|source| ListenError { address, flag, source })
}

/// Lets the process open `needed` files, as far as the system allows; a connection is one. Warns if that is not enough:
/// connections over it would not be taken, those of honest senders among them.
pub fn allow_open_files(needed: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if enough(current) {
        return;
    }
    let current = Some(maximum.map_or(needed, |maximum| maximum.min(needed)));
    let raised = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    if raised.is_err() || !enough(current) {
        tracing::warn!(needed, ?maximum, "too few open files are allowed for ingest.connections_max; raise ulimit -n");
    }
}

/// Chooses the cryptography of every TLS connection of the process. A second call changes nothing.
pub fn install_tls() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("TLS had its cryptography already");
    }
}

/// The two kinds of tasks of a process, which stop one after the other.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// Listeners, requests and deliveries: told to stop first, and waited for.
    pub work: Tasks,
    /// Connections to servers: what the work needs to finish, so they stop after it.
    pub links: Tasks,
}

impl Process {
    /// Takes work for the time that was asked for, stops the work, then the links; says how many tasks had to be left.
    async fn stop(&self, Patience { drain_delay, grace }: Patience) -> usize {
        self.work.leaving().cancel();
        tokio::time::sleep(drain_delay).await;
        self.work.shutdown().cancel();
        let abandoned = self.work.finish(grace).await;
        self.links.shutdown().cancel();
        abandoned + self.links.finish(LINKS_GRACE).await
    }
}

/// How long a process that was told to stop takes.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Time in which it is not ready any more but still takes work: load balancers need it to look elsewhere.
    pub drain_delay: Duration,
    /// Time to finish what was begun.
    pub grace: Duration,
}

/// Listens on `address`, or, if another process has it, on a free port of the same host, and says so: several processes
/// share one configuration file, and only one of them can have what it says.
///
/// # Errors
/// As [`listen`].
pub fn listen_near(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ListenError> {
    match listen(address, flag) {
        Err(ListenError { source, .. }) if source.kind() == std::io::ErrorKind::AddrInUse => {
            let near = listen(SocketAddr::new(address.ip(), 0), flag)?;
            let instead = near.local_addr().map(|address| address.to_string()).unwrap_or_default();
            tracing::warn!(%address, instead, "another process has this address; choose one with {flag}");
            Ok(near)
        }
        listening => listening,
    }
}

/// Runs until SIGTERM, SIGINT or the early end of a task; then stops the process's tasks, with `patience` for the work.
/// A second signal leaves at once.
///
/// # Errors
/// If the system refuses signal handlers.
pub async fn run_until_stopped(process: &Process, patience: Patience) -> std::io::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let failed = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping: finishing what was begun");
            false
        }
        () = process.work.failed() => true,
        () = process.links.failed() => true,
    };
    let abandoned = tokio::select! {
        abandoned = process.stop(patience) => abandoned,
        name = signals.next() => {
            tracing::warn!(signal = name, "second signal: leaving at once; what was not finished is delivered again");
            return Ok(ExitCode::from(EXIT_ABANDONED));
        }
    };
    if abandoned > 0 {
        tracing::warn!(abandoned, grace = ?patience.grace, "stopped; not everything was finished in time and will be delivered again");
        return Ok(ExitCode::from(EXIT_ABANDONED));
    }
    tracing::info!("stopped; everything was finished");
    Ok(if failed { ExitCode::from(EXIT_FAILURE) } else { ExitCode::SUCCESS })
}

/// Turns a program's result into its exit code, and tells the user what went wrong.
pub fn exit_with<E: std::fmt::Display>(result: Result<Result<ExitCode, E>, ConfigError>) -> ExitCode {
    match result {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            complain(format_args!("error: {error:#}"));
            ExitCode::from(EXIT_FAILURE)
        }
        Err(mistakes) => {
            complain(format_args!("{mistakes}"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a program, for the person who started it")]
fn complain(what: std::fmt::Arguments<'_>) {
    eprintln!("{what}");
}

/// Runs `main` on a runtime with one thread per processor.
///
/// # Errors
/// What `main` says, or that the runtime cannot be built.
pub fn block_on<F, E>(main: F) -> Result<ExitCode, E>
where
    F: Future<Output = Result<ExitCode, E>>,
    E: From<std::io::Error>,
{
    Ok(leave(tokio::runtime::Builder::new_multi_thread().enable_all().build()?, main))?
}

/// Runs `main` on a runtime with one thread, which costs less for each event: nothing moves between processors. For a
/// process without code of a user's own, which might block; a machine with many processors runs several.
///
/// # Errors
/// As [`block_on`].
pub fn block_on_one_thread<F, E>(main: F) -> Result<ExitCode, E>
where
    F: Future<Output = Result<ExitCode, E>>,
    E: From<std::io::Error>,
{
    Ok(leave(tokio::runtime::Builder::new_current_thread().enable_all().build()?, main))?
}

fn leave<F: Future>(runtime: tokio::runtime::Runtime, main: F) -> F::Output {
    let ended = runtime.block_on(main);
    // Blocking reads of the embedded store may still run; nobody waits for their answers any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: senders that come all at once are not made to wait for a second. Method: a listener that takes none of them.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn hundreds_of_connections_may_wait_to_be_taken() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("the system's limit");
        let count = allowed.trim().parse::<usize>().expect("a number").min(300);
        let listener = listen(([127, 0, 0, 1], 0).into(), "--listen").expect("a port");
        let address = listener.local_addr().expect("an address");
        let connecting = (0..count).map(|_| tokio::net::TcpStream::connect(address));
        let made =
            tokio::time::timeout(Duration::from_millis(900), futures_util::future::try_join_all(connecting)).await;
        assert_eq!(made.expect("none is tried again").expect("all are taken").len(), count);
    }
}
