//! What a hostile device can do to a relay and to a member's device, both with real stores: nothing that is not named,
//! nothing that changes what others hold, and nothing from which a stranger learns that a conversation exists.
//!
//! Here: the stage, that is an honest member, a relay that holds what she wrote, and dumps of what they hold. `peer`
//! speaks the protocol by hand, `writer` writes ops by hand; the attacks are in `forged`, `future`, `wire`, `equal` and
//! `stranger`. Not here: what takes no store to show (`crates/proto/tests/session`), questions of a stranger over a real
//! socket (`crates/relay/tests/relay/access.rs`).

mod equal;
mod forged;
mod future;
mod peer;
mod stranger;
mod wire;
mod writer;

use peer::{Peer, Told};
use suite::pair;
use tombolo_identity::{AccountKey, DeviceKey, InviteKey};
use tombolo_model::{Control, ConversationId, Header, Hlc, LogId, Op, OpId};
use tombolo_oplog::rusqlite::types::Value;
use tombolo_oplog::rusqlite::{Connection, Error, OpenFlags, Transaction};
use tombolo_oplog::{Delivered, Fold, Log, NoFold, Open};
use tombolo_replica::{ConnId, Draft, Event, Link, Now, Replica, Rest, Scope, Tools};
use writer::Writer;

const WALL_MS: u64 = 1_700_000_000_000;
const ALICE: u8 = 1;
const MALLORY: u8 = 66;
const RELAY: u8 = 99;

fn now(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: WALL_MS + ms }
}

fn key(seed: u8) -> DeviceKey {
    DeviceKey::from_seed([seed; 32])
}

fn account(seed: u8) -> AccountKey {
    AccountKey::from_seed([seed; 32])
}

fn link(initiator: bool, nonce: [u8; 32], scope: Scope) -> Link {
    Link { initiator, expected: None, binding: vec![], nonce, scope, tools: Tools::ALL }
}

fn to_relay() -> Scope {
    Scope::Relay { url: "ws://relay".into(), all: true }
}

/// Counts what is shown.
#[derive(Default)]
struct Shown(Vec<OpId>);

impl Fold for Shown {
    fn deliver(&mut self, _: &Transaction<'_>, delivered: &Delivered<'_>) -> Result<(), Error> {
        self.0.push(delivered.op.id);
        Ok(())
    }
}

type Device = Replica<Shown>;

struct Stage {
    folder: tempfile::TempDir,
    relay: Replica<NoFold>,
    alice: Device,
    conversation: ConversationId,
    invite: InviteKey,
    invite_op: (OpId, Hlc),
    conns: u64,
}

impl Stage {
    /// Alice has founded a conversation, made an invitation for `uses`, written a little, and a relay holds all of it.
    fn new(uses: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut alice = device(folder.path(), ALICE);
        let log = Log::open(Open::new(folder.path().join("relay"), u64::from(RELAY))).unwrap();
        let relay = Replica::new(log, key(RELAY), NoFold);
        let conversation = found(&mut alice, 7);
        let invite = InviteKey::from_seed([50; 32]);
        let made = Draft::Clear(Box::new(Control::Invite { key: invite.public(), uses, expires_ms: 0 }));
        let made = alice.write(Some(conversation), &[made], LogId([1; 8]), now(2)).unwrap();
        for number in 0..5 {
            say(&mut alice, conversation, &[number; 60], 3);
        }
        let invite_op = (made[0].id, made[0].hlc);
        let mut stage = Self { folder, relay, alice, conversation, invite, invite_op, conns: 0 };
        stage.sync_alice(10);
        settle(&mut stage.relay, 11);
        settle(&mut stage.alice, 11);
        stage
    }

    fn conn(&mut self) -> ConnId {
        self.conns += 1;
        ConnId(self.conns)
    }

    /// Alice and the relay exchange everything and prove that they are equal. No other connection may be open.
    fn sync_alice(&mut self, ms: u64) {
        let conn = self.conn();
        let (here, there) = (link(true, [conn.0 as u8; 32], to_relay()), link(false, [200; 32], Scope::Members));
        let ran = pair::run((&mut self.alice, here), (&mut self.relay, there), conn, now(ms));
        assert!(ran.one.fault.is_none() && ran.two.fault.is_none(), "{:?} {:?}", ran.one.fault, ran.two.fault);
        assert!(self.alice.state(conn).unwrap().unwrap().proven);
        self.alice.disconnected(conn);
        self.relay.disconnected(conn);
    }

    /// A device with this seed connects to the relay, authenticates, and has nothing.
    fn meet(&mut self, seed: u8) -> Peer {
        let conn = self.conn();
        let mut peer = Peer::dial(&mut self.relay, conn, seed, [seed; 32], now(20));
        let resume = peer.nothing();
        let told = peer.say(&mut self.relay, &resume, now(20));
        assert!(told.fault.is_none(), "{told:?}");
        peer
    }

    /// Mallory has used the invitation and is a member, as relay and Alice know. Takes no connection.
    fn mallory(&mut self) -> Writer {
        let mut writer = Writer::new(MALLORY, self.conversation);
        let join = writer.join(&self.invite, self.invite_op);
        let mut peer = self.meet(MALLORY);
        let told = peer.batch(&mut self.relay, &[join], now(30));
        assert_eq!((told.code(), told.refused()), (None, vec![]), "the join is taken");
        self.relay.disconnected(peer.conn);
        self.sync_alice(31);
        settle(&mut self.relay, 32);
        settle(&mut self.alice, 32);
        writer
    }

    fn ops(&self) -> u64 {
        self.relay.log().conversation(&self.conversation).unwrap().unwrap().ops
    }

    /// Alice's ops as she wrote them.
    fn alices(&self, conversation: &ConversationId) -> Vec<Op> {
        let heights = self.alice.log().heights(conversation).unwrap();
        let height = heights.iter().find(|height| height.author == key(ALICE).id()).unwrap();
        self.alice.log().run(conversation, &height.author, &height.log, 1, height.max, 99).unwrap()
    }
}

fn device(folder: &std::path::Path, seed: u8) -> Device {
    let log = Log::open(Open::new(folder.join(format!("{seed}")), u64::from(seed))).unwrap();
    Replica::new(log, key(seed), Shown::default())
}

fn found(device: &mut Device, salt: u8) -> ConversationId {
    let certificate = account(ALICE).certify(device.device(), 1);
    let kind = tombolo_model::control::Kind::Group;
    let genesis = Control::Genesis { certificate, kind, salt: [salt; 16], relays: vec![] };
    device.write(None, &[Draft::Clear(Box::new(genesis))], LogId([1; 8]), now(1)).unwrap()[0].conversation
}

fn say(device: &mut Device, conversation: ConversationId, text: &[u8], ms: u64) -> OpId {
    let seal = |_: &Header| Ok(text.to_vec());
    let draft = Draft::Sealed { len: text.len(), seal: &seal, rest: Rest::default() };
    device.write(Some(conversation), &[draft], LogId([9; 8]), now(ms)).unwrap()[0].id
}

/// Every row of every table but those in `but`, read by plain SQL through a connection of its own.
fn dump<F: Fold>(replica: &Replica<F>, but: &[&str]) -> Dump {
    let conn = Connection::open_with_flags(replica.log().path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut tables = conn.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(tables.len() > 15, "the log's tables are there");
    let mut rows = Vec::new();
    for table in tables.iter().filter(|table| !but.contains(&table.as_str())) {
        let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let read = statement
            .query_map([], |row| (0..columns).map(|at| row.get::<_, Value>(at)).collect::<Result<Vec<_>, _>>())
            .unwrap();
        let mut found: Vec<String> = read.map(|row| format!("{table} {:?}", row.unwrap())).collect();
        found.sort();
        rows.append(&mut found);
    }
    Dump(rows)
}

#[derive(PartialEq, Eq)]
struct Dump(Vec<String>);

impl Dump {
    /// Fails unless the store is as it was, and says which rows are not.
    fn is_still_that_of<F: Fold>(&self, replica: &Replica<F>, but: &[&str], what: &str) {
        let Self(after) = dump(replica, but);
        let gone: Vec<&String> = self.0.iter().filter(|row| !after.contains(row)).collect();
        let come: Vec<&String> = after.iter().filter(|row| !self.0.contains(row)).collect();
        assert!(gone.is_empty() && come.is_empty(), "{what}: gone are {gone:?}, come are {come:?}");
        assert_eq!(after.len(), self.0.len(), "{what}");
    }
}

/// What is remembered of peers may change with whatever a member says: how far it was read.
const PEER_MARKS: &[&str] = &["peer", "proven"];

/// What was proven with a peer and what it acknowledged, as it is on the disk.
fn claims<F: Fold>(replica: &mut Replica<F>, peer: u8, ms: u64) -> (u64, Vec<(u64, u64)>) {
    settle(replica, ms);
    let device = key(peer).id();
    let acked = replica.log().peer(&device).unwrap().map_or(0, |peer| peer.acked);
    let rows = replica.log().conversations().unwrap().into_iter();
    let proven = rows.flat_map(|row| replica.log().proven(&row.id).unwrap()).filter(|proven| proven.peer == device);
    (acked, proven.map(|proven| (proven.position, proven.at_ms)).collect())
}

/// Marks wait for a second before they go to the disk.
fn settle<F: Fold>(replica: &mut Replica<F>, ms: u64) {
    replica.tick(now(ms)).unwrap();
    replica.tick(now(ms + 1_100)).unwrap();
}

fn stored(told: &Told) -> usize {
    told.events.iter().filter(|event| matches!(event, Event::Stored { .. } | Event::Granted { .. })).count()
}
