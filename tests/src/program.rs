//! One of Tidegate's programs as a child process, with its log.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::eventually::eventually;

/// A debug build on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Lines of a log that are kept: the newest.
const LOG_LINES_MAX: usize = 50_000;

/// A running program.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    child: Child,
    log: Arc<Mutex<VecDeque<Value>>>,
    /// Where it listens, as it said itself.
    pub listen: SocketAddr,
    /// Where its admin API listens.
    pub admin: SocketAddr,
    /// Where the worker's API listens, if it does.
    pub http: Option<SocketAddr>,
}

/// The program `name` of this build.
///
/// # Errors
/// If it was not built: `cargo xtask test` builds it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    // Tests lie in target/<profile>/deps, programs one folder up.
    let mut found = here.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    found
        .find(|path| path.exists())
        .with_context(|| format!("{name} is not built; run `cargo build --workspace` or `cargo xtask test`"))
}

impl Program {
    /// Starts the program and waits until it says where it listens.
    ///
    /// # Errors
    /// If it ends or says nothing; the error has its log.
    pub async fn start(name: &'static str, arguments: &[String]) -> Result<Self> {
        Self::start_with(name, arguments, &[]).await
    }

    /// Starts the program with more variables in its environment.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(name: &'static str, arguments: &[String], variables: &[(String, String)]) -> Result<Self> {
        Self::start_at(&binary(name)?, name, arguments, variables).await
    }

    /// Starts the program that lies there, perhaps of another build.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(
        path: &Path,
        name: &'static str,
        arguments: &[String],
        variables: &[(String, String)],
    ) -> Result<Self> {
        let mut command = Command::new(path);
        command.env("TIDEGATE_LOG", "info").envs(variables.iter().map(|(name, value)| (name, value)));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let log = Arc::<Mutex<VecDeque<Value>>>::default();
        let lines = BufReader::new(child.stderr.take().context("standard error is piped")?).lines();
        tokio::spawn(keep_log(lines, Arc::clone(&log)));
        let what = format!("{name} says where it listens");
        let addresses = eventually(&what, START_TIMEOUT, || {
            let (found, ended) = (addresses(&log), child.try_wait());
            async move {
                match (found, ended) {
                    (Some(found), _) => Ok(found),
                    (None, Ok(None)) => Err("it runs".to_owned()),
                    (None, ended) => Err(format!("it ended: {ended:?}")),
                }
            }
        });
        let (listen, admin, http) = addresses.await.with_context(|| format!("{name}'s log: {:#?}", lock(&log)))?;
        Ok(Self { name, child, log, listen, admin, http })
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Errors
    /// If it is gone already.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// Asks it to stop, as `kill` does, and waits for its end.
    ///
    /// # Errors
    /// If it does not end within a minute.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal("TERM").await?;
        self.wait().await
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not end within a minute.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        Ok(ended.with_context(|| format!("{} does not stop; its log: {:#?}", self.name, lock(&self.log)))??)
    }

    /// Sends a signal by name.
    ///
    /// # Errors
    /// If the program is gone.
    pub async fn signal(&self, signal: &str) -> Result<()> {
        let id = self.child.id().context("the program is gone")?;
        let sent = Command::new("kill").args([&format!("-{signal}"), &id.to_string()]).status().await?;
        if sent.success() { Ok(()) } else { bail!("{} cannot be sent {signal}", self.name) }
    }

    /// Its resident memory, in bytes.
    ///
    /// # Errors
    /// If the program is gone.
    pub fn resident(&self) -> Result<u64> {
        let id = self.child.id().context("the program is gone")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the program has no memory")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// Lines of its log at this level, such as `ERROR`.
    #[must_use]
    pub fn logged(&self, level: &str) -> Vec<Value> {
        lock(&self.log).iter().filter(|line| line["level"] == level).cloned().collect()
    }

    /// Its whole log, as text.
    #[must_use]
    pub fn log_text(&self) -> String {
        lock(&self.log).iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
    }
}

fn lock(log: &Mutex<VecDeque<Value>>) -> std::sync::MutexGuard<'_, VecDeque<Value>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep_log(
    mut lines: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
    log: Arc<Mutex<VecDeque<Value>>>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        let parsed = serde_json::from_str(&line).unwrap_or(Value::String(line));
        let mut log = lock(&log);
        if log.len() == LOG_LINES_MAX {
            log.pop_front();
        }
        log.push_back(parsed);
    }
}

/// The line `… is starting` names the addresses.
fn addresses(log: &Mutex<VecDeque<Value>>) -> Option<(SocketAddr, SocketAddr, Option<SocketAddr>)> {
    let log = lock(log);
    let line = log.iter().find(|line| line["message"].as_str().is_some_and(|text| text.ends_with("is starting")))?;
    let address = |field: &str| line[field].as_str()?.parse().ok();
    let admin = address("admin")?;
    Some((address("listen").unwrap_or(admin), admin, address("http")))
}
