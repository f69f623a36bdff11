//! What is done on a second thread while a flush goes on: checking signatures and opening bodies of the batches that
//! come next, while the first thread judges and stores those before.
//!
//! Only what depends on its ops alone is done here, so the outcome is the same whichever thread comes first; the
//! simulation depends on that. Nothing outlives the call. Not here: whatever reads or writes the log (`replica.rs`).

use crate::admit::{Parts, signed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, scope};
use tombolo_model::Sound;
use tombolo_oplog::{Opened, ReadBody};

/// Ops of one flush above which a second thread is worth its start.
const WORTH_OPS: usize = 256;

/// Batches, each checked when its turn comes, if not before.
pub(crate) struct Ahead {
    batches: Mutex<Vec<Batch>>,
    /// A batch is done, or will never be.
    done: Condvar,
}

enum Batch {
    Waits(Vec<Sound>),
    /// The other thread has it.
    Taken,
    Done(Parts, Opened),
    /// It was taken by its turn.
    Over,
}

impl Ahead {
    /// Runs `step`, which takes the batches in turn.
    pub(crate) fn during<R>(read: Option<ReadBody>, batches: Vec<Vec<Sound>>, step: impl FnOnce(&Self) -> R) -> R {
        let ops: usize = batches.iter().map(Vec::len).sum();
        let worth = ops > WORTH_OPS && batches.len() > 1;
        let batches = Mutex::new(batches.into_iter().map(Batch::Waits).collect());
        let ahead = Self { batches, done: Condvar::new() };
        if !worth {
            return step(&ahead);
        }
        scope(|scope| {
            // Without a second thread each batch is checked in its turn.
            let _ = Builder::new().spawn_scoped(scope, || ahead.work(read.as_ref()));
            let result = step(&ahead);
            ahead.lock().clear();
            result
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the place of a batch another value, if it has one still.
    fn swap(&self, at: usize, batch: Batch) -> Batch {
        self.lock().get_mut(at).map_or(Batch::Over, |place| std::mem::replace(place, batch))
    }

    fn work(&self, read: Option<&ReadBody>) {
        let count = self.lock().len();
        // The first one's turn is now.
        for at in 1..count {
            let ops = match self.swap(at, Batch::Taken) {
                Batch::Waits(ops) => ops,
                taken => {
                    self.swap(at, taken);
                    continue;
                }
            };
            let mut given_up = GivenUp { ahead: self, at, failed: true };
            let parts = signed(ops);
            let bodies = parts.iter().flat_map(|(_, _, signed)| signed.ops());
            let opened = read.map(|read| bodies.filter_map(|op| Some((op.id, read(op)?))).collect());
            self.swap(at, Batch::Done(parts, opened.unwrap_or_default()));
            given_up.failed = false;
        }
    }

    /// A batch whose turn has come: its ops with their signatures checked, and what is open of it.
    pub(crate) fn take(&self, at: usize) -> (Parts, Opened) {
        let mut batches = self.lock();
        loop {
            match batches.get_mut(at).map_or(Batch::Over, |place| std::mem::replace(place, Batch::Over)) {
                Batch::Done(parts, opened) => return (parts, opened),
                Batch::Waits(ops) => {
                    drop(batches);
                    return (signed(ops), Opened::new());
                }
                Batch::Taken => {
                    batches[at] = Batch::Taken;
                    batches = self.done.wait(batches).unwrap_or_else(PoisonError::into_inner);
                }
                // Nothing may be stored or acknowledged instead of what is lost.
                Batch::Over => std::panic::resume_unwind(Box::new("the thread that checks ahead has failed")),
            }
        }
    }
}

/// Wakes whoever waits for a batch, also when the thread that has it fails.
struct GivenUp<'a> {
    ahead: &'a Ahead,
    at: usize,
    failed: bool,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if self.failed {
            self.ahead.swap(self.at, Batch::Over);
        }
        self.ahead.done.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;
    use tombolo_model::content::Content;
    use tombolo_model::{BodyHash, Class, ConversationId, DeviceId, Header, Hlc, LogId, OpId};

    fn op(seq: u64) -> Sound {
        let header = Header {
            version: 1,
            class: Class::Content,
            conversation: ConversationId([1; 16]),
            author: DeviceId([2; 32]),
            log: LogId([3; 8]),
            seq,
            prev: if seq == 1 { OpId::ZERO } else { OpId([4; 32]) },
            hlc: Hlc::new(seq, 0),
            epoch: 0,
            expires_ms: 0,
            parents: vec![],
            erases: vec![],
            extension: vec![],
            body_len: 0,
            body_hash: BodyHash::EMPTY,
        };
        Sound::join(header, None, Some(vec![7; 9])).unwrap()
    }

    fn text(op: &Sound) -> Content {
        Content::Text(op.header.seq.to_string())
    }

    #[test]
    fn every_batch_comes_in_its_turn_and_what_is_open_of_it_is_all_of_it_or_nothing() {
        let batches = |count: u64| -> Vec<Vec<Sound>> {
            (0..count).map(|at| (1..=50).map(|seq| op(at * 50 + seq)).collect()).collect()
        };
        let read: ReadBody = Arc::new(|op| Some(Content::Text(op.header.seq.to_string())));
        for (count, read) in [(20, Some(read.clone())), (20, None), (1, Some(read.clone())), (2, Some(read))] {
            let wanted = batches(count);
            let reads = read.is_some();
            Ahead::during(read, batches(count), |ahead| {
                for (at, wanted) in wanted.iter().enumerate() {
                    let (parts, opened) = ahead.take(at);
                    let ops: Vec<&Sound> = parts.iter().flat_map(|(_, _, signed)| signed.ops()).collect();
                    assert!(ops.into_iter().eq(wanted), "batch {at}");
                    let all = wanted.iter().map(|op| (op.id, text(op)));
                    assert!(opened.is_empty() || (reads && opened.iter().cloned().eq(all)), "batch {at}");
                }
            });
        }
    }

    #[test]
    fn who_stops_early_waits_for_nothing() {
        let batches = (0..40).map(|at| (1..=50).map(|seq| op(at * 50 + seq)).collect()).collect();
        Ahead::during(None, batches, |ahead| drop(ahead.take(0)));
    }

    #[test]
    fn a_failure_of_the_second_thread_ends_the_first_one_too() {
        let failing: ReadBody = Arc::new(|op| if op.header.seq == 777 { panic!("seeded") } else { None });
        let batches = || (0..40).map(|at| (1..=50).map(|seq| op(at * 50 + seq)).collect()).collect();
        // Whichever thread comes first to that batch; only the second one opens it.
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Ahead::during(Some(failing), batches(), |ahead| {
                // The second thread has come to that batch once it has done the one before.
                while matches!(ahead.lock()[14], Batch::Waits(_) | Batch::Taken) {}
                while matches!(ahead.lock()[15], Batch::Waits(_)) {}
                (0..40).map(|at| ahead.take(at).0.len()).sum::<usize>()
            })
        }));
        assert!(ran.is_err());
    }
}
