//! The recorded workload: a device with the real store, a second person, a relay, and notes of what was promised when.
//!
//! Responsible for: doing what people do (found, send, import, read, meet the relay, close, restart), with the device's
//! and the relay's disk recorded, and a note ([`Fact`]) at every instant at which something is promised to the outside:
//! a call that returned, a frame that left. Not here: power cuts and what must be true after them (`judge.rs`).

use std::collections::{BTreeMap, BTreeSet};

use tombolo_client::{Entropy, Identity, Kind, Line, Node};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::{ConversationId, DeviceId, LogId, OpId, RelayAddress};
use tombolo_oplog::{ArrivalQuery, Log, NoFold, Open, Reader};
use tombolo_replica::{ConnId, Link, Now, Output, Replica, Scope, Tools};
use tombolo_seal::{Invitation, StorageKey};
use tombolo_testkit::disk::{Disk, Recording};
use tombolo_testkit::rng::Rng;

/// File names on the simulated disks.
pub(crate) const DEVICE_DB: &str = "device.db";
pub(crate) const RELAY_DB: &str = "relay.db";
const URL: &str = "ws://relay";
/// Pages between checkpoints: few, so that a short workload has many of them.
const CHECKPOINT_PAGES: u32 = 60;

/// What the store under test is made to do wrong; `Sound` for the shipped one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Nothing: the shipped settings.
    Sound,
    /// `PRAGMA synchronous = NORMAL` after opening.
    Normal,
    /// What a send writes leaves the device before its transaction is committed.
    SendFirst,
}

/// Randomness from a seed.
pub(crate) struct Seeded(pub(crate) Rng);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// An op as the judge needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: OpId,
    pub(crate) conversation: ConversationId,
    pub(crate) author: DeviceId,
    pub(crate) log: LogId,
    pub(crate) seq: u64,
}

/// How many arrivals each side had promised at an instant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fact {
    pub(crate) device: u64,
    pub(crate) relay: u64,
}

/// Everything that a judge needs to know about a workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) seed: u64,
    /// By mark.
    pub(crate) facts: Vec<Fact>,
    /// Arrivals of the device in the end; position `i` is arrival `i + 1`.
    pub(crate) device: Vec<Entry>,
    pub(crate) relay: Vec<Entry>,
    /// Ids that a call on the device returned, each with the mark from which on.
    pub(crate) returned: Vec<(u64, OpId)>,
    /// Own ops that a peer held, with the mark from which on.
    pub(crate) left: Vec<(u64, LogId, u64)>,
    /// The conversation that the device founded, of which it holds everything from the beginning.
    pub(crate) founded: ConversationId,
    /// An invitation that the device accepted, or was about to.
    pub(crate) invitation: Option<Invitation>,
}

/// A workload with its disks.
pub(crate) struct Recorded {
    pub(crate) history: History,
    pub(crate) device: Recording,
    pub(crate) relay: Recording,
}

/// Everything that a log stored, by arrival.
pub(crate) fn order(log: &Reader) -> Vec<Entry> {
    let rows = log.conversations().expect("conversations");
    let all: Vec<_> = rows.iter().map(|row| (row.id, 0)).collect();
    let query = ArrivalQuery {
        after: 0,
        through: u64::MAX,
        conversations: &all,
        not_from: None,
        limit_ops: usize::MAX >> 1,
        limit_bytes: usize::MAX >> 1,
    };
    let found = log.arrivals(&query).expect("arrivals");
    let entry = |op: &tombolo_model::Op| Entry {
        id: op.id,
        conversation: op.conversation(),
        author: op.header.author,
        log: op.header.log,
        seq: op.header.seq,
    };
    found.iter().map(|(_, op)| entry(op)).collect()
}

pub(crate) fn relay_key() -> DeviceKey {
    DeviceKey::from_seed([77; 32])
}

fn identity(seed: u8) -> Identity {
    Identity {
        account: AccountKey::from_seed([seed; 32]),
        device: DeviceKey::from_seed([seed + 100; 32]),
        certified_ms: 1,
        storage: StorageKey::new([seed; 32]),
        name: format!("Person {seed}"),
        relays: vec![RelayAddress { key: relay_key().id().0, url: URL.into(), region: String::new() }],
    }
}

/// The device under test.
pub(crate) fn device_id() -> DeviceId {
    identity(1).device.id()
}

fn open<'a>(disk: &Disk, name: &str, random: u64) -> Open<'a> {
    Open { vfs: Some(disk.vfs().to_owned()), ..Open::new(name, random) }
}

/// Settings that only tests use: many checkpoints, and the flaw.
fn unsettle(log: &Reader, flaw: Flaw) {
    let db = log.connection().expect("a log that was just opened");
    db.query_row(&format!("PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}"), [], |_| Ok(())).expect("a setting");
    if flaw == Flaw::Normal {
        db.execute_batch("PRAGMA synchronous = NORMAL").expect("a setting");
    }
}

/// Opens a device's store as the programs do.
///
/// # Errors
/// What opening says.
pub(crate) fn open_node(
    disk: &Disk,
    person: u8,
    continue_logs: bool,
    flaw: Flaw,
    rng: Rng,
) -> Result<Node, tombolo_client::Error> {
    let node = Node::open(open(disk, DEVICE_DB, 0), identity(person), continue_logs, Box::new(Seeded(rng)))?;
    unsettle(node.log(), flaw);
    Ok(node)
}

/// Opens a relay's store.
///
/// # Errors
/// What opening says.
pub(crate) fn open_relay(disk: &Disk, flaw: Flaw, random: u64) -> Result<Replica<NoFold>, tombolo_oplog::LogError> {
    let log = Log::open(open(disk, RELAY_DB, random))?;
    unsettle(&log, flaw);
    Ok(Replica::new(log, relay_key(), NoFold))
}

/// The link of one side of a connection.
pub(crate) fn link(initiator: bool, nonce: [u8; 32]) -> Link {
    let scope = if initiator { Scope::Relay { url: URL.into(), all: false } } else { Scope::Members };
    Link { initiator, expected: None, binding: vec![], nonce, scope, tools: Tools::ALL }
}

struct World {
    rng: Rng,
    flaw: Flaw,
    device_disk: Disk,
    relay_disk: Disk,
    device: Option<Node>,
    relay: Option<Replica<NoFold>>,
    friend: Node,
    _friend_disk: Disk,
    clock_ms: u64,
    history: History,
    /// Ids that a peer got to hold, with the mark.
    held_by_peer: Vec<(u64, OpId)>,
    known: BTreeSet<OpId>,
}

/// Records one workload.
pub(crate) fn record(seed: u64, flaw: Flaw) -> Recorded {
    let rng = Rng::new(seed).fork("workload");
    let (device_disk, relay_disk, friend_disk) = (Disk::new(seed), Disk::new(seed ^ 1), Disk::new(seed ^ 2));
    device_disk.start_recording();
    relay_disk.start_recording();
    let device = open_node(&device_disk, 1, false, flaw, Rng::new(seed).fork("device")).expect("a new store");
    let relay = open_relay(&relay_disk, flaw, seed | 1).expect("a new store");
    let friend = open_node(&friend_disk, 2, false, Flaw::Sound, Rng::new(seed).fork("friend")).expect("a new store");
    let mut world = World {
        rng,
        flaw,
        device_disk,
        relay_disk,
        device: Some(device),
        relay: Some(relay),
        friend,
        _friend_disk: friend_disk,
        clock_ms: 0,
        history: History { seed, ..History::default() },
        held_by_peer: Vec::new(),
        known: BTreeSet::new(),
    };
    world.note();
    world.live();
    world.finish()
}

impl World {
    fn now(&mut self) -> Now {
        self.clock_ms += self.rng.range(1..400);
        Now { mono_ms: self.clock_ms, wall_ms: 1_700_000_000_000 + self.clock_ms }
    }

    fn device(&mut self) -> &mut Node {
        self.device.as_mut().expect("open between restarts")
    }

    /// From here on everything that is committed now is promised. Returns the mark.
    fn note(&mut self) -> u64 {
        let position = |log: &Reader| log.cursor().expect("cursor").position;
        let fact = Fact {
            device: self.device.as_ref().map_or(0, |node| position(node.log())),
            relay: self.relay.as_ref().map_or(0, |relay| position(relay.log())),
        };
        self.push(fact)
    }

    fn push(&mut self, fact: Fact) -> u64 {
        let last = self.history.facts.last().copied().unwrap_or_default();
        self.history.facts.push(Fact { device: fact.device.max(last.device), relay: fact.relay.max(last.relay) });
        let mark = self.history.facts.len() as u64 - 1;
        self.device_disk.mark(mark);
        self.relay_disk.mark(mark);
        mark
    }

    /// Own sends: what they return is promised once they return; with the flaw, before.
    fn send(&mut self, conversation: ConversationId, count: u64) {
        let texts: Vec<String> =
            (0..count).map(|i| format!("{} {i} {}", self.clock_ms, "x".repeat(self.rng.index(90)))).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let now = self.now();
        let early = self.history.facts.last().copied().map(|fact| self.push(fact));
        let sent = self.device().send(conversation, &texts, now).expect("send");
        let late = self.note();
        if self.flaw == Flaw::SendFirst
            && let Some(early) = early
        {
            self.history.facts[early as usize].device = self.history.facts[late as usize].device;
            for op in &sent {
                self.held_by_peer.push((early, op.id));
            }
        }
        let from = if self.flaw == Flaw::SendFirst { early.unwrap_or(late) } else { late };
        self.history.returned.extend(sent.iter().map(|op| (from, op.id)));
    }

    fn live(&mut self) {
        let now = self.now();
        let founded = self.device().create("Harbour crew", Kind::Group, now).expect("create");
        self.note();
        self.history.founded = founded;
        let now = self.now();
        let invitation = self.device().invite(Some(founded), 1, 0, now).expect("invite");
        self.note();
        let now = self.now();
        self.friend.accept(&invitation, now).expect("accept");
        let mut second = None;
        let steps = self.rng.range(26..38);
        for step in 0..steps {
            match self.rng.below(100) {
                0..30 => {
                    let count = self.rng.range(1..5);
                    self.send(founded, count);
                }
                30..55 => {
                    let frames = if self.rng.chance(400) { self.rng.range(1..12) } else { 10_000 };
                    self.meet(true, frames);
                }
                55..70 => {
                    for _ in 0..self.rng.range(1..6) {
                        let now = self.now();
                        self.friend.send(founded, &["from the other side"], now).expect("send");
                    }
                    let frames = if self.rng.chance(200) { self.rng.range(1..12) } else { 10_000 };
                    self.meet(false, frames);
                }
                70..77 => {
                    let lines: Vec<Line> = (0..self.rng.range(1..30))
                        .map(|i| Line {
                            time_ms: 1_600_000_000_000 + step * 1000 + i,
                            who: "ann".into(),
                            text: format!("old {step} {i}"),
                        })
                        .collect();
                    let now = self.now();
                    self.device().import(founded, &lines, now, |_| ()).expect("import");
                    self.note();
                }
                77..83 => {
                    self.device().messages(&founded, 20, None, true).expect("messages");
                }
                83..88 => {
                    let pragma = *self.rng.pick(&["PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_checkpoint(PASSIVE)"]);
                    let log = if self.rng.chance(500) {
                        self.device.as_ref().map(|node| node.log() as &Reader)
                    } else {
                        self.relay.as_ref().map(|relay| relay.log() as &Reader)
                    };
                    let db = log.expect("open between restarts").connection().expect("a sound log");
                    db.query_row(pragma, [], |_| Ok(())).expect("checkpoint");
                }
                88..94 => self.restart_device(),
                94..97 => self.restart_relay(),
                _ => {
                    // A conversation that the friend founds and the device joins.
                    if second.is_none() {
                        let (one, two, three) = (self.now(), self.now(), self.now());
                        let other = self.friend.create("Nets", Kind::Group, one).expect("create");
                        let invitation = self.friend.invite(Some(other), 1, 0, two).expect("invite");
                        self.history.invitation = Some(invitation.clone());
                        self.device().accept(&invitation, three).expect("accept");
                        self.note();
                        second = Some(other);
                        self.send(other, 1);
                    }
                }
            }
        }
        self.meet(true, 10_000);
        self.send(founded, 2);
    }

    fn restart_device(&mut self) {
        let node = self.device.take().expect("open between restarts");
        let in_order = self.rng.chance(600);
        if in_order {
            node.close().expect("close");
        } else {
            drop(node);
        }
        let rng = self.rng.fork(&format!("restart {}", self.clock_ms));
        self.device = Some(open_node(&self.device_disk, 1, in_order, self.flaw, rng).expect("reopen"));
    }

    fn restart_relay(&mut self) {
        let relay = self.relay.take().expect("open between restarts");
        if self.rng.chance(500) {
            relay.close().expect("close");
        } else {
            drop(relay);
        }
        self.relay = Some(open_relay(&self.relay_disk, self.flaw, 5).expect("reopen"));
    }

    /// The device or the friend meets the relay; the connection is lost after so many frames.
    fn meet(&mut self, device: bool, frames_max: u64) {
        let (conn, now) = (ConnId(self.clock_ms + 1), self.now());
        let (one, two) = (self.rng.bytes(), self.rng.bytes());
        let mut node = if device { self.device.take() } else { None };
        let mut relay = self.relay.take().expect("open between restarts");
        let mut frames = 0;
        {
            let node = node.as_mut().unwrap_or(&mut self.friend);
            node.replica().connect(conn, link(true, one), now);
        }
        relay.connect(conn, link(false, two), now);
        loop {
            let before = frames;
            // Frames of the device: nothing may leave before it is durable, so what is committed now is promised now.
            let mut to_relay = Vec::new();
            {
                let node = node.as_mut().unwrap_or(&mut self.friend);
                node.replica().fold_mut().set_now(now.wall_ms);
                node.replica().flush(now).expect("flush");
                while let Some(output) = node.replica().poll() {
                    if let Output::Send { frame, .. } = output {
                        to_relay.push(frame);
                    }
                }
            }
            for frame in to_relay {
                let mark = self.note_with(node.as_ref(), &relay);
                if frames >= frames_max {
                    break;
                }
                frames += 1;
                relay.receive(conn, &frame, now);
                if self.rng.chance(700) {
                    relay.flush(now).expect("flush");
                }
                self.remember(&relay, mark);
            }
            relay.flush(now).expect("flush");
            let mark = self.note_with(node.as_ref(), &relay);
            self.remember(&relay, mark);
            let mut to_node = Vec::new();
            while let Some(output) = relay.poll() {
                if let Output::Send { frame, .. } = output {
                    to_node.push(frame);
                }
            }
            for frame in to_node {
                if frames >= frames_max {
                    break;
                }
                frames += 1;
                let node = node.as_mut().unwrap_or(&mut self.friend);
                node.replica().receive(conn, &frame, now);
                if self.rng.chance(300) {
                    node.replica().flush(now).expect("flush");
                }
            }
            if frames == before || frames >= frames_max {
                break;
            }
        }
        let end = node.as_mut().unwrap_or(&mut self.friend);
        end.replica().disconnected(conn);
        while end.replica().poll().is_some() {}
        relay.disconnected(conn);
        while relay.poll().is_some() {}
        if device {
            self.device = node;
        }
        self.relay = Some(relay);
    }

    fn note_with(&mut self, node: Option<&Node>, relay: &Replica<NoFold>) -> u64 {
        let position = |log: &Reader| log.cursor().expect("cursor").position;
        let device = node.or(self.device.as_ref()).map_or(0, |node| position(node.log()));
        self.push(Fact { device, relay: position(relay.log()) })
    }

    /// A peer remembers what it was sent: everything in the relay's log.
    fn remember(&mut self, relay: &Replica<NoFold>, mark: u64) {
        let from = self.known.len() as u64;
        let db = relay.log().connection().expect("a sound log");
        let mut statement = db.prepare_cached("SELECT id FROM op WHERE arrival > ?1").expect("sql");
        // What is known came in order of arrival, so the count is the last arrival looked at.
        let ids = statement.query_map([from as i64], |row| row.get::<_, [u8; 32]>(0)).expect("sql");
        for id in ids {
            let id = OpId(id.expect("a row"));
            if self.known.insert(id) {
                self.held_by_peer.push((mark, id));
            }
        }
    }

    fn finish(mut self) -> Recorded {
        self.note();
        let node = self.device.take().expect("open between restarts");
        let relay = self.relay.take().expect("open between restarts");
        self.history.device = order(node.log());
        self.history.relay = order(relay.log());
        node.close().expect("close");
        relay.close().expect("close");
        let own: BTreeMap<OpId, Entry> = self
            .history
            .device
            .iter()
            .filter(|entry| entry.author == device_id())
            .map(|entry| (entry.id, *entry))
            .collect();
        let place = |(mark, id): &(u64, OpId)| own.get(id).map(|entry| (*mark, entry.log, entry.seq));
        self.history.left = self.held_by_peer.iter().filter_map(place).collect();
        Recorded {
            history: self.history,
            device: self.device_disk.stop_recording(),
            relay: self.relay_disk.stop_recording(),
        }
    }
}
