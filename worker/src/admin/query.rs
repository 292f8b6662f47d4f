//! Reads the parameters of lists and filters, and says which one is wrong.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidegate_shared::event::{HandlerName, SourceName};
use tidegate_shared::ledger::{DeadLetterFilter, EventFilter, Page, Status};
use utoipa::{IntoParams, ToSchema};

use super::AdminError;

/// Rows of a page where none is asked for.
const LIMIT_USUAL: u32 = 50;
/// Rows of a page at most.
pub(super) const LIMIT_MAX: u32 = 1_000;

/// Parameters of `GET /v1/events`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Of this source only.
    source: Option<String>,
    /// With this status only: accepted, applied, compensated, retrying or dead.
    status: Option<String>,
    /// Rows of the page: 50 where nothing is said.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which dead letters: parameters of `GET /v1/dead-letters`, and part of the body of a replay.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadLetterQuery {
    /// Of this handler only.
    handler: Option<String>,
    /// Of this source only.
    source: Option<String>,
    /// Given up at or after this time.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Given up before this time.
    #[param(format = DateTime)]
    until: Option<String>,
    /// Rows of the page: 50 where nothing is said.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rows<T> {
    /// The rows.
    pub(super) items: Vec<T>,
    /// Give it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_cursor: Option<String>,
}

impl EventQuery {
    pub(super) fn filter(&self) -> Result<EventFilter, AdminError> {
        Ok(EventFilter { source: source(self.source.as_deref())?, status: status(self.status.as_deref())? })
    }

    pub(super) fn page(&self) -> Result<Page, AdminError> {
        page(self.limit, self.cursor.as_deref())
    }
}

impl DeadLetterQuery {
    pub(super) fn filter(&self) -> Result<DeadLetterFilter, AdminError> {
        filter(
            Vec::new(),
            self.handler.as_deref(),
            self.source.as_deref(),
            self.since.as_deref(),
            self.until.as_deref(),
        )
    }

    pub(super) fn page(&self) -> Result<Page, AdminError> {
        page(self.limit, self.cursor.as_deref())
    }
}

/// Makes a filter of its parts.
pub(super) fn filter(
    ids: Vec<String>,
    handler: Option<&str>,
    of: Option<&str>,
    since: Option<&str>,
    until: Option<&str>,
) -> Result<DeadLetterFilter, AdminError> {
    let handler = handler.map(HandlerName::try_new).transpose();
    Ok(DeadLetterFilter {
        ids,
        handler: handler.map_err(|error| bad("handler", &error))?,
        source: source(of)?,
        since: time("since", since)?,
        until: time("until", until)?,
    })
}

/// Cuts a page to its rows and says where the next one begins.
pub(super) fn rows<T>(items: Vec<T>, page: Page, cursor: impl Fn(&T) -> i64) -> Rows<T> {
    let full = items.len() >= usize::try_from(page.limit).unwrap_or(usize::MAX);
    let next_cursor = items.last().filter(|_| full).map(|last| cursor(last).to_string());
    Rows { items, next_cursor }
}

fn page(limit: Option<u32>, cursor: Option<&str>) -> Result<Page, AdminError> {
    let limit = limit.unwrap_or(LIMIT_USUAL);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(AdminError::BadRequest(format!("limit: expected 1 to {LIMIT_MAX}, found {limit}")));
    }
    let after = cursor.map(str::parse).transpose().map_err(|error| bad("cursor", &error))?;
    Ok(Page { limit, after })
}

fn source(text: Option<&str>) -> Result<Option<SourceName>, AdminError> {
    text.map(SourceName::try_new).transpose().map_err(|error| bad("source", &error))
}

fn status(text: Option<&str>) -> Result<Option<Status>, AdminError> {
    let Some(text) = text else { return Ok(None) };
    let found = Status::ALL.into_iter().find(|status| status.as_str() == text);
    let words = Status::ALL.map(Status::as_str).join(", ");
    found.map(Some).ok_or_else(|| AdminError::BadRequest(format!("status: expected one of {words}, found {text:?}")))
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, AdminError> {
    text.map(str::parse).transpose().map_err(|error| bad(name, &error))
}

fn bad(name: &str, error: &dyn std::fmt::Display) -> AdminError {
    AdminError::BadRequest(format!("{name}: {error}"))
}
