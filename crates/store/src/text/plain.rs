//! A text that can be spliced by positions: Unicode scalar values in a row, and how many bytes they take.
//!
//! Not here: who may change what, and what concurrent changes add up to (`document.rs`).

use std::fmt;
use tombolo_model::content::Splice;
use tombolo_model::limit::SHARED_TEXT_BYTES_MAX;

/// Why splices do not make a version of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// One of them reaches beyond the end of the text.
    #[error("a change reaches beyond the end of the text that it was made for")]
    Range,
    /// The text would be larger than [`SHARED_TEXT_BYTES_MAX`].
    #[error("the text would be larger than {SHARED_TEXT_BYTES_MAX} bytes")]
    Large,
}

/// A text as it stands.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Plain {
    chars: Vec<char>,
    bytes: usize,
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What people write never appears in logs.
        f.debug_struct("Plain").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl From<&str> for Plain {
    fn from(text: &str) -> Self {
        Self { chars: text.chars().collect(), bytes: text.len() }
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars.iter().try_for_each(|char| fmt::Write::write_char(f, *char))
    }
}

impl Plain {
    /// The scalar values.
    pub(super) fn chars(&self) -> &[char] {
        &self.chars
    }

    /// The text as a string.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.bytes);
        text.extend(&self.chars);
        text
    }

    /// Applies all of them, or none. Returns what takes them back, in the order in which it is to be applied.
    pub(super) fn apply(&mut self, splices: &[Splice]) -> Result<Vec<Splice>, Misfit> {
        let mut undo = Vec::with_capacity(splices.len());
        let mut done = Ok(());
        for splice in splices {
            match self.splice(splice) {
                Ok(back) => undo.push(back),
                Err(misfit) => {
                    done = Err(misfit);
                    break;
                }
            }
        }
        undo.reverse();
        if done.is_ok() && self.bytes > SHARED_TEXT_BYTES_MAX {
            done = Err(Misfit::Large);
        }
        match done {
            Ok(()) => Ok(undo),
            Err(misfit) => {
                self.take_back(&undo);
                Err(misfit)
            }
        }
    }

    /// Applies what [`Plain::apply`] returned for the change that was made last.
    pub(super) fn take_back(&mut self, undo: &[Splice]) {
        for splice in undo {
            let _ = self.splice(splice);
        }
    }

    fn splice(&mut self, splice: &Splice) -> Result<Splice, Misfit> {
        let (at, delete) = (splice.at as usize, splice.delete as usize);
        let end = at.checked_add(delete).filter(|end| *end <= self.chars.len()).ok_or(Misfit::Range)?;
        let gone: String = self.chars.splice(at..end, splice.insert.chars()).collect();
        self.bytes = self.bytes - gone.len() + splice.insert.len();
        // Memory for a moment only: at most the limit and one body above it.
        Ok(Splice { at: splice.at, delete: splice.insert.chars().count() as u32, insert: gone })
    }
}
