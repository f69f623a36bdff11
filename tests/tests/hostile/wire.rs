//! Bytes that are no frames, frames out of turn, too many of them, and lies about what is durable: each ends the session
//! with its code and leaves the store as it was.

use super::*;
use tombolo_model::codec::put_bytes;
use tombolo_model::crypto::{DOMAIN_ACK, Signer as _};
use tombolo_model::{DeviceId, Signature};
use tombolo_proto::batch::{self, Compression as _};
use tombolo_proto::frame::{Ack, Batch, Hello};
use tombolo_proto::limit::{COLUMN_BYTES_MAX, FRAME_BYTES_MAX, WINDOW_BYTES};
use tombolo_proto::{Blame, Fault, Frame, Tool};
use tombolo_replica::Zstd;

fn numbered(number: u64, ops: &[Op]) -> Frame {
    Frame::Batch(Batch { number, tool: Tool::Heights, through: None, ops: batch::encode(ops, &Zstd) })
}

fn blamed(told: &Told) -> Option<(&'static str, Blame)> {
    told.fault.as_ref().map(|fault| (fault.code(), fault.blame()))
}

#[test]
fn damaged_and_misplaced_frames_change_nothing() {
    let mut stage = Stage::new(1);
    let mut mallory = stage.mallory();
    let sound = numbered(1, &[mallory.say(WALL_MS), mallory.say(WALL_MS)]).to_bytes();
    let op = mallory.say(WALL_MS);
    let zeros = Zstd.compress(&vec![0; 64 * 1024 * 1024]);
    assert!(zeros.len() < 10_000, "{} bytes on the wire", zeros.len());
    let mut bomb = vec![1];
    put_bytes(&mut bomb, &zeros);
    let bomb = Frame::Batch(Batch { number: 1, tool: Tool::Cursor, through: None, ops: bomb }).to_bytes();
    let mut attacks: Vec<(String, Vec<u8>, &str)> = vec![
        ("too large".into(), vec![0x03; FRAME_BYTES_MAX + 1], "frame_too_large"),
        ("a bomb".into(), bomb, "frame_malformed"),
        ("of an unknown type".into(), vec![0x2f, 1, 2], "frame_malformed"),
        ("batch 0".into(), numbered(0, std::slice::from_ref(&op)).to_bytes(), "frame_out_of_turn"),
        ("batch 2 first".into(), numbered(2, std::slice::from_ref(&op)).to_bytes(), "frame_out_of_turn"),
        ("the last batch".into(), numbered(u64::MAX, &[op]).to_bytes(), "frame_out_of_turn"),
        ("with more behind it".into(), [&sound[..], &[0]].concat(), "frame_malformed"),
    ];
    attacks.extend((1..sound.len()).map(|cut| (format!("cut at {cut}"), sound[..cut].to_vec(), "frame_malformed")));
    let before = dump(&stage.relay, PEER_MARKS);
    for (what, bytes, code) in attacks {
        let mut peer = stage.meet(MALLORY);
        let told = peer.bytes(&mut stage.relay, &bytes, now(40));
        assert_eq!(blamed(&told), Some((code, Blame::Peer)), "{what}");
        assert_eq!((stored(&told), told.acks()), (0, 0), "{what}");
        stage.relay.disconnected(peer.conn);
    }
    before.is_still_that_of(&stage.relay, PEER_MARKS, "all in all");
    let mut peer = stage.meet(MALLORY);
    let told = peer.bytes(&mut stage.relay, &sound, now(41));
    assert_eq!((told.code(), told.acks()), (None, 1), "whole, it is taken");
}

#[test]
fn a_bomb_is_given_up_before_it_is_large() {
    let bomb = Zstd.compress(&vec![0; 64 * 1024 * 1024]);
    assert_eq!(Zstd.decompress(&bomb, COLUMN_BYTES_MAX), None);
    let allowed = Zstd.compress(&vec![0; COLUMN_BYTES_MAX]);
    assert_eq!(Zstd.decompress(&allowed, COLUMN_BYTES_MAX).map(|bytes| bytes.len()), Some(COLUMN_BYTES_MAX));
}

#[test]
fn what_exceeds_the_credit_ends_the_session_and_none_of_it_is_stored() {
    let mut stage = Stage::new(1);
    let mut mallory = stage.mallory();
    let mut peer = stage.meet(MALLORY);
    let before = dump(&stage.relay, PEER_MARKS);
    // Sound ops, faster than the relay can store them: it is never asked to.
    let (mut bytes, mut fault) = (0, None);
    for _ in 0..10_000 {
        let mut op = mallory.say(WALL_MS);
        op = tombolo_identity::sign_op(op.header, &mallory.key, vec![mallory.seq as u8; 60_000]);
        mallory.prev = op.id;
        let frame = peer.next_batch(&[op], Tool::Heights).to_bytes();
        bytes += frame.len();
        stage.relay.receive(peer.conn, &frame, now(40));
        while let Some(output) = stage.relay.poll() {
            if let tombolo_replica::Output::Close { fault: found, .. } = output {
                fault = Some(found);
            }
        }
        if fault.is_some() {
            break;
        }
    }
    assert_eq!(fault.map(|fault| (fault.code(), fault.blame())), Some(("credit_exceeded", Blame::Peer)));
    assert!(bytes <= WINDOW_BYTES as usize + 3 * FRAME_BYTES_MAX, "{bytes} bytes were piled up");
    let told = peer::drain(&mut stage.relay, peer.conn, now(41));
    assert_eq!((stored(&told), told.acks()), (0, 0));
    before.is_still_that_of(&stage.relay, PEER_MARKS, "all in all");
}

#[test]
fn versions_and_names_that_do_not_hold_end_the_opening() {
    let mut stage = Stage::new(1);
    stage.mallory();
    let before = dump(&stage.relay, &[]);
    let hello = |version, version_min, replica| {
        Frame::Hello(Hello { version, version_min, replica, nonce: [4; 32], clock_ms: WALL_MS, window_bytes: 1 << 20 })
    };
    let open = |stage: &mut Stage, hello: &Frame, then: Option<&Frame>| -> Told {
        let conn = stage.conn();
        stage.relay.connect(conn, link(false, [9; 32], Scope::Members), now(40));
        for frame in [Some(hello), then].into_iter().flatten() {
            stage.relay.receive(conn, &frame.to_bytes(), now(40));
        }
        let told = peer::drain(&mut stage.relay, conn, now(40));
        stage.relay.disconnected(conn);
        told
    };
    let mallory: DeviceId = key(MALLORY).id();
    for (version, version_min) in [(9, 8), (0, 0), (255, 4)] {
        let told = open(&mut stage, &hello(version, version_min, mallory), None);
        assert_eq!(blamed(&told), Some(("no_common_version", Blame::Versions)), "{version} to {version_min}");
    }
    let told = open(&mut stage, &hello(1, 1, key(RELAY).id()), None);
    assert_eq!(told.code(), Some("oneself"));
    // Alice's name, and a signature that Alice did not make for this connection.
    for signature in [Signature([0; 64]), key(MALLORY).sign("tombolo 1 session", b"anything")] {
        let told = open(&mut stage, &hello(1, 1, key(ALICE).id()), Some(&Frame::Prove(signature)));
        assert_eq!(blamed(&told), Some(("unauthenticated", Blame::Peer)));
        let known = |frame: &Frame| matches!(frame, Frame::Hello(_) | Frame::Prove(_) | Frame::Bye { .. });
        assert!(told.read().all(|frame| known(&frame)), "nothing of what is held was said: {told:?}");
    }
    // A genuine proof of Alice's, from another connection.
    let conn = stage.conn();
    stage.alice.connect(conn, link(true, [4; 32], to_relay()), now(40));
    let alices = peer::drain(&mut stage.alice, conn, now(40)).read().next().unwrap();
    stage.relay.connect(conn, link(false, [8; 32], Scope::Members), now(40));
    let relays = peer::drain(&mut stage.relay, conn, now(40)).frames.remove(0);
    stage.alice.receive(conn, &relays, now(40));
    let proof = peer::drain(&mut stage.alice, conn, now(40)).read().next().unwrap();
    assert!(matches!(proof, Frame::Prove(_)));
    let genuine = {
        stage.relay.receive(conn, &alices.to_bytes(), now(40));
        stage.relay.receive(conn, &proof.to_bytes(), now(40));
        peer::drain(&mut stage.relay, conn, now(40))
    };
    assert_eq!(genuine.code(), None, "where it belongs it holds");
    stage.relay.disconnected(conn);
    stage.alice.disconnected(conn);
    let told = open(&mut stage, &alices, Some(&proof));
    assert_eq!(blamed(&told), Some(("unauthenticated", Blame::Peer)));
    before.is_still_that_of(&stage.relay, &[], "all in all");
}

#[test]
fn an_acknowledgement_that_is_not_genuine_acknowledges_nothing() {
    let mut stage = Stage::new(1);
    stage.mallory();
    let sign = |key: &DeviceKey, incarnation: u64, sender: DeviceId, frame: &[u8]| {
        let mut message = incarnation.to_be_bytes().to_vec();
        message.extend_from_slice(&sender.0);
        message.extend_from_slice(blake3::hash(frame).as_bytes());
        key.sign(DOMAIN_ACK, &message)
    };
    let (relay, mallory) = (stage.relay.device(), key(MALLORY));
    type Lie<'a> = &'a dyn Fn(&[u8]) -> (u64, Signature);
    let lies: [(&str, Lie<'_>); 6] = [
        ("nobody's signature", &|_| (1, Signature([0; 64]))),
        ("another's signature", &|frame| (1, sign(&key(67), 5, relay, frame))),
        ("over another batch", &|frame| (1, sign(&mallory, 5, relay, &frame[1..]))),
        ("by another life of its store", &|frame| (1, sign(&mallory, 6, relay, frame))),
        ("for another sender's batch", &|frame| (1, sign(&mallory, 5, mallory.id(), frame))),
        ("for a batch that was not sent", &|frame| (2, sign(&mallory, 5, relay, frame))),
    ];
    let before = dump(&stage.relay, PEER_MARKS);
    let reset = claims(&mut stage.relay, MALLORY, 100);
    for (what, lie) in lies {
        // Mallory says that it holds nothing: the conversation comes.
        let (mut peer, batch) = stage.streamed(MALLORY);
        let (number, signature) = lie(&batch);
        let told = peer.say(&mut stage.relay, &Frame::Ack(Ack { number, signature, refused: vec![] }), now(40));
        assert_eq!(blamed(&told), Some(("false_acknowledgement", Blame::Peer)), "{what}");
        assert!(!told.events.iter().any(|event| matches!(event, Event::Acked { .. })), "{what}");
        stage.relay.disconnected(peer.conn);
        assert_eq!(claims(&mut stage.relay, MALLORY, 200), reset, "{what}");
    }
    before.is_still_that_of(&stage.relay, PEER_MARKS, "all in all");
    let (mut peer, batch) = stage.streamed(MALLORY);
    let signature = sign(&mallory, 5, relay, &batch);
    let told = peer.say(&mut stage.relay, &Frame::Ack(Ack { number: 1, signature, refused: vec![] }), now(40));
    let acked = told.events.iter().any(|event| matches!(event, Event::Acked { .. }));
    assert!(told.fault.is_none() && acked, "the genuine one counts: {told:?}");
    let _: Option<Fault> = told.fault;
}

impl Stage {
    /// A member that says that it holds nothing, and the batch that the relay sends it.
    fn streamed(&mut self, seed: u8) -> (Peer, Vec<u8>) {
        let conn = self.conn();
        let mut peer = Peer::dial(&mut self.relay, conn, seed, [seed; 32], now(20));
        let resume = peer.nothing();
        let told = peer.say(&mut self.relay, &resume, now(20));
        let batch = told.frames.iter().find(|frame| frame[0] == 0x03).expect("the conversation is sent").clone();
        (peer, batch)
    }
}
