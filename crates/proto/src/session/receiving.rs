//! What comes in: batches that must be durable before they are acknowledged, and the peer's word that it is done.

use super::sending::ack_bytes;
use super::{Context, Output, Session, local};
use crate::batch;
use crate::fault::Fault;
use crate::frame::{Ack, Batch, Frame, Refusal, Settled, Tool};
use crate::limit::{FRAME_BYTES_MAX, WINDOW_BATCHES};
use crate::source::{Cursor, Source};
use alloc::vec::Vec;
use tombolo_model::crypto::DOMAIN_ACK;
use tombolo_model::{ConversationId, Op, Sound};

/// A batch that the host is storing.
#[derive(Debug)]
pub(super) struct Arriving {
    hash: [u8; 32],
    bytes: u64,
    decoded: usize,
    tool: Tool,
    /// It named something that is not here.
    unnamed: bool,
}

/// **Bytes** of memory for decoded batches that are not stored yet: columns compress well, so the credit, which counts
/// bytes of the wire, does not bound it. More than twice what 64 full batches of short messages take.
const DECODED_BYTES_MAX: usize = 256 * 1024 * 1024;

fn decoded_bytes(ops: &[Sound]) -> usize {
    let one = |op: &Sound| {
        let lists = 32 * (op.header.parents.len() + op.header.erases.len()) + op.header.extension.len();
        size_of::<Op>() + lists + op.body.as_ref().map_or(0, Vec::len)
    };
    ops.iter().map(one).sum()
}

/// The peer's last word, and what had come before it.
#[derive(Debug)]
pub(super) struct PeerSettled {
    settled: Settled,
    after_batch: u64,
    remembered: bool,
}

impl Session {
    pub(super) fn on_batch<S: Source>(
        &mut self,
        batch: Batch,
        bytes: &[u8],
        ctx: &Context<'_, S>,
    ) -> Result<(), Fault> {
        if batch.number != self.last_received + 1 {
            return Err(Fault::OutOfTurn { frame: "batch" });
        }
        let over = self.persisting_bytes > self.config.window_bytes + FRAME_BYTES_MAX as u64;
        if over || self.persisting.len() > 2 * WINDOW_BATCHES {
            return Err(Fault::CreditExceeded);
        }
        let read = self.read_brief(&batch.ops, ctx)?;
        let unnamed = read.is_none();
        // What is not taken here is found by comparing; until then no place of the peer's says what is held.
        self.names.lost |= unnamed;
        let batch::Decoded { ops, bare } = read.unwrap_or_default();
        let decoded = decoded_bytes(&ops);
        if !self.persisting.is_empty() && self.persisting_decoded + decoded > DECODED_BYTES_MAX {
            return Err(Fault::CreditExceeded);
        }
        let incarnation = self.peer_resume.as_ref().map_or(0, |resume| resume.incarnation);
        let through =
            batch.through.filter(|_| !self.names.lost).map(|(position, chain)| Cursor { incarnation, position, chain });
        let hash = *blake3::hash(bytes).as_bytes();
        let arriving = Arriving { hash, bytes: bytes.len() as u64, decoded, tool: batch.tool, unnamed };
        self.persisting_bytes += arriving.bytes;
        self.persisting_decoded += decoded;
        self.persisting.insert(batch.number, arriving);
        self.last_received = batch.number;
        self.out.push_back(Output::Persist { number: batch.number, tool: batch.tool, ops, bare, through });
        Ok(())
    }

    pub(super) fn on_persisted<S: Source>(
        &mut self,
        number: u64,
        stored: u64,
        mut refused: Vec<(ConversationId, Refusal)>,
        ctx: &Context<'_, S>,
    ) -> Result<(), Fault> {
        let Some(arriving) = self.persisting.remove(&number) else {
            return Err(Fault::Local("a batch was stored that was not handed out".into()));
        };
        self.persisting_bytes -= arriving.bytes;
        self.persisting_decoded -= arriving.decoded;
        self.last_acked = self.last_acked.max(number);
        self.stats.ops_in[arriving.tool as usize] += stored;
        self.moved_ops |= stored > 0;
        if arriving.unnamed {
            refused.push((ConversationId::ZERO, Refusal::Unnamed));
        }
        let incarnation = ctx.source.cursor().map_err(local)?.incarnation;
        let message = ack_bytes(incarnation, &self.peer, &arriving.hash);
        let signature = ctx.signer.sign(DOMAIN_ACK, &message);
        self.send(&Frame::Ack(Ack { number, signature, refused: refused.clone() }));
        let passes = |refusal: &Refusal| matches!(refusal, Refusal::Waits | Refusal::Unnamed);
        for (conversation, refusal) in refused.into_iter().filter(|(_, refusal)| !passes(refusal)) {
            self.block(conversation, refusal, false);
        }
        self.bodies_came(ctx)?;
        self.compare(ctx)
    }

    pub(super) fn on_settled<S: Source>(&mut self, settled: Settled, ctx: &Context<'_, S>) -> Result<(), Fault> {
        if settled.seen > self.last_batch {
            return Err(Fault::OutOfTurn { frame: "settled" });
        }
        if !self.config.initiator {
            self.round = settled.round;
        }
        self.peer_settled = Some(PeerSettled { settled, after_batch: self.last_received, remembered: false });
        self.compare(ctx)
    }

    /// Compares proofs once everything that came before the peer's word is on disk.
    pub(super) fn compare<S: Source>(&mut self, ctx: &Context<'_, S>) -> Result<(), Fault> {
        let Some(peer) = &self.peer_settled else { return Ok(()) };
        if !self.persisting.is_empty() || peer.after_batch != self.last_received {
            return Ok(());
        }
        let settled = peer.settled.clone();
        let (proof, count, conversations) = self.overall(ctx)?;
        let position = ctx.source.cursor().map_err(local)?.position;
        if self.salted(&proof, false) == settled.proof {
            if let Some(peer) = self.peer_settled.as_mut().filter(|peer| !peer.remembered) {
                peer.remembered = true;
                // Only now: what the peer did not stream and a search has yet to find is not read.
                let incarnation = self.peer_resume.as_ref().map_or(0, |resume| resume.incarnation);
                let cursor = Cursor { incarnation, position: settled.position, chain: settled.chain };
                self.out.push_back(Output::Remember(cursor));
            }
            if self.proven != Some(position) || self.settled.as_ref().is_none_or(|mine| mine.position != position) {
                self.prove_equal(position, proof, count, conversations, ctx)?;
            }
            return Ok(());
        }
        let all_said = self.is_quiet()
            && settled.seen == self.last_batch
            && settled.round == self.round
            && self.sent_position >= position
            && self.settled.as_ref().is_some_and(|mine| mine.position == position && mine.seen == self.last_acked);
        if self.config.initiator && all_said { self.start_round(ctx) } else { Ok(()) }
    }
}
