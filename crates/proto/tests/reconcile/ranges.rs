//! Range splitting between honest sides: every difference found, rounds, bytes, cuts by budget.

use crate::Random;
use proptest::prelude::*;
use std::collections::BTreeSet;
use tombolo_model::{Hlc, Key, OpId};
use tombolo_proto::reconcile::ranges::{
    BUDGET_BYTES_MIN, FINGERPRINT_BYTES, Mode, Range, RangeSource, Span, from_bytes, initial, is_settled, respond,
    to_bytes,
};
use tombolo_proto::reconcile::testing::VecSource;

type Ops = Vec<(Hlc, OpId)>;

/// What a run of the protocol found and cost.
#[derive(Debug, Default)]
struct Run {
    messages: usize,
    bytes: usize,
    cuts: usize,
    /// Found items per side; `[0]` belongs to the side that began.
    have: [Vec<u64>; 2],
    need: [Vec<u64>; 2],
}

impl Run {
    /// What side `side` holds alone: what it said to have and what the other said to need.
    fn only(&self, side: usize) -> BTreeSet<u64> {
        self.have[side].iter().chain(&self.need[1 - side]).copied().collect()
    }
}

/// Checks that a message says of every range exactly what its sender holds there, whatever was cut.
fn check_claims(source: &VecSource, span: Span, ranges: &[Range]) {
    let mut lo = span.lo();
    for range in ranges {
        match &range.mode {
            Mode::Skip => {}
            Mode::Fingerprint(claimed) => {
                assert_eq!(source.fingerprint(lo, range.hi).unwrap().0[..FINGERPRINT_BYTES], claimed[..]);
            }
            Mode::Items(claimed) => {
                let held: Vec<u64> =
                    source.items(lo, range.hi, usize::MAX).unwrap().into_iter().map(|(_, item)| item).collect();
                assert_eq!(&held, claimed);
            }
        }
        lo = range.hi;
    }
    assert_eq!(lo, span.hi());
}

/// Lets both sides answer until nothing is left to ask, through bytes, each with its budget.
fn run(a: &VecSource, b: &VecSource, span: Span, budgets: [usize; 2]) -> Run {
    let mut run = Run::default();
    let mut message = initial(a, span).unwrap();
    check_claims(a, span, &message);
    assert!(to_bytes(span, &message).len() <= BUDGET_BYTES_MIN);
    while !is_settled(&message) {
        run.messages += 1;
        assert!(run.messages < 200_000, "does not end");
        let bytes = to_bytes(span, &message);
        run.bytes += bytes.len();
        let received = from_bytes(span, &bytes).unwrap();
        assert_eq!(received, message);
        let side = run.messages % 2;
        let reply = respond([a, b][side], span, &received, budgets[side]).unwrap();
        check_claims([a, b][side], span, &reply.ranges);
        assert!(to_bytes(span, &reply.ranges).len() <= budgets[side], "over budget");
        run.cuts += usize::from(reply.cut);
        run.have[side].extend(reply.have.iter().map(|(_, item)| *item));
        run.need[side].extend(&reply.need);
        message = reply.ranges;
    }
    run
}

/// Runs and compares with the differences computed by plain set arithmetic.
fn exact(a: &Ops, b: &Ops, budgets: [usize; 2]) -> Run {
    let (a, b) = (VecSource::new(a.iter().copied()), VecSource::new(b.iter().copied()));
    let found = run(&a, &b, Span::ALL, budgets);
    let items = |source: &VecSource| source.ops().iter().map(|(_, id)| id.prefix()).collect::<BTreeSet<u64>>();
    let (left, right) = (items(&a), items(&b));
    assert_eq!(found.only(0), left.difference(&right).copied().collect());
    assert_eq!(found.only(1), right.difference(&left).copied().collect());
    if found.cuts == 0 {
        // Without cuts nothing is found twice.
        let named = found.have.iter().chain(&found.need).map(Vec::len).sum::<usize>();
        assert_eq!(named, found.only(0).len() + found.only(1).len());
    }
    found
}

/// Least `k` with `16^k * 32 >= count`: how deep splitting goes.
fn depth(count: usize) -> usize {
    (0..).find(|k| 16usize.pow(*k) * 32 >= count).unwrap() as usize
}

const WIDE: [usize; 2] = [1 << 20; 2];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Pattern {
    Tail,
    Behind,
    Scattered,
}

/// Two sets that share `shared` ops and differ in about `differences`.
fn pair(random: &mut Random, shared: usize, differences: usize, pattern: Pattern) -> (Ops, Ops) {
    let all = random.history(shared + differences);
    let mut differing: BTreeSet<usize> = (shared..all.len()).collect();
    if pattern == Pattern::Scattered {
        differing.clear();
        while differing.len() < differences {
            differing.insert(random.below(all.len() as u64) as usize);
        }
    }
    let (mut a, mut b) = (Ops::new(), Ops::new());
    for (index, op) in all.into_iter().enumerate() {
        let only_b = pattern == Pattern::Behind || random.below(2) == 0;
        if !differing.contains(&index) || !only_b {
            a.push(op);
        }
        if !differing.contains(&index) || only_b {
            b.push(op);
        }
    }
    (a, b)
}

#[test]
fn every_pattern_is_found_exactly_within_log16_messages() {
    let mut random = Random(21);
    for shared in [0, 1, 31, 500, 10_000, 100_000] {
        for differences in [0, 1, 2, 40, 1000] {
            for pattern in [Pattern::Tail, Pattern::Behind, Pattern::Scattered] {
                let (a, b) = pair(&mut random, shared, differences, pattern);
                let found = exact(&a, &b, WIDE);
                let bound = depth(shared + differences) + 3;
                println!("{shared} + {differences} {pattern:?}: {} messages, {} bytes", found.messages, found.bytes);
                assert!(found.messages <= bound, "{} messages, at most {bound}", found.messages);
                exact(&b, &a, WIDE);
            }
        }
    }
}

#[test]
fn equal_sets_take_one_message_and_the_empty_set_one_list() {
    let ops = Random(22).history(50_000);
    let found = exact(&ops, &ops, WIDE);
    assert_eq!((found.messages, found.bytes < 350), (1, true), "{} bytes", found.bytes);
    let found = exact(&Ops::new(), &ops, WIDE);
    assert_eq!((found.messages, found.bytes, found.have[1].len()), (1, 2, 50_000));
    assert_eq!(exact(&ops, &Ops::new(), WIDE).messages, 2);
    assert_eq!(exact(&Ops::new(), &Ops::new(), WIDE).messages, 1);
}

#[test]
fn sets_that_lie_apart_take_the_depth_of_both() {
    // Where one side is dense the other is empty, and in turn: each side parts by its own ranks.
    let mut random = Random(23);
    let all = random.history(40_000);
    let in_a = |index: usize| index < 3 || (index / 700).is_multiple_of(2) || index > 39_000;
    let a: Ops = all.iter().enumerate().filter(|(index, _)| in_a(*index)).map(|(_, op)| *op).collect();
    let b: Ops =
        all.iter().enumerate().filter(|(index, _)| !in_a(*index) || index % 50 == 0).map(|(_, op)| *op).collect();
    for (a, b) in [(&a, &b), (&b, &a)] {
        let found = exact(a, b, WIDE);
        assert!(found.messages <= depth(a.len()) + depth(b.len()) + 3, "{} messages", found.messages);
    }
}

#[test]
fn budgets_cut_replies_and_lose_nothing() {
    let mut random = Random(24);
    for budget in [512, 4096, 60_000] {
        for (shared, differences) in [(3000, 7), (3000, 900), (20_000, 2500)] {
            for pattern in [Pattern::Tail, Pattern::Behind, Pattern::Scattered] {
                let (a, b) = pair(&mut random, shared, differences, pattern);
                let found = exact(&a, &b, [budget, budget]);
                println!(
                    "budget {budget}, {shared} + {differences} {pattern:?}: {} messages, {} cuts, {} bytes",
                    found.messages, found.cuts, found.bytes
                );
                if budget == 512 && pattern == Pattern::Scattered && differences > 100 {
                    assert!(found.cuts > 10, "this budget is meant to cut");
                }
            }
        }
    }
}

#[test]
fn the_sizes_and_frames_of_negentropy_issue_15() {
    // There a size cut ended the session with 107 of 180 items missing (1,720 against 1,556 items, 16 to need).
    for seed in 0..40 {
        let mut random = Random(1500 + seed);
        let all = random.history(1736);
        let mut order: Vec<usize> = (0..all.len()).collect();
        if seed % 2 == 0 {
            order.sort_by_cached_key(|_| random.next());
        }
        let (mut a, mut b) = (Ops::new(), Ops::new());
        for (rank, index) in order.into_iter().enumerate() {
            match rank {
                0..180 => a.push(all[index]),
                180..196 => b.push(all[index]),
                _ => {
                    a.push(all[index]);
                    b.push(all[index]);
                }
            }
        }
        assert_eq!((a.len(), b.len()), (1720, 1556));
        for budgets in [[4096, 4767], [4767, 4096], [512, 700]] {
            let found = exact(&a, &b, budgets);
            assert_eq!((found.only(0).len(), found.only(1).len()), (180, 16));
        }
    }
}

#[test]
fn more_than_a_reply_may_report_comes_in_the_next() {
    let ops = Random(25).history(150_000);
    let found = exact(&ops, &ops[..3].to_vec(), WIDE);
    assert!(found.cuts >= 2, "{} cuts", found.cuts);
    let found = exact(&Ops::new(), &ops, WIDE);
    assert_eq!((found.have[1].len(), found.cuts), (150_000, 2));
}

#[test]
fn one_clock_reading_for_everything_parts_by_id() {
    let mut random = Random(26);
    let all: Ops = (0..5000).map(|_| (Hlc::new(7, 7), random.id())).collect();
    for budget in [512, 1 << 20] {
        let found = exact(&all[..4990].to_vec(), &all[3..].to_vec(), [budget, budget]);
        assert!(budget == 512 || found.messages <= depth(5000) + 3);
    }
    let counted: Ops = (0..5000).map(|counter| (Hlc::new(7, counter), random.id())).collect();
    exact(&counted[..4990].to_vec(), &counted[3..].to_vec(), [512, 512]);
}

#[test]
fn parts_have_equal_counts_wherever_the_keys_lie() {
    let mut random = Random(29);
    let spread = random.history(5000);
    let dense = (0..5000).map(|_| (Hlc::new(7, 7), random.id())).collect();
    let counted = (0..5000).map(|counter| (Hlc::new(7, counter), random.id())).collect();
    for ops in [spread, dense, counted] {
        let source = VecSource::new(ops);
        let mut lo = Key::MIN;
        for range in initial(&source, Span::ALL).unwrap() {
            let count = source.count(lo, range.hi).unwrap();
            assert!((312..=313).contains(&count), "{count} of 5000 in a sixteenth");
            lo = range.hi;
        }
    }
}

#[test]
fn ops_that_share_a_key_are_found_when_their_number_differs() {
    let mut random = Random(27);
    let mut ops = random.history(300);
    let (hlc, twin) = ops[150];
    for _ in 0..200 {
        let mut id = random.id();
        id.0[..8].copy_from_slice(&twin.0[..8]);
        ops.push((hlc, id));
    }
    let whole = VecSource::new(ops.iter().copied());
    let most = VecSource::new(ops[..499].iter().copied());
    // Items of one key cannot be told apart: all of them are named, a superset of what lacks.
    let found = run(&whole, &most, Span::ALL, [4096, 4096]);
    assert_eq!(found.only(0), BTreeSet::from([twin.prefix()]));
    assert!(found.have[0].len() == 201 || found.need[1] == [twin.prefix()], "{found:?}");
    assert!(found.only(1).is_empty());
    // The same number of different ops under one key looks equal here. This is why nothing but the proof says "complete".
    let others = VecSource::new(ops[1..].iter().copied().chain([(ops[0].0, ops[0].1)]));
    assert!(run(&whole, &others, Span::ALL, WIDE).only(0).is_empty());
    let mut swapped = ops.clone();
    swapped[150].1.0[31] ^= 1;
    let found = run(&whole, &VecSource::new(swapped), Span::ALL, [4096, 4096]);
    assert!(found.only(0).is_empty() && found.only(1).is_empty());
}

#[test]
fn a_window_sees_only_what_lies_inside() {
    let mut random = Random(28);
    let (a, b) = pair(&mut random, 5000, 600, Pattern::Scattered);
    let lo = Key::new(a[1000].0, &a[1000].1);
    let hi = Key::new(a[3000].0, &a[3000].1);
    for span in [Span::new(lo, hi).unwrap(), Span::new(lo, Key::END).unwrap(), Span::new(Key::MIN, hi).unwrap()] {
        let inside = |ops: &Ops| {
            let keys = ops.iter().filter(|(hlc, id)| (span.lo()..span.hi()).contains(&Key::new(*hlc, id)));
            keys.map(|(_, id)| id.prefix()).collect::<BTreeSet<_>>()
        };
        let (left, right) = (inside(&a), inside(&b));
        let found = run(&VecSource::new(a.iter().copied()), &VecSource::new(b.iter().copied()), span, [2000, 900]);
        assert_eq!(found.only(0), left.difference(&right).copied().collect());
        assert_eq!(found.only(1), right.difference(&left).copied().collect());
    }
    assert_eq!(Span::new(lo, lo), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any two sets, clustered in any way, any two budgets: exact.
    #[test]
    fn any_two_sets_with_any_budgets(
        seed: u64,
        clusters in prop::collection::vec((0u64..400, 1u64..100_000, 0u8..4), 1..12),
        left in 512usize..3000,
        right in 512usize..3000,
    ) {
        let mut random = Random(seed);
        let (mut a, mut b) = (Ops::new(), Ops::new());
        let mut ms = 1_000;
        for (count, step, kind) in clusters {
            for _ in 0..count {
                ms += random.below(step);
                let op = (Hlc::new(ms, random.below(2) as u16), random.id());
                // Shared, mine, theirs, or any of it.
                let kind = if kind == 3 { random.below(3) as u8 } else { kind };
                if kind != 1 { a.push(op); }
                if kind != 2 { b.push(op); }
            }
        }
        exact(&a, &b, [left, right]);
    }
}
