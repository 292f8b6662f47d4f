//! Ports that a test's server keeps over its restarts.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
};

use anyhow::{Context, Result};

/// Below the range from which the kernel takes the ports of outgoing connections (32768 and up on Linux).
///
/// A port of that range may be lent to any client while the server is down, and a client that keeps trying to connect
/// to its own dead server can even be given that very port and connect to itself.
const PORTS: Range<u16> = 20_000..32_000;

/// RabbitMQ takes three, the others one. A multiple of the block's size fits into the range.
const USABLE: u16 = 3;
const BLOCK: u16 = USABLE + 1;

/// A few neighbouring ports nobody else in this harness, in any process, uses until this is dropped.
#[derive(Debug)]
pub(super) struct Ports {
    /// The address that the server listens on.
    ip: Ipv4Addr,
    first: u16,
    /// Listens on the port behind the usable ones, to say that they are taken. The kernel closes it when the process
    /// ends, however it ends. Not on the usable ones themselves: RabbitMQ insists that its own are free on all addresses.
    _reservation: TcpListener,
}

impl Ports {
    pub(super) fn reserve() -> Result<Self> {
        let random = RandomState::new().build_hasher().finish();
        let blocks = (PORTS.end - PORTS.start) / BLOCK;
        let offset = u16::try_from(random % u64::from(blocks))?;
        let mut candidates = (0..blocks).map(|step| PORTS.start + (offset + step) % blocks * BLOCK);
        candidates.find_map(Self::try_reserve).with_context(|| format!("no free ports in {PORTS:?}"))
    }

    /// Ports for a server that listens on another address than this machine's own.
    pub(super) fn reserve_at(ip: Ipv4Addr) -> Result<Self> {
        Ok(Self { ip, ..Self::reserve()? })
    }

    fn try_reserve(first: u16) -> Option<Self> {
        let reservation = TcpListener::bind((Ipv4Addr::LOCALHOST, first + USABLE)).ok()?;
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        (first..first + USABLE).all(is_free).then_some(Self {
            ip: Ipv4Addr::LOCALHOST,
            first,
            _reservation: reservation,
        })
    }

    /// The port that clients connect to.
    pub(super) fn main(&self) -> u16 {
        self.first
    }

    pub(super) fn second(&self) -> u16 {
        self.first + 1
    }

    pub(super) fn third(&self) -> u16 {
        self.first + 2
    }

    pub(super) fn main_addr(&self) -> SocketAddr {
        (self.ip, self.first).into()
    }

    pub(super) fn ip(&self) -> Ipv4Addr {
        self.ip
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn reserved_ports_are_reserved_once() {
        let reserved: Vec<Ports> = (0..100).map(|_| Ports::reserve().unwrap()).collect();
        let ports: BTreeSet<u16> =
            reserved.iter().flat_map(|ports| [ports.main(), ports.second(), ports.third()]).collect();
        assert_eq!(ports.len(), 300);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
        assert!(Ports::try_reserve(reserved[0].first).is_none());
    }
}
