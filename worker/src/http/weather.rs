//! `GET /weather/{city}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use tidegate_shared::config::ApiPreset;
use utoipa::ToSchema;

use super::Http;
use super::respond::HttpError;
use crate::api::preset::weather::{self, Weather};
use crate::api::{Answer, Source};
use crate::openapi::UpstreamProblems;

/// The longest name of a city, in characters: the longest known one has 85.
const CITY_MAX: usize = 100;
const EXAMPLE: &str = "[api.openweathermap] key = \"env:OPENWEATHER_API_KEY\"";

/// The weather in a city.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WeatherAnswer {
    /// The city, as the API spells it.
    #[schema(example = "London")]
    city: String,
    /// In degrees Celsius.
    #[schema(example = 8.49)]
    temperature: f64,
    /// In words.
    #[schema(example = "light intensity drizzle")]
    description: String,
    /// Where the answer comes from.
    source: Source,
    /// Seconds since the API gave or confirmed it.
    age: u64,
}

/// The weather in a city, now.
#[utoipa::path(
    get,
    path = "/weather/{city}",
    tag = "api",
    operation_id = "weather_in_city",
    params(("city" = String, Path, description = "The city, 1 to 100 characters; `London,GB` names its country.")),
    responses((status = 200, description = "The weather.", body = WeatherAnswer), UpstreamProblems),
    security((), ("caller_token" = []))
)]
pub(super) async fn show(
    State(http): State<Arc<Http>>,
    city: Result<Path<String>, PathRejection>,
) -> Result<Json<WeatherAnswer>, HttpError> {
    let Path(city) = city?;
    let city = valid(&city)?;
    let api = http.preset(&[ApiPreset::OpenWeatherMap], EXAMPLE)?;
    Ok(Json(view(weather::current(api, city).await?)))
}

/// The city's name, if it can be one.
pub(super) fn valid(city: &str) -> Result<&str, HttpError> {
    let city = city.trim();
    if city.is_empty() || city.chars().count() > CITY_MAX || city.chars().any(char::is_control) {
        return Err(HttpError::BadRequest(format!("the city's name must have 1 to {CITY_MAX} characters")));
    }
    Ok(city)
}

fn view(answer: Answer<Weather>) -> WeatherAnswer {
    let Answer { value: Weather { city, temperature, description }, source, age } = answer;
    WeatherAnswer { city, temperature, description, source, age: age.as_secs() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_answer_has_the_promised_names() {
        let weather = Weather { city: "Oslo".to_owned(), temperature: -7.5, description: "snow".to_owned() };
        let answer = Answer { value: weather, source: Source::Stale, age: Duration::from_millis(61_900) };
        let json = serde_json::to_value(view(answer)).expect("it is JSON");
        let expected = serde_json::json!({
            "city": "Oslo", "temperature": -7.5, "description": "snow", "source": "stale", "age": 61
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_city_has_1_to_100_characters() {
        let check = |city: &str, expected: Option<&str>| assert_eq!(valid(city).ok(), expected, "{city:?}");
        check("London", Some("London"));
        check(" São Paulo ", Some("São Paulo"));
        check("東京", Some("東京"));
        check("a/b", Some("a/b"));
        check("", None);
        check("  ", None);
        check("a\nb", None);
        check(&"ü".repeat(100), Some(&"ü".repeat(100)));
        check(&"ü".repeat(101), None);
    }
}
