//! RabbitMQ for tests: a node of its own with its own name server, no plugin, and the shortest start.

pub(crate) mod release;

use std::{
    env,
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::Result;
use rustix::process::Signal;
use testcontainers::{ContainerRequest, GenericImage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::eventually::eventually;

pub use self::release::Release;
use super::{
    Server,
    cluster::CutOff,
    find,
    folder::Folder,
    kind::Kind,
    port::Ports,
    process::{Process, clean_command},
};

/// A RabbitMQ server with the user `guest` on the virtual host `/`.
pub type RabbitMq = Server<RabbitMqKind>;

/// What makes a [`Server`] a RabbitMQ.
#[derive(Debug)]
pub enum RabbitMqKind {}

/// Starts Erlang's name server beside the broker, and the broker on one processor.
///
/// Else the broker would start a name server that leaves our folder and stays behind. One processor, because Erlang loads
/// its 600 modules by handing each file to and fro between two threads: between processors of a virtual machine that
/// sleep in between, this takes 12 to 20 seconds instead of 6.
const START: &str = r#"
if test -n "$1"; then "$1" -address 127.0.0.1 -port "$ERL_EPMD_PORT" >/dev/null 2>&1 & fi
if command -v taskset >/dev/null; then exec taskset --cpu-list "$2" "$3"; else exec "$3"; fi
"#;

/// One scheduler thread of each sort, and nothing that listens beyond this machine. A node of a cluster that loses sight
/// of another one may not have the third lose it too, which is Erlang's default: what a test cuts is all that is cut.
const ERLANG_ARGUMENTS: &str = "+S 1:1 +SDcpu 1:1 +SDio 1 -kernel inet_dist_use_interface {127,0,0,1} \
                                -kernel prevent_overlapping_partitions false";

/// What nodes and tools of one broker know each other by.
pub(super) const COOKIE: &str = "TIDEGATETESTS";

/// How long the members of a restarted node may take.
const SPARED_TIMEOUT: Duration = Duration::from_secs(60);

/// More than any disk has free, so the alarm is raised at once.
const ALARMING_LIMIT: &str = "1000000000000000";

/// RabbitMQ's default.
const USUAL_LIMIT: &str = "50000000";

impl Server<RabbitMqKind> {
    /// Raises the disk alarm: the broker blocks every connection that publishes.
    ///
    /// # Errors
    ///
    /// `rabbitmqctl` fails, or the server is shared.
    pub async fn raise_disk_alarm(&self) -> Result<()> {
        self.rabbitmqctl(&["set_disk_free_limit", ALARMING_LIMIT]).await.map(drop)
    }

    /// Clears the disk alarm.
    ///
    /// # Errors
    ///
    /// `rabbitmqctl` fails, or the server is shared.
    pub async fn clear_disk_alarm(&self) -> Result<()> {
        self.rabbitmqctl(&["set_disk_free_limit", USUAL_LIMIT]).await.map(drop)
    }

    /// Sets the size of the largest message that the broker takes, for channels that are opened from now on.
    ///
    /// # Errors
    ///
    /// `rabbitmqctl` fails, or the server is shared.
    pub async fn limit_messages(&self, bytes: u32) -> Result<()> {
        // Until 3.13 it is read from the first place, since 4.0 from the second.
        let places = ["application:set_env(rabbit, max_message_size,", "persistent_term:put(max_message_size,"];
        let set = places.map(|place| format!("{place} {bytes})")).join(", ");
        self.rabbitmqctl(&["eval", &format!("{set}.")]).await.map(drop)
    }

    /// Has the broker write down which quorum queues it has, so that a kill right after may find them.
    ///
    /// Older brokers, 3.10 among them, do so only half a second after a queue was declared. If they are killed before, the
    /// queue starts anew: without its confirmed messages, and without ever electing a leader. Ra syncs them at once since
    /// <https://github.com/rabbitmq/ra/pull/443>.
    ///
    /// # Errors
    ///
    /// `rabbitmqctl` fails, or the server is shared.
    pub async fn write_down_queues(&self) -> Result<()> {
        self.rabbitmqctl(&["eval", "[ok = dets:sync(Table) || Table <- dets:all()]."]).await.map(drop)
    }

    /// Runs `rabbitmqctl` on this server and returns what it printed. It takes a second or two.
    ///
    /// # Errors
    ///
    /// `rabbitmqctl` fails, or the server is shared.
    pub async fn rabbitmqctl(&self, arguments: &[&str]) -> Result<String> {
        self.run_tool("rabbitmqctl", arguments).await
    }

    /// Waits until no queue needs this node for its majority: the others' members are there again.
    ///
    /// # Errors
    ///
    /// They do not come, or the server is shared.
    pub async fn until_it_can_be_spared(&self) -> Result<()> {
        eventually("no queue needs the node", SPARED_TIMEOUT, || async {
            let asked = self.run_tool("rabbitmq-queues", &["check_if_node_is_quorum_critical"]).await;
            asked.map(drop).map_err(|error| format!("{error:#}"))
        })
        .await
    }
}

impl Kind for RabbitMqKind {
    type Programs = Release;

    const NAME: &str = "RabbitMQ";
    const URL_VARIABLE: &str = "TIDEGATE_TEST_RABBITMQ_URL";
    const PACKAGES: &[&str] = &["rabbitmq-server"];
    const PORT: u16 = 5672;

    fn url(addr: SocketAddr) -> String {
        format!("amqp://guest:guest@{addr}/%2f")
    }

    fn image() -> ContainerRequest<GenericImage> {
        GenericImage::new("rabbitmq", &release::chosen_tag().unwrap_or_else(|| "4.2".to_owned())).into()
    }

    fn programs() -> Result<Release> {
        Release::for_tests()
    }

    /// Offers AMQP 0-9-1, which the broker answers with a method frame, `connection.start`.
    async fn answers(addr: SocketAddr) -> Result<(), String> {
        let frame_type = async {
            let mut stream = TcpStream::connect(addr).await?;
            stream.write_all(b"AMQP\0\0\x09\x01").await?;
            stream.read_u8().await
        };
        match frame_type.await {
            Ok(1) => Ok(()),
            Ok(other) => Err(format!("it answers with a frame of type {other}")),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn lay_out(release: Release) -> Result<Process> {
        let (folder, ports) = (release.create_folder("rabbitmq")?, Ports::reserve()?);
        write_configuration(&folder, &ports, "")?;
        let name_port = ports.third();
        serve(&release, &release.name_server()?, name_port, folder, ports)
    }
}

/// Prepares a node that will be one of a cluster, with a name server that it shares; and says its name.
pub(super) fn lay_out_node(release: &Release, name_port: u16, cut_off: CutOff) -> Result<(String, Process)> {
    let (folder, ports) = (release.create_folder("rabbitmq")?, Ports::reserve()?);
    write_configuration(&folder, &ports, &format!("cluster_partition_handling = {}\n", cut_off.setting()))?;
    Ok((node_name(&ports), serve(release, "".as_ref(), name_port, folder, ports)?))
}

/// The process of a node, and of `name_server` if there is one.
fn serve(release: &Release, name_server: &Path, name_port: u16, folder: Folder, ports: Ports) -> Result<Process> {
    let mut command = clean_command("sh".as_ref(), &folder);
    command.args(["-c", START, "rabbitmq"]).arg(name_server).arg(processor_for(&ports)).arg(release.server());
    set_environment(&mut command, &folder.path_inside(), &ports, name_port);
    // For the tools.
    let path = find::variable("PATH").unwrap_or_default();
    let path = env::join_paths([release.programs().to_owned()].into_iter().chain(env::split_paths(&path)))?;
    command.env("PATH", path);
    Process::try_new(command, folder, ports, Signal::TERM)
}

fn node_name(ports: &Ports) -> String {
    format!("tidegate-{}@localhost", ports.main())
}

fn write_configuration(folder: &Folder, ports: &Ports, more: &str) -> Result<()> {
    let listener = format!("listeners.tcp.1 = {}\n", ports.main_addr());
    // To the standard output, which is the log that a failure quotes.
    let log = "log.file = false\nlog.console = true\nlog.console.level = warning\n";
    folder.write("rabbitmq.conf", &(listener + log + more))?;
    // When a broker is killed while it moves an expired message to its next queue, it tries again after this time; by
    // default that is three minutes.
    folder.write("advanced.config", "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 10000}]}].\n")?;
    folder.write("enabled_plugins", "[].\n")?;
    folder.write(".erlang.cookie", COOKIE)?;
    // Erlang takes no cookie that others can read.
    Ok(fs::set_permissions(folder.path().join(".erlang.cookie"), Permissions::from_mode(0o400))?)
}

fn set_environment(command: &mut Command, folder: &Path, ports: &Ports, name_port: u16) {
    command
        .env("RABBITMQ_NODENAME", node_name(ports))
        .env("RABBITMQ_DIST_PORT", ports.second().to_string())
        .env("ERL_EPMD_PORT", name_port.to_string())
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG_ARGUMENTS)
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", folder.join("advanced.config"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled_plugins"))
        // Not there, and so the system's /etc/rabbitmq/rabbitmq-env.conf is not read.
        .env("RABBITMQ_CONF_ENV_FILE", folder.join("rabbitmq-env.conf"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", folder.join("generated"))
        .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_PID_FILE", folder.join("pid"));
}

/// The processor a broker runs on: one that this process may use, another for each broker as far as they go.
fn processor_for(ports: &Ports) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0");
    let processors: Vec<u16> = list.trim().split(',').flat_map(processors_of_range).collect();
    let choice = usize::from(ports.main() / 4) % processors.len().max(1);
    processors.get(choice).copied().unwrap_or_default().to_string()
}

/// Reads `"3"` or `"0-7"`.
fn processors_of_range(range: &str) -> impl Iterator<Item = u16> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let bounds = first.parse().ok().zip(last.parse().ok());
    bounds.into_iter().flat_map(|(first, last): (u16, u16)| first..=last)
}
