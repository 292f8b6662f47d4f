//! Who may come in, how often and from where; and what is not even looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::HeaderValue;
use tidegate_tests::attack::{post, read_answer};
use tidegate_tests::eventually::eventually;
use tidegate_tests::sender::{self, Answer, SECRET, Signed, client, send};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};
use tidegate_tests::target::Target;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::on_both_backends;

on_both_backends!(
    a_source_over_its_rate_is_answered_429_with_the_true_seconds,
    an_address_pays_for_what_does_not_verify,
    a_source_takes_requests_from_its_networks_only,
    nobody_is_believed_about_an_address_but_a_trusted_proxy,
    an_address_has_no_more_connections_than_it_may,
    connections_beyond_the_most_wait_until_others_leave,
    a_compressed_body_reaches_the_handler_as_it_was_sent,
    strangers_make_no_labels,
);

/// Believes this machine, so that a test can come from anywhere.
const BEHIND_A_PROXY: &str = "[ingest]\ntrusted_proxies = [\"127.0.0.1\"]\n";

fn from(address: &str, signed: &Signed) -> Signed {
    let mut signed = signed.clone();
    signed.headers.insert("x-forwarded-for", address.parse().expect("a value"));
    signed
}

fn tampered(signed: &Signed) -> Signed {
    Signed { body: b"{ }".to_vec(), ..signed.clone() }
}

fn push(id: &str) -> Signed {
    sender::github(id, "push", "{}")
}

fn source(more: &str) -> String {
    format!("[[source]]\nname = \"github\"\nprovider = \"github\"\nsecrets = [{SECRET:?}]\n{more}\n")
}

fn retry_after(answer: &Answer) -> Result<u64> {
    Ok(answer.headers.get("retry-after").context("there is a Retry-After")?.to_str()?.parse()?)
}

/// What no handler wants reaches the log a moment later; what was refused never does.
async fn until_listed(stack: &Stack, count: usize) -> Result<()> {
    eventually(&format!("{count} events are listed"), SOON, || async {
        let listed = stack.list("/v1/events").await.map_err(|error| error.to_string())?.len();
        if listed == count { Ok(()) } else { Err(listed.to_string()) }
    })
    .await
}

async fn a_source_over_its_rate_is_answered_429_with_the_true_seconds(backend: Backend) -> Result<()> {
    // One in five seconds, and two at once.
    let stack = Stack::start(backend, &source("rate_limit = \"12/min\"\nburst = 2")).await?;
    let (client, url) = (client(), stack.url("github"));
    for number in 0..20 {
        let answer = send(&client, &url, &tampered(&push(&format!("forged-{number}")))).await?;
        assert_eq!(answer.outcome(), "invalid_signature", "strangers use nothing up");
    }
    for id in ["one", "two"] {
        assert_eq!(send(&client, &url, &push(id)).await?.outcome(), "accepted", "{id}");
    }
    let answer = send(&client, &url, &push("three")).await?;
    assert_eq!((answer.status, answer.outcome()), (429, "rate_limited"), "{answer:?}");
    let seconds = retry_after(&answer)?;
    assert!((1..=5).contains(&seconds), "{seconds}");
    // It is told so before its body is there.
    let mut early = TcpStream::connect(stack.ingests[0].listen).await?;
    early.write_all(post("/webhooks/github", &["content-length: 1000"]).as_bytes()).await?;
    assert!(read_answer(&mut early).await?.starts_with("HTTP/1.1 429"));
    until_listed(&stack, 2).await?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    assert_eq!(send(&client, &url, &push("three")).await?.outcome(), "accepted", "after the time that it was told");
    assert!(stack.metric("tidegate_requests_total", &["outcome=\"rate_limited\""]).await? >= 2.0);
    stack.finish().await
}

async fn an_address_pays_for_what_does_not_verify(backend: Backend) -> Result<()> {
    let limit = format!("{BEHIND_A_PROXY}address_rate_limit = \"6/h\"\n{SOURCES}");
    let stack = Stack::start(backend, &limit).await?;
    let (client, url, nowhere) = (client(), stack.url("github"), stack.url("nobody"));
    for (number, address) in (0..3).flat_map(|round| [(round, "198.51.100.1"), (round, "2001:db8::1")]) {
        let forged = tampered(&push(&format!("forged-{number}")));
        assert_eq!(send(&client, &url, &from(address, &forged)).await?.status, 401, "{number} of {address}");
        assert_eq!(send(&client, &nowhere, &from(address, &forged)).await?.status, 404, "{number} of {address}");
    }
    for (number, address) in
        ["198.51.100.1", "203.0.113.77, 198.51.100.1", "2001:db8::1", "2001:db8::ffff:1"].into_iter().enumerate()
    {
        let answer = send(&client, &url, &from(address, &push(&format!("late-{number}")))).await?;
        assert_eq!((answer.status, answer.outcome()), (429, "rate_limited"), "{address}");
        assert!((300..=600).contains(&retry_after(&answer)?), "{address}");
        let answer = send(&client, &nowhere, &from(address, &push("late"))).await?;
        assert_eq!(answer.outcome(), "rate_limited", "whatever it asks for");
    }
    for (number, address) in ["198.51.100.2", "2001:db8:0:1::1", "198.51.100.1, 203.0.113.77"].into_iter().enumerate() {
        let answer = send(&client, &url, &from(address, &push(&format!("other-{number}")))).await?;
        assert_eq!(answer.outcome(), "accepted", "{address} is another");
    }
    stack.finish().await
}

async fn a_source_takes_requests_from_its_networks_only(backend: Backend) -> Result<()> {
    let networks = source("allow_from = [\"192.0.2.0/24\", \"2001:db8::/32\"]");
    let stack = Stack::start(backend, &format!("{BEHIND_A_PROXY}{networks}")).await?;
    let (client, url) = (client(), stack.url("github"));
    for (number, address) in
        ["192.0.2.7", "203.0.113.9, 192.0.2.8", "2001:db8::7", "[2001:db8::7]:443"].iter().enumerate()
    {
        let answer = send(&client, &url, &from(address, &push(&format!("good-{number}")))).await?;
        assert_eq!(answer.outcome(), "accepted", "{address}");
    }
    // What stands before it may be made up.
    let closed = send(&client, &url, &from("192.0.2.7, 198.51.100.1", &push("bad"))).await?;
    let none = send(&client, &stack.url("nobody"), &from("192.0.2.7", &push("bad"))).await?;
    assert_eq!((closed.status, closed.outcome()), (404, "unknown_source"));
    let told = |answer: &Answer| answer.body["error"]["message"].to_string().replace("nobody", "github");
    assert_eq!(told(&closed), told(&none));
    let names = |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(names(&closed), names(&none), "it cannot be told from a source that does not exist");
    let get = client.get(&url).header("x-forwarded-for", "198.51.100.1").send().await?;
    assert_eq!(get.status().as_u16(), 404, "whatever the method");
    for nothing in ["unknown", "192.0.2.7,", ""] {
        let answer = send(&client, &url, &from(nothing, &push("bad"))).await?;
        assert_eq!(answer.status, 404, "{nothing:?}: then it is the proxy's own");
    }
    let labels = ["source=\"github\"", "outcome=\"address_not_allowed\""];
    assert!(stack.metric("tidegate_requests_total", &labels).await? >= 5.0);
    assert!(stack.ingests[0].log_text().contains("address_not_allowed"));
    until_listed(&stack, 4).await?;
    stack.finish().await
}

async fn nobody_is_believed_about_an_address_but_a_trusted_proxy(backend: Backend) -> Result<()> {
    let text = source("allow_from = \"127.0.0.1\"").replace("\"github\"\nprovider", "\"near\"\nprovider");
    let stack = Stack::start(backend, &format!("{}{text}", source("allow_from = \"192.0.2.0/24\""))).await?;
    let client = client();
    let claimed = from("192.0.2.7", &push("claimed"));
    assert_eq!(send(&client, &stack.url("github"), &claimed).await?.outcome(), "unknown_source");
    assert_eq!(send(&client, &stack.url("near"), &claimed).await?.outcome(), "accepted");
    stack.finish().await
}

async fn an_address_has_no_more_connections_than_it_may(backend: Backend) -> Result<()> {
    let limits = "[ingest]\nconnections_per_address_max = 5\nheader_timeout = \"60s\"\n";
    let stack = Stack::start(backend, &format!("{limits}{SOURCES}")).await?;
    let address = stack.ingests[0].listen;
    let ask = async || -> Result<TcpStream> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        let answer = read_answer(&mut stream).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(stream)
    };
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(ask().await?);
    }
    assert!(ask().await.is_err(), "the sixth is closed unread");
    assert!(stack.metrics(&stack.ingests[0]).await?.contains("tidegate_connections_refused_total"));
    assert!(stack.ingests[0].log_text().contains("as many connections as it may"));
    open.pop();
    eventually("the place of the one that left is free", SOON, || async {
        ask().await.map(drop).map_err(|error| error.to_string())
    })
    .await?;
    drop(open);
    stack.finish().await
}

async fn connections_beyond_the_most_wait_until_others_leave(backend: Backend) -> Result<()> {
    const MOST: usize = 8;
    let limits = format!("[ingest]\nconnections_max = {MOST}\nheader_timeout = \"60s\"\n");
    let stack = Stack::start(backend, &format!("{limits}{SOURCES}")).await?;
    let address = stack.ingests[0].listen;
    let ask = async || -> Result<TcpStream> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        Ok(stream)
    };
    let is_served = async |stream: &mut TcpStream| -> Result<()> {
        let answer = read_answer(stream).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(())
    };
    let mut open = Vec::new();
    for _ in 0..MOST {
        let mut stream = ask().await?;
        is_served(&mut stream).await?;
        open.push(stream);
    }
    let mut waiting = [ask().await?, ask().await?];
    for stream in &mut waiting {
        let told = tokio::time::timeout(Duration::from_secs(1), read_answer(stream)).await;
        assert!(told.is_err(), "neither answered nor closed: {told:?}");
    }
    for stream in &mut waiting {
        drop(open.pop());
        is_served(stream).await?;
    }
    // Nobody was turned away: to wait is all that happens.
    assert!(!stack.metrics(&stack.ingests[0]).await?.contains("tidegate_connections_refused_total"));
    drop((open, waiting));
    stack.finish().await
}

/// `{"zen":"Keep it logically awesome."}` by gzip.
const COMPRESSED: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\xaa\x4a\xcd\x53\xb2\x52\xf2\x4e\x4d\x2d\x50\xc8\x2c\x51\
    \xc8\xc9\x4f\xcf\x4c\x4e\xcc\xc9\xa9\x54\x48\x2c\x4f\x2d\xce\xcf\x4d\xd5\x53\xaa\x05\x00\xde\x7a\x2e\x48\
    \x24\x00\x00\x00";

async fn a_compressed_body_reaches_the_handler_as_it_was_sent(backend: Backend) -> Result<()> {
    let target = Target::start().await?;
    let forward = format!(
        "[[handler]]\nname = \"out\"\non = [\"github:**\"]\nrun = \"forward\"\nurl = {:?}\nretry = [\"1s\"]\n",
        target.url()
    );
    let closed = source("").replace("\"github\"\nprovider", "\"closed\"\nprovider");
    let stack = Stack::start(backend, &format!("{}{closed}{forward}", source("content_encoding = \"accept\""))).await?;
    let mut request = sender::github("zipped", "push", COMPRESSED);
    request.headers.insert("content-encoding", HeaderValue::from_static("gzip"));
    let refused = send(&client(), &stack.url("closed"), &request).await?;
    assert_eq!((refused.status, refused.outcome()), (415, "unsupported_encoding"));
    // One that is not compressed may say so, in upper or lower case.
    let mut plain = push("plain");
    plain.headers.insert("content-encoding", HeaderValue::from_static("Identity"));
    assert_eq!(send(&client(), &stack.url("closed"), &plain).await?.outcome(), "accepted");
    assert_eq!(send(&client(), &stack.url("github"), &request).await?.outcome(), "accepted");
    stack.until_status("zipped", "applied").await?;
    let calls = target.calls();
    let [call] = &calls[..] else { anyhow::bail!("{} calls", calls.len()) };
    assert_eq!(call.body, COMPRESSED, "what was verified is what the handler gets");
    assert_eq!(call.header("content-encoding"), "gzip");
    stack.finish().await
}

async fn strangers_make_no_labels(backend: Backend) -> Result<()> {
    let limit = format!("{BEHIND_A_PROXY}address_rate_limit = \"2/h\"\n{SOURCES}");
    let stack = Stack::start(backend, &limit).await?;
    let series = async || -> Result<BTreeSet<String>> {
        let text = stack.metrics(&stack.ingests[0]).await?;
        // Once a minute, whoever comes.
        let ours = text.lines().filter(|line| line.starts_with("tidegate_") && !line.starts_with("tidegate_swept_"));
        Ok(ours.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect())
    };
    let client = client();
    let knock = async |number: usize| -> Result<()> {
        let address = format!("198.51.{}.{}", number / 200, number % 200);
        for (name, status) in
            [(format!("nobody-{number}"), 404), ("github".to_owned(), 401), ("github".to_owned(), 429)]
        {
            let request = from(&address, &tampered(&push(&format!("id-{number}"))));
            let answer = send(&client, &stack.url(&name), &request).await?;
            ensure!(answer.status == status, "{number}: {answer:?}");
        }
        Ok(())
    };
    knock(0).await?;
    // What did not verify is written a moment later.
    let before = eventually("the first stranger's request is kept", SOON, || async {
        let shown = series().await.map_err(|error| error.to_string())?;
        let is_kept = shown.contains("tidegate_rejected_total{outcome=\"kept\"}");
        if is_kept { Ok(shown) } else { Err(format!("{shown:?}")) }
    })
    .await?;
    for number in 1..400 {
        knock(number).await?;
    }
    let after = series().await?;
    let made: Vec<_> = after.difference(&before).collect();
    assert!(made.is_empty(), "the first stranger made all that there is, and others {made:#?}");
    let text = stack.metrics(&stack.ingests[0]).await?;
    assert!(!text.contains("198.51.") && !text.contains("nobody"), "{text}");
    stack.finish().await
}
