//! The admin listener of an ingest process: its metrics, its state, its spool and what it rejected. Events are looked at
//! through a worker's.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tidegate_shared::bearer::Bearer;
use tidegate_shared::event::RequestId;
use tidegate_shared::spool::{Figures, Row, Spool};
use tidegate_shared::store::StoreError;
use tidegate_shared::telemetry::chain;

use crate::receive::Door;
use crate::{openapi, respond, router};

pub mod rejected;

/// Rows of a page where none is asked for.
pub(crate) const LIMIT_USUAL: usize = 50;
/// Rows of a page at most.
pub(crate) const LIMIT_MAX: usize = 1_000;

/// `/metrics`, the spool and the rejected requests behind the admin token; `/health`, `/ready` and `/openapi.json` in front
/// of it.
pub fn router(door: Arc<Door>, bearer: Bearer, metrics: PrometheusHandle) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(move || std::future::ready(metrics.render())))
        .route("/v1/spool", get(spool))
        .route("/v1/spool/events", get(spooled))
        .route("/v1/spool/drain", post(drain))
        .with_state(Arc::clone(&door))
        .merge(rejected::routes(&door).split_for_parts().0)
        .layer(middleware::from_fn_with_state(bearer, authorize));
    let document = openapi::document(rejected::routes(&door).into_openapi());
    let described = Router::new().route("/openapi.json", get(move || std::future::ready(Json(document))));
    guarded.merge(described).merge(router::state_routes(door))
}

async fn authorize(State(bearer): State<Bearer>, request: Request, next: Next) -> Response {
    match bearer.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let id = RequestId::generate();
            respond::problem(StatusCode::UNAUTHORIZED, "unauthorized", refusal.to_string(), false, &id)
        }
    }
}

/// `GET /v1/spool`
#[derive(Serialize)]
struct SpoolReport {
    /// Whether this process keeps events: `up` or `blocked`; `absent` if no source asks for a spool.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    #[serde(flatten)]
    waiting: Figures,
}

async fn spool(State(door): State<Arc<Door>>) -> Json<SpoolReport> {
    Json(match &door.parts.spool {
        None => SpoolReport { state: "absent", reason: None, folder: None, waiting: Figures::default() },
        Some(spool) => {
            let health = spool.health();
            SpoolReport {
                state: health.state(),
                reason: health.reason().map(str::to_owned),
                folder: Some(spool.folder().display().to_string()),
                waiting: spool.figures(),
            }
        }
    })
}

/// Parameters of `GET /v1/spool/events`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// One page of a list.
#[derive(Serialize)]
struct Page {
    items: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

async fn spooled(State(door): State<Arc<Door>>, query: Result<Query<PageQuery>, QueryRejection>) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return bad_request(rejection.body_text()),
    };
    let limit = query.limit.unwrap_or(LIMIT_USUAL);
    if limit == 0 || limit > LIMIT_MAX {
        return bad_request(format!("limit must be 1 to {LIMIT_MAX}"));
    }
    if query.cursor.as_deref().is_some_and(|cursor| !Spool::is_cursor(cursor)) {
        return bad_request("cursor must be the next_cursor of the page before".to_owned());
    }
    let items = match &door.parts.spool {
        None => Vec::new(),
        Some(spool) => match spool.list(query.cursor.as_deref(), limit).await {
            Ok(items) => items,
            Err(error) => return unavailable(&error),
        },
    };
    let next_cursor = items.last().filter(|_| items.len() == limit).map(|row| row.id.clone());
    Json(Page { items, next_cursor }).into_response()
}

/// Tries at once, events that wait behind the others included.
async fn drain(State(door): State<Arc<Door>>) -> Response {
    if let Some(spool) = &door.parts.spool
        && let Err(error) = spool.retry_now().await
    {
        return unavailable(&error);
    }
    door.drain_now.notify_one();
    spool(State(door)).await.into_response()
}

pub(crate) fn bad_request(message: String) -> Response {
    respond::problem(StatusCode::BAD_REQUEST, "bad_request", message, false, &RequestId::generate())
}

fn unavailable(error: &StoreError) -> Response {
    let message = format!("the spool cannot be used: {}", chain(error));
    respond::problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message, true, &RequestId::generate())
}
