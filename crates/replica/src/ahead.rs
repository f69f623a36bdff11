//! What is done on a second thread while a flush goes on: checking signatures and opening bodies.
//!
//! Only what depends on its ops alone is done here, so the outcome is the same whichever thread comes first; the
//! simulation depends on that. Nothing outlives the call. Not here: whatever reads or writes the log (`replica.rs`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, scope};
use tombolo_oplog::{Incoming, Opened, ReadBody};

/// Ops of one flush above which a second thread is worth its start (some 30 microseconds).
const WORTH_OPS: usize = 256;

/// Works on each item; results come in the order of the items. `ops`: how many ops there are in all.
pub(crate) fn map<T: Send, R: Send>(ops: usize, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if ops <= WORTH_OPS || items.len() < 2 {
        return items.into_iter().map(work).collect();
    }
    let left = Mutex::new(items.into_iter().enumerate());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        let mut done = Vec::new();
        while let Some((at, item)) = next() {
            done.push((at, work(item)));
        }
        done
    };
    let mut done = scope(|scope| {
        // Without a second thread the first one does it all.
        let other = Builder::new().spawn_scoped(scope, run);
        let mut done = run();
        if let Ok(other) = other {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Bodies that are opened ahead of their turn.
pub(crate) struct Ahead<'a> {
    batches: Vec<&'a [Incoming]>,
    opened: Vec<Mutex<Opened>>,
    /// The batch whose turn it is.
    turn: AtomicUsize,
}

impl<'a> Ahead<'a> {
    /// Runs `step`, which takes the batches in turn, while another thread opens those whose turn has not come.
    pub(crate) fn during<R>(read: Option<ReadBody>, batches: Vec<&'a [Incoming]>, step: impl FnOnce(&Self) -> R) -> R {
        let opened = batches.iter().map(|_| Mutex::default()).collect();
        let ahead = Self { batches, opened, turn: AtomicUsize::new(0) };
        let ops: usize = ahead.batches.iter().map(|batch| batch.len()).sum();
        let Some(read) = read.filter(|_| ops > WORTH_OPS && ahead.batches.len() > 1) else { return step(&ahead) };
        scope(|scope| {
            // Without a second thread each body is opened in its turn.
            let _ = Builder::new().spawn_scoped(scope, || ahead.open(&read));
            let result = step(&ahead);
            ahead.turn.store(usize::MAX, Ordering::Relaxed);
            result
        })
    }

    fn open(&self, read: &ReadBody) {
        for (at, batch) in self.batches.iter().enumerate() {
            let mut opened = Opened::new();
            for Incoming { op, .. } in *batch {
                if self.turn.load(Ordering::Relaxed) >= at {
                    break;
                }
                if let Some(content) = read(op) {
                    opened.push_back((op.id, content));
                }
            }
            let mut place = self.opened[at].lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever takes it names the turn before it asks for the lock.
            if self.turn.load(Ordering::Relaxed) < at {
                *place = opened;
            }
        }
    }

    /// What is open of a batch whose turn has come: all that can be opened, or nothing.
    pub(crate) fn take(&self, batch: usize) -> Opened {
        self.turn.store(batch, Ordering::Relaxed);
        std::mem::take(&mut *self.opened[batch].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tombolo_model::content::Content;
    use tombolo_model::{BodyHash, Class, ConversationId, DeviceId, Header, Hlc, LogId, OpId, Sound};

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for ops in [1, 1_000] {
            for count in [0, 1, 2, 500] {
                let squares: Vec<u64> = (0..count).map(|at| at * at).collect();
                assert_eq!(map(ops, (0..count).collect(), |at: u64| at * at), squares);
            }
        }
    }

    fn op(seq: u64) -> Incoming {
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
        Incoming { op: Sound::join(header, None, Some(vec![7; 9])).unwrap(), control: None }
    }

    #[test]
    fn what_is_open_of_a_batch_is_all_of_it_or_nothing() {
        let batches: Vec<Vec<Incoming>> = (0..20).map(|at| (1..=50).map(|seq| op(at * 50 + seq)).collect()).collect();
        let read: ReadBody = Arc::new(|op| Some(Content::Text(op.header.seq.to_string())));
        let expected = |batch: &[Incoming]| -> Opened {
            batch.iter().map(|one| (one.op.id, Content::Text(one.op.header.seq.to_string()))).collect()
        };
        let slices = || batches.iter().map(Vec::as_slice).collect();
        Ahead::during(Some(read), slices(), |ahead| {
            for (at, batch) in batches.iter().enumerate() {
                let opened = ahead.take(at);
                assert!(opened.is_empty() || opened == expected(batch), "batch {at}");
                assert!(ahead.take(at).is_empty(), "nothing is kept");
            }
        });
        let nothing = Ahead::during(None, slices(), |ahead| (0..20).all(|at| ahead.take(at).is_empty()));
        assert!(nothing);
    }
}
