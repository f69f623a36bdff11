//! Range messages from a peer that lies: bytes are refused or decode, replies stay bounded, nothing panics.

use crate::Random;
use proptest::prelude::*;
use tombolo_model::id::hex;
use tombolo_model::{Hlc, Key, Malformed, OpId};
use tombolo_proto::reconcile::ranges::{
    BUDGET_BYTES_MIN, FINGERPRINT_BYTES, HAVE_MAX, ITEMS_MAX, Mode, RANGES_MAX, Range, RangeError, Span, from_bytes,
    initial, respond, to_bytes,
};
use tombolo_proto::reconcile::testing::VecSource;

fn skip(hi: Key) -> Range {
    Range { hi, mode: Mode::Skip }
}

fn source() -> VecSource {
    VecSource::new(Random(31).history(5000))
}

#[test]
fn the_bytes_of_a_message_are_pinned() {
    let key = |ms, counter, id: u64| Key(u128::from(Hlc::new(ms, counter).0) << 64 | u128::from(id));
    let ranges = vec![
        skip(key(1_700_000_000_000, 0, 0)),
        Range { hi: key(1_700_000_000_300, 0, 0), mode: Mode::Fingerprint([0xaa; FINGERPRINT_BYTES]) },
        Range { hi: key(1_700_000_000_300, 1, 0x0203_0000_0000_0000), mode: Mode::Items(vec![1, u64::MAX]) },
        Range { hi: key(1_700_000_000_300, 1, 0x0203_0000_0000_0001), mode: Mode::Items(vec![]) },
        Range { hi: Key::END, mode: Mode::Fingerprint([0xbb; FINGERPRINT_BYTES]) },
    ];
    let bytes = to_bytes(Span::ALL, &ranges);
    assert_eq!(
        hex(&bytes),
        "0080d095ffbc3101ac02aaaaaaaaaaaaaaaaaaaaaaaa120000010203020000000000000001ffffffffffffffff\
         2a0000010203000000000001003dbbbbbbbbbbbbbbbbbbbbbbbb"
    );
    assert_eq!(from_bytes(Span::ALL, &bytes).unwrap(), ranges);
    let ops = (0u64..40).map(|n| (Hlc::new(1_000 * n, 0), OpId([n as u8 + 1; 32])));
    let first = initial(&VecSource::new(ops), Span::ALL).unwrap();
    // Ranks 2, 5 and 7 of 40: bounds at 2,000, 5,000 and 7,000 ms.
    assert_eq!(
        hex(&to_bytes(Span::ALL, &first)[..48]),
        "01d00f02d3fef6ba1ed1abc02d108001b81738b06be4232df1c2e72e946e01d00f738f97680a41e3f13ed8bbf001b817"
    );
}

#[test]
fn bytes_that_are_no_cover_are_refused() {
    let window = Span::new(Key(5 << 80), Key(9 << 80)).unwrap();
    let end = 15 << 2;
    for (bytes, expected) in [
        (&[][..], Malformed::Truncated),
        (&[end, 0][..], Malformed::Trailing),
        (&[end | 3][..], Malformed::Unknown("range mode")),
        (&[0, 1][..], Malformed::Truncated),                                // no end
        (&[0, 0, end][..], Malformed::NotCanonical("order of ranges")),     // empty range
        (&[0, 4, end][..], Malformed::NotCanonical("order of ranges")),     // the end, not named so
        (&[0, 9, end][..], Malformed::NotCanonical("order of ranges")),     // beyond
        (&[1 << 2, 0, 0, end][..], Malformed::NotCanonical("range bound")), // trailing zero
        (&[11 << 2, 0, end][..], Malformed::Unknown("size of a range bound")),
        (&[0x80 | end, 0][..], Malformed::Unknown("size of a range bound")),
        (&[0, 0x81, 0, end][..], Malformed::NotCanonical("number")),
        (&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, end][..], Malformed::TooLarge("range bound")),
        (&[end | 1, 0][..], Malformed::Truncated),
        (&[end | 2, 2, 0][..], Malformed::Truncated),
        (&[end | 2, 0xff, 0x7f][..], Malformed::TooLarge("list of items")),
    ] {
        assert_eq!(from_bytes(window, bytes), Err(expected), "{bytes:?}");
    }
    let many = [0, 1].repeat(RANGES_MAX + 1);
    assert_eq!(from_bytes(Span::ALL, &many), Err(Malformed::TooLarge("number of ranges")));
}

#[test]
fn ranges_that_are_no_cover_are_refused() {
    let source = source();
    let list = |len| Range { hi: Key::END, mode: Mode::Items(vec![0; len]) };
    for (ranges, expected) in [
        (vec![], Malformed::Truncated),
        (vec![skip(Key(7))], Malformed::Truncated),
        (vec![skip(Key(7)), skip(Key(7)), skip(Key::END)], Malformed::NotCanonical("order of ranges")),
        (vec![skip(Key(8)), skip(Key(7)), skip(Key::END)], Malformed::NotCanonical("order of ranges")),
        (vec![skip(Key(0)), skip(Key::END)], Malformed::NotCanonical("order of ranges")),
        (vec![list(ITEMS_MAX + 1)], Malformed::TooLarge("list of items")),
        ((1..=RANGES_MAX as u128 + 1).map(|at| skip(Key(at))).collect(), Malformed::TooLarge("number of ranges")),
    ] {
        assert_eq!(respond(&source, Span::ALL, &ranges, 4096), Err(RangeError::Malformed(expected)));
    }
    let window = Span::new(Key(5), Key(9)).unwrap();
    assert_eq!(respond(&source, window, &[skip(Key::END)], 4096), Err(RangeError::Malformed(Malformed::Trailing)));
    assert!(respond(&source, Span::ALL, &[list(ITEMS_MAX)], 4096).is_ok());
}

#[test]
fn the_worst_message_gets_a_bounded_reply() {
    // As many differing ranges as are allowed, over a set with far more items than a reply reports.
    let ops = Random(32).history(200_000);
    let source = VecSource::new(ops.iter().copied());
    let hi = |index: usize| {
        let (hlc, id) = ops[index * (ops.len() / RANGES_MAX)];
        if index == RANGES_MAX { Key::END } else { Key(Key::new(hlc, &id).0 + 1) }
    };
    for mode in [Mode::Fingerprint([0; FINGERPRINT_BYTES]), Mode::Items(vec![]), Mode::Items(vec![1])] {
        let mut ranges: Vec<Range> = (0..RANGES_MAX).map(|index| Range { hi: hi(index), mode: mode.clone() }).collect();
        ranges[RANGES_MAX - 1].hi = Key::END;
        for budget in [0, 65_536, usize::MAX] {
            let reply = respond(&source, Span::ALL, &ranges, budget).unwrap();
            let bytes = to_bytes(Span::ALL, &reply.ranges);
            assert!(bytes.len() <= budget.max(BUDGET_BYTES_MIN));
            assert!(reply.ranges.len() <= RANGES_MAX && reply.have.len() <= HAVE_MAX);
            assert_eq!(from_bytes(Span::ALL, &bytes).unwrap(), reply.ranges);
            assert!(reply.cut);
        }
    }
}

#[test]
fn a_short_list_over_very_many_items_is_split_not_compared() {
    let list = [Range { hi: Key::END, mode: Mode::Items(vec![1]) }];
    let reply = respond(&source(), Span::ALL, &list, 4096).unwrap();
    assert!(reply.have.is_empty() && reply.need.is_empty());
    assert_eq!(reply.ranges, initial(&source(), Span::ALL).unwrap());
}

#[test]
fn too_many_items_of_one_key_are_named_not_looped_over() {
    let mut random = Random(33);
    let (hlc, twin) = (Hlc::new(5, 0), random.id());
    let crowd = (0..ITEMS_MAX + 1).map(|_| {
        let mut id = random.id();
        id.0[..8].copy_from_slice(&twin.0[..8]);
        (hlc, id)
    });
    let source = VecSource::new(crowd);
    let expected = RangeError::Crowded { count: ITEMS_MAX as u64 + 1 };
    assert_eq!(initial(&source, Span::ALL), Err(expected));
}

/// Ranges that cover everything, with whatever said about them.
fn lies() -> impl Strategy<Value = Vec<Range>> {
    let mode = prop_oneof![
        Just(Mode::Skip),
        any::<[u8; FINGERPRINT_BYTES]>().prop_map(Mode::Fingerprint),
        prop::collection::vec(any::<u64>(), 0..60).prop_map(Mode::Items),
    ];
    // Bounds near those of `source`, or anywhere.
    let bound = prop_oneof![any::<u128>(), (0u128..400_000_000).prop_map(|ms| (1_700_000_000_000 + ms) << 80)];
    (prop::collection::btree_set(bound, 0..60), prop::collection::vec(mode, 61)).prop_map(|(bounds, modes)| {
        let bounds = bounds.into_iter().filter(|at| *at > 0 && *at < u128::MAX).chain([u128::MAX]);
        bounds.zip(modes).map(|(hi, mode)| Range { hi: Key(hi), mode }).collect()
    })
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_are_the_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..400), lo: u64, width in 1u64..) {
        let window = Span::new(Key(u128::from(lo) << 64), Key(u128::from(lo.saturating_add(width)) << 64 | 1)).unwrap();
        for span in [Span::ALL, window] {
            if let Ok(ranges) = from_bytes(span, &bytes) {
                prop_assert_eq!(to_bytes(span, &ranges), bytes.clone());
                prop_assert_eq!(ranges.last().unwrap().hi, span.hi());
                prop_assert!(respond(&source(), span, &ranges, 4096).is_ok());
            }
        }
    }

    /// One bit of an honest message turned over.
    #[test]
    fn a_damaged_message_is_refused_or_answered(at in 0usize..300, bit in 0u8..8) {
        let source = source();
        let mut bytes = to_bytes(Span::ALL, &initial(&source, Span::ALL).unwrap());
        let len = bytes.len();
        bytes[at % len] ^= 1 << bit;
        if let Ok(ranges) = from_bytes(Span::ALL, &bytes) {
            prop_assert_eq!(to_bytes(Span::ALL, &ranges), bytes);
            prop_assert!(respond(&source, Span::ALL, &ranges, 4096).is_ok());
        }
    }

    #[test]
    fn lies_get_bounded_replies(ranges in lies(), budget in 0usize..5000) {
        let reply = respond(&source(), Span::ALL, &ranges, budget).unwrap();
        let bytes = to_bytes(Span::ALL, &reply.ranges);
        prop_assert!(bytes.len() <= budget.max(BUDGET_BYTES_MIN));
        prop_assert_eq!(from_bytes(Span::ALL, &bytes).unwrap(), reply.ranges);
        prop_assert!(reply.have.is_sorted() && reply.have.len() <= HAVE_MAX);
    }
}
