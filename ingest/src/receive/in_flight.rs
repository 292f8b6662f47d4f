//! Bytes of bodies in memory: how many all of them may hold together, and how many those of one address.
//!
//! They are held before anything is verified, by whoever sends, and a body may take its time. So an address has a
//! share: a stranger who fills it is told to come again, and leaves the rest to others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tidegate_shared::config::IngestConfig;
use tidegate_shared::net::AddressGroup;

use crate::error::IngestError;
use crate::lines::Lines;

/// An address may hold one part in so many of all bytes. It may have as large a part of all connections, so that each
/// of them can hold as much as each of everybody's. By default that is 64 KiB: a tunnel or a proxy through which every
/// sender comes runs out of connections first, while bodies are no larger than that on average.
const SHARES: usize = 4;

/// The bytes that bodies hold.
#[derive(Debug)]
pub(super) struct InFlight {
    /// `ingest.bytes_in_flight_max`
    max: usize,
    of_address_max: usize,
    taken: Mutex<Taken>,
    /// In the log, of addresses that have used up their share.
    lines: Lines,
}

/// No more entries than bodies: an address that holds nothing has none.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<AddressGroup, usize>,
}

/// Which bound was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    /// That of the address.
    Address,
    /// That of all together.
    All,
}

impl InFlight {
    pub(super) fn new(config: &IngestConfig) -> Arc<Self> {
        Self::with_bounds(config.bytes_in_flight_max, config.body_limit)
    }

    /// `max` bytes in all, and room for one body of `body_limit` bytes in every share, whatever part of all that is.
    fn with_bounds(max: usize, body_limit: usize) -> Arc<Self> {
        let of_address_max = (max / SHARES).max(body_limit);
        Arc::new(Self { max, of_address_max, taken: Mutex::default(), lines: Lines::new() })
    }

    /// What a body of `sender` holds that has not begun to come: nothing.
    pub(super) fn begin(self: &Arc<Self>, sender: IpAddr) -> Held {
        Held { in_flight: Arc::clone(self), sender, group: sender.into(), bytes: 0 }
    }

    fn take(&self, group: AddressGroup, bytes: usize) -> Result<(), Full> {
        let mut taken = self.taken();
        let of_address = taken.by_address.get(&group).copied().unwrap_or_default();
        if bytes > self.of_address_max - of_address {
            return Err(Full::Address);
        }
        if bytes > self.max - taken.all {
            return Err(Full::All);
        }
        if bytes > 0 {
            taken.all += bytes;
            taken.by_address.insert(group, of_address + bytes);
        }
        Ok(())
    }

    fn give_back(&self, group: AddressGroup, bytes: usize) {
        let mut taken = self.taken();
        taken.all -= bytes;
        if let Some(of_address) = taken.by_address.get_mut(&group) {
            *of_address -= bytes;
            if *of_address == 0 {
                taken.by_address.remove(&group);
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes that one body holds, until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    in_flight: Arc<InFlight>,
    sender: IpAddr,
    group: AddressGroup,
    bytes: usize,
}

impl Held {
    /// Holds `more` bytes.
    ///
    /// # Errors
    /// [`IngestError::Overloaded`] if its address, or all addresses together, would hold more than they may.
    pub(super) fn grow(&mut self, more: usize) -> Result<(), IngestError> {
        self.in_flight.take(self.group, more).map_err(|full| self.refused(full))?;
        self.bytes += more;
        Ok(())
    }

    fn refused(&self, full: Full) -> IngestError {
        if full == Full::Address
            && let Some(left_out) = self.in_flight.lines.next(Instant::now())
        {
            let sender = self.sender;
            tracing::warn!(%sender, left_out, "an address holds as many bytes as it may; if it is a proxy, trust it");
        }
        IngestError::Overloaded
    }

    /// The body, which holds its bytes until its last clone is gone, wherever that waits.
    pub(super) fn into_body(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(HeldBody { bytes, _held: self })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.in_flight.give_back(self.group, self.bytes);
        }
    }
}

struct HeldBody {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of one of a few addresses, with so many bytes.
    fn hold(in_flight: &Arc<InFlight>, address: u8, bytes: usize) -> Result<Held, IngestError> {
        let mut held = in_flight.begin(IpAddr::from([192, 0, 2, address]));
        held.grow(bytes).map(|()| held)
    }

    fn taken(in_flight: &InFlight) -> (usize, usize) {
        let taken = in_flight.taken();
        (taken.all, taken.by_address.len())
    }

    #[test]
    fn an_address_holds_its_share_and_leaves_the_rest_to_others() {
        let in_flight = InFlight::with_bounds(4_000, 500);
        let stranger = hold(&in_flight, 1, 900).expect("within its share");
        assert!(matches!(hold(&in_flight, 1, 101), Err(IngestError::Overloaded)));
        let small = hold(&in_flight, 1, 100).expect("what still fits");
        assert_eq!(in_flight.take(AddressGroup::from(stranger.sender), 1), Err(Full::Address));
        let others = [2, 3, 4].map(|address| hold(&in_flight, address, 1_000).expect("a share of its own"));
        assert_eq!(in_flight.take(IpAddr::from([192, 0, 2, 5]).into(), 1), Err(Full::All));
        assert_eq!(taken(&in_flight), (4_000, 4), "who was refused has no entry");
        drop(stranger);
        let again = hold(&in_flight, 5, 900).expect("the bytes of the one that left");
        assert!(hold(&in_flight, 5, 101).is_err());
        drop((small, others, again));
        assert_eq!(taken(&in_flight), (0, 0), "nothing stays of those that left");
    }

    #[test]
    fn a_64_of_ipv6_has_one_share() {
        let in_flight = InFlight::with_bounds(4_000, 500);
        let begin = |address: &str| in_flight.begin(address.parse().expect("an address"));
        let mut held = ["2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1"].map(begin);
        assert!(held[0].grow(900).is_ok() && held[1].grow(101).is_err() && held[2].grow(1_000).is_ok());
    }

    #[test]
    fn one_body_of_any_size_that_is_taken_fits() {
        let check = |max: usize, body_limit: usize| {
            let in_flight = InFlight::with_bounds(max, body_limit);
            let mut held = in_flight.begin(IpAddr::from([192, 0, 2, 1]));
            assert!((0..body_limit).all(|_| held.grow(1).is_ok()), "{body_limit} of {max}");
        };
        check(1, 1);
        check(1_500, 1_500);
        check(4_000, 3_000);
        check(4_000, 999);
    }

    #[test]
    fn a_body_holds_its_bytes_until_its_last_clone_is_gone() {
        let in_flight = InFlight::with_bounds(4_000, 500);
        let held = hold(&in_flight, 1, 3).expect("room");
        let body = held.into_body(Bytes::from_static(b"abc"));
        let part = body.slice(1..2);
        drop(body);
        assert_eq!((&part[..], taken(&in_flight)), (&b"b"[..], (3, 1)));
        drop(part);
        assert_eq!(taken(&in_flight), (0, 0));
    }

    #[test]
    fn a_body_that_is_refused_gives_back_what_it_held() {
        let in_flight = InFlight::with_bounds(4_000, 500);
        let mut held = in_flight.begin(IpAddr::from([192, 0, 2, 1]));
        assert!(held.grow(0).is_ok());
        assert_eq!(taken(&in_flight), (0, 0), "nothing is held for nothing");
        assert!(held.grow(1_000).is_ok() && held.grow(1).is_err());
        assert_eq!(taken(&in_flight), (1_000, 1));
        drop(held);
        assert_eq!(taken(&in_flight), (0, 0));
    }
}
