//! `GET /v1/events` and `GET /v1/events/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Serialize;
use serde_json::Value;
use tidegate_shared::event::{BodyHash, BodyKey, SourceName};
use tidegate_shared::ledger::{EventDetail, EventRow};
use tidegate_shared::problem::Problem;
use tidegate_shared::telemetry::chain;
use tidegate_shared::wire::fingerprint_in;
use utoipa::ToSchema;

use super::query::{EventQuery, Rows, rows};
use super::{Admin, AdminError};

/// Events, newest first.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "admin",
    operation_id = "list_events",
    params(EventQuery),
    responses(
        (status = 200, description = "A page of events.", body = Rows<EventRow>),
        (status = 400, description = "`bad_request`: a parameter is wrong.", body = Problem),
        (status = 401, description = "`unauthorized`: not the admin token.", body = Problem),
        (status = 503, description = "`unavailable`: the ledger cannot be reached.", body = Problem)
    ),
    security((), ("admin_token" = []))
)]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    query: Result<Query<EventQuery>, QueryRejection>,
) -> Result<Json<Rows<EventRow>>, AdminError> {
    let Query(query) = query.map_err(|error| AdminError::BadRequest(error.body_text()))?;
    let page = query.page()?;
    let events = admin.parts.ledger.events(query.filter()?, page).await?;
    Ok(Json(rows(events, page, |event| event.cursor)))
}

/// An event with its headers and body, where the event log kept them.
#[derive(Serialize, ToSchema)]
pub(super) struct EventView {
    #[serde(flatten)]
    detail: EventDetail,
    headers: Option<Vec<(String, String)>>,
    body: Option<Value>,
    /// The id under which this body was received before, by a source whose signature does not hold the id: possibly this
    /// is a replay of that event. `null` where there was none, and where that is not known any more.
    possible_replay_of: Option<String>,
}

/// Answers with every event that has this key or this provider's id: several sources may have used one.
#[utoipa::path(
    get,
    path = "/v1/events/{id}",
    tag = "admin",
    operation_id = "show_event",
    params(("id" = String, Path, description = "An event's key, or the provider's id.")),
    responses(
        (status = 200, description = "Every event of that id, with its whole story.", body = Rows<EventView>),
        (status = 401, description = "`unauthorized`: not the admin token.", body = Problem),
        (status = 404, description = "`not_found`: there is no such event.", body = Problem),
        (status = 503, description = "`unavailable`: the ledger cannot be reached.", body = Problem)
    ),
    security((), ("admin_token" = []))
)]
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<Rows<EventView>>, AdminError> {
    let found = admin.parts.ledger.event(id.clone()).await?;
    if found.is_empty() {
        return Err(AdminError::NotFound { what: "event", id });
    }
    let mut items = Vec::with_capacity(found.len());
    for detail in found {
        let content = detail.content.as_ref();
        items.push(EventView {
            headers: content.map(|content| headers_view(&content.headers)),
            body: content.map(|content| body_view(&content.body)),
            possible_replay_of: admin.first_with_body_of(&detail).await,
            detail,
        });
    }
    Ok(Json(Rows { items, next_cursor: None }))
}

impl Admin {
    /// The other id under which the event's body was accepted first, where its source is watched for replays.
    async fn first_with_body_of(&self, detail: &EventDetail) -> Option<String> {
        let source = SourceName::try_new(detail.row.source.as_str()).ok()?;
        let content = detail.content.as_ref().filter(|_| self.watched.contains(&source))?;
        let fingerprint = fingerprint_in(&content.headers).unwrap_or_else(|| BodyHash::of(&content.body));
        let body = BodyKey::new(&source, &fingerprint);
        match self.parts.claims.first_id(&body).await {
            Ok(first) => first.map(|id| id.as_str().to_owned()).filter(|first| *first != detail.row.event_id),
            Err(error) => {
                tracing::debug!(error = %chain(&error), "whether an event's body came before is not known");
                None
            }
        }
    }
}

/// The provider's own headers, as text.
pub(super) fn headers_view(headers: &[(String, bytes::Bytes)]) -> Vec<(String, String)> {
    let own = headers.iter().filter_map(|(name, value)| Some((name.strip_prefix("http-")?, value)));
    own.map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned())).collect()
}

/// The body as text, or as `{"base64": …}` where it is not UTF-8: an operator must get the exact bytes.
pub(super) fn body_view(body: &[u8]) -> Value {
    use base64::Engine as _;
    match std::str::from_utf8(body) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => serde_json::json!({ "base64": base64::engine::general_purpose::STANDARD.encode(body) }),
    }
}
