//! What is left of messages whose bodies went: whatever the order of arrival, as a naive model says; rebuilt equals live.

use crate::world::{Group, NOW_MS, OWN, PEOPLE, START_MS, Store, account, line};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::{Content, Delete, MessageRef, Target};
use tombolo_model::{Class, ConversationId, Hlc, Op, OpId};
use tombolo_oplog::{Gone, Incoming};
use tombolo_store::{MessageKind, Section, names, prune, title, usage};

/// One thing that somebody does.
#[derive(Clone, Debug)]
enum Act {
    Say {
        content: Content,
        /// **Milliseconds** from now until its body goes; 0 = it stays.
        lives_ms: u64,
    },
    /// Deletes a message, or with `mute` erases bodies without a word about them.
    Erase { targets: Vec<usize>, mute: bool },
}

fn acts() -> impl Strategy<Value = Vec<(u8, Act)>> {
    let content = prop_oneof![
        5 => "[a-z]{0,9}".prop_map(Content::Text),
        1 => "[A-Z]{1,3}".prop_map(Content::Title),
        1 => "[A-Z]{1,3}".prop_map(Content::Name),
        3 => (0..4u8).prop_map(line),
    ];
    let lives_ms = prop_oneof![6 => Just(0), 1 => Just(1), 1 => Just(1_000)];
    let act = prop_oneof![
        5 => (content, lives_ms).prop_map(|(content, lives_ms)| Act::Say { content, lives_ms }),
        3 => (proptest::collection::vec(any::<usize>(), 1..4), proptest::bool::weighted(0.3))
            .prop_map(|(targets, mute)| Act::Erase { targets, mute }),
    ];
    proptest::collection::vec((1..=PEOPLE, act), 1..40)
}

fn perform(group: &mut Group, acts: &[(u8, Act)]) -> Vec<Incoming> {
    let mut ops: Vec<Incoming> = Vec::new();
    for (at, (author, act)) in acts.iter().enumerate() {
        let hlc = Hlc::new(START_MS + 7 * at as u64, 0);
        let (content, erases, expires_ms) = match act {
            Act::Say { content, lives_ms } => {
                (content.clone(), Vec::new(), if *lives_ms == 0 { 0 } else { NOW_MS + lives_ms })
            }
            Act::Erase { targets, mute } => {
                let named: Vec<&Incoming> = targets.iter().filter_map(|at| ops.get(at % ops.len().max(1))).collect();
                let ids = named.iter().map(|one| one.op.id).collect();
                let content = match named.first().filter(|_| !mute) {
                    Some(one) => {
                        let message = MessageRef { hlc: one.op.header.hlc, id: one.op.id };
                        Content::Delete(Delete { message, withdrawn: None })
                    }
                    None => Content::Text("mute".into()),
                };
                (content, ids, 0)
            }
        };
        let body = content.to_padded().unwrap();
        let op = group.write_with(*author, Class::Content, hlc, &[], &body, (&erases, expires_ms));
        ops.push(Incoming { op, control: None });
    }
    ops
}

/// What is shown: (time, who, text, kind), by op; title; names by account.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    messages: BTreeSet<(u64, String, String, &'static str, OpId)>,
    title: Option<String>,
    names: BTreeMap<u8, String>,
}

fn model(ops: &[Incoming], now_ms: u64) -> Shown {
    let ops: Vec<Op> = ops.iter().map(|one| one.op.clone().into_op()).collect();
    let of = |op: &Op| account(op.header.author.0[0]);
    // Account 101 founded the conversation.
    let may = |by: &Op, target: &Op| of(by) == of(target) || of(by) == account(1);
    let expired = |op: &Op| op.header.expires_ms != 0 && op.header.expires_ms <= now_ms;
    let erasers =
        |op: &Op| ops.iter().filter(|by| by.header.erases.contains(&op.id) && may(by, op)).collect::<Vec<_>>();
    let said = |op: &Op| Content::from_padded(op.body.as_ref().unwrap()).unwrap();
    let here = |op: &Op| !expired(op) && erasers(op).is_empty();
    let mut shown = Shown { messages: BTreeSet::new(), title: None, names: BTreeMap::new() };
    let mut sorted: Vec<&Op> = ops.iter().collect();
    sorted.sort_by_key(|op| (op.header.hlc, op.id));
    let mut lines = BTreeMap::new();
    for op in sorted {
        let at_ms = op.header.hlc.ms();
        if expired(op) {
            continue;
        }
        if !here(op) {
            let deleted = erasers(op)
                .into_iter()
                .any(|by| here(by) && matches!(said(by), Content::Delete(delete) if delete.message.id == op.id));
            if deleted {
                shown.messages.insert((at_ms, String::new(), String::new(), "deleted", op.id));
            }
            continue;
        }
        match said(op) {
            Content::Text(text) => {
                shown.messages.insert((at_ms, String::new(), text, "text", op.id));
            }
            Content::Title(title) => shown.title = Some(title),
            Content::Name(name) => {
                shown.names.insert(of(op), name);
            }
            Content::Imported(line) => {
                lines.entry(line.source_key).or_insert((line.time_ms, line.who, line.text, "text", op.id));
            }
            _ => {}
        }
    }
    shown.messages.extend(lines.into_values());
    shown
}

fn shown(store: &Store, conversation: &ConversationId) -> Shown {
    let mut by_account = BTreeMap::new();
    for (device, person) in &names(&store.log, conversation).unwrap().people {
        if let Some(name) = &person.name {
            by_account.insert(account(device.0[0]), name.clone());
        }
    }
    let messages = store.all(conversation).into_iter().map(|message| {
        let kind = match message.kind {
            MessageKind::Text => "text",
            MessageKind::Deleted => "deleted",
            MessageKind::Sealed => "sealed",
            MessageKind::Newer => "newer",
        };
        assert_eq!(message.place.section == Section::Imported, message.who.is_some());
        (message.time_ms(), message.who.clone().unwrap_or_default(), message.text.clone(), kind, message.id())
    });
    Shown { messages: messages.collect(), title: title(&store.log, conversation).unwrap(), names: by_account }
}

fn expire(store: &mut Store, now_ms: u64) {
    let mut batch = store.log.batch().unwrap();
    batch.expire(now_ms, 1_000, &mut store.views).unwrap();
    batch.commit().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_leaves_the_same_and_rebuilt_equals_live(
        acts in acts(),
        seeds in proptest::array::uniform2(any::<u64>()),
        at_once in 1..9usize,
    ) {
        let mut group = Group::new(1);
        let ops = perform(&mut group, &acts);
        for seed in seeds {
            let mut order: Vec<usize> = (0..ops.len()).collect();
            let mut state = seed;
            for at in (1..order.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                order.swap(at, (state >> 33) as usize % (at + 1));
            }
            let mut store = Store::of(&group);
            let shuffled: Vec<Incoming> = order.iter().map(|at| ops[*at].clone()).collect();
            let half = shuffled.len() / 2;
            for some in shuffled[..half].chunks(at_once) {
                store.take(some);
            }
            // Some of it has expired when the rest comes.
            store.now_ms = NOW_MS + 1;
            expire(&mut store, NOW_MS + 1);
            for some in shuffled[half..].chunks(at_once) {
                store.take(some);
            }
            prop_assert_eq!(shown(&store, &group.conversation), model(&ops, NOW_MS + 1));
            store.assert_rebuilt_equals_live();
            expire(&mut store, NOW_MS + 2_000);
            prop_assert_eq!(shown(&store, &group.conversation), model(&ops, NOW_MS + 2_000));
            store.assert_rebuilt_equals_live();
            // What comes once more is not taken again.
            let before = store.dump();
            store.take(&ops);
            prop_assert_eq!(store.dump(), before);
        }
    }
}

fn delete(group: &mut Group, author: u8, ms: u64, one: &Incoming) -> Incoming {
    let message = MessageRef { hlc: one.op.header.hlc, id: one.op.id };
    let body = Content::Delete(Delete { message, withdrawn: None }).to_padded().unwrap();
    let hlc = Hlc::new(START_MS + ms, 0);
    let op = group.write_with(author, Class::Content, hlc, &[], &body, (&[one.op.id], 0));
    Incoming { op, control: None }
}

#[test]
fn a_deletion_that_cannot_be_read_yet_shows_its_stand_in_later() {
    let mut group = Group::new(1);
    let text = group.text(3, 5, "text");
    let deletion = delete(&mut group, 3, 9, &text);
    let mut store = Store::of(&group);
    store.has_key.store(false, std::sync::atomic::Ordering::Relaxed);
    store.take(&[text, deletion]);
    // What it erases is in the clear.
    let kinds = |store: &Store| store.all(&group.conversation).iter().map(|it| it.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&store), [MessageKind::Sealed]);
    store.assert_rebuilt_equals_live();
    store.has_key.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut batch = store.log.batch().unwrap();
    let reader = batch.reads().unwrap();
    store.views.reopen(reader, batch.transaction().unwrap(), &group.conversation).unwrap();
    batch.commit().unwrap();
    assert_eq!(kinds(&store), [MessageKind::Deleted]);
    store.assert_rebuilt_equals_live();
}

/// A device whose clock was set back begins a new log below what it wrote: what it deletes there is deleted as any other.
#[test]
fn a_deletion_from_below_the_message_counts() {
    let mut group = Group::new(1);
    let text = group.text(1, 5_000, "from a clock that was ahead");
    let deletion = delete(&mut group, 2, 10, &text);
    // The founder's account is that of device 1; device 2 may not, so this one is written by the founder's other log.
    let mut other = Group::new(1);
    let early = delete(&mut other, 1, 10, &text);
    for order in [[&text, &early], [&early, &text]] {
        let mut store = Store::of(&group);
        for one in order {
            store.take(std::slice::from_ref(one));
        }
        assert_eq!(store.log.gone(&group.conversation, &text.op.id).unwrap(), Some(Gone::Erased));
        let shown = store.all(&group.conversation);
        assert_eq!((shown.len(), shown[0].kind), (1, MessageKind::Deleted));
        store.assert_rebuilt_equals_live();
    }
    let mut store = Store::of(&group);
    store.take(&[text.clone(), deletion]);
    assert_eq!(store.texts(&group.conversation), ["from a clock that was ahead"]);
}

#[test]
fn an_own_message_is_gone_at_once() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let text = group.text(OWN, 5, "said too much");
    let deletion = delete(&mut group, OWN, 9, &text);
    // In one transaction: the row has not been written when the deletion comes.
    store.write(&[text, deletion]);
    let all = store.all(&group.conversation);
    assert_eq!((all.len(), all[0].kind, all[0].text.as_str()), (1, MessageKind::Deleted, ""));
    store.assert_rebuilt_equals_live();
}

#[test]
fn pruning_takes_messages_with_what_stands_beside_them() {
    let mut group = Group::new(1);
    let old = group.text(1, 10, "old");
    let edit = group.say(
        1,
        2_000,
        &Content::Edit(tombolo_model::content::Edit {
            target: Target::Message(MessageRef { hlc: old.op.header.hlc, id: old.op.id }),
            bases: vec![old.op.id],
            splices: vec![],
            whole: Some("edited".into()),
        }),
    );
    let others = [
        group.say(1, 20, &Content::Title("stays".into())),
        group.say(3, 30, &line(1)),
        group.text(3, 40, "old and deleted"),
        group.text(3, 3_000, "new"),
    ];
    let deletion = delete(&mut group, 3, 3_001, &others[2]);
    let mut store = Store::of(&group);
    store.take(&[old, edit.clone(), deletion]);
    store.take(&others);
    let id = group.conversation;
    assert_eq!(store.all(&id).len(), 4);
    let before = usage(&store.log, &id).unwrap();
    assert_eq!((before.messages, before.oldest_ms, before.newest_ms), (4, 1_000_000_000_000, START_MS + 3_000));
    let proof = store.log.proof(&id).unwrap();
    let mut lost = 0;
    for _ in 0..4 {
        let mut batch = store.log.batch().unwrap();
        lost += prune(&mut store.views, &mut batch, &id, START_MS + 1_000, 1).unwrap().len();
        batch.commit().unwrap();
    }
    assert_eq!(lost, 4, "the line, the old one, its edit, and what deleted the other, which had gone");
    assert_eq!(store.texts(&id), ["new"]);
    assert_eq!(title(&store.log, &id).unwrap().as_deref(), Some("stays"));
    assert_eq!(store.log.gone(&id, &edit.op.id).unwrap(), Some(Gone::Pruned));
    assert_eq!(store.log.pruned(&id).unwrap().unwrap().messages, 3);
    assert_eq!(store.log.proof(&id).unwrap(), proof);
    let after = usage(&store.log, &id).unwrap();
    assert_eq!((after.messages, after.ops, after.text_bytes), (1, before.ops, 3));
    assert!(after.body_bytes < before.body_bytes);
    store.assert_rebuilt_equals_live();
    // What comes back is not shown.
    store.take(&others);
    assert_eq!(store.texts(&id), ["new"]);
    store.assert_rebuilt_equals_live();
}

/// Rows of messages move between pages as others come between them: what was shown leaves no trace either.
#[test]
fn what_was_shown_can_be_read_in_no_file() {
    let mut group = Group::new(1);
    let mut store = Store::of(&group);
    let mut ops = Vec::new();
    for at in 0..900_u64 {
        // Four writers whose clocks are far apart, so that their messages come between each other.
        let author = 1 + (at % 4) as u8;
        let secret = at % 3 == 0;
        let len = 1 + (at as usize * 577) % 1_900;
        let text = format!("{}{at:06}{}", if secret { "canary" } else { "stays " }, "~".repeat(len));
        ops.push((secret, group.text(author, at * 3 + u64::from(author) * 1_000_000, &text)));
    }
    for chunk in ops.chunks(7) {
        let chunk: Vec<Incoming> = chunk.iter().map(|(_, op)| op.clone()).collect();
        store.take(&chunk);
    }
    let secrets: Vec<Incoming> = ops.iter().filter(|(secret, _)| *secret).map(|(_, op)| op.clone()).collect();
    let deletions: Vec<Incoming> =
        secrets.iter().enumerate().map(|(at, one)| delete(&mut group, 1, 9_000_000 + at as u64, one)).collect();
    for chunk in deletions.chunks(11) {
        store.take(chunk);
    }
    let readable = |store: &Store| {
        let folder = store.log.path().parent().unwrap();
        let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        files.map(|bytes| bytes.windows(6).filter(|window| window == b"canary").count()).sum::<usize>()
    };
    assert!(readable(&store) > 0);
    assert!(store.log.wipe().unwrap());
    assert_eq!(readable(&store), 0);
    assert_eq!(store.all(&group.conversation).iter().filter(|it| it.kind == MessageKind::Deleted).count(), 300);
    store.assert_rebuilt_equals_live();
}
