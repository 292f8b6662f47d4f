//! Takes every credential out of a request before it is written down, so that it can be told again but never read.
//!
//! A credential is replaced by a marker; beside it stand a salt and a stretched hash of what was there. Whoever has a
//! configured secret can see whether that was it, and then the request is whole again; whoever has only the file can do no
//! more than guess. What counts as a credential:
//!
//! - what the source's scheme has the sender send as its secret, wherever that stands;
//! - `Authorization`, unless the scheme's signature stands there, and every header or query parameter that any preset sends a
//!   secret in, or that is called like one, unless the source's scheme signs it or reads something else there;
//! - every live secret of every source, wherever it stands. Cookies are not kept at all.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::{RejectedRequest, SealedRequest};
use crate::config::SourceConfig;
use crate::event::SourceName;
use crate::provider;
use crate::random;
use crate::signature::explain::{credentials, sent_as};
use crate::signature::{Composed, Kind, Location, Piece, Received, Scheme, Secret, TimestampFrom};

/// Rounds of the hash: a millisecond, beside secrets of at least 16 bytes.
const ROUNDS: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");
/// A value shorter than this is replaced only where it was found, and not wherever else the same bytes stand.
const REPLACED_EVERYWHERE_MIN: usize = 8;
/// Most credentials of one request that are sealed, each at the price of a hash; no more than these are needed to verify
/// anything, and the others are not kept.
const SEALS_MAX: usize = 16;
/// What stands in the place of what is not kept at all, such as a cookie.
const NOT_KEPT: HeaderValue = HeaderValue::from_static("(not kept)");
/// What a header or parameter with a credential is called, in part.
const CREDENTIAL_NAMES: [&str; 11] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passcode",
    "api-key",
    "apikey",
    "api_key",
    "authorization",
    "x-auth",
    "credential",
];

/// What stands in the place of one credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The text in its place, which nothing else holds.
    pub marker: String,
    /// Where it stood.
    pub at: String,
    salt: String,
    hash: String,
}

impl Seal {
    fn of(value: &[u8], at: String) -> Self {
        let salt = random::bytes::<16>();
        let marker = format!("sealed-{}", hex::encode(random::bytes::<12>()));
        Self { marker, at, salt: hex::encode(salt), hash: stretched(value, &salt) }
    }

    /// Whether it stands for `value`.
    fn is_of(&self, value: &[u8]) -> bool {
        hex::decode(&self.salt).is_ok_and(|salt| stretched(value, &salt) == self.hash)
    }
}

fn stretched(value: &[u8], salt: &[u8]) -> String {
    let mut hash = [0; 32];
    pbkdf2::derive(PBKDF2_HMAC_SHA256, ROUNDS, salt, value, &mut hash);
    hex::encode(hash)
}

/// What is known of the sources, to tell a credential.
pub struct Sealer {
    sources: BTreeMap<SourceName, (Scheme, Vec<Secret>)>,
    /// Every text that a live secret is sent as.
    live: Vec<String>,
    /// The shortest texts that give a live secret away: one of them is part of each that does.
    telling: BTreeSet<String>,
    /// Headers in which any preset sends a secret.
    headers: HashSet<HeaderName>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("sources", &self.sources.keys()).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Knows `sources`.
    #[must_use]
    pub fn new<'c>(sources: impl Iterator<Item = &'c SourceConfig>) -> Self {
        // Those that do not count now, too: what they signed is still theirs.
        let texts = |source: &SourceConfig| {
            let secrets = source.secrets.iter().map(|dated| dated.secret.clone());
            secrets.chain(source.verify_token.clone()).collect()
        };
        let sources: BTreeMap<_, (_, Vec<Secret>)> =
            sources.map(|source| (source.name.clone(), (source.scheme.clone(), texts(source)))).collect();
        let shared = sources.values().filter(|(scheme, _)| !scheme.kind.has_public_keys());
        let mut live: Vec<String> = shared
            .flat_map(|(scheme, secrets)| secrets.iter().flat_map(move |secret| texts_of(secret.expose(), scheme)))
            .collect();
        // A longer one may hold a shorter one.
        live.sort_by_key(|text| std::cmp::Reverse(text.len()));
        live.dedup();
        let telling = sources.values().filter(|(scheme, _)| !scheme.kind.has_public_keys()).flat_map(|(_, secrets)| {
            secrets.iter().flat_map(|secret| {
                let bare = bare(secret.expose()).unwrap_or_else(|| secret.expose());
                [bare.to_owned(), encoded(bare), json_text(bare), STANDARD.encode(secret.expose())]
            })
        });
        let telling = telling.filter(|text| text.len() >= REPLACED_EVERYWHERE_MIN).collect();
        let schemes = sources.values().map(|(scheme, _)| scheme.clone());
        let headers = schemes.chain(provider::presets().map(provider::Preset::scheme)).flat_map(|scheme| {
            let is_token = scheme.kind.is_token();
            scheme.signature.into_iter().filter_map(move |place| place.header().filter(|_| is_token).cloned())
        });
        let headers = headers.collect();
        Self { sources, live, telling, headers }
    }

    /// Takes the credentials out.
    #[must_use]
    pub fn seal(&self, request: RejectedRequest) -> SealedRequest {
        let mut request = request;
        let scheme = self.sources.get(&request.source).map(|(scheme, _)| scheme);
        let in_body = scheme.map_or_else(|| Some(Vec::new()), |scheme| in_body(&request, scheme));
        if in_body.is_none() {
            // A credential is in it that cannot be cut out.
            request.body = None;
        }
        let mut found = self.find(&request, scheme);
        found.extend(in_body.into_iter().flatten().map(|value| Found {
            value,
            at: "the body".to_owned(),
            header: None,
        }));
        let mut sealed = SealedRequest { request, seals: Vec::new() };
        sealed.drop_cookies();
        // One may hold another.
        found.sort_by_key(|one| std::cmp::Reverse(one.value.len()));
        for Found { value, at, header } in found {
            if sealed.seals.len() >= SEALS_MAX {
                sealed.replace(&value, NOT_KEPT.as_bytes(), header.as_ref());
                continue;
            }
            let seal = Seal::of(&value, at);
            let everywhere = value.len() >= REPLACED_EVERYWHERE_MIN;
            if sealed.replace(&value, seal.marker.as_bytes(), header.as_ref().filter(|_| !everywhere)) {
                sealed.seals.push(seal);
            }
        }
        sealed
    }

    /// Texts that a seal of this source's request may stand for, if its sender has the right secret.
    #[must_use]
    pub fn exact(&self, source: &SourceName) -> Vec<String> {
        let own = self.sources.get(source);
        own.into_iter()
            .flat_map(|(scheme, secrets)| secrets.iter().flat_map(|secret| texts_of(secret.expose(), scheme)))
            .collect()
    }

    /// The same, and what it may stand for by a mistake: a secret written otherwise, or another source's.
    #[must_use]
    pub fn likely(&self, source: &SourceName) -> Vec<String> {
        let own = self.sources.get(source);
        let wide = own
            .into_iter()
            .flat_map(|(scheme, secrets)| secrets.iter().flat_map(|secret| credentials(secret.expose(), scheme)));
        let mut all: Vec<String> = wide.chain(self.live.iter().cloned()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Every credential in the request, but for those that only its scheme knows in its body.
    fn find(&self, request: &RejectedRequest, scheme: Option<&Scheme>) -> Vec<Found> {
        let mut found = Vec::new();
        for (name, value) in &request.headers {
            if self.is_secret_header(name, scheme) && !value.is_empty() {
                let (value, at) = (value.as_bytes().to_vec(), format!("header {name}"));
                found.push(Found { value, at, header: Some(name.clone()) });
            }
        }
        found.extend(secrets_in_query(request, scheme));
        for text in &self.telling {
            if request.holds(text.as_bytes()) {
                found.push(Found {
                    value: text.clone().into_bytes(),
                    at: "somewhere, a live secret".to_owned(),
                    header: None,
                });
            }
        }
        found
    }

    fn is_secret_header(&self, name: &HeaderName, scheme: Option<&Scheme>) -> bool {
        if scheme.is_some_and(|scheme| scheme.sends_secret_in(name)) {
            return true;
        }
        let is_read = scheme.is_some_and(|scheme| places(scheme).any(|place| place.header() == Some(name)));
        !is_read
            && (*name == header::AUTHORIZATION || self.headers.contains(name) || is_called_credential(name.as_str()))
    }
}

/// A credential, and where it stands.
struct Found {
    value: Vec<u8>,
    at: String,
    header: Option<HeaderName>,
}

/// Every text that gives `secret` away: as it is sent, encoded, and without what is only put before a key.
fn texts_of(secret: &str, scheme: &Scheme) -> Vec<String> {
    let mut all = sent_as(secret, scheme);
    let bare = bare(secret).unwrap_or(secret);
    all.extend([bare.to_owned(), encoded(bare), json_text(bare), STANDARD.encode(secret), encoded(secret)]);
    all.sort_unstable();
    all.dedup();
    all
}

/// The secret without what is only put before a key.
fn bare(secret: &str) -> Option<&str> {
    ["whsec_", "v1,whsec_"].into_iter().find_map(|prefix| secret.strip_prefix(prefix))
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// As it stands between the quotes of a JSON string.
fn json_text(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn is_called_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIAL_NAMES.iter().any(|part| name.contains(part))
}

/// Every place that the scheme reads.
fn places(scheme: &Scheme) -> impl Iterator<Item = &Location> {
    let timestamp: &[Location] = match scheme.timestamp.as_ref().map(|rule| &rule.from) {
        Some(TimestampFrom::At(places)) => places,
        Some(TimestampFrom::Signature | TimestampFrom::Token) | None => &[],
    };
    let signed = scheme.template.pieces().iter().filter_map(Piece::location);
    let names = scheme.id.iter().chain(&scheme.event_type).flat_map(Composed::parts);
    scheme.signature.iter().chain(timestamp).chain(signed).chain(names)
}

/// Parameters of the query that hold a credential, as they are written there.
fn secrets_in_query(request: &RejectedRequest, scheme: Option<&Scheme>) -> Vec<Found> {
    let Some((_, query)) = request.target.split_once('?') else { return Vec::new() };
    let is_token = |name: &str| {
        scheme.is_some_and(|scheme| {
            scheme.kind.is_token() && scheme.signature.contains(&Location::Query(name.to_owned()))
        })
    };
    // What is signed must stay as it is, or nothing could be verified.
    let is_signed = |name: &str| {
        scheme.is_some_and(|scheme| {
            let is_place = places(scheme).any(|place| *place == Location::Query(name.to_owned()));
            is_place || scheme.signs_url() || scheme.template.has(&Piece::Query)
        })
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, value)| {
            !value.is_empty() && (is_token(name) || (is_called_credential(name) && !is_signed(name)))
        })
        .map(|(name, value)| Found { value: value.into(), at: format!("query parameter {name}"), header: None })
        .collect()
}

/// The credentials that the scheme has in the body, as they are written there; `None` if one is there otherwise.
fn in_body(request: &RejectedRequest, scheme: &Scheme) -> Option<Vec<Vec<u8>>> {
    let Some(body) = &request.body else { return Some(Vec::new()) };
    let is_in_body = scheme.signature.iter().any(Location::is_in_body) || scheme.kind == Kind::MicrosoftGraph;
    if !scheme.kind.is_token() || !is_in_body {
        return Some(Vec::new());
    }
    let received = Received { method: &request.method, target: &request.target, headers: &request.headers, body };
    let mut written = Vec::new();
    for value in scheme.secrets_in_body(&received)? {
        let forms = [json_text(&value), value.clone(), encoded(&value)];
        let form = forms.into_iter().find(|form| !form.is_empty() && contains(body, form.as_bytes()));
        written.push(form?.into_bytes());
    }
    Some(written)
}

impl SealedRequest {
    /// The request with every credential in its place that is one of `candidates`, and how many are left sealed.
    #[must_use]
    pub fn opened(&self, candidates: &[String]) -> (RejectedRequest, usize) {
        let mut open = self.clone();
        let mut left = 0;
        for seal in &self.seals {
            let value = candidates.iter().find(|text| seal.is_of(text.as_bytes()));
            match value {
                Some(value) => drop(open.replace(seal.marker.as_bytes(), value.as_bytes(), None)),
                None => left += 1,
            }
        }
        (open.request, left)
    }

    fn drop_cookies(&mut self) {
        for name in [header::COOKIE, header::PROXY_AUTHORIZATION] {
            if self.request.headers.contains_key(&name) {
                self.request.headers.insert(name, NOT_KEPT);
            }
        }
    }

    /// Replaces `old`, everywhere or in one header only; false if it is nowhere.
    fn replace(&mut self, old: &[u8], new: &[u8], only: Option<&HeaderName>) -> bool {
        let mut any = false;
        for (name, value) in &mut self.request.headers {
            if only.is_none_or(|only| only == name)
                && let Some(changed) = replaced(value.as_bytes(), old, new)
                && let Ok(changed) = HeaderValue::from_bytes(&changed)
            {
                *value = changed;
                any = true;
            }
        }
        if only.is_some() {
            return any;
        }
        if let Some(changed) = replaced(self.request.target.as_bytes(), old, new)
            && let Ok(changed) = String::from_utf8(changed)
        {
            self.request.target = changed;
            any = true;
        }
        if let Some(body) = &mut self.request.body
            && let Some(changed) = replaced(body, old, new)
        {
            *body = Bytes::from(changed);
            any = true;
        }
        any
    }
}

impl RejectedRequest {
    fn holds(&self, value: &[u8]) -> bool {
        contains(self.target.as_bytes(), value)
            || self.headers.values().any(|header| contains(header.as_bytes(), value))
            || self.body.as_ref().is_some_and(|body| contains(body, value))
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    position(text, part).is_some()
}

/// Where `part` begins in `text`.
fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    let first = *part.first()?;
    let mut from = 0;
    while let Some(at) = text.get(from..)?.iter().position(|byte| *byte == first) {
        from += at;
        if text[from..].starts_with(part) {
            return Some(from);
        }
        from += 1;
    }
    None
}

/// `text` with every `old` replaced; `None` if there is none.
fn replaced(text: &[u8], old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let mut changed = Vec::new();
    let mut rest = text;
    while let Some(at) = position(rest, old) {
        changed.extend_from_slice(&rest[..at]);
        changed.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    if rest.len() == text.len() {
        return None;
    }
    changed.extend_from_slice(rest);
    Some(changed)
}
