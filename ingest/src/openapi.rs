//! The OpenAPI document of what an ingest process answers to operators.
//!
//! Where ingest and worker are one process, the routes and their part of the document are the worker's listener's.

use tidegate_shared::problem::{Problem, ProblemDetail};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidegate ingest",
        description = "What the admin listener of a Tidegate ingest answers about requests that did not verify."
    ),
    tags((name = "admin", description = "The admin API: what was rejected, why, and how to let it in.")),
    components(schemas(Problem, ProblemDetail))
)]
struct Frame;

/// The document of `routes`.
#[must_use]
pub(crate) fn document(routes: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let mut document = Frame::openapi();
    document.merge(routes);
    let description = "`[admin] token`. Where none is configured: any program on the ingest's machine.";
    let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
    document.components.get_or_insert_default().add_security_scheme("admin_token", SecurityScheme::Http(scheme));
    document
}
