//! What a peer brings, judged before it is stored: signatures, chains, and who may bring what.
//!
//! Everything untrusted passes here once; what comes out is stored as it is. Not here: storing and acknowledging
//! (`replica.rs`), whether an author is entitled (`oplog`), the arithmetic of signatures (`identity`).

use crate::replica::Replica;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_identity::Signed;
use tombolo_model::{Control, ConversationId, DeviceId, Op, OpId, Sound};
use tombolo_oplog::{Fold, Incoming, LogError, NoFold, Reason};
use tombolo_proto::session::Now;
use tombolo_proto::{Fault, Refusal};

/// What is left of a batch.
#[derive(Default)]
pub(crate) struct Checked {
    /// What is to be stored of each conversation, and headers that vouch for some of it.
    pub(crate) ops: Vec<(ConversationId, Vec<Incoming>, Vec<Op>)>,
    pub(crate) refused: BTreeMap<ConversationId, Refusal>,
    /// Conversations in which the peer has a place already.
    pub(crate) members: BTreeSet<ConversationId>,
    /// Whether the peer shares anything, or does so with these ops: of a stranger nothing is remembered.
    pub(crate) remember: bool,
}

/// Ops of a batch by conversation, with the **bytes** of their bodies: their signatures are checked, nothing else.
pub(crate) type Parts = Vec<(ConversationId, u64, Signed)>;

/// What needs neither log nor order, and most of the time that checking takes.
pub(crate) fn signed(ops: Vec<Sound>) -> Parts {
    let mut by_conversation: BTreeMap<ConversationId, Vec<Sound>> = BTreeMap::new();
    for op in ops {
        by_conversation.entry(op.conversation()).or_default().push(op);
    }
    let part = |(conversation, ops): (ConversationId, Vec<Sound>)| {
        let bytes = ops.iter().map(|op| u64::from(op.header.body_len)).sum();
        (conversation, bytes, Signed::check(ops))
    };
    by_conversation.into_iter().map(part).collect()
}

impl<F: Fold> Replica<F> {
    /// Checks chains and access of what a peer brought. `members_only`: only members may bring anything.
    pub(crate) fn check(
        &mut self,
        parts: Parts,
        peer: &DeviceId,
        members_only: bool,
        now: Now,
    ) -> Result<Result<Checked, Fault>, LogError> {
        let mut checked = Checked::default();
        for (conversation, bytes, signed) in parts {
            let log = &self.log;
            let member = !members_only || log.is_member(&conversation, peer)?;
            if member {
                checked.members.insert(conversation);
            }
            // An op that this replica holds and whose `prev` it is vouches for it. Not for strangers: whether it does
            // would tell them what is here.
            let known = |author: &DeviceId, name: &tombolo_model::LogId, seq: u64| {
                if !member {
                    return None;
                }
                let next = log.run(&conversation, author, name, seq + 1, seq + 1, 1).ok()?;
                next.first().map(|op| op.header.prev)
            };
            let (verified, forged) = signed.judge(known);
            if let Some((id, error)) = forged.first() {
                return Ok(Err(Fault::Forged(format!("{} ({error})", id.short()))));
            }
            if !self.may_bring(&conversation, &verified, peer, members_only)? {
                checked.refused.insert(conversation, Refusal::NotHere);
                continue;
            }
            if let Some(gate) = &mut self.gate
                && let Err(refusal) = gate.admit(&self.log, peer, &conversation, bytes)
            {
                checked.refused.insert(conversation, refusal);
                continue;
            }
            let mut incoming = Vec::with_capacity(verified.len());
            let mut vouchers = Vec::new();
            for (op, control) in verified {
                // Headers without their bodies travel only to vouch for ops before them.
                if op.body.is_some() || self.log.has(&conversation, &op.id)? {
                    incoming.push(Incoming { op, control });
                } else {
                    vouchers.push(op.into_op());
                }
            }
            let newcomer = if members_only { *peer } else { self.key.id() };
            let open = if members_only { member } else { self.log.conversation(&conversation)?.is_some() };
            if !open {
                match self.let_in(&conversation, &incoming, peer, &newcomer, now)? {
                    // A join by an ended invitation is taken once another one has let its author in. Left out, it would
                    // be a hole, and the op before it could not be vouched for when it is passed on.
                    Ok(last) => incoming.sort_by_key(|incoming| last.contains(&incoming.op.id)),
                    Err(refusal) => {
                        checked.refused.insert(conversation, refusal);
                        continue;
                    }
                }
            }
            checked.ops.push((conversation, incoming, vouchers));
        }
        checked.remember =
            !checked.members.is_empty() || !checked.ops.is_empty() || !self.log.shared_with(peer)?.is_empty();
        Ok(Ok(checked))
    }

    /// Whether ops give `newcomer` a place in the conversation: which of them are taken only after that, or what is said
    /// to whoever brought them. Tried in a transaction that is given up: the rules are those of the log, and a stranger's
    /// ops leave nothing behind.
    fn let_in(
        &mut self,
        conversation: &ConversationId,
        ops: &[Incoming],
        peer: &DeviceId,
        newcomer: &DeviceId,
        now: Now,
    ) -> Result<Result<BTreeSet<OpId>, Refusal>, LogError> {
        let mut trial = self.log.batch()?;
        let appended = trial.append(ops.to_vec(), Some(peer), now.wall_ms, &mut NoFold)?;
        if trial.reads()?.is_member(conversation, newcomer)? {
            return Ok(Ok(appended.refused.iter().map(|refusal| refusal.id).collect()));
        }
        // Why its own way in is closed is for the newcomer to know; what became of other ops would tell what is here.
        let own = |id: &OpId| {
            ops.iter().find(|incoming| incoming.op.id == *id).is_some_and(|Incoming { op, control }| {
                let certificate = control.as_ref().and_then(Control::certificate);
                op.header.author == *newcomer || certificate.is_some_and(|found| found.device() == *newcomer)
            })
        };
        let reasons = appended.refused.iter().filter(|refusal| own(&refusal.id));
        let said = reasons.map(|refusal| to_refusal(&refusal.reason, false)).find(|said| *said != Refusal::NotHere);
        Ok(Err(said.unwrap_or(Refusal::NotHere)))
    }

    /// Who may bring ops of a conversation: its members, whoever founds it or joins it with these very ops, and, on a
    /// device, the relay that it dialled, for conversations that the device takes part in. Everybody else is told what
    /// they would be told of a conversation that does not exist.
    fn may_bring(
        &self,
        conversation: &ConversationId,
        ops: &[(Sound, Option<Control>)],
        peer: &DeviceId,
        members_only: bool,
    ) -> Result<bool, LogError> {
        let known = self.log.conversation(conversation)?.is_some();
        let makes_member = |device: &DeviceId| {
            ops.iter().any(|(_, control)| {
                control
                    .as_ref()
                    .and_then(Control::certificate)
                    .is_some_and(|certificate| certificate.device() == *device)
            })
        };
        let founded = ops.iter().any(|(op, _)| op.header.is_genesis());
        if members_only {
            return Ok(self.log.is_member(conversation, peer)? || ((known || founded) && makes_member(peer)));
        }
        let own = self.key.id();
        Ok(known || makes_member(&own))
    }
}

/// What a peer is told of a reason.
pub(crate) fn to_refusal(reason: &Reason, member: bool) -> Refusal {
    match reason {
        Reason::UnknownConversation => Refusal::NotHere,
        Reason::UnknownAuthor => Refusal::NotHere,
        // Whoever is no member learns nothing of what waits here, not even that something does.
        Reason::TooManyStrangers if !member => Refusal::NotHere,
        Reason::InviteUsedUp => Refusal::InviteUsedUp,
        Reason::InviteRevoked => Refusal::InviteRevoked,
        Reason::InviteExpired => Refusal::InviteExpired,
        _ => Refusal::TooMany,
    }
}
