//! The body of every error that our HTTP interfaces answer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `{"error": {...}}`, the same on every listener.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What went wrong.
    pub error: ProblemDetail,
}

/// What went wrong, for programs by `code` and for people by `message`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProblemDetail {
    /// A stable word.
    #[schema(example = "not_found")]
    pub code: String,
    /// One sentence.
    pub message: String,
    /// More about it, one entry per mistake.
    pub details: Vec<String>,
    /// The request's id, to be found in the logs.
    pub request_id: String,
    /// When.
    pub timestamp: Timestamp,
}

impl Problem {
    /// A problem of the request `request_id`, now.
    #[must_use]
    pub fn new(code: &str, message: String, request_id: &str) -> Self {
        let error = ProblemDetail {
            code: code.to_owned(),
            message,
            details: Vec::new(),
            request_id: request_id.to_owned(),
            timestamp: Timestamp::now(),
        };
        Self { error }
    }
}
