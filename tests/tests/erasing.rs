//! Bodies that go, on whole devices and relays over disks that lose power: nothing of them is left in any file, whenever
//! the power goes, and nobody gets them back from somebody who has not heard yet.

use suite::pair;
use tombolo_client::{Entropy, Identity, Kind, Node, OpId};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::{ConversationId, LogId, RelayAddress};
use tombolo_oplog::{Gone, Log, NoFold, Open, Reader};
use tombolo_replica::{ConnId, Draft, Event, Link, Now, Output, Replica, Rest, Scope, Tools};
use tombolo_seal::StorageKey;
use tombolo_testkit::disk::{Disk, FaultKind, Repeat};
use tombolo_testkit::rng::Rng;

struct Seeded(Rng);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

const URL: &str = "ws://relay";
const START_MS: u64 = 1_700_000_000_000;

/// One time for everybody; **milliseconds** since the start.
fn at(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: START_MS + ms }
}

fn open(disk: &Disk, seed: u8) -> Node {
    open_again(disk, seed, 0)
}

/// Each life of a program draws other numbers.
fn open_again(disk: &Disk, seed: u8, life: u64) -> Node {
    let identity = Identity {
        account: AccountKey::from_seed([seed; 32]),
        device: DeviceKey::from_seed([seed + 1; 32]),
        certified_ms: START_MS,
        storage: StorageKey::new([seed + 2; 32]),
        name: format!("person {seed}"),
        relays: vec![RelayAddress { key: [0; 32], url: URL.into(), region: String::new() }],
    };
    let open = Open { vfs: Some(disk.vfs().to_owned()), ..Open::new("device.db", u64::from(seed)) };
    Node::open(open, identity, false, Box::new(Seeded(Rng::new(u64::from(seed) + 1_000 * life)))).unwrap()
}

fn relay(disk: &Disk) -> Replica<NoFold> {
    let log = Log::open(Open { vfs: Some(disk.vfs().to_owned()), ..Open::new("relay.db", 9) }).unwrap();
    Replica::new(log, DeviceKey::from_seed([99; 32]), NoFold)
}

/// A device meets the relay.
fn meet(node: &mut Node, relay: &mut Replica<NoFold>, conn: u64, now: Now) {
    let link = |initiator: bool, scope| {
        let nonce = [(2 * conn) as u8 + u8::from(initiator); 32];
        Link { initiator, expected: None, binding: vec![], nonce, scope, tools: Tools::ALL }
    };
    let conn = ConnId(conn);
    let scope = Scope::Relay { url: URL.into(), all: false };
    let (ours, theirs) = (link(true, scope), link(false, Scope::Members));
    let ran = pair::run((node.replica(), ours), (relay, theirs), conn, now);
    assert!(ran.one.fault.is_none() && ran.two.fault.is_none(), "{:?} {:?}", ran.one.fault, ran.two.fault);
    assert!(ran.one.events.iter().any(|event| matches!(event, Event::Proven { .. })), "{:?}", ran.one.events);
    node.replica().disconnected(conn);
    relay.disconnected(conn);
}

/// Whether any file of a disk holds these bytes.
fn holds(disk: &Disk, bytes: &[u8]) -> bool {
    disk.files().iter().any(|name| {
        let file = disk.read_file(name).unwrap_or_default();
        file.windows(bytes.len()).any(|window| window == bytes)
    })
}

fn body(log: &Reader, conversation: &ConversationId, id: &OpId) -> Option<Vec<u8>> {
    log.op(conversation, id).unwrap().unwrap().body
}

struct World {
    disks: [Disk; 3],
    ann: Node,
    bob: Node,
    relay: Replica<NoFold>,
    conversation: ConversationId,
    sent: Vec<OpId>,
}

const CANARY: &str = "canary that sang too much";

/// Ann and Bob in one conversation, with some messages, of which the middle one is the canary; all met the relay.
fn world() -> World {
    let disks = [1, 2, 3].map(Disk::new);
    let (mut ann, mut bob, mut relay) = (open(&disks[0], 10), open(&disks[1], 20), relay(&disks[2]));
    let conversation = ann.create("Harbour", Kind::Group, at(10)).unwrap();
    let letter = ann.invite(Some(conversation), 5, 0, at(20)).unwrap();
    meet(&mut ann, &mut relay, 1, at(30));
    bob.accept(&letter, at(40)).unwrap();
    meet(&mut bob, &mut relay, 2, at(50));
    meet(&mut ann, &mut relay, 3, at(60));
    let texts: Vec<String> = (0..21).map(|number| format!("message {number} {}", "~".repeat(number * 9))).collect();
    let mut words: Vec<&str> = texts.iter().map(String::as_str).collect();
    words[10] = CANARY;
    let sent = ann.send(conversation, &words, at(70)).unwrap().into_iter().map(|sent| sent.id).collect();
    meet(&mut ann, &mut relay, 4, at(80));
    meet(&mut bob, &mut relay, 5, at(90));
    World { disks, ann, bob, relay, conversation, sent }
}

fn tick(replica: &mut Replica<NoFold>, now: Now) -> Vec<Event> {
    replica.tick(now).unwrap();
    std::iter::from_fn(|| replica.poll())
        .filter_map(|output| match output {
            Output::Event(event) => Some(event),
            _ => None,
        })
        .collect()
}

#[test]
fn a_deleted_message_is_in_no_file_of_anybody_who_has_heard() {
    let World { disks, mut ann, mut bob, mut relay, conversation, sent } = world();
    let canary = sent[10];
    let sealed = body(ann.log(), &conversation, &canary).unwrap();
    assert!(holds(&disks[0], CANARY.as_bytes()) && holds(&disks[1], CANARY.as_bytes()));
    assert!(disks.iter().all(|disk| holds(disk, &sealed)) && !holds(&disks[2], CANARY.as_bytes()));

    ann.delete(conversation, &canary, at(100)).unwrap();
    // Acknowledged: gone from here, at once.
    assert!(!holds(&disks[0], CANARY.as_bytes()) && !holds(&disks[0], &sealed));
    // Bob has not heard yet: he brings nothing back.
    meet(&mut ann, &mut relay, 6, at(110));
    let gone = tick(&mut relay, at(110));
    assert!(gone.is_empty(), "it was told when it happened: {gone:?}");
    tick(&mut relay, at(1_200));
    assert!(!holds(&disks[2], &sealed));
    assert!(holds(&disks[1], CANARY.as_bytes()));
    meet(&mut bob, &mut relay, 7, at(1_300));
    bob.replica().tick(at(1_310)).unwrap();
    bob.replica().tick(at(2_400)).unwrap();
    assert!(!holds(&disks[1], CANARY.as_bytes()) && !holds(&disks[1], &sealed));
    for log in [ann.log(), bob.log(), relay.log()] {
        assert_eq!(log.gone(&conversation, &canary).unwrap(), Some(Gone::Erased));
        assert_eq!(body(log, &conversation, &canary), None);
        assert_eq!(log.wanted(&conversation, 9).unwrap(), vec![]);
        for finding in log.check(&mut |_| {}).unwrap() {
            assert!(finding.ok, "{}: {}", finding.check, finding.detail);
        }
    }
    let shown = bob.messages(&conversation, 50, None, false).unwrap();
    assert!(shown.iter().all(|message| message.text != CANARY));
    assert!(shown.iter().any(|message| message.id == canary && message.beside.deleted.is_some()));
}

#[test]
fn an_acknowledged_deletion_survives_every_power_cut() {
    let World { disks, mut ann, conversation, sent, .. } = world();
    let canary = sent[10];
    let sealed = body(ann.log(), &conversation, &canary).unwrap();
    ann.delete(conversation, &canary, at(100)).unwrap();
    for seed in 0..60 {
        let disk = disks[0].power_loss(seed);
        let again = open(&disk, 10);
        assert_eq!(body(again.log(), &conversation, &canary), None, "seed {seed}");
        assert!(!holds(&disk, CANARY.as_bytes()) && !holds(&disk, &sealed), "seed {seed}");
    }
}

#[test]
fn power_may_go_at_any_point_of_a_deletion() {
    let World { disks, ann, conversation, sent, .. } = world();
    let canary = sent[10];
    let sealed = body(ann.log(), &conversation, &canary).unwrap();
    drop(ann);
    let (mut done, mut undone) = (0, 0);
    for k in 1..400 {
        let disk = disks[0].copy(k);
        let mut ann = open_again(&disk, 10, k);
        disk.fail_from(k, FaultKind::Io, Repeat::FromThenOn);
        let deleted = ann.delete(conversation, &canary, at(100));
        let hit = disk.faults_hit() > 0;
        let after = disk.power_loss(k);
        drop(ann);
        after.clear_faults();
        let again = open_again(&after, 10, 1_000 + k);
        let there = body(again.log(), &conversation, &canary).is_some();
        assert!(deleted.is_err() || !there, "operation {k}: acknowledged, and back again");
        // Half a deletion there is not: text and body are both there, or neither.
        assert_eq!(holds(&after, CANARY.as_bytes()), there, "operation {k}");
        assert_eq!(holds(&after, &sealed), there, "operation {k}");
        (done, undone) = (done + u32::from(!there), undone + u32::from(there));
        if !hit {
            deleted.unwrap();
            break;
        }
    }
    assert!(done > 3 && undone > 3, "{done} {undone}");
}

#[test]
fn bodies_expire_on_devices_and_relays_by_their_own_clocks() {
    let World { disks, mut ann, mut bob, mut relay, conversation, .. } = world();
    let secret = vec![0x5a; 333];
    let rest = Rest { expires_ms: START_MS + 60_000, ..Rest::default() };
    let seal = |_: &tombolo_model::Header| Ok(secret.clone());
    let draft = Draft::Sealed { len: secret.len(), seal: &seal, rest };
    let id = ann.replica().write(Some(conversation), &[draft], LogId([7; 8]), at(100)).unwrap()[0].id;
    meet(&mut ann, &mut relay, 6, at(200));
    // What is remembered of peers goes to the disk a second later.
    relay.tick(at(1_250)).unwrap();
    assert_eq!(relay.deadline_ms(), Some(60_000), "the next tick is due when it expires");
    relay.tick(at(59_999)).unwrap();
    assert!(disks.iter().take(3).filter(|disk| holds(disk, &secret)).count() == 2);
    // Off when its time comes: gone before anything else when it is opened again.
    drop(ann);
    let disk = disks[0].copy(77);
    let mut ann = open(&disk, 10);
    ann.replica().expire(at(60_000)).unwrap();
    assert_eq!(ann.log().gone(&conversation, &id).unwrap(), Some(Gone::Expired));
    assert!(ann.replica().wipe(at(60_000)).unwrap());
    assert!(!holds(&disk, &secret));
    let events = tick(&mut relay, at(60_000));
    assert!(matches!(&events[..], [Event::Gone { why: Gone::Expired, ids, .. }] if ids == &[id]), "{events:?}");
    assert!(matches!(&tick(&mut relay, at(61_100))[..], [Event::Wiped]));
    assert!(!holds(&disks[2], &secret));
    // Bob gets the op without its body, and does not look for it.
    meet(&mut bob, &mut relay, 7, at(62_000));
    assert_eq!(bob.log().gone(&conversation, &id).unwrap(), Some(Gone::Expired));
    // Somebody whose clock is behind wants it, asks once, and is equal all the same.
    let mut late = open(&disks[1].copy(78), 20);
    meet(&mut late, &mut relay, 8, at(300));
    assert_eq!(late.log().proof(&conversation).unwrap(), relay.log().proof(&conversation).unwrap());
    late.replica().tick(at(60_500)).unwrap();
    assert_eq!(late.log().gone(&conversation, &id).unwrap(), Some(Gone::Expired));
}

#[test]
fn what_was_pruned_is_equal_all_the_same_and_comes_back_when_it_is_wanted() {
    let World { disks, mut ann, mut relay, conversation, sent, .. } = world();
    let before = ann.storage().unwrap();
    let proof = ann.log().proof(&conversation).unwrap();
    let went = ann.prune(&conversation, START_MS + 75, at(500)).unwrap();
    assert_eq!(went, 21);
    assert!(!holds(&disks[0], CANARY.as_bytes()), "the text has left this device");
    assert!(ann.messages(&conversation, 50, None, false).unwrap().is_empty());
    let after = ann.storage().unwrap();
    assert!(after[0].body_bytes < before[0].body_bytes / 2 && after[0].pruned == 21);
    assert_eq!(ann.log().proof(&conversation).unwrap(), proof);
    meet(&mut ann, &mut relay, 6, at(600));
    assert_eq!(body(ann.log(), &conversation, &sent[3]), None, "nobody gives it back unasked");
    let packed = ann.pack().unwrap();
    assert!(packed.after_bytes <= packed.before_bytes);

    assert_eq!(ann.want_pruned(&conversation).unwrap(), 21);
    meet(&mut ann, &mut relay, 7, at(700));
    let texts: Vec<String> =
        ann.messages(&conversation, 50, None, false).unwrap().into_iter().map(|message| message.text).collect();
    assert_eq!(texts.len(), 21);
    assert_eq!(texts[10], CANARY);
    let views = {
        let (log, views) = ann.replica().log_and_fold();
        tombolo_store::compare(views, log, &mut |_, _| {}).unwrap()
    };
    assert_eq!(views, []);
}
