//! Two replicas that start from every kind of difference end equal, and know it; nothing new costs next to nothing.

use crate::history::{Random, Writing, conversation};
use crate::memory::Memory;
use crate::world::World;
use tombolo_model::Op;
use tombolo_proto::Refusal;

pub(crate) fn memory(incarnation: u64, ops: &[&Op]) -> Memory {
    let mut memory = Memory::new(incarnation);
    memory.take_all(ops.iter().copied());
    memory
}

/// Both hold what `keep` says, in orders of their own, with as few signatures as a replica may hold.
pub(crate) fn parted(ops: &[Op], seed: u64, keep: impl Fn(&Op, usize, &mut Random) -> bool) -> World {
    let mut random = Random(seed);
    let sides: [Memory; 2] = core::array::from_fn(|side| {
        let kept: Vec<&Op> = ops.iter().filter(|op| keep(op, side, &mut random)).collect();
        let mut memory = memory(10 + side as u64, &kept).shuffled(seed + side as u64);
        memory.forget_signatures();
        memory
    });
    let [one, two] = sides;
    World::new(one, two)
}

#[test]
fn one_has_everything_and_the_other_nothing() {
    let ops = conversation(1, 5, 3_000);
    for empty in 0..2 {
        let mut world = parted(&ops, 1, |_, side, _| side != empty);
        world.converge();
        assert_eq!(world.sides[empty].memory.len(), 3_001);
        let found = world.sides[empty].session.stats().ops_in;
        assert_eq!(found, [3_001, 0, 0, 0], "streamed, not searched");
    }
}

#[test]
fn both_have_nothing() {
    World::new(Memory::new(1), Memory::new(2)).converge();
}

#[test]
fn tails_are_missing_on_both_sides() {
    for seed in 0..20 {
        let ops = conversation(seed, 8, 400);
        let mut cuts = Random(seed);
        let heights: Vec<[u64; 2]> = (0..8).map(|_| [cuts.below(60), cuts.below(60)]).collect();
        let mut world = parted(&ops, seed, |op, side, _| {
            op.header.seq <= 1 + heights[usize::from(op.header.author.0[0]) - 1][side]
        });
        let whole = world.sides[0].memory.ids().union(&world.sides[1].memory.ids()).count();
        world.converge();
        assert_eq!(world.sides[0].memory.len(), whole);
        for side in &world.sides {
            assert_eq!(side.session.stats().ops_in[2..], [0, 0], "heights name tails exactly");
        }
    }
}

#[test]
fn holes_anywhere() {
    for seed in 0..40 {
        let ops = conversation(seed, 1 + (seed % 12) as u8, 600);
        let part = [2, 10, 100][seed as usize % 3];
        let mut world = parted(&ops, seed, |op, _, random| op.header.is_genesis() || random.below(part) > 0);
        world.converge();
    }
}

#[test]
fn logs_that_branch() {
    for seed in 0..40 {
        let (mut writing, genesis) = Writing::found(seed, 4);
        let mut ops = vec![genesis];
        for _ in 0..6 {
            ops.extend(writing.ops(20));
            ops.extend(writing.fork());
        }
        let mut world = parted(&ops, seed, |op, _, random| op.header.is_genesis() || random.below(5) > 0);
        world.converge();
    }
}

#[test]
fn a_hundred_conversations_of_which_some_differ() {
    for seed in 0..4 {
        let mut ops = Vec::new();
        for number in 0..100 {
            ops.extend(conversation(seed * 1_000 + number, 3, (number % 50) as usize));
        }
        let mut known = Random(seed);
        let kinds: Vec<u64> = (0..100).map(|_| known.below(6)).collect();
        let ids: Vec<_> = ops.iter().filter(|op| op.header.is_genesis()).map(Op::conversation).collect();
        let kind = |op: &Op| kinds[ids.iter().position(|id| *id == op.conversation()).unwrap()];
        let mut world = parted(&ops, seed, |op, side, random| match kind(op) {
            0 => side == 0,
            1 => side == 1,
            2 => op.header.is_genesis() || random.below(3) > 0,
            _ => true,
        });
        world.converge();
    }
}

#[test]
fn nothing_new_in_a_thousand_conversations_costs_one_round_trip() {
    let mut ops = Vec::new();
    for number in 0..1_000 {
        ops.extend(conversation(number, 2, 3));
    }
    let mut world = parted(&ops, 1, |_, _, _| true);
    world.converge();
    world.connect();
    world.run();
    let (bytes, frames) = world.cost();
    println!("nothing new: {bytes} bytes in {frames} frames after authentication, with 1,000 conversations");
    // A side says where it stands in the log, and in the registers.
    assert!(bytes < 200 && frames == 4, "{bytes} bytes, {frames} frames");
    world.assert_converged();
    for side in &world.sides {
        assert_eq!(side.session.stats().round_trips, 1);
    }
}

#[test]
fn what_is_written_meanwhile_is_pushed_and_proven_again() {
    let (mut writing, genesis) = Writing::found(5, 3);
    let mut world = World::new(memory(1, &[&genesis]), Memory::new(2));
    world.converge();
    for turn in 0..40 {
        let side = turn % 2;
        let op = writing.op();
        let before = [world.sides[0].proven, world.sides[1].proven];
        world.sides[side].memory.take(&op, None);
        world.input(side, tombolo_proto::Input::Changed);
        world.run();
        assert!(world.sides[1 - side].memory.ids().contains(&op.id), "pushed at once");
        world.pass(1_100);
        for (side, before) in before.iter().enumerate() {
            assert!(world.sides[side].proven > *before, "turn {turn}: side {side} does not know that both are equal");
        }
    }
    world.assert_converged();
}

#[test]
fn more_than_eight_differences_in_one_long_session_are_all_found() {
    // Ops that come from elsewhere and are not pushed, as after a search that was cut short: only a search finds them.
    let (mut writing, genesis) = Writing::found(6, 3);
    let mut world = World::new(memory(1, &[&genesis]), memory(2, &[&genesis]));
    world.converge();
    let peer = world.sides[1].key.0;
    for turn in 0..30 {
        let op = writing.op();
        // Held as if the other side had brought it, so that it is not streamed back.
        world.sides[0].memory.take(&op, Some(peer));
        world.input(0, tombolo_proto::Input::Changed);
        world.run();
        for _ in 0..3 {
            world.pass(1_100);
        }
        let sent = world.sides.each_ref().map(|side| side.sent.clone());
        assert_eq!(world.sides[0].memory.ids(), world.sides[1].memory.ids(), "turn {turn}: {sent:?}");
    }
    world.assert_converged();
}

#[test]
fn a_refused_conversation_holds_nothing_else_up_and_is_taken_later() {
    for dialled in [0, 1] {
        let ops = conversation(1, 3, 50);
        let (refused, taken) = (conversation(2, 3, 50), ops[0].conversation());
        let all: Vec<&Op> = ops.iter().chain(&refused).collect();
        let mut sides = [Memory::new(1), Memory::new(2)];
        sides[dialled] = memory(9, &all);
        let [one, two] = sides;
        let mut world = World::new(one, two);
        let other = 1 - dialled;
        world.sides[other].refuses.insert(refused[0].conversation(), Refusal::QuotaExceeded);
        world.sides[other].memory.also.extend([taken, refused[0].conversation()]);
        world.connect();
        world.run();
        assert_eq!(world.sides.each_ref().map(|side| side.fault.clone()), [None, None]);
        assert_eq!(world.sides[other].memory.len(), ops.len(), "the other conversation came through");
        assert_eq!(world.sides[dialled].session.blocked().len(), 1);
        for _ in 0..20 {
            world.pass(2_000);
        }
        let faults = world.sides.each_ref().map(|side| side.fault.clone());
        assert_eq!(faults, [None, None], "offered again, refused again, nobody is accused");
        world.sides[other].refuses.clear();
        for _ in 0..20 {
            world.pass(2_000);
        }
        world.assert_converged();
    }
}

#[test]
fn a_refused_op_never_counts_as_acknowledged_after_a_reconnect() {
    let ops = conversation(1, 3, 20);
    let refused = conversation(2, 3, 20);
    let all: Vec<&Op> = ops.iter().chain(&refused).collect();
    let mut world = World::new(memory(1, &all), Memory::new(2));
    world.sides[1].refuses.insert(refused[0].conversation(), Refusal::QuotaExceeded);
    // `World::take` checks every acknowledgement against what the other side holds.
    for _ in 0..3 {
        world.connect();
        world.run();
        let (mut more, genesis) = Writing::found(world.connections.into(), 1);
        world.sides[0].memory.take_all([&genesis, &more.op()]);
        world.input(0, tombolo_proto::Input::Changed);
        world.run();
    }
    world.sides[1].refuses.clear();
    world.converge();
    let acked = world.sides[0].memory.acked.values().copied().max().unwrap_or(0);
    assert!(acked <= world.sides[0].memory.len() as u64);
}
