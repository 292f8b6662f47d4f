//! Requests that did not verify are kept within bounds and without secrets, explained, and let in after the mend.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use futures_util::stream;
use http::HeaderValue;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tidegate_tests::eventually::eventually;
use tidegate_tests::program::binary;
use tidegate_tests::sender::{self, Signed, client, send};
use tidegate_tests::stack::{Backend, SOON, Stack};
use tokio::process::Command;

use crate::on_both_backends;

on_both_backends!(
    a_rejected_request_is_explained_and_let_in_once_after_the_mend,
    a_request_that_may_have_been_applied_and_forgotten_since_is_not_let_in,
    a_flood_of_forged_requests_stays_within_its_bounds_beside_honest_traffic,
    nothing_is_kept_where_keep_is_0,
    no_secret_of_a_rejected_request_is_written_down_or_shown,
    rejected_requests_are_behind_the_admin_token_and_in_the_document,
);

const ARCHIVE: &str = "[[handler]]\nname = \"archive\"\non = [\"**\"]\nrun = \"archive\"\n";
const HANDLERS: &str = "[[handler]]\nname = \"payments\"\non = [\"stripe:**\"]\nrun = \"payments\"\n\
                        [[handler]]\nname = \"archive\"\non = [\"**\"]\nrun = \"archive\"\n";

fn source(name: &str, provider: &str, secret: &str) -> String {
    format!("[[source]]\nname = {name:?}\nprovider = {provider:?}\nsecrets = [{secret:?}]\n")
}

/// The operator's command at the first ingest.
async fn run(stack: &Stack, arguments: &[&str]) -> Result<Output> {
    let admin = stack.door_admin();
    let command = [arguments, &["--admin", &admin]].concat();
    Ok(Command::new(binary("tidegate")?).args(command).output().await?)
}

/// What the command says; it must succeed.
async fn say(stack: &Stack, arguments: &[&str]) -> Result<String> {
    let output = run(stack, arguments).await?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

async fn say_json(stack: &Stack, arguments: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&say(stack, &[arguments, &["--json"]].concat()).await?)?)
}

/// Waits until so many are kept of a source, and gives them, the newest first.
async fn until_kept(stack: &Stack, source: &str, count: usize) -> Result<Vec<Value>> {
    eventually(&format!("{count} requests to {source} are kept"), SOON, || async {
        let said = say(stack, &["rejected", "list", "--json", "--limit", "1000", "--source", source]).await;
        let rows: Vec<Value> = said
            .map_err(|error| error.to_string())?
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        if rows.len() == count { Ok(rows) } else { Err(format!("{} of {count}", rows.len())) }
    })
    .await
}

/// Changes the configuration, and has it read.
async fn mend(stack: &mut Stack, old: &str, new: &str) -> Result<()> {
    let text = std::fs::read_to_string(stack.config_path())?;
    ensure!(text.contains(old), "{old} is configured");
    std::fs::write(stack.config_path(), text.replace(old, new))?;
    stack.crash_ingest(0).await?;
    stack.until_ready().await
}

/// Every byte of every file below `folder`.
fn every_byte(folder: &Path) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        all.extend(if path.is_dir() { every_byte(&path)? } else { std::fs::read(&path)? });
    }
    Ok(all)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

async fn a_rejected_request_is_explained_and_let_in_once_after_the_mend(backend: Backend) -> Result<()> {
    let wrong = format!("whsec_{}", sender::SECRET);
    // Far shorter than the mend takes: the request is judged by when it came, or it stays out.
    let config = format!("{}tolerance = \"3s\"\n{HANDLERS}", source("stripe", "stripe", &wrong));
    let mut stack = Stack::start(backend, &config).await?;
    let (http, payment, sent) = (client(), sender::payment("evt_1", "pi_1"), Instant::now());
    assert_eq!(send(&http, &stack.url("stripe"), &payment).await?.outcome(), "invalid_signature");
    let rows = until_kept(&stack, "stripe", 1).await?;
    let id = rows[0]["id"].as_str().context("an id")?.to_owned();
    assert_eq!((&rows[0]["code"], &rows[0]["target"]), (&json!("invalid_signature"), &json!("/webhooks/stripe")));
    let shown = say_json(&stack, &["rejected", "show", &id]).await?;
    assert_eq!(shown["body"].as_str().map(str::as_bytes), Some(&payment.body[..]));

    let explained = say_json(&stack, &["explain", &id]).await?;
    assert_eq!((&explained["cause"], &explained["explained"]), (&json!("secret_text"), &json!(true)), "{explained}");
    let words = say(&stack, &["explain", &id]).await?;
    ensure!(words.contains("secrets[0] without its prefix \"whsec_\"") && words.lines().count() == 2, "{words}");
    let too_early = run(&stack, &["rejected", "release", &id]).await?;
    ensure!(!too_early.status.success(), "{too_early:?}");
    until_kept(&stack, "stripe", 1).await?;
    ensure!(stack.list("/v1/events").await?.is_empty(), "nothing was let in before the mend");

    mend(&mut stack, &wrong, sender::SECRET).await?;
    eventually("the request is older than the tolerance", SOON, || async {
        if sent.elapsed() > Duration::from_secs(5) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await?;
    assert_eq!(send(&http, &stack.url("stripe"), &payment).await?.outcome(), "stale_timestamp");
    assert_eq!(say_json(&stack, &["explain", &id]).await?["cause"], "verifies_now");
    // What came just now is another one, and stale as of when it came.
    let rows = until_kept(&stack, "stripe", 2).await?;
    let stale = rows[0]["id"].as_str().context("an id")?;
    assert_eq!(say_json(&stack, &["explain", stale]).await?["cause"], "clock_skew");
    let said = run(&stack, &["rejected", "release", "--source", "stripe", "--json"]).await?;
    let released: Value = serde_json::from_slice(&said.stdout)?;
    assert_eq!((&released["released"], &released["refused"][0]["id"]), (&json!(1), &json!(stale)), "{released}");
    stack.until_number("SELECT COUNT(*) FROM payments", 1, SOON).await?;
    until_kept(&stack, "stripe", 1).await?;
    // It is gone from the ring, and the provider's own retry of it is a duplicate.
    let again = stack.ask_door(Method::POST, "/v1/rejected/release", Some(&json!({ "ids": [id] }))).await?;
    assert_eq!(again["refused"][0]["code"], "not_found", "{again}");
    let retry = send(&http, &stack.url("stripe"), &sender::payment("evt_1", "pi_1")).await?;
    assert_eq!(retry.outcome(), "duplicate");
    assert_eq!(stack.number("SELECT CAST(SUM(amount) AS BIGINT) FROM balances").await?, 1);
    stack.finish().await
}

/// Goal: what the inbox may have forgotten is not applied again. Method: an inbox that forgets as soon as providers stop to
/// send an event again, which leaves no time at all for a release; then one that remembers for longer.
async fn a_request_that_may_have_been_applied_and_forgotten_since_is_not_let_in(backend: Backend) -> Result<()> {
    let (wrong, short) = ("not the secret of this source", "[retention]\ninbox = \"1d\"\n");
    let config = format!("{short}{}dedup_window = \"1d\"\n{HANDLERS}", source("stripe", "stripe", wrong));
    let mut stack = Stack::start(backend, &config).await?;
    let payment = sender::payment("evt_1", "pi_1");
    assert_eq!(send(&client(), &stack.url("stripe"), &payment).await?.outcome(), "invalid_signature");
    until_kept(&stack, "stripe", 1).await?;
    mend(&mut stack, wrong, sender::SECRET).await?;
    let release = Some(json!({ "source": "stripe" }));
    let said = stack.ask_door(Method::POST, "/v1/rejected/release", release.as_ref()).await?;
    assert_eq!(said["refused"][0]["code"], "too_old", "{said}");
    until_kept(&stack, "stripe", 1).await?;
    mend(&mut stack, short, "[retention]\ninbox = \"2d\"\n").await?;
    let said = stack.ask_door(Method::POST, "/v1/rejected/release", release.as_ref()).await?;
    assert_eq!(said["released"].as_array().map(Vec::len), Some(1), "{said}");
    stack.until_number("SELECT COUNT(*) FROM payments", 1, SOON).await?;
    stack.finish().await
}

/// Sends once more where the connection was closed under the request: one that idles is closed after a while, and the
/// machine may be so busy that this one does.
async fn send_patiently(http: &Client, url: &str, signed: &Signed) -> Result<String> {
    let answer = match send(http, url, signed).await {
        Ok(answer) => answer,
        Err(_) => send(http, url, signed).await?,
    };
    Ok(answer.outcome().to_owned())
}

/// Goal: forged requests cost the disk no more than the ring, and honest ones not their answer. Method: 50,000 of them with
/// bodies, while payments come in; then the ring, its files and the counters are looked at.
async fn a_flood_of_forged_requests_stays_within_its_bounds_beside_honest_traffic(backend: Backend) -> Result<()> {
    const FORGED: usize = 50_000;
    const KEEP: usize = 20;
    let config = [
        format!("[ingest.rejected]\nkeep = {KEEP}\nbytes_max = \"64KiB\"\n"),
        source("github", "github", sender::SECRET),
        source("stripe", "stripe", sender::SECRET),
        HANDLERS.to_owned(),
    ];
    let stack = Stack::start(backend, &config.concat()).await?;
    let http = client();
    // One that an operator wants to see: another source's flood must not push it out.
    let tampered = Signed { body: b"{}".to_vec(), ..sender::payment("evt_0", "pi_0") };
    assert_eq!(send(&http, &stack.url("stripe"), &tampered).await?.outcome(), "invalid_signature");
    until_kept(&stack, "stripe", 1).await?;

    let forged = Signed { body: vec![b'x'; 4 << 10], ..sender::github("d-1", "push", "{}") };
    let flood = {
        let sending = Arc::new((http.clone(), stack.url("github"), forged));
        tokio::spawn(async move {
            let sends = (0..FORGED).map(|_| {
                let sending = Arc::clone(&sending);
                async move { send_patiently(&sending.0, &sending.1, &sending.2).await }
            });
            let mut sends = stream::iter(sends).buffer_unordered(32);
            let mut refused = 0;
            while let Some(answer) = sends.next().await {
                refused += usize::from(answer.is_ok_and(|outcome| outcome == "invalid_signature"));
            }
            refused
        })
    };
    // Providers have connections of their own.
    let (http, mut honest, mut slowest) = (client(), 0, Duration::ZERO);
    while !flood.is_finished() {
        let started = Instant::now();
        let payment = sender::payment(&format!("evt_{honest}"), &format!("pi_{honest}"));
        let outcome = send_patiently(&http, &stack.url("stripe"), &payment).await?;
        ensure!(matches!(outcome.as_str(), "accepted" | "duplicate"), "{outcome}");
        slowest = slowest.max(started.elapsed());
        honest += 1;
    }
    assert_eq!(flood.await?, FORGED);
    ensure!(honest > 20 && slowest < Duration::from_secs(5), "{honest} honest ones, the slowest took {slowest:?}");

    let kept = say(&stack, &["rejected", "list", "--json", "--limit", "1000"]).await?;
    let of = |source: &str| kept.lines().filter(|line| line.contains(&format!("\"source\":{source:?}"))).count();
    assert_eq!(of("stripe"), 1, "{kept}");
    ensure!((1..=KEEP).contains(&of("github")), "{kept}");
    let bytes: usize = kept
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["body_bytes"].as_u64())
        .sum::<u64>()
        .try_into()?;
    ensure!(bytes <= 64 << 10, "{bytes} bytes of bodies");
    let files = every_byte(&stack.rejected())?.len();
    ensure!(files < 16 << 20, "{files} bytes of files");
    let dropped = stack.metric("tidegate_rejected_dropped_total", &["source=\"github\""]).await?;
    ensure!(dropped > 0.9 * 50_000.0, "{dropped} were dropped");
    stack.until_number("SELECT COUNT(*) FROM payments", honest, SOON).await?;
    stack.finish().await
}

async fn nothing_is_kept_where_keep_is_0(backend: Backend) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rejected");
    let table = format!("[ingest.rejected]\nkeep = 0\npath = {path:?}\n");
    let config = format!("{table}{}{HANDLERS}", source("stripe", "stripe", sender::SECRET));
    let stack = Stack::start(backend, &config).await?;
    let tampered = Signed { body: b"{}".to_vec(), ..sender::payment("evt_0", "pi_0") };
    assert_eq!(send(&client(), &stack.url("stripe"), &tampered).await?.outcome(), "invalid_signature");
    assert_eq!(say(&stack, &["rejected", "list"]).await?, "no rejected requests\n");
    let explained = run(&stack, &["explain", "1"]).await?;
    ensure!(String::from_utf8_lossy(&explained.stderr).contains("ingest.rejected.keep is 0"), "{explained:?}");
    // A stop writes what waits.
    stack.finish().await?;
    ensure!(!path.exists(), "a folder was made for nothing");
    Ok(())
}

/// Goal: neither the files of the ring nor anything that is said holds a secret, live or a stranger's. Method: canaries in
/// every place that a credential can stand; all bytes of the files, all output and the log are searched. What is sealed is
/// let in all the same once it is configured.
async fn no_secret_of_a_rejected_request_is_written_down_or_shown(backend: Backend) -> Result<()> {
    const LIVE: &str = "canary-of-the-live-gitlab-token";
    const TRUE: &str = "canary-of-the-true-gitlab-token";
    let config = [source("gitlab", "gitlab", LIVE), source("github", "github", sender::SECRET), ARCHIVE.to_owned()];
    let mut stack = Stack::start(backend, &config.concat()).await?;
    let http = client();
    let with = |name: &'static str, value: &str| {
        let mut signed =
            Signed { body: b"{\"object_kind\": \"push\"}".to_vec(), ..sender::github("d-1", "push", "{}") };
        signed.headers.remove("x-hub-signature-256");
        signed.headers.insert("webhook-id", HeaderValue::from_static("gitlab-1"));
        signed.headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        signed
    };
    let gitlab = with("x-gitlab-token", TRUE);
    assert_eq!(send(&http, &stack.url("gitlab"), &gitlab).await?.outcome(), "invalid_signature");
    let lost = with("x-gitlab-token", LIVE);
    send(&http, &stack.url("github"), &lost).await?;
    send(&http, &stack.url("github"), &with("authorization", &format!("Bearer {TRUE}"))).await?;
    send(&http, &stack.url("github"), &with("cookie", &format!("session={TRUE}"))).await?;
    let in_body =
        Signed { body: format!("{{\"a\": \"{}\"}}", sender::SECRET).into_bytes(), ..sender::github("d", "push", "{}") };
    send(&http, &stack.url("github"), &in_body).await?;
    send(&http, &format!("{}?access_token={TRUE}&b={LIVE}", stack.url("github")), &in_body).await?;
    let mut rows = until_kept(&stack, "github", 5).await?;
    rows.extend(until_kept(&stack, "gitlab", 1).await?);

    let mut said = String::new();
    for row in &rows {
        let id = row["id"].as_str().context("an id")?;
        said += &row.to_string();
        for command in [&["rejected", "show", id][..], &["rejected", "show", id, "--json"], &["explain", id]] {
            said += &say(&stack, command).await?;
        }
    }
    let oldest = rows[4]["id"].as_str().context("an id")?;
    let explained = say_json(&stack, &["explain", oldest]).await?;
    assert_eq!(explained["cause"], "other_source", "{explained}");
    let gitlab_id = rows[5]["id"].as_str().context("an id")?.to_owned();
    assert_eq!(say_json(&stack, &["explain", &gitlab_id]).await?["cause"], "unknown_credential");
    let refused = stack.ask_door(Method::POST, "/v1/rejected/release", Some(&json!({ "source": "github" }))).await?;
    assert_eq!(refused["refused"].as_array().map(Vec::len), Some(5), "{refused}");
    said += &refused.to_string();
    let (files, log) = (every_byte(&stack.rejected())?, stack.ingests[0].log_text());
    for canary in [LIVE, TRUE, sender::SECRET] {
        ensure!(!holds(&files, canary), "{canary} stands in a file");
        ensure!(!said.contains(canary), "{canary} was said: {said}");
        ensure!(!log.contains(canary), "{canary} stands in the log");
    }

    mend(&mut stack, LIVE, TRUE).await?;
    let released = say_json(&stack, &["rejected", "release", &gitlab_id]).await?;
    assert_eq!(released["released"], 1, "{released}");
    stack.until_status("gitlab-1", "applied").await?;
    stack.finish().await
}

async fn rejected_requests_are_behind_the_admin_token_and_in_the_document(backend: Backend) -> Result<()> {
    let token = "an-admin-token-of-the-test";
    let config = format!("[admin]\ntoken = {token:?}\n{}{HANDLERS}", source("stripe", "stripe", sender::SECRET));
    let stack = Stack::start(backend, &config).await?;
    let ask = |method: Method, path: &str| client().request(method, format!("{}{path}", stack.door_admin()));
    let document: Value = ask(Method::GET, "/openapi.json").send().await?.error_for_status()?.json().await?;
    for (method, path) in [
        (Method::GET, "/v1/rejected"),
        (Method::GET, "/v1/rejected/{id}"),
        (Method::POST, "/v1/rejected/{id}/explain"),
        (Method::POST, "/v1/rejected/release"),
    ] {
        let operation = &document["paths"][path][method.as_str().to_lowercase()];
        ensure!(operation["responses"]["401"].is_object(), "{method} {path} in {document}");
        let path = path.replace("{id}", "1");
        assert_eq!(ask(method.clone(), &path).send().await?.status().as_u16(), 401, "{path}");
        let answer = ask(method, &path).bearer_auth(token).json(&json!({ "ids": ["1"] })).send().await?;
        assert_ne!(answer.status().as_u16(), 401, "{path}");
    }
    // Where the worker's document is merged with it, no schema of the one is taken for one of the other.
    let body =
        &document["paths"]["/v1/rejected/release"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let schema =
        body["$ref"].as_str().and_then(|at| document.pointer(at.trim_start_matches('#'))).context("a schema")?;
    let properties: Vec<_> = schema["properties"].as_object().context("properties")?.keys().collect();
    assert_eq!(properties, ["ids", "source"], "{schema}");
    let page = |cursor| ask(Method::GET, &format!("/v1/rejected?cursor={cursor}")).bearer_auth(token).send();
    let (wrong, right) = (page("a").await?, page("01965e4a-7a0f-7d0c-9c39-2f6a1f0b7c55").await?);
    assert_eq!((wrong.status().as_u16(), right.status().as_u16()), (400, 200));
    stack.clean_up().await
}

/// The offline half: no process is asked.
#[tokio::test]
async fn a_request_in_a_file_is_explained_without_any_process() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (config, request) = (folder.path().join("tidegate.toml"), folder.path().join("request.http"));
    std::fs::write(&config, source("github", "github", sender::SECRET))?;
    let signed = sender::github("d-1", "push", "{\"a\":1}");
    let signature = signed.headers["x-hub-signature-256"].to_str()?;
    let explain = async |body: &str| -> Result<Value> {
        let head =
            format!("POST /webhooks/github HTTP/1.1\nX-GitHub-Delivery: d-1\nX-Hub-Signature-256: {signature}\n");
        std::fs::write(&request, format!("{head}\n{body}"))?;
        let mut command = Command::new(binary("tidegate")?);
        command.args(["explain", "--source", "github", "--json", "--file"]).arg(&request).arg("--config").arg(&config);
        let output = command.output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    assert_eq!(explain("{\"a\":1}").await?["cause"], "verifies_now");
    let pretty = explain("{\n  \"a\": 1\n}").await?;
    ensure!(pretty["why"].as_str().is_some_and(|why| why.contains("its JSON was compact")), "{pretty}");
    assert_eq!(explain("{\"a\":1}\n").await?["cause"], "body_changed");
    let forged = explain("{\"a\":2}").await?;
    assert_eq!((&forged["cause"], &forged["explained"]), (&json!("unexplained"), &json!(false)), "{forged}");
    Ok(())
}

/// What a provider has offered is a secret of the source for `explain`, too.
#[tokio::test]
async fn a_request_in_a_file_is_explained_with_the_secret_that_was_offered() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [config, request, offered] = ["tidegate.toml", "request.http", "offered"].map(|name| folder.path().join(name));
    std::fs::write(
        &config,
        format!("[[source]]\nname = \"asana\"\nprovider = \"asana\"\noffered_secret = {offered:?}\n"),
    )?;
    let body = "{\"events\":[{}]}";
    let signature = sender::hmac_hex("the secret that was offered", &[body.as_bytes()]);
    std::fs::write(&request, format!("POST /webhooks/asana HTTP/1.1\nX-Hook-Signature: {signature}\n\n{body}"))?;
    for (secret, cause) in [
        (None, "no_secret_offered"),
        (Some("the secret that was offered"), "verifies_now"),
        (Some("another secret, by a stranger"), "unexplained"),
    ] {
        secret.map(|secret| std::fs::write(&offered, secret)).transpose()?;
        let mut command = Command::new(binary("tidegate")?);
        command.args(["explain", "--source", "asana", "--json", "--file"]).arg(&request).arg("--config").arg(&config);
        let output = command.output().await?;
        let said: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        assert_eq!(said["cause"], cause, "{said}");
    }
    Ok(())
}
