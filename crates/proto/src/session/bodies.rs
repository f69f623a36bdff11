//! Bodies that lack: ops are compared by their headers, so both sides may be proven equal while one of them has an op
//! without its body, and nothing says why. Once equal, it asks for some of them, and for more as long as some came.
//!
//! Whoever erased or pruned such a body answers with the op as it has it. So an answer without a body is no fault, and what
//! did not come is not asked for again on this connection. Not here: which bodies lack (the host's log knows).

use super::{Context, Session, local};
use crate::fault::Fault;
use crate::frame::{Frame, Tool, Wanted};
use crate::limit::{BODIES_ASKED_MAX, BODIES_AT_ONCE, BODIES_MS};
use crate::source::Source;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use tombolo_model::ConversationId;

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// On this connection, by prefix of the op's id.
    asked: BTreeSet<(ConversationId, u64)>,
    /// Of these, on their way.
    open: BTreeSet<(ConversationId, u64)>,
    /// Whether any of the last ones came.
    came: bool,
    /// When those that are on their way are given up.
    pub(super) due_ms: Option<u64>,
}

impl Session {
    /// Asks for some that lack and were not asked for yet.
    pub(super) fn ask_bodies<S: Source>(
        &mut self,
        conversations: &[ConversationId],
        ctx: &Context<'_, S>,
    ) -> Result<(), Fault> {
        if !self.bodies.open.is_empty() {
            return Ok(());
        }
        for conversation in conversations {
            let room = BODIES_AT_ONCE.saturating_sub(self.bodies.open.len());
            if room == 0 || self.bodies.asked.len() >= BODIES_ASKED_MAX {
                break;
            }
            let known = self.bodies.asked.iter().filter(|(of, _)| of == conversation).count();
            let lacking = ctx.source.lacking(conversation, known + room).map_err(local)?;
            let fresh: Vec<u64> = lacking
                .into_iter()
                .filter(|prefix| !self.bodies.asked.contains(&(*conversation, *prefix)))
                .take(room)
                .collect();
            if fresh.is_empty() {
                continue;
            }
            let named = fresh.iter().map(|prefix| (*conversation, *prefix));
            self.bodies.asked.extend(named.clone());
            self.bodies.open.extend(named);
            self.send(&Frame::Want {
                conversation: *conversation,
                tool: Tool::Sketch,
                wanted: Wanted::Prefixes(fresh),
            });
        }
        self.bodies.came = false;
        self.bodies.due_ms = (!self.bodies.open.is_empty()).then_some(ctx.now.mono_ms + BODIES_MS);
        Ok(())
    }

    /// Something was stored: looks which of them have come, and asks for more once all have.
    pub(super) fn bodies_came<S: Source>(&mut self, ctx: &Context<'_, S>) -> Result<(), Fault> {
        if self.bodies.open.is_empty() {
            return Ok(());
        }
        let mut left = BTreeSet::new();
        let conversations: BTreeSet<ConversationId> = self.bodies.open.iter().map(|(of, _)| *of).collect();
        for conversation in &conversations {
            let lacking = ctx.source.lacking(conversation, self.bodies.asked.len()).map_err(local)?;
            left.extend(lacking.into_iter().map(|prefix| (*conversation, prefix)));
        }
        let before = self.bodies.open.len();
        self.bodies.open.retain(|one| left.contains(one));
        if self.bodies.open.len() < before {
            self.bodies.came = true;
            self.bodies.due_ms = Some(ctx.now.mono_ms + BODIES_MS);
        }
        if self.bodies.open.is_empty() { self.more_bodies(ctx) } else { Ok(()) }
    }

    /// Those that are on their way have been waited for long enough: the peer has them no more than we do.
    pub(super) fn bodies_late<S: Source>(&mut self, ctx: &Context<'_, S>) -> Result<(), Fault> {
        self.bodies.open.clear();
        self.bodies.due_ms = None;
        if self.bodies.came { self.more_bodies(ctx) } else { Ok(()) }
    }

    fn more_bodies<S: Source>(&mut self, ctx: &Context<'_, S>) -> Result<(), Fault> {
        self.bodies.due_ms = None;
        let shared = ctx.source.shared(&self.peer).map_err(local)?;
        let conversations: Vec<ConversationId> = shared.into_iter().map(|(conversation, _)| conversation).collect();
        self.ask_bodies(&conversations, ctx)
    }
}
