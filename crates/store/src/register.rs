//! Registers and sets: titles, timers, what own devices agree on, pins, hidden messages.
//!
//! Responsible for: the value that counts (the greatest by clock reading and id among those that nobody replaced), the
//! values beside it (a conflict), those that lost, and what is in a set. Pure functions of the rows in `beside`.
//! Not here: rows (`beside.rs`), who may set what (`client`), the title of older versions (`read.rs`).

use crate::beside::{self, Row, about};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::{Content, MessageRef, Slot, Tag, TagSet, Value};
use tombolo_model::{ConversationId, DeviceId, Hlc, OpId};
use tombolo_oplog::{LogError, Reader};

/// Values of a register that are compared with each other: whoever floods one costs the others no more than that.
const LOOKED_AT_MAX: usize = 4_096;

/// A value that a register was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The op.
    pub id: OpId,
    /// Its clock reading.
    pub hlc: Hlc,
    /// With which device.
    pub device: DeviceId,
    /// What it says.
    pub value: Value,
    /// The ops whose values it replaced.
    pub bases: Vec<OpId>,
}

/// A register: everything that it was ever given, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// All values by (clock reading, id).
    pub given: Vec<Given>,
}

impl Register {
    pub(crate) fn of(rows: Vec<Row>) -> Self {
        let given = rows.into_iter().filter_map(|Row { id, hlc, device, content }| match content {
            Content::Set(set) => Some(Given { id, hlc, device, value: set.value, bases: set.bases }),
            _ => None,
        });
        Self { given: given.collect() }
    }

    /// Values that no other replaces, by (clock reading, id): more than one is a conflict.
    #[must_use]
    pub fn current(&self) -> Vec<&Given> {
        let replaced: BTreeSet<OpId> = self.given.iter().flat_map(|given| given.bases.iter().copied()).collect();
        self.given.iter().filter(|given| !replaced.contains(&given.id)).collect()
    }

    /// The value that counts: the last one of the current ones.
    #[must_use]
    pub fn winner(&self) -> Option<&Given> {
        self.current().pop()
    }

    /// What it says; [`Value::None`] when it was never set.
    #[must_use]
    pub fn value(&self) -> Value {
        self.winner().map_or(Value::None, |given| given.value.clone())
    }

    /// Values that lost against another one where neither knew of the other, and say something else: recorded for good,
    /// also once somebody has decided. Of a register that was given more than 4,096 values, the newest of them are looked at.
    #[must_use]
    pub fn lost(&self) -> Vec<&Given> {
        let given = self.given.get(self.given.len().saturating_sub(LOOKED_AT_MAX)..).unwrap_or_default();
        let known = known(given);
        let knows = |one: usize, other: usize| known[one][other / 64] & (1 << (other % 64)) != 0;
        let lost = given.iter().enumerate().filter(|(at, one)| {
            let mut later = given.iter().enumerate().skip(at + 1);
            later.any(|(other, it)| it.value != one.value && !knows(other, *at) && !knows(*at, other))
        });
        lost.map(|(_, given)| given).collect()
    }
}

/// For each value a bit for every one that its author knew: what it replaces, and what that knew. Clocks say nothing about
/// it: one that was put right replaces what it wrote while it was ahead.
fn known(given: &[Given]) -> Vec<Vec<u64>> {
    let places: BTreeMap<OpId, usize> = given.iter().enumerate().map(|(at, given)| (given.id, at)).collect();
    let bases = |at: usize| given[at].bases.iter().filter_map(|base| places.get(base).copied());
    let mut known: Vec<Option<Vec<u64>>> = vec![None; given.len()];
    let mut begun = vec![false; given.len()];
    for first in 0..given.len() {
        // Depth first, without recursion: chains may be long.
        let mut next = vec![first];
        while let Some(at) = next.last().copied() {
            let missing: Vec<usize> = bases(at).filter(|base| known[*base].is_none() && !begun[*base]).collect();
            if known[at].is_none() && !begun[at] && !missing.is_empty() {
                begun[at] = true;
                next.extend(missing);
                continue;
            }
            next.pop();
            if known[at].is_none() {
                let mut bits = vec![0; given.len().div_ceil(64)];
                for base in bases(at) {
                    bits[base / 64] |= 1 << (base % 64);
                    let more = known[base].iter().flatten();
                    bits.iter_mut().zip(more).for_each(|(bits, more): (&mut u64, &u64)| *bits |= more);
                }
                known[at] = Some(bits);
            }
        }
    }
    known.into_iter().map(Option::unwrap_or_default).collect()
}

/// A register of a conversation.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn register(reader: &Reader, conversation: &ConversationId, slot: &Slot) -> Result<Register, LogError> {
    let conn = reader.connection()?;
    let Some(n) = beside::number(conn, conversation)? else { return Ok(Register::default()) };
    Ok(Register::of(beside::of(conn, n, &about::slot(slot))?))
}

/// All registers of a conversation that were ever set.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn registers(reader: &Reader, conversation: &ConversationId) -> Result<BTreeMap<Slot, Register>, LogError> {
    let conn = reader.connection()?;
    let Some(n) = beside::number(conn, conversation)? else { return Ok(BTreeMap::new()) };
    let mut rows: BTreeMap<Slot, Vec<Row>> = BTreeMap::new();
    for (_, row) in beside::beginning(conn, n, &[about::SLOT])? {
        if let Content::Set(set) = &row.content {
            rows.entry(set.slot.clone()).or_default().push(row);
        }
    }
    Ok(rows.into_iter().map(|(slot, rows)| (slot, Register::of(rows))).collect())
}

/// A message that is in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// Which.
    pub message: MessageRef,
    /// The ops that put it in and that nobody has taken out: what a removal names.
    pub tags: Vec<OpId>,
    /// Who put it in last.
    pub device: DeviceId,
    /// When.
    pub hlc: Hlc,
}

/// The messages in a set, those first that were put in first.
///
/// # Errors
/// [`LogError`] of SQLite.
pub fn tagged(reader: &Reader, conversation: &ConversationId, set: &TagSet) -> Result<Vec<Tagged>, LogError> {
    let conn = reader.connection()?;
    let Some(n) = beside::number(conn, conversation)? else { return Ok(Vec::new()) };
    let mut beginning = match set {
        TagSet::Pins => vec![about::PINS],
        TagSet::Hidden(_) => vec![about::HIDDEN],
    };
    if let TagSet::Hidden(of) = set {
        beginning.extend_from_slice(&of.0);
    }
    let rows = beside::beginning(conn, n, &beginning)?;
    Ok(in_set(rows.iter().map(|(_, row)| row)))
}

pub(crate) fn in_set<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> Vec<Tagged> {
    let tags = |row: &'a Row| match &row.content {
        Content::Tag(tag) => Some((row, tag)),
        _ => None,
    };
    let out: BTreeSet<OpId> =
        rows.clone().filter_map(tags).flat_map(|(_, tag)| tag.removes.iter().flatten().copied()).collect();
    let mut within: BTreeMap<MessageRef, Tagged> = BTreeMap::new();
    for (row, Tag { message, removes, .. }) in rows.filter_map(tags) {
        if removes.is_some() || out.contains(&row.id) {
            continue;
        }
        let tagged = within.entry(*message).or_insert_with(|| Tagged {
            message: *message,
            tags: vec![],
            device: row.device,
            hlc: row.hlc,
        });
        tagged.tags.push(row.id);
        if row.hlc >= tagged.hlc {
            (tagged.device, tagged.hlc) = (row.device, row.hlc);
        }
    }
    let mut tagged: Vec<Tagged> = within.into_values().collect();
    for one in &mut tagged {
        one.tags.sort_unstable();
    }
    tagged.sort_by_key(|one| (one.hlc, one.message));
    tagged
}
