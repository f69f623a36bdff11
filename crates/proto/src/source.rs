//! What a session asks of the log: a small, synchronous, read-only view.
//!
//! The machine holds positions and queues; ops and fingerprints stay where they are and are asked for. Everything that
//! changes the log is an output of the session and comes back as an input once it is durable.

use crate::batch::Named;
use crate::reconcile::{estimator::Estimator, ranges::RangeSource, sketch::Sketch};
use alloc::vec::Vec;
use core::fmt::Display;
use tombolo_model::digest::Chain;
use tombolo_model::{ConversationId, DeviceId, LogId, Op, Proof, Register};

/// A place in the order in which a replica stored ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Random number of this life of the replica's store: a store that starts anew gets a new one.
    pub incarnation: u64,
    /// How many ops were stored.
    pub position: u64,
    /// Running hash over them.
    pub chain: Chain,
}

/// What a replica holds of a conversation, in two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// Ops held.
    pub count: u64,
    /// Commits to exactly which.
    pub proof: Proof,
}

/// How far a replica holds one log. A log is named by its eight random bytes alone: 11 bytes a log instead of 43.
/// Should two authors share them (only a hostile one would), both are ragged and the name means both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Height {
    /// The log.
    pub log: LogId,
    /// Everything from seq 1 to here is held.
    pub height: u64,
    /// Whether ops above `height` are held too, or two ops share a place: heights alone cannot name what is held.
    pub ragged: bool,
}

/// A stretch of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The log.
    pub log: LogId,
    /// First seq wanted.
    pub from: u64,
    /// Last seq wanted.
    pub to: u64,
}

/// An op that both sides may know by the beginning of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What stands for it.
    pub named: Named,
    /// When it came, in the own order of arrival.
    pub arrival: u64,
    /// The peer that is asked about brought it.
    pub brought: bool,
}

/// Some ops in arrival order and how far they reach.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// The ops, oldest arrival first.
    pub ops: Vec<Op>,
    /// Everything up to here that the peer may see is in `ops` or was before `after`.
    pub through: u64,
}

/// Some registers in the order in which they changed, and how far they reach.
#[derive(Clone, Debug, Default)]
pub struct RegisterPage {
    /// The registers, oldest change first.
    pub registers: Vec<Register>,
    /// Every change up to here that the peer may see is in `registers` or was before `after`.
    pub through: u64,
    /// There are no later ones.
    pub last: bool,
}

/// The read-only view. Every method answers from one consistent state.
pub trait Source {
    /// Why reading failed.
    type Error: Display;
    /// Range fingerprints of one conversation.
    type Ranges<'a>: RangeSource
    where
        Self: 'a;

    /// Own arrival order: where it ends.
    fn cursor(&self) -> Result<Cursor, Self::Error>;
    /// The chain at a position of the own arrival order; `None` beyond its end.
    fn chain_at(&self, position: u64) -> Result<Option<Chain>, Self::Error>;
    /// How far the peer's arrival order has been read, as last stored.
    fn peer_cursor(&self, peer: &DeviceId) -> Result<Option<Cursor>, Self::Error>;
    /// Own arrival position up to which the peer has acknowledged everything that it may see; 0 = nothing, which is
    /// always a safe answer.
    fn acked(&self, peer: &DeviceId) -> Result<u64, Self::Error> {
        let _ = peer;
        Ok(0)
    }
    /// The same with what this process knows and has not written down yet: what may be named to the peer by less than its
    /// whole id. At least [`Source::acked`], unless the peer has lost something since.
    fn held(&self, peer: &DeviceId) -> Result<u64, Self::Error> {
        self.acked(peer)
    }
    /// As [`Source::acked`], counting only acknowledgements of batches that carried a cursor of ours: the peer has stored that cursor
    /// with the ops, so an earlier one means that it has lost them. At most [`Source::acked`].
    fn streamed(&self, peer: &DeviceId) -> Result<u64, Self::Error> {
        let _ = peer;
        Ok(0)
    }
    /// The conversations that both sides of a connection with `peer` may see, sorted, each with the own arrival position
    /// at which `peer` gained access or was named (0 = from the start): a cursor below it says nothing of what had arrived
    /// before.
    fn shared(&self, peer: &DeviceId) -> Result<Vec<(ConversationId, u64)>, Self::Error>;
    /// What is held of a conversation; nothing of an unknown one.
    fn summary(&self, conversation: &ConversationId) -> Result<Summary, Self::Error>;
    /// Ops that `peer` may see, did not bring itself, and that arrived after `after` and not after `through`; at most
    /// about `bytes_max` bytes of bodies.
    fn arrivals(&self, peer: &DeviceId, after: u64, through: u64, bytes_max: usize) -> Result<Arrivals, Self::Error>;
    /// Everything held of a conversation that arrived after `after` and not after `through`, but for what `not_from`
    /// brought.
    fn everything(
        &self,
        conversation: &ConversationId,
        after: u64,
        through: u64,
        not_from: Option<&DeviceId>,
        bytes_max: usize,
    ) -> Result<Arrivals, Self::Error>;
    /// Heights of all logs of a conversation, sorted by log.
    fn heights(&self, conversation: &ConversationId) -> Result<Vec<Height>, Self::Error>;
    /// Ops of a run, ascending; at most about `bytes_max` bytes of bodies.
    fn run(&self, conversation: &ConversationId, run: &Run, bytes_max: usize) -> Result<Vec<Op>, Self::Error>;
    /// Ops whose ids start with one of `prefixes`, in an order in which parents come first.
    fn by_prefix(&self, conversation: &ConversationId, prefixes: &[u64]) -> Result<Vec<Op>, Self::Error>;
    /// The only op of a conversation whose id begins with `prefix`; `None` where there is none, or more than one. Whoever
    /// always says `None` speaks and understands whole ids alone.
    fn known(&self, peer: &DeviceId, conversation: &ConversationId, prefix: u64) -> Result<Option<Known>, Self::Error> {
        let _ = (peer, conversation, prefix);
        Ok(None)
    }
    /// Prefixes of the ids of ops that are held without their bodies although nothing says that they are gone; at most
    /// `limit`, in an order that does not change while they lack.
    fn lacking(&self, conversation: &ConversationId, limit: usize) -> Result<Vec<u64>, Self::Error> {
        let _ = (conversation, limit);
        Ok(Vec::new())
    }
    /// The ops of a log after `seq` up to the first that carries a signature: they vouch for op `seq`.
    fn voucher(
        &self,
        conversation: &ConversationId,
        author: &DeviceId,
        log: &LogId,
        seq: u64,
    ) -> Result<Vec<Op>, Self::Error>;
    /// The first `cells` cells of the conversation's sketch.
    fn sketch(&self, conversation: &ConversationId, cells: usize) -> Result<Sketch, Self::Error>;
    /// The conversation's difference estimator.
    fn estimator(&self, conversation: &ConversationId) -> Result<Estimator, Self::Error>;
    /// Position of the last change of a register; 0 = there is none.
    fn registers_end(&self) -> Result<u64, Self::Error> {
        Ok(0)
    }
    /// Up to where the peer's changes of registers were read, in its own count.
    fn registers_read(&self, peer: &DeviceId) -> Result<u64, Self::Error> {
        let _ = peer;
        Ok(0)
    }
    /// Digest of the registers that both sides may see.
    fn registers_digest(&self, peer: &DeviceId) -> Result<[u8; 6], Self::Error> {
        let _ = peer;
        Ok(tombolo_model::register::digest_of([]))
    }
    /// Registers that changed after a position and that `peer` may see; `whole` = also those that it brought itself. At
    /// most about `bytes_max` bytes.
    fn registers(
        &self,
        peer: &DeviceId,
        after: u64,
        whole: bool,
        bytes_max: usize,
    ) -> Result<RegisterPage, Self::Error> {
        let _ = (peer, whole, bytes_max);
        Ok(RegisterPage { registers: Vec::new(), through: after, last: true })
    }
    /// Range fingerprints of the conversation.
    fn ranges<'a>(&'a self, conversation: &ConversationId) -> Self::Ranges<'a>;
}
