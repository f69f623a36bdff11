//! What is too much, does not exist, or is not allowed: a named error, and nothing changes.

use super::{Stage, code};
use tombolo_client::{ConversationId, OpId, Post};
use tombolo_model::limit::{NAME_BYTES_MAX, SHARED_TEXT_BYTES_MAX, TEXT_BYTES_MAX};

/// Runs a call that must fail, and checks that no op was written.
fn refused<T: std::fmt::Debug>(
    stage: &mut Stage,
    call: impl FnOnce(&mut tombolo_client::Node, tombolo_replica::Now) -> Result<T, tombolo_client::Error>,
) -> &'static str {
    let before = stage.nodes[0].log().cursor().unwrap();
    let code = code(stage.on(0, call));
    assert_eq!(stage.nodes[0].log().cursor().unwrap(), before, "{code}: something was written");
    code
}

#[test]
fn what_does_not_exist_is_named() {
    let mut stage = Stage::of(&[1]);
    let group = stage.group();
    let (nothing, nowhere) = (OpId([7; 32]), ConversationId([7; 16]));
    let known = stage.say(0, group, "here");
    let s = &mut stage;
    assert_eq!(refused(s, |node, now| node.edit(group, &nothing, "x", now)), "unknown-message");
    assert_eq!(refused(s, |node, now| node.delete(group, &nothing, now)), "unknown-message");
    assert_eq!(refused(s, |node, now| node.undo(group, &nothing, now)), "unknown-message");
    assert_eq!(refused(s, |node, now| node.undo(group, &known, now)), "not-deleted");
    assert_eq!(refused(s, |node, now| node.react(group, &nothing, "+", true, now)), "unknown-message");
    assert_eq!(refused(s, |node, now| node.pin(group, &nothing, true, now)), "unknown-message");
    assert_eq!(refused(s, |node, now| node.hide(group, &nothing, true, now)), "unknown-message");
    assert_eq!(refused(s, |node, _| node.history(&group, &nothing)), "unknown-message");
    assert_eq!(refused(s, |node, _| node.thread(&group, &nothing)), "unknown-message");
    let post = Post { text: "x".into(), answers: Some(nothing), ..Post::default() };
    assert_eq!(refused(s, |node, now| node.post(group, &post, now)), "unknown-message");
    let post = Post { text: "x".into(), quotes: vec![nothing], ..Post::default() };
    assert_eq!(refused(s, |node, now| node.post(group, &post, now)), "unknown-message");
    // A message of another conversation is none of this one.
    let other = s.group();
    assert_eq!(refused(s, |node, now| node.edit(other, &known, "x", now)), "unknown-message");
    assert_eq!(refused(s, |node, now| node.edit(nowhere, &known, "x", now)), "unknown-conversation");
    assert_eq!(refused(s, |node, now| node.rename(nowhere, "x", now)), "unknown-conversation");
    assert_eq!(refused(s, |node, now| node.mute(nowhere, 1, now)), "unknown-conversation");
    assert_eq!(refused(s, |node, now| node.write_topic(nowhere, "x", now)), "unknown-conversation");
    assert_eq!(refused(s, |node, now| node.write_draft(nowhere, "x", now)), "unknown-conversation");
    assert_eq!(refused(s, |node, _| node.conflicts(&nowhere)), "unknown-conversation");
    assert_eq!(refused(s, |node, _| node.locate("zz zz")), "unknown-message");
    assert_eq!(refused(s, |node, _| node.locate("abc")), "unknown-message");
}

#[test]
fn what_is_too_much_is_named() {
    let mut stage = Stage::of(&[1]);
    let group = stage.group();
    let id = stage.say(0, group, "here");
    let large = "x".repeat(1 << 20);
    let name = "n".repeat(NAME_BYTES_MAX + 1);
    let s = &mut stage;
    assert_eq!(refused(s, |node, now| node.edit(group, &id, &large, now)), "too-large");
    assert_eq!(refused(s, |node, now| node.edit(group, &id, "", now)), "empty");
    for reaction in [large.as_str(), "", " ", "a b", "\u{7}", &"x".repeat(65)] {
        assert_eq!(refused(s, |node, now| node.react(group, &id, reaction, true, now)), "reaction");
    }
    assert_eq!(refused(s, |node, now| node.write_topic(group, &large, now)), "too-large");
    assert_eq!(refused(s, |node, now| node.write_note(group, "n", &large, now)), "too-large");
    assert_eq!(refused(s, |node, now| node.write_note(group, &name, "x", now)), "name");
    assert_eq!(refused(s, |node, now| node.write_note(group, " ", "x", now)), "name");
    assert_eq!(refused(s, |node, now| node.rename(group, &name, now)), "too-large");
    assert_eq!(refused(s, |node, now| node.set_timer(group, u64::MAX, now)), "too-large");
    let post = |change: &dyn Fn(&mut Post)| {
        let mut post = Post { text: "x".into(), ..Post::default() };
        change(&mut post);
        post
    };
    for post in [
        post(&|post| post.text.clone_from(&large)),
        post(&|post| post.quotes = vec![id; 9]),
        post(&|post| post.mentions = vec![tombolo_client::AccountId([1; 32]); 65]),
    ] {
        assert_eq!(refused(s, |node, now| node.post(group, &post, now)), "too-large");
    }
    assert_eq!(refused(s, |node, now| node.post(group, &Post::default(), now)), "empty");
    // These have a conversation of their own, which may be founded; the large thing is not in it.
    assert_eq!(code(s.on(0, |node, now| node.folder(group, &name, now))), "too-large");
    assert_eq!(code(s.on(0, |node, now| node.write_draft(group, &large, now))), "too-large");
    assert_eq!(s.nodes[0].draft(&group).unwrap().text, "");
    // The largest that is allowed is.
    let most = "y".repeat(TEXT_BYTES_MAX);
    s.on(0, |node, now| node.edit(group, &id, &most, now)).unwrap();
    assert_eq!(s.message(0, &group, &id).text, most);
    assert_eq!(s.on(0, |node, now| node.write_topic(group, &most, now)).unwrap().text, most);
    s.sound();
}

/// Several people append to one note, each of them below the limit of a write.
#[test]
fn a_note_grows_up_to_its_bound_and_can_be_shortened_again() {
    let mut stage = Stage::of(&[1, 2]);
    let group = stage.group();
    let read = |stage: &Stage, device: usize| {
        stage.nodes[device].notes(&group).unwrap().pop().map(|note| note.text).unwrap_or_default()
    };
    let mut refusals = 0;
    for round in 0..12 {
        for device in [0, 1] {
            let text = read(&stage, device) + &format!("{round} of {device} ").repeat(700);
            let fits = text.len() <= SHARED_TEXT_BYTES_MAX;
            let done = stage.on(device, |node, now| node.write_note(group, "n", &text, now));
            match done {
                Ok(row) => assert!(fits && row.text == text),
                Err(error) => {
                    assert_eq!((error.code(), fits), ("too-large", false));
                    refusals += 1;
                }
            }
        }
        stage.meet_all();
        assert_eq!(read(&stage, 0), read(&stage, 1));
        // What two wrote at once stands side by side; on that nobody can build further.
        assert!(read(&stage, 0).len() <= SHARED_TEXT_BYTES_MAX + 15_000, "{}", read(&stage, 0).len());
    }
    assert!(refusals > 0, "it grew without an end");
    let shorter = read(&stage, 1)[..50_000].to_owned();
    assert_eq!(stage.on(1, |node, now| node.write_note(group, "n", &shorter, now)).unwrap().text, shorter);
    assert_eq!(stage.on(0, |node, now| node.write_note(group, "n", "", now)).unwrap().text, "");
    stage.sound();
}
