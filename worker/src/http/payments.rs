//! `POST /payments`: a worked example of a write that a caller may repeat without doing it twice.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tidegate_shared::event::{CallerName, Currency, RequestId};
use tidegate_shared::ledger::Effects;
use utoipa::ToSchema;

use super::Http;
use super::idempotency::{Keyed, Reply, idempotent};
use super::respond::HttpError;
use crate::handle::payments::ADD_TO_BALANCE;
use tidegate_shared::problem::Problem;

/// The largest amount, in the currency's minor unit: millions of payments of it still fit one balance.
const AMOUNT_MAX: i64 = 999_999_999_999;
/// The longest id of a payment, in bytes. Stripe's have under 30.
const ID_MAX: usize = 128;

/// Fails if the payment is there already, unlike the handler's: an event may repeat itself, a caller must not pay the
/// same payment under another key.
const INSERT_PAYMENT: &str =
    "INSERT INTO payments (payment_id, status, amount, currency, event_id) VALUES ($1, $2, $3, $4, $5)";
const SUCCEEDED: &str = "succeeded";

/// A payment to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPayment {
    /// The caller's own id of it, 1 to 128 printable ASCII characters; one is made up where none is given.
    #[schema(example = "pay_1001", max_length = 128)]
    payment_id: Option<String>,
    /// In the currency's minor unit.
    #[schema(example = 4_200, minimum = 1, maximum = 999_999_999_999_i64)]
    amount: i64,
    /// Three letters of ISO 4217 in any case.
    #[schema(example = "eur")]
    currency: String,
}

/// A payment that is made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MadePayment {
    #[schema(example = "pay_1001")]
    payment_id: String,
    /// Always `succeeded`.
    #[schema(example = "succeeded")]
    status: &'static str,
    /// In the currency's minor unit.
    #[schema(example = 4_200)]
    amount: i64,
    /// In lower case, as it is recorded.
    #[schema(example = "eur")]
    currency: String,
}

/// Makes a payment, once for each `Idempotency-Key`.
#[utoipa::path(
    post,
    path = "/payments",
    tag = "api",
    operation_id = "make_payment",
    params((
        "Idempotency-Key" = String, Header, example = "8e03978e-40d5-43dd-bc93-6894a57f9324",
        description = "1 to 255 printable ASCII characters, quoted or not: a new one for each new payment, the same one \
                       for each retry. Its answer is kept for `http.idempotency_window`."
    )),
    request_body = NewPayment,
    responses(
        (status = 201, description = "It is made, now or before.", body = MadePayment, headers(
            ("Idempotency-Replayed" = String, description = "`true` if an earlier request made it.")
        )),
        (status = 400, description = "`bad_request`, `idempotency_key_missing` or `idempotency_key_invalid`. The key is \
                                      not used up.", body = Problem),
        (status = 401, description = "`unauthorized`: no token of a caller.", body = Problem),
        (status = 408, description = "`request_timeout`: the body did not arrive.", body = Problem),
        (status = 409, description = "`in_progress`: a request with this key is at work, see Retry-After. `conflict`: \
                                      there is a payment with this id, made under another key.", body = Problem),
        (status = 413, description = "`body_too_large`.", body = Problem),
        (status = 422, description = "`idempotency_key_reused`: the key belongs to another request.", body = Problem),
        (status = 500, description = "`internal`.", body = Problem),
        (status = 503, description = "`unavailable`: retry with the same key, see Retry-After.", body = Problem)
    ),
    security((), ("caller_token" = []))
)]
pub(super) async fn pay(
    State(http): State<Arc<Http>>,
    Extension(caller): Extension<CallerName>,
    request: Request,
) -> Result<Response, HttpError> {
    let work = |keyed: Arc<Keyed>| std::future::ready(payment(&keyed.body, &keyed.reference()));
    idempotent(&http, caller, "POST /payments", request, work).await
}

/// What a payment does, and its answer.
fn payment(body: &[u8], reference: &str) -> Result<Reply, HttpError> {
    let bad = HttpError::BadRequest;
    let new: NewPayment = serde_json::from_slice(body).map_err(|error| bad(format!("not a payment: {error}")))?;
    if !(1..=AMOUNT_MAX).contains(&new.amount) {
        return Err(bad(format!("amount: expected 1 to {AMOUNT_MAX} in the currency's minor unit")));
    }
    let currency = Currency::try_new(&new.currency.to_ascii_uppercase()).map_err(|error| bad(error.to_string()))?;
    // As Stripe writes them: one balance a currency, whichever way its payments come.
    let currency = currency.as_str().to_ascii_lowercase();
    let payment_id = match new.payment_id {
        Some(id) if !id.is_empty() && id.len() <= ID_MAX && id.bytes().all(|b| b.is_ascii_graphic()) => id,
        Some(_) => return Err(bad(format!("payment_id: expected 1 to {ID_MAX} printable ASCII characters"))),
        None => format!("pay_{}", RequestId::generate().as_str().replace('-', "")),
    };
    let row =
        [payment_id.as_str().into(), SUCCEEDED.into(), new.amount.into(), currency.as_str().into(), reference.into()];
    let effects =
        Effects::none().sql(INSERT_PAYMENT, row).sql(ADD_TO_BALANCE, [currency.as_str().into(), new.amount.into()]);
    let made = MadePayment { payment_id, status: SUCCEEDED, amount: new.amount, currency };
    Ok(Reply {
        status: StatusCode::CREATED,
        body: serde_json::json!(made),
        effects: effects.statements,
        conflict: "there is a payment with this payment_id, made under another Idempotency-Key",
    })
}

#[cfg(test)]
mod tests {
    use tidegate_shared::ledger::Value;

    use super::*;

    #[test]
    fn a_payment_is_recorded_and_counted() {
        let body = br#"{"payment_id":"pay_1","amount":4200,"currency":"EUR"}"#;
        let reply = payment(body, "api:ref").expect("it is a payment");
        assert_eq!(reply.status, StatusCode::CREATED);
        let expected = serde_json::json!({
            "payment_id": "pay_1", "status": "succeeded", "amount": 4_200, "currency": "eur"
        });
        assert_eq!(reply.body, expected);
        let text = |text: &str| Value::Text(text.to_owned());
        let [insert, add] = reply.effects.as_slice() else { panic!("two statements") };
        assert_eq!(insert.params, [text("pay_1"), text("succeeded"), Value::Int(4_200), text("eur"), text("api:ref")]);
        assert_eq!((&*add.sql, add.params.as_slice()), (ADD_TO_BALANCE, &[text("eur"), Value::Int(4_200)][..]));
    }

    #[test]
    fn an_id_is_made_up_where_none_is_given() {
        let reply = payment(br#"{"amount":1,"currency":"usd"}"#, "").expect("it is a payment");
        let id = reply.body["payment_id"].as_str().expect("text").to_owned();
        assert!(id.starts_with("pay_") && id.len() == 36, "{id}");
    }

    #[test]
    fn what_is_no_payment_is_refused() {
        let long = format!(r#"{{"amount":1,"currency":"eur","payment_id":"{}"}}"#, "x".repeat(129));
        for body in [
            "",
            "[]",
            r#"{"currency":"eur"}"#,
            r#"{"amount":0,"currency":"eur"}"#,
            r#"{"amount":-1,"currency":"eur"}"#,
            r#"{"amount":1.5,"currency":"eur"}"#,
            r#"{"amount":"1","currency":"eur"}"#,
            r#"{"amount":1000000000000,"currency":"eur"}"#,
            r#"{"amount":1,"currency":"euro"}"#,
            r#"{"amount":1,"currency":"eur","payment_id":""}"#,
            r#"{"amount":1,"currency":"eur","payment_id":"a b"}"#,
            r#"{"amount":1,"currency":"eur","extra":1}"#,
            &long,
        ] {
            assert!(matches!(payment(body.as_bytes(), ""), Err(HttpError::BadRequest(_))), "{body}");
        }
    }
}
