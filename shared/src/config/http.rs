//! Reads `[http]`, the worker's API and its callers, and `[oauth]`, what keeps users' grants secret.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::{Host, Url};

use super::read::loopback;
use super::reader::{Section, Setting};
use super::{ApiAuth, ApiConfig, OAuthGrant};
use crate::event::{ApiName, CallerName};
use crate::signature::Secret;

/// A token shorter than this can be guessed.
const TOKEN_MIN: usize = 16;

/// `[http]`
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Where the application's own callers reach the worker.
    pub listen: SocketAddr,
    /// Who may call. Nobody listed: every program on this machine, as one caller.
    pub callers: Vec<Caller>,
    /// How long an answer is kept under its `Idempotency-Key`.
    pub idempotency_window: Duration,
}

/// One caller of the worker's API.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its name: idempotency keys are its own.
    pub name: CallerName,
    /// Its bearer token.
    pub token: Secret,
}

/// How long an answer is kept under its key where nothing is said.
const WINDOW: Duration = Duration::from_secs(24 * 3_600);

impl HttpConfig {
    /// At `listen`, for every program on this machine.
    pub(super) fn at(listen: SocketAddr) -> Self {
        Self { listen, callers: Vec::new(), idempotency_window: WINDOW }
    }

    /// What is wrong if other machines could reach `listener` without a token.
    pub(super) fn unguarded(&self, listener: SocketAddr) -> Option<String> {
        let open = !listener.ip().is_loopback() && self.callers.is_empty();
        open.then(|| format!("missing; needed, because {listener} can be reached from other machines"))
    }
}

/// A key that seals tokens at rest, 256 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// The key itself: for the cipher only.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(***)")
    }
}

impl Setting for SealKey {
    const EXPECTED: &'static str = "32 random bytes in hexadecimal or base64, such as `openssl rand -hex 32` prints";
    const SHOWN: bool = false;
    const LITERAL_WARNED: bool = true;
    fn from_text(text: &str) -> Result<Self, String> {
        let bytes = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok());
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(String::new)
    }
}

pub(super) fn read_http(section: Section<'_>) -> Option<HttpConfig> {
    let listen = section.or("listen", loopback(3002));
    let callers = section.pairs::<Secret>("callers").into_iter().filter_map(|(name, token)| {
        if token.expose().len() < TOKEN_MIN {
            section.mistake("callers", format!("the token of {name:?} is shorter than {TOKEN_MIN} bytes"));
        }
        let name = CallerName::try_new(&name);
        let name = name.map_err(|error| section.mistake("callers", error.to_string()));
        Some(Caller { name: name.ok()?, token })
    });
    let config =
        HttpConfig { callers: callers.collect(), listen, idempotency_window: section.or("idempotency_window", WINDOW) };
    if let Some(message) = config.unguarded(listen) {
        section.mistake("callers", message);
    }
    let is_present = section.is_present();
    section.finish();
    is_present.then_some(config)
}

pub(super) fn read_seal_keys(
    section: Section<'_>,
    apis: Option<&BTreeMap<ApiName, ApiConfig>>,
    http: Option<&HttpConfig>,
) -> Vec<SealKey> {
    let keys: Option<Vec<SealKey>> = section.list("keys");
    let is_empty = keys.as_ref().is_some_and(Vec::is_empty);
    for (api, redirect_url) in apis.into_iter().flat_map(BTreeMap::values).filter_map(granted) {
        if keys.is_none() {
            let expected = SealKey::EXPECTED;
            section.mistake("keys", format!("missing; api.{api} keeps what users grant, sealed: expected {expected}"));
        }
        if let Some(message) = unreachable_login(redirect_url, http) {
            section.mistake("keys", format!("api.{api}.oauth: {message}"));
        }
    }
    if is_empty {
        section.mistake("keys", format!("empty; expected at least one: {}", SealKey::EXPECTED));
    }
    section.finish();
    keys.unwrap_or_default()
}

/// An API that users grant access to, with where their browsers come back.
fn granted(api: &ApiConfig) -> Option<(&ApiName, &Url)> {
    let ApiAuth::OAuth(oauth) = &api.auth else { return None };
    let OAuthGrant::AuthorizationCode { redirect_url, .. } = &oauth.grant else { return None };
    Some((&api.name, redirect_url))
}

/// Why nobody could log in. A login begins and ends at one host, as its cookie is the browser's for that host.
fn unreachable_login(redirect_url: &Url, http: Option<&HttpConfig>) -> Option<String> {
    let Some(http) = http else { return Some("a user logs in at the worker's API: add [http]".to_owned()) };
    let is_local = match redirect_url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let origin = redirect_url.origin().ascii_serialization();
    let needs_callers = !is_local && http.callers.is_empty();
    needs_callers.then(|| format!("a login begins at {origin} too, where only callers may: add http.callers"))
}
