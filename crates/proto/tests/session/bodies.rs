//! Ops whose bodies are gone on one side: passed on, never looked for without end, fetched where somebody has them.

use crate::history::{Zstd, conversation};
use crate::states::memory;
use crate::world::World;
use std::collections::BTreeSet;
use tombolo_model::{Class, Malformed, Op, OpId, Sound};
use tombolo_proto::batch::{decode, decode_bare, encode, encode_bare};
use tombolo_proto::limit::{BODIES_AT_ONCE, BODIES_MS};

/// Every `each`-th message.
fn some(ops: &[Op], each: usize) -> Vec<OpId> {
    ops.iter().filter(|op| op.header.class == Class::Content).map(|op| op.id).step_by(each).collect()
}

fn rest(world: &mut World) {
    for _ in 0..4 {
        world.pass(BODIES_MS);
    }
    for side in &world.sides {
        assert!(!side.session.awaits_bodies(), "nobody waits without end");
        assert_eq!(side.fault, None);
    }
}

fn wants(world: &World, side: usize) -> usize {
    world.sides[side].sent.iter().filter(|(kind, _)| *kind == 0x08).count()
}

#[test]
fn whoever_has_let_go_of_bodies_still_passes_the_ops_on() {
    for forget in [false, true] {
        let ops = conversation(1, 3, 400);
        let all: Vec<&Op> = ops.iter().collect();
        let mut holder = memory(1, &all);
        let lost = some(&ops, 3);
        for id in &lost {
            holder.lose(id);
        }
        if forget {
            holder.forget_signatures();
        }
        let mut world = World::new(holder, memory(2, &[]));
        world.sides[1].memory.also.insert(ops[0].conversation());
        world.converge();
        let lost: BTreeSet<OpId> = lost.into_iter().collect();
        assert_eq!(world.sides[1].memory.bodiless(), lost);
        // It asks once, hears that the other side has none either, and leaves it at that.
        rest(&mut world);
        let frames = world.delivered;
        rest(&mut world);
        assert!(world.delivered - frames < 20, "no frames but a ping now and then");
        assert_eq!(world.sides[1].memory.bodiless(), lost);
    }
}

#[test]
fn bodies_that_lack_come_from_a_peer_that_has_them() {
    let ops = conversation(2, 3, 1_500);
    let all: Vec<&Op> = ops.iter().collect();
    let lost = some(&ops, 2);
    assert!(lost.len() > 2 * BODIES_AT_ONCE);
    let mut lacking = memory(2, &all);
    for id in &lost {
        lacking.lose(id);
    }
    // Nothing says why any more: they lack. Some are gone on the other side, too.
    lacking.gone.clear();
    let mut other = memory(1, &all);
    let never: BTreeSet<OpId> = lost.iter().step_by(100).copied().collect();
    for id in &never {
        other.lose(id);
    }
    for dials in [0, 1] {
        let (one, two) = (other.clone(), lacking.clone());
        let mut world = if dials == 0 { World::new(one, two) } else { World::new(two, one) };
        world.converge();
        rest(&mut world);
        assert_eq!(world.sides[1 - dials].memory.bodiless(), never);
        assert_eq!(world.sides[dials].memory.bodiless(), never, "and nobody gives what is gone back");
        let rounds = world.sides[0].session.stats().rounds;
        assert_eq!(rounds, 0, "equal sets are not searched");
    }
}

#[test]
fn one_that_has_let_go_and_one_that_has_not_yet_are_equal_and_quiet() {
    let ops = conversation(3, 3, 300);
    let all: Vec<&Op> = ops.iter().collect();
    let mut pruned = memory(1, &all);
    for id in some(&ops, 1) {
        pruned.lose(&id);
    }
    let mut world = World::new(pruned, memory(2, &all));
    world.converge();
    rest(&mut world);
    assert_eq!((wants(&world, 0), wants(&world, 1)), (0, 0));
    assert_eq!(world.sides[0].session.stats().rounds, 0);
}

/// Whoever speaks protocol 1 takes a header without a body for one that vouches: it lacks the op, and both say so.
#[test]
fn an_older_peer_lacks_what_has_no_body_and_hears_that_it_does() {
    for versions in [[(2, 1), (1, 1)], [(1, 1), (2, 1)]] {
        let ops = conversation(4, 2, 60);
        let all: Vec<&Op> = ops.iter().collect();
        let mut holder = memory(1, &all);
        let lost = some(&ops, 5);
        for id in &lost {
            holder.lose(id);
        }
        let mut world = World::new(holder, memory(2, &[]));
        world.sides[1].memory.also.insert(ops[0].conversation());
        world.versions = versions;
        world.connect();
        world.run();
        assert_eq!((&world.sides[0].fault, &world.sides[1].fault), (&None, &None));
        assert_eq!(world.sides[1].memory.ids().len(), all.len() - lost.len());
        assert_eq!((world.sides[0].proven, world.sides[0].unproven), (0, 1), "a named gap, and an end");
        // Once it has learned to, it gets them.
        world.versions = [(2, 1); 2];
        world.converge();
    }
}

/// A peer that never answers holds nobody up.
#[test]
fn a_peer_that_keeps_bodies_to_itself_is_not_waited_for() {
    let ops = conversation(5, 2, 50);
    let all: Vec<&Op> = ops.iter().collect();
    let mut lacking = memory(1, &all);
    for id in some(&ops, 4) {
        lacking.lose(&id);
    }
    lacking.gone.clear();
    let mut world = World::new(lacking, memory(2, &all));
    world.connect();
    // Whatever is asked for bodies is lost.
    while let Some((_, frame)) = world.wire.front() {
        if frame[0] == 0x08 {
            world.wire.pop_front();
        } else {
            world.step();
        }
    }
    assert!(world.sides[0].session.awaits_bodies());
    assert!(world.sides[0].session.is_quiet(), "nothing else waits for them");
    rest(&mut world);
}

#[test]
fn an_op_with_its_body_is_not_said_to_be_without() {
    let ops = conversation(6, 1, 3);
    let bare: BTreeSet<OpId> = ops.iter().map(|op| op.id).collect();
    // Those with bodies are not marked.
    assert_eq!(encode_bare(&ops, &bare, &Zstd), encode(&ops, &Zstd));
    let mut without = ops.clone();
    without[2].body = None;
    // Signatures travel for the end of a run alone.
    for op in &mut without[..3] {
        op.signature = None;
    }
    let bytes = encode_bare(&without, &bare, &Plain);
    let decoded = decode_bare(&bytes, &Plain).unwrap();
    assert_eq!(decoded.bare, BTreeSet::from([ops[2].id]));
    let back: Vec<Op> = decoded.ops.into_iter().map(Sound::into_op).collect();
    assert_eq!(back, without);
    assert_eq!(decode_bare(&encode(&without, &Plain), &Plain).unwrap().bare, BTreeSet::new());
    // The two flags together mean nothing.
    let at = bytes.iter().rposition(|byte| *byte & 0b0100_0000 != 0 && *byte & 0b1000_1011 == 0);
    let flags: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] & 0b1100_1011 == 0b0100_0000).collect();
    assert!(at.is_some() && !flags.is_empty());
    let refused = flags.iter().any(|at| {
        let mut bytes = bytes.clone();
        bytes[*at] |= 0b1000;
        decode(&bytes, &Plain) == Err(Malformed::NotCanonical("flag"))
    });
    assert!(refused);
}

struct Plain;

impl tombolo_proto::batch::Compression for Plain {
    fn compress(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    fn decompress(&self, bytes: &[u8], max: usize) -> Option<Vec<u8>> {
        (bytes.len() <= max).then(|| bytes.to_vec())
    }
}
