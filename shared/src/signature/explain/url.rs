//! Which other URL a provider may have been given.

use http::HeaderMap;

use crate::signature::{PublicUrl, Received};

/// A part of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlPart {
    /// `http` or `https`.
    Scheme,
    /// The host's name.
    Host,
    /// The port.
    Port,
    /// The path, mostly the slash at its end.
    Path,
    /// The query, or the order of its parameters.
    Query,
}

/// A URL, and in what it differs from the configured one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Other {
    pub(super) url: String,
    pub(super) parts: Vec<UrlPart>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Split {
    scheme: String,
    host: String,
    port: String,
    path: String,
    query: String,
}

impl Split {
    fn of(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = host_and_port(authority);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Self { scheme: scheme.into(), host, port, path: path.into(), query: query.into() }
    }

    fn join(&self) -> String {
        let Self { scheme, host, port, path, query } = self;
        let colon = if port.is_empty() { "" } else { ":" };
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{scheme}://{host}{colon}{port}{path}{mark}{query}")
    }

    fn differs_from(&self, other: &Self) -> Vec<UrlPart> {
        let parts = [
            (self.scheme != other.scheme, UrlPart::Scheme),
            (self.host != other.host, UrlPart::Host),
            (self.port != other.port, UrlPart::Port),
            (self.path != other.path, UrlPart::Path),
            (self.query != other.query, UrlPart::Query),
        ];
        parts.into_iter().filter(|(differs, _)| *differs).map(|(_, part)| part).collect()
    }
}

/// The URLs that the provider may have called instead, those with the fewest differences first.
pub(super) fn others(configured: &PublicUrl, received: &Received<'_>) -> Vec<Other> {
    let own = Split::of(&match configured {
        PublicUrl::Whole(url) => url.clone(),
        PublicUrl::Base(base) => format!("{base}{}", received.target),
        PublicUrl::Unknown => format!("https://{}{}", header(received.headers, "host"), received.target),
    });
    let (target_path, target_query) = received.target.split_once('?').unwrap_or((received.target, ""));
    let named = [header(received.headers, "host"), header(received.headers, "x-forwarded-host")];
    let named = named.map(|authority| host_and_port(&authority));
    let hosts = distinct([&own.host, &named[0].0, &named[1].0].map(String::clone));
    let schemes = distinct([own.scheme.clone(), "https".to_owned(), "http".to_owned()]);
    let ports = |scheme: &str| {
        let standard = if scheme == "https" { "443" } else { "80" };
        let mut ports = distinct([&own.port, &named[0].1, &named[1].1].map(String::clone));
        ports.extend([String::new(), standard.to_owned()]);
        distinct(ports)
    };
    let paths =
        distinct([own.path.clone(), target_path.to_owned()].into_iter().flat_map(|path| [slashed(&path), path]));
    let queries =
        distinct([&own.query, target_query, ""].iter().flat_map(|query| [(*query).to_owned(), sorted(query)]));
    let mut all = Vec::new();
    for scheme in &schemes {
        for host in hosts.iter().filter(|host| !host.is_empty()) {
            for port in ports(scheme) {
                for path in &paths {
                    for query in &queries {
                        let (scheme, host, port) = (scheme.clone(), host.clone(), port.clone());
                        let split = Split { scheme, host, port, path: path.clone(), query: query.clone() };
                        let parts = split.differs_from(&own);
                        all.push(Other { url: split.join(), parts });
                    }
                }
            }
        }
    }
    all.retain(|other| !other.parts.is_empty());
    all.sort_by_key(|other| other.parts.len());
    all.dedup();
    all
}

/// The URL as it may be shown: a query can hold a secret.
pub(super) fn without_query(url: &str) -> String {
    url.split_once('?').map_or(url, |(url, _)| url).to_owned()
}

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn host_and_port(authority: &str) -> (String, String) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host.to_owned(), port.to_owned()),
        Some(_) | None => (authority.to_owned(), String::new()),
    }
}

/// With the slash at its end if there is none, or without it.
fn slashed(path: &str) -> String {
    path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned)
}

fn sorted(query: &str) -> String {
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    pairs.join("&")
}

fn distinct(values: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}
