//! Devices of one account agree on how it keeps its conversations, whatever each did and whenever they meet.

use super::{Stage, code};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_client::{AccountId, ConversationId, OpId};
use tombolo_testkit::rng::Rng;

/// Everything that devices agree on.
#[derive(Debug, PartialEq)]
struct Agreed {
    keeping: BTreeMap<ConversationId, (u64, bool, String, bool)>,
    blocked: BTreeSet<AccountId>,
    hidden: BTreeSet<OpId>,
    draft: String,
}

fn agreed(stage: &Stage, device: usize, group: &ConversationId) -> Agreed {
    let node = &stage.nodes[device];
    let (keeping, blocked) = node.keeping().unwrap();
    let keeping = keeping
        .into_iter()
        .map(|(id, it)| (id, (it.mute_until_ms, it.archived, it.folder, it.favourite)))
        .filter(|(_, it)| *it != (0, false, String::new(), false))
        .collect();
    let (hidden, draft) = (node.hidden(group).unwrap(), node.draft(group).unwrap().text);
    Agreed { keeping, blocked, hidden, draft }
}

/// A stage on which two devices of one account share a group and what they agree on, with four messages.
fn stage() -> (Stage, ConversationId, Vec<OpId>) {
    let mut stage = Stage::of(&[1, 1, 1]);
    let group = stage.group();
    stage.own();
    let messages = (0..4).map(|number| stage.say(0, group, &format!("message {number}"))).collect();
    stage.meet_all();
    (stage, group, messages)
}

/// One act of a device; what it means where nobody else acted meanwhile.
fn act(stage: &mut Stage, rng: &mut Rng, group: ConversationId, messages: &[OpId], plain: &mut Agreed) -> usize {
    let device = rng.index(3);
    let (on, number) = (rng.chance(500), rng.below(3));
    let kept = plain.keeping.entry(group).or_default();
    match rng.below(7) {
        0 => {
            kept.0 = number * 1_000;
            stage.on(device, |node, now| node.mute(group, number * 1_000, now)).unwrap();
        }
        1 => {
            kept.1 = on;
            stage.on(device, |node, now| node.archive(group, on, now)).unwrap();
        }
        2 => {
            kept.2 = ["", "work", "home"][number as usize].into();
            let folder = kept.2.clone();
            stage.on(device, |node, now| node.folder(group, &folder, now)).unwrap();
        }
        3 => {
            kept.3 = on;
            stage.on(device, |node, now| node.favourite(group, on, now)).unwrap();
        }
        4 => {
            let who = AccountId([number as u8; 32]);
            if on {
                plain.blocked.insert(who)
            } else {
                plain.blocked.remove(&who)
            };
            stage.on(device, |node, now| node.block(who, on, now)).unwrap();
        }
        5 => {
            let message = *rng.pick(messages);
            if on {
                plain.hidden.insert(message)
            } else {
                plain.hidden.remove(&message)
            };
            stage.on(device, |node, now| node.hide(group, &message, on, now)).unwrap();
        }
        _ => {
            plain.draft = format!("draft {number}");
            let draft = plain.draft.clone();
            stage.on(device, |node, now| node.write_draft(group, &draft, now)).unwrap();
        }
    }
    device
}

#[test]
fn devices_that_meet_after_each_act_make_one_switchboard() {
    for seed in 0..4 {
        let (mut stage, group, messages) = stage();
        let mut rng = Rng::new(seed);
        let mut plain = Agreed {
            keeping: BTreeMap::new(),
            blocked: BTreeSet::new(),
            hidden: BTreeSet::new(),
            draft: String::new(),
        };
        for _ in 0..20 {
            act(&mut stage, &mut rng, group, &messages, &mut plain);
            stage.meet_all();
            plain.keeping.retain(|_, it| *it != Default::default());
            for device in 0..3 {
                assert_eq!(agreed(&stage, device, &group), plain, "seed {seed}, device {device}");
            }
        }
        stage.sound();
    }
}

#[test]
fn devices_that_meet_seldom_agree_in_the_end() {
    for seed in 100..112 {
        let (mut stage, group, messages) = stage();
        let mut rng = Rng::new(seed);
        let mut plain = Agreed {
            keeping: BTreeMap::new(),
            blocked: BTreeSet::new(),
            hidden: BTreeSet::new(),
            draft: String::new(),
        };
        for _ in 0..24 {
            let device = act(&mut stage, &mut rng, group, &messages, &mut plain);
            if rng.chance(200) {
                let other = (device + 1 + rng.index(2)) % 3;
                stage.meet(device, other);
            }
        }
        stage.meet_all();
        let first = agreed(&stage, 0, &group);
        for device in 1..3 {
            assert_eq!(agreed(&stage, device, &group), first, "seed {seed}, device {device}");
        }
        stage.sound();
        for device in 0..3 {
            stage.restart(device);
            assert_eq!(agreed(&stage, device, &group), first, "seed {seed}, device {device}");
        }
    }
}

#[test]
fn at_once_muted_and_archived_has_one_result_and_the_loser_is_told() {
    let (mut stage, group, _) = stage();
    let own = stage.own();
    stage.on(0, |node, now| node.folder(group, "work", now)).unwrap();
    stage.on(1, |node, now| node.folder(group, "home", now)).unwrap();
    stage.on(0, |node, now| node.mute(group, 5, now)).unwrap();
    stage.on(1, |node, now| node.archive(group, true, now)).unwrap();
    stage.meet_all();
    for device in 0..3 {
        let it = agreed(&stage, device, &group).keeping[&group].clone();
        assert_eq!(it, (5, true, "home".into(), false));
        let conflicts = stage.nodes[device].conflicts(&own).unwrap();
        let told: Vec<_> =
            conflicts.iter().map(|it| (it.about.as_str(), it.winner.as_str(), it.loser.as_str())).collect();
        assert_eq!(told, [("folder", "home", "work")]);
        assert!(conflicts[0].open);
    }
    stage.on(2, |node, now| node.folder(group, "work", now)).unwrap();
    stage.meet_all();
    for device in 0..3 {
        assert_eq!(agreed(&stage, device, &group).keeping[&group].2, "work");
        let conflicts = stage.nodes[device].conflicts(&own).unwrap();
        assert!(!conflicts.is_empty() && conflicts.iter().all(|it| !it.open), "decided, and still on record");
    }
}

#[test]
fn what_is_hidden_is_hidden_on_own_devices_alone() {
    let mut stage = Stage::of(&[1, 1]);
    stage.own();
    let group = stage.group();
    let message = stage.say(0, group, "keep it to yourself");
    stage.meet_all();
    assert!(stage.on(1, |node, now| node.hide(group, &message, true, now)).unwrap());
    assert!(!stage.on(1, |node, now| node.hide(group, &message, true, now)).unwrap(), "once is enough");
    stage.meet_all();
    assert!(stage.agreed(&group).is_empty());
    assert_eq!(code(stage.nodes[0].message(&group, &message)), "unknown-message");
    assert!(stage.on(0, |node, now| node.hide(group, &message, false, now)).unwrap());
    stage.meet_all();
    assert_eq!(stage.agreed(&group).len(), 1);
}

#[test]
fn nobody_blocks_themselves_and_blocked_people_are_not_read() {
    let mut stage = Stage::of(&[1, 2]);
    let group = stage.group();
    let message = stage.say(1, group, "hello");
    stage.meet_all();
    let (own, other) = (stage.nodes[0].account(), stage.nodes[1].account());
    assert_eq!(code(stage.on(0, |node, now| node.block(own, true, now))), "own-account");
    stage.on(0, |node, now| node.block(other, true, now)).unwrap();
    let shown = stage.message(0, &group, &message);
    assert!(shown.beside.blocked && shown.text.is_empty());
    stage.on(0, |node, now| node.block(other, false, now)).unwrap();
    assert_eq!(stage.message(0, &group, &message).text, "hello");
}
