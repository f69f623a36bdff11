//! Registers against a naive map: which version stays, what changed since when, sums, bounds. And which places are
//! delivered up to a place, against a walk over all ops.

use crate::order::{step, write};
use crate::world::{Script, Store, device};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::limit::REGISTER_BYTES_MAX;
use tombolo_model::{ConversationId, Hlc, LogId, OpId, Register, Seen, Signature};
use tombolo_oplog::{NoFold, State, Taken};

fn register(conversation: ConversationId, of: u8, version: u64, byte: u8) -> Register {
    let (payload, signature) = (vec![byte; 3], Signature([7; 64]));
    Register { conversation, device: device(of), version, payload, signature }
}

/// Two conversations with members 1, 2, 3; 1 and 2 are of one account.
fn stores() -> (Store, [ConversationId; 2]) {
    let mut store = Store::new();
    let ids = [1, 2].map(|salt| {
        let mut script = Script::new(salt);
        script.invite(1, 50 + salt, 9, 0);
        let invite = script.written[1].op.id;
        script.join(1, 2, 50 + salt, &[invite]);
        script.join(3, 3, 50 + salt, &[invite]);
        store.take(&script.written);
        script.conversation
    });
    (store, ids)
}

fn put(store: &mut Store, register: &Register, from: Option<u8>) -> Taken {
    let mut batch = store.log.batch().unwrap();
    let taken = batch.put_register(register, from.map(device).as_ref(), &mut NoFold).unwrap();
    batch.commit().unwrap();
    taken
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn registers_are_what_a_naive_map_says(puts in vec((0..2usize, 1..5u8, 0..5u64, 0..3u8, 0..3u8), 1..30), after in 0..30u64) {
        let (mut store, ids) = stores();
        let mut naive: BTreeMap<(ConversationId, u8), (u64, u8)> = BTreeMap::new();
        // Newest change last.
        let mut changes: Vec<(u64, ConversationId, u8, Option<u8>)> = Vec::new();
        let mut position = 0;
        for (which, of, version, byte, from) in puts {
            let conversation = ids[which];
            let from = (from > 0).then_some(from + 100);
            let taken = put(&mut store, &register(conversation, of, version, byte), from);
            let known = naive.get(&(conversation, of)).copied();
            let expected = match known {
                _ if of == 4 => Taken::Refused,
                Some(known) if known >= (version, byte) => Taken::Old,
                _ => Taken::New,
            };
            prop_assert_eq!(taken, expected);
            if taken == Taken::New {
                naive.insert((conversation, of), (version, byte));
                position = changes.last().map_or(0, |(position, ..)| *position) + 1;
                changes.retain(|(_, id, device, _)| (*id, *device) != (conversation, of));
                changes.push((position, conversation, of, from));
            }
        }
        store = store.reopen();
        prop_assert_eq!(store.log.registers_end().unwrap(), position);
        let found: Vec<_> = store.log.register_changes(after, 100).unwrap().into_iter()
            .map(|change| (change.position, change.conversation, change.device, change.source)).collect();
        let expected: Vec<_> = changes.iter().filter(|(position, ..)| *position > after)
            .map(|(position, id, of, from)| (*position, *id, device(*of), from.map(device))).collect();
        prop_assert_eq!(found, expected);
        for conversation in ids {
            let kept: Vec<Register> = naive.iter().filter(|((id, _), _)| *id == conversation)
                .map(|((id, of), (version, byte))| register(*id, *of, *version, *byte)).collect();
            prop_assert_eq!(&store.log.registers(&conversation).unwrap(), &kept);
            let sum = |of: &[u8]| kept.iter().filter(|register| of.contains(&register.device.0[0]))
                .fold(0u64, |sum, register| sum.wrapping_add(register.tag()));
            prop_assert_eq!(store.log.register_sum(&conversation, None).unwrap(), sum(&[1, 2, 3]));
            let of = store.log.siblings(&conversation, &[device(2)]).unwrap();
            prop_assert_eq!(&of, &BTreeSet::from([device(1), device(2)]));
            prop_assert_eq!(store.log.register_sum(&conversation, Some(&of)).unwrap(), sum(&[1, 2]));
            prop_assert_eq!(store.log.accounts(&conversation).unwrap(), 2);
        }
    }

    #[test]
    fn what_is_delivered_up_to_a_place_is_what_a_walk_says(steps in vec(step(), 1..50), leave in vec(any::<bool>(), 50), at in 0..60usize) {
        let script = write(&steps);
        let mut store = Store::new();
        // Something is missing, so logs have gaps and ops wait.
        let some: Vec<_> = script.written.iter().enumerate()
            .filter(|(at, _)| *at < 4 || !leave[at % leave.len()] || at % 3 > 0).map(|(_, op)| op.clone()).collect();
        store.take(&some);
        let id = script.conversation;
        let mut ops = Vec::new();
        for one in &script.written {
            if let Some((state, _)) = store.log.state(&id, &one.op.id).unwrap() {
                ops.push((one.op.header.hlc, one.op.id, one.op.header.log, one.op.header.seq, state));
            }
        }
        let through = script.written.get(at).map(|one| (one.op.header.hlc, one.op.id));
        let below = |op: &(Hlc, OpId, _, _, _)| through.is_none_or(|through| (op.0, op.1) <= through);
        let ready = |state| matches!(state, State::Delivered | State::Void);
        let mut expected = Seen::new();
        for op in ops.iter().filter(|op| below(op) && ready(op.4)) {
            // Of several ops at one place all count, or none.
            if ops.iter().all(|other| (other.2, other.3) != (op.2, op.3) || (below(other) && ready(other.4))) {
                expected.insert(op.2, op.3, op.3);
            }
        }
        let found = store.log.delivered_through(&id, through).unwrap();
        // Whose clock went backwards is not looked at closely: its ops are void, or will be once what they wait for is
        // here, and nobody is shown them.
        let falls = |name| {
            let of = || ops.iter().filter(move |op| op.2 == name);
            of().any(|op| op.4 == State::Void || of().any(|later| later.3 > op.3 && later.0 <= op.0))
        };
        for name in (1..9).map(|name| LogId([name; 8])).filter(|name| !falls(*name)) {
            prop_assert_eq!(found.of(&name), expected.of(&name));
        }
    }
}

#[test]
fn what_is_over_a_bound_or_of_a_stranger_leaves_nothing() {
    let (mut store, [id, _]) = stores();
    let mut large = register(id, 1, 1, 0);
    large.payload = vec![0; REGISTER_BYTES_MAX + 1];
    let mut late = register(id, 1, 1, 0);
    late.version = 1 << 63;
    for refused in [large, late, register(id, 9, 1, 0), register(ConversationId([9; 16]), 1, 1, 0)] {
        assert_eq!(put(&mut store, &refused, Some(2)), Taken::Refused);
    }
    assert_eq!((store.log.registers_end().unwrap(), store.log.register_sum(&id, None).unwrap()), (0, 0));
    let mut largest = register(id, 1, i64::MAX as u64, 0);
    largest.payload = vec![0; REGISTER_BYTES_MAX];
    assert_eq!(put(&mut store, &largest, Some(2)), Taken::New);
    assert_eq!(put(&mut store, &register(id, 1, 5, 0), None), Taken::Old);
}

#[test]
fn registers_never_grow_the_log_and_are_in_no_digest() {
    let (mut store, [id, other]) = stores();
    let before = (store.log.proof(&id).unwrap(), store.log.cursor().unwrap(), store.nodes());
    put(&mut store, &register(id, 1, 1, 0), None);
    for version in 2..500 {
        put(&mut store, &register(id, 1, version, 0), None);
    }
    put(&mut store, &register(other, 3, 1, 0), None);
    assert_eq!((store.log.proof(&id).unwrap(), store.log.cursor().unwrap(), store.nodes()), before);
    let count: i64 =
        store.log.connection().unwrap().query_row("SELECT count(*) FROM register", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2);
    store.assert_healthy();
    assert_eq!(store.log.registers_read(&device(9)).unwrap(), 0);
    let mut batch = store.log.batch().unwrap();
    batch.set_registers_read(&device(9), 17).unwrap();
    batch.commit().unwrap();
    assert_eq!(store.log.registers_read(&device(9)).unwrap(), 17);
}
