//! What has not left this device, and what was just deleted on it.
//!
//! Responsible for: whether a message is queued, why it did not go out, and the short time in which a deletion can be
//! taken back. The queue itself is the log: whatever no replica has acknowledged is owed, in the order of its log.
//! Not here: sending (`replica`), withdrawing (`talk.rs`).

use super::Node;
use super::talk::unknown_message;
use crate::Error;
use crate::api::{MessageState, OutboxRow};
use tombolo_model::content::{Content, Message as Body};
use tombolo_model::{ConversationId, OpId};
use tombolo_oplog::rusqlite::{OptionalExtension as _, params};
use tombolo_oplog::{Component, Step};
use tombolo_replica::Now;

pub(crate) const COMPONENT: Component = Component { name: "outbox", steps: STEPS };

const STEPS: &[Step] = &[Step {
    why: "A deletion can be taken back for a short time, and what a relay refuses is told.",
    sql: "
-- kept: what a deleted message said, wrapped with the storage key; gone after until_ms.
CREATE TABLE undo (
    conversation BLOB NOT NULL, message BLOB NOT NULL, until_ms INTEGER NOT NULL, kept BLOB NOT NULL,
    PRIMARY KEY (conversation, message)) STRICT, WITHOUT ROWID;
-- Replicas that would not take a conversation, until they do.
CREATE TABLE refused (
    conversation BLOB NOT NULL, replica TEXT NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL,
    PRIMARY KEY (conversation, replica)) STRICT, WITHOUT ROWID;
",
}];

/// Messages that are looked through for queued ones, newest first, in one conversation.
const OUTBOX_MAX: usize = 1_000;

impl Node {
    /// Whether nobody else is known to hold a message of this very device.
    pub(super) fn is_queued(
        &self,
        conversation: &ConversationId,
        message: &tombolo_store::Message,
    ) -> Result<bool, Error> {
        if message.author != self.device() {
            return Ok(false);
        }
        Ok(self.holders(conversation)?.iter().all(|acked| *acked < message.arrival))
    }

    /// Own messages that no other replica holds, oldest first, of one conversation or of all. They go out by themselves as
    /// soon as a replica is in reach. In each conversation the newest 1,000 are looked at.
    ///
    /// # Errors
    /// `unknown-conversation`, and those of the store.
    pub fn outbox(&self, conversation: Option<ConversationId>) -> Result<Vec<OutboxRow>, Error> {
        let all = match conversation {
            Some(conversation) => vec![conversation],
            None => self.log().conversations()?.into_iter().map(|row| row.id).collect(),
        };
        let mut rows = Vec::new();
        for conversation in all {
            let failed = self.refusal(&conversation)?;
            let replicas = self.log().relays(&conversation)?.len() as u64;
            let page = tombolo_store::page(self.log(), &conversation, None, OUTBOX_MAX)?;
            let own: Vec<_> = page.into_iter().filter(|message| message.author == self.device()).collect();
            for message in self.show(&conversation, own)? {
                if message.state == MessageState::Local && message.beside.deleted.is_none() {
                    rows.push(OutboxRow { conversation, message, replicas, failed: failed.clone() });
                }
            }
        }
        Ok(rows)
    }

    /// Withdraws a queued message: its text never leaves this device.
    ///
    /// # Errors
    /// `sent` when another replica holds it already, `unknown-message`, and those of the store.
    pub fn cancel(&mut self, conversation: ConversationId, id: &OpId, now: Now) -> Result<(), Error> {
        let message = self.at(&conversation, id)?.ok_or_else(unknown_message)?;
        if !self.is_queued(&conversation, &message)? {
            let words = "this message has left this device already";
            return Err(Error::new("sent", words, "`tombolo delete` deletes it for everyone"));
        }
        self.remove(conversation, id, true, now)
    }

    /// Notes that a replica would not take a conversation; no reason = it takes it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn note_refusal(
        &mut self,
        conversation: &ConversationId,
        replica: &str,
        reason: Option<&str>,
        now: Now,
    ) -> Result<(), Error> {
        let known: Option<String> = self
            .log()
            .connection()?
            .prepare_cached("SELECT reason FROM refused WHERE conversation = ?1 AND replica = ?2")?
            .query_row(params![conversation.as_bytes(), replica], |row| row.get(0))
            .optional()?;
        if known.as_deref() == reason {
            return Ok(());
        }
        let batch = self.replica.log_mut().batch()?;
        let tx = batch.transaction()?;
        match reason {
            Some(reason) => tx.execute(
                "INSERT OR REPLACE INTO refused (conversation, replica, reason, at_ms) VALUES (?1, ?2, ?3, ?4)",
                params![conversation.as_bytes(), replica, reason, now.wall_ms as i64],
            )?,
            None => tx.execute(
                "DELETE FROM refused WHERE conversation = ?1 AND replica = ?2",
                params![conversation.as_bytes(), replica],
            )?,
        };
        Ok(batch.commit()?)
    }

    /// Why a conversation does not go out, if a replica said so.
    fn refusal(&self, conversation: &ConversationId) -> Result<Option<String>, Error> {
        let mut statement = self.log().connection()?.prepare_cached(
            "SELECT replica, reason FROM refused WHERE conversation = ?1 ORDER BY at_ms DESC LIMIT 1",
        )?;
        let found: Option<(String, String)> =
            statement.query_row([conversation.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok(found.map(|(replica, reason)| format!("{replica}: {reason}")))
    }

    /// Keeps what a message said for as long as its deletion can be taken back.
    pub(super) fn keep_undo(
        &mut self,
        conversation: &ConversationId,
        id: &OpId,
        body: Body,
        now: Now,
    ) -> Result<(), Error> {
        let plain = Content::Message(Box::new(body)).to_padded()?;
        let nonce = self.entropy.bytes();
        let kept = self.identity.storage.wrap(&name(conversation, id), nonce, &plain);
        let kept = kept.map_err(|error| Error::new("seal", error.to_string(), ""))?;
        let until_ms = now.wall_ms.saturating_add(super::talk::UNDO_MS);
        let batch = self.replica.log_mut().batch()?;
        batch.transaction()?.execute(
            "INSERT OR REPLACE INTO undo (conversation, message, until_ms, kept) VALUES (?1, ?2, ?3, ?4)",
            params![conversation.as_bytes(), id.as_bytes(), until_ms as i64, kept],
        )?;
        Ok(batch.commit()?)
    }

    /// What a deleted message said, while it is kept.
    pub(super) fn kept_undo(&self, conversation: &ConversationId, id: &OpId, now: Now) -> Result<Option<Body>, Error> {
        let mut statement = self
            .log()
            .connection()?
            .prepare_cached("SELECT kept FROM undo WHERE conversation = ?1 AND message = ?2 AND until_ms > ?3")?;
        let kept: Option<Vec<u8>> = statement
            .query_row(params![conversation.as_bytes(), id.as_bytes(), now.wall_ms as i64], |row| row.get(0))
            .optional()?;
        let Some(kept) = kept else { return Ok(None) };
        let plain = self.identity.storage.unwrap_(&name(conversation, id), &kept);
        let plain = plain.map_err(|error| Error::new("seal", error.to_string(), "run `tombolo doctor`"))?;
        match Content::from_padded(&plain)? {
            Content::Message(body) => Ok(Some(*body)),
            _ => Ok(None),
        }
    }

    /// Forgets what was kept of one message, or of all whose time is over.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn forget_undo(&mut self, of: Option<(&ConversationId, &OpId)>, now: Now) -> Result<(), Error> {
        let over = "SELECT 1 FROM undo WHERE until_ms <= ?1";
        if of.is_none() && !self.log().connection()?.prepare_cached(over)?.exists([now.wall_ms as i64])? {
            return Ok(());
        }
        let batch = self.replica.log_mut().batch()?;
        let tx = batch.transaction()?;
        let over = tx.execute("DELETE FROM undo WHERE until_ms <= ?1", [now.wall_ms as i64])? > 0;
        if let Some((conversation, id)) = of {
            let sql = "DELETE FROM undo WHERE conversation = ?1 AND message = ?2";
            tx.execute(sql, params![conversation.as_bytes(), id.as_bytes()])?;
        }
        batch.commit()?;
        self.files_due |= over;
        Ok(())
    }

    /// Time has passed: what is kept for a while goes, and the index of the search comes a step further.
    ///
    /// # Errors
    /// Those of the store.
    pub fn tick(&mut self, now: Now) -> Result<(), Error> {
        self.forget_undo(None, now)?;
        self.sweep_files()?;
        self.index()?;
        Ok(())
    }
}

fn name(conversation: &ConversationId, id: &OpId) -> String {
    format!("undo {conversation} {id}")
}
