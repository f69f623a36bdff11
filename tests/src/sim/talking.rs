//! What people change in the simulated world: edits, deletions, reactions, pins, titles, shared texts, and what devices
//! of one account agree on; and what must be true of it in the end.
//!
//! Devices that hold a conversation show the same beside every message, and what the ops of one device mean is said once
//! more by a model that looks at all of them for every question. Not here: what these ops add up to (`tombolo_store`).

use crate::sim::oracle::Letter;
use crate::sim::world::{Outcome, World};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_client::{AccountId, ConversationId, Error, Kind, Message, MessageState, Node, OpId};
use tombolo_model::content::{Content, MessageRef, Reaction, Slot, TagSet, Target};
use tombolo_model::{Class, Hlc, Op};
use tombolo_oplog::ArrivalQuery;

/// What a call may answer when its device does not hold, or may not do, what it is asked.
const REFUSALS: &[&str] = &[
    "unknown-conversation",
    "unknown-message",
    "not-yours",
    "deleted",
    "not-deleted",
    "too-late",
    "imported",
    "empty",
];
/// Signs that people react with.
const SIGNS: [&str; 3] = ["+", "heart", "\u{1f370}"];

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl World {
    /// Somebody changes something about a message or a conversation, and sees at once what it came to.
    ///
    /// # Errors
    /// What is wrong with the product.
    pub fn change(&mut self, device: usize) -> Outcome {
        let Some(conversation) = self.pick_conversation(device, true)? else { return Ok(()) };
        let what = self.rng.below(10);
        if what >= 8 {
            return self.change_texts(device, conversation);
        }
        let page = match self.now_and_node(device) {
            Some((_, node)) => node.messages(&conversation, 20, None, false),
            None => return Ok(()),
        };
        let Some(page) = self.took(device, page, REFUSALS)? else { return Ok(()) };
        // Whoever founded a conversation may delete what others write.
        let own = what < 4 && !(what == 2 && self.rng.chance(300));
        let fit: Vec<Message> =
            page.into_iter().filter(|it| it.state != MessageState::Sealed && (it.own || !own)).collect();
        if fit.is_empty() {
            return Ok(());
        }
        let message = self.rng.pick(&fit).clone();
        let id = message.id;
        let sign = SIGNS[self.rng.index(SIGNS.len())];
        let on = self.rng.chance(650);
        let text = self.oracle.text(20);
        if what < 4 {
            // Tried is enough: a failing disk may have kept it.
            self.oracle.changed.insert(id);
        }
        if what == 3 {
            self.oracle.deleted.remove(&id);
        }
        let Some((now, node)) = self.now_and_node(device) else { return Ok(()) };
        let done: Result<(), Error> = match what {
            0..=1 => node.edit(conversation, &id, &text, now),
            2 => node.delete(conversation, &id, now),
            3 => node.undo(conversation, &id, now),
            4..=6 => node.react(conversation, &id, sign, on, now),
            _ => node.pin(conversation, &id, on, now),
        };
        if self.took(device, done, REFUSALS)?.is_none() {
            return Ok(());
        }
        self.tally.changes += 1;
        let name = self.machines[device].name.clone();
        self.trace.note(self.now_ms, format_args!("{name} changes {} ({what}, {on})", id.short()));
        if what == 2 {
            self.oracle.deleted.insert(id, device);
        }
        let Some((_, node)) = self.now_and_node(device) else { return Ok(()) };
        let shown = node.message(&conversation, &id);
        let Some(shown) = self.took(device, shown, &[])? else { return Ok(()) };
        let reacted = |shown: &Message| shown.beside.reactions.iter().any(|it| it.emoji == sign && it.own);
        let as_meant = match what {
            0..=1 => shown.text == text,
            2 => shown.beside.deleted.is_some() && shown.text.is_empty(),
            4..=6 => shown.beside.deleted.is_some() || reacted(&shown) == on,
            7 => shown.beside.deleted.is_some() || shown.beside.pinned == on,
            _ => true,
        };
        if as_meant { Ok(()) } else { Err(format!("{name} does not see its own change {what} of {}", id.short())) }
    }

    fn change_texts(&mut self, device: usize, conversation: ConversationId) -> Outcome {
        let text = self.oracle.text(20);
        let what = self.rng.below(3);
        let Some((now, node)) = self.now_and_node(device) else { return Ok(()) };
        type Reads<'a> = &'a dyn Fn(&Node) -> Result<String, Error>;
        let (done, reads): (Result<(), Error>, Reads<'_>) = match what {
            0 => (node.rename(conversation, &text, now), &|node| Ok(title(node, &conversation)?.unwrap_or_default())),
            1 => (node.write_topic(conversation, &text, now).map(|_| ()), &|node| Ok(node.topic(&conversation)?.text)),
            _ => (node.write_note(conversation, "list", &text, now).map(|_| ()), &|node| {
                Ok(node.notes(&conversation)?.pop().map(|note| note.text).unwrap_or_default())
            }),
        };
        if self.took(device, done, REFUSALS)?.is_none() {
            return Ok(());
        }
        self.tally.changes += 1;
        let Some((_, node)) = self.now_and_node(device) else { return Ok(()) };
        let found = reads(node);
        match self.took(device, found, &[])? {
            Some(found) if found != text => {
                Err(format!("{} does not see the text that it has just written ({what})", self.machines[device].name))
            }
            _ => Ok(()),
        }
    }

    /// A device of an account with several says how it keeps a conversation, and lets the others in where they agree.
    ///
    /// # Errors
    /// What is wrong with the product.
    pub fn keep(&mut self, device: usize) -> Outcome {
        let Some(other) = self.siblings(device).first().copied() else { return self.change(device) };
        let Some(conversation) = self.pick_conversation(device, true)? else { return Ok(()) };
        let (what, on) = (self.rng.below(5), self.rng.chance(500));
        let text = self.oracle.text(10);
        let Some((now, node)) = self.now_and_node(device) else { return Ok(()) };
        let done = match what {
            0 => node.mute(conversation, if on { now.wall_ms } else { 0 }, now),
            1 => node.archive(conversation, on, now),
            2 => node.favourite(conversation, on, now),
            3 => node.folder(conversation, &text, now),
            _ => node.write_draft(conversation, &text, now).map(|_| ()),
        };
        if self.took(device, done, REFUSALS)?.is_none() {
            return Ok(());
        }
        self.tally.changes += 1;
        let Some((now, node)) = self.now_and_node(device) else { return Ok(()) };
        let account = node.account();
        let invited = node.own(now).and_then(|own| node.invite(Some(own), 20, 0, now));
        let Some(invitation) = self.took(device, invited, REFUSALS)? else { return Ok(()) };
        self.oracle.letters.push(Letter { invitation, limited: false, only: Some(account) });
        let letter = self.oracle.letters.len() - 1;
        self.accept_letter(other, letter)
    }

    /// Other running devices of the same account.
    fn siblings(&self, device: usize) -> Vec<usize> {
        let Some(account) = self.machines[device].node().map(Node::account) else { return Vec::new() };
        let own = self.machines[device].device;
        let same = |index: &usize| {
            let other = &self.machines[*index];
            other.device != own && other.node().is_some_and(|node| node.account() == account)
        };
        (0..self.machines.len()).filter(same).collect()
    }

    /// In the end: whoever holds a conversation shows the same beside every message, and it is what the ops mean.
    ///
    /// # Errors
    /// Where two differ.
    pub fn talk_agrees(&mut self) -> Outcome {
        let mut kept: BTreeMap<AccountId, Vec<(usize, BTreeSet<ConversationId>, String)>> = BTreeMap::new();
        for conversation in self.all_conversations()? {
            let due = self.circle(&conversation)?.due;
            let mut first: Option<(usize, Vec<String>)> = None;
            for index in due {
                if crate::sim::checks::waiting_of(&self.machines[index], &conversation)? > 0 {
                    continue;
                }
                let Some(node) = self.machines[index].node_mut() else { continue };
                let (shown, told) = told(node, &conversation).map_err(words)?;
                meant(node, &conversation, &shown)
                    .map_err(|error| format!("{}: {error}", self.machines[index].name))?;
                match &first {
                    None => first = Some((index, told)),
                    Some((one, known)) => {
                        if let Some((here, there)) = known.iter().zip(&told).find(|(here, there)| here != there) {
                            let names = (&self.machines[*one].name, &self.machines[index].name);
                            let place = conversation.short();
                            return Err(format!("{place}: {} shows {here}, but {} {there}", names.0, names.1));
                        }
                    }
                }
            }
        }
        for (index, machine) in self.machines.iter().enumerate() {
            let Some(node) = machine.node() else { continue };
            let own = node.own_conversations().map_err(words)?.into_iter().collect();
            let mut agreed = format!("{:?}", node.keeping().map_err(words)?);
            for row in node.log().conversations().map_err(words)? {
                agreed.push_str(&node.draft(&row.id).map_err(words)?.text);
            }
            kept.entry(node.account()).or_default().push((index, own, agreed));
        }
        // Early ops and gaps are not what devices disagree about.
        for devices in kept.values() {
            for (one, two) in devices.iter().flat_map(|one| devices.iter().map(move |two| (one, two))) {
                let mut still = true;
                for own in one.1.union(&two.1) {
                    for index in [one.0, two.0] {
                        still &= crate::sim::checks::waiting_of(&self.machines[index], own)? == 0;
                    }
                    still &= self.circle(own)?.due.is_superset(&BTreeSet::from([one.0, two.0]));
                }
                let same_list = {
                    let list = |index: usize| {
                        self.conversations(index).map(|mut all| {
                            all.sort();
                            all
                        })
                    };
                    list(one.0)? == list(two.0)?
                };
                if still && same_list && one.2 != two.2 {
                    let names = (&self.machines[one.0].name, &self.machines[two.0].name);
                    return Err(format!("{} keeps {}, but {} keeps {}", names.0, one.2, names.1, two.2));
                }
            }
        }
        Ok(())
    }
}

fn title(node: &Node, conversation: &ConversationId) -> Result<Option<String>, Error> {
    Ok(tombolo_store::title(node.log(), conversation)?)
}

/// Everything that a device shows of a conversation beside the texts of its messages, one line for each thing.
fn told(node: &mut Node, conversation: &ConversationId) -> Result<(Vec<Message>, Vec<String>), Error> {
    let shown = node.messages(conversation, usize::MAX, None, false)?;
    let mut lines = Vec::new();
    for message in &shown {
        let mut beside = message.beside.clone();
        // These depend on who looks.
        beside.reactions.iter_mut().for_each(|reaction| reaction.own = false);
        (beside.mentions_me, beside.blocked) = (false, false);
        lines.push(format!("{} {:?} {beside:?}", message.id.short(), message.text));
    }
    lines.push(format!("{:?}", tombolo_store::registers(node.log(), conversation)?));
    lines.push(format!("{:?}", tombolo_store::tagged(node.log(), conversation, &TagSet::Pins)?));
    lines.push(format!("{:?}", title(node, conversation)?));
    lines.push(format!("{:?}", tombolo_store::shared_text(node.log(), conversation, &Target::Topic)?));
    lines.push(format!("{:?}", node.notes(conversation)?));
    Ok((shown, lines))
}

/// The model: what the ops of a device mean, as far as no text is merged.
fn meant(node: &mut Node, conversation: &ConversationId, shown: &[Message]) -> Outcome {
    let ops = opened(node, conversation)?;
    let names = tombolo_store::names(node.log(), conversation).map_err(words)?;
    let who = |op: &Op| names.account(&op.header.author);
    let founder = tombolo_store::founder(node.log(), conversation).map_err(words)?;
    for message in shown.iter().filter(|it| !matches!(it.state, MessageState::Sealed | MessageState::Imported)) {
        let at = MessageRef { hlc: Hlc(message.hlc), id: message.id };
        let author = names.account(&message.author);
        let standing = ops.iter().any(|(op, content)| {
            let Content::Delete(delete) = content else { return false };
            let may = who(op).is_some() && (who(op) == author || who(op) == founder);
            let taken_back = ops.iter().any(|(undo, content)| match content {
                Content::Restore(restore) => {
                    restore.message == at && restore.tags.contains(&op.id) && who(undo) == who(op)
                }
                _ => false,
            });
            delete.message == at && may && !taken_back
        });
        if message.beside.deleted.is_some() != standing {
            return Err(format!("{} is deleted: shown {}, meant {standing}", at.id.short(), !standing));
        }
        let mut sums: BTreeMap<(&str, AccountId), i64> = BTreeMap::new();
        for (op, content) in &ops {
            if let (Content::Reaction(it), Some(who)) = (content, who(op))
                && it.message == Reaction::names(&at.id)
            {
                *sums.entry((&it.emoji, who)).or_default() += i64::from(it.by);
            }
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (sign, _) in sums.iter().filter(|(_, sum)| **sum > 0).map(|(key, _)| *key) {
            *counts.entry(sign).or_default() += 1;
        }
        let found: BTreeMap<&str, usize> =
            message.beside.reactions.iter().map(|it| (it.emoji.as_str(), it.names.len())).collect();
        if !standing && counts != found {
            return Err(format!("{} has reactions {found:?}, meant {counts:?}", at.id.short()));
        }
    }
    let titles: Vec<(&Op, &tombolo_model::content::Set)> = ops
        .iter()
        .filter_map(|(op, content)| match content {
            Content::Set(set) if set.slot == Slot::Title => Some((op, set)),
            _ => None,
        })
        .collect();
    let stands = |op: &Op| !titles.iter().any(|(_, set)| set.bases.contains(&op.id));
    let winner = titles.iter().filter(|(op, _)| stands(op)).max_by_key(|(op, _)| (op.header.hlc, op.id));
    let winner = winner.map(|(_, set)| set.value.clone());
    let register = tombolo_store::register(node.log(), conversation, &Slot::Title).map_err(words)?;
    if winner.is_some() && winner != Some(register.value()) {
        return Err(format!("the title is {:?}, meant {winner:?}", register.value()));
    }
    let removed: BTreeSet<OpId> = ops
        .iter()
        .filter_map(|(_, content)| match content {
            Content::Tag(tag) => tag.removes.clone(),
            _ => None,
        })
        .flatten()
        .collect();
    let pinned: BTreeSet<MessageRef> = ops
        .iter()
        .filter_map(|(op, content)| match content {
            Content::Tag(tag) if tag.set == TagSet::Pins && tag.removes.is_none() && !removed.contains(&op.id) => {
                Some(tag.message)
            }
            _ => None,
        })
        .collect();
    let found = tombolo_store::tagged(node.log(), conversation, &TagSet::Pins).map_err(words)?;
    let found: BTreeSet<MessageRef> = found.into_iter().map(|pin| pin.message).collect();
    if found != pinned { Err(format!("pins are {found:?}, meant {pinned:?}")) } else { Ok(()) }
}

/// All ops of a conversation that a device can open, with what they say.
fn opened(node: &mut Node, conversation: &ConversationId) -> Outcome<Vec<(Op, Content)>> {
    let (log, views) = node.replica().log_and_fold();
    let query = ArrivalQuery {
        after: 0,
        through: u64::MAX,
        conversations: &[(*conversation, 0)],
        not_from: None,
        limit_ops: usize::MAX,
        limit_bytes: usize::MAX,
    };
    let ops = log.arrivals(&query).map_err(words)?.into_iter().map(|(_, op)| op);
    let content = ops.filter(|op| op.header.class == Class::Content);
    Ok(content.filter_map(|op| views.open(&op).map(|content| (op, content))).collect())
}

/// Whether a conversation is one of an account with itself.
pub(super) fn is_own(node: &Node, conversation: &ConversationId) -> bool {
    node.log().conversation(conversation).ok().flatten().is_some_and(|row| row.kind == Some(Kind::Own))
}
