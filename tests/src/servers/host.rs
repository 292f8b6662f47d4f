//! Where a server runs, and so how it is killed.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, anyhow, bail, ensure};
use tokio::time::sleep;

use super::{container::Container, process::Process};

/// How soon a server that died during its start is noticed.
const DEATH_POLL: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) enum Host {
    /// Given by the URL in this variable, and shared with others.
    Given {
        url_variable: &'static str,
    },
    Container(Box<Container>),
    Process(Box<Process>),
}

impl Host {
    pub(super) async fn start(&self) -> Result<()> {
        match self {
            Self::Given { url_variable } => refuse("start", url_variable),
            Self::Container(container) => {
                ensure!(container.has_ended().await?, "the server is running already");
                container.start().await
            }
            Self::Process(process) => process.start(),
        }
    }

    pub(super) async fn kill(&self) -> Result<()> {
        match self {
            Self::Given { url_variable } => refuse("kill", url_variable),
            Self::Container(container) => container.kill().await,
            Self::Process(process) => process.kill().await,
        }
    }

    pub(super) async fn stop(&self) -> Result<()> {
        match self {
            Self::Given { url_variable } => refuse("stop", url_variable),
            Self::Container(container) => container.stop().await,
            Self::Process(process) => process.stop().await,
        }
    }

    pub(super) async fn pause(&self) -> Result<()> {
        match self {
            Self::Given { url_variable } => refuse("pause", url_variable),
            Self::Container(container) => container.pause().await,
            Self::Process(process) => process.pause(),
        }
    }

    pub(super) async fn resume(&self) -> Result<()> {
        match self {
            Self::Given { url_variable } => refuse("resume", url_variable),
            Self::Container(container) => container.resume().await,
            Self::Process(process) => process.resume(),
        }
    }

    pub(super) fn addr(&self) -> Result<SocketAddr> {
        match self {
            Self::Given { url_variable } => bail!("the address is in {url_variable}"),
            Self::Container(container) => Ok(container.addr()),
            Self::Process(process) => Ok(process.addr()),
        }
    }

    /// Completes once the server has ended by itself.
    pub(super) async fn ended(&self) -> anyhow::Error {
        loop {
            match self.has_ended().await {
                Ok(false) => sleep(DEATH_POLL).await,
                Ok(true) => return anyhow!("the server ended by itself"),
                Err(error) => return error.context("cannot see whether the server runs"),
            }
        }
    }

    /// What the server logged last.
    pub(super) async fn last_words(&self) -> String {
        match self {
            Self::Given { .. } => String::new(),
            Self::Container(container) => container.last_words().await,
            Self::Process(process) => process.last_words(),
        }
    }

    async fn has_ended(&self) -> Result<bool> {
        match self {
            Self::Given { .. } => Ok(false),
            Self::Container(container) => container.has_ended().await,
            Self::Process(process) => process.has_ended(),
        }
    }
}

fn refuse(action: &str, url_variable: &str) -> Result<()> {
    bail!("cannot {action} the shared server of {url_variable}; a fault test takes its own, by `own()`")
}
