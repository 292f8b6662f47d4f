//! What is refused, with which words, and that nothing of it is kept.

use std::time::Duration;

use anyhow::Result;
use http::{HeaderMap, HeaderValue};
use tidegate_tests::sender::{self, Answer, Signed, client, send};
use tidegate_tests::stack::{Backend, SOURCES, Stack};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::on_both_backends;

on_both_backends!(each_refusal_has_its_status_and_code, a_slow_client_is_cut_off_and_others_are_served);

const LIMITS: &str = "[ingest]\nbody_limit = \"1KiB\"\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\n";

fn changed(signed: &Signed, change: impl FnOnce(&mut HeaderMap)) -> Signed {
    let mut signed = signed.clone();
    change(&mut signed.headers);
    signed
}

async fn each_refusal_has_its_status_and_code(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &format!("{LIMITS}{SOURCES}")).await?;
    let (client, github) = (client(), stack.url("github"));
    let good = sender::github("d-1", "push", "{}");
    let check = async |what: &str, url: &str, request: Signed, status: u16, code: &str| -> Result<Answer> {
        let answer = send(&client, url, &request).await?;
        assert_eq!((answer.status, answer.outcome()), (status, code), "{what}: {answer:?}");
        let error = &answer.body["error"];
        assert!(error["message"].as_str().is_some_and(|text| text.len() > 10), "{what}: {error}");
        assert!(error["details"].is_array() && error["timestamp"].is_string(), "{what}: {error}");
        assert_eq!(error["request_id"], answer.headers["x-request-id"].to_str()?, "{what}");
        Ok(answer)
    };
    let signature = "x-hub-signature-256";
    check("no signature", &github, changed(&good, |h| drop(h.remove(signature))), 400, "missing_signature").await?;
    let twice = changed(&good, |h| assert!(h.append(signature, HeaderValue::from_static("sha256=00"))));
    check("two signatures", &github, twice, 400, "duplicate_header").await?;
    let tampered = Signed { body: b"{ }".to_vec(), ..good.clone() };
    check("another body", &github, tampered, 401, "invalid_signature").await?;
    let short = changed(&good, |h| drop(h.insert(signature, HeaderValue::from_static("sha256=75"))));
    check("a cut signature", &github, short, 401, "invalid_signature").await?;
    check("no id", &github, changed(&good, |h| drop(h.remove("x-github-delivery"))), 400, "missing_event_id").await?;
    check("a large body", &github, sender::github("d-2", "push", vec![b'x'; 1025]), 413, "body_too_large").await?;
    let gzip = changed(&good, |h| drop(h.insert("content-encoding", HeaderValue::from_static("gzip"))));
    check("a compressed body", &github, gzip, 415, "unsupported_encoding").await?;
    check("another source", &stack.url("nobody"), good.clone(), 404, "unknown_source").await?;
    let stale = "t=1000000000,v1=".to_owned() + &sender::hmac_hex(sender::SECRET, &[b"1000000000.", b"{}"]);
    let stale = changed(&sender::stripe("{}"), |h| drop(h.insert("stripe-signature", stale.parse().expect("a value"))));
    check("an old event", &stack.url("stripe"), stale, 400, "stale_timestamp").await?;
    let get = client.get(&github).send().await?;
    assert_eq!((get.status().as_u16(), get.headers()["allow"].to_str()?), (405, "POST"));
    let elsewhere = client.get(github.replace("/webhooks/github", "/nothing")).send().await?;
    assert_eq!(elsewhere.status().as_u16(), 404);
    assert!(elsewhere.headers().contains_key("x-request-id"));
    // Nothing of all that was kept, and the honest one still gets in.
    assert!(stack.list("/v1/events").await?.is_empty());
    assert_eq!(send(&client, &github, &good).await?.outcome(), "accepted");
    stack.finish().await
}

async fn a_slow_client_is_cut_off_and_others_are_served(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &format!("{LIMITS}{SOURCES}")).await?;
    let address = stack.ingests[0].listen;
    let mut slow = Vec::new();
    for head in [
        "POST /webhooks/github HTTP/1.1\r\nhost: x\r\nx-a",
        "POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
    ] {
        for _ in 0..50 {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(head.as_bytes()).await?;
            slow.push(stream);
        }
    }
    for number in 0..20 {
        let answer =
            send(&client(), &stack.url("github"), &sender::github(&format!("d-{number}"), "push", "{}")).await?;
        assert_eq!(answer.outcome(), "accepted");
    }
    for mut stream in slow {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a slow connection is still open after 20 s");
        let text = String::from_utf8_lossy(&rest);
        assert!(!text.contains("200 OK"), "{text}");
    }
    stack.finish().await
}
