//! A conversation on a screen: the newest window as items, then keyed diffs whenever something changes.
//!
//! The window is recomputed from the store and compared with what was handed out; nothing is guessed from events, so a
//! screen that applied every diff shows what a fresh one would. Not here: what items look like.

use crate::Error;
use crate::actor::Actor;
use crate::node::Node;
use std::collections::BTreeSet;
use tokio::sync::mpsc;
use tombolo_model::{ConversationId, OpId};
use tombolo_store::timeline::{Diff, Gap, Item, Window, build, diff};
use tombolo_store::{Look, Place, Section};

/// Diffs that a screen may lag behind before the next ones are joined into one.
const PENDING: usize = 16;
/// Missing ops that are counted; with more, "at least so many" is said.
const MISSING_MAX: usize = 10_000;

/// A window that is kept up to date.
#[derive(Debug)]
pub struct Timeline {
    /// The items when it was opened.
    pub items: Vec<Item>,
    /// Steps from there on, in order; each batch leads from one state of the store to a later one.
    pub diffs: mpsc::Receiver<Vec<Diff>>,
}

impl Node {
    /// The newest `limit` messages as items. `seen` is how far this person had seen when the window was opened;
    /// `offset_s` says how many **seconds** local time is ahead of UTC.
    ///
    /// # Errors
    /// Those of the store.
    pub fn window(
        &self,
        conversation: &ConversationId,
        limit: usize,
        seen: Option<Place>,
        offset_s: i32,
    ) -> Result<Vec<Item>, Error> {
        let mut messages = tombolo_store::page(self.log(), conversation, None, limit)?;
        if let Some(look) = Look::at(self.log(), conversation)? {
            look.complete(&mut messages)?;
        }
        let hidden = self.hidden(conversation)?;
        messages.retain(|message| !message.is_withdrawn() && !hidden.contains(&message.id()));
        let gaps = self.gaps(conversation)?;
        let window = Window { messages: &messages, gaps: &gaps, seen, own: self.device() };
        Ok(build(&window, &|_| offset_s))
    }

    /// What is known to be missing: ops that others depend on and that have not come.
    ///
    /// # Errors
    /// Those of the store.
    pub fn gaps(&self, conversation: &ConversationId) -> Result<Vec<Gap>, Error> {
        let missing = self.log().missing(conversation, MISSING_MAX)?;
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let mut authors = BTreeSet::new();
        let mut first = None;
        for id in self.log().pending(conversation)? {
            if let Some(op) = self.log().op(conversation, &id)? {
                authors.insert(op.header.author);
                first = Some(first.map_or(op.header.hlc, |first: tombolo_model::Hlc| first.min(op.header.hlc)));
            }
        }
        let Some(before) = first else { return Ok(Vec::new()) };
        let gap = Gap { after: before, before, missing: missing.len() as u64, authors: authors.into_iter().collect() };
        Ok(vec![gap])
    }

    /// The first of the newest `limit` messages that somebody else wrote and this person has not seen.
    ///
    /// # Errors
    /// Those of the store.
    pub fn first_unread(&self, conversation: &ConversationId, limit: usize) -> Result<Option<OpId>, Error> {
        let Some(seen) = self.seen(conversation)? else { return Ok(None) };
        let messages = tombolo_store::page(self.log(), conversation, None, limit)?;
        let new = |message: &&tombolo_store::Message| {
            message.place > seen && message.place.section == Section::Native && message.author != self.device()
        };
        Ok(messages.iter().find(new).map(|message| message.id()))
    }

    /// How far this person has seen.
    ///
    /// # Errors
    /// Those of the store.
    pub fn seen(&self, conversation: &ConversationId) -> Result<Option<Place>, Error> {
        Ok(tombolo_store::seen(self.log(), conversation)?)
    }
}

pub(crate) async fn open(
    actor: &Actor,
    conversation: ConversationId,
    limit: usize,
    offset_s: i32,
) -> Result<Timeline, Error> {
    let mut changes = actor.changes();
    let look = move |node: &mut Node, _| {
        let seen = node.seen(&conversation)?;
        Ok::<_, Error>((node.window(&conversation, limit, seen, offset_s)?, seen))
    };
    let (items, seen) = actor.call(look).await??;
    let (out, diffs) = mpsc::channel(PENDING);
    let mut shown = items.clone();
    let actor = actor.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = out.closed() => return,
            }
            let look = move |node: &mut Node, _| node.window(&conversation, limit, seen, offset_s);
            let Ok(Ok(next)) = actor.call(look).await else { return };
            let steps = diff(&shown, &next);
            if !steps.is_empty() {
                shown = next;
                if out.send(steps).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(Timeline { items, diffs })
}
