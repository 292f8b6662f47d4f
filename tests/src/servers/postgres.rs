//! PostgreSQL for tests: durable as in production, only its first minute is hurried.

use std::{
    fs,
    net::SocketAddr,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use rustix::process::{Signal, getuid};
use testcontainers::{ContainerRequest, GenericImage, ImageExt};
use tokio_postgres::{Config, NoTls};

use super::{
    Server, find,
    folder::Folder,
    kind::Kind,
    missing,
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
        let (folder, user) = make_folder()?;
        let mut initdb = clean_command(&program.with_file_name("initdb"), &folder);
        // The tests outlive no power cut, so the fresh files need not be synced; what is committed later is.
        initdb.args(["-D", "data", "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "--encoding=UTF8"]);
        run_as(user.as_ref(), &mut initdb);
        output_of(initdb).await?;

        serve(&program, folder, user.as_ref())
    }
}

/// Prepares a standby of the server at `primary`, from a copy of its data.
pub(super) async fn lay_out_standby(program: &Path, primary: SocketAddr) -> Result<Process> {
    let (folder, user) = make_folder()?;
    let mut copy = clean_command(&program.with_file_name("pg_basebackup"), &folder);
    let (host, port) = (primary.ip().to_string(), primary.port().to_string());
    copy.args(["-D", "data", "-h", &host, "-p", &port, "-U", "postgres", "--no-sync"]);
    copy.args(["--write-recovery-conf", "--checkpoint=fast"]);
    run_as(user.as_ref(), &mut copy);
    output_of(copy).await?;
    serve(program, folder, user.as_ref())
}

fn make_folder() -> Result<(Folder, Option<User>)> {
    let folder = Folder::create("postgres", LAST_RITES)?;
    let user = User::for_postgres()?;
    if let Some(user) = &user {
        chown(folder.path(), Some(user.uid), Some(user.gid)).context("cannot hand the folder over")?;
    }
    Ok((folder, user))
}

fn serve(program: &Path, folder: Folder, user: Option<&User>) -> Result<Process> {
    let ports = Ports::reserve()?;
    let mut command = clean_command(program, &folder);
    command.args(["-D", "data", "-h", "127.0.0.1", "-p", &ports.main().to_string()]);
    command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
    run_as(user, &mut command);
    // SIGINT is PostgreSQL's fast shutdown: clean, without waiting for clients to leave.
    Process::try_new(command, folder, ports, Signal::INT)
}

/// Whom PostgreSQL runs as: it refuses to run as root.
struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// `None` if we are not root, and so run it as ourselves.
    fn for_postgres() -> Result<Option<Self>> {
        if !getuid().is_root() {
            return Ok(None);
        }
        let accounts = fs::read_to_string("/etc/passwd").context("cannot read the user accounts")?;
        let user = ["postgres", "nobody"].into_iter().find_map(|name| Self::of_name(&accounts, name));
        Ok(Some(user.context("PostgreSQL refuses to run as root, and there is no user postgres or nobody")?))
    }

    fn of_name(accounts: &str, name: &str) -> Option<Self> {
        let account = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = account.split(':').skip(2);
        Some(Self { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    }
}

fn run_as(user: Option<&User>, command: &mut Command) {
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
}
