//! `GET /v1/dead-letters`, `GET` and `DELETE /v1/dead-letters/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tidegate_shared::ledger::{AttemptRow, DeadLetterFilter, DeadLetterRow};
use tidegate_shared::problem::Problem;
use utoipa::ToSchema;

use super::events::{body_view, headers_view};
use super::query::{DeadLetterQuery, Rows, rows};
use super::{Admin, AdminError};

/// Dead letters, newest first.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    tag = "admin",
    operation_id = "list_dead_letters",
    params(DeadLetterQuery),
    responses(
        (status = 200, description = "A page of dead letters.", body = Rows<DeadLetterRow>),
        (status = 400, description = "`bad_request`: a parameter is wrong.", body = Problem),
        (status = 401, description = "`unauthorized`: not the admin token.", body = Problem),
        (status = 503, description = "`unavailable`: the ledger cannot be reached.", body = Problem)
    ),
    security((), ("admin_token" = []))
)]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    query: Result<Query<DeadLetterQuery>, QueryRejection>,
) -> Result<Json<Rows<DeadLetterRow>>, AdminError> {
    let Query(query) = query.map_err(|error| AdminError::BadRequest(error.body_text()))?;
    let page = query.page()?;
    let dead = admin.parts.ledger.dead_letters(query.filter()?, page).await?;
    Ok(Json(rows(dead, page, |letter| letter.cursor)))
}

/// A dead letter with all that is known of it.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetterView {
    #[serde(flatten)]
    row: DeadLetterRow,
    content_type: Option<String>,
    headers: Vec<(String, String)>,
    body: Value,
    failed_attempts: Vec<AttemptRow>,
}

/// A dead letter with its message and every failed attempt, also one that was replayed or discarded.
#[utoipa::path(
    get,
    path = "/v1/dead-letters/{id}",
    tag = "admin",
    operation_id = "show_dead_letter",
    params(("id" = String, Path, description = "The dead letter's id.")),
    responses(
        (status = 200, description = "The dead letter.", body = DeadLetterView),
        (status = 401, description = "`unauthorized`: not the admin token.", body = Problem),
        (status = 404, description = "`not_found`: there is no such dead letter.", body = Problem),
        (status = 503, description = "`unavailable`: the ledger cannot be reached.", body = Problem)
    ),
    security((), ("admin_token" = []))
)]
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<DeadLetterView>, AdminError> {
    let found = admin.parts.ledger.dead_letter_by_id(id.clone()).await?;
    let letter = found.ok_or(AdminError::NotFound { what: "dead letter", id })?;
    Ok(Json(DeadLetterView {
        headers: headers_view(&letter.message.headers),
        body: body_view(&letter.message.body),
        content_type: letter.message.content_type,
        failed_attempts: letter.failed_attempts,
        row: letter.row,
    }))
}

/// Takes a dead letter off the list for good: its event is never applied by that handler.
#[utoipa::path(
    delete,
    path = "/v1/dead-letters/{id}",
    tag = "admin",
    operation_id = "discard_dead_letter",
    params(("id" = String, Path, description = "The dead letter's id.")),
    responses(
        (status = 204, description = "It is discarded."),
        (status = 401, description = "`unauthorized`: not the admin token.", body = Problem),
        (status = 404, description = "`not_found`: there is no such dead letter.", body = Problem),
        (status = 503, description = "`unavailable`: the ledger cannot be reached.", body = Problem)
    ),
    security((), ("admin_token" = []))
)]
pub(super) async fn discard(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Result<StatusCode, AdminError> {
    let filter = DeadLetterFilter { ids: vec![id.clone()], ..DeadLetterFilter::default() };
    match admin.parts.ledger.discard(filter).await? {
        0 => Err(AdminError::NotFound { what: "dead letter", id }),
        _ => {
            tracing::info!(id, "dead letter discarded");
            Ok(StatusCode::NO_CONTENT)
        }
    }
}
