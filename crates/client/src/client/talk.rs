//! What people do with messages, through the handle. What each call does and which errors it has stands at the [`Node`]'s
//! call of the same name.

use super::Client;
use crate::api::{ConflictRow, Message, OutboxRow, Post, Sent, TextRow, VersionRow};
use crate::{Error, Node};
use tombolo_model::content::{Slot, Value};
use tombolo_model::{AccountId, ConversationId, DeviceId, OpId};
use tombolo_store::timeline::Gap;

/// Calls that only pass on: name, arguments, answer; `&` = reads, `&mut` = writes and gets the time.
macro_rules! pass_on {
    ($($(#[$doc:meta])* $name:ident ( $($arg:ident : $kind:ty),* ) -> $answer:ty = |$node:ident, $now:ident| $call:expr;)*) => {
        impl Client {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// Those of the [`Node`]'s call.
                pub async fn $name(&self, $($arg: $kind),*) -> Result<$answer, Error> {
                    self.actor.call(move |$node: &mut Node, $now| $call).await?
                }
            )*
        }
    };
}

pass_on! {
    /// Writes a message with everything that it may carry.
    post(conversation: ConversationId, post: Post) -> Sent = |node, now| node.post(conversation, &post, now);
    /// A message by its op.
    message(conversation: ConversationId, id: OpId) -> Message = |node, _now| node.message(&conversation, &id);
    /// How many messages were let go of on this device, and before when (**milliseconds** since 1970).
    pruned(conversation: ConversationId) -> (u64, u64) = |node, _now| node.pruned(&conversation);
    /// The key of the relay that was met at an address; `None` = not yet.
    met_relay(url: String) -> Option<DeviceId> = |node, _now| node.met_relay(&url);
    /// What is known to be missing.
    gaps(conversation: ConversationId) -> Vec<Gap> = |node, _now| node.gaps(&conversation);
    /// The first of the newest `limit` messages that this person has not seen.
    first_unread(conversation: ConversationId, limit: usize) -> Option<OpId> =
        |node, _now| node.first_unread(&conversation, limit);
    /// The oldest messages after a cursor, or from the beginning. They do not count as seen.
    messages_after(conversation: ConversationId, limit: usize, after: Option<String>) -> Vec<Message> =
        |node, _now| node.messages_after(&conversation, limit, after.as_deref());
    /// A message with up to so many before and behind it.
    around(conversation: ConversationId, id: OpId, count: usize) -> Vec<Message> =
        |node, _now| node.around(&conversation, &id, count);
    /// The conversation and the whole id of a message, by its id or a beginning of it.
    locate(name: String) -> (ConversationId, OpId) = |node, _now| node.locate(&name);
    /// Changes the text of a message.
    edit(conversation: ConversationId, id: OpId, text: String) -> () =
        |node, now| node.edit(conversation, &id, &text, now);
    /// Deletes a message for everyone.
    delete(conversation: ConversationId, id: OpId) -> () = |node, now| node.delete(conversation, &id, now);
    /// Hides a message on all own devices, or shows it again.
    hide(conversation: ConversationId, id: OpId, on: bool) -> bool = |node, now| node.hide(conversation, &id, on, now);
    /// Takes a deletion back.
    undo(conversation: ConversationId, id: OpId) -> () = |node, now| node.undo(conversation, &id, now);
    /// Shows or takes back a reaction.
    react(conversation: ConversationId, id: OpId, emoji: String, on: bool) -> () =
        |node, now| node.react(conversation, &id, &emoji, on, now);
    /// Pins a message, or takes the pin away.
    pin(conversation: ConversationId, id: OpId, on: bool) -> () = |node, now| node.pin(conversation, &id, on, now);
    /// Pinned messages.
    pins(conversation: ConversationId) -> Vec<Message> = |node, _now| node.pins(&conversation);
    /// A message and the thread below it.
    thread(conversation: ConversationId, id: OpId) -> Vec<Message> = |node, _now| node.thread(&conversation, &id);
    /// Messages that call upon this account.
    mentions(conversation: ConversationId) -> Vec<Message> = |node, _now| node.mentions(&conversation);
    /// The versions of a message's text.
    history(conversation: ConversationId, id: OpId) -> Vec<VersionRow> = |node, _now| node.history(&conversation, &id);
    /// What people said of one thing without knowing of each other.
    conflicts(conversation: ConversationId) -> Vec<ConflictRow> = |node, _now| node.conflicts(&conversation);
    /// Accounts of a conversation with the names that they have there.
    people(conversation: ConversationId) -> Vec<(AccountId, String)> = |node, _now| node.people(&conversation);
    /// Gives a register of a conversation a value.
    set(conversation: ConversationId, slot: Slot, value: Value) -> () =
        |node, now| node.set(conversation, slot, value, now);
    /// Renames a conversation for everybody.
    rename(conversation: ConversationId, title: String) -> () = |node, now| node.rename(conversation, &title, now);
    /// Sets after how many **milliseconds** new messages disappear everywhere; 0 = never.
    set_timer(conversation: ConversationId, after_ms: u64) -> () =
        |node, now| node.set_timer(conversation, after_ms, now);
    /// After how many **milliseconds** messages disappear; 0 = never.
    timer(conversation: ConversationId) -> u64 = |node, _now| node.timer_ms(&conversation);
    /// Makes a conversation mute for **milliseconds** from now; `u64::MAX` = until it is ended, 0 = not.
    mute(conversation: ConversationId, for_ms: u64) -> () = |node, now| {
        let until_ms = if for_ms == 0 { 0 } else { now.wall_ms.saturating_add(for_ms) };
        node.mute(conversation, until_ms, now)
    };
    /// Puts a conversation into the archive or takes it out.
    archive(conversation: ConversationId, on: bool) -> () = |node, now| node.archive(conversation, on, now);
    /// Puts a conversation on top, or lets it stand where it belongs.
    favourite(conversation: ConversationId, on: bool) -> () = |node, now| node.favourite(conversation, on, now);
    /// Puts a conversation into a folder; an empty name takes it out.
    folder(conversation: ConversationId, folder: String) -> () = |node, now| node.folder(conversation, &folder, now);
    /// Blocks an account on all own devices, or ends that.
    block(account: AccountId, on: bool) -> () = |node, now| node.block(account, on, now);
    /// Accounts that are blocked.
    blocked() -> Vec<AccountId> = |node, _now| Ok(node.keeping()?.1.into_iter().collect());
    /// Own messages that no other replica holds.
    outbox(conversation: Option<ConversationId>) -> Vec<OutboxRow> = |node, _now| node.outbox(conversation);
    /// Withdraws a queued message.
    cancel(conversation: ConversationId, id: OpId) -> () = |node, now| node.cancel(conversation, &id, now);
    /// The topic of a conversation.
    topic(conversation: ConversationId) -> TextRow = |node, _now| node.topic(&conversation);
    /// Changes the topic.
    write_topic(conversation: ConversationId, text: String) -> TextRow =
        |node, now| node.write_topic(conversation, &text, now);
    /// The notes of a conversation, by name.
    notes(conversation: ConversationId) -> Vec<TextRow> = |node, _now| node.notes(&conversation);
    /// Changes a note; an empty text removes it.
    write_note(conversation: ConversationId, name: String, text: String) -> TextRow =
        |node, now| node.write_note(conversation, &name, &text, now);
    /// What this person is writing for a conversation, on whichever device.
    draft(conversation: ConversationId) -> TextRow = |node, _now| node.draft(&conversation);
    /// Changes the draft.
    write_draft(conversation: ConversationId, text: String) -> TextRow =
        |node, now| node.write_draft(conversation, &text, now);
}
