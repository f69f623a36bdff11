//! What a node shows: pages of messages, titles, unread counts, exports; and relays that were met, by address.

use super::Node;
use super::reading::state_of;
use crate::Error;
use crate::api::{Beside, Cited, Message, MessageState, Reach, ReactionRow};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::{Content, Edit, MessageRef, Reaction, Slot, TagSet, Target};
use tombolo_model::control::Kind;
use tombolo_model::{AccountId, ConversationId, DeviceId, OpId};
use tombolo_oplog::LogError;
use tombolo_oplog::rusqlite::{OptionalExtension as _, params};
use tombolo_store::{Look, MessageKind, Names, Place, Section};

/// What the conversation with oneself is called until it is renamed.
const NOTE_TO_SELF: &str = "Note to self";
/// Letters of a message that is cited.
const EXCERPT_CHARS: usize = 80;
/// Messages read at once while exporting.
const EXPORT_PAGE: usize = 1000;

impl Node {
    /// A page of messages, oldest first: the newest ones before `before`, or before the end. What is returned counts as
    /// seen from then on when `seen` says so.
    ///
    /// # Errors
    /// `cursor` for a cursor that is none, `unknown-conversation`, and those of the store.
    pub fn messages(
        &mut self,
        conversation: &ConversationId,
        limit: usize,
        before: Option<&str>,
        seen: bool,
    ) -> Result<Vec<Message>, Error> {
        self.log().conversation(conversation)?.ok_or_else(|| self.no_conversation(conversation))?;
        let before = before.map(|cursor| self.cursor(conversation, cursor)).transpose()?;
        let mut before = before;
        let mut shown = Vec::new();
        // What is hidden is left out, and the page filled up with older ones.
        loop {
            let page = tombolo_store::page(self.log(), conversation, before.as_ref(), limit - shown.len())?;
            let (Some(first), Some(last)) = (page.first(), page.last()) else { break };
            let (first, last, found) = (first.place, last.place, page.len());
            if seen {
                let now_ms = self.replica.fold().now_ms();
                let batch = self.replica.log_mut().batch()?;
                if tombolo_store::mark_seen(batch.transaction()?, conversation, &first, &last, now_ms)? {
                    batch.commit()?;
                    self.reading_may_differ(*conversation, true);
                }
            }
            let asked = limit - shown.len();
            shown.splice(0..0, self.show(conversation, page)?);
            before = Some(first);
            if shown.len() >= limit || found < asked {
                break;
            }
        }
        Ok(shown)
    }

    /// A message with up to `count` before and behind it: where one jumps to. Nothing of it counts as seen.
    ///
    /// # Errors
    /// `unknown-message`, and those of the store.
    pub fn around(&mut self, conversation: &ConversationId, id: &OpId, count: usize) -> Result<Vec<Message>, Error> {
        let middle = self.message(conversation, id)?;
        let mut found = match count {
            0 => Vec::new(),
            count => self.messages(conversation, count, Some(&middle.cursor), false)?,
        };
        let after = self.messages_after(conversation, count, Some(&middle.cursor))?;
        found.push(middle);
        found.extend(after);
        Ok(found)
    }

    /// The oldest messages after a cursor, or from the beginning.
    ///
    /// # Errors
    /// As [`Node::messages`].
    pub fn messages_after(
        &self,
        conversation: &ConversationId,
        limit: usize,
        after: Option<&str>,
    ) -> Result<Vec<Message>, Error> {
        let after = after.map(|cursor| self.cursor(conversation, cursor)).transpose()?;
        self.show(conversation, tombolo_store::page_after(self.log(), conversation, after.as_ref(), limit)?)
    }

    /// The messages among ops, in the order of the ids: those that are shown and can be read.
    ///
    /// # Errors
    /// Those of the store.
    pub fn messages_of(&self, conversation: &ConversationId, ids: &[OpId]) -> Result<Vec<Message>, Error> {
        let _held = self.log().hold();
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            match self.at(conversation, id) {
                Ok(message) => found.extend(message),
                // One that cannot be read is left out: `tombolo doctor` names it.
                Err(LogError::Damaged(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.show(conversation, found)
    }

    /// The messages that look different because of ops: edited, deleted, restored, pinned or reacted to.
    ///
    /// # Errors
    /// Those of the store.
    pub fn changed_by(&self, conversation: &ConversationId, ids: &[OpId]) -> Result<Vec<Message>, Error> {
        let mut touched = BTreeSet::new();
        for id in ids {
            let Some(op) = self.log().op(conversation, id)? else { continue };
            match self.replica.fold().open(&op) {
                Some(Content::Edit(Edit { target: Target::Message(at), .. })) => touched.extend([at.id]),
                Some(Content::Delete(delete)) => touched.extend([delete.message.id]),
                Some(Content::Restore(restore)) => touched.extend([restore.message.id]),
                Some(Content::Tag(tag)) if tag.set == TagSet::Pins => touched.extend([tag.message.id]),
                Some(Content::Reaction(reaction)) => {
                    let named = self.log().by_prefix(conversation, &[first_eight(&reaction.message)])?;
                    let named = named.into_iter().map(|op| op.id);
                    touched.extend(named.filter(|id| Reaction::names(id) == reaction.message));
                }
                _ => {}
            }
        }
        self.messages_of(conversation, &touched.into_iter().collect::<Vec<_>>())
    }

    pub(super) fn at(
        &self,
        conversation: &ConversationId,
        id: &OpId,
    ) -> Result<Option<tombolo_store::Message>, LogError> {
        let Some(place) = self.replica.fold().place_of(self.log(), conversation, id)? else { return Ok(None) };
        let found = tombolo_store::page_after(self.log(), conversation, Some(&place.just_before()), 1)?;
        Ok(found.into_iter().find(|message| message.id() == *id))
    }

    /// A message by its name in another op. An imported one stands where only its body says.
    pub(super) fn named(&self, look: &Look<'_>, at: &MessageRef) -> Result<Option<tombolo_store::Message>, LogError> {
        match look.message(at)? {
            Some(found) => Ok(Some(found)),
            None => Ok(self.at(&look.conversation(), &at.id)?.filter(|found| found.reference() == *at)),
        }
    }

    pub(super) fn cursor(&self, conversation: &ConversationId, text: &str) -> Result<Place, Error> {
        if let Ok(place) = text.parse::<Place>() {
            return Ok(place);
        }
        if let Ok(id) = text.parse::<OpId>()
            && let Some(place) = self.replica.fold().place_of(self.log(), conversation, &id)?
        {
            return Ok(place);
        }
        let hint = "take the `cursor` (or the `id`) of a message that `tombolo messages` printed";
        Err(Error::new("cursor", "this is not a cursor of this conversation", hint))
    }

    pub(super) fn show(
        &self,
        conversation: &ConversationId,
        mut page: Vec<tombolo_store::Message>,
    ) -> Result<Vec<Message>, Error> {
        let Some(look) = Look::at(self.log(), conversation)? else { return Ok(Vec::new()) };
        look.complete(&mut page)?;
        let names = look.names();
        let (_, blocked) = self.keeping()?;
        let holders = self.holders(conversation)?;
        let hidden = self.hidden(conversation)?;
        // Where no timer was ever set, nobody has to look.
        let timed = !tombolo_store::register(self.log(), conversation, &Slot::Timer)?.given.is_empty();
        let mut said: BTreeMap<String, Option<AccountId>> = BTreeMap::new();
        let mut shown = Vec::with_capacity(page.len());
        for message in page {
            let mut is = None;
            if let Some(who) = &message.who {
                if !said.contains_key(who) {
                    said.insert(who.clone(), self.imported_as(conversation, who)?);
                }
                is = said.get(who).copied().flatten();
            }
            if message.is_withdrawn() || hidden.contains(&message.id()) {
                continue;
            }
            let expires_ms = if timed { self.expires_ms(conversation, &message)? } else { 0 };
            let mut beside = self.beside(&look, &message, expires_ms)?;
            beside.blocked = names.account(&message.author).is_some_and(|account| blocked.contains(&account));
            let own = match &message.who {
                Some(_) => is == Some(self.account()),
                None => names.account(&message.author) == Some(self.account()) || message.author == self.device(),
            };
            let held = holders.iter().filter(|acked| **acked >= message.arrival).count() as u64;
            let written = message.author == self.device() && message.place.section == Section::Native;
            let reach = if written { self.reach(conversation, message.arrival)? } else { Reach::default() };
            let state = match (message.kind, message.place.section) {
                (MessageKind::Sealed, _) => MessageState::Sealed,
                (_, Section::Imported) => MessageState::Imported,
                (_, Section::Native) if message.author != self.device() => MessageState::Received,
                (_, Section::Native) => state_of(held, reach),
            };
            let merged = message.facets.as_ref().and_then(|facets| facets.text.clone());
            let text = match message.kind {
                _ if beside.blocked || beside.deleted.is_some() => String::new(),
                MessageKind::Text => merged.unwrap_or_else(|| message.text.clone()),
                MessageKind::Sealed => "(sealed: its words, or the key for them, are not here yet)".to_owned(),
                MessageKind::Newer => "(written by a newer version of this program)".to_owned(),
                MessageKind::Deleted => merged.unwrap_or_default(),
            };
            shown.push(Message {
                id: message.id(),
                author: message.author,
                name: match (&message.who, is.and_then(|account| names.of_account(&account))) {
                    (Some(_), Some(member)) => member.to_owned(),
                    (Some(who), None) => who.clone(),
                    (None, _) => name_of(names, &message.author),
                },
                text,
                hlc: message.hlc().0,
                time_ms: message.time_ms(),
                state,
                reach,
                late: message.late.is_some(),
                came_ms: message.late.map_or(0, |late| late.came_ms),
                own,
                cursor: message.place.to_string(),
                beside,
            });
        }
        Ok(shown)
    }

    /// When a message disappears, **milliseconds** since 1970; 0 = never.
    fn expires_ms(&self, conversation: &ConversationId, message: &tombolo_store::Message) -> Result<u64, Error> {
        Ok(self.log().op(conversation, &message.id())?.map_or(0, |op| op.header.expires_ms))
    }

    /// What stands beside a message, with names.
    fn beside(&self, look: &Look<'_>, message: &tombolo_store::Message, expires_ms: u64) -> Result<Beside, Error> {
        let Some(facets) = &message.facets else { return Ok(Beside::default()) };
        let named =
            |account: &AccountId| look.names().of_account(account).map_or_else(|| account.short(), str::to_owned);
        let reactions = facets.reactions.iter().map(|reacted| ReactionRow {
            emoji: reacted.emoji.clone(),
            names: reacted.accounts.iter().map(named).collect(),
            own: reacted.accounts.contains(&self.account()),
        });
        let cite = |at: &MessageRef| -> Result<Cited, Error> {
            let Some(cited) = self.named(look, at)? else {
                return Ok(Cited { at: *at, name: String::new(), excerpt: String::new() });
            };
            let facets = look.facets(&cited)?;
            let text = if facets.deleted.is_some() { String::new() } else { facets.text.unwrap_or_default() };
            let line = text.lines().next().unwrap_or_default();
            let excerpt = line.chars().take(EXCERPT_CHARS).collect();
            let name = cited.who.clone().unwrap_or_else(|| name_of(look.names(), &cited.author));
            Ok(Cited { at: *at, name, excerpt })
        };
        let deleted = facets.deleted.is_some();
        Ok(Beside {
            answers: facets.message.answers.map(|at| cite(&at)).transpose()?,
            quotes: facets.message.quotes().iter().map(cite).collect::<Result<_, _>>()?,
            mentions: facets.message.mentions().to_vec(),
            mentions_me: facets.message.mentions().contains(&self.account()),
            files: facets.message.files().to_vec(),
            edits: facets.edits as u64,
            edited_ms: facets.edited.map_or(0, |hlc| hlc.ms()),
            merged: facets.current.len() > 1,
            deleted: facets.deleted.map(|deleted| name_of(look.names(), &deleted.device)),
            conflict: facets.conflict,
            reactions: if deleted { Vec::new() } else { reactions.collect() },
            replies: look.answers(&message.id())?,
            pinned: !deleted && !look.pinned(&message.reference()).is_empty(),
            blocked: false,
            expires_ms,
        })
    }

    /// How far each replica that keeps this conversation has acknowledged our order of arrival. A position alone says
    /// nothing: it covers only what that replica may see, so only those count that were proven equal here before, and
    /// have lost nothing since.
    pub(super) fn holders(&self, conversation: &ConversationId) -> Result<Vec<u64>, Error> {
        let mut holders = Vec::new();
        for proven in self.log().proven(conversation)? {
            let acked = self.log().peer(&proven.peer)?.map_or(0, |peer| peer.acked);
            if acked >= proven.position {
                holders.push(acked);
            }
        }
        Ok(holders)
    }

    pub(crate) fn title(&self, conversation: &ConversationId, kind: Option<Kind>) -> Result<String, Error> {
        if let Some(title) = tombolo_store::title(self.log(), conversation)? {
            return Ok(title);
        }
        if kind == Some(Kind::Own) {
            return Ok(NOTE_TO_SELF.to_owned());
        }
        if kind == Some(Kind::Direct) {
            let names = tombolo_store::names(self.log(), conversation)?;
            let other = names.people.values().find(|person| person.account != Some(self.account()));
            return Ok(other.and_then(|person| person.name.clone()).unwrap_or_default());
        }
        Ok(String::new())
    }

    pub(super) fn unread(&self, conversation: &ConversationId) -> Result<u64, Error> {
        Ok(tombolo_store::unread_of(self.log(), conversation, &self.replica.fold().me())?)
    }

    /// Which of these imported lines are here already.
    pub(super) fn known_imports(
        &self,
        conversation: &ConversationId,
        keys: &[[u8; 16]],
    ) -> Result<BTreeSet<[u8; 16]>, Error> {
        let mut statement = self.log().connection()?.prepare_cached(
            "SELECT 1 FROM message WHERE source_key = ?2 \
             AND conversation = (SELECT n FROM conversation WHERE id = ?1)",
        )?;
        let mut known = BTreeSet::new();
        for key in keys {
            if statement.exists(params![conversation.as_bytes(), key])? {
                known.insert(*key);
            }
        }
        Ok(known)
    }

    /// Whether this account has written a join with an invitation.
    pub(super) fn has_asked(&self, conversation: &ConversationId, invite: &[u8; 32]) -> Result<bool, Error> {
        let mut statement = self.log().connection()?.prepare_cached(
            "SELECT 1 FROM invite_use WHERE key = ?2 AND account = ?3 \
             AND conversation = (SELECT n FROM conversation WHERE id = ?1)",
        )?;
        Ok(statement.exists(params![conversation.as_bytes(), invite, self.account().as_bytes()])?)
    }

    /// Every message of a conversation that can be read, in display order.
    ///
    /// # Errors
    /// `unknown-conversation` and those of the store.
    pub fn export(
        &self,
        conversation: &ConversationId,
        mut each: impl FnMut(Message) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        self.log().conversation(conversation)?.ok_or_else(|| self.no_conversation(conversation))?;
        let mut after: Option<Place> = None;
        let mut count = 0;
        loop {
            let page = tombolo_store::page_after(self.log(), conversation, after.as_ref(), EXPORT_PAGE)?;
            let Some(last) = page.last() else { return Ok(count) };
            after = Some(last.place);
            for message in self.show(conversation, page)? {
                if message.state != MessageState::Sealed {
                    count += 1;
                    each(message)?;
                }
            }
        }
    }

    /// The key that answered at an address.
    ///
    /// # Errors
    /// Those of the store.
    pub fn met_relay(&self, url: &str) -> Result<Option<DeviceId>, Error> {
        let sql = "SELECT key FROM met_relay WHERE url = ?1";
        let key: Option<[u8; 32]> = self.log().connection()?.query_row(sql, [url], |row| row.get(0)).optional()?;
        Ok(key.map(DeviceId))
    }

    /// Remembers which key answered at an address; the first one counts from then on. `moved_at_ms` is when the relay
    /// itself said, signed, that it is there (**milliseconds** since 1970); 0 = it was only met there.
    ///
    /// # Errors
    /// Those of the store.
    pub fn remember_relay(&mut self, url: &str, key: &DeviceId, moved_at_ms: u64) -> Result<(), Error> {
        let at_ms = i64::try_from(moved_at_ms).unwrap_or(i64::MAX);
        let sql = "SELECT 1 FROM met_relay WHERE url = ?1 AND key = ?2 AND moved_at_ms >= ?3";
        if self.log().connection()?.prepare_cached(sql)?.exists(params![url, key.as_bytes(), at_ms])? {
            return Ok(());
        }
        let batch = self.replica.log_mut().batch()?;
        batch.transaction()?.execute(
            "INSERT INTO met_relay (url, key, moved_at_ms) VALUES (?1, ?2, ?3) \
             ON CONFLICT (url) DO UPDATE SET key = excluded.key, moved_at_ms = excluded.moved_at_ms",
            params![url, key.as_bytes(), at_ms],
        )?;
        batch.commit()?;
        Ok(())
    }

    /// Where a relay was last said, by itself, to be.
    ///
    /// # Errors
    /// Those of the store.
    pub fn address_of(&self, key: &DeviceId) -> Result<Option<String>, Error> {
        let sql = "SELECT url FROM met_relay WHERE key = ?1 ORDER BY moved_at_ms DESC, url LIMIT 1";
        Ok(self.log().connection()?.query_row(sql, [key.as_bytes()], |row| row.get(0)).optional()?)
    }

    /// Forgets which key answered at an address, so that another one is accepted.
    ///
    /// # Errors
    /// Those of the store.
    pub fn forget_relay(&mut self, url: &str) -> Result<(), Error> {
        let batch = self.replica.log_mut().batch()?;
        batch.transaction()?.execute("DELETE FROM met_relay WHERE url = ?1", [url])?;
        batch.commit()?;
        Ok(())
    }

    /// Relays that this device talks to: its own and those that its conversations name, by newest known address, each with
    /// its key where that is known.
    ///
    /// # Errors
    /// Those of the store.
    pub fn relays(&self) -> Result<Vec<(String, Option<DeviceId>)>, Error> {
        let mut found: Vec<(String, Option<DeviceId>)> = Vec::new();
        let mut named = self.identity.relays.clone();
        for conversation in self.log().conversations()? {
            named.extend(self.log().relays(&conversation.id)?);
        }
        for relay in named {
            let met = self.met_relay(&relay.url)?;
            let key = if relay.key == [0; 32] { met } else { Some(DeviceId(relay.key)) };
            let moved = key.map(|key| self.address_of(&key)).transpose()?.flatten();
            let url = moved.unwrap_or(relay.url);
            match found.iter_mut().find(|(known, _)| *known == url) {
                Some((_, known)) => *known = known.or(key),
                None => found.push((url, key)),
            }
        }
        Ok(found)
    }
}

/// The beginning of an id as the log looks it up by.
fn first_eight(bytes: &[u8; 16]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(first)
}

pub(super) fn name_of(names: &Names, device: &DeviceId) -> String {
    names.name(device).map_or_else(|| device.short(), str::to_owned)
}
