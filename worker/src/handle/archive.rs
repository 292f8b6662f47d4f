//! `archive`: keeps the event with its headers and body in the event log.

use tidegate_shared::ledger::Effects;

use super::{Attempt, Handler, Outcome};

/// The event log.
#[derive(Debug)]
pub(super) struct Archive;

impl Handler for Archive {
    async fn handle(&self, _: Attempt<'_>) -> Outcome {
        Outcome::Done(Effects::none().archived())
    }
}
