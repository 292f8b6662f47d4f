//! `tidegate spool`: what waits on the machine of an ingest while the broker is away.

use std::process::ExitCode;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;
use tidegate_shared::process;

use crate::admin::{AtIngest, text, time};
use crate::out::say;
use crate::table::Table;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How many events wait, for how long, and whether more are taken.
    Status(Show),
    /// List waiting events, the oldest first.
    List {
        /// Events at most.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        show: Show,
    },
    /// Publish them now, those included that wait behind the others because the broker did not take them.
    Drain(Show),
}

#[derive(Debug, Args)]
struct Show {
    /// One object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: AtIngest,
}

pub(crate) fn spool(arguments: Arguments) -> ExitCode {
    process::exit_with(Ok(process::block_on(run(arguments.command))))
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Status(show) => {
            let status = show.at.connect()?.ask(Method::GET, "/v1/spool", |request| request).await?;
            say_status(&status, show.json);
        }
        Command::List { limit, show } => list(limit, &show).await?,
        Command::Drain(show) => {
            let status = show.at.connect()?.ask(Method::POST, "/v1/spool/drain", |request| request).await?;
            say_status(&status, show.json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn say_status(status: &Value, json: bool) {
    if json {
        return say!("{status}");
    }
    if status["state"] == "absent" {
        return say!("this ingest has no spool: no source has on_broker_down = \"spool\"");
    }
    let bytes = |field: &str| ByteSize::b(status[field].as_u64().unwrap_or(0));
    let seconds = |field: &str| status[field].as_f64().unwrap_or(0.0);
    let reason = status["reason"].as_str().map_or_else(String::new, |reason| format!(" ({reason})"));
    say!("spool {} in {}{reason}", text(status, "state"), text(status, "folder"));
    say!(
        "{} events wait, {} of {}, the oldest for {:.0} s of {:.0} s",
        text(status, "events"),
        bytes("bytes"),
        bytes("bytes_max"),
        seconds("oldest_age_seconds"),
        seconds("age_max_seconds")
    );
    if status["behind"].as_u64().is_some_and(|behind| behind > 0) {
        say!("{} of them the broker did not take; `tidegate spool list` says why", text(status, "behind"));
    }
}

async fn list(limit: u32, show: &Show) -> anyhow::Result<()> {
    let admin = show.at.connect()?;
    let mut table = Table::new(&["spooled at", "source", "event id", "type", "bytes", "tries", "why"]);
    let mut rows = 0;
    let list = admin.list("/v1/spool/events", &[], limit, |row| {
        rows += 1;
        if show.json {
            return say!("{row}");
        }
        let cells = ["source", "event_id", "event_type", "bytes", "tries", "reason"].map(|field| text(&row, field));
        table.row(std::iter::once(time(&row, "spooled_at")).chain(cells).collect());
    });
    list.await?;
    if !show.json {
        if rows == 0 { say!("nothing waits") } else { say!("{table}") }
    }
    Ok(())
}
