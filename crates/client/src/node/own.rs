//! What an account's devices agree on: how conversations are kept, who is blocked, which messages this person does not
//! want to see any more; all of it in the conversation that the account has with itself ("note to self").
//!
//! Several devices may have begun such a conversation before they knew of each other: all of them count, and the one with
//! the smallest id is written to. Not here: registers and sets themselves (`tombolo_store`), linking devices.

use super::Node;
use super::talk::unknown_message;
use crate::Error;
use crate::api::Keeping;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::{MessageRef, Slot, TagSet, Value};
use tombolo_model::control::Kind;
use tombolo_model::limit::NAME_BYTES_MAX;
use tombolo_model::{AccountId, ConversationId, OpId};
use tombolo_replica::Now;

impl Node {
    /// The conversations that this account has with itself, the smallest id first.
    ///
    /// # Errors
    /// Those of the store.
    pub fn own_conversations(&self) -> Result<Vec<ConversationId>, Error> {
        let rows = self.log().conversations()?;
        let mut own: Vec<ConversationId> =
            rows.iter().filter(|row| row.kind == Some(Kind::Own)).map(|row| row.id).collect();
        own.retain(|id| tombolo_store::founder(self.log(), id).ok().flatten() == Some(self.account()));
        own.sort_unstable();
        Ok(own)
    }

    /// The conversation that this account has with itself; founds it when there is none.
    ///
    /// # Errors
    /// Those of the store.
    pub fn own(&mut self, now: Now) -> Result<ConversationId, Error> {
        match self.own_conversations()?.first() {
            Some(own) => Ok(*own),
            None => self.create("", Kind::Own, now),
        }
    }

    /// Gives a register that own devices share a value.
    ///
    /// # Errors
    /// Those of the store.
    pub fn set_own(&mut self, slot: &Slot, value: &Value, now: Now) -> Result<(), Error> {
        let own = self.own(now)?;
        for conversation in self.own_conversations()? {
            let known = !tombolo_store::register(self.log(), &conversation, slot)?.given.is_empty();
            if conversation == own || known {
                self.set(conversation, slot.clone(), value.clone(), now)?;
            }
        }
        Ok(())
    }

    /// What own devices agree on for a register.
    ///
    /// # Errors
    /// Those of the store.
    pub fn own_value(&self, slot: &Slot) -> Result<Value, Error> {
        let mut last = None;
        for conversation in self.own_conversations()? {
            let register = tombolo_store::register(self.log(), &conversation, slot)?;
            if let Some(given) = register.winner() {
                let given = (given.hlc, given.id, given.value.clone());
                last = last.max(Some(given));
            }
        }
        Ok(last.map_or(Value::None, |(_, _, value)| value))
    }

    /// How every conversation is kept that anything was said of, and who is blocked.
    ///
    /// # Errors
    /// Those of the store.
    pub fn keeping(&self) -> Result<(BTreeMap<ConversationId, Keeping>, BTreeSet<AccountId>), Error> {
        let mut last: BTreeMap<Slot, (tombolo_model::Hlc, OpId, Value)> = BTreeMap::new();
        for conversation in self.own_conversations()? {
            for (slot, register) in tombolo_store::registers(self.log(), &conversation)? {
                if let Some(given) = register.winner() {
                    let given = (given.hlc, given.id, given.value.clone());
                    let kept = last.entry(slot).or_insert_with(|| given.clone());
                    if given > *kept {
                        *kept = given;
                    }
                }
            }
        }
        let mut keeping: BTreeMap<ConversationId, Keeping> = BTreeMap::new();
        let mut blocked = BTreeSet::new();
        for (slot, (_, _, value)) in last {
            match (slot, value) {
                (Slot::Mute(id), Value::Number(until_ms)) => keeping.entry(id).or_default().mute_until_ms = until_ms,
                (Slot::Archive(id), Value::Flag(on)) => keeping.entry(id).or_default().archived = on,
                (Slot::Folder(id), Value::Text(folder)) => keeping.entry(id).or_default().folder = folder,
                (Slot::Favourite(id), Value::Flag(on)) => keeping.entry(id).or_default().favourite = on,
                (Slot::Block(account), Value::Flag(true)) => {
                    blocked.insert(account);
                }
                _ => {}
            }
        }
        Ok((keeping, blocked))
    }

    /// Makes a conversation mute until a time (**milliseconds** since 1970; `u64::MAX` = until it is ended, 0 = not).
    ///
    /// # Errors
    /// `unknown-conversation`, and those of the store.
    pub fn mute(&mut self, conversation: ConversationId, until_ms: u64, now: Now) -> Result<(), Error> {
        self.known(&conversation)?;
        let value = if until_ms == 0 { Value::None } else { Value::Number(until_ms) };
        self.set_own(&Slot::Mute(conversation), &value, now)
    }

    /// Puts a conversation into the archive or takes it out.
    ///
    /// # Errors
    /// `unknown-conversation`, and those of the store.
    pub fn archive(&mut self, conversation: ConversationId, on: bool, now: Now) -> Result<(), Error> {
        self.known(&conversation)?;
        self.set_own(&Slot::Archive(conversation), &Value::Flag(on), now)
    }

    /// Puts a conversation on top, or lets it stand where it belongs.
    ///
    /// # Errors
    /// `unknown-conversation`, and those of the store.
    pub fn favourite(&mut self, conversation: ConversationId, on: bool, now: Now) -> Result<(), Error> {
        self.known(&conversation)?;
        self.set_own(&Slot::Favourite(conversation), &Value::Flag(on), now)
    }

    /// Puts a conversation into a folder; an empty name takes it out.
    ///
    /// # Errors
    /// `unknown-conversation`, `too-large`, and those of the store.
    pub fn folder(&mut self, conversation: ConversationId, folder: &str, now: Now) -> Result<(), Error> {
        self.known(&conversation)?;
        let folder = folder.trim();
        if folder.len() > NAME_BYTES_MAX {
            let words = format!("the name of a folder may have {NAME_BYTES_MAX} bytes");
            return Err(Error::new("too-large", words, "shorten it"));
        }
        let value = if folder.is_empty() { Value::None } else { Value::Text(folder.to_owned()) };
        self.set_own(&Slot::Folder(conversation), &value, now)
    }

    /// Blocks an account on all own devices, or ends that: what it writes is kept, and neither shown nor counted.
    ///
    /// # Errors
    /// `own-account`, and those of the store.
    pub fn block(&mut self, account: AccountId, on: bool, now: Now) -> Result<(), Error> {
        if account == self.account() {
            return Err(Error::new("own-account", "nobody can block themselves", ""));
        }
        self.set_own(&Slot::Block(account), &Value::Flag(on), now)
    }

    /// Hides a message on all own devices ("delete for me"), or shows it again. Others are told nothing. Says whether that
    /// changes anything.
    ///
    /// # Errors
    /// `unknown-message`, and those of the store.
    pub fn hide(&mut self, conversation: ConversationId, id: &OpId, on: bool, now: Now) -> Result<bool, Error> {
        let set = TagSet::Hidden(conversation);
        if on {
            let found = self.at(&conversation, id)?.ok_or_else(unknown_message)?;
            let own = self.own(now)?;
            let message = MessageRef { hlc: found.hlc(), id: *id };
            let known = tombolo_store::tagged(self.log(), &own, &set)?;
            let tags = known.into_iter().find(|tagged| tagged.message == message).map(|tagged| tagged.tags);
            let tags = tags.unwrap_or_default();
            self.tag(own, set, message, &tags, true, now)?;
            return Ok(tags.is_empty());
        }
        let mut changed = false;
        for own in self.own_conversations()? {
            for tagged in tombolo_store::tagged(self.log(), &own, &set)? {
                if tagged.message.id == *id {
                    self.tag(own, set, tagged.message, &tagged.tags, false, now)?;
                    changed = true;
                }
            }
        }
        Ok(changed)
    }

    /// The messages of a conversation that this person does not want to see.
    ///
    /// # Errors
    /// Those of the store.
    pub fn hidden(&self, conversation: &ConversationId) -> Result<BTreeSet<OpId>, Error> {
        let mut hidden = BTreeSet::new();
        for own in self.own_conversations()? {
            let tagged = tombolo_store::tagged(self.log(), &own, &TagSet::Hidden(*conversation))?;
            hidden.extend(tagged.into_iter().map(|tagged| tagged.message.id));
        }
        Ok(hidden)
    }

    pub(super) fn known(&self, conversation: &ConversationId) -> Result<(), Error> {
        self.log().conversation(conversation)?.map(|_| ()).ok_or_else(|| self.no_conversation(conversation))
    }

    /// Renames a conversation for everybody.
    ///
    /// # Errors
    /// `unknown-conversation`, `too-large`, and those of the store.
    pub fn rename(&mut self, conversation: ConversationId, title: &str, now: Now) -> Result<(), Error> {
        if title.len() > NAME_BYTES_MAX {
            let words = format!("a title may have {NAME_BYTES_MAX} bytes, this one has {}", title.len());
            return Err(Error::new("too-large", words, "shorten it"));
        }
        self.set(conversation, Slot::Title, Value::Text(title.to_owned()), now)
    }

    /// Sets after how many **milliseconds** new messages of a conversation disappear everywhere; 0 = never.
    ///
    /// # Errors
    /// `unknown-conversation`, `too-large`, and those of the store.
    pub fn set_timer(&mut self, conversation: ConversationId, after_ms: u64, now: Now) -> Result<(), Error> {
        let value = if after_ms == 0 { Value::None } else { Value::Number(after_ms) };
        self.set(conversation, Slot::Timer, value, now)
    }
}
