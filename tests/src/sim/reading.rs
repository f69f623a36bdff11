//! Reading in the simulated world: what people mark and tell, and what must be true of it in the end.
//!
//! Registers come together as ops do, and what a device shows as unread is what its frontier says of the messages that it
//! shows, one by one.

use crate::sim::world::{Outcome, World};
use tombolo_client::{ConversationId, Node};
use tombolo_model::DeviceId;
use tombolo_oplog::LogError;
use tombolo_store::{Section, mark, page, unread_of};

/// Rounds of everybody with every relay within which registers must come together.
const ROUNDS_MAX: usize = 4;

impl World {
    /// A device marks a conversation as read or unread, or tells what was read.
    ///
    /// # Errors
    /// What is wrong with the product.
    pub fn mark(&mut self, device: usize) -> Outcome {
        let Some(conversation) = self.pick_conversation(device, true)? else { return Ok(()) };
        let all = self.read(device, &conversation, 1_000)?;
        let message = (!all.is_empty()).then(|| self.rng.pick(&all).cursor.clone());
        let what = self.rng.below(4);
        let Some((now, node)) = self.now_and_node(device) else { return Ok(()) };
        let done = match (what, message) {
            (0, Some(from)) => node.mark_unread(&conversation, &from, now),
            (1, up_to) => node.read(&conversation, up_to.as_deref(), now),
            _ => node.tell_all(now),
        };
        self.took(device, done, &["imported"])?;
        Ok(())
    }

    /// In the end: everybody tells, and everybody comes to hold what was told.
    ///
    /// # Errors
    /// What is wrong with the product.
    pub fn read_together(&mut self) -> Outcome {
        for device in 0..self.machines.len() {
            let Some((now, node)) = self.now_and_node(device) else { continue };
            let done = node.tell_all(now);
            self.took(device, done, &[])?;
        }
        let mut why = String::new();
        for _ in 0..ROUNDS_MAX {
            self.round()?;
            match self.registers_agree() {
                Ok(()) => return self.unread_agrees(),
                Err(error) => why = error,
            }
        }
        Err(format!("registers did not come together within {ROUNDS_MAX} rounds: {why}"))
    }

    /// Whoever should hold a conversation holds the newest register of each of its devices.
    fn registers_agree(&self) -> Outcome {
        let text = |error: LogError| error.to_string();
        for conversation in self.all_conversations()? {
            let due = self.circle(&conversation)?.due;
            for of in due.iter().filter(|index| self.machines[**index].is_device()) {
                let device = self.machines[*of].device;
                let mut first = None;
                for index in &due {
                    let Some(body) = &self.machines[*index].body else { continue };
                    if !body.log().is_member(&conversation, &device).map_err(text)? {
                        continue;
                    }
                    let found = body.log().register(&conversation, &device).map_err(text)?;
                    match &first {
                        None => first = Some((*index, found)),
                        Some((one, register)) if *register != found => {
                            let (here, there) = (&self.machines[*one].name, &self.machines[*index].name);
                            return Err(format!(
                                "{}: {here} and {there} hold other registers of {}: {register:?}, {found:?}",
                                conversation.short(),
                                device.short()
                            ));
                        }
                        Some(_) => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// What every device shows as unread is what its frontier says, message by message.
    fn unread_agrees(&mut self) -> Outcome {
        for device in 0..self.machines.len() {
            for (conversation, _) in self.conversations(device)? {
                let name = self.machines[device].name.clone();
                if let Some(node) = self.machines[device].node_mut() {
                    unread(node, &conversation).map_err(|error| format!("{name}: {error}"))?;
                    self.tally.checks += 1;
                }
            }
        }
        Ok(())
    }
}

/// Compares the count with a look at every message.
fn unread(node: &mut Node, conversation: &ConversationId) -> Outcome {
    let text = |error: LogError| error.to_string();
    let names = tombolo_store::names(node.log(), conversation).map_err(text)?;
    let (device, account) = (node.device(), node.account());
    // What this person's other devices write is never unread.
    let own = |author: &DeviceId| *author == device || names.account(author) == Some(account);
    let (log, views) = node.replica().log_and_fold();
    let frontier = views.frontier(log, conversation).map_err(text)?;
    let mark = mark(log, conversation).map_err(text)?.from;
    let mut unread = 0;
    for message in page(log, conversation, None, usize::MAX).map_err(text)? {
        let Some(op) = log.op(conversation, &message.id()).map_err(text)? else {
            return Err("a message without its op".into());
        };
        let marked = mark.is_some_and(|from| (from.hlc, from.id) <= (message.hlc(), message.id()));
        let read = frontier.contains(&op.header.log, op.header.seq) && !marked;
        unread += u64::from(message.place.section == Section::Native && !own(&message.author) && !read);
    }
    let counted = unread_of(log, conversation, &views.me()).map_err(text)?;
    if counted == unread {
        Ok(())
    } else {
        Err(format!("{}: {counted} unread, but {unread} by its frontier", conversation.short()))
    }
}
