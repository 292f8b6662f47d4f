//! The authorization server's endpoints: what we send there and what its answers mean.
//!
//! Nothing it answers is logged or kept but its error code and its description, and these only after every secret of
//! the request was taken out: a server may repeat what it was sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;

use crate::api::redact::redact;
use std::time::Duration;

use http::StatusCode;
use oauth2::basic::{BasicClient, BasicErrorResponse, BasicTokenResponse, BasicTokenType};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope,
    TokenResponse as _, TokenUrl,
};
use reqwest::redirect::Policy;
use tidegate_shared::config::{OAuthClientAuth, OAuthConfig};
use tidegate_shared::signature::Secret;
use tidegate_shared::telemetry::chain;
use url::Url;

use super::{AccessToken, TokenError};

/// Time for one answer of the token endpoint: longer than it should take, shorter than a lease.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one answer at most: some ten times what the longest tokens need.
const ANSWER_MAX: usize = 64 << 10;
/// Characters of an error's description that are kept.
const DESCRIPTION_MAX: usize = 200;
/// No token is held to live shorter than this, so that `expires_in` 0 asks for at most one renewal in it.
const LIFE_MIN: Duration = Duration::from_secs(1);
/// Nor longer than this, so that no server can overflow a clock.
const LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

type Client = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;
type Answer = Result<BasicTokenResponse, RequestTokenError<AnswerError, BasicErrorResponse>>;

/// One authorization server, asked as one client.
#[derive(Debug)]
pub(super) struct Endpoint {
    http: reqwest::Client,
    client: Client,
    /// The client's secret, as it is sent in a form and in `Authorization: Basic`.
    secrets: Vec<Secret>,
    scopes: Vec<Scope>,
}

/// What the token endpoint issued.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) token: AccessToken,
    /// How long the token lives, where the server says so: RFC 6749 section 5.1.
    pub(super) life: Option<Duration>,
    pub(super) refresh_token: Option<Secret>,
    /// What was granted; `None` if it is what was asked for.
    pub(super) scopes: Option<Vec<String>>,
}

/// Why there is no answer to read.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("{0}")]
    Http(String),
    #[error("its token endpoint answered {0}")]
    Status(StatusCode),
    #[error("its answer is longer than {ANSWER_MAX} bytes")]
    TooLong,
}

impl Endpoint {
    /// The server of `config`.
    ///
    /// # Errors
    /// If there is no TLS to speak to it by.
    pub(super) fn new(config: &OAuthConfig) -> Result<Self, String> {
        // A redirect would send the client's secret to a place that the operator did not name.
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .timeout(ANSWER_TIMEOUT)
            .user_agent(concat!("Tidegate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| chain(&error).to_string())?;
        let auth_type = match config.client_auth {
            OAuthClientAuth::Header => AuthType::BasicAuth,
            OAuthClientAuth::Body => AuthType::RequestBody,
        };
        let client = BasicClient::new(ClientId::new(config.client_id.clone()))
            .set_token_uri(TokenUrl::from_url(config.token_url.clone()))
            .set_auth_type(auth_type);
        let client = match &config.client_secret {
            Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose().to_owned())),
            None => client,
        };
        let scopes = config.scopes.iter().cloned().map(Scope::new).collect();
        let spelled = |secret: &Secret| [secret.clone(), basic_pair(&config.client_id, secret)];
        let secrets = config.client_secret.iter().flat_map(spelled).collect();
        Ok(Self { http, client, secrets, scopes })
    }

    /// Where a user's browser is sent to be asked: RFC 6749 section 4.1.1 with RFC 7636 section 4.3.
    pub(super) fn consent_url(&self, authorize: &Url, redirect: &Url, state: &str, verifier: &Secret) -> Url {
        let verifier = PkceCodeVerifier::new(verifier.expose().to_owned());
        let client = self.client.clone().set_auth_uri(AuthUrl::from_url(authorize.clone()));
        let (url, _state) = client
            .authorize_url(|| CsrfToken::new(state.to_owned()))
            .set_redirect_uri(std::borrow::Cow::Owned(RedirectUrl::from_url(redirect.clone())))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_scopes(self.scopes.iter().cloned())
            .url();
        url
    }

    /// Asks for a token of the client's own: RFC 6749 section 4.4.
    pub(super) async fn issue(&self) -> Result<Issued, TokenError> {
        let request = self.client.exchange_client_credentials().add_scopes(self.scopes.iter().cloned());
        let answer = request.request_async(&|request| send(self.http.clone(), request)).await;
        self.read(answer, &[])
    }

    /// Exchanges the code that the callback brought: RFC 6749 section 4.1.3 with RFC 7636 section 4.5.
    pub(super) async fn exchange(
        &self,
        code: &Secret,
        verifier: &Secret,
        redirect: &Url,
    ) -> Result<Issued, TokenError> {
        let request = self
            .client
            .exchange_code(AuthorizationCode::new(code.expose().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().to_owned()))
            .set_redirect_uri(std::borrow::Cow::Owned(RedirectUrl::from_url(redirect.clone())));
        let answer = request.request_async(&|request| send(self.http.clone(), request)).await;
        self.read(answer, &[code, verifier])
    }

    /// Renews a grant: RFC 6749 section 6. The scopes are not repeated: they stay what was granted.
    pub(super) async fn renew(&self, refresh_token: &Secret) -> Result<Issued, TokenError> {
        let token = RefreshToken::new(refresh_token.expose().to_owned());
        let request = self.client.exchange_refresh_token(&token);
        let answer = request.request_async(&|request| send(self.http.clone(), request)).await;
        self.read(answer, &[refresh_token])
    }

    fn read(&self, answer: Answer, sent: &[&Secret]) -> Result<Issued, TokenError> {
        match answer {
            Ok(answer) => issued(&answer),
            Err(RequestTokenError::ServerResponse(error)) => {
                let secrets: Vec<_> = sent.iter().copied().chain(&self.secrets).collect();
                Err(TokenError::Refused {
                    error: told(error.error().as_ref(), &secrets),
                    description: told(error.error_description().map_or("", String::as_str), &secrets),
                })
            }
            Err(RequestTokenError::Request(error)) => Err(TokenError::Unavailable(error.to_string())),
            // The crate's own words repeat pieces of the answer.
            Err(RequestTokenError::Parse(..) | RequestTokenError::Other(_)) => {
                Err(TokenError::Unavailable("its answer is not one of RFC 6749 section 5".to_owned()))
            }
        }
    }
}

fn issued(answer: &BasicTokenResponse) -> Result<Issued, TokenError> {
    let text = answer.access_token().secret();
    // RFC 6749 section 7.1: a client must not use a token whose type it does not understand.
    if *answer.token_type() != BasicTokenType::Bearer {
        return Err(TokenError::Unavailable("it issued a token that is not of the type Bearer".to_owned()));
    }
    // RFC 6750 section 2.1: anything else could not be sent in a header, or would add one.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::Unavailable("it issued a token that cannot be sent".to_owned()));
    }
    Ok(Issued {
        token: AccessToken::new(text.clone()),
        life: answer.expires_in().map(|life| life.clamp(LIFE_MIN, LIFE_MAX)),
        refresh_token: answer.refresh_token().map(|token| Secret::new(token.secret().clone())),
        scopes: answer.scopes().map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect()),
    })
}

/// Makes the request within its bounds. What is no answer of RFC 6749 ends here.
async fn send(http: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, AnswerError> {
    let failed = |error: reqwest::Error| AnswerError::Http(chain(&error.without_url()).to_string());
    let mut response = http.execute(request.try_into().map_err(failed)?).await.map_err(failed)?;
    let mut status = response.status();
    if status.is_server_error() || status.is_redirection() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(AnswerError::Status(status));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(AnswerError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    // Some servers, GitHub's among them, say 200 to an error as well.
    if status.is_success() && serde_json::from_slice::<BasicErrorResponse>(&body).is_ok() {
        status = StatusCode::BAD_REQUEST;
    }
    let mut answer = HttpResponse::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    Ok(answer)
}

/// Id and secret as `Authorization: Basic` has them: RFC 6749 section 2.3.1.
fn basic_pair(id: &str, secret: &Secret) -> Secret {
    let form = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    Secret::new(STANDARD.encode(format!("{}:{}", form(id), form(secret.expose()))))
}

/// What the server says, fit for an operator's eyes: short, in one line, without the secrets that it was sent.
pub(super) fn told(text: &str, secrets: &[&Secret]) -> String {
    let text = redact(text, secrets.iter().map(|secret| secret.expose()));
    text.chars().take(DESCRIPTION_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>()
}
