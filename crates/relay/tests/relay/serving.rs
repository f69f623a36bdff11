//! What a relay is for: passing on what members write, keeping it, and saying how it is.

use crate::world::{Device, PATIENCE, World, config, get, ids};
use std::time::{Duration, Instant};
use tombolo_relay::{Faults, MetricsFor, Place, Relay, Status};
use tombolo_replica::Event;

#[tokio::test]
async fn it_says_how_it_is() {
    let mut settings = config();
    settings.region = "moon".into();
    let world = World::new(settings).await;
    let address = world.relay.address();
    assert_eq!(get(address, "/health", "").await, (200, "alive\n".into()));
    assert_eq!(get(address, "/ready", "").await, (200, "ready\n".into()));
    let (status, text) = get(address, "/v1/info", "").await;
    let info: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 200);
    assert_eq!(info["relay"], world.relay.key().to_string());
    assert_eq!((&info["region"], &info["protocol"]["newest"]), (&"moon".into(), &3.into()));
    assert_eq!(get(address, "/", "").await.0, 426);
    assert_eq!(get(address, "/nothing", "").await.0, 404);
    let (status, text) = get(address, "/metrics", "").await;
    assert_eq!(status, 200);
    for name in ["connections", "frames_in_total", "bytes_out_total", "flush_seconds_bucket", "conversations", "ops"] {
        assert!(text.contains(&format!("tombolo_relay_{name}")), "{name} is not in\n{text}");
    }
}

#[tokio::test]
async fn metrics_are_for_whom_the_operator_says() {
    let world = World::new(config()).await;
    for header in ["X-Forwarded-For: 192.0.2.1\r\n", "Forwarded: for=192.0.2.1\r\n"] {
        assert_eq!(get(world.relay.address(), "/metrics", header).await.0, 404);
    }
    for (metrics, status) in [(MetricsFor::Nobody, 404), (MetricsFor::Anybody, 200)] {
        let mut settings = config();
        settings.metrics = metrics;
        let world = World::new(settings).await;
        assert_eq!(get(world.relay.address(), "/metrics", "Forwarded: for=192.0.2.1\r\n").await.0, status);
    }
}

#[tokio::test]
async fn two_devices_exchange_through_it() {
    let world = World::new(config()).await;
    let (mut ann, mut bob) = (Device::new(1), Device::new(2));
    let conversation = ann.found(1);
    let invited = ann.invite(conversation);
    ann.say(conversation, 40, 100);
    ann.sync(&world.relay).await;
    bob.join(&invited);
    bob.sync(&world.relay).await;
    assert_eq!(bob.ids(&conversation).len(), 43);
    bob.say(conversation, 5, 100);
    bob.sync(&world.relay).await;
    ann.sync(&world.relay).await;
    assert_eq!(ann.ids(&conversation), bob.ids(&conversation));
    assert_eq!(ann.ids(&conversation).len(), 48);

    assert_eq!(world.metric("tombolo_relay_ops").await, 48.0);
    assert_eq!(world.metric("tombolo_relay_conversations").await, 1.0);
    let tools = ["cursor", "heights", "sketch", "ranges"];
    let mut stored = 0.0;
    for tool in tools {
        stored += world.metric(&format!("tombolo_relay_ops_stored_total{{tool=\"{tool}\"}}")).await;
    }
    assert_eq!(stored, 48.0);
    assert!(world.metric("tombolo_relay_proven_total").await >= 4.0);
    assert_eq!(world.metric("tombolo_relay_sessions_closed_total{code=\"farewell\"}").await, 4.0);
    assert!(world.metric("tombolo_relay_bytes_in_total").await > 4_500.0);
    assert!(world.metric("tombolo_relay_flush_seconds_count").await >= 3.0);
    assert!(world.metric("tombolo_relay_stored_bytes").await > 4_500.0);
}

#[tokio::test]
async fn what_is_written_reaches_whoever_is_connected() {
    let world = World::new(config()).await;
    let (mut ann, mut bob) = (Device::new(1), Device::new(2));
    let conversation = ann.found(1);
    let invited = ann.invite(conversation);
    ann.sync(&world.relay).await;
    bob.join(&invited);
    let mut line = bob.dial(&world.relay).await;
    bob.drive(&mut line, |bob, line| bob.is_proven(line)).await;
    let ids = ann.say(conversation, 3, 50);
    let (sent, ()) = tokio::join!(
        ann.sync(&world.relay),
        bob.drive(&mut line, |bob, _| ids.iter().all(|id| bob.ids(&conversation).contains(id))),
    );
    let () = sent;
    assert_eq!(line.fault, None);
}

#[tokio::test]
async fn a_restart_keeps_key_and_ops() {
    let world = World::new(config()).await;
    let mut ann = Device::new(1);
    let conversation = ann.found(1);
    ann.say(conversation, 10, 100);
    ann.sync(&world.relay).await;
    let (key, dir) = (world.relay.key(), world.dir);
    world.relay.stop().await.unwrap();

    let place = Place::new(dir.path());
    assert_eq!(ids(&place.open().unwrap(), &conversation), ann.ids(&conversation));
    let status = Status::of(&place).unwrap();
    assert_eq!((status.ops, status.conversations, status.accounts), (11, 1, 1));
    assert_eq!(status.listening, None);

    let relay = Relay::start(&place, config()).await.unwrap();
    assert_eq!(relay.key(), key);
    let running = Status::of(&place).unwrap();
    assert_eq!(running.listening.as_deref(), Some(relay.listening()));
    assert_eq!(running.stored_bytes, status.stored_bytes);
    // Nothing has to travel: both already know that they are equal.
    ann.events.clear();
    ann.sync(&relay).await;
    assert!(ann.events.iter().any(|event| matches!(event, Event::Proven { count: 11, .. })));
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn one_relay_a_folder() {
    let world = World::new(config()).await;
    let error = Relay::start(&Place::new(world.dir.path()), config()).await.unwrap_err();
    assert_eq!(error.code(), "in-use");
}

#[tokio::test]
async fn faults_on_purpose_delay_and_cut() {
    let faults = |faults| {
        let mut settings = config();
        settings.faults = faults;
        settings
    };
    let slow = World::new(faults(Faults { delay_ms: 150, ..Faults::default() })).await;
    let mut ann = Device::new(1);
    let conversation = ann.found(1);
    let began = Instant::now();
    ann.sync(&slow.relay).await;
    // Hello, prove, resume, batch, acknowledgement: at least two round trips, each late both ways.
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE);

    let cutting = World::new(faults(Faults { cut_s: 1, ..Faults::default() })).await;
    let mut line = ann.dial(&cutting.relay).await;
    ann.drive(&mut line, |_, _| false).await;
    assert!(line.fault.is_some());
    ann.replica.disconnected(line.conn);

    let losing = World::new(faults(Faults { drop_permille: 200, ..Faults::default() })).await;
    ann.say(conversation, 5, 100);
    let mut cut = 0;
    loop {
        let mut line = ann.dial(&losing.relay).await;
        ann.drive(&mut line, |ann, line| ann.is_proven(line)).await;
        ann.replica.disconnected(line.conn);
        if line.fault.is_none() {
            break;
        }
        cut += 1;
        assert!(cut < 200);
    }
    let place = Place::new(losing.dir.path());
    assert_eq!(ids(&place.open().unwrap(), &conversation), ann.ids(&conversation));
}
