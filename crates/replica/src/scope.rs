//! Which conversations a connection is about.

use std::collections::BTreeSet;
use tombolo_model::{ConversationId, DeviceId};
use tombolo_oplog::{LogError, Reader};

/// The rule by which a connection shares conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of which the peer's device is a member: on a relay, and between devices.
    Members,
    /// From a device to another one that its user named: as before, and those that this device has asked to join, since
    /// the other may be who lets it in. Whoever merely connects to us is not told of those.
    Dialled,
    /// From a device to a relay: those that name the relay, or were shared with it before.
    Relay {
        /// The address that was dialled.
        url: String,
        /// Every conversation, because the user said so.
        all: bool,
    },
}

impl Scope {
    /// The conversations shared with `peer`, sorted, each with the arrival at which the peer gained access or was named;
    /// [`u64::MAX`] = no cursor covers any of it.
    pub(crate) fn shared(&self, log: &Reader, peer: &DeviceId) -> Result<Vec<(ConversationId, u64)>, LogError> {
        match self {
            Self::Members => log.shared_with(peer),
            Self::Dialled => {
                let mut shared = log.shared_with(peer)?;
                let known: BTreeSet<ConversationId> = shared.iter().map(|(id, _)| *id).collect();
                for conversation in log.conversations()? {
                    if conversation.kind.is_none() && !known.contains(&conversation.id) {
                        shared.push((conversation.id, 0));
                    }
                }
                shared.sort_unstable();
                Ok(shared)
            }
            Self::Relay { url, all } => {
                let mut shared = Vec::new();
                for conversation in log.conversations()? {
                    let id = conversation.id;
                    let named = log
                        .relays_since(&id)?
                        .into_iter()
                        .filter(|(relay, _)| relay.key == peer.0 || same_address(&relay.url, url))
                        .map(|(_, since)| since)
                        .min();
                    if let Some(since) = named {
                        shared.push((id, since));
                    } else if log.proven(&id)?.iter().any(|proven| proven.peer == *peer) {
                        shared.push((id, 0));
                    } else if *all {
                        // Named by nobody but the user, now: no cursor of an earlier connection covers it.
                        shared.push((id, u64::MAX));
                    }
                }
                shared.sort_unstable();
                Ok(shared)
            }
        }
    }
}

/// Whether two addresses mean the same place.
fn same_address(one: &str, other: &str) -> bool {
    let plain = |url: &str| url.trim_end_matches('/').to_ascii_lowercase();
    plain(one) == plain(other)
}
