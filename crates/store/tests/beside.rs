//! What stands beside messages, through a real log: any order of arrival, any grouping and repetition, keys that come
//! later, forks, repairs and rebuilds show the same; and a naive model says what that is.

use crate::fold::{feed, shuffled};
use crate::world::{Group, OWN, START_MS, Store, account, device};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use tombolo_model::content::{
    Content, Delete, Edit, Message as Body, MessageRef, Reaction, Restore, Set, Slot, Tag, TagSet, Target, Value,
};
use tombolo_model::{AccountId, Class, ConversationId, Hlc, Op, OpId};
use tombolo_oplog::{Fold, Incoming};
use tombolo_store::{Facets, Look, Mismatch, Register, SharedText, Tagged, compare, note_names, shared_text, text};

/// Something that somebody does. Numbers name what was done before.
#[derive(Clone, Debug)]
struct Act {
    author: u8,
    ms: u64,
    kind: u8,
    about: usize,
    names: Vec<usize>,
    value: u8,
    /// The author contradicts itself here: the op has a sibling at the same place of its log.
    forks: bool,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let names = proptest::collection::vec(any::<usize>(), 0..3);
    let act = (1..=crate::world::PEOPLE, 0..60u64, 0..16u8, any::<usize>(), names, 0..6u8, 0..20u8).prop_map(
        |(author, ms, kind, about, names, value, forks)| Act {
            author,
            ms,
            kind,
            about,
            names,
            value,
            forks: forks == 0,
        },
    );
    proptest::collection::vec(act, 1..40)
}

/// What was said so far, as whoever says something about it may name it.
#[derive(Default)]
struct Said {
    messages: Vec<(MessageRef, String)>,
    /// Edits by message, with the version that each makes.
    edits: BTreeMap<OpId, Vec<(OpId, String)>>,
    deletions: Vec<OpId>,
    sets: Vec<OpId>,
    tags: Vec<OpId>,
    topics: Vec<OpId>,
}

fn pick<T>(of: &[T], number: usize) -> Option<&T> {
    of.get(number.checked_rem(of.len())?)
}

fn ids(of: &[OpId], names: &[usize]) -> Vec<OpId> {
    let ids: BTreeSet<OpId> = names.iter().filter_map(|name| pick(of, *name).copied()).collect();
    ids.into_iter().collect()
}

impl Said {
    fn content(&self, act: &Act) -> Content {
        let new = format!("text {} of {}", act.value, act.author);
        let nowhere = MessageRef { hlc: Hlc::new(START_MS, 0), id: OpId([act.value; 32]) };
        let (message, first) = match pick(&self.messages, act.about) {
            // Sometimes with a wrong clock reading, sometimes what does not exist.
            Some((at, text)) if act.value == 5 => (MessageRef { hlc: Hlc(at.hlc.0 + 1), ..*at }, text.clone()),
            Some((at, text)) => (*at, text.clone()),
            None => (nowhere, String::new()),
        };
        match act.kind {
            0..=2 => Content::Text(format!("message {}", self.messages.len())),
            3 => {
                let text = format!("message {}", self.messages.len());
                Content::Message(Box::new(Body { text, answers: Some(message), ..Body::default() }))
            }
            4..=6 => {
                let known = self.edits.get(&message.id).cloned().unwrap_or_default();
                let base = act.names.first().and_then(|name| pick(&known, *name).cloned());
                let (bases, from) = base.map_or((vec![], first), |(base, text)| (vec![base], text));
                let splices = text::splices(&from, &new);
                Content::Edit(Edit { target: Target::Message(message), bases, splices, whole: Some(new) })
            }
            7 => Content::Delete(Delete { message, withdrawn: None }),
            8 => {
                let content = Body { text: new, ..Body::default() };
                Content::Restore(Box::new(Restore { message, tags: ids(&self.deletions, &act.names), content }))
            }
            9..=11 => {
                let by = [1, 1, -1, 1, -2, 3][usize::from(act.value)];
                let emoji = ["up", "heart"][act.names.len() % 2].to_owned();
                Content::Reaction(Reaction { message: Reaction::names(&message.id), by, emoji })
            }
            12 => {
                let value = Value::Number(u64::from(act.value));
                Content::Set(Set { slot: Slot::Timer, bases: ids(&self.sets, &act.names), value })
            }
            13 => Content::Tag(Tag { set: TagSet::Pins, message, removes: None }),
            14 => Content::Tag(Tag { set: TagSet::Pins, message, removes: Some(ids(&self.tags, &act.names)) }),
            _ => {
                let bases = ids(&self.topics, &act.names);
                Content::Edit(Edit { target: Target::Topic, bases, splices: vec![], whole: None })
            }
        }
    }

    fn note(&mut self, op: &Op, content: &Content) {
        let at = MessageRef { hlc: op.header.hlc, id: op.id };
        match content {
            Content::Text(text) => self.messages.push((at, text.clone())),
            Content::Message(message) => self.messages.push((at, message.text.clone())),
            Content::Edit(Edit { target: Target::Message(message), whole, .. }) => {
                let whole = whole.clone().unwrap_or_default();
                self.edits.entry(message.id).or_default().push((op.id, whole));
            }
            Content::Edit(_) => self.topics.push(op.id),
            Content::Delete(_) => self.deletions.push(op.id),
            Content::Set(_) => self.sets.push(op.id),
            Content::Tag(Tag { removes: None, .. }) => self.tags.push(op.id),
            _ => {}
        }
    }
}

fn perform(group: &mut Group, acts: &[Act]) -> Vec<Incoming> {
    let (mut said, mut ops) = (Said::default(), Vec::new());
    for act in acts {
        let content = said.content(act);
        let sibling = group.clone().say(act.author, act.ms + 1, &content);
        let op = group.say(act.author, act.ms, &content);
        if act.forks && sibling.op.id != op.op.id {
            ops.push(sibling);
        }
        said.note(&op.op.clone().into_op(), &content);
        ops.push(op);
    }
    ops
}

/// Text, what stands beside it, its versions, answers, and whether it is pinned.
type OneShown = (String, Facets, Vec<(OpId, bool)>, u64, bool);

/// Everything that can be looked at.
#[derive(Debug, PartialEq)]
struct Shown {
    messages: BTreeMap<OpId, OneShown>,
    registers: BTreeMap<Slot, Register>,
    pins: Vec<Tagged>,
    topic: SharedText,
    disputed: Vec<OpId>,
    several: Vec<OpId>,
}

fn shown(store: &Store, conversation: &ConversationId) -> Shown {
    let look = Look::at(&store.log, conversation).unwrap().unwrap();
    let messages = store.all(conversation).into_iter().map(|message| {
        let versions = look.versions(&message).unwrap();
        let versions = versions.iter().map(|version| (version.id, version.current)).collect();
        let (answers, pinned) = (look.answers(&message.id()).unwrap(), !look.pinned(&message.reference()).is_empty());
        (message.id(), (message.text.clone(), look.facets(&message).unwrap(), versions, answers, pinned))
    });
    Shown {
        messages: messages.collect(),
        registers: tombolo_store::registers(&store.log, conversation).unwrap(),
        pins: tombolo_store::tagged(&store.log, conversation, &TagSet::Pins).unwrap(),
        topic: shared_text(&store.log, conversation, &Target::Topic).unwrap(),
        disputed: look.disputed().unwrap().into_iter().map(|disputed| disputed.message.id()).collect(),
        several: look.edited_at_once().unwrap().iter().map(tombolo_store::Message::id).collect(),
    }
}

/// What the ops mean, by looking at all of them for every question.
fn assert_as_said(ops: &[Incoming], shown: &Shown) {
    let ops: Vec<(Op, Content)> = ops
        .iter()
        .map(|incoming| incoming.op.clone().into_op())
        .map(|op| (Content::from_padded(op.body.as_ref().unwrap()).unwrap(), op))
        .map(|(content, op)| (op, content))
        .collect();
    let who = |op: &Op| account(op.header.author.0[0]);
    for (message, _) in ops.iter().filter(|(_, content)| matches!(content, Content::Text(_) | Content::Message(_))) {
        let at = MessageRef { hlc: message.header.hlc, id: message.id };
        let (_, facets, _, answers, pinned) = &shown.messages[&message.id];
        let mut standing = BTreeSet::new();
        for (op, content) in &ops {
            let Content::Delete(delete) = content else { continue };
            let may = who(op) == who(message) || who(op) == account(1);
            let undone = ops.iter().any(|(undo, content)| match content {
                Content::Restore(restore) => {
                    restore.message == at && who(undo) == who(op) && restore.tags.contains(&op.id)
                }
                _ => false,
            });
            if delete.message == at && may && !undone {
                standing.insert(op.id);
            }
        }
        assert_eq!(facets.deletions.iter().map(|it| it.id).collect::<BTreeSet<_>>(), standing);
        assert_eq!(facets.deleted.is_some(), !standing.is_empty());
        let mut reacted: BTreeMap<String, BTreeSet<AccountId>> = BTreeMap::new();
        for emoji in ["up", "heart"] {
            for person in [101, 102, 103] {
                let sum: i64 = ops
                    .iter()
                    .filter(|(op, _)| who(op) == person)
                    .filter_map(|(_, content)| match content {
                        Content::Reaction(it) if it.message == at.id.0[..16] && it.emoji == emoji => {
                            Some(i64::from(it.by))
                        }
                        _ => None,
                    })
                    .sum();
                if sum > 0 {
                    reacted.entry(emoji.into()).or_default().insert(AccountId([person; 32]));
                }
            }
        }
        let found =
            facets.reactions.iter().map(|it| (it.emoji.clone(), it.accounts.iter().copied().collect())).collect();
        assert_eq!(reacted, found);
        assert!(facets.reactions.iter().all(|it| it.accounts.len() == reacted[&it.emoji].len()));
        let answered = ops.iter().filter(|(_, content)| match content {
            Content::Message(body) => body.answers.is_some_and(|answers| answers.id == at.id),
            _ => false,
        });
        assert_eq!(*answers, answered.count() as u64);
        let put_in = |tag: &OpId| {
            let out = |content: &Content| matches!(content, Content::Tag(Tag { removes: Some(tags), .. }) if tags.contains(tag));
            !ops.iter().any(|(_, content)| out(content))
        };
        let pins = ops.iter().any(|(op, content)| {
            matches!(content, Content::Tag(Tag { removes: None, message, .. }) if *message == at) && put_in(&op.id)
        });
        assert_eq!(*pinned, pins);
    }
    let replaced: BTreeSet<OpId> = ops
        .iter()
        .filter_map(|(_, content)| match content {
            Content::Set(set) => Some(set.bases.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    let sets = ops.iter().filter(|(_, content)| matches!(content, Content::Set(_)));
    let winner = sets.map(|(op, _)| (op.header.hlc, op.id)).filter(|(_, id)| !replaced.contains(id)).max();
    let found = shown.registers.get(&Slot::Timer).and_then(Register::winner);
    assert_eq!(found.map(|given| (given.hlc, given.id)), winner);
}

fn reopen(store: &mut Store, group: &Group) {
    let mut batch = store.log.batch().unwrap();
    let reader = batch.reads().unwrap();
    store.views.reopen(reader, batch.transaction().unwrap(), &group.conversation).unwrap();
    batch.commit().unwrap();
}

/// As after a repair: every op is delivered once more.
fn repair(store: &mut Store, group: &Group, ops: &[Incoming]) {
    for incoming in ops {
        let op = incoming.op.clone().into_op();
        let batch = store.log.batch().unwrap();
        let tx = batch.transaction().unwrap();
        let (arrival, n, log): (i64, i64, i64) = tx
            .query_row("SELECT arrival, conversation, log FROM op WHERE id = ?1", [op.id.as_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .unwrap();
        let arrival = arrival as u64;
        let delivered = tombolo_oplog::Delivered {
            op: &op,
            conversation: group.conversation,
            n,
            log,
            arrival,
            control: None,
            own: false,
            late_hint: true,
            gone: None,
        };
        store.views.begin();
        store.views.deliver(tx, &delivered).unwrap();
        store.views.end(tx).unwrap();
        batch.commit().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_order_of_arrival_adds_up_to_the_same(
        acts in acts(),
        seed in any::<u64>(),
        at_once in 1..9usize,
        sealed in any::<usize>(),
    ) {
        let mut group = Group::new(1);
        let ops = perform(&mut group, &acts);
        let mut store = Store::of(&group);
        feed(&mut store, &ops, &shuffled(ops.len(), 0), 5);
        let expected = shown(&store, &group.conversation);
        assert_as_said(&ops, &expected);

        let order = shuffled(ops.len(), seed);
        let mut store = Store::of(&group);
        // The key comes after the first few of them.
        let (dark, light) = order.split_at(sealed % (ops.len() + 1));
        store.has_key.store(dark.is_empty(), Ordering::Relaxed);
        feed(&mut store, &ops, dark, at_once);
        store.assert_rebuilt_equals_live();
        store.has_key.store(true, Ordering::Relaxed);
        reopen(&mut store, &group);
        feed(&mut store, &ops, light, at_once);
        prop_assert_eq!(&shown(&store, &group.conversation), &expected);
        store.assert_rebuilt_equals_live();

        // Once more, and as after a repair: nothing changes.
        let before = store.dump();
        store.take(&ops);
        repair(&mut store, &group, &ops);
        prop_assert_eq!(store.dump(), before);
        prop_assert_eq!(&shown(&store, &group.conversation), &expected);
    }
}

/// A message, and something about it of every kind.
fn world() -> (Group, Store, MessageRef) {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let message = group.text(3, 10, "first");
    let at = MessageRef { hlc: message.op.header.hlc, id: message.op.id };
    let said = [
        Content::Edit(Edit {
            target: Target::Message(at),
            bases: vec![],
            splices: text::splices("first", "second"),
            whole: Some("second".into()),
        }),
        Content::Delete(Delete { message: at, withdrawn: None }),
        Content::Reaction(Reaction { message: Reaction::names(&at.id), by: 1, emoji: "up".into() }),
        Content::Set(Set { slot: Slot::Timer, bases: vec![], value: Value::Number(5) }),
        Content::Tag(Tag { set: TagSet::Pins, message: at, removes: None }),
        Content::Message(Box::new(Body { text: "answer".into(), answers: Some(at), ..Body::default() })),
    ];
    let mut ops = vec![message];
    ops.extend(said.iter().map(|content| group.say(3, 20, content)));
    store.take(&ops);
    store.assert_rebuilt_equals_live();
    (group, store, at)
}

#[test]
fn every_wrong_row_beside_a_message_is_found_and_healed() {
    for (sql, surplus) in [
        ("DELETE FROM beside WHERE substr(about, 1, 1) = x'6d'", false),
        ("DELETE FROM beside WHERE substr(about, 1, 1) = x'61'", false),
        ("UPDATE beside SET hlc = hlc + 1 WHERE substr(about, 1, 1) = x'73'", false),
        ("UPDATE beside SET log = log + 1 WHERE substr(about, 1, 1) = x'70'", false),
        ("UPDATE beside SET content = x'0980' WHERE substr(about, 1, 1) = x'6d'", false),
        (
            "INSERT INTO beside SELECT conversation, x'6d00', id, hlc, log, content FROM beside \
             WHERE substr(about, 1, 1) = x'70'",
            true,
        ),
    ] {
        let (group, mut store, _) = world();
        let healthy = shown(&store, &group.conversation);
        let batch = store.log.batch().unwrap();
        assert!(batch.transaction().unwrap().execute(sql, []).unwrap() > 0, "{sql}");
        batch.commit().unwrap();
        let found = compare(&store.views, &store.log, &mut |_, _| {}).unwrap();
        let named = |it: &Mismatch| match it {
            Mismatch::Beside(conversation, _) => !surplus && *conversation == group.conversation,
            Mismatch::BesideSurplus(conversation, 1) => surplus && *conversation == group.conversation,
            _ => false,
        };
        assert!(!found.is_empty() && found.iter().all(named), "{sql}: {found:?}");
        store.rebuild();
        assert_eq!(shown(&store, &group.conversation), healthy, "{sql}");
        store.assert_rebuilt_equals_live();
    }
}

/// Whoever names a message with another clock reading has not named it: no pin, no edit, no deletion.
#[test]
fn a_message_named_with_a_wrong_clock_is_another_one() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let message = group.text(3, 10, "first");
    let at = MessageRef { hlc: message.op.header.hlc, id: message.op.id };
    let wrong = MessageRef { hlc: Hlc(at.hlc.0 - 1), ..at };
    let edit = Edit { target: Target::Message(wrong), bases: vec![], splices: vec![], whole: Some("x".into()) };
    let mut ops = vec![message];
    for content in [
        Content::Edit(edit),
        Content::Delete(Delete { message: wrong, withdrawn: None }),
        Content::Tag(Tag { set: TagSet::Pins, message: wrong, removes: None }),
    ] {
        ops.push(group.say(3, 20, &content));
    }
    store.take(&ops);
    let look = Look::at(&store.log, &group.conversation).unwrap().unwrap();
    let found = store.all(&group.conversation);
    assert_eq!(look.facets(&found[0]).unwrap(), Facets { text: Some("first".into()), ..Facets::default() });
    assert_eq!(look.pinned(&at), []);
    store.assert_rebuilt_equals_live();
}

/// A device whose clock was ahead and put right writes below what it wrote before: it names it by its hash all the same.
#[test]
fn what_is_about_a_message_counts_whatever_its_clock_says() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    // Devices 3 and 4 are one person's.
    let message = group.text(3, 50, "first");
    let at = MessageRef { hlc: message.op.header.hlc, id: message.op.id };
    let (splices, whole) = (text::splices("first", "second"), Some("second".to_owned()));
    let edit = Content::Edit(Edit { target: Target::Message(at), bases: vec![], splices, whole });
    let edit = group.write(4, Class::Content, Hlc::new(START_MS + 40, 0), &[], &edit.to_padded().unwrap());
    let gone = Content::Delete(Delete { message: at, withdrawn: None }).to_padded().unwrap();
    let gone = group.write(1, Class::Content, Hlc::new(START_MS + 40, 0), &[], &gone);
    let text = |store: &Store| {
        let look = Look::at(&store.log, &group.conversation).unwrap().unwrap();
        let facets = look.facets(&store.all(&group.conversation)[0]).unwrap();
        (facets.text, facets.edits, facets.deleted.is_some())
    };
    store.take(&[Incoming { op: edit, control: None }, message]);
    assert_eq!(text(&store), (Some("second".into()), 1, false));
    store.take(&[Incoming { op: gone, control: None }]);
    assert_eq!(text(&store), (Some("second".into()), 1, true));
    store.assert_rebuilt_equals_live();
}

/// The same for a register: what replaces a value has seen it, and nobody lost.
#[test]
fn a_value_replaces_another_whatever_its_clock_says() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let set = |bases, number| Content::Set(Set { slot: Slot::Timer, bases, value: Value::Number(number) });
    let ahead = group.say(3, 50, &set(vec![], 1));
    let right = group.say(4, 40, &set(vec![ahead.op.id], 2));
    store.take(&[ahead, right]);
    let register = tombolo_store::register(&store.log, &group.conversation, &Slot::Timer).unwrap();
    assert_eq!((register.value(), register.lost().len()), (Value::Number(2), 0));
}

#[test]
fn notes_and_own_things_are_told_apart() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let other = ConversationId([7; 16]);
    let edit =
        |target: Target| Content::Edit(Edit { target, bases: vec![], splices: text::splices("", "x"), whole: None });
    let at = MessageRef { hlc: Hlc::new(START_MS, 0), id: OpId([4; 32]) };
    let ops = [
        group.say(OWN, 10, &edit(Target::Note("a".into()))),
        group.say(OWN, 11, &edit(Target::Note("ab".into()))),
        group.say(OWN, 12, &edit(Target::Draft(other))),
        group.say(OWN, 13, &Content::Tag(Tag { set: TagSet::Hidden(other), message: at, removes: None })),
        group.say(OWN, 14, &Content::Set(Set { slot: Slot::Mute(other), bases: vec![], value: Value::Number(9) })),
    ];
    store.take(&ops);
    let reads = |target| shared_text(&store.log, &group.conversation, &target).unwrap().heads;
    assert_eq!(note_names(&store.log, &group.conversation).unwrap(), ["a", "ab"]);
    assert_eq!(reads(Target::Note("a".into())), [ops[0].op.id]);
    assert_eq!(reads(Target::Note("ab".into())), [ops[1].op.id]);
    assert_eq!(reads(Target::Draft(other)), [ops[2].op.id]);
    assert_eq!(reads(Target::Draft(ConversationId([8; 16]))), []);
    let hidden = |of| tombolo_store::tagged(&store.log, &group.conversation, &TagSet::Hidden(of)).unwrap().len();
    assert_eq!((hidden(other), hidden(ConversationId([8; 16]))), (1, 0));
    assert_eq!(tombolo_store::tagged(&store.log, &group.conversation, &TagSet::Pins).unwrap(), []);
    let mute = tombolo_store::register(&store.log, &group.conversation, &Slot::Mute(other)).unwrap();
    assert_eq!((mute.value(), mute.given[0].device), (Value::Number(9), device(OWN)));
    store.assert_rebuilt_equals_live();
}
