//! What cannot be read yet: no key, no body, a newer version.

use crate::world::{Group, NOW_MS, OWN, Store, device, line};
use std::sync::atomic::Ordering;
use tombolo_model::content::Content;
use tombolo_oplog::{Fold as _, Incoming};
use tombolo_store::{MessageKind, Section, title, unread};

fn reopen(store: &mut Store, group: &Group) -> usize {
    let mut batch = store.log.batch().unwrap();
    let reader = batch.reads().unwrap();
    let opened = store.views.reopen(reader, batch.transaction().unwrap(), &group.conversation).unwrap();
    batch.commit().unwrap();
    opened
}

#[test]
fn without_a_key_messages_are_sealed_until_it_comes() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    store.has_key.store(false, Ordering::Relaxed);
    store.write(&[group.text(OWN, 100, "mine")]);
    let place = store.all(&group.conversation)[0].place;
    let batch = store.log.batch().unwrap();
    tombolo_store::mark_seen(batch.transaction().unwrap(), &group.conversation, &place, &place, 0).unwrap();
    batch.commit().unwrap();
    store.take(&[
        group.text(1, 50, "late"),
        group.say(1, 150, &Content::Title("t".into())),
        group.say(1, 160, &line(1)),
    ]);
    let sealed = store.all(&group.conversation);
    assert_eq!(sealed.len(), 4);
    assert!(sealed.iter().all(|message| message.kind == MessageKind::Sealed && message.text.is_empty()));
    assert_eq!(title(&store.log, &group.conversation).unwrap(), None);
    store.assert_rebuilt_equals_live();
    assert_eq!(reopen(&mut store, &group), 0);

    store.has_key.store(true, Ordering::Relaxed);
    store.now_ms = NOW_MS + 5_000;
    assert_eq!(reopen(&mut store, &group), 4);
    assert_eq!(store.texts(&group.conversation), ["line 1", "late", "mine"]);
    assert_eq!(title(&store.log, &group.conversation).unwrap().as_deref(), Some("t"));
    let shown = store.all(&group.conversation);
    assert_eq!(shown[0].place.section, Section::Imported);
    // Late is what came in late, not what was opened late.
    assert_eq!(shown[1].late.unwrap().came_ms, NOW_MS);
    assert_eq!(shown[2].late, None);
    assert_eq!(reopen(&mut store, &group), 0);
    store.assert_rebuilt_equals_live();
}

#[test]
fn a_body_that_comes_after_its_header_is_shown_then() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let whole = group.text(1, 50, "text");
    let op = tombolo_model::Op { body: None, ..whole.op.clone().into_op() };
    let bare = Incoming { op: tombolo_model::Sound::check(op).unwrap(), control: None };
    store.take(&[bare]);
    assert_eq!(store.all(&group.conversation)[0].kind, MessageKind::Sealed);
    store.take(&[whole]);
    let shown = store.all(&group.conversation);
    assert_eq!((shown.len(), shown[0].kind, shown[0].text.as_str()), (1, MessageKind::Text, "text"));
    store.assert_rebuilt_equals_live();
}

#[test]
fn what_a_newer_version_wrote_is_shown_as_such() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    // A kind that does not exist, padded as content is.
    let op = group.write(
        1,
        tombolo_model::Class::Content,
        tombolo_model::Hlc::new(crate::world::START_MS, 0),
        &[],
        &[99, 1, 2, 0x80],
    );
    store.take(&[Incoming { op, control: None }]);
    let shown = store.all(&group.conversation);
    assert_eq!((shown[0].kind, shown[0].text.as_str()), (MessageKind::Newer, ""));
    assert_eq!(unread(&store.log, &group.conversation, &device(OWN)).unwrap(), 1);
    store.assert_rebuilt_equals_live();
}

#[test]
fn nonsense_in_a_body_is_a_sealed_row_and_no_error() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let hlc = tombolo_model::Hlc::new(crate::world::START_MS, 0);
    let op = group.write(1, tombolo_model::Class::Content, hlc, &[], &[0; 7]);
    store.take(&[Incoming { op, control: None }]);
    assert_eq!(store.all(&group.conversation)[0].kind, MessageKind::Sealed);
    store.assert_rebuilt_equals_live();
}

#[test]
fn what_was_read_ahead_is_not_read_again() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    // Only what is given in can be shown.
    store.has_key.store(false, Ordering::Relaxed);
    let (first, second) = (group.text(1, 50, "text"), group.text(1, 60, "text"));
    let ahead = Content::Text("read ahead".into());
    store.views.was_read([(first.op.id, ahead)].into());
    store.take(&[first]);
    store.take(&[second]);
    let shown = store.all(&group.conversation);
    let kinds: Vec<_> = shown.iter().map(|message| (message.kind, message.text.as_str())).collect();
    assert_eq!(kinds, [(MessageKind::Text, "read ahead"), (MessageKind::Sealed, "")]);
}
