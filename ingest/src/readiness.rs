//! Readiness: whether the door can accept durably now, and what each component's state is.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tidegate_shared::config::OnUnavailable;
use tidegate_shared::health::{Health, HealthCell};
use tidegate_shared::spool::{Figures, Spool};

use crate::receive::Door;

/// The states of the door's components.
#[derive(Debug, Serialize)]
pub struct HealthReport {
    /// `up`, `degraded` (events are accepted all the same) or `down`.
    pub status: &'static str,
    /// By name.
    pub components: std::collections::BTreeMap<&'static str, ComponentReport>,
}

/// The state of one component.
#[derive(Debug, Serialize)]
pub struct ComponentReport {
    /// `starting`, `up`, `blocked` or `down`.
    pub state: &'static str,
    /// Why it is not up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of the spool: what waits in it.
    #[serde(flatten)]
    pub waiting: Option<Figures>,
}

impl HealthReport {
    /// The same without reasons: they name servers, which is for the admin listener only.
    #[must_use]
    pub fn without_reasons(mut self) -> Self {
        self.components.values_mut().for_each(|component| component.reason = None);
        self
    }
}

impl From<&Health> for ComponentReport {
    fn from(health: &Health) -> Self {
        Self { state: health.state(), reason: health.reason().map(str::to_owned), waiting: None }
    }
}

impl Door {
    /// Says whether an event sent now would be accepted: the queue takes it, or the spool in its place, and the claims
    /// where they must. With a spool, sources that reject do not count: the others would be sent away with them.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let claims_needed = self.limits.on_unavailable == OnUnavailable::Reject;
        let claims_up = self.parts.claims.health().is_none_or(|cell| cell.get().is_up());
        !self.tasks.leaving().is_cancelled()
            && (self.parts.publisher.health().get().is_up() || self.parts.spool.as_ref().is_some_and(Spool::is_open))
            && (claims_up || !claims_needed)
    }

    /// Waits until the queue is up, at most `patience`.
    pub(crate) async fn until_ready(&self, patience: Duration) {
        let mut health = self.parts.publisher.health().watch();
        let up = tokio::time::timeout(patience, health.wait_for(Health::is_up)).await.is_ok();
        if !up {
            tracing::warn!("the queue is not up yet; events are spooled or refused until it is");
        }
    }

    /// The state of every component.
    #[must_use]
    pub fn health(&self) -> HealthReport {
        let cells = [Some(self.parts.publisher.health()), self.parts.claims.health()];
        let states: Vec<(&'static str, Health)> =
            cells.into_iter().flatten().map(|cell: &HealthCell| (cell.name(), cell.get())).collect();
        let spool = self.parts.spool.as_ref().map(|spool| (spool.health(), spool.figures()));
        let spool_up = spool.as_ref().is_none_or(|(health, _)| health.is_up());
        let secrets = self.lacking_secrets();
        let all_up = spool_up && secrets.is_none() && states.iter().all(|(_, health)| health.is_up());
        let spool = spool.map(|(health, figures)| {
            ("spool", ComponentReport { waiting: Some(figures), ..ComponentReport::from(&health) })
        });
        HealthReport {
            status: match (self.is_ready(), all_up) {
                (true, true) => "up",
                (true, false) => "degraded",
                (false, _) => "down",
            },
            components: states
                .iter()
                .map(|(name, health)| (*name, health.into()))
                .chain(spool)
                .chain(secrets)
                .collect(),
        }
    }

    /// The sources of which no secret counts now: their requests are refused, those of the others are not.
    fn lacking_secrets(&self) -> Option<(&'static str, ComponentReport)> {
        let now = Timestamp::now();
        let lacking = self.sources.values().filter(|source| source.config.lacks_secret(now));
        let names: Vec<&str> = lacking.map(|source| source.config.name.as_str()).collect();
        let reason = format!("no secret counts now of {}", names.join(", "));
        let report = ComponentReport { state: "down", reason: Some(reason), waiting: None };
        (!names.is_empty()).then_some(("secrets", report))
    }
}
