//! Seen, unread, late: what came in above what somebody had already read.

use crate::world::{Group, NOW_MS, OWN, START_MS, Store, device};
use tombolo_model::content::Content;
use tombolo_model::{Hlc, OpId};
use tombolo_store::{Late, Message, Place, mark_seen, seen, unread};

fn look(store: &mut Store, group: &Group, messages: &[Message]) -> bool {
    let batch = store.log.batch().unwrap();
    let (from, to) = (messages.first().unwrap().place, messages.last().unwrap().place);
    let changed = mark_seen(batch.transaction().unwrap(), &group.conversation, &from, &to, store.now_ms).unwrap();
    batch.commit().unwrap();
    changed
}

fn unread_of(store: &Store, group: &Group) -> u64 {
    unread(&store.log, &group.conversation, &device(OWN)).unwrap()
}

fn late_of(store: &Store, group: &Group) -> Vec<Option<Late>> {
    store.all(&group.conversation).iter().map(|message| message.late).collect()
}

#[test]
fn new_messages_are_unread_until_they_were_listed() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    assert_eq!(unread_of(&store, &group), 0);
    store.take(&[group.text(1, 10, "a"), group.text(3, 20, "b"), group.say(3, 30, &Content::Title("t".into()))]);
    assert_eq!(unread_of(&store, &group), 2);
    let shown = store.all(&group.conversation);
    assert!(look(&mut store, &group, &shown[..1]));
    assert_eq!(unread_of(&store, &group), 1);
    assert!(look(&mut store, &group, &shown));
    assert_eq!(unread_of(&store, &group), 0);
    assert_eq!(seen(&store.log, &group.conversation).unwrap(), Some(shown[1].place));
    // Never falls.
    assert!(!look(&mut store, &group, &shown[..1]));
    assert_eq!(seen(&store.log, &group.conversation).unwrap(), Some(shown[1].place));
    store.take(&[group.text(1, 40, "c")]);
    assert_eq!(unread_of(&store, &group), 1);
    assert_eq!(late_of(&store, &group), [None; 3]);
}

#[test]
fn writing_has_seen_everything_below() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    store.take(&[group.text(1, 10, "a")]);
    store.write(&[group.text(OWN, 20, "mine")]);
    assert_eq!(unread_of(&store, &group), 0);
    // Own messages never count, wherever they come from.
    store.take(&[group.text(OWN, 30, "mine, from a backup")]);
    assert_eq!(unread_of(&store, &group), 0);
    assert_eq!(seen(&store.log, &group.conversation).unwrap().map(|place| place.at >> 16), Some(START_MS + 20));
}

#[test]
fn what_slots_in_above_is_late_and_unread_until_it_was_shown() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let own = group.text(OWN, 100, "mine");
    store.write(&[own]);
    store.now_ms = NOW_MS + 60_000;
    store.take(&[group.text(1, 50, "late"), group.text(3, 150, "new")]);
    let came = Some(Late { came_ms: NOW_MS + 60_000, unseen: true });
    assert_eq!(store.texts(&group.conversation), ["late", "mine", "new"]);
    assert_eq!(late_of(&store, &group), [came, None, None]);
    assert_eq!(unread_of(&store, &group), 2);

    // The newest two are shown: the late one is further up, and still nobody has seen it.
    let shown = store.all(&group.conversation);
    look(&mut store, &group, &shown[1..]);
    assert_eq!(unread_of(&store, &group), 1);
    assert_eq!(late_of(&store, &group), [came, None, None]);
    store.assert_rebuilt_equals_live();

    // Then that page too. It stays marked as late.
    look(&mut store, &group, &shown[..1]);
    assert_eq!(unread_of(&store, &group), 0);
    let looked_at = came.map(|late| Late { unseen: false, ..late });
    assert_eq!(late_of(&store, &group), [looked_at, None, None]);
    store.assert_rebuilt_equals_live();
}

#[test]
fn at_one_reading_the_id_decides_what_is_late() {
    for above in [true, false] {
        let mut group = Group::new(1);
        let mut store = Store::of(&group);
        let a = group.text(1, 50, "a");
        // Try texts until the id lies on the wanted side at the same reading.
        let b = (0..).map(|n| group.clone().text(3, 50, &n.to_string())).find(|b| (b.op.id > a.op.id) == above);
        let b = b.unwrap();
        assert_eq!(a.op.header.hlc, b.op.header.hlc);
        store.take(&[a]);
        let shown = store.all(&group.conversation);
        look(&mut store, &group, &shown);
        store.take(std::slice::from_ref(&b));
        let late: Vec<OpId> =
            store.all(&group.conversation).iter().filter(|m| m.late.is_some()).map(Message::id).collect();
        assert_eq!(late, if above { vec![] } else { vec![b.op.id] });
        assert_eq!(unread_of(&store, &group), 1);
    }
}

#[test]
fn old_messages_of_this_device_are_not_late() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let old = group.text(OWN, 10, "mine, long ago");
    store.take(&[group.text(1, 100, "a")]);
    let shown = store.all(&group.conversation);
    look(&mut store, &group, &shown);
    store.take(&[old]);
    assert_eq!(late_of(&store, &group), [None, None]);
    assert_eq!(unread_of(&store, &group), 0);
}

#[test]
fn before_anything_was_seen_nothing_is_late() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let (a, b) = (group.text(1, 100, "a"), group.text(3, 50, "b"));
    store.take(&[a]);
    store.take(&[b]);
    assert_eq!(late_of(&store, &group), [None, None]);
    assert_eq!(unread_of(&store, &group), 2);
}

#[test]
fn a_window_of_imports_moves_nothing() {
    let group = Group::new(1);
    let store = &mut Store::of(&group);
    let batch = store.log.batch().unwrap();
    let place = Place::imported(5, None, Hlc::new(6, 0), OpId([1; 32]));
    assert!(!mark_seen(batch.transaction().unwrap(), &group.conversation, &place, &place, 0).unwrap());
    batch.commit().unwrap();
    assert_eq!(seen(&store.log, &group.conversation).unwrap(), None);
}
