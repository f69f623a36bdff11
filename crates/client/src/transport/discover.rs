//! Who is near: devices that listen announce themselves on the local network by mDNS, `_tombolo._tcp.local.`.
//!
//! An announcement names nobody: instance and host are random for each start, and the tag is a hash by which only those
//! who know the device's key recognise it. It proves nothing; the session does. Where the network has no multicast (a
//! container, a phone's rules) there is simply nobody to be found: nothing here ever fails the program.

use mdns_sd::{Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use std::net::{IpAddr, SocketAddr};
use tombolo_model::DeviceId;
use tombolo_model::id::{hex, unhex};

/// The service type.
pub const SERVICE: &str = "_tombolo._tcp.local.";

const VERSION: &str = "1";
/// Addresses taken of one announcement; a laptop with many networks has fewer.
const ADDRESSES_MAX: usize = 16;

/// Stands for a device in announcements: told from others by those who know its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag([u8; 8]);

impl Tag {
    /// The tag of a device.
    #[must_use]
    pub fn of(device: &DeviceId) -> Self {
        let hash = blake3::derive_key("tombolo 1 neighbour tag", &device.0);
        let mut tag = [0; 8];
        tag.copy_from_slice(&hash[..8]);
        Self(tag)
    }
}

/// A device that was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its tag: compare with [`Tag::of`] the devices that are known.
    pub tag: Tag,
    /// Where it listens, sorted, IPv4 first; at least one.
    pub addresses: Vec<SocketAddr>,
    /// Name of the announcement, to recognise when it goes.
    pub instance: String,
}

/// What is seen on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// A device came or changed its addresses.
    Appeared(Neighbour),
    /// The announcement of this name ended or ran out.
    Left {
        /// Its name.
        instance: String,
    },
}

/// Announces this device and looks for others. Ends both when dropped.
pub struct Discovery {
    /// Nothing where the system does not allow it.
    daemon: Option<ServiceDaemon>,
    why_off: Option<String>,
    own: Option<String>,
}

impl Discovery {
    /// Starts; never fails, see [`Discovery::why_off`].
    #[must_use]
    pub fn start() -> Self {
        match ServiceDaemon::new() {
            Ok(daemon) => Self { daemon: Some(daemon), why_off: None, own: None },
            Err(error) => Self { daemon: None, why_off: Some(error.to_string()), own: None },
        }
    }

    /// One that finds nobody and announces nothing, for those who switched it off.
    #[must_use]
    pub fn off() -> Self {
        Self { daemon: None, why_off: Some("it is switched off".to_owned()), own: None }
    }

    /// Why nobody will be found or find us, if that is known.
    #[must_use]
    pub fn why_off(&self) -> Option<&str> {
        self.why_off.as_deref()
    }

    /// Announces that `device` listens on `port` of all addresses of this machine. A second call replaces the first.
    /// Whether it worked shows in [`Discovery::why_off`].
    pub fn advertise(&mut self, port: u16, device: &DeviceId) {
        let Some(daemon) = &self.daemon else { return };
        if let Some(own) = self.own.take() {
            // An announcement that is gone already is as good.
            let _ = daemon.unregister(&own);
        }
        let announced = announcement(port, device).and_then(|info| {
            let name = info.get_fullname().to_owned();
            daemon.register(info).map(|()| name).map_err(|error| error.to_string())
        });
        match announced {
            Ok(name) => (self.own, self.why_off) = (Some(name), None),
            Err(why) => self.why_off = Some(why),
        }
    }

    /// Looks for others from now on; this device's own announcement is left out.
    pub fn browse(&mut self) -> Sightings {
        let events = match self.daemon.as_ref().map(|daemon| daemon.browse(SERVICE)) {
            Some(Ok(events)) => Some(events),
            Some(Err(error)) => {
                self.why_off = Some(error.to_string());
                None
            }
            None => None,
        };
        Sightings { events, own: self.own.clone() }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        if let Some(daemon) = &self.daemon {
            if let Some(own) = self.own.take() {
                // Says goodbye; without it the announcement runs out by itself.
                let _ = daemon.unregister(&own);
            }
            // A daemon that does not answer has ended already.
            let _ = daemon.shutdown();
        }
    }
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery").field("own", &self.own).field("why_off", &self.why_off).finish_non_exhaustive()
    }
}

/// What is seen, one after the other.
pub struct Sightings {
    events: Option<Receiver<ServiceEvent>>,
    own: Option<String>,
}

impl Sightings {
    /// Waits for the next sighting: for ever where nothing can be seen, so that it can stand in a `select!`. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) -> Sighting {
        while let Some(events) = &self.events {
            match events.recv_async().await {
                Ok(ServiceEvent::ServiceResolved(service)) => {
                    if self.own.as_deref() != Some(service.get_fullname())
                        && let Some(neighbour) = neighbour(&service)
                    {
                        return Sighting::Appeared(neighbour);
                    }
                }
                Ok(ServiceEvent::ServiceRemoved(_, instance)) if self.own.as_ref() != Some(&instance) => {
                    return Sighting::Left { instance };
                }
                Ok(_) => {}
                // The daemon ended.
                Err(_) => self.events = None,
            }
        }
        std::future::pending().await
    }
}

impl std::fmt::Debug for Sightings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sightings").field("looking", &self.events.is_some()).finish_non_exhaustive()
    }
}

fn announcement(port: u16, device: &DeviceId) -> Result<ServiceInfo, String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    let name = hex(&random);
    let tag = hex(&Tag::of(device).0);
    let properties = [("v", VERSION), ("t", tag.as_str())];
    let info = ServiceInfo::new(SERVICE, &name, &format!("{name}.local."), "", port, &properties[..]);
    info.map(ServiceInfo::enable_addr_auto).map_err(|error| error.to_string())
}

/// Reads an announcement, which anybody on the network may have made; `None` when it is not one of ours.
fn neighbour(service: &ResolvedService) -> Option<Neighbour> {
    if service.get_property_val_str("v") != Some(VERSION) || service.get_port() == 0 {
        return None;
    }
    let tag = Tag(unhex(service.get_property_val_str("t")?).ok()?);
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        // Link-local ones work only with the number of an interface, which means nothing elsewhere; IPv4 or a routed
        // address is there beside it wherever it matters.
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
    };
    let mut addresses: Vec<SocketAddr> = service
        .get_addresses()
        .iter()
        .map(mdns_sd::ScopedIp::to_ip_addr)
        .filter(usable)
        .map(|ip| SocketAddr::new(ip, service.get_port()))
        .collect();
    addresses.sort_unstable();
    addresses.truncate(ADDRESSES_MAX);
    let instance = service.get_fullname().to_owned();
    (!addresses.is_empty()).then_some(Neighbour { tag, addresses, instance })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn resolved(port: u16, ips: &str, properties: &[(&str, &str)]) -> ResolvedService {
        ServiceInfo::new(SERVICE, "x", "x.local.", ips, port, properties).unwrap().as_resolved_service()
    }

    #[test]
    fn an_announcement_is_recognised_and_names_nobody() {
        let device = DeviceId([0xab; 32]);
        let info = announcement(4711, &device).unwrap();
        assert!(!format!("{info:?}").contains("abab"), "the key shows");
        assert_ne!(info.get_fullname(), announcement(4711, &device).unwrap().get_fullname());
        let tag = info.get_property_val_str("t").unwrap();
        let seen = resolved(4711, "10.0.0.2,fe80::1,2001:db8::1", &[("v", "1"), ("t", tag)]);
        let seen = neighbour(&seen).unwrap();
        assert_eq!(seen.tag, Tag::of(&device));
        assert_ne!(seen.tag, Tag::of(&DeviceId([1; 32])));
        let expected: Vec<SocketAddr> = vec!["10.0.0.2:4711".parse().unwrap(), "[2001:db8::1]:4711".parse().unwrap()];
        assert_eq!(seen.addresses, expected);
    }

    #[test]
    fn hostile_announcements_are_left_out() {
        let tag = "00".repeat(8);
        for (port, ips, properties) in [
            (0, "10.0.0.2", vec![("v", "1"), ("t", tag.as_str())]),
            (9, "", vec![("v", "1"), ("t", tag.as_str())]),
            (9, "0.0.0.0,224.0.0.1,255.255.255.255,ff02::1", vec![("v", "1"), ("t", tag.as_str())]),
            (9, "10.0.0.2", vec![("v", "2"), ("t", tag.as_str())]),
            (9, "10.0.0.2", vec![("v", "1")]),
            (9, "10.0.0.2", vec![("v", "1"), ("t", "zz")]),
            (9, "10.0.0.2", vec![("t", tag.as_str())]),
        ] {
            assert_eq!(neighbour(&resolved(port, ips, &properties)), None, "{port} {ips} {properties:?}");
        }
        let many: Vec<String> = (0..100).map(|last| format!("10.0.0.{last}")).collect();
        let flood = resolved(9, &many.join(","), &[("v", "1"), ("t", &tag)]);
        assert_eq!(neighbour(&flood).unwrap().addresses.len(), ADDRESSES_MAX);
    }

    #[tokio::test]
    async fn without_multicast_there_is_nobody_and_no_error() {
        let mut off = Discovery::off();
        off.advertise(9, &DeviceId([1; 32]));
        let mut sightings = off.browse();
        assert!(off.why_off().is_some());
        assert!(tokio::time::timeout(Duration::from_millis(50), sightings.next()).await.is_err());
    }
}
