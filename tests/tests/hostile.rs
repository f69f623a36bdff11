//! What a hostile device can do to a relay and to a member with real logs: nothing that is not named, nothing that
//! changes what others hold, and nothing from which a stranger learns that a conversation exists.

use suite::pair;
use tombolo_identity::{AccountKey, DeviceKey, InviteKey, sign_op};
use tombolo_model::control::Kind;
use tombolo_model::hlc::DRIFT_MS_MAX;
use tombolo_model::op::VERSION;
use tombolo_model::{BodyHash, Class, Control, ConversationId, DeviceId, Header, Hlc, LogId, Op, OpId};
use tombolo_oplog::{Delivered, Fold, Log, NoFold, Open};
use tombolo_proto::frame::{Ack, Batch};
use tombolo_proto::{Frame, Refusal, Tool, batch};
use tombolo_replica::{ConnId, Draft, Event, Link, Now, Output, Replica, Scope, Tools, Zstd};

const WALL_MS: u64 = 1_700_000_000_000;

fn now(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: WALL_MS + ms }
}

/// Counts what is shown.
#[derive(Default)]
struct Shown(Vec<OpId>);

impl Fold for Shown {
    fn deliver(
        &mut self,
        _: &tombolo_oplog::rusqlite::Transaction<'_>,
        delivered: &Delivered<'_>,
    ) -> Result<(), tombolo_oplog::rusqlite::Error> {
        self.0.push(delivered.op.id);
        Ok(())
    }
}

struct Person {
    account: AccountKey,
    replica: Replica<Shown>,
}

struct Stage {
    folder: tempfile::TempDir,
    relay: Replica<NoFold>,
    alice: Person,
    conversation: ConversationId,
    invite: InviteKey,
    invite_op: (OpId, Hlc),
    conns: u64,
}

fn key(seed: u8) -> DeviceKey {
    DeviceKey::from_seed([seed; 32])
}

fn person(folder: &std::path::Path, seed: u8) -> Person {
    let log = Log::open(Open::new(folder.join(format!("{seed}")), u64::from(seed))).unwrap();
    Person { account: AccountKey::from_seed([seed; 32]), replica: Replica::new(log, key(seed), Shown::default()) }
}

impl Person {
    fn certificate(&self) -> tombolo_model::control::Certificate {
        self.account.certify(self.replica.device(), 1)
    }

    fn say(&mut self, conversation: ConversationId, text: &[u8], now: Now) -> OpId {
        let seal = |_: &Header| Ok(text.to_vec());
        let draft = Draft::Sealed { len: text.len(), seal: &seal };
        self.replica.write(Some(conversation), &[draft], LogId([9; 8]), now).unwrap()[0].id
    }
}

impl Stage {
    /// Alice has founded a conversation, made an invitation for `uses`, written a little, and a relay holds all of it.
    fn new(uses: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut alice = person(folder.path(), 1);
        let relay = Replica::new(Log::open(Open::new(folder.path().join("relay"), 99)).unwrap(), key(99), NoFold);
        let genesis =
            Control::Genesis { certificate: alice.certificate(), kind: Kind::Group, salt: [7; 16], relays: vec![] };
        let written = alice.replica.write(None, &[Draft::Clear(Box::new(genesis))], LogId([1; 8]), now(1)).unwrap();
        let conversation = written[0].conversation;
        let invite = InviteKey::from_seed([50; 32]);
        let made = Control::Invite { key: invite.public(), uses, expires_ms: 0 };
        let made =
            alice.replica.write(Some(conversation), &[Draft::Clear(Box::new(made))], LogId([1; 8]), now(2)).unwrap();
        for number in 0..5 {
            alice.say(conversation, &[number; 60], now(3));
        }
        let invite_op = (made[0].id, made[0].hlc);
        let mut stage = Self { folder, relay, alice, conversation, invite, invite_op, conns: 0 };
        stage.sync_alice(10);
        stage
    }

    fn sync_alice(&mut self, ms: u64) {
        self.conns += 1;
        let conn = ConnId(self.conns);
        let scope = Scope::Relay { url: "ws://relay".into(), all: true };
        let links = links(self.conns as u8, scope);
        let ran = pair::run((&mut self.alice.replica, links.0), (&mut self.relay, links.1), conn, now(ms));
        assert!(ran.one.fault.is_none() && ran.two.fault.is_none(), "{:?} {:?}", ran.one.fault, ran.two.fault);
        self.alice.replica.disconnected(conn);
        self.relay.disconnected(conn);
    }

    /// A connection from a device that is authenticated and has said nothing else.
    fn meet(&mut self, seed: u8) -> ConnId {
        self.conns += 1;
        let conn = ConnId(self.conns);
        let mut device = person(self.folder.path(), seed);
        let links = links(self.conns as u8, Scope::Members);
        let ran = pair::run((&mut device.replica, links.0), (&mut self.relay, links.1), conn, now(20));
        assert!(ran.two.fault.is_none());
        conn
    }

    /// Feeds frames to the relay; returns what it answers on that connection and the fault that ended it, if any.
    fn tell(&mut self, conn: ConnId, frames: &[Vec<u8>], ms: u64) -> Told {
        let mut told = Told::default();
        for frame in frames {
            self.relay.receive(conn, frame, now(ms));
            self.relay.flush(now(ms)).unwrap();
            while let Some(output) = self.relay.poll() {
                match output {
                    Output::Send { conn: to, frame } if to == conn => {
                        told.frames.push(Frame::from_bytes(&frame).unwrap())
                    }
                    Output::Close { conn: to, fault } if to == conn => told.fault = Some(fault.code()),
                    Output::Event(event) => told.events.push(event),
                    _ => {}
                }
            }
        }
        told
    }

    /// Mallory is a member; the relay knows it.
    fn mallory(&mut self) -> (ConnId, Writer) {
        let conn = self.meet(66);
        let mut writer = Writer::new(66, self.conversation);
        let join = writer.join(&self.invite, self.invite_op);
        let told = self.tell(conn, &[batch_of(1, &[join])], 30);
        assert_eq!((told.fault, told.refused()), (None, vec![]), "the join is taken");
        (conn, writer)
    }

    fn ops(&self) -> u64 {
        self.relay.log().conversation(&self.conversation).unwrap().unwrap().ops
    }
}

fn links(nonce: u8, scope: Scope) -> (Link, Link) {
    let link = |initiator, nonce: [u8; 32], scope| Link {
        initiator,
        expected: None,
        binding: vec![],
        nonce,
        scope,
        tools: Tools::ALL,
    };
    (link(true, [nonce; 32], scope), link(false, [nonce ^ 0x80; 32], Scope::Members))
}

#[derive(Debug, Default)]
struct Told {
    frames: Vec<Frame>,
    fault: Option<&'static str>,
    events: Vec<Event>,
}

impl Told {
    fn refused(&self) -> Vec<Refusal> {
        let acks = self.frames.iter().filter_map(|frame| if let Frame::Ack(ack) = frame { Some(ack) } else { None });
        acks.flat_map(|ack| ack.refused.iter().map(|(_, refusal)| *refusal)).collect()
    }
}

fn batch_of(number: u64, ops: &[Op]) -> Vec<u8> {
    batch_with(number, ops, Tool::Heights)
}

fn batch_with(number: u64, ops: &[Op], tool: Tool) -> Vec<u8> {
    Frame::Batch(Batch { number, tool, through: None, ops: batch::encode(ops, &Zstd) }).to_bytes()
}

/// Writes ops by hand, as a hostile program would.
struct Writer {
    key: DeviceKey,
    account: AccountKey,
    conversation: ConversationId,
    seq: u64,
    prev: OpId,
    log: LogId,
}

impl Writer {
    fn new(seed: u8, conversation: ConversationId) -> Self {
        let account = AccountKey::from_seed([seed; 32]);
        Self { key: key(seed), account, conversation, seq: 0, prev: OpId::ZERO, log: LogId([seed; 8]) }
    }

    fn header(&self, class: Class, hlc: Hlc) -> Header {
        Header {
            version: VERSION,
            class,
            conversation: self.conversation,
            author: self.key.id(),
            log: self.log,
            seq: self.seq + 1,
            prev: self.prev,
            hlc,
            epoch: 0,
            expires_ms: 0,
            parents: vec![],
            erases: vec![],
            extension: vec![],
            body_len: 0,
            body_hash: BodyHash::default(),
        }
    }

    fn next(&mut self, op: Op) -> Op {
        (self.seq, self.prev) = (op.header.seq, op.id);
        op
    }

    fn say(&mut self, hlc_ms: u64) -> Op {
        let header = self.header(Class::Content, Hlc::new(hlc_ms, self.seq as u16));
        let op = sign_op(header, &self.key, vec![self.seq as u8; 40]);
        self.next(op)
    }

    fn join(&mut self, invite: &InviteKey, op: (OpId, Hlc)) -> Op {
        let certificate = self.account.certify(self.key.id(), 1);
        let proof = invite.prove(&self.conversation, &certificate);
        let join = Control::Join { certificate, invite: invite.public(), proof, relays: vec![] };
        let mut header = self.header(Class::Control, Hlc::new(op.1.ms() + 1, 0));
        header.parents = vec![op.0];
        let op = sign_op(header, &self.key, join.to_bytes());
        self.next(op)
    }
}

#[test]
fn forged_broken_and_unsigned_ops_end_the_session_and_change_nothing() {
    let alice = key(1).id();
    type Forge = fn(&mut Writer, DeviceId) -> Vec<Op>;
    let forgeries: [(&str, Forge); 6] = [
        ("another author's name", |mallory, alice| {
            let mut header = mallory.header(Class::Content, Hlc::new(WALL_MS, 0));
            (header.author, header.log, header.seq, header.prev) = (alice, LogId([77; 8]), 1, OpId::ZERO);
            header.body_hash = BodyHash::of(b"forged");
            header.body_len = 6;
            let mut op = Op::new(header, None, Some(b"forged".to_vec()));
            // The best that Mallory can do: his own signature.
            op.signature = mallory.say(WALL_MS).signature;
            vec![op]
        }),
        ("a signature for something else", |mallory, _| {
            let other = mallory.say(WALL_MS);
            let mut op = mallory.say(WALL_MS);
            op.signature = other.signature;
            vec![op]
        }),
        ("a chain that is broken", |mallory, _| {
            let mut first = mallory.say(WALL_MS);
            first.signature = None;
            mallory.prev = OpId([5; 32]);
            vec![first, mallory.say(WALL_MS)]
        }),
        ("an end that nobody signed", |mallory, _| {
            let first = mallory.say(WALL_MS);
            let mut second = mallory.say(WALL_MS);
            second.signature = None;
            vec![first, second]
        }),
        ("a body that is not the one", |mallory, _| {
            let mut op = mallory.say(WALL_MS);
            op.body = Some(vec![1; 40]);
            vec![op]
        }),
        ("a control op that is none", |mallory, _| {
            let certificate = AccountKey::from_seed([8; 32]).certify(key(9).id(), 1);
            let mut certificate = certificate;
            certificate.signature[3] ^= 1;
            let body = Control::Device { certificate }.to_bytes();
            let header = mallory.header(Class::Control, Hlc::new(WALL_MS, 0));
            vec![sign_op(header, &mallory.key, body)]
        }),
    ];
    for (what, forge) in forgeries {
        let mut stage = Stage::new(1);
        let (conn, mut mallory) = stage.mallory();
        let before = (stage.ops(), stage.relay.log().cursor().unwrap());
        let ops = forge(&mut mallory, alice);
        let told = stage.tell(conn, &[batch_of(2, &ops)], 40);
        assert_eq!(told.fault, Some("op_forged"), "{what}");
        assert!(!told.frames.iter().any(|frame| matches!(frame, Frame::Ack(_))), "{what}: not acknowledged");
        assert_eq!((stage.ops(), stage.relay.log().cursor().unwrap()), before, "{what}");
    }
}

#[test]
fn what_comes_behind_a_forgery_is_not_stored() {
    let mut stage = Stage::new(1);
    let (conn, mut mallory) = stage.mallory();
    let before = stage.ops();
    let mut unsigned = mallory.say(WALL_MS);
    unsigned.signature = None;
    mallory.log = LogId([78; 8]);
    (mallory.seq, mallory.prev) = (0, OpId::ZERO);
    let sound = mallory.say(WALL_MS);
    stage.relay.receive(conn, &batch_of(2, &[unsigned]), now(40));
    stage.relay.receive(conn, &batch_of(3, &[sound]), now(40));
    stage.relay.flush(now(40)).unwrap();
    assert_eq!(stage.ops(), before);
}

#[test]
fn an_op_from_the_far_future_is_kept_but_neither_shown_nor_anybodys_parent() {
    let mut stage = Stage::new(1);
    let (conn, mut mallory) = stage.mallory();
    let ahead_ms = DRIFT_MS_MAX + 3_600_000;
    let early = mallory.say(WALL_MS + ahead_ms);
    let told = stage.tell(conn, &[batch_of(2, std::slice::from_ref(&early))], 40);
    assert_eq!((told.fault, told.refused()), (None, vec![]));
    stage.sync_alice(50);
    assert!(stage.alice.replica.log().has(&stage.conversation, &early.id).unwrap(), "it is in the set");
    assert!(!stage.alice.replica.fold().0.contains(&early.id), "it is not shown");
    let own = stage.alice.say(stage.conversation, b"now", now(60));
    let own = stage.alice.replica.log().op(&stage.conversation, &own).unwrap().unwrap();
    assert!(!own.header.depends_on().any(|id| *id == early.id), "nobody's parent");
    assert!(own.header.hlc.ms() <= WALL_MS + 61, "and no clock follows it");
    stage.sync_alice(70);
    // Its time comes.
    stage.alice.replica.tick(now(ahead_ms + 1)).unwrap();
    assert!(stage.alice.replica.fold().0.contains(&early.id));
}

#[test]
fn a_used_up_invitation_is_named_whatever_follows_the_join() {
    let mut stage = Stage::new(1);
    stage.mallory();
    let conn = stage.meet(67);
    let mut second = Writer::new(67, stage.conversation);
    let join = second.join(&stage.invite, stage.invite_op);
    let told = stage.tell(conn, &[batch_of(1, &[join, second.say(WALL_MS)])], 40);
    assert_eq!((told.fault, told.refused()), (None, vec![Refusal::InviteUsedUp]));
    assert!(!stage.relay.log().is_member(&stage.conversation, &second.key.id()).unwrap());
}

#[test]
fn an_op_that_comes_before_what_authorises_it_holds_nothing_up() {
    let mut stage = Stage::new(2);
    let (conn, mut mallory) = stage.mallory();
    // Found by a search, which knows no order: a newcomer's words first, then its join.
    let mut newcomer = Writer::new(70, stage.conversation);
    let join = newcomer.join(&stage.invite, stage.invite_op);
    let words = newcomer.say(WALL_MS);
    let before = stage.ops();
    let told = stage.tell(conn, &[batch_with(2, std::slice::from_ref(&words), Tool::Sketch)], 40);
    assert_eq!((told.fault, told.refused()), (None, vec![]));
    assert_eq!(stage.ops(), before, "it waits aside, uncounted");
    let told = stage.tell(conn, &[batch_with(3, &[join, mallory.say(WALL_MS)], Tool::Sketch)], 41);
    assert_eq!((told.fault, told.refused()), (None, vec![]));
    assert_eq!(stage.ops(), before + 3);
    assert!(stage.relay.log().has(&stage.conversation, &words.id).unwrap());
}

#[test]
fn presence_of_a_stranger_reaches_nobody() {
    let mut stage = Stage::new(1);
    let (member, _) = stage.mallory();
    let stranger = stage.meet(80);
    let frame = Frame::Presence { conversation: stage.conversation, payload: vec![1, 2, 3] }.to_bytes();
    let told = stage.tell(stranger, std::slice::from_ref(&frame), 40);
    assert!(told.fault.is_none() && told.events.is_empty(), "{told:?}");
    let told = stage.tell(member, &[frame], 41);
    assert!(told.events.iter().any(|event| matches!(event, Event::Presence { .. })), "a member's is passed on");
}

/// Everything that a stranger tries on a conversation, and what it hears, with the id and signatures blanked.
fn probe(stage: &mut Stage, conversation: ConversationId, known: &[Op]) -> Vec<Frame> {
    let conn = stage.meet(90);
    let mut heard = Vec::new();
    let mut number = 0;
    let mut send = |stage: &mut Stage, ops: &[Op]| {
        number += 1;
        let told = stage.tell(conn, &[batch_of(number, ops)], 50);
        if let Some(fault) = told.fault {
            heard.push(Frame::Bye { code: fault.into(), words: String::new() });
        }
        assert!(told.events.iter().all(|event| matches!(event, Event::Refused { .. })), "{:?}", told.events);
        heard.extend(told.frames.into_iter().map(|frame| match frame {
            Frame::Ack(ack) => {
                let blank = |(id, refusal): (ConversationId, Refusal)| {
                    (if id == conversation { ConversationId::ZERO } else { id }, refusal)
                };
                let refused = ack.refused.into_iter().map(blank).collect();
                Frame::Ack(Ack { number: ack.number, signature: tombolo_model::Signature([0; 64]), refused })
            }
            other => other,
        }));
    };
    let mut eve = Writer::new(90, conversation);
    send(stage, &[eve.say(WALL_MS)]);
    // More joins by a made-up invitation than strangers may wait.
    for turn in 0..300u64 {
        let mut eve = Writer::new(90, conversation);
        eve.log = LogId(turn.to_be_bytes());
        let made_up = InviteKey::from_seed([turn as u8; 32]);
        send(stage, &[eve.join(&made_up, (OpId([1; 32]), Hlc::new(WALL_MS + turn, 0)))]);
    }
    // Ops that really are there (or would be), as someone who saw them once could repeat them; unsigned ones too, since
    // what the relay holds would vouch for them.
    for op in known {
        send(stage, std::slice::from_ref(op));
    }
    heard
}

#[test]
fn a_stranger_cannot_tell_a_conversation_from_none() {
    let mut stage = Stage::new(1);
    let conversation = stage.conversation;
    let log = stage.alice.replica.log();
    let alice = log.heights(&conversation).unwrap()[0];
    let ops = log.run(&conversation, &alice.author, &alice.log, 1, 9, 9).unwrap();
    let mut unsigned = ops[2].clone();
    unsigned.signature = None;
    let known = [ops[0].clone(), ops[2].clone(), unsigned];
    let before = stage.ops();
    let about_real = probe(&mut stage, conversation, &known);
    assert_eq!(stage.ops(), before);
    // The same relay without that conversation.
    let mut empty = Stage::new(1);
    let log = Log::open(Open::new(empty.folder.path().join("empty relay"), 99)).unwrap();
    empty.relay = Replica::new(log, key(99), NoFold);
    let about_none = probe(&mut empty, conversation, &known);
    for (at, (real, none)) in about_real.iter().zip(&about_none).enumerate() {
        assert_eq!(real, none, "answer {at} tells them apart");
    }
    assert_eq!(about_real.len(), about_none.len());
    assert!(about_real.len() >= 301);
}
