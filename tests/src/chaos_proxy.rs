//! A TCP proxy that breaks the network on demand.
//!
//! It stands between a client and a server, and what is wrong can be changed while connections are open:
//! [`ChaosProxy::set`] applies to those too. Bytes are never lost or reordered within a connection, only late, or cut
//! off with it, as TCP promises. Both sides are served by one task per connection.

use std::{io, net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    select,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
    try_join,
};

/// How long the server behind may take to accept; a loopback connection takes far less, or is refused.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many chunks may be on their way in one direction: what a slow line holds before it slows the sender.
const IN_FLIGHT_CHUNKS_MAX: usize = 256;

/// The largest chunk read at once, in bytes.
const CHUNK_MAX: usize = 16 * 1024;

/// How often a dripping line lets bytes through, if its rate allows more than one byte each time.
const DRIPS_PER_SECOND: u32 = 20;

/// The way a byte goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server: a publish, a command.
    ToServer,
    /// From the server to the client: a confirm, a reply.
    ToClient,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that connected.
    Client,
    /// The one that accepted.
    Server,
}

/// What is wrong with the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every byte arrives this much later, in both directions; the rate is not limited.
    Delay(Duration),
    /// Each connection is reset, on both sides, in place of the first byte after `bytes` in this direction, counted from
    /// when the fault was set or the connection made.
    CutAfter {
        /// How many bytes still pass.
        bytes: u64,
        /// Which way they are counted; the other is not limited.
        direction: Direction,
    },
    /// Nothing passes in this direction, not even the end of the connection: half open. What was sent is delivered once
    /// the fault is gone, as after a healed partition.
    Blackhole {
        /// The way that is blocked; the other works.
        direction: Direction,
    },
    /// New connections are reset at once; open ones are left alone ([`ChaosProxy::cut_all`] ends them).
    Refuse,
    /// Few bytes pass per second, in each direction.
    Drip {
        /// The rate of each direction of each connection.
        bytes_per_second: NonZeroU32,
    },
}

/// A proxy in front of one server; it ends, with its connections, when dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    addr: SocketAddr,
    fault: watch::Sender<Fault>,
    /// Told how the connections that exist now come to their end; each of them holds one receiver.
    cut: Arc<watch::Sender<Ending>>,
    _tasks: JoinSet<()>,
}

impl ChaosProxy {
    /// Starts a proxy in front of `target` on a free port, with no fault.
    ///
    /// # Errors
    ///
    /// There is no free port.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let (fault, faults) = watch::channel(Fault::None);
        let cut = Arc::new(watch::Sender::new(Ending::Both));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, faults, Arc::clone(&cut)));
        Ok(Self { addr, fault, cut, _tasks: tasks })
    }

    /// The address to connect to in place of the server's.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what is wrong, for new and for open connections.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Resets every open connection, on both sides.
    pub fn cut_all(&self) {
        self.cut.send_replace(Ending::Both);
    }

    /// Makes every open connection half open: one side is gone, as after a crash of its machine, and the side that is
    /// `left` is not told. It hears nothing until a fault is set the next time, which resets it. New connections are as the
    /// fault of the moment has them.
    pub fn leave_half_open(&self, left: Side) {
        self.cut.send_replace(Ending::Only(left));
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.cut.receiver_count()
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    faults: watch::Receiver<Fault>,
    cut: Arc<watch::Sender<Ending>>,
) {
    // Owned here, so that they end with the proxy.
    let mut connections = JoinSet::new();
    loop {
        select! {
            accepted = listener.accept() => {
                // Failing to accept is a matter of the client that left, or of too many open files, which passes.
                let Ok((client, _)) = accepted else { continue };
                if *faults.borrow() == Fault::Refuse {
                    reset(&client);
                } else {
                    connections.spawn(carry(client, target, faults.clone(), cut.subscribe()));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// Makes the drop of `stream` a reset in place of an orderly end.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().ok();
}

/// The connection ends by a reset of both sides: it was cut, or one of them did so.
#[derive(Debug)]
struct Cut;

/// How a connection ends that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Both sides are reset.
    Both,
    /// The other side is reset; this one stays, and is told nothing.
    Only(Side),
}

/// Carries one connection to its end.
async fn carry(
    mut client: TcpStream,
    target: SocketAddr,
    faults: watch::Receiver<Fault>,
    mut cut: watch::Receiver<Ending>,
) {
    let Ok(Ok(mut server)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await else {
        return reset(&client);
    };
    // Only a fault delays.
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = carry_one_way(from_client, Delivery::new(Direction::ToServer, faults.clone(), to_server));
        let back = carry_one_way(from_server, Delivery::new(Direction::ToClient, faults.clone(), to_client));
        select! {
            _ = cut.changed() => Err(*cut.borrow_and_update()),
            end = async { try_join!(there, back) } => end.map(drop).map_err(|Cut| Ending::Both),
        }
    };
    let (left, gone) = match end {
        Ok(()) => return,
        Err(Ending::Both) => {
            reset(&client);
            reset(&server);
            return;
        }
        Err(Ending::Only(Side::Client)) => (client, server),
        Err(Ending::Only(Side::Server)) => (server, client),
    };
    reset(&gone);
    drop(gone);
    stay_silent(faults, cut).await;
    reset(&left);
}

/// Waits for another fault, or for a cut.
async fn stay_silent(mut faults: watch::Receiver<Fault>, mut cut: watch::Receiver<Ending>) {
    faults.mark_unchanged();
    select! {
        _ = faults.changed() => {}
        _ = cut.changed() => {}
    }
}

/// What a sender did, and when.
#[derive(Debug)]
struct Sent {
    at: Instant,
    what: What,
}

#[derive(Debug)]
enum What {
    Bytes(Bytes),
    End,
    Reset,
}

/// Carries what `from` sends, in order and with its time, so that a delay holds it back without slowing the rest.
async fn carry_one_way(from: ReadHalf<'_>, mut delivery: Delivery<'_>) -> Result<(), Cut> {
    let (line, mut arriving) = mpsc::channel(IN_FLIGHT_CHUNKS_MAX);
    let receive = async {
        receive(from, &line).await;
        drop(line);
        Ok(())
    };
    let deliver = async {
        while let Some(sent) = arriving.recv().await {
            delivery.deliver(sent).await?;
        }
        Ok(())
    };
    try_join!(receive, deliver).map(drop)
}

async fn receive(mut from: ReadHalf<'_>, line: &mpsc::Sender<Sent>) {
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK_MAX);
        let what = match from.read_buf(&mut chunk).await {
            Ok(0) => What::End,
            Ok(_) => What::Bytes(chunk.freeze()),
            Err(_) => What::Reset,
        };
        let is_last = !matches!(what, What::Bytes(_));
        // Refused only when the connection is being dropped.
        if line.send(Sent { at: Instant::now(), what }).await.is_err() || is_last {
            return;
        }
    }
}

/// What the fault of the moment lets happen.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Pass { bytes_max: usize },
    WaitUntil(Instant),
    WaitForChange,
    Cut,
}

/// The far end of one direction, where faults are applied.
struct Delivery<'a> {
    direction: Direction,
    faults: watch::Receiver<Fault>,
    to: WriteHalf<'a>,
    /// How many bytes were delivered under the fault of the moment.
    delivered: u64,
    /// When a dripping line lets the next bytes through.
    next_drip: Instant,
}

impl<'a> Delivery<'a> {
    fn new(direction: Direction, faults: watch::Receiver<Fault>, to: WriteHalf<'a>) -> Self {
        Self { direction, faults, to, delivered: 0, next_drip: Instant::now() }
    }

    async fn deliver(&mut self, mut sent: Sent) -> Result<(), Cut> {
        loop {
            if self.faults.has_changed().unwrap_or(false) {
                self.delivered = 0;
            }
            let fault = *self.faults.borrow_and_update();
            match self.step(fault, sent.at, matches!(sent.what, What::Bytes(_))) {
                Step::Cut => return Err(Cut),
                Step::WaitForChange => self.change().await?,
                Step::WaitUntil(time) => select! {
                    () = sleep_until(time) => {}
                    changed = self.change() => changed?,
                },
                Step::Pass { bytes_max } => {
                    if self.pass(&mut sent.what, bytes_max, fault).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Waits for another fault.
    async fn change(&mut self) -> Result<(), Cut> {
        // Marks it as seen, so the count starts anew here.
        self.faults.changed().await.map_err(|_| Cut)?;
        self.delivered = 0;
        Ok(())
    }

    fn step(&self, fault: Fault, sent_at: Instant, has_bytes: bool) -> Step {
        match fault {
            Fault::None | Fault::Refuse => Step::Pass { bytes_max: usize::MAX },
            Fault::Delay(delay) if Instant::now() < sent_at + delay => Step::WaitUntil(sent_at + delay),
            Fault::Delay(_) => Step::Pass { bytes_max: usize::MAX },
            Fault::Blackhole { direction } if direction == self.direction => Step::WaitForChange,
            Fault::Blackhole { .. } => Step::Pass { bytes_max: usize::MAX },
            Fault::CutAfter { bytes, direction } if direction == self.direction => {
                match bytes.saturating_sub(self.delivered) {
                    0 if has_bytes => Step::Cut,
                    left => Step::Pass { bytes_max: usize::try_from(left).unwrap_or(usize::MAX) },
                }
            }
            Fault::CutAfter { .. } => Step::Pass { bytes_max: usize::MAX },
            Fault::Drip { .. } if Instant::now() < self.next_drip => Step::WaitUntil(self.next_drip),
            Fault::Drip { bytes_per_second } => {
                let drip = (bytes_per_second.get() / DRIPS_PER_SECOND).max(1);
                Step::Pass { bytes_max: usize::try_from(drip).unwrap_or(usize::MAX) }
            }
        }
    }

    /// Passes on at most `bytes_max` bytes, and says whether that was all.
    async fn pass(&mut self, what: &mut What, bytes_max: usize, fault: Fault) -> Result<bool, Cut> {
        match what {
            What::Reset => Err(Cut),
            What::End => self.to.shutdown().await.map(|()| true).map_err(|_| Cut),
            What::Bytes(bytes) => {
                let now = bytes.split_to(bytes_max.min(bytes.len()));
                self.to.write_all(&now).await.map_err(|_| Cut)?;
                self.delivered += now.len() as u64;
                if let Fault::Drip { bytes_per_second } = fault {
                    let count = u32::try_from(now.len()).unwrap_or(u32::MAX);
                    self.next_drip = Instant::now() + Duration::from_secs(count.into()) / bytes_per_second.get();
                }
                Ok(bytes.is_empty())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::eventually::eventually;

    const SOON: Duration = Duration::from_secs(5);

    /// Long enough for a byte to pass a loopback many times over.
    const A_WHILE: Duration = Duration::from_millis(150);

    /// A client and a server with a proxy in between.
    struct Pair {
        proxy: ChaosProxy,
        server: TcpListener,
    }

    impl Pair {
        async fn new() -> Self {
            let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let proxy = ChaosProxy::start(server.local_addr().unwrap()).await.unwrap();
            Self { proxy, server }
        }

        /// A connection as the client and as the server see it.
        async fn connect(&self) -> (TcpStream, TcpStream) {
            let client = TcpStream::connect(self.proxy.addr()).await.unwrap();
            let (server, _) = timeout(SOON, self.server.accept()).await.unwrap().unwrap();
            (client, server)
        }
    }

    async fn assert_receives(stream: &mut TcpStream, expected: &[u8]) {
        let mut received = vec![0; expected.len()];
        timeout(SOON, stream.read_exact(&mut received)).await.expect("nothing came").unwrap();
        assert_eq!(received, expected);
    }

    async fn assert_silent(stream: &mut TcpStream) {
        let came = timeout(A_WHILE, stream.read_u8()).await;
        assert!(came.is_err(), "{came:?} came");
    }

    async fn assert_ended(stream: &mut TcpStream) {
        assert_eq!(timeout(SOON, stream.read(&mut [0; 1])).await.expect("still open").unwrap(), 0);
    }

    async fn assert_reset(stream: &mut TcpStream) {
        let error = timeout(SOON, stream.read_u8()).await.expect("still open").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn without_fault_bytes_pass_both_ways_in_order() {
        let pair = Pair::new().await;
        let (mut client, mut server) = pair.connect().await;
        let large: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
        let (sent, ()) = tokio::join!(client.write_all(&large), assert_receives(&mut server, &large));
        sent.unwrap();
        server.write_all(b"confirmed").await.unwrap();
        assert_receives(&mut client, b"confirmed").await;
        assert_eq!(pair.proxy.connections(), 1);
    }

    #[tokio::test]
    async fn orderly_end_is_passed_on_one_way_at_a_time() {
        let pair = Pair::new().await;
        let (mut client, mut server) = pair.connect().await;
        client.shutdown().await.unwrap();
        assert_ended(&mut server).await;
        server.write_all(b"bye").await.unwrap();
        assert_receives(&mut client, b"bye").await;
        drop(server);
        assert_ended(&mut client).await;
        eventually("no connection is left", SOON, async || match pair.proxy.connections() {
            0 => Ok(()),
            open => Err(format!("{open} open")),
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn reset_of_one_side_resets_the_other() {
        let pair = Pair::new().await;
        let (client, mut server) = pair.connect().await;
        reset(&client);
        drop(client);
        assert_reset(&mut server).await;
    }

    #[tokio::test]
    async fn dead_server_resets_the_client() {
        let Pair { proxy, server } = Pair::new().await;
        drop(server);
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_reset(&mut client).await;
    }

    // Two messages sent 50 ms apart each take the delay, not the delay after the one before.
    #[tokio::test]
    async fn delay_holds_every_byte_and_keeps_the_rate() {
        let pair = Pair::new().await;
        let (mut client, mut server) = pair.connect().await;
        let delay = Duration::from_millis(700);
        pair.proxy.set(Fault::Delay(delay));
        let start = Instant::now();
        for message in [b"1", b"2", b"3", b"4"] {
            client.write_all(message).await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
        assert_receives(&mut server, b"1").await;
        assert!(start.elapsed() >= delay, "the first after {:?}", start.elapsed());
        assert_receives(&mut server, b"234").await;
        assert!(start.elapsed() < 2 * delay, "the last after {:?}", start.elapsed());
    }

    #[tokio::test]
    async fn cut_after_bytes_resets_both_sides_in_the_middle() {
        let pair = Pair::new().await;
        let (mut client, mut server) = pair.connect().await;
        server.write_all(b"before").await.unwrap();
        assert_receives(&mut client, b"before").await;
        pair.proxy.set(Fault::CutAfter { bytes: 4, direction: Direction::ToClient });
        client.write_all(b"the other way is not counted").await.unwrap();
        assert_receives(&mut server, b"the other way is not counted").await;
        server.write_all(b"conf").await.unwrap();
        assert_receives(&mut client, b"conf").await;
        server.write_all(b"irm").await.unwrap();
        assert_reset(&mut client).await;
        assert_reset(&mut server).await;
    }

    #[tokio::test]
    async fn blackhole_holds_one_way_until_healed() {
        let pair = Pair::new().await;
        let (mut client, mut server) = pair.connect().await;
        pair.proxy.set(Fault::Blackhole { direction: Direction::ToClient });
        client.write_all(b"publish").await.unwrap();
        assert_receives(&mut server, b"publish").await;
        server.write_all(b"confirm").await.unwrap();
        // The client does not even learn that the server has died.
        drop(server);
        assert_silent(&mut client).await;
        pair.proxy.set(Fault::None);
        assert_receives(&mut client, b"confirm").await;
        assert_ended(&mut client).await;
    }

    #[tokio::test]
    async fn half_open_side_hears_nothing_until_the_fault_changes() {
        let pair = Pair::new().await;
        pair.proxy.set(Fault::None);
        for left in [Side::Client, Side::Server] {
            let (client, server) = pair.connect().await;
            let (mut left_stream, mut gone) = match left {
                Side::Client => (client, server),
                Side::Server => (server, client),
            };
            pair.proxy.leave_half_open(left);
            assert_reset(&mut gone).await;
            left_stream.write_all(b"are you there?").await.unwrap();
            assert_silent(&mut left_stream).await;
            let (mut new, mut new_server) = pair.connect().await;
            new.write_all(b"new ones work").await.unwrap();
            assert_receives(&mut new_server, b"new ones work").await;
            pair.proxy.set(Fault::None);
            assert_reset(&mut left_stream).await;
        }
    }

    // The whole request arrives; in place of its reply comes a reset.
    #[tokio::test]
    async fn cut_after_no_byte_drops_the_reply_and_not_the_request() {
        let pair = Pair::new().await;
        pair.proxy.set(Fault::CutAfter { bytes: 0, direction: Direction::ToClient });
        let (mut client, mut server) = pair.connect().await;
        client.write_all(b"request").await.unwrap();
        assert_receives(&mut server, b"request").await;
        server.write_all(b"reply").await.unwrap();
        assert_reset(&mut client).await;
    }

    #[tokio::test]
    async fn refuse_resets_the_new_and_leaves_the_open() {
        let pair = Pair::new().await;
        let (mut client, mut server) = pair.connect().await;
        pair.proxy.set(Fault::Refuse);
        assert_reset(&mut TcpStream::connect(pair.proxy.addr()).await.unwrap()).await;
        client.write_all(b"still here").await.unwrap();
        assert_receives(&mut server, b"still here").await;
        pair.proxy.set(Fault::None);
        pair.connect().await;
    }

    #[tokio::test]
    async fn drip_limits_the_rate() {
        let pair = Pair::new().await;
        let (mut client, mut server) = pair.connect().await;
        pair.proxy.set(Fault::Drip { bytes_per_second: NonZeroU32::new(200).unwrap() });
        let start = Instant::now();
        client.write_all(&[7; 100]).await.unwrap();
        assert_receives(&mut server, &[7; 100]).await;
        let elapsed = start.elapsed();
        assert!(elapsed >= Duration::from_millis(400) && elapsed < SOON, "100 bytes took {elapsed:?}");
    }

    #[tokio::test]
    async fn cut_all_resets_what_is_open_and_no_more() {
        let pair = Pair::new().await;
        let (mut first, _first_server) = pair.connect().await;
        let (mut second, mut second_server) = pair.connect().await;
        pair.proxy.cut_all();
        assert_reset(&mut first).await;
        assert_reset(&mut second).await;
        assert_reset(&mut second_server).await;
        let (mut third, mut third_server) = pair.connect().await;
        third.write_all(b"new").await.unwrap();
        assert_receives(&mut third_server, b"new").await;
        assert_eq!(pair.proxy.connections(), 1);
    }

    #[tokio::test]
    async fn dropped_proxy_ends_its_connections() {
        let Pair { proxy, server } = Pair::new().await;
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        let _server = server.accept().await.unwrap();
        drop(proxy);
        assert_ended(&mut client).await;
    }
}
