//! Who may be connected: bounds on connections in all, by address, and on those that have not shown who they are.
//!
//! Where a bound is reached, a half-open connection makes room: the oldest one of the address that has the most of
//! them. So whoever opens thousands and says nothing closes his own, and a newcomer always gets in. Only when everybody
//! counted has authenticated is the newcomer turned away.
//! Not here: sockets (`guard.rs`), what authentication is (`proto`).

use crate::bucket::{Allowance, Rate};
use crate::config::Limits;
use crate::meters::Meters;
use futures_util::task::AtomicWaker;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tombolo_model::DeviceId;

/// Rates of addresses and devices that are remembered after their last connection, before idle ones are forgotten.
const RATES_MAX: usize = 10_000;

/// What connections are counted by: an IPv4 address, or the /64 that one IPv6 customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Block([u8; 16]);

impl Block {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => {
                let mut octets = v6.octets();
                octets[8..].fill(0);
                Self(octets)
            }
        }
    }
}

/// One connection, as its socket, its protocol loop and the owner thread share it.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) number: u64,
    pub(crate) peer: SocketAddr,
    block: Block,
    address_rate: Arc<Rate>,
    device_rate: OnceLock<Arc<Rate>>,
    began: Instant,
    /// The protocol runs, and with it its own timers.
    pub(crate) upgraded: AtomicBool,
    authenticated: AtomicBool,
    cut: AtomicBool,
    pub(crate) waker: AtomicWaker,
    /// The relay has said why it ends the connection; give the other side time to read that.
    pub(crate) farewell: AtomicBool,
    /// **Bytes** read from the socket since the last whole message.
    pub(crate) unread_bytes: AtomicUsize,
    /// What TLS can vouch for beneath the session.
    pub(crate) binding: OnceLock<Vec<u8>>,
    /// Changes whenever bytes of a blob move.
    touches: AtomicU64,
}

impl Guest {
    /// Ends the connection now, without a word.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(crate) fn is_authenticated(&self) -> bool {
        self.authenticated.load(Ordering::Acquire)
    }

    /// Something moved on the connection.
    pub(crate) fn touch(&self) {
        self.touches.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something has moved.
    pub(crate) fn touched(&self) -> u64 {
        self.touches.load(Ordering::Relaxed)
    }

    /// Charges a frame; returns how long to wait before reading on, and whose rate says so.
    pub(crate) fn charge(&self, bytes: u64) -> (Duration, &'static str) {
        let now = self.began.elapsed();
        let address = self.address_rate.charge(bytes, now);
        let device = self.device_rate.get().map_or(Duration::ZERO, |rate| rate.charge(bytes, now));
        if device > address { (device, "device") } else { (address, "address") }
    }
}

#[derive(Debug)]
struct Address {
    rate: Arc<Rate>,
    connections: usize,
}

#[derive(Debug, Default)]
struct Tables {
    next: u64,
    guests: BTreeMap<u64, Arc<Guest>>,
    by_peer: BTreeMap<SocketAddr, u64>,
    half_open: BTreeSet<u64>,
    addresses: BTreeMap<Block, Address>,
    devices: BTreeMap<DeviceId, Arc<Rate>>,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    meters: Arc<Meters>,
    began: Instant,
    tables: Mutex<Tables>,
}

impl Admission {
    pub(crate) fn new(limits: Limits, meters: Arc<Meters>) -> Self {
        Self { limits, meters, began: Instant::now(), tables: Mutex::default() }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new connection in; `None` = turned away.
    pub(crate) fn enter(&self, peer: SocketAddr) -> Option<Arc<Guest>> {
        let block = Block::of(peer.ip());
        let mut tables = self.tables();
        let here = |tables: &Tables| tables.addresses.get(&block).map_or(0, |address| address.connections);
        if here(&tables) >= self.limits.connections_per_address && !self.make_room(&mut tables, Some(block), "address")
        {
            self.meters.turned_away("address");
            return None;
        }
        if tables.guests.len() >= self.limits.connections && !self.make_room(&mut tables, None, "connections") {
            self.meters.turned_away("connections");
            return None;
        }
        if tables.half_open.len() >= self.limits.half_open {
            self.make_room(&mut tables, None, "half_open");
        }
        let guest = self.insert(&mut tables, peer, block);
        self.show(&tables);
        Some(guest)
    }

    fn insert(&self, tables: &mut Tables, peer: SocketAddr, block: Block) -> Arc<Guest> {
        if tables.addresses.len() >= RATES_MAX {
            let now = self.began.elapsed();
            tables.addresses.retain(|_, address| address.connections > 0 || !address.rate.is_idle(now));
        }
        let limits = &self.limits;
        let address = tables.addresses.entry(block).or_insert_with(|| Address {
            rate: Arc::new(rate(limits, limits.address_frames_per_second, limits.address_bytes_per_second)),
            connections: 0,
        });
        address.connections += 1;
        let address_rate = Arc::clone(&address.rate);
        let number = tables.next;
        tables.next += 1;
        let guest = Arc::new(Guest {
            number,
            peer,
            block,
            address_rate,
            device_rate: OnceLock::new(),
            began: self.began,
            upgraded: AtomicBool::new(false),
            authenticated: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            farewell: AtomicBool::new(false),
            unread_bytes: AtomicUsize::new(0),
            binding: OnceLock::new(),
            touches: AtomicU64::new(0),
        });
        tables.guests.insert(number, Arc::clone(&guest));
        tables.by_peer.insert(peer, number);
        tables.half_open.insert(number);
        guest
    }

    /// Cuts the oldest half-open connection of `block`, or of the address that has the most of them.
    fn make_room(&self, tables: &mut Tables, block: Option<Block>, limit: &'static str) -> bool {
        let block_of = |number: &u64| tables.guests.get(number).map(|guest| guest.block);
        let block = block.or_else(|| {
            let mut counts: BTreeMap<Block, usize> = BTreeMap::new();
            for block in tables.half_open.iter().filter_map(block_of) {
                *counts.entry(block).or_default() += 1;
            }
            counts.into_iter().max_by_key(|(_, count)| *count).map(|(block, _)| block)
        });
        let Some(oldest) = tables.half_open.iter().copied().find(|number| block_of(number) == block) else {
            return false;
        };
        if let Some(guest) = remove(tables, oldest) {
            self.meters.turned_away(limit);
            guest.cut();
        }
        true
    }

    /// The connection is gone.
    pub(crate) fn leave(&self, guest: &Guest) {
        let mut tables = self.tables();
        remove(&mut tables, guest.number);
        self.show(&tables);
    }

    /// The connection has shown that it is this device's.
    pub(crate) fn authenticated(&self, guest: &Guest, device: DeviceId) {
        let mut tables = self.tables();
        tables.half_open.remove(&guest.number);
        if tables.devices.len() >= RATES_MAX {
            let now = self.began.elapsed();
            tables.devices.retain(|_, rate| Arc::strong_count(rate) > 1 || !rate.is_idle(now));
        }
        let limits = &self.limits;
        let make = || Arc::new(rate(limits, limits.device_frames_per_second, limits.device_bytes_per_second));
        let rate = Arc::clone(tables.devices.entry(device).or_insert_with(make));
        // A session authenticates once.
        let _ = guest.device_rate.set(rate);
        guest.authenticated.store(true, Ordering::Release);
        self.show(&tables);
    }

    /// The connection from this address and port, if it is still here.
    pub(crate) fn find(&self, peer: SocketAddr) -> Option<Arc<Guest>> {
        let tables = self.tables();
        tables.by_peer.get(&peer).and_then(|number| tables.guests.get(number)).cloned()
    }

    /// Whether nobody is connected.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables().guests.is_empty()
    }

    /// Cuts everybody.
    pub(crate) fn cut_all(&self) {
        for guest in self.tables().guests.values() {
            guest.cut();
        }
    }

    fn show(&self, tables: &Tables) {
        self.meters.connections.set(tables.guests.len() as f64);
        self.meters.half_open.set(tables.half_open.len() as f64);
    }
}

fn remove(tables: &mut Tables, number: u64) -> Option<Arc<Guest>> {
    let guest = tables.guests.remove(&number)?;
    tables.half_open.remove(&number);
    if tables.by_peer.get(&guest.peer) == Some(&number) {
        tables.by_peer.remove(&guest.peer);
    }
    if let Some(address) = tables.addresses.get_mut(&guest.block) {
        address.connections = address.connections.saturating_sub(1);
    }
    Some(guest)
}

fn rate(limits: &Limits, frames: u64, bytes: u64) -> Rate {
    let allowance = |per_second| Allowance { per_second, burst_s: limits.burst_s };
    Rate::new(allowance(frames), allowance(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn admission(connections: usize, per_address: usize, half_open: usize) -> Admission {
        let limits = Limits { connections, connections_per_address: per_address, half_open, ..Limits::default() };
        Admission::new(limits, Arc::new(Meters::new()))
    }

    fn peer(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], port))
    }

    #[test]
    fn the_greediest_address_makes_room() {
        let admission = admission(1_000, 1_000, 10);
        let honest = admission.enter(peer(1, 1)).unwrap();
        let greedy: Vec<_> = (0..500).map(|port| admission.enter(peer(2, port)).unwrap()).collect();
        assert!(!honest.is_cut());
        assert_eq!(greedy.iter().filter(|guest| !guest.is_cut()).count(), 9);
        // The youngest are still there.
        assert!(greedy[491..].iter().all(|guest| !guest.is_cut()));
        let late = admission.enter(peer(3, 1)).unwrap();
        assert!(!late.is_cut() && !honest.is_cut());
    }

    #[test]
    fn who_has_authenticated_is_never_cut() {
        let admission = admission(3, 2, 10);
        let device = DeviceId([1; 32]);
        let ann = admission.enter(peer(1, 1)).unwrap();
        let bob = admission.enter(peer(1, 2)).unwrap();
        admission.authenticated(&ann, device);
        let again = admission.enter(peer(1, 3)).unwrap();
        assert!(bob.is_cut() && !ann.is_cut());
        admission.authenticated(&again, device);
        assert!(admission.enter(peer(1, 4)).is_none());
        let other = admission.enter(peer(2, 1)).unwrap();
        admission.authenticated(&other, device);
        assert!(admission.enter(peer(3, 1)).is_none());
        admission.leave(&other);
        admission.leave(&other);
        assert!(admission.enter(peer(3, 1)).is_some());
    }

    #[test]
    fn an_ipv6_customer_is_one_address() {
        let at = |text: &str| Block::of(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
    }

    #[test]
    fn connections_of_a_device_share_its_rate() {
        let limits = Limits { device_frames_per_second: 1, burst_s: 2, ..Limits::default() };
        let admission = Admission::new(limits, Arc::new(Meters::new()));
        let (one, two) = (admission.enter(peer(1, 1)).unwrap(), admission.enter(peer(2, 1)).unwrap());
        admission.authenticated(&one, DeviceId([1; 32]));
        admission.authenticated(&two, DeviceId([1; 32]));
        assert_eq!(one.charge(1).0, Duration::ZERO);
        assert_eq!(two.charge(1).0, Duration::ZERO);
        assert!(one.charge(1).0 > Duration::from_millis(500));
        assert_eq!(two.charge(1).1, "device");
    }

    #[test]
    fn a_port_that_is_used_again_finds_the_new_connection() {
        let admission = admission(10, 10, 10);
        let old = admission.enter(peer(1, 1)).unwrap();
        let new = admission.enter(peer(1, 1)).unwrap();
        admission.leave(&old);
        assert_eq!(admission.find(peer(1, 1)).unwrap().number, new.number);
        admission.leave(&new);
        assert!(admission.find(peer(1, 1)).is_none());
    }
}
