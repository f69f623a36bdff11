//! Two devices on one machine find each other by mDNS, and notice when one leaves. The loopback interface is enough.
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use tombolo_client::transport::discover::{Discovery, Sighting, Sightings, Tag};
use tombolo_model::DeviceId;

/// Other devices may be near, and other runs of this test.
async fn next_of(sightings: &mut Sightings, wanted: impl Fn(&Sighting) -> bool) -> Sighting {
    let waiting = async {
        loop {
            let sighting = sightings.next().await;
            if wanted(&sighting) {
                return sighting;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap()
}

#[tokio::test]
async fn two_devices_find_each_other_and_part() {
    let (mut ana, mut ben) = ([0; 32], [0; 32]);
    getrandom::fill(&mut ana).unwrap();
    getrandom::fill(&mut ben).unwrap();
    let (ana, ben) = (DeviceId(ana), DeviceId(ben));
    let (mut near_ana, mut near_ben) = (Discovery::start(), Discovery::start());
    near_ana.advertise(4711, &ana);
    near_ben.advertise(4712, &ben);
    assert_eq!(near_ana.why_off(), None);
    let mut seen_by_ben = near_ben.browse();
    let is_ana = |sighting: &Sighting| matches!(sighting, Sighting::Appeared(near) if near.tag == Tag::of(&ana));
    let Sighting::Appeared(seen) = next_of(&mut seen_by_ben, is_ana).await else { unreachable!() };
    assert!(seen.addresses.iter().all(|address| address.port() == 4711), "{seen:?}");
    let mut seen_by_ana = near_ana.browse();
    next_of(&mut seen_by_ana, |sighting| matches!(sighting, Sighting::Appeared(near) if near.tag == Tag::of(&ben)))
        .await;
    drop(near_ana);
    next_of(&mut seen_by_ben, |sighting| *sighting == Sighting::Left { instance: seen.instance.clone() }).await;
}

#[tokio::test]
async fn a_device_does_not_see_itself() {
    let mut own = [0; 32];
    getrandom::fill(&mut own).unwrap();
    let own = DeviceId(own);
    let mut discovery = Discovery::start();
    discovery.advertise(4713, &own);
    let mut sightings = discovery.browse();
    let myself = async {
        loop {
            if matches!(sightings.next().await, Sighting::Appeared(near) if near.tag == Tag::of(&own)) {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(3), myself).await.is_err());
}
