//! Reads who may come in at the door, how often, and how slowly: a part of `[ingest]` and of each `[[source]]`.

use std::num::{NonZeroU32, NonZeroUsize};

use super::Rate;
use super::reader::{Section, Setting};
use super::setting::ByteCount;
use crate::net::{Network, Networks, Proxies, ProxyHeader};

/// Headers of one request: the HTTP library reserves room for all of them before it reads any.
const HEADERS_MOST: usize = 1_000;
/// Bytes of one head: less than some honest sender's, and more than any.
const HEAD_BYTES: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 20;

/// Connections that one address may have where nothing is said, however few there are in all.
const PER_ADDRESS_LEAST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

/// The part of `[ingest]` that keeps strangers from taking the door for themselves.
#[derive(Debug, Clone)]
pub struct AdmissionConfig {
    /// Whose word is taken for where a request came from.
    pub proxies: Proxies,
    /// Requests of one address over time, verified or not.
    pub address_rate: Option<Rate>,
    /// Connections of one address at most; trusted proxies may have any number.
    pub connections_per_address_max: NonZeroUsize,
    /// Headers of one request at most.
    pub headers_max: usize,
    /// Bytes of one request's head at most.
    pub head_bytes_max: usize,
    /// Bytes that a body must make in a second, once it has had a moment to begin.
    pub body_rate_min: usize,
}

/// The part of a `[[source]]` that says whose requests are looked at, and how many.
#[derive(Debug, Clone)]
pub struct SourceAdmissionConfig {
    /// Where its requests may come from; `None` for anywhere.
    pub allow_from: Option<Networks>,
    /// Verified requests over time and at once.
    pub rate: Option<(Rate, NonZeroU32)>,
    /// What happens to compressed bodies.
    pub content_encoding: ContentEncoding,
}

/// What the door does with a body that has a `Content-Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentEncoding {
    /// Answers 415: a handler that knows nothing of it would read noise.
    Refuse,
    /// Takes the bytes as they are: verified, stored and handled compressed, with the header beside them.
    Accept,
}

pub(super) fn read_admission(section: &Section<'_>, connections_max: NonZeroUsize) -> AdmissionConfig {
    let trusted: Vec<Network> = section.list("trusted_proxies").unwrap_or_default();
    if trusted.iter().any(Network::is_everyone) {
        section.mistake("trusted_proxies", "everybody could then say to be anybody; name the proxies' own".to_owned());
    }
    // A quarter: no single address can take the whole door.
    let quarter = NonZeroUsize::new(connections_max.get() / 4).unwrap_or(NonZeroUsize::MIN);
    let per_address = quarter.max(PER_ADDRESS_LEAST).min(connections_max);
    let config = AdmissionConfig {
        proxies: Proxies { trusted: trusted.into(), header: section.or("proxy_header", ProxyHeader::XForwardedFor) },
        address_rate: section.get("address_rate_limit"),
        connections_per_address_max: section.or("connections_per_address_max", per_address),
        headers_max: section.or("headers_max", NonZeroUsize::MIN.saturating_add(99)).get(),
        head_bytes_max: section.or("head_bytes_max", ByteCount(64 << 10)).0,
        body_rate_min: section.or("body_rate_min", ByteCount(1 << 10)).0,
    };
    if config.headers_max > HEADERS_MOST {
        section.mistake("headers_max", format!("must be at most {HEADERS_MOST}"));
    }
    if !HEAD_BYTES.contains(&config.head_bytes_max) {
        section.mistake("head_bytes_max", "must be 1KiB to 1MiB".to_owned());
    }
    config
}

pub(super) fn read_source_admission(section: &Section<'_>) -> SourceAdmissionConfig {
    let allow_from: Option<Vec<Network>> = section.list("allow_from");
    if allow_from.as_ref().is_some_and(Vec::is_empty) {
        section.mistake("allow_from", "empty: nobody could send; leave it out to let everybody".to_owned());
    }
    let (rate, burst): (Option<Rate>, Option<NonZeroU32>) = (section.get("rate_limit"), section.get("burst"));
    if rate.is_none() && burst.is_some() {
        section.mistake("burst", "belongs to rate_limit, which is not there".to_owned());
    }
    SourceAdmissionConfig {
        allow_from: allow_from.map(Networks::from),
        rate: rate.map(|rate| (rate, burst.unwrap_or(rate.count))),
        content_encoding: section.or("content_encoding", ContentEncoding::Refuse),
    }
}

impl Setting for Network {
    const EXPECTED: &'static str = "an address or a network, such as \"192.0.2.0/24\" or \"2001:db8::/32\"";
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: crate::net::NetworkError| error.to_string())
    }
}

impl Setting for ProxyHeader {
    const EXPECTED: &'static str = "\"x-forwarded-for\" or \"forwarded\"";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err(String::new()),
        }
    }
}

impl Setting for ContentEncoding {
    const EXPECTED: &'static str = "\"refuse\" or \"accept\"";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "accept" => Ok(Self::Accept),
            _ => Err(String::new()),
        }
    }
}
