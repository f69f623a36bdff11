//! Runs and batches of ops: what vouches for what, and everything a hostile sender can spoil.
#![allow(clippy::unwrap_used)]

mod common;

use common::{header, log, thin};
use proptest::prelude::*;
use std::time::Instant;
use tombolo_identity::{DeviceKey, IdentityError, sign_op, verify_batch, verify_run};
use tombolo_model::control::Control;
use tombolo_model::crypto::{DOMAIN_OP, Signer};
use tombolo_model::{Class, DeviceId, LogId, Op, OpId, Sound};

fn ana() -> DeviceKey {
    DeviceKey::from_seed([1; 32])
}

fn nothing(_: &DeviceId, _: &LogId, _: u64) -> Option<OpId> {
    None
}

fn ids(ops: &[Op]) -> Vec<OpId> {
    ops.iter().map(|op| op.id).collect()
}

fn sound(ops: &[Op]) -> Vec<Sound> {
    ops.iter().map(|op| Sound::check(op.clone()).unwrap()).collect()
}

/// Taken ids and refusals of a batch of which nothing is held yet.
fn judge(ops: &[Op]) -> (Vec<OpId>, Vec<(OpId, IdentityError)>) {
    let (verified, refused) = verify_batch(sound(ops), nothing);
    (verified.iter().map(|(op, _)| op.id).collect(), refused)
}

#[test]
fn one_signature_vouches_for_the_whole_run() {
    let mut ops = log(&ana(), 1, 100);
    thin(&mut ops, 1_000);
    assert_eq!(ops.iter().filter(|op| op.signature.is_some()).count(), 1);
    assert_eq!(verify_run(&ops, None), Ok(()));
    assert_eq!(verify_run(&[], None), Ok(()));
    assert_eq!(judge(&ops), (ids(&ops), vec![]));
    ops.reverse();
    assert_eq!(judge(&ops), (ids(&ops), vec![]), "the order of a batch does not matter and is kept");
}

#[test]
fn an_unsigned_tail_is_refused_and_only_the_tail() {
    let mut ops = log(&ana(), 1, 70);
    thin(&mut ops, 32);
    ops.pop();
    assert_eq!(verify_run(&ops, None), Err(IdentityError::Unsigned));
    let (taken, refused) = judge(&ops);
    assert_eq!(taken, ids(&ops[..64]));
    assert_eq!(refused, ops[64..].iter().map(|op| (op.id, IdentityError::Unsigned)).collect::<Vec<_>>());
}

#[test]
fn a_held_op_vouches_for_the_tail() {
    let mut ops = log(&ana(), 1, 40);
    let held = ops.pop().unwrap();
    ops.iter_mut().for_each(|op| op.signature = None);
    assert_eq!(verify_run(&ops, Some(&held.header.prev)), Ok(()));
    assert_eq!(verify_run(&ops, Some(&OpId([7; 32]))), Err(IdentityError::BrokenChain));
    let known = |author: &DeviceId, log: &LogId, seq: u64| {
        ((*author, *log, seq) == (held.header.author, held.header.log, 39)).then_some(held.header.prev)
    };
    let (verified, refused) = verify_batch(sound(&ops), known);
    assert_eq!((verified.len(), refused), (39, vec![]));
}

#[test]
fn a_forged_author_is_refused() {
    let (ana, eve) = (ana(), DeviceKey::from_seed([66; 32]));
    let honest = log(&ana, 1, 1).remove(0);
    assert_eq!(judge(std::slice::from_ref(&honest)).1, vec![]);
    // The same op, signed by eve instead; and eve's signature of an op of her own.
    for signature in [eve.sign(DOMAIN_OP, &honest.id.0), log(&eve, 1, 1)[0].signature.unwrap()] {
        let forged = Op { signature: Some(signature), ..honest.clone() };
        assert_eq!(judge(std::slice::from_ref(&forged)).1, vec![(forged.id, IdentityError::BadSignature)]);
        assert_eq!(verify_run(&[forged], None), Err(IdentityError::BadSignature));
    }
    // An op of eve's that names an unsigned op of ana's as its own predecessor vouches for nothing of ana's.
    let mut of_ana = log(&ana, 1, 1).remove(0);
    of_ana.signature = None;
    let of_eve = sign_op(header(&eve, 1, 2, of_ana.id), &eve, vec![1]);
    assert_eq!(judge(&[of_ana.clone(), of_eve.clone()]), (vec![of_eve.id], vec![(of_ana.id, IdentityError::Unsigned)]));
    assert_eq!(verify_run(&[of_ana, of_eve], None), Err(IdentityError::NotOneRun));
}

#[test]
fn a_broken_chain_is_refused() {
    let key = ana();
    let mut ops = log(&key, 1, 10);
    thin(&mut ops, 1_000);
    // Another op in the place of the fifth, by whoever relays.
    ops[4] = Op { signature: None, ..sign_op(header(&key, 1, 5, ops[3].id), &key, b"other".to_vec()) };
    assert_eq!(verify_run(&ops, None), Err(IdentityError::BrokenChain));
    let (taken, refused) = judge(&ops);
    assert_eq!(taken, ids(&ops[5..]));
    assert_eq!(refused[4], (ops[4].id, IdentityError::BrokenChain));
    assert!(refused[..4].iter().all(|(_, error)| *error == IdentityError::Unsigned), "nothing vouches below the break");
    let gap = [log(&key, 2, 5).remove(1), log(&key, 2, 5).remove(3)];
    assert_eq!(verify_run(&gap, None), Err(IdentityError::NotOneRun));
    let last = Op::new(header(&key, 1, u64::MAX, OpId([1; 32])), None, None);
    assert_eq!(verify_run(&[last.clone(), last], None), Err(IdentityError::NotOneRun));
}

#[test]
fn a_spoiled_signature_drops_its_op_and_not_the_ones_before() {
    let mut ops = log(&ana(), 1, 64);
    thin(&mut ops, 32);
    ops[31].signature.as_mut().unwrap().0[3] ^= 1;
    assert_eq!(verify_run(&ops, None), Err(IdentityError::BadSignature));
    let (taken, refused) = judge(&ops);
    assert_eq!(refused, vec![(ops[31].id, IdentityError::BadSignature)]);
    assert_eq!(taken.len(), 63);
}

#[test]
fn a_changed_body_is_not_that_of_its_op() {
    let mut ops = log(&ana(), 1, 10);
    thin(&mut ops, 32);
    ops[9].body.as_mut().unwrap()[0] ^= 1;
    ops[5].body.as_mut().unwrap().push(0);
    ops[3].body = None;
    assert_eq!(verify_run(&ops, None), Err(IdentityError::WrongBody));
    let unsound: Vec<usize> = (0..10).filter(|at| Sound::check(ops[*at].clone()).is_err()).collect();
    assert_eq!(unsound, [5, 9], "they never get into a batch");
}

#[test]
fn an_empty_body_is_judged_alike_whether_it_came_along_or_not() {
    let key = ana();
    let mut of_nothing = header(&key, 1, 1, OpId::ZERO);
    of_nothing.class = Class::Merge;
    let good = sign_op(of_nothing.clone(), &key, vec![]);
    for body in [None, Some(vec![])] {
        assert_eq!(judge(&[Op { body: body.clone(), ..good.clone() }]).1, vec![]);
        // A hash of something else over an empty body.
        let mut bad = Op::new(of_nothing.clone(), None, body);
        bad.signature = Some(key.sign(DOMAIN_OP, &bad.id.0));
        assert_eq!(verify_run(std::slice::from_ref(&bad), None), Err(IdentityError::WrongBody));
        if bad.body.is_some() {
            assert!(Sound::check(bad).is_err());
        } else {
            assert_eq!(judge(std::slice::from_ref(&bad)).1, vec![(bad.id, IdentityError::WrongBody)]);
        }
    }
}

#[test]
fn branches_and_duplicates_are_judged_one_by_one() {
    let key = ana();
    let mut ops = log(&key, 1, 6);
    let branch = sign_op(header(&key, 1, 4, ops[2].id), &key, b"the other fourth".to_vec());
    thin(&mut ops, 1_000);
    let unsigned_branch = Op { signature: None, ..branch.clone() };
    ops.insert(0, unsigned_branch.clone());
    ops.push(ops[2].clone());
    let (taken, refused) = judge(&ops);
    assert_eq!(refused, vec![(branch.id, IdentityError::BrokenChain)]);
    assert_eq!(taken.len(), 7);
    // Beside a signed copy of itself the unsigned one is fine.
    ops.push(branch);
    assert_eq!(judge(&ops).1, vec![]);
}

#[test]
fn control_bodies_are_read_and_newer_versions_left_alone() {
    let key = ana();
    let mut first = header(&key, 1, 1, OpId::ZERO);
    first.class = Class::Control;
    let revoke = Control::Revoke { key: [3; 32] };
    let op = sign_op(first.clone(), &key, revoke.to_bytes());
    let (verified, _) = verify_batch(sound(&[op]), nothing);
    assert_eq!(verified[0].1, Some(revoke));
    let garbage = sign_op(first.clone(), &key, vec![0xff; 8]);
    assert!(matches!(judge(&[garbage]).1[..], [(_, IdentityError::Malformed(_))]));
    first.version = 2;
    let newer = sign_op(first, &key, vec![0xff; 8]);
    let (verified, refused) = verify_batch(sound(&[newer]), nothing);
    assert_eq!((verified.len(), verified[0].1.is_none(), refused), (1, true, vec![]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_order_of_any_logs_gives_the_same_verdicts(
        lengths in proptest::collection::vec(0u64..12, 1..5), keep in 1u64..6, cut in any::<bool>(), seed: u64,
    ) {
        let mut ops = vec![];
        for (log_id, length) in lengths.iter().enumerate() {
            let key = DeviceKey::from_seed([1 + (log_id % 2) as u8; 32]);
            let mut run = log(&key, log_id as u8, *length);
            thin(&mut run, keep);
            if cut { run.pop(); }
            ops.extend(run);
        }
        // What the definition says, op by op: a signature at or above it in its own log.
        let expected: Vec<OpId> = ops.iter().filter(|op| ops.iter().any(|above| {
            above.header.log == op.header.log && above.header.seq >= op.header.seq && above.signature.is_some()
        })).map(|op| op.id).collect();
        prop_assert_eq!(judge(&ops).0, expected.clone());
        ops.sort_by_key(|op| op.id.prefix().wrapping_mul(seed | 1));
        let (mut shuffled, _) = judge(&ops);
        shuffled.sort();
        let mut sorted = expected;
        sorted.sort();
        prop_assert_eq!(shuffled, sorted);
    }
}

#[test]
fn thin_signatures_make_a_batch_cheap() {
    let mut all = vec![];
    for author in 0..20 {
        all.extend(log(&DeviceKey::from_seed([author; 32]), author, 500));
    }
    let mut thinned = all.clone();
    thinned.chunks_mut(500).for_each(|log| thin(log, 32));
    let time = |ops: &[Op]| {
        let ops = sound(ops);
        let begin = Instant::now();
        let (verified, _) = verify_batch(ops, nothing);
        assert_eq!(verified.len(), 10_000);
        begin.elapsed()
    };
    let (full, thin) = (time(&all), (0..3).map(|_| time(&thinned)).min().unwrap());
    println!("10,000 ops: {full:?} with every signature, {thin:?} with every 32nd");
    assert!(thin * 4 < full, "{thin:?} is not below a quarter of {full:?}");
}
