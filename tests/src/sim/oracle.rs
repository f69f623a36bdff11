//! What people were told is safe, as plain sets: an oracle of another shape than the product.
//!
//! A message whose call returned is *sure*: it must be shown by its writer for ever, and by everybody in the end. One
//! whose call failed may or may not be there. One that nobody's disk holds any more, because disks were replaced, is not
//! sure any longer.

use crate::sim::checks;
use crate::sim::machine::Machine;
use crate::sim::world::{Outcome, World};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_client::{AccountId, ConversationId, Message, MessageState, OpId};
use tombolo_seal::Invitation;

/// Something that was written.
#[derive(Clone, Debug)]
pub struct Said {
    /// Where.
    pub conversation: ConversationId,
    /// By which machine; of an imported line the first one that brought it.
    pub author: usize,
    /// The op, where the call returned it.
    pub id: Option<OpId>,
    /// It was imported.
    pub imported: bool,
    /// The call returned.
    pub sure: bool,
    /// Machines that were told that it is safe, and so must show it at any time.
    pub kept_by: BTreeSet<usize>,
    /// It was deleted, or has an end: it need not be shown any more.
    pub ends: bool,
}

/// An invitation that somebody holds.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The link.
    pub invitation: Invitation,
    /// It may be refused to somebody who comes too late: few uses, an end, revoked.
    pub limited: bool,
    /// It is for devices of this account alone.
    pub only: Option<AccountId>,
}

/// Everything that was said.
#[derive(Debug, Default)]
pub struct Oracle {
    /// By text; texts are never used twice.
    pub said: BTreeMap<String, Said>,
    /// Links.
    pub letters: Vec<Letter>,
    /// Who accepted which letter.
    pub accepted: BTreeMap<(ConversationId, usize), BTreeSet<usize>>,
    /// Messages that somebody tried to edit, delete or restore: their texts are not what was first said.
    pub changed: BTreeSet<OpId>,
    /// Messages that were deleted, and by which machine: it must not show them again.
    pub deleted: BTreeMap<OpId, usize>,
    count: u64,
}

impl Oracle {
    /// A text that nobody has used, about `len` bytes long.
    pub fn text(&mut self, len: usize) -> String {
        self.count += 1;
        let mut text = format!("message {} ", self.count);
        while text.len() < len {
            text.push_str("of many words ");
        }
        text
    }

    /// Whether something is among what is shown, with other words than at first.
    #[must_use]
    pub fn is_changed(&self, said: &Said, shown: &[Message]) -> bool {
        said.id.is_some_and(|id| self.changed.contains(&id) && shown.iter().any(|message| message.id == id))
    }

    /// Conversations in which a machine was told that something is safe.
    #[must_use]
    pub fn conversations_of(&self, machine: usize) -> BTreeSet<ConversationId> {
        self.said.values().filter(|said| said.kept_by.contains(&machine)).map(|said| said.conversation).collect()
    }
}

impl World {
    /// Reads a conversation as a person would, and checks everything that can be said of it at any time.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn read(&mut self, machine: usize, conversation: &ConversationId, page: usize) -> Outcome<Vec<Message>> {
        let name = self.machines[machine].name.clone();
        if self.machines[machine].node().is_none() {
            return Ok(Vec::new());
        }
        let failing = self.machines[machine].failing;
        let all = match checks::shown(&mut self.machines[machine], conversation, page) {
            Ok(all) => all,
            // A planned fault hits reads, too.
            Err(_) if failing => return Ok(Vec::new()),
            Err(error) => return Err(format!("{name}: {}: {error}", conversation.short())),
        };
        self.tally.reads += 1;
        self.invented(machine, conversation, &all)?;
        // A sealed one may turn out to be a name or a title once it can be opened.
        let readable = all.iter().filter(|message| message.state != MessageState::Sealed);
        let ids: Vec<OpId> = readable.map(|message| message.id).collect();
        let now: BTreeSet<OpId> = ids.iter().copied().collect();
        let before = self.machines[machine].shown.insert(*conversation, ids).unwrap_or_default();
        if let Some(gone) = before.iter().find(|id| !now.contains(*id) && !self.ends(id)) {
            let imported = self.oracle.said.values().any(|said| said.id.is_none() && said.imported);
            // Of equal imported lines one is shown; which one may change as others come.
            if !imported {
                return Err(format!("{name} has shown {} and does not any more", gone.short()));
            }
        }
        let texts: BTreeSet<&str> = all.iter().map(|message| message.text.as_str()).collect();
        let lost = self.oracle.said.iter().find(|(text, said)| {
            let shown = said.ends || texts.contains(text.as_str()) || self.oracle.is_changed(said, &all);
            said.conversation == *conversation && said.kept_by.contains(&machine) && !shown
        });
        if let Some((text, _)) = lost {
            return Err(format!("{name} does not show its own {text:?}"));
        }
        let back = |it: &&Message| self.oracle.deleted.get(&it.id) == Some(&machine) && it.beside.deleted.is_none();
        if let Some(back) = all.iter().find(back) {
            return Err(format!("{name} has deleted {} and shows it again", back.id.short()));
        }
        Ok(all)
    }

    /// Nothing is shown that nobody wrote, or that is said to be held by more nodes than hold it.
    fn invented(&mut self, machine: usize, conversation: &ConversationId, all: &[Message]) -> Outcome {
        let name = &self.machines[machine].name;
        for message in all {
            if message.state == MessageState::Sealed {
                continue;
            }
            if message.beside.deleted.is_some() && self.ends(&message.id) {
                continue;
            }
            let changed = self.oracle.changed.contains(&message.id);
            let said = self.oracle.said.iter().find(|(_, said)| changed && said.id == Some(message.id));
            if changed && said.is_none() {
                // A failed call wrote it, and it was edited since: its words are gone.
                continue;
            }
            let Some(said) = said.map(|(_, said)| said).or_else(|| self.oracle.said.get(&message.text)) else {
                return Err(format!("{name} shows {:?}, which nobody wrote", message.text));
            };
            let by = self.machines[said.author].device;
            if said.conversation != *conversation || (!said.imported && by != message.author) {
                return Err(format!("{name} shows {:?} in another place or by somebody else", message.text));
            }
            if let MessageState::Held(count) = message.state {
                self.held(machine, conversation, message, count)?;
            }
        }
        Ok(())
    }

    fn held(&self, machine: usize, conversation: &ConversationId, message: &Message, count: u64) -> Outcome {
        // What was acknowledged by a disk that was replaced counts until its owner is met again.
        let replaced = self.machines.iter().filter(|other| other.rewound || other.body.is_none()).count() as u64;
        let holds = |other: &&Machine| {
            other.body.as_ref().is_some_and(|body| body.log().has(conversation, &message.id).unwrap_or(false))
        };
        let own = self.machines[machine].device;
        let holders = self.machines.iter().filter(|other| other.device != own).filter(holds).count() as u64;
        if holders + replaced < count {
            let name = &self.machines[machine].name;
            return Err(format!("{name} says that {count} others hold {:?}, but {holders} do", message.text));
        }
        Ok(())
    }

    /// A machine has gone back to another disk: what only it held may be gone.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn forget_lost(&mut self, machine: usize) -> Outcome {
        let conversations = self.oracle.conversations_of(machine);
        let mut texts = BTreeSet::new();
        for conversation in &conversations {
            let known = self.machines[machine]
                .body
                .as_ref()
                .is_some_and(|body| body.log().conversation(conversation).is_ok_and(|row| row.is_some()));
            if known {
                let all = checks::shown(&mut self.machines[machine], conversation, 1_000)?;
                texts.extend(all.into_iter().map(|message| message.text));
            }
        }
        self.oracle.deleted.retain(|_, by| *by != machine);
        let mut held = BTreeSet::new();
        for other in &self.machines {
            if let Some(body) = &other.body {
                held.extend(checks::all_ids(body.log())?);
            }
        }
        for (text, said) in &mut self.oracle.said {
            if !texts.contains(text) {
                said.kept_by.remove(&machine);
            }
            let gone = match said.id {
                Some(id) => !held.contains(&id),
                None => said.kept_by.is_empty(),
            };
            if gone {
                said.sure = false;
            }
        }
        Ok(())
    }
}
