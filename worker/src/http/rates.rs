//! `GET /rates/{base}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::Serialize;
use tidegate_shared::config::ApiPreset;
use tidegate_shared::event::Currency;
use utoipa::ToSchema;

use super::Http;
use super::respond::HttpError;
use crate::api::preset::rates::{self, Rates};
use crate::api::{Answer, Source};
use crate::openapi::UpstreamProblems;

const EXAMPLE: &str =
    "[api.open-er-api], which needs no key, or [api.exchangerate-api] key = \"env:EXCHANGERATE_API_KEY\"";

/// The exchange rates of a currency.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RatesAnswer {
    /// The currency, in upper case.
    #[schema(example = "EUR")]
    base: String,
    /// Units of each other currency for one of it.
    rates: BTreeMap<String, f64>,
    /// Where the answer comes from.
    source: Source,
    /// Seconds since the API gave or confirmed it.
    age: u64,
    /// When the API last changed the rates.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
}

/// The exchange rates of a currency, now.
#[utoipa::path(
    get,
    path = "/rates/{base}",
    tag = "api",
    operation_id = "exchange_rates",
    params(("base" = String, Path, description = "The currency: three letters of ISO 4217 in any case.", example = "EUR")),
    responses((status = 200, description = "The rates.", body = RatesAnswer), UpstreamProblems),
    security((), ("caller_token" = []))
)]
pub(super) async fn show(
    State(http): State<Arc<Http>>,
    base: Result<Path<String>, PathRejection>,
) -> Result<Json<RatesAnswer>, HttpError> {
    let Path(base) = base?;
    let base = valid(&base)?;
    let api = http.preset(&[ApiPreset::OpenErApi, ApiPreset::ExchangeRateApi], EXAMPLE)?;
    let answer = rates::latest(api, &base).await?;
    Ok(Json(view(&base, answer)))
}

/// The currency that is meant.
pub(super) fn valid(base: &str) -> Result<Currency, HttpError> {
    Currency::try_new(&base.to_ascii_uppercase()).map_err(|error| HttpError::BadRequest(error.to_string()))
}

fn view(base: &Currency, answer: Answer<Rates>) -> RatesAnswer {
    let Answer { value: Rates { rates, updated_at }, source, age } = answer;
    RatesAnswer { base: base.to_string(), rates, source, age: age.as_secs(), updated_at }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_answer_has_the_promised_names() {
        let rates = Rates { rates: [("USD".to_owned(), 1.25)].into(), updated_at: Some(Timestamp::UNIX_EPOCH) };
        let answer = Answer { value: rates, source: Source::Cache, age: Duration::from_secs(3) };
        let json =
            serde_json::to_value(view(&Currency::try_new("EUR").expect("a currency"), answer)).expect("it is JSON");
        let expected = serde_json::json!({
            "base": "EUR", "rates": { "USD": 1.25 }, "source": "cache", "age": 3, "updated_at": "1970-01-01T00:00:00Z"
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_currency_has_three_letters() {
        let check = |base: &str, expected: Option<&str>| {
            assert_eq!(valid(base).ok().as_ref().map(Currency::as_str), expected, "{base:?}");
        };
        check("EUR", Some("EUR"));
        check("eur", Some("EUR"));
        for bad in ["", "EU", "EURO", "E1R", "É€", "../", "ſſſ"] {
            check(bad, None);
        }
    }
}
