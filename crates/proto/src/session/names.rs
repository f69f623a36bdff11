//! Short names for what the other side holds: which ops a batch may name by the beginning of their ids, and what the names
//! in a batch that came stand for.
//!
//! Named is only what the peer surely has on its disk: what it brought itself, and what arrived here up to the place that it
//! acknowledged or at which both sides were proven equal. Should it lack something all the same (its store was changed
//! behind our back, or two ids begin alike there), it takes nothing of the batch and says so; from then on whole ids
//! travel, and a comparison finds what lacks. So a wrong guess costs a search, never an op.
//!
//! Not here: how names stand in a batch (`batch`), batches that a search answers with (they always carry whole ids).

use super::{Context, Session, local};
use crate::batch::{self, Brief, Decoded, Named, Names};
use crate::fault::Fault;
use crate::source::Source;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use tombolo_model::{ConversationId, DeviceId, Op, OpId};

/// The first version with short names.
const SINCE: u8 = 3;

/// What a session knows about names.
#[derive(Debug, Default)]
pub(super) struct Naming {
    /// Own arrival position up to which the peer holds everything that it may see.
    pub(super) through: u64,
    /// The peer may have lost what it held; ends once both are proven equal.
    pub(super) off: bool,
    /// The peer did not know a name: no more of them on this connection.
    pub(super) refused: bool,
    /// Something here was not taken since it was named and is not known: places of the peer's do not count until both
    /// are proven equal.
    pub(super) lost: bool,
    /// Conversations of which the peer may lack something below `through`.
    whole: BTreeSet<ConversationId>,
}

impl Naming {
    /// The peer may lack older ops of a conversation.
    pub(super) fn whole(&mut self, conversation: ConversationId) {
        self.whole.insert(conversation);
    }

    /// Both hold the same in these conversations.
    pub(super) fn proven(&mut self, position: u64, conversations: &[ConversationId]) {
        self.through = position;
        (self.off, self.lost) = (false, false);
        for conversation in conversations {
            self.whole.remove(conversation);
        }
    }
}

impl Session {
    /// What a batch of these ops may name; `None` = nothing.
    pub(super) fn brief<S: Source>(&self, ops: &[Op], ctx: &Context<'_, S>) -> Result<Option<Brief>, Fault> {
        if self.version() < SINCE || self.names.off || self.names.refused {
            return Ok(None);
        }
        let here: BTreeSet<OpId> = ops.iter().map(|op| op.id).collect();
        let mut brief = Brief::default();
        for op in ops.iter().filter(|op| !self.names.whole.contains(&op.conversation())) {
            for id in core::iter::once(&op.header.prev).chain(&op.header.parents) {
                if *id == OpId::ZERO || here.contains(id) || brief.ops.contains_key(id) {
                    continue;
                }
                let known = ctx.source.known(&self.peer, &op.conversation(), id.prefix()).map_err(local)?;
                if let Some(known) = known
                    && known.named.id == *id
                    && (known.brought || known.arrival <= self.names.through)
                {
                    brief.ops.insert(*id, known.named.hlc);
                    brief.known.insert(op.conversation());
                }
            }
        }
        if brief.ops.is_empty() {
            return Ok(None);
        }
        let shared = ctx.source.shared(&self.peer).map_err(local)?;
        brief.shared = shared.into_iter().map(|(conversation, _)| conversation).collect();
        Ok(Some(brief))
    }

    /// Reads a batch; `None` when it names something that is not here.
    pub(super) fn read_brief<S: Source>(&self, bytes: &[u8], ctx: &Context<'_, S>) -> Result<Option<Decoded>, Fault> {
        if self.version() < SINCE {
            return Ok(Some(batch::decode_bare(bytes, ctx.compression)?));
        }
        let mut here = Here { source: ctx.source, peer: &self.peer, shared: None, failed: None };
        let read = batch::decode_brief(bytes, &mut here, ctx.compression)?;
        match here.failed {
            Some(words) => Err(Fault::Local(words)),
            None => Ok(read),
        }
    }
}

/// The own log as a book of names.
struct Here<'a, S: Source> {
    source: &'a S,
    peer: &'a DeviceId,
    shared: Option<Vec<ConversationId>>,
    failed: Option<String>,
}

impl<S: Source> Here<'_, S> {
    fn or_fail<T: Default>(&mut self, result: Result<T, S::Error>) -> T {
        result.unwrap_or_else(|error| {
            self.failed = Some(alloc::format!("{error}"));
            T::default()
        })
    }

    fn shared(&mut self) -> &[ConversationId] {
        if self.shared.is_none() {
            let shared = self.source.shared(self.peer);
            let shared = self.or_fail(shared);
            self.shared = Some(shared.into_iter().map(|(conversation, _)| conversation).collect());
        }
        self.shared.as_deref().unwrap_or_default()
    }
}

impl<S: Source> Names for Here<'_, S> {
    fn conversation(&mut self, begins: &[u8]) -> Option<ConversationId> {
        let mut found = self.shared().iter().filter(|conversation| conversation.0.starts_with(begins));
        let first = found.next().copied();
        if found.next().is_some() { None } else { first }
    }

    fn op(&mut self, conversation: &ConversationId, prefix: u64) -> Option<Named> {
        // A conversation that the peer may not see is as one that is not here.
        if self.shared().binary_search(conversation).is_err() {
            return None;
        }
        let known = self.source.known(self.peer, conversation, prefix);
        self.or_fail(known).map(|known| known.named)
    }
}
