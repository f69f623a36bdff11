//! Ops of one log vouch for each other: each names the id of the one before it, so a checked signature of a later op
//! stands for all earlier ones that its chain of `prev` reaches.
//!
//! What is checked here is the same on every replica: a header is *authentic* when its author signed it or a later
//! authentic op of the same log names it; an op is taken when it is authentic, its body (where it came along) is the one
//! that the header names (which in a batch [`Sound`] stands for), and every signature that came along is valid, so that
//! whatever is stored can be passed on. An op that is refused for its body or for a spoiled copy of its signature still vouches for the ones before it.
//! Ids are taken from [`Op::id`]; in a batch it is by construction the hash of the header.

use crate::control::read_control;
use crate::error::IdentityError;
use crate::strict;
use ed25519_dalek::VerifyingKey;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use tombolo_model::control::Control;
use tombolo_model::crypto::{DOMAIN_OP, Signer};
use tombolo_model::{BodyHash, DeviceId, Header, LogId, Op, OpId, Sound};

/// Ops that were taken, in the order in which they were given, with what control ops say.
pub type Verified = Vec<(Sound, Option<Control>)>;
/// Ops that were dropped and why, in the order in which they were given.
pub type Refused = Vec<(OpId, IdentityError)>;

/// Completes a header with length and hash of the sealed body (empty for a merge) and signs it. The header's author
/// must be the device of `key`: otherwise nobody will take the op.
#[must_use]
pub fn sign_op(mut header: Header, key: &impl Signer, body: Vec<u8>) -> Op {
    debug_assert!(header.author == key.device(), "a device signs only its own ops");
    // Bodies are at most 64 KiB; a longer one fails the header's own check wherever it arrives.
    header.body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    header.body_hash = BodyHash::of(&body);
    let mut op = Op::new(header, None, Some(body));
    op.signature = Some(key.sign(DOMAIN_OP, &op.id.0));
    op
}

/// Checks a run: consecutive ops of one log, ascending. The last one must be signed or be `vouched_by`, the id that an
/// already checked op of the next seq names as its `prev`. All or nothing; an empty run is fine.
///
/// # Errors
/// The first [`IdentityError`] found; control bodies are not looked at.
pub fn verify_run(ops: &[Op], vouched_by: Option<&OpId>) -> Result<(), IdentityError> {
    let Some(last) = ops.last() else { return Ok(()) };
    for (op, next) in ops.iter().zip(&ops[1..]) {
        let (this, then) = (&op.header, &next.header);
        if this.author != then.author || this.log != then.log || this.seq.checked_add(1) != Some(then.seq) {
            return Err(IdentityError::NotOneRun);
        }
        if then.prev != op.id {
            return Err(IdentityError::BrokenChain);
        }
    }
    if last.signature.is_none() && vouched_by != Some(&last.id) {
        return Err(if vouched_by.is_some() { IdentityError::BrokenChain } else { IdentityError::Unsigned });
    }
    let key = strict::public(&last.header.author.0);
    for op in ops {
        check_body(op)?;
        if !check_signature(op, key.as_ref()).unwrap_or(true) {
            return Err(IdentityError::BadSignature);
        }
    }
    Ok(())
}

/// Checks ops of any logs in any order, duplicates and branches included, and reads control bodies.
///
/// `known(author, log, seq)` is the `prev` named by the op of that log at `seq + 1`, where the caller already holds and
/// has checked one: it vouches for an op at `seq`. It is asked only where nothing in the batch vouches.
#[must_use]
pub fn verify_batch(ops: Vec<Sound>, known: impl Fn(&DeviceId, &LogId, u64) -> Option<OpId>) -> (Verified, Refused) {
    Signed::check(ops).judge(known)
}

/// Whether an op is taken, and what it says if it is a control op.
type Verdict = Result<Option<Control>, IdentityError>;

/// Ops whose signatures were checked: the part of [`verify_batch`] that takes long and asks nobody, so that it can be
/// done on any thread.
#[derive(Debug)]
pub struct Signed {
    ops: Vec<Sound>,
    /// Whether each one's signature is its author's; `None` without one.
    signed: Vec<Option<bool>>,
    /// Unless it depends on what the caller holds.
    verdicts: Option<Vec<Verdict>>,
}

impl Signed {
    /// Checks the signatures.
    #[must_use]
    pub fn check(ops: Vec<Sound>) -> Self {
        let mut signed = vec![None; ops.len()];
        let mut key: Option<(DeviceId, Option<VerifyingKey>)> = None;
        for at in by_log(&ops) {
            let author = ops[at].header.author;
            if ops[at].signature.is_some() && key.as_ref().is_none_or(|(of, _)| *of != author) {
                key = Some((author, strict::public(&author.0)));
            }
            signed[at] = check_signature(&ops[at], key.as_ref().and_then(|(_, key)| key.as_ref()));
        }
        let asked = Cell::new(false);
        let verdicts = judge(&ops, &signed, &|_, _, _| {
            asked.set(true);
            None
        });
        Self { ops, signed, verdicts: (!asked.get()).then_some(verdicts) }
    }

    /// The ops, as they were given.
    #[must_use]
    pub fn ops(&self) -> &[Sound] {
        &self.ops
    }

    /// Whether the rest asks what the caller holds.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.verdicts.is_none()
    }

    /// The rest of [`verify_batch`].
    #[must_use]
    pub fn judge(self, known: impl Fn(&DeviceId, &LogId, u64) -> Option<OpId>) -> (Verified, Refused) {
        let Self { ops, signed, verdicts } = self;
        let verdicts = verdicts.unwrap_or_else(|| judge(&ops, &signed, &known));
        let (mut verified, mut refused) = (Vec::with_capacity(ops.len()), Vec::new());
        for (op, verdict) in ops.into_iter().zip(verdicts) {
            match verdict {
                Ok(control) => verified.push((op, control)),
                Err(error) => refused.push((op.id, error)),
            }
        }
        (verified, refused)
    }
}

/// Log by log with the highest seq first, so that whatever may vouch for an op is judged before it; copies with a
/// signature first.
fn by_log(ops: &[Sound]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ops.len()).collect();
    order.sort_unstable_by_key(|at| {
        let op = &ops[*at];
        (op.header.author, op.header.log, Reverse(op.header.seq), op.signature.is_none(), *at)
    });
    order
}

fn judge(
    ops: &[Sound],
    signed: &[Option<bool>],
    known: &impl Fn(&DeviceId, &LogId, u64) -> Option<OpId>,
) -> Vec<Verdict> {
    let mut errors: Vec<Option<IdentityError>> = vec![None; ops.len()];
    for group in by_log(ops).chunk_by(|a, b| log_of(&ops[*a]) == log_of(&ops[*b])) {
        judge_log(ops, group, signed, known, &mut errors);
    }
    let verdict = |(op, error): (&Sound, Option<IdentityError>)| match error {
        Some(error) => Err(error),
        None => check_empty(op).and_then(|()| read_control(op)),
    };
    ops.iter().zip(errors).map(verdict).collect()
}

fn log_of(op: &Op) -> (&DeviceId, &LogId) {
    (&op.header.author, &op.header.log)
}

/// Judges signatures and chain of one log's ops, given by descending seq.
fn judge_log(
    ops: &[Sound],
    group: &[usize],
    signed: &[Option<bool>],
    known: &impl Fn(&DeviceId, &LogId, u64) -> Option<OpId>,
    errors: &mut [Option<IdentityError>],
) {
    // What authentic ops at seq + 1 name as their predecessor; whether there was one in this batch.
    let mut named: BTreeSet<OpId> = BTreeSet::new();
    let mut named_at: u64 = 0;
    for level in group.chunk_by(|a, b| ops[*a].header.seq == ops[*b].header.seq) {
        let first = &ops[level[0]].header;
        let above = first.seq.saturating_add(1);
        if named_at != above {
            named.clear();
        }
        let mut authentic: BTreeSet<OpId> = BTreeSet::new();
        let mut prevs: BTreeSet<OpId> = BTreeSet::new();
        for at in level {
            let op = &ops[*at];
            let signed = signed[*at];
            let vouched = named.contains(&op.id)
                || authentic.contains(&op.id)
                || (signed != Some(true) && known(&first.author, &first.log, first.seq) == Some(op.id));
            errors[*at] = match signed {
                Some(true) => None,
                Some(false) => Some(IdentityError::BadSignature),
                None if vouched => None,
                None if named.is_empty() => Some(IdentityError::Unsigned),
                None => Some(IdentityError::BrokenChain),
            };
            if signed == Some(true) || vouched {
                authentic.insert(op.id);
                prevs.insert(op.header.prev);
            }
        }
        (named, named_at) = (prevs, first.seq);
    }
}

/// `None` without a signature; otherwise whether it is the author's, whose unpacked key is `key`.
fn check_signature(op: &Op, key: Option<&VerifyingKey>) -> Option<bool> {
    let signature = op.signature.as_ref()?;
    Some(key.is_some_and(|key| strict::verify_with(key, DOMAIN_OP, &op.id.0, &signature.0)))
}

/// Whether the body, where it came along, is the one that the header names.
fn check_body(op: &Op) -> Result<(), IdentityError> {
    check_empty(op)?;
    let Some(body) = &op.body else { return Ok(()) };
    if body.len() == op.header.body_len as usize && BodyHash::of(body) == op.header.body_hash {
        Ok(())
    } else {
        Err(IdentityError::WrongBody)
    }
}

/// An empty body always counts as being there: what the header says of it is checked even when it did not come along.
fn check_empty(op: &Op) -> Result<(), IdentityError> {
    if op.header.body_len > 0 || op.header.body_hash == BodyHash::EMPTY {
        Ok(())
    } else {
        Err(IdentityError::WrongBody)
    }
}
