//! How a relay ends: in order when told to, at once and loudly when its store fails, and not at all where it must not
//! begin.

use crate::world::{Device, PATIENCE, World, config, get, ids};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tombolo_oplog::{Log, Open};
use tombolo_proto::Fault;
use tombolo_relay::{Place, Relay, RelayError};

#[tokio::test]
async fn a_stop_says_goodbye_and_keeps_everything() {
    let world = World::new(config()).await;
    let (mut ann, mut bob) = (Device::new(1), Device::new(2));
    let conversation = ann.found(1);
    let mut line = ann.dial(&world.relay).await;
    ann.drive(&mut line, |ann, line| ann.is_proven(line)).await;
    let mut other = bob.dial(&world.relay).await;
    bob.drive(&mut other, |bob, line| bob.replica.state(line.conn).unwrap().is_some_and(|state| state.quiet)).await;
    // Somebody who never says anything, and somebody who never hangs up, must not hold it up.
    let silent = tokio::net::TcpStream::connect(world.relay.address()).await.unwrap();
    let (stubborn, _) = tokio_tungstenite::connect_async(world.relay.listening()).await.unwrap();

    let address = world.relay.address();
    let began = Instant::now();
    let (stopped, (), ()) =
        tokio::join!(world.relay.stop(), ann.drive(&mut line, |_, _| false), bob.drive(&mut other, |_, _| false));
    stopped.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for fault in [line.fault, other.fault] {
        assert!(matches!(&fault, Some(Fault::Farewell { code, .. }) if code == "done"), "{fault:?}");
    }
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    let place = Place::new(world.dir.path());
    assert_eq!(ids(&place.open().unwrap(), &conversation), ann.ids(&conversation));
    // In order: nothing is left for the next start to recover.
    assert!(!world.dir.path().join("relay.db-wal").exists());
    drop((silent, stubborn));
}

#[tokio::test]
async fn a_store_that_cannot_write_is_not_ready_and_then_ends_the_relay() {
    let mut world = World::new(config()).await;
    let mut ann = Device::new(1);
    let conversation = ann.found(1);
    let mut line = ann.dial(&world.relay).await;
    ann.drive(&mut line, |ann, line| ann.is_proven(line)).await;
    let address = world.relay.address();
    assert_eq!(get(address, "/ready", "").await.0, 200);
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    // Somebody else holds the database and does not let go.
    let mut other = Log::open(Open::new(world.dir.path().join("relay.db"), 1)).unwrap();
    let held = other.batch().unwrap();
    let (status, why) = get(address, "/ready", "").await;
    assert_eq!((status, why.as_str()), (503, "the store did not write within 2 seconds\n"));
    assert_eq!(get(address, "/health", "").await.0, 200);
    let error = timeout(PATIENCE, world.relay.failed()).await.unwrap();
    assert!(matches!(&error, RelayError::Store(_)), "{error:?}");
    assert_eq!(error.code(), "busy");
    ann.drive(&mut line, |_, _| false).await;
    assert!(matches!(&line.fault, Some(Fault::Farewell { code, .. }) if code == "local_store"), "{:?}", line.fault);
    assert_eq!(get(address, "/ready", "").await.0, 503);
    drop(held);

    // What it had acknowledged is there.
    drop((world.relay, other));
    let place = Place::new(world.dir.path());
    assert_eq!(ids(&place.open().unwrap(), &conversation), ann.ids(&conversation));
}

#[tokio::test]
async fn what_must_not_begin_does_not_begin() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path().join("relay"));
    let mut public = config();
    public.listen = "0.0.0.0:0".into();
    let error = Relay::start(&place, public.clone()).await.unwrap_err();
    assert_eq!(error.code(), "plain-on-public");
    assert!(!place.folder().exists());
    public.insecure_plain = true;
    Relay::start(&place, public).await.unwrap().stop().await.unwrap();

    // An address that somebody else has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = config();
    settings.listen = taken.local_addr().unwrap().to_string();
    assert_eq!(Relay::start(&place, settings).await.unwrap_err().code(), "listen");
    // The folder is free again.
    let relay = Relay::start(&place, config()).await.unwrap();
    relay.stop().await.unwrap();

    // A database without its key would be another relay.
    std::fs::remove_file(place.folder().join("relay.key")).unwrap();
    assert_eq!(Relay::start(&place, config()).await.unwrap_err().code(), "key-missing");
    // A database that is none is left as it is.
    std::fs::write(dir.path().join("relay.db"), vec![7; 8_192]).unwrap();
    std::fs::write(dir.path().join("relay.key"), "11".repeat(32)).unwrap();
    let error = Relay::start(&Place::new(dir.path()), config()).await.unwrap_err();
    assert_eq!(error.code(), "not-a-store");
    assert_eq!(std::fs::read(dir.path().join("relay.db")).unwrap(), vec![7; 8_192]);
}

#[tokio::test]
async fn dropping_a_relay_frees_its_folder() {
    let world = World::new(config()).await;
    let mut ann = Device::new(1);
    ann.found(1);
    ann.sync(&world.relay).await;
    drop(world.relay);
    let began = Instant::now();
    loop {
        match Relay::start(&Place::new(world.dir.path()), config()).await {
            Ok(relay) => break relay.stop().await.unwrap(),
            Err(error) => assert_eq!(error.code(), "in-use"),
        }
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
