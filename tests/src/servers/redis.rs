//! Redis for tests: one that keeps nothing, as the cache it is to Tidegate.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::process::Signal;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Server, find,
    folder::Folder,
    kind::Kind,
    missing,
    network::Place,
    port::Ports,
    process::{Process, clean_command},
};

/// A Redis server. After a kill or a stop it starts again empty: nothing may rest on its memory.
pub type Redis = Server<RedisKind>;

/// What makes a [`Server`] a Redis.
#[derive(Debug)]
pub enum RedisKind {}

/// Keeps nothing on disk.
const FORGETFUL: [&str; 4] = ["--save", "", "--appendonly", "no"];

impl Kind for RedisKind {
    type Programs = PathBuf;

    const NAME: &str = "Redis";
    const URL_VARIABLE: &str = "TIDEGATE_TEST_REDIS_URL";
    const PACKAGES: &[&str] = &["redis-server"];
    const PORT: u16 = 6379;

    fn url(addr: SocketAddr) -> String {
        format!("redis://{addr}/")
    }

    fn image() -> ContainerRequest<GenericImage> {
        GenericImage::new("redis", "7").with_cmd(["redis-server"].into_iter().chain(FORGETFUL))
    }

    fn programs() -> Result<PathBuf> {
        find::program("redis-server", &[]).with_context(missing::<Self>)
    }

    async fn answers(addr: SocketAddr) -> Result<(), String> {
        let answer = async {
            let mut stream = TcpStream::connect(addr).await?;
            stream.write_all(b"PING\r\n").await?;
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        match answer.await {
            Ok(answer) if answer == *b"+PONG\r\n" => Ok(()),
            Ok(answer) => Err(format!("it answers {:?}", String::from_utf8_lossy(&answer))),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn lay_out(program: PathBuf) -> Result<Process> {
        lay_out_with(&program, None, |_ports| Vec::new())
    }
}

/// Prepares a node that will be one of a cluster.
pub(super) fn lay_out_cluster_node(program: &Path, place: Option<&Place>) -> Result<Process> {
    lay_out_with(program, place, |ports| {
        let bus = ports.second().to_string();
        // A master that is silent for so many milliseconds is replaced.
        let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus];
        // A replica need not wait for others that could be sent the same.
        cluster.into_iter().chain(["--repl-diskless-sync-delay", "0"]).map(str::to_owned).collect()
    })
}

fn lay_out_with(program: &Path, place: Option<&Place>, more: impl FnOnce(&Ports) -> Vec<String>) -> Result<Process> {
    let folder = Folder::create("redis", "")?;
    let (folder, ports) = match place {
        None => (folder, Ports::reserve()?),
        Some(place) => (folder.within_network(&place.namespace), Ports::reserve_at(place.ip)?),
    };
    let mut command = clean_command(program, &folder);
    command.args(["--bind", &ports.ip().to_string(), "--port", &ports.main().to_string()]);
    // In a network of its own everybody may ask it; it has no password.
    command.args(["--protected-mode", "no"]).args(FORGETFUL).args(more(&ports));
    Process::try_new(command, folder, ports, Signal::TERM)
}
