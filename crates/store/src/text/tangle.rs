//! Merging without automerge, for windows so tangled that its documents would have to be made again and again.
//!
//! The same text as automerge gives, by the same rule (a replicated growable array: a character stands after the one that
//! it was put behind, and of several put there the later counter comes first), over a plain list of all characters that
//! ever were. Cost: an edit is a walk over that list, whatever it was made on; so ten thousand hostile edits cost ten
//! thousand walks and no more. Tests compare both ways. Source: Roh and others, "Replicated abstract data types", 2011.
//! Not here: when it is used (`window.rs`).

use super::bits::Bits;
use super::document::Entry;
use super::plain::{Misfit, Plain};
use super::window::past;
use tombolo_model::OpId;
use tombolo_model::limit::SHARED_TEXT_BYTES_MAX;

/// A character that is, or was.
struct Element {
    char: char,
    /// Counter of the op that put it in.
    counter: u64,
    /// Number of its edit in the window; none for the first version.
    by: Option<u32>,
    /// Numbers of the edits that took it out.
    gone: Vec<u32>,
}

/// See the head of this file.
pub(super) struct Tangle {
    /// Counters of edits begin above those of the first version.
    root_len: u64,
    elements: Vec<Element>,
    /// By number of the edit in the window: the greatest counter of it and its past, and its line and id.
    edits: Vec<(u64, OpId, OpId)>,
}

impl Tangle {
    /// The first version.
    pub(super) fn new(root: &Plain) -> Self {
        let element =
            |(at, char): (usize, &char)| Element { char: *char, counter: at as u64, by: None, gone: Vec::new() };
        let elements = root.chars().iter().enumerate().map(element).collect();
        Self { root_len: root.chars().len() as u64, elements, edits: Vec::new() }
    }

    /// Takes in all entries that it has not yet; see `Window::add`.
    pub(super) fn add(&mut self, entries: &[Entry], first: usize) -> Result<(), Misfit> {
        while first + self.edits.len() < entries.len() {
            self.push(entries, first)?;
        }
        Ok(())
    }

    /// What all edits add up to.
    pub(super) fn text(&self) -> Plain {
        let text: String =
            self.elements.iter().filter(|element| element.gone.is_empty()).map(|element| element.char).collect();
        Plain::from(text.as_str())
    }

    fn push(&mut self, entries: &[Entry], first: usize) -> Result<(), Misfit> {
        let number = self.edits.len();
        let entry = &entries[first + number];
        let bases = entry.bases_in(first);
        let mut past = past(entries, first, &bases);
        self.fits(&past, entry)?;
        let before = bases.iter().filter_map(|base| self.edits.get(*base)).map(|(counter, ..)| *counter).max();
        let mut counter = before.unwrap_or(self.root_len);
        self.edits.push((0, entries[entry.line].id, entry.id));
        past.insert(number);
        for splice in &entry.splices {
            let mut at = self.after(&past, splice.at as usize);
            for (place, char) in splice.insert.chars().enumerate() {
                counter += 1;
                let element = Element { char, counter, by: Some(number as u32), gone: Vec::new() };
                if place == 0 {
                    while self.elements.get(at).is_some_and(|next| self.is_later(next, &element)) {
                        at += 1;
                    }
                }
                self.elements.insert(at, element);
                at += 1;
            }
            let mut left = splice.delete;
            while left > 0 && at < self.elements.len() {
                if visible(&self.elements[at], &past) {
                    counter += 1;
                    self.elements[at].gone.push(number as u32);
                    left -= 1;
                }
                at += 1;
            }
        }
        self.edits[number].0 = counter;
        Ok(())
    }

    /// Whether the splices make a version of the past.
    fn fits(&self, past: &Bits, entry: &Entry) -> Result<(), Misfit> {
        let (mut len, mut bytes) = (0_usize, 0);
        for element in self.elements.iter().filter(|element| visible(element, past)) {
            len += 1;
            bytes += element.char.len_utf8();
        }
        for splice in &entry.splices {
            let delete = splice.delete as usize;
            if (splice.at as usize).checked_add(delete).is_none_or(|end| end > len) {
                return Err(Misfit::Range);
            }
            len = len - delete + splice.insert.chars().count();
            bytes += splice.insert.len();
        }
        if bytes <= SHARED_TEXT_BYTES_MAX {
            return Ok(());
        }
        // What is taken out may make up for it.
        let text: String =
            self.elements.iter().filter(|element| visible(element, past)).map(|element| element.char).collect();
        Plain::from(text.as_str()).apply(&entry.splices).map(|_| ())
    }

    /// The place behind so many visible characters.
    fn after(&self, past: &Bits, mut visible_left: usize) -> usize {
        let mut at = 0;
        while visible_left > 0 && at < self.elements.len() {
            visible_left -= usize::from(visible(&self.elements[at], past));
            at += 1;
        }
        at
    }

    /// Whether one op is later than another: by counter, line, edit.
    fn is_later(&self, one: &Element, other: &Element) -> bool {
        let order = |element: &Element| {
            let edit = element.by.and_then(|by| self.edits.get(by as usize));
            (element.counter, edit.map(|(_, line, id)| (*line, *id)))
        };
        order(one) > order(other)
    }
}

fn visible(element: &Element, past: &Bits) -> bool {
    element.by.is_none_or(|by| past.has(by as usize)) && !element.gone.iter().any(|by| past.has(*by as usize))
}
