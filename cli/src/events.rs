//! `tidegate events`: the events of the ledger, newest first.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;
use tidegate_shared::process;

use crate::admin::{Admin, At, text, time};
use crate::dead::printable;
use crate::out::say;
use crate::table::Table;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Of this source only.
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// With this status only.
    #[arg(long, value_name = "STATUS", value_parser = ["accepted", "applied", "compensated", "retrying", "dead"])]
    status: Option<String>,
    /// Events at most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// One object a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One event with its whole story.
    Show {
        /// The provider's id, or the event's key.
        id: String,
        #[command(flatten)]
        at: At,
    },
}

pub(crate) fn events(arguments: Arguments) -> ExitCode {
    process::exit_with(Ok(process::block_on(run(arguments))))
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Some(Command::Show { id, at }) = &arguments.command {
        return show(&at.connect()?, id, arguments.json).await;
    }
    let query = [("source", &arguments.source), ("status", &arguments.status)];
    let query: Vec<_> = query.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    let mut rows = Vec::new();
    arguments.at.connect()?.list("/v1/events", &query, arguments.limit, |row| rows.push(row)).await?;
    if arguments.json {
        rows.iter().for_each(|row| say!("{row}"));
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        say!("no events; send one: tidegate send github --sample push");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["RECEIVED", "SOURCE", "TYPE", "EVENT ID", "STATUS", "HANDLERS"]);
    for row in &rows {
        let cells = ["source", "event_type", "event_id", "status"].map(|field| text(row, field));
        table.row([vec![time(row, "received_at")], cells.to_vec(), vec![handlers(row)]].concat());
    }
    say!("{table}");
    Ok(ExitCode::SUCCESS)
}

async fn show(admin: &Admin, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let found = admin.ask(Method::GET, &format!("/v1/events/{}", escaped(id)), |request| request).await?;
    for (place, event) in found["items"].as_array().into_iter().flatten().enumerate() {
        if json {
            say!("{event}");
            continue;
        }
        if place > 0 {
            say!();
        }
        story(event);
    }
    Ok(ExitCode::SUCCESS)
}

fn story(event: &Value) {
    for field in ["event_id", "source", "event_type", "received_at", "status", "key", "request_id", "content_type"] {
        say!("{field:<12} {}", printable(&text(event, field)));
    }
    say!("{:<12} {}", "handlers", handlers(event));
    if let Some(first) = event["possible_replay_of"].as_str() {
        say!("{:<12} possibly of {}, which came with this body before", "replay", printable(first));
    }
    for part in event["failed_attempts"].as_array().into_iter().flatten() {
        say!("\nfailed attempts of {}", text(part, "handler"));
        for attempt in part["attempts"].as_array().into_iter().flatten() {
            let error = printable(&text(attempt, "error"));
            say!("  {:>3}  {}  {error}", text(attempt, "attempt"), time(attempt, "at"));
        }
    }
    for part in event["steps"].as_array().into_iter().flatten() {
        say!("\nsteps of {}\n{}", text(part, "handler"), steps(part));
    }
    if let Some(headers) = event["headers"].as_array() {
        say!("\nheaders");
        for header in headers {
            say!("  {}: {}", printable(header[0].as_str().unwrap_or("")), printable(header[1].as_str().unwrap_or("")));
        }
        say!("\nbody\n{}", printable(&text(event, "body")));
    }
}

/// The steps of one handler, without their results: those may be long, and are for programs.
fn steps(part: &Value) -> Table {
    let mut table = Table::new(&["TIME", "STEP", "OUTCOME", "ATTEMPT"]);
    for step in part["steps"].as_array().into_iter().flatten() {
        table.row(vec![time(step, "at"), text(step, "step"), outcome(step), text(step, "attempt")]);
    }
    table
}

/// `done`, `undone`, `rejected: card declined` or `not undone: too late`.
fn outcome(step: &Value) -> String {
    match (step["outcome"].as_str(), step["undo"].as_bool().unwrap_or(false)) {
        (Some("done"), true) => "undone".to_owned(),
        (Some("rejected"), true) => format!("not undone: {}", text(step, "reason")),
        (Some("rejected"), false) => format!("rejected: {}", text(step, "reason")),
        (Some(_) | None, _) => text(step, "outcome"),
    }
}

/// `archive applied, orders retrying (2)`: the number is of attempts, where there was more than one.
fn handlers(row: &Value) -> String {
    let part = |handler: &Value| {
        let attempts = handler["attempts"].as_u64().filter(|&attempts| attempts > 1);
        let attempts = attempts.map_or_else(String::new, |attempts| format!(" ({attempts})"));
        format!("{} {}{attempts}", text(handler, "handler"), text(handler, "status"))
    };
    let parts: Vec<_> = row["handlers"].as_array().into_iter().flatten().map(part).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

/// An id as one part of a URL's path.
pub(crate) fn escaped(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_say_how_they_ended() {
        let step = |name: &str, undo: bool, more: &[(&str, &str)]| {
            let mut step = json!({ "step": name, "undo": undo, "at": "2026-11-22T10:00:00Z", "attempt": 2 });
            more.iter().for_each(|(field, value)| step[*field] = json!(value));
            step
        };
        let part = json!({ "handler": "orders", "steps": [
            step("reserve", false, &[("outcome", "done"), ("result", "canary")]),
            step("charge", false, &[("outcome", "rejected"), ("reason", "card declined")]),
            step("reserve", true, &[("outcome", "done")]),
            step("notify", true, &[("outcome", "rejected"), ("reason", "too late")]),
        ] });
        let expected = "TIME                  STEP     OUTCOME                  ATTEMPT
2026-11-22 10:00:00Z  reserve  done                     2
2026-11-22 10:00:00Z  charge   rejected: card declined  2
2026-11-22 10:00:00Z  reserve  undone                   2
2026-11-22 10:00:00Z  notify   not undone: too late     2";
        assert_eq!(steps(&part).to_string(), expected);
    }
}
