//! Addresses: networks of the configuration, and who sent a request that came through proxies.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

/// Proxies that a request is followed back through at most; what lies beyond is taken for the sender.
const HOPS_MAX: usize = 16;
/// `X-Forwarded-For`: no standard, and what most proxies write.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A network, or one address: `192.0.2.0/24`, `2001:db8::/32`, `192.0.2.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is neither an address nor a network.
    #[error("it is neither")]
    Syntax,
    /// It has bits beyond its prefix, so that it is not clear what is meant.
    #[error("an address within a network; the network is {0}")]
    Host(IpNet),
    /// IPv4 in the clothes of IPv6: addresses are compared as IPv4.
    #[error("write it as IPv4")]
    Mapped,
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| NetworkError::Syntax)?,
        };
        if network.addr().to_canonical() != network.addr() {
            return Err(NetworkError::Mapped);
        }
        if network.trunc() != network {
            return Err(NetworkError::Host(network.trunc()));
        }
        Ok(Self(network))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Network {
    /// Says whether every address is in it.
    #[must_use]
    pub fn is_everyone(&self) -> bool {
        self.0.prefix_len() == 0
    }
}

/// Several networks; none by default.
#[derive(Debug, Clone, Default)]
pub struct Networks(Arc<[Network]>);

impl From<Vec<Network>> for Networks {
    fn from(networks: Vec<Network>) -> Self {
        Self(networks.into())
    }
}

impl Networks {
    /// Says whether `address` is in one of them. IPv4 that comes as IPv6 is IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.0.contains(&address))
    }
}

/// Addresses that most likely have one owner: one of IPv4, a /64 of IPv6, which is what one customer is given at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AddressGroup(u64);

impl From<IpAddr> for AddressGroup {
    fn from(address: IpAddr) -> Self {
        /// Keeps IPv4 apart from every /64 that is in use: 0000::/8 is reserved.
        const IPV4: u64 = 1 << 32;
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IPV4 | u64::from(address.to_bits())),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }
}

/// The header in which the proxies in front tell whom a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded`: RFC 7239.
    Forwarded,
}

/// Who is believed about where a request came from.
#[derive(Debug, Clone)]
pub struct Proxies {
    /// The proxies.
    pub trusted: Networks,
    /// The one header that they write. Of any other they may pass on what a sender made up.
    pub header: ProxyHeader,
}

impl Proxies {
    /// Who sent a request that came from `peer`: the last one in the chain whom no trusted proxy stands for.
    ///
    /// The chain is read from its end: each proxy appends, so that what stands to the left of the first address which is
    /// not trusted may be made up. What cannot be read ends the chain too; the proxy that wrote it is then the sender.
    #[must_use]
    pub fn sender(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut sender = peer.to_canonical();
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.header {
            ProxyHeader::XForwardedFor => (X_FORWARDED_FOR, address),
            ProxyHeader::Forwarded => (header::FORWARDED, forwarded_for),
        };
        // Commas in quotes split as well: only what a sender made up has any, and a quote that it never closes must not
        // swallow what a proxy appended.
        let lines = headers.get_all(name).iter().rev();
        let mut told = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).take(HOPS_MAX);
        while self.trusted.contains(sender) {
            let next = told.next().and_then(|part| std::str::from_utf8(part).ok()).and_then(|part| read(part.trim()));
            let Some(next) = next else { break };
            sender = next.to_canonical();
        }
        sender
    }
}

/// An address, with a port or brackets where a proxy writes them.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).or_else(bracketed)
}

/// `for` of one element: <https://www.rfc-editor.org/rfc/rfc7239#section-4>
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut parameters = element.split(';').filter_map(|parameter| parameter.trim().split_once('='));
    let (_, node) = parameters.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    let unquoted = node.strip_prefix('"').map_or(Some(node), |node| node.strip_suffix('"'));
    address(unquoted?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Networks {
        list.iter().map(|text| text.parse().expect("a network")).collect::<Vec<Network>>().into()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_network_is_read_or_refused() {
        for good in ["192.0.2.0/24", "192.0.2.1", "2001:db8::/32", "::1", "0.0.0.0/0"] {
            assert!(good.parse::<Network>().is_ok(), "{good}");
        }
        let check = |text: &str, needle: &str| {
            let error = text.parse::<Network>().expect_err(text).to_string();
            assert!(error.contains(needle), "{needle:?} in {error:?}");
        };
        for bad in ["", "192.0.2.0/33", "192.0.2/24", "2001:db8::/129", "example.com", "192.0.2.0/24 ", "1.2.3.4:80"] {
            check(bad, "neither");
        }
        check("192.0.2.1/24", "192.0.2.0/24");
        check("::ffff:192.0.2.0/120", "IPv4");
    }

    #[test]
    fn an_address_is_in_its_networks() {
        let networks = networks(&["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"]);
        for inside in ["192.0.2.255", "::ffff:192.0.2.1", "2001:db8:ffff::1", "198.51.100.7"] {
            assert!(networks.contains(ip(inside)), "{inside}");
        }
        for outside in ["192.0.3.0", "2001:db9::1", "198.51.100.8", "::1"] {
            assert!(!networks.contains(ip(outside)), "{outside}");
        }
        assert!(!Networks::default().contains(ip("127.0.0.1")));
    }

    #[test]
    fn ipv6_is_one_group_for_each_64() {
        let group = |text| AddressGroup::from(ip(text));
        assert_eq!(group("2001:db8::1"), group("2001:db8::ffff:1"));
        assert_ne!(group("2001:db8::1"), group("2001:db8:0:1::1"));
        assert_ne!(group("192.0.2.1"), group("192.0.2.2"));
        assert_eq!(group("192.0.2.1"), group("::ffff:192.0.2.1"));
        assert_ne!(group("0.0.0.0"), group("::1"));
    }

    fn sender(header: ProxyHeader, peer: &str, lines: &[(HeaderName, &str)]) -> String {
        let proxies = Proxies { trusted: networks(&["10.0.0.0/8", "fd00::/8"]), header };
        let lines = lines.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value")));
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        proxies.sender(ip(peer), &headers).to_string()
    }

    #[test]
    fn x_forwarded_for_is_read_from_its_end_and_only_of_trusted_proxies() {
        let check = |peer: &str, lines: &[&str], expected: &str| {
            let named: Vec<_> = lines.iter().map(|line| (X_FORWARDED_FOR, *line)).collect();
            assert_eq!(sender(ProxyHeader::XForwardedFor, peer, &named), expected, "{peer} {lines:?}");
        };
        check("192.0.2.1", &["198.51.100.1"], "192.0.2.1");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("fd00::1", &["2001:db8::1"], "2001:db8::1");
        check("10.0.0.1", &["203.0.113.9, 198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["203.0.113.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &["203.0.113.9", "198.51.100.1", "10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1");
        check("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1");
        check("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        // Nothing told, or nothing that can be read: the proxy itself.
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.1, , 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["198.51.100.1,"], "10.0.0.1");
        // No longer chain is followed, whatever a sender puts there.
        let long = ["198.51.100.1"].into_iter().chain(std::iter::repeat_n("10.0.0.2", 16)).collect::<Vec<_>>();
        check("10.0.0.1", &[&long.join(", ")], "10.0.0.2");
    }

    #[test]
    fn forwarded_is_read_from_its_end_and_only_of_trusted_proxies() {
        let check = |peer: &str, line: &str, expected: &str| {
            let lines = [(header::FORWARDED, line), (X_FORWARDED_FOR, "203.0.113.9")];
            assert_eq!(sender(ProxyHeader::Forwarded, peer, &lines), expected, "{peer} {line}");
        };
        check("192.0.2.1", "for=198.51.100.1", "192.0.2.1");
        check("10.0.0.1", "for=198.51.100.1", "198.51.100.1");
        check("10.0.0.1", "by=10.0.0.9;For=\"198.51.100.1:80\" ; proto=https", "198.51.100.1");
        check("10.0.0.1", "for=203.0.113.9, for=\"[2001:db8::1]:4711\"", "2001:db8::1");
        check("10.0.0.1", "for=198.51.100.1, for=10.0.0.2", "198.51.100.1");
        check("10.0.0.1", "for=_hidden", "10.0.0.1");
        check("10.0.0.1", "proto=https", "10.0.0.1");
        // A quote that the sender leaves open swallows nothing of what the proxy appended.
        check("10.0.0.1", "for=\"203.0.113.9, for=198.51.100.1", "198.51.100.1");
        let lines = [(header::FORWARDED, "for=203.0.113.9")];
        assert_eq!(sender(ProxyHeader::XForwardedFor, "10.0.0.1", &lines), "10.0.0.1", "the other header is not read");
    }
}
