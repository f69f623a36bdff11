//! Steps from one list of messages to the next, keyed by id. Messages never change places among each other, so what is in
//! both lists stays where it is. Not here: what is in a window (`session.rs`).

use crate::api::{Message, Step};
use std::collections::BTreeSet;

/// Removals from the end, then insertions and changes from the front; each index is that at the time of its step.
pub(crate) fn steps(old: &[Message], new: &[Message]) -> Vec<Step> {
    let stays: BTreeSet<&str> = new.iter().map(|message| message.id.as_str()).collect();
    let at = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
    let mut steps = Vec::new();
    for (index, message) in old.iter().enumerate().rev() {
        if !stays.contains(message.id.as_str()) {
            steps.push(Step::Remove { index: at(index) });
        }
    }
    let mut kept = old.iter().filter(|message| stays.contains(message.id.as_str())).peekable();
    for (index, message) in new.iter().enumerate() {
        match kept.next_if(|kept| kept.id == message.id) {
            Some(before) if before == message => {}
            Some(_) => steps.push(Step::Set { index: at(index), message: message.clone() }),
            None => steps.push(Step::Insert { index: at(index), message: message.clone() }),
        }
    }
    steps
}
