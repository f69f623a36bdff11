//! Messages that end: deletions, timers, and what must be gone in the end.

use crate::sim::machine::Machine;
use crate::sim::world::{Outcome, World};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_client::{ConversationId, OpId};
use tombolo_model::{Class, DeviceId, Op};
use tombolo_oplog::rusqlite::params;
use tombolo_oplog::{ArrivalQuery, Reader};

/// **Milliseconds** that messages live in conversations with a timer: some end within a world, some do not.
const LIVES_MS: [u64; 3] = [5_000, 60_000, 3_600_000];

impl World {
    /// Deletes one of the device's own messages.
    ///
    /// # Errors
    /// What is wrong with the product.
    pub fn delete(&mut self, device: usize) -> Outcome {
        let known: BTreeSet<ConversationId> = self.conversations(device)?.into_iter().map(|(id, _)| id).collect();
        let own: Vec<(String, ConversationId, OpId)> = self
            .oracle
            .said
            .iter()
            .filter(|(_, said)| said.author == device && said.sure && !said.ends && known.contains(&said.conversation))
            .filter_map(|(text, said)| Some((text.clone(), said.conversation, said.id?)))
            .collect();
        if own.is_empty() {
            return Ok(());
        }
        let (text, conversation, id) = self.rng.pick(&own).clone();
        // A failing disk may have kept it although the call says no.
        if let Some(said) = self.oracle.said.get_mut(&text) {
            said.ends = true;
        }
        let now = self.now(device);
        let Some(node) = self.machines[device].node_mut() else { return Ok(()) };
        let deleted = node.delete(conversation, &id, now);
        // A device that was restored, or that runs twice, may not have what it wrote.
        let absent = ["unknown-message", "unknown-conversation", "not-yours"];
        if self.took(device, deleted, &absent)?.is_some() {
            let name = self.machines[device].name.clone();
            self.trace.note(self.now_ms, format_args!("{name} deletes {} in {}", id.short(), conversation.short()));
            self.read(device, &conversation, 1_000)?;
        }
        Ok(())
    }

    /// Lets what is written from now on in a conversation end after a while, or stay.
    ///
    /// # Errors
    /// What is wrong with the product.
    pub fn set_timer(&mut self, device: usize) -> Outcome {
        let known = self.conversations(device)?;
        let members: Vec<ConversationId> = known.into_iter().filter(|(_, member)| *member).map(|(id, _)| id).collect();
        if members.is_empty() {
            return Ok(());
        }
        let conversation = *self.rng.pick(&members);
        let after_ms = if self.rng.chance(300) { 0 } else { *self.rng.pick(&LIVES_MS) };
        let now = self.now(device);
        let Some(node) = self.machines[device].node_mut() else { return Ok(()) };
        let set = node.set_timer(conversation, after_ms, now);
        if self.took(device, set, &["unknown-conversation"])?.is_some() {
            let name = self.machines[device].name.clone();
            self.trace
                .note(self.now_ms, format_args!("{name}: messages in {} live {after_ms} ms", conversation.short()));
        }
        Ok(())
    }

    /// Whether a message was deleted or has an end.
    #[must_use]
    pub fn ends(&self, id: &OpId) -> bool {
        self.oracle.said.values().any(|said| said.ends && said.id.as_ref() == Some(id))
    }
}

/// No node holds the body of what a delivered op erases whose author may, or of what has expired, and none lacks another.
/// Judged from headers and members alone, as simply as possible.
///
/// # Errors
/// The op whose body is here, or is not.
pub fn gone(machine: &Machine, wall_ms: u64) -> Result<(), String> {
    let Some(body) = &machine.body else { return Ok(()) };
    let log = body.log();
    for row in log.conversations().map_err(|error| error.to_string())? {
        let ops = ops(log, &row.id)?;
        let authors: BTreeMap<OpId, DeviceId> = ops.iter().map(|op| (op.id, op.header.author)).collect();
        let members = log.members(&row.id).map_err(|error| error.to_string())?;
        let account = |device: &DeviceId| members.iter().find(|it| it.device == *device).map(|it| it.account);
        let founder = ops.iter().find(|op| op.header.is_genesis()).and_then(|op| account(&op.header.author));
        let mut erased = BTreeSet::new();
        for op in &ops {
            if op.header.erases.is_empty() || !is_delivered(log, op)? {
                continue;
            }
            let by = op.header.author;
            let same = |author: &DeviceId| *author == by || (account(&by).is_some() && account(author) == account(&by));
            let founded = founder.is_some() && account(&by) == founder;
            let may = |id: &&OpId| authors.get(*id).is_some_and(|author| same(author) || founded);
            erased.extend(op.header.erases.iter().filter(may).copied());
        }
        for op in ops.iter().filter(|op| op.header.class == Class::Content) {
            let over = op.header.expires_ms != 0 && op.header.expires_ms <= wall_ms;
            let must_be_gone = over || erased.contains(&op.id);
            if must_be_gone && op.body.is_some() {
                return Err(format!("the body of {} should be gone and is here", op.id.short()));
            }
            // A clock that was ahead has erased too early; nobody has that body back.
            if !must_be_gone && op.body.is_none() && op.header.expires_ms == 0 {
                return Err(format!("the body of {} is gone, and nothing says why", op.id.short()));
            }
        }
    }
    Ok(())
}

/// What a machine may lack the body of: whatever ops that it has say is to be erased, whether they are delivered or not,
/// and what disappears at a time, which has come early for whoever's clock is ahead.
///
/// # Errors
/// Of the log.
pub fn named(machine: &Machine, conversation: &ConversationId) -> Result<BTreeSet<OpId>, String> {
    let Some(body) = &machine.body else { return Ok(BTreeSet::new()) };
    let ops = ops(body.log(), conversation)?;
    let ending = ops.iter().filter(|op| op.header.expires_ms != 0 && op.body.is_none()).map(|op| op.id);
    Ok(ops.iter().flat_map(|op| op.header.erases.iter().copied()).chain(ending).collect())
}

fn is_delivered(log: &Reader, op: &Op) -> Result<bool, String> {
    let conn = log.connection().map_err(|error| error.to_string())?;
    let sql = "SELECT EXISTS (SELECT 1 FROM undelivered u JOIN op o ON o.arrival = u.arrival WHERE o.id = ?1)";
    let waits: bool =
        conn.query_row(sql, params![op.id.as_bytes()], |row| row.get(0)).map_err(|error| error.to_string())?;
    Ok(!waits)
}

fn ops(log: &Reader, conversation: &ConversationId) -> Result<Vec<Op>, String> {
    let found = log.arrivals(&ArrivalQuery {
        after: 0,
        through: u64::MAX,
        conversations: &[(*conversation, 0)],
        not_from: None,
        limit_ops: 1_000_000,
        limit_bytes: 1 << 30,
    });
    Ok(found.map_err(|error| error.to_string())?.into_iter().map(|(_, op)| op).collect())
}
