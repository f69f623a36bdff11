//! Edits, deletions, undoing, reactions, pins: rights, several devices at once, restarts.

use super::{Stage, code};
use tombolo_client::node::UNDO_MS;
use tombolo_client::{ConversationId, Line, OpId, Post};

/// Ann has two devices (0 and 1) and founded the group; Ben (2) and Cem (3) have one each.
fn stage() -> (Stage, ConversationId) {
    let mut stage = Stage::of(&[1, 1, 2, 3]);
    let group = stage.group();
    (stage, group)
}

fn edit(stage: &mut Stage, device: usize, group: ConversationId, id: &OpId, text: &str) {
    stage.on(device, |node, now| node.edit(group, id, text, now)).unwrap();
}

#[test]
fn only_its_author_edits_a_message_on_whichever_device() {
    let (mut stage, group) = stage();
    let id = stage.say(0, group, "the fery is late");
    stage.meet_all();
    assert_eq!(code(stage.on(2, |node, now| node.edit(group, &id, "x", now))), "not-yours");
    edit(&mut stage, 1, group, &id, "the ferry is late");
    stage.meet_all();
    let shown = stage.agreed(&group);
    assert_eq!(shown[0].1, "the ferry is late");
    let message = stage.message(3, &group, &id);
    assert_eq!((message.beside.edits, message.beside.merged), (1, false));
    let versions = stage.nodes[3].history(&group, &id).unwrap();
    let told: Vec<_> = versions.iter().map(|it| (it.text.as_deref(), it.current)).collect();
    assert_eq!(told, [(Some("the fery is late"), false), (Some("the ferry is late"), true)]);
    // The founder may delete what others write, not change it.
    let id = stage.say(2, group, "from Ben");
    stage.meet_all();
    assert_eq!(code(stage.on(0, |node, now| node.edit(group, &id, "x", now))), "not-yours");
    assert_eq!(code(stage.on(3, |node, now| node.delete(group, &id, now))), "not-yours");
    stage.on(1, |node, now| node.delete(group, &id, now)).unwrap();
    stage.meet_all();
    for device in 0..4 {
        let message = stage.message(device, &group, &id);
        assert_eq!((message.text.as_str(), message.beside.deleted.is_some()), ("", true));
    }
    stage.sound();
}

#[test]
fn versions_written_at_once_are_all_kept_and_shown_as_one() {
    let (mut stage, group) = stage();
    let id = stage.say(0, group, "one two three");
    stage.meet_all();
    edit(&mut stage, 0, group, &id, "ONE two three");
    edit(&mut stage, 1, group, &id, "one two THREE");
    stage.meet_all();
    stage.agreed(&group);
    let message = stage.message(2, &group, &id);
    assert!(message.beside.merged);
    let current = stage.nodes[2].history(&group, &id).unwrap().into_iter().filter(|version| version.current);
    let mut texts: Vec<String> = current.filter_map(|version| version.text).collect();
    texts.sort();
    assert_eq!(texts, ["ONE two three", "one two THREE"]);
    assert!(stage.nodes[3].conflicts(&group).unwrap().iter().all(|it| it.about == "edit" && it.open));
    edit(&mut stage, 1, group, &id, "all agreed");
    stage.meet_all();
    assert_eq!(stage.agreed(&group)[0].1, "all agreed");
    assert!(!stage.message(2, &group, &id).beside.merged);
    stage.sound();
}

#[test]
fn a_deletion_is_taken_back_on_its_device_for_a_while_also_after_a_restart() {
    let (mut stage, group) = stage();
    let ids: Vec<OpId> = (0..3).map(|number| stage.say(0, group, &format!("canary-{number}"))).collect();
    stage.meet_all();
    for id in &ids {
        stage.on(0, |node, now| node.delete(group, id, now)).unwrap();
    }
    stage.meet_all();
    // Elsewhere nothing is left to take it back with.
    assert_eq!(code(stage.on(1, |node, now| node.undo(group, &ids[0], now))), "too-late");
    assert_eq!(code(stage.on(2, |node, now| node.undo(group, &ids[0], now))), "not-yours");
    stage.on(0, |node, now| node.undo(group, &ids[0], now)).unwrap();
    assert_eq!(code(stage.on(0, |node, now| node.undo(group, &ids[0], now))), "not-deleted");
    stage.restart(0);
    let held_ms = stage.now();
    stage.on(0, |node, now| node.undo(group, &ids[1], now)).unwrap();
    assert!(held_ms.wall_ms > 0);
    stage.wait(UNDO_MS);
    assert_eq!(code(stage.on(0, |node, now| node.undo(group, &ids[2], now))), "too-late");
    stage.meet_all();
    let shown: Vec<String> = stage.agreed(&group).into_iter().map(|(_, text, _)| text).collect();
    assert_eq!(shown, ["canary-0", "canary-1", ""]);
    // A deleted message is not edited, and what came back is as any other.
    assert_eq!(code(stage.on(0, |node, now| node.edit(group, &ids[2], "x", now))), "deleted");
    edit(&mut stage, 1, group, &ids[1], "canary-1, edited");
    stage.meet_all();
    assert_eq!(stage.agreed(&group)[1].1, "canary-1, edited");
    stage.sound();
}

/// Two devices of one author: one edits, the other deletes. Both see that, both may decide, either way.
#[test]
fn an_edit_beside_a_deletion_is_a_conflict_until_somebody_decides() {
    for keep in [true, false] {
        for decides in [0, 1] {
            let (mut stage, group) = stage();
            let id = stage.say(0, group, "first");
            stage.meet_all();
            stage.on(0, |node, now| node.delete(group, &id, now)).unwrap();
            edit(&mut stage, 1, group, &id, "second");
            stage.meet_all();
            stage.agreed(&group);
            for device in 0..4 {
                let message = stage.message(device, &group, &id);
                assert!(message.beside.conflict && message.beside.deleted.is_some(), "device {device}");
                assert_eq!(message.text, "", "deleted wins until then");
                let conflicts = stage.nodes[device].conflicts(&group).unwrap();
                let told: Vec<_> = conflicts.iter().map(|it| (it.about.as_str(), it.loser.as_str(), it.open)).collect();
                assert_eq!(told, [("delete", "second", true)]);
            }
            stage.wait(UNDO_MS);
            if keep {
                stage.on(decides, |node, now| node.undo(group, &id, now)).unwrap();
            } else {
                stage.on(decides, |node, now| node.delete(group, &id, now)).unwrap();
            }
            stage.meet_all();
            let shown = stage.agreed(&group);
            assert_eq!(shown[0].1, if keep { "second" } else { "" });
            let beside = stage.message(2, &group, &id).beside;
            assert_eq!((beside.conflict, beside.deleted.is_some()), (false, !keep), "keep {keep}, by {decides}");
            assert!(stage.nodes[3].conflicts(&group).unwrap().iter().all(|it| !it.open));
            stage.sound();
        }
    }
}

#[test]
fn an_edit_that_the_deletion_knew_of_is_no_conflict() {
    let (mut stage, group) = stage();
    let id = stage.say(0, group, "first");
    edit(&mut stage, 0, group, &id, "second");
    stage.meet_all();
    stage.on(1, |node, now| node.delete(group, &id, now)).unwrap();
    stage.meet_all();
    stage.agreed(&group);
    let beside = stage.message(2, &group, &id).beside;
    assert!(beside.deleted.is_some() && !beside.conflict);
    assert!(stage.nodes[2].history(&group, &id).unwrap().iter().all(|version| version.text.is_none()));
    stage.sound();
}

#[test]
fn a_person_reacts_once_on_however_many_devices() {
    let (mut stage, group) = stage();
    let id = stage.say(2, group, "cake?");
    stage.meet_all();
    for device in [0, 1, 3] {
        stage.on(device, |node, now| node.react(group, &id, "\u{1f370}", true, now)).unwrap();
    }
    stage.meet_all();
    for device in 0..4 {
        let reactions = stage.message(device, &group, &id).beside.reactions;
        assert_eq!(reactions.len(), 1);
        assert_eq!(reactions[0].names, ["person 1", "person 3"]);
        assert_eq!(reactions[0].own, device != 2);
    }
    // Whoever has seen both takes both back.
    stage.on(1, |node, now| node.react(group, &id, "\u{1f370}", false, now)).unwrap();
    stage.meet_all();
    assert_eq!(stage.message(2, &group, &id).beside.reactions[0].names, ["person 3"]);
    // Taken back twice at once, and shown again: still once.
    stage.on(0, |node, now| node.react(group, &id, "\u{1f370}", true, now)).unwrap();
    stage.meet_all();
    for device in [0, 1] {
        stage.on(device, |node, now| node.react(group, &id, "\u{1f370}", false, now)).unwrap();
    }
    stage.meet_all();
    assert_eq!(stage.message(2, &group, &id).beside.reactions[0].names, ["person 3"]);
    stage.on(0, |node, now| node.react(group, &id, "\u{1f370}", true, now)).unwrap();
    stage.meet_all();
    let reactions = stage.message(2, &group, &id).beside.reactions;
    assert_eq!(reactions[0].names.len(), 2);
    stage.agreed(&group);
    stage.sound();
}

#[test]
fn a_pin_survives_its_removal_elsewhere_at_the_same_time() {
    let (mut stage, group) = stage();
    let id = stage.say(2, group, "the code of the door");
    stage.meet_all();
    stage.on(0, |node, now| node.pin(group, &id, true, now)).unwrap();
    stage.meet_all();
    stage.on(2, |node, now| node.pin(group, &id, false, now)).unwrap();
    stage.on(3, |node, now| node.pin(group, &id, false, now)).unwrap();
    stage.on(3, |node, now| node.pin(group, &id, true, now)).unwrap();
    stage.meet_all();
    stage.agreed(&group);
    for device in 0..4 {
        assert_eq!(stage.nodes[device].pins(&group).unwrap().len(), 1);
    }
    stage.on(1, |node, now| node.pin(group, &id, false, now)).unwrap();
    stage.meet_all();
    assert_eq!(stage.nodes[2].pins(&group).unwrap(), []);
    assert!(!stage.message(2, &group, &id).beside.pinned);
}

#[test]
fn what_was_imported_is_pinned_and_answered_and_not_changed() {
    let (mut stage, group) = stage();
    let line = Line { time_ms: 1_600_000_000_000, who: "Zoe".into(), text: "long ago".into() };
    stage.on(0, |node, now| node.import(group, &[line], now, |_| {})).unwrap();
    stage.meet_all();
    let id = stage.agreed(&group)[0].0;
    stage.on(2, |node, now| node.pin(group, &id, true, now)).unwrap();
    stage.on(2, |node, now| node.react(group, &id, "+", true, now)).unwrap();
    let post = Post { text: "still true".into(), answers: Some(id), ..Post::default() };
    stage.on(3, |node, now| node.post(group, &post, now)).unwrap();
    stage.meet_all();
    let pins = stage.nodes[0].pins(&group).unwrap();
    assert_eq!(pins.iter().map(|pin| pin.text.as_str()).collect::<Vec<_>>(), ["long ago"]);
    assert_eq!(stage.message(1, &group, &id).beside.reactions.len(), 1);
    let answers = stage.agreed(&group)[1].0;
    let cited = stage.message(0, &group, &answers).beside.answers.unwrap();
    assert_eq!((cited.name.as_str(), cited.excerpt.as_str()), ("Zoe", "long ago"));
    assert_eq!(code(stage.on(0, |node, now| node.edit(group, &id, "x", now))), "imported");
    assert_eq!(code(stage.on(0, |node, now| node.delete(group, &id, now))), "imported");
}
