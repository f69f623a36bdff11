//! Windows: nothing is skipped or repeated while messages keep coming.

use crate::naive::{acts, perform};
use crate::world::{Group, START_MS, Store, line};
use proptest::prelude::*;
use std::collections::BTreeSet;
use tombolo_model::{Hlc, OpId};
use tombolo_oplog::Incoming;
use tombolo_store::{Message, Place, page, page_after};

fn ids(messages: &[Message]) -> Vec<OpId> {
    messages.iter().map(Message::id).collect()
}

/// Turns ops into those whose past is complete without the others, by putting each author's ops in order.
fn two_parts(ops: Vec<Incoming>, part: usize) -> (Vec<Incoming>, Vec<Incoming>) {
    let (before, after): (Vec<_>, Vec<_>) = ops.into_iter().enumerate().partition(|(at, _)| at % 3 < part);
    (before.into_iter().map(|(_, op)| op).collect(), after.into_iter().map(|(_, op)| op).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn paging_up_and_down_meets_every_message_once(
        acts in acts(60),
        size in 1..7usize,
        part in 1..3usize,
        at_once in 1..6usize,
    ) {
        let mut group = Group::new(1);
        let ops = perform(&mut group, &acts);
        let (before, after) = two_parts(ops, part);
        for down in [false, true] {
            let mut store = Store::of(&group);
            store.take(&before);
            let mut owed: BTreeSet<OpId> = ids(&store.all(&group.conversation)).into_iter().collect();
            let mut coming = after.chunks(at_once);
            let (mut met, mut cursor): (Vec<Message>, Option<Place>) = (Vec::new(), None);
            loop {
                let some = if down {
                    page_after(&store.log, &group.conversation, cursor.as_ref(), size).unwrap()
                } else {
                    page(&store.log, &group.conversation, cursor.as_ref(), size).unwrap()
                };
                prop_assert!(some.len() <= size);
                prop_assert!(some.is_sorted_by(|a, b| a.place < b.place));
                let next = if down { some.last() } else { some.first() };
                let Some(next) = next else { break };
                // As callers have it: through the text.
                cursor = Some(next.place.to_string().parse().unwrap());
                // More pages than messages: the same ones come again and again.
                prop_assert!(met.len() <= before.len() + after.len());
                for message in &some {
                    owed.remove(&message.id());
                }
                if down { met.extend(some) } else { met.splice(0..0, some); }
                if let Some(some) = coming.next() {
                    let shown = ids(&store.all(&group.conversation));
                    store.take(some);
                    // A line that somebody else had imported earlier takes over the place of its copy.
                    let now: BTreeSet<OpId> = ids(&store.all(&group.conversation)).into_iter().collect();
                    for id in shown {
                        if !now.contains(&id) {
                            owed.remove(&id);
                        }
                    }
                }
            }
            prop_assert!(met.is_sorted_by(|a, b| a.place < b.place), "repeated or out of order");
            prop_assert_eq!(owed, BTreeSet::new());
        }
    }
}

#[test]
fn a_window_is_the_newest_before_its_end() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let ops: Vec<Incoming> = (0..10).map(|n| group.text(1, n, &n.to_string())).collect();
    store.take(&ops);
    let texts = |before: Option<&Place>, limit| -> Vec<String> {
        page(&store.log, &group.conversation, before, limit).unwrap().into_iter().map(|m| m.text).collect()
    };
    assert_eq!(texts(None, 3), ["7", "8", "9"]);
    let place = page(&store.log, &group.conversation, None, 3).unwrap()[0].place;
    assert_eq!(texts(Some(&place), 3), ["4", "5", "6"]);
    assert_eq!(texts(None, 0), [""; 0]);
    // A place that holds no message is still a place.
    let between = Place::native(Hlc::new(START_MS + 5, 9), OpId([0; 32]));
    assert_eq!(texts(Some(&between), 2), ["4", "5"]);
}

#[test]
fn an_id_leads_to_its_place() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let (text, import) = (group.text(1, 5, "a"), group.say(1, 6, &line(3)));
    store.take(&[text.clone(), import.clone()]);
    let conversation = group.conversation;
    for message in store.all(&conversation) {
        let found = store.views.place_of(&store.log, &conversation, &message.id()).unwrap();
        assert_eq!(found, Some(message.place));
    }
    assert_eq!(store.views.place_of(&store.log, &conversation, &OpId([5; 32])).unwrap(), None);
}

#[test]
fn a_window_is_read_from_the_index_alone() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    store.take(&[group.text(1, 5, "a")]);
    let conn = store.log.connection().unwrap();
    for (compare, order) in [("<", "DESC"), (">", "ASC")] {
        let mut statement = conn
            .prepare(&format!(
                "EXPLAIN QUERY PLAN SELECT m.text, l.author FROM message m CROSS JOIN log l ON l.n = m.log \
                 WHERE m.conversation = (SELECT n FROM conversation WHERE id = x'00') \
                 AND (m.section, m.at, m.sub, m.id) {compare} (1, 2, 3, x'00') \
                 ORDER BY m.section {order}, m.at {order}, m.sub {order}, m.id {order} LIMIT 50"
            ))
            .unwrap();
        let plan: Vec<String> = statement.query_map([], |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("SEARCH m USING PRIMARY KEY (conversation=?"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}
