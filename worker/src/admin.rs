//! The admin API: what an operator sees and does, for `tidegate`'s commands and for Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderName, HeaderValue, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tidegate_shared::bearer::Bearer;
use tidegate_shared::config::Config;
use tidegate_shared::event::RequestId;
use tidegate_shared::problem::Problem;
use tidegate_shared::tasks::Tasks;

use crate::Parts;

mod dead_letters;
mod events;
mod query;
mod replay;

/// The longest body of an admin request, in bytes: a list of some ten thousand ids.
const BODY_MAX: usize = 1 << 20;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the admin API stands on.
#[derive(Debug)]
pub struct Admin {
    parts: Parts,
    bearer: Bearer,
    tasks: Tasks,
    migrated: AtomicBool,
}

/// Why a request of an operator fails.
#[derive(Debug, thiserror::Error)]
enum AdminError {
    #[error("{0}")]
    BadRequest(String),
    #[error("there is no {what} {id:?}")]
    NotFound { what: &'static str, id: String },
    #[error("{0}")]
    Unavailable(String),
}

impl From<tidegate_shared::ledger::LedgerUnavailable> for AdminError {
    fn from(error: tidegate_shared::ledger::LedgerUnavailable) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        problem(status, code, self.to_string())
    }
}

impl Admin {
    pub(crate) fn new(config: &Config, parts: Parts, tasks: Tasks) -> Self {
        let bearer = Bearer::new(config.admin.token.as_ref());
        Self { parts, bearer, tasks, migrated: AtomicBool::new(false) }
    }

    /// The ledger's tables are ready.
    pub(crate) fn set_migrated(&self) {
        self.migrated.store(true, Ordering::Release);
    }

    /// Says whether events are consumed and applied now.
    fn is_ready(&self) -> bool {
        !self.tasks.shutdown().is_cancelled()
            && self.migrated.load(Ordering::Acquire)
            && self.parts.components().iter().all(|cell| cell.get().is_up())
    }
}

/// The whole admin API.
pub(crate) fn router(admin: Arc<Admin>, metrics: PrometheusHandle) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(move || std::future::ready(metrics.render())))
        .route("/v1/events", get(events::list))
        .route("/v1/events/{id}", get(events::show))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/{id}", get(dead_letters::show).delete(dead_letters::discard))
        .route("/v1/dead-letters/replay", post(replay::replay))
        .route("/v1/dead-letters/discard", post(replay::discard))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&admin), authorize))
        .with_state(Arc::clone(&admin));
    let open = state_routes(admin).fallback(nothing_here);
    guarded.merge(open).layer(middleware::from_fn(mark))
}

/// `/health` and `/ready`.
pub(crate) fn state_routes(admin: Arc<Admin>) -> Router {
    Router::new().route("/health", get(health)).route("/ready", get(ready)).with_state(admin)
}

async fn authorize(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    match admin.bearer.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => problem(StatusCode::UNAUTHORIZED, "unauthorized", refusal.to_string()),
    }
}

/// Puts the request's id on every answer.
async fn mark(request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).and_then(|value| RequestId::try_new(value.to_str().ok()?).ok());
    let mut response = next.run(request).await;
    if !response.headers().contains_key(REQUEST_ID)
        && let Ok(value) = HeaderValue::from_str(given.unwrap_or_else(RequestId::generate).as_str())
    {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn problem(status: StatusCode, code: &str, message: String) -> Response {
    let id = RequestId::generate();
    let mut response = (status, Json(Problem::new(code, message, id.as_str()))).into_response();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

async fn nothing_here() -> Response {
    problem(StatusCode::NOT_FOUND, "not_found", "nothing is here".to_owned())
}

#[derive(Serialize)]
struct HealthReport {
    status: &'static str,
    components: BTreeMap<&'static str, Component>,
}

#[derive(Serialize)]
struct Component {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

fn report(admin: &Admin) -> HealthReport {
    let components = admin.parts.components().into_iter().map(|cell| {
        let health = cell.get();
        (cell.name(), Component { state: health.state(), reason: health.reason().map(str::to_owned) })
    });
    HealthReport { status: if admin.is_ready() { "up" } else { "down" }, components: components.collect() }
}

async fn health(State(admin): State<Arc<Admin>>) -> Json<HealthReport> {
    Json(report(&admin))
}

async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, Json<HealthReport>) {
    let status = if admin.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report(&admin)))
}
