//! What conversations take, through the handle. What each call does and which errors it has stands at the [`Node`]'s call
//! of the same name.

use super::Client;
use crate::api::{Packed, StorageRow};
use crate::{Error, Node};
use tombolo_model::ConversationId;

impl Client {
    /// What each conversation takes on this device, the largest first.
    ///
    /// # Errors
    /// Those of [`Node::storage`].
    pub async fn storage(&self) -> Result<Vec<StorageRow>, Error> {
        self.actor.call(|node: &mut Node, _| node.storage()).await?
    }

    /// Lets go of messages on this device that are older than so many **milliseconds**. Returns how many went.
    ///
    /// # Errors
    /// Those of [`Node::prune`].
    pub async fn prune(&self, conversation: ConversationId, older_than_ms: u64) -> Result<u64, Error> {
        let call = move |node: &mut Node, now: tombolo_replica::Now| {
            node.prune(&conversation, now.wall_ms.saturating_sub(older_than_ms), now)
        };
        self.actor.call(call).await?
    }

    /// Asks for what was let go of again. Returns how many bodies are wanted now.
    ///
    /// # Errors
    /// Those of [`Node::want_pruned`].
    pub async fn want_pruned(&self, conversation: ConversationId) -> Result<u64, Error> {
        self.actor.call(move |node: &mut Node, _| node.want_pruned(&conversation)).await?
    }

    /// Gives free space back to the file system.
    ///
    /// # Errors
    /// Those of [`Node::pack`].
    pub async fn pack(&self) -> Result<Packed, Error> {
        self.actor.call(|node: &mut Node, _| node.pack()).await?
    }
}
