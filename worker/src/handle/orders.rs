//! `orders`: a worked example of a saga. A shop's new order goes through five systems, and is undone where one of them
//! refuses it.
//!
//! The event is JSON: `{"type": "order.created", "data": {"order_id", "customer": {"email", "name"}, "currency", "total",
//! "items": [{"sku", "quantity"}], "payment_method"}}`, the total in the currency's minor unit. Other types are handled
//! without doing anything. The systems are the five APIs of [`ORDERS_APIS`], which speak plain JSON:
//!
//! | step | call | body | answer | undone by |
//! | --- | --- | --- | --- | --- |
//! | `contact` | crm `GET /contacts?email=` | | `{"contacts": [{"id"}]}` | |
//! | | crm `POST /contacts`, where there is none | `email`, `name` | `{"id"}` | |
//! | `deal` | crm `POST /deals` | `contact_id`, `order_id`, `amount`, `currency` | `{"id"}` | crm `DELETE /deals/{id}` |
//! | `stock` | stock `POST /reservations` | `order_id`, `items` | `{"id"}` | stock `DELETE /reservations/{id}` |
//! | `payment` | payment `POST /payments` | `order_id`, `amount`, `currency`, `payment_method` | `{"id"}` | payment `POST /payments/{id}/refunds` |
//! | `notify` | notify `POST /messages` | `template`, `to`, `name`, `order_id` | any | |
//! | `analytics` | analytics `POST /events` | `event`, `order_id`, `amount`, `currency` | any | |
//!
//! Every write carries an `Idempotency-Key`. What is refused for good says so by a 402 (payment) or a 422 (stock); a 409
//! means that the same key is being worked on. A customer stays a contact whatever becomes of the order. Once it is paid,
//! nothing turns it back: a message or a statistic that is refused is skipped. (The refund is for two workers that pay
//! at once, and are answered differently.)
//!
//! Keys are an event's: two events of one order are two orders, so the shop must send each once, or give it one id.
//!
//! Each order is a row of `orders`, `completed` or `rejected` with the reason; a rejected one may be ordered again.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
#[cfg(doc)]
use tidegate_shared::config::ORDERS_APIS;
use tidegate_shared::ledger::{Effects, Migration};

use super::{Attempt, Handler, Outcome};
use crate::api::{ApiError, Call};
use crate::saga::{Ended, Saga, Step, StepResult};

const TABLE: &str = "
CREATE TABLE IF NOT EXISTS orders (
    order_id       TEXT PRIMARY KEY,
    status         TEXT NOT NULL,
    reason         TEXT,
    contact_id     TEXT,
    deal_id        TEXT,
    reservation_id TEXT,
    payment_id     TEXT,
    total          BIGINT NOT NULL,
    currency       TEXT NOT NULL,
    event_id       TEXT NOT NULL
);";

/// What is completed stays so, whatever a later event says of the same order.
const UPSERT_ORDER: &str = "
INSERT INTO orders
    (order_id, status, reason, contact_id, deal_id, reservation_id, payment_id, total, currency, event_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (order_id) DO UPDATE SET
    status = excluded.status, reason = excluded.reason, contact_id = excluded.contact_id, deal_id = excluded.deal_id,
    reservation_id = excluded.reservation_id, payment_id = excluded.payment_id, total = excluded.total,
    currency = excluded.currency, event_id = excluded.event_id
WHERE orders.status <> 'completed'";

/// New orders of a shop.
#[derive(Debug)]
pub(super) struct Orders {
    saga: Saga<Order>,
}

#[derive(Debug, Deserialize)]
struct OrderEvent {
    data: Order,
}

#[derive(Debug, Deserialize)]
struct Order {
    order_id: String,
    customer: Customer,
    currency: String,
    /// In the currency's minor unit.
    total: i64,
    items: Vec<Item>,
    payment_method: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Customer {
    email: String,
    name: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Item {
    sku: String,
    quantity: u32,
}

/// What an API made, by the id that it gave: the result of most steps.
#[derive(Debug, Deserialize, Serialize)]
struct Made {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Contacts {
    contacts: Vec<Made>,
}

impl Orders {
    pub(super) fn new() -> Self {
        let saga = Saga::new()
            .step("contact", contact)
            .step("deal", deal)
            .undo(delete_deal)
            .step("stock", reserve)
            .undo(release)
            .step("payment", pay)
            .undo(refund)
            .optional_step("notify", notify)
            .optional_step("analytics", count);
        Self { saga }
    }
}

impl Handler for Orders {
    async fn handle(&self, attempt: Attempt<'_>) -> Outcome {
        if attempt.event.event_type.as_str() != "order.created" {
            return Outcome::Done(Effects::none());
        }
        let order = match serde_json::from_slice::<OrderEvent>(&attempt.event.body) {
            Ok(event) => event.data,
            Err(error) => return Outcome::reject(format!("not an order: {error}")),
        };
        let event_id = attempt.event.id.as_str();
        self.saga.run(&attempt, order, |order, ended| effects(order, ended, event_id)).await
    }

    fn migrations(&self) -> Vec<Migration> {
        vec![Migration { id: "orders/1", sql: TABLE }]
    }
}

fn effects(order: &Order, ended: Ended, event_id: &str) -> StepResult<Effects> {
    let (status, reason, ids) = match ended {
        Ended::Done(results) => {
            let id = |step| results.get::<Made>(step).map(|made| Some(made.id));
            ("completed", None, [id("contact")?, id("deal")?, id("stock")?, id("payment")?])
        }
        Ended::Compensated(rejection) => {
            ("rejected", Some(format!("{}: {}", rejection.step, rejection.reason)), [None, None, None, None])
        }
    };
    let [contact, deal, reservation, payment] = ids;
    Ok(Effects::none().sql(
        UPSERT_ORDER,
        [
            order.order_id.as_str().into(),
            status.into(),
            reason.into(),
            contact.into(),
            deal.into(),
            reservation.into(),
            payment.into(),
            order.total.into(),
            order.currency.as_str().into(),
            event_id.into(),
        ],
    ))
}

async fn contact(cx: Step<Order>) -> StepResult<Made> {
    let (crm, customer) = (cx.api("crm")?, &cx.input().customer);
    // Never an answer of before: whoever is not found is made.
    let known = Call::get("/contacts").query("email", &customer.email).uncached();
    let found = crm.call::<Contacts>(known).await?.value;
    if let Some(contact) = found.contacts.into_iter().next() {
        return Ok(contact);
    }
    Ok(crm.call(write(&cx, Call::post("/contacts")).json(customer)).await?.value)
}

async fn deal(cx: Step<Order>) -> StepResult<Made> {
    let order = cx.input();
    let body = json!({
        "contact_id": cx.result::<Made>("contact")?.id,
        "order_id": order.order_id,
        "amount": order.total,
        "currency": order.currency,
    });
    Ok(cx.api("crm")?.call(write(&cx, Call::post("/deals")).json(&body)).await?.value)
}

async fn delete_deal(cx: Step<Order>) -> StepResult<()> {
    let deal: Made = cx.result("deal")?;
    gone(cx.api("crm")?.send(write(&cx, Call::delete("/deals").segment(&deal.id))).await)
}

async fn reserve(cx: Step<Order>) -> StepResult<Made> {
    let order = cx.input();
    let body = json!({ "order_id": order.order_id, "items": order.items });
    let call = write(&cx, Call::post("/reservations")).json(&body);
    Ok(cx.api("stock")?.call(call).await?.value)
}

async fn release(cx: Step<Order>) -> StepResult<()> {
    let reservation: Made = cx.result("stock")?;
    let call = Call::delete("/reservations").segment(&reservation.id);
    gone(cx.api("stock")?.send(write(&cx, call)).await)
}

async fn pay(cx: Step<Order>) -> StepResult<Made> {
    let order = cx.input();
    let body = json!({
        "order_id": order.order_id,
        "amount": order.total,
        "currency": order.currency,
        "payment_method": order.payment_method,
    });
    Ok(cx.api("payment")?.call(write(&cx, Call::post("/payments")).json(&body)).await?.value)
}

async fn refund(cx: Step<Order>) -> StepResult<Made> {
    let payment: Made = cx.result("payment")?;
    let call = Call::post("/payments").segment(&payment.id).segment("refunds");
    let body = json!({ "amount": cx.input().total });
    Ok(cx.api("payment")?.call(write(&cx, call).json(&body)).await?.value)
}

async fn notify(cx: Step<Order>) -> StepResult<()> {
    let order = cx.input();
    let body = json!({
        "template": "order_completed",
        "to": order.customer.email,
        "name": order.customer.name,
        "order_id": order.order_id,
    });
    Ok(cx.api("notify")?.send(write(&cx, Call::post("/messages")).json(&body)).await?)
}

async fn count(cx: Step<Order>) -> StepResult<()> {
    let order = cx.input();
    let body = json!({
        "event": "order_completed",
        "order_id": order.order_id,
        "amount": order.total,
        "currency": order.currency,
    });
    Ok(cx.api("analytics")?.send(write(&cx, Call::post("/events")).json(&body)).await?)
}

/// A call that changes something, and does it once.
fn write(cx: &Step<Order>, call: Call) -> Call {
    call.idempotency_key(cx.idempotency_key())
}

/// What is not there any more needs no deleting.
fn gone(deleted: Result<(), ApiError>) -> StepResult<()> {
    match deleted {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.status(), Some(StatusCode::NOT_FOUND | StatusCode::GONE)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {

    use tidegate_shared::event::ApiName;
    use tidegate_shared::ledger::Value;

    use super::*;
    use crate::api::CallFailure;
    use crate::saga::Rejection;
    use crate::saga::StepError;

    fn order(fixture: &str) -> Order {
        serde_json::from_str::<OrderEvent>(fixture).expect("an order").data
    }

    #[test]
    fn every_sample_is_an_order() {
        let total = |fixture| order(fixture).total;
        assert_eq!(total(include_str!("../../../fixtures/orders/order.created.json")), 4200);
        assert_eq!(total(include_str!("../../../fixtures/orders/order.created-declined.json")), 1500);
        assert_eq!(total(include_str!("../../../fixtures/orders/order.created-out-of-stock.json")), 9900);
    }

    #[test]
    fn a_rejected_order_is_a_row_with_its_reason() {
        let order = order(include_str!("../../../fixtures/orders/order.created-declined.json"));
        let rejection = Rejection { step: "payment", reason: "declined".to_owned() };
        let effects = effects(&order, Ended::Compensated(rejection), "evt_1").expect("effects");
        let params = &effects.statements[0].params;
        assert_eq!(params[..3], ["ord_1002".into(), "rejected".into(), "payment: declined".into()]);
        assert_eq!(params[3..7], [Value::Null, Value::Null, Value::Null, Value::Null]);
        assert_eq!(params[7..], [1500_i64.into(), "jpy".into(), "evt_1".into()]);
    }

    #[test]
    fn what_is_gone_is_deleted() {
        let error = |status| ApiError {
            api: ApiName::try_new("crm").expect("a name"),
            failure: CallFailure::Status { status, retry_after: None, excerpt: String::new() },
        };
        assert_eq!(gone(Ok(())), Ok(()));
        assert_eq!(gone(Err(error(StatusCode::NOT_FOUND))), Ok(()));
        assert_eq!(gone(Err(error(StatusCode::GONE))), Ok(()));
        assert!(matches!(gone(Err(error(StatusCode::BAD_REQUEST))), Err(StepError::Reject { .. })));
        assert!(matches!(gone(Err(error(StatusCode::BAD_GATEWAY))), Err(StepError::Retry { .. })));
    }
}
