//! `/oauth/{api}/login` and its callback: where a user lets the worker act at an API for them.
//!
//! A login may be begun by whoever may use the worker's API: it decides whose account the worker acts for. The callback
//! asks for no token, as it comes from the authorization server with the browser: there the cookie of the login speaks.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use tidegate_shared::bearer::Refusal;
use tidegate_shared::config::Caller;
use tidegate_shared::event::ApiName;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

#[cfg(test)]
mod tests;

use super::caller::Callers;
use crate::answer;
use crate::api::oauth::{CONSENT_TIME, Callback, ConsentError, OAuth, TokenError};

/// What logins stand on.
#[derive(Debug)]
pub(crate) struct LoginState {
    apis: BTreeMap<ApiName, OAuth>,
    callers: Callers,
}

/// Why a login does not begin.
#[derive(Debug, thiserror::Error)]
enum LoginError {
    #[error("{0}; in a browser the token is the password")]
    Refused(#[from] Refusal),
    #[error("no API named {0:?} asks users for access")]
    NoApi(String),
}

impl LoginState {
    /// Logins at `apis`, for `callers` or, if nobody is listed, for programs on this machine.
    pub(crate) fn new(apis: impl IntoIterator<Item = OAuth>, callers: &[Caller]) -> Self {
        let apis = apis.into_iter().map(|oauth| (oauth.api().clone(), oauth)).collect();
        Self { apis, callers: Callers::new(callers) }
    }

    fn api(&self, name: &str) -> Result<&OAuth, LoginError> {
        let name = ApiName::try_new(name).ok();
        name.as_ref()
            .and_then(|name| self.apis.get(name))
            .ok_or_else(|| LoginError::NoApi(name.map(|name| name.to_string()).unwrap_or_default()))
    }
}

impl IntoResponse for LoginError {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::Refused(Refusal::BadToken) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Refused(Refusal::ForeignOrigin) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NoApi(_) => (StatusCode::NOT_FOUND, "not_found"),
        };
        let mut response = answer::problem(status, code, self.to_string());
        if status == StatusCode::UNAUTHORIZED {
            // A browser asks its user for the token then: RFC 7617.
            let ask = HeaderValue::from_static("Basic realm=\"tidegate\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
        }
        response
    }
}

/// Both routes.
pub(crate) fn routes() -> OpenApiRouter<Arc<LoginState>> {
    OpenApiRouter::new().routes(routes!(login)).routes(routes!(callback))
}

/// Lets a user grant the worker access to an API: opened in a browser, it leads to the API's authorization server.
#[utoipa::path(
    get,
    path = "/oauth/{api}/login",
    tag = "oauth",
    params(("api" = String, Path, description = "The API's name in the configuration")),
    responses(
        (status = 303, description = "To the authorization server; the cookie belongs to this login"),
        (status = 401, description = "No caller's token, neither as Bearer nor as the password of Basic"),
        (status = 403, description = "Without callers: asked from another machine, or by a web page"),
        (status = 404, description = "No such API, or it asks no users"),
    )
)]
async fn login(
    State(state): State<Arc<LoginState>>,
    Path(api): Path<String>,
    headers: HeaderMap,
) -> Result<Response, LoginError> {
    state.callers.identify_browser(&headers)?;
    let oauth = state.api(&api)?;
    let begun = oauth.begin_login(Timestamp::now()).ok_or(LoginError::NoApi(api))?;
    let max_age = CONSENT_TIME.as_secs();
    let cookie = set_cookie(oauth.api(), begun.cookie.expose(), max_age, oauth.is_https());
    let to = [(header::LOCATION, begun.url.as_str()), (header::SET_COOKIE, cookie.as_str())];
    Ok((StatusCode::SEE_OTHER, PRIVATE, to).into_response())
}

/// Where the authorization server sends the user's browser back to; not to be called by anybody else.
#[utoipa::path(
    get,
    path = "/oauth/{api}/callback",
    tag = "oauth",
    params(
        ("api" = String, Path, description = "The API's name in the configuration"),
        ("state" = Option<String>, Query, description = "As the login sent it"),
        ("code" = Option<String>, Query, description = "What was granted"),
        ("error" = Option<String>, Query, description = "Why nothing was granted"),
        ("error_description" = Option<String>, Query, description = "The same in words"),
        ("iss" = Option<String>, Query, description = "The authorization server, RFC 9207"),
    ),
    responses(
        (status = 200, description = "The API is connected", content_type = "text/plain"),
        (status = 400, description = "It is not, and why", content_type = "text/plain"),
        (status = 404, description = "No such API, or it asks no users"),
        (status = 503, description = "The authorization server or the ledger is away", content_type = "text/plain"),
    )
)]
async fn callback(
    State(state): State<Arc<LoginState>>,
    Path(api): Path<String>,
    headers: HeaderMap,
    query: Result<Query<Callback>, QueryRejection>,
) -> Result<Response, LoginError> {
    let oauth = state.api(&api)?;
    let name = oauth.api();
    let now = Timestamp::now();
    let outcome = match query {
        Ok(Query(callback)) => oauth.finish_login(cookie(&headers, name), callback, now).await,
        // RFC 6749 section 3.1: no parameter comes twice.
        Err(_) => Err(ConsentError::NotBegun),
    };
    let (status, text) = match outcome {
        Ok(()) => (StatusCode::OK, format!("api {name} is connected; you can close this page\n")),
        Err(error) => {
            tracing::warn!(api = %name, %error, "a login failed");
            (status(&error), format!("api {name} is not connected: {error}\nto try again, open /oauth/{name}/login\n"))
        }
    };
    // A code is good only once, and so is its cookie.
    let gone = set_cookie(name, "", 0, oauth.is_https());
    Ok((status, PRIVATE, PAGE, [(header::SET_COOKIE, gone)], text).into_response())
}

/// Nothing of a login is kept by a cache, or told to the next site.
const PRIVATE: [(HeaderName, &str); 2] =
    [(header::CACHE_CONTROL, "no-store"), (header::REFERRER_POLICY, "no-referrer")];
/// Plain text: whatever a server says about an error is never markup.
const PAGE: [(HeaderName, &str); 3] = [
    (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

fn status(error: &ConsentError) -> StatusCode {
    match error {
        ConsentError::Token(TokenError::Unavailable(_) | TokenError::Ledger(_)) => StatusCode::SERVICE_UNAVAILABLE,
        ConsentError::NotBegun
        | ConsentError::ForeignIssuer(_)
        | ConsentError::Denied { .. }
        | ConsentError::NoCode
        | ConsentError::Token(_) => StatusCode::BAD_REQUEST,
    }
}

/// `Lax`: the callback comes from another site, as a navigation of the whole page.
fn set_cookie(api: &ApiName, value: &str, max_age: u64, https: bool) -> String {
    let secure = if https { "; Secure" } else { "" };
    let name = cookie_name(api);
    format!("{name}={value}; Path=/oauth/{api}/callback; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}")
}

fn cookie<'a>(headers: &'a HeaderMap, api: &ApiName) -> Option<&'a str> {
    let name = cookie_name(api);
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(given, _)| *given == name).map(|(_, value)| value)
}

fn cookie_name(api: &ApiName) -> String {
    format!("tg-oauth-{api}")
}
