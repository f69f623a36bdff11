//! What people do with messages: answer, edit, delete, undo, react, pin; and what they look up about them.
//!
//! Everything is an op of the conversation, works offline and is durable when it returns. Rights are checked here to
//! tell the person at once; whoever gets the op judges again (`tombolo_store::Look`).
//! Not here: what an account's devices agree on (`own.rs`), shared texts (`texts.rs`), files.

use super::Node;
use super::show::name_of;
use crate::Error;
use crate::api::{ConflictRow, Message, Post, Sent, VersionRow};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::{
    Content, Delete, Edit, Message as Body, MessageRef, Reaction, Restore, Set, Slot, Tag, TagSet, Target, Value,
};
use tombolo_model::limit::{
    BASES_MAX, EMOJI_BYTES_MAX, ERASES_MAX, FILES_MAX, MENTIONS_MAX, QUOTES_MAX, TEXT_BYTES_MAX,
};
use tombolo_model::{ConversationId, OpId};
use tombolo_oplog::rusqlite::params;
use tombolo_replica::{Now, Rest};
use tombolo_store::{Look, MessageKind, Section};

/// **Milliseconds** for which a deletion can be taken back on the device that made it.
pub const UNDO_MS: u64 = 30_000;
/// Messages of a thread that are shown.
const THREAD_MAX: usize = 10_000;
/// **Bytes** of text and splices that still fit one body together.
const BOTH_BYTES_MAX: usize = 48 * 1024;

impl Node {
    /// Writes a message with everything that it may carry.
    ///
    /// # Errors
    /// `empty`, `too-large`, `unknown-message` for what it answers or quotes, `unknown-conversation`, and those of the
    /// store.
    pub fn post(&mut self, conversation: ConversationId, post: &Post, now: Now) -> Result<Sent, Error> {
        if post.text.is_empty() && post.files.is_empty() {
            return Err(Error::new("empty", "an empty message is not sent", ""));
        }
        check_text(&post.text)?;
        let too_many =
            |what: &str, max: usize| Err(Error::new("too-large", format!("a message may have {max} {what}"), ""));
        if post.quotes.len() > QUOTES_MAX {
            return too_many("quotes", QUOTES_MAX);
        }
        if post.mentions.len() > MENTIONS_MAX {
            return too_many("mentions", MENTIONS_MAX);
        }
        if post.files.len() > FILES_MAX {
            return too_many("files", FILES_MAX);
        }
        let answers = post.answers.map(|id| self.reference(&conversation, &id)).transpose()?;
        let quotes = post.quotes.iter().map(|id| self.reference(&conversation, id)).collect::<Result<Vec<_>, _>>()?;
        let some = |empty: bool| (!empty).then_some(());
        let body = Body {
            text: post.text.clone(),
            answers,
            quotes: some(quotes.is_empty()).map(|()| quotes),
            mentions: some(post.mentions.is_empty()).map(|()| post.mentions.clone()),
            files: some(post.files.is_empty()).map(|()| post.files.clone()),
        };
        let content = if body.is_plain() { Content::Text(body.text) } else { Content::Message(Box::new(body)) };
        // Relays count by the header what is still referred to.
        let extension = crate::files::named(&post.files)?;
        let rest = Rest { extension, ..self.rest_of(&conversation, now)? };
        let written = self.write_with(conversation, &[(content, rest)], now)?;
        let Some(op) = written.first() else { return Err(Error::stopped()) };
        Ok(self.sent(op, now))
    }

    /// What the header of a new message says besides: when it disappears.
    pub(super) fn rest_of(&self, conversation: &ConversationId, now: Now) -> Result<Rest, Error> {
        let expires_ms = match self.timer_ms(conversation)? {
            0 => 0,
            after_ms => now.wall_ms.saturating_add(after_ms),
        };
        Ok(Rest { expires_ms, ..Rest::default() })
    }

    /// After how many **milliseconds** messages of a conversation disappear; 0 = never.
    ///
    /// # Errors
    /// Those of the store.
    pub fn timer_ms(&self, conversation: &ConversationId) -> Result<u64, Error> {
        Ok(match tombolo_store::register(self.log(), conversation, &Slot::Timer)?.value() {
            Value::Number(after_ms) => after_ms,
            _ => 0,
        })
    }

    /// A message by its op, with what stands beside it.
    ///
    /// # Errors
    /// `unknown-message`, `unknown-conversation`, and those of the store.
    pub fn message(&self, conversation: &ConversationId, id: &OpId) -> Result<Message, Error> {
        let (_, found) = self.look_at(conversation, id)?;
        self.show(conversation, vec![found])?.pop().ok_or_else(unknown_message)
    }

    fn look_at(&self, conversation: &ConversationId, id: &OpId) -> Result<(Look<'_>, tombolo_store::Message), Error> {
        let look = Look::at(self.log(), conversation)?.ok_or_else(|| self.no_conversation(conversation))?;
        let mut found = self.at(conversation, id)?.ok_or_else(unknown_message)?;
        look.complete(std::slice::from_mut(&mut found))?;
        Ok((look, found))
    }

    fn reference(&self, conversation: &ConversationId, id: &OpId) -> Result<MessageRef, Error> {
        let found = self.at(conversation, id)?.ok_or_else(unknown_message)?;
        Ok(MessageRef { hlc: found.hlc(), id: *id })
    }

    /// A message written here, not imported, that this account may change.
    fn own_message(
        &self,
        conversation: &ConversationId,
        id: &OpId,
    ) -> Result<(Look<'_>, tombolo_store::Message), Error> {
        let (look, found) = self.look_at(conversation, id)?;
        native(&found)?;
        if !self.is_own(&look, &found) {
            return Err(not_yours("only its author may change a message"));
        }
        Ok((look, found))
    }

    fn is_own(&self, look: &Look<'_>, message: &tombolo_store::Message) -> bool {
        message.author == self.device() || look.names().account(&message.author) == Some(self.account())
    }

    /// Adds a version of a message's text, which replaces all that are current here. Also one that is still queued: whoever
    /// wants that its first text never leaves this device withdraws it ([`Node::cancel`]) and writes another.
    ///
    /// # Errors
    /// `unknown-message`, `not-yours`, `deleted`, `empty`, `too-large`, and those of the store.
    pub fn edit(&mut self, conversation: ConversationId, id: &OpId, text: &str, now: Now) -> Result<(), Error> {
        check_text(text)?;
        let (_, found) = self.own_message(&conversation, id)?;
        let facets = found.facets.clone().unwrap_or_default();
        if facets.deleted.is_some() {
            return Err(Error::new(
                "deleted",
                "this message was deleted",
                "take the deletion back first: `tombolo undo`",
            ));
        }
        if text.is_empty() && facets.message.files().is_empty() {
            return Err(Error::new("empty", "a message cannot be edited to nothing", "`tombolo delete` deletes it"));
        }
        let shown = facets.text.clone().unwrap_or_default();
        if shown == text && facets.current.len() <= 1 {
            return Ok(());
        }
        let splices = tombolo_store::text::splices(&shown, text);
        let inserted: usize = splices.iter().map(|splice| splice.insert.len()).sum();
        let edit = Edit {
            target: Target::Message(MessageRef { hlc: found.hlc(), id: *id }),
            bases: sorted(&facets.bases),
            splices,
            whole: (text.len() + inserted <= BOTH_BYTES_MAX).then(|| text.to_owned()),
        };
        let rest = self.rest_about(&conversation, id)?;
        self.write_with(conversation, &[(Content::Edit(edit), rest)], now)?;
        Ok(())
    }

    /// Ops about a message disappear with it.
    fn rest_about(&self, conversation: &ConversationId, id: &OpId) -> Result<Rest, Error> {
        let op = self.log().op(conversation, id)?.ok_or_else(unknown_message)?;
        Ok(Rest { expires_ms: op.header.expires_ms, ..Rest::default() })
    }

    fn extension_of(&self, conversation: &ConversationId, id: &OpId) -> Result<Vec<u8>, Error> {
        Ok(self.log().op(conversation, id)?.ok_or_else(unknown_message)?.header.extension)
    }

    fn deletion(
        &self,
        conversation: &ConversationId,
        message: &tombolo_store::Message,
        withdrawn: bool,
    ) -> Result<(Content, Rest), Error> {
        let look = Look::at(self.log(), conversation)?.ok_or_else(|| self.no_conversation(conversation))?;
        let at = MessageRef { hlc: message.hlc(), id: message.id() };
        let delete = Delete { message: at, withdrawn: withdrawn.then_some(true) };
        let rest = Rest { erases: look.bodies(message)?, ..Rest::default() };
        Ok((Content::Delete(delete), rest))
    }

    /// Deletes a message for everyone: its author may, and whoever founded the conversation. The text is erased when this
    /// returns; for [`UNDO_MS`] it can be taken back here.
    ///
    /// # Errors
    /// `unknown-message`, `not-yours`, and those of the store.
    pub fn delete(&mut self, conversation: ConversationId, id: &OpId, now: Now) -> Result<(), Error> {
        self.remove(conversation, id, false, now)
    }

    pub(super) fn remove(
        &mut self,
        conversation: ConversationId,
        id: &OpId,
        withdraw: bool,
        now: Now,
    ) -> Result<(), Error> {
        let (look, found) = self.look_at(&conversation, id)?;
        native(&found)?;
        let own = self.is_own(&look, &found);
        if !own && look.founder() != Some(self.account()) {
            return Err(not_yours("only its author and whoever founded the conversation may delete a message"));
        }
        let facets = found.facets.clone().unwrap_or_default();
        if facets.deleted.is_some() && !facets.conflict {
            return Ok(());
        }
        let (content, rest) = self.deletion(&conversation, &found, withdraw)?;
        if own && let Some(text) = facets.text.clone() {
            let body = Body { text, ..facets.message.clone() };
            self.keep_undo(&conversation, id, body, now)?;
        }
        let mut drafts = Vec::new();
        for some in rest.erases.chunks(ERASES_MAX) {
            drafts.push((content.clone(), Rest { erases: some.to_vec(), ..Rest::default() }));
        }
        self.write_with(conversation, &drafts, now)?;
        Ok(())
    }

    /// Takes own deletions of a message back: on this device for [`UNDO_MS`]; or, where a message was edited and deleted at
    /// once, keeps the edit. What somebody else deleted stays deleted.
    ///
    /// # Errors
    /// `unknown-message`, `not-yours`, `not-deleted`, `too-late`, and those of the store.
    pub fn undo(&mut self, conversation: ConversationId, id: &OpId, now: Now) -> Result<(), Error> {
        let (look, found) = self.look_at(&conversation, id)?;
        native(&found)?;
        let facets = found.facets.clone().unwrap_or_default();
        if facets.deletions.is_empty() {
            return Err(Error::new("not-deleted", "this message is not deleted", ""));
        }
        let ours = |deleted: &&tombolo_store::Deleted| look.names().account(&deleted.device) == Some(self.account());
        let mut tags: Vec<OpId> = facets.deletions.iter().filter(ours).map(|deleted| deleted.id).collect();
        if tags.is_empty() {
            return Err(not_yours("somebody else deleted this message, and only they can take that back"));
        }
        let content = match self.kept_undo(&conversation, id, now)? {
            Some(body) => body,
            // Of another's message only the deletion is taken back: what it says is for its author to say.
            None if facets.conflict && !self.is_own(&look, &found) => Body::default(),
            None if facets.conflict => Body { text: facets.text.clone().unwrap_or_default(), ..Body::default() },
            None => {
                let words =
                    format!("a deletion can be taken back for {} seconds, on the device that made it", UNDO_MS / 1000);
                return Err(Error::new("too-late", words, "the text is gone; write the message again"));
            }
        };
        let rest = Rest { extension: self.extension_of(&conversation, id)?, ..self.rest_about(&conversation, id)? };
        tags.sort_unstable();
        let mut drafts = Vec::new();
        for some in tags.chunks(BASES_MAX) {
            let restore = Restore { message: found.reference(), tags: some.to_vec(), content: content.clone() };
            drafts.push((Content::Restore(Box::new(restore)), rest.clone()));
        }
        self.write_with(conversation, &drafts, now)?;
        self.forget_undo(Some((&conversation, id)), now)
    }

    /// Shows or takes back a reaction of this account.
    ///
    /// # Errors
    /// `unknown-message`, `reaction` for what is none, and those of the store.
    pub fn react(
        &mut self,
        conversation: ConversationId,
        id: &OpId,
        emoji: &str,
        on: bool,
        now: Now,
    ) -> Result<(), Error> {
        let unfit = emoji.chars().any(|letter| letter.is_control() || letter.is_whitespace());
        if emoji.is_empty() || emoji.len() > EMOJI_BYTES_MAX || unfit {
            let words = format!("a reaction is one sign of at most {EMOJI_BYTES_MAX} bytes");
            return Err(Error::new("reaction", words, "such as a thumb"));
        }
        let (look, found) = self.look_at(&conversation, id)?;
        let sum = look.reaction(&found, emoji, &self.account())?;
        let mut missing = if on { (1 - sum).max(0) } else { (-sum).min(0) };
        let mut drafts = Vec::new();
        while missing != 0 {
            let by = missing.clamp(-100, 100) as i8;
            missing -= i64::from(by);
            let reaction = Reaction { message: Reaction::names(id), by, emoji: emoji.to_owned() };
            drafts.push((Content::Reaction(reaction), self.rest_about(&conversation, id)?));
        }
        if !drafts.is_empty() {
            self.write_with(conversation, &drafts, now)?;
        }
        Ok(())
    }

    /// Pins a message, or takes the pin away.
    ///
    /// # Errors
    /// `unknown-message`, and those of the store.
    pub fn pin(&mut self, conversation: ConversationId, id: &OpId, on: bool, now: Now) -> Result<(), Error> {
        let (look, found) = self.look_at(&conversation, id)?;
        let message = found.reference();
        let tags = look.pinned(&message).to_vec();
        self.tag(conversation, TagSet::Pins, message, &tags, on, now)
    }

    /// Puts a message into a set or takes it out; `tags` are those that hold it there.
    pub(super) fn tag(
        &mut self,
        conversation: ConversationId,
        set: TagSet,
        message: MessageRef,
        tags: &[OpId],
        on: bool,
        now: Now,
    ) -> Result<(), Error> {
        if on != tags.is_empty() {
            return Ok(());
        }
        let removals = tags.chunks(BASES_MAX).map(|some| Some(some.to_vec()));
        let tags: Vec<Option<Vec<OpId>>> = if on { vec![None] } else { removals.collect() };
        let drafts: Vec<(Content, Rest)> =
            tags.into_iter().map(|removes| (Content::Tag(Tag { set, message, removes }), Rest::default())).collect();
        self.write_with(conversation, &drafts, now)?;
        Ok(())
    }

    /// Pinned messages, those first that were pinned first. One that is not here yet is left out.
    ///
    /// # Errors
    /// `unknown-conversation`, and those of the store.
    pub fn pins(&self, conversation: &ConversationId) -> Result<Vec<Message>, Error> {
        let look = Look::at(self.log(), conversation)?.ok_or_else(|| self.no_conversation(conversation))?;
        let mut found = Vec::new();
        for pin in tombolo_store::tagged(self.log(), conversation, &TagSet::Pins)? {
            found.extend(self.named(&look, &pin.message)?);
        }
        self.show(conversation, found)
    }

    /// The thread below a message: itself, its answers and theirs, in display order.
    ///
    /// # Errors
    /// `unknown-message`, and those of the store.
    pub fn thread(&self, conversation: &ConversationId, id: &OpId) -> Result<Vec<Message>, Error> {
        let (look, found) = self.look_at(conversation, id)?;
        let mut messages = vec![found];
        messages.extend(look.thread(id, THREAD_MAX)?);
        self.show(conversation, messages)
    }

    /// Messages that call upon this account, oldest first.
    ///
    /// # Errors
    /// `unknown-conversation`, and those of the store.
    pub fn mentions(&self, conversation: &ConversationId) -> Result<Vec<Message>, Error> {
        let look = Look::at(self.log(), conversation)?.ok_or_else(|| self.no_conversation(conversation))?;
        let mut found = Vec::new();
        for at in look.mentions(&self.account())? {
            found.extend(look.message(&at)?);
        }
        let mut shown = self.show(conversation, found)?;
        shown.retain(|message| message.beside.mentions_me);
        Ok(shown)
    }

    /// The versions of a message's text, oldest first.
    ///
    /// # Errors
    /// `unknown-message`, and those of the store.
    pub fn history(&self, conversation: &ConversationId, id: &OpId) -> Result<Vec<VersionRow>, Error> {
        let (look, found) = self.look_at(conversation, id)?;
        let row = |version: tombolo_store::Version| VersionRow {
            id: version.id,
            name: name_of(look.names(), &version.device),
            time_ms: version.hlc.ms(),
            text: version.text,
            bases: version.bases,
            current: version.current,
        };
        Ok(look.versions(&found)?.into_iter().map(row).collect())
    }

    /// Gives a register of a conversation a value that replaces all that are current here.
    ///
    /// # Errors
    /// `unknown-conversation`, and those of the store.
    pub fn set(&mut self, conversation: ConversationId, slot: Slot, value: Value, now: Now) -> Result<(), Error> {
        let register = tombolo_store::register(self.log(), &conversation, &slot)?;
        if register.current().len() <= 1 && register.value() == value {
            return Ok(());
        }
        let bases: Vec<OpId> = register.current().iter().map(|given| given.id).collect();
        let set = Set { slot, bases: sorted(&bases), value };
        self.write_with(conversation, &[(Content::Set(set), Rest::default())], now)?;
        Ok(())
    }

    /// What people said of one thing without knowing of each other: recorded, also once it is decided.
    ///
    /// # Errors
    /// `unknown-conversation`, and those of the store.
    pub fn conflicts(&self, conversation: &ConversationId) -> Result<Vec<ConflictRow>, Error> {
        let look = Look::at(self.log(), conversation)?.ok_or_else(|| self.no_conversation(conversation))?;
        let name = |device: &_| name_of(look.names(), device);
        let mut rows = Vec::new();
        let row = |about: &str| ConflictRow {
            conversation: *conversation,
            about: about.to_owned(),
            message: None,
            winner: String::new(),
            winner_name: String::new(),
            loser: String::new(),
            loser_name: String::new(),
            open: false,
        };
        for (slot, register) in tombolo_store::registers(self.log(), conversation)? {
            let Some(winner) = register.winner() else { continue };
            let current: BTreeSet<OpId> = register.current().iter().map(|given| given.id).collect();
            for lost in register.lost() {
                rows.push(ConflictRow {
                    winner: words(&winner.value),
                    winner_name: name(&winner.device),
                    loser: words(&lost.value),
                    loser_name: name(&lost.device),
                    open: current.contains(&lost.id),
                    ..row(slot_word(&slot))
                });
            }
        }
        for disputed in look.disputed()? {
            let deleted = disputed.facets.deleted;
            rows.push(ConflictRow {
                message: Some(disputed.message.id()),
                winner: "deleted".into(),
                winner_name: deleted.map(|deleted| name(&deleted.device)).unwrap_or_default(),
                loser: disputed.facets.text.clone().unwrap_or_default(),
                loser_name: name(&disputed.message.author),
                open: true,
                ..row("delete")
            });
        }
        for message in look.edited_at_once()? {
            let versions: BTreeMap<OpId, tombolo_store::Version> =
                look.versions(&message)?.into_iter().map(|version| (version.id, version)).collect();
            let facets = look.facets(&message)?;
            for id in &facets.current {
                let Some(version) = versions.get(id) else { continue };
                rows.push(ConflictRow {
                    message: Some(message.id()),
                    winner: facets.text.clone().unwrap_or_default(),
                    winner_name: "merged".into(),
                    loser: version.text.clone().unwrap_or_default(),
                    loser_name: name(&version.device),
                    open: true,
                    ..row("edit")
                });
            }
        }
        for found in self.log().equivocations(conversation)? {
            let mut texts = Vec::new();
            for id in &found.ids {
                let text = self.at(conversation, id)?.map(|message| message.text);
                texts.push((*id, text.unwrap_or_default()));
            }
            texts.sort();
            let Some((first, winner)) = texts.pop() else { continue };
            for (_, loser) in texts {
                rows.push(ConflictRow {
                    message: Some(first),
                    winner: winner.clone(),
                    winner_name: name(&found.author),
                    loser,
                    loser_name: name(&found.author),
                    open: false,
                    ..row("log")
                });
            }
        }
        Ok(rows)
    }

    /// The conversation and the whole id of a message that is named by its id or by a beginning of it.
    ///
    /// # Errors
    /// `unknown-message`, `ambiguous`, and those of the store.
    pub fn locate(&self, name: &str) -> Result<(ConversationId, OpId), Error> {
        let name = name.trim().to_ascii_lowercase();
        let hex = name.len() >= 4 && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex {
            return Err(unknown_message());
        }
        // A whole id is looked up; a beginning is searched for among all messages.
        if let Ok(id) = name.parse::<OpId>() {
            for row in self.log().conversations()? {
                if self.at(&row.id, &id)?.is_some() {
                    return Ok((row.id, id));
                }
            }
            return Err(unknown_message());
        }
        let low = format!("{name:0<64}");
        let high = format!("{name:f<64}");
        let (Ok(low), Ok(high)) = (low.parse::<OpId>(), high.parse::<OpId>()) else { return Err(unknown_message()) };
        let mut statement = self.log().connection()?.prepare_cached(
            "SELECT c.id, m.id FROM message m CROSS JOIN conversation c ON c.n = m.conversation \
             WHERE m.id BETWEEN ?1 AND ?2 LIMIT 2",
        )?;
        let mut rows = statement.query(params![low.as_bytes(), high.as_bytes()])?;
        let mut found = None;
        while let Some(row) = rows.next()? {
            if found.is_some() {
                let hint = "name it by as much of its id as tells it apart";
                return Err(Error::new("ambiguous", "several messages have an id that begins so", hint));
            }
            found = Some((ConversationId(row.get(0)?), OpId(row.get(1)?)));
        }
        found.ok_or_else(unknown_message)
    }
}

fn check_text(text: &str) -> Result<(), Error> {
    if text.len() > TEXT_BYTES_MAX {
        let words = format!("a message may have {TEXT_BYTES_MAX} bytes, this one has {}", text.len());
        return Err(Error::new("too-large", words, "split it, or send it as a file"));
    }
    Ok(())
}

fn native(message: &tombolo_store::Message) -> Result<(), Error> {
    if message.place.section == Section::Imported {
        return Err(Error::new("imported", "what was imported cannot be changed", ""));
    }
    if message.kind == MessageKind::Newer {
        let words = "a newer version of this program wrote this message";
        return Err(Error::new("newer", words, "update this program"));
    }
    Ok(())
}

pub(super) fn unknown_message() -> Error {
    let hint = "take the id of a message that `tombolo messages` printed";
    Error::new("unknown-message", "there is no such message on this device", hint)
}

fn not_yours(words: &str) -> Error {
    Error::new("not-yours", words, "")
}

pub(super) fn sorted(ids: &[OpId]) -> Vec<OpId> {
    let mut ids: Vec<OpId> = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(BASES_MAX);
    ids
}

/// A value for people.
fn words(value: &Value) -> String {
    match value {
        Value::None => String::new(),
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Account(account) => account.to_string(),
    }
}

fn slot_word(slot: &Slot) -> &'static str {
    match slot {
        Slot::Title => "title",
        Slot::Timer => "timer",
        Slot::Imported(..) => "name",
        Slot::Mute(_) => "mute",
        Slot::Archive(_) => "archive",
        Slot::Folder(_) => "folder",
        Slot::Favourite(_) => "favourite",
        Slot::Block(_) => "block",
        Slot::Receipts => "receipts",
    }
}
