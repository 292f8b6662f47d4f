//! A worker of one's own: every built-in handler, and one that counts events by type.

use std::process::ExitCode;

use tidegate_worker::{Attempt, Effects, Handler, Migration, Outcome, Worker};

/// Counts events: adding one is not idempotent, the ledger makes it happen once per event.
struct Count;

impl Handler for Count {
    async fn handle(&self, attempt: Attempt<'_>) -> Outcome {
        let event_type = attempt.event.event_type.as_str();
        Outcome::Done(Effects::none().sql(
            "INSERT INTO event_counts (event_type, events) VALUES ($1, 1)
             ON CONFLICT (event_type) DO UPDATE SET events = event_counts.events + 1",
            [event_type.into()],
        ))
    }

    fn migrations(&self) -> Vec<Migration> {
        let sql = "CREATE TABLE IF NOT EXISTS event_counts (event_type TEXT PRIMARY KEY, events BIGINT NOT NULL)";
        vec![Migration { id: "event_counts/1", sql }]
    }
}

fn main() -> ExitCode {
    Worker::new().handler("count", |_config| Ok(Count)).main()
}
