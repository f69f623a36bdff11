//! Finding what differs when the proofs do. The initiator drives; a round is roots and their answer, then per
//! conversation the cheapest tool that can name the difference:
//!
//! - one side has nothing: everything is sent;
//! - heights, when both sides hold every log without holes: a missing tail is named exactly;
//! - a sketch, sized by an estimator that travels with the answer: any scattered difference in one more round trip;
//! - range splitting, when a sketch does not decode, does not pay, or has failed before.
//!
//! Tools only search. Whether they found everything is for the proofs to say, in the settled frames that follow; a
//! conversation that still differs is searched again with a stronger tool, and named when nothing moves any more.

use super::sending::Job;
use super::{Context, Output, Session, local};
use crate::fault::Fault;
use crate::frame::{Difference, Frame, Root, Tool, Wanted};
use crate::limit::{
    CELLS_MAX, FRAME_BYTES_MAX, HEIGHTS_MAX, RANGE_BYTES, RANGE_MESSAGES_MAX, ROOTS_MAX, ROUNDS_MAX, WANTS_MAX,
};
use crate::reconcile::estimator::Estimator;
use crate::reconcile::ranges::{self, RangeError, Span};
use crate::reconcile::sketch::{self, Sketch};
use crate::source::{Height, Run, Source};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::vec::Vec;
use tombolo_model::{ConversationId, LogId, Proof};

/// What the initiator waits for, per conversation.
#[derive(Debug)]
pub(super) enum Search {
    /// `cells` were sent; once more is asked for more.
    Sketch {
        cells: usize,
        again: bool,
    },
    Ranges {
        messages: u32,
    },
}

/// Rounds without a single op moving after which a difference is named instead of searched for.
const STUCK_MAX: u32 = 3;
/// At or below this many ops on one side, listing ranges costs less than a sketch.
const SMALL: u64 = 24;

impl Session {
    pub(super) fn start_round<S: Source>(&mut self, ctx: &Context<'_, S>) -> Result<(), Fault> {
        if self.round > 0 && !self.moved_ops {
            self.stuck += 1;
        } else {
            self.stuck = 0;
        }
        if self.stuck >= STUCK_MAX || self.round - self.round_proven >= ROUNDS_MAX {
            if self.claimed_equal && self.stuck >= STUCK_MAX {
                return Err(Fault::Inconsistent);
            }
            let conversations = self.differing.iter().copied().collect();
            self.out.push_back(Output::Unproven { conversations });
            return Ok(());
        }
        self.moved_ops = false;
        self.round += 1;
        self.stats.rounds += 1;
        let mut roots = Vec::new();
        for (conversation, _) in ctx.source.shared(&self.peer).map_err(local)?.into_iter().take(ROOTS_MAX) {
            let summary = ctx.source.summary(&conversation).map_err(local)?;
            if summary.count > 0 && !self.blocked.contains_key(&conversation) {
                roots.push(Root { conversation, count: summary.count, tag: self.tag(&summary.proof, true) });
            }
        }
        // What was held back is named even if nothing of it is here: the responder holds it back until then.
        for conversation in core::mem::take(&mut self.offered) {
            if roots.len() < ROOTS_MAX && roots.iter().all(|root| root.conversation != conversation) {
                roots.push(Root { conversation, count: 0, tag: [0; 8] });
            }
        }
        self.awaiting_differ = true;
        self.ask(&Frame::Roots(roots));
        Ok(())
    }

    fn tag(&self, proof: &Proof, by_me: bool) -> [u8; 8] {
        let mut tag = [0; 8];
        tag.copy_from_slice(&self.salted(proof, by_me).0[..8]);
        tag
    }

    pub(super) fn on_roots<S: Source>(&mut self, roots: &[Root], ctx: &Context<'_, S>) -> Result<(), Fault> {
        self.stats.rounds += 1;
        let mut theirs: BTreeMap<ConversationId, &Root> = roots.iter().map(|root| (root.conversation, root)).collect();
        // The initiator names only what it does not hold back: a conversation that was refused is offered once more.
        self.blocked.retain(|conversation, _| !theirs.contains_key(conversation));
        let mut differences = Vec::new();
        let mut bytes = 0;
        for (conversation, _) in ctx.source.shared(&self.peer).map_err(local)? {
            let root = theirs.remove(&conversation);
            let summary = ctx.source.summary(&conversation).map_err(local)?;
            let equal = match root {
                None => summary.count == 0,
                Some(root) => root.count == summary.count && root.tag == self.tag(&summary.proof, false),
            };
            if equal || self.blocked.contains_key(&conversation) || bytes > FRAME_BYTES_MAX / 2 {
                continue;
            }
            let asked = root.is_some_and(|root| root.count > 0) && summary.count > 0;
            let mut difference =
                Difference { conversation, count: summary.count, heights: Vec::new(), estimator: Vec::new() };
            if asked && self.config.tools.heights {
                difference.heights = ctx.source.heights(&conversation).map_err(local)?;
                if difference.heights.len() > HEIGHTS_MAX {
                    difference.heights.clear();
                }
            }
            if asked && self.config.tools.sketch {
                difference.estimator = ctx.source.estimator(&conversation).map_err(local)?.to_bytes().to_vec();
            }
            bytes += 32 + 12 * difference.heights.len() + difference.estimator.len();
            differences.push(difference);
        }
        // What is left is unknown here, or not for this peer: both look the same from outside.
        differences.extend(theirs.into_keys().map(|conversation| Difference {
            conversation,
            count: 0,
            heights: Vec::new(),
            estimator: Vec::new(),
        }));
        differences.truncate(ROOTS_MAX);
        self.send(&Frame::Differ(differences));
        Ok(())
    }

    pub(super) fn on_differ<S: Source>(
        &mut self,
        differences: Vec<Difference>,
        ctx: &Context<'_, S>,
    ) -> Result<(), Fault> {
        self.awaiting_differ = false;
        self.claimed_equal = differences.is_empty();
        self.differing = differences.iter().map(|difference| difference.conversation).collect();
        let mut named = BTreeSet::new();
        for difference in differences {
            let conversation = difference.conversation;
            if !named.insert(conversation) || self.blocked.contains_key(&conversation) {
                continue;
            }
            if self.may_see(&conversation, ctx)? {
                self.search(difference, ctx)?;
            } else if difference.count > 0 {
                // The peer says that we may see it, and we have never heard of it.
                self.ask(&Frame::Want { conversation, tool: Tool::Heights, wanted: Wanted::All });
            }
        }
        Ok(())
    }

    fn search<S: Source>(&mut self, theirs: Difference, ctx: &Context<'_, S>) -> Result<(), Fault> {
        let conversation = theirs.conversation;
        let attempts = self.attempts.entry(conversation).or_insert(0);
        *attempts += 1;
        let first = *attempts == 1;
        let mine = ctx.source.summary(&conversation).map_err(local)?;
        if theirs.count == 0 {
            self.add_job(Job::everything(conversation, Tool::Heights));
            return Ok(());
        }
        if mine.count == 0 {
            self.ask(&Frame::Want { conversation, tool: Tool::Heights, wanted: Wanted::All });
            return Ok(());
        }
        let tools = self.config.tools;
        if tools.heights && !theirs.heights.is_empty() {
            let heights = ctx.source.heights(&conversation).map_err(local)?;
            let whole = |heights: &[Height], count: u64| {
                let sum = heights.iter().fold(0u64, |sum, height| sum.saturating_add(height.height));
                heights.iter().all(|height| !height.ragged) && sum == count
            };
            if whole(&heights, mine.count)
                && whole(&theirs.heights, theirs.count)
                && self.search_heights(conversation, &heights, &theirs.heights)
            {
                return Ok(());
            }
        }
        let small = mine.count.min(theirs.count) <= SMALL && tools.ranges;
        if tools.sketch
            && (first || !tools.ranges)
            && !small
            && let Ok(estimator) = Estimator::from_bytes(&theirs.estimator)
        {
            let own = ctx.source.estimator(&conversation).map_err(local)?;
            // Counts are exact where the estimate is not.
            let estimate = own.difference(&estimator).max(mine.count.abs_diff(theirs.count));
            let cells = sketch::cells_for(estimate);
            if cells < CELLS_MAX {
                return self.send_cells(conversation, cells, false, ctx);
            }
        }
        self.search_ranges(conversation, ctx)
    }

    /// Names missing tails; `false` when heights say that nothing differs although the proofs do.
    fn search_heights(&mut self, conversation: ConversationId, mine: &[Height], theirs: &[Height]) -> bool {
        let ours: BTreeMap<LogId, u64> = mine.iter().map(|height| (height.log, height.height)).collect();
        let others: BTreeMap<LogId, u64> = theirs.iter().map(|height| (height.log, height.height)).collect();
        let above = |high: &BTreeMap<LogId, u64>, low: &BTreeMap<LogId, u64>| -> Vec<Run> {
            let below = |log: &LogId| low.get(log).copied().unwrap_or(0);
            high.iter()
                .filter(|(log, height)| **height > below(log))
                .map(|(log, height)| Run { log: *log, from: below(log) + 1, to: *height })
                .collect()
        };
        let (send, mut want) = (above(&ours, &others), above(&others, &ours));
        if send.is_empty() && want.is_empty() {
            return false;
        }
        want.truncate(WANTS_MAX);
        if !want.is_empty() {
            self.ask(&Frame::Want { conversation, tool: Tool::Heights, wanted: Wanted::Runs(want) });
        }
        for run in send {
            self.add_job(Job::run(conversation, Tool::Heights, run));
        }
        true
    }

    pub(super) fn on_cells<S: Source>(
        &mut self,
        conversation: ConversationId,
        cells: &[u8],
        ctx: &Context<'_, S>,
    ) -> Result<(), Fault> {
        if !self.may_see(&conversation, ctx)? {
            self.send(&Frame::Decoded { conversation, want: Some(Vec::new()) });
            return Ok(());
        }
        let theirs = Sketch::from_bytes(cells)?;
        let mine = ctx.source.sketch(&conversation, theirs.len()).map_err(local)?;
        match mine.subtract(&theirs).decode() {
            Ok(difference) if difference.theirs.len() <= WANTS_MAX => {
                self.add_job(Job::prefixes(conversation, Tool::Sketch, difference.mine));
                self.send(&Frame::Decoded { conversation, want: Some(difference.theirs) });
            }
            _ => self.send(&Frame::Decoded { conversation, want: None }),
        }
        Ok(())
    }

    pub(super) fn on_decoded<S: Source>(
        &mut self,
        conversation: ConversationId,
        want: Option<Vec<u64>>,
        ctx: &Context<'_, S>,
    ) -> Result<(), Fault> {
        let Some(Search::Sketch { cells, again }) = self.searches.get(&conversation) else {
            let blocked = self.blocked.contains_key(&conversation);
            return if blocked { Ok(()) } else { Err(Fault::OutOfTurn { frame: "decoded" }) };
        };
        let (more, again) = (sketch::cells_after(*cells), *again);
        self.searches.remove(&conversation);
        match want {
            Some(prefixes) => {
                self.add_job(Job::prefixes(conversation, Tool::Sketch, prefixes));
                Ok(())
            }
            // The estimate was a little low: a longer sketch is far cheaper than splitting ranges.
            None if !again && more < CELLS_MAX => self.send_cells(conversation, more, true, ctx),
            None => self.search_ranges(conversation, ctx),
        }
    }

    fn send_cells<S: Source>(
        &mut self,
        conversation: ConversationId,
        cells: usize,
        again: bool,
        ctx: &Context<'_, S>,
    ) -> Result<(), Fault> {
        let sketch = ctx.source.sketch(&conversation, cells).map_err(local)?;
        self.searches.insert(conversation, Search::Sketch { cells, again });
        self.ask(&Frame::Cells { conversation, cells: sketch.to_bytes() });
        Ok(())
    }

    fn search_ranges<S: Source>(&mut self, conversation: ConversationId, ctx: &Context<'_, S>) -> Result<(), Fault> {
        if !self.config.tools.ranges {
            return Ok(());
        }
        let source = ctx.source.ranges(&conversation);
        let first = ranges::initial(&source, Span::ALL).map_err(|error| Fault::Local(error.to_string()))?;
        let ranges = ranges::to_bytes(Span::ALL, &first);
        self.searches.insert(conversation, Search::Ranges { messages: 0 });
        self.ask(&Frame::Ranges { conversation, want: Vec::new(), ranges });
        Ok(())
    }

    pub(super) fn on_ranges<S: Source>(
        &mut self,
        conversation: ConversationId,
        want: Vec<u64>,
        bytes: &[u8],
        ctx: &Context<'_, S>,
    ) -> Result<(), Fault> {
        if self.config.initiator {
            match self.searches.get_mut(&conversation) {
                Some(Search::Ranges { messages }) if *messages < RANGE_MESSAGES_MAX => *messages += 1,
                _ if self.blocked.contains_key(&conversation) => return Ok(()),
                _ => return Err(Fault::OutOfTurn { frame: "ranges" }),
            }
        }
        if !self.may_see(&conversation, ctx)? {
            self.send(&Frame::Ranges { conversation, want: Vec::new(), ranges: Vec::new() });
            return Ok(());
        }
        if !want.is_empty() {
            self.add_job(Job::prefixes(conversation, Tool::Ranges, want));
        }
        if bytes.is_empty() {
            self.searches.remove(&conversation);
            return Ok(());
        }
        let message = ranges::from_bytes(Span::ALL, bytes)?;
        let source = ctx.source.ranges(&conversation);
        let reply = ranges::respond(&source, Span::ALL, &message, RANGE_BYTES).map_err(|error| match error {
            RangeError::Malformed(malformed) => Fault::Malformed(malformed),
            RangeError::Source(_) | RangeError::Crowded { .. } => Fault::Local(error.to_string()),
        })?;
        if !reply.have.is_empty() {
            let prefixes = reply.have.iter().map(|(_, prefix)| *prefix).collect();
            self.add_job(Job::prefixes(conversation, Tool::Ranges, prefixes));
        }
        let over = ranges::is_settled(&reply.ranges);
        let ranges = if over { Vec::new() } else { ranges::to_bytes(Span::ALL, &reply.ranges) };
        if self.config.initiator && over {
            self.searches.remove(&conversation);
            if !reply.need.is_empty() {
                self.send(&Frame::Ranges { conversation, want: reply.need, ranges });
            }
        } else {
            self.ask(&Frame::Ranges { conversation, want: reply.need, ranges });
        }
        Ok(())
    }
}
