//! Each tool alone: what it can find it finds, and what it cannot is named and never claimed.

use crate::history::conversation;
use crate::states::parted;
use crate::world::World;
use tombolo_proto::session::Tools;

const NONE: Tools = Tools { cursor: false, heights: false, sketch: false, ranges: false };

/// Runs with some tools; returns whether both ended equal. A false claim fails inside.
fn ends_equal(mut world: World, tools: Tools) -> (bool, World) {
    world.tools = tools;
    world.connect();
    world.run();
    for _ in 0..5 {
        world.pass(1_100);
    }
    let [one, two] = &world.sides;
    assert_eq!((&one.fault, &two.fault), (&None, &None));
    let equal = one.memory.ids() == two.memory.ids();
    assert_eq!(equal, one.proven > 0 && two.proven > 0, "known on both sides exactly when it is so");
    assert!(equal || one.unproven > 0, "the side that searches says that it did not find everything");
    (equal, world)
}

#[test]
fn every_set_of_tools_finds_all_or_says_that_it_did_not() {
    let mut decided = [0; 4];
    for bits in 0..16u8 {
        let tools = Tools { cursor: bits & 1 > 0, heights: bits & 2 > 0, sketch: bits & 4 > 0, ranges: bits & 8 > 0 };
        for seed in 0..12 {
            let ops = conversation(seed, 5, 300);
            let tail = |side: usize| 40 + 10 * ((side as u64 + seed) % 2);
            let worlds = [
                ("same", parted(&ops, seed, |_, _, _| true)),
                ("tails", parted(&ops, seed, |op, side, _| op.header.seq <= tail(side))),
                ("empty", parted(&ops, seed, |_, side, _| (side as u64 + seed).is_multiple_of(2))),
                ("holes", parted(&ops, seed, |op, _, random| op.header.is_genesis() || random.below(12) > 0)),
            ];
            for (state, world) in worlds {
                let (equal, world) = ends_equal(world, tools);
                let able = match state {
                    "same" => true,
                    "tails" => tools.heights || tools.sketch || tools.ranges,
                    // Without a cursor the roots tell that one side has nothing, which takes no tool.
                    "empty" => true,
                    _ => tools.sketch || tools.ranges,
                };
                assert_eq!(equal, able, "{state} with {tools:?}, seed {seed}");
                for (tool, count) in decided.iter_mut().enumerate() {
                    *count += world.sides.iter().map(|side| side.session.stats().ops_in[tool]).sum::<u64>();
                }
            }
        }
    }
    println!("ops found by cursor, heights, sketch, ranges: {decided:?}");
    assert!(decided.iter().all(|count| *count > 500), "{decided:?}");
}

#[test]
fn sides_with_different_tools_understand_each_other() {
    for (one, two) in [
        (Tools { heights: true, ..NONE }, Tools { ranges: true, ..NONE }),
        (Tools { sketch: true, ..NONE }, Tools { heights: true, ..NONE }),
        (Tools::ALL, NONE),
        (NONE, Tools::ALL),
    ] {
        let ops = conversation(3, 5, 300);
        let mut world = parted(&ops, 3, |op, _, random| op.header.is_genesis() || random.below(12) > 0);
        world.connect();
        world.wire.clear();
        for (index, tools) in [one, two].into_iter().enumerate() {
            let mut config = tombolo_proto::Config::new(index == 0, [50 + index as u8; 32]);
            config.tools = tools;
            world.sides[index].session = tombolo_proto::Session::new(config);
        }
        world.input(0, tombolo_proto::Input::Connected);
        world.input(1, tombolo_proto::Input::Connected);
        world.run();
        let [one, two] = &world.sides;
        assert_eq!((&one.fault, &two.fault), (&None, &None));
        assert_eq!(one.memory.ids() == two.memory.ids(), one.proven > 0 && two.proven > 0);
    }
}
