//! PostgreSQL for tests: durable as in production, only its first minute is hurried.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::process::{Signal, getuid};
use testcontainers::{ContainerRequest, GenericImage, ImageExt};
use tokio_postgres::{Config, NoTls};

use super::{
    Server, find,
    folder::{Folder, User},
    kind::Kind,
    missing,
    network::Place,
    port::Ports,
    process::{Process, clean_command, output_of},
};

/// A PostgreSQL server with the superuser `postgres`, no password, and fsync left on.
pub type Postgres = Server<PostgresKind>;

/// What makes a [`Server`] a PostgreSQL.
#[derive(Debug)]
pub enum PostgresKind {}

/// Removes the System V segment that a killed server leaves in the kernel, whose id is in the pid file's seventh line.
const LAST_RITES: &str = r#"ipcrm -m "$(sed -n '7s/.* //p' data/postmaster.pid)""#;

const SETTINGS: [&str; 4] = [
    // No Unix socket at all: none outside the folder, and no limit on the length of the folder's name.
    "unix_socket_directories=",
    // The default leaves files in /dev/shm when killed; these are in the folder.
    "dynamic_shared_memory_type=mmap",
    // Several stacks with their pools share one server.
    "max_connections=300",
    "shared_buffers=32MB",
];

/// In a network of its own each of a server's neighbours may connect, and follow it.
const NEIGHBOURS_MAY: &str = "host all all samenet trust\nhost replication all samenet trust\n";

impl Kind for PostgresKind {
    type Programs = PathBuf;

    const NAME: &str = "PostgreSQL";
    const URL_VARIABLE: &str = "TIDEGATE_TEST_POSTGRES_URL";
    const PACKAGES: &[&str] = &["postgresql"];
    const PORT: u16 = 5432;

    fn url(addr: SocketAddr) -> String {
        format!("postgres://postgres@{addr}/postgres")
    }

    fn image() -> ContainerRequest<GenericImage> {
        GenericImage::new("postgres", "17")
            .with_env_var("POSTGRES_HOST_AUTH_METHOD", "trust")
            .with_env_var("POSTGRES_INITDB_ARGS", "--no-sync --locale=C --encoding=UTF8")
            .with_cmd(["postgres", "-c", "max_connections=300"])
    }

    fn programs() -> Result<PathBuf> {
        find::program("postgres", &find::postgresql_folders()).with_context(missing::<Self>)
    }

    async fn answers(addr: SocketAddr) -> Result<(), String> {
        let mut config = Config::new();
        config.host(addr.ip().to_string()).port(addr.port()).user("postgres").dbname("postgres");
        // Connecting takes the server's "ready for query"; one that recovers says so instead.
        config.connect(NoTls).await.map(drop).map_err(|error| format!("{:#}", anyhow::Error::new(error)))
    }

    async fn lay_out(program: PathBuf) -> Result<Process> {
        lay_out_primary(&program, None).await
    }
}

/// Prepares a server that takes writes.
pub(super) async fn lay_out_primary(program: &Path, place: Option<&Place>) -> Result<Process> {
    let folder = make_folder(place)?;
    let mut initdb = clean_command(&program.with_file_name("initdb"), &folder);
    // The tests outlive no power cut, so the fresh files need not be synced; what is committed later is.
    initdb.args(["-D", "data", "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "--encoding=UTF8"]);
    output_of(initdb).await?;
    if place.is_some() {
        let path = folder.path().join("data/pg_hba.conf");
        let mut who_may = OpenOptions::new().append(true).open(path).context("there is no pg_hba.conf")?;
        who_may.write_all(NEIGHBOURS_MAY.as_bytes())?;
    }
    serve(program, folder, place)
}

/// Prepares a standby of the server at `primary`, from a copy of its data.
pub(super) async fn lay_out_standby(program: &Path, primary: SocketAddr, place: Option<&Place>) -> Result<Process> {
    let folder = make_folder(place)?;
    let mut copy = clean_command(&program.with_file_name("pg_basebackup"), &folder);
    let (host, port) = (primary.ip().to_string(), primary.port().to_string());
    copy.args(["-D", "data", "-h", &host, "-p", &port, "-U", "postgres", "--no-sync"]);
    copy.args(["--write-recovery-conf", "--checkpoint=fast"]);
    output_of(copy).await?;
    serve(program, folder, place)
}

fn make_folder(place: Option<&Place>) -> Result<Folder> {
    let mut folder = Folder::create("postgres", LAST_RITES)?;
    if let Some(place) = place {
        folder = folder.within_network(&place.namespace);
    }
    match user_for_postgres()? {
        None => Ok(folder),
        Some(user) => folder.owned_by(user),
    }
}

fn serve(program: &Path, folder: Folder, place: Option<&Place>) -> Result<Process> {
    let ports = place.map_or_else(Ports::reserve, |place| Ports::reserve_at(place.ip))?;
    let mut command = clean_command(program, &folder);
    command.args(["-D", "data", "-h", &ports.ip().to_string(), "-p", &ports.main().to_string()]);
    command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
    // SIGINT is PostgreSQL's fast shutdown: clean, without waiting for clients to leave.
    Process::try_new(command, folder, ports, Signal::INT)
}

/// Whom PostgreSQL runs as, which refuses to run as root; `None` if we are not, and so run it as ourselves.
fn user_for_postgres() -> Result<Option<User>> {
    if !getuid().is_root() {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").context("cannot read the user accounts")?;
    let user = ["postgres", "nobody"].into_iter().find_map(|name| user_of_name(&accounts, name));
    Ok(Some(user.context("PostgreSQL refuses to run as root, and there is no user postgres or nobody")?))
}

fn user_of_name(accounts: &str, name: &str) -> Option<User> {
    let account = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = account.split(':').skip(2);
    Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}
