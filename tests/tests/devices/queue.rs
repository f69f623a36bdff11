//! What has not left a device: listed, withdrawn before it leaves, sent in order.

use super::{Stage, code};
use std::path::Path;
use tombolo_client::{ConversationId, MessageState};

const CANARY: &str = "kanarienvogel-47114711";

fn stage() -> (Stage, ConversationId) {
    let mut stage = Stage::of(&[1, 2]);
    let group = stage.group();
    for device in [0, 1] {
        stage.upload(device);
    }
    (stage, group)
}

fn queued(stage: &Stage, group: ConversationId) -> Vec<String> {
    let rows = stage.nodes[0].outbox(Some(group)).unwrap();
    rows.into_iter().map(|row| row.message.text).collect()
}

/// Whether any file of a store has these bytes in it.
fn holds(folder: &Path, name: &str, needle: &str) -> bool {
    std::fs::read_dir(folder).unwrap().map(Result::unwrap).any(|file| {
        file.file_name().to_string_lossy().starts_with(name)
            && std::fs::read(file.path()).unwrap().windows(needle.len()).any(|some| some == needle.as_bytes())
    })
}

#[test]
fn what_nobody_holds_is_queued_and_goes_in_order() {
    let (mut stage, group) = stage();
    assert!(queued(&stage, group).is_empty());
    let texts: Vec<String> = (0..20).map(|number| format!("number {number}")).collect();
    for text in &texts {
        stage.say(0, group, text);
    }
    assert_eq!(queued(&stage, group), texts);
    stage.restart(0);
    assert_eq!(queued(&stage, group), texts);
    stage.upload(0);
    assert!(queued(&stage, group).is_empty());
    stage.upload(1);
    let page = stage.nodes[1].messages(&group, 100, None, false).unwrap();
    assert_eq!(page.into_iter().map(|message| message.text).collect::<Vec<_>>(), texts);
}

#[test]
fn what_is_withdrawn_never_leaves() {
    let (mut stage, group) = stage();
    let first = stage.say(0, group, "before");
    let id = stage.say(0, group, CANARY);
    stage.say(0, group, "after");
    stage.on(0, |node, now| node.cancel(group, &id, now)).unwrap();
    assert_eq!(queued(&stage, group), ["before", "after"]);
    stage.upload(0);
    stage.upload(1);
    let shown: Vec<String> = stage.agreed(&group).into_iter().map(|(_, text, _)| text).collect();
    assert_eq!(shown, ["before", "after"]);
    // Bodies travel sealed: what the peer could open it would show in its file.
    let sealed = stage.relay.log().op(&group, &id).unwrap().expect("its header travels");
    assert_eq!(sealed.body, None);
    assert_eq!(stage.nodes[1].log().op(&group, &id).unwrap().unwrap().body, None);
    assert!(!holds(stage.folder.path(), "1.db", CANARY));
    assert!(holds(stage.folder.path(), "1.db", "before"), "the search finds what is there");
    assert!(matches!(stage.message(0, &group, &first).state, MessageState::Held(_)));
    assert_eq!(code(stage.on(0, |node, now| node.cancel(group, &first, now))), "sent");
    stage.sound();
}

#[test]
fn only_what_was_written_here_is_withdrawn() {
    let (mut stage, group) = stage();
    let id = stage.say(0, group, "mine");
    stage.upload(0);
    stage.upload(1);
    assert_eq!(code(stage.on(1, |node, now| node.cancel(group, &id, now))), "sent");
    let nothing = tombolo_client::OpId([9; 32]);
    assert_eq!(code(stage.on(1, |node, now| node.cancel(group, &nothing, now))), "unknown-message");
}
