//! Requests to URLs that come from data or from users, which must not reach into our own network.
//!
//! Such a URL may name a metadata service, a database or this very process (SSRF). So: `https` on its own port only;
//! an address that the URL spells out is checked after parsing; a name is resolved here, only public addresses are
//! kept, and the connection goes to exactly those, so that a name cannot change its mind in between (DNS rebinding);
//! redirects are not followed, proxies not used, answers and times bounded.
//!
//! URLs of the configuration are the operator's and do not come this way. Where more is wanted, let an egress proxy
//! such as smokescreen stand between this process and the world.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response};
use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use url::{Host, Url};

use crate::process::install_tls;

/// Ports that are asked: others belong to services that were never meant to be asked by strangers.
const PORTS: &[u16] = &[443];
/// Bytes of an answer at most: nobody whose URL we were given may fill our memory.
const BODY_MAX: usize = 64 << 10;
/// Time to connect; a stranger's server that is down is no reason to wait.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the whole exchange, the last byte included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A request that was not made, or had no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// It is no URL with a host.
    #[error("not a URL")]
    Url(#[from] url::ParseError),
    /// Its scheme is another.
    #[error("scheme {0:?} is not asked: only https is")]
    Scheme(String),
    /// Its port is another.
    #[error("port {0} is not asked")]
    Port(u16),
    /// It names an address that is not public.
    #[error("{0} is not a public address")]
    Address(IpAddr),
    /// It names a host that has no public address.
    #[error("the host has no public address")]
    Host,
    /// The answer is too large.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// Bytes at most.
        limit: usize,
    },
    /// The exchange failed.
    #[error("no answer")]
    Exchange(#[source] reqwest::Error),
}

impl From<reqwest::Error> for GuardError {
    fn from(error: reqwest::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(this) = cause {
            if this.is::<NoPublicAddress>() {
                return Self::Host;
            }
            cause = this.source();
        }
        // The URL may hold what its owner would not have logged.
        Self::Exchange(error.without_url())
    }
}

/// Asks URLs that are not trusted. Clones share their connections.
///
/// ```no_run
/// # async fn example() -> Result<(), tidegate_shared::guard::GuardError> {
/// let client = tidegate_shared::guard::PublicClient::try_new()?;
/// let answer = client.get("https://example.com/avatar").await?;
/// println!("{} bytes", answer.body().len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PublicClient {
    client: Client,
    rules: Rules,
}

/// What may be asked.
#[derive(Debug, Clone, Copy)]
struct Rules {
    scheme: &'static str,
    has_port: fn(u16) -> bool,
    has_address: fn(IpAddr) -> bool,
}

const PUBLIC: Rules = Rules { scheme: "https", has_port: |port| PORTS.contains(&port), has_address: is_public };

impl PublicClient {
    /// One client serves any number of URLs.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn try_new() -> Result<Self, GuardError> {
        Self::with_rules(PUBLIC)
    }

    fn with_rules(rules: Rules) -> Result<Self, GuardError> {
        install_tls();
        let client = Client::builder()
            .dns_resolver(Arc::new(GuardedResolver { has_address: rules.has_address }))
            .redirect(Policy::none())
            .no_proxy()
            .https_only(rules.scheme == "https")
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("Tidegate/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, rules })
    }

    /// Asks for what `url` names. Any status is an answer; a redirect is one too.
    ///
    /// # Errors
    /// If the URL must not be asked, or there is no answer within bounds: [`GuardError`] says which.
    pub async fn get(&self, url: &str) -> Result<Response<Bytes>, GuardError> {
        self.send(Method::GET, url, HeaderMap::new(), Bytes::new()).await
    }

    /// Sends a request. Any status is an answer; a redirect is one too.
    ///
    /// # Errors
    /// If the URL must not be asked, or there is no answer within bounds: [`GuardError`] says which.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, GuardError> {
        let url = self.rules.check(url)?;
        let answer = self.client.request(method, url).headers(headers).body(body).send().await?;
        read(answer).await
    }
}

impl Rules {
    /// The URL as parsed, if it may be asked; a host that is a name is left to the resolver.
    fn check(self, url: &str) -> Result<Url, GuardError> {
        let url = Url::parse(url)?;
        if url.scheme() != self.scheme {
            return Err(GuardError::Scheme(url.scheme().to_owned()));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if !(self.has_port)(port) {
            return Err(GuardError::Port(port));
        }
        // The parsed host, not its text: the parser knows every spelling of an address.
        let address = match url.host().ok_or(url::ParseError::EmptyHost)? {
            Host::Domain(_) => return Ok(url),
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
        };
        if (self.has_address)(address) { Ok(url) } else { Err(GuardError::Address(address)) }
    }
}

async fn read(mut answer: reqwest::Response) -> Result<Response<Bytes>, GuardError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(GuardError::TooLarge { limit: BODY_MAX });
        }
        body.extend_from_slice(&chunk);
    }
    let mut read = Response::new(body.freeze());
    *read.status_mut() = answer.status();
    *read.version_mut() = answer.version();
    *read.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(read)
}

/// Resolves names to public addresses only. Asked for names, never for addresses that a URL spells out.
struct GuardedResolver {
    has_address: fn(IpAddr) -> bool,
}

/// A name that resolves, but only to addresses that are not public.
#[derive(Debug)]
struct NoPublicAddress;

impl fmt::Display for NoPublicAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no public address")
    }
}

impl Error for NoPublicAddress {}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let has_address = self.has_address;
        Box::pin(async move {
            // Port 0 is replaced by the URL's.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| has_address(address.ip())).collect();
            if public.is_empty() {
                return Err(NoPublicAddress.into());
            }
            let public: Addrs = Box::new(public.into_iter());
            Ok(public)
        })
    }
}

/// Says whether an address is one of the public internet, rather than of this machine, its network, or no host at all.
///
/// By the registries of IANA: <https://www.iana.org/assignments/iana-ipv4-special-registry> and
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let is_special = match ip.octets() {
        [0 | 10 | 127, ..] => true,  // this network, private, loopback
        [100, 64..=127, ..] => true, // shared by carriers
        [169, 254, ..] => true,      // link-local, where clouds keep their metadata
        [172, 16..=31, ..] => true,  // private
        [192, 0, 0 | 2, _] => true,  // protocol assignments, documentation
        [192, 88, 99, _] => true,    // 6to4 relays
        [192, 168, ..] => true,      // private
        [198, 18 | 19, ..] => true,  // benchmarks
        [198, 51, 100, _] => true,   // documentation
        [203, 0, 113, _] => true,    // documentation
        [224..=255, ..] => true,     // multicast, reserved, broadcast
        _ => false,
    };
    !is_special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        // An IPv4 address in other clothes: ::ffff:0:0/96 and NAT64's 64:ff9b::/96 reach that one.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // 2001::/23, protocol assignments: Teredo, benchmarks, ORCHID.
        [0x2001, 0..=0x1ff, ..] => false,
        // Documentation: 2001:db8::/32, 3fff::/20.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // 6to4, which wraps any IPv4 address.
        [0x2002, ..] => false,
        // 2000::/3 is all that is global unicast. Outside of it lie ::, ::1, IPv4-compatible ::/96, local NAT64,
        // fc00::/7, fe80::/10, fec0::/10 and ff00::/8.
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

#[cfg(test)]
mod tests;
