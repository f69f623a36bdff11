//! The stretch of a text's history in which hands were at work at the same time, as automerge sees it.
//!
//! A window begins at a *critical* version: everything later was made on top of it. Each edit in it becomes one automerge
//! change, derived from our own splices on a document that holds exactly what the edit's author had. So its op ids, and
//! with them the merged text, are a function of the edit and its past:
//! - counters count every character that is put in or taken out, whatever the document has besides;
//! - the actor is the *line* of the edit: the first edit of the run of edits by one device that this one goes on from.
//!   Where a device goes on from one edit in two ways, the ids of the edits of that line are appended to its name: they
//!   cannot collide, and compare with every other line as before.
//!
//! Stretches of the first version that nothing in the window touches are one element each, so the cost follows what
//! is changed, not how long the text is. That changes no order: nothing is put into such a stretch, none is taken out (it
//! would count differently), and all counters shift alike. Branches are kept as a document each, at most
//! [`BRANCHES_MAX`]. Should edits jump about so much that documents are made again and again, `tangle.rs` takes over,
//! with the same outcome. Not here: which version is critical (`document.rs`).

use super::bits::Bits;
use super::document::Entry;
use super::plain::{Misfit, Plain};
use super::tangle::Tangle;
use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{ActorId, Automerge, AutomergeError, Change, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, TextEncoding};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use tombolo_model::limit::SHARED_TEXT_BYTES_MAX;

/// Documents of branches that are kept: more than that many hands are seldom at one text.
const BRANCHES_MAX: usize = 8;
/// Characters around a change that become elements of their own: people go on near where they were.
const AROUND: usize = 64;
/// How often a window is divided anew before the whole text becomes single characters.
const DIVISIONS_MAX: usize = 32;
/// Work that a window may take, beside [`WORK_PER_EDIT`] for each of its edits, before `tangle.rs` takes over; by the
/// measure of what costs automerge time: changes that are applied, and walks over all ops of the document, one whenever
/// changes are applied and one for each new actor.
const WORK_MIN: usize = 20_000;
/// See [`WORK_MIN`]. Eight hands who take in what the others write need about half of it.
const WORK_PER_EDIT: usize = 32;
/// A walk over that many ops counts as much as a change.
const OPS_PER_WORK: usize = 64;

/// See the head of this file.
pub(super) struct Window {
    /// The first entry that is in it.
    first: usize,
    root: Plain,
    engine: Engine,
}

enum Engine {
    Automerge(Box<Derived>),
    Tangle(Tangle),
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("first", &self.first).finish_non_exhaustive()
    }
}

impl Window {
    /// A window whose first entry is number `first`; `root` is the text that it begins with.
    pub(super) fn new(first: usize, root: Plain) -> Self {
        let engine = Engine::Automerge(Box::new(Derived::new(&root)));
        Self { first, root, engine }
    }

    /// The same around a window that is given up: what is tangled there is tangled here.
    pub(super) fn around(first: usize, root: Plain, other: &Self) -> Self {
        match other.engine {
            Engine::Automerge(_) => Self::new(first, root),
            Engine::Tangle(_) => Self { engine: Engine::Tangle(Tangle::new(&root)), first, root },
        }
    }

    /// The number of its first entry.
    pub(super) fn first(&self) -> usize {
        self.first
    }

    /// The text that it begins with.
    pub(super) fn root(&self) -> &Plain {
        &self.root
    }

    /// Begins anew: a line has turned out to be split.
    pub(super) fn restart(&mut self) {
        if let Engine::Tangle(_) = self.engine {
            return;
        }
        self.engine = Engine::Automerge(Box::new(Derived::new(&self.root)));
    }

    /// Takes in all entries that it has not yet. The last one may turn out not to fit the version that it was made for:
    /// then it is not in.
    pub(super) fn add(&mut self, entries: &[Entry], split: &BTreeSet<usize>) -> Result<(), Misfit> {
        loop {
            let stopped = match &mut self.engine {
                Engine::Tangle(tangle) => return tangle.add(entries, self.first),
                Engine::Automerge(derived) => derived.add(entries, self.first, split),
            };
            match stopped {
                Ok(()) => return Ok(()),
                Err(Stop::Misfit(misfit)) => return Err(misfit),
                Err(Stop::Divide(range)) => {
                    if let Engine::Automerge(derived) = &mut self.engine {
                        derived.divide(&self.root, range);
                    }
                }
                Err(Stop::Tangled) => self.engine = Engine::Tangle(Tangle::new(&self.root)),
            }
        }
    }

    /// The text that all its entries add up to. They have been taken in.
    pub(super) fn text(&mut self, entries: &[Entry], split: &BTreeSet<usize>) -> Plain {
        // They fit before, so they fit now.
        let _ = self.add(entries, split);
        let merged = match &mut self.engine {
            Engine::Tangle(tangle) => return tangle.text(),
            Engine::Automerge(derived) => derived.merged(),
        };
        match merged {
            Ok(text) => Plain::from(text.as_str()),
            // Automerge refuses nothing that it has made itself. Should it, there is still the other way.
            Err(_) => {
                let mut tangle = Tangle::new(&self.root);
                let _ = tangle.add(entries, self.first);
                let text = tangle.text();
                self.engine = Engine::Tangle(tangle);
                text
            }
        }
    }
}

/// Why an entry was not taken in.
enum Stop {
    Misfit(Misfit),
    /// A stretch of the first version, in characters, has to become elements.
    Divide(Range<usize>),
    /// Documents were made again too often.
    Tangled,
}

impl From<AutomergeError> for Stop {
    fn from(_: AutomergeError) -> Self {
        Self::Tangled
    }
}

/// Changes that automerge made of entries.
struct Derived {
    /// Stretches of the first version that are single characters, apart from each other, in order.
    divided: Vec<Range<usize>>,
    divisions: usize,
    base: Base,
    /// Holds every change.
    all: Branch,
    /// The one that was used last stands last.
    branches: Vec<Branch>,
    /// By number of the entry in this window; none for an entry that changes no character.
    changes: Vec<Option<Change>>,
    /// See [`WORK_MIN`].
    work: usize,
}

/// The first version as a document.
struct Base {
    document: Automerge,
    text: ObjId,
    actor: ActorId,
    /// Where elements of the first version begin, in characters; by counter, beginning with [`FIRST_COUNTER`].
    offsets: Vec<usize>,
}

/// The counter of the first element: the first op makes the text itself.
const FIRST_COUNTER: u64 = 2;

/// A document that holds a past, and nothing else.
#[derive(Default)]
struct Branch {
    document: Automerge,
    has: Bits,
    /// The latest ones that it holds, sorted.
    heads: Vec<usize>,
}

impl Base {
    fn new(root: &Plain, divided: &[Range<usize>]) -> Result<Self, AutomergeError> {
        let mut document = Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint);
        // Shorter than every line's name, so never one of them.
        let actor = ActorId::from(&[0_u8][..]);
        document.set_actor(actor.clone());
        let mut offsets = Vec::new();
        let mut transaction = document.transaction();
        let text = transaction.put_object(ROOT, "text", ObjType::Text)?;
        let mut at = 0;
        let end = root.chars().len();
        for range in divided.iter().cloned().chain(std::iter::once(end..end)) {
            if at < range.start {
                let whole: String = root.chars()[at..range.start].iter().collect();
                transaction.insert(&text, at, ScalarValue::Str(whole.into()))?;
                offsets.push(at);
            }
            let single: String = root.chars()[range.clone()].iter().collect();
            transaction.splice_text(&text, range.start, 0, &single)?;
            offsets.extend(range.clone());
            at = range.end;
        }
        transaction.commit_with(CommitOptions::default().with_time(0));
        Ok(Self { document, text, actor, offsets })
    }

    fn branch(&self) -> Branch {
        Branch { document: self.document.clone(), has: Bits::default(), heads: Vec::new() }
    }
}

impl Derived {
    fn new(root: &Plain) -> Self {
        Self::divided(root, Vec::new(), 0, 0)
    }

    fn divided(root: &Plain, divided: Vec<Range<usize>>, divisions: usize, work: usize) -> Self {
        // Automerge refuses nothing here; an empty document would stop at the first splice, and be left for the other way.
        let base = Base::new(root, &divided).unwrap_or_else(|_| Base {
            document: Automerge::new(),
            text: ROOT,
            actor: ActorId::from(&[0_u8][..]),
            offsets: Vec::new(),
        });
        let all = base.branch();
        Self { divided, divisions, base, all, branches: Vec::new(), changes: Vec::new(), work }
    }

    /// Begins anew with a further stretch of single characters.
    fn divide(&mut self, root: &Plain, range: Range<usize>) {
        let end = root.chars().len();
        let wider = range.start.saturating_sub(AROUND)..range.end.saturating_add(AROUND).min(end);
        let wider = if self.divisions >= DIVISIONS_MAX { 0..end } else { wider };
        let mut joined: Vec<Range<usize>> = Vec::new();
        let mut all = std::mem::take(&mut self.divided);
        all.push(wider);
        all.sort_by_key(|range| range.start);
        for range in all {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        *self = Self::divided(root, joined, self.divisions + 1, self.work);
    }

    fn add(&mut self, entries: &[Entry], first: usize, split: &BTreeSet<usize>) -> Result<(), Stop> {
        while first + self.changes.len() < entries.len() {
            let change = self.derive(entries, first, split)?;
            self.changes.push(change);
        }
        Ok(())
    }

    /// The change of the next entry.
    fn derive(&mut self, entries: &[Entry], first: usize, split: &BTreeSet<usize>) -> Result<Option<Change>, Stop> {
        let number = self.changes.len();
        let entry = &entries[first + number];
        let actor = entry.actor(entries, split);
        if entry.linear {
            let mut before = Bits::default();
            before.insert_below(number);
            let mut all = std::mem::take(&mut self.all);
            let made = self.advance(&mut all, entries, first, split, &before);
            let made = made.and_then(|()| make(&mut all.document, &self.base, actor, entry));
            all.has.insert(number);
            self.all = all;
            self.work += usize::from(entry.begins(entries, split)) * ops_of(&self.all) / OPS_PER_WORK;
            return made;
        }
        let mut branch = self.branch_at(entries, first, split, &entry.bases_in(first))?;
        let change = make(&mut branch.document, &self.base, actor, entry);
        if change.is_ok() {
            branch.has.insert(number);
            branch.heads = vec![number];
        }
        if !branch.heads.is_empty() {
            if self.branches.len() == BRANCHES_MAX {
                self.branches.remove(0);
            }
            self.branches.push(branch);
        }
        change
    }

    /// A document that holds some edits and what they were made on, and nothing else.
    fn branch_at(
        &mut self,
        entries: &[Entry],
        first: usize,
        split: &BTreeSet<usize>,
        heads: &[usize],
    ) -> Result<Branch, Stop> {
        if heads.is_empty() {
            return Ok(self.base.branch());
        }
        if let Some(at) = self.branches.iter().position(|branch| branch.heads == heads) {
            return Ok(self.branches.remove(at));
        }
        let past = past(entries, first, heads);
        let within = |branch: &&Branch| !branch.heads.is_empty() && past.covers(&branch.has);
        let nearest = self.branches.iter().filter(within).max_by_key(|branch| branch.has.len());
        let nearest = nearest.and_then(|found| self.branches.iter().position(|branch| std::ptr::eq(branch, found)));
        let mut branch = if let Some(at) = nearest { self.branches.remove(at) } else { self.base.branch() };
        self.advance(&mut branch, entries, first, split, &past)?;
        branch.heads = heads.to_vec();
        Ok(branch)
    }

    /// Applies what a document lacks of a past, if that is not too much work.
    fn advance(
        &mut self,
        branch: &mut Branch,
        entries: &[Entry],
        first: usize,
        split: &BTreeSet<usize>,
        past: &Bits,
    ) -> Result<(), Stop> {
        let (mut missing, mut walks) = (0, 1);
        for number in past.without(&branch.has) {
            missing += 1;
            walks += usize::from(entries[first + number].begins(entries, split));
        }
        if missing > 0 {
            self.work += missing + walks * ops_of(branch) / OPS_PER_WORK;
        }
        if self.work > WORK_MIN + WORK_PER_EDIT * self.changes.len() {
            return Err(Stop::Tangled);
        }
        Ok(apply(branch, &self.changes, past)?)
    }

    fn merged(&mut self) -> Result<String, AutomergeError> {
        let mut all = Bits::default();
        all.insert_below(self.changes.len());
        self.work += ops_of(&self.all) / OPS_PER_WORK;
        apply(&mut self.all, &self.changes, &all)?;
        self.all.document.text(&self.base.text)
    }
}

fn ops_of(branch: &Branch) -> usize {
    branch.document.stats().num_ops as usize
}

fn apply(branch: &mut Branch, changes: &[Option<Change>], past: &Bits) -> Result<(), AutomergeError> {
    let missing: Vec<Change> =
        past.without(&branch.has).filter_map(|number| changes.get(number).cloned().flatten()).collect();
    if !missing.is_empty() {
        branch.document.apply_changes(missing)?;
    }
    branch.has.extend(past);
    Ok(())
}

/// Edits, by number in the window, and everything in the window that they were made on.
pub(super) fn past(entries: &[Entry], first: usize, heads: &[usize]) -> Bits {
    let mut past = Bits::default();
    let mut left = heads.to_vec();
    while let Some(number) = left.pop() {
        if past.has(number) {
            continue;
        }
        let entry = &entries[first + number];
        if entry.linear {
            past.insert_below(number + 1);
        } else {
            past.insert(number);
            left.extend(entry.bases_in(first));
        }
    }
    past
}

/// Makes the change of an entry on a document that holds its past.
fn make(document: &mut Automerge, base: &Base, actor: ActorId, entry: &Entry) -> Result<Option<Change>, Stop> {
    document.set_actor(actor);
    let mut transaction = document.transaction();
    match splice(&mut transaction, base, entry) {
        Ok(()) => {
            let (made, _) = transaction.commit_with(CommitOptions::default().with_time(0));
            Ok(made.and_then(|_| document.get_last_local_change()))
        }
        Err(stop) => {
            transaction.rollback();
            Err(stop)
        }
    }
}

fn splice(transaction: &mut Transaction<'_>, base: &Base, entry: &Entry) -> Result<(), Stop> {
    for splice in &entry.splices {
        let (at, delete) = (splice.at as usize, splice.delete as usize);
        let len = transaction.length(&base.text);
        let end = at.checked_add(delete).filter(|end| *end <= len).ok_or(Stop::Misfit(Misfit::Range))?;
        if delete > 0 {
            let mut next = at;
            while next < end {
                if let Some((offset, width, into)) = stretch(transaction, base, next)? {
                    let from = offset + into;
                    return Err(Stop::Divide(from..(offset + width).min(from + end - next)));
                }
                next += 1;
            }
        } else if at < len
            && let Some((offset, _, into)) = stretch(transaction, base, at)?
            && into > 0
        {
            return Err(Stop::Divide(offset + into..offset + into));
        }
        if delete > 0 || !splice.insert.is_empty() {
            transaction.splice_text(&base.text, at, delete.cast_signed(), &splice.insert)?;
        }
    }
    // A character has four bytes at most, so nearly always its length says enough.
    let large = transaction.length(&base.text) > SHARED_TEXT_BYTES_MAX / 4
        && transaction.text(&base.text)?.len() > SHARED_TEXT_BYTES_MAX;
    if large { Err(Stop::Misfit(Misfit::Large)) } else { Ok(()) }
}

/// Whether a position is in an element of several characters: where that began in the first version, how many it has,
/// and how far into it the position is.
fn stretch(
    transaction: &Transaction<'_>,
    base: &Base,
    at: usize,
) -> Result<Option<(usize, usize, usize)>, AutomergeError> {
    let Some((value, id)) = transaction.get(&base.text, at)? else { return Ok(None) };
    let Some(text) = value.as_str().filter(|text| text.len() > 1) else { return Ok(None) };
    let width = text.chars().count();
    if width == 1 {
        return Ok(None);
    }
    let ObjId::Id(counter, actor, _) = id else { return Ok(None) };
    let index = counter.checked_sub(FIRST_COUNTER).and_then(|index| usize::try_from(index).ok());
    let offset = index.and_then(|index| base.offsets.get(index)).filter(|_| actor == base.actor);
    let Some(offset) = offset else { return Ok(None) };
    let cursor = transaction.get_cursor(&base.text, at, None)?;
    let begins = transaction.get_cursor_position(&base.text, &cursor, None)?;
    Ok(Some((*offset, width, at.saturating_sub(begins))))
}
