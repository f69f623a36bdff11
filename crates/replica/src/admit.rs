//! What a peer brings, judged before it is stored: signatures, chains, and who may bring what.
//!
//! Everything untrusted passes here once; what comes out is stored as it is. Not here: storing and acknowledging
//! (`replica.rs`), whether an author is entitled (`oplog`), the arithmetic of signatures (`identity`).

use crate::replica::Replica;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_identity::Signed;
use tombolo_model::{Class, Control, ConversationId, DeviceId, Op, OpId, Sound};
use tombolo_oplog::{Batch, Fold, Incoming, LogError, NoFold, Reader, Reason};
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

/// What is decided of a batch before its signatures are known to be right: all its conversations are open to the peer.
#[derive(Default)]
pub(crate) struct Admitted {
    /// Conversations that the gate does not let in now.
    refused: BTreeMap<ConversationId, Refusal>,
    members: BTreeSet<ConversationId>,
}

/// Whether judging ops asks the log: for what vouches for them, or whether headers without bodies are known.
fn asks_log(signed: &Signed) -> bool {
    signed.asks() || signed.ops().iter().any(|op| op.body.is_none())
}

/// Judges chains. `log`: `None` where it would not be asked.
fn judge(
    conversation: &ConversationId,
    signed: Signed,
    member: bool,
    log: Option<&Reader>,
) -> Result<Vec<(Sound, Option<Control>)>, Fault> {
    // An op that this replica holds and whose `prev` it is vouches for it. Not for strangers: whether it does would tell
    // them what is here.
    let known = |author: &DeviceId, name: &tombolo_model::LogId, seq: u64| {
        let next = log.filter(|_| member)?.run(conversation, author, name, seq + 1, seq + 1, 1).ok()?;
        next.first().map(|op| op.header.prev)
    };
    let (verified, forged) = signed.judge(known);
    match forged.first() {
        Some((id, error)) => Err(Fault::Forged(format!("{} ({error})", id.short()))),
        None => Ok(verified),
    }
}

/// Headers without their bodies travel to vouch for ops before them, and are told from what is to be stored: of that `bare`
/// has no body either. Control ops are never stored without theirs, since who may take part follows from them.
fn apart(
    conversation: &ConversationId,
    verified: Vec<(Sound, Option<Control>)>,
    bare: &BTreeSet<OpId>,
    log: Option<&Reader>,
) -> Result<(Vec<Incoming>, Vec<Op>), LogError> {
    let mut incoming = Vec::with_capacity(verified.len());
    let mut vouchers = Vec::new();
    for (op, control) in verified {
        let known = || log.map_or(Ok(false), |log| log.has(conversation, &op.id));
        let is_bare = op.header.class == Class::Content && bare.contains(&op.id);
        if op.body.is_some() || is_bare || known()? {
            incoming.push(Incoming { op, control });
        } else {
            vouchers.push(op.into_op());
        }
    }
    Ok((incoming, vouchers))
}

impl Admitted {
    /// What is left of the batch, judged while others of its transaction are stored already.
    pub(crate) fn judge(
        self,
        parts: Parts,
        bare: &BTreeSet<OpId>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Checked, Fault>, LogError> {
        let Self { refused, members } = self;
        let mut checked = Checked { refused, remember: true, ..Checked::default() };
        for (conversation, _, signed) in parts {
            let log = if asks_log(&signed) { Some(batch.reads()?) } else { None };
            let verified = match judge(&conversation, signed, members.contains(&conversation), log) {
                Ok(verified) => verified,
                Err(fault) => return Ok(Err(fault)),
            };
            if !checked.refused.contains_key(&conversation) {
                let (incoming, vouchers) = apart(&conversation, verified, bare, log)?;
                checked.ops.push((conversation, incoming, vouchers));
            }
        }
        checked.members = members;
        Ok(Ok(checked))
    }
}

impl<F: Fold> Replica<F> {
    /// Whether a peer may bring ops of a conversation whatever they are.
    pub(crate) fn is_open(
        &self,
        conversation: &ConversationId,
        peer: &DeviceId,
        members_only: bool,
    ) -> Result<bool, LogError> {
        if members_only {
            self.log.is_member(conversation, peer)
        } else {
            Ok(self.log.conversation(conversation)?.is_some())
        }
    }

    /// Asks the gate about ops of conversations that are open to the peer.
    pub(crate) fn admit(&mut self, ops: &[Sound], peer: &DeviceId) -> Admitted {
        let mut bytes: BTreeMap<ConversationId, u64> = BTreeMap::new();
        for of_one in ops.chunk_by(|a, b| a.conversation() == b.conversation()) {
            *bytes.entry(of_one[0].conversation()).or_default() +=
                of_one.iter().map(|op| u64::from(op.header.body_len)).sum::<u64>();
        }
        let mut admitted = Admitted::default();
        for (conversation, bytes) in bytes {
            admitted.members.insert(conversation);
            if let Some(gate) = &mut self.gate
                && let Err(refusal) = gate.admit(&self.log, peer, &conversation, bytes)
            {
                admitted.refused.insert(conversation, refusal);
            }
        }
        admitted
    }

    /// Checks chains and access of what a peer brought, some of it of conversations that are not open to it yet.
    /// `members_only`: only members may bring anything.
    pub(crate) fn check(
        &mut self,
        parts: Parts,
        bare: &BTreeSet<OpId>,
        peer: &DeviceId,
        members_only: bool,
        now: Now,
    ) -> Result<Result<Checked, Fault>, LogError> {
        let mut checked = Checked::default();
        for (conversation, bytes, signed) in parts {
            let member = !members_only || self.log.is_member(&conversation, peer)?;
            if member {
                checked.members.insert(conversation);
            }
            let verified = match judge(&conversation, signed, member, Some(&self.log)) {
                Ok(verified) => verified,
                Err(fault) => return Ok(Err(fault)),
            };
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
            let (mut incoming, vouchers) = apart(&conversation, verified, bare, Some(&self.log))?;
            if !self.is_open(&conversation, peer, members_only)? {
                let newcomer = if members_only { *peer } else { self.key.id() };
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
