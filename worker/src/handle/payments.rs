//! `payments`: a worked example of an effect that must happen once. Stripe's payment intents become rows, and a
//! success adds to a balance: adding is not idempotent, the inbox makes it happen once.
//!
//! With a `currency`, every success is converted to it before it is added; the payment's row keeps what was paid. The
//! rate is a step, `rate`, whose result says which one was used, and how old it was; it commits together with the
//! balance, so that no amount is ever counted at two rates. Without a fresh rate the API's `stale_if_error` says how old
//! a kept one may be, beyond which the event is tried again later.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_shared::config::ApiPreset;
use tidegate_shared::event::Currency;
use tidegate_shared::ledger::{Effects, Migration};

use super::{Attempt, Handler, Outcome};
use crate::api::Source;
use crate::api::preset::rates;
use crate::saga::{Ended, Saga, Step, StepError, StepResult};

mod convert;

use convert::{ExchangeRate, convert};

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
pub(super) struct Payments {
    /// The balances' currency, if there is to be one.
    currency: Option<Currency>,
    conversion: Saga<ToConvert>,
}

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

#[derive(Debug)]
struct ToConvert {
    amount: i64,
    from: Currency,
    to: Currency,
}

/// Rates with their digits as they came.
type Rates = rates::Rates<Box<RawValue>>;

/// What was added to the balance, for the event's story.
#[derive(Debug, Serialize)]
struct Converted {
    amount: i64,
    currency: String,
    rate: String,
    source: Source,
    age_seconds: u64,
}

/// What the effects need of it.
#[derive(Debug, Deserialize)]
struct ConvertedAmount {
    amount: i64,
}

impl Payments {
    pub(super) fn new(currency: Option<Currency>) -> Self {
        Self { currency, conversion: Saga::new().step("rate", convert_now) }
    }
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
        if status != "succeeded" {
            return Outcome::Done(effects);
        }
        let (to, from) = match (&self.currency, Currency::try_new(&currency.to_ascii_uppercase())) {
            (Some(to), Ok(from)) if *to != from => (to.clone(), from),
            (Some(_), Err(error)) => return Outcome::reject(format!("{currency:?} is no currency: {error}")),
            (_, _) => return Outcome::Done(effects.sql(ADD_TO_BALANCE, [currency.into(), amount.into()])),
        };
        // As Stripe writes currencies, so that what needs no conversion is added to the same balance.
        let balance = to.as_str().to_ascii_lowercase();
        let add = |_: &ToConvert, ended| match ended {
            Ended::Done(results) => {
                let converted: ConvertedAmount = results.get("rate")?;
                Ok(effects.sql(ADD_TO_BALANCE, [balance.into(), converted.amount.into()]))
            }
            // Nothing comes before the rate that could be undone.
            Ended::Compensated(rejection) => Err(StepError::reject(rejection.reason)),
        };
        self.conversion.run(&attempt, ToConvert { amount, from, to }, add).await
    }

    fn migrations(&self) -> Vec<Migration> {
        migrations()
    }
}

/// The tables of payments, which `POST /payments` writes as well.
pub(crate) fn migrations() -> Vec<Migration> {
    vec![Migration { id: "payments/1", sql: TABLES }]
}

async fn convert_now(cx: Step<ToConvert>) -> StepResult<Converted> {
    let presets: Vec<_> = ApiPreset::ALL.into_iter().filter(|preset| preset.has_rates()).collect();
    let api = cx.api_with_preset(&presets)?;
    let answer = api.call_for::<rates::RawRates<Box<RawValue>>>(rates::call(&cx.input().from)).await?;
    let (amount, rate) = converted(cx.input(), &answer.value)?;
    let currency = cx.input().to.as_str().to_ascii_lowercase();
    Ok(Converted { amount, currency, rate, source: answer.source, age_seconds: answer.age.as_secs() })
}

/// The converted amount and the rate, as the API wrote it.
///
/// A rate that is missing is no passing fault: the event is a dead letter at once, and can be replayed once the
/// configuration names an API that has it. Nonsense in its place may pass.
fn converted(ToConvert { amount, from, to }: &ToConvert, rates: &Rates) -> StepResult<(i64, String)> {
    let number = rates.rates.get(to.as_str());
    let number = number.ok_or_else(|| StepError::reject(format!("there is no rate from {from} to {to}")))?;
    let nonsense = || StepError::retry(format!("the rate from {from} to {to} is {number}"));
    let rate = ExchangeRate::from_json(number).ok_or_else(nonsense)?;
    let too_large = || StepError::reject(format!("{amount} of {from} is too much to convert to {to} at {number}"));
    let amount = convert(*amount, from.as_str(), to.as_str(), rate).ok_or_else(too_large)?;
    Ok((amount, number.get().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Read as _;

    fn to_convert(from: &str, to: &str) -> ToConvert {
        let currency = |text| Currency::try_new(text).expect("a currency");
        ToConvert { amount: 2000, from: currency(from), to: currency(to) }
    }

    fn read(answer: &str) -> Rates {
        rates::RawRates::<Box<RawValue>>::read(answer.as_bytes()).expect("rates")
    }

    #[test]
    fn rates_are_read_from_the_answers_of_both_apis() {
        let open = r#"{"result": "success", "base_code": "USD", "rates": {"USD": 1, "EUR": 0.9241}}"#;
        let keyed = r#"{"result": "success", "base_code": "USD", "conversion_rates": {"USD": 1, "EUR": 0.9241}}"#;
        for answer in [open, keyed] {
            assert_eq!(converted(&to_convert("USD", "EUR"), &read(answer)), Ok((1848, "0.9241".to_owned())));
        }
    }

    #[test]
    fn a_missing_rate_is_for_an_operator_and_a_broken_one_may_pass() {
        let rates = |rates: &str| read(&format!(r#"{{"rates": {rates}}}"#));
        let check = |json: &str, retries: bool| match converted(&to_convert("USD", "EUR"), &rates(json)) {
            Ok(converted) => panic!("{json}: {converted:?}"),
            Err(error) => assert_eq!(matches!(error, StepError::Retry { .. }), retries, "{json}"),
        };
        check("{}", false);
        check(r#"{"EUR": null}"#, true);
        check(r#"{"EUR": -1}"#, true);
        check(r#"{"EUR": 1e17}"#, false);
    }
}
