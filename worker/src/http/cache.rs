//! `DELETE /cache/{api}/{path}`: forgets an answer of an external API, in every process.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use http::Uri;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tidegate_shared::config::ApiPreset;
use utoipa::ToSchema;

use super::respond::HttpError;
use super::{Http, rates as rates_route, weather as weather_route};
use crate::api::Call;
use crate::api::preset::{github, rates, weather};
use tidegate_shared::problem::Problem;

/// An answer that is kept no more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Removed {
    /// The API's name in the configuration.
    api: String,
    /// What the API was asked for, path and query.
    #[schema(example = "/v6/latest/EUR")]
    path: String,
    /// Always true: it is not kept any more, whether or not it was.
    removed: bool,
}

/// Forgets what the API answered for a path, so that the next call asks it.
///
/// The path is the upstream's own, as it is sent, query included. For the ready-made clients this API's own path works
/// too: `weather/London` or `London`, `rates/EUR` or `EUR`, `github/repos/OWNER/REPO` or `repos/OWNER/REPO`.
#[utoipa::path(
    delete,
    path = "/cache/{api}/{*path}",
    tag = "api",
    operation_id = "remove_from_cache",
    params(
        ("api" = String, Path, description = "The API's name in the configuration.", example = "openweathermap"),
        ("path" = String, Path, description = "What was asked for; it may hold slashes.", example = "weather/London")
    ),
    responses(
        (status = 200, description = "It is kept no more.", body = Removed),
        (status = 400, description = "`bad_request`: the path cannot be read.", body = Problem),
        (status = 401, description = "`unauthorized`: no token of a caller.", body = Problem),
        (status = 404, description = "`unknown_api`: the configuration has no such API.", body = Problem),
        (status = 503, description = "`unavailable`: the cache cannot be told; ask again.", body = Problem)
    ),
    security((), ("caller_token" = []))
)]
pub(super) async fn remove(
    State(http): State<Arc<Http>>,
    names: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Result<Json<Removed>, HttpError> {
    let Path((name, _)) = names?;
    let api = http.apis.get(&name).ok_or(HttpError::UnknownApi(name))?;
    // Not what axum decoded: an escaped slash must stay escaped.
    let path = uri.path().splitn(4, '/').nth(3).unwrap_or_default();
    let path = upstream_path(api.preset(), path, uri.query())?;
    if let Err(error) = api.invalidate(&path).await {
        tracing::warn!(api = %api.name(), %error, "an answer could not be removed from the cache");
        return Err(HttpError::CacheUnavailable);
    }
    tracing::info!(api = %api.name(), "an answer was removed from the cache");
    Ok(Json(Removed { api: api.name().to_string(), path, removed: true }))
}

/// The path and query that answers are kept by.
fn upstream_path(preset: Option<ApiPreset>, path: &str, query: Option<&str>) -> Result<String, HttpError> {
    let path = path.trim_start_matches('/');
    match (preset, query) {
        (_, Some(query)) => Ok(format!("/{path}?{query}")),
        (None, None) => Ok(format!("/{path}")),
        (Some(preset), None) => {
            let call = short_form(preset, path)?;
            Ok(call.map_or_else(|| format!("/{path}"), |call| call.path_and_query()))
        }
    }
}

/// The call behind a path of our own.
fn short_form(preset: ApiPreset, path: &str) -> Result<Option<Call>, HttpError> {
    let parts: Result<Vec<_>, _> = path.split('/').map(|part| percent_decode_str(part).decode_utf8()).collect();
    let parts = parts.map_err(|_| HttpError::BadRequest("the path is not UTF-8".to_owned()))?;
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    Ok(match (preset, parts.as_slice()) {
        (ApiPreset::OpenWeatherMap, [city] | ["weather", city]) => Some(weather::call(weather_route::valid(city)?)),
        (ApiPreset::OpenErApi | ApiPreset::ExchangeRateApi, [base] | ["rates", base]) => {
            Some(rates::call(&rates_route::valid(base)?))
        }
        (ApiPreset::GitHub, ["repos", owner, repo] | ["github", "repos", owner, repo]) => {
            Some(github::call(owner, repo))
        }
        (_, _) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_upstreams_or_our_own() {
        let check = |preset: Option<ApiPreset>, path: &str, query: Option<&str>, expected: &str| {
            assert_eq!(upstream_path(preset, path, query).ok().as_deref(), Some(expected), "{path} {query:?}");
        };
        check(None, "v1/users", None, "/v1/users");
        check(None, "/v1/a%2Fb", Some("x=1&y=%20"), "/v1/a%2Fb?x=1&y=%20");
        check(None, "weather/London", None, "/weather/London");
        let weather = Some(ApiPreset::OpenWeatherMap);
        let kept = weather::call("São Paulo").path_and_query();
        check(weather, "weather/S%C3%A3o%20Paulo", None, &kept);
        check(weather, "S%C3%A3o%20Paulo", None, &kept);
        check(weather, "/data/2.5/weather", Some("q=S%C3%A3o+Paulo&units=metric"), &kept);
        for preset in [ApiPreset::OpenErApi, ApiPreset::ExchangeRateApi] {
            check(Some(preset), "rates/eur", None, "/v6/latest/EUR");
            check(Some(preset), "EUR", None, "/v6/latest/EUR");
            check(Some(preset), "v6/latest/EUR", None, "/v6/latest/EUR");
        }
        check(Some(ApiPreset::GitHub), "repos/a/b", None, "/repos/a/b");
        check(Some(ApiPreset::GitHub), "github/repos/a/b", None, "/repos/a/b");
        check(Some(ApiPreset::GitHub), "users/a", None, "/users/a");
    }

    #[test]
    fn a_short_form_that_names_nothing_is_refused() {
        assert!(upstream_path(Some(ApiPreset::OpenErApi), "rates/EURO", None).is_err());
        assert!(upstream_path(Some(ApiPreset::OpenWeatherMap), "weather/%20", None).is_err());
        assert!(upstream_path(Some(ApiPreset::OpenWeatherMap), "%ff", None).is_err());
    }
}
