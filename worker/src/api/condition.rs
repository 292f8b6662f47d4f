//! How an API has been lately, for `/health`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ApiError;

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

    /// A call failed for a reason that is not the call's own.
    pub(super) fn is_in_trouble(&self, error: &ApiError) {
        let mut trouble = self.lock();
        let serves_stale = trouble.as_ref().is_some_and(|trouble| trouble.serves_stale);
        // Without the words of the API's own: `/health` is open to whoever reaches it.
        let what = error.status().map(|status| format!("it answered {status}"));
        let what = what.unwrap_or_else(|| error.failure.to_string());
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
