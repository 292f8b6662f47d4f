//! `tidegate dead`: dead letters, and what to do with them.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::{Value, json};
use tidegate_shared::process;

use crate::admin::{Admin, At, text, time};
use crate::events::escaped;
use crate::out::say;
use crate::table::Table;

/// Dead letters of one request.
const CHUNK: u64 = 100;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead letters, newest first.
    List {
        #[command(flatten)]
        filter: Filter,
        /// Dead letters at most.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
        /// One object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Show one with its headers, its body and every attempt.
    Show {
        /// The dead letter's id.
        id: String,
        /// As one object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Deliver dead letters again. What was applied before stays applied once.
    Replay(Change),
    /// Take dead letters off the list for good; their events are never applied.
    Discard(Change),
}

#[derive(Debug, Args)]
struct Filter {
    /// Of this handler.
    #[arg(long, value_name = "H")]
    handler: Option<String>,
    /// Of this source.
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// Given up at or after this time, such as 2026-11-22T10:00:00Z.
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Given up before this time.
    #[arg(long, value_name = "T")]
    until: Option<String>,
}

#[derive(Debug, Args)]
struct Change {
    /// The dead letters' ids. Without any, and without a filter, all of them.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Replay at most so many a second, such as 50/s.
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<u64>,
    /// What was done as one object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

pub(crate) fn dead(arguments: Arguments) -> ExitCode {
    process::exit_with(Ok(process::block_on(async {
        match arguments.command {
            Command::List { filter, limit, json, at } => list(&at.connect()?, &filter, limit, json).await,
            Command::Show { id, json, at } => show(&at.connect()?, &id, json).await,
            Command::Replay(change) => replay(&change.at.connect()?, &change).await,
            Command::Discard(change) => discard(&change.at.connect()?, &change).await,
        }
    })))
}

impl Filter {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let pairs =
            [("handler", &self.handler), ("source", &self.source), ("since", &self.since), ("until", &self.until)];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

impl Change {
    /// The selection as the admin API reads it. It ends now: what dies again meanwhile is not part of it.
    fn selection(&self) -> Value {
        let mut selection: serde_json::Map<String, Value> =
            self.filter.pairs().into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
        selection.entry("until").or_insert_with(|| jiff::Timestamp::now().to_string().into());
        selection.insert("ids".to_owned(), json!(self.ids));
        Value::Object(selection)
    }
}

async fn list(admin: &Admin, filter: &Filter, limit: u32, json: bool) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    admin.list("/v1/dead-letters", &filter.pairs(), limit, |row| rows.push(row)).await?;
    if json {
        rows.iter().for_each(|row| say!("{row}"));
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        say!("no dead letters");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["ID", "DEAD SINCE", "HANDLER", "SOURCE", "EVENT ID", "ATTEMPTS", "REASON"]);
    for row in &rows {
        let before = ["handler", "source", "event_id", "attempts"].map(|field| text(row, field));
        let reason: String = text(row, "reason").chars().take(60).collect();
        table.row([vec![text(row, "id"), time(row, "dead_at")], before.to_vec(), vec![reason]].concat());
    }
    say!("{table}");
    Ok(ExitCode::SUCCESS)
}

async fn show(admin: &Admin, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let letter = admin.ask(Method::GET, &format!("/v1/dead-letters/{}", escaped(id)), |request| request).await?;
    if json {
        say!("{letter}");
        return Ok(ExitCode::SUCCESS);
    }
    for field in ["id", "handler", "source", "event_id", "event_type", "dead_at", "attempts", "reason"] {
        say!("{field:<12} {}", printable(&text(&letter, field)));
    }
    say!("\nattempts");
    for attempt in letter["failed_attempts"].as_array().into_iter().flatten() {
        let error = printable(&text(attempt, "error"));
        say!("  {:>3}  {}  {error}", text(attempt, "attempt"), time(attempt, "at"));
    }
    say!("\nheaders");
    for header in letter["headers"].as_array().into_iter().flatten() {
        say!("  {}: {}", printable(header[0].as_str().unwrap_or("")), printable(header[1].as_str().unwrap_or("")));
    }
    say!("\nbody\n{}", printable(&text(&letter, "body")));
    Ok(ExitCode::SUCCESS)
}

async fn replay(admin: &Admin, change: &Change) -> anyhow::Result<ExitCode> {
    let selection = change.selection();
    let path = "/v1/dead-letters/replay";
    let Some(total) = agree(admin, change, &selection, path, "replay").await? else { return Ok(ExitCode::SUCCESS) };
    let chunk = change.rate.unwrap_or(CHUNK).clamp(1, CHUNK);
    let bar =
        ProgressBar::new(total).with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec}, {eta} left")?);
    let pause = change.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(f64_of(chunk) / f64_of(rate)));
    let (mut replayed, mut skipped) = (0, Vec::new());
    loop {
        let mut part = selection.clone();
        part["limit"] = json!(chunk);
        let answer = admin.ask(Method::POST, path, |request| request.json(&part)).await?;
        let now = answer["replayed"].as_u64().unwrap_or(0);
        replayed += now;
        skipped.extend(answer["skipped"].as_array().cloned().unwrap_or_default());
        bar.inc(now);
        // Nothing more was replayed: the rest is gone, or it was all.
        if now == 0 || answer["remaining"].as_u64() == Some(0) {
            break;
        }
        tokio::time::sleep(pause).await;
    }
    bar.finish_and_clear();
    if change.json {
        say!("{}", json!({ "matched": total, "replayed": replayed, "skipped": skipped }));
    } else {
        for letter in &skipped {
            say!("not replayed: {}: {}", text(letter, "id"), text(letter, "reason"));
        }
        say!("replayed {replayed} of {total}; see `tidegate dead list` for those that die again");
    }
    Ok(ExitCode::SUCCESS)
}

async fn discard(admin: &Admin, change: &Change) -> anyhow::Result<ExitCode> {
    let selection = change.selection();
    let path = "/v1/dead-letters/discard";
    if agree(admin, change, &selection, path, "discard for good").await?.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    let answer = admin.ask(Method::POST, path, |request| request.json(&selection)).await?;
    if change.json {
        say!("{answer}");
    } else {
        say!("discarded {}", answer["discarded"]);
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the plan and asks; says how many dead letters it is about, or `None` if nothing is to be done.
async fn agree(
    admin: &Admin,
    change: &Change,
    selection: &Value,
    path: &str,
    verb: &str,
) -> anyhow::Result<Option<u64>> {
    let mut plan = selection.clone();
    plan["dry_run"] = json!(true);
    let plan = admin.ask(Method::POST, path, |request| request.json(&plan)).await?;
    let matched = plan["matched"].as_u64().unwrap_or(0);
    if change.json {
        if change.dry_run || matched == 0 {
            say!("{plan}");
        }
    } else {
        show_plan(&plan, matched, verb);
    }
    if matched == 0 || change.dry_run {
        return Ok(None);
    }
    if !change.yes && !confirmed(verb, matched)? {
        say!("nothing was done");
        return Ok(None);
    }
    Ok(Some(matched))
}

fn show_plan(plan: &Value, matched: u64, verb: &str) {
    if matched == 0 {
        say!("no dead letter to {verb}");
        return;
    }
    let mut table = Table::new(&["HANDLER", "SOURCE", "DEAD LETTERS"]);
    for count in plan["by_handler"].as_array().into_iter().flatten() {
        table.row(["handler", "source", "count"].map(|field| text(count, field)).to_vec());
    }
    say!("{table}");
}

fn confirmed(verb: &str, count: u64) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask on; add --yes to {verb}, or --dry-run to only look");
    }
    let mut out = std::io::stdout();
    write!(out, "{verb} {count}? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("no answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn rate(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number.parse().ok().filter(|&rate| rate > 0).ok_or_else(|| "expected a number from 1, such as 50/s".to_owned())
}

#[expect(clippy::cast_precision_loss, reason = "a rate and a chunk: their ratio need not be exact")]
fn f64_of(number: u64) -> f64 {
    number as f64
}

/// Text of a provider's without what would steer a terminal; line breaks stay.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c }).collect()
}
