//! The handler whose effects are counted: nothing about them is idempotent.

use tidegate_worker::{Attempt, Effects, Handler, Migration, Outcome};

use crate::plan::{Body, Kind, fingerprint};

/// Adds a row and counts one up, or fails as the event's body says.
#[derive(Debug)]
pub struct Effect;

impl Handler for Effect {
    async fn handle(&self, attempt: Attempt<'_>) -> Outcome {
        let body = &attempt.event.body;
        let Ok(Body { number, kind, .. }) = serde_json::from_slice(body) else {
            return Outcome::reject("the body is not one that was sent");
        };
        match kind {
            Kind::Failing => return Outcome::retry("poison: it fails every time"),
            Kind::Rejected => return Outcome::reject("poison: it is refused"),
            Kind::Flaky if attempt.number == 1 => return Outcome::retry("it fails once"),
            Kind::Good | Kind::Flaky => {}
        }
        Outcome::Done(
            Effects::none()
                .sql(
                    "INSERT INTO chaos_effects (event, fingerprint, attempt) VALUES ($1, $2, $3)",
                    [number.cast_signed().into(), fingerprint(body).into(), i64::from(attempt.number).into()],
                )
                .sql("UPDATE chaos_counter SET total = total + 1", []),
        )
    }

    fn migrations(&self) -> Vec<Migration> {
        let sql =
            "CREATE TABLE chaos_effects (event BIGINT NOT NULL, fingerprint TEXT NOT NULL, attempt BIGINT NOT NULL);
                   CREATE TABLE chaos_counter (total BIGINT NOT NULL);
                   INSERT INTO chaos_counter (total) VALUES (0)";
        vec![Migration { id: "chaos/1", sql }]
    }
}
