//! The admin listener of an ingest process: its metrics and its state. Events are looked at through a worker's.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusHandle;
use tidegate_shared::bearer::Bearer;
use tidegate_shared::event::RequestId;

use crate::receive::Door;
use crate::{respond, router};

/// `/metrics` behind the admin token, `/health` and `/ready` in front of it.
pub fn router(door: Arc<Door>, bearer: Bearer, metrics: PrometheusHandle) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(move || std::future::ready(metrics.render())))
        .layer(middleware::from_fn_with_state(bearer, authorize));
    guarded.merge(router::state_routes(door))
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
