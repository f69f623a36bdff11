//! What a session may ask of the log: [`proto::Source`](tombolo_proto::Source) over [`oplog`](tombolo_oplog).
//!
//! Sketches and estimators are kept lazily: stored with the arrival up to which they are current, brought up to date
//! from the arrivals since (about 0.3 microseconds an op) when a search needs them, and stored again with the next
//! transaction. An append costs nothing for them; ARCHITECTURE.md has the comparison.

use crate::registers::Audience;
use crate::{Marks, Scope};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tombolo_model::digest::Chain;
use tombolo_model::{ConversationId, DeviceId, Fingerprint, Key, LogId, Op, OpId};
use tombolo_oplog::{self as oplog, ArrivalQuery, LogError, Reader};
use tombolo_proto::batch::Named;
use tombolo_proto::limit::BATCH_OPS_MAX;
use tombolo_proto::reconcile::estimator::Estimator;
use tombolo_proto::reconcile::ranges::RangeSource;
use tombolo_proto::reconcile::sketch::{CELLS_KEPT, Sketch};
use tombolo_proto::source::{Arrivals, Cursor, Height, Known, RegisterPage, Run, Source, Summary};

/// Ops of one batch: half of what the wire allows, to leave room for vouchers.
const OPS_PER_BATCH: usize = BATCH_OPS_MAX / 2;
/// Sketches kept in memory; the least useful go first (they are on disk).
const SKETCHES_MAX: usize = 64;

/// Names kept in memory: those that a crowd is told at the same time.
const KNOWN_MAX: usize = 1_024;

/// A conversation's sketch prefix and estimator, current up to an arrival.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) sketch: Sketch,
    pub(crate) estimator: Estimator,
    pub(crate) through: u64,
    pub(crate) dirty: bool,
}

/// Conversations of a connection, each with the arrival at which the peer gained access.
pub(crate) type Shared = Rc<Vec<(ConversationId, u64)>>;

/// What is worth remembering between questions. Never the truth: everything can be dropped.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) sketches: RefCell<BTreeMap<ConversationId, Kept>>,
    authors: RefCell<BTreeMap<(ConversationId, LogId), Vec<DeviceId>>>,
    shared: RefCell<BTreeMap<(u64, DeviceId), Shared>>,
    /// What is named on many connections at once.
    known: RefCell<BTreeMap<(ConversationId, u64), oplog::Named>>,
    /// Whose registers a connection may see, by conversation.
    pub(crate) audiences: RefCell<BTreeMap<(u64, ConversationId), Audience>>,
}

impl Memory {
    /// A connection is gone.
    pub(crate) fn forget_conn(&self, conn: u64) {
        self.shared.borrow_mut().retain(|(of, _), _| *of != conn);
        self.audiences.borrow_mut().retain(|(of, _), _| *of != conn);
    }

    /// Membership, relays or conversations have changed.
    pub(crate) fn forget_shared(&self) {
        self.shared.borrow_mut().clear();
        self.audiences.borrow_mut().clear();
    }
}

/// The log as one connection may see it.
#[derive(Debug)]
pub struct View<'a> {
    pub(crate) log: &'a Reader,
    pub(crate) memory: &'a Memory,
    pub(crate) scope: &'a Scope,
    pub(crate) marks: &'a Marks,
    pub(crate) conn: u64,
    pub(crate) own: DeviceId,
}

impl<'a> View<'a> {
    /// `conn`: name and scope of the connection.
    pub(crate) fn new(
        log: &'a Reader,
        memory: &'a Memory,
        marks: &'a Marks,
        (conn, scope): (u64, &'a Scope),
        own: DeviceId,
    ) -> Self {
        Self { log, memory, scope, marks, conn, own }
    }

    pub(crate) fn shared_list(&self, peer: &DeviceId) -> Result<Shared, LogError> {
        if let Some(list) = self.memory.shared.borrow().get(&(self.conn, *peer)) {
            return Ok(Rc::clone(list));
        }
        let list = Rc::new(self.scope.shared(self.log, peer)?);
        self.memory.shared.borrow_mut().insert((self.conn, *peer), Rc::clone(&list));
        Ok(list)
    }

    fn authors_of(&self, conversation: &ConversationId, log: &LogId) -> Result<Vec<DeviceId>, LogError> {
        if let Some(authors) = self.memory.authors.borrow().get(&(*conversation, *log)) {
            return Ok(authors.clone());
        }
        let mut authors = self.memory.authors.borrow_mut();
        authors.retain(|(known, _), _| known != conversation);
        for height in self.log.heights(conversation)? {
            authors.entry((*conversation, height.log)).or_default().push(height.author);
        }
        Ok(authors.get(&(*conversation, *log)).cloned().unwrap_or_default())
    }

    /// Runs `read` on the conversation's sketch and estimator, brought up to date.
    fn with_kept<T>(
        &self,
        conversation: &ConversationId,
        read: impl FnOnce(&Kept) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let mut sketches = self.memory.sketches.borrow_mut();
        if !sketches.contains_key(conversation) {
            if sketches.len() >= SKETCHES_MAX {
                sketches.retain(|_, kept| kept.dirty);
            }
            sketches.insert(*conversation, self.stored_sketch(conversation)?);
        }
        let Some(kept) = sketches.get_mut(conversation) else {
            return Err(LogError::UnknownConversation(*conversation));
        };
        let Kept { sketch, estimator, through, dirty } = kept;
        self.log.ids_after(conversation, *through, |arrival, id| {
            sketch.insert(id.prefix());
            estimator.insert(id.prefix());
            *through = arrival;
            *dirty = true;
        })?;
        read(kept)
    }

    fn stored_sketch(&self, conversation: &ConversationId) -> Result<Kept, LogError> {
        let fresh = || Kept { sketch: Sketch::new(CELLS_KEPT), estimator: Estimator::new(), through: 0, dirty: false };
        let Some(stored) = self.log.sketch(conversation)? else { return Ok(fresh()) };
        // A sketch of another shape (an older version's) is built again.
        Ok(match (Sketch::from_bytes(&stored.cells), Estimator::from_bytes(&stored.estimator)) {
            (Ok(sketch), Ok(estimator)) if sketch.len() == CELLS_KEPT => {
                Kept { sketch, estimator, through: stored.through, dirty: false }
            }
            _ => fresh(),
        })
    }
}

impl Source for View<'_> {
    type Error = LogError;
    type Ranges<'r>
        = Ranges<'r>
    where
        Self: 'r;

    fn cursor(&self) -> Result<Cursor, LogError> {
        let cursor = self.log.cursor()?;
        Ok(Cursor { incarnation: cursor.incarnation, position: cursor.position, chain: cursor.chain })
    }

    fn chain_at(&self, position: u64) -> Result<Option<Chain>, LogError> {
        self.log.chain_at(position)
    }

    fn peer_cursor(&self, peer: &DeviceId) -> Result<Option<Cursor>, LogError> {
        // A mark that has not reached the disk yet counts for this process.
        let stored = || -> Result<_, LogError> { Ok(self.log.peer(peer)?.and_then(|peer| peer.cursor)) };
        let cursor = match self.marks.cursor(peer) {
            Some(cursor) => Some(cursor),
            None => stored()?,
        };
        Ok(cursor.map(|cursor| Cursor {
            incarnation: cursor.incarnation,
            position: cursor.position,
            chain: cursor.chain,
        }))
    }

    fn acked(&self, peer: &DeviceId) -> Result<u64, LogError> {
        Ok(self.log.peer(peer)?.map_or(0, |peer| peer.acked))
    }

    fn held(&self, peer: &DeviceId) -> Result<u64, LogError> {
        let held = self.marks.held(peer);
        if held.alone { Ok(held.through) } else { Ok(held.through.max(self.acked(peer)?)) }
    }

    fn streamed(&self, peer: &DeviceId) -> Result<u64, LogError> {
        Ok(self.log.peer(peer)?.map_or(0, |peer| peer.streamed))
    }

    fn shared(&self, peer: &DeviceId) -> Result<Vec<(ConversationId, u64)>, LogError> {
        self.shared_list(peer).map(|list| list.as_ref().clone())
    }

    fn summary(&self, conversation: &ConversationId) -> Result<Summary, LogError> {
        match self.log.conversation(conversation)? {
            None => Ok(Summary::default()),
            Some(row) => Ok(Summary { count: row.ops, proof: self.log.proof(conversation)? }),
        }
    }

    fn arrivals(&self, peer: &DeviceId, after: u64, through: u64, bytes_max: usize) -> Result<Arrivals, LogError> {
        let shared: Vec<(ConversationId, u64)> = self.shared_list(peer)?.iter().map(|(id, _)| (*id, 0)).collect();
        let found = self.log.arrivals(&ArrivalQuery {
            after,
            through,
            conversations: &shared,
            not_from: Some(*peer),
            limit_ops: OPS_PER_BATCH,
            limit_bytes: bytes_max,
        })?;
        let reached = found.last().map_or(through, |(arrival, _)| *arrival);
        Ok(Arrivals { ops: found.into_iter().map(|(_, op)| op).collect(), through: reached })
    }

    fn everything(
        &self,
        conversation: &ConversationId,
        after: u64,
        through: u64,
        not_from: Option<&DeviceId>,
        bytes_max: usize,
    ) -> Result<Arrivals, LogError> {
        let found = self.log.arrivals(&ArrivalQuery {
            after,
            through,
            conversations: &[(*conversation, 0)],
            not_from: not_from.copied(),
            limit_ops: OPS_PER_BATCH,
            limit_bytes: bytes_max,
        })?;
        let reached = found.last().map_or(after, |(arrival, _)| *arrival);
        let mut ops: Vec<Op> = found.into_iter().map(|(_, op)| op).collect();
        // Whoever has nothing of it judges by the first batch whether we may bring it.
        if after == 0 && not_from.is_none() && !ops.is_empty() {
            let here: BTreeSet<OpId> = ops.iter().map(|op| op.id).collect();
            let entitling = self.log.entitling(conversation, OPS_PER_BATCH / 2)?;
            ops.extend(entitling.into_iter().filter(|op| !here.contains(&op.id)));
        }
        // Parents first: to a newcomer its own join came before the op that founded the conversation.
        ops.sort_by_key(|op| (op.header.hlc, op.id));
        Ok(Arrivals { ops, through: reached })
    }

    fn heights(&self, conversation: &ConversationId) -> Result<Vec<Height>, LogError> {
        let mut found: Vec<Height> = self
            .log
            .heights(conversation)?
            .into_iter()
            .map(|height| Height {
                log: height.log,
                height: height.contiguous,
                ragged: height.branched || height.max != height.contiguous,
            })
            .collect();
        found.sort_by_key(|height| height.log);
        for index in 1..found.len() {
            if found[index].log == found[index - 1].log {
                found[index].ragged = true;
                found[index - 1].ragged = true;
            }
        }
        Ok(found)
    }

    fn run(&self, conversation: &ConversationId, run: &Run, bytes_max: usize) -> Result<Vec<Op>, LogError> {
        let mut found = Vec::new();
        for author in self.authors_of(conversation, &run.log)? {
            found.extend(self.log.run(conversation, &author, &run.log, run.from, run.to, OPS_PER_BATCH)?);
        }
        found.sort_by_key(|op| op.header.seq);
        let mut bytes = 0;
        let fits = found.iter().take_while(|op| {
            bytes += op.header.body_len as usize;
            bytes <= bytes_max
        });
        let keep = fits.count().clamp(1, OPS_PER_BATCH);
        found.truncate(keep);
        Ok(found)
    }

    fn by_prefix(&self, conversation: &ConversationId, prefixes: &[u64]) -> Result<Vec<Op>, LogError> {
        let mut found = self.log.by_prefix(conversation, prefixes)?;
        // Clock readings extend causal order: parents come first.
        found.sort_by_key(|op| (op.header.hlc, op.id));
        Ok(found)
    }

    fn known(&self, peer: &DeviceId, conversation: &ConversationId, prefix: u64) -> Result<Option<Known>, LogError> {
        let remembered = self.memory.known.borrow().get(&(*conversation, prefix)).copied();
        let found = match remembered {
            Some(named) => named,
            None => {
                let Some(named) = self.log.named(conversation, prefix)? else { return Ok(None) };
                let mut known = self.memory.known.borrow_mut();
                if known.len() >= KNOWN_MAX {
                    known.clear();
                }
                known.insert((*conversation, prefix), named);
                named
            }
        };
        let oplog::Named { id, author, log, seq, hlc, arrival, by } = found;
        let named = Named { id, author, log, seq, hlc };
        Ok(Some(Known { named, arrival, brought: by.as_ref() == Some(peer) }))
    }

    fn lacking(&self, conversation: &ConversationId, limit: usize) -> Result<Vec<u64>, LogError> {
        Ok(self.log.wanted(conversation, limit)?.iter().map(OpId::prefix).collect())
    }

    fn voucher(
        &self,
        conversation: &ConversationId,
        author: &DeviceId,
        log: &LogId,
        seq: u64,
    ) -> Result<Vec<Op>, LogError> {
        self.log.voucher(conversation, author, log, seq)
    }

    fn sketch(&self, conversation: &ConversationId, cells: usize) -> Result<Sketch, LogError> {
        self.with_kept(conversation, |kept| {
            let mut sketch = kept.sketch.clone();
            if cells <= CELLS_KEPT {
                sketch.truncate(cells);
                return Ok(sketch);
            }
            let mut items = Vec::new();
            self.log.ids_after(conversation, 0, |_, id| items.push(id.prefix()))?;
            sketch.extend_to(cells, items);
            Ok(sketch)
        })
    }

    fn estimator(&self, conversation: &ConversationId) -> Result<Estimator, LogError> {
        self.with_kept(conversation, |kept| Ok(kept.estimator.clone()))
    }

    fn registers_end(&self) -> Result<u64, LogError> {
        self.log.registers_end()
    }

    fn registers_read(&self, peer: &DeviceId) -> Result<u64, LogError> {
        match self.marks.registers_read(peer) {
            Some(read) => Ok(read),
            None => self.log.registers_read(peer),
        }
    }

    fn registers_digest(&self, peer: &DeviceId) -> Result<[u8; 6], LogError> {
        self.digest_of_registers(peer)
    }

    fn registers(&self, peer: &DeviceId, after: u64, whole: bool, bytes_max: usize) -> Result<RegisterPage, LogError> {
        self.page_of_registers(peer, after, whole, bytes_max)
    }

    fn ranges<'r>(&'r self, conversation: &ConversationId) -> Ranges<'r> {
        Ranges { log: self.log, conversation: *conversation }
    }
}

/// Range fingerprints of one conversation, from the digest tree.
#[derive(Debug)]
pub struct Ranges<'a> {
    log: &'a Reader,
    conversation: ConversationId,
}

impl RangeSource for Ranges<'_> {
    type Error = LogError;

    fn count(&self, lo: Key, hi: Key) -> Result<u64, LogError> {
        self.log.range(&self.conversation, lo, hi).map(|sum| sum.count)
    }

    fn fingerprint(&self, lo: Key, hi: Key) -> Result<Fingerprint, LogError> {
        self.log.range(&self.conversation, lo, hi).map(|sum| sum.fingerprint())
    }

    fn key_at(&self, lo: Key, rank: u64) -> Result<Option<Key>, LogError> {
        self.log.key_at(&self.conversation, lo, rank)
    }

    fn items(&self, lo: Key, hi: Key, limit: usize) -> Result<Vec<(Key, u64)>, LogError> {
        let items = self.log.items(&self.conversation, lo, hi, limit)?;
        Ok(items.into_iter().map(|(key, id)| (key, id.prefix())).collect())
    }
}
