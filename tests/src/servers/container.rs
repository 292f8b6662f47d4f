//! A server as a Docker container.

use std::{
    mem,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use testcontainers::{
    ContainerAsync, ContainerRequest, GenericImage, ImageExt,
    bollard::query_parameters::KillContainerOptionsBuilder,
    core::{CmdWaitFor, ContainerPort, ExecCommand, client::docker_client_instance},
    runners::AsyncRunner,
};
use tokio::{net::lookup_host, runtime};

use super::{guardian::Guardian, port::Ports};
use crate::eventually::eventually;

/// How long the container may take to be seen as ended once it was killed.
const DEATH_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may take to end when asked, in seconds as Docker wants them; killed after that.
const STOP_TIMEOUT_S: i32 = 60;

/// A container that can be killed and started again on the same host port with the same file system.
#[derive(Debug)]
pub(super) struct Container {
    /// `None` only while it is dropped.
    container: Option<ContainerAsync<GenericImage>>,
    guardian: Guardian,
    addr: SocketAddr,
    _ports: Ports,
}

impl Container {
    /// Creates and starts the container, its `port` published on a host port that it keeps over restarts.
    pub(super) async fn run(image: ContainerRequest<GenericImage>, port: u16) -> Result<Self> {
        let ports = Ports::reserve()?;
        let host_port = ports.main();
        let description = image.descriptor();
        let container = image
            .with_mapped_port(host_port, ContainerPort::Tcp(port))
            .start()
            .await
            .with_context(|| format!("cannot start a container of {description}"))?;
        let guardian = Guardian::of_container(container.id())?;
        let host = container.get_host().await?.to_string();
        let addr = lookup_host((host.as_str(), host_port))
            .await?
            .min_by_key(|addr| !addr.is_ipv4())
            .unwrap_or_else(|| (Ipv4Addr::LOCALHOST, host_port).into());
        Ok(Self { container: Some(container), guardian, addr, _ports: ports })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) async fn start(&self) -> Result<()> {
        Ok(self.container()?.start().await?)
    }

    pub(super) async fn kill(&self) -> Result<()> {
        // Docker refuses to kill a paused container on some hosts. That it was not paused is no error.
        self.resume().await.ok();
        let options = KillContainerOptionsBuilder::new().signal("KILL").build();
        let docker = docker_client_instance().await?;
        if !self.has_ended().await? {
            docker.kill_container(self.container()?.id(), Some(options)).await?;
        }
        eventually("the container has ended", DEATH_TIMEOUT, async || match self.has_ended().await {
            Ok(true) => Ok(()),
            Ok(false) => Err("it is running".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        })
        .await
    }

    pub(super) async fn stop(&self) -> Result<()> {
        self.resume().await.ok();
        Ok(self.container()?.stop_with_timeout(Some(STOP_TIMEOUT_S)).await?)
    }

    pub(super) async fn pause(&self) -> Result<()> {
        Ok(self.container()?.pause().await?)
    }

    pub(super) async fn resume(&self) -> Result<()> {
        Ok(self.container()?.unpause().await?)
    }

    pub(super) async fn has_ended(&self) -> Result<bool> {
        Ok(!self.container()?.is_running().await?)
    }

    /// Runs a tool inside the container and returns what it printed.
    pub(super) async fn run_tool(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let words = [program].into_iter().chain(arguments.iter().copied());
        let command = ExecCommand::new(words).with_cmd_ready_condition(CmdWaitFor::exit());
        let mut done = self.container()?.exec(command).await?;
        let printed = String::from_utf8_lossy(&done.stdout_to_vec().await?).into_owned();
        let complaints = String::from_utf8_lossy(&done.stderr_to_vec().await?).into_owned();
        let code = done.exit_code().await?;
        ensure!(code == Some(0), "{program} in the container: exit code {code:?}\n{printed}{complaints}");
        Ok(printed)
    }

    /// The container's log.
    pub(super) async fn last_words(&self) -> String {
        let Ok(container) = self.container() else { return String::new() };
        let printed = container.stdout_to_vec().await.unwrap_or_default();
        let complaints = container.stderr_to_vec().await.unwrap_or_default();
        format!("{}{}", String::from_utf8_lossy(&printed), String::from_utf8_lossy(&complaints))
    }

    fn container(&self) -> Result<&ContainerAsync<GenericImage>> {
        self.container.as_ref().context("the container is being removed")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let Some(container) = self.container.take() else { return };
        // Dropping it removes it over Docker's API, for which testcontainers needs to find a runtime.
        if runtime::Handle::try_current().is_ok() {
            drop(container);
            self.guardian.dismiss();
        } else if let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() {
            let _entered = runtime.enter();
            drop(container);
            self.guardian.dismiss();
        } else {
            // The guardian removes it.
            mem::forget(container);
        }
    }
}
