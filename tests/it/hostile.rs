//! Attacks on the door over plain sockets, each with honest traffic beside it that must not notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use tidegate_tests::attack::{Crowd, Honest, Manner, allow_open_files, exchange, post, read_answer, read_to_end};
use tidegate_tests::sender::{client, github, send};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::on_both_backends;

on_both_backends!(
    bodies_that_drip_are_cut_off_beside_honest_traffic,
    floods_of_headers_are_refused_beside_honest_traffic,
    bodies_over_the_limit_are_refused_beside_honest_traffic,
    a_large_body_for_a_source_that_does_not_exist_costs_no_memory,
    what_two_servers_could_read_differently_is_read_once,
    two_thousand_slow_clients_leave_honest_ones_their_rate,
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
    // The slow ones are all gone after the time for a head.
    let ask = async || exchange(address, b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(ask().await?.starts_with("HTTP/1.1 200"));
    stack.finish().await
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
