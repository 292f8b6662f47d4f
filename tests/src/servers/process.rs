//! A server as processes of this machine, in a folder of its own.

use std::{
    fs::{self, File, OpenOptions},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    find,
    folder::{DEATH_TIMEOUT, Folder},
    port::Ports,
};
use crate::eventually::eventually;

/// How long a server may take to end when asked: RabbitMQ closes every queue first.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A tool such as `rabbitmqctl` or `initdb` takes one or two seconds; this is for a machine under full load.
const TOOL_TIMEOUT: Duration = Duration::from_secs(60);

/// Time for a connection on this machine, or over a network of the harness': what is cut off there listens to nobody.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(50);

const LOG: &str = "server.log";

/// How much of the log a failure quotes.
const LAST_WORDS_LINES: usize = 25;

/// A server that can be killed and started again on the same ports and the same data.
#[derive(Debug)]
pub struct Process {
    launch: Mutex<Launch>,
    folder: Folder,
    ports: Ports,
    stop_signal: Signal,
}

#[derive(Debug)]
struct Launch {
    command: Command,
    leader: Option<Child>,
}

impl Process {
    /// Takes what to run. It runs in `folder`, and with the environment that `command` names and no other.
    pub(super) fn try_new(mut command: Command, folder: Folder, ports: Ports, stop_signal: Signal) -> Result<Self> {
        let log = log_file(folder.path())?;
        command
            .current_dir(folder.path())
            // A Ctrl-C in the terminal is for the tests; the guardian ends the server after them.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(Self { launch: Mutex::new(Launch { command, leader: None }), folder, ports, stop_signal })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.ports.main_addr()
    }

    pub(super) fn start(&self) -> Result<()> {
        ensure!(self.has_ended()?, "the server is running already");
        let mut launch = self.launch();
        let leader = launch.command.spawn().with_context(|| format!("cannot start {:?}", launch.command))?;
        launch.leader = Some(leader);
        Ok(())
    }

    pub(super) async fn kill(&self) -> Result<()> {
        self.folder.kill_residents().await?;
        self.until_ended().await
    }

    pub(super) async fn stop(&self) -> Result<()> {
        self.resume()?;
        if let Some(leader) = self.leader() {
            kill_process(leader, self.stop_signal)?;
        }
        self.until_ended().await?;
        // Those that do not end with the server: RabbitMQ's name server.
        self.folder.kill_residents().await
    }

    pub(super) fn pause(&self) -> Result<()> {
        self.folder.signal(Signal::STOP)?;
        // Again for a child that was born meanwhile; its parent is frozen now.
        self.folder.signal(Signal::STOP)
    }

    pub(super) fn resume(&self) -> Result<()> {
        self.folder.signal(Signal::CONT)
    }

    /// Runs a tool of the server's that is on its `PATH`, with its environment and in its folder, and returns what it
    /// printed.
    pub(super) async fn run_tool(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut tool = self.folder.command(program.as_ref());
        tool.args(arguments).env_clear();
        for (name, value) in self.launch().command.get_envs() {
            tool.env(name, value.unwrap_or_default());
        }
        output_of(tool).await
    }

    /// Whether the server is not running, be it that it ended or was never started.
    pub(super) fn has_ended(&self) -> Result<bool> {
        let mut launch = self.launch();
        let Some(leader) = &mut launch.leader else { return Ok(true) };
        if leader.try_wait()?.is_some() {
            launch.leader = None;
        }
        Ok(launch.leader.is_none())
    }

    /// The end of the server's log.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read(self.folder.path().join(LOG)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS_LINES)..].join("\n")
    }

    #[cfg(test)]
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    async fn until_ended(&self) -> Result<()> {
        eventually("the server has ended", STOP_TIMEOUT, async || match self.has_ended() {
            Ok(true) if self.listens() => Err(format!("something listens on {}", self.addr())),
            Ok(true) => Ok(()),
            Ok(false) => Err("it is running".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        })
        .await
    }

    /// Whether the server's port is open. Sockets close as the system takes the processes apart, a moment after the last
    /// of those is gone from its folder.
    fn listens(&self) -> bool {
        TcpStream::connect_timeout(&self.addr(), CONNECT_TIMEOUT).is_ok()
    }

    fn leader(&self) -> Option<Pid> {
        let launch = self.launch();
        launch.leader.as_ref().and_then(|leader| Pid::from_raw(i32::try_from(leader.id()).ok()?))
    }

    fn launch(&self) -> MutexGuard<'_, Launch> {
        self.launch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.folder.destroy();
        if let Some(leader) = &mut self.launch().leader {
            // Dead already, if the guardian was there to do it.
            leader.kill().ok();
            leader.wait().ok();
        }
        let until = Instant::now() + DEATH_TIMEOUT;
        while self.listens() && Instant::now() < until {
            thread::sleep(CONNECT_TIMEOUT);
        }
    }
}

/// A command for `program` with a small environment of its own: a `PGHOST` or `RABBITMQ_NODENAME` of the caller's must
/// not reach a test's server.
pub(super) fn clean_command(program: &Path, folder: &Folder) -> Command {
    let mut command = folder.command(program);
    command.env_clear().env("HOME", folder.path_inside()).env("LANG", "C.UTF-8");
    command.env("PATH", find::variable("PATH").unwrap_or_default());
    command
}

/// Runs a command to its end and returns what it printed.
pub(super) async fn output_of(command: Command) -> Result<String> {
    let mut command = tokio::process::Command::from(command);
    let what = format!("{:?}", command.as_std().get_program());
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(TOOL_TIMEOUT, running)
        .await
        .with_context(|| format!("{what} took longer than {TOOL_TIMEOUT:?}"))?
        .with_context(|| format!("cannot run {what}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{what}: {}\n{printed}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(printed)
}

fn log_file(folder: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).open(folder.join(LOG)).context("cannot create the server's log")
}
