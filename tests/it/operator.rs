//! The commands of an operator, as programs.

use std::process::Output;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tidegate_tests::program::binary;
use tidegate_tests::stack::{Backend, SOURCES, Stack};
use tidegate_tests::target::Target;
use tokio::process::Command;

use crate::on_both_backends;

on_both_backends!(an_operator_sends_looks_and_replays);

async fn tidegate(arguments: &[&str]) -> Result<Output> {
    Command::new(binary("tidegate")?).args(arguments).output().await.context("tidegate runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn all(output: &Output) -> String {
    format!("{}{}", out(output), String::from_utf8_lossy(&output.stderr))
}

fn lines(output: &Output) -> Vec<Value> {
    out(output).lines().map(|line| serde_json::from_str(line).expect("each line is an object")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_tries_the_door_without_a_configuration() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().display().to_string();
    let arguments = ["dev", "--data", &data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let mut dev = tidegate_tests::program::Program::start("tidegate", &arguments.map(str::to_owned)).await?;
    let (url, admin) = (format!("http://{}", dev.listen), format!("http://{}", dev.admin));
    let send = async |more: &[&str]| tidegate(&[&["send"], more, &["--url", &url]].concat()).await;
    let check = |output: &Output, code: i32, words: &str| {
        assert!(all(output).contains(words), "{words:?} in {}", all(output));
        assert_eq!(output.status.code(), Some(code), "{}", all(output));
    };
    let push = ["github", "--sample", "push", "--id", "first"];
    check(&send(&push).await?, 0, "200 accepted first");
    check(&send(&push).await?, 0, "200 duplicate first");
    check(&send(&["github", "--sample", "push", "--tamper"]).await?, 1, "401 invalid_signature");
    check(&send(&["stripe", "--sample", "payment_intent.succeeded", "--stale"]).await?, 1, "400 stale_timestamp");
    check(&send(&["github", "--stale"]).await?, 1, "signs no timestamp");
    check(&send(&["stripe", "--duplicate"]).await?, 0, "200 duplicate");
    check(&send(&["demo", "--count", "3", "--type", "order.sent"]).await?, 0, "200 accepted");
    check(&send(&["demo", "--sample", "nothing"]).await?, 1, "there are: order.created");
    check(&send(&["github", "--secret", "another secret of enough length"]).await?, 1, "401 invalid_signature");
    let applied = tidegate_tests::eventually::eventually("all is applied", tidegate_tests::stack::SOON, || async {
        let events = tidegate(&["events", "--json", "--admin", &admin]).await.map_err(|error| error.to_string())?;
        let rows = lines(&events);
        let done = rows.len() == 5 && rows.iter().all(|row| row["status"] == "applied");
        if done { Ok(rows) } else { Err(all(&events)) }
    })
    .await?;
    let fields = ["event_id", "source", "event_type", "received_at", "status", "handlers"];
    assert!(fields.iter().all(|field| !applied[0][field].is_null()), "{}", applied[0]);
    assert!(applied.iter().any(|row| row["event_type"] == "order.sent"));
    check(&tidegate(&["events", "--admin", &admin, "--source", "github"]).await?, 0, "first");
    check(&tidegate(&["dead", "list", "--admin", &admin]).await?, 0, "no dead letters");
    check(
        &tidegate(&["dev", "--data", &data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).await?,
        1,
        "in use by another",
    );
    check(&tidegate(&["dev", "--listen", "0.0.0.0:0"]).await?, 1, "must be a loopback address");
    assert!(dev.terminate().await?.success());
    check(&tidegate(&["events", "--admin", &admin]).await?, 1, "is Tidegate running there?");
    Ok(())
}

async fn an_operator_sends_looks_and_replays(backend: Backend) -> Result<()> {
    let target = Target::start().await?;
    target.answer(422);
    let handler = format!(
        "[[handler]]\nname = \"out\"\non = [\"**\"]\nrun = \"forward\"\nurl = {:?}\nretry = [\"1s\"]\n",
        target.url()
    );
    let stack = Stack::start(backend, &format!("{SOURCES}{handler}")).await?;
    let (config, admin) = (stack.config_path(), stack.admin());
    let url = stack.url("demo");
    let sent = tidegate(&["send", "demo", "--config", &config, "--url", &url, "--count", "4"]).await?;
    assert_eq!(out(&sent).matches("200 accepted").count(), 4, "{}", all(&sent));
    stack.until_dead(4).await?;
    let listed = lines(&tidegate(&["dead", "list", "--json", "--admin", &admin]).await?);
    let fields = ["id", "handler", "source", "event_id", "event_type", "reason", "attempts", "dead_at"];
    assert!(fields.iter().all(|field| !listed[0][field].is_null()), "{}", listed[0]);
    let id = listed[0]["id"].as_str().unwrap_or_default();
    let shown = tidegate(&["dead", "show", id, "--admin", &admin]).await?;
    assert!(out(&shown).contains("422") && out(&shown).contains("x-webhook-signature"), "{}", all(&shown));
    let shown = lines(&tidegate(&["dead", "show", id, "--json", "--admin", &admin]).await?);
    assert!(shown[0]["headers"].is_array() && shown[0]["body"].is_string() && shown[0]["failed_attempts"].is_array());
    let plan = tidegate(&["dead", "replay", "--dry-run", "--admin", &admin]).await?;
    assert!(out(&plan).contains('4'), "{}", all(&plan));
    let unasked = tidegate(&["dead", "replay", "--admin", &admin]).await?;
    assert!(!unasked.status.success() && all(&unasked).contains("--yes"), "{}", all(&unasked));
    let gone = tidegate(&["dead", "discard", id, "--yes", "--admin", &admin]).await?;
    assert!(out(&gone).contains("discarded 1"), "{}", all(&gone));
    target.answer(200);
    let replayed =
        tidegate(&["dead", "replay", "--handler", "out", "--yes", "--rate", "50/s", "--admin", &admin]).await?;
    assert!(out(&replayed).contains("replayed 3 of 3"), "{}", all(&replayed));
    for letter in &listed[1..] {
        stack.until_status(letter["event_id"].as_str().unwrap_or_default(), "applied").await?;
    }
    assert_eq!(target.delivered().len(), 3);
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_every_mistake_and_leaves_with_64() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tidegate.toml");
    let text = "[ingest]\nlistn = \"127.0.0.1:1\"\nbody_limit = \"huge\"\n\n[[source]]\nname = \"shop\"\n\
                provider = \"gihub\"\nsecrets = [\"env:TIDEGATE_NOT_SET\"]\n\n[[handler]]\nname = \"h\"\n\
                on = [\"shop:push\"]\nrun = \"forward\"\n";
    std::fs::write(&path, text)?;
    let path = path.display().to_string();
    let checked = tidegate(&["check", "--config", &path]).await?;
    let said = all(&checked);
    assert_eq!(checked.status.code(), Some(64), "{said}");
    for word in ["5 mistakes", "listn", "body_limit", "did you mean \"github\"", "TIDEGATE_NOT_SET", "handler.h.url"] {
        assert!(said.contains(word), "{word:?} in {said}");
    }
    for program in ["tidegate-ingest", "tidegate-worker"] {
        let output = Command::new(binary(program)?).args(["--config", &path]).output().await?;
        assert_eq!(output.status.code(), Some(64), "{program}");
    }
    std::fs::write(folder.path().join("tidegate.toml"), SOURCES)?;
    assert!(out(&tidegate(&["check", "--config", &path]).await?).contains("right"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_wants_its_token() -> Result<()> {
    let token = "an admin token of the test";
    let config = format!("[admin]\ntoken = {token:?}\n{SOURCES}");
    let mut stack = Stack::prepare(None, &config)?;
    stack.start_ingest().await?;
    let admin = stack.admin();
    let ask = async |token: Option<&str>| -> Result<Output> {
        let mut command = Command::new(binary("tidegate")?);
        command.args(["events", "--admin", &admin]).env_remove("TIDEGATE_ADMIN_TOKEN");
        if let Some(token) = token {
            command.env("TIDEGATE_ADMIN_TOKEN", token);
        }
        Ok(command.output().await?)
    };
    for wrong in [None, Some("another"), Some("")] {
        let refused = ask(wrong).await?;
        assert!(!refused.status.success() && all(&refused).contains("TIDEGATE_ADMIN_TOKEN"), "{}", all(&refused));
    }
    let taken = ask(Some(token)).await?;
    assert!(taken.status.success(), "{}", all(&taken));
    assert!(!stack.ingests[0].log_text().contains(token));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_are_listed_for_people_and_programs() -> Result<()> {
    let listed = lines(&tidegate(&["providers", "--json"]).await?);
    let names: Vec<_> = listed.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, tidegate_shared::provider::presets().map(|preset| preset.name).collect::<Vec<_>>());
    assert!(listed.iter().all(|one| one["proven"].is_string() && one["source"].is_string()));
    let one = |name: &str| listed.iter().find(|one| one["name"] == name).context("a preset");
    for (name, signs_body, tolerance) in [
        ("stripe", true, json!(300)),
        ("plaid", true, json!(300)),
        ("adyen", true, json!(null)),
        ("gitlab", false, json!(null)),
        ("mailgun", false, json!(36_000)),
    ] {
        let preset = one(name)?;
        assert_eq!((&preset["signs_body"], &preset["tolerance_seconds"]), (&json!(signs_body), &tolerance), "{name}");
    }
    let text = out(&tidegate(&["providers"]).await?);
    assert!(text.contains("standard-webhooks") && text.contains("  tolerance   36000 s"), "{text}");
    Ok(())
}
