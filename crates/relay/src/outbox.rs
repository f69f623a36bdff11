//! What waits to be sent on one connection: bounded in bytes, alone and over all connections.
//!
//! The owner thread pushes and never waits. A reader that does not keep up is cut off with a named reason instead of
//! growing the queue; it starts again where it was. Not here: writing to the socket (`socket.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tombolo_proto::Frame;

/// **Bytes** that a queued frame costs beside its own.
const FRAME_COST: usize = 64;

/// What the writer is told.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// Send this, not before `due`.
    Frame { bytes: Vec<u8>, due: Instant },
    /// Everything before is sent: close.
    End,
}

#[derive(Debug)]
struct Shared {
    queued_bytes: AtomicUsize,
    all_bytes: Arc<AtomicUsize>,
    /// The queue does not matter any more: say only the last word.
    given_up: Notify,
}

/// The owner thread's end.
#[derive(Debug)]
pub(crate) struct Outbox {
    parcels: mpsc::UnboundedSender<Parcel>,
    shared: Arc<Shared>,
    limit_bytes: usize,
    all_limit_bytes: usize,
    delay: Duration,
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct Parcels {
    parcels: mpsc::UnboundedReceiver<Parcel>,
    shared: Arc<Shared>,
}

/// The reader is too slow, or all readers together are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

/// Makes both ends. `all_bytes` is shared by all connections.
pub(crate) fn outbox(
    limit_bytes: usize,
    all_bytes: Arc<AtomicUsize>,
    all_limit_bytes: usize,
    delay: Duration,
) -> (Outbox, Parcels) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared { queued_bytes: AtomicUsize::new(0), all_bytes, given_up: Notify::new() });
    let sending = Outbox { parcels: sender, shared: Arc::clone(&shared), limit_bytes, all_limit_bytes, delay };
    (sending, Parcels { parcels: receiver, shared })
}

impl Outbox {
    /// Queues a frame.
    pub(crate) fn push(&self, bytes: Vec<u8>) -> Result<(), TooSlow> {
        let cost = bytes.len() + FRAME_COST;
        let queued = self.shared.queued_bytes.fetch_add(cost, Ordering::AcqRel) + cost;
        let all = self.shared.all_bytes.fetch_add(cost, Ordering::AcqRel) + cost;
        if queued > self.limit_bytes || all > self.all_limit_bytes {
            self.shared.queued_bytes.fetch_sub(cost, Ordering::AcqRel);
            self.shared.all_bytes.fetch_sub(cost, Ordering::AcqRel);
            return Err(TooSlow);
        }
        // A writer that is gone says so through the socket's own task.
        let _ = self.parcels.send(Parcel::Frame { bytes, due: Instant::now() + self.delay });
        Ok(())
    }

    /// Closes once everything queued is sent.
    pub(crate) fn end(&self) {
        let _ = self.parcels.send(Parcel::End);
    }

    /// Throws away what is queued; the writer says that the reader is too slow, if it still can, and closes.
    pub(crate) fn give_up(&self) {
        self.shared.given_up.notify_one();
    }
}

impl Parcels {
    /// The next thing to do; `None` when the owner thread is gone.
    pub(crate) async fn next(&mut self) -> Option<Parcel> {
        self.parcels.recv().await
    }

    /// The next thing, if one waits.
    pub(crate) fn try_next(&mut self) -> Option<Parcel> {
        self.parcels.try_recv().ok()
    }

    /// A frame of this length is with the socket.
    pub(crate) fn sent(&self, bytes: usize) {
        let cost = bytes + FRAME_COST;
        self.shared.queued_bytes.fetch_sub(cost, Ordering::AcqRel);
        self.shared.all_bytes.fetch_sub(cost, Ordering::AcqRel);
    }

    /// A handle to wait on while `self` is in use.
    pub(crate) fn watch(&self) -> GivenUp {
        GivenUp(Arc::clone(&self.shared))
    }
}

impl Drop for Parcels {
    fn drop(&mut self) {
        let rest = self.shared.queued_bytes.swap(0, Ordering::AcqRel);
        self.shared.all_bytes.fetch_sub(rest, Ordering::AcqRel);
    }
}

/// See [`Outbox::give_up`].
#[derive(Debug)]
pub(crate) struct GivenUp(Arc<Shared>);

impl GivenUp {
    pub(crate) async fn wait(&self) {
        self.0.given_up.notified().await;
    }
}

/// A farewell that no session says.
pub(crate) fn bye(code: &str, words: &str) -> Vec<u8> {
    Frame::Bye { code: code.into(), words: words.into() }.to_bytes()
}

/// Code of the farewell to a reader that is too slow.
pub(crate) const SLOW_READER: &str = "slow_reader";
/// Its words.
pub(crate) const SLOW_READER_WORDS: &str =
    "you read more slowly than there is to send; connect again and go on from there";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn count(all: &Arc<AtomicUsize>) -> usize {
        all.load(Ordering::Acquire)
    }

    #[test]
    fn a_full_queue_says_so_and_room_comes_back() {
        let all = Arc::new(AtomicUsize::new(0));
        let (sending, mut parcels) = outbox(1_000, Arc::clone(&all), 10_000, Duration::ZERO);
        sending.push(vec![0; 500]).unwrap();
        assert_eq!(sending.push(vec![0; 500]), Err(TooSlow));
        assert_eq!(count(&all), 564);
        let Some(Parcel::Frame { bytes, .. }) = parcels.try_next() else { panic!("a frame") };
        parcels.sent(bytes.len());
        assert_eq!(count(&all), 0);
        sending.push(vec![0; 500]).unwrap();
        drop(parcels);
        assert_eq!(count(&all), 0);
    }

    #[test]
    fn all_queues_together_are_bounded() {
        let all = Arc::new(AtomicUsize::new(0));
        let (one, _parcels) = outbox(1_000, Arc::clone(&all), 1_500, Duration::ZERO);
        let (two, _more) = outbox(1_000, Arc::clone(&all), 1_500, Duration::ZERO);
        one.push(vec![0; 900]).unwrap();
        assert_eq!(two.push(vec![0; 900]), Err(TooSlow));
        two.push(vec![0; 100]).unwrap();
    }

    #[test]
    fn farewells_are_frames() {
        let said = Frame::from_bytes(&bye(SLOW_READER, SLOW_READER_WORDS)).unwrap();
        assert_eq!(said, Frame::Bye { code: SLOW_READER.into(), words: SLOW_READER_WORDS.into() });
    }
}
