//! Waiting for the health that a component reports.

use std::time::Duration;

use tidegate_shared::health::{Health, HealthCell};

/// Longest wait for a component to notice what happened to its server.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the component is as `is` wants it.
///
/// # Panics
///
/// It is not within half a minute, or it ended; the message tells its last health.
pub async fn becomes(cell: &HealthCell, what: &str, is: impl Fn(&Health) -> bool) -> Health {
    let mut watch = cell.watch();
    let waited = tokio::time::timeout(PATIENCE, watch.wait_for(is)).await;
    assert!(waited.is_ok(), "never {what}; last: {}", cell.get());
    waited.expect("in time").expect("the component lives").clone()
}

/// Waits until the component is up.
///
/// # Panics
///
/// As [`becomes`].
pub async fn is_up(cell: &HealthCell) {
    becomes(cell, "up", Health::is_up).await;
}
