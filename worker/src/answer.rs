//! What every answer of the worker's listeners has: the request's id, and for an error always the same body.

use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tidegate_shared::event::RequestId;
use tidegate_shared::problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    /// The id of the request that this task answers.
    static ANSWERED: RequestId;
}

/// Gives the request an id, its caller's if that is one, and puts it on the answer.
pub(crate) async fn mark(request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).and_then(|value| RequestId::try_new(value.to_str().ok()?).ok());
    let id = given.unwrap_or_else(RequestId::generate);
    let mut response = ANSWERED.scope(id.clone(), next.run(request)).await;
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        // A part that writes its own errors has put its own there.
        response.headers_mut().entry(REQUEST_ID).or_insert(value);
    }
    response
}

/// An error's answer.
pub(crate) fn problem(status: StatusCode, code: &str, message: String) -> Response {
    let id = ANSWERED.try_with(Clone::clone).unwrap_or_else(|_| RequestId::generate());
    (status, Json(Problem::new(code, message, id.as_str()))).into_response()
}

/// An error's answer to a request without a valid token: RFC 9110 section 15.5.2 wants the challenge.
pub(crate) fn unauthorized(message: String) -> Response {
    let mut response = problem(StatusCode::UNAUTHORIZED, "unauthorized", message);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Says when it is worth asking again: in whole seconds, and never at once.
pub(crate) fn retry_after(mut response: Response, after: Duration) -> Response {
    let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The answer where no route is.
pub(crate) async fn nothing_here() -> Response {
    problem(StatusCode::NOT_FOUND, "not_found", "nothing is here".to_owned())
}

/// The answer where a route has no such method.
pub(crate) async fn method_not_allowed() -> Response {
    let message = "this route has no such method; the answer's Allow says which it has";
    problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        let check = |after: Duration, expected: &str| {
            let response = retry_after(problem(StatusCode::SERVICE_UNAVAILABLE, "x", String::new()), after);
            assert_eq!(response.headers()[header::RETRY_AFTER], expected, "{after:?}");
        };
        check(Duration::ZERO, "1");
        check(Duration::from_millis(1), "1");
        check(Duration::from_secs(7), "7");
        check(Duration::from_millis(7_001), "8");
    }
}
