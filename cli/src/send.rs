//! `tidegate send`: sends an event as its provider would, and prints each answer.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde_json::Value;
use tidegate_shared::config::{self, Config, DEVELOPMENT_SECRET};
use tidegate_shared::event::SourceName;
use tidegate_shared::process;
use tidegate_shared::provider::preset;
use tidegate_shared::signature::{Composed, Location, Piece, PublicUrl, Scheme, Secret, ToSign};
use url::{Position, Url};

use crate::out::say;
use crate::sample;

/// The type of a body that is a form.
const FORM: &str = "application/x-www-form-urlencoded";
/// How much older than its provider's tolerance a request is that is sent with `--stale`.
const STALE: Duration = Duration::from_secs(3_600);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The source's name: the last part of its URL.
    source: String,
    /// Where to send to [default: the address in --config, or http://127.0.0.1:3000].
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The secret to sign with [default: the development secret].
    #[arg(long, value_name = "S", conflicts_with = "config")]
    secret: Option<String>,
    /// The configuration that has the source with its secret.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The event's id [default: a new one].
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The event's type [default: the sample's].
    #[arg(long = "type", value_name = "T")]
    event_type: Option<String>,
    /// A file with the body.
    #[arg(long, value_name = "F", conflicts_with = "sample")]
    file: Option<PathBuf>,
    /// A real payload that is part of the program, such as push or payment_intent.succeeded.
    #[arg(long, value_name = "NAME")]
    sample: Option<String>,
    /// Events to send, each with an id of its own.
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u32,
    /// Change the body after signing.
    #[arg(long)]
    tamper: bool,
    /// Sign with a time an hour ago.
    #[arg(long)]
    stale: bool,
    /// Send every event twice.
    #[arg(long)]
    duplicate: bool,
}

/// Where to send to and how to sign.
struct Target {
    url: Url,
    provider: String,
    scheme: Scheme,
    secret: Secret,
}

pub(crate) fn send(arguments: Arguments) -> ExitCode {
    process::exit_with(match arguments.target() {
        Ok(target) => Ok(process::block_on(run(arguments, target))),
        Err(Mistake::Config(mistakes)) => Err(mistakes),
        Err(Mistake::Other(error)) => Ok(Err(error)),
    })
}

enum Mistake {
    Config(config::ConfigError),
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Mistake {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Arguments {
    fn target(&self) -> Result<Target, Mistake> {
        let name = SourceName::try_new(&self.source)?;
        let config = match &self.config {
            Some(path) => config::load(path).map_err(Mistake::Config)?,
            None => Config::development(),
        };
        let url = self.url(&config)?;
        if let Some(source) = config.sources.get(&name) {
            let live = || source.live_secrets(Timestamp::now()).next().cloned();
            let secret = self.secret.clone().map(Secret::new).or_else(live);
            let secret = secret.with_context(|| format!("no secret of source {name} counts now"))?;
            let (provider, scheme) = (source.provider.clone(), source.scheme.clone());
            return Ok(Target { url, provider, scheme, secret });
        }
        if self.config.is_some() {
            let known: Vec<_> = config.sources.keys().map(SourceName::as_str).collect();
            return Err(anyhow::anyhow!("the configuration has no source {name}; it has {}", known.join(", ")).into());
        }
        let Some(preset) = preset(&self.source) else {
            return Err(anyhow::anyhow!("no provider is called {name}; name the configuration with --config").into());
        };
        let secret = Secret::new(self.secret.clone().unwrap_or_else(|| DEVELOPMENT_SECRET.to_owned()));
        let scheme = Scheme { url: PublicUrl::base(&url.join("/")?), ..preset.scheme() };
        Ok(Target { url, provider: preset.name.to_owned(), scheme, secret })
    }

    /// A URL without a path gets the source's.
    fn url(&self, config: &Config) -> anyhow::Result<Url> {
        let base = self.url.clone().unwrap_or_else(|| format!("http://{}", config.ingest.listen));
        let mut url = Url::parse(&base).with_context(|| format!("{base:?} is not a URL"))?;
        if url.path() == "/" {
            url.set_path(&format!("/webhooks/{}", self.source));
        }
        Ok(url)
    }

    fn body(&self, provider: &str) -> anyhow::Result<Vec<u8>> {
        match (&self.file, self.sample.as_deref().or_else(|| sample::usual(provider))) {
            (Some(file), _) => std::fs::read(file).with_context(|| format!("cannot read {}", file.display())),
            (None, Some(name)) => sample::sample(provider, name),
            (None, None) => bail!("name a payload with --file or --sample"),
        }
    }

    /// For providers that keep the type in a header: what was asked for, or the sample's name.
    fn header_type(&self, provider: &str) -> Option<String> {
        let named = self.sample.as_deref().or(if self.file.is_none() { sample::usual(provider) } else { None });
        self.event_type.clone().or_else(|| Some(named?.split('#').next()?.to_owned()))
    }
}

async fn run(arguments: Arguments, target: Target) -> anyhow::Result<ExitCode> {
    if arguments.stale && target.scheme.timestamp.is_none() {
        bail!("{} signs no timestamp, so nothing can be stale", target.provider);
    }
    let template = arguments.body(&target.provider)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut all_accepted = true;
    for number in 0..arguments.count {
        let id = match &arguments.id {
            Some(id) if arguments.count == 1 => id.clone(),
            Some(id) => format!("{id}-{number}"),
            None => new_id(&target.provider),
        };
        let request = target.sign(&arguments, &template, &id)?;
        for _ in 0..if arguments.duplicate { 2 } else { 1 } {
            all_accepted &= send_one(&client, &request).await?;
        }
    }
    Ok(if all_accepted { ExitCode::SUCCESS } else { ExitCode::from(process::EXIT_FAILURE) })
}

/// A signed request, to be sent once or twice.
struct Request {
    url: Url,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Target {
    fn sign(&self, arguments: &Arguments, template: &[u8], id: &str) -> anyhow::Result<Request> {
        // Before the body is held to a shape that it would have no use for.
        self.scheme.check_signed_here()?;
        let mut body = template.to_vec();
        // Providers that keep these in the body have them there, and nowhere else.
        if !has_header(&self.scheme.id) {
            body = with_field(&body, &self.scheme.id, id)?;
        }
        if let Some(event_type) = &arguments.event_type
            && !has_header(&self.scheme.event_type)
        {
            body = with_field(&body, &self.scheme.event_type, event_type)?;
        }
        let event_type = arguments.header_type(&self.provider);
        let tolerance = self.scheme.timestamp.as_ref().map_or(Duration::ZERO, |rule| rule.tolerance);
        let timestamp = if arguments.stale { Timestamp::now() - (tolerance + STALE) } else { Timestamp::now() };
        let target = &self.url[Position::BeforePath..Position::AfterQuery];
        let message = ToSign { body: &body, target, id: Some(id), event_type: event_type.as_deref(), timestamp };
        let signed = self.scheme.sign(&self.secret, &message)?;
        let url = self.url.join(&signed.target)?;
        let (mut headers, mut body) = (signed.headers, signed.body.into_owned());
        let content_type = if is_form(&self.scheme) { FORM } else { "application/json" };
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        if arguments.tamper {
            body.push(b' ');
        }
        Ok(Request { url, headers, body })
    }
}

fn has_header(names: &[Composed]) -> bool {
    names.first().and_then(Composed::single).is_some_and(|location| location.header().is_some())
}

fn is_form(scheme: &Scheme) -> bool {
    scheme
        .signature
        .iter()
        .chain(scheme.id.iter().flat_map(Composed::parts))
        .any(|place| matches!(place, Location::Form(_)))
        || scheme.template.has(&Piece::FormSorted)
        || scheme.template.has(&Piece::FormPhp)
}

/// Writes a top-level field of a JSON body, leaving every other byte as it is.
fn with_field(body: &[u8], names: &[Composed], value: &str) -> anyhow::Result<Vec<u8>> {
    let pointer = names.iter().flat_map(Composed::parts).find_map(|part| part.pointer().map(ToString::to_string));
    let Some(pointer) = pointer else { return Ok(body.to_vec()) };
    let text = std::str::from_utf8(body).context("the body is not text")?;
    let parsed: Value = serde_json::from_str(text).context("the body is not JSON, so it has no place for an id")?;
    let new = Value::from(value).to_string();
    let field = pointer.trim_start_matches('/');
    match parsed.pointer(&pointer) {
        Some(Value::String(old)) => Ok(text.replacen(&Value::from(old.as_str()).to_string(), &new, 1).into_bytes()),
        None if parsed.is_object() && !field.contains('/') => {
            let comma = if parsed.as_object().is_some_and(serde_json::Map::is_empty) { "" } else { ", " };
            Ok(text.replacen('{', &format!("{{{}: {new}{comma}", Value::from(field)), 1).into_bytes())
        }
        Some(_) | None => bail!("the body has no text at {pointer}"),
    }
}

/// An id in the provider's own form.
fn new_id(provider: &str) -> String {
    let id = uuid::Uuid::now_v7();
    match provider {
        "github" => id.to_string(),
        "standard-webhooks" => format!("msg_{}", id.simple()),
        _ => format!("evt_{}", id.simple()),
    }
}

async fn send_one(client: &reqwest::Client, request: &Request) -> anyhow::Result<bool> {
    let started = Instant::now();
    let sent = client.post(request.url.clone()).headers(request.headers.clone()).body(request.body.clone()).send();
    let response = sent.await.map_err(|error| {
        anyhow::Error::from(error.without_url())
            .context(format!("no answer from {}; is Tidegate running?", request.url))
    })?;
    let status = response.status();
    let answer: Value = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
    let ms = started.elapsed().as_millis();
    match answer["error"]["code"].as_str() {
        Some(code) => {
            say!("{} {code}: {} ({ms} ms)", status.as_u16(), answer["error"]["message"].as_str().unwrap_or(""))
        }
        None => say!(
            "{} {} {} request {} ({ms} ms)",
            status.as_u16(),
            answer["status"].as_str().unwrap_or("-"),
            answer["event_id"].as_str().unwrap_or("-"),
            answer["request_id"].as_str().unwrap_or("-"),
        ),
    }
    Ok(status.is_success())
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    #[test]
    fn what_only_the_provider_can_sign_is_said_before_the_body_is_looked_at() {
        for (provider, expected) in [("wix", "private key"), ("discord", "private key"), ("adyen", "adyen")] {
            let scheme = preset(provider).expect("a preset").scheme();
            let url = Url::parse("http://127.0.0.1:3000/webhooks/a").expect("a URL");
            let secret = Secret::new("a secret of the test".to_owned());
            let target = Target { url, provider: provider.to_owned(), scheme, secret };
            let matches = Arguments::augment_args(clap::Command::new("send")).get_matches_from(["send", "a"]);
            let arguments = Arguments::from_arg_matches(&matches).expect("arguments");
            let refused = target.sign(&arguments, b"no JSON", "evt_1").err().expect("refused").to_string();
            assert!(refused.contains(expected) && !refused.contains("body"), "{refused}");
        }
    }

    #[test]
    fn a_field_is_written_and_no_other_byte() {
        let locations = ["json:/id".parse().expect("a location")];
        let check = |body: &str, expected: &str| {
            let written = with_field(body.as_bytes(), &locations, "new").expect("the field is written");
            assert_eq!(String::from_utf8(written).expect("text"), expected);
        };
        check("{\n  \"id\": \"old\",\n  \"b\": 1.0\n}", "{\n  \"id\": \"new\",\n  \"b\": 1.0\n}");
        check("{\"b\": 1}", "{\"id\": \"new\", \"b\": 1}");
        check("{}", "{\"id\": \"new\"}");
        assert!(with_field(b"[1]", &locations, "new").is_err());
    }
}
