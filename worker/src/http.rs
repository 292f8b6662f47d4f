//! The worker's API: what the application's own callers ask, answered by external APIs or applied to the ledger.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};
use tidegate_shared::config::{ApiPreset, HttpConfig};
use tidegate_shared::ledger::{Ledger, Migration};
use tidegate_shared::tasks::Tasks;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{Api, Apis};
use crate::{answer, handle, openapi};

mod cache;
mod caller;
mod github;
mod idempotency;
pub(crate) mod login;
mod payments;
mod rates;
mod respond;
mod weather;

pub(crate) use idempotency::sweep;

use caller::Callers;
use login::LoginState;
use respond::HttpError;

/// The longest body of a request, in bytes: a payment has some hundred.
const BODY_MAX: usize = 64 << 10;

/// What the worker's API stands on.
#[derive(Debug)]
pub(crate) struct Http {
    apis: Apis,
    callers: Callers,
    ledger: Ledger,
    idempotency_window: Duration,
    tasks: Tasks,
}

impl Http {
    pub(crate) fn new(config: &HttpConfig, apis: Apis, ledger: Ledger, tasks: Tasks) -> Self {
        let callers = Callers::new(&config.callers);
        Self { apis, callers, ledger, idempotency_window: config.idempotency_window, tasks }
    }

    /// The API that answers where a preset fits.
    fn preset(&self, presets: &[ApiPreset], example: &'static str) -> Result<&Api, HttpError> {
        self.apis.with_preset(presets).ok_or(HttpError::NotConfigured { example })
    }
}

/// The whole worker's API, with the `state` routes that every listener has, and the `logins` that users pass through in
/// a browser: these see to it themselves who may.
pub(crate) fn router(http: Arc<Http>, state: Router, logins: LoginState) -> Router {
    let logins = login::routes().split_for_parts().0.with_state(Arc::new(logins));
    let (own, _) = routes().split_for_parts();
    let guarded = own
        .with_state(Arc::clone(&http))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(http, caller::identify));
    let open = state.merge(logins).merge(openapi::router(None)).fallback(answer::nothing_here);
    guarded.merge(open).method_not_allowed_fallback(answer::method_not_allowed).layer(middleware::from_fn(answer::mark))
}

/// The routes of this module, with their documentation.
pub(crate) fn routes() -> OpenApiRouter<Arc<Http>> {
    OpenApiRouter::new()
        .routes(routes!(weather::show))
        .routes(routes!(rates::show))
        .routes(routes!(github::show))
        .routes(routes!(cache::remove))
        .routes(routes!(payments::pay))
}

/// The tables that the routes write, whether or not a handler has them too.
pub(crate) fn migrations() -> Vec<Migration> {
    handle::payments::migrations()
}

#[cfg(test)]
mod tests;
