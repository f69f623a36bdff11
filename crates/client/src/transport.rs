//! Frames between this device and another replica, whatever carries them.
//!
//! Every way of connecting gives the same [`Transport`]: whole frames in order, what was counted on the socket, and a
//! binding that both ends of an encrypted channel share. Who the other side is, the session above finds out: it proves
//! device keys over that binding. So nothing that arrives here is trusted, and all of it is bounded.
//! Not here: what frames mean (`proto`), when to connect again (`sync`).
//!
//! Read next: [`ws`] (relays), [`noise`] (devices directly), [`discover`] (who is near), [`memory`] (tests).

mod counted;
pub mod discover;
mod error;
pub mod memory;
pub mod noise;
pub mod tls;
pub mod ws;

pub use counted::{Bytes, Counters};
pub use error::TransportError;

use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// **Bytes** of one frame. Above the protocol's own limit, so that a frame that only the protocol finds too large is
/// still answered; below what could hurt.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A stream of bytes under a transport.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// An open connection that carries frames both ways.
#[derive(Debug)]
pub struct Transport {
    sender: FrameSender,
    receiver: FrameReceiver,
}

impl Transport {
    fn new(to: SendHalf, from: ReceiveHalf, about: About) -> Self {
        let about = Arc::new(about);
        Self {
            sender: FrameSender { half: to, about: Arc::clone(&about) },
            receiver: FrameReceiver { half: from, about, ended: false },
        }
    }

    /// As [`FrameSender::send`].
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        self.sender.send(frame).await
    }

    /// As [`FrameReceiver::receive`].
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn receive(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        self.receiver.receive().await
    }

    /// Two halves, to send and to receive at the same time.
    #[must_use]
    pub fn split(self) -> (FrameSender, FrameReceiver) {
        (self.sender, self.receiver)
    }

    /// What both ends of this channel share and no other channel has; empty where the channel itself is not
    /// authenticated (WebSocket, with or without TLS).
    #[must_use]
    pub fn channel_binding(&self) -> &[u8] {
        &self.sender.about.binding
    }

    /// Counts bytes on the socket, handshakes included; to be kept beyond the transport.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.sender.about.counters)
    }

    /// Where the other end is, if it has an address.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.sender.about.remote
    }
}

/// What both halves know.
#[derive(Debug)]
struct About {
    binding: Vec<u8>,
    counters: Arc<Counters>,
    remote: Option<SocketAddr>,
}

/// The sending half.
#[derive(Debug)]
pub struct FrameSender {
    half: SendHalf,
    about: Arc<About>,
}

#[derive(Debug)]
enum SendHalf {
    Ws(ws::Sending),
    Noise(noise::Sending),
    Memory(memory::Sending),
}

impl FrameSender {
    /// Sends one frame of at most [`FRAME_BYTES_MAX`] bytes; it was handed to the system when this returns. Dropped before
    /// that, the frame may still go out, before the next one.
    ///
    /// # Errors
    /// [`TransportError`]; only after [`TransportError::FrameTooLarge`] can the transport still be used.
    pub async fn send(&mut self, frame: Vec<u8>) -> Result<(), TransportError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(TransportError::FrameTooLarge { bytes: frame.len() });
        }
        match &mut self.half {
            SendHalf::Ws(half) => half.send(frame).await,
            SendHalf::Noise(half) => half.send(&frame).await,
            SendHalf::Memory(half) => half.send(frame).await,
        }
    }

    /// Says that no more frames follow.
    ///
    /// # Errors
    /// [`TransportError::Broken`] where the connection is gone already.
    pub async fn close(&mut self) -> Result<(), TransportError> {
        match &mut self.half {
            SendHalf::Ws(half) => half.close().await,
            SendHalf::Noise(half) => half.close().await,
            SendHalf::Memory(half) => {
                half.close();
                Ok(())
            }
        }
    }

    /// As [`Transport::channel_binding`].
    #[must_use]
    pub fn channel_binding(&self) -> &[u8] {
        &self.about.binding
    }

    /// As [`Transport::counters`].
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.about.counters)
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct FrameReceiver {
    half: ReceiveHalf,
    about: Arc<About>,
    ended: bool,
}

#[derive(Debug)]
enum ReceiveHalf {
    Ws(ws::Receiving),
    Noise(noise::Receiving),
    Memory(memory::Receiving),
}

impl FrameReceiver {
    /// Waits for the next frame; `None` once the other side has closed, and after an error. Dropping the future loses
    /// nothing, so it can stand in a `select!`.
    ///
    /// # Errors
    /// [`TransportError`], once.
    pub async fn receive(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        if self.ended {
            return Ok(None);
        }
        let received = match &mut self.half {
            ReceiveHalf::Ws(half) => half.receive().await,
            ReceiveHalf::Noise(half) => half.receive().await,
            ReceiveHalf::Memory(half) => Ok(half.receive().await),
        };
        self.ended = !matches!(received, Ok(Some(_)));
        received
    }

    /// As [`Transport::counters`].
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.about.counters)
    }
}
