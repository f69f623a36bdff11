//! Who is typing now: told by fleeting frames, believed for a few seconds, never on a disk.
//!
//! Not here: sending and opening such frames (`Node::presence`, `Node::open_presence`).

use super::Node;
use crate::Error;
use std::collections::BTreeMap;
use tombolo_model::{ConversationId, DeviceId};
use tombolo_oplog::LogError;
use tombolo_replica::{Event, Now};

/// The word for it.
pub const TYPING: &str = "typing";
/// **Milliseconds** for which it is believed that somebody is typing; whoever goes on says so again within that time.
pub const TYPING_MS: u64 = 6_000;
/// Devices that are remembered as typing, over all conversations.
const TYPING_MAX: usize = 4_096;
/// Ops of one event that are looked at for who wrote them.
const OPS_MAX: usize = 64;

/// Until when who is believed to be typing, on the clock of `mono_ms`.
#[derive(Debug, Default)]
pub(crate) struct Typing(BTreeMap<(ConversationId, DeviceId), u64>);

impl Typing {
    fn expire(&mut self, now: Now) {
        self.0.retain(|_, until_ms| *until_ms > now.mono_ms);
    }
}

impl Node {
    /// Notes what says who is typing: fleeting frames begin it, a message of the same device ends it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn note_typing(&mut self, event: &Event, now: Now) -> Result<(), Error> {
        match event {
            Event::Presence { conversation, payload, .. } => {
                let Some((device, what)) = self.open_presence(conversation, payload) else { return Ok(()) };
                self.typing.expire(now);
                let known = self.log().is_member(conversation, &device)? && device != self.device();
                if what == TYPING && known && self.typing.0.len() < TYPING_MAX {
                    self.typing.0.insert((*conversation, device), now.mono_ms + TYPING_MS);
                } else if what != TYPING {
                    self.typing.0.remove(&(*conversation, device));
                }
            }
            Event::Stored { conversation, ids, .. } if !self.typing.0.is_empty() => {
                for id in ids.iter().take(OPS_MAX) {
                    match self.log().op(conversation, id) {
                        Ok(Some(op)) => self.typing.0.remove(&(*conversation, op.header.author)),
                        Ok(None) | Err(LogError::Damaged(_)) => None,
                        Err(error) => return Err(error.into()),
                    };
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Devices that are typing in a conversation now.
    pub fn typing(&mut self, conversation: &ConversationId, now: Now) -> Vec<DeviceId> {
        self.typing.expire(now);
        self.typing.0.keys().filter(|(of, _)| of == conversation).map(|(_, device)| *device).collect()
    }

    /// The names of those who are typing in a conversation now.
    ///
    /// # Errors
    /// Those of the store.
    pub fn typing_names(&mut self, conversation: &ConversationId, now: Now) -> Result<Vec<String>, Error> {
        let devices = self.typing(conversation, now);
        let names = tombolo_store::names(self.log(), conversation)?;
        let name = |device: &DeviceId| names.name(device).map_or_else(|| device.short(), str::to_owned);
        let mut found: Vec<String> = devices.iter().map(name).collect();
        found.sort();
        found.dedup();
        Ok(found)
    }
}
