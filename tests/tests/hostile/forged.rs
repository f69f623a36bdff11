//! Ops that are not what they say. The one who forges is a member: a stranger's ops are not even looked at that far.

use super::*;
use tombolo_identity::sign_op;
use tombolo_model::control::Certificate;
use tombolo_model::{BodyHash, Class, DeviceId};
use tombolo_proto::{Blame, Refusal, Tool};

type Forge = fn(&mut Writer) -> Vec<Op>;

const FORGERIES: &[(&str, Forge)] = &[
    ("another author's name over the own signature", |mallory| {
        let mut op = mallory.say(WALL_MS);
        let signature = op.signature;
        op.header.author = key(ALICE).id();
        (op.header.log, op.header.seq, op.header.prev) = (LogId([77; 8]), 1, OpId::ZERO);
        vec![Op::new(op.header, signature, op.body)]
    }),
    ("another author's name, signed by the own key over that very id", |mallory| {
        let mut header = mallory.header(Class::Content, Hlc::new(WALL_MS, 0));
        (header.author, header.log) = (key(ALICE).id(), LogId([77; 8]));
        (header.seq, header.prev) = (1, OpId::ZERO);
        vec![sign_by(header, &mallory.key, b"forged")]
    }),
    ("a signature for something else", |mallory| {
        let other = mallory.say(WALL_MS);
        let mut op = mallory.say(WALL_MS);
        op.signature = other.signature;
        vec![other, op]
    }),
    ("a signature with a bit turned", |mallory| {
        let mut op = mallory.say(WALL_MS);
        op.signature.as_mut().unwrap().0[40] ^= 1;
        vec![op]
    }),
    ("a chain that names another op", |mallory| {
        let mut first = mallory.say(WALL_MS);
        first.signature = None;
        mallory.prev = OpId([5; 32]);
        vec![first, mallory.say(WALL_MS)]
    }),
    ("an end that nobody signed", |mallory| {
        let first = mallory.say(WALL_MS);
        let mut second = mallory.say(WALL_MS);
        second.signature = None;
        vec![first, second]
    }),
    ("the body of another op", |mallory| {
        let mut op = mallory.say(WALL_MS);
        op.body = Some(vec![0xbb; 40]);
        vec![op]
    }),
    ("the body of another op, behind which the chain is signed", |mallory| {
        let mut first = mallory.say(WALL_MS);
        (first.signature, first.body) = (None, Some(vec![0xbb; 40]));
        vec![first, mallory.say(WALL_MS)]
    }),
    ("a body where the header says that there is none", |mallory| {
        let mut header = mallory.header(Class::Merge, Hlc::new(WALL_MS, 0));
        header.body_hash = BodyHash::of(b"something");
        let mut op = Op::new(header, None, None);
        op.signature =
            Some(tombolo_model::crypto::Signer::sign(&mallory.key, tombolo_model::crypto::DOMAIN_OP, &op.id.0));
        vec![op]
    }),
    ("a certificate that no account signed", |mallory| {
        let mut certificate = account(8).certify(key(9).id(), 1);
        certificate.signature[3] ^= 1;
        vec![mallory.control(&Control::Device { certificate }, Hlc::new(WALL_MS, 0), vec![])]
    }),
    ("a join that is another's", |mallory| {
        let certificate = account(8).certify(key(9).id(), 1);
        let proof = InviteKey::from_seed([50; 32]).prove(&mallory.conversation, &certificate);
        let invite = InviteKey::from_seed([50; 32]).public();
        let join = Control::Join { certificate, invite, proof, relays: vec![] };
        vec![mallory.control(&join, Hlc::new(WALL_MS, 0), vec![])]
    }),
    ("a join by an invitation whose secret it lacks", |mallory| {
        let certificate: Certificate = mallory.account.certify(mallory.key.id(), 1);
        let proof = InviteKey::from_seed([51; 32]).prove(&mallory.conversation, &certificate);
        let invite = InviteKey::from_seed([50; 32]).public();
        let join = Control::Join { certificate, invite, proof, relays: vec![] };
        vec![mallory.control(&join, Hlc::new(WALL_MS, 0), vec![])]
    }),
    ("a control op that is none", |mallory| {
        let header = mallory.header(Class::Control, Hlc::new(WALL_MS, 0));
        vec![sign_op(header, &mallory.key, vec![0xff; 30])]
    }),
];

/// Completes and signs a header whose author is somebody else.
fn sign_by(mut header: Header, signer: &DeviceKey, body: &[u8]) -> Op {
    use tombolo_model::crypto::{DOMAIN_OP, Signer as _};
    (header.body_len, header.body_hash) = (body.len() as u32, BodyHash::of(body));
    let mut op = Op::new(header, None, Some(body.to_vec()));
    op.signature = Some(signer.sign(DOMAIN_OP, &op.id.0));
    op
}

fn forge_against<F: Fold>(
    victim: &mut Replica<F>,
    conn: &mut dyn FnMut() -> ConnId,
    conversation: ConversationId,
    joined: &Op,
) {
    for (what, forge) in FORGERIES {
        let mut mallory = Writer::new(MALLORY, conversation);
        (mallory.seq, mallory.prev) = (1, joined.id);
        let ops = forge(&mut mallory);
        let mut peer = Peer::dial(victim, conn(), MALLORY, [3; 32], now(40));
        let resume = peer.nothing();
        peer.say(victim, &resume, now(40));
        let before = dump(victim, PEER_MARKS);
        let told = peer.batch(victim, &ops, now(40));
        let fault = told.fault.as_ref().map(|fault| (fault.code(), fault.blame()));
        assert_eq!(fault, Some(("op_forged", Blame::Peer)), "{what}");
        let said = told.read().last();
        assert!(
            matches!(&said, Some(Frame::Bye { code, .. }) if code == "op_forged"),
            "{what}: it is told so: {said:?}"
        );
        assert_eq!((told.acks(), stored(&told)), (0, 0), "{what}");
        // What comes behind a forgery is not looked at, sound or not.
        mallory.log = LogId([78; 8]);
        (mallory.seq, mallory.prev) = (0, OpId::ZERO);
        let sound = mallory.say(WALL_MS);
        let told = peer.batch(victim, &[sound], now(40));
        assert_eq!((told.frames.len(), stored(&told)), (0, 0), "{what}: the session is over");
        before.is_still_that_of(victim, PEER_MARKS, what);
        victim.disconnected(peer.conn);
    }
}

use tombolo_proto::Frame;

#[test]
fn forged_broken_and_unsigned_ops_end_the_session_and_change_nothing() {
    let mut stage = Stage::new(1);
    let mallory = stage.mallory();
    let conversation = stage.conversation;
    let joined = stage.relay.log().op(&conversation, &mallory.prev).unwrap().unwrap();
    let mut conns = 1_000;
    let mut conn = || {
        conns += 1;
        ConnId(conns)
    };
    forge_against(&mut stage.relay, &mut conn, conversation, &joined);
    forge_against(&mut stage.alice, &mut conn, conversation, &joined);
    assert_eq!(stage.alice.log().members(&conversation).unwrap().len(), 2, "nobody has come in");
}

#[test]
fn what_lies_queued_behind_a_forgery_is_not_stored() {
    let mut stage = Stage::new(1);
    let mut mallory = stage.mallory();
    let mut peer = stage.meet(MALLORY);
    let before = dump(&stage.relay, PEER_MARKS);
    let mut unsigned = mallory.say(WALL_MS);
    unsigned.signature = None;
    mallory.log = LogId([78; 8]);
    (mallory.seq, mallory.prev) = (0, OpId::ZERO);
    let sound = mallory.say(WALL_MS);
    for op in [unsigned, sound] {
        let frame = peer.next_batch(&[op], Tool::Heights).to_bytes();
        stage.relay.receive(peer.conn, &frame, now(40));
    }
    let told = peer::drain(&mut stage.relay, peer.conn, now(40));
    assert_eq!(told.code(), Some("op_forged"));
    before.is_still_that_of(&stage.relay, PEER_MARKS, "all in all");
}

/// So many that signatures are checked by two threads, some of them behind the forgery before it is judged.
#[test]
fn of_many_batches_those_before_a_forgery_are_stored_and_none_behind_it() {
    let mut stage = Stage::new(1);
    let mut mallory = stage.mallory();
    let mut peer = stage.meet(MALLORY);
    let before = stage.ops();
    for number in 0..6 {
        let mut ops: Vec<Op> = (0..100).map(|_| mallory.say(WALL_MS)).collect();
        if number == 3 {
            ops[98].signature.as_mut().unwrap().0[40] ^= 1;
            // Every 32nd and the last of a run travel with theirs: the run ends here.
            ops.truncate(99);
        }
        let frame = peer.next_batch(&ops, Tool::Heights).to_bytes();
        stage.relay.receive(peer.conn, &frame, now(40));
    }
    let told = peer::drain(&mut stage.relay, peer.conn, now(40));
    assert_eq!(told.code(), Some("op_forged"));
    assert_eq!(stage.ops(), before + 300);
    let log = stage.relay.log();
    let heights = log.heights(&stage.conversation).unwrap();
    let height = heights.iter().find(|height| height.author == key(MALLORY).id()).unwrap();
    assert_eq!(height.max, 301, "the join and three batches");
}

#[test]
fn a_forgery_costs_only_the_one_who_brought_it() {
    let mut stage = Stage::new(2);
    let mut mallory = stage.mallory();
    let (mut peer, mut other) = (stage.meet(MALLORY), stage.meet(70));
    let mut newcomer = Writer::new(70, stage.conversation);
    let join = newcomer.join(&stage.invite, stage.invite_op);
    let mut unsigned = mallory.say(WALL_MS);
    unsigned.signature = None;
    let (before, frame) = (stage.ops(), peer.next_batch(&[unsigned], Tool::Heights).to_bytes());
    stage.relay.receive(peer.conn, &frame, now(40));
    // In the same transaction, had the forgery been taken.
    let told = other.batch(&mut stage.relay, &[join], now(40));
    assert_eq!((told.code(), told.refused(), told.acks()), (None, vec![], 1));
    assert_eq!(stage.ops(), before + 1);
    // A member by now, in whose turn nothing is tried apart.
    let mut peer = stage.meet(MALLORY);
    let mut unsigned = mallory.say(WALL_MS);
    unsigned.signature = None;
    let (before, frame) = (stage.ops(), peer.next_batch(&[unsigned], Tool::Heights).to_bytes());
    stage.relay.receive(peer.conn, &frame, now(50));
    let told = other.batch(&mut stage.relay, &[newcomer.say(WALL_MS)], now(50));
    assert_eq!((told.code(), told.refused(), told.acks()), (None, vec![], 1));
    assert_eq!(stage.ops(), before + 1);
}

#[test]
fn a_used_up_invitation_is_named_whatever_follows_the_join_and_leaves_nothing() {
    let mut stage = Stage::new(1);
    stage.mallory();
    let mut peer = stage.meet(67);
    let mut second = Writer::new(67, stage.conversation);
    let join = second.join(&stage.invite, stage.invite_op);
    let before = dump(&stage.relay, &[]);
    let told = peer.batch(&mut stage.relay, &[join, second.say(WALL_MS)], now(40));
    assert_eq!((told.code(), told.refused()), (None, vec![Refusal::InviteUsedUp]));
    assert!(!stage.relay.log().is_member(&stage.conversation, &second.key.id()).unwrap());
    before.is_still_that_of(&stage.relay, &[], "all in all");
}

#[test]
fn whoever_comes_in_by_another_invitation_leaves_no_hole_behind() {
    let mut stage = Stage::new(1);
    stage.mallory();
    let again = InviteKey::from_seed([51; 32]);
    let made = Draft::Clear(Box::new(Control::Invite { key: again.public(), uses: 1, expires_ms: 0 }));
    let made = stage.alice.write(Some(stage.conversation), &[made], LogId([1; 8]), now(33)).unwrap()[0];
    stage.sync_alice(34);
    let before = stage.ops();
    let mut newcomer = Writer::new(67, stage.conversation);
    let unknown = newcomer.join(&InviteKey::from_seed([52; 32]), stage.invite_op);
    let words = newcomer.say(WALL_MS + 10);
    let used_up = newcomer.join(&stage.invite, (stage.invite_op.0, Hlc::new(WALL_MS + 20, 0)));
    let good = newcomer.join(&again, (made.id, Hlc::new(WALL_MS + 40, 0)));
    let mut peer = stage.meet(67);
    let told = peer.batch(&mut stage.relay, &[unknown, words, used_up, good], now(50));
    assert_eq!((told.code(), told.refused()), (None, vec![]));
    assert_eq!(stage.ops(), before + 4);
    stage.relay.disconnected(peer.conn);
    // Without the one in the middle nothing would vouch for the words.
    stage.sync_alice(60);
}

#[test]
fn an_op_that_comes_before_what_authorises_it_holds_nothing_up() {
    let mut stage = Stage::new(2);
    let mut mallory = stage.mallory();
    let mut peer = stage.meet(MALLORY);
    // Found by a search, which knows no order: a newcomer's words first, then its join.
    let mut newcomer = Writer::new(70, stage.conversation);
    let join = newcomer.join(&stage.invite, stage.invite_op);
    let words = newcomer.say(WALL_MS);
    let before = stage.ops();
    let frame = peer.next_batch(std::slice::from_ref(&words), Tool::Sketch);
    let told = peer.say(&mut stage.relay, &frame, now(40));
    assert_eq!((told.code(), told.refused()), (None, vec![Refusal::Waits]), "which stops nothing");
    assert_eq!(stage.ops(), before, "it waits aside, uncounted");
    let frame = peer.next_batch(&[join, mallory.say(WALL_MS)], Tool::Sketch);
    let told = peer.say(&mut stage.relay, &frame, now(41));
    assert_eq!((told.code(), told.refused()), (None, vec![]));
    assert_eq!(stage.ops(), before + 3);
    assert!(stage.relay.log().has(&stage.conversation, &words.id).unwrap());
}

/// A member's own id, so that the table above names whom it means.
#[test]
fn the_forgers_own_ops_are_taken() {
    let mut stage = Stage::new(1);
    let mut mallory = stage.mallory();
    let mut peer = stage.meet(MALLORY);
    let before = stage.ops();
    let author: DeviceId = mallory.key.id();
    let told = peer.batch(&mut stage.relay, &[mallory.say(WALL_MS), mallory.say(WALL_MS)], now(40));
    assert_eq!((told.code(), told.refused(), told.acks()), (None, vec![], 1));
    assert_eq!(stage.ops(), before + 2);
    assert!(stage.relay.log().is_member(&stage.conversation, &author).unwrap());
}
