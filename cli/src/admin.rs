//! The admin API as the operator's commands use it.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde_json::Value;
use tidegate_shared::config::{self, Backend};
use tidegate_shared::environment;
use tidegate_shared::problem::Problem;
use tidegate_shared::signature::Secret;
use url::Url;

/// The environment variable with the admin token.
const TOKEN: &str = "TIDEGATE_ADMIN_TOKEN";
const USUAL: &str = "http://127.0.0.1:3001";
const USUAL_INGEST: &str = "http://127.0.0.1:3003";
/// Rows of one page.
pub(crate) const PAGE: u32 = 200;

/// Where the admin API is.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// The admin API's URL [default: http://127.0.0.1:3001]. Its token comes from TIDEGATE_ADMIN_TOKEN.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// The configuration to find the admin API and its token in.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
}

/// Where the admin listener of an ingest process is.
#[derive(Debug, Args)]
pub(crate) struct AtIngest {
    /// The URL of the ingest's admin listener [default: http://127.0.0.1:3003]. Its token comes from
    /// TIDEGATE_ADMIN_TOKEN.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// The configuration to find ingest.admin and the token in.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
}

/// Where the admin API of whatever receives is: of an ingest process, or of the one process of `tidegate dev`.
#[derive(Debug, Args)]
pub(crate) struct AtDoor {
    /// The URL of the admin API of `tidegate dev`, or of the ingest's admin listener [default: http://127.0.0.1:3001]. Its
    /// token comes from TIDEGATE_ADMIN_TOKEN.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// The configuration to find it and its token in: admin.listen where the backend is embedded, else ingest.admin.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    pub(crate) config: Option<PathBuf>,
}

/// A client of the admin API.
#[derive(Debug)]
pub(crate) struct Admin {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret>,
    /// Who else may have what is not found, where nobody said whom to ask.
    elsewhere: Option<&'static str>,
}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Rows {
    pub(crate) items: Vec<Value>,
    pub(crate) next_cursor: Option<String>,
}

impl At {
    pub(crate) fn connect(&self) -> anyhow::Result<Admin> {
        match &self.config {
            Some(path) => {
                let admin = config::load(path)?.admin;
                Admin::try_new(&admin.listen.to_string(), admin.token)
            }
            None => Admin::try_new(self.admin.as_deref().unwrap_or(USUAL), None),
        }
    }
}

impl AtIngest {
    pub(crate) fn connect(&self) -> anyhow::Result<Admin> {
        match &self.config {
            Some(path) => {
                let config = config::load(path)?;
                Admin::try_new(&config.ingest.admin.to_string(), config.admin.token)
            }
            None => Admin::try_new(self.admin.as_deref().unwrap_or(USUAL_INGEST), None),
        }
    }
}

impl AtDoor {
    pub(crate) fn connect(&self) -> anyhow::Result<Admin> {
        match &self.config {
            Some(path) => {
                let config = config::load(path)?;
                let listen = match config.backend {
                    Backend::Embedded { .. } => config.admin.listen,
                    Backend::Distributed(_) => config.ingest.admin,
                };
                Admin::try_new(&listen.to_string(), config.admin.token)
            }
            None => {
                let admin = Admin::try_new(self.admin.as_deref().unwrap_or(USUAL), None)?;
                Ok(Admin { elsewhere: self.admin.is_none().then_some(USUAL_INGEST), ..admin })
            }
        }
    }
}

impl Admin {
    fn try_new(base: &str, token: Option<Secret>) -> anyhow::Result<Self> {
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        let base = Url::parse(&base).with_context(|| format!("{base:?} is not a URL"))?;
        let token = token.or_else(|| environment::variable(TOKEN).map(Secret::new));
        Ok(Self { http: reqwest::Client::builder().no_proxy().build()?, base, token, elsewhere: None })
    }

    /// Asks, and reads the answer or the problem in it.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> anyhow::Result<Value> {
        let request = self.http.request(method, self.base.join(path)?);
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        let response = with(request).send().await.map_err(|error| {
            let hint = "is Tidegate running there? Name another address with --admin URL or --config FILE";
            anyhow::Error::from(error.without_url()).context(format!("no answer from {}; {hint}", self.base))
        })?;
        let status = response.status();
        let body = response.bytes().await?;
        if status.is_success() {
            return Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? });
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if problem.error.code == "unauthorized" => {
                bail!("{}; put the token into {TOKEN}, or name the configuration with --config", problem.error.message)
            }
            Ok(problem) => bail!("{}", said(&problem, self.elsewhere)),
            Err(_) => bail!("{} answered {status}; is that Tidegate's admin API?", self.base),
        }
    }

    /// Reads rows of a list page by page, at most `limit`, and gives each to `each`.
    pub(crate) async fn list(
        &self,
        path: &str,
        query: &[(&str, String)],
        limit: u32,
        mut each: impl FnMut(Value),
    ) -> anyhow::Result<()> {
        let (mut left, mut cursor) = (limit, None::<String>);
        while left > 0 {
            let page = left.min(PAGE);
            let answer = self.ask(Method::GET, path, |request| {
                let request = request.query(query).query(&[("limit", page.to_string())]);
                match &cursor {
                    Some(cursor) => request.query(&[("cursor", cursor)]),
                    None => request,
                }
            });
            let rows: Rows = serde_json::from_value(answer.await?)?;
            left = left.saturating_sub(u32::try_from(rows.items.len()).unwrap_or(u32::MAX));
            rows.items.into_iter().for_each(&mut each);
            match rows.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

/// A problem as text for people, and whom else to ask where it is that there is nothing.
fn said(problem: &Problem, elsewhere: Option<&str>) -> String {
    let said = format!("{} ({})", problem.error.message, problem.error.code);
    match elsewhere.filter(|_| problem.error.code == "not_found") {
        Some(url) => format!("{said}; an ingest by itself is asked with --admin {url}, or with --config FILE"),
        None => said,
    }
}

/// A field of a row as text for people.
pub(crate) fn text(row: &Value, field: &str) -> String {
    match &row[field] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    }
}

/// A time of a row, to the second.
pub(crate) fn time(row: &Value, field: &str) -> String {
    let full = text(row, field);
    full.parse::<jiff::Timestamp>().map_or(full, |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_was_named_for_and_is_not_found_is_looked_for_at_an_ingest() {
        let problem = |code: &str| Problem::new(code, "nothing is here".to_owned(), "r-1");
        let (absent, other) = (problem("not_found"), problem("unavailable"));
        assert!(said(&absent, Some(USUAL_INGEST)).contains("--admin http://127.0.0.1:3003"));
        assert_eq!(said(&absent, None), "nothing is here (not_found)");
        assert_eq!(said(&other, Some(USUAL_INGEST)), "nothing is here (unavailable)");
    }
}
