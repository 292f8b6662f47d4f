//! What differs between the servers.

use std::{fmt::Debug, net::SocketAddr};

use anyhow::Result;
use testcontainers::{ContainerRequest, GenericImage};

use super::process::Process;

/// A kind of server: how it is found, started and asked whether it is there.
pub trait Kind: Debug + Send + Sync + 'static {
    /// What starts it as a process of this machine.
    type Programs: Send;

    /// What people call it.
    const NAME: &'static str;
    /// The variable with the URL of one that runs already.
    const URL_VARIABLE: &'static str;
    /// The packages of Debian and Ubuntu that it takes.
    const PACKAGES: &'static [&'static str];
    /// The port it has by default, and inside its container.
    const PORT: u16;

    /// The URL of one that was started here.
    fn url(addr: SocketAddr) -> String;

    /// Its container.
    fn image() -> ContainerRequest<GenericImage>;

    /// Its programs on this machine.
    ///
    /// # Errors
    ///
    /// They are not here; the message says what to install.
    fn programs() -> Result<Self::Programs>;

    /// Asks it for a sign of life that it only gives once it is ready.
    fn answers(addr: SocketAddr) -> impl Future<Output = Result<(), String>> + Send;

    /// Prepares its folder, for it to be started by `programs`.
    fn lay_out(programs: Self::Programs) -> impl Future<Output = Result<Process>> + Send;
}
