//! One text while several hands change it: edits go in one by one, in any order, the merged text comes out.
//!
//! The text is a function of the root and the *set* of edits, whatever came when. An edit whose bases are not all here
//! waits; one that does not fit the version that it was made for is void, and so is whatever was made on it.
//!
//! As long as each edit goes on from all before it, the text is a string that splices are applied to. Where one does not,
//! the stretch since the last *critical* version (the latest one that everything later was made on) becomes a
//! [`Window`]. Critical versions before it are reached by taking edits back. Not here: what automerge makes of a window
//! (`window.rs`), which documents are kept in memory (`open.rs`).

use super::Edit;
use super::plain::{Misfit, Plain};
use super::window::Window;
use automerge::ActorId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tombolo_model::content::Splice;
use tombolo_model::limit::BASES_MAX;
use tombolo_model::{DeviceId, OpId};

/// A window with fewer entries is not given up for a later one: what it was built for may go on.
const NARROW_MIN: usize = 64;

/// An edit that counts.
pub(super) struct Entry {
    pub(super) id: OpId,
    author: DeviceId,
    /// Number of the first edit of its line: the run of edits by one device that it goes on from.
    pub(super) line: usize,
    /// Numbers of the entries that it was made on, sorted.
    bases: Vec<usize>,
    pub(super) splices: Vec<Splice>,
    /// It was made on everything that has a smaller number.
    pub(super) linear: bool,
    /// What takes it back, for linear ones.
    undo: Vec<Splice>,
    /// An edit of the same line goes on from it.
    continued: bool,
}

impl Entry {
    /// Its bases in a window, by number there.
    pub(super) fn bases_in(&self, first: usize) -> Vec<usize> {
        self.bases.iter().filter_map(|base| base.checked_sub(first)).collect()
    }

    /// Whether it has an actor of its own.
    pub(super) fn begins(&self, entries: &[Self], split: &BTreeSet<usize>) -> bool {
        entries[self.line].id == self.id || split.contains(&self.line)
    }

    /// Who automerge takes for its author; see `window.rs`.
    pub(super) fn actor(&self, entries: &[Self], split: &BTreeSet<usize>) -> ActorId {
        let line = entries[self.line].id;
        if split.contains(&self.line) {
            ActorId::from([line.0, self.id.0].concat())
        } else {
            ActorId::from(&line.0[..])
        }
    }
}

/// Why an edit cannot be written as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// Its splices do not fit the text.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// More versions stand beside each other than one edit may replace: first, an edit without splices is to be written
    /// on these.
    #[error("too many versions stand beside each other: some of them are to be joined first")]
    Join(Vec<OpId>),
}

/// See the head of this file.
pub struct Document {
    entries: Vec<Entry>,
    numbers: BTreeMap<OpId, usize>,
    void: BTreeSet<OpId>,
    waiting: BTreeMap<OpId, Edit>,
    /// By the id that is missing: who waits for it.
    wanted: BTreeMap<OpId, Vec<OpId>>,
    heads: BTreeSet<usize>,
    /// Numbers of critical entries, ascending.
    critical: Vec<usize>,
    /// First entries of lines that go on in two ways.
    split: BTreeSet<usize>,
    root: Plain,
    text: Plain,
    /// Whether `text` is what the entries add up to.
    fresh: bool,
    window: Option<Window>,
    /// How often a window had to be widened.
    widened: u32,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("edits", &self.entries.len())
            .field("heads", &self.heads.len())
            .finish_non_exhaustive()
    }
}

impl Document {
    /// A text that nobody has changed yet.
    #[must_use]
    pub fn new(root: &str) -> Self {
        let root = Plain::from(root);
        Self {
            entries: Vec::new(),
            numbers: BTreeMap::new(),
            void: BTreeSet::new(),
            waiting: BTreeMap::new(),
            wanted: BTreeMap::new(),
            heads: BTreeSet::new(),
            critical: Vec::new(),
            split: BTreeSet::new(),
            text: root.clone(),
            root,
            fresh: true,
            window: None,
            widened: 0,
        }
    }

    /// Takes an edit in, and those that waited for it. One that is known already changes nothing.
    pub fn apply(&mut self, edit: Edit) {
        if self.knows(&edit.id) || self.waiting.contains_key(&edit.id) {
            return;
        }
        let mut ready = vec![edit];
        while let Some(edit) = ready.pop() {
            let id = edit.id;
            if let Some(missing) = edit.bases.iter().find(|base| !self.knows(base)) {
                self.wanted.entry(*missing).or_default().push(id);
                self.waiting.insert(id, edit);
                continue;
            }
            if edit.bases.iter().any(|base| self.void.contains(base)) || self.take(edit).is_err() {
                self.void.insert(id);
            }
            let waited = self.wanted.remove(&id).unwrap_or_default();
            ready.extend(waited.iter().filter_map(|id| self.waiting.remove(id)));
        }
    }

    /// The text that all edits add up to.
    pub fn text(&mut self) -> String {
        self.settle();
        self.text.text()
    }

    /// Edits that no other was made on: the current versions, sorted. None = the root.
    #[must_use]
    pub fn heads(&self) -> Vec<OpId> {
        let mut heads: Vec<OpId> = self.heads.iter().map(|head| self.entries[*head].id).collect();
        heads.sort_unstable();
        heads
    }

    /// Edits that do not fit, or were made on such; sorted.
    #[must_use]
    pub fn void(&self) -> Vec<OpId> {
        self.void.iter().copied().collect()
    }

    /// Edits that wait for what they were made on; sorted.
    #[must_use]
    pub fn waiting(&self) -> Vec<OpId> {
        self.waiting.keys().copied().collect()
    }

    /// Number of edits that it knows.
    #[must_use]
    pub fn edits(&self) -> usize {
        self.entries.len() + self.void.len() + self.waiting.len()
    }

    /// What an edit by this device would replace, if its splices fit the current text. Nothing changes: the edit is
    /// applied once its op has an id, and is on the disk.
    ///
    /// # Errors
    /// [`NotYet`].
    pub fn bases(&mut self, splices: &[Splice]) -> Result<Vec<OpId>, NotYet> {
        let heads = self.heads();
        if heads.len() > BASES_MAX {
            return Err(NotYet::Join(heads[..BASES_MAX].to_vec()));
        }
        self.settle();
        let undo = self.text.apply(splices)?;
        self.text.take_back(&undo);
        Ok(heads)
    }

    fn knows(&self, id: &OpId) -> bool {
        self.numbers.contains_key(id) || self.void.contains(id)
    }

    /// An edit whose bases all count.
    fn take(&mut self, edit: Edit) -> Result<(), Misfit> {
        let Edit { id, author, bases, splices } = edit;
        let mut on: Vec<usize> = bases.iter().filter_map(|base| self.numbers.get(base)).copied().collect();
        on.sort_unstable();
        on.dedup();
        let number = self.entries.len();
        // The greatest id, so that it is a function of the edit alone.
        let own = on.iter().filter(|base| self.entries[**base].author == author);
        let before = own.copied().max_by_key(|base| self.entries[*base].id);
        let line = before.map_or(number, |before| self.entries[before].line);
        let linear = self.heads.iter().all(|head| on.binary_search(head).is_ok());
        let mut entry = Entry { id, author, line, bases: on, splices, linear, undo: Vec::new(), continued: false };
        if linear {
            self.settle();
            entry.undo = self.text.apply(&entry.splices)?;
            self.continues(before);
            self.critical.push(number);
            self.heads.clear();
            self.entries.push(entry);
        } else {
            let since = self.critical_before(&entry.bases);
            self.open(since);
            self.continues(before);
            self.entries.push(entry);
            let window = self.window.as_mut();
            if let Some(Err(misfit)) = window.map(|window| window.add(&self.entries, &self.split)) {
                self.entries.pop();
                return Err(misfit);
            }
            self.critical.truncate(since);
            let bases = &self.entries[number].bases;
            self.heads.retain(|head| bases.binary_search(head).is_err());
            self.fresh = false;
        }
        self.heads.insert(number);
        self.numbers.insert(id, number);
        Ok(())
    }

    /// Notes that an edit goes on from another of its line. Should that one be void, the line counts as split for
    /// nothing, which changes no order.
    fn continues(&mut self, before: Option<usize>) {
        let Some(before) = before else { return };
        let line = self.entries[before].line;
        if std::mem::replace(&mut self.entries[before].continued, true)
            && self.split.insert(line)
            && let Some(window) = &mut self.window
        {
            window.restart();
        }
    }

    /// How many critical versions there are up to the latest one that all these entries were made on, or are.
    fn critical_before(&self, entries: &[usize]) -> usize {
        let Some(first) = entries.first() else { return 0 };
        self.critical.partition_point(|critical| critical <= first)
    }

    /// Sees to a window that begins at this critical version (by number among them; 0 = the root), or before it.
    fn open(&mut self, since: usize) {
        let first = since.checked_sub(1).map_or(0, |at| self.critical[at] + 1);
        let (begins, len) = match &self.window {
            Some(window) => (Some(window.first()), self.entries.len() - window.first()),
            None => (None, 0),
        };
        let wider = begins.is_some_and(|begins| begins > first);
        let kept = begins == Some(first) || begins < Some(first) && len < NARROW_MIN << self.widened.min(32);
        if begins.is_some() && !wider && kept {
            return;
        }
        let (first, root) = match self.text_before(first) {
            Some(root) => (first, root),
            // A window that begins earlier serves as well.
            None if begins.is_some() && !wider => return,
            // Where nothing can be taken back, the root is always known.
            None => (0, self.root.clone()),
        };
        self.widened += u32::from(wider);
        self.window = Some(match &self.window {
            Some(window) if wider => Window::around(first, root, window),
            _ => Window::new(first, root),
        });
    }

    /// The text that an entry was made on which begins a window, if it can be reached.
    fn text_before(&self, first: usize) -> Option<Plain> {
        let (mut text, end) = match &self.window {
            Some(window) if first <= window.first() => (window.root().clone(), window.first()),
            _ if self.fresh => (self.text.clone(), self.entries.len()),
            _ => return None,
        };
        for entry in self.entries[first..end].iter().rev() {
            if !entry.linear {
                return None;
            }
            text.take_back(&entry.undo);
        }
        Some(text)
    }

    fn settle(&mut self) {
        if !self.fresh {
            if let Some(window) = &mut self.window {
                self.text = window.text(&self.entries, &self.split);
            }
            self.fresh = true;
        }
    }

    /// For tests: the entries, the lines that are split, the root.
    #[cfg(test)]
    pub(super) fn inside(&self) -> (&[Entry], &BTreeSet<usize>, &Plain) {
        (&self.entries, &self.split, &self.root)
    }

    /// For tests: the window that is open.
    #[cfg(test)]
    pub(super) fn window(&self) -> Option<&Window> {
        self.window.as_ref()
    }
}
