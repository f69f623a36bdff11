//! To another device directly: Noise XX over a stream of bytes, frames inside.
//!
//! The channel is encrypted and its hash is the binding; the keys of the channel itself are made fresh for each
//! connection and mean nothing. The session above proves device keys bound to that hash, so somebody in the middle, who
//! has two channels with two hashes, cannot pass proofs on.
//!
//! ```text
//! handshake: three messages, each: length 2 | bytes
//! then, both ways, Noise messages, each: length 2 | cipher text of at most 65,535 bytes
//! a frame begins a message: length 4 | bytes; it goes on through as many messages as it needs and ends with one
//! ```

use super::counted::Counted;
use super::{About, FRAME_BYTES_MAX, ReceiveHalf, SendHalf, Socket, Transport, TransportError};
use snow::{Builder, HandshakeState, StatelessTransportState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;

/// **Milliseconds** for connecting and introducing.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 10_000;

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"tombolo 1 noise";
/// **Bytes** of a handshake message: the longest has two keys with a tag each.
const HANDSHAKE_BYTES_MAX: usize = 96;
/// **Bytes** of a Noise message (the Noise specification).
const MESSAGE_BYTES_MAX: usize = 65_535;
const TAG_BYTES: usize = 16;
const CHUNK_BYTES_MAX: usize = MESSAGE_BYTES_MAX - TAG_BYTES;
/// **Bytes** of the length before a frame.
const LENGTH_BYTES: usize = 4;
/// **Bytes** asked of the socket at once.
const READ_BYTES: usize = 32 * 1024;

/// Which end begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that connected.
    Initiator,
    /// The one that was connected to.
    Responder,
}

/// Connects to the device that listens at `address`, `HOST:PORT`.
///
/// # Errors
/// [`TransportError`]: of the network, or because no device answers there.
pub async fn connect(address: &str, timeout_ms: u64) -> Result<Transport, TransportError> {
    let connecting = async {
        let unreachable = |source| TransportError::Unreachable { to: address.to_owned(), source };
        let tcp = TcpStream::connect(address).await.map_err(unreachable)?;
        introduce_tcp(tcp, Role::Initiator).await
    };
    let timed_out = |_| TransportError::TimedOut { to: address.to_owned(), timeout_ms };
    tokio::time::timeout(Duration::from_millis(timeout_ms), connecting).await.map_err(timed_out)?
}

/// Introduces itself to the device that just connected.
///
/// # Errors
/// [`TransportError`], within `timeout_ms` whatever the other side does.
pub async fn accept(tcp: TcpStream, timeout_ms: u64) -> Result<Transport, TransportError> {
    let who = tcp.peer_addr().map_or_else(|_| "the other side".to_owned(), |address| address.to_string());
    let timed_out = |_| TransportError::TimedOut { to: who, timeout_ms };
    let accepting = introduce_tcp(tcp, Role::Responder);
    tokio::time::timeout(Duration::from_millis(timeout_ms), accepting).await.map_err(timed_out)?
}

/// The same over any stream of bytes. The caller sets the time limit.
///
/// # Errors
/// [`TransportError`].
pub async fn introduce<S>(stream: S, role: Role, remote: Option<SocketAddr>) -> Result<Transport, TransportError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (stream, counters) = Counted::new(stream);
    let mut stream: Box<dyn Socket> = Box::new(stream);
    let handshake = handshake(&mut stream, role).await?;
    let binding = handshake.get_handshake_hash().to_vec();
    let keys = Arc::new(handshake.into_stateless_transport_mode().map_err(crypto)?);
    let (from, to) = tokio::io::split(stream);
    let sending = Sending { to, keys: Arc::clone(&keys), nonce: 0, out: Vec::new(), written: 0 };
    let receiving = Receiving { from, keys, nonce: 0, taken: Vec::new(), start: 0, frame: None };
    let about = About { binding, counters, remote };
    Ok(Transport::new(SendHalf::Noise(sending), ReceiveHalf::Noise(receiving), about))
}

async fn introduce_tcp(tcp: TcpStream, role: Role) -> Result<Transport, TransportError> {
    // Frames are small and wait for answers.
    tcp.set_nodelay(true).map_err(|source| TransportError::Broken { source })?;
    let remote = tcp.peer_addr().ok();
    introduce(tcp, role, remote).await
}

fn crypto(error: snow::Error) -> TransportError {
    TransportError::Crypto { why: error.to_string() }
}

async fn handshake(stream: &mut Box<dyn Socket>, role: Role) -> Result<HandshakeState, TransportError> {
    let builder = Builder::new(PATTERN.parse().map_err(crypto)?).prologue(PROLOGUE).map_err(crypto)?;
    let own = builder.generate_keypair().map_err(crypto)?;
    let private = zeroize::Zeroizing::new(own.private);
    let builder = builder.local_private_key(&private).map_err(crypto)?;
    let mut state = match role {
        Role::Initiator => builder.build_initiator().map_err(crypto)?,
        Role::Responder => builder.build_responder().map_err(crypto)?,
    };
    let mut message = [0; 2 + HANDSHAKE_BYTES_MAX];
    while !state.is_handshake_finished() {
        if state.is_my_turn() {
            let len = state.write_message(&[], &mut message[2..]).map_err(crypto)?;
            message[..2].copy_from_slice(&(len as u16).to_be_bytes());
            stream.write_all(&message[..2 + len]).await.map_err(|source| TransportError::Broken { source })?;
            stream.flush().await.map_err(|source| TransportError::Broken { source })?;
        } else {
            let broken = |source: std::io::Error| match source.kind() {
                std::io::ErrorKind::UnexpectedEof => TransportError::NotADevice { why: "it hung up" },
                _ => TransportError::Broken { source },
            };
            let len = usize::from(stream.read_u16().await.map_err(broken)?);
            if len > HANDSHAKE_BYTES_MAX {
                return Err(TransportError::NotADevice { why: "its first words are too long" });
            }
            stream.read_exact(&mut message[..len]).await.map_err(broken)?;
            // No payload is expected, so none has room.
            let read = state.read_message(&message[..len], &mut []);
            read.map_err(|_| TransportError::NotADevice { why: "its first words make no sense" })?;
        }
    }
    Ok(state)
}

pub(super) struct Sending {
    to: WriteHalf<Box<dyn Socket>>,
    keys: Arc<StatelessTransportState>,
    nonce: u64,
    /// Cipher text that is on its way out, and how much of it is out.
    out: Vec<u8>,
    written: usize,
}

impl Sending {
    pub(super) async fn send(&mut self, frame: &[u8]) -> Result<(), TransportError> {
        // What a dropped `send` left behind goes first: the other side expects its nonces in order.
        self.flush().await?;
        let mut first = Vec::with_capacity(frame.len().min(CHUNK_BYTES_MAX) + LENGTH_BYTES);
        // At most 4 MiB, by the caller.
        first.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        let (head, rest) = frame.split_at(frame.len().min(CHUNK_BYTES_MAX - LENGTH_BYTES));
        first.extend_from_slice(head);
        let messages = 1 + rest.len().div_ceil(CHUNK_BYTES_MAX);
        self.out.reserve(LENGTH_BYTES + frame.len() + messages * (2 + TAG_BYTES));
        self.encrypt(&first)?;
        rest.chunks(CHUNK_BYTES_MAX).try_for_each(|chunk| self.encrypt(chunk))?;
        self.flush().await
    }

    fn encrypt(&mut self, chunk: &[u8]) -> Result<(), TransportError> {
        let len = chunk.len() + TAG_BYTES;
        let at = self.out.len();
        // Never above 65,535: a chunk leaves room for the tag.
        self.out.extend_from_slice(&(len as u16).to_be_bytes());
        self.out.resize(at + 2 + len, 0);
        self.keys.write_message(self.nonce, chunk, &mut self.out[at + 2..]).map_err(crypto)?;
        self.nonce += 1;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), TransportError> {
        let broken = |source| TransportError::Broken { source };
        while self.written < self.out.len() {
            let bytes = self.to.write(&self.out[self.written..]).await.map_err(broken)?;
            if bytes == 0 {
                return Err(broken(std::io::ErrorKind::WriteZero.into()));
            }
            self.written += bytes;
        }
        self.out.clear();
        // A large frame's buffer is not kept.
        self.out.shrink_to(READ_BYTES);
        self.written = 0;
        self.to.flush().await.map_err(broken)
    }

    pub(super) async fn close(&mut self) -> Result<(), TransportError> {
        self.flush().await?;
        self.to.shutdown().await.map_err(|source| TransportError::Broken { source })
    }
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("noise::Sending")
    }
}

pub(super) struct Receiving {
    from: ReadHalf<Box<dyn Socket>>,
    keys: Arc<StatelessTransportState>,
    nonce: u64,
    /// What came from the socket; consumed up to `start`.
    taken: Vec<u8>,
    start: usize,
    /// The frame that is being put together, and how many bytes it lacks.
    frame: Option<(Vec<u8>, usize)>,
}

impl Receiving {
    pub(super) async fn receive(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        loop {
            while let Some(plain) = self.next_message()? {
                if let Some(frame) = self.join(&plain)? {
                    return Ok(Some(frame));
                }
            }
            self.taken.drain(..self.start);
            self.start = 0;
            self.taken.reserve(READ_BYTES);
            // Dropped here, nothing is lost: what was read stands in `taken`.
            let read = self.from.read_buf(&mut self.taken).await;
            if read.map_err(|source| TransportError::Broken { source })? == 0 {
                let between = self.taken.is_empty() && self.frame.is_none();
                return if between { Ok(None) } else { Err(TransportError::cut()) };
            }
        }
    }

    /// Decrypts the next whole message that was taken.
    fn next_message(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        let Some((length, rest)) = self.taken[self.start..].split_first_chunk::<2>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes(*length));
        if len < TAG_BYTES {
            return Err(TransportError::Misbehaved { why: "a message without a tag" });
        }
        let Some(message) = rest.get(..len) else { return Ok(None) };
        let mut plain = vec![0; len - TAG_BYTES];
        self.keys.read_message(self.nonce, message, &mut plain).map_err(|_| TransportError::Tampered)?;
        self.nonce += 1;
        self.start += 2 + len;
        Ok(Some(plain))
    }

    /// Adds a message's content to the frame; the whole frame once nothing is lacking.
    fn join(&mut self, plain: &[u8]) -> Result<Option<Vec<u8>>, TransportError> {
        let (mut frame, lacking, content) = match self.frame.take() {
            Some((frame, lacking)) => (frame, lacking, plain),
            None => {
                let (length, content) = plain
                    .split_first_chunk::<LENGTH_BYTES>()
                    .ok_or(TransportError::Misbehaved { why: "a frame without a length" })?;
                let len = u32::from_be_bytes(*length) as usize;
                if len > FRAME_BYTES_MAX {
                    return Err(TransportError::TheirFrameTooLarge);
                }
                // Grows with what really comes, not with what was promised.
                (Vec::with_capacity(len.min(CHUNK_BYTES_MAX)), len, content)
            }
        };
        if content.len() > lacking {
            return Err(TransportError::Misbehaved { why: "a message that goes beyond its frame" });
        }
        if content.is_empty() && lacking > 0 {
            return Err(TransportError::Misbehaved { why: "a message with nothing in it" });
        }
        frame.extend_from_slice(content);
        let lacking = lacking - content.len();
        if lacking == 0 {
            return Ok(Some(frame));
        }
        self.frame = Some((frame, lacking));
        Ok(None)
    }
}

impl std::fmt::Debug for Receiving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("noise::Receiving")
    }
}
