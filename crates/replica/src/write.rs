//! Writing own ops: place in the log, parents, clock; durable when it returns, visible in the same transaction.
//!
//! Writing never waits for a peer. Ops that are early (their clock is far ahead) are nobody's parents; a device whose
//! own tip is early begins a new log that does not name it.

use crate::replica::{Event, Output, Replica};
use std::collections::BTreeSet;
use tombolo_identity::{DeviceKey, sign_op};
use tombolo_model::limit::{BODY_BYTES_MAX, PARENTS_MAX};
use tombolo_model::{
    BodyHash, Class, Control, ConversationId, DeviceId, Header, Hlc, LogId, OpId, RelayAddress, Sound,
};
use tombolo_oplog::{Fold, Incoming, LogError, Reader, Reason};
use tombolo_proto::session::Now;

/// What to write.
pub enum Draft<'a> {
    /// A control op: its body is readable by relays.
    Clear(Box<Control>),
    /// A content op: sealed once the header is known.
    Sealed {
        /// Length of the sealed body in **bytes**.
        len: usize,
        /// Seals for a header that is complete but for the body hash.
        seal: &'a dyn Fn(&Header) -> Result<Vec<u8>, String>,
        /// What else its header says.
        rest: Rest,
    },
}

/// The fields of a header that most ops leave empty, see [`Header`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// **Milliseconds** since 1970 at which the body must be erased; 0 = never.
    pub expires_ms: u64,
    /// Ops whose bodies go; sorted and made unique when written.
    pub erases: Vec<OpId>,
    /// For relays to read, such as which blobs a message refers to.
    pub extension: Vec<u8>,
}

impl std::fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clear(control) => f.debug_tuple("Clear").field(control).finish(),
            Self::Sealed { len, .. } => write!(f, "Sealed({len} bytes)"),
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The op.
    pub id: OpId,
    /// Its conversation; for a genesis op the one that it founded.
    pub conversation: ConversationId,
    /// Its clock reading.
    pub hlc: Hlc,
    /// The log it stands in.
    pub log: LogId,
    /// Its place there.
    pub seq: u64,
    /// Own arrival position.
    pub arrival: u64,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The store failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The body could not be sealed.
    #[error("the message could not be sealed: {0}")]
    Seal(String),
    /// The body is too long.
    #[error("a message may have {BODY_BYTES_MAX} bytes when sealed, this one has {0}; split it or send it as a file")]
    TooLarge(usize),
    /// The own log did not take the op.
    #[error("the own log did not take the op: {0:?}")]
    Refused(Reason),
}

/// Where to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A new conversation: the first draft is its genesis.
    New,
    /// A conversation that is here.
    Known(ConversationId),
    /// A conversation of which nothing is here but an invitation: the first draft is the join. It names no op: should the
    /// invitation's be lost for ever, what the newcomer writes must be seen all the same.
    Invited {
        /// The conversation.
        conversation: ConversationId,
        /// Clock reading of the invitation's op.
        seen: Hlc,
        /// Relays that the invitation names, kept in the same transaction: without them nobody could be asked.
        relays: &'a [RelayAddress],
    },
}

impl From<Option<ConversationId>> for Target<'_> {
    fn from(conversation: Option<ConversationId>) -> Self {
        conversation.map_or(Self::New, Self::Known)
    }
}

/// What a new op follows.
struct Place {
    log: LogId,
    seq: u64,
    prev: OpId,
    parents: BTreeSet<OpId>,
    seen: Hlc,
}

impl<F: Fold> Replica<F> {
    /// Writes ops. When this returns they are on the disk and folded into the views, all of them or none. `fresh_log` is
    /// used if a new log begins.
    ///
    /// # Errors
    /// [`WriteError`]: nothing was written.
    pub fn write<'a>(
        &mut self,
        target: impl Into<Target<'a>>,
        drafts: &[Draft<'_>],
        fresh_log: LogId,
        now: Now,
    ) -> Result<Vec<Written>, WriteError> {
        let (key, device) = (&self.key, self.key.id());
        // Where to go on is read in the transaction that goes on there: another process may write, too.
        let mut batch = self.log.batch()?;
        let (mut named, mut relays): (_, &[RelayAddress]) = (None, &[]);
        let mut place = Place { log: fresh_log, seq: 1, prev: OpId::ZERO, parents: BTreeSet::new(), seen: Hlc::ZERO };
        match target.into() {
            Target::New => {}
            Target::Known(conversation) => {
                place = Place::next(batch.reads()?, &conversation, &device, fresh_log, now)?;
                named = Some(conversation);
            }
            Target::Invited { conversation, seen, relays: known } => {
                place.seen = seen;
                (named, relays) = (Some(conversation), known);
            }
        }
        let mut ops = Vec::with_capacity(drafts.len());
        while place.parents.len() > PARENTS_MAX {
            let few: BTreeSet<OpId> = place.parents.iter().take(PARENTS_MAX).copied().collect();
            let rest = place.parents.difference(&few).copied().collect();
            place.parents = few;
            let header = place.header(device, named, Class::Merge, now);
            ops.push(place.complete(key, header, Vec::new(), None)?);
            place.parents = rest;
        }
        for draft in drafts {
            let class = if matches!(draft, Draft::Clear(_)) { Class::Control } else { Class::Content };
            let mut header = place.header(device, named, class, now);
            let (body, control) = match draft {
                Draft::Clear(control) => (control.to_bytes(), Some(control.as_ref().clone())),
                Draft::Sealed { len, seal, rest } => {
                    header.expires_ms = rest.expires_ms;
                    header.erases = rest.erases.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
                    header.extension = rest.extension.clone();
                    header.body_len = u32::try_from(*len).unwrap_or(u32::MAX);
                    (seal(&header).map_err(WriteError::Seal)?, None)
                }
            };
            if body.len() > BODY_BYTES_MAX {
                return Err(WriteError::TooLarge(body.len()));
            }
            let incoming = place.complete(key, header, body, control)?;
            named = named.or_else(|| Some(incoming.op.conversation()));
            ops.push(incoming);
        }
        let merges: BTreeSet<OpId> = ops
            .iter()
            .filter(|incoming| incoming.op.header.class == Class::Merge)
            .map(|incoming| incoming.op.id)
            .collect();
        let mut written: Vec<Written> = ops
            .iter()
            .filter(|incoming| !merges.contains(&incoming.op.id))
            .map(|Incoming { op, .. }| Written {
                id: op.id,
                conversation: op.conversation(),
                hlc: op.header.hlc,
                log: op.header.log,
                seq: op.header.seq,
                arrival: 0,
            })
            .collect();
        let control = ops.iter().any(|incoming| incoming.control.is_some());
        let appended = batch.append(ops, None, now.wall_ms, &mut self.fold)?;
        if let Some(refusal) = appended.refused.into_iter().next() {
            return Err(WriteError::Refused(refusal.reason));
        }
        if let Some(first) = written.first() {
            for relay in relays {
                batch.add_relay(&first.conversation, relay)?;
            }
        }
        batch.commit()?;
        for op in &mut written {
            op.arrival = appended.stored.iter().find(|stored| stored.id == op.id).map_or(0, |stored| stored.arrival);
        }
        if control {
            self.memory.forget_shared();
        }
        if let Some(first) = written.first() {
            let ids = written.iter().map(|op| op.id).collect();
            let event = Event::Stored { conn: None, conversation: first.conversation, ids, tool: None };
            self.out.push_back(Output::Event(event));
        }
        if !appended.gone.is_empty() {
            self.tell_gone(appended.gone);
            // What this device erases has left its files when this returns, unless another connection still reads it.
            self.wipe(now)?;
        }
        self.changed(now);
        Ok(written)
    }
}

impl Place {
    /// Where a device goes on in a conversation.
    fn next(
        log: &Reader,
        conversation: &ConversationId,
        device: &DeviceId,
        fresh_log: LogId,
        now: Now,
    ) -> Result<Self, LogError> {
        let mut seen = Hlc::ZERO;
        let mut parents = BTreeSet::new();
        for (id, hlc) in log.heads(conversation)? {
            if !hlc.is_early(now.wall_ms) {
                parents.insert(id);
                seen = seen.max(hlc);
            }
        }
        let tail = log.tail(conversation, device)?;
        if let Some(tail) = tail.filter(|tail| !tail.hlc.is_early(now.wall_ms)) {
            parents.remove(&tail.id);
            return Ok(Self { log: tail.log, seq: tail.seq + 1, prev: tail.id, parents, seen: seen.max(tail.hlc) });
        }
        // A new log: its first op names the ends of the old ones, so that whoever has it has what was written before.
        for tip in log.old_tips(conversation, device)? {
            if !tip.hlc.is_early(now.wall_ms) && parents.len() < PARENTS_MAX {
                parents.insert(tip.id);
                seen = seen.max(tip.hlc);
            }
        }
        Ok(Self { log: fresh_log, seq: 1, prev: OpId::ZERO, parents, seen })
    }

    fn header(&mut self, author: DeviceId, conversation: Option<ConversationId>, class: Class, now: Now) -> Header {
        Header {
            version: tombolo_model::op::VERSION,
            class,
            conversation: conversation.unwrap_or(ConversationId::ZERO),
            author,
            log: self.log,
            seq: self.seq,
            prev: self.prev,
            hlc: Hlc::tick(self.seen, now.wall_ms),
            epoch: 0,
            expires_ms: 0,
            parents: std::mem::take(&mut self.parents).into_iter().collect(),
            erases: Vec::new(),
            extension: Vec::new(),
            body_len: 0,
            body_hash: BodyHash::default(),
        }
    }

    /// Signs an op and moves on behind it.
    fn complete(
        &mut self,
        key: &DeviceKey,
        header: Header,
        body: Vec<u8>,
        control: Option<Control>,
    ) -> Result<Incoming, WriteError> {
        let op = sign_op(header, key, body);
        let op = Sound::check(op).map_err(|_| WriteError::Refused(Reason::Malformed))?;
        self.prev = op.id;
        self.seq += 1;
        self.seen = op.header.hlc;
        Ok(Incoming { op, control })
    }
}
