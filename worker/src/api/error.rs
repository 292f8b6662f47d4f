//! Why a call has no answer, and what that means for the event that needed it.

use std::time::Duration;

use http::StatusCode;
use tidegate_shared::event::ApiName;

use super::retry::{Failure, verdict};
use crate::handle::Outcome;
use crate::saga::StepError;

/// Why a call has no answer. Cheap to clone: all who waited for one call get the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("api {api}: {failure}")]
pub struct ApiError {
    /// Which API.
    pub api: ApiName,
    /// What failed.
    pub failure: CallFailure,
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// No connection: nothing was sent.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// No whole answer in time; it may have acted on the call.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection broke; it may have acted on the call.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// An answer that is no success.
    #[error("it answered {status}{}{excerpt}", if excerpt.is_empty() { "" } else { ": " })]
    Status {
        /// Its status.
        status: StatusCode,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// The beginning of its body.
        excerpt: String,
    },
    /// A success whose body is not what the caller expects.
    #[error("its answer cannot be read: {0}")]
    Malformed(String),
    /// An answer longer than `body_limit`.
    #[error("its answer is longer than {0} bytes")]
    TooLarge(usize),
    /// The circuit breaker is open: it was not asked.
    #[error("it failed too often and is left alone for {retry_after:?}")]
    BreakerOpen {
        /// Until the next probe.
        retry_after: Duration,
    },
    /// Our own limit, or one that it told us: it was not asked.
    #[error("its rate limit is reached; there is room in {retry_after:?}")]
    Limited {
        /// Until there is room.
        retry_after: Duration,
    },
    /// There is no access token.
    #[error("no access token: {0}")]
    NoToken(String),
    /// No user grants access, or not any more.
    #[error("no access: {0}")]
    NoGrant(String),
    /// The call itself cannot be sent.
    #[error("the call cannot be made: {0}")]
    BadCall(String),
    /// The process stops.
    #[error("the process stops")]
    Stopping,
}

impl CallFailure {
    /// What the attempt came to, for the policies. `None` if nothing was tried.
    pub(super) fn of_attempt(&self) -> Option<Failure> {
        match self {
            Self::Unreachable(_) => Some(Failure::Connect),
            Self::Timeout(_) => Some(Failure::Timeout),
            Self::Broken(_) => Some(Failure::Reset),
            Self::Status { status, .. } => Some(Failure::Status(*status)),
            Self::Malformed(_) => Some(Failure::Malformed),
            Self::TooLarge(_) => Some(Failure::TooLarge),
            Self::BreakerOpen { .. }
            | Self::Limited { .. }
            | Self::NoToken(_)
            | Self::NoGrant(_)
            | Self::BadCall(_)
            | Self::Stopping => None,
        }
    }
}

impl ApiError {
    /// The status that the API answered with, if it did.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        if let CallFailure::Status { status, .. } = &self.failure { Some(*status) } else { None }
    }

    /// How long to wait before it is worth trying again, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.failure {
            CallFailure::Status { retry_after, .. } => *retry_after,
            CallFailure::BreakerOpen { retry_after } | CallFailure::Limited { retry_after } => Some(*retry_after),
            CallFailure::Unreachable(_)
            | CallFailure::Timeout(_)
            | CallFailure::Broken(_)
            | CallFailure::Malformed(_)
            | CallFailure::TooLarge(_)
            | CallFailure::NoToken(_)
            | CallFailure::NoGrant(_)
            | CallFailure::BadCall(_)
            | CallFailure::Stopping => None,
        }
    }

    /// Says whether an old answer is better than this failure: not where the API says that there is none, or that we
    /// may not have it.
    #[must_use]
    pub(super) fn stale_may_serve(&self) -> bool {
        match (self.failure.of_attempt(), &self.failure) {
            (Some(failure), _) => verdict(failure).stale_may_serve,
            (None, failure) => !matches!(failure, CallFailure::BadCall(_) | CallFailure::NoGrant(_)),
        }
    }

    /// Says whether the same call may work later. Only what the API itself refuses for good is final: an expired key or
    /// a missing grant is the operator's to mend, not the event's fault; and after a redirect or an answer that is too long
    /// the API may have acted, which is nothing to turn back from.
    #[must_use]
    pub fn may_work_later(&self) -> bool {
        match &self.failure {
            CallFailure::Status { status, .. } => may_work_later(*status),
            CallFailure::BadCall(_) => false,
            CallFailure::Unreachable(_)
            | CallFailure::Timeout(_)
            | CallFailure::Broken(_)
            | CallFailure::Malformed(_)
            | CallFailure::TooLarge(_)
            | CallFailure::BreakerOpen { .. }
            | CallFailure::Limited { .. }
            | CallFailure::NoToken(_)
            | CallFailure::NoGrant(_)
            | CallFailure::Stopping => true,
        }
    }
}

/// Says whether a call that was answered so may work later.
#[must_use]
pub(super) fn may_work_later(status: StatusCode) -> bool {
    match status {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::CONFLICT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS => true,
        status => !status.is_client_error(),
    }
}

/// The event is tried again where that may help, and given up where it cannot.
impl From<ApiError> for Outcome {
    fn from(error: ApiError) -> Self {
        StepError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(failure: CallFailure) -> ApiError {
        ApiError { api: ApiName::try_new("crm").expect("a name"), failure }
    }

    #[test]
    fn an_event_is_given_up_only_for_what_is_final() {
        let check = |failure: CallFailure, retries: bool| {
            let text = failure.to_string();
            assert_eq!(matches!(Outcome::from(error(failure)), Outcome::Retry { .. }), retries, "{text}");
        };
        let status = |status: u16| CallFailure::Status {
            status: StatusCode::from_u16(status).expect("a status"),
            retry_after: None,
            excerpt: String::new(),
        };
        for later in [301, 303, 401, 403, 407, 408, 409, 425, 429, 500, 502, 503, 504] {
            check(status(later), true);
        }
        for never in [400, 402, 404, 405, 410, 422] {
            check(status(never), false);
        }
        let second = Duration::from_secs(1);
        check(CallFailure::Unreachable(String::new()), true);
        check(CallFailure::Timeout(second), true);
        check(CallFailure::Malformed(String::new()), true);
        check(CallFailure::BreakerOpen { retry_after: second }, true);
        check(CallFailure::NoToken(String::new()), true);
        check(CallFailure::BadCall(String::new()), false);
        check(CallFailure::TooLarge(1), true);
        check(CallFailure::NoGrant(String::new()), true);
    }

    #[test]
    fn a_limit_says_when_to_come_back() {
        let outcome = Outcome::from(error(CallFailure::Limited { retry_after: Duration::from_secs(7) }));
        assert!(matches!(outcome, Outcome::Retry { after: Some(after), .. } if after == Duration::from_secs(7)));
    }
}
