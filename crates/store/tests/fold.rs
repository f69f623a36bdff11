//! Whatever the order of arrival, people see the same; rebuilt equals live.

use crate::naive::{self, Shown, acts, author_of, perform};
use crate::world::{Group, OWN, Store, account};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tombolo_model::content::Content;
use tombolo_model::{ConversationId, Op};
use tombolo_oplog::Incoming;
use tombolo_store::{MessageKind, Section, count, names, page, page_after, title};

/// What the views show, in the form of the model.
pub fn shown(store: &Store, conversation: &ConversationId) -> Shown {
    let messages = store.all(conversation);
    assert_eq!(count(&store.log, conversation).unwrap(), messages.len() as u64);
    let names = names(&store.log, conversation).unwrap();
    let mut by_account = BTreeMap::new();
    for (device, person) in &names.people {
        assert_eq!(person.account.unwrap().0[0], account(author_of(device)));
        if let Some(name) = &person.name {
            let before = by_account.insert(account(author_of(device)), name.clone());
            assert!(before.is_none_or(|before| before == *name), "devices of one account differ in name");
        }
    }
    Shown {
        messages: messages
            .into_iter()
            .map(|message| {
                assert_eq!(message.kind, MessageKind::Text);
                assert_eq!(message.who.is_some(), message.place.section == Section::Imported);
                (message.time_ms(), message.who.clone().unwrap_or_default(), message.text.clone(), message.id())
            })
            .collect(),
        title: title(&store.log, conversation).unwrap(),
        names: by_account,
    }
}

/// Feeds ops in an order of its own, a few at a time.
pub fn feed(store: &mut Store, ops: &[Incoming], order: &[usize], at_once: usize) {
    let shuffled: Vec<Incoming> = order.iter().map(|at| ops[*at].clone()).collect();
    for some in shuffled.chunks(at_once) {
        store.take(some);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_order_of_arrival_shows_the_same(
        acts in acts(50),
        (first, second) in (any::<u64>(), any::<u64>()),
        at_once in 1..9usize,
    ) {
        let mut group = Group::new(1);
        let ops = perform(&mut group, &acts);
        let plain: Vec<Op> = ops.iter().map(|incoming| incoming.op.clone().into_op()).collect();
        let model = naive::shown(&plain);
        for seed in [0, first, second] {
            let mut store = Store::of(&group);
            feed(&mut store, &ops, &shuffled(ops.len(), seed), at_once);
            prop_assert_eq!(&shown(&store, &group.conversation), &model);
            store.assert_rebuilt_equals_live();
            prop_assert_eq!(&shown(&store, &group.conversation), &model);
            // Everything once more changes nothing.
            let before = store.dump();
            store.take(&ops);
            prop_assert_eq!(store.dump(), before);
        }
    }
}

/// A permutation; seed 0 is the order as written.
pub fn shuffled(len: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    if seed != 0 {
        // A linear congruential generator is random enough to shuffle.
        let mut state = seed;
        for at in (1..len).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(at, (state >> 33) as usize % (at + 1));
        }
    }
    order
}

#[test]
fn conversations_do_not_mix() {
    let (mut one, mut two) = (Group::new(1), Group::new(2));
    let mut store = Store::of(&one);
    store.take(&two.founding);
    let (a, b) = (one.text(1, 5, "in one"), two.text(1, 6, "in two"));
    let c = two.say(1, 7, &Content::Title("Two".into()));
    store.take(&[a, b, c]);
    assert_eq!(store.texts(&one.conversation), ["in one"]);
    assert_eq!(store.texts(&two.conversation), ["in two"]);
    assert_eq!(title(&store.log, &one.conversation).unwrap(), None);
    assert_eq!(title(&store.log, &two.conversation).unwrap().as_deref(), Some("Two"));
    store.assert_rebuilt_equals_live();
}

#[test]
fn of_two_names_and_titles_at_one_reading_the_greater_id_counts() {
    let group = Group::new(1);
    // A device that contradicts itself: two ops for one place of its log, with one clock reading.
    let both = |a: Content, b: Content| [group.clone().say(3, 10, &a), group.clone().say(3, 10, &b)];
    let named = both(Content::Name("one".into()), Content::Name("two".into()));
    let titled = both(Content::Title("one".into()), Content::Title("two".into()));
    let mut seen = Vec::new();
    for order in [[0, 1], [1, 0]] {
        for ops in [&named, &titled] {
            let mut store = Store::of(&group);
            for at in order {
                store.take(&ops[at..=at]);
            }
            let plain: Vec<Op> = ops.iter().map(|incoming| incoming.op.clone().into_op()).collect();
            let model = naive::shown(&plain);
            let shown = shown(&store, &group.conversation);
            assert_eq!((&shown.title, shown.names.get(&account(3))), (&model.title, model.names.get(&account(3))));
            store.assert_rebuilt_equals_live();
            seen.push((shown.title, shown.names));
        }
    }
    assert_eq!(seen[..2], seen[2..]);
}

#[test]
fn a_batch_that_is_given_up_leaves_no_trace() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let before = store.dump();
    let ops = vec![group.text(1, 5, "gone"), group.say(OWN, 6, &Content::Title("gone".into()))];
    let mut batch = store.log.batch().unwrap();
    batch.append(ops.clone(), None, store.now_ms, &mut store.views).unwrap();
    drop(batch);
    assert_eq!(store.dump(), before);
    store.take(&ops);
    assert_eq!(store.texts(&group.conversation), ["gone"]);
    store.assert_rebuilt_equals_live();
}

#[test]
fn a_pending_message_is_shown_when_its_past_is_there() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let (first, second) = (group.text(1, 5, "first"), group.text(1, 6, "second"));
    store.take(&[second]);
    assert_eq!(store.texts(&group.conversation), [""; 0]);
    store.assert_rebuilt_equals_live();
    store.take(&[first]);
    assert_eq!(store.texts(&group.conversation), ["first", "second"]);
    store.assert_rebuilt_equals_live();
}

#[test]
fn an_empty_conversation_reads_as_empty() {
    let group = Group::new(1);
    let store = Store::new();
    assert_eq!(page(&store.log, &group.conversation, None, 10).unwrap(), []);
    assert_eq!(page_after(&store.log, &group.conversation, None, 10).unwrap(), []);
    assert_eq!(count(&store.log, &group.conversation).unwrap(), 0);
    assert_eq!(title(&store.log, &group.conversation).unwrap(), None);
    assert!(names(&store.log, &group.conversation).unwrap().people.is_empty());
}

#[test]
fn nothing_that_people_write_is_in_debug_texts() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    store.take(&[group.text(1, 5, "hush-hush")]);
    let shown = format!("{:?} {:?}", store.all(&group.conversation), store.views);
    assert!(shown.contains("Message") && !shown.contains("hush"), "{shown}");
}
