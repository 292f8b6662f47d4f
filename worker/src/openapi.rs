//! The OpenAPI document of both listeners, with the page to read it on.
//!
//! It is made from the routes themselves: a route is added together with its description. The page's scripts and styles
//! are part of this program, and a policy holds the page to them: it works without a network.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use axum::{Extension, Json, Router, middleware};
use http::{HeaderName, HeaderValue, header};
use tidegate_shared::problem::{Problem, ProblemDetail};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{admin, http as worker_api};

/// The page may load what this program serves, and nothing else. Its styles are partly written by its scripts; its icons
/// are data of its style sheet.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// How a route fails that an external API answers.
pub(crate) struct UpstreamProblems;

impl IntoResponses for UpstreamProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let problems = [
            ("400", "`bad_request`: we, or the API, do not take this request."),
            ("401", "`unauthorized`: no token of a caller."),
            (
                "404",
                "`not_found`: the API has no such thing. `api_not_configured`: no API answers this; the message says what to add.",
            ),
            ("502", "`upstream_error`: the API fails. `upstream_refused`: it refuses the gateway's own key."),
            ("503", "`upstream_unavailable`: the API is at its limit or left alone after failures; see Retry-After."),
            ("504", "`upstream_timeout`: the API did not answer in time."),
        ];
        problems.into_iter().map(|(status, description)| (status.to_owned(), problem(description).into())).collect()
    }
}

fn problem(description: &str) -> utoipa::openapi::Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content("application/json", body).build()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidegate",
        description = "What the listeners of a Tidegate worker answer. `api` is the worker's API (`[http] listen`), for \
                       the application's own callers; `admin` is the admin API (`[admin] listen`), for operators; `state` \
                       is on both. Every answer carries `X-Request-Id`. On a listener without a token only programs on \
                       its own machine may ask, and no web page."
    ),
    tags(
        (name = "api", description = "The worker's API: external APIs, behind one cache and one set of limits, and payments."),
        (name = "admin", description = "The admin API: events, dead letters and metrics."),
        (name = "oauth", description = "Where a user grants a worker access to an API, in a browser; on the worker's API."),
        (name = "state", description = "How a worker is; on both listeners, for anybody.")
    ),
    components(schemas(Problem, ProblemDetail))
)]
struct Frame;

/// The document of every route of both listeners.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Frame::openapi();
    let parts = [
        worker_api::login::routes().into_openapi(),
        worker_api::routes().into_openapi(),
        admin::routes().into_openapi(),
        admin::state().into_openapi(),
        own::<()>().into_openapi(),
    ];
    parts.into_iter().for_each(|part| document.merge(part));
    // A parameter that may hold slashes is written differently for the router.
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    let components = document.components.get_or_insert_default();
    for (name, description) in [
        ("caller_token", "A token of `[http] callers`. Where none is configured: any program on the worker's machine."),
        ("admin_token", "`[admin] token`. Where none is configured: any program on the worker's machine."),
    ] {
        let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
        components.add_security_scheme(name, SecurityScheme::Http(scheme));
    }
    document
}

/// `/openapi.json` and the page at `/docs`. They tell nothing of what is in a worker, so they are open. `more` describes the
/// routes of another half in the same process.
pub(crate) fn router(more: Option<utoipa::openapi::OpenApi>) -> Router {
    let config = Config::new(["/openapi.json"])
        // The validator is a service on the Internet.
        .validator_url("none")
        .deep_linking(true);
    let page = Router::from(SwaggerUi::new("/docs").config(config));
    let own = own().split_for_parts().0.layer(Extension(More(more.map(Arc::new))));
    page.layer(middleware::map_response(guard)).merge(own)
}

/// What another half in the same process adds to the document.
#[derive(Clone)]
struct More(Option<Arc<utoipa::openapi::OpenApi>>);

fn own<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::new().routes(routes!(openapi_json))
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "state",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object))
)]
async fn openapi_json(Extension(More(more)): Extension<More>) -> Json<utoipa::openapi::OpenApi> {
    let mut document = document();
    if let Some(more) = more {
        document.merge(more.as_ref().clone());
    }
    Json(document)
}

async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests;
