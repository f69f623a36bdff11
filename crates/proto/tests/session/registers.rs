//! Registers beside the log: whatever each side held, and however the wire was cut, both come to hold the newest of all;
//! nothing new costs one small frame a side; an older side is left in peace.

use crate::history::{Key, Random, conversation};
use crate::hostile::{answers, feed, opened};
use crate::states::memory;
use crate::world::World;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tombolo_model::limit::REGISTER_BYTES_MAX;
use tombolo_model::register::digest_of;
use tombolo_model::{ConversationId, DeviceId, Op, Register, Signature};
use tombolo_proto::frame::{Reading, Registers};
use tombolo_proto::limit::{READINGS_MAX, REGISTERS_MS};
use tombolo_proto::source::RegisterPage;
use tombolo_proto::{Frame, Input, Output};

/// Registers in memory: test double for the tables, written for shortness.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    rows: BTreeMap<(ConversationId, DeviceId), (u64, Register, Option<DeviceId>)>,
    pub(crate) read: BTreeMap<DeviceId, u64>,
}

impl Kept {
    pub(crate) fn end(&self) -> u64 {
        self.rows.values().map(|row| row.0).max().unwrap_or(0)
    }

    pub(crate) fn put(&mut self, register: Register, from: Option<DeviceId>) {
        let name = (register.conversation, register.device);
        if self.rows.get(&name).is_none_or(|(_, held, _)| register.replaces(held)) {
            self.rows.insert(name, (self.end() + 1, register, from));
        }
    }

    pub(crate) fn digest(&self) -> [u8; 6] {
        let mut sums: BTreeMap<ConversationId, u64> = BTreeMap::new();
        for ((conversation, _), (_, register, _)) in &self.rows {
            let sum = sums.entry(*conversation).or_default();
            *sum = sum.wrapping_add(register.tag());
        }
        digest_of(sums)
    }

    pub(crate) fn page(&self, peer: &DeviceId, after: u64, whole: bool, max: usize) -> RegisterPage {
        let mut rows: Vec<_> = self.rows.values().filter(|row| row.0 > after).collect();
        rows.sort_by_key(|row| row.0);
        let mut page = RegisterPage { registers: vec![], through: after, last: true };
        let mut bytes = 0;
        for (position, register, from) in rows {
            if bytes >= max {
                page.last = false;
                break;
            }
            if whole || from.as_ref() != Some(peer) {
                bytes += register.payload.len() + 100;
                page.registers.push(register.clone());
            }
            page.through = *position;
        }
        page
    }

    fn all(&self) -> Vec<&Register> {
        self.rows.values().map(|row| &row.1).collect()
    }
}

fn register(of: u8, version: u64, len: usize) -> Register {
    Register {
        conversation: ConversationId([of % 3; 16]),
        device: Key::of(of).0,
        version,
        payload: vec![version as u8; len],
        signature: Signature([1; 64]),
    }
}

/// Two sides with the same ten ops, not connected.
fn parted() -> World {
    let ops = conversation(1, 2, 9);
    let all: Vec<&Op> = ops.iter().collect();
    World::new(memory(1, &all), memory(2, &all))
}

fn assert_same(world: &World) {
    let [one, two] = &world.sides;
    assert_eq!((&one.fault, &two.fault), (&None, &None));
    assert_eq!(one.memory.registers.all(), two.memory.registers.all());
    assert!(one.session.registers_quiet() && two.session.registers_quiet());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn both_sides_come_to_hold_the_newest_of_all(
        rounds in vec((vec((0..2usize, 0..9u8, 0..6u64), 0..8), 0..12usize, any::<bool>(), any::<u8>()), 1..5),
    ) {
        let mut world = parted();
        for (puts, cut, live, loss) in rounds {
            for (side, of, version) in &puts {
                world.sides[*side].memory.registers.put(register(*of, *version, 20), None);
            }
            // A store that was restored from before, or emptied; or a position read of a store that is gone.
            if loss < 40 {
                let kept = &mut world.sides[usize::from(loss) % 2].memory.registers;
                match loss % 4 {
                    0 => *kept = Kept::default(),
                    1 => { kept.rows.pop_first(); }
                    2 => { kept.read.values_mut().for_each(|read| *read += 3); }
                    _ => kept.read.clear(),
                }
            }
            world.connect();
            for _ in 0..cut {
                world.step();
            }
            if live {
                world.run();
                assert_same(&world);
                world.sides[0].memory.registers.put(register(1, 9, 5), None);
                world.input(0, Input::RegistersChanged);
                world.run();
                world.pass(REGISTERS_MS);
                assert_same(&world);
            }
        }
        world.converge();
        assert_same(&world);
    }
}

#[test]
fn many_go_in_frames_that_wait_for_the_disk() {
    let mut world = parted();
    for of in 0..200 {
        world.sides[0].memory.registers.put(register(of, 1, 4_000), None);
    }
    world.connect();
    let mut on_the_way = 0;
    while world.step() {
        let frames = world.wire.iter().filter(|(_, bytes)| bytes[0] == 0x43).count();
        on_the_way = on_the_way.max(frames);
        assert!(world.wire.iter().all(|(_, bytes)| bytes.len() < 200_000));
    }
    assert_same(&world);
    let frames = world.sides[0].sent.iter().filter(|(kind, _)| *kind == 0x43).count();
    assert!(frames > 5 && on_the_way <= 2, "{frames} {on_the_way}");
}

#[test]
fn nothing_new_costs_one_small_frame_a_side() {
    let mut world = parted();
    for of in 0..50 {
        world.sides[usize::from(of % 2)].memory.registers.put(register(of, 1, 100), None);
    }
    world.converge();
    assert_same(&world);
    world.converge();
    for side in &world.sides {
        let beside: Vec<_> = side.sent.iter().filter(|(kind, _)| *kind >= 0x40).collect();
        assert_eq!(beside, [&(0x42, 8)], "an unchanged register does not travel");
    }
    let (bytes, frames) = world.cost();
    println!("reconnecting with nothing new: {bytes} bytes in {frames} frames");
    assert!(bytes < 200 && frames == 4, "{bytes} {frames}");
}

#[test]
fn what_changes_live_goes_together_and_only_its_newest_version() {
    let mut world = parted();
    world.converge();
    let sent = |world: &World| world.sides[0].sent.iter().filter(|(kind, _)| *kind == 0x43).count();
    for version in 1..=100 {
        world.sides[0].memory.registers.put(register(1, version, 10), None);
        world.input(0, Input::RegistersChanged);
        world.now.mono_ms += 5;
        world.run();
    }
    assert_eq!(sent(&world), 1, "the first at once, the others wait for a second");
    let due = world.sides[0].session.deadline_ms().unwrap();
    assert!(due <= world.now.mono_ms + REGISTERS_MS, "and it says when");
    world.pass(REGISTERS_MS);
    assert_eq!(sent(&world), 2);
    assert_same(&world);
    assert_eq!(world.sides[1].memory.registers.all()[0].version, 100);
}

#[test]
fn an_older_side_is_left_in_peace() {
    for old in 0..2 {
        let mut world = parted();
        world.sides[1 - old].memory.registers.put(register(1, 1, 10), None);
        world.connect();
        // What an older side would not say, and what it would ignore.
        while let Some((to, frame)) = world.wire.pop_front() {
            if !(0x42..=0x44).contains(&frame[0]) {
                world.input(to, Input::Frame(&frame));
            }
        }
        world.assert_converged();
        world.input(1 - old, Input::RegistersChanged);
        for side in &world.sides {
            assert!(side.session.registers_quiet());
            assert!(side.sent.iter().all(|(kind, _)| *kind != 0x43));
        }
    }
}

#[test]
fn a_conversation_that_comes_into_scope_is_compared_again() {
    let mut world = parted();
    world.converge();
    // Held on one side only, and no change since: only a comparison can tell.
    world.sides[0].memory.registers.put(register(1, 1, 10), Some(world.sides[1].key.0));
    let id = world.sides[0].memory.ids().first().copied().unwrap();
    let mut conversation = ConversationId::ZERO;
    conversation.0.copy_from_slice(&id.0[..16]);
    world.input(0, Input::Granted(conversation));
    world.input(1, Input::Granted(conversation));
    world.run();
    world.pass(1_100);
    world.pass(1_100);
    assert_same(&world);
}

#[test]
fn a_stranger_learns_nothing_of_how_many_changes_there_were() {
    for guess in [0, 1, 6, 7, 100] {
        let mut world = parted();
        let shared = world.sides[1].memory.ids().first().copied().unwrap();
        let mut conversation = ConversationId::ZERO;
        conversation.0.copy_from_slice(&shared.0[..16]);
        world.sides[1].memory.hidden.insert(conversation);
        world.sides[1].memory.hidden.extend((0..3).map(|of| ConversationId([of; 16])));
        for of in 0..7 {
            world.sides[1].memory.registers.put(register(of, 1, 10), None);
        }
        world.connect();
        while let Some((to, frame)) = world.wire.pop_front() {
            // The stranger claims to have read so many, and to hold others.
            let claim = Frame::Reading(Reading { read: guess, digest: [9; 6] }).to_bytes();
            let said = if to == 1 && frame[0] == 0x42 { claim } else { frame };
            if to == 0
                && let Ok(Frame::Registers(told)) = Frame::from_bytes(&said)
            {
                assert_eq!((told.through, told.registers.len()), (0, 0), "{guess}");
            }
            world.input(to, Input::Frame(&said));
        }
    }
}

#[test]
fn what_is_sent_out_of_turn_or_too_large_is_named() {
    let registers = |registers| Frame::Registers(Registers { through: 1, last: false, registers }).to_bytes();
    // Nobody said that the peer knows these frames.
    let mut silent = parted();
    silent.connect();
    while let Some((to, frame)) = silent.wire.pop_front() {
        if frame[0] != 0x42 {
            silent.input(to, Input::Frame(&frame));
        }
    }
    assert_eq!(feed(&mut silent, 0, &registers(vec![])), Some("frame_out_of_turn"));
    assert_eq!(feed(&mut opened(), 0, &Frame::Registered(7).to_bytes()), Some("false_acknowledgement"));
    let reading = Frame::Reading(Reading { read: 0, digest: [1; 6] }).to_bytes();
    assert_eq!(feed(&mut opened(), 0, &reading), Some("frame_out_of_turn"), "only the side that dials compares again");
    let mut large = register(1, 1, REGISTER_BYTES_MAX);
    assert_eq!(feed(&mut opened(), 0, &registers(vec![large.clone()])), None);
    large.payload.push(0);
    assert_eq!(feed(&mut opened(), 0, &registers(vec![large])), Some("frame_malformed"));
    for cut in [0x0201, 0x0200] {
        let mut bytes = vec![0x43, 0, 2];
        bytes.extend(u16::to_be_bytes(cut));
        assert_eq!(feed(&mut opened(), 0, &bytes), Some("frame_malformed"));
    }
}

#[test]
fn a_flood_ends_at_a_bound() {
    // The host is slow: nothing is stored meanwhile.
    let mut world = opened();
    let mut random = Random(1);
    let mut fed = 0;
    let fault = loop {
        let many = (0..20).map(|of| register(of, 1 + random.below(1_000), 30_000)).collect();
        let bytes = Frame::Registers(Registers { through: 1, last: false, registers: many }).to_bytes();
        fed += bytes.len();
        let outputs = world.sides[0].handle(Input::Frame(&bytes), world.now);
        if let Some(Output::Close(fault)) = outputs.last() {
            break fault.code();
        }
        assert!(fed < 8 << 20, "bounded");
    };
    assert_eq!(fault, "credit_exceeded");
    // And comparisons.
    let mut world = opened();
    let reading = Frame::Reading(Reading { read: 0, digest: [1; 6] }).to_bytes();
    let mut count = 0;
    while feed(&mut world, 1, &reading).is_none() {
        count += 1;
        answers(&mut world);
        assert!(count <= READINGS_MAX);
    }
}
