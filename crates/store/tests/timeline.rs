//! Items of a window, and the diffs between windows.

use crate::world::device;
use proptest::prelude::*;
use std::collections::BTreeSet;
use tombolo_model::{Hlc, OpId};
use tombolo_store::timeline::{Diff, Gap, Item, Window, apply, build, diff};
use tombolo_store::{Late, Message, MessageKind, Place, Section};

const DAY_MS: u64 = 86_400_000;

fn id(number: u64) -> OpId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    OpId(bytes)
}

fn message(number: u64, ms: u64, author: u8) -> Message {
    Message {
        place: Place::native(Hlc::new(ms, 0), id(number)),
        arrival: number,
        author: device(author),
        kind: MessageKind::Text,
        text: number.to_string(),
        who: None,
        late: None,
        facets: None,
    }
}

fn imported(number: u64, ms: u64) -> Message {
    let place = Place::imported(ms, None, Hlc::new(9, 0), id(number));
    Message { place, who: Some("p".into()), ..message(number, 0, 1) }
}

fn items(messages: &[Message], gaps: &[Gap], seen: Option<Place>) -> Vec<Item> {
    build(&Window { messages, gaps, seen, own: device(2) }, &|_| 0)
}

/// One word an item.
fn words(items: &[Item]) -> Vec<String> {
    items
        .iter()
        .map(|item| match item {
            Item::Imported => "imported".into(),
            Item::Day { days, .. } => format!("day {days}"),
            Item::New { count } => format!("new {count}"),
            Item::Gap(gap) => format!("gap {}", gap.missing),
            Item::Late { count, first } => format!("late {count} from {}", first.time_ms()),
            Item::Message(message) => message.text.clone(),
        })
        .collect()
}

#[test]
fn days_and_sections_are_divided() {
    let messages = [
        imported(1, 5),
        imported(2, 3 * DAY_MS),
        message(3, 3 * DAY_MS + 5, 1),
        message(4, 3 * DAY_MS + 6, 1),
        message(5, 4 * DAY_MS, 2),
    ];
    assert_eq!(
        words(&items(&messages, &[], None)),
        ["imported", "day 0", "1", "day 3", "2", "day 3", "3", "4", "day 4", "5"]
    );
    assert_eq!(words(&items(&[], &[], None)), [""; 0]);
}

#[test]
fn dates_are_local() {
    let messages = [message(1, DAY_MS - 1, 1), message(2, DAY_MS, 1)];
    let built = |offset: i32| {
        words(&build(&Window { messages: &messages, gaps: &[], seen: None, own: device(2) }, &|_| offset))
    };
    assert_eq!(built(0), ["day 0", "1", "day 1", "2"]);
    assert_eq!(built(3_600), ["day 1", "1", "2"]);
    assert_eq!(built(-3_600), ["day 0", "1", "2"]);
    // Clocks set back over midnight: no date begins twice.
    let back = |ms: u64| if ms < DAY_MS { 3_600 } else { -3_600 };
    let window = Window { messages: &messages, gaps: &[], seen: None, own: device(2) };
    assert_eq!(words(&build(&window, &back)), ["day 1", "1", "2"]);
}

#[test]
fn the_border_of_what_is_new_counts_messages_of_others() {
    let messages = [message(1, 1, 1), message(2, 2, 2), message(3, 3, 1), message(4, 4, 2), message(5, 5, 3)];
    let seen = |at: usize| Some(messages[at].place);
    assert_eq!(words(&items(&messages, &[], seen(0))), ["day 0", "1", "2", "new 2", "3", "4", "5"]);
    assert_eq!(words(&items(&messages, &[], seen(4))), ["day 0", "1", "2", "3", "4", "5"]);
    assert_eq!(words(&items(&messages, &[], None)), ["day 0", "1", "2", "3", "4", "5"]);
}

#[test]
fn gaps_stand_where_something_is_missing() {
    let messages = [message(1, 10, 1), message(2, 20, 1)];
    let gap = |after: u64, missing| Gap {
        after: Hlc::new(after, 0),
        before: Hlc::new(after + 1, 0),
        missing,
        authors: vec![device(1)],
    };
    let gaps = [gap(30, 3), gap(15, 2), gap(5, 1)];
    assert_eq!(words(&items(&messages, &gaps, None)), ["gap 1", "day 0", "1", "gap 2", "2", "gap 3"]);
}

#[test]
fn late_messages_are_announced_once_below_them() {
    let late = |unseen| Some(Late { came_ms: 99, unseen });
    let messages = [
        Message { late: late(true), ..message(1, 1, 1) },
        message(2, 2, 1),
        Message { late: late(true), ..message(3, 3, 1) },
        Message { late: late(false), ..message(4, 4, 1) },
        message(5, 5, 1),
    ];
    assert_eq!(words(&items(&messages, &[], None)), ["day 0", "1", "2", "3", "late 2 from 1", "4", "5"]);
}

/// Windows as they may follow one another: any subset of messages, in order, some changed, with any border.
fn window() -> impl Strategy<Value = Vec<Item>> {
    let messages = proptest::collection::btree_map(0..40u64, (0..3u8, any::<bool>()), 0..25);
    (messages, proptest::option::of(0..40u64), 0..3i32).prop_map(|(messages, seen, zone)| {
        let messages: Vec<Message> = messages
            .into_iter()
            .map(|(number, (kind, late))| {
                let ms = number / 8 * DAY_MS + number;
                let mut message = if number < 8 { imported(number, ms) } else { message(number, ms, 1 + kind % 2) };
                message.text = format!("{number} {kind}");
                message.late = (late && number >= 8).then_some(Late { came_ms: 5, unseen: kind == 0 });
                message
            })
            .collect();
        let gaps =
            [Gap { after: Hlc::new(2 * DAY_MS, 0), before: Hlc::new(3 * DAY_MS, 0), missing: 3, authors: vec![] }];
        let seen = seen.map(|at| Place::native(Hlc::new(at / 8 * DAY_MS + at, 0), id(at)));
        let window = Window { messages: &messages, gaps: &gaps[..(zone as usize % 2)], seen, own: device(2) };
        build(&window, &|_| zone * 3_600)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn keys_differ_within_a_window(items in window()) {
        let keys: BTreeSet<_> = items.iter().map(Item::key).collect();
        prop_assert_eq!(keys.len(), items.len());
    }

    #[test]
    fn diffs_lead_from_one_window_to_the_next(old in window(), new in window()) {
        let steps = diff(&old, &new);
        let mut items = old.clone();
        apply(&mut items, &steps);
        prop_assert_eq!(&items, &new);
        // A change names the item that stands there, and really changes it.
        let mut items = old.clone();
        for step in &steps {
            if let Diff::Set { index, item } = step {
                prop_assert_eq!(items[*index].key(), item.key());
                prop_assert_ne!(&items[*index], item);
            }
            apply(&mut items, std::slice::from_ref(step));
        }
    }

    #[test]
    fn what_did_not_move_is_left_alone(old in window(), new in window()) {
        prop_assert_eq!(diff(&old, &old), vec![]);
        // Messages keep their order, so none of those that stay is taken out and put in again.
        let message = |item: &Item| match item { Item::Message(message) => Some(message.id()), _ => None };
        let before: BTreeSet<OpId> = old.iter().filter_map(message).collect();
        let mut moved = 0;
        for step in diff(&old, &new) {
            if let Diff::Insert { item, .. } = step {
                moved += usize::from(message(&item).is_some_and(|id| before.contains(&id)));
            }
        }
        prop_assert_eq!(moved, 0);
    }
}

#[test]
fn one_new_message_is_one_insert() {
    let messages: Vec<Message> = (0..50).map(|n| message(n, n, 1)).collect();
    let (old, new) = (items(&messages[..49], &[], None), items(&messages, &[], None));
    assert_eq!(diff(&old, &new), [Diff::Insert { index: 50, item: Item::Message(messages[49].clone()) }]);
    assert_eq!(diff(&new, &old), [Diff::Remove { index: 50 }]);
    assert!(matches!(new[1], Item::Message(ref m) if m.place.section == Section::Native));
}

#[test]
fn steps_of_another_window_do_no_harm() {
    let mut items = items(&[message(1, 1, 1)], &[], None);
    let before = items.clone();
    apply(&mut items, &[Diff::Remove { index: 9 }, Diff::Set { index: 9, item: Item::Imported }]);
    assert_eq!(items, before);
    apply(&mut items, &[Diff::Insert { index: 9, item: Item::Imported }]);
    assert_eq!(items.last(), Some(&Item::Imported));
}
