//! How an API has been lately, for `/health`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::{ApiError, CallFailure, may_work_later};

/// What the last calls came to.
#[derive(Debug, Default)]
pub(super) struct Condition(Mutex<Option<Trouble>>);

#[derive(Debug)]
struct Trouble {
    what: String,
    serves_stale: bool,
}

impl Condition {
    /// A call was answered.
    pub(super) fn is_well(&self) {
        *self.lock() = None;
    }

    /// A call failed.
    pub(super) fn learns_of(&self, error: &ApiError) {
        // Without the words of the API's own: `/health` is open to whoever reaches it.
        let what = match &error.failure {
            // Why it is not asked is known already.
            CallFailure::BreakerOpen { .. } | CallFailure::Limited { .. } => return,
            CallFailure::BadCall(_) | CallFailure::Stopping => return,
            CallFailure::Status { status, .. } if may_work_later(*status) => format!("it answered {status}"),
            // It works: what was asked for is not there, or wrong.
            CallFailure::Status { .. } => return self.is_well(),
            CallFailure::Unreachable(_) => "it cannot be reached".to_owned(),
            CallFailure::Timeout(limit) => format!("no answer within {limit:?}"),
            CallFailure::Broken(_) => "the connection broke".to_owned(),
            CallFailure::Malformed(_) => "its answer cannot be read".to_owned(),
            CallFailure::TooLarge(limit) => format!("its answer is longer than {limit} bytes"),
            CallFailure::NoToken(_) | CallFailure::NoGrant(_) => "there is no access token".to_owned(),
        };
        let mut trouble = self.lock();
        let serves_stale = trouble.as_ref().is_some_and(|trouble| trouble.serves_stale);
        *trouble = Some(Trouble { what, serves_stale });
    }

    /// An old answer was given in the place of a new one.
    pub(super) fn serves_stale(&self) {
        if let Some(trouble) = &mut *self.lock() {
            trouble.serves_stale = true;
        }
    }

    /// What is wrong, for people.
    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().as_ref().map(|Trouble { what, serves_stale }| {
            let stale = if *serves_stale { "; stale answers are given" } else { "" };
            format!("{what}{stale}")
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
