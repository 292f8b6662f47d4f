//! The handlers that are measured.

use std::time::Duration;

use tidegate_worker::{Attempt, Effects, Handler, Migration, Outcome};

/// How long [`Slow`] takes for an event: as a call to another system would.
const SLOW: Duration = Duration::from_millis(50);

/// The least that is an effect: one row.
#[derive(Debug)]
pub struct Count;

impl Handler for Count {
    async fn handle(&self, attempt: Attempt<'_>) -> Outcome {
        Outcome::Done(effect(attempt))
    }

    fn migrations(&self) -> Vec<Migration> {
        migrations()
    }
}

/// The same after 50 ms.
#[derive(Debug)]
pub struct Slow;

impl Handler for Slow {
    async fn handle(&self, attempt: Attempt<'_>) -> Outcome {
        tokio::time::sleep(SLOW).await;
        Outcome::Done(effect(attempt))
    }

    fn migrations(&self) -> Vec<Migration> {
        migrations()
    }
}

/// Refuses every event, so that there are dead letters.
#[derive(Debug)]
pub struct Refuse;

impl Handler for Refuse {
    async fn handle(&self, _attempt: Attempt<'_>) -> Outcome {
        Outcome::reject("refused, to be replayed")
    }

    fn migrations(&self) -> Vec<Migration> {
        migrations()
    }
}

fn effect(attempt: Attempt<'_>) -> Effects {
    Effects::none().sql("INSERT INTO bench_effects (event_id) VALUES ($1)", [attempt.event.id.as_str().into()])
}

fn migrations() -> Vec<Migration> {
    vec![Migration { id: "bench/1", sql: "CREATE TABLE bench_effects (event_id TEXT NOT NULL)" }]
}
