//! The weather in a city: <https://openweathermap.org/current>.

use serde::Deserialize;

use crate::api::{Answer, Api, ApiError, Call, CallFailure, Json, Read};

/// The weather in a city, now.
#[derive(Debug, Clone, PartialEq)]
pub struct Weather {
    /// The city, as the API spells it.
    pub city: String,
    /// In degrees Celsius.
    pub temperature: f64,
    /// In words.
    pub description: String,
}

/// Asks for the weather in a city, such as `London` or `London,GB`.
#[must_use]
pub fn call(city: &str) -> Call {
    Call::get("/data/2.5/weather").query("q", city).query("units", "metric")
}

/// The weather in a city.
///
/// # Errors
/// [`ApiError`]; a city that is not known has the status 404.
pub async fn current(api: &Api, city: &str) -> Result<Answer<Weather>, ApiError> {
    api.call_for::<RawWeather>(call(city)).await
}

#[derive(Debug, Deserialize)]
struct RawWeather {
    name: String,
    main: RawMain,
    weather: Vec<RawCondition>,
}

#[derive(Debug, Deserialize)]
struct RawMain {
    temp: f64,
}

#[derive(Debug, Deserialize)]
struct RawCondition {
    description: String,
}

impl Read for RawWeather {
    type Answer = Weather;

    fn read(body: &[u8]) -> Result<Weather, CallFailure> {
        Json::<Self>::read(body)?.into_answer()
    }
}

impl RawWeather {
    fn into_answer(self) -> Result<Weather, CallFailure> {
        // The first condition is the primary one.
        let primary = self.weather.into_iter().next();
        let condition = primary.ok_or_else(|| CallFailure::Malformed("no weather condition".to_owned()))?;
        Ok(Weather { city: self.name, temperature: self.main.temp, description: condition.description })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_answer_is_read() {
        let raw = include_str!("../../../../fixtures/api/openweathermap/london.json");
        let raw: RawWeather = serde_json::from_str(raw).expect("it is read");
        let expected =
            Weather { city: "London".to_owned(), temperature: 8.49, description: "light intensity drizzle".to_owned() };
        assert_eq!(raw.into_answer(), Ok(expected));
    }

    #[test]
    fn a_whole_temperature_is_a_number_too() {
        let raw = r#"{"name":"Oslo","main":{"temp":-7},"weather":[{"description":"snow"}]}"#;
        let raw: RawWeather = serde_json::from_str(raw).expect("it is read");
        assert_eq!(raw.into_answer().map(|weather| weather.temperature), Ok(-7.0));
    }

    #[test]
    fn an_error_is_never_taken_for_weather() {
        for error in [
            include_str!("../../../../fixtures/api/openweathermap/city_not_found.json"),
            include_str!("../../../../fixtures/api/openweathermap/invalid_key.json"),
            include_str!("../../../../fixtures/api/openweathermap/too_many_requests.json"),
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(error).is_ok_and(|error| error.get("cod").is_some()));
            assert!(serde_json::from_str::<RawWeather>(error).is_err(), "{error}");
        }
        let empty = r#"{"name":"Oslo","main":{"temp":1},"weather":[]}"#;
        let empty: RawWeather = serde_json::from_str(empty).expect("it is read");
        assert!(matches!(empty.into_answer(), Err(CallFailure::Malformed(_))));
    }

    #[test]
    fn a_city_stays_one_parameter() {
        assert_eq!(call("São Paulo").path_and_query(), "/data/2.5/weather?q=S%C3%A3o+Paulo&units=metric");
        assert_eq!(call("a&appid=b/../c").path_and_query(), "/data/2.5/weather?q=a%26appid%3Db%2F..%2Fc&units=metric");
    }
}
