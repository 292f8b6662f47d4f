//! A worker of one's own: every built-in handler, one that counts events by type, and one that calls two APIs in a saga.

use std::collections::BTreeMap;
use std::process::ExitCode;

use tidegate_worker::api::Call;
use tidegate_worker::{Attempt, Effects, Handler, Migration, Outcome, Saga, Step, StepError, StepResult, Worker};

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

/// Opens a ticket and calls someone about it. Where nobody can be called, the ticket is closed again.
struct Alert(Saga<()>);

impl Alert {
    fn new() -> Self {
        Self(Saga::new().step("ticket", open_ticket).undo(close_ticket).step("page", page))
    }
}

impl Handler for Alert {
    async fn handle(&self, attempt: Attempt<'_>) -> Outcome {
        self.0.run(&attempt, (), |(), _| Ok(Effects::none())).await
    }
}

async fn open_ticket(cx: Step<()>) -> StepResult<String> {
    let call = Call::post("/tickets").idempotency_key(cx.idempotency_key()).json(cx.event().id.as_str());
    let ticket: BTreeMap<String, String> = cx.api("tickets")?.call(call).await?.value;
    ticket.get("id").cloned().ok_or_else(|| StepError::retry("a ticket without an id"))
}

async fn close_ticket(cx: Step<()>) -> StepResult<()> {
    let ticket: String = cx.result("ticket")?;
    let call = Call::delete("/tickets").segment(&ticket).idempotency_key(cx.idempotency_key());
    Ok(cx.api("tickets")?.send(call).await?)
}

async fn page(cx: Step<()>) -> StepResult<()> {
    let ticket: String = cx.result("ticket")?;
    let call = Call::post("/pages").idempotency_key(cx.idempotency_key()).json(&ticket);
    Ok(cx.api("pager")?.send(call).await?)
}

fn main() -> ExitCode {
    Worker::new().handler("count", |_config| Ok(Count)).handler("alert", |_config| Ok(Alert::new())).main()
}
