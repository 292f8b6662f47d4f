//! The admin API: what an operator sees and does, for `tidegate`'s commands and for Prometheus.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tidegate_shared::bearer::Bearer;
use tidegate_shared::config::{Config, OnReplay};
use tidegate_shared::event::SourceName;
use tidegate_shared::problem::Problem;
use tidegate_shared::tasks::Tasks;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Apis;
use crate::{Parts, answer, openapi};

mod dead_letters;
mod events;
mod query;
mod replay;

/// The longest body of an admin request, in bytes: a list of some ten thousand ids.
const BODY_MAX: usize = 1 << 20;

/// What the admin API stands on.
#[derive(Debug)]
pub struct Admin {
    parts: Parts,
    apis: Apis,
    bearer: Bearer,
    tasks: Tasks,
    migrated: AtomicBool,
    /// Sources whose bodies are watched for replays.
    watched: BTreeSet<SourceName>,
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
        answer::problem(status, code, self.to_string())
    }
}

impl Admin {
    pub(crate) fn new(config: &Config, parts: Parts, apis: Apis, tasks: Tasks) -> Self {
        let bearer = Bearer::new(config.admin.token.as_ref());
        let watched = config.sources.values().filter(|source| source.replay != OnReplay::Off);
        let watched = watched.map(|source| source.name.clone()).collect();
        Self { parts, apis, bearer, tasks, migrated: AtomicBool::new(false), watched }
    }

    /// The ledger's tables are ready.
    pub(crate) fn set_migrated(&self) {
        self.migrated.store(true, Ordering::Release);
    }

    /// Says whether events are consumed and applied now.
    fn is_ready(&self) -> bool {
        !self.tasks.leaving().is_cancelled()
            && self.migrated.load(Ordering::Acquire)
            && self.parts.components().iter().all(|cell| cell.get().is_up())
    }
}

/// The whole admin API; `more` is what another half in the same process answers behind the same token.
pub(crate) fn router(admin: Arc<Admin>, metrics: PrometheusHandle, more: Option<OpenApiRouter>) -> Router {
    let (guarded, _) = routes().split_for_parts();
    let (more, described) = more.map(OpenApiRouter::split_for_parts).unzip();
    let guarded = guarded
        .layer(Extension(metrics))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
        .with_state(Arc::clone(&admin))
        .merge(more.unwrap_or_default())
        .layer(middleware::from_fn_with_state(Arc::clone(&admin), authorize));
    let open = state_routes(admin).merge(openapi::router(described)).fallback(answer::nothing_here);
    guarded.merge(open).method_not_allowed_fallback(answer::method_not_allowed).layer(middleware::from_fn(answer::mark))
}

/// The routes that take a token, with their documentation.
pub(crate) fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new()
        .routes(routes!(scrape))
        .routes(routes!(events::list))
        .routes(routes!(events::show))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::show, dead_letters::discard))
        .routes(routes!(replay::replay))
        .routes(routes!(replay::discard))
}

/// `/health` and `/ready`, with their documentation.
pub(crate) fn state() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(ready))
}

/// `/health` and `/ready`.
pub(crate) fn state_routes(admin: Arc<Admin>) -> Router {
    state().split_for_parts().0.with_state(admin)
}

async fn authorize(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    match admin.bearer.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => answer::unauthorized(refusal.to_string()),
    }
}

/// The process's metrics.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "admin",
    responses(
        (status = 200, description = "As Prometheus reads them.", body = String, content_type = "text/plain"),
        (status = 401, description = "`unauthorized`: not the admin token.", body = Problem)
    ),
    security((), ("admin_token" = []))
)]
async fn scrape(Extension(metrics): Extension<PrometheusHandle>) -> String {
    metrics.render()
}

/// How a worker is.
#[derive(Serialize, ToSchema)]
struct HealthReport {
    /// `up` if events are consumed and applied now, else `down`.
    status: &'static str,
    /// What it stands on, by name.
    #[schema(value_type = BTreeMap<String, Component>)]
    components: BTreeMap<Cow<'static, str>, Component>,
}

/// The state of one server, store or API.
#[derive(Serialize, ToSchema)]
struct Component {
    /// In one word: `up`, `starting`, `blocked`, `down` or `closed`; of an API also `degraded` (its last call failed),
    /// `open` (it is left alone) or `probing`.
    state: &'static str,
    /// Why it is not up.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

fn report(admin: &Admin) -> HealthReport {
    // Without its cache an API is only asked more often.
    let cells = admin.parts.components().into_iter().chain(admin.parts.cache.health());
    let components = cells.map(|cell| {
        let health = cell.get();
        (Cow::Borrowed(cell.name()), Component { state: health.state(), reason: health.reason().map(str::to_owned) })
    });
    // An API that fails makes no worker unready: only the events that need it wait.
    let apis = admin.apis.iter().map(|api| {
        let (state, reason) = api.state();
        (Cow::Owned(format!("api.{}", api.name())), Component { state, reason })
    });
    let components: BTreeMap<_, _> = components.chain(apis).collect();
    let status = match admin.is_ready() {
        false => "down",
        true if components.values().any(|component| component.state != "up") => "degraded",
        true => "up",
    };
    HealthReport { status, components }
}

/// The state of each component. Always 200: the process answers.
#[utoipa::path(
    get,
    path = "/health",
    tag = "state",
    responses((status = 200, description = "The states.", body = HealthReport))
)]
async fn health(State(admin): State<Arc<Admin>>) -> Json<HealthReport> {
    Json(report(&admin))
}

/// Whether events are consumed and applied now.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "state",
    responses(
        (status = 200, description = "They are.", body = HealthReport),
        (status = 503, description = "They are not; the components say why.", body = HealthReport)
    )
)]
async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, Json<HealthReport>) {
    let status = if admin.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report(&admin)))
}
