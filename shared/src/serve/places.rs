//! How many connections each address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::net::{AddressGroup, Networks};

/// How many connections of one address a listener takes.
#[derive(Debug, Clone)]
pub struct PerAddress {
    /// At most; a /64 of IPv6 counts as one address.
    pub max: NonZeroUsize,
    /// Proxies, which stand for many senders.
    pub exempt: Networks,
}

/// The connections that are open, by their addresses: no more entries than connections.
#[derive(Debug)]
pub(super) struct Places {
    rule: PerAddress,
    taken: Mutex<HashMap<AddressGroup, usize>>,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Place(Option<(Arc<Places>, AddressGroup)>);

impl Places {
    pub(super) fn new(rule: PerAddress) -> Arc<Self> {
        Arc::new(Self { rule, taken: Mutex::default() })
    }

    /// A place for one more connection of `address`, unless it has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        if self.rule.exempt.contains(address) {
            return Some(Place(None));
        }
        let group = AddressGroup::from(address);
        let mut taken = self.taken();
        let count = taken.entry(group).or_default();
        if *count >= self.rule.max.get() {
            return None;
        }
        *count += 1;
        Some(Place(Some((Arc::clone(self), group))))
    }

    fn leave(&self, group: AddressGroup) {
        let mut taken = self.taken();
        if let Some(count) = taken.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&group);
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<AddressGroup, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((places, group)) = self.0.take() {
            places.leave(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_places_and_no_more_and_nothing_stays_of_those_that_left() {
        let exempt: Networks = vec!["10.0.0.0/8".parse().expect("a network")].into();
        let places = Places::new(PerAddress { max: NonZeroUsize::MIN.saturating_add(1), exempt });
        let enter = |address: &str| places.enter(address.parse().expect("an address"));
        let first = enter("2001:db8::1").expect("a place");
        let second = enter("2001:db8::2").expect("a place");
        assert!(enter("2001:db8::3").is_none(), "one /64 is one address");
        let other = enter("2001:db8:0:1::1").expect("another address has places of its own");
        drop(first);
        let third = enter("2001:db8::3").expect("the place of the one that left");
        let proxied: Vec<_> = (0..100).map(|_| enter("::ffff:10.0.0.1").expect("a proxy has any number")).collect();
        assert_eq!(places.taken().len(), 2);
        drop((second, third, other, proxied));
        assert!(places.taken().is_empty());
    }
}
