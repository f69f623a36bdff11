//! Texts that several hands may change: what their edits add up to.
//!
//! Responsible for: merging edits of one text ([`merge`], [`version`]), a text that is being written together
//! ([`Document`]), which of those stay in memory ([`OpenTexts`]), and turning a new text into a short edit
//! ([`splices`]). Pure: no database, no clock. Not here: who may edit what, where edits are kept (`views.rs`).
//!
//! An edit carries splices against the version made of its bases. The result is a function of the root text and the set
//! of edits alone, and two replicas derive the same automerge changes from it: no foreign automerge bytes are ever
//! read.
//!
//! Read in this order: `document.rs` (how a history is cut), `window.rs` (automerge), `tangle.rs` (the bounded way for
//! hostile histories), `diff.rs`, `open.rs`.

mod bits;
mod diff;
mod document;
mod open;
mod plain;
mod tangle;
#[cfg(test)]
mod tests;
mod window;

pub use diff::splices;
pub use document::{Document, NotYet};
pub use open::OpenTexts;
pub use plain::Misfit;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tombolo_model::content::Splice;
use tombolo_model::{DeviceId, OpId};

/// An edit of a text, as its op says.
#[derive(Clone, PartialEq, Eq)]
pub struct Edit {
    /// The op.
    pub id: OpId,
    /// The device that wrote it.
    pub author: DeviceId,
    /// Edits that it replaces; none = the root.
    pub bases: Vec<OpId>,
    /// Against the version made of them, in order.
    pub splices: Vec<Splice>,
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What people write never appears in logs.
        f.debug_struct("Edit").field("id", &self.id).field("bases", &self.bases).finish_non_exhaustive()
    }
}

/// What a set of edits adds up to.
#[derive(Clone, PartialEq, Eq)]
pub struct Merged {
    /// The text.
    pub text: String,
    /// Edits that no other was made on, sorted: what the next edit replaces. None = the root.
    pub heads: Vec<OpId>,
    /// Edits that do not fit the version that they were made for or make it too large, and those made on them; sorted.
    /// They count for nothing.
    pub void: Vec<OpId>,
    /// Edits that were made on some that are not here; sorted. They do not count yet.
    pub waiting: Vec<OpId>,
}

impl Merged {
    /// Whether versions stand beside each other that nobody has joined yet.
    #[must_use]
    pub fn concurrent(&self) -> bool {
        self.heads.len() > 1
    }
}

impl fmt::Debug for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merged")
            .field("text_bytes", &self.text.len())
            .field("heads", &self.heads)
            .field("void", &self.void)
            .field("waiting", &self.waiting)
            .finish()
    }
}

/// What these edits add up to, in whatever order they come and however often. Cost: where each replaces all before it,
/// that of splicing a string.
#[must_use]
pub fn merge(root: &str, edits: &[Edit]) -> Merged {
    let mut document = Document::new(root);
    edits.iter().for_each(|edit| document.apply(edit.clone()));
    Merged { text: document.text(), heads: document.heads(), void: document.void(), waiting: document.waiting() }
}

/// The text as one edit left it, as its author saw it; `None` when it is void, waits, or is not there.
#[must_use]
pub fn version(root: &str, edits: &[Edit], id: &OpId) -> Option<String> {
    let by_id: BTreeMap<&OpId, &Edit> = edits.iter().map(|edit| (&edit.id, edit)).collect();
    let (mut past, mut left) = (BTreeSet::new(), vec![id]);
    while let Some(id) = left.pop() {
        if past.insert(id) {
            left.extend(&by_id.get(id)?.bases);
        }
    }
    let mut document = Document::new(root);
    edits.iter().filter(|edit| past.contains(&edit.id)).for_each(|edit| document.apply(edit.clone()));
    (document.heads() == [*id]).then(|| document.text())
}
