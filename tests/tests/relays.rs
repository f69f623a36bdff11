//! Several relays, relays that lose their past, relays that move, and invitations as relays judge them.
//! Real stores and the real session machine; no sockets and no processes (those: `sockets.rs`, `binaries.rs`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use suite::pair::{self, Ran};
use tombolo_client::{Entropy, Identity, Kind, MessageState, Node, Standing};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::{ConversationId, DeviceId, RelayAddress};
use tombolo_oplog::{Log, NoFold, Open, Reader};
use tombolo_proto::Refusal;
use tombolo_replica::{ConnId, Event, Link, Now, Replica, Scope, Tools};
use tombolo_seal::StorageKey;
use tombolo_testkit::rng::Rng;

struct Seeded(Rng);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A clock that only goes forward; every call is a new instant, a new connection, a new nonce.
struct Clock(u64);

impl Clock {
    fn now(&mut self) -> Now {
        self.0 += 10;
        Now { mono_ms: self.0, wall_ms: 1_700_000_000_000 + self.0 }
    }

    fn link(&mut self, initiator: bool, scope: Scope) -> Link {
        self.0 += 1;
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&self.0.to_be_bytes());
        Link { initiator, expected: None, binding: vec![], nonce, scope, tools: Tools::ALL }
    }
}

/// A relay: a key, an address, a file.
struct Place {
    replica: Option<Replica<NoFold>>,
    file: PathBuf,
    seed: u8,
    url: String,
}

impl Place {
    fn new(folder: &Path, seed: u8) -> Self {
        let mut place =
            Self { replica: None, file: folder.join(format!("relay{seed}")), seed, url: format!("ws://relay{seed}") };
        place.open(1);
        place
    }

    fn open(&mut self, random: u64) {
        let log = Log::open(Open::new(&self.file, random)).unwrap();
        self.replica = Some(Replica::new(log, DeviceKey::from_seed([self.seed; 32]), NoFold));
    }

    fn replica(&mut self) -> &mut Replica<NoFold> {
        self.replica.as_mut().unwrap()
    }

    fn log(&self) -> &Log {
        self.replica.as_ref().unwrap().log()
    }

    fn id(&self) -> DeviceId {
        DeviceKey::from_seed([self.seed; 32]).id()
    }

    fn address(&self) -> RelayAddress {
        RelayAddress { key: self.id().0, url: self.url.clone(), region: String::new() }
    }

    /// A copy of the whole file, as a backup at night would be.
    fn back_up(&mut self, to: &Path) {
        self.replica.take().unwrap().close().unwrap();
        std::fs::copy(&self.file, to).unwrap();
        self.open(1);
    }

    fn restore(&mut self, from: Option<&Path>) {
        self.replica.take().unwrap().close().unwrap();
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", self.file.display()));
        }
        if let Some(from) = from {
            std::fs::copy(from, &self.file).unwrap();
        }
        self.open(2);
    }
}

fn person(folder: &Path, seed: u8, relays: &[&Place]) -> Node {
    let identity = Identity {
        account: AccountKey::from_seed([seed; 32]),
        device: DeviceKey::from_seed([seed + 100; 32]),
        certified_ms: 1,
        storage: StorageKey::new([seed; 32]),
        name: format!("person {seed}"),
        relays: relays.iter().map(|place| place.address()).collect(),
    };
    let entropy = Box::new(Seeded(Rng::new(u64::from(seed))));
    Node::open(Open::new(folder.join(format!("person{seed}")), 0), identity, true, entropy).unwrap()
}

/// A device meets a relay at an address.
fn sync_at(node: &mut Node, place: &mut Place, url: &str, clock: &mut Clock) -> (Ran, tombolo_replica::ConnState) {
    let conn = ConnId(clock.0);
    let scope = Scope::Relay { url: url.into(), all: false };
    let (one, two, now) = (clock.link(true, scope), clock.link(false, Scope::Members), clock.now());
    let ran = pair::run((node.replica(), one), (place.replica(), two), conn, now);
    let state = node.replica().state(conn).unwrap().unwrap();
    // Both live on for some seconds, as the programs do: what they remember of each other reaches the disk.
    for later_ms in [1, 2_000] {
        let now = Now { mono_ms: now.mono_ms + later_ms, wall_ms: now.wall_ms + later_ms };
        node.replica().tick(now).unwrap();
        place.replica().tick(now).unwrap();
    }
    node.replica().disconnected(conn);
    place.replica().disconnected(conn);
    while node.replica().poll().is_some() || place.replica().poll().is_some() {}
    if state.proven {
        check_proof(node.log(), place.log(), &state.blocked);
    }
    (ran, state)
}

fn sync(node: &mut Node, place: &mut Place, clock: &mut Clock) -> (Ran, tombolo_replica::ConnState) {
    let url = place.url.clone();
    sync_at(node, place, &url, clock)
}

/// What was proven is compared by plain SQL: ids and bodies of every conversation that both hold.
fn check_proof(one: &Reader, two: &Reader, blocked: &BTreeMap<ConversationId, Refusal>) {
    for row in one.conversations().unwrap() {
        if blocked.contains_key(&row.id) || two.conversation(&row.id).unwrap().is_none() {
            continue;
        }
        assert_eq!(dump(one, &row.id), dump(two, &row.id), "a wrong proof");
    }
}

fn dump(log: &Reader, conversation: &ConversationId) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let sql = "SELECT id, body FROM op WHERE conversation = (SELECT n FROM conversation WHERE id = ?1) ORDER BY id";
    let mut statement = log.connection().unwrap().prepare(sql).unwrap();
    let rows = statement.query_map([conversation.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn noticed(ran: &Ran) -> bool {
    ran.one.events.iter().any(|event| matches!(event, Event::AcksLost { .. }))
}

fn texts(node: &mut Node, conversation: &ConversationId) -> Vec<String> {
    let page = node.messages(conversation, 1000, None, false).unwrap();
    page.into_iter().map(|message| message.text).collect()
}

#[test]
fn two_people_with_different_relays() {
    let folder = tempfile::tempdir().unwrap();
    let (mut north, mut south) = (Place::new(folder.path(), 1), Place::new(folder.path(), 2));
    let (mut ann, mut bob) = (person(folder.path(), 11, &[&north]), person(folder.path(), 12, &[&south]));
    let mut clock = Clock(0);
    let invitation = ann.invite(None, 1, 0, clock.now()).unwrap();
    let conversation = invitation.conversation;
    ann.send(conversation, &["from the north"], clock.now()).unwrap();
    assert!(sync(&mut ann, &mut north, &mut clock).1.proven);
    bob.accept(&invitation, clock.now()).unwrap();
    let known: Vec<String> = bob.relays().unwrap().into_iter().map(|(url, _)| url).collect();
    assert!(known.contains(&north.url) && known.contains(&south.url), "{known:?}");
    assert!(sync(&mut bob, &mut north, &mut clock).1.proven);
    bob.send(conversation, &["from the south"], clock.now()).unwrap();
    assert!(sync(&mut bob, &mut south, &mut clock).1.proven);
    assert!(sync(&mut bob, &mut north, &mut clock).1.proven);
    // Ann hears of Bob's relay where she looks anyway.
    assert!(sync(&mut ann, &mut north, &mut clock).1.proven);
    let known: Vec<String> = ann.relays().unwrap().into_iter().map(|(url, _)| url).collect();
    assert!(known.contains(&south.url), "{known:?}");
    assert!(sync(&mut ann, &mut south, &mut clock).1.proven);
    assert_eq!(ann.digest(None).unwrap(), bob.digest(None).unwrap());
    // Each now uses the own relay only: neither sees the other's news, and nobody claims so.
    ann.send(conversation, &["a1", "a2"], clock.now()).unwrap();
    bob.send(conversation, &["b1"], clock.now()).unwrap();
    sync(&mut ann, &mut north, &mut clock);
    sync(&mut bob, &mut south, &mut clock);
    assert_ne!(ann.digest(None).unwrap(), bob.digest(None).unwrap());
    // And one that meets both carries it over: all four hold the same.
    for _ in 0..2 {
        assert!(sync(&mut ann, &mut north, &mut clock).1.proven);
        assert!(sync(&mut ann, &mut south, &mut clock).1.proven);
    }
    assert!(sync(&mut bob, &mut south, &mut clock).1.proven);
    assert!(sync(&mut bob, &mut north, &mut clock).1.proven);
    assert_eq!(ann.digest(None).unwrap(), bob.digest(None).unwrap());
    assert_eq!(texts(&mut ann, &conversation), texts(&mut bob, &conversation));
    assert_eq!(texts(&mut ann, &conversation).len(), 5);
    for log in [bob.log() as &Reader, north.log(), south.log()] {
        assert_eq!(dump(log, &conversation), dump(ann.log(), &conversation));
    }
}

/// Two devices and a relay that hold the same, some of it a day old, some of it new.
fn a_day(folder: &Path, clock: &mut Clock, backup: &Path) -> (Node, Node, Place, ConversationId) {
    let mut place = Place::new(folder, 1);
    let (mut ann, mut bob) = (person(folder, 11, &[&place]), person(folder, 12, &[&place]));
    let conversation = ann.create("Harbour crew", Kind::Group, clock.now()).unwrap();
    let invitation = ann.invite(Some(conversation), 1, 0, clock.now()).unwrap();
    ann.send(conversation, &["first", "second"], clock.now()).unwrap();
    sync(&mut ann, &mut place, clock);
    bob.accept(&invitation, clock.now()).unwrap();
    bob.send(conversation, &["third"], clock.now()).unwrap();
    sync(&mut bob, &mut place, clock);
    sync(&mut ann, &mut place, clock);
    place.back_up(backup);
    clock.0 += DAY_MS;
    for round in 0..20 {
        ann.send(conversation, &[&format!("ann's {round}")], clock.now()).unwrap();
        bob.send(conversation, &[&format!("bob's {round}")], clock.now()).unwrap();
        sync(&mut ann, &mut place, clock);
        sync(&mut bob, &mut place, clock);
    }
    assert!(sync(&mut ann, &mut place, clock).1.proven);
    assert_eq!(ann.digest(None).unwrap(), bob.digest(None).unwrap());
    let held = |message: &tombolo_client::Message| matches!(message.state, MessageState::Held(1));
    let own = ann.messages(&conversation, 100, None, false).unwrap();
    assert!(own.iter().filter(|message| message.own).all(held), "everything was acknowledged");
    (ann, bob, place, conversation)
}

fn refilled(ann: &mut Node, bob: &mut Node, place: &mut Place, conversation: &ConversationId, clock: &mut Clock) {
    let whole = dump(ann.log(), conversation);
    // Bob, who comes first, writes something new: the relay's order of arrival goes another way than before.
    bob.send(*conversation, &["after the loss"], clock.now()).unwrap();
    let (ran, state) = sync(bob, place, clock);
    assert!(noticed(&ran), "a relay that lost its past is noticed: {:?}", ran.one.events);
    assert!(state.proven && state.blocked.is_empty(), "{state:?}");
    // He did not found the conversation, and still brings all of it back.
    assert_eq!(dump(place.log(), conversation), dump(bob.log(), conversation));
    let (ran, state) = sync(ann, place, clock);
    assert!(noticed(&ran), "by everyone: {:?}", ran.one.events);
    assert!(state.proven);
    let (ran, state) = sync(bob, place, clock);
    assert!(state.proven && !noticed(&ran), "once is enough");
    assert_eq!(ann.digest(None).unwrap(), bob.digest(None).unwrap());
    assert_eq!(texts(ann, conversation), texts(bob, conversation));
    let after = dump(place.log(), conversation);
    assert_eq!(after, dump(ann.log(), conversation));
    assert_eq!(after.len(), whole.len() + 1);
    assert!(whole.iter().all(|op| after.contains(op)), "all came back, bodies too");
    assert!(place.log().check(&mut |_| {}).unwrap().iter().all(|finding| finding.ok));
}

#[test]
fn a_relay_restored_from_a_day_old_copy_is_noticed_and_refilled() {
    let (folder, mut clock) = (tempfile::tempdir().unwrap(), Clock(0));
    let backup = folder.path().join("backup");
    let (mut ann, mut bob, mut place, conversation) = a_day(folder.path(), &mut clock, &backup);
    place.restore(Some(&backup));
    assert!(dump(place.log(), &conversation).len() < dump(ann.log(), &conversation).len() - 30);
    refilled(&mut ann, &mut bob, &mut place, &conversation, &mut clock);
}

#[test]
fn an_emptied_relay_is_noticed_and_refilled() {
    let (folder, mut clock) = (tempfile::tempdir().unwrap(), Clock(0));
    let backup = folder.path().join("backup");
    let (mut ann, mut bob, mut place, conversation) = a_day(folder.path(), &mut clock, &backup);
    place.restore(None);
    assert!(dump(place.log(), &conversation).is_empty());
    refilled(&mut ann, &mut bob, &mut place, &conversation, &mut clock);
}

/// Whoever may bring a conversation is judged by the first batch, however long ago that was decided.
#[test]
fn an_emptied_relay_is_refilled_by_somebody_who_came_late() {
    let (folder, mut clock) = (tempfile::tempdir().unwrap(), Clock(0));
    let mut place = Place::new(folder.path(), 90);
    let mut ann = person(folder.path(), 1, &[&place]);
    let mut bob = person(folder.path(), 2, &[&place]);
    let conversation = ann.create("Crew", Kind::Group, clock.now()).unwrap();
    let texts: Vec<String> = (0..2_500).map(|at| format!("long before {at}")).collect();
    for some in texts.chunks(500) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        ann.send(conversation, &some, clock.now()).unwrap();
    }
    let invitation = ann.invite(Some(conversation), 1, 0, clock.now()).unwrap();
    assert!(sync(&mut ann, &mut place, &mut clock).1.proven);
    bob.accept(&invitation, clock.now()).unwrap();
    assert!(sync(&mut bob, &mut place, &mut clock).1.proven);
    let all = dump(place.log(), &conversation);
    assert!(all.len() > 2_500);
    place.restore(None);
    // Ann's device is gone for good.
    drop(ann);
    let (_, state) = sync(&mut bob, &mut place, &mut clock);
    assert!(state.proven, "{:?}", state.blocked);
    assert_eq!(dump(place.log(), &conversation), all);
}

#[test]
fn a_relay_that_kept_everything_raises_no_alarm() {
    let (folder, mut clock) = (tempfile::tempdir().unwrap(), Clock(0));
    let backup = folder.path().join("backup");
    let (mut ann, mut bob, mut place, conversation) = a_day(folder.path(), &mut clock, &backup);
    place.back_up(&backup);
    place.restore(Some(&backup));
    ann.send(conversation, &["one more"], clock.now()).unwrap();
    for node in [&mut ann, &mut bob] {
        let (ran, state) = sync(node, &mut place, &mut clock);
        assert!(state.proven && !noticed(&ran));
    }
}

/// Says goodbye to an address: the move is signed by the relay's key and heard by whoever is connected.
fn hear_of_the_move(
    node: &mut Node,
    place: &mut Place,
    to: &str,
    clock: &mut Clock,
) -> Option<(DeviceId, String, u64)> {
    let conn = ConnId(clock.0);
    let scope = Scope::Relay { url: place.url.clone(), all: false };
    let (one, two, now) = (clock.link(true, scope), clock.link(false, Scope::Members), clock.now());
    let ran = pair::run((node.replica(), one), (place.replica(), two), conn, now);
    assert!(ran.one.fault.is_none());
    place.replica().say_moved(conn, to, now.wall_ms, now);
    let mut heard = None;
    while let Some(output) = place.replica().poll() {
        if let tombolo_replica::Output::Send { frame, .. } = output {
            node.replica().receive(conn, &frame, now);
        }
    }
    while let Some(output) = node.replica().poll() {
        if let tombolo_replica::Output::Event(Event::Moved { peer, url, at_ms, .. }) = output {
            heard = Some((peer, url, at_ms));
        }
    }
    node.replica().disconnected(conn);
    place.replica().disconnected(conn);
    heard
}

#[test]
fn a_relay_that_moved_is_followed() {
    for named_by_key in [true, false] {
        let (folder, mut clock) = (tempfile::tempdir().unwrap(), Clock(0));
        let mut place = Place::new(folder.path(), 1);
        let mut ann = person(folder.path(), 11, &[]);
        let key = if named_by_key { place.id().0 } else { [0; 32] };
        let conversation = ann.create("Harbour crew", Kind::Group, clock.now()).unwrap();
        ann.add_relay(conversation, RelayAddress { key, ..place.address() }, clock.now()).unwrap();
        let old = place.url.clone();
        ann.remember_relay(&old, &place.id(), 0).unwrap();
        assert!(sync(&mut ann, &mut place, &mut clock).1.proven);
        assert_eq!(ann.relays().unwrap(), [(old.clone(), Some(place.id()))]);

        let (peer, url, at_ms) = hear_of_the_move(&mut ann, &mut place, "ws://elsewhere", &mut clock).unwrap();
        assert_eq!((peer, url.as_str()), (place.id(), "ws://elsewhere"));
        ann.remember_relay(&url, &peer, at_ms).unwrap();
        assert_eq!(ann.relays().unwrap(), [("ws://elsewhere".to_owned(), Some(place.id()))], "by key: {named_by_key}");
        ann.send(conversation, &["at the new place"], clock.now()).unwrap();
        let (_, state) = sync_at(&mut ann, &mut place, "ws://elsewhere", &mut clock);
        assert!(state.proven);
        assert_eq!(dump(place.log(), &conversation), dump(ann.log(), &conversation), "by key: {named_by_key}");

        // An older word does not lead back.
        ann.remember_relay("ws://long-ago", &peer, at_ms - 1_000).unwrap();
        assert_eq!(ann.relays().unwrap()[0].0, "ws://elsewhere");
        // And it moves on.
        ann.remember_relay("ws://farther", &peer, at_ms + 1_000).unwrap();
        assert_eq!(ann.relays().unwrap()[0].0, "ws://farther");
        // Back home.
        ann.remember_relay(&old, &peer, at_ms + 2_000).unwrap();
        assert_eq!(ann.relays().unwrap()[0].0, old);
    }
}

#[test]
fn invitations_end_as_they_say() {
    let (folder, mut clock) = (tempfile::tempdir().unwrap(), Clock(0));
    let mut place = Place::new(folder.path(), 1);
    let mut ann = person(folder.path(), 11, &[&place]);
    let conversation = ann.create("Harbour crew", Kind::Group, clock.now()).unwrap();
    ann.send(conversation, &["for members"], clock.now()).unwrap();
    let once = ann.invite(Some(conversation), 1, 0, clock.now()).unwrap();
    let twice = ann.invite(Some(conversation), 2, 0, clock.now()).unwrap();
    let expires_ms = clock.now().wall_ms + 1_000;
    let short = ann.invite(Some(conversation), 5, expires_ms, clock.now()).unwrap();
    let ended = ann.invite(Some(conversation), 5, 0, clock.now()).unwrap();
    ann.revoke(&ended.key().public(), clock.now()).unwrap();
    assert!(sync(&mut ann, &mut place, &mut clock).1.proven);
    clock.0 += 100_000;

    let mut next = 20;
    let mut come = |invitation: &tombolo_seal::Invitation, clock: &mut Clock, place: &mut Place| {
        next += 1;
        let mut node = person(folder.path(), next, &[]);
        node.accept(invitation, clock.now()).unwrap();
        let before = dump(place.log(), &conversation).len();
        let (ran, state) = sync(&mut node, place, clock);
        let told = ran.one.events.iter().find_map(|event| match event {
            Event::Refused { refusal, by_peer: true, .. } => Some(*refusal),
            _ => None,
        });
        let got = texts(&mut node, &conversation);
        if let Some(refusal) = told {
            assert_eq!(state.blocked.get(&conversation), Some(&refusal));
            assert_eq!(got, Vec::<String>::new(), "whoever is refused learns nothing");
            assert_eq!(dump(place.log(), &conversation).len(), before, "and leaves nothing");
            assert_eq!(node.conversations().unwrap()[0].standing, Standing::Asked);
        } else {
            assert!(state.proven && got.contains(&"for members".to_owned()), "{got:?} {state:?}");
            assert_eq!(node.conversations().unwrap()[0].standing, Standing::Member);
        }
        told
    };
    assert_eq!(come(&once, &mut clock, &mut place), None);
    assert_eq!(come(&once, &mut clock, &mut place), Some(Refusal::InviteUsedUp));
    assert_eq!(come(&twice, &mut clock, &mut place), None);
    assert_eq!(come(&twice, &mut clock, &mut place), None);
    assert_eq!(come(&twice, &mut clock, &mut place), Some(Refusal::InviteUsedUp));
    assert_eq!(come(&short, &mut clock, &mut place), Some(Refusal::InviteExpired));
    assert_eq!(come(&ended, &mut clock, &mut place), Some(Refusal::InviteRevoked));
    sync(&mut ann, &mut place, &mut clock);
    let used: BTreeMap<[u8; 32], u32> =
        ann.invites(&conversation).unwrap().into_iter().map(|row| (row.key, row.used)).collect();
    assert_eq!((used[&once.key().public()], used[&twice.key().public()]), (1, 2));
    assert_eq!((used[&short.key().public()], used[&ended.key().public()]), (0, 0));
}

#[test]
fn a_newcomer_waits_until_any_member_brings_the_conversation() {
    let (folder, mut clock) = (tempfile::tempdir().unwrap(), Clock(0));
    let mut place = Place::new(folder.path(), 1);
    let mut ann = person(folder.path(), 11, &[&place]);
    let mut bob = person(folder.path(), 12, &[&place]);
    let conversation = ann.create("Harbour crew", Kind::Group, clock.now()).unwrap();
    ann.send(conversation, &["hello"], clock.now()).unwrap();
    let invitation = ann.invite(Some(conversation), 2, 0, clock.now()).unwrap();
    bob.accept(&invitation, clock.now()).unwrap();
    bob.send(conversation, &["written while waiting"], clock.now()).unwrap();
    let (_, state) = sync(&mut bob, &mut place, &mut clock);
    assert_eq!(state.blocked.get(&conversation), Some(&Refusal::NotHere));
    assert_eq!(bob.conversations().unwrap()[0].standing, Standing::Asked);
    assert!(dump(place.log(), &conversation).is_empty());
    // Asked again: still waiting, nothing is lost.
    assert_eq!(sync(&mut bob, &mut place, &mut clock).1.blocked.get(&conversation), Some(&Refusal::NotHere));

    assert!(sync(&mut ann, &mut place, &mut clock).1.proven);
    // The relay has read past his join, which it refused then; what he writes now must not hide it.
    bob.send(conversation, &["still here"], clock.now()).unwrap();
    let (_, state) = sync(&mut bob, &mut place, &mut clock);
    assert!(state.proven && state.blocked.is_empty(), "{state:?}");
    assert_eq!(bob.conversations().unwrap()[0].standing, Standing::Member);
    assert!(sync(&mut ann, &mut place, &mut clock).1.proven);
    assert_eq!(texts(&mut ann, &conversation), texts(&mut bob, &conversation));
    assert_eq!(texts(&mut ann, &conversation).len(), 3);
    assert_eq!(ann.digest(None).unwrap(), bob.digest(None).unwrap());

    // The inviter is away and there is no relay: another member's device lets the next one in.
    let mut cleo = person(folder.path(), 13, &[]);
    cleo.accept(&invitation, clock.now()).unwrap();
    let conn = ConnId(clock.0);
    let (one, two, now) = (clock.link(true, Scope::Dialled), clock.link(false, Scope::Members), clock.now());
    pair::run((cleo.replica(), one), (bob.replica(), two), conn, now);
    let state = cleo.replica().state(conn).unwrap().unwrap();
    assert!(state.proven && state.blocked.is_empty(), "{state:?}");
    assert_eq!(cleo.conversations().unwrap()[0].standing, Standing::Member);
    assert_eq!(dump(cleo.log(), &conversation), dump(bob.log(), &conversation));
}
