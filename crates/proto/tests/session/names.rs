//! Short names: a brief batch says what the whole one says, costs less, and a name that means nothing costs a search.

use crate::codec::wild_ops;
use crate::history::{Random, Writing, Zstd};
use crate::memory::Memory;
use crate::states::memory;
use crate::world::World;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::{ConversationId, Op, OpId};
use tombolo_proto::batch::{self, Brief, Named, Names};
use tombolo_proto::{Input, Output, Refusal};

/// The receiver's book: what it holds, by conversation and the beginning of the id.
#[derive(Default)]
struct Book {
    shared: Vec<ConversationId>,
    ops: BTreeMap<(ConversationId, u64), Named>,
}

impl Names for Book {
    fn conversation(&mut self, begins: &[u8]) -> Option<ConversationId> {
        let found: Vec<_> = self.shared.iter().filter(|it| it.0.starts_with(begins)).collect();
        if let [one] = found[..] { Some(*one) } else { None }
    }
    fn op(&mut self, conversation: &ConversationId, prefix: u64) -> Option<Named> {
        self.ops.get(&(*conversation, prefix)).copied()
    }
}

/// Some of the ops travel, and the receiver holds some of the others: the batch, what it may name, and the book.
fn split(ops: &[Op], seed: u64) -> (Vec<Op>, Brief, Book) {
    let mut random = Random(seed);
    let mut book = Book::default();
    let mut brief = Brief::default();
    let mut sent = Vec::new();
    for op in ops {
        if random.below(2) == 0 {
            sent.push(op.clone());
        } else if random.below(4) > 0 {
            let header = &op.header;
            let named = Named { id: op.id, author: header.author, log: header.log, seq: header.seq, hlc: header.hlc };
            book.ops.insert((op.conversation(), op.id.prefix()), named);
            brief.ops.insert(op.id, header.hlc);
            brief.known.insert(op.conversation());
        }
    }
    let shared: BTreeSet<ConversationId> = ops.iter().map(Op::conversation).collect();
    brief.shared = shared.into_iter().collect();
    // Of what is not named it may know nothing at all.
    book.shared = brief.known.iter().copied().collect();
    (sent, brief, book)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_brief_batch_says_what_a_whole_one_says(seed: u64, count in 0usize..300) {
        let (sent, brief, mut book) = split(&wild_ops(seed, count), seed ^ 1);
        let none = BTreeSet::new();
        let bytes = batch::encode_brief(&sent, &none, Some(&brief), &Zstd);
        let read = batch::decode_brief(&bytes, &mut book, &Zstd).unwrap();
        let whole = batch::decode_bare(&batch::encode(&sent, &Zstd), &Zstd).unwrap();
        prop_assert_eq!(read, Some(whole));
    }

    #[test]
    fn a_name_that_means_nothing_gives_nothing(seed: u64, at in any::<prop::sample::Index>()) {
        let (sent, brief, mut book) = split(&wild_ops(seed, 120), seed ^ 1);
        let here: BTreeSet<OpId> = sent.iter().map(|op| op.id).collect();
        let names = |op: &Op| op.header.parents.iter().chain([&op.header.prev]).copied().collect::<Vec<_>>();
        let used: BTreeSet<OpId> = sent.iter().flat_map(names).filter(|id| brief.ops.contains_key(id)).collect();
        prop_assume!(!used.is_empty() && used.is_disjoint(&here));
        let lost = used.iter().nth(at.index(used.len())).unwrap();
        book.ops.retain(|_, named| named.id != *lost);
        let bytes = batch::encode_brief(&sent, &BTreeSet::new(), Some(&brief), &Zstd);
        prop_assert_eq!(batch::decode_brief(&bytes, &mut book, &Zstd), Ok(None));
    }

    #[test]
    fn a_brief_batch_that_was_changed_never_panics(seed: u64, at in any::<prop::sample::Index>(), byte: u8) {
        struct Raw;
        impl batch::Compression for Raw {
            fn compress(&self, bytes: &[u8]) -> Vec<u8> {
                [bytes, &[0]].concat()
            }
            fn decompress(&self, _: &[u8], _: usize) -> Option<Vec<u8>> {
                None
            }
        }
        let (sent, brief, mut book) = split(&wild_ops(seed, 40), seed ^ 1);
        let mut bytes = batch::encode_brief(&sent, &BTreeSet::new(), Some(&brief), &Raw);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = batch::decode_brief(&bytes, &mut book, &Raw);
        prop_assert!(batch::decode_brief(&bytes[..at], &mut book, &Raw).is_err() || at == bytes.len());
    }
}

/// A conversation and what comes next in it.
fn begun(seed: u64) -> (World, Writing) {
    let (mut writing, genesis) = Writing::found(seed, 3);
    let mut ops = vec![genesis];
    ops.extend(writing.ops(60));
    let all: Vec<&Op> = ops.iter().collect();
    let mut world = World::new(memory(1, &all), memory(2, &all));
    world.converge();
    (world, writing)
}

/// Puts ops into the store of one side, as if somebody had written them there.
fn write(world: &mut World, side: usize, ops: &[Op]) {
    world.sides[side].memory.take_all(ops);
    world.input(side, Input::Changed);
    world.run();
}

fn batches(world: &World, side: usize) -> Vec<usize> {
    world.sides[side].sent.iter().filter(|(kind, _)| *kind == 0x03).map(|(_, len)| *len).collect()
}

#[test]
fn what_both_hold_is_named_in_few_bytes() {
    let (mut world, mut writing) = begun(1);
    for _ in 0..20 {
        let ops = writing.ops(1);
        write(&mut world, 0, &ops);
    }
    let brief = batches(&world, 0);
    assert_eq!(brief.len(), 20);
    let (mut world, mut writing) = begun(1);
    world.versions = [(2, 1); 2];
    world.converge();
    for _ in 0..20 {
        let ops = writing.ops(1);
        write(&mut world, 0, &ops);
    }
    let saved = batches(&world, 0).iter().sum::<usize>() - brief.iter().sum::<usize>();
    assert!(saved > 20 * 60, "only {} bytes less a message", saved / 20);
}

#[test]
fn an_answer_names_what_the_peer_itself_brought() {
    let (mut world, mut writing) = begun(2);
    for side in [0, 1, 0, 1, 1, 0] {
        let ops = writing.ops(1);
        write(&mut world, side, &ops);
    }
    for side in 0..2 {
        assert!(batches(&world, side).iter().all(|len| *len < 150), "{:?}", batches(&world, side));
    }
    world.pass(2_000);
    world.assert_converged();
}

/// Whether a side refused a batch: such an acknowledgement is longer.
fn refused(world: &World, side: usize) -> bool {
    world.sides[side].sent.iter().any(|(kind, len)| *kind == 0x04 && *len > 70)
}

#[test]
fn whoever_lost_what_is_named_says_so_and_gets_it_all_the_same() {
    for seed in 0..40 {
        let (mut world, mut writing) = begun(seed);
        // The store of the second changes behind the back of both: it knows some ops no more.
        let mut random = Random(seed);
        let ids = world.sides[1].memory.ids();
        world.sides[1].memory.nameless = ids.into_iter().filter(|_| random.below(3) > 0).collect();
        let before = world.sides[1].memory.cursors.clone();
        for _ in 0..6 {
            let ops = writing.ops(1 + random.below(3) as usize);
            world.sides[0].memory.take_all(&ops);
            world.input(0, Input::Changed);
        }
        world.run();
        let refused = |it: &Output| matches!(it, Output::Refused { refusal: Refusal::Unnamed, .. });
        assert!(!world.sides.iter().any(|side| side.events.iter().any(refused)), "nobody is troubled with it");
        if world.sides[1].memory.len() < world.sides[0].memory.len() {
            let cursors = &world.sides[1].memory.cursors;
            let (was, is) = (before.values().next().unwrap(), cursors.values().next().unwrap());
            assert!(is.position < world.sides[0].memory.len() as u64, "{was:?} {is:?}: it has not read what it lacks");
        }
        for _ in 0..4 {
            world.pass(2_000);
        }
        world.assert_converged();
        // And from now on whole ids travel on this connection.
        let (named, ops) = (world.sides[1].memory.named.get(), writing.ops(3));
        let held = world.sides[1].memory.len();
        world.sides[1].memory.nameless = world.sides[1].memory.ids();
        write(&mut world, 0, &ops);
        assert_eq!(world.sides[1].memory.len(), held + 3, "{named}");
    }
}

#[test]
fn a_peer_that_was_restored_is_told_whole_ids() {
    let (mut world, mut writing) = begun(5);
    let backup = world.sides[1].memory.clone();
    // It wrote what it does not hold any more.
    for ops in [writing.ops(5), writing.ops(3)] {
        write(&mut world, 1, &ops);
    }
    let count = world.sides[0].memory.len();
    world.sides[1].memory = backup;
    world.sides[0].memory.take_all(&writing.ops(2));
    world.converge();
    assert_eq!(world.sides[1].memory.len(), count + 2);
    assert!(!refused(&world, 1));
}

#[test]
fn of_a_conversation_that_was_just_opened_nothing_is_named() {
    let (mut writing, genesis) = Writing::found(7, 2);
    let mut first = vec![genesis];
    first.extend(writing.ops(30));
    let (mut other, founded) = Writing::found(8, 2);
    let mut second = vec![founded];
    second.extend(other.ops(30));
    let mut one = Memory::new(1);
    one.take_all(first.iter().chain(&second));
    let mut two = Memory::new(2);
    two.take_all(&first);
    let opened = second[0].conversation();
    one.hidden.insert(opened);
    two.also.insert(opened);
    let mut world = World::new(one, two);
    world.check_claims = false;
    world.converge_apart();
    world.sides[0].memory.hidden.clear();
    world.slow = true;
    world.input(0, Input::Granted(opened));
    // Something is written while the history is still on its way.
    for _ in 0..5 {
        let ops = other.ops(1);
        world.sides[0].memory.take_all(&ops);
        world.input(0, Input::Changed);
    }
    world.run();
    world.pass(2_000);
    world.assert_converged();
    assert!(!refused(&world, 1));
}

#[test]
fn a_conversation_that_the_peer_does_not_have_yet_is_named_whole() {
    let (mut world, mut writing) = begun(9);
    let (mut other, founded) = Writing::found(10, 2);
    world.sides[1].memory.also.insert(founded.conversation());
    // Ops of both in one batch.
    let mut ops = writing.ops(2);
    ops.push(founded);
    ops.extend(other.ops(2));
    write(&mut world, 0, &ops);
    assert_eq!(batches(&world, 0).len(), 1);
    assert!(!refused(&world, 1));
    assert_eq!(world.sides[1].memory.len(), world.sides[0].memory.len());
}
