//! Claims in the embedded store: a part of the event's own row.
//!
//! Nothing is claimed ahead of the publish, so there is no pending state to leak or to wait for: of two requests with
//! one event, the second one to reach the store's only writer finds the row of the first.

use super::Decision;

/// The embedded adapter of [`super::Claims`].
#[derive(Debug, Clone, Default)]
pub struct EmbeddedClaims;

impl EmbeddedClaims {
    /// Lets the request go on to the queue, whose commit decides.
    #[must_use]
    pub fn claim(&self) -> Decision {
        let Self = self;
        Decision::Fresh
    }
}
