//! Admission: whether a request is looked at, judged by its head alone, before any of its body is read.
//!
//! In this order: how often its address has asked, whatever for; whether its source exists; whether that source takes
//! requests from there; how many the source has had. A request that may not come from where it comes from is answered as
//! one for a source that does not exist, so that scanners learn nothing.
//!
//! An address pays for every request, verified or not. A source pays for verified ones only: what strangers send cannot
//! use up what its provider may send.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Extensions, HeaderMap, Request};
use tidegate_shared::config::{AdmissionConfig, SourceAdmissionConfig};
use tidegate_shared::event::SourceName;
use tidegate_shared::net::{AddressGroup, Networks, Proxies};
use tidegate_shared::rate::Bucket;
use tidegate_shared::serve::Peer;

use crate::error::IngestError;
use crate::receive::Door;
use crate::source::Source;

mod addresses;

use addresses::Addresses;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// The address that asks: `ingest.address_rate_limit`.
    Address,
    /// The source that is asked: `source.rate_limit`.
    Source,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "address",
            Self::Source => "source",
        })
    }
}

/// What holds for every source.
#[derive(Debug)]
pub(crate) struct Admission {
    proxies: Proxies,
    addresses: Option<Addresses>,
}

/// A request that is not looked at any further.
#[derive(Debug)]
pub(crate) struct NotEntered {
    /// The source that it counts for, if it named one.
    pub(crate) source: Option<Arc<Source>>,
    pub(crate) error: IngestError,
}

impl Admission {
    pub(crate) fn new(config: &AdmissionConfig) -> Self {
        Self { proxies: config.proxies.clone(), addresses: config.address_rate.map(Addresses::new) }
    }

    /// Who sent it. No address at all where nothing told the connection's other end: [`tidegate_shared::serve`] does.
    pub(crate) fn sender(&self, extensions: &Extensions, headers: &HeaderMap) -> IpAddr {
        match extensions.get::<Peer>() {
            Some(Peer(peer)) => self.proxies.sender(peer.ip(), headers),
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }

    fn count(&self, sender: IpAddr, now: Instant) -> Result<(), IngestError> {
        let taken = self.addresses.as_ref().map(|addresses| addresses.take(AddressGroup::from(sender), now));
        taken
            .unwrap_or(Ok(()))
            .map_err(|retry_after| IngestError::RateLimited { limited: Limited::Address, retry_after })
    }
}

impl Door {
    /// The source that the request is for, if the request may come in.
    ///
    /// # Errors
    /// [`NotEntered`] says why not.
    pub(crate) fn enter<B>(&self, name: &str, request: &Request<B>) -> Result<Arc<Source>, NotEntered> {
        let sender = self.admission.sender(request.extensions(), request.headers());
        let now = Instant::now();
        let counted = self.admission.count(sender, now);
        let source = self.source(name);
        if let Err(error) = counted {
            return Err(NotEntered { source: source.ok(), error });
        }
        let source = source.map_err(|error| NotEntered { source: None, error })?;
        match source.gate.judge(sender, now) {
            Ok(()) => Ok(source),
            Err(error) => Err(NotEntered { source: Some(source), error }),
        }
    }
}

/// What holds for one source.
#[derive(Debug)]
pub(crate) struct Gate {
    name: SourceName,
    allow_from: Option<Networks>,
    rate: Option<Mutex<Bucket>>,
}

impl Gate {
    pub(crate) fn new(name: SourceName, config: &SourceAdmissionConfig) -> Self {
        let rate = config.rate.map(|(rate, burst)| Mutex::new(Bucket::new(rate, burst)));
        Self { name, allow_from: config.allow_from.clone(), rate }
    }

    /// Whether a request of `sender` is worth to be read. Counts nothing: it may be anybody's.
    fn judge(&self, sender: IpAddr, now: Instant) -> Result<(), IngestError> {
        if self.allow_from.as_ref().is_some_and(|networks| !networks.contains(sender)) {
            return Err(IngestError::AddressNotAllowed { name: self.name.clone(), sender });
        }
        match self.bucket().map(|bucket| bucket.start_behind(0, now) - now) {
            Some(wait) if !wait.is_zero() => Err(source_limited(wait)),
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a request that its provider has signed.
    ///
    /// # Errors
    /// [`IngestError::RateLimited`] if others were faster since it was judged.
    pub(crate) fn count_verified(&self) -> Result<(), IngestError> {
        self.bucket().map_or(Ok(()), |mut bucket| bucket.take(Instant::now()).map_err(source_limited))
    }

    fn bucket(&self) -> Option<MutexGuard<'_, Bucket>> {
        self.rate.as_ref().map(|bucket| bucket.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn source_limited(retry_after: Duration) -> IngestError {
    IngestError::RateLimited { limited: Limited::Source, retry_after }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use tidegate_shared::config::{ContentEncoding, Rate};
    use tidegate_shared::net::ProxyHeader;

    use super::*;

    fn gate(allow_from: Option<&str>, rate: Option<u32>) -> Gate {
        let per_minute = |count| Rate { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(60) };
        let config = SourceAdmissionConfig {
            allow_from: allow_from.map(|network| Networks::from(vec![network.parse().unwrap()])),
            rate: rate.map(|count| (per_minute(count), NonZeroU32::MIN)),
            content_encoding: ContentEncoding::Refuse,
        };
        Gate::new(SourceName::try_new("shop").unwrap(), &config)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_sender_that_nobody_knows_is_from_nowhere_that_is_allowed() {
        let (now, gate) = (Instant::now(), gate(Some("192.0.2.0/24"), None));
        assert!(gate.judge(ip("192.0.2.1"), now).is_ok());
        let admission = Admission {
            proxies: Proxies { trusted: Networks::default(), header: ProxyHeader::XForwardedFor },
            addresses: None,
        };
        let nobody = admission.sender(&Extensions::new(), &HeaderMap::new());
        for sender in [nobody, ip("192.0.3.1")] {
            assert!(matches!(gate.judge(sender, now), Err(IngestError::AddressNotAllowed { .. })), "{sender:?}");
        }
    }

    #[test]
    fn only_verified_requests_use_up_a_sources_rate() {
        let gate = gate(None, Some(1));
        let judge = || gate.judge(ip("192.0.2.1"), Instant::now());
        assert!((0..100).all(|_| judge().is_ok()), "to be judged costs nothing");
        gate.count_verified().unwrap();
        for refused in [judge(), gate.count_verified()] {
            let Err(IngestError::RateLimited { limited: Limited::Source, retry_after }) = refused else {
                panic!("{refused:?}")
            };
            assert!(retry_after > Duration::from_secs(55) && retry_after <= Duration::from_secs(60), "{retry_after:?}");
        }
    }
}
