//! Frames and batches survive, have one form, and any other bytes are refused.

use crate::history::{Key, Random, Writing, Zstd, header, seal};
use crate::pinned;
use proptest::collection::vec;
use proptest::prelude::*;
use tombolo_model::{Class, ConversationId, Hlc, LogId, Malformed, Op, OpId, Sound};
use tombolo_proto::batch;
use tombolo_proto::limit::{BATCH_OPS_MAX, FRAME_BYTES_MAX};
use tombolo_proto::{Fault, Frame};

/// Ops of several conversations: branches, logs that begin in the middle, missing bodies, merges, rare fields.
pub(crate) fn wild_ops(seed: u64, count: usize) -> Vec<Op> {
    let mut random = Random(seed);
    let mut ops: Vec<Op> = Vec::new();
    let mut writings: Vec<Writing> = Vec::new();
    for number in 0..1 + random.below(4) {
        let (writing, genesis) = Writing::found(seed ^ number << 32, 1 + random.below(6) as u8);
        writings.push(writing);
        ops.push(genesis);
    }
    while ops.len() < count {
        let at = random.below(writings.len() as u64) as usize;
        match random.below(12) {
            0 => ops.extend(writings[at].fork()),
            1 => {
                let author = Key::of(100 + random.below(9) as u8).0;
                let seq = 2 + random.below(1 << 40);
                let hlc = Hlc(random.next() >> 1);
                let mut rare =
                    header(writings[at].conversation, author, LogId(random.array()), seq, OpId([9; 32]), hlc);
                (rare.version, rare.epoch) = (random.next() as u8, random.next() as u32);
                rare.expires_ms = random.next();
                rare.erases = (0..random.below(33)).map(|_| OpId(random.array())).collect();
                rare.erases.sort_unstable();
                rare.parents = (0..random.below(33)).map(|_| OpId(random.array())).collect();
                rare.parents.sort_unstable();
                let len = random.below(257) as usize;
                rare.extension = random.bytes(len);
                let len = random.below(2_000) as usize;
                ops.push(seal(rare, random.bytes(len)));
            }
            2 => {
                let mut merge = header(
                    writings[at].conversation,
                    Key::of(120).0,
                    LogId(random.array()),
                    1,
                    OpId::ZERO,
                    Hlc(random.next() >> 1),
                );
                merge.class = Class::Merge;
                ops.push(seal(merge, vec![]));
            }
            _ => ops.push(writings[at].op()),
        }
    }
    for at in (1..ops.len()).rev() {
        if random.below(5) == 0 {
            ops.swap(at, random.below(at as u64 + 1) as usize);
        }
        if random.below(6) == 0 {
            ops[at].body = None;
        }
        if random.below(6) == 0 {
            ops[at].signature = None;
        }
    }
    ops
}

fn decoded(bytes: &[u8]) -> Vec<Op> {
    batch::decode(bytes, &Zstd).unwrap().into_iter().map(Sound::into_op).collect()
}

/// What arrives of ops: grouped by conversation, with the signatures that travel.
pub(crate) fn assert_arrives(ops: &[Op], arrived: &[Op]) {
    let mut expected: Vec<&Op> = ops.iter().collect();
    expected.sort_by_key(|op| op.conversation());
    assert_eq!(expected.len(), arrived.len());
    for (sent, came) in expected.into_iter().zip(arrived) {
        assert_eq!((sent.id, &sent.header, &sent.body), (came.id, &came.header, &came.body));
        assert!(came.signature.is_none() || came.signature == sent.signature, "no signature is made up");
        if sent.header.seq.is_multiple_of(32) {
            assert_eq!(sent.signature, came.signature, "every 32nd travels");
        }
        let ends = !arrived.iter().any(|op| op.header.prev == came.id && op.header.log == came.header.log);
        if ends {
            assert_eq!(sent.signature, came.signature, "the last of a run travels");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_survive(seed: u64, count in 0usize..400) {
        let ops = wild_ops(seed, count);
        let bytes = batch::encode(&ops, &Zstd);
        let arrived = decoded(&bytes);
        assert_arrives(&ops, &arrived);
        // Encoded once more, nothing changes any more.
        let again = decoded(&batch::encode(&arrived, &Zstd));
        prop_assert_eq!(again, arrived);
    }

    #[test]
    fn a_batch_cut_anywhere_is_refused(seed: u64, at in any::<prop::sample::Index>()) {
        let bytes = batch::encode(&wild_ops(seed, 30), &Zstd);
        prop_assert!(batch::decode(&bytes[..at.index(bytes.len())], &Zstd).is_err());
        prop_assert_eq!(batch::decode(&[&bytes[..], &[0]].concat(), &Zstd), Err(Malformed::Trailing));
    }

    #[test]
    fn any_bytes_give_an_error_or_a_frame_in_its_one_form(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = Frame::from_bytes(&bytes)
            && !matches!(frame, Frame::Ignored(_))
        {
            prop_assert_eq!(frame.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_changed_frame_is_refused_or_another_frame(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8) {
        let all = pinned::frames();
        let (frame, mut bytes) = all[which.index(all.len())].clone();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        if let Ok(other) = Frame::from_bytes(&bytes) {
            prop_assert_ne!(&other, &frame);
            if !matches!(other, Frame::Ignored(_)) {
                prop_assert_eq!(other.to_bytes(), bytes);
            }
        }
    }
}

#[test]
fn a_frame_truncated_at_every_byte_is_refused() {
    for (frame, bytes) in pinned::frames() {
        for cut in 0..bytes.len() {
            let short = Frame::from_bytes(&bytes[..cut]);
            // The last field of some frames is whatever is left.
            let open =
                matches!(frame, Frame::Batch(_) | Frame::Cells { .. } | Frame::Ranges { .. } | Frame::Presence { .. });
            match short {
                Err(Fault::Malformed(Malformed::Truncated)) => {}
                Ok(other) if open => assert_ne!(other, frame),
                other => panic!("{} cut at {cut}: {other:?}", frame.name()),
            }
        }
        let long = Frame::from_bytes(&[&bytes[..], &[0]].concat());
        assert!(long.is_err() || long != Ok(frame), "bytes too many");
    }
}

#[test]
fn frames_over_the_limit_cost_nothing() {
    let fault = Frame::from_bytes(&vec![0x03; FRAME_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(fault.code(), "frame_too_large");
    assert_eq!(fault, Fault::FrameTooLarge { bytes: FRAME_BYTES_MAX + 1, max: FRAME_BYTES_MAX });
}

#[test]
fn a_decompression_bomb_stops_at_its_bound() {
    for claimed in [3 * 1024 * 1024, 512 * 1024 * 1024] {
        let packed = zstd::bulk::compress(&vec![0; claimed], 3).unwrap();
        let mut bytes = vec![1];
        tombolo_model::codec::put_bytes(&mut bytes, &packed);
        assert!(bytes.len() < 40_000, "{} bytes inflate to {claimed}", bytes.len());
        assert_eq!(batch::decode(&bytes, &Zstd), Err(Malformed::TooLarge("decompressed batch")));
    }
}

#[test]
fn counts_that_nothing_follows_allocate_nothing() {
    // 4,096 conversations of 4,096 ops each are claimed in a few bytes.
    let mut columns = vec![0x80, 0x20];
    columns.extend_from_slice(&[0xc0; 16]);
    columns.extend_from_slice(&[0x80, 0x20, 0x80, 0x20]);
    let mut bytes = vec![0];
    tombolo_model::codec::put_bytes(&mut bytes, &columns);
    assert_eq!(batch::decode(&bytes, &Zstd), Err(Malformed::Truncated));
    let mut over = vec![0];
    tombolo_model::codec::put_bytes(&mut over, &[0x81, 0x20]);
    assert_eq!(batch::decode(&over, &Zstd), Err(Malformed::TooLarge("conversations")));
    assert_eq!(BATCH_OPS_MAX, 4096);
}

#[test]
fn an_op_of_another_conversation_than_its_section_is_refused() {
    let (_, genesis) = Writing::found(1, 1);
    let bytes = batch::encode(std::slice::from_ref(&genesis), &Zstd);
    let place = bytes.windows(16).position(|window| window == genesis.conversation().0);
    let mut bytes = bytes;
    // Without compression (too small to shrink) the id of the conversation stands in the clear.
    bytes[place.unwrap()] ^= 1;
    assert_eq!(batch::decode(&bytes, &Zstd), Err(Malformed::NotCanonical("genesis")));
    assert_ne!(genesis.conversation(), ConversationId::ZERO);
}
