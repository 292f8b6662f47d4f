//! Secrets with dates: what they let in, and what is said of those that are over.

use std::process::Output;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_tests::eventually::eventually;
use tidegate_tests::program::binary;
use tidegate_tests::sender::{SECRET, Signed, client, github, hmac_hex, send};
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};
use tokio::process::Command;

use crate::on_both_backends;

on_both_backends!(
    one_secret_takes_over_from_another_without_a_gap,
    a_source_without_a_live_secret_lets_nobody_in_and_says_so,
);

const NEXT: &str = "another-test-secret-of-32-bytes!";

/// As GitHub sends it, signed with this secret.
fn push(secret: &str, id: &str) -> Result<Signed> {
    let mut signed = github(id, "push", "{}");
    let signature = format!("sha256={}", hmac_hex(secret, &[b"{}"]));
    signed.headers.insert("x-hub-signature-256", signature.parse()?);
    Ok(signed)
}

fn source(name: &str, secrets: &str) -> String {
    format!("[[source]]\nname = {name:?}\nprovider = \"github\"\nsecrets = {secrets}\n")
}

async fn check(path: &str) -> Result<(Option<i32>, String)> {
    let Output { status, stdout, stderr } =
        Command::new(binary("tidegate")?).args(["check", "--config", path]).output().await?;
    Ok((status.code(), [String::from_utf8(stdout)?, String::from_utf8(stderr)?].concat()))
}

async fn health(stack: &Stack) -> Result<Value> {
    let url = format!("http://{}/health", stack.ingests[0].listen);
    Ok(client().get(url).send().await?.json().await?)
}

/// At every moment one of the two gets in: the old one until the hour, the next one from then on.
async fn one_secret_takes_over_from_another_without_a_gap(backend: Backend) -> Result<()> {
    let hour = Timestamp::now() + SignedDuration::from_secs(10);
    let secrets = format!(
        "[{{ value = {SECRET:?}, not_after = \"{hour}\" }}, {{ value = \"env:TIDEGATE_TEST_NEXT\", not_before = {hour} }}]"
    );
    let mut stack = match backend {
        Backend::Embedded => Stack::prepare(None, &source("rotating", &secrets))?,
        Backend::Distributed => {
            let servers = tidegate_tests::stack::Servers::shared().await?;
            Stack::prepare(Some(servers), &source("rotating", &secrets.replace("env:TIDEGATE_TEST_NEXT", NEXT)))?
        }
    };
    stack.variables.push(("TIDEGATE_TEST_NEXT".to_owned(), NEXT.to_owned()));
    stack.start_ingest().await?;
    stack.start_worker().await?;
    stack.until_ready().await?;
    let (client, url) = (client(), stack.url("rotating"));
    let number = std::sync::atomic::AtomicUsize::new(0);
    eventually("the next secret has taken over", SOON, || async {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let send = async |secret, name: &str| -> Result<u16> {
            Ok(send(&client, &url, &push(secret, &format!("{name}-{number}"))?).await?.status)
        };
        // In this order: what is refused as over was sent before the next one is.
        let old = send(SECRET, "old").await.map_err(|error| error.to_string())?;
        let next = send(NEXT, "next").await.map_err(|error| error.to_string())?;
        assert!(old == 200 || next == 200, "neither got in: {old}, {next}");
        if (old, next) == (401, 200) { Ok(()) } else { Err(format!("{old}, {next}")) }
    })
    .await?;
    assert!(Timestamp::now() > hour);
    stack.finish().await
}

async fn a_source_without_a_live_secret_lets_nobody_in_and_says_so(backend: Backend) -> Result<()> {
    let over = format!("[{{ value = {SECRET:?}, not_after = \"2020-01-01T00:00:00Z\" }}]");
    let coming = format!("[{{ value = {SECRET:?}, not_before = 2120-01-01T00:00:00Z }}]");
    let config = [SOURCES.to_owned(), source("over", &over), source("coming", &coming)].concat();
    let stack = Stack::start(backend, &config).await?;
    for name in ["over", "coming"] {
        let answer = send(&client(), &stack.url(name), &push(SECRET, "d-1")?).await?;
        assert_eq!((answer.status, answer.outcome()), (401, "invalid_signature"), "{name}");
    }
    let answer = send(&client(), &stack.url("github"), &push(SECRET, "d-1")?).await?;
    assert_eq!(answer.outcome(), "accepted", "the other sources go on");
    let health = health(&stack).await?;
    assert_eq!((&health["status"], &health["components"]["secrets"]["state"]), (&"degraded".into(), &"down".into()));
    let warnings: Vec<Value> = stack.ingests[0].logged("WARN");
    let (code, checked) = check(&stack.config_path()).await?;
    assert_eq!(code, Some(0), "{checked}");
    for words in [
        "source.over.secrets: all of them have expired",
        "source.coming.secrets: none of them counts before 2120-01-01T00:00:00Z",
        "source.github.secrets[0]: it stands in the configuration itself",
    ] {
        let logged = warnings.iter().any(|line| line["message"].as_str().is_some_and(|text| text.contains(words)));
        assert!(logged, "{words:?} in {warnings:#?}");
        assert!(checked.contains(&format!("warning: {words}")), "{words:?} in {checked}");
    }
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_read_from_a_file_whose_line_feed_is_not_taken_off_unasked() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n"))?;
    let named = format!("file:{}", file.display());
    let path = folder.path().join("tidegate.toml");
    let check = async |secrets: String| -> Result<(Option<i32>, String)> {
        std::fs::write(&path, source("files", &secrets))?;
        check(path.to_str().context("a path")?).await
    };
    let (code, said) = check(format!("[{named:?}]")).await?;
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("trim = true") && !said.contains(SECRET), "{said}");
    let (code, said) = check(format!("[{{ value = {named:?}, trim = true }}]")).await?;
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("warning"), "a file is where a secret belongs: {said}");
    std::fs::write(&file, format!("{SECRET}\n\n"))?;
    let (code, said) = check(format!("[{{ value = {named:?}, trim = true }}]")).await?;
    assert!(code == Some(64) && said.contains("white space"), "one line feed and no more: {said}");
    std::fs::write(&file, vec![b'x'; 70_000])?;
    let (code, said) = check(format!("[{named:?}]")).await?;
    assert!(code == Some(64) && said.contains("larger than 64 KiB"), "{said}");
    std::fs::remove_file(&file)?;
    let (code, said) = check(format!("[{named:?}]")).await?;
    assert!(code == Some(64) && said.contains("cannot read the file"), "{said}");
    Ok(())
}
