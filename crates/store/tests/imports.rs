//! Messages from elsewhere: once, by claimed time, never late, never unread.

use crate::world::{Group, OWN, Store, device, line};
use tombolo_model::content::{Content, Imported};
use tombolo_store::{Section, count, unread};

#[test]
fn importing_twice_is_importing_once() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let first: Vec<_> = (0..30).map(|number| group.say(OWN, 100 + u64::from(number), &line(number))).collect();
    store.write(&first);
    let once = store.dump();
    // Again on the same device, and the same file on another one.
    let again: Vec<_> = (0..30).map(|number| group.say(OWN, 200 + u64::from(number), &line(number))).collect();
    store.write(&again);
    let other: Vec<_> = (0..30).map(|number| group.say(3, 300 + u64::from(number), &line(number))).collect();
    store.take(&other);
    assert_eq!(store.dump(), once);
    assert_eq!(count(&store.log, &group.conversation).unwrap(), 30);
    store.assert_rebuilt_equals_live();
}

#[test]
fn the_earliest_op_is_kept_whichever_came_first() {
    let mut group = Group::new(1);
    let (early, late) = (group.say(1, 10, &line(4)), group.say(3, 20, &line(4)));
    let mut dumps = Vec::new();
    for order in [[&early, &late], [&late, &early]] {
        let mut store = Store::of(&group);
        for op in order {
            store.take(std::slice::from_ref(op));
        }
        let shown = store.all(&group.conversation);
        assert_eq!(shown.len(), 1);
        assert_eq!((shown[0].id(), shown[0].author), (early.op.id, device(1)));
        store.assert_rebuilt_equals_live();
        dumps.push((shown[0].place, shown[0].text.clone(), shown[0].who.clone()));
    }
    assert_eq!(dumps[0], dumps[1]);
}

#[test]
fn a_forged_copy_of_a_key_does_not_split_replicas() {
    let mut group = Group::new(1);
    let forged = Content::Imported(Imported {
        time_ms: 5,
        who: "somebody else".into(),
        text: "something else".into(),
        source_key: [4; 16],
        rank: None,
        files: None,
        source: None,
    });
    let ops = [group.say(1, 10, &line(4)), group.say(3, 5, &forged)];
    let mut texts = Vec::new();
    for order in [[0, 1], [1, 0]] {
        let mut store = Store::of(&group);
        for at in order {
            store.take(&ops[at..=at]);
        }
        store.assert_rebuilt_equals_live();
        texts.push(store.texts(&group.conversation));
    }
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0].len(), 1);
}

#[test]
fn lines_of_one_second_keep_the_order_of_their_file() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let at = |time_ms: u64, text: &str, key: u8| {
        Content::Imported(Imported {
            time_ms,
            who: "p".into(),
            text: text.into(),
            source_key: [key; 16],
            rank: None,
            files: None,
            source: None,
        })
    };
    // Keys descend, so that nothing but the order of writing puts these lines in order.
    let lines = [at(9_000, "a", 9), at(9_000, "b", 8), at(9_000, "c", 7), at(8_000, "earlier", 6)];
    let ops: Vec<_> = lines.iter().map(|line| group.say(OWN, 5, line)).collect();
    store.write(&ops);
    assert_eq!(store.texts(&group.conversation), ["earlier", "a", "b", "c"]);
}

#[test]
fn imported_messages_stand_above_and_are_never_late_or_unread() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    store.write(&[group.text(OWN, 500, "mine")]);
    store.take(&[group.say(1, 10, &line(1)), group.say(1, 900, &line(2))]);
    let shown = store.all(&group.conversation);
    assert_eq!(shown.len(), 3);
    assert!(shown[..2].iter().all(|message| message.place.section == Section::Imported && message.late.is_none()));
    assert_eq!(shown[2].text, "mine");
    assert_eq!(unread(&store.log, &group.conversation, &device(OWN)).unwrap(), 0);
}

/// Whoever imports an export, and in whatever order its parts arrive: lines of one time stand as they stand in the export.
#[test]
fn ranks_decide_among_lines_of_one_second_whoever_brought_them() {
    let mut group = Group::new(1);
    let at = |rank: u64, text: &str| {
        Content::Imported(Imported {
            time_ms: 9_000,
            who: "p".into(),
            text: text.into(),
            source_key: [u8::try_from(rank).unwrap(); 16],
            rank: Some(rank),
            files: None,
            source: Some("phone".into()),
        })
    };
    let lines = [at(0, "a"), at(1, "b"), at(2, "c"), at(3, "d")];
    // Two importers, each of whom has brought what the other lacks, the second half first by clock.
    let ops = [
        group.say(3, 10, &lines[3]),
        group.say(3, 11, &lines[2]),
        group.say(1, 20, &lines[1]),
        group.say(1, 21, &lines[0]),
    ];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let mut store = Store::of(&group);
        for at in order {
            store.take(&ops[at..=at]);
        }
        assert_eq!(store.texts(&group.conversation), ["a", "b", "c", "d"]);
        store.assert_rebuilt_equals_live();
    }
}
