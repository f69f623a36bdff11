//! Who gets what: members everything, strangers what they would get of a conversation that does not exist.

use crate::probe::Probe;
use crate::world::{Device, World, config};
use tombolo_model::crypto::{DOMAIN_MOVED, Verifier as _};
use tombolo_model::limit::ADDRESS_BYTES_MAX;
use tombolo_model::register::digest_of;
use tombolo_model::{ConversationId, LogId};
use tombolo_proto::frame::{Root, Wanted};
use tombolo_proto::reconcile::ranges::{self, Span};
use tombolo_proto::reconcile::sketch::Sketch;
use tombolo_proto::source::Run;
use tombolo_proto::{Frame, Refusal, Tool};
use tombolo_relay::{Moved, Place};
use tombolo_replica::Event;

/// Everything that one can ask about a conversation.
fn questions(conversation: ConversationId, log: LogId) -> Vec<Frame> {
    let mut sketch = Sketch::new(64);
    sketch.insert(7);
    let want = |wanted| Frame::Want { conversation, tool: Tool::Ranges, wanted };
    vec![
        Frame::Roots(vec![Root { conversation, count: 1, tag: [3; 8] }]),
        want(Wanted::All),
        want(Wanted::Runs(vec![Run { log, from: 1, to: 100 }])),
        want(Wanted::Prefixes(vec![0, 1, u64::MAX])),
        Frame::Cells { conversation, cells: sketch.to_bytes() },
        Frame::Ranges {
            conversation,
            want: vec![5],
            ranges: ranges::to_bytes(Span::ALL, &ranges::initial(&crate::probe::Nothing, Span::ALL).unwrap()),
        },
    ]
}

/// An answer, with the conversation's own id taken out.
fn shape(frames: &[Frame], conversation: ConversationId) -> Vec<Vec<u8>> {
    let blank = |frame: &Frame| {
        let mut bytes = frame.to_bytes();
        while let Some(at) = bytes.windows(16).position(|window| window == conversation.0) {
            bytes[at..at + 16].fill(0);
        }
        bytes
    };
    frames.iter().map(blank).collect()
}

#[tokio::test]
async fn a_stranger_learns_nothing() {
    let world = World::new(config()).await;
    let mut ann = Device::new(1);
    let (real, other) = (ann.found(1), ann.found(2));
    ann.say(real, 200, 100);
    ann.say(other, 3, 100);
    ann.sync(&world.relay).await;
    let made_up = ConversationId([0x5a; 16]);

    let mut stranger = Probe::authenticated(&world.relay, 9, |_| ()).await;
    let greeting = stranger.hear_until_pong(1).await;
    // A stranger's resume speaks of no ops, and so does the settled frame: a proof over nothing.
    for frame in &greeting {
        match frame {
            Frame::Resume(resume) => assert_eq!(resume.count, 0),
            Frame::Settled(_) => {}
            Frame::Reading(reading) => assert_eq!((reading.read, reading.digest), (0, digest_of([]))),
            frame => panic!("{frame:?}"),
        }
    }
    let mut mark = 2;
    for (asked, control) in questions(real, LogId([1; 8])).iter().zip(&questions(made_up, LogId([1; 8]))) {
        let mut answers = Vec::new();
        for (question, conversation) in [(asked, real), (control, made_up)] {
            stranger.say(question).await;
            let answer = stranger.hear_until_pong(mark).await;
            mark += 1;
            assert!(!answer.iter().any(|frame| matches!(frame, Frame::Batch(_))), "{answer:?}");
            answers.push(shape(&answer, conversation));
        }
        assert_eq!(answers[0], answers[1], "{}", asked.name());
    }

    // The same questions from a member are answered, so the comparison above could have failed.
    let mut member = Probe::authenticated(&world.relay, 1, |_| ()).await;
    member.hear_until_pong(1).await;
    let mut telling = 0;
    for (mark, question) in (2..).zip(questions(real, LogId([1; 8]))) {
        member.say(&question).await;
        let answer = member.hear_until_pong(mark).await;
        telling += usize::from(answer.iter().any(|frame| match frame {
            Frame::Batch(_) => true,
            Frame::Differ(differences) => differences.iter().any(|difference| difference.count == 201),
            _ => false,
        }));
    }
    assert!(telling >= 4, "{telling}");
}

#[tokio::test]
async fn a_stranger_brings_nothing_and_gets_nothing_for_it() {
    let world = World::new(config()).await;
    let (mut ann, mut eve) = (Device::new(1), Device::new(9));
    let conversation = ann.found(1);
    ann.say(conversation, 4, 100);
    // Somebody has leaked everything so far to Eve, signatures and all.
    eve.take_over(&ann, &conversation);
    ann.sync(&world.relay).await;
    ann.say(conversation, 3, 100);
    ann.sync(&world.relay).await;
    let before = eve.ids(&conversation);
    assert_eq!((before.len(), ann.ids(&conversation).len()), (5, 8));

    let mut line = eve.dial(&world.relay).await;
    let refused = |event: &Event| {
        matches!(event, Event::Refused { conversation: refused, refusal: Refusal::NotHere, by_peer: true, .. }
            if *refused == conversation)
    };
    eve.drive(&mut line, |eve, line| eve.is_proven(line) && eve.events.iter().any(refused)).await;
    assert_eq!(line.fault, None);
    assert_eq!(eve.ids(&conversation), before);
    assert_eq!(world.metric("tombolo_relay_refused_total{reason=\"not_here\"}").await, 1.0);
    assert_eq!(world.metric("tombolo_relay_ops").await, 8.0);

    // The founding op is Ann's word, not Eve's: a relay that does not know the conversation takes nothing either.
    let empty = World::new(config()).await;
    let mut line = eve.dial(&empty.relay).await;
    eve.events.clear();
    eve.drive(&mut line, |eve, line| eve.is_proven(line) && eve.events.iter().any(refused)).await;
    assert_eq!(line.fault, None);
    assert_eq!(empty.metric("tombolo_relay_conversations").await, 0.0);
}

#[tokio::test]
async fn a_stranger_cannot_make_members_see_presence() {
    let world = World::new(config()).await;
    let mut ann = Device::new(1);
    let conversation = ann.found(1);
    let mut line = ann.dial(&world.relay).await;
    ann.drive(&mut line, |ann, line| ann.is_proven(line)).await;

    let mut stranger = Probe::authenticated(&world.relay, 9, |_| ()).await;
    stranger.say(&Frame::Presence { conversation, payload: vec![6; 6] }).await;
    stranger.hear_until_pong(1).await;
    // A member's other device says something too: once that has come, the stranger's would have come.
    let mut member = Probe::authenticated(&world.relay, 1, |_| ()).await;
    member.say(&Frame::Presence { conversation, payload: vec![7; 7] }).await;
    ann.drive(&mut line, |ann, _| ann.events.iter().any(|event| matches!(event, Event::Presence { .. }))).await;
    let seen = ann.events.iter().filter_map(|event| match event {
        Event::Presence { payload, .. } => Some(payload.clone()),
        _ => None,
    });
    assert_eq!(seen.collect::<Vec<_>>(), [vec![7; 7]]);
}

#[tokio::test]
async fn a_move_is_told_to_everybody_and_signed() {
    let world = World::new(config()).await;
    let place = Place::new(world.dir.path());
    let mut ann = Device::new(1);
    ann.found(1);
    let mut line = ann.dial(&world.relay).await;
    ann.drive(&mut line, |ann, line| ann.is_proven(line)).await;

    // Declared from outside, while the relay runs.
    let now_ms = ann.now().wall_ms;
    let moved = Moved::declare(&place, "wss://elsewhere.example", now_ms).unwrap();
    let is_told = |device: &Device, url: &str| {
        device.events.iter().any(|event| matches!(event, Event::Moved { url: told, .. } if told == url))
    };
    // The session checks the signature before it says so.
    ann.drive(&mut line, |ann, _| is_told(ann, "wss://elsewhere.example")).await;
    assert_eq!(line.fault, None);
    let said = tombolo_proto::session::moved_bytes(&moved.url, moved.at_ms);
    assert!(tombolo_identity::Strict.verify(&world.relay.key(), DOMAIN_MOVED, &said, &moved.signature));

    // Whoever comes later is told at once.
    let mut bob = Device::new(2);
    let mut line = bob.dial(&world.relay).await;
    bob.drive(&mut line, |bob, _| is_told(bob, "wss://elsewhere.example")).await;
    assert_eq!(line.fault, None);

    let endless = format!("wss://{}", "x".repeat(ADDRESS_BYTES_MAX));
    assert!(Moved::declare(&place, &endless, now_ms).is_err());
}
