//! Peers with a genuine key that lie: about who they are, what they hold, what they have stored.

use crate::history::{Fake, Key, Random, Writing, conversation};
use crate::hostile::{answers, feed, opened};
use crate::memory::Memory;
use crate::states::memory;
use crate::world::{ONE, TWO, World};
use std::collections::VecDeque;
use tombolo_model::crypto::{DOMAIN_MOVED, DOMAIN_SESSION, Signer as _, Verifier as _};
use tombolo_model::{Op, Signature};
use tombolo_proto::frame::{Ack, Settled};
use tombolo_proto::limit::{RANGE_MESSAGES_MAX, ROUNDS_MAX};
use tombolo_proto::{Blame, Config, Frame, Input, Output, Session, session};

fn frames_to(world: &World, to: usize, kind: u8) -> Vec<Vec<u8>> {
    world.wire.iter().filter(|(at, frame)| *at == to && frame[0] == kind).map(|(_, frame)| frame.clone()).collect()
}

/// Delivers everything of these types, nothing else.
fn deliver(world: &mut World, kinds: &[u8]) {
    while let Some(at) = world.wire.iter().position(|(_, frame)| kinds.contains(&frame[0])) {
        let (to, frame) = world.wire.remove(at).unwrap();
        world.input(to, Input::Frame(&frame));
    }
}

fn with_configs(one: Config, two: Config) -> World {
    let ops = conversation(1, 2, 30);
    let mut world = World::new(memory(1, &ops.iter().collect::<Vec<_>>()), Memory::new(2));
    world.connect();
    world.wire.clear();
    world.sides[0].session = Session::new(one);
    world.sides[1].session = Session::new(two);
    world.input(0, Input::Connected);
    world.input(1, Input::Connected);
    world
}

#[test]
fn a_wrong_proof_of_the_key_is_refused() {
    let mut world = with_configs(Config::new(true, [1; 32]), Config::new(false, [2; 32]));
    deliver(&mut world, &[0x00]);
    let mut prove = frames_to(&world, 0, 0x01).swap_remove(0);
    prove[30] ^= 1;
    assert_eq!(feed(&mut world, 0, &prove), Some("unauthenticated"));
    assert!(answers(&mut world).iter().all(|frame| !matches!(frame, Frame::Resume(_))), "nothing is said to it");
}

#[test]
fn a_replayed_proof_of_the_key_is_refused() {
    // The attacker recorded how TWO proved itself to ONE, and says the same hello again.
    let mut first = with_configs(Config::new(true, [1; 32]), Config::new(false, [2; 32]));
    let hello = frames_to(&first, 0, 0x00).swap_remove(0);
    deliver(&mut first, &[0x00]);
    let prove = frames_to(&first, 0, 0x01).swap_remove(0);
    let verify = |config: Config| {
        let mut world = with_configs(config, Config::new(false, [9; 32]));
        world.wire.clear();
        feed(&mut world, 0, &hello);
        feed(&mut world, 0, &prove)
    };
    assert_eq!(verify(Config::new(true, [1; 32])), None, "the recording itself is sound");
    assert_eq!(verify(Config::new(true, [3; 32])), Some("unauthenticated"), "on another connection");
    assert_eq!(verify(Config::new(false, [1; 32])), Some("unauthenticated"), "in the other role");
    let bound = Config { binding: vec![1, 2, 3], ..Config::new(true, [1; 32]) };
    assert_eq!(verify(bound), Some("unauthenticated"), "over another transport");
    // And a proof that ONE made is none of TWO's.
    let own = Key::of(ONE).sign(DOMAIN_SESSION, b"x");
    assert!(!Fake.verify(&Key::of(TWO).0, DOMAIN_SESSION, b"x", &own));
}

#[test]
fn another_replica_than_expected_and_oneself_are_refused() {
    let expecting = Config { expected: Some(Key::of(7).0), ..Config::new(true, [1; 32]) };
    let mut world = with_configs(expecting, Config::new(false, [2; 32]));
    world.run();
    assert_eq!(world.sides[0].fault.as_ref().unwrap().code(), "wrong_replica");
    let mut world = with_configs(Config::new(true, [1; 32]), Config::new(false, [2; 32]));
    let own = frames_to(&world, 1, 0x00).swap_remove(0);
    assert_eq!(feed(&mut world, 0, &own), Some("oneself"));
    assert_eq!(world.sides[0].fault.as_ref().unwrap().blame(), Blame::Local);
}

#[test]
fn an_echo_of_the_own_proof_proves_nothing() {
    // The attacker waits for our hello and copies our nonce, so that our salted proof would fit its mouth.
    for nonce in [1, 2] {
        let mut world = with_configs(Config::new(true, [1; 32]), Config::new(false, [nonce; 32]));
        deliver(&mut world, &[0x00, 0x01]);
        let resume = frames_to(&world, 1, 0x02).swap_remove(0);
        assert_eq!(feed(&mut world, 0, &resume), None);
        assert_eq!(world.sides[0].proven, 0, "own words, sent back");
        for settled in frames_to(&world, 1, 0x05) {
            feed(&mut world, 0, &settled);
        }
        assert_eq!(world.sides[0].proven, 0);
    }
}

#[test]
fn a_proof_of_yesterday_proves_nothing() {
    let mut world = opened();
    world.connect();
    deliver(&mut world, &[0x00, 0x01]);
    let old = frames_to(&world, 0, 0x02).swap_remove(0);
    world.run();
    assert!(world.sides[0].proven > 0, "at its time it was true");
    world.connect();
    deliver(&mut world, &[0x00, 0x01]);
    feed(&mut world, 0, &old);
    assert_eq!(world.sides[0].proven, 0);
}

/// Authenticates, then lets `answer` speak for side 1 until side 0 ends the session or falls silent. A peer that holds
/// nothing and says what it likes.
fn against(mut world: World, mut answer: impl FnMut(&Frame) -> Vec<Frame>) -> World {
    world.connect();
    deliver(&mut world, &[0x00, 0x01, 0x02]);
    world.check_claims = false;
    for _ in 0..20_000 {
        let wire: VecDeque<_> = std::mem::take(&mut world.wire);
        if wire.is_empty() {
            return world;
        }
        for (to, bytes) in wire {
            if to == 1 && world.sides[0].fault.is_none() {
                for frame in answer(&Frame::from_bytes(&bytes).unwrap()) {
                    world.input(0, Input::Frame(&frame.to_bytes()));
                }
            }
        }
    }
    panic!("side 0 is kept busy for ever");
}

fn differing() -> World {
    let mut random = Random(5);
    let ops = conversation(5, 3, 300);
    let (one, two): (Vec<&Op>, Vec<&Op>) = (
        ops.iter().filter(|op| op.header.is_genesis() || random.below(3) > 0).collect(),
        ops.iter().filter(|op| op.header.is_genesis()).collect(),
    );
    let mut world = World::new(memory(1, &one), memory(2, &two));
    // No cursor fits: only a search can find what differs.
    world.tools.cursor = false;
    world
}

fn settled(round: u64, seen: u64) -> Frame {
    let (position, chain, proof) = Default::default();
    Frame::Settled(Settled { position, chain, proof, seen, round })
}

#[test]
fn a_peer_that_says_equal_while_its_proof_differs_is_named() {
    let mut rounds = 0;
    let world = against(differing(), |frame| match frame {
        Frame::Roots(_) => {
            rounds += 1;
            vec![Frame::Differ(vec![])]
        }
        Frame::Settled(it) => vec![settled(it.round, 0)],
        _ => vec![],
    });
    let fault = world.sides[0].fault.clone().unwrap();
    assert_eq!((fault.code(), fault.blame()), ("peer_inconsistent", Blame::Peer));
    assert!(rounds <= ROUNDS_MAX && world.sides[0].proven == 0);
}

#[test]
fn a_peer_that_always_finds_something_is_given_up_on() {
    let shown = differing().sides[0].memory.ids();
    let genesis = conversation(5, 3, 0)[0].conversation();
    assert!(shown.len() > 10);
    let world = against(differing(), |frame| match frame {
        Frame::Roots(_) => vec![Frame::Differ(vec![tombolo_proto::frame::Difference {
            conversation: genesis,
            count: 5,
            heights: vec![],
            estimator: vec![],
        }])],
        Frame::Ranges { conversation, .. } => {
            vec![Frame::Ranges { conversation: *conversation, want: vec![], ranges: vec![] }]
        }
        Frame::Settled(it) => vec![settled(it.round, 0)],
        _ => vec![],
    });
    assert_eq!((world.sides[0].proven, world.sides[0].fault.clone()), (0, None));
    assert!(world.sides[0].unproven > 0, "a named gap");
    assert!(world.sides[0].session.stats().rounds <= ROUNDS_MAX);
}

#[test]
fn a_sketch_that_never_decodes_ends_in_ranges() {
    let mut sketches = 0;
    let mut asked_ranges = false;
    against(differing(), |frame| match frame {
        Frame::Roots(roots) => vec![Frame::Differ(vec![tombolo_proto::frame::Difference {
            conversation: roots[0].conversation,
            count: 5_000,
            heights: vec![],
            estimator: vec![1; 384],
        }])],
        Frame::Cells { conversation, .. } => {
            sketches += 1;
            vec![Frame::Decoded { conversation: *conversation, want: None }]
        }
        Frame::Ranges { .. } => {
            asked_ranges = true;
            vec![]
        }
        _ => vec![],
    });
    assert!(asked_ranges && (1..=2).contains(&sketches), "{sketches}");
    // And the other way round: cells that are noise are answered, not believed.
    let mut world = opened();
    let shown = conversation(1, 2, 0)[0].conversation();
    let mut random = Random(6);
    for _ in 0..50 {
        let cells = Frame::Cells { conversation: shown, cells: random.bytes(13 * 500) };
        assert_eq!(feed(&mut world, 1, &cells.to_bytes()), None);
        let heard = answers(&mut world);
        assert!(matches!(&heard[..], [Frame::Decoded { want: None, .. }]), "{heard:?}");
    }
}

#[test]
fn ranges_that_never_end_are_ended() {
    let mut messages = 0;
    let mut world = differing();
    world.tools.sketch = false;
    world.tools.heights = false;
    let world = against(world, |frame| match frame {
        Frame::Roots(roots) => vec![Frame::Differ(vec![tombolo_proto::frame::Difference {
            conversation: roots[0].conversation,
            count: 5_000,
            heights: vec![],
            estimator: vec![],
        }])],
        Frame::Ranges { conversation, .. } => {
            messages += 1;
            // One range over everything, with a fingerprint that nothing has.
            let ranges = [&[0x3d][..], &[0xee; 12]].concat();
            vec![Frame::Ranges { conversation: *conversation, want: vec![], ranges }]
        }
        _ => vec![],
    });
    assert_eq!(world.sides[0].fault.clone().unwrap().code(), "frame_out_of_turn");
    assert!(messages <= RANGE_MESSAGES_MAX + 1, "{messages}");
}

#[test]
fn false_acknowledgements_are_refused() {
    let (mut writing, genesis) = Writing::found(1, 2);
    writing.body_bytes = 3_000;
    let ops = writing.ops(300);
    let all: Vec<&Op> = ops.iter().chain([&genesis]).collect();
    let sending = || {
        let mut world = World::new(memory(1, &all), Memory::new(2));
        world.connect();
        deliver(&mut world, &[0x00, 0x01, 0x02]);
        let batches = frames_to(&world, 1, 0x03);
        assert!(batches.len() >= 3);
        deliver(&mut world, &[0x03]);
        let acks = frames_to(&world, 0, 0x04);
        world.wire.clear();
        (world, acks)
    };
    let read = |bytes: &[u8]| match Frame::from_bytes(bytes) {
        Ok(Frame::Ack(ack)) => ack,
        other => panic!("{other:?}"),
    };
    let (mut world, acks) = sending();
    let genuine = read(&acks[0]);
    let false_ones = [
        Ack { signature: Signature([1; 64]), ..genuine.clone() },
        Ack { number: 2, ..genuine.clone() },
        Ack { number: 99, ..genuine.clone() },
        Ack { number: 0, ..genuine.clone() },
        read(&acks[1]),
        Ack { number: 1, ..read(&acks[1]) },
    ];
    for ack in false_ones {
        let (mut world, _) = sending();
        assert_eq!(feed(&mut world, 0, &Frame::Ack(ack.clone()).to_bytes()), Some("false_acknowledgement"), "{ack:?}");
        assert!(!world.sides[0].events.iter().any(|event| matches!(event, Output::Acked { .. })));
    }
    assert_eq!(feed(&mut world, 0, &acks[0]), None, "the genuine one is taken");
    assert_eq!(feed(&mut world, 0, &acks[0]), Some("false_acknowledgement"), "once");
    // One of another connection.
    let (mut world, acks) = sending();
    world.connect();
    deliver(&mut world, &[0x00, 0x01, 0x02]);
    let batch = frames_to(&world, 1, 0x03);
    if batch.is_empty() {
        assert_eq!(feed(&mut world, 0, &acks[0]), Some("false_acknowledgement"));
    }
}

#[test]
fn a_move_that_the_replica_did_not_sign_is_forged() {
    let moved = |key: Key, url: &str| Frame::Moved {
        url: url.into(),
        at_ms: 5,
        signature: key.sign(DOMAIN_MOVED, &session::moved_bytes("wss://new", 5)),
    };
    for (key, url) in [(Key::of(ONE), "wss://new"), (Key::of(TWO), "wss://other")] {
        let mut world = opened();
        assert_eq!(feed(&mut world, 0, &moved(key, url).to_bytes()), Some("op_forged"));
        assert!(!world.sides[0].events.iter().any(|event| matches!(event, Output::Moved { .. })));
    }
    let mut world = opened();
    assert_eq!(feed(&mut world, 0, &moved(Key::of(TWO), "wss://new").to_bytes()), None);
    assert!(world.sides[0].events.iter().any(|event| matches!(event, Output::Moved { .. })));
}
