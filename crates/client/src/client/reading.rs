//! What was read, and who is typing, through the handle. What each call does and which errors it has stands at the
//! [`Node`]'s call of the same name.

use super::Client;
use crate::api::{Message, Receipt};
use crate::node::typing::TYPING;
use crate::{Error, Node};
use tombolo_model::content::{Slot, Value};
use tombolo_model::{ConversationId, OpId};

impl Client {
    /// Marks a conversation as read up to a message (its cursor or id), or all of it.
    ///
    /// # Errors
    /// Those of [`Node::read`].
    pub async fn read(&self, conversation: ConversationId, up_to: Option<String>) -> Result<(), Error> {
        self.actor.call(move |node: &mut Node, now| node.read(&conversation, up_to.as_deref(), now)).await?
    }

    /// Marks a conversation unread from a message on.
    ///
    /// # Errors
    /// Those of [`Node::mark_unread`].
    pub async fn mark_unread(&self, conversation: ConversationId, from: String) -> Result<(), Error> {
        self.actor.call(move |node: &mut Node, now| node.mark_unread(&conversation, &from, now)).await?
    }

    /// Who has received and read a message.
    ///
    /// # Errors
    /// Those of [`Node::receipts`].
    pub async fn receipts(&self, conversation: ConversationId, id: OpId) -> Result<Vec<Receipt>, Error> {
        self.actor.call(move |node: &mut Node, _| node.receipts(&conversation, &id)).await?
    }

    /// Whether others are told what this person reads. What they were told before, they know.
    ///
    /// # Errors
    /// Those of [`Node::set_own`].
    pub async fn tell_receipts(&self, on: bool) -> Result<(), Error> {
        self.actor.call(move |node: &mut Node, now| node.set_own(&Slot::Receipts, &Value::Flag(on), now)).await?
    }

    /// A page of messages as [`Client::messages`], that does not count as seen.
    ///
    /// # Errors
    /// `cursor`, `unknown-conversation`; those of the store.
    pub async fn peek(
        &self,
        conversation: ConversationId,
        limit: usize,
        before: Option<String>,
    ) -> Result<Vec<Message>, Error> {
        let call = move |node: &mut Node, _| node.messages(&conversation, limit, before.as_deref(), false);
        self.actor.call(call).await?
    }

    /// Tells those who are connected that this person is typing. It is believed for a few seconds and never stored.
    ///
    /// # Errors
    /// `unknown-conversation`; those of the store.
    pub async fn type_now(&self, conversation: ConversationId) -> Result<(), Error> {
        self.presence(conversation, TYPING).await
    }

    /// The names of those who are typing now, as far as anybody who is connected says.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn typing(&self, conversation: ConversationId) -> Result<Vec<String>, Error> {
        self.actor.call(move |node: &mut Node, now| node.typing_names(&conversation, now)).await?
    }
}
