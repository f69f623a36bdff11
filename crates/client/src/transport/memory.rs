//! Two ends within one process: for tests of what stands above the transport.

use super::{About, Counters, ReceiveHalf, SendHalf, Transport, TransportError};
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Frames that may be on the way in one direction before `send` waits.
const FRAMES_ON_THE_WAY: usize = 16;

/// Two connected transports that share `binding`. Counters count the bytes of frames.
#[must_use]
pub fn pair(binding: &[u8]) -> (Transport, Transport) {
    let (to_b, from_a) = mpsc::channel(FRAMES_ON_THE_WAY);
    let (to_a, from_b) = mpsc::channel(FRAMES_ON_THE_WAY);
    let end = |to, from| {
        let counters = Arc::new(Counters::default());
        let sending = Sending { to: Some(to), counters: Arc::clone(&counters) };
        let receiving = Receiving { from, counters: Arc::clone(&counters) };
        let about = About { binding: binding.to_vec(), counters, remote: None };
        Transport::new(SendHalf::Memory(sending), ReceiveHalf::Memory(receiving), about)
    };
    (end(to_b, from_b), end(to_a, from_a))
}

#[derive(Debug)]
pub(super) struct Sending {
    to: Option<mpsc::Sender<Vec<u8>>>,
    counters: Arc<Counters>,
}

impl Sending {
    pub(super) async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        let bytes = frame.len();
        let gone = || TransportError::Broken { source: io::ErrorKind::BrokenPipe.into() };
        self.to.as_ref().ok_or_else(gone)?.send(frame).await.map_err(|_| gone())?;
        self.counters.add_outgoing(bytes);
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.to = None;
    }
}

#[derive(Debug)]
pub(super) struct Receiving {
    from: mpsc::Receiver<Vec<u8>>,
    counters: Arc<Counters>,
}

impl Receiving {
    pub(super) async fn receive(&mut self) -> Option<Vec<u8>> {
        let frame = self.from.recv().await?;
        self.counters.add_incoming(frame.len());
        Some(frame)
    }
}
