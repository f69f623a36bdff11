//! What a peer may send at its worst: each input gets its named fault or is harmless, costs bounded memory and changes
//! nothing. What takes a key that is trusted is in `liars`; what takes a real log is in the package `suite`.

use crate::history::{Key, Random, Writing, Zstd, conversation};
use crate::memory::Memory;
use crate::pinned;
use crate::states::memory;
use crate::world::{ONE, TWO, World};
use tombolo_model::{ConversationId, LogId, Op};
use tombolo_proto::frame::{Batch, Root, Wanted};
use tombolo_proto::limit::{BATCH_OPS_MAX, FRAME_BYTES_MAX, OPENING_MS, PRESENCE_BYTES_MAX, SILENCE_MS};
use tombolo_proto::source::Run;
use tombolo_proto::{Blame, Config, Frame, Input, Output, Session, Tool};

/// Two replicas that have authenticated and proven that both hold the same ten ops.
pub(crate) fn opened() -> World {
    let ops = conversation(1, 2, 9);
    let all: Vec<&Op> = ops.iter().collect();
    let mut world = World::new(memory(1, &all), memory(2, &all));
    world.converge();
    world
}

/// Feeds bytes to one side; returns the code of the fault that ended its session, if one did.
pub(crate) fn feed(world: &mut World, victim: usize, bytes: &[u8]) -> Option<&'static str> {
    world.input(victim, Input::Frame(bytes));
    world.sides[victim].fault.as_ref().map(tombolo_proto::Fault::code)
}

/// Frames that lie on the wire for the attacker.
pub(crate) fn answers(world: &mut World) -> Vec<Frame> {
    world.wire.drain(..).map(|(_, bytes)| Frame::from_bytes(&bytes).unwrap()).collect()
}

#[test]
fn unknown_frames_end_the_session_unless_they_are_optional() {
    for kind in 0u8..=255 {
        if (0..=0x0e).contains(&kind) || (0x40..=0x44).contains(&kind) {
            continue;
        }
        for victim in 0..2 {
            let mut world = opened();
            let fault = feed(&mut world, victim, &[kind, 1, 2, 3]);
            assert_eq!(fault, (kind < 0x40).then_some("frame_malformed"), "type {kind:#x}");
            if let Some(fault) = &world.sides[victim].fault {
                assert_eq!(fault.blame(), Blame::Peer);
                assert!(matches!(&answers(&mut world)[..], [Frame::Bye { code, .. }] if code == "frame_malformed"));
            }
        }
    }
}

#[test]
fn an_empty_and_a_huge_frame_are_refused() {
    let mut world = opened();
    assert_eq!(feed(&mut world, 0, &[]), Some("frame_malformed"));
    let mut world = opened();
    assert_eq!(feed(&mut world, 0, &vec![0x40; FRAME_BYTES_MAX + 1]), Some("frame_too_large"));
}

#[test]
fn truncated_frames_end_the_session_and_change_nothing() {
    for (frame, bytes) in pinned::frames() {
        for cut in 0..bytes.len() {
            let mut world = opened();
            let before = world.sides[0].memory.ids();
            let fault = feed(&mut world, 0, &bytes[..cut]);
            let open = cut >= 17 && matches!(bytes[0], 0x03 | 0x09 | 0x0b | 0x40);
            assert!(fault.is_some() || open, "{} cut at {cut}", frame.name());
            assert_eq!(world.sides[0].memory.ids(), before);
            assert!(world.sides[0].events.iter().filter(|event| matches!(event, Output::Proven { .. })).count() <= 1);
        }
    }
}

#[test]
fn nothing_but_a_hello_is_taken_before_authentication() {
    for victim in 0..2 {
        for (frame, bytes) in pinned::frames() {
            let (_, genesis) = Writing::found(1, 1);
            let mut world = World::new(memory(1, &[&genesis]), memory(2, &[&genesis]));
            world.connect();
            world.wire.clear();
            let fault = feed(&mut world, victim, &bytes);
            let expected = match frame {
                Frame::Hello(_) => Some("no_common_version").filter(|_| false),
                Frame::Bye { .. } => Some("farewell"),
                Frame::Ping(_) | Frame::Pong(_) => None,
                _ => Some("frame_out_of_turn"),
            };
            assert_eq!(fault, expected, "{}", frame.name());
            for answer in answers(&mut world) {
                let told = matches!(answer, Frame::Bye { .. } | Frame::Prove(_) | Frame::Pong(_));
                assert!(told, "nothing of what is held is said: {}", answer.name());
            }
        }
    }
}

#[test]
fn a_second_opening_is_out_of_turn() {
    for index in 0..4 {
        let mut world = opened();
        let (frame, bytes) = pinned::frames().swap_remove(index);
        assert_eq!(feed(&mut world, 1, &bytes), Some("frame_out_of_turn"), "{}", frame.name());
    }
}

#[test]
fn only_the_side_that_dials_drives_a_search() {
    let bytes = |name: &str| pinned::frames().into_iter().find(|(frame, _)| frame.name() == name).unwrap().1;
    for (victim, name) in [(0, "roots"), (0, "cells"), (0, "differ"), (1, "differ"), (1, "decoded"), (0, "ranges")] {
        let mut world = opened();
        assert_eq!(feed(&mut world, victim, &bytes(name)), Some("frame_out_of_turn"), "{name} to {victim}");
    }
    let mut world = opened();
    assert_eq!(feed(&mut world, 0, &bytes("decoded")), Some("frame_out_of_turn"));
}

#[test]
fn a_decompression_bomb_is_refused() {
    let packed = zstd::bulk::compress(&vec![0; 64 * 1024 * 1024], 3).unwrap();
    let mut ops = vec![1];
    tombolo_model::codec::put_bytes(&mut ops, &packed);
    let mut world = opened();
    let bomb = Frame::Batch(Batch { number: 1, tool: Tool::Cursor, through: None, ops }).to_bytes();
    assert_eq!(feed(&mut world, 0, &bomb), Some("frame_malformed"));
}

/// A batch of `count` ops, as an attacker numbers it.
fn batch(number: u64, ops: &[Op]) -> Vec<u8> {
    let ops = tombolo_proto::batch::encode(ops, &Zstd);
    Frame::Batch(Batch { number, tool: Tool::Cursor, through: None, ops }).to_bytes()
}

#[test]
fn batches_out_of_order_are_refused() {
    for number in [0, 2, u64::MAX] {
        let mut world = opened();
        assert_eq!(feed(&mut world, 0, &batch(number, &[])), Some("frame_out_of_turn"));
    }
    let mut world = opened();
    assert_eq!(feed(&mut world, 0, &batch(1, &[])), None);
    assert_eq!(feed(&mut world, 0, &batch(1, &[])), Some("frame_out_of_turn"), "twice");
}

/// A host that stores nothing: what a session lets a peer pile up meanwhile.
fn pile(window_bytes: u64, ops: &[Op]) -> (usize, usize, usize) {
    let mut world = opened();
    let mut config = Config::new(true, [99; 32]);
    config.window_bytes = window_bytes;
    world.connect();
    world.wire.clear();
    world.sides[0].session = Session::new(config);
    world.sides[1].session = Session::new(Config::new(false, [98; 32]));
    world.input(0, Input::Connected);
    world.input(1, Input::Connected);
    world.run();
    let (mut taken, mut bytes, mut decoded) = (0, 0, 0);
    for number in 1..100_000 {
        let frame = batch(number, ops);
        let now = world.now;
        for output in world.sides[0].handle(Input::Frame(&frame), now) {
            match output {
                Output::Persist { ops, .. } => {
                    (taken, bytes) = (taken + 1, bytes + frame.len());
                    decoded += ops.iter().map(|op| 300 + 32 * op.header.parents.len()).sum::<usize>();
                }
                Output::Close(fault) => {
                    assert_eq!((fault.code(), fault.blame()), ("credit_exceeded", Blame::Peer));
                    return (taken, bytes, decoded);
                }
                _ => {}
            }
        }
    }
    panic!("taken without end");
}

#[test]
fn more_than_the_credit_is_refused() {
    let (mut writing, _) = Writing::found(1, 2);
    writing.body_bytes = 50_000;
    let large = writing.ops(4);
    let (taken, bytes, _) = pile(1_000_000, &large);
    println!("large batches: {taken}, {bytes} bytes before the fault");
    assert!(bytes <= 1_000_000 + 2 * FRAME_BYTES_MAX);
    let (taken, _, _) = pile(1_000_000, &[]);
    assert!(taken <= 130, "{taken} empty batches");
    // Small on the wire, large in memory: the same op over and over shrinks to nothing.
    let same = vec![writing.ops(1).swap_remove(0); BATCH_OPS_MAX].into_iter().map(|mut op| {
        (op.body, op.signature) = (None, None);
        op
    });
    let (taken, bytes, decoded) = pile(1_000_000, &same.collect::<Vec<_>>());
    println!("batches that inflate: {taken}, {bytes} bytes, about {decoded} in memory before the fault");
    assert!(decoded < 300_000_000, "{decoded}");
}

#[test]
fn a_settled_that_has_seen_what_was_not_sent_is_refused() {
    for victim in 0..2 {
        let mut world = opened();
        let (_, mut bytes) = pinned::frames().into_iter().find(|(frame, _)| frame.name() == "settled").unwrap();
        let seen = bytes.len() - 2;
        bytes[seen] = 1;
        assert_eq!(feed(&mut world, victim, &bytes), Some("frame_out_of_turn"));
    }
}

#[test]
fn presence_is_bounded_and_only_for_those_who_may_see() {
    let mut world = opened();
    let shown = world.sides[0].memory.ids().first().map(|_| conversation(1, 2, 0)[0].conversation()).unwrap();
    let presence = |conversation, len| Frame::Presence { conversation, payload: vec![7; len] }.to_bytes();
    assert_eq!(feed(&mut world, 0, &presence(shown, PRESENCE_BYTES_MAX)), None);
    let count =
        |world: &World| world.sides[0].events.iter().filter(|event| matches!(event, Output::Presence { .. })).count();
    assert_eq!(count(&world), 1);
    assert_eq!(feed(&mut world, 0, &presence(ConversationId([3; 16]), 10)), None);
    assert_eq!(count(&world), 1, "of a conversation that it may not see: dropped");
    assert_eq!(feed(&mut world, 0, &presence(shown, PRESENCE_BYTES_MAX + 1)), Some("frame_malformed"));
}

#[test]
fn endless_and_backward_runs_are_harmless() {
    for (from, to) in [(1, u64::MAX), (u64::MAX, u64::MAX), (0, 0), (9, 3), (u64::MAX, 0)] {
        let mut world = opened();
        let shown = conversation(1, 2, 0)[0].clone();
        for log in [LogId([1; 8]), shown.header.log] {
            let wanted = Wanted::Runs(vec![Run { log, from, to }]);
            let frame = Frame::Want { conversation: shown.conversation(), tool: Tool::Heights, wanted };
            assert_eq!(feed(&mut world, 1, &frame.to_bytes()), None, "{from} to {to}");
        }
        world.run();
        assert!(world.sides.iter().all(|side| side.fault.is_none()));
    }
}

#[test]
fn asking_for_everything_again_and_again_sends_no_more_than_the_credit() {
    let (mut writing, genesis) = Writing::found(3, 2);
    writing.body_bytes = 60_000;
    let ops = writing.ops(60);
    let all: Vec<&Op> = ops.iter().chain([&genesis]).collect();
    let mut world = World::new(memory(1, &all), memory(2, &all));
    world.converge();
    let conversation = genesis.conversation();
    let prefixes: Vec<u64> = (0..60_000).collect();
    for _ in 0..200 {
        let all = Frame::Want { conversation, tool: Tool::Ranges, wanted: Wanted::All };
        assert_eq!(feed(&mut world, 1, &all.to_bytes()), None);
        let some = Frame::Want { conversation, tool: Tool::Ranges, wanted: Wanted::Prefixes(prefixes.clone()) };
        assert_eq!(feed(&mut world, 1, &some.to_bytes()), None);
    }
    let sent: usize = world.wire.iter().map(|(_, frame)| frame.len()).sum();
    assert!(sent <= 3 * 1024 * 1024, "never acknowledged: {sent} bytes");
    assert!(format!("{:?}", world.sides[1].session).len() < 500);
}

#[test]
fn a_conversation_that_may_not_be_seen_looks_like_one_that_does_not_exist() {
    // The attacker is authenticated (anybody is, with some key), knows the id, and asks in every way there is.
    let secret = conversation(9, 3, 50);
    let hidden = secret[0].conversation();
    let probes = |conversation: ConversationId| -> Vec<Vec<u8>> {
        let root = |count| Frame::Roots(vec![Root { conversation, count, tag: [1; 8] }]);
        let want = |wanted| Frame::Want { conversation, tool: Tool::Heights, wanted };
        let logs = secret.iter().map(|op| Run { log: op.header.log, from: 1, to: 9 }).collect();
        let prefixes = secret.iter().map(|op| op.id.prefix()).collect();
        let cells = Frame::Cells { conversation, cells: vec![1; 13 * 8] };
        let ranges = Frame::Ranges { conversation, want: vec![secret[1].id.prefix()], ranges: vec![0x3c] };
        let odd = Frame::Ranges { conversation, want: vec![], ranges: vec![0xff, 0x11] };
        let presence = Frame::Presence { conversation, payload: vec![1] };
        let frames = [
            root(0),
            root(5),
            want(Wanted::All),
            want(Wanted::Runs(logs)),
            want(Wanted::Prefixes(prefixes)),
            cells,
            ranges,
            odd,
            presence,
        ];
        frames.iter().map(Frame::to_bytes).collect()
    };
    let told = |conversation: ConversationId| -> (Vec<u8>, usize) {
        let mut world = opened();
        world.sides[1].memory.hidden.insert(hidden);
        world.sides[1].memory.take_all(&secret);
        world.connect();
        world.run();
        let mut heard: Vec<u8> = Vec::new();
        for probe in probes(conversation) {
            assert_eq!(feed(&mut world, 1, &probe), None);
            for (_, frame) in std::mem::take(&mut world.wire) {
                heard.extend_from_slice(&frame);
            }
        }
        (heard, world.sides[1].events.len())
    };
    let unknown = ConversationId([0x77; 16]);
    let (mut about_hidden, events) = told(hidden);
    let (about_unknown, other_events) = told(unknown);
    for at in 0..about_hidden.len().saturating_sub(15) {
        if about_hidden[at..at + 16] == hidden.0 {
            about_hidden[at..at + 16].copy_from_slice(&unknown.0);
        }
    }
    assert_eq!(about_hidden, about_unknown);
    assert_eq!(events, other_events);
    assert!(!about_unknown.is_empty() && about_unknown.len() < 200, "{}", about_unknown.len());
}

#[test]
fn whoever_does_not_open_or_falls_silent_is_let_go() {
    let mut world = World::new(Memory::new(1), Memory::new(2));
    world.connect();
    world.wire.clear();
    world.now.mono_ms += OPENING_MS;
    world.input(0, Input::Tick);
    assert_eq!(world.sides[0].fault.as_ref().unwrap().code(), "opening_timeout");
    assert_eq!(world.sides[0].fault.as_ref().unwrap().blame(), Blame::Link);
    let mut world = opened();
    let mut pings = 0;
    for _ in 0..70 {
        world.now.mono_ms += SILENCE_MS / 60;
        world.input(0, Input::Tick);
        pings += answers(&mut world).iter().filter(|frame| matches!(frame, Frame::Ping(_))).count();
    }
    assert_eq!(world.sides[0].fault.as_ref().unwrap().code(), "link_silent");
    assert_eq!(pings, 2);
}

#[test]
fn noise_never_panics_and_never_proves() {
    let mut random = Random(4);
    for seed in 0..3_000 {
        let mut world = opened();
        let victim = seed % 2;
        let before = world.sides[victim].memory.ids();
        let proven = world.sides[victim].proven;
        for _ in 0..6 {
            let mut all = pinned::frames();
            let at = random.below(all.len() as u64) as usize;
            let (_, mut bytes) = all.swap_remove(at);
            for _ in 0..random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next() as u8;
            }
            feed(&mut world, victim, &bytes);
        }
        assert_eq!(world.sides[victim].memory.ids(), before);
        assert_eq!(world.sides[victim].proven, proven, "noise proves nothing");
    }
    assert_ne!(Key::of(ONE).0, Key::of(TWO).0);
}
