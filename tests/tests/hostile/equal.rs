//! A peer that says equal when it is not: with a proof of its own set, with one that was true once, with our own words.
//! Equality is believed only of whoever can say the proof of our set, for this connection, from its side.

use super::*;
use tombolo_model::Proof;
use tombolo_model::digest::Chain;
use tombolo_proto::Frame;
use tombolo_proto::frame::{Resume, Settled};

/// The proof over everything that a replica shares with a device, and how many ops that are.
fn proof_for<F: Fold>(replica: &Replica<F>, device: u8) -> (Proof, u64) {
    let log = replica.log();
    let shared = log.shared_with(&key(device).id()).unwrap();
    let proofs: Vec<_> = shared.iter().map(|(id, _)| (*id, log.proof(id).unwrap())).collect();
    let count = shared.iter().map(|(id, _)| log.conversation(id).unwrap().unwrap().ops).sum();
    (Proof::over(proofs.iter().map(|(id, proof)| (id, proof))), count)
}

fn settled(proof: Proof, position: u64) -> Frame {
    Frame::Settled(Settled { position, chain: Chain::default(), proof, seen: 0, round: 0 })
}

/// Says one thing as the first word about equality, and once more as the last; nothing may come of it.
fn disbelieved<F: Fold>(victim: &mut Replica<F>, peer: &mut Peer, resume: &Frame, last: &Frame, what: &str) {
    let (before, claimed) = (dump(victim, PEER_MARKS), claims(victim, MALLORY, 100));
    for frame in [resume, last] {
        let told = peer.say(victim, frame, now(1_500));
        assert_eq!((told.proven(), told.code()), (0, None), "{what}: {told:?}");
    }
    assert!(!victim.state(peer.conn).unwrap().unwrap().proven, "{what}");
    // To have read nothing, as it says, only takes away from what it had acknowledged.
    let (acked, proven) = claims(victim, MALLORY, 1_600);
    assert!(acked <= claimed.0 && proven == claimed.1, "{what}: {acked} {proven:?}, before {claimed:?}");
    before.is_still_that_of(victim, PEER_MARKS, what);
    victim.disconnected(peer.conn);
}

/// A stage on which Mallory is a member who has been told everything, and Alice has written on since.
fn behind() -> (Stage, Proof, u64) {
    let mut stage = Stage::new(1);
    stage.mallory();
    let (old, count) = proof_for(&stage.relay, MALLORY);
    say(&mut stage.alice, stage.conversation, b"one more", 50);
    stage.sync_alice(60);
    assert_ne!(proof_for(&stage.relay, MALLORY).0, old);
    (stage, old, count)
}

#[test]
fn a_proof_of_another_set_is_not_believed() {
    let (mut stage, old, count) = behind();
    let conn = stage.conn();
    let mut peer = Peer::dial(&mut stage.relay, conn, MALLORY, [3; 32], now(70));
    let (resume, last) = (peer.claim(&old, count + 1), settled(peer.salted(&old), 99));
    disbelieved(&mut stage.relay, &mut peer, &resume, &last, "a proof of what it was told once");
    // On a device that dialled it.
    let conn = stage.conn();
    let mut peer = stage.dialled(conn, Some([3; 32]));
    let (resume, last) = (peer.claim(&old, count + 1), settled(peer.salted(&old), 99));
    disbelieved(&mut stage.alice, &mut peer, &resume, &last, "to a device");
    // The proof itself, as it is written nowhere on the wire: unsalted, or for the other side's mouth.
    let (whole, count) = proof_for(&stage.relay, MALLORY);
    let conn = stage.conn();
    let mut peer = Peer::dial(&mut stage.relay, conn, MALLORY, [3; 32], now(70));
    let bare = resume_of(peer.claim(&whole, count), whole);
    disbelieved(&mut stage.relay, &mut peer, &bare, &settled(whole, 99), "unsalted");
    // Said rightly by whoever can, it is.
    let conn = stage.conn();
    let mut peer = Peer::dial(&mut stage.relay, conn, MALLORY, [3; 32], now(70));
    let claim = peer.claim(&whole, count);
    assert_eq!(peer.say(&mut stage.relay, &claim, now(70)).proven(), 1);
}

#[test]
fn a_proof_that_was_true_on_another_connection_is_not_believed() {
    let mut stage = Stage::new(1);
    stage.mallory();
    let (proof, count) = proof_for(&stage.relay, MALLORY);
    let conn = stage.conn();
    let mut peer = Peer::dial(&mut stage.relay, conn, MALLORY, [3; 32], now(70));
    let (recorded, last) = (peer.claim(&proof, count), settled(peer.salted(&proof), 99));
    assert_eq!(peer.say(&mut stage.relay, &recorded, now(70)).proven(), 1, "at its time and place it is true");
    stage.relay.disconnected(conn);
    // Nothing has changed, and even so.
    let conn = stage.conn();
    let mut peer = Peer::dial(&mut stage.relay, conn, MALLORY, [3; 32], now(80));
    disbelieved(&mut stage.relay, &mut peer, &recorded, &last, "replayed");
}

#[test]
fn our_own_words_sent_back_prove_nothing() {
    let (mut stage, ..) = behind();
    let conn = stage.conn();
    // Mallory copies the nonce, so that whatever is said to it would fit its own mouth.
    let victims = ([0x44; 32], Scope::Members);
    let mut peer = Peer::meet(&mut stage.relay, conn, MALLORY, None, true, victims, now(70));
    let (resume, last) = (Frame::Resume(peer.resume.clone()), settled(peer.resume.proof, peer.resume.position));
    disbelieved(&mut stage.relay, &mut peer, &resume, &last, "reflected to a relay");
    let conn = stage.conn();
    let mut peer = stage.dialled(conn, None);
    let (resume, last) = (Frame::Resume(peer.resume.clone()), settled(peer.resume.proof, peer.resume.position));
    disbelieved(&mut stage.alice, &mut peer, &resume, &last, "reflected to a device");
}

#[test]
fn a_peer_that_says_that_nothing_differs_while_it_does_is_named_and_owed_everything_still() {
    let (mut stage, old, count) = behind();
    let conn = stage.conn();
    let mut peer = stage.dialled(conn, Some([3; 32]));
    let (before, claimed) = (dump(&stage.alice, PEER_MARKS), claims(&mut stage.alice, MALLORY, 100));
    let mut frame = peer.claim(&old, count);
    for turn in 0..100 {
        let told = peer.say(&mut stage.alice, &frame, now(1_500 + turn));
        assert_eq!(told.proven(), 0);
        if let Some(fault) = told.fault {
            assert_eq!((fault.code(), fault.blame()), ("peer_inconsistent", tombolo_proto::Blame::Peer));
            assert!(turn < 20, "{turn} turns");
            assert_eq!(claims(&mut stage.alice, MALLORY, 1_600), claimed);
            before.is_still_that_of(&stage.alice, PEER_MARKS, "a lie about search");
            return;
        }
        // Whatever Alice asks: nothing differs, and that is all.
        let asked: Vec<Frame> = told.read().collect();
        frame = match asked.last() {
            Some(Frame::Roots(_)) => Frame::Differ(vec![]),
            Some(Frame::Settled(theirs)) => {
                Frame::Settled(Settled { proof: peer.salted(&old), seen: 0, position: count, ..theirs.clone() })
            }
            other => panic!("turn {turn}: {other:?}"),
        };
    }
    panic!("Alice is kept busy for ever");
}

fn resume_of(frame: Frame, proof: Proof) -> Frame {
    let Frame::Resume(resume) = frame else { panic!("{frame:?}") };
    Frame::Resume(Resume { proof, ..resume })
}

impl Stage {
    /// Mallory, dialled by Alice as if it were a relay.
    fn dialled(&mut self, conn: ConnId, nonce: Option<[u8; 32]>) -> Peer {
        Peer::meet(&mut self.alice, conn, MALLORY, nonce, false, ([0x55; 32], to_relay()), now(70))
    }
}
