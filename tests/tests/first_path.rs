//! Two people and a relay, everything real but sockets and processes.

use suite::pair;
use tombolo_client::{Entropy, Identity, Kind, Node};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::RelayAddress;
use tombolo_oplog::{Log, NoFold, Open};
use tombolo_replica::{ConnId, Link, Now, Replica, Scope, Tools};
use tombolo_seal::StorageKey;

struct Seeded(u64);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 33) as u8;
        }
    }
}

const URL: &str = "ws://relay";

fn named() -> RelayAddress {
    RelayAddress { key: [0; 32], url: URL.into(), region: String::new() }
}

fn node(folder: &std::path::Path, name: &str, seed: u8) -> Node {
    node_with(folder, name, seed, vec![named()])
}

fn node_with(folder: &std::path::Path, name: &str, seed: u8, relays: Vec<RelayAddress>) -> Node {
    let identity = Identity {
        account: AccountKey::from_seed([seed; 32]),
        device: DeviceKey::from_seed([seed + 100; 32]),
        certified_ms: 1,
        storage: StorageKey::new([seed; 32]),
        name: name.into(),
        relays,
    };
    Node::open(Open::new(folder.join(name), 0), identity, true, Box::new(Seeded(u64::from(seed)))).unwrap()
}

fn now(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: 1_700_000_000_000 + ms }
}

fn link(initiator: bool, nonce: u8, scope: Scope) -> Link {
    Link { initiator, expected: None, binding: vec![], nonce: [nonce; 32], scope, tools: Tools::ALL }
}

fn sync(node: &mut Node, relay: &mut Replica<NoFold>, at: u64) -> pair::Ran {
    let conn = ConnId(at);
    let scope = Scope::Relay { url: URL.into(), all: false };
    let ran = pair::run(
        (node.replica(), link(true, at as u8, scope)),
        (relay, link(false, at as u8 + 1, Scope::Members)),
        conn,
        now(at),
    );
    println!("sync at {at}: sent {:?} got {:?}", ran.one.frames, ran.two.frames);
    let state = node.replica().state(conn).unwrap().unwrap();
    println!("  state {state:?} fault {:?} {:?}", ran.one.fault, ran.two.fault);
    node.replica().disconnected(conn);
    relay.disconnected(conn);
    ran
}

#[test]
fn two_people_write_apart_and_end_equal() {
    let folder = tempfile::tempdir().unwrap();
    let mut alice = node(folder.path(), "alice", 1);
    let mut bob = node(folder.path(), "bob", 2);
    let log = Log::open(Open::new(folder.path().join("relay"), 9)).unwrap();
    let mut relay = Replica::new(log, DeviceKey::from_seed([77; 32]), NoFold);

    let conversation = alice.create("Harbour crew", Kind::Group, now(10)).unwrap();
    alice.send(conversation, &["The boats are in."], now(20)).unwrap();
    let invitation = alice.invite(Some(conversation), 1, 0, now(30)).unwrap();
    sync(&mut alice, &mut relay, 40);
    bob.accept(&invitation, now(50)).unwrap();
    bob.send(conversation, &["Coming."], now(60)).unwrap();
    assert_eq!(bob.messages(&conversation, 10, None, false).unwrap().len(), 1, "a writer reads its own writes");
    sync(&mut bob, &mut relay, 70);
    alice.send(conversation, &["a1", "a2", "a3"], now(80)).unwrap();
    bob.send(conversation, &["b1", "b2"], now(81)).unwrap();
    sync(&mut alice, &mut relay, 90);
    sync(&mut bob, &mut relay, 100);
    sync(&mut alice, &mut relay, 110);
    let again = sync(&mut bob, &mut relay, 120);
    let texts = |node: &mut Node| -> Vec<String> {
        let page = node.messages(&conversation, 100, None, true).unwrap();
        page.into_iter().map(|message| format!("{}: {}", message.name, message.text)).collect()
    };
    assert_eq!(alice.digest(None).unwrap(), bob.digest(None).unwrap());
    assert_eq!(texts(&mut alice), texts(&mut bob));
    assert_eq!(texts(&mut alice).len(), 7, "{:?}", texts(&mut alice));
    let bytes: usize = again.one.frames.iter().chain(&again.two.frames).skip(2).map(|(_, len)| len).sum();
    println!("nothing new: {bytes} bytes, {:?} {:?}", again.one.frames, again.two.frames);
}

/// What was written before the relay was named goes to it, too, though the connection was there before.
#[test]
fn a_relay_that_is_named_while_it_is_connected_gets_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut alice = node_with(folder.path(), "alice", 1, Vec::new());
    let log = Log::open(Open::new(folder.path().join("relay"), 9)).unwrap();
    let mut relay = Replica::new(log, DeviceKey::from_seed([77; 32]), NoFold);
    let conversation = alice.create("Harbour crew", Kind::Group, now(10)).unwrap();
    alice.send(conversation, &["one", "two"], now(20)).unwrap();
    // A conversation that names it moves what was streamed beyond those.
    let other = alice.create("Elsewhere", Kind::Group, now(21)).unwrap();
    alice.add_relay(other, named(), now(22)).unwrap();

    let conn = ConnId(1);
    let scope = Scope::Relay { url: URL.into(), all: false };
    pair::run((alice.replica(), link(true, 1, scope)), (&mut relay, link(false, 2, Scope::Members)), conn, now(30));
    assert_eq!(relay.log().conversation(&conversation).unwrap().map(|row| row.ops), None, "nobody has named it");
    alice.send(other, &["seen by it"], now(35)).unwrap();
    pair::settle(alice.replica(), &mut relay, conn, now(36));
    alice.add_relay(conversation, named(), now(40)).unwrap();
    pair::settle(alice.replica(), &mut relay, conn, now(50));
    let held = alice.log().conversation(&conversation).unwrap().unwrap();
    assert_eq!(
        relay.log().conversation(&conversation).unwrap().map(|row| (row.ops, row.sum)),
        Some((held.ops, held.sum))
    );
    // And what is written from then on; what both hold is proven.
    alice.send(conversation, &["three"], now(60)).unwrap();
    pair::settle(alice.replica(), &mut relay, conn, now(70));
    assert_eq!(relay.log().proof(&conversation).unwrap(), alice.log().proof(&conversation).unwrap());
    let state = alice.replica().state(conn).unwrap().unwrap();
    assert!(state.quiet && state.blocked.is_empty() && state.unproven.is_none(), "{state:?}");
}
