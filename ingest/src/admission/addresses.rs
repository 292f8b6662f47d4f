//! How often each address asks, in a table that never grows.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidegate_shared::config::Rate;
use tidegate_shared::net::AddressGroup;
use tidegate_shared::rate::Pace;

/// Addresses that share a set of the table.
const WAYS: usize = 8;
/// Sets of the table: 65,536 addresses in 2 MiB at most.
const SETS: usize = 8_192;

/// The addresses that asked of late.
///
/// An address has one set of places, by a hash with a key of this process's own. Where all of them are taken, the one
/// with the least behind it is forgotten: a flooder stays known while millions pass that ask once.
#[derive(Debug)]
pub(super) struct Addresses {
    pace: Pace,
    hasher: RandomState,
    places: Mutex<Box<[Place]>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    group: AddressGroup,
    /// When it may come with a full burst again. In the past: as good as never seen.
    full_at: Option<Instant>,
}

impl Addresses {
    /// A table for this rate; all of it may come at once.
    pub(super) fn new(rate: Rate) -> Self {
        let places = vec![Place::default(); SETS * WAYS].into_boxed_slice();
        Self { pace: Pace::new(rate, rate.count), hasher: RandomState::new(), places: Mutex::new(places) }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// The time until the address may ask again; then this one is not counted.
    pub(super) fn take(&self, group: AddressGroup, now: Instant) -> Result<(), Duration> {
        let set = (self.hasher.hash_one(group) % SETS as u64) as usize;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let set = &mut places[set * WAYS..][..WAYS];
        let known = set.iter().position(|place| place.group == group);
        let least = || set.iter().enumerate().min_by_key(|(_, place)| place.full_at).map_or(0, |(at, _)| at);
        let place = &mut set[known.unwrap_or_else(least)];
        if place.group != group {
            *place = Place { group, full_at: None };
        }
        self.pace.take(&mut place.full_at, now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::num::NonZeroU32;

    use super::*;

    fn table(per_second: u32) -> Addresses {
        let count = NonZeroU32::new(per_second).unwrap();
        Addresses::new(Rate { count, per: Duration::from_secs(1) })
    }

    fn group(number: u32) -> AddressGroup {
        IpAddr::V4(Ipv4Addr::from_bits(number)).into()
    }

    #[test]
    fn each_address_has_a_rate_of_its_own() {
        let (table, now) = (table(3), Instant::now());
        for number in 0..1_000 {
            let taken = (0..10).filter(|_| table.take(group(number), now).is_ok()).count();
            assert_eq!(taken, 3, "{number}");
        }
        assert!(table.take(group(7), now + Duration::from_secs(1)).is_ok());
        let v6 = |tail: u16| AddressGroup::from(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, tail)));
        let taken = (0..10).filter(|tail| table.take(v6(*tail), now).is_ok()).count();
        assert_eq!(taken, 3, "a /64 is one address");
    }

    /// A million strangers ask once each; the one who floods is known all the time, and the table is as large as before.
    #[test]
    fn the_table_never_grows_and_strangers_do_not_hide_a_flooder() {
        let (table, now) = (table(100), Instant::now());
        let flooder = group(u32::MAX);
        let mut taken = 0;
        for stranger in 0..1_000_000 {
            assert!(table.take(group(stranger), now).is_ok(), "{stranger}");
            taken += usize::from(table.take(flooder, now).is_ok());
        }
        assert_eq!(taken, 100, "the flooder got its burst and nothing more");
        assert_eq!(table.places.lock().unwrap().len(), SETS * WAYS);
        assert!(size_of::<Place>() * SETS * WAYS <= 2 << 20);
    }
}
