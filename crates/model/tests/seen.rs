//! Sets of places against naive sets, the laws of a lattice, one form per set, and bytes from strangers.

use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;
use tombolo_model::content::MessageRef;
use tombolo_model::reading::{Kept, Mark, Told};
use tombolo_model::{ConversationId, DeviceId, Hlc, LogId, OpId, Register, Seen, Signature};

type Naive = BTreeSet<(u8, u64)>;

/// What is done to a set: a stretch of a log goes in, or one place goes out.
#[derive(Clone, Debug)]
enum Step {
    Insert(u8, u64, u64),
    Remove(u8, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let insert = (0..3u8, 0..24u64, 0..6u64).prop_map(|(log, first, more)| Step::Insert(log, first, first + more));
    let remove = (0..3u8, 0..30u64).prop_map(|(log, seq)| Step::Remove(log, seq));
    vec(prop_oneof![3 => insert, 1 => remove], 0..12)
}

fn log(name: u8) -> LogId {
    LogId([name; 8])
}

fn both(steps: &[Step]) -> (Seen, Naive) {
    let (mut seen, mut naive) = (Seen::new(), Naive::new());
    for step in steps {
        match *step {
            Step::Insert(name, first, last) => {
                seen.insert(log(name), first, last);
                naive.extend((first.max(1)..=last).map(|seq| (name, seq)));
            }
            Step::Remove(name, seq) => {
                seen.remove(&log(name), seq);
                naive.remove(&(name, seq));
            }
        }
    }
    (seen, naive)
}

fn union(one: &Seen, two: &Seen) -> Seen {
    let mut all = one.clone();
    all.merge(two);
    all
}

fn of(naive: &Naive) -> Seen {
    let mut seen = Seen::new();
    for (name, seq) in naive {
        seen.insert(log(*name), *seq, *seq);
    }
    seen
}

fn mark() -> impl Strategy<Value = Mark> {
    let from = proptest::option::of((0..9u64, 0..3u8));
    (0..4u64, from).prop_map(|(stamp_ms, from)| Mark {
        stamp_ms,
        from: from.map(|(hlc, id)| MessageRef { hlc: Hlc(hlc), id: OpId([id; 32]) }),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_set_is_what_a_naive_set_is(steps in steps(), other in steps()) {
        let (seen, naive) = both(&steps);
        for name in 0..3 {
            for seq in 0..40 {
                prop_assert_eq!(seen.contains(&log(name), seq), naive.contains(&(name, seq)), "{} {}", name, seq);
            }
        }
        // One form per set, however it came about.
        prop_assert_eq!(&seen, &of(&naive));
        for (_, seqs) in seen.iter() {
            prop_assert!(!seqs.is_empty());
            prop_assert!(seqs.intervals().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", seqs);
        }
        let (others, naive_others) = both(&other);
        prop_assert_eq!(seen.covers(&others), naive.is_superset(&naive_others));
        prop_assert_eq!(union(&seen, &others), of(&naive.union(&naive_others).copied().collect()));
    }

    #[test]
    fn sets_are_a_lattice(one in steps(), two in steps(), three in steps()) {
        let [a, b, c] = [one, two, three].map(|steps| both(&steps).0);
        prop_assert_eq!(union(&a, &b), union(&b, &a));
        prop_assert_eq!(union(&union(&a, &b), &c), union(&a, &union(&b, &c)));
        prop_assert_eq!(union(&a, &a), a.clone());
        prop_assert!(union(&a, &b).covers(&a) && union(&a, &b).covers(&b));
    }

    #[test]
    fn marks_are_a_lattice(a in mark(), b in mark(), c in mark()) {
        let join = |mut one: Mark, two: Mark| { one.merge(&two); one };
        prop_assert_eq!(join(a, b), join(b, a));
        prop_assert_eq!(join(join(a, b), c), join(a, join(b, c)));
        prop_assert_eq!(join(a, a), a);
        prop_assert!(join(a, b).stamp_ms >= a.stamp_ms);
    }

    #[test]
    fn registers_in_any_order_leave_the_same_one(versions in vec((0..4u64, 0..3u8), 1..8), turn in 0..8usize) {
        let register = |(version, byte): &(u64, u8)| Register {
            conversation: ConversationId([1; 16]),
            device: DeviceId([2; 32]),
            version: *version,
            payload: vec![*byte],
            signature: Signature([0; 64]),
        };
        let last = |order: &[(u64, u8)]| {
            let mut kept = register(&order[0]);
            for next in order {
                if register(next).replaces(&kept) {
                    kept = register(next);
                }
            }
            kept
        };
        let mut turned = versions.clone();
        turned.rotate_left(turn % versions.len());
        let mut twice = turned.clone();
        twice.extend(versions.iter().rev());
        prop_assert_eq!(last(&versions), last(&turned));
        prop_assert_eq!(last(&versions), last(&twice));
    }

    #[test]
    fn both_parts_survive_as_bytes(held in steps(), read in steps(), mark in mark(), flip in any::<u16>()) {
        let told = Told { held: both(&held).0, read: both(&read).0 };
        let kept = Kept { read: told.read.clone(), mark };
        let (open, own) = (told.to_bytes(), kept.to_bytes());
        prop_assert_eq!(Told::from_bytes(&open), Ok(told));
        prop_assert_eq!(Kept::from_bytes(&own), Ok(kept));
        prop_assert!((0..open.len()).all(|cut| Told::from_bytes(&open[..cut]).is_err()));
        prop_assert!((0..own.len()).all(|cut| Kept::from_bytes(&own[..cut]).is_err()));
        for bytes in [&open, &own] {
            // What other bytes mean, they mean in this one form.
            let mut other = bytes.clone();
            let at = usize::from(flip) % other.len();
            other[at] ^= (flip >> 8) as u8 | 1;
            if let Ok(read) = Told::from_bytes(&other) {
                prop_assert_eq!(read.to_bytes(), other.clone());
            }
            if let Ok(read) = Kept::from_bytes(&other) {
                prop_assert_eq!(read.to_bytes(), other);
            }
        }
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in vec(any::<u8>(), 0..80)) {
        let mut formed = vec![1];
        formed.extend(&bytes);
        for bytes in [bytes, formed] {
            if let Ok(told) = Told::from_bytes(&bytes) {
                prop_assert_eq!(told.to_bytes(), bytes.clone());
            }
            let _ = Kept::from_bytes(&bytes);
        }
    }
}

#[test]
fn the_bytes_are_pinned() {
    let mut told = Told::default();
    told.held.insert(log(0x11), 1, 200);
    told.read.insert(log(0x11), 1, 7);
    told.read.insert(log(0x11), 9, 10);
    told.held.insert(log(0x12), 3, 3);
    let pinned = [
        "01",               // form
        "02",               // logs
        "1111111111111111", // name
        "9003",             // held: 1 to 200, nothing more
        "0f01",             // read: 1 to 7, and one interval more
        "0001",             // it leaves one out, and has two
        "1212121212121212", // name
        "0101",             // held: nothing from 1 on, one interval
        "0100",             // it begins at 3 and has one
        "00",               // nothing read
    ];
    assert_eq!(tombolo_model::id::hex(&told.to_bytes()), pinned.concat());
    let from = Some(MessageRef { hlc: Hlc(5), id: OpId([0xab; 32]) });
    let mut kept = Kept { read: Seen::new(), mark: Mark { stamp_ms: 300, from } };
    kept.read.insert(log(0x11), 1, 1);
    let id = "ab".repeat(32);
    let pinned = ["01", "ac02", "01", "0000000000000005", &id, "01", "1111111111111111", "02"];
    assert_eq!(tombolo_model::id::hex(&kept.to_bytes()), pinned.concat());
}

#[test]
fn sets_at_the_end_of_numbers_do_not_overflow() {
    let mut seen = Seen::new();
    seen.insert(log(1), u64::MAX - 3, u64::MAX);
    assert!(seen.is_empty(), "no row can hold such a seq");
    seen.insert(log(1), i64::MAX as u64 - 1, u64::MAX);
    seen.insert(log(1), 0, 0);
    assert!(seen.contains(&log(1), i64::MAX as u64) && !seen.contains(&log(1), 0));
    let told = Told { held: seen, read: Seen::new() };
    assert_eq!(Told::from_bytes(&told.to_bytes()), Ok(told));
}
