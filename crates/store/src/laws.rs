//! Laws of what stands beside messages: whatever is put together in whatever order, grouping and repetition is the same,
//! and it is what `laws/oracle.rs` says in plain words.
//!
//! Here: random rows, their union as the table makes it, and the properties, each with [`CASES`] cases. Not here: real
//! ops through a real log (`tests/beside.rs`), merging of texts (`text`).

mod oracle;

use crate::beside::Row;
use crate::facets::{self, Facets, People, Root};
use crate::register::{Register, in_set};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::{
    Content, Delete, Edit, Message, MessageRef, Reaction, Restore, Set, Slot, Splice, Tag, TagSet, Target, Value,
};
use tombolo_model::{AccountId, ConversationId, DeviceId, Hlc, OpId};

/// Cases of every property here.
const CASES: u32 = 10_000;
/// The message that everything is about, written by [`AUTHOR`].
const AT: MessageRef = MessageRef { hlc: Hlc(100), id: OpId([0xaa; 32]) };
const FOUNDER: u8 = 1;
/// Device 3 belongs to the same account.
const AUTHOR: u8 = 2;
/// Of no account: not a member any more, or never one.
const NOBODY: u8 = 5;

fn device(number: u8) -> DeviceId {
    DeviceId([number; 32])
}

fn account(device: &DeviceId) -> Option<AccountId> {
    match device.0[0] {
        NOBODY => None,
        3 => Some(AccountId([AUTHOR; 32])),
        number => Some(AccountId([number; 32])),
    }
}

fn people() -> People<'static> {
    People { account: &account, founder: Some(AccountId([FOUNDER; 32])) }
}

/// The id of the row with this number: scattered, so that ids and clock readings do not go together.
fn id(number: usize) -> OpId {
    let mut state = number as u64 + 1;
    OpId(std::array::from_fn(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    }))
}

/// A row as it is drawn: `names` are numbers of rows before it that it names.
#[derive(Clone, Debug)]
struct Drawn {
    hlc: u64,
    device: u8,
    kind: u8,
    names: Vec<usize>,
    value: u8,
    /// Whether it is about the thing that is looked at, with a right name for it.
    right: bool,
}

fn drawn(kinds: u8) -> impl Strategy<Value = Vec<Drawn>> {
    let one =
        (95..125u64, 1..=NOBODY, 0..kinds, proptest::collection::vec(any::<usize>(), 0..3), 0..8u8, 0..12u8).prop_map(
            |(hlc, device, kind, names, value, right)| Drawn { hlc, device, kind, names, value, right: right > 0 },
        );
    proptest::collection::vec(one, 0..14)
}

fn sorted(ids: impl Iterator<Item = OpId>) -> Vec<OpId> {
    let ids: BTreeSet<OpId> = ids.collect();
    ids.into_iter().collect()
}

/// Rows, each made of the ids that it names and what was drawn for it.
fn rows(drawn: &[Drawn], content: impl Fn(&Drawn, Vec<OpId>) -> Content) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, one) in drawn.iter().enumerate() {
        // Now and then one that does not exist.
        let named = one.names.iter().map(|name| id(if number == 0 { 900 } else { name % number }));
        let content = content(one, sorted(named));
        rows.push(Row { id: id(number), hlc: Hlc(one.hlc), device: device(one.device), content });
    }
    rows
}

/// A store as it is without SQLite: the table keeps a row per op, sorted when it is read.
fn union(parts: &[&[Row]]) -> Vec<Row> {
    let table: BTreeMap<OpId, &Row> = parts.iter().copied().flatten().map(|row| (row.id, row)).collect();
    let mut rows: Vec<Row> = table.into_values().cloned().collect();
    rows.sort_by_key(Row::order);
    rows
}

/// Joins three parts of the rows in every grouping, once over and in either order, and looks each time.
fn same_everywhere<T: PartialEq + std::fmt::Debug>(
    rows: &[Row],
    parts: &[u8],
    look: impl Fn(&[Row]) -> T,
) -> Result<T, TestCaseError> {
    let part = |wanted: u8| -> Vec<Row> {
        let own = |at: usize| parts.get(at).is_none_or(|part| part & (1 << wanted) != 0);
        rows.iter().enumerate().filter(|(at, _)| own(*at)).map(|(_, row)| row.clone()).collect()
    };
    let (a, b) = (part(0), part(1));
    // The rest, so that the three together are everything.
    let c: Vec<Row> = rows.iter().filter(|row| !a.contains(row) || part(2).contains(row)).cloned().collect();
    let all = look(&union(&[rows]));
    let join = |x: &[Row], y: &[Row]| union(&[x, y]);
    let every = [
        join(&join(&a, &b), &c),
        join(&a, &join(&b, &c)),
        join(&join(&c, &a), &b),
        join(&join(&b, &a), &join(&c, &c)),
        join(&union(&[rows]), &union(&[rows])),
    ];
    for joined in every {
        prop_assert_eq!(&look(&joined), &all);
    }
    Ok(all)
}

/// What stands beside a message.
fn beside(drawn: &[Drawn]) -> Vec<Row> {
    rows(drawn, |one, named| {
        let message = if one.right { AT } else { MessageRef { hlc: Hlc(AT.hlc.0 - 1), ..AT } };
        let text = format!("text {}", one.value);
        match one.kind {
            0..=3 => Content::Edit(Edit {
                target: Target::Message(message),
                bases: named,
                splices: vec![],
                whole: Some(text),
            }),
            4..=5 => Content::Delete(Delete { message, withdrawn: (one.value == 0).then_some(true) }),
            6..=7 => {
                let content = Message { text, ..Message::default() };
                Content::Restore(Box::new(Restore { message, tags: named, content }))
            }
            8 => Content::Tag(Tag { set: TagSet::Pins, message, removes: None }),
            _ => {
                let by = [1, 1, 1, -1, -1, -2, 127, -128][usize::from(one.value)];
                let names = if one.right { Reaction::names(&AT.id) } else { [1; 16] };
                let emoji = ["a", "b"][one.names.len() % 2].to_owned();
                Content::Reaction(Reaction { message: names, by, emoji })
            }
        }
    })
}

fn root() -> Root<'static> {
    Root { at: AT, author: device(AUTHOR), text: Some("first") }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_message_is_what_the_oracle_says(
        drawn in drawn(13),
        parts in proptest::collection::vec(any::<u8>(), 14),
    ) {
        let rows = beside(&drawn);
        let look = |rows: &[Row]| (facets::facets(&root(), rows, people()), facets::versions(&root(), rows, people()));
        let (facets, versions) = same_everywhere(&rows, &parts, look)?;
        let expected = oracle::message(&AT, &device(AUTHOR), "first", &rows);
        let text = facets.text.clone();
        prop_assert_eq!(oracle::seen(&facets), expected.seen);
        if let Some(only) = expected.text {
            prop_assert_eq!(text, Some(only));
        }
        let found: Vec<(OpId, bool)> = versions.iter().map(|version| (version.id, version.current)).collect();
        prop_assert_eq!(found, expected.versions);
    }

    #[test]
    fn who_has_no_right_changes_nothing(drawn in drawn(13), by in prop_oneof![Just(4u8), Just(NOBODY)]) {
        let rows = beside(&drawn);
        let without = |row: &&Row| {
            row.device != device(by) || matches!(row.content, Content::Reaction(_))
        };
        let fewer: Vec<Row> = union(&[&rows]).iter().filter(without).cloned().collect();
        let all = facets::facets(&root(), &union(&[&rows]), people());
        // Naming what does not count may not matter either; it is only looked at that nobody else's word is touched.
        prop_assert_eq!(all, facets::facets(&root(), &fewer, people()));
    }

    #[test]
    fn a_register_is_what_the_oracle_says(
        drawn in drawn(1),
        parts in proptest::collection::vec(any::<u8>(), 14),
    ) {
        let rows = rows(&drawn, |one, bases| {
            let value = if one.value == 0 { Value::None } else { Value::Number(u64::from(one.value)) };
            Content::Set(Set { slot: Slot::Timer, bases, value })
        });
        let register = same_everywhere(&rows, &parts, |rows| Register::of(rows.to_vec()))?;
        let ids = |given: Vec<&crate::Given>| given.iter().map(|given| given.id).collect::<Vec<_>>();
        let expected = oracle::register(&rows);
        prop_assert_eq!(ids(register.current()), expected.current);
        prop_assert_eq!(register.winner().map(|given| given.id), expected.winner);
        prop_assert_eq!(ids(register.lost()), expected.lost);
    }

    #[test]
    fn a_set_is_what_the_oracle_says(drawn in drawn(2), parts in proptest::collection::vec(any::<u8>(), 14)) {
        let rows = rows(&drawn, |one, named| {
            let message = MessageRef { hlc: Hlc(7), id: OpId([one.value / 3; 32]) };
            Content::Tag(Tag { set: TagSet::Pins, message, removes: (one.kind == 1).then_some(named) })
        });
        let tagged = same_everywhere(&rows, &parts, |rows| in_set(rows.iter()))?;
        let found: BTreeMap<MessageRef, Vec<OpId>> =
            tagged.iter().map(|tagged| (tagged.message, tagged.tags.clone())).collect();
        prop_assert_eq!(found, oracle::set(&rows));
        let last = |tagged: &crate::Tagged| {
            let put_in = rows.iter().filter(|row| tagged.tags.contains(&row.id));
            put_in.max_by_key(|row| row.order()).map(|row| (row.hlc, row.device))
        };
        for one in &tagged {
            prop_assert_eq!(Some((one.hlc, one.device)), last(one));
        }
        prop_assert!(tagged.is_sorted_by_key(|tagged| (tagged.hlc, tagged.message)));
    }

    #[test]
    fn a_shared_text_has_the_heads_that_nobody_replaced(
        drawn in drawn(1),
        parts in proptest::collection::vec(any::<u8>(), 14),
    ) {
        // Each stands on all that were written before it and are named, with nothing to splice.
        let rows = rows(&drawn, |one, mut bases| {
            bases.retain(|base| *base != id(900));
            let target = if one.right { Target::Topic } else { Target::Note("n".into()) };
            Content::Edit(Edit { target, bases, splices: vec![], whole: None })
        });
        let only: Vec<Row> = rows.iter().filter(|row| oracle::topic(row)).cloned().collect();
        let shared = same_everywhere(&rows, &parts, |rows| {
            let shared = facets::shared(rows, &Target::Topic);
            (sorted(shared.heads.into_iter()), shared.changed)
        })?;
        prop_assert_eq!(shared, facets_of_topic(&only));
    }

    /// A person's devices toggle with what they know, exchange now and then, and in the end all of it.
    #[test]
    fn a_person_counts_once_whatever_the_devices_did(
        acts in proptest::collection::vec((0..3u8, 0..4u8, any::<bool>()), 1..16),
        last in (0..3u8, any::<bool>()),
    ) {
        let mut known: [Vec<Row>; 3] = [vec![], vec![], vec![]];
        let mut written = 0;
        let mut toggle = |known: &mut [Vec<Row>; 3], by: u8, on: bool| {
            let own = &mut known[usize::from(by)];
            let sum = facets::sum_of(own, &AT, "a", &AccountId([AUTHOR; 32]), people());
            // As the client does it (node/talk.rs).
            let change = if on { (1 - sum).max(0) } else { (-sum).min(0) };
            if change != 0 {
                written += 1;
                let reaction = Reaction { message: Reaction::names(&AT.id), by: change as i8, emoji: "a".into() };
                let device = device(if by == 0 { AUTHOR } else { 3 });
                own.push(Row { id: id(written), hlc: Hlc(100), device, content: Content::Reaction(reaction) });
                *own = union(&[own]);
            }
            // Whoever toggles sees at once what was meant.
            facets::facets(&root(), own, people()).reactions.len() == usize::from(on)
        };
        let mut in_step = true;
        let mut shown = false;
        for (by, meets, on) in acts {
            if meets < 3 {
                let both = union(&[&known[usize::from(by)], &known[usize::from(meets)]]);
                known[usize::from(by)].clone_from(&both);
                known[usize::from(meets)] = both;
            }
            let all = union(&[&known[0], &known[1], &known[2]]);
            in_step &= known[usize::from(by)] == all;
            prop_assert!(toggle(&mut known, by, on));
            shown = on;
        }
        let all = union(&[&known[0], &known[1], &known[2]]);
        let facets = facets::facets(&root(), &all, people());
        prop_assert!(facets.reactions.iter().all(|reacted| reacted.accounts.len() == 1));
        // Who has seen everything before each act makes a plain switch.
        if in_step {
            prop_assert_eq!(!facets.reactions.is_empty(), shown);
        }
        known = [all.clone(), all.clone(), all];
        prop_assert!(toggle(&mut known, last.0, last.1));
    }
}

fn facets_of_topic(rows: &[Row]) -> (Vec<OpId>, Option<Hlc>) {
    (oracle::heads(rows), rows.iter().map(|row| row.hlc).max())
}

#[test]
fn nothing_beside_a_message_shows_the_message() {
    let facets = facets::facets(&root(), &[], people());
    assert_eq!(facets, Facets { text: Some("first".into()), ..Facets::default() });
}

/// Two devices of the author edit without knowing of each other, then one of them goes on from both.
#[test]
fn edits_side_by_side_are_both_in_the_text() {
    let edit = |number: usize, by: u8, bases: Vec<OpId>, at: u32, insert: &str, whole: Option<&str>| Row {
        id: id(number),
        hlc: Hlc(100 + number as u64),
        device: device(by),
        content: Content::Edit(Edit {
            target: Target::Message(AT),
            bases: sorted(bases.into_iter()),
            splices: vec![Splice { at, delete: 0, insert: insert.into() }],
            whole: whole.map(str::to_owned),
        }),
    };
    let look = |rows: &[Row]| facets::facets(&root(), &union(&[rows]), people());
    let mut rows = vec![edit(1, AUTHOR, vec![], 0, "The ", Some("The first")), edit(2, 3, vec![], 5, " boat", None)];
    assert_eq!(look(&rows[..1]).text.as_deref(), Some("The first"));
    let both = look(&rows);
    assert_eq!((both.text.as_deref(), both.current.len()), (Some("The first boat"), 2));
    let versions = facets::versions(&root(), &union(&[&rows]), people());
    let texts: Vec<Option<&str>> = versions.iter().map(|version| version.text.as_deref()).collect();
    assert_eq!(texts, [Some("first"), Some("The first"), Some("first boat")]);
    rows.push(edit(3, AUTHOR, both.bases, 14, "!", None));
    assert_eq!(look(&rows).text.as_deref(), Some("The first boat!"));
    // What fits nothing does not take the text away.
    rows.push(edit(4, 3, vec![], 99, "x", None));
    assert_eq!(look(&rows).text.as_deref(), Some("The first boat!"));
    // After a restore the text begins anew with what was restored.
    let content = Message { text: "second".into(), ..Message::default() };
    let restore = Restore { message: AT, tags: vec![], content };
    let restore =
        Row { id: id(5), hlc: Hlc(200), device: device(AUTHOR), content: Content::Restore(Box::new(restore)) };
    rows.push(restore);
    rows.extend([edit(200, AUTHOR, vec![id(5)], 0, "A ", None), edit(201, 3, vec![id(5)], 6, " one", None)]);
    assert_eq!(look(&rows).text.as_deref(), Some("A second one"));
}

/// A register that somebody floods is still looked through at a bounded cost.
#[test]
fn a_flooded_register_costs_little() {
    let given = |number: usize, bases: Vec<OpId>| Row {
        id: id(number),
        hlc: Hlc(number as u64),
        device: device(4),
        content: Content::Set(Set { slot: Slot::Title, bases, value: Value::Number(number as u64) }),
    };
    let flood: Vec<Row> =
        (0..20_000).map(|number| given(number, number.checked_sub(1).map(id).into_iter().collect())).collect();
    let register = Register::of(flood);
    assert_eq!(register.winner().map(|given| given.id), Some(id(19_999)));
    assert_eq!(register.lost().len(), 0);
    let beside: Vec<Row> = (0..20_000).map(|number| given(number, vec![])).collect();
    assert!(!Register::of(beside).lost().is_empty());
}

#[test]
fn hidden_messages_are_a_set_of_their_own() {
    let set = TagSet::Hidden(ConversationId([3; 16]));
    let tag = |number: usize, removes| Row {
        id: id(number),
        hlc: Hlc(number as u64),
        device: device(AUTHOR),
        content: Content::Tag(Tag { set, message: AT, removes }),
    };
    let rows = [tag(1, None), tag(2, Some(vec![id(1)])), tag(3, None)];
    assert_eq!(in_set(rows[..2].iter()), []);
    assert_eq!(in_set(rows.iter()).first().map(|one| one.tags.clone()), Some(vec![id(3)]));
}
