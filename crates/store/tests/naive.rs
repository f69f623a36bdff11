//! What a set of ops means to people, written down as simply as possible: sort everything, then look.

use crate::world::Group;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tombolo_model::content::Content;
use tombolo_model::{Class, DeviceId, Hlc, Op, OpId};
use tombolo_oplog::Incoming;

/// What is shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// (time in ms, who, text, op), in display order.
    pub messages: Vec<(u64, String, String, OpId)>,
    pub title: Option<String>,
    /// By account.
    pub names: BTreeMap<u8, String>,
}

/// Place (claimed time, rank, clock, id), who, text.
type Kept = ((u64, Option<u64>, Hlc, OpId), String, String);

pub fn shown(ops: &[Op]) -> Shown {
    let mut ops: Vec<&Op> = ops.iter().filter(|op| op.header.class == Class::Content).collect();
    ops.sort_by_key(|op| (op.header.hlc, op.id));
    let mut shown = Shown::default();
    let mut imported: BTreeMap<[u8; 16], Kept> = BTreeMap::new();
    let mut native = Vec::new();
    for op in ops {
        match Content::from_padded(op.body.as_ref().unwrap()).unwrap() {
            Content::Text(text) => native.push((op.header.hlc.ms(), String::new(), text, op.id)),
            Content::Title(title) => shown.title = Some(title),
            Content::Name(name) => {
                shown.names.insert(crate::world::account(op.header.author.0[0]), name);
            }
            Content::Imported(line) => {
                let place = (line.time_ms, line.rank, op.header.hlc, op.id);
                imported.entry(line.source_key).or_insert((place, line.who, line.text));
            }
            Content::Message(_)
            | Content::Edit(_)
            | Content::Delete(_)
            | Content::Restore(_)
            | Content::Reaction(_)
            | Content::Set(_)
            | Content::Tag(_) => {}
            Content::Unknown(_) => native.push((op.header.hlc.ms(), String::new(), String::new(), op.id)),
        }
    }
    let mut imported: Vec<_> = imported.into_values().collect();
    imported.sort();
    shown.messages = imported.into_iter().map(|((ms, _, _, id), who, text)| (ms, who, text, id)).collect();
    shown.messages.extend(native);
    shown
}

/// One thing that somebody does.
#[derive(Clone, Debug)]
pub struct Act {
    author: u8,
    /// Milliseconds after the start; few, so that equal readings occur.
    ms: u64,
    /// Whether the newest op of another one is named as seen.
    sees: Option<u8>,
    content: Content,
}

pub fn acts(most: usize) -> impl Strategy<Value = Vec<Act>> {
    let content = prop_oneof![
        6 => "[a-z]{0,12}".prop_map(Content::Text),
        1 => "[A-Z]{1,3}".prop_map(Content::Title),
        1 => "[A-Z]{1,3}".prop_map(Content::Name),
        3 => (0..12u8).prop_map(crate::world::line),
        3 => (20..32u8, proptest::option::of(0..4u64)).prop_map(|(number, rank)| crate::world::ranked(number, rank)),
    ];
    let people = 1..=crate::world::PEOPLE;
    let act = (people.clone(), 0..40u64, proptest::option::of(people), content)
        .prop_map(|(author, ms, sees, content)| Act { author, ms, sees, content });
    proptest::collection::vec(act, 1..most)
}

/// The ops of these acts, in the order in which they were done.
pub fn perform(group: &mut Group, acts: &[Act]) -> Vec<Incoming> {
    let mut ops = Vec::new();
    for act in acts {
        let other = act.sees.and_then(|other| group.tails.get(&other).copied());
        let mut hlc = Hlc::new(crate::world::START_MS + act.ms, 0);
        let mut parents = Vec::new();
        if let Some((_, id, seen)) = other {
            hlc = Hlc::tick(seen.max(hlc), 0).max(hlc);
            parents.push(id);
        }
        let body = act.content.to_padded().unwrap();
        let op = group.write(act.author, Class::Content, hlc, &parents, &body);
        ops.push(Incoming { op, control: None });
    }
    ops
}

pub fn author_of(device: &DeviceId) -> u8 {
    device.0[0]
}
