//! Documents that are kept in memory while texts are written together, at most so many; the one that was used last goes
//! last.
//!
//! What is given back is made again from the edits when it is asked for. Not here: reading those from the views.

use super::Document;
use std::fmt;
use tombolo_model::ConversationId;
use tombolo_model::content::Target;

/// See the head of this file.
pub struct OpenTexts {
    max: usize,
    /// The one that was used last stands last.
    open: Vec<((ConversationId, Target), Document)>,
}

impl fmt::Debug for OpenTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenTexts").field("open", &self.open.len()).field("max", &self.max).finish()
    }
}

impl OpenTexts {
    /// Keeps at most `max` documents, and at least one.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max: max.max(1), open: Vec::new() }
    }

    /// The document of a text, made by `make` if it is not open. Another one may have to go.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get<E>(
        &mut self,
        conversation: ConversationId,
        target: &Target,
        make: impl FnOnce() -> Result<Document, E>,
    ) -> Result<&mut Document, E> {
        let document = match self.position(conversation, target) {
            Some(at) => self.open.remove(at),
            None => ((conversation, target.clone()), make()?),
        };
        if self.open.len() == self.max {
            self.open.remove(0);
        }
        self.open.push(document);
        let last = self.open.len() - 1;
        Ok(&mut self.open[last].1)
    }

    /// The document of a text, if it is open: what comes is applied to it. It does not count as used.
    pub fn peek(&mut self, conversation: ConversationId, target: &Target) -> Option<&mut Document> {
        let at = self.position(conversation, target)?;
        self.open.get_mut(at).map(|(_, document)| document)
    }

    /// Gives the memory of a text back.
    pub fn close(&mut self, conversation: ConversationId, target: &Target) {
        if let Some(at) = self.position(conversation, target) {
            self.open.remove(at);
        }
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn position(&self, conversation: ConversationId, target: &Target) -> Option<usize> {
        self.open.iter().position(|((other, at), _)| *other == conversation && at == target)
    }
}
