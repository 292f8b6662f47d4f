//! `tidegate explain`: why a request did not verify.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method as HttpMethod};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tidegate_ingest::offered::with_offered;
use tidegate_shared::config::{self, Config, SourceConfig};
use tidegate_shared::event::SourceName;
use tidegate_shared::process;
use tidegate_shared::signature::Received;
use tidegate_shared::signature::explain::{Question, Suspect, explain as explain_request};

use crate::admin::{AtDoor, text};
use crate::events::escaped;
use crate::out::say;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The rejected request's id.
    #[arg(required_unless_present = "file")]
    id: Option<String>,
    /// A file with the request as it was sent: request line, headers, an empty line, body. Nobody is asked: --config has
    /// the source.
    #[arg(long, value_name = "FILE", requires_all = ["source", "config"], conflicts_with = "id")]
    file: Option<PathBuf>,
    /// The source that it was sent to.
    #[arg(long, value_name = "S", requires = "file")]
    source: Option<String>,
    /// When it was received, such as 2026-11-22T10:00:00Z [default: now].
    #[arg(long, value_name = "T", requires = "file")]
    received_at: Option<Timestamp>,
    /// As one object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: AtDoor,
}

pub(crate) fn explain(arguments: &Arguments) -> ExitCode {
    match (&arguments.file, &arguments.at.config) {
        (Some(file), Some(path)) => process::exit_with(config::load(path).map(|config| -> anyhow::Result<ExitCode> {
            let request = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let found = offline(arguments, &config, &request)?;
            Ok(say_explanation(&found, arguments.json))
        })),
        (Some(_), None) | (None, _) => process::exit_with(Ok(process::block_on(ask(arguments)))),
    }
}

async fn ask(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some(id) = &arguments.id else { bail!("name the request by its id, or a file with --file and --config") };
    let path = format!("/v1/rejected/{}/explain", escaped(id));
    let found = arguments.at.connect()?.ask(Method::POST, &path, |request| request).await?;
    Ok(say_explanation(&found, arguments.json))
}

fn say_explanation(found: &Value, json: bool) -> ExitCode {
    if json {
        say!("{found}");
    } else {
        say!("{}\n{}", text(found, "why"), text(found, "advice"));
    }
    ExitCode::SUCCESS
}

fn offline(arguments: &Arguments, config: &Config, request: &[u8]) -> anyhow::Result<Value> {
    let name = SourceName::try_new(arguments.source.as_deref().unwrap_or_default())?;
    let Some(source) = config.sources.get(&name) else {
        let known: Vec<_> = config.sources.keys().map(SourceName::as_str).collect();
        bail!("the configuration has no source {name}; it has {}", known.join(", "));
    };
    let offered = with_offered(source)?;
    let source = offered.as_ref().unwrap_or(source);
    let request = Request::read(request)?;
    let others: Vec<Suspect<'_>> =
        config.sources.values().filter(|other| other.name != name).map(SourceConfig::suspect).collect();
    let Request { method, target, headers, body } = &request;
    let cause = explain_request(&Question {
        received: Received { method, target, headers, body },
        received_at: arguments.received_at.unwrap_or_else(Timestamp::now),
        source: source.suspect(),
        verifier: &source.verifier,
        others: &others,
        key: Err("with --file nobody is asked for it"),
    });
    Ok(json!(cause.explanation()))
}

/// A request in a file.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    method: HttpMethod,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    /// Reads a request as HTTP/1.1 writes it; lines may end with LF alone, as editors write them.
    fn read(text: &[u8]) -> anyhow::Result<Self> {
        let (head, body) = split_head(text).context("there is no empty line between headers and body")?;
        let head = std::str::from_utf8(head).context("the headers are not text")?;
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().split_ascii_whitespace();
        let (Some(method), Some(target)) = (first.next(), first.next()) else {
            bail!("the first line must be like: POST /webhooks/github HTTP/1.1");
        };
        let mut headers = HeaderMap::new();
        for (number, line) in (2..).zip(lines) {
            let (name, value) = line.split_once(':').with_context(|| format!("line {number} is no header"))?;
            headers.append(HeaderName::try_from(name.trim())?, HeaderValue::try_from(value.trim())?);
        }
        // Editors add a line feed that was never sent.
        let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let sent = length.and_then(|length| body.split_at_checked(length));
        let body = match sent {
            Some((sent, rest)) if rest.trim_ascii().is_empty() => sent,
            Some(_) | None => body,
        };
        let target = match target.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])) {
            Some(path) => path.to_owned(),
            None => target.to_owned(),
        };
        Ok(Self { method: method.parse()?, target, headers, body: body.to_vec() })
    }
}

/// What stands before the first empty line, and what stands behind it.
fn split_head(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let ends = [&b"\r\n\r\n"[..], b"\n\n"].into_iter().filter_map(|end| {
        let at = text.windows(end.len()).position(|window| window == end)?;
        Some((at, end.len()))
    });
    let (at, length) = ends.min()?;
    Some((&text[..at], &text[at + length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_however_its_lines_end() {
        let check = |text: &str, body: &str| {
            let request = Request::read(text.as_bytes()).expect("a request");
            assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/w/s?a=1"), "{text:?}");
            assert_eq!(request.headers["x-a"], "1:2", "{text:?}");
            assert_eq!(String::from_utf8(request.body).expect("text"), body);
        };
        check("POST /w/s?a=1 HTTP/1.1\r\nX-A: 1:2\r\n\r\n{\n}", "{\n}");
        check("POST /w/s?a=1 HTTP/1.1\nX-A: 1:2\n\n{\n\n}\n", "{\n\n}\n");
        check("POST https://h.example/w/s?a=1\nx-a: 1:2\ncontent-length: 2\n\n{}\n", "{}");
        check("POST /w/s?a=1 HTTP/1.1\nx-a: 1:2\ncontent-length: 2\n\n{} more", "{} more");
        for bad in ["", "POST\n\n", "POST / HTTP/1.1\nx", "POST / HTTP/1.1\nno header\n\n"] {
            assert!(Request::read(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
