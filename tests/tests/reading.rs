//! What was read travels end to end: devices of several people, a relay in between that cannot read it, restores,
//! large conversations, and registers that nobody may bring. Real stores and sessions; no sockets.

use std::path::{Path, PathBuf};
use suite::pair::{self, Ran};
use tombolo_client::{ConversationId, Entropy, Identity, Kind, MessageState, Node, OpId};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::content::{Slot, Value};
use tombolo_model::crypto::{DOMAIN_REGISTER, Signer as _};
use tombolo_model::{Register, RelayAddress, Signature};
use tombolo_oplog::{Log, NoFold, Open};
use tombolo_replica::{ConnId, Link, Now, Replica, Scope, Tools};
use tombolo_seal::StorageKey;
use tombolo_testkit::rng::Rng;

const URL: &str = "ws://relay";

struct Seeded(Rng);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// One relay and the devices around it.
struct World {
    folder: tempfile::TempDir,
    relay: Replica<NoFold>,
    ms: u64,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(Open::new(folder.path().join("relay.db"), 9)).unwrap();
        log.connection().unwrap().execute_batch("PRAGMA synchronous = OFF").unwrap();
        Self { folder, relay: Replica::new(log, DeviceKey::from_seed([250; 32]), NoFold), ms: 1_000 }
    }

    fn file(&self, account: u8, device: u8) -> PathBuf {
        self.folder.path().join(format!("{account}-{device}.db"))
    }

    fn device(&self, account: u8, device: u8) -> Node {
        let node = open(&self.file(account, device), account, device);
        node.log().connection().unwrap().execute_batch("PRAGMA synchronous = OFF").unwrap();
        node
    }

    fn now(&mut self) -> Now {
        self.ms += 10;
        Now { mono_ms: self.ms, wall_ms: 1_700_000_000_000 + self.ms }
    }

    fn link(&mut self, initiator: bool, scope: Scope) -> Link {
        self.ms += 1;
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&self.ms.to_be_bytes());
        Link { initiator, expected: None, binding: vec![], nonce, scope, tools: Tools::ALL }
    }

    /// As `tombolo sync` does: exchange, tell what was read, exchange that.
    fn sync(&mut self, node: &mut Node) -> Ran {
        let conn = ConnId(self.ms);
        let scope = Scope::Relay { url: URL.into(), all: true };
        let (one, two, now) = (self.link(true, scope), self.link(false, Scope::Members), self.now());
        let ran = pair::run((node.replica(), one), (&mut self.relay, two), conn, now);
        assert_eq!((&ran.one.fault, &ran.two.fault), (&None, &None));
        let now = self.now();
        node.tell_all(now).unwrap();
        pair::settle(node.replica(), &mut self.relay, conn, now);
        let state = node.replica().state(conn).unwrap().unwrap();
        assert!(state.quiet && (state.proven || state.unproven.is_some()), "{state:?}");
        node.replica().disconnected(conn);
        self.relay.disconnected(conn);
        // What is remembered of each other reaches the disk.
        for later_ms in [1, 2_000] {
            let later = Now { mono_ms: now.mono_ms + later_ms, ..now };
            node.replica().tick(later).unwrap();
            self.relay.tick(later).unwrap();
        }
        ran
    }
}

fn open(file: &Path, account: u8, device: u8) -> Node {
    let identity = Identity {
        account: AccountKey::from_seed([account; 32]),
        device: DeviceKey::from_seed([account ^ 0xa5, device, 3].repeat(11)[..32].try_into().unwrap()),
        certified_ms: 1,
        storage: StorageKey::new([account; 32]),
        name: format!("person {account}"),
        relays: vec![RelayAddress { key: [0; 32], url: URL.into(), region: String::new() }],
    };
    let seed = u64::from(account) << 8 | u64::from(device);
    let entropy = Box::new(Seeded(Rng::new(seed)));
    Node::open(Open::new(file, 0), identity, true, entropy).unwrap()
}

fn unread(node: &Node, id: &ConversationId) -> u64 {
    node.conversations().unwrap().into_iter().find(|row| row.id == *id).unwrap().unread
}

fn last(node: &mut Node, id: &ConversationId) -> tombolo_client::Message {
    node.messages(id, 1, None, false).unwrap().pop().unwrap()
}

/// Ada with two devices and Ben, in one conversation, all up to date.
fn three(world: &mut World) -> (Node, Node, Node, ConversationId) {
    let (mut phone, mut laptop, mut ben) = (world.device(1, 1), world.device(1, 2), world.device(2, 1));
    let now = world.now();
    let id = phone.create("crew", Kind::Group, now).unwrap();
    let link = phone.invite(Some(id), 5, 0, now).unwrap();
    world.sync(&mut phone);
    for node in [&mut laptop, &mut ben] {
        let now = world.now();
        node.accept(&link, now).unwrap();
        world.sync(node);
    }
    for node in [&mut phone, &mut laptop, &mut ben] {
        world.sync(node);
    }
    (phone, laptop, ben, id)
}

fn say(world: &mut World, node: &mut Node, id: ConversationId, text: &str) -> OpId {
    let now = world.now();
    node.send(id, &[text], now).unwrap()[0].id
}

#[test]
fn a_message_is_local_then_held_then_delivered_then_read() {
    let mut world = World::new();
    let (mut phone, mut laptop, mut ben, id) = three(&mut world);
    let message = say(&mut world, &mut phone, id, "hello");
    assert_eq!(last(&mut phone, &id).state, MessageState::Local);
    world.sync(&mut phone);
    assert_eq!(last(&mut phone, &id).state, MessageState::Held(1));
    world.sync(&mut ben);
    world.sync(&mut phone);
    assert_eq!(last(&mut phone, &id).state, MessageState::Delivered(1));
    let ben_says = |receipts: Vec<tombolo_client::Receipt>| {
        let [receipt] = &receipts[..] else { panic!("{receipts:?}") };
        assert_eq!(receipt.name, "person 2");
        (receipt.delivered, receipt.read)
    };
    assert_eq!(ben_says(phone.receipts(&id, &message).unwrap()), (true, false));
    // Ben reads, offline, and the program ends before he is connected again.
    ben.messages(&id, 10, None, true).unwrap();
    ben.close().unwrap();
    let mut ben = world.device(2, 1);
    world.sync(&mut ben);
    world.sync(&mut phone);
    assert_eq!(last(&mut phone, &id).state, MessageState::Read(1));
    assert_eq!(ben_says(phone.receipts(&id, &message).unwrap()), (true, true));
    // Ada's other device knows as much.
    world.sync(&mut laptop);
    assert_eq!(ben_says(laptop.receipts(&id, &message).unwrap()), (true, true));
    assert_eq!(unread(&laptop, &id), 0, "own words are never unread");
}

#[test]
fn what_was_read_on_one_device_is_read_on_the_other() {
    let mut world = World::new();
    let (mut phone, mut laptop, mut ben, id) = three(&mut world);
    for text in ["a", "b", "c"] {
        say(&mut world, &mut ben, id, text);
    }
    world.sync(&mut ben);
    world.sync(&mut phone);
    world.sync(&mut laptop);
    assert_eq!((unread(&phone, &id), unread(&laptop, &id)), (3, 3));
    let second = laptop.messages(&id, 10, None, false).unwrap()[1].id.to_string();
    let now = world.now();
    phone.read(&id, Some(&second), now).unwrap();
    world.sync(&mut phone);
    world.sync(&mut laptop);
    assert_eq!((unread(&phone, &id), unread(&laptop, &id)), (1, 1));
    // Marked unread on one, it is on the other; and reading it there takes the mark away here.
    let now = world.now();
    laptop.mark_unread(&id, &second, now).unwrap();
    assert_eq!(unread(&laptop, &id), 2);
    world.sync(&mut laptop);
    world.sync(&mut phone);
    assert_eq!(unread(&phone, &id), 2);
    let now = world.now();
    phone.read(&id, None, now).unwrap();
    world.sync(&mut phone);
    world.sync(&mut laptop);
    assert_eq!((unread(&phone, &id), unread(&laptop, &id)), (0, 0));
    // A third device that is new to all of it does not begin with everything unread.
    let mut tablet = world.device(1, 3);
    let now = world.now();
    let link = phone.invite(Some(id), 1, 0, now).unwrap();
    world.sync(&mut phone);
    let now = world.now();
    tablet.accept(&link, now).unwrap();
    world.sync(&mut tablet);
    world.sync(&mut tablet);
    assert_eq!(unread(&tablet, &id), 0);
}

#[test]
fn nothing_new_is_told_once_and_costs_under_200_bytes() {
    let mut world = World::new();
    let (mut phone, mut laptop, mut ben, id) = three(&mut world);
    say(&mut world, &mut ben, id, "hello");
    for _ in 0..2 {
        for node in [&mut ben, &mut phone, &mut laptop] {
            world.sync(node);
        }
    }
    for node in [&mut ben, &mut phone, &mut laptop] {
        let ran = world.sync(node);
        let beside: Vec<u8> =
            ran.one.frames.iter().chain(&ran.two.frames).map(|frame| frame.0).filter(|kind| *kind >= 0x40).collect();
        assert_eq!(beside, [0x42, 0x42]);
        let bytes: usize =
            ran.one.frames.iter().map(|frame| frame.1 + 6).chain(ran.two.frames.iter().map(|frame| frame.1 + 2)).sum();
        let opening: usize = [&ran.one, &ran.two]
            .iter()
            .flat_map(|side| &side.frames)
            .filter(|frame| frame.0 < 2)
            .map(|frame| frame.1 + 4)
            .sum();
        assert!(bytes - opening < 200, "{bytes} - {opening}");
    }
}

#[test]
fn a_relay_cannot_read_what_was_read() {
    let mut world = World::new();
    let (mut phone, _, mut ben, id) = three(&mut world);
    say(&mut world, &mut phone, id, "hello");
    world.sync(&mut phone);
    world.sync(&mut ben);
    ben.messages(&id, 10, None, true).unwrap();
    world.sync(&mut ben);
    let logs: Vec<[u8; 8]> = phone.log().heights(&id).unwrap().into_iter().map(|height| height.log.0).collect();
    let registers = world.relay.log().registers(&id).unwrap();
    assert_eq!(registers.len(), 3);
    for register in registers {
        for log in &logs {
            assert!(register.payload.windows(8).all(|window| window != log), "the name of a log lies open");
        }
    }
}

#[test]
fn receipts_can_be_switched_off_and_own_devices_still_agree() {
    let mut world = World::new();
    let (mut phone, mut laptop, mut ben, id) = three(&mut world);
    let now = world.now();
    phone.set_own(&Slot::Receipts, &Value::Flag(false), now).unwrap();
    let message = say(&mut world, &mut ben, id, "hello");
    world.sync(&mut ben);
    world.sync(&mut phone);
    phone.messages(&id, 10, None, true).unwrap();
    world.sync(&mut phone);
    world.sync(&mut ben);
    let receipts = ben.receipts(&id, &message).unwrap();
    assert_eq!(receipts.iter().map(|receipt| (receipt.delivered, receipt.read)).collect::<Vec<_>>(), [(true, false)]);
    world.sync(&mut laptop);
    assert_eq!(unread(&laptop, &id), 0);
}

#[test]
fn a_device_that_was_restored_goes_on_above_what_it_had_told() {
    let mut world = World::new();
    let (mut phone, _, mut ben, id) = three(&mut world);
    for text in ["a", "b"] {
        say(&mut world, &mut ben, id, text);
    }
    world.sync(&mut ben);
    world.sync(&mut phone);
    let file = world.file(1, 1);
    phone.close().unwrap();
    let backup = file.with_extension("backup");
    std::fs::copy(&file, &backup).unwrap();
    let mut phone = world.device(1, 1);
    phone.messages(&id, 10, None, true).unwrap();
    for _ in 0..3 {
        say(&mut world, &mut ben, id, "more");
        world.sync(&mut ben);
        world.sync(&mut phone);
        phone.messages(&id, 10, None, true).unwrap();
        world.sync(&mut phone);
    }
    let version = |node: &Node| node.log().register_version(&id, &node.device()).unwrap();
    let told = version(&phone);
    phone.close().unwrap();
    std::fs::copy(&backup, &file).unwrap();
    for end in ["db-wal", "db-shm"] {
        let _ = std::fs::remove_file(file.with_extension(end));
    }
    let mut phone = world.device(1, 1);
    assert!(version(&phone) < told && unread(&phone, &id) > 0);
    world.sync(&mut phone);
    assert_eq!(unread(&phone, &id), 0, "what was read before the restore is read");
    say(&mut world, &mut ben, id, "after");
    world.sync(&mut ben);
    world.sync(&mut phone);
    phone.messages(&id, 10, None, true).unwrap();
    world.sync(&mut phone);
    assert!(version(&phone) > told, "and it goes on above");
    world.sync(&mut ben);
    assert_eq!(last(&mut ben, &id).state, MessageState::Read(1));
}

#[test]
fn above_fifty_people_only_own_devices_are_told() {
    let mut world = World::new();
    let (mut phone, mut laptop, mut ben, id) = three(&mut world);
    let now = world.now();
    let link = phone.invite(Some(id), 60, 0, now).unwrap();
    world.sync(&mut phone);
    for account in 10..60 {
        let mut newcomer = world.device(account, 1);
        let now = world.now();
        newcomer.accept(&link, now).unwrap();
        world.sync(&mut newcomer);
    }
    assert_eq!(world.relay.log().accounts(&id).unwrap(), 52);
    let message = say(&mut world, &mut ben, id, "hello");
    world.sync(&mut ben);
    world.sync(&mut phone);
    world.sync(&mut laptop);
    phone.messages(&id, 10, None, true).unwrap();
    world.sync(&mut phone);
    let came = |ran: &Ran| ran.two.frames.iter().filter(|frame| frame.0 == 0x43).map(|frame| frame.1).sum::<usize>();
    let to_laptop = came(&world.sync(&mut laptop));
    let to_ben = came(&world.sync(&mut ben));
    assert_eq!(unread(&laptop, &id), 0);
    assert!(to_laptop > 100, "{to_laptop}");
    assert_eq!(to_ben, 0, "a stranger's register does not come");
    assert_eq!(ben.receipts(&id, &message).unwrap(), []);
    assert_eq!(last(&mut ben, &id).state, MessageState::Held(1));
}

/// Puts a register into a store behind its back, and meets the relay.
fn bring(world: &mut World, node: &mut Node, register: &Register) -> Ran {
    let (n, of): (i64, Vec<u8>) = {
        let conn = node.log().connection().unwrap();
        let n = conn
            .query_row("SELECT n FROM conversation WHERE id = ?1", [register.conversation.as_bytes()], |row| row.get(0))
            .unwrap();
        (n, register.device.as_bytes().to_vec())
    };
    let batch = node.replica().log_mut().batch().unwrap();
    let tx = batch.transaction().unwrap();
    tx.execute(
        "INSERT OR REPLACE INTO register (position, conversation, device, version, source, tag, signature, payload) \
         VALUES (1000000, ?1, ?2, ?3, 0, 7, ?4, ?5)",
        tombolo_oplog::rusqlite::params![n, of, register.version as i64, register.signature.0, register.payload],
    )
    .unwrap();
    tx.execute("INSERT OR REPLACE INTO register_sum (conversation, sum) VALUES (?1, 99)", [n]).unwrap();
    batch.commit().unwrap();
    let conn = ConnId(world.ms);
    let scope = Scope::Relay { url: URL.into(), all: true };
    let (one, two, now) = (world.link(true, scope), world.link(false, Scope::Members), world.now());
    let ran = pair::run((node.replica(), one), (&mut world.relay, two), conn, now);
    node.replica().disconnected(conn);
    world.relay.disconnected(conn);
    ran
}

#[test]
fn registers_that_nobody_may_bring_leave_nothing() {
    let stranger = DeviceKey::from_seed([77; 32]);
    let sign = |mut register: Register, key: &DeviceKey| {
        register.signature = key.sign(DOMAIN_REGISTER, &register.signed_bytes());
        register
    };
    let made = |id: ConversationId, key: &DeviceKey| Register {
        conversation: id,
        device: key.id(),
        version: 1 << 40,
        payload: vec![7; 40],
        signature: Signature([0; 64]),
    };
    // Of another member, without its signature: the session ends.
    let mut world = World::new();
    let (phone, _, mut ben, id) = three(&mut world);
    let before = world.relay.log().registers(&id).unwrap();
    let mut forged = made(id, &stranger);
    forged.device = phone.device();
    let forged = sign(forged, &stranger);
    let ran = bring(&mut world, &mut ben, &forged);
    assert_eq!(ran.two.fault.map(|fault| fault.code()), Some("op_forged"));
    assert_eq!(world.relay.log().registers(&id).unwrap(), before);
    // Of somebody who takes no part, signed well: nothing is kept, and nothing ends.
    let mut world = World::new();
    let (.., mut ben, id) = three(&mut world);
    let before = world.relay.log().registers(&id).unwrap();
    let ran = bring(&mut world, &mut ben, &sign(made(id, &stranger), &stranger));
    assert_eq!((ran.one.fault, ran.two.fault), (None, None));
    assert_eq!(world.relay.log().registers(&id).unwrap(), before);
    // A signature of another conversation's register is worth nothing here.
    let mut world = World::new();
    let (mut phone, _, mut ben, id) = three(&mut world);
    let now = world.now();
    let other = ben.create("other", Kind::Group, now).unwrap();
    let key = DeviceKey::from_seed([2 ^ 0xa5, 1, 3].repeat(11)[..32].try_into().unwrap());
    assert_eq!(key.id(), ben.device());
    let mut moved = sign(made(other, &key), &key);
    moved.conversation = id;
    assert_eq!(bring(&mut world, &mut ben, &moved).two.fault.map(|fault| fault.code()), Some("op_forged"));
    // The device's own, with a version far ahead and nothing in it: it stays its own harm.
    let ahead = sign(made(id, &key), &key);
    let ran = bring(&mut world, &mut ben, &ahead);
    assert_eq!((ran.one.fault, ran.two.fault), (None, None));
    assert_eq!(world.relay.log().register(&id, &ben.device()).unwrap(), Some(ahead));
    world.sync(&mut phone);
    assert_eq!(unread(&phone, &id), 0);
    let message = say(&mut world, &mut phone, id, "hello");
    world.sync(&mut phone);
    assert_eq!(phone.receipts(&id, &message).unwrap().len(), 1);
}

#[test]
fn who_is_typing_is_believed_for_six_seconds_and_never_written_down() {
    let mut world = World::new();
    let (mut phone, _, mut ben, id) = three(&mut world);
    let conn = ConnId(7);
    let (one, two, now) = (world.link(true, Scope::Dialled), world.link(false, Scope::Members), world.now());
    pair::run((phone.replica(), one), (ben.replica(), two), conn, now);
    let canary = "typing-canary-3f9c";
    for what in ["typing", canary] {
        let now = world.now();
        phone.presence(&id, what, now).unwrap();
        let ran = pair::settle(phone.replica(), ben.replica(), conn, now);
        for event in &ran.two.events {
            ben.note_typing(event, now).unwrap();
        }
        if what == "typing" {
            assert_eq!(ben.typing(&id, now), [phone.device()]);
            let later = Now { mono_ms: now.mono_ms + 5_999, ..now };
            assert_eq!(ben.typing_names(&id, later).unwrap(), ["person 1"]);
            let later = Now { mono_ms: now.mono_ms + 6_000, ..now };
            assert!(ben.typing(&id, later).is_empty());
        }
    }
    // A message ends it.
    let now = world.now();
    phone.presence(&id, "typing", now).unwrap();
    let ran = pair::settle(phone.replica(), ben.replica(), conn, now);
    ran.two.events.iter().for_each(|event| ben.note_typing(event, now).unwrap());
    assert_eq!(ben.typing(&id, now).len(), 1);
    say(&mut world, &mut phone, id, "here it is");
    let ran = pair::settle(phone.replica(), ben.replica(), conn, now);
    ran.two.events.iter().for_each(|event| ben.note_typing(event, now).unwrap());
    assert!(ben.typing(&id, now).is_empty());
    phone.close().unwrap();
    ben.close().unwrap();
    for entry in std::fs::read_dir(world.folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(bytes.windows(canary.len()).all(|window| window != canary.as_bytes()));
    }
}
