//! `/v1/rejected`: requests that did not verify, why, and how to let them in.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_shared::event::{RequestId, SourceName};
use tidegate_shared::problem::Problem;
use tidegate_shared::rejected::{RejectedRequest, Row, SealedRequest};
use tidegate_shared::signature::explain::Explanation;
use tidegate_shared::telemetry::chain;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{LIMIT_MAX, LIMIT_USUAL, bad_request};
use crate::receive::Door;
use crate::rejected::{RejectedError, Released};
use crate::respond;

/// The longest body of a request, in bytes: a list of some ten thousand ids.
const BODY_MAX: usize = 1 << 20;

/// The routes, with their documentation. They take no token by themselves: whoever serves them asks for it.
pub fn routes(door: &Arc<Door>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(explain))
        .routes(routes!(release))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(Arc::clone(door))
}

impl IntoResponse for RejectedError {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::Off | Self::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            Self::Ring(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        let retry_after = status == StatusCode::SERVICE_UNAVAILABLE;
        respond::problem(status, code, chain(&self).to_string(), retry_after, &RequestId::generate())
    }
}

/// Parameters of `GET /v1/rejected`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RejectedQuery {
    /// Of this source only.
    source: Option<String>,
    /// Rows of the page: 50 where nothing is said.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One page of rejected requests.
#[derive(Serialize, ToSchema)]
struct RejectedPage {
    /// The rows.
    items: Vec<Row>,
    /// Give it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Requests that did not verify, the newest first: the last few of each source.
#[utoipa::path(
    get,
    path = "/v1/rejected",
    tag = "admin",
    operation_id = "list_rejected",
    params(RejectedQuery),
    responses(
        (status = 200, description = "A page of rejected requests.", body = RejectedPage),
        (status = 400, description = "`bad_request`: a parameter is wrong.", body = Problem),
        (status = 401, description = "`unauthorized`: not the admin token.", body = Problem),
        (status = 503, description = "`unavailable`: they cannot be read.", body = Problem)
    ),
    security((), ("admin_token" = []))
)]
async fn list(State(door): State<Arc<Door>>, query: Result<Query<RejectedQuery>, QueryRejection>) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return bad_request(rejection.body_text()),
    };
    let limit = query.limit.unwrap_or(LIMIT_USUAL);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return bad_request(format!("limit must be 1 to {LIMIT_MAX}"));
    }
    if query.cursor.as_deref().is_some_and(|cursor| !RejectedRequest::is_id(cursor)) {
        return bad_request("cursor must be the next_cursor of the page before".to_owned());
    }
    let source = match query.source.as_deref().map(SourceName::try_new).transpose() {
        Ok(source) => source,
        Err(error) => return bad_request(format!("source: {error}")),
    };
    match door.rejected(source, query.cursor, limit).await {
        Ok(items) => {
            let next_cursor = items.last().filter(|_| items.len() == limit).map(|row| row.id.clone());
            Json(RejectedPage { items, next_cursor }).into_response()
        }
        Err(error) => error.into_response(),
    }
}

/// A rejected request as it was kept. A marker stands for each credential.
#[derive(Serialize, ToSchema)]
struct RejectedView {
    /// Its own id.
    id: String,
    /// The source that it was sent to.
    source: String,
    /// When it was received.
    #[schema(format = DateTime)]
    received_at: String,
    /// The error code that was answered.
    code: String,
    /// The sentence that was answered.
    message: String,
    /// The request's id, to be found in the logs.
    request_id: String,
    /// Its method.
    method: String,
    /// Its path and query.
    target: String,
    /// Its headers.
    headers: Vec<(String, String)>,
    /// Bytes of its body.
    body_bytes: usize,
    /// Its body as text, or as `{"base64": …}` where it is not UTF-8; absent if it was not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    /// What the markers stand for.
    sealed: Vec<SealedPlace>,
}

/// A credential that is not kept.
#[derive(Serialize, ToSchema)]
struct SealedPlace {
    /// What stands in its place.
    marker: String,
    /// Where it stood.
    at: String,
}

impl RejectedView {
    fn of(sealed: &SealedRequest) -> Self {
        let request = sealed.request();
        let headers = request.headers.iter();
        Self {
            id: request.id.clone(),
            source: request.source.to_string(),
            received_at: request.received_at.to_string(),
            code: request.code.clone(),
            message: request.message.clone(),
            request_id: request.request_id.to_string(),
            method: request.method.to_string(),
            target: request.target.clone(),
            headers: headers
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            body_bytes: request.body_bytes,
            body: request.body.as_deref().map(body_view),
            sealed: sealed
                .seals()
                .iter()
                .map(|seal| SealedPlace { marker: seal.marker.clone(), at: seal.at.clone() })
                .collect(),
        }
    }
}

fn body_view(body: &[u8]) -> Value {
    use base64::Engine as _;
    match std::str::from_utf8(body) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => serde_json::json!({ "base64": base64::engine::general_purpose::STANDARD.encode(body) }),
    }
}

/// A rejected request with its headers and its body, without credentials.
#[utoipa::path(
    get,
    path = "/v1/rejected/{id}",
    tag = "admin",
    operation_id = "show_rejected",
    params(("id" = String, Path, description = "The rejected request's own id.")),
    responses(
        (status = 200, description = "The request.", body = RejectedView),
        (status = 401, description = "`unauthorized`: not the admin token.", body = Problem),
        (status = 404, description = "`not_found`: there is no such request.", body = Problem),
        (status = 503, description = "`unavailable`: it cannot be read.", body = Problem)
    ),
    security((), ("admin_token" = []))
)]
async fn show(State(door): State<Arc<Door>>, Path(id): Path<String>) -> Result<Response, RejectedError> {
    Ok(Json(RejectedView::of(&door.rejected_request(&id).await?)).into_response())
}

/// Says why a request did not verify, by trying the likely mistakes with the present configuration.
#[utoipa::path(
    post,
    path = "/v1/rejected/{id}/explain",
    tag = "admin",
    operation_id = "explain_rejected",
    params(("id" = String, Path, description = "The rejected request's own id.")),
    responses(
        (status = 200, description = "The cause, or that nothing explains it.", body = Explanation),
        (status = 401, description = "`unauthorized`: not the admin token.", body = Problem),
        (status = 404, description = "`not_found`: there is no such request.", body = Problem),
        (status = 503, description = "`unavailable`: it cannot be read.", body = Problem)
    ),
    security((), ("admin_token" = []))
)]
async fn explain(State(door): State<Arc<Door>>, Path(id): Path<String>) -> Result<Json<Explanation>, RejectedError> {
    Ok(Json(door.explain(&id).await?))
}

/// Which rejected requests are to be let in: those of `ids`, or all of `source`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RejectedSelection)]
struct Selection {
    /// Their own ids.
    #[serde(default)]
    ids: Vec<String>,
    /// A source's name.
    source: Option<String>,
}

/// Verifies rejected requests again with the present configuration, as of when each was received, and lets in those that
/// do, along the path of every event. The others stay.
#[utoipa::path(
    post,
    path = "/v1/rejected/release",
    tag = "admin",
    operation_id = "release_rejected",
    request_body = Selection,
    responses(
        (status = 200, description = "What became of each.", body = Released),
        (status = 400, description = "`bad_request`: the selection is wrong.", body = Problem),
        (status = 401, description = "`unauthorized`: not the admin token.", body = Problem),
        (status = 404, description = "`not_found`: none are kept here.", body = Problem),
        (status = 503, description = "`unavailable`: they cannot be read.", body = Problem)
    ),
    security((), ("admin_token" = []))
)]
async fn release(
    State(door): State<Arc<Door>>,
    selection: Result<Json<Selection>, JsonRejection>,
) -> Result<Response, RejectedError> {
    let Selection { ids, source } = match selection {
        Ok(Json(selection)) => selection,
        Err(rejection) => return Ok(bad_request(rejection.body_text())),
    };
    let ids = match (source.as_deref().map(SourceName::try_new), ids.is_empty()) {
        (None, false) => ids,
        (Some(Ok(source)), true) => door.rejected_of(&source).await?,
        (Some(Err(error)), _) => return Ok(bad_request(format!("source: {error}"))),
        (None, true) | (Some(Ok(_)), false) => return Ok(bad_request("name either ids or a source".to_owned())),
    };
    Ok(Json(door.release(ids).await?).into_response())
}
