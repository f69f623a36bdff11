//! Registers of devices: who may see which, taking what peers bring, publishing the own ones.
//!
//! What peers bring waits like their ops do and is stored by the flush, after the ops: a newcomer's register comes with its
//! join. What is stored is told to the other sessions; nothing is passed on before it is durable. Not here: what registers
//! say (`client`, `store`), when they travel (`proto`).

use crate::replica::{ConnId, Event, Output, Replica, store_beside};
use crate::view::View;
use std::collections::BTreeSet;
use std::rc::Rc;
use tombolo_identity::Strict;
use tombolo_model::crypto::{DOMAIN_REGISTER, Signer as _, Verifier as _};
use tombolo_model::limit::READERS_MAX;
use tombolo_model::register::digest_of;
use tombolo_model::{ConversationId, DeviceId, Register, Signature};
use tombolo_oplog::rusqlite::{self, Transaction};
use tombolo_oplog::{Fold, LogError, Taken};
use tombolo_proto::Fault;
use tombolo_proto::registers::REGISTER_OVERHEAD_BYTES;
use tombolo_proto::session::{Input, Now};
use tombolo_proto::source::RegisterPage;

/// Registers that a session wants stored.
pub(crate) struct QueuedRegisters {
    pub(crate) conn: ConnId,
    pub(crate) peer: DeviceId,
    /// Only members may bring anything.
    pub(crate) members_only: bool,
    pub(crate) registers: Vec<Register>,
    pub(crate) through: u64,
}

/// Devices whose registers both sides of a connection may see; `None` = all of the conversation.
pub(crate) type Audience = Option<Rc<BTreeSet<DeviceId>>>;

/// Changes looked through at once.
const CHANGES_AT_ONCE: usize = 1_024;

impl View<'_> {
    /// In a large conversation only the registers of those who stand at the two ends, and of their other devices.
    fn audience(&self, conversation: &ConversationId, peer: &DeviceId) -> Result<Audience, LogError> {
        let key = (self.conn, *conversation);
        if let Some(known) = self.memory.audiences.borrow().get(&key) {
            return Ok(known.clone());
        }
        let mut audience = None;
        if self.log.accounts(conversation)? > READERS_MAX {
            let ends = self.log.siblings(conversation, &[self.own, *peer])?;
            // Two relays pass everything on.
            audience = (!ends.is_empty()).then(|| Rc::new(ends));
        }
        self.memory.audiences.borrow_mut().insert(key, audience.clone());
        Ok(audience)
    }

    pub(crate) fn digest_of_registers(&self, peer: &DeviceId) -> Result<[u8; 6], LogError> {
        let mut sums = Vec::new();
        for (conversation, _) in self.shared_list(peer)?.iter() {
            let audience = self.audience(conversation, peer)?;
            sums.push((*conversation, self.log.register_sum(conversation, audience.as_deref())?));
        }
        Ok(digest_of(sums))
    }

    pub(crate) fn page_of_registers(
        &self,
        peer: &DeviceId,
        after: u64,
        whole: bool,
        bytes_max: usize,
    ) -> Result<RegisterPage, LogError> {
        let shared = self.shared_list(peer)?;
        let mut page = RegisterPage { registers: Vec::new(), through: after, last: false };
        let mut bytes = 0;
        loop {
            let changes = self.log.register_changes(page.through, CHANGES_AT_ONCE)?;
            let end = changes.len() < CHANGES_AT_ONCE;
            for change in changes {
                let is_shared = shared.binary_search_by(|(id, _)| id.cmp(&change.conversation)).is_ok();
                let brought = !whole && change.source == Some(*peer);
                if is_shared && !brought {
                    let audience = self.audience(&change.conversation, peer)?;
                    if audience.is_none_or(|of| of.contains(&change.device))
                        && let Some(register) = self.log.register(&change.conversation, &change.device)?
                    {
                        bytes += register.payload.len() + REGISTER_OVERHEAD_BYTES;
                        page.registers.push(register);
                    }
                }
                page.through = change.position;
                if bytes >= bytes_max {
                    return Ok(page);
                }
            }
            if end {
                page.last = true;
                return Ok(page);
            }
        }
    }
}

impl<F: Fold> Replica<F> {
    /// Publishes own registers: (conversation, version, payload). On the disk when this returns; those connected are told.
    /// `beside` writes what belongs into the same transaction.
    ///
    /// # Errors
    /// [`LogError`]: nothing was published; final for this object.
    pub fn publish(
        &mut self,
        own: Vec<(ConversationId, u64, Vec<u8>)>,
        now: Now,
        beside: impl FnOnce(&Transaction<'_>) -> Result<(), rusqlite::Error>,
    ) -> Result<(), LogError> {
        if own.is_empty() {
            return Ok(());
        }
        let mut batch = self.log.batch()?;
        for (conversation, version, payload) in own {
            let signature = Signature([0; 64]);
            let mut register = Register { conversation, device: self.key.id(), version, payload, signature };
            register.signature = self.key.sign(DOMAIN_REGISTER, &register.signed_bytes());
            batch.put_register(&register, None, &mut self.fold)?;
        }
        beside(batch.transaction()?)?;
        store_beside(&mut batch, &mut self.marks, &self.memory)?;
        batch.commit()?;
        self.tell_registers(None, now);
        Ok(())
    }

    fn tell_registers(&mut self, except: Option<ConnId>, now: Now) {
        for id in self.ids() {
            if Some(id) != except {
                self.step(id, Input::RegistersChanged, now);
            }
        }
    }

    /// Stores the registers that sessions have queued, in one transaction.
    pub(crate) fn flush_registers(&mut self, now: Now) -> Result<(), LogError> {
        if self.queued_registers.is_empty() {
            return Ok(());
        }
        let queued = std::mem::take(&mut self.queued_registers);
        let mut failed: Vec<(ConnId, Fault)> = Vec::new();
        let mut stored: Vec<ConnId> = Vec::new();
        let mut changed: BTreeSet<ConversationId> = BTreeSet::new();
        let mut bringers: BTreeSet<ConnId> = BTreeSet::new();
        let mut batch = self.log.batch()?;
        for QueuedRegisters { conn, peer, members_only, registers, through } in queued {
            if failed.iter().any(|(known, _)| *known == conn) {
                continue;
            }
            let reader = batch.reads()?;
            let mut fresh = Vec::new();
            let mut forged = None;
            let mut open: Option<(ConversationId, bool)> = None;
            for register in registers {
                let conversation = register.conversation;
                let may = match open {
                    Some((known, may)) if known == conversation => may,
                    _ => !members_only || reader.is_member(&conversation, &peer)?,
                };
                open = Some((conversation, may));
                // Of somebody who shares nothing nothing is looked at, and what is old needs no check.
                if !may || reader.register_version(&conversation, &register.device)? > register.version {
                    continue;
                }
                let message = register.signed_bytes();
                if Strict.verify(&register.device, DOMAIN_REGISTER, &message, &register.signature) {
                    fresh.push(register);
                } else {
                    forged = Some(format!("a register of {}", register.device.short()));
                    break;
                }
            }
            if let Some(words) = forged {
                failed.push((conn, Fault::Forged(words)));
                continue;
            }
            for register in fresh {
                if batch.put_register(&register, Some(&peer), &mut self.fold)? == Taken::New {
                    changed.insert(register.conversation);
                    bringers.insert(conn);
                }
            }
            if !batch.reads()?.shared_with(&peer)?.is_empty() || !members_only {
                self.marks.registers(peer, through);
            }
            stored.push(conn);
        }
        if changed.is_empty() {
            drop(batch);
        } else {
            store_beside(&mut batch, &mut self.marks, &self.memory)?;
            batch.commit()?;
        }
        for (conn, fault) in failed {
            self.step(conn, Input::Fail(fault), now);
        }
        for conn in stored {
            self.step(conn, Input::RegistersStored, now);
        }
        if !changed.is_empty() {
            for conversation in changed {
                self.out.push_back(Output::Event(Event::Registers { conversation }));
            }
            let only = bringers.first().copied().filter(|_| bringers.len() == 1);
            self.tell_registers(only, now);
        }
        Ok(())
    }
}
