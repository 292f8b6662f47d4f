//! A network of a cluster's own, out of which a server can be taken while it runs.
//!
//! Each server runs in a network namespace of its own, with a cable (a pair of virtual interfaces) to a switch (a bridge in
//! one more namespace); so has this machine. What cuts a server off unplugs its cable at the switch: whatever is sent to it
//! and by it is dropped from then on, and nobody is told. No interface goes down, no address is refused, and its
//! neighbours' hardware addresses are fixed, so that none is found to be missing.
//!
//! A namespace lives as long as a process in it. So nothing is left once the guardian of the network's folder and those of
//! its servers are done, however the test process ends.
//!
//! It takes Linux, root and `ip`: without them a test fails, and says so.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use rustix::process::getuid;

use super::{find, folder::Folder, process::output_of};

/// This machine's number in each network; the servers have those after it.
const MACHINE: u8 = 1;
/// The last number that a server can have: a Redis Cluster takes six.
const LAST: u8 = 9;
/// How often another network is tried when one is taken: each is one of some thousands.
const TRIES: usize = 5;

/// A network with this machine and some servers in it.
#[derive(Debug)]
pub(super) struct Network {
    /// The second and third byte of each address.
    subnet: [u8; 2],
    switch: Namespace,
    /// In the order in which they were made.
    places: Vec<Namespace>,
    /// Last, so that the namespaces' holders are waited for before it is gone.
    folder: Folder,
}

/// Where a server can be in a network.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its address there.
    pub(super) ip: Ipv4Addr,
    /// The file that is its network namespace.
    pub(super) namespace: PathBuf,
}

/// A network namespace, held by a process that sleeps in it.
#[derive(Debug)]
struct Namespace {
    holder: Child,
}

impl Network {
    /// Makes a network with this machine in it.
    ///
    /// # Errors
    /// It takes what is not here: root, `ip`, or a kernel that can do it.
    pub(super) async fn create() -> Result<Self> {
        let has_ip = find::program("ip", &["/usr/sbin".into(), "/sbin".into()]).is_some();
        ensure!(
            getuid().is_root() && has_ip,
            "a server can only be cut off by root, and with the program ip (Debian, Ubuntu: the package iproute2)"
        );
        let folder = Folder::create("network", "")?;
        let switch = Namespace::create(&folder)?;
        output_of(switch.script("ip link add switch type bridge; ip link set switch up")).await?;
        let mut outcome = Ok([0; 2]);
        for _ in 0..TRIES {
            let subnet = any_subnet();
            outcome = connect_machine(&switch, subnet).await.map(|()| subnet);
            if outcome.is_ok() {
                break;
            }
        }
        let subnet = outcome.context("this machine cannot be put into a network of its own")?;
        Ok(Self { subnet, switch, places: Vec::new(), folder })
    }

    /// Makes the next place for a server, counted from 0.
    ///
    /// # Errors
    /// The network is full, or the kernel refuses.
    pub(super) async fn make_place(&mut self) -> Result<Place> {
        let number = MACHINE + 1 + u8::try_from(self.places.len())?;
        ensure!(number <= LAST, "the network is full");
        let place = Namespace::create(&self.folder)?;
        let (mac, pid) = (mac_of(self.subnet, number), place.holder.id());
        let cable = format!("ip link add port{number} type veth peer name eth0 address {mac} netns {pid}");
        output_of(self.switch.script(&format!("{cable}; ip link set port{number} master switch up"))).await?;
        let inside = format!("ip link set lo up; {}", configure("eth0", self.subnet, number));
        output_of(place.script(&inside)).await?;
        let namespace = place.path();
        self.places.push(place);
        Ok(Place { ip: ip_of(self.subnet, number), namespace })
    }

    /// Takes the cable of a place out of the switch.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) async fn unplug(&self, place: usize) -> Result<()> {
        output_of(self.switch.script(&format!("ip link set {} nomaster", port_of(place)))).await.map(drop)
    }

    /// Puts it back.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) async fn plug(&self, place: usize) -> Result<()> {
        output_of(self.switch.script(&format!("ip link set {} master switch", port_of(place)))).await.map(drop)
    }
}

impl Namespace {
    fn create(folder: &Folder) -> Result<Self> {
        let mut command = Command::new("unshare");
        // It says a word once it is there: the namespace is made after the program was started.
        command.args(["--net", "--", "sh", "-c", "echo; exec sleep infinity"]).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = command.spawn().context("cannot run unshare")?;
        let word = holder.stdout.take().context("its output is ours")?;
        let read = BufReader::new(word).read_line(&mut String::new());
        ensure!(read.is_ok_and(|bytes| bytes > 0), "the kernel makes no network namespace for us");
        Ok(Self { holder })
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.holder.id()).into()
    }

    /// A command that runs a shell script in here, up to the first line of it that fails.
    fn script(&self, script: &str) -> Command {
        let mut command = enter(&self.path());
        command.args(["--", "sh", "-ec", script]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}

/// The beginning of a command in a network namespace.
pub(super) fn enter(namespace: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace.display()));
    command
}

async fn connect_machine(switch: &Namespace, subnet: [u8; 2]) -> Result<()> {
    let (interface, mac, pid) = (interface_of(subnet), mac_of(subnet, MACHINE), switch.holder.id());
    let mut command = Command::new("sh");
    // It refuses a network that another run has: the interface would have the same name.
    let cable = format!("ip link add {interface} address {mac} type veth peer name port{MACHINE} netns {pid}");
    command.args(["-ec", &format!("{cable}; {}", configure(&interface, subnet, MACHINE))]);
    output_of(command).await?;
    output_of(switch.script(&format!("ip link set port{MACHINE} master switch up"))).await.map(drop)
}

/// Shell code that gives an interface its address, and all of its neighbours theirs for good.
fn configure(interface: &str, subnet: [u8; 2], number: u8) -> String {
    let neighbour = |other| {
        let (ip, mac) = (ip_of(subnet, other), mac_of(subnet, other));
        format!("; ip neigh replace {ip} lladdr {mac} nud permanent dev {interface}")
    };
    let neighbours: String = (MACHINE..=LAST).filter(|other| *other != number).map(neighbour).collect();
    let ip = ip_of(subnet, number);
    format!("ip addr add {ip}/24 dev {interface}; ip link set {interface} up{neighbours}")
}

fn any_subnet() -> [u8; 2] {
    let [second, third, ..] = RandomState::new().build_hasher().finish().to_le_bytes();
    // 10.64.0.0 to 10.127.255.0: what is less often used of what is free for private use.
    [64 + second % 64, third]
}

fn ip_of([second, third]: [u8; 2], number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, second, third, number)
}

/// The second bit of the first byte says that nobody gave it out.
fn mac_of([second, third]: [u8; 2], number: u8) -> String {
    format!("02:54:47:{second:02x}:{third:02x}:{number:02x}")
}

fn interface_of([second, third]: [u8; 2]) -> String {
    format!("tg{second:02x}{third:02x}")
}

fn port_of(place: usize) -> String {
    format!("port{}", usize::from(MACHINE) + 1 + place)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::*;
    use crate::eventually::eventually;

    const A_WHILE: Duration = Duration::from_millis(500);

    // What is sent to an unplugged server is neither refused nor answered; plugged in again it is as it was.
    #[tokio::test]
    async fn unplugged_is_silent_and_plugged_in_again_it_answers() {
        let mut network = Network::create().await.unwrap();
        let place = network.make_place().await.unwrap();
        // Nobody listens there, which the host itself says at once.
        let ask = async || timeout(A_WHILE, TcpStream::connect((place.ip, 7))).await;
        assert!(ask().await.expect("an answer").is_err());
        network.unplug(0).await.unwrap();
        assert!(ask().await.is_err(), "it answers");
        network.plug(0).await.unwrap();
        eventually("it answers again", Duration::from_secs(5), async || match ask().await {
            Ok(_refused) => Ok(()),
            Err(_elapsed) => Err("silence".to_owned()),
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn servers_of_a_network_reach_each_other_and_this_machine() {
        let mut network = Network::create().await.unwrap();
        let (one, other) = (network.make_place().await.unwrap(), network.make_place().await.unwrap());
        let machine = TcpListener::bind((ip_of(network.subnet, MACHINE), 0)).await.unwrap();
        let port = machine.local_addr().unwrap().port();
        let mut call = enter(&one.namespace);
        call.args(["--", "bash", "-c", &format!("exec 3<>/dev/tcp/{}/{port}", machine.local_addr().unwrap().ip())]);
        let (called, accepted) = tokio::join!(output_of(call), machine.accept());
        called.unwrap();
        assert_eq!(accepted.unwrap().1.ip(), one.ip);
        // Refused by the other, and so reached.
        let mut call = enter(&one.namespace);
        call.args(["--", "bash", "-c", &format!("exec 3<>/dev/tcp/{}/7", other.ip)]);
        let error = output_of(call).await.expect_err("nobody listens").to_string();
        assert!(error.contains("refused"), "{error}");
    }
}
