//! Attacks on the door over plain sockets, each with honest traffic beside it that must not notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use tidegate_tests::attack::{Crowd, Honest, Manner, allow_open_files, exchange, post, read_answer, read_to_end};
use tidegate_tests::eventually::eventually;
use tidegate_tests::sender::{client, github, send};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::on_both_backends;

on_both_backends!(
    bodies_that_drip_are_cut_off_beside_honest_traffic,
    floods_of_headers_are_refused_beside_honest_traffic,
    a_head_has_the_bounds_that_are_configured,
    bodies_over_the_limit_are_refused_beside_honest_traffic,
    an_address_holds_its_share_of_the_bytes_in_flight_and_no_more,
    a_large_body_for_a_source_that_does_not_exist_costs_no_memory,
    what_two_servers_could_read_differently_is_read_once,
    two_thousand_slow_clients_leave_honest_ones_their_rate,
    two_thousand_slow_heads_are_cut_off_when_their_time_is_over,
);

/// Attackers of most tests, each on a connection of its own.
const ATTACKERS: usize = 50;
const MIB: usize = 1 << 20;

async fn bodies_that_drip_are_cut_off_beside_honest_traffic(backend: Backend) -> Result<()> {
    // Nothing but the rate ends a body within the test's patience.
    let limits = "[ingest]\nbody_timeout = \"10m\"\nbody_rate_min = \"1KiB\"\n";
    let stack = Stack::start(backend, &format!("{limits}{SOURCES}")).await?;
    let (address, honest) = (stack.ingests[0].listen, Honest::start(&stack.url("github"), "drip", 2));
    let drips = (0..ATTACKERS).map(|_| async move {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(post("/webhooks/github", &["content-length: 100000"]).as_bytes()).await?;
        // Sixteen bytes in every 200 ms; written until the door has had enough.
        let dripping = async {
            while stream.write_all(&[b'x'; 16]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        ensure!(tokio::time::timeout(SOON, dripping).await.is_ok(), "it still drips");
        read_to_end(&mut stream).await
    });
    for answer in try_join_all(drips).await? {
        // Who goes on writing may find the connection reset before the answer is read.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    // Who stands still reads what was wrong.
    let still = exchange(address, post("/webhooks/github", &["content-length: 100000"]).as_bytes()).await?;
    assert!(still.starts_with("HTTP/1.1 400") && still.contains("less than 1024 bytes a second"), "{still}");
    honest.end().await?;
    stack.finish().await
}

async fn floods_of_headers_are_refused_beside_honest_traffic(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, SOURCES).await?;
    let (address, honest) = (stack.ingests[0].listen, Honest::start(&stack.url("github"), "headers", 2));
    let numbered = |count: usize| -> Vec<String> { (0..count).map(|number| format!("x-{number}: y")).collect() };
    let head = |lines: &[String]| post("/webhooks/github", &lines.iter().map(String::as_str).collect::<Vec<_>>());
    // `host` and `content-length` are two of the hundred.
    let most = head(&[numbered(98), vec!["content-length: 0".to_owned()]].concat());
    let fits = exchange_and_close(address, &most).await?;
    assert!(fits.starts_with("HTTP/1.1 400") && fits.contains("missing_signature"), "{fits}");
    let floods = [
        ("a header too many", head(&numbered(100))),
        ("a thousand headers", head(&numbered(1_000))),
        ("a long header", head(&[format!("x-long: {}", "y".repeat(70 << 10))])),
        ("a head that does not end", format!("POST / HTTP/1.1\r\n{}", "x: y\r\n".repeat(40_000))),
    ];
    for (what, flood) in &floods {
        for answer in try_join_all((0..ATTACKERS).map(|_| exchange(address, flood.as_bytes()))).await? {
            assert!(answer.starts_with("HTTP/1.1 431"), "{what}: {answer}");
        }
    }
    let long = format!("/webhooks/{}", "x".repeat(70 << 10));
    let answer = exchange(address, post(&long, &[]).as_bytes()).await?;
    assert!(answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 414"), "a long URL: {answer}");
    honest.end().await?;
    stack.finish().await
}

/// One answer, of a connection that would otherwise stay open.
async fn exchange_and_close(to: SocketAddr, head: &str) -> Result<String> {
    exchange(to, head.replace("host: x", "host: x\r\nconnection: close").replace("x-0: y\r\n", "").as_bytes()).await
}

/// Goal: the bounds are those of the configuration, and not the HTTP library's. Method: the last head that fits, and
/// the first that does not.
async fn a_head_has_the_bounds_that_are_configured(backend: Backend) -> Result<()> {
    const HEADERS: usize = 10;
    const BYTES: usize = 4 << 10;
    let limits = format!("[ingest]\nheaders_max = {HEADERS}\nhead_bytes_max = \"4KiB\"\n");
    let stack = Stack::start(backend, &format!("{limits}{SOURCES}")).await?;
    let address = stack.ingests[0].listen;
    let head = |lines: &[String]| {
        let own = ["content-length: 0".to_owned(), "connection: close".to_owned()];
        let lines: Vec<&str> = own.iter().chain(lines).map(String::as_str).collect();
        post("/webhooks/github", &lines)
    };
    // `host`, `content-length` and `connection` are three of them.
    let of_headers = |count: usize| head(&(3..count).map(|number| format!("x-{number}: y")).collect::<Vec<_>>());
    let without_padding = head(&["x-pad: ".to_owned()]).len();
    let of_bytes = |count: usize| head(&[format!("x-pad: {}", "y".repeat(count - without_padding))]);
    assert_eq!((of_headers(HEADERS).lines().count(), of_bytes(BYTES).len()), (HEADERS + 2, BYTES));
    for (what, fits, exceeds) in
        [("headers", of_headers(HEADERS), of_headers(HEADERS + 1)), ("bytes", of_bytes(BYTES), of_bytes(BYTES + 1))]
    {
        let answer = exchange(address, fits.as_bytes()).await?;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("missing_signature"), "{what}: {answer}");
        let answer = exchange(address, exceeds.as_bytes()).await?;
        assert!(answer.starts_with("HTTP/1.1 431"), "{what}: {answer}");
    }
    stack.finish().await
}

async fn bodies_over_the_limit_are_refused_beside_honest_traffic(backend: Backend) -> Result<()> {
    let limits = "[ingest]\nbody_limit = \"64KiB\"\nbytes_in_flight_max = \"64MiB\"\n";
    let stack = Stack::start(backend, &format!("{limits}{SOURCES}")).await?;
    let (address, honest) = (stack.ingests[0].listen, Honest::start(&stack.url("github"), "large", 2));
    let before = stack.ingests[0].resident()?;
    // All of it is sent before anything is read, as simple clients do.
    let announced = [post("/webhooks/github", &["content-length: 500000"]).into_bytes(), vec![b'x'; 500_000]].concat();
    let chunk = [b"2000\r\n".to_vec(), vec![b'x'; 0x2000], b"\r\n".to_vec()].concat();
    let chunked = [post("/webhooks/github", &["transfer-encoding: chunked"]).into_bytes(), chunk.repeat(60)].concat();
    for (what, request) in [("announced", announced), ("chunked", chunked)] {
        for answer in try_join_all((0..ATTACKERS).map(|_| exchange(address, &request))).await? {
            assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{what}: {answer}");
        }
    }
    // One that is announced is refused unread: no byte of it is sent.
    let mut stream = TcpStream::connect(address).await?;
    let head = post("/webhooks/github", &["content-length: 100000000000", "expect: 100-continue"]);
    stream.write_all(head.as_bytes()).await?;
    assert!(read_answer(&mut stream).await?.starts_with("HTTP/1.1 413"));
    let more = stack.ingests[0].resident()?.saturating_sub(before) as usize;
    assert!(more < 48 * MIB, "{} MiB more", more / MIB);
    honest.end().await?;
    stack.finish().await
}

/// An address of this machine, with whatever it says of others in `X-Forwarded-For`.
#[derive(Debug, Clone, Copy)]
struct Client {
    address: [u8; 4],
    forwarded_for: &'static str,
}

impl Client {
    async fn connect(self, to: SocketAddr) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((self.address, 0)))?;
        Ok(socket.connect(to).await?)
    }

    fn head(self, bytes: usize) -> String {
        let lines = [format!("content-length: {bytes}"), format!("x-forwarded-for: {}", self.forwarded_for)];
        post("/webhooks/github", &[&lines[0], &lines[1], "connection: close"])
    }

    /// Sends almost all of a body and then stands still: its bytes are held for as long as the connection is there.
    async fn stall(self, to: SocketAddr) -> Result<TcpStream> {
        let mut stream = self.connect(to).await?;
        stream.write_all(self.head(BODY_MAX).as_bytes()).await?;
        stream.write_all(&vec![b'x'; STALLED]).await?;
        Ok(stream)
    }

    /// What a whole request is answered that has so many bytes and no signature.
    async fn ask(self, to: SocketAddr, bytes: usize) -> Result<String> {
        let mut stream = self.connect(to).await?;
        stream.write_all(self.head(bytes).as_bytes()).await?;
        let sent = stream.write_all(&vec![b'x'; bytes]).await;
        read_to_end(&mut stream).await.with_context(|| format!("after sending: {sent:?}"))
    }

    async fn until(self, to: SocketAddr, bytes: usize, what: &str, is_it: fn(&str) -> bool) -> Result<()> {
        eventually(&format!("{self:?} {what}"), SOON, || async {
            let answer = self.ask(to, bytes).await.map_err(|error| error.to_string())?;
            if is_it(&answer) { Ok(()) } else { Err(answer) }
        })
        .await
    }
}

/// Refused as README says.
fn is_overloaded(answer: &str) -> bool {
    let is_told_when = answer.contains("\r\nretry-after: 1\r\n");
    answer.starts_with("HTTP/1.1 503") && is_told_when && answer.contains("\"code\":\"unavailable\"")
}

/// Read whole, and only then found to have no signature.
fn is_read(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 400") && answer.contains("missing_signature")
}

/// The configured bound of one body, and of one address: a quarter of all.
const BODY_MAX: usize = 64 << 10;
/// What a body has that stands still.
const STALLED: usize = 60_000;
/// More than a share has left beside such a body, and less than all have beside four.
const LARGE: usize = 10_000;

/// Goal: a stranger who fills the memory for bodies is told to come again, and nobody else notices. Method: bodies that
/// begin fast and then stand still, from several addresses of this machine, one of them a trusted proxy.
async fn an_address_holds_its_share_of_the_bytes_in_flight_and_no_more(backend: Backend) -> Result<()> {
    let bytes = "body_limit = \"64KiB\"\nbytes_in_flight_max = \"256KiB\"\n";
    // Nothing ends a body within the test's patience.
    let times = "body_timeout = \"10m\"\nbody_rate_min = \"64B\"\n";
    let limits = format!("[ingest]\n{bytes}{times}trusted_proxies = [\"127.0.0.9\"]\n");
    let stack = Stack::start(backend, &format!("{limits}{SOURCES}")).await?;
    let (to, honest) = (stack.ingests[0].listen, Honest::start(&stack.url("github"), "share", 2));
    let direct = |last: u8| Client { address: [127, 0, 0, last], forwarded_for: "198.51.100.9" };
    let proxied = |forwarded_for| Client { address: [127, 0, 0, 9], forwarded_for };

    // One address, and one behind the proxy, have used up their shares.
    let (stranger, behind) = (direct(2), proxied("198.51.100.1"));
    let mut stalled = Vec::new();
    for full in [stranger, behind] {
        stalled.push(full.stall(to).await?);
        full.until(to, LARGE, "is over its share", is_overloaded).await?;
        for answer in try_join_all((0..ATTACKERS).map(|_| full.ask(to, LARGE))).await? {
            assert!(is_overloaded(&answer), "{full:?}: {answer}");
        }
        let small = full.ask(to, 1_000).await?;
        assert!(is_read(&small), "{full:?} has room for this: {small}");
    }
    for other in [direct(3), proxied("198.51.100.2"), proxied("nobody")] {
        let answer = other.ask(to, BODY_MAX).await?;
        assert!(is_read(&answer), "{other:?}: a body of the most bytes fits: {answer}");
    }
    honest.end().await?;
    assert!(stack.ingests[0].log_text().contains("an address holds as many bytes as it may"));

    // Four shares are all there is, whoever comes.
    for more in [direct(4), direct(5)] {
        stalled.push(more.stall(to).await?);
        more.until(to, LARGE, "is over its share", is_overloaded).await?;
    }
    let late = direct(6);
    let answer = late.ask(to, BODY_MAX / 2).await?;
    assert!(is_overloaded(&answer), "{late:?} finds no room: {answer}");
    let answer = late.ask(to, LARGE).await?;
    assert!(is_read(&answer), "{late:?} has room for this: {answer}");
    let counted = stack.metric("tidegate_requests_total", &["source=\"github\"", "outcome=\"unavailable\""]).await?;
    assert!(counted > 2.0 * ATTACKERS as f64, "{counted}");

    drop(stalled);
    for again in [stranger, behind, late] {
        again.until(to, BODY_MAX, "is read again", is_read).await?;
    }
    let large = github("large", "push", vec![b'x'; BODY_MAX]);
    assert_eq!(send(&client(), &stack.url("github"), &large).await?.outcome(), "accepted");
    stack.finish().await
}

async fn a_large_body_for_a_source_that_does_not_exist_costs_no_memory(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, SOURCES).await?;
    let address = stack.ingests[0].listen;
    // What a process takes once for its first requests is not what this is about.
    for number in 0..50 {
        send(&client(), &stack.url("github"), &github(&format!("warm-{number}"), "push", "{}")).await?;
    }
    let before = stack.ingests[0].resident()?;
    let most = Arc::new(AtomicUsize::new(0));
    let chunk: Arc<[u8]> = vec![b'x'; MIB].into();
    let requests = (0..16).map(|_| {
        let chunk = Arc::clone(&chunk);
        async move {
            let head = post("/webhooks/nobody", &["content-length: 26214400"]);
            let (mut reading, mut writing) = TcpStream::connect(address).await?.into_split();
            writing.write_all(head.as_bytes()).await?;
            let writer = tokio::spawn(async move {
                let mut sent = 0;
                while sent < 25 && writing.write_all(&chunk).await.is_ok() {
                    sent += 1;
                }
                (sent, writing)
            });
            let mut answer = [0; 12];
            let read = tokio::io::AsyncReadExt::read_exact(&mut reading, &mut answer);
            tokio::time::timeout(SOON, read).await.context("no answer")??;
            ensure!(&answer == b"HTTP/1.1 404", "{}", String::from_utf8_lossy(&answer));
            Ok(tokio::time::timeout(SOON, writer).await.context("it still reads")??.0)
        }
    });
    let honest = Honest::start(&stack.url("github"), "beside", 2);
    let watch = async {
        loop {
            most.fetch_max(stack.ingests[0].resident().unwrap_or(0) as usize, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let sent: Vec<usize> = tokio::select! {
        sent = try_join_all(requests) => sent?,
        () = watch => unreachable!("it watches for ever"),
    };
    assert!(sent.iter().all(|sent| *sent < 25), "nobody got rid of all 25 MiB: {sent:?}");
    let more = most.load(Ordering::Relaxed).saturating_sub(before as usize);
    assert!(more < 32 * MIB, "{} MiB more for 16 times 25 MiB", more / MIB);
    honest.end().await?;
    stack.finish().await
}

/// Request smuggling: what a proxy in front could read as one request must never be two here, or half of one.
async fn what_two_servers_could_read_differently_is_read_once(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, SOURCES).await?;
    let (address, honest) = (stack.ingests[0].listen, Honest::start(&stack.url("github"), "smuggled", 2));
    let smuggled = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let refused = [
        ("two lengths", vec!["content-length: 4", "content-length: 40"]),
        ("a list of lengths", vec!["content-length: 4, 40"]),
        ("a length with a sign", vec!["content-length: +4"]),
        ("a length in hexadecimal", vec!["content-length: 0x4"]),
        ("a negative length", vec!["content-length: -1"]),
        ("a length that overflows", vec!["content-length: 18446744073709551620"]),
        ("chunked, but not last", vec!["transfer-encoding: chunked, identity"]),
        ("chunked, and something else", vec!["transfer-encoding: chunked", "transfer-encoding: identity"]),
        ("almost chunked", vec!["transfer-encoding: xchunked"]),
        ("a space before the colon", vec!["transfer-encoding : chunked"]),
        ("a folded line", vec!["transfer-encoding:", " chunked"]),
        ("a folded line of something else", vec!["x-a: b", " c", "content-length: 0"]),
        ("a line without a colon", vec!["chunked"]),
        ("a bare carriage return", vec!["x-a: b\rcontent-length: 4"]),
        ("a NUL", vec!["x-a: b\0c"]),
    ];
    for (what, lines) in &refused {
        let answer =
            exchange(address, format!("{}0\r\n\r\n{smuggled}", post("/webhooks/github", lines)).as_bytes()).await?;
        assert!(answer.starts_with("HTTP/1.1 400"), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
    }
    let old = post("/webhooks/github", &["transfer-encoding: chunked"]).replace("HTTP/1.1", "HTTP/1.0");
    assert!(exchange(address, old.as_bytes()).await?.starts_with("HTTP/1.1 400"));
    // With both, the encoding counts and the connection ends: what follows is nobody's request.
    // <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>
    for lines in
        [["content-length: 5", "transfer-encoding: chunked"], ["transfer-encoding: chunked", "content-length: 5"]]
    {
        let answer =
            exchange(address, format!("{}0\r\n\r\n{smuggled}", post("/webhooks/github", &lines)).as_bytes()).await?;
        assert!(answer.contains("missing_signature"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{lines:?}: {answer}");
    }
    // A chunk whose length no two servers agree on.
    for size in ["-1", "0x10", "10000000000000000", "g"] {
        let head = post("/webhooks/github", &["transfer-encoding: chunked"]);
        let answer = exchange(address, format!("{head}{size}\r\nabc\r\n0\r\n\r\n{smuggled}").as_bytes()).await?;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("malformed_request"), "{size}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{size}: {answer}");
    }
    honest.end().await?;
    stack.finish().await
}

/// Connections of the slow, and of the idle ones that they are compared with.
const SLOW: usize = 2_000;
/// How long honest senders are counted beside each.
const COUNTED: Duration = Duration::from_secs(3);

/// The rate of honest senders beside slow clients, as a share of that beside connections which say nothing.
///
/// On a busy machine and in a debug build this is a rough figure, and what it must be is little: what is claimed of the
/// released program is measured by `cargo xtask bench hostile`. What is strict here is that every honest event is taken.
async fn two_thousand_slow_clients_leave_honest_ones_their_rate(backend: Backend) -> Result<()> {
    allow_open_files(3 * SLOW as u64)?;
    let limits = "[ingest]\nconnections_max = 4096\nconnections_per_address_max = 4096\nheader_timeout = \"30s\"\n";
    let stack = Stack::start(backend, &format!("{limits}{SOURCES}")).await?;
    let address = stack.ingests[0].listen;
    let mut shares = Vec::new();
    for round in 0..3 {
        let idle = beside(&stack, address, &format!("idle-{round}"), Manner::Idle).await?;
        let slow = beside(&stack, address, &format!("slow-{round}"), Manner::Slow).await?;
        shares.push(slow / idle);
    }
    shares.sort_by(f64::total_cmp);
    assert!(shares[1] > 0.5, "beside slow clients honest ones have these shares of their rate: {shares:?}");
    stack.finish().await
}

/// Goal: whoever sends a head, a header a second, has no more time for it than one who sends nothing, and holds no
/// connection after that. Method: each client comes once, and stays until the door has had enough.
async fn two_thousand_slow_heads_are_cut_off_when_their_time_is_over(backend: Backend) -> Result<()> {
    const TIME: Duration = Duration::from_secs(5);
    allow_open_files(3 * SLOW as u64)?;
    let limits = "[ingest]\nconnections_max = 4096\nconnections_per_address_max = 4096\nheader_timeout = \"5s\"\n";
    let stack = Stack::start(backend, &format!("{limits}{SOURCES}")).await?;
    let (address, honest) = (stack.ingests[0].listen, Honest::start(&stack.url("github"), "heads", 2));
    for lasted in try_join_all((0..SLOW).map(|_| dribble(address))).await? {
        // Not before: it is the time that cuts them off, and nothing else.
        assert!(lasted >= TIME, "{lasted:?}");
    }
    honest.end().await?;
    stack.finish().await
}

/// Sends a head, a header a second, until the door closes the connection; says how long that took.
async fn dribble(to: SocketAddr) -> Result<Duration> {
    let (started, mut stream) = (Instant::now(), TcpStream::connect(to).await?);
    let mut next = post("/webhooks/github", &[]).into_bytes();
    // All but the line that ends the head.
    next.truncate(next.len() - 2);
    while started.elapsed() < SOON {
        if stream.write_all(&next).await.is_err() {
            return Ok(started.elapsed());
        }
        next = b"x-a: b\r\n".to_vec();
        match tokio::time::timeout(Duration::from_secs(1), stream.read(&mut [0])).await {
            Ok(Ok(0) | Err(_)) => return Ok(started.elapsed()),
            Ok(Ok(_)) => bail!("half a head is answered"),
            Err(_elapsed) => {}
        }
    }
    bail!("it still sends its head")
}

async fn beside(stack: &Stack, address: SocketAddr, name: &str, manner: Manner) -> Result<f64> {
    let crowd = Crowd::gather(address, SLOW, manner).await?;
    let honest = Honest::start(&stack.url("github"), name, 8);
    tokio::time::sleep(COUNTED).await;
    let open = crowd.open();
    let rate = honest.end().await?;
    crowd.disperse().await;
    ensure!(open >= SLOW / 2, "{open} clients were connected at the end of {name}");
    Ok(rate)
}
