//! `payments`: a worked example of an effect that must happen once. Stripe's payment intents become rows, and a
//! success adds to a balance: adding is not idempotent, the inbox makes it happen once.

use serde::Deserialize;
use tidegate_shared::ledger::{Effects, Migration};

use super::{Attempt, Handler, Outcome};

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS payments (
    payment_id TEXT PRIMARY KEY,
    status     TEXT NOT NULL,
    amount     BIGINT NOT NULL,
    currency   TEXT NOT NULL,
    event_id   TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS balances (
    currency TEXT PRIMARY KEY,
    amount   BIGINT NOT NULL
);";

/// Stripe does not send events in order: a failure that arrives after the success does not undo it.
const UPSERT_PAYMENT: &str = "
INSERT INTO payments (payment_id, status, amount, currency, event_id) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (payment_id) DO UPDATE SET
    status = excluded.status, amount = excluded.amount, currency = excluded.currency, event_id = excluded.event_id
WHERE payments.status <> 'succeeded'";

/// Adds an amount to the balance of its currency.
pub(crate) const ADD_TO_BALANCE: &str = "
INSERT INTO balances (currency, amount) VALUES ($1, $2)
ON CONFLICT (currency) DO UPDATE SET amount = balances.amount + excluded.amount";

/// Payment intents of Stripe: <https://docs.stripe.com/api/payment_intents/object>.
#[derive(Debug)]
pub(super) struct Payments;

#[derive(Deserialize)]
struct StripeEvent {
    data: StripeData,
}

#[derive(Deserialize)]
struct StripeData {
    object: PaymentIntent,
}

#[derive(Deserialize)]
struct PaymentIntent {
    id: String,
    /// In the currency's minor unit.
    amount: i64,
    /// What was captured, which can be less than `amount`.
    #[serde(default)]
    amount_received: i64,
    currency: String,
}

impl Handler for Payments {
    async fn handle(&self, attempt: Attempt<'_>) -> Outcome {
        let status = match attempt.event.event_type.as_str() {
            "payment_intent.succeeded" => "succeeded",
            "payment_intent.payment_failed" => "failed",
            _ => return Outcome::Done(Effects::none()),
        };
        let PaymentIntent { id, amount, amount_received, currency } =
            match serde_json::from_slice::<StripeEvent>(&attempt.event.body) {
                Ok(event) => event.data.object,
                Err(error) => return Outcome::reject(format!("not a payment intent: {error}")),
            };
        let amount = if amount_received > 0 { amount_received } else { amount };
        let event_id = attempt.event.id.as_str();
        let effects = Effects::none()
            .sql(UPSERT_PAYMENT, [id.into(), status.into(), amount.into(), currency.as_str().into(), event_id.into()]);
        Outcome::Done(match status {
            "succeeded" => effects.sql(ADD_TO_BALANCE, [currency.into(), amount.into()]),
            _ => effects,
        })
    }

    fn migrations(&self) -> Vec<Migration> {
        migrations()
    }
}

/// The tables of payments, which `POST /payments` writes as well.
pub(crate) fn migrations() -> Vec<Migration> {
    vec![Migration { id: "payments/1", sql: TABLES }]
}
