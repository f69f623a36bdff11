//! Protocol N talks to N - 1, and says so when there is nothing in common.

use crate::history::conversation;
use crate::states::parted;
use tombolo_proto::{Blame, Fault};

#[test]
fn neighbours_in_version_talk() {
    for versions in
        [[(2, 1), (1, 1)], [(1, 1), (2, 1)], [(2, 1), (2, 1)], [(3, 1), (2, 1)], [(2, 1), (3, 1)], [(3, 1), (1, 1)]]
    {
        let ops = conversation(1, 3, 100);
        let mut world = parted(&ops, 1, |op, _, random| op.header.is_genesis() || random.below(3) > 0);
        world.versions = versions;
        world.converge();
    }
}

#[test]
fn without_a_common_version_both_sides_say_so() {
    for versions in [[(3, 2), (1, 1)], [(1, 1), (3, 2)], [(0, 0), (1, 1)], [(1, 1), (255, 2)]] {
        let ops = conversation(1, 3, 10);
        let mut world = parted(&ops, 1, |_, side, _| side == 0);
        world.versions = versions;
        world.connect();
        world.run();
        for (side, (ours, theirs)) in [(0, (versions[0].0, versions[1].0)), (1, (versions[1].0, versions[0].0))] {
            let fault = world.sides[side].fault.clone().unwrap();
            // Whoever reads the other's hello first says it; the other may hear the farewell instead.
            match &fault {
                Fault::Farewell { code, .. } => assert_eq!(code, "no_common_version"),
                _ => {
                    assert_eq!(fault, Fault::NoCommonVersion { ours, theirs });
                    assert_eq!((fault.code(), fault.blame()), ("no_common_version", Blame::Versions));
                }
            }
        }
        assert_eq!(world.sides[1].memory.len(), 0);
    }
}
