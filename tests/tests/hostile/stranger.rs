//! A stranger who knows a conversation's id, its relay, and ops that somebody has leaked: it gets neither ops nor counts
//! nor existence, and leaves nothing behind. The control is a conversation that is as real but not on this relay.

use super::*;
use tombolo_model::Signature;
use tombolo_proto::frame::{Ack, Batch, Root, Settled, Wanted};
use tombolo_proto::{Frame, Refusal, Tool, batch};
use tombolo_replica::Zstd;

const EVE: u8 = 90;

/// Everything that a stranger may try on a conversation. `known`: ops of it.
fn attempts(conversation: ConversationId, known: &[Op], invite: (OpId, Hlc)) -> Vec<(String, Frame)> {
    let eve = || Writer::new(EVE, conversation);
    let mut batches: Vec<(String, Vec<Op>)> = vec![("words".into(), vec![eve().say(WALL_MS)])];
    let join = |seed: u8| {
        let mut eve = eve();
        let join = eve.join(&InviteKey::from_seed([seed; 32]), invite);
        (join, eve)
    };
    for seed in 100..110 {
        batches.push((format!("a join by a made-up invitation, {seed}"), vec![join(seed).0]));
    }
    let (joined, mut after) = join(110);
    batches.push(("a join and words".into(), vec![joined.clone(), after.say(WALL_MS)]));
    for op in known {
        let seq = op.header.seq;
        batches.push((format!("leaked op {seq}"), vec![op.clone()]));
        batches.push((format!("leaked op {seq}, vouched for by what is held"), vec![unsigned(op)]));
        batches.push((format!("leaked op {seq} beside a join"), vec![joined.clone(), op.clone()]));
    }
    batches.push(("everything that was leaked".into(), known.to_vec()));
    batches.push(("that and a join".into(), [known, std::slice::from_ref(&joined)].concat()));
    let mut device = eve();
    let certificate = device.account.certify(device.key.id(), 1);
    let device = device.control(&Control::Device { certificate }, Hlc::new(WALL_MS, 0), vec![]);
    batches.push(("itself as another device of itself".into(), vec![device.clone()]));
    batches.push(("itself as a device, beside the founding".into(), vec![known[0].clone(), device]));
    let mut inviting = eve();
    let invited = InviteKey::from_seed([120; 32]);
    let made = Control::Invite { key: invited.public(), uses: 9, expires_ms: 0 };
    let made = inviting.control(&made, Hlc::new(WALL_MS, 0), vec![]);
    let by_itself = inviting.join(&invited, (made.id, made.header.hlc));
    batches.push(("an invitation of its own".into(), vec![made, by_itself]));

    let mut said: Vec<(String, Frame)> = Vec::new();
    for (number, (what, ops)) in (1..).zip(batches) {
        let through = (number % 2 == 0).then_some((number, tombolo_model::digest::Chain::default()));
        let tool = if number % 2 == 0 { Tool::Cursor } else { Tool::Sketch };
        said.push((what, Frame::Batch(Batch { number, tool, through, ops: batch::encode(&ops, &Zstd) })));
    }
    let through = Some((3, tombolo_model::digest::Chain::default()));
    let nothing = Batch { number: 1, tool: Tool::Cursor, through, ops: batch::encode(&[], &Zstd) };
    said.push(("a cursor without ops".into(), Frame::Batch(nothing)));
    let wanted = [Wanted::All, Wanted::Prefixes(known.iter().map(|op| op.id.prefix()).collect())];
    said.extend(wanted.map(|wanted| ("a wish".into(), Frame::Want { conversation, tool: Tool::Ranges, wanted })));
    said.push(("roots".into(), Frame::Roots(vec![Root { conversation, count: 7, tag: [1; 8] }])));
    said.push(("ranges".into(), Frame::Ranges { conversation, want: vec![1], ranges: vec![0x3d; 13] }));
    said.push(("cells".into(), Frame::Cells { conversation, cells: vec![7; 13 * 40] }));
    let proof = tombolo_model::Proof([5; 32]);
    let (position, chain) = (9, tombolo_model::digest::Chain::default());
    said.push(("settled".into(), Frame::Settled(Settled { position, chain, proof, seen: 0, round: 1 })));
    said
}

fn unsigned(op: &Op) -> Op {
    Op { signature: None, ..op.clone() }
}

/// What is said with the names taken out: the id, and signatures over frames that name it.
fn shape(frame: &[u8], conversation: ConversationId) -> (usize, Frame) {
    let blank = |id: ConversationId| if id == conversation { ConversationId::ZERO } else { id };
    let read = match Frame::from_bytes(frame).unwrap() {
        Frame::Ack(ack) => Frame::Ack(Ack {
            number: ack.number,
            signature: Signature([0; 64]),
            refused: ack.refused.into_iter().map(|(id, refusal)| (blank(id), refusal)).collect(),
        }),
        Frame::Differ(mut differences) => {
            differences.iter_mut().for_each(|difference| difference.conversation = blank(difference.conversation));
            Frame::Differ(differences)
        }
        Frame::Ranges { conversation, want, ranges } => {
            Frame::Ranges { conversation: blank(conversation), want, ranges }
        }
        // The words name an op that the stranger has just sent.
        Frame::Bye { code, .. } => Frame::Bye { code, words: String::new() },
        Frame::Decoded { conversation, want } => Frame::Decoded { conversation: blank(conversation), want },
        other => other,
    };
    (frame.len(), read)
}

/// Fault code and frames that a stranger hears for each attempt. After a fault it comes again.
type Heard = Vec<(String, Option<&'static str>, Vec<(usize, Frame)>)>;

fn probe(stage: &mut Stage, conversation: ConversationId, known: &[Op]) -> Heard {
    let before = dump(&stage.relay, &[]);
    let mut heard = Vec::new();
    for (what, frame) in attempts(conversation, known, stage.invite_op) {
        // The nonces are the same for every connection here, so that whole openings can be compared.
        let conn = stage.conn();
        let victims = ([0x33; 32], Scope::Members);
        let mut peer = Peer::meet(&mut stage.relay, conn, EVE, Some([4; 32]), true, victims, now(50));
        let mut frames = vec![Frame::Resume(peer.resume.clone()).to_bytes()];
        let resume = peer.nothing();
        frames.extend(peer.say(&mut stage.relay, &resume, now(50)).frames);
        let frame = match frame {
            Frame::Batch(batch) => Frame::Batch(Batch { number: 1, ..batch }),
            other => other,
        };
        let told = peer.say(&mut stage.relay, &frame, now(50));
        assert_eq!(stored(&told), 0, "{what}: {:?}", told.events);
        assert!(!told.frames.iter().any(|frame| frame[0] == 0x03), "{what}: no op is said");
        let code = told.code();
        frames.extend(told.frames);
        // What it would hear later in a live session, and what is written down late.
        stage.relay.tick(now(3_000)).unwrap();
        frames.extend(peer::drain(&mut stage.relay, conn, now(3_000)).frames);
        stage.relay.disconnected(conn);
        stage.relay.tick(now(6_000)).unwrap();
        before.is_still_that_of(&stage.relay, &[], &format!("{what}: left something behind"));
        heard.push((what, code, frames.iter().map(|frame| shape(frame, conversation)).collect()));
    }
    heard
}

#[test]
fn a_stranger_cannot_tell_a_conversation_from_none_and_leaves_nothing_behind() {
    let mut stage = Stage::new(1);
    let here = stage.conversation;
    let known = stage.alices(&here);
    assert_eq!(known.len(), 7);
    // As real, by the same person, but never brought to this relay.
    let mut elsewhere = device_of(&stage, "elsewhere");
    let away = found(&mut elsewhere, 8);
    let made = Control::Invite { key: [1; 32], uses: 1, expires_ms: 0 };
    elsewhere.write(Some(away), &[Draft::Clear(Box::new(made))], LogId([1; 8]), now(2)).unwrap();
    for number in 0..5 {
        say(&mut elsewhere, away, &[number; 60], 3);
    }
    let height = elsewhere.log().heights(&away).unwrap()[0];
    let known_away = elsewhere.log().run(&away, &height.author, &height.log, 1, 99, 99).unwrap();
    assert_eq!(known_away.len(), known.len());

    let about_here = probe(&mut stage, here, &known);
    let about_away = probe(&mut stage, away, &known_away);
    assert_eq!(about_here.len(), about_away.len());
    for (one, other) in about_here.iter().zip(&about_away) {
        assert_eq!(one, other, "tells them apart");
    }
    // What it heard is that nothing is here, and not merely nothing.
    let refused = about_here.iter().flat_map(|(.., frames)| frames).filter(|(_, frame)| {
        matches!(frame, Frame::Ack(ack) if ack.refused.iter().any(|(_, refusal)| *refusal == Refusal::NotHere))
    });
    assert!(refused.count() > 20);
    // A member who says the same hears something else, so the comparison could have failed.
    let mut peer = stage.meet(ALICE);
    let told = peer.batch(&mut stage.relay, &known, now(7_000));
    assert_eq!((told.code(), told.refused()), (None, vec![]));
}

#[test]
fn a_stranger_learns_neither_how_much_comes_nor_when() {
    let mut stage = Stage::new(1);
    let mut eve = stage.meet(EVE);
    assert_eq!((eve.resume.position, eve.resume.count), (0, 0), "of seven ops on the relay");
    let mut words = Writer::new(EVE, stage.conversation);
    eve.batch(&mut stage.relay, &[words.say(WALL_MS)], now(50));
    stage.relay.tick(now(1_200)).unwrap();
    let last = peer::drain(&mut stage.relay, eve.conn, now(1_200));
    let places = last.read().map(|frame| if let Frame::Settled(it) = frame { it.position } else { 99 });
    assert_eq!(places.collect::<Vec<_>>(), [0]);
    let mut heard: Vec<Frame> = Vec::new();
    // Alice comes and writes; Eve stays connected.
    let conn = stage.conn();
    let mut alice = Peer::dial(&mut stage.relay, conn, ALICE, [1; 32], now(1_300));
    let resume = alice.nothing();
    alice.say(&mut stage.relay, &resume, now(1_300));
    let ops = stage.ops();
    for turn in 0..5 {
        let at = now(2_000 + 3_000 * turn);
        say(&mut stage.alice, stage.conversation, b"hush", 2_000 + 3_000 * turn);
        let last = stage.alices(&stage.conversation).pop().unwrap();
        alice.next_op(&mut stage.relay, &last, at, eve.conn, &mut heard);
        stage.relay.tick(now(4_900 + 3_000 * turn)).unwrap();
        heard.extend(peer::drain(&mut stage.relay, eve.conn, now(4_900 + 3_000 * turn)).read());
    }
    assert_eq!(stage.ops(), ops + 5);
    assert!(heard.is_empty(), "{heard:?}");
    // A second visit tells no more than the first.
    let again = stage.meet(EVE);
    assert_eq!((again.resume.position, again.resume.count, again.resume.chain), (0, 0, eve.resume.chain));
    let member = stage.meet(ALICE);
    assert_eq!(member.resume.count, ops + 5);
}

#[test]
fn a_crowd_of_strangers_takes_no_members_place() {
    let mut stage = Stage::new(2);
    stage.mallory();
    let conversation = stage.conversation;
    let before = dump(&stage.relay, &[]);
    // More than may wait.
    for turn in 0..300_u64 {
        let conn = stage.conn();
        let mut seed = [0xee; 32];
        seed[..8].copy_from_slice(&turn.to_be_bytes());
        let key = DeviceKey::from_seed(seed);
        let mut peer = Peer::meet_as(&mut stage.relay, conn, key, now(50));
        let mut stranger = Writer::new(EVE, conversation);
        (stranger.key, stranger.log) = (DeviceKey::from_seed(seed), LogId(turn.to_be_bytes()));
        let join = stranger.join(&InviteKey::from_seed(seed), stage.invite_op);
        let told = peer.batch(&mut stage.relay, &[join], now(50));
        assert_eq!((told.code(), told.refused()), (None, vec![Refusal::NotHere]), "{turn}");
        stage.relay.disconnected(conn);
    }
    assert_eq!(stage.relay.log().strangers(&conversation).unwrap(), 0);
    before.is_still_that_of(&stage.relay, &[], "not even a row that they were there");
    // What a member's search brings out of order still has room to wait.
    let mut newcomer = Writer::new(70, conversation);
    newcomer.join(&stage.invite, stage.invite_op);
    let words = newcomer.say(WALL_MS);
    let mut peer = stage.meet(MALLORY);
    let frame = peer.next_batch(&[words], Tool::Sketch);
    let told = peer.say(&mut stage.relay, &frame, now(60));
    assert_eq!((told.code(), told.refused()), (None, vec![Refusal::Waits]));
    assert_eq!(stage.relay.log().strangers(&conversation).unwrap(), 1);
}

#[test]
fn a_relay_cannot_put_a_conversation_onto_a_device() {
    let mut stage = Stage::new(1);
    let conn = stage.conn();
    let scope = Scope::Relay { url: "ws://relay".into(), all: true };
    let mut relay = Peer::meet(&mut stage.alice, conn, RELAY, Some([3; 32]), false, ([0x55; 32], scope), now(50));
    let resume = relay.nothing();
    relay.say(&mut stage.alice, &resume, now(50));
    let before = dump(&stage.alice, PEER_MARKS);
    // Alice's certificate is in her genesis op, for every relay to see.
    let alices = account(ALICE).certify(key(ALICE).id(), 1);
    let mut writer = Writer::new(RELAY, ConversationId::ZERO);
    let certificate = writer.account.certify(writer.key.id(), 1);
    let kind = tombolo_model::control::Kind::Group;
    let genesis = Control::Genesis { certificate, kind, salt: [66; 16], relays: vec![] };
    let genesis = writer.control(&genesis, Hlc::new(WALL_MS, 0), vec![]);
    writer.conversation = genesis.conversation();
    let names_alice = writer.control(&Control::Device { certificate: alices }, Hlc::new(WALL_MS, 1), vec![]);
    let words = writer.say(WALL_MS + 1);
    let batch = relay.next_batch(&[genesis, names_alice, words], Tool::Heights);
    let told = relay.say(&mut stage.alice, &batch, now(51));
    assert_eq!((told.code(), told.refused(), stored(&told)), (None, vec![Refusal::NotHere], 0));
    before.is_still_that_of(&stage.alice, PEER_MARKS, "all in all");
}

fn device_of(stage: &Stage, name: &str) -> Device {
    let log = Log::open(Open::new(stage.folder.path().join(name), 12)).unwrap();
    Replica::new(log, key(ALICE), Shown::default())
}
