//! The OpenAPI document of what an ingest process answers to operators.
//!
//! Where ingest and worker are one process, the routes and their part of the document are the worker's listener's.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{OpenApi, ToSchema};

/// The body of every error.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "shared::problem::Problem as the document shows it; a test compares them")]
pub(crate) struct ProblemBody {
    /// What went wrong.
    error: ProblemDetail,
}

/// What went wrong, for programs by `code` and for people by `message`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "as above")]
struct ProblemDetail {
    /// A stable word.
    #[schema(example = "not_found")]
    code: String,
    /// One sentence.
    message: String,
    /// More about it, one entry per mistake.
    details: Vec<String>,
    /// The request's id, as in `X-Request-Id`, to be found in the logs.
    request_id: String,
    /// When.
    #[schema(format = DateTime)]
    timestamp: String,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidegate ingest",
        description = "What the admin listener of a Tidegate ingest answers about requests that did not verify."
    ),
    tags((name = "admin", description = "The admin API: what was rejected, why, and how to let it in.")),
    components(schemas(ProblemBody, ProblemDetail))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tidegate_shared::problem::Problem;

    use super::*;

    #[test]
    fn a_problem_is_as_the_document_says() {
        let document = serde_json::to_value(Frame::openapi()).expect("it is JSON");
        let properties = &document["components"]["schemas"]["ProblemDetail"]["properties"];
        let described: BTreeSet<_> = properties.as_object().expect("properties").keys().cloned().collect();
        let real = serde_json::to_value(Problem::new("a", String::new(), "b")).expect("it is JSON");
        let real: BTreeSet<_> = real["error"].as_object().expect("an error").keys().cloned().collect();
        assert_eq!(described, real);
    }
}
