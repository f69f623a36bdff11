//! A sender never has more on the way than the receiver granted, and batches fit what a receiver takes.

use crate::history::{Key, Random, Writing, conversation, header, seal};
use crate::memory::Memory;
use crate::states::{memory, parted};
use crate::world::World;
use tombolo_model::{ConversationId, Hlc, LogId, Op, OpId};
use tombolo_proto::Input;
use tombolo_proto::limit::FRAME_BYTES_MAX;

#[test]
fn the_granted_credit_is_kept() {
    let (mut writing, genesis) = Writing::found(1, 5);
    writing.body_bytes = 900;
    let ops = writing.ops(4_000);
    for window_bytes in [1, 10_000, 300_000, 1_000_000] {
        let mut world = World::new(memory(1, &ops.iter().chain([&genesis]).collect::<Vec<_>>()), Memory::new(2));
        world.window_bytes = window_bytes;
        world.converge();
        let greatest = world.sides[0].sent.iter().map(|(_, len)| *len).max().unwrap();
        let most = world.sides[0].outstanding_max;
        println!("window {window_bytes}: at most {most} bytes on the way, greatest frame {greatest}");
        // The batch with which the credit is used up may be larger than what was left of it.
        assert!(most <= window_bytes as usize + greatest);
    }
}

#[test]
fn many_logs_whose_ends_need_vouchers_fit_into_batches() {
    // 200 logs of 30 unsigned ops and a signed one each: a batch of any 2,000 of them ends most logs in the middle.
    let (mut writing, genesis) = Writing::found(3, 200);
    let ops: Vec<Op> = [genesis].into_iter().chain(writing.ops(6_000)).collect();
    let mut world = parted(&ops, 1, |_, side, _| side == 0);
    world.converge();
    // And scattered ones, each of which needs the headers up to the next signature.
    let ops = conversation(4, 40, 6_000);
    let mut world = parted(&ops, 2, |op, side, random| op.header.is_genesis() || side == 0 || random.below(4) > 0);
    world.converge();
}

#[test]
fn ops_with_the_longest_headers_fit_into_frames() {
    let mut random = Random(4);
    let (_, genesis) = Writing::found(5, 1);
    let conversation: ConversationId = genesis.conversation();
    let author = Key::of(9).0;
    let (log, mut prev) = (LogId([7; 8]), OpId::ZERO);
    let mut ops = vec![genesis];
    for seq in 1..=1_500 {
        let hlc = Hlc::new(1_700_000_000_000 + seq, 0);
        let mut header = header(conversation, author, log, seq, prev, hlc);
        header.parents = (0..32).map(|_| OpId(random.array())).collect();
        header.parents.sort_unstable();
        header.erases = (0..32).map(|_| OpId(random.array())).collect();
        header.erases.sort_unstable();
        header.extension = random.bytes(256);
        let op = seal(header, random.bytes(60));
        prev = op.id;
        ops.push(op);
    }
    let mut world = World::new(memory(1, &ops.iter().collect::<Vec<_>>()), Memory::new(2));
    world.converge();
    let greatest = world.sides[0].sent.iter().map(|(_, len)| *len).max().unwrap();
    println!("ops of {} bytes of header: greatest frame {greatest}", ops[9].header.to_bytes().len());
    assert!(greatest <= FRAME_BYTES_MAX);
}

#[test]
fn large_bodies_fit_into_frames() {
    let (mut writing, genesis) = Writing::found(6, 2);
    writing.body_bytes = 64 * 1024;
    let ops: Vec<Op> = [genesis].into_iter().chain(writing.ops(60)).collect();
    let mut world = World::new(memory(1, &ops.iter().collect::<Vec<_>>()), Memory::new(2));
    world.converge();
    assert!(world.sides[0].sent.iter().all(|(_, len)| *len <= FRAME_BYTES_MAX));
}

#[test]
fn what_was_on_its_way_when_a_conversation_was_opened_does_not_count_for_it() {
    let (mut writing, genesis) = Writing::found(17, 2);
    let mut first = vec![genesis];
    first.extend(writing.ops(20));
    let (mut other, founded) = Writing::found(18, 2);
    let mut second = vec![founded];
    second.extend(other.ops(30));
    let opened = second[0].conversation();
    let mut one = Memory::new(1);
    one.take_all(first.iter().chain(&second));
    one.hidden.insert(opened);
    let mut two = Memory::new(2);
    two.take_all(&first);
    two.also.insert(opened);
    let mut world = World::new(one, two);
    world.check_claims = false;
    world.converge_apart();
    // Something of the first conversation is on its way; before it is acknowledged the second is opened.
    world.slow = true;
    let ops = writing.ops(1);
    world.sides[0].memory.take_all(&ops);
    world.input(0, Input::Changed);
    world.sides[0].memory.hidden.clear();
    world.input(0, Input::Granted(opened));
    // The world itself insists that nothing counts as held that is not.
    world.run();
    world.pass(2_000);
    world.assert_converged();
}
