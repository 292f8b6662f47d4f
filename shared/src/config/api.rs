//! Reads one `[api.NAME]`: an external API, how it is asked and how its answers are kept.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use http::HeaderName;
use url::Url;

use super::reader::{Section, Setting, nearest};
use super::setting::{ByteCount, OrOff, PathPattern, Rate, Ratio};
use crate::event::ApiName;
use crate::signature::Secret;

mod preset;

pub use preset::ApiPreset;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// `[api.NAME]`
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Its name, for handlers, metrics and routes.
    pub name: ApiName,
    /// Which of the ready-made clients speaks to it, if one does.
    pub preset: Option<ApiPreset>,
    /// What every call's path is put behind.
    pub base_url: Url,
    /// How calls prove who makes them.
    pub auth: ApiAuth,
    /// Time for one attempt, from the connection to the last byte of the answer.
    pub timeout: Duration,
    /// Bytes of one answer at most.
    pub body_limit: usize,
    /// How answers are kept.
    pub cache: ApiCacheConfig,
    /// How failed attempts are made again.
    pub retry: ApiRetryConfig,
    /// When to stop asking.
    pub breaker: ApiBreakerConfig,
    /// How much is asked at once and over time.
    pub limit: ApiLimitConfig,
}

/// How long the answers of an API are kept.
#[derive(Debug, Clone)]
pub struct ApiCacheConfig {
    /// How long an answer is fresh; `None` keeps none.
    pub ttl: Option<Duration>,
    /// Other times for some paths, or none; the longest pattern that meets the path counts, and stands first.
    pub paths: Vec<(PathPattern, Option<Duration>)>,
    /// For so long after it was fresh an answer is given at once, while a new one is fetched.
    pub stale_while_revalidate: Duration,
    /// For so long after it was fresh an answer is given where no new one can be had.
    pub stale_if_error: Duration,
    /// Bytes of answers in this process's memory at most.
    pub bytes_max: usize,
}

impl ApiCacheConfig {
    /// How long an answer of this path is fresh; `None` if it is not kept.
    #[must_use]
    pub fn ttl_of(&self, path: &str) -> Option<Duration> {
        self.paths.iter().find(|(pattern, _)| pattern.matches(path)).map_or(self.ttl, |(_, ttl)| *ttl)
    }
}

/// `retry` of an API.
#[derive(Debug, Clone)]
pub struct ApiRetryConfig {
    /// Attempts at most, the first one included.
    pub attempts: NonZeroU32,
    /// The longest wait before the second attempt; it doubles with each.
    pub base: Duration,
    /// The longest wait before any attempt, and the longest `Retry-After` that is waited for.
    pub cap: Duration,
    /// Time for all attempts and waits together.
    pub total: Duration,
    /// Retries for each call, over many calls: 0.2 allows one retry for five calls.
    pub budget: f64,
}

/// `breaker` of an API.
#[derive(Debug, Clone)]
pub struct ApiBreakerConfig {
    /// Failed calls of all calls in the window, from which on it opens.
    pub failure_rate: f64,
    /// Calls in the window below which it stays closed.
    pub minimum: NonZeroU32,
    /// Over what time calls are counted.
    pub window: Duration,
    /// How long it stays open before it lets a probe through.
    pub open_for: Duration,
    /// Probes that must succeed before it closes.
    pub probes: NonZeroU32,
}

/// The bounds on what an API is asked.
#[derive(Debug, Clone)]
pub struct ApiLimitConfig {
    /// Calls over time, in this process.
    pub rate: Option<Rate>,
    /// Calls at once, in this process.
    pub concurrency: NonZeroU16,
    /// How long a call waits for its turn.
    pub wait: Duration,
}

/// How calls prove who makes them.
#[derive(Debug, Clone)]
pub enum ApiAuth {
    /// They do not.
    None,
    /// `Authorization: Bearer KEY`
    Bearer(Secret),
    /// `Authorization: Basic`, the key being `user:password`.
    Basic(Secret),
    /// A header of the API's own.
    Header(HeaderName, Secret),
    /// A parameter of the query.
    Query(String, Secret),
    /// A token from an authorization server.
    OAuth(Box<OAuthConfig>),
}

/// `oauth` of an API: RFC 6749.
#[derive(Debug, Clone)]
pub struct OAuthConfig {
    /// Who grants the access.
    pub grant: OAuthGrant,
    /// The token endpoint.
    pub token_url: Url,
    /// Who we are.
    pub client_id: String,
    /// How we prove it; none for a public client.
    pub client_secret: Option<Secret>,
    /// Where the secret goes.
    pub client_auth: OAuthClientAuth,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// How long before its end a token is renewed.
    pub renew_before: Duration,
}

/// Who grants the access.
#[derive(Debug, Clone)]
pub enum OAuthGrant {
    /// The client itself: RFC 6749 section 4.4.
    ClientCredentials,
    /// A user, in a browser: RFC 6749 section 4.1 with RFC 7636.
    AuthorizationCode {
        /// The authorization endpoint.
        authorize_url: Url,
        /// Our own callback as the authorization server knows it, to the letter.
        redirect_url: Url,
    },
}

/// Where the client's secret goes: RFC 6749 section 2.3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OAuthClientAuth {
    /// `Authorization: Basic`
    Header,
    /// Into the form.
    Body,
}

pub(super) fn read_api(section: &Section<'_>, name: ApiName) -> Option<ApiConfig> {
    let preset = read_preset(section, &name);
    let base_url = match preset {
        Some(preset) => section.get("base_url").or_else(|| Url::parse(preset.base_url()).ok()),
        None => section.required("base_url"),
    };
    let auth = read_auth(section, preset, &name);
    let timeout = section.or("timeout", 10 * SECOND);
    let config = ApiConfig {
        name,
        preset,
        base_url: base_url?,
        auth: auth?,
        timeout,
        body_limit: section.or("body_limit", ByteCount(1 << 20)).0,
        cache: read_cache(section, preset),
        retry: read_retry(section.section("retry"), timeout),
        breaker: read_breaker(section.section("breaker")),
        limit: ApiLimitConfig {
            rate: section.get("rate_limit"),
            concurrency: section.or("concurrency", NonZeroU16::new(32).unwrap_or(NonZeroU16::MIN)),
            wait: section.or("wait", 5 * SECOND),
        },
    };
    if !matches!(config.base_url.query(), None | Some("")) || config.base_url.fragment().is_some() {
        section.mistake("base_url", "must not have a query or a fragment: calls bring their own".to_owned());
    }
    Some(config)
}

/// The preset that is named, or the one that the API itself is named after.
fn read_preset(section: &Section<'_>, name: &ApiName) -> Option<ApiPreset> {
    let Some(named) = section.get::<String>("preset") else { return ApiPreset::find(name.as_str()) };
    let found = ApiPreset::find(&named);
    if found.is_none() {
        let hint = match nearest(&named, ApiPreset::ALL.into_iter().map(ApiPreset::name)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("there are {}", ApiPreset::ALL.map(ApiPreset::name).join(", ")),
        };
        section.mistake("preset", format!("no preset is called {named:?}; {hint}"));
    }
    found
}

fn read_auth(section: &Section<'_>, preset: Option<ApiPreset>, name: &ApiName) -> Option<ApiAuth> {
    let key: Option<Secret> = section.get("key");
    let oauth = section.section("oauth");
    let usual = match preset {
        _ if oauth.is_present() => "oauth2",
        Some(preset) if key.is_some() || preset.needs_key() => preset.auth(),
        Some(_) => "none",
        None if key.is_some() => "bearer",
        None => "none",
    };
    let auth: String = section.or("auth", usual.to_owned());
    if oauth.is_present() != (auth == "oauth2") {
        section.mistake("auth", "auth = \"oauth2\" and the table oauth belong together".to_owned());
    }
    let needs_key = !matches!(auth.as_str(), "none" | "oauth2");
    let (kind, place) = auth.split_once(':').unwrap_or((&auth, ""));
    let read = match (kind, place, key) {
        ("none", "", None) => Some(ApiAuth::None),
        ("none" | "oauth2", "", Some(_)) => {
            section.mistake("key", format!("auth = {auth:?} uses no key"));
            None
        }
        ("oauth2", "", None) => read_oauth(&oauth, name).map(Box::new).map(ApiAuth::OAuth),
        ("bearer", "", Some(key)) => Some(ApiAuth::Bearer(key)),
        ("basic", "", Some(key)) => Some(ApiAuth::Basic(key)),
        ("header", place, Some(key)) if HeaderName::try_from(place).is_ok() => {
            HeaderName::try_from(place).ok().map(|name| ApiAuth::Header(name, key))
        }
        ("query", place, Some(key)) if !place.is_empty() => Some(ApiAuth::Query(place.to_owned(), key)),
        (_, _, None) if needs_key => {
            section.mistake("key", format!("missing; auth = {auth:?} needs it, best given as \"env:NAME\""));
            None
        }
        (_, _, _) => {
            let expected = "\"none\", \"bearer\", \"basic\", \"header:NAME\", \"query:NAME\" or \"oauth2\"";
            section.mistake("auth", format!("expected {expected}, found {auth:?}"));
            None
        }
    };
    oauth.finish();
    read
}

fn read_oauth(section: &Section<'_>, name: &ApiName) -> Option<OAuthConfig> {
    let grant: String = section.or("grant", "client_credentials".to_owned());
    let (authorize_url, redirect_url) = (section.get::<Url>("authorize_url"), section.get::<Url>("redirect_url"));
    let grant = match (grant.as_str(), authorize_url, redirect_url) {
        ("client_credentials", None, None) => Some(OAuthGrant::ClientCredentials),
        ("authorization_code", Some(authorize_url), Some(redirect_url)) => {
            let path = format!("/oauth/{name}/callback");
            if redirect_url.path() != path {
                section.mistake("redirect_url", format!("its path must be {path}, where the worker's API takes it"));
            }
            Some(OAuthGrant::AuthorizationCode { authorize_url, redirect_url })
        }
        ("client_credentials", _, _) => {
            section.mistake("grant", "client_credentials has no authorize_url and no redirect_url".to_owned());
            None
        }
        ("authorization_code", _, _) => {
            section.mistake("grant", "authorization_code needs authorize_url and redirect_url".to_owned());
            None
        }
        (other, _, _) => {
            let expected = "\"client_credentials\" or \"authorization_code\"";
            section.mistake("grant", format!("expected {expected}, found {other:?}"));
            None
        }
    };
    let (token_url, client_id) = (section.required("token_url"), section.required("client_id"));
    let client_secret: Option<Secret> = section.get("client_secret");
    if matches!(grant, Some(OAuthGrant::ClientCredentials)) && client_secret.is_none() {
        section.mistake("client_secret", "missing; client_credentials needs it".to_owned());
    }
    Some(OAuthConfig {
        grant: grant?,
        token_url: token_url?,
        client_id: client_id?,
        client_secret,
        client_auth: section.or("client_auth", OAuthClientAuth::Header),
        scopes: section.list("scopes").unwrap_or_default(),
        renew_before: section.or("renew_before", 60 * SECOND),
    })
}

fn read_cache(section: &Section<'_>, preset: Option<ApiPreset>) -> ApiCacheConfig {
    let usual = OrOff(preset.map(ApiPreset::ttl));
    let paths = section.pairs::<OrOff>("cache_paths").into_iter().filter_map(|(pattern, OrOff(ttl))| {
        let pattern = PathPattern::from_text(&pattern).map_err(|_| {
            section.mistake("cache_paths", format!("expected a path such as \"/v6/*\", found {pattern:?}"))
        });
        Some((pattern.ok()?, ttl))
    });
    let mut paths: Vec<_> = paths.collect();
    paths.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
    ApiCacheConfig {
        paths,
        ttl: section.or("cache", usual).0,
        stale_while_revalidate: section.or("stale_while_revalidate", OrOff(None)).0.unwrap_or_default(),
        stale_if_error: section.or("stale_if_error", OrOff(Some(24 * HOUR))).0.unwrap_or_default(),
        bytes_max: section.or("cache_memory", ByteCount(16 << 20)).0,
    }
}

fn read_retry(section: Section<'_>, timeout: Duration) -> ApiRetryConfig {
    let config = ApiRetryConfig {
        attempts: section.or("attempts", NonZeroU32::new(3).unwrap_or(NonZeroU32::MIN)),
        base: section.or("base", SECOND / 5),
        cap: section.or("cap", 10 * SECOND),
        total: section.or("total", (2 * timeout).max(20 * SECOND)),
        budget: section.or("budget", Ratio(0.2)).0,
    };
    if config.cap < config.base {
        section.mistake("cap", "must not be shorter than base".to_owned());
    }
    if config.total < timeout {
        section.mistake("total", "must not be shorter than the timeout of one attempt".to_owned());
    }
    section.finish();
    config
}

fn read_breaker(section: Section<'_>) -> ApiBreakerConfig {
    let config = ApiBreakerConfig {
        failure_rate: section.or("failure_rate", Ratio(0.5)).0,
        minimum: section.or("minimum", NonZeroU32::new(20).unwrap_or(NonZeroU32::MIN)),
        window: section.or("window", 30 * SECOND),
        open_for: section.or("open_for", 30 * SECOND),
        probes: section.or("probes", NonZeroU32::MIN),
    };
    section.finish();
    config
}
