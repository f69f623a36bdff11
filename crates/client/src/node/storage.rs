//! What conversations take on this device, and giving it back: old messages are let go of here, and nowhere else.
//!
//! Not here: what goes with a message (`tombolo_store::prune`), how files are packed (`tombolo_oplog`).

use crate::api::{Packed, StorageRow};
use crate::{Error, Node};
use tombolo_model::ConversationId;
use tombolo_replica::Now;

/// Messages of one transaction: a large clean-up holds nothing up for long and may be cut off at any point.
const AT_ONCE: usize = 500;

impl Node {
    /// What each conversation takes on this device, the largest first. Cost: all ops and messages.
    ///
    /// # Errors
    /// Those of the store.
    pub fn storage(&self) -> Result<Vec<StorageRow>, Error> {
        let mut rows = Vec::new();
        for row in self.log().conversations()? {
            let usage = tombolo_store::usage(self.log(), &row.id)?;
            let pruned = self.log().pruned(&row.id)?.unwrap_or_default();
            rows.push(StorageRow {
                conversation: row.id,
                title: self.title(&row.id, row.kind)?,
                messages: usage.messages,
                oldest_ms: usage.oldest_ms,
                newest_ms: usage.newest_ms,
                ops: usage.ops,
                body_bytes: usage.body_bytes,
                text_bytes: usage.text_bytes,
                pruned: pruned.messages,
                pruned_before_ms: pruned.before_ms,
            });
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.body_bytes + row.text_bytes));
        Ok(rows)
    }

    /// Lets go of the messages of a conversation that are shown as older than `before_ms` (**milliseconds** since 1970),
    /// on this device alone: their headers stay, so what is here is still proven equal to what others hold. Returns how
    /// many messages went; they have left the file when this returns, unless somebody reads it at the same time.
    ///
    /// # Errors
    /// `unknown-conversation` and those of the store; what went before an error stays gone.
    pub fn prune(&mut self, conversation: &ConversationId, before_ms: u64, now: Now) -> Result<u64, Error> {
        let went =
            |node: &Self| -> Result<u64, Error> { Ok(node.log().pruned(conversation)?.unwrap_or_default().messages) };
        if self.log().conversation(conversation)?.is_none() {
            return Err(self.no_conversation(conversation));
        }
        let before = went(self)?;
        loop {
            let known = went(self)?;
            let (log, views) = self.replica.log_and_fold();
            let mut batch = log.batch()?;
            let lost = tombolo_store::prune(views, &mut batch, conversation, before_ms, AT_ONCE)?;
            batch.commit()?;
            self.replica.tell_gone(lost);
            if went(self)? == known {
                break;
            }
        }
        self.replica.wipe(now)?;
        Ok(went(self)?.saturating_sub(before))
    }

    /// How many messages of a conversation were let go of on this device, and before when (**milliseconds** since 1970).
    ///
    /// # Errors
    /// Those of the store.
    pub fn pruned(&self, conversation: &ConversationId) -> Result<(u64, u64), Error> {
        let pruned = self.log().pruned(conversation)?.unwrap_or_default();
        Ok((pruned.messages, pruned.before_ms))
    }

    /// Takes it back: what was let go of in a conversation is asked for when a peer that holds it is met. Returns how many
    /// bodies are.
    ///
    /// # Errors
    /// `unknown-conversation` and those of the store.
    pub fn want_pruned(&mut self, conversation: &ConversationId) -> Result<u64, Error> {
        if self.log().conversation(conversation)?.is_none() {
            return Err(self.no_conversation(conversation));
        }
        let (log, views) = self.replica.log_and_fold();
        let mut batch = log.batch()?;
        let wanted = batch.want_pruned(conversation)?;
        // Until they come, there are rows for them again: sealed ones.
        tombolo_store::rebuild(views, &mut batch, &mut |_, _| {})?;
        batch.commit()?;
        Ok(wanted)
    }

    /// Gives free space back to the file system. Nothing else can be done meanwhile. Cost: the file is written twice.
    ///
    /// # Errors
    /// `busy` while another program has the file open; those of the store.
    pub fn pack(&mut self) -> Result<Packed, Error> {
        let (before_bytes, after_bytes) = self.replica.log_mut().pack()?;
        Ok(Packed { before_bytes, after_bytes })
    }
}
