use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use tidegate_shared::event::{BodyHash, Currency, EventId, EventKey, EventType, RequestId, SourceName};
use tidegate_shared::ledger::Value;

use super::*;

fn event(event_type: &str, body: &str) -> Arc<Event> {
    let source = SourceName::try_new("stripe").expect("a name");
    let id = EventId::try_new("evt_1").expect("an id");
    let body = Bytes::from(body.to_owned());
    Arc::new(Event {
        key: EventKey::new(&source, &id),
        source,
        id,
        event_type: EventType::try_new(event_type).expect("a type"),
        received_at: Timestamp::UNIX_EPOCH,
        request_id: RequestId::generate(),
        traceparent: None,
        content_type: None,
        headers: HeaderMap::new(),
        body_hash: BodyHash::of(&body),
        fingerprint: Some(BodyHash::of(&body)),
        body,
    })
}

fn runnable(handler: impl Handler) -> RunnableHandler {
    let name = HandlerName::try_new("payments").expect("a name");
    RunnableHandler { name, timeout: Duration::from_millis(50), handler: Arc::new(handler) }
}

async fn outcome(handler: impl Handler, event: &Arc<Event>) -> Outcome {
    runnable(handler).run(event, &Progress::default(), None).await
}

struct Panics;
impl Handler for Panics {
    async fn handle(&self, _: Attempt<'_>) -> Outcome {
        panic!("as it must in this test")
    }
}

struct Hangs;
impl Handler for Hangs {
    async fn handle(&self, _: Attempt<'_>) -> Outcome {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt() {
    let Outcome::Retry { reason, .. } = outcome(Panics, &event("x", "")).await else { panic!("it retries") };
    assert!(reason.contains("as it must in this test"), "{reason}");
}

#[tokio::test]
async fn a_handler_that_hangs_is_a_failed_attempt() {
    let Outcome::Retry { reason, .. } = outcome(Hangs, &event("x", "")).await else { panic!("it retries") };
    assert!(reason.contains("timeout of 50ms"), "{reason}");
}

#[test]
fn an_idempotency_key_is_the_same_for_every_attempt() {
    let (event, handler) = (event("x", ""), HandlerName::try_new("orders").expect("a name"));
    let key = |number| Attempt::new(&handler, &event, number).idempotency_key("charge");
    assert_eq!(key(1), key(2));
    assert_eq!(key(1), format!("{}:orders:charge", event.key));
}

#[test]
fn every_handler_of_the_configuration_is_there() {
    let registry = Registry::new();
    assert_eq!(registry.0.keys().collect::<Vec<_>>(), tidegate_shared::config::BUILT_IN_HANDLERS);
}

#[tokio::test]
async fn a_success_adds_to_the_balance_and_a_failure_does_not() {
    let body = r#"{"data": {"object": {"id": "pi_1", "amount": 2000, "currency": "usd"}}}"#;
    let effects = |outcome| match outcome {
        Outcome::Done(effects) => effects.statements,
        Outcome::Retry { .. } | Outcome::Reject { .. } => panic!("it is done"),
    };
    let success = effects(outcome(payments::Payments::new(None), &event("payment_intent.succeeded", body)).await);
    assert_eq!(success.len(), 2);
    assert_eq!(success[1].params, [Value::from("usd"), Value::from(2000_i64)]);
    let failure = effects(outcome(payments::Payments::new(None), &event("payment_intent.payment_failed", body)).await);
    assert_eq!(failure.len(), 1);
    assert_eq!(failure[0].params[1], Value::from("failed"));
    assert!(effects(outcome(payments::Payments::new(None), &event("charge.refunded", body)).await).is_empty());
}

#[tokio::test]
async fn what_was_captured_counts_and_not_what_was_asked_for() {
    let body = r#"{"data": {"object": {"id": "pi_1", "amount": 2000, "amount_received": 1500, "currency": "usd"}}}"#;
    let Outcome::Done(effects) = outcome(payments::Payments::new(None), &event("payment_intent.succeeded", body)).await
    else {
        panic!("it is done")
    };
    assert_eq!(effects.statements[1].params[1], Value::from(1500_i64));
}

#[tokio::test]
async fn a_body_that_is_no_payment_is_rejected_at_once() {
    for body in ["", "[]", "{}", r#"{"data": {"object": {"id": "pi_1"}}}"#] {
        let outcome = outcome(payments::Payments::new(None), &event("payment_intent.succeeded", body)).await;
        assert!(matches!(outcome, Outcome::Reject { .. }), "{body}");
    }
}

fn euros() -> payments::Payments {
    payments::Payments::new(Some(Currency::try_new("EUR").expect("a currency")))
}

#[tokio::test]
async fn only_another_currency_is_converted() {
    let body = |currency: &str| {
        format!(r#"{{"data": {{"object": {{"id": "pi_1", "amount": 2000, "currency": "{currency}"}}}}}}"#)
    };
    let outcome = async |event_type: &str, currency: &str| outcome(euros(), &event(event_type, &body(currency))).await;
    let Outcome::Done(same) = outcome("payment_intent.succeeded", "eur").await else { panic!("it is done") };
    assert_eq!(same.statements[1].params, [Value::from("eur"), Value::from(2000_i64)]);
    assert!(same.steps.is_empty(), "no rate is asked for");
    let other = outcome("payment_intent.succeeded", "usd").await;
    assert!(matches!(&other, Outcome::Retry { reason, .. } if reason.contains("open-er-api")), "{other:?}");
    assert!(matches!(outcome("payment_intent.payment_failed", "usd").await, Outcome::Done(_)));
    assert!(matches!(outcome("payment_intent.succeeded", "dollar").await, Outcome::Reject { .. }));
}

#[tokio::test]
async fn orders_take_new_orders_only() {
    let shipped = include_str!("../../../fixtures/orders/order.shipped.json");
    let done = outcome(orders::Orders::new(), &event("order.shipped", shipped)).await;
    assert_eq!(done, Outcome::Done(Effects::none()));
    let rejected = outcome(orders::Orders::new(), &event("order.created", shipped)).await;
    assert!(matches!(rejected, Outcome::Reject { .. }), "{rejected:?}");
    let created = include_str!("../../../fixtures/orders/order.created.json");
    let retried = outcome(orders::Orders::new(), &event("order.created", created)).await;
    assert!(matches!(&retried, Outcome::Retry { reason, .. } if reason.contains("[api.crm]")), "{retried:?}");
}

#[test]
fn a_handler_may_be_written_with_a_question_mark() {
    assert_eq!(Outcome::from(Ok(Effects::none())), Outcome::Done(Effects::none()));
    assert_eq!(Outcome::from(Err(Outcome::retry("later"))), Outcome::retry("later"));
}
