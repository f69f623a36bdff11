//! What a set of rows means, said as plainly as possible: every definition looks at all rows, whatever their order.

use super::{FOUNDER, account};
use crate::beside::Row;
use crate::facets::Facets;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::{Content, MessageRef, Reaction, Set, Tag, Target, Value};
use tombolo_model::{AccountId, DeviceId, Hlc, OpId};

/// What is compared of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    current: BTreeSet<OpId>,
    bases: BTreeSet<OpId>,
    edits: usize,
    edited: Option<Hlc>,
    /// The deletion that is shown, and all that stand.
    deleted: Option<(OpId, bool)>,
    standing: BTreeSet<OpId>,
    conflict: bool,
    /// Sign and people, as shown.
    reactions: Vec<(String, Vec<AccountId>)>,
}

pub(super) struct Expected {
    pub(super) seen: Seen,
    /// Where one version alone is current.
    pub(super) text: Option<String>,
    pub(super) versions: Vec<(OpId, bool)>,
}

pub(super) fn seen(facets: &Facets) -> Seen {
    Seen {
        current: facets.current.iter().copied().collect(),
        bases: facets.bases.iter().copied().collect(),
        edits: facets.edits,
        edited: facets.edited,
        deleted: facets.deleted.map(|deleted| (deleted.id, deleted.withdrawn)),
        standing: facets.deletions.iter().map(|deleted| deleted.id).collect(),
        conflict: facets.conflict,
        reactions: facets.reactions.iter().map(|it| (it.emoji.clone(), it.accounts.clone())).collect(),
    }
}

/// What an op has of the thing it is about, if it counts.
enum Word<'a> {
    Edit(&'a [OpId], &'a str),
    Delete(bool),
    Restore(&'a str),
}

fn word<'a>(at: &MessageRef, author: &DeviceId, row: &'a Row) -> Option<Word<'a>> {
    let (mine, founder) = (account(&row.device) == account(author), row.device.0[0] == FOUNDER);
    let word = match &row.content {
        Content::Edit(edit) if edit.target == Target::Message(*at) && mine => {
            Word::Edit(&edit.bases, edit.whole.as_deref()?)
        }
        Content::Delete(delete) if delete.message == *at && (mine || founder) => {
            Word::Delete(mine && delete.withdrawn == Some(true))
        }
        Content::Restore(restore) if restore.message == *at && mine => Word::Restore(&restore.content.text),
        _ => return None,
    };
    Some(word)
}

/// Whether a row takes a deletion back: who deleted may, on whichever device.
fn takes_back(at: &MessageRef, row: &Row, deletion: &OpId, rows: &[Row]) -> bool {
    let by = rows.iter().find(|row| row.id == *deletion).and_then(|row| account(&row.device));
    match &row.content {
        Content::Restore(restore) => {
            let ours = by.is_some() && account(&row.device) == by;
            restore.message == *at && restore.tags.contains(deletion) && ours
        }
        _ => false,
    }
}

pub(super) fn message(at: &MessageRef, author: &DeviceId, first: &str, rows: &[Row]) -> Expected {
    let words: BTreeMap<OpId, (&Row, Word<'_>)> =
        rows.iter().filter_map(|row| Some((row.id, (row, word(at, author, row)?)))).collect();
    let last =
        words.iter().filter(|(_, (_, word))| matches!(word, Word::Restore(..))).map(|(id, (row, _))| (row.hlc, *id));
    let last = last.max().map(|(_, id)| id);

    // Whether one goes back to another, over edits that count.
    fn goes_back(words: &BTreeMap<OpId, (&Row, Word<'_>)>, from: &OpId, to: &OpId) -> bool {
        match words.get(from) {
            Some((_, Word::Edit(bases, _))) => bases.iter().any(|base| base == to || goes_back(words, base, to)),
            _ => false,
        }
    }
    let edits: BTreeMap<OpId, (Hlc, &[OpId], &str)> = words
        .iter()
        .filter(|(id, _)| last.is_none_or(|last| goes_back(&words, id, &last)))
        .filter_map(|(id, (row, word))| match word {
            Word::Edit(bases, text) => Some((*id, (row.hlc, *bases, *text))),
            _ => None,
        })
        .collect();
    let current: BTreeSet<OpId> =
        edits.keys().filter(|id| !edits.values().any(|(_, bases, _)| bases.contains(id))).copied().collect();
    let standing: BTreeMap<(Hlc, OpId), bool> = words
        .iter()
        .filter_map(|(id, (row, word))| match word {
            Word::Delete(withdrawn) => Some(((row.hlc, *id), *withdrawn)),
            _ => None,
        })
        .filter(|((_, id), _)| !rows.iter().any(|row| takes_back(at, row, id, rows)))
        .collect();
    let text = match (current.len(), last.and_then(|last| words.get(&last))) {
        (0, Some((_, Word::Restore(text)))) => Some((*text).to_owned()),
        (0, _) => Some(first.to_owned()),
        (1, _) => current.first().and_then(|only| edits.get(only)).map(|(_, _, text)| (*text).to_owned()),
        // What several add up to is not for this oracle to say.
        _ => None,
    };
    let mut versions: Vec<((Hlc, OpId), bool)> = words
        .iter()
        .filter(|(_, (_, word))| !matches!(word, Word::Delete(_)))
        .map(|(id, (row, _))| {
            let begins = current.is_empty() && last == Some(*id);
            ((row.hlc, *id), current.contains(id) || begins)
        })
        .collect();
    versions.push(((at.hlc, at.id), current.is_empty() && last.is_none()));
    versions.sort_unstable();
    let bases = if current.is_empty() { last.into_iter().collect() } else { current.clone() };
    let seen = Seen {
        bases,
        edits: edits.len(),
        edited: edits.values().map(|(hlc, ..)| *hlc).max(),
        deleted: standing.first_key_value().map(|((_, id), withdrawn)| (*id, *withdrawn)),
        conflict: !standing.is_empty() && !edits.is_empty(),
        standing: standing.into_keys().map(|(_, id)| id).collect(),
        reactions: reactions(at, rows),
        current,
    };
    Expected { seen, text, versions: versions.into_iter().map(|((_, id), current)| (id, current)).collect() }
}

fn reactions(at: &MessageRef, rows: &[Row]) -> Vec<(String, Vec<AccountId>)> {
    let of = |row: &Row| match &row.content {
        Content::Reaction(reaction) if reaction.message == Reaction::names(&at.id) => {
            Some((reaction.emoji.clone(), account(&row.device)?, i64::from(reaction.by)))
        }
        _ => None,
    };
    // Who ever did, and when first.
    let mut ever: Vec<(Hlc, OpId, String, AccountId)> = Vec::new();
    for row in rows {
        if let Some((emoji, who, _)) = of(row) {
            ever.push((row.hlc, row.id, emoji, who));
        }
    }
    ever.sort();
    let sum = |emoji: &str, who: &AccountId| -> i64 {
        rows.iter().filter_map(of).filter(|(sign, by, _)| sign == emoji && by == who).map(|(_, _, by)| by).sum()
    };
    let mut shown: Vec<(String, Vec<AccountId>)> = Vec::new();
    for (_, _, emoji, who) in ever {
        if sum(&emoji, &who) <= 0 {
            continue;
        }
        match shown.iter_mut().find(|(sign, _)| *sign == emoji) {
            Some((_, all)) if all.contains(&who) => {}
            Some((_, all)) => all.push(who),
            None => shown.push((emoji, vec![who])),
        }
    }
    shown
}

pub(super) struct Register {
    pub(super) current: Vec<OpId>,
    pub(super) winner: Option<OpId>,
    pub(super) lost: Vec<OpId>,
}

pub(super) fn register(rows: &[Row]) -> Register {
    let mut sets: Vec<((Hlc, OpId), &Set)> = rows
        .iter()
        .filter_map(|row| match &row.content {
            Content::Set(set) => Some(((row.hlc, row.id), set)),
            _ => None,
        })
        .collect();
    sets.sort_by_key(|(order, _)| *order);
    // Whether the one who wrote `one` had seen `other`: over what each replaces.
    fn knows(sets: &[((Hlc, OpId), &Set)], one: OpId, other: OpId) -> bool {
        let Some((_, set)) = sets.iter().find(|((_, id), _)| *id == one) else { return false };
        set.bases.iter().any(|base| *base == other || knows(sets, *base, other))
    }
    let values: BTreeMap<OpId, &Value> = sets.iter().map(|((_, id), set)| (*id, &set.value)).collect();
    let current: Vec<OpId> =
        sets.iter().map(|((_, id), _)| *id).filter(|id| !sets.iter().any(|(_, set)| set.bases.contains(id))).collect();
    let lost = sets
        .iter()
        .filter(|(one, _)| {
            sets.iter().any(|(other, _)| {
                other > one
                    && values[&other.1] != values[&one.1]
                    && !knows(&sets, other.1, one.1)
                    && !knows(&sets, one.1, other.1)
            })
        })
        .map(|((_, id), _)| *id)
        .collect();
    Register { winner: current.last().copied(), current, lost }
}

pub(super) fn set(rows: &[Row]) -> BTreeMap<MessageRef, Vec<OpId>> {
    let mut within: BTreeMap<MessageRef, Vec<OpId>> = BTreeMap::new();
    for row in rows {
        let Content::Tag(Tag { message, removes: None, .. }) = &row.content else { continue };
        let out = rows.iter().any(
            |other| matches!(&other.content, Content::Tag(Tag { removes: Some(tags), .. }) if tags.contains(&row.id)),
        );
        if !out {
            within.entry(*message).or_default().push(row.id);
        }
    }
    within.values_mut().for_each(|tags| tags.sort_unstable());
    within
}

pub(super) fn topic(row: &Row) -> bool {
    matches!(&row.content, Content::Edit(edit) if edit.target == Target::Topic)
}

/// Edits that no other stands on, of those that stand on nothing else than edits of this text.
pub(super) fn heads(rows: &[Row]) -> Vec<OpId> {
    fn counts(rows: &[Row], row: &Row) -> bool {
        let Content::Edit(edit) = &row.content else { return false };
        edit.bases.iter().all(|base| rows.iter().any(|other| other.id == *base && counts(rows, other)))
    }
    let rows: Vec<&Row> = rows.iter().filter(|row| counts(rows, row)).collect();
    let mut heads: Vec<OpId> = Vec::new();
    for row in &rows {
        let under = |other: &&Row| matches!(&other.content, Content::Edit(edit) if edit.bases.contains(&row.id));
        if !rows.iter().any(under) {
            heads.push(row.id);
        }
    }
    heads.sort_unstable();
    heads
}
