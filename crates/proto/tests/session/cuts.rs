//! The link breaks after any frame; the next connection goes on, and both end equal. Claims are checked all the way.

use crate::history::{Random, Writing, conversation};
use crate::memory::Memory;
use crate::states::{memory, parted};
use crate::world::World;
use tombolo_model::Op;
use tombolo_proto::Input;

/// Runs `world` once to count its frames, then again with a cut after every one of them.
fn cut_everywhere(make: impl Fn() -> World) -> usize {
    let mut whole = make();
    whole.converge();
    let frames = whole.delivered;
    for cut in 0..=frames {
        let mut world = make();
        world.connect();
        for _ in 0..cut {
            world.step();
        }
        world.converge();
    }
    frames
}

#[test]
fn cut_after_every_frame_of_a_stream() {
    let (mut writing, genesis) = crate::history::Writing::found(1, 6);
    writing.body_bytes = 4_000;
    let ops: Vec<Op> = [genesis].into_iter().chain(writing.ops(700)).collect();
    let frames = cut_everywhere(|| parted(&ops, 1, |_, side, _| side == 0));
    println!("a stream of 700 long ops has {frames} frames");
    assert!(frames > 10);
}

#[test]
fn cut_after_every_frame_of_a_search() {
    let ops = conversation(2, 6, 900);
    let frames = cut_everywhere(|| parted(&ops, 2, |op, _, random| op.header.is_genesis() || random.below(3) > 0));
    assert!(frames > 10);
    let mut many = Vec::new();
    for number in 0..30 {
        many.extend(conversation(100 + number, 3, 40));
    }
    cut_everywhere(|| parted(&many, 3, |op, _, random| op.header.is_genesis() || random.below(8) > 0));
}

#[test]
fn cut_again_and_again_while_both_write() {
    for seed in 0..60 {
        let (mut writing, genesis) = Writing::found(seed, 4);
        let first: Vec<Op> = writing.ops(100);
        let mut world = World::new(memory(1, &first.iter().chain([&genesis]).collect::<Vec<_>>()), Memory::new(2));
        world.check_claims = false;
        let mut random = Random(seed);
        for _ in 0..12 {
            world.connect();
            for _ in 0..random.below(40) {
                if random.below(4) == 0 {
                    let side = random.below(2) as usize;
                    let op = writing.op();
                    world.sides[side].memory.take(&op, None);
                    world.input(side, Input::Changed);
                }
                world.step();
            }
        }
        world.check_claims = true;
        world.converge();
    }
}

#[test]
fn a_restored_side_is_noticed_and_refilled() {
    for seed in 0..20 {
        let (mut writing, genesis) = Writing::found(seed, 4);
        let old = writing.ops(200);
        let old: Vec<&Op> = old.iter().chain([&genesis]).collect();
        let mut world = World::new(memory(1, &old), Memory::new(2));
        world.converge();
        let backup = world.sides[1].memory.clone();
        let new = writing.ops(80);
        world.sides[0].memory.take_all(&new);
        world.converge();
        // Yesterday's file: the same incarnation, a shorter order, and something else that came since.
        world.sides[1].memory = backup;
        world.sides[1].memory.take_all(&writing.ops(3));
        world.converge();
        assert_eq!(world.sides[1].memory.len(), 284);
        // A new file: another incarnation.
        world.sides[1].memory = Memory::new(77);
        world.converge();
        assert_eq!(world.sides[1].memory.len(), 284);
    }
}
