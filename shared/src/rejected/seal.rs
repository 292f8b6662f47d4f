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
use http::{HeaderMap, HeaderName, HeaderValue, header};
use memchr::memmem;
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
    fn of(found: &Found, marker: &[u8]) -> Self {
        let salt = random::bytes::<16>();
        let marker = String::from_utf8_lossy(marker).into_owned();
        Self { marker, at: found.at.clone(), salt: hex::encode(salt), hash: stretched(&found.value, &salt) }
    }

    /// Whether it stands for `value`.
    fn is_of(&self, value: &[u8]) -> bool {
        hex::decode(&self.salt).is_ok_and(|salt| stretched(value, &salt) == self.hash)
    }
}

fn new_marker() -> Vec<u8> {
    format!("sealed-{}", hex::encode(random::bytes::<12>())).into_bytes()
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
    ///
    /// The original is searched once, whatever stands in it: what it costs is bounded by [`SEALS_MAX`] and the length, and
    /// what is written is at most four times as long.
    #[must_use]
    pub fn seal(&self, request: RejectedRequest) -> SealedRequest {
        let mut request = request;
        let scheme = self.sources.get(&request.source).map(|(scheme, _)| scheme);
        let mut found = self.find(&request, scheme);
        match scheme.map_or_else(|| Some(Vec::new()), |scheme| in_body(&request, scheme)) {
            Some(values) => found.extend(values.into_iter().map(|value| Found {
                value,
                at: "the body".to_owned(),
                place: Place::Anywhere,
            })),
            // A credential is in it that cannot be cut out.
            None => request.body = None,
        }
        drop_cookies(&mut request.headers);
        // One may hold another.
        found.sort_by_key(|one| std::cmp::Reverse(one.value.len()));
        let mut seen = HashSet::new();
        found.retain(|one| seen.insert((one.value.clone(), one.is_short().then(|| one.place.clone()))));
        let rest = found.split_off(found.len().min(SEALS_MAX));
        leave_out(&mut request, &rest);
        let (short, long): (Vec<Found>, Vec<Found>) = found.into_iter().partition(Found::is_short);
        let mut sealed = SealedRequest { request, seals: Vec::new() };
        let markers: Vec<(Vec<u8>, Vec<u8>)> = long.iter().map(|one| (one.value.clone(), new_marker())).collect();
        let used = sealed.rewrite(&markers);
        for index in used {
            sealed.seals.push(Seal::of(&long[index], &markers[index].1));
        }
        for one in short {
            let marker = new_marker();
            if sealed.rewrite_place(&one, &marker) {
                sealed.seals.push(Seal::of(&one, &marker));
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
                found.push(Found { value, at, place: Place::Header(name.clone()) });
            }
        }
        found.extend(secrets_in_query(request, scheme));
        for text in &self.telling {
            if request.holds(text.as_bytes()) {
                found.push(Found {
                    value: text.clone().into_bytes(),
                    at: "somewhere, a live secret".to_owned(),
                    place: Place::Anywhere,
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
    place: Place,
}

/// Where a credential was found.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    /// It is all of a header.
    Header(HeaderName),
    /// It is the value of a parameter.
    Query(String),
    /// It is a part of the body, or of whatever else.
    Anywhere,
}

impl Found {
    /// Whether the same bytes could stand elsewhere and mean something else.
    fn is_short(&self) -> bool {
        self.value.len() < REPLACED_EVERYWHERE_MIN
    }
}

/// Leaves out what holds credentials beyond those that are sealed: no provider sends so many.
fn leave_out(request: &mut RejectedRequest, rest: &[Found]) {
    for one in rest {
        request.body = None;
        match &one.place {
            Place::Header(name) => drop(request.headers.insert(name, NOT_KEPT)),
            Place::Query(_) => leave_out_query(request),
            Place::Anywhere => {
                leave_out_query(request);
                let holds = request.headers.iter().filter(|(_, value)| contains(value.as_bytes(), &one.value));
                for name in holds.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
                    request.headers.insert(name, NOT_KEPT);
                }
            }
        }
    }
}

fn leave_out_query(request: &mut RejectedRequest) {
    if let Some((path, _)) = request.target.split_once('?') {
        request.target = format!("{path}?not-kept");
    }
}

fn drop_cookies(headers: &mut HeaderMap) {
    for name in [header::COOKIE, header::PROXY_AUTHORIZATION] {
        if headers.contains_key(&name) {
            headers.insert(name, NOT_KEPT);
        }
    }
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
        .map(|(name, value)| Found {
            value: value.into(),
            at: format!("query parameter {name}"),
            place: Place::Query(name.to_owned()),
        })
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
    let values: BTreeSet<String> = scheme.secrets_in_body(&received)?.into_iter().collect();
    if values.len() > SEALS_MAX {
        return None;
    }
    for value in values {
        let forms = [json_text(&value), value.clone(), encoded(&value)];
        let form = forms.into_iter().find(|form| !form.is_empty() && contains(body, form.as_bytes()))?.into_bytes();
        if form.len() < REPLACED_EVERYWHERE_MIN {
            return None;
        }
        written.push(form);
    }
    Some(written)
}

impl SealedRequest {
    /// The request with every credential in its place that is one of `candidates`, and how many are left sealed.
    #[must_use]
    pub fn opened(&self, candidates: &[String]) -> (RejectedRequest, usize) {
        let mut open = self.clone();
        let known = self.seals.iter().filter_map(|seal| {
            let value = candidates.iter().find(|text| seal.is_of(text.as_bytes()))?;
            Some((seal.marker.clone().into_bytes(), value.clone().into_bytes()))
        });
        let known: Vec<_> = known.collect();
        open.rewrite(&known);
        (open.request, self.seals.len() - known.len())
    }

    /// Replaces the first of each pair by the second wherever it stands, and says which were there.
    fn rewrite(&mut self, pairs: &[(Vec<u8>, Vec<u8>)]) -> BTreeSet<usize> {
        let mut used = BTreeSet::new();
        for value in self.request.headers.values_mut() {
            if let Some(changed) = rewritten(value.as_bytes(), pairs, &mut used)
                && let Ok(changed) = HeaderValue::from_bytes(&changed)
            {
                *value = changed;
            }
        }
        if let Some(changed) = rewritten(self.request.target.as_bytes(), pairs, &mut used)
            && let Ok(changed) = String::from_utf8(changed)
        {
            self.request.target = changed;
        }
        if let Some(changed) = self.request.body.as_ref().and_then(|body| rewritten(body, pairs, &mut used)) {
            self.request.body = Some(Bytes::from(changed));
        }
        used
    }

    /// Puts `marker` where a short credential was found, and nowhere else; false if it is not there any more.
    fn rewrite_place(&mut self, found: &Found, marker: &[u8]) -> bool {
        match &found.place {
            Place::Header(name) => {
                let mut any = false;
                for (header, value) in &mut self.request.headers {
                    if header == name
                        && value.as_bytes() == found.value
                        && let Ok(marker) = HeaderValue::from_bytes(marker)
                    {
                        *value = marker;
                        any = true;
                    }
                }
                any
            }
            Place::Query(name) => {
                let Some((path, query)) = self.request.target.split_once('?') else { return false };
                let (old, marker) = (String::from_utf8_lossy(&found.value), String::from_utf8_lossy(marker));
                let old = format!("{name}={old}");
                let put = |pair: &str| if pair == old { format!("{name}={marker}") } else { pair.to_owned() };
                let changed = query.split('&').map(put).collect::<Vec<_>>().join("&");
                let any = changed != query;
                self.request.target = format!("{path}?{changed}");
                any
            }
            // Short ones of a body are not cut out of it.
            Place::Anywhere => false,
        }
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
    memmem::find(text, part).is_some()
}

/// `text` with the first of each pair replaced by the second, the longest first where two could be; `None` if none is there.
/// What was put in is not searched.
fn rewritten(text: &[u8], pairs: &[(Vec<u8>, Vec<u8>)], used: &mut BTreeSet<usize>) -> Option<Vec<u8>> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (index, (old, _)) in pairs.iter().enumerate() {
        places.extend(memmem::find_iter(text, old).map(|at| (at, index)));
    }
    places.sort_by_key(|(at, index)| (*at, std::cmp::Reverse(pairs[*index].0.len())));
    let (mut changed, mut from) = (Vec::new(), 0);
    for (at, index) in places.iter().copied() {
        if at >= from {
            changed.extend_from_slice(&text[from..at]);
            changed.extend_from_slice(&pairs[index].1);
            from = at + pairs[index].0.len();
            used.insert(index);
        }
    }
    changed.extend_from_slice(&text[from..]);
    (!places.is_empty()).then_some(changed)
}
