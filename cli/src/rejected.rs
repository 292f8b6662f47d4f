//! `tidegate rejected`: requests that did not verify, and the way in for them after the mend.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use tidegate_shared::process;

use crate::admin::{AtDoor, text, time};
use crate::dead::printable;
use crate::events::escaped;
use crate::out::say;
use crate::table::Table;

/// Requests of one answer: each may wait for the queue.
const CHUNK: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List rejected requests, newest first.
    List {
        /// Of this source.
        #[arg(long, value_name = "S")]
        source: Option<String>,
        /// Requests at most.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        answer: Answer,
    },
    /// Show one with its headers and its body. A marker stands for each credential.
    Show {
        /// The rejected request's id.
        id: String,
        #[command(flatten)]
        answer: Answer,
    },
    /// Verify rejected requests again, as of when each was received, and let in those that verify now.
    Release {
        /// The rejected requests' ids.
        #[arg(value_name = "ID", required_unless_present = "source")]
        ids: Vec<String>,
        /// All of this source.
        #[arg(long, value_name = "S", conflicts_with = "ids")]
        source: Option<String>,
        #[command(flatten)]
        answer: Answer,
    },
}

#[derive(Debug, Args)]
struct Answer {
    /// As JSON: one object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: AtDoor,
}

pub(crate) fn rejected(arguments: Arguments) -> ExitCode {
    process::exit_with(Ok(process::block_on(async {
        match arguments.command {
            Command::List { source, limit, answer } => list(source, limit, &answer).await,
            Command::Show { id, answer } => show(&id, &answer).await,
            Command::Release { ids, source, answer } => release(ids, source, &answer).await,
        }
    })))
}

async fn list(source: Option<String>, limit: u32, answer: &Answer) -> anyhow::Result<ExitCode> {
    let query: Vec<_> = source.into_iter().map(|source| ("source", source)).collect();
    let mut table = Table::new(&["ID", "RECEIVED", "SOURCE", "CODE", "TARGET", "BYTES"]);
    let mut rows = 0;
    let admin = answer.at.connect()?;
    let list = admin.list("/v1/rejected", &query, limit, |row| {
        rows += 1;
        if answer.json {
            return say!("{row}");
        }
        let cells = ["source", "code", "target", "body_bytes"].map(|field| text(&row, field));
        table.row([vec![text(&row, "id"), time(&row, "received_at")], cells.to_vec()].concat());
    });
    list.await?;
    if !answer.json {
        if rows == 0 { say!("no rejected requests") } else { say!("{table}") }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(id: &str, answer: &Answer) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/rejected/{}", escaped(id));
    let request = answer.at.connect()?.ask(Method::GET, &path, |request| request).await?;
    if answer.json {
        say!("{request}");
        return Ok(ExitCode::SUCCESS);
    }
    for field in ["id", "source", "received_at", "code", "message", "request_id", "method", "target", "body_bytes"] {
        say!("{field:<12} {}", printable(&text(&request, field)));
    }
    say!("\nheaders");
    for header in request["headers"].as_array().into_iter().flatten() {
        say!("  {}: {}", printable(header[0].as_str().unwrap_or("")), printable(header[1].as_str().unwrap_or("")));
    }
    let sealed = request["sealed"].as_array().cloned().unwrap_or_default();
    if !sealed.is_empty() {
        say!("\ncredentials that are not kept");
        sealed.iter().for_each(|seal| say!("  {} for {}", text(seal, "marker"), printable(&text(seal, "at"))));
    }
    say!("\nbody\n{}", printable(&text(&request, "body")));
    Ok(ExitCode::SUCCESS)
}

/// In parts, the oldest first, so that no request takes long.
async fn release(ids: Vec<String>, source: Option<String>, answer: &Answer) -> anyhow::Result<ExitCode> {
    let admin = answer.at.connect()?;
    let ids = match source {
        None => ids,
        Some(source) => {
            let mut all = Vec::new();
            admin.list("/v1/rejected", &[("source", source)], u32::MAX, |row| all.push(text(&row, "id"))).await?;
            all.reverse();
            all
        }
    };
    let (mut released, mut refused) = (0, Vec::new());
    for part in ids.chunks(CHUNK) {
        let ask = admin.ask(Method::POST, "/v1/rejected/release", |request| request.json(&json!({ "ids": part })));
        let done = ask.await?;
        released += done["released"].as_array().map_or(0, Vec::len);
        refused.extend(done["refused"].as_array().cloned().unwrap_or_default());
    }
    if answer.json {
        say!("{}", json!({ "released": released, "refused": refused }));
    } else {
        refused.iter().for_each(say_refused);
        say!("released {released} of {}", ids.len());
    }
    if !refused.is_empty() && released == 0 && !answer.json {
        bail!("none verifies; `tidegate explain ID` says why");
    }
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(process::EXIT_FAILURE) })
}

fn say_refused(refused: &Value) {
    say!(
        "still refused: {}: {} ({})",
        text(refused, "id"),
        printable(&text(refused, "message")),
        text(refused, "code")
    );
}
