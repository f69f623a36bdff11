//! Texts that several hands change: a conversation's topic and notes, and what this person is writing on any of its
//! devices. Not here: how versions become one text (`tombolo_store::text`), edits of messages (`talk.rs`).

use super::Node;
use super::talk::sorted;
use crate::Error;
use crate::api::TextRow;
use tombolo_model::content::{Content, Edit, Target};
use tombolo_model::limit::{NAME_BYTES_MAX, SHARED_TEXT_BYTES_MAX, TEXT_BYTES_MAX};
use tombolo_model::{AccountId, ConversationId, OpId};
use tombolo_replica::{Now, Rest};

impl Node {
    fn text(&self, conversation: &ConversationId, target: &Target) -> Result<(TextRow, Vec<OpId>), Error> {
        let shared = tombolo_store::shared_text(self.log(), conversation, target)?;
        let name = if let Target::Note(name) = target { name.clone() } else { String::new() };
        let changed_ms = shared.changed.map_or(0, |hlc| hlc.ms());
        Ok((TextRow { name, merged: shared.heads.len() > 1, text: shared.text, changed_ms }, shared.heads))
    }

    fn write_text(
        &mut self,
        conversation: ConversationId,
        target: Target,
        text: &str,
        now: Now,
    ) -> Result<TextRow, Error> {
        if text.len() > SHARED_TEXT_BYTES_MAX {
            let words = format!("this text may have {SHARED_TEXT_BYTES_MAX} bytes, it would have {}", text.len());
            return Err(Error::new("too-large", words, "shorten it, or send it as a file"));
        }
        let (shown, heads) = self.text(&conversation, &target)?;
        if shown.text != text {
            let splices = tombolo_store::text::splices(&shown.text, text);
            let inserted: usize = splices.iter().map(|splice| splice.insert.len()).sum();
            if inserted > TEXT_BYTES_MAX {
                let words = format!("{TEXT_BYTES_MAX} bytes may be added at once, these are {inserted}");
                return Err(Error::new("too-large", words, "add it in parts"));
            }
            let edit = Edit { target: target.clone(), bases: sorted(&heads), splices, whole: None };
            self.write_with(conversation, &[(Content::Edit(edit), Rest::default())], now)?;
        }
        Ok(self.text(&conversation, &target)?.0)
    }

    /// The topic of a conversation; empty when there is none.
    ///
    /// # Errors
    /// `unknown-conversation`, and those of the store.
    pub fn topic(&self, conversation: &ConversationId) -> Result<TextRow, Error> {
        self.known(conversation)?;
        Ok(self.text(conversation, &Target::Topic)?.0)
    }

    /// Changes the topic.
    ///
    /// # Errors
    /// `unknown-conversation`, `too-large`, and those of the store.
    pub fn write_topic(&mut self, conversation: ConversationId, text: &str, now: Now) -> Result<TextRow, Error> {
        self.known(&conversation)?;
        self.write_text(conversation, Target::Topic, text, now)
    }

    /// The notes of a conversation by name; empty ones are left out.
    ///
    /// # Errors
    /// `unknown-conversation`, and those of the store.
    pub fn notes(&self, conversation: &ConversationId) -> Result<Vec<TextRow>, Error> {
        self.known(conversation)?;
        let mut notes = Vec::new();
        for name in tombolo_store::note_names(self.log(), conversation)? {
            notes.push(self.text(conversation, &Target::Note(name))?.0);
        }
        notes.retain(|note| !note.text.is_empty());
        Ok(notes)
    }

    /// Changes a note; an empty text removes it.
    ///
    /// # Errors
    /// `name`, `unknown-conversation`, `too-large`, and those of the store.
    pub fn write_note(
        &mut self,
        conversation: ConversationId,
        name: &str,
        text: &str,
        now: Now,
    ) -> Result<TextRow, Error> {
        self.known(&conversation)?;
        let name = name.trim();
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let words = format!("a note has a name of 1 to {NAME_BYTES_MAX} bytes");
            return Err(Error::new("name", words, "such as `shopping`"));
        }
        self.write_text(conversation, Target::Note(name.to_owned()), text, now)
    }

    /// What this person is writing for a conversation, on whichever of its devices.
    ///
    /// # Errors
    /// Those of the store.
    pub fn draft(&self, conversation: &ConversationId) -> Result<TextRow, Error> {
        let target = Target::Draft(*conversation);
        let mut last = TextRow { name: String::new(), text: String::new(), merged: false, changed_ms: 0 };
        for own in self.own_conversations()? {
            let (row, _) = self.text(&own, &target)?;
            if row.changed_ms > last.changed_ms {
                last = row;
            }
        }
        Ok(last)
    }

    /// Changes what this person is writing for a conversation; empty once it was sent.
    ///
    /// # Errors
    /// `unknown-conversation`, `too-large`, and those of the store.
    pub fn write_draft(&mut self, conversation: ConversationId, text: &str, now: Now) -> Result<TextRow, Error> {
        self.known(&conversation)?;
        let own = self.own(now)?;
        self.write_text(own, Target::Draft(conversation), text, now)
    }

    /// Accounts of a conversation with the names that they have there, by name.
    ///
    /// # Errors
    /// `unknown-conversation`, and those of the store.
    pub fn people(&self, conversation: &ConversationId) -> Result<Vec<(AccountId, String)>, Error> {
        self.known(conversation)?;
        let names = tombolo_store::names(self.log(), conversation)?;
        let mut people: Vec<(AccountId, String)> = Vec::new();
        for person in names.people.values() {
            let Some(account) = person.account else { continue };
            if !people.iter().any(|(known, _)| *known == account) {
                let name = names.of_account(&account).map_or_else(|| account.short(), str::to_owned);
                people.push((account, name));
            }
        }
        people.sort_by(|(a, x), (b, y)| (x, a).cmp(&(y, b)));
        Ok(people)
    }
}
