//! Exchange rates: <https://www.exchangerate-api.com/docs/free> without a key, and
//! <https://www.exchangerate-api.com/docs/standard-requests> with one.

use std::collections::BTreeMap;

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidegate_shared::event::Currency;

use crate::api::{Answer, Api, ApiError, Call, CallFailure, Json, Read};

/// What one unit of a currency is worth in others.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates<N = f64> {
    /// Units of each other currency for it.
    pub rates: BTreeMap<String, N>,
    /// When the API last changed them.
    pub updated_at: Option<Timestamp>,
}

/// Asks for the rates of a currency.
#[must_use]
pub fn call(base: &Currency) -> Call {
    Call::get("/v6/latest").segment(base.as_str())
}

/// The rates of a currency.
///
/// # Errors
/// [`ApiError`]; a currency that is not known has the status 404.
pub async fn latest(api: &Api, base: &Currency) -> Result<Answer<Rates>, ApiError> {
    api.call_for::<RawRates<f64>>(call(base)).await
}

/// The rates are read as `N`: a number, or the digits as they came. The two services differ in one name. Both say `"result": "error"`, with any status.
#[derive(Debug, Deserialize)]
pub(crate) struct RawRates<N> {
    #[serde(rename = "error-type")]
    error_type: Option<String>,
    #[serde(alias = "conversion_rates")]
    rates: Option<BTreeMap<String, N>>,
    time_last_update_unix: Option<i64>,
}

impl<N: DeserializeOwned> Read for RawRates<N> {
    type Answer = Rates<N>;

    fn read(body: &[u8]) -> Result<Rates<N>, CallFailure> {
        Json::<Self>::read(body)?.into_answer()
    }
}

impl<N> RawRates<N> {
    /// An error that came with a success's status fails as if it had come with its own.
    fn into_answer(self) -> Result<Rates<N>, CallFailure> {
        if let Some(error) = self.error_type {
            return Err(failure(&error));
        }
        let rates = self.rates.ok_or_else(|| CallFailure::Malformed("no rates".to_owned()))?;
        let updated_at = self.time_last_update_unix.and_then(|second| Timestamp::from_second(second).ok());
        Ok(Rates { rates, updated_at })
    }
}

/// What the documented error types mean as a status.
fn failure(error_type: &str) -> CallFailure {
    let status = match error_type {
        "unsupported-code" | "unknown-code" => StatusCode::NOT_FOUND,
        "malformed-request" => StatusCode::BAD_REQUEST,
        "quota-reached" => StatusCode::TOO_MANY_REQUESTS,
        "invalid-key"
        | "inactive-account"
        | "not-available-on-plan"
        | "plan-upgrade-required"
        | "base-code-only-on-pro" => StatusCode::FORBIDDEN,
        other => return CallFailure::Malformed(format!("the error {other:?}")),
    };
    CallFailure::Status { status, retry_after: None, excerpt: error_type.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> Result<Rates, CallFailure> {
        serde_json::from_str::<RawRates<f64>>(raw).expect("it is read").into_answer()
    }

    #[test]
    fn both_services_are_read() {
        let check = |raw: &str, eur: f64, updated: &str| {
            let rates = read(raw).expect("rates");
            assert_eq!(rates.rates.get("EUR"), Some(&eur));
            assert_eq!(rates.updated_at.map(|at| at.to_string()).as_deref(), Some(updated));
        };
        let open = include_str!("../../../../fixtures/api/open-er-api/latest_usd.json");
        check(open, 0.919, "2020-04-03T00:06:37Z");
        let keyed = include_str!("../../../../fixtures/api/exchangerate-api/latest_usd.json");
        check(keyed, 0.9013, "2020-03-27T00:00:00Z");
    }

    #[test]
    fn an_error_with_a_success_status_keeps_its_meaning() {
        let check = |raw: &str, expected: u16| {
            assert!(
                matches!(read(raw), Err(CallFailure::Status { status, .. }) if status == expected),
                "{expected}: {raw}"
            );
        };
        check(include_str!("../../../../fixtures/api/open-er-api/unsupported_code.json"), 404);
        check(include_str!("../../../../fixtures/api/exchangerate-api/unsupported_code.json"), 404);
        check(include_str!("../../../../fixtures/api/exchangerate-api/invalid_key.json"), 403);
        check(include_str!("../../../../fixtures/api/exchangerate-api/quota_reached.json"), 429);
        assert!(matches!(read(r#"{"result":"error","error-type":"new"}"#), Err(CallFailure::Malformed(_))));
        assert!(matches!(read(r#"{"result":"success"}"#), Err(CallFailure::Malformed(_))));
    }

    #[test]
    fn the_base_is_a_part_of_the_path() {
        let base = Currency::try_new("EUR").expect("a currency");
        assert_eq!(call(&base).path_and_query(), "/v6/latest/EUR");
    }
}
