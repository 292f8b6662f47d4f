//! Tally: counts what the queue took, once for each handler that wants it.

use metrics::Counter;

use super::{HandlerQueue, Topology};
use crate::event::{Event, HandlerName};

/// One counter for each handler, `tidegate_accepted_total`.
#[derive(Clone)]
pub(super) struct Tally(std::sync::Arc<[(HandlerQueue, Counter)]>);

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(handler, _)| &handler.name)).finish()
    }
}

impl Tally {
    pub(super) fn new(topology: &Topology) -> Self {
        let counter = |name: &HandlerName| metrics::counter!("tidegate_accepted_total", "handler" => name.to_string());
        Self(topology.handlers.iter().map(|handler| (handler.clone(), counter(&handler.name))).collect())
    }

    /// Counts an event that the queue has made durable now.
    pub(super) fn count(&self, event: &Event) {
        self.0.iter().filter(|(handler, _)| handler.wants(event)).for_each(|(_, counter)| counter.increment(1));
    }
}
